"""The house rules, read from the source: floors, forbidden imports and names, and who may import OpenCV when."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]

# Each module, or package, of xray_core and its floor. A module imports from lower floors only. An entry may precede
# its file. `xray_core/__init__.py` lies below all of them.
CORE_FLOORS = {
    "errors": 0,
    "image": 1,
    "params": 1,
    "strict_json": 1,
    "threads": 1,
    "limits": 1,
    "stored": 1,
    "names": 1,
    "luts": 1,
    "png": 1,
    "ledger": 1,
    "tones": 2,
    "phantom": 2,
    "similarity": 2,
    "raster": 2,
    "tiff": 2,
    "arrays": 2,
    "embedding": 2,
    "dicom_choice": 2,
    "dicom_file": 2,
    "dicom_pixels": 2,
    "display": 3,
    "steps": 3,
    "metrics": 3,
    "dicom": 3,
    "dicom_carried": 3,
    "derivation": 3,
    "pipeline": 4,
    "decode": 4,
    "dicom_out": 4,
    "encode": 5,
    "isolated": 5,
    "audit": 5,
    "files": 6,
    "adapt": 6,
    "search": 6,
    "ml": 6,
    "presets": 7,
    "archive": 7,
    "batch_log": 7,
    "run_folder": 7,
    "pool": 7,
    "carried": 8,
    "stores": 8,
    "output_names": 8,
    "batch_terms": 8,
    "arguments": 9,
    "remote": 9,
    "manifest": 9,
    "batch_plan": 10,
    "batch_task": 11,
    "occupied": 11,
    "node": 12,
    "batch": 12,
    "cluster": 13,
    "triage": 13,
    "rehearsal": 13,
    "thumbnails": 13,
    "report": 14,
    "report_command": 15,
    "batch_command": 16,
    "cli": 17,
    "__main__": 18,
}
# The page's parts stand above the whole core; the pages themselves, home.py and app.py above those.
UI_FLOORS = {
    "engine": 20,
    "declared": 20,
    "engines": 21,
    "places": 21,
    "live": 22,
    "state": 22,
    "runs": 22,
    "cache": 23,
    "sources": 23,
    "run_process": 23,
    "frame": 24,
    "downloads": 24,
    "viewer": 25,
    "presets_panel": 25,
    "start_panel": 25,
    "watch_panel": 25,
    "triage_panel": 25,
}
TOP = 30

FOREIGN_BY_FOLDER = {
    # Package, and the only places whose files may import it.
    "streamlit": ("pages/", "app.py", "home.py", "tests/", "benchmarks/"),
    "torch": ("xray_core/ml/", "tests/", "benchmarks/"),
    "torchvision": ("xray_core/ml/", "tests/", "benchmarks/"),
}
RUNS_FOREIGN_CODE = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal"}
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc"}


class Import(NamedTuple):
    line: int
    name: str


def sources() -> list[str]:
    """Every Python file of the project, relative to its root."""
    folders = ("xray_core", "pages", "tests", "benchmarks")
    files = [*ROOT.glob("*.py"), *(path for folder in folders for path in (ROOT / folder).rglob("*.py"))]
    return sorted(path.relative_to(ROOT).as_posix() for path in files)


def imports(text: str, file: str) -> Iterator[Import]:
    """Yield the dotted name of everything imported, wherever in the file; ``from a import b`` as ``a.b``."""
    package = Path(file).parent.parts
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            near = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*near, *([node.module] if node.module else [])])
            yield from (Import(node.lineno, f"{base}.{alias.name}") for alias in node.names)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def unit(file: str) -> tuple[str, str] | None:
    """Return the table and the entry that a file belongs to, or None for a file without a floor."""
    parts = Path(file).with_suffix("").parts
    if parts == ("xray_core", "__init__") or parts[0] in ("tests", "benchmarks"):
        return None
    if parts[0] == "xray_core":
        return "CORE_FLOORS", parts[1]
    if parts[:2] == ("pages", "ui"):
        return None if parts[2:] == ("__init__",) else ("UI_FLOORS", parts[2])
    if parts == ("pages", "__init__"):
        return None
    return "TOP", "/".join(parts)


def unit_of_import(name: str) -> tuple[str, str] | None:
    """Return the table and the entry that an imported name belongs to, or None for one that is not ours."""
    parts = name.split(".")
    if parts[0] == "xray_core":
        # `from xray_core import __version__` is no module.
        is_module = len(parts) > 1 and (not parts[1].startswith("__") or parts[1] == "__main__")
        return ("CORE_FLOORS", parts[1]) if is_module else None
    if parts[0] == "ui":  # as seen from a page's own folder
        parts = ["pages", *parts]
    if parts[:2] == ["pages", "ui"]:
        return ("UI_FLOORS", parts[2]) if len(parts) > 2 else None
    if parts[0] in ("pages", "home", "app"):
        return "TOP", "/".join(parts)
    return None


def floor(place: tuple[str, str]) -> int | None:
    table, entry = place
    return TOP if table == "TOP" else {"CORE_FLOORS": CORE_FLOORS, "UI_FLOORS": UI_FLOORS}[table].get(entry)


def floor_faults(text: str, file: str) -> Iterator[str]:
    here = unit(file)
    if here is None:
        return
    height = floor(here)
    if height is None:
        yield f"{file}: on which floor does it stand? Add {here[1]!r} to {here[0]} in tests/test_architecture.py"
        return
    for line, name in imports(text, file):
        there = unit_of_import(name)
        if there is None or there == here:  # the files of one package may import each other
            continue
        other = floor(there)
        if other is None:
            yield f"{file}:{line}: {name} is on no floor: add {there[1]!r} to {there[0]} in tests/test_architecture.py"
        elif other >= height:
            yield f"{file}:{line}: {here[1]} (floor {height}) imports {there[1]} (floor {other}); only lower ones"


def foreign_faults(text: str, file: str) -> Iterator[str]:
    for line, name in imports(text, file):
        for package, places in FOREIGN_BY_FOLDER.items():
            if within(name, package) and not file.startswith(places):
                yield f"{file}:{line}: {package} belongs in {', '.join(places)} only"


def safety_faults(text: str, file: str) -> Iterator[str]:
    if file.startswith(("tests/", "benchmarks/")):
        return
    for line, name in imports(text, file):
        if name.split(".")[0] in RUNS_FOREIGN_CODE:
            yield f"{file}:{line}: {name} runs what a file says"
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.id if isinstance(node.func, ast.Name) else ""
        if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            called = node.func.attr if node.func.value.id == "builtins" else ""
        if called in ("eval", "exec"):
            yield f"{file}:{node.lineno}: {called}() runs what a string says"
        for keyword in node.keywords:
            forbidden = not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
            if keyword.arg == "allow_pickle" and forbidden:
                yield f"{file}:{node.lineno}: allow_pickle other than False runs what a file says"


def opencv_faults(text: str, file: str) -> Iterator[str]:
    """Outside the core, cv2 comes after xray_core in the same file: only then is it sure how OpenCV computes."""
    if file.startswith("xray_core/"):  # its __init__ has run by then
        return
    if file in ("benchmarks/naive_page.py", "benchmarks/plain_loop.py"):  # have nothing of ours, which is their point
        return
    found = list(imports(text, file))
    ours = min((line for line, name in found if within(name, "xray_core")), default=None)
    for line, name in found:
        if within(name, "cv2") and (ours is None or line < ours):
            yield f"{file}:{line}: import xray_core before cv2 (and say `# isort: split` between them)"


CHECKS = [floor_faults, foreign_faults, safety_faults, opencv_faults]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removesuffix("_faults"))
@pytest.mark.parametrize("file", sources())
def test_every_file_keeps_the_house_rules(file: str, check: object) -> None:
    faults = list(check((ROOT / file).read_text(encoding="utf-8"), file))  # type: ignore[operator]
    assert not faults, "\n".join(["", *faults])


@pytest.mark.parametrize("file", sources())
def test_a_module_is_named_by_what_it_does(file: str) -> None:
    said_nothing = EMPTY_NAMES.intersection(Path(file).with_suffix("").parts)
    assert not said_nothing, f"{file}: {', '.join(said_nothing)} says nothing of what is inside"


def test_the_tables_hold_the_modules_that_exist() -> None:
    assert {"errors", "image", "params", "steps", "metrics", "pipeline"} <= {
        Path(file).stem for file in sources() if file.startswith("xray_core/")
    }
    assert max(CORE_FLOORS.values()) < min(UI_FLOORS.values())
    assert max(UI_FLOORS.values()) < TOP


# What each check must find, and what it must let pass: a check that sees nothing would keep every rule.
CAUGHT = [
    (floor_faults, "xray_core/tones.py", "from xray_core.steps import STEPS"),
    (floor_faults, "xray_core/tones.py", "def f():\n    from xray_core import pipeline"),
    (floor_faults, "xray_core/steps.py", "import xray_core.metrics"),
    (floor_faults, "xray_core/steps.py", "from . import metrics"),
    (floor_faults, "xray_core/steps.py", "from .metrics import ssim"),
    (floor_faults, "xray_core/ml/train.py", "from xray_core import search"),
    (floor_faults, "xray_core/ml/train.py", "from ..batch import run"),
    (floor_faults, "xray_core/cli.py", "from pages.ui import state"),
    (floor_faults, "xray_core/new_module.py", ""),
    (floor_faults, "xray_core/cli.py", "from xray_core import new_module"),
    (floor_faults, "pages/ui/state.py", "from pages.ui.cache import film"),
    (floor_faults, "pages/ui/controls.py", "from pages.ui import frame"),
    (floor_faults, "pages/ui/new_part.py", ""),
    (floor_faults, "pages/ui/frame.py", "import home"),
    (floor_faults, "home.py", "import app"),
    (foreign_faults, "xray_core/pipeline.py", "import streamlit as st"),
    (foreign_faults, "xray_core/batch.py", "from streamlit.runtime import get_instance"),
    (foreign_faults, "xray_core/search.py", "def f():\n    import torch.nn"),
    (foreign_faults, "pages/1_Tune.py", "from torchvision import models"),
    (safety_faults, "xray_core/files.py", "import pickle"),
    (safety_faults, "xray_core/files.py", "from pickle import loads"),
    (safety_faults, "xray_core/files.py", "import numpy as np\nnp.load('a', allow_pickle=True)"),
    (safety_faults, "xray_core/files.py", "import numpy as np\nnp.load('a', allow_pickle=trusted)"),
    (safety_faults, "app.py", "eval('1')"),
    (safety_faults, "pages/1_Tune.py", "exec('1')"),
    (safety_faults, "home.py", "import builtins\nbuiltins.exec('1')"),
    (opencv_faults, "app.py", "import cv2\nimport xray_core"),
    (opencv_faults, "tests/test_any.py", "import cv2"),
    (opencv_faults, "pages/ui/state.py", "def f():\n    from cv2 import imread"),
]
PASSED = [
    (floor_faults, "xray_core/pipeline.py", "from xray_core.errors import ImageError\nfrom xray_core import steps"),
    (floor_faults, "xray_core/cli.py", "from xray_core import __version__"),
    (floor_faults, "xray_core/ml/train.py", "from xray_core.ml.network import Net"),
    (floor_faults, "pages/ui/frame.py", "from pages.ui import cache, state\nfrom xray_core import batch"),
    (floor_faults, "pages/1_Tune.py", "from pages.ui import frame"),
    (foreign_faults, "pages/1_Tune.py", "import streamlit as st"),
    (foreign_faults, "xray_core/ml/train.py", "import torch"),
    (foreign_faults, "xray_core/batch.py", "import torchlike"),
    (safety_faults, "xray_core/files.py", "import numpy as np\nnp.load('a', allow_pickle=False)"),
    (safety_faults, "xray_core/ml/train.py", "model.eval()"),
    (opencv_faults, "app.py", "import xray_core\nimport cv2"),
    (opencv_faults, "tests/test_any.py", "from xray_core.steps import STEPS\nimport cv2"),
]


@pytest.mark.parametrize(("check", "file", "text"), CAUGHT)
def test_a_check_catches(check: object, file: str, text: str) -> None:
    assert list(check(text, file))  # type: ignore[operator]


@pytest.mark.parametrize(("check", "file", "text"), PASSED)
def test_a_check_lets_pass(check: object, file: str, text: str) -> None:
    assert not list(check(text, file))  # type: ignore[operator]
