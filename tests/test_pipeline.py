"""Settings and the one run: the published calls bit for bit, stages that agree with it, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xray_core import cli, pipeline
from xray_core.errors import ImageError, SettingsError
from xray_core.image import Image, checked
from xray_core.params import Range, Value
from xray_core.pipeline import Pair, Settings, Staged, changed, check, defaults, digest, parameters, run, run_pair
from xray_core.steps import STEPS, Step

# isort: split
import cv2

Textured = Callable[..., Image]

SAMPLES = Path(__file__).parents[1] / "sample_images"
# Real radiographs are not ours to hand on: they are tested where a copy lies beside the checkout.
RADIOGRAPHS = Path(__file__).parents[2] / "shared" / "data" / "cxr_small"

PUBLISHED: Settings = {
    "resize.on": True,
    "resize.size": 224,
    "resize.fit": "stretch",
    "resize.interpolation": "linear",
    "sharpen.gain": "published",
}
NOTHING: Settings = {one.path("on"): False for one in STEPS.values() if one.switchable}


# --- The published five calls -----------------------------------------------------------------------------------------


def five_calls(bgr: Image) -> tuple[Image, Image]:
    """The published pipeline as it was published; returns gray and enhanced."""
    gray = cv2.cvtColor(cv2.resize(bgr, (224, 224)), cv2.COLOR_BGR2GRAY)
    denoised = cv2.bilateralFilter(gray, d=5, sigmaColor=50, sigmaSpace=50)
    contrast = cv2.createCLAHE(clipLimit=1.5, tileGridSize=(8, 8)).apply(denoised)
    sharpened = cv2.filter2D(contrast, -1, np.array([[0, -0.5, 0], [-0.5, 3.0, -0.5], [0, -0.5, 0]]))
    enhanced = cv2.normalize(sharpened, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    return gray, enhanced


def assert_published(image: Image, bgr: Image) -> None:
    gray, enhanced = five_calls(bgr)
    pair = run_pair(image, PUBLISHED)
    assert np.array_equal(pair.before, gray)
    assert np.array_equal(pair.after, enhanced)
    assert pair.after.dtype == np.uint8


def assert_file_is_published(path: Path, folder: Path) -> None:
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert bgr is not None
    assert_published(bgr[:, :, ::-1], bgr)
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if stored.dtype != np.uint8:
        return
    if stored.ndim == 2:
        assert_published(stored, bgr)
    out = folder / "out.png"
    assert cli.main(["enhance", str(path), str(out), "--preset", "published"]) == 0
    assert np.array_equal(cv2.imread(str(out), cv2.IMREAD_UNCHANGED), five_calls(bgr)[1])


def _eight_bit_samples() -> list[Path]:
    # The byte at 24 of a PNG is its depth.
    return [path for path in sorted(SAMPLES.rglob("*.png")) if path.read_bytes()[24:25] == b"\x08"]


def _evenly(paths: list[Path], number: int) -> list[Path]:
    return [paths[i * len(paths) // number] for i in range(min(number, len(paths)))] if paths else []


def _radiographs() -> list[Any]:
    files = sorted(path for path in RADIOGRAPHS.rglob("*") if path.suffix.lower() in {".png", ".jpg", ".jpeg"})
    if not files:
        absent = pytest.mark.skip(reason=f"no radiographs in {'/'.join(RADIOGRAPHS.parts[-3:])} beside the checkout")
        return [pytest.param(None, marks=absent, id="absent")]
    return [pytest.param(path, id=path.relative_to(RADIOGRAPHS).as_posix()) for path in _evenly(files, 100)]


@pytest.mark.parametrize(
    "shape", [(224, 224), (300, 200), (97, 411), (1000, 800), (31, 17), (1, 1), (1, 50)], ids=lambda s: f"{s[0]}x{s[1]}"
)
@pytest.mark.parametrize("seed", [0, 1])
def test_published_settings_are_the_five_calls_on_random_pictures(shape: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    colour = rng.integers(0, 256, (*shape, 3), np.uint8)
    assert_published(colour, np.ascontiguousarray(colour[:, :, ::-1]))
    gray = rng.integers(20 * seed, 256 - 90 * seed, shape, np.uint8)
    assert_published(gray, cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR))


def test_published_settings_are_the_five_calls_on_textured_pictures(textured: Textured) -> None:
    colour = textured(500, 431, colour=True)
    assert_published(colour, np.ascontiguousarray(colour[:, :, ::-1]))
    gray = textured(500, 431)
    assert_published(gray, cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR))


def test_there_are_samples_to_test() -> None:
    if not SAMPLES.is_dir():
        pytest.skip("no folder sample_images")
    assert _eight_bit_samples(), "sample_images holds no 8-bit PNG"


@pytest.mark.parametrize("path", _eight_bit_samples(), ids=lambda path: path.relative_to(SAMPLES).as_posix())
def test_published_settings_are_the_five_calls_on_samples(path: Path, tmp_path: Path) -> None:
    assert_file_is_published(path, tmp_path)


@pytest.mark.parametrize("path", _radiographs())
def test_published_settings_are_the_five_calls_on_radiographs(path: Path, tmp_path: Path) -> None:
    assert_file_is_published(path, tmp_path)


def test_intels_ipp_is_off() -> None:
    # With it the bilateral result depends on the processor.
    assert not cv2.ipp.useIPP()


# --- Stages -----------------------------------------------------------------------------------------------------------


def same(a: Image, b: Image) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def assert_pair_keeps_its_contract(pair: Pair, image: Image) -> None:
    for film in (pair.before, pair.after):
        assert film.ndim == 2
        assert film.dtype == image.dtype
        assert not film.flags.writeable
        assert film.flags.c_contiguous
    assert pair.before.shape == pair.after.shape


def moves(path: str) -> st.SearchStrategy[Value]:
    """Values that a setting may take; sizes stay small, for speed."""
    parameter = parameters()[path]
    if not isinstance(parameter, Range):
        return st.sampled_from(parameter.ends())
    high = min(parameter.high, parameter.low + 64)
    return st.integers(int(parameter.low), int(high)) if parameter.whole else st.floats(parameter.low, high)


WALK = st.lists(
    st.sampled_from(list(parameters())).flatmap(lambda path: st.tuples(st.just(path), moves(path))), max_size=15
)


@cache
def small_picture(kind: str) -> Image:
    shape = (45, 61, 3) if kind == "colour" else (45, 61)
    dtype = np.uint16 if kind == "gray16" else np.uint8
    noise = np.random.default_rng(3).integers(0, np.iinfo(dtype).max, shape, dtype)
    return checked(cv2.GaussianBlur(noise, (0, 0), 2))


@pytest.mark.parametrize("kind", ["gray8", "gray16", "colour"])
@given(walk=WALK)
def test_stages_agree_with_a_run_after_any_walk(kind: str, walk: list[tuple[str, Value]]) -> None:
    image = small_picture(kind)
    staged = Staged(image)
    settings: Settings = {}
    for path, value in [("clahe.on", True), *walk]:
        settings = settings | {path: value}
        pair = staged.run_pair(settings)
        again = run_pair(image, settings)
        assert same(pair.before, again.before)
        assert same(pair.after, again.after)
        assert same(pair.after, run(image, settings))
        assert_pair_keeps_its_contract(pair, image)


@pytest.mark.parametrize("kind", ["gray8", "gray16", "colour"])
def test_stages_agree_with_a_run_over_a_long_walk(kind: str, textured: Textured) -> None:
    image = textured(80, 97, np.uint16 if kind == "gray16" else np.uint8, colour=kind == "colour")
    bytes_before = image.tobytes()
    staged = Staged(image)
    rng = np.random.default_rng(11)
    known = list(parameters().items())
    settings: Settings = {}
    for _ in range(200):
        path, parameter = known[rng.integers(len(known))]
        ends = parameter.ends()
        value: Value = ends[rng.integers(len(ends))]
        if isinstance(parameter, Range):
            high = min(parameter.high, parameter.low + 150)
            value = parameter.check(path, type(parameter.default)(rng.uniform(parameter.low, high)))
        settings = settings | {path: value}
        # Every so often back to a place where the walk has been: what was kept for it must be gone or right.
        if rng.random() < 0.1:
            settings = {}
        pair, again = staged.run_pair(settings), run_pair(image, settings)
        assert same(pair.before, again.before), settings
        assert same(pair.after, again.after), settings
        assert same(staged.run(settings), again.after)
        assert_pair_keeps_its_contract(pair, image)
    assert image.tobytes() == bytes_before


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the steps run, in order."""
    ran: list[str] = []

    def counted(one: Step) -> Step:
        def function(image: Image, **values: Value) -> Image:
            ran.append(one.name)
            return one.function(image, **values)

        return replace(one, function=function)

    for name, one in list(STEPS.items()):
        monkeypatch.setitem(STEPS, name, counted(one))
    return ran


