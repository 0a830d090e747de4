"""What a file may declare, and what a process that decodes may use: one declaration, from which the flags follow."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from dataclasses import Field, dataclass, field, fields
from typing import Any

from xray_core.errors import FileError


def _limit(default: int, words: str) -> Any:
    return field(default=default, metadata={"words": words})


@dataclass(frozen=True)
class Limits:
    """What is refused before it is decoded; all are checked against what a file declares.

    Attributes
    ----------
    pixels
        Most pixels of one picture.
    file_bytes
        Most bytes of a file, or of one file in an archive.
    pages
        Most pages, frames or arrays of one file.
    members
        Most entries of an archive.
    unpacked_bytes
        Most bytes that an archive, or one packed array, says that it unpacks to in all.
    memory_bytes
        Most bytes of memory that a process which decodes files of unknown origin may take; kept on Linux.
    """

    pixels: int = _limit(100_000_000, "pixels of one picture")
    file_bytes: int = _limit(500_000_000, "bytes of a file, also of one in an archive")
    pages: int = _limit(1_000, "pages, frames or arrays of one file")
    members: int = _limit(100_000, "entries of an archive")
    unpacked_bytes: int = _limit(50_000_000_000, "bytes that an archive unpacks to in all")
    memory_bytes: int = _limit(2_000_000_000, "bytes of memory a worker")

    def check(self, width: int, height: int) -> None:
        """Raise `FileError` for a declared size that is zero or over the limit."""
        if width < 1 or height < 1:
            raise FileError("EMPTY", f"the picture has no pixels ({width} x {height})")
        if width * height > self.pixels:
            raise FileError(
                "PIXEL_LIMIT",
                f"{width} x {height} is {width * height:,} pixels; the limit is {self.pixels:,}",
            )

    def check_bytes(self, count: int) -> None:
        """Raise `FileError` for a file of too many bytes."""
        if count > self.file_bytes:
            raise FileError("BYTE_LIMIT", f"{_megabytes(count)}; the limit is {_megabytes(self.file_bytes)}")

    def check_unpacked(self, count: int) -> None:
        """Raise `FileError` for what would unpack to too many bytes."""
        if count > self.unpacked_bytes:
            raise FileError(
                "BYTE_LIMIT", f"it unpacks to {_megabytes(count)}; the limit is {_megabytes(self.unpacked_bytes)}"
            )

    def check_pages(self, count: int) -> None:
        """Raise `FileError` for a file of too many pages."""
        if count > self.pages:
            raise FileError("PAGE_LIMIT", f"the file holds more than {self.pages:,} pages, which is the limit")


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB" if count >= 1_000_000 else f"{count:,} bytes"


def declared() -> dict[str, Field[Any]]:
    """Return the limits by name, each with its default and, in ``metadata["words"]``, what it counts."""
    return {one.name: one for one in fields(Limits)}


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_... in glibc's malloc.h
_KEPT_BYTES = 1 << 28


def bound_memory(limit: int) -> None:
    """Have this process refuse to take more memory than a number of bytes; without effect outside Linux.

    What goes beyond is a `MemoryError`, or OpenCV's own, in place of a machine that runs out of memory. What one film
    took is kept for the next: handing pages back and asking for them anew costs a tenth of the time.
    """
    try:
        import resource
    except ImportError:  # Windows
        return
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = limit if most == resource.RLIM_INFINITY else min(limit, most)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, most))
    with suppress(AttributeError, OSError):  # another C library than glibc
        adjust = ctypes.CDLL(None).mallopt
        adjust(_MMAP_THRESHOLD, _KEPT_BYTES // 4)
        adjust(_TRIM_THRESHOLD, _KEPT_BYTES)
