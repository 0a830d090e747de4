"""A ledger in SQLite: what was committed outlasts a kill at any moment. One process writes, others read meanwhile."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from xray_core.errors import PresetError, RunError

_SAID = "CREATE TABLE said (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;"


class Ledger:
    """An opened ledger; close it, or use it in a ``with``. Besides its own tables it holds what is said under names.

    Parameters
    ----------
    path
        The file; it is made if it is not there. In memory if None.
    schema, version
        In SQL, its tables, and the number of their layout.
    columns
        Of its tables, those without which it is another's.
    read_only
        For those who look on while a run writes.

    Raises
    ------
    PresetError
        If it was made by a version of RadTune that kept its books otherwise.
    sqlite3.Error
        Here and in any method, where it cannot be read or written; see `refusals`.
    """

    def __init__(
        self,
        path: Path | None,
        schema: str,
        version: int,
        columns: Mapping[str, set[str]],
        *,
        read_only: bool = False,
    ) -> None:
        name = ":memory:" if path is None else path.absolute().as_uri() + ("?mode=ro" if read_only else "")
        self._db = sqlite3.connect(name, uri=True, isolation_level=None, timeout=30.0, check_same_thread=False)
        self._db.execute("PRAGMA cache_size = -16000")
        (found,) = self._db.execute("PRAGMA user_version").fetchone()
        if found == 0 and not read_only:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.executescript(f"BEGIN; {_SAID} {schema} PRAGMA user_version = {version}; COMMIT;")
            found = version
        if found != version or not all(wanted <= self._columns(table) for table, wanted in columns.items()):
            self.close()
            raise PresetError(f"{path}: the run was made by another version of RadTune; say --overwrite")
        # What a loss of power may take are the last rows; their files are done again.
        self._db.execute("PRAGMA synchronous = NORMAL")

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Let the file go."""
        with suppress(sqlite3.Error):
            self._db.close()

    def _columns(self, table: str) -> set[str]:
        return {name for _, name, *_ in self._db.execute(f"PRAGMA table_info({table})")}

    def said(self, name: str) -> Any:
        """Return what was noted under a name; None if nothing."""
        found = self._db.execute("SELECT value FROM said WHERE name = ?", (name,)).fetchone()
        return None if found is None else json.loads(found[0])

    def say(self, name: str, value: object) -> None:
        """Note something of the whole run, that JSON can hold."""
        with self.changing():
            self._db.execute("INSERT OR REPLACE INTO said VALUES (?, ?)", (name, json.dumps(value)))

    @contextmanager
    def changing(self) -> Iterator[None]:
        """All changes, or none; one inside another is part of it."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise

    def copy_to(self, other: Ledger) -> None:
        """Copy everything into another ledger, as it stands in one moment."""
        self._db.backup(other._db)

    def query(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return the answer to a question in SQL, for numbers over all rows; never made of what a visitor says."""
        return self._db.execute(sql, values).fetchall()


@contextmanager
def refusals(path: Path, place: object) -> Iterator[None]:
    """Turn what SQLite says of a ledger into a `RunError` that names a place: DISK_FULL, or CANNOT_WRITE."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        with suppress(OSError):
            # Where there is no room at all it also fails to lock or to map.
            if code == sqlite3.SQLITE_FULL or shutil.disk_usage(path.parent).free < 1_000_000:
                raise RunError("DISK_FULL", f"{place}: the disk is full") from None
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise RunError("CANNOT_WRITE", f"{place}: the books of the run are damaged; say --overwrite") from None
        raise RunError("CANNOT_WRITE", f"{place}: the books of the run cannot be written") from None
