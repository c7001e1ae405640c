"""Dimensions, stacks and the layout of series that have more than three (E22, G1; PS3.3 C.7.6.17, C.7.6.16.2.2.4)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from conversion.material import Conversion, frames_of, made_of, series_of, shared_of, slice_of
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from gateway.conversion import layout

STACK, POSITION, TIME = "Stack ID", "In-Stack Position Number", "Temporal Position Index"


def grid(places: int, volumes: int, vary: Callable[[Dataset, int], None], modality: str = "MR") -> list[Dataset]:
    """Return a series of some volumes; `vary` says what the frames of a volume (from 1) have in common."""

    def place(number: int) -> Callable[[Dataset], None]:
        def change(ds: Dataset) -> None:
            ds.ImagePositionPatient = [0, 0, 10 * ((number - 1) % places)]
            ds.AcquisitionTime = ds.ContentTime = "101700"
            vary(ds, (number - 1) // places + 1)

        return change

    return series_of(modality, change=[place(number) for number in range(1, places * volumes + 1)])


def setting(keyword: str, *values: object) -> Callable[[Dataset, int], None]:
    return lambda ds, volume: setattr(ds, keyword, values[volume - 1] if values else str(volume))


def labels(made: Dataset) -> list[str]:
    return [dimension.DimensionDescriptionLabel for dimension in made.DimensionIndexSequence]


def contents(made: Dataset) -> list[Dataset]:
    return [frame.FrameContentSequence[0] for frame in frames_of(made)]


def values(made: Dataset) -> list[tuple[int, ...]]:
    return [tuple(content.DimensionIndexValues) for content in contents(made)]


def assert_sound(made: Dataset) -> None:
    """Every frame has a value for each dimension, no two the same, and the attributes say the same."""
    dimensions = made.DimensionIndexSequence
    assert {len(value) for value in values(made)} == {len(dimensions)}
    assert len(set(values(made))) == made.NumberOfFrames
    organizations = [item.DimensionOrganizationUID for item in made.DimensionOrganizationSequence]
    assert [dimension.DimensionOrganizationUID for dimension in dimensions] == organizations * len(dimensions)
    for content in contents(made):
        for dimension, value in zip(dimensions, content.DimensionIndexValues, strict=True):
            if dimension.FunctionalGroupPointer == Tag("FrameContentSequence"):
                assert int(content[dimension.DimensionIndexPointer].value) == value
    for frame in frames_of(made):
        for dimension in dimensions:
            assert not Tag(dimension.DimensionIndexPointer).is_private
            # What a dimension points at stands with each frame, even where all frames of the object have the same.
            assert dimension.DimensionIndexPointer in frame[dimension.FunctionalGroupPointer].value[0]


def assert_told_apart(objects: list[Dataset]) -> None:
    """No two frames of one Dimension Organization have the same index values, and its objects the same dimensions."""
    found: dict[str, list[tuple[int, ...]]] = defaultdict(list)
    along: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for ds in objects:
        (organization,) = ds.DimensionOrganizationSequence
        found[organization.DimensionOrganizationUID] += values(ds)
        along[organization.DimensionOrganizationUID].add(tuple(labels(ds)))
    for organization, everywhere in found.items():
        assert len(set(everywhere)) == len(everywhere), organization
        assert len(along[organization]) == 1


def by_series_order(made: Conversion) -> list[Dataset]:
    return sorted(made.objects, key=lambda ds: int(ds.InstanceNumber))


def test_E22_time_and_space_are_both_indexed_in_every_volume(tmp_path: Path) -> None:
    made = made_of(grid(3, 2, setting("TemporalPositionIdentifier")), tmp_path)
    one, two = by_series_order(made)
    assert labels(one) == labels(two) == [STACK, POSITION, TIME]
    assert values(one) == [(1, 1, 1), (1, 2, 1), (1, 3, 1)]
    assert values(two) == [(1, 1, 2), (1, 2, 2), (1, 3, 2)]
    for ds in (one, two):
        assert_sound(ds)
    # One organization: their indices count along the same dimensions (C.7.6.17).
    assert one.DimensionOrganizationSequence == two.DimensionOrganizationSequence
    assert one.SeriesInstanceUID == two.SeriesInstanceUID


def test_E22_more_volumes_than_slices_stay_one_object(tmp_path: Path) -> None:
    made = made_of(grid(2, 5, setting("TemporalPositionIdentifier")), tmp_path).one
    assert_sound(made)
    assert labels(made) == [STACK, POSITION, TIME]
    assert values(made) == [(1, place, time) for time in range(1, 6) for place in (1, 2)]


def test_frames_of_several_volumes_come_volume_by_volume_whatever_their_numbers(tmp_path: Path) -> None:
    sources = grid(2, 3, setting("TemporalPositionIdentifier"))
    for ds in sources:  # all times of the first place, then those of the second
        ds.InstanceNumber = ds.TemporalPositionIdentifier + 3 * (ds.ImagePositionPatient[2] == 10)
    made = made_of(sources, tmp_path).one
    assert values(made) == [(1, place, time) for time in (1, 2, 3) for place in (1, 2)]


@pytest.mark.parametrize(
    ("keyword", "modality"),
    [
        ("EchoTime", "MR"), ("EchoNumbers", "MR"), ("InversionTime", "MR"), ("FlipAngle", "MR"), ("KVP", "CT"),
        ("ConvolutionKernel", "CT"), ("ContrastBolusAgent", "CT"),
    ],
)  # fmt: skip
def test_each_contrast_of_a_place_is_an_object(keyword: str, modality: str, tmp_path: Path) -> None:
    made = by_series_order(made_of(grid(3, 2, setting(keyword), modality), tmp_path))
    assert [ds.NumberOfFrames for ds in made] == [3, 3]
    for number, ds in enumerate(made, 1):
        assert_sound(ds)
        assert labels(ds) == [STACK, POSITION, keyword]
        assert values(ds) == [(1, 1, number), (1, 2, number), (1, 3, number)]
    assert_told_apart(made)
    assert made[0].DimensionOrganizationSequence == made[1].DimensionOrganizationSequence


def test_magnitude_and_phase_are_objects_of_their_own(tmp_path: Path) -> None:
    kinds = (["ORIGINAL", "PRIMARY", "M", "ND"], ["ORIGINAL", "PRIMARY", "P", "ND"])
    made = by_series_order(made_of(grid(2, 2, setting("ImageType", *kinds)), tmp_path))
    assert [ds.ImageType[2] for ds in made] == ["M", "P"]


@pytest.mark.parametrize(
    "keyword", ["EchoTime", "InversionTime", "FlipAngle", "DiffusionBValue", "DiffusionGradientOrientation"]
)
def test_E22_what_varies_in_an_object_is_a_dimension_of_its_own(keyword: str, tmp_path: Path) -> None:
    vary = setting(keyword)
    if keyword == "DiffusionGradientOrientation":
        vary = setting(keyword, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0])
    elif keyword == "DiffusionBValue":
        vary = setting(keyword, 0.0, 500.0, 1000.0)
    made = made_of(grid(2, 3, vary), tmp_path).one
    assert_sound(made)
    assert labels(made) == [STACK, POSITION, keyword]
    pointer = made.DimensionIndexSequence[2]
    assert pointer.DimensionIndexPointer == Tag(keyword)
    assert pointer.FunctionalGroupPointer == Tag("UnassignedPerFrameConvertedAttributesSequence")
    for frame in frames_of(made):
        assert keyword in frame.UnassignedPerFrameConvertedAttributesSequence[0]


@pytest.mark.parametrize(
    "keyword", ["TemporalPositionIdentifier", "TriggerTime", "AcquisitionNumber", "AcquisitionTime", "ContentTime"]
)
def test_E22_whatever_says_when_is_the_temporal_position(keyword: str, tmp_path: Path) -> None:
    times = ("101700", "101800", "101900") if keyword.endswith("nTime") or keyword == "ContentTime" else ("1", "2", "3")
    made = made_of(grid(2, 3, setting(keyword, *times)), tmp_path).one
    assert labels(made) == [STACK, POSITION, TIME]
    assert_sound(made)
    assert [content.TemporalPositionIndex for content in contents(made)] == [1, 1, 2, 2, 3, 3]


def test_E22_midnight_does_not_start_time_anew(tmp_path: Path) -> None:
    def vary(ds: Dataset, volume: int) -> None:
        ds.AcquisitionDate, ds.AcquisitionTime = (("20240102", "235950"), ("20240103", "000010"))[volume - 1]

    sources = grid(1, 2, vary)
    sources[0].InstanceNumber, sources[1].InstanceNumber = 2, 1
    made = made_of(sources, tmp_path).one
    assert [content.TemporalPositionIndex for content in contents(made)] == [1, 2]
    assert made.PerFrameFunctionalGroupsSequence[0].FrameContentSequence[0].FrameAcquisitionDateTime[:8] == "20240102"


def test_E22_echo_and_time_together(tmp_path: Path) -> None:
    def vary(ds: Dataset, volume: int) -> None:
        ds.EchoTime, ds.TemporalPositionIdentifier = str(10 * (1 + volume % 2)), (volume + 1) // 2

    made = made_of(grid(2, 4, vary), tmp_path)
    # Four volumes of two slices would be too many objects; two echoes are not.
    assert [ds.NumberOfFrames for ds in by_series_order(made)] == [4, 4]
    for ds in made.objects:
        assert labels(ds) == [STACK, POSITION, "EchoTime", TIME]
        assert_sound(ds)
    assert_told_apart(made.objects)


def test_E22_frames_nothing_but_a_number_tells_apart(tmp_path: Path) -> None:
    made = made_of(grid(1, 4, lambda ds, volume: None), tmp_path).one
    assert labels(made) == [STACK, POSITION, "Instance Number"]
    assert values(made) == [(1, 1, number) for number in (1, 2, 3, 4)]


def test_a_missing_slice_does_not_change_what_a_series_is(tmp_path: Path) -> None:
    sources = grid(4, 2, setting("TemporalPositionIdentifier"))
    del sources[1]
    one, two = by_series_order(made_of(sources, tmp_path))
    assert values(one) == [(1, 1, 1), (1, 3, 1), (1, 4, 1)]
    assert values(two) == [(1, place, 2) for place in (1, 2, 3, 4)]


def test_a_slice_taken_twice_is_no_volume(tmp_path: Path) -> None:
    sources = grid(4, 1, setting("AcquisitionNumber"))
    again = slice_of("MR", 9, {"ImagePositionPatient": [0, 0, 10], "AcquisitionNumber": "2"})
    made = made_of([*sources, again], tmp_path).one
    assert_sound(made)
    assert made.NumberOfFrames == 5


@pytest.mark.parametrize(
    ("creator", "tag", "vr"),
    [
        ("SIEMENS MR HEADER", 0x0019000C, "IS"),
        ("GEMS_PARM_01", 0x00430039, "IS"),
        ("Philips Imaging DD 001", 0x20010003, "FL"),
    ],
)
def test_E22_b_values_of_makers_tell_frames_apart(creator: str, tag: int, vr: str, tmp_path: Path) -> None:
    def vary(ds: Dataset, volume: int) -> None:
        block = ds.private_block(tag >> 16, creator, create=True)
        value = (0, 500, 1000)[volume - 1]
        block.add_new(tag & 0xFF, vr, float(value) if vr == "FL" else str(value))

    # A private attribute orders frames, and is no dimension: readers do not know what it is.
    made = made_of(grid(2, 3, vary), tmp_path / "1").one
    assert labels(made) == [STACK, POSITION, "Instance Number"]
    assert values(made)[::2] == [(1, 1, 1), (1, 1, 2), (1, 1, 3)]
    assert_sound(made)
    volumes = made_of(grid(4, 3, vary), tmp_path / "2").objects
    assert [ds.NumberOfFrames for ds in volumes] == [4, 4, 4]
    assert len({ds.DimensionOrganizationSequence[0].DimensionOrganizationUID for ds in volumes}) == 3
    for ds in volumes:
        assert_sound(ds)
        assert labels(ds) == [STACK, POSITION]


def test_private_attributes_of_another_creator_say_nothing(tmp_path: Path) -> None:
    def vary(ds: Dataset, volume: int) -> None:
        ds.private_block(0x0019, "SOMEBODY ELSE", create=True).add_new(0x0C, "IS", str(volume))

    assert labels(made_of(grid(2, 3, vary), tmp_path).one)[2:] == ["Instance Number"]


def test_positions_count_in_the_direction_of_instance_numbers(tmp_path: Path) -> None:
    sources = series_of(change=[{"ImagePositionPatient": [0, 0, -5 * number]} for number in (1, 2, 3)])
    made = made_of(sources, tmp_path).one
    assert [content.InStackPositionNumber for content in contents(made)] == [1, 2, 3]


def test_slices_out_of_a_row_are_put_into_one(tmp_path: Path) -> None:
    sources = series_of(change=[{"ImagePositionPatient": [0, 0, z]} for z in (0, 20, 10, 30)])
    made = made_of(sources, tmp_path).one
    places = [frame.PlanePositionSequence[0].ImagePositionPatient[2] for frame in frames_of(made)]
    assert places == [0, 10, 20, 30]


def test_orientation_stands_with_every_frame(tmp_path: Path) -> None:
    made = made_of(series_of(), tmp_path).one
    assert "PlaneOrientationSequence" not in shared_of(made)
    assert all("PlaneOrientationSequence" in frame for frame in frames_of(made))


def test_large_groups_are_split_between_volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "LARGEST_PIXELS", 5 * 128)  # five frames of 8 x 8 in 16 bits
    made = made_of(grid(2, 5, setting("TemporalPositionIdentifier")), tmp_path)
    assert [ds.NumberOfFrames for ds in by_series_order(made)] == [4, 4, 2]
    for ds in made.objects:
        assert_sound(ds)
    whole = [value for ds in by_series_order(made) for value in values(ds)]
    assert whole == [(1, place, time) for time in range(1, 6) for place in (1, 2)]


def test_large_volumes_are_split_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "LARGEST_PIXELS", 4 * 128)
    made = made_of(series_of(count=10), tmp_path)
    assert [ds.NumberOfFrames for ds in by_series_order(made)] == [4, 4, 2]
    assert [value for ds in by_series_order(made) for value in values(ds)] == [(1, n) for n in range(1, 11)]
