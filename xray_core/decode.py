"""Bytes to `Film`: the format is told by content, and declared sizes are checked before anything is decoded.

8-bit PNG and JPEG give what ``cv2.imread(path, cv2.IMREAD_COLOR)`` gives, in RGB: EXIF orientation applied, alpha
dropped; gray files stay gray. 16-bit files keep their depth; 16-bit colour becomes 16-bit gray (ITU-R BT.601). How
other depths come to the full range stands in `xray_core.stored`: by what is declared, never by content.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

import cv2
import numpy as np

from xray_core.arrays import open_npy, open_npz
from xray_core.dicom_choice import DicomChoice
from xray_core.errors import FileError, ImageError
from xray_core.image import Film, Image, checked
from xray_core.limits import Limits
from xray_core.raster import open_bmp, open_jpeg, open_png, open_webp
from xray_core.stored import Decoded, Levels, Opened, full_range
from xray_core.tiff import open_tiff

__all__ = ["Limits", "Pages", "container_of", "decode", "open_pages", "out_of_memory"]

# Reports damage in other ways than by raising as well; its words may quote a file's tags.
warnings.filterwarnings("ignore", module="PIL")

_OPENERS: dict[str, Callable[[bytes, Limits], Opened]] = {
    "PNG": open_png,
    "JPEG": open_jpeg,
    "BMP": open_bmp,
    "WEBP": open_webp,
    "TIFF": open_tiff,
    "NPY": open_npy,
    "NPZ": open_npz,
}

_Make = Callable[[str, int, Levels | None, DicomChoice | None], Film]
"""What decodes a page: of the file's digest, the page's number, and as `decode`."""

_OTHER_KINDS = {
    b"GIF8": "a GIF",
    b"RIFF": "a sound, film or other RIFF file",
    b"%PDF": "a PDF",
    b"\x00\x00\x00\x0cjP": "a JPEG 2000 file",
    b"\xff\x4f\xff\x51": "a JPEG 2000 codestream",
    b"<": "a text or web page",
    b"{": "a text file",
    b"\x1f\x8b": "a gzip archive",
    b"\x80": "a pickle",
}


def container_of(head: bytes) -> str | None:
    """Tell a file's format by its first 132 bytes: ``DICOM``, a format that is read here, or None."""
    # The preamble of a DICOM file may hold what another program takes for its own format.
    if head[128:132] == b"DICM":
        return "DICOM"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    signatures = {
        b"\x89PNG\r\n\x1a\n": "PNG",
        b"\xff\xd8\xff": "JPEG",
        b"II*\x00": "TIFF",
        b"MM\x00*": "TIFF",
        b"II+\x00": "TIFF",
        b"MM\x00+": "TIFF",
        b"\x93NUMPY": "NPY",
        b"PK\x03\x04": "NPZ",
        b"PK\x05\x06": "NPZ",
        b"BM": "BMP",
    }
    kind = next((kind for start, kind in signatures.items() if head.startswith(start)), None)
    return "DICOM" if kind is None and _begins_as_dataset(head) else kind


def _begins_as_dataset(head: bytes) -> bool:
    """Tell a DICOM file without preamble: it begins with group 2 or 8, and a known VR or a small, even length.

    No other format that is read here begins so.
    """
    order: Literal["little", "big"] = "little" if head[1:2] == b"\0" else "big"
    group, element = int.from_bytes(head[:2], order), int.from_bytes(head[2:4], order)
    if len(head) < 132 or group not in (2, 8) or element > 0x0070:
        return False
    explicit = head[4:6] in (b"UL", b"UI", b"CS", b"OB", b"SH", b"DA", b"TM", b"LO", b"AE", b"DT", b"US")
    length = int.from_bytes(head[4:8], "little")
    return explicit or (order == "little" and 0 < length <= 64 and length % 2 == 0)


class Pages:
    """An opened file: its pictures, decoded when they are asked for.

    Attributes
    ----------
    count
        Number of pages: of a TIFF, of the stacks and arrays of an NPZ or NPY, of the frames of a DICOM file; 1 for
        other formats.
    sha256
        Hexadecimal digest of the file's bytes.
    """

    def __init__(self, data: bytes, container: str, count: int, make: _Make, close: Callable[[], None] = lambda: None):
        self.count = count
        self.sha256 = hashlib.sha256(data).hexdigest()
        self._container = container
        self._make: _Make | None = make
        self._close = close

    def close(self) -> None:
        """Let the file's bytes go; films that were decoded stay."""
        self._make = None
        self._close()

    def film(self, page: int = 1, levels: Levels | None = None, dicom: DicomChoice | None = None) -> Film:
        """Decode one page, counted from 1; see `decode`."""
        if not 1 <= page <= self.count:
            pages = "one page" if self.count == 1 else f"pages 1 to {self.count}"
            raise FileError("UNSUPPORTED", f"the file has {pages}, and no page {page}")
        if self._make is None:
            raise FileError("READ", "the file was closed")
        with _in_our_words(self._container):
            return self._make(self.sha256, page, levels, dicom)


