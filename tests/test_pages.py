"""The pages, run without a browser: what they hand the viewer, take in from it, keep and refuse."""

from __future__ import annotations

import gc
import itertools
import json
import re
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from expectations import expected
from streamlit.runtime import caching
from streamlit.testing.v1 import AppTest

import xray_core  # noqa: F401  # before OpenCV
from pages.ui import declared, frame, live, sources, viewer
from pages.ui.engine import Engine, Look
from pages.ui.engines import ENGINES
from pages.ui.state import Session, Source
from xray_core import cli, presets
from xray_core.decode import decode
from xray_core.errors import FileError, XrayError
from xray_core.files import encode, read
from xray_core.image import Film, Image, read_only
from xray_core.metrics import DEFAULT_TARGETS, METRICS, measure, verdict
from xray_core.params import Choice, Range, Value
from xray_core.pipeline import check, defaults, parameters, run_pair
from xray_core.similarity import WINDOW
from xray_core.steps import STEPS, Step

# isort: split
import cv2

ROOT = Path(__file__).parents[1]
TUNE = "pages/1_Tune.py"
PAGES = list(frame.PAGES)
SWITCHABLE = [step for step in STEPS.values() if step.switchable]
PARAMETERS = [(step, name) for step in STEPS.values() for name in step.parameters if name != "on"]
MOVED: dict[str, Value] = {"clahe.clip_limit": 2.4, "sharpen.sharpness": 1.7, "gamma.on": True, "gamma.gamma": 0.8}
HOSTILE = [
    "<img src=x onerror=alert(1)>.png",
    "**bold** _it_ `code` ~~gone~~ $x^2$.png",
    "[click](http://evil.example).png",
    "![](http://evil.example/x.png).png",
    ":red[alarm] :material/home: :smile:.png",
    "# heading\n\n- list\n> quote.png",
    "a|b\\*c&amp;&#60;.png",
    "../../etc/passwd.png",
]


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep each test to itself: no folder is open, and the films that its visitors opened are let go."""
    monkeypatch.delenv(sources.ROOT_VARIABLE, raising=False)
    yield
    sources.folder_files.clear()
    disconnect()


def disconnect() -> None:
    """Do what the server does once a browser is gone for good; all of AppTest's share one connection."""
    caching.clear_session_resource_cache("test session id")


def home() -> AppTest:
    return AppTest.from_file(ROOT / "home.py", default_timeout=30).run()


def tune(query: dict[str, str] | None = None) -> AppTest:
    page = home()
    page.query_params = dict(query or {})
    return page.switch_page(TUNE).run()


def tune_film(film: Film, source: Source | None = None) -> AppTest:
    page = home()
    visitor(page).open(film, source)
    return page.switch_page(TUNE).run()


def tune_pixels(pixels: Image, name: str = "film.png") -> AppTest:
    """Return the Tune page with a film of given pixels, as an upload opens it."""
    data = encode(pixels, ".png") if pixels.ndim == 2 else cv2.imencode(".png", pixels[:, :, ::-1])[1].tobytes()
    return tune_film(decode(data, name))


def visitor(page: AppTest) -> Session:
    return page.session_state["radtune"]


def film_of(page: AppTest) -> Film:
    film = visitor(page).film
    assert film is not None
    return film


def engine_of(page: AppTest) -> Engine:
    engine = visitor(page).engine
    assert engine is not None
    return engine


def with_settings(settings: dict[str, Value], page: AppTest | None = None) -> AppTest:
    page = page or tune()
    visitor(page).replace(check(settings))
    return page.run()


def plain(text: str) -> str:
    """Return what Markdown makes of an escaped text."""
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text)


def errors(page: AppTest) -> list[str]:
    return [plain(error.value) for error in page.error]


def well(page: AppTest) -> AppTest:
    assert not page.exception
    assert errors(page) == []
    return page


def viewer_of(page: AppTest) -> Any:
    (found,) = [one for one in page.get("bidi_component") if one.proto.component_name == "radtune_viewer"]
    return found


def handed(page: AppTest) -> dict[str, Any]:
    """Return what the viewer is given."""
    component = viewer_of(page)
    data: dict[str, Any] = json.loads(component.proto.json, parse_constant=pytest.fail)
    return data


_SEQUENCE = itertools.count(1)


def unheard(data: dict[str, Any]) -> dict[str, Any]:
    """Return what the viewer is given, without the number of its last message."""
    return {name: value for name, value in data.items() if name != "heard"}


def say(page: AppTest, commit: object) -> AppTest:
    """Run the page as when the viewer says something; AppTest knows of no component, so this speaks for it."""
    component = viewer_of(page)
    said = page._tree.get_widget_states()
    said.widgets.add(id=component.proto.id, json_value=json.dumps({"commit": commit}))
    return page._run(said)


def send(page: AppTest, **said: object) -> AppTest:
    """Say something as this visitor's viewer, under the next number."""
    return say(page, {"page": "p", "number": next(_SEQUENCE), "visitor": handed(page)["visitor"]} | said)


def reset(page: AppTest) -> AppTest:
    """Press Reset all: the viewer shows the defaults already."""
    return send(page, revision=handed(page)["revision"], settings=defaults(), reset=True)


def move(page: AppTest, settings: dict[str, Value]) -> AppTest:
    """Let settings come to rest in the viewer, which writes numbers as a browser does: 2, not 2.0."""
    data = handed(page)
    rested = data["settings"] | {
        path: int(value) if isinstance(value, float) and value.is_integer() else value
        for path, value in settings.items()
    }
    return send(page, revision=data["revision"], settings=rested)


def facts(page: AppTest) -> dict[str, Any]:
    """Return what the server answers the viewer for the settings and the token that the page gave it."""
    data = handed(page)
    engine = ENGINES.find(data["token"])
    assert engine is not None
    return engine.full(Look(next(_SEQUENCE), check(data["settings"]), sides=())).facts


def table(page: AppTest) -> dict[tuple[str, str], str]:
    """Return what the table of metrics will show, by metric and side."""
    return {(row["metric"], side): row[side] for row in facts(page)["rows"] for side in ("before", "after")}


def film_choice(page: AppTest) -> Any:
    return page.selectbox(key=visitor(page).key_of("film"))


def png(height: int = 40, width: int = 50, dtype: type = np.uint8, seed: int = 0) -> bytes:
    high = np.iinfo(dtype).max + 1
    return encode(np.random.default_rng(seed).integers(0, high, (height, width), dtype), ".png")


# --- every page ---------------------------------------------------------------------------------------------------


def pages_on_disk() -> set[str]:
    return {"home.py"} | {path.relative_to(ROOT).as_posix() for path in (ROOT / "pages").glob("*.py")}


def test_every_page_has_its_place_in_the_frame() -> None:
    assert set(PAGES) == pages_on_disk()


@pytest.mark.parametrize("path", PAGES)
def test_a_page_opens_and_says_that_it_is_not_for_diagnosis(path: str) -> None:
    page = home()
    if path != "home.py":
        page.switch_page(path).run()
    well(page)
    assert any("Not for diagnosis" in html.value for html in page.html)
    assert [link.label for link in page.sidebar.page_link] == [label for label, _, _ in frame.PAGES.values()]


