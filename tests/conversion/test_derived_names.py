"""What classic images of a scanner's enhanced object have for viewers to sort and measure by (K3, K9)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conversion.enhanced_material import enhanced_of, save_enhanced
from conversion.material import coded, item, made_of, series_of, turned_back
from pydicom import dcmread
from pydicom.dataset import Dataset


def back(ds: Dataset, folder: Path) -> list[Dataset]:
    files, _ = turned_back([save_enhanced(ds, folder / "in" / "1.dcm")], folder / "out")
    return sorted(map(dcmread, files), key=lambda one: int(one.InstanceNumber))


def set_in(ds: Dataset, group: str, values: list[dict[str, Any]]) -> None:
    """Set attributes in a group of each frame."""
    frames = ds.PerFrameFunctionalGroupsSequence
    assert len(frames) == len(values)
    shared = ds.SharedFunctionalGroupsSequence[0]
    own = shared[group].value[0] if group in shared else Dataset()
    if group in shared:
        del shared[group]
    for frame, value in zip(frames, values, strict=True):
        found = frame[group].value[0] if group in frame else item(**{e.keyword: e.value for e in own})
        for keyword, one in value.items():
            setattr(found, keyword, one)
        setattr(frame, group, [found])


def count(ds: Dataset) -> int:
    return len(ds.PerFrameFunctionalGroupsSequence)


@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
def test_K9_slice_location_is_the_distance_along_the_normal(modality: str, tmp_path: Path) -> None:
    ds = enhanced_of(modality)
    places = [{"ImagePositionPatient": [10, -20, 30 + 2.5 * n]} for n in range(count(ds))]
    set_in(ds, "PlanePositionSequence", places)
    assert [float(one.SliceLocation) for one in back(ds, tmp_path)] == [30 + 2.5 * n for n in range(count(ds))]


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_K9_spacing_of_a_regular_stack_is_derived_and_that_of_an_irregular_one_is_not(
    modality: str, tmp_path: Path
) -> None:
    ds = enhanced_of(modality)
    number = count(ds)
    set_in(ds, "PlanePositionSequence", [{"ImagePositionPatient": [0, 0, 2.5 * n]} for n in range(number)])
    for where in (ds.SharedFunctionalGroupsSequence[0], *ds.PerFrameFunctionalGroupsSequence):
        for measures in where.get("PixelMeasuresSequence", []):
            if "SpacingBetweenSlices" in measures:
                del measures.SpacingBetweenSlices
    assert {float(one.SpacingBetweenSlices) for one in back(ds, tmp_path / "1")} == {2.5}
    set_in(ds, "PlanePositionSequence", [{"ImagePositionPatient": [0, 0, 2.5 * n * n]} for n in range(number)])
    if number > 2:
        assert all("SpacingBetweenSlices" not in one for one in back(ds, tmp_path / "2"))


def echoes(values: list[float], folder: Path) -> list[int | None]:
    ds = enhanced_of("MR")
    times = [values[n % len(values)] for n in range(count(ds))]
    set_in(ds, "MREchoSequence", [{"EffectiveEchoTime": time} for time in times])
    return [one.get("EchoNumbers") for one in back(ds, folder)]


def test_K9_echo_numbers_are_ranks_of_clearly_different_echo_times(tmp_path: Path) -> None:
    number = count(enhanced_of("MR"))
    two = echoes([20.0, 10.0], tmp_path / "1")
    assert two == ([2, 1] * number)[:number] if number % 2 == 0 else set(two) == {None}
    assert set(echoes([10.0], tmp_path / "2")) == {1}
    assert set(echoes([10.0, 10.05], tmp_path / "3")) == {None}


@pytest.mark.parametrize(("definition", "expected"), [("IEC_WHOLE_BODY", 0.25), ("IEC_HEAD", None)])
def test_K9_sar_is_that_of_the_whole_body(definition: str, expected: float | None, tmp_path: Path) -> None:
    ds = enhanced_of("MR")
    for where in (ds.SharedFunctionalGroupsSequence[0], *ds.PerFrameFunctionalGroupsSequence):
        for timing in where.get("MRTimingAndRelatedParametersSequence", []):
            timing.SpecificAbsorptionRateSequence[0].SpecificAbsorptionRateDefinition = definition
    assert {one.get("SAR") for one in back(ds, tmp_path)} == {expected}


def test_K9_temporal_positions_and_b_values_come_to_the_top(tmp_path: Path) -> None:
    ds = enhanced_of("MR")
    number = count(ds)
    set_in(ds, "FrameContentSequence", [{"TemporalPositionIndex": n + 1} for n in range(number)])
    set_in(ds, "MRDiffusionSequence", [{"DiffusionBValue": 100.0 * n} for n in range(number)])
    images = back(ds, tmp_path)
    assert [int(one.TemporalPositionIdentifier) for one in images] == list(range(1, number + 1))
    assert {int(one.NumberOfTemporalPositions) for one in images} == {number}
    assert [one.DiffusionBValue for one in images] == [100.0 * n for n in range(number)]


def test_K9_units_of_other_uptake_values_come_with_their_type(tmp_path: Path) -> None:
    ds = enhanced_of("PT")
    unit = coded("g/ml{SUVlbm}", "UCUM", "Standardized Uptake Value lean body mass (James)")
    mapping = item(RealWorldValueSlope=1.0, RealWorldValueIntercept=0.0, MeasurementUnitsCodeSequence=[unit])
    ds.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence = [mapping]
    assert {(one.Units, one.SUVType) for one in back(ds, tmp_path)} == {("GML", "LBM")}


@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
def test_K3_what_was_made_of_classic_images_gets_nothing_that_these_lacked(modality: str, tmp_path: Path) -> None:
    bare = dict.fromkeys(("SliceLocation", "InstanceNumber", "SpacingBetweenSlices", "EchoNumbers"))
    sources = series_of(modality, change=bare)
    files, _ = turned_back(made_of(sources, tmp_path).files, tmp_path / "classic")
    assert len(files) == len(sources)
    for ds in map(dcmread, files):
        assert not [keyword for keyword in bare if ds.get(keyword) not in (None, "")]
