"""DICOM in: the pixels that a viewer shows, by what the file declares, from whatever a hospital or a fuzzer sends."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import CANARY, dataset, dicom, lookup, plain_syntaxes, stored, with_canaries
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, Sequence, dcmread
from pydicom.encaps import get_frame
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from xray_core.decode import Limits, container_of, decode
from xray_core.dicom import frame_count
from xray_core.dicom_choice import CHOICES, DicomChoice
from xray_core.dicom_file import read_elements
from xray_core.errors import FileError, SettingsError
from xray_core.image import Film, Image

# isort: split
import imagecodecs

DATA = Path(__file__).parents[1].parent / "shared" / "data"


def film(data: bytes, **choice: Any) -> Film:
    page = choice.pop("frame", 1)
    return decode(data, "film.dcm", page=page, dicom=DicomChoice(**choice))


def refusal(data: bytes, limits: Limits | None = None, **choice: Any) -> FileError:
    with pytest.raises(FileError) as caught:
        decode(data, "film.dcm", limits, page=choice.pop("frame", 1), dicom=DicomChoice(**choice))
    words = str(caught.value)
    assert 8 <= len(words) <= 200
    assert words.isprintable()
    assert CANARY not in words
    return caught.value


def noise(*shape: int, bits: int = 16, dtype: type = np.uint16, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**bits, shape).astype(dtype)


def scaled(values: np.ndarray, low: float, high: float, white: int) -> np.ndarray:
    return np.rint((values.astype(float) - low) / (high - low) * white)


def same_within(one: Image, other: np.ndarray, levels: float = 1) -> None:
    assert one.shape == other.shape
    assert np.abs(one.astype(float) - other).max() <= levels


# --- depth ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 5, 8, 9, 10, 12, 15, 16])
@pytest.mark.parametrize("allocated", [8, 16, 32])
def test_values_are_scaled_by_the_declared_depth(bits: int, allocated: int) -> None:
    if bits > allocated:
        pytest.skip("no room")
    pixels = (noise(9, 14, bits=bits) // 2).astype(f"u{allocated // 8}")  # the upper half of the range never occurs
    read = film(dicom(pixels, bits))
    white = 255 if bits <= 8 else 65535
    assert read.pixels.dtype == (np.uint8 if bits <= 8 else np.uint16)
    assert read.bits == bits
    assert np.array_equal(read.pixels, scaled(pixels, 0, 2**bits - 1, white))
    assert read.container == "DICOM"
    assert read.dicom is not None
    assert read.dicom.voi == "whole range"


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_signed_values(bits: int) -> None:
    pixels = (noise(9, 14, bits=bits).astype(np.int32) - 2 ** (bits - 1)).astype(np.int16)
    wanted = scaled(pixels, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1, 255 if bits == 8 else 65535)
    assert np.array_equal(film(dicom(pixels, bits)).pixels, wanted)


@given(st.integers(1, 16), st.integers(0, 2**32), st.booleans())
def test_rubbish_above_the_stored_bits_is_masked(bits: int, seed: int, signed: bool) -> None:
    clean = noise(5, 6, bits=bits, seed=seed)
    rubbish = (noise(5, 6, seed=seed + 1).astype(np.int64) << bits).astype(np.uint16)
    dtype = np.int16 if signed else np.uint16
    sign_extended = clean
    if signed and bits < 16:
        sign_extended = np.where(clean >= 2 ** (bits - 1), clean.astype(np.int32) - 2**bits, clean).astype(np.int16)
    one = film(dicom((clean | rubbish).view(dtype), bits)).pixels
    assert np.array_equal(one, film(dicom(sign_extended.view(dtype), bits)).pixels)


def test_high_bit_says_where_the_value_lies() -> None:
    pixels = noise(7, 8, bits=12)
    high = film(dicom(pixels << 4 | 0b1010, 12, HighBit=15))
    assert np.array_equal(high.pixels, film(dicom(pixels, 12)).pixels)


def test_one_bit_a_pixel() -> None:
    flags = noise(8, 16, bits=1, dtype=np.uint8)
    ds = dataset(flags, 1, BitsAllocated=1, BitsStored=1, HighBit=0)
    ds.PixelData = np.packbits(flags.ravel(), bitorder="little").tobytes()
    assert np.array_equal(film(stored(ds)).pixels, flags * 255)


# --- grey transformations, against pydicom's own ----------------------------------------------------------------------


def by_pydicom(ds: Dataset, prefer_lut: bool, window: int, low: float, high: float, white: int) -> np.ndarray:
    """What pydicom's own functions make of a data set, its output range spread from black to white."""
    raw = dcmread(io.BytesIO(stored(ds)))
    values = apply_modality_lut(raw.pixel_array, raw)
    shown = apply_voi_lut(values, raw, index=window, prefer_lut=prefer_lut)
    out = scaled(shown, low, high, white)
    return white - out if raw.PhotometricInterpretation == "MONOCHROME1" else out


