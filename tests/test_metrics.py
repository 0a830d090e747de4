"""Metrics against scikit-image and NumPy, and the sentences that say what they mean."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.measure import shannon_entropy
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from xray_core import metrics, similarity
from xray_core.errors import ImageError, SettingsError
from xray_core.image import Image
from xray_core.metrics import COLUMNS, DEFAULT_TARGETS, METRICS, Verdict, check_targets, measure, verdict

Textured = Callable[..., Image]
Two = tuple[Image, Image]

DTYPES = [np.uint8, np.uint16]
SHAPES = [(7, 7), (7, 8), (8, 7), (7, 300), (64, 9), (69, 70), (70, 71), (71, 70), (134, 135), (224, 223), (500, 333)]


def reference_ssim(before: Image, after: Image) -> float:
    return float(structural_similarity(before, after, data_range=np.iinfo(before.dtype).max))


def noisy(image: Image, seed: int = 3) -> Image:
    white = int(np.iinfo(image.dtype).max)
    noise = np.random.default_rng(seed).normal(0, 0.06 * white, image.shape)
    return np.clip(np.rint(image + noise), 0, white).astype(image.dtype)


@st.composite
def _pairs(draw: st.DrawFn, min_side: int = 1, max_side: int = 24) -> Two:
    """Two pictures of one shape and dtype: any pixels, or the extremes on which fast formulas break."""
    dtype = draw(st.sampled_from(DTYPES))
    white = int(np.iinfo(dtype).max)
    shape = draw(st.tuples(st.integers(min_side, max_side), st.integers(min_side, max_side)))

    def picture() -> Image:
        kind = draw(st.sampled_from(["any", "flat", "nearly white", "checkerboard", "saturated", "one pixel"]))
        if kind == "any":
            return draw(hnp.arrays(dtype, shape))
        level = draw(st.sampled_from([0, 1, white // 2, white - 1, white]))
        flat = np.full(shape, level, dtype)
        if kind == "nearly white":
            return white - draw(hnp.arrays(dtype, shape, elements=st.integers(0, max(3, white // 50))))
        if kind == "checkerboard":
            flat[(np.indices(shape).sum(axis=0) % 2).astype(bool)] = draw(st.integers(0, white))
        if kind == "saturated":
            return np.where(draw(hnp.arrays(bool, shape)), white, 0).astype(dtype)
        if kind == "one pixel":
            flat[draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))] = draw(st.integers(0, white))
        return flat

    return picture(), picture()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape[0]}x{shape[1]}")
def test_ssim_is_that_of_scikit_image(shape: tuple[int, int], dtype: type, textured: Textured) -> None:
    before = textured(*shape, dtype=dtype)
    for after in (noisy(before), before[::-1].copy(), before // 2, np.zeros_like(before), ~before):
        assert metrics.ssim(before, after) == pytest.approx(reference_ssim(before, after), abs=1e-4)
    assert metrics.ssim(before, before) == pytest.approx(1.0, abs=1e-9)


@given(_pairs(min_side=7))
def test_ssim_is_that_of_scikit_image_on_extreme_pictures(two: Two) -> None:
    assert metrics.ssim(*two) == pytest.approx(reference_ssim(*two), abs=1e-4)


@pytest.mark.parametrize("size", [64, 300])
def test_ssim_of_nearly_white_films(size: int) -> None:
    # Sums of squares are largest here and variances smallest: where a fast formula loses digits first.
    rng = np.random.default_rng(5)
    for spread in (2, 4, 16):
        before, after = (255 - rng.integers(0, spread, (size, size), np.uint8) for _ in range(2))
        assert metrics.ssim(before, after) == pytest.approx(reference_ssim(before, after), abs=1e-4)
        before, after = (65535 - rng.integers(0, spread * 257, (size, size), np.uint16) for _ in range(2))
        assert metrics.ssim(before, after) == pytest.approx(reference_ssim(before, after), abs=1e-6)


@pytest.mark.parametrize(
    "shape", [(1, 1), (6, 6), (6, 100), (100, 6), (1, 7)], ids=lambda shape: f"{shape[0]}x{shape[1]}"
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_ssim_is_nan_below_its_window(shape: tuple[int, int], dtype: type) -> None:
    flat = np.zeros(shape, dtype)
    assert math.isnan(metrics.ssim(flat, flat))


@pytest.mark.parametrize("dtype", DTYPES)
def test_ssim_is_the_same_on_any_number_of_threads(
    dtype: type, textured: Textured, threads: Callable[[int], None]
) -> None:
    before = textured(500, 333, dtype=dtype)
    values = []
    for number in (1, 2):
        threads(number)
        values.append(measure(before, noisy(before)))
    assert values[0] == values[1]


@given(_pairs())
def test_psnr_is_that_of_scikit_image(two: Two) -> None:
    before, after = two
    if np.array_equal(before, after):
        assert metrics.psnr(before, after) == math.inf
    else:
        theirs = peak_signal_noise_ratio(before, after, data_range=np.iinfo(before.dtype).max)
        assert metrics.psnr(before, after) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_psnr_of_black_against_white_is_zero_at_any_size(dtype: type) -> None:
    # The sum of squares of 8 bits passes 2^31 at 33,000 pixels.
    black = np.zeros((1500, 1500), dtype)
    assert metrics.psnr(black, ~black) == pytest.approx(0.0, abs=1e-12)
    assert metrics.psnr(black, black) == math.inf


@given(_pairs())
def test_brightness_contrast_and_entropy_are_those_of_numpy(two: Two) -> None:
    for image in two:
        levels = image / (np.iinfo(image.dtype).max / 255.0)
        brightness, contrast = metrics.brightness_contrast(image)
        assert brightness == pytest.approx(levels.mean(), abs=1e-6)
        assert contrast == pytest.approx(levels.std(), abs=1e-4)
        in_256 = image if image.dtype == np.uint8 else image >> 8
        assert metrics.entropy(image) == pytest.approx(shannon_entropy(in_256), abs=1e-9)


def test_entropy_at_its_ends() -> None:
    assert metrics.entropy(np.full((30, 20), 7, np.uint8)) == 0
    assert math.copysign(1, metrics.entropy(np.zeros((3, 3), np.uint8))) == 1  # no "-0.00 bits" on the page
    assert metrics.entropy(np.arange(256, dtype=np.uint8).reshape(16, 16)) == pytest.approx(8)
    assert metrics.entropy(np.arange(65536, dtype=np.uint16).reshape(256, 256)) == pytest.approx(8)


@given(_pairs())
def test_clipped_counts_what_was_driven_to_black_or_white(two: Two) -> None:
    before, after = two
    white = np.iinfo(before.dtype).max
    lost = np.isin(after, (0, white)) & ~np.isin(before, (0, white))
    assert metrics.clipped(before, after) == pytest.approx(lost.mean(), abs=1e-12)


def test_clipped_forgives_what_was_black_or_white_before() -> None:
    before = np.array([[0, 255, 100, 100, 1, 254]], np.uint8)
    after = np.array([[255, 0, 0, 255, 1, 254]], np.uint8)
    assert metrics.clipped(before, after) == pytest.approx(2 / 6)


@given(_pairs())
def test_measure_gives_what_each_metric_gives_alone(two: Two) -> None:
    measured = measure(*two)
    for side, image in zip(("before", "after"), two, strict=True):
        alone = (*metrics.brightness_contrast(image), metrics.entropy(image))
        together = [measured[f"{name}_{side}"] for name in ("brightness", "contrast", "entropy")]
        assert together == pytest.approx(alone, abs=1e-9)
    assert measured["clipped"] == pytest.approx(metrics.clipped(*two), abs=1e-12)


@given(_pairs())
def test_measure_gives_every_column_within_the_metrics_own_limits(two: Two) -> None:
    measured = measure(*two)
    assert tuple(measured) == COLUMNS
    for metric in METRICS.values():
        for column in metric.columns:
            value = measured[column]
            small = column == "ssim" and min(two[0].shape) < similarity.WINDOW
            assert math.isnan(value) if small else metric.low - 1e-4 <= value <= metric.high + 1e-4, column


@pytest.mark.parametrize("function", [metrics.ssim, metrics.psnr, metrics.clipped, measure])
@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (np.zeros((9, 9), np.uint8), np.zeros((9, 8), np.uint8), "got (9, 9) uint8 and (9, 8) uint8"),
        (np.zeros((9, 9), np.uint8), np.zeros((9, 9), np.uint16), "got (9, 9) uint8 and (9, 9) uint16"),
        (np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9, 3), np.uint8), "got (9, 9, 3) uint8 and (9, 9, 3) uint8"),
    ],
    ids=["shape", "dtype", "colour"],
)
def test_two_films_that_cannot_be_compared_are_refused(
    function: Callable[[Image, Image], object], before: Image, after: Image, message: str
) -> None:
    expected = f"before and after are gray images of one shape and dtype, {message}"
    with pytest.raises(ImageError, match=f"^{re.escape(expected)}$"):
        function(before, after)


MEASURED = {
    "ssim": 0.9,
    "psnr": 25.0,
    "brightness_before": 10.0,
    "brightness_after": 128.0,
    "contrast_before": 30.0,
    "contrast_after": 50.0,
    "entropy_before": 5.0,
    "entropy_after": 7.0,
    "clipped": 0.002,
}


@pytest.mark.parametrize(
    ("changes", "targets", "expected"),
    [
        (
            {},
            DEFAULT_TARGETS,
            Verdict(True, "Balanced: SSIM 0.900, Brightness 128, Clipped 0.2% within target.", ()),
        ),
        (
            {"ssim": 0.7},
            DEFAULT_TARGETS,
            Verdict(
                False,
                "Off target: SSIM 0.700 is below 0.850 (the structure changed more than wanted: lower the clip limit "
                "or the sharpness).",
                ("ssim",),
            ),
        ),
        (
            {"brightness_after": 80.0},
            DEFAULT_TARGETS,
            Verdict(
                False,
                "Off target: Brightness 80 is below 100 (the film is dark: set gamma below 1).",
                ("brightness",),
            ),
        ),
        (
            {"brightness_after": 200.0},
            DEFAULT_TARGETS,
            Verdict(
                False,
                "Off target: Brightness 200 is above 160 (the film is bright: set gamma above 1).",
                ("brightness",),
            ),
        ),
        (
            {"clipped": 0.41},
            DEFAULT_TARGETS,
            Verdict(
                False,
                "Off target: Clipped 41.0% is above 1.0% (detail is lost to pure black or white: use unit gain, or "
                "less sharpness).",
                ("clipped",),
            ),
        ),
        (
            {"ssim": 0.5, "clipped": 0.5},
            {"ssim": (0.85, 1.0), "psnr": (30.0, math.inf), "clipped": (0.0, 0.01)},
            Verdict(
                False,
                "Off target: SSIM 0.500 is below 0.850 (the structure changed more than wanted: lower the clip limit "
                "or the sharpness); PSNR 25.0 dB is below 30.0 dB; Clipped 50.0% is above 1.0% (detail is lost to pure "
                "black or white: use unit gain, or less sharpness).",
                ("ssim", "psnr", "clipped"),
            ),
        ),
        (
            {"psnr": math.inf},
            {"psnr": (30.0, math.inf), "entropy": (6.0, 8.0)},
            Verdict(True, "Balanced: PSNR identical, Entropy 7.00 bits within target.", ()),
        ),
        (
            {"ssim": math.nan},
            DEFAULT_TARGETS,
            Verdict(True, "Balanced: Brightness 128, Clipped 0.2% within target.", ()),
        ),
        ({"ssim": math.nan}, {"ssim": (0.85, 1.0)}, Verdict(True, "Nothing to judge: no targets apply.", ())),
        ({}, {}, Verdict(True, "Nothing to judge: no targets apply.", ())),
        # The film before is dark, but it is the film after that is judged; and both ends belong to a target.
        (
            {"ssim": 0.85, "brightness_after": 160.0, "clipped": 0.01},
            DEFAULT_TARGETS,
            Verdict(True, "Balanced: SSIM 0.850, Brightness 160, Clipped 1.0% within target.", ()),
        ),
    ],
    ids=["good", "ssim", "dark", "bright", "clipped", "several", "identical", "nan", "only-nan", "none", "ends"],
)
def test_verdict(changes: dict[str, float], targets: dict[str, tuple[float, float]], expected: Verdict) -> None:
    assert verdict(MEASURED | changes, targets) == expected


def test_default_targets_are_the_published_ones() -> None:
    assert DEFAULT_TARGETS["ssim"] == (0.85, 1.0)
    assert DEFAULT_TARGETS["brightness"] == (100.0, 160.0)
    assert check_targets(DEFAULT_TARGETS) == DEFAULT_TARGETS


def test_check_targets_returns_pairs_of_float() -> None:
    checked = check_targets({"brightness": [100, 160], "psnr": (20, math.inf)})
    assert checked == {"brightness": (100.0, 160.0), "psnr": (20.0, math.inf)}
    assert all(type(end) is float for band in checked.values() for end in band)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (None, "targets map a metric's name to [lowest, highest]"),
        ([["ssim", 0, 1]], "targets map a metric's name to [lowest, highest]"),
        (
            {"sism": [0.85, 1]},
            "targets.sism is no metric; known are ssim, psnr, brightness, contrast, entropy, clipped",
        ),
        ({"ssim": 0.85}, "targets.ssim is [lowest, highest] within [-1, 1], got 0.85"),
        ({"ssim": "01"}, "targets.ssim is [lowest, highest] within [-1, 1], got '01'"),
        ({"ssim": [0.85]}, "targets.ssim is [lowest, highest] within [-1, 1], got [0.85]"),
        ({"ssim": [0.85, None]}, "targets.ssim is [lowest, highest] within [-1, 1], got [0.85, None]"),
        ({"ssim": [True, True]}, "targets.ssim is [lowest, highest] within [-1, 1], got [True, True]"),
        ({"ssim": [0.9, 0.8]}, "targets.ssim is [lowest, highest] within [-1, 1], got [0.9, 0.8]"),
        ({"ssim": [0.9, math.nan]}, "targets.ssim is [lowest, highest] within [-1, 1], got [0.9, nan]"),
        ({"brightness": [100, 256]}, "targets.brightness is [lowest, highest] within [0, 255], got [100, 256]"),
        ({"psnr": [-1, 20]}, "targets.psnr is [lowest, highest] within [0, inf], got [-1, 20]"),
    ],
)
def test_check_targets_refuses_in_exact_words(targets: object, message: str) -> None:
    with pytest.raises(SettingsError, match=f"^{re.escape(message)}$"):
        check_targets(targets)


def test_check_targets_refuses_an_integer_beyond_any_float() -> None:
    with pytest.raises(SettingsError, match=r"targets\.psnr"):
        check_targets({"psnr": [10, 10**400]})


def test_values_are_shown_as_a_person_reads_them() -> None:
    assert METRICS["psnr"].shown(math.inf) == "identical"
    assert METRICS["ssim"].shown(math.nan) == "n/a"
    assert METRICS["clipped"].shown(0.1234) == "12.3%"
    assert METRICS["entropy"].shown(7.126) == "7.13 bits"
    assert METRICS["brightness"].shown(99.6) == "100"
