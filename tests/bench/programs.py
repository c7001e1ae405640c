"""Processes to measure: started, waited for with a limit, ended by their id, and what they cost.

This process imports nothing large: the peak memory that the kernel reports of a child begins with that of its parent.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.loopback import listening


class BenchError(Exception):
    """A measurement that cannot be taken."""


@dataclass(frozen=True)
class Cost:
    """What a process took: wall seconds, seconds of processor, largest resident set in MB; and what it printed."""

    seconds: float
    processor: float
    peak_mb: float
    said: str


def run(command: Sequence[str], limit: float = 300, cwd: Path | None = None) -> Cost:
    """Run a command to its successful end and return what it took.

    Raises
    ------
    BenchError
        If it fails, or is not done within `limit` seconds.
    """
    started = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=cwd)
    killer = threading.Timer(limit, child.kill)
    killer.start()
    try:
        assert child.stdout is not None
        said = child.stdout.read().decode(errors="replace")
        _, status, usage = os.wait4(child.pid, 0)
    finally:
        killer.cancel()
        child.stdout.close()
    seconds = time.monotonic() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise BenchError(f"{command[0]} ended with {child.returncode}: {said[-2000:]}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, said)


def found(program: str) -> str | None:
    """Return the path of an installed program."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")


def wait_until(condition: Callable[[], object], limit: float, what: str) -> None:
    """Wait until something is true.

    Raises
    ------
    BenchError
        If that takes longer than `limit` seconds.
    """
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"{what}: not within {limit:g} s")
        time.sleep(0.02)


class Server(contextlib.AbstractContextManager):
    """A program that listens on the loopback while the context lasts.

    Parameters
    ----------
    command : sequence of str
        Starts it.
    port : int
        Where it will listen.
    folder : Path
        Its working directory; gets what it prints as ``log``.
    ready : str
        What it prints when it serves; without it that it listens must do.
    """

    def __init__(self, command: Sequence[str], port: int, folder: Path, ready: str = "") -> None:
        self.command = command
        self.port = port
        self.ready = ready
        self.folder = folder
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, cwd=self.folder)
        try:
            wait_until(self._serves, 30, self.command[0])
        except BenchError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        process = self.process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def end(self) -> int:
        """End it, but let what the system knows of it stand; return its process id."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        return self.process.pid

    def text(self) -> str:
        """Return what it has printed."""
        return self.log.read_text(errors="replace")

    @property
    def pids(self) -> list[int]:
        """The process and its children."""
        assert self.process is not None
        return [self.process.pid, *children(self.process.pid)]

    def _serves(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise BenchError(f"{self.command[0]} ended: {self.text()[-2000:]}")
        if self.ready:
            return self.ready in self.text()
        return listening(self.port)


def children(pid: int) -> list[int]:
    """Return the child processes of a process."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def name_of(pid: int) -> str:
    """Return the name of a process."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def pss_mb(pid: int, part: str = "Pss") -> float:
    """Return the proportional set size of a process in MB: what it shares is divided by those who share it.

    ``Pss_Anon`` is the part that only relatives by fork can share.
    """
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(f"{part}:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass  # it has ended
    return 0.0


def mapped_files_mb(pids: Sequence[int]) -> float:
    """Return what some processes have mapped of files, libraries above all, in MB, each mapping counted once.

    The proportional set size would leave a part of that to strangers, such as other Python programs.
    """
    largest: dict[tuple[str, ...], int] = {}
    for pid in pids:
        mapping: tuple[str, ...] = ()
        for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
            words = line.split()
            if not words[0].endswith(":"):
                mapping = (words[1], words[2], *words[5:])
                resident = 0
            elif words[0] == "Rss:":
                resident = int(words[1])
            elif words[0] == "Anonymous:" and len(mapping) > 2:
                largest[mapping] = max(largest.get(mapping, 0), resident - int(words[1]))
    return sum(largest.values()) / 1024


def written_bytes(pid: int) -> int:
    """Return what a process and those of its children that have ended have had written to disks, in whole pages."""
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))


def processor_seconds(pid: int) -> float:
    """Return the processor time a process has taken."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
