"""A text in a picture: it comes back, the pixels stay, other programs read the file."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from xray_core.decode import decode
from xray_core.embedding import text_of
from xray_core.encode import encode
from xray_core.errors import SettingsError
from xray_core.image import Image

# isort: split
import cv2
import PIL.Image

Textured = Callable[..., Image]

TEXT = '{"preset": "R\u00f6ntgen \u80f8 \\"quoted\\""}'


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("name", ["png", "tif", "jpg", "npz"])
def test_a_text_travels_and_the_pixels_stay(textured: Textured, name: str, dtype: type) -> None:
    image = textured(40, 30, dtype)
    # Tags of a TIFF are ASCII.
    text = TEXT if name != "tif" else TEXT.encode("ascii", "backslashreplace").decode()
    plain, carrying = encode(image, f".{name}"), encode(image, f".{name}", text=text)
    assert text_of(carrying) == text
    assert text_of(plain) is None
    assert encode(image, f".{name}", text=text) == carrying
    films = [decode(data, "a") for data in (plain, carrying)]
    assert np.array_equal(films[0].pixels, films[1].pixels)
    assert (films[0].bits, films[0].photometric) == (films[1].bits, films[1].photometric)
    for word in (b"Date", b"tIME", b"python", b"Exif", b"tifffile"):
        assert word not in carrying


def test_other_programs_read_a_picture_with_a_text(textured: Textured) -> None:
    image = textured(40, 30)
    for name in ("png", "jpg", "tif"):
        data = encode(image, f".{name}", text="words")
        assert PIL.Image.open(io.BytesIO(data)).size == (30, 40)
        assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED).shape == (40, 30)
    with np.load(io.BytesIO(encode(image, ".npz", text="words"))) as archive:
        assert archive.files == ["image"]


def test_a_text_too_long_is_refused_and_npy_has_no_place_for_one(textured: Textured) -> None:
    with pytest.raises(SettingsError, match="60 kB"):
        encode(textured(8, 8), ".jpg", text="x" * 60_001)
    for name in ("png", "tif", "jpg", "npz"):
        assert text_of(encode(textured(8, 8), f".{name}", text="x" * 60_000)) == "x" * 60_000
    assert encode(textured(8, 8), ".npy", text="words") == encode(textured(8, 8), ".npy")


@given(st.binary(max_size=300))
@example(b"\x89PNG\r\n\x1a\n" + bytes(40))
@example(b"II*\0\xff\xff\xff\xff")
@example(b"PK\x05\x06" + bytes(18))
def test_looking_for_a_text_never_fails(data: bytes) -> None:
    for head in (b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"PK\x03\x04"):
        assert text_of(head + data) is None
