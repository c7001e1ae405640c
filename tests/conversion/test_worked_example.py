"""The worked example of Supplement 157, annex ZZZB: two CT slices and a presentation state, attribute by attribute.

The listings are in ``worked_example`` as they are printed: keyword or private tag, and value; a ``>`` for each level of
nesting. They have slips, which are mended in the open: those of the sources before anything is built of them, those
of the results as differences with their reason. Any difference that no row explains fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conversion.material import save
from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from gateway.cli.main import main

LISTINGS = Path(__file__).parent / "worked_example"
SECOND_POSITION = "-197.899994\\-195.800003\\-80.500000"
ORIENTATION = "1.000000\\0.000000\\0.000000\\0.000000\\1.000000\\0.000000"
CONVERSION_EQUIPMENT = "109106"

# Slips of the printed sources: (listing, attribute) -> the value meant.
SLIPS = {
    ("second_slice", "ImagePositionPatient"): SECOND_POSITION,  # lost its signs; Slice Location and 2.1.3 have them
    ("second_slice", "ImageOrientationPatient"): ORIENTATION,  # a zero too many in the third value
}

_UID = "made by the converter; the UIDs of the listing are examples (C.3.5 note 1)"
_EQUIPMENT = "names the converter at work, not PixelMed; institution is Type 3 (C.12.1)"
_MARKS = "says what no source has and the object must, or may, say; where no viewer sees it (E52)"
_EDITION = "edition and model of the converter, where no reader takes them for the scanner's (E53)"
_RESCALE = "stands with each frame, as some readers drop a shared one (E53)"
_SPACING = "a regular stack has it, computed from the positions (E53)"
_RELATED = "names the source series, for the way back (C.7.3.1)"
_NO_TIME = "Contribution DateTime is Type 3; a true one would differ with every conversion (C.3.5: always the same)"
_CODE = "dddd1 stands for 109106, which was assigned later (PS3.16 D)"
_CHARACTERS = "the listing drops it; values are in it (C.12.1.1.2)"
_INVENTED = (
    "invented by the listing: no source says so (C.8.15.2, Type 1C, required only if ORIGINAL of the true class)"
)
_ACQUISITION = "has its home in the Enhanced CT Image module (table C.8.15.2)"
_NO_CONTENT_TIME = (
    "Type 1 in the Multi-frame Functional Groups module: midnight stands in, the empty value is kept (FG)"
)
_ANATOMY = (
    "Frame Anatomy is mandatory where Body Part Examined is CHEST (A.70.4, C.7.6.16.2.8); no source had the sequence"
)
_ORIENTATION = (
    "stands with each frame, which the macro leaves open (A.70.4, C.7.6.16.2.4): readers mix frames that have it "
    "shared; the listing has seven values"
)
_SWAPPED = "the listing swaps the private scan parameter between the frames"
_DIMENSIONS = "dimensions may be used and say how the frames lie (C.7.6.17)"
_SHARED = "SharedFunctionalGroupsSequence[1]."
_KEPT = _SHARED + "UnassignedSharedConvertedAttributesSequence[1]."
_FRAMES = [f"PerFrameFunctionalGroupsSequence[{number}]." for number in (1, 2)]

# Attributes of the converted image that are not as printed -> why; * stands for everything below.
DIFFERENCES = {
    "SpecificCharacterSet": _CHARACTERS,
    "SOPInstanceUID": _UID,
    "SeriesInstanceUID": _UID,
    "AcquisitionNumber": _ACQUISITION,
    _KEPT + "AcquisitionNumber": _ACQUISITION,
    "BurnedInAnnotation": _INVENTED,
    "LossyImageCompression": _INVENTED,
    "ContentQualification": "required only of the true Enhanced class (C.8.15.2); no source says what it is",
    "ContentTime": _NO_CONTENT_TIME,
    _KEPT + "(0021*": _MARKS,
    "ContributingEquipmentSequence[2].ContributionDateTime": _NO_TIME,
    "ContributingEquipmentSequence[2].InstitutionName": _EQUIPMENT,
    "ContributingEquipmentSequence[2].InstitutionAddress": _EQUIPMENT,
    "ContributingEquipmentSequence[2].InstitutionalDepartmentName": _EQUIPMENT,
    "ContributingEquipmentSequence[2].Manufacturer*": _EQUIPMENT,
    "ContributingEquipmentSequence[2].SoftwareVersions": _EDITION,
    "ContributingEquipmentSequence[2].PurposeOfReferenceCodeSequence[1].CodeValue": _CODE,
    "DimensionIndexSequence*": _DIMENSIONS,
    "DimensionOrganizationSequence*": _DIMENSIONS,
    _SHARED + "FrameAnatomySequence*": _ANATOMY,
    _SHARED + "PlaneOrientationSequence[1].ImageOrientationPatient": _ORIENTATION,
    _KEPT + "ImageType": "value 4 was added: the original is kept (FG)",
    "RelatedSeriesSequence*": _RELATED,
    _SHARED + "PixelValueTransformationSequence*": _RESCALE,
    _SHARED + "PixelMeasuresSequence[1].SpacingBetweenSlices": _SPACING,
    "ContributingEquipmentSequence[2].(0021*": _EDITION,
    _FRAMES[0] + "ConversionSourceAttributesSequence[1].ReferencedSOPInstanceUID": "19328 is a typo for 9328",
    **{
        frame + name: reason
        for frame in _FRAMES
        for name, reason in (
            ("PlaneOrientationSequence[1].ImageOrientationPatient", _ORIENTATION),
            ("FrameContentSequence[1].DimensionIndexValues", _DIMENSIONS),
            ("FrameContentSequence[1].StackID", _DIMENSIONS),
            ("FrameContentSequence[1].InStackPositionNumber", _DIMENSIONS),
            ("UnassignedPerFrameConvertedAttributesSequence[1].(01f1,1002)", _SWAPPED),
            ("PixelValueTransformationSequence*", _RESCALE),
        )
    },
}

# The same for the presentation state.
_REFERENCED = "ReferencedSeriesSequence[1]."
STATE_DIFFERENCES = {
    "SpecificCharacterSet": _CHARACTERS,
    "SOPInstanceUID": _UID,
    "SeriesInstanceUID": _UID,
    _REFERENCED + "SeriesInstanceUID": _UID,
    _REFERENCED + "ReferencedImageSequence[1].ReferencedSOPInstanceUID": _UID,
    _REFERENCED + "ReferencedImageSequence[1].ReferencedFrameNumber": "the slice it refers to became frame 2, not 1",
    _REFERENCED + "QueryRetrieveView": "the view is stated at the top level (C.12.1), not in a Referenced Series item",
    "QueryRetrieveView": "the view is stated at the top level (C.12.1), not in a Referenced Series item",
    "ContributingEquipmentSequence[1].Manufacturer*": _EQUIPMENT,
    "RelatedSeriesSequence*": _RELATED,
    "ContributingEquipmentSequence[1].(0021*": _EDITION,
    "ContributingEquipmentSequence[1].ContributionDateTime": _NO_TIME,
    "ContributingEquipmentSequence[1].PurposeOfReferenceCodeSequence[1].CodeValue": _CODE,
}


def listed(name: str) -> Dataset:
    """Return a listing as a data set."""
    places, items = [Dataset()], {}
    for line in (LISTINGS / f"{name}.txt").read_text(encoding="ascii").splitlines():
        text = line.lstrip(">")
        depth = len(line) - len(text)
        if text == "%item":
            del places[depth:]
            places.append(Dataset())
            items[depth - 1].append(places[-1])
            continue
        del places[depth + 1 :]
        key, _, value = text.partition(":")
        element = _element(key, SLIPS.get((name, key), value.strip()))
        places[depth].add(element)
        items[depth] = element.value
    return places[0]


def _element(key: str, value: str) -> DataElement:
    """Return one listed attribute: a keyword, or a private tag with its VR."""
    tag, vr = (Tag(key[1:10].replace(",", "")), key[-2:]) if key[0] == "(" else (Tag(key), dictionary_VR(key))
    vr = vr.removeprefix("US or ")
    if vr == "SQ" or not value:
        return DataElement(tag, vr, [] if vr == "SQ" else None)
    values = [value] if vr in ("ST", "LT", "UT") else value.split("\\")
    number = {"US": int, "SS": int, "SL": int, "FD": float, "FL": float}.get(vr, str)
    return DataElement(tag, vr, [number(one) for one in values] if len(values) > 1 else number(value))


def flat(ds: Dataset, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield every attribute by its path, items counted from 1; sequences without items too."""
    for element in ds:
        name = element.keyword or f"({element.tag.group:04x},{element.tag.element:04x})"
        if element.VR == "SQ":
            if not element.value:
                yield place + name, "no item"
            for number, item in enumerate(element.value, 1):
                yield from flat(item, f"{place}{name}[{number}].")
        elif element.keyword != "PixelData":
            values = element.value if element.VM > 1 else [element.value]
            yield place + name, "\\".join(_text(value, element.VR) for value in values)


