"""A preset over a folder or a zip archive: one row in the log for each picture, whatever happens to it."""

from __future__ import annotations

import csv
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path, PurePath

import cv2

from xray_core.archive import Archive, is_archive
from xray_core.batch_log import (
    LOG,
    Row,
    as_text,
    cells,
    columns,
    copy_part,
    file_of,
    is_whole,
    page_part,
    read_log,
    write_log,
)
from xray_core.decode import Limits, open_pages
from xray_core.dicom_choice import DicomChoice
from xray_core.encode import check_identity, check_output
from xray_core.errors import FileError, PresetError, SettingsError, XrayError
from xray_core.files import find, read_bytes, write, write_bytes
from xray_core.image import Film
from xray_core.metrics import Targets, measure, range_warning, verdict
from xray_core.names import output_names, page_name
from xray_core.pipeline import Settings, run_pair
from xray_core.pool import Lost, run_tasks
from xray_core.presets import Preset, derivation, diff, embedded, loads
from xray_core.stored import Levels, check_levels

PRESET = "used.preset.json"
RUN = "run.json"


@dataclass(frozen=True)
class Job:
    """What is the same for every file of a run.

    Attributes
    ----------
    source, target
        Folders of the inputs and outputs; the source may be a zip archive.
    suffix, kind
        Format of the outputs, as in ``.png``, and one of `xray_core.files.RANGES`.
    preset
        Name and digest, for the log.
    text
        What each output carries of the preset, or None.
    quality
        Of JPEG; the usual one if None.
    levels, choice
        As in `xray_core.decode.decode`; the choice is of DICOM files.
    applied
        The preset, for outputs that tell of their making.
    keep_identity
        Whether DICOM outputs carry who the film is of.
    """

    source: Path
    target: Path
    settings: Settings
    targets: Targets
    preset: str
    suffix: str = ".png"
    kind: str = "same"
    limits: Limits = field(default_factory=Limits)
    text: str | None = None
    quality: int | None = None
    levels: Levels | None = None
    choice: DicomChoice = field(default_factory=DicomChoice)
    applied: Preset | None = None
    keep_identity: bool = False


@dataclass(frozen=True)
class Task:
    """One file of a run.

    Attributes
    ----------
    path
        Its path below the source, or its name in the archive.
    output
        Its output's path below the target; pages of a file of several have names made of it.
    member
        Its place in the archive; None in a folder.
    copy
        Which one of several entries of one name in an archive it is, from 1.
    done
        Digest it had when it was last done whole, and its outputs then.
    """

    job: Job
    path: PurePath
    output: Path
    member: int | None = None
    copy: int = 1
    done: str = ""
    outputs: tuple[str, ...] = ()


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
    pair = run_pair(film.pixels, job.settings)
    measured = measure(pair.before, pair.after)
    origin = None
    if job.suffix == ".dcm" and job.applied:
        embed = job.text is not None
        origin = derivation(job.applied, film, job.choice, data, embed=embed, keep_identity=job.keep_identity)
    write(job.target / output, pair.after, job.kind, text=job.text, quality=job.quality, origin=origin)
    row |= measured
    words = f"{verdict(measured, job.targets).sentence} {range_warning(pair.before)} {film.remarks}"
    row |= {"status": "SUCCESS", "output": as_text(output), "verdict": " ".join(words.split())} | job.settings
    row |= job.choice.columns() if film.dicom else {}


@contextmanager
def _reasons(row: Row) -> Iterator[None]:
    """Write what goes wrong into a row."""
    try:
        yield
    except FileError as error:
        row["reason"] = f"{error.code}: {error}"
    except MemoryError:
        row["reason"] = "MEMORY: not enough memory for this film"
    except XrayError as error:
        row["reason"] = f"UNSUPPORTED: {error}"
    except Exception as error:
        # A library's words may quote the file; its type says enough to find the fault.
        row["reason"] = f"INTERNAL: {type(error).__name__}"
        if isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem:
            row["reason"] = "MEMORY: not enough memory for this film"


def _row(task: Task, page: int = 1, pages: int = 1) -> Row:
    return {"path": _name(task) + page_part(page, pages)} | {
        "status": "FAILURE",
        "preset": task.job.preset,
    }


def _name(task: Task) -> str:
    """Return what names a file in the log."""
    return as_text(task.path) + copy_part(task.copy)


def plan(
    job: Job, source: Path, done: dict[str, Row] | None = None, passed_over: Counter[str] | None = None
) -> list[Task]:
    """List the inputs of a run with their outputs.

    Parameters
    ----------
    job
        The run they belong to.
    source
        A folder, one file in ``job.source``, or the archive that ``job.source`` is.
    done
        Rows of an earlier run by path, to resume it.
    passed_over
        Counts what is no input; see `xray_core.files.find` and `xray_core.archive.Archive.members`.
    """
    inputs: list[tuple[PurePath, int | None]]
    if source.is_dir():
        inputs = [(path, None) for path in find(job.source, passed_over)]
    elif source == job.source:
        with Archive(source, job.limits) as archive:
            inputs = [(member.path, member.number) for member in archive.members(passed_over)]
    else:
        inputs = [(source.relative_to(job.source), None)]
    outputs = output_names([path for path, _ in inputs], job.suffix)
    earlier: dict[str, list[Row]] = {}
    for row in (done or {}).values():
        earlier.setdefault(file_of(row["path"]), []).append(row)
    copies = Counter[PurePath]()
    tasks = []
    for (path, member), output in zip(inputs, outputs, strict=True):
        copies[path] += 1
        task = Task(job, path, output, member, copies[path])
        rows = earlier.get(_name(task), [])
        if is_whole(rows):
            task = replace(task, done=rows[0]["sha256"], outputs=tuple(row["output"] for row in rows))
        tasks.append(task)
    return tasks


