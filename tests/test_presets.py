"""Presets: what they record, that they come back byte for byte, and every refusal in one line that names the key."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xray_core import __version__, presets
from xray_core.errors import PresetError, SettingsError
from xray_core.files import read, write
from xray_core.image import Film, Image
from xray_core.metrics import DEFAULT_TARGETS
from xray_core.params import Choice, Range, Value
from xray_core.pipeline import Settings, check, defaults, digest, parameters, run
from xray_core.presets import (
    Preset,
    as_code,
    builtin,
    builtin_names,
    check_fingerprint,
    create,
    diff,
    file_name,
    load,
    loads,
)

# isort: split
import cv2

Textured = Callable[..., Image]

ROOT = Path(__file__).parents[1]
MOMENT = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
PUBLISHED: Settings = {
    "bilateral.d": 5,
    "bilateral.sigma": 50.0,
    "clahe.clip_limit": 1.5,
    "clahe.tiles": 8,
    "sharpen.sharpness": 3.0,
    "sharpen.gain": "published",
    "normalize.method": "minmax",
    "resize.size": 224,
    "resize.fit": "stretch",
    "resize.interpolation": "linear",
    "grayscale.method": "luminance",
}
PUBLISHED_STEPS = {"resize", "grayscale", "bilateral", "clahe", "sharpen", "normalize"}


def document(**changes: Any) -> dict[str, Any]:
    return {"format": "radtune-preset", "schema_version": 1, **changes}


def text(**changes: Any) -> str:
    return json.dumps(document(**changes))


def refusal(content: str | bytes) -> str:
    with pytest.raises(PresetError) as caught:
        loads(content)
    words = str(caught.value)
    assert "\n" not in words
    assert "\r" not in words
    assert 10 < len(words) < 400
    return words


def values() -> st.SearchStrategy[Settings]:
    """Any settings that the declarations allow."""

    def of(parameter: Any) -> st.SearchStrategy[Value]:
        if isinstance(parameter, Range) and parameter.whole:
            return st.integers(int(parameter.low), int(parameter.high))
        if isinstance(parameter, Range):
            return st.floats(parameter.low, parameter.high)
        return st.sampled_from(tuple(parameter.options) if isinstance(parameter, Choice) else parameter.ends())

    return st.fixed_dictionaries({}, optional={path: of(parameter) for path, parameter in parameters().items()})


# --- Built in ---------------------------------------------------------------------------------------------------------


def test_the_built_in_presets_are_whole_and_compute_the_same_here() -> None:
    assert {"standard", "published", "classifier-224"} <= set(builtin_names())
    for name in builtin_names():
        preset = builtin(name)
        assert preset.name == name
        assert preset.note
        assert set(preset.document["settings"]) <= set(parameters())
        assert preset.targets == DEFAULT_TARGETS
        assert check_fingerprint(preset) == "same"
        assert load(name) is preset


def test_published_is_what_was_published() -> None:
    chosen = builtin("published").settings
    assert {path: chosen[path] for path in PUBLISHED} == PUBLISHED
    assert {path.removesuffix(".on") for path, value in chosen.items() if path.endswith(".on") and value} == (
        PUBLISHED_STEPS
    )
    # Whatever it doesn't need stands at its default, so that nothing else can differ.
    rest = {path: value for path, value in chosen.items() if path not in PUBLISHED and path != "resize.on"}
    assert rest == {path: defaults()[path] for path in rest}


def test_the_other_built_in_presets_are_what_they_say() -> None:
    assert builtin("standard").settings == defaults()
    small = builtin("classifier-224").settings
    assert {"resize.on": True, "resize.size": 224, "resize.fit": "pad", "resize.interpolation": "area"}.items() <= (
        small.items()
    )
    assert small["sharpen.gain"] == "unit"


@pytest.mark.parametrize("name", builtin_names())
def test_built_in_files_come_back_byte_for_byte(name: str) -> None:
    path = ROOT / "xray_core" / "builtin" / f"{name}.preset.json"
    assert load(str(path)).dumps().encode() == path.read_bytes()


# --- Made and read back -----------------------------------------------------------------------------------------------


def test_a_preset_records_where_it_comes_from_and_nobody(textured: Textured) -> None:
    film = Film(textured(30, 40), "Mrs Smith 1950-01-01.png", 8, "ab" * 32, "PNG", "MONOCHROME2")
    moment = datetime(2026, 11, 20, 12, 0, tzinfo=timezone(timedelta(hours=2)))
    preset = create({"clahe.clip_limit": 2}, name="mine", note="n", tuned_on=film, created=moment)
    made = preset.document
    assert made["created"] == "2026-11-20T10:00:00Z"
    assert made["tuned_on"] == {"size": [40, 30], "images": ["ab" * 32]}
    assert preset.tuned_size == (40, 30)
    assert made["made_with"]["opencv"] == cv2.__version__
    assert made["made_with"]["radtune"] == __version__
    assert made["settings"] == defaults() | {"clahe.clip_limit": 2.0}
    assert "Smith" not in preset.dumps()
    assert check_fingerprint(preset) == "same"


def test_missing_keys_take_their_defaults() -> None:
    preset = loads(text())
    assert preset.settings == defaults()
    assert preset.targets == DEFAULT_TARGETS
    assert preset.tuned_size is None
    assert check_fingerprint(preset) == "not recorded"
    partial = loads(text(settings={"sharpen.sharpness": 4}, targets={"ssim": [0.5, 1]}))
    assert partial.settings == defaults() | {"sharpen.sharpness": 4.0}
    assert partial.targets == {"ssim": (0.5, 1.0)}


def test_what_was_saved_is_saved_again_byte_for_byte() -> None:
    preset = create(
        {"gamma.on": True, "gamma.gamma": 0.1 + 0.2}, name='"Röntgen" 胸部 \\ \u2028', note="a\nb\t", created=MOMENT
    )
    once = preset.dumps()
    assert loads(once).dumps() == once
    assert loads(once.encode()).dumps() == once
    assert list(json.loads(once)) == sorted(json.loads(once))
    assert once.endswith("}\n")


@settings(max_examples=60)
@given(values(), st.text(max_size=200).filter(lambda name: name.isprintable()))
def test_any_allowed_settings_survive(chosen: Settings, name: str) -> None:
    with pytest.MonkeyPatch.context() as quick:
        quick.setattr(presets, "fingerprint", lambda settings: "")  # tested above, and it runs the pipeline
        preset = create(chosen, name=name, created=MOMENT)
    again = loads(preset.dumps())
    assert again.settings == preset.settings == check(chosen)
    assert again.name == name
    assert again.digest == preset.digest == digest(chosen)
    assert again.dumps() == preset.dumps()
    for path, value in again.settings.items():
        assert type(value) is type(defaults()[path])


def test_diff_names_what_differs() -> None:
    one = create({"clahe.clip_limit": 2.0}, created=MOMENT)
    other = create({"clahe.clip_limit": 3.0, "gamma.on": True}, name="other", created=MOMENT)
    assert diff(one, other) == {"clahe.clip_limit": (2.0, 3.0), "gamma.on": (False, True)}
    assert diff(one, one) == {}
    assert set(diff(builtin("standard"), builtin("published"))) == {
        "resize.on",
        "resize.fit",
        "resize.interpolation",
        "sharpen.gain",
    }


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("my preset", "my-preset"),
        ("", "radtune"),
        ("../../etc/passwd", "etc-passwd"),
        ("..", "radtune"),
        ("C:\\con|aux?*", "C-con-aux"),
        ("-rf", "rf"),
        (".hidden", "hidden"),
        ("a\nb\0c", "a-b-c"),
        ("<script>", "script"),
        ("胸部", "radtune"),
        ("x" * 200, "x" * 60),
    ],
)
def test_file_names_are_safe(name: str, stem: str) -> None:
    assert file_name(name) == f"{stem}.preset.json"


@given(st.text(max_size=200).filter(lambda name: not any("\ud800" <= letter <= "\udfff" for letter in name)))
def test_file_names_are_safe_whatever_the_name(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,59}\.preset\.json", file_name(name))


# --- Refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "line 1, column 1"),
        ("{", "line 1, column 2"),
        ('{\n  "format": "radtune-preset",\n  "name" "x"\n}', "line 3, column 10"),
        ("[]", "JSON object"),
        ("3", "JSON object"),
        ("null", "JSON object"),
        ("{}", "format is 'radtune-preset', got None"),
        (json.dumps({"format": "other", "schema_version": 1}), "got 'other'"),
        (json.dumps({"format": ["x" * 500]}), "format is 'radtune-preset'"),
        (json.dumps({"format": "radtune-preset"}), r"schema_version is a whole number in \[1, 1\], got None"),
        (text(schema_version=2), r"schema_version lies in \[1, 1\], got 2: made by a newer"),
        (text(schema_version=0), r"schema_version .* \[1, 1\], got 0"),
        (text(schema_version=-1), "got -1"),
        (text(schema_version=True), "got True"),
        (text(schema_version=1.0), "got 1.0"),
        (text(schema_version="1"), "got '1'"),
        (text(colour=1), "'colour' is no key of a preset; known are adapt, created"),
        (text(**{"x\n" * 100: 1}), "is no key of a preset"),
        (text(settings=[]), "settings map"),
        (text(settings=None), "settings map"),
        (text(settings={"clahe.cliplimit": 2}), "'clahe.cliplimit' is no setting; did you mean clahe.clip_limit"),
        (text(settings={"clip\nlimit" * 50: 2}), "is no setting; known steps are crop"),
        (text(settings={"clahe.clip_limit": 30}), r"clahe.clip_limit lies in \[1, 8\], got 30"),
        (text(settings={"clahe.clip_limit": "2"}), r'clahe.clip_limit takes a number in \[1, 8\], got "2"'),
        (text(settings={"clahe.clip_limit": True}), r"clahe.clip_limit takes a number in \[1, 8\], got true"),
        (text(settings={"clahe.clip_limit": None}), r"clahe.clip_limit takes a number in \[1, 8\], got null"),
        (text(settings={"clahe.clip_limit": [1] * 500}), r"clahe.clip_limit takes a number"),
        (text(settings={"bilateral.d": 5.5}), r"bilateral.d takes a whole number in \[3, 15\], got 5.5"),
        (text(settings={"clahe.on": 1}), "clahe.on is true or false, got 1"),
        (text(settings={"grayscale.on": False}), "grayscale.on is always true, got false"),
        (text(settings={"sharpen.gain": "much"}), 'sharpen.gain is one of unit, published, got "much"'),
        (text(targets=None), "targets map"),
        (text(targets={"beauty": [0, 1]}), "targets.beauty is no metric; known are ssim"),
        (text(targets={"ssim": [0.9, 0.8]}), r"targets.ssim is \[lowest, highest\] within \[-1, 1\]"),
        (text(targets={"ssim": [0, 2]}), "targets.ssim"),
        (text(targets={"ssim": 1}), "targets.ssim"),
        (text(targets={"brightness": [True, 100]}), "targets.brightness"),
        (text(name=3), "name is a text of at most 200"),
        (text(name="x" * 201), "name is a text of at most 200"),
        (text(note=None), "note is a text"),
        (text(fingerprint="x" * 2001), "fingerprint is a text of at most 2000"),
        (text(adapt={"gamma": 1}), "adapt is null"),
        (text(made_with=None), "made_with"),
        (text(made_with={"opencv": 5}), "made_with"),
        (text(made_with={"opencv": "x" * 1000}), "made_with .* 40"),
        (text(tuned_on=[]), "tuned_on is null, or"),
        (text(tuned_on={"patient": "Mrs Smith"}), "tuned_on is null, or has the keys size and images"),
        (text(tuned_on={"size": [0, 1]}), "tuned_on.size is .* got .0, 1."),
        (text(tuned_on={"size": [True, 1]}), "tuned_on.size"),
        (text(tuned_on={"size": [1.5, 1]}), "tuned_on.size"),
        (text(tuned_on={"size": [1]}), "tuned_on.size"),
        (text(tuned_on={"images": "ab" * 32}), "tuned_on.images are sha256"),
        (text(tuned_on={"images": ["Mrs Smith 1950-01-01.png"]}), "tuned_on.images are sha256"),
        (text(tuned_on={"images": ["AB" * 32]}), "tuned_on.images"),
        (text(tuned_on={"images": ["ab" * 32 + "\n"]}), "tuned_on.images"),
        (text()[:-1] + ', "name": "a", "name": "b"}', "'name' stands twice"),
        (text()[:-1] + ', "settings": {"clahe.on": true, "clahe.on": false}}', "'clahe.on' stands twice"),
        (text()[:-1] + ', "settings": {"gamma.gamma": NaN}}', "NaN is no value; numbers are finite"),
        (text()[:-1] + ', "settings": {"gamma.gamma": -Infinity}}', "-Infinity is no value"),
        (text()[:-1] + ', "settings": {"gamma.gamma": 1e999}}', "1e999 is no value; numbers are finite"),
        (text()[:-1] + ', "targets": {"psnr": [0, 1e999]}}', "1e999 is no value"),
        (text()[:-1] + ', "settings": {"gamma.gamma": 1' + "0" * 400 + "}}", "whole numbers have at most 18 digits"),
        (text()[:-1] + ', "settings": {"gamma.gamma": 1' + "0" * 9000 + "}}", "whole numbers have at most 18 digits"),
        (text(name="\ud800"), "surrogate"),
        (text(made_with={"\udfff": "1"}), "surrogate"),
        ("[" * 100_000, "not valid JSON"),
        (b"\xff\xfe\xfa", "not valid JSON"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not valid JSON"),
        (" " * 1_000_001, "at most 1000 kB"),
    ],
)  # fmt: skip
def test_refusals_name_the_key_and_the_range(content: str | bytes, said: str) -> None:
    assert re.search(said, refusal(content))


def test_what_identifies_a_person_is_not_repeated() -> None:
    assert "Smith" not in refusal(text(tuned_on={"images": ["Mrs Smith 1950-01-01.png"]}))
    assert "Smith" not in refusal(text(tuned_on={"Mrs Smith": 1}))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(sorted(builtin("standard").document)) | st.text(), inner)
        ),
    )
)
def test_any_json_is_a_preset_or_refused(value: object) -> None:
    content = json.dumps(value)
    for made in (content, json.dumps(document() | value) if isinstance(value, dict) else content):
        try:
            preset = loads(made)
        except PresetError:
            continue
        assert loads(preset.dumps()).settings == preset.settings


def test_load_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.preset.json"
    path.write_text(text(settings={"clahe.tiles": 99}))
    with pytest.raises(PresetError, match=r"mine\.preset\.json: clahe\.tiles lies in \[1, 32\], got 99"):
        load(str(path))
    path.write_text("x" * 1_000_001)
    with pytest.raises(PresetError, match="at most 1000 kB"):
        load(str(path))
    for name in ("nothing", str(tmp_path), "", "a\0b", "x" * 300):
        with pytest.raises(PresetError, match=r"no built-in preset .*standard"):
            load(name)


def test_a_built_in_name_is_not_taken_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("published").write_text("no preset")
    assert load("published") is builtin("published")


def test_create_refuses_what_load_would() -> None:
    with pytest.raises(SettingsError, match=r"clahe\.clip_limit lies in \[1, 8\], got 30"):
        create({"clahe.clip_limit": 30})
    with pytest.raises(PresetError, match="name is a text"):
        create({}, name="x" * 201)
    with pytest.raises(PresetError, match="surrogate"):
        create({}, name="\ud800")


# --- Fingerprint ------------------------------------------------------------------------------------------------------


def with_fingerprint(fingerprint: str, opencv: str = "4.9.0") -> Preset:
    made = json.loads(builtin("standard").dumps()) | {"fingerprint": fingerprint}
    made["made_with"]["opencv"] = opencv
    return loads(json.dumps(made))


def test_another_machine_is_described_with_both_versions() -> None:
    recorded = builtin("standard").document["fingerprint"]
    versions = re.escape(f"(OpenCV 4.9.0 -> {cv2.__version__})")
    whole, _, points = recorded.partition(":")
    assert check_fingerprint(with_fingerprint(recorded)) == "same"
    other = "0" * 64
    assert re.fullmatch(
        rf"differs by at most 0 grey .* {versions}", check_fingerprint(with_fingerprint(f"{other}:{points}"))
    )
    published = builtin("published").document["fingerprint"].partition(":")[2]
    words = check_fingerprint(with_fingerprint(f"{other}:{published}"))
    found = re.fullmatch(rf"differs by at most (\d+) grey levels at 256 points compared {versions}", words)
    assert found
    assert int(found[1]) > 0
    for broken in (
        other,
        f"{other}:",
        f"{other}:QUJD",
        f"{other}:!!!",
        f"{other}:é",
        "x",
        f"{whole[:-1]}:{points[:-4]}",
    ):
        assert re.fullmatch(rf"differs {versions}", check_fingerprint(with_fingerprint(broken)))


def test_every_setting_of_a_step_that_is_on_shows_in_the_fingerprint() -> None:
    usual = presets.fingerprint({})
    assert presets.fingerprint({"clahe.clip_limit": 2.0}) != usual
    assert presets.fingerprint({"gamma.gamma": 0.5}) == usual


# --- As code ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["published", "# coding: utf-16", "two\nlines'''\\", 'x"""\x00\x1b[31m', "胸部 \u2028 import os", ""]
)  # fmt: skip
def test_the_code_gives_the_same_pixels(textured: Textured, tmp_path: Path, name: str) -> None:
    image = textured(90, 70, np.uint16 if name == "published" else np.uint8)
    write(tmp_path / "in.png", image)
    preset = create({"gamma.on": True, "gamma.gamma": 0.7, "sharpen.gain": "published"}, name=name)
    (tmp_path / "program.py").write_text(as_code(preset), encoding="utf-8")
    command = [sys.executable, "program.py", "in.png", "out.png"]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert np.array_equal(read(tmp_path / "out.png").pixels, run(image, preset.settings))
