"""The routes behind the live viewer: its own scripts, and the pictures and numbers of one visitor's film.

Custom routes have none of Streamlit's own checks. So every request carries the token of its engine in a header (which a
foreign page can't send without being asked first), bodies are bounded before they are read, and every value is checked
by the same declarations as a preset.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import streamlit as st
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pages.ui.engine import Answer, BusyError, Engine, Look, SupersededError
from pages.ui.engines import ENGINES
from xray_core.display import WHOLE, Region, Window
from xray_core.errors import SettingsError, XrayError
from xray_core.params import is_number
from xray_core.pipeline import check

TOKEN_HEADER = "X-RadTune-Token"
MOST_BODY_BYTES = 16_384
MOST_PICTURE_PIXELS = 12_000_000
_SCRIPTS = Path(__file__).with_name("viewer")
_TYPES = {".js": "text/javascript", ".css": "text/css"}
_SIDES = ("before", "after", "difference")
_FIELDS = {"sequence", "settings", "sides", "have", "window", "gain", "region", "size", "numbers"}
_LARGE = 1_000_000  # pixels across; no film is wider

# What needs the whole film takes longer than a preview: in a pool of its own it keeps no hand waiting.
_QUICK = ThreadPoolExecutor(4, thread_name_prefix="radtune-live")
_WHOLE = ThreadPoolExecutor(3, thread_name_prefix="radtune-whole")
_POOLS = {"preview": _QUICK, "value": _QUICK, "full": _WHOLE, "part": _WHOLE}


class _RefusedError(Exception):
    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status, self.words = status, words


def parse(body: bytes) -> Look:
    """Read what the viewer sent.

    Raises
    ------
    SettingsError
        If it is no JSON object of the known fields, each of its type and within its bounds.
    """
    try:
        sent = json.loads(body)
    except (ValueError, RecursionError):
        raise SettingsError("the request is no JSON") from None
    if not isinstance(sent, dict) or not set(sent) <= _FIELDS:
        raise SettingsError(f"the request is an object of {', '.join(sorted(_FIELDS))}")
    settings, sides, have = sent.get("settings", {}), sent.get("sides", ["before", "after"]), sent.get("have", "")
    if not isinstance(settings, dict):
        raise SettingsError("settings are an object")
    if not isinstance(sides, list) or len(sides) > len(_SIDES) or any(side not in _SIDES for side in sides):
        raise SettingsError(f"sides are some of {', '.join(_SIDES)}")
    if not isinstance(have, str) or len(have) > 64:
        raise SettingsError("have is a short text")
    if not isinstance(sent.get("numbers", True), bool):
        raise SettingsError("numbers is true or false")
    region = _numbers(sent, "region", 4, low=0, high=_LARGE)
    size = _numbers(sent, "size", 2, low=1, high=_LARGE)
    if size and math.prod(size) > MOST_PICTURE_PIXELS:
        raise SettingsError(f"size is at most {MOST_PICTURE_PIXELS} pixels")
    window = _numbers(sent, "window", 2, low=-1000, high=1000)
    if window and window[1] < 1:
        raise SettingsError("a window is at least 1 wide")
    return Look(
        sequence=int((_numbers(sent, "sequence", 0, low=0, high=2**53) or [0])[0]),
        settings=check(settings),
        sides=tuple(sides),
        have=have,
        window=Window(*window) if window else WHOLE,
        gain=float((_numbers(sent, "gain", 0, low=0.1, high=100) or [4.0])[0]),
        region=Region(*(int(number) for number in region)) if region else None,
        size=(int(size[0]), int(size[1])) if size else Look.size,
        numbers=sent.get("numbers", True),
    )


def _numbers(sent: Mapping[str, object], name: str, count: int, *, low: float, high: float) -> list[float] | None:
    """Return a list of `count` numbers, or of the single one where `count` is 0; None where it was not sent."""
    value = sent.get(name)
    if value is None:
        return None
    values = value if isinstance(value, list) and count else [value]
    numbers = [float(number) for number in values if is_number(number) and low <= number <= high]
    if len(values) != (count or 1) or len(numbers) != len(values):
        raise SettingsError(f"{name} is {count or 'a'} number{'s' if count else ''} from {low} to {high}")
    return numbers


def packed(answer: Answer) -> bytes:
    """Return an answer as one frame: length of the facts (4 bytes, big-endian), facts as JSON, then the pictures."""
    facts = json.dumps(answer.facts, separators=(",", ":")).encode()
    return b"".join((len(facts).to_bytes(4, "big"), facts, *answer.pictures))


async def _body(request: Request) -> bytes:
    try:
        declared = int(request.headers.get("content-length", "0"))
    except ValueError:
        raise _RefusedError(400, "the length of the request is no number") from None
    if declared > MOST_BODY_BYTES:
        raise _RefusedError(413, "the request is too long")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BODY_BYTES:
            raise _RefusedError(413, "the request is too long")
    return body


def _work(engine: Engine, kind: str, look: Look) -> bytes:
    if kind == "preview":
        return packed(engine.preview(look))
    if kind == "part":
        return packed(engine.part(look))
    if kind == "value":
        return packed(Answer(engine.value(look)))
    answer = packed(engine.full(look))
    ENGINES.trim()
    return answer


async def live(request: Request) -> Response:
    """Answer one request of a viewer with a frame, or with words for a person."""
    try:
        if request.method != "POST":
            raise _RefusedError(405, "ask by POST")
        engine = ENGINES.find(request.headers.get(TOKEN_HEADER, ""))
        if engine is None:
            raise _RefusedError(403, "this film is not open here any more")
        kind = request.path_params["kind"]
        if kind not in _POOLS:
            raise _RefusedError(404, "there is no such question")
        with engine.turn():
            look = parse(await _body(request))
            frame = await asyncio.get_running_loop().run_in_executor(_POOLS[kind], _work, engine, kind, look)
        return Response(frame, media_type="application/octet-stream", headers={"Cache-Control": "no-store"})
    except _RefusedError as refused:
        return JSONResponse({"error": refused.words}, refused.status)
    except BusyError:
        return JSONResponse({"error": "too many requests at once"}, 429)
    except SupersededError:
        return JSONResponse({"error": "a newer request has come"}, 409)
    except XrayError as error:
        return JSONResponse({"error": str(error)}, 400)
    except ClientDisconnect:
        return Response(status_code=400)
    except Exception as error:
        # The type alone: messages of libraries may quote a file.
        logging.getLogger("radtune").error("live failed: %s", type(error).__name__)
        return JSONResponse({"error": "something went wrong on our side"}, 500)


@cache
def _files() -> dict[str, bytes]:
    """Return the viewer's scripts and styles by name; nothing else is ever served."""
    return {path.name: path.read_bytes() for path in sorted(_SCRIPTS.iterdir()) if path.suffix in _TYPES}


