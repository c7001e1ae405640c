"""Nothing in functional groups passes for the object itself, nothing is said twice, all comes back (E49, E52)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conversion.material import (
    Conversion,
    frames_of,
    made_of,
    series_of,
    shared_of,
    turned_back,
    unassigned,
    unassigned_shared,
)
from conversion.reading import MAY_CHANGE, UNASSIGNED, plain
from conversion.test_pixels import check_recovered
from pydicom import dcmread
from pydicom.dataset import Dataset

from gateway.conversion import build
from gateway.conversion.kept import unassigned as packed
from gateway.objects.elements import make, tag_of

PIXELS = ("SOPClassUID", "Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit",
          "PixelRepresentation", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames")  # fmt: skip

# UIDs that classic images have at their top level, of several modules.
UIDS = {"InstanceCreatorUID": "1.2.3.1", "DeviceUID": "1.2.3.2", "IrradiationEventUID": "1.2.3.3",
        "SynchronizationFrameOfReferenceUID": "1.2.3.4", "RelatedGeneralSOPClassUID": "1.2.3.5",
        "StorageMediaFileSetUID": "1.2.3.6", "TargetUID": "1.2.3.7"}  # fmt: skip


def groups_of(ds: Dataset) -> Iterator[tuple[bool, Dataset]]:
    """Yield whether it is one of the unassigned attributes, and the item, of every functional group."""
    for groups in (shared_of(ds), *frames_of(ds)):
        for group in groups:
            for one in group.value if group.VR == "SQ" else ():
                yield group.tag in UNASSIGNED, one


def laid_over(ds: Dataset) -> set[str]:
    """Return what would pass for the object's own where the items of groups are laid over it."""
    found = set()
    for is_unassigned, one in groups_of(ds):
        found |= {element.keyword for element in one if is_unassigned and (element.VR == "UI" or element.is_empty)}
        found |= {keyword for keyword in (*PIXELS, "SeriesInstanceUID", "SOPInstanceUID") if keyword in one}
    return found


def all_come_back(sources: list[Dataset], made: Conversion, folder: Path) -> None:
    """Each source is what its frame is turned back into: every element with its value, and no other."""
    check_recovered(sources, made, folder / "1")
    files, _ = turned_back(made.files, folder / "2")
    images = {str(ds.SOPInstanceUID): plain(ds) for ds in map(dcmread, files)}
    for fact in made.facts:
        image, said = images[fact.sop_instance], plain(dcmread(fact.path))
        for key in (said.keys() | image.keys()) - MAY_CHANGE:
            assert said.get(key) == image.get(key), key


