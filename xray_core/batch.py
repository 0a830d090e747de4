"""A preset over a folder or a zip archive: one row in the log for each picture, whatever happens to it."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from xray_core.archive import Archive
from xray_core.batch_log import (
    LOG,
    Row,
    as_text,
    cells,
    columns,
    file_of,
    page_part,
    write_log,
)
from xray_core.batch_plan import PRESET, RUN, Job, Task, name_of, record
from xray_core.carried import derivation, embedded, ways
from xray_core.decode import Limits, open_pages, out_of_memory
from xray_core.errors import FileError, XrayError
from xray_core.files import read_bytes, write, write_bytes
from xray_core.image import Film
from xray_core.metrics import measure, range_warning, verdict
from xray_core.names import page_name
from xray_core.pipeline import run_pair
from xray_core.pool import Lost, run_tasks
from xray_core.presets import Preset


@dataclass(frozen=True)
class Summary:
    """How a run ended: numbers of files, and of failures by their code."""

    written: int = 0
    unchanged: int = 0
    balanced: int = 0
    other_size: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def failures(self) -> int:
        """Number of files that failed."""
        return sum(self.failed.values())


def process(task: Task) -> tuple[Task, list[Row]]:
    """Enhance one file and return a row for each of its pages; none where it was done before and has not changed.

    Never raises: whatever goes wrong stands in the row.
    """
    job, started = task.job, time.perf_counter()
    row = _row(task)
    with _reasons(row):
        data = _read(task)
        opened = open_pages(data, task.path.name, job.limits)
        if job.suffix != ".dcm":
            data = b""  # no output tells of its source but these
        if task.done == opened.sha256 and all((job.target / path).is_file() for path in task.outputs):
            return task, []
        rows = []
        for page in range(1, opened.count + 1):
            row = _row(task, page, opened.count)
            with _reasons(row):
                film = opened.film(page, job.levels, job.choice)
                if page == opened.count:
                    # Its bytes may be as many as what computing takes.
                    opened.close()
                _enhance(film, data, page_name(task.output, page, opened.count), job, row)
            row["seconds"] = round(time.perf_counter() - started, 4)
            started = time.perf_counter()
            rows.append(row)
        return task, rows
    row["seconds"] = round(time.perf_counter() - started, 4)
    return task, [row]


def _read(task: Task) -> bytes:
    if task.member is None:
        return read_bytes(task.job.source / task.path, task.job.limits)
    archive = _archive(task.job.source, task.job.limits)
    return archive.read(task.member)


@lru_cache(maxsize=1)
def _archive(path: Path, limits: Limits) -> Archive:
    """Return the run's archive, opened once in each worker."""
    return Archive(path, limits)


def _enhance(film: Film, data: bytes, output: Path, job: Job, row: Row) -> None:
    row |= {"sha256": film.sha256, "bits": film.bits, "width": film.size[0], "height": film.size[1]}
    pair = run_pair(film.pixels, job.applied.settings)
    measured = measure(pair.before, pair.after)
    if not (job.target / output).parent.resolve().is_relative_to(job.target.resolve()):
        # Where it leads may be the inputs themselves.
        raise FileError("WRITE", "a linked folder leads out of the outputs' folder")
    unusual = ways(film, job.choice, job.levels, job.kind, job.quality)
    text = embedded(job.applied, unusual) if job.embed else None
    origin = None
    if job.suffix == ".dcm":
        origin = derivation(job.applied, film, job.choice, data, text=text or "", keep_identity=job.keep_identity)
    write(job.target / output, pair.after, job.kind, text=text, quality=job.quality, origin=origin)
    row |= measured
    words = f"{verdict(measured, job.applied.targets).sentence} {range_warning(pair.before)} {film.remarks}"
    row |= {"status": "SUCCESS", "output": as_text(output), "verdict": " ".join(words.split())} | job.applied.settings
    row |= job.choice.columns() if film.dicom else {}


