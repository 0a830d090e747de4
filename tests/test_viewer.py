"""The live viewer in a real browser: hand, eye and server together. What is painted is what was set, to the pixel."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from browser import SAMPLES, Visit, download, hashed, laid, numbers, png, same, wait_for_numbers
from expectations import expected
from playwright.sync_api import CDPSession, FloatRect, Route, expect

from xray_core import presets
from xray_core.decode import decode
from xray_core.display import MID_GREY, Region, Window, difference, windowed
from xray_core.files import read
from xray_core.image import Image
from xray_core.metrics import METRICS, measure
from xray_core.pipeline import Pair, changed, check, digest, run, run_pair, untouched

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

Visits = Callable[..., Visit]
LIVE = "**/radtune/live/*"
CLIP = "clahe.clip_limit"
# Answers come late and out of order, unless they are called off meanwhile, as over a slow network.
SLOW = """
  const real = window.fetch;
  let turn = 0;
  window.fetch = async (address, options) => {
    const answer = await real(address, options);
    if (!String(address).includes("/live/")) return answer;
    await new Promise(done => setTimeout(done, DELAYS[turn++ % DELAYS.length]));
    if (options.signal?.aborted) throw new DOMException("called off", "AbortError");
    return answer;
  };
"""


@cache
def film(name: str) -> Image:
    """Return a sample; "large" is one that is previewed smaller than it is."""
    return decode(large(), "").pixels if name == "large" else read(SAMPLES / name).pixels


@cache
def large() -> bytes:
    return png(1150, 1500, seed=6)


def opened(one: Visit, name: str) -> None:
    if name == "large":
        one.upload(("large.png", large()))
        one.open_upload()
    else:
        one.tune(name)


def of_part(pair: Pair, region: Region) -> dict[tuple[str, str], str]:
    measured = measure(region.of(pair.before), region.of(pair.after))
    shown = {}
    for metric in METRICS.values():
        shown[metric.name, "before"] = metric.shown(measured[metric.columns[0]] if metric.paired else metric.untouched)
        shown[metric.name, "after"] = metric.shown(measured[metric.judged])
    return shown


def pressed(one: Visit, name: str) -> str:
    return one.page.locator(f"[data-view='{name}'], [data-tool='{name}']").get_attribute("aria-pressed") or ""


def window(one: Visit) -> Window:
    return Window(*(float(one.page.locator(f"[data-display='{name}']").input_value()) for name in ("level", "width")))


# --- the loop between hand and picture ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["chest.png", "chest_16bit.png", "damaged.png", "large"])
def test_a_drag_paints_previews_while_the_button_is_down_and_the_whole_result_after(name: str, visit: Visits) -> None:
    one = visit()
    opened(one, name)
    slider = one.control(CLIP)
    one.record()
    one.take(slider)
    painted = one.sequence
    for share in (0.3, 0.5, 0.7):
        one.page.mouse.move(*one.grip(slider, share), steps=4)
        one.wait("(root, painted) => Number(root.dataset.sequence) > painted", painted)
        painted = one.sequence
    seen = [facts for facts in one.recorded() if facts["state"] == "preview"]
    assert len(seen) >= 3
    assert len({facts["settings"] for facts in seen}) >= 3
    assert all("pixels" not in facts for facts in seen)
    one.page.mouse.move(*one.grip(slider, 0.8), steps=3)
    wanted = one.settings()
    one.page.mouse.up()
    released = time.monotonic()
    one.wait("(root, wanted) => root.dataset.state === 'full' && root.dataset.settings === wanted", digest(wanted))
    assert time.monotonic() - released < 2
    assert float(wanted[CLIP]) > 5
    one.shows(film(name), wanted)
    sequences = [int(facts["sequence"]) for facts in one.recorded()]
    assert sequences == sorted(sequences)


def test_after_50_wild_drags_what_is_painted_is_what_was_set_last(visit: Visits) -> None:
    one = visit()
    on = {f"{step}.on": True for step in ("crop", "gaussian", "stretch", "gamma")}
    one.tune("chest_16bit.png", on | {"normalize.method": "percentile"})
    rng = np.random.default_rng(11)
    sliders = one.page.locator(".rt-panel input[type=range]").filter(visible=True).all()
    assert len(sliders) >= 14
    panel = one.page.locator(".rt-steps").element_handle()
    for _ in range(50):
        one.drag(sliders[rng.integers(len(sliders))], *rng.random(rng.integers(1, 3)), steps=3)
    settings = one.settings()
    assert len(changed(check(settings))) > 10
    assert panel.evaluate("panel => panel.isConnected"), "the controls were replaced under the hand"
    one.shows(film("chest_16bit.png"), settings)
    assert numbers(one.page) == expected(film("chest_16bit.png"), settings)


def test_slow_answers_never_paint_what_is_older_over_what_is_newer(visit: Visits) -> None:
    one = visit()
    one.page.add_init_script(f"const DELAYS = [400, 40, 250, 10, 330, 120];{SLOW}")
    one.tune("noisy.png")
    slider = one.control(CLIP)
    one.record()
    one.take(slider)
    for number, share in enumerate(np.linspace(0.1, 0.9, 25)):
        one.page.mouse.move(*one.grip(slider, share))
        one.frame()
        if number in (8, 16):  # the hand rests for a moment: a whole result is on its way when it moves on
            one.page.wait_for_event("request", lambda request: request.url.endswith("/live/full"))
    one.page.mouse.up()
    one.shows(film("noisy.png"))
    order = [digest({CLIP: round(1 + 0.1 * stop, 1)}) for stop in range(71)]
    shown = [order.index(facts["settings"]) for facts in one.recorded() if facts["settings"] in order]
    assert len(set(shown)) > 3
    assert shown == sorted(shown)


@pytest.mark.parametrize("there_and_back", ["window", "crop"])
def test_over_a_slow_network_a_move_there_and_back_leaves_the_film_before_as_it_was(
    there_and_back: str, visit: Visits
) -> None:
    one = visit()
    one.page.add_init_script(f"const DELAYS = [400];{SLOW}")
    one.tune("noisy.png", {"crop.on": True})
    one.press("1", "t")
    if there_and_back == "window":
        one.press("n", "x")
    else:
        one.control("crop.left").focus()
        one.page.keyboard.press("ArrowRight", delay=60)
        one.page.keyboard.press("ArrowLeft")
    # Late answers of the way there come after those of the way back were asked for.
    painted = one.sequence
    one.wait("(root, p) => Number(root.dataset.sequence) > p && root.dataset.state === 'full'", painted)
    one.shows(film("noisy.png"), {"crop.on": True})
    one.page.keyboard.down("o")
    same(one, laid(one, film("noisy.png")))
    one.page.keyboard.up("o")


def test_two_visitors_at_once_see_each_their_own_film(visit: Visits) -> None:
    two = {"dark.png": visit(), "bright.png": visit()}
    for name, one in two.items():
        one.tune(name)
    for share in (0.3, 0.9, 0.1, 0.6):
        for number, one in enumerate(two.values()):
            one.drag(one.control(CLIP), share + 0.1 * number)
    for name, one in two.items():
        one.shows(film(name))
        assert numbers(one.page) == expected(film(name), one.settings())
    assert two["dark.png"].says("settings") != two["bright.png"].says("settings")


# --- what is painted ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["chest.png", "chest_16bit.png", "damaged.png", "large"])
def test_at_true_pixels_the_canvas_is_the_result_and_the_film_before_while_o_is_held(name: str, visit: Visits) -> None:
    one = visit()
    opened(one, name)
    one.press("1", "t")
    pair = run_pair(film(name), {})
    after, before = (laid(one, windowed(image)) for image in (pair.after, pair.before))
    assert not np.array_equal(after, before)
    same(one, after)
    one.page.keyboard.down("o")
    same(one, before)
    one.page.keyboard.up("o")
    same(one, after)
    expect(one.page.locator(".rt-label").first).to_have_text("After")


def test_on_a_dense_screen_true_pixels_are_those_of_the_screen(visit: Visits) -> None:
    one = visit(device_scale_factor=2)
    one.tune("noisy.png")
    one.press("1", "t")
    box = one.box(one.canvas)
    assert list(one.size()) == pytest.approx([2 * box["width"], 2 * box["height"]], abs=2)
    same(one, laid(one, run(film("noisy.png"), {})))
    one.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(one.page.locator(".rt-status")).to_contain_text(re.compile(r"^x (319|320|321), y (319|320|321) px"))


def test_the_screen_shows_the_canvas_as_it_is(visit: Visits) -> None:
    import io

    from PIL import Image as Pillow

    one = visit()
    one.tune("chest_16bit.png")
    one.press("1", "t")
    width, height = one.size()
    box = one.box(one.canvas)
    clip: FloatRect = {"x": math.ceil(box["x"]), "y": math.ceil(box["y"]), "width": width - 1, "height": height - 1}
    seen = np.asarray(Pillow.open(io.BytesIO(one.page.screenshot(clip=clip))).convert("L"))
    painted = one.painted()
    middle = (slice(60, 440), slice(60, width - 60))  # within the labels and the outline of the focus
    shifts = [np.roll(painted, (-dy, -dx), (0, 1))[: height - 1, : width - 1] for dy in (0, 1) for dx in (0, 1)]
    assert any(np.array_equal(seen[middle], shifted[middle]) for shifted in shifts)


@pytest.mark.parametrize("name", ["noisy.png", "chest_16bit.png"])
def test_the_window_changes_the_picture_and_neither_the_result_nor_a_number(name: str, visit: Visits) -> None:
    one = visit()
    page = one.tune(name)
    one.press("1", "t")
    pixels, measured = one.says("pixels"), numbers(page)
    seen = [one.painted()]
    for moves in (("[",), ("n", "n", "n"), ("]", "]", "w"), ("x",)):
        one.press(*moves)
        now = window(one)
        one.settled()
        same(one, laid(one, windowed(run(film(name), {}), now)))
        assert (one.says("pixels"), numbers(page)) == (pixels, measured)
        seen.append(one.painted())
    assert window(one) == Window()
    assert [np.array_equal(a, b) for a, b in pairwise(seen)] == [False] * 4
    one.drag(page.locator("[data-display='level']"), 0.3)
    one.drag(page.locator("[data-display='width']"), 0.4)
    assert window(one).level < 90
    assert window(one).width < 120
    page.keyboard.down("o")
    same(one, laid(one, windowed(film(name), window(one))))
    page.keyboard.up("o")
    one.settled()
    assert (one.says("pixels"), numbers(page)) == (pixels, measured)
    for name in ("level", "width"):
        page.locator("label").filter(has=page.locator(f"[data-display='{name}']")).dblclick(position={"x": 6, "y": 8})
    assert window(one) == Window()


def test_each_view_shows_what_it_says(visit: Visits) -> None:
    one = visit()
    page = one.tune("noisy.png")
    pair = run_pair(film("noisy.png"), {})
    width, height = one.size()
    one.press("t", "3")
    before, after = laid(one, pair.before), laid(one, pair.after)

    def cut_at(column: int) -> bool:
        seen = one.painted()
        left, right = slice(0, column - 12), slice(column + 12, width)  # beside the line and its handle
        return np.array_equal(seen[:, left], before[:, left]) and np.array_equal(seen[:, right], after[:, right])

    one.until(lambda: cut_at(width // 2))
    one.drag_over((width / 2 + 5, 100), (width * 0.3, 120))
    one.until(lambda: cut_at(round(width * 0.3)))
    one.press(".", ".")
    one.until(lambda: cut_at(round(width * 0.4)))
    one.press(",")
    one.until(lambda: cut_at(round(width * 0.35)))
    assert page.locator(".rt-label").all_text_contents() == ["Before", "After"]

    one.press("2")
    half = (width - 2) // 2
    one.until(lambda: np.array_equal(one.painted((0, 0, half, height)), laid(one, pair.before, half)))
    assert np.array_equal(one.painted((width - half, 0, half, height)), laid(one, pair.after, half))

    one.press("4")
    for picture, label in ((before, "Before"), (after, "After"), (before, "Before")):
        same(one, picture)
        expect(page.locator(".rt-label").first).to_have_text(label)

    one.press("5")
    one.settled()
    for gain in (4, 7):
        shown = difference(pair.before, pair.after, gain)
        same(one, laid(one, shown))
        rose, fell = pair.after > pair.before, pair.after < pair.before
        assert shown[rose].min() > MID_GREY > shown[fell].max()
        one.press("g")


def test_the_difference_is_mid_grey_where_no_step_runs_and_gain_widens_it(visit: Visits) -> None:
    one = visit()
    page = one.tune("noisy.png", untouched())
    one.press("t", "5")
    gain = page.locator("[data-display='gain']")
    expect(gain).to_be_visible()
    same(one, laid(one, np.full_like(film("noisy.png"), MID_GREY)))
    one.control("gamma.on").focus()
    page.keyboard.press("Space")
    one.number("gamma.gamma").fill("0.8")
    page.keyboard.press("Enter")
    one.settled()
    spans = []
    for share in (0.0, 0.2, 0.5):
        one.drag(gain, share)
        pair = run_pair(film("noisy.png"), one.settings())
        same(one, laid(one, difference(pair.before, pair.after, float(gain.input_value()))))
        spans.append(int(one.painted().max()))
        assert one.painted((300, 200, 100, 100)).min() > MID_GREY  # brighter everywhere in the chest
    assert spans[0] < spans[1] <= spans[2]


@pytest.mark.parametrize("width", [1440, 1280])
def test_the_picture_stays_where_it_is_in_every_view(width: int, visit: Visits) -> None:
    one = visit(viewport={"width": width, "height": 800})
    one.tune("noisy.png")
    places = []
    for view in ("single", "side", "swipe", "flicker", "difference"):
        one.view(view)
        places.append(one.box(one.canvas))
    assert places == places[:1] * 5


def test_side_by_side_both_films_have_a_loupe_at_the_same_place(visit: Visits) -> None:
    one = visit()
    page = one.tune("noisy.png")
    one.press("2")
    width, height = one.size()
    plain = one.painted()
    one.press("l")
    one.until(lambda: not np.array_equal(one.painted(), plain))
    changed = one.painted() != plain
    halves = changed[:, : width // 2], changed[:, width - width // 2 :]
    for half in halves:
        rows, columns = np.nonzero(half)
        assert (rows.min() + rows.max()) / 2 == pytest.approx(height / 2, abs=3)
        assert (columns.min() + columns.max()) / 2 == pytest.approx(width / 4, abs=4)
    assert page.locator("[data-tool=loupe]").get_attribute("aria-pressed") == "true"


def test_a_film_of_quite_another_size_is_shown_whole_and_the_place_comes_back_after_it(visit: Visits) -> None:
    one = visit()
    one.upload(("tiny.png", png(3, 5)), ("like.png", png(640, 640, seed=5)))
    one.open_upload()
    one.choose("Noisy")
    one.press("t", "+", "+", "ArrowRight")
    place = one.place
    one.choose("tiny.png")
    assert one.place[1:] == (2.5, 1.5)
    for name in ("like.png", "Noisy"):
        one.choose(name)
        assert one.place == pytest.approx(place)


def test_a_short_window_leaves_room_for_the_controls(visit: Visits) -> None:
    one = visit(viewport={"width": 720, "height": 450})
    page = one.tune("chest.png")
    one.control(CLIP).focus()
    page.wait_for_timeout(200)
    assert one.box(page.locator(".rt-bar"))["y"] < 0
    box = one.box(one.control(CLIP))
    assert 60 < box["y"] < 430


def test_the_loupe_shows_the_pixels_twice_as_large(visit: Visits) -> None:
    one = visit()
    page = one.tune("noisy.png")
    one.press("1", "t", "l")
    assert pressed(one, "loupe") == "true"
    page.mouse.move(*one.at(400, 250))
    flat = laid(one, run(film("noisy.png"), {}))
    wanted = np.repeat(np.repeat(flat[240:260, 390:410], 2, 0), 2, 1)
    one.until(lambda: np.array_equal(one.painted((380, 230, 40, 40)), wanted))
    one.press("l")
    same(one, flat)


# --- place and zoom -----------------------------------------------------------------------------------------------


def test_the_wheel_zooms_where_it_points_and_a_drag_pans(visit: Visits) -> None:
    one = visit()
    page = one.tune("chest.png")
    one.press("1")
    width, height = one.size()
    box = one.box(one.canvas)
    pointer = (600, 300)  # a wheel tells whole numbers only
    at = [(pointer[0] - box["x"]) * width / box["width"], (pointer[1] - box["y"]) * height / box["height"]]
    page.mouse.move(*pointer)

    def under() -> tuple[float, float]:
        zoom, x, y = one.place
        return x + (at[0] - width / 2) / zoom, y + (at[1] - height / 2) / zoom

    x, y = under()
    zooms = [one.place[0]]
    for turn in (-120, -240, -240, 180):
        page.mouse.wheel(0, turn)
        one.wait("(root, zoom) => Number(root.dataset.zoom) !== zoom", zooms[-1])
        zooms.append(one.place[0])
        assert under() == pytest.approx((x, y), abs=0.3)
    assert zooms[0] < zooms[1] < zooms[2] < zooms[3] > zooms[4]
    for _ in range(40):  # as a touchpad tells it
        page.mouse.wheel(0, -7)
    one.wait("(root, zoom) => Number(root.dataset.zoom) > zoom", 1.7 * zooms[-1])
    one.frame()
    assert under() == pytest.approx((x, y), abs=0.3)
    zoom, x, y = one.place
    one.drag_over((400, 200), (500, 160))
    assert one.place == pytest.approx((zoom, x - 100 / zoom, y + 40 / zoom), abs=0.11)
    page.mouse.dblclick(*one.at(200, 200))
    one.wait("root => root.dataset.x === '512.0' && root.dataset.y === '512.0'")
    assert one.place[0] == zooms[0]


def test_who_has_zoomed_in_stays_there_whatever_changes(visit: Visits) -> None:
    one = visit()
    page = one.tune("dark.png")
    page.mouse.move(*one.at(300, 150))
    page.mouse.wheel(0, -700)
    one.wait("root => Number(root.dataset.zoom) > 2")
    page.mouse.move(0, 0)
    one.frame()
    place = one.place
    assert place[1:] != (384, 384)

    one.drag(one.control(CLIP), 0.6)
    one.shows(film("dark.png"))
    assert one.place == place
    for view in ("single", "side", "difference", "flicker", "swipe"):
        one.view(view)
        assert one.place == place, view
    one.choose("Bright")
    one.shows(film("bright.png"))
    assert one.place == place
    page.get_by_role("link", name="Home").first.click()
    page.get_by_role("button", name="Chest, 8 bit", exact=True).wait_for()
    page.get_by_role("link", name="Tune").first.click()
    one.shows(film("bright.png"))
    assert one.place == place
    assert float(one.settings()[CLIP]) > 4
    one.choose("Chest, 8 bit")
    one.shows(film("chest.png"))
    larger = 1024 / 768  # and shows the same part of the film
    assert one.place == pytest.approx((place[0] / larger, place[1] * larger, place[2] * larger), abs=0.2)


def touch(session: CDPSession, kind: str, *points: tuple[float, float]) -> None:
    session.send(
        "Input.dispatchTouchEvent",
        {"type": kind, "touchPoints": [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]},
    )


def test_fingers_pan_and_pinch(visit: Visits) -> None:
    one = visit(viewport={"width": 390, "height": 844}, has_touch=True)
    page = one.tune("chest.png")
    one.press("1", "t")
    session = page.context.new_cdp_session(page)
    box = one.box(one.canvas)
    left, top = box["x"], box["y"]
    width, height = one.size()
    touch(session, "touchStart", (left + 200, top + 150))
    for step in range(1, 6):
        touch(session, "touchMove", (left + 200 - 10 * step, top + 150 + 4 * step))
    touch(session, "touchEnd")
    one.wait("root => root.dataset.x !== '512.0'")
    one.frame()
    assert one.place == pytest.approx((1, 562, 492), abs=1)
    assert one.box(one.canvas) == box  # the page has not scrolled instead

    _, x, y = one.place
    middle = (left + 150, top + 100)
    under = x + (150 - width / 2), y + (100 - height / 2)
    apart = [30, 40, 50, 60]
    touch(session, "touchStart", (middle[0] - 30, middle[1]))
    touch(session, "touchStart", (middle[0] - 30, middle[1]), (middle[0] + 30, middle[1]))
    for reach in apart[1:]:
        touch(session, "touchMove", (middle[0] - reach, middle[1]), (middle[0] + reach, middle[1]))
    touch(session, "touchEnd")
    one.wait("root => Number(root.dataset.zoom) > 1.9")
    one.frame()
    zoom, x, y = one.place
    assert zoom == pytest.approx(2, abs=0.05)
    assert (x + (150 - width / 2) / zoom, y + (100 - height / 2) / zoom) == pytest.approx(under, abs=1.5)


# --- keys ---------------------------------------------------------------------------------------------------------


def test_each_key_acts(visit: Visits) -> None:
    one = visit()
    page = one.tune("chest.png")
    for number, view in enumerate(("single", "side", "swipe", "flicker", "difference"), 1):
        one.press(str(number))
        assert pressed(one, view) == "true"
    one.press("1", "f")
    fitting = one.place
    one.press("t")
    assert one.place == (1, 512, 512)
    one.press("+", "=")
    assert one.place[0] == pytest.approx(1.25**2, abs=0.001)
    one.press("-", "-")
    assert one.place[0] == 1
    for key, x, y in (
        ("ArrowRight", 572, 512),
        ("ArrowDown", 572, 572),
        ("ArrowLeft", 512, 572),
        ("ArrowUp", 512, 512),
    ):
        one.press(key)
        assert one.place == (1, x, y)
    expect(page.locator(".rt-status")).to_contain_text("x 512, y 512")
    one.press("0")
    assert one.place == fitting
    for key, tool in (("l", "loupe"), ("m", "mark")):
        one.press(key)
        assert pressed(one, tool) == "true"
        one.press(key)
        assert pressed(one, tool) == "false"
    for key, wanted in (("[", (132.5, 255)), ("]", (127.5, 255)), ("n", (127.5, 245)), ("w", (127.5, 255))):
        one.press(key)
        assert window(one) == wanted
    one.press("n", "[", "x")
    assert window(one) == Window()
    one.press("5", "g")
    expect(page.locator("[data-display='gain']")).to_have_value("7")
    one.press("h")
    expect(page.locator("[data-log]")).to_be_checked()


def test_a_question_mark_opens_the_list_of_every_key_and_escape_closes_it(visit: Visits) -> None:
    one = visit()
    page = one.tune()
    dialog = page.locator("dialog.rt-keys")
    expect(dialog).to_be_hidden()
    one.press("?")
    expect(dialog).to_be_visible()
    listed = {key.lower() for key in dialog.locator("kbd").all_text_contents()}
    taken = page.evaluate(
        """() => {
          const event = key => new KeyboardEvent("keydown", { key, code: key, bubbles: true, cancelable: true });
          const keys = [..."abcdefghijklmnopqrstuvwxyz0123456789+-,.[]?"];
          document.querySelector("dialog.rt-keys").close();
          const taken = keys.filter(key => key !== "?" && !document.body.dispatchEvent(event(key)));
          window.dispatchEvent(new Event("blur"));
          document.querySelector("dialog.rt-keys").close();
          return taken;
        }"""
    )
    assert {*"12345okbzy+-ftlmnwxgh,.[]"} <= set(taken) <= listed | {"0"}  # 0 does the same as F
    assert not {"r", "c"} & set(taken)
    page.keyboard.press("?")
    expect(dialog).to_be_visible()
    page.keyboard.press("?")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    one.tool("help").click()
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()


def test_no_key_acts_behind_the_list_of_keys(visit: Visits) -> None:
    one = visit()
    page = one.tune()
    one.press("1", "?")
    place = one.place
    for key in "2mltk[n+":
        page.keyboard.press(key)
    page.keyboard.press("Escape")
    one.frame()
    assert pressed(one, "single") == "true"
    assert (pressed(one, "loupe"), pressed(one, "mark")) == ("false", "false")
    assert (one.place, window(one)) == (place, Window())


def test_letters_typed_in_a_field_are_letters(visit: Visits) -> None:
    one = visit()
    page = one.tune()
    one.press("1")
    place, settings, text = one.place, one.settings(), "boltmknzy?25fghxwrc,.[+-="
    for field in (page.get_by_label("Name"), page.get_by_label("Note")):
        field.click()
        page.keyboard.type(text)
        expect(field).to_have_value(text)
    one.number(CLIP).click()
    page.keyboard.type("lmz2")
    page.keyboard.press("Escape")
    one.canvas.focus()
    one.settled()
    assert pressed(one, "single") == "true"
    assert (pressed(one, "loupe"), pressed(one, "mark")) == ("false", "false")
    assert (one.place, window(one)) == (place, Window())
    assert {path for path, value in one.settings().items() if value != settings[path]} <= {CLIP}
    expect(page.locator("dialog.rt-keys")).to_be_hidden()
    expect(page.get_by_role("dialog")).to_have_count(0)  # nor one of Streamlit's, whose keys are R and C


def test_a_finger_that_scrolls_over_a_slider_moves_the_page_alone(visit: Visits) -> None:
    one = visit(viewport={"width": 390, "height": 844}, has_touch=True)
    page = one.tune("chest.png")
    session = page.context.new_cdp_session(page)
    slider = one.control(CLIP)
    slider.evaluate("one => one.scrollIntoView({ block: 'nearest' })")
    x, y = one.grip(slider, 0.8)
    touch(session, "touchStart", (x, y))
    for step in range(1, 14):
        touch(session, "touchMove", (x, y - 10 * step))
    touch(session, "touchEnd")
    one.until(lambda: one.box(slider)["y"] < y - 50)
    one.shows(film("chest.png"), {})
    slider.evaluate("one => one.scrollIntoView({ block: 'nearest' })")
    x, y = one.grip(slider, 0.8)
    touch(session, "touchStart", (x - 100, y))
    for step in range(1, 11):
        touch(session, "touchMove", (x - 100 + 10 * step, y))
    touch(session, "touchEnd")
    assert float(one.settings()[CLIP]) > 5
    one.shows(film("chest.png"))


def test_keys_go_to_the_film_once_another_one_or_a_preset_is_chosen(visit: Visits) -> None:
    one = visit()
    page = one.tune("chest.png")
    one.choose("Noisy")
    page.keyboard.press("2")
    expect(page.locator("[data-view=side]")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("combobox", name="Preset").click()
    page.get_by_role("option", name="published", exact=True).click()
    one.wait("(root, wanted) => root.dataset.settings === wanted", digest(presets.builtin("published").settings))
    page.keyboard.press("1")
    expect(page.locator("[data-view=single]")).to_have_attribute("aria-pressed", "true")


def test_keys_act_while_a_choice_has_the_focus(visit: Visits) -> None:
    one = visit()
    page = one.tune("noisy.png")
    one.control("normalize.method").select_option("percentile")
    one.control("normalize.method").focus()
    page.keyboard.press("n")
    assert window(one).width < 255
    assert one.settings()["normalize.method"] == "percentile"
    page.keyboard.press("z")
    assert one.settings()["normalize.method"] == "minmax"


def test_keys_step_a_slider_and_a_double_click_on_its_name_resets_it(visit: Visits) -> None:
    one = visit()
    page = one.tune()
    one.control(CLIP).focus()
    for keys, value in ((["ArrowRight"] * 3, 1.8), (["ArrowLeft"], 1.7), (["End"], 8), (["Home"], 1)):
        for key in keys:
            page.keyboard.press(key)
        assert one.settings()[CLIP] == value
    one.shows(film("chest.png"), {CLIP: 1})
    page.locator("[data-step=clahe] label").first.dblclick()
    one.shows(film("chest.png"), {})
    one.number("sharpen.sharpness").fill("4.5")
    page.keyboard.press("Enter")
    one.control("sharpen.gain").select_option("published")
    one.shows(film("chest.png"), {"sharpen.sharpness": 4.5, "sharpen.gain": "published"})
    page.locator("[data-reset=sharpen]").click()
    one.shows(film("chest.png"), {})
    expect(page.locator("[data-reset=sharpen]")).to_be_disabled()


def test_reset_all_goes_back_to_the_defaults_wherever_they_are_known(visit: Visits) -> None:
    one = visit()
    page = one.tune("noisy.png", {CLIP: 4.0, "gamma.on": True, "gamma.gamma": 0.5})
    one.drag(one.control("sharpen.sharpness"), 0.9)
    assert one.kept("sharpen")
    page.get_by_role("button", name="Reset all").click()
    one.wait("(root, wanted) => root.dataset.settings === wanted", digest({}))
    one.shows(film("noisy.png"), {})
    assert "clahe" not in one.kept()[1]
    one.press("z")
    assert one.settings()["gamma.gamma"] == 0.5


def test_undo_from_the_middle_of_a_drag_goes_back_to_where_it_began(visit: Visits) -> None:
    one = visit()
    one.tune("noisy.png")
    one.drag(one.control(CLIP), 0.5)
    one.settled()
    began = one.settings()
    one.take(one.control(CLIP))
    one.page.mouse.move(*one.grip(one.control(CLIP), 0.9), steps=5)
    one.page.keyboard.press("z")
    assert one.settings() == began
    one.page.mouse.up()


# --- back, forth, and a second setting ----------------------------------------------------------------------------


def test_undo_redo_and_a_click_in_the_history_bring_settings_back(visit: Visits) -> None:
    one = visit()
    page = one.tune("noisy.png")
    states = [one.settings()]
    for path, share in ((CLIP, 0.5), ("sharpen.sharpness", 0.8), (CLIP, 0.2)):
        one.drag(one.control(path), share, steps=8)
        one.settled()
        states.append(one.settings())
    assert len({digest(state) for state in states}) == 4
    for act, number in (("z", 2), ("Control+z", 1), ("y", 2), ("Control+y", 3)):
        one.press(act)
        one.shows(film("noisy.png"), states[number])
    for _ in range(3):
        one.tool("undo").click()
    one.shows(film("noisy.png"), states[0])
    expect(one.tool("undo")).to_be_disabled()
    one.tool("redo").click()
    one.shows(film("noisy.png"), states[1])
    past = page.locator(".rt-past li button")
    past.filter(has_text=f"Clip limit {states[3][CLIP]:g}, Sharpness").click()
    one.shows(film("noisy.png"), states[3])
    expect(past.and_(page.locator("[aria-current]"))).to_have_count(1)
    one.press("z")
    one.shows(film("noisy.png"), states[1])


@pytest.mark.parametrize("by", ["key", "button"])
def test_b_shows_the_settings_kept_for_as_long_as_it_is_held_and_commits_nothing(by: str, visit: Visits) -> None:
    one = visit()
    page = one.tune("noisy.png", {CLIP: 4.0})
    expect(one.tool("other")).to_be_disabled()
    one.press("k")
    one.drag(one.control(CLIP), 0.1)
    one.shows(film("noisy.png"))
    mine = one.settings()
    before = one.kept(f"{mine[CLIP]}")
    one.settled()
    told = len(one.sent)
    if by == "key":
        page.keyboard.down("b")
    else:
        one.tool("other").hover()
        page.mouse.down()
    one.wait("(root, wanted) => root.dataset.pixels === wanted", hashed(run(film("noisy.png"), {CLIP: 4.0})))
    assert one.says("settings") == digest({CLIP: 4.0})
    assert one.settings() == mine
    assert numbers(page) == expected(film("noisy.png"), {CLIP: 4.0})
    if by == "key":
        page.keyboard.up("b")
    else:
        page.mouse.up()
    one.shows(film("noisy.png"), mine)
    assert numbers(page) == expected(film("noisy.png"), mine)
    assert len(one.sent) == told
    assert one.kept() == before


# --- numbers ------------------------------------------------------------------------------------------------------


def test_a_region_is_measured_as_its_slices_are(visit: Visits) -> None:
    one = visit()
    page = one.tune("chest_16bit.png")
    pair = run_pair(film("chest_16bit.png"), {})
    whole = numbers(page)
    width, height = one.size()
    one.press("1", "t", "m")
    one.drag_over((250, 130), (400, 289))  # both pixels belong to it
    left, top = math.floor(width / 2 - 320 + 0.5), math.floor(height / 2 - 320 + 0.5)
    region = Region(250 - left, 130 - top, 151, 160)
    wait_for_numbers(page, of_part(pair, region), "region-metric")
    one.settled()
    assert numbers(page, "region-metric") == of_part(pair, region)
    assert numbers(page) == whole

    one.press("Shift+ArrowRight", "Shift+ArrowRight", "Shift+ArrowUp", "Control+ArrowDown")
    step = 13  # a fiftieth of the film's side
    moved = Region(region.x + 2 * step, region.y - step, region.width, region.height + step)
    wait_for_numbers(page, of_part(pair, moved), "region-metric")
    one.drag(one.control(CLIP), 0.5)
    one.settled()
    pair = run_pair(film("chest_16bit.png"), one.settings())
    assert numbers(page, "region-metric") == of_part(pair, moved)
    assert one.place == (1, 320, 320)  # to mark is not to pan
    one.press("m")
    expect(page.locator("[data-region-metric]").first).to_be_hidden()


@pytest.mark.parametrize("name", ["chest_16bit.png", "damaged.png"])
def test_the_grey_value_under_the_pointer_is_the_films(name: str, visit: Visits) -> None:
    one = visit()
    page = one.tune(name)
    one.press("1", "t")
    pair = run_pair(film(name), {})
    width, height = one.size()
    status = page.locator(".rt-status")
    _, x, y = one.place
    for at in ((200, 100), (431, 250), (555, 377)):
        page.mouse.move(*one.at(*at))
        px, py = at[0] - math.floor(width / 2 - x + 0.5), at[1] - math.floor(height / 2 - y + 0.5)
        before, after = int(pair.before[py, px]), int(pair.after[py, px])
        expect(status).to_have_text(re.compile(rf"^x {px}, y {py} px.* grey value {before} → {after} of \d+$"))
    page.mouse.move(0, 0)
    expect(status).not_to_contain_text("grey value")


def test_the_histogram_has_a_log_scale_and_marks_clipped_ends(visit: Visits) -> None:
    one = visit()
    data = png(seed=8)  # neither black nor white in it
    one.upload(("grey.png", data))
    page = one.open_upload()
    page.locator("[data-setting='normalize.on']").uncheck()
    one.settled()
    drawing = page.locator(".rt-histogram svg")
    line = drawing.locator("polyline")
    marks = drawing.locator(".rt-clipped")
    expect(marks).to_have_count(0)
    plain = line.get_attribute("points")
    page.locator("[data-log]").check()
    assert line.get_attribute("points") != plain
    page.locator("[data-log]").uncheck()
    assert line.get_attribute("points") == plain

    one.control("stretch.on").check()
    for path, value in (("stretch.low", "5"), ("stretch.high", "90")):
        one.number(path).fill(value)
        page.keyboard.press("Enter")
    settings = {"normalize.on": False, "stretch.on": True, "stretch.low": 5, "stretch.high": 90}
    one.shows(decode(data, "").pixels, settings)
    after = run(decode(data, "").pixels, settings)
    expect(marks).to_have_count(2)
    black, white = (f"{100 * np.mean(after == value):.1f} % pure" for value in (0, 255))
    expect(page.locator(".rt-ends")).to_contain_text(f"{black} black, {white} white")


# --- what leaves the page -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["mouse", "keys", "number"])
def test_who_downloads_at_once_gets_what_is_on_the_screen(by: str, visit: Visits) -> None:
    one = visit()
    page = one.tune("noisy.png")
    page.get_by_role("button", name="Download preset").scroll_into_view_if_needed()
    for share in (0.4, 0.7):
        if by == "mouse":
            one.drag(one.control(CLIP), share)
        elif by == "keys":
            one.control(CLIP).focus()
            for _ in range(7):
                page.keyboard.press("ArrowRight")
        else:
            one.number(CLIP).fill(str(10 * share))
        wanted = one.settings()
        _, text = download(page, "Download preset")
        assert presets.loads(text).settings == check(wanted)
        if by == "mouse":
            one.drag(one.control(CLIP), share / 3)
            wanted = one.settings()
            _, data = download(page, "Download the film after")
            assert np.array_equal(decode(data, "").pixels, run(film("noisy.png"), wanted))
    one.shows(film("noisy.png"), wanted)


def test_a_number_typed_arrives_exactly_and_a_link_keeps_it(visit: Visits) -> None:
    one = visit()
    page = one.tune("noisy.png")
    field = one.number(CLIP)
    field.fill("1.537")
    page.keyboard.press("Enter")
    one.shows(film("noisy.png"), {CLIP: 1.537})
    _, text = download(page, "Download preset")
    assert presets.loads(text).settings == check({CLIP: 1.537})
    _, link = one.kept("1.537")
    other = visit()
    other.page.goto(link)
    other.shows(film("noisy.png"), {CLIP: 1.537})
    expect(other.number(CLIP)).to_have_value("1.537")
    other.control("sharpen.on").focus()
    other.page.keyboard.press("Space")  # the slider, which has no such stop, must not round it on the way
    other.shows(film("noisy.png"), {CLIP: 1.537, "sharpen.on": False})
    for typed, taken in (("99", 8), ("-3", 1), ("", 1)):
        field.fill(typed)
        page.keyboard.press("Enter")
        one.shows(film("noisy.png"), {CLIP: taken})
        assert field.input_value() == f"{taken:.1f}"


# --- when something goes wrong ------------------------------------------------------------------------------------


def test_the_server_answers_nobody_without_the_films_own_token(visit: Visits) -> None:
    one = visit()
    tokens: list[str] = []
    one.page.on("request", lambda request: tokens.append(request.headers.get("x-radtune-token", "")))
    page = one.tune("dark.png")
    old = next(token for token in tokens if token)
    one.choose("Bright")
    new = tokens[-1]
    assert len({old, new}) == 2
    one.allowed.append("/radtune/live/")
    ask = """([kind, token]) => fetch(`/radtune/live/${kind}`, {
      method: "POST", headers: token ? { "X-RadTune-Token": token } : {}, body: "{}" }).then(answer => answer.status)"""
    for kind in ("preview", "full", "part", "value"):
        for token, status in ((None, 403), ("guessed", 403), (new[:-1], 403), (old, 403), (new, 200)):
            assert page.evaluate(ask, [kind, token]) == status, (kind, token)


def test_a_film_that_the_server_forgot_is_opened_again_by_itself(visit: Visits) -> None:
    one = visit()
    page = one.tune("dark.png")
    one.allowed.append("/radtune/live/")
    forgotten: list[str] = []

    def refuse(route: Route) -> None:
        token = route.request.headers["x-radtune-token"]
        if not forgotten:
            forgotten.append(token)
        if token in forgotten:
            route.fulfill(status=403, json={"error": "this film is not open here any more"})
        else:
            route.continue_()

    page.route(LIVE, refuse)
    one.drag(one.control(CLIP), 0.5)
    wanted = one.settings()
    one.shows(film("dark.png"), wanted)
    assert forgotten
    assert float(wanted[CLIP]) > 4


@pytest.mark.parametrize("how", ["abort", "500"])
def test_while_the_server_is_away_the_page_says_so_and_goes_on_when_it_is_back(how: str, visit: Visits) -> None:
    one = visit()
    page = one.tune("dark.png")
    one.allowed.append("/radtune/live/")
    page.route(LIVE, lambda route: route.abort() if how == "abort" else route.fulfill(status=500, body="oh"))
    one.drag(one.control(CLIP), 0.5)
    one.wait("root => root.dataset.state === 'error'")
    expect(page.locator(".rt-state")).to_contain_text("server")
    assert one.says("pixels") == ""
    page.unroute(LIVE)
    if how == "500":  # said once, not asked for again and again
        one.drag(one.control(CLIP), 0.6)
    one.shows(film("dark.png"))
    expect(page.locator(".rt-state")).to_have_text("Full size")


def test_a_detail_that_did_not_come_is_asked_for_again(visit: Visits) -> None:
    one = visit()
    one.upload(("large.png", large()))
    page = one.open_upload()
    one.allowed.append("/radtune/live/")
    page.route("**/radtune/live/part", lambda route: route.abort())
    with page.expect_event("requestfailed"):
        one.press("1", "t")
    page.unroute("**/radtune/live/part")
    same(one, laid(one, run(film("large"), {})))
    expect(one.root).to_have_attribute("data-state", "full")
    expect(page.locator(".rt-state")).to_have_text("Full size")
