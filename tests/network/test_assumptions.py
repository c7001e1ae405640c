"""What is relied on in pynetdicom although it is private: a new version that changes any of it fails here by name."""

from __future__ import annotations

import inspect
from io import BytesIO

import pynetdicom
import pytest
from pynetdicom import _config
from pynetdicom.acse import ACSE
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import TRANSITION_TABLE
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket
from scripted_caller import CT, command

OVERRIDDEN = {
    AssociationSocket: ("recv", "ready", "_shutdown_socket"),
    DULServiceProvider: (
        "send_pdu",
        "kill_dul",
        "run_reactor",
        "_process_recv_primitive",
        "_is_transport_event",
        "_read_pdu_data",
        "_decode_pdu",
    ),
    ACSE: ("_negotiate_as_acceptor",),
    Association: ("run_reactor", "_serve_request"),
}


def source(thing: object) -> str:
    return inspect.getsource(thing)


def test_the_version_is_one_that_was_looked_at() -> None:
    assert pynetdicom.__version__.startswith("3.0.")


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in OVERRIDDEN.items() for name in names])
def test_what_is_overridden_is_there(kind: type, name: str) -> None:
    assert name in vars(kind)


def test_the_loop_of_the_upper_layer_calls_what_is_overridden_and_sleeps_for_its_delay() -> None:
    loop = source(DULServiceProvider.run_reactor)
    for part in ("self._process_recv_primitive()", "self._is_transport_event()", "time.sleep(self._run_loop_delay)"):
        assert part in loop
    assert "if self._kill_thread:\n                break" in loop
    assert "self._recv_pdu.put(pdu)" in source(DULServiceProvider._read_pdu_data)
    assert "self._decode_pdu(bytestream)" in source(DULServiceProvider._read_pdu_data)
    from pynetdicom.fsm import AA_1

    assert "dul.to_provider_queue.get(False)" in source(AA_1)


def test_the_upper_layer_counts_idle_time_by_PDU() -> None:
    assert "self._idle_timer.restart()" in source(DULServiceProvider.run_reactor)


def test_a_P_DATA_PDU_only_goes_to_the_DIMSE_provider_and_leaves_the_state_as_it_is() -> None:
    assert TRANSITION_TABLE["Evt10", "Sta6"] == "DT-2"
    from pynetdicom.fsm import DT_2

    assert "dul.assoc.dimse.receive_primitive" in source(DT_2)
    assert source(DT_2).endswith('return "Sta6"\n')


@pytest.mark.parametrize(
    ("event", "state", "action"),
    [
        ("Evt19", "Sta6", "AA-8"),  # what cannot be understood: A-ABORT
        ("Evt17", "Sta6", "AA-4"),  # connection lost: indication to the user
        ("Evt17", "Sta13", "AR-5"),  # closed at last
        ("Evt8", "Sta3", "AE-8"),  # rejection
        ("Evt14", "Sta8", "AR-4"),  # release response
        ("Evt15", "Sta6", "AA-1"),  # our abort
    ],
)
def test_the_state_table_is_that_of_the_standard(event: str, state: str, action: str) -> None:
    assert TRANSITION_TABLE[event, state] == action


def test_negotiation_as_acceptor_can_be_replaced_as_a_whole() -> None:
    assert "self._negotiate_as_acceptor()" in source(ACSE.negotiate_association)
    assert "accepted_contexts + self.assoc.rejected_contexts" in source(ACSE.send_accept)


def test_a_command_set_turns_its_message_into_that_of_a_C_STORE_request_before_the_data_set() -> None:
    message = DIMSEMessage()
    primitive = P_DATA()
    body = command(field=1, id=7, priority=0, data=1, instance="1.2.3", **{"class": CT})
    primitive.presentation_data_value_list = [[1, b"\3" + body]]
    assert message.decode_msg(primitive) is False
    assert type(message) is C_STORE_RQ
    assert (message.command_set.MessageID, message.command_set.AffectedSOPInstanceUID) == (7, "1.2.3")
    assert isinstance(message.encoded_command_set, BytesIO)


def test_an_association_is_made_with_a_provider_that_can_be_exchanged() -> None:
    made = source(Association.__init__)
    for part in ("self.acse: ACSE = ACSE(self)", "self.dul:", "self.dimse:", "self._accepted_cx", "self._started_dul"):
        assert part in made
    assert "self.dul._idle_timer.timeout" in source(Association.network_timeout.fset)


def test_PDUs_are_not_printed_for_a_log() -> None:
    import gateway.network.transport  # noqa: F401

    assert _config.LOG_HANDLER_LEVEL == "none"
