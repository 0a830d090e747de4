"""The steps of the pipeline, in running order.

A step is a function under `step`, which says all there is to say of it and its parameters. Switches, sliders,
command-line flags, preset keys, log columns, tables in the documentation and tests follow from it: to add a step, write
one function here, at the place where it runs.

A step takes an image of `xray_core.image` and returns one of the same dtype; it never changes its input. Steps before
``grayscale`` get colour images too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter as Argument
from inspect import signature

import cv2
import numpy as np

from xray_core import tones
from xray_core.image import Image, full_scale, is_colour
from xray_core.params import Choice, Parameter, Range, Switch, Value

StepFunction = Callable[..., Image]


@dataclass(frozen=True)
class Step:
    """A declared step.

    Attributes
    ----------
    name
        Name of the function; the first part of its settings' dotted paths.
    label, help
        For a person.
    function
        Takes an image and the parameters by keyword.
    parameters
        By name, ``on`` first.
    both
        Whether the step belongs to the film before as well: geometry and grayscale, so that before and after have the
        same shape and can be compared.
    """

    name: str
    label: str
    help: str
    function: StepFunction
    parameters: dict[str, Parameter]
    both: bool

    @property
    def switchable(self) -> bool:
        """Whether a person may turn the step off."""
        on = self.parameters["on"]
        return isinstance(on, Switch) and not on.fixed

    def path(self, parameter: str) -> str:
        """Return the dotted path of one of the parameters."""
        return f"{self.name}.{parameter}"

    def apply(self, image: Image, values: dict[str, Value]) -> Image:
        """Run the step with the values of its parameters, ``on`` left out; returns a read-only image."""
        out = self.function(image, **values)
        out.flags.writeable = False
        return out


STEPS: dict[str, Step] = {}


def step(
    *, label: str, help: str, on: bool, both: bool = False, always: bool = False, **parameters: Parameter
) -> Callable[[StepFunction], StepFunction]:
    """Declare a step: its label and help, whether it is on by default, and each parameter of its function.

    Raises
    ------
    TypeError
        If the declaration disagrees with the function's signature.
    """

    def declare(function: StepFunction) -> StepFunction:
        name = function.__name__
        arguments = list(signature(function).parameters.values())[1:]
        declared = [argument.name for argument in arguments]
        if declared != list(parameters) or any(a.kind is not Argument.KEYWORD_ONLY for a in arguments):
            raise TypeError(f"step {name}: declared {list(parameters)}, its function takes by keyword {declared}")
        switch = Switch(default=on, fixed=always, label="On", help=f"Whether this step runs: {label}.")
        STEPS[name] = Step(name, label, help, function, {"on": switch, **parameters}, both)
        return function

    return declare


def _percent(label: str, help: str) -> Range:
    return Range(default=0.0, low=0.0, high=45.0, step=0.5, unit="%", label=label, help=help)


def magnification(width: int, height: int, *, size: int, fit: str) -> tuple[float, float]:
    """Return how many pixels one of a film's becomes in the step ``resize``, across and down."""
    if fit == "stretch":
        return size / width, size / height
    if fit == "crop":
        return size / min(width, height), size / min(width, height)
    scale = size / max(width, height)
    return max(round(width * scale), 1) / width, max(round(height * scale), 1) / height


def _to_black(default: float, most: float, needs: tuple[str, Value] | None = None) -> Range:
    words = "Share of the darkest pixels made black."
    return Range(default=default, low=0.0, high=most, step=0.1, unit="%", label="To black", help=words, needs=needs)


def _to_white(default: float, least: float, needs: tuple[str, Value] | None = None) -> Range:
    words = "Pixels brighter than this share of all are made white."
    return Range(default=default, low=least, high=100.0, step=0.1, unit="%", label="To white", help=words, needs=needs)


