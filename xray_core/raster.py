"""PNG, JPEG, BMP and WebP: what ``cv2.imread(path, cv2.IMREAD_COLOR)`` gives, in RGB, with gray kept gray.

The EXIF orientation is applied in all of them, alpha is dropped (what lies under it is shown), CMYK is converted as
OpenCV does it, without a colour profile. JPEG is decoded by simplejpeg: bit for bit the same, and alone in taking the
decoder's warnings of a damaged scan for what they are, where others show half a picture as a whole one.
"""

from __future__ import annotations

import io

import cv2
import numpy as np
import simplejpeg
from PIL import BmpImagePlugin, Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from xray_core import png
from xray_core.errors import FileError
from xray_core.limits import Limits
from xray_core.stored import Decoded, Opened, Values, upright

_ORIENTATION = 0x0112
_NO_ALPHA = "Transparency is dropped: what lies under it is shown."


def open_png(data: bytes, limits: Limits) -> Opened:
    """Open a PNG."""
    header = PngImagePlugin.PngImageFile(io.BytesIO(data))
    limits.check(*header.size)
    parts = png.chunks(data)
    bits = data[24]  # IHDR stands first and at a fixed place; Pillow has checked that it does

    def read(page: int) -> Decoded:
        values = _rgb(png.decoded(data, parts))
        if header.mode == "LA" and values.ndim == 3:
            values = values[:, :, 0]
        indexed = header.mode == "P"
        photometric = "PALETTE COLOR" if indexed else _photometric(values)
        notes = (_NO_ALPHA,) if header.mode in ("LA", "RGBA") else ()
        return Decoded(values, values.dtype.itemsize * 8, photometric, notes, stored_bits=0 if indexed else bits)

    return Opened(1, read)


def open_jpeg(data: bytes, limits: Limits) -> Opened:
    """Open a JPEG; of several pictures in one file (MPO) the first."""
    header = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    limits.check(*header.size)

    def read(page: int) -> Decoded:
        if header.mode not in ("L", "RGB"):
            converted = ("CMYK is converted to RGB without a colour profile.",) if header.mode == "CMYK" else ()
            return Decoded(_by_opencv(data), 8, "RGB", converted)
        values, notes = _jpeg(data, header.mode)
        values = upright(values, _orientation(header))
        return Decoded(values, 8, _photometric(values), notes)

    return Opened(1, read)


def _jpeg(data: bytes, mode: str) -> tuple[Values, tuple[str, ...]]:
    try:
        simplejpeg.decode_jpeg_header(data)
    except ValueError:
        # It will not start behind rubbish in a header, which harms no pixel.
        image = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
        return np.asarray(image), ("The JPEG's header holds rubbish; damage in the picture itself may go unnoticed.",)
    values = simplejpeg.decode_jpeg(data, "GRAY" if mode == "L" else "RGB", fastdct=False, fastupsample=False)
    return values[:, :, 0] if mode == "L" else values, ()


def open_bmp(data: bytes, limits: Limits) -> Opened:
    """Open a BMP."""
    header = BmpImagePlugin.BmpImageFile(io.BytesIO(data))
    limits.check(*header.size)

    def read(page: int) -> Decoded:
        values = _by_opencv(data)
        return Decoded(values, 8, "PALETTE COLOR" if header.mode == "P" else _photometric(values))

    return Opened(1, read)


def open_webp(data: bytes, limits: Limits) -> Opened:
    """Open a WebP that does not move."""
    header = WebPImagePlugin.WebPImageFile(io.BytesIO(data))
    limits.check(*header.size)
    if getattr(header, "n_frames", 1) != 1:
        raise FileError("UNSUPPORTED", "this is a moving WebP; one picture is expected")

    def read(page: int) -> Decoded:
        values = _by_opencv(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        notes = (_NO_ALPHA,) if header.mode == "RGBA" else ()
        return Decoded(upright(values, _orientation(header)), 8, "RGB", notes)

    return Opened(1, read)


def _by_opencv(data: bytes, how: int = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH) -> Values:
    return _rgb(cv2.imdecode(np.frombuffer(data, np.uint8), how))


def _rgb(values: Values | None) -> Values:
    if values is None:
        raise FileError("DECODE", "the picture data is damaged or cut short")
    return values if values.ndim == 2 else cv2.cvtColor(values, cv2.COLOR_BGR2RGB)


def _photometric(values: Values) -> str:
    return "RGB" if values.ndim == 3 else "MONOCHROME2"


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 where there is none or it cannot be read; XMP is not asked, nor does OpenCV."""
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        value = exif.get(_ORIENTATION, 1)
    except Exception:  # EXIF is read by loose rules, and raises nearly anything
        return 1
    return value if isinstance(value, int) else 1
