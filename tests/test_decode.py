"""Bytes to films: every format by content, declared sizes before decoding, and nothing but a film or a reason."""

from __future__ import annotations

import bz2
import hashlib
import io
import struct
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from xray_core import arrays
from xray_core.decode import Limits, container_of, decode, open_pages
from xray_core.errors import FileError
from xray_core.image import Film, Image

# isort: split
import cv2
import PIL.Image
import tifffile

# Damaged public files are not ours to hand on: they are tested where a copy lies beside the checkout.
DATA = Path(__file__).parents[1].parent / "shared" / "data"
BAD = DATA / "bad"

# Pillow's names of the EXIF orientations that tag 0x0112 asks for, and what undoes each in NumPy.
UPRIGHT: dict[int, Callable[[Image], Image]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
    8: np.rot90,
}


def noise(*shape: int, dtype: type = np.uint8, seed: int = 3) -> Image:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def smooth(height: int = 48, width: int = 64) -> Image:
    y, x = np.mgrid[0:height, 0:width]
    return (40 + 120 * x / width + 80 * y / height).astype(np.uint8)


def pillow(image: PIL.Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def raw_png(width: int, height: int, bits: int, colour: int, rows: bytes, *chunks: bytes) -> bytes:
    """A PNG written by hand, for what no library here writes."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def deep_png(pixels: Image, colour: int) -> bytes:
    height, width = pixels.shape[:2]
    return raw_png(width, height, 16, colour, b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels))


def packed_png(pixels: Image, bits: int, colour: int = 0, *chunks: bytes) -> bytes:
    """A PNG of 1, 2, 4 or 8 bits a pixel; the values are those stored."""
    height, width = pixels.shape
    places = [((pixels >> place) & 1) for place in range(bits - 1, -1, -1)]
    rows = np.packbits(np.dstack(places).reshape(height, -1), axis=1)
    return raw_png(width, height, bits, colour, b"".join(b"\0" + row.tobytes() for row in rows), *chunks)


def tiff(pixels: Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


def patched(data: bytes, **tags: int) -> bytes:
    """A TIFF with other values in tags that it has."""
    out = bytearray(data)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        for name, value in tags.items():
            tag = file.pages[0].tags[name]
            struct.pack_into(file.byteorder + {3: "H", 4: "I", 16: "Q"}[tag.dtype], out, tag.valueoffset, value)
    return bytes(out)


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npy_header(shape: str, descr: str = "'|u1'", body: bytes = bytes(64)) -> bytes:
    """An NPY file whose header says what it is told to."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
    text = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + body


def npz(*, packing: int = zipfile.ZIP_DEFLATED, **members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", packing) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_npy", ".npy"), content)
    return stream.getvalue()


def refusal(data: bytes, limits: Limits | None = None) -> FileError:
    """The error that decoding gives: in words, on one line, ours."""
    with pytest.raises(FileError) as caught:
        decode(data, "patient name.png", limits)
    return worded(caught.value)


def worded(error: FileError) -> FileError:
    words = str(error)
    assert 8 <= len(words) <= 200
    assert "\n" not in words
    assert "\r" not in words
    for foreign in ("patient name", "Error", "cv2", "OpenCV", "libpng", "tifffile", "Traceback", "Exception", " at 0x"):
        assert foreign not in words
    return error


def keeps_the_contract(film: Film, data: bytes) -> None:
    pixels = film.pixels
    assert pixels.dtype in (np.uint8, np.uint16)
    assert pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8)
    assert pixels.size > 0
    assert pixels.flags.c_contiguous
    assert not pixels.flags.writeable
    assert film.size == (pixels.shape[1], pixels.shape[0])
    assert film.sha256 == hashlib.sha256(data).hexdigest()
    assert 1 <= film.bits <= 16
    assert (film.bits > 8) == (pixels.dtype == np.uint16)
    assert film.container in ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "NPZ", "NPY", "DICOM")
    assert 1 <= film.page <= film.pages
    assert all(note.endswith(".") and len(note) < 160 for note in film.notes)
    assert film.photometric.removesuffix("_422") in ("MONOCHROME1", "MONOCHROME2", "RGB", "PALETTE COLOR", "YBR_FULL")


def film_or_error(data: bytes) -> Film | FileError:
    """Decode anything; what comes is a film that keeps the contract or an error in our words, soon."""
    started = time.perf_counter()
    try:
        film = decode(data, "any.bin", Limits(pixels=4_000_000))
    except FileError as error:
        return worded(error)
    finally:
        assert time.perf_counter() - started < 5
    keeps_the_contract(film, data)
    return film


def as_imread(data: bytes, tmp_path: Path, suffix: str) -> Image:
    path = tmp_path / f"film{suffix}"
    path.write_bytes(data)
    return cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def in_colour(pixels: Image) -> Image:
    return np.dstack([pixels] * 3) if pixels.ndim == 2 else pixels


