"""A batch outlives what happens to it: kills at any moment, workers that die, disks that end, inputs that go away."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batches import QUICK, apply, but_time, by_path, contents, outputs

from xray_core import batch_task
from xray_core.batch import Job
from xray_core.errors import RunError, SettingsError
from xray_core.files import write
from xray_core.image import Image
from xray_core.manifest import Task
from xray_core.pool import run_tasks
from xray_core.run_folder import STATE, Phase, Progress, RunFolder

Textured = Callable[..., Image]
ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs POSIX signals")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred and fifty films in three folders."""
    source = tmp_path_factory.mktemp("films") / "in"
    chance = np.random.default_rng(3)
    for number in range(150):
        write(source / str(number % 3) / f"film_{number:03}.png", chance.integers(0, 255, (200, 210), dtype=np.uint8))
    return source


@pytest.fixture(scope="module")
def whole(films: Path) -> Path:
    """What an undisturbed run makes of them."""
    assert said(run(films, films.parent / "whole"))[0] == 0
    return films.parent / "whole"


def run(source: Path, target: Path, *more: str, **options: Any) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "xray_core", "batch", str(source), str(target), "--workers", "2", "--resume", *more]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(line, env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True, **options)


def said(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, words = process.communicate(timeout=120)
    return process.returncode, words


def written(target: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Wait until a run has written so many outputs."""
    started = time.monotonic()
    while len(list(target.glob("*/*.png"))) < count and process.poll() is None:
        assert time.monotonic() - started < 60
        time.sleep(0.01)


def test_killed_at_any_moment_a_run_goes_on_as_if_nothing_had_been(films: Path, whole: Path, tmp_path: Path) -> None:
    chance, target, kills = random.Random(5), tmp_path / "out", 0
    wanted = outputs(whole)
    while kills < 6:
        process = run(films, target)
        # At the start, among the films, or where the log is written.
        written(target, chance.choice([0, 1, 40, 90, 149, 150]), process)
        time.sleep(chance.uniform(0, 0.3))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        kills += 1
        now = outputs(target) if target.exists() else {}
        assert all(wanted[name] == data for name, data in now.items())
    assert said(run(films, target))[0] == 0
    assert outputs(target) == wanted
    assert but_time(by_path(target)) == but_time(by_path(whole))
    assert not list((target / STATE / "parts").iterdir())
    time.sleep(2.1)  # until no stamp is too young to be trusted
    assert said(run(films, target))[0] == 0
    _, words = said(run(films, target))
    assert "150 unchanged" in words


def test_workers_that_are_killed_cost_nothing(films: Path, whole: Path, tmp_path: Path) -> None:
    target, killed = tmp_path / "out", 0
    process = run(films, target)
    while process.poll() is None and killed < 5:
        written(target, 5 + 10 * killed, process)
        found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
        workers = [int(pid) for pid in found if b"spawn_main" in command_of(pid)]
        if workers:
            os.kill(workers[killed % len(workers)], signal.SIGKILL)
            killed += 1
    code, words = said(process)
    assert (code, killed) == (0, 5), words
    assert outputs(target) == outputs(whole)
    assert but_time(by_path(target)) == but_time(by_path(whole))


class Poisoned:
    """Processes of this machine, whose decoder a file of one name kills, and another keeps for ever."""

    def run(self, job: Job, tasks: Iterator[Task]) -> Generator[Any]:
        return run_tasks(partial(poisoned, job), tasks, 2, job.time_limit, ticks=True)


def poisoned(job: Job, task: Task) -> Any:
    if task.path.name == "crash.png":
        os.kill(os.getpid(), signal.SIGSEGV)
    if task.path.name == "hang.png":
        time.sleep(600)
    return batch_task.process(job, task)


def test_a_file_that_kills_and_one_that_hangs_are_named_and_the_run_goes_on(films: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    shutil.copytree(films, source)
    for name in ("crash.png", "hang.png"):
        shutil.copy(films / "0" / "film_000.png", source / "1" / name)
    summary = apply(source, target, engine=Poisoned(), time_limit=2.0)
    assert (summary.written, summary.failed) == (150, {"CRASH": 1, "TIMEOUT": 1})
    rows = by_path(target)
    assert rows["1/crash.png"]["reason"] == "CRASH: the decoder crashed, twice"
    assert rows["1/hang.png"]["reason"] == "TIMEOUT: took longer than 2 s, twice"
    again = apply(source, target, engine=Poisoned(), time_limit=2.0, resume=True)
    assert (again.written, again.unchanged, again.failures) == (0, 150, 2)


def command_of(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_two_runs_into_one_folder_are_refused(films: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    with RunFolder(target) as folder:
        folder.report(Progress(phase="running"))
        code, words = said(run(films, target))
    assert code == 75
    assert f"another run writes into this folder (process {os.getpid()} on " in words
    assert len(words.splitlines()) == 1
    assert said(run(films, target))[0] == 0


@pytest.mark.parametrize(("wish", "phase"), [("pause", "paused"), ("cancel", "cancelled")])
def test_a_wish_ends_a_run_that_can_be_gone_on_with(
    films: Path, whole: Path, tmp_path: Path, wish: Any, phase: str
) -> None:
    target = tmp_path / "out"
    # Slow enough that it is not done before it has heard.
    process = run(films, target, "--bilateral.d", "15")
    written(target, 10, process)
    folder = RunFolder(target)
    assert folder.is_running()
    folder.wish(wish)
    code, words = said(process)
    progress = folder.progress()
    assert code == 130
    assert progress is not None
    assert progress.phase == phase
    assert f"{phase}; to go on: python -m xray_core batch --resume" in words
    assert 10 <= len(by_path(target)) < 150
    assert said(run(films, target, "--bilateral.d", "15"))[0] == 0
    assert outputs(target).keys() == outputs(whole).keys()


def test_what_changed_is_noticed_even_where_size_and_time_are_the_same(films: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    shutil.copytree(films / "0", source)
    film = source / "film_000.png"
    times = (film.stat().st_atime_ns, film.stat().st_mtime_ns)
    time.sleep(2.1)
    assert apply(source, target).written == 50
    before = contents(target)
    data = bytearray(film.read_bytes())
    write(tmp_path / "other.png", np.full((200, 210), 9, np.uint8))
    other = (tmp_path / "other.png").read_bytes()
    film.write_bytes(other + bytes(len(data) - len(other)))
    os.utime(film, ns=times)
    summary = apply(source, target, resume=True)
    assert (summary.written, summary.unchanged) == (1, 49)
    after = contents(target)
    assert {name for name in after if after[name] != before[name]} >= {"film_000.png"}


def test_outputs_that_were_emptied_or_altered_are_made_again(films: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    apply(films, target)
    before = outputs(target)
    (target / "0" / "film_003.png").write_bytes(b"")
    altered = target / "1" / "film_001.png"
    altered.write_bytes(altered.read_bytes()[:-1] + b"x")
    assert apply(films, target, resume=True).written == 1
    assert outputs(target) != before
    assert apply(films, target, resume=True, verify=True).written == 1
    assert outputs(target) == before


def test_an_output_that_became_a_failure_is_removed(films: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    shutil.copytree(films / "0", source)
    apply(source, target)
    (source / "film_000.png").write_bytes(b"no picture")
    assert apply(source, target, resume=True).failed == {"UNSUPPORTED": 1}
    assert not (target / "film_000.png").exists()


def test_only_the_failures_again(films: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    shutil.copytree(films / "0", source)
    good = (source / "film_000.png").read_bytes()
    (source / "film_000.png").write_bytes(b"no picture")
    apply(source, target)
    (source / "film_000.png").write_bytes(good)
    (source / "new.png").write_bytes(good)
    summary = apply(source, target, resume=True, failures_only=True)
    assert (summary.written, summary.failures) == (1, 0)
    assert not (target / "new.png").exists()
    assert apply(source, target, resume=True).written == 1


def test_parts_of_a_run_together_are_the_whole(films: Path, whole: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    for part in (1, 2, 3):
        assert said(run(films, target, "--shard", f"{part}/3"))[0] == 0
    assert outputs(target).keys() - outputs(whole).keys() == {f"log-{part}-of-3.csv" for part in (1, 2, 3)}
    assert all(outputs(target)[name] == data for name, data in outputs(whole).items())
    line = [sys.executable, "-m", "xray_core", "report", str(target), "--csv", str(target / "log.csv")]
    assert subprocess.run(line, cwd=ROOT).returncode == 0
    assert but_time(by_path(target)) == but_time(by_path(whole))


def test_progress_is_told_as_it_goes(films: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    apply(films, tmp_path / "out", report=told.append)
    phases = list(dict.fromkeys(progress.phase for progress in told))
    assert phases[-3:] == ["running", "finishing", "done"]
    done = [progress.done for progress in told if progress.phase == "running"]
    assert done == sorted(done)
    assert told[-1].done == told[-1].total == 150


def test_asked_to_stop_it_stops_and_says_so(films: Path, tmp_path: Path) -> None:
    seen: list[int] = []

    class Endless:
        """Films are done at once up to the tenth, and never after it."""

        def run(self, job: Job, tasks: Iterator[Task]) -> Generator[Any]:
            yield from (batch_task.process(job, task) for task in islice(tasks, 10))
            while True:
                time.sleep(0.01)
                yield None

    def asked() -> Phase | None:
        return "interrupted" if seen and seen[-1] > 5 else None

    summary = apply(
        films, tmp_path / "out", engine=Endless(), asked=asked, report=lambda progress: seen.append(progress.done)
    )
    assert (summary.phase, summary.written) == ("interrupted", 10)
    assert len(by_path(tmp_path / "out")) == 10
    assert apply(films, tmp_path / "out", resume=True).phase == "done"
    assert len(by_path(tmp_path / "out")) == 150


def test_parts_are_of_one_run_and_of_one_number(films: Path, tmp_path: Path) -> None:
    source, target = films / "0", tmp_path / "out"
    apply(source, target, shard=(1, 2))
    before = contents(target)
    for options, words in (
        ({"shard": (1, 3)}, "parts of a run, one of 2"),
        ({}, "parts of a run, one of 2"),
        ({"shard": (2, 2), "settings": QUICK | {"clahe.clip_limit": 2.5}}, r"clahe\.clip_limit 1\.5 -> 2\.5"),
        ({"shard": (2, 2), "suffix": ".tif"}, "format"),
    ):
        for resume in (False, True):
            with pytest.raises(SettingsError, match=words):
                apply(source, target, resume=resume, **options)
    assert contents(target) == before
    apply(source, target, shard=(2, 2))
    apply(source, tmp_path / "whole")
    assert {name for name in outputs(target) if name.endswith(".png")} == set(outputs(tmp_path / "whole"))
    with pytest.raises(SettingsError, match="a whole run"):
        apply(source, tmp_path / "whole", shard=(1, 2))
    # What is written over leaves no books that contradict it.
    assert apply(source, target, overwrite=True).written == 50
    assert apply(source, target, resume=True).unchanged == 50


@pytest.mark.parametrize("reason", ["READ: permission denied", "TIMEOUT: took", "CRASH: the", "MEMORY: not enough"])
def test_what_cannot_be_looked_at_costs_no_output(films: Path, tmp_path: Path, reason: str) -> None:
    source, target = films / "0", tmp_path / "out"
    apply(source, target)
    before = outputs(target), by_path(target)

    class Failing:
        def run(self, job: Job, tasks: Iterator[Task]) -> Generator[Any]:
            for task in tasks:
                yield task, [{"path": task.path.name, "status": "FAILURE", "reason": reason}]

    summary = apply(source, target, engine=Failing(), resume=True, verify=True)
    assert summary.failures == 50
    assert (outputs(target), by_path(target)) == before
    assert apply(source, target, resume=True, verify=True).unchanged == 50


def test_inputs_that_are_emptied_end_the_run(films: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    shutil.copytree(films / "0", source)

    def empty() -> None:
        for path in source.iterdir():
            path.unlink()

    with pytest.raises(RunError, match="the inputs are not there any more"):
        apply(source, target, engine=Telling("READ: the file or folder does not exist", 3, empty))
    assert len(by_path(target)) == 3


def test_inputs_from_elsewhere_and_inputs_that_are_gone_are_told(films: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    shutil.copytree(films / "0", source)
    (source / "bad.png").write_bytes(b"")
    apply(source, target)
    source.rename(tmp_path / "moved")
    (tmp_path / "moved" / "film_000.png").unlink()
    (tmp_path / "moved" / "bad.png").unlink()
    summary = apply(tmp_path / "moved", target, resume=True)
    assert (summary.gone, summary.unchanged) == (1, 49)
    rows = by_path(target)
    assert "film_000.png" in rows
    assert "bad.png" not in rows


def test_failures_of_no_run_are_refused(films: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no run here whose failures"):
        apply(films, tmp_path / "out", resume=True, failures_only=True)


def test_damaged_books_are_one_line(films: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    apply(films / "0", target)
    (target / STATE / "manifest.sqlite").write_bytes(b"rubbish" * 1000)
    for more in ((), ("--dry-run",)):
        code, words = said(run(films / "0", target, *more))
        assert (code, words) == (73, f"radtune: {target}: the books of the run are damaged; say --overwrite\n")
    line = [sys.executable, "-m", "xray_core", "report", str(target)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (73, 1)


# --- Ends that are no fault of a film ---------------------------------------------------------------------------------


class Telling:
    """An engine whose n-th result is what a worker tells of the world outside."""

    def __init__(self, reason: str, number: int = 3, before: Callable[[], object] = lambda: None) -> None:
        self.reason, self.number, self.before = reason, number, before

    def run(self, job: Job, tasks: Iterator[Task]) -> Generator[Any]:
        for number, task in enumerate(tasks):
            if number == self.number:
                self.before()
                yield task, [{"path": "x", "status": "FAILURE", "reason": self.reason}]
            yield batch_task.process(job, task)


def test_a_full_disk_ends_the_run_and_makes_no_failures(films: Path, whole: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(RunError, match=r"out: the disk is full") as caught:
        apply(films, target, {}, engine=Telling("DISK_FULL: the disk is full"))
    assert caught.value.code == "DISK_FULL"
    rows = by_path(target)
    assert {row["status"] for row in rows.values()} == {"SUCCESS"}
    assert len(rows) == 3
    progress = RunFolder(target).progress()
    assert progress is not None
    assert (progress.phase, progress.words) == ("stopped", str(caught.value))
    apply(films, target, {}, resume=True)
    assert outputs(target).keys() == outputs(whole).keys()


def test_inputs_that_are_gone_end_the_run_and_make_no_failures(films: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    shutil.copytree(films / "0", source)
    away = Telling("READ: the file or folder does not exist", 3, lambda: source.rename(tmp_path / "away"))
    with pytest.raises(RunError, match=r"in: the inputs are not there any more") as caught:
        apply(source, target, engine=away)
    assert caught.value.code == "NO_INPUT"
    assert len(by_path(target)) == 3
    (tmp_path / "away").rename(source)
    assert apply(source, target, resume=True).written == 47


def test_inputs_that_are_gone_for_a_day_cost_no_run_its_books(films: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    shutil.copytree(films / "0", source)
    apply(source, target)
    before = outputs(target), by_path(target)
    source.rename(tmp_path / "away")
    source.mkdir()
    assert apply(source, target, resume=True).found == 0
    source.rmdir()
    (tmp_path / "away").rename(source)
    summary = apply(source, target, resume=True)
    assert (summary.written, summary.unchanged) == (0, 50)
    assert (outputs(target), by_path(target)) == before


def test_a_run_that_is_stopped_while_it_lists_keeps_its_books(films: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    apply(films, target)
    before = contents(target)
    summary = apply(films, target, resume=True, asked=lambda: "cancelled")
    assert (summary.phase, summary.found) == ("cancelled", None)
    assert apply(films, target, resume=True).unchanged == 150
    assert contents(target) == before


def test_a_log_that_was_deleted_is_written_again(films: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    apply(films, target)
    before = contents(target)
    (target / "log.csv").unlink()
    apply(films, target, resume=True)
    assert contents(target) == before


def test_one_input_that_is_gone_is_a_row(films: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    shutil.copytree(films / "0", source)

    class Removing:
        def run(self, job: Job, tasks: Iterator[Task]) -> Generator[Any]:
            for task in tasks:
                if task.path.name == "film_009.png":
                    (source / task.path).unlink()
                yield batch_task.process(job, task)

    assert apply(source, target, engine=Removing()).failed == {"READ": 1}
    assert by_path(target)["film_009.png"]["reason"] == "READ: the file or folder does not exist"


def mounted(folder: Path, *options: str) -> None:
    """A small file system of our own, where this is allowed."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip("file systems cannot be mounted here")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    mounted(tmp_path / "disk", "-o", "size=2m")
    yield tmp_path / "disk"
    subprocess.run(["umount", "-l", str(tmp_path / "disk")], check=True)


@pytest.mark.skipif(shutil.which("mount") is None, reason="needs mount")
def test_a_disk_that_fills_up(films: Path, whole: Path, disk: Path) -> None:
    target = disk / "out"
    code, words = said(run(films, target))
    assert code == 74, words
    first, how = words.splitlines()[-2:]
    assert first == f"radtune: {target}: the disk is full"
    assert how.startswith("what was done is kept; to go on: python -m xray_core batch --resume ")
    assert all(outputs(whole)[name] == data for name, data in outputs(target).items())
    subprocess.run(["mount", "-o", "remount,size=60m", str(disk)], check=True)
    assert said(run(films, target))[0] == 0
    assert outputs(target) == outputs(whole)
    assert but_time(by_path(target)) == but_time(by_path(whole))


@pytest.mark.skipif(shutil.which("mount") is None, reason="needs mount")
def test_a_disk_that_may_not_be_written(films: Path, disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert said(run(films, disk / "out")) == (73, f"radtune: {disk / 'out'}: the disk is read-only\n")


def test_a_folder_without_permission(films: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir(mode=0o500)
    line = [sys.executable, "-m", "xray_core", "batch", str(films), str(target)]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may write anywhere, and there is no setpriv to take that away")
        line = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *line]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (73, f"radtune: {target}: permission denied\n")
