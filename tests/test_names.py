"""Names of outputs: the tree mirrored, every name safe, no two alike."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePath, PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from xray_core.manifest import Manifest
from xray_core.names import page_name, safe_name
from xray_core.stores import Entry


def output_names(inputs: Iterable[PurePath], suffix: str, *later: PurePath) -> list[PurePath]:
    """The names that a run gives; those that come `later` are found when it goes on."""
    with Manifest(None) as manifest:
        for paths in (list(inputs), list(later)):
            assert sum(1 for _ in manifest.add([Entry(path, "") for path in paths], suffix)) == bool(paths)
        found = manifest.query("SELECT path, output FROM files ORDER BY id")
    return [PurePath(output) for _, output in found]


def named(*inputs: str, suffix: str = ".png") -> list[str]:
    return [path.as_posix() for path in output_names([Path(name) for name in inputs], suffix)]


def test_outputs_mirror_the_tree() -> None:
    assert named("a/film.jpg", "b/film.tif", "c") == ["a/film.png", "b/film.png", "c.png"]
    assert named("a.b.jpg", suffix=".npz") == ["a.b.npz"]
    assert named() == []


def test_one_stem_with_several_suffixes_keeps_them() -> None:
    assert named("film.jpg", "film.png", "film.tif") == ["film.jpg.png", "film.png.png", "film.tif.png"]


def test_names_that_differ_only_by_case_get_a_number() -> None:
    assert named("Scan.PNG", "scan.png") == ["Scan.PNG.png", "scan.png_2.png"]


def test_names_that_differ_only_by_the_coding_of_an_accent_get_a_number() -> None:
    assert len(set(named("\u00e9.png", "e\u0301.jpg", "e\u0301.png"))) == 3
    assert named("\u00e9.png", "e\u0301.png") == ["\u00e9.png_2.png", "e\u0301.png.png"]


def test_a_file_is_never_named_like_a_folder() -> None:
    assert named("film.jpg", "film.png/inside.png") == ["film.jpg.png", "film.png/inside.png"]


NAMES = st.text("aAbBß.é\u0301_2", min_size=1, max_size=5).filter(lambda name: name.strip(".") == name)
PATHS = st.builds("/".join, st.lists(NAMES.map(lambda name: name + ".png") | NAMES, min_size=1, max_size=3))


@given(st.lists(PATHS, unique=True, max_size=20), st.sampled_from([".png", ".npz"]))
@example(["a.jpg", "a.png", "a.jpg.tif", "A.jpg"], ".png")
@example(["a_2.png", "a.png", "A.png", "a.png_2.png"], ".png")
@example(["ss.png", "ß.png", "SS.tif"], ".png")
def test_no_two_outputs_are_alike(inputs: list[str], suffix: str) -> None:
    outputs = output_names([Path(name) for name in inputs], suffix)
    assert len(outputs) == len(inputs)
    assert len({str(path).casefold() for path in outputs}) == len(inputs)
    assert outputs == output_names([Path(name) for name in inputs], suffix)
    folders = {folder.as_posix().casefold() for name in inputs for folder in Path(name).parents}
    for name, output in zip(inputs, outputs, strict=True):
        assert output.parent == Path(name).parent
        assert output.suffix == suffix
        assert output.as_posix().casefold() not in folders


HOSTILE = (
    "CON.png",
    "aux",
    "com1.tar.png",
    "LPT\u00b9.png",
    "-rf.png",
    "=cmd|calc.png",
    "\uff1dcmd.png",
    ".hidden.png",
    "a\nb.png",
    "lung\u202egnp.exe.png",
    "$(touch pwned).png",
    "`id`;&.png",
    "'; DROP TABLE images;--.png",
    '"><svg onload=alert(1)>.png',
    "back\\slash.png",
    "C:evil.png",
    "  both ends  .png",
    "dots...",
    "half\udcff.png",
    "x" * 251 + ".png",
    "\u80f8" * 85 + ".png",
)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_become_safe_ones(name: str) -> None:
    (output,) = output_names([Path(name)], ".png")
    written = output.name
    assert len(written.encode()) <= 255 - 11
    assert not set(written) & set("<>:\"/\\|?*$`;&'!{}\n\r\t\u202e")
    assert written[0] not in "-=+@. \uff1d"
    assert written[-1] not in ". "
    assert written.isprintable()
    assert written.partition(".")[0].casefold() not in {"con", "aux", "com1", "lpt\u00b9"}
    assert safe_name(safe_name(name)) == safe_name(name)


def test_common_names_stay_as_they_are() -> None:
    for name in (
        "film.png",
        "Scan (2).png",
        "R\u00f6ntgen_\u80f8\u90e8_\u0635\u062f\u0631.png",
        "a b,c;d.png".replace(";", ""),
        "a#b=c.png",
    ):
        assert safe_name(name) == name
    assert named("a folder/film 1.jpg") == ["a folder/film 1.png"]


def test_names_that_become_alike_stay_apart() -> None:
    assert len(set(named("a<b.png", "a>b.png", "a_b.png", "x?/film.png", "x*/film.png"))) == 5
    assert len(set(named(*(f"{'x' * 250}{number}" for number in range(8))))) == 8
    assert named("CON.png", "_CON.png") == ["_CON.png.png", "_CON.png_2.png"]


def test_no_name_leads_out_of_the_folder() -> None:
    for name in ("/etc/passwd", "../../up.png", "a/../../b.png", "//host/share.png"):
        (output,) = output_names([PurePosixPath(name)], ".png")
        assert not output.is_absolute()
        assert ".." not in output.parts


def test_pages_never_meet_another_file_s_output() -> None:
    outputs = output_names([Path("film.tif"), Path("film.page2.png"), Path("FILM.PAGE3.jpg")], ".png")
    pages = [page_name(outputs[0], page, 3) for page in (1, 2, 3)]
    assert [path.name for path in pages] == ["film.page1.png", "film.page2.png", "film.page3.png"]
    assert len({str(path).casefold() for path in (*pages, *outputs[1:])}) == 5
    assert page_name(outputs[0], 1, 1) == outputs[0]


def test_a_file_keeps_its_name_whatever_comes_later() -> None:
    first = [PurePath("film.jpg"), PurePath("scan.tif")]
    names = output_names(first, ".png", *first, PurePath("film.png"), PurePath("film.jpg.tif"), PurePath("film.tif"))
    assert [name.as_posix() for name in names[:2]] == ["film.png", "scan.png"]
    assert [name.as_posix() for name in names[2:]] == ["film.png.png", "film.jpg.png", "film.tif.png"]


def test_many_files_of_one_name_are_numbered_without_looking_at_each_again() -> None:
    with Manifest(None) as manifest:
        entries = [Entry(PurePath("film.png"), "", member=copy, copy=copy) for copy in range(1, 3001)]
        list(manifest.add(entries, ".png"))
        names = [output for (output,) in manifest.query("SELECT output FROM files ORDER BY copy")]
    assert names[:3] == ["film.png.png", "film.png_2.png", "film.png_3.png"]
    assert len(set(names)) == 3000
