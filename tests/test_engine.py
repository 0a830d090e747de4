"""What answers the live viewer: the core's own result and numbers, exact pictures, and never another film's."""

from __future__ import annotations

import gc
import hashlib
import itertools
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from expectations import expected
from hypothesis import given
from hypothesis import strategies as st

from pages.ui import engine as engine_module
from pages.ui.engine import DISPLAY_SIDE, MOST_WAITING, Answer, BusyError, Engine, Look, SupersededError
from pages.ui.engines import Engines
from xray_core.decode import decode
from xray_core.display import Region, Window, difference, fitting, reduced, windowed
from xray_core.image import Film, Image, read_only
from xray_core.metrics import DEFAULT_TARGETS, METRICS, at_the_ends, measure, range_warning, verdict
from xray_core.params import Range, Value
from xray_core.pipeline import check, digest, parameters, run, run_pair
from xray_core.steps import STEPS

Textured = Callable[..., Image]
KINDS = ["gray8", "gray16", "colour"]
NOTHING: dict[str, Value] = {step.path("on"): False for step in STEPS.values() if step.switchable}
EVERYTHING: dict[str, Value] = {**{step.path("on"): True for step in STEPS.values()}, "resize.size": 96}
SETTINGS: dict[str, dict[str, Value]] = {
    "defaults": {},
    "nothing": NOTHING,
    "everything": EVERYTHING,
    "moved": {"clahe.clip_limit": 2.4, "sharpen.sharpness": 1.7, "gamma.on": True, "gamma.gamma": 0.8},
    "cropped": {"crop.on": True, "crop.left": 13.5, "crop.bottom": 8.0},
    "resized": {"resize.on": True, "resize.size": 64, "resize.fit": "crop"},
    "green": {"grayscale.method": "green"},
}
WINDOWS = [Window(), Window(90, 60), Window(-20, 1), Window(400, 900)]


def film(pixels: Image) -> Film:
    digest_of_it = hashlib.sha256(pixels.tobytes() + repr(pixels.shape).encode()).hexdigest()
    return Film(pixels, "film.png", pixels.dtype.itemsize * 8, digest_of_it, "PNG", "MONOCHROME2")


def picture(kind: str, textured: Textured, height: int = 80, width: int = 97, seed: int = 7) -> Image:
    return textured(height, width, np.uint16 if kind == "gray16" else np.uint8, colour=kind == "colour", seed=seed)


_SEQUENCE = itertools.count(1)


def look(settings: dict[str, Value] | None = None, **wanted: Any) -> Look:
    return Look(sequence=next(_SEQUENCE), settings=check(settings or {}), **wanted)


def sha256(image: Image) -> str:
    return hashlib.sha256(image.tobytes()).hexdigest()


def rows(answer: Answer, name: str = "rows") -> dict[tuple[str, str], str]:
    found: Any = answer.facts[name]
    return {(row["metric"], side): row[side] for row in found for side in ("before", "after")}


def numbers(before: Image, after: Image) -> dict[tuple[str, str], str]:
    measured = measure(read_only(before), read_only(after))
    return {
        (metric.name, side): metric.shown(value)
        for metric in METRICS.values()
        for side, value in (
            ("before", measured[metric.columns[0]] if metric.paired else metric.untouched),
            ("after", measured[metric.judged]),
        )
    }


def pictures(answer: Answer) -> dict[str, Image]:
    listed: Any = answer.facts["pictures"]
    assert [part["bytes"] for part in listed] == [len(data) for data in answer.pictures]
    shown = {part["side"]: decode(data, "").pixels for part, data in zip(listed, answer.pictures, strict=True)}
    assert [part["size"] for part in listed] == [[*image.shape[::-1]] for image in shown.values()]
    assert all(image.dtype == np.uint8 for image in shown.values())
    return shown


def keys(answer: Answer) -> dict[str, str]:
    listed: Any = answer.facts["pictures"]
    return {part["side"]: part["key"] for part in listed}


