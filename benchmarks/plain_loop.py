"""The loop that batch.py compares with: what one writes first, as fast as the libraries are when called so.

Knows nothing of RadTune, so that OpenCV runs as it comes. Usage: ``plain_loop.py IN OUT FILMS SIDE``, a side of 0
for native size; prints the seconds of the loop without its imports, and those of its processors.
"""

import sys
import time
from pathlib import Path

import cv2
import numpy as np
from skimage.metrics import structural_similarity


def enhance(source: Path, target: Path, side: int) -> float:
    film = cv2.imread(str(source), cv2.IMREAD_GRAYSCALE)
    if side:
        film = cv2.resize(film, (side, side))
    denoised = cv2.bilateralFilter(film, d=5, sigmaColor=50, sigmaSpace=50)
    contrast = cv2.createCLAHE(clipLimit=1.5, tileGridSize=(8, 8)).apply(denoised)
    kernel = np.array([[0, -0.5, 0], [-0.5, 3.0, -0.5], [0, -0.5, 0]])
    sharpened = cv2.filter2D(contrast, -1, kernel)
    enhanced = cv2.normalize(sharpened, None, 0, 255, cv2.NORM_MINMAX)
    similarity = structural_similarity(film, enhanced, win_size=7, data_range=255)
    cv2.imwrite(str(target), enhanced)
    return float(similarity)


def main() -> None:
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    films, side = int(sys.argv[3]), int(sys.argv[4])
    target.mkdir(parents=True)
    paths = sorted(source.iterdir())[:films]
    enhance(paths[0], target / paths[0].name, side)
    start, used = time.perf_counter(), time.process_time()
    for path in paths:
        enhance(path, target / path.name, side)
    print(time.perf_counter() - start, time.process_time() - used)


if __name__ == "__main__":
    main()
