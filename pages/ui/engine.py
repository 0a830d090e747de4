"""What answers the live viewer: one engine for each open film, found by an unguessable token.

An engine computes twice: a *preview* on the film made smaller, while a hand moves, and the *full* result at rest. Both
are `xray_core.pipeline`; the full one is what the batch writes, and metrics are of the arrays, never of what is sent.
"""

from __future__ import annotations

import hashlib
import math
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from xray_core.display import WHOLE, Region, Window, difference, fitting, reduced, windowed
from xray_core.files import encode
from xray_core.image import Film, Image
from xray_core.metrics import DEFAULT_TARGETS, METRICS, Targets, at_the_ends, measure, range_warning, verdict
from xray_core.pipeline import Pair, Settings, Staged, active, digest
from xray_core.tones import histogram_256

# isort: split
import cv2  # after xray_core, which fixes how OpenCV computes
import numpy as np

DISPLAY_SIDE = 1024
_EXACT_PIXELS = 1_200_000  # films up to this size are computed whole while dragging: they are fast enough
_HURRIED_SIDE = 724  # half the pixels, for as long as a hand moves what takes longer than this:
_SLOW_SECONDS = 0.025
MOST_WAITING = 6  # requests of one film at a time; the viewer itself sends no more than five

Facts = dict[str, object]


class BusyError(Exception):
    """The film's engine has as much to do as it may have."""


class SupersededError(Exception):
    """A newer request has come meanwhile: nobody waits for this answer."""


@dataclass(frozen=True)
class Look:
    """What the viewer asks for.

    Attributes
    ----------
    sequence
        Rises with every request; comes back with the answer.
    settings
        Complete settings.
    sides
        Pictures wanted: ``before``, ``after``, ``difference``.
    have
        Key of the picture before that the viewer holds already, or an empty string.
    window, gain
        How pictures are shown.
    region
        Part of the result, in its full-size pixels: measured apart, or cut out by `Engine.part`.
    size
        Most (width, height) of pictures of a part.
    numbers
        Whether metrics are wanted.
    """

    sequence: int
    settings: Settings
    sides: tuple[str, ...] = ("before", "after")
    have: str = ""
    window: Window = WHOLE
    gain: float = 4.0
    region: Region | None = None
    size: tuple[int, int] = (DISPLAY_SIDE, DISPLAY_SIDE)
    numbers: bool = True


@dataclass(frozen=True)
class Answer:
    """Facts, and encoded pictures in the order of ``facts["pictures"]``."""

    facts: Facts
    pictures: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class _Measured:
    """What was measured on a result; it is judged anew with each answer, since targets may change."""

    settings: str
    values: dict[str, float]
    histograms: dict[str, list[int]]
    ends: tuple[float, float]
    warning: str
    sha256: str = ""


@dataclass
class _Chain:
    """One size of the film, its results so far, and what was measured on the last."""

    staged: Staged
    lock: threading.Lock = field(default_factory=threading.Lock)
    last: tuple[str, Pair] | None = None
    measured: _Measured | None = None

    def run(self, settings: Settings) -> tuple[str, Pair]:
        """Return the digest of the settings and the result; the lock is held by the caller."""
        key = digest(settings)
        if self.last is None or self.last[0] != key:
            self.last = key, self.staged.run_pair(settings)
        return self.last


