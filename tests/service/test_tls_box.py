"""The whole box over TLS: intake, delivery, renewal of the certificate, and nothing of it where none is configured."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from box import Box, Pacs, ct_study
from certificates import Authority, Pair
from loopback import listening
from pynetdicom import AE
from scripted_caller import CT, EXPLICIT, Caller
from tls_box import TlsBox


@pytest.fixture
def started() -> Iterator[list[Box]]:
    boxes: list[Box] = []
    yield boxes
    for box in boxes:
        if box.process is not None and box.process.poll() is None:
            box.kill()


def test_a_study_comes_in_and_goes_out_over_TLS_with_a_key_that_is_a_credential(
    tmp_path: Path, authority: Authority, scanner: Pair, started: list[Box], monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs = Pacs()
    pacs.tls = authority.server(authority.issue("pacs", "DNS:pacs.example"))
    destination = {"port": pacs.port, "tls": True, "verify_name": "pacs.example", "commitment": False}
    box = TlsBox(tmp_path, {"PACS": destination}, authority, plain="nobody", key="gateway.key")
    started.append(box)
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    box.pair.key.rename(credentials / "gateway.key")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    pacs.start()
    try:
        box.start()
        assert box.logged(" ready ", f"tls_port={box.tls_port}")
        assert not listening(box.port)
        entity = AE("CT1")
        entity.add_requested_context(CT, EXPLICIT)
        tls = (authority.client(scanner), "127.0.0.1")
        association = entity.associate("127.0.0.1", box.tls_port, ae_title="GATEWAY", tls_args=tls)
        study = ct_study(4)
        assert [association.send_c_store(ds).Status for ds in study] == [0] * 4
        association.release()
        box.wait_done()
        assert sorted(name for name, _ in pacs.images()) == sorted(ds.SOPInstanceUID for ds in study)
    finally:
        pacs.stop()


def test_a_reload_takes_the_new_certificate_and_ends_no_association(
    tmp_path: Path, authority: Authority, scanner: Pair, started: list[Box]
) -> None:
    box = TlsBox(tmp_path, {}, authority, plain="loopback")
    started.append(box)
    box.start()
    first = box.served(authority, scanner)
    children = box.pids("intake")
    with Caller(box.tls_port) as caller:
        caller.socket = authority.client(scanner).wrap_socket(caller.socket, server_hostname="127.0.0.1")
        assert caller.associate([("1.2.840.10008.1.1", [EXPLICIT])]) is None

        # Half of a new pair: refused with the reason, and the present one stays.
        new = authority.issue("new")
        box.pair.key.write_bytes(new.key.read_bytes())
        box.reload("reload.refused", "certificate and key do not belong together")
        assert [box.served(authority, scanner) for _ in range(4)] == [first] * 4

        box.install(new)
        box.reload("tls.renewed", str(box.pair.certificate))
        # Whichever of the processes takes the call.
        assert first not in [box.served(authority, scanner) for _ in range(6)]
        assert caller.echo()["status"] == 0
        caller.release()
    assert box.pids("intake") == children
    assert listening(box.port)


def test_a_box_whose_certificate_cannot_be_used_does_not_start(
    tmp_path: Path, authority: Authority, started: list[Box]
) -> None:
    box = TlsBox(tmp_path, {}, authority)
    started.append(box)
    box.pair.key.unlink()
    with pytest.raises(AssertionError):
        box.start()
    assert f"TLS: {box.pair.key}: cannot be read: No such file or directory" in box.text()


def test_a_box_without_TLS_does_not_load_OpenSSL_for_it(tmp_path: Path, started: list[Box]) -> None:
    box = Box(tmp_path, {})
    started.append(box)
    box.start()
    assert box.process is not None
    assert box.store(ct_study(1))
    for pid in (box.process.pid, *box.pids("intake"), *box.pids("deliver")):
        maps = Path(f"/proc/{pid}/maps").read_text()
        assert "libssl" not in maps, os.readlink(f"/proc/{pid}/exe")
