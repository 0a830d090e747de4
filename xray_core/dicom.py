"""A DICOM file to a `Film`: pixels as a viewer shows them, and a few facts, none of which identifies a person.

Only the elements named in `_READ` are ever read; all others, and so every name, number and date of a patient, are
passed over in the file. What is read is checked before anything is decoded, and no message repeats a value of the file.

How a stored value becomes a grey one, in this order (DICOM PS3.4 N.2, PS3.3 C.11.1 and C.11.2):

1. Bits above Bits Stored are masked; Pixel Padding is noted.
2. Modality LUT Sequence if there is one, else Rescale Slope and Intercept.
3. By the choice `voi`: ``lut`` takes the VOI LUT Sequence if there is one, else the window, else the whole range;
   ``window`` the window, else the whole range; ``none`` the whole range. The range is the one declared by the depth.
4. Inverted once for MONOCHROME1 or Presentation LUT Shape INVERSE, which belong together in DX (PS3.3 C.8.11.3).
5. Padding is black.

A frame's own functional groups (PS3.3 C.7.6.16) go before the file's elements. Colour passes as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.processing import apply_color_lut

from xray_core.dicom_choice import DicomChoice
from xray_core.dicom_file import finite, numbers, read_elements, text, whole
from xray_core.dicom_pixels import check_length, decoded, patterns
from xray_core.errors import FileError
from xray_core.image import DicomFacts, Film, Image, checked
from xray_core.luts import Lut, Rescale, Stored, Values, Window, grey_table

_TABLE = "PaletteColorLookupTable"
_IMAGE = (
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("PresentationLUTShape", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "ExposureIndex"),
    *(colour + _TABLE + part for colour in ("Red", "Green", "Blue") for part in ("Descriptor", "Data")),
    *("Segmented" + colour + _TABLE + "Data" for colour in ("Red", "Green", "Blue")),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("PixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "FloatPixelData", "DoubleFloatPixelData"),
)
_IN_GROUPS = {
    # Functional group, and what a frame may say in it in place of the file.
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction"),
    "PixelMeasuresSequence": ("PixelSpacing",),
}
_GREYS = ("ModalityLUTSequence", "VOILUTSequence", *(name for names in _IN_GROUPS.values() for name in names))
_READ = (*_IMAGE, *_GREYS)
"""The allow-list: no other element of a file is read."""

_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


def film(
    data: bytes,
    name: str,
    choice: DicomChoice,
    check_size: Callable[[int, int], None],
    most_bytes: int,
    sha256: str,
) -> Film:
    """Decode one frame of a DICOM file.

    Parameters
    ----------
    data
        The whole file.
    name
        The file's name, for the film.
    choice
        How the greys are chosen, and which window and frame are taken.
    check_size
        Raises `FileError` for a declared width and height that are not to be decoded.
    most_bytes
        Most bytes that a deflated file may unpack to.
    sha256
        Hexadecimal digest of the file's bytes.

    Returns
    -------
    film
        ``uint8`` for up to 8 bits stored, else ``uint16``; 8-bit colour as (H, W, 3), deeper colour as grey.

    Raises
    ------
    FileError
        For anything that is no picture of up to 16 bits a sample, in words that quote nothing of the file.
    """
    ds = read_elements(data, _READ, most_bytes, pixels=True)
    if "FloatPixelData" in ds or "DoubleFloatPixelData" in ds:
        raise FileError("UNSUPPORTED", "its pixels are floating-point numbers; whole numbers up to 16 bits are read")
    if not ds.get("PixelData"):
        raise FileError("UNSUPPORTED", "this DICOM file holds no picture")
    size = whole(ds, "Columns", 0, 65535), whole(ds, "Rows", 0, 65535)
    check_size(*size)
    frames = _frames(ds)
    if choice.frame > frames:
        raise FileError("UNSUPPORTED", f"frame {choice.frame} is asked for; the file has {frames}")
    stored = _check_pixels(ds, size, frames)
    _take_functional_groups(ds, choice.frame)
    photometric = text(ds, "PhotometricInterpretation")
    high_bit = whole(ds, "HighBit", 0, 63, default=stored.bits - 1)
    codes = patterns(ds, decoded(ds, choice.frame, frames, size), stored, high_bit)
    if photometric in _GREY:
        voi, words, windows = _voi(ds, choice)
        inverse = photometric == "MONOCHROME1" or text(ds, "PresentationLUTShape") == "INVERSE"
        table = grey_table(
            stored,
            _modality(ds, stored),
            voi,
            inverse=inverse,
            padding=_padding(ds, stored),
            shades=_shades(stored.bits),
        )
        shown: Image = table[codes]
    else:
        shown, words, windows = _colour(ds, photometric, codes, stored), "colour", 1
    spacing, spacing_from = _spacing(ds)
    # A fact that is no number is left out: the picture is whole without it.
    index = next(iter(_numbers_or_none(ds, "ExposureIndex")), math.nan)
    facts = DicomFacts(choice.frame, frames, words, windows, spacing_from, index if math.isfinite(index) else None)
    return Film(
        checked(shown),
        name,
        stored.bits,
        sha256,
        "DICOM",
        photometric,
        spacing,
        facts,
        page=choice.frame,
        pages=frames,
    )


def frame_count(data: bytes, most_bytes: int) -> int:
    """Return how many frames a DICOM file says that it holds; arguments and errors as of `film`."""
    return _frames(read_elements(data, ["NumberOfFrames"], most_bytes))


def _frames(ds: Dataset) -> int:
    return whole(ds, "NumberOfFrames", 0, 2**31 - 1, default=1) or 1


def _check_pixels(ds: Dataset, size: tuple[int, int], frames: int) -> Stored:
    """Refuse pixels that are not read, before any is decoded; return the range of their values."""
    if "PhotometricInterpretation" not in ds or not ds.PhotometricInterpretation:
        raise FileError("UNSUPPORTED", "its Photometric Interpretation is missing: white or black may stand for 0")
    photometric, samples = text(ds, "PhotometricInterpretation"), whole(ds, "SamplesPerPixel", 1, 4, default=1)
    if photometric not in (*_GREY, *_COLOURS, "PALETTE COLOR"):
        raise FileError("UNSUPPORTED", "its Photometric Interpretation is neither grey, RGB, YBR nor palette")
    if samples != (3 if photometric in _COLOURS else 1):
        raise FileError("DECODE", "its Samples per Pixel and Photometric Interpretation contradict each other")
    allocated = whole(ds, "BitsAllocated", 1, 64)
    bits = whole(ds, "BitsStored", 1, 64, default=allocated)
    high = whole(ds, "HighBit", 0, 63, default=bits - 1)
    if bits > allocated or not bits - 1 <= high < allocated:
        raise FileError("DECODE", "its Bits Allocated, Bits Stored and High Bit contradict each other")
    if bits > 16 or allocated not in (1, 8, 16, 32):
        raise FileError("UNSUPPORTED", f"{bits} bits in {allocated} are stored; up to 16 bits in whole bytes are read")
    # Old files leave out what was once understood; pydicom wants it said.
    signed = whole(ds, "PixelRepresentation", 0, 1, default=0)
    ds.SamplesPerPixel, ds.BitsStored, ds.PixelRepresentation = samples, bits, signed
    if samples > 1 and "PlanarConfiguration" not in ds:
        ds.PlanarConfiguration = 0
    check_length(ds, size, frames, 2 if photometric == "YBR_FULL_422" else samples, allocated)
    return Stored(bits, signed == 1)


def _take_functional_groups(ds: Dataset, frame: int) -> None:
    """Put what a frame says of itself in the place of what the file says of all."""
    shared = ds.get("SharedFunctionalGroupsSequence") or []
    single = ds.get("PerFrameFunctionalGroupsSequence") or []
    for groups in (*shared[:1], *single[frame - 1 : frame]):
        for group, keywords in _IN_GROUPS.items():
            for item in (groups.get(group) or [])[:1]:
                for keyword in keywords:
                    if keyword in item:
                        ds[keyword] = item[keyword]


def _shades(bits: int) -> Callable[[Values], NDArray[Any]]:
    white, dtype = (255, np.uint8) if bits <= 8 else (65535, np.uint16)
    return lambda shares: np.rint(shares * white).astype(dtype)


def _colour(ds: Dataset, photometric: str, codes: NDArray[Any], stored: Stored) -> Image:
    if stored.signed:
        raise FileError("UNSUPPORTED", "its colours are signed numbers, which DICOM forbids")
    if photometric == "PALETTE COLOR":
        colours = apply_color_lut(codes, ds)[:, :, :3]
        return colours if colours.dtype == np.uint8 else (colours >> 8).astype(np.uint8)
    if photometric.startswith("YBR_FULL") and stored.bits != 8:
        raise FileError("UNSUPPORTED", f"{stored.bits}-bit YBR; 8 bits are read")
    shades = _shades(stored.bits)(np.arange(2.0**stored.bits) / (2**stored.bits - 1))
    colours = shades[codes]
    return colours if colours.dtype == np.uint8 else cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY)


def _modality(ds: Dataset, stored: Stored) -> Lut | Rescale:
    if tables := ds.get("ModalityLUTSequence"):
        return _lut(tables[0], ds, signed=stored.signed)
    slope, intercept = finite(ds, "RescaleSlope", 1.0), finite(ds, "RescaleIntercept", 0.0)
    if slope is None or intercept is None:
        raise FileError("DECODE", "its Rescale Slope or Intercept is no number")
    return Rescale(slope, intercept)


def _voi(ds: Dataset, choice: DicomChoice) -> tuple[Lut | Window | None, str, int]:
    """Return what chooses the greys, what the film's facts say of it, and of how many it was chosen."""
    tables = ds.get("VOILUTSequence") or []
    if choice.voi == "lut" and tables:
        _check_number(choice.window, len(tables), "VOI LUT")
        # What goes in has the sign of what the modality transformation puts out.
        signed = "ModalityLUTSequence" not in ds and (
            ds.get("PixelRepresentation") == 1 or (finite(ds, "RescaleIntercept", 0.0) or 0.0) < 0
        )
        table = _lut(tables[choice.window - 1], ds, signed=signed)
        return table, f"VOI LUT {choice.window} of {len(tables)}", len(tables)
    if choice.voi == "none":
        return None, "whole range", 1
    centers, widths = (numbers(ds, keyword) for keyword in ("WindowCenter", "WindowWidth"))
    many = min(len(centers), len(widths))
    if not many:
        return None, "whole range", 1
    _check_number(choice.window, many, "window")
    function = text(ds, "VOILUTFunction") or "LINEAR"
    window = Window(centers[choice.window - 1], widths[choice.window - 1], function)
    window.check()
    return window, f"window {choice.window} of {many} ({function})", many


