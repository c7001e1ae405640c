"""C-FIND, C-MOVE and C-GET that are aborted, dropped, released or cancelled after each PDU of an exchange.

An exchange is played to its end once more for each point, until a point lies behind its end; so every point is one.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from getting import CT
from loopback import eventually, nothing_left_behind
from pynetdicom import build_role
from pynetdicom.dsutils import encode
from retrieving import Box, Study, box, identifier
from scripted_caller import (
    ABORT,
    C_CANCEL_RQ,
    EXPLICIT,
    IMPLICIT,
    RELEASE_REQUEST,
    Caller,
    command,
    data_pdu,
    decoded,
    fragment,
    request_pdu,
)
from scripted_peer import ScriptedPeer, Talk

C_STORE_RQ, C_STORE_RSP = 0x0001, 0x8001
NUMBER = 7
COUNTS = ("1020", "1021", "1022", "1023")  # remaining, completed, failed, warning

# Service: abstract syntax, command field, and what its request has besides.
SERVICES: dict[str, tuple[str, int, dict[str, str]]] = {
    "C-FIND": ("1.2.840.10008.5.1.4.1.2.2.1", 0x0020, {}),
    "C-MOVE": ("1.2.840.10008.5.1.4.1.2.2.2", 0x0021, {"destination": "DEST"}),
    "C-GET": ("1.2.840.10008.5.1.4.1.2.2.3", 0x0010, {}),
}
INSTANCES = 4


class Ended(Exception):
    """The point was reached, or the box has ended the association."""


class Exchange:
    """One exchange; `act` is done after its PDU number `point`, counted in both directions."""

    def __init__(self, caller: Caller, service: str, study: Study, point: int, act: Callable[[Caller], None]) -> None:
        self.caller = caller
        self.model, self.field, self.more = SERVICES[service]
        self.study = study
        self.left = point
        self.act = act
        self.final: dict[str, Any] | None = None

    def passed(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.act(self.caller)

    def send(self, pdu: bytes) -> None:
        self.caller.send(pdu)
        self.passed()

    def pdu(self) -> bytes:
        kind, data = self.caller.pdu()
        if kind not in (2, 4):
            raise Ended
        self.passed()
        return data

    def play(self) -> None:
        """Ask for the study and answer everything that comes, to the final response."""
        items = [build_role(CT, scp_role=True)] if self.field == 0x0010 else []
        self.send(request_pdu(((self.model, (IMPLICIT,)), (CT, (EXPLICIT,))), "WORKSTATION", "GATEWAY", items))
        self.pdu()
        request = command(field=self.field, id=NUMBER, priority=0, data=1, **{"class": self.model}, **self.more)
        wanted = encode(identifier("STUDY", StudyInstanceUID=self.study.uid), True, True) or b""
        self.send(data_pdu(fragment(1, request, is_command=True)))
        self.send(data_pdu(fragment(1, wanted[:10], last=False)))
        self.send(data_pdu(fragment(1, wanted[10:])))
        while self.final is None:
            said = decoded(self.whole())
            has_data = said["data"] != 0x0101
            if has_data:
                self.whole()
            if said["field"] == C_STORE_RQ:
                body = command(field=C_STORE_RSP, answered=said["id"], data=0x0101, status=0, **{"class": CT})
                self.send(data_pdu(fragment(3, body, is_command=True)))
            elif said["status"] not in (0xFF00, 0xFF01):
                self.final = said

    def whole(self) -> bytes:
        body = b""
        while True:
            data, position, last = self.pdu(), 6, False
            while position < len(data):
                length, _, control = struct.unpack_from(">LBB", data, position)
                body += data[position + 6 : position + 4 + length]
                position += 4 + length
                last = bool(control & 2)
            if last:
                return body


def dropped(caller: Caller) -> None:
    caller.socket.close()
    raise Ended


def reset(caller: Caller) -> None:
    caller.reset()
    raise Ended


def aborted(caller: Caller) -> None:
    caller.send(ABORT)
    raise Ended


def released(caller: Caller) -> None:
    caller.send(RELEASE_REQUEST)
    raise Ended


def cancelled(caller: Caller) -> None:
    if caller.socket.fileno() >= 0:
        caller.send(data_pdu(fragment(1, command(field=C_CANCEL_RQ, answered=NUMBER, data=0x0101), is_command=True)))


ENDINGS: dict[str, Callable[[Caller], None]] = {
    "abort": aborted,
    "close": dropped,
    "reset": reset,
    "release": released,
    "cancel": cancelled,
}


def add_up(final: dict[str, Any]) -> None:
    """Check what a final response of a retrieval counts."""
    remaining, *others = (
        struct.unpack("<H", final.get(name, "").encode("latin-1").ljust(2, b"\0"))[0] for name in COUNTS
    )
    assert remaining + sum(others) == INSTANCES, final
    assert (final["status"] == 0xFE00) == bool(remaining), final
    assert final["status"] in (0x0000, 0xFE00), final


def rows_of(gateway: Box) -> list[Any]:
    tables = ("instance", "series", "study", "patient", "job", "delivery")
    return [gateway.archive.database.row(f"SELECT count(*) FROM {table}") for table in tables]


def nothing_half_done(gateway: Box, rows: list[Any]) -> None:
    """Check that neither file nor row is left that was not there before."""
    assert not list(gateway.archive.files.intake.glob(".*"))
    assert rows_of(gateway) == rows


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("service", SERVICES)
def test_M6_F17_whatever_ends_an_exchange_at_any_point_leaves_nothing(
    service: str, ending: str, tmp_path: Path
) -> None:
    def willing(talk: Talk) -> None:
        talk.accept()
        talk.serve()

    study = Study(count=INSTANCES // 2).write(tmp_path)
    finals = []
    with ScriptedPeer(willing) as peer, box(tmp_path, {"DEST": peer.port}) as gateway:
        gateway.admit(study)
        rows = rows_of(gateway)
        with Caller(gateway.port) as caller:  # what is opened once and kept is no leak
            Exchange(caller, service, study, 0, ENDINGS[ending]).play()
        point = 0
        while True:
            point += 1
            with nothing_left_behind(), Caller(gateway.port, timeout=10) as caller:
                exchange = Exchange(caller, service, study, point, ENDINGS[ending])
                with contextlib.suppress(Ended, ConnectionError, EOFError):
                    exchange.play()
                if exchange.final is not None:
                    finals.append(exchange.final)
                    if ending == "cancel" and exchange.left > 0:
                        break
                elif exchange.left > 0:
                    raise AssertionError(f"the box has ended the exchange on its own before point {point}")
                if ending != "cancel" and exchange.left > 0:
                    break
                eventually(lambda: all(talk.log[-1:] != ["data"] for talk in peer.talks))
            nothing_half_done(gateway, rows)
            assert point < 200
        nothing_half_done(gateway, rows)
    assert point > {"C-FIND": 7, "C-MOVE": 7, "C-GET": 14}[service], "the exchange is shorter than it can be"
    if service != "C-FIND":
        for final in finals:
            add_up(final)
    else:
        assert {final["status"] for final in finals} <= {0x0000, 0xFE00}
