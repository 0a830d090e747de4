"""A visit that goes wrong in a real browser: haste, a slow or broken line, a reload, a server that is started anew.

Whatever happens, a download holds what is on the screen, and the screen never says more than it knows.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import SAMPLES, Server, Visit, download, png, running
from datasets import CANARY, dataset, stored, with_canaries
from playwright.sync_api import BrowserContext, Page, expect
from test_pages import handed, tune

from xray_core import presets
from xray_core.decode import decode
from xray_core.files import read
from xray_core.image import Image
from xray_core.pipeline import Settings, check, defaults, digest, run

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

Visits = Callable[..., Visit]
CLIP = "clahe.clip_limit"
SHARPNESS = "sharpen.sharpness"
# What the page says to Streamlit takes as long as window.late says, or never arrives.
LATE = """
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (data) {
    if (window.late === undefined) return send.call(this, data);
    if (window.late !== null) setTimeout(() => send.call(this, data), window.late);
  };
"""
# Answers of the server take as long as window.slow says.
SLOW = """
  const real = window.fetch;
  window.slow = 0;
  window.fetch = async (...asked) => {
    await new Promise(done => setTimeout(done, String(asked[0]).includes("/live/") ? window.slow : 0));
    return real(...asked);
  };
"""


def film(name: str) -> Image:
    return read(SAMPLES / name).pixels


def notice(page: Page) -> str:
    return page.locator(".rt-notice").inner_text()


def noisy(one: Visit) -> Page:
    """Open the page without a link, choose a film and move a slider."""
    one.page.goto(f"{one.server}/Tune")
    one.settled()
    one.choose("Noisy")
    one.drag(one.control(CLIP), 0.6)
    return one.settled()


def assert_downloads(one: Visit, pixels: Image) -> Settings:
    """Assert that both downloads, pressed at once, hold what is on the screen; returns its settings."""
    _, text = download(one.page, "Download preset")
    _, data = download(one.page, "Download the film after")
    settings = one.settings()
    assert presets.loads(text).settings == check(settings)
    assert np.array_equal(decode(data, "").pixels, run(pixels, settings))
    return settings


# --- haste --------------------------------------------------------------------------------------------------------


def test_no_download_is_lost_or_old_whatever_was_done_right_before(visit: Visits) -> None:
    one = visit()
    page = one.tune("noisy.png")
    rng = np.random.default_rng(3)
    name = "noisy.png"

    def choose(box: str, caption: str) -> None:
        page.get_by_role("combobox", name=box).click()
        page.get_by_role("option", name=caption, exact=True).click()

    def act(what: str) -> None:
        nonlocal name
        one.drag(one.control(CLIP), float(rng.random()), steps=3)
        if what == "undo":
            one.canvas.focus()
            page.keyboard.press("z")
        elif what == "reset":
            page.get_by_role("button", name="Reset all").click()
        elif what == "preset":
            choose("Preset", "published")
        elif what == "film":
            name, caption = ("dark.png", "Dark") if name == "noisy.png" else ("noisy.png", "Noisy")
            choose("Film", caption)
        elif what == "keys":
            one.control(SHARPNESS).focus()
            page.keyboard.press("ArrowRight")

    for what in ["undo", "reset", "preset", "film", "keys"] * 3:
        act(what)
        button = "Download preset" if rng.random() < 0.5 else "Download the film after"
        _, data = download(page, button)
        one.settled()
        if button == "Download preset":
            assert presets.loads(data).settings == check(one.settings()), what
        else:
            assert np.array_equal(decode(data, "").pixels, run(film(name), one.settings())), what


def test_a_name_typed_right_before_the_download_is_in_it(visit: Visits) -> None:
    one = visit()
    page = one.tune("noisy.png")
    for name in ("bedside", "ward 3"):
        page.get_by_role("textbox", name="Name").fill(name)
        started, text = download(page, "Download preset")
        assert presets.loads(text).name == name
        assert started.suggested_filename == presets.file_name(name)


def test_a_move_right_after_reset_all_stays(visit: Visits) -> None:
    one = visit()
    one.page.add_init_script(LATE)
    page = one.tune("noisy.png", {CLIP: 4.0})
    page.evaluate("window.late = 1500")
    page.get_by_role("button", name="Reset all").click()
    assert one.settings()[CLIP] == defaults()[CLIP]
    one.drag(one.control(SHARPNESS), 0.9)
    wanted = one.settings()
    assert wanted[SHARPNESS] != defaults()[SHARPNESS]
    page.wait_for_timeout(2500)
    page.evaluate("window.late = undefined")
    assert assert_downloads(one, film("noisy.png")) == wanted


def test_a_download_pressed_while_b_is_held_is_of_what_it_shows_then(visit: Visits) -> None:
    one = visit()
    page = one.tune("noisy.png", {CLIP: 4.0})
    one.press("k")
    one.drag(one.control(CLIP), 0.1)
    one.settled()
    page.keyboard.down("b")
    page.locator(".rt-label", has_text="settings B").wait_for()
    _, text = download(page, "Download preset")
    assert presets.loads(text).settings == check(one.settings())
    expect(page.locator(".rt-label", has_text="settings B")).to_have_count(0)
    page.keyboard.up("b")
    one.shows(film("noisy.png"))


# --- a slow or broken line ----------------------------------------------------------------------------------------


def test_what_is_not_computed_yet_is_not_shown_as_current(visit: Visits) -> None:
    one = visit()
    one.page.add_init_script(SLOW)
    page = one.tune("noisy.png")
    page.evaluate("window.slow = 3000")
    one.control(CLIP).focus()
    page.keyboard.press("End")
    assert (one.says("state"), one.says("pixels")) == ("busy", "")
    expect(page.locator(".rt-state")).to_have_text("Computing …")
    expect(page.locator(".rt-metrics caption")).to_have_text("Computing …")
    expect(page.locator(".rt-metrics tbody")).to_have_class("rt-provisional")
    page.evaluate("window.slow = 0")
    one.shows(film("noisy.png"), {CLIP: 8})
    expect(page.locator(".rt-metrics caption")).to_have_text("Measured at full size")


def test_a_download_waits_for_a_slow_line_and_says_so(visit: Visits) -> None:
    one = visit()
    one.page.add_init_script(LATE)
    page = one.tune("noisy.png")
    page.evaluate("window.late = 4000")
    one.drag(one.control(CLIP), 0.6)
    page.get_by_role("button", name="Download preset").scroll_into_view_if_needed()
    with page.expect_download() as started:
        page.get_by_role("button", name="Download preset").click()
        expect(page.locator(".rt-notice")).to_contain_text("Waiting for the server")
    page.evaluate("window.late = undefined")
    assert presets.loads(Path(started.value.path()).read_bytes()).settings == check(one.settings())
    expect(page.locator(".rt-notice")).to_be_empty()


def test_what_got_lost_on_the_way_is_said_again(visit: Visits) -> None:
    one = visit()
    one.page.add_init_script(LATE)
    page = one.tune("noisy.png")
    page.evaluate("window.late = null")
    page.get_by_role("button", name="Reset all").scroll_into_view_if_needed()
    one.drag(one.control(CLIP), 0.6)
    one.until(lambda: one.says("state") == "full")
    with page.expect_download() as started:
        page.get_by_role("button", name="Download preset").click()
        page.wait_for_timeout(500)
        page.evaluate("window.late = undefined")
    settings = one.settings()
    assert float(settings[CLIP]) > 4
    assert presets.loads(Path(started.value.path()).read_bytes()).settings == check(settings)


# --- a reload -----------------------------------------------------------------------------------------------------


def test_a_reload_brings_film_settings_view_and_history_back(visit: Visits) -> None:
    one = visit()
    page = noisy(one)
    one.drag(one.control(SHARPNESS), 0.8)
    one.press("2", "t")
    one.settled()
    before, place = one.settings(), one.place
    page.reload()
    one.wait("(root, wanted) => root.dataset.settings === wanted", digest(before))
    one.shows(film("noisy.png"), before)
    expect(page.get_by_role("combobox", name="Film")).to_have_value("Noisy")
    assert "your settings and their history are back" in notice(page)
    assert one.place == pytest.approx(place)
    assert page.locator("[data-view=side]").get_attribute("aria-pressed") == "true"
    assert_downloads(one, film("noisy.png"))
    one.press("z")
    assert one.settings()[SHARPNESS] == defaults()[SHARPNESS]
    page.locator(".rt-notice").click()
    expect(page.locator(".rt-notice")).to_be_empty()


def test_a_download_pressed_before_the_viewer_is_back_gives_no_other_film(visit: Visits) -> None:
    one = visit()
    page = noisy(one)
    wanted = one.settings()
    for _ in range(3):
        page.reload()
        with page.expect_download() as started:
            page.get_by_role("button", name="Download the film after").click()
        assert started.value.suggested_filename == "noisy_enhanced.png"
        data = Path(started.value.path()).read_bytes()
        assert np.array_equal(decode(data, "").pixels, run(film("noisy.png"), wanted))


def test_the_way_back_to_a_link_keeps_later_moves(visit: Visits) -> None:
    one = visit()
    page = one.tune("noisy.png", {CLIP: 2.5})
    one.drag(one.control(CLIP), 0.9)
    one.settled()
    wanted = one.settings()
    page.get_by_test_id("stSidebar").get_by_role("link", name="Home").click()
    page.get_by_role("button", name="Chest, 8 bit", exact=True).wait_for()
    page.go_back()
    one.canvas.wait_for()
    one.shows(film("noisy.png"), wanted)


def test_two_reloads_in_a_row_lose_nothing(visit: Visits) -> None:
    one = visit()
    page = noisy(one)
    wanted = one.settings()
    for pause in (0, 60, 150):
        page.reload()
        one.canvas.wait_for()
        page.wait_for_timeout(pause)
        page.reload()
        one.wait("(root, wanted) => root.dataset.settings === wanted", digest(wanted))
        one.shows(film("noisy.png"), wanted)
        expect(page.get_by_role("combobox", name="Film")).to_have_value("Noisy")


def test_a_reload_of_another_page_brings_settings_and_film_back_too(visit: Visits) -> None:
    one = visit()
    page = one.page
    for chosen in ("", "Dark"):
        noisy(one)
        wanted = one.settings()
        page.get_by_role("link", name="Home").click()
        page.get_by_role("button", name="Chest, 8 bit", exact=True).wait_for()
        page.reload()
        page.get_by_role("button", name="Chest, 8 bit", exact=True).wait_for()
        if chosen:
            page.get_by_role("button", name=chosen, exact=True).click()
        else:
            page.get_by_test_id("stSidebar").get_by_role("link", name="Tune").click()
        one.canvas.wait_for()
        one.wait("(root, wanted) => root.dataset.settings === wanted", digest(wanted))
        one.shows(film("dark.png" if chosen else "noisy.png"), wanted)
        expect(page.get_by_role("combobox", name="Film")).to_have_value(chosen or "Noisy")


def test_a_reload_says_that_uploads_and_the_presets_name_are_gone(visit: Visits) -> None:
    one = visit()
    one.upload(("mine.png", png(seed=8)))
    page = one.open_upload()
    page.get_by_role("combobox", name="Preset").click()
    page.get_by_role("option", name="published", exact=True).click()
    one.wait("(root, wanted) => root.dataset.settings === wanted", digest(presets.builtin("published").settings))
    one.settled()
    page.reload()
    one.settled()
    expect(page.locator(".rt-notice")).to_contain_text("upload yours again")
    assert "Choose your preset again" in notice(page)
    assert check(one.settings()) == presets.builtin("published").settings
    assert_downloads(one, film("chest.png"))


def test_a_link_that_is_opened_shows_its_own_settings_and_not_those_of_before(visit: Visits) -> None:
    one = visit()
    one.tune("noisy.png", {CLIP: 3.0})
    one.drag(one.control(CLIP), 0.9)
    one.settled()
    one.tune("dark.png", {CLIP: 2.0})
    one.shows(film("dark.png"), {CLIP: 2.0})
    assert notice(one.page) == ""
    one.drag(one.control(CLIP), 0.7)
    one.settled()
    moved = one.settings()
    one.page.reload()
    one.wait("(root, wanted) => root.dataset.settings === wanted", digest(moved))
    one.shows(film("dark.png"), moved)


# --- a server that is started anew --------------------------------------------------------------------------------


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    with running(Server(tmp_path / "log.txt")) as server:
        yield server


@pytest.fixture
def own_visit(own_server: Server, contexts: Callable[..., BrowserContext]) -> Iterator[Visit]:
    one = Visit(contexts(0).new_page(), own_server.address).watch()
    yield one
    one.page.close()


@pytest.mark.parametrize("moves", [False, True], ids=["quiet", "moved meanwhile"])
def test_after_a_restart_of_the_server_screen_and_downloads_agree(
    moves: bool, own_server: Server, own_visit: Visit
) -> None:
    one = own_visit
    page = one.tune("chest.png")
    one.choose("Noisy")
    one.drag(one.control(CLIP), 0.5)
    one.settled()
    own_server.stop()
    if moves:
        one.drag(one.control(CLIP), 0.8)
        expect(page.locator(".rt-state")).to_contain_text("does not answer")
    wanted = one.settings()
    own_server.start()
    expect(page.locator(".rt-notice")).to_contain_text("your settings are kept", timeout=60_000)
    one.shows(film("noisy.png"), wanted)
    expect(page.get_by_role("combobox", name="Film")).to_have_value("Noisy")
    assert assert_downloads(one, film("noisy.png")) == wanted
    one.drag(one.control(CLIP), 0.2)
    one.shows(film("noisy.png"))
    assert_downloads(one, film("noisy.png"))


# A viewer of our own beside the page's, told what a server says; returns the film and settings that it says at last.
SESSIONS = """async ([data, other]) => {
  const { default: mount } = await import(document.querySelector(".rt link").href.replace("viewer.css", "main.js"));
  const parentElement = document.body.appendChild(document.createElement("div"));
  parentElement.innerHTML = "<div class='rt'></div>";
  const said = [];
  const setStateValue = (name, value) => said.push(value);
  const tell = (changes) => mount({ parentElement, setStateValue, data: { ...data, ...changes } });
  const heard = () => [said.at(-1).page, said.at(-1).number];
  tell({ visitor: "one" });
  tell({ visitor: "one", heard: heard() });
  tell({ visitor: "two", token: "two", film: other });
  tell({ visitor: "three", token: "three", film: other, heard: heard() });
  return [said.at(-1).visitor, said.at(-1).film];
}"""


def test_a_film_comes_back_though_a_third_session_follows_before_the_second_heard_of_it(
    visit: Visits,
) -> None:
    one = visit()
    one.allowed.append("/radtune/live/")
    page = one.tune("noisy.png")
    noisy, chest = (handed(tune({"film": name})) for name in ("noisy.png", "chest.png"))
    source = noisy["film"]["source"]
    assert page.evaluate(SESSIONS, [noisy, chest["film"]]) == ["three", source]


def test_a_page_that_was_left_alone_finds_the_server_that_was_started_anew(
    own_server: Server, own_visit: Visit
) -> None:
    one = own_visit
    page = one.tune("chest.png")
    one.choose("Noisy")  # the whole page ran last, which Streamlit does not do again by itself
    own_server.stop()
    own_server.start()
    expect(page.locator(".rt-notice")).to_contain_text("your settings are kept", timeout=60_000)
    one.shows(film("noisy.png"))
    one.choose("Bright")
    one.shows(film("bright.png"))
    expect(page.get_by_role("combobox", name="Film")).to_have_value("Bright")
    assert_downloads(one, film("bright.png"))


def test_a_server_that_hangs_and_is_started_anew_twice_is_found_again(own_server: Server, own_visit: Visit) -> None:
    one = own_visit
    page = one.tune("chest.png")
    one.choose("Noisy")
    for share in (0.8, 0.4):
        assert own_server.process is not None
        own_server.process.send_signal(signal.SIGSTOP)
        one.drag(one.control(CLIP), share)
        wanted = one.settings()
        page.wait_for_timeout(500)
        own_server.process.kill()
        own_server.process.wait()
        own_server.start()
        one.wait("(root, wanted) => root.dataset.state === 'full' && root.dataset.settings === wanted", digest(wanted))
        one.shows(film("noisy.png"), wanted)
        assert assert_downloads(one, film("noisy.png")) == wanted


def test_a_restart_while_another_page_is_looked_at_keeps_settings_and_film(
    own_server: Server, own_visit: Visit
) -> None:
    one = own_visit
    page = noisy(one)
    wanted = one.settings()
    sidebar = page.get_by_test_id("stSidebar")
    sidebar.get_by_role("link", name="Home").click()
    page.get_by_role("button", name="Chest, 8 bit", exact=True).wait_for()
    app = page.get_by_test_id("stApp")
    own_server.stop()
    expect(app).not_to_have_attribute("data-test-connection-state", "CONNECTED")
    own_server.start()
    # Streamlit drops what is pressed before it is back.
    expect(app).to_have_attribute("data-test-connection-state", "CONNECTED", timeout=60_000)
    expect(app).to_have_attribute("data-test-script-state", "notRunning")
    sidebar.get_by_role("link", name="Tune").click()
    expect(page.locator(".rt-notice")).to_contain_text("your settings are kept", timeout=60_000)
    one.shows(film("noisy.png"), wanted)
    assert assert_downloads(one, film("noisy.png")) == wanted
    assert len(page.locator(".rt-past li").all()) > 1
    page.reload()
    one.shows(film("noisy.png"), wanted)


def test_a_download_pressed_in_a_visit_that_is_over_gives_no_other_film(own_server: Server, own_visit: Visit) -> None:
    one = own_visit
    one.upload(("mine.png", png(seed=8)))
    page = one.open_upload()
    got: list[object] = []
    page.on("download", lambda started: got.append(started))
    assert own_server.process is not None
    own_server.process.send_signal(signal.SIGSTOP)
    page.get_by_role("button", name="Download the film after").click()
    expect(page.locator(".rt-notice")).to_contain_text("Waiting for the server")
    own_server.process.kill()
    own_server.process.wait()
    own_server.start()
    expect(page.locator(".rt-notice")).to_contain_text("Nothing was downloaded", timeout=60_000)
    assert "upload yours again" in notice(page)
    one.settled()
    page.wait_for_timeout(1000)
    assert got == []
    assert_downloads(one, film("chest.png"))


# --- whose film it is ---------------------------------------------------------------------------------------------


def test_no_word_of_a_dicom_file_comes_out_of_the_browser_or_into_the_servers_log(
    own_server: Server, own_visit: Visit
) -> None:
    pixels = (film("chest_16bit.png") >> 4)[:300, :400]
    whole = stored(with_canaries(dataset(pixels, 12)))
    one = own_visit
    seen: list[str] = []
    one.upload(("film.dcm", whole), ("cut.dcm", whole[:-200]))
    expect(one.page.get_by_test_id("stAlert").filter(visible=True)).to_have_count(1)
    seen.append(one.page.content())
    page = one.open_upload()
    one.drag(one.control(CLIP), 0.6)
    one.settled()
    seen += [page.content(), *one.kept()]
    for button in ("Download preset", "Download the film after"):
        started, data = download(page, button)
        seen += [started.suggested_filename, data.decode("latin-1")]
    assert np.array_equal(decode(data, "").pixels, run(decode(whole, "").pixels, one.settings()))
    page.reload()
    one.settled()
    seen += [page.content(), page.evaluate("JSON.stringify({ ...sessionStorage, ...localStorage })")]
    seen += [str(frame) for frame in one.sent]
    seen.append(own_server.said())
    assert not [text for text in seen if CANARY in text]
