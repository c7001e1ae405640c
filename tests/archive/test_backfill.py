"""Rows that an older version of the extraction has made are read again, in small steps (REQUIREMENTS T8)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from archive_tools import CT, HandClock, counted, ct, debris, derive, store, tallies

from gateway.archive import backfill, entities, places
from gateway.archive.attributes import tag_named, vr_of
from gateway.archive.index import Archive
from gateway.archive.matches import matches
from gateway.archive.matching import Asked
from gateway.archive.query import Query
from gateway.archive.rows import Settlement
from gateway.archive.schema import MIGRATIONS, migrate
from gateway.archive.views import View
from gateway.objects.elements import DataSet, Element, make
from gateway.objects.encode import encode


def asked(archive: Archive, level: str, view: View = View.RECEIVED, **keys: str) -> list[dict[str, Any]]:
    """Return what a query finds; a value that is not empty must match."""
    made = tuple(Asked(tag_named(key), vr_of(tag_named(key)), (one,) if one else ()) for key, one in keys.items())
    return [
        {key: list(match.values[tag_named(key)]) for key in keys}
        for match in matches(archive, Query(level, view, made))
    ]


def versions(archive: Archive) -> set[tuple[str, int]]:
    """Return with which versions of the extraction the rows of each table were made."""
    found = {("instance", one) for (one,) in archive.database.rows("SELECT extraction FROM instance")}
    for table in ("series_keys", "study_keys"):
        found |= {(table, one) for (one,) in archive.database.rows(f"SELECT indexed FROM {table}")}
    return found


ADDED = {"PATIENT": "PatientReligiousPreference", "STUDY": "InterpretationAuthor", "SERIES": "KVP", "IMAGE": "Exposure"}


def learn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the extraction be of the next version, which knows a key more at each level."""
    monkeypatch.setattr(entities, "EXTRACTION", entities.EXTRACTION + 1)
    for level, keyword in ADDED.items():
        monkeypatch.setitem(entities._DOCUMENTS, level, (*entities._DOCUMENTS[level], keyword))
        monkeypatch.setitem(places.HOME, keyword, level)
    # What it remembers is of the version before; no process has two.
    monkeypatch.setattr(entities, "describe_entities", entities.describe_entities.__wrapped__)  # type: ignore[attr-defined]


def richer(instance: str, **more: Any) -> DataSet:
    given = {"PatientReligiousPreference": "none", "InterpretationAuthor": "Doe^J", "KVP": "120", "Exposure": "7"}
    return ct(instance, **(given | more))


def test_T8_a_key_that_is_added_reaches_the_rows_of_before(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 4):
        store(archive, richer(f"1.2.3.4.{number}", number=number, Exposure=str(number)))
    made = derive(archive, "1.2.3")
    recipe = archive.files.recipe(made.name)
    settled = {row.name: Settlement(View.RECEIVED | View.CLASSIC) for row in archive.unsettled("1.2.3")}
    archive.record_conversion("1.2.3", [made], settled)
    archive.checkpoint()
    assert recipe.exists()
    before = entities.EXTRACTION
    assert versions(archive) == {(table, before) for table in ("instance", "series_keys", "study_keys")}
    learn(monkeypatch)
    assert asked(archive, "IMAGE", Exposure="2") == [], "not known yet"
    assert backfill.step(archive) == 4
    assert versions(archive) == {(table, before + 1) for table in ("instance", "series_keys", "study_keys")}
    assert asked(archive, "IMAGE", Exposure="2", InstanceNumber="") == [{"Exposure": ["2"], "InstanceNumber": [2]}]
    assert asked(archive, "SERIES", KVP="120") == [{"KVP": ["120"]}]
    assert asked(archive, "STUDY", InterpretationAuthor="doe*") == [{"InterpretationAuthor": ["Doe^J"]}]
    assert asked(archive, "PATIENT", PatientReligiousPreference="none") == [{"PatientReligiousPreference": ["none"]}]
    assert asked(archive, "IMAGE", View.ENHANCED, NumberOfFrames="3") == [{"NumberOfFrames": [3]}]
    assert tallies(archive) == counted(archive)
    assert debris(archive) == []
    for table in ("series_keys", "study_keys"):  # nothing is left that nobody says
        (rows,) = archive.database.row(f"SELECT count(*) FROM {table}") or (0,)
        assert rows == {"series_keys": 2, "study_keys": 2}[table] or rows == 1
    assert backfill.step(archive) == 0


