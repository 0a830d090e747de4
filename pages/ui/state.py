"""What a visitor has open: one typed object per session, which owns the values that widgets show."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import streamlit as st

from pages.ui.engine import Engine
from pages.ui.engines import ENGINES
from xray_core.dicom_choice import DicomChoice
from xray_core.image import Film
from xray_core.metrics import DEFAULT_TARGETS, Targets
from xray_core.pipeline import Pair, Settings, defaults
from xray_core.presets import Preset, changed_name, create

_KEY = "radtune"


class Source(NamedTuple):
    """Where a film was opened from, so that it can be opened again; one of a run by its number there."""

    kind: Literal["sample", "upload", "folder", "run"]
    name: str


@dataclass
class Session:
    """The film, the settings and the preset of one visitor.

    Attributes
    ----------
    key
        Names this visitor to their own browser, which keeps the place and the history under it.
    uploads
        Files given by the visitor, still encoded, by name.
    film, engine
        The film that is open, and what answers the viewer for it; both or neither.
    source
        Where it was opened from; stays when the film was let go because the browser was gone for a while.
    page, choice
        Which page of a file, and which greys of a DICOM film, are shown.
    unasked
        Whether it was opened because nobody had chosen one.
    choosing
        Part of the keys of what chooses the film; see `key_of`.
    chooser
        The key of the selector as it was drawn last.
    preset
        The preset that was taken over last.
    links
        Addresses whose settings were taken over, so that neither a rerun nor a way back undoes later moves.
    heard
        The page and the number of the viewer's last message, which the viewer waits for.
    run
        The run of the batch that is looked at; empty for none.
    revision
        Rises when settings are replaced from here, not by the viewer: only then the viewer takes them over.
    """

    key: str = field(default_factory=lambda: secrets.token_hex(8))
    settings: Settings = field(default_factory=defaults)
    targets: Targets = field(default_factory=lambda: dict(DEFAULT_TARGETS))
    name: str = ""
    note: str = ""
    uploads: dict[str, bytes] = field(default_factory=dict)
    film: Film | None = None
    engine: Engine | None = None
    source: Source | None = None
    page: int = 1
    choice: DicomChoice = field(default_factory=DicomChoice)
    unasked: bool = False
    choosing: str = field(default_factory=lambda: secrets.token_hex(4))
    chooser: str = ""
    links: set[str] = field(default_factory=set)
    preset: Preset | None = None
    heard: tuple[str, int] = ("", 0)
    run: str = ""
    revision: int = 0

    @property
    def confirmed(self) -> bool:
        """Whether the viewer has said what it shows: before that, it may still bring back other settings or a film."""
        return bool(self.heard[0])

    @property
    def sample(self) -> str:
        """The name of the sample that is open, which a link can carry; empty for another film."""
        return self.source.name if self.source and self.source.kind == "sample" else ""

    def key_of(self, widget: str) -> str:
        """Return the key of a widget that chooses the film, or a part of it.

        Another one in each session, and after a film that came back: what the browser says of a widget may be older
        than what it was set to, and would be taken for a new choice.
        """
        return f"{widget} {self.choosing}"

    def choose_anew(self) -> None:
        """Hear no more of what the browser has said of the film so far."""
        self.choosing = secrets.token_hex(4)

    def open(self, film: Film, source: Source | None = None, choice: DicomChoice | None = None) -> None:
        """Show another film with the same settings."""
        self.close()
        self.film, self.engine, self.source = film, ENGINES.open(film), source
        self.choice, self.page = choice or DicomChoice(), film.page
        self.unasked = False

    def close(self) -> None:
        """Let the film go, with all that was computed of it."""
        if self.engine:
            ENGINES.close(self.engine)
        self.film = self.engine = None

    def forget(self, names: Iterable[str]) -> None:
        """Drop uploaded films, and close one that is open."""
        gone = set(names)
        self.uploads = {name: data for name, data in self.uploads.items() if name not in gone}
        if self.source and self.source.kind == "upload" and self.source.name in gone:
            self.close()
            self.source = None

    def replace(self, settings: Settings) -> None:
        """Replace all settings, and have the viewer show them."""
        self.take(settings)
        self.revision += 1

    def take(self, settings: Settings) -> None:
        """Take over what the viewer shows already; a preset that was changed no longer goes by its name alone."""
        self.settings = settings
        if self.preset and self.name and self.name == self.preset.name and settings != self.preset.settings:
            self.name = changed_name(self.name)

    def reset(self) -> None:
        """Go back to the default settings, which the viewer shows already, and targets; let go of the preset."""
        if self.preset and self.name in (self.preset.name, changed_name(self.preset.name)):
            self.name, self.note = "", ""
        self.settings, self.targets, self.preset = defaults(), dict(DEFAULT_TARGETS), None

    def use(self, preset: Preset) -> None:
        """Take over a preset."""
        self.settings, self.targets, self.preset = preset.settings, preset.targets, preset
        self.name, self.note = preset.name, preset.note
        self.revision += 1

    def as_preset(self) -> Preset:
        """Return the settings as they stand, as a preset."""
        return create(self.settings, name=self.name, note=self.note, targets=self.targets, tuned_on=self.film)

    def run_pair(self) -> Pair:
        """Return the open film before and after, at full size."""
        if self.engine is None:
            raise RuntimeError("no film is open")
        return self.engine.run_pair(self.settings)


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
