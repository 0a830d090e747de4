"""The server: ``streamlit run app.py`` serves the pages, with the checks and headers that Streamlit leaves out."""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import streamlit as st
import uvicorn
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pages.ui import downloads, live
from xray_core.isolated import DECODER


def _inline_scripts() -> str:
    """Return the hashes of the scripts in Streamlit's own page, for the policy to allow these alone."""
    page = (Path(st.__file__).parent / "static" / "index.html").read_text(encoding="utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    return " ".join(f"'sha256-{digest}'" for digest in digests)


_HEADERS = {
    # Streamlit's own front end needs inline styles, and blob: for what it plays or downloads.
    "Content-Security-Policy": (
        f"default-src 'self'; script-src 'self' 'unsafe-eval' blob: {_inline_scripts()}; "
        "style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
        "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


_WITH_VIEWER = "/Tune"
_STOP_SECONDS = 5  # for answers under way, once the server is told to stop


class Guard:
    """Answer only under the host names that the configuration allows, and send the security headers.

    Streamlit checks the host of its websocket alone; a foreign page whose name leads here could read the rest.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                if scope["path"].endswith(_WITH_VIEWER) and message["status"] == 200:
                    headers["Link"] = live.preloads()
            await send(message)

        refusal = PlainTextResponse("This server does not answer under that host name.", 403)
        # Cancelled only as the server stops, which says so in a line; a trace for each answer would bury it.
        with suppress(asyncio.CancelledError):
            await (self._app if _allowed(scope) else refusal)(scope, receive, with_headers)


def _allowed(scope: Scope) -> bool:
    allowed = st.get_option("server.allowedHosts")
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    return not allowed or name.strip("[]").lower() in {entry.lower() for entry in allowed}


def answer_at_once() -> None:
    """Turn off Nagle's algorithm (RFC 896), which holds a small answer back until the browser has its head.

    That takes 40 ms. asyncio does this only for sockets that name their protocol, and Streamlit's does not; connections
    take it over from the socket that they come in by.
    """
    for found in gc.get_objects():
        if (
            type(found) is socket.socket
            and found.type == socket.SOCK_STREAM
            and found.family in (socket.AF_INET, socket.AF_INET6)
        ):
            with suppress(OSError):  # closed already
                found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def stop_in_time() -> None:
    """Have the server end, a while after it was told to, even with connections open.

    uvicorn closes those that it knows at that moment, and waits without end for one that it took just then; Streamlit
    does not pass its option on.
    """
    for found in gc.get_objects():
        if type(found) is uvicorn.Config:
            found.timeout_graceful_shutdown = _STOP_SECONDS


@asynccontextmanager
async def warm(app: Any) -> AsyncIterator[None]:
    """Load what the first visitor would wait for, and keep it out of Streamlit's garbage collection after every run."""
    import pages.ui.cache
    import pages.ui.sources
    import pages.ui.viewer

    answer_at_once()
    stop_in_time()
    pages.ui.cache.give_back_large_arrays()
    DECODER.warm()
    gc.collect()
    gc.freeze()
    yield


app = st.App("home.py", routes=[*live.routes(), *downloads.routes()], middleware=[Middleware(Guard)], lifespan=warm)