# --- PNG --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_gray_png_of_few_bits_is_scaled_by_its_depth_not_its_content(bits: int) -> None:
    stored = noise(9, 13) >> (8 - bits)
    stored[stored == 2**bits - 1] = 0 if bits > 1 else 1  # the brightest value never occurs, and nothing is stretched
    data = packed_png(stored, bits)
    film = decode(data, "film.png")
    keeps_the_contract(film, data)
    assert film.bits == bits
    assert film.photometric == "MONOCHROME2"
    assert np.array_equal(film.pixels, stored * (255 // (2**bits - 1)))


def test_gray_png_of_16_bits_keeps_every_value() -> None:
    stored = noise(17, 23, dtype=np.uint16)
    for data in (deep_png(stored, 0), cv2.imencode(".png", stored)[1].tobytes()):
        film = decode(data, "film.png")
        keeps_the_contract(film, data)
        assert film.pixels.dtype == np.uint16
        assert film.bits == 16
        assert np.array_equal(film.pixels, stored)


def test_values_below_256_in_16_bits_are_not_stretched() -> None:
    stored = noise(8, 9).astype(np.uint16)
    assert np.array_equal(decode(deep_png(stored, 0), "a").pixels, stored)


@pytest.mark.parametrize(("channels", "colour"), [(3, 2), (4, 6)], ids=["RGB", "RGBA"])
def test_colour_png_of_16_bits_becomes_gray_of_16_bits(channels: int, colour: int) -> None:
    stored = noise(11, 7, channels, dtype=np.uint16)
    film = decode(deep_png(stored, colour), "film.png")
    weighted = stored[:, :, :3].astype(float) @ [0.299, 0.587, 0.114]
    assert film.pixels.dtype == np.uint16
    assert np.abs(film.pixels - weighted).max() <= 2
    assert film.bits == 16


def test_gray_png_with_alpha_loses_the_alpha() -> None:
    shallow, deep = noise(6, 8, 2), noise(6, 8, 2, dtype=np.uint16)
    assert np.array_equal(decode(pillow(PIL.Image.fromarray(shallow), "PNG"), "a").pixels, shallow[:, :, 0])
    assert np.array_equal(decode(deep_png(deep, 4), "a").pixels, deep[:, :, 0])


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_png_shows_its_colours(bits: int) -> None:
    colours = noise(2**bits, 3)
    stored = noise(10, 12) >> (8 - bits)
    data = packed_png(stored, bits, 3, chunk(b"PLTE", colours.tobytes()))
    film = decode(data, "film.png")
    keeps_the_contract(film, data)
    assert film.photometric == "PALETTE COLOR"
    assert np.array_equal(film.pixels, colours[stored])


def test_transparent_pixels_show_what_is_stored_under_them() -> None:
    stored = noise(8, 8, 4)
    stored[:, :, 3] = 0
    assert np.array_equal(decode(pillow(PIL.Image.fromarray(stored), "PNG"), "a").pixels, stored[:, :, :3])
    gray = noise(8, 8)
    data = packed_png(gray, 8, 0, chunk(b"tRNS", struct.pack(">H", int(gray[0, 0]))))
    assert np.array_equal(decode(data, "a").pixels, gray)


# --- as cv2.imread ----------------------------------------------------------------------------------------------------


def pictures() -> dict[str, bytes]:
    gray, rgb, rgba = noise(31, 45), noise(31, 45, 3), noise(31, 45, 4)
    made = {
        "gray.png": pillow(PIL.Image.fromarray(gray), "PNG"),
        "rgb.png": pillow(PIL.Image.fromarray(rgb), "PNG"),
        "rgba.png": pillow(PIL.Image.fromarray(rgba), "PNG"),
        "la.png": pillow(PIL.Image.fromarray(rgba[:, :, :2].copy()), "PNG"),
        "palette.png": pillow(PIL.Image.fromarray(rgb).quantize(64), "PNG"),
        "bilevel.png": pillow(PIL.Image.fromarray(gray > 99), "PNG"),
        "gray.jpg": pillow(PIL.Image.fromarray(gray), "JPEG"),
        "rgb.jpg": pillow(PIL.Image.fromarray(rgb), "JPEG", quality=90),
        "progressive.jpg": pillow(PIL.Image.fromarray(rgb), "JPEG", progressive=True),
        "cmyk.jpg": pillow(PIL.Image.fromarray(rgba, "CMYK"), "JPEG"),
    }
    for number in UPRIGHT:
        exif = PIL.Image.Exif()
        exif[0x0112] = number
        made[f"exif{number}.jpg"] = pillow(PIL.Image.fromarray(smooth()), "JPEG", exif=exif)
        made[f"exif{number}.png"] = pillow(PIL.Image.fromarray(rgb), "PNG", exif=exif)
    return made


@pytest.mark.parametrize("name", pictures())
def test_8_bits_are_what_imread_gives_in_colour(name: str, tmp_path: Path) -> None:
    data = pictures()[name]
    film = decode(data, name)
    keeps_the_contract(film, data)
    assert np.array_equal(in_colour(film.pixels), as_imread(data, tmp_path, Path(name).suffix))


@pytest.mark.parametrize("number", UPRIGHT)
def test_exif_orientation_is_applied(number: int) -> None:
    film = decode(pictures()[f"exif{number}.jpg"], "film.jpg")
    expected = UPRIGHT[number](smooth())
    assert film.pixels.shape == expected.shape
    assert np.abs(film.pixels.astype(int) - expected).max() <= 12


def test_gray_jpeg_stays_gray_and_colour_stays_colour() -> None:
    assert decode(pictures()["gray.jpg"], "a").pixels.ndim == 2
    assert decode(pictures()["gray.jpg"], "a").photometric == "MONOCHROME2"
    assert decode(pictures()["rgb.jpg"], "a").pixels.ndim == 3
    assert decode(pictures()["rgb.jpg"], "a").photometric == "RGB"


def test_the_suffix_says_nothing() -> None:
    for data in (pictures()["gray.jpg"], pictures()["gray.png"], tiff(noise(5, 6)), npy(noise(5, 6))):
        films = [decode(data, name) for name in ("film.png", "film.jpg", "film.tif", "film.npz", "film", "film.exe")]
        assert len({film.container for film in films}) == 1
        assert len({film.pixels.tobytes() for film in films}) == 1
        assert films[-1].name == "film.exe"


# --- BMP and WebP -----------------------------------------------------------------------------------------------------


def webp(image: PIL.Image.Image, **options: Any) -> bytes:
    return pillow(image, "WEBP", lossless=True, exact=True, **options)


def test_bmp_and_webp_are_read_by_content(tmp_path: Path) -> None:
    gray, rgb, rgba = noise(13, 18), noise(13, 18, 3), noise(13, 18, 4)
    for name, pixels, data in (
        ("BMP", gray, pillow(PIL.Image.fromarray(gray), "BMP")),
        ("BMP", rgb, pillow(PIL.Image.fromarray(rgb), "BMP")),
        ("BMP", np.where(gray > 99, 255, 0), pillow(PIL.Image.fromarray(gray > 99), "BMP")),
        ("WEBP", rgb, webp(PIL.Image.fromarray(rgb))),
        ("WEBP", rgba[:, :, :3], webp(PIL.Image.fromarray(rgba))),
    ):
        film = decode(data, "film.png")
        keeps_the_contract(film, data)
        assert film.container == name
        assert np.array_equal(in_colour(film.pixels), in_colour(pixels))
        assert refusal(data, Limits(pixels=13 * 18 - 1)).code == "PIXEL_LIMIT"
    assert "Transparency" in decode(webp(PIL.Image.fromarray(rgba)), "a").remarks


@pytest.mark.parametrize("number", UPRIGHT)
def test_exif_orientation_of_a_webp_is_applied(number: int) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = number
    rgb = noise(13, 18, 3)
    film = decode(webp(PIL.Image.fromarray(rgb), exif=exif), "film.webp")
    assert np.array_equal(film.pixels, UPRIGHT[number](rgb) if number != 5 else rgb.swapaxes(0, 1))


def test_a_moving_webp_is_refused() -> None:
    frames = [PIL.Image.fromarray(noise(9, 9, 3, seed=seed)) for seed in range(2)]
    data = pillow(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    assert "moving" in str(refusal(data))


def test_declared_sizes_of_bmp_and_webp_are_checked_first() -> None:
    bmp = bytearray(pillow(PIL.Image.fromarray(noise(16, 16)), "BMP"))
    struct.pack_into("<ii", bmp, 18, 60000, 60000)
    large = bytearray(webp(PIL.Image.fromarray(noise(16, 16, 4))))
    bits = 16382 | 16382 << 14 | int.from_bytes(large[21:25], "little") & 0xF << 28
    large[21:25] = bits.to_bytes(4, "little")
    for data in (bmp, large):
        started = time.perf_counter()
        assert refusal(bytes(data)).code in ("PIXEL_LIMIT", "DECODE")
        assert time.perf_counter() - started < 1


def test_damage_in_the_scan_of_a_jpeg_is_noticed() -> None:
    data = bytearray(pillow(PIL.Image.fromarray(smooth(200, 200)), "JPEG"))
    middle = data.index(b"\xff\xda") + 400
    data[middle : middle + 4] = b"\xff\xd9\xff\xd9"
    assert refusal(bytes(data)).code == "DECODE"


def test_cmyk_is_said_to_be_converted() -> None:
    assert "CMYK" in decode(pictures()["cmyk.jpg"], "a").remarks


# --- TIFF -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"bigtiff": True, "byteorder": ">"},
        {"tile": (16, 32)},
        {"tile": (16, 16), "compression": "zlib", "predictor": True},
        {"compression": "lzw"},
        {"compression": "zlib", "rowsperstrip": 7},
        {"compression": "packbits"},
    ],
    ids=str,
)
def test_gray_tiff_keeps_every_value(dtype: type, options: dict[str, Any]) -> None:
    stored = noise(37, 53, dtype=dtype)
    data = tiff(stored, photometric="minisblack", **options)
    film = decode(data, "film.tif")
    keeps_the_contract(film, data)
    assert film.container == "TIFF"
    assert film.photometric == "MONOCHROME2"
    assert film.pixels.dtype == dtype
    assert np.array_equal(film.pixels, stored)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_is_zero_is_turned_over(dtype: type) -> None:
    stored = noise(12, 15, dtype=dtype)
    film = decode(tiff(stored, photometric="miniswhite"), "film.tif")
    assert film.photometric == "MONOCHROME1"
    assert np.array_equal(film.pixels, np.iinfo(dtype).max - stored)


@pytest.mark.parametrize(("photometric", "one"), [("minisblack", 255), ("miniswhite", 0)])
def test_bilevel_tiff(photometric: str, one: int) -> None:
    stored = noise(10, 21) > 127
    film = decode(tiff(stored, photometric=photometric), "film.tif")
    assert film.bits == 1
    assert np.array_equal(film.pixels, np.where(stored, one, 255 - one))


def test_bilevel_fax_tiff() -> None:
    stored = noise(16, 24) > 127
    film = decode(pillow(PIL.Image.fromarray(stored), "TIFF", compression="group4"), "film.tif")
    assert np.array_equal(film.pixels, np.where(stored, 255, 0))


@pytest.mark.parametrize("bits", [9, 10, 12, 14])
def test_deep_tiff_of_fewer_bits_fills_the_range_by_its_declared_depth(bits: int) -> None:
    stored = np.linspace(0, 2**bits - 1, 16 * 24).astype(np.uint16).reshape(16, 24)
    shifts = np.dstack([(stored >> place) & 1 for place in range(bits - 1, -1, -1)])
    rows = np.packbits(shifts.reshape(16, -1), axis=1).tobytes()
    data = patched(tiff(np.zeros((16, 24), np.uint16)), BitsPerSample=bits, StripByteCounts=len(rows))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        start = file.pages[0].dataoffsets[0]
    data = data[:start] + rows
    film = decode(data, "film.tif")
    keeps_the_contract(film, data)
    assert film.bits == bits
    assert np.array_equal(film.pixels, np.rint(stored * (65535 / (2**bits - 1))))
    assert film.pixels.max() == 65535


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("channels", [3, 4])
def test_colour_tiff(planar: str, channels: int) -> None:
    stored = noise(14, 19, channels)
    laid = stored if planar == "contig" else np.ascontiguousarray(np.moveaxis(stored, -1, 0))
    alpha = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    film = decode(tiff(laid, photometric="rgb", planarconfig=planar, metadata=None, **alpha), "film.tif")
    assert film.photometric == "RGB"
    assert film.notes == (("A further channel (transparency) is dropped.",) if channels == 4 else ())
    assert np.array_equal(film.pixels, stored[:, :, :3])


def test_deep_colour_tiff_becomes_gray() -> None:
    stored = noise(14, 19, 3, dtype=np.uint16)
    film = decode(tiff(stored, photometric="rgb"), "film.tif")
    assert film.pixels.dtype == np.uint16
    assert np.abs(film.pixels - stored.astype(float) @ [0.299, 0.587, 0.114]).max() <= 2


def test_palette_tiff() -> None:
    stored, colours = noise(9, 9), noise(3, 256)
    film = decode(tiff(stored, photometric="palette", colormap=colours.astype(np.uint16) * 257), "film.tif")
    assert film.photometric == "PALETTE COLOR"
    assert np.array_equal(film.pixels, np.moveaxis(colours[:, stored], 0, -1))


def test_jpeg_in_tiff() -> None:
    picture = np.dstack([smooth(), smooth()[::-1], smooth()[:, ::-1]])
    film = decode(pillow(PIL.Image.fromarray(picture), "TIFF", compression="jpeg"), "film.tif")
    assert film.photometric == "RGB"
    assert np.abs(film.pixels.astype(int) - picture).max() < 30


def test_brightness_and_chroma_are_not_taken_for_colour() -> None:
    assert "YCBCR" in str(refusal(tiff(noise(16, 16, 3), photometric="ycbcr")))


@pytest.mark.parametrize("number", UPRIGHT)
def test_tiff_orientation_is_applied(number: int) -> None:
    stored = noise(13, 17)
    data = tiff(stored, extratags=[(274, 3, 1, number, True)])
    assert np.array_equal(decode(data, "film.tif").pixels, UPRIGHT[number](stored))


def test_small_copies_in_a_tiff_are_passed_over() -> None:
    stream, stored = io.BytesIO(), noise(32, 32)
    with tifffile.TiffWriter(stream) as writer:
        writer.write(stored)
        writer.write(stored[::2, ::2], subfiletype=1)
    assert np.array_equal(decode(stream.getvalue(), "film.tif").pixels, stored)


def test_other_tiffs_are_refused_with_words() -> None:
    assert "complex" in str(refusal(tiff(np.ones((8, 8), np.complex64))))
    assert "channels" in str(refusal(tiff(noise(8, 8, 5), photometric="minisblack", planarconfig="contig")))
    assert "SEPARATED" in str(refusal(tiff(noise(8, 8, 4), photometric="separated")))
    assert "colour TIFF of 32 bits" in str(refusal(tiff(np.ones((8, 8, 3), np.float32), photometric="rgb")))
    assert "compression 34925" in str(refusal(tiff(noise(8, 8), compression="lzma")))


@pytest.mark.parametrize("deep", [False, True])
def test_pages_of_a_tiff_are_read_one_by_one(deep: bool) -> None:
    sizes = [(16, 20), (31, 7), (5, 5)]
    stored = [noise(*size, dtype=np.uint16 if deep else np.uint8, seed=number) for number, size in enumerate(sizes)]
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        for picture in stored:
            writer.write(picture, photometric="minisblack")
    data = stream.getvalue()
    assert np.array_equal(decode(data, "a").pixels, stored[0])
    opened = open_pages(data, "a")
    assert opened.count == 3
    for number in (3, 1, 2, 2):
        film = opened.film(number)
        keeps_the_contract(film, data)
        assert np.array_equal(film.pixels, stored[number - 1])
        assert (film.page, film.pages) == (number, 3)
        assert film.remarks == f"Page {number} of 3."
        assert np.array_equal(decode(data, "a", page=number).pixels, film.pixels)
    for number in (0, 4, -1):
        with pytest.raises(FileError, match="pages 1 to 3"):
            opened.film(number)
    assert refusal(data, Limits(pages=2)).code == "PAGE_LIMIT"
    with pytest.raises(FileError, match="one page"):
        decode(npy(noise(4, 4)), "a", page=2)


def test_a_page_over_the_limit_does_not_hide_the_others() -> None:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        for size in (8, 40, 9):
            writer.write(noise(size, size), photometric="minisblack")
    opened = open_pages(stream.getvalue(), "a", Limits(pixels=100))
    assert [opened.film(1).size, opened.film(3).size] == [(8, 8), (9, 9)]
    with pytest.raises(FileError, match="the limit is 100"):
        opened.film(2)


def test_four_planes_without_a_word_are_pages_and_three_are_colour() -> None:
    stored = noise(4, 16, 18)
    rgb = {"photometric": "rgb", "planarconfig": "separate"}
    data = tiff(stored, extrasamples=["unassalpha"], **rgb)
    opened = open_pages(data, "stack.tif")
    assert opened.count == 4
    for number in range(4):
        film = opened.film(number + 1)
        keeps_the_contract(film, data)
        assert np.array_equal(film.pixels, stored[number])
    assert "Four planes" in opened.film().remarks
    film = decode(tiff(stored[:3], **rgb), "planes.tif")
    assert np.array_equal(film.pixels, np.moveaxis(stored[:3], 0, -1))
    assert film.remarks == "Three planes: read as red, green and blue."


def test_a_stack_that_lists_its_first_page_alone_is_refused() -> None:
    data = tiff(noise(5, 16, 16), photometric="minisblack", truncate=True)
    assert "first page alone" in str(refusal(data))


@pytest.mark.parametrize(
    ("array", "expected", "said"),
    [
        (np.array([[-128, 0, 127]], np.int8), [[0, 128, 255]], "-128 is black, 127 is white"),
        (np.array([[-32768, 0, 32767]], np.int16), [[0, 32768, 65535]], "-32768 is black"),
        (np.array([[0, 2**31, 2**32 - 1]], np.uint32), [[0, 32768, 65535]], "4294967295 is white"),
        (np.array([[-(2**31), 0, 2**31 - 1]], np.int32), [[0, 32768, 65535]], "-2147483648 is black"),
        (np.array([[0, 0.5, 1]], np.float16), [[0, 32768, 65535]], "0 is black, 1 is white"),
        (np.array([[0, 0.25, 0.75]], np.float32), [[0, 16384, 49151]], "0 is black, 1 is white"),
        (np.array([[0, 0.25, 0.75]], np.float64), [[0, 16384, 49151]], "0 is black, 1 is white"),
    ],
    ids=lambda value: getattr(getattr(value, "dtype", None), "name", None),
)
def test_depths_come_to_the_full_range_by_what_is_declared(array: np.ndarray, expected: Any, said: str) -> None:
    files = [npy(array), npz(a_npy=npy(array)), tiff(array, photometric="minisblack")]
    for data in files:
        film = decode(data, "a")
        keeps_the_contract(film, data)
        assert film.pixels.tolist() == expected
        assert said in film.remarks


def test_white_is_zero_is_turned_over_at_any_depth() -> None:
    stored = np.array([[0, 2**32 - 1]], np.uint32)
    assert decode(tiff(stored, photometric="miniswhite"), "a").pixels.tolist() == [[65535, 0]]
    assert decode(tiff(np.float32([[0, 1]]), photometric="miniswhite"), "a").pixels.tolist() == [[65535, 0]]


def test_the_scale_never_follows_the_content() -> None:
    ramp = np.linspace(0.2, 0.8, 64, dtype=np.float32).reshape(8, 8)
    part, whole = decode(npy(ramp[:4].copy()), "a").pixels, decode(npy(ramp), "a").pixels
    assert np.array_equal(part, whole[:4])


def test_values_without_a_rule_are_refused_until_levels_are_given() -> None:
    for array, said in (
        (np.float32([[-0.1, 0.5]]), "from -0.1 to 0.5, not in [0, 1]"),
        (np.float64([[0, 4095]]), "from 0 to 4095"),
        (np.array([[0, 4095]], np.uint32), "a tiny part of 32 bits"),
        (np.array([[-1024, 3071]], np.int64), "a tiny part of 64 bits"),
    ):
        for data in (npy(array), tiff(array) if array.dtype != np.int64 else npz(a_npy=npy(array))):
            error = refusal(data)
            assert error.code == "UNSUPPORTED"
            assert said in str(error)
            assert "--levels" in str(error)
            low, high = float(array.min()), float(array.max())
            film = decode(data, "a", levels=(low, high))
            assert film.pixels.tolist() == [[0, 65535]]
            assert f"{high:g} is white" in film.remarks


def test_levels_apply_to_any_gray_picture_and_clip() -> None:
    twelve = np.array([[0, 1000, 4095, 5000]], np.uint16)
    assert decode(npy(twelve), "a", levels=(1000, 4095)).pixels.tolist() == [[0, 0, 65535, 65535]]
    assert decode(deep_png(twelve, 0), "a", levels=(0, 4095)).pixels.tolist() == [[0, 16004, 65535, 65535]]
    with pytest.raises(FileError, match="gray"):
        decode(npy(noise(4, 4, 3)), "a", levels=(0, 100))


def test_what_is_no_number_is_counted_and_refused() -> None:
    picture = np.full((20, 20), 0.5, np.float32)
    picture[0, :3] = np.nan, np.inf, -np.inf
    for data in (npy(picture), tiff(picture)):
        assert "3 of 400 values are no numbers" in str(refusal(data))
        with pytest.raises(FileError, match="3 of 400"):
            decode(data, "a", levels=(0, 1))


def test_a_jpeg_inside_a_tiff_cannot_be_larger_than_the_tiff_says() -> None:
    data = bytearray(pillow(PIL.Image.fromarray(smooth()), "TIFF", compression="jpeg"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 60000, 60000)
    assert refusal(bytes(data)).code == "DECODE"


def test_packed_parts_of_a_tiff_unpack_to_what_is_declared() -> None:
    bomb = zlib.compress(bytes(200_000_000), 9)
    data = bytearray(tiff(np.zeros((16, 16), np.uint8), compression="zlib"))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        tags = file.pages[0].tags
        struct.pack_into("<I", data, tags["StripByteCounts"].valueoffset, len(bomb))
        struct.pack_into("<I", data, tags["StripOffsets"].valueoffset, len(data))
    tracemalloc.start()
    try:
        refusal(bytes(data) + bomb)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_a_tiff_whose_pages_lead_in_a_circle_ends() -> None:
    data = bytearray(tiff(noise(16, 16)))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        page = file.pages[0]
        following = page.offset + 2 + 12 * len(page.tags)
        struct.pack_into("<I", data, following, page.offset)
    started = time.perf_counter()
    assert refusal(bytes(data)).code in ("DECODE", "PAGE_LIMIT")
    assert time.perf_counter() - started < 2


# --- NPY and NPZ ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_keep_every_value(dtype: str, order: str) -> None:
    stored = noise(11, 16, dtype=np.uint16 if "2" in dtype else np.uint8)
    array = np.array(stored, dtype=dtype, order=order)
    for data, kind in ((npy(array), "NPY"), (npz(image_npy=npy(array)), "NPZ")):
        film = decode(data, "film")
        keeps_the_contract(film, data)
        assert film.container == kind
        assert film.bits == stored.dtype.itemsize * 8
        assert film.pixels.dtype == stored.dtype
        assert np.array_equal(film.pixels, stored)


def test_savez_and_savez_compressed(tmp_path: Path) -> None:
    stored = noise(20, 10, dtype=np.uint16)
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "film.npz", stored)
        assert np.array_equal(decode((tmp_path / "film.npz").read_bytes(), "film.npz").pixels, stored)


def test_a_channel_axis_of_one_is_dropped_and_three_are_colour() -> None:
    assert np.array_equal(decode(npy(noise(5, 6, 1)), "a").pixels, noise(5, 6, 1)[:, :, 0])
    colour = noise(5, 6, 3)
    assert np.array_equal(decode(npz(x_npy=npy(colour)), "a").pixels, colour)
    assert np.array_equal(decode(npy(noise(5, 6, 4)), "a").pixels, noise(5, 6, 4)[:, :, :3])
    deep = decode(npy(noise(5, 6, 3, dtype=np.uint16)), "a")
    assert deep.pixels.shape == (5, 6)
    assert deep.pixels.dtype == np.uint16


def test_labels_beside_the_picture_are_passed_over() -> None:
    stored = noise(8, 9)
    data = npz(image_npy=npy(stored), label_npy=npy(np.array([1, 0, 1])), note_txt=b"words")
    assert np.array_equal(decode(data, "a").pixels, stored)


def test_several_arrays_and_stacks_are_pages() -> None:
    one, stack, colour = noise(8, 9), noise(3, 6, 7, seed=4), noise(2, 5, 4, 3, seed=5)
    data = npz(a_npy=npy(one), meta_npy=npy(np.arange(3)), b_npy=npy(stack), c_npy=npy(colour))
    opened = open_pages(data, "a")
    assert opened.count == 6
    wanted = [one, *stack, *colour]
    for number in (6, 1, 5, 2, 4, 3):
        film = opened.film(number)
        keeps_the_contract(film, data)
        assert np.array_equal(film.pixels, wanted[number - 1])
    assert np.array_equal(decode(npy(stack), "a", page=2).pixels, stack[1])
    assert np.array_equal(decode(npy(noise(2, 1, 5, 6)), "a", page=2).pixels, noise(2, 1, 5, 6)[1, 0])
    assert np.array_equal(decode(npy(np.asfortranarray(stack)), "a", page=3).pixels, stack[2])
    assert refusal(data, Limits(pages=5)).code == "PAGE_LIMIT"
    assert refusal(npy(stack), Limits(pixels=41)).code == "PIXEL_LIMIT"


@pytest.mark.parametrize("order", ["C", "F"])
def test_large_stacks_are_read_a_page_at_a_time(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = np.array(noise(6, 50, 40, dtype=np.uint16), order=order)
    monkeypatch.setattr(arrays, "_KEPT", 5000)
    for data in (npy(stack), npz(a_npy=npy(stack))):
        opened = open_pages(data, "a")
        for number in (1, 2, 5, 3, 6):
            if order == "F":
                with pytest.raises(FileError, match="Fortran"):
                    opened.film(number)
            else:
                assert np.array_equal(opened.film(number).pixels, stack[number - 1])


def test_true_and_false_are_white_and_black() -> None:
    mask = noise(6, 6) > 127
    film = decode(npy(mask), "a")
    assert film.bits == 1
    assert np.array_equal(film.pixels, np.where(mask, 255, 0))


RAN: list[str] = []


class Canary:
    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return RAN.append, ("the pickle ran",)


def test_an_array_of_objects_is_refused_and_nothing_runs() -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([[Canary()]], dtype=object), allow_pickle=True)
    for data in (stream.getvalue(), npz(a_npy=stream.getvalue()), npz(a_npy=npy(noise(4, 4)), b_npy=stream.getvalue())):
        assert refusal(data).code == "PICKLE"
    assert not RAN


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_archives_that_unpack_a_block_at_a_time_are_refused_at_once(packing: int) -> None:
    data = npz(packing=packing, a_npy=npy_header("(20000, 20000)", body=bytes(60_000_000)))
    started = time.perf_counter()
    assert refusal(data, Limits(pixels=10**10)).code == "UNSUPPORTED"
    assert time.perf_counter() - started < 0.5


def test_an_encrypted_archive_is_refused() -> None:
    data = bytearray(npz(a_npy=npy(noise(4, 4))))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert "encrypted" in str(refusal(bytes(data)))


def test_archives_without_a_picture_are_refused() -> None:
    assert "no NumPy array" in str(refusal(npz()))
    assert "no NumPy array" in str(refusal(npz(note_txt=b"words")))
    assert refusal(npz(a_npy=npy(noise(4, 4)))[:-30]).code == "DECODE"
    assert refusal(bz2.compress(b"words")).code == "UNSUPPORTED"


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), complex),
        np.zeros((4, 4), "S3"),
        np.zeros((4, 4), "M8[s]"),
        np.zeros(16, np.uint8),
        np.zeros((4, 4, 5, 5), np.uint8),
        np.zeros((4, 4), [("patient name", "u1")]),
        np.zeros((1,) * 30, np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_other_arrays_are_refused_with_words(array: np.ndarray) -> None:
    assert refusal(npy(array)).code == "UNSUPPORTED"
    assert refusal(npz(a_npy=npy(array))).code == "UNSUPPORTED"
    assert refusal(npz(a_npy=npy(array), b_npy=npy(array))).code == "UNSUPPORTED"


def test_a_header_that_lies_about_the_shape_is_refused() -> None:
    for shape in ("(40, 50)", "(9, 9)"):  # more than 64 pixels follow
        assert refusal(npy_header(shape)).code == "DECODE"
        assert refusal(npz(a_npy=npy_header(shape))).code == "DECODE"
    for shape in ("(0, 10)", "(10, 0)", "(-8, 8)"):
        assert refusal(npy_header(shape)).code == "EMPTY"
    assert refusal(npy_header("('8', 8)")).code == "DECODE"
    assert refusal(npy_header("(8, 8)", descr="'O'")).code == "PICKLE"
    assert refusal(npy_header("(8, 8)", descr="__import__('os')")).code == "DECODE"


# --- What is no picture, and sizes ------------------------------------------------------------------------------------


def test_nothing_and_unknown_content() -> None:
    assert refusal(b"").code == "EMPTY"
    for data, said in (
        (b"x", "the content"),
        (bytes(500), "the content"),
        (b"GIF89a" + bytes(50), "a GIF"),
        (b"RIFF\x10\0\0\0WAVE", "RIFF"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"<svg onload='alert(1)'>", "web page"),
        (b'{"format": 1}', "text"),
        (b"\x80\x04\x95", "pickle"),
    ):
        error = refusal(data)
        assert error.code == "UNSUPPORTED"
        assert said in str(error)
        assert "PNG" in str(error)


def test_dicom_without_a_picture_is_refused() -> None:
    error = refusal(bytes(128) + b"DICM" + bytes(40))
    assert error.code == "UNSUPPORTED"
    assert "holds no picture" in str(error)


def test_containers_by_their_first_bytes() -> None:
    heads = {kind: data for kind, (data, _) in samples().items()}
    assert {kind: container_of(data[:132]) for kind, data in heads.items()} == {kind: kind for kind in heads}
    assert container_of(b"") is None
    assert container_of(b"MM\x00+" + bytes(20)) == "TIFF"


def huge() -> dict[str, tuple[bytes, str]]:
    jpeg = bytearray(pillow(PIL.Image.fromarray(noise(16, 16)), "JPEG"))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 60000, 65000)
    flat = tiff(np.zeros((16, 16), np.uint8))
    tiled = tiff(np.zeros((32, 32), np.uint16), tile=(16, 16), compression="zlib")
    return {
        "PNG": (raw_png(50000, 40000, 8, 0, bytes(100)), "50000 x 40000"),
        "PNG of 1 bit": (raw_png(2**31 - 1, 2**31 - 1, 1, 0, bytes(100)), "2147483647"),
        "JPEG": (bytes(jpeg), "65000 x 60000"),
        "TIFF": (patched(flat, ImageWidth=60000, ImageLength=60000), "60000 x 60000"),
        "TIFF in tiles": (patched(tiled, ImageWidth=60000, ImageLength=50000), "60000 x 50000"),
        "NPY": (npy_header("(60000, 50000)"), "50000 x 60000"),
        "NPZ": (npz(a_npy=npy_header("(60000, 50000)", "'<u2'")), "50000 x 60000"),
    }