@given(
    st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    st.floats(-3000, 5000),
    st.floats(1, 9000),
    st.sampled_from([0.5, 1.0, 2.0, -1.0]),
    st.integers(-1000, 1000),
    st.booleans(),
    st.sampled_from([8, 10, 12, 16]),
    st.sampled_from(["MONOCHROME1", "MONOCHROME2"]),
)
def test_windows_are_pydicoms_own(
    function: str, center: float, width: float, slope: float, intercept: int, signed: bool, bits: int, photometric: str
) -> None:
    pixels = noise(11, 12, bits=bits)
    pixels = (pixels.astype(np.int32) - 2 ** (bits - 1)).astype(np.int16) if signed else pixels
    elements = {
        "WindowCenter": f"{center:.6g}",
        "WindowWidth": f"{width:.6g}",
        "VOILUTFunction": function,
        "RescaleSlope": str(slope),
        "RescaleIntercept": str(intercept),
    }
    ds = dataset(pixels, bits, photometric, **elements)
    stored_low = -(2 ** (bits - 1)) if signed else 0
    ends = [stored_low * slope + intercept, (stored_low + 2**bits - 1) * slope + intercept]
    wanted = by_pydicom(ds, True, 0, ends[0], ends[1], 255 if bits == 8 else 65535)
    read = film(stored(ds))
    same_within(read.pixels, wanted)
    assert read.dicom is not None
    assert read.dicom.voi == f"window 1 of 1 ({function})"


def test_the_linear_window_by_hand() -> None:
    # PS3.3 C.11.2.1.2.1: below 2048 - 0.5 - 2047.5 black, above white: 0 to 4095 over 12 bits is the whole range.
    pixels = noise(9, 9, bits=12)
    read = film(dicom(pixels, 12, WindowCenter="2048", WindowWidth="4096"))
    assert np.array_equal(read.pixels, film(dicom(pixels, 12)).pixels)
    edges = film(dicom(np.array([[99, 100, 101]], np.uint16), 12, WindowCenter="100.5", WindowWidth="1")).pixels
    assert edges.tolist() == [[0, 0, 65535]]


@pytest.mark.parametrize("vr", ["US", "OW"])
@pytest.mark.parametrize(("bits", "out"), [(8, 8), (8, 16), (12, 10), (12, 16)])
@pytest.mark.parametrize("kind", ["ModalityLUTSequence", "VOILUTSequence"])
def test_lookup_tables_are_pydicoms_own(kind: str, bits: int, out: int, vr: str) -> None:
    if kind == "ModalityLUTSequence" and out == 10:
        pytest.skip("a Modality LUT has 8 or 16 bits")
    pixels = noise(13, 12, bits=bits)
    entries = sorted(noise(200, bits=out).tolist())
    ds = dataset(pixels, bits, **{kind: [lookup(17, entries, out, vr)]})
    wanted = by_pydicom(ds, True, 0, 0, 2**out - 1, 255 if bits == 8 else 65535)
    read = film(stored(ds))
    same_within(read.pixels, wanted)
    assert read.dicom is not None
    assert read.dicom.voi == ("whole range" if kind.startswith("Mod") else "VOI LUT 1 of 1")


def test_a_lookup_table_of_signed_values() -> None:
    pixels = (noise(9, 9, bits=8).astype(np.int16) - 128).astype(np.int16)
    entries = sorted(noise(100, bits=16).tolist())
    wanted = film(dicom(pixels, 8, ModalityLUTSequence=[lookup(-50, entries, 16)])).pixels
    same_within(wanted, scaled(np.array(entries)[np.clip(pixels + 50, 0, 99)], 0, 65535, 255))
    # The same first value written as an unsigned number, as it often is.
    unsigned = lookup(65536 - 50, entries, 16)
    assert np.array_equal(film(dicom(pixels, 8, ModalityLUTSequence=[unsigned])).pixels, wanted)


