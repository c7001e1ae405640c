"""Classic to enhanced: the lines E of the requirements (PS3.4 C.3.5, PS3.3 A.70 to A.72)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conversion.material import (
    CLASSIC,
    LEGACY,
    SERIES,
    STUDY,
    coded,
    convert,
    frames_of,
    group,
    item,
    made_of,
    other,
    reference,
    save,
    series_of,
    shared_of,
    slice_of,
    unassigned,
    unassigned_shared,
)
from conversion.reading import source_series
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

MODALITIES = ["CT", "MR", "PT"]
FRAME_TYPE = {"CT": "CTImageFrameTypeSequence", "MR": "MRImageFrameTypeSequence", "PT": "PETFrameTypeSequence"}


@pytest.mark.parametrize("modality", MODALITIES)
def test_E2_class_is_that_of_the_table(modality: str, tmp_path: Path) -> None:
    made = made_of(series_of(modality), tmp_path).one
    assert made.SOPClassUID == LEGACY[modality]
    assert made.Modality == modality
    assert made.NumberOfFrames == 3


def test_E2_modalities_are_never_mixed(tmp_path: Path) -> None:
    # One Series Instance UID for both, as broken exports have it.
    mixed = [slice_of("CT", 1), slice_of("CT", 2), slice_of("PT", 3), slice_of("MR", 4)]
    made = made_of(mixed, tmp_path)
    assert sorted((ds.SOPClassUID, ds.NumberOfFrames) for ds in made.objects) == sorted(
        [(LEGACY["CT"], 2), (LEGACY["PT"], 1), (LEGACY["MR"], 1)]
    )


def test_E2_classes_are_never_mixed_whatever_modality_they_state(tmp_path: Path) -> None:
    mixed = [slice_of("CT", 1), slice_of("CT", 2), slice_of("MR", 3, {"Modality": "CT"})]
    made = made_of(mixed, tmp_path)
    assert sorted((ds.SOPClassUID, ds.NumberOfFrames) for ds in made.objects) == [(LEGACY["CT"], 2), (LEGACY["MR"], 1)]


def test_E3_no_concatenation_attribute_anywhere(tmp_path: Path) -> None:
    change = {
        "ConcatenationUID": "1.2.3",
        "InConcatenationNumber": 1,
        "InConcatenationTotalNumber": 2,
        "ConcatenationFrameOffsetNumber": 0,
        "SOPInstanceUIDOfConcatenationSource": "1.2.4",
    }
    made = made_of(series_of(change=change), tmp_path).one
    assert not [element for element in made.iterall() if element.keyword in change]


@pytest.mark.parametrize(
    "change",
    [
        {"Rows": 4, "PixelData": bytes(64)},
        {"Columns": 4, "PixelData": bytes(64)},
        {"Rows": 4, "Columns": 16},
        {"PixelRepresentation": 1},
        {"PixelAspectRatio": ["2", "1"]},
    ],
    ids=lambda change: "+".join(change),
)
def test_E4_another_image_pixel_module_is_another_object(change: dict, tmp_path: Path) -> None:
    made = made_of(series_of(change=[None, None, change]), tmp_path)
    assert sorted(ds.NumberOfFrames for ds in made.objects) == [1, 2]
    for ds in made.objects:
        assert len(ds.PixelData) == ds.Rows * ds.Columns * 2 * ds.NumberOfFrames


def test_E4_pixel_padding_values_are_told_apart(tmp_path: Path) -> None:
    # 0, 32 and 8192 differ only in bytes that are padding in text.
    values = [0, 32, 8192, None]
    pixels = np.resize(np.array([0, 32, 8192], "<u2"), 64).tobytes()
    made = made_of(series_of(change=[{"PixelPaddingValue": n, "PixelData": pixels} for n in values]), tmp_path)
    assert sorted((ds.get("PixelPaddingValue") for ds in made.objects), key=str) == sorted(values, key=str)


@pytest.mark.parametrize("modality", MODALITIES)
def test_E9_every_frame_has_the_mandatory_groups(modality: str, tmp_path: Path) -> None:
    def tilt(ds: Dataset) -> None:
        ds.PixelSpacing = ["0.5", f"0.{ds.InstanceNumber}"]

    made = made_of(series_of(modality, change=tilt), tmp_path).one
    for frame in range(3):
        assert group(made, frame, "PixelMeasuresSequence").PixelSpacing == [0.5, (frame + 1) / 10]
        assert group(made, frame, "PixelMeasuresSequence").SliceThickness == 5
        assert group(made, frame, "PlanePositionSequence").ImagePositionPatient == [-10, -20, 5 * (frame + 1)]
        assert group(made, frame, "PlaneOrientationSequence").ImageOrientationPatient == [1, 0, 0, 0, 1, 0]
        assert group(made, frame, FRAME_TYPE[modality]).FrameType[0] == "ORIGINAL"
        assert "FrameContentSequence" in frames_of(made)[frame]


@pytest.mark.parametrize("missing", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_E9_a_slice_without_geometry_stays_classic_with_the_reason(missing: str, tmp_path: Path) -> None:
    made = made_of(series_of(change=[None, None, {missing: None}]), tmp_path)
    assert [ds.NumberOfFrames for ds in made.objects] == [2]
    assert made.kept == {"002.dcm": f"{missing} is missing"}


@pytest.mark.parametrize("modality", ["CT", "PT", "MR"])
def test_E10_E41_windows_stay_as_they_are_multi_valued_ones_too(modality: str, tmp_path: Path) -> None:
    change = {
        "WindowCenter": ["40", "600"],
        "WindowWidth": ["400", "2000.0"],
        "WindowCenterWidthExplanation": ["SOFT", "BONE"],
        "VOILUTFunction": "SIGMOID",
    }
    made = made_of(series_of(modality, change=[change, change, change | {"WindowCenter": ["50", "600"]}]), tmp_path).one
    windows = [group(made, frame, "FrameVOILUTSequence") for frame in range(3)]
    assert [list(window.WindowCenter) for window in windows] == [[40, 600], [40, 600], [50, 600]]
    assert windows[0].WindowWidth[1].original_string == "2000.0"
    assert windows[0].WindowCenterWidthExplanation == ["SOFT", "BONE"]
    assert windows[0].VOILUTFunction == "SIGMOID"


@pytest.mark.parametrize(
    ("modality", "change", "expected"),
    [
        ("CT", {}, "HU"),
        ("CT", {"RescaleType": "MGML", "ImageType": ["DERIVED", "SECONDARY", "AXIAL"]}, "MGML"),
        ("CT", {"RescaleSlope": None, "RescaleIntercept": None}, "US"),
        ("PT", {}, "US"),
        ("PT", {"RescaleType": "BQML"}, "US"),
        ("MR", {"RescaleSlope": "2", "RescaleIntercept": "0", "RescaleType": "normalized"}, "US"),
        ("PT", {"Units": None}, "US"),
        ("MR", {"RescaleSlope": "2", "RescaleIntercept": "0"}, "US"),
    ],
)
def test_E11_E41_pixel_value_transformation(modality: str, change: dict, expected: str, tmp_path: Path) -> None:
    sources = series_of(modality, change=change)
    transformation = group(made_of(sources, tmp_path).one, 1, "PixelValueTransformationSequence")
    assert transformation.RescaleType == expected
    assert transformation.RescaleSlope == sources[1].get("RescaleSlope", 1)
    assert transformation.RescaleIntercept == sources[1].get("RescaleIntercept", 0)


def test_E11_slope_of_each_frame_is_its_own(tmp_path: Path) -> None:
    slopes = ["1.25", "2.5", "1.250"]
    made = made_of(series_of("PT", change=[{"RescaleSlope": slope} for slope in slopes]), tmp_path).one
    found = [group(made, n, "PixelValueTransformationSequence").RescaleSlope.original_string for n in range(3)]
    assert found == slopes


def test_E41_MR_without_values_gets_no_such_group(tmp_path: Path) -> None:
    made = made_of(series_of("MR"), tmp_path).one
    for where in (shared_of(made), *frames_of(made)):
        assert "PixelValueTransformationSequence" not in where
        assert "FrameVOILUTSequence" not in where


def test_E12_frame_content_is_never_shared_and_says_when(tmp_path: Path) -> None:
    made = made_of(series_of(change={"AcquisitionTime": "101700"}), tmp_path).one
    assert "FrameContentSequence" not in shared_of(made)
    for frame in frames_of(made):
        assert frame.FrameContentSequence[0].FrameAcquisitionNumber == 3
        assert frame.FrameContentSequence[0].FrameAcquisitionDateTime == "20240102101700"


def test_E12_acquisition_datetime_of_the_source_comes_first(tmp_path: Path) -> None:
    made = made_of(series_of(change={"AcquisitionDateTime": "20240102101699.25+0100"}), tmp_path).one
    assert frames_of(made)[0].FrameContentSequence[0].FrameAcquisitionDateTime == "20240102101699.25+0100"


def _referring(name: str, target: Dataset, **more: object) -> dict:
    return {name: [reference(target, **more)]}


def test_E13_referenced_images_of_each_frame(tmp_path: Path) -> None:
    outside = slice_of("CT", 90, series=STUDY + ".77")
    purpose = {"PurposeOfReferenceCodeSequence": [coded("121311", "DCM", "Localizer")]}
    changes = [_referring("ReferencedImageSequence", outside, **more) for more in ({}, purpose)]
    made = made_of(series_of(change=[*changes, None]), tmp_path).one
    for frame in range(2):
        (found,) = frames_of(made)[frame].ReferencedImageSequence
        assert found.ReferencedSOPInstanceUID == outside.SOPInstanceUID
    # A group that some frames have is there for each of them, with no item where there is nothing to say.
    assert list(frames_of(made)[2].ReferencedImageSequence) == []


def test_E14_evidence_lists_every_target_that_is_held(tmp_path: Path) -> None:
    localizers = [
        slice_of("CT", n, {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, series=STUDY + ".60") for n in (1, 2)
    ]
    slices = series_of(change=[_referring("ReferencedImageSequence", localizers[n % 2]) for n in range(3)])
    made = made_of([*localizers, *slices], tmp_path)
    (evidence,) = made.objects[0].ReferencedImageEvidenceSequence
    assert evidence.StudyInstanceUID == STUDY
    (series,) = evidence.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == STUDY + ".60"
    assert {ref.ReferencedSOPInstanceUID for ref in series.ReferencedSOPSequence} == {
        ds.SOPInstanceUID for ds in localizers
    }


def test_E14_evidence_names_what_converted_targets_have_become(tmp_path: Path) -> None:
    targets = series_of("MR", series=STUDY + ".60")
    slices = series_of(change=[_referring("ReferencedImageSequence", targets[n]) for n in range(3)])
    made = {ds.Modality: ds for ds in made_of([*targets, *slices], tmp_path).objects}
    (series,) = made["CT"].ReferencedImageEvidenceSequence[0].ReferencedSeriesSequence
    assert series.SeriesInstanceUID == made["MR"].SeriesInstanceUID
    (found,) = series.ReferencedSOPSequence
    assert (found.ReferencedSOPClassUID, found.ReferencedSOPInstanceUID) == (LEGACY["MR"], made["MR"].SOPInstanceUID)


def test_E15_E16_source_images_become_a_derivation_with_evidence(tmp_path: Path) -> None:
    sources = series_of("MR", series=STUDY + ".60")
    derivation = {"DerivationCodeSequence": [coded("113072", "DCM", "Multiplanar reformatting")]}
    changes = [
        _referring("SourceImageSequence", sources[n]) | derivation | {"DerivationDescription": "by hand"}
        for n in range(3)
    ]
    made = {ds.Modality: ds for ds in made_of([*sources, *series_of(change=changes)], tmp_path).objects}
    for frame in range(3):
        found = group(made["CT"], frame, "DerivationImageSequence")
        assert found.DerivationCodeSequence[0].CodeValue == "113072"
        assert found.DerivationDescription == "by hand"
        (source,) = found.SourceImageSequence
        assert source.ReferencedSOPInstanceUID == made["MR"].SOPInstanceUID
        assert source.ReferencedFrameNumber == frame + 1
    (series,) = made["CT"].SourceImageEvidenceSequence[0].ReferencedSeriesSequence
    assert series.SeriesInstanceUID == made["MR"].SeriesInstanceUID


def test_E18_body_part_becomes_a_code_with_laterality(tmp_path: Path) -> None:
    made = made_of(series_of(change={"BodyPartExamined": "KNEE", "Laterality": "R"}), tmp_path).one
    anatomy = group(made, 0, "FrameAnatomySequence")
    assert anatomy.FrameLaterality == "R"
    (region,) = anatomy.AnatomicRegionSequence
    assert (region.CodeValue, region.CodingSchemeDesignator) == ("72696002", "SCT")
    assert "Laterality" not in made
    assert unassigned_shared(made).Laterality == "R"


def test_E18_anatomic_region_of_the_source_wins(tmp_path: Path) -> None:
    region = {"AnatomicRegionSequence": [coded("T-D1100", "SRT", "Head")]}
    made = made_of(series_of(change=region), tmp_path).one
    anatomy = group(made, 0, "FrameAnatomySequence")
    assert anatomy.AnatomicRegionSequence[0].CodeValue == "T-D1100"
    assert anatomy.FrameLaterality == "U"


def test_E18_no_anatomy_is_made_up_for_an_unknown_body_part(tmp_path: Path) -> None:
    made = made_of(series_of(change={"BodyPartExamined": "CLINIC 4"}), tmp_path).one
    assert "FrameAnatomySequence" not in shared_of(made)
    assert made.BodyPartExamined == "CLINIC 4"


def test_E19_irradiation_event(tmp_path: Path) -> None:
    changes = [{"IrradiationEventUID": f"1.2.{n}"} for n in (1, 2)]
    made = made_of(series_of(change=changes), tmp_path).one
    found = [group(made, n, "IrradiationEventIdentificationSequence").IrradiationEventUID for n in range(2)]
    assert found == ["1.2.1", "1.2.2"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (["ORIGINAL", "PRIMARY", "AXIAL"], ["ORIGINAL", "PRIMARY", "AXIAL", "NONE"]),
        (["ORIGINAL", "PRIMARY", "AXIAL", "ADC"], ["ORIGINAL", "PRIMARY", "AXIAL", "NONE"]),
        (["DERIVED", "PRIMARY", "AXIAL", "SUBTRACTION"], ["DERIVED", "PRIMARY", "AXIAL", "SUBTRACTION"]),
        (["DERIVED", "SECONDARY", "MPR"], ["DERIVED", "PRIMARY", "MPR", ""]),
        (["DERIVED", "SECONDARY", "M\xb5", "ACME \xff"], ["DERIVED", "PRIMARY", "M\xb5", ""]),
    ],
)
def test_E20_value_4_of_image_and_frame_type(source: list[str], expected: list[str], tmp_path: Path) -> None:
    made = made_of(series_of(change={"ImageType": source}), tmp_path).one
    assert list(made.ImageType) == expected
    assert list(group(made, 0, FRAME_TYPE["CT"]).FrameType) == expected
    assert list(unassigned_shared(made).ImageType) == source


def test_E20_differing_values_are_mixed_at_the_top_only(tmp_path: Path) -> None:
    kinds = [["DERIVED", "PRIMARY", "AXIAL", "MEAN"], ["DERIVED", "PRIMARY", "AXIAL", "MAXIMUM"]]
    made = made_of(series_of(change=[{"ImageType": kind} for kind in kinds]), tmp_path).one
    assert list(made.ImageType) == ["DERIVED", "PRIMARY", "AXIAL", "MIXED"]
    assert [list(group(made, n, FRAME_TYPE["CT"]).FrameType) for n in range(2)] == kinds
    assert [list(unassigned(made, n).ImageType) for n in range(2)] == kinds


@pytest.mark.parametrize(
    ("kind", "properties", "technique"),
    [
        (["ORIGINAL", "PRIMARY", "AXIAL"], "VOLUME", "NONE"),
        (["DERIVED", "SECONDARY", "MPR"], "VOLUME", "MPR"),
        (["DERIVED", "SECONDARY", "MIP"], "SAMPLED", "MAX_IP"),
        (["DERIVED", "SECONDARY", "CPR"], "DISTORTED", "CURVED_MPR"),
        (["DERIVED", "SECONDARY", "PROJECTION IMAGE", "MIN_IP"], "SAMPLED", "MIN_IP"),
        (["DERIVED", "SECONDARY", "ACME"], "VOLUME", "MIXED"),
    ],
)
def test_E21_E44_image_description(kind: list[str], properties: str, technique: str, tmp_path: Path) -> None:
    made = made_of(series_of(change={"ImageType": kind}), tmp_path).one
    for where in (made, group(made, 0, FRAME_TYPE["CT"])):
        assert where.PixelPresentation == "MONOCHROME"
        assert where.VolumetricProperties == properties
        assert where.VolumeBasedCalculationTechnique == technique


def test_E23_PET_has_content_qualification(tmp_path: Path) -> None:
    assert made_of(series_of("PT"), tmp_path / "1").one.ContentQualification == "PRODUCT"
    research = made_of(series_of("PT", change={"ContentQualification": "RESEARCH"}), tmp_path / "2").one
    assert research.ContentQualification == "RESEARCH"


def test_E29_remaining_attributes_are_shared_only_when_all_agree(tmp_path: Path) -> None:
    shared = {"FilterType": "BODY", "ExposureTime": "500"}
    changes = [shared | {"XRayTubeCurrent": str(n), "ProtocolName": "P"} for n in (1, 2, 3)]
    changes[1]["ScanOptions"] = "HELICAL"
    changes[2]["ExposureTime"] = None
    made = made_of(series_of(change=changes), tmp_path).one
    assert unassigned_shared(made).FilterType == "BODY"
    assert made.ProtocolName == "P"
    assert [unassigned(made, n).get("XRayTubeCurrent") for n in range(3)] == [1, 2, 3]
    assert [unassigned(made, n).get("ExposureTime") for n in range(3)] == [500, 500, None]
    assert [unassigned(made, n).get("ScanOptions") for n in range(3)] == [None, "HELICAL", None]
    for keyword in ("XRayTubeCurrent", "ExposureTime", "ScanOptions"):
        assert keyword not in made
        assert keyword not in unassigned_shared(made)
    assert not [e for n in range(3) for e in unassigned(made, n) if e.keyword == "FilterType"]


def test_E29_another_number_of_values_is_another_value(tmp_path: Path) -> None:
    changes = [{"SequenceVariant": ["SK"]}, {"SequenceVariant": ["SK", "SP"]}]
    made = made_of(series_of("MR", change=changes), tmp_path).one
    assert [unassigned(made, n).SequenceVariant for n in range(2)] == ["SK", ["SK", "SP"]]


def test_E30_originals_of_changed_values_are_kept(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        ds.SeriesTime = f"1016{10 - ds.InstanceNumber:02d}"
        ds.InstanceNumber += 40

    sources = series_of(change=change)
    made = made_of(sources, tmp_path).one
    assert made.InstanceNumber == 1
    for frame, source in enumerate(sources):
        assert unassigned(made, frame).InstanceNumber == source.InstanceNumber
        assert unassigned(made, frame).SeriesTime == source.SeriesTime
    assert list(unassigned_shared(made).ImageType) == ["ORIGINAL", "PRIMARY", "AXIAL"]


def test_E31_absent_equals_empty(tmp_path: Path) -> None:
    changes = [{"ProtocolName": ""}, {"ProtocolName": None}, {"ProtocolName": ""}]
    made = made_of(series_of(change=changes), tmp_path).one
    places = [made, unassigned_shared(made), *(unassigned(made, n) for n in range(3))]
    assert not [place for place in places if place.get("ProtocolName")]


def test_E31_sequences_are_compared_item_by_item(tmp_path: Path) -> None:
    codes = [coded("1", "99A", "one"), coded("2", "99A", "two")]
    sequences = (codes, codes, codes[::-1])
    changes = [
        {"RadiopharmaceuticalInformationSequence": found, "AnatomicStructureSpaceOrRegionSequence": codes}
        for found in sequences
    ]
    made = made_of(series_of(change=changes), tmp_path).one
    assert [i.CodeValue for i in unassigned_shared(made).AnatomicStructureSpaceOrRegionSequence] == ["1", "2"]
    found = [[i.CodeValue for i in unassigned(made, n).RadiopharmaceuticalInformationSequence] for n in range(3)]
    assert found == [["1", "2"], ["1", "2"], ["2", "1"]]


def test_E32_private_elements_have_their_creator_in_the_same_item(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        # The blocks of two creators trade places from slice to slice.
        order = ["ACME 1", "ACME 2"][:: 1 if ds.InstanceNumber % 2 else -1]
        for creator in order:
            block = ds.private_block(0x0019, creator, create=True)
            block.add_new(0x01, "LO", f"same of {creator}")
            block.add_new(0x02, "DS", str(ds.InstanceNumber))

    made = made_of(series_of(change=change), tmp_path).one
    for creator in ("ACME 1", "ACME 2"):
        assert unassigned_shared(made).private_block(0x0019, creator)[0x01].value == f"same of {creator}"
        for frame in range(3):
            block = unassigned(made, frame).private_block(0x0019, creator)
            assert block[0x02].value == frame + 1
            assert 0x01 not in block


def test_E32_private_zeros_are_values(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        block = ds.private_block(0x0019, "ACME", create=True)
        block.add_new(0x01, "OB", b"\0\0")
        block.add_new(0x02, "UN", b"\0\0\0\0" if ds.InstanceNumber == 1 else b"\0\0")
        block.add_new(0x03, "US", 0)

    made = made_of(series_of(change=change), tmp_path).one
    shared = unassigned_shared(made).private_block(0x0019, "ACME")
    assert (shared[0x01].value, shared[0x03].value) == (b"\0\0", 0)
    found = [unassigned(made, n).private_block(0x0019, "ACME")[0x02].value for n in range(3)]
    assert found == [b"\0\0\0\0", b"\0\0", b"\0\0"]


def test_E32_two_blocks_of_one_creator(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        ds.add_new(0x00190010, "LO", "ACME")
        ds.add_new(0x00190011, "LO", "ACME")
        ds.add_new(0x00191001, "LO", f"first {ds.InstanceNumber}")
        ds.add_new(0x00191101, "LO", "second")

    made = made_of(series_of(change=change), tmp_path).one
    assert made.NumberOfFrames == 3
    assert unassigned_shared(made)[0x0019, 0x1101].value == "second"
    assert unassigned_shared(made)[0x0019, 0x0011].value == "ACME"
    assert [unassigned(made, n)[0x0019, 0x1001].value for n in range(3)] == ["first 1", "first 2", "first 3"]


@pytest.mark.parametrize("modality", MODALITIES)
def test_E33_unassigned_sequences_have_one_item_in_their_own_place(modality: str, tmp_path: Path) -> None:
    made = made_of(series_of(modality), tmp_path).one
    assert len(shared_of(made).UnassignedSharedConvertedAttributesSequence) == 1
    assert "UnassignedPerFrameConvertedAttributesSequence" not in shared_of(made)
    for frame in frames_of(made):
        assert "UnassignedSharedConvertedAttributesSequence" not in frame
        assert len(frame.UnassignedPerFrameConvertedAttributesSequence) == 1
    for sequence in ("UnassignedSharedConvertedAttributesSequence", "UnassignedPerFrameConvertedAttributesSequence"):
        assert sequence not in made


def test_E34_each_frame_names_its_source(tmp_path: Path) -> None:
    sources = series_of()
    made = made_of(sources[::-1], tmp_path).one
    assert "ConversionSourceAttributesSequence" not in made
    assert "ConversionSourceAttributesSequence" not in shared_of(made)
    for frame, source in zip(frames_of(made), sources, strict=True):
        (found,) = frame.ConversionSourceAttributesSequence
        assert found.ReferencedSOPClassUID == CLASSIC["CT"]
        assert found.ReferencedSOPInstanceUID == source.SOPInstanceUID


def test_E35_classic_modules_are_not_at_the_top(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        ds.PatientOrientation = ["L", "P"]
        ds.ImagesInAcquisition = "3"
        ds.ImageLaterality = "U"
        ds.QualityControlImage = "NO"
        ds.DerivationDescription = "none"
        ds.TemporalPositionIdentifier = "1"
        ds.VOILUTSequence = [item(LUTDescriptor=[1, 0, 16], LUTData=b"\0\0")]
        ds.VOILUTSequence[0]["LUTDescriptor"].VR = "US"
        ds.VOILUTSequence[0]["LUTData"].VR = "OW"

    made = made_of(series_of(change=change), tmp_path).one
    unwanted = (
        "PatientOrientation", "ImagesInAcquisition", "ImageLaterality", "QualityControlImage", "DerivationDescription",
        "TemporalPositionIdentifier", "WindowCenter", "WindowWidth", "VOILUTSequence", "AcquisitionDate",
        "AcquisitionTime", "RescaleSlope", "RescaleIntercept", "ImagePositionPatient", "ImageOrientationPatient",
        "PixelSpacing", "SliceThickness", "SliceLocation", "GraphicAnnotationSequence",
    )  # fmt: skip
    assert not [keyword for keyword in unwanted if keyword in made]
    # E42: a VOI LUT Sequence is not lost.
    assert len(unassigned_shared(made).VOILUTSequence) == 1


def test_E36_what_refers_to_nothing_converted_stays_unchanged(tmp_path: Path) -> None:
    localizer = slice_of("CT", 1, {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, series=STUDY + ".60")
    made = made_of([localizer, *series_of()], tmp_path)
    assert made.kept == {"000.dcm": "a localizer"}
    assert [ds.NumberOfFrames for ds in made.objects] == [3]


def test_text_of_two_character_sets_never_shares_an_object(tmp_path: Path) -> None:
    made = made_of(series_of(change=[None, None, {"SpecificCharacterSet": "ISO_IR 192"}]), tmp_path)
    assert sorted((ds.SpecificCharacterSet, ds.NumberOfFrames) for ds in made.objects) == [
        ("ISO_IR 100", 2),
        ("ISO_IR 192", 1),
    ]
    assert {str(ds.PatientName) for ds in made.objects} == {"Doe^J\xf6rg"}


def test_E38_burned_in_annotation(tmp_path: Path) -> None:
    assert "BurnedInAnnotation" not in made_of(series_of(), tmp_path / "1").one
    assert made_of(series_of(change={"BurnedInAnnotation": "NO"}), tmp_path / "2").one.BurnedInAnnotation == "NO"
    burned = made_of(series_of(change=[None, None, {"BurnedInAnnotation": "YES"}]), tmp_path / "3")
    assert burned.kept == {"002.dcm": "it has burned in annotation"}
    assert [ds.NumberOfFrames for ds in burned.objects] == [2]


def test_E39_lossy_in_any_source_shows_and_is_never_invented(tmp_path: Path) -> None:
    assert "LossyImageCompression" not in made_of(series_of(), tmp_path / "1").one
    lossy = {"LossyImageCompression": "01", "LossyImageCompressionRatio": "7.5"}
    lossy["LossyImageCompressionMethod"] = "ISO_15444_1"
    made = made_of(series_of(change=[None, {"LossyImageCompression": "00"}, lossy]), tmp_path / "2").one
    assert made.LossyImageCompression == "01"
    assert (made.LossyImageCompressionRatio, made.LossyImageCompressionMethod) == (7.5, "ISO_15444_1")
    assert [unassigned(made, n).get("LossyImageCompression") for n in range(3)] == [None, "00", "01"]


@pytest.mark.parametrize("modality", MODALITIES)
def test_E40_modules_that_classic_images_do_not_have(modality: str, tmp_path: Path) -> None:
    bare = {"FrameOfReferenceUID": None, "PositionReferenceIndicator": None, "PatientPosition": None}
    made = made_of(series_of(modality, change=bare), tmp_path).one
    assert "AcquisitionContextSequence" in made
    assert made.FrameOfReferenceUID
    assert "PositionReferenceIndicator" in made
    assert "PatientPosition" in made
    assert made.Modality == modality
    assert made.PresentationLUTShape == "IDENTITY"
    assert made.ContentDate == "20240102"


def test_E42_a_lookup_table_without_window_stays_classic(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        del ds.WindowCenter, ds.WindowWidth
        ds.VOILUTSequence = [item(LUTExplanation="curve")]

    made = made_of(series_of(change=change), tmp_path)
    assert set(made.kept.values()) == {"it has a VOI lookup table and no window"}


def test_E45_source_series_is_the_last_related_series(tmp_path: Path) -> None:
    made = made_of(series_of(), tmp_path).one
    assert source_series(made) == SERIES
    assert "SeriesInstanceUID" not in unassigned_shared(made)
    assert "SeriesInstanceUID" not in frames_of(made)[0].ConversionSourceAttributesSequence[0]


def test_E46_homes_that_change_the_representation_keep_the_original(tmp_path: Path) -> None:
    changes = [{"AcquisitionNumber": n, "AcquisitionTime": "1017"} for n in ("007", "8")]
    made = made_of(series_of(change=changes), tmp_path).one
    assert [frames_of(made)[n].FrameContentSequence[0].FrameAcquisitionNumber for n in range(2)] == [7, 8]
    assert unassigned(made, 0).AcquisitionNumber.original_string == "007"
    assert unassigned_shared(made).AcquisitionDate == "20240102"
    assert unassigned_shared(made).AcquisitionTime == "1017"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda ds: ds.add_new(0x50020005, "US", 8), "it has curves"),
        ({"ModalityLUTSequence": [Dataset()]}, "it has a modality lookup table"),
        ({"NumberOfFrames": "0"}, "it has 0 frames, a classic image has one"),
        ({"NumberOfFrames": "2"}, "it has 2 frames, a classic image has one"),
        ({"PixelData": bytes(100)}, "its pixel data have 100 bytes instead of 128"),
        ({"Rows": 0}, "it has no frame: Rows or Columns are zero"),
        ({"ImageOrientationPatient": [1, 1, 0, 0, 1, 0]}, "Image Orientation (Patient) has no unit vectors"),
        ({"PixelSpacing": ["0", "1"]}, "Pixel Spacing is not positive"),
    ],
    ids=lambda value: value if isinstance(value, str) else "image",
)
def test_E48_what_cannot_be_converted_without_loss_stays_classic(change: object, reason: str, tmp_path: Path) -> None:
    made = made_of(series_of(change=[None, None, change]), tmp_path)
    assert made.kept == {"002.dcm": reason}
    assert [ds.NumberOfFrames for ds in made.objects] == [2]


def test_a_number_that_is_none_keeps_its_slice_classic_and_nothing_else(tmp_path: Path) -> None:
    def broken(ds: Dataset) -> None:
        del ds.WindowCenter, ds.WindowWidth
        ds.add_new("RescaleSlope", "LO", "one")
        ds["RescaleSlope"].VR = "LO"

    made = made_of(series_of("PT", change=[None, None, broken]), tmp_path)
    assert list(made.kept) == ["002.dcm"]
    assert [ds.NumberOfFrames for ds in made.objects] == [2]


def test_one_broken_series_does_not_stop_the_study(tmp_path: Path) -> None:
    odd = series_of("MR", change=lambda ds: ds.add_new(0x00191001, "LO", "no creator"), series=STUDY + ".60")
    made = made_of([*odd, *series_of()], tmp_path)
    assert {ds.Modality for ds in made.objects} >= {"CT"}


def test_odd_frames_are_padded_at_the_end_only(tmp_path: Path) -> None:
    def odd(ds: Dataset) -> None:
        ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored, ds.HighBit = 3, 3, 8, 8, 7
        ds.PixelData = bytes(range(9)) + b"\0"
        ds["PixelData"].VR = "OB"

    made = made_of(series_of("MR", change=odd), tmp_path).one
    assert made.PixelData == bytes(range(9)) * 3 + b"\0"
    assert made.pixel_array.shape == (3, 3, 3)


def test_an_object_other_than_an_image_stays_as_it_is(tmp_path: Path) -> None:
    made = made_of([other("1.2.840.10008.5.1.4.1.1.88.33", 1), *series_of()], tmp_path)
    assert made.kept == {"000.dcm": "not a classic CT, MR or PET image"}


def test_mixed_transfer_syntaxes_are_never_one_object(tmp_path: Path) -> None:
    syntaxes = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless]
    paths = [save(ds, tmp_path / ds.SOPInstanceUID, syntax) for ds, syntax in zip(series_of(), syntaxes, strict=True)]
    made = convert(paths, tmp_path / "out")
    assert sorted((ds.NumberOfFrames, ds.file_meta.TransferSyntaxUID) for ds in made.objects) == [
        (1, RLELossless),
        (2, ExplicitVRLittleEndian),
    ]
