"""Object stores as the source and the target of a batch, and whatever else fsspec reaches: ``s3://bucket/films``.

Credentials are found as fsspec and the store's own library find them: the environment, their configuration. Nothing
that a library says of an error is passed on: it may quote names, or what a request was signed with.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

from xray_core.errors import FileError, RunError, SettingsError
from xray_core.files import HEAD, begins_as_picture, is_full, kind_passed_over, named_as_picture, reason
from xray_core.limits import Limits
from xray_core.stores import Entry

Info = dict[str, Any]

_PAGE = 1_000  # files that are held at a time, and looked into together
_RACY = 60.0  # seconds by which the clocks of a store and of this machine may be apart
_CONTENT = ("ETag", "etag", "md5Hash", "content_md5")
_TIMES = ("LastModified", "last_modified", "mtime", "updated", "modified", "last_write_time")
# What these are sent appears whole, or not at all; elsewhere a file grows beside its place.
_WHOLE = frozenset(["s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss", "memory"])


def found(url: str) -> tuple[str, PurePath | None]:
    """Return the folder that a URL of a source names and, where it names one file, that file.

    Raises
    ------
    SettingsError
        If nothing is there.
    """
    store = _Store(url)
    try:
        info = store.system.info(store.root)
    except Exception as error:
        raise SettingsError(f"{url}: {_words(error)}") from None
    if info["type"] == "directory":
        return url, None
    if url.lower().endswith(".zip"):
        raise SettingsError(f"{url}: archives on a store are not read; copy it here, or unpack it there")
    folder, _, name = url.rpartition("/")
    return folder, PurePath(name)


class _Store:
    """A folder on a store: the file system, and where below it all paths lie."""

    def __init__(self, url: str) -> None:
        if "::" in url:
            raise SettingsError(f"{url}: one store inside another is not read")
        scheme = url.partition("://")[0]
        try:
            import fsspec
        except ImportError:
            raise SettingsError(f"{url}: to read it, python -m pip install -r requirements-cluster.txt") from None
        try:
            # A listing that is kept grows with the number of files, and does not see what others write.
            self.system, root = fsspec.url_to_fs(url, use_listings_cache=False)
        except ImportError:
            raise SettingsError(f"{url}: {scheme}:// needs a package that fsspec's documentation names") from None
        except ValueError:
            raise SettingsError(f"{url}: no store is known as {scheme}://") from None
        except Exception as error:
            raise SettingsError(f"{url}: {_words(error)}") from None
        self.url = url
        self.root = root.rstrip("/")
        if not self.root and scheme != "memory":
            raise SettingsError(f"{url}: it names no place on the store")
        protocol = self.system.protocol
        self.is_whole = not _WHOLE.isdisjoint([protocol] if isinstance(protocol, str) else protocol)

    def at(self, path: PurePath) -> str:
        """Return a path as the file system has it."""
        return f"{self.root}/{path.as_posix()}"

    def pages(self, passed_over: Counter[str], *, may_lack: bool = False) -> Iterator[list[tuple[str, Info]]]:
        """Yield what lies below the folder, some at a time: the path as the store has it, and what it says of it."""
        try:
            if hasattr(self.system, "call_s3"):
                yield from self._s3_pages()
            else:
                yield from self._folder_pages(passed_over)
        except Exception as error:
            if may_lack and isinstance(error, FileNotFoundError):
                return
            # Half a listing is none: what it lacks would count as gone.
            raise RunError("NO_INPUT", f"{self.url}: it cannot be listed: {_words(error)}") from None

    def _s3_pages(self) -> Iterator[list[tuple[str, Info]]]:
        # fsspec's own listing holds a whole folder at a time, and on S3 a million films often lie in one.
        bucket, _, prefix = self.root.partition("/")
        prefix = f"{prefix}/" if prefix else ""
        more: dict[str, str] = {}
        while True:
            page = self.system.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, **self.system.req_kw, **more)
            yield [(one["Key"][len(prefix) :], one) for one in page.get("Contents", [])]
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _folder_pages(self, passed_over: Counter[str]) -> Iterator[list[tuple[str, Info]]]:
        stack = [self.root]
        while stack:
            folder = stack.pop()
            try:
                infos = iter(self.system.ls(folder, detail=True))
            except (PermissionError, FileNotFoundError):
                if folder == self.root:
                    raise
                passed_over["folders that cannot be read"] += 1
                continue
            while page := list(islice(infos, _PAGE)):
                inside = [info for info in page if info["name"].startswith(f"{self.root}/")]
                folders = [info["name"].rstrip("/") for info in inside if info["type"] == "directory"]
                stack += [one for one in folders if one != folder and not _is_hidden(one.rpartition("/")[2])]
                others = (info for info in inside if info["type"] != "directory")
                yield [(info["name"][len(self.root) + 1 :], info) for info in others]


class RemoteFolder:
    """A folder on a store as a source; one file of it where `only` is given.

    Parameters
    ----------
    url
        As fsspec takes it.

    Raises
    ------
    SettingsError
        If nothing can reach such a URL.
    """

    def __init__(self, url: str, only: PurePath | None = None) -> None:
        self._store = _Store(url)
        self._only = only

    def entries(self, passed_over: Counter[str]) -> Iterator[Entry]:
        """Yield the pictures, by the rules of `xray_core.files.scan`; what is a link is told by few stores."""
        if self._only is not None:
            yield Entry(self._only, _stamp(self._info(self._only)))
            return
        for page in self._store.pages(passed_over):
            named = [(PurePath(key), info) for key, info in page if _is_path(key, info, passed_over)]
            by_name = [named_as_picture(path.name) for path, _ in named]
            unsure = [path for (path, info), told in zip(named, by_name, strict=True) if told is None and _size(info)]
            looked_into = dict(zip(unsure, self._begin_as_pictures(unsure), strict=True))
            for (path, info), told in zip(named, by_name, strict=True):
                if looked_into.get(path, False) if told is None else told:
                    yield Entry(path, _stamp(info))
                else:
                    passed_over[kind_passed_over(path.name)] += 1

    def _begin_as_pictures(self, paths: list[PurePath]) -> list[bool]:
        if not paths:
            return []
        # Asked for one by one, a million suffixless files would take hours.
        places = [self._store.at(path) for path in paths]
        heads = self._store.system.cat_ranges(places, [0] * len(places), [HEAD] * len(places), on_error="return")
        return [isinstance(head, bytes) and begins_as_picture(head) for head in heads]

    def _info(self, path: PurePath) -> Info:
        try:
            info: Info = self._store.system.info(self._store.at(path))
        except Exception as error:
            raise FileError("READ", _words(error)) from None
        return info

    def read(self, path: PurePath, member: int | None, limits: Limits) -> bytes:
        """Return a file's bytes; none are fetched of one that declares too many."""
        size = _size(self._info(path))
        limits.check_bytes(size or 0)
        # One byte more than may be: enough to refuse it where the store declares nothing.
        end = limits.file_bytes + 1 if size is None else None
        try:
            data: bytes = self._store.system.cat_file(self._store.at(path), end=end)
        except MemoryError:
            raise
        except Exception as error:
            raise FileError("READ", _words(error)) from None
        limits.check_bytes(len(data))
        if size is not None and len(data) < size:
            raise FileError("READ", "the store sent less than the whole file")
        return data

    def is_there(self) -> bool:
        """Whether the store answers, and holds such a folder."""
        with suppress(Exception):
            return bool(self._store.system.exists(self._store.root))
        return False

    def close(self) -> None:
        """Do nothing: fsspec shares what is open between those who use it."""


