"""DICOM out: a derived image that other programs read, that gives its settings back, and that names no person."""

from __future__ import annotations

import io
import shutil
import subprocess
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import CANARY, dataset, dicom, lookup, stored, with_canaries
from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as table_e1
from pydicom import DataElement, Dataset, dcmread
from pydicom.pixels.processing import apply_voi_lut
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    JPEGBaseline8Bit,
    SecondaryCaptureImageStorage,
)

from xray_core import cli
from xray_core.carried import derivation, embedded
from xray_core.decode import decode
from xray_core.dicom_choice import DicomChoice
from xray_core.dicom_out import derived, settings_of
from xray_core.encode import check_identity, encode
from xray_core.errors import SettingsError
from xray_core.files import read, write
from xray_core.pipeline import moved, run, scale, summary
from xray_core.presets import Preset, builtin, create

# isort: split
import imagecodecs

DATA = Path(__file__).parents[1].parent / "shared" / "data"
REAL = sorted((DATA / "dicom").glob("*.dcm"))

IDENTITY = {
    "PatientName": "Doe^Jane",
    "PatientID": "4711",
    "PatientBirthDate": "19700102",
    "PatientSex": "F",
    "StudyDate": "20240506",
    "AccessionNumber": "A123",
    "InstitutionName": "Hospital",
    "ReferringPhysicianName": "Who^Dr",
    "StationName": "ROOM1",
    "DeviceSerialNumber": "77",
    "Manufacturer": "Maker",
}


def smooth(height: int = 61, width: int = 47, bits: int = 12) -> np.ndarray:
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return ((0.2 + 0.5 * x * y + 0.1 * np.sin(9 * x)) * (2**bits - 1)).astype(np.uint16)


def enhanced(
    source: bytes, preset: Preset | None = None, choice: DicomChoice | None = None, keep: bool = False
) -> bytes:
    """What ``enhance`` writes for a file."""
    preset, choice = preset or builtin("standard"), choice or DicomChoice()
    film = decode(source, "film.dcm", page=choice.frame, dicom=choice)
    origin = derivation(preset, film, choice, source, text=embedded(preset), keep_identity=keep)
    return encode(run(film.pixels, preset.settings), ".dcm", origin=origin)


def opened(data: bytes) -> Dataset:
    return dcmread(io.BytesIO(data))


# --- pixels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(7, 9), (1, 1), (1, 3)])
def test_every_viewer_shows_the_pixels_as_they_are(dtype: type, size: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, size, dtype, endpoint=True)
    data = derived(image)
    assert np.array_equal(decode(data, "a").pixels, image)
    assert np.array_equal(decode(data, "a", dicom=DicomChoice(voi="none")).pixels, image)
    ds = opened(data)
    assert np.array_equal(ds.pixel_array, image)
    assert np.abs(apply_voi_lut(ds.pixel_array, ds) - image).max() < 0.01
    assert ds.PhotometricInterpretation == "MONOCHROME2"
    assert ds.PresentationLUTShape == "IDENTITY"


def test_nothing_stale_of_the_source_changes_the_look() -> None:
    source = dicom(
        smooth(),
        12,
        "MONOCHROME1",
        WindowCenter=["1000", "2000"],
        WindowWidth=["500", "600"],
        WindowCenterWidthExplanation=["A", "B"],
        RescaleSlope="2",
        RescaleIntercept="-5",
        VOILUTSequence=[lookup(0, list(range(4096)), 12)],
        PixelPaddingValue=4095,
        PresentationLUTShape="INVERSE",
        SmallestImagePixelValue=3,
        LargestImagePixelValue=9,
    )
    for keep in (False, True):
        data = enhanced(source, keep=keep)
        ds = opened(data)
        assert np.array_equal(decode(data, "a").pixels, run(decode(source, "a").pixels, {}))
        for keyword in ("VOILUTSequence", "PixelPaddingValue", "SmallestImagePixelValue", "ModalityLUTSequence"):
            assert keyword not in ds
        assert (ds.RescaleSlope, ds.RescaleIntercept, ds.WindowWidth) == (1, 0, 65536)


