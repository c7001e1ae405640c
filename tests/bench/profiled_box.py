"""A box that profiles what it does: ``profiled_box.py FOLDER CONFIG``.

Each thread of an association, each conversion and each delivery has a profiler of its own.
"""

from __future__ import annotations

import cProfile
import itertools
import logging
import os
import sys
import threading
from pathlib import Path
from typing import Any

from gateway.cli import logs
from gateway.network.acceptor import Acceptor
from gateway.network.transport import UpperLayer
from gateway.pipeline.convert import Converter
from gateway.pipeline.deliver import Deliverer
from gateway.service import config, supervisor

# By what they do: the methods in which the time goes.
METHODS = {
    "intake": ((Acceptor, "run_reactor"), (UpperLayer, "run_reactor")),
    "conversion": ((Converter, "_settle"),),
    "delivery": ((Deliverer, "work"),),
}


def profiled(kind: Any, method: str, folder: Path) -> None:
    """Let a method run under a profiler."""
    plain = getattr(kind, method)
    numbers = itertools.count()

    def run(self: Any, *arguments: Any) -> Any:
        profiler = cProfile.Profile()
        try:
            return profiler.runcall(plain, self, *arguments)
        finally:
            profiler.dump_stats(folder / f"{os.getpid()}-{threading.get_native_id()}-{next(numbers)}-{kind.__name__}")

    setattr(kind, method, run)


if __name__ == "__main__":
    for what, methods in METHODS.items():
        target = Path(sys.argv[1]) / what
        target.mkdir(parents=True)
        for kind, method in methods:
            profiled(kind, method, target)
    logs.set_up(logging.INFO)
    supervisor.run(config.load(sys.argv[2]))
