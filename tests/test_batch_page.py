"""The Batch page without a browser: folders and processes of runs, what the page shows of them, and the downloads."""

from __future__ import annotations

import gc
import io
import json
import os
import re
import shutil
import signal
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import PIL.Image
import pyarrow.parquet as pq
import pytest
from streamlit.testing.v1 import AppTest
from test_pages import disconnect, errors, film_choice, film_of, handed, home, plain, png, send, table, visitor, well

from pages.ui import downloads, places, run_process, runs, sources, triage_panel
from pages.ui.runs import Plan, Run
from pages.ui.state import Session, Source
from xray_core import presets
from xray_core.batch_log import read_log
from xray_core.errors import FileError, SettingsError
from xray_core.files import find, read
from xray_core.metrics import METRICS
from xray_core.report_command import books
from xray_core.triage import Distribution

if TYPE_CHECKING:
    from starlette.testclient import TestClient

BATCH = "pages/4_Batch.py"
STANDARD = presets.builtin("classifier-224")
CUT = png()[:90]


@pytest.fixture(autouse=True)
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give each test a folder of runs of its own; what still goes on in the end is ended."""
    monkeypatch.setenv(places.RUNS_VARIABLE, str(tmp_path / "runs"))
    monkeypatch.delenv(places.ROOT_VARIABLE, raising=False)
    yield tmp_path / "runs"
    for process, _ in run_process._STARTED.values():
        process.kill()
        process.wait()
    run_process._STARTED.clear()
    sources.subfolders.clear()
    disconnect()


@pytest.fixture
def films(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Open a folder with three films, one of them cut short, to visitors."""
    folder = tmp_path / "open" / "north"
    folder.mkdir(parents=True)
    for number in range(2):
        (folder / f"film_{number}.png").write_bytes(png(seed=number))
    (folder / "cut.png").write_bytes(CUT)
    monkeypatch.setenv(places.ROOT_VARIABLE, str(folder.parent))
    return folder


@pytest.fixture
def many(films: Path) -> Path:
    """Put so many films into the folder that a run of it can be stopped."""
    data = (places.SAMPLES / "chest.png").read_bytes()
    (films / "many.png").write_bytes(data)
    for number in range(600):
        os.link(films / "many.png", films / f"many_{number}.png")
    return films


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(0.05)
    return found


def state(run: Run) -> str:
    return run_process.standing(run).state


def ended(run: Run) -> Run:
    until(lambda: not run_process.standing(run).busy)
    return run


def made(plan: Plan | None = None, uploads: runs.Uploads = (), name: str = "a run") -> Run:
    return runs.create(name, plan or Plan("folder", "north"), STANDARD, uploads)


def done(plan: Plan | None = None, uploads: runs.Uploads = ()) -> Run:
    run = made(plan, uploads)
    run_process.start(run)
    assert state(ended(run)) == "done"
    return run


def under_way(run: Run) -> Run:
    run_process.start(run)
    until(lambda: run_process.standing(run).progress.done)
    assert state(run) == "running"
    return run


def batch(**query: str) -> AppTest:
    page = home()
    page.query_params = dict(query)
    return page.switch_page(BATCH).run()


def press(page: AppTest, label: str) -> AppTest:
    (button,) = [one for one in page.button if one.label == label]
    return button.click().run()


def labels(page: AppTest) -> list[str]:
    return [button.label for button in page.button]


def words(page: AppTest) -> str:
    elements = [*page.caption, *page.markdown, *page.subheader, *page.info, *page.warning]
    return plain(" ".join(element.value for element in elements))


def only_run() -> Run:
    (run,) = runs.every()
    return run


# --- folders of runs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run_id", ["", ".", "..", "../x", "20260101-000000-0000000g", "/etc", "a" * 300, "x\0y"])
def test_an_id_leads_nowhere(run_id: str, films: Path) -> None:
    made()
    assert runs.find(run_id) is None


def test_a_run_is_found_again_by_its_folder_alone(films: Path) -> None:
    plan = Plan("folder", "north", "npz", "unit", 2, greys={"voi": "none"})
    run = made(plan, name="Gentle,\n <b>north</b>\u202e")
    found = only_run()
    assert found == run
    assert (found.name, found.plan) == ("Gentle, <b>north</b>_", plan)
    assert presets.load(str(found.preset)).digest == STANDARD.digest
    assert run.folder.stat().st_mode & 0o077 == 0


