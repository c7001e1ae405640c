"""Files of one data directory: durable intake, settled files, recipes and records.

An acknowledged object must survive a power cut a microsecond later. So bytes go into ``intake/.<random>.part``, are
synced and get their final name by rename before anybody is told (`gateway.archive.parts`). They stay in ``intake/``,
the only folder scanned at start, until the index that knows them is on the disk itself (`gateway.archive.recovery`).
UIDs come from peers and are never used in a path.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from gateway.archive.durable import create_locked, storage_errors, sync_folder, try_lock
from gateway.archive.parts import BLANKS, SUFFIX, Blanks, PartFile, rescue
from gateway.errors import ArchiveError
from gateway.objects.stream import CHUNK, read_range
from gateway.observe import fault

_NAME = re.compile(r"[0-9a-f]{32}-[0-9a-f]{16}\Z")
_SAFE = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,119}\Z")


def digest_of_name(name: str) -> str:
    """Return the digest of the data set that a received file's name carries."""
    return name[:32]


def key_of(*parts: str) -> str:
    """Return a digest of `parts` that can stand in a file name in their place."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=12).hexdigest()


class Files:
    """The folders of one data directory.

    Parameters
    ----------
    data_dir : Path
        The data directory.
    """

    def __init__(self, data_dir: Path) -> None:
        self.root = Path(data_dir)
        self.intake = self.root / "intake"
        self.received = self.root / "received"
        self.derived = self.root / "derived"
        self.records = self.root / "records"
        self.quarantine = self.root / "quarantine"
        self._blanks: Blanks | None = None

    def prepare(self) -> None:
        """Make the folders that are not there yet.

        Raises
        ------
        ResourceError
            If they cannot be made.
        """
        with storage_errors(self.root):
            for folder in (self.root, self.intake, self.received, self.derived, self.records, self.quarantine):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_folder(self.root)

    def make_ahead(self, count: int = BLANKS) -> None:
        """Have files ready for objects to come, from now on: whoever receives many needs one sync for each."""
        self._blanks = Blanks(self.intake, count)
        self._blanks.fill()

    def close(self) -> None:
        """Remove what was made ahead."""
        if self._blanks is not None:
            self._blanks.close()
            self._blanks = None

    def begin(self, meta: bytes = b"") -> PartFile:
        """Start to receive an object; `meta` is what stands before its data set in the file."""
        return PartFile(self.intake, meta, self._blanks)

    def intake_path(self, name: str) -> Path:
        """Return where a just committed object is."""
        return self.intake / f"{_checked(name, _NAME)}.dcm"

    def received_path(self, name: str) -> Path:
        """Return where a received object belongs once the index that knows it is durable."""
        return self.received / _checked(name, _NAME)[:2] / f"{name}.dcm"

    def locate(self, name: str) -> Path:
        """Return where a received object is now.

        Raises
        ------
        ArchiveError
            If it is nowhere.
        """
        settled, fresh = self.received_path(name), self.intake_path(name)
        # It may move from intake/ to received/ between two looks, never back.
        for path in (settled, fresh, settled):
            if path.exists():
                return path
        raise ArchiveError(name, "the received file is gone", remedy="restore it from a backup or send it again")

    def recipe(self, name: str) -> Path:
        """Return where the recipe of a derived object is."""
        return self.derived / key_of(_checked(name, _SAFE))[:2] / f"{name}.recipe"

    def recipe_path(self, name: str) -> Path:
        """Return where the recipe of a derived object is to be written; its folder is made."""
        path = self.recipe(name)
        with storage_errors(path.name):
            _make_folder(path.parent)
        return path

    def record_path(self, name: str) -> Path:
        """Return where a durable record belongs."""
        return self.records / f"{_checked(name, _SAFE)}.json"

    def waiting(self) -> list[str]:
        """Return the names of all committed objects in ``intake/``."""
        with os.scandir(self.intake) as entries:
            names = [entry.name[:-4] for entry in entries if entry.name.endswith(".dcm")]
        return sorted(name for name in names if _NAME.match(name))

    def received_at(self, name: str) -> int:
        """Return when an object in ``intake/`` was written, in nanoseconds; 0 if it has gone from there."""
        try:
            return self.intake_path(name).stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def settle(self, names: Iterable[str]) -> int:
        """Move objects from ``intake/`` to ``received/`` and return how many were moved."""
        touched: set[Path] = set()
        moved = 0
        for name in names:
            target = self.received_path(name)
            _make_folder(target.parent)
            with contextlib.suppress(FileNotFoundError):
                os.rename(self.intake_path(name), target)
                moved += 1
                touched.add(target.parent)
            fault("checkpoint.moved")
        for folder in sorted(touched):
            sync_folder(folder)
        if touched:
            sync_folder(self.intake)
        return moved

    def settled(self) -> Iterator[list[str]]:
        """Yield the names of all objects in ``received/``, folder by folder."""
        for folder in sorted(self.received.glob("??")):
            names = [path.stem for path in folder.glob("*.dcm")]
            yield sorted(name for name in names if _NAME.match(name))

    def unsettle(self, names: Iterable[str]) -> int:
        """Move objects from ``received/`` back to ``intake/`` and return how many were moved."""
        moved = 0
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.rename(self.received_path(name), self.intake_path(name))
                moved += 1
        if moved:
            sync_folder(self.intake)
        return moved

    def remove(self, name: str) -> None:
        """Remove a received object wherever it is."""
        self.intake_path(name).unlink(missing_ok=True)
        self.received_path(name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def claimed(self, path: Path) -> Iterator[bool]:
        """Keep others off a committed file; False if it is gone or a living process holds it (`PartFile.commit`)."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            yield False
            return
        try:
            yield try_lock(descriptor) and path.exists()
        finally:
            os.close(descriptor)

    def set_aside(self, path: Path) -> bool:
        """Move a file that cannot be understood to ``quarantine/``; False if somebody else has done so."""
        try:
            os.rename(path, self.quarantine / path.name)
        except FileNotFoundError:
            return False
        sync_folder(self.quarantine)
        return True

    def keep_damaged(self, path: Path) -> None:
        """Move a damaged file to ``quarantine/``, beside what is there of it already; nothing if it is gone."""
        number = 0
        while (target := self.quarantine / f"{path.stem}.damaged-{number}{path.suffix}").exists():
            number += 1
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, target)
            sync_folder(self.quarantine)

    def settled_place(self, name: str) -> Path:
        """Return where a received object belongs; its folder is made."""
        path = self.received_path(name)
        _make_folder(path.parent)
        return path

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give an empty file for something that is needed for a while; if the process dies, a sweep removes it.

        Raises
        ------
        ResourceError
            If there is no room for it.
        """
        with storage_errors("intake"):
            path, descriptor = create_locked(self.intake, SUFFIX)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)
            os.close(descriptor)

    def sweep(self) -> int:
        """Remove what dead processes left half-written and return the number of files; what is whole gets its name."""
        removed = sum(map(rescue, self.intake.glob(f".*{SUFFIX}")))
        for folder in (self.records, self.derived, *self.derived.glob("??")):
            for path in folder.glob(".*.tmp"):
                removed += _remove_if_dead(path)
        return removed


class ReceivedSource:
    """The data set of a received file as a `ByteSource`, wherever the file is when it is read."""

    def __init__(self, files: Files, name: str, offset: int, length: int) -> None:
        self._files = files
        self._name = name
        self._offset = offset
        self.length = length

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """Yield the bytes in pieces of at most `size`.

        Raises
        ------
        ArchiveError
            If the file is gone.
        OSError
            If it has become shorter.
        """
        with self._open() as file:
            yield from read_range(file, self._offset, self.length, size, self._name)

    def _open(self) -> BinaryIO:
        try:
            return open(self._files.locate(self._name), "rb", buffering=0)
        except FileNotFoundError:  # moved after it was located; it moves only once
            return open(self._files.locate(self._name), "rb", buffering=0)


def _checked(name: str, pattern: re.Pattern[str]) -> str:
    if not pattern.match(name):
        raise ArchiveError("archive name", "is malformed", found=name[:140], expected="a name this archive has given")
    return name


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)


def _remove_if_dead(path: Path) -> bool:
    """Remove a temporary file that no living process holds."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        if not try_lock(descriptor):
            return False
        path.unlink(missing_ok=True)
        return True
    finally:
        os.close(descriptor)
