"""Paths: read, list and write. Originals are only ever opened for reading, and outputs appear whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections import Counter
from collections.abc import Iterator
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


def reason(error: OSError) -> str:
    """Return an operating system's error in words, without the path it may carry."""
    words = {
        errno.ENOENT: "the file or folder does not exist",
        errno.EACCES: "permission denied",
        errno.EPERM: "permission denied",
        errno.EISDIR: "this is a folder",
        errno.ENOSPC: "the disk is full",
        errno.EROFS: "the disk is read-only",
        errno.ENAMETOOLONG: "the name is too long",
    }
    return words.get(error.errno or 0, (error.strerror or type(error).__name__).lower())


def find(root: Path, passed_over: Counter[str] | None = None) -> Iterator[Path]:
    """Yield the pictures below a folder in a fixed order, as paths relative to it.

    A file counts as a picture by its suffix, or where that says nothing by its first bytes. Hidden files and links are
    passed over.

    Parameters
    ----------
    root
        The folder.
    passed_over
        Counts what is passed over, by kind.
    """
    counts = Counter[str]() if passed_over is None else passed_over
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if name.startswith("."):
                counts["hidden"] += 1
            elif path.is_symlink():
                counts["links"] += 1
            elif path.is_file() and (path.suffix.lower() in SUFFIXES or _looks_like_a_picture(path)):
                yield path.relative_to(root)
            else:
                counts["zip archives" if path.suffix.lower() == ".zip" else "no pictures"] += 1


def _looks_like_a_picture(path: Path) -> bool:
    if path.name == "DICOMDIR":  # the table of contents of a disc: DICOM, but of no film
        return False
    try:
        with path.open("rb") as file:
            container = container_of(file.read(132))
    except OSError:
        return False
    # Any zip archive starts like an NPZ.
    return container not in (None, "NPZ")


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


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file so that a reader, or a crash, finds the old content or the new one, never a part."""
    path = Path(path)
    part = path.with_name(f".radtune-{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(data)
            part.replace(path)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
    except OSError as error:
        raise FileError("WRITE", reason(error)) from error
