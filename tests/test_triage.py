"""What came out of a run: distributions and causes against NumPy and the log, the report, the log in other formats."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow.parquet as pq
import pytest
from batches import QUICK, apply, by_path

from xray_core import cli
from xray_core.batch_plan import job_of, prepare
from xray_core.errors import FileCode, SettingsError
from xray_core.files import read, write
from xray_core.image import Image
from xray_core.manifest import Manifest
from xray_core.metrics import COLUMNS, DEFAULT_TARGETS, METRICS
from xray_core.pipeline import parameters, run
from xray_core.presets import create
from xray_core.rehearsal import duration, rehearse
from xray_core.report import report
from xray_core.report_command import books
from xray_core.run_folder import STATE
from xray_core.thumbnails import before_and_after
from xray_core.triage import MEANINGS, causes, counts, distributions, worst

# isort: split
import cv2

Textured = Callable[..., Image]
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over films from dark to bright, and files that fail."""
    root = tmp_path_factory.mktemp("triage")
    chance = np.random.default_rng(1)
    for number in range(24):
        low = 4 * number
        write(root / "in" / f"film_{number:02}.png", chance.integers(low, low + 120, (90, 80), dtype=np.uint8))
    for number in range(3):
        (root / "in" / f"bad_{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR")
    (root / "in" / "<img src=x onerror=alert(1)>.png").write_bytes(b"")
    apply(root / "in", root / "out", QUICK | {"normalize.on": False, "clahe.on": False})
    return root / "out"


@pytest.fixture
def manifest(target: Path) -> Iterator[Manifest]:
    with books(target) as opened:
        yield opened


