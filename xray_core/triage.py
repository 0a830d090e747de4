"""What came out of a run: distributions of each metric, failures by cause, and the films to look at first.

All is asked of the manifest, in SQL, so that a run of a million films costs no more memory than one of ten. A run that
still goes on may be asked as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from xray_core.batch_log import Row
from xray_core.manifest import Manifest
from xray_core.metrics import METRICS, Metric

_BINS = 40
_WRITTEN = "rows.status != 'FAILURE'"
_FINITE = "BETWEEN -1e300 AND 1e300"

MEANINGS: dict[str, str] = {
    "EMPTY": "The files hold nothing, or no pixels. Copy them again from where they came.",
    "UNSUPPORTED": "They are no pictures, or of a kind that is not read.",
    "DECODE": "They are damaged or cut short. Copy them again from where they came.",
    "PIXEL_LIMIT": "They say to have more pixels than the limit; raise it if they are real.",
    "BYTE_LIMIT": "They are larger than the limit; raise it if they are real.",
    "PAGE_LIMIT": "They hold more pages than the limit; raise it if they are real.",
    "PICKLE": "They hold Python objects, which are never opened: those could run programs.",
    "READ": "They could not be read: permissions, or they were moved meanwhile.",
    "WRITE": "Their outputs could not be written: permissions, or names.",
    "MEMORY": "They need more memory than a worker may take; raise the limit if they are real.",
    "TIMEOUT": "They took longer than the time limit.",
    "CRASH": "The decoder crashed on them. They may be damaged, or made to do so.",
    "INTERNAL": "A fault of RadTune. Please report it, with the reason in the log.",
}
"""What a cause of failure means, and what to do, by its code."""


@dataclass(frozen=True)
class Distribution:
    """How the values of a metric are spread over the films that were written.

    Attributes
    ----------
    metric, column
        The metric, and the column of the log: one of two where it is measured before and after.
    count
        Films that have a value.
    edges, counts
        A histogram: one edge more than counts.
    low, median, mean, high
        Of the values that are finite.
    target
        Lowest and highest value wanted, where there is a target for this column.
    off_target
        Films outside it.
    """

    metric: Metric
    column: str
    count: int
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    low: float
    median: float
    mean: float
    high: float
    target: tuple[float, float] | None
    off_target: int

    @property
    def label(self) -> str:
        """Name for a person."""
        side = self.column.removeprefix(self.metric.name).strip("_")
        return f"{self.metric.label} {side}".strip()


@dataclass(frozen=True)
class Cause:
    """Why some pictures failed.

    Attributes
    ----------
    code
        As the log's ``reason`` begins.
    count
        Pictures that failed so.
    words
        What it means, and what to do.
    examples
        The first of them: path and reason.
    """

    code: str
    count: int
    words: str
    examples: tuple[tuple[str, str], ...]


def counts(manifest: Manifest) -> dict[str, int]:
    """Return how many pictures were written, skipped as good, meet all targets, or failed; and how many files wait."""
    found = dict(manifest.query("SELECT status, count(*) FROM rows GROUP BY status"))
    return {
        "written": found.get("SUCCESS", 0),
        "skipped": found.get("SKIPPED", 0),
        "on_target": manifest.query("SELECT count(*) FROM rows WHERE verdict LIKE 'Balanced%'")[0][0],
        "failed": found.get("FAILURE", 0),
        "to_do": manifest.count("to do"),
    }


def distributions(manifest: Manifest, targets: Mapping[str, tuple[float, float]]) -> list[Distribution]:
    """Return the distribution of each column that is measured, where any film has a value."""
    every = [
        _distribution(manifest, metric, column, targets.get(metric.name) if column == metric.judged else None)
        for metric in METRICS.values()
        for column in metric.columns
    ]
    return [one for one in every if one.count]


def _distribution(manifest: Manifest, metric: Metric, column: str, target: tuple[float, float] | None) -> Distribution:
    # Columns are our own names; no text of a file or a visitor comes into these questions.
    where = f"FROM rows WHERE {_WRITTEN} AND {column} {_FINITE}"
    count, low, mean, high = manifest.query(f"SELECT count(*), min({column}), avg({column}), max({column}) {where}")[0]
    if not count:
        return Distribution(metric, column, 0, (), (), math.nan, math.nan, math.nan, math.nan, target, 0)
    median = manifest.query(f"SELECT {column} {where} ORDER BY {column} LIMIT 1 OFFSET ?", (count // 2,))[0][0]
    # Films of one value alone stand in the middle.
    margin = (abs(low) or 1.0) / 100 if high == low else 0.0
    start, width = low - margin, (high - low + 2 * margin) / _BINS
    bins = [0] * _BINS
    place = f"min({_BINS - 1}, CAST(({column} - ?) / ? AS INTEGER))"
    for number, films in manifest.query(f"SELECT {place}, count(*) {where} GROUP BY 1", (start, width)):
        bins[number] += films
    off = 0
    if target:
        off = manifest.query(f"SELECT count(*) {where} AND {column} NOT BETWEEN ? AND ?", target)[0][0]
    edges = tuple(start + width * number for number in range(_BINS + 1))
    return Distribution(metric, column, count, edges, tuple(bins), low, median, mean, high, target, off)


def causes(manifest: Manifest, examples: int = 5) -> list[Cause]:
    """Return the causes of failure, the most frequent first."""
    code = "substr(reason, 1, instr(reason, ':') - 1)"
    like = "rows.status = 'FAILURE' AND rows.reason LIKE ? || ':%'"
    found = manifest.query(f"SELECT {code}, count(*) FROM rows WHERE status = 'FAILURE' GROUP BY 1 ORDER BY 2 DESC, 1")
    return [
        Cause(
            name,
            count,
            MEANINGS.get(name, ""),
            tuple(
                (row["path"], row["reason"].partition(": ")[2]) for row in manifest.rows(like, (name,), limit=examples)
            ),
        )
        for name, count in found
    ]


def worst(manifest: Manifest, targets: Mapping[str, tuple[float, float]], column: str, count: int = 6) -> list[Row]:
    """Return the rows of the films to look at first, by one column of `xray_core.metrics.COLUMNS`.

    They are those farthest outside the target, then those nearest to its ends; without a target, those in which most
    was changed, or which have the least of it.
    """
    metric = next(metric for metric in METRICS.values() if column in metric.columns)
    target = targets.get(metric.name) if column == metric.judged else None
    finite = f"{_WRITTEN} AND rows.{column} {_FINITE}"
    if target is None:
        return list(manifest.rows(finite, order=f"rows.{column}, files.path, rows.page", limit=count))
    low, high = (min(max(end, -1e300), 1e300) for end in target)
    outside = f"max({low!r} - rows.{column}, rows.{column} - {high!r}) DESC"
    return list(manifest.rows(finite, order=f"{outside}, files.path, rows.page", limit=count))
