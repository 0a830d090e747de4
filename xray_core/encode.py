"""Image to bytes: the formats and ranges that are written."""

from __future__ import annotations

import io
import zipfile

import cv2
import numpy as np
from numpy.typing import NDArray

from xray_core import embedding, png
from xray_core.derivation import Derivation
from xray_core.errors import FileError, SettingsError
from xray_core.image import Image, full_scale

FORMATS = ("png", "tif", "jpg", "npz", "npy", "dcm")
RANGES = {
    "same": "the depth of the film",
    "uint8": "0 to 255",
    "uint16": "0 to 65535",
    "unit": "float32, 0 to 1",
    "zscore": "float32, mean 0 and standard deviation 1",
}
JPEG_QUALITY = 95
JPEG_QUALITIES = (1, 100)


def in_range(image: Image, kind: str) -> NDArray[np.float32] | Image:
    """Convert a gray image to one of `RANGES`.

    A flat image has no standard deviation; its z-scores are 0.
    """
    if kind == "same":
        return image
    if kind == "unit":
        return image.astype(np.float32) / np.float32(full_scale(image))
    if kind == "zscore":
        deviation = float(image.std(dtype=np.float64))
        return ((image - image.mean(dtype=np.float64)) / (deviation or 1.0)).astype(np.float32)
    if kind == "uint16":
        return image if image.dtype == np.uint16 else image.astype(np.uint16) * 257
    if kind == "uint8":
        return image if image.dtype == np.uint8 else ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    raise SettingsError(f"the range is one of {', '.join(RANGES)}, got {kind!r}")


def check_output(suffix: str, kind: str = "same", quality: int | None = None) -> None:
    """Raise `SettingsError` where a format is not written, or has no place for a range or quality."""
    name = suffix.lower().lstrip(".").replace("jpeg", "jpg").replace("tiff", "tif")
    if name not in FORMATS:
        raise SettingsError(f"the output's suffix is one of {', '.join(FORMATS)}, got {suffix or 'none'!r}")
    if kind not in RANGES:
        raise SettingsError(f"the range is one of {', '.join(RANGES)}, got {kind!r}")
    if kind in ("unit", "zscore") and name not in ("npz", "npy"):
        raise SettingsError(f"{name} holds whole numbers; the range {kind} needs npz or npy")
    if kind == "uint16" and name == "jpg":
        raise SettingsError("jpg holds 8 bits; the range uint16 needs png, tif, npz, npy or dcm")
    low, high = JPEG_QUALITIES
    if quality is not None and not (type(quality) is int and low <= quality <= high):
        raise SettingsError(f"the quality is a whole number from {low} to {high}")
    if quality is not None and name != "jpg":
        raise SettingsError(f"{name} is written without loss; a quality is for jpg")


def check_identity(suffix: str, keep_identity: bool) -> None:
    """Raise `SettingsError` where identity is to be kept by a format that has no place for it."""
    if keep_identity and suffix.lower() != ".dcm":
        raise SettingsError("only dcm has a place for the patient's identity; leave --keep-identity out")


def encode(
    image: NDArray[np.float32] | Image,
    suffix: str,
    *,
    text: str | None = None,
    quality: int | None = None,
    origin: Derivation | None = None,
) -> bytes:
    """Encode an image as the format of a suffix; the same image always gives the same bytes, but for DICOM.

    Those of a PNG may be others on another kind of processor, its pixels never.

    Parameters
    ----------
    image
        Gray; ``float32`` only for NPZ and NPY. JPEG holds 8 bits, so deeper images are rounded to them.
    suffix
        Such as ``.png``; one of `FORMATS`.
    text
        Travels with the picture, see `xray_core.embedding`; NPY has no place for it, and DICOM takes the origin's.
    quality
        Of JPEG, 1 to 100; 95 if None.
    origin
        What the image was made of, for DICOM.
    """
    check_output(suffix, quality=quality)
    name = suffix.lower().lstrip(".")
    if text is not None and len(text.encode()) > embedding.MOST_BYTES:
        raise SettingsError(f"the text in a picture has at most {embedding.MOST_BYTES // 1000} kB")
    if name == "dcm":
        from xray_core.dicom_out import derived  # takes 0.2 s: only those who write DICOM wait for it

        return derived(image, origin)
    if name in ("npz", "npy"):
        return _encode_numpy(image, text, packed=name == "npz")
    if name in ("tif", "tiff"):
        import tifffile  # takes 0.1 s: only those who write a TIFF wait for it

        stream = io.BytesIO()
        described = {} if text is None else {"description": embedding.marked(text), "software": False}
        tifffile.imwrite(stream, image, photometric="minisblack", compression="zlib", metadata=None, **described)
        return stream.getvalue()
    if name in ("jpg", "jpeg"):
        options = [cv2.IMWRITE_JPEG_QUALITY, quality or JPEG_QUALITY]
        done, jpeg = cv2.imencode(".jpg", in_range(image, "uint8"), options)
        if not done:
            raise FileError("WRITE", "the picture could not be encoded as jpg")
        return jpeg.tobytes() if text is None else embedding.into_jpeg(jpeg.tobytes(), text)
    data = png.encoded(image)
    return data if text is None else embedding.into_png(data, text)


def _encode_numpy(image: NDArray[np.float32] | Image, text: str | None, *, packed: bool) -> bytes:
    array = io.BytesIO()
    np.lib.format.write_array(array, np.ascontiguousarray(image), allow_pickle=False)
    if not packed:
        return array.getvalue()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        # np.savez would write the time of day into the archive.
        entry = zipfile.ZipInfo("image.npy", date_time=(1980, 1, 1, 0, 0, 0))
        archive.writestr(entry, array.getvalue(), compress_type=zipfile.ZIP_DEFLATED)
        if text is not None:
            archive.comment = embedding.marked(text).encode()
    return stream.getvalue()
