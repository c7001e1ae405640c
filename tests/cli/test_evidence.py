"""What the demonstration says of converted pixels and overlays: true where all is there, and a problem where not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from conversion.material import save_all, series_of
from conversion.states import all_of, bitmap, embedded, overlay
from pydicom import dcmread
from pydicom.dataset import Dataset

from gateway.cli.evidence import examine
from gateway.cli.main import main


def draw(ds: Dataset) -> None:
    line = Dataset()
    line.GraphicAnnotationUnits, line.GraphicDimensions, line.NumberOfGraphicPoints = "PIXEL", 2, 2
    line.GraphicData, line.GraphicType, line.GraphicFilled = [1.0, 2.0, 3.0, 4.5], "POLYLINE", "N"
    note = Dataset()
    note.GraphicLayer, note.GraphicObjectSequence = "DRAWN", [line]
    ds.GraphicAnnotationSequence = [note]


SOURCES = {
    "overlays": ("CT", [overlay(bitmap(1)), overlay(bitmap(2), e15=("IS", "1")), None]),
    "annotations": ("CT", draw),
    "high bits": ("CT", [embedded({12: 1, 15: 2}, 1), embedded({13: 3}, 2), embedded({}, 3)]),
    "MONOCHROME1": ("CT", {"PhotometricInterpretation": "MONOCHROME1"}),
    "signed MONOCHROME1": ("CT", all_of(embedded({}, 4, signed=1), {"PhotometricInterpretation": "MONOCHROME1"})),
    "bits of PET": ("PT", [embedded({14: 1}, n, signed=1) for n in range(3)]),
}


@pytest.fixture(params=SOURCES)
def converted(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[list[Path], dict[str, Path]]:
    modality, change = SOURCES[request.param]
    paths = save_all(series_of(modality, change=change), tmp_path / "in")
    done = CliRunner().invoke(main, ["convert", str(tmp_path / "in"), "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    arrived = sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file())
    return arrived, {str(dcmread(path).SOPInstanceUID): path for path in paths}


def changed(path: Path, change: Callable[[Dataset], None]) -> None:
    ds = dcmread(path)
    change(ds)
    ds.save_as(path)


def of_modality(arrived: list[Path], *modalities: str) -> list[Path]:
    return [path for path in arrived if dcmread(path).Modality in modalities]


def test_what_was_converted_without_loss_has_no_problem(converted: tuple[list[Path], dict[str, Path]]) -> None:
    arrived, sent = converted
    assert examine(arrived, sent).problems == []
    assert examine(arrived, sent).frames == 3


def test_another_pixel_is_a_problem(converted: tuple[list[Path], dict[str, Path]]) -> None:
    def change(ds: Dataset) -> None:
        ds.PixelData = bytes([ds.PixelData[0] ^ 1]) + ds.PixelData[1:]

    arrived, sent = converted
    changed(of_modality(arrived, "CT", "PT")[0], change)
    assert [problem for problem in examine(arrived, sent).problems if "other pixels" in problem]


@pytest.mark.parametrize("converted", ["overlays", "high bits", "bits of PET"], indirect=True)
def test_another_overlay_or_none_is_a_problem(converted: tuple[list[Path], dict[str, Path]]) -> None:
    def change(ds: Dataset) -> None:
        data = ds[0x60003000].value
        ds[0x60003000].value = bytes([data[0] ^ 1]) + data[1:]

    arrived, sent = converted
    states = of_modality(arrived, "PR")
    changed(states[0], change)
    assert [problem for problem in examine(arrived, sent).problems if "is lost" in problem]
    assert [problem for problem in examine(set(arrived) - {states[0]}, sent).problems if "is lost" in problem]