# --- what it says -----------------------------------------------------------------------------------------------------


def test_a_derived_image_says_what_it_is() -> None:
    source = dicom(
        smooth(), 12, SOPInstanceUID="1.2.3.77", BurnedInAnnotation="YES", Modality="CR", ExposureIndex="300"
    )
    preset = create({"clahe.clip_limit": 2.5}, name="Jane Doe", note=CANARY)
    data = enhanced(source, preset)
    ds, again = opened(data), opened(enhanced(source, preset))
    assert list(ds.ImageType) == ["DERIVED", "SECONDARY"]
    assert ds.SOPClassUID == ComputedRadiographyImageStorage == ds.file_meta.MediaStorageSOPClassUID
    assert ds.SOPInstanceUID != again.SOPInstanceUID
    assert ds.SOPInstanceUID.startswith("2.25.")
    assert ds.SeriesInstanceUID == again.SeriesInstanceUID
    assert ds.SeriesInstanceUID != opened(enhanced(source)).SeriesInstanceUID, "other settings, other series"
    assert ds.StudyInstanceUID == opened(enhanced(source)).StudyInstanceUID
    assert preset.digest[:12] in ds.DerivationDescription
    assert "clip_limit=2.5" in ds.DerivationDescription
    assert len(ds.DerivationDescription) <= 1024
    assert ds.PresentationIntentType == "FOR PRESENTATION"
    assert ds.BurnedInAnnotation == "YES"
    assert "BurnedInAnnotation" not in opened(enhanced(dicom(smooth(), 12)))
    assert ds.Modality == "CR"
    assert ds.ExposureIndex == 300
    item = ds.SourceImageSequence[0]
    assert item.ReferencedSOPClassUID == ComputedRadiographyImageStorage
    assert item.SpatialLocationsPreserved == "YES"
    assert "Jane Doe" not in str(ds)
    assert ds.LossyImageCompression == "00"
    assert abs(datetime.strptime(ds.InstanceCreationDate, "%Y%m%d") - datetime.now()).days < 2


def test_the_frame_is_named_in_the_source() -> None:
    frames = np.stack([smooth()[:, :, None]] * 3)
    item = opened(enhanced(dicom(frames, 12), choice=DicomChoice(frame=2))).SourceImageSequence[0]
    assert item.ReferencedFrameNumber == 2


@pytest.mark.parametrize("fit", ["pad", "stretch", "crop"])
@pytest.mark.parametrize("size", [(80, 160), (161, 93)])
def test_spacing_is_that_of_the_new_pixels(fit: str, size: tuple[int, int]) -> None:
    height, width = size
    source = dicom(smooth(height, width), 12, PixelSpacing=["0.2", "0.4"], ImagerPixelSpacing=["0.3", "0.6"])
    settings = {"resize.on": True, "resize.size": 64, "resize.fit": fit, "resize.interpolation": "linear"}
    ds = opened(enhanced(source, create(settings)))
    # Measured: a ramp of one a pixel through the same step rises by so many source pixels for each of the new ones.
    for axis, name in ((0, 0), (1, 1)):
        ramp = np.broadcast_to(np.arange(size[axis])[:, None] if axis == 0 else np.arange(size[axis])[None], size)
        out = run((ramp * 100).astype(np.uint16), settings | dict.fromkeys(OFF, False)).astype(float)
        middle = out[32, 24:40] if axis else out[24:40, 32]
        pixels = np.polyfit(np.arange(16), middle, 1)[0] / 100
        assert ds.PixelSpacing[name] == pytest.approx([0.2, 0.4][axis] * pixels, rel=0.02)
        assert ds.ImagerPixelSpacing[name] == pytest.approx([0.3, 0.6][axis] * pixels, rel=0.02)
    assert ds.SourceImageSequence[0].SpatialLocationsPreserved == "NO"


OFF = ("bilateral.on", "clahe.on", "sharpen.on", "normalize.on")