def test_home_says_what_each_page_does() -> None:
    words = " ".join(link.proto.label for link in home().get("page_link"))
    for path, (label, _, purpose) in frame.PAGES.items():
        if path == "home.py":
            continue
        assert label in words
        assert purpose in words


def test_home_offers_every_sample() -> None:
    page = well(home())
    keys = [button.key or "" for button in page.button]
    offered = [key.removeprefix("sample ") for key in keys if key.startswith("sample ")]
    assert sorted(offered) == sorted(sources.sample_names())
    assert set(offered) == set(sources.CAPTIONS)
    assert len(page.image) == len(offered)


@pytest.mark.parametrize("name", sources.CAPTIONS)
def test_a_sample_opens_from_home_with_its_numbers(name: str) -> None:
    page = home()
    page.button(key=f"sample {name}").click().run()
    well(page)
    film = read(sources.SAMPLES / name)
    assert film_of(page).sha256 == film.sha256
    assert film_choice(page).value == name
    assert table(page) == expected(film.pixels, defaults())


def test_what_goes_wrong_in_a_page_is_told_without_its_words(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*, colour: bool) -> list[object]:
        raise RuntimeError(f"Jane Doe, born 1970, {colour=}")

    page = tune()
    with monkeypatch.context() as broken:
        broken.setattr(declared, "steps", fail)
        with_settings(MOVED, page)
    assert not page.exception
    assert [error.split(".")[0] for error in errors(page)] == ["Something went wrong on our side"]
    said = " ".join(record.getMessage() for record in caplog.records if record.name == "radtune")
    assert "RuntimeError" in said
    assert "Jane" not in said
    well(page.run())
    assert visitor(page).settings == defaults() | MOVED


def test_a_film_that_cannot_be_opened_any_more_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> None:
        raise FileError("READ", "the file or folder does not exist")

    page = tune()
    with monkeypatch.context() as broken:
        broken.setattr(sources, "sample", gone)
        film_choice(page).set_value("dark.png").run()
    assert not page.exception
    assert errors(page) == ["the file or folder does not exist"]
    assert film_choice(page).value == "chest.png"
    assert table(page) == expected(read(sources.SAMPLES / "chest.png").pixels, {})


# --- the viewer is given the declarations -------------------------------------------------------------------------


def colour_page(textured: Any) -> AppTest:
    return well(tune_pixels(textured(60, 70, colour=True)))


def drawn(page: AppTest) -> dict[str, dict[str, Any]]:
    return {step["name"]: step for step in handed(page)["steps"]}


def test_every_step_is_drawn_as_declared_in_running_order(textured: Any) -> None:
    steps = drawn(colour_page(textured))
    assert list(steps) == list(STEPS)
    for name, step in STEPS.items():
        shown = steps[name]
        assert (shown["label"], shown["help"]) == (step.label, step.help)
        assert shown["switch"] == (step.path("on") if step.switchable else "")
        assert shown["on"] is step.parameters["on"].default
        assert [parameter["path"] for parameter in shown["parameters"]] == [
            step.path(name) for name in step.parameters if name != "on"
        ]


@pytest.mark.parametrize("step", SWITCHABLE, ids=lambda step: step.name)
def test_a_switch_sets_its_step(step: Step, textured: Any) -> None:
    page = colour_page(textured)
    for on in (not step.parameters["on"].default, step.parameters["on"].default):
        well(move(page, {step.path("on"): on}))
        assert visitor(page).settings == defaults() | {step.path("on"): on}
        assert table(page) == expected(film_of(page).pixels, {step.path("on"): on})


@pytest.mark.parametrize(("step", "name"), PARAMETERS, ids=[step.path(name) for step, name in PARAMETERS])
def test_a_parameter_is_drawn_as_declared(step: Step, name: str) -> None:
    parameter, path = step.parameters[name], step.path(name)
    steps: list[dict[str, Any]] = declared.steps(colour=True)
    (drawn_step,) = [found for found in steps if found["name"] == step.name]
    (shown,) = [found for found in drawn_step["parameters"] if found["path"] == path]
    wanted: dict[str, object] = {"path": path, "label": parameter.label, "help": parameter.help}
    wanted["default"] = parameter.default
    if parameter.needs:
        wanted["needs"] = [step.path(parameter.needs[0]), parameter.needs[1]]
    if isinstance(parameter, Choice):
        wanted["options"] = parameter.options
        assert list(shown["options"]) == list(parameter.options)
    else:
        assert isinstance(parameter, Range)
        wanted |= {"low": parameter.low, "high": parameter.high, "step": parameter.step, "whole": parameter.whole}
        wanted |= {"good": list(parameter.good) if parameter.good else None, "good_text": parameter.good_text()}
        wanted |= {"unit": parameter.unit, "decimals": shown["decimals"]}
        # As many decimals as every stop needs, and no more.
        assert round(parameter.step, shown["decimals"]) == parameter.step
        assert shown["decimals"] == 0 or round(parameter.step, shown["decimals"] - 1) != parameter.step
    assert shown == wanted


@pytest.mark.parametrize(("step", "name"), PARAMETERS, ids=[step.path(name) for step, name in PARAMETERS])
def test_a_parameter_sets_its_setting(step: Step, name: str, textured: Any) -> None:
    parameter, path = step.parameters[name], step.path(name)
    needed = {step.path(parameter.needs[0]): parameter.needs[1]} if parameter.needs else {}
    page = with_settings({step.path("on"): True, **needed}, colour_page(textured))
    before = visitor(page).settings
    for value in (*parameter.ends(), parameter.default):
        well(move(page, {path: value}))
        now = visitor(page).settings
        assert now == handed(page)["settings"] == before | {path: value}
        assert type(now[path]) is type(parameter.default)
        if value != 4096:  # a square of this size takes a while
            assert table(page) == expected(film_of(page).pixels, now)


def test_the_way_to_gray_is_a_choice_for_colour_films_alone(textured: Any) -> None:
    assert list(drawn(tune_pixels(textured(60, 70)))) == [name for name in STEPS if name != "grayscale"]
    page = colour_page(textured)
    seen = set()
    for method in parameters()["grayscale.method"].ends():
        well(move(page, {"grayscale.method": method}))
        assert table(page) == expected(film_of(page).pixels, {"grayscale.method": method})
        seen.add(facts(page)["pixels"])
    assert len(seen) == len(parameters()["grayscale.method"].ends())


def test_every_metric_is_drawn_with_its_band() -> None:
    for targets in (DEFAULT_TARGETS, {"entropy": (1.0, 2.0)}, {}):
        bands = {name: METRICS[name].band(band) for name, band in targets.items()}
        assert declared.metrics(targets) == [
            {"name": name, "label": metric.label, "help": metric.help, "band": bands.get(name, "")}
            for name, metric in METRICS.items()
        ]
    assert handed(tune())["metrics"] == declared.metrics(DEFAULT_TARGETS)


