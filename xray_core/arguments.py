"""The command line's arguments: which there are, and what they give. Flags derive from what is declared elsewhere."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from xray_core import __version__, encode, files, presets
from xray_core.dicom_choice import CHOICES, DicomChoice
from xray_core.errors import RunCode, SettingsError
from xray_core.limits import Limits, declared
from xray_core.names import printable
from xray_core.pipeline import Settings, parameters
from xray_core.stored import Levels, check_levels
from xray_core.stores import Place, place

DONE, SOME_FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130
STOPPED: dict[RunCode, int] = {
    # As sysexits.h has them, where it has any.
    "NO_INPUT": 66,
    "CLUSTER_LOST": 69,
    "CANNOT_WRITE": 73,
    "DAMAGED": 73,
    "DISK_FULL": 74,
    "IN_USE": 75,
}
"""Exit status of a batch that could not begin, or go on."""


def say(words: str) -> None:
    """Print a line for a person, on stderr; a line break in a file's name doesn't make it two."""
    line = " ".join(words.splitlines()).encode("utf-8", "backslashreplace").decode()
    # A name may hold signs that steer a terminal.
    print(printable(line, " "), file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        say(f"{self.prog}: {message}")
        sys.exit(REFUSED)


def build() -> argparse.ArgumentParser:
    """Return what parses the command line; `command` says which command is called."""
    parser = _Parser(prog="radtune", description="Tune and apply the preprocessing of chest X-rays. Not for diagnosis.")
    parser.add_argument("--version", action="version", version=f"RadTune {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    enhance = commands.add_parser("enhance", help="enhance one film", allow_abbrev=False)
    enhance.add_argument("input", metavar="IN", type=Path)
    enhance.add_argument(
        "output", metavar="OUT", type=Path, help=f"its suffix picks the format: {', '.join(files.FORMATS)}"
    )
    _add_writing(enhance)
    _add_page(enhance)
    enhance.add_argument("--json", action="store_true", help="print what was measured as JSON")
    _add_preset(enhance)
    _add_limits(enhance)
    enhance.set_defaults(command="enhance")

    compare = commands.add_parser("measure", help="measure one film against another", allow_abbrev=False)
    compare.add_argument("before", metavar="BEFORE", type=Path)
    compare.add_argument("after", metavar="AFTER", type=Path)
    compare.add_argument("--json", action="store_true", help="print JSON")
    _add_page(compare)
    _add_limits(compare)
    compare.set_defaults(command="measure")

    _add_batch(commands)
    summary = commands.add_parser("report", help="write the log and the report of a run", allow_abbrev=False)
    summary.add_argument("output", metavar="OUT", type=Path, help="the folder of its outputs, or of its books")
    summary.add_argument("--csv", type=Path, metavar="F", help="the log as CSV")
    summary.add_argument("--parquet", type=Path, metavar="F", help="the log as Parquet")
    summary.add_argument("--html", type=Path, metavar="F", help="the report (without any of these: OUT/report.html)")
    summary.set_defaults(command="report")

    _add_preset_commands(commands)
    table = commands.add_parser("steps", help="print every step and parameter as a table", allow_abbrev=False)
    table.add_argument("names", metavar="STEP", nargs="*", help="only these steps")
    table.set_defaults(command="steps")
    return parser


def _add_batch(commands: argparse._SubParsersAction[_Parser]) -> None:
    many = commands.add_parser("batch", help="apply a preset to a folder or a zip archive", allow_abbrev=False)
    many.add_argument(
        "input",
        metavar="IN",
        type=_place,
        help="a folder, with those below it, a zip archive, one file, or a URL such as s3://bucket/films",
    )
    many.add_argument("output", metavar="OUT", type=_place, help="a folder, which is made, or a URL")
    many.add_argument("--workers", type=_whole(1, 256), metavar="N", help="processes (as many as cores)")
    many.add_argument("--format", choices=files.FORMATS, default="png", help="of the outputs (png)")
    _add_writing(many)
    many.add_argument(
        "--skip-good", action="store_true", help="write films that meet the targets as they are without enhancing them"
    )
    again = many.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with the run that OUT holds")
    again.add_argument("--failures-only", action="store_true", help="of the run that OUT holds, only what failed")
    again.add_argument("--overwrite", action="store_true", help="write into OUT whatever it holds")
    many.add_argument("--verify", action="store_true", help="with --resume: look into every file and every output")
    many.add_argument("--shard", type=_shard, default=(1, 1), metavar="I/N", help="only part I of N, as in job arrays")
    many.add_argument("--cluster", metavar="ADDRESS", help="run on a Dask cluster, such as tcp://10.0.0.1:8786")
    many.add_argument(
        "--state", type=Path, metavar="FOLDER", help="where the books of the run lie, if OUT is on an object store"
    )
    many.add_argument("--time-limit", type=_whole(1, 86400), default=300, metavar="S", help="seconds for one file")
    many.add_argument("--stop-on-error", action="store_true", help="end at the first file that fails")
    many.add_argument("--no-report", dest="html", action="store_false", help="write no report.html")
    many.add_argument(
        "--dry-run", action="store_true", help="list what would be written and say how long it takes; write nothing"
    )
    many.add_argument("--json", action="store_true", help="print the counts, or what a dry run found, as JSON")
    _add_preset(many)
    _add_limits(many)
    many.set_defaults(command="batch")


def _place(text: str) -> Place:
    try:
        return place(text)
    except SettingsError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _shard(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts) <= 10_000):
        raise argparse.ArgumentTypeError(f"takes I/N, such as 3/8, got {text!r}")
    return int(part), int(parts)


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"takes a whole number in [{low}, {high}], got {text!r}")
        return int(text)

    return parse


def _add_limits(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("limits", "refuse what says that it is larger, before it is decoded")
    for name, limit in declared().items():
        group.add_argument(
            f"--limit-{name.replace('_', '-')}",
            type=_whole(1, 10**15),
            default=limit.default,
            metavar="N",
            help=f"most {limit.metadata['words']} (default {limit.default})",
        )
    parser.add_argument(
        "--levels",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="stored values that are black and white, for gray films whose file does not say",
    )
    group = parser.add_argument_group("DICOM")
    for name, parameter in CHOICES.items():
        words = f"{parameter.help} {parameter.range_text()}, default {parameter.default}"
        group.add_argument(f"--{name}", dest=f"dicom.{name}", metavar="V", default=str(parameter.default), help=words)


def limits_of(arguments: argparse.Namespace) -> Limits:
    """Return what is refused before it is decoded."""
    return Limits(**{name: getattr(arguments, f"limit_{name}") for name in declared()})


def choice_of(arguments: argparse.Namespace) -> DicomChoice:
    """Return which greys of DICOM files are taken; raises `SettingsError`."""
    texts = {name: getattr(arguments, f"dicom.{name}") for name in CHOICES}
    values: dict[str, Any] = {name: CHOICES[name].parse(f"--{name}", text) for name, text in texts.items()}
    return DicomChoice(**values)


def levels_of(arguments: argparse.Namespace) -> Levels | None:
    """Return the stored values that are black and white, if they were given; raises `SettingsError`."""
    if arguments.levels is None:
        return None
    levels: Levels = tuple(arguments.levels)
    check_levels(levels)
    return levels


def _add_page(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--page", type=_whole(1, 10**6), default=1, metavar="N", help="which page, frame or array of the file (1)"
    )


def _add_writing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--range", choices=files.RANGES, default="same", help="range of the values written")
    parser.add_argument(
        "--quality", type=_whole(*encode.JPEG_QUALITIES), metavar="Q", help=f"of jpg, 1 to 100 ({encode.JPEG_QUALITY})"
    )
    parser.add_argument("--no-embed", dest="embed", action="store_false", help="write no settings into the pictures")
    parser.add_argument(
        "--keep-identity",
        action="store_true",
        help="carry patient, study and institution into dcm outputs (default: remove them)",
    )


def _add_preset(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(presets.builtin_names())
    parser.add_argument("--preset", metavar="P", default="standard", help=f"a file, or one of {names}")
    group = parser.add_argument_group("settings", "change single settings of the preset")
    for path, parameter in parameters().items():
        group.add_argument(
            f"--{path.replace('_', '-')}",
            dest=path,
            metavar="V",
            help=f"{parameter.label}: {parameter.range_text()}, default {parameter.default}".replace("%", "%%"),
        )
        if "_" in path:
            # The spelling of presets and logs is understood too.
            group.add_argument(f"--{path}", dest=path, metavar="V", help=argparse.SUPPRESS)


def _add_preset_commands(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser("preset", help="list, show, check, compare presets", allow_abbrev=False)
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="the built-in presets")
    listing.set_defaults(command="preset list")
    origin = actions.add_parser("from", help="print the preset that a picture carries")
    origin.add_argument("picture", metavar="FILE", type=Path)
    origin.set_defaults(command="preset from")
    for name, words, command in (
        ("show", "print the preset's file", "preset show"),
        ("check", "say whether it is valid and computes the same here", "preset check"),
        ("code", "print it as a Python program", "preset code"),
    ):
        action = actions.add_parser(name, help=words)
        action.add_argument("preset", metavar="P")
        action.set_defaults(command=command)
    compare = actions.add_parser("diff", help="print the settings that differ")
    compare.add_argument("preset", metavar="P")
    compare.add_argument("other", metavar="Q")
    compare.set_defaults(command="preset diff")


def _settings(arguments: argparse.Namespace, preset: presets.Preset) -> Settings:
    given = {path: getattr(arguments, path) for path in parameters() if getattr(arguments, path) is not None}
    return preset.settings | {path: parameters()[path].parse(path, text) for path, text in given.items()}


def preset_of(arguments: argparse.Namespace) -> presets.Preset:
    """Return the preset that a command is to use, with the settings given by flags."""
    preset = presets.load(arguments.preset)
    settings = _settings(arguments, preset)
    return preset if settings == preset.settings else presets.with_settings(preset, settings)
