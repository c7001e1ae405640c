"""The processes of the demonstration: a box and a PACS on free loopback ports."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.errors import GatewayError, NetworkError

PACS = "PACS"
CLASSIC = "CLASSIC"
BOX = "GATEWAY"
MODALITY = "DEMO"
QUIET_SECONDS = 2
START_SECONDS = 30
STOP_SECONDS = 20

# The PACS of the demonstration gets all that can be converted, also what many readers show wrongly.
CONFIG = """\
[gateway]
ae_title = "{box}"
bind = "127.0.0.1"
port = {port}
data_dir = {data_dir}
[views]
GATEWAY_ENH = "enhanced"
[intake]
study_quiet_seconds = {quiet}
[[peer]]
ae_title = "{modality}"
[[destination]]
ae_title = "{pacs}"
host = "127.0.0.1"
port = {pacs_port}
suitability = "standard"
"""


@dataclass(frozen=True)
class Transfer:
    """What the PACS was sent under one AE title.

    Attributes
    ----------
    stores, bytes : int
        C-STORE operations and the bytes of their data sets.
    seconds : float
        From the acceptance of each association to its last answer, added up.
    """

    stores: int
    bytes: int
    seconds: float


class Stage:
    """Starts box and PACS; ends them when it is left.

    Parameters
    ----------
    folder : Path
        For data directory, configuration, logs and what the PACS receives.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.log = folder / "gateway.log"
        self._closing = ExitStack()
        self.pacs_port = 0
        self.port = 0
        self.box: subprocess.Popen[str] | None = None

    def __enter__(self) -> Stage:
        with ExitStack() as closing:
            receiver = self._start("gateway.cli.receiver", str(self.folder), log=self.folder / "pacs.log")
            closing.callback(_end, receiver, None)
            assert receiver.stdout is not None
            line = receiver.stdout.readline()
            if not line:
                raise GatewayError("the PACS of the demonstration", "did not start", remedy=f"see {self.folder}")
            self.pacs_port = int(line)
            self.port = _free_port()
            self.box = self._start("gateway.cli.main", "serve", "--config", str(self._configure()), log=self.log)
            closing.callback(_end, self.box, signal.SIGTERM)
            self._wait_for_box()
            self._closing = closing.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def _configure(self) -> Path:
        path = self.folder / "gateway.toml"
        text = CONFIG.format(
            box=BOX,
            port=self.port,
            data_dir=json.dumps(str(self.data_dir)),
            quiet=QUIET_SECONDS,
            modality=MODALITY,
            pacs=PACS,
            pacs_port=self.pacs_port,
        )
        path.write_text(text, encoding="utf-8")
        return path

    def _start(self, module: str, *arguments: str, log: Path) -> subprocess.Popen[str]:
        with log.open("w", encoding="utf-8") as file:
            return subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                start_new_session=True,  # Ctrl-C is for the demonstration, which ends them in order
            )

    def _wait_for_box(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self.check()
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.05)
        raise NetworkError(f"the box on port {self.port}", "does not answer", remedy=f"see {self.log}")

    def check(self) -> None:
        """Raise if the box is not running any more."""
        if self.box is not None and self.box.poll() is not None:
            lines = self.log.read_text(encoding="utf-8").strip().splitlines()[-3:]
            raise GatewayError("the box", f"ended with status {self.box.returncode}: {' / '.join(lines)}")

    def entries(self, called: str) -> list[dict[str, Any]]:
        """Return what the PACS noted about each C-STORE to one of its AE titles."""
        path = self.folder / f"{called}.jsonl"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def transfer(self, called: str) -> Transfer:
        """Return number, size and time of the C-STORE operations to one AE title of the PACS."""
        return _added(self.entries(called))


def _added(entries: Iterable[dict[str, Any]]) -> Transfer:
    ends: dict[float, float] = {}
    stores = size = 0
    for entry in entries:
        stores, size = stores + 1, size + entry["bytes"]
        ends[entry["association"]] = max(entry["answered"], ends.get(entry["association"], 0))
    return Transfer(stores, size, sum(end - begin for begin, end in ends.items()))


def _end(process: subprocess.Popen[str], signal_number: int | None) -> None:
    """End one process in order, by force if it does not: it is the demonstration's own."""
    with suppress(OSError):
        if signal_number is not None:
            process.send_signal(signal_number)
        assert process.stdin is not None
        process.stdin.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
