"""The command line as a user meets it: what each command prints, where, and the exit status."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from xray_core import __version__, batch, cli, files
from xray_core.batch_log import read_log
from xray_core.files import FORMATS, RANGES, in_range, read, write
from xray_core.image import Image
from xray_core.metrics import COLUMNS, measure
from xray_core.names import LOG
from xray_core.params import Choice, Range
from xray_core.pipeline import defaults, parameters, run
from xray_core.presets import SUFFIX, builtin, builtin_names, create, load
from xray_core.steps import STEPS

# isort: split
import cv2

Textured = Callable[..., Image]
Said = tuple[int, str, str]

ROOT = Path(__file__).parents[1]
COMMANDS = ("enhance", "measure", "batch", "preset", "steps")
ACTIONS = ("list", "show", "check", "code", "diff", "from")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Return ``call(*arguments)``: a command in this process, its status, stdout and stderr."""

    def run_it(*arguments: object) -> Said:
        capsys.readouterr()
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as ended:  # as argparse ends
            status = int(ended.code or 0)
        return status, *capsys.readouterr()

    return run_it


@pytest.fixture
def film(textured: Textured, tmp_path: Path) -> Path:
    """A film of 8 bits in a file."""
    write(tmp_path / "film.png", textured(80, 64))
    return tmp_path / "film.png"


def command(*arguments: object, **options: object) -> Said:
    """Run a command in a process of its own."""
    line = [sys.executable, "-m", "xray_core", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60, **options)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def refused(said: Said, words: str, status: int = 2) -> None:
    """Nothing on stdout, exactly one line on stderr, and the status."""
    assert (said[0], said[1]) == (status, ""), said
    assert said[2].count("\n") == 1, said
    assert said[2].endswith("\n")
    assert re.search(words, said[2]), said


def flag(path: str) -> str:
    return "--" + path.replace("_", "-")


# --- Help -------------------------------------------------------------------------------------------------------------


def test_help_names_every_command(call: Callable[..., Said]) -> None:
    status, out, err = call("--help")
    assert (status, err) == (0, "")
    assert "Not for diagnosis" in out
    for name in COMMANDS:
        assert re.search(rf"^ +{name} ", out, re.MULTILINE)
        status, out_of_one, err = call(name, "--help")
        assert (status, err) == (0, "")
        assert out_of_one.startswith(f"usage: radtune {name}")
    status, out, _ = call("preset", "--help")
    assert all(re.search(rf"^ +{name} ", out, re.MULTILINE) for name in ACTIONS)
    for name in ACTIONS:
        assert call("preset", name, "--help")[0] == 0


@pytest.mark.parametrize("name", ["enhance", "batch"])
def test_every_setting_has_a_flag_with_its_range(call: Callable[..., Said], name: str) -> None:
    said = " ".join(call(name, "--help")[1].split())
    for path, parameter in parameters().items():
        assert f"{flag(path)} V " in said
        assert f"{parameter.range_text()}, default {parameter.default}" in said.replace("default-", "default -")
    for preset in builtin_names():
        assert preset in said


def test_a_setting_s_flag_may_be_spelt_as_in_a_preset(call: Callable[..., Said], film: Path, tmp_path: Path) -> None:
    for spelling in ("--clahe.clip-limit", "--clahe.clip_limit"):
        assert call("enhance", film, tmp_path / f"{spelling}.png", spelling, "8")[0] == 0
    one, other = (read(tmp_path / f"--clahe.clip{sign}limit.png").pixels for sign in "-_")
    assert np.array_equal(one, other)
    assert not np.array_equal(one, run(read(film).pixels, {}))


def test_version(call: Callable[..., Said]) -> None:
    assert call("--version") == (0, f"RadTune {__version__}\n", "")
    assert command("--version") == (0, f"RadTune {__version__}\n", "")


def test_the_program_s_two_names_are_one() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'radtune = "xray_core.__main__:main"' in text
    assert command("--help")[1].startswith("usage: radtune")


