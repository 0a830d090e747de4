"""A server of ours, the naive one, and a browser that visits them: what every part of live.py needs."""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
from playwright.sync_api import Browser, BrowserContext, Page, expect

from xray_core.files import encode, in_range
from xray_core.image import Image
from xray_core.phantom import chest_phantom

FILMS = {8: "film_8.png", 16: "film_16.png"}
SAMPLE = "chest.png"
PATH = "clahe.clip_limit"
TOKEN = "X-RadTune-Token"
WAIT = 90_000  # milliseconds
SIZE = {"width": 1500, "height": 1000}
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass(frozen=True)
class Effort:
    """How often each thing is done."""

    moves: int = 50  # in each of two blocks
    releases: int = 5
    naive: int = 6
    drag: int = 120
    steady: int = 100
    long: int = 2000
    visits: int = 50
    rounds: int = 7
    rest: float = 10.0


QUICK = Effort(moves=8, releases=2, naive=2, drag=30, steady=20, long=60, visits=2, rounds=2, rest=1.0)


@dataclass
class Server:
    """A server that runs: its address and its process."""

    address: str
    pid: int


@contextmanager
def serving(command: Sequence[str], cwd: Path, **variables: str) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", *command, "--server.port", str(port)],
        cwd=cwd,
        env=os.environ | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    server = Server(f"http://127.0.0.1:{port}", process.pid)
    try:
        _wait(f"{server.address}/_stcore/health")
        yield server
    finally:
        process.terminate()
        process.wait()


def _wait(url: str) -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(url):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise TimeoutError(f"{url} does not answer")


def ours(films: Path) -> Any:
    return serving(["app.py"], ROOT, RADTUNE_ROOT=str(films))


def naive(films: Path) -> Any:
    # Away from our folder, so that our configuration is not taken for Streamlit's own.
    page = str(Path(__file__).with_name("naive_page.py"))
    quiet = ["--server.headless", "true", "--server.address", "127.0.0.1", "--browser.gatherUsageStats", "false"]
    return serving([page, *quiet], films, NAIVE_ROOT=str(films))


@contextmanager
def visiting(browser: Browser) -> Iterator[Page]:
    """Open a fresh visitor's page, with what runs inside it."""
    context: BrowserContext = browser.new_context(viewport=SIZE)  # type: ignore[arg-type]
    context.set_default_timeout(WAIT)
    context.add_init_script(path=Path(__file__).with_name("page.js"))
    try:
        yield context.new_page()
    finally:
        context.close()


def from_folder(page: Page, name: str) -> None:
    """Open a film of the operator's folder, from the home page, and wait until all of it is there."""
    page.get_by_role("tab", name="Folder").click()
    page.get_by_role("combobox", name="Film").click()
    page.get_by_role("option", name=name, exact=True).click()
    page.get_by_role("button", name="Tune it", exact=True).click()
    at_rest(page)


def at_rest(page: Page) -> None:
    page.locator(".rt[data-state=full][data-pixels]").wait_for()
    idle(page)


def idle(page: Page) -> None:
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning", timeout=WAIT)


def open_naive(page: Page, server: Server, name: str) -> None:
    page.goto(f"{server.address}/?film={name}")
    page.get_by_test_id("stMetricValue").wait_for()
    page.get_by_test_id("stImage").nth(2).wait_for()
    idle(page)


@dataclass
class Bench:
    """What every part needs: a browser, a folder of films, and how much to do."""

    browser: Browser
    folder: Path
    effort: Effort
    films: dict[str, Image] = field(default_factory=dict)

    def film(self, name: str, size: tuple[int, int], seed: int, bits: int = 8) -> str:
        """Write a phantom into the folder."""
        if name not in self.films:
            image = chest_phantom(size, seed=seed).image
            self.films[name] = in_range(image, "uint8" if bits == 8 else "uint16")
            (self.folder / name).write_bytes(encode(self.films[name], ".png"))
        return name


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def p95(values: Sequence[float]) -> float:
    return float(np.percentile(values, 95))
