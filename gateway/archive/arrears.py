"""Acknowledged objects that the index does not know although it has had its time: told, and tried again.

A registration takes a moment (`gateway.archive.registrar`). What is in the intake folder longer than that without the
index knowing it has been refused, by the disk or by SQLite: its sender has been told Success, and nothing else of the
box knows of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gateway.archive.recovery import REMEDY, RecoveryReport, take_in, unregistered
from gateway.errors import ResourceError
from gateway.observe import event, warning

if TYPE_CHECKING:
    from gateway.archive.index import Archive

# Seconds that a registration may take on a busy box.
LATE = 60.0
# Seconds between two attempts at what is late, doubled as long as none succeeds; and how long one goes on.
FIRST_PAUSE, LONGEST_PAUSE = 60.0, 960.0
LONGEST = 2.0
# File names that are told.
_NAMED = 20


def late(archive: Archive) -> list[str]:
    """Return the archive names of the acknowledged objects that should be in the index, the oldest first."""
    now = archive.clock.now()
    # A clock that was wrong when they came, or is now, must not hide them.
    return [name for name in unregistered(archive) if abs(now - archive.files.received_at(name) / 1e9) >= LATE]


def told(archive: Archive) -> dict[str, Any]:
    """Return what is not registered, for ``gateway status``.

    Returns
    -------
    dict
        ``objects`` (their number), ``since`` (when the oldest came, seconds since the epoch, or None), ``files`` (names
        in ``intake/`` of the first of them), ``remedy``.
    """
    names = late(archive)
    since = min((archive.files.received_at(name) / 1e9 for name in names), default=None)
    files = [f"{name}.dcm" for name in names[:_NAMED]]
    return {"objects": len(names), "since": since, "files": files, "remedy": REMEDY if names else ""}


class Arrears:
    """Tries what is late again while the box runs; every start does so as well (`gateway.archive.recovery`).

    Parameters
    ----------
    archive : Archive
        Of this process.
    policy : callable
        See `Archive.recover`.
    """

    def __init__(self, archive: Archive, policy: Callable[[str], tuple[bool, bool]]) -> None:
        self._archive = archive
        self._policy = policy
        self._pause = FIRST_PAUSE
        self._due = archive.clock.monotonic() + FIRST_PAUSE
        self._last = ""

    def step(self) -> int:
        """Try what is late if it is time for that, some of it; return how many objects the index knows now."""
        now = self._archive.clock.monotonic()
        if now < self._due:
            return 0
        names = sorted(late(self._archive))
        report = RecoveryReport()
        if names:
            self._try(names, report)
        self._pause = min(2 * self._pause, LONGEST_PAUSE) if report.refused and not report.indexed else FIRST_PAUSE
        self._due = now + self._pause
        return report.indexed

    def _try(self, names: list[str], report: RecoveryReport) -> None:
        """Go on behind the last one tried: those that are refused again keep no other waiting."""
        names = [name for name in names if name > self._last] + [name for name in names if name <= self._last]
        end = time.monotonic() + LONGEST
        for name in names:
            try:
                take_in(self._archive, name, self._policy, report)
            except ResourceError as error:
                report.refused.append(name)
                warning("intake.index_short", reason=error, remedy="see the reason; nothing acknowledged is lost")
                break
            self._last = name
            if time.monotonic() >= end:
                break
        event(
            "intake.tried_again",
            logging.WARNING if report.refused else logging.INFO,
            late=len(names),
            registered=report.indexed,
            refused=len(report.refused),
        )
