"""TIFF by tifffile: 1 to 64 bits, whole, signed or real, in strips or tiles, of one page or many.

Small copies of a page (reduced images) are passed over. Four planes that tifffile wrote as one array without saying
what they are stand in the file as RGBA; they are read as four pages. Three planes cannot be told from colour.
"""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import numpy as np
from PIL import JpegImagePlugin

from xray_core.errors import FileError
from xray_core.limits import Limits
from xray_core.stored import Decoded, Opened, Values, upright, without_alpha

# Reports damage in other ways than by raising as well; its words may quote a file's tags.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)

_JPEG = (6, 7)
_LZW = 5
_PACKINGS = frozenset((1, 2, 3, 4, 5, 8, 32773, 32946, *_JPEG))  # none, fax, LZW, deflate, PackBits
_KINDS = {1: "unsigned", 2: "signed", 3: "floating-point"}
_PHOTOMETRIC = {"MINISWHITE": "MONOCHROME1", "MINISBLACK": "MONOCHROME2", "PALETTE": "PALETTE COLOR"}


def open_tiff(data: bytes, limits: Limits) -> Opened:
    """Open a TIFF."""
    import tifffile  # takes 0.1 s: only those who open a TIFF wait for it

    stream = io.BytesIO(data)
    tiff = tifffile.TiffFile(stream)
    pages = _pages(tiff, limits)
    stack = len(pages) == 1 and _is_stack_of_four(pages[0])
    _check_complete(tiff, pages)

    def read(number: int) -> Decoded:
        if stack:
            decoded = _decoded(pages[0], data, limits)
            note = "Four planes without a word of what they are: read as pages, not as red, green, blue and alpha."
            return Decoded(decoded.values[number], decoded.bits, "MONOCHROME2", (note,))
        return _decoded(pages[number], data, limits)

    if not stack:
        limits.check(pages[0].imagewidth, pages[0].imagelength)
    # The pages know their file, and the file its pages: both would stay until the next collection of garbage.
    return Opened(4 if stack else len(pages), read, stream.close)


def _pages(tiff: Any, limits: Limits) -> list[Any]:
    """Return the pages that are pictures of their own."""
    pages: list[Any] = []
    seen: set[int] = set()
    # A damaged chain of pages may lead back to its start, and so never end.
    for page in tiff.pages:
        if page.offset in seen:
            raise FileError("DECODE", "the TIFF is damaged: its pages lead in a circle")
        seen.add(page.offset)
        limits.check_pages(len(seen))
        if not page.is_reduced:
            pages.append(page)
    if not pages:
        raise FileError("DECODE", "the TIFF is damaged: no picture is found in it")
    return pages


def _said_of_itself(page: Any) -> dict[str, Any]:
    """Return what tifffile wrote of an array's shape, or nothing."""
    text = page.description
    if not text.startswith('{"shape": [') or len(text) > 10_000:
        return {}
    try:
        said = json.loads(text)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _is_stack_of_four(page: Any) -> bool:
    said = _said_of_itself(page)
    planes = page.samplesperpixel == 4 and page.planarconfig == 2 and "axes" not in said
    return planes and said.get("shape") == [4, page.imagelength, page.imagewidth]


def _check_complete(tiff: Any, pages: list[Any]) -> None:
    """Refuse a stack of which only the first page is listed: the rest would be lost without a word."""
    said = _said_of_itself(pages[0])
    listed = int((tiff.imagej_metadata or {}).get("images", 1)) if tiff.is_imagej else 1
    if said.get("truncated") or listed > len(pages):
        raise FileError("UNSUPPORTED", "the TIFF holds a stack of which it lists the first page alone")


def _decoded(page: Any, data: bytes, limits: Limits) -> Decoded:
    limits.check(page.imagewidth, page.imagelength)
    if page.is_tiled:
        # A tile may be larger than the picture, and is unpacked whole.
        limits.check(page.tilewidth, page.tilelength)
    if page.samplesperpixel > 4 or page.imagedepth > 1 or (page.is_tiled and page.tiledepth > 1):
        raise FileError("UNSUPPORTED", "the TIFF has more than 4 channels, or depth; one picture is expected")
    bits, kind = page.bitspersample, page.sampleformat
    photometric = getattr(page.photometric, "name", "unknown")
    packing = int(page.compression)
    if not isinstance(bits, int) or kind not in _KINDS or page.dtype is None or not 1 <= bits <= 64:
        raise FileError("UNSUPPORTED", "the TIFF holds complex or other unusual values")
    if packing not in _PACKINGS:
        raise FileError("UNSUPPORTED", f"TIFF of compression {packing}; deflate, LZW, PackBits, JPEG and fax are read")
    _check_segments(page, packing, data)
    if photometric == "YCBCR" and packing not in _JPEG:
        raise FileError("UNSUPPORTED", "TIFF with photometric interpretation YCBCR, but not compressed as JPEG")
    if photometric not in ("MINISBLACK", "MINISWHITE", "RGB", "YCBCR", "PALETTE"):
        raise FileError("UNSUPPORTED", f"TIFF with photometric interpretation {photometric:.20}")
    values: Values = page.asarray()
    stack = _is_stack_of_four(page)
    gray = photometric in ("MINISBLACK", "MINISWHITE")
    notes: tuple[str, ...] = ()
    if photometric == "PALETTE":
        # Colour maps hold 16 bits for each channel, first all reds, then greens, then blues.
        values, bits = np.moveaxis((page.colormap >> 8).astype(np.uint8)[:, values], 0, -1), 8
    elif page.planarconfig == 2 and values.ndim == 3 and not stack:
        values = np.moveaxis(values, 0, -1)
        if _said_of_itself(page).get("shape", [0])[0] == 3:
            notes = ("Three planes: read as red, green and blue.",)
    if not gray and not stack and (bits not in (8, 16) or kind != 1) and values.ndim == 3:
        raise FileError("UNSUPPORTED", f"colour TIFF of {bits} bits, {_KINDS[kind]}; 8 and 16 unsigned are read")
    if not stack:
        if values.ndim == 3 and values.shape[2] in (2, 4):
            notes += ("A further channel (transparency) is dropped.",)
        values = without_alpha(values)
        orientation = page.tags.get("Orientation")
        values = upright(values, int(orientation.value) if orientation else 1)
    return Decoded(values, bits, _PHOTOMETRIC.get(photometric, "RGB"), notes)


def _check_segments(page: Any, packing: int, data: bytes) -> None:
    import imagecodecs  # as tifffile does, for those who open a TIFF alone

    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
        if offset + count > len(data):
            raise FileError("DECODE", "the TIFF is cut short: its pixel data ends behind the file's end")
        if packing == _LZW:
            # Told how much to expect, the decoder trusts a damaged stream, and crashes; by itself it measures it first.
            segment = data[offset : offset + count]
            imagecodecs.lzw_decode(imagecodecs.bitorder_decode(segment) if page.fillorder == 2 else segment)
        if packing == 7 and count:
            # A JPEG inside says its own size, and its decoder believes it.
            width, height = JpegImagePlugin.JpegImageFile(io.BytesIO(data[offset : offset + count])).size
            if width > max(page.imagewidth, page.tilewidth) or height > max(page.imagelength, page.tilelength):
                raise FileError("DECODE", "the TIFF is damaged: a part of it says to be larger than the whole")
