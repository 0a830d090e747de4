"""Bytes to `Film`: the format is told by content, and declared sizes are checked before anything is decoded.

8-bit PNG and JPEG give what ``cv2.imread(path, cv2.IMREAD_COLOR)`` gives, in RGB: EXIF orientation applied, alpha
dropped; gray files stay gray. 16-bit files keep their depth; 16-bit colour becomes 16-bit gray (ITU-R BT.601). Fewer
stored bits are scaled to the full range by the declared depth, never by content.
"""

from __future__ import annotations

import hashlib
import io
import logging
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any, Literal

import cv2
import numpy as np
from PIL import JpegImagePlugin, PngImagePlugin

from xray_core.dicom_choice import DicomChoice
from xray_core.errors import FileError, ImageError
from xray_core.image import Film, Image, checked

# Both report damage in other ways than by raising as well; their words may quote a file's tags.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module="PIL")


@dataclass(frozen=True)
class Limits:
    """What a file may declare before it is decoded.

    Attributes
    ----------
    pixels
        Most pixels of a picture.
    file_bytes
        Most bytes of a file.
    """

    pixels: int = 100_000_000
    file_bytes: int = 1_000_000_000

    def check(self, width: int, height: int) -> None:
        """Raise `FileError` for a declared size that is zero or over the limit."""
        if width < 1 or height < 1:
            raise FileError("EMPTY", f"the picture has no pixels ({width} x {height})")
        if width * height > self.pixels:
            raise FileError(
                "PIXEL_LIMIT",
                f"{width} x {height} is {width * height:,} pixels; the limit is {self.pixels:,}",
            )


@dataclass(frozen=True)
class _Decoded:
    pixels: Image
    bits: int
    photometric: str


_OTHER_KINDS = {
    b"GIF8": "a GIF",
    b"BM": "a BMP",
    b"RIFF": "a WebP or other RIFF file",
    b"%PDF": "a PDF",
    b"\x00\x00\x00\x0cjP": "a JPEG 2000 file",
    b"\xff\x4f\xff\x51": "a JPEG 2000 codestream",
    b"<": "a text or web page",
    b"{": "a text file",
    b"\x1f\x8b": "a gzip archive",
    b"\x80": "a pickle",
}


def container_of(head: bytes) -> str | None:
    """Tell a file's format by its first 132 bytes: ``PNG``, ``JPEG``, ``TIFF``, ``NPY``, ``NPZ``, ``DICOM`` or None."""
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
    }
    kind = next((kind for start, kind in signatures.items() if head.startswith(start)), None)
    # The preamble of a DICOM file may hold what another program takes for its own format.
    return "DICOM" if head[128:132] == b"DICM" or (kind is None and _begins_as_dataset(head)) else kind


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


def decode(data: bytes, name: str, limits: Limits | None = None, dicom: DicomChoice | None = None) -> Film:
    """Decode a file's bytes.

    Parameters
    ----------
    data
        The whole file.
    name
        The file's name, for the film; it says nothing about the format.
    limits
        What is refused before decoding.
    dicom
        Which greys and frame of a DICOM file are taken; the file's first by default.

    Raises
    ------
    FileError
        With a code and words for a person, for anything that is no readable radiograph.
    """
    limits = limits or Limits()
    if not data:
        raise FileError("EMPTY", "the file is empty (0 bytes)")
    if len(data) > limits.file_bytes:
        raise FileError("BYTE_LIMIT", f"{len(data) / 1e6:.0f} MB; the limit is {limits.file_bytes / 1e6:g} MB")
    container = container_of(data[:132])
    if container is None:
        kind = next((words for start, words in _OTHER_KINDS.items() if data.startswith(start)), None)
        said = f"this is {kind}, " if kind else "the content is "
        raise FileError("UNSUPPORTED", f"{said}no PNG, JPEG, TIFF, DICOM, NPZ or NPY picture")
    if container == "DICOM":
        # Takes 0.2 s: only those who open a DICOM file wait for it.
        from xray_core.dicom import film
    try:
        if container == "DICOM":
            return film(data, name, dicom or DicomChoice(), limits.check, limits.file_bytes)
        decoded = _DECODERS[container](data, limits)
        pixels = checked(decoded.pixels)
    except FileError:
        raise
    except ImageError as error:
        raise FileError("UNSUPPORTED", str(error)) from None
    except MemoryError:
        raise FileError("MEMORY", "not enough memory to decode the picture") from None
    except Exception as error:
        # The decoders raise nearly anything on damaged input. Their words may quote the file, so only ours go on; of a
        # DICOM file not even as the cause, which a traceback would print.
        cause = None if container == "DICOM" else error
        raise FileError("DECODE", f"the {container} data is damaged or cut short") from cause
    digest = hashlib.sha256(data).hexdigest()
    return Film(pixels, name, decoded.bits, digest, container, decoded.photometric)


