"""How long a whole process takes to convert one CT series, and how much memory: beside highdicom and PixelMed."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from tests.bench.material import PROJECT, make, origin
from tests.bench.peers import GATEWAY, PYTHON
from tests.bench.programs import BenchError, found, run
from tests.bench.report import OURS, RATIOS, Measure, Table

JAVA = Path("/usr/share/java")
PIXELMED = ("pixelmed", "commons-codec", "commons-compress", "vecmath", "slf4j-api", "slf4j-nop", "javax.json")


def _gateway(source: Path, target: Path) -> list[str]:
    return [*GATEWAY, "convert", str(source), "-o", str(target)]


def _copy(source: Path, target: Path) -> list[str]:
    """Read and durably write the same bytes: what no converter can undercut."""
    return ["sh", "-c", 'cat "$1"/* > "$2" && sync -d "$2"', "sh", str(source), str(target)]


def _start_only(source: Path, target: Path) -> list[str]:
    return [*GATEWAY, "convert", "--help"]


def _highdicom(source: Path, target: Path) -> list[str] | None:
    if importlib.util.find_spec("highdicom") is None:
        return None
    return [sys.executable, "-m", "tests.bench.with_highdicom", str(source), str(target / "object.dcm")]


def _pixelmed(source: Path, target: Path) -> list[str] | None:
    if not found("java") or not (JAVA / "pixelmed.jar").is_file():
        return None
    path = ":".join(str(JAVA / f"{jar}.jar") for jar in PIXELMED)
    program = "com.pixelmed.dicom.MultiFrameImageFactory"
    return ["java", "-Djava.awt.headless=true", "-cp", path, program, str(source), str(target)]


SUBJECTS: dict[str, Callable[[Path, Path], list[str] | None]] = {
    OURS: _gateway,
    "highdicom": _highdicom,
    "PixelMed": _pixelmed,
}
MEASURES = (Measure("wall s", digits=2), Measure("processor s", digits=2), Measure("peak RSS MB", digits=0))


def measure(work: Path, runs: int, slices: int) -> list[Table]:
    """Measure every converter in turn."""
    material = make(work / "slices", slices)
    table = Table(f"Conversion of {slices} CT slices, a whole process", MEASURES, baseline=OURS)
    for number in range(runs):
        for name, command_of in SUBJECTS.items():
            target = work / f"{name}-{number}"
            command = command_of(material, target)
            if command is None:
                table.notes.append(f"{name} is not installed") if not number else None
                continue
            target.mkdir()
            cost = run(command, cwd=PROJECT)
            _check(target, slices)
            table.add(name, cost.seconds, cost.processor, cost.peak_mb)
    table.notes += [
        f"512 x 512, made from {origin()}; {RATIOS}",
        "the gateway proves every frame by unfolding its output and syncs it to the disk; the others do neither",
    ]
    return [table]


def growth(work: Path, runs: int, counts: tuple[int, ...]) -> list[Table]:
    """Measure the gateway with more and more slices beside a plain copy of them, and the start of its process."""
    table = Table(
        "Conversion by the gateway, more and more slices, each in turn with a copy of the same bytes", MEASURES
    )
    for count in counts:
        material = make(work / f"slices-{count}", count)
        for number in range(runs):
            target = work / f"{count}-{number}"
            cost = run(_gateway(material, target), cwd=PROJECT)
            _check(target, count)
            table.add(f"{count} slices", cost.seconds, cost.processor, cost.peak_mb)
            shutil.rmtree(target)
            cost = run(_copy(material, target), cwd=PROJECT)
            table.add(f"{count} slices, cat and sync", cost.seconds, cost.processor, cost.peak_mb)
            target.unlink()
    for _ in range(runs):
        cost = run(_start_only(work, work), cwd=PROJECT)
        table.add("start of the process alone", cost.seconds, cost.processor, cost.peak_mb)
    return [table]


def inside(work: Path, runs: int, slices: int) -> list[Table]:
    """Measure what the box does with a study, recipe and proof, in turn with reading its files once.

    Each with the files in memory, as just after they came in, and with none of them there.
    """
    material = make(work / "slices", slices)
    table = Table(f"Conversion inside the box, {slices} CT slices: recipe and proof", MEASURES, baseline=OURS)
    for number in range(runs):
        for name in ("convert", "read"):
            for state in ("held", "cold"):
                target = work / f"{name}-{state}-{number}"
                target.mkdir()
                cost = run([*PYTHON, "tests.bench.inside", name, state, str(material), str(target)], cwd=PROJECT)
                seconds, processor = map(float, cost.said.split())
                subject = f"{OURS if name == 'convert' else 'reading the files once'}{', cold' * (state == 'cold')}"
                table.add(subject, seconds, processor, cost.peak_mb)
                shutil.rmtree(target)
    table.notes += [
        f"512 x 512, made from {origin()}; cold: the page cache holds nothing of the files when it begins; {RATIOS}",
        "time is that of the work alone, not of the start of a process; digests of the files are known, as intake "
        "makes them",
    ]
    return [table]


def _check(target: Path, slices: int) -> None:
    """Make sure that a converter has converted: one object that holds all pixels."""
    sizes = [path.stat().st_size for path in target.rglob("*") if path.is_file()]
    if len(sizes) != 1 or sizes[0] < slices * 512 * 512 * 2:
        raise BenchError(f"{target.name}: no single object with all frames: {sizes}")