@pytest.mark.parametrize("kind", huge())
def test_declared_sizes_are_refused_before_anything_is_decoded(kind: str) -> None:
    data, size = huge()[kind]
    started = time.perf_counter()
    error = refusal(data)
    assert time.perf_counter() - started < 1
    assert error.code == "PIXEL_LIMIT"
    assert size in str(error)
    assert "the limit is 100" in str(error)


def test_parts_that_say_to_be_huge_are_refused_before_memory_is_taken() -> None:
    picture = bytearray(pillow(PIL.Image.fromarray(noise(16, 16)), "PNG"))
    struct.pack_into(">I", picture, picture.index(b"IDAT") - 4, 2_000_000_000)
    assert refusal(bytes(picture)).code == "DECODE"
    tiled = patched(tiff(noise(16, 16), tile=(16, 16)), TileWidth=65520, TileLength=65520)
    assert refusal(tiled).code == "PIXEL_LIMIT"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "NPZ", "NPY"])
def test_the_limit_is_what_it_is_set_to(kind: str) -> None:
    data, pixels = samples()[kind]
    height, width = pixels.shape
    assert decode(data, "a", Limits(pixels=height * width)).size == (width, height)
    assert refusal(data, Limits(pixels=height * width - 1)).code == "PIXEL_LIMIT"
    assert decode(data, "a", Limits(file_bytes=len(data))).size == (width, height)
    assert refusal(data, Limits(file_bytes=len(data) - 1)).code == "BYTE_LIMIT"


