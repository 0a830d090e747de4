"""The command line: ``python -m xray_core``, also ``radtune``.

Numbers go to stdout, words and progress to stderr. Exit status: 0 done; 1 done, but files failed; 2 wrong usage, a bad
preset or nothing to do; 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from xray_core import __version__, batch, batch_log, encode, files, pool, presets
from xray_core.dicom_choice import CHOICES, DicomChoice
from xray_core.errors import FileError, PresetError, SettingsError, XrayError
from xray_core.image import Film
from xray_core.isolated import DECODER
from xray_core.limits import Limits, declared
from xray_core.metrics import METRICS, measure, range_warning, verdict
from xray_core.pipeline import Settings, parameters, run, run_pair, untouched
from xray_core.steps import STEPS
from xray_core.stored import Levels, check_levels

DONE, SOME_FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        say(f"{self.prog}: {message}")
        sys.exit(REFUSED)


def say(words: str) -> None:
    """Print a line for a person, on stderr; a line break in a file's name doesn't make it two."""
    line = " ".join(words.splitlines()).encode("utf-8", "backslashreplace").decode()
    # A name may hold signs that steer a terminal.
    print("".join(sign if sign.isprintable() else " " for sign in line), file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    _prepare_streams()
    try:
        try:
            arguments = _parser().parse_args(argv)
            status: int = arguments.command(arguments)
        finally:
            # Here, and not when the interpreter ends: a reader that went away is met below.
            sys.stdout.flush()
        return status
    except FileError as error:
        say(f"radtune: {error}")
        return SOME_FAILED
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


def _parser() -> argparse.ArgumentParser:
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
    enhance.set_defaults(command=_enhance)

    compare = commands.add_parser("measure", help="measure one film against another", allow_abbrev=False)
    compare.add_argument("before", metavar="BEFORE", type=Path)
    compare.add_argument("after", metavar="AFTER", type=Path)
    compare.add_argument("--json", action="store_true", help="print JSON")
    _add_page(compare)
    _add_limits(compare)
    compare.set_defaults(command=_measure)

    many = commands.add_parser("batch", help="apply a preset to a folder or a zip archive", allow_abbrev=False)
    many.add_argument(
        "input", metavar="IN", type=Path, help="a folder, with those below it, a zip archive, or one file"
    )
    many.add_argument("output", metavar="OUT", type=Path, help="a folder, which is made")
    many.add_argument(
        "--workers", type=_whole(1, 256), default=pool.cpu_count(), metavar="N", help="processes (as many as cores)"
    )
    many.add_argument("--format", choices=files.FORMATS, default="png", help="of the outputs (png)")
    _add_writing(many)
    again = many.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with the run that OUT holds")
    again.add_argument("--overwrite", action="store_true", help="write into OUT whatever it holds")
    many.add_argument("--time-limit", type=_whole(1, 86400), default=300, metavar="S", help="seconds for one file")
    many.add_argument("--stop-on-error", action="store_true", help="end at the first file that fails")
    many.add_argument("--dry-run", action="store_true", help="list what would be written, and write nothing")
    many.add_argument("--json", action="store_true", help="print the counts as JSON")
    _add_preset(many)
    _add_limits(many)
    many.set_defaults(command=_batch)

    _add_preset_commands(commands)
    table = commands.add_parser("steps", help="print every step and parameter as a table", allow_abbrev=False)
    table.add_argument("names", metavar="STEP", nargs="*", help="only these steps")
    table.set_defaults(command=_steps)
    return parser


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


def _limits(arguments: argparse.Namespace) -> Limits:
    return Limits(**{name: getattr(arguments, f"limit_{name}") for name in declared()})


def _choice(arguments: argparse.Namespace) -> DicomChoice:
    texts = {name: getattr(arguments, f"dicom.{name}") for name in CHOICES}
    values: dict[str, Any] = {name: CHOICES[name].parse(f"--{name}", text) for name, text in texts.items()}
    return DicomChoice(**values)


def _levels(arguments: argparse.Namespace) -> Levels | None:
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
    parser.add_argument("--quality", type=_whole(1, 100), metavar="Q", help=f"of jpg, 1 to 100 ({encode.JPEG_QUALITY})")
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
    listing.set_defaults(command=_preset_list)
    origin = actions.add_parser("from", help="print the preset that a picture carries")
    origin.add_argument("picture", metavar="FILE", type=Path)
    origin.set_defaults(command=_preset_from)
    for name, words, command in (
        ("show", "print the preset's file", _preset_show),
        ("check", "say whether it is valid and computes the same here", _preset_check),
        ("code", "print it as a Python program", _preset_code),
    ):
        action = actions.add_parser(name, help=words)
        action.add_argument("preset", metavar="P")
        action.set_defaults(command=command)
    compare = actions.add_parser("diff", help="print the settings that differ")
    compare.add_argument("preset", metavar="P")
    compare.add_argument("other", metavar="Q")
    compare.set_defaults(command=_preset_diff)


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
    limits, levels, choice = _limits(arguments), _levels(arguments), _choice(arguments)
    try:
        data = files.read_bytes(path, limits)
        # Apart, since the file may be one that its decoder does not survive.
        return DECODER.decode(data, path.name, limits, page=arguments.page, levels=levels, dicom=choice), data
    except FileError as error:
        raise FileError(error.code, f"{path}: {error}") from error


def _settings(arguments: argparse.Namespace, preset: presets.Preset) -> Settings:
    given = {path: getattr(arguments, path) for path in parameters() if getattr(arguments, path) is not None}
    return preset.settings | {path: parameters()[path].parse(path, text) for path, text in given.items()}


def _preset(arguments: argparse.Namespace) -> presets.Preset:
    """Return the preset that a command is to use, with the settings given by flags."""
    preset = presets.load(arguments.preset)
    settings = _settings(arguments, preset)
    return preset if settings == preset.settings else presets.with_settings(preset, settings)


def _enhance(arguments: argparse.Namespace) -> int:
    preset = _preset(arguments)
    encode.check_output(arguments.output.suffix, arguments.range, arguments.quality)
    encode.check_identity(arguments.output.suffix, arguments.keep_identity)
    if arguments.output.exists() and arguments.input.exists() and arguments.output.samefile(arguments.input):
        say(f"radtune: {arguments.output}: the output is the input; originals are never changed")
        return REFUSED
    film, data = _read(arguments.input, arguments)
    pair = run_pair(film.pixels, preset.settings)
    measured = measure(pair.before, pair.after)
    try:
        text = presets.embedded(preset) if arguments.embed else None
        choice, keep = _choice(arguments), arguments.keep_identity
        origin = presets.derivation(preset, film, choice, data, embed=arguments.embed, keep_identity=keep)
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


def _batch(arguments: argparse.Namespace) -> int:
    preset = _preset(arguments)
    passed_over = Counter[str]()
    job, tasks, done = batch.prepare(
        arguments.input,
        arguments.output,
        preset,
        suffix=f".{arguments.format}",
        kind=arguments.range,
        limits=_limits(arguments),
        resume=arguments.resume,
        overwrite=arguments.overwrite,
        passed_over=passed_over,
        embed=arguments.embed,
        quality=arguments.quality,
        levels=_levels(arguments),
        choice=_choice(arguments),
        keep_identity=arguments.keep_identity,
    )
    left_out = ", ".join(f"{count} {kind}" for kind, count in sorted(passed_over.items()))
    left_out = f"; passed over: {left_out}" if left_out else ""
    if not tasks:
        say(f"radtune: {arguments.input}: 0 images found{left_out}")
        return REFUSED
    say(f"images: {len(tasks)}{left_out}")
    say(f"preset {job.preset}; this machine computes: {presets.check_fingerprint(preset)}")
    if arguments.dry_run:
        for task in tasks:
            print(f"{task.path.as_posix()} -> {(job.target / task.output).as_posix()}")
        return DONE
    try:
        with tqdm(total=len(tasks), unit="film", disable=None) as bar:
            failed = 0

            def report(row: batch_log.Row | None) -> None:
                nonlocal failed
                if row and row["status"] == "FAILURE":
                    failed += 1
                    bar.set_postfix(failed=failed)
                if bar.total is not None and bar.n >= bar.total:
                    bar.total += 1  # a file of several pages
                bar.update()

            summary = batch.run_batch(
                tasks,
                preset,
                workers=arguments.workers,
                done=done,
                stop_on_error=arguments.stop_on_error,
                time_limit=arguments.time_limit,
                report=report,
            )
    except FileError as error:
        raise FileError(error.code, f"{arguments.output}: {error}") from error
    except KeyboardInterrupt:
        say(f"interrupted; to go on: {_resume_command()}")
        return INTERRUPTED
    _tell(summary, arguments, job)
    return SOME_FAILED if summary.failures else DONE


def _resume_command() -> str:
    command, *given = [argument for argument in sys.argv[1:] if argument not in ("--resume", "--overwrite")]
    # Before the rest, for behind a -- it would be a file's name.
    return shlex.join(["python", "-m", "xray_core", command, "--resume", *given])


def _tell(summary: batch.Summary, arguments: argparse.Namespace, job: batch.Job) -> None:
    counts = {"written": summary.written, "unchanged": summary.unchanged, "failed": summary.failures}
    if arguments.json:
        print(json.dumps(counts | {"balanced": summary.balanced, "seconds": round(summary.seconds, 2)}))
    words = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    rate = (summary.written + summary.failures) / max(summary.seconds, 1e-9)
    speed = f" ({rate:.1f} films a second); {summary.balanced} meet all targets" if rate else ""
    say(f"{words} in {summary.seconds:.1f} s{speed}")
    if summary.failed:
        causes = ", ".join(f"{code} {count}" for code, count in sorted(summary.failed.items()))
        say(f"failures by cause: {causes}; each is named in the log")
    if summary.other_size:
        say(f"{summary.other_size} films differ much in size from the one tuned on; filters count in pixels")
    say(f"log: {job.target / batch_log.LOG}")


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
            preset = presets.of_picture(data)
    except XrayError as error:
        raise PresetError(f"{path}: {error}") from None
    print(preset.dumps(), end="")
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