class Engine:
    """One visitor's film, ready to be looked at.

    Parameters
    ----------
    film
        The decoded film; it is held, not copied.
    """

    def __init__(self, film: Film) -> None:
        self.token = secrets.token_urlsafe(32)
        self.film = film
        self._targets: Targets = dict(DEFAULT_TARGETS)
        self._full = _Chain(Staged(film.pixels))
        exact = film.pixels.size <= _EXACT_PIXELS
        small = film.pixels if exact else reduced(film.pixels, fitting(film.size, DISPLAY_SIDE))
        self._preview = self._full if exact else _Chain(Staged(small))
        self._coarse = _Chain(Staged(reduced(small, fitting(film.size, _HURRIED_SIDE))))
        self._hurried = False
        self._shape: tuple[str, tuple[int, int]] = ("", film.size)
        self._waiting = 0
        self._newest = 0
        self._count = threading.Lock()

    def aim(self, targets: Targets) -> None:
        """Judge by these targets from now on."""
        self._targets = dict(targets)

    @property
    def nbytes(self) -> int:
        """Bytes of memory held: the film, and the results so far."""
        chains = {id(chain): chain for chain in (self._full, self._preview, self._coarse)}
        return sum(chain.staged.image.nbytes + chain.staged.nbytes for chain in chains.values())

    def forget(self) -> None:
        """Let go of the full-size results, which come back when they are asked for."""
        if self._full.lock.acquire(blocking=False):
            try:
                self._full.staged.forget()
                self._full.last = None
            finally:
                self._full.lock.release()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Take a place among the few requests that may wait for this film, or raise `BusyError`."""
        with self._count:
            if self._waiting >= MOST_WAITING:
                raise BusyError
            self._waiting += 1
        try:
            yield
        finally:
            with self._count:
                self._waiting -= 1

    def run_pair(self, settings: Settings) -> Pair:
        """Return the film before and after, at full size."""
        with self._full.lock:
            return self._full.run(settings)[1]

    def preview(self, look: Look) -> Answer:
        """Answer while the hand moves: the film made smaller, lossy, with metrics that are marked as such."""
        chain = self._full if self._small_result(look.settings) else self._preview
        if self._hurried and chain is self._preview:
            chain = self._coarse
        with chain.lock:
            start = time.perf_counter()
            key, pair = chain.run(look.settings)
            # Until the hand rests: going back and forth between two sizes would flicker.
            self._hurried |= time.perf_counter() - start > _SLOW_SECONDS
            facts = self._facts(chain, key, pair) if look.numbers else {}
        if look.numbers and look.region:
            source = self.size_of(look.settings)
            facts = facts | self._of_region(pair, look.region.scaled(source, pair.after.shape[::-1]))
        return self._answer(look, key, _fitted(pair), facts, state="preview", suffix=".jpg")

    def full(self, look: Look) -> Answer:
        """Answer at rest: the whole result, measured, with the sha256 of its bytes; pictures are lossless.

        Raises
        ------
        SupersededError
            If a newer one waits for its turn by the time this one has it.
        """
        with self._count:
            self._newest = turn = self._newest + 1
        with self._full.lock:
            if turn < self._newest:
                raise SupersededError
            self._hurried = False
            key, pair = self._full.run(look.settings)
            facts = self._facts(self._full, key, pair, hashed=True)
        if look.region:
            facts = facts | self._of_region(pair, look.region)
        return self._answer(look, key, _fitted(pair), facts, state="full", suffix=".png")

    def part(self, look: Look) -> Answer:
        """Return a region of the full result as lossless pictures, of at most the size asked for."""
        with self._full.lock:
            key, pair = self._full.run(look.settings)
        region = _inside(look.region or Region(0, 0, 1, 1), pair.after)
        pair = Pair(*(reduced(np.ascontiguousarray(region.of(image)), look.size) for _, image in _sides(pair)))
        answer = self._answer(look, key, pair, {}, state="full", suffix=".png")
        return Answer(answer.facts | {"region": list(region)}, answer.pictures)

    def value(self, look: Look) -> Facts:
        """Return the grey values before and after at the upper left of the region asked for."""
        key, source = digest(look.settings), self.size_of(look.settings)
        # Read without the lock: a full run under way would keep the pointer waiting.
        last = self._full.last
        exact = last is not None and last[0] == key
        if exact and last:
            pair = last[1]
        else:
            with self._preview.lock:
                pair = self._preview.run(look.settings)[1]
        point = _inside((look.region or Region(0, 0, 1, 1)).scaled(source, pair.after.shape[::-1]), pair.after)
        before, after = (int(image[point.y, point.x]) for image in (pair.before, pair.after))
        return {"sequence": look.sequence, "before": before, "after": after, "state": "full" if exact else "preview"}

    def size_of(self, settings: Settings) -> tuple[int, int]:
        """Return width and height of the full-size result."""
        steps = [(step, values) for step, values in active(settings) if step.both]
        key = repr([(step.name, values) for step, values in steps])
        shape = self._shape
        if shape[0] != key:
            blank = np.broadcast_to(np.uint8(0), self.film.pixels.shape[:2])
            for step, values in steps:
                blank = step.apply(np.ascontiguousarray(blank), values)
            shape = self._shape = key, (blank.shape[1], blank.shape[0])
        return shape[1]

    def _small_result(self, settings: Settings) -> bool:
        """Whether the result is so small that computing it whole is as fast as a preview."""
        width, height = self.size_of(settings)
        return width * height <= _EXACT_PIXELS

    def _facts(self, chain: _Chain, key: str, pair: Pair, *, hashed: bool = False) -> Facts:
        """Return the numbers of a result, measured once; the chain's lock is held by the caller."""
        found = chain.measured
        if found is None or found.settings != key:
            found = _Measured(
                settings=key,
                values=measure(pair.before, pair.after),
                histograms={side: _counts(image) for side, image in _sides(pair)},
                ends=at_the_ends(pair.after),
                warning=range_warning(pair.before),
            )
        if hashed and not found.sha256:
            found = replace(found, sha256=hashlib.sha256(pair.after.data).hexdigest())
        chain.measured = found
        rest: Facts = {"histograms": found.histograms, "ends": found.ends, "warning": found.warning}
        return self._judged(found.values) | rest | ({"pixels": found.sha256} if hashed else {})

    def _judged(self, measured: dict[str, float]) -> Facts:
        targets = self._targets
        judged = verdict(measured, targets)
        rows = [
            {
                "metric": metric.name,
                "before": metric.shown(measured[metric.columns[0]] if metric.paired else metric.untouched),
                "after": metric.shown(measured[metric.judged]),
                "judged": metric.name in targets and not math.isnan(measured[metric.judged]),
                "missed": metric.name in judged.missed,
            }
            for metric in METRICS.values()
        ]
        return {"rows": rows, "verdict": {"good": judged.good, "sentence": judged.sentence}}

    def _of_region(self, pair: Pair, region: Region) -> Facts:
        region = _inside(region, pair.after)
        before, after = (np.ascontiguousarray(region.of(image)) for image in (pair.before, pair.after))
        return {"region_rows": self._judged(measure(before, after))["rows"]}

    def _answer(self, look: Look, key: str, pair: Pair, facts: Facts, *, state: str, suffix: str) -> Answer:
        shown = dict(_sides(pair))
        before_key = f"{state}:{self._before_key(look)}"
        pictures, listed = [], []
        for side in look.sides:
            if side == "before" and look.have in (before_key, before_key.replace("preview:", "full:", 1)):
                continue  # the viewer holds it, or a better one
            if side == "difference":
                image = difference(shown["before"], shown["after"], look.gain)
            else:
                image = windowed(shown[side], look.window)
            data = _encoded(image, suffix)
            pictures.append(data)
            listed.append(
                {
                    "side": side,
                    "key": before_key if side == "before" else "",
                    "type": "image/jpeg" if suffix == ".jpg" else "image/png",
                    "bytes": len(data),
                    "size": list(image.shape[::-1]),
                }
            )
        head = {"sequence": look.sequence, "state": state, "settings": key, "before": before_key, "pictures": listed}
        return Answer(facts | head | {"size": list(self.size_of(look.settings))}, tuple(pictures))

    def _before_key(self, look: Look) -> str:
        steps = [(step.name, values) for step, values in active(look.settings) if step.both]
        return hashlib.sha256(repr((self.film.sha256, steps, look.window)).encode()).hexdigest()[:16]


def _sides(pair: Pair) -> Iterator[tuple[str, Image]]:
    yield "before", pair.before
    yield "after", pair.after


def _fitted(pair: Pair) -> Pair:
    size = fitting(pair.after.shape[::-1], DISPLAY_SIDE)
    return Pair(reduced(pair.before, size), reduced(pair.after, size))


def _counts(image: Image) -> list[int]:
    return [int(count) for count in histogram_256(image)]


def _inside(region: Region, image: Image) -> Region:
    """Return the part of a region that lies inside an image; at least its nearest pixel."""
    height, width = image.shape
    x, y = min(max(region.x, 0), width - 1), min(max(region.y, 0), height - 1)
    right, bottom = min(region.x + region.width, width), min(region.y + region.height, height)
    return Region(x, y, max(right - x, 1), max(bottom - y, 1))


def _encoded(image: Image, suffix: str) -> bytes:
    if suffix == ".jpg":
        return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    return encode(np.ascontiguousarray(image), suffix)
