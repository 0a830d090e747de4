"""The list of runs, and one of them while it goes on: how far it is, what stops it, and what it made so far."""

from __future__ import annotations

import html
import itertools
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal

import streamlit as st

from pages.ui import downloads, frame, run_process, runs
from pages.ui.run_process import Standing, State
from pages.ui.runs import Run
from pages.ui.state import Session, show
from xray_core import presets
from xray_core.encode import RANGES
from xray_core.errors import XrayError
from xray_core.rehearsal import duration
from xray_core.report_command import books
from xray_core.triage import MEANINGS

Colour = Literal["blue", "green", "orange", "red", "gray"]
STATES: dict[State, tuple[str, Colour]] = {
    "starting": ("starting", "blue"),
    "listing": ("finding films", "blue"),
    "running": ("running", "blue"),
    "stopping": ("stopping", "blue"),
    "finishing": ("writing log and report", "blue"),
    "done": ("done", "green"),
    "paused": ("paused", "orange"),
    "cancelled": ("cancelled", "gray"),
    "interrupted": ("stopped: can go on", "orange"),
    "stopped": ("stopped: can go on", "orange"),
    "refused": ("did not begin", "red"),
}
_EVERY = 1.0
_EVERY_AT_REST = 5.0
_EVERY_IN_LIST = 3.0
_LISTED = 10
_WIDTHLESS = "\u200b\u200c\u200d\u2060\u2063"
_UNSEEN = {
    sign: first + second
    for sign, (first, second) in zip("0123456789abcdef-", itertools.product(_WIDTHLESS, repeat=2), strict=False)
}
_LINKS = {
    downloads.OUTPUTS: "All results (zip)",
    downloads.CSV: "Log (CSV)",
    downloads.PARQUET: "Log (Parquet)",
    downloads.HTML: "Report (HTML)",
}
_STYLE = """
<style>
  .rt-downloads { display: flex; flex-wrap: wrap; gap: .5rem; margin: .2rem 0; }
  .rt-downloads a { padding: .3rem .8rem; border: 1px solid rgba(128, 128, 128, .4); border-radius: .4rem;
                    color: inherit; text-decoration: none; font-size: .9rem; }
  .rt-downloads a:hover, .rt-downloads a:focus-visible { border-color: #0b8a92; color: #0b8a92; }
</style>
"""


# --- the list -------------------------------------------------------------------------------------------------------


def choose(visitor: Session) -> Run | None:
    """Draw the list of runs; returns the one that is looked at, which the page's address names."""
    wanted = st.query_params.get("run", visitor.run)
    found = runs.find(wanted)
    if wanted and found is None:
        st.warning("That run is not there any more.")
    visitor.run = found.id if found else ""
    if found:
        st.query_params["run"] = found.id
    else:
        st.query_params.pop("run", None)
    every = runs.every()
    busy = any(run_process.standing(run).busy for run in every)
    st.fragment(_list, run_every=_EVERY_IN_LIST if busy else None)(visitor)
    return found


def _list(visitor: Session) -> None:
    with frame.guarded():
        listed = runs.every()
        whole = len(listed) <= _LISTED or st.toggle(f"Show all {len(listed)}", key="batch all", persist_state="session")
        every = {run.id: run for run in (listed if whole else listed[:_LISTED])}
        if visitor.run and visitor.run not in every:
            old = runs.find(visitor.run)
            if old is None:  # somebody else deleted it
                st.rerun()
            every[old.id] = old
        show("batch run", visitor.run)
        st.radio(
            "Runs, newest first",
            ["", *every],
            key="batch run",
            format_func=lambda chosen: _label(every[chosen]) if chosen else "**New run**",
            captions=["", *_captions(every.values())],
            on_change=_choose,
            args=(visitor,),
        )
        if not every:
            st.caption("No runs yet.")
    if st.session_state.pop("batch run chosen", False):
        st.rerun()  # the whole page


def _label(run: Run) -> str:
    """Return what the list calls a run, with its id in signs that have no width.

    Streamlit knows an option by its label alone: where two shared one, or one went over to another run as others come
    and go, a page would turn to a run that nobody chose.
    """
    return frame.plain(run.name) + "".join(_UNSEEN[sign] for sign in run.id)


def _captions(listed: Collection[Run]) -> list[str]:
    names = Counter(run.name for run in listed)
    return [_caption(run, is_twin=names[run.name] > 1) for run in listed]


def _caption(run: Run, *, is_twin: bool) -> str:
    standing = run_process.standing(run)
    label, _ = STATES[standing.state]
    if standing.state == "running" and standing.progress.total:
        label += f", {standing.progress.done / standing.progress.total:.0%}"
    begun = f", at {run.created.astimezone():%H:%M:%S}" if is_twin else ""
    return f"{label} · {age(run.created)}{begun}"


def _choose(visitor: Session) -> None:
    visitor.run = st.session_state["batch run"]
    if visitor.run:
        st.query_params["run"] = visitor.run
    else:
        st.query_params.pop("run", None)
    st.session_state["batch run chosen"] = True


