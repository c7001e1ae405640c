"""What does not keep an image classic: nothing but the standard and truth do (E4, E17, E25, G17)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conversion.full import full_series
from conversion.material import (
    STUDY,
    coded,
    frames_of,
    group,
    made_of,
    reference,
    series_of,
    slice_of,
    turned_back,
)
from pydicom import dcmread
from pydicom.dataset import Dataset


def referring(keyword: str, **more: object) -> dict:
    """Return a change that refers to an image which is not held."""
    return {keyword: [reference(slice_of("CT", 90, series=STUDY + ".77"), **more)]}


def assert_comes_back(sources: list[Dataset], folder: Path) -> None:
    """Convert, turn back from the enhanced objects alone, and find every element and pixel."""
    made = made_of(sources, folder)
    assert not made.kept
    files, _ = turned_back(made.files, folder / "classic")
    back = {ds.SOPInstanceUID: ds for ds in map(dcmread, files)}
    for source in sources:
        found = back[source.SOPInstanceUID]
        for element in source:
            if element.keyword != "PixelData":
                assert found.get(element.tag) == element, element
        assert found.PixelData == source.PixelData


@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
@pytest.mark.parametrize("kind", ["DERIVED", "ORIGINAL"])
def test_E17_images_that_name_sources_without_a_code_of_the_derivation_convert(
    modality: str, kind: str, tmp_path: Path
) -> None:
    change = referring("SourceImageSequence") | {"ImageType": [kind, "SECONDARY", "AXIAL"]}
    sources = series_of(modality, change=change)
    made = made_of(sources, tmp_path / "1").one
    derivation = group(made, 0, "DerivationImageSequence")
    assert "DerivationCodeSequence" not in derivation
    assert "PurposeOfReferenceCodeSequence" not in derivation.SourceImageSequence[0]
    assert_comes_back(sources, tmp_path / "2")


def test_E17_what_is_derived_of_images_at_hand_becomes_an_image_that_names_their_frames(tmp_path: Path) -> None:
    originals = series_of("MR", series=STUDY + ".60")
    derived = series_of(
        "MR",
        change=[
            {"SourceImageSequence": [reference(one)], "ImageType": ["DERIVED", "PRIMARY", "M"]} for one in originals
        ],
    )
    made = made_of([*originals, *derived], tmp_path)
    assert not made.kept
    assert not made.copies
    by_kind = {ds.ImageType[0]: ds for ds in made.objects}
    for frame in range(3):
        (source,) = group(by_kind["DERIVED"], frame, "DerivationImageSequence").SourceImageSequence
        assert source.ReferencedSOPInstanceUID == by_kind["ORIGINAL"].SOPInstanceUID
        assert source.ReferencedFrameNumber == frame + 1


def test_E17_no_purpose_is_invented_and_the_sources_own_stay(tmp_path: Path) -> None:
    own = {"PurposeOfReferenceCodeSequence": [coded("121311", "DCM", "Localizer")]}
    changes = [referring("ReferencedImageSequence"), referring("ReferencedImageSequence", **own), None]
    sources = series_of(change=changes)
    made = made_of(sources, tmp_path / "1").one
    (bare,), (stated,) = (frames_of(made)[frame].ReferencedImageSequence for frame in range(2))
    assert "PurposeOfReferenceCodeSequence" not in bare
    assert stated.PurposeOfReferenceCodeSequence[0].CodeValue == "121311"
    assert_comes_back(sources, tmp_path / "2")


@pytest.mark.parametrize(
    ("change", "lacking"),
    [
        (referring("ReferencedImageSequence"), "PurposeOfReferenceCodeSequence"),
        (referring("SourceImageSequence"), "PurposeOfReferenceCodeSequence"),
        (
            referring(
                "SourceImageSequence",
                PurposeOfReferenceCodeSequence=[coded("121322", "DCM", "Source image for image processing operation")],
            ),
            "DerivationCodeSequence",
        ),
    ],
)
def test_E1_E17_the_enhanced_class_demands_purposes_and_the_code_of_a_derivation(
    change: dict, lacking: str, tmp_path: Path
) -> None:
    sources = full_series("CT")
    for ds in sources:
        for keyword, value in change.items():
            setattr(ds, keyword, value)
    made = made_of(sources, tmp_path)
    (planned,) = (one.planned for one in made.result.objects)
    assert any(missing.attribute.endswith(lacking) for missing in planned.missing)
    assert made.one.SOPClassUID.name == "Legacy Converted Enhanced CT Image Storage"


def void_overlay(ds: Dataset) -> None:
    ds.add_new(0x60000010, "US", 8)
    ds.add_new(0x60000011, "US", 8)
    ds.add_new(0x60000040, "CS", "G")
    ds.add_new(0x60000050, "SS", [1, 1])
    ds.add_new(0x60000100, "US", 1)
    ds.add_new(0x60000102, "US", 0)


def test_E25_an_overlay_without_data_is_none_and_its_description_comes_back(tmp_path: Path) -> None:
    sources = series_of(change=void_overlay)
    made = made_of(sources, tmp_path / "1").one
    assert not [element for element in made.iterall() if element.tag.group == 0x6000]
    assert "ReferencedPresentationStateSequence" not in made
    assert_comes_back(sources, tmp_path / "2")


def test_E25_an_overlay_beside_one_without_data_goes_into_its_state(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        void_overlay(ds)
        for element in [element for element in ds if element.tag.group == 0x6000]:
            ds.add_new(0x60020000 | element.tag.element, element.VR, element.value)
        ds.add_new(0x60023000, "OW", b"\1\2\3\4\5\6\7\x08")

    made = made_of(series_of(change=change), tmp_path)
    (state,) = {one.companion.sop_class for one in made.result.companions}
    assert state == "1.2.840.10008.5.1.4.1.1.11.1"
    assert "ReferencedPresentationStateSequence" in made.one


@pytest.mark.parametrize("surplus", [1, 2, 4, 16])
def test_E4_zero_bytes_behind_the_pixels_are_padding(surplus: int, tmp_path: Path) -> None:
    sources = series_of()
    pixels = [np.frombuffer(ds.PixelData, np.uint16).reshape(8, 8) for ds in sources]
    for ds in sources:
        ds.PixelData += bytes(surplus)
    made = made_of(sources, tmp_path).one
    assert len(made.PixelData) == sum(array.nbytes for array in pixels)
    assert np.array_equal(made.pixel_array, np.stack(pixels))


@pytest.mark.parametrize("more", [b"\0\1", b"\1\0", bytes(18), bytes(128)])
def test_E4_other_bytes_behind_the_pixels_keep_the_image_classic(more: bytes, tmp_path: Path) -> None:
    sources = series_of()
    for ds in sources:
        ds.PixelData += more
    made = made_of(sources, tmp_path)
    assert set(made.kept.values()) == {f"its pixel data have {128 + len(more)} bytes instead of 128"}


@pytest.mark.parametrize("count", [2, 6])
def test_G17_a_study_time_for_each_slice_leaves_the_series_classic_with_the_reason(count: int, tmp_path: Path) -> None:
    changes = [{"StudyTime": f"1015{number:02d}", "PatientAge": f"0{40 + number}Y"} for number in range(count)]
    made = made_of(series_of(change=changes), tmp_path)
    assert not made.objects
    reason = "{} and {} differ from image to image, which an enhanced image has once"
    assert set(made.kept.values()) <= {
        reason.format("PatientAge", "StudyTime"),
        reason.format("StudyTime", "PatientAge"),
    }
    assert len(made.kept) == count


def test_G17_a_series_of_two_study_times_becomes_two_objects(tmp_path: Path) -> None:
    changes = [{"StudyTime": time} for time in ("101500", "101500", "101600", "101600")]
    made = made_of(series_of(change=changes), tmp_path)
    assert not made.kept
    assert [len(frames_of(ds)) for ds in made.objects] == [2, 2]


def test_G17_other_series_of_the_study_convert(tmp_path: Path) -> None:
    scattered = series_of(change=[{"StudyTime": f"1015{number:02d}"} for number in range(3)])
    others = series_of("MR", series=STUDY + ".60")
    made = made_of([*scattered, *others], tmp_path)
    assert len(made.kept) == 3
    assert [ds.Modality for ds in made.objects] == ["MR"]
