"""Slices to measure with, written by a process of their own: ``python -m tests.bench.material``.

CT slices of 512 x 512 are made from a real series when there is one beside the project, from the phantom of the
demonstration otherwise; MR slices of 30 KB always from the phantom.
Every run has new UIDs; the slices lie 5 mm apart and are numbered, so that they are one series that can be converted.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom.dataset import Dataset

PROJECT = Path(__file__).parents[2]
REAL = PROJECT / "../shared/data/ct_philips28_localizer"
SIZE = 512
MR_SIZE = 120
SPACING_MM = 5
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"


def make(folder: Path, count: int, modality: str = "CT") -> Path:
    """Write `count` slices into a new folder; in a process of its own, so that this one stays small."""
    command = [sys.executable, "-m", __name__, str(folder), str(count), modality]
    subprocess.run(command, cwd=PROJECT, check=True, timeout=600)
    return folder


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.iterdir())


def origin() -> str:
    """Say what the slices are made from."""
    return f"a real series ({REAL.name})" if REAL.is_dir() else "the phantom of the demonstration"


def _write(folder: Path, count: int, modality: str) -> None:
    from pydicom.uid import generate_uid

    folder.mkdir(parents=True)
    study, series, frame_of_reference = generate_uid(), generate_uid(), generate_uid()
    for number, ds in enumerate(_mr_slices(count) if modality == "MR" else _slices(count), 1):
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame_of_reference
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.InstanceNumber = number
        ds.SliceLocation = SPACING_MM * number
        ds.ImagePositionPatient = [*ds.ImagePositionPatient[:2], SPACING_MM * number]
        ds.save_as(folder / f"{number:05d}.dcm", enforce_file_format=True)


def _slices(count: int) -> Iterator[Dataset]:
    """Yield data sets to be altered and written, one after the other."""
    real = _real_slices()
    for number in range(count):
        yield real[number % len(real)] if real else _phantom_slice(number, count)


def _real_slices() -> list[Dataset]:
    from pydicom import dcmread

    found = [dcmread(path) for path in sorted(REAL.glob("*")) if path.suffix != ".txt"] if REAL.is_dir() else []
    return [ds for ds in found if ds.get("Rows") == SIZE and ds.ImageType[2] == "AXIAL"]


def _mr_slices(count: int) -> Iterator[Dataset]:
    for number in range(count):
        ds = _phantom_slice(number, count, MR_SIZE)
        for keyword in ("KVP", "RescaleIntercept", "RescaleSlope", "RescaleType", "ConvolutionKernel"):
            if keyword in ds:
                delattr(ds, keyword)
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = MR_IMAGE
        ds.Modality, ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions = "MR", "SE", "NONE", ""
        ds.MRAcquisitionType, ds.EchoTime, ds.RepetitionTime, ds.EchoTrainLength = "2D", 15, 500, 1
        yield ds


def _phantom_slice(number: int, count: int, size: int = SIZE) -> Dataset:
    from pydicom.dataset import FileMetaDataset

    from gateway.cli.phantom import EXPLICIT_LITTLE, dataset

    ds = dataset(number, count, size)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = EXPLICIT_LITTLE
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    return ds


if __name__ == "__main__":
    _write(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
