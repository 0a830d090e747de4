"""The Batch page in a real browser: a run that outlives its tab and its server, and what is downloaded of it."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from browser import SAMPLES, WAIT, Server, Visit, running
from playwright.sync_api import Browser, Page, expect

from xray_core.files import find
from xray_core.run_folder import STATE

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs POSIX signals"),
]

FILMS = 300
NARROW = {"width": 390, "height": 844}


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "open" / "north"
    folder.mkdir(parents=True)
    data = (SAMPLES / "chest.png").read_bytes()
    (folder / "film_000.png").write_bytes(data)
    for number in range(1, FILMS - 1):
        os.link(folder / "film_000.png", folder / f"film_{number:03}.png")
    (folder / "cut.png").write_bytes(data[:5000])
    return folder


@pytest.fixture
def own_server(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("RADTUNE_RUNS", str(tmp_path / "runs"))
    with running(Server(tmp_path / "log.txt", root=films.parent)) as server:
        yield server


def open_page(browser: Browser, server: Server, address: str = "/Batch") -> Visit:
    visit = Visit(browser.new_page(viewport={"width": 1440, "height": 900}), server.address).watch()
    visit.page.goto(server.address + address)
    return visit


def close(visit: Visit) -> str:
    """Close the tab, in which nothing may have gone wrong; returns what its address was."""
    address = visit.page.url.removeprefix(visit.server)
    visit.page.close()
    # Streamlit forgets a picture when its page is drawn anew, or the server, while a browser still asks for it.
    assert [words for words in visit.unexpected() if "/media/" not in words] == []
    return address


def fetched(page: Page, link: str) -> tuple[str, bytes]:
    with page.expect_download() as started:
        page.get_by_role("link", name=link).click()
    return started.value.suggested_filename, Path(started.value.path()).read_bytes()


@contextmanager
def held(out: Path) -> Iterator[None]:
    """Let a run stand still, so that how long a server takes to start is no matter."""
    progress = json.loads((out / STATE / "progress.json").read_text())
    os.killpg(progress["process"], signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(progress["process"], signal.SIGCONT)


def test_a_run_outlives_tab_and_server_and_is_downloaded(
    browser: Browser, own_server: Server, films: Path, tmp_path: Path
) -> None:
    visit = open_page(browser, own_server)
    page = visit.page
    page.get_by_role("textbox", name="Name").fill("First run")
    # However many processors there are, it goes on while its page is looked at.
    page.get_by_role("spinbutton", name="Processes").fill("1")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading", name="First run")).to_be_visible()
    expect(page.get_by_text(re.compile(rf"^[1-9]\d* of {FILMS} films"))).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("paused", exact=True).first).to_be_visible()
    expect(page.get_by_text("Look at these first")).to_be_visible()
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_text("running", exact=True).first).to_be_visible()
    address = close(visit)
    assert "run=" in address
    (out,) = (tmp_path / "runs").glob("*/out")
    with held(out):
        own_server.stop()
        own_server.start()
        visit = open_page(browser, own_server, address)
        page = visit.page
        expect(page.get_by_role("heading", name="First run")).to_be_visible()
        page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("cancelled", exact=True).first).to_be_visible()
    assert 0 < len(list(find(out))) < FILMS - 1
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_text("done", exact=True).first).to_be_visible(timeout=2 * WAIT)
    expect(page.get_by_text("1 × DECODE")).to_be_visible()
    expect(page.locator("[data-testid=stImage] img")).to_have_count(12)

    name, data = fetched(page, "All results (zip)")
    assert name == "First-run.zip"
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        assert packed.testzip() is None
        pictures = {path for path in packed.namelist() if path.endswith(".png")}
        assert pictures == {f"north/film_{number:03}.png" for number in range(FILMS - 1)}
        assert all(packed.read(path) == (out / path).read_bytes() for path in pictures)
    name, data = fetched(page, "Log (CSV)")
    rows = list(csv.DictReader(io.StringIO(data.decode())))
    assert (name, len(rows)) == ("First-run-log.csv", FILMS)
    name, data = fetched(page, "Log (Parquet)")
    assert pq.read_table(io.BytesIO(data)).column("path").to_pylist() == [row["path"] for row in rows]
    name, data = fetched(page, "Report (HTML)")
    assert name == "First-run-report.html"
    assert f"{FILMS - 1}" in data.decode()

    page.set_viewport_size(NARROW)  # type: ignore[arg-type]
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    page.get_by_role("button", name="Open in Tune").first.click()
    assert "film_" in visit.settled().get_by_role("combobox", name="Film").input_value()
    close(visit)


def test_a_tab_stays_with_its_run_while_others_of_its_name_come_and_go(
    browser: Browser, own_server: Server, tmp_path: Path
) -> None:
    visit = open_page(browser, own_server)
    page = visit.page

    def start(name: str, films: str) -> str:
        """Start a run and return its id."""
        page.goto(f"{own_server.address}/Batch")
        page.get_by_text(films, exact=True).click()
        page.get_by_role("textbox", name="Name").fill(name)
        page.get_by_role("spinbutton", name="Processes").fill("1")
        page.get_by_role("button", name="Start").click()
        expect(page.get_by_role("heading", name=name)).to_be_visible()
        return page.url.partition("run=")[2]

    first, second, third = (start("Twin", "Our samples") for _ in range(3))
    assert len({first, second, third}) == 3
    for run in (first, second, third):
        page.goto(f"{own_server.address}/Batch?run={run}")
        expect(page.get_by_text("done", exact=True).first).to_be_visible(timeout=2 * WAIT)
    # While one goes on, the list is drawn anew by itself.
    start("Long", "A folder of this server")
    expect(page.get_by_text(f"of {FILMS} films")).to_be_visible()
    (long,) = (path for path in (tmp_path / "runs").glob("*/out") if (path.parent.name not in (first, second, third)))
    with held(long):
        page.goto(f"{own_server.address}/Batch?run={second}")
        chosen = page.get_by_role("radio", name="Twin", checked=True)
        expect(page.get_by_role("heading", name="Twin")).to_be_visible()
        expect(page.get_by_role("radio", name="Twin")).to_have_count(3)
        (tmp_path / "runs" / first).rename(tmp_path / first)
        expect(page.get_by_role("radio", name="Twin")).to_have_count(2)
        page.wait_for_timeout(4000)  # another turn of the list
        assert page.url.endswith(second)
        expect(chosen).to_have_count(1)
        page.get_by_role("button", name="Delete").click()
        page.get_by_role("button", name="Delete it for good").click()
        expect(page.get_by_role("heading", name="New run")).to_be_visible()
    assert not (tmp_path / "runs" / second).exists()
    assert (tmp_path / "runs" / third / "out" / "log.csv").is_file()
    close(visit)
