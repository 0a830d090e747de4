"""Tune: move the sliders, look, compare, save a preset."""

from __future__ import annotations

import streamlit as st

from pages.ui import charts, controls, frame, presets_panel, sources
from pages.ui.state import Session, session, show
from xray_core.files import encode
from xray_core.image import Image
from xray_core.metrics import measure, range_warning, verdict
from xray_core.pipeline import defaults

_DETAIL_SIDE = 768


def choose_film(visitor: Session) -> None:
    """Offer the samples and the visitor's uploads; a film that a link or the home page opened stays."""
    names = sources.sample_names() + list(visitor.uploads)
    current = visitor.sample or (visitor.film.name if visitor.film else names[0])
    if visitor.film and not visitor.sample and current in sources.CAPTIONS:
        current += " (folder)"
    if current not in names:
        names.append(current)
    show("film", current)
    chosen = st.selectbox(
        "Film", names, key="film", format_func=lambda name: sources.CAPTIONS.get(name, name), on_change=_open_chosen
    )
    if visitor.film is None:
        sources.open_film(visitor, chosen)


def _open_chosen() -> None:
    with frame.guarded():
        sources.open_film(session(), st.session_state["film"])


@st.fragment
def tune(visitor: Session) -> None:
    """Draw pictures, numbers and controls; a moved slider runs this part of the page alone."""
    with st.container(key="tune"):
        pictures, panel = st.columns([3, 1.15], gap="medium")
    with panel:
        # Always there: a button that comes with the first move would shift the slider from under the hand.
        same = visitor.settings == defaults() and visitor.preset is None
        st.button("Reset all", icon=":material/restart_alt:", on_click=visitor.reset, disabled=same)
        with st.container(height=900, border=False, key="controls"), frame.guarded():
            controls.draw(visitor)
    with pictures, frame.guarded():
        pair = visitor.run_pair()
        measured = measure(pair.before, pair.after)
        presets_panel.warn_of_size(visitor)
        if words := range_warning(pair.before):
            st.warning(words)
        _pictures(pair.before, pair.after)
        numbers, chart = st.columns(2, gap="medium")
        numbers.html(charts.metrics(measured, visitor.targets, verdict(measured, visitor.targets)))
        with chart:
            drawn = charts.histograms(pair.before, pair.after)
            st.image(drawn, width="stretch", caption="Histograms", alt="Histograms of the film before and after")
            _download(visitor, pair.after)
        with st.container(border=True):
            presets_panel.save(visitor)


def _pictures(before: Image, after: Image) -> None:
    height, width = after.shape
    view = st.segmented_control(
        "View",
        ["Whole film", "True pixels"],
        default="Whole film",
        key="view",
        label_visibility="collapsed",
        help="True pixels shows a part of the full-size result, one pixel of it on one of the page.",
    )
    if view == "True pixels":
        columns = st.columns(2)
        across = columns[0].slider("Across (%)", 0, 100, 50, key="across")
        down = columns[1].slider("Down (%)", 0, 100, 50, key="down")
        left, top = _offset(across, width), _offset(down, height)
        part = slice(top, top + _DETAIL_SIDE), slice(left, left + _DETAIL_SIDE)
        before, after = before[part], after[part]
        # The part is larger than its place on most screens: at 0 and 100 % the film's edges stand at its edges.
        st.html(f'<style>.st-key-detail [data-testid="stImage"] img {{ object-position: {across}% {down}% }}</style>')
    with st.container(key="detail" if view == "True pixels" else "whole"):
        sides = st.columns(2, gap="small")
    for side, image, name in zip(sides, (before, after), ("Before", "After"), strict=True):
        caption = f"{name} · {width} x {height} px, {after.dtype.itemsize * 8} bit"
        side.image(
            sources.display(image), caption=caption, output_format="PNG", width="stretch", alt=f"Film {name.lower()}"
        )


def _offset(percent: int, length: int) -> int:
    return max(length - _DETAIL_SIDE, 0) * percent // 100


def _download(visitor: Session, after: Image) -> None:
    name = visitor.film.name.rsplit(".", 1)[0] if visitor.film else "film"
    st.download_button(
        "Download the film after (PNG, full size)",
        data=lambda: encode(after, ".png"),
        file_name=f"{name}_enhanced.png",
        mime="image/png",
        icon=":material/download:",
        on_click="ignore",
    )


with frame.page("pages/1_Tune.py"):
    st.html(charts.STYLE)
    visitor = session()
    with frame.guarded():
        presets_panel.take_link(visitor)
    with st.sidebar, frame.guarded():
        choose_film(visitor)
        presets_panel.choose(visitor)
    if visitor.film is not None:
        tune(visitor)
