"""Decoding in a process that may die: the same films and words as here, and the program lives on."""

from __future__ import annotations

import os
import signal
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from xray_core import isolated
from xray_core.decode import Limits, decode
from xray_core.encode import encode
from xray_core.errors import FileError
from xray_core.image import Image
from xray_core.isolated import Decoder

Textured = Callable[..., Image]


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    decoder = Decoder(time_limit=20)
    yield decoder
    decoder.close()


def test_films_are_those_decoded_here(decoder: Decoder, textured: Textured) -> None:
    stack = np.stack([textured(20, 30, seed=seed) for seed in range(3)])
    for data, options in (
        (encode(textured(61, 47), ".png"), {}),
        (encode(textured(61, 47, np.uint16), ".tif"), {}),
        (encode(textured(61, 47), ".jpg"), {"levels": (10.0, 200.0)}),
        (encode(stack, ".npy"), {"page": 2}),
    ):
        film, here = decoder.decode(data, "film <b>", **options), decode(data, "film <b>", **options)
        assert np.array_equal(film.pixels, here.pixels)
        assert not film.pixels.flags.writeable
        for fact in ("name", "bits", "sha256", "container", "photometric", "spacing", "page", "pages", "notes"):
            assert getattr(film, fact) == getattr(here, fact)


def test_refusals_are_those_given_here(decoder: Decoder, textured: Textured) -> None:
    good = encode(textured(20, 30), ".png")
    for data, limits in ((b"", None), (b"GIF89a", None), (good[:99], None), (good, Limits(pixels=10))):
        with pytest.raises(FileError) as there:
            decoder.decode(data, "a", limits)
        with pytest.raises(FileError) as here:
            decode(data, "a", limits)
        assert (there.value.code, str(there.value)) == (here.value.code, str(here.value))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_a_process_that_dies_costs_one_file(decoder: Decoder, textured: Textured) -> None:
    good = encode(textured(20, 30), ".png")
    decoder.decode(good, "a")
    assert decoder._process
    os.kill(decoder._process.pid, signal.SIGSTOP)
    stopped = decoder._process.pid
    threading.Timer(0.2, os.kill, (stopped, signal.SIGKILL)).start()
    with pytest.raises(FileError) as caught:
        decoder.decode(good, "a")
    assert caught.value.code == "CRASH"
    assert decoder.decode(good, "a").size == (30, 20)
    assert decoder._process.pid != stopped


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs POSIX signals")
def test_a_process_that_hangs_is_ended(textured: Textured) -> None:
    decoder = Decoder(time_limit=1)
    good = encode(textured(20, 30), ".png")
    try:
        decoder.decode(good, "a")
        assert decoder._process
        os.kill(decoder._process.pid, signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(FileError, match="longer than 1 s") as caught:
            decoder.decode(good, "a")
        assert caught.value.code == "TIMEOUT"
        assert time.monotonic() - started < 3
        assert decoder.decode(good, "a").size == (30, 20)
    finally:
        decoder.close()


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is bounded on Linux")
def test_too_much_memory_is_refused_and_not_taken(textured: Textured) -> None:
    rows = zlib.compress(bytes(9001 * 9000), 9)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 9000, 9000, 8, 0, 0, 0, 0))
    large = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    decoder = Decoder()
    try:
        with pytest.raises(FileError) as caught:
            decoder.decode(large, "a", Limits(memory_bytes=150_000_000))
        assert caught.value.code in ("MEMORY", "CRASH", "DECODE")
        assert decoder.decode(encode(textured(20, 30), ".png"), "a").size == (30, 20)
    finally:
        decoder.close()


def test_a_warm_process_is_quick(decoder: Decoder, textured: Textured) -> None:
    good = encode(textured(256, 256), ".png")
    decoder.warm()
    decoder.decode(good, "a")
    times = []
    for _ in range(20):
        started = time.perf_counter()
        decoder.decode(good, "a")
        times.append(time.perf_counter() - started)
    assert sorted(times)[10] < 0.1


def test_several_threads_take_turns(decoder: Decoder, textured: Textured) -> None:
    films = [encode(textured(20 + seed, 30), ".png") for seed in range(8)]
    sizes: dict[int, tuple[int, int]] = {}

    def ask(number: int) -> None:
        sizes[number] = decoder.decode(films[number], "a").size

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sizes == {number: (30, 20 + number) for number in range(8)}


def test_what_was_started_is_ended(textured: Textured) -> None:
    decoder = Decoder()
    decoder.warm()
    process = decoder._process
    decoder.close()
    assert process
    assert process.poll() is not None
    assert isolated.DECODER.time_limit == isolated.TIME_LIMIT
