"""The routes behind the downloads of a run: its results as a zip, its log, its report; streamed, never held in memory.

A link carries a token of 256 bits, made for one run with a key that lies beside the runs; nothing but what is named
here, of that run's own outputs, can be asked for.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import os
import re
import secrets
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from pages.ui import places, run_process, runs
from pages.ui.live import base
from pages.ui.runs import Run
from xray_core.names import LOG, REPORT

OUTPUTS, CSV, PARQUET, HTML = "results.zip", LOG, "log.parquet", REPORT
KINDS = {OUTPUTS: "application/zip", CSV: "text/csv", PARQUET: "application/octet-stream", HTML: "text/html"}
_FLAGS = {CSV: "--csv", PARQUET: "--parquet", HTML: "--html"}
_KEPT = (CSV, HTML)  # that a run which came to its end has written itself
_CHUNK = 1 << 20
_EXPORT_SECONDS = 600.0
_KEY = ".key"
_FRESH = secrets.token_bytes(32)
_EXPORTS = ThreadPoolExecutor(2, thread_name_prefix="radtune-export")


class _RefusedError(Exception):
    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status, self.words = status, words


def token(run_id: str) -> str:
    """Return what allows the downloads of a run."""
    return hmac.new(_key(), run_id.encode(), hashlib.sha256).hexdigest()


def _key() -> bytes:
    """Return the key of all links: one that outlives the server, as the pages that hold the links do."""
    path = places.runs_root() / _KEY
    with suppress(OSError), open(path, "xb", opener=_for_us_alone) as file:
        file.write(_FRESH)
    with suppress(OSError):
        kept = path.read_bytes()
        if len(kept) == len(_FRESH):
            return kept
    return _FRESH


def _for_us_alone(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)


def link(run: Run, what: str) -> str:
    """Return the address of one of `KINDS` of a run."""
    return f"{base()}/runs/{run.id}/{token(run.id)}/{what}"


class _Sink:
    """What is written to it is taken away piece by piece; it cannot be sought in, as a connection can't.

    No file of Python's: of a download that is broken off, the garbage collection might close that before the archive.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


def zipped(root: Path) -> Iterator[bytes]:
    """Yield a zip archive of the files below a folder, stored as they are; hidden ones and links are left out."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for path, name in _files(root):
            try:
                entry = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
                file = open(path, "rb", opener=_not_following)  # noqa: SIM115
            except OSError:  # a run that goes on replaces files
                continue
            with file:
                entry.file_size = os.fstat(file.fileno()).st_size
                with archive.open(entry, "w") as inside:
                    while chunk := file.read(_CHUNK):
                        inside.write(chunk)
                        yield sink.take()
    yield sink.take()


def _not_following(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0))


def _files(root: Path) -> Iterator[tuple[Path, str]]:
    stack = [(root, "")]
    while stack:
        folder, above = stack.pop()
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    stack.append((Path(entry.path), f"{above}{entry.name}/"))
                elif stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
                    yield Path(entry.path), above + entry.name


def _exported(run: Run, what: str) -> Path:
    """Write the log or the report as far as the run is, into a folder of its own; in a process, for it takes memory."""
    folder = Path(tempfile.mkdtemp(prefix="radtune-"))
    try:
        line = [sys.executable, "-m", "xray_core", "report", str(run.out), _FLAGS[what], str(folder / what)]
        done = subprocess.run(
            line, cwd=places.ROOT, stdin=subprocess.DEVNULL, capture_output=True, timeout=_EXPORT_SECONDS
        )
        if done.returncode != 0 or not (folder / what).is_file():
            raise _RefusedError(409, "There is nothing to download yet.")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder / what


async def download(request: Request) -> Response:
    """Answer with one of `KINDS` of a run, or with words for a person."""
    try:
        return await _answer(request)
    except _RefusedError as refused:
        return PlainTextResponse(refused.words, refused.status)
    except Exception as error:
        # The type alone: messages may hold paths.
        logging.getLogger("radtune").error("download failed: %s", type(error).__name__)
        return PlainTextResponse("Something went wrong on our side.", 500)


async def _answer(request: Request) -> Response:
    if request.method != "GET":
        raise _RefusedError(405, "Ask by GET.")
    run_id, given, what = (str(request.path_params[name]) for name in ("run", "token", "what"))
    if not hmac.compare_digest(token(run_id).encode(), given.encode()):
        raise _RefusedError(403, "This link is not valid any more: open the page of the run again.")
    run = await asyncio.to_thread(runs.find, run_id)
    if run is None or what not in KINDS:
        raise _RefusedError(404, "There is no such download.")
    headers = {
        "Content-Disposition": f'attachment; filename="{_file_name(run, what)}"',
        "Cache-Control": "no-store",
        # Pictures don't get smaller, and to try would cost more than to send them.
        "Content-Encoding": "identity",
    }
    if what == OUTPUTS:
        return StreamingResponse(zipped(run.out), media_type=KINDS[what], headers=headers)
    standing = await asyncio.to_thread(run_process.standing, run)
    if standing.state == "done" and what in _KEPT and (run.out / what).is_file() and not (run.out / what).is_symlink():
        return FileResponse(run.out / what, media_type=KINDS[what], headers=headers)
    made = await asyncio.get_running_loop().run_in_executor(_EXPORTS, _exported, run, what)
    gone = BackgroundTask(shutil.rmtree, made.parent, True)
    return FileResponse(made, media_type=KINDS[what], headers=headers, background=gone)


def _file_name(run: Run, what: str) -> str:
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", run.name).strip("-.")[:60] or run.id
    return f"{stem}-{what}" if what != OUTPUTS else f"{stem}.zip"


def routes() -> list[Route]:
    """Return the routes for the server."""
    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    return [Route(f"{base()}/runs/{{run}}/{{token}}/{{what:path}}", download, methods=methods)]
