"""The service manager is told what is true: ready, reloading, alive as long as every worker is, stopping."""

from __future__ import annotations

import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from box import Box, Pacs, ct_study
from loopback import eventually, free_port
from pynetdicom import AE

# systemd-python compiles against libsystemd and may be missing; this says the same over the same socket.
DAEMON = """
import os, socket
def notify(state):
    if path := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as talk:
            talk.sendto(state.encode(), path)
"""


class Manager:
    """What a service manager hears; it listens all the time, as a sender waits when nobody does."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.heard: queue.Queue[str] = queue.Queue()
        self.last = time.monotonic()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while text := self.socket.recv(200).decode():
            self.last = time.monotonic()
            self.heard.put(text)

    def hear(self) -> str:
        return self.heard.get(timeout=60)

    def other(self) -> str:
        """The next thing it hears that is no mere sign of life."""
        while (heard := self.hear()) == "WATCHDOG=1":
            pass
        return heard

    def silence(self) -> float:
        return time.monotonic() - self.last

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", self.socket.getsockname())


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    (tmp_path / "systemd").mkdir()
    (tmp_path / "systemd/__init__.py").touch()
    (tmp_path / "systemd/daemon.py").write_text(DAEMON)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    made = Manager(tmp_path / "notify")
    yield made
    made.close()


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    made = Pacs().start()
    yield made
    made.stop()


@pytest.fixture
def box(tmp_path: Path, pacs: Pacs) -> Iterator[Box]:
    made = Box(tmp_path, {"PACS": {"port": pacs.port, "commitment": False}}, quiet=0.2)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.kill()


def echo(port: int, called: str = "GATEWAY") -> bool:
    entity = AE("CT1")
    entity.add_requested_context("1.2.840.10008.1.1")
    association = entity.associate("127.0.0.1", port, ae_title=called)
    if not association.is_established:
        return False
    association.release()
    return True


def edit(box: Box, old: str, new: str) -> None:
    text = box.config.read_text()
    assert old in text
    box.config.write_text(text.replace(old, new))


def test_ready_alive_and_stopping_are_told(box: Box, manager: Manager) -> None:
    box.start()
    assert [manager.hear() for _ in range(3)] == ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]
    assert box.stop() == 0
    assert manager.other() == "STOPPING=1"


def test_a_stuck_delivery_ends_the_signs_of_life_and_says_where_it_is_stuck(box: Box, manager: Manager) -> None:
    box.start("sender.store=sleep:600", delivering=0.5)
    box.store(ct_study(2))
    eventually(lambda: box.logged("worker.stuck", "worker='deliver to PACS'"))
    eventually(lambda: manager.silence() > 1.0)  # five times as long as it may take
    eventually(lambda: 'sender.py", line' in box.text())  # the stack of the thread
    assert echo(box.port)  # the intake is none the worse


def test_a_stuck_intake_is_noticed_and_so_is_its_end(box: Box, manager: Manager) -> None:
    box.start(accepting=0.5)
    for pid in box.pids("intake")[:1]:
        signal.pidfd_send_signal(os.pidfd_open(pid), signal.SIGSTOP)
    eventually(lambda: box.logged("worker.stuck", "worker='intake"))
    for pid in box.pids("intake"):
        signal.pidfd_send_signal(os.pidfd_open(pid), signal.SIGCONT)
    eventually(lambda: box.logged("worker.moves_again"))


def processes(box: Box) -> dict[str, set[int]]:
    """Those of each role, once all have named themselves."""
    eventually(lambda: sum(len(box.pids(role)) for role in ("intake", "convert", "deliver")) == 4)
    return {role: set(box.pids(role)) for role in ("intake", "convert", "deliver")}


def test_reload_takes_the_new_configuration_and_keeps_the_address(box: Box, manager: Manager, pacs: Pacs) -> None:
    box.start()
    assert manager.other() == "READY=1"
    assert not echo(box.port, "NEW_TITLE")
    edit(box, "[gateway]", '[gateway]\nae_title = "NEW_TITLE"')
    before = processes(box)
    box.process.send_signal(signal.SIGHUP)
    assert manager.other().startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert manager.other() == "READY=1"
    assert echo(box.port, "NEW_TITLE")
    assert not echo(box.port, "GATEWAY")
    assert all(not before[role] & set(box.pids(role)) for role in before)
    assert box.stop() == 0


def test_what_was_on_its_way_at_a_reload_is_finished_by_the_new_configuration(box: Box, pacs: Pacs) -> None:
    elsewhere = free_port()
    edit(box, f"port = {pacs.port}", f"port = {elsewhere}")
    box.start()
    sent = box.store(ct_study(3))
    eventually(lambda: box.logged("deliver.retry", "connection refused"))
    edit(box, f"port = {elsewhere}", f"port = {pacs.port}")
    box.process.send_signal(signal.SIGHUP)
    eventually(lambda: {uid for uid, _ in pacs.images()} == set(sent))
    assert not pacs.twice()


def test_a_wrong_configuration_is_refused_and_the_present_one_stays(box: Box, manager: Manager) -> None:
    box.start()
    manager.other()
    before = processes(box)
    edit(box, "[intake]", "[intake]\nmax_asociations = 3")
    box.process.send_signal(signal.SIGHUP)
    assert manager.other().startswith("RELOADING=1")
    assert manager.other() == "READY=1"
    assert box.logged("reload.refused", "max_asociations", "did you mean 'max_associations'?")
    assert processes(box) == before
    assert echo(box.port)


def test_an_address_is_not_changed_by_a_reload(box: Box) -> None:
    box.start()
    edit(box, f"port = {box.port}\n", f"port = {free_port()}\n")
    box.process.send_signal(signal.SIGHUP)
    eventually(lambda: box.logged("reload.refused", "gateway.port changed; restart"))
    assert echo(box.port)


def test_a_stop_during_a_reload_stops(box: Box) -> None:
    box.start("intake.before_sync=sleep:2")
    box.process.send_signal(signal.SIGHUP)
    box.process.send_signal(signal.SIGTERM)
    assert box.process.wait(60) == 0
