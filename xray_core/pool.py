"""A process pool that outlives what its tasks do to it.

A task that kills its process (a decoder that crashes, the system short of memory) or never ends costs that process
alone: it is started anew, the task is tried once more at the end with nothing else in its process, and a second loss is
its result. No stock pool does all three: they blame innocent tasks, hang, or end the run.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Generic, TypeVar

from xray_core.limits import bound_memory

T = TypeVar("T")
R = TypeVar("R")

_START_LIMIT = 120.0  # seconds
_QUEUED = 2  # tasks in a worker's pipe: one at work, one so that it never waits


@dataclass(frozen=True)
class Lost(Generic[T]):
    """A task whose process died, or was ended at the time limit, twice."""

    task: T
    timed_out: bool


@dataclass
class _Worker(Generic[T]):
    process: BaseProcess
    pipe: Connection
    tasks: deque[T] = field(default_factory=deque)
    since: float = 0.0
    started: bool = False


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, in the middle of a task too."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _work(pipe: Connection, function: Callable[[T], R], memory_limit: int | None) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # The parent decides when an interrupt ends the run.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # C libraries announce damaged files on stderr in words of their own, across the progress bar.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    import cv2

    cv2.setNumThreads(1)
    if memory_limit is not None:
        bound_memory(memory_limit)
    pipe.send(None)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            pipe.send(function(pipe.recv()))


def run_tasks(
    function: Callable[[T], R],
    tasks: Iterable[T],
    workers: int,
    time_limit: float = 300.0,
    memory_limit: int | None = None,
    *,
    ticks: bool = False,
) -> Generator[R | Lost[T] | None]:
    """Yield the result of each task as it comes, in any order.

    Parameters
    ----------
    function
        Importable by name and free of exceptions: it catches its own. Runs in a process of one OpenCV thread.
    tasks
        Read only as far as workers need. Asked again after its end while tasks run, since more may have come.
    workers
        Number of processes.
    time_limit
        Seconds that a task may take.
    memory_limit
        Bytes of memory that a process may take, on Linux; see `xray_core.limits.bound_memory`.
    ticks
        Yield None in each second without a result, for the caller to look around.
    """
    context = multiprocessing.get_context("spawn")
    waiting = iter(tasks)
    suspects: deque[T] = deque()
    again: deque[T] = deque()
    alone = False
    crew: list[_Worker[T]] = []

    def start() -> _Worker[T]:
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, function, memory_limit), daemon=True)
        with _without_interrupts():
            process.start()
        theirs.close()
        return _Worker(process, ours)

    def next_task() -> T | None:
        if again:
            return again.popleft()
        return next(waiting, None) if not alone else (suspects.popleft() if suspects else None)

    def feed(worker: _Worker[T]) -> None:
        while len(worker.tasks) < (1 if alone else _QUEUED):
            task = next_task()
            if task is None:
                return
            if not worker.tasks:
                worker.since = time.monotonic()
            worker.tasks.append(task)
            with suppress(BrokenPipeError, ConnectionResetError):
                worker.pipe.send(task)

    def bury(worker: _Worker[T], timed_out: bool) -> Lost[T] | None:
        """Take a dead worker from the crew; the task it was at is the suspect."""
        _end(worker.process)
        worker.pipe.close()
        crew.remove(worker)
        lost = None
        if worker.tasks:
            culprit = worker.tasks.popleft()
            if alone:
                lost = Lost(culprit, timed_out)
            else:
                suspects.append(culprit)
            again.extend(worker.tasks)
        return lost

    try:
        while True:
            for worker in crew:
                feed(worker)
            while len(crew) < (1 if alone else workers):
                task = next_task()
                if task is None:
                    break
                again.appendleft(task)
                crew.append(start())
                feed(crew[-1])
            busy = [worker for worker in crew if worker.tasks]
            if not busy:
                if not suspects or alone:
                    return
                alone = True
                for worker in crew[1:]:
                    _end(worker.process)
                del crew[1:]
                continue
            ready = wait([worker.pipe for worker in busy], timeout=1.0)
            if ticks and not ready:
                yield None
            for worker in busy:
                if worker.pipe in ready:
                    try:
                        result = worker.pipe.recv()
                    except (EOFError, OSError):  # also in the middle of an answer
                        if lost := bury(worker, timed_out=False):
                            yield lost
                        continue
                    worker.since = time.monotonic()
                    if worker.started:
                        worker.tasks.popleft()
                        yield result
                    worker.started = True
                else:
                    # What a process takes to start is no fault of its first task.
                    limit = time_limit if worker.started else max(time_limit, _START_LIMIT)
                    if time.monotonic() - worker.since > limit and (lost := bury(worker, timed_out=True)):
                        yield lost
    finally:
        for worker in crew:
            worker.process.kill()
        for worker in crew:
            # What it is writing is whole, or never was, before the caller goes on.
            worker.process.join()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Start processes that no Ctrl-C reaches, in their first moments neither; ours comes through afterwards."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    # The first start of a process would start it, and let interrupts through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(process: BaseProcess) -> None:
    process.kill()
    process.join()


def cpu_count() -> int:
    """Return the number of processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
