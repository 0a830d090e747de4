"""Where a batch takes its files from and puts its outputs: a folder, a zip archive, or an object store.

A place is given as a path, or as a URL of fsspec (``s3://bucket/films``). The two protocols are all that the rest of
the batch knows of it; object stores are in `xray_core.remote`.
"""

from __future__ import annotations

import ctypes
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from xray_core.archive import Archive
from xray_core.errors import FileError, SettingsError
from xray_core.files import is_same, not_written, read_bytes, scan, write_bytes
from xray_core.limits import Limits
from xray_core.names import is_utf8

Place = Path | str
"""A path, or a URL."""

# A key may hold slashes: whatever stands between the scheme and the last @.
_PASSWORD = re.compile(r"[a-z][a-z0-9+.-]*://[^@]*:[^@]*@", re.IGNORECASE)

_RACY_NS = 2_000_000_000  # the coarsest time stamps of a file system (FAT's)


def place(text: str) -> Place:
    """Return the place that a text names: a path, or a URL.

    Raises
    ------
    SettingsError
        If the URL holds what looks like a password: it would stand in logs and in the books of runs.
    """
    if not text.strip():
        raise SettingsError("this is empty, where a folder is expected")
    if "://" not in text:
        return Path(text)
    if _PASSWORD.match(text):
        raise SettingsError(
            "a URL with a password in it is refused, for it would stand in logs; give credentials as the store's own "
            "tools take them: by the environment or their configuration"
        )
    scheme, _, rest = text.partition("://")
    if scheme.lower() in ("http", "https") and "?" in rest:
        raise SettingsError("a URL with a ? is refused: what follows may be a secret, and would stand in logs")
    return Path(url2pathname(urlsplit(text).path)) if scheme.lower() in ("file", "local") else text


@dataclass(frozen=True, slots=True)
class Entry:
    """A file that a source holds.

    Attributes
    ----------
    path
        Below the source, for a person and for the name of the output.
    stamp
        Changes when the content does; empty where that is not sure, as for a file that was changed just now.
    member, copy
        Its place in an archive, and which one of several entries of one name it is, from 1.
    """

    path: PurePath
    stamp: str
    member: int | None = None
    copy: int = 1


class Source(Protocol):
    """Where the files come from; it is only ever read."""

    def entries(self, passed_over: Counter[str]) -> Iterator[Entry]:
        """Yield the pictures one by one, in any order; counts what is passed over."""

    def read(self, path: PurePath, member: int | None, limits: Limits) -> bytes:
        """Return a file's bytes; raises `FileError`."""

    def is_there(self) -> bool:
        """Whether the source can still be reached."""

    def close(self) -> None:
        """Let go of what is held open."""


class Target(Protocol):
    """Where the outputs go."""

    def write(self, path: PurePath, data: bytes) -> None:
        """Write a file whole, or not at all; raises `FileError`."""

    def sizes(self) -> Iterator[tuple[str, int]]:
        """Yield every file below the target with its bytes, one by one."""

    def read(self, path: PurePath) -> bytes:
        """Return an output's bytes; raises `FileError`."""

    def has(self, path: PurePath) -> bool:
        """Whether a file is there."""

    def remove(self, path: PurePath) -> None:
        """Remove a file, if it is there."""

    def put(self, grown: Path, path: PurePath) -> None:
        """Move a file that grew on this machine to its place; raises `FileError`."""

    def sync(self) -> None:
        """Have what was written outlast a loss of power."""


class Folder:
    """A folder of this machine, or that it shares, as a source.

    Parameters
    ----------
    root
        The folder.
    only
        The one file of it that is meant.
    apart
        Where the outputs go: a folder that may not lie among the inputs, under whatever path it is mounted there.
    """

    def __init__(self, root: Path, only: PurePath | None = None, apart: Place | None = None) -> None:
        self._root = root
        self._only = only
        self._apart = apart

    def entries(self, passed_over: Counter[str]) -> Iterator[Entry]:
        """Yield the pictures below the folder; see `xray_core.files.scan`. Raises `SettingsError` at the outputs."""
        if self._only is not None:
            yield Entry(self._only, _stamp((self._root / self._only).stat()))
            return
        closed: list[Path] = []
        for path, found in scan(self._root, passed_over, closed=closed, entered=self._check_apart):
            try:
                yield Entry(path, _stamp(found.stat(follow_symlinks=False)))
            except OSError:
                yield Entry(path, "")
        # Nobody would miss the films in them: they are failures, and not passed over.
        yield from (Entry(path, "") for path in closed)

    def _check_apart(self, folder: Path) -> None:
        if isinstance(self._apart, Path) and is_same(self._root / folder, self._apart):
            raise SettingsError(
                f"{self._apart}: the outputs' folder is {self._root / folder}, among the inputs; choose another"
            )

    def read(self, path: PurePath, member: int | None, limits: Limits) -> bytes:
        """Return a file's bytes."""
        try:
            return read_bytes(self._root / path, limits)
        except FileError:
            with suppress(OSError):
                if (self._root / path).is_dir():
                    raise FileError("READ", "a folder that could not be read; what is in it is not known") from None
            raise

    def is_there(self) -> bool:
        """Whether the folder is, and holds anything: one that was emptied may be a disk that is not mounted."""
        try:
            with os.scandir(self._root) as entries:
                return next(entries, None) is not None
        except OSError:
            return False

    def close(self) -> None:
        """Nothing is held open."""


