"""The storage SCU against real receivers and against peers that break off, refuse or fall silent."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from loopback import free_port, nothing_left_behind, program
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid
from pynetdicom import AE, AllStoragePresentationContexts, evt
from scripted_peer import ABORT, RELEASE_REQUEST, ScriptedPeer, Talk
from tools import need

from gateway.errors import GatewayError, NetworkError, ObjectError
from gateway.network.pdus import fragments
from gateway.network.requestor import Timeouts
from gateway.network.sender import Sender
from gateway.objects.part10 import Header, read_header
from gateway.objects.stream import BytesSource, FileSource
from gateway.retrieval.engine import Destination
from gateway.retrieval.rendition import Offer
from gateway.retrieval.transcript import Fate, Outcome

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
PATIENT = Timeouts(release=1)
QUICK = Timeouts(connect=1, negotiate=0.5, progress=1, response=0.5, release=0.5)


def destination(port: int, **more: object) -> Destination:
    return Destination("PEER", "127.0.0.1", port, "GATEWAY", **more)


def sample(name: str = "CT_small.dcm") -> Header:
    return read_header(Path(get_testdata_file(name)))


def send(port: int, data: bytes = bytes(1000), *, timeouts: Timeouts = PATIENT, **more: object) -> Outcome:
    """Send one object of arbitrary bytes and release."""
    association = Sender(timeouts).connect(destination(port), [Offer(CT, (EXPLICIT,))])
    outcome = association.store(
        sop_class=CT, sop_instance="1.2.3", transfer_syntax=EXPLICIT, source=BytesSource(data), **more
    )
    association.release()
    return outcome


def send_file(header: Header, target: Destination) -> Outcome:
    association = Sender().connect(target, [Offer(header.sop_class, (header.transfer_syntax,))])
    outcome = association.store(
        sop_class=header.sop_class,
        sop_instance=header.sop_instance,
        transfer_syntax=header.transfer_syntax,
        source=FileSource(header.path, header.dataset_offset),
    )
    association.release()
    return outcome


# -- against the receivers of others


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm", "MR_small_bigendian.dcm"])
def test_S1_storescp_of_dcmtk_gets_the_bytes_of_the_data_set(name: str, tmp_path: Path) -> None:
    header, port = sample(name), free_port()
    command = (need("storescp"), "--prefer-lossless", "+B", "+xa", "-od", tmp_path, port)
    with program(*command, port=port):
        assert send_file(header, destination(port)).fate == Fate.DELIVERED
    (received,) = tmp_path.iterdir()
    copy = read_header(received)
    sent = header.path.read_bytes()[header.dataset_offset :]
    assert received.read_bytes()[copy.dataset_offset :] == sent
    assert copy.transfer_syntax == header.transfer_syntax


def test_S1_storescp_of_pynetdicom_gets_the_bytes_of_the_data_set() -> None:
    header, received = sample(), []

    def store(event: evt.Event) -> int:
        received.append((event.request.DataSet.getvalue(), event.assoc.requestor.ae_title))
        return 0x0000

    ae = AE("PEER")
    ae.supported_contexts = AllStoragePresentationContexts
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        assert send_file(header, destination(server.server_address[1])) == Outcome(0)
    finally:
        server.shutdown()
    assert received == [(header.path.read_bytes()[header.dataset_offset :], "GATEWAY")]


# -- what is on the wire


@pytest.mark.parametrize("maximum", [128, 4096, 16383, 16384, 1 << 20, 0])
def test_pdus_are_never_larger_than_the_peer_takes(maximum: int) -> None:
    data = bytes(range(256)) * 2000

    def script(talk: Talk) -> None:
        talk.accept(maximum=maximum)
        talk.serve()

    with ScriptedPeer(script) as peer:
        assert send(peer.port, data).delivered
        (talk,) = peer.talks
        assert talk.stored[0][1] == data
        # The association request was the largest so far when the peer wants small PDUs.
        largest = max(len(view) for view in fragments(1, [data], maximum)) if maximum == 128 else talk.largest
        assert maximum in (0, 128) or largest <= maximum


def test_fragments_say_which_is_the_last_and_hold_every_byte() -> None:
    pieces = [b"a" * 7, b"", b"b" * 100, b"c" * 3]
    wire = b"".join(bytes(view) for view in fragments(5, pieces, 50))
    controls, content, position = [], b"", 0
    while position < len(wire):
        assert wire[position] == 4
        length = int.from_bytes(wire[position + 2 : position + 6], "big")
        assert length <= 50
        assert int.from_bytes(wire[position + 6 : position + 10], "big") == length - 4
        assert wire[position + 10] == 5
        controls.append(wire[position + 11])
        content += wire[position + 12 : position + 6 + length]
        position += 6 + length
    assert content == b"".join(pieces)
    assert controls == [0, 0, 2]


def test_C_STORE_request_names_the_originator_of_the_move() -> None:
    def script(talk: Talk) -> None:
        talk.accept()
        talk.serve()

    with ScriptedPeer(script) as peer:
        send(peer.port, originator=("WORKSTATION", 77), priority=1)
        send(peer.port)
        first, second = (talk.stored[0][0] for talk in peer.talks)
    assert (first.MoveOriginatorApplicationEntityTitle, first.MoveOriginatorMessageID) == ("WORKSTATION", 77)
    assert first.Priority == 1
    assert "MoveOriginatorMessageID" not in second
    assert peer.talks[0].log[-1] == "release"
    assert str(peer.talks[0].request.calling_ae_title).strip() == "GATEWAY"
    assert str(peer.talks[0].request.called_ae_title).strip() == "PEER"


def test_M3_each_transfer_syntax_has_a_context_of_its_own() -> None:
    def script(talk: Talk) -> None:
        talk.accept(refuse=lambda abstract, transfer: transfer == EXPLICIT)
        talk.serve()

    with ScriptedPeer(script) as peer:
        association = Sender(PATIENT).connect(destination(peer.port), [Offer(CT, (EXPLICIT, IMPLICIT))])
        assert association.accepted(CT) == (IMPLICIT,)
        assert association.accepted("1.2.3") == ()
        association.release()
        contexts = peer.talks[0].request.presentation_context_definition_list
    assert [(c.context_id, c.transfer_syntax) for c in contexts] == [(1, [EXPLICIT]), (3, [IMPLICIT])]


@pytest.mark.parametrize(
    ("status", "fate"),
    [
        (0x0000, Fate.DELIVERED),
        (0xB000, Fate.WARNING),
        (0xB007, Fate.WARNING),
        (0x0107, Fate.WARNING),
        (0xA700, Fate.FAILED),
        (0xA900, Fate.FAILED),
        (0xC000, Fate.FAILED),
        (0x0111, Fate.FAILED),
        (0x0122, Fate.FAILED),
    ],
)
def test_status_and_comment_of_the_peer_are_handed_on(status: int, fate: Fate) -> None:
    def script(talk: Talk) -> None:
        talk.accept()
        talk.serve((status, "why so"))

    with ScriptedPeer(script) as peer, nothing_left_behind():
        outcome = send(peer.port)
    assert (outcome.status, outcome.comment, outcome.fate) == (status, "why so", fate)


# -- peers that misbehave: every one ends with its reason, in time, and leaves nothing


def silent(talk: Talk) -> None:
    while True:
        talk.pdu()


def rejecting(*fields: int) -> Callable[[Talk], None]:
    return lambda talk: talk.reject(*fields)


def aborts_negotiation(talk: Talk) -> None:
    talk.pdu()
    talk.socket.sendall(ABORT)


def talks_http(talk: Talk) -> None:
    talk.pdu()
    talk.socket.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def never_answers_the_store(talk: Talk) -> None:
    talk.accept()
    silent(talk)


def aborts_instead_of_answering(talk: Talk) -> None:
    talk.accept()
    talk.message()
    talk.socket.sendall(ABORT)


def closes_instead_of_answering(talk: Talk) -> None:
    talk.accept()
    talk.message()


def releases_instead_of_answering(talk: Talk) -> None:
    talk.accept()
    talk.message()
    talk.socket.sendall(RELEASE_REQUEST)
    talk.pdu()


def answers_another_message(talk: Talk) -> None:
    talk.accept()
    talk.respond(talk.message()[0], number=999)
    silent(talk)


def floods(talk: Talk) -> None:
    talk.accept()
    talk.message()
    while True:
        talk.socket.sendall(b"\4\0\0\0\x40\6\0\0\x40\2\1\1" + bytes(1 << 14))


def answers_twice(talk: Talk) -> None:
    talk.accept()
    request, _ = talk.message()
    for _ in range(100):
        talk.respond(request)
    silent(talk)


def answers_garbage(talk: Talk) -> None:
    talk.accept()
    talk.message()
    talk.socket.sendall(b"\4\0\0\0\0\x0a\0\0\0\6\1\3\0\0\0\0")
    silent(talk)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (silent, "no answer to the association request within 0.5 s"),
        (lambda talk: None, "connection lost"),
        (rejecting(1, 1, 7), "association rejected: called AE title not recognised"),
        (rejecting(1, 1, 3), "association rejected: calling AE title not recognised"),
        (rejecting(2, 3, 2), "association rejected: local limit exceeded"),
        (aborts_negotiation, "association aborted"),
        (talks_http, "peer does not speak DICOM"),
        (never_answers_the_store, "no response within 0.5 s"),
        (aborts_instead_of_answering, "association aborted"),
        (closes_instead_of_answering, "connection lost while waiting for an answer"),
        (releases_instead_of_answering, "association released by the peer"),
        (answers_another_message, "answered something that was not asked"),
        (floods, "peer says more than it was asked"),
        (answers_garbage, "response cannot be understood"),
    ],
)
def test_a_peer_that_misbehaves_is_an_error_in_plain_words(script: Callable[[Talk], None], reason: str) -> None:
    with ScriptedPeer(script) as peer, nothing_left_behind():
        started = time.monotonic()
        with pytest.raises(NetworkError) as caught:
            send(peer.port, timeouts=QUICK if "within" in reason else PATIENT)
        assert time.monotonic() - started < 20
    assert caught.value.problem.startswith(reason)
    assert "PEER at 127.0.0.1" in str(caught.value)


BIG = bytes(20_000_000)


def aborts_in_mid_object(talk: Talk) -> None:
    talk.accept()
    for _ in range(10):
        talk.pdu()
    talk.socket.sendall(ABORT)
    # Linger on as the standard has it: the receiver of an abort closes.
    while talk.socket.recv(1 << 16):
        pass


def closes_in_mid_object(talk: Talk) -> None:
    talk.accept()
    for _ in range(10):
        talk.pdu()


def stops_reading_in_mid_object(talk: Talk) -> None:
    talk.accept()
    for _ in range(10):
        talk.pdu()
    time.sleep(2)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (aborts_in_mid_object, "association aborted"),
        (closes_in_mid_object, "connection lost while sending"),
        (stops_reading_in_mid_object, "no progress within 1 s while sending"),
    ],
)
def test_M6_a_peer_that_breaks_off_in_mid_object(script: Callable[[Talk], None], reason: str) -> None:
    with ScriptedPeer(script) as peer, nothing_left_behind(), pytest.raises(NetworkError) as caught:
        send(peer.port, BIG, timeouts=QUICK if "within" in reason else PATIENT)
    assert caught.value.problem == reason


def test_an_answer_that_comes_before_the_end_of_the_object_is_not_lost() -> None:
    def script(talk: Talk) -> None:
        talk.accept()
        talk.pdu()
        request, _ = talk.stored[0] if talk.stored else (None, None)
        assert request is None
        early = type("Request", (), {"AffectedSOPClassUID": CT, "MessageID": 1})
        talk.respond(early, 0xA700, "disk full")
        while talk.pdu()[0] == 4:
            pass

    with ScriptedPeer(script) as peer:
        association = Sender(PATIENT).connect(destination(peer.port), [Offer(CT, (EXPLICIT,))])
        outcome = association.store(
            sop_class=CT, sop_instance="1.2.3", transfer_syntax=EXPLICIT, source=BytesSource(BIG)
        )
        association.abort()
    assert (outcome.status, outcome.comment) == (0xA700, "disk full")


def test_an_answer_right_before_the_connection_closes_counts() -> None:
    def script(talk: Talk) -> None:
        talk.accept()
        talk.respond(talk.message()[0])

    with ScriptedPeer(script) as peer, nothing_left_behind():
        assert send(peer.port).delivered


def test_a_peer_that_answers_a_request_twice_is_not_believed() -> None:
    with ScriptedPeer(answers_twice) as peer, nothing_left_behind():
        association = Sender(PATIENT).connect(destination(peer.port), [Offer(CT, (EXPLICIT,))])
        request = {"sop_class": CT, "sop_instance": "1.2", "transfer_syntax": EXPLICIT, "source": BytesSource(b"abcd")}
        association.store(**request)
        with pytest.raises(NetworkError):
            association.store(**request)


def test_the_watch_cannot_keep_an_association_from_being_released() -> None:
    def watch() -> None:
        raise AssertionError("too late to watch")

    def script(talk: Talk) -> None:
        talk.accept()
        talk.pdu()
        time.sleep(1.3)

    with ScriptedPeer(script) as peer, nothing_left_behind():
        association = Sender(Timeouts(release=5)).connect(destination(peer.port), [Offer(CT, (EXPLICIT,))], watch=watch)
        association.release()


def test_nobody_listens() -> None:
    with nothing_left_behind(), pytest.raises(NetworkError) as caught:
        send(free_port())
    assert caught.value.problem == "connection refused"
    assert caught.value.remedy is not None


def test_host_name_not_known() -> None:
    target = Destination("PEER", "no-such-host.invalid", 104, "GATEWAY")
    with pytest.raises(NetworkError, match="host name not known"):
        Sender(PATIENT).connect(target, [Offer(CT, (EXPLICIT,))])


def test_no_answer_to_the_connection_request() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        # Fill the queue of the listener; from then on requests are dropped, as by a firewall.
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        with nothing_left_behind(), pytest.raises(NetworkError) as caught:
            send(port, timeouts=QUICK)
        for filler in fillers:
            filler.close()
    assert caught.value.problem == "no answer within 1 s"


def test_a_peer_that_does_not_answer_the_release_costs_the_time_limit_only() -> None:
    def script(talk: Talk) -> None:
        talk.accept()
        talk.respond(talk.message()[0])
        silent(talk)

    with ScriptedPeer(script) as peer, nothing_left_behind():
        started = time.monotonic()
        assert send(peer.port).delivered
        assert time.monotonic() - started < 20


def test_the_watch_is_called_while_a_peer_is_silent_and_ends_the_association_by_raising() -> None:
    class Stop(Exception):
        pass

    calls: list[float] = []

    def watch() -> None:
        calls.append(time.monotonic())
        if len(calls) == 2:
            raise Stop

    with ScriptedPeer(never_answers_the_store) as peer, nothing_left_behind():
        association = Sender(Timeouts(response=30)).connect(
            destination(peer.port), [Offer(CT, (EXPLICIT,))], watch=watch
        )
        with pytest.raises(Stop):
            association.store(sop_class=CT, sop_instance="1.2.3", transfer_syntax=EXPLICIT, source=BytesSource(b"abcd"))
    assert 0.5 < calls[1] - calls[0] < 2.5
    assert "abort" in peer.talks[0].log


class Broken:
    """A source that does not keep what it promised."""

    def __init__(self, length: int, content: bytes, error: Exception | None = None) -> None:
        self.length = length
        self._content = content
        self._error = error

    def chunks(self, size: int = 1 << 18):
        yield self._content
        if self._error is not None:
            raise self._error


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (Broken(1000, bytes(998)), ObjectError),
        (Broken(1000, bytes(1002)), ObjectError),
        (Broken(1000, bytes(500), OSError("disk broken")), OSError),
        (Broken(0, b""), ObjectError),
    ],
)
def test_a_source_that_breaks_aborts_the_association_and_is_no_fault_of_the_network(
    source: Broken, error: type[Exception]
) -> None:
    with ScriptedPeer(never_answers_the_store) as peer, nothing_left_behind():
        association = Sender(PATIENT).connect(destination(peer.port), [Offer(CT, (EXPLICIT,))])
        with pytest.raises(error) as caught:
            association.store(sop_class=CT, sop_instance="1.2.3", transfer_syntax=EXPLICIT, source=source)
        assert not isinstance(caught.value, NetworkError)
        assert isinstance(caught.value, GatewayError | OSError)
    assert "abort" in peer.talks[0].log


def test_many_small_objects_on_one_association_are_not_slowed_down_by_delayed_acknowledgements() -> None:
    def script(talk: Talk) -> None:
        talk.accept()
        talk.serve()

    with ScriptedPeer(script) as peer:
        association = Sender().connect(destination(peer.port), [Offer(CT, (EXPLICIT,))])
        times = [time.monotonic()]
        for number in range(100):
            association.store(
                sop_class=CT,
                sop_instance=f"{generate_uid()[:50]}.{number}",
                transfer_syntax=EXPLICIT,
                source=BytesSource(bytes(1000)),
            )
            times.append(time.monotonic())
        association.release()
    # Some may be slow on a busy machine, with a stall of 40 ms for each none is quick.
    assert sum(later - earlier < 0.035 for earlier, later in itertools.pairwise(times)) > 20


def test_what_is_sent_can_be_read(tmp_path: Path) -> None:
    header, port = sample(), free_port()
    with program(need("storescp"), "-od", tmp_path, port, port=port):
        send_file(header, destination(port))
    (received,) = tmp_path.iterdir()
    assert dcmread(received).PixelData == dcmread(header.path).PixelData
