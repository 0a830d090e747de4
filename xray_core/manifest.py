"""The manifest of a run: every file that was found, what became of it, and the name of its output, in SQLite.

It is the source of truth: the log is exported from it. One process writes, any number read meanwhile. What was
committed outlasts a kill at any moment; nothing that grows with the number of files is ever held in memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePath
from typing import Literal, TypeVar

from xray_core import dicom_choice
from xray_core.batch_log import Row, as_text, copy_part, page_part
from xray_core.ledger import Ledger, understood
from xray_core.metrics import COLUMNS
from xray_core.names import alike, is_for_pages, plain_name, safe_folders
from xray_core.output_names import key_of, path_of, settle
from xray_core.pipeline import parameters
from xray_core.stores import Entry

T = TypeVar("T")

VERSION = 1
_TODO, _DONE, _FAILED, _OTHERS = 0, 1, 2, 3
Which = Literal["found", "to do", "done", "failed"]
_STATES = {"found": "(0, 1, 2, 3)", "to do": f"({_TODO})", "done": f"({_DONE})", "failed": f"({_FAILED})"}
_CHUNK = 2_000
_SAID = {*parameters(), *dicom_choice.COLUMNS}
_IN_ORDER = "files.path, files.copy, rows.page"
_OUTPUT = ("output", "bytes", "output_sha256")
STORED = ("status", "reason", "sha256", *_OUTPUT, "seconds", "bits", "width", "height", *COLUMNS, "verdict")
"""Columns of a row as they are stored."""

_SCHEMA = f"""
CREATE TABLE folders (alike INTEGER PRIMARY KEY);
CREATE TABLE files (
    id INTEGER PRIMARY KEY,
    path BLOB NOT NULL,
    copy INTEGER NOT NULL,
    member INTEGER,
    stamp TEXT NOT NULL,
    seen INTEGER NOT NULL,
    output TEXT NOT NULL,
    alike INTEGER,
    state INTEGER NOT NULL DEFAULT {_TODO},
    done_stamp TEXT,
    UNIQUE (path, copy)
);
CREATE INDEX alike ON files (alike);
CREATE TABLE rows (
    file INTEGER NOT NULL,
    page INTEGER NOT NULL,
    pages INTEGER NOT NULL,
    {", ".join(STORED)},
    settings TEXT,
    PRIMARY KEY (file, page)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Task:
    """One file of a run.

    Attributes
    ----------
    number
        Its number in the manifest.
    path
        Its path below the source, or its name in the archive.
    output
        Its output's path below the target; pages of a file of several have names made of it.
    stamp
        As `xray_core.stores.Entry` has it.
    member, copy
        Its place in an archive, and which one of several entries of one name it is.
    done
        Digest it had when it was last done, if its outputs are still there.
    outputs
        Those outputs with their digests, where they are to be verified.
    known
        Digest it had when any output was made of it, whether that is still there or not.
    """

    number: int
    path: PurePath
    output: PurePath
    stamp: str = ""
    member: int | None = None
    copy: int = 1
    done: str = ""
    outputs: tuple[tuple[str, str], ...] = ()
    known: str = ""


def name_of(task: Task) -> str:
    """Return what names a file in the log."""
    return as_text(task.path) + copy_part(task.copy)


class Manifest(Ledger):
    """An opened manifest; close it, or use it in a ``with``.

    Parameters
    ----------
    path, read_only
        As in `Ledger`, which says what it raises.
    """

    def __init__(self, path: Path | None, *, read_only: bool = False) -> None:
        super().__init__(path, _SCHEMA, VERSION, {"rows": set(STORED)}, read_only=read_only)
        self._db.create_function("is_for_pages", 1, lambda name: is_for_pages(PurePath(name)), deterministic=True)

    def take_in(self, other: Manifest) -> None:
        """Add what another manifest says of the files that are its own: the parts of a run become one."""
        self._db.execute("ATTACH ? AS part", (other._address,))
        with self.changing():
            if self.said("record") is None:
                self._db.execute("INSERT INTO said SELECT * FROM part.said")
            above = self._db.execute("SELECT coalesce(max(id), 0) FROM files").fetchone()[0]
            columns = "path, copy, member, stamp, seen, output, alike, state, done_stamp"
            ours = f"FROM part.files WHERE state != {_OTHERS}"
            self._db.execute(f"INSERT INTO files (id, {columns}) SELECT id + ?, {columns} {ours}", (above,))
            columns = ", ".join(("page", "pages", *STORED, "settings"))
            self._db.execute(f"INSERT INTO rows SELECT file + ?, {columns} FROM part.rows", (above,))
        self._db.execute("DETACH part")

    # --- What was found -----------------------------------------------------------------------------------------------

    def add(
        self, entries: Iterable[Entry], suffix: str, ours: Callable[[PurePath], bool] = lambda path: True
    ) -> Iterator[int]:
        """Take in what the source holds now, and name the outputs; yields how many were taken so far.

        Files that were known keep the names of their outputs. Of the new ones, those whose plain names no other file
        comes near get them; of the rest, in the order of their paths, each gets its full name, with a number if need
        be. What is not `ours` takes part in that alone: so the parts of a run that is spread give no name twice.
        """
        # A listing that was interrupted has marked files as well.
        marked = self._db.execute("SELECT max(seen) FROM files").fetchone()[0] or 0
        with understood():
            now = max(self._now, marked) + 1
        folder, count = PurePath(), 0
        for chunk in _chunks(entries):
            with self.changing():
                for entry in chunk:
                    if entry.path.parent != folder:
                        folder = entry.path.parent
                        above = [(alike(one),) for one in safe_folders(entry.path)]
                        self._db.executemany("INSERT OR IGNORE INTO folders VALUES (?)", above)
                    key = (key_of(entry.path), entry.copy)
                    known = self._db.execute(
                        "UPDATE files SET seen = ?, stamp = ?, member = ? WHERE path = ? AND copy = ?",
                        (now, entry.stamp, entry.member, *key),
                    )
                    if known.rowcount:
                        continue
                    plain, state = plain_name(entry.path, suffix), _TODO if ours(entry.path) else _OTHERS
                    self._db.execute(
                        "INSERT INTO files (path, copy, member, stamp, seen, output, alike, state) "
                        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                        (*key, entry.member, entry.stamp, now, as_text(plain), alike(plain), state),
                    )
            count += len(chunk)
            yield count
        with self.changing():
            settle(self._db, self.said("settled") or 0, suffix)
            self.say("settled", self._db.execute("SELECT max(id) FROM files").fetchone()[0])
            self.say("listing", now)

    # --- What is to be done -------------------------------------------------------------------------------------------

    def take_up(self, sizes: Iterable[tuple[str, int]], *, verify: bool = False) -> None:
        """Mark what has to be done in a run that goes on: the rest, what failed, what changed, whose output is gone.

        Parameters
        ----------
        sizes
            The files in the target, with their bytes.
        verify
            Look into every file, whatever its stamp says.
        """
        with self.changing():
            self._db.execute("CREATE TEMP TABLE present (output TEXT PRIMARY KEY, bytes INTEGER) WITHOUT ROWID")
            for chunk in _chunks(sizes):
                self._db.executemany("INSERT OR REPLACE INTO present VALUES (?, ?)", chunk)
            self._db.execute(
                f"""
                UPDATE files SET state = {_TODO}, done_stamp = NULL WHERE done_stamp IS NOT NULL AND id IN (
                    SELECT file FROM rows WHERE output != '' AND NOT EXISTS (
                        SELECT 1 FROM present WHERE present.output = rows.output AND present.bytes = rows.bytes
                    )
                )
                """
            )
            self._db.execute("DROP TABLE present")
            # Nothing tells any more whether what is not there would still fail.
            gone = "SELECT id FROM files WHERE seen < ?"
            dropped = self._db.execute(f"DELETE FROM rows WHERE status = 'FAILURE' AND file IN ({gone})", (self._now,))
            if dropped.rowcount:
                self.say("exported", False)
            # Where its stamp is kept, a file is only read: the same content is not computed again.
            changed = "1" if verify else "(done_stamp = '' OR done_stamp != stamp)"
            to_do = f"state = {_FAILED} OR (state = {_DONE} AND {changed})"
            self._db.execute(f"UPDATE files SET state = {_TODO} WHERE {to_do}")

    @property
    def _now(self) -> int:
        with understood():
            return int(self.said("listing") or 0)

    def count(self, which: Which = "found") -> int:
        """Return how many of the files that the source held at its last listing are in a state."""
        query = f"SELECT count(*) FROM files WHERE seen >= ? AND state IN {_STATES[which]}"
        return int(self._db.execute(query, (self._now,)).fetchone()[0])

    @property
    def is_blank(self) -> bool:
        """Whether nothing was ever done."""
        return next(self.rows(limit=1), None) is None

    def gone(self) -> int:
        """Return how many files were done once and are not in the source any more; their outputs and rows stay."""
        query = "SELECT count(*) FROM files WHERE seen < ? AND id IN (SELECT file FROM rows)"
        return int(self._db.execute(query, (self._now,)).fetchone()[0])

    def tasks(self, which: Which = "to do", *, verify: bool = False) -> Iterator[Task]:
        """Yield files in the order of their paths; what became of them may be recorded meanwhile.

        Parameters
        ----------
        which
            Those in a state at the moment when they come up.
        verify
            With the outputs they have, for these to be looked at.
        """
        last = (b"", 0)
        query = f"""
            SELECT path, copy, id, output, stamp, member, done_stamp IS NOT NULL,
                (SELECT sha256 FROM rows WHERE file = id AND output != '' LIMIT 1)
            FROM files WHERE (path, copy) > (?, ?) AND seen >= ? AND state IN {_STATES[which]}
            ORDER BY path, copy LIMIT {_CHUNK}
        """
        while chunk := self._db.execute(query, (*last, self._now)).fetchall():
            for path, copy, number, output, stamp, member, was_done, known in chunk:
                done = (was_done and known) or ""
                outputs: tuple[tuple[str, str], ...] = ()
                if verify and done:
                    made = "SELECT output, output_sha256 FROM rows WHERE file = ? AND output != ''"
                    outputs = tuple(self._db.execute(made, (number,)))
                with understood():
                    task = Task(
                        number, path_of(path), PurePath(output), stamp, member, copy, done, outputs, known or ""
                    )
                yield task
            last = (path, copy)

    def task(self, number: int) -> Task:
        """Return the file with a number, as the rows have it."""
        query = "SELECT path, output, stamp, member, copy FROM files WHERE id = ?"
        path, output, stamp, member, copy = self._db.execute(query, (number,)).fetchone()
        with understood():
            return Task(number, path_of(path), PurePath(output), stamp, member, copy)

    # --- What was done ------------------------------------------------------------------------------------------------

    def stale(self, results: Iterable[tuple[Task, Sequence[Row]]]) -> Iterator[PurePath]:
        """Yield the outputs of an earlier time that these results, which are not yet recorded, no longer have."""
        for task, rows in results:
            made = {row["output"] for row in rows if row.get("output")}
            before = self._db.execute("SELECT output FROM rows WHERE file = ? AND output != ''", (task.number,))
            with understood():
                gone = [PurePath(output) for (output,) in before.fetchall() if rows and output not in made]
            yield from gone

    def record(self, results: Iterable[tuple[Task, Sequence[Row]]]) -> None:
        """Take in what became of files, all or nothing; none of its rows where a file was found unchanged.

        Parameters
        ----------
        results
            Each file with the rows of its pages, without what the whole run has in common.
        """
        marks, made = ", ".join("?" * (len(STORED) + 4)), False
        with self.changing():
            for task, rows in results:
                if not rows:
                    update = f"UPDATE files SET state = {_DONE}, done_stamp = ? WHERE id = ?"
                    self._db.execute(update, (task.stamp, task.number))
                    continue
                made = True
                self._db.execute("DELETE FROM rows WHERE file = ?", (task.number,))
                self._db.executemany(
                    f"INSERT INTO rows VALUES ({marks})",
                    [
                        (task.number, page, len(rows), *(row.get(name) for name in STORED), _settings(row))
                        for page, row in enumerate(rows, start=1)
                    ],
                )
                failed = any(row["status"] == "FAILURE" for row in rows)
                change = (_FAILED, None, task.number) if failed else (_DONE, task.stamp, task.number)
                self._db.execute("UPDATE files SET state = ?, done_stamp = ? WHERE id = ?", change)
            if made:
                self.say("exported", False)

    def rows(
        self, where: str = "1", values: Sequence[object] = (), *, order: str = _IN_ORDER, limit: int = -1
    ) -> Iterator[Row]:
        """Yield rows as the log has them, without what the whole run has in common, and with ``file`` and ``page``.

        Parameters
        ----------
        where, order
            In SQL, over the tables ``files`` and ``rows``; never made of what a visitor or a file says.
        values
            For the question marks in `where`.
        limit
            Most rows; all if negative.
        """
        names = ("file", "path", "copy", "page", "pages", *STORED, "settings")
        cursor = self._db.cursor()
        cursor.execute(
            f"""
            SELECT files.id, path, copy, page, pages, {", ".join(f"rows.{name}" for name in STORED)}, settings
            FROM rows JOIN files ON files.id = rows.file WHERE {where} ORDER BY {order} LIMIT ?
            """,
            (*values, limit),
        )
        for found in cursor:
            row = dict(zip(names, found, strict=True))
            with understood():
                part = copy_part(row.pop("copy")) + page_part(row["page"], row.pop("pages"))
                row["path"] = as_text(path_of(row["path"])) + part
                row |= json.loads(row.pop("settings") or "{}")
            yield row


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    return iter(lambda: list(islice(rest, _CHUNK)), [])


def _settings(row: Row) -> str | None:
    """Return what a row says of settings, which differ from those of the run, and of DICOM."""
    said = {name: row[name] for name in row.keys() & _SAID}
    return json.dumps(said) if said else None