def age(moment: datetime) -> str:
    """Return how long ago a moment was, as a person says it."""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min ago"
    if seconds < 86400:
        return f"{seconds // 3600:.0f} h ago"
    return f"{moment:%d %b %Y}"


# --- one run --------------------------------------------------------------------------------------------------------


def watch(run: Run, visitor: Session) -> None:
    """Draw a run: its state, its progress and what can be done with it; anew each second while it goes on."""
    busy = run_process.standing(run).busy
    st.fragment(_watched, run_every=_EVERY if busy else None)(run, visitor, busy)
    if not busy:  # another page may have it go on
        st.fragment(_looked_at, run_every=_EVERY_AT_REST)(run, busy)


def _looked_at(run: Run, busy: bool) -> Standing:
    """Return how far a run is; where it has begun, ended or gone, the whole page is drawn anew."""
    if runs.find(run.id) is None:  # somebody else deleted it
        st.rerun()
    standing = run_process.standing(run)
    if standing.busy != busy:
        st.rerun()  # what came out is drawn once it has ended, and not before
    return standing


def _watched(run: Run, visitor: Session, busy: bool) -> None:
    standing = _looked_at(run, busy)
    with frame.guarded():
        label, colour = STATES[standing.state]
        st.subheader(frame.plain(run.name))
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge(label, color=colour)
            st.caption(frame.plain(_what(run)), width="content")
        if standing.words:
            (st.error if standing.state == "refused" else st.warning)(frame.plain(standing.words))
        if standing.busy:
            _progress(standing)
        _actions(run, visitor, standing)
        _results(run, standing)


def _what(run: Run) -> str:
    plan = run.plan
    quality = f" of quality {plan.quality}" if plan.quality else ""
    words = [plan.films, f"{plan.format.upper()}{quality}, {RANGES[plan.range]}"]
    if plan.skip_good:
        words.append("good films as they are")
    with suppress(XrayError):
        if name := presets.load(str(run.preset)).name:
            words.insert(1, f"preset: {name}")
    return " · ".join(words)


def _progress(standing: Standing) -> None:
    progress = standing.progress
    if standing.state in ("starting", "listing") or not progress.total:
        st.progress(0.0, f"Finding the films: {progress.total:,} so far" if progress.total else "Finding the films …")
        return
    words = [f"{progress.done:,} of {progress.total:,} films"]
    if progress.rate:
        words.append(f"{progress.rate:.3g} a second")
    if progress.seconds_left and standing.state == "running":
        words.append(f"{duration(progress.seconds_left)} left")
    if progress.failed:
        words.append(f"{progress.failed:,} failed")
    st.progress(min(1.0, progress.done / progress.total), " · ".join(words))
    for code, count in sorted(progress.failures.items(), key=lambda item: -item[1]):
        st.caption(f"{count:,} × {code}. {MEANINGS.get(code, '')}")


def _actions(run: Run, visitor: Session, standing: Standing) -> None:
    with st.container(horizontal=True):
        if standing.busy:
            waits = standing.state not in ("listing", "running")
            if st.button("Pause", icon=":material/pause:", disabled=waits, help="It can go on at any time."):
                run.books.wish("pause")
            if st.button("Cancel", icon=":material/stop:", disabled=waits, help="What was done is kept."):
                run.books.wish("cancel")
            return
        if standing.state != "done":
            again = "Try again" if standing.state == "refused" else "Go on"
            if st.button(again, icon=":material/play_arrow:", type="primary"):
                _start(run)
        elif run.plan.source == "folder" and st.button(
            "Look for new films", icon=":material/refresh:", help="And for such that were changed."
        ):
            _start(run)
        if _has_failures(run) and st.button("Run only the failures again", icon=":material/replay:"):
            _start(run, failures_only=True)
        with st.popover("Delete", icon=":material/delete:"):
            st.write("The run is deleted with its results and uploads. Films in a folder stay as they are.")
            if st.button("Delete it for good", type="primary"):
                runs.delete(run)
                visitor.run = ""
                st.query_params.pop("run", None)
                st.rerun()


def _has_failures(run: Run) -> bool:
    # Of the books, and not of the progress, which tells of the last start alone.
    with suppress(XrayError), books(run.out) as manifest:
        return manifest.count("failed") > 0
    return False


def _start(run: Run, *, failures_only: bool = False) -> None:
    run_process.start(run, failures_only=failures_only)
    st.rerun()


def _results(run: Run, standing: Standing) -> None:
    if not run.books.manifest.is_file() or standing.state == "starting":
        return
    links = "".join(
        f'<a href="{html.escape(downloads.link(run, what))}" download>{words}</a>' for what, words in _LINKS.items()
    )
    st.html(f'{_STYLE}<div class="rt-downloads">{links}</div>')
    so_far = "" if standing.state == "done" else "Downloads hold what is done so far. "
    st.caption(frame.plain(f"{so_far}Results lie in {run.out} on the server."))
