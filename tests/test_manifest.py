"""The manifest: what was found, what is to be done, what was done; nothing counted twice, nothing lost."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path, PurePath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xray_core.batch_log import Row
from xray_core.errors import PresetError, RunError
from xray_core.ledger import refusals
from xray_core.manifest import Manifest, Task
from xray_core.stores import Entry


def entry(name: str, stamp: str = "1", **more: int) -> Entry:
    return Entry(PurePath(name), stamp, **more)


def add(manifest: Manifest, *entries: Entry) -> None:
    for _ in manifest.add(entries, ".png"):
        pass


def good(task: Task, pages: int = 1) -> list[Row]:
    stem = task.output.as_posix().removesuffix(".png")
    names = [f"{stem}.page{page}.png" for page in range(1, pages + 1)] if pages > 1 else [f"{stem}.png"]
    return [{"status": "SUCCESS", "output": name, "bytes": 5, "sha256": "ab", "ssim": 0.5} for name in names]


def bad() -> list[Row]:
    return [{"status": "FAILURE", "reason": "DECODE: damaged"}]


def to_do(manifest: Manifest, **options: bool) -> list[str]:
    return [task.path.as_posix() for task in manifest.tasks("to do", **options)]


def sizes(*names: str) -> list[tuple[str, int]]:
    return [(f"{name}.png", 5) for name in names]


@pytest.fixture
def manifest(tmp_path: Path) -> Iterable[Manifest]:
    with Manifest(tmp_path / "manifest.sqlite") as opened:
        add(opened, *(entry(f"{name}.tif") for name in "cab"))
        yield opened


def do_all(manifest: Manifest) -> None:
    manifest.record([(task, good(task)) for task in manifest.tasks()])


def test_files_come_in_the_order_of_their_paths(tmp_path: Path) -> None:
    names = ["b/x.png", "a.png", "a/z.png", "a-b.png", "B.png", "a/é.png", "a/b/c.png"]
    with Manifest(None) as manifest:
        add(manifest, *map(entry, names))
        assert to_do(manifest) == [path.as_posix() for path in sorted(map(PurePath, names))]
    with Manifest(None) as manifest:
        add(manifest, *(entry(f"{number:05}.png") for number in range(4500)))
        assert to_do(manifest) == [f"{number:05}.png" for number in range(4500)]


def test_what_was_done_is_not_done_again(manifest: Manifest) -> None:
    assert (manifest.count(), manifest.count("to do")) == (3, 3)
    do_all(manifest)
    assert (manifest.count("done"), to_do(manifest)) == (3, [])
    add(manifest, entry("a.tif"), entry("b.tif"), entry("c.tif"))
    manifest.take_up(sizes("a", "b", "c"))
    assert to_do(manifest) == []


def test_the_rest_the_failed_the_changed_and_the_lost_are_taken_up(manifest: Manifest) -> None:
    add(manifest, *(entry(f"{name}.tif") for name in "abcdefg"))
    for task in manifest.tasks():
        name = task.path.stem
        if name != "a":
            manifest.record([(task, bad() if name == "b" else good(task))])
    # c has changed, d is not sure, e lost its output, f's was emptied, g is as it was.
    held = [
        entry("a.tif"),
        entry("b.tif"),
        entry("c.tif", "2"),
        entry("d.tif", ""),
        *(entry(f"{n}.tif") for n in "efg"),
    ]
    add(manifest, *held)
    manifest.take_up([*sizes("c", "d", "g"), ("f.png", 0)])
    tasks = {task.path.stem: task for task in manifest.tasks()}
    assert list(tasks) == ["a", "b", "c", "d", "e", "f"]
    # What still has its output is only read, to see whether it holds something else.
    assert [name for name, task in tasks.items() if task.done] == ["c", "d"]
    manifest.record([(tasks["c"], []), (tasks["d"], good(tasks["d"]))])
    assert manifest.count("done") == 3
    add(manifest, *held)
    manifest.take_up(sizes("c", "d", "g"))
    assert "c" not in {task.path.stem for task in manifest.tasks()}


def test_a_file_found_changed_is_not_forgotten_when_the_run_ends_before_its_turn(manifest: Manifest) -> None:
    do_all(manifest)
    held = [entry("a.tif", "2"), entry("b.tif"), entry("c.tif")]
    add(manifest, *held)
    manifest.take_up(sizes("a", "b", "c"))
    # The next run finds that its output is gone meanwhile: reading the input would not be enough.
    add(manifest, *held)
    manifest.take_up(sizes("b", "c"))
    (task,) = manifest.tasks()
    assert (task.path.name, task.done) == ("a.tif", "")


def test_everything_is_verified_where_that_is_asked_for(manifest: Manifest) -> None:
    do_all(manifest)
    add(manifest, *(entry(f"{name}.tif") for name in "abc"))
    manifest.take_up(sizes("a", "b", "c"), verify=True)
    tasks = list(manifest.tasks(verify=True))
    assert [(task.path.stem, task.done, [name for name, _ in task.outputs]) for task in tasks] == [
        (name, "ab", [f"{name}.png"]) for name in "abc"
    ]


def test_a_file_that_is_gone_is_not_tried_and_keeps_its_row(manifest: Manifest) -> None:
    do_all(manifest)
    add(manifest, entry("a.tif"), entry("d.tif"))
    manifest.take_up(sizes("a", "b", "c"))
    assert to_do(manifest) == ["d.tif"]
    assert manifest.count() == 2
    assert [row["path"] for row in manifest.rows()] == ["a.tif", "b.tif", "c.tif"]


def test_only_failures(manifest: Manifest) -> None:
    for task in manifest.tasks():
        if task.path.stem != "a":
            manifest.record([(task, bad())])
    assert [task.path.stem for task in manifest.tasks("failed")] == ["b", "c"]
    assert manifest.count("to do") == 1


def test_rows_replace_those_of_before_and_name_the_outputs_that_nothing_tells_of_any_more(manifest: Manifest) -> None:
    task = next(manifest.tasks())
    assert list(manifest.stale([(task, good(task, 3))])) == []
    manifest.record([(task, good(task, 3))])
    assert [row["path"] for row in manifest.rows()] == [f"a.tif//page {page} of 3" for page in (1, 2, 3)]
    assert list(manifest.stale([(task, [])])) == []
    assert list(manifest.stale([(task, good(task, 2))])) == [PurePath("a.page3.png")]
    manifest.record([(task, good(task, 2))])
    assert set(manifest.stale([(task, bad())])) == {PurePath("a.page1.png"), PurePath("a.page2.png")}
    manifest.record([(task, bad())])
    assert [(row["path"], row["status"]) for row in manifest.rows()] == [("a.tif", "FAILURE")]


def test_settings_that_a_row_names_stand_with_it(manifest: Manifest) -> None:
    task = next(manifest.tasks())
    (row,) = good(task)
    manifest.record([(task, [row | {"gamma.gamma": 1.5, "dicom.window": 2}])])
    (read,) = manifest.rows()
    assert (read["gamma.gamma"], read["dicom.window"]) == (1.5, 2)
    assert "clahe.on" not in read


def test_all_or_nothing(manifest: Manifest) -> None:
    tasks = list(manifest.tasks())

    def breaks() -> Iterable[tuple[Task, list[Row]]]:
        yield tasks[0], good(tasks[0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        manifest.record(breaks())
    assert list(manifest.rows()) == []
    assert manifest.count("to do") == 3
    do_all(manifest)
    assert manifest.count("done") == 3


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=30))
def test_whatever_happens_each_file_has_one_state(events: list[tuple[str, bool]]) -> None:
    with Manifest(None) as manifest:
        add(manifest, *(entry(f"{name}.tif") for name in "abcdef"))
        tasks = {task.path.stem: task for task in manifest.tasks()}
        for name, works in events:
            manifest.record([(tasks[name], good(tasks[name]) if works else bad())])
        last = dict(events)
        assert manifest.count("done") == sum(last.values())
        assert manifest.count("failed") == len(last) - sum(last.values())
        assert sum(1 for _ in manifest.rows()) == len(last)


def test_paths_of_any_bytes_come_back(tmp_path: Path) -> None:
    names = ["film\udcff.png", "a\nb.png", "胸/部.png", "'; DROP TABLE files;--.png"]
    with Manifest(tmp_path / "m") as manifest:
        add(manifest, *map(entry, names))
        assert sorted(to_do(manifest)) == sorted(names)


def test_the_parts_of_a_run_become_one(tmp_path: Path) -> None:
    held = [entry(f"{number}.tif") for number in range(10)]
    for part in (0, 1):
        with Manifest(tmp_path / f"{part}.sqlite") as manifest:
            list(manifest.add(held, ".png", lambda path, part=part: int(path.stem) % 2 == part))
            manifest.say("record", {"format": "png"})
            assert manifest.count("to do") == 5
            do_all(manifest)
    with Manifest(tmp_path / "whole.sqlite") as whole:
        for part in (0, 1):
            with Manifest(tmp_path / f"{part}.sqlite", read_only=True) as one:
                whole.take_in(one)
        assert [row["path"] for row in whole.rows()] == [f"{number}.tif" for number in range(10)]
        assert whole.said("record") == {"format": "png"}
        assert whole.count("done") == 10


def test_others_read_while_it_is_written(tmp_path: Path, manifest: Manifest) -> None:
    with Manifest(tmp_path / "manifest.sqlite", read_only=True) as reader:
        assert reader.count("done") == 0
        do_all(manifest)
        assert reader.count("done") == 3
        with pytest.raises(sqlite3.OperationalError):
            reader.say("name", "x")


def test_a_manifest_of_another_version_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "manifest.sqlite"
    with Manifest(path):
        pass
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(PresetError, match=r"another version of RadTune; say --overwrite"):
        Manifest(path)
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(RunError, match=r"books of the run are damaged") as caught, refusals(path, path):
        Manifest(path)
    assert caught.value.code == "DAMAGED"
