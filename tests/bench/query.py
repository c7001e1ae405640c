"""C-FIND at study level within an open association, of an index of a million instances; beside Orthanc and dcmqrscp."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

from tests.bench import peers
from tests.bench.big_index import patient_of, study_of
from tests.bench.material import PROJECT
from tests.bench.programs import BenchError, Server, found, name_of, pss_mb, run
from tests.bench.report import OURS, Measure, Table

AIM_MS = 20
FIRST_AIM_MS = 50
REPEATS = 200
STUDIES = 2000

# What every query wants to have back: names and dates, what is counted, what is gathered.
RETURNED = ("00080020", "00080030", "00080050", "00080061", "00100010", "00100020", "0020000D", "00201206", "00201208")
COMMON = "beginning of a common name"
TAGS = {
    "patient ID": "00100020",
    "accession number": "00080050",
    "beginning of a name": "00100010",
    COMMON: "00100010",
    "middle of a name": "00100010",
    "one day": "00080020",
    "modality in study": "00080061",
}


def identifier(**keys: str) -> dict[str, str]:
    """Return a study-level identifier that wants everything back."""
    return {"00080005": "ISO_IR 192", "00080052": "STUDY", **dict.fromkeys(RETURNED, ""), **keys}


def queries(studies: int, repeats: int) -> list[tuple[str, dict[str, str]]]:
    """Return what is asked, in an order of chance."""
    random = Random(2)
    asked = []
    for _ in range(repeats):
        study = random.randrange(studies)
        name = patient_of(study)["PatientName"]
        values = {
            "patient ID": patient_of(study)["PatientID"],
            "accession number": study_of(study)["AccessionNumber"],
            _beginning(name): name.split("^")[0][:-1].upper() + "*",
            "middle of a name": f"*{name.split('^')[0][2:]}^*",
            "one day": study_of(study)["StudyDate"],
            "modality in study": "PT",
        }
        asked += [(kind, identifier(**{TAGS[kind]: value})) for kind, value in values.items()]
    random.shuffle(asked)
    return asked


def _beginning(name: str) -> str:
    """Return what kind of query the beginning of a name is: a hundred patients share a name without a number."""
    return "beginning of a name" if name.split("^")[0][-1].isdigit() else COMMON


def ask(port: int, called: str, asked: list[tuple[str, dict[str, str]]]) -> list[list[Any]]:
    """Ask in one association, from a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.ask", str(port), called],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        cwd=PROJECT,
        timeout=600,
    )
    if done.returncode:
        raise BenchError(f"queries of {called}: {done.stderr[-500:]}")
    return json.loads(done.stdout)


