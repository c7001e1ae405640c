"""Files that survive a power cut: written as a whole or not at all, names included."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from gateway.errors import ResourceError, remedy_of
from gateway.observe import fault


def sync_folder(path: Path) -> None:
    """Make the entries of a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def storage_errors(subject: object) -> Iterator[None]:
    """Turn an `OSError` inside into a `ResourceError` about `subject`."""
    try:
        yield
    except OSError as error:
        raise ResourceError(
            str(subject), "cannot be written", found=error.strerror or str(error), remedy=remedy_of(error)
        ) from error


def write_durable(path: Path, data: bytes) -> None:
    """Write a whole file so that after a crash there is either all of it or none (or what was there before).

    Raises
    ------
    ResourceError
        If the disk does not take it.
    """
    with storage_errors(path.name):
        temporary, descriptor = create_locked(path.parent, ".tmp")
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
                fault("record.before_rename")
                os.replace(temporary, path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        fault("record.after_rename")
        sync_folder(path.parent)


def create_locked(folder: Path, suffix: str) -> tuple[Path, int]:
    """Create a temporary file that stays locked as long as it is open: a sweep removes only what nobody holds."""
    while True:
        path = folder / f".{secrets.token_hex(8)}{suffix}"
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        # A sweep may get between creating and locking; then the file is gone or about to be.
        if try_lock(descriptor) and os.fstat(descriptor).st_nlink:
            return path, descriptor
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Lock an open file for whoever has it open, without waiting; False if somebody else has it locked."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
