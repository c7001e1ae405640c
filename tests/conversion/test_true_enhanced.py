"""True Enhanced CT, MR and PET where the sources fill all that the class demands (PS3.4 C.3.5, E1)."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conversion.full import FULL, full_series
from conversion.material import (
    CLASSIC,
    ENHANCED,
    LEGACY,
    Conversion,
    convert,
    frames_of,
    group,
    made_of,
    save,
    save_all,
    shared_of,
    turned_back,
    unassigned,
    unassigned_shared,
)
from conversion.reading import missing, plain
from peers import need
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from gateway.conversion.conditions import holds
from gateway.conversion.macro_groups import TABLES
from gateway.conversion.true_enhanced import Decision
from gateway.objects.part10 import read_header
from gateway.standard.functional_groups import MACROS, macros_of

MODALITIES = ["CT", "MR", "PT"]

# Attributes whose absence the class can bear, because they are of Type 2.
MAY_BE_EMPTY = {
    ("CT", "AcquisitionDuration"),
    ("MR", "ReceiveCoilManufacturerName"),
    ("MR", "TransmitCoilManufacturerName"),
}


def missing_of(made: Conversion) -> set[str]:
    (converted,) = made.result.objects
    return {lack.attribute for lack in converted.planned.missing}


def decided(sources: list[Dataset], tmp_path: Path) -> list[str]:
    decision = Decision(sources[0].Modality)
    for path in save_all(sources, tmp_path):
        decision.add(read_header(path).dataset)
    return [str(lack) for lack in decision.missing]


@pytest.mark.parametrize("modality", MODALITIES)
def test_E1_G5_full_sources_become_the_true_class_and_validate(modality: str, tmp_path: Path) -> None:
    made = made_of(full_series(modality), tmp_path)
    assert made.one.SOPClassUID == ENHANCED[modality]
    done = subprocess.run([need("dciodvfy"), "-new", str(made.files[0])], capture_output=True, text=True)
    assert [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")] == []


@pytest.mark.parametrize(
    ("modality", "keyword"),
    [(modality, keyword) for modality in MODALITIES for keyword, value in FULL[modality].items() if value is not None],
)
def test_E1_without_any_one_of_the_demanded_attributes_it_is_legacy_converted(
    modality: str, keyword: str, tmp_path: Path
) -> None:
    lacks = decided(full_series(modality, 1, **{keyword: None}), tmp_path)
    assert bool(lacks) != ((modality, keyword) in MAY_BE_EMPTY)


@pytest.mark.parametrize("modality", MODALITIES)
def test_E1_one_frame_that_lacks_something_decides_for_the_object(modality: str, tmp_path: Path) -> None:
    sources = full_series(modality)
    del sources[2].ContentQualification
    made = made_of(sources, tmp_path)
    assert made.one.SOPClassUID == LEGACY[modality]
    assert missing_of(made) == {"ContentQualification"}


@pytest.mark.parametrize(
    ("modality", "changes", "said"),
    [
        ("CT", {"FilterType": "BOW_TIE"}, "FilterType is BOW_TIE (CT X-Ray Details, C.8.15.3.9)"),
        ("CT", {"RescaleType": "OD"}, "RescaleType is OD (Pixel Value Transformation, C.7.6.16.2.9, CT C.8.15.3.10)"),
        (
            "CT",
            {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]},
            "FrameType value 3 is AXIAL (CT Image Frame Type, C.8.15.3.1)",
        ),
        ("MR", {"ScanningSequence": "RM"}, "EchoPulseSequence is missing (MR Pulse Sequence, C.8.13.4)"),
        ("MR", {"ImagedNucleus": "H1"}, "ResonantNucleus is H1 (Enhanced MR Image, C.8.13.1)"),
        ("PT", {"CountsSource": "BOTH"}, "CountsSource is BOTH (Enhanced PET Corrections, C.8.22.x)"),
        ("CT", {"HeartRate": "60"}, "CardiacSynchronizationTechnique is missing (Cardiac Synchronization, C.7.6.18.1)"),
        (
            "CT",
            {"ContrastBolusAgent": "X"},
            "ContrastBolusAgentSequence is missing (Enhanced Contrast/Bolus, C.7.6.4b)",
        ),
    ],
)
def test_E1_what_is_missing_is_named_with_its_place(modality: str, changes: dict, said: str, tmp_path: Path) -> None:
    assert said in decided(full_series(modality, 1, **changes), tmp_path)


def test_E1_a_value_of_the_top_level_is_that_of_all_frames(tmp_path: Path) -> None:
    sources = full_series("MR")
    sources[1].SequenceName = "other"
    made = made_of(sources, tmp_path)
    assert made.one.SOPClassUID == LEGACY["MR"]
    assert "PulseSequenceName is not the same in all frames" in str(made.result.objects[0].planned.missing[0])


def test_E1_E46_classic_names_and_terms_are_translated_and_kept(tmp_path: Path) -> None:
    made = made_of(full_series("MR"), tmp_path).one
    assert (made.PulseSequenceName, made.ResonantNucleus, made.EchoPulseSequence) == ("se2d1", "1H", "SPIN")
    assert (made.EchoPlanarPulseSequence, made.SteadyStatePulseSequence) == ("NO", "NONE")
    assert group(made, 0, "MREchoSequence").EffectiveEchoTime == 10.5
    assert group(made, 0, "MRImagingModifierSequence").TransmitterFrequency == 63.87
    assert group(made, 0, "MRModifierSequence").SpatialPresaturation == "SLAB"
    assert group(made, 0, "MRFOVGeometrySequence").InPlanePhaseEncodingDirection == "COLUMN"
    kept = unassigned_shared(made)
    assert (kept.EchoTime.original_string, kept.ImagedNucleus, kept.SequenceName) == ("10.5", "1H", "se2d1")
    assert (kept.InPlanePhaseEncodingDirection, kept.ScanningSequence) == ("COL", "SE")
    ct = made_of(full_series("CT"), tmp_path / "ct").one
    exposure = group(ct, 0, "CTExposureSequence")
    assert (exposure.ExposureTimeInms, exposure.XRayTubeCurrentInmA, exposure.ExposureInmAs) == (500, 200, 100)
    assert unassigned_shared(ct).XRayTubeCurrent == 200
    pet = made_of(full_series("PT"), tmp_path / "pt").one
    assert (pet.DecayCorrected, pet.PatientMotionCorrected, pet.TypeOfDetectorMotion) == ("YES", "NO", "STATIONARY")
    assert group(pet, 0, "FrameContentSequence").FrameReferenceDateTime == "20240102101630.000000"


@pytest.mark.parametrize("modality", MODALITIES)
def test_E1_E24_what_moves_as_it_is_is_in_its_group_and_nowhere_else(modality: str, tmp_path: Path) -> None:
    made = made_of(full_series(modality), tmp_path).one
    homes = {
        item.keyword: sequence
        for sequence in macros_of(modality, legacy=False)
        for item in MACROS[sequence].attributes
        if len(item.path) == 1 and sequence != "CTAdditionalXRaySourceSequence"
    }
    interpreted = ("InPlanePhaseEncodingDirection", "ComplexImageComponent", "AcquisitionContrast")
    moved = 0
    for keyword, value in FULL[modality].items():
        home = homes.get(keyword)
        if home is None or value is None or keyword in interpreted:
            continue
        assert keyword in group(made, 0, home), keyword
        assert keyword not in unassigned_shared(made), keyword
        assert keyword not in unassigned(made, 0), keyword
        moved += 1
    assert moved > 10


def test_E1_groups_are_shared_only_when_all_frames_agree(tmp_path: Path) -> None:
    sources = full_series("CT")
    sources[1].TablePosition = 105.0
    made = made_of(sources, tmp_path).one
    assert "CTPositionSequence" not in shared_of(made)
    assert [frame.CTPositionSequence[0].TablePosition for frame in frames_of(made)] == [100, 105, 100]
    assert "CTGeometrySequence" in shared_of(made)


def test_E1_sequences_of_several_items_are_groups_as_they_are(tmp_path: Path) -> None:
    made = made_of(full_series("MR"), tmp_path).one
    slabs = shared_of(made).MRSpatialSaturationSequence
    assert [slab.MidSlabPosition[2] for slab in slabs] == [1.0, 2.0]
    assert "MRSpatialSaturationSequence" not in unassigned_shared(made)


def test_E1_acquisition_starts_with_its_first_frame(tmp_path: Path) -> None:
    made = made_of(full_series("CT"), tmp_path).one
    assert made.AcquisitionDateTime == "20240102101701.5"
    assert group(made, 2, "FrameContentSequence").FrameAcquisitionDateTime == "20240102101703.5"


def test_E1_E22_dimensions_point_at_what_the_attribute_has_become(tmp_path: Path) -> None:
    sources = full_series("MR", 6)  # more echoes than places: one object
    for number, ds in enumerate(sources):
        ds.EchoTime = ("10.5", "50", "90")[number // 2]
        ds.ImagePositionPatient = ["-10", "-20", str(5 * (number % 2))]
    made = made_of(sources, tmp_path).one
    assert made.SOPClassUID == ENHANCED["MR"]
    pointers = [(entry.DimensionIndexPointer, entry.FunctionalGroupPointer) for entry in made.DimensionIndexSequence]
    assert (tag_for_keyword("EffectiveEchoTime"), tag_for_keyword("MREchoSequence")) in pointers
    assert [group(made, n, "MREchoSequence").EffectiveEchoTime for n in range(6)] == [10.5, 10.5, 50, 50, 90, 90]


def test_E1_E22_PET_of_one_time_says_so_and_of_unknown_times_is_legacy_converted(tmp_path: Path) -> None:
    made = made_of(full_series("PT"), tmp_path).one
    assert [group(made, n, "FrameContentSequence").TemporalPositionIndex for n in range(3)] == [1, 1, 1]
    sources = full_series("PT")
    for ds in sources:
        ds.ImagePositionPatient = ["-10", "-20", "5"]
        ds.AcquisitionTime = ds.ContentTime = "101700"
    other = made_of(sources, tmp_path / "other")
    assert other.one.SOPClassUID == LEGACY["PT"]
    assert missing_of(other) == {"TemporalPositionIndex"}


def test_E1_color_is_no_enhanced_MR_image(tmp_path: Path) -> None:
    def color(ds: Dataset) -> None:
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
        ds.PixelData = bytes(8 * 8 * 3)

    sources = full_series("MR")
    for ds in sources:
        color(ds)
    made = made_of(sources, tmp_path)
    assert made.one.SOPClassUID == LEGACY["MR"]
    assert "PhotometricInterpretation" in missing_of(made)


@pytest.mark.parametrize("modality", MODALITIES)
def test_E1_K1_round_trip_gives_every_element_and_pixel_and_nothing_else(modality: str, tmp_path: Path) -> None:
    sources = full_series(modality)
    sources[0].ImageComments = "first"
    made = made_of(sources, tmp_path)
    assert made.one.SOPClassUID == ENHANCED[modality]
    images, plan = turned_back(made.files, tmp_path / "back")
    assert not plan.kept
    for image, source in zip(map(dcmread, images), map(dcmread, sorted((tmp_path / "in").iterdir())), strict=True):
        assert image.SOPClassUID == CLASSIC[modality]
        assert not missing(source, plain(image))
        new = {key for key in plain(image) if key not in plain(source)}
        allowed = {"QueryRetrieveView", "ContributingEquipmentSequence", "ConversionSourceAttributesSequence"}
        assert new <= {tag_for_keyword(keyword) for keyword in allowed}
        assert np.array_equal(image.pixel_array, source.pixel_array)


def test_E1_two_runs_give_the_same_bytes(tmp_path: Path) -> None:
    paths = save_all(full_series("MR"), tmp_path / "in")
    assert convert(paths, tmp_path / "a").streams() == convert(paths[::-1], tmp_path / "b").streams()


@pytest.mark.parametrize(
    ("condition", "attributes", "expected"),
    [
        ("", {}, True),
        ("never", {}, False),
        ("original", {"ImageType": ["ORIGINAL", "PRIMARY"]}, True),
        ("original", {"ImageType": ["DERIVED", "PRIMARY"]}, False),
        ("+KVP", {"KVP": "120"}, True),
        ("+KVP", {"KVP": None}, False),
        ("-KVP", {}, False),
        ("AcquisitionType=SPIRAL|CONSTANT_ANGLE", {"AcquisitionType": "SPIRAL"}, True),
        ("AcquisitionType=SPIRAL|CONSTANT_ANGLE", {"AcquisitionType": "FREE"}, False),
        ("AcquisitionType!=CONSTANT_ANGLE", {}, True),
        ("+KVP&AcquisitionType=SPIRAL", {"AcquisitionType": "FREE"}, False),
        ("ImageType3=REST", {"ImageType": ["ORIGINAL", "PRIMARY", "REST"]}, True),
        ("contrast", {"ContrastBolusAgent": "NONE"}, False),
        ("respiratory", {"ScanOptions": "RG"}, True),
    ],
)
def test_E1_conditions(condition: str, attributes: dict[str, Any], expected: bool, tmp_path: Path) -> None:
    (source,) = full_series("CT", 1)
    source.KVP = "120"
    for keyword, value in attributes.items():
        setattr(source, keyword, value)
    assert holds(condition, read_header(save(source, tmp_path / "a.dcm")).dataset) is expected


def test_E1_every_condition_of_the_tables_can_be_read(tmp_path: Path) -> None:
    (source,) = full_series("CT", 1)
    ds = read_header(save(source, tmp_path / "a.dcm")).dataset
    for table in TABLES.values():
        conditions = [*table.MACROS.values(), *table.ATTRIBUTES.values()]
        for rows in table.MODULES:
            conditions += [rows.condition, *(demand.condition for demand in rows.demands)]
        for condition in conditions:
            for term in filter(None, condition.split("&")):
                keyword = term.lstrip("+-").partition("=")[0].rstrip("!")
                named = {"original", "never", "gated", "respiratory", "contrast", "ImageType3", "ImageType4"}
                assert keyword in named or tag_for_keyword(keyword) is not None, condition
            holds(condition, ds)
