"""Functional groups of one frame from the attributes of its classic image (PS3.3 C.7.6.16.2, C.8.13.5, C.8.15.3).

What a group takes over unchanged is *consumed*: it can be read back from the group. What it only interprets (a body
part as a code, a date and a time as a datetime) stays where it was as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator
from typing import NamedTuple

from gateway.conversion.enhanced_values import derived_contrast, enhanced_value, is_verbatim
from gateway.conversion.identity import code
from gateway.conversion.macro_groups import Made, macro_groups
from gateway.objects.elements import (
    DataSet,
    Element,
    dataset,
    is_empty,
    items,
    make,
    raw,
    sequence,
    tag_of,
    text,
    texts,
)
from gateway.objects.remembered import remembered
from gateway.standard.anatomy import BODY_PARTS, SIDES
from gateway.standard.enhanced import COMMON_TERMS
from gateway.standard.frame_type import (
    FRAME_TYPE_SEQUENCES,
    VOLUMETRIC_TERMS,
)
from gateway.standard.macros import CLASSIC_SEQUENCES

# Attributes that move as they are: group sequence, section, attributes, modalities.
VERBATIM: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
    ("PixelMeasuresSequence", "C.7.6.16.2.1", ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"), "CT MR PT"),
    ("PlanePositionSequence", "C.7.6.16.2.3", ("ImagePositionPatient",), "CT MR PT"),
    ("PlaneOrientationSequence", "C.7.6.16.2.4", ("ImageOrientationPatient",), "CT MR PT"),
    ("IrradiationEventIdentificationSequence", "C.7.6.16.2.18", ("IrradiationEventUID",), "CT PT"),
)

WINDOW = ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction")
RESCALE = ("RescaleIntercept", "RescaleSlope", "RescaleType")

# What an object says though a source may not, by the group that says it; None is the top level. Where a source has no
# such value, Unassigned says so by an empty one, which equals an absent one (Sup 157 FG): unfolding adds nothing.
STAND_INS: dict[int, int | None] = {
    tag_of(keyword): tag_of(home) if home else None
    for keyword, home in (
        ("RescaleType", "PixelValueTransformationSequence"),
        ("AnatomicRegionSequence", "FrameAnatomySequence"),
        ("ContentDate", None),
        ("ContentTime", None),
        ("SeriesDate", None),
        ("SeriesTime", None),
        ("RequestAttributesSequence", None),
    )
}

REFERENCED_IMAGE = tag_of("ReferencedImageSequence")
SOURCE_IMAGE = tag_of("SourceImageSequence")
REAL_WORLD_VALUES = tag_of("RealWorldValueMappingSequence")
DERIVATION_IMAGE = tag_of("DerivationImageSequence")
FRAME_ANATOMY = tag_of("FrameAnatomySequence")

# Purposes that conversion edition 1 gave to references without one.
LOCALIZER = code("121311", "DCM", "Localizer")
SOURCE = code("121322", "DCM", "Source image for image processing operation")
ADDED_PURPOSES = {REFERENCED_IMAGE: LOCALIZER, SOURCE_IMAGE: SOURCE}
PURPOSE = tag_of("PurposeOfReferenceCodeSequence")

# Attributes of Frame Content (C.7.6.16.2.2) that a classic image may have or imply.
CONTENT = (
    "FrameReferenceDateTime",
    "FrameAcquisitionDuration",
    "CardiacCyclePosition",
    "RespiratoryCyclePosition",
    "FrameLabel",
    "FrameComments",
)

_UNFOLDED_CONTENT = frozenset(map(tag_of, CONTENT))

# Taken out again by name: a window that the source does not have says so itself (`DEFAULT_WINDOW`).
_TAKEN_OUT = frozenset(map(tag_of, (*WINDOW, "FrameLaterality")))

# Groups whose attributes do not come to the top level when a frame is unfolded.
_STAYS_AWAY = frozenset(tag_of(keyword) for keyword in (*FRAME_TYPE_SEQUENCES.values(), *CLASSIC_SEQUENCES))

Groups = dict[int, Element]


class FrameGroups(NamedTuple):
    """What one classic image becomes.

    Attributes
    ----------
    groups : dict
        Functional groups by tag, but for Frame Content and Conversion Source, which are never shared.
    content : list of Element
        What it says for Frame Content.
    consumed : set of int
        Tags of attributes that the groups have as they were.
    added : set of int
        Tags that unfolding brings to the top level and the image does not have.
    """

    groups: Groups
    content: list[Element]
    consumed: set[int]
    added: set[int]


def frame_groups(ds: DataSet, modality: str, *, legacy: bool = True) -> FrameGroups:
    """Return the functional groups of one frame; references still name the classic targets.

    Parameters
    ----------
    ds : DataSet
        Header of the classic image.
    modality : {"CT", "MR", "PT"}
        Row of table C.3.5-1.
    legacy : bool
        For the Legacy Converted IOD, not the Enhanced one.
    """
    groups: Groups = {}
    consumed: set[int] = set()
    for made, taken in _parts(ds, modality, legacy):
        groups.update(made)
        consumed |= taken
    content = _content(ds)
    consumed.update(element.tag for element in content if element.tag in _UNFOLDED_CONTENT and is_verbatim(ds, element))
    unfolded = [element for element in content if element.tag in _UNFOLDED_CONTENT]
    for tag, group in groups.items():
        if tag not in _STAYS_AWAY and isinstance(group.value, tuple) and len(group.value) == 1:
            unfolded.extend(group.value[0].values())
    added = {element.tag for element in unfolded if element.value and is_empty(ds.get(element.tag))}
    sides = {text(item, "FrameLaterality") for item in items(groups, FRAME_ANATOMY)} - {"U"}
    if sides and not text(ds, "ImageLaterality") and not text(ds, "Laterality"):
        added.add(tag_of("ImageLaterality"))
    return FrameGroups(groups, content, consumed, added - STAND_INS.keys() - _TAKEN_OUT)


def _parts(ds: DataSet, modality: str, legacy: bool) -> Iterator[Made]:
    """Yield groups and what they consume, made together where they look at the same attributes."""
    for name, _section, keywords, modalities in VERBATIM:
        if modality in modalities:
            yield _made(ds, _move, name, keywords)
    yield _made(ds, _frame_voi_lut)
    yield _made(ds, _pixel_value_transformation, modality, legacy)
    yield _made(ds, _frame_anatomy)
    yield _made(ds, _frame_type, modality)
    if not (legacy and modality == "CT"):
        yield _made(ds, _real_world_values)  # C.7.6.16.2.11, not in A.70
    yield _made(ds, _references)
    yield from macro_groups(ds, modality, legacy=legacy)


@remembered
def _made(ds: DataSet, part: Callable[..., None], *more: Hashable) -> Made:
    groups: Groups = {}
    consumed: set[int] = set()
    part(ds, groups, consumed, *more)
    return groups, frozenset(consumed)


def _frame_type(ds: DataSet, groups: Groups, consumed: set[int], modality: str) -> None:
    _put(groups, FRAME_TYPE_SEQUENCES[modality], frame_type(ds, modality))


def _real_world_values(ds: DataSet, groups: Groups, consumed: set[int]) -> None:
    if items(ds, REAL_WORLD_VALUES):
        groups[REAL_WORLD_VALUES] = ds[REAL_WORLD_VALUES]
        consumed.add(REAL_WORLD_VALUES)


def _put(groups: Groups, keyword: str, item: DataSet) -> None:
    element = sequence(keyword, item)
    groups[element.tag] = element


def _move(ds: DataSet, groups: Groups, consumed: set[int], name: str, keywords: tuple[str, ...]) -> None:
    found = [ds[tag] for tag in map(tag_of, keywords) if not is_empty(ds.get(tag))]
    if found:
        _put(groups, name, dataset(*found))
        consumed.update(element.tag for element in found)


def _frame_voi_lut(ds: DataSet, groups: Groups, consumed: set[int]) -> None:
    """Frame VOI LUT (C.7.6.16.2.10): the windows of the image, or the default that the object states (E42)."""
    centers, widths = texts(ds, "WindowCenter"), texts(ds, "WindowWidth")
    if centers and len(centers) == len(widths):
        _move(ds, groups, consumed, "FrameVOILUTSequence", WINDOW)


def _pixel_value_transformation(ds: DataSet, groups: Groups, consumed: set[int], modality: str, legacy: bool) -> None:
    """Pixel Value Transformation (C.7.6.16.2.9, C.8.15.3.10): always for CT and PET, for MR when it rescales.

    Enhanced MR has to say that stored values are what they are, which is all that an MR image without rescaling says.
    """
    has_rescale = bool(text(ds, "RescaleSlope") and text(ds, "RescaleIntercept"))
    monochrome = text(ds, "PhotometricInterpretation") == "MONOCHROME2"
    if modality == "MR" and not has_rescale and (legacy or not monochrome):
        return
    found = {tag_of(keyword): ds[tag_of(keyword)] for keyword in RESCALE if text(ds, keyword)}
    consumed.update(found)
    for default in (
        make("RescaleIntercept", "0"),
        make("RescaleSlope", "1"),
        make("RescaleType", _rescale_type(ds, modality)),
    ):
        found.setdefault(default.tag, default)
    _put(groups, "PixelValueTransformationSequence", dataset(*found.values()))


def _rescale_type(ds: DataSet, modality: str) -> str:
    """Return Rescale Type: the image's, else HU for CT that is rescaled and US for everything else (E11)."""
    has_rescale = bool(text(ds, "RescaleSlope") and text(ds, "RescaleIntercept"))
    return text(ds, "RescaleType", "HU" if modality == "CT" and has_rescale else "US")


