"""Zip archives: what is listed, what is refused, and that nothing is ever written or unpacked beyond its limit."""

from __future__ import annotations

import io
import stat
import struct
import subprocess
import sys
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import batches
import numpy as np
import pytest

from xray_core.archive import Archive, is_archive
from xray_core.batch_log import Row
from xray_core.decode import Limits, decode
from xray_core.encode import encode
from xray_core.errors import FileError, SettingsError
from xray_core.files import find, read, write
from xray_core.image import Image
from xray_core.names import LOG, PRESET, RUN
from xray_core.pipeline import Settings, run

resource = pytest.importorskip("resource", reason="memory is measured on POSIX")

Textured = Callable[..., Image]

QUICK: Settings = {"resize.on": True, "resize.size": 64, "resize.fit": "stretch"}
ROOT = Path(__file__).parents[1]


@pytest.fixture
def png(textured: Textured) -> bytes:
    return encode(textured(20, 30), ".png")


def zipped(*members: tuple[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", packing) as archive:
        for name, content in members:
            # Not by the constructor, which would mend the name.
            entry = zipfile.ZipInfo("x")
            entry.filename = name
            entry.compress_type = packing
            archive.writestr(entry, content)
    return stream.getvalue()


def link(name: str, target: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, target)
    return stream.getvalue()


def names(data: bytes, counts: Counter[str] | None = None) -> list[str]:
    with Archive(data) as archive:
        return [member.path.as_posix() for member in archive.members(counts)]


def read_all(data: bytes, limits: Limits | None) -> None:
    with Archive(data, limits) as archive:
        for member in archive.members():
            archive.read(member.number)


def refused(data: bytes, limits: Limits | None = None) -> FileError:
    with pytest.raises(FileError) as caught:
        read_all(data, limits)
    assert "\n" not in str(caught.value)
    return caught.value


def apply(source: Path, target: Path, **options: Any) -> dict[str, Row]:
    batches.apply(source, target, **options)
    return batches.by_path(target)


def everything_below(folder: Path) -> set[str]:
    return set(batches.contents(folder))


# --- Listing and reading ----------------------------------------------------------------------------------------------


def test_pictures_are_listed_as_in_a_folder(png: bytes) -> None:
    data = zipped(
        ("b.png", png),
        ("a/film.dcm", b"no picture"),
        ("a/no_suffix", png),
        ("labels.csv", b"x"),
        (".hidden.png", png),
        ("__MACOSX/._b.png", b"x"),
        ("inner.zip", zipped(("c.png", png))),
        ("folder/", b""),
    )
    counts = Counter[str]()
    assert names(data, counts) == ["a/film.dcm", "a/no_suffix", "b.png"]
    assert counts == {"hidden": 2, "no pictures": 1, "archives inside the archive": 1}
    with Archive(data) as archive:
        films = {member.path.as_posix(): archive.read(member.number) for member in archive.members()}
    assert films["b.png"] == films["a/no_suffix"] == png


def test_an_archive_is_told_by_content_and_an_npz_is_none(tmp_path: Path, png: bytes, textured: Textured) -> None:
    (tmp_path / "films.png").write_bytes(zipped(("a.png", png)))
    write(tmp_path / "film.npz", textured(20, 20))
    (tmp_path / "film.zip").write_bytes((tmp_path / "film.npz").read_bytes())
    (tmp_path / "mixed.zip").write_bytes(zipped(("a.png", png), ("b.npy", b"x")))
    (tmp_path / "empty.zip").write_bytes(zipped())
    said = {path.name: is_archive(path) for path in tmp_path.iterdir()}
    assert said == {"films.png": True, "film.npz": False, "film.zip": False, "mixed.zip": True, "empty.zip": True}
    (tmp_path / "cut.zip").write_bytes(zipped(("a.png", png))[:-30])
    with pytest.raises(FileError, match="damaged or cut short"):
        is_archive(tmp_path / "cut.zip")
    assert not is_archive(tmp_path / "none")


def test_damage_and_locks_are_refused(png: bytes) -> None:
    data = bytearray(zipped(("a.png", png), packing=zipfile.ZIP_STORED))
    data[60] ^= 1
    assert refused(bytes(data)).code == "DECODE"
    locked = bytearray(zipped(("a.png", png)))
    locked[6] |= 1
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    assert "encrypted" in str(refused(bytes(locked)))
    assert refused(zipped(("a.png", png))[:50]).code == "DECODE"


# --- Hostile archives -------------------------------------------------------------------------------------------------

OUTSIDE = (
    "../up.png",
    "a/../../up.png",
    "/tmp/absolute.png",
    "..\\up.png",
    "C:\\up.png",
    "C:up.png",
    "\\\\host\\a.png",
)


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_leads_out_is_a_row_and_no_file(tmp_path: Path, png: bytes, name: str) -> None:
    source = tmp_path / "in" / "films.zip"
    source.parent.mkdir()
    source.write_bytes(zipped((name, png), ("good.png", png)))
    rows = apply(source, tmp_path / "deep" / "er" / "out")
    assert rows.pop("good.png")["status"] == "SUCCESS"
    (row,) = rows.values()
    assert row["reason"] == "READ: its name leads out of the archive; such a file is not read"
    assert everything_below(tmp_path) == {"in/films.zip", *(f"deep/er/out/{n}" for n in (LOG, PRESET, RUN, "good.png"))}
    assert not Path("/tmp/absolute.png").exists()


def test_an_entry_without_a_name_is_passed_over(png: bytes) -> None:
    counts = Counter[str]()
    data = bytearray(zipped(("x", b"words"), ("a.png", png)))
    for signature, place, size in ((b"PK\x03\x04", 26, 30), (b"PK\x01\x02", 28, 46)):
        at = data.index(signature)
        # The name becomes part of the extra field, which nobody reads.
        struct.pack_into("<HH", data, at + place, 0, 1)
        assert data[at + size : at + size + 1] == b"x"
    assert names(bytes(data), counts) == ["a.png"]


def test_links_are_passed_over(png: bytes) -> None:
    counts = Counter[str]()
    assert names(link("link.png", "/etc/passwd"), counts) == []
    assert counts == {"links": 1}


def test_archives_inside_are_not_opened(tmp_path: Path, png: bytes) -> None:
    inner = zipped(("film.png", png))
    for _ in range(5):
        inner = zipped(("next.zip", inner))
    (tmp_path / "nested.zip").write_bytes(inner)
    assert batches.apply(tmp_path / "nested.zip", tmp_path / "out").found == 0
    assert not (tmp_path / "out").exists()
    # Under another suffix it is read as what it says to be, and no further.
    (tmp_path / "named.zip").write_bytes(zipped(("film.png", inner)))
    rows = apply(tmp_path / "named.zip", tmp_path / "out")
    assert rows["film.png"]["reason"].startswith("UNSUPPORTED: the zip archive holds no NumPy array")


def bomb(gigabytes: int) -> bytes:
    """An archive of one entry that really unpacks to so many GB of zeros."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    end = zlib.compressobj(9, zlib.DEFLATED, -15).flush()
    content = block * (gigabytes << 10) + end
    size, name = gigabytes << 30, b"film.png"
    # Sizes over 4 GB stand in the extra field of zip64.
    extra = struct.pack("<HHQQ", 1, 16, size, len(content))
    wide = 0xFFFFFFFF
    common = struct.pack("<HHHHHIIIHH", 45, 0, 8, 0, 0x21, 0, wide, wide, len(name), len(extra))
    local = b"PK\x03\x04" + common + name + extra + content
    central = b"PK\x01\x02" + struct.pack("<H", 45) + common + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name + extra
    return local + central + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)


def test_ten_gigabytes_in_one_entry_are_refused_in_bounded_memory_and_disk(tmp_path: Path, png: bytes) -> None:
    (tmp_path / "bomb.zip").write_bytes(bomb(10))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = apply(tmp_path / "bomb.zip", tmp_path / "out")
    assert rows["film.png"]["reason"].startswith("BYTE_LIMIT: 10737 MB; the limit is 500 MB")
    assert everything_below(tmp_path / "out") == {LOG, PRESET, RUN}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 1_500_000
    assert refused(bomb(1), Limits(unpacked_bytes=10**9)).code == "BYTE_LIMIT"


def test_a_size_that_lies_is_believed_no_further_than_it_goes(png: bytes) -> None:
    data = bytearray(zipped(("film.png", bytes(50_000_000))))
    for signature, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", data, data.index(signature) + place, 10)
    assert refused(bytes(data)).code == "DECODE"


def test_entries_that_share_their_content_are_refused(png: bytes) -> None:
    data = bytearray(zipped(("film.png", bytes(1_000_000))))
    start = data.index(b"PK\x01\x02")
    end = data.index(b"PK\x05\x06")
    record = bytes(data[start:end])
    many = 200
    tail = struct.pack("<HHHHIIH", 0, 0, many, many, len(record) * many, start, 0)
    shared = bytes(data[:start]) + record * many + b"PK\x05\x06" + tail
    assert "overlap" in str(refused(shared))


def test_entries_are_counted_before_they_are_listed(png: bytes) -> None:
    data = zipped(*((f"{number}.png", b"x") for number in range(300)))
    assert len(names(data)) == 300
    assert refused(data, Limits(members=299)).code == "PAGE_LIMIT"
    assert refused(data, Limits(members=5)).code in ("PAGE_LIMIT", "BYTE_LIMIT")


def test_packings_that_unpack_by_the_block_are_refused(png: bytes) -> None:
    for packing in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        assert "rare way" in str(refused(zipped(("film.png", png), packing=packing)))


# --- A batch over an archive ------------------------------------------------------------------------------------------


def test_a_batch_over_an_archive_gives_what_its_folder_gives(tmp_path: Path, textured: Textured) -> None:
    folder = tmp_path / "in"
    for number, name in enumerate(("a.png", "site/b.tif", "site/c.npz", "D.PNG", "d.png")):
        write(folder / name, textured(40, 50 + number, seed=number))
    write(folder / "stack.png", textured(30, 30))
    np.save(folder / "stack.npy", np.stack([textured(30, 31, seed=seed) for seed in range(3)]))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    members = [(path.relative_to(folder).as_posix(), path.read_bytes()) for path in files]
    (tmp_path / "films.zip").write_bytes(zipped(*members))
    one, other = apply(folder, tmp_path / "one"), apply(tmp_path / "films.zip", tmp_path / "two")
    assert set(one) == set(other)
    assert len(other) == 9
    pictures = {name for name in everything_below(tmp_path / "one") if name.endswith(".png")}
    assert pictures == {name for name in everything_below(tmp_path / "two") if name.endswith(".png")}
    assert len(pictures) == 9
    for name in pictures:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_one_name_twice_gives_two_outputs(tmp_path: Path, textured: Textured) -> None:
    images = [textured(30, 30, seed=seed) for seed in range(3)]
    members = [(name, encode(image, ".png")) for name, image in zip(("f.png", "f.png", "F.PNG"), images, strict=True)]
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = zipped(*members)
    (tmp_path / "films.zip").write_bytes(data)
    rows = apply(tmp_path / "films.zip", tmp_path / "out")
    assert set(rows) == {"F.PNG", "f.png", "f.png//entry 2"}
    assert len({row["output"].casefold() for row in rows.values()}) == 3
    for name, image in zip(("f.png", "f.png//entry 2", "F.PNG"), images, strict=True):
        assert np.array_equal(read(tmp_path / "out" / rows[name]["output"]).pixels, run(image, QUICK))
    assert apply(tmp_path / "films.zip", tmp_path / "out", resume=True) == rows


def test_the_folder_of_an_archive_may_hold_its_outputs_but_not_be_them(tmp_path: Path, png: bytes) -> None:
    (tmp_path / "films.zip").write_bytes(zipped(("a.png", png)))
    with pytest.raises(SettingsError, match="that of the inputs"):
        apply(tmp_path / "films.zip", tmp_path)
    assert set(apply(tmp_path / "films.zip", tmp_path / "out")) == {"a.png"}


def test_the_command_line_takes_an_archive(tmp_path: Path, png: bytes) -> None:
    (tmp_path / "films.zip").write_bytes(zipped(("a.png", png), ("notes.txt", b"x"), ("b.png", b"")))
    (tmp_path / "none.zip").write_bytes(zipped(("notes.txt", b"x")))
    (tmp_path / "cut.zip").write_bytes(zipped(("a.png", png))[:-25])
    said = {}
    for name in ("films", "none", "cut"):
        line = [sys.executable, "-m", "xray_core", "batch", tmp_path / f"{name}.zip", tmp_path / name]
        done = subprocess.run([str(word) for word in line], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert "Traceback" not in done.stderr
        said[name] = done.returncode, done.stderr
    assert said["films"][0] == 1
    assert "passed over: 1 no pictures" in said["films"][1]
    assert said["none"][0] == 2
    assert "0 images found" in said["none"][1]
    assert said["cut"] == (2, f"radtune: {tmp_path / 'cut.zip'}: the zip archive is damaged or cut short\n")


def test_films_of_an_upload_are_read_from_memory(png: bytes) -> None:
    with Archive(zipped(("a.png", png))) as archive:
        (member,) = archive.members()
        assert decode(archive.read(member.number), member.path.name).size == (30, 20)


def test_the_outputs_of_a_stack_can_be_run_again(tmp_path: Path, textured: Textured) -> None:
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "stack.npy", np.stack([textured(30, 31, seed=seed) for seed in range(3)]))
    first = apply(tmp_path / "in", tmp_path / "out")
    assert set(first) == {f"stack.npy//page {number} of 3" for number in (1, 2, 3)}
    assert [row["output"] for row in first.values()] == [f"stack.page{number}.png" for number in (1, 2, 3)]
    assert apply(tmp_path / "in", tmp_path / "out", resume=True) == first
    (tmp_path / "out" / "stack.page2.png").unlink()
    assert len(apply(tmp_path / "in", tmp_path / "out", resume=True)) == 3
    assert len(list(find(tmp_path / "out"))) == 3
    # With fewer pages, the rows of those that are gone go too.
    np.save(tmp_path / "in" / "stack.npy", textured(30, 31))
    assert set(apply(tmp_path / "in", tmp_path / "out", resume=True)) == {"stack.npy"}
