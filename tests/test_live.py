"""The routes behind the viewer: whose film they answer for, what they take, and what they serve."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import streamlit
from expectations import expected
from hypothesis import given, settings
from hypothesis import strategies as st
from test_server import FOREIGN, HEADERS

from pages.ui import live
from pages.ui.engine import MOST_WAITING, Answer, Engine, Look, SupersededError
from pages.ui.engines import ENGINES
from xray_core.decode import decode
from xray_core.display import WHOLE, Region, Window
from xray_core.errors import SettingsError
from xray_core.image import Film, read_only
from xray_core.params import Value
from xray_core.pipeline import check, defaults, digest, parameters, run_pair
from xray_core.steps import STEPS

if TYPE_CHECKING:
    from httpx import Response
    from starlette.testclient import TestClient

KINDS = ["preview", "full", "part", "value"]
HERE = "http://127.0.0.1:8501"
SCRIPTS = sorted(Path(live.__file__).with_name("viewer").glob("*.[jc]s*"))
GONE = {"error": "this film is not open here any more"}


def film(seed: int = 0, dtype: type = np.uint8) -> Film:
    pixels = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, (40 + seed, 50), dtype)
    name = f"Jane Doe {seed}.png"
    return Film(read_only(pixels), name, 8, hashlib.sha256(pixels.tobytes()).hexdigest(), "PNG", "MONOCHROME2")


@pytest.fixture
def opened() -> Iterator[Callable[..., Engine]]:
    """Return what opens a film on the server; it is closed afterwards."""
    with ExitStack() as stack:

        def open_film(*how: Any) -> Engine:
            engine = ENGINES.open(film(*how))
            stack.callback(ENGINES.close, engine)
            return engine

        yield open_film


@pytest.fixture
def engine(opened: Callable[..., Engine]) -> Engine:
    return opened()


def sound(answer: Response) -> Response:
    """Return an answer that has the headers of every answer, and is no failure of ours."""
    assert HEADERS.items() <= answer.headers.items()
    assert "content-security-policy" in answer.headers
    assert answer.status_code < 500
    return answer


def ask(client: TestClient, token: str | None, kind: str = "full", body: Any = None, **headers: str) -> Response:
    sent = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
    own = {} if token is None else {live.TOKEN_HEADER: token}
    return sound(client.post(f"/radtune/live/{kind}", content=sent, headers=own | headers))


def unpacked(answer: Response) -> tuple[dict[str, Any], list[bytes]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["cache-control"] == "no-store"
    length = int.from_bytes(answer.content[:4], "big")
    facts, rest = json.loads(answer.content[4 : 4 + length]), answer.content[4 + length :]
    pictures = []
    for listed in facts.get("pictures", []):
        pictures.append(rest[: listed["bytes"]])
        rest = rest[listed["bytes"] :]
    assert rest == b""
    return facts, pictures


def refusal(answer: Response, status: int = 400) -> str:
    """Return the words of a refusal, which is no more than one line."""
    assert answer.status_code == status, answer.text
    said = answer.json()
    assert list(said) == ["error"]
    assert "\n" not in said["error"]
    assert 0 < len(said["error"]) < 600
    return said["error"]


def result(engine: Engine, settings: dict[str, Value]) -> str:
    return hashlib.sha256(run_pair(engine.film.pixels, settings).after.tobytes()).hexdigest()


# --- frames -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", ["preview", "full", "part"])
def test_an_answer_is_a_frame_of_facts_and_pictures(
    kind: str, dtype: type, client: TestClient, opened: Callable[..., Engine]
) -> None:
    engine = opened(3, dtype)
    settings: dict[str, Value] = {"clahe.clip_limit": 2.5}
    body = {"sequence": 7, "settings": settings, "sides": ["after", "difference"], "region": [0, 0, 20, 10], "gain": 2}
    facts, pictures = unpacked(ask(client, engine.token, kind, body))
    assert (facts["sequence"], facts["settings"], facts["size"]) == (7, digest(settings), [50, 43])
    assert facts["state"] == ("preview" if kind == "preview" else "full")
    size = [20, 10] if kind == "part" else [50, 43]
    assert [(part["side"], part["size"]) for part in facts["pictures"]] == [("after", size), ("difference", size)]
    for part, data in zip(facts["pictures"], pictures, strict=True):
        picture = decode(data, "")
        assert picture.container == part["type"].removeprefix("image/").upper()
        assert list(picture.size) == part["size"]
    if kind != "part":
        pixels = engine.film.pixels
        shown = {(row["metric"], side): row[side] for row in facts["rows"] for side in ("before", "after")}
        assert shown == expected(pixels, settings)
        assert facts["region_rows"]
    assert facts.get("pixels") == (result(engine, settings) if kind == "full" else None)


def test_a_value_is_a_frame_without_pictures(client: TestClient, engine: Engine) -> None:
    unpacked(ask(client, engine.token, "full"))
    facts, pictures = unpacked(ask(client, engine.token, "value", {"sequence": 3, "region": [4, 5, 1, 1]}))
    pair = run_pair(engine.film.pixels, {})
    assert facts == {
        "sequence": 3,
        "before": int(pair.before[5, 4]),
        "after": int(pair.after[5, 4]),
        "state": "full",
    }
    assert pictures == []


@given(
    facts=st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.floats(allow_nan=False))),
    pictures=st.lists(st.binary(max_size=50)),
)
def test_a_frame_goes_round(facts: dict[str, Any], pictures: list[bytes]) -> None:
    frame = live.packed(Answer(facts, tuple(pictures)))
    length = int.from_bytes(frame[:4], "big")
    assert json.loads(frame[4 : 4 + length]) == facts
    assert frame[4 + length :] == b"".join(pictures)


def test_an_empty_question_is_one_after_the_defaults() -> None:
    look = live.parse(b"{}")
    assert look == Look(sequence=0, settings=defaults())
    assert live.parse(json.dumps(dict.fromkeys(["window", "gain", "region", "size"])).encode()) == look


def test_a_question_is_read_as_it_was_asked() -> None:
    asked = {
        "sequence": 12,
        "settings": {"clahe.tiles": 4.0},
        "sides": ["difference"],
        "have": "full:0123",
        "window": [100, 50.5],
        "gain": 8,
        "region": [1, 2.9, 3, 4],
        "size": [300, 200],
        "numbers": False,
    }
    assert live.parse(json.dumps(asked).encode()) == Look(
        sequence=12,
        settings=check({"clahe.tiles": 4}),
        sides=("difference",),
        have="full:0123",
        window=Window(100, 50.5),
        gain=8.0,
        region=Region(1, 2, 3, 4),
        size=(300, 200),
        numbers=False,
    )


# --- whose film ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*KINDS, "unknown"])
def test_without_the_token_of_an_open_film_nothing_is_told(kind: str, client: TestClient, engine: Engine) -> None:
    closed = ENGINES.open(film(9))
    ENGINES.close(closed)
    token = engine.token
    for wrong in (None, "", " ", "null", token[:-1], f"{token}x", token.swapcase(), f"Bearer {token}", closed.token):
        for body in ({}, {"settings": {"nope": 1}}, b"no json"):
            answer = ask(client, wrong, kind, body)
            assert (answer.status_code, answer.json()) == (403, GONE)
    assert closed.film.sha256[:16] not in answer.text + str(answer.headers)


def test_a_token_counts_in_its_header_alone(client: TestClient, engine: Engine) -> None:
    token = engine.token
    for kept in ({"Authorization": token}, {"Cookie": f"{live.TOKEN_HEADER}={token}"}, {"X-RadTune": token}):
        assert ask(client, None, **kept).status_code == 403
    for address in (f"/radtune/live/full?{live.TOKEN_HEADER}={token}", f"/radtune/live/full?token={token}"):
        assert sound(client.post(address, json={"token": token})).status_code == 403


def test_a_header_of_any_bytes_is_refused(client: TestClient) -> None:
    for odd in (b"\xff\xfe", "ü€".encode(), b"a" * 60_000, b"%00"):
        answer = client.post("/radtune/live/full", content=b"{}", headers={live.TOKEN_HEADER.encode(): odd})
        assert sound(answer).status_code == 403


def test_an_answer_says_nothing_of_whose_film_it_is(client: TestClient, engine: Engine) -> None:
    for kind in KINDS:
        answer = ask(client, engine.token, kind, {"region": [0, 0, 9, 9]})
        for private in (b"Jane", engine.film.sha256.encode(), engine.token.encode()):
            assert private not in answer.content
            assert private not in str(answer.headers).encode()


def test_two_films_never_mix(client: TestClient, opened: Callable[..., Engine]) -> None:
    engines = [opened(1), opened(2), opened(3, np.uint16)]
    kinds: list[dict[str, Value]] = [{}, {"gamma.on": True, "gamma.gamma": 0.6}, {"crop.on": True, "crop.top": 20.0}]
    wanted = {(e.token, number): result(e, s) for e in engines for number, s in enumerate(kinds)}
    slices = {
        (e.token, number): run_pair(e.film.pixels, s).after[2:12, 1:21]
        for e in engines
        for number, s in enumerate(kinds)
    }

    def one(turn: int) -> int:
        engine, number = engines[turn % 3], turn // 3 % 3
        key = engine.token, number
        body = {"sequence": turn, "settings": kinds[number], "sides": ["after"]}
        answered = 0
        answer = ask(client, engine.token, "full", body)
        if answer.status_code == 200:
            assert unpacked(answer)[0]["pixels"] == wanted[key]
            answered += 1
        answer = ask(client, engine.token, "part", body | {"region": [1, 2, 20, 10]})
        if answer.status_code == 200:
            shown, pixels = decode(unpacked(answer)[1][0], "").pixels, slices[key]
            levels = pixels if pixels.dtype == np.uint8 else np.rint(pixels / 257)
            assert np.array_equal(shown, levels)
            answered += 1
        assert answer.status_code in (200, 409, 429)
        return answered

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(one, range(90))) > 60


def test_a_thousand_strangers_change_nothing(client: TestClient, engine: Engine) -> None:
    wanted = ask(client, engine.token).content
    token = np.random.default_rng(0)
    for number in range(1000):
        stranger = token.bytes(32).hex() if number % 2 else None
        assert ask(client, stranger, KINDS[number % 4]).status_code == 403
    assert ask(client, engine.token).content == wanted


@pytest.mark.parametrize("host", FOREIGN)
def test_a_foreign_host_is_refused(host: str, client: TestClient, engine: Engine) -> None:
    answer = ask(client, engine.token, host=host)
    assert (answer.status_code, answer.text) == (403, "This server does not answer under that host name.")
    address = f"/radtune/viewer/{live.version()}/main.js"
    assert sound(client.get(address, headers={"host": host})).status_code == 403


def test_no_foreign_page_is_let_in(client: TestClient, engine: Engine) -> None:
    foreign = {"Origin": "http://evil.example"}
    asked = foreign | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": live.TOKEN_HEADER}
    answers = [
        ask(client, engine.token, **foreign),
        sound(client.options("/radtune/live/full", headers=asked)),
        sound(client.get(f"/radtune/viewer/{live.version()}/main.js", headers=foreign)),
    ]
    for answer in answers:
        assert not [name for name in answer.headers if name.startswith("access-control-")]


# --- what is asked ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("kind", KINDS)
def test_only_a_post_is_a_question(method: str, kind: str, client: TestClient, engine: Engine) -> None:
    answer = client.request(method, f"/radtune/live/{kind}", headers={live.TOKEN_HEADER: engine.token})
    assert sound(answer).status_code == 405


@pytest.mark.parametrize("kind", ["unknown", "Full", "full ", "__init__"])
def test_an_unknown_question_is_refused(kind: str, client: TestClient, engine: Engine) -> None:
    assert refusal(ask(client, engine.token, kind), 404) == "there is no such question"


def test_a_body_that_is_too_long_is_refused(client: TestClient, engine: Engine) -> None:
    longest = b"{}" + b" " * (live.MOST_BODY_BYTES - 2)
    assert ask(client, engine.token, "value", longest).status_code == 200
    assert refusal(ask(client, engine.token, "value", longest + b" "), 413) == "the request is too long"
    # As a browser sends all there is to ask for, with room to spare.
    everything = {"settings": {path: p.ends()[-1] for path, p in parameters().items()}, "have": "x" * 64}
    assert len(json.dumps(everything)) < live.MOST_BODY_BYTES / 4

    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 1000

    own = {live.TOKEN_HEADER: engine.token}
    assert refusal(sound(client.post("/radtune/live/full", content=endless(), headers=own)), 413)


@pytest.mark.parametrize(("length", "status", "most_read"), [(None, 413, 20), ("1000000", 413, 0), ("many", 400, 0)])
def test_a_body_that_is_too_long_is_not_read_to_its_end(
    length: str | None, status: int, most_read: int, engine: Engine
) -> None:
    from starlette.requests import Request

    read: list[int] = []

    async def receive() -> dict[str, Any]:
        read.append(1)
        return {"type": "http.request", "body": b" " * 1000, "more_body": True}

    headers = [(live.TOKEN_HEADER.lower().encode(), engine.token.encode())]
    headers += [(b"content-length", length.encode())] if length else []
    scope = {"type": "http", "method": "POST", "headers": headers, "path_params": {"kind": "full"}}
    # In a thread of its own: Playwright leaves a loop running in this one.
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(asyncio.run, live.live(Request(scope, receive))).result()
    assert answer.status_code == status
    assert len(read) <= most_read


NO_JSON = {
    "nothing": b"",
    "words": b"hello",
    "half": b'{"settings": {',
    "no text": b"\xff\xfe\x00\x81",
    "deep list": b"[" * 16_000,
    "deep object": b'{"settings":' * 1_300,
    "long number": b'{"gain": ' + b"9" * 6_000 + b"}",
}
WRONG: dict[str, Any] = {
    "list": [],
    "text": "full",
    "number": 3,
    "null": None,
    "unknown field": {"film": "other"},
    "hostile field": {"<img src=x onerror=alert(1)>": 1},
    "settings list": {"settings": [1]},
    "settings null": {"settings": None},
    "unknown setting": {"settings": {"clahe.clip": 2}},
    "long setting": {"settings": {"x" * 9_000: 2}},
    "surrogate setting": {"settings": {"\ud800": 2}},
    "surrogate value": {"settings": {"sharpen.gain": "\ud800"}},
    "out of range": {"settings": {"clahe.clip_limit": 30}},
    "no number": {"settings": {"clahe.clip_limit": float("nan")}},
    "endless": {"settings": {"clahe.clip_limit": float("inf")}},
    "huge": {"settings": {"clahe.tiles": 10**400}},
    "truth": {"settings": {"clahe.tiles": True}},
    "nested": {"settings": {"clahe": {"tiles": 3}}},
    "fixed switch": {"settings": {"grayscale.on": False}},
    "sides text": {"sides": "after"},
    "sides unknown": {"sides": ["after", "truth"]},
    "sides many": {"sides": ["after"] * 4},
    "sides nested": {"sides": [["after"], {}]},
    "have number": {"have": 3},
    "have long": {"have": "x" * 65},
    "have null": {"have": None},
    "numbers": {"numbers": 1},
    "sequence text": {"sequence": "1"},
    "sequence below": {"sequence": -1},
    "sequence above": {"sequence": 2**53 + 2},
    "sequence list": {"sequence": [1]},
    "sequence truth": {"sequence": True},
    "window one": {"window": [1]},
    "window number": {"window": 100},
    "window flat": {"window": [100, 0]},
    "window upside down": {"window": [100, -50]},
    "window wide": {"window": [100, 1001]},
    "window nan": {"window": [float("nan"), 100]},
    "window endless": {"window": [100, float("inf")]},
    "gain none": {"gain": 0},
    "gain above": {"gain": 101},
    "gain nan": {"gain": float("nan")},
    "gain list": {"gain": [4]},
    "region three": {"region": [1, 2, 3]},
    "region below": {"region": [-1, 0, 3, 3]},
    "region above": {"region": [0, 0, 10**7, 3]},
    "region text": {"region": ["0", 0, 3, 3]},
    "region nan": {"region": [0, float("nan"), 3, 3]},
    "region object": {"region": {"x": 0}},
    "size none": {"size": [0, 10]},
    "size area": {"size": [12_001, 1_000]},
    "size one": {"size": [5]},
    "size truth": {"size": [True, True]},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON)
def test_what_is_no_json_is_refused_in_words(body: bytes, kind: str, client: TestClient, engine: Engine) -> None:
    assert refusal(ask(client, engine.token, kind, body)) == "the request is no JSON"


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG)
def test_a_wrong_question_is_refused_in_words(body: Any, client: TestClient, engine: Engine) -> None:
    said = {refusal(ask(client, engine.token, kind, json.dumps(body).encode())) for kind in KINDS}
    assert len(said) == 1
    with pytest.raises(SettingsError) as refused:
        live.parse(json.dumps(body).encode())
    assert said == {str(refused.value)}
    fields = ["sides", "have", "numbers", "sequence", "window", "gain", "region", "size"]
    if isinstance(body, dict) and (named := [field for field in fields if field in body]):
        assert named[0] in str(refused.value)


@pytest.mark.parametrize("path", parameters())
def test_settings_are_checked_by_their_declarations(path: str, client: TestClient, engine: Engine) -> None:
    wrong: object
    for wrong in ("none of these", -1e9, [1], {}, None):
        with pytest.raises(SettingsError) as refused:
            check({path: wrong})
        answer = ask(client, engine.token, "value", {"settings": {path: wrong}})
        assert refusal(answer) == str(refused.value)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
NUMBERS = st.lists(st.integers(-2, 2000) | st.floats(-2000, 2000) | JSON, max_size=5)
QUESTION = st.fixed_dictionaries(
    {},
    optional={
        "sequence": st.integers() | JSON,
        "settings": st.dictionaries(
            st.sampled_from([path for path in parameters() if path != "resize.on"]) | st.text(max_size=9),
            st.sampled_from([True, False, 1, 2.0, 5, 50.0, "unit", "green", "percentile"]) | JSON,
            max_size=2,
        )
        | JSON,
        "sides": st.lists(st.sampled_from(["before", "after", "difference"]) | JSON, max_size=4) | JSON,
        "have": st.text(max_size=80) | JSON,
        "window": NUMBERS | JSON,
        "gain": st.floats() | JSON,
        "region": NUMBERS | JSON,
        "size": NUMBERS | JSON,
        "numbers": st.booleans() | JSON,
    },
)


@pytest.fixture(scope="module")
def small() -> Iterator[Engine]:
    engine = ENGINES.open(film())
    yield engine
    ENGINES.close(engine)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=200)
@given(body=JSON | QUESTION)
def test_whatever_is_asked_is_answered_or_refused_in_words(
    kind: str, body: Any, client: TestClient, small: Engine
) -> None:
    answer = ask(client, small.token, kind, json.dumps(body).encode())
    if answer.status_code == 200:
        unpacked(answer)
    else:
        assert refusal(answer)


@given(body=st.binary(max_size=60))
def test_whatever_bytes_come_they_are_read_or_refused(body: bytes, client: TestClient, small: Engine) -> None:
    assert ask(client, small.token, "value", body).status_code in (200, 400)


@given(
    body=st.fixed_dictionaries(
        {},
        optional={
            "window": st.tuples(st.floats(-1000, 1000), st.floats(1, 1000)),
            "gain": st.floats(0.1, 100),
            "region": st.tuples(*[st.integers(0, 10**6)] * 4),
            "size": st.tuples(*[st.integers(1, 3000)] * 2),
            "sides": st.lists(st.sampled_from(["before", "after", "difference"]), max_size=3),
            "sequence": st.integers(0, 2**53),
        },
    )
)
def test_everything_within_its_bounds_is_answered(body: dict[str, Any], client: TestClient, small: Engine) -> None:
    for kind in KINDS:
        facts, pictures = unpacked(ask(client, small.token, kind, body))
        assert facts["sequence"] == body.get("sequence", 0)
        assert len(pictures) == (0 if kind == "value" else len(body.get("sides", ["before", "after"])))


# --- many at once -------------------------------------------------------------------------------------------------


def test_too_much_at_once_is_turned_away(client: TestClient, opened: Callable[..., Engine]) -> None:
    crowded, other = opened(1), opened(2)
    with ExitStack() as waiting:
        for _ in range(MOST_WAITING):
            waiting.enter_context(crowded.turn())
        for kind in KINDS:
            assert refusal(ask(client, crowded.token, kind), 429) == "too many requests at once"
            assert ask(client, other.token, kind).status_code == 200
    for _ in range(MOST_WAITING + 1):  # a refused question gives its place back
        assert ask(client, crowded.token, "full", b"no JSON").status_code == 400
    assert ask(client, crowded.token).status_code == 200


def test_a_superseded_question_is_told_so(client: TestClient, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def older(look: Look) -> Answer:
        raise SupersededError

    monkeypatch.setattr(engine, "full", older)
    assert refusal(ask(client, engine.token), 409) == "a newer request has come"


def test_a_whole_result_keeps_the_memory_within_its_bounds(
    client: TestClient, opened: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = opened(1), opened(2)
    for engine in (older, newer):
        ask(client, engine.token)
    held = older.nbytes
    monkeypatch.setattr(ENGINES, "most_bytes", 0)
    first = ask(client, newer.token).content
    assert older.nbytes < held
    assert ask(client, newer.token).content == first
    assert unpacked(ask(client, older.token))[0]["pixels"] == result(older, {})


# --- the scripts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_served_to_be_kept(path: Path, client: TestClient) -> None:
    answer = sound(client.get(f"/radtune/viewer/{live.version()}/{path.name}"))
    assert answer.status_code == 200
    assert answer.content == path.read_bytes()
    kind = {".js": "text/javascript", ".css": "text/css"}[path.suffix]
    assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"


def test_the_scripts_are_all_there_and_no_program_of_the_server() -> None:
    assert {"main.js", "viewer.css"} <= {path.name for path in SCRIPTS} == set(live._files())


def test_the_version_changes_with_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.js").write_text("one")
    (tmp_path / "b.css").write_text("two")
    (tmp_path / "c.py").write_text("three")
    monkeypatch.setattr(live, "_SCRIPTS", tmp_path)

    def version() -> str:
        live._files.cache_clear()
        live.version.cache_clear()
        return live.version()

    try:
        seen = [version()]
        for name, text in [("a.js", "One"), ("b.css", "Two"), ("a.js", "one")]:
            (tmp_path / name).write_text(text)
            seen.append(version())
        (tmp_path / "b.css").rename(tmp_path / "bb.css")
        seen.append(version())
        assert len(set(seen)) == len(seen)
        (tmp_path / "c.py").write_text("Three")
        assert version() == seen[-1]
        assert set(live._files()) == {"a.js", "bb.css"}
    finally:
        live._files.cache_clear()
        live.version.cache_clear()


@pytest.mark.parametrize(
    "address",
    [
        "0000000000000000/main.js",
        "{}x/main.js",
        "{}/none.js",
        "{}/__init__.py",
        "{}/MAIN.JS",
        "{}/main.js.map",
    ],
)
def test_no_other_file_is_served(address: str, client: TestClient) -> None:
    answer = sound(client.get(f"/radtune/viewer/{address.format(live.version())}"))
    assert answer.status_code == 404


@pytest.mark.parametrize(
    "address",
    [
        "{}/../live.py",
        "{}/..%2flive.py",
        "{}/%2e%2e/live.py",
        "{}/..%2f..%2f..%2fapp.py",
        "{}//etc/passwd",
        "{}/%2fetc%2fpasswd",
        "{}/..%5clive.py",
        "{}/%00",
        "{}/.",
        "../../app.py",
        "",
    ],
)
def test_no_path_leads_out(address: str, client: TestClient) -> None:
    answer = sound(client.get(f"/radtune/viewer/{address.format(live.version())}"))
    # Streamlit answers an address that is none of ours with its own page.
    own_page = answer.headers.get("content-type", "").startswith("text/html")
    assert own_page or answer.status_code in (400, 404)
    for secret in ("from __future__", "root:", "ENGINES"):
        assert secret not in answer.text


@pytest.mark.parametrize(("prefix", "base"), [("", "/radtune"), ("films", "/films/radtune"), ("/a/b/", "/a/b/radtune")])
def test_the_routes_lie_below_the_servers_path(prefix: str, base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamlit, "get_option", {"server.baseUrlPath": prefix}.__getitem__)
    assert [route.path for route in live.routes()] == [
        f"{base}/live/{{kind}}",
        f"{base}/viewer/{{version}}/{{name}}",
    ]


def test_the_steps_are_those_of_the_core(client: TestClient, engine: Engine) -> None:
    for step in STEPS.values():
        if step.switchable:
            settings: dict[str, Value] = {step.path("on"): not step.parameters["on"].default}
            facts, _ = unpacked(ask(client, engine.token, "full", {"settings": settings}))
            assert facts["pixels"] == result(engine, settings)


def test_the_whole_range_is_shown_unless_a_window_is_asked_for() -> None:
    assert live.parse(b'{"window": [127.5, 255]}').window == WHOLE == Look(0, defaults()).window
