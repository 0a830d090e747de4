"""What a batch is to do: its inputs, their outputs, and whether an earlier run may be gone on with."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

from xray_core.archive import Archive, is_archive
from xray_core.batch_log import LOG, Row, as_text, copy_part, file_of, is_whole, read_log
from xray_core.decode import Limits
from xray_core.dicom_choice import DicomChoice
from xray_core.encode import check_identity, check_output
from xray_core.errors import PresetError, SettingsError
from xray_core.files import find
from xray_core.names import output_names, printable
from xray_core.presets import Preset, diff, loads
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
    applied
        The preset.
    embed
        Whether each output carries it.
    quality
        Of JPEG; the usual one if None.
    levels, choice
        As in `xray_core.decode.decode`; the choice is of DICOM files.
    keep_identity
        Whether DICOM outputs carry who the film is of.
    """

    source: Path
    target: Path
    preset: str
    applied: Preset
    suffix: str = ".png"
    kind: str = "same"
    limits: Limits = field(default_factory=Limits)
    embed: bool = True
    quality: int | None = None
    levels: Levels | None = None
    choice: DicomChoice = field(default_factory=DicomChoice)
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


def name_of(task: Task) -> str:
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
        rows = earlier.get(name_of(task), [])
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
    job = Job(
        source if packed else folder,
        target,
        _label(preset),
        preset,
        suffix,
        kind,
        limits,
        embed,
        quality,
        levels,
        choice or DicomChoice(),
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
    return f"{printable(preset.name, ' ')} {preset.digest[:12]}".strip()


def record(job: Job) -> dict[str, object]:
    """Return what a run records of its outputs, beside the preset; the usual ways go without saying."""
    unusual = {
        "embed": None if job.embed else False,
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
    wanted = record(job)
    names = sorted(wanted.keys() | outputs.keys())
    changes += [(name, outputs.get(name), wanted.get(name)) for name in names if outputs.get(name) != wanted.get(name)]
    if changes:
        words = ", ".join(f"{name} {json.dumps(a)} -> {json.dumps(b)}" for name, a, b in changes)
        raise PresetError(f"{job.target}: the folder holds another run ({words}); say --overwrite")
