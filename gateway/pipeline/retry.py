"""How long to wait before the next attempt: longer every time, and never exactly as long as anybody else.

How long a destination is left alone depends on how long it has been away, not on how often somebody has tried: many
studies that wait for it do not make it wait longer.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """Growing delay with jitter.

    Attributes
    ----------
    first : float
        Seconds before the second attempt; small, because most outages are short.
    longest : float
        Limit of the delay. There is no limit of attempts: a retry that stops is a study that is lost.
    factor : float
        By which the delay grows with each attempt.
    spread : float
        Share by which a delay is made longer or shorter at random, so that boxes that lost their PACS at the same
        moment do not all come back at the same moment.
    random : callable
        Returns a number from 0 to 1.
    """

    first: float = 2.0
    longest: float = 600.0
    factor: float = 2.0
    spread: float = 0.2
    random: Callable[[], float] = random.random

    def delay(self, attempt: int) -> float:
        """Return the seconds to wait after the `attempt`-th failure in a row, counted from 1."""
        # The exponent is limited because a float is; 2**64 is beyond any limit that makes sense.
        return self._spread(self.first * self.factor ** min(attempt - 1, 64))

    def after(self, seconds: float) -> float:
        """Return the seconds to wait for what has been out of order for some; in a row they are those of `delay`."""
        return self._spread(self.first + (self.factor - 1) * max(0.0, seconds))

    def _spread(self, nominal: float) -> float:
        return min(self.longest, nominal) * (1 + self.spread * (2 * self.random() - 1))


@dataclass
class Outage:
    """A time in which a destination takes nothing from anybody.

    Attributes
    ----------
    since, until : float
        When it began, and before when nobody asks again; of the monotonic clock.
    reason : str
        Why, in plain words.
    busy : bool
        It is there and says that it is short of something: only what it stores ends that.
    attempts : int
        How often it was found so.
    """

    since: float
    until: float
    reason: str
    busy: bool = False
    attempts: int = 1