def measure(work: Path, instances: int, repeats: int, load_seconds: float) -> list[Table]:
    """Take the figures.

    Parameters
    ----------
    work : Path
        A folder.
    instances : int
        Of the index.
    repeats : int
        Queries of each kind.
    load_seconds : float
        How long Orthanc and dcmqrscp are loaded.
    """
    studies = min(STUDIES, max(20, instances // 50))
    kinds = Table(
        f"study-level C-FIND, {repeats} of each kind in one association: ms to the final response",
        [Measure("median"), Measure("95th percentile", aim=AIM_MS), Measure("matches", digits=0)],
        notes=["every match has 9 attributes, Modalities in Study and both counts among them"],
    )
    many = Table(
        "study-level C-FIND of a name that a hundred patients have: ms to the final response",
        [Measure("median"), Measure("95th percentile"), Measure("matches", digits=0)],
        notes=["a tenth of the queries by the beginning of a name"],
    )
    listing = Table(
        "all studies listed",
        [Measure("studies", digits=0), Measure("first ms", aim=FIRST_AIM_MS), Measure("total ms", digits=0)],
    )
    listing.measures = [*listing.measures, Measure("memory MB"), Measure("more while listing MB")]
    _box(work / "box", instances, studies, repeats, kinds, many, listing)
    for name, server, count in _others(work, load_seconds):
        with server:
            held, seconds = _load(work, server.port, name, load_seconds)
            subject = f"{name}, {held} instances in {held // 5} studies loaded in {seconds:.0f} s"
            _ask_all(server, count, subject, held // 5, repeats, kinds, many, listing)
    return [kinds, many, listing]


def _box(folder: Path, instances: int, studies: int, repeats: int, kinds: Table, many: Table, listing: Table) -> None:
    server = peers.box(folder)
    said = run(
        [sys.executable, "-m", "tests.bench.big_index", str(folder / "data"), str(instances), str(studies)],
        limit=3600,
        cwd=PROJECT,
    ).said
    size = (folder / "data" / "index.sqlite3").stat().st_size / 1e6
    kinds.notes.append(f"index of {instances} instances in {studies} studies, {size:.0f} MB, made in {said.strip()} s")
    kinds.notes.append(_plans(folder / "data"))
    with server:
        _ask_all(server, "GATEWAY", OURS, studies, repeats, kinds, many, listing)


def _ask_all(
    server: Server, called: str, subject: str, studies: int, repeats: int, kinds: Table, many: Table, listing: Table
) -> None:
    answers = ask(server.port, called, queries(studies, repeats))
    for kind in TAGS:
        taken = [answer for answer in answers if answer[0] == kind]
        if not taken:
            continue
        times = sorted(answer[2] for answer in taken)
        matches = statistics.mean(answer[3] for answer in taken)
        table = many if kind == COMMON else kinds
        table.add(f"{subject}: {kind}", statistics.median(times), times[int(len(times) * 0.95)], matches)
    before = _memory(server)
    lists = ask(server.port, called, [("all", identifier())] * 5)
    for _, first, total, count, _ in lists:
        listing.add(subject, count, first, total, None, None)
    listing.add(subject, None, None, None, before, max(0.0, _memory(server) - before))


def _memory(server: Server) -> float:
    """Return what the processes that answer queries hold, in MB."""
    pids = [pid for pid in server.pids if name_of(pid) == "gateway-intake"] or server.pids
    return sum(pss_mb(pid) for pid in pids)


def _plans(data: Path) -> str:
    """Return whether the plan of any query that names something scans a table of entities."""
    code = """
import json, sys
from pathlib import Path
from gateway.archive.attributes import vr_of
from gateway.archive.index import Archive
from gateway.archive.matching import Asked
from gateway.archive.query import Query, translate
from gateway.archive.views import View
archive = Archive(Path(sys.argv[1]), readonly=True)
for kind, keys in json.load(sys.stdin):
    tags = [tag for tag in keys if tag not in ("00080005", "00080052")]
    asked = tuple(Asked(int(t, 16), vr_of(int(t, 16)), (keys[t],) if keys[t] else ()) for t in tags)
    made = translate(Query("STUDY", View.RECEIVED, asked))
    steps = archive.database.rows("EXPLAIN QUERY PLAN " + made.sql, made.parameters)
    print(json.dumps([kind, [step[3] for step in steps]]))
"""
    asked = queries(20, 1)
    done = subprocess.run(
        [sys.executable, "-c", code, str(data)], input=json.dumps(asked), capture_output=True, text=True, cwd=PROJECT
    )
    if done.returncode:
        raise BenchError(f"plans: {done.stderr[-500:]}")
    plans = dict(json.loads(line) for line in done.stdout.splitlines())
    scans = sorted(kind for kind, steps in plans.items() if any(re.match(r"SCAN (i|s|t|p)\b", step) for step in steps))
    return f"plans that scan patients, studies, series or instances: {', '.join(scans) or 'none'}"


# Peers


def _others(work: Path, seconds: float) -> list[tuple[str, Server, str]]:
    others: list[tuple[str, Server, str]] = []
    if seconds <= 0:
        return others
    if found("Orthanc"):
        others.append(("Orthanc", peers.orthanc(work / "orthanc"), "ORTHANC"))
    if found("dcmqrscp"):
        others.append(("dcmqrscp", peers.dcmqrscp(work / "dcmqrscp"), "QRSCP"))
    return others


def _load(work: Path, port: int, name: str, seconds: float) -> tuple[int, float]:
    """Send small instances for a while, five of a study; return how many were taken."""
    started = time.monotonic()
    called = {"Orthanc": "ORTHANC", "dcmqrscp": "QRSCP"}[name]
    said = run(
        [sys.executable, "-m", "tests.bench.fill", str(port), called, str(seconds)], limit=seconds + 120, cwd=PROJECT
    ).said
    return int(said.split()[-1]), time.monotonic() - started