def test_the_viewer_is_told_of_the_film_what_it_draws_and_no_name(textured: Any) -> None:
    pixels = textured(60, 70, np.uint16)
    sha256 = decode(encode(pixels, ".png"), "").sha256
    film = Film(pixels, "Jane Doe 1970.png", 12, sha256, "PNG", "MONOCHROME1", (0.2, 0.15))
    page = well(tune_film(film, Source("upload", "Jane Doe 1970.png")))
    data = handed(page)
    identity = data["film"].pop("id")
    assert len(identity) == 16
    assert data["film"] == {
        "label": "",
        "source": ["upload", "", 1, "lut", 1],
        "unasked": False,
        "width": 70,
        "height": 60,
        "bits": 16,
        "white": 65535,
        "spacing": [0.2, 0.15],
    }
    assert "Jane" not in json.dumps(data)
    assert sha256 not in json.dumps(data)
    assert handed(tune_pixels(textured(60, 70)))["film"]["spacing"] is None
    own = handed(tune())["film"]
    assert (own["label"], own["source"]) == (sources.CAPTIONS["chest.png"], ["sample", "chest.png", 1, "lut", 1])
    assert own["unasked"] is True
    assert handed(film_choice(tune()).set_value("dark.png").run())["film"]["unasked"] is False


def test_the_viewer_is_told_where_to_ask() -> None:
    page = tune()
    data = handed(page)
    assert data["script"] == f"/radtune/viewer/{live.version()}/main.js"
    assert (data["live"], data["header"]) == ("/radtune/live/", live.TOKEN_HEADER)
    assert data["token"] == engine_of(page).token
    assert data["visitor"] == visitor(page).key != visitor(tune()).key
    assert (data["settings"], data["defaults"], data["revision"]) == (defaults(), defaults(), 0)


# --- moving, keeping, resetting -----------------------------------------------------------------------------------


def test_settings_that_come_to_rest_are_taken_over_with_their_numbers() -> None:
    page = tune()
    numbers = table(page)
    well(move(page, {"clahe.clip_limit": 4.0}))
    assert visitor(page).settings == handed(page)["settings"] == defaults() | {"clahe.clip_limit": 4.0}
    assert table(page) == expected(read(sources.SAMPLES / "chest.png").pixels, {"clahe.clip_limit": 4.0}) != numbers


def test_a_rerun_takes_nothing_over_again() -> None:
    page = move(tune(), MOVED)
    visitor(page).replace(defaults())
    well(page.run())
    well(page.run())
    assert visitor(page).settings == handed(page)["settings"] == defaults()


def test_the_numbers_are_those_of_the_core_with_its_verdict_and_targets() -> None:
    page = with_settings(MOVED)
    pixels = read(sources.SAMPLES / "chest.png").pixels
    pair = run_pair(pixels, MOVED)
    judged = verdict(measure(pair.before, pair.after), DEFAULT_TARGETS)
    answered = facts(page)
    assert table(page) == expected(pixels, MOVED)
    assert answered["verdict"] == {"good": judged.good, "sentence": judged.sentence}
    assert [row["metric"] for row in answered["rows"] if row["judged"]] == [m for m in METRICS if m in DEFAULT_TARGETS]


def test_a_value_between_two_stops_survives_on_the_page() -> None:
    page = well(with_settings({"clahe.clip_limit": 1.537}))
    assert handed(page)["settings"]["clahe.clip_limit"] == 1.537
    move(page, {"clahe.tiles": 4})
    assert visitor(page).settings == defaults() | {"clahe.clip_limit": 1.537, "clahe.tiles": 4}


def test_values_survive_a_change_of_page_and_back() -> None:
    page = move(tune(), MOVED)
    page.text_input(key="preset name").set_value("night shift").run()
    numbers, token = table(page), handed(page)["token"]
    well(page.switch_page("home.py").run())
    well(page.switch_page(TUNE).run())
    assert visitor(page).settings == handed(page)["settings"] == defaults() | MOVED
    assert handed(page)["token"] == token
    assert page.text_input(key="preset name").value == "night shift"
    assert table(page) == numbers


def test_values_survive_a_switch_off_and_on() -> None:
    page = with_settings(MOVED)
    for on in (False, True):
        well(move(page, {"clahe.on": on}))
    assert visitor(page).settings == defaults() | MOVED


def test_all_is_reset_with_the_targets_and_the_preset() -> None:
    page = upload_preset(tune(), preset_bytes(targets={"entropy": [1.0, 2.0]}))
    assert handed(page)["pristine"] is False
    revision = handed(page)["revision"]
    well(reset(page))
    data = handed(page)
    assert visitor(page).settings == data["settings"] == defaults()
    assert data["revision"] == revision  # the viewer shows them already
    assert data["metrics"] == declared.metrics(DEFAULT_TARGETS)
    assert data["pristine"] is True
    assert table(page) == expected(read(sources.SAMPLES / "chest.png").pixels, {})
    assert {row["metric"] for row in facts(page)["rows"] if row["judged"]} == set(DEFAULT_TARGETS)


def test_another_film_keeps_the_settings() -> None:
    page = with_settings(MOVED)
    for name in sources.sample_names()[1:]:
        well(film_choice(page).set_value(name).run())
        assert visitor(page).settings == handed(page)["settings"] == defaults() | MOVED
        assert table(page) == expected(read(sources.SAMPLES / name).pixels, MOVED)


def test_nothing_can_be_downloaded_before_the_viewer_has_said_what_it_shows() -> None:
    page = tune()
    assert [button.proto.disabled for button in page.get("download_button")] == [True, True]
    well(move(page, {}))
    assert [button.proto.disabled for button in page.get("download_button")] == [False, False]


def test_a_reset_that_was_said_with_a_later_move_keeps_the_move() -> None:
    page = well(upload_preset(tune(), preset_bytes()))
    moved = defaults() | {"clahe.clip_limit": 4.5}
    well(send(page, revision=handed(page)["revision"], settings=moved, reset=True))
    assert visitor(page).settings == moved
    assert visitor(page).preset is None


def test_what_is_downloaded_is_the_result_of_the_core() -> None:
    page = move(tune(), MOVED)
    pair = run_pair(read(sources.SAMPLES / "chest.png").pixels, MOVED)
    found = visitor(page).run_pair()
    assert np.array_equal(found.before, pair.before)
    assert np.array_equal(found.after, pair.after)


# --- what the server replaces, the viewer takes over, and only that -----------------------------------------------


def test_the_revision_rises_with_what_is_replaced_and_not_with_what_is_taken() -> None:
    one = Session()
    settings = check(MOVED)
    changes: list[Callable[[], None]] = [
        lambda: one.replace(settings),
        lambda: one.use(presets.builtin("published")),
    ]
    for revision, change in enumerate(changes, 1):
        change()
        assert one.revision == revision
        one.take(settings)
        assert (one.revision, one.settings) == (revision, settings)
        one.reset()
        assert (one.revision, one.settings, one.preset) == (revision, defaults(), None)


