"""Callers over TLS: real ones are served, and whatever a handshake comes to, nobody else notices."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority, Pair
from intake import Intake, growing, running, sample, send_long
from loopback import eventually, free_port, nothing_left_behind, program
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove
from scripted_caller import ABORT, CT, EXPLICIT, RELEASE_REQUEST, Caller, data_pdu, fragment, request_pdu
from tools import need

from gateway.network.intake_socket import Timeouts
from gateway.objects.part10 import read_header
from gateway.retrieval.engine import Destination

HEADER, BYTES = sample()


@pytest.fixture
def intake(tmp_path: Path, authority: Authority, own: Pair, scanner: Pair) -> Iterator[Intake]:
    with running(tmp_path, tls=authority.security(own)) as box:
        yield box
        # Whatever the test has done, the next one who calls is served, and nothing of it is left.
        with Caller(box.tls_port) as caller:
            encrypt(caller, authority.client(scanner))
            store(caller)
            caller.release()
        eventually(lambda: not box.server.associations)


def encrypt(caller: Caller, context: ssl.SSLContext) -> None:
    caller.socket = context.wrap_socket(caller.socket, server_hostname="127.0.0.1")


def store(caller: Caller) -> None:
    assert caller.associate() is None
    assert caller.store(BYTES, CT, HEADER.sop_instance)["status"] == 0


def refusals(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return events(caplog, "tls.refused")


def events(caplog: pytest.LogCaptureFixture, name: str) -> list[dict[str, Any]]:
    return [vars(one)["gateway_fields"] for one in caplog.records if vars(one).get("gateway_event") == name]


# -- real peers


def test_storescu_of_dcmtk_is_served(intake: Intake, authority: Authority, scanner: Pair) -> None:
    tls = ("+tls", scanner.key, scanner.certificate, "+cf", authority.certificate, "-aet", "CT1", "-aec", "GATEWAY")
    file = get_testdata_file("CT_small.dcm")
    subprocess.run([need("storescu"), *tls, "-xe", "127.0.0.1", str(intake.tls_port), file], check=True, timeout=60)
    assert [row.sop_instance for row in intake.rows()] == [HEADER.sop_instance]
    assert BYTES[-20_000:-5_000] in intake.stored_bytes()  # it leaves the padding at the end out


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_an_SCU_of_pynetdicom_is_served(
    version: ssl.TLSVersion, intake: Intake, authority: Authority, scanner: Pair
) -> None:
    context = authority.client(scanner)
    context.minimum_version = context.maximum_version = version
    entity = AE("CT1")
    entity.add_requested_context(CT, HEADER.transfer_syntax)
    association = entity.associate(
        "127.0.0.1", intake.tls_port, ae_title="GATEWAY", tls_args=(context, "127.0.0.1"), max_pdu=0
    )
    assert association.is_established
    assert association.send_c_store(get_testdata_file("CT_small.dcm")).Status == 0
    association.release()
    assert intake.stored_bytes() == BYTES


def test_C_MOVE_is_asked_and_carried_out_over_TLS(
    tmp_path: Path, authority: Authority, own: Pair, scanner: Pair
) -> None:
    security, port, there = authority.security(own), free_port(), tmp_path / "there"
    there.mkdir()
    tls = ("+tls", scanner.key, scanner.certificate, "+cf", authority.certificate)
    destination = Destination("DEST", "127.0.0.1", port, "GATEWAY", tls=security)
    with (
        running(tmp_path / "box", tls=security, destinations={"DEST": destination}) as box,
        program(need("storescp"), *tls, "+B", "+xa", "-od", there, port, port=port),
    ):
        with Caller(box.port) as caller:
            store(caller)
            caller.release()
        (row,) = box.rows()
        entity = AE("CT1")
        entity.add_requested_context(StudyRootQueryRetrieveInformationModelMove)
        tls_args = (authority.client(scanner), "127.0.0.1")
        association = entity.associate("127.0.0.1", box.tls_port, ae_title="GATEWAY", tls_args=tls_args)
        keys = Dataset()
        keys.QueryRetrieveLevel, keys.StudyInstanceUID = "STUDY", row.study
        answers = association.send_c_move(keys, "DEST", StudyRootQueryRetrieveInformationModelMove)
        assert [status.Status for status, _ in answers][-1] == 0
        association.release()
    (received,) = there.iterdir()
    assert received.read_bytes()[read_header(received).dataset_offset :] == BYTES


def test_the_end_is_said_over_TLS_too(intake: Intake, authority: Authority, scanner: Pair) -> None:
    context = authority.client(scanner)
    with Caller(intake.tls_port) as caller:
        caller.socket = context.wrap_socket(caller.socket, server_hostname="127.0.0.1", suppress_ragged_eofs=False)
        store(caller)
        caller.send(RELEASE_REQUEST)
        assert caller.pdu()[0] == 6
        assert caller.socket.recv(1) == b""  # an end without close_notify would raise


# -- who is refused, and why


def handshake(port: int, context: ssl.SSLContext) -> None:
    """Shake hands and see what comes of it: with TLS 1.3 the server may refuse afterwards."""
    with Caller(port) as caller:
        encrypt(caller, context)
        caller.socket.recv(1)


def test_a_caller_without_a_certificate_is_refused(
    intake: Intake, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ssl.SSLError, match="certificate required"):
        handshake(intake.tls_port, authority.client())
    eventually(lambda: refusals(caplog))
    (refused,) = refusals(caplog)
    assert (refused["address"], refused["reason"]) == ("127.0.0.1", "the peer has no certificate")
    assert "tls.client_certificates" in refused["remedy"]


def test_a_caller_of_another_authority_is_refused(
    intake: Intake, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = Authority(tmp_path / "other").issue("stranger")
    with pytest.raises(ssl.SSLError, match="unknown ca"):
        handshake(intake.tls_port, authority.client(stranger))
    eventually(lambda: refusals(caplog))
    (refused,) = refusals(caplog)
    assert refused["reason"] == "the peer's certificate is of an unknown authority"
    assert "tls.authorities" in refused["remedy"]


def test_a_caller_whose_certificate_has_expired_is_refused(
    intake: Intake, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ssl.SSLError, match="expired"):
        handshake(intake.tls_port, authority.client(authority.issue("late", days=-1)))
    eventually(lambda: refusals(caplog))
    assert [refused["reason"] for refused in refusals(caplog)] == ["the peer's certificate has expired"]


def test_a_caller_without_TLS_is_refused(intake: Intake, caplog: pytest.LogCaptureFixture) -> None:
    with Caller(intake.tls_port) as caller:
        with contextlib.suppress(AssertionError, OSError, struct.error):
            caller.associate()
        eventually(lambda: refusals(caplog))
    assert [refused["reason"] for refused in refusals(caplog)] == ["the peer does not speak TLS"]


def test_TLS_on_the_plain_port_is_told_from_noise(
    intake: Intake, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(OSError):  # noqa: PT011 - whatever the caller makes of the abort
        handshake(intake.port, authority.client())
    eventually(lambda: events(caplog, "association.tls_unexpected"))
    assert intake.is_empty()


def test_a_version_that_is_too_old_is_refused(
    intake: Intake, authority: Authority, scanner: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    context = authority.client(scanner)
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        handshake(intake.tls_port, context)
    eventually(lambda: refusals(caplog))
    assert [refused["reason"] for refused in refusals(caplog)] == ["the peer has only TLS older than 1.2"]


def test_a_certificate_is_not_demanded_where_that_is_configured(
    tmp_path: Path, authority: Authority, own: Pair
) -> None:
    with running(tmp_path, tls=authority.security(own, demanding=False)) as box, Caller(box.tls_port) as caller:
        encrypt(caller, authority.client())
        store(caller)


# -- handshakes that come to nothing


def hello(authority: Authority) -> bytes:
    """The first message of a handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        authority.client().wrap_bio(incoming, outgoing, server_hostname="127.0.0.1").do_handshake()
    return outgoing.read()


