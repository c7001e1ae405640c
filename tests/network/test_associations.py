"""Associations that end otherwise than they should: nothing of them may remain, and the next one must work."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from intake import Intake, growing, running, sample, send_long
from loopback import eventually, nothing_left_behind
from scripted_caller import (
    ABORT,
    CT,
    EXPLICIT,
    RELEASE_REQUEST,
    VERIFICATION,
    Caller,
    command,
    data_pdu,
    fragment,
    request_pdu,
)

from gateway import observe
from gateway.archive.index import Archive
from gateway.network import acceptor
from gateway.network.intake_socket import LARGEST_READ, Timeouts
from gateway.network.policy import NetworkSettings
from gateway.network.sender import Sender
from gateway.network.server import serve
from gateway.network.slots import Slots

HEADER, BYTES = sample()
PART = data_pdu(fragment(1, BYTES[:10_000], last=False))


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    with running(tmp_path) as box:
        yield box
        observe.load_faults("")
        # Whatever the test has done, the next one who calls is served.
        with Caller(box.port) as caller:
            assert caller.associate() is None
            assert caller.store(BYTES, CT, HEADER.sop_instance)["status"] == 0
            caller.release()
        eventually(lambda: not box.server.associations)


def associated(caller: Caller) -> None:
    assert caller.associate() is None


def storing(caller: Caller) -> None:
    associated(caller)
    caller.send(caller.store_command(CT, HEADER.sop_instance))


def halfway(caller: Caller) -> None:
    storing(caller)
    caller.send(PART)


def in_the_middle_of_a_pdu(caller: Caller) -> None:
    halfway(caller)
    caller.send(PART[: len(PART) // 2])


def with_half_a_command(caller: Caller) -> None:
    associated(caller)
    whole = command(field=1, id=1, priority=0, data=1, instance="1.2.3", **{"class": CT})
    caller.send(data_pdu(fragment(1, whole[:20], is_command=True, last=False)))


def before_the_response(caller: Caller) -> None:
    halfway(caller)
    caller.send(data_pdu(fragment(1, BYTES[10_000:])))


POINTS: dict[str, Callable[[Caller], None]] = {
    "after connecting": lambda caller: None,
    "in the middle of the request": lambda caller: caller.send(request_pdu([(CT, [EXPLICIT])])[:50]),
    "before the answer": lambda caller: caller.send(request_pdu([(CT, [EXPLICIT])])),
    "after the answer": associated,
    "in the middle of a command": with_half_a_command,
    "after the command": storing,
    "in the middle of a data set": halfway,
    "in the middle of a PDU": in_the_middle_of_a_pdu,
    "before the response": before_the_response,
    "after a release request": lambda caller: (associated(caller), caller.send(RELEASE_REQUEST))[0],
}
ENDS: dict[str, Callable[[Caller], None]] = {
    "A-ABORT": lambda caller: (caller.send(ABORT), caller.socket.close())[0],
    "close": lambda caller: caller.socket.close(),
    "reset": lambda caller: caller.reset(),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("point", POINTS)
def test_an_aborted_association_leaves_no_thread_no_file_and_no_slot(intake: Intake, point: str, end: str) -> None:
    with nothing_left_behind():
        caller = Caller(intake.port)
        POINTS[point](caller)
        ENDS[end](caller)
        eventually(lambda: not intake.server.associations)
        eventually(lambda: intake.slots.used() == 0)
    # An object whose response nobody waited for may be there, a part of one may not.
    assert not [path for path in intake.files() if path.suffix != ".dcm"]
    assert len(intake.files()) == len(intake.rows()) <= (point == "before the response")


INVALID: dict[str, bytes] = {
    "data before a command": data_pdu(fragment(1, BYTES)),
    "a command in the middle of a data set": PART + data_pdu(fragment(1, b"x", is_command=True)),
    "data in another context": PART + data_pdu(fragment(3, b"x")),
    "a command that is none": data_pdu(fragment(1, b"\xff" * 200, is_command=True)),
    "an unknown command": data_pdu(fragment(1, command(field=0x0777, id=1, data=0x0101), is_command=True)),
    "a command without end": data_pdu(fragment(1, bytes(60_000), is_command=True, last=False)) * 3,
    "a response": data_pdu(fragment(1, command(field=0x8001, answered=1, data=0x0101, status=0), is_command=True)),
    "an empty PDV": data_pdu(struct.pack(">LB", 1, 1)),
    "a PDV longer than its PDU": data_pdu(struct.pack(">LBB", 5000, 1, 3)),
    "an echo in a context for images": data_pdu(
        fragment(5, command(field=0x30, id=1, data=0x0101, **{"class": VERIFICATION}), is_command=True)
    ),
    "an unknown PDU": b"\x42\0\0\0\0\4abcd",
    "a second request": request_pdu([(CT, [EXPLICIT])]),
    "a PDU that is far too long": struct.pack(">BxL", 4, LARGEST_READ + 1),
}


@pytest.mark.parametrize("case", INVALID)
def test_what_breaks_the_protocol_ends_the_association_and_nothing_else(intake: Intake, case: str) -> None:
    with nothing_left_behind(), Caller(intake.port) as caller:
        associated(caller)
        if INVALID[case].startswith(PART):
            caller.send(caller.store_command(CT, HEADER.sop_instance))
        caller.send(INVALID[case])
        assert caller.pdu()[0] in (7, 0)
        assert caller.pdu()[0] == 0
    assert intake.is_empty()


HELLOS = (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", bytes(100), b"\1\0\0\0\0\x50" + bytes(80))


@pytest.mark.parametrize("hello", HELLOS)
def test_what_is_not_DICOM_gets_no_association(intake: Intake, hello: bytes) -> None:
    with nothing_left_behind(), Caller(intake.port) as caller:
        caller.send(hello)
        assert caller.pdu()[0] in (7, 3, 0)


def test_damaged_requests_do_no_harm(intake: Intake) -> None:
    random = Random(2)
    whole = request_pdu([(CT, [EXPLICIT]), (VERIFICATION, [EXPLICIT])])
    with nothing_left_behind():
        for _ in range(150):
            damaged = bytearray(whole)
            for _ in range(random.choice((1, 1, 2, 20))):
                damaged[random.randrange(6, len(damaged))] = random.randrange(256)
            with Caller(intake.port) as caller:
                caller.send(bytes(damaged))
                caller.socket.shutdown(socket.SHUT_WR)
                assert caller.pdu()[0] in (0, 2, 3, 7)
        eventually(lambda: not intake.server.associations)
    assert intake.slots.used() == 0


def test_a_connection_that_asks_for_nothing_is_closed(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Timeouts, "request", 0.3)
    with nothing_left_behind(), Caller(intake.port) as caller:
        assert caller.pdu()[0] == 0


@pytest.mark.parametrize(
    "point", ["in the middle of a data set", "in the middle of a PDU", "in the middle of a command"]
)
def test_a_peer_that_stands_still_in_the_middle_is_given_up(
    intake: Intake, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    monkeypatch.setattr(Timeouts, "stall", 0.3)
    monkeypatch.setattr(acceptor, "TICK", 0.1)
    with nothing_left_behind(), Caller(intake.port) as caller:
        POINTS[point](caller)
        assert caller.pdu()[0] in (7, 0)
    assert intake.is_empty()


def test_a_slow_line_is_no_peer_that_stands_still(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Timeouts, "stall", 1.0)
    monkeypatch.setattr(acceptor, "TICK", 0.1)
    with nothing_left_behind(), Caller(intake.port) as caller:
        storing(caller)
        slowly = data_pdu(fragment(1, BYTES))
        step = len(slowly) // 8
        for start in range(0, len(slowly), step):
            caller.send(slowly[start : start + step])
            time.sleep(0.25)
        assert caller.response()["status"] == 0


def test_a_peer_may_wait_between_messages_but_not_for_ever(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Timeouts, "stall", 0.6)
    monkeypatch.setattr(Timeouts, "idle", 3.0)
    monkeypatch.setattr(acceptor, "TICK", 0.1)
    with nothing_left_behind(), Caller(intake.port) as caller:
        associated(caller)
        for _ in range(2):
            time.sleep(1.2)
            assert caller.store(BYTES, CT, HEADER.sop_instance)["status"] == 0
        assert caller.pdu()[0] == 7


def test_connections_without_association_are_bounded(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.network.server.SPARE_CONNECTIONS", 0)
    with nothing_left_behind():
        silent = [Caller(intake.port) for _ in range(intake.server.settings.max_associations)]
        eventually(lambda: len(intake.server.associations) == len(silent))
        with Caller(intake.port) as caller:
            assert caller.pdu()[0] == 0
        for caller in silent:
            caller.socket.close()
        eventually(lambda: not intake.server.associations)


# Memory


def test_memory_does_not_grow_with_the_size_of_an_object(tmp_path: Path) -> None:
    size = 150 << 20
    with growing(lambda listener: running(tmp_path, listener)) as (port, grown), Caller(port) as caller:
        associated(caller)
        send_long(caller, size)
    assert 0 < grown[0] < 16_000, f"{grown[0]} kB for an object of {size >> 10} kB"


# Stopping


def test_a_stop_aborts_idle_associations_at_once(tmp_path: Path) -> None:
    with nothing_left_behind(), running(tmp_path, grace=60) as intake, Caller(intake.port) as caller:
        associated(caller)
        began = time.monotonic()
        intake.stop()
        assert time.monotonic() - began < 30
        assert caller.pdu()[0] == 7


def test_a_stop_lets_the_object_on_its_way_come_in(tmp_path: Path) -> None:
    with running(tmp_path) as intake, Caller(intake.port) as caller:
        halfway(caller)
        eventually(lambda: intake.files())
        intake.stop(wait=False)
        time.sleep(0.3)
        caller.send(data_pdu(fragment(1, BYTES[10_000:])))
        assert caller.response()["status"] == 0
        assert caller.pdu()[0] == 7
        intake.stop()
        assert len(intake.rows()) == 1


def test_a_stop_does_not_wait_longer_than_its_grace(tmp_path: Path) -> None:
    with nothing_left_behind(), running(tmp_path, grace=0.5) as intake, Caller(intake.port) as caller:
        halfway(caller)
        eventually(lambda: intake.files())
        began = time.monotonic()
        intake.stop()
        assert 0.4 < time.monotonic() - began < 30
        assert caller.pdu()[0] == 7
        assert intake.is_empty()


def test_a_stop_accepts_nobody_any_more_and_leaves_the_listening_socket_to_the_others(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        kept = listener.dup()
        with running(tmp_path / "one", listener) as intake:
            intake.stop()
            waiting = Caller(intake.port)
        with running(tmp_path / "two", kept), waiting:
            associated(waiting)


def test_processes_share_one_listening_socket_and_one_limit(tmp_path: Path) -> None:
    Archive(tmp_path).close()
    slots = Slots(2, 4)
    settings = NetworkSettings("GATEWAY", unknown_peers="accept", max_associations=4)
    with socket.create_server(("127.0.0.1", 0), backlog=32) as listener:
        workers = []
        for worker in range(2):
            pid = os.fork()
            if not pid:
                stop = threading.Event()
                signal.signal(signal.SIGTERM, lambda *_, stop=stop: stop.set())
                archive = Archive(tmp_path)
                serve(listener, settings, archive, slots=slots, worker=worker, outbound=Sender(), stop=stop)
                os._exit(0)
            workers.append(pid)
        callers = [Caller(listener.getsockname()[1]) for _ in range(8)]
        answers = [caller.associate() for caller in callers]
        assert answers.count(None) == 4
        assert answers.count((2, 3, 2)) == 4
        for number, (caller, answer) in enumerate(zip(callers, answers, strict=True)):
            if answer is None:
                data = BYTES.replace(HEADER.sop_instance.encode(), HEADER.sop_instance.encode()[:-2] + b"%02d" % number)
                uid = f"{HEADER.sop_instance[:-2]}{number:02d}"
                assert caller.store(data, CT, uid)["status"] == 0
            caller.socket.close()
        eventually(lambda: slots.used() == 0)
        for pid in workers:
            os.kill(pid, signal.SIGTERM)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    archive = Archive(tmp_path, readonly=True)
    assert len(archive.study_sources(HEADER.study)) == 4
    archive.close()
