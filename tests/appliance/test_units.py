"""The unit files: what systemd itself says of them, and that they ask for what the gateway does."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from tools import need

UNITS = Path(__file__).parents[2] / "systemd"
SERVICE = UNITS / "gateway.service"


def settings(section: str) -> dict[str, list[str]]:
    """The settings of a section of the service, each with all its values."""
    body = re.search(rf"^\[{section}\]\n(.*?)(?=^\[|\Z)", SERVICE.read_text(encoding="utf-8"), re.S | re.M)
    assert body
    found: dict[str, list[str]] = {}
    for line in body[1].splitlines():
        if line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    need("systemd-analyze")
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60)


def test_systemd_finds_nothing_wrong_with_the_service(tmp_path: Path) -> None:
    # The program is looked for, too; it is not installed where tests run.
    text = SERVICE.read_text(encoding="utf-8").replace("/opt/gateway/current/bin/gateway", "/bin/true")
    (tmp_path / "gateway.service").write_text(text, encoding="utf-8")
    done = analyze("verify", "--man=no", str(tmp_path / "gateway.service"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_offline_security_score_is_at_most_1_5() -> None:
    done = analyze("security", "--offline=true", "--no-pager", "--threshold=15", str(SERVICE))
    assert done.returncode == 0, done.stdout[-600:]
    (score,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert float(score) <= 1.5


def test_the_watchdog_waits_no_shorter_than_the_parent_feeds_it() -> None:
    service = settings("Service")
    assert service["Type"] == ["notify"]
    assert service["NotifyAccess"] == ["main"]
    assert float(service["WatchdogSec"][0]) >= 30  # the parent looks every 10 s, a small board may be busy


def test_the_stop_is_given_more_time_than_the_gateway_takes() -> None:
    from gateway.service.supervisor import Tuning

    service = settings("Service")
    # The parent waits twice the grace for its processes and as long again after it has insisted.
    assert float(service["TimeoutStopSec"][0]) > 4 * Tuning().grace
    assert service["KillMode"] == ["mixed"]


def test_the_service_may_do_what_the_gateway_does() -> None:
    service = settings("Service")
    # Its conversion worker is nicer than the rest: a call that a filter of resources forbids.
    assert service["SystemCallFilter"][-1] == "setpriority"
    assert service["SocketBindAllow"] == ["tcp:11112", "tcp:2762"]
    assert service["StateDirectory"] == ["gateway"]


def made(tmp_path: Path, kind: str, *arguments: str) -> Path:
    """What a tool of systemd makes of a file of ours in an empty root."""
    tool = need(f"systemd-{kind}")
    if os.geteuid() != 0:
        pytest.skip("only root can give folders away")
    (tmp_path / "etc").mkdir(exist_ok=True)
    command = [tool, f"--root={tmp_path}", *arguments, str(UNITS / f"gateway.{kind}.conf")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return tmp_path


def test_the_user_is_made(tmp_path: Path) -> None:
    assert "gateway:" in (made(tmp_path, "sysusers") / "etc/passwd").read_text()


def test_the_archive_is_the_users_alone(tmp_path: Path) -> None:
    made(tmp_path, "sysusers")
    folder = made(tmp_path, "tmpfiles", "--create") / "var/lib/gateway"
    assert folder.stat().st_mode & 0o777 == 0o700
