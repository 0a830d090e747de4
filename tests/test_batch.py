"""A folder through a preset: a row for each input whatever it is, and the pixels that everything else computes."""

from __future__ import annotations

import csv
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batches import QUICK, apply, but_time, by_path, contents, outputs
from hypothesis import given
from hypothesis import strategies as st

from xray_core import batch, batch_log, batch_task, cli, dicom_choice
from xray_core.batch_log import columns, read_log
from xray_core.batch_plan import prepare
from xray_core.carried import embedded
from xray_core.decode import Limits
from xray_core.errors import PresetError, SettingsError
from xray_core.files import encode, find, read, write
from xray_core.image import Image
from xray_core.manifest import Task
from xray_core.metrics import COLUMNS, measure
from xray_core.names import LOG
from xray_core.params import Choice, Range
from xray_core.pipeline import Settings, Staged, parameters, run, run_pair
from xray_core.pool import Lost
from xray_core.presets import Preset, builtin, create
from xray_core.run_folder import STATE, Progress

# isort: split
import cv2

Textured = Callable[..., Image]

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "sample_images"
DATA = ROOT.parent / "shared" / "data"

HOSTILE = {
    "bad/empty.png": b"",
    "bad/text.jpg": b"no picture at all",
    "bad/film.dcm": bytes(128) + b"DICM" + bytes(64),
    "bad/cut.png": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
    "bad/cut.tif": b"II*\x00\xff\xff\xff\xff",
    "bad/archive.npz": b"PK\x05\x06" + bytes(18),
    "bad/film.gif": b"GIF89a" + bytes(30),
}
CODES = {"EMPTY", "UNSUPPORTED", "DECODE", "PIXEL_LIMIT", "BYTE_LIMIT", "PICKLE", "READ", "WRITE", "MEMORY"}


@pytest.fixture
def cohort(textured: Textured, tmp_path: Path) -> Path:
    """Thirty films of mixed formats, depths, sizes and names, and hostile files among them."""
    source = tmp_path / "in"
    suffixes = ("png", "jpg", "tif", "npz", "npy")
    for number in range(26):
        suffix = suffixes[number % 5]
        deep = np.uint16 if number % 3 == 0 and suffix != "jpg" else np.uint8
        image = textured(60 + number, 90 - number, deep, seed=number)
        write(source / f"site_{number % 2}" / f"film_{number:02}.{suffix}", image)
    colour = cv2.imencode(".png", textured(50, 40, colour=True))[1].tobytes()
    names = ("=cmd|calc.png", "-rf, x;y.png", "@film\ttab.png", "Röntgen_胸部.png")
    for name, data in (*((name, colour) for name in names), *HOSTILE.items()):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(data)
    (source / "labels.csv").write_text("companion")
    return source


@pytest.fixture
def small(textured: Textured, tmp_path: Path) -> Path:
    """Six films."""
    for number in range(6):
        write(tmp_path / "in" / f"film_{number}.png", textured(40, 50, seed=number))
    return tmp_path / "in"


def stamps(folder: Path) -> dict[str, int]:
    files = (path for path in sorted(folder.rglob("*")) if STATE not in path.parts)
    return {path.as_posix(): path.stat().st_mtime_ns for path in files}


def command(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "xray_core", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=120, **options)


# --- A run ------------------------------------------------------------------------------------------------------------


