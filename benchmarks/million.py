"""A million tiny films through one run: the parent's memory and the rate over time, then a resume with nothing to do.

``python benchmarks/million.py`` makes the films (16 x 16 pixels, each another), 8 GB of disk with the outputs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np

from xray_core.encode import encode
from xray_core.names import LOG
from xray_core.run_folder import STATE, RunFolder


def films(folder: Path, count: int) -> None:
    for number in range(count):
        if number % 1000 == 0:
            (folder / f"{number // 1000:04}").mkdir(parents=True)
        image = np.full((16, 16), 60 + number % 100, np.uint8)
        image[:8] = number // 100 % 256
        image[4:12, 4:12] = number // 25_600 % 256
        (folder / f"{number // 1000:04}" / f"film_{number:07}.png").write_bytes(encode(image, ".png"))


def megabytes(process: int) -> float:
    """Return the memory that a process holds, as Linux tells it; 0 where it has just ended."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith("VmRSS:")), 0.0)


def watch(source: Path, target: Path, every: float) -> tuple[list[tuple[float, str, int, float]], float, str]:
    """Run a batch; returns (seconds, phase, files done, parent's MB) over time, all seconds, and its last words."""
    line = [sys.executable, "-m", "xray_core", "batch", str(source), str(target), "--resume", "--preset", "standard"]
    started = time.monotonic()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    told = []
    while True:
        try:
            process.wait(every)
            break
        except subprocess.TimeoutExpired:
            progress = RunFolder(target).progress()
            if progress:
                now = time.monotonic() - started
                told.append((now, progress.phase, progress.done, megabytes(process.pid)))
                print(f"\r{now:.0f} s {progress.phase} {progress.done} of {progress.total}", end="", file=sys.stderr)
    words = process.stderr.read() if process.stderr else ""
    if process.returncode:
        raise SystemExit(words)
    return told, time.monotonic() - started, words.strip().splitlines()[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=1_000_000)
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two looks")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="radtune-million-") as scratch:
        source, target = Path(scratch, "in"), Path(scratch, "out")
        films(source, given.films)
        told, seconds, _ = watch(source, target, given.every)
        listing = sum(1 for one in told if one[1] == "listing") * given.every
        running = [one for one in told if one[1] == "running"]
        tenths = [running[len(running) * part // 10] for part in range(10)] + [running[-1]]
        print(f"{given.films:,} films in {seconds:.0f} s, of which about {listing:.0f} s listing them.\n")
        print("| done | seconds | films a second since | parent's memory, MB |\n|---|---|---|---|")
        for before, one in zip([running[0], *tenths[:-1]], tenths, strict=True):
            rate = (one[2] - before[2]) / (one[0] - before[0]) if one[0] > before[0] else 0
            print(f"| {one[2]:,} | {one[0]:.0f} | {rate:.0f} | {one[3]:.0f} |")
        for phase in ("listing", "finishing"):
            most = max([one[3] for one in told if one[1] == phase], default=0)
            print(f"\nMost while {phase}: {most:.0f} MB.", end="")
        print()
        books, log = target / STATE / "manifest.sqlite", target / LOG
        print(f"Books: {books.stat().st_size / 1e6:.0f} MB; log: {log.stat().st_size / 1e6:.0f} MB.")
        for name in ("first resume", "second resume"):
            again, seconds, words = watch(source, target, 0.2)
            most = max([one[3] for one in again], default=0)
            print(f"{name.capitalize()} of the finished run: {seconds:.1f} s, at most {most:.0f} MB ({words}).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
