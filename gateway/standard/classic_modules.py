"""What the classic CT, MR and PET Image IODs require (PS3.3 tables A.3-1, A.4-1 and A.21.3-1, annex C).

Attributes of Type 1 and 2 at the top level of mandatory modules, as ``Keyword:Type``; identity and pixel data apart.
Conditional ones (1C, 2C) are listed where the condition is met by every image, or under `CONDITIONAL`.
"""

from __future__ import annotations

from typing import NamedTuple


class Required(NamedTuple):
    """What a module requires."""

    section: str
    module: str
    attributes: tuple[str, ...]


def _rows(*rows: tuple[str, str, str]) -> tuple[Required, ...]:
    return tuple(Required(section, module, tuple(attributes.split())) for section, module, attributes in rows)


_COMMON = _rows(
    ("C.7.1.1", "Patient", "PatientName:2 PatientID:2 PatientBirthDate:2 PatientSex:2"),
    ("C.7.2.1", "General Study", "StudyDate:2 StudyTime:2 AccessionNumber:2 ReferringPhysicianName:2 StudyID:2"),
    ("C.7.3.1", "General Series", "Modality:1 SeriesNumber:2"),
    ("C.7.4.1", "Frame of Reference", "FrameOfReferenceUID:1 PositionReferenceIndicator:2"),
    ("C.7.5.1", "General Equipment", "Manufacturer:2"),
    ("C.7.6.1", "General Image", "InstanceNumber:2"),
    ("C.7.6.2", "Image Plane", "SliceThickness:2 ImagePositionPatient:1 ImageOrientationPatient:1 PixelSpacing:1"),
    (
        "C.7.6.3",
        "Image Pixel",
        "SamplesPerPixel:1 PhotometricInterpretation:1 Rows:1 Columns:1 BitsAllocated:1 BitsStored:1 HighBit:1"
        " PixelRepresentation:1",
    ),
)

CLASSIC_REQUIRED: dict[str, tuple[Required, ...]] = {
    "CT": _COMMON
    + _rows(
        ("C.7.3.1", "General Series", "PatientPosition:2"),
        ("C.8.2.1", "CT Image", "ImageType:1 KVP:2 AcquisitionNumber:2 RescaleIntercept:1 RescaleSlope:1"),
    ),
    "MR": _COMMON
    + _rows(
        ("C.7.3.1", "General Series", "PatientPosition:2"),
        (
            "C.8.3.1",
            "MR Image",
            "ImageType:1 ScanningSequence:1 SequenceVariant:1 ScanOptions:2 MRAcquisitionType:2 RepetitionTime:2"
            " EchoTime:2 EchoTrainLength:2",
        ),
    ),
    "PT": _COMMON
    + _rows(
        (
            "C.8.9.1",
            "PET Series",
            "SeriesDate:1 SeriesTime:1 Units:1 CountsSource:1 SeriesType:1 NumberOfSlices:1 CorrectedImage:2"
            " DecayCorrection:1 CollimatorType:2",
        ),
        ("C.8.9.2", "PET Isotope", "RadiopharmaceuticalInformationSequence:2"),
        (
            "C.8.4.6",
            "NM/PET Patient Orientation",
            "PatientOrientationCodeSequence:2 PatientGantryRelationshipCodeSequence:2",
        ),
        (
            "C.8.9.4",
            "PET Image",
            "ImageType:1 RescaleIntercept:1 RescaleSlope:1 FrameReferenceTime:1 ImageIndex:1 AcquisitionDate:2"
            " AcquisitionTime:2 ActualFrameDuration:2",
        ),
    ),
}

# Type 2C where another attribute says so: attribute, by modality, and the value of which attribute calls for it.
CONDITIONAL: tuple[tuple[str, str, str, frozenset[str]], ...] = (
    ("MR", "InversionTime", "ScanningSequence", frozenset(("IR",))),  # C.8.3.1
    ("MR", "TriggerTime", "ScanOptions", frozenset(("CG", "PPG"))),  # C.8.3.1
)

# Enumerated Values of the Image Pixel module that the classic IODs narrow down (C.8.2.1.1, C.8.3.1.1, C.8.9.4.1).
CLASSIC_PIXELS: dict[str, dict[str, frozenset[str]]] = {
    "CT": {
        "SamplesPerPixel": frozenset("1"),
        "PhotometricInterpretation": frozenset(("MONOCHROME1", "MONOCHROME2")),
        "BitsAllocated": frozenset(("16",)),
    },
    "MR": {
        "SamplesPerPixel": frozenset("1"),
        "PhotometricInterpretation": frozenset(("MONOCHROME1", "MONOCHROME2")),
        "BitsAllocated": frozenset(("16",)),
    },
    "PT": {
        "SamplesPerPixel": frozenset("1"),
        "PhotometricInterpretation": frozenset(("MONOCHROME2",)),
        "BitsAllocated": frozenset(("16",)),
    },
}
