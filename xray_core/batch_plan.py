"""What a batch is to do: where its files and outputs are, what is done to them, and which run may be gone on with."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from xray_core.archive import is_archive
from xray_core.batch_log import LOG
from xray_core.decode import Limits
from xray_core.dicom_choice import DicomChoice
from xray_core.encode import check_identity, check_output
from xray_core.errors import FileError, PresetError, RunError, SettingsError
from xray_core.manifest import Manifest
from xray_core.names import alike, printable
from xray_core.pipeline import geometry
from xray_core.presets import Preset, diff, fingerprint, loads, with_settings
from xray_core.run_folder import STATE, RunFolder, parts_of
from xray_core.stored import Levels, check_levels
from xray_core.stores import Folder, OutFolder, Packed, Place, Source, Target, place

PRESET = "used.preset.json"
RUN = "run.json"
REPORT = "report.html"


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


def source_of(source: Place, only: PurePath | None, limits: Limits) -> Source:
    """Return where the inputs are, to be closed in the end."""
    if isinstance(source, str):
        from xray_core.remote import RemoteFolder  # takes 0.1 s: only those who use an object store wait for it

        return RemoteFolder(source, only)
    return Folder(source, only) if source.is_dir() else Packed(source, limits)


def target_of(target: Place, parts: Path) -> Target:
    """Return where the outputs go; until they are whole they grow in another folder."""
    if isinstance(target, str):
        from xray_core.remote import RemoteOut

        return RemoteOut(target)
    return OutFolder(target, parts)


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
    if there in (here, real) or (source.is_dir() and here in there.parents):
        raise SettingsError(f"{target}: the outputs' folder is that of the inputs or inside it; choose another")
    if there in here.parents:
        raise SettingsError(f"{target}: the outputs' folder holds the inputs; choose another")
    if target.exists() and not target.is_dir():
        raise SettingsError(f"{target}: this is a file; the outputs need a folder")


def _check_urls_apart(source: str, target: Place) -> None:
    if isinstance(target, str):
        here, there = (f"{one.rstrip('/')}/" for one in (source, target))
        if here.startswith(there) or there.startswith(here):
            raise SettingsError(f"{target}: the outputs' place is that of the inputs, in it, or around it")


def check_target(job: Job, *, resume: bool, overwrite: bool) -> None:
    """Refuse a target that holds something else than the run that is to go on there.

    Raises
    ------
    SettingsError, PresetError
        The latter names what differs between the runs.
    """
    folder = job.folder
    if overwrite:
        return
    _check_parts(job)
    if has_begun(folder):
        if not resume:
            raise SettingsError(f"{job.target}: the folder holds a run; say --resume to go on with it, or --overwrite")
        with Manifest(folder.manifest) as manifest:
            _same_run(job, manifest)
        return
    if isinstance(job.target, str):
        if job.shard[1] == 1 and next(target_of(job.target, folder.parts).sizes(), None) is not None:
            raise SettingsError(
                f"{job.target}: it is not empty, and {job.state} holds no books of a run there; choose another, or say "
                "--overwrite"
            )
        return
    if not job.target.is_dir():
        return
    if (job.target / PRESET).is_file() or (job.target / LOG).is_file():
        if job.shard[1] == 1:
            raise SettingsError(f"{job.target}: the folder holds a run without its books ({STATE}); say --overwrite")
    elif any(entry.name != STATE for entry in job.target.iterdir()) and job.shard[1] == 1:
        raise SettingsError(f"{job.target}: the folder is not empty; choose another, or say --overwrite")


def _check_parts(job: Job) -> None:
    """Refuse a part of a run beside a whole one, or beside parts of another run; and a whole run beside parts."""
    for other in parts_of(job.state):
        if other.count != job.shard[1]:
            held = f"parts of a run, one of {other.count}" if other.count > 1 else "a whole run"
            raise SettingsError(f"{job.target}: the folder holds {held}; choose another folder, or say --overwrite")
        if other.count > 1 and has_begun(other):
            with Manifest(other.manifest) as manifest:
                _same_run(job, manifest, beside=True)


def has_begun(folder: RunFolder) -> bool:
    """Whether a run got so far that it can be gone on with."""
    if not folder.manifest.is_file():
        return False
    with Manifest(folder.manifest) as manifest:
        return manifest.said("record") is not None


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


def _same_run(job: Job, manifest: Manifest, *, beside: bool = False) -> None:
    """Refuse to go on with a run, or `beside` a part of it, that was made with something else; names what differs."""
    used, outputs = loads(manifest.said("preset")), manifest.said("record")
    changes: list[tuple[str, object, object]] = []
    if used.digest != job.applied.digest:
        changes = [(path, *values) for path, values in diff(used, job.applied).items()]
    if used.targets != job.applied.targets:
        changes.append(("targets", used.targets, job.applied.targets))
    wanted = record(job)
    names = sorted((wanted.keys() | outputs.keys()) - ({"shard"} if beside else set()))
    changes += [(name, outputs.get(name), wanted.get(name)) for name in names if outputs.get(name) != wanted.get(name)]
    if changes:
        words = ", ".join(f"{name} {json.dumps(a)} -> {json.dumps(b)}" for name, a, b in changes)
        raise PresetError(f"{job.target}: the folder holds another run ({words}); say --overwrite")
    if manifest.said("computes") != computes(job.applied):
        raise RunError(
            "CANNOT_WRITE",
            f"{job.target}: this machine, or its OpenCV, computes other pixels than the one that began the run; go on "
            "there, or say --overwrite",
        )
