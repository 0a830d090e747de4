"""Where films come from: our samples, uploads, a folder that the operator opens, and runs of the batch."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Container
from contextlib import suppress
from pathlib import Path

import streamlit as st

from pages.ui import runs
from pages.ui.places import MOST_UPLOADED_BYTES, ROOT_VARIABLE, SAMPLES, below, operator_root
from pages.ui.state import Session, Source
from xray_core.archive import Archive, is_archive
from xray_core.dicom_choice import DicomChoice
from xray_core.errors import FileError
from xray_core.files import encode, find, in_range, read, read_bytes
from xray_core.image import Film
from xray_core.isolated import DECODER
from xray_core.pipeline import Settings, run, untouched

__all__ = ["MOST_UPLOADED_BYTES", "ROOT_VARIABLE", "SAMPLES", "operator_root"]

MOST_LISTED = 2_000
MOST_IN_ARCHIVE = 200

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


@st.cache_data(ttl=60, max_entries=8, show_spinner="Listing the folder …")
def folder_files(root: str) -> list[str]:
    """List the first pictures below the operator's folder, as paths relative to it."""
    files = []
    for path in find(Path(root)):
        files.append(path.as_posix())
        if len(files) == MOST_LISTED:
            break
    return files


@st.cache_data(ttl=60, max_entries=64, show_spinner=False)
def subfolders(root: str, relative: str) -> list[str]:
    """List the first folders in one below the operator's, by name; neither hidden ones nor links."""
    with suppress(OSError), os.scandir(below(Path(root), relative)) as entries:
        shown = (entry for entry in entries if not entry.name.startswith("."))
        names = (entry.name for entry in shown if entry.is_dir(follow_symlinks=False))
        return sorted(itertools.islice(names, MOST_LISTED))
    return []


def decoded(data: bytes, name: str, page: int = 1, choice: DicomChoice | None = None) -> Film:
    """Decode a file of unknown origin in a process that may die of it; raises as `isolated.Decoder.decode`."""
    return DECODER.decode(data, name, page=page, dicom=choice)


def from_folder(root: Path, relative: str, page: int = 1, choice: DicomChoice | None = None) -> Film:
    """Read a file below the operator's folder.

    Raises
    ------
    FileError
        If the path leads out of it, or cannot be read.
    """
    path = below(root, relative)
    return decoded(read_bytes(path), path.name, page, choice)


def unpacked(data: bytes, name: str) -> list[tuple[str, bytes | FileError]]:
    """Return the films of an upload: itself, or what a zip archive holds; an error in the place of what can't be read.

    Raises
    ------
    FileError
        If the archive can't be read, or holds too much for the page.
    """
    if not is_archive(data):
        return [(name, data)]
    films: list[tuple[str, bytes | FileError]] = []
    with Archive(data) as archive:
        passed_over = Counter[str]()
        members = archive.members(passed_over)
        if not members:
            others = ", ".join(f"{count} {kind}" for kind, count in sorted(passed_over.items()))
            raise FileError("EMPTY", "no pictures are in this archive" + (f" ({others})" if others else ""))
        if len(members) > MOST_IN_ARCHIVE:
            raise FileError("PAGE_LIMIT", f"{len(members)} films are in it, and the page takes {MOST_IN_ARCHIVE}")
        size = 0
        for member in members:
            try:
                content = archive.read(member.number)
            except FileError as error:
                films.append((member.path.as_posix(), error))
                continue
            size += len(content)
            if size > MOST_UPLOADED_BYTES:
                raise FileError("BYTE_LIMIT", f"it unpacks to over {MOST_UPLOADED_BYTES // 10**6} MB")
            films.append((member.path.as_posix(), content))
    return films


def free_name(name: str, taken: Container[str]) -> str:
    """Return a name for an upload that neither a sample nor another upload has: ``film (2).png``."""
    stem, suffix = os.path.splitext(name)
    candidates = (f"{stem} ({number}){suffix}" for number in itertools.count(2))
    return next(free for free in itertools.chain([name], candidates) if free not in taken and free not in CAPTIONS)


def told(film: Film) -> str:
    """Return how a film was read, where that is not the plain way, in sentences."""
    words = [film.remarks]
    if film.dicom:
        words.append(f"Greys by {film.dicom.voi}.")
        if film.spacing:
            words.append(f"{film.dicom.spacing_from} {film.spacing[1]:.3g} mm.")
        if film.dicom.exposure_index is not None:
            words.append(f"Exposure index {film.dicom.exposure_index:g}.")
    return " ".join(filter(None, words))


def open_film(visitor: Session, name: str, page: int = 1, choice: DicomChoice | None = None) -> None:
    """Open one of the visitor's uploads, or one of our samples, by name.

    Raises
    ------
    FileError
        If there is none of that name, or it cannot be read.
    """
    if name in visitor.uploads:
        visitor.open(decoded(visitor.uploads[name], name, page, choice), Source("upload", name), choice)
    else:
        visitor.open(sample(name), Source("sample", name))


def open_folder_film(
    visitor: Session, root: Path, relative: str, page: int = 1, choice: DicomChoice | None = None
) -> None:
    """Open a file below the operator's folder; raises as `from_folder`."""
    visitor.open(from_folder(root, relative, page, choice), Source("folder", relative), choice)


def open_source(visitor: Session, source: Source, page: int = 1, choice: DicomChoice | None = None) -> None:
    """Open what was open before, or another page or other greys of it.

    Raises
    ------
    FileError
        If it cannot be read any more, or its folder is no longer open to visitors.
    """
    root = operator_root()
    if source.kind == "run":
        visitor.open(decoded(*runs.film(source.name), page, choice), source, choice)
    elif source.kind != "folder":
        open_film(visitor, source.name, page, choice)
    elif root is None:
        raise FileError("READ", "the folder of this film is not open to visitors any more")
    else:
        open_folder_film(visitor, root, source.name, page, choice)


def open_again(visitor: Session) -> bool:
    """Open the film that was let go while the visitor's browser was away; whether there was one; raises as above."""
    if visitor.source is None:
        return False
    open_source(visitor, visitor.source, visitor.page, visitor.choice)
    return True


@st.cache_data(max_entries=64, show_spinner=False)
def thumbnail(name: str, changed: float) -> bytes:
    """Return a small square PNG of a sample; `changed` is its file's time, so that a new file is seen."""
    square: Settings = {"resize.on": True, "resize.size": 256}
    return encode(in_range(run(sample(name).pixels, untouched() | square), "uint8"), ".png")
