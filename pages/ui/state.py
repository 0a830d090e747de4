"""What a visitor has open: one typed object per session, which owns the values that widgets show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import streamlit as st

from xray_core.image import Film
from xray_core.metrics import DEFAULT_TARGETS, Targets
from xray_core.params import Value
from xray_core.pipeline import Pair, Settings, Staged, defaults
from xray_core.presets import Preset, changed_name

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
    preset
        The preset that was taken over last.
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
    preset: Preset | None = None
    _staged: Staged | None = None

    def open(self, film: Film, sample: str = "") -> None:
        """Show another film with the same settings."""
        self.film, self.sample, self._staged = film, sample, Staged(film.pixels)

    def forget(self, names: Iterable[str]) -> None:
        """Drop uploaded films, and close one that is open."""
        gone = set(names)
        self.uploads = {name: data for name, data in self.uploads.items() if name not in gone}
        if self.film and not self.sample and self.film.name in gone:
            self.film, self._staged = None, None

    def set(self, path: str, value: Value) -> None:
        """Replace one setting."""
        self.replace(self.settings | {path: value})

    def replace(self, settings: Settings) -> None:
        """Replace all settings; a preset that was changed no longer goes by its name alone."""
        self.settings = settings
        if self.preset and self.name and self.name == self.preset.name and settings != self.preset.settings:
            self.name = changed_name(self.name)

    def reset(self) -> None:
        """Go back to the default settings and targets, without the preset that was taken over."""
        if self.preset and self.name in (self.preset.name, changed_name(self.preset.name)):
            self.name, self.note = "", ""
        self.settings, self.targets, self.preset = defaults(), dict(DEFAULT_TARGETS), None

    def use(self, preset: Preset) -> None:
        """Take over a preset."""
        self.settings, self.targets, self.preset = preset.settings, preset.targets, preset
        self.name, self.note = preset.name, preset.note

    def run_pair(self) -> Pair:
        """Return the open film before and after, at full size."""
        if self._staged is None:
            raise RuntimeError("no film is open")
        return self._staged.run_pair(self.settings)


def show(key: str, value: object) -> None:
    """Put a value into a widget's state.

    Only where it differs: a value that is set goes to the browser, over moves that are still on their way here. Given
    as the widget's default instead, it would make a new widget of it, which loses an edit.
    """
    if st.session_state.get(key) != value:
        st.session_state[key] = value


def session() -> Session:
    """Return the visitor's session."""
    if _KEY not in st.session_state:
        st.session_state[_KEY] = Session()
    found: Session = st.session_state[_KEY]
    return found
