"""The limit on associations that forked processes share."""

from __future__ import annotations

import os
import signal

from loopback import eventually

from gateway.network.slots import Slots


def in_fork(work) -> int:
    """Run `work` in a forked process and return its process ID."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            code = work() or 0
        finally:
            os._exit(code)
    return pid


def code_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_all_processes_together_never_exceed_the_limit() -> None:
    slots = Slots(4, 50)

    def work(worker: int):
        return lambda: sum(slots.take(worker) for _ in range(40))

    taken = [code_of(pid) for pid in [in_fork(work(worker)) for worker in range(4)]]
    assert sum(taken) == 50
    assert slots.used() == 50
    assert not slots.take(0)


def test_what_is_given_back_can_be_taken_by_another_process() -> None:
    slots = Slots(2, 1)
    assert slots.take(0)
    assert code_of(in_fork(lambda: slots.take(1))) == 0
    slots.give(0)
    assert code_of(in_fork(lambda: slots.take(1))) == 1
    assert slots.used() == 1


def test_the_slots_of_a_dead_worker_are_taken_back() -> None:
    slots = Slots(2, 5)

    def work() -> None:
        for _ in range(3):
            slots.take(1)
        signal.pause()

    slots.take(0)
    pid = in_fork(work)
    eventually(lambda: slots.used() == 4)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    slots.clear(1)
    assert slots.used() == 1


def test_a_worker_killed_while_it_counts_blocks_nobody() -> None:
    slots = Slots(2, 5)
    reader, writer = os.pipe()

    def work() -> None:
        with slots._locked():
            os.write(writer, b"x")
            signal.pause()

    pid = in_fork(work)
    os.read(reader, 1)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert slots.take(0)
    os.close(reader)
    os.close(writer)
