"""Small classic CT, MR and PET series made with pydicom, and conversions of them read back with pydicom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3
from conversion.reading import whole
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from gateway.conversion.facts import Facts
from gateway.conversion.headers import Headers
from gateway.conversion.identity import Identity
from gateway.conversion.outcome import StudyConversion
from gateway.conversion.study import SourceFile, convert_facts, gather_all
from gateway.objects.part10 import file_meta, read_header
from gateway.objects.recipe import Recipe, digest_of
from gateway.objects.stream import FileSource
from gateway.standard.sop_classes import ENHANCED_CLASSES

CLASSIC = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4", "PT": "1.2.840.10008.5.1.4.1.1.128"}
LEGACY = {
    "CT": "1.2.840.10008.5.1.4.1.1.2.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4.4",
    "PT": "1.2.840.10008.5.1.4.1.1.128.1",
}
ENHANCED = {
    "CT": "1.2.840.10008.5.1.4.1.1.2.1",
    "MR": "1.2.840.10008.5.1.4.1.1.4.1",
    "PT": "1.2.840.10008.5.1.4.1.1.130",
}
STUDY = "1.2.826.0.1.3680043.8.498.1"
SERIES = STUDY + ".1"
GSPS = "1.2.840.10008.5.1.4.1.1.11.1"

Change = Mapping[str, Any] | Callable[[Dataset], None] | None


def slice_of(modality: str = "CT", number: int = 1, change: Change = None, *, series: str = SERIES) -> Dataset:
    """Return one valid classic image of 8 x 8 pixels; `change` sets attributes (None deletes) or edits the data set."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID = CLASSIC[modality]
    ds.SOPInstanceUID = f"{series}.{number}"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20240102"
    ds.StudyTime, ds.SeriesTime = "101500", "101600"
    ds.AcquisitionTime = ds.ContentTime = f"1017{number % 60:02d}.5"
    ds.AccessionNumber = "A1"
    ds.Modality = modality
    ds.Manufacturer = "Acme"
    ds.ReferringPhysicianName = "Ref^Erring"
    ds.StudyDescription = "Head"
    ds.SeriesDescription = f"{modality} thin"
    ds.ManufacturerModelName = "Scan 1"
    ds.PatientName = "Doe^J\xf6rg"
    ds.PatientID = "P1"
    ds.PatientBirthDate, ds.PatientSex = "19700101", "M"
    ds.BodyPartExamined = "CHEST"
    ds.SliceThickness = "5"
    ds.PatientPosition = "HFS"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = STUDY, series
    ds.StudyID, ds.SeriesNumber, ds.AcquisitionNumber, ds.InstanceNumber = "1", "7", "3", str(number)
    ds.ImagePositionPatient = ["-10", "-20", str(5 * number)]
    ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    ds.FrameOfReferenceUID = STUDY + ".99"
    ds.PositionReferenceIndicator = "SN"
    ds.SliceLocation = str(5 * number)
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = 8
    ds.PixelSpacing = ["0.5", "0.5"]
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 0
    _modality(ds, modality)
    ds.PixelData = np.random.default_rng(number).integers(0, 4096, (8, 8), dtype=np.uint16).tobytes()
    apply(ds, change)
    return ds


def _modality(ds: Dataset, modality: str) -> None:
    if modality == "CT":
        ds.KVP, ds.ConvolutionKernel = "120", "B30"
    if modality == "MR":
        ds.ScanningSequence, ds.SequenceVariant, ds.MRAcquisitionType = "SE", "SK", "2D"
        ds.EchoTime, ds.RepetitionTime, ds.MagneticFieldStrength = "10", "500", "1.5"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "M"]
        return
    ds.WindowCenter, ds.WindowWidth = "40", "400"
    ds.RescaleIntercept, ds.RescaleSlope = "-1024", "1"
    if modality == "PT":
        ds.Units, ds.RescaleIntercept, ds.RescaleSlope = "BQML", "0", "1.5"


def apply(ds: Dataset, change: Change) -> None:
    if callable(change):
        change(ds)
    for keyword, value in (change or {}).items() if not callable(change) else ():
        if value is None:
            if keyword in ds:
                delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)


def series_of(modality: str = "CT", count: int = 3, change: Any = None, *, series: str = SERIES) -> list[Dataset]:
    """Return slices; `change` goes to each, or is a list with one change a slice."""
    changes = change if isinstance(change, list) else [change] * count
    return [slice_of(modality, n, changes[n - 1], series=series) for n in range(1, len(changes) + 1)]


