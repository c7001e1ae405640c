"""Functional groups that are filled attribute by attribute, as the table of macros has them (PS3.3 C.7.6.16.2 ff.).

What needs more than that - geometry, windows, anatomy, frame type, references - is in `gateway.conversion.groups`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from types import ModuleType

from gateway.conversion.conditions import holds
from gateway.conversion.enhanced_values import enhanced_value, is_gated, is_verbatim
from gateway.objects.elements import DataSet, Element, dataset, empty, items, sequence, tag_of, text
from gateway.objects.remembered import remembered
from gateway.standard import enhanced_ct, enhanced_mr, enhanced_pet
from gateway.standard.enhanced import COMMON_ATTRIBUTES, COMMON_MACROS
from gateway.standard.functional_groups import MACROS, macros_of
from gateway.standard.macros import CLASSIC_SEQUENCES, Attribute, Macro

TABLES: dict[str, ModuleType] = {"CT": enhanced_ct, "MR": enhanced_mr, "PT": enhanced_pet}

# Groups that are made elsewhere.
MADE_ELSEWHERE = frozenset(
    (
        "PixelMeasuresSequence", "FrameContentSequence", "PlanePositionSequence", "PlaneOrientationSequence",
        "ReferencedImageSequence", "DerivationImageSequence", "FrameAnatomySequence",
        "PixelValueTransformationSequence", "FrameVOILUTSequence", "RealWorldValueMappingSequence",
        "IrradiationEventIdentificationSequence", "UnassignedSharedConvertedAttributesSequence",
        "UnassignedPerFrameConvertedAttributesSequence", "ConversionSourceAttributesSequence",
        "CTImageFrameTypeSequence", "MRImageFrameTypeSequence", "PETFrameTypeSequence",
    )
)  # fmt: skip

# Macros that may not be there unless they are demanded.
_ONLY_IF_DEMANDED = frozenset(("PETDetectorMotionDetailsSequence", "PETTableDynamicsSequence"))

# Attributes of the Cardiac Synchronization Module too, which is their home where it is used.
_CARDIAC_MODULE = frozenset(("LowRRValue", "HighRRValue", "IntervalsAcquired", "IntervalsRejected"))


# Groups, and the tags of what need not be kept elsewhere.
Made = tuple[dict[int, Element], frozenset[int]]
NOTHING: Made = ({}, frozenset())


@lru_cache(maxsize=8)
def filled_macros(modality: str, legacy: bool) -> tuple[tuple[Macro, str], ...]:
    """Return the macros of an IOD that are filled here, each with its usage."""
    usages = macros_of(modality, legacy=legacy)
    return tuple((MACROS[keyword], usage) for keyword, usage in usages.items() if keyword not in MADE_ELSEWHERE)


def is_demanded(macro: Macro, usage: str, ds: DataSet, modality: str) -> bool:
    """Tell whether the Enhanced IOD demands a macro for a classic image."""
    if usage != "C":
        return usage == "M"
    conditions = TABLES[modality].MACROS
    condition = conditions.get(macro.sequence) or COMMON_MACROS.get(macro.sequence, "original")
    return holds(condition, ds)


def condition_of(attribute: Attribute, macro: Macro, modality: str) -> str:
    """Return when a conditional attribute of a macro is demanded."""
    found = TABLES[modality].ATTRIBUTES.get(attribute.keyword)
    if found is None:
        found = COMMON_ATTRIBUTES.get(attribute.keyword)
    if found is None:
        found = "" if macro.section.startswith("C.7.") else "original"
    return found


def macro_groups(ds: DataSet, modality: str, *, legacy: bool) -> Iterator[Made]:
    """Yield the groups that a classic image fills, each with the tags it consumes.

    Parameters
    ----------
    ds : DataSet
        Header of the classic image.
    modality : {"CT", "MR", "PT"}
        Row of table C.3.5-1.
    legacy : bool
        For the Legacy Converted IOD.
    """
    for macro, usage in filled_macros(modality, legacy):
        yield _made(ds, macro, usage, modality, legacy)


@remembered
def _made(ds: DataSet, macro: Macro, usage: str, modality: str, legacy: bool) -> Made:
    tag = tag_of(macro.sequence)
    if items(ds, tag) and (macro.sequence in CLASSIC_SEQUENCES or len(items(ds, tag)) > 1):
        return {tag: ds[tag]}, frozenset((tag,))
    demanded = not legacy and is_demanded(macro, usage, ds, modality)
    if macro.sequence in CLASSIC_SEQUENCES or (macro.sequence in _ONLY_IF_DEMANDED and not demanded):
        return NOTHING
    item = _item(macro, ds, modality, demanded, legacy=legacy)
    if item is None:
        return NOTHING
    consumed = (element.tag for element in item.values() if element.value and is_verbatim(ds, element))
    return {tag: sequence(macro.sequence, item)}, frozenset(consumed)


def _item(macro: Macro, ds: DataSet, modality: str, demanded: bool, *, legacy: bool) -> DataSet | None:
    """Return the item of a group; None if the image has nothing for it, or not what it cannot be without."""
    if macro.sequence == "CardiacSynchronizationSequence" and not is_gated(ds):
        return None
    apart = _CARDIAC_MODULE if text(ds, "CardiacSynchronizationTechnique") else ()
    found: list[Element] = []
    complete, filled = True, False
    for attribute in macro.attributes:
        if len(attribute.path) > 1 or attribute.keyword in apart:
            continue
        element = enhanced_value(ds, attribute.keyword)
        if element is not None:
            found.append(element)
            filled = True
        elif attribute.type == "1" or (
            # A group that nobody demands is left out if it would lack something that it demands itself.
            attribute.type == "1C" and not legacy and holds(condition_of(attribute, macro, modality), ds)
        ):
            complete = False
        elif attribute.type == "2" or (
            demanded and attribute.type == "2C" and holds(condition_of(attribute, macro, modality), ds)
        ):
            found.append(empty(tag_of(attribute.keyword)))
    if demanded or (filled and complete):
        return dataset(*found)
    return None
