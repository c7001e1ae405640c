"""What it costs that bytes are compared with their digests: ``python -m tests.bench.compared with|without IN OUT``.

The same work in the box with the comparison and, for this measurement alone, without it. Prints the seconds of
processor of intake, conversion, delivery as an enhanced object and delivery as classic images.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from tests.bench.material import PROJECT, make, origin
from tests.bench.programs import run
from tests.bench.report import Measure, Table

# The gateway is imported by the process that works: the memory of the one that starts all others counts as theirs.
if TYPE_CHECKING:
    from gateway.archive.index import Archive
    from gateway.archive.views import View

STEPS = ("intake", "conversion", "enhanced delivered", "classic delivered")
PIECE = 1 << 18


def measure(work: Path, runs: int, slices: int) -> list[Table]:
    """Measure each step with and without, in turn."""
    material = make(work / "slices", slices)
    measures = tuple(Measure(f"{step}, ms a slice", digits=3) for step in STEPS)
    table = Table(f"Digests compared on every way, {slices} CT slices", measures, baseline="compared")
    for _ in range(runs):
        for name in ("with", "without"):
            target = work / name
            cost = run([sys.executable, "-m", "tests.bench.compared", name, str(material), str(target)], cwd=PROJECT)
            seconds = map(float, cost.said.split()[-len(STEPS) :])
            table.add("compared" if name == "with" else "not compared", *(1000 * one / slices for one in seconds))
            shutil.rmtree(target)
    table.notes.append(f"processor time; 512 x 512, made from {origin()}; deliveries read and nothing is sent")
    return [table]


def without() -> Iterator[mock._patch]:
    """Yield what leaves the comparison out."""
    from gateway.archive.digests import Parts

    yield mock.patch("gateway.archive.intact.problem_of", return_value="")
    yield mock.patch("gateway.archive.intact.checked", lambda archive, row, source: source)
    yield mock.patch("gateway.archive.admission.parts_of", return_value=Parts())


def timed(work: Callable[[], object]) -> float:
    """Return the seconds of processor of some work."""
    started = time.process_time()
    work()
    return time.process_time() - started


def take_in(archive: Archive, paths: list[Path]) -> None:
    """Receive files as the network room does."""
    from gateway.objects.part10 import file_meta, read_header

    for path in paths:
        header = read_header(path)
        part = archive.files.begin(file_meta(header.sop_class, header.sop_instance, header.transfer_syntax, "CT1"))
        data = memoryview(path.read_bytes())[header.dataset_offset :]
        for start in range(0, len(data), 1 << 17):
            part.write(data[start : start + (1 << 17)])
        name = part.commit()
        archive.admit(name, read_header(part.path), peer="CT1")


def send(archive: Archive, view: View, *, derived: bool) -> None:
    """Read what is delivered, to its end."""
    from gateway.archive.rows import DERIVED
    from gateway.pipeline.whole import WholeSeries

    rows = [row for row in archive.select(view) if (row.kind == DERIVED) == derived]
    source = WholeSeries(archive, rows, lambda: None)
    for row in rows:
        for _ in source.source_of(row).chunks(PIECE):
            pass


def main(name: str, folder: Path, target: Path) -> None:
    """Do all of it once."""
    from gateway.archive.index import Archive
    from gateway.archive.views import View
    from gateway.pipeline.convert import ConversionPolicy, Converter

    archive = Archive(target, quiet=0)
    worker = Converter(archive, ConversionPolicy())
    with ExitStack() as stack:
        for patch in without() if name == "without" else ():
            stack.enter_context(patch)
        print(
            timed(lambda: take_in(archive, sorted(folder.iterdir()))),
            timed(worker.step),
            timed(lambda: send(archive, View.ENHANCED, derived=True)),
            timed(lambda: send(archive, View.CLASSIC, derived=False)),
        )
    archive.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
