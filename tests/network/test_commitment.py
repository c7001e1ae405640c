"""Storage commitment asked of the box: what is taken, what is refused, and the answer on the same association."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from archive_tools import CT, ct, store
from intake import Intake, running
from loopback import eventually
from modality import Modality, action_information
from pydicom.dataset import Dataset
from pydicom.uid import UID, generate_uid
from pynetdicom.dsutils import encode
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from scripted_caller import EXPLICIT, IMPLICIT, Caller, data_pdu, decoded, fragment

from gateway import observe
from gateway.archive.jobs import CONVERT
from gateway.archive.promises import ANSWERED, COMMITTED, OPEN, READY, Promise, Verdict
from gateway.archive.views import View
from gateway.network import commitment, commitment_data
from gateway.network.policy import Peer
from gateway.retrieval.engine import Destination
from gateway.standard.commitment import (
    CLASS_INSTANCE_CONFLICT,
    NO_SUCH_OBJECT,
    STORAGE_COMMITMENT_INSTANCE,
    STORAGE_COMMITMENT_PUSH,
)

PAIR = (CT, "1.2.3.4.1")
INVALID_ARGUMENT, PROCESSING_FAILURE, RESOURCES = 0x0115, 0x0110, 0x0213


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Intake]:
    with running(tmp_path / "box", destinations=at("CT1"), views={"GATEWAY_ENH": View.ENHANCED}) as intake:
        yield intake


def at(title: str, port: int = 1) -> dict[str, Destination]:
    return {title: Destination(title, "127.0.0.1", port, "GATEWAY")}


def promises(box: Intake) -> list[Promise]:
    return box.archive.promises.listing()


def decide(box: Intake, failed: dict[str, int] | None = None) -> None:
    """Find out about everything that was asked, as the delivery process does."""
    for promise in promises(box):
        for references in box.archive.promises.undecided(promise):
            verdicts = {one.position: Verdict((failed or {}).get(one.sop_instance, COMMITTED)) for one in references}
            box.archive.promises.decide(promise, verdicts)
        if promise.state == OPEN:
            box.archive.promises.settle(promise)


# Negotiation


def roles_answered(box: Intake, *proposed: bool) -> tuple[int, bool, bool] | None:
    """Result of the context, and the roles answered if there is an answer."""
    item = SCP_SCU_RoleSelectionNegotiation()
    item.sop_class_uid = UID(STORAGE_COMMITMENT_PUSH)
    item.scu_role, item.scp_role = proposed
    with Caller(box.port) as caller:
        assert caller.associate({STORAGE_COMMITMENT_PUSH: (IMPLICIT,)}, items=[item]) is None
        assert caller.answer is not None
        result = caller.results[1][0]
        found = [one for one in caller.answer.user_information if isinstance(one, SCP_SCU_RoleSelectionNegotiation)]
        return (result, found[0].scu_role, found[0].scp_role) if found else (result, False, False)


def test_J3_roles_are_selected_as_a_requester_of_commitment_needs_them(box: Intake) -> None:
    assert roles_answered(box, True, False) == (0, True, False)
    # Who has been asked for nothing has no results to report.
    assert roles_answered(box, True, True) == (0, True, False)
    assert roles_answered(box, False, True) == (1, False, False)


def test_J3_requestor_that_proposes_no_role_is_the_user(box: Intake) -> None:
    with Caller(box.port) as caller:
        caller.associate({STORAGE_COMMITMENT_PUSH: (EXPLICIT, IMPLICIT)})
        assert caller.results[1] == (0, EXPLICIT)


def test_peer_without_the_right_cannot_ask(tmp_path: Path) -> None:
    with running(tmp_path, peers=(Peer("CT1", may=frozenset(("store",))),)) as box, Caller(box.port) as caller:
        caller.associate({STORAGE_COMMITMENT_PUSH: (IMPLICIT,)})
        assert caller.results[1][0] == 1


# What is taken


@pytest.mark.parametrize("called", ["GATEWAY", "GATEWAY_ENH"])
def test_J1_request_is_durable_when_it_is_acknowledged(box: Intake, called: str) -> None:
    modality = Modality(box.port)
    with modality.association(called) as association:
        status, transaction = modality.ask(association, [PAIR])
        assert status == 0x0000
        (record,) = box.archive.files.records.glob("promise-*.json")
        assert transaction in record.read_text()
        assert [(one.requester, one.called, one.transaction, one.references) for one in promises(box)] == [
            ("CT1", called, transaction, 1)
        ]


def test_J1_record_alone_is_enough_after_a_loss_of_the_index(box: Intake) -> None:
    transaction = Modality(box.port).ask_and_leave([PAIR, (CT, "1.2.3.4.2")])
    with box.archive.database.transaction() as connection:
        connection.execute("DELETE FROM promise")
    assert box.archive.recover().records == 1
    (promise,) = promises(box)
    assert (promise.transaction, promise.references, promise.state) == (transaction, 2, OPEN)
    assert [one.sop_instance for one in next(box.archive.promises.undecided(promise))] == ["1.2.3.4.1", "1.2.3.4.2"]
    assert box.archive.recover().records == 0


@pytest.mark.parametrize("point", ["promise.before_record", "record.before_rename", "promise.before_commit"])
def test_J1_request_that_cannot_be_kept_is_refused_and_may_be_repeated(box: Intake, point: str) -> None:
    modality = Modality(box.port)
    with modality.association() as association:
        observe.load_faults(f"{point}=ENOSPC")
        try:
            status, transaction = modality.ask(association, [PAIR])
        finally:
            observe.load_faults("")
        assert status == RESOURCES
        assert promises(box) == []
        assert not list(box.archive.files.records.glob("*promise*"))
        assert modality.ask(association, [PAIR], transaction)[0] == 0x0000


def test_J3_transaction_uid_is_used_once_by_a_requester(tmp_path: Path) -> None:
    with running(tmp_path, peers=(Peer("CT1"), Peer("CT2")), destinations=at("CT1") | at("CT2")) as box:
        transaction = generate_uid()
        Modality(box.port).ask_and_leave([PAIR], transaction=transaction)
        with Modality(box.port).association() as association:
            assert Modality(box.port).ask(association, [PAIR], transaction)[0] == INVALID_ARGUMENT
        decide(box)
        box.archive.promises.answered(promises(box)[0], "test")
        with Modality(box.port).association() as association:
            assert Modality(box.port).ask(association, [PAIR], transaction)[0] == INVALID_ARGUMENT
        assert Modality(box.port, "CT2").ask_and_leave([PAIR], transaction=transaction)
        assert [one.requester for one in promises(box)] == ["CT2", "CT1"]


# What is refused


def ask(caller: Caller, data: bytes, **changes: Any) -> tuple[int, str]:
    """Send an N-ACTION request, whatever is in it; status and comment of the response."""
    caller.message_id += 1
    values: dict[str, Any] = {
        "field": 0x0130,
        "id": caller.message_id,
        "requested_class": STORAGE_COMMITMENT_PUSH,
        "requested_instance": STORAGE_COMMITMENT_INSTANCE,
        "action": 1,
    } | changes
    caller.send(data_pdu(fragment(1, command(data=1 if data else 0x0101, **values), is_command=True)))
    if data:
        caller.send(data_pdu(fragment(1, data)))
    answer = caller.response()
    assert answer["field"] == 0x8130
    assert answer["answered"] == caller.message_id
    return answer["status"], answer.get("comment", "")


def command(**values: Any) -> bytes:
    """Encode a command set, that of an N-ACTION request too (PS3.7 table 10.3-7)."""
    tags = {"requested_class": 3, "field": 0x0100, "id": 0x0110, "data": 0x0800, "requested_instance": 0x1001}
    tags |= {"action": 0x1008, "class": 2, "answered": 0x0120, "priority": 0x0700, "status": 0x0900}
    body = b""
    for name, value in sorted(values.items(), key=lambda item: tags[item[0]]):
        encoded = struct.pack("<H", value) if isinstance(value, int) else value.encode() + b"\0" * (len(value) % 2)
        body += struct.pack("<HHI", 0, tags[name], len(encoded)) + encoded
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def encoded(references: list[tuple[str, str]], **changes: Any) -> bytes:
    information = action_information(references)
    for keyword, value in changes.items():
        if value is None:
            delattr(information, keyword)
        else:
            setattr(information, keyword, value)
    return encode(information, True, True) or b""


def test_malformed_requests_get_their_status_and_a_comment(box: Intake) -> None:
    cases: list[tuple[bytes, dict[str, Any], int, str]] = [
        (encoded([PAIR]), {"requested_class": CT}, 0x0118, "SOP Class"),
        (encoded([PAIR]), {"requested_instance": "1.2.3"}, 0x0112, "SOP Instance"),
        (encoded([PAIR]), {"action": 2}, 0x0123, "Action Type ID 2"),
        (encoded([PAIR], TransactionUID=None), {}, INVALID_ARGUMENT, "Transaction UID"),
        (encoded([PAIR], TransactionUID=""), {}, INVALID_ARGUMENT, "Transaction UID"),
        (encoded([PAIR]).replace(b"1.2.3.4.1", b"1.2.3.x.1"), {}, INVALID_ARGUMENT, "item 1"),
        (encoded([PAIR, ("", "1.2.3.4.2")]), {}, INVALID_ARGUMENT, "item 2"),
        (encoded([PAIR, (CT, "")]), {}, INVALID_ARGUMENT, "item 2"),
        (encoded([PAIR, PAIR]), {}, INVALID_ARGUMENT, "twice"),
        (encoded([]), {}, INVALID_ARGUMENT, "empty"),
        (encoded([PAIR], ReferencedSOPSequence=None), {}, INVALID_ARGUMENT, "empty"),
        (b"", {}, INVALID_ARGUMENT, "Transaction UID"),
        (encoded([PAIR])[:-6], {}, PROCESSING_FAILURE, "data set"),
        (b"\x08\0\x95\x11\xff\xff\xff\0", {}, PROCESSING_FAILURE, "data set"),
    ]
    with Caller(box.port) as caller:
        caller.associate({STORAGE_COMMITMENT_PUSH: (IMPLICIT,)})
        for data, changes, status, words in cases:
            found, comment = ask(caller, data, **changes)
            assert (found, words in comment) == (status, True), (words, comment, f"{found:04X}")
        assert promises(box) == []
        assert ask(caller, encoded([PAIR]))[0] == 0x0000


def test_number_of_references_is_bounded(box: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commitment_data, "MOST_REFERENCES", 3)
    with Caller(box.port) as caller:
        caller.associate({STORAGE_COMMITMENT_PUSH: (IMPLICIT,)})
        references = [(CT, f"1.2.{n}") for n in range(4)]
        assert ask(caller, encoded(references)) == (RESOURCES, "more than 3 references")
        assert ask(caller, encoded(references[:3]))[0] == 0x0000


# Completion


def test_J1_study_whose_named_instances_are_all_held_is_complete_at_once(box: Intake) -> None:
    for number in (1, 2):
        store(box.archive, ct(f"1.2.3.4.{number}", number=number))
    (job,) = box.archive.jobs.listing()
    assert job.not_before > time.time() + 60
    modality = Modality(box.port)
    modality.ask_and_leave([PAIR, (CT, "1.2.9")])
    (job,) = box.archive.jobs.listing()
    assert job.not_before > time.time() + 60, "an instance is missing: it may be on its way"
    modality.ask_and_leave([PAIR])
    assert box.archive.jobs.take(CONVERT) is not None


def test_failed_conversion_is_not_hastened(box: Intake) -> None:
    store(box.archive, ct())
    box.archive.jobs.retry_now(CONVERT)
    job = box.archive.jobs.take(CONVERT)
    assert job is not None
    box.archive.jobs.retry(job, "test", time.time() + 600)
    Modality(box.port).ask_and_leave([PAIR])
    assert box.archive.jobs.take(CONVERT) is None


# The answer on the same association


def test_J1_answer_comes_on_the_association_that_the_requester_still_holds(box: Intake) -> None:
    modality = Modality(box.port)
    with modality.association() as association:
        _, transaction = modality.ask(association, [PAIR, (CT, "1.2.3.4.2")])
        decide(box)
        eventually(lambda: modality.answers)
        eventually(lambda: promises(box)[0].state == ANSWERED)
    (answer,) = modality.answers
    assert (answer.kind, answer.transaction, answer.calling) == (1, transaction, "")
    assert answer.committed == [PAIR, (CT, "1.2.3.4.2")]
    assert answer.failed == {}
    assert "FailedSOPSequence" not in answer.information
    assert not list(box.archive.files.records.glob("promise-*")), "an answered request needs no record"


def test_J1_J3_every_reference_is_in_exactly_one_list(box: Intake) -> None:
    modality = Modality(box.port)
    references = [(CT, f"1.2.{n}") for n in range(1500)]
    failed = {f"1.2.{n}": NO_SUCH_OBJECT if n % 2 else CLASS_INSTANCE_CONFLICT for n in range(0, 1500, 7)}
    with modality.association() as association:
        modality.ask(association, references)
        decide(box, failed)
        eventually(lambda: modality.answers)
    (answer,) = modality.answers
    assert answer.kind == 2
    assert sorted([*answer.committed, *answer.failed]) == sorted(references)
    assert {uid: reason for (_, uid), reason in answer.failed.items()} == failed


def test_J1_without_any_success_there_is_no_list_of_it(box: Intake) -> None:
    modality = Modality(box.port)
    with modality.association() as association:
        modality.ask(association, [PAIR])
        decide(box, {PAIR[1]: NO_SUCH_OBJECT})
        eventually(lambda: modality.answers)
    assert modality.answers[0].kind == 2
    assert "ReferencedSOPSequence" not in modality.answers[0].information


def test_requests_go_on_being_served_while_an_answer_is_waited_for(box: Intake) -> None:
    modality = Modality(box.port)
    with modality.association() as association:
        modality.ask(association, [PAIR])
        modality.ask(association, [PAIR])
        decide(box)
        eventually(lambda: len(modality.answers) == 2)
        assert modality.ask(association, [PAIR])[0] == 0x0000
    eventually(lambda: [one.state for one in promises(box)].count(ANSWERED) == 2)


def test_J1_answer_that_was_not_taken_is_left_to_a_new_association(box: Intake) -> None:
    modality = Modality(box.port)
    modality.statuses = [0x0110]
    with modality.association() as association:
        modality.ask(association, [PAIR])
        decide(box)
        eventually(lambda: promises(box)[0].attempts == 1)
        (promise,) = promises(box)
        assert (promise.state, promise.kept_until, len(modality.answers)) == (READY, 0, 1)


def test_J1_answer_is_left_to_others_when_the_association_ends(box: Intake) -> None:
    Modality(box.port).ask_and_leave([PAIR])
    eventually(lambda: promises(box)[0].kept_until == 0)
    decide(box)
    assert [one.transaction for one in box.archive.promises.due(READY)] == [promises(box)[0].transaction]


def test_J1_answer_is_left_to_others_after_a_while(box: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commitment, "SAME_ASSOCIATION", 0.0)
    modality = Modality(box.port)
    with modality.association() as association:
        modality.ask(association, [PAIR])
        decide(box)
        assert len(box.archive.promises.due(READY)) == 1
        (promise,) = promises(box)
        assert box.archive.promises.keep(promise, time.time() + 60)
        assert not box.archive.promises.keep(promise, time.time() + 60), "only one gives the answer"
        time.sleep(3 * commitment.LOOK)
    assert modality.answers == []


def test_requester_without_an_address_gets_its_answer_as_long_as_it_holds_its_association(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(commitment, "SAME_ASSOCIATION", 0.0)
    monkeypatch.setattr(commitment, "LOOK_LONGER", 0.05)
    with running(tmp_path) as box:
        modality = Modality(box.port)
        with modality.association() as association:
            modality.ask(association, [PAIR])
            time.sleep(3 * commitment.LOOK)
            decide(box)
            eventually(lambda: modality.answers)
            eventually(lambda: promises(box)[0].state == ANSWERED)
    assert "promise.no_address" in caplog.text
    assert "name host and port of CT1" in caplog.text


def test_response_to_an_answer_may_come_in_the_middle_of_a_retrieval(box: Intake) -> None:
    """Both sides may have something to say at a time; the requester here responds when it is asked to store."""
    store(box.archive, ct())
    get = "1.2.840.10008.5.1.4.1.2.2.3"
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid, role.scu_role, role.scp_role = UID(CT), False, True
    with Caller(box.port) as caller:
        caller.associate({STORAGE_COMMITMENT_PUSH: (IMPLICIT,), get: (IMPLICIT,), CT: (EXPLICIT,)}, items=[role])
        assert ask(caller, encoded([PAIR]))[0] == 0x0000
        decide(box)
        report = message(caller)
        assert (report["field"], report["1002"]) == (0x0100, "\1")
        wanted = Dataset()
        wanted.QueryRetrieveLevel, wanted.StudyInstanceUID = "STUDY", "1.2.3"
        request = command(field=0x0010, id=9, data=1, **{"class": get}, priority=0)
        identifier = encode(wanted, True, True) or b""
        caller.send(data_pdu(fragment(3, request, is_command=True), fragment(3, identifier)))
        while (store_request := message(caller))["field"] != 0x0001:
            assert store_request.get("status") == 0xFF00, store_request
        response = {"data": 0x0101, "status": 0}
        caller.send(data_pdu(fragment(1, command(field=0x8100, answered=report["id"], **response), is_command=True)))
        caller.send(
            data_pdu(fragment(5, command(field=0x8001, answered=store_request["id"], **response), is_command=True))
        )
        while (final := message(caller))["status"] == 0xFF00:
            pass
        assert final["status"] == 0x0000
        eventually(lambda: promises(box)[0].state == ANSWERED)
        caller.release()


def message(caller: Caller) -> dict[str, Any]:
    """Receive a message; its command set, numbers as such."""
    found: dict[str, Any] = {}
    body = b""
    while True:
        kind, data = caller.pdu()
        assert kind == 4
        position = 6
        while position < len(data):
            (length,) = struct.unpack_from(">L", data, position)
            control, content = data[position + 5], data[position + 6 : position + 4 + length]
            position += 4 + length
            if control & 1:
                body += content
            if control == 3:
                found = decoded(body)
            if control & 2 and (control == 2 or found["data"] == 0x0101):
                return found