def test_every_input_has_a_row_and_nothing_else_happens(cohort: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    before, times = contents(cohort), stamps(cohort)
    reported: list[Progress] = []
    summary = apply(cohort, target, report=reported.append)
    assert contents(cohort) == before
    assert stamps(cohort) == times

    rows = by_path(target)
    assert list(rows) == [path.as_posix() for path in find(cohort)]
    assert len(rows) == 30 + len(HOSTILE) == reported[-1].done == reported[-1].total
    assert reported[-1].phase == "done"
    assert reported[-1].failures == summary.failed
    good = {name for name in rows if name not in HOSTILE}
    assert summary.written == len(good) == 30
    assert summary.failures == len(HOSTILE) == sum((summary.failed or {}).values())
    assert set(summary.failed or {}) <= CODES
    for name, row in rows.items():
        assert row["preset"].startswith("quick ")
        if name in HOSTILE:
            assert row["status"] == "FAILURE"
            code, _, words = row["reason"].partition(": ")
            assert code in CODES
            assert len(words) > 8
            assert row["output"] == row["verdict"] == row["ssim"] == ""
        else:
            film = read(cohort / name)
            assert row["status"] == "SUCCESS"
            assert row["reason"] == ""
            assert row["sha256"] == film.sha256 == sha256(before[name]).hexdigest()
            assert (int(row["width"]), int(row["height"])) == film.size
            assert int(row["bits"]) == film.bits
            assert float(row["seconds"]) > 0
            assert -1 <= float(row["ssim"]) <= 1
            assert row["verdict"].endswith(".")
            assert (target / row["output"]).is_file()
    assert set(outputs(target)) == {row["output"] for row in rows.values() if row["output"]}


def test_the_log_has_its_columns_and_no_formulas(cohort: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    apply(cohort, target)
    with (target / LOG).open(newline="", encoding="utf-8") as file:
        head, *lines = list(csv.reader(file, strict=True))
    measured = (
        "ssim psnr brightness_before brightness_after contrast_before contrast_after entropy_before entropy_after"
    )
    first = "path output sha256 status reason preset seconds bits width height"
    assert head == [*first.split(), *measured.split(), "clipped", "verdict", *parameters(), *dicom_choice.COLUMNS]
    assert tuple(head) == columns()
    assert len(lines) == 30 + len(HOSTILE)
    cells = [cell for line in lines for cell in line]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))]
    assert "'=cmd|calc.png" in cells
    assert {"=cmd|calc.png", "-rf, x;y.png", "@film\ttab.png"} <= set(by_path(target))
    settings = dict(zip(head, lines[0], strict=True))
    assert settings["resize.size"] == "64"
    assert settings["resize.on"] == "true"
    assert settings["gamma.on"] == "false"


@pytest.mark.parametrize(
    ("suffix", "kind"), [(".png", "same"), (".tif", "uint16"), (".npz", "zscore"), (".npy", "unit"), (".jpg", "uint8")]
)
def test_any_number_of_workers_gives_the_same_bytes(cohort: Path, tmp_path: Path, suffix: str, kind: str) -> None:
    apply(cohort, tmp_path / "one", workers=1, suffix=suffix, kind=kind)
    apply(cohort, tmp_path / "two", workers=2, suffix=suffix, kind=kind)
    one = outputs(tmp_path / "one")
    assert len(one) == 30
    assert one == outputs(tmp_path / "two")
    a, b = by_path(tmp_path / "one"), by_path(tmp_path / "two")
    assert but_time(a) == but_time(b)


def walk(settings: Settings, changes: int, seed: int) -> list[Settings]:
    """Settings after each of many single changes, the last one being the settings given."""
    chance = random.Random(seed)
    now, visited = dict(settings), []
    for _ in range(changes):
        path, parameter = chance.choice(list(parameters().items()))
        value: Any = chance.choice(parameter.ends())
        if isinstance(parameter, Range):
            value = chance.uniform(parameter.low, parameter.high)
            value = round(value) if parameter.whole else value
        elif isinstance(parameter, Choice):
            value = chance.choice(list(parameter.options))
        if path != "resize.size":  # sizes up to 4096 would only take time
            now = now | {path: value}
        visited.append(now)
    return [*visited, dict(settings)]