class RemoteOut:
    """A folder on a store as the target; parameters as of `RemoteFolder`."""

    def __init__(self, url: str) -> None:
        self._store = _Store(url)
        self._made = lru_cache(maxsize=256)(self._make)

    def write(self, path: PurePath, data: bytes) -> None:
        """Write a file whole, or not at all."""
        self._send(path, lambda place: self._store.system.pipe_file(place, data))

    def put(self, grown: Path, path: PurePath) -> None:
        """Send a file of this machine, however large, and remove it here."""
        self._send(path, lambda place: self._store.system.put_file(str(grown), place))
        with suppress(OSError):
            grown.unlink()

    def _send(self, path: PurePath, send: Callable[[str], object]) -> None:
        store = self._store
        place = store.at(path)
        try:
            if store.is_whole:
                send(place)
                return
            folder = place.rpartition("/")[0]
            self._made(folder)
            part = f"{folder}/.radtune-{secrets.token_hex(8)}.part"
            try:
                send(part)
                self._move(part, place)
            except BaseException:
                with suppress(Exception):
                    store.system.rm_file(part)
                raise
        except MemoryError:
            raise
        except Exception as error:
            full = isinstance(error, OSError) and is_full(error)
            raise FileError("DISK_FULL" if full else "WRITE", _words(error)) from None

    def _make(self, folder: str) -> None:
        self._store.system.makedirs(folder, exist_ok=True)

    def _move(self, part: str, place: str) -> None:
        try:
            self._store.system.mv(part, place)
        except Exception:
            # Some stores move onto nothing only.
            if not self._store.system.exists(place):
                raise
            self._store.system.rm_file(place)
            self._store.system.mv(part, place)

    def sizes(self) -> Iterator[tuple[str, int]]:
        """Yield the files below the folder; hidden ones are none of ours."""
        for page in self._store.pages(Counter(), may_lack=True):
            yield from ((key, _size(info) or 0) for key, info in page if _is_path(key, info, Counter()))

    def read(self, path: PurePath) -> bytes:
        """Return an output's bytes."""
        try:
            data: bytes = self._store.system.cat_file(self._store.at(path))
        except MemoryError:
            raise
        except Exception as error:
            raise FileError("READ", _words(error)) from None
        return data

    def has(self, path: PurePath) -> bool:
        """Whether an output is there, as far as the store tells."""
        try:
            return bool(self._store.system.exists(self._store.at(path)))
        except Exception:  # what it raises, it will raise again where it matters
            return True

    def remove(self, path: PurePath) -> None:
        """Remove an output, if it is there."""
        with suppress(Exception):
            self._store.system.rm_file(self._store.at(path))

    def sync(self) -> None:
        """Do nothing: what a store has taken it keeps."""


