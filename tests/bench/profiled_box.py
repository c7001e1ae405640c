"""A box with a profiler in each thread of an association: ``profiled_box.py FOLDER CONFIG``."""

from __future__ import annotations

import cProfile
import logging
import os
import sys
import threading
from pathlib import Path
from typing import Any

from gateway.cli import logs
from gateway.network.acceptor import Acceptor
from gateway.network.transport import UpperLayer
from gateway.service import config, supervisor


def profiled(kind: Any, folder: Path) -> None:
    """Let the threads of a class run under a profiler."""
    plain = kind.run_reactor

    def run_reactor(self: Any) -> None:
        profiler = cProfile.Profile()
        try:
            profiler.runcall(plain, self)
        finally:
            profiler.dump_stats(folder / f"{os.getpid()}-{threading.get_native_id()}-{kind.__name__}")

    kind.run_reactor = run_reactor


if __name__ == "__main__":
    for kind in (Acceptor, UpperLayer):
        profiled(kind, Path(sys.argv[1]))
    logs.set_up(logging.INFO)
    supervisor.run(config.load(sys.argv[2]))
