"""What has no value matches only what matches everything (PS3.4 C.2.2.1.2 and the deviation from it)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from archive_tools import HandClock, ct, derive, store

from gateway.archive.attributes import keyword_of, tag_named, vr_of
from gateway.archive.index import Archive
from gateway.archive.matches import Match, matches
from gateway.archive.matching import EMPTY_VALUES, Asked, Options
from gateway.archive.query import Query
from gateway.archive.rows import Settlement
from gateway.archive.views import View
from gateway.objects.elements import dataset, make, sequence
from gateway.retrieval.imaging_study_search import search
from gateway.standard.query_keys import COMPUTED, FURTHER_KEYS, KEYS, LEVELS, UNIQUE_KEYS, Key

VALUES = {
    "PN": "Nobody", "DA": "19990101", "TM": "1200", "DT": "19990101120000", "UI": "1.2.3.999", "AS": "001D",
    "IS": "77", "DS": "77", "US": "77", "UL": "77", "FD": "77", "FL": "77", "SL": "77", "SS": "77",
}  # fmt: skip

# Keys that every object of these tests has a value for, and those that are counted.
FILLED = frozenset(
    (*UNIQUE_KEYS.values(), "SOPClassUID", "AvailableTransferSyntaxUID", "AlternateRepresentationSequence")
) | {keyword for level in LEVELS for keyword in COMPUTED[level]}


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    made = Archive(tmp_path / "data", HandClock())
    yield made
    made.close()


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """One object that has its UIDs and a Patient ID, and nothing else."""
    made = Archive(tmp_path_factory.mktemp("bare") / "data", HandClock())
    keep = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID")
    ds = ct("1.2.3.4.1")
    store(made, {tag: element for tag, element in ds.items() if keyword_of(tag) in keep})
    yield made
    made.close()


def asked(keyword: str, value: str, items: tuple[Key, ...] = ()) -> Asked:
    """Return a key with a value; of a sequence, with the value in its first attribute."""
    tag = tag_named(keyword)
    if vr_of(tag) == "SQ":
        inner = items[0] if items else Key("CodeValue")
        return Asked(tag, "SQ", (), (asked(inner.keyword, value, inner.items),))
    vr = vr_of(tag)
    return Asked(tag, vr, (value or VALUES.get(vr, "NOSUCH"),))


def found(archive: Archive, level: str, *keys: Asked, view: View = View.RECEIVED, **options: Any) -> list[Match]:
    unique = Asked(tag_named(UNIQUE_KEYS[level]), "UI" if level != "PATIENT" else "LO")
    return list(matches(archive, Query(level, view, (unique, *keys), Options(**options))))


ALL_KEYS = [
    pytest.param(level, keyword, items, id=f"{level}-{keyword}")
    for home in LEVELS
    for level in LEVELS[LEVELS.index(home) :]
    for keyword, items in (
        *((key.keyword, key.items) for key in KEYS[home]),
        *((one, ()) for one in FURTHER_KEYS[home]),
    )
    if keyword not in FILLED
]
OF_HEADERS = ["SliceLocation", "ContentDate", "ContentTime", "ImageType", "ImageComments", "DerivationCodeSequence"]
ALL_KEYS += [pytest.param("IMAGE", keyword, (), id=f"IMAGE-{keyword}") for keyword in OF_HEADERS]


@pytest.mark.parametrize(("level", "keyword", "items"), ALL_KEYS)
def test_T7_a_key_without_a_value_matches_no_value(
    bare: Archive, level: str, keyword: str, items: tuple[Key, ...]
) -> None:
    one = asked(keyword, "", items)
    for more in ({}, {"fuzzy": True, "combined": True, "zone": 60, "multiple": True, "empty": True}):
        assert not found(bare, level, one, **more)
        assert found(bare, level, one, empty_matches=True, **more)
        assert found(bare, level, asked(keyword, "*", items), **more)
    innermost = one
    while innermost.items:
        innermost = innermost.items[0]
    if innermost.vr in EMPTY_VALUES:
        assert found(bare, level, asked(keyword, '""', items), empty=True)
    if innermost.vr in ("DA", "TM", "DT"):
        for open_ended in (f"-{innermost.values[0]}", f"{innermost.values[0]}-"):
            assert not found(bare, level, asked(keyword, open_ended, items))
            assert not found(bare, level, asked(keyword, open_ended, items), zone=-480)


@pytest.mark.parametrize("first", ["-", ""])
def test_T7_a_study_without_a_date_is_in_no_combined_range(bare: Archive, first: str) -> None:
    day, clock = (f"{first}20991231", f"{first}2359") if first else ("19000101-", "0000-")
    keys = asked("StudyDate", day), asked("StudyTime", clock)
    for zone in (None, 0, 840):
        assert not found(bare, "STUDY", *keys, combined=True, zone=zone)
        assert found(bare, "STUDY", *keys, combined=True, zone=zone, empty_matches=True)


def test_T7_a_list_of_names_without_a_value_matches_a_list_of_asterisks(bare: Archive) -> None:
    tag = tag_named("OtherPatientNames")
    assert found(bare, "PATIENT", Asked(tag, "PN", ("*", "=*", "*=*")), multiple=True)
    assert not found(bare, "PATIENT", Asked(tag, "PN", ("*", "Nobody")), multiple=True)
    assert found(bare, "PATIENT", Asked(tag_named("PatientName"), "PN", ("=*",)))


def test_T7_an_item_without_a_value_matches_no_value(archive: Archive) -> None:
    items = (dataset(make("CodeMeaning", "something")), dataset(make("CodeValue", "")))
    store(archive, ct("1.2.3.4.1") | dataset(sequence("ProcedureCodeSequence", *items)))
    assert not found(archive, "STUDY", asked("ProcedureCodeSequence", "C1"))
    assert found(archive, "STUDY", asked("ProcedureCodeSequence", "*"))
    assert found(archive, "STUDY", asked("ProcedureCodeSequence", '""'), empty=True)


def test_T7_what_a_pending_conversion_leaves_open_matches_no_value(archive: Archive) -> None:
    """Its classes and counts are answered without a value until then."""
    store(archive, ct("1.2.3.4.1"))
    of_class, count = (
        asked("SOPClassesInStudy", "1.2.840.10008.5.1.4.1.1.2.2"),
        asked("NumberOfStudyRelatedSeries", "1"),
    )
    for one in (of_class, count):
        assert not found(archive, "STUDY", one, view=View.ENHANCED)
    assert found(archive, "STUDY", asked("ModalitiesInStudy", "CT"), view=View.ENHANCED)
    made = [derive(archive, "1.2.3")]
    rows = archive.unsettled("1.2.3")
    archive.record_conversion("1.2.3", made, {row.name: Settlement(View.RECEIVED | View.CLASSIC) for row in rows})
    for one in (of_class, count):
        assert found(archive, "STUDY", one, view=View.ENHANCED)


def test_T7_a_fhir_search_finds_nothing_by_what_is_not_there(bare: Archive) -> None:
    for query in ("identifier=NOSUCH", "modality=CT", "started=2024-01-31", "started=lt2099-01-01"):
        assert not search(bare, query).get("entry")
    assert len(search(bare, "")["entry"]) == 1


def test_T7_of_thousands_of_candidates_every_header_is_looked_at(archive: Archive) -> None:
    """More than 2,000 instances, of which the last alone has what is asked for."""
    store(archive, ct("1.2.3.4.1", SliceLocation="1.5"))
    _multiply(archive, 2049)
    store(archive, ct("1.2.3.4.9999", SliceLocation="2.5"))
    (last,) = found(archive, "IMAGE", asked("SliceLocation", "2.5"))
    assert last.complete
    assert list(last.values[tag_named("SOPInstanceUID")]) == ["1.2.3.4.9999"]
    looked = 0

    def interrupted() -> bool:
        nonlocal looked
        looked += 1
        return looked > 100

    # C-CANCEL ends it although nothing matches.
    keys = (asked("SliceLocation", "99"),)
    assert not list(matches(archive, Query("IMAGE", View.RECEIVED, keys), interrupted=interrupted))
    assert looked <= 102


def _multiply(archive: Archive, most: int) -> None:
    """Give the index an instance many times, each with a file of its own."""
    ((name,),) = archive.database.rows("SELECT name FROM instance")
    other = "0" if name[-5] != "0" else "1"  # so that none is the first one's
    content = archive.files.locate(name).read_bytes()
    columns = [row[1] for row in archive.database.rows("PRAGMA table_info(instance)") if row[1] != "id"]
    made = {"sop_instance": "?", "name": "?"}
    sql = f"INSERT INTO instance ({', '.join(columns)}) SELECT {', '.join(made.get(one, one) for one in columns)}"
    with archive.database.transaction() as connection:
        for number in range(2, most + 1):
            values = {"sop_instance": f"1.2.3.4.{number}", "name": f"{name[:-5]}{other}{number:04d}"}
            archive.files.intake_path(values["name"]).write_bytes(content)
            parameters = (*(values[one] for one in columns if one in values), name)
            connection.execute(f"{sql} FROM instance WHERE name = ?", parameters)


def test_T7_an_instance_whose_file_is_gone_matches_nothing_that_only_its_file_says(archive: Archive) -> None:
    store(archive, ct("1.2.3.4.1", SliceLocation="1"))
    ((name,),) = archive.database.rows("SELECT name FROM instance")
    archive.files.locate(name).unlink()
    assert not found(archive, "IMAGE", asked("SliceLocation", "1"))
    (match,) = found(archive, "IMAGE", Asked(tag_named("SliceLocation"), "DS"))
    assert not match.complete
    assert tag_named("SliceLocation") not in match.values
