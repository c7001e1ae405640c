"""Calls of the gateway over TLS: stored at real peers, and what is wrong with a certificate is said with its remedy."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority, Pair, openssl
from loopback import free_port, nothing_left_behind, program
from pydicom.data import get_testdata_file
from pynetdicom import AE, AllStoragePresentationContexts, build_context, evt
from scripted_peer import ABORT, ScriptedPeer, Talk
from tools import need

from gateway.errors import NetworkError
from gateway.network.echo import echo
from gateway.network.identity import Security
from gateway.network.requestor import Timeouts
from gateway.network.sender import Sender
from gateway.objects.part10 import read_header
from gateway.objects.stream import BytesSource, FileSource
from gateway.retrieval.engine import Destination
from gateway.retrieval.rendition import Offer
from gateway.retrieval.transcript import Outcome

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
HEADER = read_header(Path(get_testdata_file("CT_small.dcm")))
QUICK = Timeouts(connect=0.5, negotiate=2, progress=0.5, response=2, release=0.5)


@pytest.fixture(scope="module")
def pacs(authority: Authority) -> Pair:
    return authority.issue("pacs")


def destination(port: int, security: Security, **more: Any) -> Destination:
    return Destination("PEER", "127.0.0.1", port, "GATEWAY", tls=security, **more)


def send(target: Destination, timeouts: Timeouts = QUICK, data: bytes | None = None) -> Outcome:
    association = Sender(timeouts).connect(target, [Offer(CT, (EXPLICIT,))])
    source = FileSource(HEADER.path, HEADER.dataset_offset) if data is None else BytesSource(data)
    outcome = association.store(sop_class=CT, sop_instance=HEADER.sop_instance, transfer_syntax=EXPLICIT, source=source)
    association.release()
    return outcome


@contextlib.contextmanager
def acceptor(context: ssl.SSLContext | None) -> Iterator[tuple[int, list[bytes]]]:
    """An SCP of pynetdicom and what it receives."""
    received: list[bytes] = []
    entity = AE("PEER")
    entity.supported_contexts = [*AllStoragePresentationContexts[:120], build_context("1.2.840.10008.1.1")]
    handlers = [(evt.EVT_C_STORE, lambda event: received.append(event.request.DataSet.getvalue()) or 0x0000)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=context)
    try:
        yield server.server_address[1], received
    finally:
        server.shutdown()


# -- real peers


def test_storescp_of_dcmtk_gets_the_object(authority: Authority, own: Pair, pacs: Pair, tmp_path: Path) -> None:
    port = free_port()
    tls = ("+tls", pacs.key, pacs.certificate, "+cf", authority.certificate)
    with program(need("storescp"), *tls, "+B", "+xa", "-od", tmp_path, port, port=port):
        assert send(destination(port, authority.security(own))).delivered
    (received,) = tmp_path.iterdir()
    sent = HEADER.path.read_bytes()[HEADER.dataset_offset :]
    assert received.read_bytes()[read_header(received).dataset_offset :] == sent


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_an_SCP_of_pynetdicom_gets_a_large_object_and_answers_C_ECHO(
    version: ssl.TLSVersion, authority: Authority, own: Pair, pacs: Pair
) -> None:
    context = authority.server(pacs)
    context.minimum_version = context.maximum_version = version
    data = bytes(range(256)) * 20_000
    with acceptor(context) as (port, received), nothing_left_behind():
        assert send(destination(port, authority.security(own)), Timeouts(), data) == Outcome(0)
        assert echo(destination(port, authority.security(own))) < 5
    assert received == [data]


# -- what is wrong with certificates


def problem(port: int, security: Security, **more: Any) -> str:
    with nothing_left_behind(), pytest.raises(NetworkError) as caught:
        send(destination(port, security, **more))
    return f"{caught.value.problem} -> {caught.value.remedy}"


def test_a_certificate_that_is_wrong_is_named_with_the_remedy(
    authority: Authority, own: Pair, pacs: Pair, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other")
    ours = authority.security(own)
    with acceptor(authority.server(pacs)) as (port, received):
        assert problem(port, other.security(own)).startswith("the peer's certificate is of an unknown authority -> put")
        assert "for another name -> set verify_name" in problem(port, ours, verify_name="pacs.example")
        assert problem(port, authority.security(None)).startswith(
            "the peer demands a certificate of ours -> set tls.certificate"
        )
        assert problem(port, authority.security(other.issue("x"))).startswith(
            "the peer does not know who signed our certificate ->"
        )
        assert problem(port, authority.security(authority.issue("ours", days=-1))).startswith(
            "the peer says that our certificate has expired -> renew"
        )
        assert received == []
        assert send(destination(port, ours, verify_name="localhost")).delivered
    with acceptor(authority.server(authority.issue("late", days=-1))) as (port, _):
        assert problem(port, ours).startswith("the peer's certificate has expired -> have it renewed")
    with acceptor(authority.server(authority.issue("far", "IP:192.0.2.1"))) as (port, _):
        assert problem(port, ours).startswith("the peer's certificate is for another address -> set verify_name")


def test_a_peer_without_TLS_is_named(authority: Authority, own: Pair) -> None:
    def abort(talk: Talk) -> None:
        talk.socket.recv(6)
        talk.socket.sendall(ABORT)
        talk.socket.recv(1)

    with ScriptedPeer(abort) as peer:
        said = problem(peer.port, authority.security(own))
    assert said == "the peer does not speak TLS -> check port and TLS setting on both sides"


@pytest.mark.parametrize("ending", ["stall", "close"])
def test_a_handshake_that_comes_to_nothing_has_an_end(ending: str, authority: Authority, own: Pair) -> None:
    def script(talk: Talk) -> None:
        talk.socket.recv(1)
        if ending == "stall":
            peer.over.wait(0.7)

    with ScriptedPeer(script) as peer:
        said = problem(peer.port, authority.security(own))
    expected = {"stall": "TLS handshake not done within 0.5 s", "close": "the connection was closed during the TLS"}
    assert said.startswith(expected[ending])


# -- an association that ends early, and one that is not in a hurry


@contextlib.contextmanager
def scripted(context: ssl.SSLContext, script: Any) -> Iterator[ScriptedPeer]:
    def encrypted(talk: Talk) -> None:
        with context.wrap_socket(talk.socket, server_side=True) as talk.socket:
            script(talk)

    with ScriptedPeer(encrypted) as peer:
        yield peer


@pytest.mark.parametrize(("ending", "said"), [("abort", "association aborted"), ("close", "connection lost")])
def test_an_end_in_the_middle_of_an_object_is_noticed(
    ending: str, said: str, authority: Authority, own: Pair, pacs: Pair
) -> None:
    def script(talk: Talk) -> None:
        talk.accept()
        talk.pdu()
        talk.pdu()
        if ending == "abort":
            talk.socket.sendall(ABORT)
            peer.over.wait(30)

    with (
        nothing_left_behind(),
        scripted(authority.server(pacs), script) as peer,
        pytest.raises(NetworkError, match=said),
    ):
        send(destination(peer.port, authority.security(own)), data=bytes(50_000_000))


def test_a_peer_that_stops_taking_is_given_up(authority: Authority, own: Pair, pacs: Pair) -> None:
    def script(talk: Talk) -> None:
        talk.accept()
        peer.over.wait(30)

    with (
        nothing_left_behind(),
        scripted(authority.server(pacs), script) as peer,
        pytest.raises(NetworkError, match="no progress within"),
    ):
        send(destination(peer.port, authority.security(own)), data=bytes(50_000_000))


def test_answers_that_come_together_in_one_record_are_all_read(authority: Authority, own: Pair, pacs: Pair) -> None:
    """What OpenSSL has decrypted is in no socket any more: a poll would wait for it in vain."""

    def script(talk: Talk) -> None:
        talk.accept()
        request, _ = talk.message()
        sent: list[bytes] = []
        talk.socket, real = Recorder(sent), talk.socket  # type: ignore[assignment]
        talk.respond(request)
        talk.socket = real
        # The response and the answer to a release that has not been asked for yet.
        real.sendall(sent[0] + b"\6\0\0\0\0\4\0\0\0\0")
        talk.pdu()

    with scripted(authority.server(pacs), script) as peer:
        assert send(destination(peer.port, authority.security(own))).delivered


class Recorder:
    def __init__(self, sent: list[bytes]) -> None:
        self.sendall = sent.append


# -- the files


def test_files_that_cannot_be_used_are_named(authority: Authority, own: Pair, pacs: Pair, tmp_path: Path) -> None:
    def refused(security: Security) -> str:
        with pytest.raises(NetworkError) as caught:
            security.renew()
        return str(caught.value)

    assert "certificate and key do not belong together" in refused(authority.security(Pair(own.certificate, pacs.key)))
    missing = tmp_path / "no.key"
    assert f"TLS: {missing}: cannot be read: No such file" in refused(
        authority.security(Pair(own.certificate, missing))
    )
    garbage = tmp_path / "garbage"
    garbage.write_text("nonsense")
    assert "is no certificate or key in PEM" in refused(authority.security(Pair(garbage, own.key)))
    secret = tmp_path / "secret.key"
    openssl("pkey", "-in", own.key, "-out", secret, "-aes256", "-passout", "pass:x")
    assert "the key is protected by a password" in refused(authority.security(Pair(own.certificate, secret)))


def test_what_is_renewed_counts_from_the_next_connection_on(
    authority: Authority, own: Pair, pacs: Pair, tmp_path: Path
) -> None:
    mine = Pair(tmp_path / "my.crt", tmp_path / "my.key")

    def install(pair: Pair) -> None:
        for source, target in zip(pair, mine, strict=True):
            target.write_bytes(source.read_bytes())

    install(own)
    security = authority.security(mine)
    security.renew()
    before = security.server()
    mine.key.write_bytes(pacs.key.read_bytes())
    with pytest.raises(NetworkError, match="belong together"):
        security.renew()
    assert security.server() is before
    install(pacs)
    assert security.server() is before  # nobody has said so
    security.renew()
    assert security.server() is not before
