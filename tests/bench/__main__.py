"""Figures of the gateway beside its peers, taken in one run on this machine.

table       one table of everything there is an aim for: figure, peer, ratio, aim, reached or not (takes half an hour)

intake      slices/s of gateway serve beside DCMTK storescp and Debian's Orthanc, same sender
conversion  gateway convert beside highdicom and PixelMed: wall time, processor time, peak memory
growth      gateway convert alone with more and more slices
inside      recipe and proof of the longest of them as the box makes them, beside reading the files once
compared    intake, conversion and delivery with and without the comparison of digests
query       C-FIND of an index of 1,000,000 instances beside Orthanc and dcmqrscp with what they take in --load seconds
retrieval   C-MOVE and C-GET of the classic and the enhanced study beside Orthanc and dcmqrscp, to the same targets
latency     from the last slice received to everything stored at Orthanc, beside Orthanc that forwards
link        delivery over a slow and distant line, enhanced, deflated or not, beside classic
start       from the start to the first association, with an empty and with a large index
written     bytes written to the disk for each byte received
memory      PSS of all processes of the box: idle, and while slices come in, are converted and delivered
at-once     PSS while one study is converted, another delivered and a third comes in

Needed: DCMTK (storescu, storescp). Used when installed: Orthanc, highdicom, PixelMed (libpixelmed-java). Real slices
are taken from ../shared/data/ct_philips28_localizer when present, else those of the demonstration's phantom. Everything
happens on the loopback and in a temporary folder; processes are started fresh for each run and ended after it.
A figure counts on a machine that does nothing else; the load average is printed for that reason.
"""

from __future__ import annotations

import argparse
import compileall
import dataclasses
import json
import os
import platform
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import profiling, slow_fsync, summary
from tests.bench.material import PROJECT
from tests.bench.measurements import MEASUREMENTS, QUICK, Size
from tests.bench.peers import versions
from tests.bench.programs import BenchError
from tests.bench.report import Table

TABLE = "table"


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


def take(name: str, folder: Path, size: Size) -> list[Table] | None:
    """Take one measurement and print it; None if it cannot be taken."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=folder) as work:
        try:
            taken = MEASUREMENTS[name](Path(work), size)
        except BenchError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return None
    print("\n".join(table.text() for table in taken), flush=True)
    print(f"({name}: {time.monotonic() - started:.0f} s)", end="\n\n", flush=True)
    return taken


def arguments_of(command_line: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = (TABLE, *MEASUREMENTS)
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"what to measure: {', '.join(known)}; all by default")
    parser.add_argument("--quick", action="store_true", help="one short run of everything, to see that it works")
    for option, what in (
        ("runs", "runs of which the median is printed"),
        ("slices", "slices of a series for intake, conversion, retrieval"),
        ("long", "slices of a series for latency and link"),
        ("instances", "instances of the index for query and start"),
        ("load", "seconds that peers are loaded for query"),
    ):
        default = getattr(Size, option)
        parser.add_argument(f"--{option}", type=type(default), help=f"{what} ({default})")
    parser.add_argument("--slow-fsync", metavar="MS", type=float, help="every fsync of box and peers takes MS longer")
    parser.add_argument("--profile", action="store_true", help="print where the time goes instead of measuring")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every single value there")
    parser.add_argument("--chart", metavar="FILE", type=Path, help="with table: draw it as a PNG")
    arguments = parser.parse_args(command_line)
    if unknown := set(arguments.names) - set(known):
        parser.error(f"nothing of that name: {', '.join(sorted(unknown))}")
    if arguments.chart and TABLE not in arguments.names:
        parser.error("--chart draws the table: name it")
    return arguments


def main() -> int:
    """Run what the command line asks for."""
    arguments = arguments_of()
    given = {field.name: getattr(arguments, field.name, None) for field in dataclasses.fields(Size)}
    size = dataclasses.replace(
        QUICK if arguments.quick else Size(), **{name: value for name, value in given.items() if value is not None}
    )
    size = dataclasses.replace(size, few=min(size.few, size.runs))
    names = dict.fromkeys(arguments.names or MEASUREMENTS)
    if TABLE in names:
        names = {name: None for name in MEASUREMENTS if name in names or name in summary.MEASURED}
    # What is installed has been compiled; here it may be that Python is told not to write what it compiles.
    for part in ("gateway", "tests/bench"):
        compileall.compile_dir(PROJECT / part, quiet=2)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as name:
        folder = Path(name)
        facts = machine(folder)
        if arguments.slow_fsync:
            os.environ.update(slow_fsync.environment(folder, arguments.slow_fsync))
            facts.append(f"every fsync takes {arguments.slow_fsync:g} ms longer, for the box and for its peers")
        print("\n".join(facts), end="\n\n", flush=True)
        if arguments.profile:
            print(profiling.profile(folder, size.slices))
            return 0
        taken = {name: take(name, folder, size) for name in names}
    tables = [table for some in taken.values() for table in some or ()]
    content = {"machine": facts, "tables": [table.as_json() for table in tables]}
    if TABLE in arguments.names:
        lines = summary.summarize(tables)
        print(summary.text(lines, facts))
        content["table"] = [line.as_json() for line in lines]
        if arguments.chart:
            summary.draw(lines, facts, arguments.chart)
    if arguments.json:
        arguments.json.write_text(json.dumps(content, indent=1) + "\n")
    return int(None in taken.values())


if __name__ == "__main__":
    sys.exit(main())
