"""Every image of every set to enhanced and back: all pixels, all standard and private elements.

What is compared is read by pydicom alone: value bytes, private elements by their creator, items one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conversion.reading import Plain, plain
from evidence.sets import Layer, files, names
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

# All that may be different, with the words of REQUIREMENTS.
MAY_DIFFER = {
    Tag("QueryRetrieveView"): "Query/Retrieve View",
    Tag("ContributingEquipmentSequence"): "Contributing Equipment",
    Tag("ConversionSourceAttributesSequence"): "Conversion Source",
    Tag("DigitalSignaturesSequence"): "digital signatures",
    Tag("MACParametersSequence"): "digital signatures",
    # Not among the words: PS3.10 7.2 gives these bytes no meaning and lets whoever handles a file remove them.
    Tag("NumberOfFrames"): "1, which is what its absence means (E49)",
    Tag("DataSetTrailingPadding"): "padding behind the data set",
    Tag("PixelData"): "compared apart",
}
UIDS = (Tag("SOPInstanceUID"), Tag("SeriesInstanceUID"))


def sets() -> list:
    return [pytest.param(name) for name in names()]


def converted(layer: Layer) -> Iterator[tuple[Path, Path]]:
    """Yield each source that was converted, and what it came back as: both name the frame between them."""
    back = {}
    for path in files(layer.classic):
        ds = dcmread(path, stop_before_pixels=True)
        for frame in ds.get("ConversionSourceAttributesSequence", ()):
            back[frame.ReferencedSOPInstanceUID, frame.get("ReferencedFrameNumber")] = path
    for image in layer.images:
        ds = dcmread(image, stop_before_pixels=True)
        for number, frame in enumerate(ds.PerFrameFunctionalGroupsSequence, 1):
            source = frame.ConversionSourceAttributesSequence[0].ReferencedSOPInstanceUID
            yield layer.by_instance[source], back[ds.SOPInstanceUID, number]


def element_differences(before: Plain, after: Plain) -> dict:
    """Return elements that are not what they were, those that nobody had included."""
    return {
        key: (before.get(key), after.get(key))
        for key in before.keys() | after.keys()
        if key not in MAY_DIFFER
        and before.get(key) != after.get(key)
        and not _is_due_a_new_uid(key, before)
        and not (_is_overlay(key) and key not in after)
    }


def _is_overlay(key: object) -> bool:
    """Tell whether an element is of an overlay, which goes into a presentation state (compared apart)."""
    return isinstance(key, BaseTag) and 0x6000 <= key.group <= 0x60FF


def _is_due_a_new_uid(key: object, before: Plain) -> bool:
    """Tell whether a source has something else where its UID should be: nothing can be sent under that."""
    return key in UIDS and not UID(before[key].rstrip(b"\0").decode("latin-1")).is_valid


def same_pixels(source: Dataset, back: Dataset) -> bool:
    """Tell whether the stored pixels are the same bytes, fragments joined; if not, the same values."""
    if source.file_meta.TransferSyntaxUID == back.file_meta.TransferSyntaxUID:
        if not source.file_meta.TransferSyntaxUID.is_encapsulated:
            return source.PixelData == back.PixelData
        return list(_frames(source)) == list(_frames(back))
    return np.array_equal(source.pixel_array, back.pixel_array)


def _frames(ds: Dataset) -> Iterator[bytes]:
    return generate_frames(ds.PixelData, number_of_frames=int(ds.get("NumberOfFrames", 1)))


@pytest.mark.parametrize("name", sets())
def test_K2_K3_K4_K6_K7_every_pixel_and_element_comes_back(
    name: str, swept: Callable[[str], list[Layer]], figures: Callable[..., None]
) -> None:
    total, lost, other_pixels = Counter(), {}, []
    for layer in swept(name):
        for path, again in converted(layer):
            before = plain(dcmread(path, force=True))
            total += Counter(images=1, elements=_count(before))
            if found := element_differences(before, plain(dcmread(again))):
                lost[path.name] = found
            if not same_pixels(dcmread(path, force=True), dcmread(again)):
                other_pixels.append(path.name)
    figures("round trip", name, images=total["images"], elements=total["elements"], differences=len(lost))
    assert lost == {}
    assert other_pixels == []


def _count(elements: Plain) -> int:
    """Return the number of elements with a value, those in items too."""
    return sum(1 + (sum(map(_count, value)) if isinstance(value, list) else 0) for value in elements.values())


@pytest.mark.parametrize("name", sets())
def test_G3_K7_every_instance_is_in_every_view_unchanged_or_as_what_it_became(
    name: str, swept: Callable[[str], list[Layer]]
) -> None:
    for layer in swept(name):
        turned_back = {path for path, _ in converted(layer)}
        for view in (layer.enhanced, layer.classic):
            contents = {path.read_bytes() for path in files(view)}
            origins = {uid: found for path in files(layer.enhanced) for uid, found in [stands_for(path)]}
            became = {uid for path in files(view) for uid in origin(*stands_for(path), origins)}
            for path in layer.sources:
                if path in turned_back or any(path.name in line for line in layer.report["failed"]):
                    continue  # compared above; a broken file is reported
                instance = dcmread(path, stop_before_pixels=True).SOPInstanceUID
                assert path.read_bytes() in contents or instance in became, f"{path} is not in {view.name}"


def stands_for(path: Path) -> tuple[str, set[str]]:
    """Return an object and the instances that it was made of."""
    ds = dcmread(path, stop_before_pixels=True)
    found = set()
    for item in (ds, *ds.get("PerFrameFunctionalGroupsSequence", ())):
        found |= {source.ReferencedSOPInstanceUID for source in item.get("ConversionSourceAttributesSequence", ())}
    return ds.SOPInstanceUID, found


def origin(uid: str, sources: set[str], origins: dict[str, set[str]]) -> set[str]:
    """Return what an object was made of, through copies of copies, and itself if it was made of anything."""
    further = {one for source in sources for one in origins.get(source, ())}
    return sources | further | ({uid} if sources else set())


@pytest.mark.parametrize("name", sets())
def test_E25_every_overlay_is_in_a_presentation_state_bit_for_bit(
    name: str, swept: Callable[[str], list[Layer]], figures: Callable[..., None]
) -> None:
    moved = 0
    for layer in swept(name):
        states = [ds for ds in map(dcmread, layer.made) if ds.Modality == "PR"]
        for path, again in converted(layer):
            kept = dcmread(again)
            for place, bits in overlays(dcmread(path, force=True)).items():
                moved += 1
                assert place not in overlays(kept)
                assert any(bits in overlays(ds).values() for ds in states), f"{path}: overlay {place:04x}"
    figures("overlays", name, moved=moved)


def overlays(ds: Dataset) -> dict[int, tuple]:
    """Return origin, size and bits of the overlays that stand beside the pixels, by group."""
    found = {}
    for place in range(0x6000, 0x6100, 2):
        if (place, 0x3000) in ds:
            rows, columns = ds[place, 0x0010].value, ds[place, 0x0011].value
            bits = np.unpackbits(np.frombuffer(ds[place, 0x3000].value, np.uint8), bitorder="little")[: rows * columns]
            found[place] = (tuple(ds[place, 0x0050].value), rows, columns, bits.tobytes())
    return found


def test_the_comparison_sees_an_element_an_item_and_a_byte(swept: Callable[[str], list[Layer]]) -> None:
    pairs = (tuple(map(dcmread, pair)) for layer in swept("pydicom") for pair in converted(layer))
    source, back = next(pair for pair in pairs if pair[0].Modality == "CT")
    before = plain(source)
    assert element_differences(before, plain(back)) == {}
    back.PatientComments = "x"
    del back.PatientName
    assert {Tag("PatientComments"), Tag("PatientName")} <= element_differences(before, plain(back)).keys()
    back.PixelData = back.PixelData[:-1] + bytes([back.PixelData[-1] ^ 1])
    assert not same_pixels(source, back)
