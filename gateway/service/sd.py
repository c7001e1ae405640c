"""What systemd is told (sd_notify(3)); nothing is said where systemd-python is missing or nobody listens."""

from __future__ import annotations

import os

try:
    from systemd import daemon
except ImportError:
    daemon = None


def notify(state: str) -> None:
    """Send `state`, such as ``READY=1``, to the service manager."""
    if daemon is not None:
        daemon.notify(state)


def watchdog_seconds() -> float | None:
    """Return how often ``WATCHDOG=1`` has to be said, with a margin of half; None when nobody waits for it."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if daemon is None or not microseconds.isdigit():
        return None
    return int(microseconds) / 2_000_000
