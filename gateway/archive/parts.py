"""Objects on their way from the wire into ``intake/``, at the price of one sync each.

A file is safe when its bytes are on the disk and its name is. The names are the dearer half: a folder is synced as a
whole. So empty files are made ahead and their folder is synced once for many of them, beside the reception and not in
it. Such a blank is filled; the last thing written is a mark in its preamble, which is free for such use (PS3.10 7.1):
digest and length of the data set. Then one sync makes it safe under the name it was made with, and the rename to the
final name needs none: whichever name a power cut leaves, `rescue` tells a complete object from a torn one.
"""

from __future__ import annotations

import collections
import contextlib
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

from gateway.archive.durable import create_locked, storage_errors, sync_folder, try_lock
from gateway.errors import ResourceError
from gateway.objects.digest import Digest
from gateway.objects.stream import CHUNK, write_back
from gateway.observe import fault

SUFFIX = ".part"

# Blanks of a process; half of them last while one sync of a slow card makes the next ones.
BLANKS = 16

# Bytes after which the disk begins to write what has come, while more is coming: the sync at the end waits for less.
_AHEAD = 1 << 17
_PAGE = 1 << 12

# Magic, digest and length of the data set, which reaches to the end of the file.
_MARK = struct.Struct(">8s16sQ")
_MAGIC = b"GATEWAY\0"
_PREAMBLE_LENGTH = 128
_EMPTY_PREAMBLE = bytes(_PREAMBLE_LENGTH)
_PREFIX = b"DICM"


class Blanks:
    """Empty files in ``intake/`` whose names are durable already, locked by this process.

    Parameters
    ----------
    folder : Path
        The folder.
    count : int
        How many are kept ready.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self._count = count
        self._ready: collections.deque[tuple[Path, int]] = collections.deque()
        self._lock = threading.Lock()
        self._filler: threading.Thread | None = None
        self._closed = False

    def take(self) -> tuple[Path, int] | None:
        """Return path and descriptor of a blank, or None if there is none just now; more are made in the background."""
        with self._lock:
            found = self._ready.popleft() if self._ready else None
            if len(self._ready) <= self._count // 2 and self._filler is None and not self._closed:
                self._filler = threading.Thread(target=self._fill, name="blanks", daemon=True)
                self._filler.start()
            return found

    def fill(self) -> None:
        """Make what is missing, now."""
        with self._lock:
            missing = self._count - len(self._ready)
        made: list[tuple[Path, int]] = []
        try:
            for _ in range(missing):
                made.append(create_locked(self._folder, SUFFIX))
            fault("blanks.before_sync")
            sync_folder(self._folder)
        except OSError:  # whoever receives an object makes a file of its own, and says what is wrong with the disk
            _drop(made)
            made = []
        with self._lock:
            if not self._closed:
                self._ready += made
                made = []
        _drop(made)

    def _fill(self) -> None:
        try:
            self.fill()
        finally:
            with self._lock:
                self._filler = None

    def close(self) -> None:
        """Remove all that are left."""
        with self._lock:
            self._closed = True
            filler, left = self._filler, list(self._ready)
            self._ready.clear()
        _drop(left)
        if filler is not None:
            filler.join()


def _drop(blanks: list[tuple[Path, int]]) -> None:
    for path, descriptor in blanks:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        os.close(descriptor)


class PartFile:
    """An object on its way from the wire to ``intake/``.

    Attributes
    ----------
    path : Path
        Where the bytes are until `commit`.
    length : int
        Number of data set bytes written so far.
    """

    def __init__(self, intake: Path, meta: bytes, blanks: Blanks | None = None) -> None:
        self._intake = intake
        self._digest = Digest()
        self.length = 0
        self._size = 0
        # The first page changes once more at the end, by its mark.
        self._begun = _PAGE
        self._held = -1
        markable = meta.startswith(_EMPTY_PREAMBLE + _PREFIX)
        blank = blanks.take() if markable and blanks is not None else None
        # Whether the name is durable, and a mark can say that what it names is whole.
        self._safe_name = blank is not None
        with storage_errors("intake"):
            self.path, self._descriptor = blank or create_locked(intake, SUFFIX)
        with self._discarding():
            self._write(meta)

    @contextlib.contextmanager
    def _discarding(self) -> Iterator[None]:
        """Leave nothing behind when the disk does not take the bytes."""
        try:
            with storage_errors("object being received"):
                yield
        except ResourceError:
            self.discard()
            raise

    @property
    def digest(self) -> str:
        """BLAKE3-128 of the data set bytes written so far, in hexadecimal."""
        return self._digest.hexdigest()

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append bytes of the data set.

        Raises
        ------
        ResourceError
            If the disk does not take them; the file is gone then.
        """
        try:
            fault("intake.write")
            self._write(chunk)
        except OSError:
            with self._discarding():
                raise
        self._digest.update(chunk)
        self.length += len(chunk)

    def _write(self, chunk: bytes | bytearray | memoryview) -> None:
        written = os.write(self._descriptor, chunk)
        while written < len(chunk):
            written += os.write(self._descriptor, memoryview(chunk)[written:])
        self._size += written
        if self._size - self._begun >= _AHEAD:
            whole = self._size - self._begun & -_PAGE
            write_back(self._descriptor, self._begun, whole)
            self._begun += whole

    def commit(self, *, hold: bool = False) -> str:
        """Make the object durable and return its archive name.

        Parameters
        ----------
        hold : bool
            Keep the file locked until `release`: a recovery leaves it to whoever has it.

        Raises
        ------
        ResourceError
            If the disk does not take it; nothing is left of it then.
        """
        name = name_of(self.digest, self.path)
        final = self._intake / f"{name}.dcm"
        with self._discarding():
            fault("intake.before_sync")
            if self._safe_name:
                os.pwrite(self._descriptor, _MARK.pack(_MAGIC, self._digest.digest(), self.length), 0)
            os.fsync(self._descriptor)
            fault("intake.before_rename")
            os.rename(self.path, final)
            self.path = final
            fault("intake.after_rename")
            if not self._safe_name:
                sync_folder(self._intake)
        self._held, self._descriptor = self._descriptor, -1
        if not hold:
            self.release()
        return name

    def release(self) -> None:
        """Let go of the lock of a committed file; harmless when that is done already."""
        held, self._held = self._held, -1
        if held >= 0:
            os.close(held)

    def discard(self) -> None:
        """Remove the file; harmless when it is committed or discarded already."""
        if self._descriptor >= 0:
            self.path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1


