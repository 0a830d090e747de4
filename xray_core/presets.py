"""Presets: settings with a name, targets and where they come from, as a JSON file that a batch applies exactly.

A preset is refused as a whole when anything in it is unknown, of the wrong type or out of range; the message names the
key. Saving what was loaded gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from xray_core import __version__
from xray_core.decode import decode
from xray_core.errors import PresetError, SettingsError
from xray_core.image import Film
from xray_core.metrics import DEFAULT_TARGETS, Targets, check_targets
from xray_core.names import printable
from xray_core.params import Value
from xray_core.pipeline import Settings, check, digest, run
from xray_core.strict_json import MOST_BYTES, parse

FORMAT = "radtune-preset"
SCHEMA_VERSION = 1
SUFFIX = ".preset.json"
_BUILTIN = Path(__file__).with_name("builtin")
_LATTICE = 16  # compared points along each side of the phantom's output
LONGEST = {"name": 200, "note": 10_000, "created": 40, "fingerprint": 2_000}
"""Most characters of a preset's texts, by key."""


@dataclass(frozen=True)
class Preset:
    """A preset that was checked.

    Attributes
    ----------
    document
        The JSON document as it was written, so that it can be written again unchanged.
    """

    document: Mapping[str, Any]

    def __post_init__(self) -> None:
        _check_document(self.document)

    @property
    def name(self) -> str:
        """Name for a person; may be empty."""
        return str(self.document.get("name", ""))

    @property
    def note(self) -> str:
        """Note for a person; may be empty."""
        return str(self.document.get("note", ""))

    @cached_property
    def settings(self) -> Settings:
        """Complete settings."""
        return check(self.document.get("settings", {}))

    @cached_property
    def targets(self) -> Targets:
        """Targets by metric; the usual ones where the preset names none."""
        return check_targets(self.document.get("targets", DEFAULT_TARGETS))

    @property
    def tuned_size(self) -> tuple[int, int] | None:
        """Width and height of the film it was tuned on, where recorded."""
        size = (self.document.get("tuned_on") or {}).get("size")
        return (size[0], size[1]) if size else None

    def other_size(self, size: tuple[int, int]) -> bool:
        """Whether a film's width and height differ so much from those tuned on that it will look different.

        Filters count in pixels. A step that resizes evens the difference out.
        """
        if self.tuned_size is None or self.settings["resize.on"]:
            return False
        return not 2 / 3 <= max(size) / max(self.tuned_size) <= 1.5

    @cached_property
    def digest(self) -> str:
        """Digest of what the settings do; see `xray_core.pipeline.digest`."""
        return digest(self.settings)

    def dumps(self) -> str:
        """Return the file's text."""
        return json.dumps(self.document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def file_name(name: str) -> str:
    """Return a safe file name made of a preset's name."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60]
    return (stem or "radtune") + SUFFIX


def create(
    settings: Mapping[str, object],
    *,
    name: str = "",
    note: str = "",
    targets: Mapping[str, tuple[float, float]] | None = None,
    tuned_on: Film | None = None,
    created: datetime | None = None,
) -> Preset:
    """Make a preset of settings.

    Parameters
    ----------
    settings
        Any part of the settings; the preset records all of them.
    name, note
        For a person.
    targets
        Lowest and highest value wanted, by metric; the usual ones if None.
    tuned_on
        The film it was tuned on: only its size and digest are recorded.
    created
        Time of making, with a zone; now if None.
    """
    complete = check(settings)
    moment = (created or datetime.now(UTC)).astimezone(UTC)
    film = {"size": list(tuned_on.size), "images": [tuned_on.sha256]} if tuned_on else None
    return Preset(
        {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "name": name,
            "note": note,
            "created": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "settings": complete,
            "targets": {
                metric: list(band) for metric, band in (DEFAULT_TARGETS if targets is None else targets).items()
            },
            "adapt": None,
            "tuned_on": film,
            "made_with": made_with(),
            "fingerprint": fingerprint(complete),
        }
    )


def changed_name(name: str) -> str:
    """Return the name that a preset goes by once its settings were changed."""
    mark = " changed"
    return name[: LONGEST["name"] - len(mark)] + mark if name else ""


def with_settings(preset: Preset, settings: Mapping[str, object]) -> Preset:
    """Return a preset with other settings, made now, and the rest kept; its name says that it was changed."""
    made = create(settings, name=changed_name(preset.name), note=preset.note, targets=preset.targets)
    return Preset({**made.document, "tuned_on": preset.document.get("tuned_on")})


def made_with() -> dict[str, str]:
    """Return the versions that can alter pixels or metrics."""
    return {
        "radtune": __version__,
        "opencv": cv2.__version__,
        "numpy": np.__version__,
        "scikit-image": _version_of("scikit-image"),
    }


@cache
def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def loads(text: str | bytes) -> Preset:
    """Read a preset from a file's content.

    Raises
    ------
    PresetError
        One line that names the key and, where there is one, the range.
    """
    return Preset(parse(text))


def load(name: str) -> Preset:
    """Read a preset from a file, or take a built-in one by its name.

    Raises
    ------
    PresetError
        If there is none, or it is refused.
    """
    if name in builtin_names():
        return builtin(name)
    path = Path(name)
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError):
        known = ", ".join(builtin_names())
        raise PresetError(f"{name}: no preset file that can be read, and no built-in preset ({known})") from None
    try:
        return loads(content)
    except SettingsError as error:
        raise PresetError(f"{name}: {error}") from None


@cache
def builtin_names() -> tuple[str, ...]:
    """Return the names of the built-in presets."""
    return tuple(sorted(path.name.removesuffix(SUFFIX) for path in _BUILTIN.glob("*" + SUFFIX)))


@cache
def builtin(name: str) -> Preset:
    """Return a built-in preset."""
    return loads((_BUILTIN / (name + SUFFIX)).read_bytes())


def _check_document(document: Mapping[str, Any]) -> None:
    if document.get("format") != FORMAT:
        raise PresetError(f"format is {FORMAT!r}, got {document.get('format')!r:.60}: this is no preset of RadTune")
    schema = document.get("schema_version")
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise PresetError(f"schema_version is a whole number in [1, {SCHEMA_VERSION}], got {schema!r:.60}")
    if schema > SCHEMA_VERSION:
        raise PresetError(f"schema_version lies in [1, {SCHEMA_VERSION}], got {schema}: made by a newer RadTune")
    known = {"format", "schema_version", "settings", "targets", "adapt", "tuned_on", "made_with", *LONGEST}
    for key in document:
        if key not in known:
            raise PresetError(f"{key[:80]!r} is no key of a preset; known are {', '.join(sorted(known))}")
    for key, longest in LONGEST.items():
        text = document.get(key, "")
        if not isinstance(text, str) or len(text) > longest:
            raise PresetError(f"{key} is a text of at most {longest} characters")
    if document.get("adapt") is not None:
        raise PresetError("adapt is null: this version has no rules for single images")
    if not isinstance(document.get("settings", {}), dict):
        raise PresetError("settings map dotted paths to values")
    try:
        check(document.get("settings", {}))
        check_targets(document.get("targets", {}))
    except SettingsError as error:
        raise PresetError(str(error)) from None
    made = document.get("made_with", {})
    if not isinstance(made, dict) or not all(isinstance(text, str) and len(text) <= 40 for text in made.values()):
        raise PresetError("made_with maps names of programs to versions of at most 40 characters")
    _check_tuned_on(document.get("tuned_on"))
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise PresetError("a text holds half a character (an unpaired surrogate), which no file can hold") from None


def _check_tuned_on(tuned_on: object) -> None:
    if tuned_on is None:
        return
    if not isinstance(tuned_on, dict) or not set(tuned_on) <= {"size", "images"}:
        raise PresetError("tuned_on is null, or has the keys size and images")
    size, images = tuned_on.get("size", [1, 1]), tuned_on.get("images", [])
    whole = isinstance(size, list) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)
    if not whole:
        raise PresetError(f"tuned_on.size is [width, height] in pixels, got {size!r:.60}")
    # Nothing but digests may stand here: a name could identify a person.
    if not isinstance(images, list) or not all(re.fullmatch("[0-9a-f]{64}", str(text)) for text in images):
        raise PresetError("tuned_on.images are sha256 digests")


def diff(one: Preset, other: Preset) -> dict[str, tuple[Value, Value]]:
    """Return the settings that differ, with the value in each preset."""
    return {path: (a, other.settings[path]) for path, a in one.settings.items() if a != other.settings[path]}


def as_code(preset: Preset) -> str:
    """Return a Python program that applies the preset to one file."""
    settings = "\n".join(f"    {path!r}: {value!r}," for path, value in preset.settings.items())
    # A name may hold anything, even what Python takes for a declared encoding in the first two lines.
    title = printable(preset.name, " ").strip() or "RadTune preset"
    return (
        "import sys\n\nfrom xray_core.files import read, write\nfrom xray_core.pipeline import run\n\n"
        f"# {title}, made with RadTune {__version__}; research use, not for diagnosis\n"
        f"SETTINGS = {{\n{settings}\n}}\n\n"
        "write(sys.argv[2], run(read(sys.argv[1]).pixels, SETTINGS))\n"
    )


def _phantom_points(settings: Mapping[str, object]) -> tuple[str, NDArray[np.uint8]]:
    path = _BUILTIN / "phantom.png"
    out = run(decode(path.read_bytes(), path.name).pixels, settings)
    rows, columns = (((np.arange(_LATTICE) + 0.5) * side / _LATTICE).astype(int) for side in out.shape)
    return hashlib.sha256(out.tobytes()).hexdigest(), out[np.ix_(rows, columns)].ravel()


def fingerprint(settings: Mapping[str, object]) -> str:
    """Return what settings make of our phantom: a sha256, then 256 of its grey levels in base64."""
    whole, points = _phantom_points(settings)
    return f"{whole}:{base64.b64encode(points.tobytes()).decode()}"


def check_fingerprint(preset: Preset) -> str:
    """Say whether this machine computes what the preset's maker saw.

    Returns
    -------
    words
        ``same``, ``not recorded``, or how far the output for our phantom is off, with both versions of OpenCV.
    """
    recorded = str(preset.document.get("fingerprint", ""))
    if not recorded:
        return "not recorded"
    whole, points = _phantom_points(preset.settings)
    was_whole, _, text = recorded.partition(":")
    if was_whole == whole:
        return "same"
    was = preset.document.get("made_with", {}).get("opencv", "unknown")
    versions = f"(OpenCV {was} -> {cv2.__version__})"
    if was == cv2.__version__:
        versions = f"(OpenCV {was} both times: the settings may have been edited since)"
    try:
        was_points = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    except ValueError:  # no base64, or no ASCII
        was_points = np.empty(0, np.uint8)
    if was_points.shape != points.shape:
        return f"differs {versions}"
    most = int(np.abs(points.astype(int) - was_points).max())
    return f"differs by at most {most} grey levels at {points.size} points compared {versions}"
