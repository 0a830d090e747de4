"""Parts of one picture on several cores, as many as OpenCV itself may use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import cv2

T = TypeVar("T")
R = TypeVar("R")


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="radtune-strips")


def spread(function: Callable[[T], R], parts: Iterable[T]) -> list[R]:
    """Return ``[function(part) for part in parts]``, computed on ``cv2.getNumThreads()`` threads.

    OpenCV and NumPy release the interpreter while they work, so threads are enough. Batch workers call
    ``cv2.setNumThreads(1)`` and get the plain loop.
    """
    items = list(parts)
    workers = cv2.getNumThreads()
    if workers < 2 or len(items) < 2:
        return [function(item) for item in items]
    return list(_pool(workers).map(function, items))
