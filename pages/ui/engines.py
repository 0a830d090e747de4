"""All open films of this server, each found by its engine's token alone, and together bounded by bytes."""

from __future__ import annotations

import hashlib
import threading

from pages.ui.engine import Engine
from xray_core.image import Film


class Engines:
    """The engines of all visitors, bounded by bytes.

    Parameters
    ----------
    most_bytes
        Beyond this, full-size results that were not used for longest are let go; films are kept.
    """

    def __init__(self, most_bytes: int = 1_500_000_000) -> None:
        self.most_bytes = most_bytes
        self._open: dict[bytes, Engine] = {}
        self._lock = threading.Lock()

    def open(self, film: Film) -> Engine:
        """Make an engine for a film."""
        engine = Engine(film)
        with self._lock:
            self._open[_hashed(engine.token)] = engine
        return engine

    def close(self, engine: Engine) -> None:
        """Forget an engine: its token is worth nothing from now on."""
        with self._lock:
            self._open.pop(_hashed(engine.token), None)

    def find(self, token: str) -> Engine | None:
        """Return the engine of a token, or None; the one found counts as used last."""
        # Looked up by digest: how long a comparison takes tells nothing about a token.
        key = _hashed(token)
        with self._lock:
            engine = self._open.pop(key, None)
            if engine is not None:
                self._open[key] = engine
        return engine

    def trim(self) -> None:
        """Let results go, those used longest ago first, until all engines together hold no more than allowed."""
        with self._lock:
            engines = list(self._open.values())
        held = sum(engine.nbytes for engine in engines)
        for engine in engines[:-1]:
            if held <= self.most_bytes:
                break
            before = engine.nbytes
            engine.forget()
            held -= before - engine.nbytes


def _hashed(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


ENGINES = Engines()
"""Those of this server."""
