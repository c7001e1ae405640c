"""What objects made of the real sets say of values and distances, worked out anew with pydicom (E11, E42, E53)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest
from evidence.sets import Layer, files, names
from pydicom import dcmread
from pydicom.dataset import Dataset

from gateway.standard.sop_classes import ENHANCED_CLASSES


def made(layers: list[Layer]) -> Iterator[Dataset]:
    """Yield the multi-frame images that were made."""
    for layer in layers:
        received = {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in layer.sources}
        for path in files(layer.enhanced):
            ds = dcmread(path, stop_before_pixels=True)
            if ds.SOPClassUID in ENHANCED_CLASSES and ds.SOPInstanceUID not in received:
                yield ds


def of_frame(ds: Dataset, frame: Dataset, group: str) -> Dataset | None:
    for where in (frame, ds.SharedFunctionalGroupsSequence[0]):
        if group in where:
            return where[group].value[0]
    return None


def distances(ds: Dataset) -> list[float]:
    """Return the distances of neighbouring slices along the normal of the first one."""
    planes = []
    for frame in ds.PerFrameFunctionalGroupsSequence:
        orientation = of_frame(ds, frame, "PlaneOrientationSequence")
        position = of_frame(ds, frame, "PlanePositionSequence")
        assert orientation is not None
        assert position is not None
        across = np.array(orientation.ImageOrientationPatient, float)
        planes.append(np.cross(across[:3], across[3:]) @ np.array(position.ImagePositionPatient, float))
    return [after - before for before, after in pairwise(sorted(planes)) if after - before > 0.01]


@pytest.mark.parametrize("name", names())
def test_E53_spacing_is_the_distance_of_the_slices(
    name: str, swept: Callable[[str], list[Layer]], figures: Callable[..., None]
) -> None:
    stated = 0
    for ds in made(swept(name)):
        found = {
            measures.SpacingBetweenSlices
            for frame in ds.PerFrameFunctionalGroupsSequence
            if (measures := of_frame(ds, frame, "PixelMeasuresSequence")) is not None
            and "SpacingBetweenSlices" in measures
        }
        steps = distances(ds)
        if found and steps:
            (spacing,) = found
            stated += 1
            assert float(spacing) == pytest.approx(np.mean(steps), abs=0.01 * np.mean(steps))
            assert max(steps) - min(steps) <= 0.02 * np.mean(steps)
        elif len(steps) > 1 and not found:
            lateral = "its slices are no regular stack"
            assert max(steps) - min(steps) > 0.001 * np.mean(steps) or _tilted(ds) or _turned(ds), lateral
    figures("spacing", name, objects=stated)


def _tilted(ds: Dataset) -> bool:
    """Tell whether slices lie beside the normal of the first one."""
    frames = ds.PerFrameFunctionalGroupsSequence
    across = np.array(of_frame(ds, frames[0], "PlaneOrientationSequence").ImageOrientationPatient, float)  # type: ignore
    places = np.array([of_frame(ds, one, "PlanePositionSequence").ImagePositionPatient for one in frames], float)  # type: ignore
    moved = places - places[0]
    normal = np.cross(across[:3], across[3:])
    return bool(np.abs(moved - np.outer(moved @ normal, normal)).max() > 0.01)


def _turned(ds: Dataset) -> bool:
    """Tell whether slices have several orientations."""
    groups = [of_frame(ds, one, "PlaneOrientationSequence") for one in ds.PerFrameFunctionalGroupsSequence]
    return len({tuple(np.round(np.array(one.ImageOrientationPatient, float), 3)) for one in groups}) > 1  # type: ignore


@pytest.mark.parametrize("name", names())
def test_E42_E53_every_frame_has_its_rescaling_and_a_series_without_windows_one(
    name: str, swept: Callable[[str], list[Layer]], figures: Callable[..., None]
) -> None:
    defaults = 0
    for ds in made(swept(name)):
        windows = set()
        for frame in ds.PerFrameFunctionalGroupsSequence:
            assert "PixelValueTransformationSequence" not in ds.SharedFunctionalGroupsSequence[0]
            rescale = frame.get("PixelValueTransformationSequence")
            assert rescale or ds.Modality == "MR"
            if ds.Modality in ("MR", "PT") and rescale:
                assert rescale[0].RescaleType == "US"
            window = of_frame(ds, frame, "FrameVOILUTSequence")
            assert window is not None or ds.Modality == "MR"
            if window is not None and "GATEWAY DEFAULT" in str(window.get("WindowCenterWidthExplanation")):
                windows.add((window.WindowCenter, window.WindowWidth))
                assert "FrameVOILUTSequence" in ds.SharedFunctionalGroupsSequence[0]
            mapping = of_frame(ds, frame, "RealWorldValueMappingSequence") if ds.Modality == "PT" else None
            if mapping is not None and rescale and "RealWorldValueSlope" in mapping:
                assert mapping.RealWorldValueSlope == float(rescale[0].RescaleSlope)
                assert mapping.RealWorldValueIntercept == float(rescale[0].RescaleIntercept)
        assert len(windows) <= 1
        defaults += len(windows)
    figures("default windows", name, objects=defaults)
