"""Where the time goes: the conversion of a series to files, and a box in which it comes in and is delivered."""

from __future__ import annotations

import contextlib
import io
import pstats
import sys
from pathlib import Path

from tests.bench import peers
from tests.bench.material import PROJECT, make
from tests.bench.programs import run, wait_until

LINES = 25
QUIET_SECONDS = 1.0


def profile(work: Path, slices: int) -> str:
    """Profile both and return the functions that took longest by themselves."""
    material = make(work / "slices", slices)
    return _conversion(work, material) + _box(work, material)


def _conversion(work: Path, material: Path) -> str:
    result = work / "conversion.prof"
    command = [sys.executable, "-m", "cProfile", "-o", str(result), "-m", "gateway.cli.main", "convert", str(material)]
    run([*command, "-o", str(work / "converted")], cwd=PROJECT)
    return _text("Profile of gateway convert (imports included)", [result])


def _box(work: Path, material: Path) -> str:
    """Profile a box at work; waiting for the sender shows as recv_into and poll, for the receiver as select."""
    folder = work / "box.prof"
    program = [sys.executable, "-P", str(Path(__file__).with_name("profiled_box.py")), str(folder)]
    with (
        peers.storescp(work / "pacs", "+xa", "-pm") as pacs,
        peers.box(work / "box", destination_port=pacs.port, quiet=QUIET_SECONDS, program=program) as box,
    ):
        peers.send_with_storescu(box.port, material)
        wait_until(lambda: " deliver.done " in box.text(), 300, "delivery")
    titles = {
        "intake": "Profile of the intake (all threads, waiting included)",
        "conversion": "Profile of the conversion inside the box",
        "delivery": "Profile of the delivery (waiting for the receiver included)",
    }
    return "".join(_text(title, sorted((folder / name).iterdir())) for name, title in titles.items())


def _text(title: str, files: list[Path]) -> str:
    found = io.StringIO()
    stats = pstats.Stats(str(files[0]), stream=found)
    for file in files[1:]:
        with contextlib.suppress(TypeError, EOFError):  # of a thread that had not begun
            stats.add(str(file))
    for order in ("tottime", "cumulative"):
        stats.sort_stats(order).print_stats(LINES)
    lines = [line.replace(f"{PROJECT}/", "") for line in found.getvalue().splitlines() if line.strip()]
    return "\n".join([f"## {title}", "", *(line[:150] for line in lines), "", ""])
