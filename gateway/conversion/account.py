"""What became of every instance that was received, as a sum: N received = M frames + P unchanged + Q copied.

Received is what the view *received* shows: one instance for each SOP Instance UID, the sender's last version of it.
Equal copies, older versions, what else came under the same UID, and objects of this box that came back are no
instances; nor is anything that was made here. What a destination sent (a prior) is one like any other.

Each instance has one fate, the first of these that is true of it in the enhanced view:

- *pending*: nothing was decided about it yet;
- *unchanged*: it is in the view itself. It has a reason;
- *frames*: a frame stands for it there, of an object that was made of it or of one that was received (its twin);
- *copied*: a copy stands for it there that has other references and is otherwise the same. Why it is no frame is its
  reason, just as if it were unchanged;
- *unchanged*: nothing stands for it: what it would be is in the view already in another guise, which is its reason.

A received enhanced object is an instance too: unchanged, or copied. Presentation states that were made beside images
stand for none. The classic view, made of an enhanced one, has a sum of its own: N received = M turned back + P
unchanged + Q copied + R left out, because the images that they stand for are at hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.conversion.facts import Facts
    from gateway.conversion.outcome import StudyConversion

FRAMES = "frames"
UNCHANGED = "unchanged"
COPIED = "copied"
PENDING = "pending"
TURNED_BACK = "turned back"
LEFT_OUT = "left out"

# What a sum has even if it is none.
PARTS = (FRAMES, UNCHANGED, COPIED)

# Said where an instance has no reason, which is a fault.
NO_REASON = "no reason is on record"


@dataclass
class Account:
    """How many instances had which fate.

    Attributes
    ----------
    received : int
        Number of instances, counted by itself.
    parts : dict of str to int
        Numbers by fate.
    """

    received: int = 0
    parts: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Account) -> Account:
        return Account(self.received + other.received, self.parts + other.parts)

    @property
    def balanced(self) -> bool:
        """Whether the sum adds up."""
        return self.received == sum(self.parts.values())

    def words(self) -> str:
        """Return the sum as people read it."""
        named = _names(self.parts)
        return f"{self.received} received = " + " + ".join(f"{self.parts[name]} {name}" for name in named)

    def as_json(self) -> dict[str, int]:
        """Return the sum for programs."""
        named = _names(self.parts)
        return {"received": self.received} | {name.replace(" ", "_"): self.parts[name] for name in named}


def _names(parts: Mapping[str, int]) -> Sequence[str]:
    head = PARTS if TURNED_BACK not in parts else (TURNED_BACK, *PARTS[1:])
    return [*head, *(name for name in (PENDING, LEFT_OUT) if parts.get(name))]


def read(account: Mapping[str, int]) -> Account:
    """Return a sum that a program was given."""
    parts = {name.replace("_", " "): number for name, number in account.items() if name != "received"}
    return Account(account["received"], Counter(parts))


def fate_of(*, settled: bool, in_view: bool, as_frame: bool, as_copy: bool) -> str:
    """Return the fate of an instance.

    Parameters
    ----------
    settled : bool
        Whether something was decided about it.
    in_view : bool
        Whether it is in the enhanced view itself.
    as_frame : bool
        Whether a frame of an object in that view stands for it, made or received.
    as_copy : bool
        Whether a rewritten copy in that view stands for it.
    """
    if not settled:
        return PENDING
    if in_view:
        return UNCHANGED
    return FRAMES if as_frame else COPIED if as_copy else UNCHANGED


def fates(facts: Sequence[Facts], result: StudyConversion) -> Iterator[tuple[Facts, str, str]]:
    """Yield what a conversion has made of each instance: its fate, and the reason of what is no frame made of it."""
    from gateway.conversion.held import ENHANCED  # with it comes all that a conversion needs

    frames = {fact.name for made in result.objects for fact in made.planned.frames} | result.twins.keys()
    copies = {
        fact.name
        for made in result.companions
        if made.companion.replaces and ENHANCED in made.companion.views
        for fact in made.companion.sources
    }
    for fact in facts:
        in_view = ENHANCED in result.views[fact.name]
        fate = fate_of(settled=True, in_view=in_view, as_frame=fact.name in frames, as_copy=fact.name in copies)
        yield fact, fate, result.kept.get(fact.name, "")
