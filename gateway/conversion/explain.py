"""Why a plan is as it is, for people: what an object's frames have in common, their order, what set others apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gateway.conversion.dimensions import INSTANCE, POSITION, STACK, distances_along
from gateway.conversion.facts import Facts
from gateway.conversion.planned import Planned
from gateway.objects.elements import DataSet, decoded, is_empty, items, raw, tag_of, tag_text, texts
from gateway.objects.part10 import Header
from gateway.standard.modules import MODULES

# What instances of one object have in common (G17, E4), in the order in which it is compared. The attributes of the
# modules come after these.
_ALIKE = (
    "SOPClassUID", "Modality", "SpecificCharacterSet", "SamplesPerPixel", "PhotometricInterpretation", "Rows",
    "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PlanarConfiguration",
    "PixelAspectRatio", "PixelPaddingValue", "PixelPaddingRangeLimit",
)  # fmt: skip
_MODULES = ("Patient", "Clinical Trial Subject", "General Study", "Patient Study", "Clinical Trial Study",
            "Frame of Reference")  # fmt: skip

WHY = (
    "one series, SOP class, image pixel description, transfer syntax, character set, kind of image (Image Type values "
    "1 and 2), patient, study, frame of reference and orientation"
)
WHY_STACKS = WHY.replace("frame of reference and orientation", "frame of reference; orientations of one slice each")


def explained(planned: Planned, others: Sequence[Planned], read: Callable[[Facts], Header]) -> dict[str, Any]:
    """Return why an object is one, as texts by topic.

    Parameters
    ----------
    planned : Planned
        The object.
    others : sequence of Planned
        All objects of its source series.
    read : callable
        Reads a header.
    """
    survey = planned.survey
    stacks = _stacks(planned)
    apart = _apart(planned, others, read)
    return {
        "why": WHY if len(stacks) == 1 else WHY_STACKS,
        **({"apart": apart} if apart else {}),
        **({"part": planned.why} if planned.why else {}),
        "order": _order(planned),
        "dimensions": _dimensions(planned),
        "stacks": stacks,
        "shared_attributes": len(survey.shared()),
        "per_frame_attributes": len(survey.values) - len(survey.shared()),
        "shared_groups": [tag_text(tag) for tag in sorted(survey.shared_groups())],
        "missing_for_the_enhanced_class": [str(missing) for missing in planned.missing],
    }


def _apart(planned: Planned, others: Sequence[Planned], read: Callable[[Facts], Header]) -> list[str]:
    """Return what sets the object apart from the first of another group of its series."""
    for other in others:
        if other.indices.organization != planned.indices.organization:
            return differences(read(planned.frames[0]), read(other.frames[0]))
    return []


def differences(one: Header, other: Header) -> list[str]:
    """Return which of the attributes that frames of one object have in common differ, with both values."""
    found = []
    if one.transfer_syntax != other.transfer_syntax:
        found.append(f"Transfer Syntax UID differs: {one.transfer_syntax} and {other.transfer_syntax}")
    in_modules = [entry.partition(":")[0] for module in _MODULES for entry in MODULES[module].attributes]
    for keyword in dict.fromkeys((*_ALIKE, *in_modules)):
        mine, theirs = _said(one.dataset, keyword), _said(other.dataset, keyword)
        if mine != theirs:
            found.append(f"{keyword} differs: {mine} and {theirs}")
    for keyword, count in (("ImageType", 2), ("ImageOrientationPatient", 6)):
        mine, theirs = ("\\".join(texts(ds, keyword)[:count]) for ds in (one.dataset, other.dataset))
        if mine != theirs:
            found.append(f"{keyword} differs: {mine} and {theirs}")
    return found


def _said(ds: DataSet, keyword: str) -> str:
    """Return a value for people."""
    tag = tag_of(keyword)
    element = ds.get(tag)
    if is_empty(element):
        return "none"
    assert element is not None
    if element.vr == "SQ":
        return f"{len(items(ds, tag))} items"
    if element.vr in ("US", "SS"):
        return str(int.from_bytes(raw(ds, tag)[:2], "little", signed=element.vr == "SS"))
    return decoded(ds, tag)


def _order(planned: Planned) -> str:
    """Return by what the frames are ordered."""
    numbers = [fact.instance_number for fact in planned.frames]
    if numbers == sorted(numbers):
        return "by Instance Number"
    which = [planned.indices.dimensions.index(dimension) for dimension in (STACK, POSITION)]
    places = [tuple(values[column] for column in which) for values in planned.indices.values]
    if len(set(places)) == len(places):
        return "by place, as Instance Numbers do not run along it"
    return "volume by volume"


def _dimensions(planned: Planned) -> list[str]:
    """Return every dimension with its range."""
    columns = zip(*planned.indices.values, strict=True)
    found = []
    for dimension, values in zip(planned.indices.dimensions, columns, strict=True):
        low, high = min(values), max(values)
        found.append(f"{dimension.label} {low}" + (f" to {high}" if high > low else ""))
        if dimension == INSTANCE:
            found[-1] += " (nothing else tells these frames apart)"
    return found


def _stacks(planned: Planned) -> list[str]:
    """Return every stack with its extent and orientation."""
    stack, place = (planned.indices.dimensions.index(dimension) for dimension in (STACK, POSITION))
    members: dict[int, list[int]] = {}
    for which, values in enumerate(planned.indices.values):
        members.setdefault(values[stack], []).append(which)
    found = []
    for number, frames in sorted(members.items()):
        distances = distances_along([planned.frames[which] for which in frames])
        places = len({planned.indices.values[which][place] for which in frames})
        cosines = "\\".join(f"{value + 0.0:.6g}" for value in planned.frames[frames[0]].orientation)
        extent = max(distances) - min(distances)
        found.append(f"{number}: {places} places over {extent:.6g} mm, orientation {cosines}")
    return found
