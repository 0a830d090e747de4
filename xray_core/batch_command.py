"""The command ``batch``: from its arguments to a run, with progress for a terminal and words for its end."""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from itertools import islice
from types import FrameType

from tqdm import tqdm

from xray_core import presets
from xray_core.arguments import (
    DONE,
    INTERRUPTED,
    REFUSED,
    SOME_FAILED,
    STOPPED,
    choice_of,
    levels_of,
    limits_of,
    preset_of,
    say,
)
from xray_core.batch import Engine, Local, run_batch
from xray_core.batch_log import log_name
from xray_core.batch_plan import Job, prepare
from xray_core.batch_terms import Options, Summary
from xray_core.errors import RunError, SettingsError, XrayError
from xray_core.ledger import refusals
from xray_core.names import printable
from xray_core.occupied import has_begun, source_before
from xray_core.pool import cpu_count
from xray_core.rehearsal import Rehearsal, rehearse
from xray_core.report_command import has_report, write_report
from xray_core.run_folder import Phase, Progress

_FIRST = 20  # outputs that a rehearsal names in JSON


def batch(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    preset = preset_of(arguments)
    job = prepare(
        arguments.input,
        arguments.output,
        preset,
        state=arguments.state,
        suffix=f".{arguments.format}",
        kind=arguments.range,
        limits=limits_of(arguments),
        embed=arguments.embed,
        quality=arguments.quality,
        levels=levels_of(arguments),
        choice=choice_of(arguments),
        keep_identity=arguments.keep_identity,
        skip_good=arguments.skip_good,
        time_limit=float(arguments.time_limit),
        shard=arguments.shard,
    )
    options = Options(
        resume=arguments.resume or arguments.failures_only,
        overwrite=arguments.overwrite,
        failures_only=arguments.failures_only,
        verify=arguments.verify,
        stop_on_error=arguments.stop_on_error,
        command=tuple(_resuming()),
    )
    to_go_on = f"to go on: {shlex.join(options.command)}"
    greeting = f"preset {job.preset}; this machine computes: {presets.check_fingerprint(preset)}"
    if options.verify and not options.resume:
        raise SettingsError("--verify looks into a run that is gone on with: say --resume as well")
    if arguments.dry_run:
        return _rehearse(job, options, arguments, greeting)
    engine = _engine(arguments, job)
    with refusals(job.folder.manifest, job.target):
        before = source_before(job) if options.resume else ""
    if before:
        say(f"the films of this run were in {before} before")
    try:
        with _signals() as asked, tqdm(total=0, unit="film", disable=None, smoothing=0) as bar:
            summary = run_batch(job, engine, options, asked=asked, report=_onto(bar, greeting))
    except RunError as error:
        say(f"radtune: {error}")
        if error.code not in ("IN_USE", "DAMAGED") and _can_go_on(job):
            say(f"what was done is kept; {to_go_on}")
        return STOPPED[error.code]
    except KeyboardInterrupt:
        say(f"interrupted; {to_go_on}")
        return INTERRUPTED
    if summary.found == 0:
        say(f"radtune: {arguments.input}: 0 images found{_left_out(summary.passed_over)}")
        return REFUSED
    if summary.found is None:
        say(f"{summary.phase} while finding the films; {to_go_on}")
        return INTERRUPTED
    if arguments.html and job.shard[1] == 1 and (summary.worked or not has_report(job)):
        write_report(job)
    _tell(summary, arguments, job)
    if summary.phase in ("interrupted", "paused", "cancelled"):
        say(f"{summary.phase}; {to_go_on}")
        return INTERRUPTED
    if summary.phase == "stopped":
        say(f"ended at the first failure; {to_go_on}")
    return SOME_FAILED if summary.failures else DONE


def _can_go_on(job: Job) -> bool:
    with suppress(XrayError, sqlite3.Error):
        return has_begun(job.folder)
    return False


def _engine(arguments: argparse.Namespace, job: Job) -> Engine:
    if arguments.cluster is None:
        return Local(arguments.workers or cpu_count())
    from xray_core.cluster import Cluster  # takes 0.5 s, and may not be installed

    return Cluster(arguments.cluster, arguments.workers)


@contextmanager
def _signals() -> Iterator[Callable[[], Phase | None]]:
    """Have a first Ctrl-C, the SIGTERM of a scheduler or a lost terminal end the run in order, a second one at once."""
    caught = 0

    def catch(number: int, frame: FrameType | None) -> None:
        nonlocal caught
        caught += 1
        if caught > 1:
            raise KeyboardInterrupt

    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, catch) for number in numbers}
    try:
        yield lambda: "interrupted" if caught else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _onto(bar: tqdm[None], greeting: str) -> Callable[[Progress], None]:
    """Return what shows progress on a bar, and says a greeting once there is something to do."""
    greeted = False

    def report(progress: Progress) -> None:
        nonlocal greeted
        if progress.phase == "listing":
            bar.set_description(f"found {progress.total}", refresh=False)
        elif progress.phase == "running" and not greeted:
            greeted = True
            bar.set_description("", refresh=False)
            bar.clear()
            before = f", {progress.unchanged} done before" if progress.unchanged else ""
            say(f"images: {progress.total}{before}")
            say(greeting)
        if progress.failed:
            bar.set_postfix(failed=progress.failed, refresh=False)
        if progress.phase != "listing":
            bar.total = progress.total
            bar.n = progress.done
        bar.refresh()

    return report


