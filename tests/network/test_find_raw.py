"""C-FIND by a requestor that writes its own bytes: odd identifiers, cancels, aborts, slow readers."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest
from archive_tools import ct, store
from find_tools import STUDY_ROOT, Box, box, find, identifier
from loopback import eventually, nothing_left_behind
from scripted_caller import ABORT, C_CANCEL_RQ, IMPLICIT, Caller, command, data_pdu, decoded, fragment

C_FIND_RQ = 0x0020
STUDIES = 300


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with box(tmp_path_factory.mktemp("raw")) as made:
        for number in range(STUDIES):
            store(made.archive, ct(f"1.2.{number}.1.1", study=f"1.2.{number}", series=f"1.2.{number}.1"))
        find(made.port, identifier("STUDY", StudyInstanceUID="1"))
        yield made


class Requestor(Caller):
    """Asks with whatever bytes."""

    def ask(self, data: bytes, *, model: str = STUDY_ROOT, has_data: bool = True) -> None:
        self.message_id += 1
        body = command(
            field=C_FIND_RQ, id=self.message_id, priority=0, data=1 if has_data else 0x0101, **{"class": model}
        )
        self.send(data_pdu(fragment(1, body, is_command=True)))
        if has_data:
            self.send(data_pdu(fragment(1, data)))

    def cancel(self) -> None:
        self.send(
            data_pdu(fragment(1, command(field=C_CANCEL_RQ, answered=self.message_id, data=0x0101), is_command=True))
        )

    def message(self) -> dict[str, Any]:
        """Return the command of the next response; its data set is read and thrown away."""
        said = decoded(self._whole())
        if said["data"] != 0x0101:
            self._whole()
        return said

    def _whole(self) -> bytes:
        body = b""
        while True:
            kind, data = self.pdu()
            assert kind == 4, f"PDU of type {kind}"
            length, _, control = struct.unpack_from(">LBB", data, 6)
            assert len(data) == 10 + length
            body += data[12:]
            if control & 2:
                return body

    def final(self) -> tuple[dict[str, Any], int]:
        """Return the final response and how many pending ones came before it."""
        pending = 0
        while (said := self.message())["status"] in (0xFF00, 0xFF01):
            pending += 1
        assert said["answered"] == self.message_id
        return said, pending


@pytest.fixture
def requestor(gateway: Box) -> Iterator[Requestor]:
    with nothing_left_behind(), Requestor(gateway.port) as made:
        made.associate(((STUDY_ROOT, (IMPLICIT,)),), calling="WORKSTATION")
        yield made


def element(tag: int, value: bytes) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


LEVEL = element(0x00080052, b"STUDY ")
STUDY_UID = element(0x0020000D, b"")
ALL = LEVEL + STUDY_UID


@pytest.mark.parametrize(
    ("data", "status", "matches"),
    [
        pytest.param(ALL, 0x0000, STUDIES, id="everything"),
        pytest.param(LEVEL, 0x0000, STUDIES, id="no key at all"),
        pytest.param(
            element(0x00080052, b" study\0") + STUDY_UID, 0x0000, STUDIES, id="level in small letters, padded"
        ),
        pytest.param(STUDY_UID, 0xA900, 0, id="no level"),
        pytest.param(element(0x00080052, b"SERIES\\STUDY") + STUDY_UID, 0xA900, 0, id="two levels"),
        pytest.param(b"", 0xA900, 0, id="an empty data set"),
        pytest.param(b"\x08\0\x52\0\xff\xff\0\0STU", 0xC000, 0, id="cut off"),
        pytest.param(b"\xff" * 40, 0xC000, 0, id="rubbish"),
        pytest.param(LEVEL + element(0x00100010, b"doe*\0"), 0x0000, STUDIES, id="odd length"),
        pytest.param(LEVEL + element(0x00100010, b"*" * 300), 0x0000, STUDIES, id="many asterisks"),
        pytest.param(LEVEL + element(0x00081030, b"a*" * 200), 0xA900, 0, id="a pattern for ever"),
        pytest.param(LEVEL + element(0x00080020, b"\xfe\xff\0\1"), 0xA900, 0, id="a date that is none"),
        pytest.param(LEVEL + element(0x00100010, b"\x1b$B\xff\xff\x1b"), 0x0000, 0, id="a broken escape sequence"),
        pytest.param(
            LEVEL + element(0x00080005, b"KLINGON") + element(0x00100010, b"D\xf6e^J*"),
            0x0000,
            STUDIES,
            id="a set nobody knows",
        ),
        pytest.param(
            LEVEL + element(0x0020000D, b"\\".join(b"1.2.%d" % n for n in range(9000))),
            0x0000,
            STUDIES,
            id="a long list",
        ),
        pytest.param(
            LEVEL + element(0x00081030, b"\\".join(b"x%d" % n for n in range(900))), 0xA900, 0, id="too many values"
        ),
        pytest.param(LEVEL + element(0x00081032, element(0xFFFEE000, b"") * 2), 0xA900, 0, id="two items"),
        pytest.param(LEVEL + element(0x00081032, b"xx"), 0xC000, 0, id="a sequence that is none"),
        pytest.param(LEVEL + element(0x00280010, b"\1\0\2"), 0x0000, STUDIES, id="a number too short"),
        pytest.param(element(0x00020010, b"1.2\0") + ALL, 0x0000, STUDIES, id="an element of group 2"),
    ],
)
def test_F20_odd_identifiers_get_their_status(requestor: Requestor, data: bytes, status: int, matches: int) -> None:
    requestor.ask(data)
    said, pending = requestor.final()
    assert (f"{said['status']:04X}", pending) == (f"{status:04X}", matches), said
    assert (status == 0x0000) != bool(said.get("comment"))
    assert said["data"] == 0x0101  # no Identifier
    requestor.ask(LEVEL + element(0x0020000D, b"1.2.7\0"))  # the association goes on
    assert requestor.final()[1] == 1
    requestor.release()


def test_F20_a_request_without_a_data_set_does_no_harm(gateway: Box) -> None:
    with nothing_left_behind(), Requestor(gateway.port) as made:
        made.associate(((STUDY_ROOT, (IMPLICIT,)),), calling="WORKSTATION")
        made.ask(b"", has_data=False)
        kind, data = made.pdu()
        assert kind in (4, 7), (kind, data)


def test_F17_cancel_ends_the_answer_with_FE00(
    gateway: Box, requestor: Requestor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.network.find.MOST_QUEUED", 2)
    slow(monkeypatch)
    requestor.ask(ALL)
    assert requestor.message()["status"] == 0xFF00
    requestor.cancel()
    said, pending = requestor.final()
    assert said["status"] == 0xFE00
    assert pending < STUDIES - 1
    requestor.ask(LEVEL + element(0x0020000D, b"1.2.7\0"))  # what was cancelled is not the next request
    assert requestor.final()[1] == 1
    requestor.release()


def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every match take a while."""
    from gateway.network import find as module

    original = module._Find.send

    def send(self: Any, match: Any) -> None:
        time.sleep(0.01)
        original(self, match)

    monkeypatch.setattr(module._Find, "send", send)


