"""Each check of `gateway doctor` tells what is right from what is not, with a reason and a remedy."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from archive_tools import ct, store
from box import Box, Pacs
from click.testing import CliRunner
from loopback import eventually, free_port
from pynetdicom import AE, evt

from gateway.archive.index import Archive
from gateway.archive.jobs import DELIVER
from gateway.cli.main import main
from gateway.service import config as configuration
from gateway.service.checks import CHECKS, Finding, Result, data, examine, machine
from gateway.service.checks.machine import Clock


def config(folder: Path, text: str = "", port: int = 0) -> configuration.Config:
    (folder / "data").mkdir(exist_ok=True)
    head = f'[gateway]\nbind = "127.0.0.1"\nport = {port or free_port()}\ndata_dir = "{folder / "data"}"\n'
    return configuration.parse(head + text)


def found(code: str, config: configuration.Config) -> Finding:
    (check,) = (check for check in CHECKS if check.code == code)
    (finding,) = check.look(config)
    assert finding.code == code
    assert bool(finding.remedy) == (finding.result in (Result.WARNING, Result.FAILED)), finding
    return finding


def test_every_check_has_a_code_of_its_own_and_says_what_it_looks_at() -> None:
    assert len({check.code for check in CHECKS}) == len(CHECKS)
    assert all(check.about for check in CHECKS)


def test_the_manual_lists_every_check_with_what_it_looks_at() -> None:
    manual = (Path(data.__file__).parents[2] / "docs/operation.md").read_text(encoding="utf-8")
    assert all(f"| `{check.code}` | {check.about} |" in manual for check in CHECKS)


def test_a_clock_behind_what_was_received_has_failed(tmp_path: Path) -> None:
    asked = config(tmp_path)
    Archive(asked.data_dir).close()
    ahead = time.time() + 3600
    os.utime(asked.data_dir / "index.sqlite3", (ahead, ahead))
    finding = found("clock", asked)
    assert finding.result is Result.FAILED
    assert "before the last change of the index" in finding.reason


@pytest.mark.parametrize(("kept", "result"), [(True, Result.OK), (False, Result.WARNING)])
def test_a_clock_that_no_time_server_keeps_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool, result: Result
) -> None:
    monkeypatch.setattr(Clock, "_synchronised", lambda self: kept)
    assert found("clock", config(tmp_path)).result is result


def test_the_kernel_is_asked_whether_the_clock_is_kept() -> None:
    assert Clock()._synchronised() in (True, False)


def test_a_free_port_without_a_gateway_is_a_warning_and_a_taken_one_a_failure(tmp_path: Path) -> None:
    asked = config(tmp_path)
    assert found("port", asked).result is Result.WARNING
    with socket.create_server(("127.0.0.1", asked.gateway.port)):
        finding = found("port", asked)
    assert finding.result is Result.FAILED
    assert "something else listens" in finding.reason


def test_an_address_of_another_machine_is_told(tmp_path: Path) -> None:
    asked = configuration.parse(f'[gateway]\nbind = "no.such.host.invalid"\ndata_dir = "{tmp_path}"\n')
    finding = found("port", asked)
    assert finding.result is Result.FAILED
    assert "no address of this machine" in finding.reason


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path, {})
    yield made
    if made.process is not None and made.process.poll() is None:
        made.kill()


@pytest.mark.parametrize("unknown", ["accept", "reject"])
def test_a_running_gateway_answers_and_one_that_is_stuck_does_not(
    box: Box, unknown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.config.write_text(box.config.read_text().replace('"accept"', f'"{unknown}"'))
    box.start()
    eventually(lambda: len(box.pids("intake")) == 2)  # they give themselves their names
    asked = configuration.load(box.config)
    finding = found("port", asked)
    assert finding.result is Result.OK
    assert ("strangers are rejected" in finding.reason) == (unknown == "reject")
    monkeypatch.setattr(machine, "_QUICK", machine.Timeouts(connect=1, negotiate=1))
    for pid in box.pids("intake"):
        os.kill(pid, signal.SIGSTOP)
    try:
        finding = found("port", asked)
    finally:
        for pid in box.pids("intake"):
            os.kill(pid, signal.SIGCONT)
    assert finding.result is Result.FAILED
    assert "runs and does not answer" in finding.reason


def test_a_data_directory_in_memory_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "mount_of", lambda folder: ("tmpfs", {"rw"}))
    finding = found("sync", config(tmp_path))
    assert finding.result is Result.FAILED
    assert "a power cut loses everything" in finding.reason


def test_the_file_system_is_that_of_the_longest_mount_point() -> None:
    assert data.mount_of(Path("/proc/self"))[0] == "proc"
    assert data.mount_of(Path("/proc"))[0] == "proc"
    assert data.mount_of(Path("/"))[0] != "proc"


@pytest.mark.parametrize(
    ("mount", "seconds", "result"),
    [
        (("ext4", {"rw"}), 0.002, Result.OK),
        (("ext4", {"rw"}), 0.000001, Result.WARNING),
        (("ext4", {"rw"}), 0.5, Result.WARNING),
        (("ext4", {"rw", "nobarrier"}), 0.002, Result.FAILED),
        (("nfs4", {"rw"}), 0.002, Result.WARNING),
        (("fuse.mergerfs", {"rw"}), 0.002, Result.WARNING),
    ],
)
def test_syncs_are_judged_by_file_system_options_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mount: tuple[str, set[str]], seconds: float, result: Result
) -> None:
    monkeypatch.setattr(data, "mount_of", lambda folder: mount)
    monkeypatch.setattr(data.Sync, "_times", lambda self, folder: [seconds] * 3)
    assert found("sync", config(tmp_path)).result is result


def test_the_probe_of_syncs_leaves_nothing(tmp_path: Path) -> None:
    asked = config(tmp_path)
    assert found("sync", asked).result in (Result.OK, Result.WARNING, Result.FAILED)
    assert len(data.Sync()._times(asked.data_dir)) >= 5
    assert list(asked.data_dir.iterdir()) == []


def test_what_a_power_cut_has_left_of_a_probe_goes_with_the_next_one(tmp_path: Path) -> None:
    asked = config(tmp_path)
    (asked.data_dir / f".doctor-{1 << 30}.tmp").touch()  # more than any process is numbered
    at_work = asked.data_dir / f".doctor-{os.getppid()}.tmp"
    at_work.touch()
    found("sync", asked)
    assert list(asked.data_dir.iterdir()) == [at_work]


def test_room_is_that_of_the_file_system_and_of_the_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = config(tmp_path)
    archive = Archive(asked.data_dir)
    store(archive, ct("1.2.3.4.1"))
    archive.close()
    assert found("space", asked).result is Result.OK
    monkeypatch.setattr(configuration.Quota, "bytes_of", lambda self, total: 100)
    assert found("space", asked).result is Result.WARNING
    monkeypatch.setattr(data, "_LOW", 1 << 62)
    finding = found("space", asked)
    assert finding.result is Result.FAILED
    assert "A700" in finding.remedy


def test_an_index_is_sound_or_not_and_held_work_is_told(tmp_path: Path) -> None:
    asked = config(tmp_path)
    assert found("index", asked).result is Result.SKIPPED
    archive = Archive(asked.data_dir)
    for number in range(200):
        store(archive, ct(f"1.2.3.4.{number}", number=number))
    assert found("index", asked).result is Result.OK
    archive.jobs.schedule(DELIVER, "1.2.3", "PACS")
    archive.jobs.match_destinations([])
    finding = found("index", asked)
    assert (finding.result, "1 held" in finding.reason) == (Result.WARNING, True)
    archive.close()
    with sqlite3.connect(asked.data_dir / "index.sqlite3") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    path = asked.data_dir / "index.sqlite3"
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(os.urandom(path.stat().st_size - 4096 * 4))
    assert found("index", asked).result is Result.FAILED


DESTINATION = '[[destination]]\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {}\n'
PEER = '[[peer]]\nae_title = "CT1"\nhost = "127.0.0.1"\nport = {}\n'


def test_a_destination_that_answers_is_ok_and_its_absence_a_failure(tmp_path: Path) -> None:
    with_pacs = Pacs(classes=["1.2.840.10008.1.1"]).start()
    asked = config(tmp_path, DESTINATION.format(with_pacs.port))
    assert found("echo", asked).result is Result.OK
    with_pacs.stop()
    finding = found("echo", asked)
    assert (finding.subject, finding.result) == ("PACS", Result.FAILED)
    assert "connection refused" in finding.reason


def test_a_peer_that_is_away_is_a_warning(tmp_path: Path) -> None:
    finding = found("echo", config(tmp_path, PEER.format(free_port())))
    assert (finding.subject, finding.result) == ("CT1", Result.WARNING)


def test_the_layer_that_fails_is_named(tmp_path: Path) -> None:
    """Name, connection, protocol, AE title, service."""
    entity = AE("OTHER")
    entity.require_called_aet = True
    entity.add_supported_context("1.2.840.10008.1.1")
    refuses = entity.start_server(("127.0.0.1", 0), block=False)
    unwell = AE("PACS")
    unwell.add_supported_context("1.2.840.10008.1.1")
    handlers = [(evt.EVT_C_ECHO, lambda event: 0x0122)]
    fails = unwell.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    with socket.create_server(("127.0.0.1", 0)) as web:
        text = DESTINATION.format(refuses.server_address[1])
        text += DESTINATION.replace("PACS", "SICK").format(fails.server_address[1])
        text += DESTINATION.replace("PACS", "NAME").replace("127.0.0.1", "no.such.host.invalid").format(104)
        text += DESTINATION.replace("PACS", "WEB").format(web.getsockname()[1])
        answer_as_web(web)
        (check,) = (check for check in CHECKS if check.code == "echo")
        said = {finding.subject: finding.reason for finding in check.look(config(tmp_path, text))}
    refuses.shutdown()
    fails.shutdown()
    assert "called AE title not recognised" in said["PACS"]
    assert "does not answer C-ECHO with success" in said["SICK"]
    assert "host name not known" in said["NAME"]
    assert "does not speak DICOM" in said["WEB"]


def answer_as_web(server: socket.socket) -> None:
    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(10)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.recv(65536)

    threading.Thread(target=serve, daemon=True).start()


def run(path: Path, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["doctor", "--config", str(path), *arguments])
    return done.exit_code, done.stdout


def test_the_command_says_everything_and_fails_if_a_check_has(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(f'[gateway]\nport = {free_port()}\ndata_dir = "{tmp_path}"\n' + DESTINATION.format(free_port()))
    code, text = run(path)
    assert code == 1
    assert "failed   echo PACS: 127.0.0.1:" in text
    assert "\n         -> nothing listens there" in text
    code, text = run(path, "--json")
    assert code == 1
    told = json.loads(text)
    assert told["ok"] is False
    assert {check["code"] for check in told["checks"]} == {"configuration", *(check.code for check in CHECKS)}
    path.write_text(f'[gateway]\nport = {free_port()}\ndata_dir = "{tmp_path}"\n')
    assert run(path)[0] == 0


def test_a_wrong_configuration_is_told_and_the_rest_is_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text("[gateway]\nprot = 104\n")
    code, text = run(path, "--json")
    assert code == 1
    first, *rest = json.loads(text)["checks"]
    assert (first["code"], first["result"]) == ("configuration", "failed")
    assert "did you mean 'port'?" in first["reason"]
    assert {finding["result"] for finding in rest} == {"skipped"}


def test_a_folder_that_may_not_be_looked_into_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, folder: Path) -> list[float]:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(data.Sync, "_times", refuse)
    monkeypatch.setattr(data, "mount_of", lambda folder: ("ext4", {"rw"}))
    (finding,) = (finding for finding in examine(config(tmp_path)) if finding.code == "sync")
    assert finding.result is Result.FAILED
    assert "Permission denied" in finding.reason