@step(
    label="Crop",
    help="Cut away borders, collimator edges and burnt-in text before anything else is measured.",
    on=False,
    both=True,
    left=_percent("Left", "Share of the width cut from the left."),
    right=_percent("Right", "Share of the width cut from the right."),
    top=_percent("Top", "Share of the height cut from the top."),
    bottom=_percent("Bottom", "Share of the height cut from the bottom."),
)
def crop(image: Image, *, left: float, right: float, top: float, bottom: float) -> Image:
    height, width = image.shape[:2]
    rows = slice(round(height * top / 100), max(height - round(height * bottom / 100), round(height * top / 100) + 1))
    columns = slice(round(width * left / 100), max(width - round(width * right / 100), round(width * left / 100) + 1))
    return np.ascontiguousarray(image[rows, columns])


@step(
    label="Resize",
    help="Scale to a square of fixed size, as classifiers expect.",
    on=False,
    both=True,
    size=Range(
        default=224, low=32, high=4096, step=32, unit="px", label="Size", help="Side of the square that comes out."
    ),
    fit=Choice(
        default="pad",
        options={"pad": "Pad with black", "stretch": "Stretch (squashes)", "crop": "Crop the middle"},
        label="Fit",
        help="How a film that is no square becomes one. Padding keeps all of it in its true shape.",
    ),
    interpolation=Choice(
        default="area",
        options={"area": "Area", "linear": "Linear", "cubic": "Cubic", "lanczos": "Lanczos", "nearest": "Nearest"},
        label="Interpolation",
        help="Area is right for making smaller; linear makes fine patterns from a large film (aliasing).",
    ),
)
def resize(image: Image, *, size: int, fit: str, interpolation: str) -> Image:
    flags = {
        "area": cv2.INTER_AREA,
        "linear": cv2.INTER_LINEAR,
        "cubic": cv2.INTER_CUBIC,
        "lanczos": cv2.INTER_LANCZOS4,
        "nearest": cv2.INTER_NEAREST,
    }
    height, width = image.shape[:2]
    across, down = magnification(width, height, size=size, fit=fit)
    if fit == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        image = np.ascontiguousarray(image[top : top + side, left : left + side])
        height = width = side
    inner = round(width * across), round(height * down)
    scaled = cv2.resize(image, inner, interpolation=flags[interpolation])
    top, left = (size - inner[1]) // 2, (size - inner[0]) // 2
    return cv2.copyMakeBorder(
        scaled, top, size - inner[1] - top, left, size - inner[0] - left, cv2.BORDER_CONSTANT, value=(0, 0, 0)
    )


@step(
    label="Grayscale",
    help="Turn a colour file into one grey channel. Gray films pass untouched.",
    on=True,
    both=True,
    always=True,
    method=Choice(
        default="luminance",
        options={"luminance": "Luminance", "mean": "Mean of the channels", "green": "Green channel"},
        label="From colour",
        help="Luminance weighs red, green and blue as the eye does (ITU-R BT.601), as OpenCV's BGR2GRAY.",
    ),
)
def grayscale(image: Image, *, method: str) -> Image:
    if not is_colour(image):
        return image
    if method == "luminance":
        return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if method == "green":
        return np.ascontiguousarray(image[:, :, 1])
    return cv2.transform(image, np.full((1, 3), 1 / 3))


@step(
    label="Gaussian blur",
    help="Smooth noise and edges alike.",
    on=False,
    kernel=Range(
        default=3, low=3, high=15, step=2, unit="px", good=(3, 5), label="Kernel", help="Side of the kernel; odd sizes."
    ),
    sigma=Range(
        default=0.0,
        low=0.0,
        high=5.0,
        step=0.1,
        unit="px",
        label="Sigma",
        help="Width of the bell curve; 0 takes it from the kernel's size, as OpenCV does.",
    ),
)
def gaussian(image: Image, *, kernel: int, sigma: float) -> Image:
    odd = kernel | 1
    return cv2.GaussianBlur(image, (odd, odd), sigma)


