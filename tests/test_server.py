"""The server of `app.py`: which hosts it answers, and what every answer carries."""

from __future__ import annotations

import base64
import hashlib
import re
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import streamlit as st
from browser import Server

import app
from pages.ui import live

if TYPE_CHECKING:
    from starlette.testclient import TestClient

PAGES = ["/", "/Tune", "/?film=chest.png", "/Tune?settings=%7B%7D"]
OTHERS = ["/_stcore/health", "/_stcore/host-config", "/no/such/_stcore/thing", "/media/none.png", "/favicon.png"]
STREAM = "ws://127.0.0.1:8501/_stcore/stream"
HEADERS = {
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
FOREIGN = [
    "evil.example",
    "evil.example:8501",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evil.example:127.0.0.1",
    "10.0.0.1",
    "[::1]:8501",
    "",
]


def policy(headers: dict[str, str]) -> dict[str, list[str]]:
    parts = [part.split() for part in headers["content-security-policy"].split(";")]
    return {name: sources for name, *sources in parts}


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_served_with_its_headers(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "<script" in answer.text
    assert HEADERS.items() <= answer.headers.items()
    assert "content-security-policy" in answer.headers


@pytest.mark.parametrize("path", OTHERS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
def test_every_other_answer_has_the_headers_too(client: TestClient, path: str, method: str) -> None:
    answer = client.request(method, path)
    assert HEADERS.items() <= answer.headers.items()
    assert "content-security-policy" in answer.headers


def test_the_server_says_that_it_is_well(client: TestClient) -> None:
    answer = client.get("/_stcore/health")
    assert (answer.status_code, answer.text) == (200, "ok")


@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize("path", ["/", "/_stcore/health", "/media/none.png"])
def test_a_foreign_host_is_refused(client: TestClient, host: str, path: str) -> None:
    answer = client.get(path, headers={"host": host})
    assert answer.status_code == 403
    assert answer.text == "This server does not answer under that host name."
    assert HEADERS.items() <= answer.headers.items()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8501", "localhost", "localhost:9999", "LocalHost:80"])
def test_the_configured_hosts_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    ("allowed", "host", "status"),
    [
        (["films.example"], "films.example:8501", 200),
        (["films.example"], "127.0.0.1", 403),
        (["::1"], "[::1]:8501", 200),
        (["::1"], "[::1]", 200),
        ([], "anything.example", 200),
    ],
)
def test_the_operator_names_the_hosts(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, allowed: list[str], host: str, status: int
) -> None:
    options = {"server.allowedHosts": allowed}
    get = st.get_option
    monkeypatch.setattr(st, "get_option", lambda name: options[name] if name in options else get(name))
    assert client.get("/", headers={"host": host}).status_code == status


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "http://evil.example"}])
def test_the_websocket_refuses_a_foreign_host_and_a_foreign_page(client: TestClient, headers: dict[str, str]) -> None:
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), client.websocket_connect(STREAM, headers=headers):
        pass


def test_the_websocket_takes_its_own_page(client: TestClient) -> None:
    with client.websocket_connect(STREAM, headers={"origin": "http://127.0.0.1:8501"}) as socket:
        assert socket.scope["path"] == "/_stcore/stream"


def test_the_policy_trusts_no_inline_script_and_no_other_server(client: TestClient) -> None:
    sources = policy(client.get("/").headers)
    assert "'unsafe-inline'" not in sources["script-src"]
    assert "'unsafe-inline'" not in sources["default-src"]
    assert sources["object-src"] == sources["frame-ancestors"] == ["'none'"]
    assert sources["connect-src"] == sources["form-action"] == sources["base-uri"] == ["'self'"]
    everything = {source for name in sources for source in sources[name]}
    assert not [source for source in everything if "//" in source or source in ("*", "http:", "https:", "data:*")]


def test_the_policy_allows_the_scripts_of_the_page_itself(client: TestClient) -> None:
    answer = client.get("/")
    inline = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in inline]
    assert inline
    assert {f"'sha256-{digest}'" for digest in digests} <= set(policy(answer.headers)["script-src"])


def test_the_policy_allows_what_the_viewer_loads_and_asks(client: TestClient) -> None:
    sources = policy(client.get("/Tune").headers)
    for kind in ("script-src", "style-src", "connect-src"):
        assert "'self'" in sources[kind]
    # Pictures come as bytes, and the loader is a module that Streamlit makes of a text.
    assert "blob:" in sources["script-src"]


def test_the_server_has_the_routes_of_the_viewer(client: TestClient) -> None:
    assert client.post("/radtune/live/full").json() == {"error": "this film is not open here any more"}
    script = client.get(f"/radtune/viewer/{live.version()}/main.js")
    assert (script.status_code, script.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert HEADERS.items() <= script.headers.items()


def test_the_configuration_keeps_the_server_to_this_machine_and_to_itself() -> None:
    options = {
        "server.address": "127.0.0.1",
        "server.enableXsrfProtection": True,
        "server.enableCORS": True,
        "server.enableStaticServing": False,
        "browser.gatherUsageStats": False,
        "client.showErrorDetails": "none",
        "client.toolbarMode": "viewer",
    }
    assert {name: st.get_option(name) for name in options} == options
    assert st.get_option("server.maxUploadSize") <= 300


def test_small_answers_are_not_held_back() -> None:
    with socket.socket() as listening, socket.socket() as asking:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        app.answer_at_once()
        asking.connect(listening.getsockname())
        answering, _ = listening.accept()
        with answering:
            assert answering.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_the_server_stops_in_time_though_a_browser_holds_on_to_an_answer(tmp_path: Path, number: str) -> None:
    server = Server(tmp_path / "log.txt")
    server.start()
    assert server.process is not None
    static = Path(st.__file__).parent / "static"
    largest = max(static.rglob("*.js"), key=lambda path: path.stat().st_size)
    try:
        with socket.socket() as browser:
            browser.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            browser.connect(("127.0.0.1", server.port))
            address = f"/{largest.relative_to(static).as_posix()}"
            browser.sendall(f"GET {address} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode())
            assert browser.recv(15) == b"HTTP/1.1 200 OK"
            server.process.send_signal(getattr(signal, number))
            server.process.wait(30)
            assert "Traceback" not in server.said()
    finally:
        server.process.kill()
        server.process.wait()
