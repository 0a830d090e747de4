"""The pool loses a task's process, not the run: every task is accounted for exactly once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from xray_core.pool import Lost, cpu_count, run_tasks

# isort: split
import cv2

ROOT = Path(__file__).parents[1]
Job = tuple[str, int, str]


def work(task: Job) -> tuple[str, int]:
    """What the tasks of these tests do; runs in a worker."""
    kind, number, folder = task
    marker = Path(folder, f"{kind}{number}")
    if kind == "kills":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "exits":
        os._exit(0)
    if kind == "hangs":
        time.sleep(600)
    if kind == "kills once" and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "hangs once" and not marker.exists():
        marker.touch()
        time.sleep(600)
    if kind == "counts threads":
        return kind, cv2.getNumThreads()
    if kind == "takes memory":
        try:
            return kind, len(bytearray(number))
        except MemoryError:
            return kind, -1
    if kind == "shouts":
        os.write(2, b"words of a C library\n")
    if kind == "notes":
        with Path(folder, "notes").open("a") as notes:
            notes.write(f"{number}\n")
    return kind, number


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="needs POSIX signals")
def test_an_interrupt_reaches_no_worker_from_its_first_moment_on() -> None:
    # In a process of its own, where nothing has started any other yet.
    asks = """if __name__ == "__main__":
        from functools import partial
        import signal
        from xray_core.pool import run_tasks
        blocked = list(run_tasks(partial(signal.pthread_sigmask, signal.SIG_BLOCK), [(), ()], 2))
        assert len(blocked) == 2 and all(signal.SIGINT in mask for mask in blocked), blocked
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    """
    done = subprocess.run([sys.executable, "-c", asks], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_is_accounted_for_exactly_once(tmp_path: Path, workers: int) -> None:
    tasks: list[Job] = [("good", number, str(tmp_path)) for number in range(60)]
    for place, kind in ((3, "kills"), (17, "kills once"), (18, "exits"), (30, "hangs"), (45, "hangs once")):
        tasks.insert(place, (kind, place, str(tmp_path)))
    tasks.append(("kills", 99, str(tmp_path)))
    started = time.monotonic()
    results = list(run_tasks(work, tasks, workers, time_limit=2))
    assert time.monotonic() - started < 30

    lost = {result.task[:2]: result.timed_out for result in results if isinstance(result, Lost)}
    assert lost == {("kills", 3): False, ("exits", 18): False, ("hangs", 30): True, ("kills", 99): False}
    done = Counter(result for result in results if not isinstance(result, Lost))
    assert done == Counter([task[:2] for task in tasks if task[:2] not in lost])
    assert len(results) == len(tasks)


def test_tasks_are_read_only_as_far_as_they_are_needed(tmp_path: Path) -> None:
    read = 0

    def endless() -> Iterator[Job]:
        nonlocal read
        while True:
            read += 1
            yield ("good", read, str(tmp_path))

    results = run_tasks(work, endless(), 2)
    assert read == 0
    for taken in range(1, 40):
        next(results)
        assert read <= taken + 4  # two workers, two tasks each
    results.close()


def test_nothing_to_do_ends_at_once() -> None:
    assert list(run_tasks(work, [], 2)) == []


def test_a_task_that_is_good_runs_once(tmp_path: Path) -> None:
    list(run_tasks(work, [("notes", number, str(tmp_path)) for number in range(30)], 2))
    assert sorted(map(int, (tmp_path / "notes").read_text().split())) == list(range(30))


def test_workers_use_one_thread_and_keep_stderr_clean(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tasks: list[Job] = [("counts threads", 0, str(tmp_path)), ("shouts", 1, str(tmp_path))]
    assert sorted(run_tasks(work, tasks, 1)) == [("counts threads", 1), ("shouts", 1)]
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is bounded on Linux")
def test_memory_over_the_limit_is_an_error_of_the_task_alone(tmp_path: Path) -> None:
    tasks: list[Job] = [("takes memory", size, str(tmp_path)) for size in (1000, 900_000_000, 2000)]
    results = run_tasks(work, tasks, 1, 30, 600_000_000)
    assert Counter(results) == Counter([("takes memory", size) for size in (1000, -1, 2000)])


def test_workers_end_when_the_results_are_dropped(tmp_path: Path) -> None:
    results = run_tasks(work, [("good", number, str(tmp_path)) for number in range(50)], 2)
    next(results)
    started = time.monotonic()
    results.close()
    assert time.monotonic() - started < 2
    import multiprocessing

    for process in multiprocessing.active_children():
        process.join(5)
        assert not process.is_alive()


def test_there_is_a_processor() -> None:
    assert 1 <= cpu_count() <= 4096