def _by_opencv(data: bytes) -> Image:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    if pixels is None:
        raise FileError("DECODE", "the picture data is damaged or cut short")
    return _gray_if_deep(pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))


def _gray_if_deep(pixels: Image) -> Image:
    if pixels.ndim == 3 and pixels.dtype == np.uint16:
        return cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
    return pixels


def _png(data: bytes, limits: Limits) -> _Decoded:
    header = PngImagePlugin.PngImageFile(io.BytesIO(data))
    limits.check(*header.size)
    bits = data[24]  # IHDR stands first and at a fixed place; Pillow has checked that it does
    pixels = _by_opencv(data)
    if header.mode == "LA":
        pixels = pixels[:, :, 0]
    photometric = {"P": "PALETTE COLOR"}.get(header.mode, "RGB" if pixels.ndim == 3 else "MONOCHROME2")
    return _Decoded(pixels, 8 if header.mode == "P" else bits, photometric)


def _jpeg(data: bytes, limits: Limits) -> _Decoded:
    header = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    limits.check(*header.size)
    pixels = _by_opencv(data)
    return _Decoded(pixels, 8, "RGB" if pixels.ndim == 3 else "MONOCHROME2")


def _tiff(data: bytes, limits: Limits) -> _Decoded:
    import tifffile  # takes 0.1 s: only those who open a TIFF wait for it

    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        # A damaged chain of pages may lead back to its start and so never end: look at no more than it takes.
        pages = [page for page in islice(tiff.pages, 64) if not page.is_reduced]
        if not pages:
            raise FileError("DECODE", "the TIFF is damaged: no picture is found in it")
        if len(pages) != 1:
            many = f"{len(pages)} pages" if len(pages) < 60 else "very many pages"
            raise FileError("UNSUPPORTED", f"the TIFF holds {many}; one picture is expected")
        page = pages[0]
        limits.check(page.imagewidth, page.imagelength)
        if page.samplesperpixel > 4 or page.imagedepth > 1:
            raise FileError("UNSUPPORTED", "the TIFF has more than 4 channels, or depth; one picture is expected")
        bits, kind = page.bitspersample, page.sampleformat
        if kind != 1 or not isinstance(bits, int) or bits > 16:
            kinds = {1: "unsigned", 2: "signed", 3: "floating-point"}
            raise FileError(
                "UNSUPPORTED", f"{bits}-bit {kinds.get(kind, 'unusual')} TIFF; up to 16 bits unsigned is read"
            )
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
            if offset + count > len(data):
                raise FileError("DECODE", "the TIFF is cut short: its pixel data ends behind the file's end")
        pixels = page.asarray()
        photometric = page.photometric.name
        if photometric == "PALETTE":
            # Colour maps hold 16 bits for each channel, first all reds, then greens, then blues.
            pixels = np.moveaxis((page.colormap >> 8).astype(np.uint8)[:, pixels], 0, -1)
        elif photometric == "YCBCR" and page.compression.name not in ("JPEG", "OJPEG"):
            raise FileError("UNSUPPORTED", "TIFF with photometric interpretation YCBCR, but not compressed as JPEG")
        elif photometric not in ("MINISBLACK", "MINISWHITE", "RGB", "YCBCR"):
            raise FileError("UNSUPPORTED", f"TIFF with photometric interpretation {photometric}")
        elif page.planarconfig == 2 and pixels.ndim == 3:
            pixels = np.moveaxis(pixels, 0, -1)
        orientation = page.tags.get("Orientation")

    if photometric != "PALETTE":
        pixels = _full_range(pixels, bits)
    if photometric == "MINISWHITE":
        pixels = np.invert(pixels)
    pixels = _upright(_one_picture(pixels), int(orientation.value) if orientation else 1)
    names = {"MINISWHITE": "MONOCHROME1", "MINISBLACK": "MONOCHROME2", "PALETTE": "PALETTE COLOR"}
    return _Decoded(_gray_if_deep(pixels), 8 if photometric == "PALETTE" else bits, names.get(photometric, "RGB"))


