"""Kill a batch again and again, and compare what it leaves with an undisturbed run: ``python benchmarks/kills.py``.

First the whole tree of processes, with SIGKILL at random moments, each time resumed; then single workers while a run
goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np

from xray_core.batch_log import Row, read_log
from xray_core.files import write
from xray_core.names import LOG
from xray_core.phantom import chest_phantom
from xray_core.run_folder import STATE


def films(folder: Path, count: int, side: int) -> None:
    """Make so many films, each another, in folders of 250."""
    base = (chest_phantom((side, side), seed=1).image >> 9).astype(np.uint8)
    for number in range(count):
        image = np.roll(base, number, axis=1) + np.uint8(number % 100)
        write(folder / f"{number // 250:03}" / f"film_{number:05}.png", image)


def command(source: Path, target: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "xray_core", "batch", str(source), str(target), "--preset", "standard", *more]


def start(source: Path, target: Path, *more: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    line = command(source, target, "--resume", "--no-report", "--workers", "2", *more)
    return subprocess.Popen(
        line, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def hashes(target: Path) -> dict[str, str]:
    """Return the digest of every output there is, by its path."""
    found = (path for path in target.rglob("*.png") if STATE not in path.parts)
    return {path.relative_to(target).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def differing(now: dict[str, str], wanted: dict[str, str]) -> list[str]:
    """Return the outputs that are not an undisturbed run's, by their digests."""
    return [name for name, digest in now.items() if wanted.get(name) != digest]


def ended_otherwise(target: Path, wanted: dict[str, str], told: list[Row]) -> list[str]:
    """Return in what a run that came to its end is not like an undisturbed one."""
    now = hashes(target)
    faults = [f"{name} differs" for name in differing(now, wanted)]
    faults += [] if now.keys() == wanted.keys() else ["outputs are lost"]
    return faults + ([] if rows(target) == told else ["the rows differ"])


def rows(target: Path) -> list[Row]:
    return [{**row, "seconds": ""} for row in read_log(target / LOG)]


def kill_trees(folder: Path, kills: int, seconds: float, seed: int) -> list[str]:
    """Kill whole runs until so many kills are reached; returns a line for the table."""
    source, whole = folder / "in", folder / "whole"
    assert start(source, whole).wait() == 0
    wanted, told = hashes(whole), rows(whole)
    chance, done, runs, faults, unfinished = random.Random(seed), 0, 0, [], 0
    while done < kills:
        target = folder / f"run_{runs}"
        while True:
            process = start(source, target)
            try:
                code = process.wait(chance.uniform(0.02, seconds) if done < kills else None)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                done += 1
                now = hashes(target)
                faults += [f"{name} is not whole" for name in differing(now, wanted)]
                unfinished += len(now) < len(wanted)
                print(f"\r{done} kills, {runs} runs finished, {len(now)} outputs", end="", file=sys.stderr)
                continue
            if code != 0:
                faults.append(f"ended with {code}: {process.stderr.read()[-300:] if process.stderr else b''!r}")
            break
        faults += ended_otherwise(target, wanted, told)
        faults += [f"{part} was left" for part in target.rglob("*.part")]
        runs += 1
    print(file=sys.stderr)
    killed = f"{done} ({unfinished} before the last output)"
    return [f"| whole tree | {killed} | {runs} | {len(wanted):,} | {len(faults)} |", *faults]


def children(process: int) -> list[int]:
    """Return the worker processes of a run."""
    found = subprocess.run(["pgrep", "-P", str(process)], capture_output=True, text=True).stdout.split()
    commands = {int(pid): Path(f"/proc/{pid}/cmdline") for pid in found}
    return [pid for pid, path in commands.items() if path.exists() and b"spawn_main" in path.read_bytes()]


def kill_workers(folder: Path, kills: int, seed: int) -> list[str]:
    """Kill single workers of one run; returns a line for the table."""
    source, whole, target = folder / "in", folder / "whole", folder / "workers"
    wanted, told = hashes(whole), rows(whole)
    chance, done, faults = random.Random(seed), 0, []
    process = start(source, target)
    while process.poll() is None and done < kills:
        time.sleep(chance.uniform(0.02, 0.2))
        workers = children(process.pid)
        written = len(list(target.glob("*/*.png")))
        if workers and 0 < written < 0.9 * len(wanted):
            os.kill(chance.choice(workers), signal.SIGKILL)
            done += 1
    code = process.wait()
    faults += [] if code == 0 else [f"ended with {code}"]
    faults += ended_otherwise(target, wanted, told)
    return [f"| single workers | {done} | 1 | {len(wanted):,} | {len(faults)} |", *faults]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--films", type=int, default=2000)
    parser.add_argument("--side", type=int, default=320)
    parser.add_argument("--seconds", type=float, default=4.0, help="latest moment of a kill")
    parser.add_argument("--workers-killed", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = parser.parse_args()
    print(f"seed {given.seed}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="radtune-kills-") as scratch:
        films(Path(scratch, "in"), given.films, given.side)
        lines = kill_trees(Path(scratch), given.kills, given.seconds, given.seed)
        lines += kill_workers(Path(scratch), given.workers_killed, given.seed)
    print("| killed | kills | runs finished | films | faults |\n|---|---|---|---|---|")
    print("\n".join(lines))
    return any(not line.startswith("|") for line in lines)


if __name__ == "__main__":
    sys.exit(main())
