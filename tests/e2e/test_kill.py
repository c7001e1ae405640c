"""kill -9 of any process of the box, at random moments: everything acknowledged arrives, once, and nothing is left."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from box import LEGACY_CT, Box, Pacs, ct_study
from loopback import eventually
from pydicom.dataset import Dataset

# Points at which the box lingers, so that a kill hits every stretch of the way and not only the longest.
SLOW = {
    "intake": ("intake.write=sleep:0.002", "intake.before_sync=sleep:0.01", "intake.before_rename=sleep:0.01",
               "intake.after_rename=sleep:0.01", "admit.before_commit=sleep:0.01", "admit.after_commit=sleep:0.01",
               "registrar.before_commit=sleep:0.05", "registrar.after_commit=sleep:0.02"),
    "convert": ("convert.start=sleep:0.1", "convert.object=sleep:0.1", "convert.before_record=sleep:0.1",
                "record.before_rename=sleep:0.1", "record.after_rename=sleep:0.1", "settle.before_commit=sleep:0.1",
                "settle.after_commit=sleep:0.1", "convert.after_index=sleep:0.1"),
    "deliver": ("deliver.before_decision=sleep:0.1", "deliver.after_decision=sleep:0.1",
                "deliver.after_store=sleep:0.05"),
}  # fmt: skip

# How long after a study was sent the kill may come: quiet time, conversion, delivery.
QUIET = 0.4
MOMENTS = {"intake": (0.0, 0.6), "convert": (QUIET, QUIET + 1.2), "deliver": (QUIET + 0.1, QUIET + 1.2)}


class Site:
    """A box, a PACS that gets enhanced objects, a workstation that gets the classic ones, and all that was sent."""

    def __init__(self, folder: Path) -> None:
        self.pacs = Pacs().start()
        self.station = Pacs("STATION").start()
        station = {"port": self.station.port, "view": "classic"}
        self.box = Box(folder, {"PACS": self.pacs.port, "STATION": station}, quiet=QUIET)
        self.sent: dict[str, Dataset] = {}

    def end(self) -> None:
        if self.box.process is not None:
            self.box.kill()
        self.pacs.stop()
        self.station.stop()

    def send(self) -> threading.Thread:
        """Begin to send a study, persistently."""
        study = ct_study(8)
        self.sent |= {ds.SOPInstanceUID: ds for ds in study}
        thread = threading.Thread(target=self.box.store_persistently, args=(study,))
        thread.start()
        return thread

    def check(self) -> None:
        """Everything arrived once and as it was; nothing is left behind."""
        self.box.wait_done()
        pixels = sorted((uid, ds.PixelData) for uid, ds in self.sent.items())
        for peer in (self.pacs, self.station):
            assert sorted(peer.images()) == pixels, self.box.text()
            assert not peer.twice()
        assert set(self.pacs.classes_of.values()) == {LEGACY_CT}, self.box.text()
        eventually(lambda: not self.box.debris())
        assert not self.box.logged("Traceback"), self.box.text()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.end()


def chance() -> random.Random:
    """Other moments in every run; what a failing one was made of is in its output."""
    seed = random.randrange(1 << 32)
    print(f"random.Random({seed})")
    return random.Random(seed)


def turmoil(site: Site, role: str, rounds: int, chance: random.Random) -> None:
    """Send a study each round and kill, at a random moment, the process that works on it, or all of them."""
    faults = ",".join(SLOW[role])
    site.box.start(faults)
    for number in range(rounds):
        sending = site.send()
        if role != "intake":
            sending.join()
        time.sleep(chance.uniform(*MOMENTS[role]))
        victim = role if number % 2 == 0 else ""
        site.box.kill(victim)
        if not victim:
            site.box.start(faults)
        sending.join()
    site.check()


@pytest.mark.parametrize("role", list(SLOW))
def test_killed_at_three_random_moments_everything_arrives_once(site: Site, role: str) -> None:
    turmoil(site, role, 3, chance())


@pytest.mark.long
@pytest.mark.parametrize("role", list(SLOW))
def test_killed_at_twenty_random_moments_everything_arrives_once(site: Site, role: str) -> None:
    turmoil(site, role, 20, chance())


# At which pass of a process; where there is more than one, not at the first.
POINTS = {
    **dict.fromkeys(("intake.write", "intake.before_sync", "intake.before_rename", "intake.after_rename"), 2),
    **dict.fromkeys(("admit.before_commit", "admit.after_commit", "checkpoint.moved"), 1),
    **dict.fromkeys(("registrar.before_commit", "registrar.after_commit"), 1),
    **dict.fromkeys(("checkpoint.before_move", "convert.start", "convert.object", "convert.before_record"), 1),
    **dict.fromkeys(("record.before_rename", "record.after_rename"), 1),
    **dict.fromkeys(("settle.before_commit", "settle.after_commit", "convert.after_index"), 1),
    **dict.fromkeys(("deliver.before_decision", "deliver.after_decision"), 1),
    **dict.fromkeys(("deliver.after_store", "sender.store"), 2),
}


@pytest.mark.long
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_fault_point_everything_arrives_once(site: Site, point: str) -> None:
    # A process that is forked again dies at the same place, until the box is started without the fault.
    site.box.start(f"{point}=kill@{POINTS[point]}")
    sending = site.send()
    eventually(lambda: site.box.logged("process.died", "SIGKILL"))
    site.box.kill()
    site.box.start()
    sending.join()
    site.check()
