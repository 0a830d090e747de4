"""A batch on a Dask cluster: shards of files, each run by the same pool on a node.

We place the shards ourselves, two at each worker, so that none waits for the next one and what was sent to one that is
gone can be sent to another. Workers may come and go; a file that ends its process costs one process of one node.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import queue
import secrets
import socket
import threading
import time
import warnings
from collections import Counter, deque
from collections.abc import Generator, Iterator
from concurrent.futures import CancelledError
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from xray_core import __version__
from xray_core.batch_plan import Job, computes, source_of, target_of
from xray_core.batch_task import Done
from xray_core.errors import FileError, RunError, SettingsError
from xray_core.manifest import Task
from xray_core.names import PRESET
from xray_core.node import end_run, packed, run_shard, task_list
from xray_core.pool import Lost

if TYPE_CHECKING:
    from distributed import Client, Future

_FEWEST, _MOST = 64, 512  # files of a shard, before the end is near
_SECONDS = 10.0  # that a shard should take
_AT_ONCE = 2  # shards at a worker
_AHEAD = 20_000  # most files that are read ahead, to see whether the end is near
_PATIENCE = 20.0  # seconds without a scheduler, or without any worker, after which the run ends
_CONNECTING = 10  # seconds in which a scheduler has to answer, at first and after it was lost
_OFTEN = 8  # times that a shard may be lost


@dataclass(eq=False)
class _Shard:
    tasks: dict[int, Task]
    lost: int = 0
    address: str = ""
    sent: float = 0.0
    future: Future[str] | None = None


class Cluster:
    """A Dask cluster as what runs the tasks of a batch.

    Parameters
    ----------
    address
        Of its scheduler, such as ``tcp://10.0.0.1:8786``.
    workers
        Processes for each of its workers; as many as that has threads if None.

    Raises
    ------
    SettingsError
        If Dask is not installed here, or this is no address.
    """

    def __init__(self, address: str, workers: int | None = None) -> None:
        try:
            import distributed  # noqa: F401
        except ImportError:
            raise SettingsError("a cluster needs Dask: python -m pip install -r requirements-cluster.txt") from None
        self._address = address if "://" in address else f"tcp://{address}"
        self._workers = workers
        try:
            parts = urlsplit(self._address)
            self._host, self._port = parts.hostname, parts.port
        except ValueError:
            self._host = self._port = None
        if "@" in self._address or not self._host or not self._port:
            raise SettingsError("a cluster's address is that of its scheduler, such as tcp://10.0.0.1:8786")

    def run(self, job: Job, tasks: Iterator[Task]) -> Generator[Done | Lost[Task] | None]:
        """Run tasks there; raises `RunError` CLUSTER_LOST where the cluster is not reached, or not any more."""
        with _silence(), self._client() as client:
            dispatch = _Dispatch(client, job, tasks, self._workers, self._address)
            try:
                yield from dispatch.results()
            finally:
                dispatch.end()

    @contextmanager
    def _client(self) -> Iterator[Client]:
        try:
            # Dask itself would go on trying.
            socket.create_connection((self._host or "", self._port or 0), timeout=5.0).close()
            client = self._connected()
        except Exception as error:
            words = "nothing answers there" if isinstance(error, OSError | queue.Empty) else type(error).__name__
            raise RunError("CLUSTER_LOST", f"{self._address}: no scheduler was reached: {words}") from None
        try:
            yield client
        finally:
            with suppress(Exception):
                client.close(timeout=2)

    def _connected(self) -> Client:
        """Connect in a thread: for the first word of what is no scheduler, Dask waits without a limit."""
        from distributed import Client

        made: queue.SimpleQueue[Client | Exception] = queue.SimpleQueue()

        def connect() -> None:
            try:
                made.put(Client(self._address, timeout=_CONNECTING, set_as_default=False, name="radtune"))
            except Exception as error:
                made.put(error)

        threading.Thread(target=connect, daemon=True).start()
        client = made.get(timeout=_CONNECTING + 2)
        if isinstance(client, Exception):
            raise client
        return client


class _Dispatch:
    """The shards of one run: which are where, and what comes back."""

    def __init__(self, client: Client, job: Job, tasks: Iterator[Task], workers: int | None, address: str) -> None:
        # On a node, a relative path would begin elsewhere.
        source, target = (one.absolute() if isinstance(one, Path) else one for one in (job.source, job.target))
        self._job = replace(job, source=source, target=target, state=job.state.absolute())
        self._client, self._tasks, self._address = client, tasks, address
        self._run = secrets.token_hex(8)
        self._request = {"run": self._run, "version": __version__, "job": packed(self._job), "workers": workers}
        self._request["computes"] = computes(job.applied)
        self._ahead: deque[Task] = deque()
        self._has_more = True
        self._again: deque[_Shard] = deque()
        self._flying: dict[str, _Shard] = {}
        self._answers: queue.SimpleQueue[tuple[str, str | BaseException]] = queue.SimpleQueue()
        self._count = 0
        self._sizes: dict[str, int] = {}
        self._nodes: frozenset[str] = frozenset()
        self._asking: Any = None
        self._asked = 0.0
        self._heard = self._manned = time.monotonic()

    def results(self) -> Iterator[Done | Lost[Task] | None]:
        """Yield results as shards end; None in each second without."""
        while True:
            self._look()
            self._send()
            if not (self._flying or self._again or self._ahead or self._has_more):
                return
            try:
                key, answer = self._answers.get(timeout=1.0 if self._nodes else 0.1)
            except queue.Empty:
                yield None
                continue
            yield from self._take(key, answer)

    # --- Who is there -------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Ask once a second which workers there are; never waits for the answer."""
        now = time.monotonic()
        if self._client.status == "closed":
            self._give_up("its scheduler is gone")
        if self._asking is None and now - self._asked >= 1.0:
            self._asked = now
            loop: Any = self._client.loop
            with suppress(Exception):
                self._asking = asyncio.run_coroutine_threadsafe(self._client.scheduler.ncores(), loop.asyncio_loop)
        if self._asking is not None and self._asking.done():
            with suppress(Exception, CancelledError):
                self._nodes = frozenset(self._asking.result())
                self._heard = now
            self._asking = None
        if self._nodes:
            self._manned = now
        if now - self._heard > _PATIENCE:
            self._give_up("its scheduler does not answer")
        if now - self._manned > _PATIENCE:
            self._give_up("it has no workers")
        for key, shard in list(self._flying.items()):
            if shard.address not in self._nodes:
                del self._flying[key]
                self._lose(shard, "its worker is gone")

    def _give_up(self, words: str) -> None:
        raise RunError("CLUSTER_LOST", f"{self._address}: the cluster is lost: {words}")

    # --- To the nodes -------------------------------------------------------------------------------------------------

    def _send(self) -> None:
        """Send each worker as much as keeps it busy."""
        busy = Counter(shard.address for shard in self._flying.values())
        while self._nodes and self._client.status == "running":
            address = min(self._nodes, key=lambda one: (busy[one], one))
            if busy[address] >= _AT_ONCE:
                return
            shard = self._again.popleft() if self._again else self._cut(address)
            if shard is None:
                return
            self._count += 1
            key = f"radtune-{self._run}-{self._count}"
            shard.address, shard.sent = address, time.monotonic()
            request = self._request | {"key": key, "tasks": task_list(shard.tasks.values())}
            text = json.dumps(request)
            shard.future = self._client.submit(run_shard, text, key=key, workers=[address], pure=False, retries=0)
            self._flying[key] = shard
            busy[address] += 1
            shard.future.add_done_callback(self._fetch)

    def _fetch(self, future: Future[str]) -> None:
        """Get the answer of a shard; in a thread of Dask's."""
        try:
            # Of one that was cancelled, Dask itself would complain later that nobody took its error.
            answer: str | BaseException = CancelledError() if future.cancelled() else future.result(timeout=10)
        except (Exception, CancelledError) as error:
            answer = error
        self._answers.put((str(future.key), answer))

    def _cut(self, address: str) -> _Shard | None:
        """Take a shard from the files: so many as a worker does in a while, but near the end no more than its share."""
        places = _AT_ONCE * len(self._nodes)
        if self._has_more and len(self._ahead) < (enough := min(_AHEAD, 2 * places * _MOST)):
            more = list(islice(self._tasks, enough - len(self._ahead)))
            self._has_more = len(self._ahead) + len(more) == enough
            self._ahead.extend(more)
        share = math.ceil(len(self._ahead) / (2 * places))
        size = min(self._sizes.get(address, _FEWEST), len(self._ahead), _MOST if self._has_more else share)
        tasks = [self._ahead.popleft() for _ in range(size)]
        return _Shard({task.number: task for task in tasks}) if tasks else None

    # --- From the nodes -----------------------------------------------------------------------------------------------

    def _take(self, key: str, answer: str | BaseException) -> Iterator[Done | Lost[Task]]:
        shard = self._flying.pop(key, None)
        if shard is None:
            return
        if isinstance(answer, BaseException):
            self._lose(shard, type(answer).__name__)
            return
        shard.future = None  # so that the worker lets its answer go
        said = json.loads(answer)
        if "refused" in said:
            code, words = said["refused"]
            raise RunError(code, words)
        if "lost" in said:
            self._lose(shard, "its process is gone")
            return
        results = dict(said["results"])
        self._blame(said["host"], shard, list(results.values()))
        took = max(time.monotonic() - shard.sent, 0.01)
        wanted = len(shard.tasks) * min(2.0, _SECONDS / took)
        self._sizes[shard.address] = int(min(_MOST, max(_FEWEST, wanted)))
        for number, became in results.items():
            task = shard.tasks[number]
            yield Lost(task, became) if isinstance(became, bool) else (task, became)

    def _lose(self, shard: _Shard, words: str) -> None:
        """Have a shard run once more."""
        shard.lost += 1
        if shard.future is not None:
            with suppress(Exception):
                shard.future.release()
            shard.future = None
        if shard.lost > _OFTEN:
            self._give_up(f"the same {len(shard.tasks)} files were lost {shard.lost} times, the last time: {words}")
        self._again.append(shard)

    def _blame(self, host: str, shard: _Shard, results: list[Any]) -> None:
        """End the run where a node failed at files that are good: it lacks a folder, or the right to it."""
        reasons = [row.get("reason", "") for rows in results if isinstance(rows, list) for row in rows[:1]]
        codes = {reason.partition(":")[0] for reason in reasons}
        if len(reasons) != len(shard.tasks) or len(codes) != 1:
            return
        job, first = self._job, next(iter(shard.tasks.values()))
        with suppress(FileError):
            if codes == {"READ"}:
                with closing(source_of(job.source, job.only, job.limits)) as source:
                    source.read(first.path, first.member, job.limits)
                raise RunError("NO_INPUT", f"{host} cannot read what this machine can; {reasons[0]}")
            if codes == {"WRITE"}:
                target_of(job.target, job.folder.parts).write(PurePath(PRESET), job.applied.dumps().encode())
                raise RunError("CANNOT_WRITE", f"{host} cannot write where this machine can; {reasons[0]}")

    def end(self) -> None:
        """Have the nodes stop; returns when they have, or do not answer."""
        self._flying.clear()
        self._again.clear()
        if self._client.status == "running" and time.monotonic() - self._heard < _PATIENCE:
            with suppress(Exception, CancelledError):
                self._client.run(end_run, self._run, on_error="ignore", callback_timeout=5)


@contextmanager
def _silence() -> Iterator[None]:
    """Keep what Dask says of its own accord off the terminal, and out of this process's memory what it sent."""
    import dask
    from distributed.versions import VersionMismatchWarning

    names = [
        name for name in logging.root.manager.loggerDict if name.split(".")[0] in ("asyncio", "distributed", "tornado")
    ]
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", category=VersionMismatchWarning)
    try:
        with dask.config.set({"distributed.admin.low-level-log-length": 10}):
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
