"""Helpers for tests with peers on the loopback: ports, programs, and what must not be left behind."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path


def free_port() -> int:
    """Return a port that nothing listens on, below those that the system gives to connections (32768 and up).

    One of those could be taken by whoever connects to anything before it is listened on.
    """
    while True:
        port = secrets.randbelow(12_000) + 20_000
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


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
