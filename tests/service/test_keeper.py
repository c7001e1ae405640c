"""The parent keeps its children alive and ends them in order: real processes, real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from loopback import alive

# Runs a keeper whose children append "name pid" to a log when they start and "name end" when they end in order.
PROGRAM = """
import logging, os, sys, time
from gateway.pipeline.retry import Backoff
from gateway.service.keeper import Keeper
from gateway.service.process import Role
logging.basicConfig(format="%(message)s", level=logging.INFO)
log = open(sys.argv[1], "a", buffering=1)
behaviour = sys.argv[2]

def work(name):
    def main(stop):
        print(name, os.getpid(), os.nice(0), file=log)
        if name == "weak":
            raise RuntimeError("weak")
        while not stop.wait(60):
            pass
        if behaviour.startswith("deaf"):
            time.sleep(600)
        print(name, "end", file=log)
    return main

roles = [
    Role("one", work("one"), on_death=lambda: print("death", "one", file=log)),
    Role("two", work("two"), niceness=10),
]
if behaviour == "weak":
    roles.append(Role("weak", work("weak")))
keeper = Keeper(roles, grace=1 if behaviour == "deaf" else 120, backoff=Backoff(first=0.05, longest=0.2))
keeper.run(lambda: print("ready", file=log), lambda: print("stopping", file=log))
print("parent", "end", file=log)
"""


class Kept:
    def __init__(self, folder: Path, behaviour: str = "") -> None:
        self.log = folder / "log"
        self.log.touch()
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(self.log), behaviour], stderr=subprocess.PIPE, text=True
        )
        self.until(lambda: ["ready"] in self.lines())

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.log.read_text().splitlines()]

    def pids(self, name: str) -> list[int]:
        return [int(line[1]) for line in self.lines() if line[0] == name and line[1:2] != ["end"]]

    def until(self, condition, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.lines()
            time.sleep(0.01)


@pytest.fixture
def kept(tmp_path):
    boxes: list[Kept] = []

    def start(behaviour: str = "") -> Kept:
        boxes.append(Kept(tmp_path, behaviour))
        return boxes[-1]

    yield start
    for box in boxes:
        box.process.kill()
        box.process.communicate()


def test_stop_signal_ends_all_children_in_order_and_the_parent_with_success(kept):
    box = kept()
    box.until(lambda: box.pids("one") and box.pids("two"))
    box.process.send_signal(signal.SIGTERM)
    assert box.process.wait(60) == 0
    lines = box.lines()
    assert lines.index(["stopping"]) < lines.index(["one", "end"]) < lines.index(["parent", "end"])
    assert ["two", "end"] in lines


def test_killed_child_is_forked_again_and_its_death_is_told(kept):
    box = kept()
    box.until(lambda: box.pids("one"))
    os.kill(box.pids("one")[0], signal.SIGKILL)
    box.until(lambda: len(box.pids("one")) == 2)
    assert ["death", "one"] in box.lines()
    assert len(box.pids("two")) == 1


def test_child_that_dies_again_and_again_is_tried_again_ever_later_while_the_others_live(kept):
    box = kept("weak")
    box.until(lambda: len(box.pids("weak")) >= 5)
    assert len(box.pids("one")) == len(box.pids("two")) == 1
    box.process.send_signal(signal.SIGTERM)
    errors = box.process.communicate(timeout=60)[1]
    assert "process.died role=weak cause='exit code 1' deaths=1" in errors
    assert "RuntimeError: weak" in errors
    assert box.process.returncode == 0


def test_children_die_with_a_parent_that_is_killed(kept):
    box = kept()
    box.until(lambda: box.pids("one") and box.pids("two"))
    box.process.kill()
    box.until(lambda: not any(map(alive, box.pids("one") + box.pids("two"))))


def test_child_that_does_not_end_within_the_grace_is_killed(kept):
    box = kept("deaf")
    box.until(lambda: box.pids("one") and box.pids("two"))
    box.process.send_signal(signal.SIGTERM)
    assert box.process.wait(60) == 0
    assert ["one", "end"] not in box.lines()


def test_second_signal_hurries(kept):
    box = kept("deaf and patient")
    box.until(lambda: box.pids("one") and box.pids("two"))
    box.process.send_signal(signal.SIGTERM)
    box.until(lambda: ["stopping"] in box.lines())
    box.process.send_signal(signal.SIGINT)
    assert box.process.wait(60) == 0


def test_niceness_is_that_of_the_role(kept):
    box = kept()
    box.until(lambda: box.pids("one") and box.pids("two"))
    nice = {line[0]: int(line[2]) for line in box.lines() if len(line) == 3}
    assert nice["two"] - nice["one"] == 10