CHANGES: dict[str, Any] = {
    "one value": UIDS,
    "a value a frame": [{keyword: f"{uid}.{n}" for keyword, uid in UIDS.items()} for n in range(3)],
    "some have it": [UIDS, None, UIDS],
    "other bits": {"BitsStored": 10, "HighBit": 9, "NumberOfFrames": "1"},
    "other bits a frame": [{"BitsStored": bits, "HighBit": bits - 1} for bits in (10, 11, 12)],
    "inverted": [{"PhotometricInterpretation": "MONOCHROME1"}, None, None],
    "a scalar of colour": {"PlanarConfiguration": 0},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
def test_E52_no_uid_and_no_pixel_attribute_is_in_a_group_and_all_come_back(
    modality: str, change: Any, tmp_path: Path
) -> None:
    sources = series_of(modality, change=change)
    made = made_of(sources, tmp_path)
    assert laid_over(made.one) == set()
    all_come_back(sources, made, tmp_path / "back")


def test_E52_what_the_way_back_needs_is_in_one_private_element(tmp_path: Path) -> None:
    made = made_of(series_of("PT", change=UIDS | {"BitsStored": 12, "HighBit": 11}), tmp_path).one
    (shared,) = shared_of(made).UnassignedSharedConvertedAttributesSequence
    block = shared.private_block(0x0021, "GATEWAY CONVERSION")
    assert block[0x03].VR == "OB"
    said = unassigned_shared(made)
    assert (said.BitsStored, said.HighBit) == (12, 11)
    assert said.TargetUID == UIDS["TargetUID"]


def test_E52_E32_the_private_blocks_of_the_sources_stay_where_they_were(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        ds.add_new((0x0021, 0x0010), "LO", "ZZZ SCANNER")
        ds.add_new((0x0021, 0x1003), "LO", f"value {ds.InstanceNumber}")
        ds.TargetUID = f"1.2.3.{ds.InstanceNumber}"

    sources = series_of(change=change)
    made = made_of(sources, tmp_path)
    for number, frame in enumerate(frames_of(made.one), 1):
        (own,) = frame.UnassignedPerFrameConvertedAttributesSequence
        assert own[0x0021, 0x1003].value == f"value {number}"
        assert unassigned(made.one, number - 1).TargetUID == f"1.2.3.{number}"
    all_come_back(sources, made, tmp_path / "back")


def test_E52_elements_of_the_block_in_a_source_come_back_as_well(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        block = ds.private_block(0x0021, "GATEWAY CONVERSION", create=True)
        block.add_new(0x03, "OB", b"odd")
        block.add_new(0x04, "AT", 0x00080008)
        ds.BitsStored, ds.HighBit = 10, 9

    sources = series_of(change=change)
    made = made_of(sources, tmp_path)
    assert made.objects
    all_come_back(sources, made, tmp_path / "back")


PIXEL_VALUES = {"SmallestImagePixelValue": 0, "LargestImagePixelValue": 4000, "PixelPaddingValue": 7}


@pytest.mark.parametrize("where", [(0, 1, 2), (1,)], ids=["all", "one"])
@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
def test_E52_what_a_source_said_of_pixels_that_are_others_now_is_out_of_sight(
    modality: str, where: tuple[int, ...], tmp_path: Path
) -> None:
    """Laid over an object with inverted pixels, slope, padding and extremes of the source would be false."""
    inverted = PIXEL_VALUES | {"PhotometricInterpretation": "MONOCHROME1"}
    plain_ones = {"PixelPaddingValue": None}
    sources = series_of(modality, change=[inverted if n in where else plain_ones for n in range(3)])
    made = made_of(sources, tmp_path)
    false = {"RescaleSlope", "RescaleIntercept", *PIXEL_VALUES}
    for ds in made.objects:
        for is_unassigned, one in groups_of(ds):
            assert not is_unassigned or not false & {element.keyword for element in one}
    all_come_back(sources, made, tmp_path / "back")


@pytest.mark.parametrize("paddings", [(-2000, -3000, None), (None, None, -2000)])
def test_E52_the_padding_of_a_source_is_not_laid_over_that_of_the_object(
    paddings: tuple[int | None, ...], tmp_path: Path
) -> None:
    change = [{"PixelRepresentation": 1, "PixelPaddingValue": value} for value in paddings]
    sources = series_of(change=change)
    made = made_of(sources, tmp_path)
    assert "PixelPaddingValue" in made.one
    assert not any("PixelPaddingValue" in one for _, one in groups_of(made.one))
    all_come_back(sources, made, tmp_path / "back")


SAME: dict[str, dict] = {
    "PresentationLUTShape": {"PresentationLUTShape": "IDENTITY"},
    "VolumetricProperties": {"VolumetricProperties": "VOLUME"},
    "ImageType": {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "NONE"]},
    "ContentQualification": {"ContentQualification": "PRODUCT"},
    "LossyImageCompression": {"LossyImageCompression": "01", "LossyImageCompressionRatio": "10"},
    "InstanceNumber": {"InstanceNumber": "1"},
    "InstanceNumber in other bytes": {"InstanceNumber": "01"},
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
def test_E49_what_the_top_level_says_is_not_in_unassigned_shared_and_comes_back(
    modality: str, change: dict, tmp_path: Path
) -> None:
    sources = series_of(modality, change=change)
    made = made_of(sources, tmp_path)
    top = made.one
    (shared,) = shared_of(top).get("UnassignedSharedConvertedAttributesSequence") or [Dataset()]
    assert [element.keyword for element in shared if top.get(element.tag) == element] == []
    all_come_back(sources, made, tmp_path / "back")


def test_E49_what_a_source_does_not_say_does_not_come_back_from_the_top_level(tmp_path: Path) -> None:
    sources = series_of("PT", change=[{"PresentationLUTShape": "IDENTITY"}, None, None])
    made = made_of(sources, tmp_path)
    assert made.one.PresentationLUTShape == "IDENTITY"
    assert "PresentationLUTShape" not in unassigned_shared(made.one)
    all_come_back(sources, made, tmp_path / "back")


def test_E49_number_of_frames_1_is_dropped(tmp_path: Path) -> None:
    made = made_of(series_of(change={"NumberOfFrames": "1"}), tmp_path)
    assert made.one.NumberOfFrames == 3
    assert "NumberOfFrames" not in unassigned_shared(made.one)
    assert not any("NumberOfFrames" in unassigned(made.one, n) for n in range(3))


FORBIDDEN = {
    "BitsStored": make("BitsStored", 16),
    "SeriesInstanceUID": make("SeriesInstanceUID", "1.2.3"),
    "TargetUID": make("TargetUID", "1.2.3"),
    "NumberOfFrames": make("NumberOfFrames", 1),
}


@pytest.mark.parametrize("element", FORBIDDEN.values(), ids=FORBIDDEN)
@pytest.mark.parametrize("keyword", ["UnassignedSharedConvertedAttributesSequence",
                                     "UnassignedPerFrameConvertedAttributesSequence"])  # fmt: skip
def test_E52_the_proof_refuses_a_layout_that_viewers_take_wrong(
    element: Any, keyword: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slipped(elements: Any, *more: Any, **options: Any) -> dict:
        found = packed(elements, *more, **options)
        shared = bool(more)
        return found | {element.tag: element} if shared == ("Shared" in keyword) else found

    monkeypatch.setattr(build, "unassigned", slipped)
    made = made_of(series_of(), tmp_path)
    assert not made.objects
    assert all("passes for the object's own" in reason for reason in made.kept.values()), made.kept


def test_E49_the_proof_refuses_what_is_said_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slipped(elements: Any, *more: Any, **options: Any) -> dict:
        found = packed(elements, *more, **options)
        return found | {tag_of("Modality"): make("Modality", "CT")} if more else found

    monkeypatch.setattr(build, "unassigned", slipped)
    made = made_of(series_of(), tmp_path)
    assert not made.objects
    assert all("(0008,0060) twice" in reason for reason in made.kept.values()), made.kept


def test_E45_the_proof_refuses_another_source_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "source_series", lambda study, series: {})
    made = made_of(series_of(), tmp_path)
    assert not made.objects
    assert all("does not name the series of its sources" in reason for reason in made.kept.values()), made.kept
