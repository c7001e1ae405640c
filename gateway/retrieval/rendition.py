"""In which transfer syntax an instance is offered and sent (PS3.4 C.4.2.3.1, PS3.5 section 10).

The stored syntax always comes first: what is sent in it are the stored bytes. Native little endian objects can also be
sent with the other kind of VR encoding; only their header is written anew, the pixels are the same bytes. Who is behind
a slow line can be offered native objects deflated: what that inflates to are the stored bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from pydicom.uid import UID

from gateway.archive.rows import InstanceRow
from gateway.objects.deflate import Deflated
from gateway.objects.part10 import DEFLATED, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from gateway.objects.reencode import reencode
from gateway.objects.stream import ByteSource, Outgoing
from gateway.retrieval.transcript import Outcome

# Stored syntax: syntaxes it can be sent in besides, best first.
ALTERNATIVES: dict[str, tuple[str, ...]] = {
    EXPLICIT_LITTLE: (IMPLICIT_LITTLE,),
    IMPLICIT_LITTLE: (EXPLICIT_LITTLE,),
}


@dataclass(frozen=True)
class Offer:
    """A SOP class and the transfer syntaxes wanted for it, each to be proposed in a context of its own.

    In one context a peer picks one syntax and the others are lost; in contexts of their own it can take them all.
    """

    sop_class: str
    transfer_syntaxes: tuple[str, ...]


class Sources(Protocol):
    """Whoever knows the bytes of an instance: the archive."""

    def source_of(self, row: InstanceRow, /) -> ByteSource:
        """Return the data set of `row`."""
        ...


class Rendition:
    """What is sent of an instance, and in which transfer syntaxes: here the whole of it."""

    def syntaxes(self, row: InstanceRow) -> tuple[str, ...]:
        """Return the transfer syntaxes `row` can be sent in, the stored one first."""
        return (row.transfer_syntax, *ALTERNATIVES.get(row.transfer_syntax, ()))

    def source(self, archive: Sources, row: InstanceRow, wanted: str) -> Outgoing:
        """Return the bytes of `row` in the transfer syntax that was chosen."""
        source = archive.source_of(row)
        return source if wanted == row.transfer_syntax else reencode(source, row.transfer_syntax, wanted)

    def close(self) -> None:
        """Give back what it takes to make sources; it may be used again."""


WHOLE = Rendition()


class Deflating(Rendition):
    """Another rendition, for a peer that is to get deflated what is stored in Explicit VR Little Endian (PS3.5 A.5).

    Parameters
    ----------
    other : Rendition
        What is sent of everything else, and where the peer does not take that syntax.
    """

    def __init__(self, other: Rendition) -> None:
        self._other = other

    def syntaxes(self, row: InstanceRow) -> tuple[str, ...]:
        """Return the transfer syntaxes `row` can be sent in, the deflated one first, the stored one next."""
        others = self._other.syntaxes(row)
        return (DEFLATED, *others) if row.transfer_syntax == EXPLICIT_LITTLE else others

    def source(self, archive: Sources, row: InstanceRow, wanted: str) -> Outgoing:
        """Return the bytes of `row` in the transfer syntax that was chosen."""
        if wanted == DEFLATED != row.transfer_syntax:
            return Deflated(self._other.source(archive, row, EXPLICIT_LITTLE))
        return self._other.source(archive, row, wanted)

    def close(self) -> None:
        """Give back what the other one has taken."""
        self._other.close()


def was_deflated(row: InstanceRow, outcome: Outcome) -> bool:
    """Tell whether an instance that is not stored so was sent deflated."""
    return outcome.transfer_syntax == DEFLATED != row.transfer_syntax


def offers(rows: Iterable[InstanceRow], rendition: Rendition = WHOLE) -> list[Offer]:
    """Return what has to be proposed so that every row can be sent, stored syntaxes before alternatives."""
    stored: dict[str, dict[str, None]] = {}
    further: dict[str, dict[str, None]] = {}
    for row in rows:
        first, *others = rendition.syntaxes(row)
        stored.setdefault(row.sop_class, {})[first] = None
        further.setdefault(row.sop_class, {}).update(dict.fromkeys(others))
    return [Offer(sop_class, tuple(stored[sop_class] | further[sop_class])) for sop_class in stored]


def choose(row: InstanceRow, accepted: Collection[str], rendition: Rendition = WHOLE) -> str | None:
    """Return the first transfer syntax of `row` that the peer has accepted for its class."""
    return next((syntax for syntax in rendition.syntaxes(row) if syntax in accepted), None)


def refusal(row: InstanceRow, accepted: Collection[str]) -> str:
    """Say in plain words why `row` cannot be sent to a peer that accepts only `accepted` for its class."""
    if not accepted:
        return f"peer does not accept {UID(row.sop_class).name}"
    return f"peer does not accept {UID(row.transfer_syntax).name} for {UID(row.sop_class).name}"
