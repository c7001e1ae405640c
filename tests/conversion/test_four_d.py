"""Series of several volumes as one object, and what tells volumes apart for readers (E55)."""

from __future__ import annotations

from pathlib import Path

import pytest
from conversion.material import group, made_of, series_of, turned_back, unassigned_shared
from conversion.test_dimensions import assert_sound, grid, labels, setting, values
from pydicom import dcmread
from pydicom.dataset import Dataset

from gateway.conversion.identity import Identity

ONE = Identity(four_d="one")


def diffusion(ds: Dataset, volume: int) -> None:
    ds.DiffusionBValue = (0.0, 1000.0, 1000.0)[volume - 1]
    ds.DiffusionGradientOrientation = ([0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0])[volume - 1]


@pytest.mark.parametrize(
    ("vary", "axes"),
    [
        (setting("TemporalPositionIdentifier"), ["Temporal Position Index"]),
        (setting("TriggerTime", "10", "20", "30"), ["Temporal Position Index"]),
        (setting("EchoTime", "10", "20", "30"), ["EchoTime"]),
        (diffusion, ["DiffusionBValue", "DiffusionGradientOrientation"]),
    ],
    ids=["time", "trigger", "echo", "diffusion"],
)
def test_E55_one_object_has_a_dimension_for_what_tells_volumes_apart(
    vary: object, axes: list[str], tmp_path: Path
) -> None:
    sources = grid(4, 3, vary)  # type: ignore[arg-type]
    volumes = made_of(sources, tmp_path / "volumes")
    assert [ds.NumberOfFrames for ds in volumes.objects] == [4, 4, 4]
    made = made_of(sources, tmp_path / "one", identity=ONE).one
    assert made.NumberOfFrames == 12
    assert_sound(made)
    assert labels(made) == ["Stack ID", "In-Stack Position Number", *axes]
    assert made.SOPInstanceUID not in {ds.SOPInstanceUID for ds in volumes.objects}
    # Volume by volume, as readers that take frames as they come want it.
    assert [value[1] for value in values(made)] == [1, 2, 3, 4] * 3


@pytest.mark.parametrize(
    "vary",
    [
        lambda ds, volume: None,  # nothing but the number
        setting("FlipAngle"),
        lambda ds, volume: ds.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", str(volume)),
    ],
    ids=["number", "flip angle", "private"],
)
def test_E55_volumes_that_readers_cannot_tell_apart_stay_objects(vary: object, tmp_path: Path) -> None:
    made = made_of(grid(4, 3, vary), tmp_path, identity=ONE)  # type: ignore[arg-type]
    assert [ds.NumberOfFrames for ds in made.objects] == [4, 4, 4]


@pytest.mark.parametrize(
    ("vary", "expected"),
    [
        (setting("TemporalPositionIdentifier"), "temporal position {}"),
        (setting("EchoTime", "10", "20.5"), ("echo time 10 ms", "echo time 20.5 ms")),
        (setting("DiffusionBValue", 0.0, 1000.0), ("b-value 0 s/mm2", "b-value 1000 s/mm2")),
        (
            lambda ds, volume: ds.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(
                0x39, "IS", str((0, 1000000800)[volume - 1])
            ),
            ("b-value 0 s/mm2", "b-value 800 s/mm2"),
        ),
    ],
    ids=["time", "echo", "b-value", "GE"],
)
def test_E55_image_comments_tell_volumes_apart_and_the_sources_own_come_back(
    vary: object, expected: str | tuple[str, str], tmp_path: Path
) -> None:
    sources = grid(4, 2, vary)  # type: ignore[arg-type]
    for ds in sources[:4]:
        ds.ImageComments = "Motion"
    made = made_of(sources, tmp_path)
    found = sorted(str(ds.ImageComments) for ds in made.objects)
    texts = [expected.format(n) for n in (1, 2)] if isinstance(expected, str) else list(expected)
    assert found == sorted([f"{texts[0]}; Motion", texts[1]])
    assert len({ds.SeriesDescription for ds in made.objects}) == 1
    files, _ = turned_back(made.files, tmp_path / "classic")
    back = {ds.SOPInstanceUID: ds.get("ImageComments") for ds in map(dcmread, files)}
    assert back == {ds.SOPInstanceUID: ds.get("ImageComments") for ds in sources}


def test_E55_a_series_of_one_volume_gets_no_comment(tmp_path: Path) -> None:
    made = made_of(series_of("MR"), tmp_path).one
    assert "ImageComments" not in made
    assert "ImageComments" not in unassigned_shared(made)
    assert group(made, 0, "PixelMeasuresSequence").SpacingBetweenSlices == 5
