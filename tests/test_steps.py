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
