"""What the tests in a browser share: a server, Chromium, and a visitor who looks, drags and downloads."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Download,
    FilePayload,
    FloatRect,
    Locator,
    Page,
    WebSocket,
    expect,
    sync_playwright,
)

import xray_core  # noqa: F401  # before OpenCV
from xray_core.files import encode
from xray_core.image import Image
from xray_core.params import Value
from xray_core.pipeline import Settings, digest, run

# isort: split
import cv2

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
WAIT = 30_000
# What the controls say. Fields hold a value exactly, where a slider has only its stops.
CONTROLS = """root => {
  const read = (name, value) =>
    [...root.querySelectorAll(`[data-${name}]`)].map(one => [one.dataset[name], value(one)]);
  const settings = read("setting", one => one.type === "checkbox" ? one.checked : one.value);
  return Object.fromEntries([...settings, ...read("number", one => one.valueAsNumber)]);
}"""
GREYS = """(canvas, [x, y, width, height]) => {
  const { data } = canvas.getContext("2d").getImageData(x, y, width, height);
  const greys = new Uint8Array(width * height);
  for (let i = 0; i < greys.length; i++) {
    greys[i] = data[4 * i];
    if (data[4 * i + 1] !== greys[i] || data[4 * i + 2] !== greys[i]) throw new Error(`pixel ${i} is no grey`);
  }
  let text = "";
  for (let i = 0; i < greys.length; i += 8192) text += String.fromCharCode(...greys.subarray(i, i + 8192));
  return btoa(text);
}"""


@dataclass
class Server:
    """A server of the app on a port of its own, which may be stopped and started again; `root` is open to visitors."""

    log: Path
    port: int = 0
    root: Path | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        if not self.port:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "streamlit.web.cli", "run", "app.py", "--server.port", str(self.port)]
        environment = {name: value for name, value in os.environ.items() if name != "RADTUNE_ROOT"}
        if self.root:
            environment["RADTUNE_ROOT"] = str(self.root)
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 60
        while not _answers(f"{self.address}/_stcore/health"):
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the server does not start:\n{self.said()}")
            time.sleep(0.1)

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(30)

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def assert_unharmed(self) -> None:
        said = self.said()
        assert self.process is not None
        ended = self.process.poll()
        assert ended is None, f"the server ended by itself ({ended}):\n{said}"
        assert "Traceback" not in said, said
        assert "page failed" not in said, said


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """Start a server, and see at the end that it went through everything unharmed."""
    try:
        server.start()
        yield server
        server.assert_unharmed()
    finally:
        server.stop()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server for all files."""
    with running(Server(tmp_path_factory.mktemp("server") / "log.txt")) as server:
        yield server.address


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
    """Start Chromium."""
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
    """A page of the app, with all that it asked for and complained of.

    `sent` is what Streamlit was told, `allowed` are parts of complaints that a test causes itself.
    """

    page: Page
    server: str
    requests: list[str] = field(default_factory=list, repr=False)
    sent: list[object] = field(default_factory=list, repr=False)
    complaints: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)

    def watch(self) -> Visit:
        self.page.set_default_timeout(WAIT)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("websocket", self._websocket)
        self.page.on("pageerror", lambda error: self.complaints.append(f"page error: {error}"))
        self.page.on("dialog", self._dialog)
        self.page.on("console", self._console)
        return self

    def _dialog(self, dialog: Dialog) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _websocket(self, socket: WebSocket) -> None:
        self.requests.append(socket.url)
        socket.on("framesent", lambda frame: self.sent.append(frame))

    def _console(self, message: ConsoleMessage) -> None:
        # Streamlit looks for its server below the page's own path first, and takes the 404 for an answer. A picture
        # that the next one, or another page, replaced while it was on its way is gone as well, and Streamlit says so a
        # second time; those that stay are waited for.
        address = urlsplit(message.location.get("url", ""))
        picture = r"/media/\w+\.(png|jpg)"
        known = re.fullmatch(rf"/\w+/_stcore/[\w-]+|{picture}", address.path) and "404" in message.text
        told = re.fullmatch(rf"Client Error: Image source error - \S+{picture}", message.text)
        if message.type == "error" and not known and not told:
            self.complaints.append(f"{message.text} {address.path}")
        if "Content Security Policy" in message.text:
            self.complaints.append(f"{message.text} {address.path}")

    def unexpected(self) -> list[str]:
        return [words for words in self.complaints if not any(part in words for part in self.allowed)]

    # --- ways to a film

    def home(self) -> Page:
        self.page.goto(self.server)
        self.page.get_by_role("button", name="Chest, 8 bit", exact=True).wait_for()
        return self.page

    def tune(self, film: str = "chest.png", settings: Mapping[str, Value] | None = None) -> Page:
        query = urlencode({"film": film, "settings": json.dumps(settings or {})})
        self.page.goto(f"{self.server}/Tune?{query}")
        return self.settled()

    def upload(self, *files: tuple[str, bytes]) -> None:
        self.home().get_by_role("tab", name="Upload").click()
        self.page.locator("input[type=file]").first.set_input_files(
            [FilePayload(name=name, mimeType="image/png", buffer=data) for name, data in files]
        )

    def open_upload(self) -> Page:
        self.page.get_by_role("button", name="Tune it", exact=True).click()
        return self.settled()

    def choose(self, caption: str) -> Page:
        """Choose another film in the sidebar."""
        painted = self.sequence
        self.page.get_by_role("combobox", name="Film").click()
        self.page.get_by_role("option", name=caption, exact=True).click()
        self.wait(
            "(root, painted) => root.dataset.state === 'full' && Number(root.dataset.sequence) > painted", painted
        )
        return self.settled()

    # --- the viewer as it says it is

    @staticmethod
    def box(locator: Locator) -> FloatRect:
        """Return where an element is on the screen."""
        found = locator.bounding_box()
        assert found is not None, "the element is not to be seen"
        return found

    @property
    def root(self) -> Locator:
        return self.page.locator(".rt")

    @property
    def canvas(self) -> Locator:
        return self.page.locator(".rt-picture canvas")

    def says(self, name: str) -> str:
        """Return one of the viewer's data attributes; empty where it has none."""
        return self.root.get_attribute(f"data-{name}") or ""

    @property
    def sequence(self) -> int:
        return int(self.says("sequence") or 0)

    @property
    def place(self) -> tuple[float, float, float]:
        """The zoom, and the film's pixel in the middle of the view."""
        return float(self.says("zoom")), float(self.says("x")), float(self.says("y"))

    def wait(self, condition: str, value: object = None) -> None:
        """Wait for a condition in JavaScript on the viewer's root and a value."""
        wanted = (
            f"value => {{ const root = document.querySelector('.rt'); return root && ({condition})(root, value); }}"
        )
        self.page.wait_for_function(wanted, arg=value)

    def until(self, condition: Callable[[], bool], seconds: float = 10) -> None:
        """Wait for a condition in Python, looked at anew with every picture that the browser draws."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "what was waited for did not come"
            self.frame()

    def settings(self) -> Settings:
        """Return what the controls say."""
        return self.root.evaluate(CONTROLS)

    def settled(self) -> Page:
        """Wait until the full result of what the controls say is painted, and the script has run."""
        self._settled()
        return self.page

    def _settled(self) -> tuple[Settings, dict[str, str]]:
        self.canvas.wait_for()
        deadline = time.monotonic() + WAIT / 1000
        while True:
            self.wait("root => root.dataset.state === 'full'")
            settings, facts = self.root.evaluate(f"root => [({CONTROLS})(root), {{ ...root.dataset }}]")
            if facts["state"] == "full" and facts["settings"] == digest(settings):
                break
            assert time.monotonic() < deadline, f"painted is something else than {settings}: {facts}"
        self.page.get_by_role("button", name="Download the film after").wait_for()
        expect(self.page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
        return settings, facts

    def shows(self, pixels: Image, settings: Mapping[str, Value] | None = None) -> None:
        """Assert that the full result is painted: of these settings, or of those that the controls say."""
        deadline = time.monotonic() + WAIT / 1000
        said, facts = self._settled()
        # What the server takes over, as a preset, reaches the viewer a moment after its words reach the page.
        while settings is not None and facts["settings"] != digest(settings) and time.monotonic() < deadline:
            said, facts = self._settled()
        wanted = said if settings is None else settings
        assert (facts["settings"], facts["pixels"]) == (digest(wanted), hashed(run(pixels, wanted)))

    def record(self) -> None:
        """Write down from now on what the viewer says of itself after each painting; `recorded` returns it."""
        self.root.evaluate(
            """root => {
              root.log = [];
              new MutationObserver(() => root.log.push({ ...root.dataset })).observe(root, { attributes: true });
            }"""
        )

    def recorded(self) -> list[dict[str, str]]:
        return self.root.evaluate("root => root.log.splice(0)")

    def kept(self, part: str = "") -> tuple[str, str]:
        """Return the command that applies the settings and the link that carries them, once one has a part."""
        self.page.get_by_role("button", name="Apply it to a folder, or share a link").click()
        codes = self.page.get_by_test_id("stCode")
        expect(codes).to_have_count(2)
        expect(codes.filter(has_text=part)).not_to_have_count(0)
        command, link = codes.all_inner_texts()
        self.page.keyboard.press("Escape")
        expect(codes).to_have_count(0)
        return command.strip(), link.strip()

    # --- the viewer by hand

    def control(self, path: str) -> Locator:
        return self.page.locator(f"[data-setting='{path}']")

    def number(self, path: str) -> Locator:
        return self.page.locator(f"[data-number='{path}']")

    def tool(self, name: str) -> Locator:
        return self.page.locator(f"[data-tool='{name}']")

    def view(self, name: str) -> None:
        self.page.locator(f"[data-view='{name}']").click()
        self.frame()

    def frame(self) -> None:
        """Wait until the browser has drawn what it was told to draw."""
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def press(self, *keys: str) -> None:
        """Press keys with the focus on the film."""
        self.canvas.focus()
        for key in keys:
            self.page.keyboard.press(key)
        self.frame()

    def grip(self, slider: Locator, share: float) -> tuple[float, float]:
        """Return where a slider's thumb is at a share of its way."""
        box = self.box(slider)
        return box["x"] + 8 + (box["width"] - 16) * share, box["y"] + box["height"] / 2

    def take(self, slider: Locator) -> None:
        """Press the mouse button on a slider's thumb, and keep it down."""
        slider.scroll_into_view_if_needed()
        share = slider.evaluate("one => (one.value - one.min) / (one.max - one.min)")
        self.page.mouse.move(*self.grip(slider, share))
        self.page.mouse.down()

    def drag(self, slider: Locator, *shares: float, steps: int = 6) -> None:
        """Drag a slider by mouse from where it stands to shares of its way, and let go."""
        self.take(slider)
        for share in shares:
            self.page.mouse.move(*self.grip(slider, share), steps=steps)
        self.page.mouse.up()

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where on the screen the middle of one of the canvas's pixels is."""
        box, (width, height) = self.box(self.canvas), self.size()
        return box["x"] + (x + 0.5) * box["width"] / width, box["y"] + (y + 0.5) * box["height"] / height

    def drag_over(self, start: tuple[float, float], end: tuple[float, float], steps: int = 5) -> None:
        """Drag by mouse from one pixel of the canvas to another."""
        self.page.mouse.move(*self.at(*start))
        self.page.mouse.down()
        self.page.mouse.move(*self.at(*end), steps=steps)
        self.page.mouse.up()
        self.frame()

    def size(self) -> tuple[int, int]:
        """Return the canvas's width and height in its own pixels."""
        width, height = self.canvas.evaluate("canvas => [canvas.width, canvas.height]")
        return width, height

    def painted(self, part: tuple[int, int, int, int] | None = None) -> Image:
        """Return the canvas's pixels, or those of a part given as x, y, width, height."""
        x, y, width, height = part or (0, 0, *self.size())
        data = self.canvas.evaluate(GREYS, [x, y, width, height])
        return np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width)


