"""The whole thing in a real browser: a server of our own, Chromium, and what a visitor sees, moves and downloads."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import numpy as np
import pytest
from expectations import expected
from playwright.sync_api import Browser, BrowserContext, Download, Locator, Page, expect, sync_playwright

import xray_core  # noqa: F401  # before OpenCV
from xray_core import presets
from xray_core.decode import decode
from xray_core.files import encode, read
from xray_core.image import Image
from xray_core.pipeline import check, run, run_pair

# isort: split
import cv2

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "sample_images"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HOSTILE = "<img src=x onerror=alert(1)>.png"
WAIT = 30_000
AFTER = "[data-side='after']"
SETTLED = """() => {
  const images = [...document.querySelectorAll('[data-testid="stImage"] img')];
  return images.length > 0 && images.every(image => image.complete && image.naturalWidth > 0);
}"""


# --- a server, a browser ------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    log = tmp_path_factory.mktemp("server") / "log.txt"
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    environment = {name: value for name, value in os.environ.items() if name != "RADTUNE_ROOT"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 60
        while not _answers(f"{address}/_stcore/health"):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the server does not start:\n{log.read_text(errors='replace')}")
            time.sleep(0.1)
        yield address
        running = process.poll() is None
    finally:
        process.terminate()
        process.wait(30)
    said = log.read_text(errors="replace")
    assert running, f"the server ended by itself:\n{said}"
    assert "Traceback" not in said, said
    assert "page failed" not in said, said


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _unavailable(words: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(words)
    pytest.skip(words)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=WAIT)
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        path = next((found for name in NAMES if (found := shutil.which(name))), own if Path(own).exists() else None)
        if path is None:
            _unavailable("no Chromium is installed: the page's tests in a browser cannot run")
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page of the app, with all that it asked for and complained of."""

    page: Page
    server: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def watch(self) -> Visit:
        self.page.set_default_timeout(WAIT)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("websocket", lambda socket: self.requests.append(socket.url))
        self.page.on("pageerror", lambda error: self.complaints.append(f"page error: {error}"))
        self.page.on("dialog", lambda dialog: (self.complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        self.page.on("console", self._console)
        return self

    def _console(self, message: object) -> None:
        # Streamlit looks for its server below the page's own path first, and takes the 404 for an answer. A picture
        # that the next one replaced while it was on its way is gone as well; those that stay are waited for.
        address = urlsplit(message.location.get("url", ""))
        known = re.fullmatch(r"/\w+/_stcore/[\w-]+|/media/\w+\.png", address.path) and "404" in message.text
        if message.type == "error" and not known:
            self.complaints.append(f"{message.text} {address.path}")
        if "Content Security Policy" in message.text:
            self.complaints.append(f"{message.text} {address.path}")

    def home(self) -> Page:
        self.page.goto(self.server)
        self.page.get_by_role("button", name="Chest, 8 bit", exact=True).wait_for()
        return self.page

    def tune(self, film: str = "chest.png", settings: dict | None = None) -> Page:
        query = urlencode({"film": film, "settings": json.dumps(settings or {})})
        self.page.goto(f"{self.server}/Tune?{query}")
        return self.settled()

    def settled(self) -> Page:
        """Wait until the script has run, and its pictures are there."""
        self.page.locator(f"{AFTER}[data-metric='ssim']").wait_for()
        self.page.get_by_role("button", name="Download the film after").wait_for()
        expect(self.page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
        self.page.wait_for_function(SETTLED)
        return self.page

    def upload(self, *files: tuple[str, bytes]) -> None:
        self.home().get_by_role("tab", name="Upload").click()
        self.page.locator("input[type=file]").first.set_input_files(
            [{"name": name, "mimeType": "image/png", "buffer": data} for name, data in files]
        )

    def open_upload(self) -> Page:
        self.page.get_by_role("button", name="Tune it", exact=True).click()
        return self.settled()


@pytest.fixture
def visit(server: str, browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Return what opens a fresh visitor's page; in the end nothing may have left the server or gone wrong."""
    contexts: list[BrowserContext] = []
    visits: list[Visit] = []

    def start(**options: object) -> Visit:
        contexts.append(browser.new_context(**({"viewport": {"width": 1440, "height": 900}} | options)))
        visits.append(Visit(contexts[-1].new_page(), server).watch())
        return visits[-1]

    yield start
    for context in contexts:
        context.close()
    own = urlsplit(server).netloc
    for one in visits:
        assert one.complaints == []
        foreign = [url for url in one.requests if urlsplit(url).scheme not in ("data", "blob")]
        assert [url for url in foreign if urlsplit(url).netloc != own] == []


def numbers(page: Page) -> dict[tuple[str, str], str]:
    cells = page.locator("[data-metric]").evaluate_all(
        "cells => cells.map(cell => [cell.dataset.metric, cell.dataset.side, cell.textContent])"
    )
    return {(metric, side): text for metric, side, text in cells}


def slider(page: Page, path: str) -> Locator:
    return page.locator(f".st-key-{'set-' + path.replace('.', '-')} input[type=range]")


def picture_after(page: Page) -> Locator:
    return page.locator(".st-key-whole [data-testid='stImage'] img").nth(1)


def shown(image: Locator) -> Image:
    """Return the pixels that a picture on the page was sent with."""
    return decode(image.page.request.get(image.evaluate("image => image.src")).body(), "").pixels


def download(page: Page, button: str) -> tuple[Download, bytes]:
    with page.expect_download() as started:
        page.get_by_role("button", name=button).click()
    return started.value, Path(started.value.path()).read_bytes()


def wait_for_numbers(page: Page, wanted: dict[tuple[str, str], str]) -> None:
    page.wait_for_function(
        """wanted => wanted.every(([metric, side, text]) => {
          const cell = document.querySelector(`[data-metric="${metric}"][data-side="${side}"]`);
          return cell && cell.textContent === text;
        })""",
        arg=[[metric, side, text] for (metric, side), text in wanted.items()],
    )


def png(height: int = 200, width: int = 240, seed: int = 0, dtype: type = np.uint8) -> bytes:
    rng = np.random.default_rng(seed)
    coarse = rng.random((6, 7)).astype(np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    scale = np.iinfo(dtype).max
    return encode(np.clip(smooth * 0.8 * scale + scale * 0.1, 0, scale).astype(dtype), ".png")


# --- looking and moving -------------------------------------------------------------------------------------------


def test_a_sample_opens_from_home_and_a_slider_moves_numbers_and_picture(visit: Callable[..., Visit]) -> None:
    one = visit()
    page = one.home()
    page.wait_for_function(SETTLED)
    expect(page.get_by_text("Not for diagnosis")).to_be_visible()
    page.get_by_role("button", name="Chest, 8 bit", exact=True).click()
    page = one.settled()
    expect(page.get_by_text("Not for diagnosis")).to_be_visible()
    assert urlsplit(page.url).path == "/Tune"
    film = read(SAMPLES / "chest.png")
    assert numbers(page) == expected(film.pixels, {})
    source = picture_after(page).get_attribute("src")

    slider(page, "clahe.clip_limit").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    wait_for_numbers(page, expected(film.pixels, {"clahe.clip_limit": 1.7}))
    expect(picture_after(page)).not_to_have_attribute("src", source)
    page = one.settled()
    assert np.array_equal(shown(picture_after(page)), run(film.pixels, {"clahe.clip_limit": 1.7}))


@pytest.mark.parametrize("pause", [0, 60, 250])
def test_no_key_press_is_lost_while_the_page_computes(visit: Callable[..., Visit], pause: int) -> None:
    one = visit()
    page = one.tune()
    slider(page, "clahe.clip_limit").focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight", delay=pause)
    film = read(SAMPLES / "chest.png")
    wait_for_numbers(page, expected(film.pixels, {"clahe.clip_limit": 3.5}))
    page = one.settled()
    assert np.array_equal(shown(picture_after(page)), run(film.pixels, {"clahe.clip_limit": 3.5}))
    # st.image drops pictures that are replaced before the browser has fetched them; the last one is what counts.
    one.complaints[:] = [words for words in one.complaints if "Image source error" not in words]


def test_every_control_is_reached_by_keyboard_and_shows_that_it_is(visit: Callable[..., Visit]) -> None:
    page = visit().tune()
    wanted = {
        f"set-{path}" for path in ("crop-on", "clahe-on", "clahe-clip_limit", "sharpen-sharpness", "normalize-method")
    } | {"film", "builtin", "preset-name", "view"}
    reached: set[str] = set()
    for _ in range(90):
        page.keyboard.press("Tab")
        reached |= set(
            page.evaluate(
                """() => {
                  const keys = [];
                  for (let e = document.activeElement; e; e = e.parentElement)
                    for (const name of e.classList) if (name.startsWith('st-key-')) keys.push(name.slice(7));
                  return keys;
                }"""
            )
        )
        if wanted <= reached:
            break
    assert wanted <= reached, wanted - reached
    toggle = page.locator(".st-key-set-crop-on input")
    toggle.focus()
    page.keyboard.press("Space")
    slider(page, "crop.left").wait_for()


def test_true_pixels_are_not_scaled_and_reach_the_edges(visit: Callable[..., Visit]) -> None:
    one = visit()
    page = one.tune("chest.png")
    page.get_by_text("True pixels").click()
    images = page.locator(".st-key-detail [data-testid='stImage'] img")
    images.nth(1).wait_for()
    page = one.settled()
    facts = images.evaluate_all(
        """images => images.map(i => [getComputedStyle(i).objectFit, i.naturalWidth, i.naturalHeight,
                                      i.clientWidth <= i.naturalWidth, i.clientHeight <= i.naturalHeight])"""
    )
    assert facts == [["none", 768, 768, True, True]] * 2

    for key, wanted in (("across", "100% 50%"), ("down", "100% 100%")):
        page.locator(f".st-key-{key} input[type=range]").focus()
        page.keyboard.press("End")
        page.wait_for_function(
            "wanted => getComputedStyle(document.querySelector('.st-key-detail img')).objectPosition === wanted",
            arg=wanted,
        )
    page = one.settled()
    pair = run_pair(read(SAMPLES / "chest.png").pixels, {})
    for image, whole in zip(images.all(), (pair.before, pair.after), strict=True):
        assert np.array_equal(shown(image), whole[-768:, -768:])


def test_each_name_that_is_typed_is_kept_and_stands_in_the_preset(visit: Callable[..., Visit]) -> None:
    page = visit(accept_downloads=True).tune()
    for name in ("first", "second"):
        page.get_by_label("Name").fill(name)  # no Enter: who types and then clicks expects the same
        page.get_by_text(f"--preset {name}.preset.json").wait_for()
        expect(page.get_by_label("Name")).to_have_value(name)
        started, text = download(page, "Download preset")
        assert started.suggested_filename == f"{name}.preset.json"
        assert presets.loads(text).name == name


# --- what is seen is what is computed -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["chest.png", "chest_16bit.png"])
def test_the_film_and_the_preset_downloaded_give_the_same_pixels_as_the_core_and_the_command_line(
    name: str, visit: Callable[..., Visit], tmp_path: Path
) -> None:
    settings = {"clahe.clip_limit": 2.3, "gamma.on": True, "gamma.gamma": 0.85, "normalize.method": "percentile"}
    one = visit(accept_downloads=True)
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
    page.get_by_text("--preset My-gentle-one.preset.json").wait_for()
    page = one.settled()
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
    settings = {"clahe.clip_limit": 3.0, "sharpen.on": False}
    picker = page.locator(".st-key-preset-file input[type=file]")
    film = read(SAMPLES / "chest.png")
    for name, text, words in (
        ("good.preset.json", presets.create(settings, name="strong").dumps(), "good.preset.json is in use."),
        ("bad.preset.json", '{"format": "<b>"}', "bad.preset.json: format is 'radtune-preset', got '<b>'"),
    ):
        picker.set_input_files({"name": name, "mimeType": "application/json", "buffer": text.encode()})
        page.get_by_text(words).wait_for()
        wait_for_numbers(page, expected(film.pixels, settings))
    expect(page.get_by_label("Name")).to_have_value("strong")


def test_the_link_shown_opens_the_same_elsewhere(visit: Callable[..., Visit]) -> None:
    page = visit().tune("dark.png", {"gamma.on": True, "gamma.gamma": 0.6})
    link = page.get_by_test_id("stCode").nth(1).inner_text().strip()
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
    expect(alerts.nth(0)).to_contain_text("cut.png: the picture data is damaged or cut short")
    expect(alerts.nth(1)).to_contain_text(f"{HOSTILE}: the content is no PNG")
    assert page.locator("img[src='x']").count() == 0
    page = one.open_upload()
    assert numbers(page) == expected(decode(good, "").pixels, {})


def test_a_hostile_name_is_text_everywhere(visit: Callable[..., Visit]) -> None:
    one = visit(accept_downloads=True)
    data = png(seed=3)
    one.upload((HOSTILE, data))
    page = one.open_upload()
    expect(page.get_by_role("combobox", name="Film")).to_have_value(HOSTILE)
    assert page.locator("img[src='x']").count() == 0
    _, downloaded = download(page, "Download the film after")
    assert np.array_equal(decode(downloaded, "").pixels, run(decode(data, "").pixels, {}))


def test_a_film_of_12_megapixels_opens_and_downloads_whole(visit: Callable[..., Visit]) -> None:
    one = visit(accept_downloads=True)
    data = png(3000, 4000, seed=4, dtype=np.uint16)
    one.upload(("large.png", data))
    page = one.open_upload()
    pixels = decode(data, "").pixels
    assert numbers(page) == expected(pixels, {})
    assert picture_after(page).evaluate("image => [image.naturalWidth, image.naturalHeight]") == [1024, 768]
    _, downloaded = download(page, "Download the film after")
    assert np.array_equal(decode(downloaded, "").pixels, run(pixels, {}))


# --- how it looks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "Tune"])
def test_a_narrow_window_does_not_scroll_sideways(path: str, visit: Callable[..., Visit]) -> None:
    one = visit(viewport={"width": 390, "height": 844})
    page = one.home() if not path else one.tune()
    page.wait_for_function(SETTLED)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    wide = page.evaluate(
        """() => [...document.querySelectorAll('[data-testid="stMain"] *')]
          .filter(e => e.getBoundingClientRect().right > window.innerWidth + 1 && e.getClientRects().length
                       && getComputedStyle(e).position !== 'fixed')
          .map(e => e.tagName + '.' + e.className).slice(0, 5)"""
    )
    assert wide == []
    warning = page.get_by_text("Not for diagnosis")
    expect(warning).to_be_visible()
    box = warning.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390


def test_on_a_small_screen_the_controls_scroll_with_the_page(visit: Callable[..., Visit]) -> None:
    page = visit(viewport={"width": 1000, "height": 800}).tune()
    panel = page.locator(".st-key-controls")
    assert panel.evaluate("panel => panel.scrollHeight - panel.clientHeight") <= 1
    last = page.locator(".st-key-controls [class*='st-key-step-']").last.bounding_box()
    whole = panel.bounding_box()
    assert last["y"] + last["height"] <= whole["y"] + whole["height"] + 1


def test_every_picture_has_words_for_those_who_do_not_see_it(visit: Callable[..., Visit]) -> None:
    one = visit()
    pages = [one.home, one.tune]
    for open_page in pages:
        page = open_page()
        page.wait_for_function(SETTLED)
        words = page.locator("[data-testid='stImage'] img").evaluate_all("images => images.map(image => image.alt)")
        assert all(words)
        assert len(set(words)) == len(words)


def luminance(page: Page, selector: str, what: str) -> float:
    colour = page.locator(selector).first.evaluate("(element, what) => getComputedStyle(element)[what]", what)
    parts = [float(number) for number in re.findall(r"[\d.]+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in parts)]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_colour_schemes_are_readable(scheme: str, visit: Callable[..., Visit]) -> None:
    page = visit(color_scheme=scheme).tune(settings={"clahe.clip_limit": 4.0})
    ground = luminance(page, "[data-testid='stApp']", "backgroundColor")
    assert (ground < 0.1) if scheme == "dark" else (ground > 0.9)
    for selector in (".rt-warn", f"{AFTER}[data-metric='psnr']", f"{AFTER}.bad", ".rt .verdict"):
        ink = luminance(page, selector, "color")
        light, dark = max(ink, ground), min(ink, ground)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, selector


def test_a_downloaded_picture_is_read_by_others_too(visit: Callable[..., Visit]) -> None:
    from PIL import Image as Pillow

    one = visit(accept_downloads=True)
    page = one.tune("damaged.png")
    _, data = download(page, "Download the film after")
    picture = Pillow.open(io.BytesIO(data))
    assert picture.mode == "L"
    assert np.array_equal(np.asarray(picture), run(read(SAMPLES / "damaged.png").pixels, {}))
