"""Draw every picture of this folder anew: `python sample_images/make.py`.  A second run writes the same bytes."""

from __future__ import annotations

import csv
import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

# The package comes before cv2, because importing it settles how OpenCV computes.
from xray_core.phantom import Opacity, chest_phantom  # noqa: E402, I001
import cv2  # noqa: E402
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

Gray8 = NDArray[np.uint8]
Pair = tuple[NDArray[Any], NDArray[Any]]

# The films made by exposure alone: name, side in pixels, arguments of chest_phantom.
FILMS: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("chest.png", 1024, {"seed": 13, "photons": 6000.0}),
    ("chest_16bit.png", 640, {"seed": 31, "photons": 12000.0}),
    ("chest.npz", 512, {"seed": 16, "photons": 12000.0}),
    ("low_contrast.png", 768, {"seed": 3, "photons": 4000.0, "contrast": 0.3, "scatter": 0.6, "edge": 0.0}),
    ("dark.png", 768, {"seed": 5, "photons": 4000.0, "brightness": -1.7}),
    ("bright.png", 768, {"seed": 9, "photons": 4000.0, "brightness": 1.8, "contrast": 0.8}),
    ("noisy.png", 640, {"seed": 14, "photons": 60.0, "opacity": Opacity(0.31, 0.60, 0.07, 4.0)}),
)

# Two hospitals: a modern flat panel behind a grid, and a bedside unit with soft contrast, more scatter and few photons.
SITES: dict[str, tuple[tuple[int, int], dict[str, float]]] = {
    "site_a": ((240, 240), {"photons": 3000.0, "contrast": 1.05, "brightness": 0.0, "edge": 0.8, "scatter": 0.25}),
    "site_b": ((224, 256), {"photons": 350.0, "contrast": 0.7, "brightness": 0.5, "edge": 0.2, "scatter": 0.55}),
}
# Per patient, the label of each film: twelve films of nine patients a site.
PATIENTS = ("N", "O", "NO", "N", "O", "NN", "N", "OO", "O")


def to_8bit(image: NDArray[np.uint16]) -> Gray8:
    """Full-range 16 bits to full-range 8 bits."""
    return np.rint(image / 257.0).astype(np.uint8)