def _is_path(key: str, info: Info, passed_over: Counter[str]) -> bool:
    """Whether something on a store is a file of ours to see; counts what is passed over."""
    path = PurePath(key)
    *folders, name = key.split("/")
    if not name or any(map(_is_hidden, folders)):  # stores mark an empty folder by a file without a name
        return False
    if _is_hidden(name):
        passed_over["hidden"] += 1
        return False
    if info.get("type") == "link" or info.get("islink"):
        passed_over["links"] += 1
        return False
    if path.is_absolute() or path.as_posix() != key:  # as with two slashes in a row
        passed_over["names that no path can have"] += 1
        return False
    return True


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _size(info: Info) -> int | None:
    size = info.get("size", info.get("Size"))
    return int(size) if isinstance(size, int | float) else None


def _stamp(info: Info) -> str:
    """Return what changes when a file does; empty where the store tells nothing that surely would."""
    size = _size(info)
    if content := next((info[name] for name in _CONTENT if info.get(name)), None):
        return f"{size} {content}"
    changed = next((info[name] for name in _TIMES if info.get(name)), None)
    moment = changed.timestamp() if isinstance(changed, datetime) else changed
    if not isinstance(moment, int | float) or moment > time.time() - _RACY:
        return ""
    return f"{size} {moment}"


def _words(error: Exception) -> str:
    """Return what a store's error means, in words of our own."""
    words = f"the store was not reached, or refused ({type(error).__name__})"
    if isinstance(error, FileNotFoundError):
        return "the file or folder does not exist"
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, TimeoutError):
        return "the store did not answer in time"
    return reason(error, words) if isinstance(error, OSError) else words
