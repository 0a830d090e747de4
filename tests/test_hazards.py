"""What a batch never touches, mixes up or leaves unsaid: other people's files, other runs, books that were damaged."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, nullcontext
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pytest
from batches import QUICK, apply, by_path, contents, outputs

from xray_core import batch_command, batch_task, stores
from xray_core.batch import Job
from xray_core.batch_plan import prepare
from xray_core.batch_terms import Options
from xray_core.cli import main
from xray_core.errors import FileError, PresetError, RunError, SettingsError
from xray_core.files import find, write
from xray_core.image import Image
from xray_core.ledger import refusals
from xray_core.limits import Limits
from xray_core.manifest import Manifest, Task
from xray_core.names import LOG, REPORT
from xray_core.presets import create
from xray_core.rehearsal import rehearse
from xray_core.report_command import books
from xray_core.run_folder import STATE, Progress, RunFolder
from xray_core.stores import OutFolder

Textured = Callable[..., Image]
ANY_BYTES = pytest.mark.skipif(sys.platform != "linux", reason="here every name is UTF-8")


@pytest.fixture
def films(tmp_path: Path, textured: Textured) -> Path:
    folder = tmp_path / "in"
    for number in range(6):
        write(folder / f"film_{number}.png", textured(60, 70, seed=number))
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out"


def said(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """Run the command line here; returns its status and what it said."""
    capsys.readouterr()
    status = main([str(word) for word in words])
    return status, capsys.readouterr().err


# --- Files that are none of its own -----------------------------------------------------------------------------------


def test_a_folder_that_is_mounted_twice_is_one_folder(
    films: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (target / "below").mkdir(parents=True)
    (films / "deep").mkdir()
    before = contents(films)
    real = Path.samefile
    monkeypatch.setattr(
        Path, "samefile", lambda self, other: {self, other} == {films, target} or bool(real(self, other))
    )
    for place in (target, target / "below"):
        for options in ({"overwrite": True}, {"shard": (1, 2)}):
            with pytest.raises(SettingsError, match="that of the inputs or inside it"):
                apply(films, place, **options)
    with pytest.raises(SettingsError, match="holds the inputs"):
        apply(films / "deep", target)
    assert contents(films) == before


def test_a_folder_of_films_that_is_mounted_elsewhere_takes_no_outputs(
    films: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (films / "sub").mkdir()
    shutil.copy(films / "film_0.png", films / "sub" / "film_0.png")
    target.mkdir()
    before, real = contents(films), Path.samefile
    mounted = {films / "sub", target}
    monkeypatch.setattr(Path, "samefile", lambda self, other: {self, other} == mounted or bool(real(self, other)))
    for options in ({}, {"overwrite": True}):
        with pytest.raises(SettingsError, match=r"is .*sub, among the inputs"):
            apply(films, target, **options)
        assert list(target.iterdir()) == []
    # The other way round: the inputs are mounted from a folder of the outputs.
    mounted = {films, target / "sub"}
    (target / "sub").mkdir()
    out = OutFolder(target, tmp_path, films)
    out.write(PurePath("film.png"), b"film")
    for path in ("sub/film.png", "sub/deep/film.png"):
        with pytest.raises(FileError, match="leads out of the outputs' folder"):
            out.write(PurePath(path), b"film")
    assert contents(films) == before


def test_a_part_takes_no_folder_that_holds_other_things(films: Path, target: Path) -> None:
    write(target / "film_0.png", np.zeros((9, 9), np.uint8))
    before = contents(target)
    with pytest.raises(SettingsError, match="the folder is not empty"):
        apply(films, target, shard=(1, 2))
    assert contents(target) == before
    shutil.rmtree(target)
    apply(films, target)
    shutil.rmtree(target / STATE)
    with pytest.raises(SettingsError, match="a run without its books"):
        apply(films, target, shard=(1, 2))


@pytest.mark.parametrize("name", [STATE, f"{STATE}/parts"])
def test_books_behind_a_link_are_refused(films: Path, target: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "film.png").write_bytes(b"film")
    (target / name).parent.mkdir(parents=True)
    (target / name).symlink_to(tmp_path / "other")
    with pytest.raises(RunError, match="a link") as caught:
        apply(films, target)
    assert caught.value.code == "CANNOT_WRITE"
    assert contents(tmp_path / "other") == {"film.png": b"film"}
    (target / name).unlink()
    (target / name).write_bytes(b"notes")
    with pytest.raises(RunError, match="a file"):
        apply(films, target, overwrite=True)
    assert (target / name).read_bytes() == b"notes"


def test_what_is_refused_leaves_everything_as_it_was(films: Path, target: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    apply(films, target)
    before = outputs(target), by_path(target)
    assert apply(tmp_path / "empty", target, overwrite=True).found == 0
    assert (outputs(target), by_path(target)) == before
    assert apply(films, target, resume=True).unchanged == 6
    with pytest.raises(SettingsError, match="no run here whose failures"):
        apply(films, tmp_path / "new", resume=True, failures_only=True)
    assert not (tmp_path / "new").exists()
    assert apply(tmp_path / "empty", tmp_path / "mine").found == 0
    assert not (tmp_path / "mine").exists()
    (tmp_path / "mine" / STATE / "parts").mkdir(parents=True)
    notes = [tmp_path / "mine" / STATE / "note.txt", tmp_path / "mine" / STATE / "parts" / "note.txt"]
    for note in notes:
        note.write_text("mine")
    assert apply(tmp_path / "empty", tmp_path / "mine").found == 0
    assert all(note.is_file() for note in notes)
    for note in notes:
        note.unlink()
    assert apply(tmp_path / "empty", tmp_path / "mine").found == 0
    assert list((tmp_path / "mine").iterdir()) == []


@pytest.mark.parametrize(("shards", "over"), [([(1, 2), (2, 2)], (1, 1)), ([(1, 1)], (1, 2)), ([(1, 2)], (1, 3))])
def test_empty_inputs_cost_no_other_run_its_books(
    films: Path, target: Path, tmp_path: Path, shards: list[tuple[int, int]], over: tuple[int, int]
) -> None:
    (tmp_path / "empty").mkdir()
    for shard in shards:
        apply(films, target, shard=shard)
    with books(target) as manifest:
        before = list(manifest.rows())
    assert apply(tmp_path / "empty", target, overwrite=True, shard=over).found == 0
    with books(target) as manifest:
        assert list(manifest.rows()) == before
    for shard in shards:
        assert apply(films, target, resume=True, shard=shard).failures == 0


def test_inputs_that_are_empty_today_leave_the_log_alone(films: Path, target: Path, tmp_path: Path) -> None:
    (films / "bad.png").write_bytes(b"no picture")
    apply(films, target)
    before = by_path(target)
    (tmp_path / "empty").mkdir()
    assert apply(tmp_path / "empty", target, resume=True).found == 0
    assert by_path(target) == before


# --- Films that cannot be looked at today -----------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [Limits(pixels=10), Limits(file_bytes=10)])
def test_limits_of_another_day_cost_no_output(films: Path, target: Path, limits: Limits) -> None:
    apply(films, target)
    before = outputs(target), by_path(target)
    apply(films, target, resume=True, verify=True, limits=limits)
    assert (outputs(target), by_path(target)) == before
    assert apply(films, target, resume=True, verify=True).unchanged == 6


@pytest.mark.parametrize("limits", [Limits(pixels=10), Limits(file_bytes=10)])
@pytest.mark.parametrize("harm", ["edited", "one page is gone", "a page had failed"])
def test_what_was_made_of_a_film_stays_while_it_cannot_be_done(
    films: Path, target: Path, harm: str, limits: Limits
) -> None:
    pages = {name: np.random.default_rng(5).integers(0, 255, (50, 60), dtype=np.uint8) for name in "abc"}
    if harm == "a page had failed":
        pages["b"] = np.full((50, 60), 7.0)  # type: ignore[assignment]
    np.savez(films / "pages.npz", **pages)  # type: ignore[arg-type]
    apply(films, target)
    made = target / "pages.page1.png"
    if harm == "edited":
        made.write_bytes(made.read_bytes() + b"a note")
    if harm == "one page is gone":
        made.unlink()
    before = outputs(target), by_path(target)
    summary = apply(films, target, resume=True, limits=limits)
    assert summary.failures >= 1
    assert summary.kept >= 1
    assert (outputs(target), by_path(target)) == before
    apply(films, target, resume=True)
    assert {"pages.page1.png", "pages.page3.png"} <= outputs(target).keys()


def test_a_film_that_became_too_large_has_no_result_any_more(films: Path, target: Path) -> None:
    apply(films, target)
    write(films / "film_0.png", np.random.default_rng(1).integers(0, 255, (200, 200), dtype=np.uint8))
    assert apply(films, target, resume=True, limits=Limits(pixels=10_000)).failed == {"PIXEL_LIMIT": 1}
    assert by_path(target)["film_0.png"]["status"] == "FAILURE"
    assert not (target / "film_0.png").exists()


def test_a_file_without_suffix_that_cannot_be_read_is_a_failure(
    films: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (films / "IM0001").write_bytes((films / "film_0.png").read_bytes())
    (films / "notes").write_text("no picture")

    def closed(path: str, *mode: str) -> Any:
        if path.endswith("IM0001"):
            raise PermissionError(13, "Permission denied")
        return open(path, *mode)

    monkeypatch.setattr("xray_core.files.open", closed, raising=False)
    assert set(map(str, find(films))) == {f"film_{number}.png" for number in range(6)} | {"IM0001"}


def test_a_folder_that_cannot_be_read_is_a_failure(
    films: Path, target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(films, films / "closed")
    real = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return real(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", scandir)
        status, words = said(capsys, "batch", films, target, "--preset", "classifier-224", "--no-report")
    assert status == 1
    assert "failures by cause: READ 1" in words
    assert by_path(target)["closed"]["reason"] == "READ: a folder that could not be read; what is in it is not known"
    assert said(capsys, "batch", films, target, "--preset", "classifier-224", "--no-report", "--resume")[0] == 0
    assert len(by_path(target)) == 12
    assert "closed" not in by_path(target)


def test_only_the_failures_after_a_listing_that_was_interrupted(films: Path, target: Path) -> None:
    (films / "bad.png").write_bytes(b"no picture")
    assert apply(films, target, asked=lambda: "interrupted").phase == "interrupted"
    with pytest.raises(SettingsError, match="ended before all its files were found"):
        apply(films, target, resume=True, failures_only=True)
    apply(films, target, resume=True)
    assert apply(films, target, resume=True, asked=lambda: "interrupted").phase == "interrupted"
    summary = apply(films, target, resume=True, failures_only=True)
    assert (summary.failures, summary.gone) == (1, 0)
    (films / "film_0.png").unlink()
    assert apply(films, target, resume=True).gone == 1


# --- Inputs that change under its hands -------------------------------------------------------------------------------


def test_a_listing_that_is_interrupted_is_told_and_leaves_no_log(
    films: Path, target: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(batch_command, "_signals", lambda: nullcontext(lambda: "interrupted"))
        status, words = said(capsys, "batch", films, target, "--preset", "classifier-224")
    assert status == 130
    assert words.splitlines()[-1].startswith("interrupted while finding the films; to go on: python -m xray_core batch")
    assert "nothing to do" not in words
    assert "log:" not in words
    assert [path.name for path in target.iterdir()] == [STATE]
    assert said(capsys, "batch", films, target, "--preset", "classifier-224", "--resume")[0] == 0
    assert len(list(find(target))) == 6


def test_an_archive_that_is_replaced_gives_no_film_the_name_of_another(
    films: Path, target: Path, tmp_path: Path
) -> None:
    packed = tmp_path / "films.zip"

    def pack(order: str) -> None:
        with zipfile.ZipFile(packed, "w") as archive:
            for number in order:
                archive.write(films / f"film_{number}.png", f"film_{number}.png")

    class Replacing:
        """Replaces the archive once it was listed; its workers open it after that."""

        def run(self, job: Job, tasks: Iterator[Task]) -> Generator[Any]:
            pack("4501")
            with closing(batch_task._source(job.source, job.only, job.limits)):
                yield from (batch_task.process(job, task) for task in tasks)
            batch_task._source.cache_clear()

    pack("012345")
    assert apply(packed, target, engine=Replacing()).failed == {"READ": 6}
    assert {row["reason"] for row in by_path(target).values()} == {
        "READ: the archive was replaced by another since it was listed"
    }
    apply(packed, target, resume=True)
    apply(films, tmp_path / "whole")
    made = {name: data for name, data in outputs(target).items() if name.endswith(".png")}
    assert len(made) == 4
    assert made.items() <= outputs(tmp_path / "whole").items()


def test_folders_named_like_what_a_run_writes(films: Path, target: Path) -> None:
    names = ("log.csv", "report.html", "Run.JSON", "used.preset.json", "log-1-of-2.csv")
    for name in names:
        (films / name).mkdir()
        shutil.copy(films / "film_0.png", films / name / "film.png")
    assert apply(films, target).written == 6 + len(names)
    assert {row["output"] for row in by_path(target).values()} >= {f"_{name}/film.png" for name in names}
    assert (target / "log.csv").is_file()


def test_a_folder_that_comes_later_under_the_name_of_an_output(films: Path, target: Path) -> None:
    apply(films, target)
    write(films / "film_0.png.d" / "x.png", np.zeros((60, 70), np.uint8))
    (films / "film_1.tif").write_bytes((films / "film_1.png").read_bytes())
    (films / "film_1.png").unlink()
    for number in range(2):
        write(films / "film_1.png" / f"{number}.png", np.full((60, 70), number, np.uint8))
        write(films / "film_1.png" / "deep" / f"{number}.png", np.full((60, 70), number, np.uint8))
        summary = apply(films, target, resume=True)
        assert summary.failures == 0
    rows = by_path(target)
    assert rows["film_1.png/0.png"]["output"] == "film_1.png_/0.png"
    assert rows["film_1.png/deep/1.png"]["output"] == "film_1.png_/deep/1.png"
    assert rows["film_1.tif"]["output"] == "film_1.tif.png"
    assert all((target / row["output"]).is_file() for row in rows.values())


@ANY_BYTES
def test_names_that_are_no_text(films: Path, target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = Path(os.fsdecode(os.fsencode(tmp_path) + b"/in\xff"))
    films.rename(source)
    line = ("batch", source, target, "--preset", "classifier-224")
    assert said(capsys, *line)[0] == 0
    Path(os.fsdecode(os.fsencode(target) + b"/notes\xff.txt")).write_text("a note")
    assert said(capsys, *line, "--resume")[0] == 0
    log = Path(os.fsdecode(os.fsencode(tmp_path) + b"/log\xfd.parquet"))
    assert said(capsys, "report", target, "--html", tmp_path / "r.html", "--parquet", log)[0] == 0
    assert r"in\udcff" in (tmp_path / "r.html").read_text("utf-8")
    assert log.stat().st_size > 1000
    spread = Path(os.fsdecode(os.fsencode(tmp_path) + b"/spread\xfe"))
    assert said(capsys, "batch", source, spread, "--preset", "classifier-224", "--shard", "1/2")[0] == 0
    assert said(capsys, "report", spread)[0] == 0


# --- Several runs, and parts of one -----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"resume": True}, {"overwrite": True}, {"failures_only": True}])
def test_who_comes_while_a_run_goes_on_is_told_so(films: Path, target: Path, options: dict[str, bool]) -> None:
    apply(films, target)
    with RunFolder(target), pytest.raises(RunError) as caught:
        apply(films, target, **options)
    assert caught.value.code == "IN_USE"


def test_who_only_asks_for_a_lock_disturbs_no_part(films: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apply(films, target)
    real, asked = RunFolder.is_running, Counter[str]()

    def is_running(folder: RunFolder) -> bool:
        asked[folder.path.name] += 1
        # As where another part asks at the very same moment.
        return asked[folder.path.name] < 3 if folder.count == 1 else real(folder)

    monkeypatch.setattr(RunFolder, "is_running", is_running)
    assert apply(films, target, overwrite=True, shard=(1, 2)).failures == 0


def test_a_whole_run_and_a_part_do_not_write_at_once(films: Path, target: Path) -> None:
    with RunFolder(target, "1-of-2") as part:
        part.report(Progress(phase="running"))
        with pytest.raises(RunError, match=rf"another run .*process {os.getpid()}") as caught:
            apply(films, target, overwrite=True)
        assert caught.value.code == "IN_USE"
        assert sorted(path.name for path in (target / STATE).iterdir()) == ["1-of-2"]
        assert apply(films, target, overwrite=True, shard=(2, 2)).failures == 0
    with RunFolder(target), pytest.raises(RunError, match="another run"):
        apply(films, target, overwrite=True, shard=(1, 2))


def test_parts_that_contradict_each_other_are_not_joined(films: Path, target: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        apply(films, target, shard=(number, 2))
    apply(films, target, QUICK | {"clahe.clip_limit": 4.0}, shard=(1, 2), overwrite=True)
    with pytest.raises(SettingsError, match=r"parts .* contradict each other \(clahe\.clip_limit 4\.0 -> 1\.5\)"):
        books(target).__enter__()
    apply(films, target, QUICK | {"clahe.clip_limit": 4.0}, shard=(2, 2), overwrite=True)
    with books(target) as manifest:
        assert manifest.count("done") == 6


def test_a_part_that_was_made_with_something_else_is_named_to_the_others(films: Path, target: Path) -> None:
    apply(films, target, shard=(1, 2))
    apply(films, target, QUICK | {"clahe.clip_limit": 4.0}, shard=(2, 2), overwrite=True)
    words = (
        r"part 2 of 2 was made with something else \(clahe\.clip_limit 4\.0 -> 1\.5\); do the one that is wrong again"
    )
    with pytest.raises(PresetError, match=words):
        apply(films, target, shard=(1, 2), resume=True)
    apply(films, target, shard=(2, 2), overwrite=True)
    assert apply(films, target, shard=(1, 2), resume=True).failures == 0


def test_what_is_written_over_leaves_neither_log_nor_report_behind(
    films: Path, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ("batch", films, target, "--preset", "classifier-224", "--overwrite", "--no-report")
    for part in ("1/2", "2/2"):
        assert said(capsys, *line, "--shard", part)[0] == 0
    assert said(capsys, "report", target)[0] == 0
    assert (target / REPORT).is_file()
    assert said(capsys, *line)[0] == 0
    assert [path.name for path in target.glob("log*")] == [LOG]
    assert not (target / REPORT).exists()
    assert said(capsys, *line, "--shard", "1/2")[0] == 0
    assert [path.name for path in target.glob("log*")] == ["log-1-of-2.csv"]


def test_what_is_amiss_with_parts_is_said(
    films: Path, target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    apply(films, target, shard=(1, 3))
    report = ("report", target, "--html", tmp_path / "r.html")
    _, words = said(capsys, *report)
    assert "note: part 2 of 3 is not here" in words
    assert "note: part 3 of 3 is not here" in words
    assert "Note: part 2 of 3 is not here." in (tmp_path / "r.html").read_text("utf-8")
    shutil.copytree(films, tmp_path / "moved")
    # Another file whose output has the name of one that the first part wrote, and that another part takes.
    path = next(iter(by_path_of(target, "1-of-3")))
    (tmp_path / "moved" / path).rename((tmp_path / "moved" / path).with_suffix(".jpg"))
    for number in (2, 3):
        apply(tmp_path / "moved", target, shard=(number, 3))
    _, words = said(capsys, *report)
    assert "is not here" not in words
    assert f"the films of the parts were in 2 folders: {films}, {tmp_path / 'moved'}" in words
    shared = [words for words in words.splitlines() if "two parts wrote" in words]
    with books(target) as manifest:
        names = [row["output"] for row in manifest.rows()]
    assert bool(shared) == (len(names) > len(set(names)))


def by_path_of(target: Path, part: str) -> dict[str, Any]:
    with Manifest(target / STATE / part / "manifest.sqlite", read_only=True) as manifest:
        return {row["path"]: row for row in manifest.rows()}


# --- Books that are damaged, or may only be read ----------------------------------------------------------------------

DAMAGES = {
    "no JSON": "UPDATE said SET value = 'garbage' WHERE name = 'record'",
    "a list": "UPDATE said SET value = '[]' WHERE name = 'record'",
    "no preset": "DELETE FROM said WHERE name = 'preset'",
    "no table": "DROP TABLE files",
    "no text": "UPDATE files SET path = x'ff' WHERE id = 1",
    "settings": "UPDATE rows SET settings = 'x'",
    "deep": "UPDATE rows SET settings = '" + "[" * 50_000 + "'",
}


@pytest.mark.parametrize("sql", DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_books_are_told_in_words(
    films: Path, target: Path, capsys: pytest.CaptureFixture[str], sql: str
) -> None:
    apply(films, target)
    with sqlite3.connect(target / STATE / "manifest.sqlite") as db:
        db.execute(sql)
    db.close()
    status, words = said(capsys, "report", target, "--csv", target / "log.csv", "--html", target / "report.html")
    assert (status, words.count("\n")) == (73, 1)
    assert words.endswith("the books of the run are damaged; say --overwrite\n")
    assert apply(films, target, overwrite=True).written == 6


@pytest.mark.parametrize("name", ["listing", "source", "computes"])
def test_a_run_with_damaged_books_is_not_gone_on_with(
    films: Path, target: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    line = ("batch", films, target, "--preset", "classifier-224", "--no-report")
    assert said(capsys, *line)[0] == 0
    before = outputs(target)
    with sqlite3.connect(target / STATE / "manifest.sqlite") as db:
        db.execute("UPDATE said SET value = '{' WHERE name = ?", (name,))
    db.close()
    status, words = said(capsys, *line, "--resume")
    assert status == 73
    assert "the books of the run are damaged; say --overwrite" in words
    assert "to go on" not in words
    assert outputs(target) == before


def test_a_part_with_damaged_books_is_named_to_the_others(
    films: Path, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ("batch", films, target, "--preset", "classifier-224", "--shard")
    for part in ("1/2", "2/2"):
        assert said(capsys, *line, part)[0] == 0
    (target / STATE / "1-of-2" / "manifest.sqlite").write_bytes(b"SQLite format 3" + bytes(9000))
    status, words = said(capsys, *line, "2/2", "--resume")
    assert (status, words) == (
        73,
        f"radtune: {target / STATE / '1-of-2'}: the books of the run are damaged; say --overwrite\n",
    )
    assert said(capsys, *line, "1/2", "--overwrite")[0] == 0
    assert said(capsys, *line, "2/2", "--resume")[0] == 0


@pytest.mark.parametrize("then", ["gone", "written"])
def test_books_that_another_part_takes_away_or_begins_just_now_are_no_damage(
    films: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    apply(films, tmp_path / "other", shard=(1, 2))
    shutil.copytree(tmp_path / "other" / STATE, target / STATE)
    book = target / STATE / "1-of-2" / "manifest.sqlite"
    whole = book.read_bytes()
    book.write_bytes(whole[:-5000])
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if then == "gone":
            book.unlink(missing_ok=True)
        else:
            book.write_bytes(whole)

    monkeypatch.setattr("xray_core.occupied.time.sleep", sleep)
    assert apply(films, target, shard=(2, 2)).failures == 0
    assert waited


def test_numbers_that_are_none_do_not_end_the_export(films: Path, target: Path, tmp_path: Path) -> None:
    apply(films, target)
    with sqlite3.connect(target / STATE / "manifest.sqlite") as db:
        db.execute("UPDATE rows SET ssim = 'abc'")
    db.close()
    assert main(["report", str(target), "--parquet", str(tmp_path / "log.parquet")]) == 73
    assert not (tmp_path / "log.parquet").exists()


def test_books_that_may_only_be_read_are_read(films: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apply(films, target)
    for number in (1, 2):
        apply(films, target / "spread", shard=(number, 2))
    path, real = target / STATE / "manifest.sqlite", sqlite3.connect

    def connect(name: str, **options: Any) -> sqlite3.Connection:
        # As SQLite answers where its own two files are not there and cannot be made.
        if "mode=ro" in name or (name == path.as_uri()):
            raise sqlite3.OperationalError("unable to open database file")
        return real(name, **options)

    monkeypatch.setattr(sqlite3, "connect", connect)
    with books(target) as manifest:
        assert len(list(manifest.rows())) == 6
    with books(target / "spread") as manifest:
        assert len(list(manifest.rows())) == 6
    job = prepare(films, target, create(QUICK, name="quick"))
    with rehearse(job, Options(resume=True), Counter()) as plan:
        assert plan.found == 6
    path.with_name("manifest.sqlite-wal").write_bytes(b"something that was not taken in yet")
    with pytest.raises(RunError, match="cannot be written"), refusals(path, target), books(target):
        pass


@pytest.mark.parametrize(
    "told",
    [
        "[" * 100_000,
        json.dumps({"phase": "stopped", "command": [], "words": 5}),
        json.dumps({"phase": "walking", "command": []}),
        json.dumps({"command": [], "total": "many"}),
        json.dumps({"command": [], "rate": 10**400}),
        '{"command": [], "seconds_left": NaN}',
        '{"command": [], "words": "\\ud800"}',
        '{"command": [], "total": -3}',
        json.dumps({"command": [3]}),
        json.dumps({"command": [], "failures": {"READ": "x"}}),
    ],
)
def test_progress_that_makes_no_sense_is_none(target: Path, told: str) -> None:
    with RunFolder(target) as folder:
        folder.report(Progress(total=3, words="well"))
        assert folder.progress() is not None
        (folder.path / "progress.json").write_text(told)
        assert folder.progress() is None
        with pytest.raises(RunError, match="another run"):
            RunFolder(target).__enter__()


# --- Words ------------------------------------------------------------------------------------------------------------


def test_what_makes_no_sense_is_refused(films: Path, target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, told in (
        (("batch", films, target, "--preset", "standard", "--verify"), "say --resume as well"),
        (("batch", "", target, "--preset", "standard"), "this is empty, where a folder is expected"),
        (("batch", films, " ", "--preset", "standard"), "this is empty, where a folder is expected"),
    ):
        try:
            status, heard = said(capsys, *words)
        except SystemExit as ended:
            status, heard = int(str(ended.code)), capsys.readouterr().err
        assert status == 2
        assert told in heard
    assert not target.exists()


def test_a_dry_run_with_nothing_to_do_says_so(
    films: Path, target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stores, "_RACY_NS", 0)  # or films this young would be read again
    line = ("batch", films, target, "--preset", "classifier-224", "--no-report")
    said(capsys, *line)
    for wish in ("--resume", "--failures-only"):
        status, words = said(capsys, *line, wish, "--dry-run")
        assert (status, words.splitlines()[-1]) == (0, "there is nothing to do")


@ANY_BYTES
def test_a_dry_run_sends_the_terminal_nothing_but_signs(
    films: Path, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (films / "film_0.png").rename(films / "e\x1b]0;owned\x07.png")
    assert main(["batch", str(films), str(target), "--preset", "standard", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "owned" in out


def test_a_run_that_moved_says_where_its_films_were(
    films: Path, target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = (target, "--preset", "classifier-224", "--no-report")
    said(capsys, "batch", films, *line)
    films.rename(tmp_path / "moved")
    _, words = said(capsys, "batch", tmp_path / "moved", *line, "--resume")
    assert words.splitlines()[0] == f"the films of this run were in {films} before"
    _, words = said(capsys, "batch", tmp_path / "moved", *line, "--resume")
    assert "before\n" not in words
