"""FHIR R5 ImagingStudy and the DICOM attributes its elements come from (the resource's "DICOM Tag Mapping").

Rows are numbered in the order of the mapping. Where that slips, the tags are those of PS3.6: Patient's Name
(0010,0010), Accession Number (0008,0050) and its issuer (0008,0051); the code of the reason for a procedure is
(0040,100A), and (0040,1002) is the text.
"""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """One row of the mapping.

    Attributes
    ----------
    number : int
        Its place in the mapping.
    element : str
        Element of the resource, below its parents.
    attributes : tuple of str
        Keywords of the attributes it comes from; none where DICOM has no source.
    """

    number: int
    element: str
    attributes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The element without its parents."""
        return self.element.rpartition(".")[2]


def _row(number: int, element: str, keywords: str = "") -> Row:
    return Row(number, element, tuple(keywords.split()))


ROWS: tuple[Row, ...] = (
    _row(1, "identifier", "StudyInstanceUID StudyID"),
    _row(2, "status"),
    _row(3, "modality", "ModalitiesInStudy Modality"),
    _row(4, "subject", "PatientID IssuerOfPatientID IssuerOfPatientIDQualifiersSequence PatientName"),
    _row(5, "encounter"),
    _row(6, "started", "StudyDate StudyTime TimezoneOffsetFromUTC"),
    _row(7, "basedOn", "AccessionNumber IssuerOfAccessionNumberSequence"),
    _row(8, "partOf"),
    _row(9, "referrer", "ReferringPhysicianName ReferringPhysicianIdentificationSequence"),
    _row(10, "endpoint"),
    _row(11, "procedure", "ProcedureCodeSequence"),
    _row(12, "location", "InstitutionalDepartmentName InstitutionalDepartmentTypeCodeSequence"),
    _row(
        13,
        "reason",
        "ReasonForRequestedProcedureCodeSequence ReasonForTheRequestedProcedure RequestAttributesSequence",
    ),
    _row(14, "note"),
    _row(15, "description", "StudyDescription"),
    _row(16, "numberOfSeries", "NumberOfStudyRelatedSeries"),
    _row(17, "numberOfInstances", "NumberOfStudyRelatedInstances"),
    _row(18, "series"),
    _row(19, "series.uid", "SeriesInstanceUID"),
    _row(20, "series.number", "SeriesNumber"),
    _row(21, "series.modality", "Modality"),
    _row(22, "series.description", "SeriesDescription"),
    _row(23, "series.numberOfInstances", "NumberOfSeriesRelatedInstances"),
    _row(24, "series.endpoint"),
    _row(25, "series.bodySite", "BodyPartExamined AnatomicRegionSequence FrameAnatomySequence"),
    _row(26, "series.laterality", "Laterality FrameAnatomySequence"),
    _row(27, "series.specimen", "SpecimenDescriptionSequence"),
    _row(28, "series.started", "SeriesDate SeriesTime TimezoneOffsetFromUTC"),
    _row(29, "series.performer"),
    _row(
        30, "series.performer.function", "PerformingPhysicianName OperatorsName ManufacturerModelName InstitutionName"
    ),
    _row(
        31,
        "series.performer.actor",
        "PerformingPhysicianName PerformingPhysicianIdentificationSequence OperatorsName OperatorIdentificationSequence"
        " Manufacturer ManufacturerModelName InstitutionName",
    ),
    _row(32, "series.instance"),
    _row(33, "series.instance.uid", "SOPInstanceUID"),
    _row(34, "series.instance.sopClass", "SOPClassUID"),
    _row(35, "series.instance.number", "InstanceNumber"),
    _row(36, "series.instance.title", "ImageType DocumentTitle"),
)


def rows_below(parent: str) -> tuple[Row, ...]:
    """Return the rows of the elements that stand directly in `parent`, those of the resource itself for ``""``."""
    return tuple(row for row in ROWS if row.element.rpartition(".")[0] == parent)


def attributes_below(parent: str) -> frozenset[str]:
    """Return the keywords that the elements of `parent` come from."""
    return frozenset(keyword for row in rows_below(parent) for keyword in row.attributes)


# What an actor of a series is, where its name and its identification stand, and its function (rows 29 to 31). Operators
# are secondary performers where a physician is named, and the performers where none is.
PERFORMER, SECONDARY_PERFORMER = "PRF", "SPRF"


class Actor(NamedTuple):
    """One kind of performer: the resource that it is, and the attributes that name and identify it."""

    resource: str
    names: tuple[str, ...]
    identification: str = ""
    function: str = PERFORMER
    beside: str = PERFORMER


ACTORS: tuple[Actor, ...] = (
    Actor("Practitioner", ("PerformingPhysicianName",), "PerformingPhysicianIdentificationSequence"),
    Actor("Practitioner", ("OperatorsName",), "OperatorIdentificationSequence", beside=SECONDARY_PERFORMER),
    Actor("Device", ("Manufacturer", "ManufacturerModelName")),
    Actor("Organization", ("InstitutionName",)),
)

PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
FUNCTIONS: dict[str, str] = {PERFORMER: "performer", SECONDARY_PERFORMER: "secondary performer"}

DICOM_UID = "urn:dicom:uid"
URI = "urn:ietf:rfc:3986"
IDENTIFIER_TYPES = "http://terminology.hl7.org/CodeSystem/v2-0203"
DATA_ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"

# Laterality (0020,0060) and Frame Laterality (0020,9072) as codes of CID 244; U says that there are no sides.
SNOMED = "http://snomed.info/sct"
LATERALITIES: dict[str, tuple[str, str]] = {
    "R": ("24028007", "Right"),
    "L": ("7771000", "Left"),
    "B": ("51440002", "Right and left"),
}

# Coding Scheme Designator (PS3.16 table 8-1) and the URI that FHIR has for the scheme.
CODE_SYSTEMS: dict[str, str] = {
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "SCT": SNOMED,
    "SRT": "http://snomed.info/srt",
    "SNM3": "http://snomed.info/srt",
    "99SDM": "http://snomed.info/srt",
    "LN": "http://loinc.org",
    "UCUM": "http://unitsofmeasure.org",
    "RADLEX": "http://www.radlex.org",
    "C4": "http://www.ama-assn.org/go/cpt",
    "I10": "http://hl7.org/fhir/sid/icd-10",
    "I10C": "http://hl7.org/fhir/sid/icd-10-cm",
    "I9C": "http://hl7.org/fhir/sid/icd-9-cm",
}

# Universal Entity ID Type (0040,0033) and what stands before the ID in a URI; others have no URI.
ENTITY_URIS: dict[str, str] = {"ISO": "urn:oid:", "UUID": "urn:uuid:", "URI": ""}
