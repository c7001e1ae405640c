"""Sends a folder over one association with the gateway's own sender.

``python -m tests.bench.send PORT FOLDER CALLED``
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from gateway.network.sender import Sender
from gateway.objects.part10 import read_header
from gateway.objects.stream import FileSource
from gateway.retrieval.engine import Destination
from gateway.retrieval.rendition import Offer


def main(port: int, folder: Path, called: str) -> None:
    """Send everything; any answer but success is an error. Prints the seconds of the association."""
    headers = [read_header(path) for path in sorted(folder.iterdir())]
    offers = [Offer(headers[0].sop_class, (headers[0].transfer_syntax,))]
    started = time.monotonic()
    association = Sender().connect(Destination(called, "127.0.0.1", port, "BENCH"), offers)
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
    print(time.monotonic() - started)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
