"""Attributes as plain values, text as Unicode and items as dictionaries, for what speaks no DICOM."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from gateway.archive.attributes import BINARY_NUMBERS, NO_VALUES, characters_of, known, text_values
from gateway.objects.elements import DataSet, Element, numbers, tag_of

_CHARACTER_SET = tag_of("SpecificCharacterSet")

Values = list[Any]
Item = dict[str, Values]

# Everything of the code, entity, person and request macros that the mapping to FHIR looks at (PS3.3 8.8, 10.1, 10.14,
# 10.17, 10.18), the last two of them for references by code.
NESTED = (
    "CodeValue", "LongCodeValue", "URNCodeValue", "CodingSchemeDesignator", "CodingSchemeUID", "CodingSchemeVersion",
    "CodeMeaning", "UniversalEntityID", "UniversalEntityIDType", "LocalNamespaceEntityID",
    "PersonIdentificationCodeSequence", "InstitutionName", "AnatomicRegionSequence", "FrameLaterality",
    "SpecimenIdentifier", "SpecimenUID", "IssuerOfTheSpecimenIdentifierSequence",
    "AssigningFacilitySequence", "AssigningJurisdictionCodeSequence", "AssigningAgencyOrDepartmentCodeSequence",
    "ReasonForRequestedProcedureCodeSequence", "ReasonForTheRequestedProcedure", "AccessionNumber",
)  # fmt: skip


def values(ds: DataSet, keyword: str, character_set: Element | None = None) -> Values:
    """Return the values of an attribute: texts, or a dictionary for each item that is not empty; none if all are.

    Parameters
    ----------
    ds : DataSet
        A data set or item.
    keyword : str
        Keyword of the attribute.
    character_set : Element, optional
        Specific Character Set of what the item is in, which holds unless the item has its own (PS3.3 C.12.1.1.2).
    """
    element = known(ds, tag_of(keyword))
    if element is None or element.vr in NO_VALUES:
        return []
    character_set = ds.get(_CHARACTER_SET, character_set)
    if isinstance(element.value, tuple):
        return [made for made in (item(one, NESTED, character_set) for one in element.value) if made]
    if element.vr in BINARY_NUMBERS:
        return [str(number) for number in numbers({element.tag: element}, element.tag)]
    around = {} if character_set is None else {_CHARACTER_SET: character_set}
    found = [printable(part) for part in text_values(element, characters_of(around))]
    return found if any(found) else []


def item(ds: DataSet, keywords: Collection[str], character_set: Element | None = None) -> Item:
    """Return some attributes of a data set or item as plain values, those without a value left out."""
    found = ((keyword, values(ds, keyword, character_set)) for keyword in keywords if tag_of(keyword) in ds)
    return {keyword: value for keyword, value in found if value}


def printable(text: str) -> str:
    """Return `text` without the control characters that no text in FHIR or JSON may hold."""
    return "".join(one for one in text if one >= " " or one in "\t\r\n").strip()


def first(item: Item, keyword: str) -> Any:
    """Return the first value, ``""`` when there is none."""
    found = item.get(keyword)
    return found[0] if found else ""