def test_the_viewer_keeps_its_settings_unless_they_are_replaced() -> None:
    page = tune()
    seen = [handed(page)["revision"]]
    for clip_limit in (2.0, 5.0):
        move(page, {"clahe.clip_limit": clip_limit})
        assert handed(page)["revision"] == seen[0]
    film_choice(page).set_value("dark.png").run()
    assert handed(page)["revision"] == seen[0]
    page.selectbox(key="builtin").set_value("published").run()
    seen.append(handed(page)["revision"])
    reset(page)
    assert handed(page)["revision"] == seen[-1]
    page.query_params = linked(MOVED)
    page.run()
    seen.append(handed(page)["revision"])
    assert seen == sorted(set(seen))


def test_settings_of_an_older_page_are_passed_over() -> None:
    page = tune()
    old = handed(page)["revision"]
    page.selectbox(key="builtin").set_value("published").run()
    well(send(page, revision=old, settings=MOVED))
    assert visitor(page).settings == handed(page)["settings"] == presets.builtin("published").settings
    well(move(page, MOVED))
    assert visitor(page).settings == presets.builtin("published").settings | MOVED


NOTHING_SAID: dict[str, object] = {
    "text": "clahe",
    "list": [1, 2],
    "number": 7,
    "truth": True,
    "empty": {},
    "no revision": {"settings": MOVED},
    "text as revision": {"revision": "0", "settings": MOVED},
    "later revision": {"revision": 99, "settings": MOVED},
    "no number as revision": {"revision": float("nan"), "settings": MOVED},
}
OWN: dict[str, object] = {"revision": 0, "settings": defaults() | MOVED}
NOTHING_SAID |= {
    "no page": OWN | {"page": None},
    "long page": OWN | {"page": "p" * 65},
    "no number": OWN | {"number": None},
    "truth as number": OWN | {"number": True},
    "broken number": OWN | {"number": 1.5},
    "no visitor": OWN | {"visitor": None},
    "another visitor": OWN | {"visitor": "0" * 16},
    "reset of another visitor": {"visitor": "0" * 16, "reset": True},
}
REFUSED: dict[str, tuple[object, str]] = {
    "no settings": (None, "'' is no setting"),
    "list": ([1], "'' is no setting"),
    "unknown": ({"clahe.clip": 2.0}, "did you mean clahe.clip_limit ([1, 8])?"),
    "hostile": ({"<img src=x onerror=alert(1)>": 1}, "'<img src=x onerror=alert(1)>' is no setting"),
    "out of range": ({"clahe.clip_limit": 30}, "clahe.clip_limit lies in [1, 8], got 30"),
    "no number": ({"clahe.clip_limit": float("nan")}, "clahe.clip_limit takes a number in [1, 8]"),
    "endless": ({"clahe.clip_limit": float("inf")}, "clahe.clip_limit takes a number in [1, 8]"),
    "huge": ({"clahe.tiles": 10**400}, "clahe.tiles takes a whole number in [1, 32]"),
    "text": ({"clahe.tiles": "8"}, "clahe.tiles takes a whole number in [1, 32]"),
    "truth": ({"clahe.tiles": True}, "clahe.tiles takes a whole number in [1, 32]"),
    "nested": ({"clahe": {"tiles": 8}}, "'clahe' is no setting"),
    "fixed switch": ({"grayscale.on": False}, "grayscale.on is always true"),
    "one bad of many": (MOVED | {"sharpen.gain": "loud"}, "sharpen.gain is one of unit, published"),
}


@pytest.mark.parametrize("commit", NOTHING_SAID.values(), ids=NOTHING_SAID)
def test_what_is_no_commit_of_this_page_changes_nothing(commit: object) -> None:
    page = with_settings({"clahe.clip_limit": 3.0})
    before = handed(page)
    if isinstance(commit, dict):
        commit = {"page": "p", "number": next(_SEQUENCE), "visitor": before["visitor"]} | commit
    well(say(page, commit))
    assert visitor(page).settings == defaults() | {"clahe.clip_limit": 3.0}
    assert unheard(handed(page)) == unheard(before)


@pytest.mark.parametrize(("settings", "words"), REFUSED.values(), ids=REFUSED)
def test_settings_that_break_their_declarations_are_refused_in_words(settings: object, words: str) -> None:
    page = with_settings({"clahe.clip_limit": 3.0})
    before = handed(page)
    send(page, revision=before["revision"], settings=settings)
    assert not page.exception
    (message,) = errors(page)
    assert words in message
    assert visitor(page).settings == defaults() | {"clahe.clip_limit": 3.0}
    # The viewer shows again what holds here.
    assert unheard(handed(page)) == unheard(before) | {"revision": before["revision"] + 1}
    well(page.run())
    well(move(page, MOVED))
    assert visitor(page).settings == defaults() | MOVED


def test_each_message_is_answered_by_its_number_and_obeyed_once() -> None:
    page = tune()
    assert handed(page)["heard"] == ["", 0]
    mine = {"page": "one", "visitor": handed(page)["visitor"], "revision": 0}
    say(page, mine | {"number": 1, "settings": defaults() | MOVED})
    assert (handed(page)["heard"], visitor(page).settings) == (["one", 1], defaults() | MOVED)
    # Again, as the browser sends it with every run; and under the next number, with nothing new.
    page.selectbox(key="builtin").set_value("published").run()
    for number in (1, 2):
        say(page, mine | {"number": number, "settings": defaults() | MOVED})
        assert (handed(page)["heard"], visitor(page).settings) == (
            ["one", number],
            presets.builtin("published").settings,
        )
    say(page, mine | {"number": 3, "settings": {"no": 1}})
    assert handed(page)["heard"] == ["one", 3]
    # Another page of the same session, as after a reload of its scripts, counts from the start.
    say(page, mine | {"page": "two", "number": 1, "revision": 1, "settings": defaults() | MOVED})
    assert (handed(page)["heard"], visitor(page).settings) == (["two", 1], defaults() | MOVED)


def test_what_a_new_session_can_not_know_the_viewer_brings_back(folder: Path) -> None:
    for source, chosen in (
        (["sample", "dark.png", 1, "lut", 1], "dark.png"),
        (["folder", "ward/b.png", 1, "lut", 1], "ward/b.png"),
    ):
        page = tune()
        well(send(page, revision=0, settings=defaults() | MOVED, film=source))
        assert handed(page)["film"]["source"] == source
        assert film_choice(page).value == chosen
        assert visitor(page).settings == handed(page)["settings"] == defaults() | MOVED


def test_a_new_session_opens_nothing_for_what_the_browser_still_says_of_an_older_one() -> None:
    before = film_choice(tune()).set_value("noisy.png").run()._tree.get_widget_states()
    page = well(tune({"film": "dark.png"})._run(before))
    assert (film_of(page).name, film_choice(page).value) == ("dark.png", "dark.png")


def test_a_film_that_came_back_stays_whatever_the_browser_still_says_of_the_selector() -> None:
    page = film_choice(tune()).set_value("chest_16bit.png").run()
    before = page._tree.get_widget_states()
    well(send(page, revision=0, settings=defaults() | MOVED, film=["sample", "dark.png", 1, "lut", 1]))
    # Said before the browser had drawn what the selector was set to.
    well(page._run(before))
    assert (film_of(page).name, film_choice(page).value) == ("dark.png", "dark.png")
    well(film_choice(page).set_value("noisy.png").run())
    assert film_of(page).name == "noisy.png"


