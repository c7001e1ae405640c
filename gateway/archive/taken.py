"""Which transfer syntaxes destinations take, as each association with one has shown.

Remembered for the choice among the syntaxes that a caller proposes in one presentation context: what can be handed on
comes first. Nothing is refused by it, and what is not known is no more than another order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from gateway.archive.database import Database
from gateway.clock import Clock


class Taken:
    """What the destinations of one archive take.

    Parameters
    ----------
    database : Database
        The index.
    clock : Clock
        Dates what is learnt.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def learn(self, destination: str, proposed: Iterable[str], accepted: Collection[str]) -> None:
        """Note what a destination made of the transfer syntaxes that were proposed to it, of whatever SOP class."""
        known = dict(
            self._database.rows("SELECT transfer_syntax, yes FROM taken WHERE destination = ?", (destination,))
        )
        news = {syntax: int(syntax in accepted) for syntax in proposed}
        changed = [
            (destination, syntax, yes, self._clock.now()) for syntax, yes in news.items() if known.get(syntax) != yes
        ]
        if changed:
            with self._database.transaction() as connection:
                connection.executemany("INSERT OR REPLACE INTO taken VALUES (?, ?, ?, ?)", changed)

    def by_all(self, destinations: Collection[str]) -> frozenset[str]:
        """Return the transfer syntaxes that each of some destinations is known to take."""
        takers: dict[str, set[str]] = {}
        for destination, syntax in self._database.rows("SELECT destination, transfer_syntax FROM taken WHERE yes = 1"):
            takers.setdefault(syntax, set()).add(destination)
        return frozenset(syntax for syntax, found in takers.items() if found >= set(destinations))
