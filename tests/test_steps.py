"""The declared steps. Everything here runs over `STEPS`: a new step is tested without a new line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np
import pytest

from xray_core import steps
from xray_core.image import Image, read_only
from xray_core.params import Choice, Parameter, Range, Value
from xray_core.steps import STEPS, Step, step

Textured = Callable[..., Image]
Values = dict[str, Value]

KINDS: dict[str, tuple[type, bool]] = {
    "gray8": (np.uint8, False),
    "gray16": (np.uint16, False),
    "colour": (np.uint8, True),
}
NAMES = list(STEPS)


def takes_colour(one: Step) -> bool:
    return NAMES.index(one.name) <= NAMES.index("grayscale")


EACH_STEP = [pytest.param(one, id=one.name) for one in STEPS.values()]
EACH_STEP_AND_KIND = [
    pytest.param(one, kind, id=f"{one.name}-{kind}")
    for one in STEPS.values()
    for kind in KINDS
    if kind != "colour" or takes_colour(one)
]
EACH_PARAMETER = [
    pytest.param(path, parameter, id=path)
    for one in STEPS.values()
    for path, parameter in ((one.path(name), parameter) for name, parameter in one.parameters.items())
]
EACH_PARAMETER_AND_KIND = [
    pytest.param(one, name, kind, id=f"{one.path(name)}-{kind}")
    for one in STEPS.values()
    for name in one.parameters
    if name != "on"
    for kind in KINDS
    if kind != "colour" or takes_colour(one)
]


def with_needs(one: Step, values: Values) -> Values:
    """Complete values from defaults, and set the siblings that they depend on."""
    out = {name: parameter.default for name, parameter in one.parameters.items() if name != "on"} | values
    for name in values:
        needs = one.parameters[name].needs
        while needs is not None:
            out[needs[0]] = needs[1]
            needs = one.parameters[needs[0]].needs
    return out


def variants(one: Step) -> Iterator[Values]:
    """Yield the defaults, then each parameter at each of its ends."""
    yield with_needs(one, {})
    for name, parameter in one.parameters.items():
        if name != "on":
            for end in parameter.ends():
                yield with_needs(one, {name: end})


def same(a: Image, b: Image) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def assert_keeps_the_contract(one: Step, image: Image, values: Values) -> None:
    assert not image.flags.writeable
    bytes_before = image.tobytes()
    out = one.apply(image, values)
    assert image.tobytes() == bytes_before, "the input was changed"
    assert out.dtype == image.dtype
    assert out.ndim == 2 or (image.ndim == 3 and out.ndim == 3 and out.shape[2] == 3)
    assert out.size > 0
    assert out.flags.c_contiguous
    assert not out.flags.writeable
    if not one.both:
        # Otherwise before and after could not be compared.
        assert out.shape[:2] == image.shape[:2]
    assert same(out, one.apply(image, values)), "a second run gave another picture"


@pytest.mark.parametrize(("one", "kind"), EACH_STEP_AND_KIND)
def test_keeps_the_image_contract(one: Step, kind: str, textured: Textured) -> None:
    dtype, colour = KINDS[kind]
    image = textured(dtype=dtype, colour=colour)
    for values in variants(one):
        assert_keeps_the_contract(one, image, values)


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 9), (9, 1), (2, 3), (33, 40)], ids=lambda shape: "x".join(map(str, shape))
)
@pytest.mark.parametrize(("one", "kind"), EACH_STEP_AND_KIND)
def test_tiny_flat_black_and_white_pictures_survive(one: Step, kind: str, shape: tuple[int, int]) -> None:
    dtype, colour = KINDS[kind]
    white = np.iinfo(dtype).max
    full = (*shape, 3) if colour else shape
    noise = np.random.default_rng(1).integers(0, white, full, dtype, endpoint=True)
    pictures = [read_only(np.full(full, level, dtype)) for level in (0, white // 3, white)] + [read_only(noise)]
    for values in variants(one):
        for image in pictures:
            assert_keeps_the_contract(one, image, values)


@pytest.mark.parametrize(("one", "name", "kind"), EACH_PARAMETER_AND_KIND)
def test_the_ends_of_a_parameter_give_different_pictures(one: Step, name: str, kind: str, textured: Textured) -> None:
    dtype, colour = KINDS[kind]
    image = textured(dtype=dtype, colour=colour)
    if takes_colour(one) and not colour and all(same(one.apply(image, values), image) for values in variants(one)):
        pytest.skip(f"{one.name} passes gray films untouched")
    siblings = [
        (sibling, end)
        for sibling in one.parameters
        if sibling not in ("on", name)
        for end in one.parameters[sibling].ends()
    ]
    for low, high in combinations(one.parameters[name].ends(), 2):
        # Some parameters only show beside another value of a sibling: the two gains of `sharpen` agree at sharpness 3.
        beside = [
            with_needs(one, {name: low}),
            *(with_needs(one, {sibling: end, name: low}) for sibling, end in siblings),
        ]
        assert any(not same(one.apply(image, values), one.apply(image, {**values, name: high})) for values in beside), (
            f"{one.path(name)}: {low} and {high} give the same picture"
        )


@pytest.mark.parametrize("one", EACH_STEP)
def test_switching_a_step_on_shows(one: Step, textured: Textured) -> None:
    image = textured(colour=takes_colour(one))
    assert any(not same(one.apply(image, values), image) for values in variants(one))


@pytest.mark.parametrize("one", EACH_STEP)
def test_labels_and_helps_are_for_a_person(one: Step) -> None:
    labels = [one.label]
    helps = [one.help]
    for parameter in one.parameters.values():
        labels.append(parameter.label)
        helps.append(parameter.help)
        if isinstance(parameter, Choice):
            labels += parameter.options.values()
    for label in labels:
        assert label
        assert label == label.strip()
        assert label[0].isupper()
        assert label[-1] not in ".:,;"
    for text in helps:
        assert text == text.strip()
        assert text[0].isupper()
        assert text.endswith(".")
        assert not text.endswith("..")


@pytest.mark.parametrize(("path", "parameter"), EACH_PARAMETER)
def test_declared_ranges_make_sense(path: str, parameter: Parameter) -> None:
    if isinstance(parameter, Range):
        assert parameter.low < parameter.high
        assert 0 < parameter.step <= parameter.high - parameter.low
        kinds = {type(parameter.low), type(parameter.high), type(parameter.default), type(parameter.step)}
        assert len(kinds) == 1, f"{path} mixes whole numbers and fractions"
        if parameter.good:
            assert parameter.low <= parameter.good[0] <= parameter.good[1] <= parameter.high
    if isinstance(parameter, Choice):
        assert len(parameter.options) >= 2


@pytest.mark.parametrize(("path", "parameter"), EACH_PARAMETER)
def test_a_default_is_a_recommended_value(path: str, parameter: Parameter) -> None:
    if isinstance(parameter, Range) and parameter.good:
        assert parameter.good[0] <= parameter.default <= parameter.good[1], path


@pytest.mark.parametrize("one", EACH_STEP)
def test_needs_name_a_sibling_and_a_value_it_takes(one: Step) -> None:
    for parameter in one.parameters.values():
        if parameter.needs is not None:
            sibling, value = parameter.needs
            assert sibling in one.parameters
            assert one.parameters[sibling].check(one.path(sibling), value) == value


def test_the_running_order_is_the_documented_one() -> None:
    documented = [
        "crop",
        "channels",
        "inpaint",
        "rotate",
        "resize",
        "grayscale",
        "gaussian",
        "bilateral",
        "stretch",
        "equalize",
        "gamma",
        "clahe",
        "sharpen",
        "normalize",
    ]
    known = [name for name in NAMES if name in documented]
    assert known == [name for name in documented if name in NAMES]
    assert {"resize", "grayscale", "bilateral", "clahe", "sharpen", "normalize"} <= set(known)


def test_only_geometry_and_grayscale_belong_to_the_film_before() -> None:
    assert {one.name for one in STEPS.values() if one.both} >= {"crop", "resize", "grayscale"}
    for name in NAMES[NAMES.index("grayscale") + 1 :]:
        assert not STEPS[name].both, f"{name} would change the film that SSIM is measured against"


@pytest.fixture
def own_steps(monkeypatch: pytest.MonkeyPatch) -> dict[str, Step]:
    """A copy of the registry, so that a test may declare steps that no other test sees."""
    copy = dict(STEPS)
    monkeypatch.setattr(steps, "STEPS", copy)
    return copy


STRENGTH = Range(default=1.0, low=0.0, high=2.0, step=0.1, label="Strength", help="How much.")


def test_a_step_without_parameters_gets_its_switch(own_steps: dict[str, Step]) -> None:
    def negative(image: Image) -> Image:
        return np.invert(image)

    assert step(label="Negative", help="Swap black and white.", on=False)(negative) is negative
    declared = own_steps["negative"]
    assert list(declared.parameters) == ["on"]
    assert declared.switchable
    assert declared.parameters["on"].default is False
    assert declared.parameters["on"].help == "Whether this step runs: Negative."
    assert declared.path("on") == "negative.on"
    assert "negative" not in STEPS


def test_a_step_that_always_runs_is_not_switchable(own_steps: dict[str, Step]) -> None:
    def negative(image: Image) -> Image:
        return np.invert(image)

    step(label="Negative", help="Swap black and white.", on=True, always=True)(negative)
    assert not own_steps["negative"].switchable
    assert [one.name for one in STEPS.values() if not one.switchable] == ["grayscale"]


def _missing(image: Image) -> Image:
    return image


def _other_name(image: Image, *, power: float) -> Image:
    return image


def _by_position(image: Image, strength: float) -> Image:
    return image


def _one_more(image: Image, *, strength: float, power: float) -> Image:
    return image


def _catch_all(image: Image, **strength: float) -> Image:
    return image


@pytest.mark.parametrize("function", [_missing, _other_name, _by_position, _one_more, _catch_all])
def test_a_declaration_that_disagrees_with_the_signature_is_refused(
    function: Callable[..., Image], own_steps: dict[str, Step]
) -> None:
    with pytest.raises(TypeError, match=rf"step {function.__name__}: declared \['strength'\], its function takes"):
        step(label="Any", help="Any.", on=False, strength=STRENGTH)(function)
    assert function.__name__ not in own_steps


def test_a_declaration_that_leaves_out_an_argument_is_refused(own_steps: dict[str, Step]) -> None:
    with pytest.raises(TypeError, match=r"step _other_name: declared \[\], its function takes by keyword \['power'\]"):
        step(label="Any", help="Any.", on=False)(_other_name)
    assert "_other_name" not in own_steps


def test_a_step_that_writes_into_its_input_fails_loudly(own_steps: dict[str, Step], textured: Textured) -> None:
    def vandal(image: Image) -> Image:
        image[0, 0] = 0
        return image

    step(label="Vandal", help="Break the contract.", on=False)(vandal)
    with pytest.raises(ValueError, match="read-only"):
        own_steps["vandal"].apply(textured(20, 30), {})


# --- What single steps promise beyond the contract --------------------------------------------------------------------


def applied(name: str, image: Image, **values: Value) -> Image:
    return STEPS[name].apply(image, with_needs(STEPS[name], values))


def test_crop_cuts_shares_of_each_side(textured: Textured) -> None:
    image = textured(200, 300)
    out = applied("crop", image, left=10.0, right=5.0, top=20.0, bottom=1.5)
    assert same(out, read_only(image[40:197, 30:285]))
    assert same(applied("crop", image), image)


@pytest.mark.parametrize("shape", [(100, 60), (60, 100)], ids=["tall", "wide"])
def test_resize_fits_into_a_square(shape: tuple[int, int]) -> None:
    white = read_only(np.full(shape, 255, np.uint8))
    padded = applied("resize", white, size=64, fit="pad")
    assert padded.shape == (64, 64)
    long, short = (0, 1) if shape[0] > shape[1] else (1, 0)
    assert (padded.max(axis=short) == 255).all()  # reaches both ends of the longer side
    used = np.flatnonzero(padded.max(axis=long))
    assert (used[0], used[-1]) == (13, 50)  # 60 of 100 are 38 of 64, in the middle
    assert (applied("resize", white, size=64, fit="stretch") == 255).all()
    assert (applied("resize", white, size=64, fit="crop") == 255).all()


def test_resize_by_cropping_takes_the_middle(textured: Textured) -> None:
    image = textured(128, 200)
    assert same(applied("resize", image, size=128, fit="crop"), read_only(image[:, 36:164]))
    assert same(applied("resize", image.T.copy(), size=128, fit="crop"), read_only(image.T[36:164]))


def test_resize_by_area_averages() -> None:
    image = read_only(np.kron(np.array([[10, 200], [90, 30]], np.uint16), np.array([[0, 2], [4, 6]], np.uint16)))
    halved = applied("resize", np.tile(image, (16, 16)), size=32)
    assert same(halved, read_only(np.tile(np.array([[30, 600], [270, 90]], np.uint16), (16, 16))))


def test_grayscale_weighs_red_green_and_blue(textured: Textured) -> None:
    image = textured(colour=True)
    red, green, blue = np.moveaxis(image.astype(np.float64), 2, 0)
    assert np.abs(applied("grayscale", image) - (0.299 * red + 0.587 * green + 0.114 * blue)).max() <= 0.51
    assert np.abs(applied("grayscale", image, method="mean") - (red + green + blue) / 3).max() <= 0.51
    assert np.array_equal(applied("grayscale", image, method="green"), image[:, :, 1])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_even_neighbourhoods_work_like_the_next_odd_one(dtype: type, textured: Textured) -> None:
    image = textured(dtype=dtype)
    assert same(applied("gaussian", image, kernel=4), applied("gaussian", image, kernel=5))
    assert same(applied("bilateral", image, d=4), applied("bilateral", image, d=5))
    assert not same(applied("gaussian", image, kernel=5), applied("gaussian", image, kernel=7))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_sharpen_at_unit_gain_keeps_brightness_and_agrees_with_the_published_kernel_at_three(
    dtype: type, textured: Textured
) -> None:
    image = textured(dtype=dtype)
    assert same(applied("sharpen", image, sharpness=1.0), image)
    assert same(applied("sharpen", image, sharpness=3.0), applied("sharpen", image, sharpness=3.0, gain="published"))
    flat = read_only(np.full((9, 9), 50, dtype))
    for sharpness in (1.0, 2.2, 5.0):
        assert same(applied("sharpen", flat, sharpness=sharpness), flat)
        # As published, the kernel's sum is a gain of sharpness - 2.
        published = applied("sharpen", flat, sharpness=sharpness, gain="published")
        assert (published == round(max(50 * (sharpness - 2), 0))).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_normalize_uses_the_full_range(dtype: type, textured: Textured) -> None:
    image = textured(dtype=dtype)
    white = np.iinfo(dtype).max
    for values in ({}, {"method": "percentile", "low": 1.0, "high": 99.0}):
        out = applied("normalize", image, **values)
        assert (out.min(), out.max()) == (0, white)
    exact = (image.astype(np.float64) - image.min()) * white / (int(image.max()) - int(image.min()))
    assert np.abs(applied("normalize", image) - exact).max() <= 0.51
    assert same(applied("normalize", image, method="none"), image)
    # One stray pixel defeats minmax, and percentiles bear it.
    stray = image.copy()
    stray[5, 5] = white
    stray[6, 6] = 0
    assert applied("normalize", read_only(stray)).std() < applied("normalize", image).std()