def test_what_is_no_run_is_passed_over(films: Path, shelf: Path) -> None:
    run = made()
    facts = json.loads((run.folder / "run.json").read_text())
    strange: list[object] = [[], {}, {"name": 3}, facts | {"created": "x"}, facts | {"created": "2026-01-01T00:00"}]
    plans: list[dict[str, object]] = [{"source": "/etc"}, {"format": "exe"}, {"workers": "2"}, {"workers": 0}]
    plans += [{"greys": {"voi": "x"}}, {"skip_good": 1}, {"quality": 90}, {"command": ["rm"]}]
    plans += [{"format": "jpg", "quality": quality} for quality in (0, 101, "90", True)]
    strange += [facts | {"plan": facts["plan"] | plan} for plan in plans]
    for number, content in enumerate([*map(json.dumps, strange), "{", "\0", "[" * 10_000]):
        folder = shelf / f"20260101-000000-{number:08x}"
        folder.mkdir()
        (folder / "run.json").write_text(content)
    (shelf / "20260101-000001-00000000").mkdir()
    (shelf / "20260101-000002-00000000").symlink_to(run.folder)
    (shelf / "20260101-000003-00000000").write_text("a file")
    shutil.copytree(run.folder, shelf / "somebody else's")
    assert runs.every() == [run]


def test_runs_are_listed_with_the_newest_first(films: Path) -> None:
    for number in range(3):
        run = made(name=str(number))
        run.folder.rename(run.folder.with_name(f"2026010{number + 1}-000000-00000000"))
    assert [run.name for run in runs.every()] == ["2", "1", "0"]


def test_uploads_keep_to_their_folder() -> None:
    names = ["film.png", "film.png", "../../out.png", "C:\\x\\film.png", "=cmd.png", ".hidden.png", "CON.png", "..", ""]
    names += ["a" * 300 + ".png", "a" * 300 + ".png"]
    run = made(Plan("upload"), [(name, name.encode()) for name in names])
    written = list((run.folder / "in").iterdir())
    assert sorted(path.read_bytes() for path in written) == sorted(name.encode() for name in names)
    assert not any(path.name.startswith((".", "=", "-")) for path in written)
    assert {path.name for path in run.folder.iterdir()} == {"in", "run.json", "preset.preset.json"}


def test_too_much_is_refused_and_nothing_stays(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "MOST_UPLOADED_BYTES", 1_000_000)
    with pytest.raises(FileError, match="At most 1 MB"):
        made(Plan("upload"), [("a.png", b"x" * 600_000), ("b.png", b"x" * 600_000)])
    with pytest.raises(SettingsError, match="Choose films"):
        made(Plan("upload"))
    with pytest.raises(SettingsError, match="one zip archive alone"):
        made(Plan("upload"), [("a.zip", archive({"a.png": png()})), ("b.png", png())])
    assert list(shelf.iterdir()) == []


def test_what_a_killed_server_left_is_swept_away_and_nothing_else(films: Path, shelf: Path) -> None:
    run_id = "20260101-000000-00000000"
    ours = [shelf / ".draft-abcd" / run_id, shelf / f".deleted-{run_id}"]
    others = [shelf / ".draft-thesis" / "chapter", shelf / ".deleted-letters"]
    for path in (*ours, *others):
        path.mkdir(parents=True)
        top = path if path.parent == shelf else path.parent
        os.utime(top, (0, 0))
    young = shelf / f".deleted-{run_id[:-1]}1"
    young.mkdir()
    made()
    assert not any(path.exists() for path in ours)
    assert all(path.exists() for path in (*others, young))


