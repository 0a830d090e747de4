"""Tune: move the sliders, look, compare, save a preset."""

from __future__ import annotations

import streamlit as st

from pages.ui import cache, frame, presets_panel, sources, viewer
from pages.ui.state import Session, session, show
from xray_core.carried import embedded, ways
from xray_core.dicom_choice import CHOICES, DicomChoice
from xray_core.errors import FileError
from xray_core.files import encode

_PARTS = ("page", "voi", "window")


def choose_film(visitor: Session) -> None:
    """Offer the samples and the visitor's uploads; a film that a link or the home page opened stays."""
    names = sources.sample_names() + list(visitor.uploads)
    current = visitor.source.name if visitor.source else visitor.film.name if visitor.film else names[0]
    if visitor.source and visitor.source.kind == "run":
        current = f"{visitor.film.name if visitor.film else 'film'} (run)"
    elif current in sources.CAPTIONS and not visitor.sample and (visitor.film or visitor.source):
        current += " (folder)"
    if current not in names:
        names.append(current)
    key = visitor.chooser = visitor.key_of("film")
    show(key, current)
    chosen = st.selectbox(
        "Film",
        names,
        key=key,
        format_func=lambda name: sources.CAPTIONS.get(name, name),
        on_change=_open_chosen,
        args=(key,),
    )
    if visitor.film is None and not sources.open_again(visitor):
        sources.open_film(visitor, chosen)
        visitor.unasked = True


def _open_chosen(key: str) -> None:
    visitor = session()
    if key == visitor.key_of("film"):
        with frame.guarded():
            sources.open_film(visitor, st.session_state[key])


def choose_part(visitor: Session) -> None:
    """Offer the pages of a file that has several, and the greys of a DICOM film; say how it was read."""
    film = visitor.film
    if film is None:
        return
    page, voi, window = (visitor.key_of(name) for name in _PARTS)
    if film.pages > 1:
        show(page, film.page)
        st.number_input("Page", 1, film.pages, step=1, key=page, on_change=_open_part, args=(page,))
    if film.dicom:
        greys = CHOICES["voi"]
        show(voi, visitor.choice.voi)
        st.selectbox(
            greys.label,
            greys.options,
            key=voi,
            format_func=greys.options.__getitem__,
            help=greys.help,
            on_change=_open_part,
            args=(voi,),
        )
        if film.dicom.windows > 1:
            show(window, visitor.choice.window)
            label = CHOICES["window"].label
            st.number_input(label, 1, film.dicom.windows, step=1, key=window, on_change=_open_part, args=(window,))
    if told := sources.told(film):
        st.caption(frame.plain(told))


def _open_part(key: str) -> None:
    visitor = session()
    source, at = visitor.source, st.session_state
    keys = [visitor.key_of(name) for name in _PARTS]
    if source is None or key not in keys:
        return
    with frame.guarded():
        page, voi, window = (at.get(one, usual) for one, usual in zip(keys, (1, visitor.choice.voi, 1), strict=True))
        # The number of a window means another one, or none, under other greys.
        window = window if voi == visitor.choice.voi else 1
        for number in (window, 1):  # another page may have fewer windows
            try:
                sources.open_source(visitor, source, page, DicomChoice(voi, number))
                return
            except FileError as error:
                if number == 1:
                    raise FileError(error.code, f"page {page}: {error}") from None


@st.fragment
def tune(visitor: Session) -> None:
    """Draw the viewer and what keeps its settings; settings that come to rest run this part of the page alone."""
    if visitor.chooser != visitor.key_of("film"):
        st.rerun()  # the whole page: a film came back, which its selector has to name
    with frame.guarded():
        # The viewer closes a film whose engine the server let go while the browser was away.
        if visitor.film is None and not sources.open_again(visitor):
            st.info("The film is not open any more: choose one at the left.")
            return
        presets_panel.warn_of_size(visitor)
        place = st.container()
        with st.container(border=True):
            presets_panel.save(visitor)
            _download(visitor)
        # Last: a click that the viewer held back finds the downloads of this run.
        with place:
            viewer.draw(visitor)


def _png(visitor: Session) -> bytes:
    if visitor.film is None:
        raise RuntimeError("no film is open")
    text = embedded(visitor.as_preset(), ways(visitor.film, visitor.choice))
    return encode(visitor.run_pair().after, ".png", text=text)


def _download(visitor: Session) -> None:
    name = visitor.film.name.rsplit(".", 1)[0].replace("/", "_") if visitor.film else "film"
    st.download_button(
        "Download the film after (PNG, full size)",
        data=lambda: _png(visitor),
        file_name=f"{name}_enhanced.png",
        mime="image/png",
        icon=":material/download:",
        on_click="ignore",
        disabled=not visitor.confirmed,
    )


with frame.page("pages/1_Tune.py"):
    visitor = session()
    cache.let_go_at_the_end(visitor)
    with frame.guarded():
        presets_panel.take_link(visitor)
    with st.sidebar, frame.guarded():
        choose_film(visitor)
        choose_part(visitor)
        presets_panel.choose(visitor)
        viewer.waker()
    if visitor.film is not None:
        tune(visitor)
