"""A picture as a DICOM file: a new, derived instance that names its source and its settings, and no person.

What is carried from the source stands in the lists below; nothing else is, since to name what must go (DICOM PS3.15
Table E.1-1) leaves whatever a maker writes elsewhere. Of texts only those of a closed set are carried. UIDs are
replaced by ones computed from them, so that the pictures of a study stay together over any number of runs; who holds
the originals can tell which they are. What is in the pixels stays: Burned In Annotation is carried, and never guessed.

The settings are kept twice: in words in Derivation Description, and as a preset in a private block, which is declared
to be without identity (PS3.15 E.3.10), so that who removes names later may keep it.
"""

from __future__ import annotations

import hashlib
import io
import json
import uuid
from copy import deepcopy
from datetime import datetime
from typing import Any

from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from pydicom.valuerep import format_number_as_ds

from xray_core import __version__
from xray_core.derivation import Derivation
from xray_core.dicom_file import numbers, read_elements
from xray_core.errors import FileError
from xray_core.image import Image

_GROUP, _CREATOR = 0x0071, "RADTUNE 1"
_PRESET, _CHOICE = 0x01, 0x02
_MOST_SETTINGS = 1_000_000
_WHOLE_NUMBERS = ("Exposure", "InstanceNumber")
_NUMBERS = (
    *("KVP", "ExposureIndex", "TargetExposureIndex", "DeviationIndex", "LossyImageCompressionRatio"),
    *("DistanceSourceToDetector", "DistanceSourceToPatient", "EstimatedRadiographicMagnificationFactor"),
)
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_SIDES = ("L", "R", "B", "U")
_WORDS = {
    # What may stand in an element; a source that says something else says nothing.
    "Modality": ("CR", "DX", "RG", "XA", "RF", "MG", "IO", "PX", "OT", "SC", "CT", "MR", "NM", "PT", "US", "XC"),
    "BodyPartExamined": ("CHEST", "THORAX", "LUNG", "RIB", "ABDOMEN", "CLAVICLE", "HEART", "SPINE", "STERNUM"),
    "ViewPosition": ("AP", "PA", "LL", "RL", "RLD", "LLD", "RLO", "LLO"),
    "Laterality": _SIDES[:2],
    "ImageLaterality": _SIDES,
    "PatientOrientation": ("L", "R", "A", "P", "H", "F", *(a + b for a in "LRAPHF" for b in "LRAPHF")),
    "PositionerType": ("COLUMN", "NONE", "CARM"),
    "DetectorType": ("DIRECT", "SCINTILLATOR", "STORAGE", "FILM"),
    "BurnedInAnnotation": ("YES", "NO"),
    "PixelSpacingCalibrationType": ("GEOMETRY", "FIDUCIAL"),
    "PixelIntensityRelationship": ("LIN", "LOG"),
    "LossyImageCompression": ("00", "01"),
    "LossyImageCompressionMethod": ("ISO_10918_1", "ISO_14495_1", "ISO_15444_1", "ISO_15444_15", "ISO_13818_2"),
}
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_CARRIED = (*_WHOLE_NUMBERS, *_NUMBERS, *_SPACINGS, *_WORDS, *_UIDS)
"""The allow-list: without a word of the user nothing else of the source is even read."""
_LOSSY = {
    # Transfer syntaxes that lose something, and their Lossy Image Compression Method (PS3.3 C.7.6.1.1.5.1).
    "1.2.840.10008.1.2.4.50": "ISO_10918_1",
    "1.2.840.10008.1.2.4.51": "ISO_10918_1",
    "1.2.840.10008.1.2.4.81": "ISO_14495_1",
    "1.2.840.10008.1.2.4.91": "ISO_15444_1",
    "1.2.840.10008.1.2.4.203": "ISO_15444_15",
}
# Type 2 elements: they must be there, and may be empty.
_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("AccessionNumber", "ReferringPhysicianName", "SeriesNumber", "InstanceNumber", "PatientOrientation"),
)
_IDENTITY_GROUPS = (0x0008, 0x0010, 0x0012, 0x0020, 0x0032, 0x0038, 0x0040)
# Of those groups, what describes the source's pixels and would be wrong of ours.
_OF_THE_PIXELS = (
    *("ReferencedImageSequence", "SourceImageSequence", "DerivationCodeSequence", "InstanceCreatorUID"),
    *("ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID", "PositionReferenceIndicator"),
    *(
        "SliceLocation",
        "NumberOfTemporalPositions",
        "TimezoneOffsetFromUTC",
        "PrivateDataElementCharacteristicsSequence",
    ),
    *("RealWorldValueMappingSequence", "SeriesNumber", "SeriesDescription", "SeriesDate", "SeriesTime"),
)
_DX_NEEDS = (
    *("ImageLaterality", "AnatomicRegionSequence", "PixelIntensityRelationship", "PixelIntensityRelationshipSign"),
    *("BurnedInAnnotation", "ImagerPixelSpacing", "PositionerType"),
)


