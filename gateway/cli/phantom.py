"""A CT of the chest nobody was irradiated for: something to see in the demonstration, the same on every machine."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

NAMESPACE = uuid.UUID("8a0cfb5e-2d53-4d39-9a3b-6a1b4f0d7c11")
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
FIELD_MM = 400.0
SPACING_MM = 1.5
INTERCEPT = -1024

# Solid ellipses of one slice, later ones over earlier ones: centre x, y and half axes in mm, Hounsfield units; each
# number may be a pair: its value in the first and in the last slice.
Number = float | tuple[float, float]
TISSUES: tuple[tuple[Number, Number, Number, Number, float], ...] = (
    (0, 0, (165, 180), (110, 125), -100),  # fat under the skin
    (0, 0, (152, 164), (98, 110), 45),  # muscle
    (0, 0, (138, 146), (86, 94), 700),  # ribs, cut open by what lies inside them
    (0, 0, (131, 139), (79, 87), 40),  # mediastinum
    ((-66, -72), (-4, 4), (42, 60), (58, 74), -840),  # right lung
    ((66, 74), (-4, 4), (40, 52), (58, 72), -850),  # left lung
    ((6, 26), (-30, -24), (16, 50), (12, 42), 55),  # heart
    ((12, 34), (-32, -24), (4, 24), (4, 20), 210),  # contrast in the left ventricle
    ((18, 30), (38, 44), 13, 13, 230),  # descending aorta
    ((4, -2), (4, 24), (9, 2), (8, 2), -1000),  # trachea
    (0, (64, 70), 22, 18, 320),  # vertebra
    (0, (64, 70), 18, 14, 180),  # its marrow
    (0, (88, 94), 9, 8, 20),  # spinal canal
    (0, (104, 112), 6, 12, 520),  # spinous process
)


def uid(text: str) -> str:
    """Return a UID that depends on `text` alone (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(NAMESPACE, text).int}"


def _at(number: Number, part: float) -> float:
    return number[0] + (number[1] - number[0]) * part if isinstance(number, tuple) else number


def pixels(index: int, slices: int, size: int) -> np.ndarray:
    """Return the stored values of one slice: 12 bits, 0 is -1024 HU."""
    import numpy as np

    part = index / max(1, slices - 1)
    axis = (np.arange(size, dtype=np.float32) + 0.5) * (FIELD_MM / size) - FIELD_MM / 2
    x, y = axis[None, :], axis[:, None]
    image = np.full((size, size), -1000, np.float32)

    def paint(cx: float, cy: float, rx: float, ry: float, value: float) -> None:
        rows = slice(*np.searchsorted(axis, (cy - ry, cy + ry)))
        columns = slice(*np.searchsorted(axis, (cx - rx, cx + rx)))
        inside = ((x[:, columns] - cx) / rx) ** 2 + ((y[rows] - cy) / ry) ** 2 <= 1
        image[rows, columns][inside] = value

    for *shape, value in TISSUES:
        cx, cy, rx, ry = (_at(number, part) for number in shape)
        paint(cx, cy, rx, ry, value)
    # Vessels of the lungs: they start at the hilum, spread, and get thinner on the way down.
    for number in range(14):
        side = -1 if number % 2 else 1
        angle = number * 0.9 + part * 1.5
        reach = 12 + (number // 2) * 5 * (0.4 + part)
        radius = max(1.2, 4.5 - number * 0.2 - 2 * part)
        paint(side * 66 + reach * float(np.cos(angle)), reach * float(np.sin(angle)), radius, radius, 60)
    noise = np.random.default_rng(index).normal(0, 14, (size, size)).astype(np.float32)
    return np.clip(np.rint(image + noise) - INTERCEPT, 0, 4095).astype("<u2")


def dataset(index: int, slices: int, size: int) -> Any:
    """Return one slice as a data set (PS3.3 A.3, CT Image)."""
    from pydicom.dataset import Dataset

    data = Dataset()
    for keyword, value in {**STUDY, **SERIES}.items():
        setattr(data, keyword, value)
    location = round(-index * SPACING_MM, 3)
    data.SOPInstanceUID = uid(f"instance {index} of {slices}, {size}")
    data.SeriesInstanceUID = uid(f"series {slices} {size}")
    data.StudyInstanceUID = uid(f"study {slices} {size}")
    data.FrameOfReferenceUID = uid(f"frame of reference {slices} {size}")
    data.InstanceNumber = index + 1
    data.ContentTime = f"0801{index * 30 // max(1, slices):02d}.{index:06d}"
    data.AcquisitionTime = data.ContentTime
    data.ImagePositionPatient = [-FIELD_MM / 2 + FIELD_MM / size / 2] * 2 + [location]
    data.SliceLocation = location
    data.XRayTubeCurrent = 180 + round(60 * abs(index / max(1, slices - 1) - 0.5))
    data.Rows = data.Columns = size
    data.PixelSpacing = [FIELD_MM / size] * 2
    data.PixelData = pixels(index, slices, size).tobytes()
    data["PixelData"].VR = "OW"
    return data


STUDY: dict[str, Any] = {
    "SpecificCharacterSet": "ISO_IR 192",
    "PatientName": "Phantom^Gateway",
    "PatientID": "PHANTOM-1",
    "PatientBirthDate": "19700101",
    "PatientSex": "O",
    "StudyDate": "20240115",
    "StudyTime": "080000",
    "StudyID": "1",
    "StudyDescription": "Chest, generated",
    "AccessionNumber": "DEMO0001",
    "ReferringPhysicianName": "",
}
SERIES: dict[str, Any] = {
    "SOPClassUID": CT_IMAGE,
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "Modality": "CT",
    "Manufacturer": "Gateway demonstration",
    "ManufacturerModelName": "Phantom",
    "DeviceSerialNumber": "1",
    "SoftwareVersions": "1",
    "SeriesNumber": 2,
    "SeriesDescription": "Chest 1.5 mm",
    "ProtocolName": "Chest",
    "BodyPartExamined": "CHEST",
    "PatientPosition": "HFS",
    "PositionReferenceIndicator": "",
    "SeriesDate": "20240115",
    "SeriesTime": "080100",
    "ContentDate": "20240115",
    "AcquisitionDate": "20240115",
    "AcquisitionNumber": 1,
    "KVP": 120,
    "ExposureTime": 500,
    "ScanOptions": "HELICAL",
    "ConvolutionKernel": "SOFT",
    "SliceThickness": SPACING_MM,
    "SpacingBetweenSlices": SPACING_MM,
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "BitsAllocated": 16,
    "BitsStored": 12,
    "HighBit": 11,
    "PixelRepresentation": 0,
    "RescaleIntercept": INTERCEPT,
    "RescaleSlope": 1,
    "RescaleType": "HU",
    "WindowCenter": [40, -600],
    "WindowWidth": [400, 1500],
    "WindowCenterWidthExplanation": ["MEDIASTINUM", "LUNG"],
}


def write(folder: Path, slices: int = 200, size: int = 512) -> Iterator[Path]:
    """Write the series into `folder`, one file after the other."""
    from pydicom.dataset import FileMetaDataset

    folder.mkdir(parents=True, exist_ok=True)
    for index in range(slices):
        data = dataset(index, slices, size)
        data.file_meta = FileMetaDataset()
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        data.file_meta.TransferSyntaxUID = EXPLICIT_LITTLE
        path = folder / f"{index + 1:04d}.dcm"
        data.save_as(path, enforce_file_format=True)
        yield path
