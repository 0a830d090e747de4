"""Paths: read, list and write. Originals are only ever opened for reading, and outputs appear whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import secrets
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from xray_core.decode import Limits, container_of, decode
from xray_core.derivation import Derivation
from xray_core.dicom_choice import DicomChoice
from xray_core.errors import FileError, SettingsError
from xray_core.image import Film, Image, full_scale

SUFFIXES = frozenset(
    [".png", ".jpg", ".jpeg", ".tif", ".tiff", ".npz", ".npy", ".dcm", ".dicom", ".bmp", ".gif", ".webp", ".jp2"]
)
"""Files with these suffixes count as pictures when a folder is listed, whatever is in them."""
FORMATS = ("png", "tif", "jpg", "npz", "npy", "dcm")
RANGES = {
    "same": "the depth of the film",
    "uint8": "0 to 255",
    "uint16": "0 to 65535",
    "unit": "float32, 0 to 1",
    "zscore": "float32, mean 0 and standard deviation 1",
}
_JPEG_QUALITY = 95


def read(path: str | os.PathLike[str], limits: Limits | None = None, dicom: DicomChoice | None = None) -> Film:
    """Read and decode a file; see `load`."""
    return load(path, limits, dicom)[0]


def load(
    path: str | os.PathLike[str], limits: Limits | None = None, dicom: DicomChoice | None = None
) -> tuple[Film, bytes]:
    """Read and decode a file; return the film and the file's bytes.

    Parameters
    ----------
    path
        Any file; its format is told by content.
    limits
        What is refused before decoding.
    dicom
        Which greys and frame of a DICOM file are taken.

    Raises
    ------
    FileError
        If it cannot be read or is no radiograph.
    """
    limits = limits or Limits()
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > limits.file_bytes:
            raise FileError("BYTE_LIMIT", f"{size / 1e6:.0f} MB; the limit is {limits.file_bytes / 1e6:g} MB")
        if not path.is_file():
            raise FileError("READ", "this is no file")
        data = path.read_bytes()
    except OSError as error:
        raise FileError("READ", reason(error)) from error
    return decode(data, path.name, limits, dicom), data


def reason(error: OSError) -> str:
    """Return an operating system's error in words, without the path it may carry."""
    words = {
        errno.ENOENT: "the file or folder does not exist",
        errno.EACCES: "permission denied",
        errno.EPERM: "permission denied",
        errno.EISDIR: "this is a folder",
        errno.ENOSPC: "the disk is full",
        errno.EROFS: "the disk is read-only",
        errno.ENAMETOOLONG: "the name is too long",
    }
    return words.get(error.errno or 0, (error.strerror or type(error).__name__).lower())


def find(root: Path, passed_over: Counter[str] | None = None) -> Iterator[Path]:
    """Yield the pictures below a folder in a fixed order, as paths relative to it.

    A file counts as a picture by its suffix, or where that says nothing by its first bytes. Hidden files and links are
    passed over.

    Parameters
    ----------
    root
        The folder.
    passed_over
        Counts what is passed over, by kind.
    """
    counts = Counter[str]() if passed_over is None else passed_over
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if name.startswith("."):
                counts["hidden"] += 1
            elif path.is_symlink():
                counts["links"] += 1
            elif path.is_file() and (path.suffix.lower() in SUFFIXES or _looks_like_a_picture(path)):
                yield path.relative_to(root)
            else:
                counts["no pictures"] += 1


def _looks_like_a_picture(path: Path) -> bool:
    if path.name == "DICOMDIR":  # the table of contents of a disc: DICOM, but of no film
        return False
    try:
        with path.open("rb") as file:
            container = container_of(file.read(132))
    except OSError:
        return False
    # Any zip archive starts like an NPZ.
    return container not in (None, "NPZ")


def output_names(inputs: Iterable[Path], suffix: str) -> list[Path]:
    """Return the output's path for each input: the tree mirrored, the suffix replaced, no two alike.

    Two inputs that differ only by suffix keep it (``film.jpg`` gives ``film.jpg.png``); names that differ only by case
    or by how an accent is coded, which some file systems take for one, and names of folders get a number.
    """
    wanted = list(inputs)
    plain = [path.with_name(path.stem + suffix) for path in wanted]
    often: dict[str, int] = {}
    for path in plain:
        often[_alike(path)] = often.get(_alike(path), 0) + 1
    taken = {_alike(folder) for path in wanted for folder in path.parents}
    outputs = []
    for path, simple in zip(wanted, plain, strict=True):
        out = simple if often[_alike(simple)] == 1 else path.with_name(path.name + suffix)
        number = 2
        while _alike(out) in taken:
            out = path.with_name(f"{path.name}_{number}{suffix}")
            number += 1
        taken.add(_alike(out))
        outputs.append(out)
    return outputs


