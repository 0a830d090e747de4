"""What a derived DICOM image takes over from its source, by lists: all else stays behind, and so does every name.

To name what must go instead (DICOM PS3.15 Table E.1-1) would leave whatever a maker writes elsewhere. Of texts only
those of a closed set are carried. UIDs are replaced by ones computed from them, so that the pictures of a study stay
together over any number of runs; who holds the originals can tell which they are.
"""

from __future__ import annotations

import hashlib
import uuid
from copy import deepcopy

from pydicom import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import generate_uid
from pydicom.valuerep import format_number_as_ds

from xray_core.dicom_file import numbers
from xray_core.errors import FileError

_WHOLE_NUMBERS = ("Exposure", "InstanceNumber")
_NUMBERS = (
    *("KVP", "ExposureIndex", "TargetExposureIndex", "DeviationIndex", "LossyImageCompressionRatio"),
    *("DistanceSourceToDetector", "DistanceSourceToPatient", "EstimatedRadiographicMagnificationFactor"),
)
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
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
CARRIED = (*_WHOLE_NUMBERS, *_NUMBERS, *SPACINGS, *_WORDS, *_UIDS)
"""The allow-list: without a word of the user nothing else of the source is even read."""
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


def carry_identity(ds: Dataset, source: Dataset) -> None:
    """Copy what says of whom, when and where a film is; for those who ask for it."""
    for element in source:
        tag = element.tag
        if tag.group in _IDENTITY_GROUPS and not tag.is_private and element.keyword not in _OF_THE_PIXELS:
            ds.add(deepcopy(element))
    if ds.get("Manufacturer"):
        # The picture's equipment is RadTune; that of the film is named as such (PS3.3 C.7.5.2).
        item = Dataset()
        item.PurposeOfReferenceCodeSequence = [code("109101", "Acquisition Equipment")]
        for keyword in ("Manufacturer", "ManufacturerModelName", "InstitutionName", "StationName"):
            if keyword in ds:
                setattr(item, keyword, ds[keyword].value)
        ds.ContributingEquipmentSequence = [item]


def carry_facts(ds: Dataset, source: Dataset, keeps: bool) -> None:
    """Copy what says how a film was made; where identity is kept, whatever the words are."""
    for keyword in (*_WHOLE_NUMBERS, *_NUMBERS):
        for number in finite_numbers(source, keyword)[:1]:
            setattr(ds, keyword, str(int(number)) if keyword in _WHOLE_NUMBERS else format_number_as_ds(number))
    for keyword in SPACINGS:
        numbers = finite_numbers(source, keyword)
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
        ds.AnatomicRegionSequence = [code("51185008", "Chest", "SCT")]  # as PS3.16 Annex L maps it


def code(value: str, meaning: str, scheme: str = "DCM") -> Dataset:
    """Return an item of a code sequence (PS3.3 8.8)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def hashed(text: str) -> str:
    """Return a UID computed from a text (PS3.5 B.2: a UUID as a whole number)."""
    return f"2.25.{uuid.UUID(bytes=hashlib.sha256(f'RadTune {text}'.encode()).digest()[:16], version=5).int}"


def uid_of(source: Dataset, keyword: str, keeps: bool) -> str:
    """Return a UID of the source, or the one that takes its place; a new one where it has none."""
    uid = str(source.get(keyword) or "")
    if not uid:
        return str(generate_uid(None))
    return uid if keeps else hashed(uid)


def finite_numbers(ds: Dataset, keyword: str) -> list[float]:
    """Return an element's numbers that a DS or IS can hold; none where the file holds something else."""
    try:
        return [number for number in numbers(ds, keyword) if abs(number) < 2**31]
    except FileError:
        return []


def _texts(ds: Dataset, keyword: str) -> list[str]:
    value = ds.get(keyword)
    many = [value] if isinstance(value, str) else value if isinstance(value, MultiValue) else []
    return [str(text).strip() for text in many if text]
