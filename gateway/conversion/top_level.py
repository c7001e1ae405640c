"""The top level of a legacy converted object: modules that are copied, filled or computed (PS3.3 A.70 to A.72)."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.conversion.identity import Identity
from gateway.conversion.keys import Key
from gateway.conversion.macro_groups import TABLES
from gateway.conversion.survey import CONTRIBUTING_EQUIPMENT, DESCRIPTION, REQUEST_ATTRIBUTES, Survey
from gateway.objects.elements import (
    DataSet,
    Element,
    dataset,
    empty,
    is_empty,
    items,
    make,
    sequence,
    tag_of,
    texts,
)
from gateway.objects.uids import derived_uid
from gateway.standard.modules import IOD_MODULES, MODULES, Module

# Attributes whose top-level value belongs to the multi-frame form: a single classic image does not get it back from
# there, so that the sources' own values are always kept beside it.
ENHANCED_ONLY = frozenset(
    tag_of(keyword)
    for keyword in (
        "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "NumberOfFrames",
        "DimensionOrganizationSequence", "DimensionIndexSequence", "DimensionOrganizationType",
        "PixelPresentation", "VolumetricProperties", "VolumeBasedCalculationTechnique", "QueryRetrieveView",
        "ComplexImageComponent", "AcquisitionContrast",
        "ContributingEquipmentSequence", "PresentationLUTShape", "ContentQualification",
        "ReferencedImageEvidenceSequence", "SourceImageEvidenceSequence", "ReferencedPresentationStateSequence",
        "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "InstanceNumber", "ImageType",
        "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
    )
)  # fmt: skip

# Stands where Content Date and Time are required (Type 1) and de-identified sources have no date of any kind.
NO_DATE, NO_TIME = "19000101", "000000"

FRAME_OF_REFERENCE = tag_of("FrameOfReferenceUID")
_SERIES_ENTITIES = frozenset(("Series", "Equipment", "Frame of Reference"))


def copied_elements(
    survey: Survey, *, entities: frozenset[str] | None = None, modules: Mapping[str, str] | None = None
) -> DataSet:
    """Return the attributes of the IOD's modules that all frames share, Type 2 ones filled empty.

    Parameters
    ----------
    survey : Survey
        The frames of the object.
    entities : frozenset of str, optional
        Only modules of these information entities.
    modules : mapping of str to str, optional
        Modules of another IOD with their usage.
    """
    shared: dict[Key, Element] = survey.shared()
    found: DataSet = {}
    for name, usage in (modules or IOD_MODULES[survey.modality]).items():
        module = MODULES[name]
        if name == "Contrast/Bolus" and not survey.legacy:
            continue  # the Enhanced IODs have another form of it
        if entities is not None and module.entity not in entities:
            continue
        attributes = [(tag_of(keyword), kind) for keyword, _, kind in map(_split, module.attributes)]
        empties = any(_keeps_empty(module, kind) and _empty_everywhere(tag, survey) for tag, kind in attributes)
        if usage == "U" and not _usable(attributes, shared, empties=empties):
            continue
        for tag, kind in attributes:
            element = shared.get(tag)
            if element is not None and not is_empty(element):
                found[tag] = element
            elif tag not in found and (kind == "2" or (_keeps_empty(module, kind) and _empty_everywhere(tag, survey))):
                found[tag] = empty(tag)
    return found


def _optional_elements(survey: Survey) -> DataSet:
    """Return what the modules of the Enhanced IOD demand of other images and all frames of this one have."""
    shared = survey.shared()
    tags = {tag_of(demand.path[0]) for rows in TABLES[survey.modality].MODULES for demand in rows.demands}
    return {tag: shared[tag] for tag in tags if not is_empty(shared.get(tag))}


def _keeps_empty(module: Module, kind: str) -> bool:
    """Tell whether an attribute without a value stays: where a condition asks for it, and what other objects of the
    patient or study have as well, which are compared with this one (G9)."""
    return kind in ("1C", "2C") or module.entity in ("Patient", "Study")


def _empty_everywhere(tag: int, survey: Survey) -> bool:
    """Tell whether the sources have a conditional attribute and no value for it: without it a condition would fail."""
    return tag in survey.empty and tag not in survey.values


def _split(entry: str) -> tuple[str, str, str]:
    return entry.partition(":")


def _usable(attributes: list[tuple[int, str]], shared: dict[Key, Element], *, empties: bool) -> bool:
    """Tell whether the sources fill an optional module: all of its Type 1 attributes, and anything at all."""
    return (empties or any(tag in shared for tag, _ in attributes)) and all(
        tag in shared for tag, kind in attributes if kind == "1"
    )


def series_elements(survey: Survey) -> DataSet:
    """Return what all objects of one derived series have in common, Series Date and Time apart."""
    return copied_elements(survey, entities=_SERIES_ENTITIES)


def merged_type(survey: Survey) -> DataSet:
    """Return Image Type and the image description of the whole object; what differs among frames is MIXED (C.8.16)."""
    types, *descriptions = zip(*survey.frame_types, strict=True)
    return dataset(
        make("ImageType", *(_merged(values) for values in zip(*types, strict=True))),
        *(
            make(keyword, _merged(values))
            for keyword, values in zip(DESCRIPTION, descriptions, strict=True)
            if all(values)
        ),
    )


def _merged(values: tuple[str, ...]) -> str:
    return values[0] if len(set(values)) == 1 else "MIXED"


def computed_elements(survey: Survey, identity: Identity, source_series: str) -> DataSet:
    """Return what a conversion says itself at the top level, identity and dimensions apart."""
    elements = [
        make("QueryRetrieveView", "ENHANCED"),
        *merged_type(survey).values(),
        make("ContentDate", survey.content_start[0] or NO_DATE),
        make("ContentTime", survey.content_start[1] or NO_TIME),
        contributing_equipment(survey, identity),
    ]
    shared = survey.shared()
    if FRAME_OF_REFERENCE not in shared:
        # Type 1, and lost in de-identified sources: a series of its own claims no relation to any other.
        elements.append(make("FrameOfReferenceUID", own_frame_of_reference(source_series)))
    if tag_of("PatientPosition") not in shared:
        elements.append(make("PatientPosition"))
    if "MONOCHROME2" in texts(dataset(*_standard(shared)) | survey.pixels, "PhotometricInterpretation"):
        elements.append(make("PresentationLUTShape", "IDENTITY"))
    if survey.modality == "PT" and tag_of("ContentQualification") not in shared:
        elements.append(make("ContentQualification", "PRODUCT"))
    if survey.lossy:
        elements.extend(survey.lossy.values())
    if survey.requests:
        elements.append(sequence("RequestAttributesSequence", *survey.requests))
    return dataset(*elements)


def own_frame_of_reference(source_series: str) -> str:
    """Return the Frame of Reference UID that stands in for one the sources of a series do not have."""
    return derived_uid("frame of reference", source_series)


def _standard(shared: dict[Key, Element]) -> list[Element]:
    return [element for key, element in shared.items() if isinstance(key, int)]


def contributing_equipment(survey: Survey, identity: Identity) -> Element:
    """Append to the sources' items where they agree, else start anew (G8)."""
    older: tuple[DataSet, ...] = ()
    if not survey.equipment_differs and CONTRIBUTING_EQUIPMENT in survey.values:
        older = items({CONTRIBUTING_EQUIPMENT: survey.values[CONTRIBUTING_EQUIPMENT]}, CONTRIBUTING_EQUIPMENT)
    return sequence("ContributingEquipmentSequence", *older, identity.equipment("enhanced"))


def top_level(survey: Survey, identity: Identity, source_series: str, demanded: DataSet) -> DataSet:
    """Return the top level of the object but for its identity, functional groups, dimensions and pixel data.

    Parameters
    ----------
    survey : Survey
        The frames of the object.
    identity : Identity
        Settings for Contributing Equipment.
    source_series : str
        Where the frames come from.
    demanded : DataSet
        What the true Enhanced class demands, none for a Legacy Converted one.
    """
    found = copied_elements(survey)
    if not survey.legacy:
        found.update(_optional_elements(survey))
    if tag_of("FrameAnatomySequence") in survey.groups:
        found.pop(tag_of("Laterality"), None)  # Frame Laterality says it (C.7.3.1)
    else:
        found.setdefault(tag_of("Laterality"), make("Laterality"))
    found.pop(REQUEST_ATTRIBUTES, None)
    found.update(computed_elements(survey, identity, source_series))
    found.update(demanded)
    found.update(survey.pixels)
    for tag in ("ComplexImageComponent", "AcquisitionContrast"):
        if is_empty(found.get(tag_of(tag))):
            found.pop(tag_of(tag), None)
    return found