def test_stages_repeat_only_what_changed(calls: list[str], textured: Textured) -> None:
    staged = Staged(textured(40, 50))
    staged.run({})
    assert calls == [one.name for one, _ in pipeline.active(defaults())]
    calls.clear()
    staged.run({})
    assert calls == []
    staged.run({"sharpen.sharpness": 3.5})
    assert calls == ["sharpen", "normalize"]
    calls.clear()
    # A setting of a step that is off repeats nothing.
    staged.run({"sharpen.sharpness": 3.5, "gamma.gamma": 2.0})
    assert calls == []
    staged.run({"sharpen.sharpness": 3.5, "normalize.on": False})
    assert calls == []
    staged.run({"sharpen.sharpness": 3.5, "gamma.gamma": 2.0, "gamma.on": True, "normalize.on": False})
    assert calls == ["gamma", "clahe", "sharpen"]


@pytest.mark.parametrize("kind", ["gray8", "gray16", "colour"])
def test_stages_forget_and_give_the_same_bytes_again(kind: str, calls: list[str], textured: Textured) -> None:
    image = textured(40, 50, np.uint16 if kind == "gray16" else np.uint8, colour=kind == "colour")
    staged = Staged(image)
    first = staged.run_pair({"gamma.on": True})
    ran = list(calls)
    staged.forget()
    again = staged.run_pair({"gamma.on": True})
    assert calls == ran * 2
    assert same(first.before, again.before)
    assert same(first.after, again.after)


