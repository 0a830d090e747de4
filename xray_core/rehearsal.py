"""What a batch would do, without doing it: which files, which outputs, and how long it takes."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from xray_core.batch_plan import Job, source_of, target_of
from xray_core.batch_task import process
from xray_core.batch_terms import Options
from xray_core.ledger import refusals
from xray_core.manifest import Manifest, Which, name_of
from xray_core.occupied import check_target, has_begun
from xray_core.pool import run_tasks

_TRIED = 12  # films


@dataclass(frozen=True)
class Estimate:
    """How long a run would take, and how much it would write.

    Attributes
    ----------
    seconds
        With so many workers as were asked for; None where no film could be tried.
    bytes
        Of all outputs.
    free
        Of the disk; None where the outputs go to an object store.
    tried
        Films that it was measured on.
    """

    seconds: float | None
    bytes: int
    free: int | None
    tried: int

    @property
    def sentence(self) -> str:
        """The estimate in words."""
        if not self.tried:
            return "there is nothing to do"
        if self.seconds is None:
            return "none of the films tried could be computed: how long it takes is not known"
        words = f"about {duration(self.seconds)} and {self.bytes / 1e9:.2g} GB, from {self.tried} films that were tried"
        if self.free is not None and self.bytes > self.free:
            words += f"; the disk has only {self.free / 1e9:.2g} GB free"
        return words


def duration(seconds: float) -> str:
    """Return a time as a person says it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


@dataclass(frozen=True)
class Rehearsal:
    """What a run would do; see `rehearse`."""

    job: Job
    manifest: Manifest
    which: Which
    scratch: Path

    @property
    def found(self) -> int:
        """Files in the source."""
        return self.manifest.count()

    @property
    def to_do(self) -> int:
        """Files that would be computed."""
        return self.manifest.count(self.which)

    def outputs(self) -> Iterator[tuple[str, str]]:
        """Yield each file that would be computed with where its output would be."""
        target = self.job.target
        for task in self.manifest.tasks(self.which):
            output = f"{target}/{task.output}" if isinstance(target, str) else (target / task.output).as_posix()
            yield name_of(task), output

    def estimate(self, workers: int) -> Estimate:
        """Compute a few films, spread over all, into a folder that is thrown away."""
        apart = max(1, self.to_do // _TRIED)
        tasks = [task for number, task in enumerate(self.manifest.tasks(self.which)) if number % apart == 0][:_TRIED]
        job = replace(self.job, target=self.scratch, state=self.scratch)
        (job.folder.parts).mkdir(parents=True, exist_ok=True)
        rows = []
        for result in run_tasks(partial(process, job), [replace(task, done="") for task in tasks], 1):
            if isinstance(result, tuple):
                rows.append(result[1])
        good = [pages for pages in rows if any(row["status"] != "FAILURE" for row in pages)]
        free = None if isinstance(self.job.target, str) else shutil.disk_usage(_above(self.job.target)).free
        if not good:
            return Estimate(None, 0, free, len(tasks))
        seconds = sum(row["seconds"] for pages in rows for row in pages) / len(rows)
        size = sum(row.get("bytes", 0) for pages in rows for row in pages) / len(rows)
        return Estimate(seconds * self.to_do / workers, int(size * self.to_do), free, len(rows))


def _above(folder: Path) -> Path:
    """Return the first folder above that is there."""
    return next(one for one in (folder, *folder.absolute().parents) if one.exists())


@contextmanager
def rehearse(job: Job, options: Options, passed_over: Counter[str]) -> Iterator[Rehearsal]:
    """Find out what a run would do; nothing is written but a folder for temporary files.

    Raises
    ------
    SettingsError, PresetError
        As `xray_core.batch.run_batch`.
    """
    with refusals(job.folder.manifest, job.target):
        check_target(job, resume=options.resume, overwrite=options.overwrite)
    with tempfile.TemporaryDirectory(prefix="radtune-", ignore_cleanup_errors=True) as scratch:
        path = Path(scratch, "manifest.sqlite")
        with refusals(path, job.target), Manifest(path) as manifest:
            again = not options.overwrite and has_begun(job.folder)
            if again:
                with Manifest(job.folder.manifest, read_only=True) as held:
                    held.copy_to(manifest)
            if not options.failures_only:
                with closing(source_of(job.source, job.only, job.limits)) as source:
                    entries = source.entries(passed_over)
                    for _ in manifest.add(entries, job.suffix, job.takes):
                        pass
                if again:
                    manifest.take_up(target_of(job.target, job.folder.parts).sizes(), verify=options.verify)
            yield Rehearsal(job, manifest, "failed" if options.failures_only else "to do", Path(scratch, "out"))