# --- Usage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "required: COMMAND"),
        ("nonsense", "invalid choice: 'nonsense'"),
        ("enhance", "required: IN, OUT"),
        ("enhance IN", "required: OUT"),
        ("enhance IN out.png --nonsense 3", "unrecognized arguments: --nonsense"),
        ("enhance IN out.png --clahe.clip 3", "unrecognized arguments: --clahe.clip 3"),
        ("enhance IN out.png --clahe.clip-limit", "--clahe.clip-limit: expected one argument"),
        ("enhance IN out.png --clahe.clip-limit 30", r"clahe.clip_limit lies in \[1, 8\], got 30"),
        ("enhance IN out.png --clahe.clip-limit=-1", r"clahe.clip_limit lies in \[1, 8\], got -1"),
        ("enhance IN out.png --clahe.clip-limit x", r'clahe.clip_limit takes a number in \[1, 8\], got "x"'),
        ("enhance IN out.png --clahe.clip-limit nan", "clahe.clip_limit takes a number"),
        ("enhance IN out.png --clahe.clip-limit 1e999", "clahe.clip_limit takes a number"),
        ("enhance IN out.png --clahe.tiles 2.5", r"clahe.tiles takes a whole number in \[1, 32\], got 2.5"),
        ("enhance IN out.png --clahe.on maybe", "clahe.on is true or false"),
        ("enhance IN out.png --grayscale.on off", "grayscale.on is always true"),
        ("enhance IN out.png --sharpen.gain much", "sharpen.gain is one of unit, published"),
        ("enhance IN out.png --preset nothing", "nothing: no preset file .*classifier-224, published, standard"),
        ("enhance IN out.png --preset IN", "IN: not valid JSON"),
        ("enhance IN out.bmp", "suffix is one of png, tif, jpg, npz, npy, dcm, got '.bmp'"),
        ("enhance IN out", "suffix is one of"),
        ("enhance IN out.png --range unit", "png holds whole numbers"),
        ("enhance IN out.png --range huge", "invalid choice: 'huge'"),
        ("enhance IN out.png --limit-pixels 0", r"whole number in \[1, 1000000000000000\], got '0'"),
        ("enhance IN out.png --limit-pixels -5", "limit-pixels"),
        ("measure IN", "required: AFTER"),
        ("batch IN", "required: OUT"),
        ("batch IN out --workers 0", r"takes a whole number in \[1, 256\], got '0'"),
        ("batch IN out --workers 1.5", "got '1.5'"),
        ("batch IN out --time-limit no", "got 'no'"),
        ("batch IN out --format bmp", "invalid choice: 'bmp'"),
        ("batch IN out --format jpg --range uint16", "jpg holds 8 bits"),
        ("batch IN out --resume --overwrite", "not allowed with argument"),
        ("batch nothing out", "nothing: no such file or folder"),
        ("batch IN .", "that of the inputs"),
        ("batch FOLDER out", "0 images found"),
        ("batch FOLDER FOLDER/out", "inside it"),
        ("preset", "required: ACTION"),
        ("preset show", "required: P"),
        ("preset show nothing", "no preset file"),
        ("preset show .", "no preset file"),
        ("preset diff standard", "required: Q"),
        ("preset check BROKEN", r"BROKEN: not valid JSON at line 2, column 3"),
        ("preset check NEWER", r"NEWER: schema_version lies in \[1, 1\], got 7: made by a newer RadTune"),
        ("preset check RANGE", r"RANGE: clahe.tiles lies in \[1, 32\], got 99"),
        ("preset code RANGE", r"clahe.tiles lies in"),
        ("preset diff standard RANGE", r"clahe.tiles lies in"),
        ("batch IN out --preset NEWER", "made by a newer"),
        ("steps nonsense", "'nonsense' is no step; known are crop, resize"),
    ],
)
def test_wrong_usage_is_one_line_and_2(
    call: Callable[..., Said], film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    head = '{"format": "radtune-preset",\n  '
    (tmp_path / "FOLDER").mkdir()
    film.rename(tmp_path / "IN")
    (tmp_path / "BROKEN").write_text("{\n  name}")
    (tmp_path / "NEWER").write_text(head + '"schema_version": 7}')
    (tmp_path / "RANGE").write_text(head + '"schema_version": 1, "settings": {"clahe.tiles": 99}}')
    before = sorted(path.name for path in tmp_path.iterdir())
    refused(call(*line.split()), words)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("path", [path for path, one in parameters().items() if isinstance(one, Range | Choice)])
def test_every_flag_is_checked_by_its_declaration(call: Callable[..., Said], film: Path, path: str) -> None:
    parameter = parameters()[path]
    wrong = [parameter.high + 1, parameter.low - 1] if isinstance(parameter, Range) else ["wrong"]
    for value in wrong:
        said = call("enhance", film, film.with_name("out.png"), f"{flag(path)}={value}")
        refused(said, rf"{re.escape(path)} .*{re.escape(parameter.range_text())}, got")
    assert not film.with_name("out.png").exists()


def test_refusals_in_a_process_of_their_own(film: Path, tmp_path: Path) -> None:
    refused(command(), "required: COMMAND")
    refused(command("enhance", film, tmp_path / "out.png", "--clahe.clip-limit", "30"), r"lies in \[1, 8\], got 30")
    refused(command("preset", "check", film), "not valid JSON")
    refused(command("measure", film, tmp_path / "none.png"), r"none\.png: the file or folder does not exist", 1)


# --- enhance ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", FORMATS)
def test_enhance_writes_what_run_computes(call: Callable[..., Said], film: Path, suffix: str) -> None:
    out = film.with_name(f"out.{suffix}")
    status, printed, words = call("enhance", film, out)
    assert (status, printed) == (0, "")
    assert words.count("\n") == 1
    assert words.startswith(("Balanced: ", "Off target: "))
    wanted = run(read(film).pixels, {})
    if suffix == "jpg":
        assert np.abs(read(out).pixels.astype(int) - wanted).max() < 20
    else:
        assert np.array_equal(read(out).pixels, wanted)


def test_enhance_takes_presets_and_flags(call: Callable[..., Said], film: Path) -> None:
    out = film.with_name("out.png")
    assert call("enhance", film, out, "--preset", "published")[0] == 0
    assert np.array_equal(read(out).pixels, run(read(film).pixels, builtin("published").settings))
    flags = ["--clahe.clip-limit", "2.5", "--gamma.on", "yes", "--gamma.gamma=0.8", "--sharpen.on", "off"]
    assert call("enhance", film, out, "--preset", "published", *flags)[0] == 0
    changed = {"clahe.clip_limit": 2.5, "gamma.on": True, "gamma.gamma": 0.8, "sharpen.on": False}
    assert np.array_equal(read(out).pixels, run(read(film).pixels, builtin("published").settings | changed))


def test_flags_on_a_preset_with_the_longest_name(call: Callable[..., Said], film: Path, tmp_path: Path) -> None:
    preset = tmp_path / f"long{SUFFIX}"
    preset.write_text(create({}, name="x" * 200).dumps(), encoding="utf-8")
    assert call("enhance", film, tmp_path / "out.png", "--preset", preset, "--gamma.on", "on")[0] == 0


@pytest.mark.parametrize("path", parameters())
def test_every_flag_reaches_the_settings(film: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    value = next((end for end in parameters()[path].ends() if end != defaults()[path]), defaults()[path])
    seen = []

    def watch(image: Image, settings: dict[str, object]) -> None:
        seen.append(settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run_pair", watch)
    text = str(value).lower() if isinstance(value, bool) else str(value)
    assert cli.main(["enhance", str(film), str(film.with_name("out.png")), f"{flag(path)}={text}"]) == 130
    assert seen == [defaults() | {path: value}]


def test_enhance_in_its_own_process_with_json(film: Path, tmp_path: Path) -> None:
    status, printed, words = command("enhance", film, tmp_path / "a" / "out.tif", "--json", "--range", "uint16")
    assert status == 0
    assert words.count("\n") == 1
    measured = json.loads(printed)
    assert tuple(measured) == COLUMNS
    after = run(read(film).pixels, {})
    assert measured == pytest.approx(measure(read(film).pixels, after))
    assert np.array_equal(read(tmp_path / "a" / "out.tif").pixels, in_range(after, "uint16"))


@pytest.mark.parametrize("kind", RANGES)
def test_enhance_writes_any_range(call: Callable[..., Said], film: Path, kind: str) -> None:
    assert call("enhance", film, film.with_name("out.npz"), "--range", kind)[0] == 0
    with np.load(film.with_name("out.npz")) as loaded:
        assert np.array_equal(loaded["image"], in_range(run(read(film).pixels, {}), kind))


def test_enhance_never_writes_over_its_input(call: Callable[..., Said], film: Path, tmp_path: Path) -> None:
    before = film.read_bytes()
    (tmp_path / "link.png").symlink_to(film)
    os.link(film, tmp_path / "hard.png")
    (tmp_path / "folder").symlink_to(tmp_path)
    for out in (film, tmp_path / "link.png", tmp_path / "hard.png", tmp_path / "folder" / "film.png"):
        refused(call("enhance", film, out), "the output is the input; originals are never changed")
        refused(call("enhance", out, film), "the output is the input; originals are never changed")
    refused(command("enhance", "./film.png", "../" + tmp_path.name + "/film.png", cwd=tmp_path), "originals are never")
    assert film.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        (b"", "the file is empty"),
        (b"<html>", "web page"),
        (b"\x89PNG\r\n\x1a\n", "damaged or cut short"),
        (b"\xff\xd8\xff\xe0" + bytes(300), "damaged or cut short"),
        (bytes(128) + b"DICM", "DICOM"),
    ],
)
def test_films_that_cannot_be_read_are_one_line_and_1(
    call: Callable[..., Said], tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "two\nlines.png"
    if content is not None:
        path.write_bytes(content)
    refused(call("enhance", path, tmp_path / "out.png"), rf"radtune: .*two lines\.png: .*{words}", 1)
    refused(call("measure", path, path), words, 1)
    assert not (tmp_path / "out.png").exists()


def test_a_damaged_film_is_one_line_whatever_the_decoder_prints(film: Path, tmp_path: Path) -> None:
    whole = film.read_bytes()
    film.write_bytes(whole[:-40])
    refused(command("enhance", film, tmp_path / "out.png"), r"film\.png: the PNG is cut short", 1)
    middle = len(whole) // 2
    film.write_bytes(whole[:middle] + bytes(8) + whole[middle + 8 :])
    refused(command("enhance", film, tmp_path / "out.png"), r"film\.png: the picture data is damaged or cut short", 1)


def test_page_and_levels_are_those_of_before(call: Callable[..., Said], film: Path, tmp_path: Path) -> None:
    pixels = read(film).pixels
    np.save(tmp_path / "before.npy", np.stack([pixels[::-1], pixels]).astype(np.float32))
    status, out, _ = call("measure", tmp_path / "before.npy", film, "--page", 2, "--levels", 0, 255, "--json")
    assert status == 0
    assert json.loads(out)["ssim"] > 0.999


def test_limits(call: Callable[..., Said], film: Path, tmp_path: Path) -> None:
    refused(
        call("enhance", film, tmp_path / "out.png", "--limit-pixels", 5119),
        "64 x 80 is 5,120 pixels; the limit is 5,119",
        1,
    )
    assert call("enhance", film, tmp_path / "out.png", "--limit-pixels", 5120)[0] == 0


def test_what_cannot_be_written_or_opened_is_one_line(call: Callable[..., Said], film: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    refused(call("enhance", film, tmp_path / "folder.png"), r"folder\.png: this is a folder", 1)
    refused(call("enhance", film, film / "out.png"), r"out\.png: ", 1)
    refused(call("enhance", film, tmp_path / ("x" * 300 + ".png")), "the name is too long", 1)
    refused(call("batch", film, tmp_path.parent / ("x" * 300)), "the name is too long", 73)
    refused(call("batch", tmp_path / ("x" * 300), tmp_path / "out"), "the name is too long", 73)


# --- measure ----------------------------------------------------------------------------------------------------------


def test_measure_prints_every_number(call: Callable[..., Said], film: Path, tmp_path: Path) -> None:
    after = tmp_path / "after.png"
    write(after, run(read(film).pixels, {}))
    status, printed, words = call("measure", film, after)
    assert (status, words) == (0, "")
    assert [line.split()[0] for line in printed.splitlines()] == list(COLUMNS)
    status, printed, words = call("measure", film, after, "--json")
    assert json.loads(printed) == pytest.approx(measure(read(film).pixels, read(after).pixels))


def test_measure_takes_one_film_of_8_and_one_of_16_bits(
    call: Callable[..., Said], film: Path, tmp_path: Path, textured: Textured
) -> None:
    write(tmp_path / "deep.tif", in_range(read(film).pixels, "uint16"))
    for pair in ((film, tmp_path / "deep.tif"), (tmp_path / "deep.tif", film)):
        measured = json.loads(call("measure", *pair, "--json")[1])
        assert measured["psnr"] is None
        assert measured["ssim"] == pytest.approx(1)
        assert measured["brightness_before"] == pytest.approx(measured["brightness_after"])


def test_measure_of_identical_films_is_valid_json(film: Path) -> None:
    status, printed, words = command("measure", film, film, "--json")
    assert (status, words) == (0, "")

    def no_constant(text: str) -> None:
        pytest.fail(f"{text} is no JSON")

    measured = json.loads(printed, parse_constant=no_constant)
    assert measured["psnr"] is None
    assert measured["ssim"] == 1
    assert "psnr identical" in command("measure", film, film)[1]


def test_measure_of_tiny_and_colour_films(call: Callable[..., Said], tmp_path: Path, textured: Textured) -> None:
    write(tmp_path / "tiny.png", textured(3, 3))
    assert json.loads(call("measure", tmp_path / "tiny.png", tmp_path / "tiny.png", "--json")[1])["ssim"] is None
    assert "ssim n/a" in call("measure", tmp_path / "tiny.png", tmp_path / "tiny.png")[1]
    colour = textured(40, 40, colour=True)
    cv2.imwrite(str(tmp_path / "colour.png"), cv2.cvtColor(colour, cv2.COLOR_RGB2BGR))
    write(tmp_path / "gray.png", cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY))
    measured = json.loads(call("measure", tmp_path / "colour.png", tmp_path / "gray.png", "--json")[1])
    assert measured["psnr"] is None


def test_measure_refuses_two_sizes(call: Callable[..., Said], film: Path, tmp_path: Path, textured: Textured) -> None:
    write(tmp_path / "other.png", textured(30, 30))
    refused(call("measure", film, tmp_path / "other.png"), "differ in size: 64 x 80 and 30 x 30 px")


# --- preset and steps -------------------------------------------------------------------------------------------------


def test_preset_list(call: Callable[..., Said]) -> None:
    status, printed, words = call("preset", "list")
    assert (status, words) == (0, "")
    assert [line.split()[0] for line in printed.splitlines()] == list(builtin_names())


@pytest.mark.parametrize("name", builtin_names())
def test_preset_show_prints_the_file_s_bytes(name: str) -> None:
    line = [sys.executable, "-m", "xray_core", "preset", "show", name]
    done = subprocess.run(line, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == (ROOT / "xray_core" / "builtin" / f"{name}{SUFFIX}").read_bytes()


def test_preset_check(call: Callable[..., Said], tmp_path: Path) -> None:
    for name in builtin_names():
        status, printed, words = call("preset", "check", name)
        assert (status, words) == (0, "")
        assert printed == f"valid; digest {builtin(name).digest[:12]}; this machine computes: same\n"
    other = tmp_path / "other.preset.json"
    text = builtin("standard").dumps()
    other.write_text(re.sub('"fingerprint": "[0-9a-f]{64}', '"fingerprint": "' + "0" * 64, text), encoding="utf-8")
    assert "differs by at most 0 grey levels" in call("preset", "check", other)[1]
    assert command("preset", "check", "standard")[0] == 0


def test_preset_diff(call: Callable[..., Said]) -> None:
    status, printed, words = call("preset", "diff", "standard", "published")
    assert (status, words) == (0, "")
    assert 'sharpen.gain "unit" -> "published"\n' in printed
    assert "resize.on false -> true\n" in printed
    assert call("preset", "diff", "standard", "standard") == (0, "", "")


def test_preset_code_runs(film: Path, tmp_path: Path) -> None:
    status, printed, _ = command("preset", "code", "published")
    assert status == 0
    (tmp_path / "program.py").write_text(printed)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    line = [sys.executable, "program.py", "film.png", "out.png"]
    subprocess.run(line, cwd=tmp_path, env=environment, check=True, timeout=60)
    assert np.array_equal(read(tmp_path / "out.png").pixels, run(read(film).pixels, builtin("published").settings))


def test_steps_prints_a_row_for_each_parameter(call: Callable[..., Said]) -> None:
    status, printed, words = call("steps")
    assert (status, words) == (0, "")
    head, rule, *rows = printed.splitlines()
    assert head.count("|") == rule.count("|") == 6
    assert [row.split("`")[1] for row in rows] == list(parameters())
    for row, parameter in zip(rows, parameters().values(), strict=True):
        assert row.count("|") == 6
        assert f"| {parameter.range_text()} |" in row
        assert f"| {json.dumps(parameter.default)} |" in row
    for step in STEPS.values():
        shown = call("steps", step.name)[1].splitlines()[2:]
        assert [row.split("`")[1] for row in shown] == [step.path(name) for name in step.parameters]
    assert command("steps")[1] == printed


# --- batch ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, textured: Textured) -> Path:
    """Four films, one of them below."""
    for number, name in enumerate(("a.png", "b.jpg", "c.tif", "deep/er/d.npz")):
        write(tmp_path / "in" / name, textured(40, 40, seed=number))
    return tmp_path / "in"


def test_batch_in_its_own_process(folder: Path, tmp_path: Path) -> None:
    status, printed, words = command("batch", folder, tmp_path / "out", "--preset", "published", "--json")
    assert status == 0
    counts = json.loads(printed)
    assert set(counts) == {"written", "skipped", "unchanged", "failed", "balanced", "seconds"}
    assert (counts["written"], counts["unchanged"], counts["failed"]) == (4, 0, 0)
    assert "images: 4" in words
    assert "preset published" in words
    assert "this machine computes: same" in words
    assert f"log: {tmp_path / 'out' / LOG}" in words
    assert len(read_log(tmp_path / "out" / LOG)) == 4
    assert (tmp_path / "out" / "deep" / "er" / "d.png").is_file()
    assert load(str(tmp_path / "out" / "used.preset.json")).dumps() == builtin("published").dumps()

    refused(command("batch", folder, tmp_path / "out"), "holds a run; say --resume")
    status, printed, words = command("batch", folder, tmp_path / "out", "--preset", "published", "--json", "--resume")
    assert status == 0
    assert json.loads(printed)["unchanged"] == 4
    (folder / "e.png").write_bytes(b"damaged")
    status, printed, words = command("batch", folder, tmp_path / "out", "--preset", "published", "--resume")
    assert (status, printed) == (1, "")
    assert "4 unchanged, 1 failed" in words
    assert "failures by cause: UNSUPPORTED 1" in words
    refused(command("batch", folder, tmp_path / "out", "--resume"), r"resize\.on true -> false")


def test_batch_dry_run_writes_nothing(call: Callable[..., Said], folder: Path, tmp_path: Path) -> None:
    status, printed, _ = call("batch", folder, tmp_path / "out", "--dry-run", "--format", "npz")
    assert status == 0
    assert printed.splitlines() == [
        f"{name} -> {tmp_path / 'out' / Path(name).with_suffix('.npz')}"
        for name in ("a.png", "b.jpg", "c.tif", "deep/er/d.npz")
    ]
    status, printed, _ = call("batch", folder, tmp_path / "out", "--dry-run", "--json")
    told = json.loads(printed)
    assert (status, told["found"], told["to_do"], told["tried"]) == (0, 4, 4, 4)
    assert told["bytes"] > 0 < told["seconds"]
    assert told["first"][0] == ["a.png", f"{tmp_path / 'out' / 'a.png'}"]
    assert not (tmp_path / "out").exists()


def test_names_that_are_no_text_can_be_printed(folder: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"film\xff.png")
    (folder / "a.png").rename(folder / name)
    status, printed, _ = command("batch", folder, tmp_path / "out", "--dry-run")
    assert status == 0
    assert "film\\udcff.png -> " in printed
    refused(command("enhance", folder / (name + name), tmp_path / "out.png"), r"film\\udcff\.png.*does not exist", 1)


def test_batch_stops_on_error_and_takes_workers(call: Callable[..., Said], folder: Path, tmp_path: Path) -> None:
    (folder / "a.png").write_bytes(b"")
    status, _, words = call("batch", folder, tmp_path / "out", "--workers", "1", "--stop-on-error")
    assert status == 1
    assert "failures by cause: EMPTY 1" in words
    assert "ended at the first failure; to go on: python -m xray_core batch --resume" in words
    assert len(read_log(tmp_path / "out" / LOG)) == 1
    assert call("batch", folder, tmp_path / "out", "--overwrite", "--workers", "2")[0] == 1
    assert len(read_log(tmp_path / "out" / LOG)) == 4


def test_a_disk_that_fails_under_the_log_is_one_line(
    call: Callable[..., Said], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "out" / LOG))

    with monkeypatch.context() as broken:
        broken.setattr(batch, "write_log", full)
        status, _, words = call("batch", folder, tmp_path / "out")
    assert status == 74
    said, how = words.splitlines()[-2:]
    assert said.endswith("out: the disk is full")
    assert how.startswith("what was done is kept; to go on: python -m xray_core ")
    assert call("batch", folder, tmp_path / "out", "--resume")[0] == 0
    assert len(read_log(tmp_path / "out" / LOG)) == 4


# --- Streams ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["steps"], ["preset", "show", "published"], ["preset", "list"], ["--help"]])
def test_a_reader_that_goes_away_is_no_error(arguments: list[str]) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    line = [sys.executable, "-m", "xray_core", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(line, env=environment, stdout=write_end, stderr=subprocess.PIPE, timeout=60)
    finally:
        os.close(write_end)
    assert done.stderr == b""
    assert done.returncode == 0


def test_head_takes_one_line() -> None:
    line = f"{sys.executable} -m xray_core steps | head -1"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, shell=True, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "| setting | default | range | good | what it does |\n"
    assert done.stderr == ""


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_error(film: Path, closed: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for arguments in ("steps", f"measure {film} {film}", f"enhance {film} {film.parent / 'out.png'}"):
        line = f"{sys.executable} -m xray_core {arguments} {closed}"
        done = subprocess.run(line, shell=True, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0
        assert done.stdout == "" or ">&-" not in closed.split()
        assert done.stderr == "" or "2>&-" not in closed
        assert not done.stdout.startswith(("Balanced", "Off target"))
        assert "Traceback" not in done.stderr


def test_a_terminal_without_our_letters_is_no_error(folder: Path, tmp_path: Path) -> None:
    (folder / "a.png").rename(folder / "胸部.png")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    line = [sys.executable, "-m", "xray_core", "batch", str(folder), str(tmp_path / "out"), "--dry-run"]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert "\\u80f8\\u90e8.png" in done.stdout


def test_an_interrupt_outside_a_batch_is_130(
    call: Callable[..., Said], film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "read_bytes", interrupt)
    refused(call("measure", film, film), "interrupted", 130)


# --- Settings that travel ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deep", [False, True], ids=["8 bits", "16 bits"])
@pytest.mark.parametrize("name", ["png", "tif", "jpg", "npz", "dcm"])
def test_settings_come_back_from_a_picture_and_make_it_again(
    call: Callable[..., Said], textured: Textured, tmp_path: Path, name: str, deep: bool
) -> None:
    original, made, again = tmp_path / "film.tif", tmp_path / f"made.{name}", tmp_path / f"again.{name}"
    write(original, textured(90, 70, np.uint16 if deep else np.uint8))
    moves = ("--gamma.on", "true", "--gamma.gamma", "0.8", "--clahe.clip-limit", "2.75", "--bilateral.d", "7")
    assert call("enhance", original, made, *moves)[0] == 0
    status, text, words = call("preset", "from", made)
    assert (status, words) == (0, "")
    kept = tmp_path / "kept.preset.json"
    kept.write_text(text, encoding="utf-8")
    wanted = load("standard").settings | {
        "gamma.on": True,
        "gamma.gamma": 0.8,
        "clahe.clip_limit": 2.75,
        "bilateral.d": 7,
    }
    assert load(str(kept)).settings == wanted
    assert call("enhance", original, again, "--preset", kept)[0] == 0
    if name != "dcm":  # each is a new instance, with a time of making
        assert again.read_bytes() == made.read_bytes()
    assert np.array_equal(read(again).pixels, read(made).pixels)


def test_what_is_no_setting_is_told_by_the_flags_that_it_needs(call: Callable[..., Said], tmp_path: Path) -> None:
    np.save(tmp_path / "stack.npy", np.random.default_rng(0).random((3, 40, 50), np.float32) * 9)
    flags = ("--page", "2", "--levels", "0", "9", "--range", "uint8")
    for name in ("made.png", "made.dcm"):
        made, again = tmp_path / name, tmp_path / f"again_{name}"
        assert call("enhance", tmp_path / "stack.npy", made, *flags)[0] == 0
        status, text, words = call("preset", "from", made)
        assert status == 0
        assert "the same picture needs besides: --page 2 --levels 0 9 --range uint8" in words
        (tmp_path / "p.preset.json").write_text(text, encoding="utf-8")
        given = words.split("besides: ")[1].split()
        assert call("enhance", tmp_path / "stack.npy", again, "--preset", tmp_path / "p.preset.json", *given)[0] == 0
        assert np.array_equal(read(again).pixels, read(made).pixels)


def test_pictures_without_settings_say_so(call: Callable[..., Said], film: Path, tmp_path: Path) -> None:
    assert call("enhance", film, tmp_path / "plain.png", "--no-embed")[0] == 0
    assert call("enhance", film, tmp_path / "with.png")[0] == 0
    assert call("enhance", film, tmp_path / "film.npy")[0] == 0
    assert call("enhance", film, tmp_path / "plain.dcm", "--no-embed")[0] == 0
    for name in ("plain.png", "film.npy", "film.png", "plain.dcm"):
        refused(call("preset", "from", tmp_path / name), "carries no settings")
    refused(call("preset", "from", tmp_path / "none.png"), "does not exist", 1)
    assert np.array_equal(read(tmp_path / "plain.png").pixels, read(tmp_path / "with.png").pixels)
    altered = (tmp_path / "with.png").read_bytes().replace(b'"clahe.clip_limit":1.5', b'"clahe.clip_limit":1.6')
    (tmp_path / "altered.jpg").write_bytes(altered)
    refused(call("preset", "from", tmp_path / "altered.jpg"), "altered|no settings")


def test_what_travels_names_no_one(call: Callable[..., Said], film: Path, tmp_path: Path) -> None:
    made = create({}, name="CANARY, gentle", note="for Mrs CANARY, ward 7", tuned_on=read(film))
    (tmp_path / "CANARY.preset.json").write_text(made.dumps(), encoding="utf-8")
    (tmp_path / "CANARY").mkdir()
    shown = tmp_path / "CANARY" / "CANARY.png"
    film.rename(shown)
    for name in ("png", "tif", "jpg", "npz"):
        out = tmp_path / f"out.{name}"
        assert call("enhance", shown, out, "--preset", tmp_path / "CANARY.preset.json")[0] == 0
        data = out.read_bytes()
        assert b"CANARY" not in data
        assert str(tmp_path).encode() not in data
        assert read(shown).sha256.encode() not in data
        assert f'"digest":"{made.digest}"'.encode() in data


def test_pages_levels_and_quality(call: Callable[..., Said], tmp_path: Path, textured: Textured) -> None:
    stack = np.stack([textured(30, 40, seed=seed).astype(np.float32) for seed in range(3)])
    np.save(tmp_path / "stack.npy", stack)
    source, out = tmp_path / "stack.npy", tmp_path / "out.jpg"
    refused(call("enhance", source, out), r"not in \[0, 1\].*--levels LOW HIGH", 1)
    refused(call("enhance", source, out, "--levels", 9, 3), "lower one first")
    refused(call("enhance", source, out, "--levels", 0, 255, "--page", 4), "pages 1 to 3, and no page 4", 1)
    status, _, words = call("enhance", source, out, "--levels", -1, 255, "--page", 2, "--quality", 50)
    assert status == 0
    assert "Page 2 of 3. -1 is black, 255 is white, as you said." in words
    refused(call("enhance", source, tmp_path / "out.png", "--quality", 50), "a quality is for jpg")
    assert call("batch", source, tmp_path / "out", "--levels", 0, 255)[0] == 0
    rows = read_log(tmp_path / "out" / LOG)
    assert [row["output"] for row in rows] == [f"stack.page{number}.png" for number in (1, 2, 3)]
    assert all("255 is white" in row["verdict"] for row in rows)
    refused(call("batch", source, tmp_path / "out", "--resume"), r"levels \[0.0, 255.0\] -> null")


def test_every_limit_has_a_flag(call: Callable[..., Said], film: Path, tmp_path: Path) -> None:
    for flag, value, words in (
        ("--limit-pixels", 100, "the limit is 100"),
        ("--limit-file-bytes", 50, "the limit is 50 bytes"),
    ):
        refused(call("enhance", film, tmp_path / "out.png", flag, value), words, 1)
    np.savez(tmp_path / "two.npz", np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8))
    refused(call("enhance", tmp_path / "two.npz", tmp_path / "out.png", "--limit-pages", 1), "more than 1 pages", 1)
    refused(call("enhance", tmp_path / "two.npz", tmp_path / "o.png", "--limit-unpacked-bytes", 9), "unpacks to", 1)