def test_tiff_channels_cannot_multiply_the_size() -> None:
    data = tiff(noise(16, 16, 5), photometric="minisblack", planarconfig="contig", compression="zlib")
    assert refusal(patched(data, SamplesPerPixel=65535)).code in ("UNSUPPORTED", "DECODE")


def test_one_pixel_and_long_lines() -> None:
    for shape in ((1, 1), (1, 3000), (3000, 1), (2, 2)):
        stored = noise(*shape)
        made = (pillow(PIL.Image.fromarray(stored), "PNG"), tiff(stored), npy(stored), npz(a_npy=npy(stored)))
        for data in made:
            film = decode(data, "a")
            assert film.size == (shape[1], shape[0])
            assert np.array_equal(film.pixels, stored)


# --- Damage -----------------------------------------------------------------------------------------------------------


@cache
def samples() -> dict[str, tuple[bytes, Image]]:
    """A small valid file of each format and what is in it."""
    gray, deep = noise(12, 15), noise(12, 15, dtype=np.uint16)
    return {
        "PNG": (pillow(PIL.Image.fromarray(gray), "PNG"), gray),
        "JPEG": (pillow(PIL.Image.fromarray(smooth(12, 15)), "JPEG"), smooth(12, 15)),
        "TIFF": (tiff(deep, compression="zlib"), deep),
        "NPZ": (npz(image_npy=npy(gray)), gray),
        "NPY": (npy(deep), deep),
    }


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "NPZ", "NPY"])
def test_a_file_cut_short_is_refused_wherever_it_is_cut(kind: str) -> None:
    data, pixels = samples()[kind]
    for end in range(1, len(data) - 2):
        result = film_or_error(data[:end])
        # What lies behind the pixels may be missing from a TIFF; half a picture is never taken for one.
        assert isinstance(result, FileError) or np.array_equal(result.pixels, pixels)


