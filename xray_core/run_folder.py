"""The hidden folder in which a run keeps its books: the lock, the manifest, unfinished files, progress, a wish to stop.

It lies in the outputs' folder, or where those are on an object store in one that the caller names. Everything in it can
be read while the run goes on, by another process too: the page and the command line ask here how far it is.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, get_args

from filelock import BaseFileLock, FileLock, Timeout

from xray_core.errors import FileError, RunError, unwritten
from xray_core.files import not_written, reason, write_bytes
from xray_core.names import LOG, is_utf8

STATE = ".radtune"
Phase = Literal["listing", "running", "finishing", "done", "paused", "cancelled", "interrupted", "stopped"]
ENDED = ("done", "paused", "cancelled", "interrupted", "stopped")
Wish = Literal["pause", "cancel"]
_OURS = re.compile(rf"\.radtune-|probe|{re.escape(LOG)}$")  # what grows among the parts


@dataclass
class Progress:
    """How far a run is.

    Attributes
    ----------
    phase
        What it does, or how it ended.
    total
        Files found; those that were done before are among them.
    done, failed, unchanged
        Files of this run that ended, those of them that failed, and those that were done before.
    started, updated
        Seconds since 1970.
    rate
        Files a second lately.
    seconds_left
        What is left, at that rate; None before it is known.
    failures
        Numbers of failures, by cause.
    words
        Why it stopped, for a person.
    command
        What goes on with it, as typed into a terminal.
    process, host
        Number of the process, and name of its machine.
    """

    phase: Phase = "listing"
    total: int = 0
    done: int = 0
    failed: int = 0
    unchanged: int = 0
    started: float = 0.0
    updated: float = 0.0
    rate: float = 0.0
    seconds_left: float | None = None
    failures: dict[str, int] = field(default_factory=dict)
    words: str = ""
    command: tuple[str, ...] = ()
    process: int = 0
    host: str = ""


def parts_of(root: Path) -> list[RunFolder]:
    """Return the books that lie in a folder: those of one run, or of the parts of one that was spread."""
    own = RunFolder(root)
    if own.manifest.is_file():
        return [own]
    shards = sorted(path.parent.name for path in (root / STATE).glob("*-of-*/manifest.sqlite"))
    return [RunFolder(root, shard) for shard in shards]


def all_of(root: Path) -> list[RunFolder]:
    """Return the books of every run and part that was ever begun in a folder, whatever is left of them."""
    shards = sorted(path.parent.name for path in (root / STATE).glob("*-of-*/lock"))
    return [RunFolder(root, shard) for shard in ("", *shards)]


class RunFolder:
    """The books of one run.

    Parameters
    ----------
    root
        The folder that holds ``.radtune``.
    shard
        Which part of the files is the run's own, as ``3-of-8``; empty for all.
    """

    def __init__(self, root: Path, shard: str = "") -> None:
        self.root, self.shard = root, shard
        self.path = root / STATE / shard
        self.count = int(shard.partition("-of-")[2] or 1)  # of the parts that the run was spread into
        self.manifest = self.path / "manifest.sqlite"
        self.parts = self.path / "parts"
        self._progress = self.path / "progress.json"
        self._wish = self.path / "stop"

    @cached_property
    def _lock(self) -> BaseFileLock:
        return FileLock(self.path / "lock", mode=0o666)

    def forget(self) -> None:
        """Take the manifest away, with what SQLite keeps beside it."""
        for book in self.path.glob(f"{self.manifest.name}*"):
            book.unlink(missing_ok=True)

    def remove(self) -> None:
        """Take everything of ours away, and the folders that are empty then; for a run that did nothing."""
        with suppress(OSError):
            self.forget()
            self._sweep()
            for book in (self._progress, self._wish, Path(self._lock.lock_file)):
                book.unlink(missing_ok=True)
        for folder in (self.parts, self.path, self.root / STATE):
            with suppress(OSError):
                folder.rmdir()

    def __enter__(self) -> RunFolder:
        """Take the folder for one run.

        Raises
        ------
        RunError
            IN_USE where another run has it, CANNOT_WRITE or DISK_FULL where nothing can be written.
        """
        for place in (self.root / STATE, self.path, self.parts):
            # What lies there is written over and swept away.
            if place.is_symlink() or place.is_file():
                kind = "link" if place.is_symlink() else "file"
                raise RunError(
                    "CANNOT_WRITE", f"{place}: this is a {kind}; the books of a run need a folder of their own"
                )
        try:
            self.parts.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=1.0)
        except Timeout:
            raise RunError("IN_USE", f"{self.root}: another run writes into this folder{self.holder()}") from None
        except (OSError, NotImplementedError) as error:
            words = reason(error) if isinstance(error, OSError) else "its file system has no locks"
            raise RunError("CANNOT_WRITE", f"{self.root}: {words}") from None
        try:
            self._wish.unlink(missing_ok=True)
            # A folder may be there and its owner another.
            write_bytes(self.parts / "probe", b"", parts=self.parts)
            self._sweep()
        except (OSError, FileError) as error:
            self._lock.release()
            failure = error if isinstance(error, FileError) else not_written(error)
            raise unwritten(failure, f"{self.root}: {failure}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Let the folder go."""
        self._sweep()
        self._lock.release()

    def _sweep(self) -> None:
        """Remove what workers that were killed left unfinished."""
        with suppress(OSError):
            for part in self.parts.iterdir():
                if _OURS.match(part.name):
                    part.unlink(missing_ok=True)

    def holder(self) -> str:
        """Return who has the folder, as far as that is known, in brackets."""
        progress = self.progress()
        return f" (process {progress.process} on {progress.host})" if progress and progress.process else ""

    def report(self, progress: Progress) -> None:
        """Write down how far the run is; a disk without room is no reason to end it here."""
        told = asdict(progress) | {"process": os.getpid(), "host": socket.gethostname(), "updated": time.time()}
        with suppress(FileError):
            write_bytes(self._progress, json.dumps(told).encode(), parts=self.parts)

    def progress(self) -> Progress | None:
        """Return how far the run is, or was when it was last heard of; None where no run said anything."""
        try:
            told: dict[str, Any] = json.loads(self._progress.read_bytes())
            progress = Progress(**told | {"command": tuple(told["command"])})
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return progress if _is_sound(progress) else None

    def is_running(self) -> bool:
        """Whether a process holds the folder now; one that was killed holds nothing."""
        if not Path(self._lock.lock_file).is_file():
            return False
        try:
            with self._lock.acquire(timeout=0):
                return False
        except Timeout:
            return True
        except (OSError, NotImplementedError):  # it is another's, who may read only
            progress = self.progress()
            return progress is not None and progress.phase not in ENDED and time.time() - progress.updated < 60

    def wish(self, wish: Wish) -> None:
        """Ask the run to stop at the next file; it can be gone on with after either wish."""
        write_bytes(self._wish, wish.encode(), parts=self.parts)

    def wished(self) -> Wish | None:
        """Return what the run was asked, if anything."""
        try:
            text = self._wish.read_text()
        except OSError:
            return None
        return "pause" if text == "pause" else "cancel"


def _is_sound(progress: Progress) -> bool:
    """Whether everything is of its kind: what lies in a folder may have been written by anyone."""
    numbers = ("total", "done", "failed", "unchanged", "started", "updated", "rate", "process")
    return (
        progress.phase in get_args(Phase)
        and all(_is_number(getattr(progress, name)) for name in numbers)
        and (progress.seconds_left is None or _is_number(progress.seconds_left))
        and all(map(_is_text, (progress.words, progress.host, *progress.command)))
        and type(progress.failures) is dict
        and all(map(_is_text, progress.failures))
        and all(map(_is_number, progress.failures.values()))
    )


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value < 1e18  # type: ignore[operator]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and is_utf8(value)
