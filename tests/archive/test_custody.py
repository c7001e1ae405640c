"""What destinations have been promised and what they have; and how the status tells it."""

from __future__ import annotations

import json

import pytest
from archive_tools import GSPS, HandClock, ct, derive, store

from gateway import observe
from gateway.archive.index import Archive
from gateway.archive.rows import Settlement
from gateway.archive.status import box_status, study_status
from gateway.archive.views import ALL_VIEWS, View
from gateway.errors import ArchiveError, DamagedError, ResourceError

STUDY = "1.2.3"


def convert(archive: Archive) -> None:
    """Two images become one object; a presentation state stays as it is."""
    for n in (1, 2):
        store(archive, ct(f"1.2.3.4.{n}", number=n))
    made = derive(archive, STUDY)
    store(archive, ct("1.2.3.5.1", series="1.2.3.5", sop_class=GSPS, SeriesNumber=9, Modality="PR"))
    settled = {row.name: Settlement(View.RECEIVED | View.CLASSIC) for row in archive.unsettled(STUDY)}
    last = next(row.name for row in archive.unsettled(STUDY) if row.sop_class == GSPS)
    archive.record_conversion(STUDY, [made], settled | {last: Settlement(ALL_VIEWS, "not an image")})
    archive.jobs.retry_now()
    job = archive.jobs.take("convert")
    assert job is not None
    archive.jobs.schedule("deliver", STUDY, "PACS")
    archive.jobs.finish(job)


def test_what_was_decided_once_stays(archive: Archive, clock: HandClock) -> None:
    assert archive.custody.decision(STUDY, "PACS") is None
    first = archive.custody.decide(STUDY, "PACS", View.ENHANCED, "takes them")
    assert first == (STUDY, "PACS", View.ENHANCED, "takes them", clock.time, {})
    clock.time += 1
    assert archive.custody.decide(STUDY, "PACS", View.CLASSIC, "changed its mind") == first
    assert archive.custody.decision(STUDY, "PACS") == first
    assert archive.custody.decide(STUDY, "OTHER", View.CLASSIC).view == View.CLASSIC
    assert [one.destination for one in archive.custody.decisions(STUDY)] == ["OTHER", "PACS"]


def test_a_decision_outlives_the_row_that_a_power_cut_takes(archive: Archive) -> None:
    decided = archive.custody.decide(STUDY, "PACS", View.CLASSIC, "why")
    with archive.database.transaction() as connection:
        connection.execute("DELETE FROM decision")
    assert archive.custody.decision(STUDY, "PACS") == decided
    assert archive.custody.decide(STUDY, "PACS", View.RECEIVED) == decided
    assert archive.custody.decisions(STUDY) == [decided]


def test_nothing_is_decided_when_the_record_cannot_be_written(archive: Archive) -> None:
    observe.load_faults("record.before_rename=ENOSPC")
    with pytest.raises(ResourceError):
        archive.custody.decide(STUDY, "PACS", View.ENHANCED)
    assert archive.custody.decision(STUDY, "PACS") is None


@pytest.mark.parametrize("text", ["{", "{}", '{"view": "none"}'])
def test_the_record_is_plain_json_and_a_broken_one_is_named(archive: Archive, text: str) -> None:
    archive.custody.decide(STUDY, "PACS", View.ENHANCED, "takes them")
    (path,) = archive.files.records.iterdir()
    record = json.loads(path.read_bytes())
    assert (record["study"], record["destination"], record["view"]) == (STUDY, "PACS", "enhanced")
    path.write_text(text)
    with archive.database.transaction() as connection:
        connection.execute("DELETE FROM decision")
    with pytest.raises((ArchiveError, DamagedError), match=path.name):
        archive.custody.decision(STUDY, "PACS")


def test_outstanding_is_what_was_not_delivered_with_this_content_and_did_not_come_from_a_destination(
    archive: Archive,
) -> None:
    for n in range(1, 5):
        store(archive, ct(f"1.2.3.4.{n}", number=n), prior=n == 4)
    rows = archive.study_instances(STUDY, View.RECEIVED)
    custody = archive.custody
    assert custody.outstanding(STUDY, "PACS", rows) == rows[:3]
    custody.delivered(STUDY, "PACS", rows[0])
    custody.failed(STUDY, "PACS", rows[1], 0x0122, "class not supported", refused=True)
    custody.failed(STUDY, "PACS", rows[2], None, "connection lost")
    assert custody.outstanding(STUDY, "PACS", rows) == rows[1:3]
    assert custody.outstanding(STUDY, "OTHER", rows) == rows[:3]
    assert [(one.state, one.status, one.reason) for one in custody.deliveries(STUDY, "PACS")] == [
        ("delivered", 0, ""),
        ("refused", 0x0122, "class not supported"),
        ("failed", None, "connection lost"),
    ]
    custody.delivered(STUDY, "PACS", rows[1])
    assert custody.deliveries(STUDY, "PACS")[1].attempts == 2
    store(archive, ct("1.2.3.4.1"), pixels=b"\1" * 32)
    newer = archive.study_instances(STUDY, View.RECEIVED)
    assert [row.sop_instance for row in custody.outstanding(STUDY, "PACS", newer)] == ["1.2.3.4.1", "1.2.3.4.3"]


