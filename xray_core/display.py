"""Films on a screen: windowed to 8 bits, compared, cut out and made smaller. For the eye alone: no metric sees them.

A window is given in grey levels from 0 to 255 for 8 and 16 bits alike, as brightness is. Functions take gray images of
`xray_core.image` and return 8-bit gray ones of the same shape, unless they say otherwise.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from xray_core.image import Image, full_scale, grey_levels, read_only
from xray_core.similarity import same_kind


class Window(NamedTuple):
    """Window level and width in grey levels: black at ``level - width / 2``, white at ``level + width / 2``."""

    level: float = 127.5
    width: float = 255.0


WHOLE = Window()
MID_GREY = 128


class Region(NamedTuple):
    """A rectangle of pixels; `x` and `y` are its left upper corner."""

    x: int
    y: int
    width: int
    height: int

    def of(self, image: Image) -> Image:
        """Return a view of this part of an image."""
        return image[self.y : self.y + self.height, self.x : self.x + self.width]

    def scaled(self, source: tuple[int, int], target: tuple[int, int]) -> Region:
        """Return the region that covers the same part in a picture of another size; both sizes are (width, height)."""
        across, down = target[0] / source[0], target[1] / source[1]
        left, top = min(int(self.x * across), target[0] - 1), min(int(self.y * down), target[1] - 1)
        right = min(max(round((self.x + self.width) * across), left + 1), target[0])
        bottom = min(max(round((self.y + self.height) * down), top + 1), target[1])
        return Region(left, top, right - left, bottom - top)


def windowed(image: Image, window: Window = WHOLE) -> Image:
    """Map a window of an image's grey levels to 8 bits, linearly; what lies outside becomes black or white.

    Parameters
    ----------
    image
        Gray, ``uint8`` or ``uint16``.
    window
        The whole range gives an 8-bit image back as it is, and the nearest of 256 levels for 16 bits.

    References
    ----------
    DICOM PS3.3 C.11.2.1.2 (VOI LUT, linear), in its exact form.
    """
    if window == WHOLE and image.dtype == np.uint8:
        return image
    levels = np.arange(full_scale(image) + 1.0) * grey_levels(image)
    shown = (levels - (window.level - window.width / 2)) * (255.0 / window.width)
    table = np.clip(np.rint(shown), 0, 255).astype(np.uint8)
    return read_only(cv2.LUT(image, table))


def difference(before: Image, after: Image, gain: float = 1.0) -> Image:
    """Show what was added or taken: mid-grey where nothing changed, brighter where `after` is, darker where it is not.

    Parameters
    ----------
    before, after
        Gray, same shape and dtype.
    gain
        Grey levels shown for each grey level of difference.
    """
    same_kind(before, after)
    scale = gain * grey_levels(before)
    return read_only(cv2.addWeighted(after, scale, before, -scale, MID_GREY, dtype=cv2.CV_8U))


def reduced(image: Image, size: tuple[int, int]) -> Image:
    """Scale an image of any kind down to (width, height) by area; sides that are shorter stay as they are.

    Returns
    -------
    smaller
        Of the image's dtype.
    """
    height, width = image.shape[:2]
    wanted = min(size[0], width), min(size[1], height)
    if wanted == (width, height):
        return image
    return read_only(cv2.resize(image, wanted, interpolation=cv2.INTER_AREA))


def fitting(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return the largest (width, height) of a size's shape whose longer side is at most `side`."""
    scale = min(side / max(size), 1.0)
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)
