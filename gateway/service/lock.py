"""One box for each data directory."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from gateway.archive.durable import try_lock
from gateway.errors import ArchiveError


@contextlib.contextmanager
def locked(data_dir: Path, patience: float = 5.0) -> Iterator[None]:
    """Hold the lock of a data directory.

    The lock belongs to the open file, which forks share: it is free again when the last process of the box is gone.

    Parameters
    ----------
    data_dir : Path
        An existing directory.
    patience : float
        Seconds that the processes of a box that was killed may take to be gone.

    Raises
    ------
    ArchiveError
        If another box has it.
    """
    with open(data_dir / "lock", "a+", encoding="ascii") as file:
        deadline = time.monotonic() + patience
        while not try_lock(file.fileno()):
            if time.monotonic() > deadline:
                file.seek(0)
                raise ArchiveError(
                    str(data_dir),
                    "another gateway is running on this data directory",
                    found=f"process {file.read().strip() or 'unknown'}",
                    remedy="stop it, or give each gateway a data_dir of its own",
                )
            time.sleep(0.1)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