def test_what_is_expected_counts_as_pending_until_it_is_delivered(archive: Archive) -> None:
    store(archive, ct())
    rows = archive.study_instances(STUDY, View.RECEIVED)
    archive.custody.expect(STUDY, "PACS", rows)
    assert [one.state for one in archive.custody.deliveries(STUDY, "PACS")] == ["pending"]
    archive.custody.delivered(STUDY, "PACS", rows[0])
    archive.custody.expect(STUDY, "PACS", rows)
    assert [one.state for one in archive.custody.deliveries(STUDY, "PACS")] == ["delivered"]


def test_status_while_a_study_arrives(archive: Archive, clock: HandClock) -> None:
    assert box_status(archive)["idle"]
    store(archive, ct())
    status = box_status(archive, STUDY)
    assert not status["idle"]
    assert (status["waiting"], status["intake"]) == (1, 1)
    (study,) = status["studies"]
    assert study["patient"] == {"id": "P1", "issuer": "", "name": "Doe^Jane"}
    assert (study["accession"], study["description"], study["pending"], study["settled"]) == ("A1", "Thorax", 1, 0)
    assert study["conversion"]["next_attempt"] == clock.time + 120
    assert study["destinations"] == []


def test_status_says_what_became_of_each_series_and_how_it_stands_at_each_destination(archive: Archive) -> None:
    convert(archive)
    (study,) = study_status(archive, "A1")
    assert study["received"] == {"series": 2, "instances": 3}
    assert (study["settled"], study["pending"], study["idle"]) == (3, 0, False)
    assert [
        (one["modality"], one["instances"], [what["text"] for what in one["became"]]) for one in study["series"]
    ] == [
        ("CT", 2, ["enhanced 2 frames as 2.25.1"]),
        ("PR", 1, ["unchanged: not an image"]),
    ]
    assert study["views"]["enhanced"] == {"series": 2, "instances": 2}
    (destination,) = study["destinations"]
    assert (destination["destination"], destination["state"], destination["form"]) == ("PACS", "waiting", None)


def test_status_tells_refused_from_failed_and_done_from_incomplete(archive: Archive, clock: HandClock) -> None:
    convert(archive)
    archive.custody.decide(STUDY, "PACS", View.ENHANCED, "takes them")
    first, second = archive.study_instances(STUDY, View.ENHANCED)
    archive.custody.failed(STUDY, "PACS", first, 0x0122, "class not supported", refused=True)
    archive.custody.failed(STUDY, "PACS", second, 0xC000, "cannot understand")
    job = archive.jobs.take("deliver", "PACS")
    assert job is not None
    archive.jobs.retry(job, "2 of 2 instances not taken", clock.time + 60)
    (destination,) = study_status(archive)[0]["destinations"]
    assert {key: destination[key] for key in ("form", "delivered", "outstanding", "refused", "failed", "attempts")} == {
        "form": "enhanced", "delivered": 0, "outstanding": 0, "refused": 1, "failed": 1, "attempts": 1,
    }  # fmt: skip
    assert destination["next_attempt"] == clock.time + 60
    assert destination["reason"] == "2 of 2 instances not taken"
    archive.custody.delivered(STUDY, "PACS", first)
    clock.time += 60
    job = archive.jobs.take("deliver", "PACS")
    assert job is not None
    archive.jobs.hold(job, "ask the administrator")
    status = box_status(archive)
    assert (status["idle"], status["held"]) == (True, 1)
    (destination,) = status["studies"][0]["destinations"]
    assert (destination["state"], destination["delivered"], destination["failed"]) == ("held", 1, 1)
    assert destination["total"] == 2
    archive.custody.delivered(STUDY, "PACS", second)
    archive.jobs.retry_now()
    job = archive.jobs.take("deliver", "PACS")
    assert job is not None
    assert not box_status(archive)["idle"]
    archive.jobs.finish(job)
    (destination,) = study_status(archive)[0]["destinations"]
    assert (destination["state"], destination["delivered"], destination["outstanding"]) == ("done", 2, 0)


def test_status_can_be_asked_by_another_process_that_may_only_read(archive: Archive) -> None:
    convert(archive)
    reader = Archive(archive.files.root, readonly=True)
    assert study_status(reader) == study_status(archive)
    reader.close()


def test_status_after_a_correction_names_only_what_holds_now(archive: Archive) -> None:
    convert(archive)
    store(archive, ct("1.2.3.4.1", number=1), pixels=b"\1" * 32)
    (study,) = study_status(archive)
    series = study["series"][0]
    assert (series["instances"], series["pending"]) == (2, 1)
    assert [what["text"] for what in series["became"]] == ["enhanced 1 frames as 2.25.1"]
    settled = {row.name: Settlement(ALL_VIEWS, "stays classic") for row in archive.study_sources(STUDY)}
    archive.record_conversion(STUDY, [], settled | {"2-25-1": Settlement(View(0), "superseded")})
    (study,) = study_status(archive)
    assert [what["text"] for what in study["series"][0]["became"]] == ["unchanged: stays classic"]
