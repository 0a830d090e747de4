"""The log of a batch: its columns, how rows name files and pages, and cells that no spreadsheet runs."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

from xray_core import dicom_choice
from xray_core.metrics import COLUMNS
from xray_core.names import LOG
from xray_core.pipeline import parameters

_HEAD = ("path", "output", "sha256", "status", "reason", "preset", "seconds", "bits", "width", "height")
Row = dict[str, Any]


def log_name(shard: str) -> str:
    """Return the name of the log of a part of a run, or of the whole: ``log-3-of-8.csv``."""
    return f"log-{shard}.csv" if shard else LOG


def columns() -> tuple[str, ...]:
    """Return the columns of the log: file, measurements, every setting by its dotted path, what was chosen of DICOM."""
    return (*_HEAD, *COLUMNS, "verdict", *parameters(), *dicom_choice.COLUMNS)


_PART = "//"  # no path holds it, so that no file's name is taken for a page of another


def page_part(page: int, pages: int) -> str:
    """Return what stands behind a file's name for one of its pages."""
    return f"{_PART}page {page} of {pages}" if pages > 1 else ""


def copy_part(copy: int) -> str:
    """Return what stands behind the name that several entries of an archive have, but for the first."""
    return f"{_PART}entry {copy}" if copy > 1 else ""


def as_text(path: PurePath) -> str:
    """Return a path as the log holds it; bytes of a name that are no UTF-8 are written as escapes."""
    return path.as_posix().encode("utf-8", "backslashreplace").decode()


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # also full-width ones

_NUMBER = re.compile(r"-?[0-9.]+(e-?[0-9]+)?")


def _cell(value: object) -> str:
    """Return a value as a cell; what a spreadsheet would run as a formula begins with an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return "" if math.isnan(value) else str(round(value, 6))
    text = str(value)
    # Some of DICOM's columns are texts: what is only a number runs nothing.
    runs = isinstance(value, str) and text.startswith(_FORMULA) and not _NUMBER.fullmatch(text)
    return "'" + text if runs else text


def write_log(path: Path, rows: Iterable[Row], usual: Row) -> None:
    """Write a log of some rows, one by one as they come; nobody reads it before its end.

    Parameters
    ----------
    path
        The file.
    rows
        As in the manifest: without what the run has in common.
    usual
        That: the preset, and every setting, which only a row of a film that was written has.
    """
    names = columns()
    place = {name: number for number, name in enumerate(names)}
    written = [_cell(usual.get(name)) for name in names]
    failed = [cell if name in _HEAD else "" for name, cell in zip(names, written, strict=True)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for row in rows:
            cells = (failed if row["status"] == "FAILURE" else written).copy()
            for name, value in row.items():
                if name in place:
                    cells[place[name]] = _cell(value)
            writer.writerow(cells)


def write_parquet(path: Path, rows: Iterable[Row], usual: Row) -> None:
    """Write a log as Parquet, with typed columns; arguments as in `write_log`."""
    import pyarrow as pa  # takes 0.3 s: only those who write Parquet wait for it
    import pyarrow.parquet as pq

    types = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
    schema = pa.schema([(name, types[_kind(name)]) for name in columns()])
    pending, failed = iter(rows), {"preset": usual.get("preset")}
    # Opened here: pyarrow takes no name that is no UTF-8.
    with path.open("wb") as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        while some := list(islice(pending, 5_000)):
            full = [(failed if row["status"] == "FAILURE" else usual) | row for row in some]
            values = {name: [_typed(row.get(name), _kind(name)) for row in full] for name in columns()}
            writer.write_table(pa.table(values, schema))


def _kind(name: str) -> type:
    """Return what a column of the log holds."""
    if parameter := parameters().get(name) or dicom_choice.CHOICES.get(name.removeprefix("dicom.")):
        return float if isinstance(parameter.default, float) else type(parameter.default)
    return int if name in ("bits", "width", "height") else float if name in ("seconds", *COLUMNS) else str


def _typed(value: object, kind: type) -> object:
    return None if value is None or value == "" else kind(value)


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
