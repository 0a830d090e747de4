"""The command ``report``: the log of a run as CSV and Parquet, and its HTML report, from its books."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

from xray_core.arguments import DONE, say
from xray_core.batch_log import Row, write_log, write_parquet
from xray_core.batch_plan import REPORT, Job, job_of, target_of
from xray_core.errors import FileError, SettingsError
from xray_core.files import not_written, write_bytes
from xray_core.ledger import refusals
from xray_core.manifest import Manifest
from xray_core.report import report as as_html
from xray_core.run_folder import STATE, parts_of


def report(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    root: Path = arguments.output
    html = arguments.html
    if not (html or arguments.csv or arguments.parquet):
        html = root / REPORT
    for path, suffix in ((arguments.csv, ".csv"), (arguments.parquet, ".parquet"), (html, ".html")):
        if path:
            _check_place(path, suffix)
    with books(root) as manifest:
        job = job_of(manifest, root, root)
        for path, write in ((arguments.csv, write_log), (arguments.parquet, write_parquet)):
            if path:
                export(manifest, job, path, write)
                say(f"log: {path}")
        if html:
            try:
                write_bytes(html, as_html(job, manifest).encode())
            except FileError as error:
                raise FileError(error.code, f"{html}: {error}") from None
            say(f"report: {html}")
    return DONE


def _check_place(path: Path, suffix: str) -> None:
    """Refuse to write over what is no log or report."""
    if path.suffix.lower() != suffix or STATE in path.parts:
        raise SettingsError(f"{path}: a file that ends in {suffix} is expected here")
    if not path.absolute().parent.is_dir():
        raise SettingsError(f"{path}: there is no such folder")


@contextmanager
def books(root: Path) -> Iterator[Manifest]:
    """Open the manifest of a run to be read, or those of its parts as one.

    Raises
    ------
    SettingsError
        If there is none.
    """
    parts = parts_of(root)
    if not parts:
        raise SettingsError(f"{root}: no run of RadTune has its books here")
    with tempfile.TemporaryDirectory(prefix="radtune-") as scratch, refusals(parts[0].manifest, root):
        if len(parts) == 1:
            with Manifest(parts[0].manifest, read_only=True) as manifest:
                if manifest.said("record") is None:
                    raise SettingsError(f"{root}: the run has not begun yet")
                yield manifest
            return
        with Manifest(Path(scratch, "manifest.sqlite")) as manifest:
            for part in parts:
                manifest.take_in(part.manifest)
            yield manifest


def export(manifest: Manifest, job: Job, path: Path, write: Callable[[Path, Iterator[Row], Row], None]) -> None:
    """Write the log of a run into a file, whole or not at all; raises `FileError`."""
    part = path.with_name(f".{path.name}.part")
    try:
        try:
            write(part, manifest.rows(), {"preset": job.preset} | job.applied.settings)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        failure = not_written(error)
        raise FileError(failure.code, f"{path}: {failure}") from None


def has_report(job: Job) -> bool:
    """Whether the outputs' folder holds a report; one on an object store is not looked at."""
    return not isinstance(job.target, str) and (job.target / REPORT).is_file()


def write_report(job: Job) -> None:
    """Write the report of a run beside its outputs."""
    with books(job.state) as manifest:
        html = as_html(job, manifest)
    try:
        target_of(job.target, job.folder.parts).write(PurePath(REPORT), html.encode())
    except FileError as error:
        raise FileError(error.code, f"{job.target}: {REPORT}: {error}") from None