def _resuming() -> list[str]:
    """Return the command that goes on with this one."""
    again = ("--resume", "--overwrite", "--failures-only", "--dry-run")
    command, *given = [argument for argument in sys.argv[1:] if argument not in again] or ["batch"]
    # Before the rest, for behind a -- it would be a file's name.
    return ["python", "-m", "xray_core", command, "--resume", *given]


def _rehearse(job: Job, options: Options, arguments: argparse.Namespace, greeting: str) -> int:
    workers = arguments.workers or cpu_count()
    passed_over = Counter[str]()
    with rehearse(job, options, passed_over) as plan:
        if not plan.found:
            say(f"radtune: {arguments.input}: 0 images found{_left_out(passed_over)}")
            return REFUSED
        if arguments.json:
            _print_plan(plan, passed_over, workers)
            return DONE
        for path, output in plan.outputs():
            print(printable(f"{path} -> {output}", "\N{REPLACEMENT CHARACTER}"))
        say(greeting)
        say(f"{plan.found} images found{_left_out(passed_over)}; {plan.to_do} to do; nothing was written")
        say(plan.estimate(workers).sentence)
    return DONE


def _print_plan(plan: Rehearsal, passed_over: Counter[str], workers: int) -> None:
    first = [list(names) for names in islice(plan.outputs(), _FIRST)]
    told = {"found": plan.found, "to_do": plan.to_do, "passed_over": dict(passed_over), "first": first}
    print(json.dumps(told | asdict(plan.estimate(workers))))


def _left_out(passed_over: Counter[str]) -> str:
    words = ", ".join(f"{count} {kind}" for kind, count in sorted(passed_over.items()))
    return f"; passed over: {words}" if words else ""


def _tell(summary: Summary, arguments: argparse.Namespace, job: Job) -> None:
    counts = {
        "written": summary.written,
        "skipped": summary.skipped,
        "unchanged": summary.unchanged,
        "failed": summary.failures,
    }
    if arguments.json:
        print(json.dumps(counts | {"balanced": summary.balanced, "seconds": round(summary.seconds, 2)}))
    words = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing to do"
    rate = summary.worked / max(summary.seconds, 1e-9)
    whose = "of the new, " if summary.unchanged else ""
    speed = f" ({rate:.1f} films a second); {whose}{summary.balanced} meet all targets" if rate else ""
    say(f"{words} in {summary.seconds:.1f} s{speed}{_left_out(summary.passed_over)}")
    if summary.gone == 1:
        say("1 film of the log is not among the inputs any more; its row and output stay")
    elif summary.gone:
        say(f"{summary.gone} films of the log are not among the inputs any more; their rows and outputs stay")
    if summary.failed:
        causes = ", ".join(f"{code} {count}" for code, count in sorted(summary.failed.items()))
        named = "; each is named in the log" if summary.kept < summary.failures else ""
        say(f"failures by cause: {causes}{named}")
    if summary.kept:
        say(f"{summary.kept} of them had results from before: these stay, in the log as well")
    if summary.other_size:
        films = "film differs" if summary.other_size == 1 else "films differ"
        say(f"{summary.other_size} {films} much in size from the one tuned on; filters count in pixels")
    log = log_name(job.folder.shard)
    say(f"log: {job.target}/{log}" if isinstance(job.target, str) else f"log: {job.target / log}")