@pytest.mark.parametrize(
    "source",
    [
        ["folder", "../secret.png", 1, "lut", 1],
        ["sample", "../chest.png", 1, "lut", 1],
        ["sample", "/etc/passwd", 1, "lut", 1],
        ["folder", "gone.png", 1, "lut", 1],
        ["folder", "a.png", 2, "lut", 1],
        ["folder", "a.png", -1, "lut", 1],
        ["folder", "a.png", 1, "LUT", 1],
        ["folder", "a.png", 1, ["x"], 1],
        ["folder", "a.png", 1, "lut", "1"],
    ],
)
def test_a_film_that_can_not_come_back_is_refused_in_words(source: list[str], folder: Path) -> None:
    page = tune()
    send(page, revision=0, settings=defaults() | MOVED, film=source)
    assert not page.exception
    assert len(errors(page)) == 1
    assert film_of(page).name == "chest.png"
    assert visitor(page).settings == defaults() | MOVED


@pytest.mark.parametrize(
    "source",
    [
        ["upload", "x.png", 1, "lut", 1],
        ["sample"],
        ["sample", "dark.png"],
        "chest.png",
        [1, 2],
        {"sample": "dark.png"},
        None,
    ],
)
def test_what_names_no_film_opens_none(source: object) -> None:
    page = tune()
    token = handed(page)["token"]
    well(send(page, revision=0, settings=defaults(), film=source))
    assert handed(page)["token"] == token


# --- films come and go --------------------------------------------------------------------------------------------


def test_the_token_changes_with_the_film_and_the_old_one_is_dead() -> None:
    page = tune()
    tokens = [handed(page)["token"]]
    for name in ("dark.png", "noisy.png", "chest.png"):
        film_choice(page).set_value(name).run()
        tokens.append(handed(page)["token"])
    assert len(set(tokens)) == len(tokens)
    assert [ENGINES.find(token) for token in tokens[:-1]] == [None] * 3
    assert ENGINES.find(tokens[-1]) is visitor(page).engine
    move(page, MOVED)
    with_settings({}, page)
    assert handed(page)["token"] == tokens[-1]


def test_two_visitors_hold_films_of_their_own() -> None:
    one, other = tune(), tune()
    assert handed(one)["token"] != handed(other)["token"]
    film_choice(other).set_value("dark.png").run()
    move(other, MOVED)
    assert visitor(one).settings == defaults()
    assert table(one) == expected(read(sources.SAMPLES / "chest.png").pixels, {})
    assert table(other) == expected(read(sources.SAMPLES / "dark.png").pixels, MOVED)


def watched(page: AppTest) -> tuple[weakref.ref[Engine], str]:
    """Return the engine of a page that has worked, and its token."""
    facts(page)
    engine = engine_of(page)
    return weakref.ref(engine), engine.token


def assert_gone(engine: weakref.ref[Engine], token: str) -> None:
    assert ENGINES.find(token) is None
    gc.collect()
    assert engine() is None


def assert_back(page: AppTest, sha256: str, token: str) -> None:
    """Assert that the page shows the film again, by another engine, with the settings kept."""
    well(page.run())
    assert film_of(page).sha256 == sha256
    assert handed(page)["token"] != token
    assert handed(page)["settings"] == defaults() | MOVED
    assert table(page) == expected(film_of(page).pixels, MOVED)


@pytest.fixture(params=["sample", "upload", "folder"])
def opened(request: pytest.FixtureRequest) -> AppTest:
    """The Tune page with moved settings and a film of each source."""
    if request.param == "sample":
        page = film_choice(tune()).set_value("dark.png").run()
    elif request.param == "upload":
        page = open_upload(upload(("chest.png", png(seed=4))))
    else:
        request.getfixturevalue("folder")
        page = open_folder_film(home(), "ward/b.png")
    source = visitor(page).source
    assert source is not None
    assert source.kind == request.param
    return move(page, MOVED)


def test_a_film_leaves_the_memory_with_its_browser_and_comes_back_with_it(opened: AppTest) -> None:
    sha256, (engine, token) = film_of(opened).sha256, watched(opened)
    chosen = film_choice(opened).value
    disconnect()
    assert (visitor(opened).film, visitor(opened).engine) == (None, None)
    assert_gone(engine, token)
    assert_back(opened, sha256, token)
    assert film_choice(opened).value == chosen
    token = handed(opened)["token"]
    disconnect()
    assert_back(opened, sha256, token)


def test_a_film_that_the_server_lost_is_opened_again(opened: AppTest) -> None:
    sha256, token = film_of(opened).sha256, handed(opened)["token"]
    ENGINES.close(engine_of(opened))
    well(send(opened, lost=token))
    assert_back(opened, sha256, token)


@pytest.mark.parametrize("said", ["", "of another film", None, 7, ["token"], {}])
def test_only_the_loss_of_the_film_that_is_open_closes_it(said: object) -> None:
    page = tune()
    token = handed(page)["token"]
    well(send(page, lost=said))
    assert handed(page)["token"] == token
    assert ENGINES.find(token) is visitor(page).engine


def test_another_film_lets_the_first_one_go() -> None:
    page = tune()
    engine, token = watched(page)
    film_choice(page).set_value("dark.png").run()
    assert_gone(engine, token)


def test_a_film_of_the_folder_that_was_closed_meanwhile_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = open_folder_film(home(), "ward/b.png")
    monkeypatch.delenv(sources.ROOT_VARIABLE)
    disconnect()
    page.run()
    assert not page.exception
    assert len(errors(page)) == 1
    assert visitor(page).film is None
    well(film_choice(page).set_value("dark.png").run())
    assert table(page) == expected(read(sources.SAMPLES / "dark.png").pixels, {})


def test_a_film_of_the_folder_named_like_a_sample_comes_back_under_its_own_name(folder: Path) -> None:
    (folder / "chest.png").write_bytes(png(seed=5))
    sources.folder_files.clear()
    page = well(open_folder_film(home(), "chest.png"))
    sha256, token = film_of(page).sha256, handed(page)["token"]
    disconnect()
    well(page.run())
    assert film_of(page).sha256 == sha256
    assert handed(page)["token"] != token
    assert film_choice(page).value == "chest.png (folder)"


def test_without_a_film_there_is_nothing_to_compute() -> None:
    one = Session()
    with pytest.raises(RuntimeError, match="no film is open"):
        one.run_pair()
    with pytest.raises(RuntimeError, match="no film is open"):
        viewer.draw(one)
    assert not sources.open_again(one)
    one.close()
    assert one.film is None


