"""Frontal chest-film phantoms: a drawn thorax, Beer-Lambert projection, detector noise and a film-like display.

Soft shapes are chords in closed form; bones and vessels are point masses projected along a parallel beam, so that
cortical edges and ribs seen end-on brighten by geometry.  Axes in cm: x to the image's right, y down, z to the front.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Map = NDArray[Any]  # float32, (CANVAS, CANVAS) or broadcast to it
Points = NDArray[np.float64]
Frame = tuple[float, float, float]  # magnification, and shift to the right and down in cm

# Linear attenuation (1/cm) at an effective 60 keV, a 120 kVp chest beam inside the patient: mass coefficient times
# density for ICRU-44 soft tissue (0.205 cm2/g x 1.06 g/cm3, less a little for fat) and cortical bone (0.315 cm2/g x
# 1.92 g/cm3).  Hubbell and Seltzer, NIST Standard Reference Database 126 (NISTIR 5632), tables 2 and 4.
MU_SOFT, MU_BONE = 0.21, 0.60
# ICRU-44 inflated lung has a quarter of the density of tissue (0.26 g/cm3); the rest is taken out of the path.
LUNG_VOID = 0.74
# Side of the square imaged, between the 35 and the 43 cm of a chest cassette, and the pixels it is drawn on; read-out
# noise in photons, small against the Poisson noise of any usable film; shortest side allowed, in pixels.
FIELD_CM, CANVAS, ELECTRONIC, SMALLEST = 38.0, 768, 2.0, 32
# Left-side bones: (x, y below the lung apex) in cm, radius and wall in cm.
LONG_BONES = (
    (((1.8, 4.2), (5.5, 3.2), (10.5, 1.5), (15.0, 1.2)), 0.52, 0.12),  # clavicle
    (((17.2, 2.4), (18.9, 11.0), (20.2, 27.0)), 1.2, 0.12),  # humerus
    (((10.2, 2.6), (11.6, 7.5), (13.4, 13.4)), 0.15, 0.06),  # medial border of the scapula
    (((13.4, 13.4), (15.2, 7.6), (15.9, 4.4)), 0.22, 0.08),  # its lateral border
    (((11.6, 4.6), (14.4, 2.6), (17.6, 1.2)), 0.27, 0.07),  # its spine
)


@dataclass(frozen=True)
class Opacity:
    """A ragged patch of tissue in place of air: centre and half-strength radius as fractions of the image's sides."""

    x: float
    y: float
    radius: float = 0.07
    depth_cm: float = 4.0


@dataclass(frozen=True)
class Phantom:
    """One film, 0 (black) to 65535 with bone bright; the same without noise; the open lung fields.  All read-only."""

    image: NDArray[np.uint16]
    truth: NDArray[np.uint16]
    lungs: NDArray[np.bool_]


def _axes(frame: Frame) -> tuple[Map, Map]:
    line = (((np.arange(CANVAS) + 0.5) / CANVAS - 0.5) * FIELD_CM / frame[0]).astype(np.float32)
    return line[None, :] - np.float32(frame[1]), line[:, None] - np.float32(frame[2])


def _project(frame: Frame, points: Points, blur_cm: float) -> Map:
    """Thickness (cm) of point masses, shape (3, n): x, y in cm and volume in cm3."""
    zoom = frame[0] * CANVAS / FIELD_CM
    col, row = ((points[k] + frame[k + 1]) * zoom + (CANVAS - 1) / 2 for k in (0, 1))
    keep = (col >= 0) & (row >= 0) & (col < CANVAS - 1) & (row < CANVAS - 1)
    col, row, mass = col[keep], row[keep], points[2][keep] * zoom * zoom
    first, right, down = row.astype(np.int64) * CANVAS + col.astype(np.int64), (col % 1) * mass, row % 1
    flat = np.zeros(CANVAS * CANVAS)
    for offset, part in ((0, mass - right), (1, right)):
        flat += np.bincount(first + offset, part * (1 - down), CANVAS * CANVAS)
        flat += np.bincount(first + offset + CANVAS, part * down, CANVAS * CANVAS)
    return _blur(flat.reshape(CANVAS, CANVAS).astype(np.float32), blur_cm * zoom)


def _uniform(seed: int, stream: int, shape: tuple[int, ...]) -> Points:
    # Only plain doubles of PCG64 are drawn: NumPy may change its other distributions' streams between releases.
    return np.random.Generator(np.random.PCG64([seed, stream])).random(shape)


