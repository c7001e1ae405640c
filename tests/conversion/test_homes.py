"""What has a home in a module or functional group of the Legacy Converted IODs goes there, true to its content."""

from __future__ import annotations

from pathlib import Path

import pytest
from conversion.material import (
    coded,
    frames_of,
    group,
    item,
    made_of,
    series_of,
    shared_of,
    turned_back,
    unassigned,
    unassigned_shared,
)
from conversion.reading import missing, unfolded
from pydicom import dcmread
from pydicom.dataset import Dataset

GATED = {"ScanOptions": "CG", "HeartRate": "60", "LowRRValue": "900", "HighRRValue": "1100", "NominalInterval": "1000"}


def test_E24_cardiac_synchronization_of_a_gated_image(tmp_path: Path) -> None:
    made = made_of(series_of("MR", 2, [GATED | {"TriggerTime": "12.5"}, GATED | {"TriggerTime": "40"}]), tmp_path).one
    first = group(made, 0, "CardiacSynchronizationSequence")
    assert (first.NominalCardiacTriggerDelayTime, first.RRIntervalTimeNominal) == (12.5, 1000.0)
    assert (first.HeartRate, first.LowRRValue, first.HighRRValue) == (60, 900, 1100)
    assert group(made, 1, "CardiacSynchronizationSequence").NominalCardiacTriggerDelayTime == 40.0
    # E46: another VR keeps the original, what moves as it is does not stay as well.
    assert unassigned(made, 0).TriggerTime == 12.5
    assert unassigned_shared(made).NominalInterval == 1000
    assert "HeartRate" not in unassigned_shared(made)


def test_E24_trigger_time_alone_is_no_cardiac_synchronization(tmp_path: Path) -> None:
    made = made_of(series_of("MR", 2, [{"TriggerTime": "0"}, {"TriggerTime": "2000"}]), tmp_path).one
    assert all("CardiacSynchronizationSequence" not in where for where in (shared_of(made), *frames_of(made)))


def test_E24_cardiac_module_has_what_is_of_the_whole_image(tmp_path: Path) -> None:
    change = GATED | {"CardiacSynchronizationTechnique": "PROSPECTIVE", "TriggerTime": "10"}
    made = made_of(series_of("MR", 2, change), tmp_path).one
    assert (made.CardiacSynchronizationTechnique, made.LowRRValue) == ("PROSPECTIVE", 900)
    assert "LowRRValue" not in group(made, 0, "CardiacSynchronizationSequence")
    assert "LowRRValue" not in unassigned_shared(made)


@pytest.mark.parametrize(
    ("modality", "change", "home"),
    [
        ("CT", {"NominalRespiratoryTriggerDelayTime": 5.0}, "RespiratorySynchronizationSequence"),
        ("PT", {"TemporalPositionTimeOffset": 5.0}, "TemporalPositionSequence"),
        (
            "MR",
            {"ContrastBolusAgentNumber": 1, "ContrastBolusAgentAdministered": "YES"},
            "ContrastBolusUsageSequence",
        ),
        ("CT", {"IrradiationEventUID": "1.2.3"}, "IrradiationEventIdentificationSequence"),
    ],
)
def test_E24_attributes_of_optional_groups_move_there(modality: str, change: dict, home: str, tmp_path: Path) -> None:
    source = series_of(modality, 2, change)
    made = made_of(source, tmp_path).one
    for keyword, value in change.items():
        assert group(made, 0, home)[keyword].value == value
        assert keyword not in unassigned_shared(made)
    assert not missing(source[0], unfolded(made, 0))


def test_E24_a_group_that_would_lack_a_mandatory_attribute_is_not_made(tmp_path: Path) -> None:
    made = made_of(series_of("CT", 2, {"ContrastBolusAgentAdministered": "YES"}), tmp_path).one
    assert "ContrastBolusUsageSequence" not in shared_of(made)
    assert unassigned_shared(made).ContrastBolusAgentAdministered == "YES"


def test_E24_real_world_values_of_CT_have_no_home_in_A70(tmp_path: Path) -> None:
    mapping = item(
        RealWorldValueFirstValueMapped=0,
        RealWorldValueLastValueMapped=4095,
        RealWorldValueIntercept=0.0,
        RealWorldValueSlope=1.0,
        LUTExplanation="x",
        LUTLabel="x",
        MeasurementUnitsCodeSequence=[coded("[hnsf'U]", "UCUM", "HU")],
    )
    for modality, home in (("CT", None), ("MR", "RealWorldValueMappingSequence")):
        made = made_of(series_of(modality, 2, {"RealWorldValueMappingSequence": [mapping]}), tmp_path / modality).one
        assert ("RealWorldValueMappingSequence" in shared_of(made)) == (home is not None)
        assert ("RealWorldValueMappingSequence" in unassigned_shared(made)) == (home is None)


