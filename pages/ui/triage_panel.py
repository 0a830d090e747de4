"""What came out of a run: numbers, distributions against their targets, failures by cause, the films to look at."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from pages.ui import frame, run_process, sources
from pages.ui.runs import Run
from pages.ui.state import Session, Source
from xray_core import presets, thumbnails, triage
from xray_core.batch_log import Row
from xray_core.batch_plan import job_of
from xray_core.errors import XrayError
from xray_core.metrics import METRICS, Metric, Targets
from xray_core.report_command import books
from xray_core.triage import Cause, Distribution

TUNE = "pages/1_Tune.py"
_WORST = 6
_HEIGHT = 150
_AFTER, _BEFORE, _BAND = "#0f8f97", "#8f979c", "#2f9e5f"


def draw(run: Run, visitor: Session) -> None:
    """Draw what came out of a run that is not going on."""
    if not run.books.manifest.is_file():
        return
    targets = presets.load(str(run.preset)).targets
    progress = run_process.standing(run).progress
    counts, spread, causes = _found(run.id, progress.updated, run, targets)
    _counts(counts)
    if causes:
        _causes(causes)
    if spread:
        _distributions(spread)
        _worst(run, visitor, targets, spread, progress.updated)


@st.cache_data(max_entries=16, ttl=3600, show_spinner="Adding up the run …")
def _found(
    run_id: str, updated: float, _run: Run, _targets: Targets
) -> tuple[dict[str, int], list[Distribution], list[Cause]]:
    with books(_run.out) as manifest:
        return triage.counts(manifest), triage.distributions(manifest, _targets), triage.causes(manifest)


def _counts(counts: dict[str, int]) -> None:
    labels = {
        "written": "Written",
        "skipped": "Left as they are",
        "on_target": "Meet all targets",
        "failed": "Failed",
        "to_do": "Left to do",
    }
    always = ("written", "on_target", "failed")
    shown = {label: counts[name] for name, label in labels.items() if counts[name] or name in always}
    with st.container(horizontal=True, gap="large"):
        for label, count in shown.items():
            st.metric(label, f"{count:,}", width="content")


# --- failures -------------------------------------------------------------------------------------------------------


def _causes(causes: list[Cause]) -> None:
    st.markdown("#### What failed")
    for cause in causes:
        with st.expander(f"**{cause.count:,} × {frame.plain(cause.code)}**: {cause.words}"):
            films, reasons = zip(*cause.examples, strict=True)
            st.dataframe({"Film": films, "Reason": reasons}, hide_index=True)
            if cause.count > len(films):
                st.caption("The log names them all.")


# --- distributions --------------------------------------------------------------------------------------------------


def _distributions(spread: list[Distribution]) -> None:
    st.markdown("#### How the films came out")
    st.caption("Each bar counts films. Grey is before, colour is after; the green band is the target.")
    by_metric = {metric: [one for one in spread if one.metric.name == metric] for metric in METRICS}
    shown = [(METRICS[metric], columns) for metric, columns in by_metric.items() if columns]
    for start in range(0, len(shown), 3):
        for place, (metric, columns) in zip(st.columns(3), shown[start : start + 3], strict=False):
            with place:
                _chart(metric, columns)


def _chart(metric: Metric, columns: list[Distribution]) -> None:
    judged = next((one for one in columns if one.column == metric.judged), columns[-1])
    said = f"median {metric.shown(judged.median)}"
    if judged.target:
        met = f"all {judged.count:,} on target" if not judged.off_target else f"{judged.off_target:,} of "
        met += f"{judged.count:,} off target" if judged.off_target else ""
        said = f"{metric.band(judged.target)}: {met}; {said}"
    st.markdown(f"**{metric.label}**", help=metric.help)
    st.vega_lite_chart(spec=chart(metric, columns), height=_HEIGHT, alt=f"{metric.label} of all films: {said}")
    st.caption(frame.plain(said))


def chart(metric: Metric, columns: list[Distribution]) -> dict[str, Any]:
    """Return a metric's histograms before and after over the band of its target, in Vega-Lite."""
    target = next((one.target for one in columns if one.target), None)
    low, high = _domain(metric, columns, target)
    scale = {"domain": [low, high], "nice": False, "zero": False}
    axis = {"title": None, "tickCount": 4, "grid": False} | ({"format": "~%"} if metric.percent else {})
    x = {"field": "low", "type": "quantitative", "scale": scale, "axis": axis}
    layers: list[dict[str, Any]] = []
    if target:
        band = {"low": max(target[0], low), "high": min(target[1], high)}
        mark = {"type": "rect", "color": _BAND, "opacity": 0.22}
        layers.append({"data": {"values": [band]}, "mark": mark, "encoding": {"x": x, "x2": {"field": "high"}}})
    for one in columns:
        before = one.column != metric.judged
        bars = [
            {"low": a, "high": b, "films": count, "values": f"{metric.shown(a)} to {metric.shown(b)}"}
            for a, b, count in _bars(one)
        ]
        y = {"field": "films", "type": "quantitative", "axis": {"title": None, "tickCount": 3, "tickMinStep": 1}}
        tooltip = [
            {"field": "values", "title": "before" if before else "after" if metric.paired else metric.label},
            {"field": "films", "title": "films"},
        ]
        mark = {"type": "bar", "color": _BEFORE if before else _AFTER, "opacity": 0.55 if before else 0.9}
        encoding = {"x": x, "x2": {"field": "high"}, "y": y, "y2": {"datum": 0}, "tooltip": tooltip}
        layers.append({"data": {"values": bars}, "mark": mark, "encoding": encoding})
    return {"layer": layers, "config": {"view": {"stroke": None}}, "padding": 0}


