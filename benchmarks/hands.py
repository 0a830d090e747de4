"""Several visitors drag at once, each their own film: in browsers, and without them."""

from __future__ import annotations

import hashlib
import http.client
import json
import statistics
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Page, Request
from visiting import PATH, TOKEN, Bench, Server, from_folder, idle, median, ours, p95, visiting

from xray_core import pipeline
from xray_core.image import Image
from xray_core.pool import cpu_count

SESSIONS = (1, 4, 8)
EIGHT = ((2500, 3000), (2048, 2048), (1500, 1800), (2500, 3000), (1024, 1024), (2000, 1600), (1760, 2140), (2500, 3000))


@dataclass
class Watched:
    """What one session made and saw: moves and answers as (milliseconds, digest of the settings)."""

    moves: list[tuple[float, str]]
    answers: list[tuple[float, str]]

    def latencies(self) -> list[float]:
        """Return for each move the milliseconds until its picture, or that of a later move, was there."""
        times: list[float] = []
        for when, settings in self.answers:
            made = [number for number, (moved, wanted) in enumerate(self.moves) if wanted == settings and moved <= when]
            if made:
                times += [when - moved for moved, _ in self.moves[len(times) : made[-1] + 1]]
        return times

    def rate(self) -> float:
        """Return answers a second while the hand moves."""
        first, last = self.moves[0][0], self.moves[-1][0]
        return 1000 * sum(first < when <= last for when, _ in self.answers) / (last - first)


GAP = 100  # milliseconds between two moves


def sessions(bench: Bench) -> list[str]:
    """Have several visitors drag at once, each their own film."""
    names = [bench.film(f"visitor_{n}.png", size, seed=10 + n) for n, size in enumerate(EIGHT)]
    rows = []
    with ours(bench.folder) as server, ExitStack() as stack:
        pages = [stack.enter_context(visiting(bench.browser)) for _ in names]
        tokens: dict[int, str] = {}
        for number, (page, name) in enumerate(zip(pages, names, strict=True)):

            def keep(request: Request, number: int = number) -> None:
                if TOKEN.lower() in request.headers:
                    tokens[number] = request.headers[TOKEN.lower()]

            page.on("request", keep)
            page.goto(server.address)
            from_folder(page, name)
        assert len(set(tokens.values())) == len(names)
        for count in SESSIONS:
            films = [bench.films[name] for name in names[:count]]
            drawn = in_browsers(bench, pages[:count], films)
            asked = without_browsers(bench, server, [tokens[number] for number in range(count)], films)
            row = f"| {count} "
            for watched in (drawn, asked):
                times = [time for one in watched for time in one.latencies()]
                rates = [one.rate() for one in watched]
                row += f"| {statistics.mean(rates):.1f} | {min(rates):.1f} | {median(times):.0f} | {p95(times):.0f} "
            rows.append(row + "|")
    return [
        "## Several visitors at once",
        "",
        f"Each drags the clip limit of a film of its own, 10 moves a second, {bench.effort.steady} moves; films of 8 "
        "bits, 1024 x 1024 to 2500 x 3000. At the end each holds exactly the pixels of its own film and settings "
        "(checked by sha256).",
        f"The browsers share {cpu_count()} cores with the server, so that eight of them measure mainly the browsers: "
        "the right half asks the same questions without drawing the answers. *A second*: pictures, of at most 10; "
        "milliseconds from a move until its picture, or a newer one, is there.",
        "",
        "| visitors | browsers: a second | slowest | median | p95 | without: a second | slowest | median | p95 |",
        "|---|---|---|---|---|---|---|---|---|",
        *rows,
        "",
    ]


def expected(film: Image, settings: pipeline.Settings) -> str:
    return hashlib.sha256(pipeline.run(film, settings).tobytes()).hexdigest()


def in_browsers(bench: Bench, pages: Sequence[Page], films: Sequence[Image]) -> list[Watched]:
    start = time.time() * 1000 + 500 + 50 * len(pages)
    for number, page in enumerate(pages):
        # Not waited for: all run at the same time.
        question = [PATH, bench.effort.steady, GAP, 5 * number, start + 10 * number]
        page.evaluate("(question) => { bench.dragged = bench.steady(question); }", question)
    found = []
    for page, film in zip(pages, films, strict=True):
        seen = page.evaluate("bench.dragged")
        settings = pipeline.check({PATH: seen["value"]})
        assert seen["settings"] == pipeline.digest(settings), "a page shows other settings than its own"
        assert seen["pixels"] == expected(film, settings), "a page shows other pixels than its own"
        moves = [(when, pipeline.digest({PATH: value})) for when, value in seen["moves"]]
        found.append(Watched(moves, [(when, settings) for when, settings in seen["paints"]]))
    for page in pages:
        idle(page)
    return found


def without_browsers(bench: Bench, server: Server, tokens: Sequence[str], films: Sequence[Image]) -> list[Watched]:
    found: dict[int, Watched] = {}
    pixels: dict[int, tuple[str, pipeline.Settings]] = {}
    start = time.perf_counter() + 0.2

    def drag(number: int) -> None:
        client = Client(server, tokens[number])
        values = [round(1 + 0.1 * ((5 * number + move) % 70), 1) for move in range(bench.effort.steady)]
        moves = [(number * 10.0 + move * GAP, pipeline.digest({PATH: value})) for move, value in enumerate(values)]
        seen = Watched(moves, [])
        now = 0
        while now < len(values):
            time.sleep(max(start + moves[now][0] / 1000 - time.perf_counter(), 0))
            # Of the moves that were made meanwhile only the newest is asked for, as the page does.
            past = 1000 * (time.perf_counter() - start)
            now = max(move for move, (when, _) in enumerate(moves) if when <= past or move == now)
            facts = client.ask("preview", pipeline.check({PATH: values[now]}))
            assert facts["settings"] == moves[now][1], "an answer is to other settings"
            seen.answers.append((1000 * (time.perf_counter() - start), str(facts["settings"])))
            now += 1
        found[number] = seen
        settings = pipeline.check({PATH: values[-1]})
        pixels[number] = str(client.ask("full", settings)["pixels"]), settings

    threads = [threading.Thread(target=drag, args=(number,)) for number in range(len(tokens))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pixels) == len(tokens), "a client has failed"
    for number, film in enumerate(films):
        digest, settings = pixels[number]
        assert digest == expected(film, settings), "an answer holds other pixels than the client's own"
    return [found[number] for number in range(len(tokens))]


class Client:
    """Asks what the page asks, and draws nothing."""

    def __init__(self, server: Server, token: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(server.address).netloc, timeout=60)
        self._headers = {TOKEN: token, "Content-Type": "application/json"}
        self._sequence = 0
        self._have = ""

    def ask(self, kind: str, settings: pipeline.Settings) -> dict[str, object]:
        """Return the facts of an answer; its pictures are read and dropped."""
        self._sequence += 1
        question = {
            "sequence": self._sequence,
            "settings": settings,
            "sides": ["before", "after"],
            "have": self._have,
            "window": [127.5, 255],
            "gain": 4,
            "region": None,
            "numbers": True,
        }
        self._connection.request("POST", f"/radtune/live/{kind}", json.dumps(question), self._headers)
        answer = self._connection.getresponse()
        frame = answer.read()
        assert answer.status == 200, frame[:200]
        length = int.from_bytes(frame[:4], "big")
        facts: dict[str, Any] = json.loads(frame[4 : 4 + length])
        assert facts["sequence"] == self._sequence, "an answer is to another question"
        self._have = next((picture["key"] for picture in facts["pictures"] if picture["key"]), self._have)
        return facts
