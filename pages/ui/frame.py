"""What every page has: its title, the way to the other pages, and one place where errors become words."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from xray_core import __version__
from xray_core.errors import XrayError

PAGES = {
    "home.py": ("Home", ":material/home:", "Choose a film"),
    "pages/1_Tune.py": ("Tune", ":material/tune:", "Move the sliders, look, compare, save a preset"),
    "pages/4_Batch.py": ("Batch", ":material/stacks:", "Apply a preset to many films, and see what came out"),
}
NOT_FOR_DIAGNOSIS = "Research tool. Not for diagnosis."

_STYLE = """
<style>
  .block-container { padding-top: 3.4rem; padding-bottom: 2rem; max-width: 1800px; }
  @media (min-width: 1150px) { .block-container { padding-left: 2.2rem; padding-right: 2.2rem; } }
  [data-testid="stImage"] img:not([src^="data:"]) { background: #000; border-radius: 0; }
  .rt-warn { position: fixed; top: .8rem; right: 4rem; z-index: 999991; font-size: .8rem; padding: .1rem .7rem;
             border-radius: 1rem; border: 1px solid #b45309; color: #b45309; background: rgba(180, 83, 9, .08); }
  @media (prefers-color-scheme: dark) { .rt-warn { border-color: #f59e0b; color: #f59e0b; } }
</style>
"""


@contextmanager
def page(path: str) -> Iterator[None]:
    """Draw a page's frame around its content, and turn what goes wrong in it into a sentence."""
    title, _, _ = PAGES[path]
    st.set_page_config(page_title=f"{title} · RadTune", page_icon="🩻", layout="wide", initial_sidebar_state=240)
    st.html(f'{_STYLE}<div class="rt-warn" role="note">{NOT_FOR_DIAGNOSIS}</div>')
    with st.sidebar:
        st.markdown(f"### RadTune  :gray[:small[{__version__}]]")
        for target, (label, symbol, words) in PAGES.items():
            st.page_link(target, label=label, icon=symbol, help=words)
    with guarded():
        yield


@contextmanager
def guarded() -> Iterator[None]:
    """Show an error as words for a person; what is no fault of theirs goes to the server's log."""
    try:
        yield
    except XrayError as error:
        st.error(plain(str(error)), icon=":material/error:")
    except Exception as error:
        # The type alone: messages of libraries may quote a file.
        logging.getLogger("radtune").error("page failed: %s", type(error).__name__)
        # A reload would begin a new session.
        st.error("Something went wrong on our side. Your settings are kept as long as this page stays open.")


def plain(text: str) -> str:
    """Return a text that Markdown shows as it is, whatever a file is called."""
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]()<>#+-.!|~$:&=\"'" else sign for sign in text)