def derived(image: Image, origin: Derivation | None = None, now: datetime | None = None) -> bytes:
    """Return a picture as the bytes of a DICOM file.

    Parameters
    ----------
    image
        (H, W) ``uint8`` or ``uint16``, gray. It is stored as it is: MONOCHROME2, uncompressed, with a window over the
        whole range, so that every viewer shows its values as they are.
    origin
        What it was made of. A CR source gives CR; a DX source gives DX For Presentation where it holds all that this
        class needs; anything else gives a Secondary Capture.
    now
        Time of making, local; the present if None.

    Returns
    -------
    data
        A new file each time: its SOP Instance UID is new, its Series UID the same for one source series and settings.

    Raises
    ------
    FileError
        If elements of the source can't be carried.

    References
    ----------
    DICOM PS3.3 C.7.6.1 (General Image), C.8.6 (Secondary Capture), C.8.11 (DX); PS3.15 E.1 (basic profile).
    """
    try:
        return _file(_dataset(image, origin, now or datetime.now()))
    except FileError:
        raise
    except Exception:
        # Elements that are carried are as the source wrote them, and pydicom refuses some of what is found there.
        raise FileError("WRITE", "elements of the source can't be carried into a new DICOM file") from None


def _dataset(image: Image, origin: Derivation | None, moment: datetime) -> Dataset:
    keeps = bool(origin and origin.keep_identity)
    source = read_elements(origin.source, None if keeps else _CARRIED) if origin and origin.source else Dataset()
    ds = Dataset()
    if keeps:
        _carry_identity(ds, source)
    _carry_facts(ds, source, keeps)
    if origin:
        _scale(ds, origin)
        _tell_source(ds, source, origin)
        _tell_settings(ds, origin)
    _tell_making(ds, moment)
    _put_pixels(ds, image)
    for keyword in (*_EMPTY, *_side_needed(ds)):
        if keyword not in ds:
            setattr(ds, keyword, "")
    ds.StudyInstanceUID = _uid(source, "StudyInstanceUID", keeps)
    made = origin.digest if origin else ""
    ds.SeriesInstanceUID = (
        _hashed(f"{_uid(source, 'SeriesInstanceUID', keeps)} {made}") if source else generate_uid(None)
    )
    ds.SOPInstanceUID = generate_uid(None)
    if not keeps:
        _say_no_identity(ds)
    _choose_class(ds, source)
    return ds


def settings_of(data: bytes) -> dict[str, Any] | None:
    """Return the settings that a DICOM file says it was made with.

    Parameters
    ----------
    data
        The whole file, of any kind.

    Returns
    -------
    settings
        ``{"preset": <document>, "dicom": {"voi": ..., "window": ..., "frame": ...}}``, of which nothing is checked yet;
        None where the file is no DICOM, or not ours.
    """
    try:
        block = read_elements(data, None).private_block(_GROUP, _CREATOR)
        texts = [str(block[element].value) for element in (_PRESET, _CHOICE)]
        if sum(map(len, texts)) > _MOST_SETTINGS:
            return None
        preset, choice = (json.loads(text) for text in texts)
    except Exception:  # pydicom raises nearly anything on damaged input
        return None
    return {"preset": preset, "dicom": choice} if isinstance(preset, dict) and isinstance(choice, dict) else None


def _carry_identity(ds: Dataset, source: Dataset) -> None:
    for element in source:
        tag = element.tag
        if tag.group in _IDENTITY_GROUPS and not tag.is_private and element.keyword not in _OF_THE_PIXELS:
            ds.add(deepcopy(element))
    if ds.get("Manufacturer"):
        # The picture's equipment is RadTune; that of the film is named as such (PS3.3 C.7.5.2).
        item = Dataset()
        item.PurposeOfReferenceCodeSequence = [_code("109101", "Acquisition Equipment")]
        for keyword in ("Manufacturer", "ManufacturerModelName", "InstitutionName", "StationName"):
            if keyword in ds:
                setattr(item, keyword, ds[keyword].value)
        ds.ContributingEquipmentSequence = [item]


