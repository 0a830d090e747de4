"""A preset over a folder: one row in the log for each input, whatever happens to it."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xray_core.decode import Limits
from xray_core.errors import FileError, PresetError, SettingsError, XrayError
from xray_core.files import check_output, find, read, write, write_bytes
from xray_core.metrics import COLUMNS, Targets, measure, range_warning, verdict
from xray_core.names import output_names
from xray_core.pipeline import Settings, parameters, run_pair
from xray_core.pool import Lost, run_tasks
from xray_core.presets import Preset, diff, loads

LOG = "log.csv"
PRESET = "used.preset.json"
RUN = "run.json"
_HEAD = ("path", "output", "sha256", "status", "reason", "preset", "seconds", "bits", "width", "height")
Row = dict[str, Any]


def columns() -> tuple[str, ...]:
    """Return the columns of the log: the file, what was measured, then every setting by its dotted path."""
    return (*_HEAD, *COLUMNS, "verdict", *parameters())


@dataclass(frozen=True)
class Job:
    """What is the same for every file of a run.

    Attributes
    ----------
    source, target
        Folders of the inputs and outputs.
    suffix, kind
        Format of the outputs, as in ``.png``, and one of `xray_core.files.RANGES`.
    preset
        Name and digest, for the log.
    """

    source: Path
    target: Path
    settings: Settings
    targets: Targets
    preset: str
    suffix: str = ".png"
    kind: str = "same"
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Task:
    """One file: its path below the source, its output's below the target, and the digest it had when last done."""

    job: Job
    path: Path
    output: Path
    done: str = ""


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


def process(task: Task) -> tuple[Task, Row | None]:
    """Enhance one file and return its row; None where it was done before and has not changed.

    Never raises: whatever goes wrong stands in the row.
    """
    job, started = task.job, time.perf_counter()
    row: Row = _row(task)
    try:
        film = read(job.source / task.path, job.limits)
        row |= {"sha256": film.sha256, "bits": film.bits, "width": film.size[0], "height": film.size[1]}
        if task.done == film.sha256 and (job.target / task.output).is_file():
            return task, None
        pair = run_pair(film.pixels, job.settings)
        measured = measure(pair.before, pair.after)
        write(job.target / task.output, pair.after, job.kind)
        row |= measured
        words = f"{verdict(measured, job.targets).sentence} {range_warning(pair.before)}".strip()
        row |= {"status": "SUCCESS", "output": _key(task.output), "verdict": words} | job.settings
    except FileError as error:
        row["reason"] = f"{error.code}: {error}"
    except MemoryError:
        row["reason"] = "MEMORY: not enough memory for this film"
    except XrayError as error:
        row["reason"] = f"UNSUPPORTED: {error}"
    except Exception as error:
        # A library's words may quote the file; its type says enough to find the fault.
        row["reason"] = f"INTERNAL: {type(error).__name__}"
    row["seconds"] = round(time.perf_counter() - started, 4)
    return task, row


def _row(task: Task) -> Row:
    return {"path": _key(task.path), "status": "FAILURE", "preset": task.job.preset}


def _key(path: Path) -> str:
    """Return a path as the log holds it; bytes of a name that are no UTF-8 are written as escapes."""
    return path.as_posix().encode("utf-8", "backslashreplace").decode()


