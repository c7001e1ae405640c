"""A study as FHIR R5 ImagingStudy: each row of the mapping by its number, the views, and sources that say little."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from archive_tools import HandClock
from conversion.enhanced_material import enhanced_of
from conversion.material import CLASSIC, ENHANCED, LEGACY, STUDY, coded, item, other, reference, series_of
from fhir_tools import convert_all, receive, resource_of
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from gateway.archive.index import Archive
from gateway.archive.views import View
from gateway.objects.parse import LONGEST_HELD
from gateway.retrieval import fhir
from gateway.retrieval.imaging_study import INSTANCE_ELEMENTS, SERIES_ELEMENTS, STUDY_ELEMENTS, imaging_study
from gateway.standard.imaging_study import ACTORS, ROWS

DCM = "http://dicom.nema.org/resources/ontology/DCM"
SCT = "http://snomed.info/sct"
PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"

PDF = "1.2.840.10008.5.1.4.1.1.104.1"


def _person(code: str) -> Dataset:
    return item(PersonIdentificationCodeSequence=[coded(code, "99STAFF", "staff")], InstitutionName="General")


def _issuer(uid: str) -> Dataset:
    return item(UniversalEntityID=uid, UniversalEntityIDType="ISO")


def _full(ds: Dataset) -> None:
    """Fill everything that the mapping looks at."""
    ds.StudyID, ds.IssuerOfPatientID = "S7", "WARD"
    ds.IssuerOfPatientIDQualifiersSequence = [_issuer("1.2.3.1")]
    ds.TimezoneOffsetFromUTC = "-0530"
    ds.IssuerOfAccessionNumberSequence = [_issuer("1.2.3.2")]
    ds.ReferringPhysicianIdentificationSequence = [_person("R1")]
    ds.ProcedureCodeSequence = [coded("24725-4", "LN", "CT Head"), coded("X1", "99LOCAL", "Extra")]
    ds.CodingSchemeIdentificationSequence = [item(CodingSchemeDesignator="99LOCAL", CodingSchemeUID="1.2.3.9")]
    ds.InstitutionalDepartmentName = "Radiology"
    ds.InstitutionalDepartmentTypeCodeSequence = [coded("225728007", "SCT", "Accident and Emergency department")]
    ds.RequestAttributesSequence = [
        item(
            RequestedProcedureID="RP1",
            ScheduledProcedureStepID="SPS1",
            ReasonForRequestedProcedureCodeSequence=[coded("25064002", "SCT", "Headache")],
            ReasonForTheRequestedProcedure="since Monday",
        )
    ]
    ds.AnatomicRegionSequence = [coded("69536005", "SCT", "Head")]
    ds.BodyPartExamined, ds.Laterality = "HEAD", "L"
    ds.ContainerIdentifier = "C1"
    ds.SpecimenDescriptionSequence = [
        item(
            SpecimenIdentifier="SP1",
            SpecimenUID=STUDY + ".80",
            IssuerOfTheSpecimenIdentifierSequence=[_issuer("1.2.3.3")],
        )
    ]
    ds.PerformingPhysicianName = ["Alpha^Ann", "Beta^Bob"]
    ds.PerformingPhysicianIdentificationSequence = [_person("P1"), _person("P2")]
    ds.OperatorsName, ds.InstitutionName = "Tech^Tina", "General"
    ds.OperatorIdentificationSequence = [_person("O1")]


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    folder = tmp_path_factory.mktemp("full")
    archive = Archive(folder / "data", HandClock())
    images = series_of(count=3, change=_full)
    document = other(PDF, 1, {"DocumentTitle": "Consent", "StudyDescription": "Head"})
    receive(archive, folder / "files", [*images, document])
    convert_all(archive)
    yield archive
    archive.close()


@pytest.fixture(scope="module")
def study(held: Archive) -> dict[str, Any]:
    return resource_of(held, STUDY, ae_title="GATEWAY")


@pytest.fixture(scope="module")
def series(study: dict[str, Any]) -> dict[str, Any]:
    return _of(study, "CT")


def _of(study: dict[str, Any], modality: str) -> dict[str, Any]:
    (found,) = [one for one in study["series"] if one["modality"]["coding"][0]["code"] == modality]
    return found


def test_H7_rows_are_numbered_and_each_has_what_fills_it() -> None:
    assert [row.number for row in ROWS] == list(range(1, 37))
    assert all(tag_for_keyword(keyword) for row in ROWS for keyword in row.attributes)
    made = STUDY_ELEMENTS | SERIES_ELEMENTS | INSTANCE_ELEMENTS
    # Function and actor are parts of what "series.performer" makes; a series has the endpoint of its study.
    within = {"series.performer.function", "series.performer.actor"}
    without = {row.element for row in ROWS} - within - made.keys()
    assert without == {"encounter", "partOf", "note", "series.endpoint"}
    assert not any(row.attributes for row in ROWS if row.element in without)
    assert {keyword for actor in ACTORS for keyword in (*actor.names, actor.identification) if keyword} == {
        keyword for row in ROWS if row.element == "series.performer.actor" for keyword in row.attributes
    }


def test_H5_tags_are_those_of_the_standard() -> None:
    used = {f"{tag_for_keyword(keyword):08X}" for row in ROWS for keyword in row.attributes}
    assert {"00100010", "00080050", "00080051", "0040100A", "00401002"} <= used


def test_H1_row_1_identifier(study: dict[str, Any]) -> None:
    assert study["identifier"] == [
        {"system": "urn:dicom:uid", "value": f"urn:oid:{STUDY}"},
        {"type": {"text": "Study ID"}, "value": "S7"},
    ]
    assert study["id"] == STUDY


def test_H1_row_2_status_says_whether_the_view_has_anything(
    study: dict[str, Any], archive: Archive, tmp_path: Path
) -> None:
    assert study["status"] == "available"
    receive(archive, tmp_path / "files", [enhanced_of("CT")])
    early = resource_of(archive, STUDY, View.CLASSIC)
    assert (early["status"], early["numberOfInstances"], "series" in early) == ("registered", 0, False)


def test_H1_row_3_modality(study: dict[str, Any]) -> None:
    assert study["modality"] == [{"coding": [{"system": DCM, "code": code}]} for code in ("CT", "OT")]


def test_H1_H5_row_4_subject(study: dict[str, Any]) -> None:
    subject = study["subject"]
    assert subject["type"] == "Patient"
    assert subject["display"] == "Jörg Doe"
    assert subject["identifier"]["value"] == "P1"
    assert subject["identifier"]["system"] == "urn:oid:1.2.3.1"
    assert subject["identifier"]["assigner"] == {"display": "WARD"}
    assert subject["identifier"]["type"]["coding"][0]["code"] == "MR"


def test_H1_row_5_8_14_are_not_made_up(study: dict[str, Any]) -> None:
    assert not {"encounter", "partOf", "note"} & study.keys()


def test_H1_row_6_started(study: dict[str, Any]) -> None:
    assert study["started"] == "2024-01-02T10:15:00-05:30"


def test_H1_H5_row_7_based_on(study: dict[str, Any]) -> None:
    (order,) = study["basedOn"]
    assert order["type"] == "ServiceRequest"
    assert order["identifier"]["type"]["coding"][0]["code"] == "ACSN"
    assert (order["identifier"]["value"], order["identifier"]["system"]) == ("A1", "urn:oid:1.2.3.2")


def test_H1_row_9_referrer(study: dict[str, Any]) -> None:
    assert study["referrer"] == {
        "type": "Practitioner",
        "identifier": {"value": "R1", "assigner": {"display": "General"}},
        "display": "Erring Ref",
    }


def test_H1_row_10_endpoint_is_the_application_entity_of_the_view(study: dict[str, Any], held: Archive) -> None:
    assert study["endpoint"][0]["identifier"]["value"] == "GATEWAY"
    assert "endpoint" not in resource_of(held, STUDY)


def test_H1_row_11_procedure(study: dict[str, Any]) -> None:
    assert [one["concept"]["coding"] for one in study["procedure"]] == [
        [{"system": "http://loinc.org", "code": "24725-4", "display": "CT Head"}],
        [{"system": "urn:oid:1.2.3.9", "code": "X1", "display": "Extra"}],
    ]


def test_H1_row_12_location(study: dict[str, Any]) -> None:
    assert study["location"] == {"reference": "#location", "type": "Location", "display": "Radiology"}
    (location,) = study["contained"]
    assert (location["id"], location["name"]) == ("location", "Radiology")
    assert location["type"][0]["coding"][0]["code"] == "225728007"


def test_H1_H5_H6_row_13_reason(study: dict[str, Any], archive: Archive, tmp_path: Path) -> None:
    headache = {"coding": [{"system": SCT, "code": "25064002", "display": "Headache"}], "text": "since Monday"}
    assert study["reason"] == [{"concept": headache}]
    receive(archive, tmp_path / "files", series_of(count=1, change={"ReasonForTheRequestedProcedure": "fell"}))
    assert resource_of(archive, STUDY)["reason"] == [{"concept": {"text": "fell"}}]


def test_H1_row_15_description(study: dict[str, Any]) -> None:
    assert study["description"] == "Head"


def test_H1_H2_row_16_17_counts(study: dict[str, Any]) -> None:
    assert (study["numberOfSeries"], study["numberOfInstances"]) == (2, 4)


def test_H1_H2_row_18_19_23_series(study: dict[str, Any]) -> None:
    assert [(one["uid"], one["numberOfInstances"], len(one["instance"])) for one in study["series"]] == [
        (STUDY + ".50", 1, 1),
        (STUDY + ".1", 3, 3),
    ]


def test_H1_row_20_21_22_series_number_modality_description(series: dict[str, Any]) -> None:
    assert (series["number"], series["description"]) == (7, "CT thin")
    assert series["modality"] == {"coding": [{"system": DCM, "code": "CT"}]}


def test_H1_row_24_series_endpoint_is_that_of_the_study(series: dict[str, Any]) -> None:
    assert "endpoint" not in series


def test_H1_H3_row_25_body_site(series: dict[str, Any], archive: Archive, tmp_path: Path) -> None:
    head = {"system": SCT, "code": "69536005", "display": "Head"}
    assert series["bodySite"] == {"concept": {"coding": [head], "text": "HEAD"}}
    receive(archive, tmp_path / "files", series_of(count=1))
    site = _of(resource_of(archive, STUDY), "CT")["bodySite"]["concept"]
    assert site == {"coding": [{"system": SCT, "code": "816094009", "display": "Chest"}], "text": "CHEST"}


def test_H1_H3_row_26_laterality(series: dict[str, Any]) -> None:
    assert series["laterality"] == {"coding": [{"system": SCT, "code": "7771000", "display": "Left"}]}


def test_H1_H3_row_27_specimen(series: dict[str, Any], archive: Archive, tmp_path: Path) -> None:
    named = {"system": "urn:oid:1.2.3.3", "value": "SP1"}
    assert series["specimen"] == [{"type": "Specimen", "identifier": named}]
    change = {"SpecimenDescriptionSequence": [item(SpecimenUID=STUDY + ".81")]}
    receive(archive, tmp_path / "files", series_of(count=1, change=change))
    (specimen,) = _of(resource_of(archive, STUDY), "CT")["specimen"]
    assert specimen["identifier"] == {"system": "urn:dicom:uid", "value": f"urn:oid:{STUDY}.81"}


def test_H1_row_28_series_started(series: dict[str, Any]) -> None:
    assert series["started"] == "2024-01-02T10:16:00-05:30"


def _performers(series: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    found = []
    for one in series["performer"]:
        (function,) = one["function"]["coding"]
        assert function["system"] == PARTICIPATION
        named = one["actor"].get("identifier", {})
        found.append((function["code"], one["actor"]["type"], one["actor"]["display"], named.get("value", "")))
    return found


def test_H1_H3_row_29_30_31_performers(series: dict[str, Any]) -> None:
    assert _performers(series) == [
        ("PRF", "Practitioner", "Ann Alpha", "P1"),
        ("PRF", "Practitioner", "Bob Beta", "P2"),
        ("SPRF", "Practitioner", "Tina Tech", "O1"),
        ("PRF", "Device", "Acme Scan 1", ""),
        ("PRF", "Organization", "General", ""),
    ]


def test_H3_row_30_an_operator_without_a_physician_is_the_performer(archive: Archive, tmp_path: Path) -> None:
    change = {"OperatorsName": "Tech^Tina", "Manufacturer": None, "ManufacturerModelName": None}
    receive(archive, tmp_path / "files", series_of(count=1, change=change))
    assert _performers(_of(resource_of(archive, STUDY), "CT")) == [("PRF", "Practitioner", "Tina Tech", "")]


def test_H1_H3_row_32_to_36_instances(study: dict[str, Any], series: dict[str, Any]) -> None:
    assert series["instance"][1] == {
        "uid": STUDY + ".1.2",
        "sopClass": {
            "system": "urn:ietf:rfc:3986",
            "code": f"urn:oid:{CLASSIC['CT']}",
            "display": "CT Image Storage",
        },
        "number": 2,
        "title": "ORIGINAL\\PRIMARY\\AXIAL",
    }
    assert [one["title"] for one in _of(study, "OT")["instance"]] == ["Consent"]


def test_H2_H6_the_enhanced_view_says_the_same_of_what_was_made(held: Archive, study: dict[str, Any]) -> None:
    made = resource_of(held, STUDY, View.ENHANCED, ae_title="GATEWAY_ENH")
    assert (made["numberOfSeries"], made["numberOfInstances"]) == (2, 2)
    series, source = _of(made, "CT"), _of(study, "CT")
    (image,) = series["instance"]
    assert image["sopClass"]["code"] in (f"urn:oid:{LEGACY['CT']}", f"urn:oid:{ENHANCED['CT']}")
    assert image["uid"] not in {one["uid"] for one in source["instance"]}
    # Everything of study and series that is not about the new objects themselves.
    for name in ("subject", "started", "basedOn", "referrer", "procedure", "location", "contained", "reason"):
        assert made[name] == study[name], name
    for name in ("modality", "laterality", "specimen", "started", "performer"):
        assert series[name] == source[name], name
    assert series["bodySite"]["concept"]["coding"][0]["code"] == "69536005"


def test_H2_H7_the_default_is_the_received_view_and_the_classic_one_has_what_came(held: Archive) -> None:
    default = imaging_study(held, STUDY)
    assert default == imaging_study(held, STUDY, View.RECEIVED) == imaging_study(held, STUDY, View.CLASSIC)
    assert default["resourceType"] == "ImagingStudy"


def test_H6_anatomy_of_frames_that_differ(archive: Archive, tmp_path: Path) -> None:
    def differ(ds: Dataset) -> None:
        del ds.SharedFunctionalGroupsSequence[0].FrameAnatomySequence
        for number, frame in enumerate(ds.PerFrameFunctionalGroupsSequence):
            code = coded("72696002", "SCT", "Knee") if number else coded("70258002", "SCT", "Ankle")
            frame.FrameAnatomySequence = [item(FrameLaterality="R" if number else "L", AnatomicRegionSequence=[code])]

    receive(archive, tmp_path / "files", [enhanced_of("CT", change=differ)])
    series = _of(resource_of(archive, STUDY), "CT")
    assert series["bodySite"] == {"concept": {"text": "Ankle, Knee"}}
    assert series["laterality"]["coding"][0]["display"] == "Right and left"


def test_H6_anatomy_of_received_enhanced_objects_is_that_of_their_frames(archive: Archive, tmp_path: Path) -> None:
    receive(archive, tmp_path / "files", [enhanced_of("MR")])
    series = _of(resource_of(archive, STUDY), "MR")
    assert series["bodySite"]["concept"]["coding"] == [{"system": SCT, "code": "816094009", "display": "Thorax"}]
    assert "laterality" not in series


def test_H4_a_study_that_says_nothing_of_itself_is_a_valid_resource(archive: Archive, tmp_path: Path) -> None:
    ds = item(SOPClassUID="1.2.840.10008.5.1.4.1.1.7", SOPInstanceUID="1.9.1")
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.9", "1.9.2"
    ds.StudyDate, ds.SeriesNumber, ds.InstanceNumber = "yesterday", "-1", "99999999999"
    receive(archive, tmp_path / "files", [ds])
    made = resource_of(archive, "1.9")
    assert "started" not in made
    assert made["subject"]["extension"][0]["valueCode"] == "unknown"
    assert made["series"][0]["modality"]["extension"][0]["valueCode"] == "unknown"
    assert not {"number", "title"} & made["series"][0]["instance"][0].keys()


def test_H4_a_file_that_is_gone_leaves_what_the_index_knows(archive: Archive, tmp_path: Path) -> None:
    receive(archive, tmp_path / "files", series_of(count=2))
    archive.path_of(archive.study_instances(STUDY, View.RECEIVED)[0]).unlink()
    made = resource_of(archive, STUDY)
    first, second = made["series"][0]["instance"]
    assert (first["number"], second["number"], "title" in first, "title" in second) == (1, 2, False, True)


def test_H1_a_copy_whose_long_values_stay_in_another_file_says_what_that_says(archive: Archive, tmp_path: Path) -> None:
    images = series_of(count=2)
    document = other(PDF, 1, {"DocumentTitle": "Consent", "Modality": "DOC"})
    document.EncapsulatedDocument = bytes(LONGEST_HELD + 2)
    document.SourceInstanceSequence = [reference(images[0])]
    receive(archive, tmp_path / "files", [*images, document])
    convert_all(archive)
    (copy,) = _of(resource_of(archive, STUDY, View.ENHANCED), "DOC")["instance"]
    assert copy["uid"] != document.SOPInstanceUID
    assert copy["title"] == "Consent"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (("20240229", "101530.25", "+0100"), "2024-02-29T10:15:30.25+01:00"),
        (("20240229", "1015", "+0000"), "2024-02-29T10:15:00+00:00"),
        (("2024.02.29", "10:15:30", "-0330"), "2024-02-29T10:15:30-03:30"),
        (("20240229", "235960", "+0100"), "2024-02-29T23:59:59+01:00"),
        (("20240229", "101530", ""), "2024-02-29"),
        (("20240229", "noon", "+0100"), "2024-02-29"),
        (("20240229", "", "+0100"), "2024-02-29"),
        (("20230229", "101530", "+0100"), None),
        (("", "101530", "+0100"), None),
    ],
)
def test_H1_times_are_never_said_without_their_distance_from_utc(said: tuple[str, str, str], expected: str) -> None:
    assert fhir.instant(*said) == expected


def test_H1_the_caller_may_know_the_zone() -> None:
    assert fhir.instant("20240229", "101530", "", lambda moment: timedelta(hours=-2)) == "2024-02-29T10:15:30-02:00"
    assert fhir.instant("20240229", "101530", "+0100", lambda moment: timedelta(0)) == "2024-02-29T10:15:30+01:00"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Adams^John Robert Quincy^^Rev.^B.A. M.Div.", "Rev. John Robert Quincy Adams B.A. M.Div."),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Tarou Yamada (山田 太郎)"),
        ("=山田^太郎", "山田 太郎"),
        ("ANONYMOUS", "ANONYMOUS"),
        ("^^^^", ""),
    ],
)
def test_H1_names_are_written_as_people_write_them(name: str, expected: str) -> None:
    assert fhir.written(name) == expected


@pytest.mark.parametrize(
    ("issuer", "expected"),
    [
        (("1.2.3", "ISO"), {"system": "urn:oid:1.2.3"}),
        (("0b7f", "UUID"), {"system": "urn:uuid:0b7f"}),
        (("http://a.example/ids", "URI"), {"system": "http://a.example/ids"}),
        (("a.example", "DNS"), {"assigner": {"display": "a.example"}}),
    ],
)
def test_H1_issuers_are_systems_where_they_have_a_uri(issuer: tuple[str, str], expected: dict[str, Any]) -> None:
    found = fhir.identifier("7", issuers=[{"UniversalEntityID": [issuer[0]], "UniversalEntityIDType": [issuer[1]]}])
    assert found == {"value": "7"} | expected