def of_a_screen(image: Image, window: Window = WINDOWS[0]) -> Image:
    return windowed(reduced(image, fitting(image.shape[::-1], engine_module.DISPLAY_SIDE)), window)


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small films are large ones: their preview is computed on a film made smaller."""
    monkeypatch.setattr(engine_module, "_EXACT_PIXELS", 2_000)
    monkeypatch.setattr(engine_module, "DISPLAY_SIDE", 48)


# --- the full answer ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_full_answer_is_the_run_of_the_core(kind: str, settings: dict[str, Value], textured: Textured) -> None:
    pixels = picture(kind, textured)
    wanted = look(settings)
    facts: Any = (answer := Engine(film(pixels)).full(wanted)).facts
    pair = run_pair(pixels, settings)
    assert facts["pixels"] == sha256(run(pixels, settings)) == sha256(pair.after)
    assert rows(answer) == expected(pixels, settings)
    assert (facts["state"], facts["sequence"], facts["settings"]) == ("full", wanted.sequence, digest(settings))
    assert facts["size"] == [*pair.after.shape[::-1]]
    assert facts["warning"] == range_warning(pair.before)
    assert facts["ends"] == at_the_ends(pair.after)
    for side, image in (("before", pair.before), ("after", pair.after)):
        levels = image.ravel() if image.dtype == np.uint8 else image.ravel() >> 8
        assert facts["histograms"][side] == np.bincount(levels, minlength=256).tolist()


def step_of(rng: np.random.Generator) -> dict[str, Value]:
    path, parameter = list(parameters().items())[rng.integers(len(parameters()))]
    ends = parameter.ends()
    value: Value = ends[rng.integers(len(ends))]
    if isinstance(parameter, Range):
        value = parameter.check(path, type(parameter.default)(rng.uniform(parameter.low, min(parameter.high, 150))))
    return {path: value}


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_after_a_wild_walk_every_full_answer_is_the_run_of_the_core(kind: str, seed: int, textured: Textured) -> None:
    pixels = picture(kind, textured)
    untouched = pixels.tobytes()
    engine = Engine(film(pixels))
    rng = np.random.default_rng(seed)
    settings: dict[str, Value] = {}
    for _ in range(60):
        settings = {} if rng.random() < 0.1 else settings | step_of(rng)
        for ask in (engine.preview, engine.part, engine.value):
            if rng.random() < 0.5:
                ask(look(settings | step_of(rng)))
        if rng.random() < 0.2:
            engine.forget()
        answer = engine.full(look(settings, sides=("after",)))
        pair = run_pair(pixels, settings)
        assert answer.facts["pixels"] == sha256(pair.after), settings
        assert rows(answer) == expected(pixels, settings), settings
        assert np.array_equal(pictures(answer)["after"], of_a_screen(pair.after)), settings
    assert pixels.tobytes() == untouched


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(80, 97), (1300, 40), (50, 2100)])
def test_full_pictures_are_the_result_made_smaller_and_windowed(
    shape: tuple[int, int], kind: str, window: Window, textured: Textured
) -> None:
    pixels = picture(kind, textured, *shape)
    answer = Engine(film(pixels)).full(look(window=window))
    pair = run_pair(pixels, {})
    shown = pictures(answer)
    assert list(shown) == ["before", "after"]
    assert np.array_equal(shown["before"], of_a_screen(pair.before, window))
    assert np.array_equal(shown["after"], of_a_screen(pair.after, window))
    assert max(shown["after"].shape) <= DISPLAY_SIDE
    assert {part["type"] for part in answer.facts["pictures"]} == {"image/png"}  # type: ignore[attr-defined]


@pytest.mark.parametrize("gain", [0.5, 4.0, 100.0])
@pytest.mark.parametrize("kind", KINDS)
def test_the_difference_is_that_of_before_and_after(kind: str, gain: float, textured: Textured) -> None:
    pixels = picture(kind, textured)
    shown = pictures(Engine(film(pixels)).full(look(sides=("difference",), gain=gain, window=Window(10, 10))))
    pair = run_pair(pixels, {})
    assert list(shown) == ["difference"]
    assert np.array_equal(shown["difference"], difference(pair.before, pair.after, gain))


def test_only_the_sides_asked_for_come_in_their_order(textured: Textured) -> None:
    engine = Engine(film(textured(40, 50)))
    for sides in [(), ("after",), ("difference", "before"), ("after", "before", "difference")]:
        assert tuple(pictures(engine.full(look(sides=sides)))) == sides


# --- parts --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "region", [Region(0, 0, 97, 80), Region(11, 7, 30, 20), Region(96, 79, 1, 1)], ids=["whole", "inside", "corner"]
)
def test_a_part_at_its_own_size_is_the_slice_of_the_result(kind: str, region: Region, textured: Textured) -> None:
    pixels = picture(kind, textured)
    window = Window(100, 150)
    answer = Engine(film(pixels)).part(look(region=region, window=window, sides=("before", "after", "difference")))
    pair = run_pair(pixels, {})
    before, after = region.of(pair.before), region.of(pair.after)
    shown = pictures(answer)
    assert np.array_equal(shown["before"], windowed(before, window))
    assert np.array_equal(shown["after"], windowed(after, window))
    assert np.array_equal(shown["difference"], difference(before, after, 4.0))
    assert answer.facts["region"] == list(region)
    assert answer.facts["state"] == "full"
    assert answer.facts["size"] == [97, 80]


def test_a_part_is_made_smaller_to_the_size_asked_for(textured: Textured) -> None:
    pixels = textured(120, 160)
    region = Region(10, 20, 120, 90)
    shown = pictures(Engine(film(pixels)).part(look(region=region, size=(40, 30))))
    part = np.ascontiguousarray(region.of(run(pixels, {})))
    assert np.array_equal(shown["after"], reduced(part, (40, 30)))


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (Region(90, 70, 500, 500), [90, 70, 7, 10]),
        (Region(5000, 5000, 3, 3), [96, 79, 1, 1]),
        (Region(4, 5, 0, 0), [4, 5, 1, 1]),
        (None, [0, 0, 1, 1]),
    ],
)
def test_a_part_that_leaves_the_film_is_cut_to_it(asked: Region | None, given: list[int], textured: Textured) -> None:
    answer = Engine(film(textured(80, 97))).part(look(region=asked))
    assert answer.facts["region"] == given
    assert pictures(answer)["after"].shape == (given[3], given[2])


# --- what the viewer holds already --------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_limits")
def test_before_is_left_out_only_where_the_viewer_holds_it(textured: Textured) -> None:
    engine = Engine(film(textured(80, 97)))
    preview, full = keys(engine.preview(look()))["before"], keys(engine.full(look()))["before"]
    assert preview != full
    assert set(keys(engine.preview(look(have=preview)))) == {"after"}
    assert set(keys(engine.preview(look(have=full)))) == {"after"}
    assert set(keys(engine.full(look(have=full)))) == {"after"}
    # The lossy picture of a film made smaller doesn't stand for the exact one.
    assert set(keys(engine.full(look(have=preview)))) == {"before", "after"}
    for have in ("", "full:", "preview:", "full", full.upper(), full + "0", "full:" + full):
        assert set(keys(engine.full(look(have=have)))) == {"before", "after"}


@pytest.mark.parametrize("ask", ["preview", "full"])
def test_the_key_of_before_tells_what_it_shows(ask: str, textured: Textured) -> None:
    pixels = textured(80, 97, colour=True)
    engine = Engine(film(pixels))
    usual = keys(getattr(engine, ask)(look()))["before"]
    same: list[dict[str, Value]] = [{"clahe.clip_limit": 3.0}, NOTHING, {"crop.left": 10.0}, {"gamma.on": True}]
    for settings in same:
        assert keys(getattr(engine, ask)(look(settings)))["before"] == usual
    others = [
        look({"crop.on": True, "crop.left": 10.0}),
        look({"crop.on": True, "crop.left": 11.0}),
        look({"resize.on": True}),
        look({"grayscale.method": "green"}),
        look(window=Window(100, 100)),
        look(window=Window(101, 100)),
    ]
    found = {keys(getattr(engine, ask)(other))["before"] for other in others}
    assert usual not in found
    assert len(found) == len(others)
    again = Engine(film(textured(80, 97, colour=True, seed=8)))
    assert keys(getattr(again, ask)(look()))["before"] != usual


# --- the preview --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(textured: Textured) -> Image:
    """A film that is too large to be computed whole while a hand moves."""
    return textured(1100, 1400, np.uint16)


def test_the_preview_of_a_large_film_is_marked_small_and_near_the_result(large: Image) -> None:
    engine = Engine(film(large))
    answer = engine.preview(look())
    facts: Any = answer.facts
    assert facts["state"] == "preview"
    assert "pixels" not in facts
    assert facts["size"] == [1400, 1100]
    assert {part["type"] for part in facts["pictures"]} == {"image/jpeg"}
    exact = pictures(engine.full(look()))
    for side, image in pictures(answer).items():
        assert image.shape == fitting((1400, 1100), DISPLAY_SIDE)[::-1]
        assert np.abs(image.astype(int) - exact[side]).mean() < 12
    small = reduced(large, fitting((1400, 1100), DISPLAY_SIDE))
    assert rows(answer) == expected(small, {})


def test_the_preview_of_a_film_that_is_fast_enough_has_the_numbers_of_the_result(textured: Textured) -> None:
    pixels = textured(300, 400)
    answer = Engine(film(pixels)).preview(look())
    assert rows(answer) == expected(pixels, {})
    assert answer.facts["state"] == "preview"


def test_a_small_result_of_a_large_film_is_previewed_exactly(large: Image) -> None:
    settings: dict[str, Value] = {"resize.on": True, "resize.size": 96}
    answer = Engine(film(large)).preview(look(settings))
    assert rows(answer) == expected(large, settings)
    assert answer.facts["size"] == [96, 96]


def test_metrics_come_only_where_they_are_wanted(textured: Textured) -> None:
    facts = Engine(film(textured(40, 50))).preview(look(numbers=False, region=Region(0, 0, 20, 20))).facts
    assert not {"rows", "verdict", "histograms", "region_rows"} & set(facts)


@pytest.mark.usefixtures("small_limits")
@given(walk=st.lists(st.integers(0, 10_000), min_size=1, max_size=4))
def test_the_size_of_every_answer_is_that_of_the_result(walk: list[int]) -> None:
    pixels = read_only(np.arange(61 * 45, dtype=np.uint16).reshape(45, 61))
    engine = Engine(film(pixels))
    settings: dict[str, Value] = {"crop.on": True, "bilateral.on": False}
    for seed in walk:
        rng = np.random.default_rng(seed)
        settings |= {f"crop.{side}": float(rng.uniform(0, 45)) for side in ("left", "right", "top", "bottom")}
        settings |= {"resize.on": bool(rng.random() < 0.3), "resize.size": int(rng.integers(32, 96))}
        settings |= {"resize.fit": ("pad", "stretch", "crop")[rng.integers(3)]}
        size = [*run(pixels, settings).shape[::-1]]
        assert list(engine.size_of(check(settings))) == size
        for ask in (engine.preview, engine.full, engine.part):
            assert ask(look(settings)).facts["size"] == size


# --- grey values and regions --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("kind", KINDS)
def test_the_value_under_the_pointer_is_that_of_the_result(kind: str, textured: Textured) -> None:
    pixels = picture(kind, textured)
    engine = Engine(film(pixels))
    settings: dict[str, Value] = {"crop.on": True, "crop.left": 10.0}
    engine.full(look(settings))
    pair = run_pair(pixels, settings)
    height, width = pair.after.shape
    for x, y in [(0, 0), (3, 5), (width - 1, height - 1), (width + 50, height + 50)]:
        wanted = look(settings, region=Region(x, y, 1, 1))
        at = min(y, height - 1), min(x, width - 1)
        before, after = int(pair.before[at]), int(pair.after[at])
        assert engine.value(wanted) == {
            "sequence": wanted.sequence,
            "before": before,
            "after": after,
            "state": "full",
        }


@pytest.mark.usefixtures("small_limits")
def test_a_value_before_the_result_is_there_is_marked_as_of_the_preview(textured: Textured) -> None:
    pixels = textured(80, 97)
    engine = Engine(film(pixels))
    engine.full(look())
    settings: dict[str, Value] = {"gamma.on": True, "gamma.gamma": 2.0}
    found: Any = engine.value(look(settings, region=Region(50, 40, 1, 1)))
    assert found["state"] == "preview"
    small = run_pair(reduced(pixels, fitting((97, 80), 48)), settings)
    point = Region(50, 40, 1, 1).scaled((97, 80), small.after.shape[::-1])
    assert (found["before"], found["after"]) == (small.before[point.y, point.x], small.after[point.y, point.x])


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("region", [Region(0, 0, 97, 80), Region(20, 10, 31, 17), Region(60, 60, 300, 300)])
def test_a_region_is_measured_on_its_own(kind: str, region: Region, textured: Textured) -> None:
    pixels = picture(kind, textured)
    engine = Engine(film(pixels))
    pair = run_pair(pixels, {})
    answer = engine.full(look(region=region))
    assert rows(answer, "region_rows") == numbers(region.of(pair.before), region.of(pair.after))
    assert rows(answer) == expected(pixels, {})
    small = run_pair(reduced(pixels, fitting((97, 80), 48)), {})
    part = region.scaled((97, 80), small.after.shape[::-1])
    answer = engine.preview(look(region=region))
    assert rows(answer, "region_rows") == numbers(part.of(small.before), part.of(small.after))


def test_no_region_is_measured_unless_it_was_marked(textured: Textured) -> None:
    engine = Engine(film(textured(40, 50)))
    engine.full(look(region=Region(0, 0, 9, 9)))
    assert "region_rows" not in engine.full(look()).facts
    assert "region_rows" not in engine.preview(look()).facts


# --- targets ------------------------------------------------------------------------------------------------------


def told(engine: Engine) -> tuple[bool, str, set[str], set[str]]:
    facts: Any = engine.full(look()).facts
    judged = {row["metric"] for row in facts["rows"] if row["judged"]}
    missed = {row["metric"] for row in facts["rows"] if row["missed"]}
    return facts["verdict"]["good"], facts["verdict"]["sentence"], judged, missed


def test_the_verdict_is_that_of_the_core_and_follows_its_targets_at_once(textured: Textured) -> None:
    pixels = textured(80, 97)
    pair = run_pair(pixels, {})
    measured = measure(pair.before, pair.after)
    engine = Engine(film(pixels))
    pixels_told = engine.full(look()).facts["pixels"]
    for targets in [DEFAULT_TARGETS, {"brightness": (0.0, 1.0)}, {}, {"entropy": (0.0, 8.0), "ssim": (0.999, 1.0)}]:
        engine.aim(targets)
        judged = verdict(measured, targets)
        assert told(engine) == (judged.good, judged.sentence, set(targets), set(judged.missed))
        assert engine.preview(look()).facts["verdict"] == {"good": judged.good, "sentence": judged.sentence}
        assert engine.full(look()).facts["pixels"] == pixels_told


def test_targets_that_change_while_something_is_measured_are_kept(
    monkeypatch: pytest.MonkeyPatch, textured: Textured
) -> None:
    engine = Engine(film(textured(80, 97)))
    new = {"brightness": (0.0, 1.0)}

    def slow(measured: dict[str, float], targets: Any) -> object:
        engine.aim(new)
        return verdict(measured, targets)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(engine_module, "verdict", slow)
        engine.full(look())
    assert told(engine)[2:] == ({"brightness"}, {"brightness"})


def test_the_engine_keeps_its_own_copy_of_the_targets(textured: Textured) -> None:
    engine = Engine(film(textured(40, 50)))
    targets = {"brightness": (0.0, 1.0)}
    engine.aim(targets)
    targets["brightness"] = (0.0, 255.0)
    assert told(engine)[0] is False


# --- many at once -------------------------------------------------------------------------------------------------


def test_more_than_a_few_requests_at_once_are_turned_away(textured: Textured) -> None:
    engine = Engine(film(textured(40, 50)))
    for _ in range(2):  # places become free again, also after an error
        with ExitStack() as waiting:
            for _ in range(MOST_WAITING):
                waiting.enter_context(engine.turn())
            with pytest.raises(BusyError), engine.turn():
                pass
        with pytest.raises(ZeroDivisionError), engine.turn():
            _ = 1 / 0


def test_of_those_that_wait_for_the_full_result_the_newest_alone_is_answered(
    monkeypatch: pytest.MonkeyPatch, textured: Textured
) -> None:
    started, go_on = threading.Event(), threading.Event()
    gamma = STEPS["gamma"]

    def slow(image: Image, **values: Value) -> Image:
        started.set()
        assert go_on.wait(20)
        return gamma.function(image, **values)

    monkeypatch.setitem(STEPS, "gamma", replace(gamma, function=slow))
    pixels = textured(40, 50)
    engine = Engine(film(pixels))
    with ThreadPoolExecutor(5) as pool:
        running = pool.submit(engine.full, look({"gamma.on": True}))
        assert started.wait(20)
        waiting = []
        for clip_limit in (2.0, 3.0, 4.0):
            waiting.append(pool.submit(engine.full, look({"clahe.clip_limit": clip_limit})))
            while engine._newest <= len(waiting):
                threading.Event().wait(0.002)
        go_on.set()
        assert running.result().facts["pixels"] == sha256(run(pixels, {"gamma.on": True}))
        assert waiting[-1].result().facts["pixels"] == sha256(run(pixels, {"clahe.clip_limit": 4.0}))
        for older in waiting[:-1]:
            with pytest.raises(SupersededError):
                older.result()
    # A page that was loaded anew counts from one again.
    assert engine.full(Look(sequence=1, settings=check({}))).facts["pixels"] == sha256(run(pixels, {}))


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("kind", KINDS)
def test_many_threads_get_the_answers_of_their_own_settings(kind: str, textured: Textured) -> None:
    pixels = picture(kind, textured)
    engine = Engine(film(pixels))
    walks: list[dict[str, Value]] = [
        {},
        {"gamma.on": True, "gamma.gamma": 0.5},
        {"crop.on": True, "crop.top": 20.0},
        {"resize.on": True, "resize.size": 32, "clahe.on": False},
        {"clahe.clip_limit": 5.0, "grayscale.method": "green"},
    ]
    wanted = [run_pair(pixels, settings) for settings in walks]
    small = reduced(pixels, fitting((97, 80), 48))
    previewed = [expected(small, settings) for settings in walks]
    exact = [expected(pixels, settings) for settings in walks]
    superseded = itertools.count()

    def ask(number: int) -> None:
        settings, pair = walks[number % 5], wanted[number % 5]
        size = [*pair.after.shape[::-1]]
        if number % 7 == 6:
            engine.forget()
        try:
            full = engine.full(look(settings))
        except SupersededError:
            next(superseded)
        else:
            assert full.facts["pixels"] == sha256(pair.after)
            assert full.facts["size"] == size
            assert rows(full) == exact[number % 5]
            assert np.array_equal(pictures(full)["after"], of_a_screen(pair.after))
        part = engine.part(look(settings, region=Region(1, 2, 20, 20)))
        assert np.array_equal(pictures(part)["after"], windowed(Region(1, 2, 20, 20).of(pair.after)))
        preview = engine.preview(look(settings))
        assert (preview.facts["settings"], preview.facts["size"]) == (digest(settings), size)
        assert rows(preview) == (exact if size[0] * size[1] <= 2_000 else previewed)[number % 5]
        value = engine.value(look(settings, region=Region(3, 3, 1, 1)))
        if value["state"] == "full":
            assert (value["before"], value["after"]) == (pair.before[3, 3], pair.after[3, 3])

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(ask, number) for number in range(100)]:
            done.result()
    assert next(superseded) < 100


# --- all engines of a server --------------------------------------------------------------------------------------


def test_an_engine_is_found_by_its_own_token_until_it_is_closed(textured: Textured) -> None:
    engines = Engines()
    films = [film(textured(20, 30, seed=seed)) for seed in range(3)]
    opened = [engines.open(one) for one in films]
    assert [engines.find(engine.token) for engine in opened] == opened
    assert [engine.film for engine in opened] == films
    assert len({engine.token for engine in opened}) == 3
    assert min(len(engine.token) for engine in opened) >= 43  # 256 bits
    token = opened[1].token
    for wrong in ("", " ", token[:-1], token + "a", token.swapcase(), "\udcff", "ü", "a" * 100_000):
        assert engines.find(wrong) is None
    engines.close(opened[1])
    engines.close(opened[1])
    assert engines.find(token) is None
    assert engines.find(opened[0].token) is opened[0]


def test_a_closed_engine_leaves_the_memory(textured: Textured) -> None:
    engines = Engines()
    engine = engines.open(film(textured(40, 50)))
    engine.full(look())
    engine.preview(look())
    gone = weakref.ref(engine)
    engines.close(engine)
    del engine
    gc.collect()
    assert gone() is None


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("kind", KINDS)
def test_an_engine_knows_its_bytes_and_forgets_without_harm(kind: str, textured: Textured) -> None:
    pixels = picture(kind, textured)
    engine = Engine(film(pixels))
    bare = engine.nbytes
    assert pixels.nbytes < bare < pixels.nbytes * 2  # the film, and a small one
    first = engine.full(look(EVERYTHING))
    held = engine.nbytes
    assert held > bare
    engine.preview(look(EVERYTHING | {"clahe.on": False, "resize.on": False}))
    assert engine.nbytes > held
    engine.forget()
    assert engine.nbytes < held
    again = engine.full(look(EVERYTHING))
    assert again.facts["pixels"] == first.facts["pixels"]
    assert again.pictures == first.pictures
    assert rows(again) == rows(first) == expected(pixels, EVERYTHING)


@pytest.mark.usefixtures("small_limits")
def test_results_used_longest_ago_are_let_go_and_come_back_right(textured: Textured) -> None:
    films = [textured(80, 97, seed=seed) for seed in range(5)]
    engines = Engines(most_bytes=0)
    opened = [engines.open(film(pixels)) for pixels in films]
    for engine in opened:
        engine.full(look())
    full = [engine.nbytes for engine in opened]
    engines.most_bytes = sum(full)
    engines.trim()
    assert [engine.nbytes for engine in opened] == full
    assert engines.find(opened[0].token)  # so that the second one is the oldest
    engines.most_bytes = sum(full) - 1
    engines.trim()
    assert [engine.nbytes == bytes_full for engine, bytes_full in zip(opened, full, strict=True)] == [True, False] + [
        True
    ] * 3
    engines.most_bytes = 0
    engines.trim()
    assert [engine.nbytes == bytes_full for engine, bytes_full in zip(opened, full, strict=True)] == [True] + [
        False
    ] * 4
    for engine, pixels in zip(opened, films, strict=True):
        assert engine.full(look()).facts["pixels"] == sha256(run(pixels, {}))


def test_an_engine_at_work_is_let_be(textured: Textured) -> None:
    engine = Engine(film(textured(40, 50)))
    engine.full(look())
    held = engine.nbytes
    with engine._full.lock:
        engine.forget()
        assert engine.nbytes == held
    engine.forget()
    assert engine.nbytes < held


# --- films of all kinds -------------------------------------------------------------------------------------------

ODD: dict[str, Callable[[type], Image]] = {
    "1x1": lambda dtype: np.full((1, 1), 7, dtype),
    "1xN": lambda dtype: np.arange(200, dtype=dtype)[None],
    "Nx1": lambda dtype: np.arange(200, dtype=dtype)[:, None],
    "long": lambda dtype: np.tile(np.arange(250, dtype=dtype), 12)[None].repeat(2, 0),
    "black": lambda dtype: np.zeros((30, 40), dtype),
    "white": lambda dtype: np.full((30, 40), np.iinfo(dtype).max, dtype),
}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("make", ODD.values(), ids=ODD)
@pytest.mark.parametrize("settings", [{}, {"crop.on": True, "crop.left": 45.0, "crop.right": 45.0}, NOTHING])
def test_odd_films_are_answered(
    make: Callable[[type], Image], dtype: type, settings: dict[str, Value], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = read_only(make(dtype))
    pair = run_pair(pixels, settings)
    sides = ("before", "after", "difference")
    for limit in (engine_module._EXACT_PIXELS, 0):
        monkeypatch.setattr(engine_module, "_EXACT_PIXELS", limit)
        engine = Engine(film(pixels))
        asked = partial(look, settings, sides=sides, region=Region(0, 0, 5, 5))
        full = engine.full(asked())
        assert full.facts["pixels"] == sha256(pair.after)
        assert rows(full) == expected(pixels, settings)
        assert np.array_equal(pictures(full)["after"], of_a_screen(pair.after))
        assert set(pictures(engine.preview(asked()))) == set(sides)
        assert np.array_equal(pictures(engine.part(asked()))["after"], windowed(pair.after[:5, :5]))
        value = engine.value(asked())
        assert (value["before"], value["after"]) == (pair.before[0, 0], pair.after[0, 0])
        if pixels.min() == pixels.max():
            assert full.facts["warning"] == "The film is flat: every pixel has the same grey level."


def test_a_film_without_any_step_is_identical(textured: Textured) -> None:
    answer = Engine(film(textured(40, 50))).full(look(NOTHING, sides=("before", "after", "difference")))
    shown = pictures(answer)
    assert rows(answer)["psnr", "after"] == "identical"
    assert np.array_equal(shown["before"], shown["after"])
    assert np.all(shown["difference"] == 128)
