"""Where films come from: our samples, uploads, and a folder that the operator opens."""

from __future__ import annotations

import itertools
import os
from collections.abc import Container
from pathlib import Path

import streamlit as st

from pages.ui.state import Session, Source
from xray_core.decode import decode
from xray_core.errors import FileError
from xray_core.files import encode, find, in_range, read
from xray_core.image import Film
from xray_core.pipeline import Settings, run, untouched

SAMPLES = Path(__file__).parents[2] / "sample_images"
ROOT_VARIABLE = "RADTUNE_ROOT"
MOST_LISTED = 2_000
MOST_UPLOADED_BYTES = 300_000_000

CAPTIONS = {
    "chest.png": "Chest, 8 bit",
    "chest_16bit.png": "Chest, 16 bit",
    "chest.npz": "Chest, NPZ, 16 bit",
    "low_contrast.png": "Low contrast",
    "dark.png": "Dark",
    "bright.png": "Bright",
    "noisy.png": "Noisy",
    "borders_letter.png": "Borders and a letter",
    "damaged.png": "Damaged, colour cast",
}


def sample_names() -> list[str]:
    """Return the names of the samples that are there, in their order on the page."""
    return [name for name in CAPTIONS if (SAMPLES / name).is_file()]


def sample(name: str) -> Film:
    """Read one of our samples.

    Raises
    ------
    FileError
        If there is no sample of that name.
    """
    if name not in CAPTIONS:
        raise FileError("READ", f"there is no sample of that name; there are {', '.join(CAPTIONS)}")
    return read(SAMPLES / name)


def operator_root() -> Path | None:
    """Return the folder that the operator opens to visitors by the variable RADTUNE_ROOT, if any."""
    root = os.environ.get(ROOT_VARIABLE, "")
    return Path(root).resolve() if root and Path(root).is_dir() else None


@st.cache_data(ttl=60, max_entries=8, show_spinner="Listing the folder …")
def folder_files(root: str) -> list[str]:
    """List the first pictures below the operator's folder, as paths relative to it."""
    files = []
    for path in find(Path(root)):
        files.append(path.as_posix())
        if len(files) == MOST_LISTED:
            break
    return files


def from_folder(root: Path, relative: str) -> Film:
    """Read a file below the operator's folder.

    Raises
    ------
    FileError
        If the path leads out of it, or cannot be read.
    """
    path = (root / relative).resolve()
    if not path.is_relative_to(root):
        raise FileError("READ", "the path leads out of the folder that is open to visitors")
    return read(path)


def free_name(name: str, taken: Container[str]) -> str:
    """Return a name for an upload that neither a sample nor another upload has: ``film (2).png``."""
    stem, suffix = os.path.splitext(name)
    candidates = (f"{stem} ({number}){suffix}" for number in itertools.count(2))
    return next(free for free in itertools.chain([name], candidates) if free not in taken and free not in CAPTIONS)


def open_film(visitor: Session, name: str) -> None:
    """Open one of the visitor's uploads, or one of our samples, by name.

    Raises
    ------
    FileError
        If there is none of that name, or it cannot be read.
    """
    if name in visitor.uploads:
        visitor.open(decode(visitor.uploads[name], name), Source("upload", name))
    else:
        visitor.open(sample(name), Source("sample", name))


def open_folder_film(visitor: Session, root: Path, relative: str) -> None:
    """Open a file below the operator's folder; raises as `from_folder`."""
    visitor.open(from_folder(root, relative), Source("folder", relative))


def open_source(visitor: Session, source: Source) -> None:
    """Open what was open before.

    Raises
    ------
    FileError
        If it cannot be read any more, or its folder is no longer open to visitors.
    """
    root = operator_root()
    if source.kind != "folder":
        open_film(visitor, source.name)
    elif root is None:
        raise FileError("READ", "the folder of this film is not open to visitors any more")
    else:
        open_folder_film(visitor, root, source.name)


def open_again(visitor: Session) -> bool:
    """Open the film that was let go while the visitor's browser was away; whether there was one; raises as above."""
    if visitor.source is None:
        return False
    open_source(visitor, visitor.source)
    return True


@st.cache_data(max_entries=64, show_spinner=False)
def thumbnail(name: str, changed: float) -> bytes:
    """Return a small square PNG of a sample; `changed` is its file's time, so that a new file is seen."""
    square: Settings = {"resize.on": True, "resize.size": 256}
    return encode(in_range(run(sample(name).pixels, untouched() | square), "uint8"), ".png")
