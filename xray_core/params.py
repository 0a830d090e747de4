"""What is said of a parameter, once: type, default, range, good range, unit, label and help.

Slider, command-line flag, preset check, log column, README table and tests are all derived from these declarations,
which stand at the steps in `xray_core.steps`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from xray_core.errors import SettingsError

Value = bool | int | float | str


def _shown(value: object) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return repr(value).removesuffix(".0")
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):  # no JSON, or a number of thousands of digits
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value from a JSON file is a number that a float can hold: no truth value, no infinity."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 10**300


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """What every kind of parameter has.

    Attributes
    ----------
    label, help
        For a person: a name of two or three words, and a sentence.
    needs
        Name and value of a sibling that this parameter depends on: it has no effect otherwise.
    """

    label: str
    help: str
    needs: tuple[str, Value] | None = None

    default: Any = field(init=False)

    def check(self, path: str, value: object) -> Value:
        """Return a value in its canonical type, or raise `SettingsError` that names the path and the range."""
        raise NotImplementedError

    def parse(self, path: str, text: str) -> Value:
        """Read a value from the command line."""
        raise NotImplementedError

    def ends(self) -> tuple[Value, ...]:
        """Return the values that differ most: the ends of a range, or all options."""
        raise NotImplementedError

    def range_text(self) -> str:
        """Return the allowed values in words."""
        raise NotImplementedError

    def good_text(self) -> str:
        """Return the recommended values in words, or an empty string."""
        return ""


@dataclass(frozen=True, kw_only=True)
class Range(Parameter):
    """A number between two ends; whole when its default is an ``int``.

    Attributes
    ----------
    low, high
        The ends, both allowed.
    step
        The distance between two stops of a slider. Values between two stops are allowed.
    good
        The recommended part, or None where nothing is known.
    unit
        Unit shown behind the value, or an empty string.
    """

    default: int | float
    low: int | float
    high: int | float
    step: int | float
    good: tuple[float, float] | None = None
    unit: str = ""

    def __post_init__(self) -> None:
        if not self.low <= self.default <= self.high:
            raise TypeError(f"{self.label}: the default {self.default} lies outside [{self.low}, {self.high}]")

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are allowed."""
        return isinstance(self.default, int)

    def check(self, path: str, value: object) -> Value:
        if not is_number(value) or (self.whole and value != int(value)):
            kind = "whole number" if self.whole else "number"
            raise SettingsError(f"{path} takes a {kind} in {self.range_text()}, got {_shown(value)}")
        if not self.low <= value <= self.high:
            raise SettingsError(f"{path} lies in {self.range_text()}, got {_shown(value)}")
        return int(value) if self.whole else float(value)

    def parse(self, path: str, text: str) -> Value:
        try:
            value: object = float(text)
        except ValueError:
            value = text
        return self.check(path, value)

    def ends(self) -> tuple[Value, ...]:
        return self.low, self.high

    def range_text(self) -> str:
        return f"[{self.low:g}, {self.high:g}]"

    def good_text(self) -> str:
        return f"{self.good[0]:g} to {self.good[1]:g}" if self.good else ""


@dataclass(frozen=True, kw_only=True)
class Choice(Parameter):
    """One of several named ways.

    Attributes
    ----------
    options
        What is stored, and the label that a person reads.
    """

    default: str
    options: Mapping[str, str]

    def __post_init__(self) -> None:
        if self.default not in self.options:
            raise TypeError(f"{self.label}: the default {self.default} is none of its options")

    def check(self, path: str, value: object) -> Value:
        if not isinstance(value, str) or value not in self.options:
            raise SettingsError(f"{path} is {self.range_text()}, got {_shown(value)}")
        return value

    def parse(self, path: str, text: str) -> Value:
        return self.check(path, text)

    def ends(self) -> tuple[Value, ...]:
        return tuple(self.options)

    def range_text(self) -> str:
        return "one of " + ", ".join(self.options)


@dataclass(frozen=True, kw_only=True)
class Switch(Parameter):
    """On or off.

    Attributes
    ----------
    fixed
        Whether the default is the only value allowed.
    """

    default: bool
    fixed: bool = False

    def check(self, path: str, value: object) -> Value:
        if not isinstance(value, bool) or (self.fixed and value != self.default):
            raise SettingsError(f"{path} is {self.range_text()}, got {_shown(value)}")
        return value

    def parse(self, path: str, text: str) -> Value:
        words = {
            "true": True,
            "on": True,
            "yes": True,
            "1": True,
            "false": False,
            "off": False,
            "no": False,
            "0": False,
        }
        return self.check(path, words.get(text.lower(), text))

    def ends(self) -> tuple[Value, ...]:
        return (self.default,) if self.fixed else (False, True)

    def range_text(self) -> str:
        return f"always {str(self.default).lower()}" if self.fixed else "true or false"
