"""Write what is generated: the README's tables and, with Chromium, the screenshot. Usage: ``python docs/make.py``."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

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


def screenshot(path: Path) -> None:
    """Serve the app and take a picture of the Tune page."""
    from playwright.sync_api import sync_playwright

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(f"http://127.0.0.1:{port}/_stcore/health")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1560, "height": 1000}, color_scheme="dark")
            page.goto(f"http://127.0.0.1:{port}/Tune?film=chest_16bit.png")
            page.locator("[data-metric=ssim][data-side=after]").wait_for()
            page.wait_for_load_state("networkidle")
            page.screenshot(path=path)
            browser.close()
    finally:
        server.terminate()
        server.wait()


def _wait(url: str) -> None:
    for _ in range(150):
        try:
            with urllib.request.urlopen(url):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise TimeoutError(f"{url} does not answer")


def main() -> None:
    """Write the README's tables and, where Chromium is there, the screenshot."""
    readme = ROOT / "README.md"
    readme.write_text(with_tables(readme.read_text(encoding="utf-8")), encoding="utf-8")
    if shutil.which("chromium"):
        screenshot(ROOT / "docs" / "tune.png")
    else:
        print("no Chromium: the screenshot is left as it is", file=sys.stderr)


if __name__ == "__main__":
    main()