# --- films of all kinds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (9, 1), (WINDOW - 1, 40), (WINDOW, WINDOW), (3, 2000)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_small_and_odd_films_open(height: int, width: int, dtype: type, textured: Any) -> None:
    pixels = textured(height, width, dtype)
    page = well(tune_pixels(pixels))
    assert table(page) == expected(pixels, {})
    assert (table(page)["ssim", "after"] == "n/a") is (min(height, width) < WINDOW)
    film = handed(page)["film"]
    assert (film["width"], film["height"], film["bits"]) == (width, height, np.dtype(dtype).itemsize * 8)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_flat_film_opens(level: int) -> None:
    pixels = read_only(np.full((30, 40), level, np.uint8))
    page = well(tune_pixels(pixels))
    assert table(page) == expected(pixels, {})
    assert "flat" in facts(page)["warning"]


# --- presets ------------------------------------------------------------------------------------------------------


def upload_preset(page: AppTest, content: bytes, name: str = "mine.preset.json") -> AppTest:
    return page.file_uploader(key="preset file").set_value((name, content, "application/json")).run()


def preset_bytes(**document: Any) -> bytes:
    whole = json.loads(presets.create(MOVED, name="gentle", note="for bedside films").dumps())
    return json.dumps(whole | document).encode()


@pytest.mark.parametrize("name", presets.builtin_names())
def test_a_built_in_preset_is_applied(name: str) -> None:
    page = well(tune())
    well(page.selectbox(key="builtin").set_value(name).run())
    preset = presets.builtin(name)
    assert visitor(page).settings == preset.settings
    assert visitor(page).targets == preset.targets
    assert handed(page)["metrics"] == declared.metrics(preset.targets)
    assert table(page) == expected(read(sources.SAMPLES / "chest.png").pixels, preset.settings)
    assert [plain(success.value) for success in page.success] == [f"{name} is in use."]
    page.run()
    assert not page.success


def test_a_built_in_preset_can_be_taken_again_after_moves() -> None:
    page = tune()
    for _ in range(2):
        well(page.selectbox(key="builtin").set_value("published").run())
        assert visitor(page).settings == presets.builtin("published").settings
        move(page, {"clahe.clip_limit": 6.0})
        assert visitor(page).settings != presets.builtin("published").settings


def test_an_uploaded_preset_is_applied_with_its_targets_name_and_note() -> None:
    page = well(upload_preset(tune(), preset_bytes(targets={"entropy": [1.0, 2.0]})))
    assert visitor(page).settings == defaults() | MOVED
    assert visitor(page).targets == {"entropy": (1.0, 2.0)}
    assert handed(page)["metrics"] == declared.metrics({"entropy": (1.0, 2.0)})
    assert [row["metric"] for row in facts(page)["rows"] if row["judged"]] == ["entropy"]
    assert facts(page)["verdict"]["sentence"].startswith("Off target: Entropy")
    assert page.text_input(key="preset name").value == "gentle"
    assert page.text_input(key="preset note").value == "for bedside films"
    assert table(page) == expected(read(sources.SAMPLES / "chest.png").pixels, MOVED)
    assert [plain(success.value) for success in page.success] == ["mine.preset.json is in use."]


def test_moves_after_an_upload_stay() -> None:
    page = upload_preset(tune(), preset_bytes())
    move(page, {"clahe.clip_limit": 7.0})
    page.run()
    assert visitor(page).settings["clahe.clip_limit"] == 7.0
    page.file_uploader(key="preset file").clear().run()
    assert visitor(page).settings["clahe.clip_limit"] == 7.0