@step(
    label="Noise reduction (bilateral)",
    help="Smooth noise and keep edges. Strength depends on the film's size: the neighbourhood is counted in pixels.",
    on=True,
    d=Range(
        default=5,
        low=3,
        high=15,
        step=2,
        unit="px",
        good=(5, 7),
        label="Neighbourhood d",
        help="Diameter of the neighbourhood. An even number works like the next odd one.",
    ),
    sigma=Range(
        default=50.0,
        low=1.0,
        high=150.0,
        step=1.0,
        unit="grey levels",
        label="Sigma",
        help="Differences up to about this many of 255 grey levels are smoothed; the same number is used for space.",
    ),
)
def bilateral(image: Image, *, d: int, sigma: float) -> Image:
    return tones.bilateral(image, d, sigma)


@step(
    label="Stretch",
    help="Spread the grey levels in use over the full range, linearly.",
    on=False,
    low=_to_black(1.0, most=20.0),
    high=_to_white(99.0, least=80.0),
)
def stretch(image: Image, *, low: float, high: float) -> Image:
    return tones.stretched(image, low, high)


@step(
    label="Equalize",
    help="Global histogram equalisation. Strong, and blind to place: local contrast (CLAHE) is gentler.",
    on=False,
)
def equalize(image: Image) -> Image:
    return tones.equalized(image)


@step(
    label="Brightness (gamma)",
    help="Brighten or darken the middle greys; black and white stay.",
    on=False,
    gamma=Range(
        default=1.0,
        low=0.2,
        high=3.0,
        step=0.05,
        good=(0.7, 1.4),
        label="Gamma",
        help="Below 1 brightens, above 1 darkens: out = in to the power of gamma.",
    ),
)
def gamma(image: Image, *, gamma: float) -> Image:
    scale = full_scale(image)
    return tones.apply_table(image, (np.arange(scale + 1.0) / scale) ** gamma * scale)


@step(
    label="Local contrast (CLAHE)",
    help="Contrast limited adaptive histogram equalisation: brings out faint structure, place by place.",
    on=True,
    clip_limit=Range(
        default=1.5,
        low=1.0,
        high=8.0,
        step=0.1,
        good=(1.5, 2.0),
        label="Clip limit",
        help="OpenCV's clipLimit; higher is stronger. Published range 1 to 3. Other programs count differently.",
    ),
    tiles=Range(
        default=8, low=1, high=32, step=1, label="Tiles a side", help="The film is cut into this many tiles each way."
    ),
)
def clahe(image: Image, *, clip_limit: float, tiles: int) -> Image:
    return tones.clahe(image, clip_limit, tiles)


@step(
    label="Sharpness",
    help="Emphasise edges by a 3x3 kernel. Noise is emphasised too.",
    on=True,
    sharpness=Range(
        default=3.0,
        low=1.0,
        high=5.0,
        step=0.1,
        good=(3.0, 4.0),
        label="Sharpness",
        help="Centre of the kernel. With unit gain 1 changes nothing.",
    ),
    gain=Choice(
        default="unit",
        options={"unit": "Unit (keeps brightness)", "published": "As published"},
        label="Gain",
        help="As published, brightness is multiplied by sharpness - 2: 4 turns upper greys white. At 3 both agree.",
    ),
)
def sharpen(image: Image, *, sharpness: float, gain: str) -> Image:
    side = -0.5 if gain == "published" else -(sharpness - 1) / 4
    kernel = np.array([[0, side, 0], [side, sharpness, side], [0, side, 0]], dtype=np.float64)
    return tones.convolved(image, kernel)


@step(
    label="Normalize",
    help="Use the full range from black to white at the end.",
    on=True,
    method=Choice(
        default="minmax",
        options={"minmax": "Darkest to brightest pixel", "percentile": "Percentiles", "none": "None"},
        label="Method",
        help="Minmax is as published; one stray pixel can defeat it, percentiles are robust.",
    ),
    low=_to_black(0.5, most=10.0, needs=("method", "percentile")),
    high=_to_white(99.5, least=90.0, needs=("method", "percentile")),
)
def normalize(image: Image, *, method: str, low: float, high: float) -> Image:
    if method == "minmax":
        return cv2.normalize(image, None, 0, full_scale(image), cv2.NORM_MINMAX)
    return tones.stretched(image, low, high) if method == "percentile" else image
