"""Attributes of an object as JSON: what the index holds of an entity besides its columns.

A document maps the tag of each attribute that has a value, as ``"00081032"``, to the list of its values: text as
Unicode, numbers, the items of a sequence as documents. Where values are not compared as they are written, ``"m..."``
holds the forms of `gateway.archive.forms` beside it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from pydicom.datadict import dictionary_keyword

from gateway.archive import forms
from gateway.objects.characters import SINGLE_VALUED, CharacterSets, character_sets
from gateway.objects.elements import DataSet, Element, numbers, settle_vr, standard_vr, stripped, tag_of, text, texts
from gateway.standard.query_keys import UNLISTED

Document = dict[str, list[Any]]

NUMERIC_TEXT = frozenset(("DS", "IS"))
BINARY_NUMBERS = frozenset(("US", "SS", "UL", "SL", "FL", "FD", "SV", "UV"))
NAMED_CHARACTER_SET = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))  # others have the default repertoire
NO_VALUES = frozenset(("OB", "OW", "OF", "OD", "OL", "OV", "UN", "AT"))

# What the text of an object is in that names no character set, and text that no character set is for.
DEFAULT_REPERTOIRE = CharacterSets()

# VRs whose values have a form of their own for comparison.
FORMED = frozenset(("DA", "TM", "DT", "PN")) | NUMERIC_TEXT

_DEEPEST = 6
_UNLISTED_TAGS = dict(UNLISTED.values())


@lru_cache(maxsize=1024)
def tag_named(keyword: str) -> int:
    """Return the tag of a keyword of the tables of keys."""
    return UNLISTED[keyword][0] if keyword in UNLISTED else tag_of(keyword)


@lru_cache(maxsize=4096)
def vr_of(tag: int) -> str:
    """Return the one VR that a standard attribute has in an Identifier."""
    return _UNLISTED_TAGS.get(tag) or settle_vr(standard_vr(tag), signed=False)


@lru_cache(maxsize=4096)
def keyword_of(tag: int) -> str:
    """Return the keyword of a standard attribute, '' if it has none."""
    for keyword, (known, _) in UNLISTED.items():
        if known == tag:
            return keyword
    try:
        return dictionary_keyword(tag)
    except KeyError:
        return ""


def member(tag: int) -> str:
    """Return the name of an attribute in a document."""
    return f"{tag:08X}"


def characters_of(ds: DataSet, inherited: CharacterSets = DEFAULT_REPERTOIRE) -> CharacterSets:
    """Return the Specific Character Set of a data set or item (PS3.5 6.1, 7.5.3)."""
    said = texts(ds, "SpecificCharacterSet")
    return character_sets(said) if said else inherited


def text_values(element: Element, characters: CharacterSets = DEFAULT_REPERTOIRE) -> tuple[str, ...]:
    """Return the values of a text element as Unicode, without padding; none if it is empty."""
    value = stripped(element.value) if isinstance(element.value, bytes) else b""
    if not value:
        return ()
    used = characters if element.vr in NAMED_CHARACTER_SET else DEFAULT_REPERTOIRE
    padding = str.rstrip if element.vr in SINGLE_VALUED else str.strip
    values = tuple(padding(part, " \0") for part in used.texts(value, element.vr))
    return values if any(values) else ()


def document(ds: DataSet, attributes: Iterable[str | int]) -> Document:
    """Return the attributes of a data set that have a value.

    Parameters
    ----------
    ds : DataSet
        The object.
    attributes : iterable of str or int
        Keywords or tags.
    """
    tags = [tag_named(one) if isinstance(one, str) else one for one in attributes]
    local = forms.zone(text(ds, "TimezoneOffsetFromUTC")) or 0
    return _document(ds, tags, characters_of(ds), local, 0)


def as_json(made: Document) -> str | None:
    """Return a document as the index holds it, None if nothing is in it."""
    return json.dumps(made, ensure_ascii=False, separators=(",", ":"), sort_keys=True) if made else None


def _document(ds: DataSet, tags: Iterable[int], characters: CharacterSets, local: int, depth: int) -> Document:
    made: Document = {}
    for tag in tags:
        element = ds.get(tag)
        if element is None or tag >> 16 & 1 or tag & 0xFFFF == 0:
            continue
        if isinstance(element.value, tuple):
            if element.value and depth < _DEEPEST:
                made[member(tag)] = [
                    _document(item, sorted(item), characters_of(item, characters), local, depth + 1)
                    for item in element.value
                ]
        elif element.vr in BINARY_NUMBERS:
            if found := [value for value in numbers(ds, tag) if math.isfinite(value)]:
                made[member(tag)] = found
        elif element.vr not in NO_VALUES and (values := list(text_values(element, characters))):
            made[member(tag)] = values
            if element.vr in FORMED:
                made[f"m{member(tag)}"] = [form for form in (formed(element.vr, one, local) for one in values) if form]
    return made


def formed(vr: str, value: str, local: int = 0) -> list[Any] | None:
    """Return the form a value is compared in, None if it is no value of its VR.

    A list, because a form may be zero: of one number, or of the four forms of a name.
    """
    if vr == "PN":
        return list(forms.name(value))
    if vr in NUMERIC_TEXT:
        try:
            number = float(value)
        except ValueError:
            return None
        return [number] if math.isfinite(number) else None
    span = forms.day(value) if vr == "DA" else forms.clock(value) if vr == "TM" else forms.moment(value, local)
    return [span.first] if span else None