@cache
def version() -> str:
    """Return a digest of the viewer's files, which stands in their address: browsers may keep them for ever."""
    whole = hashlib.sha256()
    for name, data in _files().items():
        whole.update(name.encode() + b"\0" + data)
    return whole.hexdigest()[:16]


@cache
def preloads() -> str:
    """Return a Link header that has the browser fetch the viewer's files while it waits for Streamlit's."""
    how = {".js": "rel=modulepreload", ".css": "rel=preload; as=style"}
    return ", ".join(f"<{address(name)}>; {how[Path(name).suffix]}" for name in _files())


def address(name: str) -> str:
    """Return the path of one of the viewer's files."""
    return f"{base()}/viewer/{version()}/{name}"


async def script(request: Request) -> Response:
    """Serve one of the viewer's own files."""
    name = request.path_params["name"]
    data = _files().get(name)
    if data is None or request.path_params["version"] != version():
        return JSONResponse({"error": "there is no such file"}, 404)
    kept = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(data, media_type=_TYPES[Path(name).suffix], headers=kept)


def base() -> str:
    """Return the path under which all of it is served."""
    prefix = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{prefix}/radtune" if prefix else "/radtune"


def routes() -> list[Route]:
    """Return the routes for the server."""
    return [
        # Of every method: what no route of ours answers, Streamlit's own would, with its page.
        Route(f"{base()}/live/{{kind}}", live, methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
        Route(f"{base()}/viewer/{{version}}/{{name}}", script, methods=["GET"]),
    ]
