"""Studies found by FHIR R5 search: each parameter, pages, and what a search may not be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from archive_tools import ct, store
from conversion.material import STUDY, series_of
from fhir_tools import convert_all, receive, validated
from tools import need_module

from gateway.archive.index import Archive
from gateway.archive.views import View
from gateway.objects.elements import dataset, make, sequence
from gateway.retrieval.imaging_study_search import MOST_COUNT, PARAMETERS, SearchError, outcome, search

BASE = "https://box.example/fhir"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
TYPES = "http://terminology.hl7.org/CodeSystem/v2-0203"

# Study: what differs from the others.
STUDIES: dict[str, dict[str, Any]] = {
    "1.1": {"PatientID": "P1", "AccessionNumber": "A1", "StudyDate": "20240131", "StudyTime": "101500", "StudyID": "7"},
    "1.2": {"PatientID": "P1", "AccessionNumber": "A2", "StudyDate": "20240201", "StudyTime": "", "StudyID": "7"},
    "1.3": {"PatientID": "P2", "AccessionNumber": "", "StudyDate": "20231231", "StudyTime": "233000.5", "StudyID": "8"},
    "1.4": {"PatientID": "P*", "AccessionNumber": "A,4|x", "StudyDate": "", "StudyTime": "", "Modality": "MR"},
    "1.5": {"PatientID": "", "AccessionNumber": "A5", "StudyDate": "20240131", "StudyTime": "23", "Modality": "MR"},
}


def issued(keyword: str, value: str) -> Any:
    made = dataset(make("UniversalEntityID", value), make("UniversalEntityIDType", "ISO"))
    return dataset(sequence(keyword, made))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    made = Archive(tmp_path_factory.mktemp("search"))
    for study, values in STUDIES.items():
        ds = ct(f"{study}.1.1", study=study, series=f"{study}.1", **values)
        if values["PatientID"] == "P1":
            ds |= issued("IssuerOfPatientIDQualifiersSequence", "1.2.3")
        if study == "1.1":
            ds |= issued("IssuerOfAccessionNumberSequence", "1.2.4")
        if study == "1.3":
            ds |= dataset(make("TimezoneOffsetFromUTC", "-0500"))
        store(made, ds)
        if study == "1.5":
            store(made, ct("1.5.2.1", study=study, series="1.5.2", **values | {"Modality": "PR"}))
    yield made
    made.close()


def bundle_of(archive: Archive, query: str, **more: Any) -> dict[str, Any]:
    """Return the Bundle of a search, checked by a model of FHIR R5."""
    found = search(archive, query, **more)
    model = need_module("fhir.resources.bundle").Bundle.model_validate_json(json.dumps(found))
    assert model.type == "searchset"
    for entry in found.get("entry", ()):
        validated(entry["resource"])
        assert entry["search"] == {"mode": "match"}
    return found


def found(archive: Archive, query: str, **more: Any) -> list[str]:
    return [entry["resource"]["id"] for entry in bundle_of(archive, query, **more).get("entry", ())]


@pytest.mark.parametrize(
    ("query", "studies"),
    [
        ("", ["1.1", "1.2", "1.3", "1.4", "1.5"]),
        ("_id=1.2", ["1.2"]),
        ("_id=1.2,1.4", ["1.2", "1.4"]),
        ("identifier=urn:dicom:uid|urn:oid:1.3", ["1.3"]),
        ("identifier=urn:oid:1.3", ["1.3"]),
        ("identifier=1.3", ["1.3"]),
        ("identifier=7", ["1.1", "1.2"]),
        ("identifier=|8", ["1.3"]),
        ("identifier=urn:oid:9.9|8", []),
        ("patient=P1", ["1.1", "1.2"]),
        ("patient=Patient/P2", ["1.3"]),
        ("patient=P*", ["1.4"]),  # no wild card
        ("patient=P?", []),
        ("patient=p1", []),
        ("subject=P1,P2", ["1.1", "1.2", "1.3"]),
        ("subject:Patient=P2", ["1.3"]),
        ("patient:identifier=P1", ["1.1", "1.2"]),
        ("patient:identifier=urn:oid:1.2.3|P1", ["1.1", "1.2"]),
        ("patient.identifier=|P1", []),
        ("patient.identifier=|P2", ["1.3"]),
        ("subject.identifier=urn:oid:1.2.4|P1", []),
        ("subject:identifier=urn:oid:1.2.3|P2,P2", ["1.3"]),
        ("based-on:identifier=A1", ["1.1"]),
        ("based-on.identifier=urn:oid:1.2.4|A1", ["1.1"]),
        ("based-on.identifier=|A1", []),
        ("based-on.identifier=urn:oid:1.2.5|A1", []),
        (f"identifier:of-type={TYPES}|ACSN|A2", ["1.2"]),
        (r"based-on:identifier=A\,4\|x", ["1.4"]),
        ("modality=MR", ["1.4", "1.5"]),
        (f"modality={DCM}|CT", ["1.1", "1.2", "1.3"]),
        ("modality=http://example.org|CT", []),
        ("modality=CT,PR", ["1.1", "1.2", "1.3", "1.5"]),
        ("modality=MR&modality=PR", ["1.5"]),
        ("modality=C*", []),
        ("patient=P1&modality=CT&started=2024-01", ["1.1"]),
        ("patient=P1&patient=P2", []),
    ],
)
def test_H4_parameters_find_what_has_the_value_and_nothing_without_one(
    archive: Archive, query: str, studies: list[str]
) -> None:
    assert found(archive, query) == studies


# An hour east of UTC, where studies do not say it themselves: 1.1 started at 09:15 Z, 1.5 between 22:00 and 22:00:01 Z,
# 1.3 on the first day of 2024 at 04:30:00.5 Z, and 1.2 at some time of its day.
@pytest.mark.parametrize(
    ("query", "studies"),
    [
        ("started=2024-01-31", ["1.1", "1.5"]),
        ("started=eq2024-01-31", ["1.1", "1.5"]),
        ("started=2024", ["1.1", "1.2", "1.3", "1.5"]),
        ("started=2023", []),
        ("started=ne2024-01-31", ["1.2", "1.3"]),
        ("started=2024-01-31T10:15", ["1.1"]),
        ("started=2024-01-31T09:15:00Z", ["1.1"]),
        ("started=2024-01-31T10:15:00%2B01:00", ["1.1"]),
        ("started=2024-01-31T10:15:00+01:00", ["1.1"]),
        ("started=2024-01-31T10:15:00Z", []),
        ("started=2024-01-01T04:30:00.5Z", ["1.3"]),
        ("started=2023-12-31T23:30:00-05:00", ["1.3"]),
        ("started=gt2024-01-31", ["1.2"]),
        ("started=ge2024-01-31", ["1.1", "1.2", "1.5"]),
        ("started=lt2024-01-31", ["1.3"]),
        ("started=le2024-01-31", ["1.1", "1.3", "1.5"]),
        ("started=sa2024-01-31T22:30:00%2B01:00", ["1.2", "1.5"]),
        ("started=eb2024-01-31T23:00", ["1.1", "1.3"]),
        ("started=gt2024-02-01T12:00", ["1.2"]),  # it may have been later on its day
        ("started=ge2024-01-31&started=lt2024-02-01", ["1.1", "1.5"]),
        ("started=gt2024-06&started=lt2024-01", []),
        ("started=2024-02,2023-12-31T23:30:00-05:00", ["1.2", "1.3"]),
        ("started=lt0001-01-02", []),
        ("started=ge9999-12-31", []),
    ],
)
def test_H4_started_compares_times_with_their_length(archive: Archive, query: str, studies: list[str]) -> None:
    assert found(archive, query, offset=lambda moment: timedelta(hours=1)) == studies


def test_H4_without_a_zone_a_study_has_started_on_a_day(archive: Archive) -> None:
    assert found(archive, "started=2024-01-31") == ["1.1", "1.5"]
    assert found(archive, "started=2024-01-31T10:15:00Z") == []
    assert found(archive, "started=2024-01-01T04:30:00.5Z") == ["1.3"]


def test_H4_pages_are_linked_and_hold_each_study_once(archive: Archive) -> None:
    seen, query, pages = [], "_count=2&modality=CT,MR", 0
    while query:
        page = bundle_of(archive, query, base=BASE)
        links = {link["relation"]: link["url"] for link in page["link"]}
        assert parse_qs(urlsplit(links["self"]).query) == parse_qs(query)
        seen += [entry["fullUrl"] for entry in page["entry"]]
        assert len(page["entry"]) <= 2
        following = urlsplit(links.get("next", ""))
        assert not following.query or links["next"].startswith(f"{BASE}/ImagingStudy?")
        query, pages = following.query, pages + 1
    assert seen == [f"{BASE}/ImagingStudy/{study}" for study in STUDIES]
    assert pages == 3


def test_H4_what_comes_between_two_pages_moves_nothing(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    for number in range(4):
        store(archive, ct(f"1.{number}.1.1", study=f"1.{number}", series=f"1.{number}.1"))
    first = bundle_of(archive, "_count=2")
    store(archive, ct("0.1.1.1", study="0.1", series="0.1.1"))
    archive.database.rows("DELETE FROM instance WHERE sop_instance = '1.1.1.1'")
    (url,) = [link["url"] for link in first["link"] if link["relation"] == "next"]
    assert found(archive, urlsplit(url).query) == ["1.2", "1.3"]
    archive.close()


def test_H4_the_number_of_matches_alone(archive: Archive) -> None:
    page = bundle_of(archive, "_count=0&modality=CT")
    assert page["total"] == 3
    assert "entry" not in page
    assert [link["relation"] for link in page["link"]] == ["self"]
    assert len(found(archive, f"_count={MOST_COUNT * 10}")) == len(STUDIES)


def test_H4_a_page_is_of_the_view_asked(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "data", quiet=0)
    receive(archive, tmp_path / "files", series_of(count=3))
    convert_all(archive)
    for view in (View.RECEIVED, View.CLASSIC, View.ENHANCED):
        (entry,) = bundle_of(archive, "modality=CT", view=view, ae_title="BOX")["entry"]
        resource = entry["resource"]
        assert (resource["id"], resource["numberOfInstances"]) == (STUDY, len(archive.study_instances(STUDY, view)))
    archive.close()


@pytest.mark.parametrize(
    ("query", "parameter", "code"),
    [
        ("colour=red", "colour", "not-supported"),
        ("patient:contains=P", "patient:contains", "not-supported"),
        ("based-on=ServiceRequest/1", "based-on", "not-supported"),
        ("patient=", "patient", "invalid"),
        ("patient", "patient", "invalid"),
        ("patient=P1,", "patient", "invalid"),
        ("identifier=a|b|c", "identifier", "invalid"),
        ("identifier=urn:dicom:uid|", "identifier", "invalid"),
        ("identifier=1.2.3,7", "identifier", "not-supported"),
        (f"identifier:of-type={TYPES}|MR|P1", "identifier:of-type", "not-supported"),
        ("identifier:of-type=ACSN|A1", "identifier:of-type", "invalid"),
        ("started=yesterday", "started", "invalid"),
        ("started=2024-13", "started", "invalid"),
        ("started=2024-02-30", "started", "invalid"),
        ("started=ap2024", "started", "invalid"),
        ("started=2024-01-01T25:00", "started", "invalid"),
        ("_count=many", "_count", "invalid"),
        ("_count=-1", "_count", "invalid"),
        ("_count=1&_count=2", "_count", "invalid"),
        ("_cursor=5", "_cursor", "invalid"),
        ("_cursor=00000000-5", "_cursor", "invalid"),
        ("patient=" + ",".join(map(str, range(200))), "patient", "invalid"),
        ("&".join(["patient=P1"] * 60), "", "invalid"),
        ("patient=%ff", "", "invalid"),
    ],
)
def test_H4_a_search_that_is_none_names_its_parameter(archive: Archive, query: str, parameter: str, code: str) -> None:
    with pytest.raises(SearchError) as caught:
        search(archive, query)
    assert caught.value.parameter == parameter
    said = outcome(caught.value)
    model = need_module("fhir.resources.operationoutcome").OperationOutcome.model_validate_json(json.dumps(said))
    assert (model.issue[0].code, model.issue[0].severity) == (code, "error")
    assert said["issue"][0]["expression"] == [f"http.{parameter or 'query'}"]


def test_H4_values_are_never_text_of_the_statement(archive: Archive) -> None:
    for name in PARAMETERS:
        if name not in ("started", "identifier:of-type"):
            assert found(archive, f"{name}={quote(chr(39) + ' OR 1=1 --')}") == []


def test_H4_a_search_reads_no_more_of_the_index_than_it_has_to(archive: Archive) -> None:
    from gateway.archive.query import translate
    from gateway.retrieval import imaging_study_search as module

    for query in ("patient=P1", "based-on:identifier=A1", "_id=1.1", "started=2024-01-31", "modality=MR"):
        made = module._Search(None)
        ((name, text),) = module._parameters(query)
        module.PARAMETERS[name](made, name, [text])
        statement = translate(made.query(View.RECEIVED, None))
        plan = [row[3] for row in archive.database.rows(f"EXPLAIN QUERY PLAN {statement.sql}", statement.parameters)]
        assert not [step for step in plan if step.startswith("SCAN")], (query, plan)