def _as_stored(data: bytes, name: str, container: str, limits: Limits) -> Pages:
    opened = _OPENERS[container](data, limits)

    def make(sha256: str, page: int, levels: Levels | None, dicom: DicomChoice | None) -> Film:
        decoded = opened.read(page - 1)
        pixels, bits, notes = _pixels(decoded, levels)
        return Film(
            checked(pixels),
            name,
            bits,
            sha256,
            container,
            decoded.photometric,
            page=page,
            pages=opened.pages,
            notes=notes,
        )

    return Pages(data, container, opened.pages, make, opened.close)


def _frames(data: bytes, name: str, limits: Limits) -> Pages:
    # Takes 0.2 s: only those who open a DICOM file wait for it.
    from xray_core.dicom import film, frame_count

    frames = frame_count(data, limits.file_bytes)
    limits.check_pages(frames)

    def make(sha256: str, page: int, levels: Levels | None, dicom: DicomChoice | None) -> Film:
        if levels is not None:
            raise FileError("UNSUPPORTED", "levels are for files that do not say what is black and white; DICOM does")
        choice = replace(dicom or DicomChoice(), frame=page)
        return film(data, name, choice, limits.check, limits.file_bytes, sha256)

    return Pages(data, "DICOM", frames, make)


def open_pages(data: bytes, name: str, limits: Limits | None = None) -> Pages:
    """Open a file's bytes without decoding a picture yet.

    Parameters
    ----------
    data
        The whole file.
    name
        The file's name, for the films; it says nothing about the format.
    limits
        What is refused before decoding.

    Raises
    ------
    FileError
        With a code and words for a person, for anything that is no readable radiograph.
    """
    limits = limits or Limits()
    if not data:
        raise FileError("EMPTY", "the file is empty (0 bytes)")
    limits.check_bytes(len(data))
    container = container_of(data[:132])
    if container is None:
        kind = next((words for start, words in _OTHER_KINDS.items() if data.startswith(start)), None)
        said = f"this is {kind}, " if kind else "the content is "
        raise FileError("UNSUPPORTED", f"{said}no PNG, JPEG, TIFF, DICOM, BMP, WebP, NPZ or NPY picture")
    with _in_our_words(container):
        return _frames(data, name, limits) if container == "DICOM" else _as_stored(data, name, container, limits)


def decode(
    data: bytes,
    name: str,
    limits: Limits | None = None,
    *,
    page: int = 1,
    levels: Levels | None = None,
    dicom: DicomChoice | None = None,
) -> Film:
    """Decode one picture of a file's bytes.

    Parameters
    ----------
    data
        The whole file.
    name
        The file's name, for the film; it says nothing about the format.
    limits
        What is refused before decoding.
    page
        Which page is decoded, counted from 1.
    levels
        Stored values that are black and white, for gray pictures whose file does not say; see `xray_core.stored`.
    dicom
        Which greys of a DICOM file are taken; its frame is the page.

    Raises
    ------
    FileError
        With a code and words for a person, for anything that is no readable radiograph.
    """
    opened = open_pages(data, name, limits)
    try:
        return opened.film(page, levels, dicom)
    finally:
        opened.close()


def out_of_memory(error: Exception) -> bool:
    """Whether Python or OpenCV says that there is not enough memory."""
    return isinstance(error, MemoryError) or (isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem)


@contextmanager
def _in_our_words(container: str) -> Iterator[None]:
    try:
        yield
    except FileError:
        raise
    except ImageError as error:
        raise FileError("UNSUPPORTED", str(error)) from None
    except Exception as error:
        # The decoders raise nearly anything on damaged input. Their words may quote the file, so only ours go on; of a
        # DICOM file not even as the cause, which a traceback would print.
        if out_of_memory(error):
            raise FileError("MEMORY", "not enough memory to decode the picture") from None
        cause = None if container == "DICOM" else error
        raise FileError("DECODE", f"the {container} data is damaged or cut short") from cause


def _pixels(decoded: Decoded, levels: Levels | None) -> tuple[Image, int, tuple[str, ...]]:
    values, bits, notes = decoded.values, decoded.bits, decoded.notes
    if values.ndim == 3:
        if levels is not None:
            raise FileError("UNSUPPORTED", "levels are for gray pictures, and this one has colours")
        if values.dtype == np.uint16:
            values = cv2.cvtColor(np.ascontiguousarray(values), cv2.COLOR_RGB2GRAY)
            notes += ("Colour of 16 bits is turned to gray.",)
        return values, decoded.stored_bits or bits, notes
    if values.size == 0:
        return values, bits, notes
    pixels, bits, note = full_range(values, bits, levels)
    bits = decoded.stored_bits or bits
    if decoded.photometric == "MONOCHROME1":
        pixels = np.invert(pixels)
    return pixels, bits, (*notes, note) if note else notes
