"""Batches for tests: a run with what matters to a test, and what it left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from xray_core.batch import Local, run_batch
from xray_core.batch_log import Row, read_log
from xray_core.batch_plan import Place, prepare
from xray_core.batch_terms import Options, Summary
from xray_core.names import LOG, PRESET, RUN
from xray_core.pipeline import Settings
from xray_core.presets import Preset, create
from xray_core.run_folder import STATE, Phase, Progress

QUICK: Settings = {"resize.on": True, "resize.size": 64, "resize.fit": "stretch"}


def apply(
    source: Place,
    target: Place,
    settings: Settings | None = None,
    *,
    preset: Preset | None = None,
    workers: int = 2,
    engine: Any = None,
    asked: Callable[[], Phase | None] = lambda: None,
    report: Callable[[Progress], None] = lambda progress: None,
    **options: Any,
) -> Summary:
    """A run; options are those of `Options`, and of the job."""
    preset = preset or create(QUICK if settings is None else settings, name="quick")
    about = {name: options.pop(name) for name in list(options) if name in Options.__dataclass_fields__}
    job = prepare(source, target, preset, **options)
    return run_batch(job, engine or Local(workers), Options(**about), asked=asked, report=report)


def by_path(target: Path) -> dict[str, Row]:
    rows = read_log(target / LOG)
    paths = [row["path"] for row in rows]
    assert len(set(paths)) == len(paths)
    return dict(zip(paths, rows, strict=True))


def but_time(rows: dict[str, Row]) -> list[Row]:
    return [{**row, "seconds": ""} for row in rows.values()]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, the books of a run left out."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and STATE not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def outputs(folder: Path) -> dict[str, bytes]:
    beside = (LOG, PRESET, RUN, "report.html")
    return {name: data for name, data in contents(folder).items() if name not in beside}
