"""The processes of runs: the command line, started so that it outlives the page and the server, and how far it is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from pages.ui import places, runs
from pages.ui.runs import Plan, Run, Uploads
from xray_core.errors import FileError, SettingsError, XrayError
from xray_core.presets import Preset
from xray_core.run_folder import ENDED, Phase, Progress

MOST_AT_ONCE = 4
CHECK_SECONDS = 900.0
State = Phase | Literal["starting", "stopping", "refused"]

_LINE = re.compile(r"radtune[a-z ]*: (.+)")
_MOST_SAID = 100_000  # bytes, from the end
_STARTED: dict[str, tuple[subprocess.Popen[bytes], float]] = {}
_LOCK = threading.RLock()


@dataclass(frozen=True)
class Standing:
    """How far a run is.

    Attributes
    ----------
    state
        What it does, or how it ended: ``refused`` where it never began, ``stopped`` where it can go on.
    progress
        As the command line says it; None before it did.
    words
        Why it did not go on, as a sentence; empty where all is well.
    """

    state: State
    progress: Progress
    words: str = ""

    @property
    def busy(self) -> bool:
        """Whether a process is at it."""
        return self.state in ("starting", "listing", "running", "stopping", "finishing")


@dataclass(frozen=True)
class Outlook:
    """What a run would do, as its rehearsal found out.

    Attributes
    ----------
    found
        Films.
    seconds
        That it takes; None where none of the films that were tried could be computed.
    bytes, free
        Of the results, and of the disk.
    tried
        Films that this was measured on.
    passed_over
        What is left out, by kind.
    first
        Films with the names of their outputs.
    """

    found: int
    seconds: float | None
    bytes: int
    free: int | None
    tried: int
    passed_over: dict[str, int]
    first: list[tuple[str, str]]


def command(run: Run, *more: str) -> list[str]:
    """Return the command line of a run; raises `FileError` where its films are not there or not open any more."""
    plan = run.plan
    if not run.source.exists():
        raise FileError("READ", "The folder of the films is not there any more.")
    greys = [word for name, value in plan.choice.unusual().items() for word in (f"--{name}", str(value))]
    outputs = ["--preset", str(run.preset), "--format", plan.format, "--range", plan.range]
    outputs += ["--quality", str(plan.quality)] if plan.quality else []
    outputs += ["--skip-good"] if plan.skip_good else []
    paths = [str(run.source), str(run.out)]
    return [sys.executable, "-m", "xray_core", "batch", *paths, *outputs, "--workers", str(plan.workers), *greys, *more]


def check(plan: Plan, preset: Preset, uploads: Uploads = ()) -> Outlook:
    """Find out what a run would do; nothing of it stays.

    Raises
    ------
    XrayError
        What the command line refuses, in its words.
    """
    with runs.draft("", plan, preset, uploads) as run:
        try:
            line = command(run, "--dry-run", "--json")
            done = subprocess.run(
                line, cwd=places.ROOT, stdin=subprocess.DEVNULL, capture_output=True, timeout=CHECK_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise SettingsError(f"Looking at the films takes longer than {CHECK_SECONDS / 60:.0f} minutes.") from None
        if done.returncode != 0:
            raise SettingsError(_refusal(run, done.stderr) or "The films could not be looked at.")
        told: dict[str, Any] = json.loads(done.stdout)
        outputs = f"{run.out.as_posix()}/"
        first = [(film, output.removeprefix(outputs)) for film, output in told["first"]]
    names = ("found", "seconds", "bytes", "free", "tried", "passed_over")
    return Outlook(**{name: told[name] for name in names}, first=first)


def start(run: Run, *, failures_only: bool = False) -> None:
    """Start a run, or go on with it; returns at once.

    Raises
    ------
    SettingsError
        If too many runs are going on.
    FileError
        If it cannot be started.
    """
    with _LOCK:
        if runs.find(run.id) is None:
            raise FileError("READ", "the run is not there any more")
        if standing(run).busy:
            return
        if sum(standing(other).busy for other in runs.every()) >= MOST_AT_ONCE:
            raise SettingsError(f"{MOST_AT_ONCE} runs are going on, the most at a time: wait until one has ended.")
        # Never a shell. The first start says --resume too: it may have been killed before it wrote anything.
        line = command(run, "--failures-only" if failures_only else "--resume")
        try:
            with run.said.open("wb") as said:
                process = subprocess.Popen(
                    line,
                    cwd=places.ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    close_fds=True,
                    **_apart(),
                )
        except OSError as error:
            raise FileError("WRITE", f"the run could not be started: {type(error).__name__}") from None
        _STARTED[run.id] = process, time.time()


def _apart() -> dict[str, Any]:
    """Return what has a process outlive the one that starts it."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def standing(run: Run) -> Standing:
    """Return how far a run is, whoever started it."""
    books = run.books
    since = _alive(run)
    running = books.is_running()
    progress = books.progress()
    if running or since is not None:
        # What an earlier start said of its end says nothing of this one.
        if progress is None or progress.updated < (since or 0.0):
            return Standing("starting", Progress())
        if running and books.wished():
            return Standing("stopping", progress)
        return Standing("finishing" if progress.phase in ENDED else progress.phase, progress)
    words = _refusal(run, _said(run))
    if progress is None and books.manifest.is_file() and not words:
        return Standing("stopped", Progress(), "How it ended is not known; what was done is kept.")
    if progress is None:
        return Standing("refused", Progress(), words or "The run ended before it began.")
    if progress.phase not in ENDED or progress.phase in ("interrupted", "stopped"):
        ended = "It was ended from outside" if progress.phase != "stopped" else "It ended unexpectedly"
        words = words or _sentence(run, progress.words) or f"{ended}; what was done is kept."
        return Standing("stopped", progress, words)
    return Standing(progress.phase, progress, words)


def _alive(run: Run) -> float | None:
    """Return when the process of a run was started, where this server started it and it goes on."""
    with _LOCK:
        if run.id not in _STARTED:
            return None
        process, since = _STARTED[run.id]
        if process.poll() is None:
            return since
        del _STARTED[run.id]
        return None


def _said(run: Run) -> bytes:
    with suppress(OSError), run.said.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _MOST_SAID))
        return file.read()
    return b""


def _refusal(run: Run, said: bytes) -> str:
    """Return the last refusal that the command line said."""
    lines = [match[1] for line in said.decode("utf-8", "replace").splitlines() if (match := _LINE.fullmatch(line))]
    return _sentence(run, lines[-1]) if lines else ""


def _sentence(run: Run, words: str) -> str:
    """Return words of the command line as a sentence without the server's paths."""
    hidden = [str(run.out), str(run.folder)]
    with suppress(XrayError):
        hidden.insert(0, str(run.source))
    for path in hidden:
        words = words.replace(f"{path}: ", "").replace(f"{path}/", "")
    return f"{words[:1].upper()}{words[1:].rstrip('.')}." if words else ""