@pytest.mark.parametrize("ending", ["abort", "close", "reset", "release"])
def test_F17_an_association_that_ends_leaves_nothing(
    gateway: Box, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow(monkeypatch)
    with nothing_left_behind(), Requestor(gateway.port) as made:
        made.associate(((STUDY_ROOT, (IMPLICIT,)),), calling="WORKSTATION")
        made.ask(ALL)
        assert made.message()["status"] == 0xFF00
        if ending == "abort":
            made.send(ABORT)
        elif ending == "reset":
            made.reset()
        elif ending == "release":
            made.send(b"\5\0\0\0\0\4\0\0\0\0")
        made.socket.close()
    eventually(lambda: not gateway.server.associations)


def test_F17_what_a_peer_does_not_take_is_not_found_yet(gateway: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that reads nothing stops the matching; what is queued for it is bounded."""
    from gateway.network import find as module

    sent: list[int] = []
    original = module._Find._fragments

    def fragments(self: Any, data: bytes) -> Any:
        sent.append(len(data))
        # As if each match were a large one: the buffers of the connection hold only a few.
        return original(self, data + b"\x10\0\x00\x40" + struct.pack("<I", 200_000) + b" " * 200_000)

    monkeypatch.setattr(module._Find, "_fragments", fragments)
    with Requestor(gateway.port) as made:
        made.associate(((STUDY_ROOT, (IMPLICIT,)),), calling="WORKSTATION")
        made.ask(ALL)
        eventually(lambda: len(sent) > 3)
        time.sleep(0.5)
        held = len(sent)
        time.sleep(0.5)
        assert len(sent) == held < STUDIES / 2
        assert made.final()[1] == STUDIES
        made.release()
