"""Histograms and the table of metrics, as SVG and HTML: a plotting library takes longer than the whole pipeline."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

import numpy as np
from numpy.typing import NDArray

from xray_core.image import Image
from xray_core.metrics import METRICS, Metric, Targets, Verdict
from xray_core.tones import histogram

_WIDTH, _HEIGHT, _BINS = 384, 130, 64
# Read on a light page and on a dark one alike: a picture does not know the page's theme.
_INK, _BEFORE, _AFTER = "#7d8790", "#8a99a3", "#1597a0"

STYLE = """
<style>
  .rt { --good: #15803d; --bad: #b45309; --before: #7c8b94; --after: #0b6e75; font-size: .9rem; }
  @media (prefers-color-scheme: dark) { .rt { --good: #4ade80; --bad: #fbbf24; --before: #93a4ad; --after: #3fb6bd; } }
  .rt table { border-collapse: collapse; width: 100%; }
  .rt th, .rt td { padding: .22rem .5rem; text-align: right; border-bottom: 1px solid rgba(128,128,128,.25);
                   font-variant-numeric: tabular-nums; white-space: nowrap; }
  .rt th:first-child, .rt td:first-child { text-align: left; }
  .rt thead th { font-weight: 500; opacity: .7; }
  .rt .good { color: var(--good); } .rt .bad { color: var(--bad); font-weight: 600; }
  .rt .verdict { border-left: 4px solid var(--good); padding: .35rem .7rem; margin: 0 0 .6rem 0; }
  .rt .verdict.off { border-color: var(--bad); }
</style>
"""


def histograms(before: Image, after: Image) -> str:
    """Return an SVG of both histograms, before filled and after as a line.

    Drawn in 64 bins: stretching leaves gaps between the 256 levels, which would show as a comb.
    """
    counts = [_counts(image) for image in (before, after)]
    # A single bin often towers over the rest (a black border): it is cut at the top.
    top = 1.15 * float(np.percentile(np.concatenate([count[1:-1] for count in counts]), 98)) or 1.0
    shapes = [" ".join(f"{x},{_HEIGHT - _HEIGHT * min(v / top, 1):.1f}" for x, v in _stairs(count)) for count in counts]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT + 18}" font-family="sans-serif" '
        f'font-size="11" fill="{_INK}">'
        f'<polygon points="0,{_HEIGHT} {shapes[0]} {_WIDTH},{_HEIGHT}" fill="{_BEFORE}" fill-opacity=".45"/>'
        f'<polyline points="{shapes[1]}" fill="none" stroke="{_AFTER}" stroke-width="1.6"/>'
        f'<line x1="0" y1="{_HEIGHT}" x2="{_WIDTH}" y2="{_HEIGHT}" stroke="{_INK}" stroke-opacity=".5"/>'
        f'<text x="2" y="{_HEIGHT + 14}">0 black</text>'
        f'<text x="{_WIDTH - 2}" y="{_HEIGHT + 14}" text-anchor="end">white 255</text>'
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT + 14}" text-anchor="middle">'
        f'<tspan fill="{_BEFORE}">&#9632; before</tspan>  <tspan fill="{_AFTER}">&#9644; after</tspan></text></svg>'
    )


def _counts(image: Image) -> NDArray[np.float64]:
    return histogram(image).reshape(_BINS, -1).sum(axis=1) / image.size


def _stairs(count: NDArray[np.float64]) -> list[tuple[float, float]]:
    step = _WIDTH / _BINS
    return [(x, float(v)) for level, v in enumerate(count) for x in (level * step, (level + 1) * step)]


def metrics(measured: Mapping[str, float], targets: Targets, judged: Verdict) -> str:
    """Return the verdict and a table of every metric before and after, with its target."""
    rows = "".join(_row(metric, measured, targets, metric.name in judged.missed) for metric in METRICS.values())
    return (
        f'<div class="rt"><p class="verdict{"" if judged.good else " off"}" role="status" data-verdict='
        f'"{"good" if judged.good else "off"}">{escape(judged.sentence)}</p><table><thead><tr><th>Metric</th>'
        f"<th>Before</th><th>After</th><th>Target</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(metric: Metric, measured: Mapping[str, float], targets: Targets, missed: bool) -> str:
    def cell(side: str, value: float) -> str:
        attributes = f'data-metric="{metric.name}" data-side="{side}"'
        return f"<td {attributes}{_state(side)}>{escape(metric.shown(value))}</td>"

    def _state(side: str) -> str:
        if side == "before" or metric.name not in targets or math.isnan(measured[metric.judged]):
            return ""
        return f' class="{"bad" if missed else "good"}"'

    before = cell("before", measured[metric.columns[0]] if metric.paired else metric.untouched)
    target = metric.band(targets[metric.name]) if metric.name in targets else ""
    return (
        f'<tr><th scope="row" style="font-weight:400" title="{escape(metric.help)}">{escape(metric.label)}</th>'
        f"{before}{cell('after', measured[metric.judged])}<td>{escape(target)}</td></tr>"
    )
