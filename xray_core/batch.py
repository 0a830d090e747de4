"""A preset over a folder, an archive or an object store, so that it can be killed at any moment and gone on with.

An output is whole or not there; its row is recorded after it, and everything else is told from the rows. Nothing here
grows with the number of files.
"""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePath
from typing import Any, Protocol

from xray_core.batch_log import Row, log_name, write_log
from xray_core.batch_plan import Job, computes, named, record, source_of, target_of
from xray_core.batch_task import NEW, Done, lost, process
from xray_core.batch_terms import Options, Summary
from xray_core.errors import FileError, RunError, SettingsError, unwritten
from xray_core.files import not_written
from xray_core.ledger import refusals
from xray_core.manifest import Manifest, Task, Which
from xray_core.names import LOG, PRESET, RUN
from xray_core.occupied import check_alone, check_target, clear, has_begun
from xray_core.pool import Lost, run_tasks
from xray_core.run_folder import Phase, Progress, RunFolder, parts_of
from xray_core.stores import Source

_LOOK = 0.2  # seconds between two looks at what is asked for, and two reports
_HELD = 1.0  # seconds for which results wait to be recorded together
_MOST_HELD = 2_000
_UNSEEN = ("READ", "MEMORY", "TIMEOUT", "CRASH")  # failures that tell nothing of a file's content
_LIMITS = ("BYTE_LIMIT", "PIXEL_LIMIT", "PAGE_LIMIT")  # nor do these, where the content is that of before, or not read
_SYNC_SHARE = 0.05  # of the time, at most, goes into having what was written outlast a loss of power
_WINDOW = 30.0  # seconds over which the rate is taken


class Engine(Protocol):
    """What runs tasks: processes of this machine, or a cluster."""

    def run(self, job: Job, tasks: Iterator[Task]) -> Generator[Done | Lost[Task] | None]:
        """Yield what `process` returns for each task, in any order; None at times, for the caller to look around."""


@dataclass(frozen=True)
class Local:
    """Processes of this machine, which may die; see `xray_core.pool`."""

    workers: int

    def run(self, job: Job, tasks: Iterator[Task]) -> Generator[Done | Lost[Task] | None]:
        """Run tasks here."""
        function = partial(process, job)
        return run_tasks(function, tasks, self.workers, job.time_limit, job.limits.memory_bytes, ticks=True)


