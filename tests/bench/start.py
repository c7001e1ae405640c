"""From the start of the process to the first association accepted: with an empty index and with a large one."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench import peers
from tests.bench.material import PROJECT
from tests.bench.programs import BenchError, Server, found, run
from tests.bench.report import OURS, Measure, Table

AIM_SECONDS = 1.0
STUDIES = 2000
TITLE = "Start to ready for associations"
EMPTY = f"{OURS}, empty"
MEASURES = (Measure("s", digits=2, aim=AIM_SECONDS), Measure("says that it is ready s", digits=2))


def measure(work: Path, runs: int, instances: int) -> list[Table]:
    """Start everybody in turn."""
    table = Table(TITLE, MEASURES)
    said = run(
        [*peers.PYTHON, "tests.bench.big_index", str(work / "large/data"), str(instances), str(_studies(instances))],
        limit=3600,
        cwd=PROJECT,
    ).said
    subjects: dict[str, Callable[[int], Server]] = {
        EMPTY: lambda number: peers.box(work / f"empty-{number}"),
        f"{OURS}, {instances} instances": lambda number: peers.box(work / "large"),
    }
    if found("Orthanc"):
        subjects["Orthanc, empty"] = lambda number: peers.orthanc(work / f"orthanc-{number}")
    if found("storescp"):
        subjects["DCMTK storescp"] = lambda number: peers.storescp(work / f"storescp-{number}")
    for number in range(runs):
        for subject, of in subjects.items():
            table.add(subject, *_start(of(number)))
    table.notes += [
        "from the start of the process until it has accepted an association, asked for anew until then",
        f"index of {instances} instances in {_studies(instances)} studies, made in {said.strip()} s",
    ]
    return [table]


def _studies(instances: int) -> int:
    return min(STUDIES, max(20, instances // 50))


def _start(server: Server) -> tuple[float, float | None]:
    """Start a server and return when it accepts an association; for a box also when it says that it is ready."""
    caller = subprocess.Popen(
        [*peers.PYTHON, "tests.bench.first_association", str(server.port)],
        stdout=subprocess.PIPE,
        cwd=PROJECT,
        text=True,
    )
    assert caller.stdout is not None
    try:
        caller.stdout.readline()  # it has begun to ask
        began = time.monotonic()
        with server:
            ready = time.monotonic() - began if server.ready else None
            said, _ = caller.communicate(timeout=60)
    finally:
        caller.kill()
        caller.wait()
    if caller.returncode:
        raise BenchError(f"{server.command[0]} accepts no association")
    return json.loads(said) - began, ready
