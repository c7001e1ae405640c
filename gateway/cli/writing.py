"""Files of a result: they appear complete or not at all, never in place of another, and are written early."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.outcome import Report
from gateway.objects.uids import valid_uid

if TYPE_CHECKING:
    from gateway.objects.recipe import Recipe


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
        self._begun: dict[str, Future[Path]] = {}
        self._worker = ThreadPoolExecutor(1, "writer")

    def close(self) -> None:
        """Wait for what is being written."""
        self._worker.shutdown(cancel_futures=True)

    def begin(self, recipe: Recipe, locate: Callable[[str], Path]) -> None:
        """Write an object while it is still being proved; it gets a name by `finish`, or none."""
        partial = self.scratch / f"{recipe.sop_instance}.part"
        self._begun[recipe.sop_instance] = self._worker.submit(_fill, partial, _chunks(recipe, locate))

    def finish(self, recipe: Recipe, locate: Callable[[str], Path], study: str, series: str) -> Path:
        """Give a proved object its place in the result and return that."""
        if recipe.sop_instance not in self._begun:
            self.begin(recipe, locate)
        return self._appear(self._begun.pop(recipe.sop_instance), study, series, recipe.sop_instance, recipe.digest)

    def write(self, chunks: Iterable[bytes], study: str, series: str, instance: str, digest: str) -> Path:
        """Write an instance that needs no proof."""
        partial = self.scratch / "passed-on.part"
        return self._appear(self._worker.submit(_fill, partial, chunks), study, series, instance, digest)

    def _appear(self, written: Future[Path], study: str, series: str, instance: str, digest: str) -> Path:
        target = self._place(study, series, instance, digest)
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

    def _place(self, study: str, series: str, instance: str, digest: str) -> Path:
        """Return the path for an instance: UIDs as folders, where they are some; a digest where one has that name."""
        names = [
            uid if valid_uid(uid) else hashlib.sha256(uid.encode()).hexdigest()[:16]
            for uid in (study, series, instance)
        ]
        target = self.output.joinpath(*names).with_name(f"{names[-1]}.dcm")
        if target in self._placed:
            target = target.with_name(f"{names[-1]}-{digest[:8]}.dcm")
        self._placed.add(target)
        return target


def _chunks(recipe: Recipe, locate: Callable[[str], Path]) -> Iterable[bytes]:
    from gateway.objects.part10 import file_meta

    head = file_meta(recipe.sop_class, recipe.sop_instance, recipe.transfer_syntax)
    return itertools.chain([head], recipe.source(locate).chunks())


def _fill(partial: Path, chunks: Iterable[bytes]) -> Path:
    """Write a file durably and return its path."""
    try:
        with open(partial, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return partial


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