def plan(
    job: Job, source: Path, done: dict[str, Row] | None = None, passed_over: Counter[str] | None = None
) -> list[Task]:
    """List the inputs of a run with their outputs.

    Parameters
    ----------
    job
        The run they belong to.
    source
        A folder, or one file in ``job.source``.
    done
        Rows of an earlier run by path, to resume it.
    passed_over
        Counts what in the folder is no input; see `xray_core.files.find`.
    """
    inputs = [source.relative_to(job.source)] if source.is_file() else list(find(job.source, passed_over))
    outputs = output_names(inputs, job.suffix)
    rows = done or {}
    tasks = []
    for path, output in zip(inputs, outputs, strict=True):
        before = rows.get(_key(path), {})
        tasks.append(Task(job, path, output, before.get("sha256", "") if before.get("status") == "SUCCESS" else ""))
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
) -> tuple[Job, list[Task], dict[str, Row]]:
    """Check a run before anything is written, and list its files.

    Parameters
    ----------
    source
        A folder, or one file.
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

    Returns
    -------
    job, tasks, done
        What is to be done, and the rows of the run that is resumed, by path.

    Raises
    ------
    SettingsError, PresetError
        If the folders, format or preset don't allow the run.
    """
    check_output(suffix, kind)
    if not source.exists():
        raise SettingsError(f"{source}: no such file or folder")
    folder = source if source.is_dir() else source.parent
    here, there = folder.resolve(), target.resolve()
    # One file takes nothing else of its folder for an input: its outputs may stand beside it.
    if there == here or (source.is_dir() and here in there.parents):
        raise SettingsError(f"{target}: the outputs' folder is that of the inputs or inside it; choose another")
    if there in here.parents:
        raise SettingsError(f"{target}: the outputs' folder holds the inputs; choose another")
    if target.exists() and not target.is_dir():
        raise SettingsError(f"{target}: this is a file; the outputs need a folder")
    job = Job(folder, target, preset.settings, preset.targets, _label(preset), suffix, kind, limits)
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


def _outputs(job: Job) -> dict[str, str]:
    """Return what a run records of its outputs, beside the preset."""
    return {"format": job.suffix[1:], "range": job.kind}


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
    changes += [(name, outputs.get(name), now) for name, now in _outputs(job).items() if outputs.get(name) != now]
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
    _write_log(job.target / LOG, rows.values())
    summary = Summary()
    with (job.target / LOG).open("a", newline="", encoding="utf-8") as log:
        writer = csv.DictWriter(log, columns())
        for _, row in _results(tasks, workers, time_limit):
            if row is None:
                summary = replace(summary, unchanged=summary.unchanged + 1)
            else:
                writer.writerow(_cells(row))
                log.flush()
                rows[row["path"]] = row
                summary = _count(summary, row, preset)
            report(row)
            if stop_on_error and row and row["status"] == "FAILURE":
                break
    # Once more in the order of the files, and without the older row of a file that was done twice.
    order = {_key(task.path): number for number, task in enumerate(tasks)}
    _write_log(job.target / LOG, sorted(rows.values(), key=lambda row: order.get(row["path"], len(order))))
    return replace(summary, seconds=time.perf_counter() - started)


def _results(tasks: Iterable[Task], workers: int, time_limit: float) -> Iterator[tuple[Task, Row | None]]:
    for result in run_tasks(process, tasks, workers, time_limit):
        if isinstance(result, Lost):
            words = f"TIMEOUT: took longer than {time_limit:g} s" if result.timed_out else "CRASH: the decoder crashed"
            yield result.task, _row(result.task) | {"reason": f"{words}, twice"}
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


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # also full-width ones

_NUMBER = re.compile(r"-?[0-9.]+(e-?[0-9]+)?")


def _cells(row: Row) -> dict[str, str]:
    """Return a row as text cells; what a spreadsheet would run as a formula begins with an apostrophe."""
    return {name: _cell(row.get(name, "")) for name in columns()}


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return "" if math.isnan(value) else str(round(value, 6))
    text = str(value)
    # Rows read back from a log are all text: what is only a number stays one.
    runs = isinstance(value, str) and text.startswith(_FORMULA) and not _NUMBER.fullmatch(text)
    return "'" + text if runs else text


def _write_log(path: Path, rows: Iterable[Row]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns())
    writer.writeheader()
    writer.writerows(_cells(row) for row in rows)
    write_bytes(path, text.getvalue().encode())


def read_log(path: Path) -> list[Row]:
    """Read the rows of a log as text, leaving out a last line cut short by a kill."""
    text = path.read_bytes().decode("utf-8", "replace")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    if not text.endswith("\n"):
        rows = rows[:-1]
    rows = [row for row in rows if None not in row and None not in row.values()]
    return [{name: _plain(cell) for name, cell in row.items()} for row in rows]


def _plain(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell
