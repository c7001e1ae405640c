"""Attributes of an object as JSON: what the index holds of an entity besides its columns.

A document maps the tag of each attribute that has a value, as ``"00081032"``, to the list of its values: text as
Unicode, numbers, the items of a sequence as documents. Where values are not compared as they are written, ``"m..."``
holds the forms of `gateway.archive.forms` beside it.

Whatever stands in an object, nothing here raises: what has been acknowledged is indexed with what can be read of it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

from pydicom.datadict import dictionary_keyword

from gateway.archive import forms
from gateway.objects.characters import SINGLE_VALUED, UNKNOWN, CharacterSets, character_sets
from gateway.objects.elements import (
    DataSet,
    Element,
    numbers,
    raw,
    settle_vr,
    standard_vr,
    stripped,
    tag_of,
    tag_text,
    texts,
)
from gateway.objects.known import by_dictionary
from gateway.objects.parse import SIGNED
from gateway.observe import warning
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

# Of the bytes of a text the index holds so many: the longest VR that has a limit and is a key takes 10,240 characters.
LONGEST_TEXT = 1 << 16

# What no text may hold (PS3.5 6.1.3), in one line or in several; halves of characters that UTF-8 cannot write.
_BLANKS = re.compile("[\t\n\v\f\r]")
_UNPRINTABLE = re.compile("[\0-\x08\v\x0e-\x1f\x7f\ud800-\udfff]")

_UNLISTED_TAGS = dict(UNLISTED.values())


@lru_cache(maxsize=1024)
def tag_named(keyword: str) -> int:
    """Return the tag of a keyword of the tables of keys."""
    return UNLISTED[keyword][0] if keyword in UNLISTED else tag_of(keyword)


@lru_cache(maxsize=4096)
def vr_of(tag: int) -> str:
    """Return the one VR that a standard attribute has in an Identifier."""
    return _UNLISTED_TAGS.get(tag) or settle_vr(standard_vr(tag), signed=False)


def known(ds: DataSet, tag: int, signed: bool = False) -> Element | None:
    """Return a standard element of a data set as the dictionary has it, None if there is none that can be read.

    Parameters
    ----------
    ds : DataSet
        A data set or item.
    tag : int
        The attribute.
    signed : bool
        Whether the pixels are, by which implicit encoding settles the VR of some attributes.
    """
    element = ds.get(tag)
    if element is None:
        return None
    vr = _UNLISTED_TAGS.get(tag) or standard_vr(tag)
    if " or " in vr:
        vr = element.vr if element.vr in vr.split(" or ") else settle_vr(vr, signed)
    return by_dictionary(element, vr)


def items_of(ds: DataSet, keyword: str) -> tuple[DataSet, ...]:
    """Return the items of a sequence as the dictionary has it, none when it is absent or none."""
    element = known(ds, tag_named(keyword))
    return element.value if element is not None and isinstance(element.value, tuple) else ()


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


def zone_of(ds: DataSet) -> int | None:
    """Return the minutes from UTC of local times in an object, None if it does not say."""
    element = known(ds, tag_named("TimezoneOffsetFromUTC"))
    return None if element is None else forms.zone("\\".join(text_values(element)))


def text_values(element: Element, characters: CharacterSets = DEFAULT_REPERTOIRE) -> tuple[str, ...]:
    """Return the values of a text element as Unicode, without padding; none if it is empty."""
    value = stripped(element.value[:LONGEST_TEXT]) if isinstance(element.value, bytes) else b""
    if not value:
        return ()
    used = characters if element.vr in NAMED_CHARACTER_SET else DEFAULT_REPERTOIRE
    padding = str.rstrip if element.vr in SINGLE_VALUED else str.strip
    parts = (padding(part, " \0") for part in used.texts(value, element.vr))
    # What ended a line is a space now, and at the end of a value padding.
    values = tuple(padding(printable(part, element.vr in SINGLE_VALUED), " ") for part in parts)
    return values if any(values) else ()


def printable(found: str, lines: bool = False) -> str:
    """Return text with U+FFFD for what no text may hold, so that whoever shows or sends it on can.

    Parameters
    ----------
    found : str
        The text.
    lines : bool
        Whether it may have several lines; else what ends them is a space.
    """
    if found.isprintable():
        return found
    return _UNPRINTABLE.sub(UNKNOWN, found if lines else _BLANKS.sub(" ", found))


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
    inherited = _Context(
        characters_of(ds),
        zone_of(ds) or 0,
        raw(ds, "PixelRepresentation") == SIGNED,
    )
    return _document(ds, tags, inherited)


def as_json(made: Document) -> str | None:
    """Return a document as the index holds it, None if nothing is in it."""
    return json.dumps(made, ensure_ascii=False, separators=(",", ":"), sort_keys=True) if made else None


class _Context(NamedTuple):
    """What an item has from the data set around it."""

    characters: CharacterSets
    local: int
    signed: bool
    depth: int = 0

    def inside(self, item: DataSet) -> _Context:
        return self._replace(characters=characters_of(item, self.characters), depth=self.depth + 1)


def _document(ds: DataSet, tags: Iterable[int], context: _Context) -> Document:
    made: Document = {}
    for tag in tags:
        if tag not in ds or tag >> 16 & 1 or tag & 0xFFFF == 0:
            continue
        try:
            _add(made, ds, tag, context)
        except Exception as error:  # a fault of ours in reading one attribute must not keep the object out
            warning("index.unreadable", attribute=tag_text(tag), reason=f"{type(error).__name__}: {error}")
    return made


def _add(made: Document, ds: DataSet, tag: int, context: _Context) -> None:
    """Add an attribute to a document if it has a value."""
    element = known(ds, tag, context.signed)
    if element is None or element.vr in NO_VALUES:
        return
    values: list[Any]
    if isinstance(element.value, tuple):
        deeper = element.value if context.depth < _DEEPEST else ()
        values = [_document(item, sorted(item), context.inside(item)) for item in deeper]
    elif element.vr in BINARY_NUMBERS:
        values = [value for value in numbers({tag: element}, tag) if math.isfinite(value)]
    else:
        values = list(text_values(element, context.characters))
        if values and element.vr in FORMED:
            forms_ = (formed(element.vr, one, context.local) for one in values)
            made[f"m{member(tag)}"] = [form for form in forms_ if form]
    if values:
        made[member(tag)] = values


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
