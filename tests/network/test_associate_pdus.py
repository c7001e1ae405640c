"""Association requests and answers as peers write them: what is unusual is served, what is illegal rejected."""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from intake import Intake, running, sample
from loopback import eventually, nothing_left_behind
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from scripted_caller import CT, EXPLICIT, IMPLICIT, RELEASE_REQUEST, Caller
from scripted_peer import RELEASE_RESPONSE, ScriptedPeer, Talk

from gateway.errors import NetworkError
from gateway.network.associate_pdus import MalformedPDU, read_answer, read_request
from gateway.network.requestor import Requestor
from gateway.retrieval.engine import Destination

APPLICATION = "1.2.840.10008.3.1.1.1"
HEADER, BYTES = sample()


def item(kind: int, body: bytes, second: int = 0) -> bytes:
    return struct.pack(">BBH", kind, second, len(body)) + body


def context(number: int = 1, abstract: bytes = CT.encode(), *transfer: bytes) -> bytes:
    parts = [item(0x30, abstract), *(item(0x40, uid) for uid in transfer or (EXPLICIT.encode(),))]
    return item(0x20, bytes((number, 0, 0, 0)) + b"".join(parts))


LENGTH = item(0x51, struct.pack(">L", 16384))
CLASS_UID = item(0x52, b"1.2.3.4")


def request(
    *,
    calling: bytes = b"CT1".ljust(16),
    called: bytes = b"GATEWAY".ljust(16),
    version: int = 1,
    application: bytes | None = APPLICATION.encode(),
    contexts: bytes = context(),
    user: bytes = LENGTH + CLASS_UID,
    more: bytes = b"",
) -> bytes:
    """An A-ASSOCIATE-RQ PDU, byte by byte (PS3.8 table 9-11)."""
    items = (item(0x10, application) if application is not None else b"") + contexts + more + item(0x50, user)
    fixed = struct.pack(">HH", version, 0) + called + calling + bytes(32)
    return struct.pack(">BxL", 1, len(fixed + items)) + fixed + items


def common(related: bytes) -> bytes:
    parts = (CT.encode(), b"1.2.840.10008.4.2")
    return b"".join(struct.pack(">H", len(part)) + part for part in parts) + struct.pack(">H", len(related)) + related


