"""What a file stores, on its way to the image contract: values of any kind to 8 or 16 bits by rules that never look at
the content.

| stored | black to white |
|---|---|
| 1 bit, or true and false | 0 to 1 |
| whole numbers of n bits, up to 16 | 0 to 2^n - 1 |
| whole numbers of 17 to 64 bits | the same, rounded to 16 bits; refused where hardly any tone would be left |
| signed whole numbers of n bits | -2^(n-1) to 2^(n-1) - 1 |
| floating-point numbers | 0 to 1; refused where one lies outside or is no number |

*Levels*, the stored values that are black and white, take the place of these rules where a caller names them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xray_core.errors import FileError, SettingsError

Values = NDArray[Any]
Levels = tuple[float, float]
"""Stored values that are black and white."""

_HOW = "say which values are black and white (--levels LOW HIGH)"
_STRIP = 1 << 22  # values converted at a time, so that 64-bit copies of a whole picture never exist
_FEWEST_TONES = 256


@dataclass(frozen=True)
class Decoded:
    """One picture as a file stores it, upright and without alpha.

    Attributes
    ----------
    values
        (H, W) of any real dtype, or (H, W, 3) ``uint8`` or ``uint16`` in RGB order.
    bits
        Declared bits of a value.
    stored_bits
        Bits in the file, where its decoder has widened fewer of them to `bits` already; else 0.
    photometric
        As in `xray_core.image.Film`; the values of ``MONOCHROME1`` are not yet turned over.
    notes
        Rules that were applied and that one should know of, each as a sentence.
    """

    values: Values
    bits: int
    photometric: str
    notes: tuple[str, ...] = ()
    stored_bits: int = 0


@dataclass(frozen=True)
class Opened:
    """A file whose pictures can be read: how many, what reads one, counted from 0, and what lets its bytes go."""

    pages: int
    read: Callable[[int], Decoded]
    close: Callable[[], None] = lambda: None


def check_levels(levels: Levels) -> None:
    """Raise `SettingsError` unless both are finite and the first is lower."""
    low, high = levels
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise SettingsError(f"levels are two numbers, the lower one first, got {low:g} and {high:g}")


def full_range(values: Values, bits: int, levels: Levels | None = None) -> tuple[Values, int, str]:
    """Bring gray values to the full range of ``uint8`` or ``uint16``.

    Parameters
    ----------
    values
        (H, W), of any kind.
    bits
        Declared bits of a value.
    levels
        Values that are black and white; the rule for the kind of values where None.

    Returns
    -------
    image, bits, note
        (H, W) ``uint8``, or ``uint16`` where more than 8 bits are declared; bits kept, at most 16; a sentence where the
        rule should be known, else empty.

    Raises
    ------
    FileError
        If no rule says what is black and white.
    """
    kind = values.dtype.kind
    if kind == "b":
        return values.astype(np.uint8) * np.uint8(255), 1, ""
    if kind not in "uif":
        raise FileError("UNSUPPORTED", f"the values are {values.dtype.name:.20}; whole and real numbers are read")
    if levels is not None:
        return _between(values, bits, levels)
    if kind == "f":
        return _from_unit(values), 16, "Floating-point values: 0 is black, 1 is white."
    if kind == "u" and bits <= 16:
        return _widened(values, bits), bits, ""
    low = -(2 ** (bits - 1)) if kind == "i" else 0
    high = low + 2**bits - 1
    least, most = int(values.min()), int(values.max())
    tones = (most - least) * 65535 // (high - low)
    if bits > 16 and least != most and tones < min(_FEWEST_TONES, most - least):
        raise FileError(
            "UNSUPPORTED",
            f"values from {least} to {most} are a tiny part of {bits} bits, and hardly any tone would be left; {_HOW}",
        )
    words = f"{'Signed values' if low else 'Values'} of {bits} bits: {low} is black, {high} is white."
    return _between(values, bits, (low, high))[0], min(bits, 16), words


def _widened(values: Values, bits: int) -> Values:
    if bits in (8, 16) and values.dtype.itemsize * 8 == bits:
        return values
    scale = 255 if bits < 8 else 65535
    wide = values.astype(np.uint32) * scale + (2**bits - 1) // 2
    return (wide // (2**bits - 1)).astype(np.uint8 if bits < 8 else np.uint16)


def _from_unit(values: Values) -> Values:
    _check_finite(values)
    least, most = float(values.min()), float(values.max())
    if least < 0 or most > 1:
        raise FileError("UNSUPPORTED", f"floating-point values from {least:.6g} to {most:.6g}, not in [0, 1]; {_HOW}")
    return _between(values, 16, (0.0, 1.0))[0]


def _check_finite(values: Values) -> None:
    bad = sum(int(np.count_nonzero(~np.isfinite(strip))) for strip in _strips(values))
    if bad:
        raise FileError("UNSUPPORTED", f"{bad:,} of {values.size:,} values are no numbers (NaN or infinite)")


def _strips(values: Values) -> list[Values]:
    rows = max(1, _STRIP // max(1, values.shape[1]))
    return [values[start : start + rows] for start in range(0, values.shape[0], rows)]


def _between(values: Values, bits: int, levels: Levels) -> tuple[Values, int, str]:
    if values.dtype.kind == "f":
        _check_finite(values)
    low, high = levels
    dtype = np.uint8 if bits <= 8 else np.uint16
    white = np.iinfo(dtype).max
    out = np.empty(values.shape, dtype)
    place = 0
    for strip in _strips(values):
        # Subtracting in double first: exact for whole numbers up to 53 bits, and nothing overflows.
        part = (strip.astype(np.float64) - low) * (white / (high - low))
        out[place : place + len(strip)] = np.rint(np.clip(part, 0, white))
        place += len(strip)
    return out, min(bits, 16), f"{low:g} is black, {high:g} is white, as you said."


def upright(values: Values, orientation: int) -> Values:
    """Undo the tag Orientation of TIFF and EXIF (TIFF 6.0; 1 is upright, unknown values are taken for it).

    Parameters
    ----------
    values
        (H, W) or (H, W, C).
    orientation
        The tag's value.
    """
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values


def without_alpha(values: Values) -> Values:
    """Drop a channel axis of one, or alpha: (H, W) or (H, W, 3) of (H, W), (H, W, 1), (H, W, 2), or (H, W, 4)."""
    if values.ndim == 3 and values.shape[2] in (1, 2):
        return values[:, :, 0]
    return values[:, :, :3] if values.ndim == 3 and values.shape[2] == 4 else values