def name_of(digest: str, part: Path) -> str:
    """Return the archive name of an object that was received into a part file."""
    return f"{digest}-{part.name[1 : -len(SUFFIX)]}"


def is_preamble(preamble: bytes, digest: str, length: int) -> bool:
    """Tell whether a preamble is one that a received object has: empty, or with its mark."""
    mark = _MARK.pack(_MAGIC, bytes.fromhex(digest), length)
    return preamble in (_EMPTY_PREAMBLE, mark + _EMPTY_PREAMBLE[len(mark) :])


def rescue(path: Path) -> bool:
    """Give a complete object that a dead process has left its final name, or remove what is not complete.

    Returns
    -------
    bool
        Whether it was removed.
    """
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        if not try_lock(descriptor):
            return False
        digest = _marked_digest(descriptor)
        if digest is None:
            path.unlink(missing_ok=True)
            return True
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, path.with_name(f"{name_of(digest, path)}.dcm"))
            sync_folder(path.parent)
        return False
    finally:
        os.close(descriptor)


def _marked_digest(descriptor: int) -> str | None:
    """Return the digest of a file's data set if its mark says the same."""
    head = os.pread(descriptor, _PREAMBLE_LENGTH + len(_PREFIX), 0)
    if len(head) < _PREAMBLE_LENGTH + len(_PREFIX) or head[_PREAMBLE_LENGTH:] != _PREFIX:
        return None
    magic, digest, length = _MARK.unpack_from(head)
    position = os.fstat(descriptor).st_size - length
    if magic != _MAGIC or position < len(head):
        return None
    found = Digest()
    while chunk := os.pread(descriptor, CHUNK, position):
        found.update(chunk)
        position += len(chunk)
    return digest.hex() if found.digest() == digest else None
