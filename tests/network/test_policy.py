"""Who gets an association and what for (PS3.8 table 9-21, PS3.7 D.3)."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from intake import Intake, running, sample
from loopback import eventually
from pynetdicom.pdu_primitives import AsynchronousOperationsWindowNegotiation
from scripted_caller import CT, EXPLICIT, IMPLICIT, VERIFICATION, Caller
from tools import need

from gateway.archive.views import View
from gateway.network.policy import NetworkSettings, Peer

STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
PATIENT_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.1.2"
PATIENT_STUDY_ONLY_MOVE = "1.2.840.10008.5.1.4.1.2.3.2"
CALLING_NOT_RECOGNISED = (1, 1, 3)
CALLED_NOT_RECOGNISED = (1, 1, 7)
LIMIT_EXCEEDED = (2, 3, 2)


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    peers = (
        Peer("CT1"),
        Peer("HERE", host="127.0.0.1"),
        Peer("NAMED", host="localhost"),
        Peer("ELSEWHERE", host="192.0.2.10"),
        Peer("NOWHERE", host="no-such-host.invalid"),
        Peer("READER", may=frozenset({"query", "retrieve"})),
        Peer("SENDER", may=frozenset({"store"})),
    )
    with running(tmp_path, peers=peers, views={"GATEWAY_ENH": View.ENHANCED}, max_associations=3) as box:
        yield box


def asked(intake: Intake, calling: str = "CT1", called: str = "GATEWAY") -> tuple[int, int, int] | None:
    with Caller(intake.port) as caller:
        return caller.associate(calling=calling, called=called)


@pytest.mark.parametrize("calling", ["CT1", "HERE", "NAMED", "READER"])
def test_a_peer_is_accepted(intake: Intake, calling: str) -> None:
    assert asked(intake, calling) is None


@pytest.mark.parametrize("calling", ["STRANGER", "ct1", "CT11", "ELSEWHERE", "NOWHERE"])
def test_an_unknown_calling_AE_title_is_rejected_and_logged(
    intake: Intake, calling: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert asked(intake, calling) == CALLING_NOT_RECOGNISED
    assert f"peer={calling}" in caplog.text
    assert "association.rejected" in caplog.text
    assert intake.is_empty()
    assert intake.slots.used() == 0


def test_DCMTK_shows_its_user_why_it_was_rejected(intake: Intake) -> None:
    done = subprocess.run(
        [need("echoscu"), "-aet", "STRANGER", "-aec", "GATEWAY", "127.0.0.1", str(intake.port)],
        capture_output=True,
        text=True,
    )
    assert "Calling AE Title Not Recognized" in done.stderr


def test_unknown_callers_can_be_let_in(tmp_path: Path) -> None:
    with running(tmp_path, peers=(Peer("ELSEWHERE", host="192.0.2.10"),), unknown_peers="accept") as intake:
        assert asked(intake, "STRANGER") is None
        # Who is named still has to call from where it is said to be.
        assert asked(intake, "ELSEWHERE") == CALLING_NOT_RECOGNISED


def test_an_unknown_called_AE_title_is_rejected(intake: Intake) -> None:
    assert asked(intake, called="ANY-SCP") == CALLED_NOT_RECOGNISED


def test_the_AE_title_of_a_view_is_answered_too(intake: Intake) -> None:
    assert asked(intake, called="GATEWAY_ENH") is None


@pytest.mark.parametrize(
    ("calling", "store", "retrieve"),
    [("CT1", 0, 0), ("READER", 1, 0), ("SENDER", 0, 1)],
    ids=["CT1", "READER", "SENDER"],
)
def test_a_peer_gets_the_services_it_may_ask_for(intake: Intake, calling: str, store: int, retrieve: int) -> None:
    contexts = [(CT, [EXPLICIT]), (STUDY_ROOT_MOVE, [IMPLICIT]), (PATIENT_ROOT_MOVE, [IMPLICIT])]
    contexts += [(PATIENT_STUDY_ONLY_MOVE, [IMPLICIT]), (VERIFICATION, [IMPLICIT])]
    with Caller(intake.port) as caller:
        caller.associate(contexts, calling=calling)
        assert [caller.results[number][0] for number in (1, 3, 5, 7, 9)] == [store, retrieve, retrieve, retrieve, 0]


def test_a_peer_that_may_not_store_stores_nothing(intake: Intake) -> None:
    header, _ = sample()
    with Caller(intake.port) as caller:
        caller.associate(calling="READER")
        caller.send(caller.store_command(CT, header.sop_instance))
        assert caller.pdu()[0] == 7  # the context was not accepted: A-ABORT
    assert intake.is_empty()


def test_nothing_can_be_stored_in_a_context_for_something_else(intake: Intake) -> None:
    _, data = sample()
    with Caller(intake.port) as caller:
        caller.associate([(STUDY_ROOT_MOVE, [EXPLICIT])], calling="READER")
        assert caller.store(data.replace(CT.encode(), b"1.2.3"), STUDY_ROOT_MOVE, "1.2.3")["status"] == 0x0122
    assert intake.is_empty()


def test_identifiers_are_not_negotiated_in_image_syntaxes(intake: Intake) -> None:
    with Caller(intake.port) as caller:
        caller.associate([(STUDY_ROOT_MOVE, ["1.2.840.10008.1.2.4.70", IMPLICIT])])
        assert caller.results[1] == (0, IMPLICIT)


def test_asynchronous_operations_are_not_negotiated(intake: Intake) -> None:
    item = AsynchronousOperationsWindowNegotiation()
    item.maximum_number_operations_invoked = item.maximum_number_operations_performed = 5
    with Caller(intake.port) as caller:
        caller.associate(items=[item])
        assert not [got for got in caller.answer.user_information if isinstance(got, type(item))]
        assert caller.answer.maximum_length_received == 1 << 17


def test_too_many_associations_are_rejected_for_the_moment(intake: Intake) -> None:
    callers = [Caller(intake.port) for _ in range(3)]
    assert [caller.associate() for caller in callers] == [None] * 3
    assert asked(intake) == LIMIT_EXCEEDED
    callers.pop().release()
    eventually(lambda: intake.slots.used() == 2)
    assert asked(intake) is None
    for caller in callers:
        caller.release()
    eventually(lambda: intake.slots.used() == 0)


def test_new_settings_hold_for_the_next_association(intake: Intake) -> None:
    assert asked(intake, "STRANGER") == CALLING_NOT_RECOGNISED
    intake.server.settings = NetworkSettings("GATEWAY", (Peer("STRANGER"),))
    assert asked(intake, "STRANGER") is None
