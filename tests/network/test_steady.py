"""The client of the tests loses no response: its reactor stands still while a request is on its way."""

from __future__ import annotations

import threading
import time

import pytest
from loopback import eventually
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification
from steady import Checkpoint


def test_a_closed_checkpoint_is_passed_by_nobody() -> None:
    ended = threading.Event()
    passed = 0
    checkpoint = Checkpoint(lambda: not ended.is_set())

    def reactor() -> None:
        nonlocal passed
        while not ended.is_set():
            checkpoint.wait()
            passed += 1

    thread = threading.Thread(target=reactor)
    thread.start()
    for _ in range(300):
        checkpoint.clear()
        before = passed
        time.sleep(0)
        assert passed == before
        checkpoint.set()
    ended.set()
    checkpoint.set()
    thread.join(10)


def test_an_ended_thread_is_not_waited_for() -> None:
    checkpoint = Checkpoint(lambda: False)
    checkpoint.clear()
    assert not checkpoint.is_set()


@pytest.mark.parametrize("rounds", [200, pytest.param(5000, marks=pytest.mark.long)])
def test_no_response_is_lost(rounds: int) -> None:
    server = AE("BOX")
    server.add_supported_context(Verification)
    listening = server.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_ECHO, lambda _: 0)])
    client = AE("CLIENT")
    client.dimse_timeout = 5
    client.add_requested_context(Verification)
    association = client.associate("127.0.0.1", listening.server_address[1])
    assert [association.send_c_echo().Status for _ in range(rounds)] == [0] * rounds
    association.release()
    eventually(lambda: not association.is_alive())
    listening.shutdown()
