"""From the last slice received to everything stored at Orthanc: the box beside an Orthanc that forwards."""

from __future__ import annotations

import time
from pathlib import Path

from tests.bench import peers
from tests.bench.material import make, origin
from tests.bench.programs import found, wait_until
from tests.bench.report import OURS, RATIOS, Measure, Table

QUIET_SECONDS = 3.0
TITLE = "Last slice received to everything stored at Orthanc"
EACH = "Orthanc, each instance as it comes"
STABLE = "Orthanc, when the series is stable"
STABLE_SECONDS = 3
SCRIPTS = {
    EACH: "function OnStoredInstance(id, tags, metadata, origin) SendToModality(id, 'PACS') end",
    # SendToModality takes instances only.
    STABLE: "function OnStableSeries(id, tags, metadata) RestApiPost('/modalities/PACS/store', id) end",
}
MEASURES = (Measure("s", digits=2), Measure("from the first slice s", digits=2))


def measure(work: Path, runs: int, slices: int) -> list[Table]:
    """Take the time of each in turn; sender and receiver are the same for all."""
    material = make(work / "slices", slices)
    table = Table(f"{TITLE}: {slices} CT slices", MEASURES, baseline=OURS)
    if not found("Orthanc"):
        table.notes.append("Orthanc is not installed")
        return [table]
    for number in range(runs):
        with (
            peers.orthanc(work / f"pacs-{number}") as pacs,
            peers.box(work / f"box-{number}", destination_port=pacs.port, quiet=QUIET_SECONDS) as box,
        ):
            table.add(OURS, *_timed(box.port, material, pacs, 1, QUIET_SECONDS))
        for peer, script in SCRIPTS.items():
            name = f"{'each' if peer == EACH else 'stable'}-{number}"
            waits = STABLE_SECONDS if peer == STABLE else 0
            with (
                peers.orthanc(work / f"pacs-{name}") as pacs,
                peers.orthanc(
                    work / name, modalities={"PACS": pacs.port}, script=script, stable_seconds=STABLE_SECONDS
                ) as router,
            ):
                table.add(peer, *_timed(router.port, material, pacs, slices, waits))
    table.notes += [
        f"512 x 512, made from {origin()}; sent with the gateway's own sender, which does not stall; {RATIOS}",
        f"left out: {QUIET_SECONDS:g} s of quiet of the box, {STABLE_SECONDS} s of the Orthanc that waits for the "
        "series; what an Orthanc that forwards at once brings over while slices still come in is in the second column",
    ]
    return [table]


def _timed(port: int, material: Path, pacs: peers.Orthanc, expected: int, waits: float) -> tuple[float, float]:
    """Send; return the seconds from the last and from the first slice until the PACS has it all."""
    took = peers.send_with_gateway(port, material)
    sent = time.monotonic()
    wait_until(lambda: pacs.instances() >= expected, 30 + expected / 4, f"{expected} instances at Orthanc")
    later = time.monotonic() - sent - waits
    return later, later + took