def _stamp(status: os.stat_result) -> str:
    latest = max(status.st_mtime_ns, status.st_ctime_ns)
    # Changed again within the same tick of the clock it would look the same.
    if latest > time.time_ns() - _RACY_NS:
        return ""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


class Packed:
    """A zip archive as a source; read in memory, never unpacked to disk."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path = path
        self._archive = Archive(path, limits)

    def entries(self, passed_over: Counter[str]) -> Iterator[Entry]:
        """Yield the pictures in the archive."""
        copies = Counter[PurePath]()
        stamp = _stamp(self._path.stat())
        for member in self._archive.members(passed_over):
            copies[member.path] += 1
            yield Entry(member.path, stamp, member.number, copies[member.path])

    def read(self, path: PurePath, member: int | None, limits: Limits) -> bytes:
        """Unpack a file in memory."""
        if member is None:
            raise FileError("READ", "the file or folder does not exist")
        return self._archive.read(member, path)

    def is_there(self) -> bool:
        """Whether the archive is."""
        return self._path.is_file()

    def close(self) -> None:
        """Let the archive go."""
        self._archive.close()


class OutFolder:
    """A folder as the target.

    Parameters
    ----------
    root
        The folder.
    parts
        Folder on the same disk in which files grow until they are whole.
    apart
        The folder of the inputs, into which nothing is written, under whatever path it is mounted here.
    """

    def __init__(self, root: Path, parts: Path, apart: Place | None = None) -> None:
        self._root = root
        self._parts = parts
        self._apart = apart
        self._inside = lru_cache(maxsize=256)(self._leads_inside)

    def write(self, path: PurePath, data: bytes) -> None:
        """Write a file below the folder."""
        output = self._root / path
        if not self._inside(output.parent):
            # Where it leads may be the inputs themselves.
            raise FileError("WRITE", "a folder leads out of the outputs' folder, by a link or a mount")
        write_bytes(output, data, parts=self._parts)

    def _leads_inside(self, folder: Path) -> bool:
        real, root = folder.resolve(), self._root.resolve()
        if not real.is_relative_to(root):
            return False
        between = (real, *real.parents)[: len(real.parts) - len(root.parts)]
        return not (isinstance(self._apart, Path) and any(is_same(one, self._apart) for one in between))

    def sizes(self) -> Iterator[tuple[str, int]]:
        """Yield the files below the folder; hidden ones are none of ours, nor are names that are no UTF-8."""
        stack = [(str(self._root), "")]
        while stack:
            folder, above = stack.pop()
            with suppress(OSError), os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or not is_utf8(entry.name):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        stack.append((entry.path, f"{above}{entry.name}/"))
                    else:
                        yield f"{above}{entry.name}", entry.stat(follow_symlinks=False).st_size

    def read(self, path: PurePath) -> bytes:
        """Return an output's bytes."""
        return read_bytes(self._root / path)

    def has(self, path: PurePath) -> bool:
        """Whether an output is there."""
        return (self._root / path).is_file()

    def remove(self, path: PurePath) -> None:
        """Remove an output."""
        # Damaged books may hold what is no path at all.
        with suppress(OSError, ValueError):
            if self._inside((self._root / path).parent):
                (self._root / path).unlink(missing_ok=True)

    def put(self, grown: Path, path: PurePath) -> None:
        """Move a file, of the same disk, below the folder."""
        try:
            grown.replace(self._root / path)
        except OSError as error:
            raise not_written(error) from error

    def sync(self) -> None:
        """Bring the file system's memory of this folder to the disk (Linux), or every one's (other systems)."""
        try:
            place = os.open(self._root, os.O_RDONLY)
        except OSError:  # Windows opens no folders
            return
        try:
            # One call for thousands of files; fsync of each would take as long as to compute them.
            if (syncfs := _syncfs()) is None or syncfs(place) != 0:
                os.sync()
        finally:
            os.close(place)


@lru_cache(maxsize=1)
def _syncfs() -> ctypes._FuncPointer | None:
    with suppress(OSError, AttributeError):
        return ctypes.CDLL(None, use_errno=True).syncfs
    return None
