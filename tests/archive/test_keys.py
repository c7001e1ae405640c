"""What the index answers is what the instances in force say: corrections, moves, withdrawals in any order (T2)."""

from __future__ import annotations

import logging
import os
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from archive_tools import HandClock, commit, ct, derive, tallies
from archive_tools import counted as counted_tallies
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway import observe
from gateway.archive import conflicts
from gateway.archive.attributes import keyword_of, tag_named, vr_of
from gateway.archive.contents import study_contents, study_named
from gateway.archive.index import Archive
from gateway.archive.matches import matches
from gateway.archive.matching import Asked
from gateway.archive.query import Query
from gateway.archive.rows import Settlement
from gateway.archive.schema import migrate
from gateway.archive.status import box_status, study_status
from gateway.archive.succession import INDEX
from gateway.archive.views import ALL_VIEWS, View
from gateway.errors import ArchiveError
from gateway.objects.elements import dataset, make
from gateway.objects.part10 import read_header
from gateway.standard.anatomy import BODY_PARTS


def ask(archive: Archive, level: str, view: View = View.RECEIVED, *, root: bool = False, **keys: str) -> list[dict]:
    """Return what is answered, by keywords, values joined as text."""
    asked = tuple(
        Asked(tag_named(one), vr_of(tag_named(one)), (value,) if value else ()) for one, value in keys.items()
    )
    found = matches(archive, Query(level, view, asked, of_patient=root))
    return [{keyword_of(tag): "\\".join(map(str, values)) for tag, values in match.values.items()} for match in found]


@dataclass
class Model:
    """A plain list of what is in force, by SOP Instance UID, the last that came at its end."""

    held: dict[str, dict[str, str]] = field(default_factory=dict)

    def arrive(self, said: dict[str, str]) -> None:
        self.held.pop(said["SOPInstanceUID"], None)
        self.held[said["SOPInstanceUID"]] = said

    def of(self, keyword: str, value: str) -> list[dict[str, str]]:
        return [one for one in self.held.values() if one[keyword] == value]

    def answers(self, level: str, keys: dict[str, str]) -> list[dict[str, str]]:
        """Return what a query finds: entities of which some instance says all that is asked, as the latest says it."""
        unique = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID"}[level]
        found = []
        for uid in dict.fromkeys(one[unique] for one in self.held.values()):
            members = self.of(unique, uid)
            whole = members if level == "PATIENT" else self.of("StudyInstanceUID", members[0]["StudyInstanceUID"])
            upper = {one: value for one, value in keys.items() if value and one not in OF_SERIES}
            lower = {one: value for one, value in keys.items() if value and one in OF_SERIES}
            if any(_says(one, upper) for one in whole) and any(_says(one, lower) for one in members):
                found.append(
                    {k: _latest(members if k in OF_SERIES else whole, k) for k in keys if k != "ModalitiesInStudy"}
                )
        return found

    def modalities(self, study: str) -> str:
        return "\\".join(sorted({one["Modality"] for one in self.of("StudyInstanceUID", study)}))


OF_SERIES = ("SeriesInstanceUID", "Modality", "BodyPartExamined", "SeriesDescription")


def _latest(instances: list[dict[str, str]], keyword: str) -> str:
    """Return what the last instance says, or if that says nothing, the last of its patient that does."""
    mine = [one for one in instances if keyword in OF_SERIES or one["PatientID"] == instances[-1]["PatientID"]]
    return next((one[keyword] for one in reversed(mine) if one[keyword]), "")


def _says(one: dict[str, str], keys: dict[str, str]) -> bool:
    return all(one[keyword] == value for keyword, value in keys.items())


def receive(archive: Archive, clock: HandClock, said: dict[str, Any], number: int) -> None:
    """Receive what differs from all that came before; its file is as old as the clock says."""
    clock.time += 1
    ds = ct(said["SOPInstanceUID"], **{k: v for k, v in said.items() if k != "SOPInstanceUID"})
    ds |= dataset(make("StudyInstanceUID", said["StudyInstanceUID"]), make("ImageComments", f"version {number}"))
    name = commit(archive, dataset(*ds.values()))
    os.utime(archive.files.intake_path(name), (clock.time, clock.time))
    archive.admit(name, read_header(archive.files.intake_path(name)), peer="CT1")


