"""What happened to each instance of a retrieval, counted so that the counts always add up (PS3.4 C.4.2.1.5 to 9)."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.archive.rows import InstanceRow
from gateway.errors import NetworkError
from gateway.standard.statuses import Kind, describe, kind_of

SUCCESS = 0x0000
PENDING = 0xFF00
CANCELLED = 0xFE00
ONE_OR_MORE_FAILED = 0xB000
UNABLE_TO_PERFORM = 0xA702


class Fate(enum.StrEnum):
    """What became of an instance that was to be sent."""

    DELIVERED = "delivered"
    WARNING = "warning"  # the peer has it, and has something to say about it
    FAILED = "failed"  # the peer answered a failure
    REFUSED = "refused"  # the peer takes neither its SOP class nor a transfer syntax we can offer; nothing was sent
    UNSENDABLE = "unsendable"  # it cannot be brought into a transfer syntax that the peer takes; nothing was sent
    UNREADABLE = "unreadable"  # our own copy could not be read
    INTERRUPTED = "interrupted"  # the connection broke after the first byte and before the answer
    UNSENT = "unsent"  # the connection broke, or never came about, before it was its turn


# The states that the count of completed, of warnings and of failures in a response stand for.
_COMPLETED, _WARNING = (Fate.DELIVERED,), (Fate.WARNING,)
_FAILED = (Fate.FAILED, Fate.REFUSED, Fate.UNSENDABLE, Fate.UNREADABLE, Fate.INTERRUPTED, Fate.UNSENT)


_FATES = {Kind.SUCCESS: Fate.DELIVERED, Kind.WARNING: Fate.WARNING}


@dataclass(frozen=True)
class Outcome:
    """The answer to one C-STORE, or why there was none.

    Parameters
    ----------
    status : int
        Status of the response (PS3.4 B.2.3); for an instance that was not answered the status that describes it best.
    comment : str
        Error Comment of the peer, or the reason in plain words.
    local : Fate or None
        Set when the peer did not answer.
    transfer_syntax : str
        In which it was sent, empty when it was not.
    """

    status: int
    comment: str = ""
    local: Fate | None = None
    transfer_syntax: str = ""

    @property
    def fate(self) -> Fate:
        """What became of the instance."""
        if self.local is not None:
            return self.local
        return _FATES.get(kind_of(self.status), Fate.FAILED)

    @property
    def reason(self) -> str:
        """What it comes to in plain words: the status by name with what the peer has added, or why there was none."""
        return self.comment if self.local is not None and self.comment else describe(self.status, self.comment)

    @property
    def delivered(self) -> bool:
        """Whether the peer has taken the instance, with or without a warning."""
        return self.fate in (Fate.DELIVERED, Fate.WARNING)


class Transcript:
    """The outcomes of a set of instances.

    Parameters
    ----------
    rows : sequence of InstanceRow
        The instances, each a sub-operation.

    Attributes
    ----------
    outcomes : list of Outcome or None
        For each row its outcome; None while it remains to be sent.
    broken : str
        Why the connection broke or never came about, in plain words; empty when it did not.
    error : NetworkError or None
        The same as it was raised, where the connection was ours.
    cancelled : bool
        Whether the retrieval was stopped before its end on request.
    """

    def __init__(self, rows: Sequence[InstanceRow]) -> None:
        self.rows = tuple(rows)
        self.outcomes: list[Outcome | None] = [None] * len(self.rows)
        self.broken = ""
        self.error: NetworkError | None = None
        self.cancelled = False
        self._fates: Counter[Fate] = Counter()

    def record(self, index: int, outcome: Outcome) -> None:
        """Set the outcome of the row at `index`, once."""
        assert self.outcomes[index] is None, "an instance has one outcome"
        self.outcomes[index] = outcome
        self._fates[outcome.fate] += 1

    def broke_off(self, reason: str | NetworkError, in_flight: int | None = None) -> None:
        """Give every instance without an outcome the one that a broken connection leaves it with."""
        if isinstance(reason, NetworkError):
            self.error, reason = reason, reason.problem
        self.broken = reason
        for index, outcome in enumerate(self.outcomes):
            if outcome is None:
                fate = Fate.INTERRUPTED if index == in_flight else Fate.UNSENT
                self.record(index, Outcome(UNABLE_TO_PERFORM, reason, fate))

    @property
    def completed(self) -> int:
        """Number of Completed Sub-operations."""
        return self._count(_COMPLETED)

    @property
    def warning(self) -> int:
        """Number of Warning Sub-operations."""
        return self._count(_WARNING)

    @property
    def failed(self) -> int:
        """Number of Failed Sub-operations."""
        return self._count(_FAILED)

    @property
    def remaining(self) -> int:
        """Number of Remaining Sub-operations."""
        return len(self.rows) - sum(self._fates.values())

    def _count(self, fates: Sequence[Fate]) -> int:
        return sum(self._fates[fate] for fate in fates)

    def having(self, *fates: Fate) -> list[InstanceRow]:
        """Return the rows that met one of `fates`."""
        return [row for row, outcome in zip(self.rows, self.outcomes, strict=True) if outcome and outcome.fate in fates]

    def failed_instances(self) -> list[str]:
        """Return the Failed SOP Instance UID List (0008,0058)."""
        return [row.sop_instance for row in self.having(*_FAILED)]

    def final_status(self) -> int:
        """Return the status of the final response (PS3.4 C.4.2.3.1)."""
        if self.cancelled and self.remaining:
            return CANCELLED
        if not self.failed and not self.warning:
            return SUCCESS
        # Warnings only are B000; failures only are a failure, never B000.
        return ONE_OR_MORE_FAILED if self.completed or self.warning else UNABLE_TO_PERFORM

    def reason(self) -> str:
        """Return in plain words why not everything was delivered, empty when everything was."""
        if self.broken:
            return self.broken
        return next((outcome.reason for outcome in self.outcomes if outcome and not outcome.delivered), "")