def test_voi_chooses_between_table_window_and_whole_range() -> None:
    pixels = noise(9, 9, bits=10)
    table = [lookup(0, [1000 - n for n in range(1001)], 10), lookup(0, [n % 1024 for n in range(1024)], 10)]
    windows = {"WindowCenter": ["300", "900"], "WindowWidth": ["200", "1800"]}
    data = dicom(pixels, 10, VOILUTSequence=table, **windows)

    def shown(**choice: Any) -> str:
        facts = film(data, **choice).dicom
        assert facts is not None
        return facts.voi

    assert shown() == shown(voi="lut") == "VOI LUT 1 of 2"
    assert shown(window=2) == "VOI LUT 2 of 2"
    assert shown(voi="window") == "window 1 of 2 (LINEAR)"
    assert shown(voi="window", window=2) == "window 2 of 2 (LINEAR)"
    assert shown(voi="none") == "whole range"
    only_windows = dicom(pixels, 10, **windows)
    assert np.array_equal(film(only_windows).pixels, film(data, voi="window").pixels)
    assert np.array_equal(film(only_windows, voi="none").pixels, film(dicom(pixels, 10)).pixels)
    assert np.array_equal(film(data, voi="none").pixels, film(dicom(pixels, 10)).pixels)
    assert "window 3 is asked for; there are 2" in str(refusal(only_windows, window=3))
    assert "VOI LUT 3 is asked for; there are 2" in str(refusal(data, window=3))


@pytest.mark.parametrize("signed", [False, True])
def test_monochrome1_and_2_of_one_film_look_the_same(signed: bool) -> None:
    # The same film as CR writes it, and inverted within its stored range, each with a window over the same tissue.
    bright = noise(20, 21, bits=12)
    dark = (4095 - bright).astype(np.uint16)
    shift = 2048 if signed else 0
    films = [
        film(
            dicom((values.astype(np.int32) - shift).astype(np.int16 if signed else np.uint16), 12, photometric, **more)
        )
        for values, photometric, more in (
            (bright, "MONOCHROME2", {"WindowCenter": str(1500.5 - shift), "WindowWidth": "1801"}),
            (dark, "MONOCHROME1", {"WindowCenter": str(4095 - 1500.5 + 1 - shift), "WindowWidth": "1801"}),
        )
    ]
    same_within(films[0].pixels, films[1].pixels)
    assert [one.photometric for one in films] == ["MONOCHROME2", "MONOCHROME1"]
    whole = [
        film(dicom(values, 12, photometric)) for values, photometric in ((bright, "MONOCHROME2"), (dark, "MONOCHROME1"))
    ]
    assert np.array_equal(whole[0].pixels, whole[1].pixels)


def test_presentation_lut_shape_inverts_once() -> None:
    pixels = noise(6, 6, bits=10)
    inverse = film(dicom(pixels, 10, "MONOCHROME1")).pixels
    assert np.array_equal(film(dicom(pixels, 10, "MONOCHROME1", PresentationLUTShape="INVERSE")).pixels, inverse)
    assert np.array_equal(film(dicom(pixels, 10, "MONOCHROME2", PresentationLUTShape="INVERSE")).pixels, inverse)
    same = film(dicom(pixels, 10, "MONOCHROME2", PresentationLUTShape="IDENTITY")).pixels
    assert np.array_equal(same, 65535 - inverse)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("signed", [False, True])
def test_padding_is_black_and_stretches_nothing(photometric: str, signed: bool) -> None:
    shift = 2048 if signed else 0
    pixels = (noise(12, 12, bits=11).astype(np.int32) + 500 - shift).astype(np.int16 if signed else np.uint16)
    padded = pixels.copy()
    padded[:3], padded[3:5] = 4000 - shift, 4050 - shift
    plain = film(dicom(pixels, 12, photometric)).pixels
    one = dataset(padded, 12, photometric)
    one.add_new("PixelPaddingValue", "SS" if signed else "US", 4000 - shift)
    read = film(stored(one)).pixels
    assert not read[:3].any()
    assert np.array_equal(read[5:], plain[5:])
    both = dataset(padded, 12, photometric)
    both.add_new("PixelPaddingValue", "SS" if signed else "US", 4090 - shift)
    both.add_new("PixelPaddingRangeLimit", "SS" if signed else "US", 4000 - shift)
    read = film(stored(both)).pixels
    assert not read[:5].any()
    assert np.array_equal(read[5:], plain[5:])


# --- frames, colour, facts --------------------------------------------------------------------------------------------


def test_a_frame_is_chosen_by_number_and_stated() -> None:
    frames = noise(3, 7, 8, 1, bits=10)
    data = dicom(frames, 10)
    for number in (1, 2, 3):
        read = film(data, frame=number)
        assert np.array_equal(read.pixels, scaled(frames[number - 1, :, :, 0], 0, 1023, 65535))
        assert read.dicom is not None
        assert (read.dicom.frame, read.dicom.frames) == (number, 3)
    assert film(data).dicom == film(data, frame=1).dicom
    assert frame_count(data, 10**6) == 3
    assert "pages 1 to 3, and no page 4" in str(refusal(data, frame=4))