def _frame_anatomy(ds: DataSet, groups: Groups, consumed: set[int]) -> None:
    """Frame Anatomy (C.7.6.16.2.8) from Anatomic Region Sequence or a standard Body Part Examined."""
    regions = items(ds, "AnatomicRegionSequence")
    part = BODY_PARTS.get(text(ds, "BodyPartExamined").upper())
    if regions:
        region = regions[0]
        if len(regions) == 1:
            consumed.add(tag_of("AnatomicRegionSequence"))
    elif part:
        region = code(part[0], "SCT", part[1])
    else:
        return
    found = [make("FrameLaterality", _laterality(ds, region)), sequence("AnatomicRegionSequence", region)]
    structures = ds.get(tag_of("PrimaryAnatomicStructureSequence"))
    if structures is not None and not is_empty(structures):
        found.append(structures)
        consumed.add(structures.tag)
    _put(groups, "FrameAnatomySequence", dataset(*found))


def _laterality(ds: DataSet, region: DataSet) -> str:
    """Return Frame Laterality: as the image says it, or a modifier of its region; else unpaired (C.7.6.16.2.8)."""
    side = text(ds, "ImageLaterality") or text(ds, "FrameLaterality") or text(ds, "Laterality")
    if side in ("R", "L", "B", "U"):
        return side
    modifiers = {text(item, "CodeValue") for item in items(region, "AnatomicRegionModifierSequence")}
    sides = {SIDES[value] for value in modifiers if value in SIDES}
    return sides.pop() if len(sides) == 1 else "U"


