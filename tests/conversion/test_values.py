"""What an object says of pixel values and distances: windows, units, spacing, decimal strings (E11, E42, E46, E53)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conversion.material import (
    STUDY,
    Conversion,
    convert,
    frames_of,
    group,
    item,
    made_of,
    save_all,
    series_of,
    shared_of,
    slice_of,
    turned_back,
    unassigned_shared,
)
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from gateway.conversion.outcome import frozen_from
from gateway.standard.units import PET_UNITS, SUV_UNITS

BARE = {"WindowCenter": None, "WindowWidth": None}
MARK = "GATEWAY DEFAULT, SOURCE HAS NONE"


def filled(values: Sequence[int] | np.ndarray) -> bytes:
    """Return 64 pixels of 16 bits that repeat some values."""
    return np.resize(np.asarray(values, dtype=np.uint16), 64).tobytes()


def tracer(**change: str) -> list[Dataset]:
    return [
        item(
            **{
                "RadionuclideTotalDose": "400000000",
                "RadionuclideHalfLife": "6586.2",
                "RadiopharmaceuticalStartTime": "091500",
            }
            | change
        )
    ]


# 70 kg, 400 MBq, one half-life between dose (09:15:00) and scan (11:04:46.2): 200 MBq are left.
UPTAKE = BARE | {
    "Units": "BQML", "DecayCorrection": "START", "PatientWeight": "70", "SeriesDate": "20240102",
    "SeriesTime": "110446.2", "AcquisitionDate": "20240102", "AcquisitionTime": "110446.2",
    "RadiopharmaceuticalInformationSequence": tracer(),
}  # fmt: skip


def window(ds: Dataset, frame: int = 0) -> tuple[float, float]:
    found = group(ds, frame, "FrameVOILUTSequence")
    return found.WindowCenter, found.WindowWidth


def classic(made: Conversion, folder: Path) -> list[Dataset]:
    """Return what a converted study is when it is turned back from the enhanced objects alone."""
    files, _ = turned_back(made.files, folder)
    return [dcmread(path) for path in files]


def test_E42_CT_in_hounsfield_units_gets_a_soft_tissue_window(tmp_path: Path) -> None:
    made = made_of(series_of(change=BARE), tmp_path).one
    (found,) = shared_of(made).FrameVOILUTSequence
    assert (found.WindowCenter, found.WindowWidth, found.WindowCenterWidthExplanation) == (40, 400, MARK)


def test_E42_CT_of_other_values_is_shown_from_the_least_to_the_greatest_without_padding(tmp_path: Path) -> None:
    other = BARE | {"ImageType": ["DERIVED", "SECONDARY", "AXIAL"], "RescaleType": "MGML"}
    pixels = ([7, 100], [200, 7], [50, 1000])
    changes = [other | {"PixelPaddingValue": 7, "PixelData": filled(values)} for values in pixels]
    made = made_of(series_of(change=changes), tmp_path).one
    rescale = group(made, 0, "PixelValueTransformationSequence")
    slope, intercept = float(rescale.RescaleSlope), float(rescale.RescaleIntercept)
    stored = made.pixel_array[made.pixel_array != 7]
    low, high = slope * stored.min() + intercept, slope * stored.max() + intercept
    center, width = window(made)
    assert (center - width / 2, center + width / 2) == (low, high)


def test_E42_pet_frames_share_one_window_by_uptake(tmp_path: Path) -> None:
    changes = [UPTAKE | {"RescaleSlope": slope} for slope in ("1.25", "2.5", "0.5")]
    made = made_of(series_of("PT", change=changes), tmp_path).one
    (found,) = shared_of(made).FrameVOILUTSequence
    # An SUV of 10 is ten times what is left of the dose in a gram.
    assert found.WindowWidth == pytest.approx(10 * 200_000_000 / 70_000, rel=1e-5)
    assert found.WindowCenter == found.WindowWidth / 2
    assert found.WindowCenterWidthExplanation == MARK
    assert all("FrameVOILUTSequence" not in frame for frame in frames_of(made))


@pytest.mark.parametrize(
    ("change", "width"),
    [
        ({"DecayCorrection": "ADMIN"}, 10 * 400_000_000 / 70_000),
        ({"Units": "GML", "SUVType": "BW"}, 10),
        ({"Units": "GML"}, 10),
        ({"RadiopharmaceuticalInformationSequence": tracer(RadiopharmaceuticalStartDateTime="20240102091500.00")},
         10 * 200_000_000 / 70_000),
        ({"SeriesTime": "000000", "AcquisitionTime": "000100",
          "RadiopharmaceuticalInformationSequence": tracer(RadiopharmaceuticalStartTime="221013.8")},
         10 * 200_000_000 / 70_000),
    ],
)  # fmt: skip
def test_E42_uptake_is_worked_out_by_units_and_decay_correction(change: dict, width: float, tmp_path: Path) -> None:
    made = made_of(series_of("PT", change=UPTAKE | change), tmp_path).one
    assert window(made)[1] == pytest.approx(width, rel=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"Units": "CNTS"},
        {"Units": "GML", "SUVType": "LBM"},
        {"PatientWeight": None},
        {"PatientWeight": "0"},
        {"DecayCorrection": "NONE"},
        {"SeriesTime": None},
        {"SeriesTime": "120000"},  # a series that was made after it was taken
        {"RadiopharmaceuticalInformationSequence": tracer(RadionuclideTotalDose="400")},  # in MBq, against the standard
        {"RadiopharmaceuticalInformationSequence": tracer(RadionuclideHalfLife="0")},
        {"RadiopharmaceuticalInformationSequence": tracer(RadiopharmaceuticalStartTime="noon")},
        {"RadiopharmaceuticalInformationSequence": None},
    ],
)
def test_E42_pet_without_uptake_is_shown_up_to_the_percentile_of_all_slices(change: dict, tmp_path: Path) -> None:
    pixels = [np.arange(64) + 64 * number for number in range(3)]
    slopes = ("1", "2", "4")
    changes = [
        UPTAKE | change | {"RescaleSlope": slope, "RescaleIntercept": "0", "PixelData": filled(values)}
        for values, slope in zip(pixels, slopes, strict=True)
    ]
    made = made_of(series_of("PT", change=changes), tmp_path).one
    (found,) = shared_of(made).FrameVOILUTSequence
    stored = [made.pixel_array[number] * float(slope) for number, slope in enumerate(slopes)]
    assert found.WindowWidth == pytest.approx(np.percentile(stored, 99.5), rel=0.02)
    assert found.WindowCenter == pytest.approx(found.WindowWidth / 2)


def test_E42_a_width_under_one_is_linear_exact(tmp_path: Path) -> None:
    change = BARE | {"Units": "1CM", "RescaleSlope": "0.0001", "RescaleIntercept": "0"}
    made = made_of(series_of("PT", change=change), tmp_path / "1").one
    (found,) = shared_of(made).FrameVOILUTSequence
    assert found.WindowWidth < 1
    assert found.VOILUTFunction == "LINEAR_EXACT"
    own = {"WindowCenter": "0.25", "WindowWidth": "0.5"}
    made = made_of(series_of("PT", change=own), tmp_path / "2").one
    (found,) = shared_of(made).FrameVOILUTSequence
    assert (found.WindowCenter, found.WindowWidth, found.VOILUTFunction) == (0.25, 0.5, "LINEAR_EXACT")


def test_E42_a_window_of_no_width_is_none_and_comes_back(tmp_path: Path) -> None:
    made = made_of(series_of(change={"WindowCenter": "50", "WindowWidth": "0"}), tmp_path)
    assert window(made.one) == (40, 400)
    for ds in classic(made, tmp_path / "classic"):
        assert (ds.WindowCenter, ds.WindowWidth) == (50, 0)
        assert "WindowCenterWidthExplanation" not in ds


@pytest.mark.parametrize("modality", ["CT", "PT"])
def test_E42_the_default_goes_when_the_object_is_turned_back(modality: str, tmp_path: Path) -> None:
    made = made_of(series_of(modality, change=UPTAKE if modality == "PT" else BARE), tmp_path)
    for ds in classic(made, tmp_path / "classic"):
        for keyword in ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction"):
            assert keyword not in ds
        assert "RealWorldValueMappingSequence" not in ds


def test_E42_late_images_get_the_window_of_their_series(tmp_path: Path) -> None:
    change = BARE | {"Units": "CNTS"}
    first = made_of(series_of("PT", change=change), tmp_path / "1")
    frozen = frozen_from([json.loads(json.dumps(first.result.record(STUDY)))])
    late = [slice_of("PT", number, change | {"PixelData": filled([5000, 6000])}) for number in range(10, 13)]
    sources = tmp_path / "2" / "in"
    second = convert(save_all(late, sources), tmp_path / "2" / "out", frozen=frozen)
    assert window(second.one) == window(first.one)
    alone = convert(sorted(sources.iterdir()), tmp_path / "3")
    assert window(alone.one) != window(first.one)
    assert alone.one.SOPInstanceUID != second.one.SOPInstanceUID


@pytest.mark.parametrize(("units", "code"), [(units, code) for units, (code, _) in PET_UNITS.items()])
def test_E11_what_pet_values_measure_is_a_real_world_value_mapping(units: str, code: str, tmp_path: Path) -> None:
    slopes = ["1.5", "1.5", "3"]
    changes = [{"Units": units, "RescaleSlope": slope, "RescaleIntercept": "0"} for slope in slopes]
    made = made_of(series_of("PT", change=changes), tmp_path).one
    for number, frame in enumerate(frames_of(made)):
        (mapping,) = frame.RealWorldValueMappingSequence
        assert mapping.RealWorldValueSlope == float(slopes[number])
        assert mapping.RealWorldValueIntercept == 0
        (unit,) = mapping.MeasurementUnitsCodeSequence
        assert (unit.CodeValue, unit.CodingSchemeDesignator) == (code, "UCUM")
    assert unassigned_shared(made).Units == units


@pytest.mark.parametrize(("kind", "code"), [(kind, code) for kind, (code, _) in SUV_UNITS.items()])
def test_E11_uptake_has_the_unit_of_its_type(kind: tuple[str, str], code: str, tmp_path: Path) -> None:
    made = made_of(series_of("PT", change={"Units": kind[0], "SUVType": kind[1] or None}), tmp_path).one
    (mapping,) = shared_of(made).RealWorldValueMappingSequence
    (unit,) = mapping.MeasurementUnitsCodeSequence
    assert (unit.CodeValue if len(code) <= 16 else unit.LongCodeValue) == code


@pytest.mark.parametrize("units", ["NONE", None, "FOO"])
def test_E11_values_without_a_unit_get_no_mapping(units: str | None, tmp_path: Path) -> None:
    made = made_of(series_of("PT", change={"Units": units}), tmp_path).one
    assert "RealWorldValueMappingSequence" not in shared_of(made)


@pytest.mark.parametrize("stated", ["US", "ED"])
def test_E11_original_CT_of_other_units_than_HU_stays_classic(stated: str, tmp_path: Path) -> None:
    made = made_of(series_of(change={"RescaleType": stated}), tmp_path)
    assert set(made.kept.values()) == {f"Rescale Type is {stated}; an original image of the enhanced CT classes has HU"}


def test_E11_the_rescale_type_of_the_source_comes_back(tmp_path: Path) -> None:
    made = made_of(series_of("PT", change={"RescaleType": "BQML"}), tmp_path)
    assert unassigned_shared(made.one).RescaleType == "BQML"
    assert {ds.RescaleType for ds in classic(made, tmp_path / "classic")} == {"BQML"}


@pytest.mark.parametrize(
    ("keyword", "value", "reason"),
    [
        ("RescaleSlope", "NaN", "Rescale Slope holds a value that is no number of finite size: NaN"),
        ("RescaleIntercept", "inf", "Rescale Intercept holds a value that is no number of finite size: inf"),
        ("RescaleSlope", "1..5", "(0028,1053): is not a number; found '1..5'; expected numbers"),
    ],
)
def test_E11_an_image_whose_rescaling_is_no_number_stays_classic(
    keyword: str, value: str, reason: str, tmp_path: Path
) -> None:
    paths = save_all(series_of("PT"), tmp_path / "in")
    for path in paths:
        _rewrite(path, keyword, value.encode())
    made = convert(paths, tmp_path / "out")
    assert set(made.kept.values()) == {reason}


@pytest.mark.parametrize("modality", ["CT", "PT", "MR"])
def test_E53_the_pixel_value_transformation_stands_with_each_frame(modality: str, tmp_path: Path) -> None:
    change = {"RescaleSlope": "2", "RescaleIntercept": "-3"}
    made = made_of(series_of(modality, change=change), tmp_path).one
    assert "PixelValueTransformationSequence" not in shared_of(made)
    for frame in frames_of(made):
        (found,) = frame.PixelValueTransformationSequence
        assert (found.RescaleSlope, found.RescaleIntercept) == (2, -3)


def placed(positions: list[float], stated: str | None = None) -> list[Dataset]:
    change = [{"ImagePositionPatient": [0, 0, position], "SpacingBetweenSlices": stated} for position in positions]
    return series_of("MR", count=len(positions), change=change)


@pytest.mark.parametrize(
    ("positions", "stated", "expected"),
    [
        ([0, 2.5, 5, 7.5], None, "2.5"),
        ([7.5, 5, 2.5, 0], None, "2.5"),
        ([0, 2.5, 5, 7.5], "2.50", "2.50"),  # the source's own characters
        ([0, 2.5, 5, 7.5], "3", "2.5"),
        ([0, 2.5, 5, 7.5], "-2.5", "2.5"),
        ([0, 2.5, 5, 7.5], "0", "2.5"),
        ([0, 1 / 3, 2 / 3, 1], None, "0.333333"),
        ([0, 2.51, 5, 7.5], None, "2.5"),  # within a hundredth of the distance
    ],
)
def test_E53_a_regular_stack_says_how_far_its_slices_are_apart(
    positions: list[float], stated: str | None, expected: str, tmp_path: Path
) -> None:
    made = made_of(placed(positions, stated), tmp_path)
    found = group(made.one, 0, "PixelMeasuresSequence").SpacingBetweenSlices
    assert found.original_string == expected
    back = classic(made, tmp_path / "classic")
    assert {str(ds.SpacingBetweenSlices.original_string) if "SpacingBetweenSlices" in ds else None for ds in back} == {
        stated
    }


@pytest.mark.parametrize("positions", [[0, 2.5, 5, 10], [0, 2.5, 5.1, 7.5], [0, 0.1, 5, 7.5]])
def test_E53_an_irregular_stack_says_nothing_of_it_and_the_source_comes_back(
    positions: list[float], tmp_path: Path
) -> None:
    made = made_of(placed(positions, "2.5"), tmp_path)
    assert "SpacingBetweenSlices" not in group(made.one, 0, "PixelMeasuresSequence")
    assert unassigned_shared(made.one).SpacingBetweenSlices == 2.5
    assert {ds.SpacingBetweenSlices for ds in classic(made, tmp_path / "classic")} == {2.5}


def test_E53_a_tilted_stack_is_none(tmp_path: Path) -> None:
    change = [{"ImagePositionPatient": [0, 0.5 * n, 2.5 * n]} for n in range(4)]
    made = made_of(series_of("CT", count=4, change=change), tmp_path)
    assert "SpacingBetweenSlices" not in group(made.one, 0, "PixelMeasuresSequence")


def test_E46_decimal_strings_of_more_than_16_characters_are_shortened_and_come_back(tmp_path: Path) -> None:
    long = {"SliceThickness": "2.50000000000000001", "RescaleSlope": "1.00000000012345678901"}
    paths = save_all(series_of("PT"), tmp_path / "in")
    for path in paths:
        for keyword, value in long.items():
            _rewrite(path, keyword, value.encode())
    made = convert(paths, tmp_path / "out")
    measures = group(made.one, 0, "PixelMeasuresSequence")
    assert measures.SliceThickness.original_string == "2.5"
    slope = group(made.one, 0, "PixelValueTransformationSequence").RescaleSlope
    assert slope.original_string == "1.00000000012346"
    for ds in classic(made, tmp_path / "classic"):
        for keyword, value in long.items():
            assert ds[keyword].value.original_string == value


def _rewrite(path: Path, keyword: str, value: bytes) -> None:
    """Give an element of a file in Explicit VR Little Endian another value, which pydicom would not write."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    data = path.read_bytes()
    start = data.index((tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + b"DS")
    length = int.from_bytes(data[start + 6 : start + 8], "little")
    value += b" " * (len(value) % 2)
    path.write_bytes(data[: start + 6] + len(value).to_bytes(2, "little") + value + data[start + 8 + length :])
