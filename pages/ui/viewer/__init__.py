"""The live viewer: one component that owns the controls and the pictures; what the browser runs stands beside this.

While a hand moves, the component asks `pages.ui.live` directly; Streamlit hears of settings when they rest. Each
message of the component carries a number, which comes back with the data: so it knows what Streamlit has heard, and
says again what got lost on the way, or what a server that was started anew can't know.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import streamlit as st

from pages.ui import declared, frame, live, sources
from pages.ui.state import Session, Source
from xray_core.dicom_choice import DicomChoice
from xray_core.errors import XrayError
from xray_core.image import Film, full_scale, is_colour
from xray_core.pipeline import check, defaults

# The scripts are served by a route of ours, so that they can be several files and are sent once, not with every run.
_LOADER = """
export default async (component) => {
  const viewer = await import(new URL(component.data.script, location.href).href);
  return viewer.default(component);
};
"""

_mount = st.components.v2.component("radtune_viewer", js=_LOADER, html="<div class='rt'></div>", isolate_styles=False)

_WAKER = """
export default (component) => {
  const wake = () => component.setTriggerValue("wake", Date.now());
  document.addEventListener("radtune:wake", wake);
  return () => document.removeEventListener("radtune:wake", wake);
};
"""

_waker = st.components.v2.component("radtune_waker", js=_WAKER, html="<span></span>")


def waker() -> None:
    """Draw what has the whole page run at the viewer's wish.

    The viewer stands in a fragment, of which a session that never ran the page knows nothing: on a server that was
    started anew, what it says would be dropped for ever.
    """
    _waker(key="waker", on_wake_change=lambda: None)


def draw(visitor: Session) -> None:
    """Draw the viewer for the visitor's film and settings."""
    if refused := st.session_state.pop("viewer error", None):
        st.error(frame.plain(refused), icon=":material/error:")
    film, engine = visitor.film, visitor.engine
    if film is None or engine is None:
        raise RuntimeError("no film is open")
    engine.aim(visitor.targets)
    width, height = film.size
    _mount(
        key="viewer",
        data={
            "script": live.address("main.js"),
            "live": f"{live.base()}/live/",
            "header": live.TOKEN_HEADER,
            "token": engine.token,
            "visitor": visitor.key,
            "heard": list(visitor.heard),
            "film": {
                "id": _identity(visitor, film),
                "label": sources.CAPTIONS.get(visitor.sample, ""),
                "source": _source(visitor),
                "unasked": visitor.unasked,
                "width": width,
                "height": height,
                "bits": film.pixels.dtype.itemsize * 8,
                "white": full_scale(film.pixels),
                "spacing": list(film.spacing) if film.spacing else None,
            },
            "steps": declared.steps(colour=is_colour(film.pixels)),
            "metrics": declared.metrics(visitor.targets),
            "settings": visitor.settings,
            "defaults": defaults(),
            "revision": visitor.revision,
            "pristine": visitor.preset is None,
        },
        on_commit_change=lambda: _hear(visitor),
    )


def _identity(visitor: Session, film: Film) -> str:
    """Return what tells one film from another: its file, page and greys."""
    return hashlib.sha256(f"{film.sha256} {film.page} {visitor.choice}".encode()).hexdigest()[:16]


def _source(visitor: Session) -> list[str | int]:
    """Return what the viewer brings back after a reload; an upload's name stays here, with the upload."""
    kind, name = visitor.source or ("upload", "")
    return [kind, "" if kind == "upload" else name, visitor.page, visitor.choice.voi, visitor.choice.window]


def _hear(visitor: Session) -> None:
    """Take over what the component says, each message once."""
    said = st.session_state["viewer"].get("commit")
    if not isinstance(said, dict):
        return
    page, number = said.get("page"), said.get("number")
    if not isinstance(page, str) or len(page) > 64 or type(number) is not int or (page, number) == visitor.heard:
        return
    # To a session that is gone, and not heard: the component says it again, once it sees that this is another one.
    if said.get("visitor") != visitor.key:
        return
    visitor.heard = (page, number)
    try:
        _obey(visitor, said)
    except XrayError as error:
        st.session_state["viewer error"] = str(error)
        visitor.revision += 1  # the component shows again what holds here


def _obey(visitor: Session, said: Mapping[str, Any]) -> None:
    engine = visitor.engine
    if engine and said.get("lost") == engine.token:
        visitor.close()  # the server let its engine go: the film is opened again, with a new token
    # Of an older page, whose settings were replaced from the server's side meanwhile.
    if said.get("revision") != visitor.revision:
        return
    settings = said.get("settings")
    taken = check(settings if isinstance(settings, dict) else {"": settings})
    if said.get("reset") is True:
        visitor.reset()
    visitor.take(taken)
    match said.get("film"):
        case ["sample" | "folder" | "run" as kind, str(name), int(page), voi, window]:
            sources.open_source(visitor, Source(kind, name), page, DicomChoice(voi, window))
            visitor.choose_anew()
