"""Storage commitment asked of real peers: late, partial, contradictory and missing answers (PS3.4 annex J)."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from archive_tools import HandClock, ct, store
from box import Pacs
from commitment_tools import Committer as Peer
from commitment_tools import committing, event_information, failing, references, type_of
from loopback import eventually
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.dsutils import encode

from gateway.archive.custody import Standing
from gateway.archive.index import Archive
from gateway.archive.jobs import COMMIT, CONVERT, DELIVER, HELD, WAITING, Job
from gateway.archive.rows import InstanceRow, Settlement
from gateway.archive.views import ALL_VIEWS, View
from gateway.network.commitment_lists import Failure, Result
from gateway.network.normalized import Answer
from gateway.network.requestor import Timeouts
from gateway.network.results import take_result
from gateway.pipeline.commit import Committer, Patience
from gateway.pipeline.retry import Backoff
from gateway.pipeline.visits import Target
from gateway.retrieval.engine import Destination
from gateway.standard.commitment import STORAGE_COMMITMENT_INSTANCE

STUDY = "1.2.3"
PATIENCE = Patience(
    stay=0.05,
    answer=Backoff(first=100, longest=1000, spread=0),
    refused=Backoff(first=10, longest=100, spread=0),
    seldom=5000,
)
QUICK = Timeouts(connect=5, negotiate=5, progress=5, response=5, release=1)


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as peer:
        yield peer


def uid(number: int) -> str:
    return f"1.2.3.4.{number}"


def delivered(archive: Archive, count: int = 3, *, first: int = 1, **attributes: Any) -> list[InstanceRow]:
    """A study that PACS has taken, as the deliverer leaves it."""
    for number in range(first, first + count):
        store(archive, ct(uid(number), number=number, **attributes))
    archive.jobs.retry_now(CONVERT, STUDY)
    archive.jobs.finish(archive.jobs.take(CONVERT))
    settled = {row.name: Settlement(ALL_VIEWS, "test") for row in archive.unsettled(STUDY)}
    archive.record_conversion(STUDY, [], settled)
    rows = archive.study_instances(STUDY, View.ENHANCED)
    archive.custody.expect(STUDY, "PACS", rows)
    for row in rows:
        archive.custody.delivered(STUDY, "PACS", row)
    archive.jobs.schedule(COMMIT, STUDY, "PACS")
    return rows


def committer(archive: Archive, port: int, patience: Patience = PATIENCE) -> Committer:
    target = Target(Destination("PACS", "127.0.0.1", port, "GATEWAY"), View.ENHANCED, commitment=True)
    backoff = Backoff(first=2, longest=60, spread=0)
    return Committer(archive, target, patience=patience, timeouts=QUICK, backoff=backoff)


def work(archive: Archive, peer: Peer | Pacs, patience: Patience = PATIENCE) -> Committer:
    """Work off what is due now."""
    found = committer(archive, peer.port, patience)
    while found.step():
        pass
    return found


def answers_at_once(peer: Peer) -> Patience:
    """Long enough for an answer on the same association."""
    return Patience(stay=20, answer=PATIENCE.answer, refused=PATIENCE.refused, seldom=PATIENCE.seldom)


def standing(archive: Archive) -> dict[str, Standing]:
    return archive.custody.standing(STUDY, "PACS")


def states(archive: Archive) -> list[str]:
    return [one.state for _, one in sorted(standing(archive).items())]


def job(archive: Archive, kind: str = COMMIT) -> Job | None:
    return next((one for one in archive.jobs.listing(STUDY) if one.kind == kind), None)


def tell(archive: Archive, result: Result) -> Answer:
    """Have the destination report, as on an association of its own."""
    notification: Any = N_EVENT_REPORT()
    notification.AffectedSOPInstanceUID = STORAGE_COMMITMENT_INSTANCE
    notification.EventTypeID = type_of(result)
    notification.EventInformation = BytesIO(encode(event_information(result), True, True) or b"")
    return take_result(archive, "PACS", notification, ImplicitVRLittleEndian)


def silent(request: Dataset) -> None:
    """Say nothing on the same association."""


def asked_for(peer: Peer) -> list[list[str]]:
    return [[one.sop_instance for one in references(request)] for request in peer.requests]


def test_J2_an_answer_at_once_commits_everything_and_the_job_is_done(archive: Archive, peer: Peer) -> None:
    rows = delivered(archive)
    work(archive, peer, answers_at_once(peer))
    assert states(archive) == ["committed"] * 3
    assert job(archive) is None
    assert asked_for(peer) == [[row.sop_instance for row in rows]]
    assert {one.sop_class for one in references(peer.requests[0])} == {rows[0].sop_class}
    eventually(lambda: peer.answers == [0])


def test_J2_a_late_answer_counts_and_the_job_waits_for_it(archive: Archive, peer: Peer, clock: HandClock) -> None:
    delivered(archive)
    peer.answer = silent
    work(archive, peer)
    waiting = job(archive)
    assert waiting is not None
    assert (waiting.state, waiting.not_before) == (WAITING, clock.time + 100)
    assert waiting.reason == "PACS has been asked to commit to 3 instances and has not answered"
    clock.time += 50
    assert tell(archive, committing(peer.requests[0])).status == 0
    work(archive, peer)
    assert states(archive) == ["committed"] * 3
    assert job(archive) is None
    assert len(peer.requests) == 1


def test_J2_without_an_answer_it_is_asked_again_under_another_transaction_less_often_every_time(
    archive: Archive, peer: Peer, clock: HandClock
) -> None:
    delivered(archive)
    peer.answer = silent
    work(archive, peer)
    clock.time += 99
    work(archive, peer)
    assert len(peer.requests) == 1
    clock.time += 1
    work(archive, peer)
    assert asked_for(peer)[1] == asked_for(peer)[0]
    assert len({str(request.TransactionUID) for request in peer.requests}) == 2
    waiting = job(archive)
    assert waiting is not None
    assert waiting.not_before == clock.time + 200
    # The answer to the first one comes at last.
    assert tell(archive, committing(peer.requests[0])).status == 0
    work(archive, peer)
    assert states(archive) == ["committed"] * 3
    clock.time += 10_000
    work(archive, peer)
    assert len(peer.requests) == 2


def test_T13_somebody_who_does_not_want_to_wait_for_an_answer_has_it_asked_for_again(
    archive: Archive, peer: Peer
) -> None:
    delivered(archive)
    peer.answer = silent
    work(archive, peer)
    ((first, instances),) = archive.commitments.awaited()
    assert (first.destination, instances) == ("PACS", 3)
    archive.jobs.retry_now(study=STUDY)
    work(archive, peer)
    ((second, _),) = archive.commitments.awaited()
    assert second.uid != first.uid


def test_J2_what_is_refused_is_asked_again_and_visible_meanwhile(
    archive: Archive, peer: Peer, clock: HandClock
) -> None:
    delivered(archive)
    peer.answer = lambda request: failing(request, 0x0213, [uid(2)])
    work(archive, peer, answers_at_once(peer))
    assert states(archive) == ["committed", "refused", "committed"]
    waiting = job(archive)
    assert waiting is not None
    assert waiting.reason == "PACS does not commit to 1 instances: resource limitation (0213)"
    assert waiting.not_before == clock.time + 10
    clock.time += 10
    peer.answer = committing
    work(archive, peer, answers_at_once(peer))
    assert asked_for(peer)[1] == [uid(2)]
    assert states(archive) == ["committed"] * 3
    assert job(archive) is None


def test_J2_what_the_destination_does_not_have_is_delivered_again(archive: Archive, peer: Peer) -> None:
    delivered(archive)
    peer.answer = lambda request: failing(request, 0x0112, [uid(3)])
    work(archive, peer, answers_at_once(peer))
    assert states(archive) == ["committed", "committed", "pending"]
    again = job(archive, DELIVER)
    assert again is not None
    assert again.reason == "PACS does not have 1 instances that it had taken"
    rows = archive.study_instances(STUDY, View.ENHANCED)
    assert [row.sop_instance for row in archive.custody.outstanding(STUDY, "PACS", rows)] == [uid(3)]
    assert job(archive) is None


def test_J2_delivering_again_has_an_end_and_somebody_has_to_look(
    archive: Archive, peer: Peer, clock: HandClock
) -> None:
    rows = delivered(archive, 1)
    peer.answer = lambda request: failing(request, 0x0112)
    for attempt in range(4):
        work(archive, peer, answers_at_once(peer))
        again = job(archive, DELIVER)
        assert (again is not None) == (attempt < 3)
        if again is not None:
            archive.jobs.finish(archive.jobs.take(DELIVER, "PACS"))
            archive.custody.delivered(STUDY, "PACS", rows[0])
            archive.jobs.schedule(COMMIT, STUDY, "PACS")
    held = job(archive)
    assert held is not None
    assert held.state == HELD
    assert held.reason.startswith("PACS has lost 1 instances, 3 more deliveries did not help: no such object")
    assert states(archive) == ["refused"]
    archive.jobs.retry_now(study=STUDY)
    work(archive, peer)
    assert job(archive, DELIVER) is not None


def contradicting(request: Dataset) -> Result:
    asked = tuple(references(request))
    return Result(str(request.TransactionUID), asked, (Failure(*asked[0], 0x0110),))


def forgetting(request: Dataset) -> Result:
    return Result(str(request.TransactionUID), tuple(references(request))[1:])


def other_class(request: Dataset) -> Result:
    first, *others = references(request)
    return Result(str(request.TransactionUID), (first._replace(sop_class="1.2.840.10008.5.1.4.1.1.4"), *others))


@pytest.mark.parametrize(
    ("answer", "says"),
    [(contradicting, "both"), (forgetting, "says nothing of it"), (other_class, "another class")],
)
def test_J3_what_is_not_in_exactly_one_list_is_not_committed(
    archive: Archive, peer: Peer, clock: HandClock, answer: Any, says: str
) -> None:
    delivered(archive)
    peer.answer = answer
    work(archive, peer, answers_at_once(peer))
    assert states(archive) == ["refused", "committed", "committed"]
    assert says in standing(archive)[uid(1)].reason
    peer.answer = committing
    clock.time += 10
    work(archive, peer, answers_at_once(peer))
    assert asked_for(peer)[1] == [uid(1)]
    assert states(archive) == ["committed"] * 3


def test_J4_what_refers_to_its_pixels_is_never_asked_for(archive: Archive, peer: Peer) -> None:
    rows = delivered(archive, 2)
    with archive.database.transaction() as connection:
        sql = "UPDATE instance SET transfer_syntax = '1.2.840.10008.1.2.4.94' WHERE sop_instance = ?"
        connection.execute(sql, (rows[0].sop_instance,))
    work(archive, peer, answers_at_once(peer))
    assert asked_for(peer) == [[uid(2)]]
    first = standing(archive)[uid(1)]
    assert (first.state, first.commitment) == ("delivered", "excluded")
    assert first.reason == "its pixel data are elsewhere (JPIP Referenced): it is never asked for (PS3.4 J.1.1)"
    assert job(archive) is None


def test_J2_long_lists_are_asked_for_in_several_transactions(archive: Archive, peer: Peer) -> None:
    delivered(archive, 5)
    work(archive, peer, Patience(stay=20, most=2))
    assert [len(one) for one in asked_for(peer)] == [2, 2, 1]
    assert states(archive) == ["committed"] * 5
    assert job(archive) is None


def test_J2_a_destination_without_the_class_says_so_and_is_seldom_asked_again(
    archive: Archive, clock: HandClock
) -> None:
    delivered(archive)
    pacs = Pacs().start()
    try:
        found = work(archive, pacs)
        assert job(archive) is None
        assert standing(archive)[uid(1)].reason == "peer does not accept Storage Commitment Push Model SOP Class"
        delivered(archive, 1, first=4)
        while found.step():
            pass
        assert pacs.associations == 1
        clock.time += 5000
        while found.step():
            pass
        assert pacs.associations == 2
        assert states(archive) == ["delivered"] * 4
    finally:
        pacs.stop()


def test_J2_a_destination_that_is_away_is_asked_when_it_is_back(archive: Archive, clock: HandClock) -> None:
    delivered(archive)
    peer = Peer()
    work(archive, peer)
    waiting = job(archive)
    assert waiting is not None
    assert waiting.reason == "connection refused"
    assert archive.commitments.open(STUDY, "PACS") == []
    with peer:
        clock.time += 10
        work(archive, peer, answers_at_once(peer))
    assert states(archive) == ["committed"] * 3


def test_J2_a_destination_that_breaks_off_is_asked_less_often_every_time(
    archive: Archive, peer: Peer, clock: HandClock
) -> None:
    delivered(archive)
    peer.breaks_off = True
    asking = committer(archive, peer.port)
    delays = []
    for _ in range(4):
        assert asking.step()
        waiting = job(archive)
        assert waiting is not None
        delays.append(waiting.not_before - clock.time)
        clock.time = waiting.not_before
    assert delays == [2, 4, 8, 16]
    peer.breaks_off = False
    work(archive, peer, answers_at_once(peer))
    assert states(archive) == ["committed"] * 3


def test_J2_a_request_that_is_refused_is_made_again_under_another_transaction(
    archive: Archive, peer: Peer, clock: HandClock
) -> None:
    delivered(archive)
    peer.status = 0x0213
    work(archive, peer)
    assert archive.commitments.open(STUDY, "PACS") == []
    waiting = job(archive)
    assert waiting is not None
    assert waiting.reason == "PACS refuses the request: resource limitation (0213)"
    peer.status = 0
    clock.time += 20
    work(archive, peer, answers_at_once(peer))
    assert states(archive) == ["committed"] * 3
    assert len({str(request.TransactionUID) for request in peer.requests}) == 2


def test_J2_what_was_delivered_before_commitment_was_configured_is_asked_for(archive: Archive, peer: Peer) -> None:
    delivered(archive)
    archive.jobs.finish(archive.jobs.take(COMMIT, "PACS"))
    work(archive, peer, answers_at_once(peer))
    assert states(archive) == ["committed"] * 3


def test_J2_requests_and_answers_outlive_the_index(archive: Archive, peer: Peer) -> None:
    delivered(archive)
    peer.answer = lambda request: failing(request, 0x0110, [uid(3)])
    work(archive, peer, answers_at_once(peer))
    with archive.database.transaction() as connection:
        connection.execute("DELETE FROM asked")
        connection.execute("DELETE FROM delivery")
    assert archive.recover().records == 2
    assert states(archive) == ["committed", "committed", "refused"]
    rows = archive.study_instances(STUDY, View.ENHANCED)
    assert archive.custody.outstanding(STUDY, "PACS", rows) == []
    assert archive.recover().records == 0


def test_J2_an_answer_the_index_has_lost_is_in_its_record(archive: Archive, peer: Peer) -> None:
    delivered(archive)
    work(archive, peer, answers_at_once(peer))
    with archive.database.transaction() as connection:
        connection.execute("UPDATE asked SET state = 'asked', answered_at = NULL")
        connection.execute("UPDATE delivery SET commitment = 'asked'")
    assert archive.recover().records == 1
    assert states(archive) == ["committed"] * 3
