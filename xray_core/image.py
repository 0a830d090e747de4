"""The image contract, which every other module relies on.

A *gray image* is a 2-D array of ``uint8`` or ``uint16`` that uses the full range of its dtype: 0 is black and lungs are
dark. A *colour image* is an (H, W, 3) array of ``uint8`` in RGB order and exists only before the step ``grayscale``.
Images are C-contiguous and read-only: a function takes an image and returns a new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xray_core.errors import ImageError

Image = NDArray[Any]
"""A gray or colour image as described above."""


@dataclass(frozen=True, slots=True)
class DicomFacts:
    """What a DICOM file says of a film besides: numbers and our own words, never a text of the file.

    Attributes
    ----------
    frame, frames
        Number of the frame shown, from 1, and how many the file holds.
    voi
        How the greys shown were chosen: ``VOI LUT 1 of 1``, ``window 1 of 2 (LINEAR)``, ``whole range``, or ``colour``.
    windows
        How many windows, or VOI LUTs, there are to choose from.
    spacing_from
        Where the film's spacing is from: ``Pixel Spacing`` (in the patient, where calibrated), ``Imager Pixel Spacing``
        (at the detector, so anatomy is smaller), ``Nominal Scanned Pixel Spacing`` (of a digitised film), or empty.
    exposure_index
        Exposure Index (IEC 62494-1) as the device reports it, or None.
    """

    frame: int
    frames: int
    voi: str
    windows: int = 1
    spacing_from: str = ""
    exposure_index: float | None = None


@dataclass(frozen=True, slots=True)
class Film:
    """A decoded file: its pixels and the facts that do not identify a person.

    Attributes
    ----------
    pixels
        The image, (H, W) ``uint8``/``uint16`` or (H, W, 3) ``uint8``, read-only.
    name
        The file's name without its folders.
    bits
        Stored bits a pixel, at most 16.
    sha256
        Hexadecimal digest of the file's bytes.
    container
        ``"PNG"``, ``"JPEG"``, ``"TIFF"``, ``"BMP"``, ``"WEBP"``, ``"NPZ"``, ``"NPY"`` or ``"DICOM"``.
    photometric
        Photometric interpretation as the file declares it, in the words of DICOM: ``MONOCHROME1``, ``MONOCHROME2``,
        ``RGB``, ``PALETTE COLOR`` or one of DICOM's ``YBR_...``.
    spacing
        Distance of neighbouring pixels in mm, down the rows and across the columns (as DICOM's Pixel Spacing), or None
        where the file does not tell.
    dicom
        What only a DICOM file tells, or None for another.
    page, pages
        Which page of the file this is, counted from 1, and how many it has.
    notes
        Rules that decoding applied and that one should know of, each as a sentence in our own words.
    """

    pixels: Image
    name: str
    bits: int
    sha256: str
    container: str
    photometric: str
    spacing: tuple[float, float] | None = None
    dicom: DicomFacts | None = None
    page: int = 1
    pages: int = 1
    notes: tuple[str, ...] = ()

    @property
    def remarks(self) -> str:
        """What a person should know of how this was read, in sentences; empty where nothing is unusual."""
        page = (f"Page {self.page} of {self.pages}.",) if self.pages > 1 else ()
        return " ".join((*page, *self.notes))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


def is_colour(image: Image) -> bool:
    """Whether an image has three channels."""
    return image.ndim == 3


def full_scale(image: Image) -> int:
    """Return the white of an image: 255 for ``uint8``, 65535 for ``uint16``."""
    return 255 if image.dtype == np.uint8 else 65535


def grey_levels(image: Image) -> float:
    """Return the factor from an image's values to grey levels from 0 to 255: 1 or 1/257."""
    return 255.0 / full_scale(image)


def read_only(image: Image) -> Image:
    """Return the image C-contiguous and read-only; copies only where it has to."""
    image = np.ascontiguousarray(image)
    image.flags.writeable = False
    return image


def checked(image: Image) -> Image:
    """Return a read-only view of an array that keeps the contract.

    Parameters
    ----------
    image
        (H, W) ``uint8`` or ``uint16``, or (H, W, 3) ``uint8``, with at least one pixel.

    Raises
    ------
    ImageError
        If the shape or dtype is another one.
    """
    if not isinstance(image, np.ndarray):
        raise ImageError(f"an image is a NumPy array, got {type(image).__name__}")
    gray = image.ndim == 2 and image.dtype in (np.uint8, np.uint16)
    colour = image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8
    if not (gray or colour):
        raise ImageError(
            f"an image is (H, W) of uint8 or uint16, or (H, W, 3) of uint8, got shape {image.shape} of {image.dtype}"
        )
    if image.size == 0:
        raise ImageError(f"an image has at least one pixel, got shape {image.shape}")
    return read_only(image.view())
