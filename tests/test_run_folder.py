"""The books' folder: one run at a time, progress that others read, wishes that it hears, nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xray_core.errors import RunError
from xray_core.run_folder import STATE, Progress, RunFolder, parts_of

ROOT = Path(__file__).parents[1]


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        folder.report(Progress(phase="running", total=3))
        assert folder.is_running() or RunFolder(tmp_path).is_running()
        with pytest.raises(
            RunError, match=rf"another run writes into this folder \(process {os.getpid()} on "
        ) as caught:
            RunFolder(tmp_path).__enter__()
        assert caught.value.code == "IN_USE"
        assert RunFolder(tmp_path).progress() is not None
    assert not RunFolder(tmp_path).is_running()
    with RunFolder(tmp_path):
        pass


def test_parts_of_a_run_do_not_disturb_each_other(tmp_path: Path) -> None:
    with RunFolder(tmp_path, "1-of-2") as one, RunFolder(tmp_path, "2-of-2") as other:
        one.wish("cancel")
        assert (one.wished(), other.wished()) == ("cancel", None)
        for folder in (one, other):
            folder.manifest.touch()
    assert [folder.path.name for folder in parts_of(tmp_path)] == ["1-of-2", "2-of-2"]
    (tmp_path / STATE / "manifest.sqlite").touch()
    assert [folder.path.name for folder in parts_of(tmp_path)] == [STATE]


def test_a_run_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    line = (
        "import sys, time; from pathlib import Path; from xray_core.run_folder import RunFolder, Progress\n"
        f"with RunFolder(Path({str(tmp_path)!r})) as folder:\n"
        "    (folder.parts / '.radtune-half.part').write_bytes(b'half')\n"
        "    folder.report(Progress(phase='running', total=9))\n"
        "    print('in', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", line], stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"in\n"
        assert RunFolder(tmp_path).is_running()
    finally:
        process.kill()
        process.communicate()
    folder = RunFolder(tmp_path)
    assert not folder.is_running()
    progress = folder.progress()
    assert progress is not None
    assert (progress.phase, progress.total, progress.process) == ("running", 9, process.pid)
    assert list(folder.parts.iterdir())
    with folder:
        assert not list(folder.parts.iterdir())


def test_wishes_are_of_the_run_that_goes_on_and_not_of_the_next(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        assert folder.wished() is None
        RunFolder(tmp_path).wish("pause")
        assert folder.wished() == "pause"
    with RunFolder(tmp_path) as folder:
        assert folder.wished() is None


def test_progress_comes_back_and_rubbish_is_none(tmp_path: Path) -> None:
    assert RunFolder(tmp_path).progress() is None
    with RunFolder(tmp_path) as folder:
        said = Progress(phase="running", total=10, done=4, failures={"DECODE": 1}, command=("python", "-m", "x y"))
        folder.report(said)
        read = folder.progress()
        assert read is not None
        assert time.time() - read.updated < 60
        assert (read.total, read.done, read.failures, read.command) == (10, 4, said.failures, said.command)
        for rubbish in (b"", b"{", b"[]", b'{"command": 3}', b'{"unknown": 1, "command": []}'):
            (folder.path / "progress.json").write_bytes(rubbish)
            assert folder.progress() is None


def test_a_folder_that_cannot_be_made_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunError, match=r"file: ") as caught:
        RunFolder(tmp_path / "file").__enter__()
    assert caught.value.code == "CANNOT_WRITE"
