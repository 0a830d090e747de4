"""Every file of a folder of hostile files through `enhance` and through one batch: what is loaded, what refused, how.

    python benchmarks/hostile.py ../shared/data/bad [--manifest CSV] [--limit-pixels N] [--markdown FILE]

Prints a table by kind and reason, and where the outcome differs from what the libraries of the manifest made of a file.
Ends with status 1 if a process crashed or hung, memory went beyond 1.5 GB, or enhance and batch disagree.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import multiprocessing
import re
import resource
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from xray_core import cli
from xray_core.archive import is_archive
from xray_core.batch_log import read_log
from xray_core.errors import FileError
from xray_core.files import read
from xray_core.isolated import DECODER
from xray_core.limits import declared
from xray_core.names import LOG

MOST_MEMORY = 1_500_000  # kB of a worker
SLOWEST = 20.0
PRESET = "published"


@dataclass(frozen=True)
class Outcome:
    """What became of one file: words without its path, empty where it was loaded."""

    loaded: bool
    words: str
    seconds: float


def say(arguments: list[str]) -> tuple[int, str]:
    """Run a command in this process; return its status and what it said."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            status = cli.main(arguments)
        except SystemExit as ended:
            status = int(ended.code or 0)
    return status, said.getvalue()


def enhanced(path: Path, out: Path, flags: list[str]) -> Outcome:
    """Put one file through `enhance`."""
    out.unlink(missing_ok=True)
    started = time.perf_counter()
    status, said = say(["enhance", *flags, "--preset", PRESET, "--", str(path), str(out)])
    seconds = time.perf_counter() - started
    if status == cli.DONE:
        read(out)  # what was written is a picture
        return Outcome(True, "", seconds)
    assert "Traceback" not in said, said
    assert not out.exists()
    assert said.count("\n") == 1, said
    line = said.strip().removeprefix("radtune: ")
    # The name may hold anything; what is said of it comes last.
    return Outcome(False, line.rpartition(f"{path.suffix}: ")[2] if path.suffix else line.rpartition(": ")[2], seconds)


def batched(folder: Path, out: Path, flags: list[str]) -> dict[str, list[dict[str, str]]]:
    """Put a folder through one batch; return its rows by file."""
    status, said = say(["batch", *flags, "--preset", PRESET, "--time-limit", "60", "--", str(folder), str(out)])
    assert status in (cli.DONE, cli.SOME_FAILED), said
    rows: dict[str, list[dict[str, str]]] = {}
    for row in read_log(out / LOG):
        rows.setdefault(row["path"].partition("//")[0], []).append(row)
    return rows


def archives(paths: list[Path], scratch: Path, flags: list[str]) -> list[str]:
    """Put each archive among the files through a batch of its own; return a line for each, and its rows by reason."""
    lines = []
    for path in paths:
        try:
            if not is_archive(path):
                continue
        except FileError:
            pass
        target = scratch / f"of {path.name}"
        status, said = say(["batch", *flags, "--preset", PRESET, "--", str(path), str(target)])
        assert "Traceback" not in said, said
        log = target / LOG
        rows = read_log(log) if log.is_file() else []
        counts = Counter(row["reason"] or "loaded" for row in rows)
        words = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
        lines.append(f"  {path.name}: status {status}: {words or said.strip().rpartition(path.name + ': ')[2]}")
    return lines


def expected(manifest: Path) -> dict[str, bool]:
    """Return of each file whether any library of the manifest read it."""
    with manifest.open(newline="", encoding="utf-8") as file:
        return {row["file"].partition("/")[2]: ": ok" in row["library_result"] for row in csv.DictReader(file)}


def table(outcomes: dict[str, Outcome], reasons: dict[str, str]) -> list[str]:
    """Return a Markdown table: kinds, numbers loaded, and refusals by code and words."""
    kinds: dict[str, Counter[str]] = {}
    for name, outcome in outcomes.items():
        words = re.sub(r"[\d,.]*\d[\d,.e+]*", "N", f"{reasons.get(name, '')}: {outcome.words}")
        kinds.setdefault(name.partition("/")[0], Counter())["loaded" if outcome.loaded else words] += 1
    lines = ["| kind | files | loaded | refused with |", "|---|---|---|---|"]
    for kind, counts in sorted(kinds.items()):
        loaded = counts.pop("loaded", 0)
        lines.append(f"| {kind} | {loaded + counts.total()} | {loaded} | |")
        lines += [f"| | {count} | | {words} |" for words, count in counts.most_common()]
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description="Hostile files through enhance and batch.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--markdown", type=Path)
    for name in declared():
        parser.add_argument(f"--limit-{name.replace('_', '-')}")
    given = parser.parse_args()
    flags = [
        word
        for name in declared()
        if (value := getattr(given, f"limit_{name}"))
        for word in (f"--limit-{name.replace('_', '-')}", value)
    ]
    paths = sorted(path for path in given.folder.rglob("*") if path.is_file())
    faults: list[str] = []
    outcomes, reasons = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        for path in paths:
            name = path.relative_to(given.folder).as_posix()
            outcomes[name] = outcome = enhanced(path, Path(scratch, "out.png"), flags)
            if outcome.seconds > SLOWEST:
                faults.append(f"{name}: took {outcome.seconds:.0f} s")
            if "crashed" in outcome.words or "failed: " in outcome.words:
                faults.append(f"{name}: {outcome.words}")
        rows = batched(given.folder, Path(scratch, "batch"), flags)
        print("\n".join(["archives:", *archives(paths, Path(scratch), flags)]))
    for name, mine in rows.items():
        key = name.encode().decode("unicode_escape") if "\\u" in name else name
        outcome = outcomes.get(key)
        if outcome is None:
            faults.append(f"{name}: in the log alone")
            continue
        code = mine[0]["reason"].partition(": ")[0]
        reasons[key] = code
        if outcome.loaded != (mine[0]["status"] == "SUCCESS"):
            faults.append(f"{name}: enhance {outcome.words or 'loaded'}, batch {mine[0]['reason'] or 'loaded'}")
        if code in ("CRASH", "TIMEOUT", "INTERNAL"):
            faults.append(f"{name}: {mine[0]['reason']}")
    # Only those that were waited for count.
    DECODER.close()
    for child in multiprocessing.active_children():
        child.join()
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    if most > MOST_MEMORY:
        faults.append(f"a process took {most / 1e6:.2f} GB")
    lines = table(outcomes, reasons)
    print("\n".join(lines))
    loaded = sum(outcome.loaded for outcome in outcomes.values())
    print(f"\n{len(outcomes)} files: {loaded} loaded, {len(outcomes) - loaded} refused; {len(rows)} in the batch")
    print(f"largest process {most / 1e6:.2f} GB; slowest file {max(o.seconds for o in outcomes.values()):.2f} s")
    if given.manifest:
        for name, good in expected(given.manifest).items():
            outcome = outcomes.get(name)
            if outcome and outcome.loaded != good:
                print(
                    f"differs: {name}: libraries {'read' if good else 'refused'} it, {outcome.words or 'loaded here'}"
                )
    if given.markdown:
        given.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(["faults:", *faults]) if faults else "no faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