def test_E12_E24_frame_content_has_what_the_image_says_of_itself(tmp_path: Path) -> None:
    change = {"SeriesTime": "101600", "FrameReferenceTime": "1500", "ActualFrameDuration": "60000", "FrameLabel": "A"}
    source = series_of("PT", 2, change)
    made = made_of(source, tmp_path).one
    content = group(made, 0, "FrameContentSequence")
    assert content.FrameReferenceDateTime == "20240102101601.500000"
    assert (content.FrameAcquisitionDuration, content.FrameLabel) == (60000.0, "A")
    assert unassigned_shared(made).ActualFrameDuration == 60000


def test_E24_comments_of_frames_go_to_the_frames(tmp_path: Path) -> None:
    made = made_of(series_of("CT", 2, [{"ImageComments": "one"}, {"ImageComments": "two"}]), tmp_path).one
    assert [group(made, n, "FrameContentSequence").FrameComments for n in (0, 1)] == ["one", "two"]
    assert [unassigned(made, n).ImageComments for n in (0, 1)] == ["one", "two"]
    same = made_of(series_of("CT", 2, {"ImageComments": "one"}), tmp_path / "same").one
    assert same.ImageComments == "one"
    assert "FrameComments" not in group(same, 0, "FrameContentSequence")


@pytest.mark.parametrize(
    ("change", "side"),
    [
        ({"ImageLaterality": "L"}, "L"),
        ({"Laterality": "R"}, "R"),
        ({}, "U"),
        ({"modifier": ("24028007", "SCT", "Right")}, "R"),
        ({"modifier": ("G-A101", "SRT", "Left")}, "L"),
        ({"modifier": ("51440002", "SCT", "Right and left")}, "B"),
        ({"modifier": ("255549009", "SCT", "Anterior")}, "U"),
    ],
)
def test_E18_laterality_is_the_image_s_or_its_region_s(change: dict, side: str, tmp_path: Path) -> None:
    region = coded("72696002", "SCT", "Knee")
    if "modifier" in change:
        region.AnatomicRegionModifierSequence = [coded(*change["modifier"])]
    attributes = {key: value for key, value in change.items() if key != "modifier"}
    made = made_of(series_of("CT", 2, attributes | {"AnatomicRegionSequence": [region]}), tmp_path).one
    anatomy = group(made, 0, "FrameAnatomySequence")
    assert anatomy.FrameLaterality == side
    kept = anatomy.AnatomicRegionSequence[0].get("AnatomicRegionModifierSequence", [])
    assert len(kept) == ("modifier" in change)


def test_E18_E24_the_structure_stands_beside_its_region(tmp_path: Path) -> None:
    structure = {"PrimaryAnatomicStructureSequence": [coded("72696002", "SCT", "Knee")]}
    source = series_of("MR", 2, structure)
    made = made_of(source, tmp_path).one
    assert group(made, 0, "FrameAnatomySequence").PrimaryAnatomicStructureSequence[0].CodeValue == "72696002"
    assert "PrimaryAnatomicStructureSequence" not in unassigned_shared(made)
    assert not missing(source[0], unfolded(made, 0))


@pytest.mark.parametrize(
    ("change", "component"),
    [
        ({"ComplexImageComponent": "PHASE"}, "PHASE"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "OTHER", "MAGNITUDE"]}, "MAGNITUDE"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "OTHER"]}, None),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "REAL", "IMAGINARY"]}, None),
    ],
)
def test_E24_complex_image_component_is_stated_and_not_guessed(
    change: dict, component: str | None, tmp_path: Path
) -> None:
    made = made_of(series_of("MR", 2, change), tmp_path).one
    assert group(made, 0, "MRImageFrameTypeSequence").get("ComplexImageComponent") == component
    assert made.get("ComplexImageComponent") == component


