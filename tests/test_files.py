"""Paths: what is listed, what outputs are called, and that they appear whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from xray_core import files
from xray_core.decode import Limits
from xray_core.errors import FileError, SettingsError
from xray_core.files import FORMATS, RANGES, check_output, encode, find, in_range, read, reason, write
from xray_core.image import Image

# isort: split
import cv2

Textured = Callable[..., Image]

LOSSLESS = [name for name in FORMATS if name != "jpg"]
PNG = cv2.imencode(".png", np.full((4, 5), 9, np.uint8))[1].tobytes()


def put(root: Path, *names: str, data: bytes = PNG) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def listed(root: Path) -> list[str]:
    return [path.as_posix() for path in find(root)]


def parts(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith(".part")]


# --- read -------------------------------------------------------------------------------------------------------------


def test_read_names_the_film_by_its_file(tmp_path: Path) -> None:
    put(tmp_path, "a folder/film.jpg")
    film = read(tmp_path / "a folder" / "film.jpg")
    assert film.name == "film.jpg"
    assert film.container == "PNG"
    assert film.size == (5, 4)
    assert read(str(tmp_path / "a folder" / "film.jpg")).sha256 == film.sha256


def test_what_cannot_be_read_says_why_without_the_path(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    put(tmp_path, "film.png", "empty.png")
    (tmp_path / "empty.png").write_bytes(b"")
    for name, code, said in (
        ("none.png", "READ", "does not exist"),
        ("film.png/below.png", "READ", "not a directory"),
        ("", "READ", "no file"),
        ("pipe.png", "READ", "no file"),
        ("x" * 300, "READ", "name is too long"),
        ("empty.png", "EMPTY", "0 bytes"),
    ):
        with pytest.raises(FileError, match=said) as caught:
            read(tmp_path / name)
        assert caught.value.code == code
        assert str(tmp_path) not in str(caught.value)


def test_a_file_over_the_limit_is_not_even_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "film.png")
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("it was read"))
    with pytest.raises(FileError) as caught:
        read(tmp_path / "film.png", Limits(file_bytes=10))
    assert caught.value.code == "BYTE_LIMIT"


def test_reasons_are_words() -> None:
    for code, words in (
        (errno.ENOENT, "the file or folder does not exist"),
        (errno.EACCES, "permission denied"),
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "the disk is read-only"),
        (errno.ENAMETOOLONG, "the name is too long"),
        (errno.EISDIR, "this is a folder"),
    ):
        assert reason(OSError(code, os.strerror(code), "/a/secret/path")) == words
    assert reason(OSError(errno.EIO, os.strerror(errno.EIO), "/a/secret/path")) == "input/output error"
    assert reason(OSError()) == "oserror"
    assert "secret" not in reason(OSError("/a/secret/path"))


# --- find -------------------------------------------------------------------------------------------------------------


def test_pictures_are_found_by_suffix_or_content_in_a_fixed_order(tmp_path: Path) -> None:
    put(tmp_path, "b.png", "a.PNG", "z/deep/er/c.tif", "m/no_suffix", "m/film.png.txt", "B.jpg", "=cmd.png", "-rf.png")
    put(tmp_path, "damaged.jpeg", "film.dcm", data=b"no picture at all")
    expected = ["-rf.png", "=cmd.png", "B.jpg", "a.PNG", "b.png", "damaged.jpeg", "film.dcm"]
    assert listed(tmp_path) == [*expected, "m/film.png.txt", "m/no_suffix", "z/deep/er/c.tif"]
    assert listed(tmp_path) == listed(tmp_path)


def test_hidden_files_links_and_companions_are_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "film.png", ".hidden.png", ".git/film.png", "folder.png/inside.png", "elsewhere/film.png")
    put(tmp_path, "labels.csv", "notes.txt", "Thumbs.db", "README", "empty", data=b"")
    put(tmp_path, "DICOMDIR", data=bytes(128) + b"DICM")
    put(tmp_path, "other.zip", data=b"PK\x03\x04" + bytes(60))
    (tmp_path / "link.png").symlink_to(tmp_path / "film.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing.png")
    (tmp_path / "again").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    assert listed(tmp_path) == ["elsewhere/film.png", "film.png", "folder.png/inside.png"]


def test_names_that_are_no_text_are_found(tmp_path: Path) -> None:
    name = os.fsdecode(b"film\xff\n.png")
    put(tmp_path, name)
    assert [path.name for path in find(tmp_path)] == [name]
    assert read(tmp_path / name).size == (5, 4)


def test_an_empty_folder_has_none(tmp_path: Path) -> None:
    assert listed(tmp_path) == []


# --- ranges -----------------------------------------------------------------------------------------------------------


def test_ranges() -> None:
    shallow = np.arange(256, dtype=np.uint8).reshape(16, 16)
    deep = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    assert in_range(deep, "same") is deep
    assert np.array_equal(in_range(shallow, "uint16"), shallow.astype(np.uint16) * 257)
    assert np.array_equal(in_range(deep, "uint8"), np.rint(deep / 257))
    assert np.array_equal(in_range(in_range(shallow, "uint16"), "uint8"), shallow)
    for image, white in ((shallow, 255), (deep, 65535)):
        unit = in_range(image, "unit")
        assert unit.dtype == np.float32
        assert unit.min() == 0
        assert unit.max() == 1
        assert np.allclose(unit, image / white, atol=1e-7)
        scores = in_range(image, "zscore")
        assert scores.dtype == np.float32
        assert abs(scores.mean(dtype=float)) < 1e-4
        assert abs(scores.std(dtype=float) - 1) < 1e-4
    assert not in_range(np.full((4, 4), 77, np.uint8), "zscore").any()
    with pytest.raises(SettingsError, match="one of same, uint8"):
        in_range(shallow, "uint32")


def test_formats_that_cannot_hold_a_range_are_refused() -> None:
    allowed = {(name, kind) for name in FORMATS for kind in RANGES}
    allowed -= {(name, kind) for name in ("png", "tif", "jpg", "dcm") for kind in ("unit", "zscore")} | {
        ("jpg", "uint16")
    }
    for name in FORMATS:
        for kind in RANGES:
            if (name, kind) in allowed:
                check_output(f".{name}", kind)
            else:
                with pytest.raises(SettingsError, match=f"{name}.*{kind}"):
                    check_output(f".{name}", kind)
    for suffix in (".bmp", "", ".", ".exe", ".png.exe"):
        with pytest.raises(SettingsError, match="one of png, tif, jpg"):
            check_output(suffix)
    for suffix in (".PNG", ".jpeg", ".TIFF"):
        check_output(suffix)


# --- encode and write -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize("size", [(61, 47), (1, 1), (1, 90)])
def test_what_is_written_is_read_back(
    textured: Textured, tmp_path: Path, name: str, dtype: type, size: tuple[int, int]
) -> None:
    image = textured(*size, dtype)
    path = tmp_path / f"film.{name}"
    write(path, image)
    film = read(path)
    assert film.pixels.dtype == dtype
    assert film.photometric == "MONOCHROME2"
    assert np.array_equal(film.pixels, image)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_jpeg_is_read_back_nearly(textured: Textured, tmp_path: Path, dtype: type) -> None:
    image = textured(80, 60, dtype)
    for suffix in (".jpg", ".jpeg"):
        write(tmp_path / f"film{suffix}", image)
        film = read(tmp_path / f"film{suffix}")
        assert film.container == "JPEG"
        difference = np.abs(film.pixels.astype(int) - in_range(image, "uint8"))
        assert difference.max() <= 16
        assert difference.mean() < 2


@pytest.mark.parametrize("kind", ["unit", "zscore"])
@pytest.mark.parametrize("name", ["npz", "npy"])
def test_numbers_with_a_point_are_written_for_numpy(textured: Textured, tmp_path: Path, name: str, kind: str) -> None:
    image = textured(30, 20, np.uint16)
    write(tmp_path / f"film.{name}", image, kind)
    loaded = np.load(tmp_path / f"film.{name}")
    array = loaded["image"] if name == "npz" else loaded
    assert array.dtype == np.float32
    assert np.array_equal(array, in_range(image, kind))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "dcm"])  # each DICOM file has a UID of its own
def test_the_same_image_gives_the_same_bytes(
    textured: Textured, monkeypatch: pytest.MonkeyPatch, name: str, dtype: type
) -> None:
    first = encode(textured(40, 30, dtype), f".{name}")
    monkeypatch.setattr("time.time", lambda: 2e9)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert encode(textured(40, 30, dtype).copy(), f".{name}".upper()) == first


def test_files_say_nothing_but_pixels(textured: Textured) -> None:
    for name in FORMATS:
        data = encode(textured(20, 20), f".{name}")
        for word in (b"Date", b"tIME", b"tEXt", b"python", b"Exif"):
            assert word not in data


def test_folders_are_made_and_old_files_replaced(textured: Textured, tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "film.png"
    write(path, textured(8, 8))
    write(path, textured(9, 9))
    assert read(path).size == (9, 9)
    assert [entry.name for entry in path.parent.iterdir()] == ["film.png"]


def test_a_failing_encoder_leaves_the_old_file(
    textured: Textured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "film.jpg"
    write(path, textured(8, 8))
    old = path.read_bytes()
    monkeypatch.setattr(cv2, "imencode", lambda *arguments: (False, None))
    with pytest.raises(FileError) as caught:
        write(path, textured(9, 9))
    assert caught.value.code == "WRITE"
    assert path.read_bytes() == old
    assert not parts(tmp_path)


@pytest.mark.parametrize("method", ["replace", "write_bytes", "mkdir"])
@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOSPC, errno.EIO])
def test_a_failing_disk_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, code: int
) -> None:
    path = tmp_path / "film.png"
    path.write_bytes(b"old")

    def fail(self: Path, *arguments: object, **options: object) -> None:
        if method == "write_bytes":
            with self.open("wb") as file:
                file.write(b"half a pic")
        raise OSError(code, os.strerror(code), str(self))

    with monkeypatch.context() as broken:
        broken.setattr(Path, method, fail)
        with pytest.raises(FileError) as caught:
            files.write_bytes(path if method != "mkdir" else tmp_path / "new" / "film.png", b"new content")
    assert caught.value.code == ("DISK_FULL" if code == errno.ENOSPC else "WRITE")
    assert str(tmp_path) not in str(caught.value)
    assert path.read_bytes() == b"old"
    assert not parts(tmp_path)


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "film.png"
    path.write_bytes(b"old")
    replace = Path.replace
    seen = []

    def watch(self: Path, target: Path) -> Path:
        seen.append((self.read_bytes(), path.read_bytes(), self.parent == path.parent, self.name.startswith(".")))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watch)
    files.write_bytes(path, b"new")
    assert seen == [(b"new", b"old", True, True)]
    assert path.read_bytes() == b"new"


def test_an_interrupt_while_writing_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write_bytes(tmp_path / "film.png", b"new")
    assert not list(tmp_path.iterdir())


def test_a_folder_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "film.png").mkdir()
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "film.png", tmp_path / "file" / "film.png", tmp_path / ("x" * 260 + ".png")):
        with pytest.raises(FileError) as caught:
            files.write_bytes(path, b"new")
        assert caught.value.code == "WRITE"
    assert not parts(tmp_path)


def test_quality_is_for_jpeg(textured: Textured, tmp_path: Path) -> None:
    image = textured(200, 200)
    sizes = [len(encode(image, ".jpg", quality=quality)) for quality in (20, 60, 95, 100)]
    assert sizes == sorted(sizes)
    assert encode(image, ".jpg") == encode(image, ".jpg", quality=95)
    with pytest.raises(SettingsError, match="a quality is for jpg"):
        write(tmp_path / "film.png", image, quality=90)