def _alike(path: Path) -> str:
    """Return the same text for paths that a file system may take for one."""
    return unicodedata.normalize("NFC", str(path).casefold())


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


def check_output(suffix: str, kind: str = "same") -> None:
    """Raise `SettingsError` where a format is not written or cannot hold a range."""
    name = suffix.lower().lstrip(".").replace("jpeg", "jpg").replace("tiff", "tif")
    if name not in FORMATS:
        raise SettingsError(f"the output's suffix is one of {', '.join(FORMATS)}, got {suffix or 'none'!r}")
    if kind not in RANGES:
        raise SettingsError(f"the range is one of {', '.join(RANGES)}, got {kind!r}")
    if kind in ("unit", "zscore") and name not in ("npz", "npy"):
        raise SettingsError(f"{name} holds whole numbers; the range {kind} needs npz or npy")
    if kind == "uint16" and name == "jpg":
        raise SettingsError("jpg holds 8 bits; the range uint16 needs png, tif, npz, npy or dcm")


def check_identity(suffix: str, keep_identity: bool) -> None:
    """Raise `SettingsError` where identity is to be kept by a format that has no place for it."""
    if keep_identity and suffix.lower() != ".dcm":
        raise SettingsError("only dcm has a place for the patient's identity; leave --keep-identity out")


def encode(image: NDArray[np.float32] | Image, suffix: str, origin: Derivation | None = None) -> bytes:
    """Encode an image as the format of a suffix; the same image always gives the same bytes, but for DICOM.

    Parameters
    ----------
    image
        Gray; ``float32`` only for NPZ and NPY. JPEG holds 8 bits, so deeper images are rounded to them.
    suffix
        Such as ``.png``; one of `FORMATS`.
    origin
        What the image was made of, for the formats that can tell.
    """
    check_output(suffix)
    name = suffix.lower().lstrip(".")
    if name == "dcm":
        from xray_core.dicom_out import derived  # takes 0.2 s: only those who write DICOM wait for it

        return derived(image, origin)
    if name in ("npz", "npy"):
        return _encode_numpy(image, packed=name == "npz")
    if name in ("tif", "tiff"):
        import tifffile  # takes 0.1 s: only those who write a TIFF wait for it

        stream = io.BytesIO()
        tifffile.imwrite(stream, image, photometric="minisblack", compression="zlib", metadata=None)
        return stream.getvalue()
    if name in ("jpg", "jpeg"):
        done, data = cv2.imencode(".jpg", in_range(image, "uint8"), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    else:
        # OpenCV's default is faster and smaller than any compression level it can be given.
        done, data = cv2.imencode(".png", image)
    if not done:
        raise FileError("WRITE", f"the picture could not be encoded as {name}")
    return data.tobytes()


def _encode_numpy(image: NDArray[np.float32] | Image, *, packed: bool) -> bytes:
    array = io.BytesIO()
    np.lib.format.write_array(array, np.ascontiguousarray(image), allow_pickle=False)
    if not packed:
        return array.getvalue()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        # np.savez would write the time of day into the archive.
        entry = zipfile.ZipInfo("image.npy", date_time=(1980, 1, 1, 0, 0, 0))
        archive.writestr(entry, array.getvalue(), compress_type=zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def write(path: str | os.PathLike[str], image: Image, kind: str = "same", origin: Derivation | None = None) -> None:
    """Encode an image by the path's suffix and write it, whole or not at all; see `encode`.

    Raises
    ------
    FileError
        If it cannot be written.
    SettingsError
        If the suffix or range is unknown, or they don't go together.
    """
    path = Path(path)
    check_output(path.suffix, kind)
    write_bytes(path, encode(in_range(image, kind), path.suffix, origin))


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file so that a reader, or a crash, finds the old content or the new one, never a part."""
    path = Path(path)
    part = path.with_name(f".radtune-{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(data)
            part.replace(path)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
    except OSError as error:
        raise FileError("WRITE", reason(error)) from error
