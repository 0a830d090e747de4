"""Settings, and the one computation that preview, batch, command line and notebook share.

Settings are a flat dict from dotted path to value, ``{"clahe.clip_limit": 1.5, ...}``; replaced, never edited.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from xray_core.errors import SettingsError
from xray_core.image import Image, checked
from xray_core.params import Parameter, Value
from xray_core.steps import STEPS, Step, magnification

Settings = dict[str, Value]


_Declared = tuple[list[Step], dict[str, Parameter], Settings]
_declared: _Declared = ([], {}, {})


def _known() -> _Declared:
    """Return the steps, their parameters and defaults by dotted path, collected anew where a step was added since."""
    global _declared
    if len(STEPS) != len(_declared[0]) or not all(map(operator.is_, STEPS.values(), _declared[0])):
        found = {step.path(name): one for step in STEPS.values() for name, one in step.parameters.items()}
        _declared = list(STEPS.values()), found, {path: parameter.default for path, parameter in found.items()}
    return _declared


def parameters() -> dict[str, Parameter]:
    """Return every parameter by its dotted path, in running order."""
    return dict(_known()[1])


def defaults() -> Settings:
    """Return the default of every setting."""
    return dict(_known()[2])


def untouched() -> Settings:
    """Return settings with every step off that may be: a film comes out as it is, but gray."""
    return defaults() | {step.path("on"): False for step in STEPS.values() if step.switchable}


def geometry(settings: Mapping[str, object]) -> Settings:
    """Return settings with nothing on but what is done to the film before as well: geometry, and grayscale."""
    off = {step.path("on"): False for step in STEPS.values() if step.switchable and not step.both}
    return check(settings) | off


def parameter_at(path: str) -> Parameter:
    """Return the parameter with a dotted path, or raise `SettingsError` that names near ones."""
    known = _known()[1]
    if path not in known:
        near = difflib.get_close_matches(path, known, n=1)
        hint = (
            f"did you mean {near[0]} ({known[near[0]].range_text()})?"
            if near
            else f"known steps are {', '.join(STEPS)}"
        )
        raise SettingsError(f"{path[:80]!r} is no setting; {hint}")
    return known[path]


def check(settings: Mapping[str, object]) -> Settings:
    """Return complete settings: given values checked, missing ones at their defaults.

    Raises
    ------
    SettingsError
        For an unknown path, a wrong type or a value out of range; the message names the path and the range.
    """
    _, known, usual = _known()
    given = {path: (known.get(path) or parameter_at(path)).check(path, value) for path, value in settings.items()}
    return usual | given


def changed(settings: Mapping[str, Value]) -> Settings:
    """Return the settings that differ from their defaults."""
    usual = defaults()
    return {path: value for path, value in settings.items() if usual[path] != value}


def active(settings: Settings) -> Iterator[tuple[Step, dict[str, Value]]]:
    """Yield the steps that are on, in running order, with the values of their parameters (``on`` left out)."""
    for step in STEPS.values():
        if settings[step.path("on")]:
            yield step, {name: settings[step.path(name)] for name in step.parameters if name != "on"}


def digest(settings: Mapping[str, object]) -> str:
    """Return the sha256 of what settings do: the steps that are on and their values, as hexadecimal.

    Values of a step that is off don't count, so that a step added to RadTune leaves older digests alone.
    """
    full = check(settings)
    used = {step.path(name): full[step.path(name)] for step, _ in active(full) for name in step.parameters}
    return hashlib.sha256(json.dumps(used, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Pair:
    """A film before and after: gray, read-only, of one shape and dtype.

    Attributes
    ----------
    before
        The film through the geometric steps and grayscale alone.
    after
        The film through all steps that are on.
    """

    before: Image
    after: Image

    def through(self, step: Step, values: dict[str, Value]) -> Pair:
        """Return the pair after one more step."""
        after = step.apply(self.after, values)
        if not step.both:
            return Pair(self.before, after)
        return Pair(after if self.before is self.after else step.apply(self.before, values), after)


def run_pair(image: Image, settings: Mapping[str, object]) -> Pair:
    """Apply settings to an image and return it before and after.

    Parameters
    ----------
    image
        An image of `xray_core.image`; it is not changed.
    settings
        Any part of the settings; the rest is at its defaults.

    Raises
    ------
    ImageError, SettingsError
        If the image or a setting breaks its contract.
    """
    start = checked(image)
    pair = Pair(start, start)
    for step, values in active(check(settings)):
        pair = pair.through(step, values)
    return pair


def run(image: Image, settings: Mapping[str, object]) -> Image:
    """Apply settings to an image; see `run_pair`. The result is gray, of the image's dtype, and read-only."""
    return run_pair(image, settings).after


def scale(size: tuple[int, int], settings: Mapping[str, object]) -> tuple[float, float]:
    """Return how many pixels a distance of one pixel becomes, across and down.

    Parameters
    ----------
    size
        Width and height of the film.
    settings
        Any part of the settings; the rest is at its defaults.
    """
    # A picture without memory of its own: only its shape goes through the steps that come before.
    image: Image = np.broadcast_to(np.uint8(0), size[::-1])
    for step, values in active(check(settings)):
        if step.name == "resize":
            return magnification(image.shape[1], image.shape[0], size=values["size"], fit=values["fit"])  # type: ignore[arg-type]
        if step.both:
            image = step.apply(image, values)
    return 1.0, 1.0


def moved(settings: Mapping[str, object]) -> bool:
    """Whether settings put pixels elsewhere: any geometric step is on."""
    return any(step.both and step.switchable for step, _ in active(check(settings)))


def summary(settings: Mapping[str, object]) -> str:
    """Return the steps that are on and their values in a line, for a person."""
    used = [(step, values) for step, values in active(check(settings))]
    return ", ".join(step.name + "".join(f" {name}={value}" for name, value in values.items()) for step, values in used)


class Staged:
    """One film with its intermediate results: a changed setting repeats only the steps from there on.

    Gives the same bytes as `run_pair`, always. Holds one intermediate image for each step that is on. Not safe for use
    by several threads at once.

    Parameters
    ----------
    image
        An image of `xray_core.image`.
    """

    def __init__(self, image: Image) -> None:
        self.image = checked(image)
        self._done: list[tuple[tuple[object, ...], Pair]] = []

    def run_pair(self, settings: Mapping[str, object]) -> Pair:
        """Return the film before and after; as `xray_core.pipeline.run_pair`."""
        wanted = list(active(check(settings)))
        keys = [(step.name, *values.items()) for step, values in wanted]
        kept = 0
        while kept < min(len(keys), len(self._done)) and self._done[kept][0] == keys[kept]:
            kept += 1
        del self._done[kept:]
        pair = self._done[-1][1] if self._done else Pair(self.image, self.image)
        for key, (step, values) in zip(keys[kept:], wanted[kept:], strict=True):
            pair = pair.through(step, values)
            self._done.append((key, pair))
        return pair

    @property
    def nbytes(self) -> int:
        """Bytes of memory held, the film's own left out."""
        held = {id(image): image.nbytes for _, pair in self._done for image in (pair.before, pair.after)}
        held.pop(id(self.image), None)
        return sum(held.values())

    def forget(self) -> None:
        """Let go of the intermediate results; the next run computes them anew."""
        self._done = []

    def run(self, settings: Mapping[str, object]) -> Image:
        """Return the film after; as `xray_core.pipeline.run`."""
        return self.run_pair(settings).after
