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
from gateway.errors import DamagedError, ObjectError
from gateway.objects.deflate import Deflated, Inflated
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


class CannotSend(ObjectError):
    """An instance cannot be brought into the transfer syntax that was chosen.

    Parameters
    ----------
    what : str
        What was tried: ``"decoded"`` or ``"re-encoded"``.
    error : ObjectError
        Why it cannot.
    """

    def __init__(self, what: str, error: ObjectError) -> None:
        self.what = what
        self.why = error.found if isinstance(error.found, str) and what == "decoded" else str(error)
        super().__init__(error.subject, f"cannot be {what}: {self.why}")


class Rendition:
    """What is sent of an instance, and in which transfer syntaxes: here the whole of it."""

    def syntaxes(self, row: InstanceRow) -> tuple[str, ...]:
        """Return the transfer syntaxes `row` can be sent in, the stored one first."""
        return (row.transfer_syntax, *ALTERNATIVES.get(row.transfer_syntax, ()))

    def source(self, archive: Sources, row: InstanceRow, wanted: str) -> Outgoing:
        """Return the bytes of `row` in the transfer syntax that was chosen."""
        source = archive.source_of(row)
        return source if wanted == row.transfer_syntax else converted(source, row.transfer_syntax, wanted)

    def obstacle(self, row: InstanceRow) -> str:
        """Return why `row` cannot be decoded for who takes only native syntaxes, empty if it can or need not be."""
        return ""

    def close(self) -> None:
        """Give back what it takes to make sources; it may be used again."""


WHOLE = Rendition()


def converted(source: ByteSource, stored: str, wanted: str) -> ByteSource:
    """Return the bytes of a native data set in another native syntax; its pixel data are the same samples.

    Raises
    ------
    CannotSend
        If the other syntax cannot carry what it holds.
    DamagedError
        If the data set is not what was stored.
    """
    held = source
    try:
        if stored == DEFLATED:
            source, stored = Inflated(source), EXPLICIT_LITTLE
        return source if wanted == stored else reencode(source, stored, wanted)
    except DamagedError:
        raise
    except ObjectError as error:
        for _ in held.chunks():  # what was damaged is no reason to say that it never could be sent
            pass
        raise CannotSend("re-encoded", error) from error


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

    def obstacle(self, row: InstanceRow) -> str:
        """Return why `row` cannot be decoded; see `Rendition.obstacle`."""
        return self._other.obstacle(row)

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


def refusal(
    row: InstanceRow,
    accepted: Collection[str],
    rendition: Rendition = WHOLE,
    *,
    peer: str = "the peer",
    unknown: bool | None = None,
) -> str:
    """Say in plain words why `row` cannot be sent to a peer that accepts only `accepted` for its class.

    Parameters
    ----------
    row, accepted, rendition
        See `choose`.
    peer : str
        What the peer is called.
    unknown : bool, optional
        Whether the peer has said that it does not know the class, in whatever transfer syntax; None if not asked.
    """
    name, syntax = UID(row.sop_class).name, UID(row.transfer_syntax).name
    obstacle = rendition.obstacle(row)
    if not accepted and not obstacle:
        # It knows the class, or says no otherwise: a class of which it takes other syntaxes is not refused (T11).
        offered = "" if unknown is not False else f" as {_either(rendition.syntaxes(row))}"
        return f"peer does not accept {name}{offered}"
    if unknown:
        # Nothing but the stored syntax was proposed, and not every peer answers with the right result.
        return f"{peer} does not accept {name}, or not as {syntax}, and it cannot be decoded: {obstacle}"
    if not obstacle:
        return f"peer does not accept {syntax} for {name}"
    return f"{peer} takes no {syntax} for {name}, and it cannot be decoded: {obstacle}"


def _either(syntaxes: Iterable[str]) -> str:
    *others, last = (str(UID(syntax).name) for syntax in syntaxes)
    return f"{', '.join(others)} or {last}" if others else last


def unsendable(row: InstanceRow, error: CannotSend, peer: str) -> str:
    """Say in plain words why `row` is not sent, though a peer takes a syntax that it was to be brought into."""
    syntax, name = UID(row.transfer_syntax).name, UID(row.sop_class).name
    return f"{peer} takes no {syntax} for {name}, and it cannot be {error.what}: {error.why}"
