"""Data types of FHIR R5 made of plain DICOM values: codings, identifiers, references, points in time.

Each function returns None, or an empty list, where there is nothing to say: FHIR has no empty elements.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from gateway.retrieval.plain import Item, Values, first
from gateway.standard.imaging_study import CODE_SYSTEMS, DATA_ABSENT, DICOM_UID, ENTITY_URIS, IDENTIFIER_TYPES, URI

Json = dict[str, Any]

# What a local time is from UTC, where an object does not say.
Offset = Callable[[datetime], timedelta | None]

_LARGEST = 2**31 - 1
_DATE = re.compile(r"([0-9]{4})\.?([0-9]{2})\.?([0-9]{2})")
_TIME = re.compile(r"([0-9]{2}):?([0-9]{2})?:?([0-9]{2})?(\.[0-9]{1,6})?")
_ZONE = re.compile(r"([+-])([01][0-9])([0-5][0-9])")


def filled(**elements: Any) -> Json:
    """Return the elements that have a value."""
    return {name: value for name, value in elements.items() if value not in (None, "", [], {})}


def absent(reason: str = "unknown") -> Json:
    """Return what stands in place of a value that must be there and is not known."""
    return {"extension": [{"url": DATA_ABSENT, "valueCode": reason}]}


def unsigned(value: Any) -> int | None:
    """Return a number that FHIR's unsignedInt can hold."""
    try:
        number = int(value)
    except (TypeError, ValueError):
        return None
    return number if 0 <= number <= _LARGEST else None


def oid(uid: str) -> str:
    """Return a UID as a URI."""
    return f"urn:oid:{uid}"


def instant(days: str, clock: str, zone: str, offset: Offset | None = None) -> str | None:
    """Return a dateTime of date, time and Timezone Offset From UTC.

    FHIR has no time without its distance from UTC: where neither the object nor `offset` knows that, the date alone is
    said. Minutes and seconds that a time leaves out are zero, as FHIR has it.

    Parameters
    ----------
    days, clock, zone : str
        Values of VR DA and TM, and of (0008,0201).
    offset : callable, optional
        Distance from UTC where the object does not say.
    """
    found = _DATE.fullmatch(days)
    try:
        day = date(*map(int, found.groups())) if found else None
    except ValueError:
        day = None
    if day is None:
        return None
    time = _TIME.fullmatch(clock)
    if time is None:
        return day.isoformat()
    hour, minute, second = (int(part or 0) for part in time.groups()[:3])
    try:
        # A leap second is none that ISO 8601 times of FHIR's models can hold.
        moment = datetime(day.year, day.month, day.day, hour, minute, 59 if second == 60 else second)
    except ValueError:
        return day.isoformat()
    distance = _distance(moment, zone, offset)
    return f"{moment.isoformat()}{time[4] or ''}{distance}" if distance else day.isoformat()


def _distance(moment: datetime, zone: str, offset: Offset | None) -> str:
    """Return ``+HH:MM``, empty if it is not known."""
    said = _ZONE.fullmatch(zone)
    if said:
        return f"{said[1]}{said[2]}:{said[3]}"
    known = offset(moment) if offset else None
    if known is None:
        return ""
    minutes = round(known.total_seconds() / 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def coding(code: Item, schemes: Mapping[str, str] = {}) -> Json:
    """Return a Coding of an item of a code sequence (PS3.3 8.8).

    Parameters
    ----------
    code : Item
        The item.
    schemes : mapping
        UIDs of coding schemes by designator, as the object itself identifies them.
    """
    urn = first(code, "URNCodeValue")
    value = " ".join((first(code, "CodeValue") or first(code, "LongCodeValue") or urn).split())
    if not value:
        return filled(display=first(code, "CodeMeaning"))
    designator = first(code, "CodingSchemeDesignator")
    uid = first(code, "CodingSchemeUID") or schemes.get(designator, "")
    system = URI if value == urn else CODE_SYSTEMS.get(designator) or (oid(uid) if uid else None)
    version = first(code, "CodingSchemeVersion")
    return filled(system=system, version=version, code=value, display=first(code, "CodeMeaning"))


def concept(codes: Values, text: str = "", schemes: Mapping[str, str] = {}) -> Json:
    """Return a CodeableConcept of the items of a code sequence and a text."""
    return filled(coding=[made for made in (coding(code, schemes) for code in codes) if made], text=text)


def single(system: str, code: str, display: str = "") -> Json:
    """Return a CodeableConcept of one code."""
    return {"coding": [filled(system=system, code=code, display=display)]}


def identifier(value: str, kind: str = "", issuers: Sequence[Item] = (), namespace: str = "") -> Json:
    """Return an Identifier with who issued it.

    Parameters
    ----------
    value : str
        The identifier.
    kind : str
        Its code in HL7 table 0203.
    issuers : sequence of Item
        Items with the HL7v2 Hierarchic Designator macro (PS3.3 10.14).
    namespace : str
        Local name of the issuer.
    """
    if not value:
        return {}
    issuer = issuers[0] if issuers else {}
    prefix = ENTITY_URIS.get(first(issuer, "UniversalEntityIDType"))
    entity = first(issuer, "UniversalEntityID")
    system = prefix + entity if entity and prefix is not None else ""
    name = namespace or first(issuer, "LocalNamespaceEntityID") or ("" if system else entity)
    return filled(
        type=single(IDENTIFIER_TYPES, kind) if kind else None,
        system=system,
        value=value,
        assigner=filled(display=name),
    )


def uid_identifier(uid: str) -> Json:
    """Return a UID as an Identifier."""
    return {"system": DICOM_UID, "value": oid(uid)}


def reference(kind: str, named: Json | None = None, display: str = "") -> Json:
    """Return a Reference to a resource that is known by identifier and name only, empty without either."""
    found = filled(identifier=named, display=display)
    return {"type": kind, **found} if found else {}


def practitioner(name: str, person: Item, schemes: Mapping[str, str] = {}) -> Json:
    """Return a Reference to a person by name and by an item of a person identification sequence (PS3.3 10.1)."""
    code = coding(next(iter(person.get("PersonIdentificationCodeSequence", ())), {}), schemes)
    named = filled(
        system=code.get("system"),
        value=code.get("code"),
        assigner=filled(display=first(person, "InstitutionName")),
    )
    return reference("Practitioner", named if "value" in named else None, written(name) or code.get("display", ""))


def written(name: str) -> str:
    """Return a Person Name as people write it: the alphabetic group, in parentheses what it is in characters.

    ``Yamada^Tarou=山田^太郎`` is ``Tarou Yamada (山田 太郎)``: PS3.5 6.2.1 has the family name first.
    """
    groups = [[part.strip() for part in group.split("^")] + [""] * 5 for group in name.split("=")[:2]]
    family, given, middle, prefix, suffix = groups[0][:5]
    alphabetic = " ".join(filter(None, (prefix, given, middle, family, suffix)))
    characters = " ".join(filter(None, groups[1])) if len(groups) > 1 else ""
    return f"{alphabetic} ({characters})" if alphabetic and characters else alphabetic or characters


def distinct(found: list[Json]) -> list[Json]:
    """Return values that say something, each once, in order."""
    kept: list[Json] = []
    for one in found:
        if one and one not in kept:
            kept.append(one)
    return kept
