"""A ledger in SQLite: what was committed outlasts a kill at any moment. One process writes, others read meanwhile."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from xray_core.errors import PresetError, RunError, XrayError

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
        self._db, self._address, found = _opened(path, read_only)
        self._is_empty = found == 0 and read_only
        if self._is_empty:
            return
        if found == 0:
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
        if self._is_empty:
            return None
        found = self._db.execute("SELECT value FROM said WHERE name = ?", (name,)).fetchone()
        with understood():
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


def _opened(path: Path | None, read_only: bool) -> tuple[sqlite3.Connection, str, int]:
    """Return a connection with its address, and the version that the file says it has; 0 of an empty one."""
    if path is None:
        return _connected(":memory:")
    address = path.absolute().as_uri()
    if not read_only:
        return _connected(address)
    try:
        return _connected(f"{address}?mode=ro")
    except sqlite3.OperationalError:
        # SQLite wants to write beside the file, which may be forbidden. Where nobody writes it can do without.
        log = path.with_name(f"{path.name}-wal")
        if log.exists() and log.stat().st_size:
            raise
        return _connected(f"{address}?immutable=1")


def _connected(address: str) -> tuple[sqlite3.Connection, str, int]:
    db = sqlite3.connect(address, uri=True, isolation_level=None, timeout=30.0, check_same_thread=False)
    try:
        db.execute("PRAGMA cache_size = -16000")
        return db, address, db.execute("PRAGMA user_version").fetchone()[0]
    except BaseException:
        db.close()
        raise


class Damaged(sqlite3.DatabaseError):
    """What SQLite takes for sound, and cannot be."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


@contextmanager
def understood() -> Iterator[None]:
    """Turn what happens where a ledger holds other things than were written into it into `Damaged`."""
    try:
        yield
    except XrayError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        raise Damaged(f"{type(error).__name__}: {error}") from error


@contextmanager
def refusals(path: Path, place: object) -> Iterator[None]:
    """Turn what SQLite says of a ledger into a `RunError` that names a place: DISK_FULL, DAMAGED or CANNOT_WRITE."""
    damaged = RunError("DAMAGED", f"{place}: the books of the run are damaged; say --overwrite")
    try:
        yield
    except UnicodeDecodeError:  # what SQLite says of damage may quote it
        raise damaged from None
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        with suppress(OSError):
            # Where there is no room at all it also fails to lock or to map.
            if code == sqlite3.SQLITE_FULL or shutil.disk_usage(path.parent).free < 1_000_000:
                raise RunError("DISK_FULL", f"{place}: the disk is full") from None
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
            raise damaged from None
        raise RunError("CANNOT_WRITE", f"{place}: the books of the run cannot be written") from None