def write_png(path: Path, image: NDArray[Any]) -> None:
    """Gray, or RGB of shape (height, width, 3)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ordered = image[..., ::-1] if image.ndim == 3 else image
    done, data = cv2.imencode(".png", np.ascontiguousarray(ordered), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not done:
        raise OSError(f"could not encode {path.name}")
    path.write_bytes(data.tobytes())


def write_npz(path: Path, image: NDArray[Any]) -> None:
    """Like numpy.savez_compressed, with a fixed time stamp in the archive."""
    path.parent.mkdir(parents=True, exist_ok=True)
    member = io.BytesIO()
    np.lib.format.write_array(member, image, version=(1, 0))
    entry = zipfile.ZipInfo("image.npy", (1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry, member.getvalue(), compresslevel=9)


def side_letter(image: Gray8, row: int, col: int, height: int) -> Gray8:
    """Burn in an R from strokes of our own: a font would tie the pixels to one version of a library."""
    out, w, pen = image.copy(), round(height * 0.55), max(height // 7, 1)
    for start, end in (((0, 0), (0, height)), ((0, 0), (w - pen, 0)), ((0, height // 2), (w - pen, height // 2))):
        cv2.line(out, (col + start[0], row + start[1]), (col + end[0], row + end[1]), 255, pen)
    cv2.line(out, (col + w, row + pen), (col + w, row + height // 2 - pen), 255, pen)
    cv2.line(out, (col + w - pen, row), (col + w, row + pen), 255, pen)
    cv2.line(out, (col + w - pen, row + height // 2), (col + w, row + height // 2 - pen), 255, pen)
    cv2.line(out, (col + w // 2, row + height // 2), (col + w, row + height), 255, pen)
    return out


def framed(image: Gray8, shutters: tuple[int, int, int, int], white: int) -> Gray8:
    """Collimator blades (top, bottom, left, right, in pixels, shown black) inside an unexposed white rim."""
    out = np.zeros_like(image)
    height, width = image.shape
    inside = np.s_[shutters[0] : height - shutters[1], shutters[2] : width - shutters[3]]
    out[inside] = image[inside]
    out[:white], out[height - white :], out[:, :white], out[:, width - white :] = 255, 255, 255, 255
    return out


def borders_letter() -> Pair:
    """A film with collimation borders and a side letter, and the same without noise."""
    film = chest_phantom((768, 704), seed=21, photons=4000.0)
    image, truth = (side_letter(to_8bit(p), 96, 96, 56) for p in (film.image, film.truth))
    return framed(image, (44, 30, 58, 40), 10), framed(truth, (44, 30, 58, 40), 10)


def damaged() -> Pair:
    """A snapshot of a film through a round mask, tilted by 6 degrees, with a colour cast and a grainy green channel."""
    film = chest_phantom((576, 576), seed=30, photons=6000.0)
    side = film.image.shape[0]
    tilt = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), 6.0, 1.0)
    turned = cv2.warpAffine(film.image.astype(np.float32) / 257, tilt, (side, side), borderMode=cv2.BORDER_REPLICATE)
    line = np.arange(side) - (side - 1) / 2
    disc = np.hypot(line[None, :], line[:, None]) <= 0.485 * side
    grain = np.random.Generator(np.random.PCG64(30)).random((3, 4, side, side)).sum(axis=1) * 1.732 - 3.464
    planes = [
        turned * gain + grain[k] * sigma for k, (gain, sigma) in enumerate(((0.98, 1.0), (0.86, 9.0), (0.72, 1.0)))
    ]
    colour = np.clip(np.rint(np.stack(planes, axis=2)), 0, 255) * disc[..., None]
    return colour.astype(np.uint8), to_8bit(film.truth)


def site_films(site: str) -> Iterator[tuple[str, str, str, Gray8]]:
    """(file name, label, patient, image) of every film of a site."""
    size, look = SITES[site]
    dice = np.random.Generator(np.random.PCG64([77, ord(site[-1])])).random((len(PATIENTS), 2, 6)).tolist()
    for number, labels in enumerate(PATIENTS, start=1):
        patient = f"{site[-1].upper()}{number:03d}"
        for film, label in enumerate(labels):
            d = dice[number - 1][film]
            where = Opacity((0.28, 0.72)[d[0] > 0.5] + 0.05 * (d[1] - 0.5), 0.40 + 0.22 * d[2], 0.05 + 0.03 * d[3], 4.0)
            varied = {
                **look,
                "photons": look["photons"] * (0.7 + 0.6 * d[4]),
                "brightness": look["brightness"] + 0.4 * (d[5] - 0.5),
            }
            seed = 100 * ord(site[-1]) + number
            shown = chest_phantom(size, seed=seed, film=film, opacity=where if label == "O" else None, **varied)
            image = to_8bit(shown.image)
            if site == "site_b":
                image = framed(image, (10, 6, 8 + round(6 * d[1]), 9), 0)
                image = side_letter(image, 20, 24, 16)
            name = f"{patient}_{film + 1}.png"
            yield name, {"N": "NORMAL", "O": "OPACITY"}[label], patient, image


def make_film(name: str) -> Pair:
    """One of the films of this folder and its noise-free truth, as the arrays that are written."""
    if name == "borders_letter.png":
        return borders_letter()
    if name == "damaged.png":
        return damaged()
    side, arguments = next((side, arguments) for known, side, arguments in FILMS if known == name)
    film = chest_phantom((side, side), **arguments)
    if name.endswith(".npz"):
        return film.image, film.truth
    return film.image if name == "chest_16bit.png" else to_8bit(film.image), to_8bit(film.truth)


def main() -> None:
    """Write every picture and the label table."""
    for name in (*(film[0] for film in FILMS), "borders_letter.png", "damaged.png"):
        write = write_npz if name.endswith(".npz") else write_png
        for folder, picture in zip((HERE, HERE / "truth"), make_film(name), strict=True):
            write(folder / name, picture)
    rows = []
    for site in SITES:
        for name, label, patient, image in site_films(site):
            write_png(HERE / "sites" / site / name, image)
            rows.append((f"{site}/{name}", site, label, patient))
    with (HERE / "sites" / "labels.csv").open("w", newline="") as handle:
        csv.writer(handle, lineterminator="\n").writerows([("path", "site", "label", "patient"), *rows])


if __name__ == "__main__":
    main()