def run_batch(
    job: Job,
    engine: Engine,
    options: Options | None = None,
    *,
    asked: Callable[[], Phase | None] = lambda: None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Summary:
    """Run a preset over the source, writing outputs, log and preset into the target.

    Parameters
    ----------
    job
        As prepared.
    engine
        What runs the tasks.
    options
        How it is gone about.
    asked
        Called often; how the run is to end now, if it is.
    report
        Called several times a second with how far the run is.

    Raises
    ------
    SettingsError, PresetError
        If there is nothing to do, or the target holds something else.
    RunError
        If the run cannot begin or go on. What was done by then is kept.
    """
    options = options or Options()
    is_new, leaves_nothing = not job.state.exists(), False
    try:
        if not job.folder.is_running():
            # Asked again once the folder is ours; but so what is refused leaves nothing behind.
            with refusals(job.folder.manifest, job.target):
                _check(job, options)
        with (
            job.folder as folder,
            refusals(folder.manifest, job.target),
            closing(source_of(job.source, job.only, job.limits, job.target)) as source,
        ):
            _check(job, options)
            if options.overwrite:
                passed_over = Counter[str]()
                # Inputs that are empty today, as where a disk is not mounted, cost no run its books.
                if parts_of(job.state) and next(source.entries(passed_over), None) is None:
                    return Summary(found=0, passed_over=passed_over)
                clear(job)
            # Books that are written over need not be such that can be opened.
            if options.overwrite or not has_begun(folder):
                folder.forget()
            with Manifest(folder.manifest) as manifest:
                run = _Run(job, engine, options, folder, manifest, source, asked, report)
                try:
                    summary = run.go()
                except SettingsError:
                    leaves_nothing = manifest.is_blank
                    raise
                leaves_nothing = summary.found == 0 and manifest.is_blank
                return summary
    finally:
        if leaves_nothing:
            _leave_nothing(job, is_new)


def _check(job: Job, options: Options) -> None:
    check_alone(job.folder)
    check_target(job, resume=options.resume, overwrite=options.overwrite)
    if options.failures_only and not has_begun(job.folder):
        raise SettingsError(f"{job.target}: there is no run here whose failures could be done again")
    if options.failures_only and not has_begun(job.folder, listed=True):
        raise SettingsError(f"{job.target}: the run here ended before all its files were found; say --resume")


def _leave_nothing(job: Job, is_new: bool) -> None:
    """Take the books away where there was nothing to do, and a folder that was made for them."""
    job.folder.remove()
    if is_new:
        with suppress(OSError):
            job.state.rmdir()


def _tells_nothing(row: Row) -> bool:
    """Whether a row says of a film that was done before only that it could not be done today."""
    code = row.get("reason", "").partition(":")[0]
    return code in _UNSEEN or (code in _LIMITS and row.get("content") != NEW)


class _Run:
    def __init__(
        self,
        job: Job,
        engine: Engine,
        options: Options,
        folder: RunFolder,
        manifest: Manifest,
        source: Source,
        asked: Callable[[], Phase | None],
        report: Callable[[Progress], None],
    ) -> None:
        self._job, self._engine, self._options = job, engine, options
        self._folder, self._manifest, self._source = folder, manifest, source
        self._asked, self._report = asked, report
        self._summary = Summary()
        self._target = target_of(job.target, folder.parts)
        self._log = PurePath(log_name(folder.shard))
        self._progress = Progress(started=time.time(), command=options.command)
        self._causes = Counter[str]()  # of each file that failed, the first one
        self._held: list[Done] = []
        self._recorded = self._looked = self._told = self._saved = time.monotonic()
        self._sync_took = 0.0
        self._pace = deque[tuple[float, int]]([(time.monotonic(), 0)])

    def go(self) -> Summary:
        """Do it all."""
        started = time.monotonic()
        words = ""
        try:
            self._begin()
            which: Which = "failed" if self._options.failures_only else "to do"
            if self._options.failures_only or self._list() is None:
                self._summary.found = self._manifest.count("found")
                to_do = self._manifest.count(which)
                if self._summary.found:
                    unchanged = self._manifest.count("done")
                    self._tell(now=True, phase="running", total=to_do, done=0, unchanged=unchanged)
                if to_do or (self._summary.found and not self._target.has(PurePath(PRESET))):
                    self._write_down()
                if to_do:
                    self._work(which)
                self._summary.gone = self._manifest.gone()
        except KeyboardInterrupt:
            self._summary.phase = "interrupted"
            raise
        except BaseException as error:
            self._summary.phase, words = "stopped", str(error) if isinstance(error, RunError) else ""
            raise
        finally:
            self._summary.seconds, self._summary.unchanged = time.monotonic() - started, self._progress.unchanged
            self._finish(words)
        return self._summary

    def _begin(self) -> None:
        manifest, job = self._manifest, self._job
        if manifest.said("record") is None:
            manifest.say("preset", job.applied.dumps())
            manifest.say("label", job.preset)
            manifest.say("computes", computes(job.applied))
            manifest.say("record", record(job))
        source = named(job.source)
        if manifest.said("source") != source:
            manifest.say("source", source)
            manifest.say("only", job.only and str(job.only))
        self._folder.report(self._progress)

    def _write_down(self) -> None:
        """Write what the outputs are made with beside them; raises `RunError` where nothing can be written."""
        job = self._job
        try:
            self._target.write(PurePath(PRESET), job.applied.dumps().encode())
            self._target.write(PurePath(RUN), json.dumps(record(job), indent=2).encode())
        except FileError as error:
            raise unwritten(error, f"{job.target}: {error}") from None

    def _list(self) -> Phase | None:
        """Take in what the source holds now; returns how the run is to end, if it was asked to meanwhile."""
        entries = self._source.entries(self._summary.passed_over)
        again = self._manifest.said("listing") is not None
        for count in self._manifest.add(entries, self._job.suffix, self._job.takes):
            self._tell(total=count)
            if phase := self._stop():
                return phase
        self._tell(total=self._manifest.count("found"))
        # Of inputs that are empty today nothing is known.
        if again and self._manifest.count("found"):
            self._manifest.take_up(self._target.sizes(), verify=self._options.verify)
        return self._stop()

    def _stop(self) -> Phase | None:
        """Return how the run is to end now, if it was asked to."""
        wishes: dict[str | None, Phase] = {"pause": "paused", "cancel": "cancelled"}
        phase = self._asked() or wishes.get(self._folder.wished())
        if phase:
            self._summary.phase = phase
        return phase

    def _work(self, which: Which) -> None:
        tasks = self._manifest.tasks(which, verify=self._options.verify)
        results = self._engine.run(self._job, tasks)
        try:
            for result in results:
                if result is not None:
                    self._take(lost(self._job, result) if isinstance(result, Lost) else result)
                    if self._options.stop_on_error and self._summary.failures:
                        self._summary.phase = "stopped"
                        return
                now = time.monotonic()
                held = now - self._recorded
                if len(self._held) >= _MOST_HELD or held > max(_HELD, self._sync_took / _SYNC_SHARE):
                    self._record()
                if now - self._looked > _LOOK:
                    self._looked = now
                    if self._stop():
                        return
                self._tell()
        finally:
            # Before anything else is written down: a worker may be at its last file.
            results.close()
            self._record()

    def _take(self, done: Done) -> None:
        """Count what became of a file; what is no fault of the file ends the run instead."""
        task, rows = done
        for row in rows:
            code, _, words = row.get("reason", "").partition(": ")
            if code == "DISK_FULL":
                raise RunError("DISK_FULL", f"{self._job.target}: {words}")
            if code == "READ" and not self._source.is_there():
                raise RunError("NO_INPUT", f"{self._job.source}: the inputs are not there any more")
        if any(row.get("reason", "").startswith("WRITE") for row in rows):
            self._write_down()
        # A file that could not be looked at says nothing against what was made of it before.
        if task.known and any(map(_tells_nothing, rows)):
            self._summary.kept += len(rows)
        else:
            self._held.append(done)
        for row in rows:
            self._summary.count(row, self._job.applied)
        self._progress.done += 1
        causes = [row["reason"].split(":")[0] for row in rows if row["status"] == "FAILURE"]
        self._progress.failed += bool(causes)
        self._causes.update(causes[:1])
        self._progress.unchanged += not rows

    def _record(self) -> None:
        """Write down what was done, after it has reached the disk."""
        if self._held:
            started = time.monotonic()
            self._target.sync()
            self._sync_took = time.monotonic() - started
            # First: what nothing tells of any more would stay, should the run be killed between the two.
            for path in self._manifest.stale(self._held):
                self._target.remove(path)
            self._manifest.record(self._held)
            self._held = []
        self._recorded = time.monotonic()

    def _tell(self, *, now: bool = False, **changes: Any) -> None:
        """Say how far the run is, not too often."""
        moment, progress = time.monotonic(), self._progress
        for name, value in changes.items():
            setattr(progress, name, value)
        if not now and moment - self._told < _LOOK:
            return
        self._pace.append((moment, progress.done))
        while len(self._pace) > 2 and moment - self._pace[0][0] > _WINDOW:
            self._pace.popleft()
        since, before = self._pace[0]
        progress.rate = (progress.done - before) / max(moment - since, 1e-3)
        progress.seconds_left = (progress.total - progress.done) / progress.rate if progress.rate else None
        progress.failures = dict(self._causes)
        self._told = moment
        self._report(replace(progress))
        if now or moment - self._saved > 1.0:
            self._folder.report(progress)
            self._saved = moment

    def _finish(self, words: str) -> None:
        """Export the log, and say how the run ended."""
        self._tell(now=True, phase="finishing")
        try:
            if (told := self._manifest.said("exported")) is False or (told and not self._target.has(self._log)):
                self._export()
        finally:
            self._tell(now=True, phase=self._summary.phase, words=words)

    def _export(self) -> None:
        usual = {"preset": self._manifest.said("label")} | self._job.applied.settings
        grown = self._folder.parts / LOG
        try:
            try:
                write_log(grown, self._manifest.rows(), usual)
            except OSError as error:
                raise not_written(error) from None
            self._target.put(grown, self._log)
        except FileError as error:
            self._summary.phase = "stopped"
            raise unwritten(error, f"{self._job.target}: {error}") from None
        self._manifest.say("exported", True)
