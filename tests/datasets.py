"""DICOM files made for tests: any pixels, any elements, any transfer syntax that can be written."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

CANARY = "KANARIENVOGEL"


def dataset(pixels: np.ndarray, bits: int | None = None, photometric: str = "MONOCHROME2", **elements: Any) -> Dataset:
    """A data set with pixels of one frame (H, W), colour (H, W, 3) or many frames (N, H, W, 1), and more elements."""
    allocated = pixels.dtype.itemsize * 8
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = ComputedRadiographyImageStorage, "1.2.3.4.5"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3.4", "1.2.3.4.1"
    many = pixels.ndim == 4
    ds.Rows, ds.Columns = pixels.shape[1:3] if many else pixels.shape[:2]
    if many:
        ds.NumberOfFrames = len(pixels)
    ds.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    if pixels.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.PhotometricInterpretation = photometric
    ds.BitsAllocated, ds.BitsStored = allocated, bits or allocated
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(pixels.dtype.kind == "i")
    data = pixels.tobytes()
    ds.add_new("PixelData", "OW" if allocated == 16 else "OB", data + b"\0" * (len(data) % 2))
    for keyword, value in elements.items():
        if value is None:
            del ds[keyword]
        else:
            setattr(ds, keyword, value)
    return ds


def stored(ds: Dataset, syntax: UID = ExplicitVRLittleEndian, stream: bytes | None = None) -> bytes:
    """The file of a data set; `stream` takes the place of its pixels, as one compressed frame."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", ComputedRadiographyImageStorage)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", "1.2.3")
    ds.file_meta.TransferSyntaxUID = syntax
    if stream is not None:
        ds.PixelData = encapsulate([stream])
    ds["PixelData"].is_undefined_length = syntax.is_encapsulated
    out = io.BytesIO()
    dcmwrite(
        out, ds, enforce_file_format=True, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian
    )
    return out.getvalue()


def dicom(pixels: np.ndarray, bits: int | None = None, photometric: str = "MONOCHROME2", **elements: Any) -> bytes:
    """The file of `dataset`, in Explicit VR Little Endian."""
    return stored(dataset(pixels, bits, photometric, **elements))


def plain_syntaxes() -> list[UID]:
    return [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian]


def lookup(first: int, entries: list[int], bits: int, vr: str = "US") -> Dataset:
    """An item of a Modality or VOI LUT Sequence."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries) % 65536, first, bits])
    item.add_new("LUTData", vr, np.array(entries, "<u2").tobytes() if vr == "OW" else entries)
    return item


def with_canaries(ds: Dataset, word: str = CANARY) -> Dataset:
    """Put a word into every element of a text VR that the dictionary knows, nested ones and private ones too."""
    texts = {"AE": 16, "CS": 16, "LO": 64, "LT": 64, "PN": 64, "SH": 16, "ST": 64, "UC": 64, "UR": 64, "UT": 64}
    kept = {"PhotometricInterpretation", "VOILUTFunction", "PresentationLUTShape", "SpecificCharacterSet"}
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        if vr in texts and tag >> 16 not in (0, 2, 4) and keyword and keyword not in kept and keyword not in ds:
            ds.add_new(tag, vr, word[: texts[vr]])
    inner = Dataset()
    inner.PatientName = inner.CodeMeaning = word
    inner.OtherPatientIDsSequence = [Dataset()]
    inner.OtherPatientIDsSequence[0].PatientID = word
    ds.ReferencedStudySequence = [inner]
    ds.ContentSequence = [inner]
    ds.private_block(0x0009, "SOMEBODY", create=True).add_new(1, "LO", word)
    return ds
