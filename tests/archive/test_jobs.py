"""Jobs: what is due is done by one worker, what fails is tried again, what is scheduled meanwhile is not forgotten."""

from __future__ import annotations

import pytest
from archive_tools import HandClock, python

from gateway.archive.index import Archive
from gateway.archive.jobs import CONVERT, DELIVER, Job


def taken(archive: Archive, kind: str = CONVERT, destination: str = "") -> Job:
    job = archive.jobs.take(kind, destination)
    assert job is not None
    return job


def test_a_job_is_taken_when_it_is_due_and_by_one_worker_only(archive: Archive, clock: HandClock) -> None:
    archive.jobs.schedule(CONVERT, "1.2", not_before=clock.time + 10)
    assert archive.jobs.next_due(CONVERT) == clock.time + 10
    assert archive.jobs.take(CONVERT) is None
    clock.time += 10
    job = taken(archive)
    assert (job.study, job.state, job.attempts) == ("1.2", "running", 0)
    assert archive.jobs.take(CONVERT) is None
    assert archive.jobs.next_due(CONVERT) is None
    archive.jobs.finish(job)
    assert archive.jobs.listing() == []


def test_the_job_that_has_been_due_for_longest_comes_first(archive: Archive, clock: HandClock) -> None:
    archive.jobs.schedule(CONVERT, "late", not_before=clock.time - 1)
    archive.jobs.schedule(CONVERT, "early", not_before=clock.time - 2)
    assert [taken(archive).study, taken(archive).study] == ["early", "late"]


def test_a_destination_has_jobs_of_its_own(archive: Archive) -> None:
    archive.jobs.schedule(DELIVER, "1.2", "ONE")
    archive.jobs.schedule(DELIVER, "1.2", "TWO")
    assert taken(archive, DELIVER, "TWO").destination == "TWO"
    assert archive.jobs.take(DELIVER, "TWO") is None
    assert taken(archive, DELIVER, "ONE").destination == "ONE"


def test_scheduling_again_moves_a_waiting_job(archive: Archive, clock: HandClock) -> None:
    archive.jobs.schedule(CONVERT, "1.2", not_before=clock.time, reason="first")
    archive.jobs.schedule(CONVERT, "1.2", not_before=clock.time + 120)
    (job,) = archive.jobs.listing()
    assert (job.not_before, job.reason) == (clock.time + 120, "first")


@pytest.mark.parametrize("end", ["finish", "hold"])
def test_what_is_scheduled_while_a_job_runs_makes_it_wait_again(archive: Archive, clock: HandClock, end: str) -> None:
    archive.jobs.schedule(CONVERT, "1.2")
    job = taken(archive)
    archive.jobs.schedule(CONVERT, "1.2", not_before=clock.time + 120)
    assert archive.jobs.listing()[0].state == "running"
    if end == "finish":
        archive.jobs.finish(job)
    else:
        archive.jobs.hold(job, "refused")
    (again,) = archive.jobs.listing()
    assert (again.state, again.not_before) == ("waiting", clock.time + 120)


def test_a_retry_waits_and_counts(archive: Archive, clock: HandClock) -> None:
    archive.jobs.schedule(DELIVER, "1.2", "PACS")
    for attempt in (1, 2):
        archive.jobs.retry(taken(archive, DELIVER, "PACS"), "no answer", clock.time + 30)
        (job,) = archive.jobs.listing("1.2")
        assert (job.state, job.attempts, job.reason, job.not_before) == (
            "waiting", attempt, "no answer", clock.time + 30,
        )  # fmt: skip
        clock.time += 30


def test_a_held_job_waits_for_somebody_or_for_something_new(archive: Archive) -> None:
    archive.jobs.schedule(DELIVER, "1.2", "PACS")
    archive.jobs.hold(taken(archive, DELIVER, "PACS"), "class refused")
    assert archive.jobs.take(DELIVER, "PACS") is None
    assert archive.jobs.listing()[0].reason == "class refused"
    assert archive.jobs.retry_now(destination="OTHER") == 0
    assert archive.jobs.retry_now(destination="PACS") == 1
    archive.jobs.hold(taken(archive, DELIVER, "PACS"), "class refused")
    archive.jobs.schedule(DELIVER, "1.2", "PACS")
    assert taken(archive, DELIVER, "PACS").study == "1.2"


def test_retry_now_makes_everything_that_waits_due(archive: Archive, clock: HandClock) -> None:
    for study in ("1.1", "1.2"):
        archive.jobs.schedule(CONVERT, study, not_before=clock.time + 1000)
    assert archive.jobs.retry_now(study="1.2") == 1
    assert taken(archive).study == "1.2"
    assert archive.jobs.retry_now() == 1
    assert taken(archive).study == "1.1"


def test_jobs_of_a_worker_that_died_wait_again(archive: Archive) -> None:
    archive.jobs.schedule(DELIVER, "1.2", "ONE")
    archive.jobs.schedule(DELIVER, "1.2", "TWO")
    archive.jobs.schedule(CONVERT, "1.2")
    for kind, destination in ((DELIVER, "ONE"), (DELIVER, "TWO"), (CONVERT, "")):
        taken(archive, kind, destination)
    assert archive.jobs.release_running(DELIVER, "ONE") == 1
    assert archive.jobs.release_running(DELIVER) == 1
    assert sorted(job.state for job in archive.jobs.listing()) == ["running", "waiting", "waiting"]


def test_a_job_that_is_no_longer_running_cannot_be_ended(archive: Archive) -> None:
    archive.jobs.schedule(CONVERT, "1.2")
    job = taken(archive)
    archive.jobs.release_running(CONVERT)
    archive.jobs.finish(job)
    assert [one.state for one in archive.jobs.listing()] == ["waiting"]


TAKER = """
import sys
from pathlib import Path
from gateway.archive.index import Archive
archive = Archive(Path(sys.argv[1]))
while job := archive.jobs.take("convert"):
    print(job.study)
"""


def test_two_processes_never_take_the_same_job(archive: Archive) -> None:
    for n in range(100):
        archive.jobs.schedule(CONVERT, f"1.{n}")
    workers = [python(TAKER, archive.files.root) for _ in range(2)]
    taken_by = [worker.communicate(timeout=60)[0].split() for worker in workers]
    assert sorted(taken_by[0] + taken_by[1]) == sorted(f"1.{n}" for n in range(100))


def test_deliveries_to_a_destination_that_is_not_configured_are_held_until_it_is_again(archive: Archive) -> None:
    for destination in ("PACS", "PACS2"):
        archive.jobs.schedule(DELIVER, "1.2", destination)
    archive.jobs.hold(taken(archive, DELIVER, "PACS"), "refused")
    archive.jobs.schedule(CONVERT, "1.2")
    assert archive.jobs.match_destinations(["PACS"]) == 1
    states = {(job.kind, job.destination): (job.state, job.reason) for job in archive.jobs.listing()}
    assert states == {
        (CONVERT, ""): ("waiting", ""),
        (DELIVER, "PACS"): ("held", "refused"),
        (DELIVER, "PACS2"): ("held", "PACS2 is no longer in the configuration"),
    }
    archive.jobs.retry_now()
    assert archive.jobs.take(DELIVER, "PACS2") is None
    assert archive.jobs.match_destinations(["PACS", "PACS2"]) == 0
    assert taken(archive, DELIVER, "PACS2").reason == ""
