"""Zip archives as a source of films: listed and read in memory, never unpacked to a disk.

So no name of an entry can lead anywhere, and no more is unpacked than one file at a time, within its limit. Links,
hidden files and archives inside the archive are passed over and counted, as in a folder.
"""

from __future__ import annotations

import io
import os
import re
import stat
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import PurePath, PurePosixPath
from types import TracebackType
from typing import IO

from xray_core.arrays import check_packing
from xray_core.decode import container_of
from xray_core.errors import FileError
from xray_core.files import SUFFIXES, reason
from xray_core.limits import Limits

_RECORD = b"PK\x01\x02"  # begins the entry of a member in the archive's directory


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    Attributes
    ----------
    number
        Its place in the archive's directory, which names it: two may have one name.
    path
        Its name, for a person and for the name of an output; it may lead out of a folder, and nothing is opened by it.
    """

    number: int
    path: PurePosixPath


class _Bounded:
    """A file that is never read in one piece where that piece holds too many entries of a directory."""

    def __init__(self, file: IO[bytes], limits: Limits) -> None:
        self._file = file
        self._limits = limits
        self.seek, self.tell, self.seekable, self.close = file.seek, file.tell, file.seekable, file.close

    def read(self, size: int = -1) -> bytes:
        if size > self._limits.members * 1_000:
            raise FileError("BYTE_LIMIT", "the archive's list of contents is too long")
        data = self._file.read(size)
        if data.count(_RECORD) > self._limits.members:
            raise FileError("PAGE_LIMIT", f"the archive has more than {self._limits.members:,} entries, the limit")
        return data


class Archive:
    """An opened zip archive; close it, or use it in a ``with``.

    Parameters
    ----------
    source
        Path of the archive, or its bytes, as an upload has them.
    limits
        Entries of the archive, bytes of one, bytes in all.

    Raises
    ------
    FileError
        If it is damaged, or says that it holds more than the limits allow.
    """

    def __init__(self, source: str | os.PathLike[str] | bytes, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        try:
            file: IO[bytes] = io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")  # noqa: SIM115
        except OSError as error:
            raise FileError("READ", reason(error)) from error
        size = file.seek(0, os.SEEK_END)
        self._file = _Bounded(file, self._limits)
        try:
            self._zip = zipfile.ZipFile(self._file)
            self._check(size)
        except BaseException as error:
            self._file.close()
            if isinstance(error, FileError):
                raise
            if not isinstance(error, Exception):
                raise
            raise FileError("DECODE", "the zip archive is damaged or cut short") from error

    def _check(self, size: int) -> None:
        entries = self._zip.infolist()
        self._limits.check_unpacked(sum(entry.file_size for entry in entries))
        # Entries that share their content hold more than the file: a way to unpack to any size.
        if sum(entry.compress_size for entry in entries) > size:
            raise FileError("BYTE_LIMIT", "entries of the archive overlap: it is made to unpack to more than it holds")

    def __enter__(self) -> Archive:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Let the file go."""
        self._zip.close()
        self._file.close()

    @property
    def is_numpy(self) -> bool:
        """Whether it is an NPZ: one file with arrays, rather than an archive of films."""
        names = [entry.filename for entry in self._zip.infolist()]
        names = [name for name in names if not name.endswith("/")]
        return bool(names) and all(name.endswith(".npy") for name in names)

    def members(self, passed_over: Counter[str] | None = None) -> list[Member]:
        """List the pictures in a fixed order, told by suffix, or where that says nothing by the first bytes.

        Parameters
        ----------
        passed_over
            Counts what is passed over, by kind.
        """
        counts = Counter[str]() if passed_over is None else passed_over
        found = []
        for number, entry in enumerate(self._zip.infolist()):
            path = _path(entry.filename)
            # Not by is_dir(), which falls over an empty name.
            if entry.filename.endswith("/"):
                continue
            if any(part.startswith(".") and part != ".." for part in path.parts) or "__MACOSX" in path.parts:
                counts["hidden"] += 1
            elif stat.S_ISLNK(entry.external_attr >> 16):
                counts["links"] += 1
            elif path.suffix.lower() == ".zip":
                counts["archives inside the archive"] += 1
            elif path.suffix.lower() in SUFFIXES or self._looks_like_a_picture(entry):
                found.append(Member(number, path))
            else:
                counts["no pictures"] += 1
        return sorted(found, key=lambda member: (member.path.parts, member.number))

    def _looks_like_a_picture(self, entry: zipfile.ZipInfo) -> bool:
        try:
            check_packing(entry)
            with self._zip.open(entry) as stream:
                container = container_of(stream.read(132))
        except Exception:  # damaged content raises nearly anything
            return False
        # Any zip archive starts like an NPZ.
        return container not in (None, "NPZ")

    def read(self, number: int, path: PurePath | None = None) -> bytes:
        """Unpack the file at one place of the directory into memory; see `Member`.

        Parameters
        ----------
        number
            The place.
        path
            The name that it had when the archive was listed, if that was another time.

        Raises
        ------
        FileError
            If its name leads out of the archive, it is damaged, encrypted or too large, or the archive is another now.
        """
        entries = self._zip.infolist()
        if number >= len(entries) or path not in (None, _path(entries[number].filename)):
            raise FileError("READ", "the archive was replaced by another since it was listed")
        entry = entries[number]
        if _leads_out(entry.filename):
            raise FileError("READ", "its name leads out of the archive; such a file is not read")
        check_packing(entry)
        self._limits.check_bytes(entry.file_size)
        try:
            with self._zip.open(entry) as stream:
                # One byte more than announced: only at its end the checksum is compared.
                data = stream.read(entry.file_size + 1)
        except FileError:
            raise
        except MemoryError:
            raise FileError("MEMORY", "not enough memory to unpack the file") from None
        except Exception as error:
            raise FileError("DECODE", "its part of the zip archive is damaged") from error
        if len(data) != entry.file_size:
            raise FileError("DECODE", "its part of the zip archive is damaged")
        return data


def _path(name: str) -> PurePosixPath:
    # Some programs on Windows write their own separators.
    return PurePosixPath(name.replace("\\", "/"))


def _leads_out(name: str) -> bool:
    path = _path(name)
    return path.is_absolute() or ".." in path.parts or bool(re.match(r"[A-Za-z]:", name))


def is_archive(source: str | os.PathLike[str] | bytes, limits: Limits | None = None) -> bool:
    """Whether a file, given by its path or its bytes, is a zip archive of films, told by content: an NPZ is not.

    Raises
    ------
    FileError
        If it begins like a zip archive and cannot be opened as one.
    """
    try:
        if isinstance(source, bytes):
            head = source[:4]
        else:
            with open(source, "rb") as file:
                head = file.read(4)
    except OSError:
        return False
    if head not in (b"PK\x03\x04", b"PK\x05\x06"):
        return False
    with Archive(source, limits) as archive:
        return not archive.is_numpy