UNUSUAL = {
    "titles padded with NUL": request(calling=b"CT1".ljust(16, b"\0"), called=b"GATEWAY".ljust(16, b"\0")),
    "titles after spaces": request(calling=b"  CT1".ljust(16), called=b"  GATEWAY".ljust(16)),
    "a version name of 40 characters": request(user=LENGTH + CLASS_UID + item(0x55, b"V" * 40)),
    "a version name in Latin-1": request(user=LENGTH + CLASS_UID + item(0x55, b"M\xfcnchen 1\0")),
    "an empty version name": request(user=LENGTH + CLASS_UID + item(0x55, b"")),
    "unknown user information": request(user=item(0x60, b"x" * 9) + LENGTH + CLASS_UID + item(0xFE, b"")),
    "an unknown item": request(more=item(0x77, b"whatever")),
    "an unknown part of a context": request(
        contexts=item(
            0x20, bytes((1, 0, 0, 0)) + item(0x30, CT.encode()) + item(0x41, b"?") + item(0x40, b"1.2.840.10008.1.2")
        )
    ),
    "reserved bits of the version": request(version=0xFFFF),
    "reserved bytes of a context": request(contexts=context().replace(b"\1\0\0\0", b"\1\7\7\7", 1)),
    "no maximum length": request(user=CLASS_UID),
    "no implementation class": request(user=LENGTH),
    "an implementation class that is none": request(user=LENGTH + item(0x52, b"not a UID")),
    "a maximum length of eight bytes": request(user=item(0x51, struct.pack(">L", 8)) + CLASS_UID),
    "no maximum": request(user=item(0x51, bytes(4)) + CLASS_UID),
    "a maximum length of 4 GB": request(user=item(0x51, b"\xff" * 4) + CLASS_UID),
    "no user information": request(user=b""),
    "UIDs padded with NUL": request(
        application=APPLICATION.encode() + b"\0", contexts=context(1, CT.encode() + b"\0", EXPLICIT.encode() + b"\0")
    ),
    "a context whose UIDs are none beside one": request(contexts=context(3, b"CT Image", b"raw") + context()),
    "more than one user information": request(more=item(0x50, LENGTH)),
    "a window of operations": request(user=LENGTH + CLASS_UID + item(0x53, struct.pack(">HH", 0, 0))),
    "a broken window of operations": request(user=LENGTH + CLASS_UID + item(0x53, b"x")),
    "a user's name and password": request(
        user=LENGTH + CLASS_UID + item(0x58, b"\2\1\0\4name\0\4pass") + item(0x58, b"\x99\1")
    ),
    "roles that are none": request(user=LENGTH + CLASS_UID + item(0x54, b"\0\3abc\5\5") + item(0x54, b"\xff\xff")),
    "extended negotiation of nothing": request(user=LENGTH + CLASS_UID + item(0x56, b"\0\0") + item(0x56, b"")),
    "broken common extended negotiation": request(user=LENGTH + CLASS_UID + item(0x57, common(b"\0\x09abc"))),
    "common extended negotiation without relations": request(user=LENGTH + CLASS_UID + item(0x57, common(b"")[:-2])),
}
# By the request: result, source and diagnostic (PS3.8 table 9-21), and a word of the reason.
ILLEGAL = {
    "Latin-1 in the calling title": (request(calling=b"M\xdcNCHEN".ljust(16)), (1, 1, 3), "calling AE title"),
    "Latin-1 in the called title": (request(called=b"GATEW\xc4Y".ljust(16)), (1, 1, 7), "called AE title"),
    "a line break in a title": (request(calling=b"CT1\n2026 forged".ljust(16)), (1, 1, 3), "characters"),
    "a backslash in a title": (request(calling=b"CT1\\X".ljust(16)), (1, 1, 3), "characters"),
    "NUL within a title": (request(calling=b"CT1\0X".ljust(16)), (1, 1, 3), "characters"),
    "an empty title": (request(calling=b" " * 16), (1, 1, 3), "empty"),
    "another application context": (request(application=b"1.2.3"), (1, 1, 2), "application context"),
    "a line break in the application context": (request(application=b"1.2\nx"), (1, 1, 2), "application context"),
    "no application context": (request(application=None), (1, 1, 2), "application context"),
    "another protocol version": (request(version=2), (1, 2, 2), "protocol version"),
    "no presentation context": (request(contexts=b""), (1, 2, 1), "no presentation context"),
    "an even context ID": (request(contexts=context(2)), (1, 2, 1), "not odd"),
    "a context ID twice": (request(contexts=context() + context()), (1, 2, 1), "twice"),
    "a context without transfer syntax": (
        request(contexts=item(0x20, bytes((1, 0, 0, 0)) + item(0x30, CT.encode()))),
        (1, 2, 1),
        "lacks",
    ),
    "a context without abstract syntax": (
        request(contexts=item(0x20, bytes((1, 0, 0, 0)) + item(0x40, EXPLICIT.encode()))),
        (1, 2, 1),
        "lacks",
    ),
    "a maximum length of one byte": (
        request(user=item(0x51, struct.pack(">L", 1)) + CLASS_UID),
        (1, 2, 1),
        "maximum length of 1,",
    ),
    "a maximum length of seven bytes": (
        request(user=item(0x51, struct.pack(">L", 7)) + CLASS_UID),
        (1, 2, 1),
        "maximum length of 7,",
    ),
}
# Nothing can be made of it: A-ABORT by the provider, reason 6 or 1 (table 9-26).
MALFORMED = {
    "too short": (struct.pack(">BxL", 1, 20) + bytes(20), 6),
    "an item longer than the PDU": (request(more=b"\x77\0\xff\xff"), 6),
    "a context of two bytes": (request(contexts=item(0x20, b"\1\0")), 6),
    "a user item longer than its item": (request(user=LENGTH + b"\x52\0\0\x40abc"), 6),
    "no PDU of DICOM": (b"\x42\0\0\0\0\4abcd", 1),
    "an answer in place of a request": (b"\2" + request()[1:], 2),
    "data in place of a request": (struct.pack(">BxLLBB", 4, 10, 6, 1, 3) + bytes(4), 2),
    "a release in place of a request": (RELEASE_REQUEST, 2),
    "TLS": (b"\x16\3\1\0\4abcd", 1),
}


@pytest.fixture
def intake(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Intake]:
    caplog.set_level(logging.INFO)
    with running(tmp_path) as box:
        yield box


def lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What somebody has to read: everything from warnings on, pynetdicom's included."""
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("case", UNUSUAL)
def test_T14_an_unusual_request_is_served(intake: Intake, case: str, caplog: pytest.LogCaptureFixture) -> None:
    with nothing_left_behind(), Caller(intake.port) as caller:
        caller.send(UNUSUAL[case])
        kind, data = caller.pdu()
        assert kind == 2
        answer = A_ASSOCIATE_AC()
        answer.decode(data)
        results = {one.context_id: one.result for one in answer.presentation_context}
        assert results.pop(1) == 0
        assert set(results.values()) <= {3}
        assert caller.store(BYTES, CT, HEADER.sop_instance)["status"] == 0
        caller.release()
        eventually(lambda: not intake.server.associations)
    assert lines(caplog) == []
    assert "peer=CT1" in caplog.text


