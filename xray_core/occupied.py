"""What a target holds already: which run may be gone on with there, and what is refused."""

from __future__ import annotations

import json
import time
from pathlib import PurePath
from typing import Any, NamedTuple

from xray_core.batch_log import log_name
from xray_core.batch_plan import Job, computes, named, record, target_of
from xray_core.errors import PresetError, RunError, SettingsError
from xray_core.ledger import refusals, understood
from xray_core.manifest import Manifest
from xray_core.names import LOG, PRESET, REPORT
from xray_core.presets import Preset, diff, loads
from xray_core.run_folder import STATE, RunFolder, all_of, parts_of


def check_target(job: Job, *, resume: bool, overwrite: bool) -> None:
    """Refuse a target that holds something else than the run that is to go on there.

    Raises
    ------
    SettingsError, PresetError
        The latter names what differs between the runs.
    """
    if overwrite:
        return
    # Before the other parts are looked for: what a part makes comes after its books.
    held = _held(job)
    beside = _check_parts(job)
    if has_begun(job.folder):
        if not resume:
            raise SettingsError(f"{job.target}: the folder holds a run; say --resume to go on with it, or --overwrite")
        with Manifest(job.folder.manifest, read_only=True) as manifest:
            _same_run(job, _made_with(manifest))
    elif held and not beside:
        raise SettingsError(f"{job.target}: {held}")


def _held(job: Job) -> str:
    """Return why a target without books cannot be taken, in words; empty where it can."""
    if isinstance(job.target, str):
        # The other parts' books may lie on other machines.
        if job.shard[1] > 1 or next(target_of(job.target, job.folder.parts).sizes(), None) is None:
            return ""
        return f"it is not empty, and {job.state} holds no books of a run there; choose another, or say --overwrite"
    if not job.target.is_dir() or all(entry.name == STATE for entry in job.target.iterdir()):
        return ""
    if (job.target / PRESET).is_file() or (job.target / LOG).is_file():
        return f"the folder holds a run without its books ({STATE}); say --overwrite"
    return "the folder is not empty; choose another, or say --overwrite"


def _check_parts(job: Job) -> bool:
    """Refuse a part of a run beside a whole one, or beside parts of another run; and a whole run beside parts.

    Returns
    -------
    beside
        Whether there are other parts of this run.
    """
    others = parts_of(job.state)
    for other in others:
        if other.count != job.shard[1]:
            held = f"parts of a run, one of {other.count}" if other.count > 1 else "a whole run"
            raise SettingsError(f"{job.target}: the folder holds {held}; choose another folder, or say --overwrite")
        if other.count > 1 and (made := _made_beside(other)):
            _same_run(job, made, beside=other)
    return job.shard[1] > 1 and bool(others)


def _made_beside(other: RunFolder) -> _Made | None:
    """Return what another part is made with, if it got so far; one that begins or goes just now is looked at again."""
    last = 5
    for look in range(last + 1):
        try:
            with refusals(other.manifest, other.path), Manifest(other.manifest, read_only=True) as manifest:
                return None if manifest.said("record") is None else _made_with(manifest)
        except RunError:
            # It had nothing to do, and took its books away.
            if not other.manifest.is_file():
                return None
            if look == last:
                raise
        time.sleep(0.1)
    raise AssertionError("unreachable")


def has_begun(folder: RunFolder, *, listed: bool = False) -> bool:
    """Whether a run got so far that it can be gone on with, or that all its files were found."""
    if not folder.manifest.is_file():
        return False
    with Manifest(folder.manifest, read_only=True) as manifest:
        return manifest.said("listing" if listed else "record") is not None


def source_before(job: Job) -> str:
    """Return where the inputs of the run that the target holds were, if that was elsewhere; else an empty text."""
    if not job.folder.manifest.is_file():
        return ""
    with Manifest(job.folder.manifest, read_only=True) as manifest:
        before = manifest.said("source")
    return "" if before == named(job.source) else str(before or "")


def _same_run(job: Job, made: _Made, *, beside: RunFolder | None = None) -> None:
    """Refuse to go on with a run, or `beside` a part of it, that was made with something else; names what differs."""
    ours = _Made(job.applied, record(job), computes(job.applied))
    if words := _differences(made, ours, but_shard=beside is not None):
        if beside:
            part = beside.shard.replace("-", " ")
            raise PresetError(
                f"{job.target}: part {part} was made with something else ({words}); do the one that is wrong again "
                "with --overwrite"
            )
        raise PresetError(f"{job.target}: the folder holds another run ({words}); say --overwrite")
    if made.computes != ours.computes:
        raise RunError(
            "CANNOT_WRITE",
            f"{job.target}: this machine, or its OpenCV, computes other pixels than the one that began the run; go on "
            "there, or say --overwrite",
        )


def contradiction(one: Manifest, other: Manifest) -> str:
    """Return in what two parts of a run differ that should be alike, in words; empty where in nothing."""
    return _differences(_made_with(one), _made_with(other), but_shard=True)


class _Made(NamedTuple):
    """What a run is made with."""

    preset: Preset
    record: dict[str, Any]
    computes: str


def _made_with(manifest: Manifest) -> _Made:
    with understood():
        return _Made(loads(manifest.said("preset")), dict(manifest.said("record")), manifest.said("computes"))


def _differences(one: _Made, other: _Made, *, but_shard: bool) -> str:
    (used, outputs, _), (applied, wanted, _) = one, other
    changes: list[tuple[str, object, object]] = []
    if used.digest != applied.digest:
        changes = [(path, *values) for path, values in diff(used, applied).items()]
    if used.targets != applied.targets:
        changes.append(("targets", used.targets, applied.targets))
    for name in sorted((wanted.keys() | outputs.keys()) - ({"shard"} if but_shard else set())):
        if outputs.get(name) != wanted.get(name):
            changes.append((name, outputs.get(name), wanted.get(name)))
    return ", ".join(f"{name} {json.dumps(a)} -> {json.dumps(b)}" for name, a, b in changes)


def check_alone(ours: RunFolder) -> None:
    """Refuse a whole run beside a part that goes on, and a part beside a whole run: their locks are not the same.

    Raises
    ------
    RunError
        IN_USE.
    """
    for other in all_of(ours.root):
        if other.count != ours.count and _goes_on(other):
            raise RunError("IN_USE", f"{ours.root}: another run writes into this folder{other.holder()}")


def _goes_on(other: RunFolder) -> bool:
    """Whether a run holds its lock; who only asks for it, as another part may just now, lets it go at once."""
    for _ in range(6):
        if not other.is_running():
            return False
        time.sleep(0.05)
    return True


def clear(job: Job) -> None:
    """Take away what tells of a run that is written over: a whole one where a part begins, parts of other numbers."""
    target = target_of(job.target, job.folder.parts)
    for other in all_of(job.folder.root):
        if other.count != job.folder.count:
            other.forget()
            target.remove(PurePath(log_name(other.shard)))
    target.remove(PurePath(REPORT))
