"""What runs on the nodes of a cluster: shards of files, in a pool of processes that may die.

Each of Dask's workers starts one process of ours, which keeps its pool warm from shard to shard. It is a plain process:
Dask's own are daemonic, and may not have children. Both speak in lines of JSON, never in pickles. It ends with Dask's
worker, and with the run.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path, PurePath
from typing import Any

from xray_core import __version__
from xray_core.batch_plan import Job, computes
from xray_core.batch_task import Done, process
from xray_core.dicom_choice import DicomChoice
from xray_core.errors import FileError, RunError, unwritten
from xray_core.files import write_bytes
from xray_core.limits import Limits
from xray_core.manifest import Task
from xray_core.pool import Lost, run_tasks
from xray_core.presets import loads
from xray_core.stores import place

LOST = json.dumps({"lost": True})
"""The answer to a shard whose process died, or that nobody wants any more."""
_IDLE = 120.0  # seconds after which a process without work ends: who started the run may be gone
_ROOT = Path(__file__).resolve().parents[1]
_SERVE = "import sys; sys.path.insert(0, sys.argv[1]); from xray_core.node import serve; serve()"


def packed(job: Job) -> str:
    """Return a job as JSON, for `unpacked`."""
    said = {name: getattr(job, name) for name in ("suffix", "kind", "embed", "quality", "levels", "keep_identity")}
    said |= {name: getattr(job, name) for name in ("time_limit", "shard")}
    said |= {name: str(getattr(job, name)) for name in ("source", "target", "state")}
    said |= {"limits": asdict(job.limits), "choice": asdict(job.choice), "applied": job.applied.dumps()}
    said |= {"only": job.only and str(job.only), "instead": job.instead and job.instead.dumps()}
    return json.dumps(said)


def unpacked(text: str) -> Job:
    """Return the job that `packed` wrote down."""
    said = json.loads(text)
    said |= {name: place(said[name]) for name in ("source", "target")} | {"state": Path(said["state"])}
    said |= {"limits": Limits(**said["limits"]), "choice": DicomChoice(**said["choice"])}
    said |= {name: said[name] and tuple(said[name]) for name in ("levels", "shard")}
    said |= {"applied": loads(said["applied"]), "instead": said["instead"] and loads(said["instead"])}
    return Job(**said | {"only": said["only"] and PurePath(said["only"])})


def task_list(tasks: Iterable[Task]) -> list[list[Any]]:
    """Return tasks as JSON can hold them."""
    return [
        [one.number, str(one.path), str(one.output), one.stamp, one.member, one.copy, one.done, one.outputs, one.known]
        for one in tasks
    ]


def _task_of(said: list[Any]) -> Task:
    number, path, output, stamp, member, copy, done, outputs, known = said
    written = tuple((name, digest) for name, digest in outputs)
    return Task(number, PurePath(path), PurePath(output), stamp, member, copy, done, written, known)


# --- In Dask's worker -------------------------------------------------------------------------------------------------

_nodes: dict[str, _Node] = {}
_ended: deque[str] = deque(maxlen=100)
_changing = threading.Lock()


def run_shard(request: str) -> str:
    """Run a shard and return what became of it, as JSON both; this is what Dask calls."""
    from distributed import get_worker, secede

    asked, worker = json.loads(request), get_worker()
    if asked["version"] != __version__:
        words = f"{socket.gethostname()} has RadTune {__version__}, and not {asked['version']}"
        return json.dumps({"refused": ["CANNOT_WRITE", words]})
    # Dask's threads are as many as its cores; a second shard has to wait here, so that ours never idle.
    secede()
    with _changing:
        if asked["run"] in _ended:
            return LOST
        node = _nodes.get(asked["run"])
        if node is None or not node.is_alive():
            node = _nodes[asked["run"]] = _Node(asked, asked["workers"] or worker.state.nthreads)
    answer = node.ask(asked["tasks"])
    while True:
        with suppress(TimeoutError):
            return answer.result(timeout=0.5)
        known = worker.state.tasks.get(asked["key"])
        if known is None or known.state == "cancelled" or worker.status.name in ("closing", "closed", "failed"):
            node.end()
            return LOST


def end_run(run: str) -> None:
    """End what a run does here, and return when nothing is written any more."""
    with _changing:
        _ended.append(run)
        node = _nodes.pop(run, None)
    if node is not None:
        node.end()


class _Node:
    """The process of a run beside Dask's worker, as seen from there."""

    def __init__(self, asked: dict[str, Any], workers: int) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[str]] = {}
        self._count = 0
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, str(_ROOT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )
        self._say({"job": asked["job"], "computes": asked["computes"], "workers": workers})
        threading.Thread(target=self._listen, daemon=True).start()

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, tasks: list[Any]) -> Future[str]:
        """Hand a shard over."""
        answer: Future[str] = Future()
        with self._lock:
            self._count += 1
            self._waiting[self._count] = answer
            self._say({"shard": self._count, "tasks": tasks})
        if not self.is_alive():
            self._lose()
        return answer

    def _say(self, words: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with suppress(OSError, ValueError):
            self._process.stdin.write(json.dumps(words) + "\n")
            self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            number, _, answer = line.partition(" ")
            with self._lock:
                waiting = self._waiting.pop(int(number), None)
            if waiting is not None:
                waiting.set_result(answer)
        self._process.wait()
        self._lose()

    def _lose(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            answer.set_result(LOST)

    def end(self) -> None:
        """Kill the process and its pool."""
        with suppress(OSError):
            if hasattr(os, "killpg") and self.is_alive():
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()


# --- In the node's own process ----------------------------------------------------------------------------------------


def serve() -> None:
    """Run the shards that come on stdin; the answers go to stdout, a line each."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    said = json.loads(sys.stdin.readline())
    job = unpacked(said["job"])
    differs = None if computes(job.applied) == said["computes"] else _differs()
    arriving = _Arriving()
    threading.Thread(target=arriving.read, daemon=True).start()

    def answer(shard: int, words: dict[str, Any]) -> None:
        answers.write(f"{shard} {json.dumps(words)}\n")
        answers.flush()

    def check(shard: int) -> bool:
        if refused := differs or _not_seen(job):
            answer(shard, {"refused": [refused.code, str(refused)]})
        return refused is None

    arriving.check = check
    while arriving.wait():
        function = partial(process, job)
        for result in run_tasks(function, arriving, said["workers"], job.time_limit, job.limits.memory_bytes):
            if result is not None and (done := arriving.take(result)):
                shard, results = done
                answer(shard, {"host": socket.gethostname(), "results": results})


class _Arriving:
    """The tasks of the shards that have come so far, and what became of them."""

    def __init__(self) -> None:
        self._inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._tasks: deque[Task] = deque()
        self._shard: dict[int, int] = {}
        self._left: Counter[int] = Counter()
        self._results: dict[int, list[tuple[int, object]]] = {}
        self.check: Callable[[int], bool] = lambda shard: True

    def read(self) -> None:
        """Take in what is said on stdin; its end is that of this process."""
        for line in sys.stdin:
            self._inbox.put(json.loads(line))
        os._exit(0)

    def wait(self) -> bool:
        """Wait for a task; False where none comes."""
        while not self._tasks:
            try:
                self._open(self._inbox.get(timeout=_IDLE))
            except queue.Empty:
                return False
        return True

    def _open(self, said: dict[str, Any]) -> None:
        shard = said["shard"]
        if not self.check(shard):
            return
        tasks = [_task_of(one) for one in said["tasks"]]
        self._tasks.extend(tasks)
        self._shard.update({task.number: shard for task in tasks})
        self._left[shard] = len(tasks)
        self._results[shard] = []

    def __iter__(self) -> Iterator[Task]:
        return self

    def __next__(self) -> Task:
        with suppress(queue.Empty):
            while True:
                self._open(self._inbox.get_nowait())
        if not self._tasks:
            raise StopIteration
        return self._tasks.popleft()

    def take(self, result: Done | Lost[Task]) -> tuple[int, list[tuple[int, object]]] | None:
        """Note a result; returns a shard with all of its own, where this was its last."""
        number, became = (result.task.number, result.timed_out) if isinstance(result, Lost) else _became(result)
        shard = self._shard.pop(number)
        self._results[shard].append((number, became))
        self._left[shard] -= 1
        if self._left[shard]:
            return None
        del self._left[shard]
        return shard, self._results.pop(shard)


def _became(done: Done) -> tuple[int, object]:
    return done[0].number, done[1]


def _differs() -> RunError:
    words = "computes other pixels than the machine that began the run: it, or its OpenCV, is another"
    return RunError("CANNOT_WRITE", f"{socket.gethostname()} {words}")


def _not_seen(job: Job) -> RunError | None:
    """Return why this node cannot take part: it has to see the very folders that the run was given."""
    host = socket.gethostname()
    if isinstance(job.source, Path) and not job.source.exists():
        return RunError("NO_INPUT", f"{host} does not see {job.source}; the nodes have to share it under this path")
    if isinstance(job.target, str):
        return None
    if not job.folder.manifest.is_file():
        return RunError("CANNOT_WRITE", f"{host} does not see {job.target}; the nodes have to share it under this path")
    try:
        write_bytes(job.folder.parts / f"probe-{host}-{os.getpid()}", b"", parts=job.folder.parts)
    except FileError as error:
        return unwritten(error, f"{host} cannot write into {job.target}: {error}")
    return None