def _check_number(number: int, many: int, what: str) -> None:
    if number > many:
        raise FileError(
            "UNSUPPORTED", f"{what} {number} is asked for; there {'is one' if many == 1 else f'are {many}'}"
        )


def _lut(item: Dataset, ds: Dataset, *, signed: bool) -> Lut:
    """Read an item of a Modality or VOI LUT Sequence (DICOM PS3.3 C.11.1.1)."""
    if not item.get("LUTDescriptor") or not item.get("LUTData"):
        raise FileError("DECODE", "one of its lookup tables is empty; another choice of voi may do without")
    descriptor = [int(value) for value in item.LUTDescriptor]
    many, first, bits = descriptor[0] % 65536 or 65536, descriptor[1], descriptor[2]
    if not 1 <= bits <= 16:
        raise FileError("DECODE", "one of its lookup tables declares entries of no possible size")
    # First Value Mapped has the sign of what goes in, but is often written as unsigned.
    first = first - 65536 if signed and first > 32767 else first
    content = item.LUTData
    if isinstance(content, bytes):
        width = (
            "u1" if len(content) < 2 * many else ("<u2" if ds.file_meta.TransferSyntaxUID.is_little_endian else ">u2")
        )
        entries = np.frombuffer(content, width).astype(np.int64)
    else:
        entries = np.atleast_1d(np.asarray(content, np.int64)) & 0xFFFF
    if len(entries) < many:
        raise FileError("DECODE", "one of its lookup tables is cut short")
    return Lut(first, entries[:many], bits)


def _padding(ds: Dataset, stored: Stored) -> tuple[int, int] | None:
    if ds.get("PixelPaddingValue") is None:
        return None
    first = whole(ds, "PixelPaddingValue", -32768, 65535)
    last = whole(ds, "PixelPaddingRangeLimit", -32768, 65535, default=first)
    wrapped = [value - 65536 if stored.signed and value > 32767 else value for value in (first, last)]
    return wrapped[0], wrapped[1]


def _numbers_or_none(ds: Dataset, keyword: str) -> list[float]:
    try:
        return numbers(ds, keyword)
    except FileError:
        return []


def _spacing(ds: Dataset) -> tuple[tuple[float, float] | None, str]:
    for keyword, words in (
        ("PixelSpacing", "Pixel Spacing"),
        ("ImagerPixelSpacing", "Imager Pixel Spacing"),
        ("NominalScannedPixelSpacing", "Nominal Scanned Pixel Spacing"),
    ):
        values = _numbers_or_none(ds, keyword)
        if len(values) == 2 and all(math.isfinite(value) and value > 0 for value in values):
            return (values[0], values[1]), words
    return None, ""
