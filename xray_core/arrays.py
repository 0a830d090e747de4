"""NPY and NPZ without pickle: arrays, several of them, and stacks.

(H, W) is a picture; (H, W, 3) and (H, W, 4) of ``uint8`` or ``uint16`` are colour, (H, W, 1) gray; (N, H, W) and any
of these behind an N are N pages. Arrays of an NPZ that are no pictures (labels, say) are passed over.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from xray_core.errors import FileError
from xray_core.limits import Limits
from xray_core.stored import Decoded, Opened, Values, without_alpha

_KEPT = 256_000_000  # bytes of a packed stack that is unpacked once and kept, so that its pages are not unpacked again
_STREAM = Callable[[], IO[bytes]]


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    start: int

    @property
    def page_shape(self) -> tuple[int, ...] | None:
        """Shape of one page, or None for what is no picture."""
        shape, kind = self.shape, self.dtype.kind
        flat = kind in "buif"
        channels = kind == "u" and self.dtype.itemsize <= 2
        if flat and len(shape) == 2:
            return shape
        if len(shape) in (3, 4) and shape[-1] in (3, 4) and channels:
            return shape[-3:]
        if len(shape) == 3 and shape[-1] in (3, 4) and min(shape[:2]) > 4:
            return None  # colours, of numbers that are no usual ones: no stack of pictures 3 pixels wide
        if flat and len(shape) in (3, 4) and shape[-1] == 1:
            return shape[-3:]
        if flat and len(shape) == 4 and shape[1] == 1:
            return shape[-2:]
        return shape[-2:] if flat and len(shape) == 3 else None

    @property
    def pages(self) -> int:
        page = self.page_shape
        return 0 if page is None else math.prod(self.shape[: len(self.shape) - len(page)])

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def said(self) -> str:
        # Of a dtype with fields only the kind is said: the fields' names are the file's own words.
        return f"the array is {self.dtype.name} of shape {self.shape!s:.60}"


def open_npy(data: bytes, limits: Limits) -> Opened:
    """Open an NPY."""
    return _opened([lambda: io.BytesIO(data)], limits)


def open_npz(data: bytes, limits: Limits) -> Opened:
    """Open an NPZ."""
    archive = zipfile.ZipFile(io.BytesIO(data))
    entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
    if not entries:
        raise FileError("UNSUPPORTED", "the zip archive holds no NumPy array; an archive of films is for batch")
    limits.check_pages(len(entries))
    for entry in entries:
        check_packing(entry)
    limits.check_unpacked(sum(entry.file_size for entry in entries))
    return _opened([lambda entry=entry: archive.open(entry) for entry in entries], limits)  # type: ignore[misc]


def check_packing(entry: zipfile.ZipInfo) -> None:
    """Raise `FileError` for an entry of an archive that is encrypted, or packed in a way that is not read."""
    if entry.flag_bits & 1:
        raise FileError("UNSUPPORTED", "the archive is encrypted")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # bzip2 and LZMA unpack a whole block at a time, however little is asked for.
        raise FileError("UNSUPPORTED", "the archive is packed in a rare way; stored and deflated content is read")


def _opened(streams: list[_STREAM], limits: Limits) -> Opened:
    arrays = []
    for again in streams:
        with again() as stream:
            header = _header(stream)
        if header.page_shape is None and len(streams) == 1:
            raise FileError(
                "UNSUPPORTED", f"{header.said()}; (H, W), (H, W, 3) and stacks of whole or real numbers are read"
            )
        arrays.append(_Array(header, again, limits))
    index = [(array, number) for array in arrays for number in range(array.header.pages)]
    if not index:
        first = next((array.header for array in arrays if array.header.page_shape), None)
        if first:
            raise FileError("EMPTY", f"the picture has no pixels ({first.said()})")
        raise FileError("UNSUPPORTED", f"none of the {len(arrays)} arrays is a picture")
    limits.check_pages(len(index))

    def read(page: int) -> Decoded:
        array, number = index[page]
        values = without_alpha(array.page(number))
        bits = 1 if values.dtype.kind == "b" else values.dtype.itemsize * 8
        return Decoded(values, bits, "RGB" if values.ndim == 3 else "MONOCHROME2")

    return Opened(len(index), read)


def _header(stream: IO[bytes]) -> _Header:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if dtype.hasobject:
        raise FileError("PICKLE", "the array holds Python objects, which could run code; only numbers are read")
    return _Header(shape, dtype, fortran, stream.tell())


class _Array:
    """One array, whose pages are read in any order, cheaply in rising order."""

    def __init__(self, header: _Header, again: _STREAM, limits: Limits) -> None:
        self.header = header
        self._again = again
        self._limits = limits
        self._stream: IO[bytes] | None = None
        self._next = 0
        self._whole: Values | None = None
        page = header.page_shape
        if page is not None and min(header.shape, default=1) < 1:
            raise FileError("EMPTY", f"the picture has no pixels ({header.said()})")
        if page is not None:
            limits.check(page[1], page[0])
            limits.check_pages(header.pages)
            limits.check_unpacked(header.bytes)

    def page(self, number: int) -> Values:
        header, shape = self.header, self.header.page_shape or ()
        if header.pages > 1 and header.bytes > _KEPT:
            values = self._streamed(number, shape)
        else:
            if self._whole is None:
                with self._again() as stream:
                    stream.read(header.start)
                    order = "F" if header.fortran else "C"
                    self._whole = self._values(stream, math.prod(header.shape)).reshape(header.shape, order=order)  # type: ignore[call-overload]
                    # Only at its end the archive's own checksum is compared.
                    stream.read(1)
            values = self._whole.reshape(header.pages, *shape)[number]
        return values.astype(values.dtype.newbyteorder("="), copy=False)

    def _streamed(self, number: int, shape: tuple[int, ...]) -> Values:
        if self.header.fortran:
            raise FileError("UNSUPPORTED", f"{self.header.said()} in Fortran order, too large a stack to be turned")
        if self._stream is None or number < self._next:
            self._stream = self._again()
            self._stream.read(self.header.start)
            self._next = 0
        for _ in range(number - self._next):
            self._values(self._stream, math.prod(shape))
        self._next = number + 1
        return self._values(self._stream, math.prod(shape)).reshape(shape)

    def _values(self, stream: IO[bytes], count: int) -> Values:
        data = stream.read(count * self.header.dtype.itemsize)
        if len(data) < count * self.header.dtype.itemsize:
            raise FileError("DECODE", "the array is cut short: it holds fewer values than its shape says")
        return np.frombuffer(data, self.header.dtype)