def test_a_frames_own_transformations_go_before_the_files() -> None:
    def groups(center: int) -> Dataset:
        item, window = Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = str(center), "101"
        item.FrameVOILUTSequence = [window]
        return item

    shared, spacing, values = Dataset(), Dataset(), Dataset()
    spacing.PixelSpacing = ["0.2", "0.3"]
    values.RescaleSlope, values.RescaleIntercept = "1", "-100"
    shared.PixelMeasuresSequence, shared.PixelValueTransformationSequence = [spacing], [values]
    frames = noise(2, 7, 8, 1, bits=10)
    ds = dataset(frames, 10, WindowCenter="1", WindowWidth="2")
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.PerFrameFunctionalGroupsSequence = Sequence([groups(300), groups(500)])
    for number, center in ((1, 300), (2, 500)):
        read = film(stored(ds), frame=number)
        alone = dicom(frames[number - 1, :, :, 0], 10, WindowCenter=str(center + 100), WindowWidth="101")
        assert np.array_equal(read.pixels, film(alone).pixels)
        assert read.spacing == (0.2, 0.3)


@pytest.mark.parametrize("planar", [0, 1])
def test_rgb(planar: int) -> None:
    pixels = noise(7, 8, 3, bits=8, dtype=np.uint8)
    ds = dataset(pixels, 8, "RGB", PlanarConfiguration=planar)
    if planar:
        ds.PixelData = np.ascontiguousarray(np.moveaxis(pixels, 2, 0)).tobytes()
    read = film(stored(ds))
    assert np.array_equal(read.pixels, pixels)
    assert (read.photometric, read.bits) == ("RGB", 8)


def test_rgb_of_few_and_of_many_bits() -> None:
    few = noise(6, 6, 3, bits=5, dtype=np.uint8)
    assert np.array_equal(film(dicom(few, 5, "RGB")).pixels, scaled(few, 0, 31, 255))
    many = noise(6, 6, 3, bits=12)
    grey = scaled(many, 0, 4095, 65535) @ [0.299, 0.587, 0.114]
    read = film(dicom(many, 12, "RGB"))
    same_within(read.pixels, grey, 2)


def test_ybr_becomes_rgb() -> None:
    rgb = np.zeros((4, 4, 3), np.uint8) + np.array([200, 90, 30], np.uint8)
    ybr = np.zeros((4, 4, 3), np.uint8) + np.array([116, 80, 188], np.uint8)  # PS3.3 C.7.6.3.1.2
    same_within(film(dicom(ybr, 8, "YBR_FULL")).pixels, rgb, 2)
    halved = dataset(ybr, 8, "YBR_FULL_422")
    halved.PixelData = bytes([116, 116, 80, 188] * 8)
    same_within(film(stored(halved)).pixels, rgb, 2)


