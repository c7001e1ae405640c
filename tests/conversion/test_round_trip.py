"""Enhanced to classic and back to enhanced: every pixel and every statement about a frame, read with pydicom alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conversion.enhanced_material import enhanced_of, save_enhanced
from conversion.material import ENHANCED, convert, turned_back
from conversion.reading import PER_FRAME, SHARED, UNASSIGNED, plain, whole
from pydicom import dcmread
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from real_data import DATA, needs_data

_CARRIER = (0x0021, b"GATEWAY CONVERSION", 0)

# What new objects have of their own (end of REQUIREMENTS): identity, and what belongs to how frames are put together.
_OWN = {
    Tag(keyword)
    for keyword in (
        "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "InstanceNumber", "NumberOfFrames", "PixelData",
        "ContributingEquipmentSequence", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
    )
}  # fmt: skip

# Groups whose sequence classic images have too.
_SEQUENCES = {Tag("ReferencedImageSequence"), Tag("RealWorldValueMappingSequence")}

OBJECTS = {
    "philips": "philips_pair_asl1901/enhanced/1901_WIP_3DpCASL_real.dcm",
    "philips anatomical": "dicom2nifti_vendors/philips_enhanced/anatomical/001/IM-0001-0170-0001.dcm",
    "philips diffusion": "dicom2nifti_vendors/philips_enhanced/dti/001/IM-0001-3835-0001.dcm",
    "philips fmri": "dicom2nifti_vendors/philips_enhanced/fmri/001/IM-0001-9600-0001.dcm",
    "hyperfine": "dicom2nifti_vendors/hyperfine/anatomical/001/001.dcm",
    "CT": "pydicom_data/eCT_Supplemental.dcm",
    "pixelmed 24": "dcmqi_ct_lce_seg/24x38x3/multiframe/mf.dcm",
    "pixelmed 23": "dcmqi_ct_lce_seg/23x38x3/multiframe/mf.dcm",
}

# Objects that have all that their class demands, and so become that class again (E1).
SAME_CLASS = {"philips"}


def statements(ds: Dataset, frame: int) -> dict[Any, list]:
    """Return every value that an object has for a frame (from 0), whatever level it stands at."""
    found: dict[Any, list] = defaultdict(list)

    def add(values: dict) -> None:
        for key, value in values.items():
            if isinstance(key, tuple) and key[:3] == _CARRIER:
                for item in value:
                    add(item)
            elif key not in (SHARED, PER_FRAME):
                found[key].append(value)

    add(plain(ds))
    for groups in (ds[SHARED].value[0], ds[PER_FRAME].value[frame]):
        for key, value in plain(groups).items():
            if key in UNASSIGNED:
                value = [plain(whole(item, ds)) for item in groups[key].value]
            single = isinstance(value, list) and len(value) == 1
            if single and not isinstance(key, tuple) and key not in _SEQUENCES:
                add(value[0])
            else:
                found[key].append(value)
    return found


def frames_again(path: Path, folder: Path) -> Iterator[tuple[Dataset, int, Dataset, int]]:
    """Yield the object and each frame number with the object that this frame is in again and its number there."""
    files, plan = turned_back([path], folder / "classic")
    assert not plan.kept
    made = convert(files, folder / "enhanced")
    assert not made.kept
    places = {}
    for ds in made.objects:
        for number, groups in enumerate(ds[PER_FRAME].value):
            places[groups.ConversionSourceAttributesSequence[0].ReferencedSOPInstanceUID] = (ds, number)
    source = dcmread(path)
    for frame, file in enumerate(files):
        yield source, frame, *places[file.stem]


def check(path: Path, folder: Path, *, changed: Collection[str] = ()) -> set[str]:
    """Check everything of an object; return the classes it became."""
    classes = set()
    for source, frame, again, number in frames_again(path, folder):
        assert np.array_equal(source.pixel_array[frame], again.pixel_array[number])
        found = statements(again, number)
        for key, values in statements(source, frame).items():
            lost = [value for value in values if value not in found.get(key, ())]
            name = str(key) if isinstance(key, tuple) else keyword_for_tag(key)
            assert not lost or key in _OWN or name in changed, (name, lost, found.get(key))
        classes.add(str(again.SOPClassUID))
    return classes


@needs_data
@pytest.mark.parametrize("name", [name for name in OBJECTS if name.startswith("pixelmed")])
def test_E11_frames_of_original_CT_whose_values_are_said_to_be_no_HU_stay_classic(name: str, tmp_path: Path) -> None:
    files, plan = turned_back([DATA / OBJECTS[name]], tmp_path / "classic")
    assert not plan.kept
    made = convert(files, tmp_path / "enhanced")
    assert set(made.kept.values()) == {"Rescale Type is US; an original image of the enhanced CT classes has HU"}


@needs_data
@pytest.mark.parametrize("name", [name for name in OBJECTS if not name.startswith("pixelmed")])
def test_K4_real_objects_come_back_with_everything(name: str, tmp_path: Path) -> None:
    # The classic term of the phase direction stands in Legacy Converted objects, which have no group for it.
    changed = {"InPlanePhaseEncodingDirection"} if name not in SAME_CLASS else set()
    classes = check(DATA / OBJECTS[name], tmp_path, changed=changed)
    if name in SAME_CLASS:
        assert classes == {str(dcmread(DATA / OBJECTS[name]).SOPClassUID)}


@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
def test_K4_made_objects_come_back_with_everything(modality: str, tmp_path: Path) -> None:
    path = save_enhanced(enhanced_of(modality), tmp_path / "in" / "1.dcm")
    classes = check(path, tmp_path, changed={"InPlanePhaseEncodingDirection"})
    assert classes
    assert ENHANCED[modality] not in classes  # these lack much of what the true class demands
