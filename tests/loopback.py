"""Helpers for tests with peers on the loopback: ports, programs, and what must not be left behind."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path


def _claim(blocks: range) -> tuple[socket.socket, Iterator[int]]:
    """Take one of the blocks of ports for this process, so that no other takes a port between its choice and its use.

    What shows the others that a block is taken is a name that the system frees when the process ends.
    """
    for start in random.sample(blocks, len(blocks)):
        claim = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(OSError):
            claim.bind(f"\0ports of tests from {start}")
            return claim, itertools.cycle(range(start, start + blocks.step))
        claim.close()
    raise RuntimeError("other tests have every port that tests take")


# Below those that the system gives to connections (32768 and up): one of these could be taken by whoever connects to
# anything before it is listened on.
_BLOCK = 200
_CLAIM, _PORTS = _claim(range(20_000, 32_000, _BLOCK))


def free_port() -> int:
    """Return a port that nothing listens on, and that no other test process will choose."""
    for port in itertools.islice(_PORTS, _BLOCK):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("all ports of this process are in use")


def eventually(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until `condition` holds; long, because a machine may be busy with something else."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.01)


@contextlib.contextmanager
def program(*command: object, port: int | None = None, cwd: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in the background until the block ends; wait first until it listens on `port`."""
    process = subprocess.Popen(
        [str(part) for part in command], cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        if port is not None:
            eventually(lambda: listening(port))
        yield process
    finally:
        process.terminate()
        process.wait(60)


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def alive(pid: int) -> bool:
    """Whether a process exists and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it may end between the opening and the reading
        return False


@contextlib.contextmanager
def nothing_left_behind() -> Iterator[None]:
    """Fail if the block leaves a thread running or a file descriptor open."""
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    yield
    eventually(lambda: threading.active_count() <= threads)
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)