def _full_range(pixels: Image, bits: int) -> Image:
    if bits in (8, 16):
        return pixels
    scale = 255 if bits < 8 else 65535
    wide = pixels.astype(np.uint32) * scale + (2**bits - 1) // 2
    return (wide // (2**bits - 1)).astype(np.uint8 if bits < 8 else np.uint16)


def _upright(pixels: Image, orientation: int) -> Image:
    """Undo the tag Orientation (TIFF 6.0; 1 is upright, unknown values are taken for it)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def _one_picture(pixels: Image) -> Image:
    """Drop a channel axis of one, or alpha."""
    if pixels.ndim == 3 and pixels.shape[2] in (1, 2):
        return pixels[:, :, 0]
    return pixels[:, :, :3] if pixels.ndim == 3 and pixels.shape[2] == 4 else pixels


def _read_npy(stream: IO[bytes], limits: Limits) -> _Decoded:
    shape, dtype = _npy_header(stream)
    if not _is_picture(shape, dtype):
        raise FileError(
            # Of a dtype with fields only the kind is said: the fields' names are the file's own words.
            "UNSUPPORTED",
            f"the array is {dtype.name} of shape {shape!s:.60}; (H, W) or (H, W, 3) of uint8 or uint16 is read",
        )
    limits.check(shape[1], shape[0])
    stream.seek(0)
    pixels = np.lib.format.read_array(stream, allow_pickle=False)
    pixels = _one_picture(pixels.astype(pixels.dtype.newbyteorder("=")))
    return _Decoded(_gray_if_deep(pixels), pixels.dtype.itemsize * 8, "RGB" if pixels.ndim == 3 else "MONOCHROME2")


def _npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise FileError("PICKLE", "the array holds Python objects, which could run code; only numbers are read")
    return shape, dtype


def _is_picture(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    flat = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))
    return flat and dtype.kind == "u" and dtype.itemsize <= 2


def _npy(data: bytes, limits: Limits) -> _Decoded:
    return _read_npy(io.BytesIO(data), limits)


def _npz(data: bytes, limits: Limits) -> _Decoded:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        arrays = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
        if not arrays:
            raise FileError("UNSUPPORTED", "the zip archive holds no NumPy array")
        if any(entry.flag_bits & 1 for entry in arrays):
            raise FileError("UNSUPPORTED", "the archive is encrypted")
        if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in arrays):
            # bzip2 and LZMA unpack a whole block at a time, however little is asked for.
            raise FileError("UNSUPPORTED", "the archive is not packed by NumPy; stored and deflated arrays are read")
        pictures = []
        for entry in arrays[:100]:
            with archive.open(entry) as stream:
                if _is_picture(*_npy_header(stream)):
                    pictures.append(entry)
        if len(arrays) > 1 and len(pictures) != 1:
            raise FileError("UNSUPPORTED", f"the NPZ holds {len(pictures)} pictures; one is expected")
        with archive.open((pictures or arrays)[0]) as stream:
            return _read_npy(stream, limits)


_DECODERS: dict[str, Callable[[bytes, Limits], _Decoded]] = {
    "PNG": _png,
    "JPEG": _jpeg,
    "TIFF": _tiff,
    "NPY": _npy,
    "NPZ": _npz,
}
