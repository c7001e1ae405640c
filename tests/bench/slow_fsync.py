"""Programs for which every fsync takes longer, as with an SD card: a library that is loaded into them."""

from __future__ import annotations

from pathlib import Path

from tests.bench.programs import BenchError, found, run

SOURCE = Path(__file__).with_name("slow_fsync.c")


def environment(folder: Path, milliseconds: float) -> dict[str, str]:
    """Compile the library into a folder; return the environment of programs that shall wait `milliseconds` longer.

    Raises
    ------
    BenchError
        If there is no C compiler.
    """
    compiler = found("cc")
    if compiler is None:
        raise BenchError("cc is not installed: there is no library that slows fsync down")
    library = folder / "slow_fsync.so"
    run([compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(library), str(SOURCE), "-ldl"])
    return {"LD_PRELOAD": str(library), "SLOW_FSYNC_MS": f"{milliseconds:g}"}
