"""The form that begins a run: which films, which preset, which outputs; and a look ahead at what it would do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, cast

import streamlit as st

from pages.ui import frame, places, run_process, runs, sources
from pages.ui.run_process import Outlook
from pages.ui.runs import KINDS, Kind, Plan
from pages.ui.state import Session
from xray_core import presets
from xray_core.encode import FORMATS, JPEG_QUALITIES, JPEG_QUALITY, RANGES, check_output
from xray_core.errors import PresetError, SettingsError, XrayError
from xray_core.pipeline import active
from xray_core.pool import cpu_count
from xray_core.presets import Preset
from xray_core.rehearsal import duration

_TUNED, _MINE = "as tuned", "a file of mine"


def begin(visitor: Session) -> None:
    """Draw the form, and start what it says."""
    st.subheader("New run")
    films = _films()
    applied = _preset(visitor)
    # Which greys are shown was chosen while tuning; other presets go with the usual ones.
    greys = visitor.choice.unusual() if applied == _TUNED else {}
    plan = Plan(**films or {}, **_outputs(), greys=greys)
    if st.session_state.pop("batch started", False):
        st.session_state["batch name"] = ""
    usual_name = f"{plan.films}, {datetime.now():%d %b %H:%M}"
    name = st.text_input(
        "Name",
        key="batch name",
        max_chars=runs.LONGEST_NAME,
        placeholder=usual_name,
        help="Everyone sees it: no patient's name.",
        persist_state="session",
    )
    if greys:
        st.caption("The greys of DICOM films are those that were chosen on the Tune page.")
    with st.container(horizontal=True):
        looks = st.button("Check first", icon=":material/search:", disabled=films is None)
        starts = st.button("Start", type="primary", icon=":material/play_arrow:", disabled=films is None)
    if starts:
        run = runs.create(name or usual_name, plan, _taken(visitor, applied), _uploads(plan))
        try:
            run_process.start(run)
        except XrayError:
            runs.delete(run)
            raise
        visitor.run, st.session_state["batch started"] = run.id, True
        st.rerun()
    asked = (plan, applied, tuple(visitor.settings.items()), [file.file_id for file in _files()])
    if looks:
        st.session_state.pop("batch outlook", None)
        with st.spinner("Finding the films, and trying a few of them …"):
            found = run_process.check(plan, _taken(visitor, applied), _uploads(plan))
        st.session_state["batch outlook"] = asked, found
    was_asked, outlook = st.session_state.get("batch outlook", (None, None))
    if outlook and was_asked == asked:
        _show(outlook)


# --- which films ----------------------------------------------------------------------------------------------------


def _films() -> dict[str, Any] | None:
    """Draw where the films come from; None where there is nothing to choose."""
    if "batch source" not in st.session_state:
        st.session_state["batch source"] = "folder" if places.operator_root() else "samples"
    kind = st.radio(
        "Films",
        list(KINDS),
        key="batch source",
        format_func=lambda kind: KINDS[cast(Kind, kind)],
        horizontal=True,
        persist_state="session",
    )
    if kind == "folder":
        return _folder()
    if kind == "upload":
        most = f"{places.MOST_UPLOADED_BYTES // 10**6} MB"
        st.file_uploader(
            f"Films, or one zip archive of them; at most {most}. They stay on the server until the run is deleted.",
            accept_multiple_files=True,
            key="batch files",
        )
    else:
        st.caption("Phantoms from our own generator, good ones and bad ones: no person was X-rayed for them.")
    return {"source": kind}


def _folder() -> dict[str, Any] | None:
    root = places.operator_root()
    if root is None:
        st.info(
            f"Whoever runs this server can open a folder to its visitors: set the variable {places.ROOT_VARIABLE} to "
            "its path before the start."
        )
        return None
    path = ""
    # One level at a time: nobody waits for the list of a whole archive.
    while below := sources.subfolders(str(root), path):
        here = path.rpartition("/")[2] or root.name
        chosen = st.selectbox(
            f"Folder in {here}" if path else "Folder",
            below,
            index=None,
            key=f"batch folder {path}",
            placeholder=f"Everything in {here}",
            persist_state="session",
        )
        if chosen is None:
            break
        path = f"{path}/{chosen}" if path else chosen
    if not path and not below:
        st.caption(f"Everything in {frame.plain(root.name)}.")
    return {"source": "folder", "folder": path}


def _files() -> list[Any]:
    return st.session_state.get("batch files") or []


def _uploads(plan: Plan) -> Iterator[tuple[str, memoryview]]:
    return ((file.name, file.getbuffer()) for file in _files() if plan.source == "upload")


# --- what is done to them -------------------------------------------------------------------------------------------


def _preset(visitor: Session) -> str:
    tuned = "As on the Tune page now" + (f": {visitor.name}" if visitor.name else "")
    labels = {_TUNED: tuned, **{name: name for name in presets.builtin_names()}, _MINE: "A preset file of mine"}
    chosen = st.selectbox(
        "Preset", list(labels), key="batch preset", format_func=labels.__getitem__, persist_state="session"
    )
    if chosen not in labels:
        raise PresetError("Choose a preset first.")
    settings = visitor.settings
    if chosen == _MINE:
        file = st.file_uploader(
            "A .preset.json that was downloaded from RadTune", type=["json"], key="batch preset file"
        )
        if file is None:
            return chosen
        preset = _of_file(file)
        found = presets.check_fingerprint(preset)
        if found.startswith("differs"):
            st.warning(frame.plain(f"What this machine computes with it {found}."))
        settings = preset.settings
    elif chosen != _TUNED:
        settings = presets.builtin(chosen).settings
    st.caption(frame.plain(", ".join(step.label for step, _ in active(settings) if step.switchable)))
    return chosen


def _of_file(file: Any) -> Preset:
    try:
        return presets.loads(file.getvalue())
    except SettingsError as error:
        raise PresetError(f"{file.name}: {error}") from None


def _taken(visitor: Session, chosen: str) -> Preset:
    """Return the preset that was chosen; raises `PresetError` where there is none."""
    if chosen == _TUNED:
        return visitor.as_preset()
    if chosen != _MINE:
        return presets.builtin(chosen)
    file = st.session_state.get("batch preset file")
    if file is None:
        raise PresetError("Choose the preset's file first.")
    return _of_file(file)


def _outputs() -> dict[str, Any]:
    left, middle, right = st.columns(3)
    suffix = left.selectbox("Format", FORMATS, key="batch format", format_func=str.upper, persist_state="session")
    kinds = [kind for kind in RANGES if _fits(suffix, kind)]
    if st.session_state.get("batch range") not in (None, *kinds):
        st.session_state["batch range"] = kinds[0]
    kind = middle.selectbox(
        "Grey values",
        kinds,
        key="batch range",
        format_func=lambda kind: RANGES[kind].capitalize(),
        persist_state="session",
    )
    most = cpu_count()
    workers = right.number_input(
        "Processes", 1, most, most, key="batch workers", help="More are faster.", persist_state="session"
    )
    quality = None
    if suffix == "jpg":
        quality = int(
            left.number_input("Quality", *JPEG_QUALITIES, JPEG_QUALITY, key="batch quality", persist_state="session")
        )
    skips = st.checkbox(
        "Leave films as they are that meet all targets already",
        key="batch skip good",
        help="They are scaled like the others, and the log says SKIPPED. What the targets are stands on the Tune page.",
        persist_state="session",
    )
    chosen = {"format": suffix, "range": kind, "workers": min(int(workers), most), "skip_good": skips}
    return chosen | ({} if quality in (None, JPEG_QUALITY) else {"quality": quality})


def _fits(suffix: str, kind: str) -> bool:
    try:
        check_output(f".{suffix}", kind)
    except SettingsError:
        return False
    return True


# --- what it would do -----------------------------------------------------------------------------------------------


def _show(outlook: Outlook) -> None:
    with st.container(border=True):
        left, middle, right = st.columns(3)
        left.metric("Films", f"{outlook.found:,}")
        middle.metric("Time, about", "not known" if outlook.seconds is None else duration(outlook.seconds))
        right.metric("Results, about", "not known" if outlook.seconds is None else _size(outlook.bytes))
        if outlook.seconds is None:
            st.warning(f"None of the {outlook.tried} films that were tried could be computed.")
        elif outlook.free is not None and outlook.bytes > outlook.free:
            st.warning(f"The disk has only {_size(outlook.free)} free.")
        told = f"Measured on {outlook.tried} films, spread over all. Nothing was written."
        if outlook.passed_over:
            left_out = ", ".join(f"{count} {kind}" for kind, count in sorted(outlook.passed_over.items()))
            told += f" Passed over: {left_out}."
        st.caption(frame.plain(told))
        with st.expander(f"The first {len(outlook.first)} results"):
            films, results = zip(*outlook.first, strict=True)
            st.dataframe({"Film": films, "Result": results}, hide_index=True)


def _size(count: float) -> str:
    """Return a number of bytes as a person reads it."""
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 999.5 or unit == "GB":
            break
    return f"{count:.2g} {unit}" if count < 99.5 else f"{count:,.0f} {unit}"
