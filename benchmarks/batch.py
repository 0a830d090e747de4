"""Time the command ``batch`` against a plain loop and against its own limit, in turn, and write BATCH.md beside this.

*Plain* is plain_loop.py. *Batch* is the whole command with its log and all metrics. The *limit* is the same pool doing
nothing but read, decode, encode and write. Usage: ``python benchmarks/batch.py [--rounds N] [--real FOLDER]``; with a
folder of real films, they are measured as well, scaled or tiled to the same sizes. ``--against CHECKOUT`` measures the
command of another checkout of RadTune too, in turn with the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import isal
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import xray_core
from xray_core.decode import decode
from xray_core.encode import encode
from xray_core.files import SUFFIXES, read_bytes, write_bytes
from xray_core.phantom import chest_phantom
from xray_core.pool import cpu_count, run_tasks

# isort: split
import cv2  # after xray_core, which fixes how OpenCV computes
import skimage

WORKERS = 2
SIZES = ((299, 299), (1024, 1024), (2500, 3000))
SIDES = {"published": 224, "standard": 0}
FILMS = {  # so many that the start of the command, half a second, does not decide
    "published": (3000, 1200, 300),
    "standard": (2000, 300, 60),
}
DISTINCT = 4
PLAIN_SHARE = 4  # the plain loop does every fourth film: it has no start, and takes long enough


Task = tuple[Path, Path, int]  # film, output, and the output's side or 0


@dataclass(frozen=True)
class Row:
    """One line of the table, as films a second of each round."""

    title: str
    ratio_png: float
    plain: list[float]
    batch: list[float]
    inside: list[float]
    limit: list[float]
    opencv: list[float]
    other: list[float]
    plain_work: list[float]
    batch_work: list[float]
    other_work: list[float]


def phantoms(size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yield films with a detector's noise, so that they pack about as badly as real ones."""
    for seed in range(DISTINCT):
        yield (chest_phantom(size[::-1], seed=seed, photons=500).image >> 8).astype(np.uint8)


def real(folder: Path, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yield real films of a size: smaller ones mirrored until they fill it, larger ones scaled."""
    width, height = size
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    found = (cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths)
    large = [film for film in found if film is not None and min(film.shape) >= min(1000, width)]
    for film in large[:: max(len(large) // DISTINCT, 1)][:DISTINCT]:
        while film.shape[0] < height or film.shape[1] < width:
            film = np.vstack([film, film[::-1]]) if film.shape[0] < height else np.hstack([film, film[:, ::-1]])
        if height <= 1024:
            yield cv2.resize(film, size, interpolation=cv2.INTER_AREA)
        else:
            yield np.ascontiguousarray(film[:height, :width])


def limit_task(task: Task) -> None:
    """Do what no preprocessing can do without; the output has the size of the preset's."""
    source, target, side = task
    pixels = decode(read_bytes(source), source.name).pixels
    write_bytes(target, encode(middle(pixels, side), ".png"))


def opencv_task(task: Task) -> None:
    """Do the same by OpenCV alone."""
    source, target, side = task
    target.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(target), middle(cv2.imread(str(source), cv2.IMREAD_GRAYSCALE), side))


def middle(pixels: np.ndarray, side: int) -> np.ndarray:
    if not side:
        return pixels
    top, left = ((length - side) // 2 for length in pixels.shape)
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])


def plain_seconds(source: Path, target: Path, films: int, side: int, **environment: str) -> tuple[float, float]:
    ordinary = {name: value for name, value in os.environ.items() if not name.startswith("OPENCV")} | environment
    words = [sys.executable, str(HERE / "plain_loop.py"), str(source), str(target), str(films), str(side)]
    said = subprocess.run(words, env=ordinary, check=True, capture_output=True, text=True).stdout.split()
    return float(said[0]), float(said[1])


def batch_seconds(checkout: Path, source: Path, target: Path, preset: str) -> tuple[float, float, float]:
    """Return the seconds of the whole command, those that it says itself, and those of the processors."""
    words = [sys.executable, "-m", "xray_core", "batch", str(source), str(target), "--preset", preset]
    start, used = time.perf_counter(), work()
    done = subprocess.run(
        [*words, "--workers", str(WORKERS), "--json"], cwd=checkout, check=True, capture_output=True, text=True
    )
    return time.perf_counter() - start, json.loads(done.stdout)["seconds"], work() - used


def work() -> float:
    """Return the seconds that processors worked for processes that this one has started and that have ended."""
    return sum(os.times()[2:4])


def limit_seconds(function: Callable[[Task], None], source: Path, target: Path, side: int) -> float:
    start = time.perf_counter()
    for _ in run_tasks(function, ((path, target / path.name, side) for path in sorted(source.iterdir())), WORKERS):
        pass
    return time.perf_counter() - start