def test_E24_components_that_differ_are_mixed_at_the_top(tmp_path: Path) -> None:
    source = series_of("MR", 2, [{"ComplexImageComponent": "PHASE"}, {"ComplexImageComponent": "REAL"}])
    made = made_of(source, tmp_path).one
    assert made.ComplexImageComponent == "MIXED"
    assert [group(made, n, "MRImageFrameTypeSequence").ComplexImageComponent for n in (0, 1)] == ["PHASE", "REAL"]
    assert [unassigned(made, n).ComplexImageComponent for n in (0, 1)] == ["PHASE", "REAL"]


def test_E29_E31_numbers_are_compared_by_value_and_kept_as_first_written(tmp_path: Path) -> None:
    changes = [
        {"PixelSpacing": ["0.5", "0.5"], "KVP": "120"},
        {"PixelSpacing": ["0.50", "5e-1"], "KVP": "120.0"},
        {"PixelSpacing": ["0.5", "0.5"], "KVP": "120"},
    ]
    made = made_of(series_of("CT", 3, changes), tmp_path).one
    spacing = shared_of(made).PixelMeasuresSequence[0].PixelSpacing
    assert [value.original_string for value in spacing] == ["0.5", "0.5"]
    assert unassigned_shared(made).KVP.original_string == "120"
    other = made_of(series_of("CT", 2, [{"KVP": "120"}, {"KVP": "120.1"}]), tmp_path / "other").one
    assert [unassigned(other, n).KVP for n in (0, 1)] == [120, 120.1]


def test_E29_private_bytes_of_unknown_meaning_are_compared_byte_by_byte(tmp_path: Path) -> None:
    def with_private(value: bytes):
        def change(ds: Dataset) -> None:
            ds.private_block(0x0029, "ACME", create=True).add_new(0x01, "UN", value)

        return change

    made = made_of(series_of("CT", 2, [with_private(b"1.0 "), with_private(b"1   ")]), tmp_path).one
    assert 0x00291001 not in unassigned_shared(made)
    assert [unassigned(made, n)[0x00291001].value for n in (0, 1)] == [b"1.0 ", b"1   "]


def test_E42_a_lookup_table_beside_a_window_is_kept(tmp_path: Path) -> None:
    table = item(LUTDescriptor=[4, 0, 16], LUTData=bytes(8), LUTExplanation="steep")
    made = made_of(series_of("CT", 2, {"VOILUTSequence": [table]}), tmp_path).one
    assert "VOILUTSequence" not in made
    assert unassigned_shared(made).VOILUTSequence[0].LUTExplanation == "steep"
    assert group(made, 0, "FrameVOILUTSequence").WindowCenter == 40


def test_G8_of_equipment_that_differs_in_its_times_alone_the_first_is_copied(tmp_path: Path) -> None:
    def equipment(time: str) -> dict:
        purpose = coded("109101", "DCM", "Acquisition Equipment")
        return {
            "ContributingEquipmentSequence": [
                item(Manufacturer="X", ContributionDateTime=time, PurposeOfReferenceCodeSequence=[purpose])
            ]
        }

    made = made_of(series_of("CT", 2, [equipment("20240101"), equipment("20240102")]), tmp_path).one
    assert [one.get("ContributionDateTime") for one in made.ContributingEquipmentSequence] == ["20240101", None]
    assert all("ContributingEquipmentSequence" not in unassigned(made, n) for n in (0, 1))


@pytest.mark.parametrize(
    ("first", "stated", "expected"),
    [
        ("DERIVED", ("SAMPLED", "MIN_IP"), ("SAMPLED", "MIN_IP")),
        ("DERIVED", ("MIXED", "MIXED"), ("VOLUME", "MIXED")),
        ("ORIGINAL", ("DISTORTED", "MPR"), ("DISTORTED", "NONE")),
    ],
)
def test_E21_E44_what_an_image_says_of_its_volume_comes_first(
    first: str, stated: tuple, expected: tuple, tmp_path: Path
) -> None:
    change = {"ImageType": [first, "PRIMARY", "OTHER"]}
    change |= dict(zip(("VolumetricProperties", "VolumeBasedCalculationTechnique"), stated, strict=True))
    made = made_of(series_of("CT", 2, change), tmp_path).one
    found = group(made, 0, "CTImageFrameTypeSequence")
    assert (found.VolumetricProperties, found.VolumeBasedCalculationTechnique) == expected
    kept = unassigned_shared(made)
    assert (kept.VolumetricProperties, kept.VolumeBasedCalculationTechnique) == stated


