"""Independent readers see the same images in what was converted as in the sources.

dcm2niix: voxels and affine of each volume; highdicom: stored pixels and positions of each frame; SimpleITK (GDCM):
values and positions of each frame. Where a reader cannot do it, the table says why: it is not for want of data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evidence.readers import dcm2niix_volumes, itk_frames, same_volumes
from evidence.sets import BUNDLED, Layer, names
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from real_data import DATA
from tools import need_module


@dataclass
class Series:
    """One source series of a layer, and the objects made of it.

    Attributes
    ----------
    label : str
        Folder of the sources and Series Number.
    sources : list of Path
        The files that were converted, in the order of frames.
    objects : list of Path
        What they became.
    """

    label: str
    sources: list[Path]
    objects: list[Path]


def series_of(layer: Layer) -> Iterator[Series]:
    """Yield the converted series of a layer."""
    found: dict[str, Series] = {}
    for path in layer.images:
        sources = frame_sources(path, layer)
        first = dcmread(sources[0], stop_before_pixels=True, force=True)
        folder = sources[0].parent.relative_to(BUNDLED if sources[0].is_relative_to(BUNDLED) else DATA)
        one = found.setdefault(first.SeriesInstanceUID, Series(f"{folder}/{first.get('SeriesNumber')}", [], []))
        one.sources += sources
        one.objects.append(path)
    yield from found.values()


def frame_sources(path: Path, layer: Layer) -> list[Path]:
    frames = dcmread(path, stop_before_pixels=True).PerFrameFunctionalGroupsSequence
    instances = [frame.ConversionSourceAttributesSequence[0].ReferencedSOPInstanceUID for frame in frames]
    return [layer.by_instance[instance] for instance in instances]


_SPACING = "distances or tilt vary, which NIfTI cannot say: mean instead of first distance; voxels equal"
_PLANES = "planes of several orientations: no volume, and dcm2niix and GDCM know one orientation an object"
_SLOPES = "a slope for each slice: they take that of the first"
_SEVERAL = "several images at each place: they take one volume for all"

# Series that dcm2niix reads otherwise: part of the label -> (why, whether voxels are equal all the same).
DCM2NIIX = {
    "CT2/": (_SPACING, True),
    "ct_ge_tilt28/": (_SPACING, True),
    "failing/sliceincrement/": (_SPACING, True),
    "failing/gantrytilting/": (_SPACING, True),
    "dicomdirtests/98892003/MR2/": (_PLANES, False),
    "dicomdirtests/98892003/MR700/": (_PLANES, False),
    "pet_ge_crop/": (_SLOPES, False),
    "hitachi/anatomical/": (
        "Number of Frames 1 of each source, kept among the unassigned ones, is taken for all",
        False,
    ),
}
# Objects that SimpleITK reads otherwise: part of the folder of the sources -> why.
ITK = {
    "/CT2/": _SPACING,
    "ct_ge_tilt28": _SPACING,
    "failing/sliceincrement": _SPACING,
    "failing/gantrytilting": _SPACING,
    "dicomdirtests/98892003/MR2": _PLANES,
    "dicomdirtests/98892003/MR700": _PLANES,
    "pet_ge_crop": _SLOPES,
    "generic/anatomical/002_non_isotropic": _SLOPES,
    "philips/dti": _SEVERAL,
    "philips/fmri": _SEVERAL,
    "failing/notavolume": _SEVERAL,
}


@pytest.mark.parametrize("name", names())
def test_dcm2niix_gives_equal_voxels_and_affine(
    name: str, swept: Callable[[str], list[Layer]], figures: Callable[..., None], tmp_path: Path
) -> None:
    volumes, other = 0, []
    for layer_number, layer in enumerate(swept(name)):
        for number, series in enumerate(series_of(layer)):
            place = tmp_path / f"{layer_number}-{number}"
            before = dcm2niix_volumes(series.sources, place / "source")
            after = dcm2niix_volumes(series.objects, place / "converted")
            volumes += len(before)
            if not before or same_volumes(before, after):
                continue  # it cannot read some sources at all, deflated ones for example
            other.append(series.label)
            excuse, voxels_equal = next((DCM2NIIX[part] for part in DCM2NIIX if part in series.label), ("", True))
            assert excuse, f"{series.label}: {len(before)} volumes before, {len(after)} after"
            assert not voxels_equal or same_volumes(before, after, affine=False), f"{series.label}: voxels differ"
    figures("dcm2niix", name, volumes=volumes, otherwise=len(other))


@pytest.mark.parametrize("name", names())
def test_SimpleITK_reads_equal_frames_and_positions(
    name: str, swept: Callable[[str], list[Layer]], figures: Callable[..., None]
) -> None:
    frames, other = 0, []
    for layer in swept(name):
        for path in layer.images:
            sources = frame_sources(path, layer)
            frames += len(sources)
            if (why := itk_difference(path, sources)) is not None:
                other.append(f"{sources[0].parent}/{sources[0].name}: {why}")
    figures("SimpleITK", name, frames=frames, otherwise=len(other))
    assert [label for label in other if not any(part in label for part in ITK)] == []


def itk_difference(path: Path, sources: list[Path]) -> str | None:
    """Return what SimpleITK reads otherwise from an object than from its sources."""
    try:
        pixels, positions = itk_frames(path)
    except RuntimeError as error:
        return f"unreadable: {str(error)[-80:]}"
    for number, source in enumerate(sources):
        wanted, (position,) = itk_frames(source)
        if not np.array_equal(pixels[number], wanted[0]):
            return f"pixels of frame {number + 1}"
        if not np.allclose(positions[number], position, rtol=0, atol=2e-3):
            return f"position of frame {number + 1}"
    return None


@pytest.mark.parametrize("name", names())
def test_highdicom_reads_equal_frames_and_positions(
    name: str, swept: Callable[[str], list[Layer]], figures: Callable[..., None]
) -> None:
    highdicom = need_module("highdicom")
    frames, volumes, other = 0, 0, []
    for layer in swept(name):
        for path in layer.images:
            image, sources = (
                highdicom.imread(path),
                [dcmread(source, force=True) for source in frame_sources(path, layer)],
            )
            frames += len(sources)
            assert image.number_of_frames == len(sources)
            for number, source in enumerate(sources, 1):
                if not same_frame(image, number, source):
                    other.append((path.name, number))
            geometry = image.get_volume_geometry()
            if geometry is not None:  # slices at regular distances, each once
                volumes += 1
                planes = [geometry.get_plane_position(number) for number in range(geometry.spatial_shape[0])]
                assert_same_places([plane[0].ImagePositionPatient for plane in planes], sources)
    figures("highdicom", name, frames=frames, volumes=volumes, otherwise=len(other))
    assert other == []


def same_frame(image: Any, number: int, source: Dataset) -> bool:
    """Tell whether highdicom finds the pixels of a source in a frame; where nobody here decodes them, their bytes."""
    try:
        wanted = source.pixel_array
    except (NotImplementedError, RuntimeError):
        return image.get_raw_frame(number) == next(generate_frames(source.PixelData, number_of_frames=1))
    return np.array_equal(image.get_stored_frame(number), wanted)


def assert_same_places(found: list, sources: list[Dataset]) -> None:
    wanted = {tuple(map(float, source.ImagePositionPatient)) for source in sources}
    assert np.allclose(sorted(tuple(map(float, one)) for one in found), sorted(wanted), atol=1e-2)