def _bars(one: Distribution) -> list[tuple[float, float, int]]:
    if one.low < one.high:
        return [bar for bar in zip(one.edges, one.edges[1:], one.counts, strict=False) if bar[2]]
    # All films have one value: a bar as wide as what is shown of it.
    half = _step(one.metric) / 2
    low = max(one.low - half, one.metric.low)
    return [(low, low + 2 * half, one.count)]


def _step(metric: Metric) -> float:
    return 0.001 if metric.percent else 10.0**-metric.digits


def _domain(metric: Metric, columns: list[Distribution], target: tuple[float, float] | None) -> tuple[float, float]:
    """Return the ends of the axis: every film is in it, and the ends of the target that a film can pass."""
    ends = [end for one in columns for low, high, _ in _bars(one) for end in (low, high)]
    ends += [end for end in target or () if metric.low < end < metric.high]
    low, high = min(ends), max(ends)
    if high - low < 3 * _step(metric):
        low, high = max(low - 5 * _step(metric), metric.low), min(high + 5 * _step(metric), metric.high)
    room = 0.15 * (high - low)
    # Where no film is in it, the band would have no width.
    if target and target[0] > high - room:
        high = min(target[1], high + room)
    if target and target[1] < low + room:
        low = max(target[0], low - room)
    return low, high


# --- the films to look at -------------------------------------------------------------------------------------------


def _worst(run: Run, visitor: Session, targets: Targets, spread: list[Distribution], updated: float) -> None:
    st.markdown("#### Look at these first")
    judged = {one.metric.name: one for one in spread if one.column == one.metric.judged}
    most_off = max(judged, key=lambda name: judged[name].off_target)
    name = st.pills(
        "By",
        list(judged),
        default=most_off,
        required=True,
        key=f"batch worst {run.id}",
        format_func=lambda name: METRICS[name].label,
    )
    metric = METRICS[str(name)]
    rows = _rows(run.id, updated, run, targets, metric.judged)
    for start in range(0, len(rows), 2):
        for place, row in zip(st.columns(2), rows[start : start + 2], strict=False):
            with place, st.container(border=True), frame.guarded():
                _film(run, visitor, metric, targets, row)


@st.cache_data(max_entries=64, ttl=3600, show_spinner=False)
def _rows(run_id: str, updated: float, _run: Run, _targets: Targets, column: str) -> list[Row]:
    with books(_run.out) as manifest:
        return triage.worst(manifest, _targets, column, _WORST)


def _film(run: Run, visitor: Session, metric: Metric, targets: Targets, row: Row) -> None:
    off = ""
    if metric.name in targets:
        low, high = targets[metric.name]
        off = "on target" if low <= row[metric.judged] <= high else "off target"
        off = f" :{'green' if off == 'on target' else 'orange'}[({off})]"
    st.markdown(f"**{metric.label} {frame.plain(metric.shown(row[metric.judged]))}**{off}")
    try:
        pictures = _pictures(run.id, row["file"], row["page"], str(row["sha256"]), run, row)
    except XrayError as error:
        st.caption(frame.plain(f"No pictures: {error}"))
    else:
        for place, picture, side in zip(st.columns(2, wrap=False), pictures, ("before", "after"), strict=True):
            place.image(picture, caption=side.capitalize(), width="stretch", alt=f"{row['path']}, {side}")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(frame.plain(str(row["path"])))
        if st.button(
            "Open in Tune",
            key=f"batch open {run.id} {row['file']} {row['page']} {metric.name}",
            icon=":material/tune:",
            help="With the preset of this run.",
        ):
            source = Source("run", f"{run.id}/{row['file']}")
            sources.open_source(visitor, source, row["page"], run.plan.choice)
            visitor.use(presets.load(str(run.preset)))
            st.switch_page(TUNE)


@st.cache_data(max_entries=128, ttl=3600, show_spinner="Computing the pictures …")
def _pictures(run_id: str, number: int, page: int, digest: str, _run: Run, _row: Row) -> tuple[bytes, bytes]:
    with books(_run.out) as manifest:
        task, job = manifest.task(number), job_of(manifest, _run.out, _run.out)
    # Where the films are now, if visitors may still see them.
    return thumbnails.before_and_after(replace(job, source=_run.source, only=None), task, page, _row)