def test_T8_what_comes_meanwhile_is_of_the_new_version_and_is_not_read_twice(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(archive, richer("1.2.3.4.1"))
    learn(monkeypatch)
    monkeypatch.setattr(backfill, "LONGEST", 0.0)
    assert backfill.step(archive) == 0
    store(archive, richer("1.2.3.4.2", number=2, Exposure="9"))
    monkeypatch.undo()
    learn(monkeypatch)
    read: list[str] = []
    looking = backfill._header
    monkeypatch.setattr(
        backfill, "_header", lambda archive, name, kind: read.append(name) or looking(archive, name, kind)
    )
    assert backfill.step(archive) == 1
    assert len(read) == 1
    assert len(asked(archive, "IMAGE", Exposure="")) == 2


def test_T8_one_step_is_bounded_however_many_rows_there_are(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 8):
        store(archive, richer(f"1.2.3.4.{number}", number=number, Exposure=str(number)))
    learn(monkeypatch)
    monkeypatch.setattr(backfill, "TOGETHER", 2)
    monkeypatch.setattr(backfill, "LONGEST", 1e-9)
    found = []
    for _ in range(20):
        found.append(backfill.step(archive))
        if not found[-1]:
            break
    assert max(found) <= 2
    assert sum(found) == 7 or set(found) == {0}


def test_T8_a_file_that_is_gone_keeps_no_other_from_being_read(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [store(archive, richer(f"1.2.3.4.{number}", number=number)).name for number in (1, 2, 3)]
    archive.files.remove(names[1])
    learn(monkeypatch)
    assert backfill.step(archive) == 3
    assert len(asked(archive, "IMAGE", Exposure="7")) == 2
    assert ("instance", entities.EXTRACTION - 1) in versions(archive), "what is not known is not said to be"
    assert backfill.step(archive) == 0


def test_T8_a_restart_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(tmp_path / "data", HandClock())
    for number in range(1, 6):
        store(archive, richer(f"1.2.3.4.{number}", number=number))
    learn(monkeypatch)
    monkeypatch.setattr(backfill, "TOGETHER", 2)
    backfill._begin(archive)
    assert backfill._some(archive, 0, 5) == (2, 2)
    archive.close()
    archive = Archive(tmp_path / "data", HandClock())
    assert backfill.step(archive) == 3
    assert len(asked(archive, "IMAGE", Exposure="7")) == 5
    archive.close()


# An index as it was before rows said which version made them: one row a series, VR UN not read, one frame by default.
BEFORE = next(number for number, (name, _) in enumerate(MIGRATIONS) if name == "0010_extraction")


def old_index(root: Path, archive: Archive) -> None:
    """Put an index in place that the version before has made of the files of an archive."""
    rows = archive.study_instances("1.2.3", View.RECEIVED)
    archive.close()
    for path in root.glob("index.sqlite3*"):
        path.unlink()
    migrate(root / "index.sqlite3", MIGRATIONS[:BEFORE])
    with closing(sqlite3.connect(root / "index.sqlite3")) as connection, connection:
        connection.execute(
            "INSERT INTO patient (id, scope, patient_id, issuer, name, birth_date, sex, name_a, sound, indexed)"
            " VALUES (1, 'P1\\', 'P1', '', 'Doe^Jane', '', '', 'doe^jane', ' doe D000 jane J500 ', 1)"
        )
        connection.execute(
            "INSERT INTO study (id, uid, patient, date, time, study_id, accession, description, referring, created_at,"
            " updated_at, day, clock, indexed)"
            " VALUES (1, '1.2.3', 1, '20240131', '101500', '', 'A1', 'Thorax', '', 0, 0, 738916, 36900000000, 1)"
        )
        connection.execute(
            "INSERT INTO series (id, study, uid, number, modality, description, body_part, protocol, date, time,"
            " indexed) VALUES (1, 1, '1.2.3.4', 2, 'CT', 'axial', '', '', '', '', 1)"
        )
        for number, row in enumerate(rows, 1):
            connection.execute(
                "INSERT INTO instance VALUES (?, 1, ?, ?, ?, 'received', '1.2.840.10008.1.2.1', ?, ?, ?, 7, 1, 0,"
                " '', 'CT1', '', 1, 0, 1, ?, 4, 4, 1, NULL)",
                (
                    number,
                    row.sop_instance,
                    CT,
                    row.name,
                    row.length,
                    row.dataset_offset,
                    bytes.fromhex(row.digest),
                    number,
                ),
            )


def test_T8_an_index_of_the_version_before_learns_what_this_one_knows(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "data", HandClock())
    unknown = {}
    for one in (make("InstitutionName", "HOSPITAL"), make("BodyPartExamined", "CHEST"), make("NumberOfFrames", 1)):
        unknown[one.tag] = Element(one.tag, "UN", encode({one.tag: one}, implicit=True)[8:])
    frames = {tag_named("NumberOfFrames"): unknown.pop(tag_named("NumberOfFrames"))}
    objects = (ct() | unknown | frames, ct("1.2.3.4.2", number=2) | unknown)
    for ds in objects:
        store(archive, ds)
    archive.checkpoint()
    old_index(tmp_path / "data", archive)
    archive = Archive(tmp_path / "data", HandClock())
    assert asked(archive, "SERIES", InstitutionName="") == [{"InstitutionName": []}]
    archive.checkpoint()
    assert asked(archive, "SERIES", InstitutionName="HOSP*") == [{"InstitutionName": ["HOSPITAL"]}]
    assert asked(archive, "SERIES", BodyPartExamined="CHEST") == [{"BodyPartExamined": ["CHEST"]}]
    found = asked(archive, "IMAGE", SOPInstanceUID="", NumberOfFrames="")
    assert sorted(one["NumberOfFrames"] for one in found) == [[], [1]]
    assert len(asked(archive, "STUDY", PatientName="Doe*", StudyDate="20240131")) == 1
    assert tallies(archive) == counted(archive)
    assert debris(archive) == []
    archive.close()


@pytest.mark.parametrize(("value", "expected"), [(None, []), (0, [0]), (1, [1]), (7, [7]), (-1, [-1])])
def test_T6_number_of_frames_has_a_value_only_where_the_instance_has_it(
    archive: Archive, value: int | None, expected: list[int]
) -> None:
    store(archive, ct(NumberOfFrames=value))
    assert asked(archive, "IMAGE", NumberOfFrames="") == [{"NumberOfFrames": expected}]
    row = archive.instance("1.2.3.4.1")
    assert row is not None
    assert row.frames == max(value or 1, 1), "for what counts frames it is one at least"


def test_T6_number_of_frames_matches_where_the_instance_has_it(archive: Archive) -> None:
    for number, frames in enumerate((None, 1, 5), 1):
        store(archive, ct(f"1.2.3.4.{number}", number=number, NumberOfFrames=frames))
    matching = {one: asked(archive, "IMAGE", NumberOfFrames=one, InstanceNumber="") for one in ("1", "5", "2")}
    assert [one["InstanceNumber"] for one in matching["1"]] == [[2]]
    assert [one["InstanceNumber"] for one in matching["5"]] == [[3]]
    assert matching["2"] == []


def test_T6_what_an_instance_does_not_have_has_no_value_at_any_level(archive: Archive) -> None:
    """Nothing but what identifies an object: every key that is not counted is of zero length, and none is left out."""
    bare = {tag: one for tag, one in ct().items() if vr_of(tag) == "UI"}
    store(archive, bare)
    uids = {"SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"}
    said = uids | {"SOPClassesInStudy", "StudyUpdateDateTime", "AvailableTransferSyntaxUID"}
    said |= {one for keys in places.COMPUTED_KEYS for one in (keys,) if one.startswith("Number")}
    for level in ("PATIENT", "STUDY", "SERIES", "IMAGE"):
        keys = [one for one, home in places.HOME.items() if home == level and one != "TimezoneOffsetFromUTC"]
        (found,) = asked(archive, level, **dict.fromkeys(keys, ""))
        assert set(found) == set(keys)
        assert {one for one, values in found.items() if values} <= said
