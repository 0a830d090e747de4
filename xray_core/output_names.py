"""The names of outputs in a manifest: none is given twice, as file systems compare them, and none ever changes."""

from __future__ import annotations

from pathlib import Path, PurePath
from sqlite3 import Connection

from xray_core.batch_log import as_text
from xray_core.names import alike, full_name, is_for_pages


def key_of(path: PurePath) -> bytes:
    """Return a path as a manifest keeps it."""
    # The separator sorts before any letter, so that the order of the bytes is that of the paths' parts.
    return path.as_posix().encode("utf-8", "surrogatepass").replace(b"/", b"\0")


def path_of(key: bytes) -> PurePath:
    """Return the path that a manifest keeps so."""
    return PurePath(key.replace(b"\0", b"/").decode("utf-8", "surrogatepass"))


def settle(db: Connection, settled: int, suffix: str) -> None:
    """Give another name to each new file whose plain name is also another's, or a folder's, or a page's.

    Parameters
    ----------
    db
        Of a manifest, in a transaction.
    settled
        The number of the last file whose name stands.
    suffix
        Of the outputs.
    """
    _move_folders(db, settled)
    db.execute(
        """
        CREATE TEMP TABLE contested AS SELECT id, path, output FROM files AS one WHERE id > ? AND (
            EXISTS (SELECT 1 FROM files AS other WHERE other.alike = one.alike AND other.id != one.id)
            OR EXISTS (SELECT 1 FROM folders WHERE folders.alike = one.alike)
            OR is_for_pages(output)
        ) ORDER BY path, copy
        """,
        (settled,),
    )
    db.execute("UPDATE files SET alike = NULL WHERE id IN (SELECT id FROM contested)")
    last: dict[int, int] = {}
    for number, key, plain in db.execute("SELECT id, path, output FROM contested ORDER BY rowid"):
        output = _free_name(db, PurePath(plain).with_name(path_of(key).name), suffix, last)
        changes = (as_text(output), alike(output), number)
        db.execute("UPDATE files SET output = ?, alike = ? WHERE id = ?", changes)
    db.execute("DROP TABLE contested")


def _move_folders(db: Connection, settled: int) -> None:
    """Give another folder to each new file whose own has the name of an older file's output."""
    blocked = "SELECT 1 FROM folders JOIN files USING (alike) WHERE files.id <= ? LIMIT 1"
    if db.execute(blocked, (settled,)).fetchone() is None:
        return
    for number, output in db.execute("SELECT id, output FROM files WHERE id > ?", (settled,)):
        folder = Path()
        for part in PurePath(output).parent.parts:
            folder /= part
            while _is_output(db, name := alike(folder), settled):
                folder = folder.with_name(f"{folder.name}_")
            db.execute("INSERT OR IGNORE INTO folders VALUES (?)", (name,))
        moved = folder / PurePath(output).name
        if moved != PurePath(output):
            changes = (as_text(moved), alike(moved), number)
            db.execute("UPDATE files SET output = ?, alike = ? WHERE id = ?", changes)


def _is_output(db: Connection, name: int, settled: int) -> bool:
    query = "SELECT 1 FROM files WHERE alike = ? AND id <= ?"
    return db.execute(query, (name, settled)).fetchone() is not None


def _free_name(db: Connection, path: PurePath, suffix: str, last: dict[int, int]) -> PurePath:
    """Return the first name that is free; `last` remembers how far the numbers of a name are used up."""
    name = alike(full_name(path, suffix))
    for number in range(last.get(name, 1), 10**9):
        output = full_name(path, suffix, number)
        if not is_for_pages(output) and not _taken(db, alike(output)):
            last[name] = number
            return output
    raise AssertionError("unreachable")


def _taken(db: Connection, name: int) -> bool:
    known = "SELECT 1 FROM files WHERE alike = ?1 UNION ALL SELECT 1 FROM folders WHERE alike = ?1"
    return db.execute(known, (name,)).fetchone() is not None