def test_numbers_are_those_of_the_log(target: Path, manifest: Manifest) -> None:
    rows = [row for row in by_path(target).values() if row["status"] == "SUCCESS"]
    good = sum(row["verdict"].startswith("Balanced") for row in rows)
    assert counts(manifest) == {"written": 24, "skipped": 0, "on_target": good, "failed": 4, "to_do": 0}
    found = {one.column: one for one in distributions(manifest, DEFAULT_TARGETS)}
    assert set(found) == set(COLUMNS)
    for column, one in found.items():
        values = np.array([float(row[column]) for row in rows])
        values = values[np.isfinite(values)]
        assert one.count == len(values) == sum(one.counts)
        assert len(one.edges) == len(one.counts) + 1
        assert (one.low, one.high) == pytest.approx((values.min(), values.max()), abs=1e-6)
        assert one.mean == pytest.approx(values.mean(), abs=1e-6)
        assert one.median == pytest.approx(np.sort(values)[len(values) // 2], abs=1e-6)
        if one.target:
            low, high = one.target
            assert one.off_target == np.count_nonzero((values < low) | (values > high))
    assert {one.column for one in found.values() if one.target} == {"ssim", "brightness_after", "clipped"}
    # Values fall into the bins that NumPy puts them into, but where one lies on an edge.
    values = [float(row["brightness_after"]) for row in rows]
    wanted, _ = np.histogram(values, bins=len(found["brightness_after"].counts))
    assert np.abs(np.cumsum(wanted) - np.cumsum(found["brightness_after"].counts)).max() <= 1


def test_films_of_one_value_stand_in_the_middle(tmp_path: Path) -> None:
    write(tmp_path / "in" / "film.png", np.full((80, 80), 90, np.uint8))
    apply(tmp_path / "in", tmp_path / "out", {"normalize.on": False})
    with books(tmp_path / "out") as manifest:
        found = {one.column: one for one in distributions(manifest, DEFAULT_TARGETS)}
    for one in found.values():
        assert sum(one.counts) == 1
        assert one.edges[0] < one.low < one.edges[-1]
        assert one.counts.index(1) in (len(one.counts) // 2 - 1, len(one.counts) // 2)


def test_causes_are_counted_and_explained(manifest: Manifest) -> None:
    found = causes(manifest)
    assert [(cause.code, cause.count) for cause in found] == [("DECODE", 3), ("EMPTY", 1)]
    assert [path for path, _ in found[0].examples] == ["bad_0.png", "bad_1.png", "bad_2.png"]
    assert all(cause.words == MEANINGS[cause.code] for cause in found)
    assert set(MEANINGS) | {"DISK_FULL"} == set(get_args(FileCode))


def test_the_worst_are_those_farthest_outside_the_target(target: Path, manifest: Manifest) -> None:
    rows = [row for row in by_path(target).values() if row["status"] == "SUCCESS"]
    low, high = DEFAULT_TARGETS["brightness"]
    wanted = sorted(
        rows, key=lambda row: -max(low - float(row["brightness_after"]), float(row["brightness_after"]) - high)
    )
    found = worst(manifest, DEFAULT_TARGETS, "brightness_after", 5)
    assert [row["path"] for row in found] == [row["path"] for row in wanted[:5]]
    found = worst(manifest, DEFAULT_TARGETS, "psnr", 3)
    assert [row["path"] for row in found] == [
        row["path"] for row in sorted(rows, key=lambda row: float(row["psnr"]))[:3]
    ]


def test_thumbnails_are_of_the_film_as_the_run_made_it(target: Path, manifest: Manifest) -> None:
    job = job_of(manifest, target, target)
    (row,) = worst(manifest, DEFAULT_TARGETS, "ssim", 1)
    before, after = before_and_after(job, manifest.task(row["file"]), row["page"], row, side=32)
    pictures = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE) for data in (before, after)]
    assert all(picture.shape == (32, 32) for picture in pictures)
    wanted = cv2.resize(read(target / row["output"]).pixels, (32, 32), interpolation=cv2.INTER_AREA)
    assert np.abs(pictures[1].astype(int) - wanted).mean() < 5  # JPEG of noise
    assert not np.array_equal(*pictures)


def test_the_report_holds_all_and_asks_nothing_from_outside(target: Path, manifest: Manifest) -> None:
    job = job_of(manifest, target, target)
    text = report(job, manifest)
    assert "Not for diagnosis" in text
    for metric in METRICS.values():
        assert f"<h3>{metric.label}" in text
    assert "DECODE" in text
    assert html.escape("<img src=x onerror=alert(1)>.png") in text
    assert "<img src=x" not in text
    assert text.count('src="data:image/jpeg;base64,') == text.count("<img ") == 3 * 4 * 2
    assert not re.search(r"(src|href)=[\"']?(https?:|//|file:)", text)
    assert "<script" not in text
    assert str(target.parent) not in text
    for path in ("clahe.on", "resize.size"):
        assert path in text


def test_the_report_of_a_run_whose_inputs_are_gone_says_so(tmp_path: Path, textured: Textured) -> None:
    write(tmp_path / "in" / "film.png", textured(50, 50))
    apply(tmp_path / "in", tmp_path / "out")
    (tmp_path / "in" / "film.png").unlink()
    with books(tmp_path / "out") as manifest:
        text = report(job_of(manifest, tmp_path / "out", tmp_path / "out"), manifest)
    assert "the file or folder does not exist" in text


def test_a_run_of_nothing_but_failures_has_a_report(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "film.png").write_bytes(b"")
    assert cli.main(["batch", str(tmp_path / "in"), str(tmp_path / "out")]) == 1
    text = (tmp_path / "out" / "report.html").read_text()
    assert "No film was written." in text
    assert "EMPTY" in text


def test_the_log_in_other_formats(target: Path, tmp_path: Path) -> None:
    given = ["report", target, "--csv", tmp_path / "log.csv", "--parquet", tmp_path / "log.parquet"]
    assert cli.main([str(one) for one in given]) == 0
    assert (tmp_path / "log.csv").read_bytes() == (target / "log.csv").read_bytes()
    table = pq.read_table(tmp_path / "log.parquet").to_pylist()
    rows = by_path(target)
    assert [row["path"] for row in table] == list(rows)
    for row in table:
        told = rows[row["path"]]
        assert row["status"] == told["status"]
        if row["status"] == "SUCCESS":
            assert row["ssim"] == pytest.approx(float(told["ssim"]), abs=1e-6)
            assert isinstance(row["width"], int)
            assert {path: row[path] for path in parameters()} == parameters_of(target)
        else:
            assert row["clahe.on"] is None
    assert not list(tmp_path.glob(".*.part"))


def parameters_of(target: Path) -> dict[str, object]:
    settings: dict[str, object] = json.loads((target / "used.preset.json").read_text())["settings"]
    return settings


def test_a_report_of_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"radtune: {tmp_path}: no run of RadTune has its books here\n"
    with pytest.raises(SettingsError), books(tmp_path):
        pass


def test_a_report_is_written_over_nothing_else(
    target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "film.png").write_bytes(b"film")
    for flag, path, words in (
        ("--csv", tmp_path / "film.png", "ends in .csv is expected"),
        ("--html", target / "used.preset.json", "ends in .html is expected"),
        ("--parquet", target / STATE / "log.parquet", "ends in .parquet is expected"),
        ("--html", tmp_path / "nowhere" / "report.html", "no such folder"),
    ):
        assert cli.main(["report", str(target), flag, str(path)]) == 2
        assert words in capsys.readouterr().err
    assert (tmp_path / "film.png").read_bytes() == b"film"


def test_no_picture_of_another_film_is_shown(tmp_path: Path, textured: Textured) -> None:
    write(tmp_path / "in" / "film.png", textured(50, 50))
    apply(tmp_path / "in", tmp_path / "out")
    write(tmp_path / "in" / "film.png", textured(50, 50, seed=9))
    with books(tmp_path / "out") as manifest:
        text = report(job_of(manifest, tmp_path / "out", tmp_path / "out"), manifest)
    assert "the file is another than when it was done" in text
    assert "<img" not in text


def test_a_report_can_be_had_of_a_run_that_was_killed(tmp_path: Path, target: Path) -> None:
    line = (
        "import os, signal, sys; from pathlib import Path; sys.path.insert(0, 'tests')\n"
        "from batches import apply\n"
        "kill = lambda progress: progress.phase == 'finishing' and os.kill(os.getpid(), signal.SIGKILL)\n"
        f"apply(Path({str(target.parent / 'in')!r}), Path({str(tmp_path / 'out')!r}), report=kill)"
    )
    done = subprocess.run([sys.executable, "-c", line], cwd=ROOT, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == -9
    assert not (tmp_path / "out" / "log.csv").exists()
    assert cli.main(["report", str(tmp_path / "out"), "--csv", str(tmp_path / "log.csv")]) == 0
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 1 + 28


# --- Before a run -----------------------------------------------------------------------------------------------------


def test_a_rehearsal_tells_what_a_run_does_and_writes_nothing(target: Path, tmp_path: Path) -> None:
    job = prepare(target.parent / "in", tmp_path / "out", create(QUICK))
    passed_over = Counter[str]()
    with rehearse(job, cli.batch_command.Options(), passed_over) as plan:
        assert (plan.found, plan.to_do) == (28, 28)
        planned = dict(plan.outputs())
        estimate = plan.estimate(2)
    assert not (tmp_path / "out").exists()
    apply(target.parent / "in", tmp_path / "out")
    rows = by_path(tmp_path / "out")
    written = {path: row["output"] for path, row in rows.items() if row["output"]}
    assert {path: f"{tmp_path / 'out'}/{output}" for path, output in written.items()} == {
        path: planned[path] for path in written
    }
    assert estimate.seconds is not None
    assert 0 < estimate.seconds < 60
    assert 0 < estimate.tried <= 12
    size = sum((tmp_path / "out" / output).stat().st_size for output in written.values())
    assert 0.5 * size < estimate.bytes < 2 * size
    assert re.fullmatch(r"about \d+ s and [\de.-]+ GB, from \d+ films that were tried", estimate.sentence)


def test_a_rehearsal_of_a_run_to_be_gone_on_with(target: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in target.rglob("*")}
    job = prepare(target.parent / "in", target, create(QUICK | {"normalize.on": False, "clahe.on": False}))
    with rehearse(job, cli.batch_command.Options(resume=True, failures_only=True), Counter()) as plan:
        assert (plan.found, plan.to_do) == (28, 4)
        assert plan.estimate(1).seconds is None
        assert "not known" in plan.estimate(1).sentence
    assert {path: path.stat().st_mtime_ns for path in target.rglob("*") if STATE not in path.parts} == {
        path: stamp for path, stamp in before.items() if STATE not in path.parts
    }


def test_times_as_a_person_says_them() -> None:
    assert [duration(seconds) for seconds in (0.2, 59, 100, 3600, 10_000)] == [
        "1 s",
        "59 s",
        "2 min",
        "60 min",
        "2.8 h",
    ]


# --- Films that are good as they are ----------------------------------------------------------------------------------


def test_good_films_are_written_as_they_are(tmp_path: Path, textured: Textured) -> None:
    good = np.clip(textured(80, 80).astype(int) // 2 + 70, 0, 255).astype(np.uint8)
    write(tmp_path / "in" / "good.png", good)
    write(tmp_path / "in" / "dark.png", good // 4)
    summary = apply(tmp_path / "in", tmp_path / "out", skip_good=True)
    assert (summary.written, summary.skipped) == (1, 1)
    rows = by_path(tmp_path / "out")
    assert (rows["good.png"]["status"], rows["dark.png"]["status"]) == ("SKIPPED", "SUCCESS")
    assert rows["good.png"]["reason"].startswith("GOOD: ")
    assert (rows["good.png"]["clahe.on"], rows["dark.png"]["clahe.on"]) == ("false", "true")
    assert float(rows["good.png"]["ssim"]) == 1
    geometry = {"bilateral.on": False, "clahe.on": False, "sharpen.on": False, "normalize.on": False}
    assert np.array_equal(read(tmp_path / "out" / "good.png").pixels, run(good, QUICK | geometry))
    assert apply(tmp_path / "in", tmp_path / "out", skip_good=True, resume=True).written == 0
    from xray_core.carried import of_picture

    preset, _ = of_picture((tmp_path / "out" / "good.png").read_bytes())
    assert preset.settings["clahe.on"] is False