@pytest.mark.parametrize("kind", ["gray8", "gray16", "colour"])
def test_stages_tell_the_bytes_that_they_hold(kind: str, textured: Textured) -> None:
    image = textured(40, 50, np.uint16 if kind == "gray16" else np.uint8, colour=kind == "colour")
    staged = Staged(image)
    assert staged.nbytes == 0
    gray = 40 * 50 * (2 if kind == "gray16" else 1)
    # A gray film passes the step that makes it gray as it is: it is the film itself, which is not counted.
    own = gray if kind == "colour" else 0
    walk: list[Settings] = [{}, {"equalize.on": True}, {"equalize.on": True, "gamma.on": True}]
    for steps_on, settings in enumerate(walk):
        staged.run(NOTHING | settings)
        assert staged.nbytes == own + steps_on * gray
    # What is cut before the film is made gray has three channels.
    staged.run({**NOTHING, "crop.on": True, "crop.left": 20.0})
    assert staged.nbytes == gray * 8 // 10 * (3 + 1 if kind == "colour" else 1)
    staged.forget()
    assert staged.nbytes == 0


def test_a_step_of_both_films_runs_once_while_they_are_the_same(calls: list[str], textured: Textured) -> None:
    run_pair(textured(40, 50, colour=True), {"crop.on": True, "resize.on": True})
    assert calls.count("crop") == calls.count("resize") == calls.count("grayscale") == 1


# --- Before and after -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gray8", "gray16", "colour"])
def test_before_is_geometry_and_grayscale_alone(kind: str, textured: Textured) -> None:
    image = textured(dtype=np.uint16 if kind == "gray16" else np.uint8, colour=kind == "colour")
    everything: Settings = {one.path("on"): True for one in STEPS.values()}
    shaped: Settings = {"crop.left": 10.0, "crop.bottom": 20.0, "resize.size": 96, "grayscale.method": "green"}
    pair = run_pair(image, everything | shaped)
    geometry = {one.path("on"): one.both for one in STEPS.values()}
    assert same(pair.before, run(image, geometry | shaped))
    assert pair.before.shape == pair.after.shape == (96, 96)
    assert not same(pair.before, pair.after)


def test_a_repair_before_the_geometry_leaves_the_film_before_alone(
    monkeypatch: pytest.MonkeyPatch, textured: Textured
) -> None:
    mended = replace(STEPS["equalize"], name="mended", function=lambda image: np.invert(image))
    monkeypatch.setattr(pipeline, "STEPS", {"mended": mended, **STEPS})
    for image in (textured(), textured(dtype=np.uint16), textured(colour=True)):
        shaped: Settings = {**NOTHING, "crop.on": True, "crop.left": 12.0, "resize.on": True, "resize.size": 64}
        pair = run_pair(image, shaped | {"mended.on": True})
        assert same(pair.before, run(image, shaped))
        assert same(pair.after, run(np.invert(image), shaped))
        staged = Staged(image)
        for on in (True, False, True):
            again = staged.run_pair(shaped | {"mended.on": on})
            assert same(again.before, pair.before)
            assert same(again.after, pair.after if on else pair.before)


