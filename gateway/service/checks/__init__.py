"""What ``gateway doctor`` looks at: one small class for each check, each with the reason for what it says and a remedy.

A check never raises because of what it finds, changes nothing that outlives it, and works beside a running box.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.errors import remedy_of
from gateway.service.checks.base import Check, Finding, Result
from gateway.service.checks.data import Index, Space, Sync
from gateway.service.checks.intake import Registered
from gateway.service.checks.machine import Clock, Port
from gateway.service.checks.peers import Echo
from gateway.service.checks.sound import Sound
from gateway.service.checks.suitability import KeptClassic
from gateway.service.checks.tls import Tls
from gateway.service.config import Config

__all__ = ["CHECKS", "Check", "Finding", "Result", "examine"]

CHECKS: tuple[Check, ...] = (
    Clock(),
    Sync(),
    Space(),
    Index(),
    Registered(),
    Sound(),
    KeptClassic(),
    Port(),
    Tls(),
    Echo(),
)


def examine(config: Config) -> Iterator[Finding]:
    """Yield what every check finds, in the order of the layers: machine, disk, index, network."""
    for check in CHECKS:
        try:
            yield from check.look(config)
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            yield check.failed("", f"{error.strerror or error}{where}", remedy_of(error))