def test_the_spacing_of_a_frame_is_carried() -> None:
    shared, spacing = Dataset(), Dataset()
    spacing.PixelSpacing = ["0.2", "0.3"]
    shared.PixelMeasuresSequence = [spacing]
    ds = opened(enhanced(dicom(smooth(), 12, SharedFunctionalGroupsSequence=[shared])))
    assert list(ds.PixelSpacing) == [0.2, 0.3]


def test_cropping_moves_pixels_and_keeps_their_spacing() -> None:
    source = dicom(smooth(), 12, PixelSpacing=["0.2", "0.4"])
    ds = opened(enhanced(source, create({"crop.on": True, "crop.left": 10.0})))
    assert list(ds.PixelSpacing) == [0.2, 0.4]
    assert ds.SourceImageSequence[0].SpatialLocationsPreserved == "NO"
    assert scale((47, 61), {"crop.on": True, "crop.left": 10.0}) == (1.0, 1.0)


def test_scale_counts_what_cropping_leaves() -> None:
    settings = {"crop.on": True, "crop.left": 40.0, "resize.on": True, "resize.size": 96, "resize.fit": "stretch"}
    assert scale((100, 48), settings) == (96 / 60, 2.0)
    assert not moved({"clahe.on": True})
    assert moved(settings)
    assert "resize size=96 fit=stretch" in summary(settings)


def test_a_squashed_film_without_spacing_tells_its_aspect() -> None:
    settings = {"resize.on": True, "resize.size": 64, "resize.fit": "stretch"}
    ds = opened(enhanced(dicom(smooth(64, 128), 12), create(settings)))
    assert ds.PixelAspectRatio[0] / ds.PixelAspectRatio[1] == pytest.approx(0.5)


def test_lossy_compression_is_carried() -> None:
    image = smooth(bits=8).astype(np.uint8)
    compressed = stored(dataset(image, 8), JPEGBaseline8Bit, imagecodecs.jpeg_encode(image, level=80))
    ds = opened(enhanced(compressed))
    assert (ds.LossyImageCompression, ds.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    assert ds.LossyImageCompressionRatio == pytest.approx(image.nbytes / len(compressed), abs=0.01)
    told = dicom(smooth(), 12, LossyImageCompression="01", LossyImageCompressionMethod="ISO_15444_1")
    ds = opened(enhanced(told))
    assert (ds.LossyImageCompression, ds.LossyImageCompressionMethod) == ("01", "ISO_15444_1")
    film = imagecodecs.jpeg_encode(image, level=80)
    ds = opened(enhanced(film))
    assert (ds.LossyImageCompression, ds.SOPClassUID) == ("01", SecondaryCaptureImageStorage)


DX = {
    "SOPClassUID": DigitalXRayImageStorageForProcessing,
    "Modality": "DX",
    "ImageLaterality": "U",
    "BodyPartExamined": "CHEST",
    "PixelIntensityRelationship": "LOG",
    "PixelIntensityRelationshipSign": 1,
    "BurnedInAnnotation": "NO",
    "ImagerPixelSpacing": ["0.14", "0.14"],
    "PositionerType": "NONE",
    "PatientOrientation": ["L", "F"],
    "ViewPosition": "PA",
}


def test_the_class_is_the_sources_where_it_can_be() -> None:
    complete = opened(enhanced(dicom(smooth(), 12, **DX)))
    assert complete.SOPClassUID == DigitalXRayImageStorageForPresentation
    assert complete.PixelIntensityRelationshipSign == -1, "more beam, lower values"
    lacking = opened(enhanced(dicom(smooth(), 12, **{**DX, "BurnedInAnnotation": ""})))
    assert lacking.SOPClassUID == SecondaryCaptureImageStorage
    png = opened(derived(smooth()))
    assert (png.SOPClassUID, png.ConversionType) == (SecondaryCaptureImageStorage, "WSD")
    assert "SourceImageSequence" not in png


# --- settings go round ------------------------------------------------------------------------------------------------


def test_film_to_dicom_to_settings_to_the_same_picture() -> None:
    source = dicom(smooth(), 12, "MONOCHROME1", WindowCenter=["1000", "2000"], WindowWidth=["3000", "2500"])
    choice = DicomChoice(voi="window", window=2)
    preset = create({"clahe.clip_limit": 1.7, "gamma.on": True, "gamma.gamma": 0.85}, name="mine", note="of Jane")
    data = enhanced(source, preset, choice)
    found = settings_of(data)
    assert found is not None
    assert found["digest"] == preset.digest
    again, choice_again = Preset(found["preset"]), DicomChoice(**found["dicom"])
    assert (again.settings, again.digest, choice_again) == (preset.settings, preset.digest, choice)
    assert (again.name, again.note, again.tuned_size) == ("", "", None)
    anew = run(decode(source, "film.dcm", page=choice_again.frame, dicom=choice_again).pixels, again.settings)
    assert np.array_equal(anew, decode(data, "film.dcm").pixels)


@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG", bytes(128) + b"DICM", dicom(smooth())], ids=["", "PNG", "DICM", "film"]
)
def test_files_that_are_not_ours_have_no_settings(data: bytes) -> None:
    assert settings_of(data) is None


