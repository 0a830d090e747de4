"""What is measured on a film before and after, and what it means against targets.

All functions take gray images of `xray_core.image`. Brightness and contrast are in grey levels from 0 to 255 for 8 and
16 bits alike, so that the same targets serve both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from xray_core.errors import SettingsError
from xray_core.image import Image, full_scale, grey_levels
from xray_core.params import is_number
from xray_core.similarity import psnr, same_kind, ssim
from xray_core.tones import histogram_256, range_used

Counts = NDArray[np.float64]
_LITTLE_RANGE = 0.1
_LEVELS = np.arange(256.0)


@dataclass(frozen=True)
class Metric:
    """A measured number: its name in the log, how a person reads it, and its usual target.

    Attributes
    ----------
    name
        Key in presets' targets; column in the log, or its stem where `paired`.
    paired
        Whether it is measured on both films; otherwise it compares the two.
    target
        Lowest and highest value wanted, of the film after, or None.
    low, high
        The smallest and largest values possible.
    untouched
        The value where nothing was changed, for a metric that compares.
    digits, percent, unit
        How it is shown.
    too_low, too_high
        What a value outside the target means and what to do.
    """

    name: str
    label: str
    help: str
    paired: bool
    target: tuple[float, float] | None
    low: float = 0.0
    high: float = math.inf
    untouched: float = math.nan
    digits: int = 0
    percent: bool = False
    unit: str = ""
    too_low: str = ""
    too_high: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names in the log."""
        return (f"{self.name}_before", f"{self.name}_after") if self.paired else (self.name,)

    @property
    def judged(self) -> str:
        """The name whose value is held against the target."""
        return self.columns[-1]

    def shown(self, value: float, more_digits: int = 0) -> str:
        """Return a value as a person reads it."""
        if math.isnan(value):
            return "n/a"
        if math.isinf(value):
            return "identical"
        if self.percent:
            return f"{value:.{1 + more_digits}%}"
        return f"{value:.{self.digits + more_digits}f}{' ' + self.unit if self.unit else ''}"

    def band(self, target: tuple[float, float]) -> str:
        """Return a target as a person reads it."""
        low, high = target
        if high >= self.high:
            return f"at least {self.shown(low)}"
        if low <= self.low:
            return f"at most {self.shown(high)}"
        return f"{self.shown(low)} to {self.shown(high)}"

    def told_apart(self, one: float, other: float) -> tuple[str, str]:
        """Return two different values as a person reads them, with as many digits as tell which is larger."""
        pairs = ((self.shown(one, more), self.shown(other, more)) for more in range(16))
        return next((pair for pair in pairs if pair[0] != pair[1]), (self.shown(one), self.shown(other)))


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "ssim",
            "SSIM",
            "Structural similarity of before and after: how much of the structure is kept. 1 means nothing changed; "
            "it says nothing about better.",
            paired=False,
            target=(0.85, 1.0),
            low=-1.0,
            high=1.0,
            untouched=1.0,
            digits=3,
            too_low="the structure changed more than wanted: lower the clip limit or the sharpness",
        ),
        Metric(
            "psnr",
            "PSNR",
            "Peak signal-to-noise ratio of after against before: higher means less was changed.",
            paired=False,
            target=None,
            untouched=math.inf,
            digits=1,
            unit="dB",
        ),
        Metric(
            "brightness",
            "Brightness",
            "Mean grey level, 0 to 255.",
            paired=True,
            target=(100.0, 160.0),
            high=255.0,
            too_low="the film is dark: set gamma below 1",
            too_high="the film is bright: set gamma above 1",
        ),
        Metric(
            "contrast",
            "Contrast",
            "Standard deviation of the grey levels, 0 to 127.5.",
            paired=True,
            target=None,
            high=127.5,
            digits=1,
        ),
        Metric(
            "entropy",
            "Entropy",
            "Information in the histogram of 256 grey levels, 0 to 8 bits.",
            paired=True,
            target=None,
            high=8.0,
            digits=2,
            unit="bits",
        ),
        Metric(
            "clipped",
            "Clipped",
            "Share of pixels driven to pure black or white that were not so before: detail that is lost.",
            paired=False,
            target=(0.0, 0.01),
            high=1.0,
            untouched=0.0,
            percent=True,
            too_high="detail is lost to pure black or white: use unit gain, or less sharpness",
        ),
    )
}
COLUMNS: tuple[str, ...] = tuple(column for metric in METRICS.values() for column in metric.columns)
Targets = dict[str, tuple[float, float]]
DEFAULT_TARGETS: Targets = {metric.name: metric.target for metric in METRICS.values() if metric.target}


def brightness_contrast(image: Image) -> tuple[float, float]:
    """Mean and standard deviation in grey levels from 0 to 255."""
    mean, deviation = cv2.meanStdDev(image)
    return float(np.ravel(mean)[0]) * grey_levels(image), float(np.ravel(deviation)[0]) * grey_levels(image)


def _brightness_contrast(counts: Counts) -> tuple[float, float]:
    """Return the same of an 8-bit picture's histogram."""
    mean = float(counts @ _LEVELS) / float(counts.sum())
    return mean, math.sqrt(float(counts @ (_LEVELS - mean) ** 2) / float(counts.sum()))


