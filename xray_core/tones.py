"""Grey-level tables, and the filters that OpenCV lacks or gets wrong for 16-bit images.

Functions take and return gray images of `xray_core.image`. Each alone gives on a 16-bit copy of an 8-bit image
(``x * 257``) the 8-bit result of OpenCV within one grey level, while true 16-bit tones stay apart.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from xray_core.image import Image, full_scale
from xray_core.threads import spread

BINS = 256
_STEP = 257  # 65535 / 255: the distance between two 8-bit grey levels in a 16-bit image
_TABLE_PAYS_FROM = 6_000  # pixels a tile; below, building its 65536 entries costs more than it saves
_MOST_TABLES = 16 * 16  # tiles; at 256 kB each


def histogram(image: Image) -> NDArray[np.float64]:
    """Count the pixels at each level.

    Parameters
    ----------
    image
        Gray, ``uint8`` or ``uint16``.

    Returns
    -------
    counts
        (256,) or (65536,) ``float64``, one entry a level of the dtype.
    """
    levels = full_scale(image) + 1
    counts = np.zeros(levels)
    # OpenCV counts in float32, which stops at 2^24: larger films are counted in blocks of rows.
    rows = max((1 << 24) // image.shape[1], 1)
    for top in range(0, image.shape[0], rows):
        counts += cv2.calcHist([image[top : top + rows]], [0], None, [levels], [0, levels]).ravel()
    return counts


def histogram_256(image: Image) -> NDArray[np.float64]:
    """Count the pixels at each of 256 grey levels; 256 levels of a 16-bit image share one."""
    return histogram(image if image.dtype == np.uint8 else (image >> 8).astype(np.uint8))


def levels_at(image: Image, low: float, high: float) -> tuple[int, int]:
    """Return the grey levels below which `low` and `high` percent of the pixels lie."""
    share = np.cumsum(histogram(image)) * (100.0 / image.size)
    # Sums of shares end a few ulp below 100; a percentile of 100 still means the brightest pixel.
    found = np.searchsorted(share, [min(p, 100.0 - 1e-9) for p in (low, high)], side="right")
    return int(found[0]), int(found[1])


def range_used(image: Image) -> float:
    """Return the share of the full range, 0 to 1, between a gray image's darkest and brightest pixel."""
    darkest, brightest, _, _ = cv2.minMaxLoc(image)
    return (brightest - darkest) / full_scale(image)


def apply_table(image: Image, table: NDArray[np.float64]) -> Image:
    """Replace each level by its entry in a table, rounded and clipped to the image's range.

    Parameters
    ----------
    image
        Gray, ``uint8`` or ``uint16``.
    table
        (256,) or (65536,) ``float64``, in levels of the image's dtype.
    """
    rounded = np.clip(np.rint(table), 0, full_scale(image)).astype(image.dtype)
    return cv2.LUT(image, rounded)


def stretched(image: Image, low: float, high: float) -> Image:
    """Map the levels at two percentiles linearly to black and white; what lies outside is clipped.

    A flat image has nothing to stretch and comes back as it is.
    """
    black, white = levels_at(image, low, high)
    if white <= black:
        return image
    scale = full_scale(image)
    return apply_table(image, (np.arange(scale + 1.0) - black) * (scale / (white - black)))


def equalized(image: Image) -> Image:
    """Global histogram equalisation by the definition of ``cv2.equalizeHist``, at 8 or 16 bits.

    A flat image comes back as it is.
    """
    if image.dtype == np.uint8:
        return cv2.equalizeHist(image)
    counts = histogram(image)
    darkest = int(np.flatnonzero(counts)[0])
    rest = image.size - counts[darkest]
    if rest == 0:
        return image
    counts[darkest] = 0
    return apply_table(image, np.cumsum(counts) * (full_scale(image) / rest))


def bilateral(image: Image, d: int, sigma: float) -> Image:
    """Bilateral filter with one sigma for colour and space.

    Parameters
    ----------
    image
        Gray, ``uint8`` or ``uint16``.
    d
        Diameter of the neighbourhood in pixels.
    sigma
        In grey levels of 0 to 255 and in pixels. For 16 bits the filter runs in ``float32`` with the sigma for colour
        scaled to the range, since OpenCV's takes no 16-bit image.
    """
    if image.dtype == np.uint8:
        return cv2.bilateralFilter(image, d, sigma, sigma)
    smooth = cv2.bilateralFilter(image.astype(np.float32), d, sigma * _STEP, sigma)
    return _to_16_bits(smooth)


def convolved(image: Image, kernel: NDArray[np.float64]) -> Image:
    """Filter with a small kernel, rounded and saturated as ``cv2.filter2D`` does.

    For 16 bits the sum is taken in ``float32``, which holds it exactly enough and is five times faster.
    """
    if image.dtype == np.uint8:
        return cv2.filter2D(image, -1, kernel)
    return _to_16_bits(cv2.filter2D(image.astype(np.float32), -1, kernel))