def test_settings_are_left_out_where_no_text_is_given() -> None:
    source = dicom(smooth(), 12)
    origin = replace(derivation(builtin("standard"), decode(source, "a"), DicomChoice(), source), text="")
    data = derived(smooth(), origin)
    assert settings_of(data) is None
    assert "clahe" not in opened(data).DerivationDescription
    assert len(opened(data).SourceImageSequence) == 1


@pytest.mark.parametrize(
    "text", ["{", "[]", "1", '{"digest": "", "preset": 7}', "[" * 100_000, '"' + "x" * 2_000_000 + '"']
)
def test_hostile_settings_are_none(text: str) -> None:
    ds = dataset(smooth())
    block = ds.private_block(0x0071, "RADTUNE 1", create=True)
    block.add_new(1, "UT", text)
    block.add_new(2, "UT", "{}")
    assert settings_of(stored(ds)) is None


def test_settings_stand_in_a_block_that_is_declared_safe() -> None:
    ds = opened(enhanced(dicom(smooth(), 12)))
    item = ds.PrivateDataElementCharacteristicsSequence[0]
    assert (item.PrivateGroupReference, item.PrivateCreatorReference) == (0x0071, "RADTUNE 1")
    assert item.BlockIdentifyingInformationStatus == "SAFE"


# --- identity ---------------------------------------------------------------------------------------------------------


def canary_file(**elements: Any) -> bytes:
    return stored(with_canaries(dataset(smooth(), 12, **elements)))


def test_no_word_of_the_source_is_in_the_output() -> None:
    source = canary_file()
    assert source.count(CANARY.encode()) > 1000
    assert CANARY.encode() not in enhanced(source)
    assert CANARY.encode() not in enhanced(canary_file(SOPClassUID=DigitalXRayImageStorageForProcessing))


def test_the_basic_profile_is_kept() -> None:
    """No element of PS3.15 Table E.1-1, as a library of its own has it, keeps what the source said."""
    source = canary_file(
        **{**IDENTITY, "SOPInstanceUID": "1.2.3.99", "StudyTime": "101112", "AcquisitionDate": "20240506"}
    )
    ds, before = opened(enhanced(source)), opened(source)
    listed = {tag for tag in table_e1.ALL_TAGS if len(tag) == 2}
    assert len(listed) > 500
    for element in ds.iterall():
        tag = (element.tag.group, element.tag.element)
        if tag in listed and element.value not in ("", None, []):
            assert before.get(element.tag) is None or before[element.tag].value != element.value, element.keyword
    assert not [element for element in ds.iterall() if element.tag.group % 2 and element.tag.group != 0x0071]
    assert "PatientIdentityRemoved" not in ds, "none has looked at the pixels"
    assert ds.LongitudinalTemporalInformationModified == "REMOVED"
    assert ds.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    assert (ds.PatientName, ds.PatientID, ds.StudyDate, ds.AccessionNumber) == ("", "", "", "")
    for uid in ("1.2.3.99", "1.2.3.4.1"):
        assert uid.encode() not in enhanced(source)