def _carry_facts(ds: Dataset, source: Dataset, keeps: bool) -> None:
    for keyword in (*_WHOLE_NUMBERS, *_NUMBERS):
        for number in _numbers(source, keyword)[:1]:
            setattr(ds, keyword, str(int(number)) if keyword in _WHOLE_NUMBERS else format_number_as_ds(number))
    for keyword in _SPACINGS:
        numbers = _numbers(source, keyword)
        if len(numbers) == 2 and min(numbers) > 0:
            setattr(ds, keyword, [format_number_as_ds(number) for number in numbers])
    for keyword, allowed in _WORDS.items():
        values = _texts(source, keyword)
        if values and (keeps or all(value in allowed for value in values)):
            setattr(ds, keyword, values if len(values) > 1 else values[0])
        elif keyword in ds:
            del ds[keyword]
    if ds.get("BodyPartExamined") == "THORAX":  # written by some devices, but DICOM's word is the other
        ds.BodyPartExamined = "CHEST"
    if "AnatomicRegionSequence" in ds and not ds.AnatomicRegionSequence:
        del ds.AnatomicRegionSequence  # empty, which is wrong, but found
    if ds.get("BodyPartExamined") == "CHEST" and "AnatomicRegionSequence" not in ds:
        ds.AnatomicRegionSequence = [_code("51185008", "Chest", "SCT")]  # as PS3.16 Annex L maps it


def _scale(ds: Dataset, origin: Derivation) -> None:
    """Let distances be those of the new pixels."""
    down, across = origin.scale
    for keyword in _SPACINGS:
        if values := _numbers(ds, keyword):
            setattr(ds, keyword, [format_number_as_ds(values[0] / down), format_number_as_ds(values[1] / across)])
    if not any(keyword in ds for keyword in _SPACINGS) and abs(down / across - 1) > 1e-3:
        ds.PixelAspectRatio = [round(1000 / down), round(1000 / across)]


def _tell_source(ds: Dataset, source: Dataset, origin: Derivation) -> None:
    sop_class, instance = source.get("SOPClassUID"), source.get("SOPInstanceUID")
    if instance and UID(str(sop_class)).type == "SOP Class":
        item = Dataset()
        item.ReferencedSOPClassUID = sop_class
        item.ReferencedSOPInstanceUID = _uid(source, "SOPInstanceUID", origin.keep_identity)
        if origin.film.dicom and origin.film.dicom.frames > 1:
            item.ReferencedFrameNumber = str(origin.film.dicom.frame)
        item.SpatialLocationsPreserved = "NO" if origin.moved else "YES"
        item.PurposeOfReferenceCodeSequence = [_code("121322", "Source image for image processing operation")]
        ds.SourceImageSequence = [item]
    method = "ISO_10918_1" if origin.film.container == "JPEG" else ""
    if source:
        method = _LOSSY.get(str(source.file_meta.TransferSyntaxUID), "")
    if method:
        ds.LossyImageCompression = "01"
        ds.LossyImageCompressionMethod = ds.get("LossyImageCompressionMethod") or method
        if "LossyImageCompressionRatio" not in ds and origin.file_bytes:
            plain = origin.film.pixels.nbytes * (origin.film.dicom.frames if origin.film.dicom else 1)
            ds.LossyImageCompressionRatio = format_number_as_ds(round(plain / origin.file_bytes, 2))


def _tell_settings(ds: Dataset, origin: Derivation) -> None:
    words = f"RadTune {__version__}, settings {origin.digest[:12]}, not for diagnosis: {origin.summary}"
    ds.DerivationDescription = words if len(words) <= 1024 else words[:1021] + "..."
    block = ds.private_block(_GROUP, _CREATOR, create=True)
    block.add_new(_PRESET, "UT", json.dumps(origin.preset, sort_keys=True, ensure_ascii=True))
    choice = origin.choice
    block.add_new(_CHOICE, "UT", json.dumps({"voi": choice.voi, "window": choice.window, "frame": choice.frame}))
    safe = Dataset()
    safe.PrivateGroupReference = _GROUP
    safe.PrivateCreatorReference = _CREATOR
    safe.BlockIdentifyingInformationStatus = "SAFE"
    ds.PrivateDataElementCharacteristicsSequence = [safe]


