"""The documents say what is so: tables are the declarations', commands exist, links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import xray_core
from xray_core.cli import main
from xray_core.files import find
from xray_core.presets import builtin_names

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted(path for path in ROOT.rglob("*.md") if not {".venv", "venv"} & set(path.parts))


def test_tables_of_the_readme_are_those_of_the_declarations():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import make
    finally:
        sys.path.pop(0)
    assert make.with_tables(README) == README, "run: python docs/make.py"
    assert README.count("| `clahe.clip_limit` |") == 1


def test_readme_describes_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = re.findall(r"^    (\w+) ", capsys.readouterr().out, re.MULTILINE)
    assert len(listed) >= 5
    for command in listed:
        assert re.search(rf"^\| `{command}\b", README, re.MULTILINE), f"the README says nothing of {command}"


def test_readme_describes_every_built_in_preset():
    for name in builtin_names():
        assert f"| `{name}` |" in README


def test_commands_of_the_readme_are_taken(tmp_path):
    command = next(line for line in README.splitlines() if line.startswith("python -m xray_core batch"))
    words = command.replace("FILMS", str(ROOT / "sample_images" / "sites")).replace("RESULTS", str(tmp_path / "out"))
    words = words.replace("my.preset.json", "published").split()
    done = subprocess.run([sys.executable, *words[1:]], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    outputs = list(find(tmp_path / "out"))
    assert len(outputs) == len(list(find(ROOT / "sample_images" / "sites")))


def test_python_of_the_readme_runs(tmp_path):
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1].replace('"after.png"', repr(str(tmp_path / "a.png")))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert 0.5 < float(done.stdout) < 1
    assert (tmp_path / "a.png").is_file()


def test_step_of_the_contributing_guide_can_be_declared():
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", guide, re.DOTALL)[1]
    imports = "from xray_core.steps import *\nfrom xray_core.steps import STEPS, step\n"
    check = "import numpy as np\nassert STEPS['invert'].apply(np.zeros((2, 2), np.uint8), {}).min() == 255\n"
    done = subprocess.run([sys.executable, "-c", imports + code + check], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document):
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_changelog_has_this_version():
    assert f"## {xray_core.__version__}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