@pytest.mark.parametrize(("burned_in", "removed"), [("NO", "YES"), ("YES", None), ("", None), (CANARY, None)])
def test_identity_counts_as_removed_where_the_pixels_are_known_to_hold_none(burned_in: str, removed: object) -> None:
    ds = opened(enhanced(dicom(smooth(), 12, BurnedInAnnotation=burned_in)))
    assert ds.get("PatientIdentityRemoved") == removed
    assert ds.get("BurnedInAnnotation") == (burned_in if burned_in in ("YES", "NO") else None)


def test_numbers_that_are_none_are_left_out() -> None:
    source = dataset(smooth(), 12, ExposureIndex="300", KVP="80", Exposure="12")
    for keyword, text in (("ExposureIndex", "nan"), ("KVP", "1e999"), ("Exposure", "99999999999")):
        source[keyword] = DataElement(keyword, "SH", text)
    source["Modality"] = DataElement("Modality", "US", 7)
    ds = opened(enhanced(stored(source)))
    assert not [keyword for keyword in ("ExposureIndex", "KVP", "Exposure") if keyword in ds]
    assert ds.Modality == "OT"


def test_identity_is_kept_on_an_explicit_word_alone() -> None:
    source = dicom(smooth(), 12, **IDENTITY, SOPInstanceUID="1.2.3.99")
    ds = opened(enhanced(source, keep=True))
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyDate", "AccessionNumber", "InstitutionName"):
        assert ds[keyword].value == IDENTITY[keyword]
    assert ds.StudyInstanceUID == "1.2.3.4"
    assert ds.SeriesInstanceUID != "1.2.3.4.1"
    assert ds.SourceImageSequence[0].ReferencedSOPInstanceUID == "1.2.3.99"
    assert (ds.Manufacturer, ds.ContributingEquipmentSequence[0].Manufacturer) == ("RadTune", "Maker")
    assert "PatientIdentityRemoved" not in ds
    for suffix in (".png", ".tif", ".npz"):
        with pytest.raises(SettingsError, match="keep-identity"):
            check_identity(suffix, True)


def test_a_foreign_character_set_survives_keeping() -> None:
    source = dicom(smooth(), 12, SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jürgen")
    assert opened(enhanced(source, keep=True)).PatientName == "Müller^Jürgen"


def test_no_word_of_the_source_comes_out_of_the_command_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    good = canary_file()
    (folder / "good.dcm").write_bytes(good)
    (folder / "many.dcm").write_bytes(stored(with_canaries(dataset(np.stack([smooth()[:, :, None]] * 2), 12))))
    (folder / "cut.dcm").write_bytes(good[:-100])
    (folder / "no_picture.dcm").write_bytes(good[: good.rindex(b"\xe0\x7f\x10\x00")])
    (folder / "strange.dcm").write_bytes(canary_file(PhotometricInterpretation=CANARY))
    (folder / "bits.dcm").write_bytes(canary_file(BitsStored=99))
    (folder / "syntax.dcm").write_bytes(good.replace(b"1.2.840.10008.1.2.1\0", CANARY.encode().ljust(20, b"\0")))
    for kind in ("dcm", "png"):
        out = tmp_path / kind
        monkeypatch.setattr("sys.argv", ["radtune", "batch"])
        status = cli.main(["batch", str(folder), str(out), "--format", kind, "--workers", "1"])
        assert status == 1
        for path in sorted(folder.iterdir()):
            cli.main(["enhance", str(path), str(tmp_path / f"one.{kind}"), "--voi", "none"])
    printed = "".join(capfd.readouterr())
    assert "Page 1 of 2." in printed
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.parent != folder]
    # Three outputs, log, report and two records; what else is written are the books, which are looked through as well.
    assert len([path for path in written if ".radtune" not in path.parts]) == 2 * (3 + 4) + 2
    log = (tmp_path / "dcm" / "log.csv").read_text()
    assert log.count("SUCCESS") == 3
    assert log.count("FAILURE") == 5
    assert "dicom.voi" in log
    for content in [printed.encode(), *(path.read_bytes() for path in written)]:
        assert CANARY.encode() not in content