@pytest.fixture(scope="session")
def contexts(browser: Browser) -> Callable[..., BrowserContext]:
    """Return what makes contexts by number and kind of screen, kept: each loads Streamlit's scripts once."""
    made: dict[str, BrowserContext] = {}

    def context(number: int, **options: Any) -> BrowserContext:
        key = repr((number, options))
        if key not in made:
            made[key] = browser.new_context(**({"viewport": {"width": 1440, "height": 900}} | options))
        return made[key]

    return context


@pytest.fixture
def visit(server: str, contexts: Callable[..., BrowserContext]) -> Iterator[Callable[..., Visit]]:
    """Return what opens a fresh visitor's page; in the end nothing may have left the server or gone wrong."""
    visits: list[Visit] = []

    def start(**options: object) -> Visit:
        # Of two pages in one context the one behind would stand still.
        visits.append(Visit(contexts(len(visits), **options).new_page(), server).watch())
        return visits[-1]

    yield start
    for one in visits:
        one.page.close()
    own = urlsplit(server).netloc
    for one in visits:
        assert one.unexpected() == []
        foreign = [url for url in one.requests if urlsplit(url).scheme not in ("data", "blob")]
        assert [url for url in foreign if urlsplit(url).netloc != own] == []


def hashed(image: Image) -> str:
    return hashlib.sha256(image.tobytes()).hexdigest()