def test_colour_in_jpeg() -> None:
    rgb = np.dstack([np.minimum(SMOOTH, 255), np.minimum(SMOOTH // 2, 255), 255 - np.minimum(SMOOTH, 255)])
    rgb = rgb.astype(np.uint8)
    stream = imagecodecs.jpeg_encode(rgb, level=98, colorspace="RGB", outcolorspace="YCBCR", subsampling="444")
    read = film(stored(dataset(rgb, 8, "YBR_FULL_422"), JPEGBaseline8Bit, stream))
    same_within(read.pixels, rgb, 8)


def test_eight_bits_of_jpeg_in_sixteen() -> None:
    pixels = np.minimum(SMOOTH, 255)
    stream = imagecodecs.jpeg_encode(pixels.astype(np.uint8), level=98)
    read = film(stored(dataset(pixels, 8), JPEGBaseline8Bit, stream))
    assert read.pixels.dtype == np.uint8
    same_within(read.pixels, pixels, 3)


def test_what_old_files_leave_out() -> None:
    pixels = noise(7, 8, bits=16)
    left_out = dict.fromkeys(("SamplesPerPixel", "BitsStored", "HighBit", "PixelRepresentation"))
    assert np.array_equal(film(dicom(pixels, 16, **left_out)).pixels, pixels)


@pytest.mark.parametrize("frames", [0, 2, 1000])
def test_more_compressed_frames_declared_than_there_are(frames: int) -> None:
    pixels = noise(32, 33, bits=8, dtype=np.uint8)
    ds = dcmread(io.BytesIO(compressed(pixels, RLELossless, 8)))
    ds.NumberOfFrames = frames
    out = io.BytesIO()
    ds.save_as(out)
    assert np.array_equal(film(out.getvalue()).pixels, pixels)
    if frames > 1:
        assert refusal(out.getvalue(), frame=frames).code == "DECODE"


@pytest.mark.parametrize("depth", [8, 16])
def test_palette(depth: int) -> None:
    pixels = noise(6, 7, bits=3, dtype=np.uint8)
    colours = noise(3, 8, bits=depth)
    tables = {}
    for name, table in zip(("Red", "Green", "Blue"), colours, strict=True):
        tables[f"{name}PaletteColorLookupTableDescriptor"] = [8, 0, depth]
        tables[f"{name}PaletteColorLookupTableData"] = table.astype(f"<u{depth // 8}").tobytes()
    read = film(dicom(pixels, 8, "PALETTE COLOR", **tables))
    assert np.array_equal(read.pixels, (colours.T >> (depth - 8))[pixels])
    assert read.photometric == "PALETTE COLOR"


@pytest.mark.parametrize(
    ("elements", "spacing", "words"),
    [
        ({"PixelSpacing": ["0.1", "0.2"], "ImagerPixelSpacing": ["0.3", "0.3"]}, (0.1, 0.2), "Pixel Spacing"),
        ({"ImagerPixelSpacing": ["0.3", "0.4"]}, (0.3, 0.4), "Imager Pixel Spacing"),
        ({"NominalScannedPixelSpacing": ["0.5", "0.5"]}, (0.5, 0.5), "Nominal Scanned Pixel Spacing"),
        ({"PixelSpacing": ["0", "0"], "ImagerPixelSpacing": ["0.3", "0.4"]}, (0.3, 0.4), "Imager Pixel Spacing"),
        ({"PixelSpacing": ["-1", "0.1"]}, None, ""),
        ({}, None, ""),
    ],
)
def test_spacing_and_where_it_is_from(elements: dict[str, Any], spacing: object, words: str) -> None:
    read = film(dicom(noise(4, 4), **elements))
    assert read.spacing == spacing
    assert read.dicom is not None
    assert read.dicom.spacing_from == words


def test_exposure_index() -> None:
    facts = film(dicom(noise(4, 4), ExposureIndex="176.5")).dicom
    assert facts is not None
    assert facts.exposure_index == 176.5


# --- transfer syntaxes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", plain_syntaxes(), ids=lambda uid: uid.name)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_plain_transfer_syntaxes(syntax: UID, dtype: type) -> None:
    bits = 8 * np.dtype(dtype).itemsize
    pixels = noise(9, 10, bits=bits, dtype=dtype)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    ds = dataset(pixels.astype(pixels.dtype.newbyteorder(order)), bits, VOILUTSequence=[lookup(0, [0, 255], 8)])
    assert np.array_equal(film(stored(ds, syntax), voi="none").pixels, pixels)
    film(stored(ds, syntax))


def compressed(pixels: np.ndarray, syntax: UID, bits: int) -> bytes:
    ds = dataset(pixels, bits)
    ds.file_meta = Dataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if syntax == JPEGBaseline8Bit:
        return stored(ds, syntax, imagecodecs.jpeg_encode(pixels, level=95))
    if syntax == JPEGExtended12Bit:
        return stored(ds, syntax, imagecodecs.jpeg_encode(pixels, level=95, bitspersample=12))
    if syntax.name.startswith("JPEG Lossless"):
        return stored(ds, syntax, imagecodecs.ljpeg_encode(pixels, bitspersample=bits))
    if syntax == JPEGLSNearLossless:
        return stored(ds, syntax, imagecodecs.jpegls_encode(pixels, level=2))
    if syntax in (HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL):
        return stored(ds, syntax, imagecodecs.htj2k_encode(pixels))
    if syntax == JPEG2000:
        return stored(ds, syntax, imagecodecs.jpeg2k_encode(pixels, level=60, codecformat="j2k", bitspersample=bits))
    ds.compress(syntax, encoding_plugin="pydicom" if syntax == RLELossless else "", generate_instance_uid=False)
    return stored(ds, syntax)


SMOOTH = (np.add.outer(np.arange(40), 2 * np.arange(50)) * 7).astype(np.uint16)
LOSSLESS_SV1, LOSSLESS_14 = UID("1.2.840.10008.1.2.4.70"), UID("1.2.840.10008.1.2.4.57")


@pytest.mark.parametrize(
    ("syntax", "bits", "off"),
    [
        (RLELossless, 8, 0),
        (RLELossless, 12, 0),
        (JPEGBaseline8Bit, 8, 3),
        (JPEGExtended12Bit, 12, 3),
        (LOSSLESS_SV1, 8, 0),
        (LOSSLESS_SV1, 16, 0),
        (LOSSLESS_14, 16, 0),
        (JPEGLSLossless, 8, 0),
        (JPEGLSLossless, 12, 0),
        (JPEGLSNearLossless, 12, 3),
        (JPEG2000Lossless, 8, 0),
        (JPEG2000Lossless, 12, 0),
        (JPEG2000, 12, 40),
        (HTJ2KLossless, 8, 0),
        (HTJ2KLosslessRPCL, 16, 0),
        (HTJ2K, 16, 0),
    ],
    ids=lambda value: value.name if isinstance(value, UID) else str(value),
)
def test_compressed_transfer_syntaxes(syntax: UID, bits: int, off: int) -> None:
    pixels = np.minimum(SMOOTH, 2**bits - 1).astype(np.uint8 if bits == 8 else np.uint16)
    data = compressed(pixels, syntax, bits)
    read = film(data)
    white = 255 if bits == 8 else 65535
    same_within(read.pixels, scaled(pixels, 0, 2**bits - 1, white), off * white / (2**bits - 1))
    assert (read.bits, read.container) == (bits, "DICOM")


def test_overshoot_of_a_lossy_decoder_stays_white() -> None:
    pixels = np.zeros((64, 64), np.uint16)
    pixels[:, 20:44] = 1023  # sharp edges at the end of 10 stored bits; the codec has 12
    ds = dataset(pixels, 10)
    stream = imagecodecs.jpeg_encode(pixels, level=30, bitspersample=12)
    assert imagecodecs.jpeg_decode(stream).max() > 1023
    read = film(stored(ds, JPEGExtended12Bit, stream))
    assert read.pixels[:, 20:44].min() > 50000


def test_a_compressed_frame_is_chosen_by_number() -> None:
    frames = noise(3, 16, 17, 1, bits=8, dtype=np.uint8)
    ds = dataset(frames, 8)
    ds.file_meta = Dataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    data = stored(ds, RLELossless)
    for number in (1, 2, 3):
        assert np.array_equal(film(data, frame=number).pixels, frames[number - 1, :, :, 0])


def streams() -> list[tuple[UID, int]]:
    return [
        (JPEGBaseline8Bit, 8),
        (JPEGExtended12Bit, 12),
        (LOSSLESS_SV1, 16),
        (JPEGLSLossless, 12),
        (JPEG2000Lossless, 12),
    ]


@pytest.mark.parametrize(
    ("syntax", "bits"), [*streams(), (RLELossless, 12)], ids=lambda value: getattr(value, "name", str(value))
)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.95])
def test_half_a_picture_is_refused_and_never_shown(syntax: UID, bits: int, share: float) -> None:
    pixels = noise(64, 64, bits=bits, dtype=np.uint8 if bits == 8 else np.uint16)
    whole = dcmread(io.BytesIO(compressed(pixels, syntax, bits)))
    stream = get_frame(whole.PixelData, 0, number_of_frames=1)
    assert refusal(stored(dataset(pixels, bits), syntax, stream[: max(int(share * len(stream)), 2)])).code == "DECODE"


@pytest.mark.parametrize(("syntax", "bits"), streams(), ids=lambda value: getattr(value, "name", str(value)))
def test_a_stream_of_another_size_is_refused_before_it_is_decoded(syntax: UID, bits: int) -> None:
    pixels = noise(64, 64, bits=bits, dtype=np.uint8 if bits == 8 else np.uint16)
    whole = dcmread(io.BytesIO(compressed(pixels, syntax, bits)))
    stream = get_frame(whole.PixelData, 0, number_of_frames=1)
    small = dataset(pixels[:8, :8], bits)
    assert "another size" in str(refusal(stored(small, syntax, stream)))


# --- without preamble, by content -------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("cut", ["preamble", "meta"])
def test_files_without_preamble_or_meta_information(syntax: UID, cut: str) -> None:
    pixels = noise(9, 10, bits=16)
    ds = dataset(pixels.astype(">u2") if syntax == ExplicitVRBigEndian else pixels, 16)
    data = stored(ds, syntax)
    length = struct.unpack("<I", data[140:144])[0]
    bare = data[132:] if cut == "preamble" else data[144 + length :]
    assert container_of(bare[:132]) == "DICOM"
    assert np.array_equal(film(bare).pixels, pixels)


def test_a_preamble_may_hold_what_looks_like_another_format() -> None:
    data = dicom(noise(9, 10))
    for start in (b"II*\0", b"MM\0*", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"):
        assert film(start.ljust(128, b"\0") + data[128:]).container == "DICOM"


def short_lookup() -> Dataset:
    item = lookup(0, [1, 2, 3], 8)
    item.LUTDescriptor = [256, 0, 8]
    return item


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "code", "words"),
    [
        ({"Rows": 65535, "Columns": 65535}, "PIXEL_LIMIT", "65535 x 65535"),
        ({"Rows": 0}, "EMPTY", "no pixels"),
        ({"Rows": 90}, "DECODE", "declared size is wrong"),
        ({"NumberOfFrames": 3}, "DECODE", "declared size is wrong"),
        ({"NumberOfFrames": 2**31 - 1}, "PAGE_LIMIT", "1,000 pages"),
        ({"SamplesPerPixel": 3}, "DECODE", "contradict"),
        ({"BitsStored": 17, "HighBit": 16}, "DECODE", "contradict"),
        ({"HighBit": 16}, "DECODE", "contradict"),
        ({"BitsAllocated": 12, "BitsStored": 12, "HighBit": 11}, "UNSUPPORTED", "12 bits in 12"),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, "UNSUPPORTED", "32 bits"),
        ({"PhotometricInterpretation": None}, "UNSUPPORTED", "Photometric Interpretation is missing"),
        ({"PhotometricInterpretation": CANARY}, "UNSUPPORTED", "neither grey"),
        ({"PhotometricInterpretation": "HSV"}, "UNSUPPORTED", "neither grey"),
        ({"PixelData": None}, "UNSUPPORTED", "holds no picture"),
        ({"PixelData": b""}, "UNSUPPORTED", "holds no picture"),
        ({"RescaleSlope": "0", "RescaleIntercept": "0"}, "UNSUPPORTED", "Rescale Slope"),
        ({"WindowCenter": "5", "WindowWidth": "0"}, "UNSUPPORTED", "voi none"),
        ({"WindowCenter": "5", "WindowWidth": "9", "VOILUTFunction": CANARY}, "UNSUPPORTED", "voi none"),
        ({"VOILUTSequence": [lookup(0, [1, 2, 3], 77)]}, "DECODE", "lookup table"),
        ({"VOILUTSequence": [Dataset()]}, "DECODE", "lookup tables is empty"),
        ({"VOILUTSequence": [short_lookup()]}, "DECODE", "lookup tables is cut short"),
    ],
)
def test_refusals_in_words(elements: dict[str, Any], code: str, words: str) -> None:
    ds = dataset(noise(8, 9), 16, **elements)
    error = refusal(stored(ds) if "PixelData" in ds else stored_without_pixels(ds))
    assert error.code == code
    assert words in str(error)


