"""Identifiers of queries: what a request asks, and a match as a data set (PS3.4 C.4.1.1.3, C.2.2.2; PS3.5 6.1).

A request is read element by element by its own encoding and character set; a response has the character set of the
request if that can write all of it, else UTF-8. What only the default repertoire is needed for names none.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Any, NamedTuple

from pydicom.uid import UID
from pynetdicom import dsutils

from gateway.archive import forms
from gateway.archive.attributes import (
    BINARY_NUMBERS,
    NAMED_CHARACTER_SET,
    known,
    tag_named,
    text_values,
    vr_of,
)
from gateway.archive.matches import Values
from gateway.archive.matching import Asked, KeyValueError, Options
from gateway.errors import ObjectError
from gateway.objects.characters import UNKNOWN, CharacterSets, character_sets
from gateway.objects.elements import DataSet, Element, make, numbers, padded, standard_vr, texts
from gateway.objects.encode import encode
from gateway.objects.known import packed
from gateway.objects.parse import Syntax, parse_dataset
from gateway.standard.query_keys import (
    FIND_MODELS,
    MOST_RECORDS,
    NO_KEYS,
    PRIOR_RECORD_KEY,
    RECORD_KEY,
    REPOSITORY_QUERY,
    UNIQUE_KEYS,
)

QUERY_RETRIEVE_LEVEL = tag_named("QueryRetrieveLevel")
QUERY_RETRIEVE_VIEW = tag_named("QueryRetrieveView")
TIMEZONE = tag_named("TimezoneOffsetFromUTC")
CHARACTER_SET = tag_named("SpecificCharacterSet")

UTF_8 = character_sets(("ISO_IR 192",))

# What an Identifier inflates to at most.
LONGEST = 1 << 24
DEEPEST = 5

_NO_KEYS = frozenset(tag_named(keyword) for keyword in NO_KEYS)
_REPOSITORY = frozenset(tag_named(keyword) for keyword in (RECORD_KEY, PRIOR_RECORD_KEY, MOST_RECORDS))


@dataclass(frozen=True)
class Request:
    """What an Identifier asks.

    Attributes
    ----------
    level : str
        Query/Retrieve Level.
    view : str
        Query/Retrieve View, empty without one.
    keys : tuple of Asked
        The keys.
    options : Options
        How they match.
    relational : bool
        Whether relational queries were negotiated.
    characters : CharacterSets
        Of the request.
    record_keys : bool
        Whether a record key is wanted (C.6.4.5.1).
    prior : bytes or None
        The record key to go on from.
    most : int or None
        Largest number of records.
    """

    level: str
    view: str
    keys: tuple[Asked, ...]
    options: Options
    relational: bool
    characters: CharacterSets
    record_keys: bool = False
    prior: bytes | None = None
    most: int | None = None

    def key(self, keyword: str) -> Asked | None:
        """Return a key by its keyword."""
        tag = tag_named(keyword)
        return next((key for key in self.keys if key.tag == tag), None)


def parse(data: bytes, transfer_syntax: str) -> DataSet:
    """Read the bytes of an Identifier.

    Raises
    ------
    ObjectError
        If they are no data set.
    """
    syntax = _syntax(transfer_syntax)
    if syntax.deflated:
        engine = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = engine.decompress(data, LONGEST)
        except zlib.error as error:
            raise ObjectError("Identifier", "cannot be inflated", found=str(error)) from None
    encoding = Syntax(implicit=syntax.implicit, big_endian=syntax.big_endian)
    return parse_dataset(data, 0, len(data), encoding)[0]


class _Encoding(NamedTuple):
    """What a transfer syntax says of the bytes of an Identifier."""

    implicit: bool
    big_endian: bool
    deflated: bool


@lru_cache(maxsize=16)
def _syntax(transfer_syntax: str) -> _Encoding:
    syntax = UID(transfer_syntax)
    return _Encoding(syntax.is_implicit_VR, not syntax.is_little_endian, syntax.is_deflated)


def request(ds: DataSet, model: str, negotiated: frozenset[str], *, empty_matches: bool = False) -> Request:
    """Return what an Identifier asks.

    Parameters
    ----------
    ds : DataSet
        The Identifier.
    model : str
        Abstract syntax of the request, a key of `FIND_MODELS`.
    negotiated : frozenset of str
        What was agreed on for it (`gateway.network.negotiation.FIND_OPTIONS`).
    empty_matches : bool
        Whether what has no value matches every value.

    Raises
    ------
    KeyValueError
        If it is none of the model.
    """
    levels = FIND_MODELS[model]
    level = "".join(texts(ds, QUERY_RETRIEVE_LEVEL)).upper()
    if level not in levels:
        raise KeyValueError(QUERY_RETRIEVE_LEVEL, "is none of this model", found=level, expected=", ".join(levels))
    characters = character_sets(texts(ds, CHARACTER_SET))
    repository = _REPOSITORY if model == REPOSITORY_QUERY else frozenset()
    keys = tuple(
        _asked(element, characters)
        for tag, element in sorted(ds.items())
        if tag not in _NO_KEYS and tag not in repository and not tag >> 16 & 1
    )
    made = Request(
        level,
        _view(ds, negotiated),
        keys,
        Options(
            combined="datetime" in negotiated,
            fuzzy="fuzzy" in negotiated,
            zone=_zone(ds) if "timezone" in negotiated else None,
            empty="empty" in negotiated,
            multiple="multiple" in negotiated,
            empty_matches=empty_matches,
        ),
        "relational" in negotiated,
        characters,
        **(_records(ds) if repository else {}),
    )
    if not made.relational:
        _check_hierarchy(made, levels)
    return made


def _view(ds: DataSet, negotiated: frozenset[str]) -> str:
    """Return the view that is named; never silently another (C.4.1.1.3.1)."""
    if QUERY_RETRIEVE_VIEW not in ds:
        return ""
    found = "\\".join(texts(ds, QUERY_RETRIEVE_VIEW))
    if "view" not in negotiated:
        raise KeyValueError(QUERY_RETRIEVE_VIEW, "was not negotiated", remedy="call the AE title of the view")
    if found not in ("CLASSIC", "ENHANCED"):
        raise KeyValueError(QUERY_RETRIEVE_VIEW, "is unknown", found=found[:64], expected="CLASSIC or ENHANCED")
    return found


def _zone(ds: DataSet) -> int | None:
    if TIMEZONE not in ds:
        return None
    found = "\\".join(texts(ds, TIMEZONE))
    minutes = forms.zone(found)
    if minutes is None:
        raise KeyValueError(TIMEZONE, "is no offset", found=found[:64], expected="for example +0100")
    return minutes


def _records(ds: DataSet) -> dict[str, Any]:
    """Return what a Repository Query says of the records it wants (table C.6.4.2-1)."""
    found: dict[str, Any] = {"record_keys": tag_named(RECORD_KEY) in ds}
    prior = ds.get(tag_named(PRIOR_RECORD_KEY))
    if prior is not None and isinstance(prior.value, bytes) and prior.value:
        found["prior"] = prior.value
    if most := [int(value) for value in numbers(ds, tag_named(MOST_RECORDS))]:
        found["most"] = most[0]
    return found


def _check_hierarchy(made: Request, levels: Sequence[str]) -> None:
    """Demand one value of the unique key of every level above (C.4.1.2.1)."""
    for level in levels[: levels.index(made.level)]:
        key = made.key(UNIQUE_KEYS[level])
        tag = tag_named(UNIQUE_KEYS[level])
        if key is None or not key.values:
            raise KeyValueError(tag, "is missing", remedy="supply the unique keys of the levels above")
        if len(key.values) > 1:
            raise KeyValueError(tag, "has several values", found=len(key.values), expected="one")
        if "*" in key.values[0] or "?" in key.values[0]:
            raise KeyValueError(tag, "has wild cards", found=key.values[0][:64], expected="one value")


def _asked(element: Element, characters: CharacterSets, depth: int = 0) -> Asked:
    """Return a key; its VR is that of the data dictionary, whatever the request says."""
    vr = vr_of(element.tag)
    element = known({element.tag: element}, element.tag) or element
    if isinstance(element.value, tuple):
        if len(element.value) > 1:
            raise KeyValueError(element.tag, "has several items", found=len(element.value), expected="one")
        if depth > DEEPEST:
            raise KeyValueError(element.tag, "is nested too deeply", expected=f"at most {DEEPEST} sequences")
        items = element.value[0].items() if element.value else ()
        return Asked(
            element.tag,
            vr,
            items=tuple(_asked(one, characters, depth + 1) for tag, one in sorted(items) if not tag >> 16 & 1),
        )
    if not isinstance(element.value, bytes):
        raise KeyValueError(element.tag, "is too long")
    if vr == "SQ":
        return Asked(element.tag, vr)
    if element.vr in BINARY_NUMBERS:
        return Asked(element.tag, vr, tuple(str(value) for value in numbers({element.tag: element}, element.tag)))
    return Asked(element.tag, vr, _texts(element, vr, characters))


def _texts(element: Element, vr: str, characters: CharacterSets) -> tuple[str, ...]:
    value = element.value
    if not characters.known and isinstance(value, bytes):
        # Of a set nobody knows, what is not of the default repertoire matches anything (C.2.2.2 note 1).
        value = re.sub(rb"[^\x20-\x7e\\]+", b"*", value.rstrip(b"\0"))
    return text_values(Element(element.tag, vr, value), characters)


def encoded(values: Values, said: Mapping[str, str], characters: CharacterSets, transfer_syntax: str) -> bytes:
    """Encode a match, in the character set of the request if that can write it.

    Parameters
    ----------
    values : Values
        Of the keys.
    said : mapping of str to str
        What is said of every match, by keyword.
    characters : CharacterSets
        Of the request.
    transfer_syntax : str
        Of the presentation context.
    """
    whole: dict[int, Sequence[Any]] = {**values, **{tag_named(keyword): (text,) for keyword, text in said.items()}}
    return transferred(in_character_set(whole, characters), transfer_syntax)


def in_character_set(values: Values, characters: CharacterSets) -> DataSet:
    """Return values as a data set in the default repertoire, else the given character set, else in UTF-8."""
    for used in (character_sets(()), characters):
        try:
            ds = _elements(values, used)
        except UnicodeEncodeError:
            continue
        break
    else:
        used, ds = UTF_8, _elements(values, UTF_8)
    if used.terms:
        ds[CHARACTER_SET] = make("SpecificCharacterSet", *used.terms)
    return ds


def transferred(ds: DataSet, transfer_syntax: str) -> bytes:
    """Encode a data set in one of the transfer syntaxes of identifiers."""
    syntax = _syntax(transfer_syntax)
    if syntax.big_endian:
        decoded = dsutils.decode(BytesIO(encode(ds)), False, True)
        return dsutils.encode(decoded, False, False) or b""
    data = encode(ds, implicit=syntax.implicit)
    if not syntax.deflated:
        return data
    engine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    data = engine.compress(data) + engine.flush()
    return data + b"\0" * (len(data) % 2)


def _elements(values: Values, characters: CharacterSets) -> DataSet:
    return {tag: _element(tag, held, characters) for tag, held in values.items()}


def _element(tag: int, held: Sequence[Any], characters: CharacterSets) -> Element:
    vr = vr_of(tag)
    if vr == "SQ":
        return Element(tag, vr, tuple(_elements(item, characters) for item in held))
    if vr in BINARY_NUMBERS:
        found = [one for one in held if isinstance(one, (int, float))]
        if vr == "US" and any(one < 0 for one in found) and " or " in standard_vr(tag):
            vr = "SS"
        # What an index of an older version holds may be no number of that VR: then there is no value to be told.
        return Element(tag, vr, packed(found, vr) or b"")
    if vr == "OB":
        return Element(tag, vr, b"".join(held))
    texts = [str(one).replace("\x1b", UNKNOWN) for one in held]
    if vr in NAMED_CHARACTER_SET:
        return Element(tag, vr, padded(characters.encoded(texts, vr), vr))
    return Element(tag, vr, padded("\\".join(texts).encode("ascii", "replace"), vr))