# --- other programs ---------------------------------------------------------------------------------------------------


def programs_output(program: str, *arguments: object) -> str:
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed (Debian: dicom3tools, dcmtk)")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def sources() -> dict[str, bytes]:
    made = {
        "cr": dicom(smooth(), 12, Modality="CR", BodyPartExamined="CHEST", ViewPosition="PA", **IDENTITY),
        "dx": dicom(smooth(), 12, **DX, **IDENTITY),
        "dx_lacking": dicom(
            smooth(), 12, Modality="DX", SOPClassUID=DigitalXRayImageStorageForPresentation, **IDENTITY
        ),
        "rgb": dicom(np.dstack([smooth(bits=8).astype(np.uint8)] * 3), 8, "RGB"),
        "png": encode(smooth(), ".png"),
        "jpg": encode(smooth(), ".jpg"),
    }
    return made | {path.name: path.read_bytes() for path in REAL}


SOURCES = sources()


@pytest.mark.parametrize("keep", [False, True], ids=["removed", "kept"])
@pytest.mark.parametrize("name", SOURCES)
def test_a_validator_finds_no_error(name: str, keep: bool, tmp_path: Path) -> None:
    path = tmp_path / "out.dcm"
    path.write_bytes(enhanced(SOURCES[name], keep=keep))
    report = programs_output("dciodvfy", "-new", path)
    faults = [line for line in report.splitlines() if line.startswith("Error")]
    if keep and name in (file.name for file in REAL):
        # What is carried as the source has it may be wrong as the source is; what is ours may not.
        faults = [line for line in faults if "0008,2" in line or "0028" in line or "0071" in line]
    assert not faults, report
    assert not programs_output("dcmdump", "-q", "+fo", path).count("error")


@pytest.mark.parametrize("name", ["cr", "dx", "png"])
def test_dcmtk_shows_the_same_picture(name: str, tmp_path: Path) -> None:
    path = tmp_path / "out.dcm"
    path.write_bytes(enhanced(SOURCES[name]))
    programs_output("dcmj2pnm", "+op", "+Ww", "32768", "65536", path, tmp_path / "out.pgm")
    shown = read_pgm((tmp_path / "out.pgm").read_bytes())
    ours = read(path).pixels
    assert np.abs(shown.astype(float) - ours * (shown.max() / ours.max())).max() <= 1


def read_pgm(data: bytes) -> np.ndarray:
    kind, size, white, body = data.split(b"\n", 3) if data[3:4] != b"#" else _without_comment(data)
    width, height = map(int, size.split())
    assert kind == b"P5"
    return np.frombuffer(body, ">u2" if int(white) > 255 else "u1").reshape(height, width)


def _without_comment(data: bytes) -> list[bytes]:
    kind, _, rest = data.split(b"\n", 2)
    return [kind, *rest.split(b"\n", 2)]


# --- writing ----------------------------------------------------------------------------------------------------------


def test_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write(tmp_path / "a" / "film.dcm", smooth())
    write(tmp_path / "a" / "film.dcm", smooth(20, 30))
    assert read(tmp_path / "a" / "film.dcm").size == (30, 20)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["film.dcm"]


def test_resuming_with_another_choice_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(dicom(np.stack([smooth()[:, :, None]] * 3), 12))
    given = ["batch", str(tmp_path / "in"), str(tmp_path / "out"), "--workers", "1"]
    assert cli.main([*given, "--voi", "none"]) == 0
    assert cli.main([*given, "--resume"]) == 2
    assert 'dicom.voi "none" -> null' in capfd.readouterr().err
    assert cli.main([*given, "--resume", "--voi", "none"]) == 0


@pytest.mark.parametrize("flags", [["--voi", "LUT"], ["--window", "x"], ["--keep-identity"]])
def test_wrong_choices_are_refused(flags: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.dcm").write_bytes(dicom(smooth(), 12))
    assert cli.main(["enhance", str(tmp_path / "a.dcm"), str(tmp_path / "out.png"), *flags]) == 2
    assert flags[0] in capfd.readouterr().err