@pytest.mark.parametrize("case", ILLEGAL)
def test_T14_an_illegal_request_is_rejected_with_a_reason_and_one_line(
    intake: Intake, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    pdu, expected, word = ILLEGAL[case]
    with nothing_left_behind(), Caller(intake.port) as caller:
        caller.send(pdu)
        kind, data = caller.pdu()
        assert kind == 3
        rejection = A_ASSOCIATE_RJ()
        rejection.decode(data)
        assert (rejection.result, rejection.source, rejection.reason_diagnostic) == expected
        assert caller.pdu()[0] == 0
        eventually(lambda: not intake.server.associations)
    (line,) = lines(caplog)
    assert word in line.getMessage()
    assert "\n" not in line.getMessage()
    assert line.exc_info is None


@pytest.mark.parametrize("case", MALFORMED)
def test_T14_a_malformed_request_costs_one_line_and_is_aborted_with_a_reason(
    intake: Intake, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    pdu, reason = MALFORMED[case]
    with nothing_left_behind(), Caller(intake.port) as caller:
        caller.send(pdu)
        assert caller.pdu() == (7, b"\7\0\0\0\0\4\0\0\2" + bytes((reason,)))
        assert caller.pdu()[0] == 0
        eventually(lambda: not intake.server.associations)
    (line,) = lines(caplog)
    assert "127.0.0.1" in line.getMessage()
    assert line.exc_info is None


def test_T14_half_a_request_costs_one_line(intake: Intake, caplog: pytest.LogCaptureFixture) -> None:
    with nothing_left_behind(), Caller(intake.port) as caller:
        caller.send(request()[:-9])
        caller.socket.shutdown(socket.SHUT_WR)
        eventually(lambda: lines(caplog))
        eventually(lambda: not intake.server.associations)
    (line,) = lines(caplog)
    assert "ends within the association request" in line.getMessage()


def test_T14_whatever_breaks_the_rules_after_the_request_has_a_reason(
    intake: Intake, caplog: pytest.LogCaptureFixture
) -> None:
    for broken in (b"\7\0\0\0\0\0", struct.pack(">BxLL", 4, 4, 0), struct.pack(">BxLLBB", 4, 6, 0xFFFF, 1, 3)):
        caplog.clear()
        with nothing_left_behind(), Caller(intake.port) as caller:
            caller.send(request() + broken)
            assert caller.pdu()[0] in (2, 7)
            eventually(lambda: not intake.server.associations)
        assert all("reason=" in line.getMessage() for line in lines(caplog))
        assert not any("reason=''" in line.getMessage() or "unpack" in line.getMessage() for line in lines(caplog))


def test_T14_damaged_requests_cost_one_line_at_most(intake: Intake, caplog: pytest.LogCaptureFixture) -> None:
    random = Random(7)
    whole = UNUSUAL["a user's name and password"]
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(random.choice((1, 2, 20))):
            damaged[random.randrange(6, len(damaged))] = random.randrange(256)
        caplog.clear()
        with Caller(intake.port) as caller:
            caller.send(bytes(damaged))
            assert caller.pdu()[0] in (2, 3, 7)
        eventually(lambda: not intake.server.associations)
        assert len(lines(caplog)) <= 1
        assert not any(line.exc_info for line in lines(caplog))


@given(st.binary(max_size=300), st.integers(0, 60))
def test_T14_whatever_the_bytes_a_request_is_read_or_malformed(junk: bytes, at: int) -> None:
    whole = request()
    for pdu in (junk, whole[:74] + junk, whole[: 74 + at] + junk + whole[74 + at + len(junk) :]):
        try:
            reading = read_request(pdu)
        except MalformedPDU:
            continue
        decoded = A_ASSOCIATE_RQ()
        decoded.decode(reading.pdu)
        decoded.to_primitive()


def test_T14_what_is_read_says_what_was_sent() -> None:
    role = item(0x54, struct.pack(">H", len(CT)) + CT.encode() + b"\0\1")
    extended = item(0x56, struct.pack(">H", len(CT)) + CT.encode() + b"\1\0\1")
    whole = request(
        contexts=context(1, CT.encode(), EXPLICIT.encode(), IMPLICIT.encode()) + context(255),
        user=LENGTH + CLASS_UID + role + item(0x55, b"VERSION_1") + extended + item(0x57, common(b"\0\x051.2.3")),
    )
    reading = read_request(whole)
    sent, read = A_ASSOCIATE_RQ(), A_ASSOCIATE_RQ()
    sent.decode(whole)
    read.decode(reading.pdu)
    assert reading.refusal is None
    assert str(read) == str(sent)


# -- the box as requestor


def answer_of(asked: bytes, **parts: Any) -> bytes:
    """An A-ASSOCIATE-AC PDU (table 9-17) that accepts context 1."""
    contexts = parts.get("contexts", item(0x21, b"\1\0\0\0" + item(0x40, EXPLICIT.encode())))
    items = item(0x10, APPLICATION.encode()) + contexts + parts.get("more", b"")
    items += item(0x50, parts.get("user", LENGTH + CLASS_UID))
    fixed = struct.pack(">HH", parts.get("version", 1), 0) + parts.get("titles", asked[10:42]) + bytes(32)
    return struct.pack(">BxL", 2, len(fixed + items)) + fixed + items


ANSWERS = {
    "titles of NUL": {"titles": bytes(32)},
    "titles in Latin-1": {"titles": b"M\xdcNCHEN".ljust(32, b"\xff")},
    "a long version name": {"user": LENGTH + CLASS_UID + item(0x55, b"VERSION " * 5)},
    "unknown items": {"more": item(0x44, b"abc"), "user": LENGTH + item(0x60, b"?") + CLASS_UID},
    "no user information worth the name": {"user": b""},
    "a UID padded with NUL": {"contexts": item(0x21, b"\1\0\0\0" + item(0x40, EXPLICIT.encode() + b"\0"))},
    "a context that was not proposed": {
        "contexts": item(0x21, b"\1\0\0\0" + item(0x40, EXPLICIT.encode()))
        + item(0x21, b"\x63\0\0\0" + item(0x40, b"1.2"))
    },
    "a refused context without transfer syntax": {
        "contexts": item(0x21, b"\1\0\0\0" + item(0x40, EXPLICIT.encode())) + item(0x21, b"\3\0\3\0")
    },
}


def destination(pacs: ScriptedPeer) -> Destination:
    return Destination("PACS", "127.0.0.1", pacs.port, "GATEWAY")


@pytest.mark.parametrize("case", ANSWERS)
def test_T14_an_unusual_answer_of_a_destination_is_understood(case: str) -> None:
    def script(talk: Talk) -> None:
        _, asked = talk.pdu()
        talk.socket.sendall(answer_of(asked, **ANSWERS[case]))
        talk.pdu()
        talk.socket.sendall(RELEASE_RESPONSE)

    with ScriptedPeer(script) as pacs:
        association = Requestor(destination(pacs), [(CT, EXPLICIT)] * 2)
        assert association.contexts == {(CT, EXPLICIT): 1}
        association.release()


def test_T14_a_context_accepted_in_another_transfer_syntax_is_not_used() -> None:
    def script(talk: Talk) -> None:
        _, asked = talk.pdu()
        talk.socket.sendall(answer_of(asked, contexts=item(0x21, b"\1\0\0\0" + item(0x40, IMPLICIT.encode()))))
        talk.pdu()
        talk.socket.sendall(RELEASE_RESPONSE)

    with ScriptedPeer(script) as pacs:
        association = Requestor(destination(pacs), [(CT, EXPLICIT)])
        assert association.contexts == {}
        association.release()


@pytest.mark.parametrize("length", [1, 5, 6, 7])
def test_T14_a_destination_that_takes_no_data_is_said_to_be_one(length: int) -> None:
    def script(talk: Talk) -> None:
        _, asked = talk.pdu()
        talk.socket.sendall(answer_of(asked, user=item(0x51, struct.pack(">L", length)) + CLASS_UID))
        talk.pdu()

    with ScriptedPeer(script) as pacs, pytest.raises(NetworkError, match=f"PDUs of {length} bytes at most"):
        Requestor(destination(pacs), [(CT, EXPLICIT)])


@pytest.mark.parametrize(
    ("rejection", "words"),
    [((1, 1, 3), "alling AE title"), ((1, 1, 9), "reason 9"), ((2, 7, 1), "source 7"), ((9, 3, 2), "imit")],
)
def test_T14_a_rejection_is_said_whatever_its_numbers(rejection: tuple, words: str) -> None:
    def script(talk: Talk) -> None:
        talk.pdu()
        talk.socket.sendall(struct.pack(">BxLxBBB", 3, 4, *rejection))

    with ScriptedPeer(script) as pacs, pytest.raises(NetworkError, match=f"association rejected: .*{words}"):
        Requestor(destination(pacs), [(CT, EXPLICIT)])


def test_T14_an_answer_that_does_not_hold_together_is_malformed() -> None:
    with pytest.raises(MalformedPDU, match="longer than what it is in"):
        read_answer(answer_of(request())[:-1])
