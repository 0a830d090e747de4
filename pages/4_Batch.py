"""Batch: apply a preset to many films, watch the run, and see what came out."""

from __future__ import annotations

import streamlit as st

from pages.ui import frame, places, run_process, start_panel, triage_panel, watch_panel
from pages.ui.state import session

with frame.page("pages/4_Batch.py"):
    visitor = session()
    st.title("Batch")
    st.caption(
        "A run goes on when you close this page. Everyone who can open this server sees its runs and their films; "
        f"results lie in {frame.plain(str(places.runs_root()))} on the server."
    )
    narrow, wide = st.columns([1, 3], gap="large")
    run = None
    with narrow, frame.guarded():
        run = watch_panel.choose(visitor)
    with wide, frame.guarded():
        if run is None:
            start_panel.begin(visitor)
        else:
            watch_panel.watch(run, visitor)
            if not run_process.standing(run).busy:
                triage_panel.draw(run, visitor)