def _text(value: object, vr: str) -> str:
    return "" if value is None else f"{value:.6g}" if vr == "FL" else str(value)


def differences(listing: Dataset, made: Dataset) -> dict[str, tuple[str | None, str | None]]:
    """Return attributes that are not as listed: what is printed, what was made."""
    wanted, found = dict(flat(listing)), dict(flat(made))
    return {
        path: (wanted.get(path), found.get(path))
        for path in wanted.keys() | found.keys()
        if wanted.get(path) != found.get(path)
    }


def unexplained(found: dict[str, tuple], reasons: dict[str, str]) -> dict[str, tuple]:
    """Return differences without a reason."""
    whole = tuple(path.removesuffix("*") for path in reasons if path.endswith("*"))
    return {path: values for path, values in found.items() if path not in reasons and not path.startswith(whole or "?")}


def idle(found: dict[str, tuple], reasons: dict[str, str]) -> set[str]:
    """Return reasons for what is no difference."""
    return {path for path in reasons if not any(one == path or one.startswith(path.rstrip("*")) for one in found)}


def converted(names: list[str], folder: Path) -> dict[str, Dataset]:
    """Return what `gateway convert` makes of listings, by modality."""
    for number, name in enumerate(names):
        ds = listed(name)
        if "Rows" in ds:  # the listing has no pixels
            ds.PixelData = np.random.default_rng(number).integers(-1024, 3071, (512, 512), dtype=np.int16).tobytes()
        save(ds, folder / "in" / f"{name}.dcm")
    done = CliRunner().invoke(main, ["convert", str(folder / "in"), "-o", str(folder / "out")])
    assert done.exit_code == 0, done.output
    found = [dcmread(path) for path in sorted((folder / "out").rglob("*.dcm"))]
    assert len({ds.Modality for ds in found}) == len(found)
    return {ds.Modality: ds for ds in found}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    return converted(["first_slice", "second_slice"], tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    names = ["first_slice", "second_slice", "presentation_state"]
    return converted(names, tmp_path_factory.mktemp("study"))


def test_E29_E30_E34_E45_E46_the_image_is_the_listed_one_but_for_explained_differences(
    images: dict[str, Dataset],
) -> None:
    found = differences(listed("enhanced"), images["CT"])
    assert unexplained(found, DIFFERENCES) == {}
    assert idle(found, DIFFERENCES) == set()


def test_the_frames_go_by_instance_number_and_have_their_own_private_values(images: dict[str, Dataset]) -> None:
    """The slips that hide behind an explained difference: each is what its source says."""
    first, second = listed("first_slice"), listed("second_slice")
    for frame, source in zip(images["CT"].PerFrameFunctionalGroupsSequence, (second, first), strict=True):
        own = frame.UnassignedPerFrameConvertedAttributesSequence[0]
        assert own.InstanceNumber == source.InstanceNumber
        assert own[0x01F1, 0x1002].value == pytest.approx(source[0x01F1, 0x1002].value)
        assert frame.ConversionSourceAttributesSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID


def test_G14_O1_O2_O3_the_presentation_state_is_the_listed_one_but_for_explained_differences(
    study: dict[str, Dataset],
) -> None:
    found = differences(listed("updated_presentation_state"), study["PR"])
    assert unexplained(found, STATE_DIFFERENCES) == {}
    assert idle(found, STATE_DIFFERENCES) == set()


def test_G14_the_presentation_state_points_at_frame_2_of_the_image(study: dict[str, Dataset]) -> None:
    (series,) = study["PR"].ReferencedSeriesSequence
    (image,) = series.ReferencedImageSequence
    assert series.SeriesInstanceUID == study["CT"].SeriesInstanceUID
    assert image.ReferencedSOPInstanceUID == study["CT"].SOPInstanceUID
    assert image.ReferencedFrameNumber == 2
    assert unexplained(differences(listed("enhanced"), study["CT"]), DIFFERENCES) == {}
