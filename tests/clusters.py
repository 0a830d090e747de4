"""A Dask cluster on this machine, for tests and benchmarks: processes that may be killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]
START = 120  # seconds that a machine full of other work may take to start them all


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something holds; a failure where it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "what was waited for did not happen in time"
        time.sleep(0.05)


# Reading a film does harm by its name; in the nodes only, since it comes to them by their environment.
HARM = """
import os, pathlib, signal, time
plain = pathlib.Path.read_bytes
def read_bytes(path):
    kind = path.name.partition("_")[0]
    if kind == "slow":
        time.sleep(0.06)
    if kind == "hangs":
        time.sleep(600)
    if kind == "kills":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "killsall":
        os.kill(os.getppid(), signal.SIGKILL)
    if kind == "closed":
        raise PermissionError(13, "words")
    return plain(path)
pathlib.Path.read_bytes = read_bytes
"""


class Nodes:
    """A scheduler and workers, each a process group of its own; use it in a ``with``.

    Parameters
    ----------
    folder
        For what they say, and for Dask's own files.
    workers
        How many to begin with.
    """

    def __init__(self, folder: Path, workers: int = 3) -> None:
        self._folder = folder
        self._environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
        self._processes: list[subprocess.Popen[bytes]] = []
        self.workers: list[subprocess.Popen[bytes]] = []
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "sitecustomize.py").write_text(HARM)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        try:
            self.scheduler = self._start("scheduler", "--port", str(self.port))
            wait_for(self._answers, START)
            for _ in range(workers):
                self.add()
            wait_for(lambda: self.said("scheduler").count("Register worker") >= workers, START)
        except BaseException:
            self.end()
            raise

    def _answers(self) -> bool:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        return False

    def _start(self, kind: str, *arguments: str) -> subprocess.Popen[bytes]:
        name = kind if kind == "scheduler" else f"{kind}{len(self._processes)}"
        line = [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--host", "127.0.0.1", "--no-dashboard"]
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [*line, *arguments],
                cwd=self._folder,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def said(self, name: str) -> str:
        """What one of them wrote into its log."""
        return (self._folder / f"{name}.log").read_text(errors="replace")

    def add(self, *arguments: str) -> None:
        """Start another worker, of one thread."""
        self.workers.append(
            self._start("worker", self.address, "--nthreads", "1", "--death-timeout", str(START), *arguments)
        )

    def served(self) -> list[int]:
        """The processes of ours that run shards on these nodes."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                ours = b"from xray_core.node import serve" in (folder / "cmdline").read_bytes()
                if ours and os.fsencode(self._folder) in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
        return found

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill a scheduler, or a worker with its nanny, as a machine that loses its power does."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def __enter__(self) -> Nodes:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """End them all."""
        self.end()

    def end(self) -> None:
        """Kill them all."""
        for process in self._processes:
            self.kill(process)