def frame_type(ds: DataSet, modality: str) -> DataSet:
    """Return the item of CT Image Frame Type, MR Image Frame Type or PET Frame Type (C.8.16.1, C.8.16.2).

    Values 1 and 3 of Frame Type are those of Image Type. PRIMARY is the only Enumerated Value that C.8.16.1.2 has for
    value 2: a SECONDARY of the source stays in Unassigned with the rest of its Image Type. Value 4 is NONE for an
    original image, a standard term of derived contrast if the image has one, else empty, as only legacy converted
    objects may. What an MR image says of its complex component and contrast stands here as well (C.8.13.3.1).
    """
    # Upper case of ASCII letters only: other letters might have one that the value's encoding lacks.
    kind = [value.strip() for value in raw(ds, "ImageType").upper().decode("latin-1").split("\\")]
    first = kind[0] if kind and kind[0] in ("ORIGINAL", "DERIVED") else "DERIVED"
    third = kind[2] if len(kind) > 2 and kind[2] else "VOLUME"
    contrast = "NONE" if first == "ORIGINAL" else derived_contrast(ds)
    properties, technique = _volume(ds, first, kind)
    color = "TRUE_COLOR" if text(ds, "PhotometricInterpretation") == "RGB" else "MONOCHROME"
    described = ("ComplexImageComponent", "AcquisitionContrast") if modality == "MR" else ()
    return dataset(
        make("FrameType", first, "PRIMARY", third, contrast),
        make("PixelPresentation", color),
        make("VolumetricProperties", properties),
        make("VolumeBasedCalculationTechnique", technique),
        *(element for element in (enhanced_value(ds, keyword) for keyword in described) if element is not None),
    )


