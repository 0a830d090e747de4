"""Files on the page, without a browser: DICOM, pages, zip archives, pictures that carry settings, hostile files."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import CANARY, dataset, dicom, stored, with_canaries
from pydicom import Dataset
from streamlit.testing.v1 import AppTest
from test_pages import (
    errors,
    film_choice,
    film_of,
    handed,
    home,
    move,
    open_upload,
    png,
    send,
    tune,
    upload,
    visitor,
    well,
)

from pages.ui import sources
from xray_core import cli
from xray_core.carried import embedded
from xray_core.decode import decode
from xray_core.dicom_choice import DicomChoice
from xray_core.files import encode
from xray_core.pipeline import run

ROOT = Path(__file__).parents[1]
BAD = ROOT.parent / "shared" / "data" / "bad"
MOVED = {"clahe.clip_limit": 2.5, "gamma.on": True, "gamma.gamma": 0.7}


def grey(seed: int = 0, bits: int = 12) -> np.ndarray:
    y, x = np.mgrid[0:1:70j, 0:1:90j]
    noise = np.random.default_rng(seed).normal(0, 0.01, x.shape)
    return (np.clip(0.2 + 0.5 * x * y + 0.1 * np.sin(20 * x) + noise, 0, 1) * (2**bits - 1)).astype(np.uint16)


def opened(name: str, data: bytes) -> AppTest:
    return well(open_upload(well(upload((name, data)))))


def captions(page: AppTest) -> str:
    return " ".join(caption.value.replace("\\", "") for caption in page.caption)


def packed(*entries: tuple[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return stream.getvalue()


# --- DICOM and pages ----------------------------------------------------------------------------------------------


def test_a_dicom_film_is_shown_as_decoded_with_its_spacing_and_how_it_was_read() -> None:
    data = dicom(
        grey(), 12, ImagerPixelSpacing=[0.2, 0.143], ExposureIndex="312", WindowCenter="2000", WindowWidth="3000"
    )
    page = opened("film.dcm", data)
    assert np.array_equal(film_of(page).pixels, decode(data, "film.dcm").pixels)
    assert handed(page)["film"]["spacing"] == [0.2, 0.143]
    said = captions(page)
    for words in ("window 1 of 1 (LINEAR)", "Imager Pixel Spacing 0.143 mm", "Exposure index 312"):
        assert words in said


def test_greys_and_window_of_a_dicom_film_are_chosen_and_settings_stay() -> None:
    windows = {"WindowCenter": ["2000", "1200"], "WindowWidth": ["3000", "900"]}
    data = dicom(grey(), 12, **windows)
    page = move(opened("film.dcm", data), MOVED)
    identities = {handed(page)["film"]["id"]}
    for voi, window in (("lut", 2), ("window", 1), ("window", 2), ("none", 1), ("lut", 1)):
        if page.selectbox(key=visitor(page).key_of("voi")).value != voi:
            well(page.selectbox(key=visitor(page).key_of("voi")).set_value(voi).run())
        if voi != "none" and window != 1:
            well(page.number_input(key=visitor(page).key_of("window")).set_value(window).run())
        choice = DicomChoice(voi, window)
        assert visitor(page).choice == choice
        assert np.array_equal(film_of(page).pixels, decode(data, "f", dicom=choice).pixels)
        assert (voi == "none") == (not [one for one in page.number_input if one.key == visitor(page).key_of("window")])
        identities.add(handed(page)["film"]["id"])
        assert handed(page)["settings"] | MOVED == handed(page)["settings"]
    assert len(identities) == 5
    well(film_choice(page).set_value("dark.png").run())
    assert visitor(page).choice == DicomChoice()
    assert not [one for one in page.selectbox if one.key == visitor(page).key_of("voi")]


@pytest.mark.parametrize("kind", ["dcm", "tif", "npy"])
def test_the_page_of_a_file_is_chosen(kind: str, tmp_path: Path) -> None:
    stack = np.stack([grey(seed, 16) for seed in range(3)])
    stream = io.BytesIO()
    if kind == "dcm":
        data = dicom(stack[..., None], 16)
    elif kind == "npy":
        np.save(stream, stack)
        data = stream.getvalue()
    else:
        import tifffile

        tifffile.imwrite(stream, stack, photometric="minisblack")
        data = stream.getvalue()
    page = opened(f"film.{kind}", data)
    for number in (1, 3, 2):
        well(page.number_input(key=visitor(page).key_of("page")).set_value(number).run())
        assert np.array_equal(film_of(page).pixels, decode(data, "f", page=number).pixels)
        assert f"Page {number} of 3." in captions(page)
    assert page.number_input(key=visitor(page).key_of("page")).max == 3


def test_a_reload_brings_page_and_greys_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = {"WindowCenter": ["2000", "1200"], "WindowWidth": ["3000", "900"]}
    (tmp_path / "film.dcm").write_bytes(dicom(np.stack([grey(seed) for seed in range(3)])[..., None], 12, **windows))
    monkeypatch.setenv(sources.ROOT_VARIABLE, str(tmp_path))
    page = tune()
    source = ["folder", "film.dcm", 3, "window", 2]
    well(send(page, revision=0, settings=handed(page)["settings"], film=source))
    assert handed(page)["film"]["source"] == source
    assert film_of(page).page == 3
    voi, window = (visitor(page).key_of(name) for name in ("voi", "window"))
    assert (page.selectbox(key=voi).value, page.number_input(key=window).value) == ("window", 2)
    assert "the batch needs --voi window --window 2 too" in captions(page)
    assert any(code.value.endswith("--voi window --window 2") for code in page.code)


def test_a_page_with_fewer_windows_is_reached_from_one_with_more() -> None:
    stack = np.stack([grey(seed) for seed in range(3)])[..., None]
    groups = []
    for many in (2, 2, 1):
        item, window = Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = ["2000", "1200"][:many], ["3000", "900"][:many]
        item.FrameVOILUTSequence = [window]
        groups.append(item)
    data = dicom(stack, 12, PerFrameFunctionalGroupsSequence=groups)
    page = opened("film.dcm", data)
    well(page.number_input(key=visitor(page).key_of("window")).set_value(2).run())
    for number, window_number in ((2, 2), (3, 1), (1, 1)):
        well(page.number_input(key=visitor(page).key_of("page")).set_value(number).run())
        assert (film_of(page).page, visitor(page).choice.window) == (number, window_number)


# --- archives and pictures that carry settings --------------------------------------------------------------------


def test_a_zip_is_taken_apart_and_bad_ones_in_it_are_named() -> None:
    data = packed(
        ("a/film.png", png(seed=1)),
        ("b/film.png", png(seed=2)),
        ("c.dcm", dicom(grey(), 12)),
        ("bad.png", b"no picture"),
        ("../../out.png", png(seed=3)),
        (".hidden.png", png()),
        ("readme.txt", b"hello"),
    )
    page = upload(("films.zip", data), ("own.png", png(seed=9)))
    assert not page.exception
    assert sorted(visitor(page).uploads) == ["a/film.png", "b/film.png", "c.dcm", "own.png"]
    said = errors(page)
    assert len(said) == 2
    assert any(words.startswith("films.zip: bad.png: ") for words in said)
    assert any(words.startswith("films.zip: ../../out.png: its name leads out of the archive") for words in said)
    page.selectbox(key="uploaded film").set_value("b/film.png").run()
    well(open_upload(page))
    assert np.array_equal(film_of(page).pixels, decode(png(seed=2), "").pixels)


def test_a_name_with_signs_that_are_not_shown_is_shown_without_them() -> None:
    page = upload(("film\u202egnp.exe\u0000.png", png()))
    assert list(visitor(page).uploads) == ["film_gnp.exe_.png"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (packed(("readme.txt", b"hello")), "no pictures are in this archive"),
        (packed(*((f"{number}.png", b"x") for number in range(201))), "201 films are in it, and the page takes 200"),
        (packed(("a.png", b"x"))[:-10], "zip"),
    ],
    ids=["no pictures", "too many", "cut short"],
)
def test_an_archive_that_can_not_be_taken_is_refused_in_words(data: bytes, words: str) -> None:
    page = upload(("films.zip", data))
    assert not page.exception
    (message,) = errors(page)
    assert message.startswith("films.zip: ")
    assert words in message
    assert visitor(page).uploads == {}


def test_a_bomb_in_a_zip_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_UPLOADED_BYTES", 1_000_000)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"{number}.png", bytes(500_000))
    page = upload(("bomb.zip", stream.getvalue()))
    assert errors(page) == ["bomb.zip: it unpacks to over 1 MB"]
    assert visitor(page).uploads == {}


@pytest.mark.parametrize("kind", ["png", "tif", "jpg", "npz", "dcm"])
def test_a_picture_made_by_the_command_line_gives_its_settings_back(kind: str, tmp_path: Path) -> None:
    (tmp_path / "film.png").write_bytes(png(seed=5))
    made = tmp_path / f"made.{kind}"
    flags = ["--clahe.clip-limit", "2.5", "--gamma.on", "true", "--gamma.gamma", "0.7"]
    assert cli.main(["enhance", str(tmp_path / "film.png"), str(made), *flags]) == 0
    page = tune()
    page.file_uploader(key="preset file").set_value((made.name, made.read_bytes(), "image/png")).run()
    well(page)
    assert {key: visitor(page).settings[key] for key in MOVED} == MOVED


def test_a_picture_without_settings_says_so() -> None:
    page = tune()
    page.file_uploader(key="preset file").set_value(("film.png", png(), "image/png")).run()
    assert not page.exception
    assert errors(page) == ["film.png: the file carries no settings of RadTune"]


def test_what_is_downloaded_is_byte_for_byte_what_a_batch_with_the_downloaded_preset_writes(tmp_path: Path) -> None:
    page = move(tune(), MOVED)
    preset = visitor(page).as_preset()
    after = visitor(page).run_pair().after
    downloaded = encode(after, ".png", text=embedded(preset))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "chest.png").write_bytes((sources.SAMPLES / "chest.png").read_bytes())
    (tmp_path / "p.preset.json").write_text(preset.dumps(), encoding="utf-8")
    given = ["batch", str(tmp_path / "in"), str(tmp_path / "out"), "--preset", str(tmp_path / "p.preset.json")]
    assert cli.main([*given, "--workers", "1"]) == 0
    assert (tmp_path / "out" / "chest.png").read_bytes() == downloaded


# --- identity and hostile files -----------------------------------------------------------------------------------


def test_no_word_of_a_dicom_file_comes_to_the_page(capfd: pytest.CaptureFixture[str]) -> None:
    whole = stored(with_canaries(dataset(grey(), 12)))
    page = upload(
        ("film.dcm", whole), ("cut.dcm", whole[:-200]), ("other.dcm", whole.replace(b"MONOCHROME2", b"CANARYMONO2"))
    )
    assert not page.exception
    assert len(errors(page)) == 2
    page = move(well(open_upload(page)), MOVED)
    kept = [visitor(page).as_preset().dumps(), embedded(visitor(page).as_preset()), repr(visitor(page).film)]
    texts = [*page.markdown, *page.caption, *page.error, *page.info, *page.success, *page.selectbox, *page.button]
    shown = [json.dumps(handed(page)), *(repr(text) for text in texts)]
    assert CANARY not in "".join([*kept, *shown, *capfd.readouterr()])


@pytest.mark.skipif(not BAD.is_dir(), reason="the folder of hostile files is not here")
@pytest.mark.parametrize("part", range(6))
def test_a_third_of_the_hostile_files_through_the_uploader(part: int) -> None:
    files = sorted(path for path in BAD.rglob("*") if path.is_file())[part::18]
    assert len(files) >= 15
    page: Any = home()
    given = [(path.name, path.read_bytes()) for path in files]
    page = upload(*given, page=page)
    assert not page.exception
    taken, said = visitor(page).uploads, errors(page)
    for name, data in given:
        stem = name.rsplit(".", 1)[0]
        assert any(stem in one for one in [*taken, *said]) or data.startswith(b"PK"), name
    for words in said:
        assert re.search(r": .{8,}", words), words
        assert "Traceback" not in words
    for name in list(taken)[:4]:
        page.selectbox(key="uploaded film").set_value(name).run()
        well(open_upload(page))
        assert np.array_equal(visitor(page).run_pair().after, run(decode(taken[name], name).pixels, {}))
        page.switch_page("home.py").run()
