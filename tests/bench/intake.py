"""How many slices a second come in: the box beside DCMTK's storescp and Orthanc, from the same sender."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.bench import peers
from tests.bench.material import make, origin
from tests.bench.programs import Server, found, processor_seconds
from tests.bench.report import OURS, RATIOS, Measure, Table

RECEIVERS: dict[str, Callable[[Path], Server]] = {
    OURS: peers.box,
    "DCMTK storescp": peers.storescp,
    "Orthanc": peers.orthanc,
}
PROGRAMS = {"DCMTK storescp": "storescp", "Orthanc": "Orthanc"}
ASSOCIATIONS = 8
ONE = f"{OURS}, one association"
MANY = f"{OURS}, {ASSOCIATIONS} associations"
MANY_TITLE = "Intake over one association and over several"
SENDERS = {
    "DCMTK storescu": peers.send_with_storescu,
    "the gateway's own": peers.send_with_gateway,
}


def measure(work: Path, runs: int, slices: int) -> list[Table]:
    """Measure every receiver in turn with every sender; each run has a receiver that holds nothing yet."""
    material = make(work / "slices", slices)
    tables = []
    for sender, send in SENDERS.items():
        measures = (Measure("slices/s", rising=True), Measure("ms of processor per slice", digits=2))
        table = Table(f"Intake of {slices} CT slices, sender: {sender}", measures, baseline=OURS)
        for number in range(runs):
            for name, receiver in RECEIVERS.items():
                if name in PROGRAMS and not found(PROGRAMS[name]):
                    table.notes.append(f"{name} is not installed") if not number else None
                    continue
                with receiver(work / f"{name}-{len(tables)}-{number}") as server:
                    before = sum(map(processor_seconds, server.pids))
                    seconds = send(server.port, material)
                    processor = sum(map(processor_seconds, server.pids)) - before
                table.add(name, slices / seconds, processor * 1000 / slices)
        table.notes += [
            f"one association, 512 x 512, made from {origin()}; {RATIOS}",
            "the gateway and Orthanc answer when the slice is synced to the disk; Orthanc has indexed it by then, "
            "the gateway does so within a moment; storescp does neither",
        ]
        tables.append(table)
    return [*tables, side_by_side(work, material, runs, slices)]


def side_by_side(work: Path, material: Path, runs: int, slices: int) -> Table:
    """Let the same slices come in over one association and over many at once."""
    table = Table(f"{MANY_TITLE}: {slices} CT slices", (Measure("slices/s", rising=True),), baseline=MANY)
    for number in range(runs):
        for subject, associations in ((ONE, 1), (MANY, ASSOCIATIONS)):
            with peers.box(work / f"associations-{associations}-{number}") as box:
                table.add(subject, slices / peers.send_with_gateway(box.port, material, associations=associations))
    table.notes += [
        "sender: the gateway's own, a process for each association, on the same processors; "
        f"from the first request to the last release; {RATIOS}"
    ]
    return table
