"""Classic images that a scanner has split off its own enhanced object are twins of it, if all of it is there (G23)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conversion.enhanced_material import enhanced_of, save_enhanced
from conversion.material import STUDY, coded, convert, item, save_all, turned_back
from pydicom import dcmread
from pydicom.dataset import Dataset

CLASSIC = STUDY + ".80"


def pair(folder: Path, change: Callable[[list[Dataset]], None] = lambda images: None) -> list[Path]:
    """Write a scanner's enhanced MR object and the classic images that it has split off it."""
    path = save_enhanced(enhanced_of("MR"), folder / "in" / "enhanced.dcm")
    enhanced = dcmread(path)
    files, _ = turned_back([path], folder / "classic")
    images = []
    for number, file in enumerate(sorted(files), 1):
        ds = dcmread(file)
        for keyword in ("ConversionSourceAttributesSequence", "QueryRetrieveView", "ContributingEquipmentSequence"):
            if keyword in ds:
                delattr(ds, keyword)
        ds.SOPInstanceUID, ds.SeriesInstanceUID = f"{CLASSIC}.{number}", CLASSIC
        ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "NORM", "MFSPLIT"]
        alternate = [coded("121326", "DCM", "Alternate SOP Class instance")]
        ds.RelatedSeriesSequence = [
            item(
                StudyInstanceUID=enhanced.StudyInstanceUID,
                SeriesInstanceUID=enhanced.SeriesInstanceUID,
                PurposeOfReferenceCodeSequence=alternate,
            )
        ]
        images.append(ds)
    change(images)
    return [path, *save_all(images, folder / "in")]


def test_G23_split_images_are_twins_of_the_enhanced_object_that_is_held_whole(tmp_path: Path) -> None:
    paths = pair(tmp_path)
    made = convert(paths, tmp_path / "out")
    uid = dcmread(paths[0]).SOPInstanceUID
    assert not made.objects
    twins = {reason for name, reason in made.kept.items() if name != paths[0].name}
    assert twins == {f"its enhanced twin {uid} was received"}


def missing_one(images: list[Dataset]) -> None:
    del images[0]


def other_pixels(images: list[Dataset]) -> None:
    images[0].PixelData = bytes(len(images[0].PixelData) - 1) + b"\1"


def elsewhere(images: list[Dataset]) -> None:
    images[0].ImagePositionPatient = [1000, 0, 0]


def not_said(images: list[Dataset]) -> None:
    for ds in images:
        del ds.RelatedSeriesSequence


def other_series(images: list[Dataset]) -> None:
    for ds in images:
        ds.RelatedSeriesSequence[0].SeriesInstanceUID = STUDY + ".81"


@pytest.mark.parametrize(
    "change",
    [
        {"Rows": 16, "Columns": 4},
        {"PixelRepresentation": 1},
        {"BitsStored": 12, "HighBit": 11},
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"RescaleSlope": "2", "RescaleIntercept": "0"},
        {"PixelSpacing": ["1", "1"]},
        {"FrameOfReferenceUID": STUDY + ".82"},
        {"PatientID": "P2"},
    ],
    ids=lambda change: "_".join(change),
)
def test_G17_G23_equal_bytes_that_mean_other_pixels_or_belong_elsewhere_are_no_twins(
    change: dict, tmp_path: Path
) -> None:
    def differ(images: list[Dataset]) -> None:
        for ds in images:
            for keyword, value in change.items():
                setattr(ds, keyword, value)

    paths = pair(tmp_path, differ)
    made = convert(paths, tmp_path / "out")
    assert not any("twin" in reason or "sources are held" in reason for reason in made.kept.values())
    assert sum(int(ds.NumberOfFrames) for ds in made.objects) + len(made.kept) == len(paths)


@pytest.mark.parametrize("change", [missing_one, other_pixels, elsewhere, not_said, other_series])
def test_G23_split_images_convert_as_usual_unless_all_of_them_fit(
    change: Callable[[list[Dataset]], None], tmp_path: Path
) -> None:
    paths = pair(tmp_path, change)
    made = convert(paths, tmp_path / "out")
    assert sum(int(ds.NumberOfFrames) for ds in made.objects) == len(paths) - 1


def test_G23_what_the_box_itself_has_made_fires_no_such_rule(tmp_path: Path) -> None:
    """The images of a box's own enhanced object name no series, and its object is known by its Conversion Sources."""
    paths = pair(tmp_path)[1:]
    made = convert(paths, tmp_path / "out")
    again = convert([*made.files, *paths], tmp_path / "again")
    assert not again.objects
    assert {reason.split(" ")[0] for reason in again.kept.values()} <= {"received", "its"}