@pytest.mark.parametrize("kind", ["gray8", "gray16"])
def test_with_every_step_off_a_gray_film_comes_back_as_it_is(kind: str, textured: Textured) -> None:
    image = textured(dtype=np.uint16 if kind == "gray16" else np.uint8)
    pair = run_pair(image, NOTHING)
    assert same(pair.before, image)
    assert same(pair.after, image)


@pytest.mark.parametrize("settings", [{}, NOTHING, PUBLISHED], ids=["defaults", "nothing", "published"])
@pytest.mark.parametrize("colour", [False, True], ids=["gray", "colour"])
def test_the_input_stays_untouched_and_writeable(settings: Settings, colour: bool, textured: Textured) -> None:
    image = textured(colour=colour).copy()
    bytes_before = image.tobytes()
    after = run(image, settings)
    Staged(image).run(settings)
    assert image.tobytes() == bytes_before
    assert image.flags.writeable
    assert not after.flags.writeable


def _layouts(image: Image) -> Iterator[Image]:
    wide = np.repeat(image, 2, axis=1)
    yield wide[:, ::2]
    yield np.asfortranarray(image)
    yield image[::-1][::-1]


@pytest.mark.parametrize("colour", [False, True], ids=["gray", "colour"])
def test_the_layout_in_memory_does_not_matter(colour: bool, textured: Textured) -> None:
    image = textured(colour=colour)
    expected = run(image, {"crop.on": True, "crop.top": 10.0})
    for other in _layouts(image):
        assert same(run(other, {"crop.on": True, "crop.top": 10.0}), expected)


@pytest.mark.parametrize("take", [run, run_pair, lambda image, settings: Staged(image)], ids=["run", "pair", "staged"])
@pytest.mark.parametrize(
    ("image", "message"),
    [
        ([[1, 2], [3, 4]], "an image is a NumPy array, got list"),
        (None, "an image is a NumPy array, got NoneType"),
        (np.zeros((4, 5)), "an image is (H, W) of uint8 or uint16, or (H, W, 3) of uint8, got shape (4, 5) of float64"),
        (np.zeros((4, 5), bool), "got shape (4, 5) of bool"),
        (np.zeros((4, 5), np.int16), "got shape (4, 5) of int16"),
        (np.zeros((4, 5), ">u2"), "got shape (4, 5) of >u2"),
        (np.zeros((4, 5, 4), np.uint8), "got shape (4, 5, 4) of uint8"),
        (np.zeros((4, 5, 1), np.uint8), "got shape (4, 5, 1) of uint8"),
        (np.zeros((4, 5, 3), np.uint16), "got shape (4, 5, 3) of uint16"),
        (np.zeros(9, np.uint8), "got shape (9,) of uint8"),
        (np.zeros((2, 4, 5, 3), np.uint8), "got shape (2, 4, 5, 3) of uint8"),
        (np.zeros((0, 5), np.uint8), "an image has at least one pixel, got shape (0, 5)"),
        (np.zeros((5, 0, 3), np.uint8), "an image has at least one pixel, got shape (5, 0, 3)"),
    ],
    ids=lambda value: str(getattr(value, "shape", "")) if not isinstance(value, str) else "",
)
def test_what_is_no_image_is_refused(take: Callable[[Any, Settings], object], image: Any, message: str) -> None:
    with pytest.raises(ImageError, match=f"{re.escape(message)}$"):
        take(image, {})


