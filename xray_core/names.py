"""Names of outputs: safe on any system, and never two alike."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePath

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


def output_names(inputs: Iterable[PurePath], suffix: str) -> list[Path]:
    """Return the output's path for each input: the tree mirrored, the suffix replaced, no two alike.

    Two inputs that differ only by suffix keep it (``film.jpg`` gives ``film.jpg.png``); names that differ only by case
    or by how an accent is coded, which some file systems take for one, and names of folders get a number. Names are
    made safe, see `safe_name`, and leave ``.page2`` to `page_name`.
    """
    wanted = [_safe_path(path) for path in inputs]
    plain = [path.with_name(_fitting(path.stem, suffix)) for path in wanted]
    often: dict[str, int] = {}
    for path in plain:
        often[_alike(path)] = often.get(_alike(path), 0) + 1
    taken = {_alike(folder) for path in wanted for folder in path.parents}
    outputs = []
    for path, simple in zip(wanted, plain, strict=True):
        alone = often[_alike(simple)] == 1 and not _PAGE.search(simple.stem)
        out = simple if alone else path.with_name(_fitting(path.name, suffix))
        number = 2
        while _alike(out) in taken:
            out = path.with_name(_fitting(path.name, f"_{number}{suffix}"))
            number += 1
        taken.add(_alike(out))
        outputs.append(out)
    return outputs


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


def _safe_path(path: PurePath) -> Path:
    return Path(*(_fitting(safe_name(part), "") for part in path.parts if part != path.anchor))


def _fitting(stem: str, ending: str) -> str:
    """Return both as one name, the stem shortened where they are too long together, and told apart by a digest."""
    room = _LONGEST - len(ending.encode())
    if len(stem.encode()) <= room:
        return stem + ending
    digest = hashlib.sha256(stem.encode()).hexdigest()[:8]
    return stem.encode()[: room - 9].decode("utf-8", "ignore") + "~" + digest + ending


def _alike(path: Path) -> str:
    """Return the same text for paths that a file system may take for one."""
    return unicodedata.normalize("NFC", str(path).casefold())
