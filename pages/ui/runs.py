"""Runs of the batch that the page starts: a folder each, which holds all that is known of it.

    <runs>/<id>/run.json              what the form said; written last, so that what lacks it is no run
               /preset.preset.json    what is applied
               /in/, /in.zip          uploads
               /said.txt              what the command line said when it ran last
               /out/                  outputs, log, report, and the books in out/.radtune

There is no registry besides these folders: a server that was started anew finds every run.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, Literal

from pages.ui import places
from xray_core.archive import Archive, is_archive
from xray_core.dicom_choice import DicomChoice
from xray_core.encode import check_output
from xray_core.errors import FileError, SettingsError, XrayError
from xray_core.files import not_written, read_bytes
from xray_core.manifest import Task
from xray_core.names import full_name, printable
from xray_core.presets import Preset
from xray_core.report_command import books
from xray_core.run_folder import RunFolder

Kind = Literal["samples", "folder", "upload"]
KINDS: dict[Kind, str] = {"folder": "A folder of this server", "upload": "Upload", "samples": "Our samples"}
"""Where films may come from, for a person."""
Uploads = Iterable[tuple[str, bytes | memoryview]]

LONGEST_NAME = 80
MOST_SHOWN = 200
_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{8}")
_FACTS = "run.json"
_MOST_FACTS = 20_000
_DRAFT = ".draft-"
_DELETED = ".deleted-"
_STALE = 24 * 3600.0  # seconds after which what a killed server left unfinished is swept away


@dataclass(frozen=True)
class Plan:
    """What a run is to do.

    Attributes
    ----------
    source
        Where its films come from.
    folder
        Below the operator's folder, where they come from there.
    format, range
        Of the outputs; from `xray_core.encode`.
    workers
        Processes.
    quality
        Of JPEG; the usual one if None.
    skip_good
        Whether films that meet all targets as they are stay so.
    greys
        How DICOM films are shown, where that is unusual, by the names of the flags.

    Raises
    ------
    SettingsError
        If something of it is unknown, or does not go together.
    """

    source: Kind = "samples"
    folder: str = ""
    format: str = "png"
    range: str = "same"
    workers: int = 1
    quality: int | None = None
    skip_good: bool = False
    greys: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.source not in KINDS:
            raise SettingsError(f"the films come from one of {', '.join(KINDS)}")
        if type(self.workers) is not int or not 1 <= self.workers <= 256:
            raise SettingsError("processes are a whole number from 1 to 256")
        if not isinstance(self.folder, str):
            raise SettingsError("the folder is a text")
        if type(self.skip_good) is not bool:
            raise SettingsError("whether good films are skipped is true or false")
        check_output(f".{self.format}", self.range, self.quality)
        self.choice  # noqa: B018  # refuses what is unknown

    @property
    def films(self) -> str:
        """Where its films come from, for a person."""
        if self.source == "folder" and not self.folder and (root := places.operator_root()):
            return root.name
        return self.folder.rpartition("/")[2] or KINDS[self.source]

    @property
    def choice(self) -> DicomChoice:
        """How DICOM films are shown."""
        return DicomChoice(**self.greys)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Run:
    """A run: its folder, and what the form said."""

    folder: Path
    name: str
    created: datetime
    plan: Plan

    @property
    def id(self) -> str:
        """The name of its folder, by which it is found again."""
        return self.folder.name

    @property
    def out(self) -> Path:
        """The folder of its results."""
        return self.folder / "out"

    @property
    def preset(self) -> Path:
        """The file of its preset."""
        return self.folder / "preset.preset.json"

    @property
    def said(self) -> Path:
        """The file with what the command line said."""
        return self.folder / "said.txt"

    @property
    def books(self) -> RunFolder:
        """The command line's own books: lock, progress, wishes."""
        return RunFolder(self.out)

    @property
    def source(self) -> Path:
        """Where its films are.

        Raises
        ------
        FileError
            If that is not open to visitors any more.
        """
        if self.plan.source == "samples":
            return places.SAMPLES
        if self.plan.source == "folder":
            root = places.operator_root()
            if root is None:
                raise FileError("READ", "the folder of this run's films is not open to visitors any more")
            return places.below(root, self.plan.folder)
        packed = self.folder / "in.zip"
        return packed if packed.is_file() else self.folder / "in"


def every() -> list[Run]:
    """Return the latest runs, newest first; what else lies in the folder of the runs is passed over."""
    try:
        names = sorted((path.name for path in places.runs_root().iterdir()), reverse=True)
    except OSError:
        return []
    found: list[Run] = []
    for name in names:
        if run := find(name):
            found.append(run)
            if len(found) == MOST_SHOWN:
                break
    return found


def find(run_id: str) -> Run | None:
    """Return the run of an id, whoever made the id up."""
    folder = places.runs_root() / run_id if _ID.fullmatch(run_id) else None
    if folder is None or folder.is_symlink():
        return None
    try:
        with (folder / _FACTS).open("rb") as file:
            facts: Any = json.loads(file.read(_MOST_FACTS))
        name, plan = facts["name"], Plan(**facts["plan"])
        created = datetime.fromisoformat(facts["created"])
        return Run(folder, name, created, plan) if isinstance(name, str) and created.tzinfo else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # an XrayError is a ValueError
        return None


