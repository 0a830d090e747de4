"""The live viewer: one component that owns the controls and the pictures; what the browser runs stands beside this.

While a hand moves, the component asks `pages.ui.live` directly; Streamlit hears of settings when they rest.
"""

from __future__ import annotations

import streamlit as st

from pages.ui import declared, frame, live
from pages.ui.state import Session
from xray_core.errors import SettingsError
from xray_core.image import full_scale, is_colour
from xray_core.pipeline import check, defaults

# The scripts are served by a route of ours, so that they can be several files and are sent once, not with every run.
_LOADER = """
export default async (component) => {
  const viewer = await import(new URL(component.data.script, location.href).href);
  return viewer.default(component);
};
"""

_mount = st.components.v2.component("radtune_viewer", js=_LOADER, html="<div class='rt'></div>", isolate_styles=False)


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
            "film": {
                "id": film.sha256[:16],
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
        on_commit_change=lambda: _commit(visitor),
        on_lost_change=lambda: _lost(visitor),
        on_reset_change=visitor.reset,
    )


def _commit(visitor: Session) -> None:
    sent = st.session_state["viewer"].get("commit")
    # Of an older page, whose settings were replaced from the server's side meanwhile.
    if not isinstance(sent, dict) or sent.get("revision") != visitor.revision:
        return
    settings = sent.get("settings")
    try:
        visitor.take(check(settings if isinstance(settings, dict) else {"": settings}))
    except SettingsError as error:
        st.session_state["viewer error"] = str(error)


def _lost(visitor: Session) -> None:
    """Close a film whose token the server does not know any more: it is opened again, with a new one."""
    if visitor.engine and st.session_state["viewer"].get("lost") == visitor.engine.token:
        visitor.close()
