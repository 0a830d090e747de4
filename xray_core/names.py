"""Names of outputs: safe on any system, and never two alike."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import lru_cache
from pathlib import Path, PurePath

LOG = "log.csv"
PRESET = "used.preset.json"
RUN = "run.json"
REPORT = "report.html"
"""What a run writes beside its outputs."""

_OURS = re.compile("|".join(map(re.escape, (LOG, PRESET, RUN, REPORT))) + r"|log-\d+-of-\d+\.csv", re.IGNORECASE)
_LONGEST = 255 - len(".page100000")  # bytes of a name that file systems take, and room for a page's number
_PAGE = re.compile(r"\.page[0-9]+$", re.IGNORECASE)
_UNSAFE = re.compile(
    # What Windows refuses, what a shell acts on, and what turns the direction in which a name is read.
    "[\\x00-\\x1f\\x7f-\\x9f<>:\"/\\\\|?*$`;&'!{}\\u061c\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ufeff\\ud800-\\udfff]"
)
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])\s*(\.|$)", re.IGNORECASE)
_ACTED_ON = "-=+@~.\uff1d\uff0b\uff0d\uff20"  # options, formulas (also full-width), hidden files


def printable(text: str, instead: str) -> str:
    """Return a text with something else in the place of signs that are not shown, or that steer what shows them."""
    return "".join(sign if sign.isprintable() else instead for sign in text)


def is_utf8(text: str) -> bool:
    """Whether a text can be written as UTF-8; names of files may hold bytes that can't."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def plain_name(path: PurePath, suffix: str) -> Path:
    """Return the output's path for an input that nothing else comes near: the tree mirrored, the suffix replaced.

    Every name is made safe, see `safe_name`.
    """
    name = _safe_name(path)
    dot = name.rfind(".")
    return _safe_folder(path.parent) / _fitting(name[:dot] if 0 < dot < len(name) - 1 else name, suffix)


def full_name(path: PurePath, suffix: str, number: int = 1) -> Path:
    """Return the output's path for an input whose plain name is taken: with its own suffix, from 2 on with a number."""
    ending = suffix if number == 1 else f"_{number}{suffix}"
    return _safe_folder(path.parent) / _fitting(_safe_name(path), ending)


def safe_folders(path: PurePath) -> tuple[Path, ...]:
    """Return the folders that a path's output lies in, the innermost first, without the root."""
    folder = _safe_folder(path.parent)
    return (folder, *folder.parents)[:-1]


def is_for_pages(output: PurePath) -> bool:
    """Whether a name is like those that `page_name` gives."""
    return bool(_PAGE.search(output.stem))


def alike(path: PurePath) -> int:
    """Return the same number, of 63 bits, for paths that a file system may take for one.

    Some differ only by case, or by how an accent is coded. Two other paths have one number once in 10^13 pairs of
    paths or more rarely; then one of them gets a name that it would not have needed.
    """
    text = unicodedata.normalize("NFC", str(path).casefold()).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def page_name(output: Path, page: int, pages: int) -> Path:
    """Return the path of one page's output: ``film.page2.png`` for the second of several."""
    return output if pages == 1 else output.with_name(f"{output.stem}.page{page}{output.suffix}")


def safe_name(name: str) -> str:
    """Return a name that every file system takes, and that no shell, spreadsheet or terminal acts on.

    Signs that could be acted on become ``_``, also spaces and dots at the ends; what begins like an option or a
    formula, and names that Windows keeps for devices, get a ``_`` in front. Letters of any script stay.
    """
    safe = _UNSAFE.sub("_", name)
    safe = re.sub(r"^\s+|[\s.]+$", lambda match: "_" * len(match[0]), safe)
    return "_" + safe if not safe or safe[0] in _ACTED_ON or _RESERVED.match(safe) else safe


def _safe_name(path: PurePath) -> str:
    return _fitting(safe_name(path.name), "")


@lru_cache(maxsize=1024)
def _safe_folder(path: PurePath) -> Path:
    """Return a folder's path made safe; most files share theirs with the one before."""
    parts = [_fitting(safe_name(part), "") for part in path.parts if part != path.anchor]
    if parts and _OURS.fullmatch(parts[0]):
        parts[0] = f"_{parts[0]}"
    return Path(*parts)


def _fitting(stem: str, ending: str) -> str:
    """Return both as one name, the stem shortened where they are too long together, and told apart by a digest."""
    room = _LONGEST - len(ending.encode())
    if len(stem.encode()) <= room:
        return stem + ending
    digest = hashlib.sha256(stem.encode()).hexdigest()[:8]
    return stem.encode()[: room - 9].decode("utf-8", "ignore") + "~" + digest + ending
