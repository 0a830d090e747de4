"""Presets on the page: built-in ones, upload, name and note, download, and a link that carries the settings."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import streamlit as st

from pages.ui import frame, sources
from pages.ui.state import Session, show
from xray_core import carried, presets
from xray_core.errors import PresetError, XrayError
from xray_core.pipeline import changed, check

_LONGEST_LINK = 8_000


def choose(visitor: Session) -> None:
    """Draw what takes a preset over."""
    _messages()
    st.selectbox(
        "Preset",
        presets.builtin_names(),
        index=None,
        key="builtin",
        placeholder="Built-in ones",
        on_change=_take_builtin,
        args=(visitor,),
        help="  \n".join(f"**{name}**: {presets.builtin(name).note}" for name in presets.builtin_names()),
    )
    st.file_uploader(
        "or one of yours",
        type=["json", "png", "jpg", "jpeg", "tif", "tiff", "npz", "dcm"],
        key="preset file",
        on_change=_take_upload,
        args=(visitor,),
        max_upload_size=100,
        help="A .preset.json that you downloaded here, or that a colleague sent; or a picture that RadTune made, which "
        "carries its settings.",
    )


def warn_of_size(visitor: Session) -> None:
    """Say so where the preset was tuned on films of quite another size."""
    preset, film = visitor.preset, visitor.film
    if preset and preset.tuned_size and film and preset.other_size(film.size) and not visitor.settings["resize.on"]:
        tuned, here = ("{} x {} px".format(*size) for size in (preset.tuned_size, film.size))
        st.warning(f"Tuned on {tuned}, this film is {here}: filters count in pixels, so it will look different.")


def _take_builtin(visitor: Session) -> None:
    if name := st.session_state["builtin"]:
        visitor.use(presets.builtin(name))
        st.session_state["preset taken"] = name
        st.session_state["builtin"] = None  # so that the same one can be chosen again after moves


def _take_upload(visitor: Session) -> None:
    upload = st.session_state["preset file"]
    if upload is None:
        return
    try:
        data = upload.getvalue()
        flags = ""
        if carried.is_picture(data):
            preset, flags = carried.of_picture(data)
        else:
            preset = presets.loads(data)
        visitor.use(preset)
    except XrayError as error:
        st.session_state["preset error"] = f"{upload.name}: {error}"
    else:
        st.session_state["preset taken"] = upload.name
        if flags:
            st.session_state["preset error"] = f"{upload.name} was made with {flags}, which is no part of a preset."
        found = presets.check_fingerprint(visitor.preset) if visitor.preset else "same"
        if found.startswith("differs"):
            st.session_state["preset error"] = f"{upload.name} is in use, but what this machine computes {found}."


def _messages() -> None:
    if error := st.session_state.pop("preset error", None):
        st.error(frame.plain(error), icon=":material/error:")
    if taken := st.session_state.pop("preset taken", None):
        st.success(f"{frame.plain(taken)} is in use.", icon=":material/check:")


def save(visitor: Session) -> None:
    """Draw what keeps the settings: name, note, download, and a link."""
    st.markdown("**Keep these settings**")
    _text(visitor, "name", "e.g. bedside films, gentle")
    _text(visitor, "note", "what it is for; no patient's name")

    def text() -> str:
        # As they are at the click. Bound to the visitor, not to the film: what is bound outlasts its browser.
        return visitor.as_preset().dumps()

    safe = presets.file_name(visitor.name)
    st.download_button(
        "Download preset",
        data=text,
        file_name=safe,
        mime="application/json",
        icon=":material/download:",
        on_click="ignore",
        type="primary",
        disabled=not visitor.confirmed,
    )
    greys = "".join(f" --{name} {value}" for name, value in visitor.choice.unusual().items())
    if greys:
        st.caption(frame.plain(f"The greys of DICOM films are no part of a preset: the batch needs{greys} too."))
    # In a popover, since the browser loads 1.5 MB for the first code block that it meets.
    with st.popover("Apply it to a folder, or share a link"):
        st.caption(
            "Apply it to a folder, exactly as seen: in a terminal, in RadTune's folder, with the preset beside it."
        )
        st.code(f"python -m xray_core batch FOLDER RESULTS --preset {safe}{greys}", language="bash", wrap_lines=True)
        whole = "Or share a link to this film with these settings:"
        st.caption(whole if visitor.sample else "Or share a link to these settings:")
        st.code(link(visitor), language=None, wrap_lines=True)


def _text(visitor: Session, field: str, placeholder: str) -> None:
    key = f"preset {field}"
    show(key, getattr(visitor, field))

    def take() -> None:
        setattr(visitor, field, st.session_state[key])

    # Live: who types a name and clicks on the download at once gets that name.
    longest = presets.LONGEST[field]
    st.text_input(field.capitalize(), key=key, max_chars=longest, placeholder=placeholder, on_change=take, live=True)


def link(visitor: Session) -> str:
    """Return a link that opens the Tune page with the settings and, where it is one of ours, the film."""
    query = {"settings": json.dumps(changed(visitor.settings), separators=(",", ":"))}
    if visitor.sample:
        query = {"film": visitor.sample} | query
    here = (st.context.url or "").split("?")[0].rstrip("/")
    return f"{here}?{urlencode(query)}"


def take_link(visitor: Session) -> None:
    """Take over the film and settings of the page's address, once for each address."""
    address = json.dumps(st.query_params.to_dict(), sort_keys=True)
    if address in visitor.links:
        return
    visitor.links.add(address)
    if film := st.query_params.get("film"):
        sources.open_film(visitor, film)
    if text := st.query_params.get("settings"):
        visitor.replace(check(_parse(text)))


def _parse(text: str) -> dict[str, object]:
    try:
        settings = json.loads(text) if len(text) <= _LONGEST_LINK else None
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise PresetError("the settings in this link are cut short or damaged")
    return settings