def _volume(ds: DataSet, first: str, kind: list[str]) -> tuple[str, str]:
    """Return Volumetric Properties and Volume Based Calculation Technique (tables C.8-133 and C.8-134).

    What an image says itself under these names comes before what words in its Image Type tell.
    """
    stated = text(ds, "VolumetricProperties"), text(ds, "VolumeBasedCalculationTechnique")
    known = stated[0] in COMMON_TERMS["VolumetricProperties"]
    if first == "ORIGINAL":
        return stated[0] if known else "VOLUME", "NONE"
    if known and stated[1] in COMMON_TERMS["VolumeBasedCalculationTechnique"]:
        return stated
    words = {word for value in kind for word in re.split(r"[ _]", value)} | set(kind)
    for term, properties, technique in VOLUMETRIC_TERMS:
        if term in words:
            return properties, technique
    return "VOLUME", "MIXED"


def _references(ds: DataSet, groups: Groups, consumed: set[int]) -> None:
    """Referenced Image and Derivation Image (C.7.6.16.2.5, C.7.6.16.2.6), as the image says it.

    Purposes and the code of the derivation are demanded where the class is not a Legacy Converted one; none is made up.
    """
    if items(ds, REFERENCED_IMAGE):
        groups[REFERENCED_IMAGE] = ds[REFERENCED_IMAGE]
        consumed.add(REFERENCED_IMAGE)
    if items(ds, SOURCE_IMAGE):
        parts = ("DerivationDescription", "DerivationCodeSequence", "SourceImageSequence")
        derivation = [ds[tag] for tag in map(tag_of, parts) if not is_empty(ds.get(tag))]
        _put(groups, "DerivationImageSequence", dataset(*derivation))
        consumed.update(element.tag for element in derivation)


def without_added_purposes(element: Element) -> Element:
    """Return references without the purposes that conversion edition 1 added."""
    if not isinstance(element.value, tuple):
        return element
    added = (ADDED_PURPOSES[element.tag],)
    found = tuple(
        {tag: part for tag, part in item.items() if tag != PURPOSE or part.value != added} for item in element.value
    )
    return element._replace(value=found)


def _content(ds: DataSet) -> list[Element]:
    """Return what a classic image says for Frame Content (C.7.6.16.2.2)."""
    found = []
    for keyword in ("FrameAcquisitionNumber", "FrameAcquisitionDateTime", *CONTENT):
        element = enhanced_value(ds, keyword)
        # A comment of the whole image has its home at the top level.
        if element is not None and (keyword != "FrameComments" or element.tag in ds):
            found.append(element)
    return found
