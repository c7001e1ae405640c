"""The clock, injectable so that tests need not wait."""

from __future__ import annotations

import time


class Clock:
    """Wall clock and sleep; a test passes a subclass that it moves by hand."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds from an arbitrary point, never going back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait for `seconds`."""
        time.sleep(seconds)
