"""Prove a batch on a Dask cluster of this machine: ``python benchmarks/cluster.py`` writes CLUSTER.md beside this file.

A scheduler and three workers on loopback. Films are small, so that what is measured is what a cluster adds to each.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np
from clusters import Nodes, wait_for

import xray_core
from xray_core.batch_log import Row, read_log
from xray_core.files import read, write
from xray_core.names import LOG
from xray_core.phantom import chest_phantom
from xray_core.pool import cpu_count
from xray_core.run_folder import STATE, RunFolder

# isort: split
import cv2

NODES = 3


def films(folder: Path, count: int, side: int) -> None:
    """Make so many films, each another, in folders of 500."""
    base = (chest_phantom((side, side), seed=1).image >> 9).astype(np.uint8)
    for number in range(count):
        image = np.roll(base, number % side, axis=1) + np.uint8(number % 100)
        write(folder / f"{number // 500:03}" / f"film_{number:05}.png", image)


def start(source: Path, target: Path, *more: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "xray_core", "batch", str(source), str(target), "--preset", "standard", "--no-report"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([*line, *more], env=environment, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """Wait for a run; returns what it said."""
    said = process.communicate()[1]
    assert process.returncode == code, said
    return said


def rate(said: str) -> float:
    """Return the films a second that a run tells."""
    return float(re.search(r"\(([0-9.]+) films a second", said)[1])


def hashes(target: Path) -> dict[str, str]:
    found = (path for path in target.rglob("*.png") if STATE not in path.parts)
    return {path.relative_to(target).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def rows(target: Path) -> list[Row]:
    return [{**row, "seconds": ""} for row in read_log(target / LOG)]


def differences(target: Path, whole: Path) -> str:
    """Return in how many outputs and rows two runs differ; which outputs, and how, goes to stderr."""
    one, other = hashes(target), hashes(whole)
    packed = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    wrong = 0
    for name in packed:
        sizes = [(folder / name).stat().st_size if (folder / name).exists() else None for folder in (target, whole)]
        same = None not in sizes and np.array_equal(*(read(folder / name).pixels for folder in (target, whole)))
        wrong += not same
        print(f"{target.name}/{name}: {sizes} bytes, pixels {'alike' if same else 'differ'}", file=sys.stderr)
    lines, wanted = rows(target), rows(whole)
    wrong_rows = sum(a != b for a, b in zip(lines, wanted, strict=False)) + abs(len(lines) - len(wanted))
    return f"{wrong} | {len(packed)} | {wrong_rows}"


def done(target: Path) -> int:
    progress = RunFolder(target).progress()
    return progress.done if progress else 0


def whole_runs(folder: Path, rounds: int) -> list[str]:
    """Time local and cluster in turn."""
    source, load = folder / "in", os.getloadavg()[0]
    local, spread, lines = [], [], []
    for number in range(rounds):
        local.append(rate(finish(start(source, folder / f"local{number}", "--workers", str(NODES)))))
        with Nodes(folder / f"nodes{number}", NODES) as nodes:
            spread.append(rate(finish(start(source, folder / f"spread{number}", "--cluster", nodes.address))))
        lines.append(
            f"| undisturbed, run {number + 1} | {differences(folder / f'spread{number}', folder / 'local0')} |"
        )
    ratio = statistics.median(b / a for a, b in zip(local, spread, strict=True))
    added = statistics.median(1000 / b - 1000 / a for a, b in zip(local, spread, strict=True))
    a, b = statistics.median(local), statistics.median(spread)
    speed = (
        f"{a:.0f} films a second with {NODES} processes of this machine, {b:.0f} with {NODES} workers of the cluster: "
        f"{ratio:.2f} times as many, {added:+.2f} ms a film\n(medians of {rounds} pairs in turn"
    )
    others = f"; load of the machine by others at the beginning {load:.1f}"
    return [f"{speed}{others})." if load > 0.5 else f"{speed}).", *lines]


def churn(folder: Path) -> str:
    """Kill a worker of a run and add one."""
    target = folder / "churn"
    with Nodes(folder / "nodes_churn", NODES) as nodes:
        process = start(folder / "in", target, "--cluster", nodes.address)
        wait_for(lambda: done(target) > 0)
        nodes.kill(nodes.workers[0])
        nodes.add()
        finish(process)
        helped = "run_shard" in nodes.said(f"worker{NODES + 1}") or "end_run" in nodes.said(f"worker{NODES + 1}")
    assert helped
    return f"| a worker killed, another added | {differences(target, folder / 'local0')} |"


def deaths(folder: Path) -> str:
    """Kill our process of each worker in turn while a run goes on."""
    target = folder / "deaths"
    killed = 0
    with Nodes(folder / "nodes_deaths", NODES) as nodes:
        process = start(folder / "in", target, "--cluster", nodes.address)
        wait_for(lambda: done(target) > 0)
        for one in nodes.served():
            os.kill(one, signal.SIGKILL)
            killed += 1
        finish(process)
    return f"| our process killed on {killed} nodes at once | {differences(target, folder / 'local0')} |"


def lost(folder: Path) -> str:
    """Kill the scheduler, and go on with another one."""
    target = folder / "lost"
    with Nodes(folder / "nodes_lost", NODES) as nodes:
        process = start(folder / "in", target, "--cluster", nodes.address)
        wait_for(lambda: done(target) > 0)
        nodes.kill(nodes.scheduler)
        began = time.monotonic()
        said = finish(process, 69)
        seconds = time.monotonic() - began
        assert "the cluster is lost" in said, said
        wait_for(lambda: not nodes.served())
    before = len(hashes(target))
    with Nodes(folder / "nodes_again", NODES) as nodes:
        said = finish(start(folder / "in", target, "--cluster", nodes.address, "--resume"))
    again = int(re.search(r"(\d+) written", said)[1])
    words = f"told after {seconds:.0f} s with {before:,} outputs there; resumed with another, {again:,} computed"
    return f"| the scheduler killed: {words} | {differences(target, folder / 'local0')} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=3000)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="radtune-cluster-") as scratch:
        folder = Path(scratch)
        films(folder / "in", given.films, given.side)
        speed, *same = whole_runs(folder, given.rounds)
        lines = [*same, churn(folder), deaths(folder), lost(folder)]
    versions = f"Python {platform.python_version()}, Dask {version('distributed')}, OpenCV {cv2.__version__}"
    text = f"""# The batch on a cluster

Written by `python benchmarks/cluster.py`: {given.films:,} films of {given.side} x {given.side} pixels, a Dask scheduler
and {NODES} workers of one thread on loopback, from the command line. All of them share one machine with the run itself:
what counts is that nothing is lost, and what a cluster adds to each film.

{platform.machine()}, {cpu_count()} cores, {versions}, RadTune {xray_core.__version__}.

{speed}

Of {given.films:,} films, so many differ from the run on this machine alone:

| run on the cluster | pixels | bytes of the file | rows but for their seconds |
|---|---|---|---|
"""
    text += "\n".join([*lines, ""])
    (ROOT / "benchmarks" / "CLUSTER.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