@contextmanager
def _reasons(row: Row) -> Iterator[None]:
    """Write what goes wrong into a row."""
    try:
        yield
    except FileError as error:
        row["reason"] = f"{error.code}: {error}"
    except XrayError as error:
        row["reason"] = f"UNSUPPORTED: {error}"
    except Exception as error:
        # A library's words may quote the file; its type says enough to find the fault.
        fault = f"INTERNAL: {type(error).__name__}"
        row["reason"] = "MEMORY: not enough memory for this film" if out_of_memory(error) else fault


def _row(task: Task, page: int = 1, pages: int = 1) -> Row:
    return {"path": name_of(task) + page_part(page, pages)} | {
        "status": "FAILURE",
        "preset": task.job.preset,
    }


def run_batch(
    tasks: list[Task],
    preset: Preset,
    *,
    workers: int,
    done: dict[str, Row] | None = None,
    stop_on_error: bool = False,
    time_limit: float = 300.0,
    report: Callable[[Row | None], None] = lambda row: None,
) -> Summary:
    """Run prepared tasks, writing outputs, log and preset into the target folder.

    Parameters
    ----------
    tasks, preset
        As prepared; at least one task.
    workers
        Number of processes.
    done
        Rows of the run that is resumed; they stay in the log.
    stop_on_error
        End at the first failure.
    time_limit
        Seconds that a file may take.
    report
        Called after each file with its row, or None where nothing was to do.
    """
    job = tasks[0].job
    started = time.perf_counter()
    write_bytes(job.target / PRESET, preset.dumps().encode())
    write_bytes(job.target / RUN, json.dumps(record(job), indent=2).encode())
    rows = dict(done or {})
    earlier: dict[str, list[str]] = {}
    for path in rows:
        earlier.setdefault(file_of(path), []).append(path)
    write_log(job.target / LOG, rows.values())
    summary = Summary()
    with (job.target / LOG).open("a", newline="", encoding="utf-8") as log:
        writer = csv.DictWriter(log, columns())
        for task, made in _results(tasks, workers, time_limit):
            if not made:
                summary = replace(summary, unchanged=summary.unchanged + (len(task.outputs) or 1))
                report(None)
                continue
            writer.writerows(cells(row) for row in made)
            log.flush()
            # A file that was done before may have had other pages.
            for path in earlier.pop(name_of(task), []):
                rows.pop(path, None)
            for row in made:
                rows[row["path"]] = row
                summary = _count(summary, row, preset)
                report(row)
            if stop_on_error and any(row["status"] == "FAILURE" for row in made):
                break
    # Once more in the order of the files, and without the older rows of a file that was done twice.
    order = {name_of(task): number for number, task in enumerate(tasks)}
    write_log(job.target / LOG, sorted(rows.values(), key=lambda row: order.get(file_of(row["path"]), len(order))))
    return replace(summary, seconds=time.perf_counter() - started)


def _results(tasks: list[Task], workers: int, time_limit: float) -> Iterator[tuple[Task, list[Row]]]:
    for result in run_tasks(process, tasks, workers, time_limit, tasks[0].job.limits.memory_bytes):
        if isinstance(result, Lost):
            words = f"TIMEOUT: took longer than {time_limit:g} s" if result.timed_out else "CRASH: the decoder crashed"
            yield result.task, [_row(result.task) | {"reason": f"{words}, twice"}]
        else:
            yield result


def _count(summary: Summary, row: Row, preset: Preset) -> Summary:
    if row["status"] == "FAILURE":
        code = row["reason"].split(":")[0]
        return replace(summary, failed=summary.failed | {code: summary.failed.get(code, 0) + 1})
    return replace(
        summary,
        written=summary.written + 1,
        balanced=summary.balanced + row["verdict"].startswith("Balanced"),
        other_size=summary.other_size + preset.other_size((row["width"], row["height"])),
    )