def test_a_folder_of_runs_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(places.RUNS_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(FileError, match="The folder of the runs cannot be written"):
        made(Plan("samples"))
    assert runs.every() == []


def test_a_run_is_deleted_with_all_that_is_its_own_and_no_more(films: Path, shelf: Path) -> None:
    run, other = done(), made(name="another")
    runs.delete(run)
    assert runs.every() == [other]
    until(lambda: not (shelf / f".deleted-{run.id}").exists())
    assert len(list(films.iterdir())) == 3
    with pytest.raises(FileError, match="not there any more"):
        runs.delete(run)


def test_a_folder_that_is_closed_or_leads_out_is_refused(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (films.parent / "out").symlink_to("/")
    for folder in ("../..", "out", "out/etc", "/etc"):
        with pytest.raises(FileError, match="leads out"):
            run_process.start(made(Plan("folder", folder)))
    run = made()
    monkeypatch.delenv(places.ROOT_VARIABLE)
    with pytest.raises(FileError, match="not open to visitors any more"):
        run_process.start(run)
    assert run_process._STARTED == {}


# --- processes ------------------------------------------------------------------------------------------------------


def test_a_run_is_the_command_line_with_what_the_form_said(films: Path) -> None:
    run = done(Plan("folder", "north", "npz", "unit", 1))
    assert sorted(path.name for path in find(run.out)) == ["film_0.npz", "film_1.npz"]
    assert {row["path"]: row["status"] for row in read_log(run.out / "log.csv")} == {
        "cut.png": "FAILURE",
        "film_0.png": "SUCCESS",
        "film_1.png": "SUCCESS",
    }
    assert (run.out / "report.html").is_file()
    assert "--voi none" in " ".join(run_process.command(made(Plan(greys={"voi": "none"}))))


def test_a_killed_run_is_found_and_gone_on_with(many: Path) -> None:
    run = under_way(made())
    process, _ = run_process._STARTED.pop(run.id)  # the server that started it is gone as well
    process.kill()
    process.wait()
    ended(run)
    standing = run_process.standing(run)
    assert standing.state == "stopped"
    assert "what was done is kept" in standing.words
    for number in range(200, 600):  # or it would take long
        (many / f"many_{number}.png").unlink()
    run_process.start(run)
    assert state(ended(run)) == "done"
    assert {path.name for path in find(many)} - {"cut.png"} <= {path.name for path in find(run.out)}


def test_a_run_goes_on_without_the_server_that_started_it(many: Path) -> None:
    run = under_way(made())
    process, _ = run_process._STARTED.pop(run.id)
    assert os.getpgid(process.pid) == process.pid != os.getpgid(0)
    assert state(run) == "running"
    run_process.start(run)  # it is going on: nothing happens
    assert run_process._STARTED == {}
    with pytest.raises(SettingsError, match="cancel it first"):
        runs.delete(run)
    process.send_signal(signal.SIGTERM)
    process.wait()
    assert run_process.standing(run).words == "It was ended from outside; what was done is kept."


def test_no_more_runs_go_on_than_the_server_bears(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_process, "MOST_AT_ONCE", 1)
    under_way(made())
    with pytest.raises(SettingsError, match="1 runs are going on"):
        run_process.start(made(name="another"))
    before = runs.every()
    page = press(batch(), "Start")
    assert page.error[0].value.startswith("1 runs are going on")
    assert runs.every() == before


def test_a_refusal_is_one_sentence_without_the_servers_paths() -> None:
    broken = archive({"a.png": png()})[:-30]
    run = made(Plan("upload"), [("films.zip", broken)])
    run_process.start(run)
    standing = run_process.standing(ended(run))
    assert standing.state == "refused"
    assert standing.words == "The zip archive is damaged or cut short."
    with pytest.raises(SettingsError, match=r"^0 images found; passed over: 1 no pictures\.$"):
        run_process.check(Plan("upload"), STANDARD, [("notes.txt", b"words")])


def test_inputs_that_go_away_end_a_run_in_words(many: Path) -> None:
    run = under_way(made())
    many.rename(many.with_name("away"))
    ended(run)
    assert (state(run), run_process.standing(run).words) == ("stopped", "The inputs are not there any more.")
    page = press(batch(run=run.id), "Go on")
    assert errors(page) == ["The folder of the films is not there any more."]


def test_a_rehearsal_says_what_a_run_would_do_and_leaves_nothing(films: Path, shelf: Path) -> None:
    outlook = run_process.check(Plan("folder", "north"), STANDARD)
    assert (outlook.found, outlook.tried) == (3, 3)
    assert ("film_0.png", "film_0.png") in outlook.first
    assert outlook.seconds is not None
    assert outlook.bytes > 0
    assert list(shelf.iterdir()) == []


# --- films of a run -------------------------------------------------------------------------------------------------


def numbers(run: Run) -> dict[str, int]:
    with books(run.out) as manifest:
        return {row["path"]: row["file"] for row in manifest.rows()}


def test_a_film_of_a_run_is_opened_by_its_number(films: Path) -> None:
    run = done()
    session = Session()
    sources.open_source(session, Source("run", f"{run.id}/{numbers(run)['film_1.png']}"))
    assert session.film is not None
    assert session.film.sha256 == read(films / "film_1.png").sha256
    session.close()
    for name in ("", run.id, f"{run.id}/", f"{run.id}/99", f"{run.id}/-1", f"{run.id}/1/..", f"../{run.id}/1"):
        with pytest.raises(FileError):
            runs.film(name)
    runs.delete(run)
    with pytest.raises(FileError, match="not there any more"):
        runs.film(f"{run.id}/1")


def test_a_film_of_an_uploaded_archive_is_opened() -> None:
    run = done(Plan("upload"), [("films.zip", archive({"deep/one.png": png(seed=1), "two.png": png(seed=2)}))])
    data, name = runs.film(f"{run.id}/{numbers(run)['deep/one.png']}")
    assert (data, name) == (png(seed=1), "one.png")


def test_a_film_that_was_turned_into_a_link_is_not_followed(films: Path, tmp_path: Path) -> None:
    run = done()
    name = f"{run.id}/{numbers(run)['film_0.png']}"
    (tmp_path / "secret.png").write_bytes(png())
    (films / "film_0.png").unlink()
    (films / "film_0.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(FileError, match="leads out"):
        runs.film(name)


# --- the page -------------------------------------------------------------------------------------------------------


def test_the_page_says_what_it_is_before_the_first_run(shelf: Path) -> None:
    page = well(batch())
    for said in ("No runs yet", "goes on when you close this page", "Everyone who can open this server", str(shelf)):
        assert said in words(page)
    assert page.radio(key="batch source").value == "samples"
    page.radio(key="batch source").set_value("folder").run()
    assert places.ROOT_VARIABLE in words(well(page))
    assert all(button.disabled for button in page.button if button.label in ("Check first", "Start"))


def test_a_run_on_the_samples_from_start_to_triage() -> None:
    page = batch()
    page.selectbox(key="batch preset").set_value("classifier-224").run()
    page.text_input(key="batch name").set_value("the **first**").run()
    press(well(page), "Check first")
    assert {metric.label: metric.value for metric in well(page).metric}["Films"] == "42"
    assert "Nothing was written" in words(page)
    press(page, "Start")
    run = only_run()
    assert page.query_params["run"] == run.id
    assert well(page).get("progress")
    ended(run)
    page.run()
    assert page.subheader[0].value == r"the \*\*first\*\*"
    shown = {metric.label: metric.value for metric in well(page).metric}
    assert 0 < int(shown.pop("Meet all targets")) < 42
    assert shown == {"Written": "42", "Failed": "0"}
    charts = page.get("vega_lite_chart") or page.get("arrow_vega_lite_chart")
    assert len(charts) == len(METRICS)
    assert len(page.image) == 12
    again = well(batch())  # a new visitor, and no address: the list names it
    assert listed_names(again) == ["**New run**", r"the \*\*first\*\*"]


@pytest.mark.parametrize("told", ["[" * 100_000, '{"phase": "stopped", "command": [], "words": 5}', "{}"])
def test_damaged_progress_of_one_run_leaves_the_page_as_it_is(films: Path, told: str) -> None:
    run, other = done(), made(name="another")
    (run.out / ".radtune" / "progress.json").write_text(told)
    page = well(batch(run=run.id))
    assert listed_names(page) == ["**New run**", "another", "a run"]
    assert runs.find(other.id) == other


def test_the_address_opens_a_run_and_an_unknown_one_is_told(films: Path) -> None:
    run = done()
    page = well(batch(run=run.id))
    assert page.subheader[0].value == "a run"
    page = well(batch(run="20260101-000000-00000000"))
    assert "not there any more" in words(page)
    page.radio(key="batch run").set_value(run.id).run()
    assert well(page).subheader[0].value == "a run"
    assert page.query_params["run"] == run.id


def listed_names(page: AppTest) -> list[str]:
    """The names in the list of runs as a person sees them, without the signs that have no width."""
    return [re.sub("[\u200b-\u200d\u2060\u2063]", "", label) for label in page.radio(key="batch run").options]


def test_runs_of_one_name_are_told_apart(films: Path) -> None:
    first = made()
    first.folder.rename(first.folder.with_name("20260101-000000-00000000"))
    first = runs.every()[0]
    second = made()
    page = batch(run=second.id)
    listed = page.radio(key="batch run")
    assert listed_names(page) == ["**New run**", "a run", "a run"]
    assert len(set(listed.options)) == 3
    told = [caption for caption in listed.proto.captions if caption]
    assert all(re.search(r", at \d\d:\d\d:\d\d$", caption) for caption in told)
    assert len(told) == 2
    shown = dict(zip(listed.options, ["", second.id, first.id], strict=True))
    runs.delete(second)
    third = made()
    page = batch(run=third.id)
    now = dict(zip(page.radio(key="batch run").options, ["", third.id, first.id], strict=True))
    # No label of a run ever becomes another's.
    assert all(now[label] == run_id for label, run_id in shown.items() if label in now)


def test_a_long_list_is_cut_until_it_is_wanted(films: Path) -> None:
    for number in range(12):
        run = made(name=str(number))
        run.folder.rename(run.folder.with_name(f"202601{number + 1:02}-000000-00000000"))
    page = batch(run="20260101-000000-00000000")
    newest = [str(number) for number in range(11, 1, -1)]
    assert listed_names(page) == ["**New run**", *newest, "0"]
    page.toggle(key="batch all").set_value(True).run()
    assert listed_names(page) == ["**New run**", *newest, "1", "0"]


def test_the_chosen_run_is_kept_over_a_change_of_page(films: Path) -> None:
    run = done()
    page = well(batch(run=run.id))
    page.switch_page("home.py").run()
    page.query_params = {}
    page.switch_page(BATCH).run()
    assert well(page).subheader[0].value == "a run"


def test_failures_are_told_by_cause_and_run_again(films: Path) -> None:
    run = done()
    page = well(batch(run=run.id))
    (cause,) = page.expander
    assert "1 × DECODE" in plain(cause.label)
    assert "damaged or cut short" in cause.label
    assert list(page.dataframe[0].value["Film"]) == ["cut.png"]
    (films / "cut.png").write_bytes(png(seed=9))
    press(page, "Run only the failures again")
    ended(run)
    page.run()
    shown = {metric.label: metric.value for metric in well(page).metric}
    assert shown == {"Written": "3", "Meet all targets": "0", "Failed": "0"}
    assert "Run only the failures again" not in labels(page)


def test_new_films_of_a_folder_are_taken_in(films: Path) -> None:
    run = done()
    (films / "new.png").write_bytes(png(seed=5))
    press(well(batch(run=run.id)), "Look for new films")
    ended(run)
    assert (run.out / "new.png").is_file()


def test_a_run_is_paused_gone_on_with_and_deleted(many: Path) -> None:
    run = under_way(made())
    page = well(batch(run=run.id))
    assert "Downloads hold what is done so far" in words(page)
    press(page, "Pause")
    until(lambda: state(run) == "paused")
    page.run()
    assert "Look at these first" in words(well(page))
    assert {metric.label for metric in page.metric} == {"Written", "Meet all targets", "Failed", "Left to do"}
    assert "Downloads hold what is done so far" in words(page)
    press(page, "Go on")
    until(lambda: state(run) == "running")
    page.run()
    press(page, "Cancel")
    until(lambda: state(run) == "cancelled")
    page.run()
    press(well(page), "Delete it for good")
    assert runs.every() == []
    assert well(page).subheader[0].value == "New run"
    assert "run" not in page.query_params


def test_a_folder_below_the_open_one_is_chosen(films: Path) -> None:
    (films / "deep").mkdir()
    (films.parent / ".hidden").mkdir()
    (films.parent / "link").symlink_to("/")
    page = well(batch())
    assert page.selectbox(key="batch folder ").options == ["north"]
    page.selectbox(key="batch folder ").set_value("north").run()
    page.selectbox(key="batch folder north").set_value("deep").run()
    press(page, "Check first")
    assert errors(page) == ["0 images found."]


def test_films_are_uploaded_and_run(films: Path) -> None:
    page = well(batch())
    page.radio(key="batch source").set_value("upload").run()
    press(page, "Start")
    assert errors(page) == ["Choose films to upload first."]
    page.file_uploader(key="batch files").set_value([("one.png", png(), "image/png")]).run()
    press(page, "Start")
    run = ended(only_run())
    assert [path.name for path in find(run.out)] == ["one.png"]
    assert "one" not in run.name


def test_good_films_are_left_and_jpegs_have_a_quality(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(places.ROOT_VARIABLE, str(places.SAMPLES))
    page = well(batch())
    assert not [field for field in page.number_input if field.key == "batch quality"]
    page.selectbox(key="batch format").set_value("jpg").run()
    page.number_input(key="batch quality").set_value(60).run()
    page.checkbox(key="batch skip good").check().run()
    press(page, "Start")
    run = ended(only_run())
    assert (run.plan.quality, run.plan.skip_good) == (60, True)
    assert run.name.startswith("sample_images, ")
    told = words(well(page.run()))
    assert "sample_images · " in told
    assert " · JPG of quality 60, " in told
    assert " · good films as they are" in told
    rows = read_log(run.out / "log.csv")
    assert {row["status"] for row in rows} == {"SUCCESS", "SKIPPED"}
    with PIL.Image.open(run.out / rows[0]["output"]) as rough:
        assert rough.quantization[0][0] > 8  # of quality 60 it is 13, of 95 it is 2


def test_a_run_that_another_tab_deletes_is_said_to_be_gone(films: Path) -> None:
    run = done()
    page = well(batch(run=run.id))
    runs.delete(run)
    assert "not there any more" in words(well(page.run()))


def test_a_preset_file_is_taken_and_a_bad_one_refused() -> None:
    page = batch()
    page.selectbox(key="batch preset").set_value("a file of mine").run()
    press(page, "Start")
    assert errors(page) == ["Choose the preset's file first."]
    page.file_uploader(key="batch preset file").set_value(("bad.json", b'{"format": "x"}', "application/json")).run()
    (refusal,) = errors(page)
    assert refusal.startswith("bad.json: format is 'radtune-preset'")
    assert runs.every() == []
    gentle = presets.create({"clahe.clip_limit": 1.25, "resize.on": True}, name="gentle")
    page.file_uploader(key="batch preset file").set_value(
        ("gentle.json", gentle.dumps().encode(), "application/json")
    ).run()
    press(page, "Start")
    assert presets.load(str(only_run().preset)) == gentle


def test_ranges_are_those_that_the_format_holds() -> None:
    page = batch()
    page.selectbox(key="batch format").set_value("npz").run()
    page.selectbox(key="batch range").set_value("zscore").run()
    page.selectbox(key="batch format").set_value("jpg").run()
    assert well(page).selectbox(key="batch range").value == "same"
    assert len(page.selectbox(key="batch range").options) == 2


def test_what_the_tune_page_has_is_the_usual_preset() -> None:
    page = home()
    visitor(page).use(presets.create({"clahe.clip_limit": 4.0, "resize.on": True}, name="strong"))
    page.switch_page(BATCH).run()
    assert "strong" in page.selectbox(key="batch preset").options[0]
    press(well(page), "Start")
    assert presets.load(str(only_run().preset)).settings["clahe.clip_limit"] == 4.0


def test_a_film_opens_in_tune_with_the_preset_of_the_run(films: Path) -> None:
    run = done()
    page = well(batch(run=run.id))
    next(button for button in page.button if button.label == "Open in Tune").click().run()
    shown = well(page)
    assert visitor(shown).settings == STANDARD.settings
    assert film_of(shown).name in ("film_0.png", "film_1.png")
    assert film_choice(shown).value == f"{film_of(shown).name} (run)"
    source = handed(shown)["film"]["source"]
    assert source[0] == "run"
    assert "film_" not in source[1]
    digest, numbers_shown = film_of(shown).sha256, table(shown)
    # After a reload the viewer brings the film back to a new session.
    fresh = home().switch_page("pages/1_Tune.py").run()
    send(fresh, revision=handed(fresh)["revision"], settings=STANDARD.settings, film=source)
    assert film_of(fresh).sha256 == digest
    assert table(well(fresh)) == numbers_shown


def test_pictures_that_are_gone_are_told_one_by_one(films: Path) -> None:
    run = done()
    (films / "film_0.png").unlink()
    page = well(batch(run=run.id))
    assert "No pictures: the file or folder does not exist" in words(page)
    assert len(page.image) == 2


def test_a_refused_run_says_why_and_can_be_tried_again() -> None:
    run = made(Plan("upload"), [("notes.txt", b"words")])
    run_process.start(run)
    page = batch(run=ended(run).id)
    assert errors(page) == ["0 images found; passed over: 1 no pictures."]
    assert "Try again" in labels(page)
    assert not page.metric


def spread(name: str, low: float, high: float, target: tuple[float, float] | None) -> Distribution:
    middle = (low + high) / 2
    width = (high - low) / 2 or 1.0
    edges = (low, low + width, low + 2 * width)
    metric = METRICS[name]
    return Distribution(metric, metric.judged, 3, edges, (3, 0), low, middle, middle, high, target, 1)


@pytest.mark.parametrize(
    ("name", "low", "high", "target"),
    [
        ("ssim", 0.2, 0.9, (0.85, 1.0)),
        ("ssim", 0.2, 0.5, (0.85, 1.0)),
        ("ssim", 0.9, 0.9, (0.85, 1.0)),
        ("brightness", 90, 150, (100, 160)),
        ("brightness", 90, 150, (200, 220)),
        ("brightness", 240, 250, (100, 160)),
        ("clipped", 0.02, 0.5, (0.0, 0.01)),
        ("clipped", 0, 0, (0.0, 0.01)),
        ("psnr", 10, 20, (30, float("inf"))),
        ("entropy", 7, 7, None),
    ],
)
def test_all_films_and_the_band_of_the_target_are_in_a_chart(
    name: str, low: float, high: float, target: tuple[float, float] | None
) -> None:
    spec = triage_panel.chart(METRICS[name], [spread(name, low, high, target)])
    *bands, bars = spec["layer"]
    ends = bars["encoding"]["x"]["scale"]["domain"]
    assert ends[0] < ends[1]
    assert ends[1] - ends[0] < 4 * max(high - low, *(target or (0, 0)), 0.1) or target == (30, float("inf"))
    assert [bar["films"] for bar in bars["data"]["values"]] == [3]
    assert all(ends[0] <= bar["low"] < bar["high"] <= ends[1] for bar in bars["data"]["values"])
    assert len(bands) == (target is not None)
    for band in bands:
        ((drawn),) = band["data"]["values"]
        assert ends[0] <= drawn["low"] < drawn["high"] <= ends[1]
    json.dumps(spec, allow_nan=False)


# --- downloads ------------------------------------------------------------------------------------------------------


def archive(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return stream.getvalue()


def test_results_come_as_a_zip_of_what_lies_in_their_folder(client: TestClient, films: Path, tmp_path: Path) -> None:
    run = done(Plan("folder"))
    (tmp_path / "secret").write_text("secret")
    (run.out / "link.png").symlink_to(tmp_path / "secret")
    (run.out / "linked").symlink_to(tmp_path)
    answer = client.get(downloads.link(run, downloads.OUTPUTS))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    assert answer.headers["content-disposition"] == 'attachment; filename="a-run.zip"'
    assert answer.headers["content-encoding"] == "identity"
    assert "content-security-policy" in answer.headers
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        assert packed.testzip() is None
        found = {name: packed.read(name) for name in packed.namelist()}
    whole = [path for path in run.out.rglob("*") if path.is_file() and not path.is_symlink()]
    shown = [path for path in whole if ".radtune" not in path.parts]
    assert found == {path.relative_to(run.out).as_posix(): path.read_bytes() for path in shown}
    assert {"north/film_0.png", "log.csv", "report.html", "used.preset.json"} <= found.keys()


def test_log_and_report_come_as_files(client: TestClient, films: Path) -> None:
    run = done()
    rows = client.get(downloads.link(run, downloads.CSV))
    assert rows.content == (run.out / "log.csv").read_bytes()
    report = client.get(downloads.link(run, downloads.HTML))
    assert report.content == (run.out / "report.html").read_bytes()
    assert report.headers["content-disposition"].startswith("attachment")
    table = pq.read_table(io.BytesIO(client.get(downloads.link(run, downloads.PARQUET)).content))
    assert table.column("path").to_pylist() == ["cut.png", "film_0.png", "film_1.png"]


def test_of_a_run_that_goes_on_the_log_is_what_is_done(client: TestClient, many: Path) -> None:
    run = under_way(made())
    for what in (downloads.CSV, downloads.HTML):
        answer = client.get(downloads.link(run, what))
        assert answer.status_code == 200
    with zipfile.ZipFile(io.BytesIO(client.get(downloads.link(run, downloads.OUTPUTS)).content)) as packed:
        assert packed.testzip() is None
        assert any(name.endswith(".png") for name in packed.namelist())
    run.books.wish("cancel")
    ended(run)


def test_before_there_is_anything_the_download_says_so(client: TestClient, films: Path) -> None:
    answer = client.get(downloads.link(made(), downloads.CSV))
    assert (answer.status_code, answer.text) == (409, "There is nothing to download yet.")


def test_no_token_but_the_runs_own_is_taken(client: TestClient, films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, other = done(), made()
    right = downloads.token(run.id)
    assert re.fullmatch("[0-9a-f]{64}", right)
    for wrong in ("x", right[:-1], right + "0", right.upper(), downloads.token(other.id), "é"):
        answer = client.get(f"/radtune/runs/{run.id}/{wrong}/{downloads.CSV}")
        assert answer.status_code == 403, wrong
        assert str(run.folder) not in answer.text
    link = downloads.link(run, downloads.CSV)
    assert client.get(link).status_code == 200
    # Another server process knows the link, another place of the runs does not.
    monkeypatch.setattr(downloads, "_FRESH", bytes(32))
    assert client.get(link).status_code == 200
    (run.folder.parent / ".key").unlink()
    assert client.get(link).status_code == 403
    assert (run.folder.parent / ".key").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "what", ["run.json", "..%2Frun.json", "%2Fetc%2Fpasswd", "film_0.png", ".radtune", "log.csv%00", "said.txt"]
)
def test_nothing_else_can_be_asked_for(client: TestClient, films: Path, what: str) -> None:
    run = made()
    answer = client.get(f"/radtune/runs/{run.id}/{downloads.token(run.id)}/{what}")
    assert "preset" not in answer.text
    assert answer.status_code in (400, 404)


@pytest.mark.parametrize("run_id", ["20260101-000000-00000000", "x", "..."])
def test_a_token_for_what_is_no_run_finds_nothing(client: TestClient, run_id: str) -> None:
    address = f"/radtune/runs/{run_id}/{downloads.token(run_id)}/{downloads.CSV}"
    assert client.get(address).status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_downloads_are_asked_by_get(client: TestClient, films: Path, method: str) -> None:
    assert client.request(method, downloads.link(made(), downloads.CSV)).status_code == 405


def test_a_foreign_host_gets_no_download(client: TestClient, films: Path) -> None:
    answer = client.get(downloads.link(done(), downloads.CSV), headers={"host": "evil.example"})
    assert answer.status_code == 403


def test_a_zip_is_made_piece_by_piece(tmp_path: Path) -> None:
    (tmp_path / "large.bin").write_bytes(os.urandom(5 << 20))
    pieces = list(downloads.zipped(tmp_path))
    assert max(map(len, pieces)) < 2 << 20
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as packed:
        assert packed.read("large.bin") == (tmp_path / "large.bin").read_bytes()


def test_a_download_that_is_broken_off_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "large.bin").write_bytes(os.urandom(3 << 20))
    stream = downloads.zipped(tmp_path)
    next(stream)
    holder: list[object] = [stream]
    holder.append(holder)  # a circle, which only the garbage collection finds
    del stream, holder
    gc.collect()  # what goes wrong in it, pytest makes an error of
