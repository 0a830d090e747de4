"""Where a picture comes from: what an output that can hold words says of its making."""

from __future__ import annotations

from dataclasses import dataclass, field

from xray_core.dicom_choice import DicomChoice
from xray_core.image import Film


@dataclass(frozen=True)
class Derivation:
    """The film that a picture was made of, and what was done to it.

    Attributes
    ----------
    film
        The film before.
    digest
        Digest of the settings.
    text
        JSON of the digest and the preset, without name, note and films, so that it holds no word of a person. Where it
        is empty, the output says nothing of the settings.
    summary
        The settings in a line, for a person.
    choice
        Which greys and frame of a DICOM file were taken.
    scale
        How many pixels a distance of one pixel became, down and across.
    moved
        Whether pixels lie elsewhere than in the film: it was cropped, resized or turned.
    file_bytes
        Bytes of the film's file.
    source
        That file, where it is DICOM; empty for others.
    keep_identity
        Whether patient, study and institution are carried from the source. Never by default.
    """

    film: Film
    digest: str
    text: str = ""
    summary: str = ""
    choice: DicomChoice = field(default_factory=DicomChoice)
    scale: tuple[float, float] = (1.0, 1.0)
    moved: bool = False
    file_bytes: int = 0
    source: bytes = field(default=b"", repr=False)
    keep_identity: bool = False
