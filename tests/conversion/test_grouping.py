"""What becomes one object, and what the plan says about it (E2, E3, E20, E36, G1, G11, G17, G25; PS3.4 C.3.5)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conversion.material import (
    LEGACY,
    SERIES,
    STUDY,
    frames_of,
    made_of,
    save_all,
    series_of,
    slice_of,
)  # fmt: skip
from pydicom.dataset import Dataset

from gateway.cli.main import main

LOCALIZER = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
PLANES = (["1", "0", "0", "0", "1", "0"], ["0", "1", "0", "0", "0", "-1"], ["1", "0", "0", "0", "0", "-1"])


def sizes(objects: list[Dataset]) -> list[int]:
    return sorted(int(ds.NumberOfFrames) for ds in objects)


def plan_of(folder: Path, *options: str) -> dict[str, Any]:
    done = CliRunner().invoke(main, ["convert", str(folder), "--plan", "--json", *options])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def turning(steps: int) -> list[Dataset]:
    """Return a projection that turns around the patient, one image a step."""
    changes = []
    for step in range(steps):
        angle = math.pi * step / steps
        row = [f"{value:.8f}" for value in (math.cos(angle), math.sin(angle), 0)]
        changes.append({"ImageOrientationPatient": [*row, "0", "0", "-1"], "ImagePositionPatient": ["0", "0", "50"]})
    return series_of("MR", change=changes)


def test_G17_a_localizer_in_an_axial_series_stays_apart(tmp_path: Path) -> None:
    made = made_of([slice_of("CT", 9, LOCALIZER), *series_of()], tmp_path)
    assert made.kept == {"000.dcm": "a localizer"}
    assert sizes(made.objects) == [3]


def test_a_three_plane_scout_is_one_object_with_a_stack_for_each_plane(tmp_path: Path) -> None:
    changes = [{"ImageOrientationPatient": plane, "ImagePositionPatient": ["0", "0", "0"]} for plane in PLANES]
    made = made_of(series_of("MR", change=changes), tmp_path).one
    content = [frame.FrameContentSequence[0] for frame in frames_of(made)]
    assert [c.StackID for c in content] == ["1", "2", "3"]
    assert [list(c.DimensionIndexValues) for c in content] == [[1, 1], [2, 1], [3, 1]]
    shown = [frame.PlaneOrientationSequence[0].ImageOrientationPatient for frame in frames_of(made)]
    assert shown == [[float(value) for value in plane] for plane in PLANES]


def test_a_projection_that_turns_is_one_object(tmp_path: Path) -> None:
    made = made_of(turning(12), tmp_path).one
    assert len({frame.FrameContentSequence[0].StackID for frame in frames_of(made)}) == 12


def test_orientations_with_several_slices_are_volumes_of_their_own(tmp_path: Path) -> None:
    sources = []
    for n in range(6):
        place = ["0", "0", str(n)] if n < 3 else [str(n), "0", "0"]
        sources.append({"ImageOrientationPatient": PLANES[n // 3], "ImagePositionPatient": place})
    made = made_of(series_of("MR", change=sources), tmp_path)
    assert sizes(made.objects) == [3, 3]
    assert len({ds.SeriesInstanceUID for ds in made.objects}) == 1  # G11


def test_jitter_in_the_eighth_decimal_is_one_orientation(tmp_path: Path) -> None:
    changes = [
        {"ImageOrientationPatient": ["1", f"0.0000000{n}", "0", f"-0.0000000{n}", "1", "0"]} for n in range(1, 6)
    ]
    made = made_of(series_of(change=changes), tmp_path).one
    assert {frame.FrameContentSequence[0].StackID for frame in frames_of(made)} == {"1"}
    # Each frame keeps its own value.
    first = frames_of(made)[0].PlaneOrientationSequence[0].ImageOrientationPatient
    assert first[1] == pytest.approx(1e-8)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Rows": 4, "PixelData": bytes(64)}, "Rows differs: 8 and 4"),
        ({"PatientName": "Roe^J"}, "PatientName differs: Doe^Jörg and Roe^J"),
        ({"PatientAge": "053Y"}, "PatientAge differs: none and 053Y"),
        ({"FrameOfReferenceUID": STUDY + ".98"}, f"FrameOfReferenceUID differs: {STUDY}.99 and {STUDY}.98"),
        ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL"]}, "ImageType differs: ORIGINAL\\PRIMARY and DERIVED\\PRIMARY"),
        (
            {"ImageOrientationPatient": PLANES[1]},
            "ImageOrientationPatient differs: 1\\0\\0\\0\\1\\0 and 0\\1\\0\\0\\0\\-1",
        ),
        ({"SpecificCharacterSet": "ISO_IR 192"}, "SpecificCharacterSet differs: ISO_IR 100 and ISO_IR 192"),
    ],
)
def test_G17_E4_the_plan_says_what_splits_a_series(change: dict, said: str, tmp_path: Path) -> None:
    save_all(series_of(change=[None, None, change]), tmp_path)
    (row,) = plan_of(tmp_path)["series"]
    assert [made["frames"] for made in row["objects"]] == [2, 1]
    assert said in row["objects"][0]["explain"]["apart"]


def test_the_plan_says_order_dimensions_and_stacks(tmp_path: Path) -> None:
    changes = [{"ImagePositionPatient": ["0", "0", str(5 * n)], "EchoTime": str(10 + n // 3)} for n in range(6)]
    for n, change in enumerate(changes):
        change["ImagePositionPatient"] = ["0", "0", str(5 * (n % 3))]
    save_all(series_of("MR", change=changes), tmp_path)
    (row,) = plan_of(tmp_path)["series"]
    one = row["objects"][0]["explain"]
    assert one["part"] == "EchoTime 10.0"
    assert one["order"] == "by Instance Number"
    assert one["dimensions"] == ["Stack ID 1", "In-Stack Position Number 1 to 3", "EchoTime 1"]
    assert one["stacks"] == ["1: 3 places over 10 mm, orientation 1\\0\\0\\0\\1\\0"]
    assert "frame of reference" in one["why"]
    printed = CliRunner().invoke(main, ["convert", str(tmp_path), "--plan"]).stdout
    assert "part: EchoTime 10.0" in printed
    assert "In-Stack Position Number 1 to 3" in printed


def test_the_plan_writes_nothing(tmp_path: Path) -> None:
    save_all(series_of(), tmp_path / "in")
    before = sorted(tmp_path.rglob("*"))
    plan_of(tmp_path / "in", "--explain")
    assert sorted(tmp_path.rglob("*")) == before


def test_E2_series_of_two_modalities_never_mix(tmp_path: Path) -> None:
    made = made_of([*series_of("CT"), *series_of("PT", series=SERIES + "2")], tmp_path)
    assert sizes(made.objects) == [3, 3]
    assert {ds.Modality: ds.SOPClassUID for ds in made.objects} == {key: LEGACY[key] for key in ("CT", "PT")}


def test_E20_original_and_derived_frames_are_different_kinds(tmp_path: Path) -> None:
    changes = [None, None, {"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]}]
    made = made_of(series_of(change=changes), tmp_path)
    assert sizes(made.objects) == [1, 2]
    assert {ds.ImageType[0] for ds in made.objects} == {"ORIGINAL", "DERIVED"}


@pytest.mark.parametrize(
    "change",
    [
        {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "M", "VFRAME"]},
        ("SIEMENS MR HEADER", 0x0019, 0x0A, "US", 35),
        ("Image Private Header", 0x0065, 0x50, "DS", "30"),
    ],
)
def test_images_that_hide_many_slices_stay_classic(change: Any, tmp_path: Path) -> None:
    def tiled(ds: Dataset) -> None:
        if isinstance(change, dict):
            ds.ImageType = change["ImageType"]
        else:
            creator, group, number, vr, value = change
            ds.private_block(group, creator, create=True).add_new(number, vr, value)

    made = made_of(series_of("MR", change=tiled), tmp_path)
    assert not made.files
    assert set(made.kept.values()) == {"a mosaic holds many slices in one image"}


def test_a_mosaic_of_one_is_an_image(tmp_path: Path) -> None:
    def tiled(ds: Dataset) -> None:
        ds.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", 1)

    assert made_of(series_of("MR", change=tiled), tmp_path).one.NumberOfFrames == 3


def test_G1_the_layout_does_not_depend_on_the_order_of_files(tmp_path: Path) -> None:
    changes = [{"ImagePositionPatient": ["0", "0", str(n % 4)], "AcquisitionNumber": str(n // 4)} for n in range(12)]
    sources = series_of("MR", change=changes)
    one, other = made_of(sources, tmp_path / "1"), made_of(sources[::-1], tmp_path / "2")
    assert one.streams() == other.streams()
    assert len(one.streams()) == 3
