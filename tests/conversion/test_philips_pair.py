"""One scan exported twice by the scanner, classic and enhanced: ours from the one held against the other."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest
from conversion.material import LEGACY, convert, turned_back
from conversion.reading import plain
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from real_data import DATA

PAIR = DATA / "philips_pair_asl1901"
pytestmark = pytest.mark.skipif(not PAIR.is_dir(), reason="the real series are not at hand")

# Geometry, pixels, window, rescale, echo and time: what must be the scanner's own, by value.
MANDATORY = (
    "PixelSpacing", "SliceThickness", "SpacingBetweenSlices", "ImageOrientationPatient", "FrameOfReferenceUID", "Rows",
    "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PhotometricInterpretation",
    "WindowCenter", "WindowWidth", "RescaleIntercept", "RescaleSlope", "RescaleType", "EchoTime", "RepetitionTime",
    "FlipAngle", "EchoTrainLength", "NumberOfAverages", "ScanningSequence", "SequenceVariant", "ScanOptions",
    "MRAcquisitionType", "AcquisitionNumber", "AcquisitionDate", "AcquisitionTime", "SeriesDate", "SeriesTime",
    "StudyDate", "StudyTime", "ContentDate", "InstanceNumber", "SeriesNumber", "PatientPosition", "AcquisitionMatrix",
    "InPlanePhaseEncodingDirection", "ImagingFrequency", "ImagedNucleus", "MagneticFieldStrength",
    "NumberOfPhaseEncodingSteps", "TemporalPositionIdentifier", "NumberOfTemporalPositions", "StudyInstanceUID",
)  # fmt: skip

# Where the two exports of the scanner differ themselves, so that ours can only follow the enhanced one.
DIFFERENT = {
    "ImageType": "the classic one has the manufacturer's own terms, Frame Type the standard's",
    "InstanceCreationTime": "exported two minutes apart",
    "SOPInstanceUID": "no Conversion Source says which classic image a frame is (K7)",
    "SeriesInstanceUID": "a new series (G11)",
    "ContentTime": "enhanced: start of the series for all frames; classic: of the image",
    "PixelBandwidth": "rounded in the classic image and at the top level, which the functional group goes before",
    "TransmitCoilName": "S in the functional group, BODY in the classic image",
    "SAR": "last digit: rounded here, cut off there",
    "dBdt": "last digit: rounded here, cut off there",
    "SliceLocation": "computed from the position; the scanner counts from its own origin, against the normal",
    "ImagePositionPatient": "three of forty differ in the sixteenth digit",
    "(2005,1381)": "differs at the enhanced object's top level",
    "(2005,140f)": "holds the enhanced attributes in the classic image, the classic ones in the enhanced",
}

# What the enhanced object has nowhere.
LACKING = {
    "ReferencedImageSequence", "ReconstructionDiameter", "DiffusionBValue", "DiffusionGradientOrientation",
    "RealWorldValueMappingSequence",
}  # fmt: skip


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Dataset, Dataset]]:
    """Return our classic image and the scanner's of every frame, matched by their pixels."""
    files, plan = turned_back(sorted((PAIR / "enhanced").iterdir()), tmp_path_factory.mktemp("pair"))
    assert not plan.kept
    theirs = {ds.PixelData: ds for ds in map(dcmread, sorted((PAIR / "classic").iterdir()))}
    assert len(files) == len(theirs) == 40
    return [(ours, theirs[ours.PixelData]) for ours in map(dcmread, files)]


def test_K2_mandatory_attributes_are_those_of_the_scanner(pairs: list[tuple[Dataset, Dataset]]) -> None:
    for ours, theirs in pairs:
        for keyword in MANDATORY:
            assert ours.get(keyword) == theirs.get(keyword) is not None, keyword
        assert ours.ImagePositionPatient == pytest.approx(theirs.ImagePositionPatient, abs=1e-10)
        assert pytest.approx(theirs.SAR) == ours.SAR
        assert pytest.approx(theirs.dBdt) == ours.dBdt


