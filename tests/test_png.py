import struct
import zlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from isal import isal_zlib

from xray_core import png
from xray_core.decode import decode
from xray_core.errors import FileError
from xray_core.phantom import chest_phantom

# isort: split
import cv2

FILM = (chest_phantom((180, 210), seed=4).image >> 8).astype(np.uint8)
SIDES = st.integers(1, 40)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def paeth(left, up, corner):
    near = left.astype(int) + up - corner
    distances = [abs(near - side.astype(int)) for side in (left, up, corner)]
    return np.select(
        [(distances[0] <= distances[1]) & (distances[0] <= distances[2]), distances[1] <= distances[2]],
        [left, up],
        corner,
    )


def filtered(pixels, filters):
    """Rows of a PNG by the definition (PNG 1.2, 6), each with its own filter."""
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    height = len(pixels)
    stored = np.ascontiguousarray(pixels.astype(">u2") if pixels.dtype == np.uint16 else pixels)
    values = stored.view(np.uint8).reshape(height, -1)
    step = values.shape[1] // pixels.shape[1]
    left = np.pad(values, ((0, 0), (step, 0)))[:, : values.shape[1]]
    up = np.pad(values, ((1, 0), (0, 0)))[:height]
    corner = np.pad(values, ((1, 0), (step, 0)))[:height, : values.shape[1]]
    average = ((left.astype(int) + up) // 2).astype(np.uint8)
    guesses = (np.zeros_like(values), left, up, average, paeth(left, up, corner).astype(np.uint8))
    rows = [np.append(np.uint8(kind), values[row] - guesses[kind][row]) for row, kind in enumerate(filters)]
    return np.concatenate(rows).tobytes()


def written(pixels, filters, *, between=(), parts=1, level=6):
    colour = {1: 0, 3: 2, 4: 6}[pixels.shape[2] if pixels.ndim == 3 else 1]
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8 * pixels.dtype.itemsize, colour, 0, 0, 0)
    packed = zlib.compress(filtered(pixels, filters), level)
    edges = np.linspace(0, len(packed), parts + 1).astype(int)
    content = b"".join(chunk(b"IDAT", packed[a:b]) for a, b in pairwise(edges))
    return png.SIGNATURE + chunk(b"IHDR", head) + b"".join(between) + content + chunk(b"IEND", b"")


def opencv(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)


def same(one, other):
    if one is None or other is None:
        return one is other
    return one.dtype == other.dtype and one.shape == other.shape and (one == other).all()


def read(data):
    return png.decoded(data, png.chunks(data))


@given(st.data(), SIDES, SIDES, st.sampled_from([np.uint8, np.uint16]), st.sampled_from([0, 1, 6]), st.integers(1, 4))
def test_gray_pictures_of_any_filters_are_what_opencv_gives(data, height, width, dtype, level, parts):
    pixels = data.draw(arrays(dtype, (height, width)))
    filters = data.draw(st.lists(st.integers(0, 4), min_size=height, max_size=height))
    file = written(pixels, filters, level=level, parts=parts)
    assert same(read(file), opencv(file))
    assert same(read(file), pixels)


@given(st.data(), SIDES, SIDES, st.sampled_from([np.uint8, np.uint16]), st.sampled_from([3, 4]))
@settings(max_examples=40)
def test_colour_pictures_are_what_opencv_gives(data, height, width, dtype, channels):
    pixels = data.draw(arrays(dtype, (height, width, channels)))
    filters = data.draw(st.lists(st.integers(0, 4), min_size=height, max_size=height))
    file = written(pixels, filters)
    assert same(read(file), opencv(file))


@pytest.mark.parametrize("filters", [[1] * 180, [2] * 180, [0, 1, 2] * 60, [4] * 180])
def test_opencv_does_not_unpack_what_was_unpacked_already(filters, monkeypatch):
    file = written(FILM, filters)
    asked = []
    monkeypatch.setattr(png, "_by_opencv", lambda data: asked.append(len(data)) or opencv(data))
    assert same(read(file), FILM)
    # Paeth is left to it, of rows that are stored as they are.
    assert asked == ([] if max(filters) < 3 else [pytest.approx(FILM.size + 300, abs=200)])


@given(st.data(), SIDES, SIDES, st.sampled_from([np.uint8, np.uint16]))
def test_what_is_written_is_read_by_opencv_and_by_us(data, height, width, dtype):
    pixels = data.draw(arrays(dtype, (height, width)))
    file = png.encoded(pixels)
    assert same(opencv(file), pixels)
    assert same(read(file), pixels)
    assert png.encoded(pixels) == file


