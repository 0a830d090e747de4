"""Settings that travel with a picture: the text that is written into it, and the preset that comes back from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from xray_core import embedding
from xray_core.decode import container_of
from xray_core.derivation import Derivation
from xray_core.dicom_choice import CHOICES, DicomChoice
from xray_core.encode import RANGES
from xray_core.errors import PresetError
from xray_core.image import Film
from xray_core.params import is_number
from xray_core.pipeline import moved, scale, summary
from xray_core.presets import Preset, made_with
from xray_core.stored import Levels
from xray_core.strict_json import parse


def ways(
    film: Film,
    choice: DicomChoice,
    levels: Levels | None = None,
    kind: str = "same",
    quality: int | None = None,
) -> dict[str, Any]:
    """Return how a film was read and written where that is not the usual way, by the names of the flags."""
    told: dict[str, Any] = {"page": film.page, "levels": levels and list(levels), "range": kind, "quality": quality}
    usual = {"page": 1, "levels": None, "range": "same", "quality": None}
    unusual = {name: value for name, value in told.items() if value != usual[name]}
    return unusual | (choice.unusual() if film.dicom else {})


def derivation(
    preset: Preset, film: Film, choice: DicomChoice, file: bytes, *, text: str = "", keep_identity: bool = False
) -> Derivation:
    """Return what an output says of its making: a film, its file's bytes, a preset, and the text of `embedded`."""
    across, down = scale(film.size, preset.settings)
    return Derivation(
        film=film,
        digest=preset.digest,
        text=text,
        summary=summary(preset.settings),
        choice=replace(choice, frame=film.page),
        scale=(down, across),
        moved=moved(preset.settings),
        file_bytes=len(file),
        source=file if film.container == "DICOM" else b"",
        keep_identity=keep_identity,
    )


def embedded(preset: Preset, ways: Mapping[str, Any] | None = None) -> str:
    """Return what travels of a preset in the pictures made with it: its digest, and all but what could name a person.

    Name and note stay behind, since a person wrote them, and so do the digests of the films it was tuned on. So does
    the time of making, that one film with the same settings gives the same bytes whenever it is written. What else the
    same picture needs is said by `ways`.
    """
    document = {key: value for key, value in preset.document.items() if key not in ("name", "note", "created")}
    if size := (document.get("tuned_on") or {}).get("size"):
        document["tuned_on"] = {"size": size}
    known = made_with()
    document["made_with"] = {key: text for key, text in document.get("made_with", {}).items() if key in known}
    carried = {"digest": preset.digest, "preset": document} | ({"with": dict(ways)} if ways else {})
    return json.dumps(carried, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _preset(carried: Mapping[str, Any]) -> Preset:
    if not isinstance(carried.get("preset"), dict):
        raise PresetError("what the picture carries is no preset")
    preset = Preset(carried["preset"])
    if carried.get("digest") != preset.digest:
        raise PresetError("the settings in the picture don't fit their digest: it was altered")
    return preset


def is_picture(data: bytes) -> bool:
    """Whether a file is a picture, rather than a preset's own text."""
    return container_of(data[:132]) is not None


def of_picture(data: bytes) -> tuple[Preset, str]:
    """Return the preset that a picture carries, and the flags that the same picture needs besides.

    Parameters
    ----------
    data
        The whole file: PNG, JPEG, TIFF, NPZ or DICOM.

    Returns
    -------
    preset, flags
        Flags as on the command line: ``--page 2 --voi none``; mostly none.

    Raises
    ------
    PresetError
        If it carries none, or one that is refused.
    """
    text = embedding.text_of(data)
    if text is None and container_of(data[:132]) == "DICOM":
        from xray_core.dicom_out import settings_of  # takes 0.2 s: only those who open DICOM wait for it

        found = settings_of(data)
        text = json.dumps(found) if found else None
    if text is None:
        raise PresetError("the file carries no settings of RadTune")
    carried = parse(text)
    return _preset(carried), _flags(carried.get("with"))


def _flags(told: object) -> str:
    """Write flags, of which the file's own words are none: names are known, and values numbers or words of ours."""
    known = {"voi": CHOICES["voi"].options, "range": RANGES}  # type: ignore[attr-defined]
    words = []
    for name in ("page", "voi", "window", "levels", "range", "quality"):
        value = told.get(name) if isinstance(told, dict) else None
        if is_number(value) or (isinstance(value, str) and value in known.get(name, ())):
            words.append(f"--{name} {value}")
        elif name == "levels" and isinstance(value, list) and len(value) == 2 and all(map(is_number, value)):
            words.append(f"--levels {value[0]:g} {value[1]:g}")
    return " ".join(words)
