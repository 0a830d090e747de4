import csv
import importlib.util
import itertools
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from xray_core.phantom import Opacity, Phantom, chest_phantom

SAMPLES = Path(__file__).resolve().parent.parent / "sample_images"
SIZE = (192, 192)


@pytest.fixture(scope="module")
def film() -> Phantom:
    return chest_phantom(SIZE, seed=4, photons=4000)


@pytest.fixture(scope="module")
def make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_samples", SAMPLES / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def psnr(phantom: Phantom) -> float:
    error = phantom.image.astype(float) - phantom.truth
    return float(20 * np.log10(65535 / np.sqrt(np.mean(error**2))))


def read(path: Path) -> NDArray[Any]:
    import cv2

    if path.suffix == ".npz":
        with np.load(path) as archive:
            assert archive.files == ["image"]
            return np.asarray(archive["image"])
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None, path
    return np.asarray(image[..., ::-1] if image.ndim == 3 else image)


def test_same_arguments_same_film(film: Phantom) -> None:
    again = chest_phantom(SIZE, seed=4, photons=4000)
    for name in ("image", "truth", "lungs"):
        np.testing.assert_array_equal(getattr(film, name), getattr(again, name))


def test_seeds_are_different_people(film: Phantom) -> None:
    truths = [film.truth] + [chest_phantom(SIZE, seed=seed).truth for seed in (0, 1, 2)]
    for i, a in enumerate(truths):
        for b in truths[:i]:
            assert np.mean(np.abs(a.astype(float) - b)) > 0.01 * 65535


def test_second_film_of_a_person_has_other_noise_only(film: Phantom) -> None:
    second = chest_phantom(SIZE, seed=4, film=1, photons=4000)
    np.testing.assert_array_equal(second.truth, film.truth)
    a, b = ((f.image.astype(float) - f.truth)[f.lungs] for f in (film, second))
    assert abs(np.mean(a * b)) < 0.05 * np.std(a) * np.std(b)


def test_arrays_are_read_only_and_typed(film: Phantom) -> None:
    arrays: tuple[NDArray[Any], ...] = (film.image, film.truth, film.lungs)
    assert [array.dtype.name for array in arrays] == ["uint16", "uint16", "bool"]
    for array in arrays:
        assert array.shape == SIZE
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 1


@pytest.mark.parametrize("size", [(32, 32), (160, 96), (90, 200), (801, 780)])
def test_any_shape(size: tuple[int, int]) -> None:
    phantom = chest_phantom(size, seed=6)
    assert phantom.image.shape == phantom.truth.shape == phantom.lungs.shape == size
    assert 0.12 < phantom.lungs.mean() < 0.45


@pytest.mark.parametrize(
    "arguments",
    [
        {"size": (31, 64)},
        {"size": (64, 0)},
        {"size": (-64, 64)},
        {"photons": 0.0},
        {"photons": float("nan")},
        {"scatter": 1.0},
        {"scatter": -0.1},
    ],
)
def test_silly_arguments_raise(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="need sides"):
        chest_phantom(**{"size": (64, 64), "seed": 0, **arguments})


