"""What several test files share: how Hypothesis searches, and a picture with something for every step to do."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

# Before they are imported: what they assert is told in full, as in the tests themselves.
pytest.register_assert_rewrite("batches", "browser", "buckets", "clusters")

# isort: split
import numpy as np
from browser import browser, contexts, server, visit  # noqa: F401  # fixtures: one server and browser for all files
from buckets import bucket, s3  # noqa: F401  # a store for all files
from hypothesis import settings

import xray_core  # noqa: F401  # first of all: it fixes how OpenCV computes, whichever test file imports cv2 next
from xray_core.image import Image, read_only

# isort: split
import cv2

if TYPE_CHECKING:
    from starlette.testclient import TestClient

HERE = "http://127.0.0.1:8501"

# The same examples on every machine: a failure that one run shows, the next one shows too.
settings.register_profile("radtune", derandomize=True, deadline=None, database=None, max_examples=60)
settings.load_profile("radtune")

Textured = Callable[..., Image]


def _textured(
    height: int = 211, width: int = 267, dtype: type = np.uint8, *, colour: bool = False, seed: int = 7
) -> Image:
    """Gradients, fine waves, noise, a faint blob, a black and a bright disc; neither pure black nor pure white."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]

    def channel(tilt: float, noise: float) -> np.ndarray:
        field = 0.2 + tilt * x + (0.5 - tilt) * y + 0.06 * np.sin(60 * x + 25 * y * y)
        field += 0.12 * np.exp(-((x - 0.3) ** 2 + (y - 0.75) ** 2) / 0.01) + rng.normal(0, noise, field.shape)
        field = np.clip(field, 0.04, 0.94)
        field[(x - 0.3) ** 2 + (y - 0.35) ** 2 < 0.08**2] = 0.02
        field[(x - 0.7) ** 2 + (y - 0.6) ** 2 < 0.1**2] = 0.97
        return field

    planes = [channel(0.35, 0.02), channel(0.25, 0.05), channel(0.15, 0.03)] if colour else [channel(0.35, 0.02)]
    picture = np.dstack(planes) if colour else planes[0]
    return read_only(np.rint(picture * np.iinfo(dtype).max).astype(dtype))


@pytest.fixture(scope="session")
def textured() -> Textured:
    """Return the maker of test pictures: ``textured(height, width, dtype, colour=..., seed=...)``, read-only."""
    return _textured


@pytest.fixture(scope="session", autouse=True)
def runs_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have the page, and every server that a test starts, keep runs of the batch in a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RADTUNE_RUNS", str(tmp_path_factory.mktemp("runs") / "runs"))
        yield


@pytest.fixture(scope="session")
def client() -> Iterator[TestClient]:
    """Return a client of the server, of which a process starts one only: Streamlit waits for ever in a second start."""
    with warnings.catch_warnings():
        # The client announces that it will want another HTTP library one day.
        warnings.filterwarnings("ignore", message="Using `httpx`")
        from starlette.testclient import TestClient
    import app

    with TestClient(app.app, base_url=HERE) as client:
        yield client


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Return ``cv2.setNumThreads``, and put the number back afterwards."""
    before = cv2.getNumThreads()
    yield cv2.setNumThreads
    cv2.setNumThreads(before)


@pytest.fixture(autouse=True)
def main_module() -> Iterator[None]:
    """Put back the main module: AppTest makes the page it, and spawned processes would run that page."""
    kept = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = kept
