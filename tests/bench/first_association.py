"""Ask a port for an association until one is accepted: ``python -m tests.bench.first_association PORT``.

Prints a line when it begins and the monotonic time when it has succeeded.
"""

from __future__ import annotations

import contextlib
import sys
import time

from tests.scripted_caller import IMPLICIT, VERIFICATION, Caller

LIMIT = 60
PAUSE = 0.002


def main(port: int) -> None:
    """Ask again and again."""
    print("asking", flush=True)
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), Caller(port, timeout=LIMIT) as caller:
            if caller.associate(((VERIFICATION, (IMPLICIT,)),), calling="BENCH") is None:
                print(time.monotonic())
                caller.release()
                return
        time.sleep(PAUSE)
    sys.exit("nobody has accepted an association")


if __name__ == "__main__":
    main(int(sys.argv[1]))
