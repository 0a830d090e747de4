"""A DICOM file's elements: only those that are asked for are read, and what they hold is taken for what it should be.

The values of a file may be anything. Nothing here puts one into a message.
"""

from __future__ import annotations

import io
import logging
import math
import warnings
import zlib
from collections.abc import Sequence

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from xray_core.errors import FileError

# Both tell of oddities, quoting the file.
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
warnings.filterwarnings("ignore", module="pydicom")

_PIXELS = Tag("PixelData")
_MOST_INFLATED = 1_000_000_000


def read_elements(
    data: bytes, keywords: Sequence[str] | None, most_bytes: int = _MOST_INFLATED, *, pixels: bool = False
) -> Dataset:
    """Return elements of a DICOM file; its transfer syntax alone stands in their file meta information.

    Parameters
    ----------
    data
        The whole file, with or without preamble and file meta information.
    keywords
        The only elements that are read, or None for all: those that identify a person, too.
    most_bytes
        Most bytes that a deflated file may unpack to.
    pixels
        Whether to go on behind the first of the pixels.

    Raises
    ------
    FileError
        For an unknown transfer syntax, or too much to unpack. Of damage pydicom raises nearly anything.
    """
    stream = io.BytesIO(data)
    stream.seek(132 if data[128:132] == b"DICM" else 0)
    meta = FileMetaDataset(read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2))
    syntax = UID(meta.get("TransferSyntaxUID") or _guessed_syntax(data[stream.tell() : stream.tell() + 6]))
    if syntax not in AllTransferSyntaxes:
        raise FileError("UNSUPPORTED", "its transfer syntax is none that DICOM defines")
    if syntax == DeflatedExplicitVRLittleEndian:
        stream = io.BytesIO(_inflated(data[stream.tell() :], most_bytes))
    tags: list[BaseTag | int] | None = None if keywords is None else [Tag(keyword) for keyword in keywords]
    stop = None if pixels else lambda tag, vr, length: tag == _PIXELS
    ds = read_dataset(stream, syntax.is_implicit_VR, syntax.is_little_endian, stop_when=stop, specific_tags=tags)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.set_original_encoding(syntax.is_implicit_VR, syntax.is_little_endian)
    return ds


def _guessed_syntax(start: bytes) -> str:
    """Return the transfer syntax of a data set whose file does not tell, by its first element."""
    if not start[4:6].isupper():
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if start[1:2] == b"\0" else ExplicitVRBigEndian


def _inflated(packed: bytes, most_bytes: int) -> bytes:
    unpacking = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = unpacking.decompress(packed, most_bytes + 1)
    if len(plain) > most_bytes:
        raise FileError("BYTE_LIMIT", f"unpacks to more than the limit of {most_bytes / 1e6:g} MB")
    if not unpacking.eof:
        raise FileError("DECODE", "the deflated data set is cut short")
    return plain


def text(ds: Dataset, keyword: str) -> str:
    """Return a coded text for comparing; it may be anything and goes into no message."""
    return str(ds.get(keyword) or "").strip().upper()


def numbers(ds: Dataset, keyword: str) -> list[float]:
    """Return an element's numbers, none where it is missing or empty; or raise `FileError`."""
    try:
        value = ds.get(keyword)
        many = [] if value is None or value == "" else [value] if isinstance(value, int | float | str) else list(value)
        return [float(number) for number in many]
    except (TypeError, ValueError, OverflowError):
        raise FileError("DECODE", f"its {keyword} is no number") from None


def finite(ds: Dataset, keyword: str, default: float | None = None) -> float | None:
    """Return an element's first number, the default where it is missing, None where it is infinite or no number."""
    values = numbers(ds, keyword)
    if not values:
        return default
    return values[0] if math.isfinite(values[0]) else None


def whole(ds: Dataset, keyword: str, low: int, high: int, default: int | None = None) -> int:
    """Return an element's whole number in [low, high], the default where it is missing; or raise `FileError`."""
    values = numbers(ds, keyword)
    if not values and default is not None:
        return default
    if not values or not low <= values[0] <= high or values[0] != int(values[0]):
        raise FileError("DECODE", f"its {keyword} is missing or no possible number")
    return int(values[0])
