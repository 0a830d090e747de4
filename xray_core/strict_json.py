"""JSON as presets are read: one object, bounded, no key twice, no number that JSON does not know."""

from __future__ import annotations

import json
import math
from typing import Any

from xray_core.errors import PresetError

MOST_BYTES = 1_000_000
_MOST_DIGITS = 18


def parse(text: str | bytes) -> dict[str, Any]:
    """Return the object that a text holds.

    Raises
    ------
    PresetError
        In one line, for anything else.
    """
    if len(text) > MOST_BYTES:
        raise PresetError(f"a preset has at most {MOST_BYTES // 1000} kB")
    try:
        document = json.loads(
            text,
            object_pairs_hook=_without_doubles,
            parse_int=_whole,
            parse_float=_finite,
            parse_constant=_no_constant,
        )
    except json.JSONDecodeError as error:
        raise PresetError(f"not valid JSON at line {error.lineno}, column {error.colno}: {error.msg.lower()}") from None
    except UnicodeDecodeError:
        raise PresetError("not valid JSON: no UTF-8 text") from None
    except RecursionError:
        raise PresetError("not valid JSON: nested too deeply") from None
    if not isinstance(document, dict):
        raise PresetError("a preset is a JSON object")
    return document


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        seen: set[str] = set()
        double = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise PresetError(f"{double[:80]!r} stands twice")
    return document


def _no_constant(text: str) -> None:
    raise PresetError(f"{text:.20} is no value; numbers are finite")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        _no_constant(text)
    return number


def _whole(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise PresetError(f"{text[:_MOST_DIGITS]}... is no value; whole numbers have at most {_MOST_DIGITS} digits")
    return int(text)
