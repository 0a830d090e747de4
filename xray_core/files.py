"""Paths: read, list and write. Originals are only ever opened for reading, and outputs appear whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from xray_core.decode import Limits, container_of, decode
from xray_core.derivation import Derivation
from xray_core.dicom_choice import DicomChoice
from xray_core.encode import FORMATS, RANGES, check_output, encode, in_range
from xray_core.errors import FileError
from xray_core.image import Film, Image
from xray_core.stored import Levels

__all__ = ["FORMATS", "RANGES", "check_output", "encode", "in_range"]

SUFFIXES = frozenset(
    [".png", ".jpg", ".jpeg", ".tif", ".tiff", ".npz", ".npy", ".dcm", ".dicom", ".bmp", ".gif", ".webp", ".jp2"]
)
"""Files with these suffixes count as pictures when a folder is listed, whatever is in them."""
HEAD = 132
"""So many bytes tell what a file is."""


def read(
    path: str | os.PathLike[str],
    limits: Limits | None = None,
    *,
    page: int = 1,
    levels: Levels | None = None,
    dicom: DicomChoice | None = None,
) -> Film:
    """Read and decode a file.

    Parameters
    ----------
    path
        Any file; its format is told by content.
    limits, page, levels, dicom
        As in `xray_core.decode.decode`.

    Raises
    ------
    FileError
        If it cannot be read or is no radiograph.
    """
    return decode(read_bytes(path, limits), Path(path).name, limits, page=page, levels=levels, dicom=dicom)


def read_bytes(path: str | os.PathLike[str], limits: Limits | None = None) -> bytes:
    """Read a file's bytes, unless they are too many; raises `FileError`."""
    path = Path(path)
    try:
        (limits or Limits()).check_bytes(path.stat().st_size)
        if not path.is_file():
            raise FileError("READ", "this is no file")
        return path.read_bytes()
    except OSError as error:
        raise FileError("READ", reason(error)) from error


def is_same(one: Path, other: Path) -> bool:
    """Whether two paths lead to one folder, which may be mounted in two places; False where either is not there."""
    if one == other:
        return True
    try:
        return one.samefile(other)
    except OSError:
        return False


def reason(error: OSError, otherwise: str = "") -> str:
    """Return an operating system's error in words, without the path it may carry.

    `otherwise` takes the place of the system's own words, where they may be those of a library.
    """
    words = {
        errno.ENOENT: "the file or folder does not exist",
        errno.EACCES: "permission denied",
        errno.EPERM: "permission denied",
        errno.EISDIR: "this is a folder",
        errno.ENOSPC: "the disk is full",
        errno.EDQUOT: "the disk is full: its quota is used up",
        errno.EROFS: "the disk is read-only",
        errno.ENAMETOOLONG: "the name is too long",
    }
    return words.get(error.errno or 0, otherwise or (error.strerror or type(error).__name__).lower())


def find(root: Path, passed_over: Counter[str] | None = None) -> Iterator[Path]:
    """Yield the pictures below a folder in the order of their paths, as paths relative to it.

    A file counts as a picture by its suffix, or where that says nothing by its first bytes. Hidden files and links are
    passed over.

    Parameters
    ----------
    root
        The folder.
    passed_over
        Counts what is passed over, by kind.
    """
    for path, _ in scan(root, passed_over, in_order=True):
        yield path