def test_K4_every_other_attribute_agrees_or_is_known_to_differ(pairs: list[tuple[Dataset, Dataset]]) -> None:
    equal: dict[str, int] = defaultdict(int)
    different, lacking = set(), set()
    for ours, theirs in pairs:
        found = plain(ours)
        for key, value in plain(theirs).items():
            tag = key if isinstance(key, int) else Tag(key[0], _block(theirs, key) << 8 | key[3])
            name = theirs[tag].keyword or str(tag).lower().replace(" ", "")
            if name == "PixelData":
                continue
            if key not in found:
                lacking.add(name)
            elif found[key] == value:
                equal[name] += 1
            else:
                different.add(name)
    assert different == set(DIFFERENT)
    assert {name for name in lacking if not name.startswith("(")} == LACKING
    assert len(lacking) <= 21  # private ones of no frame's group
    assert sum(1 for count in equal.values() if count == 40) >= 333


def _block(ds: Dataset, key: tuple) -> int:
    """Return the number of the private block that a key of `plain` is in."""
    blocks = [tag.element for tag in sorted(ds.keys()) if tag.group == key[0] and tag.is_private_creator]
    named = [n for n in blocks if ds[key[0], n].value.strip().encode() == key[1]]
    return named[key[2]]


# Groups that a Legacy Converted Enhanced MR object has too. Frame by frame they must say what the scanner's say; where
# its two exports differ themselves ours can only follow the classic one.
SAME_GROUPS = {
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth"),
    "PixelValueTransformationSequence": ("RescaleIntercept", "RescaleSlope", "RescaleType"),
    "FrameContentSequence": ("FrameAcquisitionDateTime", "StackID", "InStackPositionNumber", "DimensionIndexValues"),
    "MRImageFrameTypeSequence": ("PixelPresentation", "VolumetricProperties", "VolumeBasedCalculationTechnique"),
    "FrameAnatomySequence": ("FrameLaterality",),
}

# Top level: PERFUSION_FFE is the classic Image Type's value 3; the classic images have a Content Time each, of which
# the first is taken; the rest is identity.
TOP_DIFFERENT = {
    "ImageType", "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "ContentTime", "DimensionOrganizationSequence",
    "DimensionIndexSequence",
}  # fmt: skip


def _item(ds: Dataset, frame: int, keyword: str) -> Dataset:
    for groups in (ds.SharedFunctionalGroupsSequence[0], ds.PerFrameFunctionalGroupsSequence[frame]):
        if keyword in groups:
            return groups[keyword].value[0]
    raise AssertionError(keyword)


def test_E9_E10_E11_E12_our_enhanced_object_of_the_classic_images_is_the_scanners(tmp_path: Path) -> None:
    ours = convert(sorted((PAIR / "classic").iterdir()), tmp_path).one
    theirs = dcmread(next((PAIR / "enhanced").iterdir()))
    size = len(theirs.PixelData) // 40
    frames = {ours.PixelData[size * n : size * (n + 1)]: n for n in range(40)}
    assert len(frames) == 40
    for number in range(40):
        own = frames[theirs.PixelData[size * number : size * (number + 1)]]
        assert own == number, "the same order"
        for group, keywords in SAME_GROUPS.items():
            one, other = _item(ours, own, group), _item(theirs, number, group)
            for keyword in keywords:
                assert one[keyword].value == other[keyword].value, keyword
        place, their_place = (_item(ds, number, "PlanePositionSequence") for ds in (ours, theirs))
        assert place.ImagePositionPatient == pytest.approx(their_place.ImagePositionPatient, abs=1e-10)
        region, their_region = (
            _item(ds, number, "FrameAnatomySequence").AnatomicRegionSequence[0] for ds in (ours, theirs)
        )
        assert (region.CodeMeaning, their_region.CodeMeaning) == ("Brain", "Brain")
    both = [e for e in theirs if not e.tag.is_private and not e.is_empty and e.keyword in ours]
    different = {e.keyword for e in both if e.value != ours[e.keyword].value}
    assert different - {"SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"} == TOP_DIFFERENT
    # What Enhanced MR demands beyond this the scanner tells its classic images in a private sequence only (E1).
    assert ours.SOPClassUID == LEGACY["MR"]
