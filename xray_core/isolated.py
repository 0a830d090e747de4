"""Decoding in a process of its own, which may die: bytes of unknown origin cannot take the program down.

The process is started once and stays warm. It talks over its pipes in frames of a JSON head and raw bytes, never in
pickles: what a broken decoder might send back is numbers and words. It is ended, and started anew, when it dies, takes
too long or too much memory.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np

from xray_core.decode import decode
from xray_core.dicom_choice import DicomChoice
from xray_core.errors import FileError
from xray_core.image import DicomFacts, Film, checked
from xray_core.limits import Limits, bound_memory
from xray_core.stored import Levels

TIME_LIMIT = 60.0
"""Seconds that one decoding may take, if a caller says nothing else."""
_ROOT = Path(__file__).resolve().parents[1]
# Not by multiprocessing: that would run the caller's main module again, which under Streamlit is the page.
_SERVE = "import sys; sys.path.insert(0, sys.argv[1]); from xray_core.isolated import serve; serve()"
_LENGTHS = struct.Struct(">IQ")
_FACTS = ("bits", "sha256", "container", "photometric", "spacing", "page", "pages", "notes")


class Decoder:
    """A warm process that decodes, one file at a time; safe to call from several threads.

    Parameters
    ----------
    time_limit
        Seconds that a file may take.
    """

    def __init__(self, time_limit: float = TIME_LIMIT) -> None:
        self.time_limit = time_limit
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def warm(self) -> None:
        """Start the process, if it does not run yet, so that the first file does not wait for it."""
        with self._lock:
            self._running()

    def close(self) -> None:
        """End the process; a later call starts another."""
        with self._lock:
            self._end()

    def decode(
        self,
        data: bytes,
        name: str,
        limits: Limits | None = None,
        *,
        page: int = 1,
        levels: Levels | None = None,
        dicom: DicomChoice | None = None,
    ) -> Film:
        """Decode as `xray_core.decode.decode` does, and with the same result.

        Raises
        ------
        FileError
            As there; and CRASH where the process died of the file, TIMEOUT where it took too long.
        """
        limits = limits or Limits()
        limits.check_bytes(len(data))
        request = {"limits": asdict(limits), "page": page, "levels": levels, "seconds": self.time_limit}
        request |= {"dicom": asdict(dicom or DicomChoice())}
        with self._lock:
            answer, pixels = self._ask(request, data)
        if "code" in answer:
            raise FileError(answer["code"], answer["words"])
        image = np.frombuffer(pixels, answer["dtype"]).reshape(answer["shape"])
        facts = {fact: answer[fact] for fact in _FACTS}
        facts["notes"] = tuple(facts["notes"])
        facts["spacing"] = tuple(facts["spacing"]) if facts["spacing"] else None
        dicom_facts = DicomFacts(**answer["dicom"]) if answer["dicom"] else None
        return Film(checked(image), name, **facts, dicom=dicom_facts)

    def _ask(self, request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        watch = threading.Timer(self.time_limit, end)
        watch.start()
        try:
            _send(process.stdin, request, data)
            return _receive(process.stdout)
        except (OSError, EOFError, ValueError):
            self._end()
            if late.is_set():
                raise FileError("TIMEOUT", f"the picture took longer than {self.time_limit:g} s to decode") from None
            raise FileError("CRASH", "the decoder crashed on this file") from None
        except BaseException:
            # An answer that nobody waits for must not be taken for that to the next question.
            self._end()
            raise
        finally:
            watch.cancel()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._end()
            self._process = subprocess.Popen(
                [sys.executable, "-c", _SERVE, str(_ROOT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # C libraries describe damaged files in words of their own.
                stderr=subprocess.DEVNULL,
                close_fds=True,
            )
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                with suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]
            self._process = None


def _send(pipe: IO[bytes], head: dict[str, Any], body: bytes | memoryview) -> None:
    text = json.dumps(head).encode()
    pipe.write(_LENGTHS.pack(len(text), len(body)) + text)
    pipe.write(body)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    head, body = _LENGTHS.unpack(_exactly(pipe, _LENGTHS.size))
    text = json.loads(_exactly(pipe, head))
    return text, _exactly(pipe, body)


def _exactly(pipe: IO[bytes], count: int) -> bytes:
    data = pipe.read(count)
    if len(data) < count:
        raise EOFError
    return data


def serve() -> None:
    """Answer requests on standard input until it is closed; what `Decoder` runs in its process."""
    # Whatever prints must not come between the frames.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import cv2

    cv2.setNumThreads(1)
    requests = sys.stdin.buffer
    with suppress(EOFError, BrokenPipeError):
        while True:
            request, data = _receive(requests)
            if hasattr(signal, "setitimer"):
                # The parent may be gone, and nobody else would end a decoder that hangs.
                signal.setitimer(signal.ITIMER_REAL, request["seconds"] + 10)
            _answer(answers, request, data)
            if hasattr(signal, "setitimer"):
                signal.setitimer(signal.ITIMER_REAL, 0)


def _answer(answers: IO[bytes], request: dict[str, Any], data: bytes) -> None:
    try:
        limits = Limits(**request["limits"])
        bound_memory(limits.memory_bytes)
        levels = tuple(request["levels"]) if request["levels"] else None
        film = decode(data, "", limits, page=request["page"], levels=levels, dicom=DicomChoice(**request["dicom"]))
        head = {fact: getattr(film, fact) for fact in _FACTS}
        head |= {"dicom": asdict(film.dicom) if film.dicom else None}
        head |= {"dtype": film.pixels.dtype.name, "shape": film.pixels.shape}
        body = film.pixels.data.cast("B")
    except FileError as error:
        head, body = {"code": error.code, "words": str(error)}, memoryview(b"")
    except MemoryError:
        head, body = {"code": "MEMORY", "words": "not enough memory to decode the picture"}, memoryview(b"")
    except Exception as error:
        # A library's words may quote the file; its type says enough to find the fault.
        head, body = {"code": "INTERNAL", "words": f"the decoder failed: {type(error).__name__}"}, memoryview(b"")
    _send(answers, head, body)


DECODER = Decoder()
"""The program's own; its process starts with the first file, or with `Decoder.warm`."""
atexit.register(DECODER.close)