def numbers(page: Page, attribute: str = "metric") -> dict[tuple[str, str], str]:
    cells = page.locator(f"[data-{attribute}]").evaluate_all(
        "(cells, name) => cells.map(cell => [cell.getAttribute(name), cell.dataset.side, cell.textContent])",
        f"data-{attribute}",
    )
    return {(metric, side): text for metric, side, text in cells}


def wait_for_numbers(page: Page, wanted: dict[tuple[str, str], str], attribute: str = "metric") -> None:
    page.wait_for_function(
        """([attribute, wanted]) => wanted.every(([metric, side, text]) => {
          const cell = document.querySelector(`[data-${attribute}="${metric}"][data-side="${side}"]`);
          return cell && cell.textContent === text;
        })""",
        arg=[attribute, [[metric, side, text] for (metric, side), text in wanted.items()]],
    )


def download(page: Page, button: str) -> tuple[Download, bytes]:
    with page.expect_download() as started:
        page.get_by_role("button", name=button).click()
    return started.value, Path(started.value.path()).read_bytes()


def png(height: int = 200, width: int = 240, seed: int = 0, dtype: type = np.uint8) -> bytes:
    rng = np.random.default_rng(seed)
    coarse = rng.random((6, 7)).astype(np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    scale = np.iinfo(dtype).max
    return encode(np.clip(smooth * 0.8 * scale + scale * 0.1, 0, scale).astype(dtype), ".png")


def laid(one: Visit, picture: Image, width: int | None = None) -> Image:
    """Return what a pane of this width has to show of a picture at true pixels."""
    whole, height = one.size()
    width = width or whole
    zoom, x, y = one.place
    assert zoom == 1
    left, top = math.floor(width / 2 - x + 0.5), math.floor(height / 2 - y + 0.5)
    pane = np.zeros((height, width), np.uint8)
    rows = slice(max(top, 0), min(top + picture.shape[0], height))
    columns = slice(max(left, 0), min(left + picture.shape[1], width))
    pane[rows, columns] = picture[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return pane


def same(one: Visit, wanted: Image) -> None:
    """Wait until the canvas is this, to the pixel."""
    one.until(lambda: np.array_equal(one.painted(), wanted))