ARRIVALS = st.fixed_dictionaries(
    {
        "SOPInstanceUID": st.sampled_from([f"1.9.{number}" for number in range(5)]),
        "StudyInstanceUID": st.sampled_from(["1.1", "1.2"]),
        "SeriesInstanceUID": st.sampled_from(["1.5.1", "1.5.2"]),
        "PatientID": st.sampled_from(["P1", "P2"]),
        "PatientName": st.sampled_from(["OLD^NAME", "NEW^NAME"]),
        "AccessionNumber": st.sampled_from(["A1", "A2", ""]),
        "StudyDescription": st.sampled_from(["Head", "Chest", ""]),
        "Modality": st.sampled_from(["CT", "MR"]),
        "BodyPartExamined": st.sampled_from(["HEAD", "CHEST"]),
        "SeriesDescription": st.sampled_from(["axial", "coronal", ""]),
    }
).map(lambda said: said | {"SeriesInstanceUID": said["SeriesInstanceUID"] + said["StudyInstanceUID"][1:]})

STEPS = st.lists(
    st.one_of(
        ARRIVALS,
        st.tuples(st.sampled_from(["withdraw", "delete"]), st.sampled_from([f"1.9.{n}" for n in range(5)])),
        st.just(("rebuild", "")),
        st.just(("settle", "")),
    ),
    min_size=1,
    max_size=9,
)


_FIRST = {"SOPInstanceUID": "1.9.0", "StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.5.1.1", "PatientID": "P1",
          "PatientName": "OLD^NAME", "AccessionNumber": "A1", "StudyDescription": "Head", "Modality": "CT",
          "BodyPartExamined": "HEAD", "SeriesDescription": "axial"}  # fmt: skip
