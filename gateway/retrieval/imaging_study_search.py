"""Search for studies as FHIR R5 has it: parameters of a URL in, a Bundle of ImagingStudy resources out.

What can be looked up becomes keys of a query (`gateway.archive.query`), so that values are parameters of its statement
and never text; what FHIR compares in another way than DICOM is checked for each match. A page is bounded; the next one
begins behind the last study of this one, so that nothing is counted or skipped again.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

from gateway.archive.attributes import keyword_of, tag_named, vr_of
from gateway.archive.matches import Values, index_identity, matches
from gateway.archive.matching import Asked, Options
from gateway.archive.query import Query
from gateway.archive.views import View
from gateway.errors import ArchiveError, GatewayError
from gateway.objects.uids import valid_uid
from gateway.retrieval import fhir
from gateway.retrieval.fhir import Json, Offset, filled
from gateway.retrieval.imaging_study import imaging_study
from gateway.retrieval.started import Bounds, Comparison, comparison, span_of
from gateway.standard.imaging_study import CODE_SYSTEMS, DICOM_UID, IDENTIFIER_TYPES
from gateway.standard.query_keys import STUDY

if TYPE_CHECKING:
    from gateway.archive.index import Archive

# Resources are made of the headers of every instance: a page must not take for ever.
USUAL_COUNT, MOST_COUNT = 10, 100

MOST_PARAMETERS = 50
MOST_VALUES = 100

COUNT, CURSOR = "_count", "_cursor"

_ISSUERS = {
    "PatientID": "IssuerOfPatientIDQualifiersSequence",
    "AccessionNumber": "IssuerOfAccessionNumberSequence",
}

# What every match says, for the checks.
_RETURNED = ("StudyInstanceUID", "StudyDate", "StudyTime", "TimezoneOffsetFromUTC", *_ISSUERS, *_ISSUERS.values())

_OID = "urn:oid:"


class SearchError(GatewayError):
    """A search that is none: an unknown parameter, or a value it cannot have.

    Parameters
    ----------
    parameter : str
        Its name.
    problem : str
        What is wrong with it.
    code : str
        Issue Type of FHIR.
    """

    def __init__(self, parameter: str, problem: str, *, code: str = "invalid", **details: Any) -> None:
        self.parameter = parameter
        self.code = code
        super().__init__(parameter, problem, **details)


def outcome(error: SearchError) -> Json:
    """Return an OperationOutcome resource that says what is wrong with a search."""
    issue = filled(
        severity="error", code=error.code, diagnostics=str(error), expression=[f"http.{error.parameter or 'query'}"]
    )
    return {"resourceType": "OperationOutcome", "issue": [issue]}


class Token(NamedTuple):
    """A value of a token parameter; `system` is None when any will do, empty when there must be none."""

    system: str | None
    value: str


@dataclass
class _Search:
    """A search on its way to become a query.

    Attributes
    ----------
    offset : callable or None
        Distance from UTC of a local time.
    keys : list of Asked
        What matches have to fulfil in the index.
    checks : list of callable
        What they have to fulfil besides.
    bounds : Bounds
        Between which moments studies may have started.
    hopeless : bool
        Whether nothing can match.
    """

    offset: Offset | None
    keys: list[Asked] = field(default_factory=list)
    checks: list[Callable[[Values], bool]] = field(default_factory=list)
    bounds: Bounds = field(default_factory=Bounds)
    hopeless: bool = False

    def one_of(self, keyword: str, values: Sequence[str]) -> None:
        """Demand that an attribute has one of some values."""
        self.hopeless = self.hopeless or not values
        self.keys.append(_key(keyword, *values))

    def query(self, view: View, after: int | None) -> Query:
        """Return the query."""
        days = self.bounds.days()
        keys = [*self.keys, *([_key("StudyDate", days)] if days else []), *(_key(keyword) for keyword in _RETURNED)]
        return Query(STUDY, view, tuple(keys), Options(exact=True), after=after, ordered=True)


def _key(keyword: str, *values: str) -> Asked:
    tag = tag_named(keyword)
    return Asked(tag, vr_of(tag), values)


def search(
    archive: Archive,
    query: str,
    view: View = View.RECEIVED,
    *,
    base: str = "",
    ae_title: str = "",
    offset: Offset | None = None,
) -> Json:
    """Return the page of studies that a search asks for.

    Parameters
    ----------
    archive : Archive
        May be open for reading only.
    query : str
        Parameters as a URL has them behind the question mark.
    view : View
        One view: its studies are found, and they are described as it has them.
    base : str
        URL that ``ImagingStudy`` stands below; without it links are relative and entries have no URL.
    ae_title : str
        AE title of the box that possesses the view.
    offset : callable, optional
        Distance from UTC of a local time, for studies and parameters that do not say theirs; UTC without it.

    Returns
    -------
    dict
        A Bundle of type searchset. How many there are in all is said when that alone is asked for (``_count=0``).

    Raises
    ------
    SearchError
        Which names the parameter that is unknown or cannot be understood.
    """
    given = _parameters(query)
    made, count, after = _Search(offset), USUAL_COUNT, None
    for name, text in given:
        if name == COUNT:
            count = _count(text)
        elif name == CURSOR:
            after = _position(archive, text)
        else:
            _handler(name)(made, name, _values(name, text))
    if not count:
        bundle = _bundle(base, given, None)
        return bundle | {"total": sum(1 for _ in _found(archive, made.query(view, after), made))}
    studies, last = _page(archive, made.query(view, after), made, count)
    entries = []
    for uid in studies:
        with contextlib.suppress(ArchiveError):  # gone between the two looks
            resource = imaging_study(archive, uid, view, ae_title=ae_title, offset=offset)
            entries.append(filled(fullUrl=_url(base, f"/{uid}") if base else None, resource=resource, search=_MATCH))
    return filled(**_bundle(base, given, None if last is None else _cursor(archive, last)), entry=entries)


_MATCH = {"mode": "match"}


def _found(archive: Archive, query: Query, made: _Search) -> Any:
    """Yield id and Study Instance UID of what matches."""
    if made.hopeless:
        return
    found = matches(archive, query)
    with contextlib.closing(found):
        for match in found:
            if all(check(match.values) for check in made.checks):
                yield match.id, str(_first(match.values, "StudyInstanceUID"))


def _page(archive: Archive, query: Query, made: _Search, count: int) -> tuple[list[str], int | None]:
    """Return the studies of a page, and the id of the last of them if there are more."""
    studies: list[str] = []
    last = None
    found = _found(archive, query, made)
    with contextlib.closing(found):
        for number, uid in found:
            if len(studies) == count:
                return studies, last
            studies.append(uid)
            last = number
    return studies, None


# The URL


def _parameters(query: str) -> list[tuple[str, str]]:
    try:
        given = parse_qsl(
            query.removeprefix("?"), keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS
        )
    except ValueError as error:
        raise SearchError(
            "", "cannot be read", found=str(error), expected=f"at most {MOST_PARAMETERS} fields"
        ) from None
    names = [name for name, _ in given]
    for name in (COUNT, CURSOR):
        if names.count(name) > 1:
            raise SearchError(name, "is given more than once")
    return given


def _bundle(base: str, given: Sequence[tuple[str, str]], cursor: str | None) -> Json:
    """Return a Bundle with its links."""
    links = [{"relation": "self", "url": _url(base, _question(given))}]
    if cursor is not None:
        further = [*((name, text) for name, text in given if name != CURSOR), (CURSOR, cursor)]
        links.append({"relation": "next", "url": _url(base, _question(further))})
    return {"resourceType": "Bundle", "type": "searchset", "link": links}


def _url(base: str, rest: str) -> str:
    return f"{base.rstrip('/')}/ImagingStudy{rest}" if base else f"ImagingStudy{rest}"


def _question(given: Sequence[tuple[str, str]]) -> str:
    return f"?{urlencode(given)}" if given else ""


def _count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text):
        raise SearchError(COUNT, "is no number", found=text[:64], expected=f"0 to {MOST_COUNT}")
    return min(int(text), MOST_COUNT)


def _cursor(archive: Archive, last: int) -> str:
    return f"{index_identity(archive).hex()}-{last}"


def _position(archive: Archive, text: str) -> int:
    """Return behind which study a page begins."""
    identity, _, number = text.partition("-")
    if not re.fullmatch("[0-9]{1,18}", number):
        raise SearchError(CURSOR, "is none", found=text[:64], expected="one of a link to the next page")
    if identity != index_identity(archive).hex():
        raise SearchError(CURSOR, "is of an index that has been rebuilt", remedy="begin with the first page")
    return int(number)


def _values(name: str, text: str) -> list[str]:
    """Return the values of which one has to match, their escapes still in them."""
    values = _pieces(text, ",")
    if not all(values):
        raise SearchError(name, "has no value")
    if len(values) > MOST_VALUES:
        raise SearchError(name, "has too many values", found=len(values), expected=f"at most {MOST_VALUES}")
    return values


def _pieces(text: str, separator: str) -> list[str]:
    r"""Split where no backslash escapes the separator."""
    pieces = [""]
    for part in re.findall(r"\\.|.", text, re.DOTALL):
        if part == separator:
            pieces.append("")
        else:
            pieces[-1] += part
    return pieces


def _plain(text: str) -> str:
    return re.sub(r"\\([\\,|$])", r"\1", text)


def _token(name: str, text: str) -> Token:
    parts = [_plain(part) for part in _pieces(text, "|")]
    if len(parts) > 2 or not parts[-1]:
        raise SearchError(name, "is no token", found=text[:64], expected="value or system|value")
    return Token(parts[0] if len(parts) == 2 else None, parts[-1])


# The parameters


def _by_id(made: _Search, name: str, values: list[str]) -> None:
    made.one_of("StudyInstanceUID", [_plain(value) for value in values])


def _by_identifier(made: _Search, name: str, values: list[str]) -> None:
    """Find by Study Instance UID or Study ID."""
    tokens = [_token(name, value) for value in values]
    uids = [token.value.removeprefix(_OID) for token in tokens if _is_uid(token)]
    others = [token for token in tokens if not _is_uid(token)]
    if uids and others:
        raise SearchError(name, "has UIDs and others", remedy="ask for either alone", code="not-supported")
    if uids:
        made.one_of("StudyInstanceUID", uids)
    else:
        made.one_of("StudyID", [token.value for token in others if not token.system])


def _is_uid(token: Token) -> bool:
    named = token.value.startswith(_OID) or (token.system is None and "." in token.value and valid_uid(token.value))
    return token.system == DICOM_UID or (token.system is None and named)


def _by_type(made: _Search, name: str, values: list[str]) -> None:
    """Find by an identifier of a kind; the one there is besides those of the study is the Accession Number."""
    tokens = []
    for value in values:
        parts = [_plain(part) for part in _pieces(value, "|")]
        if len(parts) != 3 or not parts[2]:
            raise SearchError(name, "is no typed identifier", found=value[:64], expected="system|code|value")
        if parts[:2] != [IDENTIFIER_TYPES, "ACSN"]:
            raise SearchError(
                name, "is of a type that is not searched for", code="not-supported", found="|".join(parts[:2])[:128],
                expected=f"{IDENTIFIER_TYPES}|ACSN",
            )  # fmt: skip
        tokens.append(Token(None, parts[2]))
    _issued(made, "AccessionNumber", tokens)


def _by_patient(made: _Search, name: str, values: list[str]) -> None:
    """Find by Patient ID as the id of a resource that is not here."""
    made.one_of("PatientID", [_plain(value).removeprefix("Patient/") for value in values])


def _by_patient_identifier(made: _Search, name: str, values: list[str]) -> None:
    _issued(made, "PatientID", [_token(name, value) for value in values])


def _by_accession(made: _Search, name: str, values: list[str]) -> None:
    _issued(made, "AccessionNumber", [_token(name, value) for value in values])


def _issued(made: _Search, keyword: str, tokens: list[Token]) -> None:
    """Demand an identifier, and of the system that is named."""
    made.one_of(keyword, [token.value for token in tokens])
    if all(token.system is None for token in tokens):
        return

    def check(values: Values) -> bool:
        issuers = [_named(item) for item in values.get(tag_named(_ISSUERS[keyword]), ())]
        value = _first(values, keyword)
        system = fhir.identifier(value, issuers=issuers).get("system", "")
        return any(token.value == value and token.system in (None, system) for token in tokens)

    made.checks.append(check)


def _by_modality(made: _Search, name: str, values: list[str]) -> None:
    tokens = [_token(name, value) for value in values]
    made.one_of("ModalitiesInStudy", [token.value for token in tokens if token.system in (None, CODE_SYSTEMS["DCM"])])


def _by_start(made: _Search, name: str, values: list[str]) -> None:
    """Find by the moment; several parameters have to be fulfilled all, of several values one."""
    compared: list[Comparison] = []
    for value in values:
        found = comparison(value, made.offset)
        if found is None:
            raise SearchError(
                name, "is no date with a prefix that is known", found=value[:64], expected="for example ge2024-01-31"
            )
        compared.append(found)
    made.bounds = made.bounds.within(compared)
    made.hopeless = made.hopeless or made.bounds.empty

    def check(found: Values) -> bool:
        day, clock, zone = (_first(found, keyword) for keyword in ("StudyDate", "StudyTime", "TimezoneOffsetFromUTC"))
        span = span_of(day, clock, zone, made.offset)
        return span is not None and any(one.holds(span) for one in compared)

    made.checks.append(check)


# Search parameters of the resource (R5, ImagingStudy) that are known here, with the modifiers and chains they may have.
PARAMETERS: dict[str, Callable[[_Search, str, list[str]], None]] = {
    "_id": _by_id,
    "identifier": _by_identifier,
    "identifier:of-type": _by_type,
    "patient": _by_patient,
    "patient:identifier": _by_patient_identifier,
    "patient.identifier": _by_patient_identifier,
    "subject": _by_patient,
    "subject:Patient": _by_patient,
    "subject:identifier": _by_patient_identifier,
    "subject.identifier": _by_patient_identifier,
    "based-on:identifier": _by_accession,
    "based-on.identifier": _by_accession,
    "started": _by_start,
    "modality": _by_modality,
}


def _handler(name: str) -> Callable[[_Search, str, list[str]], None]:
    if name not in PARAMETERS:
        known = ", ".join((*PARAMETERS, COUNT, CURSOR))
        raise SearchError(name[:64], "is unknown", code="not-supported", expected=known)
    return PARAMETERS[name]


def _first(values: Values, keyword: str) -> str:
    found = values.get(tag_named(keyword), ())
    return str(found[0]) if found else ""


def _named(item: Mapping[int, Sequence[Any]]) -> dict[str, list[Any]]:
    """Return an item by keywords."""
    return {keyword_of(tag): list(held) for tag, held in item.items()}
