"""Object stores as source and target: the rules and the bytes of a folder, and no word that a store's library says."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pytest
from batches import QUICK, apply, but_time, by_path, contents, outputs
from buckets import KEY, SECRET, fetched, sent

from xray_core.batch_plan import prepare
from xray_core.errors import FileError, RunError, SettingsError
from xray_core.files import find, write
from xray_core.image import Image
from xray_core.limits import Limits
from xray_core.manifest import Manifest
from xray_core.names import LOG, PRESET
from xray_core.presets import create
from xray_core.stores import place

fsspec = pytest.importorskip("fsspec", reason="requirements-cluster.txt is not installed")
from xray_core.remote import RemoteFolder, RemoteOut, found  # noqa: E402

Textured = Callable[..., Image]
ROOT = Path(__file__).parents[1]


@pytest.fixture
def memory() -> Iterator[str]:
    """A folder in memory, as a URL."""
    folder = f"memory://{uuid.uuid4().hex}"
    yield folder
    system, root = fsspec.url_to_fs(folder)
    for path in system.find(root):
        del system.store[path]


@pytest.fixture
def films(textured: Textured, tmp_path: Path) -> Path:
    """Nine films of several formats, and what is none of them."""
    source = tmp_path / "in"
    for number in range(8):
        kind = (".png", ".jpg", ".tif", ".npz")[number % 4]
        write(source / f"site_{number % 2}" / f"film_{number}{kind}", textured(40 + number, 50, seed=number))
    write(source / "Röntgen 胸部.png", textured(30, 30))
    (source / "no_suffix").write_bytes((source / "site_0" / "film_0.png").read_bytes())
    (source / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + bytes(64))
    (source / "empty").write_bytes(b"")
    (source / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR")
    (source / "labels.csv").write_text("companion")
    (source / "films.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    (source / ".hidden.png").write_bytes(b"x")
    (source / ".trash").mkdir()
    (source / ".trash" / "film.png").write_bytes(b"x")
    return source


# --- Any store --------------------------------------------------------------------------------------------------------


def test_a_store_is_listed_by_the_rules_of_a_folder(films: Path, memory: str) -> None:
    sent(films, memory)
    here, there = Counter[str](), Counter[str]()
    expected = {path.as_posix() for path in find(films, here)}
    assert {entry.path.as_posix() for entry in RemoteFolder(memory).entries(there)} == expected
    assert there == here
    assert "no_suffix" in expected


def test_names_that_no_path_can_have_are_passed_over(films: Path, memory: str) -> None:
    system, root = fsspec.url_to_fs(memory)
    system.pipe_file(f"{root}/a/film.png", b"x")
    system.store[f"{root}//two/film.png"] = system.store[f"{root}/a/film.png"]
    system.store[f"{root}/a/../film.png"] = system.store[f"{root}/a/film.png"]
    entries = list(RemoteFolder(memory).entries(Counter()))
    assert [entry.path.as_posix() for entry in entries] == ["a/film.png"]


def test_a_store_that_tells_no_time_gives_no_stamp(memory: str) -> None:
    sent_to, root = fsspec.url_to_fs(memory)
    sent_to.pipe_file(f"{root}/film.png", b"x")
    assert [entry.stamp for entry in RemoteFolder(memory).entries(Counter())] == [""]


def test_outputs_are_written_read_listed_and_removed(memory: str, tmp_path: Path) -> None:
    target = RemoteOut(memory)
    assert list(target.sizes()) == []
    target.write(PurePath("a/b/film.png"), b"film")
    target.write(PurePath("a/b/film.png"), b"again")
    grown = tmp_path / "log.csv"
    grown.write_bytes(b"x" * 70_000)
    target.put(grown, PurePath("log.csv"))
    assert not grown.exists()
    assert dict(target.sizes()) == {"a/b/film.png": 5, "log.csv": 70_000}
    assert target.read(PurePath("a/b/film.png")) == b"again"
    target.remove(PurePath("a/b/film.png"))
    target.remove(PurePath("a/b/film.png"))
    target.sync()
    assert dict(target.sizes()) == {"log.csv": 70_000}


def test_a_declared_size_is_checked_before_a_byte_is_fetched(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    system, root = fsspec.url_to_fs(memory)
    system.pipe_file(f"{root}/film.png", bytes(1000))
    source = RemoteFolder(memory)
    assert len(source.read(PurePath("film.png"), None, Limits(file_bytes=1000))) == 1000
    monkeypatch.setattr(type(system), "cat_file", lambda *a, **k: pytest.fail("fetched"))
    with pytest.raises(FileError, match="999 bytes") as refused:
        source.read(PurePath("film.png"), None, Limits(file_bytes=999))
    assert refused.value.code == "BYTE_LIMIT"


def test_a_size_that_is_not_declared_is_bounded_too(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    system, root = fsspec.url_to_fs(memory)
    system.pipe_file(f"{root}/film.png", bytes(1000))
    info = type(system).info
    monkeypatch.setattr(type(system), "info", lambda *a, **k: info(*a, **k) | {"size": None})
    asked = []
    cat = type(system).cat_file
    monkeypatch.setattr(type(system), "cat_file", lambda *a, **k: asked.append(k["end"]) or cat(*a, **k))
    with pytest.raises(FileError, match="limit"):
        RemoteFolder(memory).read(PurePath("film.png"), None, Limits(file_bytes=100))
    assert asked == [101]


def test_an_answer_cut_short_is_a_failure(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    system, root = fsspec.url_to_fs(memory)
    system.pipe_file(f"{root}/film.png", bytes(1000))
    monkeypatch.setattr(type(system), "cat_file", lambda *a, **k: bytes(10))
    with pytest.raises(FileError, match="less than the whole"):
        RemoteFolder(memory).read(PurePath("film.png"), None, Limits())


FAULTS = [
    (FileNotFoundError(f"secret {SECRET}"), "does not exist"),
    (PermissionError(f"secret {SECRET}"), "permission denied"),
    (TimeoutError(f"secret {SECRET}"), "did not answer in time"),
    (OSError(5, f"secret {SECRET}"), r"refused \(OSError\)"),
    (RuntimeError(f"secret {SECRET}"), r"refused \(RuntimeError\)"),
]


@pytest.mark.parametrize(("fault", "words"), FAULTS, ids=lambda one: type(one).__name__)
def test_what_a_store_says_is_told_in_our_words(
    memory: str, monkeypatch: pytest.MonkeyPatch, fault: Exception, words: str
) -> None:
    system, root = fsspec.url_to_fs(memory)
    system.pipe_file(f"{root}/film.png", bytes(10))
    source, target = RemoteFolder(memory), RemoteOut(memory)

    def fail(*given: Any, **more: Any) -> None:
        raise fault

    for name in ("cat_file", "pipe_file", "put_file", "ls", "rm_file"):
        monkeypatch.setattr(type(system), name, fail)
    said = []
    for code, act in (
        ("READ", lambda: source.read(PurePath("film.png"), None, Limits())),
        ("READ", lambda: target.read(PurePath("film.png"))),
        ("WRITE", lambda: target.write(PurePath("film.png"), b"x")),
        ("WRITE", lambda: target.put(Path(__file__), PurePath("film.png"))),
    ):
        with pytest.raises(FileError, match=words) as refused:
            act()
        assert refused.value.code == code
        assert refused.value.__cause__ is None
        said.append(str(refused.value))
    with pytest.raises(RunError, match=words) as stopped:
        list(source.entries(Counter()))
    assert stopped.value.code == "NO_INPUT"
    target.remove(PurePath("film.png"))
    assert not any(SECRET in one for one in [*said, str(stopped.value)])


def test_a_full_store_ends_the_run(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    system = fsspec.url_to_fs(memory)[0]

    def fail(*given: Any, **more: Any) -> None:
        raise OSError(28, "words")

    monkeypatch.setattr(type(system), "pipe_file", fail)
    with pytest.raises(FileError) as refused:
        RemoteOut(memory).write(PurePath("film.png"), b"x")
    assert refused.value.code == "DISK_FULL"


@pytest.mark.parametrize("fails", ["pipe_file", "mv"])
def test_a_store_that_shows_half_files_gets_whole_ones(
    memory: str, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    system, root = fsspec.url_to_fs(memory)
    monkeypatch.setattr(type(system), "protocol", "slow")
    target = RemoteOut(memory)
    pipe, named = type(system).pipe_file, []
    monkeypatch.setattr(
        type(system), "pipe_file", lambda self, path, data: named.append(path) or pipe(self, path, data)
    )
    target.write(PurePath("a/film.png"), b"old")
    assert named[-1].endswith(".part")
    assert dict(target.sizes()) == {"a/film.png": 3}

    def fail(self: Any, path: str, *given: Any) -> None:
        if fails == "pipe_file":
            pipe(self, path, b"ha")
        raise OSError("no")

    monkeypatch.setattr(type(system), fails, fail)
    if fails == "mv":
        monkeypatch.setattr(type(system), "exists", lambda *a, **k: False)
    with pytest.raises(FileError):
        target.write(PurePath("a/film.png"), b"new one")
    assert target.read(PurePath("a/film.png")) == b"old"
    assert system.find(root) == [f"{root}/a/film.png"]


# --- What a URL may be ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        f"s3://{KEY}:{SECRET}@bucket/films",
        f"s3://{KEY}:with/slash{SECRET}@bucket/films",
        f"https://example.org/films?X-Amz-Signature={SECRET}",
    ],
)
def test_a_url_with_a_secret_is_refused_and_not_repeated(url: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        place(url)
    assert SECRET not in str(refused.value)
    for arguments in ([url, tmp_path / "out"], [tmp_path, url, "--state", tmp_path / "state"]):
        done = command(*arguments)
        assert done.returncode == 2, done.stderr
        assert SECRET not in done.stdout + done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        with pytest.raises(SettingsError):
            prepare(*[str(one) if "://" in str(one) else Path(one) for one in arguments[:2]], create(QUICK))


def test_a_file_url_is_a_path(films: Path, tmp_path: Path) -> None:
    assert place(films.as_uri()) == films
    assert apply(films.as_uri(), (tmp_path / "out").as_uri()).written == 10
    assert len(outputs(tmp_path / "out")) == 10


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("unheard-of://bucket/films", "no store is known as unheard-of://"),
        ("zip://films::s3://bucket/films.zip", "one store inside another"),
        ("s3://", "names no place"),
        ("memory://not/there", "does not exist"),
    ],
)
def test_urls_that_lead_nowhere_are_refused_in_words(url: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=words):
        prepare(url, tmp_path / "out", create(QUICK))


def test_inputs_and_outputs_are_kept_apart(memory: str, tmp_path: Path, films: Path) -> None:
    sent(films, f"{memory}/films")
    for other in (f"{memory}/films", f"{memory}/films/", f"{memory}/films/out", memory):
        with pytest.raises(SettingsError, match="that of the inputs"):
            prepare(f"{memory}/films", other, create(QUICK), state=tmp_path / "state")
    with pytest.raises(SettingsError, match="--state"):
        prepare(f"{memory}/films", f"{memory}/out", create(QUICK))
    sent(films, f"{memory}/out")
    with pytest.raises(SettingsError, match="not empty"):
        apply(f"{memory}/films", f"{memory}/out", state=tmp_path / "state")


def test_one_file_and_an_archive_as_the_source(memory: str, films: Path) -> None:
    sent(films, memory)
    assert found(f"{memory}/site_0/film_0.png") == (f"{memory}/site_0", PurePath("film_0.png"))
    source = RemoteFolder(*found(f"{memory}/site_0/film_0.png"))
    assert [entry.path for entry in source.entries(Counter())] == [PurePath("film_0.png")]
    with pytest.raises(SettingsError, match="archives"):
        found(f"{memory}/films.zip")


# --- A store that speaks S3 -------------------------------------------------------------------------------------------


def command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "xray_core", "batch", *map(str, arguments)]
    settings = {"PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(line, env=os.environ | settings, capture_output=True, text=True, timeout=120)


def test_from_store_to_store_gives_what_from_folder_to_folder_gives(
    bucket: str, films: Path, tmp_path: Path, textured: Textured, capfd: pytest.CaptureFixture[str]
) -> None:
    sent(films, f"{bucket}/in")
    local, state = tmp_path / "out", tmp_path / "state"
    assert apply(films, local).failed == {"DECODE": 1}
    summary = apply(f"{bucket}/in", f"{bucket}/out", state=state)
    assert (summary.written, summary.failed) == (10, {"DECODE": 1})
    assert summary.passed_over == {"hidden": 1, "no pictures": 3, "zip archives": 1}
    there = fetched(f"{bucket}/out")
    (tmp_path / LOG).write_bytes(there[LOG])
    assert but_time(by_path(tmp_path)) == but_time(by_path(local))
    assert {name: data for name, data in there.items() if name in outputs(local)} == outputs(local)
    assert PRESET in there
    assert set(there) <= set(contents(local))

    # Nothing has changed: no film is computed, nor even read.
    system = fsspec.url_to_fs(bucket)[0]
    before = {name: system.info(f"{bucket}/out/{name}")["LastModified"] for name in outputs(local)}
    again = apply(f"{bucket}/in", f"{bucket}/out", state=state, resume=True)
    assert (again.written, again.unchanged, again.failed) == (0, 10, {"DECODE": 1})
    assert before == {name: system.info(f"{bucket}/out/{name}")["LastModified"] for name in outputs(local)}

    # One film is another, one output is gone.
    picture = io.BytesIO()
    np.save(picture, textured(44, 33, seed=99))
    system.pipe_file(f"{bucket}/in/site_1/film_1.jpg", picture.getvalue())
    system.rm_file(f"{bucket}/out/site_0/film_0.png")
    third = apply(f"{bucket}/in", f"{bucket}/out", state=state, resume=True)
    assert (third.written, third.unchanged) == (2, 8)
    assert fetched(f"{bucket}/out").keys() == there.keys()

    verified = apply(f"{bucket}/in", f"{bucket}/out", state=state, resume=True, verify=True)
    assert (verified.written, verified.unchanged) == (0, 10)
    assert not any(SECRET in text or KEY in text for text in capfd.readouterr())
    for book in state.rglob("*"):
        assert not book.is_file() or SECRET.encode() not in book.read_bytes()


def test_from_the_command_line_and_with_one_film(bucket: str, films: Path, tmp_path: Path) -> None:
    sent(films / "site_0", f"{bucket}/in")
    done = command(f"{bucket}/in", tmp_path / "out", "--preset", "published")
    assert done.returncode == 0, done.stderr
    assert command(films / "site_0", tmp_path / "local", "--preset", "published").returncode == 0
    assert outputs(tmp_path / "out") == outputs(tmp_path / "local")

    arguments = (f"{bucket}/in/film_0.png", f"{bucket}/one", "--state", tmp_path / "state", "--preset", "published")
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    assert {"film_0.png", LOG, PRESET} <= set(fetched(f"{bucket}/one"))
    assert command(*arguments).returncode == 2
    done = command(*arguments, "--resume")
    assert (done.returncode, done.stdout) == (0, "")
    assert "1 unchanged" in done.stderr


def test_more_than_a_page_is_listed_page_by_page(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    system = fsspec.url_to_fs(bucket, use_listings_cache=False)[0]
    for number in range(25):
        system.pipe_file(f"{bucket}/in/film_{number:02}.png", bytes([number]))
    call, asked = type(system).call_s3, []

    def few(self: Any, method: str, **given: Any) -> Any:
        asked.append(method)
        return call(self, method, **given, MaxKeys=10)

    monkeypatch.setattr(type(system), "call_s3", few)
    entries = list(RemoteFolder(f"{bucket}/in").entries(Counter()))
    assert [entry.path.name for entry in entries] == [f"film_{number:02}.png" for number in range(25)]
    assert len({entry.stamp for entry in entries}) == 25
    assert asked == ["list_objects_v2"] * 3


def test_credentials_that_lack_and_a_store_that_is_gone_are_told_in_words(
    bucket: str, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent(films / "site_0", f"{bucket}/in")
    state = tmp_path / "state"
    done = command(f"{bucket}/in", tmp_path / "out", AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_MAX_ATTEMPTS="1")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert SECRET not in done.stderr
    assert KEY not in done.stderr
    absent = command(f"{bucket}/nothing", tmp_path / "out")
    assert absent.returncode == 2
    assert "does not exist" in absent.stderr

    # A bucket that cannot be written into ends the run, instead of failing film by film.
    done = command(films, "s3://not-made/out", "--state", state)
    assert done.returncode == 73, done.stderr
    with Manifest(state / ".radtune" / "manifest.sqlite", read_only=True) as manifest:
        assert manifest.count("failed") == 0