def _tell_making(ds: Dataset, moment: datetime) -> None:
    ds.SpecificCharacterSet = ds.get("SpecificCharacterSet") or "ISO_IR 192"
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.InstanceCreationDate, ds.InstanceCreationTime = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
    ds.ContentDate, ds.ContentTime = ds.InstanceCreationDate, ds.InstanceCreationTime
    ds.SeriesDescription = "RadTune, not for diagnosis"
    ds.Manufacturer, ds.ManufacturerModelName, ds.SoftwareVersions = "RadTune", "RadTune", __version__
    ds.Modality = ds.get("Modality") or "OT"
    ds.PresentationIntentType = "FOR PRESENTATION"


def _put_pixels(ds: Dataset, image: Image) -> None:
    bits = 8 * image.dtype.itemsize
    ds.Rows, ds.Columns = image.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = bits, bits, bits - 1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "US"
    # Without a window many viewers take one from the content.
    ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction = str(2 ** (bits - 1)), str(2**bits), "LINEAR"
    ds.PresentationLUTShape = "IDENTITY"
    if ds.get("PixelIntensityRelationship"):
        # Lungs are dark: more beam, lower values (PS3.3 C.8.11.3.1.2).
        ds.PixelIntensityRelationshipSign = -1
    ds.LossyImageCompression = ds.get("LossyImageCompression") or "00"
    data = image.astype(image.dtype.newbyteorder("<"), copy=False).tobytes()
    ds.add_new("PixelData", "OW" if bits == 16 else "OB", data + b"\0" * (len(data) % 2))


def _side_needed(ds: Dataset) -> tuple[str, ...]:
    """Return the element for the side where one must stand: a part that the body has twice, or none named (C.7.3.1)."""
    paired = (ds.get("BodyPartExamined") or "") in ("", "CLAVICLE", "LUNG", "RIB")
    return ("Laterality",) if paired and "ImageLaterality" not in ds else ()


def _say_no_identity(ds: Dataset) -> None:
    if ds.get("BurnedInAnnotation") == "NO":
        ds.PatientIdentityRemoved = "YES"  # this speaks of the pixels too (PS3.3 C.7.1.1), which no one has looked at
    ds.DeidentificationMethod = "Elements by an allow-list of RadTune; pixels as they were"
    ds.DeidentificationMethodCodeSequence = [_code("113100", "Basic Application Confidentiality Profile")]
    ds.LongitudinalTemporalInformationModified = "REMOVED"


def _choose_class(ds: Dataset, source: Dataset) -> None:
    of_source = source.get("SOPClassUID")
    is_dx = of_source in (DigitalXRayImageStorageForPresentation, DigitalXRayImageStorageForProcessing)
    if of_source == ComputedRadiographyImageStorage:
        ds.SOPClassUID = ComputedRadiographyImageStorage
        for keyword in ("BodyPartExamined", "ViewPosition"):
            if keyword not in ds:
                setattr(ds, keyword, "")
    elif is_dx and all(ds.get(keyword) for keyword in _DX_NEEDS):
        ds.SOPClassUID = DigitalXRayImageStorageForPresentation
        ds.AcquisitionContextSequence = []
        if "DetectorType" not in ds:
            ds.DetectorType = ""
    else:
        ds.SOPClassUID = SecondaryCaptureImageStorage
        ds.ConversionType = "WSD"


def _file(ds: Dataset) -> bytes:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stream = io.BytesIO()
    dcmwrite(stream, ds, enforce_file_format=True)
    return stream.getvalue()


def _code(value: str, meaning: str, scheme: str = "DCM") -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _hashed(text: str) -> str:
    """Return a UID computed from a text (PS3.5 B.2: a UUID as a whole number)."""
    return f"2.25.{uuid.UUID(bytes=hashlib.sha256(f'RadTune {text}'.encode()).digest()[:16], version=5).int}"


def _uid(source: Dataset, keyword: str, keeps: bool) -> str:
    uid = str(source.get(keyword) or "")
    if not uid:
        return str(generate_uid(None))
    return uid if keeps else _hashed(uid)


def _numbers(ds: Dataset, keyword: str) -> list[float]:
    try:
        return [number for number in numbers(ds, keyword) if abs(number) < 2**31]
    except FileError:
        return []


def _texts(ds: Dataset, keyword: str) -> list[str]:
    value = ds.get(keyword)
    many = [value] if isinstance(value, str) else value if isinstance(value, MultiValue) else []
    return [str(text).strip() for text in many if text]
