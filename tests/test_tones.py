"""Grey-level tables and filters: 16 bits against 8 bits, and both against definitions written here again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xray_core import tones
from xray_core.image import Image
from xray_core.pipeline import run
from xray_core.threads import spread

# isort: split
import cv2

Textured = Callable[..., Image]
Filter = Callable[[Image], Image]

KERNEL = np.array([[0, -0.75, 0], [-0.75, 4.0, -0.75], [0, -0.75, 0]])


def grey_levels_apart(filtered: Filter, picture: Image) -> float:
    """Return how far the 16-bit copy of an 8-bit picture comes out from the 8-bit result, in grey levels."""
    eight = filtered(picture).astype(np.float64)
    sixteen = filtered(picture.astype(np.uint16) * 257)
    assert sixteen.dtype == np.uint16
    assert sixteen.shape == picture.shape
    return float(np.abs(sixteen / 257.0 - eight).max())


def smooth_ramp(height: int, width: int) -> Image:
    return np.linspace(0, 65535, height * width).round().astype(np.uint16).reshape(height, width)


@pytest.mark.parametrize("clip_limit", [1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("tiles", [8, 5])
@pytest.mark.parametrize("shape", [(224, 224), (1024, 1024), (1021, 667)], ids=lambda shape: f"{shape[0]}x{shape[1]}")
def test_clahe_of_a_16_bit_copy(shape: tuple[int, int], tiles: int, clip_limit: float, textured: Textured) -> None:
    assert grey_levels_apart(lambda image: tones.clahe(image, clip_limit, tiles), textured(*shape)) <= 2


def test_clahe_of_a_16_bit_copy_at_the_size_of_a_film(textured: Textured) -> None:
    assert grey_levels_apart(lambda image: tones.clahe(image, 1.5, 8), textured(2500, 2048)) <= 2


@given(
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.integers(1, 32),
    st.floats(1, 8),
    st.integers(0, 99),
    st.booleans(),
)
def test_clahe_of_a_16_bit_copy_at_any_size(
    shape: tuple[int, int], tiles: int, clip_limit: float, seed: int, smooth: bool
) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    if smooth:
        picture = cv2.GaussianBlur(picture, (0, 0), 5)
    assert grey_levels_apart(lambda image: tones.clahe(image, clip_limit, tiles), picture) <= 2


@pytest.mark.parametrize(
    "filtered",
    [
        pytest.param(lambda image: tones.bilateral(image, 5, 50.0), id="bilateral-5-50"),
        pytest.param(lambda image: tones.bilateral(image, 15, 150.0), id="bilateral-15-150"),
        pytest.param(lambda image: tones.bilateral(image, 3, 1.0), id="bilateral-3-1"),
    ],
)
def test_bilateral_of_a_16_bit_copy(filtered: Filter, textured: Textured) -> None:
    assert grey_levels_apart(filtered, textured()) <= 2


@pytest.mark.parametrize(
    "filtered",
    [
        pytest.param(lambda image: tones.convolved(image, KERNEL), id="sharpen"),
        pytest.param(tones.equalized, id="equalize"),
        pytest.param(lambda image: run(image, {**BARE, "gamma.on": True, "gamma.gamma": 0.4}), id="gamma"),
        pytest.param(lambda image: tones.stretched(image, 1.0, 99.0), id="stretch"),
        pytest.param(lambda image: tones.stretched(image, 0.0, 100.0), id="stretch-all"),
    ],
)
@pytest.mark.parametrize("shape", [(211, 267), (640, 701)], ids=lambda shape: f"{shape[0]}x{shape[1]}")
def test_a_table_or_kernel_on_a_16_bit_copy(filtered: Filter, shape: tuple[int, int], textured: Textured) -> None:
    assert grey_levels_apart(filtered, textured(*shape)) <= 1


# Every step off that is on by default.
BARE = {"bilateral.on": False, "clahe.on": False, "sharpen.on": False, "normalize.on": False}


@pytest.mark.parametrize("shape", [(400, 300), (1000, 800)], ids=["few-pixels", "many-pixels"])
def test_a_smooth_16_bit_ramp_keeps_its_tones_through_clahe(shape: tuple[int, int]) -> None:
    ramp = smooth_ramp(*shape)
    assert np.unique(tones.clahe(ramp, 1.5, 8)).size > 5000
    # OpenCV's own result for the same ramp in 8 bits has 256 at most.
    assert np.unique(tones.clahe((ramp >> 8).astype(np.uint8), 1.5, 8)).size <= 256


@pytest.mark.parametrize("shape", [(224, 224), (1024, 1024)], ids=["224", "1024"])
def test_the_clip_limit_matters_at_16_bits(shape: tuple[int, int], textured: Textured) -> None:
    picture = textured(*shape, dtype=np.uint16)
    contrasts = [float(tones.clahe(picture, clip, 8).std()) for clip in (1.0, 1.5, 2.0, 3.0)]
    assert contrasts == sorted(contrasts)
    apart = np.abs(tones.clahe(picture, 1.0, 8) / 257.0 - tones.clahe(picture, 3.0, 8) / 257.0)
    assert apart.max() > 5
    # OpenCV's own 16-bit version is why ours exists: it does not see the clip limit at all.
    theirs = [cv2.createCLAHE(clip, (8, 8)).apply(picture) for clip in (1.0, 3.0)]
    assert np.array_equal(*theirs)


@pytest.mark.parametrize("clip_limit", [1.0, 1.5, 4.0])
@pytest.mark.parametrize("tiles", [1, 8, 13])
def test_8_bit_filters_are_opencv_bit_for_bit(tiles: int, clip_limit: float, textured: Textured) -> None:
    picture = textured()
    assert np.array_equal(
        tones.clahe(picture, clip_limit, tiles), cv2.createCLAHE(clip_limit, (tiles, tiles)).apply(picture)
    )
    assert np.array_equal(tones.bilateral(picture, 7, 40.0), cv2.bilateralFilter(picture, 7, 40.0, 40.0))
    assert np.array_equal(tones.convolved(picture, KERNEL), cv2.filter2D(picture, -1, KERNEL))
    assert np.array_equal(tones.equalized(picture), cv2.equalizeHist(picture))


def test_sharpening_at_16_bits_rounds_and_saturates() -> None:
    picture = np.random.default_rng(2).integers(0, 65536, (40, 50), np.uint16)
    padded = np.pad(picture.astype(np.float64), 1, mode="reflect")
    exact = sum(KERNEL[i, j] * padded[i : i + 40, j : j + 50] for i in range(3) for j in range(3))
    assert exact.min() < 0
    assert exact.max() > 65535
    assert np.array_equal(tones.convolved(picture, KERNEL), np.clip(np.rint(exact), 0, 65535).astype(np.uint16))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(211, 267), (900, 701)], ids=["small", "large"])
def test_the_number_of_threads_changes_no_pixel(
    shape: tuple[int, int], dtype: type, textured: Textured, threads: Callable[[int], None]
) -> None:
    picture = textured(*shape, dtype=dtype)
    filters: list[Filter] = [
        lambda image: tones.bilateral(image, 5, 50.0),
        lambda image: tones.clahe(image, 1.5, 8),
        lambda image: tones.clahe(image, 2.0, 7),
        lambda image: tones.convolved(image, KERNEL),
        tones.equalized,
        lambda image: tones.stretched(image, 1.0, 99.0),
        lambda image: run(image, {"resize.on": True, "resize.size": 224}),
    ]
    results = []
    for number in (1, 2):
        threads(number)
        results.append([filtered(picture).tobytes() for filtered in filters])
    assert results[0] == results[1]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_parts_come_back_in_their_order(number: int, threads: Callable[[int], None]) -> None:
    threads(number)
    assert spread(lambda part: part * part, range(50)) == [part * part for part in range(50)]
    assert spread(lambda part: part, []) == []


@given(hnp.arrays(st.sampled_from([np.uint8, np.uint16]), hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_histogram_counts_each_level(picture: Image) -> None:
    counts = tones.histogram(picture)
    assert counts.dtype == np.float64
    assert np.array_equal(counts, np.bincount(picture.ravel(), minlength=np.iinfo(picture.dtype).max + 1))


def test_histogram_is_exact_beyond_what_a_float32_counts() -> None:
    # 2^24 + 8,193 pixels of one level: the black surround of a large film, say.
    flat = np.full((4097, 4097), 40_000, np.uint16)
    assert tones.histogram(flat)[40_000] == flat.size
    assert tones.levels_at(flat, 0.0, 100.0) == (40_000, 40_000)
    assert tones.equalized(flat)[0, 0] == 40_000


@given(
    hnp.arrays(st.sampled_from([np.uint8, np.uint16]), (7, 11)),  # 77 pixels: no share below falls on a boundary
    st.sampled_from([0.0, 0.5, 1.0, 20.0]),
    st.sampled_from([80.0, 99.0, 99.5, 100.0]),
)
def test_levels_at_are_percentiles_of_the_sorted_pixels(picture: Image, low: float, high: float) -> None:
    ranked = np.sort(picture, axis=None)
    expected = tuple(int(ranked[min(int(ranked.size * percent / 100), ranked.size - 1)]) for percent in (low, high))
    assert tones.levels_at(picture, low, high) == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_stretched_is_linear_between_its_two_levels(dtype: type, textured: Textured) -> None:
    picture = textured(dtype=dtype)
    white = np.iinfo(dtype).max
    black_at, white_at = tones.levels_at(picture, 2.0, 97.0)
    exact = (picture.astype(np.float64) - black_at) * white / (white_at - black_at)
    assert np.array_equal(tones.stretched(picture, 2.0, 97.0), np.clip(np.rint(exact), 0, white).astype(dtype))


@pytest.mark.parametrize("level", [0, 1, 77, 255])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_flat_picture_has_nothing_to_stretch_or_equalize(dtype: type, level: int) -> None:
    flat = np.full((20, 30), level * (np.iinfo(dtype).max // 255), dtype)
    assert np.array_equal(tones.stretched(flat, 1.0, 99.0), flat)
    assert np.array_equal(tones.equalized(flat), flat)


def test_gamma_keeps_black_and_white_and_brightens_below_one(textured: Textured) -> None:
    for dtype in (np.uint8, np.uint16):
        white = np.iinfo(dtype).max
        ends = np.array([[0, white]], dtype)
        for exponent in (0.2, 0.7, 3.0):
            assert np.array_equal(run(ends, {**BARE, "gamma.on": True, "gamma.gamma": exponent}), ends)
        picture = textured(dtype=dtype)
        brighter = run(picture, {**BARE, "gamma.on": True, "gamma.gamma": 0.5})
        exact = np.sqrt(picture / white) * white
        assert np.abs(brighter - exact).max() <= 0.5 + 1e-9
