"""Small pictures of a film before and after, to find it by; never to judge it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

import cv2
import numpy as np
from numpy.typing import NDArray

from xray_core.batch_plan import Job, source_of
from xray_core.encode import encode, in_range
from xray_core.errors import FileError
from xray_core.image import Image
from xray_core.isolated import DECODER
from xray_core.manifest import Task
from xray_core.pipeline import parameters, run_pair


def before_and_after(
    job: Job, task: Task, page: int, row: Mapping[str, object], side: int = 256
) -> tuple[bytes, bytes]:
    """Return small pictures of one film of a run, as JPEG.

    They are computed from the input as the run did it, so that they are right whatever became of the output.

    Parameters
    ----------
    job, task, page
        The run, the file and which of its pages.
    row
        Of the log: settings that it names take the place of the run's.
    side
        Pixels of the longer side.

    Raises
    ------
    FileError
        If the film cannot be read any more, or is another one now.
    """
    with closing(source_of(job.source, job.only, job.limits)) as source:
        data = source.read(task.path, task.member, job.limits)
    # Apart, since the file may be one that its decoder does not survive.
    film = DECODER.decode(data, task.path.name, job.limits, page=page, levels=job.levels, dicom=job.choice)
    if row.get("sha256") not in (None, "", film.sha256):
        raise FileError("READ", "the file is another than when it was done")
    own = {name: value for name, value in row.items() if name in parameters()}
    pair = run_pair(film.pixels, job.applied.settings | own)
    return _small(pair.before, side), _small(pair.after, side)


def _small(image: Image, side: int) -> bytes:
    factor = min(1.0, side / max(image.shape))
    size = tuple(max(1, round(length * factor)) for length in image.shape[::-1])
    small: NDArray[np.uint8] = cv2.resize(in_range(image, "uint8"), size, interpolation=cv2.INTER_AREA)
    return encode(small, ".jpg", quality=88)
