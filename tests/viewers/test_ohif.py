"""OHIF on converted objects: open, page, probe, window, measure, reformat, segment, report (E42, E45).

Pictures of each step stay in the folder of the run; the tests print where.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from conversion.material import group, save_all, series_of
from conversion.resolving import every_reference_resolves, unresolved
from pydicom import dcmread
from pydicom.dataset import Dataset
from real_data import DATA
from viewers.serving import Archive, Viewer, used

from gateway.cli.main import main

pytestmark = pytest.mark.viewers

# What is opened: where its files are below the real data, and whether only in the long form.
SETS = {
    "ct": (("ct_philips28_localizer",), False),
    "pet": (("pet_ge_crop/STS_001_PET",), False),
    "mr": (("siemens_dualecho",), False),
    "ct with segmentation": (("dcmqi_ct_lce_seg/ct-3slice", "dcmqi_ct_lce_seg/liver.dcm"), False),
    "tilted ct": (("ct_ge_tilt28",), True),
    "ten times": (("mr_ge_fmri150",), True),
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    made = Archive(tmp_path_factory.mktemp("archive"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def viewer(archive: Archive) -> Iterator[Viewer]:
    made = Viewer(archive)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pictures")
    print(f"pictures: {made}")
    return made


def converted(sources: list[Path], folder: Path) -> list[Path]:
    """Return the enhanced view of files."""
    done = CliRunner().invoke(main, ["convert", *map(str, sources), "-o", str(folder)])
    assert done.exit_code == 0, done.output
    return sorted(folder.rglob("*.dcm"))


def opened(
    sources: list[Path], name: str, archive: Archive, viewer: Viewer, folder: Path
) -> tuple[dict[str, Any], Path]:
    """Convert, archive and look at a study; return what was seen and where the enhanced view is."""
    view = folder / f"{name} view"
    paths = converted(sources, view)
    for path in paths:
        archive.take(path)
    (study,) = {str(dcmread(path, stop_before_pixels=True).StudyInstanceUID) for path in paths}
    pictures = folder / name
    pictures.mkdir()
    seen = used(viewer, study, pictures)
    assert "failed" not in seen, (seen["failed"], pictures)
    return seen, view


def image_of(seen: dict[str, Any], view: Path) -> Dataset:
    """Return the multi-frame image that is shown, by its series and number of frames."""
    wanted = {one["sop"] for one in seen["measurements"]}
    (found,) = [ds for ds in map(dcmread, sorted(view.rglob("*.dcm"))) if ds.SOPInstanceUID in wanted]
    return found


def assert_values(seen: dict[str, Any], image: Dataset) -> None:
    """Probed values are stored values with the rescaling of their frame."""
    assert seen["frames"]["count"] == image.NumberOfFrames
    for one in seen["frames"]["seen"]:
        frame = image.PerFrameFunctionalGroupsSequence[one["index"]]
        rescale = frame.get("PixelValueTransformationSequence", [None])[0]
        slope, intercept = (
            (1.0, 0.0) if rescale is None else (float(rescale.RescaleSlope), float(rescale.RescaleIntercept))
        )
        for probe in one["probes"]:
            stored = float(image.pixel_array[one["index"], probe["row"], probe["column"]])
            assert probe["value"] == pytest.approx(stored * slope + intercept, rel=1e-4, abs=1e-3), (
                one["index"],
                probe,
            )


def assert_measured(seen: dict[str, Any], image: Dataset) -> None:
    """A length and an ellipse can be drawn, and name the derived series and object."""
    assert [one["tool"] for one in seen["measurements"]] == ["Length", "EllipticalROI"], seen["alerts"]
    for one in seen["measurements"]:
        assert (one["series"], one["sop"]) == (image.SeriesInstanceUID, image.SOPInstanceUID)
        assert one["text"]


def assert_reported(seen: dict[str, Any], archive: Archive, view: Path, folder: Path) -> None:
    """The report saved in the viewer follows the images into the classic view."""
    status, found = archive.request("POST", "/tools/lookup", seen["report"].encode())
    assert status == 200, seen["report"]
    assert b'"Instance"' in found, seen["report"]
    identifier = found.decode().partition('"ID" : "')[2].partition('"')[0]
    report = folder / "report.dcm"
    report.write_bytes(archive.request("GET", f"/instances/{identifier}/file")[1])
    assert dcmread(report).Modality == "SR"
    both, classic = folder / "both", folder / "classic"
    shutil.copytree(view, both)
    shutil.copy(report, both)
    done = CliRunner().invoke(main, ["convert", str(both), "-o", str(classic), "--to", "classic"])
    assert done.exit_code == 0, done.output
    reports = [ds for ds in map(dcmread, sorted(classic.rglob("*.dcm"))) if ds.Modality == "SR"]
    assert len(reports) == 1
    # But for what the sources name and nobody has sent.
    assert every_reference_resolves(classic, unknown=unresolved(view)) > 0


def parameters() -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.long if long else ()) for name, (_, long) in SETS.items()]


@pytest.mark.parametrize("name", parameters())
def test_E42_E45_real_series_are_shown_and_measured(
    name: str, archive: Archive, viewer: Viewer, folder: Path, tmp_path: Path
) -> None:
    sources = [DATA / path for path in SETS[name][0]]
    if not all(path.exists() for path in sources):
        pytest.skip("no real series are beside the project (../shared/data)")
    seen, view = opened(sources, name, archive, viewer, folder)
    image = image_of(seen, view)
    assert_measured(seen, image)
    assert_values(seen, image)
    assert not seen["errors"]
    if image.Modality == "PT":  # one window for all frames; OHIF opens the first one with its own
        assert len({(one["low"], one["high"]) for one in seen["frames"]["seen"][1:]}) == 1
    if name == "ct with segmentation":
        assert seen["segmentation"] == {"segments": 1, "referenced": True}
    spacing = group(image, 0, "PixelMeasuresSequence").get("SpacingBetweenSlices")
    if spacing is not None:
        assert seen["mpr"]
        for one in seen["mpr"]:
            assert one["spacing"][2] == pytest.approx(float(spacing), rel=1e-3)
            assert one["dimensions"][2] == image.NumberOfFrames
    assert_reported(seen, archive, view, tmp_path)


def test_E42_E45_a_made_series_is_shown_and_measured(
    archive: Archive, viewer: Viewer, folder: Path, tmp_path: Path
) -> None:
    def change(ds: Dataset) -> None:
        ds.Rows = ds.Columns = 64
        rows, columns = np.mgrid[0:64, 0:64]
        ds.PixelData = (1000 + 10 * columns + rows).astype(np.uint16).tobytes()

    sources = save_all(series_of("CT", count=6, change=change), tmp_path / "in")
    seen, view = opened(sources, "made", archive, viewer, folder)
    image = image_of(seen, view)
    assert_measured(seen, image)
    assert_values(seen, image)
