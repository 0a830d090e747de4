"""Write what is generated: the README's tables and, with Chromium, the screenshots. Usage: ``python docs/make.py``."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    ColorScheme = Literal["dark", "light"]

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from xray_core.cli import parameter_table  # noqa: E402
from xray_core.metrics import METRICS, Metric  # noqa: E402

_MARKED = re.compile(r"(<!-- (parameters|metrics)(: [a-z ]+)? -->\n).*?(<!-- end -->)", re.DOTALL)


def with_tables(text: str) -> str:
    """Return a text with the table between each pair of markers written anew.

    ``parameters: a b`` stands for the parameters of the steps a and b, ``metrics`` for every metric.
    """

    def table(match: re.Match[str]) -> str:
        names = (match[3] or "").strip(": ").split()
        # That a step can be switched needs no row in a table of what it does.
        rows = [row for row in parameter_table(names) if ".on`" not in row] if names else metric_rows()
        return match[1] + "\n".join(rows) + "\n" + match[4]

    return _MARKED.sub(table, text)


def metric_rows() -> list[str]:
    """Return a Markdown table of the metrics and their usual targets."""
    rows = ["| metric | target | what it says |", "|---|---|---|"]
    return [*rows, *(f"| {metric.label} | {_band(metric)} | {metric.help} |" for metric in METRICS.values())]


def _band(metric: Metric) -> str:
    return metric.band(metric.target) if metric.target else ""


def screenshots(folder: Path) -> None:
    """Serve the app, and take pictures of the Tune page, of all its views, and of a run on the Batch page."""
    from playwright.sync_api import sync_playwright

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    runs = tempfile.TemporaryDirectory()
    server = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"RADTUNE_RUNS": f"{runs.name}/radtune-runs"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(f"http://127.0.0.1:{port}/_stcore/health")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            address = f"http://127.0.0.1:{port}/Tune?film=chest_16bit.png"
            page = _opened(browser, address, 1560, 1000, "dark")
            page.screenshot(path=folder / "tune.png")
            views = [_view(page, view) for view in ("side", "swipe", "difference")]
            page.locator("[data-tool=exact]").click()
            page.locator("[data-tool=mark]").click()
            page.locator("[data-tool=loupe]").click()
            page.locator(".rt canvas").hover(position={"x": 240, "y": 240})
            views.append(_view(page, "single"))
            phone = _opened(browser, address, 400, 800, "light").screenshot()
            (folder / "views.jpg").write_bytes(_sheet(views, phone))
            _batch(browser, f"http://127.0.0.1:{port}/Batch", folder / "batch.jpg")
            browser.close()
    finally:
        server.terminate()
        server.wait()
        runs.cleanup()


def _batch(browser: Browser, address: str, path: Path) -> None:
    page = browser.new_page(viewport={"width": 1440, "height": 1440}, color_scheme="light")
    page.goto(address)
    page.get_by_text("Our samples", exact=True).click()
    page.get_by_role("textbox", name="Name").fill("Our samples, standard")
    page.get_by_role("button", name="Start").click()
    page.get_by_text("Look at these first").wait_for()
    page.mouse.move(0, 0)
    page.wait_for_timeout(5000)  # the charts move into their places
    page.screenshot(path=path, quality=85)


def _opened(browser: Browser, address: str, width: int, height: int, scheme: ColorScheme) -> Page:
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.goto(address)
    page.locator(".rt[data-state=full]").wait_for()
    page.wait_for_load_state("networkidle")
    return page


def _view(page: Page, view: str) -> bytes:
    page.locator(f"[data-view={view}]").click()
    page.wait_for_timeout(500)
    return page.locator(".rt-picture").screenshot()


def _sheet(views: list[bytes], phone: bytes) -> bytes:
    """Put pictures side by side: two rows of views, and the phone at the right."""
    from io import BytesIO

    from PIL import Image

    gap, height = 12, 800
    half = (height - gap) // 2
    pictures = [Image.open(BytesIO(view)) for view in views]
    pictures = [picture.resize((half * picture.width // picture.height, half)) for picture in pictures]
    right = Image.open(BytesIO(phone))
    width = 2 * (pictures[0].width + gap) + right.width
    sheet = Image.new("RGB", (width, height), "white")
    for place, picture in enumerate(pictures):
        sheet.paste(picture, ((place % 2) * (picture.width + gap), (place // 2) * (half + gap)))
    sheet.paste(right, (width - right.width, 0))
    out = BytesIO()
    sheet.save(out, "JPEG", quality=88)
    return out.getvalue()


def _wait(url: str) -> None:
    for _ in range(150):
        try:
            with urllib.request.urlopen(url):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise TimeoutError(f"{url} does not answer")


def main() -> None:
    """Write the README's tables and, where Chromium is there, the screenshots."""
    readme = ROOT / "README.md"
    readme.write_text(with_tables(readme.read_text(encoding="utf-8")), encoding="utf-8")
    if shutil.which("chromium"):
        screenshots(ROOT / "docs")
    else:
        print("no Chromium: the screenshots are left as they are", file=sys.stderr)


if __name__ == "__main__":
    main()
