"""The whole thing in a real browser: what a visitor opens, moves and downloads. The viewer has test_viewer.py."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote_plus, urlsplit

import numpy as np
import pytest
from browser import ROOT, SAMPLES, Visit, download, hashed, laid, numbers, png, same, wait_for_numbers
from expectations import expected
from playwright.sync_api import expect

from xray_core import presets
from xray_core.decode import decode
from xray_core.display import windowed
from xray_core.files import read
from xray_core.params import Value
from xray_core.pipeline import check, run

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

HOSTILE = "<img src=x onerror=alert(1)>.png"
PICTURES = """() => {
  const images = [...document.querySelectorAll('[data-testid="stImage"] img')];
  return images.length > 0 && images.every(image => image.complete && image.naturalWidth > 0);
}"""
# Every text below an element with its contrast to what lies under it, as WCAG counts: alpha and opacity included.
CONTRASTS = """root => {
  const one = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const parts = colour => {
    one.clearRect(0, 0, 1, 1);
    one.fillStyle = colour;
    one.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = one.getImageData(0, 0, 1, 1).data;
    return { rgb: [r, g, b], alpha: a / 255 };
  };
  const over = (top, alpha, below) => top.map((part, i) => alpha * part + (1 - alpha) * below[i]);
  const ground = element => {
    if (!element) return [255, 255, 255];
    const { rgb, alpha } = parts(getComputedStyle(element).backgroundColor);
    return alpha === 1 ? rgb : over(rgb, alpha, ground(element.parentElement));
  };
  const opacity = element => element ? Number(getComputedStyle(element).opacity) * opacity(element.parentElement) : 1;
  const linear = part => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const found = [];
  for (const element of root.querySelectorAll("*")) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    if (!own && !element.matches("input[type=number]") || element.matches("style, script, option")) continue;
    if (!element.checkVisibility() || element.closest(":disabled")) continue;
    const below = ground(element);
    const { rgb, alpha } = parts(getComputedStyle(element).color);
    const [a, b] = [luminance(over(rgb, alpha * opacity(element), below)), luminance(below)];
    const text = (element.className.baseVal ?? element.className) + " " + (element.value || element.textContent).trim();
    found.push([text.slice(0, 60), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]);
  }
  return found;
}"""


# --- looking and moving -------------------------------------------------------------------------------------------


def test_a_sample_opens_from_home_and_a_slider_moves_numbers_and_picture(visit: Callable[..., Visit]) -> None:
    one = visit()
    page = one.home()
    page.wait_for_function(PICTURES)
    expect(page.get_by_text("Not for diagnosis")).to_be_visible()
    page.get_by_role("button", name="Chest, 8 bit", exact=True).click()
    page = one.settled()
    expect(page.get_by_text("Not for diagnosis")).to_be_visible()
    assert urlsplit(page.url).path == "/Tune"
    film = read(SAMPLES / "chest.png")
    one.shows(film.pixels, {})
    assert numbers(page) == expected(film.pixels, {})
    seen = one.painted()

    one.control("clahe.clip_limit").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    one.shows(film.pixels, {"clahe.clip_limit": 1.7})
    assert numbers(page) == expected(film.pixels, {"clahe.clip_limit": 1.7})
    half = one.size()[0] // 2 - 20  # to the left of the swipe line and its handle
    assert np.array_equal(one.painted()[:, :half], seen[:, :half])
    assert not np.array_equal(one.painted()[:, -half:], seen[:, -half:])


@pytest.mark.parametrize(("pause", "presses"), [(0, 20), (60, 20), (250, 8)])
def test_no_key_press_is_lost_while_the_page_computes(visit: Callable[..., Visit], pause: int, presses: int) -> None:
    one = visit()
    page = one.tune()
    one.control("clahe.clip_limit").focus()
    for _ in range(presses):
        page.keyboard.press("ArrowRight", delay=pause)
    film = read(SAMPLES / "chest.png")
    settings: dict[str, Value] = {"clahe.clip_limit": round(1.5 + presses * 0.1, 1)}
    one.shows(film.pixels, settings)
    assert numbers(page) == expected(film.pixels, settings)
    assert one.kept(quote_plus(f'"clahe.clip_limit":{settings["clahe.clip_limit"]}'))


def test_every_control_is_reached_by_keyboard_and_shows_that_it_is(visit: Callable[..., Visit]) -> None:
    one = visit()
    page = one.tune()
    own = one.root.locator("button:enabled, input, select, canvas, summary").filter(visible=True)
    wanted = {str(number) for number in range(own.count())} | {"film", "builtin", "preset-name"}
    own.evaluate_all("all => all.forEach((element, number) => (element.dataset.stop = number))")
    reached: set[str] = set()
    bare: set[str] = set()
    for _ in range(120):
        page.keyboard.press("Tab")
        names, outlined = page.evaluate(
            """() => {
              const names = [];
              const { stop, ...rest } = document.activeElement.dataset;
              if (stop) names.push(stop);
              for (let e = document.activeElement; e; e = e.parentElement)
                for (const name of e.classList)
                  if (name.startsWith('st-key-')) names.push(name.slice(7).replace(/-[0-9a-f]{8}$/, ''));
              const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
              const outlined = outlineStyle !== "none" && parseFloat(outlineWidth) >= 2;
              return [names, stop && !outlined ? document.activeElement.outerHTML.slice(0, 90) : ""];
            }"""
        )
        reached |= set(names)
        bare |= {outlined} - {""}
        if wanted <= reached:
            break
    assert wanted <= reached, [own.nth(int(n)).evaluate("e => e.outerHTML.slice(0, 90)") for n in wanted - reached]
    assert bare == set()
    one.control("crop.on").focus()
    expect(one.control("crop.left")).to_be_hidden()
    page.keyboard.press("Space")
    expect(one.control("crop.left")).to_be_visible()
    one.settled()


def test_every_control_has_a_name_for_those_who_do_not_see_it(visit: Callable[..., Visit]) -> None:
    one = visit()
    page = one.tune(settings={"normalize.method": "percentile", "crop.on": True, "resize.on": True, "gamma.on": True})
    page.locator("[data-view='difference']").click()
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")
    kinds = {
        "button",
        "slider",
        "spinbutton",
        "switch",
        "checkbox",
        "combobox",
        "textbox",
        "application",
        "link",
        "image",
    }
    nodes = [node for node in tree["nodes"] if not node["ignored"] and node["role"]["value"] in kinds]
    assert {node["role"]["value"] for node in nodes} >= {"button", "slider", "spinbutton", "switch", "combobox"}
    assert len(nodes) > 60
    nameless = [node for node in nodes if not node.get("name", {}).get("value", "").strip()]
    assert nameless == []
    assert one.canvas.get_attribute("aria-label")


def test_each_name_that_is_typed_is_kept_and_stands_in_the_preset(visit: Callable[..., Visit]) -> None:
    one = visit()
    page = one.tune()
    for name in ("first", "second"):
        page.get_by_label("Name").fill(name)  # no Enter: who types and then clicks expects the same
        assert one.kept(f"--preset {name}.preset.json")
        expect(page.get_by_label("Name")).to_have_value(name)
        started, text = download(page, "Download preset")
        assert started.suggested_filename == f"{name}.preset.json"
        assert presets.loads(text).name == name


# --- what is seen is what is computed -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["chest.png", "chest_16bit.png"])
def test_the_film_and_the_preset_downloaded_give_the_same_pixels_as_the_core_and_the_command_line(
    name: str, visit: Callable[..., Visit], tmp_path: Path
) -> None:
    settings: dict[str, Value] = {
        "clahe.clip_limit": 2.3,
        "gamma.on": True,
        "gamma.gamma": 0.85,
        "normalize.method": "percentile",
    }
    one = visit()
    page = one.tune(name, settings)
    film = read(SAMPLES / name)
    wanted = run(film.pixels, settings)
    assert numbers(page) == expected(film.pixels, settings)

    started, data = download(page, "Download the film after")
    assert started.suggested_filename == f"{Path(name).stem}_enhanced.png"
    seen = decode(data, "").pixels
    assert seen.dtype == film.pixels.dtype
    assert np.array_equal(seen, wanted)

    page.get_by_label("Name").fill("My gentle one")
    page.keyboard.press("Enter")
    assert one.kept("--preset My-gentle-one.preset.json")
    started, text = download(page, "Download preset")
    assert started.suggested_filename == "My-gentle-one.preset.json"
    preset = presets.loads(text)
    assert preset.settings == check(settings)
    assert (preset.name, preset.tuned_size) == ("My gentle one", film.size)
    assert name not in text.decode()

    path, output = tmp_path / started.suggested_filename, tmp_path / "out.png"
    path.write_bytes(text)
    command = [sys.executable, "-m", "xray_core", "enhance", str(SAMPLES / name), str(output), "--preset", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(read(output).pixels, seen)


def test_a_preset_is_uploaded_and_a_broken_one_refused(visit: Callable[..., Visit]) -> None:
    one = visit()
    page = one.tune()
    settings: dict[str, Value] = {"clahe.clip_limit": 3.0, "sharpen.on": False}
    picker = page.locator(".st-key-preset-file input[type=file]")
    film = read(SAMPLES / "chest.png")
    for name, text, words in (
        ("good.preset.json", presets.create(settings, name="strong").dumps(), "good.preset.json is in use."),
        ("bad.preset.json", '{"format": "<b>"}', "bad.preset.json: format is 'radtune-preset', got '<b>'"),
    ):
        picker.set_input_files({"name": name, "mimeType": "application/json", "buffer": text.encode()})
        page.get_by_text(words).wait_for()
        one.shows(film.pixels, settings)
        wait_for_numbers(page, expected(film.pixels, settings))
    expect(page.get_by_label("Name")).to_have_value("strong")


def test_the_link_shown_opens_the_same_elsewhere(visit: Callable[..., Visit]) -> None:
    one = visit()
    page = one.tune("dark.png", {"gamma.on": True, "gamma.gamma": 0.6})
    _, link = one.kept()
    assert "gamma.gamma" in link
    other = visit()
    other.page.goto(link)
    assert numbers(other.settled()) == numbers(page)


# --- uploads ------------------------------------------------------------------------------------------------------


def test_several_films_with_bad_and_hostile_ones_among_them(visit: Callable[..., Visit]) -> None:
    one = visit()
    good, deep = png(seed=1), png(seed=2, dtype=np.uint16)
    one.upload(("good.png", good), ("cut.png", good[:200]), (HOSTILE, b"no picture"), ("deep.png", deep))
    page = one.page
    alerts = page.get_by_test_id("stAlert").filter(visible=True)
    expect(alerts).to_have_count(2)
    expect(alerts.nth(0)).to_contain_text("cut.png: the PNG is cut short")
    expect(alerts.nth(1)).to_contain_text(f"{HOSTILE}: the content is no PNG")
    assert page.locator("img[src='x']").count() == 0
    page = one.open_upload()
    assert numbers(page) == expected(decode(good, "").pixels, {})


def test_a_hostile_name_is_text_everywhere(visit: Callable[..., Visit]) -> None:
    one = visit()
    data = png(seed=3)
    one.upload((HOSTILE, data))
    page = one.open_upload()
    expect(page.get_by_role("combobox", name="Film")).to_have_value(HOSTILE)
    assert page.locator("img[src='x']").count() == 0
    _, downloaded = download(page, "Download the film after")
    assert np.array_equal(decode(downloaded, "").pixels, run(decode(data, "").pixels, {}))


def test_a_film_of_12_megapixels_opens_shows_its_true_pixels_and_downloads_whole(visit: Callable[..., Visit]) -> None:
    one = visit()
    data = png(3000, 4000, seed=4, dtype=np.uint16)
    one.upload(("large.png", data))
    page = one.open_upload()
    pixels = decode(data, "").pixels
    wanted = run(pixels, {})
    assert numbers(page) == expected(pixels, {})
    assert one.says("pixels") == hashed(wanted)

    one.press("1", "t")
    same(one, laid(one, windowed(wanted)))
    one.press("ArrowRight", "ArrowRight", "ArrowDown")
    same(one, laid(one, windowed(wanted)))
    _, downloaded = download(page, "Download the film after")
    assert np.array_equal(decode(downloaded, "").pixels, wanted)


# --- how it looks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "Tune"])
def test_a_narrow_window_does_not_scroll_sideways(path: str, visit: Callable[..., Visit]) -> None:
    one = visit(viewport={"width": 390, "height": 844})
    page = one.home() if not path else one.tune()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    wide = page.evaluate(
        """() => [...document.querySelectorAll('[data-testid="stMain"] *')]
          .filter(e => e.getBoundingClientRect().right > window.innerWidth + 1 && e.getClientRects().length
                       && getComputedStyle(e).position !== 'fixed' && !e.parentElement.closest('.rt-bar'))
          .map(e => e.tagName + '.' + e.className).slice(0, 5)"""
    )
    assert wide == []
    warning = page.get_by_text("Not for diagnosis")
    expect(warning).to_be_visible()
    box = one.box(warning)
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390


@pytest.mark.parametrize("viewport", [{"width": 390, "height": 844}, {"width": 1000, "height": 800}])
def test_on_a_small_screen_the_film_stays_in_sight_of_every_control(
    viewport: dict[str, int], visit: Callable[..., Visit]
) -> None:
    one = visit(viewport=viewport)
    page = one.tune("dark.png", {"normalize.method": "percentile"})
    steps = page.locator(".rt-steps")
    assert steps.evaluate("steps => steps.scrollHeight - steps.clientHeight") <= 1
    for path in ("bilateral.sigma", "sharpen.sharpness", "normalize.high"):
        slider = one.control(path)
        before = slider.input_value()
        slider.click(position={"x": 30, "y": 8})  # Playwright scrolls to where it really is hit
        assert slider.input_value() != before
        box = one.box(one.canvas)
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= one.box(slider)["y"]
    one.shows(read(SAMPLES / "dark.png").pixels)


def test_every_picture_has_words_for_those_who_do_not_see_it(visit: Callable[..., Visit]) -> None:
    page = visit().home()
    page.wait_for_function(PICTURES)
    words = page.locator("[data-testid='stImage'] img").evaluate_all("images => images.map(image => image.alt)")
    assert len(words) > 5
    assert all(words)
    assert len(set(words)) == len(words)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_colour_schemes_are_readable(scheme: str, visit: Callable[..., Visit]) -> None:
    one = visit(color_scheme=scheme)
    page = one.tune(settings={"clahe.clip_limit": 4.0, "normalize.method": "percentile", "crop.on": True})
    ground = page.get_by_test_id("stApp").evaluate("e => getComputedStyle(e).backgroundColor")
    mean = np.mean([float(number) for number in re.findall(r"[\d.]+", ground)[:3]])
    assert (mean < 60) if scheme == "dark" else (mean > 240)
    texts = one.root.evaluate(CONTRASTS)
    texts += page.locator(".rt-warn").evaluate(f"one => ({CONTRASTS})(one.parentElement)")
    page.keyboard.press("?")
    texts += page.locator("dialog.rt-keys").evaluate(CONTRASTS)
    said = " ".join(text for text, _ in texts)
    for words in (
        "Not for diagnosis",
        "Off target",
        "rt-bad",
        "rt-fine",
        "outside 1.5 to 2",
        "Full size",
        "Before",
        "Undo",
    ):
        assert words in said
    assert [(text, round(contrast, 2)) for text, contrast in texts if contrast < 4.5] == []


def test_a_downloaded_picture_is_read_by_others_too(visit: Callable[..., Visit]) -> None:
    from PIL import Image as Pillow

    one = visit()
    page = one.tune("damaged.png")
    _, data = download(page, "Download the film after")
    picture = Pillow.open(io.BytesIO(data))
    assert picture.mode == "L"
    assert np.array_equal(np.asarray(picture), run(read(SAMPLES / "damaged.png").pixels, {}))