def prepare(
    source: Path,
    target: Path,
    preset: Preset,
    *,
    suffix: str,
    kind: str,
    limits: Limits,
    resume: bool,
    overwrite: bool,
    passed_over: Counter[str] | None = None,
    embed: bool = True,
    quality: int | None = None,
    levels: Levels | None = None,
    choice: DicomChoice | None = None,
    keep_identity: bool = False,
) -> tuple[Job, list[Task], dict[str, Row]]:
    """Check a run before anything is written, and list its files.

    Parameters
    ----------
    source
        A folder, one file, or a zip archive.
    target
        The outputs' folder.
    preset
        What is applied.
    suffix, kind, limits
        As in `Job`.
    resume, overwrite
        Whether to go on with the run in the target, or to write into it whatever it holds.
    passed_over
        Counts what in the folder is no input; see `xray_core.files.find`.
    embed
        Whether the outputs carry the preset.
    quality, levels, choice, keep_identity
        As in `Job`.

    Returns
    -------
    job, tasks, done
        What is to be done, and the rows of the run that is resumed, by path.

    Raises
    ------
    SettingsError, PresetError
        If the folders, format or preset don't allow the run.
    FileError
        If the archive cannot be read.
    """
    check_output(suffix, kind, quality)
    check_identity(suffix, keep_identity)
    if levels is not None:
        check_levels(levels)
    if not source.exists():
        raise SettingsError(f"{source}: no such file or folder")
    folder = source if source.is_dir() else source.parent
    packed = source.is_file() and is_archive(source, limits)
    here, there = folder.resolve(), target.resolve()
    # One file takes nothing else of its folder for an input: its outputs may stand beside it.
    if there == here or (source.is_dir() and here in there.parents):
        raise SettingsError(f"{target}: the outputs' folder is that of the inputs or inside it; choose another")
    if there in here.parents:
        raise SettingsError(f"{target}: the outputs' folder holds the inputs; choose another")
    if target.exists() and not target.is_dir():
        raise SettingsError(f"{target}: this is a file; the outputs need a folder")
    text = embedded(preset) if embed else None
    job = Job(
        source if packed else folder,
        target,
        preset.settings,
        preset.targets,
        _label(preset),
        suffix,
        kind,
        limits,
        text,
        quality,
        levels,
        choice or DicomChoice(),
        preset,
        keep_identity,
    )
    done: dict[str, Row] = {}
    if target.is_dir() and any(target.iterdir()) and not overwrite:
        if not (target / PRESET).is_file() and not (target / LOG).is_file():
            raise SettingsError(f"{target}: the folder is not empty; choose another, or say --overwrite")
        if not resume:
            raise SettingsError(f"{target}: the folder holds a run; say --resume to go on with it, or --overwrite")
        _same_run(job, preset)
        done = {row["path"]: row for row in read_log(target / LOG)} if (target / LOG).is_file() else {}
    return job, plan(job, source, done, passed_over), done


def _label(preset: Preset) -> str:
    name = "".join(sign if sign.isprintable() else " " for sign in preset.name)
    return f"{name} {preset.digest[:12]}".strip()


def _outputs(job: Job) -> dict[str, object]:
    """Return what a run records of its outputs, beside the preset; the usual ways go without saying."""
    unusual = {
        "embed": None if job.text else False,
        "quality": job.quality,
        "levels": list(job.levels) if job.levels else None,
        "keep_identity": job.keep_identity or None,
        **job.choice.changed(),
    }
    said: dict[str, object] = {name: value for name, value in unusual.items() if value is not None}
    return {"format": job.suffix[1:], "range": job.kind} | said


def _same_run(job: Job, preset: Preset) -> None:
    """Refuse to resume a run that was made with something else, naming what differs."""
    try:
        used = loads((job.target / PRESET).read_bytes())
        outputs = json.loads((job.target / RUN).read_bytes())
    except (OSError, ValueError):
        raise PresetError(f"{job.target}: {PRESET} or {RUN} of the run to resume is missing; say --overwrite") from None
    changes: list[tuple[str, object, object]] = []
    if used.digest != preset.digest:
        changes = [(path, *values) for path, values in diff(used, preset).items()]
    if used.targets != preset.targets:
        changes.append(("targets", used.targets, preset.targets))
    wanted = _outputs(job)
    names = sorted(wanted.keys() | outputs.keys())
    changes += [(name, outputs.get(name), wanted.get(name)) for name in names if outputs.get(name) != wanted.get(name)]
    if changes:
        words = ", ".join(f"{name} {json.dumps(a)} -> {json.dumps(b)}" for name, a, b in changes)
        raise PresetError(f"{job.target}: the folder holds a run with another preset ({words}); say --overwrite")


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
    write_bytes(job.target / RUN, json.dumps(_outputs(job), indent=2).encode())
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
            for path in earlier.pop(_name(task), []):
                rows.pop(path, None)
            for row in made:
                rows[row["path"]] = row
                summary = _count(summary, row, preset)
                report(row)
            if stop_on_error and any(row["status"] == "FAILURE" for row in made):
                break
    # Once more in the order of the files, and without the older rows of a file that was done twice.
    order = {_name(task): number for number, task in enumerate(tasks)}
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