BROKEN = {
    "empty": b"",
    "no JSON": b"{'format': 1}",
    "cut short": preset_bytes()[:200],
    "no text": b"\xff\xfe\x00\x81",
    "no object": b"[]",
    "no preset": b"{}",
    "doubled key": b'{"format": "radtune-preset", "format": "radtune-preset"}',
    "no number": b'{"format": "radtune-preset", "schema_version": NaN}',
    "deep": b"[" * 100_000,
    "unknown key": preset_bytes(colour="red"),
    "unknown setting": preset_bytes(settings={"clahe.clip": 2.0}),
    "out of range": preset_bytes(settings={"clahe.clip_limit": 30}),
    "wrong type": preset_bytes(settings={"clahe.tiles": 4.5}),
    "wrong option": preset_bytes(settings={"normalize.method": "<b>*max*</b>"}),
    "newer schema": preset_bytes(schema_version=presets.SCHEMA_VERSION + 1),
    "bad target": preset_bytes(targets={"ssim": [0.9, 0.1]}),
    "hostile key": preset_bytes(**{"<img src=x onerror=alert(1)> [a](http://b) :red[c]": 1}),
    "long": b'{"format": "radtune-preset", "note": "' + b"x" * 999_990 + b'"}',
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_refused_preset_is_told_in_the_words_of_the_core_and_the_command_line(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = with_settings(MOVED)
    with pytest.raises(XrayError) as refusal:
        presets.loads(content)
    upload_preset(page, content)
    assert not page.exception
    assert errors(page) == [f"mine.preset.json: {refusal.value}"]
    assert not page.success
    assert visitor(page).settings == defaults() | MOVED
    assert table(page) == expected(read(sources.SAMPLES / "chest.png").pixels, MOVED)
    well(page.run())

    path = tmp_path / "mine.preset.json"
    path.write_bytes(content)
    assert cli.main(["preset", "check", str(path)]) == cli.REFUSED
    said = capsys.readouterr().err.strip().splitlines()[-1]  # Streamlit's logger may speak first
    if len(content) <= 1_000_000:  # the command line tells a file that is too large by its size alone
        assert said == f"radtune: {path}: {refusal.value}"


def test_the_longest_name_and_note_that_a_preset_may_have_are_kept() -> None:
    page = tune()
    name, note = "n" * 200, "first line\n" + "x" * 9_989
    well(upload_preset(page, preset_bytes(name=name, note=note)))
    well(move(page, {"clahe.clip_limit": 3.0}))
    assert (visitor(page).name, visitor(page).note) == (presets.changed_name(name), note)


def test_a_preset_that_was_changed_no_longer_goes_by_its_name_alone() -> None:
    page = tune()
    well(page.selectbox(key="builtin").set_value("published").run())
    assert visitor(page).name == "published"
    well(move(page, {"clahe.clip_limit": 2.0}))
    assert visitor(page).name == "published changed"
    well(reset(page))
    assert (visitor(page).name, visitor(page).note, visitor(page).settings) == ("", "", defaults())


@pytest.mark.parametrize("field", ["name", "note"])
def test_every_edit_of_name_and_note_is_kept(field: str) -> None:
    page = tune()
    for text in ("first", "second", "third", ""):
        well(page.text_input(key=f"preset {field}").set_value(text).run())
        assert getattr(visitor(page), field) == text
        assert page.text_input(key=f"preset {field}").value == text


def test_the_command_to_apply_a_preset_names_the_file_that_is_downloaded() -> None:
    page = tune()
    page.text_input(key="preset name").set_value("Bedside; rm -rf / $(x)").run()
    safe = presets.file_name("Bedside; rm -rf / $(x)")
    assert page.code[0].value == f"python -m xray_core batch FOLDER RESULTS --preset {safe}"
    assert re.fullmatch(r"[\w.-]+", safe)


@pytest.mark.parametrize(("side", "warned"), [(40, True), (60, True), (100, False), (140, False), (170, True)])
def test_a_preset_tuned_on_another_size_is_warned_of(side: int, warned: bool, textured: Any) -> None:
    page = tune_pixels(textured(side, side))
    upload_preset(page, preset_bytes(tuned_on={"size": [100, 80], "images": []}))
    assert bool(page.warning) is warned
    if warned:
        assert "100 x 80 px" in page.warning[0].value
        assert f"{side} x {side} px" in page.warning[0].value
    move(page, {"resize.on": True})
    assert not page.warning


# --- links --------------------------------------------------------------------------------------------------------


def linked(settings: object, film: str | None = "dark.png") -> dict[str, str]:
    text = settings if isinstance(settings, str) else json.dumps(settings)
    return ({"film": film} if film else {}) | {"settings": text}


def shared(page: AppTest) -> dict[str, str]:
    from urllib.parse import parse_qsl, urlsplit

    return dict(parse_qsl(urlsplit(page.code[1].value).query))


def test_a_link_opens_its_film_with_its_settings() -> None:
    page = well(tune(linked(MOVED)))
    assert film_choice(page).value == "dark.png"
    assert visitor(page).settings == defaults() | MOVED
    assert table(page) == expected(read(sources.SAMPLES / "dark.png").pixels, MOVED)


def test_the_shared_link_goes_round() -> None:
    page = with_settings(MOVED)
    film_choice(page).set_value("noisy.png").run()
    query = shared(page)
    assert json.loads(query["settings"]) == MOVED
    again = well(tune(query))
    assert table(again) == table(page)
    assert shared(again) == query


def test_the_shared_link_begins_with_the_address_of_the_page() -> None:
    page = tune()
    page.context = {"url": "http://127.0.0.1:8501/Tune/?film=dark.png"}
    page.run()
    assert page.code[1].value.startswith("http://127.0.0.1:8501/Tune?film=chest.png&settings=")


@pytest.mark.parametrize("step", SWITCHABLE, ids=lambda step: step.name)
def test_every_setting_goes_through_a_link(step: Step) -> None:
    settings = {step.path(name): parameter.ends()[-1] for name, parameter in step.parameters.items()}
    page = well(tune(shared(with_settings(settings))))
    assert visitor(page).settings == defaults() | settings


def test_the_link_of_an_upload_carries_no_film(textured: Any) -> None:
    assert set(shared(tune_pixels(textured(40, 50), "Jane Doe.png"))) == {"settings"}


def test_a_link_with_settings_alone_or_a_film_alone_changes_that_alone() -> None:
    page = well(tune(linked(MOVED, film=None)))
    assert film_choice(page).value == "chest.png"
    page.query_params = {"film": "dark.png"}
    well(page.run())
    assert film_choice(page).value == "dark.png"
    assert visitor(page).settings == defaults() | MOVED


def test_a_link_is_applied_once_and_later_moves_stay() -> None:
    page = tune(linked(MOVED))
    move(page, {"clahe.clip_limit": 5.0})
    film_choice(page).set_value("bright.png").run()
    page.run()
    page.switch_page("home.py").run()
    well(page.switch_page(TUNE).run())
    assert visitor(page).settings == defaults() | MOVED | {"clahe.clip_limit": 5.0}
    assert film_choice(page).value == "bright.png"


DAMAGED = "the settings in this link are cut short or damaged"
BAD_LINKS = {
    "cut short": ('{"clahe.clip_limit": 2', DAMAGED),
    "no object": ("[1, 2]", DAMAGED),
    "too long": (json.dumps({"clahe.clip_limit": 2.0}) + " " * 9_000, DAMAGED),
    "deep": ("[" * 7_000, DAMAGED),
    "long number": ('{"clahe.tiles": ' + "9" * 6_000 + "}", DAMAGED),
    "unknown": ({"clahe.clip": 2.0}, "did you mean clahe.clip_limit ([1, 8])?"),
    "out of range": ({"clahe.clip_limit": 30}, "clahe.clip_limit lies in [1, 8], got 30"),
    "no number": ('{"clahe.clip_limit": NaN}', "clahe.clip_limit takes a number in [1, 8]"),
    "endless": ('{"clahe.clip_limit": 1e999}', "clahe.clip_limit takes a number in [1, 8]"),
    "wrong type": ({"clahe.clip_limit": {"a": [1]}}, "clahe.clip_limit takes a number in [1, 8]"),
    "fixed switch": ({"grayscale.on": False}, "grayscale.on is always true"),
    "hostile": ({"<img src=x onerror=alert(1)>": 1}, "'<img src=x onerror=alert(1)>' is no setting"),
}


@pytest.mark.parametrize(("settings", "words"), BAD_LINKS.values(), ids=BAD_LINKS)
def test_a_bad_link_is_told_and_the_page_works_on(settings: object, words: str) -> None:
    page = tune(linked(settings))
    assert not page.exception
    (message,) = errors(page)
    assert words in message
    assert visitor(page).settings == defaults()
    assert film_choice(page).value == "dark.png"
    well(move(page, {"clahe.clip_limit": 3.0}))
    assert table(page) == expected(read(sources.SAMPLES / "dark.png").pixels, {"clahe.clip_limit": 3.0})


@pytest.mark.parametrize("film", ["none.png", "../app.py", "/etc/passwd", "truth/chest.png", "<b>x</b>", "\0"])
def test_a_link_opens_no_film_but_a_sample(film: str) -> None:
    page = tune({"film": film})
    assert not page.exception
    assert errors(page) == [f"there is no sample of that name; there are {', '.join(sources.CAPTIONS)}"]
    assert film_choice(page).value == "chest.png"
    well(move(page, {"clahe.clip_limit": 3.0}))


# --- uploads ------------------------------------------------------------------------------------------------------


def upload(*files: tuple[str, bytes], page: AppTest | None = None) -> AppTest:
    page = page or home()
    return page.file_uploader(key="uploads").set_value([(name, data, "image/png") for name, data in files]).run()


def open_upload(page: AppTest) -> AppTest:
    (button,) = [button for button in page.button if button.label == "Tune it"]
    return button.click().run()


def test_bad_ones_among_many_are_named_and_the_good_ones_open() -> None:
    bad = {"empty.png": b"", "cut.png": png()[:90], "text.png": b"hello", "deep.npy": b"\x93NUMPY\x01\x00"}
    good = {"one.png": png(seed=1), "two.png": png(dtype=np.uint16, seed=2)}
    page = upload(*bad.items(), *good.items())
    assert not page.exception
    said = []
    for name, data in bad.items():
        with pytest.raises(FileError) as refusal:
            decode(data, name)
        said.append(f"{name}: {refusal.value}")
    assert errors(page) == said
    assert page.selectbox(key="uploaded film").options == list(good)
    assert page.selectbox(key="uploaded film").value == next(iter(good))
    page.selectbox(key="uploaded film").set_value("two.png").run()
    page = well(open_upload(page))
    assert table(page) == expected(decode(good["two.png"], "").pixels, {})
    well(film_choice(page).set_value("one.png").run())
    assert table(page) == expected(decode(good["one.png"], "").pixels, {})


def test_only_bad_ones_leave_nothing_to_open() -> None:
    page = upload(("a.png", b"x"), ("b.png", b""))
    assert len(errors(page)) == 2
    assert not [button for button in page.button if button.label == "Tune it"]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".npz", ".npy"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_format_opens_whatever_it_is_called(suffix: str, dtype: type, textured: Any) -> None:
    data = encode(textured(50, 60, dtype), suffix)
    page = well(open_upload(upload(("film.bin", data))))
    assert table(page) == expected(decode(data, "").pixels, {})


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_shown_as_text(name: str) -> None:
    page = upload((name, b"no picture"))
    assert not page.exception
    (error,) = page.error
    assert plain(error.value).startswith(f"{name}: ")
    # What Markdown, or Streamlit's additions to it, would take for a sign stands behind a backslash.
    assert not re.search(r"(?<!\\)(?:\\\\)*[<>\[\]()*_`$:#!&|~]", error.value)
    page = well(open_upload(upload((name, png()))))
    assert "".join(sign if sign.isprintable() else "_" for sign in name) in film_choice(page).options
    html = "".join(html.value for html in page.html) + "".join(markdown.value for markdown in page.markdown)
    assert name not in html
    assert name not in json.dumps(handed(page))


def test_uploads_of_one_name_are_kept_apart() -> None:
    page = upload(("film.png", png(seed=1)), ("film.png", png(seed=2)), ("film", png(seed=3)), ("film", png(seed=4)))
    names = page.selectbox(key="uploaded film").options
    assert names == ["film.png", "film (2).png", "film", "film (2)"]
    page = open_upload(page)
    for seed, name in enumerate(names, 1):
        film_choice(page).set_value(name).run()
        assert table(page) == expected(decode(png(seed=seed), "").pixels, {})


def test_an_upload_named_like_a_sample_hides_none() -> None:
    page = well(open_upload(upload(("chest.png", png()))))
    assert film_of(page).sha256 == decode(png(), "").sha256
    assert visitor(page).sample == ""
    well(film_choice(page).set_value("chest.png").run())
    assert film_of(page).sha256 == read(sources.SAMPLES / "chest.png").sha256


def test_too_much_at_once_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_UPLOADED_BYTES", 3_000)
    page = upload(("one.png", png(seed=1)), ("two.png", png(seed=2)))
    assert not page.exception
    assert len(page.error) == 1
    assert "At most" in page.error[0].value
    assert "two.png" in page.error[0].value.replace("\\", "")
    assert set(visitor(page).uploads) == {"one.png"}


def test_films_outlast_a_change_of_page_and_go_when_removed() -> None:
    page = upload(("one.png", png(seed=1)), ("two.png", png(seed=2)))
    page.switch_page("pages/1_Tune.py").run()
    page.switch_page("home.py").run()
    assert set(visitor(page).uploads) == {"one.png", "two.png"}
    upload(("three.png", png(seed=3)), page=page)
    assert set(visitor(page).uploads) == {"one.png", "two.png", "three.png"}
    page.file_uploader(key="uploads").set_value([]).run()
    assert set(visitor(page).uploads) == {"one.png", "two.png"}
    well(open_upload(page))
    assert film_of(page).name == "one.png"
    page.switch_page("home.py").run()
    well(next(button for button in page.button if button.label == "Remove it").click().run())
    assert set(visitor(page).uploads) == {"two.png"}
    assert visitor(page).film is None


# --- the operator's folder ----------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "films"
    (root / "ward").mkdir(parents=True)
    (root / "a.png").write_bytes(png(seed=1))
    (root / "ward" / "b.png").write_bytes(png(seed=2, dtype=np.uint16))
    (root / "broken.png").write_bytes(b"no picture")
    (root / "notes.txt").write_text("nothing to see")
    (root / ".hidden.png").write_bytes(png())
    (tmp_path / "secret.png").write_bytes(png(seed=3))
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    monkeypatch.setenv(sources.ROOT_VARIABLE, str(root))
    sources.folder_files.clear()
    return root


def folder_choice(page: AppTest) -> Any:
    return page.selectbox(key="folder film")


def open_folder_film(page: AppTest, name: str) -> AppTest:
    folder_choice(page).set_value(name)
    return page.button(key="open folder film").click().run()


def test_without_a_folder_home_says_how_to_open_one() -> None:
    assert any(sources.ROOT_VARIABLE in info.value for info in well(home()).info)


@pytest.mark.parametrize("root", ["/no/such/folder", __file__])
def test_a_folder_that_is_none_counts_as_not_set(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sources.ROOT_VARIABLE, root)
    assert any(sources.ROOT_VARIABLE in info.value for info in well(home()).info)


def test_a_folder_without_pictures_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sources.ROOT_VARIABLE, str(tmp_path))
    sources.folder_files.clear()
    assert any("holds no pictures" in info.value for info in well(home()).info)


def test_the_folder_lists_its_pictures_and_opens_them(folder: Path) -> None:
    page = well(home())
    assert folder_choice(page).options == ["a.png", "broken.png", "ward/b.png"]
    page = well(open_folder_film(page, "ward/b.png"))
    assert table(page) == expected(read(folder / "ward" / "b.png").pixels, {})
    assert film_choice(page).value == "ward/b.png"
    assert set(shared(page)) == {"settings"}


def test_a_broken_film_of_the_folder_is_told(folder: Path) -> None:
    page = open_folder_film(home(), "broken.png")
    assert not page.exception
    assert len(errors(page)) == 1
    assert "no PNG, JPEG, TIFF, DICOM, BMP, WebP, NPZ or NPY picture" in errors(page)[0]


def test_a_film_of_the_folder_that_is_gone_is_told(folder: Path) -> None:
    page = home()
    (folder / "a.png").unlink()
    page = open_folder_film(page, "a.png")
    assert errors(page) == ["the file or folder does not exist"]


def test_a_film_of_the_folder_named_like_a_sample_is_no_sample(folder: Path) -> None:
    (folder / "chest.png").write_bytes(png(seed=5))
    sources.folder_files.clear()
    page = well(open_folder_film(home(), "chest.png"))
    assert film_choice(page).value == "chest.png (folder)"
    well(film_choice(page).set_value("chest.png").run())
    assert film_of(page).sha256 == read(sources.SAMPLES / "chest.png").sha256


@pytest.mark.parametrize("path", ["../secret.png", "link.png", "ward/../../secret.png", "/etc/hostname", ".."])
def test_a_path_that_leads_out_of_the_folder_is_refused(path: str, folder: Path) -> None:
    with pytest.raises(FileError, match="leads out of the folder"):
        sources.from_folder(folder, path)


def test_a_film_of_the_folder_that_became_a_way_out_is_refused(folder: Path) -> None:
    page = home()
    (folder / "a.png").unlink()
    (folder / "a.png").symlink_to(folder.parent / "secret.png")
    page = open_folder_film(page, "a.png")
    assert errors(page) == ["the path leads out of the folder that is open to visitors"]
    assert visitor(page).film is None
