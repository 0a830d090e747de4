"""What a visitor has open: one typed object per session, which owns the values that widgets show."""

from __future__ import annotations

from dataclasses import dataclass, field

import streamlit as st

from xray_core.image import Film
from xray_core.metrics import DEFAULT_TARGETS, Targets
from xray_core.params import Value
from xray_core.pipeline import Pair, Settings, Staged, defaults
from xray_core.presets import Preset

_KEY = "radtune"


@dataclass
class Session:
    """The film, the settings and the preset of one visitor.

    Attributes
    ----------
    uploads
        Files given by the visitor, still encoded, by name.
    film, sample
        The film that is open, and its name if it is one of our samples (which a link can carry).
    link
        The link's settings that were taken over last, so that a rerun does not undo later moves.
    """

    settings: Settings = field(default_factory=defaults)
    targets: Targets = field(default_factory=lambda: dict(DEFAULT_TARGETS))
    name: str = ""
    note: str = ""
    uploads: dict[str, bytes] = field(default_factory=dict)
    film: Film | None = None
    sample: str = ""
    link: str | None = None
    tuned_size: tuple[int, int] | None = None
    _staged: Staged | None = None

    def open(self, film: Film, sample: str = "") -> None:
        """Show another film with the same settings."""
        self.film, self.sample, self._staged = film, sample, Staged(film.pixels)

    def set(self, path: str, value: Value) -> None:
        """Replace one setting."""
        self.settings = self.settings | {path: value}

    def replace(self, settings: Settings) -> None:
        """Replace all settings."""
        self.settings = settings

    def use(self, preset: Preset) -> None:
        """Take over a preset."""
        self.settings, self.targets = preset.settings, preset.targets
        self.name, self.note, self.tuned_size = preset.name, preset.note, preset.tuned_size

    def run_pair(self) -> Pair:
        """Return the open film before and after, at full size."""
        if self._staged is None:
            raise RuntimeError("no film is open")
        return self._staged.run_pair(self.settings)


def session() -> Session:
    """Return the visitor's session."""
    if _KEY not in st.session_state:
        st.session_state[_KEY] = Session()
    found: Session = st.session_state[_KEY]
    return found