# --- Settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clahe.cliplimit": 2}, "'clahe.cliplimit' is no setting; did you mean clahe.clip_limit ([1, 8])?"),
        ({"bilateral.D": 5}, "'bilateral.D' is no setting; did you mean bilateral.d ([3, 15])?"),
        ({"": 1}, f"'' is no setting; known steps are {', '.join(STEPS)}"),
        ({"zzz": 1}, f"'zzz' is no setting; known steps are {', '.join(STEPS)}"),
        ({"clahe.clip_limit": 30}, "clahe.clip_limit lies in [1, 8], got 30"),
        ({"bilateral.d": "5"}, 'bilateral.d takes a whole number in [3, 15], got "5"'),
        ({"sharpen.gain": "loud"}, 'sharpen.gain is one of unit, published, got "loud"'),
        ({"clahe.on": 1}, "clahe.on is true or false, got 1"),
        ({"grayscale.on": False}, "grayscale.on is always true, got false"),
        # A value is checked even where its step is off.
        ({"gamma.on": False, "gamma.gamma": 9.0}, "gamma.gamma lies in [0.2, 3], got 9"),
    ],
)
def test_unknown_paths_and_wrong_values_are_refused_in_exact_words(settings: dict[str, object], message: str) -> None:
    image = np.zeros((8, 8), np.uint8)
    for refused in (
        lambda: check(settings),
        lambda: digest(settings),
        lambda: run(image, settings),
        lambda: Staged(image).run(settings),
    ):
        with pytest.raises(SettingsError, match=f"^{re.escape(message)}$"):
            refused()


def test_a_very_long_path_is_cut_short_in_the_refusal() -> None:
    with pytest.raises(SettingsError) as caught:
        check({"x" * 100_000: 1})
    assert len(str(caught.value)) < 400


def test_defaults_are_the_published_pipeline_at_its_own_size() -> None:
    usual = defaults()
    on = {name for name in STEPS if usual[f"{name}.on"]}
    published = {"grayscale", "bilateral", "clahe", "sharpen", "normalize"}
    assert on >= published
    assert not on & {"crop", "channels", "inpaint", "rotate", "resize", "gaussian", "stretch", "equalize", "gamma"}
    expected = {
        "bilateral.d": 5,
        "bilateral.sigma": 50.0,
        "clahe.clip_limit": 1.5,
        "clahe.tiles": 8,
        "sharpen.sharpness": 3.0,
        "sharpen.gain": "unit",
        "normalize.method": "minmax",
    }
    assert {path: usual[path] for path in expected} == expected


def test_check_completes_with_defaults_and_leaves_its_argument_alone() -> None:
    given_settings: dict[str, object] = {"clahe.clip_limit": 2}
    full = check(given_settings)
    assert list(full) == list(parameters())
    assert full == defaults() | {"clahe.clip_limit": 2.0}
    assert type(full["clahe.clip_limit"]) is float
    assert given_settings == {"clahe.clip_limit": 2}
    assert check(full) == full


def test_changed_is_what_differs_from_the_defaults() -> None:
    assert changed(defaults()) == {}
    assert changed(check({"clahe.clip_limit": 2, "bilateral.d": 5})) == {"clahe.clip_limit": 2.0}
    assert check(changed(check(PUBLISHED))) == check(PUBLISHED)


def test_the_digest_ignores_order_and_spelling() -> None:
    usual = digest({})
    assert re.fullmatch("[0-9a-f]{64}", usual)
    assert digest(defaults()) == usual
    assert digest(dict(reversed(list(defaults().items())))) == usual
    assert digest({"clahe.clip_limit": 2, "bilateral.d": 7.0}) == digest({"bilateral.d": 7, "clahe.clip_limit": 2.0})


@pytest.mark.parametrize("name", [one.name for one in STEPS.values() if one.switchable])
def test_the_digest_sees_every_switch(name: str) -> None:
    on = defaults()[f"{name}.on"]
    assert digest({f"{name}.on": not on}) != digest({})


@pytest.mark.parametrize("path", [path for path in parameters() if not path.endswith(".on")])
def test_the_digest_sees_a_value_exactly_while_its_step_is_on(path: str) -> None:
    name = path.split(".")[0]
    parameter = parameters()[path]
    needs = {f"{name}.{parameter.needs[0]}": parameter.needs[1]} if parameter.needs else {}
    digests = {digest({f"{name}.on": True, **needs, path: end}) for end in parameter.ends()}
    assert len(digests) == len(parameter.ends())
    if STEPS[name].switchable:
        digests = {digest({f"{name}.on": False, path: end}) for end in (parameter.default, *parameter.ends())}
        assert len(digests) == 1


def test_a_step_added_later_leaves_older_digests_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    older = [digest({}), digest(PUBLISHED)]
    template = STEPS["gamma"]
    monkeypatch.setitem(STEPS, "later", replace(template, name="later"))
    assert [digest({}), digest(PUBLISHED)] == older
    assert digest({"later.on": True}) not in older
