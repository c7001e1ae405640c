"""Frame level retrieve (PS3.4 annex Y): the lines M7, M11 and M12 of the requirements, as a function."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3
from conversion.enhanced_material import ENHANCED_SERIES, enhanced_of, save_enhanced
from conversion.material import CLASSIC, STUDY, convert, item, save, save_all, series_of
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from real_data import DATA, needs_data

from gateway.conversion.extraction import extract
from gateway.conversion.frame_lists import ExtractionError, FrameRequest
from gateway.conversion.frame_source import DerivedFrames, ReceivedFrames
from gateway.conversion.identity import Identity
from gateway.objects.elements import dataset, make
from gateway.objects.part10 import file_meta, read_header
from gateway.objects.recipe import Recipe, digest_of
from gateway.objects.stream import FileSource


def asked(**key: list[float]) -> FrameRequest:
    return FrameRequest.of(dataset(*(make(keyword, *values) for keyword, values in key.items())))


def simple(*frames: int) -> FrameRequest:
    return asked(SimpleFrameList=list(frames))


def written(recipe: Recipe, locate: Callable[[str], Path], path: Path) -> Dataset:
    stream = b"".join(Recipe.load(recipe.path).source(locate).chunks())
    assert len(stream) == recipe.length
    assert blake3(stream).hexdigest(length=16) == recipe.digest
    path.write_bytes(file_meta(recipe.sop_class, recipe.sop_instance, recipe.transfer_syntax) + stream)
    return dcmread(path)


def taken(path: Path, request: FrameRequest, folder: Path, identity: Identity | None = None) -> Dataset:
    """Extract from a file and read the result with pydicom."""
    source = ReceivedFrames("name", path, digest_of(FileSource(path, read_header(path).dataset_offset)))
    recipe = extract(source, request, folder / "x.recipe", identity or Identity(), locate=lambda name: path)
    return written(recipe, lambda name: path, folder / "x.dcm")


def object_of(folder: Path, change: Any = None, frames: int = 6, syntax: str = ExplicitVRLittleEndian) -> Path:
    return save_enhanced(enhanced_of("MR", frames, change), folder / "source.dcm", syntax)


def test_M7_simple_frame_list(tmp_path: Path) -> None:
    path = object_of(tmp_path)
    source, made = dcmread(path), taken(path, simple(2, 5), tmp_path)
    assert made.NumberOfFrames == 2
    assert np.array_equal(made.pixel_array, source.pixel_array[[1, 4]])
    for group, number in zip(made.PerFrameFunctionalGroupsSequence, (2, 5), strict=True):
        assert group == source.PerFrameFunctionalGroupsSequence[number - 1]
    assert made.SharedFunctionalGroupsSequence == source.SharedFunctionalGroupsSequence
    assert made.DimensionIndexSequence == source.DimensionIndexSequence


def test_M7_calculated_frame_list_of_the_standard(tmp_path: Path) -> None:
    path = object_of(tmp_path, frames=25)
    made = taken(path, asked(CalculatedFrameList=[2, 9, 3, 12, 0xFFFFFFFF, 5]), tmp_path)
    positions = [g.FrameContentSequence[0].InStackPositionNumber for g in made.PerFrameFunctionalGroupsSequence]
    assert positions == [2, 5, 8, 12, 17, 22]


@pytest.mark.parametrize(
    ("values", "frames"),
    [
        ([1, 6, 2], [1, 3, 5]),
        ([2, 6, 2], [2, 4, 6]),
        ([3, 3, 1], [3]),
        ([5, 99, 1], [5, 6]),
        ([1, 2, 1, 9, 12, 1], [1, 2]),
    ],
)
def test_M7_calculated_ranges(values: list[int], frames: list[int]) -> None:
    assert asked(CalculatedFrameList=values).frames(6, list) == frames


def test_M7_frame_extraction_module(tmp_path: Path) -> None:
    made = taken(object_of(tmp_path), asked(CalculatedFrameList=[1, 4, 2]), tmp_path)
    (extraction,) = made.FrameExtractionSequence
    assert extraction.MultiFrameSourceSOPInstanceUID == f"{ENHANCED_SERIES}.1"
    assert extraction.CalculatedFrameList == [1, 4, 2]
    assert {element.keyword for element in extraction} == {"MultiFrameSourceSOPInstanceUID", "CalculatedFrameList"}


def test_M7_extraction_of_an_extraction_appends(tmp_path: Path) -> None:
    taken(object_of(tmp_path), simple(2, 4, 5), tmp_path)
    first = (tmp_path / "x.dcm").rename(tmp_path / "first.dcm")
    made = taken(first, simple(3), tmp_path)
    uids = [entry.MultiFrameSourceSOPInstanceUID for entry in made.FrameExtractionSequence]
    assert uids == [f"{ENHANCED_SERIES}.1", dcmread(first).SOPInstanceUID]
    assert made.PerFrameFunctionalGroupsSequence[0].FrameContentSequence[0].InStackPositionNumber == 5
    assert len(made.ContributingEquipmentSequence) == 2


def test_M7_contributing_equipment(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        ds.ContributingEquipmentSequence = [item(Manufacturer="Other")]

    made = taken(object_of(tmp_path, change), simple(1), tmp_path)
    other, own = made.ContributingEquipmentSequence
    assert other.Manufacturer == "Other"
    (purpose,) = own.PurposeOfReferenceCodeSequence
    found = (purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning)
    assert found == ("109105", "DCM", "Frame Extracting Equipment")


def test_M11_new_instance_in_the_same_series_and_class(tmp_path: Path) -> None:
    path = object_of(tmp_path)
    source, made = dcmread(path), taken(path, simple(1, 2), tmp_path)
    assert made.SOPInstanceUID.startswith("2.25.")
    assert made.file_meta.MediaStorageSOPInstanceUID == made.SOPInstanceUID
    for keyword in ("SOPClassUID", "SeriesInstanceUID", "StudyInstanceUID", "SeriesNumber", "PatientID", "ContentTime",
                    "FrameOfReferenceUID", "InstanceNumber", "Rows", "BitsStored", "ImageType"):  # fmt: skip
        assert made[keyword] == source[keyword]


def test_M11_UID_follows_from_object_request_and_settings(tmp_path: Path) -> None:
    path = object_of(tmp_path)
    requests = (simple(1), simple(1), simple(2), asked(CalculatedFrameList=[1, 1, 1]))
    uids = [taken(path, request, tmp_path).SOPInstanceUID for request in requests]
    seeded = taken(path, simple(1), tmp_path, Identity(seed="x")).SOPInstanceUID
    assert uids[0] == uids[1]
    assert len({*uids, seeded}) == 4


def test_M11_no_concatenation_and_no_private_top_level(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        ds.ConcatenationUID, ds.InConcatenationNumber, ds.ConcatenationFrameOffsetNumber = STUDY + ".8", 1, 0
        ds.PixelDataProviderURL = "http://example.org"

    made = taken(object_of(tmp_path, change), simple(1), tmp_path)
    assert not {e.keyword for e in made if "Concatenation" in e.keyword or e.keyword == "PixelDataProviderURL"}
    assert not [e.tag for e in made if e.tag.is_private]
    block = made.PerFrameFunctionalGroupsSequence[0].private_block(0x0021, "ACME FRAME")
    assert block[0x02].value == "private 1"


@pytest.mark.parametrize(
    "key",
    [
        {},
        {"SimpleFrameList": [1], "TimeRange": [0.0, 1.0]},
        {"SimpleFrameList": []},
        {"SimpleFrameList": [0]},
        {"SimpleFrameList": [2, 2]},
        {"SimpleFrameList": [3, 2]},
        {"CalculatedFrameList": [1, 2]},
        {"CalculatedFrameList": [3, 2, 1]},
        {"CalculatedFrameList": [1, 2, 0]},
        {"CalculatedFrameList": [1, 4, 1, 4, 6, 1]},
        {"CalculatedFrameList": [1, 0xFFFFFFFF, 1, 3, 4, 1]},
        {"TimeRange": [1.0]},
        {"TimeRange": [2.0, 1.0]},
    ],
    ids=str,
)
def test_M11_invalid_requests_are_AA04(key: dict) -> None:
    with pytest.raises(ExtractionError) as caught:
        asked(**key).frames(6, list)
    assert caught.value.status == 0xAA04


def test_M11_no_such_frame_is_AA00(tmp_path: Path) -> None:
    path = object_of(tmp_path)
    for request in (simple(7, 8), asked(CalculatedFrameList=[7, 9, 1]), asked(TimeRange=[5000.0, 6000.0])):
        with pytest.raises(ExtractionError) as caught:
            taken(path, request, tmp_path)
        assert caught.value.status == 0xAA00
        assert not (tmp_path / "x.recipe").exists()
    assert taken(path, simple(6, 7), tmp_path).NumberOfFrames == 1


def test_M11_objects_that_cannot_be_divided_are_AA01(tmp_path: Path) -> None:
    single = save_all(series_of("CT", 1), tmp_path / "in")[0]
    nuclear = enhanced_of("MR", 4)
    del nuclear.SharedFunctionalGroupsSequence, nuclear.PerFrameFunctionalGroupsSequence
    nuclear.FrameIncrementPointer = 0x00540080
    path = tmp_path / "nm.dcm"
    save(nuclear, path)
    for source in (single, path):
        with pytest.raises(ExtractionError) as caught:
            taken(source, simple(1), tmp_path)
        assert caught.value.status == 0xAA01


def test_M11_objects_without_their_frames_are_AA02(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        ds.PixelData = ds.PixelData[:-128]

    with pytest.raises(ExtractionError) as caught:
        taken(object_of(tmp_path, change), simple(1), tmp_path)
    assert caught.value.status == 0xAA02


def test_M12_time_range_by_frame_reference_datetime(tmp_path: Path) -> None:
    # Content Time is 10:16:30.5, the frames are of 10:17:01 to 10:17:06.
    made = taken(object_of(tmp_path), asked(TimeRange=[31.5, 33.5]), tmp_path)
    times = [g.FrameContentSequence[0].FrameReferenceDateTime for g in made.PerFrameFunctionalGroupsSequence]
    assert times == ["20240102101702", "20240102101703", "20240102101704"]
    assert made.FrameExtractionSequence[0].TimeRange == [31.5, 33.5]


def _cine(folder: Path, **timing: Any) -> Path:
    ds = enhanced_of("MR", 5)
    del ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence, ds.DimensionIndexSequence
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7.2"
    for keyword, value in timing.items():
        setattr(ds, keyword, value)
    return save(ds, folder / "cine.dcm")


def test_M12_time_range_by_frame_time(tmp_path: Path) -> None:
    path = _cine(tmp_path, FrameTime="250", FrameIncrementPointer=0x00181063)
    made = taken(path, asked(TimeRange=[0.25, 0.75]), tmp_path)
    assert (made.NumberOfFrames, made.FrameTime) == (3, 250)
    assert made.ContentTime == "101630.75"
    assert np.array_equal(made.pixel_array, dcmread(path).pixel_array[1:4])


def test_M12_time_range_by_frame_time_vector(tmp_path: Path) -> None:
    path = _cine(tmp_path, FrameTimeVector=["0", "100", "400", "100", "100"], FrameIncrementPointer=0x00181065)
    made = taken(path, asked(TimeRange=[0.1, 0.6]), tmp_path)
    assert made.FrameTimeVector == [0, 400, 100]
    assert made.ContentTime == "101630.6"


def test_M12_uneven_frames_of_a_cine_get_a_vector(tmp_path: Path) -> None:
    path = _cine(tmp_path, FrameTime="250", FrameIncrementPointer=0x00181063)
    made = taken(path, simple(1, 2, 5), tmp_path)
    assert made.FrameTimeVector == [0, 250, 750]
    assert made.FrameIncrementPointer == 0x00181065
    assert "FrameTime" not in made


def test_M12_objects_without_times_are_AA03(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        for frame in ds.PerFrameFunctionalGroupsSequence:
            del frame.FrameContentSequence[0].FrameReferenceDateTime

    with pytest.raises(ExtractionError) as caught:
        taken(object_of(tmp_path, change), asked(TimeRange=[0.0, 9.0]), tmp_path)
    assert caught.value.status == 0xAA03


def test_M11_references_to_its_own_frames_follow(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        def referring(number: int) -> Dataset:
            return item(ReferencedSOPClassUID=ds.SOPClassUID, ReferencedSOPInstanceUID=ds.SOPInstanceUID,
                        ReferencedFrameNumber=number)  # fmt: skip

        ds.PerFrameFunctionalGroupsSequence[4].ReferencedImageSequence = [referring(3), referring(1)]

    made = taken(object_of(tmp_path, change), simple(3, 5), tmp_path)
    inside, outside = made.PerFrameFunctionalGroupsSequence[1].ReferencedImageSequence
    assert (inside.ReferencedSOPInstanceUID, inside.ReferencedFrameNumber) == (made.SOPInstanceUID, 1)
    assert (outside.ReferencedSOPInstanceUID, outside.ReferencedFrameNumber) == (f"{ENHANCED_SERIES}.1", 1)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_M7_any_native_syntax(syntax: str, tmp_path: Path) -> None:
    ds = enhanced_of("MR", 6)
    pixels = np.frombuffer(ds.PixelData, "<u2").reshape(6, 8, 8)
    ds.file_meta = dcmread(object_of(tmp_path)).file_meta
    ds.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        ds.PixelData = pixels.byteswap().tobytes()
    ds["PixelData"].VR = "OW"
    path = tmp_path / "other.dcm"
    ds.save_as(path, enforce_file_format=True, implicit_vr=syntax == ImplicitVRLittleEndian,
               little_endian=syntax != ExplicitVRBigEndian)  # fmt: skip
    made = taken(path, simple(2, 6), tmp_path)
    assert made.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert np.array_equal(made.pixel_array, pixels[[1, 5]])


def test_M7_compressed_frames_are_passed_on(tmp_path: Path) -> None:
    path = object_of(tmp_path)
    source = dcmread(path)
    pixels = deepcopy(source.pixel_array)
    source.compress(RLELossless, generate_instance_uid=False)
    source.save_as(path)
    made = taken(path, simple(1, 4), tmp_path)
    assert made.file_meta.TransferSyntaxUID == RLELossless
    assert np.array_equal(made.pixel_array, pixels[[0, 3]])


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_M7_frames_of_a_derived_object(syntax: str, tmp_path: Path) -> None:
    sources = series_of("CT", 5)
    made = convert(save_all(sources, tmp_path / "in", syntax), tmp_path / "out")
    recipe = Recipe.load(made.result.objects[0].recipe.path)
    where = {fact.name: fact.path for fact in made.facts}
    part = extract(DerivedFrames(recipe), simple(2, 4), tmp_path / "x.recipe", Identity(), locate=where.__getitem__)
    assert len(part.sources) == 2
    found = written(part, where.__getitem__, tmp_path / "x.dcm")
    for group, frame, number in zip(found.PerFrameFunctionalGroupsSequence, found.pixel_array, (2, 4), strict=True):
        assert group.ConversionSourceAttributesSequence[0].ReferencedSOPClassUID == CLASSIC["CT"]
        assert (
            group.ConversionSourceAttributesSequence[0].ReferencedSOPInstanceUID == sources[number - 1].SOPInstanceUID
        )
        assert frame.tobytes() == sources[number - 1].PixelData


@needs_data
@pytest.mark.parametrize(
    "name",
    [
        "philips_pair_asl1901/enhanced/1901_WIP_3DpCASL_real.dcm",
        "pydicom_data/eCT_Supplemental.dcm",
        "dicom2nifti_vendors/siemens_multiframe/anatomical/001/IM-0001-0001-0001.dcm",
        "dcmqi_ct_lce_seg/24x38x3/multiframe/mf.dcm",
    ],
)
def test_M7_real_objects(name: str, tmp_path: Path) -> None:
    source = dcmread(DATA / name)
    made = taken(DATA / name, simple(2), tmp_path)
    frame = made.pixel_array.reshape(source.pixel_array.shape[1:])
    assert np.array_equal(frame, source.pixel_array[1])
    assert made.PerFrameFunctionalGroupsSequence[0] == source.PerFrameFunctionalGroupsSequence[1]
