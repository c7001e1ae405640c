"""Files of a result: they appear complete or not at all, never in place of another, and are written early."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from io import FileIO
from pathlib import Path
from queue import SimpleQueue
from threading import BoundedSemaphore
from typing import TYPE_CHECKING

from gateway.cli.outcome import Report
from gateway.objects.recipe import digest_of
from gateway.objects.stream import write_back
from gateway.objects.uids import valid_uid

if TYPE_CHECKING:
    from gateway.objects.recipe import Recipe

# Pieces that may wait to be written, and bytes after which the disk begins to write them.
_WAITING = 4
_WRITTEN_BACK = 16 << 20


class Writer:
    """Writes the instances of one run.

    Parameters
    ----------
    output : Path
        The folder of the result.
    scratch : Path
        A folder on the same file system for what is not complete yet.
    report : Report
        Gets what cannot be written.
    """

    def __init__(self, output: Path, scratch: Path, report: Report) -> None:
        self.output = output
        self.scratch = scratch
        self.report = report
        self._placed: set[Path] = set()
        self._written: dict[str, Future[Path]] = {}
        self._worker = ThreadPoolExecutor(2, "writer")

    def close(self) -> None:
        """Wait for what is being written."""
        self._worker.shutdown(cancel_futures=True)

    def sink(self, recipe: Recipe) -> FileSink:
        """Return what writes an object while it is being proved; it gets a name by `finish`, or none."""
        from gateway.objects.part10 import file_meta

        sink = FileSink(file_meta(recipe.sop_class, recipe.sop_instance, recipe.transfer_syntax))
        partial = self.scratch / f"{recipe.sop_instance}.part"
        if recipe.sop_instance in self._written:
            wait([self._written[recipe.sop_instance]])  # an attempt that failed
        self._written[recipe.sop_instance] = self._worker.submit(sink.write_to, partial)
        return sink

    def finish(self, recipe: Recipe, locate: Callable[[str], Path], study: str, series: str) -> Path:
        """Give a proved object its place in the result and return that."""
        written = self._written.pop(recipe.sop_instance, None)
        if written is None:
            with self.sink(recipe) as sink:
                for chunk in recipe.source(locate).chunks():
                    sink.update(chunk)
            written = self._written.pop(recipe.sop_instance)
        target = self._place(
            study, series, recipe.sop_instance, lambda: recipe.digest or digest_of(recipe.source(locate))
        )
        return self._appear(written, target)

    def write(self, chunks: Iterable[bytes], study: str, series: str, instance: str, digest: str) -> Path:
        """Write an instance that needs no proof."""
        partial = self.scratch / "passed-on.part"
        target = self._place(study, series, instance, lambda: digest)
        return self._appear(self._worker.submit(_fill, partial, chunks), target)

    def _appear(self, written: Future[Path], target: Path) -> Path:
        partial = None
        try:
            partial = written.result()
            target.parent.mkdir(parents=True, exist_ok=True)
            _link(partial, target)
        except FileExistsError:
            self.report.failed.append(f"{target}: exists already; nothing is overwritten")
        except OSError as error:
            self.report.failed.append(f"{target}: cannot be written: {error.strerror or error}")
        finally:
            if partial is not None:
                with contextlib.suppress(OSError):
                    partial.unlink(missing_ok=True)
        return target

    def _place(self, study: str, series: str, instance: str, digest: Callable[[], str]) -> Path:
        """Return the path for an instance: UIDs as folders, where they are some; a digest where one has that name."""
        names = [
            uid if valid_uid(uid) else hashlib.sha256(uid.encode()).hexdigest()[:16]
            for uid in (study, series, instance)
        ]
        target = self.output.joinpath(*names).with_name(f"{names[-1]}.dcm")
        if target in self._placed:
            target = target.with_name(f"{names[-1]}-{digest()[:8]}.dcm")
        self._placed.add(target)
        return target


class FileSink:
    """The bytes of an object on their way to a file, written by another thread.

    Parameters
    ----------
    head : bytes
        What stands in the file before them.
    """

    def __init__(self, head: bytes) -> None:
        # Few pieces: what waits to be written is held in memory.
        self._pieces: SimpleQueue[bytes | None] = SimpleQueue()
        self._room = BoundedSemaphore(_WAITING)
        self._pieces.put(head)

    def __enter__(self) -> FileSink:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        self._pieces.put(None)

    def update(self, piece: bytes) -> None:
        """Take in the next bytes, once there is room for them."""
        self._room.acquire()
        self._pieces.put(piece)

    def hexdigest(self) -> str:
        """Return nothing: of a file that is written no digest is kept."""
        return ""

    def write_to(self, partial: Path) -> Path:
        """Write everything that comes to a file and return its path."""
        pieces = iter(self._pieces.get, None)
        try:
            return _fill(partial, self._taken(pieces))
        except BaseException:
            for _ in self._taken(pieces):
                pass  # nobody shall wait for room in vain
            raise

    def _taken(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            yield piece
            with contextlib.suppress(ValueError):  # the head waits for no room
                self._room.release()


def _fill(partial: Path, chunks: Iterable[bytes]) -> Path:
    """Write a file durably and return its path."""
    try:
        with open(partial, "wb", buffering=0) as file:
            begun = position = 0
            for chunk in chunks:
                position += _write_all(file, chunk)
                if position - begun >= _WRITTEN_BACK:
                    write_back(file.fileno(), begun, position - begun)
                    begun = position
            os.fsync(file.fileno())
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return partial


def _write_all(file: FileIO, chunk: bytes) -> int:
    left = memoryview(chunk)
    while left:
        left = left[file.write(left) :]
    return len(chunk)


def _link(partial: Path, target: Path) -> None:
    """Give a complete file its name unless another has it; sticks and network shares may know no links."""
    try:
        os.link(partial, target)
    except FileExistsError:
        raise
    except OSError:
        if target.exists():
            raise FileExistsError(target) from None
        partial.rename(target)
