"""`gateway doctor` about TLS: files that fit, for how long, who can read the key, and what is really served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority, Pair
from loopback import free_port
from tls_box import TlsBox

from gateway.service import config as configuration
from gateway.service.checks import Finding, Result
from gateway.service.checks.machine import Port
from gateway.service.checks.peers import Echo
from gateway.service.checks.tls import Tls


def found(folder: Path, pair: Pair, **keys: Any) -> list[Finding]:
    table = {"certificate": str(pair.certificate), "key": str(pair.key), **keys}
    text = "\n".join(f'{key} = "{value}"' for key, value in table.items())
    config = configuration.parse(f'[gateway]\ndata_dir = "{folder}"\n[tls]\n{text}')
    findings = list(Tls().look(config))
    for finding in findings:
        assert bool(finding.remedy) == (finding.result in (Result.WARNING, Result.FAILED)), finding
    return findings


def test_a_certificate_is_good_until_thirty_days_before_its_end(tmp_path: Path, authority: Authority) -> None:
    (good,) = found(tmp_path, authority.issue("good", days=31))
    assert good.result is Result.OK
    assert "good.crt is valid until" in good.reason
    (soon,) = found(tmp_path, authority.issue("soon", days=29))
    assert soon.result is Result.WARNING
    (late,) = found(tmp_path, authority.issue("late", days=-1))
    assert late.result is Result.FAILED
    assert late.reason.endswith("late.crt: this certificate has expired")


def test_a_pair_that_does_not_fit_has_failed(tmp_path: Path, authority: Authority) -> None:
    one, other = authority.issue("one"), authority.issue("other")
    (finding,) = found(tmp_path, Pair(one.certificate, other.key))
    assert finding.result is Result.FAILED
    assert "certificate and key do not belong together" in finding.reason


def test_a_key_that_others_can_read_has_failed(tmp_path: Path, authority: Authority) -> None:
    pair = authority.issue("open")
    pair.key.chmod(0o644)
    assert [finding.result for finding in found(tmp_path, pair)] == [Result.OK, Result.FAILED]
    pair.key.chmod(0o640)
    assert [finding.result for finding in found(tmp_path, pair)] == [Result.OK]


def test_a_box_without_TLS_has_nothing_to_look_at(tmp_path: Path) -> None:
    (finding,) = Tls().look(configuration.parse(""))
    assert finding.result is Result.SKIPPED


@pytest.fixture
def box(tmp_path: Path, authority: Authority) -> Iterator[TlsBox]:
    made = TlsBox(tmp_path, {}, authority, plain="nobody")
    made.pair.key.chmod(0o600)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.kill()


def test_what_is_served_is_compared_with_the_file(box: TlsBox, authority: Authority) -> None:
    box.start()
    asked = configuration.load(box.config)
    assert [finding.result for finding in Tls().look(asked)] == [Result.OK, Result.OK]
    assert [finding.result for finding in Port().look(asked)] == [Result.SKIPPED]
    box.install(authority.issue("next"))
    _, served = Tls().look(asked)
    assert served.result is Result.FAILED
    assert "another certificate than that of" in served.reason
    box.reload("tls.renewed")
    assert [finding.result for finding in Tls().look(asked)] == [Result.OK, Result.OK]


def test_a_destination_is_called_over_TLS(box: TlsBox, authority: Authority, tmp_path: Path) -> None:
    box.start()
    # One gateway is the destination of another.
    files = f'certificate = "{box.pair.certificate}"\nkey = "{box.pair.key}"\nauthorities = "{authority.certificate}"\n'
    entry = f'ae_title = "GATEWAY"\nhost = "127.0.0.1"\nport = {box.tls_port}\ntls = true\n'
    text = f"[gateway]\nport = {free_port()}\n[tls]\nport = {free_port()}\n{files}[[destination]]\n{entry}"
    (finding,) = Echo().look(configuration.parse(text))
    assert finding.result is Result.OK
    (finding,) = Echo().look(configuration.parse(text + 'verify_name = "pacs.example"\n'))
    assert finding.result is Result.FAILED
    assert "the peer's certificate is for another name" in finding.reason
    assert "verify_name" in finding.remedy