@settings(max_examples=150)
@given(st.binary(max_size=400))
@example(b"\x89PNG\r\n\x1a\n")
@example(b"\xff\xd8\xff")
@example(b"II*\x00\x08\x00\x00\x00")
@example(b"PK\x05\x06" + bytes(18))
@example(b"\x93NUMPY\x01\x00\xff\xff{")
def test_any_bytes_give_a_film_or_a_reason(data: bytes) -> None:
    film_or_error(data)


@settings(max_examples=150)
@given(
    st.sampled_from(
        [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00+", b"\x93NUMPY\x01\x00", b"PK\x03\x04"]
    ),
    st.binary(max_size=200),
)
def test_any_bytes_behind_a_signature_give_a_film_or_a_reason(signature: bytes, rest: bytes) -> None:
    film_or_error(signature + rest)


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_file_gives_a_film_or_a_reason(data: st.DataObject) -> None:
    whole, _ = samples()[data.draw(st.sampled_from(sorted(samples())), label="kind")]
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 6), label="times")):
        at = data.draw(st.integers(0, len(damaged) - 1), label="at")
        damaged[at] = data.draw(st.integers(0, 255), label="value")
    if data.draw(st.booleans(), label="cut"):
        del damaged[data.draw(st.integers(1, len(damaged)), label="end") :]
    film_or_error(bytes(damaged))


@pytest.mark.skipif(not BAD.is_dir(), reason="the folder of damaged files is not beside this checkout")
@pytest.mark.parametrize("folder", ["png", "jpeg", "tiff", "npz", "misc", "content", "names"])
def test_every_damaged_file_gives_a_film_or_a_reason(folder: str) -> None:
    paths = [path for path in sorted((BAD / folder).rglob("*")) if path.is_file()]
    assert paths
    for path in paths:
        result = film_or_error(path.read_bytes())
        if folder in ("content", "names"):
            assert isinstance(result, Film), path.name


@pytest.mark.parametrize("kind", [np.float32, np.int16, np.uint32])
@pytest.mark.parametrize("channels", [3, 4])
def test_colours_of_unusual_numbers_are_refused_and_no_stack_of_slivers(kind: type, channels: int) -> None:
    stream = io.BytesIO()
    np.save(stream, np.zeros((40, 50, channels), kind))
    with pytest.raises(FileError) as refused:
        decode(stream.getvalue(), "colour.npy")
    assert refused.value.code == "UNSUPPORTED"
    assert "are read" in str(refused.value)
