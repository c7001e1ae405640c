"""Figures of the gateway beside its peers, taken in one run on this machine.

intake      slices/s of gateway serve beside DCMTK storescp and Debian's Orthanc, same sender
conversion  gateway convert beside highdicom and PixelMed: wall time, processor time, peak memory
growth      gateway convert alone with more and more slices
query       C-FIND of an index of 1,000,000 instances beside Orthanc and dcmqrscp with what they take in --load seconds
memory      PSS of all processes of the box: idle, and while slices come in, are converted and delivered

Needed: DCMTK (storescu, storescp). Used when installed: Orthanc, highdicom, PixelMed (libpixelmed-java). Real slices
are taken from ../shared/data/ct_philips28_localizer when present, else those of the demonstration's phantom. Everything
happens on the loopback and in a temporary folder; processes are started fresh for each run and ended after it.
A figure counts on a machine that does nothing else; the load average is printed for that reason.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import conversion, intake, latency, link, memory, profiling, query, retrieval, start, written
from tests.bench.peers import versions
from tests.bench.programs import BenchError
from tests.bench.report import Table

COUNTS = (100, 1000, 2000)
QUICK_COUNTS = (50, 200)
NAMES = ("intake", "conversion", "growth", "query", "retrieval", "latency", "link", "start", "written", "memory")


def machine(folder: Path) -> list[str]:
    """Return what the figures depend on."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    within = [(mount, kind) for mount, kind in mounts if str(folder.resolve()).startswith(mount)]
    system = max(within, key=lambda entry: len(entry[0]))[1]
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return [
        f"{os.cpu_count()} cores {cpu}, {memory_gb:.0f} GB, {platform.system()} {platform.release()}, {system}, "
        f"Python {platform.python_version()}; load average at the start {load}",
        *versions(),
    ]


def tables_of(name: str, work: Path, arguments: argparse.Namespace) -> list[Table]:
    """Take one measurement."""
    counts = QUICK_COUNTS if arguments.quick else COUNTS
    runs, slices = (1, 40) if arguments.quick else (arguments.runs, arguments.slices)
    if name == "intake":
        return intake.measure(work, runs, slices)
    if name == "conversion":
        return conversion.measure(work, runs, slices)
    if name == "query":
        instances, repeats, seconds = (
            (20_000, 20, 3.0) if arguments.quick else (arguments.instances, 200, arguments.load)
        )
        return query.measure(work, instances, repeats, seconds)
    if name == "retrieval":
        return retrieval.measure(work, runs, slices)
    if name in ("latency", "link"):
        module = latency if name == "latency" else link
        return module.measure(work, runs, 40 if arguments.quick else arguments.long)
    if name == "start":
        return start.measure(work, runs, 20_000 if arguments.quick else arguments.instances)
    if name == "written":
        return written.measure(work, runs, slices, 5 * slices)
    # These take long, and vary little: memory is no matter of chance.
    few = min(runs, 3) if name == "growth" else 1
    return (conversion.growth if name == "growth" else memory.measure)(work, few, counts)


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"what to measure: {', '.join(NAMES)}; all by default")
    parser.add_argument("--runs", type=int, default=5, help="runs of which the median is printed (5)")
    parser.add_argument("--slices", type=int, default=140, help="slices for intake and conversion (140)")
    parser.add_argument("--long", type=int, default=700, help="slices for latency and link (700)")
    parser.add_argument("--instances", type=int, default=1_000_000, help="instances of the index for query (1000000)")
    parser.add_argument("--load", type=float, default=30, help="seconds that peers are loaded for query (30)")
    parser.add_argument("--quick", action="store_true", help="one short run of everything, to see that it works")
    parser.add_argument("--profile", action="store_true", help="print where the time goes instead of measuring")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every single value there")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"nothing of that name: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    failed, tables = 0, []
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
        facts = machine(Path(folder))
        print("\n".join(facts), end="\n\n", flush=True)
        if arguments.profile:
            print(profiling.profile(Path(folder), arguments.slices))
            return 0
        for name in arguments.names or NAMES:
            started = time.monotonic()
            with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=folder) as work:
                try:
                    taken = tables_of(name, Path(work), arguments)
                except BenchError as error:
                    print(f"{name}: {error}", file=sys.stderr)
                    failed = 1
                    continue
            tables += taken
            print("\n".join(table.text() for table in taken), flush=True)
            print(f"({name}: {time.monotonic() - started:.0f} s)", end="\n\n", flush=True)
        if arguments.json:
            content = {"machine": facts, "tables": [table.as_json() for table in tables]}
            arguments.json.write_text(json.dumps(content, indent=1) + "\n")
    return failed


if __name__ == "__main__":
    sys.exit(main())
