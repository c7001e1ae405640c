"""Checks of the data directory: stable storage, room, the index."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from gateway.archive.database import Database
from gateway.archive.index import Archive
from gateway.archive.jobs import HELD
from gateway.archive.rows import RECEIVED
from gateway.errors import GatewayError
from gateway.service.checks.base import Check, Finding
from gateway.service.config import Config

# File systems that forget at a power cut, and those whose promises depend on something else than this machine.
_FORGETFUL = frozenset(("tmpfs", "ramfs", "devtmpfs"))
_DOUBTFUL = frozenset(("nfs", "nfs4", "cifs", "smb3", "9p", "vfat", "exfat", "fuse", "fuseblk", "fuse.sshfs"))

# Mount options that let a sync return before the disk has written.
_UNSAFE_OPTIONS = frozenset(("nobarrier", "barrier=0", "data=writeback"))

INDEX = "index.sqlite3"

_SYNCS = 9
_BLOCK = 65536
# No card or disk takes a block this quickly, in seconds; a cache with a battery may.
_TOO_QUICK = 0.00003
# A card that is worn out, or not made for this; each object received waits for a sync.
_TOO_SLOW = 0.25

_LOW = 500_000_000  # bytes: a single object may be 2 GiB, and SQLite and the journal need room, too
_NEARLY = 0.9


def _size(number: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def mount_of(folder: Path) -> tuple[str, set[str]]:
    """Return type and options of the file system that holds `folder` (proc(5), mountinfo)."""
    folder = folder.resolve()
    best, found = -1, ("", set[str]())
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        before, _, after = line.partition(" - ")
        point = Path(before.split()[4].encode().decode("unicode_escape"))
        if (folder == point or point in folder.parents) and len(point.parts) >= best:
            kind, _, options = after.split()[:3]
            best, found = len(point.parts), (kind, {*options.split(","), *before.split()[5].split(",")})
    return found


def _remove_leftovers(folder: Path) -> None:
    """Remove the probes of doctors that the power has taken; another one may be at work."""
    for path in folder.glob(".doctor-*.tmp"):
        if not Path("/proc", path.name.removeprefix(".doctor-").removesuffix(".tmp")).is_dir():
            path.unlink(missing_ok=True)


def opened(check: Check, config: Config) -> Archive | Finding:
    """Return the index to read, or what a check says where there is none that can be.

    Parameters
    ----------
    check : Check
        Who wants to read it.
    config : Config
        Says where it is.
    """
    if not (config.data_dir / INDEX).exists():
        return check.skipped("", "there is no index yet; the gateway makes it when it starts")
    try:
        return Archive(config.data_dir, readonly=True)
    except GatewayError:
        return check.skipped("", "the index cannot be read")  # the check of the index says why


class Sync(Check):
    """Acknowledged means safe only where a sync means written."""

    code = "sync"
    about = "what the data directory has synced survives a power cut"

    def look(self, config: Config) -> Iterator[Finding]:
        """Judge the file system, and time syncs on it."""
        folder = config.data_dir
        if not folder.is_dir():
            yield self.skipped("", f"{folder} does not exist yet; the gateway makes it when it starts")
            return
        kind, options = mount_of(folder)
        if kind in _FORGETFUL:
            yield self.failed("", f"{folder} is on {kind}: a power cut loses everything", "put data_dir on a disk")
            return
        if unsafe := sorted(options & _UNSAFE_OPTIONS):
            remedy = "mount it without, or what was acknowledged may be lost in a power cut"
            yield self.failed("", f"{folder} is mounted with {', '.join(unsafe)}", remedy)
            return
        median = statistics.median(self._times(folder))
        told = f"{kind}, a sync takes {median * 1000:.2g} ms"
        if kind in _DOUBTFUL or kind.startswith("fuse"):
            yield self.warning("", f"{told}: whether that means written, its server decides", "use a local ext4 or XFS")
        elif median < _TOO_QUICK:
            yield self.warning("", f"{told}: quicker than any disk", "make sure that the disk's cache has a battery")
        elif median > _TOO_SLOW:
            yield self.warning("", f"{told}: each object waits for it", "replace a worn card; use one made for writing")
        else:
            yield self.ok("", told)

    def _times(self, folder: Path) -> list[float]:
        _remove_leftovers(folder)
        path = folder / f".doctor-{os.getpid()}.tmp"
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            times = []
            for _ in range(_SYNCS):
                os.write(descriptor, os.urandom(_BLOCK))
                begun = time.monotonic()
                os.fsync(descriptor)
                times.append(time.monotonic() - begun)
            return times
        finally:
            os.close(descriptor)
            path.unlink()


class Space(Check):
    """An object for which there is no room is refused."""

    code = "space"
    about = "the file system has room, and what is kept is below storage.quota"

    def look(self, config: Config) -> Iterator[Finding]:
        """Ask the file system, and the index what the received files take."""
        folder = config.data_dir
        if not folder.is_dir():
            yield self.skipped("", f"{folder} does not exist yet")
            return
        usage = shutil.disk_usage(folder)
        taken = _received(folder / INDEX)
        limit = config.storage.limit.bytes_of(usage.total)
        told = (
            f"{_size(usage.free)} of {_size(usage.total)} free, {_size(taken)} received and kept, quota {_size(limit)}"
        )
        nodes = os.statvfs(folder)
        if usage.free < _LOW:
            yield self.failed("", told, "make room, or use a larger disk: objects are going to be refused (A700)")
        elif nodes.f_files and nodes.f_favail < nodes.f_files // 100:
            yield self.failed("", f"{told}, but only {nodes.f_favail} files more", "make room: too many small files")
        elif taken > _NEARLY * limit:
            yield self.warning("", told, "raise storage.quota, use a larger disk, or see what is not delivered")
        else:
            yield self.ok("", told)


def _received(index: Path) -> int:
    """Return the bytes of the received files: the index knows, a walk through a million files takes minutes."""
    if not index.exists():
        return 0
    try:
        database = Database(index, readonly=True)
        try:
            (taken,) = database.row("SELECT ifnull(sum(length), 0) FROM instance WHERE kind = ?", (RECEIVED,)) or (0,)
        finally:
            database.close()
    except GatewayError:  # the next check says what is wrong with it
        return 0
    return int(taken)


class Index(Check):
    """Queries, conversions and deliveries work off the index."""

    code = "index"
    about = "the index is sound and of this version, and nothing is held"

    def look(self, config: Config) -> Iterator[Finding]:
        """Have SQLite check it, and look for work that waits for somebody."""
        path = config.data_dir / INDEX
        if not path.exists():
            yield self.skipped("", "there is none yet; the gateway makes it when it starts")
            return
        try:
            database = Database(path, readonly=True)
            try:
                yield from self._judge(database)
            finally:
                database.close()
        except GatewayError as error:
            remedy = error.remedy or "stop the gateway and keep a copy of data_dir before anything else"
            yield self.failed("", f"{error.problem}" + (f": {error.found}" if error.found else ""), remedy)

    def _judge(self, database: Database) -> Iterator[Finding]:
        (problem,) = database.row("PRAGMA quick_check(1)") or ("no answer",)
        if problem != "ok":
            yield self.failed("", str(problem), "stop the gateway and keep a copy of data_dir before anything else")
            return
        (studies,) = database.row("SELECT count(DISTINCT study) FROM study_tally WHERE instances > 0") or (0,)
        (held,) = database.row("SELECT count(*) FROM job WHERE state = ?", (HELD,)) or (0,)
        told = f"sound, {studies} {'study' if studies == 1 else 'studies'}"
        if held:
            yield self.warning("", f"{told}, {held} held", "see `gateway queue list`, then `gateway queue retry`")
        else:
            yield self.ok("", told)
