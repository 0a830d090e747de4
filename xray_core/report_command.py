"""The command ``report``: the log of a run as CSV and Parquet, and its HTML report, from its books."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

from xray_core.arguments import DONE, say
from xray_core.batch_log import Row, write_log, write_parquet
from xray_core.batch_plan import Job, job_of, shard_name, target_of
from xray_core.errors import FileError, SettingsError, unwritten
from xray_core.files import not_written, write_bytes
from xray_core.ledger import refusals, understood
from xray_core.manifest import Manifest
from xray_core.names import REPORT
from xray_core.occupied import contradiction
from xray_core.report import report as as_html
from xray_core.run_folder import STATE, RunFolder, parts_of


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
                write_bytes(html, _as_html(job, manifest))
            except FileError as error:
                raise unwritten(error, f"{html}: {error}") from None
            say(f"report: {html}")
        for words in manifest.said("remarks") or ():
            say(f"note: {words}")
    return DONE


def _as_html(job: Job, manifest: Manifest) -> bytes:
    with understood():
        # Of names that are no UTF-8, what is not is shown as escapes.
        return as_html(job, manifest).encode(errors="backslashreplace")


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
        if parts[0].count == 1:
            with Manifest(parts[0].manifest, read_only=True) as manifest:
                if manifest.said("record") is None:
                    raise SettingsError(f"{root}: the run has not begun yet")
                yield manifest
            return
        with Manifest(Path(scratch, "manifest.sqlite")) as manifest:
            _join(root, parts, manifest)
            yield manifest


def _join(root: Path, parts: list[RunFolder], manifest: Manifest) -> None:
    """Take the parts of a run in, and note in ``remarks`` what who reads them should know."""
    sources = set()
    for part in parts:
        with Manifest(part.manifest, read_only=True) as one:
            if manifest.said("record") is not None and (words := contradiction(manifest, one)):
                raise SettingsError(
                    f"{root}: the parts of the run contradict each other ({words}); do the older ones again with "
                    "--overwrite"
                )
            sources.add(one.said("source"))
            manifest.take_in(one)
    there = {part.shard for part in parts}
    count = parts[0].count
    missing = [name for number in range(count) if (name := shard_name((number + 1, count))) not in there]
    remarks = [f"part {name.replace('-', ' ')} is not here" for name in missing[:3]]
    if len(missing) > 3:
        remarks = [f"of {count} parts {len(missing)} are not here"]
    if len(sources) > 1:
        remarks.append(f"the films of the parts were in {len(sources)} folders: {', '.join(sorted(map(str, sources)))}")
    twice = "SELECT output FROM rows WHERE output != '' GROUP BY output HAVING count(*) > 1"
    if shared := [output for (output,) in manifest.query(f"{twice} ORDER BY output LIMIT 4")]:
        remarks.append(
            f"two parts wrote {', '.join(shared)}, for the films changed between them: what is there is of the latter"
        )
    manifest.say("remarks", remarks)


def export(manifest: Manifest, job: Job, path: Path, write: Callable[[Path, Iterator[Row], Row], None]) -> None:
    """Write the log of a run into a file, whole or not at all; raises `RunError`."""
    part = path.with_name(f".{path.name}.part")
    try:
        try:
            with understood():
                write(part, manifest.rows(), {"preset": job.preset} | job.applied.settings)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        failure = not_written(error)
        raise unwritten(failure, f"{path}: {failure}") from None


def has_report(job: Job) -> bool:
    """Whether the outputs' folder holds a report; one on an object store is not looked at."""
    return not isinstance(job.target, str) and (job.target / REPORT).is_file()


def write_report(job: Job) -> None:
    """Write the report of a run beside its outputs."""
    with books(job.state) as manifest:
        html = _as_html(job, manifest)
    try:
        target_of(job.target, job.folder.parts).write(PurePath(REPORT), html)
    except FileError as error:
        raise unwritten(error, f"{job.target}: {REPORT}: {error}") from None
