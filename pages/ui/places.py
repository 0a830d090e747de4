"""The folders of this server: our samples, the one that its operator opens to visitors, and that of the runs."""

from __future__ import annotations

import os
from pathlib import Path

from xray_core.errors import FileError

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "sample_images"
ROOT_VARIABLE = "RADTUNE_ROOT"
RUNS_VARIABLE = "RADTUNE_RUNS"
MOST_UPLOADED_BYTES = 300_000_000


def operator_root() -> Path | None:
    """Return the folder that the operator opens to visitors by the variable RADTUNE_ROOT, if any."""
    root = os.environ.get(ROOT_VARIABLE, "")
    return Path(root).resolve() if root and Path(root).is_dir() else None


def below(root: Path, relative: str) -> Path:
    """Return a path below a folder, links followed.

    Raises
    ------
    FileError
        If it leads out of the folder.
    """
    path = (root / relative).resolve()
    if not path.is_relative_to(root):
        raise FileError("READ", "the path leads out of the folder that is open to visitors")
    return path


def runs_root() -> Path:
    """Return the folder of the runs, by the variable RADTUNE_RUNS; it need not be there yet."""
    named = os.environ.get(RUNS_VARIABLE, "")
    return Path(named).absolute() if named else Path.home() / "radtune-runs"