@pytest.mark.parametrize("name", ["standard", "published", "mine"])
def test_batch_enhance_stages_and_run_give_the_same_bytes(textured: Textured, tmp_path: Path, name: str) -> None:
    mine = create({"gamma.on": True, "gamma.gamma": 0.83, "clahe.clip_limit": 2.2, "sharpen.sharpness": 3.7})
    preset = builtin(name) if name != "mine" else mine
    path = tmp_path / "used.preset.json"
    path.write_text(preset.dumps(), encoding="utf-8")
    images = {"film_8.png": textured(120, 97), "film_16.png": textured(90, 130, np.uint16)}
    for film, image in images.items():
        write(tmp_path / "in" / film, image)
    assert cli.main(["batch", str(tmp_path / "in"), str(tmp_path / "out"), "--preset", str(path)]) == 0
    for number, (film, image) in enumerate(images.items()):
        wanted = run(image, preset.settings)
        assert cli.main(["enhance", str(tmp_path / "in" / film), str(tmp_path / film), "--preset", str(path)]) == 0
        staged = Staged(image)
        for settings in walk(preset.settings, 200, seed=number):
            last = staged.run(settings)
        assert np.array_equal(last, wanted)
        assert last.dtype == wanted.dtype == image.dtype
        carrying = encode(wanted, ".png", text=embedded(preset))
        assert (tmp_path / film).read_bytes() == carrying == (tmp_path / "out" / film).read_bytes()
        assert np.array_equal(read(tmp_path / film).pixels, wanted)
    row = by_path(tmp_path / "out")["film_8.png"]
    pair = run_pair(images["film_8.png"], preset.settings)
    assert float(row["ssim"]) == pytest.approx(measure(pair.before, pair.after)["ssim"], abs=1e-6)


def test_one_stem_twice_and_one_name_in_two_cases(textured: Textured, tmp_path: Path) -> None:
    for number, name in enumerate(["film.png", "film.tif", "Scan.PNG", "scan.png", "film.png.d/x.png", "y.png/x.png"]):
        write(tmp_path / "in" / name, textured(30, 30, seed=number))
    write(tmp_path / "in" / "y.tif", textured(30, 30, seed=9))
    summary = apply(tmp_path / "in", tmp_path / "out")
    assert (summary.written, summary.failures) == (7, 0)
    rows = by_path(tmp_path / "out")
    assert len({row["output"].casefold() for row in rows.values()}) == 7
    for name, row in rows.items():
        wanted = run(read(tmp_path / "in" / name).pixels, QUICK)
        assert np.array_equal(read(tmp_path / "out" / row["output"]).pixels, wanted)


def test_names_that_are_no_text_or_hold_line_breaks(textured: Textured, tmp_path: Path) -> None:
    names = [os.fsdecode(b"film\xff.png"), "two\nlines.png", "re\rturn.png", 'quo"te,.png', "'=x.png", "＝full.png"]
    for number, name in enumerate(names):
        write(tmp_path / "in" / name, textured(30, 30, seed=number))
    assert apply(tmp_path / "in", tmp_path / "out").written == len(names)
    first = by_path(tmp_path / "out")
    assert set(first) == {"film\\udcff.png", *names[1:]}
    again = apply(tmp_path / "in", tmp_path / "out", resume=True)
    assert (again.written, again.unchanged) == (0, len(names))
    assert by_path(tmp_path / "out") == first


def test_one_file_as_the_input(small: Path, tmp_path: Path) -> None:
    assert apply(small / "film_3.png", tmp_path / "out").written == 1
    assert list(by_path(tmp_path / "out")) == ["film_3.png"]
    assert list(outputs(tmp_path / "out")) == ["film_3.png"]


def test_limits_reach_the_workers(small: Path, tmp_path: Path) -> None:
    summary = apply(small, tmp_path / "out", limits=Limits(pixels=1999))
    assert summary.failed == {"PIXEL_LIMIT": 6}
    assert all("the limit is 1,999" in row["reason"] for row in by_path(tmp_path / "out").values())