def clahe(image: Image, clip_limit: float, tiles: int) -> Image:
    """Contrast limited adaptive histogram equalisation with OpenCV's meaning of ``clipLimit``.

    For 8 bits this is ``cv2.createCLAHE``. OpenCV's own 16-bit version counts 65536 bins, where the limit falls below
    one pixel a bin, is floored at one, and so has no effect in the range used here. This one counts 256 bins as for 8
    bits, and interpolates each tile's mapping between them, so that 16-bit tones stay apart.

    Parameters
    ----------
    image
        Gray, ``uint8`` or ``uint16``.
    clip_limit
        OpenCV's ``clipLimit``: a multiple of the mean count of a bin. Not scikit-image's scale (0 to 1).
    tiles
        Tiles along each side.

    References
    ----------
    K. Zuiderveld, "Contrast Limited Adaptive Histogram Equalization", Graphics Gems IV, 1994.
    """
    if image.dtype == np.uint8:
        return cv2.createCLAHE(clip_limit, (tiles, tiles)).apply(image)
    maps, tile_height, tile_width = _tile_maps((image >> 8).astype(np.uint8), clip_limit, tiles)
    rows = _cells(image.shape[0], tile_height, tiles)
    columns = _cells(image.shape[1], tile_width, tiles)
    steps = np.diff(maps, axis=2, append=maps[:, :, -1:])
    out = np.empty_like(image)

    if tiles * tiles <= _MOST_TABLES and image.size >= _TABLE_PAYS_FROM * tiles * tiles:
        parts = np.arange(_STEP, dtype=np.float32) / _STEP
        # The last level of all stands alone: 65536 = 255 * 257 + 1.
        between = maps[:, :, :-1, None] + steps[:, :, :-1, None] * parts
        tables = np.concatenate([between.reshape(tiles, tiles, -1), maps[:, :, -1:]], axis=2)
        level, part = image, None
    else:
        level, remainder = np.divmod(image, np.uint16(_STEP))
        level, part = level.astype(np.uint8), remainder.astype(np.float32) / _STEP

    def row_of_cells(row: tuple[slice, int, int, NDArray[np.float32]]) -> None:
        inside_rows, above, below, weight_below = row
        for inside_columns, left, right, weight_right in columns:
            cell = np.ascontiguousarray(level[inside_rows, inside_columns])

            def mapped(i: int, j: int, cell: Image = cell, across: slice = inside_columns) -> NDArray[np.float32]:
                if part is None:
                    return cv2.LUT(cell, tables[i, j])
                values = cv2.LUT(cell, maps[i, j])
                values += cv2.LUT(cell, steps[i, j]) * part[inside_rows, across]
                return values

            top = _between(mapped(above, left), mapped(above, right), weight_right)
            bottom = _between(mapped(below, left), mapped(below, right), weight_right)
            out[inside_rows, inside_columns] = np.rint(_between(top, bottom, weight_below[:, None]))

    spread(row_of_cells, rows)
    return out


def _between(a: NDArray[np.float32], b: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    # Both arguments are temporaries of the caller: reusing them keeps a cell within the cache.
    b -= a
    b *= weight
    a += b
    return a


def _tile_maps(bins: Image, clip_limit: float, tiles: int) -> tuple[NDArray[np.float32], int, int]:
    """Return each tile's mapping, (tiles, tiles, 256) ``float32`` in 16-bit levels, and a tile's height and width."""
    height, width = bins.shape
    if height % tiles or width % tiles:
        # OpenCV extends both sides as soon as one does not divide, by a whole tile count where it does.
        more = [tiles - side % tiles for side in (height, width)]
        bins = cv2.copyMakeBorder(bins, 0, more[0], 0, more[1], cv2.BORDER_REFLECT_101)
    tile_height, tile_width = bins.shape[0] // tiles, bins.shape[1] // tiles
    area = tile_height * tile_width
    split = bins.reshape(tiles, tile_height, tiles, tile_width).swapaxes(1, 2)
    counts = np.stack([histogram(np.ascontiguousarray(tile)) for row in split for tile in row]).astype(np.int64)
    limit = max(int(clip_limit * area / BINS), 1)
    excess = np.maximum(counts - limit, 0).sum(axis=1)
    counts = np.minimum(counts, limit) + (excess // BINS)[:, None]
    for tile, left_over in zip(counts, excess % BINS, strict=True):
        if left_over:
            tile[:: max(BINS // left_over, 1)][:left_over] += 1
    maps = np.cumsum(counts, axis=1) * (65535.0 / area)
    return maps.astype(np.float32).reshape(tiles, tiles, BINS), tile_height, tile_width


def _cells(length: int, tile: int, tiles: int) -> list[tuple[slice, int, int, NDArray[np.float32]]]:
    """Cut one side where the tiles that a pixel lies between change.

    Returns, for each piece, its pixels, the tile before, the tile after, and the weight of the tile after.
    """
    position = np.arange(length, dtype=np.float32) / np.float32(tile) - np.float32(0.5)
    before = np.floor(position).astype(np.int64)
    weight = (position - before).astype(np.float32)
    ends = np.flatnonzero(np.diff(before, append=before[-1] + 1)) + 1
    pieces = []
    start = 0
    for end in ends:
        first = int(before[start])
        inside = slice(start, int(end))
        pieces.append((inside, max(first, 0), min(first + 1, tiles - 1), weight[inside]))
        start = int(end)
    return pieces


def _to_16_bits(image: NDArray[np.float32]) -> Image:
    # Adding nothing converts with rounding and saturation in one pass.
    return cv2.add(image, 0.0, dtype=cv2.CV_16U)
