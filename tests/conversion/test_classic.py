"""Enhanced to classic: the lines K of the requirements (PS3.4 C.3.5)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conversion.material import (
    CLASSIC,
    Conversion,
    coded,
    item,
    made_of,
    reference,
    save,
    series_of,
    shared_of,
    turned_back,
)
from conversion.reading import missing, plain
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

MODALITIES = ["CT", "MR", "PT"]


def back(*files: Path) -> list[Dataset]:
    """Turn objects back and read the images with pydicom."""
    images, plan = turned_back(files, files[0].parent / "back")
    assert not plan.kept
    return [dcmread(path) for path in images]


def _stripped(made: Conversion, tmp_path: Path, *keywords: str) -> Path:
    """Return the object without some groups, as another converter might have made it."""
    ds = made.one
    for groups in (ds.SharedFunctionalGroupsSequence[0], *ds.PerFrameFunctionalGroupsSequence):
        for keyword in keywords:
            if keyword in groups:
                del groups[keyword]
    ds.save_as(tmp_path / "stripped.dcm")
    return tmp_path / "stripped.dcm"


@pytest.mark.parametrize("modality", MODALITIES)
def test_K1_class_is_the_classic_one(modality: str, tmp_path: Path) -> None:
    images = back(*made_of(series_of(modality), tmp_path).files)
    assert [image.SOPClassUID for image in images] == [CLASSIC[modality]] * 3
    assert [image.Modality for image in images] == [modality] * 3


@pytest.mark.parametrize("modality", MODALITIES)
def test_K2_mandatory_attributes_come_from_the_groups(modality: str, tmp_path: Path) -> None:
    sources = series_of(modality)
    images = back(*made_of(sources, tmp_path).files)
    keywords = ["PixelSpacing", "SliceThickness", "ImagePositionPatient", "ImageOrientationPatient", "ImageType",
                "FrameOfReferenceUID", "PatientPosition", "Rows", "BitsStored", "InstanceNumber"]  # fmt: skip
    keywords += [] if modality == "MR" else ["RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth"]
    for image, source in zip(images, sources, strict=True):
        for keyword in keywords:
            assert image.get(keyword) == source.get(keyword), keyword


def test_K2_mandatory_attributes_without_any_unassigned(tmp_path: Path) -> None:
    made = made_of(series_of(), tmp_path)
    unassigned = ("UnassignedSharedConvertedAttributesSequence", "UnassignedPerFrameConvertedAttributesSequence")
    images = back(_stripped(made, tmp_path, *unassigned))
    for number, image in enumerate(images, 1):
        assert image.InstanceNumber == number
        assert list(image.ImageType) == ["ORIGINAL", "PRIMARY", "AXIAL", "NONE"]
        assert image.PixelSpacing == [0.5, 0.5]
        assert image.ImagePositionPatient == [-10, -20, 5 * number]
        assert (image.RescaleSlope, image.RescaleIntercept) == (1, -1024)


def test_K4_everything_unused_is_unfolded_not_only_unassigned(tmp_path: Path) -> None:
    made = made_of(series_of(), tmp_path).one
    block = made.private_block(0x0019, "ACME", create=True)
    block.add_new(0x01, "LO", "top")
    shared = shared_of(made)
    shared.CTExposureSequence = [item(ExposureModulationType="ANGULAR")]
    shared.private_block(0x0021, "ACME GROUP", create=True).add_new(0x01, "SQ", [item(ProtocolName="kept too")])
    for number, frame in enumerate(made.PerFrameFunctionalGroupsSequence):
        frame.CTTableDynamicsSequence = [item(TableSpeed=float(number))]
    made.save_as(tmp_path / "richer.dcm")
    for number, image in enumerate(back(tmp_path / "richer.dcm")):
        assert image.private_block(0x0019, "ACME")[0x01].value == "top"
        assert image.ExposureModulationType == "ANGULAR"
        assert image.TableSpeed == number
        assert image.KVP == 120
        for keyword in ("NumberOfFrames", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
                        "DimensionIndexSequence", "DimensionOrganizationSequence"):  # fmt: skip
            assert keyword not in image


def test_K5_conversion_source_names_object_and_frame(tmp_path: Path) -> None:
    made = made_of(series_of(), tmp_path)
    for number, image in enumerate(back(*made.files), 1):
        (source,) = image.ConversionSourceAttributesSequence
        assert source.ReferencedSOPClassUID == made.one.SOPClassUID
        assert source.ReferencedSOPInstanceUID == made.one.SOPInstanceUID
        assert source.ReferencedFrameNumber == number
        assert image.QueryRetrieveView == "CLASSIC"
        equipment = image.ContributingEquipmentSequence[-1]
        assert equipment.ContributionDescription == "Classic Image created from Enhanced Image"
        assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109106"


def test_K6_original_series_and_numbers_are_recovered(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        ds.InstanceNumber += 100
        ds.SeriesTime = f"1016{10 - ds.InstanceNumber % 10:02d}"

    sources = series_of(change=change)
    for image, source in zip(back(*made_of(sources, tmp_path).files), sources, strict=True):
        for keyword in ("SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "SeriesDate", "SeriesTime",
                        "InstanceNumber", "ContentTime", "AcquisitionNumber"):  # fmt: skip
            assert image.get(keyword) == source.get(keyword), keyword


def test_K7_original_uids_from_conversion_source(tmp_path: Path) -> None:
    sources = series_of()
    images = back(*made_of(sources, tmp_path).files)
    assert [image.SOPInstanceUID for image in images] == [source.SOPInstanceUID for source in sources]


def test_K7_otherwise_new_uids_and_always_the_same(tmp_path: Path) -> None:
    made = made_of(series_of(), tmp_path)
    path = _stripped(
        made, tmp_path, "ConversionSourceAttributesSequence", "UnassignedSharedConvertedAttributesSequence"
    )
    images = [back(path), back(path)]
    uids = [[image.SOPInstanceUID for image in found] for found in images]
    assert uids[0] == uids[1]
    assert len(set(uids[0])) == 3
    assert made.one.SOPInstanceUID not in uids[0]
    # K1 holds without anything that remembers the sources.
    assert {image.SOPClassUID for image in images[0]} == {CLASSIC["CT"]}


def test_K7_an_original_without_a_valid_UID_comes_back_but_for_its_UIDs(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        ds.SOPInstanceUID, ds.SeriesInstanceUID = f"{ds.InstanceNumber:x}abc" * 8, "not.a.uid"
        del ds.FrameOfReferenceUID, ds.ContentDate, ds.ContentTime

    sources = series_of(change=change)
    for image, source in zip(back(*made_of(sources, tmp_path).files), sources, strict=True):
        assert image.SOPInstanceUID.startswith("2.25.")
        assert image.SeriesInstanceUID.startswith("2.25.")
        extra = {image[key].keyword for key in plain(image).keys() - plain(source).keys()}
        assert extra <= {"QueryRetrieveView", "ContributingEquipmentSequence", "ConversionSourceAttributesSequence"}
        lost = missing(source, plain(image))
        assert {source[key].keyword for key in lost} == {"SOPInstanceUID", "SeriesInstanceUID"}


def test_references_between_images_are_turned_back(tmp_path: Path) -> None:
    targets = series_of("MR", series="1.2.3")
    sources = series_of(change=[{"ReferencedImageSequence": [reference(targets[n])]} for n in range(3)])
    made = made_of([*targets, *sources], tmp_path)
    for image, source in zip((i for i in back(*made.files) if i.Modality == "CT"), sources, strict=True):
        (found,) = image.ReferencedImageSequence
        (wanted,) = source.ReferencedImageSequence
        assert found.ReferencedSOPClassUID == wanted.ReferencedSOPClassUID
        assert found.ReferencedSOPInstanceUID == wanted.ReferencedSOPInstanceUID
        assert "ReferencedFrameNumber" not in found


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless])
def test_round_trip_gives_every_element_and_pixel_and_nothing_else(modality: str, syntax: str, tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        ds.private_block(0x0019, "ACME", create=True).add_new(0x01, "LO", str(ds.InstanceNumber))
        ds.ProcedureCodeSequence = [coded("1", "99A", "one")]
        ds.ImageComments = "odd" if ds.InstanceNumber % 2 else ""

    sources = series_of(modality, change=change)
    made = made_of(sources, tmp_path, syntax)
    sources = [dcmread(path) for path in sorted((tmp_path / "in").iterdir())]
    for image, source in zip(back(*made.files), sources, strict=True):
        found = plain(image)
        assert not missing(source, found)
        assert np.array_equal(image.pixel_array, source.pixel_array)
        added = {key for key in found if key not in plain(source)}
        extra = {image[key].keyword for key in added}
        assert extra <= {"QueryRetrieveView", "ContributingEquipmentSequence", "ConversionSourceAttributesSequence"}


@pytest.mark.parametrize(
    "absent",
    [
        ("WindowCenter", "WindowWidth"),
        ("ContentDate", "ContentTime"),
        ("ContentDate", "ContentTime", "AcquisitionDate", "AcquisitionTime", "SeriesDate", "SeriesTime", "StudyDate"),
        ("FrameOfReferenceUID",),
        ("SliceThickness",),
        ("BodyPartExamined",),
        ("PatientPosition", "Laterality", "ImageType"),
    ],
    ids=str,
)
@pytest.mark.parametrize("some", [False, True], ids=["all", "some"])
def test_round_trip_adds_nothing_the_source_did_not_have(absent: tuple, some: bool, tmp_path: Path) -> None:
    sources = series_of("PT", change=[dict.fromkeys(absent)] * 2 + [None if some else dict.fromkeys(absent)] * 2)
    images = back(*made_of(sources, tmp_path).files)
    by_uid = {image.SOPInstanceUID: image for image in images}
    for source in sources:
        found = plain(by_uid[source.SOPInstanceUID])
        extra = {by_uid[source.SOPInstanceUID][key].keyword for key in found.keys() - plain(source).keys()}
        expected = {"QueryRetrieveView", "ContributingEquipmentSequence", "ConversionSourceAttributesSequence"}
        assert extra - expected - ({"ImageType"} if "ImageType" in absent else set()) == set()


def test_classic_images_are_not_looked_at(tmp_path: Path) -> None:
    files, plan = turned_back([save(series_of()[0], tmp_path / "classic.dcm")], tmp_path / "back")
    assert not files
    assert not plan.kept


def _kept(path: Path) -> str:
    files, plan = turned_back([path], path.parent / "back")
    assert not files
    (reason,) = plan.kept.values()
    return reason


def test_an_object_with_a_frame_too_few_stays_with_the_reason(tmp_path: Path) -> None:
    made = made_of(series_of(), tmp_path).one
    del made.PerFrameFunctionalGroupsSequence[2]
    made.save_as(tmp_path / "short.dcm")
    assert "one group item a frame" in _kept(tmp_path / "short.dcm")


def test_an_object_without_all_its_pixels_stays_with_the_reason(tmp_path: Path) -> None:
    made = made_of(series_of(), tmp_path).one
    made.PixelData = made.PixelData[:-64]
    made.save_as(tmp_path / "short.dcm")
    assert "pixel data" in _kept(tmp_path / "short.dcm")