def item(**attributes: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def coded(value: str, scheme: str, meaning: str) -> Dataset:
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def reference(ds: Dataset, **more: Any) -> Dataset:
    return item(ReferencedSOPClassUID=ds.SOPClassUID, ReferencedSOPInstanceUID=ds.SOPInstanceUID, **more)


def other(sop_class: str, number: int, change: Change = None, *, series: str = STUDY + ".50") -> Dataset:
    """Return an object that is no image."""
    ds = item(SOPClassUID=sop_class, SOPInstanceUID=f"{series}.{number}", Modality="OT", PatientID="P1")
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.PatientName = STUDY, series, "Doe^J\xf6rg"
    ds.SpecificCharacterSet = "ISO_IR 100"
    apply(ds, change)
    return ds


def save(ds: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write a data set as a Part 10 file in a native syntax, or RLE; whatever `ds` says about itself is left alone.

    Pixels are given as they are in little endian; words of 16 bits are turned round for big endian.
    """
    ds = deepcopy(ds)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == RLELossless else syntax
    if syntax == RLELossless:
        ds.compress(RLELossless, generate_instance_uid=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    big = syntax == ExplicitVRBigEndian
    if big and (ds.BitsAllocated > 8 or ds["PixelData"].VR == "OW") and ds["PixelData"].VR != "OB":
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
    ds.save_as(path, enforce_file_format=True, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=not big)
    return path


def save_all(datasets: Iterable[Dataset], folder: Path, syntax: str = ExplicitVRLittleEndian) -> list[Path]:
    return [save(ds, folder / f"{number:03d}.dcm", syntax) for number, ds in enumerate(datasets)]


def facts_of(paths: Sequence[Path]) -> list[Facts]:
    sources = [
        SourceFile(path.name, path, digest_of(FileSource(path, read_header(path).dataset_offset))) for path in paths
    ]
    facts, unreadable = gather_all(sources, Headers())
    assert not unreadable
    return facts


@dataclass
class Conversion:
    """A conversion with its objects as files and as pydicom data sets."""

    result: StudyConversion
    facts: list[Facts]
    files: list[Path]
    copies: dict[tuple[str, str], Dataset] = field(default_factory=dict)  # rewritten copies by view and source

    @property
    def objects(self) -> list[Dataset]:
        return [dcmread(path) for path in self.files]

    @property
    def kept(self) -> dict[str, str]:
        return self.result.kept

    @property
    def one(self) -> Dataset:
        assert len(self.files) == 1, (len(self.files), self.kept)
        assert not self.kept
        return self.objects[0]

    def copy(self, source: Dataset, view: str = "enhanced") -> Dataset:
        """Return the rewritten copy of a source."""
        return self.copies[view, str(source.SOPInstanceUID)]

    def streams(self) -> dict[str, str]:
        return {made.planned.sop_instance: made.recipe.digest for made in self.result.objects}


def convert(paths: Sequence[Path], folder: Path, **options: Any) -> Conversion:
    """Convert files as the box does and write every object as a file."""
    facts = facts_of(paths)
    folder.mkdir(parents=True, exist_ok=True)
    options.setdefault("identity", Identity())
    result = convert_facts(facts, lambda uid: folder / f"{uid}.recipe", **options)
    where = {fact.name: fact.path for fact in facts}
    files = [_written(made.recipe, where, folder) for made in result.objects]
    copies = {
        (made.companion.views[0], made.companion.sources[0].sop_instance): dcmread(
            _written(Recipe.load(made.recipe.path), where, folder)
        )
        for made in result.companions
        if made.companion.replaces
    }
    return Conversion(result, facts, files, copies)


def _written(recipe: Recipe, where: Mapping[str, Path], folder: Path) -> Path:
    """Write what a recipe stands for as a file."""
    stream = b"".join(recipe.source(where.__getitem__).chunks())
    assert len(stream) == recipe.length
    assert blake3(stream).hexdigest(length=16) == recipe.digest
    path = folder / f"{recipe.sop_instance}.dcm"
    path.write_bytes(file_meta(recipe.sop_class, recipe.sop_instance, recipe.transfer_syntax) + stream)
    return path


@dataclass
class TurnedBack:
    """What became of enhanced objects: why some stay, what the frames of the others are, and everything else."""

    kept: dict[str, str]
    standing: dict[str, tuple[str, ...]]
    result: StudyConversion


def turned_back(paths: Sequence[Path], folder: Path, **options: Any) -> tuple[list[Path], TurnedBack]:
    """Turn enhanced files back as the box does; return what is new in the classic view as files, and what became."""
    facts = facts_of(paths)
    folder.mkdir(parents=True, exist_ok=True)
    options.setdefault("identity", Identity())
    result = convert_facts(facts, lambda uid: folder / f"{uid}.recipe", views=("classic",), **options)
    where = {fact.name: fact.path for fact in facts}
    files = [_written(made.recipe, where, folder) for made in result.companions]
    staying = [fact for fact in facts if fact.sop_class in ENHANCED_CLASSES and "classic" in result.views[fact.name]]
    kept = {fact.name: result.kept[fact.name] for fact in staying}
    return files, TurnedBack(kept, result.standing, result)


def made_of(
    datasets: Iterable[Dataset], folder: Path, syntax: str = ExplicitVRLittleEndian, **options: Any
) -> Conversion:
    """Save and convert."""
    return convert(save_all(datasets, folder / "in", syntax), folder / "out", **options)


def frames_of(ds: Dataset) -> list[Dataset]:
    return list(ds.PerFrameFunctionalGroupsSequence)


def shared_of(ds: Dataset) -> Dataset:
    return ds.SharedFunctionalGroupsSequence[0]


def group(ds: Dataset, frame: int, keyword: str) -> Dataset:
    """Return the only item of a functional group of a frame (from 0), wherever it is; never in both places."""
    places = [where for where in (shared_of(ds), frames_of(ds)[frame]) if keyword in where]
    assert len(places) == 1, f"{keyword} in {len(places)} places"
    assert len(places[0][keyword].value) == 1
    return places[0][keyword].value[0]


def unassigned_shared(ds: Dataset) -> Dataset:
    """Return what Unassigned Shared says, private elements unpacked."""
    found = shared_of(ds).get("UnassignedSharedConvertedAttributesSequence")
    return whole(found[0], ds) if found else Dataset()


def unassigned(ds: Dataset, frame: int) -> Dataset:
    """Return what Unassigned Per-Frame says of a frame (from 0), private elements unpacked."""
    found = frames_of(ds)[frame].get("UnassignedPerFrameConvertedAttributesSequence")
    return whole(found[0], ds) if found else Dataset()
