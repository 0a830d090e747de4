"""DICOM's grey scale transformations: from a stored value to what is shown, as one table over all stored values.

The order is that of DICOM PS3.4 N.2: Modality LUT or rescale, then VOI LUT or window, then polarity; padding is black.
A table knows the declared depth alone and never sees a picture, so no content can stretch its range.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xray_core.errors import FileError

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Stored:
    """The stored values that a film may hold.

    Attributes
    ----------
    bits
        Bits Stored, 1 to 16.
    signed
        Whether Pixel Representation is 1, so that values are in two's complement.
    """

    bits: int
    signed: bool

    @property
    def low(self) -> int:
        """Lowest stored value."""
        return -(2 ** (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """Highest stored value."""
        return self.low + 2**self.bits - 1

    def values(self) -> NDArray[np.int64]:
        """Return the stored values in the order of their bit patterns, (2 ** bits,)."""
        patterns = np.arange(2**self.bits, dtype=np.int64)
        return np.where(patterns > self.high, patterns - 2**self.bits, patterns)


@dataclass(frozen=True)
class Lut:
    """A lookup table of a file.

    Attributes
    ----------
    first
        The value that the first entry stands for; lower ones get the first entry, those behind the end the last.
    entries
        (N,) whole numbers.
    bits
        Bits of an entry: the table's output range is [0, 2 ** bits - 1].
    """

    first: int
    entries: NDArray[np.int64]
    bits: int

    def __call__(self, values: Values) -> Values:
        """Look values up; what is no whole number takes the nearest one's entry."""
        places = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1).astype(np.int64)
        return self.entries[places].astype(np.float64)

    @property
    def white(self) -> float:
        """Highest output value."""
        return 2.0**self.bits - 1


@dataclass(frozen=True)
class Rescale:
    """Rescale Slope and Intercept: output = slope * value + intercept."""

    slope: float = 1.0
    intercept: float = 0.0

    def __call__(self, values: Values) -> Values:
        """Rescale values."""
        return values * self.slope + self.intercept


@dataclass(frozen=True)
class Window:
    """Window Center and Width in values after the modality transformation, with the VOI LUT Function.

    Attributes
    ----------
    function
        ``LINEAR``, ``LINEAR_EXACT`` or ``SIGMOID``.

    References
    ----------
    DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3. ``LINEAR`` maps center - width / 2 to black and center + width / 2 - 1 to
    white; ``LINEAR_EXACT`` center - width / 2 and center + width / 2.
    """

    center: float
    width: float
    function: str = "LINEAR"

    def __call__(self, values: Values) -> Values:
        """Return values as shares of white, in [0, 1]."""
        if self.function == "SIGMOID":
            # Values far outside of a narrow window would overflow; they are black or white long before.
            steps = np.clip(-4 * (values - self.center) / self.width, -700, 700)
            return 1 / (1 + np.exp(steps))
        if self.function == "LINEAR_EXACT":
            return np.clip((values - self.center) / self.width + 0.5, 0, 1)
        if self.width == 1:
            return (values > self.center - 0.5).astype(np.float64)
        return np.clip((values - (self.center - 0.5)) / (self.width - 1) + 0.5, 0, 1)

    def check(self) -> None:
        """Raise `FileError` for a window that DICOM forbids."""
        least = 1 if self.function == "LINEAR" else 0
        if self.function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
            raise FileError("UNSUPPORTED", "its VOI LUT Function is none that DICOM defines; voi none shows all of it")
        wide = self.width >= 1 if least else self.width > 0
        if not (wide and np.isfinite([self.center, self.width]).all()):
            raise FileError("UNSUPPORTED", "its window has no width, which DICOM forbids; voi none shows all of it")


def grey_table(
    stored: Stored,
    modality: Lut | Rescale,
    voi: Lut | Window | None,
    *,
    inverse: bool,
    padding: tuple[int, int] | None,
    shades: Callable[[Values], NDArray[np.uint8] | NDArray[np.uint16]],
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return what each stored value looks like.

    Parameters
    ----------
    stored
        Which values there are.
    modality
        Gives a value its meaning (DICOM PS3.3 C.11.1). Its output range, from the depth declared, is shown as a whole
        where `voi` is None.
    voi
        Chooses the values of interest (DICOM PS3.3 C.11.2). Its output range becomes black to white.
    inverse
        Whether low values are bright: MONOCHROME1, or Presentation LUT Shape INVERSE.
    padding
        First and last stored value that is no part of the picture, shown black (DICOM PS3.3 C.7.5.1.1.2), or None.
    shades
        Turns shares of white in [0, 1] into the values of a dtype.

    Returns
    -------
    table
        (2 ** bits,), by the bit pattern of the stored value.

    Raises
    ------
    FileError
        For a transformation without any range.
    """
    values = stored.values()
    meant = modality(values.astype(np.float64))
    if isinstance(voi, Window):
        shares = voi(meant)
    elif isinstance(voi, Lut):
        shares = np.clip(voi(meant) / voi.white, 0, 1)
    elif isinstance(modality, Lut):
        shares = np.clip(meant / modality.white, 0, 1)
    else:
        low, high = sorted(float(end) for end in modality(np.array([stored.low, stored.high], np.float64)))
        if not (np.isfinite([low, high]).all() and high > low):
            raise FileError("UNSUPPORTED", "its Rescale Slope makes all values alike")
        shares = (meant - low) / (high - low)
    table = shades(1 - shares if inverse else shares)
    if padding:
        table[(values >= min(padding)) & (values <= max(padding))] = 0
    return table
