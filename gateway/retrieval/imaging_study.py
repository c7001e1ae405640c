"""A study as a FHIR R5 ImagingStudy resource, by the table in `gateway.standard.imaging_study`.

What the index holds comes from there, the rest from headers, one at a time. The resource is a dictionary, ready to be
written as JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydicom.uid import UID

from gateway.archive.contents import Head, SeriesContents, StudyContents, head_of, study_contents
from gateway.archive.views import View
from gateway.errors import ArchiveError, ObjectError
from gateway.observe import warning
from gateway.retrieval import fhir
from gateway.retrieval.fhir import Json, Offset, filled
from gateway.retrieval.known import Known, of_frames, schemes
from gateway.retrieval.plain import Item, first, item, printable
from gateway.standard.anatomy import BODY_PARTS
from gateway.standard.imaging_study import (
    ACTORS,
    CODE_SYSTEMS,
    FUNCTIONS,
    LATERALITIES,
    PARTICIPATION,
    SNOMED,
    URI,
    Actor,
    attributes_below,
    rows_below,
)

if TYPE_CHECKING:
    from gateway.archive.index import Archive
    from gateway.archive.rows import InstanceRow

_STUDY = attributes_below("")
_SERIES = attributes_below("series") | attributes_below("series.performer")
_INSTANCE = attributes_below("series.instance")


@dataclass
class _Series:
    """A series on its way to become an element of the resource."""

    contents: SeriesContents
    study: _Study
    known: Known
    instances: list[Json]


@dataclass
class _Study:
    """A study on its way to become a resource."""

    contents: StudyContents
    offset: Offset | None
    ae_title: str
    known: Known = field(default_factory=Known)
    series: list[Json] = field(default_factory=list)
    modalities: list[str] = field(default_factory=list)
    contained: list[Json] = field(default_factory=list)

    def text(self, keyword: str) -> str:
        """Return an attribute of patient or study that the index holds."""
        return printable(str(self.contents.columns[keyword] or ""))


def imaging_study(
    archive: Archive,
    study: str,
    view: View = View.RECEIVED,
    *,
    ae_title: str = "",
    offset: Offset | None = None,
) -> Json:
    """Return the ImagingStudy resource of a study as a view has it.

    Parameters
    ----------
    archive : Archive
        May be open for reading only.
    study : str
        Study Instance UID.
    view : View
        One view; what is counted and listed is what that view has.
    ae_title : str
        AE title of the box that possesses the view: where the images can be had.
    offset : callable, optional
        Distance from UTC of a local time, for objects without Timezone Offset From UTC; without it only their dates are
        said.

    Returns
    -------
    dict
        The resource.

    Raises
    ------
    ArchiveError
        If there is no such study.
    """
    made = _Study(study_contents(archive, study, view), offset, ae_title)
    for contents in made.contents.series:
        made.series.append(_series_element(archive, contents, made))
        if contents.columns["Modality"] not in made.modalities:
            made.modalities.append(str(contents.columns["Modality"]))
    elements = {row.name: STUDY_ELEMENTS[row.element](made) for row in rows_below("") if row.element in STUDY_ELEMENTS}
    return filled(resourceType="ImagingStudy", id=study, contained=made.contained, **elements)


def _series_element(archive: Archive, contents: SeriesContents, study: _Study) -> Json:
    """Return one series, its instances read one after the other."""
    series = _Series(contents, study, Known(schemes=study.known.schemes), [])
    for row in contents.rows:
        head = _head(archive, row)
        said: Item = {}
        if head is not None:
            said = item(head.dataset, _STUDY | _SERIES | _INSTANCE)
            series.known.add(said | dict(of_frames(head)))
            study.known.add({keyword: value for keyword, value in said.items() if keyword in _STUDY})
            study.known.schemes.update(schemes(head.dataset))
        series.instances.append(_instance(row, said))
    return filled(
        **{
            row.name: SERIES_ELEMENTS[row.element](series)
            for row in rows_below("series")
            if row.element in SERIES_ELEMENTS
        }
    )


def _head(archive: Archive, row: InstanceRow) -> Head | None:
    """Return a header, None if it cannot be read: what the index says is still true."""
    try:
        return head_of(archive, row)
    except (ArchiveError, ObjectError, OSError) as error:
        warning("fhir.unreadable", instance=row.sop_instance, reason=error)
        return None


# Elements of the resource


def _identifiers(study: _Study) -> list[Json]:
    study_id = filled(type={"text": "Study ID"}, value=study.text("StudyID"))
    return [fhir.uid_identifier(study.contents.uid), *([study_id] if "value" in study_id else [])]


def _status(study: _Study) -> str:
    """A study of which the view has nothing yet is known to exist, no more."""
    return "available" if study.contents.instance_count else "registered"


def _modality(code: str) -> Json:
    return fhir.single(CODE_SYSTEMS["DCM"], code)


def _subject(study: _Study) -> Json:
    named = fhir.identifier(
        study.text("PatientID"),
        "MR",
        study.known.first("IssuerOfPatientIDQualifiersSequence"),
        study.text("IssuerOfPatientID"),
    )
    return fhir.reference("Patient", named, fhir.written(study.text("PatientName"))) or fhir.absent()


def _started(study: _Study) -> str | None:
    zone = study.known.text("TimezoneOffsetFromUTC")
    return fhir.instant(study.text("StudyDate"), study.text("StudyTime"), zone, study.offset)


def _based_on(study: _Study) -> list[Json]:
    issuers = study.known.first("IssuerOfAccessionNumberSequence")
    found = fhir.reference("ServiceRequest", fhir.identifier(study.text("AccessionNumber"), "ACSN", issuers))
    return [found] if found else []


def _referrer(study: _Study) -> Json:
    person: Item = next(iter(study.known.first("ReferringPhysicianIdentificationSequence")), {})
    return fhir.practitioner(study.text("ReferringPhysicianName"), person, study.known.schemes)


def _endpoint(study: _Study) -> list[Json]:
    title = study.ae_title
    named = {"type": {"text": "DICOM AE title"}, "value": title}
    return [fhir.reference("Endpoint", named, f"DICOM query/retrieve at {title}")] if title else []


def _procedures(study: _Study) -> list[Json]:
    codes = study.known.every("ProcedureCodeSequence")
    return fhir.distinct([filled(concept=fhir.concept([code], schemes=study.known.schemes)) for code in codes])


def _location(study: _Study) -> Json:
    name = study.known.text("InstitutionalDepartmentName")
    codes = study.known.every("InstitutionalDepartmentTypeCodeSequence")
    kinds = fhir.distinct([fhir.concept([code], schemes=study.known.schemes) for code in codes])
    if not name and not kinds:
        return {}
    study.contained.append(filled(resourceType="Location", id="location", name=name, type=kinds))
    return filled(reference="#location", type="Location", display=name)


def _reasons(study: _Study) -> list[Json]:
    """Reasons at the top level and those of every request; code and text of one item are one reason."""
    places: list[Item] = [
        {keyword: study.known.every(keyword) for keyword in _REASON},
        *study.known.every("RequestAttributesSequence"),
    ]
    found = []
    for place in places:
        codes, text = place.get(_REASON[0], []), " ".join(place.get(_REASON[1], ()))
        found.append(filled(concept=fhir.concept(codes, text, study.known.schemes)))
    return fhir.distinct(found)


_REASON = ("ReasonForRequestedProcedureCodeSequence", "ReasonForTheRequestedProcedure")

STUDY_ELEMENTS: dict[str, Callable[[_Study], Any]] = {
    "identifier": _identifiers,
    "status": _status,
    "modality": lambda study: [_modality(code) for code in sorted(study.modalities) if code],
    "subject": _subject,
    "started": _started,
    "basedOn": _based_on,
    "referrer": _referrer,
    "endpoint": _endpoint,
    "procedure": _procedures,
    "location": _location,
    "reason": _reasons,
    "description": lambda study: study.text("StudyDescription"),
    "numberOfSeries": lambda study: study.contents.series_count,
    "numberOfInstances": lambda study: study.contents.instance_count,
    "series": lambda study: study.series,
}


# Elements of a series


def _column(series: _Series, keyword: str) -> str:
    value = series.contents.columns[keyword]
    return "" if value is None else printable(str(value))


def _body_site(series: _Series) -> Json:
    """The region that frames, or images, name by a code, else the one that Body Part Examined stands for.

    One series has one body site in FHIR: where images differ, all are named in words and none by a code.
    """
    known = series.known
    frames = known.every("FrameAnatomySequence")
    codes = [code for frame in frames for code in frame.get("AnatomicRegionSequence", ())]
    codes = codes or known.every("AnatomicRegionSequence")
    sites = fhir.distinct([fhir.coding(code, known.schemes) for code in codes])
    words = known.every("BodyPartExamined") or [part for part in (_column(series, "BodyPartExamined"),) if part]
    if not sites:
        terms = [BODY_PARTS[word.upper()] for word in words if word.upper() in BODY_PARTS]
        sites = [{"system": SNOMED, "code": code, "display": meaning} for code, meaning, _ in terms]
    meanings = [site["display"] for site in sites if "display" in site]
    names = meanings if len(meanings) > len(words) else words
    alone = len(sites) == 1 and len(words) <= 1
    return filled(concept=filled(coding=sites if alone else None, text=", ".join(names)))


def _laterality(series: _Series) -> Json:
    frames = [side for frame in series.known.every("FrameAnatomySequence") for side in frame.get("FrameLaterality", ())]
    sides = set(frames or series.known.every("Laterality")) & {*LATERALITIES, "U"}
    if sides in ({"R", "L"}, {"R", "B"}, {"L", "B"}, {"R", "L", "B"}):
        sides = {"B"}
    side = sides.pop() if len(sides) == 1 else ""
    return fhir.single(SNOMED, *LATERALITIES[side]) if side in LATERALITIES else {}


def _specimens(series: _Series) -> list[Json]:
    found = []
    for specimen in series.known.every("SpecimenDescriptionSequence"):
        name, uid = first(specimen, "SpecimenIdentifier"), first(specimen, "SpecimenUID")
        issuers = specimen.get("IssuerOfTheSpecimenIdentifierSequence", [])
        named = fhir.identifier(name, issuers=issuers) or (fhir.uid_identifier(uid) if uid else {})
        found.append(fhir.reference("Specimen", named))
    return fhir.distinct(found)


def _series_started(series: _Series) -> str | None:
    zone = series.known.text("TimezoneOffsetFromUTC")
    return fhir.instant(_column(series, "SeriesDate"), _column(series, "SeriesTime"), zone, series.study.offset)


def _performers(series: _Series) -> list[Json]:
    found: list[Json] = []
    for actor in ACTORS:
        code = actor.beside if found else actor.function
        function = fhir.single(PARTICIPATION, code, FUNCTIONS[code])
        found += [{"function": function, "actor": one} for one in _actors(actor, series.known)]
    return fhir.distinct(found)


def _actors(actor: Actor, known: Known) -> list[Json]:
    """Return references to the performers of one kind."""
    if actor.resource != "Practitioner":
        parts = [known.text(keyword) for keyword in actor.names]
        return [fhir.reference(actor.resource, display=" ".join(filter(None, parts)))] if any(parts) else []
    names = known.every(actor.names[0])
    persons = known.every(actor.identification)
    # Identifications stand in the order of the names they belong to (PS3.3 C.7.3.1).
    together = [
        fhir.practitioner(name, person, known.schemes)
        for name, person in zip(
            names + [""] * (len(persons) - len(names)), persons + [{}] * (len(names) - len(persons)), strict=True
        )
    ]
    return fhir.distinct(together)


def _instance(row: InstanceRow, said: Item) -> Json:
    """Return one instance."""
    found = {"row": row, "said": said}
    return filled(**{one.name: INSTANCE_ELEMENTS[one.element](**found) for one in rows_below("series.instance")})


SERIES_ELEMENTS: dict[str, Callable[[_Series], Any]] = {
    "series.uid": lambda series: series.contents.uid,
    "series.number": lambda series: fhir.unsigned(series.contents.columns["SeriesNumber"]),
    "series.modality": lambda series: (
        _modality(_column(series, "Modality")) if _column(series, "Modality") else fhir.absent()
    ),
    "series.description": lambda series: _column(series, "SeriesDescription"),
    "series.numberOfInstances": lambda series: series.contents.count,
    "series.bodySite": _body_site,
    "series.laterality": _laterality,
    "series.specimen": _specimens,
    "series.started": _series_started,
    "series.performer": _performers,
    "series.instance": lambda series: series.instances,
}


def _sop_class(row: InstanceRow, said: Item) -> Json:
    uid = UID(row.sop_class)
    return filled(system=URI, code=fhir.oid(uid), display=uid.name if uid.name != uid else "")


INSTANCE_ELEMENTS: dict[str, Callable[..., Any]] = {
    "series.instance.uid": lambda row, said: row.sop_instance,
    "series.instance.sopClass": _sop_class,
    "series.instance.number": lambda row, said: fhir.unsigned(row.instance_number),
    "series.instance.title": lambda row, said: "\\".join(said.get("ImageType", ())) or first(said, "DocumentTitle"),
}
