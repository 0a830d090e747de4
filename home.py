"""Home: choose a film, and see what each page does."""

from __future__ import annotations

import streamlit as st

from pages.ui import frame, sources
from pages.ui.state import Session, session
from xray_core.errors import FileError
from xray_core.names import printable

TUNE = "pages/1_Tune.py"


def samples(visitor: Session) -> None:
    """Offer our own phantoms as pictures."""
    with st.container(horizontal=True):
        for name in sources.sample_names():
            with st.container(width=200):
                small = sources.thumbnail(name, (sources.SAMPLES / name).stat().st_mtime)
                st.image(small, width="stretch", alt=sources.CAPTIONS[name])
                if st.button(sources.CAPTIONS[name], key=f"sample {name}", width="stretch"):
                    sources.open_film(visitor, name)
                    st.switch_page(TUNE)
    st.caption("Phantoms from our own generator: no person was X-rayed for them.")


def uploads(visitor: Session) -> None:
    """Take files from the visitor; each is decoded at once, so that a bad one is named here."""
    files = st.file_uploader(
        "DICOM, PNG, JPEG, TIFF, BMP, WebP, NPZ or NPY, or a zip of them. "
        "They stay in this server's memory until you remove them or leave.",
        accept_multiple_files=True,
        key="uploads",
        on_change=_forget_removed,
        args=(visitor,),
    )
    # What the uploader holds now: it is empty again after a change of page, while the films are kept.
    shown: dict[str, list[str]] = {}
    new: list[str] = []
    refusals: dict[str, list[str]] = st.session_state.setdefault("upload refusals", {})
    before: dict[str, list[str]] = st.session_state.get("uploads shown", {})
    for file in files:
        if file.file_id not in refusals:
            films, refusals[file.file_id] = _films(file.getvalue(), file.name)
            shown[file.file_id] = [_keep(visitor, name, data) for name, data in films]
            new += shown[file.file_id]
        else:
            shown[file.file_id] = before.get(file.file_id, [])
        for words in refusals[file.file_id]:
            st.error(frame.plain(words), icon=":material/error:")
    st.session_state["uploads shown"] = shown
    if new:
        st.session_state["uploaded film"] = new[0]
    if visitor.uploads:
        chosen = st.selectbox("Film", list(visitor.uploads), key="uploaded film")
        with st.container(horizontal=True):
            if st.button("Tune it", type="primary"):
                sources.open_film(visitor, chosen)
                st.switch_page(TUNE)
            st.button("Remove it", on_click=visitor.forget, args=([chosen],))


def _keep(visitor: Session, name: str, data: bytes) -> str:
    # A sign that turns the writing round, or is none, would show another name.
    free = sources.free_name(printable(name, "_"), visitor.uploads)
    visitor.uploads = visitor.uploads | {free: data}
    return free


def _forget_removed(visitor: Session) -> None:
    """Forget the films whose files the visitor took out of the uploader."""
    left = {file.file_id for file in st.session_state["uploads"]}
    shown: dict[str, list[str]] = st.session_state.get("uploads shown", {})
    visitor.forget([name for file_id, names in shown.items() if file_id not in left for name in names])
    st.session_state["uploads shown"] = {file_id: names for file_id, names in shown.items() if file_id in left}


def _films(data: bytes, name: str) -> tuple[list[tuple[str, bytes]], list[str]]:
    """Return the films of an upload, and why others can't be taken."""
    held = sum(map(len, session().uploads.values()))
    films: list[tuple[str, bytes]] = []
    refusals: list[str] = []
    try:
        found = sources.unpacked(data, name)
    except FileError as error:
        return [], [f"{name}: {error}"]
    for inner, content in found:
        told = name if inner == name else f"{name}: {inner}"
        try:
            if isinstance(content, FileError):
                raise content
            if held + len(content) > sources.MOST_UPLOADED_BYTES:
                most = f"{sources.MOST_UPLOADED_BYTES // 10**6} MB"
                raise FileError("BYTE_LIMIT", f"At most {most} at a time; for more, use the command line.")
            sources.decoded(content, inner)
        except FileError as error:
            refusals.append(f"{told}: {error}")
        else:
            held += len(content)
            films.append((inner, content))
    return films, refusals


def folder(visitor: Session) -> None:
    """Offer the files of the folder that the operator opened."""
    root = sources.operator_root()
    if root is None:
        st.info(
            f"Whoever runs this server can open a folder to its visitors: set the variable {sources.ROOT_VARIABLE} to "
            "its path before the start."
        )
        return
    files = sources.folder_files(str(root))
    if not files:
        st.info("The folder that is open to visitors holds no pictures.")
        return
    chosen = st.selectbox(f"Film ({len(files)} listed)", files, key="folder film")
    if st.button("Tune it", type="primary", key="open folder film"):
        sources.open_folder_film(visitor, root, chosen)
        st.switch_page(TUNE)


with frame.page("home.py"):
    st.title("RadTune")
    st.markdown(
        "Tune the preprocessing of chest X-rays by eye and by number. Save what you see as a preset, and apply it to a "
        "whole dataset, exactly as seen."
    )
    visitor = session()
    tabs = st.tabs(["Samples", "Upload", "Folder"])
    for tab, draw in zip(tabs, (samples, uploads, folder), strict=True):
        with tab, frame.guarded():
            draw(visitor)
    for path, (label, symbol, purpose) in frame.PAGES.items():
        if path != "home.py":
            st.page_link(path, label=f"**{label}**: {purpose}", icon=symbol)
