"""Every file of a folder of hostile files, where one lies beside the checkout: none crashes, hangs, or lies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xray_core.decode import decode
from xray_core.errors import FileError

# isort: split
import cv2

ROOT = Path(__file__).parents[1]
BAD = ROOT.parent / "shared" / "data" / "bad"
LOW = "--limit-pixels 9000 --limit-file-bytes 20000 --limit-pages 2 --limit-members 4 --limit-unpacked-bytes 30000"

pytestmark = pytest.mark.skipif(not BAD.is_dir(), reason="the folder of hostile files is not beside this checkout")


@pytest.mark.parametrize("flags", ["", LOW], ids=["usual limits", "low limits"])
def test_every_hostile_file_is_loaded_or_refused_in_words(flags: str) -> None:
    line = [sys.executable, ROOT / "benchmarks" / "hostile.py", BAD, *flags.split()]
    done = subprocess.run([str(word) for word in line], cwd=ROOT, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert done.stdout.endswith("no faults\n")


def test_what_is_loaded_is_what_another_library_shows() -> None:
    compared = 0
    for path in sorted(
        path for kind in ("png", "jpeg", "tiff", "content", "names") for path in (BAD / kind).rglob("*")
    ):
        data = path.read_bytes() if path.is_file() else b""
        try:
            film = decode(data, path.name)
        except FileError:
            continue
        other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
        # It leaves white for zero as it is in deep files.
        deep_negative = film.photometric == "MONOCHROME1" and film.bits > 8
        if (
            deep_negative
            or film.notes
            or other is None
            or other.dtype != film.pixels.dtype
            or other.shape != film.pixels.shape
        ):
            continue
        other = other if other.ndim == 2 else cv2.cvtColor(other, cv2.COLOR_BGR2RGB)
        # OpenCV shifts 10 bits to 16, which leaves white a little grey.
        step = np.iinfo(other.dtype).max / (2**film.bits - 1) if film.bits not in (1, 8, 16) else 0
        assert np.abs(film.pixels.astype(int) - other).max() <= step, path.name
        compared += 1
    assert compared > 80