def test_an_output_that_cannot_be_written_is_a_row(small: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "film_2.png").mkdir(parents=True)
    summary = apply(small, tmp_path / "out", overwrite=True)
    assert (summary.written, summary.failed) == (5, {"WRITE": 1})
    assert by_path(tmp_path / "out")["film_2.png"]["reason"] == "WRITE: this is a folder"


def test_a_film_of_another_size_than_the_preset_s_is_counted(small: Path, tmp_path: Path) -> None:
    native = create({}, name="native", tuned_on=read(small / "film_0.png"))
    other = json.loads(native.dumps()) | {"tuned_on": {"size": [2500, 2048]}}
    assert apply(small, tmp_path / "a", preset=native).other_size == 0
    assert apply(small, tmp_path / "b", preset=Preset(other)).other_size == 6


def test_whatever_goes_wrong_is_a_row(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = prepare(small, tmp_path / "out", create(QUICK))
    for error, reason in ((MemoryError(), "MEMORY: "), (RuntimeError("Mrs Smith"), "INTERNAL: RuntimeError")):

        def fail(*arguments: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(batch_task, "run_pair", fail)
        _, (row,) = batch_task.process(job, Task(1, Path("film_0.png"), Path("film_0.png")))
        assert row["status"] == "FAILURE"
        assert row["reason"].startswith(reason)
        assert "Smith" not in str(row)


@given(st.text(max_size=12))
def test_cells_come_back_and_never_run(text: str) -> None:
    cell = batch_log._cell(text)
    assert batch_log._plain(cell) == text
    assert batch_log._NUMBER.fullmatch(cell) or not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


def test_numbers_stay_numbers_in_the_log(tmp_path: Path) -> None:
    row = {"path": "a.png", "ssim": -0.25, "psnr": float("inf"), "clipped": 1e-7, "status": "SUCCESS", "reason": None}
    batch_log.write_log(tmp_path / LOG, [row], {"preset": "mine", "gamma.gamma": 2.0})
    (read,) = read_log(tmp_path / LOG)
    assert (read["ssim"], read["psnr"], read["reason"], read["preset"]) == ("-0.25", "inf", "", "mine")
    assert (read["gamma.gamma"], read["clahe.on"]) == ("2.0", "")


# --- Going on ---------------------------------------------------------------------------------------------------------


def test_resume_does_what_is_missing_and_nothing_else(cohort: Path, tmp_path: Path, textured: Textured) -> None:
    target = tmp_path / "out"
    apply(cohort, target)
    whole = outputs(target)
    rows = by_path(target)
    gone = [rows[name]["output"] for name in list(rows) if name not in HOSTILE][3:7]
    for output in gone:
        (target / output).unlink()
    write(cohort / "site_0" / "film_20.png", textured(70, 70, seed=99))
    write(cohort / "site_0" / "new.png", textured(70, 71, seed=98))
    changed = {"site_0/film_20.png", "site_0/new.png"}
    times = stamps(target)

    reported: list[Progress] = []
    summary = apply(cohort, target, resume=True, report=reported.append)
    assert summary.written == len(gone) + len(changed)
    assert summary.unchanged == 30 - len(gone) - 1
    assert summary.failures == len(HOSTILE)  # those are tried again
    after = by_path(target)
    assert list(after) == [path.as_posix() for path in find(cohort)]
    assert reported[-1].done >= len(gone) + len(changed) + len(HOSTILE)
    now = outputs(target)
    assert set(now) == set(whole) | {"site_0/new.png"}
    assert {name for name in whole if now[name] != whole[name]} == {"site_0/film_20.png"}
    untouched = [target / name for name in whole if name not in (*gone, *changed)]
    assert all(path.stat().st_mtime_ns == times[path.as_posix()] for path in untouched)
    for name, row in after.items():
        if name not in changed and rows[name]["output"] not in (*gone, ""):
            assert row == rows[name]

    second = apply(cohort, target, resume=True)
    assert (second.written, second.unchanged) == (0, 31)
    assert by_path(target).keys() == after.keys()
    assert outputs(target) == now


def test_resume_with_another_preset_or_format_names_what_differs(small: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    apply(small, target)
    before, times = contents(target), stamps(target)
    with pytest.raises(PresetError, match=r"clahe\.clip_limit 1\.5 -> 2\.5.*--overwrite"):
        apply(small, target, QUICK | {"clahe.clip_limit": 2.5}, resume=True)
    with pytest.raises(PresetError, match=r'format "png" -> "tif".*--overwrite'):
        apply(small, target, suffix=".tif", resume=True)
    with pytest.raises(PresetError, match=r'range "same" -> "uint16".*--overwrite'):
        apply(small, target, kind="uint16", resume=True)
    assert contents(target) == before
    assert stamps(target) | {str(target): 0} == times | {str(target): 0}
    renamed = create(QUICK | {"gamma.gamma": 2.0}, name="same in effect")
    assert apply(small, target, preset=renamed, resume=True).unchanged == 6


def test_resume_of_nothing_is_a_run(small: Path, tmp_path: Path) -> None:
    assert apply(small, tmp_path / "out", resume=True).written == 6


def test_overwrite_does_it_all_again(small: Path, tmp_path: Path) -> None:
    apply(small, tmp_path / "out")
    summary = apply(small, tmp_path / "out", QUICK | {"gamma.on": True, "gamma.gamma": 2.0}, overwrite=True)
    assert (summary.written, summary.unchanged) == (6, 0)
    rows = by_path(tmp_path / "out")
    assert len(rows) == 6
    assert {row["gamma.on"] for row in rows.values()} == {"true"}


# --- Folders ----------------------------------------------------------------------------------------------------------


def test_folders_that_would_mix_inputs_and_outputs_are_refused(small: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(small)
    before = contents(tmp_path)
    for target, said in (
        (small, "that of the inputs"),
        (small / "out", "inside it"),
        (small / "a" / "b", "inside it"),
        (tmp_path / "link" / "out", "inside it"),
        (small / ".." / "in", "that of the inputs"),
        (tmp_path, "holds the inputs"),
        (tmp_path.parent, "holds the inputs"),
        (small / "film_0.png", "inside it"),
    ):
        for overwrite in (False, True):
            with pytest.raises(SettingsError, match=said):
                apply(small, target, overwrite=overwrite)
    with pytest.raises(SettingsError, match="that of the inputs"):
        apply(small / "film_0.png", small)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "film_0.png").symlink_to(small / "film_0.png")
    with pytest.raises(SettingsError, match="that of the inputs"):
        apply(tmp_path / "linked" / "film_0.png", small, overwrite=True)
    shutil.rmtree(tmp_path / "linked")
    with pytest.raises(SettingsError, match="no such file or folder"):
        apply(tmp_path / "nothing", tmp_path / "out")
    assert contents(tmp_path) == before


def test_a_folder_in_use_is_refused(small: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "notes.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(SettingsError, match=r"not empty.*--overwrite"):
            apply(small, target, resume=resume)
    assert apply(small, target, overwrite=True).written == 6
    assert (target / "notes.txt").read_text() == "mine"
    with pytest.raises(SettingsError, match=r"holds a run; say --resume.*--overwrite"):
        apply(small, target)
    with pytest.raises(SettingsError, match="this is a file"):
        apply(small, target / "notes.txt")


def test_formats_and_ranges_are_checked_before_anything(small: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="png holds whole numbers"):
        apply(small, tmp_path / "out", kind="unit")
    assert not (tmp_path / "out").exists()


# --- Ends -------------------------------------------------------------------------------------------------------------


def test_stop_on_error_ends_at_the_first_failure(small: Path, tmp_path: Path) -> None:
    (small / "film_1.png").write_bytes(b"")
    summary = apply(small, tmp_path / "out", workers=1, stop_on_error=True)
    assert (summary.written, summary.failed) == (1, {"EMPTY": 1})
    assert list(by_path(tmp_path / "out")) == ["film_0.png", "film_1.png"]
    (small / "film_1.png").unlink()
    assert apply(small, tmp_path / "out", resume=True).written == 4


class Losing:
    """An engine that loses the first two of its tasks."""

    def run(self, job: batch.Job, tasks: Iterator[Task]) -> Generator[Any]:
        for number, task in enumerate(tasks):
            yield Lost(task, timed_out=number == 1) if number < 2 else batch_task.process(job, task)
            yield None


class Doubly:
    """An engine for which each file has two pages, both bad."""

    def run(self, job: batch.Job, tasks: Iterator[Task]) -> Generator[Any]:
        for task in tasks:
            _, rows = batch_task.lost(job, Lost(task, timed_out=False))
            yield task, [*rows, *rows]


def test_progress_counts_files_and_the_end_pictures(small: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    summary = apply(small, tmp_path / "out", engine=Doubly(), report=seen.append)
    assert (seen[-1].done, seen[-1].failed, seen[-1].failures) == (6, 6, {"CRASH": 6})
    assert summary.failed == {"CRASH": 12}


def test_a_decoder_that_dies_or_hangs_is_a_row(small: Path, tmp_path: Path) -> None:
    summary = apply(small, tmp_path / "out", engine=Losing(), time_limit=7.0)
    assert summary.failed == {"CRASH": 1, "TIMEOUT": 1}
    rows = by_path(tmp_path / "out")
    assert rows["film_0.png"]["reason"].startswith("CRASH: the decoder crashed")
    assert rows["film_1.png"]["reason"].startswith("TIMEOUT: took longer than 7 s")
    assert len(rows) == 6


def signalled(
    tmp_path: Path, textured: Textured, send: str, number: str, *, ignored: bool = False
) -> tuple[Path, Path, int, str, str]:
    """Send a signal to a run of 24 films that has written some; returns its source, target, end and words."""
    source, target = tmp_path / "a folder" / "in", tmp_path / "out"
    for film in range(24):
        write(source / f"film_{film:02}.png", textured(700, 700, seed=film))
    line = ["batch", source, target, "--preset", "standard", "--workers", "2", "--bilateral.d", "15"]
    meant = getattr(signal, number)
    process = subprocess.Popen(
        [sys.executable, "-m", "xray_core", *map(str, line)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Whatever these tests are run under.
        preexec_fn=lambda: signal.signal(meant, signal.SIG_IGN if ignored else signal.SIG_DFL),
    )
    waited = time.monotonic()
    while time.monotonic() - waited < 60 and not len(list(target.glob("film_*.png"))) >= 3:
        time.sleep(0.01)
    getattr(os, send)(process.pid, meant)
    out, said = process.communicate(timeout=60)
    return source, target, process.returncode, out, said


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs POSIX signals")
@pytest.mark.parametrize(
    ("send", "number"),
    [("kill", "SIGINT"), ("killpg", "SIGINT"), ("kill", "SIGHUP")],
    ids=["to the program", "to all, as Ctrl-C does", "as a terminal that is lost"],
)
def test_interrupted_runs_say_how_to_go_on(tmp_path: Path, textured: Textured, send: str, number: str) -> None:
    source, target, ended, out, said = signalled(tmp_path, textured, send, number)
    assert ended == 130, said
    assert out == ""
    assert "Traceback" not in said
    early = by_path(target)
    assert 0 < len(early) < 24
    told = said.strip().splitlines()[-1].partition("to go on: ")[2]
    python, *rest = shlex.split(told)
    assert python == "python"
    assert {"batch", "--resume", "--bilateral.d", "15", str(source), str(target)} <= set(rest)

    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *rest], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = by_path(target)
    assert list(rows) == [f"film_{number:02}.png" for number in range(24)]
    assert {row["status"] for row in rows.values()} == {"SUCCESS"}
    assert all(rows[name] == row for name, row in early.items())
    assert len(list(target.glob("film_*.png"))) == 24


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs POSIX signals")
def test_under_nohup_a_run_outlives_its_terminal(tmp_path: Path, textured: Textured) -> None:
    _, target, ended, _, said = signalled(tmp_path, textured, "kill", "SIGHUP", ignored=True)
    assert ended == 0, said
    assert len(by_path(target)) == 24


# --- Samples and real films -------------------------------------------------------------------------------------------


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample images are not here")
def test_the_samples_run_through_every_built_in_preset(tmp_path: Path) -> None:
    for name in ("published", "classifier-224"):
        done = command("batch", SAMPLES, tmp_path / name, "--preset", name, "--json")
        assert done.returncode == 0, done.stderr
        counts = json.loads(done.stdout)
        assert counts["failed"] == 0
        assert counts["written"] == len(list(find(SAMPLES))) == len(by_path(tmp_path / name))
        for row in by_path(tmp_path / name).values():
            assert read(tmp_path / name / row["output"]).size == (224, 224)


@pytest.mark.skipif(not (DATA / "bad").is_dir(), reason="no real radiographs and damaged files beside this checkout")
def test_real_films_among_hostile_files(tmp_path: Path) -> None:
    films = sorted(path for path in (DATA / "cxr_small").rglob("*") if path.suffix in (".png", ".jpg", ".jpeg", ".tif"))
    chosen = films[:: len(films) // 60][:60]
    hostile = [
        "png/truncated_half.png",
        "png/bomb_1bit_20000x20000.png",
        "jpeg/truncated_30_percent.jpg",
        "jpeg/crashtest/max_size.jpg",
        "tiff/huge_dims_patched.tif",
        "tiff/pillow_crash/multipage_single_frame_loop.tiff",
        "npz/bomb_60000x60000.npz",
        "npz/object_array_canary.npz",
        "misc/zero_bytes.png",
        "misc/csv_named.dcm",
    ]
    source, target = tmp_path / "in", tmp_path / "out"
    for number, path in enumerate([*chosen, *(DATA / "bad" / name for name in hostile)]):
        (source / str(number % 4)).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, source / str(number % 4) / f"{number:02}_{path.name}")
    before = contents(source)
    done = command("batch", source, target, "--preset", "published", "--json", "--workers", "2")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "canary" not in (done.stdout + done.stderr).lower()
    counts = json.loads(done.stdout)
    assert (counts["written"], counts["failed"]) == (60, 10)
    rows = by_path(target)
    assert len(rows) == 70
    failed = {name.split("_", 1)[1] for name, row in rows.items() if row["status"] == "FAILURE"}
    assert failed == {Path(name).name for name in hostile}
    assert all(row["reason"].split(":")[0] in CODES for row in rows.values() if row["status"] == "FAILURE")
    assert contents(source) == before
    published = builtin("published").settings
    for name, row in list(rows.items())[::7]:
        if row["status"] == "SUCCESS":
            assert np.array_equal(read(target / row["output"]).pixels, run(read(source / name).pixels, published))
    assert set(COLUMNS) <= set(rows[next(iter(rows))])


def test_a_linked_folder_among_the_outputs_is_not_followed_to_the_originals(tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    (source / "d").mkdir(parents=True)
    target.mkdir()
    original = (ROOT / "sample_images" / "dark.png").read_bytes()
    (source / "d" / "b.png").write_bytes(original)
    (target / "d").symlink_to(source / "d")
    assert cli.main(["batch", str(source), str(target), "--overwrite", "--workers", "1"]) == 1
    assert (source / "d" / "b.png").read_bytes() == original
    (row,) = read_log(target / LOG)
    assert row["reason"] == "WRITE: a folder leads out of the outputs' folder, by a link or a mount"