_SECOND = {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.5.1.2", "PatientID": "P2"}


# What is to come into a view, and the latest of it says nothing of the study.
@example(steps=[_FIRST, _FIRST | _SECOND | {"SOPInstanceUID": "1.9.1"}, _FIRST | _SECOND | {"StudyDescription": ""}])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_T2_the_index_answers_as_a_scan_of_what_is_in_force(steps: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        clock, model = HandClock(), Model()
        Path(folder, "data").mkdir()
        archive = empty(Path(folder) / "data", clock)
        for number, step in enumerate(steps):
            if isinstance(step, dict):
                receive(archive, clock, step, number)
                model.arrive(step)
            elif step[0] == "rebuild":
                archive.close()
                archive = empty(Path(folder) / "data", clock)
                archive.recover()
            elif step[0] == "settle":
                for study in ("1.1", "1.2"):
                    archive.record_conversion(
                        study, [], {row.name: Settlement(ALL_VIEWS, "why") for row in archive.unsettled(study)}
                    )
            else:
                take_away(archive, *step)
                model.held.pop(step[1], None)
        compare(archive, model)
        archive.close()


@cache
def fresh() -> bytes:
    """Return an index with nothing in it: to make one takes longer than all the rest."""
    with tempfile.TemporaryDirectory() as folder:
        migrate(Path(folder) / INDEX)
        return Path(folder, INDEX).read_bytes()


def empty(folder: Path, clock: HandClock) -> Archive:
    """Return an archive whose index is lost."""
    for path in folder.glob(f"{INDEX}*"):
        path.unlink()
    (folder / INDEX).write_bytes(fresh())
    return Archive(folder, clock)


def take_away(archive: Archive, how: str, uid: str) -> None:
    """Take what is held of a SOP Instance UID out of all views, or out of the index as well."""
    rows = archive.versions(uid)
    if how == "delete":
        archive.database.rows("DELETE FROM instance WHERE sop_instance = ?", (uid,))
    else:
        archive.database.rows(
            "UPDATE instance SET superseded = id, views = 0, settled = 1 WHERE sop_instance = ? AND superseded = 0",
            (uid,),
        )
    for row in rows:  # else a rebuild has it again
        archive.files.intake_path(row.name).unlink(missing_ok=True)


def compare(archive: Archive, model: Model) -> None:
    """Compare the answers to every query of a kind, in the views, with those of the model."""
    everything = dict.fromkeys(
        ("PatientID", "PatientName", "AccessionNumber", "StudyDescription", "StudyInstanceUID"), ""
    )
    asked: list[tuple[str, dict[str, str]]] = [
        ("STUDY", everything),
        ("SERIES", everything | dict.fromkeys(OF_SERIES, "")),
    ]
    for keyword, values in (
        ("PatientName", ("OLD^NAME", "NEW^NAME")),
        ("AccessionNumber", ("A1",)),
        ("PatientID", ("P1", "P2")),
    ):
        for value in values:
            asked += [
                ("STUDY", everything | {keyword: value}),
                (
                    "PATIENT",
                    {"PatientID": "", "PatientName": ""} | ({keyword: value} if keyword != "AccessionNumber" else {}),
                ),
            ]
    asked.append(("STUDY", everything | {"PatientName": "NEW^NAME", "AccessionNumber": "A2", "PatientID": "P2"}))
    for keyword, value in (("Modality", "MR"), ("BodyPartExamined", "CHEST"), ("PatientName", "OLD^NAME")):
        asked.append(("SERIES", everything | dict.fromkeys(OF_SERIES, "") | {keyword: value}))
    for level, keys in asked:
        for view in (View.RECEIVED, View.CLASSIC, View.ENHANCED) if level != "SERIES" else (View.RECEIVED,):
            found = ask(archive, level, view, **keys)
            assert _sorted(found) == _sorted(model.answers(level, keys)), (level, view, keys)
    for study in ("1.1", "1.2"):
        members = model.of("StudyInstanceUID", study)
        regions = {BODY_PARTS[one["BodyPartExamined"]][0] for one in members}
        found = archive.database.rows(
            "SELECT DISTINCT json_extract(r.region, '$.00080100[0]') FROM study t JOIN series s ON s.study = t.id"
            " JOIN series_keys g ON g.series = s.id JOIN keys_tally w ON w.keys = g.id AND w.instances > 0"
            " JOIN keys_region r ON r.keys = g.id WHERE t.uid = ?", (study,),
        )  # fmt: skip
        assert {code for (code,) in found} == regions
        for one in ask(
            archive, "STUDY", StudyInstanceUID=study, ModalitiesInStudy="", NumberOfStudyRelatedInstances=""
        ):
            assert one["ModalitiesInStudy"] == model.modalities(study)
            assert one["NumberOfStudyRelatedInstances"] == str(len(members))
        for patient in ("P1", "P2"):
            mine = {one["StudyInstanceUID"] for one in model.of("PatientID", patient)}
            assert {row.study for row in archive.select(View.RECEIVED, patient=patient)} == mine
            for one in ask(archive, "PATIENT", PatientID=patient, NumberOfPatientRelatedStudies=""):
                assert one["NumberOfPatientRelatedStudies"] == str(len(mine))
    assert tallies(archive) == counted_tallies(archive)


def _sorted(found: list[dict[str, str]]) -> list[list[tuple[str, str]]]:
    return sorted(sorted(one.items()) for one in found)


def said(uid: str = "1.9.1", **more: str) -> dict[str, str]:
    usual = {"SOPInstanceUID": uid, "StudyInstanceUID": "1.1", "PatientID": "P1", "PatientName": "Old^Name"}
    return usual | {"SeriesInstanceUID": f"{more.get('StudyInstanceUID', '1.1')}.5"} | more


def test_T2_after_a_correction_everything_answers_from_the_new_version(archive: Archive, clock: HandClock) -> None:
    receive(archive, clock, said(AccessionNumber="A1", Modality="CT", BodyPartExamined="HEAD"), 1)
    new = said(PatientName="New^Name", AccessionNumber="A2", StudyDescription="Corrected", Modality="MR")
    receive(archive, clock, new | {"BodyPartExamined": "CHEST", "SeriesDescription": "sagittal"}, 2)
    for view in View:
        (one,) = ask(
            archive, "STUDY", view, PatientName="", AccessionNumber="", StudyDescription="", ModalitiesInStudy=""
        )
        assert one == {"PatientName": "New^Name", "AccessionNumber": "A2", "StudyDescription": "Corrected",
                       "ModalitiesInStudy": "MR"}  # fmt: skip
        assert ask(archive, "STUDY", view, PatientName="Old*") == []
        assert ask(archive, "PATIENT", view, PatientName="Old*") == []
        assert ask(archive, "STUDY", view, AccessionNumber="A1") == []
        assert ask(archive, "STUDY", view, ModalitiesInStudy="CT") == []
    (status,) = study_status(archive)
    assert (status["patient"]["name"], status["accession"]) == ("New^Name", "A2")
    assert [one["modality"] for one in status["series"]] == ["MR"]
    assert study_status(archive, "A1") == []
    assert study_named(archive, "A2") == "1.1"
    with pytest.raises(ArchiveError):
        study_named(archive, "A1")
    columns = study_contents(archive, "1.1", View.RECEIVED)
    assert columns.columns["PatientName"] == "New^Name"
    assert columns.series[0].columns["SeriesDescription"] == "sagittal"
    assert box_status(archive)["conflicts"] == []


def test_T2_a_correction_to_another_study_and_patient_leaves_nothing_behind(archive: Archive, clock: HandClock) -> None:
    receive(archive, clock, said(), 1)
    archive.record_conversion("1.1", [], {row.name: Settlement(ALL_VIEWS, "why") for row in archive.unsettled("1.1")})
    receive(archive, clock, said(StudyInstanceUID="1.2", PatientID="P2"), 2)
    archive.record_conversion("1.2", [], {row.name: Settlement(ALL_VIEWS, "why") for row in archive.unsettled("1.2")})
    archive.database.rows("DELETE FROM job")
    for level, keyword in (("PATIENT", "PatientID"), ("STUDY", "StudyInstanceUID"), ("SERIES", "SeriesInstanceUID")):
        assert len(ask(archive, level, **{keyword: ""})) == 1, level
    assert [one["study"] for one in study_status(archive)] == ["1.2"]
    with pytest.raises(ArchiveError):
        study_named(archive, "1.1")


def test_T2_one_study_under_two_patients_is_found_by_either(archive: Archive, clock: HandClock) -> None:
    receive(archive, clock, said("1.9.1"), 1)
    receive(archive, clock, said("1.9.2", PatientID="P2", PatientName="Other"), 2)
    for patient, name in (("P1", "Old^Name"), ("P2", "Other")):
        assert ask(archive, "PATIENT", root=True, PatientID=patient, PatientName="") == [
            {"PatientID": patient, "PatientName": name}
        ]
        # Patient Root tells a study as one of the patient it was asked for, Study Root as the latest has it.
        found = ask(archive, "STUDY", root=True, PatientID=patient, PatientName="", StudyInstanceUID="")
        assert found == [{"PatientID": patient, "PatientName": name, "StudyInstanceUID": "1.1"}]
        found = ask(archive, "STUDY", PatientID=patient, PatientName="", StudyInstanceUID="")
        assert found == [{"PatientID": "P2", "PatientName": "Other", "StudyInstanceUID": "1.1"}]
        assert (
            len(ask(archive, "SERIES", root=True, PatientID=patient, StudyInstanceUID="1.1", SeriesInstanceUID="")) == 1
        )
        assert len(archive.select(View.RECEIVED, patient=patient, study=("1.1",))) == 2
    (conflict,) = conflicts.found(archive)
    assert (conflict["kind"], conflict["studies"]) == ("study", ["1.1"])
    assert [one["id"] for one in conflict["versions"]] == ["P1", "P2"]


def test_T2_study_root_answers_from_the_objects_of_the_study(archive: Archive, clock: HandClock) -> None:
    receive(archive, clock, said("1.9.1"), 1)
    receive(archive, clock, said("1.9.2", StudyInstanceUID="1.2", PatientName="Married^Name"), 2)
    found = ask(archive, "STUDY", PatientName="", StudyInstanceUID="")
    assert {one["StudyInstanceUID"]: one["PatientName"] for one in found} == {"1.1": "Old^Name", "1.2": "Married^Name"}
    assert [one["StudyInstanceUID"] for one in ask(archive, "STUDY", PatientName="Old*", StudyInstanceUID="")] == [
        "1.1"
    ]
    assert ask(archive, "PATIENT", PatientID="", PatientName="Old*") == [
        {"PatientID": "P1", "PatientName": "Married^Name"}
    ]
    (conflict,) = conflicts.found(archive)
    assert (conflict["kind"], conflict["studies"]) == ("patient", ["1.1", "1.2"])


def test_T2_a_conflict_is_told_once_not_for_each_instance(
    archive: Archive, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger=observe.LOGGER.name):
        for number in range(6):
            name = "Old^Name" if number % 2 else "New^Name"
            receive(archive, clock, said(f"1.9.{number}", PatientName=name, StudyTime=f"10{number:02}00"), number)
    told = [one for one in caplog.records if "intake.conflict" in one.getMessage()]
    assert len(told) == 1
    assert [one["kind"] for one in conflicts.found(archive)] == ["inside"]


@pytest.mark.parametrize(
    "other",
    [{"PatientName": "OLD^NAME^"}, {"PatientBirthDate": ""}, {"PatientName": "", "PatientID": ""}, {"PatientSex": ""}],
    ids=str,
)
def test_T2_what_an_object_leaves_open_is_no_conflict(archive: Archive, clock: HandClock, other: dict) -> None:
    receive(archive, clock, said("1.9.1", PatientBirthDate="19700101", PatientSex="F"), 1)
    receive(archive, clock, said("1.9.2", PatientBirthDate="19700101", PatientSex="F") | other, 2)
    assert conflicts.found(archive) == []


def test_T2_a_conflict_ends_with_the_correction(archive: Archive, clock: HandClock) -> None:
    receive(archive, clock, said("1.9.1", PatientBirthDate="19700101"), 1)
    receive(archive, clock, said("1.9.2", PatientBirthDate="19710101"), 2)
    assert [one["kind"] for one in conflicts.found(archive)] == ["inside"]
    receive(archive, clock, said("1.9.2", PatientBirthDate="19700101"), 3)
    assert conflicts.found(archive) == []


def test_T2_the_keys_of_a_view_are_those_of_its_own_objects(archive: Archive, clock: HandClock) -> None:
    receive(archive, clock, said(StudyDescription="Thorax"), 1)
    made = derive(archive, "1.1")
    row = archive.study_sources("1.1")[0]
    archive.record_conversion("1.1", [made], {row.name: Settlement(View.RECEIVED | View.CLASSIC)}, {})
    (one,) = ask(archive, "STUDY", View.ENHANCED, PatientName="", AccessionNumber="")
    assert one == {"PatientName": "Doe^Jane", "AccessionNumber": "A1"}
    assert ask(archive, "STUDY", View.ENHANCED, PatientName="Old*") == []
    assert ask(archive, "STUDY", View.CLASSIC, PatientName="Doe*") == []
    assert archive.database.row("SELECT DISTINCT received_at FROM instance") == (clock.time,)


def test_T2_versions_of_a_series_are_found_without_a_scan_of_its_instances(archive: Archive, clock: HandClock) -> None:
    """An instance that says what those before it said adds no row but its own."""
    for number in range(1, 5):
        receive(archive, clock, said(f"1.9.{number}"), number)
    for table in ("study_keys", "series_keys", "patient", "study", "series"):
        assert archive.database.row(f"SELECT count(*) FROM {table}") == (1,), table


def test_T2_what_a_late_object_leaves_open_is_answered_from_those_that_say_it(
    archive: Archive, clock: HandClock
) -> None:
    receive(archive, clock, said(AccessionNumber="A1", StudyDescription="Head", StudyDate="20260102"), 1)
    receive(archive, clock, said("1.9.2", AccessionNumber="", StudyDescription="", StudyDate=""), 2)
    keys = {"StudyInstanceUID": "", "AccessionNumber": "", "StudyDescription": "", "StudyDate": "", "PatientName": ""}
    (found,) = ask(archive, "STUDY", **keys)
    assert (found["AccessionNumber"], found["StudyDescription"], found["StudyDate"]) == ("A1", "Head", "20260102")
    (told,) = study_status(archive)
    assert (told["accession"], told["description"], told["date"]) == ("A1", "Head", "20260102")
    # Of the one who says so alone; the value is gone with him.
    take_away(archive, "withdraw", "1.9.1")
    (found,) = ask(archive, "STUDY", **keys)
    assert (found["AccessionNumber"], found["StudyDescription"], found["StudyDate"]) == ("", "", "")