def scan(
    root: Path,
    passed_over: Counter[str] | None = None,
    *,
    in_order: bool = False,
    closed: list[Path] | None = None,
    entered: Callable[[Path], None] = lambda folder: None,
) -> Iterator[tuple[Path, os.DirEntry[str]]]:
    """Yield the pictures below a folder as `find` does, each with its entry of the directory.

    Without an order no more than one entry is held at a time, however many there are.

    Parameters
    ----------
    root, passed_over
        As in `find`.
    in_order
        Whether in the order of their paths.
    closed
        Takes the folders below the root that cannot be read; without it they are counted.
    entered
        Called with each folder below the root before it is listed.
    """
    counts = Counter[str]() if passed_over is None else passed_over

    def entries_of(folder: Path) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(root / folder) as entries:
                yield from sorted(entries, key=lambda entry: entry.name) if in_order else entries
        except OSError:
            if closed is None or not folder.parts or folder.name == "lost+found":
                counts["folders that cannot be read"] += 1
            else:
                closed.append(folder)

    # An own stack: as a recursion, a deep tree would end in Python's limit.
    stack = [(Path(), entries_of(Path()))]
    while stack:
        folder, entries = stack[-1]
        entry = next(entries, None)
        if entry is None:
            stack.pop()
            continue
        try:
            hidden = entry.name.startswith(".")
            if entry.is_dir(follow_symlinks=False):
                if not hidden:
                    entered(folder / entry.name)
                    stack.append((folder / entry.name, entries_of(folder / entry.name)))
            elif hidden or entry.is_symlink():
                counts["hidden" if hidden else "links"] += 1
            elif entry.is_file(follow_symlinks=False) and _is_picture(entry):
                yield Path(folder, entry.name), entry
            else:
                counts[kind_passed_over(entry.name)] += 1
        except OSError:
            counts["not readable"] += 1


def _is_picture(entry: os.DirEntry[str]) -> bool:
    named = named_as_picture(entry.name)
    if named is not None:
        return named
    try:
        with open(entry.path, "rb") as file:
            return begins_as_picture(file.read(HEAD))
    except PermissionError:  # nothing tells that it is none
        return True
    except OSError:
        return False


def named_as_picture(name: str) -> bool | None:
    """Whether a file counts as a picture by its name; None where its first bytes have to tell."""
    if os.path.splitext(name)[1].lower() in SUFFIXES:
        return True
    # The table of contents of a disc is DICOM, but of no film.
    return False if name == "DICOMDIR" else None


def begins_as_picture(head: bytes) -> bool:
    """Whether a file counts as a picture by its first `HEAD` bytes."""
    # Any zip archive starts like an NPZ.
    return container_of(head) not in (None, "NPZ")


def kind_passed_over(name: str) -> str:
    """Return what a file that counts as no picture is counted as."""
    return "zip archives" if name.lower().endswith(".zip") else "no pictures"


def write(
    path: str | os.PathLike[str],
    image: Image,
    kind: str = "same",
    *,
    text: str | None = None,
    quality: int | None = None,
    origin: Derivation | None = None,
) -> None:
    """Encode an image by the path's suffix and write it, whole or not at all; options as in `encode`.

    Raises
    ------
    FileError
        If it cannot be written.
    SettingsError
        If the suffix or range is unknown, or they don't go together.
    """
    path = Path(path)
    check_output(path.suffix, kind, quality)
    write_bytes(path, encode(in_range(image, kind), path.suffix, text=text, quality=quality, origin=origin))


def write_bytes(path: str | os.PathLike[str], data: bytes, *, parts: Path | None = None) -> None:
    """Write a file so that a reader, or a crash, finds the old content or the new one, never a part.

    Parameters
    ----------
    path
        The file; its folder is made.
    data
        Its content.
    parts
        Folder on the same disk where it grows; its own folder if None.

    Raises
    ------
    FileError
        If it cannot be written; DISK_FULL where there is no room.
    """
    path = Path(path)
    part = (parts or path.parent) / f".radtune-{secrets.token_hex(8)}.part"
    try:
        try:
            _put(part, data, path)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
    except OSError as error:
        if parts is not None and error.errno == errno.EXDEV:
            write_bytes(path, data)
            return
        raise not_written(error) from error


def not_written(error: OSError) -> FileError:
    """Return an operating system's error as what it means for a file that was to be written."""
    return FileError("DISK_FULL" if is_full(error) else "WRITE", reason(error))


def is_full(error: OSError) -> bool:
    """Whether an operating system's error says that there is no room left."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def _put(part: Path, data: bytes, path: Path) -> None:
    try:
        part.write_bytes(data)
        part.replace(path)
    except FileNotFoundError:
        # Mostly the folder is there: to ask each time takes as long as to write a small file.
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        part.replace(path)
