"""Retrieval of a CT study: C-MOVE and C-GET from the box, classic and enhanced, beside Orthanc and dcmqrscp."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench import peers
from tests.bench.material import make, origin, size_of
from tests.bench.programs import BenchError, Server, found, run, wait_until
from tests.bench.report import OURS, RATIOS, Measure, Table

CLASSIC = OURS
ENHANCED = f"{OURS}, enhanced view"
COUNTED = (Measure("objects", digits=0, compared=False), Measure("MB", compared=False))
MEASURES = (Measure("s", digits=2), Measure("instances/s", rising=True), *COUNTED)
TITLE = "Retrieval"
WAYS = ("C-MOVE to DCMTK storescp", "C-MOVE to Orthanc", "C-GET by DCMTK getscu")
TO_STORESCP, TO_ORTHANC, GET = WAYS
QUIET_SECONDS = 1.0


@dataclass
class Source:
    """One archive that holds the study.

    Attributes
    ----------
    subject : str
        In the tables.
    server : Server
        The archive.
    called : str
        Its AE title.
    objects : int
        How many the study consists of there.
    """

    subject: str
    server: Server
    called: str
    objects: int


def measure(work: Path, runs: int, slices: int) -> list[Table]:
    """Retrieve the study from every archive to every target, each in turn."""
    material = make(work / "slices", slices)
    study = peers.value_of(next(iter(material.iterdir())), "StudyInstanceUID")
    tables = {way: Table(f"{TITLE} of {slices} CT slices, {way}", MEASURES, baseline=OURS) for way in WAYS}
    movers = {"STORESCP": peers.free_port(), "VIEWER": peers.free_port()}
    with contextlib.ExitStack() as stack:
        sources = list(_sources(stack, work, material, movers, slices))
        for number in range(runs):
            for source in sources:
                for way, table in tables.items():
                    folder = work / f"{source.called}-{way.replace(' ', '-')}-{number}"
                    taken = _fetch(way, source, study, folder, movers)
                    if taken is None:
                        table.notes.append(f"no {way} here") if not number else None
                        continue
                    seconds, count, size = taken
                    table.add(source.subject, seconds, slices / seconds, count, size / 1e6)
                if isinstance(source.server, peers.Orthanc):
                    _store(source, source.server, work / f"store-{number}", movers, slices, tables)
    for table in tables.values():
        table.notes += [
            f"512 x 512, made from {origin()}, in one association; {RATIOS}",
            "instances/s counts classic slices, in whatever object they come; whole process of movescu or getscu, "
            "or the request to Orthanc's REST interface",
        ]
    return list(tables.values())


def _sources(
    stack: contextlib.ExitStack, work: Path, material: Path, movers: dict[str, int], slices: int
) -> Iterator[Source]:
    box = stack.enter_context(peers.box(work / "box", quiet=QUIET_SECONDS, movers=movers))
    peers.send_with_gateway(box.port, material)
    wait_until(lambda: " convert.done " in box.text(), 120, "conversion")
    yield Source(CLASSIC, box, "GATEWAY", slices)
    yield Source(ENHANCED, box, peers.ENHANCED, 1)
    others: dict[str, tuple[str, Callable[[], Server]]] = {
        "Orthanc": ("ORTHANC", lambda: peers.orthanc(work / "orthanc", modalities=movers)),
        "dcmqrscp": ("QRSCP", lambda: peers.dcmqrscp(work / "dcmqrscp", movers)),
    }
    for name, (called, start) in others.items():
        if found(name):
            server = stack.enter_context(start())
            peers.send_with_gateway(server.port, material, called)
            yield Source(name, server, called, slices)


@contextlib.contextmanager
def _target(way: str, folder: Path, movers: dict[str, int]) -> Iterator[tuple[str, Callable[[], tuple[int, int]]]]:
    """Let a target listen that holds nothing; yield its AE title and what says how many objects and bytes it has."""
    if way == TO_ORTHANC:
        with peers.orthanc(folder, port=movers["VIEWER"]) as viewer:
            yield "VIEWER", lambda: (viewer.instances(), int(viewer.rest("/statistics")["TotalDiskSize"]))
        return
    with peers.storescp(folder, "+xa", "-pm", port=movers["STORESCP"]):
        yield "STORESCP", lambda: _held(folder / "received")


def _held(folder: Path) -> tuple[int, int]:
    return len(list(folder.iterdir())), size_of(folder)


def _fetch(way: str, source: Source, study: str, folder: Path, movers: dict[str, int]) -> tuple[float, int, int] | None:
    """Return the seconds that a retrieval takes, and the objects and bytes it brings."""
    asked = ["-S", "-aec", source.called, "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"]
    address = ["127.0.0.1", str(source.server.port)]
    if way == GET:
        received = folder / "received"
        received.mkdir(parents=True)
        seconds = run([peers.needed("getscu"), "-aet", "STORESCP", "-od", str(received), *asked, *address]).seconds
        return seconds, *_complete(source, *_held(received))
    if way == TO_ORTHANC and not found("Orthanc"):
        return None
    with _target(way, folder, movers) as (title, held):
        seconds = run([peers.needed("movescu"), "-aet", "STORESCP", "-aem", title, *asked, *address]).seconds
        return seconds, *_complete(source, *held())


def _complete(source: Source, objects: int, size: int) -> tuple[int, int]:
    if objects != source.objects:
        raise BenchError(f"{source.subject}: {objects} objects have arrived instead of {source.objects}")
    return objects, size


def _store(
    source: Source, server: peers.Orthanc, folder: Path, movers: dict[str, int], slices: int, tables: dict[str, Table]
) -> None:
    """Let Orthanc send the study by itself."""
    study = server.rest("/studies")[0]
    for way, table in tables.items():
        if way != GET:
            with _target(way, folder / way, movers) as (title, held):
                started = time.monotonic()
                server.rest(f"/modalities/{title}/store", study)
                seconds = time.monotonic() - started
                count, size = _complete(source, *held())
            table.add("Orthanc, POST /modalities/{id}/store", seconds, slices / seconds, count, size / 1e6)
