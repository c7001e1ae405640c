"""Sends a folder with the gateway's own sender.

``python -m tests.bench.send PORT FOLDER CALLED [ASSOCIATIONS]``

Several associations are opened by a process each, and begin to send together.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from gateway.network.sender import Sender, StoreAssociation
from gateway.objects.part10 import Header, read_header
from gateway.objects.stream import FileSource
from gateway.retrieval.engine import Destination
from gateway.retrieval.rendition import Offer


def main(port: int, folder: Path, called: str, associations: int = 1) -> None:
    """Send everything; any answer but success is an error. Prints the seconds from the first request to the last."""
    headers = [read_header(path) for path in sorted(folder.iterdir())]
    if associations > 1:
        started = _side_by_side(port, headers, called, associations)
    else:
        started = time.monotonic()
        _send(_connect(port, headers, called), headers)
    print(time.monotonic() - started)


def _side_by_side(port: int, headers: list[Header], called: str, associations: int) -> float:
    """Let children send their shares; return when they began."""
    ready, gate = os.pipe(), os.pipe()
    children = []
    for number in range(associations):
        child = os.fork()
        if not child:
            share = headers[number::associations]
            association = _connect(port, share, called)
            os.write(ready[1], b"x")
            os.read(gate[0], 1)
            _send(association, share)
            os._exit(0)
        children.append(child)
    for _ in children:
        os.read(ready[0], 1)
    started = time.monotonic()
    os.write(gate[1], b"x" * associations)
    if any(os.waitpid(child, 0)[1] for child in children):
        sys.exit("an association failed")
    return started


def _connect(port: int, headers: list[Header], called: str) -> StoreAssociation:
    offers = [Offer(headers[0].sop_class, (headers[0].transfer_syntax,))]
    return Sender().connect(Destination(called, "127.0.0.1", port, "BENCH"), offers)


def _send(association: StoreAssociation, headers: list[Header]) -> None:
    for header in headers:
        outcome = association.store(
            sop_class=header.sop_class,
            sop_instance=header.sop_instance,
            transfer_syntax=header.transfer_syntax,
            source=FileSource(header.path, header.dataset_offset),
        )
        if outcome.status:
            sys.exit(f"{header.path.name}: {outcome}")
    association.release()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], *map(int, sys.argv[4:]))