def create(name: str, plan: Plan, preset: Preset, uploads: Uploads = ()) -> Run:
    """Make the folder of a run, whole or not at all; nothing runs yet.

    Raises
    ------
    FileError
        If nothing can be written, or what was uploaded is too much.
    SettingsError
        If nothing usable was uploaded.
    """
    with draft(name, plan, preset, uploads) as made:
        made.folder.rename(places.runs_root() / made.id)
    found = find(made.id)
    if found is None:
        raise FileError("WRITE", "the folder of the run could not be made")
    return found


@contextmanager
def draft(name: str, plan: Plan, preset: Preset, uploads: Uploads = ()) -> Iterator[Run]:
    """Make a run in a hidden folder, which is gone in the end; raises as `create`."""
    root, moment = places.runs_root(), datetime.now(UTC)
    run_id = f"{moment:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
    title = printable(" ".join(name.split()), "_")[:LONGEST_NAME]
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(root)
        with tempfile.TemporaryDirectory(prefix=_DRAFT, dir=root, ignore_cleanup_errors=True) as hidden:
            run = Run(Path(hidden, run_id), title, moment, plan)
            run.folder.mkdir(mode=0o700)
            if plan.source == "upload":
                _keep(uploads, run.folder)
            run.preset.write_text(preset.dumps(), encoding="utf-8")
            facts = {"name": title, "created": moment.isoformat(timespec="seconds"), "plan": asdict(plan)}
            (run.folder / _FACTS).write_text(json.dumps(facts, indent=2), encoding="utf-8")
            yield run
    except OSError as error:
        failure = not_written(error)
        raise FileError(failure.code, f"The folder of the runs cannot be written: {failure}.") from None


def _keep(uploads: Uploads, folder: Path) -> None:
    """Write uploads to the disk, under names that lead nowhere and that no two have."""
    held, written = folder / "in", []
    held.mkdir()
    size = 0
    for name, data in uploads:
        size += len(data)
        if size > places.MOST_UPLOADED_BYTES:
            most = f"{places.MOST_UPLOADED_BYTES // 10**6} MB"
            raise FileError("BYTE_LIMIT", f"At most {most} can be uploaded at a time; take a folder of this server.")
        path = _free(held, name)
        path.write_bytes(data)
        written.append(path)
    if not written:
        raise SettingsError("Choose films to upload first.")
    packed = [path for path in written if _is_archive(path)]
    if packed and len(written) > 1:
        raise SettingsError("Upload one zip archive alone, or films without archives among them.")
    if packed:
        packed[0].rename(folder / "in.zip")


def _free(folder: Path, name: str) -> Path:
    # The last part alone: a browser may send a whole path.
    last = name.replace("\\", "/").rpartition("/")[2] or "film"
    names = (full_name(Path(f"{number}_{last}" if number else last), "").name for number in count())
    return next(folder / safe for safe in names if not (folder / safe).exists())


def _is_archive(path: Path) -> bool:
    try:
        return is_archive(path)
    except FileError:  # the command line says what is wrong with it
        return True


def delete(run: Run) -> None:
    """Take a run away, with its results and uploads; never while it is going on.

    Raises
    ------
    SettingsError
        If it is going on.
    FileError
        If it cannot be deleted.
    """
    if run.books.is_running():
        raise SettingsError("The run is going on: cancel it first.")
    root = places.runs_root()
    if run.folder.parent != root or find(run.id) is None:
        raise FileError("READ", "the run is not there any more")
    gone = root / f"{_DELETED}{run.id}"
    try:
        run.folder.rename(gone)
    except OSError as error:
        raise not_written(error) from None
    # A million files take a while.
    threading.Thread(target=shutil.rmtree, args=(gone, True), daemon=True).start()


def _sweep(root: Path) -> None:
    """Remove what a server that was killed left half made or half deleted."""
    for path in root.iterdir():
        if path.name.startswith((_DRAFT, _DELETED)):
            with suppress(OSError):
                if time.time() - path.lstat().st_mtime > _STALE and _is_ours(path):
                    shutil.rmtree(path, ignore_errors=True)


def _is_ours(path: Path) -> bool:
    if path.name.startswith(_DELETED):
        return _ID.fullmatch(path.name.removeprefix(_DELETED)) is not None
    return all(_ID.fullmatch(inside.name) for inside in path.iterdir())


def film(name: str) -> tuple[bytes, str]:
    """Return a film of a run, encoded, and its file's name.

    Parameters
    ----------
    name
        The run's id and the film's number in its books: ``20261121-101500-0a1b2c3d/17``.

    Raises
    ------
    FileError
        If run or film is not there any more.
    """
    run_id, _, number = name.partition("/")
    run = find(run_id)
    if run is None or not re.fullmatch("[0-9]{1,15}", number):
        raise FileError("READ", "the run of this film is not there any more")
    try:
        with books(run.out) as manifest:
            if not manifest.query("SELECT 1 FROM files WHERE id = ?", (int(number),)):
                raise FileError("READ", "the run knows of no such film")
            task = manifest.task(int(number))
    except XrayError as error:
        raise error if isinstance(error, FileError) else FileError("READ", str(error)) from None
    return _read(run.source, task), task.path.name


def _read(source: Path, task: Task) -> bytes:
    if task.member is None:
        return read_bytes(places.below(source.resolve(), str(task.path)))
    with Archive(source) as archive:
        return archive.read(task.member, task.path)