def measured(title: str, films: list[bytes], count: int, preset: str, rounds: int, against: Path | None) -> Row:
    """Measure one kind of film with one preset."""
    side = SIDES[preset]
    rates: list[list[float]] = [[] for _ in range(9)]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "in")
        source.mkdir()
        for number in range(count):
            # Each its own file, as on a disk; the few distinct ones stay in the cache of all sides.
            (source / f"{number:05}.png").write_bytes(films[number % len(films)])
        for _ in range(rounds):
            some = count // PLAIN_SHARE
            wall, used = plain_seconds(source, Path(folder, "plain"), some, side)
            rates[0].append(some / wall)
            rates[6].append(some / used)
            whole, inside, used = batch_seconds(HERE.parent, source, Path(folder, "batch"), preset)
            rates[1].append(count / whole)
            rates[2].append(count / inside)
            rates[7].append(count / used)
            rates[3].append(count / limit_seconds(limit_task, source, Path(folder, "limit"), side))
            rates[4].append(count / limit_seconds(opencv_task, source, Path(folder, "opencv"), side))
            if against is not None:
                whole, _, used = batch_seconds(against, source, Path(folder, "other"), preset)
                rates[5].append(count / whole)
                rates[8].append(count / used)
            if len(rates[0]) == 1:
                check(source, Path(folder, "batch"), len(films), side)
            for name in ("plain", "batch", "limit", "opencv", "other"):
                shutil.rmtree(Path(folder, name), ignore_errors=True)
    pixels = sum(cv2.imdecode(np.frombuffer(film, np.uint8), cv2.IMREAD_UNCHANGED).nbytes for film in films)
    return Row(title, pixels / sum(map(len, films)), *rates)


def check(source: Path, batch: Path, films: int, side: int) -> None:
    """Stop where the pictures differ, once Intel's IPP, which RadTune never uses, is off in the plain loop too."""
    plain = batch.with_name("checked")
    plain_seconds(source, plain, films, side, OPENCV_IPP="disabled")
    for path in plain.iterdir():
        one, other = (cv2.imread(str(made), cv2.IMREAD_UNCHANGED) for made in (path, batch / path.name))
        assert np.array_equal(one, other), path.name


def ratio(above: list[float], below: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def line(row: Row) -> str:
    rates = [
        f"{statistics.median(side):.{0 if statistics.median(side) >= 100 else 1}f}"
        for side in (row.plain, row.batch, row.limit, row.opencv)
    ]
    cells = [row.title, f"{row.ratio_png:.1f}", *rates, f"**{ratio(row.batch, row.plain):.1f}**"]
    cells += [f"{ratio(row.inside, row.plain):.1f}", f"**{ratio(row.batch, row.limit):.2f}**"]
    cells += [f"{ratio(row.batch, row.opencv):.2f}", f"{ratio(row.batch_work, row.plain_work):.1f}"]
    cells += [f"{ratio(row.batch, row.other):.2f}", f"{ratio(row.batch_work, row.other_work):.2f}"] if row.other else []
    return f"| {' | '.join(cells)} |"


def table(rows: list[Row]) -> list[str]:
    other = rows[0].other
    head = "| film, preset | packs to 1: | plain | batch | limit | by OpenCV | batch / plain | without start "
    head += "| batch / limit | batch / by OpenCV | batch / plain by work |"
    return [
        head + (" batch / other | by work |" if other else ""),
        "|---" * (13 if other else 11) + "|",
        *map(line, rows),
    ]


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--rounds", type=int, default=5)
    words.add_argument("--real", type=Path)
    words.add_argument("--against", type=Path)
    words.add_argument("--only", default="", help="part of a row's title; prints, and writes no file")
    given = words.parse_args()
    rows = []
    for kind in ("phantom", "real") if given.real else ("phantom",):
        for place, size in enumerate(SIZES):
            titles = {preset: f"{kind} {size[0]} x {size[1]}, {preset}" for preset in SIDES}
            wanted = [preset for preset, title in titles.items() if given.only in title]
            made = (phantoms(size) if kind == "phantom" else real(given.real, size)) if wanted else ()
            films = [cv2.imencode(".png", film)[1].tobytes() for film in made]
            for preset in wanted:
                count = FILMS[preset][place]
                rows.append(measured(titles[preset], films, count, preset, given.rounds, given.against))
                print("\n".join(table(rows[-1:])), flush=True)
    lines = [
        "# Batch",
        "",
        "Written by `python benchmarks/batch.py`. Films a second, median of "
        f"{given.rounds} rounds in which all sides took their turn; ratios are medians of the rounds' ratios.",
        "",
        f"{platform.machine()}, {cpu_count()} cores, Python {platform.python_version()}, OpenCV {cv2.__version__}, "
        f"NumPy {np.__version__}, scikit-image {skimage.__version__}, isal {isal.__version__}, "
        f"RadTune {xray_core.__version__}.",
        "",
        "- *Plain*: a loop in one process with OpenCV as it comes: `imread`, the five published calls, scikit-image's "
        "SSIM, `imwrite` (plain_loop.py). Its imports are not counted.",
        f"- *Batch*: the whole command `python -m xray_core batch IN OUT --preset P --workers {WORKERS} --json` from "
        "its start to its end, with all metrics and the log; *without start*: by the seconds that it says itself.",
        f"- *Limit*: the same pool of {WORKERS} processes, from their start, doing nothing but read, decode, encode "
        "and write, with the same codecs; *by OpenCV*: with `imread` and `imwrite` instead.",
        "- *By work*: films a second of processor time, start and log included, whatever else the machine does.",
        "- `published` scales to 224 x 224, `standard` keeps the size. Films are 8-bit gray PNGs by OpenCV.",
        "",
        *table(rows),
        "",
    ]
    if not given.only:
        (HERE / "BATCH.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