def stored_without_pixels(ds: Dataset) -> bytes:
    ds.PixelData = b"\0\0"
    data = stored(ds)
    return data[: data.rindex(b"\xe0\x7f\x10\x00")]


@pytest.mark.parametrize("keyword", ["FloatPixelData", "DoubleFloatPixelData"])
def test_floating_point_pixels_are_refused(keyword: str) -> None:
    ds = dataset(noise(4, 4))
    setattr(ds, keyword, bytes(128))
    assert "floating-point" in str(refusal(stored(ds)))


def test_unknown_and_unread_transfer_syntaxes() -> None:
    data = dicom(noise(8, 8))
    assert "none that DICOM defines" in str(refusal(data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0")))
    film_of_mpeg = stored(dataset(noise(8, 8)), UID("1.2.840.10008.1.2.4.100"), b"\0\0\1\xb3")
    assert "MPEG2" in str(refusal(film_of_mpeg))
    declared_plain = stored(dataset(noise(8, 8)), JPEGBaseline8Bit, b"\xff\xd8\xff\xd9").replace(
        b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.1\0\0\0"
    )
    assert refusal(declared_plain).code == "DECODE"


def test_a_deflated_bomb_is_stopped_at_the_limit() -> None:
    head = stored(dataset(noise(4, 4)), DeflatedExplicitVRLittleEndian)
    length = struct.unpack("<I", head[140:144])[0]
    packing = zlib.compressobj(wbits=-15)
    bomb = head[: 144 + length] + b"".join(packing.compress(bytes(10**6)) for _ in range(200)) + packing.flush()
    assert len(bomb) < 10**6
    error = refusal(bomb, Limits(file_bytes=10**7))
    assert error.code == "BYTE_LIMIT"
    assert "10 MB" in str(error)
    assert "deflated data set is cut short" in str(refusal(head[:-5]))


def test_facts_that_are_no_numbers_are_left_out() -> None:
    pixels = noise(20, 30, bits=12)
    ds = dataset(pixels, 12)
    ds.add_new("PixelSpacing", "LO", "CANARY")
    ds.add_new("ExposureIndex", "LO", "CANARY")
    read = film(stored(ds))
    assert np.array_equal(read.pixels, film(dicom(pixels, 12)).pixels)
    assert read.spacing is None
    assert read.dicom is not None
    assert read.dicom.exposure_index is None


@pytest.mark.parametrize("values", [{"voi": "LUT"}, {"voi": 1}, {"window": 0}])
def test_choices_are_checked(values: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        DicomChoice(**values)


def test_every_choice_is_declared() -> None:
    assert vars(DicomChoice()) == {"frame": 1} | {name: parameter.default for name, parameter in CHOICES.items()}


# --- identity, hostile files, real files ------------------------------------------------------------------------------


def test_what_is_on_no_list_is_not_even_read() -> None:
    ds = read_elements(stored(with_canaries(dataset(noise(8, 9), 16))), ["Rows", "Columns"], pixels=True)
    assert {element.keyword for element in ds} == {"Rows", "Columns"}


def test_no_text_of_the_file_reaches_the_film() -> None:
    data = stored(with_canaries(dataset(noise(8, 9), 16)))
    assert data.count(CANARY.encode()) > 1000
    read = film(data)
    assert CANARY not in repr(read)
    assert CANARY not in str(vars(DicomChoice()))


@given(st.data())
@settings(max_examples=200)
def test_damage_gives_a_film_or_words(data: st.DataObject) -> None:
    source = data.draw(st.sampled_from(seeds()))
    damaged = bytearray(source)
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged) - 1)) :]
    film_or_words(bytes(damaged), Limits(pixels=10**6, file_bytes=10**6))


