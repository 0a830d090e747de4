"""One file of a batch: from its bytes to its outputs and a row for each of its pages. Runs in the workers."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePath

from xray_core.batch_log import Row, as_text, page_part
from xray_core.batch_plan import Job, shard_name, source_of, target_of
from xray_core.carried import derivation, embedded, ways
from xray_core.decode import open_pages, out_of_memory
from xray_core.encode import encode, in_range
from xray_core.errors import FileError, XrayError
from xray_core.image import Film
from xray_core.manifest import Task, name_of
from xray_core.metrics import measure, range_warning, verdict
from xray_core.names import page_name
from xray_core.pipeline import run_pair
from xray_core.pool import Lost
from xray_core.run_folder import RunFolder
from xray_core.stores import Place, Target

Done = tuple[Task, list[Row]]
"""A file with a row for each of its pages; none where it was done before and has not changed."""


UNREAD, KNOWN, NEW = "unread", "known", "new"
"""What a row says as ``content``, beside the columns of the log: whether the film is the one that was done before."""


def process(job: Job, task: Task) -> Done:
    """Enhance one file.

    Never raises: whatever goes wrong stands in the row.
    """
    started = time.perf_counter()
    row = _row(task)
    content = UNREAD
    with _reasons(row):
        data = _source(job.source, job.only, job.limits).read(task.path, task.member, job.limits)
        content = KNOWN if task.known and task.known == hashlib.sha256(data).hexdigest() else NEW
        # Before anything is made of it: limits may be others than when it was done.
        if task.done and content == KNOWN and _are_as_recorded(job, task):
            return task, []
        opened = open_pages(data, task.path.name, job.limits)
        if job.suffix != ".dcm":
            data = b""  # no output tells of its source but these
        rows = []
        for page in range(1, opened.count + 1):
            row = _row(task, page, opened.count)
            with _reasons(row):
                film = opened.film(page, job.levels, job.choice)
                if page == opened.count:
                    # Its bytes may be as many as what computing takes.
                    opened.close()
                _enhance(film, data, page_name(Path(task.output), page, opened.count), job, row)
            row["seconds"] = round(time.perf_counter() - started, 4)
            started = time.perf_counter()
            rows.append(row | {"content": content})
        return task, rows
    row["seconds"] = round(time.perf_counter() - started, 4)
    return task, [row | {"content": content}]


_source = lru_cache(maxsize=1)(source_of)  # opened once in each worker


@lru_cache(maxsize=1)
def _target(target: Place, state: Path, shard: tuple[int, int], apart: Place | None) -> Target:
    return target_of(target, RunFolder(state, shard_name(shard)).parts, apart)


def _target_of(job: Job) -> Target:
    # One film alone may have its outputs beside it.
    return _target(job.target, job.state, job.shard, None if job.only else job.source)


def lost(job: Job, task: Lost[Task]) -> Done:
    """Return the row of a file that twice ended its process, or was ended with it."""
    words = f"TIMEOUT: took longer than {job.time_limit:g} s" if task.timed_out else "CRASH: the decoder crashed"
    return task.task, [_row(task.task) | {"reason": f"{words}, twice"}]


def _row(task: Task, page: int = 1, pages: int = 1) -> Row:
    return {"path": name_of(task) + page_part(page, pages), "status": "FAILURE"}


def _are_as_recorded(job: Job, task: Task) -> bool:
    """Whether the outputs that are to be verified hold what was written."""
    if not task.outputs:
        return True
    target = _target_of(job)
    try:
        return all(hashlib.sha256(target.read(PurePath(path))).hexdigest() == digest for path, digest in task.outputs)
    except FileError:
        return False


def _enhance(film: Film, data: bytes, output: Path, job: Job, row: Row) -> None:
    row |= {"sha256": film.sha256, "bits": film.bits, "width": film.size[0], "height": film.size[1]}
    preset, status, reason = job.applied, "SUCCESS", ""
    if job.instead is not None:
        pair = run_pair(film.pixels, job.instead.settings)
        measured = measure(pair.before, pair.after)
        if verdict(measured, preset.targets).good:
            preset, status, reason = job.instead, "SKIPPED", "GOOD: it meets all targets as it is"
    if status == "SUCCESS":
        pair = run_pair(film.pixels, preset.settings)
        measured = measure(pair.before, pair.after)
    unusual = ways(film, job.choice, job.levels, job.kind, job.quality)
    text = embedded(preset, unusual) if job.embed else None
    origin = None
    if job.suffix == ".dcm":
        origin = derivation(preset, film, job.choice, data, text=text or "", keep_identity=job.keep_identity)
    picture = encode(in_range(pair.after, job.kind), job.suffix, text=text, quality=job.quality, origin=origin)
    _target_of(job).write(output, picture)
    words = f"{verdict(measured, preset.targets).sentence} {range_warning(pair.before)} {film.remarks}"
    # What the whole run has in common stands once, in its books.
    usual = job.applied.settings
    row |= measured | {name: value for name, value in preset.settings.items() if value != usual[name]}
    row |= job.choice.columns() if film.dicom else {}
    row |= {"output": as_text(output), "bytes": len(picture), "output_sha256": hashlib.sha256(picture).hexdigest()}
    row |= {"status": status, "reason": reason, "verdict": " ".join(words.split())}


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
