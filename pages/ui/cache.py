"""What lives as long as a browser's connection, whose end Streamlit tells by releasing a session's cache."""

from __future__ import annotations

import ctypes
import sys

import streamlit as st

from pages.ui.state import Session

_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 4_000_000


def give_back_large_arrays() -> None:
    """Have the memory of films go back to the system as soon as they are let go.

    Left to itself, the GNU C library raises the size from which it does so to that of the films, and keeps theirs.
    """
    if sys.platform == "linux":
        set_option = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries lack it
        if set_option:
            set_option(_M_MMAP_THRESHOLD, _LARGE_BYTES)


@st.cache_resource(scope="session", max_entries=2, on_release=Session.close, show_spinner=False)
def _held(key: str, _visitor: Session) -> Session:
    return _visitor


def let_go_at_the_end(visitor: Session) -> None:
    """Have the visitor's film leave the memory when their browser goes; it is opened again should they come back."""
    _held(visitor.key, visitor)
