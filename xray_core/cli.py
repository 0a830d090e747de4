"""The command line: ``python -m xray_core``, also ``radtune``.

Numbers go to stdout, words and progress to stderr. Exit status: 0 done; 1 done, but files failed; 2 wrong usage, a bad
preset or nothing to do; 66, 69, 73 to 75 a batch that could not go on; 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from xray_core import batch_command, carried, encode, files, presets, report_command
from xray_core.arguments import (
    DONE,
    INTERRUPTED,
    REFUSED,
    SOME_FAILED,
    STOPPED,
    build,
    choice_of,
    levels_of,
    limits_of,
    preset_of,
    say,
)
from xray_core.errors import FileError, PresetError, RunError, SettingsError, XrayError
from xray_core.image import Film
from xray_core.isolated import DECODER
from xray_core.metrics import METRICS, measure, range_warning, verdict
from xray_core.pipeline import parameters, run, run_pair, untouched
from xray_core.steps import STEPS


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    _prepare_streams()
    given = argparse.Namespace(command="")
    try:
        try:
            given = build().parse_args(argv)
            status: int = _COMMANDS[given.command](given)
        finally:
            # Here, and not when the interpreter ends: a reader that went away is met below.
            sys.stdout.flush()
        return status
    except FileError as error:
        say(f"radtune: {error}")
        return SOME_FAILED
    except RunError as error:
        say(f"radtune: {error}")
        return STOPPED[error.code]
    except XrayError as error:
        say(f"radtune: {error}")
        return REFUSED
    except BrokenPipeError:
        # The reader of our output went away; what is left goes nowhere, without a second complaint.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        say(f"radtune: {where}{files.reason(error)}")
        if given.command in ("batch", "report"):
            return STOPPED["DISK_FULL" if files.is_full(error) else "CANNOT_WRITE"]
        return SOME_FAILED
    except KeyboardInterrupt:
        say("radtune: interrupted")
        return INTERRUPTED


def _prepare_streams() -> None:
    # The number of a stream that is closed would be given to the next file, and that file then be printed into.
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A file's name may hold bytes, and a terminal's encoding lack letters, that would end the command.
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def _libraries_silent() -> Iterator[None]:
    # C libraries describe damaged files on stderr in their own words; ours is the one line that counts.
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _read(path: Path, arguments: argparse.Namespace) -> tuple[Film, bytes]:
    limits, levels, choice = limits_of(arguments), levels_of(arguments), choice_of(arguments)
    try:
        data = files.read_bytes(path, limits)
        # Apart, since the file may be one that its decoder does not survive.
        return DECODER.decode(data, path.name, limits, page=arguments.page, levels=levels, dicom=choice), data
    except FileError as error:
        raise FileError(error.code, f"{path}: {error}") from error


def _enhance(arguments: argparse.Namespace) -> int:
    preset = preset_of(arguments)
    encode.check_output(arguments.output.suffix, arguments.range, arguments.quality)
    encode.check_identity(arguments.output.suffix, arguments.keep_identity)
    if arguments.output.exists() and arguments.input.exists() and arguments.output.samefile(arguments.input):
        say(f"radtune: {arguments.output}: the output is the input; originals are never changed")
        return REFUSED
    film, data = _read(arguments.input, arguments)
    pair = run_pair(film.pixels, preset.settings)
    measured = measure(pair.before, pair.after)
    try:
        choice, keep = choice_of(arguments), arguments.keep_identity
        ways = carried.ways(film, choice, levels_of(arguments), arguments.range, arguments.quality)
        text = carried.embedded(preset, ways) if arguments.embed else None
        origin = carried.derivation(preset, film, choice, data, text=text or "", keep_identity=keep)
        files.write(arguments.output, pair.after, arguments.range, text=text, quality=arguments.quality, origin=origin)
    except FileError as error:
        raise FileError(error.code, f"{arguments.output}: {error}") from error
    say(verdict(measured, preset.targets).sentence)
    for words in (range_warning(pair.before), film.remarks):
        if words:
            say(words)
    if arguments.json:
        _print_json(measured)
    return DONE


def _print_json(measured: dict[str, float]) -> None:
    # JSON has no infinity (PSNR of equal films) and no NaN (SSIM of films smaller than its window).
    print(json.dumps({name: value if math.isfinite(value) else None for name, value in measured.items()}))


def _measure(arguments: argparse.Namespace) -> int:
    plain = argparse.Namespace(**vars(arguments) | {"page": 1, "levels": None})
    read = (_read(arguments.before, arguments), _read(arguments.after, plain))
    films = [run(film.pixels, untouched()) for film, _ in read]
    if films[0].shape != films[1].shape:
        one, other = (f"{film.shape[1]} x {film.shape[0]}" for film in films)
        say(f"radtune: the films differ in size: {one} and {other} px")
        return REFUSED
    if films[0].dtype != films[1].dtype:
        films = [files.in_range(film, "uint16") for film in films]
    measured = measure(*films)
    if arguments.json:
        _print_json(measured)
        return DONE
    for metric in METRICS.values():
        for column in metric.columns:
            print(f"{column} {metric.shown(measured[column])}")
    return DONE


def _preset_list(arguments: argparse.Namespace) -> int:
    for name in presets.builtin_names():
        print(f"{name:16} {presets.builtin(name).note}")
    return DONE


def _preset_show(arguments: argparse.Namespace) -> int:
    print(presets.load(arguments.preset).dumps(), end="")
    return DONE


def _preset_from(arguments: argparse.Namespace) -> int:
    path = arguments.picture
    try:
        data = files.read_bytes(path)
    except FileError as error:
        raise FileError(error.code, f"{path}: {error}") from error
    try:
        with _libraries_silent():
            preset, flags = carried.of_picture(data)
    except XrayError as error:
        raise PresetError(f"{path}: {error}") from None
    print(preset.dumps(), end="")
    if flags:
        say(f"the same picture needs besides: {flags}")
    return DONE


def _preset_check(arguments: argparse.Namespace) -> int:
    preset = presets.load(arguments.preset)
    print(f"valid; digest {preset.digest[:12]}; this machine computes: {presets.check_fingerprint(preset)}")
    return DONE


def _preset_code(arguments: argparse.Namespace) -> int:
    print(presets.as_code(presets.load(arguments.preset)), end="")
    return DONE


def _preset_diff(arguments: argparse.Namespace) -> int:
    for path, (one, other) in presets.diff(presets.load(arguments.preset), presets.load(arguments.other)).items():
        print(f"{path} {json.dumps(one)} -> {json.dumps(other)}")
    return DONE


def _steps(arguments: argparse.Namespace) -> int:
    unknown = [name for name in arguments.names if name not in STEPS]
    if unknown:
        raise SettingsError(f"{unknown[0]!r:.60} is no step; known are {', '.join(STEPS)}")
    print("\n".join(parameter_table(arguments.names or list(STEPS))))
    return DONE


def parameter_table(steps: Sequence[str]) -> list[str]:
    """Return a Markdown table of the parameters of some steps, a line each."""
    rows = ["| setting | default | range | good | what it does |", "|---|---|---|---|---|"]
    for path, parameter in parameters().items():
        if path.split(".")[0] in steps:
            cells = [f"`{path}`", json.dumps(parameter.default), parameter.range_text(), parameter.good_text()]
            rows.append("| " + " | ".join([*cells, parameter.help]) + " |")
    return rows


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "enhance": _enhance,
    "measure": _measure,
    "batch": batch_command.batch,
    "report": report_command.report,
    "steps": _steps,
    "preset list": _preset_list,
    "preset show": _preset_show,
    "preset from": _preset_from,
    "preset check": _preset_check,
    "preset code": _preset_code,
    "preset diff": _preset_diff,
}
