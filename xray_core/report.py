"""The report of a run: one HTML file that holds all it shows, for who was not there."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from xray_core import __version__
from xray_core.batch_log import Row
from xray_core.batch_plan import Job, record
from xray_core.errors import XrayError
from xray_core.manifest import Manifest
from xray_core.pipeline import changed
from xray_core.presets import made_with
from xray_core.thumbnails import before_and_after
from xray_core.triage import Distribution, causes, counts, distributions, worst

_WORST = 4
_CHART = (320, 90)  # pixels


@dataclass(frozen=True)
class Shown:
    """Pictures of a film before and after as base64 of JPEG, or why there are none."""

    before: str = ""
    after: str = ""
    words: str = ""


def report(job: Job, manifest: Manifest, *, moment: datetime | None = None) -> str:
    """Return the report of a run, whole or as far as it went, as HTML without anything from outside.

    Parameters
    ----------
    job
        The run.
    manifest
        Its books.
    moment
        Time that it names; now if None.
    """
    targets = job.applied.targets
    spread = distributions(manifest, targets)
    shown: dict[tuple[int, int], Shown] = {}
    return _template().render(
        job=job,
        source=job.source if isinstance(job.source, str) else job.source.name,
        record=record(job),
        changed=changed(job.applied.settings),
        made_with=made_with(),
        version=__version__,
        moment=(moment or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M UTC"),
        counts=counts(manifest),
        remarks=manifest.said("remarks") or [],
        distributions=[(one, chart(one)) for one in spread],
        causes=causes(manifest),
        worst=[(one, _worst(job, manifest, one, shown)) for one in spread if one.target or one.column == "ssim"],
    )


def _worst(
    job: Job, manifest: Manifest, spread: Distribution, shown: dict[tuple[int, int], Shown]
) -> list[tuple[Row, Shown]]:
    """Return the films to look at first; `shown` keeps the pictures, for some come up more than once."""
    rows = worst(manifest, job.applied.targets, spread.column, _WORST)
    for row in rows:
        film = row["file"], row["page"]
        if film not in shown:
            shown[film] = _shown(job, manifest, row)
    return [(row, shown[row["file"], row["page"]]) for row in rows]


def _shown(job: Job, manifest: Manifest, row: Row) -> Shown:
    try:
        pictures = before_and_after(job, manifest.task(row["file"]), row["page"], row)
    except XrayError as error:
        return Shown(words=str(error))
    before, after = (base64.b64encode(picture).decode() for picture in pictures)
    return Shown(before, after)


def chart(spread: Distribution) -> dict[str, Any]:
    """Return a histogram as what is drawn of it: bars, and the band of the target, in pixels."""
    width, height = _CHART
    low, high = spread.edges[0], spread.edges[-1]
    step, most = width / len(spread.counts), max(spread.counts)
    bars = [
        {"x": round(number * step, 1), "height": round(max(1.0, count / most * height), 1)}
        for number, count in enumerate(spread.counts)
        if count
    ]
    band = None
    if spread.target:
        ends = [min(max((end - low) / (high - low) * width, 0.0), width) for end in spread.target]
        band = {"x": round(ends[0], 1), "width": round(ends[1] - ends[0], 1)}
    return {"width": width, "height": height, "bar": round(step * 0.9, 1), "bars": bars, "band": band}


@cache
def _template() -> jinja2.Template:
    text = Path(__file__).with_name("report.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(text)