def entropy(image: Image) -> float:
    """Shannon entropy in bits of the histogram of 256 grey levels, 0 to 8; 16-bit images are counted in 256 bins."""
    return _entropy(histogram_256(image))


def _entropy(counts: Counts) -> float:
    share = counts[counts > 0] / counts.sum()
    return abs(float(np.sum(share * np.log2(share))))


def clipped(before: Image, after: Image) -> float:
    """Share of pixels, 0 to 1, that are pure black or white after and were neither before."""
    same_kind(before, after)
    white = full_scale(before)
    inside_before = cv2.inRange(before, 1, white - 1)
    inside_after = cv2.inRange(after, 1, white - 1)
    return cv2.countNonZero(cv2.subtract(inside_before, inside_after, inside_before)) / before.size


def at_the_ends(image: Image) -> tuple[float, float]:
    """Share of pixels, 0 to 1, that are pure black, and that are pure white."""
    white = full_scale(image)
    return 1 - cv2.countNonZero(image) / image.size, cv2.countNonZero(cv2.inRange(image, white, white)) / image.size


def measure(before: Image, after: Image) -> dict[str, float]:
    """Return every metric under its name in the log.

    Parameters
    ----------
    before, after
        Gray, same shape and dtype.

    Returns
    -------
    measured
        The keys are `COLUMNS`. SSIM is NaN for films smaller than its window, PSNR infinite for equal ones.
    """
    same_kind(before, after)
    counts = histogram_256(before), histogram_256(after)
    if before.dtype == np.uint8:
        # Every level has its own bin, so that the histograms tell more than entropy.
        light_before, light_after = map(_brightness_contrast, counts)
        ends_before, ends_after = (side[0] + side[-1] for side in counts)
        lost = clipped(before, after) if ends_before and ends_after else float(ends_after) / after.size
    else:
        light_before, light_after = brightness_contrast(before), brightness_contrast(after)
        lost = clipped(before, after)
    return {
        "ssim": ssim(before, after),
        "psnr": psnr(before, after),
        "brightness_before": light_before[0],
        "brightness_after": light_after[0],
        "contrast_before": light_before[1],
        "contrast_after": light_after[1],
        "entropy_before": _entropy(counts[0]),
        "entropy_after": _entropy(counts[1]),
        "clipped": lost,
    }


def range_warning(before: Image) -> str:
    """Say so where a film is flat or uses so little of its range that filters meet it as nearly one grey.

    An export of 10 or 12 bits into a 16-bit file does: its depth is not declared, so it is not scaled.

    Returns
    -------
    words
        A sentence for a person; empty where all is well.
    """
    used = range_used(before)
    if used == 0:
        return "The film is flat: every pixel has the same grey level."
    if used >= _LITTLE_RANGE:
        return ""
    return f"The film uses {used:.1%} of its range: scale it to the full range first, or turn the step stretch on."


def check_targets(targets: object) -> Targets:
    """Return targets in canonical form, or raise `SettingsError` that names the metric and its range."""
    if not isinstance(targets, Mapping):
        raise SettingsError("targets map a metric's name to [lowest, highest]")
    checked: Targets = {}
    for name, band in targets.items():
        if name not in METRICS:
            raise SettingsError(
                f"targets.{' '.join(str(name).split())[:60]} is no metric; known are {', '.join(METRICS)}"
            )
        metric = METRICS[name]
        numbers = isinstance(band, list | tuple) and len(band) == 2
        numbers = numbers and all(is_number(v) or v == math.inf for v in band)
        if not numbers or not metric.low <= band[0] <= band[1] <= metric.high:
            limits = f"[{metric.low:g}, {metric.high:g}]"
            raise SettingsError(f"targets.{name} is [lowest, highest] within {limits}, got {band!r:.60}")
        checked[name] = (float(band[0]), float(band[1]))
    return checked


@dataclass(frozen=True)
class Verdict:
    """Whether a film meets its targets, and the sentence that says so.

    Attributes
    ----------
    missed
        Names of the metrics outside their targets.
    """

    good: bool
    sentence: str
    missed: tuple[str, ...]


def verdict(measured: Mapping[str, float], targets: Mapping[str, tuple[float, float]]) -> Verdict:
    """Hold measured values against targets.

    Parameters
    ----------
    measured
        As from `measure`. A value that is NaN is not judged.
    targets
        Lowest and highest value wanted for each metric, ends included.
    """
    missed, reasons, met = [], [], []
    for name, (lowest, highest) in targets.items():
        metric = METRICS[name]
        value = measured[metric.judged]
        if math.isnan(value):
            continue
        if lowest <= value <= highest:
            met.append(f"{metric.label} {metric.shown(value)}")
            continue
        missed.append(name)
        side, advice, bound = (
            ("below", metric.too_low, lowest) if value < lowest else ("above", metric.too_high, highest)
        )
        shown, limit = metric.told_apart(value, bound)
        reasons.append(f"{metric.label} {shown} is {side} {limit}" + (f" ({advice})" if advice else ""))
    if missed:
        return Verdict(False, "Off target: " + "; ".join(reasons) + ".", tuple(missed))
    if not met:
        return Verdict(True, "Nothing to judge: no targets apply.", ())
    return Verdict(True, "Balanced: " + ", ".join(met) + " within target.", ())
