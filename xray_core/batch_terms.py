"""What is asked of a run of the batch, and what it says at its end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from xray_core.batch_log import Row
from xray_core.presets import Preset
from xray_core.run_folder import Phase


@dataclass(frozen=True)
class Options:
    """How a run is gone about; nothing of it alters an output.

    Attributes
    ----------
    resume, overwrite
        Whether to go on with the run in the target, or to write into it whatever it holds.
    failures_only
        Of a run that is resumed, only what failed.
    verify
        Look into every file and every output, whatever their sizes and times say.
    stop_on_error
        End at the first failure.
    command
        What goes on with the run, as typed into a terminal; for who finds it.
    """

    resume: bool = False
    overwrite: bool = False
    failures_only: bool = False
    verify: bool = False
    stop_on_error: bool = False
    command: tuple[str, ...] = ()


@dataclass
class Summary:
    """How a run ended.

    Numbers of pictures, and of failures by their code; files found, if it came to that; and files that were done once
    and are not among the inputs any more; and failures whose rows and outputs of before stay.
    """

    found: int | None = None
    written: int = 0
    skipped: int = 0
    unchanged: int = 0
    balanced: int = 0
    other_size: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    phase: Phase = "done"
    gone: int = 0
    kept: int = 0
    passed_over: Counter[str] = field(default_factory=Counter)

    @property
    def worked(self) -> int:
        """Number of pictures that were computed, or tried."""
        return self.written + self.skipped + self.failures

    @property
    def failures(self) -> int:
        """Number of pictures that failed."""
        return self.failed.total()

    def count(self, row: Row, applied: Preset) -> None:
        """Count a picture by its row in the log; `applied` is what it was made with."""
        if row["status"] == "FAILURE":
            self.failed[row["reason"].split(":")[0]] += 1
            return
        self.skipped += row["status"] == "SKIPPED"
        self.written += row["status"] == "SUCCESS"
        self.balanced += row["verdict"].startswith("Balanced")
        self.other_size += applied.other_size((row["width"], row["height"]))
