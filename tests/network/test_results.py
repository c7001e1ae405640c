"""Storage commitment on the wire: requests of ours, and results that destinations report (PS3.4 annex J)."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from archive_tools import ct, store
from box import Pacs
from commitment_tools import Committer, event_information, report
from intake import CT1, Intake, running
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.dsutils import encode

from gateway import observe
from gateway.archive.commitments import Transaction
from gateway.network.commitment_lists import (
    Failure,
    Malformed,
    Reference,
    Result,
    action_information,
    parse_result,
)
from gateway.network.normalized import Answer, NormalizedAssociation, NotTaken
from gateway.network.policy import Peer
from gateway.network.requestor import Timeouts
from gateway.retrieval.engine import Destination
from gateway.standard.commitment import REQUEST_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, STORAGE_COMMITMENT_PUSH

CT = "1.2.840.10008.5.1.4.1.1.2"
ASKED = (Reference(CT, "1.2.1"), Reference(CT, "1.2.2"))
QUICK = Timeouts(connect=5, negotiate=5, progress=5, response=5, release=1)
STUDY = "1.2.3"


def encoded(ds: Dataset) -> BytesIO:
    return BytesIO(encode(ds, True, True) or b"")


def ask(peer: Committer | Pacs) -> tuple[Answer, NormalizedAssociation]:
    destination = Destination(peer.title, "127.0.0.1", peer.port, "GATEWAY")
    association = NormalizedAssociation(destination, STORAGE_COMMITMENT_PUSH, timeouts=QUICK)
    return association.action(
        STORAGE_COMMITMENT_INSTANCE, REQUEST_COMMITMENT, action_information("1.2.9", ASKED)
    ), association


# Data sets

REPORTED = Result("1.2.9", ASKED[:1], (Failure(CT, "1.2.2", 0x0112),))


def test_J2_a_result_is_read_as_it_was_said() -> None:
    content = encoded(event_information(REPORTED))
    assert parse_result(STORAGE_COMMITMENT_INSTANCE, 2, content, ImplicitVRLittleEndian) == REPORTED


def broken(**values: object) -> BytesIO:
    ds = event_information(REPORTED)
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return encoded(ds)


@pytest.mark.parametrize(
    ("instance", "event", "content", "status", "says"),
    [
        ("1.2.3", 1, broken(), 0x0112, "well-known"),
        (STORAGE_COMMITMENT_INSTANCE, 3, broken(), 0x0113, "Event Type ID 3"),
        (STORAGE_COMMITMENT_INSTANCE, 1, BytesIO(b"\x08\0\x97\x11\1\0\0\0A"), 0x0110, "decoded"),
        (STORAGE_COMMITMENT_INSTANCE, 1, BytesIO(), 0x0115, "missing"),
        (STORAGE_COMMITMENT_INSTANCE, 1, broken(TransactionUID=""), 0x0115, "Transaction UID"),
        (STORAGE_COMMITMENT_INSTANCE, 1, broken(ReferencedSOPSequence=[Dataset()]), 0x0115, "without class"),
        (STORAGE_COMMITMENT_INSTANCE, 2, broken(FailedSOPSequence=[Dataset()]), 0x0115, "without class"),
    ],
)
def test_J2_a_report_that_cannot_be_understood_has_its_status_and_reason(
    instance: str, event: int, content: BytesIO, status: int, says: str
) -> None:
    with pytest.raises(Malformed) as raised:
        parse_result(instance, event, content, ImplicitVRLittleEndian)
    assert raised.value.status == status
    assert says in raised.value.comment


# Requests of ours


def test_J2_commitment_is_asked_and_the_result_taken_on_the_same_association() -> None:
    with Committer() as peer:
        answer, association = ask(peer)
        assert answer.done
        notification = association.notification(10)
        content = notification.EventInformation
        found = parse_result(STORAGE_COMMITMENT_INSTANCE, notification.EventTypeID, content, ImplicitVRLittleEndian)
        assert found == Result("1.2.9", ASKED)
        association.answer(notification, Answer(0))
        assert association.notification(0.05) is None
        association.release()
        assert str(peer.requests[0].TransactionUID) == "1.2.9"
        assert peer.roles == [{STORAGE_COMMITMENT_PUSH: (True, False)}]
    assert peer.answers == [0]


def test_J2_a_failure_status_is_the_answer() -> None:
    with Committer() as peer:
        peer.status = 0x0213
        answer, association = ask(peer)
        association.release()
    assert not answer.done
    assert str(answer) == "resource limitation (0213)"


def test_J2_a_peer_without_the_class_says_so() -> None:
    peer = Pacs().start()
    try:
        with pytest.raises(NotTaken, match="does not accept Storage Commitment"):
            ask(peer)
    finally:
        peer.stop()


# Results that come in


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    peers = (CT1, Peer("PACS", may=frozenset()))
    with running(tmp_path, peers=peers, priors_from=frozenset(("PACS",))) as intake:
        yield intake


def asked(intake: Intake) -> Transaction:
    for n in (1, 2):
        store(intake.archive, ct(f"1.2.3.4.{n}", number=n))
    rows = intake.archive.study_sources(STUDY)
    for row in rows:
        intake.archive.custody.delivered(STUDY, "PACS", row)
    return intake.archive.commitments.ask(STUDY, "PACS", rows)


def result_of(intake: Intake, transaction: Transaction, failed: dict[str, int] | None = None) -> Result:
    rows = intake.archive.study_sources(STUDY)
    failed = failed or {}
    return Result(
        transaction.uid,
        tuple(Reference(row.sop_class, row.sop_instance) for row in rows if row.sop_instance not in failed),
        tuple(Failure(CT, uid, reason) for uid, reason in failed.items()),
    )


def states(intake: Intake) -> dict[str, str]:
    return {uid: one.state for uid, one in intake.archive.custody.standing(STUDY, "PACS").items()}


def test_J2_a_result_on_an_association_of_the_destination_is_recorded(intake: Intake) -> None:
    transaction = asked(intake)
    assert states(intake) == {"1.2.3.4.1": "delivered", "1.2.3.4.2": "delivered"}
    failed = {"1.2.3.4.2": 0x0112}
    assert report(intake.port, result_of(intake, transaction, failed)) == 0x0000
    assert states(intake) == {"1.2.3.4.1": "committed", "1.2.3.4.2": "refused"}
    standing = intake.archive.custody.standing(STUDY, "PACS")["1.2.3.4.2"]
    assert (standing.failure, standing.reason) == (0x0112, "no such object instance (0112)")
    assert [job.kind for job in intake.archive.jobs.listing(STUDY) if job.destination] == ["commit"]


def test_J2_the_same_result_twice_is_acknowledged_and_changes_nothing(intake: Intake) -> None:
    transaction = asked(intake)
    assert report(intake.port, result_of(intake, transaction)) == 0x0000
    assert report(intake.port, result_of(intake, transaction, {"1.2.3.4.1": 0x0112})) == 0x0000
    assert set(states(intake).values()) == {"committed"}


def test_J2_a_result_nobody_asked_for_is_refused_and_logged(intake: Intake, caplog: pytest.LogCaptureFixture) -> None:
    transaction = asked(intake)
    assert report(intake.port, result_of(intake, transaction._replace(uid="1.2.3.99"))) == 0x0115
    assert "commit.unknown" in caplog.text
    assert set(states(intake).values()) == {"delivered"}


def test_J3_only_the_destination_that_was_asked_can_answer(intake: Intake) -> None:
    result = result_of(intake, asked(intake))
    assert report(intake.port, result, calling="CT1") is None  # not accepted in the role of SCP
    intake.server.settings = intake.server.settings.__class__(
        "GATEWAY", peers=(Peer("OTHER"),), priors_from=frozenset(("OTHER",))
    )
    assert report(intake.port, result, calling="OTHER") == 0x0115
    assert set(states(intake).values()) == {"delivered"}


def test_J2_an_event_of_another_type_is_refused(intake: Intake) -> None:
    result = result_of(intake, asked(intake))
    assert report(intake.port, result, event_type=3) == 0x0113
    assert set(states(intake).values()) == {"delivered"}


def test_J2_a_result_that_cannot_be_recorded_is_not_acknowledged(intake: Intake) -> None:
    result = result_of(intake, asked(intake))
    observe.load_faults("record.before_rename=ENOSPC")
    assert report(intake.port, result) == 0x0213
    observe.load_faults("")
    assert set(states(intake).values()) == {"delivered"}
    assert report(intake.port, result) == 0x0000
    assert set(states(intake).values()) == {"committed"}
