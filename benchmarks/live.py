"""Time the live page in a real Chromium, beside a naive page in the same run, and write LIVE.md beside this file.

Blocks of the two pages alternate, so that a machine whose speed drifts hurts both alike; what counts are the ratios.
Usage: ``python benchmarks/live.py [--parts 1,2,3,4] [--quick]``. The file is written by a whole run alone.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
from hands import sessions
from playwright.sync_api import Page, sync_playwright
from visiting import (
    ARGUMENTS,
    FILMS,
    PATH,
    QUICK,
    ROOT,
    SAMPLE,
    Bench,
    Effort,
    Server,
    at_rest,
    from_folder,
    idle,
    median,
    naive,
    open_naive,
    ours,
    p95,
    visiting,
)

import xray_core
from xray_core.pool import cpu_count

# isort: split
import cv2  # after xray_core, which fixes how OpenCV computes

SETTINGS = {"clahe.clip_limit": "clip limit", "sharpen.sharpness": "sharpness", "bilateral.d": "d"}


# --- 1: one hand ----------------------------------------------------------------------------------------------------


def dragging(bench: Bench) -> list[str]:
    """Drag three sliders over a large film, ours and the naive page in turn."""
    rows = []
    with ours(bench.folder) as server, naive(bench.folder) as plain:
        for bits, name in FILMS.items():
            bench.film(name, (2500, 3000), 1, bits)
        for bits, name in FILMS.items():
            for path, label in SETTINGS.items():
                with visiting(bench.browser) as page, visiting(bench.browser) as other:
                    page.goto(server.address)
                    from_folder(page, name)
                    open_naive(other, plain, name)
                    rows.append(_row(bench, page, other, path, label, bits))
    count = bench.effort
    return [
        "## Dragging a slider",
        "",
        f"A film of 2500 x 3000. *Painted*: from a move until its picture is on the canvas, {2 * count.moves} moves "
        "one after another, each a change. *A second*: pictures painted while a mouse drags 60 moves a second.",
        "*Full*: from letting go until the whole film, computed, measured and hashed at full size, is shown. *Naive*: "
        f"from a key until the script's pictures and numbers are shown, {2 * count.naive} moves. Milliseconds.",
        "",
        "| setting | bits | painted | p95 | a second | full | naive | naive / painted | naive / full |",
        "|---|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        "Naive at 16 bits: OpenCV's CLAHE ignores the clip limit at this depth, so that nothing changes there; timed "
        "until the script has ended. While dragging, ours shows the film at 1024 pixels, as the naive page's pictures "
        "(1460 at most) are not the film's own either; at rest, every pixel.",
        "",
    ]


def _row(bench: Bench, page: Page, other: Page, path: str, label: str, bits: int) -> str:
    effort = bench.effort
    painted: list[float] = []
    full: list[float] = []
    reruns: list[float] = []
    for _ in range(2):
        painted += page.evaluate("([path, count]) => bench.oneAfterAnother(path, count)", [path, effort.moves])
        for _ in range(effort.releases):
            idle(page)
            full.append(page.evaluate("(path) => bench.toFull(path)", path))
        idle(page)
        # At 16 bits OpenCV's clip limit does nothing.
        reruns += naive_moves(other, label, effort.naive, same=bits == 16 and label == "clip limit")
    rate = mouse_drag(page, path, effort.drag)
    slow = median(reruns)
    return (
        f"| {path} | {bits} | {median(painted):.0f} | {p95(painted):.0f} | {rate:.0f} | {median(full):.0f} "
        f"| {slow:.0f} | **{slow / median(painted):.0f}** | **{slow / median(full):.1f}** |"
    )


def naive_moves(page: Page, label: str, count: int, *, same: bool) -> list[float]:
    """Return the milliseconds of moves by the keyboard, upwards and at the end back."""
    slider = page.locator(f"input[type=range][aria-label='{label}']")
    slider.focus()
    low, high = (float(slider.get_attribute(name) or 0) for name in ("min", "max"))
    times = []
    for _ in range(count):
        value = float(slider.input_value())
        if value in (low, high):
            page.evaluate("(key) => { bench.key = key; }", "ArrowLeft" if value == high else "ArrowRight")
        page.evaluate("(same) => bench.rerun(same)", same)
        page.keyboard.press(page.evaluate("bench.key || 'ArrowRight'"))
        times.append(page.evaluate("bench.reran"))
    return times


def mouse_drag(page: Page, path: str, count: int) -> float:
    """Return pictures a second while a real mouse drags a slider from stop to stop."""
    slider = page.locator(f"[type=range][data-setting='{path}']")
    slider.scroll_into_view_if_needed()
    idle(page)
    box = slider.bounding_box()
    if box is None:
        raise RuntimeError(f"{path} has no slider")
    stops = page.evaluate("(path) => bench.stop(path)[1]", path)
    way = [*range(stops + 1), *range(stops - 1, 0, -1)]

    def to(number: int) -> None:
        share = way[number % len(way)] / stops
        page.mouse.move(box["x"] + 8 + share * (box["width"] - 16), box["y"] + box["height"] / 2)

    to(0)
    page.mouse.down()
    page.wait_for_timeout(100)
    page.evaluate("(path) => { bench.seen = bench.watch(path); }", path)
    start = time.perf_counter()
    for number in range(1, count + 1):
        to(number)
        time.sleep(max(start + number / 60 - time.perf_counter(), 0))
    seen = page.evaluate("bench.seen.end()")
    page.mouse.up()
    at_rest(page)
    first, last = seen["moves"][0][0], seen["moves"][-1][0]
    painted = sum(first < when <= last for when, _ in seen["paints"])
    return float(1000 * painted / (last - first))


# --- 3: memory ------------------------------------------------------------------------------------------------------


def memory(bench: Bench) -> list[str]:
    """Weigh the server before and after long use."""
    if not Path("/proc/self/status").exists():
        return ["## Memory", "", "Not measured: this system has no /proc.", ""]
    effort = bench.effort
    large = bench.film(FILMS[8], (2500, 3000), 1, 8)
    deep = bench.film(FILMS[16], (2500, 3000), 1, 16)
    rows = []

    def weigh(server: Server, words: str) -> None:
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{server.pid}/status").read_text().splitlines() if ":" in line
        )
        now, most = (int(status[name].split()[0]) / 1000 for name in ("VmRSS", "VmHWM"))
        rows.append(f"| {words} | {now:.0f} | {most:.0f} |")

    with ours(bench.folder) as server:
        weigh(server, "server started")
        with visiting(bench.browser) as page:
            page.goto(server.address)
            from_folder(page, deep)
            page.evaluate("([path, count]) => bench.oneAfterAnother(path, count)", [PATH, 20])
            idle(page)
            weigh(server, "16-bit film open, 20 moves")
            for half in (1, 2):
                page.evaluate("([path, count]) => bench.oneAfterAnother(path, count)", [PATH, effort.long // 2])
                idle(page)
                time.sleep(min(effort.rest, 3))
                weigh(server, f"after {half * (effort.long // 2):,} moves")
        time.sleep(effort.rest)
        weigh(server, f"closed, {effort.rest:.0f} s later")

    with ours(bench.folder) as server:
        for number in range(effort.visits):
            visit(bench, server, large)
            if number in (0, effort.visits // 2 - 1):
                weigh(server, f"another server, after visit {number + 1}")
        weigh(server, f"after visit {effort.visits}")
        time.sleep(effort.rest)
        weigh(server, f"{effort.rest:.0f} s later")
    return [
        "## Memory",
        "",
        "Resident memory of the server, MB. The film of 2500 x 3000 takes 15 MB at 16 bits, 7.5 MB at 8 bits, and "
        "about as much for each step that is on.",
        "A visit: a fresh browser opens a sample, then the large film, waits for the full result and goes; "
        f"{effort.visits} of them, one after another. Streamlit keeps what is left of a session for two minutes.",
        "",
        "| moment | now | most so far |",
        "|---|---|---|",
        *rows,
        "",
    ]


def visit(bench: Bench, server: Server, name: str) -> None:
    with visiting(bench.browser) as page:
        page.goto(f"{server.address}/Tune?film={SAMPLE}")
        at_rest(page)
        page.get_by_test_id("stSidebar").get_by_role("link", name="Home").click()
        from_folder(page, name)


# --- 4: the first picture -------------------------------------------------------------------------------------------


def first_picture(bench: Bench) -> list[str]:
    """Open a sample in a fresh browser, ours and the naive page in turn."""
    shutil.copy(ROOT / "sample_images" / SAMPLE, bench.folder / SAMPLE)
    times: dict[str, list[float]] = {"ours": [], "naive": []}
    with ours(bench.folder) as server, naive(bench.folder) as plain:
        addresses = {"ours": f"{server.address}/Tune?film={SAMPLE}", "naive": f"{plain.address}/?film={SAMPLE}"}
        for number in range(bench.effort.rounds + 1):
            for name, address in addresses.items():
                with visiting(bench.browser) as page:
                    page.goto(address)
                    took = page.evaluate("bench.first")
                if number:  # the first round warms both servers up
                    times[name].append(took)
    mine, theirs = median(times["ours"]), median(times["naive"])
    code = "import time; t = time.perf_counter(); import xray_core.cli; print(time.perf_counter() - t)"
    imports = [
        1000 * float(subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True).stdout)
        for _ in range(bench.effort.rounds)
    ]
    return [
        "## The first picture",
        "",
        f"From opening the address of the sample {SAMPLE} in a fresh browser until before and after are painted, and "
        f"the import of `xray_core.cli` in a fresh process; medians of {bench.effort.rounds} rounds, milliseconds.",
        "Most of the first is Streamlit's own page, which both load.",
        "",
        "| ours | naive | naive / ours | import |",
        "|---|---|---|---|",
        f"| {mine:.0f} | {theirs:.0f} | **{theirs / mine:.2f}** | {median(imports):.0f} |",
        "",
    ]


PARTS: dict[str, Callable[[Bench], list[str]]] = {"1": dragging, "2": sessions, "3": memory, "4": first_picture}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="some of 1,2,3,4")
    parser.add_argument("--quick", action="store_true", help="few rounds, to try it")
    given = parser.parse_args()
    wanted = [part.strip() for part in given.parts.split(",")]
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"there are parts {', '.join(PARTS)}, not {', '.join(sorted(unknown))}")
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        bench = Bench(browser, Path(folder), QUICK if given.quick else Effort())
        lines += [
            "# The live page",
            "",
            "Written by `python benchmarks/live.py`. A server, a headless Chromium and a naive page (`naive_page.py`: "
            "one script from top to bottom, with Streamlit's own sliders and pictures, OpenCV, matplotlib and "
            "scikit-image) run side by side on one machine, in turn.",
            "Times are medians unless said otherwise and drift with the machine; what counts are the ratios.",
            "",
            f"{platform.machine()}, {cpu_count()} cores, no GPU used, Python {platform.python_version()}, Chromium "
            f"{browser.version}, Streamlit {version('streamlit')}, OpenCV {cv2.__version__}, NumPy {np.__version__}, "
            f"RadTune {xray_core.__version__}.",
            "",
        ]
        print("\n".join(lines), flush=True)
        for part in wanted:
            found = PARTS[part](bench)
            print("\n".join(found), flush=True)
            lines += found
        browser.close()
    if wanted == list(PARTS) and not given.quick:
        Path(__file__).with_name("LIVE.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