@pytest.mark.parametrize("seed", range(4))
def test_greys_of_a_chest_film(seed: int) -> None:
    phantom = chest_phantom(SIZE, seed=seed)
    full, lungs = phantom.truth / 65535, phantom.lungs
    columns = np.flatnonzero(lungs.any(axis=0))
    middle = (columns[0] + columns[-1]) // 2
    rows = np.flatnonzero(lungs.any(axis=1))
    mediastinum = full[rows[len(rows) // 2] : rows[-1], middle - 4 : middle + 5]
    assert 0.25 < np.median(full[lungs]) < 0.5
    assert np.median(mediastinum) > np.median(full[lungs]) + 0.25
    assert np.quantile(full[lungs], 0.95) < np.quantile(mediastinum, 0.05)
    assert full[:8, :8].max() < 0.1, "air beside the neck is black"
    left_of_middle, right_of_middle = lungs[:, :middle].sum(), lungs[:, middle + 1 :].sum()
    assert left_of_middle > right_of_middle, "the heart takes its room from the left lung, at the image's right"


def test_ribs_are_brighter_than_the_lung_between_them() -> None:
    phantom = chest_phantom((512, 512), seed=4, edge=0.0)
    column = np.flatnonzero(phantom.lungs.any(axis=0))[45]
    profile = phantom.truth[phantom.lungs[:, column], column].astype(float)
    smooth = np.convolve(profile, np.ones(61) / 61, mode="valid")
    ripple = profile[30:-30] - smooth
    crossings = np.count_nonzero(np.diff(np.sign(ripple)))
    assert ripple.std() > 0.01 * 65535
    assert crossings >= 6


def test_more_photons_come_nearer_to_the_truth() -> None:
    values = [psnr(chest_phantom(SIZE, seed=4, photons=photons)) for photons in (30, 300, 3000, 30000)]
    assert all(b > a + 3 for a, b in itertools.pairwise(values)), values


def test_noise_is_that_of_counted_photons() -> None:
    phantom = chest_phantom((256, 256), seed=4, photons=2000, edge=0.0)
    quiet = chest_phantom((256, 256), seed=4, photons=8000, edge=0.0)
    ratio = [np.std((p.image.astype(float) - p.truth)[p.lungs]) for p in (phantom, quiet)]
    assert ratio[0] / ratio[1] == pytest.approx(2.0, rel=0.05)


def test_opacity_brightens_its_place_and_nothing_else(film: Phantom) -> None:
    opacity = Opacity(x=0.28, y=0.5, radius=0.06, depth_cm=4.0)
    ill = chest_phantom(SIZE, seed=4, photons=4000, opacity=opacity)
    change = (ill.truth.astype(float) - film.truth) / 65535
    rows, columns = np.indices(SIZE)
    away = np.hypot((columns + 0.5) / SIZE[1] - opacity.x, (rows + 0.5) / SIZE[0] - opacity.y) / opacity.radius
    assert np.median(change[away < 0.6]) > 0.08
    assert np.abs(change[away > 2.5]).max() < 0.004
    np.testing.assert_array_equal(ill.lungs, film.lungs)


def test_display_settings_do_what_they_say(film: Phantom) -> None:
    def truth(**settings: Any) -> NDArray[np.float64]:
        return chest_phantom(SIZE, seed=4, photons=4000, **settings).truth.astype(float)

    inside = film.lungs
    assert truth(brightness=1.0)[inside].mean() > film.truth[inside].mean() > truth(brightness=-1.0)[inside].mean()
    assert truth(contrast=0.5)[inside].std() < film.truth[inside].std()
    assert not np.array_equal(truth(scatter=0.6), film.truth)


def test_sample_folder_is_small_and_as_described() -> None:
    files = [path for path in SAMPLES.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) < 6_000_000
    readme = (SAMPLES / "README.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in readme.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert len(named) >= 12
    for name in named:
        assert (SAMPLES / name).exists(), name
    top = {path.name for path in SAMPLES.iterdir() if path.suffix in {".png", ".npz"}}
    assert top == {path.name for path in (SAMPLES / "truth").iterdir()} == {n for n in named if "/" not in n} & top


def test_labels_match_the_films() -> None:
    with (SAMPLES / "sites" / "labels.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert list(rows[0]) == ["path", "site", "label", "patient"]
    on_disk = {p.relative_to(SAMPLES / "sites").as_posix() for p in (SAMPLES / "sites").glob("*/*.png")}
    assert {row["path"] for row in rows} == on_disk
    for site in ("site_a", "site_b"):
        here = [row for row in rows if row["site"] == site]
        assert len(here) == 12
        assert {row["label"] for row in here} == {"NORMAL", "OPACITY"}
        assert len({row["patient"] for row in here}) == 9
        assert {row["patient"][0] for row in here} == {site[-1].upper()}


@pytest.mark.parametrize("name", ["borders_letter.png", "chest.npz", "damaged.png"])
def test_samples_are_made_again_pixel_for_pixel(make: ModuleType, name: str) -> None:
    for folder, picture in zip((SAMPLES, SAMPLES / "truth"), make.make_film(name), strict=True):
        stored = read(folder / name)
        assert (stored.shape, stored.dtype) == (picture.shape, picture.dtype)
        # Another processor may round the last bit of a logarithm the other way; one level in 16 bits or 8 is allowed.
        apart = np.abs(stored.astype(int) - picture.astype(int))
        assert apart.max() <= 1
        assert np.mean(apart > 0) < 0.01


def test_site_films_are_made_again_pixel_for_pixel(make: ModuleType) -> None:
    name, label, patient, image = next(itertools.islice(make.site_films("site_b"), 3, None))
    assert (name, label, patient) == ("B003_2.png", "OPACITY", "B003")
    assert np.abs(read(SAMPLES / "sites" / "site_b" / name).astype(int) - image).max() <= 1