def _blur(image: Map, sigma: float) -> Map:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def _root(square: Map) -> Map:
    return np.sqrt(np.maximum(square, 0))


def _ramp(value: Map) -> Map:
    t: Map = np.clip(value, 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def _ball(axes: tuple[Map, Map], x: float, y: float, rx: float, ry: float, depth: float, turn: float = 0.0) -> Map:
    """Chord (cm) through an ellipsoid with `depth` cm at its centre, turned by `turn` rad."""
    dx, dy, c, s = axes[0] - np.float32(x), axes[1] - np.float32(y), np.float32(np.cos(turn)), np.float32(np.sin(turn))
    u, v = (dx * c + dy * s) / np.float32(rx), (dy * c - dx * s) / np.float32(ry)
    return np.float32(depth) * _root(1 - u * u - v * v)


def _clouds(seed: int, stream: int, cells: tuple[int, ...]) -> Map:
    """Smooth random field, shape (CANVAS, CANVAS), about -1 to 1; finer cells weigh less."""
    total = np.zeros((CANVAS, CANVAS), np.float32)
    for rank, cell in enumerate(cells):
        coarse = (_uniform(seed, stream + rank, (cell, cell)) * 2 - 1).astype(np.float32) * np.float32(0.75**rank)
        total += cv2.resize(coarse, (CANVAS, CANVAS), interpolation=cv2.INTER_CUBIC)
    return total


def _tube(path: Points, normal: Points, half: tuple[float, float], wall: float) -> Points:
    """Point masses (3, 64 n) of a tube's wall in cm: path (n, 3), unit normal (n, 3), half axes across and along it."""
    across = np.cross(step := np.gradient(path, axis=0), normal)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    # Each ring is turned a golden section further than the last, so that the samples cast no moire.
    phi = (np.arange(64) + (np.arange(len(path)) * 0.618 % 1)[:, None]) * (2 * np.pi / 64)
    c, s = np.cos(phi), np.sin(phi)
    place = path.T[:2, :, None] + across.T[:2, :, None] * half[0] * c + normal.T[:2, :, None] * half[1] * s
    area = np.linalg.norm(step, axis=1)[:, None] * np.hypot(half[0] * s, half[1] * c) * (2 * np.pi / 64)
    return np.concatenate([place, wall * area[None]]).reshape(3, -1)


def _long_bone(knots: Points, radius: float, wall: float) -> Points:
    """Tube along the Catmull-Rom curve through (x, y) knots: wider ends, and some of its mass as spongy bone within."""
    p = np.concatenate([knots[:1], knots, knots[-1:]])
    s = np.linspace(0, len(knots) - 1 - 1e-9, 700)
    i, t = s.astype(np.int64), (s % 1)[:, None]
    a, b, c, d = p[i], p[i + 1], p[i + 2], p[i + 3]
    path = np.zeros((700, 3))
    path[:, :2] = b + t / 2 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    points = _tube(path, np.tile([0.0, 0.0, 1.0], (700, 1)), (radius, radius), wall)
    end, spongy = np.abs(2 * s / s[-1] - 1), np.sqrt(np.minimum(1, 2.2 * _uniform(0, 9, (700 * 64,))))
    flare, centre = np.repeat((1 + 0.5 * end**6) * np.sqrt(1 - end**12), 64) * spongy, np.repeat(path.T[:2], 64, axis=1)
    return np.concatenate([centre + (points[:2] - centre) * flare, points[2:]])


def _vessels(draws: Points, side: int, hilum: tuple[float, float]) -> Points:
    """Point masses (3, n) of one lung's vessels; `draws` in [0, 1) feed the branching."""
    pieces, supply, across = [], iter(draws.tolist()), (np.arange(9) - 4) / 4.5
    fan = (-1.4, -1.2, -0.9, -0.6, -0.3, 0.0, 0.25, 0.5, 0.75, 0.95, 1.15, 1.35)
    todo = [(hilum[0] - side, hilum[1] - 0.8, 0.9, 0.48, 6)]
    todo += [(hilum[0], hilum[1] + 1.5 * a, a, 0.2 + 0.14 * next(supply), 6) for a in fan]
    while todo:
        x, y, angle, radius, order = todo.pop()
        length, turn = (0.8 + 1.4 * next(supply)) * (0.55 + 3.0 * radius), (next(supply) - 0.5) * 0.8
        heading = angle + np.linspace(0, turn, n := int(length / 0.035) + 2)
        dx, dy = side * np.cos(heading), np.sin(heading)
        xs, ys = x + np.cumsum(dx) * length / n, y + np.cumsum(dy) * length / n
        r = np.linspace(radius, 0.85 * radius, n)[:, None] * across
        volume = 2 * np.sqrt(1 - across**2) * (r[:, -1:] / across[-1]) ** 2 / 4.5 * (length / n)
        pieces.append(np.stack([xs[:, None] - dy[:, None] * r, ys[:, None] + dx[:, None] * r, volume]).reshape(3, -1))
        if order and radius > 0.03:
            split, share = 0.3 + 0.4 * next(supply), 0.35 + 0.3 * next(supply)
            for sign, part in ((1, share), (-1, 1 - share)):
                # Murray's law: the cubes of the daughters' radii add up to the cube of the parent's.
                bent, child = angle + turn + sign * split * 2 * (1 - part), 0.85 * radius * part ** (1 / 3)
                todo.append((float(xs[-1]), float(ys[-1]), bent, child, order - 1))
    return np.concatenate(pieces, axis=1)


def _skeleton(frame: Frame, cage: Map, apex: float, drop: float, tilt: float) -> Map:
    """Cortical bone (cm); a middle rib falls by `drop` cm on its way round the `cage`, a half width (cm) per row."""
    x, y = _axes(frame)
    parts = []
    for n in range(10):
        start, fall = apex + 0.1 + 2.25 * n + 0.6 * (n < 1) + 0.035 * n * n, drop * (0.42 + 0.1 * n)
        reach = (float(np.interp(start + fall / 2, y[:, 0], cage[:, 0])) + 0.25) * (0.74, 0.95, 1.0)[min(n, 2)]
        turn = np.linspace(0.1, 2.35 if n < 8 else 1.8, 800)
        level = start + fall * (0.25 - 0.25 * np.cos(turn) + turn / (2 * np.pi)) - 0.3 * np.sin(2 * turn)
        for side in (-1, 1):
            out = np.stack([side * np.sin(turn), 0 * turn, -np.cos(turn)], axis=1)
            points = _tube(out * (reach, 0, 0.68 * reach) + level[:, None] * (0, 1, 0), out, (0.64, 0.34), 0.062)
            # Bone gives way to cartilage over the last 2 or 3 cm; the first rib is a thin plate.
            points[2] *= np.repeat(np.clip((turn[-1] - turn) * 4, 0, 0.5 if n < 1 else 1), 64)
            parts.append(points)
    for side in (-1, 1):
        for place, radius, wall in LONG_BONES:
            parts.append(_long_bone(place @ np.array([[side, side * tilt / 15], [0, 1]]) + (0, apex), radius, wall))
    # Vertebrae, 1.9 cm apart in the neck and 1.2 % more every cm down: bright at the end plates, dark at the discs.
    beat = np.log1p(0.012 * np.maximum(y + 4, 0)) / np.float32(0.012 * 1.9) % 1
    half, off = np.float32(1.25) + 0.018 * y - 0.15 * np.cos(2 * np.pi * beat), np.abs(beat - 0.5)
    plates = 0.52 - 0.22 * np.exp(-((off / 0.1) ** 2)) + 0.2 * np.exp(-(((off - 0.14) / 0.05) ** 2))
    pedicle = 0.25 * np.exp(-(((np.hypot((np.abs(x) - 0.62 * half) / 0.32, (beat - 0.9) / 0.14) - 1) / 0.4) ** 2))
    spine = _blur(_root(1 - (x / half) ** 2) * plates + pedicle, 1.6)
    return _project(frame, np.concatenate(parts, axis=1), 0.045) + spine


@lru_cache(maxsize=2)  # several films of one person are usual; no caller writes into the maps
def _draw(seed: int) -> tuple[Map, Map, NDArray[np.bool_]]:
    """Draw one person: path lengths (cm) of soft tissue and cortical bone, and the open lung fields."""
    # In the order of the names below; lengths in cm, by eye from radiographs in anatomy books.
    usual = (1.07, 0, -0.3, 0.8, 12.9, 10.3, 6.6, 26.0, 1.04, 26.6, 1.1, 9.0, 0, 2.9, 0.5, 1.9, 1.6, 6.3, 2.6, 1.4)
    swing = (0.06, 0.6, 0.8, 1.8, 1.0, 1.4, 0.5, 1.5, 0.14, 1.5, 0.5, 1.8, 0.9, 0.5, 0.14, 0.3, 1.6, 0.8, 0.8, 0.4)
    person = (np.array(usual) + np.array(swing) * (_uniform(seed, 0, (20,)) * 2 - 1)).tolist()
    scale, shift_x, shift_y, girth, wide, depth, apex, tall, heart, right_dome = person[:10]
    lift, drop, tilt, sink, axis, arch, breast, gas_x, gas_rx, gas_ry = person[10:]
    axes = x, y = _axes(frame := (scale, shift_x, shift_y - FIELD_CM / 2))
    ax, left_dome, hy = np.abs(x), right_dome + lift, right_dome + lift - sink
    cage = wide * (1 - (1 - np.clip((y - apex) / tall, 1e-4, 1)) ** 3.9) ** 0.57
    chord = _root(1 - (x / cage) ** 2) * cage * (depth / 8.1)
    middle = 2.7 + 2.0 * np.exp(-np.maximum(y - np.float32(apex), 0) / 2)
    dome = right_dome + lift * _ramp((x + 4) / 8) + (0.035 + 0.05 * (ax > 6.6)).astype(np.float32) * (ax - 6.6) ** 2
    # Ventricles, right atrium, pulmonary trunk, superior vena cava, aortic arch.
    pump = _ball(axes, 2.3, hy, 7.6 * heart, 4.9 * heart, 16.0, axis)
    pump = np.maximum(pump, _ball(axes, -0.7, hy - 0.5, 3.4 * heart, 5.4, 12.5))
    pump = np.maximum(pump, _ball(axes, 1.5, hy - 7.2, 2.6, 4.6, 12.0, -0.2))
    pump = np.maximum(pump, _ball(axes, -1.0, apex + 8.0, 2.2, 8.0, 9.0))
    pump = _blur(np.maximum(pump, _ball(axes, 1.9, apex + 7.0, arch, 2.0, 10.0)), 2.5)
    air = np.maximum(chord * (1 - np.exp(-((ax / middle) ** 5))) - pump - 2 * _root((y - dome) / np.float32(0.022)), 0)
    lungs = (air > 0.3 * chord) & (chord > 4) & (y < dome) & (pump < 2) & (ax > middle)
    trees = [_vessels(_uniform(seed, 3 + s, (8000,)), s, (s * 3.5 + 0.3, hy - 6.6 - 0.6 * s)) for s in (-1, 1)]
    tree = _project(frame, np.concatenate(trees, axis=1), 0.03)
    mottle = 1 + np.float32(0.05) * _clouds(seed, 20, (6, 24, 60, 110, 220))
    air = np.maximum(air * mottle - np.minimum(tree * 2.2, 4) * _ramp(air / 5), 0)
    broad = 18.2 + girth + 9 * _ramp((17 - y) / 9)
    slope = 3.4 + 0.2 * np.maximum(ax - 5, 0) + 0.6 * np.exp((ax - 18.5) / 1.6)
    crest = 1 - np.clip((y - slope + 6 * np.exp(-np.maximum(ax - 5.2, 0) / 0.9)) / 4.5, 0, 1)
    trunk = 2 * depth * _root(1 - np.minimum(ax / broad, 1) ** 3.8) * _root(1 - crest * crest)
    trunk *= (1 + np.float32(0.012) * _clouds(seed, 30, (5, 12, 32, 80))) * (0.72 + 0.28 * _ramp((y - 5) / 12))
    arm = 9 * _root(1 - ((ax - 19.6 - 0.9 * girth - 0.09 * np.maximum(y - 14, 0)) / 4.4) ** 2) * _ramp((y - 8) / 4)
    neck = 11 * _root(1 - (ax / 5.4) ** 2) * (1 - _ramp((y - 6) / 5))
    pads = _blur(_ball((ax, y), 7.6, 22 + 0.4 * breast, 5.6, 5.0, breast), 7)
    pipe = 2.4 * _root(1 - (np.abs(ax - 0.9 * np.maximum(y - 15.8, 0)) / 0.85) ** 2) * _ramp((18.5 - y) / 2)
    gas = _blur(_ball(axes, gas_x, left_dome + 2.6, gas_rx, gas_ry, 4.0), 5)
    soft = np.maximum(np.maximum(trunk, arm), neck) + pads - LUNG_VOID * air - pipe - gas
    return _blur(np.maximum(soft, 0), 1.2), _skeleton(frame, cage, apex, drop, tilt), lungs


def chest_phantom(
    size: tuple[int, int] = (1024, 1024),
    *,
    seed: int,
    film: int = 0,
    photons: float = 2000.0,
    opacity: Opacity | None = None,
    contrast: float = 1.0,
    brightness: float = 0.0,
    edge: float = 0.6,
    scatter: float = 0.3,
) -> Phantom:
    """Make one film.

    Parameters
    ----------
    size : tuple of int
        Height and width in pixels, 32 or more (else ValueError); the same square field is stretched to any shape.
    seed, film : int
        The person, and which film of that person (other noise); 0 or more.  Equal arguments give equal films.
    photons : float
        Photons detected per pixel, median behind the body (IEC 62220-1, RQA5: some 30 000 per mm2 and microgray).
    opacity : Opacity or None
        A consolidation to add.
    contrast, brightness : float
        Gain (1: lungs about 0.4, mediastinum about 0.8 of full scale) and shift, in logits, of the display curve.
    edge, scatter : float
        Strength of the unsharp mask before display; scattered share of the signal, 0 to below 1 (0.3: with a grid).

    Returns
    -------
    Phantom
        `image`, `truth` (uint16) and `lungs` (bool), each of shape (height, width).
    """
    if min(size) < SMALLEST or not photons > 0 or not 0 <= scatter < 1:
        raise ValueError(f"need sides >= {SMALLEST}, photons > 0, 0 <= scatter < 1: {size}, {photons}, {scatter}")
    soft, bone, open_lung = _draw(seed)
    path = np.float32(MU_SOFT) * soft + np.float32(MU_BONE) * bone
    body, clear = path > 1, np.exp(-path)
    # First-order scatter follows p exp(-p) (Ohnesorge et al., Eur Radiol 1999;9:563), spread over 3 cm.  An opacity
    # is left out of it and of the exposure reading, so that the film around it stays exactly as it was.
    veil = _blur(cv2.resize(path * clear, (96, 96), interpolation=cv2.INTER_AREA), 8)
    veil = np.maximum(cv2.resize(veil, (CANVAS, CANVAS), interpolation=cv2.INTER_CUBIC), 0)
    veil *= np.float32(scatter / (1 - scatter) * np.median(clear[body]) / np.median(veil[body]))
    dense, level = np.quantile((clear + veil)[body], (0.12, 0.5)).tolist()
    lung = float(np.median((clear + veil)[open_lung]))
    if opacity is not None:
        away = np.hypot(*_axes((FIELD_CM, opacity.x - 0.5, opacity.y - 0.5)))
        away *= (1 + 0.15 * _clouds(seed, 40, (8, 20, 56))) / np.float32(opacity.radius)
        clear = clear * np.exp(-np.float32(MU_SOFT * opacity.depth_cm) * np.exp2(-(away**3)))
    shrink = cv2.INTER_AREA if min(size) < CANVAS else cv2.INTER_CUBIC
    signal = cv2.resize(_blur(clear + veil, 0.7), size[::-1], interpolation=shrink)
    lungs = cv2.resize(open_lung.astype(np.float32), size[::-1], interpolation=shrink) > 0.5
    # Two logits from lung to mediastinum is the slope that gives the grey levels promised for contrast 1.
    gain, centre = 2 * contrast / np.log(lung / dense), -np.log(lung * dense) / 2
    black = 1 / (1 + np.exp(gain * centre - 0.6 - brightness))

    def display(counts: Map) -> NDArray[np.uint16]:
        log = -np.log(np.maximum(counts, np.float32(0.3 * level / photons)))
        log += np.float32(edge) * (log - _blur(log, 0.012 * max(size)))
        grey = 1 / (1 + np.exp(-np.float32(gain) * (log - np.float32(centre)) - np.float32(0.6 + brightness)))
        shown: NDArray[np.uint16] = np.rint(np.clip((grey - black) / (1 - black), 0, 1) * 65535).astype(np.uint16)
        shown.flags.writeable = False
        return shown

    # Poisson counts by the normal quantile with Cornish and Fisher's skewness term (good from about 4 photons), each
    # from its own two uniforms: a rounding difference in one pixel cannot move the noise of any other.
    u, v = _uniform(seed, 100 + film, (2, *size))
    radius, angle = np.sqrt(-2 * np.log1p(-u)), 2 * np.pi * v
    mean, z = signal * (photons / level), radius * np.cos(angle)
    counts = np.maximum(np.rint(mean + np.sqrt(mean) * z + (z * z - 1) / 6), 0) + ELECTRONIC * radius * np.sin(angle)
    lungs.flags.writeable = False
    return Phantom(display((counts * (level / photons)).astype(np.float32)), display(signal), lungs)
