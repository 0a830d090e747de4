"""The pages, run without a browser: what they draw from the declarations, take in, keep and refuse."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from expectations import expected
from streamlit.testing.v1 import AppTest

import xray_core  # noqa: F401  # before OpenCV
from pages.ui import charts, frame, sources
from pages.ui.state import Session
from xray_core import cli, presets
from xray_core.decode import decode
from xray_core.errors import FileError, XrayError
from xray_core.files import encode, read
from xray_core.image import Image
from xray_core.metrics import DEFAULT_TARGETS, METRICS, measure, verdict
from xray_core.params import Choice, Parameter, Range, Value
from xray_core.pipeline import check, defaults, parameters, run_pair
from xray_core.similarity import WINDOW
from xray_core.steps import STEPS, Step

# isort: split
import cv2

ROOT = Path(__file__).parents[1]
TUNE = "pages/1_Tune.py"
PAGES = list(frame.PAGES)
SWITCHABLE = [step for step in STEPS.values() if step.switchable]
WIDGETS = [(step, name) for step in STEPS.values() for name in step.parameters if name != "on"]
MOVED = {"clahe.clip_limit": 2.4, "sharpen.sharpness": 1.7, "gamma.on": True, "gamma.gamma": 0.8}
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
def no_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(sources.ROOT_VARIABLE, raising=False)
    yield
    sources.folder_files.clear()


def home() -> AppTest:
    return AppTest.from_file(ROOT / "home.py", default_timeout=30).run()


def tune(query: dict[str, str] | None = None) -> AppTest:
    page = home()
    page.query_params = dict(query or {})
    return page.switch_page(TUNE).run()


def tune_pixels(pixels: Image, name: str = "film.png") -> AppTest:
    """Return the Tune page with a film of given pixels, as an upload opens it."""
    page = home()
    data = encode(pixels, ".png") if pixels.ndim == 2 else cv2.imencode(".png", pixels[:, :, ::-1])[1].tobytes()
    visitor(page).open(decode(data, name))
    return page.switch_page(TUNE).run()


def visitor(page: AppTest) -> Session:
    return page.session_state["radtune"]


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


def keys(page: AppTest) -> set[str]:
    kinds = (page.toggle, page.slider, page.selectbox, page.button)
    return {widget.key for widgets in kinds for widget in widgets if widget.key}


def table(page: AppTest) -> dict[tuple[str, str], str]:
    """Return what the table of metrics shows, by metric and side."""
    found = re.findall(r'data-metric="(\w+)" data-side="(\w+)"[^>]*>([^<]*)<', "".join(h.value for h in page.html))
    return {(metric, side): unescape(text) for metric, side, text in found}


def pictures(page: AppTest) -> list[str]:
    """Return the addresses of the pictures before and after, which depend on their content."""
    return [image.value[0] for image in page.image if image.captions[0] != "Histograms"]


def film_choice(page: AppTest) -> Any:
    return page.selectbox(key="film")


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
    words = " ".join(markdown.value for markdown in home().markdown)
    for path, (label, _, purpose) in frame.PAGES.items():
        if path == "home.py":
            continue
        assert label in words
        assert purpose in words


def test_home_offers_every_sample() -> None:
    page = well(home())
    offered = [button.key.removeprefix("sample ") for button in page.button if (button.key or "").startswith("sample ")]
    assert sorted(offered) == sorted(sources.sample_names())
    assert set(offered) == set(sources.CAPTIONS)
    assert len(page.image) == len(offered)


@pytest.mark.parametrize("name", sources.CAPTIONS)
def test_a_sample_opens_from_home_with_its_numbers(name: str) -> None:
    page = home()
    page.button(key=f"sample {name}").click().run()
    well(page)
    film = read(sources.SAMPLES / name)
    assert visitor(page).film.sha256 == film.sha256
    assert film_choice(page).value == name
    assert table(page) == expected(film.pixels, defaults())


def test_what_goes_wrong_in_a_page_is_told_without_its_words(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*images: Image) -> str:
        raise RuntimeError("Jane Doe, born 1970")

    page = tune()
    with monkeypatch.context() as broken:
        broken.setattr(charts, "histograms", fail)
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


# --- controls derive from the declarations ------------------------------------------------------------------------


def colour_page(textured: Any) -> AppTest:
    return tune_pixels(textured(60, 70, colour=True))


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_a_step_has_its_switch_and_only_an_active_one_its_parameters(step: Step, textured: Any) -> None:
    page = colour_page(textured)
    toggles = {toggle.key: toggle for toggle in page.toggle}
    if not step.switchable:
        assert f"set {step.path('on')}" not in toggles
        assert any(markdown.value == step.label for markdown in page.markdown)
        return
    toggle = toggles[f"set {step.path('on')}"]
    assert (toggle.label, toggle.help) == (step.label, step.help)
    assert toggle.value is step.parameters["on"].default
    for on in (False, True):
        well(page.toggle(key=f"set {step.path('on')}").set_value(on).run())
        assert visitor(page).settings == defaults() | {step.path("on"): on}
        shown = {f"set {step.path(name)}" for name, p in step.parameters.items() if name != "on" and p.needs is None}
        assert keys(page) & {f"set {step.path(name)}" for name in step.parameters if name != "on"} == (
            shown if on else set()
        )


def page_showing(step: Step, parameter: Parameter, textured: Any) -> AppTest:
    settings: dict[str, Value] = {step.path("on"): True}
    if parameter.needs:
        sibling, value = parameter.needs
        settings[step.path(sibling)] = value
    return with_settings(settings, colour_page(textured))


@pytest.mark.parametrize(("step", "name"), WIDGETS, ids=[step.path(name) for step, name in WIDGETS])
def test_a_parameter_has_a_widget_as_declared_that_sets_it(step: Step, name: str, textured: Any) -> None:
    parameter, path = step.parameters[name], step.path(name)
    page = page_showing(step, parameter, textured)
    before = visitor(page).settings
    if isinstance(parameter, Choice):
        box = page.selectbox(key=f"set {path}")
        assert (box.label, box.help, box.options) == (
            parameter.label,
            parameter.help,
            list(parameter.options.values()),
        )
        assert box.value == parameter.default
        values: tuple[Value, ...] = parameter.ends()
    else:
        assert isinstance(parameter, Range)
        slider = page.slider(key=f"set {path}")
        assert slider.label.startswith(parameter.label)
        assert parameter.unit in slider.label
        assert parameter.good_text() in slider.label
        assert slider.help == parameter.help
        assert (slider.min, slider.max, slider.step) == (parameter.low, parameter.high, parameter.step)
        assert slider.value == parameter.default
        values = (*parameter.ends(), parameter.default)
    for value in values:
        widget = page.selectbox if isinstance(parameter, Choice) else page.slider
        well(widget(key=f"set {path}").set_value(value).run())
        now = visitor(page).settings
        assert now == before | {path: value}
        assert type(now[path]) is type(parameter.default)
        assert check(now) == now
    film = visitor(page).film
    assert table(page) == expected(film.pixels, visitor(page).settings)


@pytest.mark.parametrize(
    ("step", "name"),
    [(step, name) for step, name in WIDGETS if step.parameters[name].needs],
    ids=lambda part: part if isinstance(part, str) else part.name,
)
def test_a_parameter_that_needs_its_sibling_appears_with_it_alone(step: Step, name: str, textured: Any) -> None:
    sibling, wanted = step.parameters[name].needs
    page = colour_page(textured)
    for value in step.parameters[sibling].ends():
        with_settings({step.path("on"): True, step.path(sibling): value}, page)
        assert (f"set {step.path(name)}" in keys(page)) is (value == wanted)


def test_the_badge_says_whether_a_value_is_good() -> None:
    page = tune()
    assert "green-badge[good 1.5 to 2]" in page.slider(key="set clahe.clip_limit").label
    page.slider(key="set clahe.clip_limit").set_value(6.0).run()
    assert "orange-badge[good 1.5 to 2]" in page.slider(key="set clahe.clip_limit").label


def test_a_value_between_two_stops_survives_on_the_page() -> None:
    page = well(with_settings({"clahe.clip_limit": 1.537}))
    assert page.slider(key="set clahe.clip_limit").value == 1.537
    page.slider(key="set clahe.tiles").set_value(4).run()
    assert visitor(page).settings["clahe.clip_limit"] == 1.537


def test_the_way_to_gray_is_a_choice_for_colour_films_alone(textured: Any) -> None:
    assert "set grayscale.method" not in keys(tune_pixels(textured(60, 70)))
    page = colour_page(textured)
    seen = {}
    for method in parameters()["grayscale.method"].ends():
        well(page.selectbox(key="set grayscale.method").set_value(method).run())
        assert table(page) == expected(visitor(page).film.pixels, {"grayscale.method": method})
        seen[method] = tuple(pictures(page))
    assert len(set(seen.values())) == len(seen)


# --- moving, keeping, resetting -----------------------------------------------------------------------------------


def test_a_moved_slider_changes_settings_numbers_and_the_picture_after() -> None:
    page = tune()
    numbers, (before, after) = table(page), pictures(page)
    well(page.slider(key="set clahe.clip_limit").set_value(4.0).run())
    assert visitor(page).settings == defaults() | {"clahe.clip_limit": 4.0}
    assert table(page) == expected(read(sources.SAMPLES / "chest.png").pixels, {"clahe.clip_limit": 4.0}) != numbers
    assert pictures(page)[0] == before
    assert pictures(page)[1] != after


def test_the_numbers_are_those_of_the_core_with_its_verdict_and_targets() -> None:
    page = with_settings(MOVED)
    film = read(sources.SAMPLES / "chest.png")
    pair = run_pair(film.pixels, MOVED)
    html = "".join(html.value for html in page.html)
    judged = verdict(measure(pair.before, pair.after), DEFAULT_TARGETS)
    assert table(page) == expected(film.pixels, MOVED)
    assert judged.sentence in unescape(html)
    assert f'data-verdict="{"good" if judged.good else "off"}"' in html
    for name, band in DEFAULT_TARGETS.items():
        assert METRICS[name].band(band) in unescape(html)


def test_values_survive_a_change_of_page_and_back() -> None:
    page = tune()
    page.slider(key="set clahe.clip_limit").set_value(2.4).run()
    page.toggle(key="set gamma.on").set_value(True).run()
    page.slider(key="set gamma.gamma").set_value(0.8).run()
    page.text_input(key="preset name").set_value("night shift").run()
    numbers = table(page)
    well(page.switch_page("home.py").run())
    well(page.switch_page(TUNE).run())
    assert visitor(page).settings == defaults() | {"clahe.clip_limit": 2.4, "gamma.on": True, "gamma.gamma": 0.8}
    assert page.slider(key="set clahe.clip_limit").value == 2.4
    assert page.toggle(key="set gamma.on").value is True
    assert page.text_input(key="preset name").value == "night shift"
    assert table(page) == numbers


def test_values_survive_a_switch_off_and_on() -> None:
    page = with_settings(MOVED)
    for on in (False, True):
        well(page.toggle(key="set clahe.on").set_value(on).run())
    assert page.slider(key="set clahe.clip_limit").value == MOVED["clahe.clip_limit"]
    assert visitor(page).settings == defaults() | MOVED


@pytest.mark.parametrize("step", SWITCHABLE, ids=lambda step: step.name)
def test_a_step_alone_is_reset(step: Step) -> None:
    page = with_settings(MOVED | {step.path("on"): not step.parameters["on"].default})
    well(page.button(key=f"reset {step.name}").click().run())
    rest = {path: value for path, value in MOVED.items() if not path.startswith(f"{step.name}.")}
    assert visitor(page).settings == defaults() | rest
    assert page.button(key=f"reset {step.name}").disabled


def reset_all(page: AppTest) -> Any:
    return next(button for button in page.button if button.label == "Reset all")


def resettable(page: AppTest) -> set[str]:
    return {button.key for button in page.button if (button.key or "").startswith("reset ") and not button.disabled}


def test_all_is_reset_and_the_buttons_work_only_where_there_is_something_to_reset() -> None:
    page = tune()
    assert reset_all(page).disabled
    assert not resettable(page)
    with_settings(MOVED, page)
    assert resettable(page) == {"reset clahe", "reset sharpen", "reset gamma"}
    well(reset_all(page).click().run())
    assert visitor(page).settings == defaults()
    assert reset_all(page).disabled
    assert not resettable(page)


def test_another_film_keeps_the_settings() -> None:
    page = with_settings(MOVED)
    for name in sources.sample_names()[1:]:
        well(film_choice(page).set_value(name).run())
        assert visitor(page).settings == defaults() | MOVED
        assert table(page) == expected(read(sources.SAMPLES / name).pixels, MOVED)


def test_true_pixels_are_shown_from_edge_to_edge() -> None:
    page = tune()
    seen = {tuple(pictures(page))}
    page.button_group(key="view").set_value("True pixels").run()
    for across, down in ((0, 0), (100, 0), (0, 100), (100, 100)):
        page.slider(key="across").set_value(across)
        well(page.slider(key="down").set_value(down).run())
        assert any(f"object-position: {across}% {down}%" in html.value for html in page.html)
        seen.add(tuple(pictures(page)))
    assert len(seen) == 5
    assert table(page) == expected(read(sources.SAMPLES / "chest.png").pixels, {})


# --- films of all kinds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (9, 1), (WINDOW - 1, 40), (WINDOW, WINDOW), (3, 2000)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_small_and_odd_films_open(height: int, width: int, dtype: type, textured: Any) -> None:
    pixels = textured(height, width, dtype)
    page = well(tune_pixels(pixels))
    assert table(page) == expected(pixels, {})
    assert (table(page)["ssim", "after"] == "n/a") is (min(height, width) < WINDOW)
    assert f"{width} x {height} px, {np.dtype(dtype).itemsize * 8} bit" in page.image[0].captions[0]
    well(page.button_group(key="view").set_value("True pixels").run())


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_flat_film_opens(level: int) -> None:
    pixels = np.full((30, 40), level, np.uint8)
    assert table(well(tune_pixels(pixels))) == expected(pixels, {})


def test_a_film_without_any_step_is_identical() -> None:
    page = with_settings({step.path("on"): False for step in SWITCHABLE})
    assert table(page)["psnr", "after"] == "identical"
    assert table(page)["ssim", "after"] == "1.000"
    assert pictures(page)[0] == pictures(page)[1]


@pytest.mark.parametrize("seed", range(3))
def test_a_histogram_is_a_picture_that_a_browser_reads(seed: int, textured: Any) -> None:
    from xml.etree import ElementTree

    pair = run_pair(textured(40, 50, np.uint16, seed=seed), {})
    root = ElementTree.fromstring(charts.histograms(pair.before, pair.after))
    assert root.tag.endswith("svg")
    points = "".join(element.get("points", "") for element in root.iter())
    assert "nan" not in points
    assert "inf" not in points


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
    assert table(page) == expected(read(sources.SAMPLES / "chest.png").pixels, preset.settings)
    assert [plain(success.value) for success in page.success] == [f"{name} is in use."]
    page.run()
    assert not page.success


def test_a_built_in_preset_can_be_taken_again_after_moves() -> None:
    page = tune()
    for _ in range(2):
        well(page.selectbox(key="builtin").set_value("published").run())
        assert visitor(page).settings == presets.builtin("published").settings
        page.slider(key="set clahe.clip_limit").set_value(6.0).run()
        assert visitor(page).settings != presets.builtin("published").settings


def test_an_uploaded_preset_is_applied_with_its_targets_name_and_note() -> None:
    page = well(upload_preset(tune(), preset_bytes(targets={"entropy": [1.0, 2.0]})))
    assert visitor(page).settings == defaults() | MOVED
    assert visitor(page).targets == {"entropy": (1.0, 2.0)}
    assert page.text_input(key="preset name").value == "gentle"
    assert page.text_input(key="preset note").value == "for bedside films"
    assert table(page) == expected(read(sources.SAMPLES / "chest.png").pixels, MOVED)
    assert [plain(success.value) for success in page.success] == ["mine.preset.json is in use."]


def test_moves_after_an_upload_stay() -> None:
    page = upload_preset(tune(), preset_bytes())
    page.slider(key="set clahe.clip_limit").set_value(7.0).run()
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
    well(page.slider(key="set clahe.clip_limit").set_value(3.0).run())
    assert (visitor(page).name, visitor(page).note) == (presets.changed_name(name), note)


def test_a_preset_that_was_changed_no_longer_goes_by_its_name_alone() -> None:
    page = tune()
    well(page.selectbox(key="builtin").set_value("published").run())
    assert visitor(page).name == "published"
    well(page.slider(key="set clahe.clip_limit").set_value(2.0).run())
    assert visitor(page).name == "published changed"
    well(page.button[[button.label for button in page.button].index("Reset all")].click().run())
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
    page.toggle(key="set resize.on").set_value(True).run()
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
    page.slider(key="set clahe.clip_limit").set_value(5.0).run()
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
    well(page.slider(key="set clahe.clip_limit").set_value(3.0).run())
    assert table(page) == expected(read(sources.SAMPLES / "dark.png").pixels, {"clahe.clip_limit": 3.0})


@pytest.mark.parametrize("film", ["none.png", "../app.py", "/etc/passwd", "truth/chest.png", "<b>x</b>", "\0"])
def test_a_link_opens_no_film_but_a_sample(film: str) -> None:
    page = tune({"film": film})
    assert not page.exception
    assert errors(page) == [f"there is no sample of that name; there are {', '.join(sources.CAPTIONS)}"]
    assert film_choice(page).value == "chest.png"
    well(page.slider(key="set clahe.clip_limit").set_value(3.0).run())


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
    assert name in film_choice(page).options
    html = "".join(html.value for html in page.html) + "".join(markdown.value for markdown in page.markdown)
    assert name not in html


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
    assert visitor(page).film.sha256 == decode(png(), "").sha256
    assert visitor(page).sample == ""
    well(film_choice(page).set_value("chest.png").run())
    assert visitor(page).film.sha256 == read(sources.SAMPLES / "chest.png").sha256


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
    assert visitor(page).film.name == "one.png"
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
    assert film_choice(page).value == "b.png"
    assert set(shared(page)) == {"settings"}


def test_a_broken_film_of_the_folder_is_told(folder: Path) -> None:
    page = open_folder_film(home(), "broken.png")
    assert not page.exception
    assert len(errors(page)) == 1
    assert "no PNG, JPEG, TIFF, NPZ or NPY picture" in errors(page)[0]


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
    assert visitor(page).film.sha256 == read(sources.SAMPLES / "chest.png").sha256


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
