"""What can go wrong, as a small tree.

    XrayError(ValueError)
    ├── ImageError       an array is no radiograph: wrong shape, dtype or size
    ├── SettingsError    a setting is unknown, of the wrong type or out of its range
    │   └── PresetError  a preset file cannot be used
    ├── FileError        a file cannot be read or written; carries a code for the log
    └── RunError         a batch cannot begin or go on; carries a code for the exit status

Messages are one line, for a person, and name the thing, the range and the value. They are caught in three places: the
page's frame, the command line and the row of a batch.
"""

from __future__ import annotations

from typing import Literal

FileCode = Literal[
    "EMPTY",
    "UNSUPPORTED",
    "DECODE",
    "PIXEL_LIMIT",
    "BYTE_LIMIT",
    "PAGE_LIMIT",
    "PICKLE",
    "READ",
    "WRITE",
    "DISK_FULL",
    "MEMORY",
    "TIMEOUT",
    "CRASH",
    "INTERNAL",
]


class XrayError(ValueError):
    """The root: anything RadTune refuses, in words for a person."""


class ImageError(XrayError):
    """An array that breaks the image contract of `xray_core.image`."""


class SettingsError(XrayError):
    """A setting that its declaration refuses."""


class PresetError(SettingsError):
    """A preset that cannot be used."""


class FileError(XrayError):
    """A file that cannot be read or written.

    Parameters
    ----------
    code
        The kind of failure, as the log's ``reason`` begins.
    message
        What is wrong, in words for a person, without the file's name: the caller knows it best.
    """

    def __init__(self, code: FileCode, message: str) -> None:
        super().__init__(message)
        self.code: FileCode = code


RunCode = Literal["CANNOT_WRITE", "DAMAGED", "DISK_FULL", "IN_USE", "NO_INPUT", "CLUSTER_LOST"]


class RunError(XrayError):
    """A batch that cannot begin, or had to stop before its end; what it had done is kept.

    Parameters
    ----------
    code
        The kind of failure; the command line has an exit status for each.
    message
        What is wrong, in words for a person.
    """

    def __init__(self, code: RunCode, message: str) -> None:
        super().__init__(message)
        self.code: RunCode = code


def unwritten(error: FileError, message: str) -> RunError:
    """Return what it means for a run that a file could not be written."""
    return RunError("DISK_FULL" if error.code == "DISK_FULL" else "CANNOT_WRITE", message)
