"""Films on a screen: windows, differences, regions and smaller pictures, each by its own plain formula."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xray_core.display import MID_GREY, Region, Window, difference, fitting, reduced, windowed
from xray_core.errors import ImageError
from xray_core.files import in_range
from xray_core.image import Image, read_only

Textured = Callable[..., Image]
DTYPES = [np.uint8, np.uint16]
WINDOWS = st.builds(Window, st.floats(-1000, 1000), st.floats(1, 1000))
SIDES = st.integers(1, 5000)


def every_level(dtype: type) -> Image:
    return read_only(np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(-1, 64))


def noise(shape: tuple[int, int], dtype: type, seed: int = 0) -> Image:
    return read_only(np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype))


# --- windows ------------------------------------------------------------------------------------------------------


def test_the_whole_range_gives_8_bits_back_and_rounds_16() -> None:
    eight, sixteen = every_level(np.uint8), every_level(np.uint16)
    assert windowed(eight) is eight
    assert np.array_equal(windowed(eight, Window(127.5, 255.0)), eight)
    assert np.array_equal(windowed(sixteen), in_range(sixteen, "uint8"))


@given(window=WINDOWS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_window_is_the_linear_exact_function_of_dicom(dtype: type, window: Window) -> None:
    image = every_level(dtype)
    level, width = window
    x = image.astype(np.float64) / (1 if dtype is np.uint8 else 257)
    # PS3.3 C.11.2.1.3.2, with 0 and 255 as the ends of what comes out.
    exact = np.where(
        x <= level - width / 2,
        0.0,
        np.where(x > level + width / 2, 255.0, ((x - level) / width + 0.5) * 255),
    )
    shown = windowed(image, window)
    assert shown.dtype == np.uint8
    assert shown.shape == image.shape
    assert np.abs(shown - exact).max() <= 0.5 + 1e-9
    assert np.all(np.diff(shown.ravel().astype(int)) >= 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_window_is_black_and_white_at_its_ends(dtype: type) -> None:
    scale = np.iinfo(dtype).max // 255
    image = read_only(np.array([[0, 49, 50, 125, 150, 151, 255]], dtype) * dtype(scale))
    assert windowed(image, Window(100, 100)).tolist() == [[0, 0, 0, 191, 255, 255, 255]]
    assert np.all(windowed(image, Window(-600, 1)) == 255)
    assert np.all(windowed(image, Window(900, 1)) == 0)


@given(window=WINDOWS)
def test_8_and_16_bits_look_alike_under_any_window(window: Window) -> None:
    image = every_level(np.uint8)
    deep = read_only(image.astype(np.uint16) * 257)
    assert np.abs(windowed(image, window).astype(int) - windowed(deep, window)).max() <= 1


# --- differences --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gain", [0.1, 1.0, 4.0, 100.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_difference_is_mid_grey_where_nothing_changed_and_has_its_sign(dtype: type, gain: float) -> None:
    before = noise((40, 50), dtype)
    assert np.all(difference(before, before, gain) == MID_GREY)
    after = np.roll(before, 1)
    shown = difference(before, after, gain)
    levels = (after.astype(float) - before) * (255 / np.iinfo(dtype).max)
    exact = np.clip(MID_GREY + gain * levels, 0, 255)
    assert np.abs(shown - exact).max() <= 0.5 + 1e-4
    assert np.all(shown[levels >= 1 / gain] > MID_GREY)
    assert np.all(shown[levels <= -1 / gain] < MID_GREY)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_great_difference_is_black_or_white(dtype: type) -> None:
    black: Image = np.zeros((3, 4), dtype)
    white: Image = np.full((3, 4), np.iinfo(dtype).max, dtype)
    for gain in (1.0, 100.0):
        assert np.all(difference(black, white, gain) == 255)
        assert np.all(difference(white, black, gain) == 0)
    assert np.all(difference(black, white, 0.1) == MID_GREY + 26)


@given(gain=st.floats(0.1, 100), seed=st.integers(0, 1000))
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_difference_of_the_other_way_round_is_its_mirror(dtype: type, gain: float, seed: int) -> None:
    one, other = noise((9, 11), dtype, seed), noise((9, 11), dtype, seed + 1)
    there, back = difference(one, other, gain).astype(int), difference(other, one, gain).astype(int)
    mirrored = np.clip(2 * MID_GREY - back, 0, 255)
    inside = (there > 0) & (there < 255) & (back > 0) & (back < 255)
    assert np.all(np.abs(there - mirrored)[inside] <= 1)
    assert np.all(there[back == 0] >= 255 - 1)
    assert np.all(there[back == 255] <= 1)


@pytest.mark.parametrize(
    "other", [np.zeros((4, 6), np.uint8), np.zeros((4, 5), np.uint16), np.zeros((4, 5, 3), np.uint8)]
)
def test_films_that_do_not_go_together_have_no_difference(other: Image) -> None:
    with pytest.raises(ImageError, match="of one shape and dtype"):
        difference(np.zeros((4, 5), np.uint8), other)


# --- smaller pictures ---------------------------------------------------------------------------------------------


@given(width=st.integers(1, 90), height=st.integers(1, 90), size=st.tuples(st.integers(1, 120), st.integers(1, 120)))
@pytest.mark.parametrize("channels", [(), (3,)], ids=["gray", "colour"])
def test_a_picture_is_never_made_larger(
    channels: tuple[int, ...], width: int, height: int, size: tuple[int, int]
) -> None:
    image = read_only(np.full((height, width, *channels), 77, np.uint8))
    small = reduced(image, size)
    assert small.shape == (min(height, size[1]), min(width, size[0]), *channels)
    assert small.dtype == np.uint8
    assert np.all(small == 77)
    assert (small is image) is (size[0] >= width and size[1] >= height)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("times", [2, 3, 5])
def test_a_smaller_picture_is_the_mean_of_areas(times: int, dtype: type) -> None:
    image = noise((30, 60), dtype)
    blocks = image.reshape(30 // times, times, 60 // times, times).mean(axis=(1, 3), dtype=np.float64)
    small = reduced(image, (60 // times, 30 // times))
    assert small.dtype == dtype
    assert np.abs(small - blocks).max() <= 0.5 + 1e-3 * (np.iinfo(dtype).max / 255)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(100, 80), (37, 53), (266, 1), (1, 1)])
def test_a_smaller_picture_keeps_its_mean(size: tuple[int, int], dtype: type, textured: Textured) -> None:
    image = textured(211, 267, dtype)
    assert reduced(image, size).mean() == pytest.approx(image.mean(), abs=0.01 * np.iinfo(dtype).max)


@given(width=SIDES, height=SIDES, side=SIDES)
def test_a_size_that_fits_keeps_the_shape_and_is_the_largest(width: int, height: int, side: int) -> None:
    across, down = fitting((width, height), side)
    assert 1 <= across <= width
    assert 1 <= down <= height
    assert max(across, down) == min(side, max(width, height))
    scale = min(side / max(width, height), 1)
    assert abs(across - width * scale) <= 0.5 + 1e-9 or across == 1
    assert abs(down - height * scale) <= 0.5 + 1e-9 or down == 1


# --- regions ------------------------------------------------------------------------------------------------------


def test_a_region_is_a_view_of_its_rows_and_columns() -> None:
    image = noise((20, 30), np.uint16)
    part = Region(3, 5, 7, 9).of(image)
    assert np.array_equal(part, image[5:14, 3:10])
    assert np.shares_memory(part, image)


@st.composite
def placed(draw: st.DrawFn) -> tuple[Region, tuple[int, int]]:
    width, height = draw(SIDES), draw(SIDES)
    x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return Region(x, y, draw(st.integers(1, width - x)), draw(st.integers(1, height - y))), (width, height)


@given(place=placed(), target=st.tuples(SIDES, SIDES))
def test_a_scaled_region_lies_inside_and_covers_the_same_part(
    place: tuple[Region, tuple[int, int]], target: tuple[int, int]
) -> None:
    region, source = place
    scaled = region.scaled(source, target)
    for start, length, first, span, size, whole in zip(
        scaled[:2], scaled[2:], region[:2], region[2:], target, source, strict=True
    ):
        ratio = size / whole
        assert start >= 0
        assert length >= 1
        assert start + length <= size
        assert start <= first * ratio + 1e-6
        assert start > first * ratio - 1 - 1e-6
        # The far end is the nearest one, at least a pixel from the near end.
        assert abs(start + length - (first + span) * ratio) <= 0.5 + 1e-6 or length == 1
    assert region.scaled(source, source) == region
    assert Region(0, 0, *source).scaled(source, target) == (0, 0, *target)


@given(
    region=st.builds(Region, *[st.integers(0, 10**6)] * 4),
    source=st.tuples(SIDES, SIDES),
    target=st.tuples(SIDES, SIDES),
)
def test_a_scaled_region_is_never_outside_even_of_one_that_is(
    region: Region, source: tuple[int, int], target: tuple[int, int]
) -> None:
    x, y, width, height = region.scaled(source, target)
    assert 0 <= x < x + width <= target[0]
    assert 0 <= y < y + height <= target[1]


# --- what all of them keep ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_are_read_only_and_the_film_stays_as_it_is(dtype: type) -> None:
    before, after = noise((40, 50), dtype).copy(), noise((40, 50), dtype, 1).copy()
    kept = before.tobytes(), after.tobytes()
    results = [
        windowed(before, Window(90, 70)),
        difference(before, after, 3.0),
        reduced(before, (20, 30)),
        windowed(before, Window(-900, 1)),
    ]
    for result in results:
        assert not result.flags.writeable
        assert result.flags.c_contiguous
        assert not np.shares_memory(result, before)
    assert (before.tobytes(), after.tobytes()) == kept
    assert before.flags.writeable
