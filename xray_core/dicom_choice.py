"""What a caller may choose of a DICOM file: how grey values are shown, and which window.

Flags of the command line and columns of the log follow from `CHOICES`. They are no settings: a preset says what is done
to a film, these say which film it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from xray_core.params import Choice, Parameter, Range, Value

CHOICES: dict[str, Parameter] = {
    "voi": Choice(
        default="lut",
        options={
            "lut": "VOI LUT, else window",
            "window": "Window, never the VOI LUT",
            "none": "Neither: the whole declared range",
        },
        label="Grey values of DICOM",
        help="Which of the file's own transformations choose the greys shown; some makers' VOI LUTs are wrong.",
    ),
    "window": Range(
        default=1,
        low=1,
        high=999,
        step=1,
        label="Window",
        help="Number of the window, or VOI LUT, where there are more.",
    ),
}


@dataclass(frozen=True)
class DicomChoice:
    """A value for each of `CHOICES`, or `SettingsError`, and the frame, which is a page as in other formats.

    Numbers begin at 1, as DICOM's own do.
    """

    voi: str = CHOICES["voi"].default
    window: int = CHOICES["window"].default
    frame: int = 1

    def __post_init__(self) -> None:
        for name, parameter in CHOICES.items():
            parameter.check(name, getattr(self, name))

    def columns(self) -> dict[str, Value]:
        """Return the choices by the names of the log's columns."""
        return {column: getattr(self, name) for name, column in zip(CHOICES, COLUMNS, strict=True)}

    def unusual(self) -> dict[str, Value]:
        """Return the choices that differ from the defaults, by their flag."""
        values = {name: getattr(self, name) for name in CHOICES}
        return {name: value for name, value in values.items() if value != CHOICES[name].default}

    def changed(self) -> dict[str, Value]:
        """Return the choices that differ from the defaults, by their column."""
        return {f"dicom.{name}": value for name, value in self.unusual().items()}


COLUMNS = tuple(f"dicom.{name}" for name in CHOICES)
"""Columns of the log, one for each choice."""
