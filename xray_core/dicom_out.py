"""A picture as a DICOM file: a new, derived instance that names its source and its settings, and no person.

What is carried from the source stands in `xray_core.dicom_carried`. What is in the pixels stays; so Burned In
Annotation is carried, and never guessed.

The settings are kept twice: in words in Derivation Description, and as a preset in a private block, which is declared
to be without identity (PS3.15 E.3.10), so that who removes names later may keep it.
"""

from __future__ import annotations

import io
import json
from datetime import datetime
from typing import Any

from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
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
from xray_core.dicom_carried import CARRIED, SPACINGS, carry_facts, carry_identity, code, finite_numbers, hashed, uid_of
from xray_core.dicom_file import read_elements
from xray_core.errors import FileError
from xray_core.image import Image

_GROUP, _CREATOR = 0x0071, "RADTUNE 1"
_PRESET, _CHOICE = 0x01, 0x02
_MOST_SETTINGS = 1_000_000
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
    source = read_elements(origin.source, None if keeps else CARRIED) if origin and origin.source else Dataset()
    ds = Dataset()
    if keeps:
        carry_identity(ds, source)
    carry_facts(ds, source, keeps)
    if origin:
        _scale(ds, origin)
        _tell_source(ds, source, origin)
        _tell_settings(ds, origin)
    _tell_making(ds, moment)
    _put_pixels(ds, image)
    for keyword in (*_EMPTY, *_side_needed(ds)):
        if keyword not in ds:
            setattr(ds, keyword, "")
    ds.StudyInstanceUID = uid_of(source, "StudyInstanceUID", keeps)
    made = origin.digest if origin else ""
    ds.SeriesInstanceUID = (
        hashed(f"{uid_of(source, 'SeriesInstanceUID', keeps)} {made}") if source else generate_uid(None)
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
        ``{"digest": ..., "preset": <document>, "with": <flags>, "dicom": {"voi": ..., "window": ..., "frame": ...}}``,
        of which nothing is checked yet; None where the file is no DICOM, or not ours.
    """
    try:
        block = read_elements(data, None).private_block(_GROUP, _CREATOR)
        texts = [str(block[element].value) for element in (_PRESET, _CHOICE)]
        if sum(map(len, texts)) > _MOST_SETTINGS:
            return None
        carried, choice = (json.loads(text) for text in texts)
        return {"digest": str(carried["digest"]), "preset": dict(carried["preset"]), "dicom": dict(choice)} | {
            "with": dict(carried.get("with", {}))
        }
    except Exception:  # pydicom raises nearly anything on damaged input, and JSON may hold anything
        return None


def _scale(ds: Dataset, origin: Derivation) -> None:
    """Let distances be those of the new pixels."""
    down, across = origin.scale
    if origin.film.spacing and not any(keyword in ds for keyword in SPACINGS):
        # It is said elsewhere in the file: in a functional group, or in another format's words.
        ds.PixelSpacing = [format_number_as_ds(distance) for distance in origin.film.spacing]
    for keyword in SPACINGS:
        if values := finite_numbers(ds, keyword):
            setattr(ds, keyword, [format_number_as_ds(values[0] / down), format_number_as_ds(values[1] / across)])
    if not any(keyword in ds for keyword in SPACINGS) and abs(down / across - 1) > 1e-3:
        ds.PixelAspectRatio = [round(1000 / down), round(1000 / across)]


def _tell_source(ds: Dataset, source: Dataset, origin: Derivation) -> None:
    sop_class, instance = source.get("SOPClassUID"), source.get("SOPInstanceUID")
    if instance and UID(str(sop_class)).type == "SOP Class":
        item = Dataset()
        item.ReferencedSOPClassUID = sop_class
        item.ReferencedSOPInstanceUID = uid_of(source, "SOPInstanceUID", origin.keep_identity)
        if origin.film.dicom and origin.film.dicom.frames > 1:
            item.ReferencedFrameNumber = str(origin.film.dicom.frame)
        item.SpatialLocationsPreserved = "NO" if origin.moved else "YES"
        item.PurposeOfReferenceCodeSequence = [code("121322", "Source image for image processing operation")]
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
    words = f"RadTune {__version__}, not for diagnosis"
    if not origin.text:
        ds.DerivationDescription = words
        return
    words += f"; settings {origin.digest[:12]}: {origin.summary}"
    ds.DerivationDescription = words if len(words) <= 1024 else words[:1021] + "..."
    block = ds.private_block(_GROUP, _CREATOR, create=True)
    block.add_new(_PRESET, "UT", origin.text)
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
    ds.DeidentificationMethodCodeSequence = [code("113100", "Basic Application Confidentiality Profile")]
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
