"""What a batch is to do: where its files and outputs are, and what is done to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from xray_core.archive import is_archive
from xray_core.decode import Limits
from xray_core.dicom_choice import DicomChoice
from xray_core.encode import check_identity, check_output
from xray_core.errors import FileError, SettingsError
from xray_core.files import is_same
from xray_core.ledger import understood
from xray_core.manifest import Manifest
from xray_core.names import alike, printable
from xray_core.pipeline import geometry
from xray_core.presets import Preset, fingerprint, loads, with_settings
from xray_core.run_folder import RunFolder
from xray_core.stored import Levels, check_levels
from xray_core.stores import Folder, OutFolder, Packed, Place, Source, Target, place


@dataclass(frozen=True)
class Job:
    """What is the same for every file of a run.

    Attributes
    ----------
    source, target
        Where the inputs are and the outputs go: folders, or URLs of fsspec; the source may be a zip archive.
    applied
        The preset.
    suffix, kind
        Format of the outputs, as in ``.png``, and one of `xray_core.files.RANGES`.
    limits
        What is refused before it is decoded.
    embed
        Whether each output carries the preset.
    quality
        Of JPEG; the usual one if None.
    levels, choice
        As in `xray_core.decode.decode`; the choice is of DICOM files.
    keep_identity
        Whether DICOM outputs carry who the film is of.
    instead
        The preset for films that meet the targets as they are; None where all are enhanced.
    time_limit
        Seconds that a file may take.
    only
        The one file of the source that is meant.
    state
        The folder that holds the books of the run.
    shard
        Which part of the files it takes, and of how many.
    """

    source: Place
    target: Place
    applied: Preset
    suffix: str = ".png"
    kind: str = "same"
    limits: Limits = field(default_factory=Limits)
    embed: bool = True
    quality: int | None = None
    levels: Levels | None = None
    choice: DicomChoice = field(default_factory=DicomChoice)
    keep_identity: bool = False
    instead: Preset | None = None
    time_limit: float = 300.0
    only: PurePath | None = None
    state: Path = Path()
    shard: tuple[int, int] = (1, 1)

    @property
    def preset(self) -> str:
        """Name and digest, for the log."""
        return f"{printable(self.applied.name, ' ')} {self.applied.digest[:12]}".strip()

    def takes(self, path: PurePath) -> bool:
        """Whether a file is of the part that the run takes."""
        part, parts = self.shard
        return alike(path) % parts == part - 1

    @property
    def folder(self) -> RunFolder:
        """The books of the run."""
        return RunFolder(self.state, shard_name(self.shard))


def shard_name(shard: tuple[int, int]) -> str:
    """Return the name of a part of the files, empty where it is all of them: ``3-of-8``."""
    return "" if shard[1] == 1 else f"{shard[0]}-of-{shard[1]}"


def source_of(source: Place, only: PurePath | None, limits: Limits, apart: Place | None = None) -> Source:
    """Return where the inputs are, to be closed in the end; `apart` is where no input may lie, the target."""
    if isinstance(source, str):
        from xray_core.remote import RemoteFolder  # takes 0.1 s: only those who use an object store wait for it

        return RemoteFolder(source, only)
    return Folder(source, only, apart) if source.is_dir() else Packed(source, limits)


def target_of(target: Place, parts: Path, apart: Place | None = None) -> Target:
    """Return where the outputs go; they grow in another folder, and none goes to `apart`, where the inputs are."""
    if isinstance(target, str):
        from xray_core.remote import RemoteOut

        return RemoteOut(target)
    return OutFolder(target, parts, apart)


def prepare(
    source: Place,
    target: Place,
    preset: Preset,
    *,
    state: Path | None = None,
    skip_good: bool = False,
    **options: Any,
) -> Job:
    """Check a run before anything is written.

    Parameters
    ----------
    source
        A folder, one file, a zip archive, or a URL of fsspec.
    target
        The outputs' folder, or a URL.
    preset
        What is applied.
    state
        The folder that holds the books of the run; the target if None.
    skip_good
        Whether a film that meets the targets as it is is written without being enhanced.
    **options
        As in `Job`.

    Raises
    ------
    SettingsError, PresetError
        If the folders, format or preset don't allow the run.
    FileError
        If the archive cannot be read.
    """
    limits = options.get("limits") or Limits()
    check_output(options.get("suffix", ".png"), options.get("kind", "same"), options.get("quality"))
    check_identity(options.get("suffix", ".png"), options.get("keep_identity", False))
    if options.get("levels") is not None:
        check_levels(options["levels"])
    only = None
    source, target = (place(one) if isinstance(one, str) else one for one in (source, target))
    if isinstance(source, str):
        from xray_core.remote import found

        _check_urls_apart(source, target)
        source, only = found(source)
    else:
        if not source.exists():
            raise SettingsError(f"{source}: no such file or folder")
        try:
            packed = source.is_file() and is_archive(source, limits)
        except FileError as error:
            raise SettingsError(f"{source}: {error}") from None
        _check_apart(source, target)
        if source.is_file() and not packed:
            source, only = source.parent, PurePath(source.name)
    if state is None:
        if isinstance(target, str):
            raise SettingsError(f"{target}: the books of the run need a folder of this machine; say --state FOLDER")
        state = target
    elif not isinstance(target, str) and state.resolve() != target.resolve():
        raise SettingsError(f"{state}: the books of a run lie with its outputs, unless those are on an object store")
    instead = with_settings(preset, geometry(preset.settings)) if skip_good else None
    return Job(source, target, preset, only=only, state=state, instead=instead, **options)


def _check_apart(source: Path, target: Place) -> None:
    """Refuse to mix inputs and outputs."""
    if isinstance(target, str):
        return
    folder = source if source.is_dir() else source.parent
    here, there = folder.resolve(), target.resolve()
    # One file takes nothing else of its folder for an input: its outputs may stand beside it.
    # Its own folder is where it really lies, whatever link leads to it.
    real = source.resolve().parent if source.is_file() else here
    inside = source.is_dir() and any(is_same(here, above) for above in there.parents)
    if is_same(here, there) or is_same(real, there) or inside:
        raise SettingsError(f"{target}: the outputs' folder is that of the inputs or inside it; choose another")
    if any(is_same(there, above) for above in here.parents):
        raise SettingsError(f"{target}: the outputs' folder holds the inputs; choose another")
    if target.exists() and not target.is_dir():
        raise SettingsError(f"{target}: this is a file; the outputs need a folder")


def _check_urls_apart(source: str, target: Place) -> None:
    if isinstance(target, str):
        here, there = (f"{one.rstrip('/')}/" for one in (source, target))
        if here.startswith(there) or there.startswith(here):
            raise SettingsError(f"{target}: the outputs' place is that of the inputs, in it, or around it")


def named(source: Place) -> str:
    """Return a source as the books of a run name it."""
    return source if isinstance(source, str) else str(source.absolute())


def record(job: Job) -> dict[str, object]:
    """Return what a run records of its outputs, beside the preset; the usual ways go without saying."""
    unusual = {
        "embed": None if job.embed else False,
        "quality": job.quality,
        "levels": list(job.levels) if job.levels else None,
        "keep_identity": job.keep_identity or None,
        "skip_good": True if job.instead else None,
        "shard": shard_name(job.shard) or None,
        **job.choice.changed(),
    }
    said: dict[str, object] = {name: value for name, value in unusual.items() if value is not None}
    return {"format": job.suffix[1:], "range": job.kind} | said


def job_of(manifest: Manifest, target: Place, state: Path) -> Job:
    """Return the run that a manifest is of, as far as it alters outputs; limits are the usual ones.

    Parameters
    ----------
    manifest
        Its books.
    target, state
        Where its outputs and its books are now.
    """
    with understood():
        said: dict[str, Any] = manifest.said("record")
        source, preset = manifest.said("source"), loads(manifest.said("preset"))
        only = manifest.said("only")
        choice = {name.removeprefix("dicom."): value for name, value in said.items() if name.startswith("dicom.")}
        return Job(
            source if "://" in source else Path(source),
            target,
            preset,
            suffix=f".{said['format']}",
            kind=said["range"],
            embed=said.get("embed", True),
            quality=said.get("quality"),
            levels=tuple(said["levels"]) if "levels" in said else None,
            choice=DicomChoice(**choice),
            keep_identity=said.get("keep_identity", False),
            only=PurePath(only) if only else None,
            state=state,
        )


def computes(preset: Preset) -> str:
    """Return what tells whether another machine computes the same with a preset: a digest of its output."""
    return fingerprint(preset.settings).partition(":")[0]