def film_or_words(data: bytes, limits: Limits | None = None) -> None:
    try:
        read = decode(data, "film.dcm", limits)
    except FileError as error:
        words = str(error)
    else:
        words = f"a film of {read.pixels.size} pixels"
    assert 8 <= len(words) <= 200
    assert words.isprintable()


SEEDS: list[bytes] = []


def seeds() -> list[bytes]:
    if not SEEDS:
        pixels = (SMOOTH % 256).astype(np.uint8)
        SEEDS.append(dicom(SMOOTH, 12, WindowCenter="300", WindowWidth="500", VOILUTSequence=[lookup(0, [1, 2], 8)]))
        SEEDS.extend(compressed(pixels, syntax, 8) for syntax in (RLELossless, JPEGBaseline8Bit, JPEG2000Lossless))
        SEEDS.extend(compressed(pixels, syntax, 8) for syntax in (LOSSLESS_SV1, JPEGLSLossless))
    return SEEDS


REAL = sorted((DATA / "dicom").glob("*.dcm"))
BAD = sorted(path for path in (DATA / "bad" / "dicom").rglob("*") if path.is_file())


@pytest.mark.skipif(not REAL, reason=f"{DATA / 'dicom'}: the real films are not ours to hand on")
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_real_films_look_as_pydicom_makes_them(path: Path) -> None:
    data = path.read_bytes()
    read = film(data)
    ds = dcmread(io.BytesIO(data))
    values = apply_modality_lut(ds.pixel_array, ds)
    shown = apply_voi_lut(values, ds)
    high: float = 2**ds.BitsStored - 1
    for kind in ("ModalityLUTSequence", "VOILUTSequence"):
        if ds.get(kind):
            high = 2 ** ds[kind].value[0].LUTDescriptor[2] - 1
    white = 255 if ds.BitsStored <= 8 else 65535
    wanted = scaled(shown, 0, high, white)
    wanted = white - wanted if ds.PhotometricInterpretation == "MONOCHROME1" else wanted
    # One level of the 255 that an eye may tell; those of 8 bits are held to one of theirs.
    same_within(read.pixels, wanted, 1)


@pytest.mark.skipif(not BAD, reason=f"{DATA / 'bad'}: damaged public files are not ours to hand on")
@pytest.mark.parametrize("path", BAD, ids=lambda path: path.name)
def test_damaged_films_are_loaded_or_refused_in_words(path: Path) -> None:
    film_or_words(path.read_bytes())


@pytest.mark.skipif(not BAD, reason=f"{DATA / 'bad'}: damaged public files are not ours to hand on")
@pytest.mark.parametrize(
    "name", ["garbage_above_bitsstored", "good_mono2_same", "html_in_tags", "phi_canary", "full16bit"]
)
def test_one_film_stored_in_many_ways_looks_the_same(name: str) -> None:
    made = DATA / "bad" / "dicom" / "made"
    one, other = (film((made / f"{stem}.dcm").read_bytes()) for stem in ("good_mono1", name))
    same_within(one.pixels, other.pixels, 1)
