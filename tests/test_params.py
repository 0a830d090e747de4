"""The three kinds of parameter: what they take, what they refuse, and in which words."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xray_core.errors import SettingsError
from xray_core.params import Choice, Parameter, Range, Switch
from xray_core.pipeline import parameters

CLIP = Range(default=1.5, low=1.0, high=8.0, step=0.1, good=(1.5, 2.0), label="Clip limit", help="A number.")
D = Range(default=5, low=3, high=15, step=2, unit="px", label="Neighbourhood", help="A whole number.")
GAIN = Choice(default="unit", options={"unit": "Unit", "published": "As published"}, label="Gain", help="A choice.")
ON = Switch(default=False, label="On", help="A switch.")
ALWAYS = Switch(default=True, fixed=True, label="On", help="A fixed switch.")

DECLARED = list(parameters().items())


def refusal(parameter: Parameter, path: str, value: object) -> str:
    with pytest.raises(SettingsError) as caught:
        parameter.check(path, value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("parameter", "value", "canonical"),
    [
        (CLIP, 1.0, 1.0),
        (CLIP, 8.0, 8.0),
        (CLIP, 2, 2.0),
        (CLIP, 1.2345, 1.2345),  # between two stops of the slider
        (D, 3, 3),
        (D, 15, 15),
        (D, 4, 4),
        (D, 7.0, 7),  # JSON written elsewhere may say 7.0
        (GAIN, "published", "published"),
        (ON, True, True),
        (ON, False, False),
        (ALWAYS, True, True),
    ],
)
def test_check_returns_the_canonical_value_and_type(parameter: Parameter, value: object, canonical: object) -> None:
    checked = parameter.check("step.name", value)
    assert checked == canonical
    assert type(checked) is type(canonical)


@pytest.mark.parametrize(
    ("parameter", "path", "value", "message"),
    [
        (CLIP, "clahe.clip_limit", 30, "clahe.clip_limit lies in [1, 8], got 30"),
        (CLIP, "clahe.clip_limit", 0.99, "clahe.clip_limit lies in [1, 8], got 0.99"),
        (CLIP, "clahe.clip_limit", "much", 'clahe.clip_limit takes a number in [1, 8], got "much"'),
        (CLIP, "clahe.clip_limit", "2.0", 'clahe.clip_limit takes a number in [1, 8], got "2.0"'),
        (CLIP, "clahe.clip_limit", True, "clahe.clip_limit takes a number in [1, 8], got true"),
        (CLIP, "clahe.clip_limit", None, "clahe.clip_limit takes a number in [1, 8], got null"),
        (CLIP, "clahe.clip_limit", [2.0], "clahe.clip_limit takes a number in [1, 8], got [2.0]"),
        (CLIP, "clahe.clip_limit", {"v": 2}, 'clahe.clip_limit takes a number in [1, 8], got {"v": 2}'),
        (CLIP, "clahe.clip_limit", math.nan, "clahe.clip_limit takes a number in [1, 8], got NaN"),
        (CLIP, "clahe.clip_limit", math.inf, "clahe.clip_limit takes a number in [1, 8], got Infinity"),
        (CLIP, "clahe.clip_limit", -math.inf, "clahe.clip_limit takes a number in [1, 8], got -Infinity"),
        (D, "bilateral.d", 17, "bilateral.d lies in [3, 15], got 17"),
        (D, "bilateral.d", 5.5, "bilateral.d takes a whole number in [3, 15], got 5.5"),
        (D, "bilateral.d", False, "bilateral.d takes a whole number in [3, 15], got false"),
        (D, "bilateral.d", math.nan, "bilateral.d takes a whole number in [3, 15], got NaN"),
        (D, "bilateral.d", math.inf, "bilateral.d takes a whole number in [3, 15], got Infinity"),
        (GAIN, "sharpen.gain", "loud", 'sharpen.gain is one of unit, published, got "loud"'),
        (GAIN, "sharpen.gain", "Unit", 'sharpen.gain is one of unit, published, got "Unit"'),
        (GAIN, "sharpen.gain", 1, "sharpen.gain is one of unit, published, got 1"),
        (GAIN, "sharpen.gain", None, "sharpen.gain is one of unit, published, got null"),
        (GAIN, "sharpen.gain", ["unit"], 'sharpen.gain is one of unit, published, got ["unit"]'),
        (ON, "clahe.on", 1, "clahe.on is true or false, got 1"),
        (ON, "clahe.on", "true", 'clahe.on is true or false, got "true"'),
        (ON, "clahe.on", None, "clahe.on is true or false, got null"),
        (ALWAYS, "grayscale.on", False, "grayscale.on is always true, got false"),
    ],
)
def test_check_refuses_in_exact_words(parameter: Parameter, path: str, value: object, message: str) -> None:
    assert refusal(parameter, path, value) == message


@pytest.mark.parametrize("parameter", [CLIP, D], ids=["number", "whole"])
def test_an_integer_beyond_any_float_is_refused(parameter: Parameter) -> None:
    # JSON allows it, so a preset may hold it.
    assert refusal(parameter, "step.name", 10**400).startswith("step.name ")


@pytest.mark.parametrize("value", [8.000001, 8 + 1e-9, 0.9999999])
def test_a_value_just_outside_is_not_shown_as_one_inside(value: float) -> None:
    shown = refusal(CLIP, "clahe.clip_limit", value).removeprefix("clahe.clip_limit lies in [1, 8], got ")
    assert not CLIP.low <= float(shown) <= CLIP.high


def test_a_refusal_shows_a_long_value_cut_short() -> None:
    message = refusal(GAIN, "sharpen.gain", "x" * 10_000)
    assert message.endswith("xxx...")
    assert len(message) < 120


@pytest.mark.parametrize(
    ("parameter", "text", "value"),
    [
        (CLIP, "2", 2.0),
        (CLIP, "1.75", 1.75),
        (CLIP, "2e0", 2.0),
        (D, "7", 7),
        (D, "7.0", 7),
        (GAIN, "published", "published"),
        (ON, "true", True),
        (ON, "ON", True),
        (ON, "yes", True),
        (ON, "1", True),
        (ON, "False", False),
        (ON, "off", False),
        (ON, "no", False),
        (ON, "0", False),
    ],
)
def test_parse_reads_the_command_line(parameter: Parameter, text: str, value: object) -> None:
    parsed = parameter.parse("step.name", text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("parameter", "text", "message"),
    [
        (CLIP, "", 'clahe.clip_limit takes a number in [1, 8], got ""'),
        (CLIP, "nan", "clahe.clip_limit takes a number in [1, 8], got NaN"),
        (CLIP, "1e999", "clahe.clip_limit takes a number in [1, 8], got Infinity"),
        (CLIP, "30", "clahe.clip_limit lies in [1, 8], got 30"),
        (CLIP, "two", 'clahe.clip_limit takes a number in [1, 8], got "two"'),
        (D, "5.5", "clahe.clip_limit takes a whole number in [3, 15], got 5.5"),
        (GAIN, "", 'clahe.clip_limit is one of unit, published, got ""'),
        (ON, "maybe", 'clahe.clip_limit is true or false, got "maybe"'),
        (ALWAYS, "off", "clahe.clip_limit is always true, got false"),
    ],
)
def test_parse_refuses_in_exact_words(parameter: Parameter, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=f"^{re.escape(message)}$"):
        parameter.parse("clahe.clip_limit", text)


def test_ends_are_what_differs_most() -> None:
    assert CLIP.ends() == (1.0, 8.0)
    assert D.ends() == (3, 15)
    assert GAIN.ends() == ("unit", "published")
    assert ON.ends() == (False, True)
    assert ALWAYS.ends() == (True,)


def test_good_text_is_empty_where_nothing_is_recommended() -> None:
    assert CLIP.good_text() == "1.5 to 2"
    assert [parameter.good_text() for parameter in (D, GAIN, ON)] == ["", "", ""]


def test_a_default_outside_its_own_range_is_refused_at_declaration() -> None:
    with pytest.raises(TypeError, match=r"Clip: the default 9 lies outside \[1, 8\]"):
        Range(default=9, low=1, high=8, step=1, label="Clip", help="A number.")
    with pytest.raises(TypeError, match="Gain: the default loud is none of its options"):
        Choice(default="loud", options={"unit": "Unit"}, label="Gain", help="A choice.")


@pytest.mark.parametrize(("path", "parameter"), DECLARED)
def test_every_declared_default_and_end_passes_its_own_check(path: str, parameter: Parameter) -> None:
    for value in (parameter.default, *parameter.ends()):
        checked = parameter.check(path, value)
        assert checked == value
        assert type(checked) is type(parameter.default)
        assert parameter.parse(path, str(checked)) == checked


@st.composite
def _ranges(draw: st.DrawFn) -> Range:
    number: Any = st.integers(-(10**6), 10**6) if draw(st.booleans()) else st.floats(-1e6, 1e6)
    low, default, high = sorted(draw(st.tuples(number, number, number)))
    return Range(default=default, low=low, high=high, step=1, label="Any", help="A number.")


@given(_ranges(), st.data())
def test_any_range_takes_all_between_its_ends_and_reads_back_what_it_prints(some: Range, data: st.DataObject) -> None:
    assert [some.check("a.b", end) for end in some.ends()] == [some.low, some.high]
    inside = st.integers if some.whole else st.floats
    value = some.check("a.b", data.draw(inside(some.low, some.high)))
    assert some.parse("a.b", str(value)) == value
    for outside in (math.floor(some.low) - 1, math.ceil(some.high) + 1):
        assert refusal(some, "a.b", outside) == f"a.b lies in {some.range_text()}, got {outside}"


@given(st.one_of(st.none(), st.booleans(), st.text(), st.lists(st.integers()), st.dictionaries(st.text(), st.none())))
def test_no_range_takes_what_is_no_number(value: object) -> None:
    for parameter in (CLIP, D):
        assert refusal(parameter, "a.b", value).startswith("a.b takes a ")