def test_a_stream_begins_with_a_stored_byte_that_the_rest_repeats():
    """Else ISA-L may pack the third byte in another way in another process: it takes an address for a part of it."""
    file = png.encoded(np.full((40, 40), 2, np.uint8))
    packed = file[file.index(b"IDAT") + 4 : -16]
    assert packed[2:8] == b"\0" + struct.pack("<HHB", 1, 0xFFFE, 2)
    assert len(zlib.decompress(packed)) == 40 * 41
    with pytest.raises(zlib.error, match="distance too far back"):
        zlib.decompress(packed[8:], -zlib.MAX_WBITS)


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_filters_the_better_one_is_taken(turned):
    lines = np.tile(np.random.default_rng(1).integers(0, 256, (1, 300), np.uint8), (300, 1))
    pixels = np.ascontiguousarray(lines.T if turned else lines)
    assert len(png.encoded(pixels)) < pixels.size / 20
    assert same(opencv(png.encoded(pixels)), pixels)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bits", [8, 16])
def test_films_are_at_most_a_tenth_larger_than_by_opencv(seed, bits):
    film = chest_phantom((512, 480), seed=seed, photons=500).image
    film = film if bits == 16 else (film >> 8).astype(np.uint8)
    assert len(png.encoded(film)) <= 1.1 * len(cv2.imencode(".png", film)[1])


@given(st.integers(0, 10**6), st.integers(0, 7))
@settings(max_examples=150)
def test_a_flipped_bit_is_judged_as_by_opencv(place, bit):
    file = bytearray(written(FILM[:60, :60], [1, 2, 0, 4, 3] * 12, parts=3))
    file[8 + place % (len(file) - 8)] ^= 1 << bit
    try:
        parts = png.chunks(bytes(file))
    except FileError:
        return
    if struct.unpack_from(">II", file, 16) == (60, 60):  # other sizes are checked against the limits before
        assert same(png.decoded(bytes(file), parts), opencv(bytes(file)))


@pytest.mark.parametrize("part", [0.2, 0.5, 0.9, 0.99])
def test_cut_short_is_refused(part):
    file = written(FILM, [1] * 180)
    with pytest.raises(FileError):
        decode(file[: int(len(file) * part)], "film.png")


def damaged(packed):
    head = struct.pack(">IIBBBBB", FILM.shape[1], FILM.shape[0], 8, 0, 0, 0, 0)
    return png.SIGNATURE + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "harm",
    [
        lambda packed, rows: packed[:-20],  # cut short within its chunk
        lambda packed, rows: packed[:-4] + b"\0\0\0\0",  # another checksum
        lambda packed, rows: packed[:-4],  # none
        lambda packed, rows: zlib.compress(rows[: len(rows) // 2]),  # too few rows
        lambda packed, rows: zlib.compress(rows * 3),  # too many
        lambda packed, rows: packed + b"more",
        lambda packed, rows: b"",
        lambda packed, rows: b"\x18\x19" + packed[2:],  # a window that is too small
        lambda packed, rows: zlib.compress(b"\x07" + rows[1:]),  # no filter has this number
    ],
)
def test_streams_with_any_fault_are_judged_by_opencv(harm):
    rows = filtered(FILM, [1] * 180)
    file = damaged(harm(zlib.compress(rows), rows))
    assert same(read(file), opencv(file))


def test_a_bomb_is_not_unpacked_beyond_what_its_header_says(monkeypatch):
    asked, made = [], isal_zlib.decompressobj

    class Unpacker:
        def __init__(self):
            self.inner = made()

        def decompress(self, data, most):
            asked.append(most)
            return self.inner.decompress(data, most)

        def __getattr__(self, name):
            return getattr(self.inner, name)

    monkeypatch.setattr(png.isal_zlib, "decompressobj", Unpacker)
    file = damaged(zlib.compress(bytes(50_000_000)))
    read(file)
    assert asked == [FILM.size + len(FILM), 1]


@pytest.mark.parametrize(
    "between",
    [
        [chunk(b"tEXt", b"Comment\0words"), chunk(b"tIME", bytes([7, 230, 1, 1, 1, 1, 1]))],
        [chunk(b"gAMA", struct.pack(">I", 45455)), chunk(b"sRGB", b"\0"), chunk(b"pHYs", struct.pack(">IIB", 3, 3, 1))],
        [chunk(b"gAMA", struct.pack(">I", 100000))],
        [chunk(b"tRNS", b"\0\x09")],
        [chunk(b"bKGD", b"\0\x09")],
        [chunk(b"sBIT", b"\x05")],
        [chunk(b"eXIf", b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0")],
        [
            chunk(b"acTL", struct.pack(">II", 1, 0)),
            chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 210, 180, 0, 0, 1, 1, 0, 0)),
        ],
        [chunk(b"PLTE", bytes(768))],
    ],
)
def test_other_chunks_mean_what_they_mean_to_opencv(between):
    for filters in ([1] * 180, [4] * 180):
        file = written(FILM, filters, between=between)
        assert same(read(file), opencv(file))


def test_a_palette_interlaced_and_few_bits_are_opencvs():
    ok, data = cv2.imencode(".png", (FILM > 99).astype(np.uint8) * 255, [cv2.IMWRITE_PNG_BILEVEL, 1])
    assert ok
    assert same(read(data.tobytes()), opencv(data.tobytes()))