def test_a_handshake_that_stands_still_hinders_nobody_and_has_a_limit(
    intake: Intake,
    authority: Authority,
    scanner: Pair,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(Timeouts, "handshake", 1.0)
    with nothing_left_behind(), contextlib.ExitStack() as stack:
        begun = time.monotonic()
        silent = [stack.enter_context(Caller(intake.tls_port)) for _ in range(8)]
        for caller in silent[4:]:
            caller.send(hello(authority)[:100])
        with Caller(intake.tls_port) as caller:
            encrypt(caller, authority.client(scanner))
            store(caller)
            caller.release()
        assert time.monotonic() - begun < 1.0, "had to wait for the others"
        eventually(lambda: len(refusals(caplog)) == 8)
        assert {refused["reason"] for refused in refusals(caplog)} == {"TLS handshake not done within 1 s"}
        for caller in silent:
            with contextlib.suppress(ConnectionResetError):
                assert caller.socket.recv(1) == b""


def test_handshakes_count_among_the_connections(
    tmp_path: Path, authority: Authority, own: Pair, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.network.server.SPARE_CONNECTIONS", 2)
    with (
        running(tmp_path, tls=authority.security(own), max_associations=1) as box,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(4):
            stack.enter_context(Caller(box.tls_port))
        eventually(lambda: events(caplog, "network.too_many_connections"))
        assert len(box.server.associations) == 3


def test_a_stop_does_not_wait_for_a_handshake(
    tmp_path: Path, authority: Authority, own: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    with nothing_left_behind(), running(tmp_path, tls=authority.security(own)) as box, Caller(box.tls_port):
        eventually(lambda: box.server.associations)
        begun = time.monotonic()
        box.stop()
        assert time.monotonic() - begun < 2.0
    assert not refusals(caplog)


@pytest.mark.parametrize("point", ["at once", "in the hello", "after the hello"])
@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_closed_in_the_handshake_leaves_nothing(
    point: str, reset: bool, intake: Intake, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    with nothing_left_behind():
        with Caller(intake.tls_port) as caller:
            caller.send({"at once": b"", "in the hello": hello(authority)[:50]}.get(point, hello(authority)))
            if point == "after the hello":
                caller.socket.recv(1)
            if reset:
                caller.reset()
        eventually(lambda: refusals(caplog))
        eventually(lambda: not intake.server.associations)
    (refused,) = refusals(caplog)
    assert refused["reason"] == "the connection was closed during the TLS handshake"


# -- what comes after the handshake


@pytest.mark.parametrize("ending", ["close", "reset", "abort", "stall"])
def test_an_object_that_breaks_off_leaves_nothing(
    ending: str, intake: Intake, authority: Authority, scanner: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ending == "stall":
        monkeypatch.setattr(Timeouts, "stall", 0.3)
    with nothing_left_behind():
        with Caller(intake.tls_port) as caller:
            encrypt(caller, authority.client(scanner))
            assert caller.associate() is None
            caller.send(caller.store_command(CT, HEADER.sop_instance))
            whole = data_pdu(fragment(1, BYTES[:20_000], last=False))
            caller.send(whole + whole[: len(whole) // 2] if ending != "abort" else whole)
            eventually(intake.files)
            if ending == "reset":
                caller.reset()
            elif ending == "abort":
                caller.send(ABORT)
            elif ending == "stall":
                caller.socket.settimeout(30)
                with contextlib.suppress(OSError):
                    assert caller.socket.recv(1) in (b"", b"\7")
        eventually(lambda: not intake.server.associations)
    assert intake.is_empty()


def test_pieces_of_any_size_make_the_same_object(intake: Intake, authority: Authority, scanner: Pair) -> None:
    """TLS records end anywhere, and some hold many PDUs."""
    with Caller(intake.tls_port) as caller:
        encrypt(caller, authority.client(scanner))
        assert caller.associate() is None
        everything = caller.store_command(CT, HEADER.sop_instance)
        for start in range(0, len(BYTES), 700):
            everything += data_pdu(fragment(1, BYTES[start : start + 700], last=start + 700 >= len(BYTES)))
        sizes = [1, 5, 6, 7, 11, 12, 13, 699, 1400, 16384, 16385]
        start = 0
        while start < len(everything):
            size = sizes[start % len(sizes)]
            caller.send(everything[start : start + size])
            start += size
        assert caller.response()["status"] == 0
        caller.release()
    assert intake.stored_bytes() == BYTES


def test_half_a_record_does_not_keep_others_from_being_answered(
    intake: Intake, authority: Authority, scanner: Pair
) -> None:
    """What a poll calls readable may be too little for OpenSSL; then nothing may wait inside it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with socket.create_connection(("127.0.0.1", intake.tls_port), 30) as line:
        tls = authority.client(scanner).wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                line.sendall(outgoing.read())
                incoming.write(line.recv(1 << 16))
        line.sendall(outgoing.read())
        tls.write(request_pdu([(CT, [EXPLICIT])]))
        record = outgoing.read()
        line.sendall(record[:20])
        eventually(lambda: intake.server.associations)
        time.sleep(0.2)
        before = time.process_time()
        time.sleep(0.3)
        assert time.process_time() - before < 0.15, "it does not wait, it spins"
        line.sendall(record[20:])
        incoming.write(line.recv(1 << 16))
        assert tls.read(1) == b"\2"  # A-ASSOCIATE-AC


def test_memory_does_not_grow_with_the_size_of_an_object(
    tmp_path: Path, authority: Authority, own: Pair, scanner: Pair
) -> None:
    size = 150 << 20

    def served(listener: socket.socket) -> contextlib.AbstractContextManager[Intake]:
        security = authority.security(own)
        security.renew()
        return running(tmp_path, tls=security, secure=listener)

    with growing(served) as (port, grown), Caller(port) as caller:
        encrypt(caller, authority.client(scanner))
        assert caller.associate() is None
        send_long(caller, size)
    assert 0 < grown[0] < 16_000, f"{grown[0]} kB for an object of {size >> 10} kB"
