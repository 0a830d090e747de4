"""What the page's table of metrics has to show, for the tests with AppTest and with a browser."""

from __future__ import annotations

from xray_core.image import Image
from xray_core.metrics import METRICS, measure
from xray_core.params import Value
from xray_core.pipeline import run_pair


def expected(pixels: Image, settings: dict[str, Value]) -> dict[tuple[str, str], str]:
    pair = run_pair(pixels, settings)
    measured = measure(pair.before, pair.after)
    shown = {}
    for metric in METRICS.values():
        before = measured[metric.columns[0]] if metric.paired else metric.untouched
        shown[metric.name, "before"] = metric.shown(before)
        shown[metric.name, "after"] = metric.shown(measured[metric.judged])
    return shown
