"""Delivery of a CT series over a slow and distant line: enhanced, as it is and deflated, beside classic."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.bench import peers
from tests.bench.material import make, origin, size_of
from tests.bench.programs import BenchError, Server, wait_until
from tests.bench.report import OURS, Measure, Table

PROXY = Path(__file__).with_name("slow_link.py")

DELAY_MS = 10
MBIT = 100
DEFLATED = f"{OURS}, deflated"
CLASSIC = "gateway, classic view"
STORESCU = "DCMTK storescu, classic"
# Takes every syntax and writes what it gets: one that deflates anew would be measured instead of the line.
RECEIVER = ("+xa", "-pm", "+B")
COUNTED = (Measure("C-STOREs", digits=0, compared=False), Measure("MB", compared=False))
MEASURES = (Measure("s"), *COUNTED)
TITLE = "Delivery over a slow line"


def measure(work: Path, runs: int, slices: int) -> list[Table]:
    """Deliver the same series as enhanced and as classic objects, and let DCMTK's storescu send it."""
    material = make(work / "slices", slices)
    table = Table(f"{TITLE}: {slices} CT slices, {DELAY_MS} ms each way, {MBIT} Mbit/s", MEASURES, baseline=OURS)
    for number in range(runs):
        for subject, view, deflate in (
            (OURS, "enhanced", False),
            (DEFLATED, "enhanced", True),
            (CLASSIC, "classic", False),
        ):
            folder = work / f"{number}-{subject}"
            table.add(subject, *_from_box(folder, material, view, slices, deflate))
        table.add(STORESCU, *_from_storescu(work / f"storescu-{number}", material, slices))
    bound = size_of(material) * 8 / (MBIT * 1e6)
    turns = slices * 2 * DELAY_MS / 1000
    table.notes += [
        f"receiver DCMTK storescp behind a proxy that delays and throttles; 512 x 512, made from {origin()}; from the "
        "first connection, the probing one included, to the last byte of the answer; what is received is written as it "
        "comes",
        f"what bounds: the bytes alone take {bound:.1f} s on this line, enhanced or classic, as a lossless conversion "
        f"does not make them fewer; a round trip for each classic C-STORE adds {turns:.1f} s, so that no ratio below "
        f"{bound / (bound + turns):.2f} comes from the line itself while the bytes are the same; deflated they are "
        "fewer, and the classic ones beside them go as they are",
        "the rest is Nagle's algorithm in DCMTK: an answer goes in two pieces, the second waits until the first is "
        "acknowledged: 40 ms at this proxy, a round trip or more over a real line",
    ]
    return [table]


def slow_link(folder: Path, target: int, delay_ms: float = DELAY_MS, mbit: float = MBIT) -> Server:
    """Return a line to a port of this machine."""
    port = peers.free_port()
    # By its file: a server runs in a folder of its own, where the tests are no package.
    program = [sys.executable, "-I", str(PROXY), str(port), str(target), f"{delay_ms:g}", f"{mbit:g}"]
    return Server(program, port, folder)


def _from_box(work: Path, material: Path, view: str, slices: int, deflate: bool) -> tuple[float, float, float]:
    """Let a box deliver a view; it has it before the line is there, so that nothing else takes time."""
    with (
        peers.storescp(work / "pacs", *RECEIVER) as pacs,
        slow_link(work / "link", pacs.port) as link,
        peers.box(work / "box", destination_port=link.port, view=view, deflate=deflate, quiet=1.0) as box,
    ):
        peers.send_with_gateway(box.port, material)
        wait_until(lambda: " deliver.done " in box.text(), 120 + slices / 2, f"delivery of the {view} view")
        return _taken(link, pacs, 1 if view == "enhanced" else slices)


def _from_storescu(work: Path, material: Path, slices: int) -> tuple[float, float, float]:
    with (
        peers.storescp(work / "pacs", *RECEIVER) as pacs,
        slow_link(work / "link", pacs.port) as link,
    ):
        peers.send_with_storescu(link.port, material)
        return _taken(link, pacs, slices)


def _taken(link: Server, pacs: Server, expected: int) -> tuple[float, float, float]:
    """Return seconds on the line, C-STOREs and megabytes."""
    received = pacs.folder / "received"
    arrived = len(list(received.iterdir()))
    if not expected <= arrived <= expected + 2:
        raise BenchError(f"{arrived} objects have arrived instead of {expected}")
    enough = 0.99 * size_of(received)
    wait_until(lambda: _seen(link).get("forth", 0) > enough, 10, "end of the connection")
    seen = _seen(link)
    return seen["ended"] - seen["began"], arrived, seen["forth"] / 1e6


def _seen(link: Server) -> dict[str, float]:
    """Return what the line has last said about what has passed."""
    lines = link.text().splitlines(keepends=True)
    return json.loads(lines[-1]) if lines and lines[-1].endswith("\n") else {}
