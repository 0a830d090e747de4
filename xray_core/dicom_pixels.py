"""One frame's stored values out of a DICOM data set, plain or compressed, as the bit patterns that were stored."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from xray_core.errors import FileError
from xray_core.luts import Stored

_WAVELETS = (JPEG2000, JPEG2000Lossless, HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL)
# One decoder each, so that a film looks the same everywhere and no second, laxer one takes what the first refuses.
# pylibjpeg's own JPEG decoder returns half a picture for a stream that is cut short, without a word; its RLE decoder
# panics on some damage, and a panic is no `Exception`.
_PLUGINS = {
    RLELossless: "pydicom",
    JPEGBaseline8Bit: "pillow",
    JPEGExtended12Bit: "pillow",  # for 8 bits; see `decoded` for 12
    JPEGLossless: "gdcm",
    JPEGLosslessSV1: "gdcm",
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
    **dict.fromkeys(_WAVELETS, "pylibjpeg"),
}
_LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, HTJ2K)
# pydicom takes no heed of High Bit, as `patterns` does; and a copy of the pixels would be one more than is needed.
_AS_STORED: Any = {"correct_unused_bits": False, "view_only": True}
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_START_OF_SCAN = 0xDA


def check_length(ds: Dataset, size: tuple[int, int], frames: int, samples: float, allocated: int) -> None:
    """Refuse pixel data that can't hold what is declared, before it is decoded.

    Parameters
    ----------
    ds
        With Pixel Data and the file's transfer syntax.
    size
        Width and height.
    frames, samples, allocated
        Number of frames, values a pixel, and bits of a value.
    """
    syntax = ds.file_meta.TransferSyntaxUID
    # Whether a stream is compressed shows in how it stands in the file, whatever the file declares.
    if syntax.is_encapsulated != bool(ds["PixelData"].is_undefined_length):
        raise FileError("DECODE", "its pixels are not stored as its transfer syntax says")
    needed = math.ceil(size[0] * size[1] * samples * frames * allocated / 8)
    if not syntax.is_encapsulated and needed > len(ds.PixelData):
        raise FileError("DECODE", "its pixel data is cut short, or the declared size is wrong")


def decoded(ds: Dataset, frame: int, frames: int, size: tuple[int, int]) -> NDArray[Any]:
    """Return a frame as pydicom gives it, (H, W) or (H, W, 3), YBR turned to RGB; unused high bits are still in it.

    Parameters
    ----------
    ds
        Checked by `check_length`. Of compressed pixels it keeps the one frame only.
    frame, frames
        Number of the frame, from 1, and how many there are.
    size
        Width and height that the file declares. A compressed stream that declares others is refused: the decoders make
        room for what the stream says.
    """
    syntax = ds.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated and syntax not in _PLUGINS:
        raise FileError("UNSUPPORTED", f"its pixels are coded as {syntax.name}, which is not read")
    index = frame - 1
    if syntax.is_encapsulated:
        offsets = (ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths) if "ExtendedOffsetTable" in ds else None
        stream = get_frame(ds.PixelData, index, number_of_frames=frames, extended_offsets=offsets)
        _check_stream(stream, syntax, size)
        if syntax == JPEGExtended12Bit and ds.BitsAllocated > 8:
            return _deep_jpeg(stream, size)
        if syntax == JPEGBaseline8Bit:
            if ds.BitsStored > 8:
                raise FileError("DECODE", f"the compressed picture has 8 bits, but the file declares {ds.BitsStored}")
            ds.BitsAllocated = 8
        ds.PixelData, ds.NumberOfFrames, index = encapsulate([stream]), 1, 0
        ds.pop("ExtendedOffsetTable", None)
    plugin = _PLUGINS.get(syntax, "")
    try:
        pixels, _ = get_decoder(syntax).as_array(ds, index=index, decoding_plugin=plugin, **_AS_STORED)
    except RuntimeError:
        raise FileError("DECODE", "the compressed picture is damaged or cut short") from None
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _deep_jpeg(stream: bytes, size: tuple[int, int]) -> NDArray[Any]:
    # None of pydicom's plugins but a lax one reads 12 bits; this is the decoder that reads JPEG inside TIFF too.
    import imagecodecs

    pixels = imagecodecs.jpeg_decode(stream)
    if pixels.shape != (size[1], size[0]):
        raise FileError("UNSUPPORTED", "its pixels are colours of 12 bits; grey is read")
    return pixels.astype(np.uint16)


def patterns(ds: Dataset, pixels: NDArray[Any], stored: Stored, high_bit: int) -> NDArray[Any]:
    """Return the bit pattern of each stored value, an unsigned number below 2 ** bits, of the shape of `pixels`.

    Only the bits that are stored count (DICOM PS3.5 8.1.1): others may hold overlays, or rubbish.
    """
    syntax = ds.file_meta.TransferSyntaxUID
    unsigned = np.dtype(f"u{pixels.dtype.itemsize}")
    mask = unsigned.type(2**stored.bits - 1)
    if not syntax.is_encapsulated:
        places = unsigned.type(high_bit + 1 - stored.bits)
        return (pixels.view(unsigned) >> places if places else pixels.view(unsigned)) & mask
    if syntax in _LOSSY:
        # A lossy decoder may overshoot; masked, the overshoot would turn white to black.
        pixels = np.clip(pixels, stored.low, stored.high)
    return pixels.view(unsigned) & mask


def _check_stream(stream: bytes, syntax: UID, size: tuple[int, int]) -> None:
    """Refuse a compressed stream that is cut short, or declares another size than the file."""
    if syntax == RLELossless:
        return  # declares no size, and its decoder counts the pixels
    if syntax in _WAVELETS:
        start = stream.find(b"\xff\x4f\xff\x51")  # ITU-T T.800 A.5.1
        corner = [int.from_bytes(stream[start + n : start + n + 4], "big") for n in (8, 12, 16, 20)]
        inside = (corner[0] - corner[2], corner[1] - corner[3]) if start >= 0 else (0, 0)
    else:
        inside = _jpeg_size(stream)
    if inside == (0, 0):
        raise FileError("DECODE", "the compressed picture is damaged, missing or cut short")
    if inside != size:
        raise FileError("DECODE", "the compressed picture has another size than the file declares")


def _jpeg_size(stream: bytes) -> tuple[int, int]:
    """Return the width and height that JPEG or JPEG-LS declares, zeros where it has no end (ITU-T T.81 B.2)."""
    size, place = (0, 0), 2
    while place + 9 <= len(stream) and stream[place] == 0xFF:
        marker = stream[place + 1]
        if marker in _START_OF_FRAME:
            height, width = (int.from_bytes(stream[place + n : place + n + 2], "big") for n in (5, 7))
            size = width, height
        elif marker == _START_OF_SCAN:
            # Coded values never hold an end marker, so one that follows is none of them.
            return size if stream.find(b"\xff\xd9", place) >= 0 else (0, 0)
        # A marker may be led by any number of filling bytes.
        place += 1 if marker == 0xFF else 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
    return 0, 0