def test_G9_patient_and_study_attributes_without_a_value_stay(tmp_path: Path) -> None:
    empties = {"EthnicGroup": "", "PatientComments": "", "Allergies": "", "AdmittingDiagnosesDescription": ""}
    made = made_of(series_of("CT", 2, empties | {"StationName": ""}), tmp_path).one
    assert all(keyword in made and not made[keyword].value for keyword in empties)
    assert "StationName" not in made


def described(made: Dataset, frame: int = 0) -> Dataset:
    return group(made, frame, "MRImageFrameTypeSequence")


@pytest.mark.parametrize(
    ("values", "component", "contrast"),
    [
        (["M", "ND", "NORM"], "MAGNITUDE", None),
        (["M_FFE", "M", "FFE"], "MAGNITUDE", None),
        (["P", "ND"], "PHASE", None),
        (["PHASE MAP", "P", "FFE"], "PHASE", None),
        (["R_IR", "R", "IR"], "REAL", None),
        (["OTHER", "I"], "IMAGINARY", None),
        (["DIFFUSION", "NONE", "ND"], None, "DIFFUSION"),
        (["PERFUSION_FFE", "PERFUSION", "FFE"], None, "PERFUSION"),
        (["M", "P"], None, None),  # says two things
        (["OTHER"], None, None),
        (["MPR", "MIXED"], None, None),
    ],
)
def test_E50_what_image_type_says_of_component_and_contrast(
    values: list[str], component: str | None, contrast: str | None, tmp_path: Path
) -> None:
    made = made_of(series_of("MR", change={"ImageType": ["ORIGINAL", "PRIMARY", *values]}), tmp_path).one
    assert described(made).get("ComplexImageComponent") == component
    assert described(made).get("AcquisitionContrast") == contrast
    assert made.get("ComplexImageComponent") == component
    assert made.get("AcquisitionContrast") == contrast


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["DERIVED", "PRIMARY", "DIFFUSION", "ADC", "ND"], "DIFFUSION"),
        (["DERIVED", "PRIMARY", "ADC"], "ADC"),
        (["DERIVED", "SECONDARY", "M", "ND", "T2_MAP"], "T2_MAP"),
        (["DERIVED", "SECONDARY", "MPR", "CSA MPR", "", "NONE"], ""),
        (["ORIGINAL", "PRIMARY", "M", "ADC"], "NONE"),
    ],
)
def test_E20_E50_value_4_comes_from_any_value_of_image_type(values: list[str], expected: str, tmp_path: Path) -> None:
    made = made_of(series_of("MR", change={"ImageType": values}), tmp_path).one
    assert described(made).FrameType[3] == expected


def beside(ds: Dataset) -> None:
    """Write attributes of the enhanced image into a private sequence, as Philips does."""
    own = item(ComplexImageComponent="REAL", AcquisitionContrast="T2", FrameType=["ORIGINAL", "PRIMARY", "T2", "NONE"])
    block = ds.private_block(0x2005, "Philips MR Imaging DD 005", create=True)
    block.add_new(0x0F, "SQ", [own])


def test_E51_attributes_of_the_enhanced_image_in_a_private_sequence_are_read_and_stay(tmp_path: Path) -> None:
    sources = series_of("MR", change=beside)
    made = made_of(sources, tmp_path)
    assert described(made.one).ComplexImageComponent == "REAL"
    assert described(made.one).AcquisitionContrast == "T2"
    files, _ = turned_back(made.files, tmp_path / "classic")
    for ds in map(dcmread, files):
        assert "AcquisitionContrast" not in ds
        private = ds.get_private_item(0x2005, 0x0F, "Philips MR Imaging DD 005").value
        assert private == sources[0].get_private_item(0x2005, 0x0F, "Philips MR Imaging DD 005").value


def test_E51_the_attribute_of_the_image_itself_comes_first(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        beside(ds)
        ds.ComplexImageComponent = "MAGNITUDE"

    made = made_of(series_of("MR", change=change), tmp_path).one
    assert described(made).ComplexImageComponent == "MAGNITUDE"


@pytest.mark.parametrize(("number", "term"), [(0, "MAGNITUDE"), (1, "PHASE"), (2, "REAL"), (3, "IMAGINARY"), (9, None)])
def test_E50_ge_numbers_the_component(number: int, term: str | None, tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        ds.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
        ds.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x2F, "SS", number)

    assert described(made_of(series_of("MR", change=change), tmp_path).one).get("ComplexImageComponent") == term
