"""Destinations that fetch: they are notified of exactly their view, and what they fetched is known (PS3.4 annex R)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from archive_tools import HandClock, ct, derive, store
from box import Pacs
from commitment_tools import Notified
from pydicom.dataset import Dataset

from gateway.archive.index import Archive
from gateway.archive.jobs import COMMIT, CONVERT, DELIVER, WAITING, Job
from gateway.archive.rows import Settlement
from gateway.archive.views import ALL_VIEWS, View
from gateway.network.fetched import Fetching
from gateway.network.policy import NetworkSettings
from gateway.network.requestor import Timeouts
from gateway.pipeline.notify import Notifier
from gateway.pipeline.retry import Backoff
from gateway.pipeline.visits import Target
from gateway.retrieval.engine import Destination
from gateway.retrieval.transcript import Outcome

STUDY = "1.2.3"
QUICK = Timeouts(connect=5, negotiate=5, progress=5, response=5, release=1)
SETTINGS = NetworkSettings("GATEWAY", pulls={"PACS": View.ENHANCED})


@pytest.fixture
def peer() -> Iterator[Notified]:
    with Notified() as peer:
        yield peer


def fill(archive: Archive, *numbers: int, converted: bool = True) -> None:
    """Receive a study, convert it, and have it delivered."""
    for number in numbers:
        store(archive, ct(f"1.2.3.4.{number}", number=number))
    archive.jobs.retry_now(CONVERT, STUDY)
    archive.jobs.finish(archive.jobs.take(CONVERT))
    views = View.RECEIVED | View.CLASSIC if converted else ALL_VIEWS
    fresh = {row.name: Settlement(views) for row in archive.unsettled(STUDY)}
    archive.record_conversion(STUDY, [derive(archive, STUDY)] if converted else [], fresh)
    archive.jobs.schedule(DELIVER, STUDY, "PACS")


def work(archive: Archive, peer: Notified | Pacs, **more: Any) -> None:
    target = Target(Destination("PACS", "127.0.0.1", peer.port, "GATEWAY_ENH"), View.ENHANCED, pull=True, **more)
    reminders = Backoff(first=100, longest=1000, spread=0)
    found = Notifier(archive, target, reminders=reminders, timeouts=QUICK, backoff=Backoff(first=2, spread=0))
    while found.step():
        pass


def fetch(archive: Archive, *, view: View = View.ENHANCED, receiver: str = "PACS", status: int = 0) -> None:
    fetching = Fetching(archive, SETTINGS, receiver)
    for row in archive.study_instances(STUDY, view):
        fetching.record(row, Outcome(status))
    fetching.close()


def named(notification: Dataset) -> list[str]:
    return [
        str(item.ReferencedSOPInstanceUID)
        for series in notification.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    ]


def job(archive: Archive, kind: str = DELIVER) -> Job | None:
    return next((one for one in archive.jobs.listing(STUDY) if one.kind == kind), None)


def states(archive: Archive) -> set[str]:
    return {one.state for one in archive.custody.standing(STUDY, "PACS").values()}


def test_R1_it_names_exactly_the_instances_of_the_view_and_where_they_are(archive: Archive, peer: Notified) -> None:
    fill(archive, 1, 2)
    work(archive, peer)
    (notification,) = peer.notifications
    (row,) = archive.study_instances(STUDY, View.ENHANCED)
    assert notification.StudyInstanceUID == STUDY
    (series,) = notification.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == row.series
    (item,) = series.ReferencedSOPSequence
    assert (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) == (row.sop_class, row.sop_instance)
    assert (item.InstanceAvailability, item.RetrieveAETitle) == ("ONLINE", "GATEWAY_ENH")
    assert peer.calling == ["GATEWAY_ENH"]
    assert states(archive) == {"notified"}
    decision = archive.custody.decision(STUDY, "PACS")
    assert decision is not None
    assert decision.view == View.ENHANCED


def test_R2_it_has_the_attributes_of_the_table_and_no_other(archive: Archive, peer: Notified) -> None:
    fill(archive, 1, 2)
    work(archive, peer)
    (notification,) = peer.notifications
    assert notification.dir() == [
        "ReferencedPerformedProcedureStepSequence",
        "ReferencedSeriesSequence",
        "StudyInstanceUID",
    ]
    assert len(notification.ReferencedPerformedProcedureStepSequence) == 0
    (series,) = notification.ReferencedSeriesSequence
    assert series.dir() == ["ReferencedSOPSequence", "SeriesInstanceUID"]
    assert series.ReferencedSOPSequence[0].dir() == [
        "InstanceAvailability",
        "ReferencedSOPClassUID",
        "ReferencedSOPInstanceUID",
        "RetrieveAETitle",
    ]


def test_R1_what_is_fetched_ends_it_and_commitment_is_asked(archive: Archive, peer: Notified) -> None:
    fill(archive, 1, 2)
    work(archive, peer, commitment=True)
    waiting = job(archive)
    assert waiting is not None
    assert waiting.reason == "PACS has been told of 1 instances that it has not fetched"
    fetch(archive)
    assert states(archive) == {"delivered"}
    work(archive, peer, commitment=True)
    assert job(archive) is None
    assert job(archive, COMMIT) is not None
    assert len(peer.notifications) == 1


@pytest.mark.parametrize("how", [{"view": View.CLASSIC}, {"receiver": "OTHER"}, {"status": 0xA700}])
def test_R1_what_another_gets_or_does_not_take_is_not_fetched(archive: Archive, peer: Notified, how: Any) -> None:
    fill(archive, 1, 2)
    work(archive, peer)
    fetch(archive, **how)
    assert states(archive) == {"notified"}


def test_R1_what_is_not_fetched_is_told_of_again_less_often_every_time(
    archive: Archive, peer: Notified, clock: HandClock
) -> None:
    fill(archive, 1, 2)
    work(archive, peer)
    clock.time += 99
    archive.jobs.schedule(DELIVER, STUDY, "PACS")
    work(archive, peer)
    assert len(peer.notifications) == 1
    clock.time += 1
    work(archive, peer)
    assert named(peer.notifications[0]) == named(peer.notifications[1])
    assert len(set(peer.uids)) == 2
    waiting = job(archive)
    assert waiting is not None
    assert waiting.not_before == clock.time + 200
    archive.jobs.retry_now(study=STUDY)  # somebody does not want to wait
    work(archive, peer)
    assert len(peer.notifications) == 3


def test_R1_what_comes_late_is_a_further_notification_of_what_is_new(archive: Archive, peer: Notified) -> None:
    fill(archive, 1, 2)
    work(archive, peer)
    fill(archive, 3, converted=False)
    work(archive, peer)
    first, second = map(named, peer.notifications)
    assert len(first) == len(second) == 1
    assert first != second
    fetch(archive)
    work(archive, peer)
    assert job(archive) is None


def test_R1_a_destination_without_the_class_can_fetch_all_the_same(archive: Archive) -> None:
    fill(archive, 1, 2)
    pacs = Pacs().start()
    try:
        work(archive, pacs)
        waiting = job(archive)
        assert waiting is not None
        assert waiting.state == WAITING
        assert "does not accept Instance Availability Notification" in waiting.reason
        fetch(archive)
        work(archive, pacs)
        assert job(archive) is None
        assert pacs.associations == 1
    finally:
        pacs.stop()


def test_R1_a_notification_that_is_refused_is_sent_again(archive: Archive, peer: Notified, clock: HandClock) -> None:
    fill(archive, 1, 2)
    peer.status = 0x0110
    work(archive, peer)
    waiting = job(archive)
    assert waiting is not None
    assert waiting.reason == "PACS refuses the notification: processing failure (0110)"
    assert states(archive) == {"pending"}
    peer.status = 0
    clock.time += 10
    work(archive, peer)
    assert states(archive) == {"notified"}
