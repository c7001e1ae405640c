"""What is written to the card for each byte that comes in, is converted and delivered."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench import peers
from tests.bench.material import make, origin, size_of
from tests.bench.programs import BenchError, Server, found, wait_until, written_bytes
from tests.bench.report import OURS, Measure, Table

AIM = 1.15
TITLE = "Bytes written to the disk per byte received"
QUIET_SECONDS = 1.0
# Longer than what the box does every few seconds.
SETTLE_SECONDS = 4.0


def measure(work: Path, runs: int, slices: int, small: int) -> list[Table]:
    """Let large and small slices come in, be converted and delivered; beside peers that only keep them."""
    tables = []
    for modality, count, aim in (("CT", slices, AIM), ("MR", small, None)):
        measures = (Measure("per byte", digits=3, aim=aim), Measure("MB received"), Measure("KB a slice"))
        table = Table(f"{TITLE}: {count} {modality} slices", measures)
        material = make(work / modality, count, modality)
        received = size_of(material)
        for number in range(runs):
            for subject, written in _written(work / f"{modality}-{number}", material):
                table.add(subject, written / received, received / 1e6, received / 1e3 / count)
        table.notes += [
            f"512 x 512, made from {origin()}" if modality == "CT" else "120 x 120, from the phantom",
            "from the start until everything is delivered, and the end: write_bytes of all processes (/proc/PID/io), "
            "index, journal and log included, in whole pages; the peers only keep what they receive",
        ]
        tables.append(table)
    return tables


def _written(work: Path, material: Path) -> Iterator[tuple[str, int]]:
    """Yield the bytes that each has written."""
    with peers.storescp(work / "pacs", "+xa", "-pm") as pacs:
        with peers.box(work / "box", destination_port=pacs.port, quiet=QUIET_SECONDS) as box:
            peers.send_with_gateway(box.port, material)
            wait_until(lambda: " deliver.done " in box.text(), 300, "delivery")
            time.sleep(SETTLE_SECONDS)
            yield OURS, _until_the_end(box)
        arrived = len(list((pacs.folder / "received").iterdir()))
        if arrived > 2:
            raise BenchError(f"the series was not converted: {arrived} objects have arrived")
    others: dict[str, Callable[[Path], Server]] = {"DCMTK storescp": peers.storescp}
    if found("Orthanc"):
        others["Orthanc"] = peers.orthanc
    for name, start in others.items():
        with start(work / name) as server:
            peers.send_with_gateway(server.port, material)
            yield name, _until_the_end(server)


def _until_the_end(server: Server) -> int:
    """End a server; return what it and its children have written, those that had ended before among them."""
    return written_bytes(server.end())
