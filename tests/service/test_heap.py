"""Children share what the parent has imported: they take no memory between it."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Leaves 2,000 holes, one to a page, and has a child allocate a tenth of that in small pieces. Objects of more than 512
# bytes come from the heap of the C library.
PROGRAM = """
import os, re, sys
from gateway.service.heap import fill_holes
blocks = [bytes(700 + 4096 * (number % 2)) for number in range(4000)]
blocks = blocks[1::2]
filled = fill_holes() if sys.argv[1] == "filled" else 0
if os.fork() == 0:
    taken = [bytes(700) for _ in range(1000)]
    with open("/proc/self/smaps_rollup") as file:
        print(filled, re.search(r"Private_Dirty: *(\\d+)", file.read())[1], flush=True)
    os._exit(0)
os.wait()
"""


@pytest.mark.parametrize(("holes", "least", "most"), [("filled", 700, 3000), ("left", 4000, 12000)])
def test_what_a_child_allocates_lies_together(holes: str, least: int, most: int) -> None:
    command = [sys.executable, "-c", PROGRAM, holes]
    filled, kilobytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert least <= int(kilobytes) <= most
    assert (int(filled) > 1000) == (holes == "filled")
