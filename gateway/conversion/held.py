"""What is known of a patient's other instances: decided about earlier, or not part of a conversion (PS3.4 C.3.5)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.conversion.facts import Facts
from gateway.conversion.references import Target

CLASSIC, ENHANCED = "classic", "enhanced"
VIEWS = (ENHANCED, CLASSIC)


class Guise(NamedTuple):
    """An object that stands for others: a multi-frame image for its frames, a rewritten copy for what it was made of.

    Attributes
    ----------
    target : Target
        Its identity, and its number of frames.
    views : frozenset of str
        Which of `VIEWS` it is in.
    sources : tuple of Target
        What it stands for, frame by frame; of a copy the one instance it was made of.
    copy : bool
        Whether it is a rewritten copy.
    """

    target: Target
    views: frozenset[str]
    sources: tuple[Target, ...]
    copy: bool


class Dependant(NamedTuple):
    """A settled instance that refers, directly or through others, to what is decided about now; with the views it would
    be in if it needed no rewritten copy.
    """

    facts: Facts
    views: frozenset[str]


@dataclass(frozen=True)
class Held:
    """What is known beyond the instances of a conversion.

    Attributes
    ----------
    dependants : sequence of Dependant
        Instances whose references may have to be rewritten now.
    guises : callable
        Objects made or received earlier, of some UIDs: those that have one of them or stand for one.
    members : callable
        SOP Instance UIDs of what is held of some series, by Series Instance UID.
    last_number : callable
        Highest Instance Number in a series, by Series Instance UID; 0 if it has none.
    fixed : mapping of str to str
        Instances that something distributed refers to, which cannot follow any more; with its name.
    """

    dependants: Sequence[Dependant] = ()
    guises: Callable[[Collection[str]], Sequence[Guise]] = lambda uids: ()
    members: Callable[[Collection[str]], Mapping[str, Sequence[str]]] = lambda uids: {}
    last_number: Callable[[str], int] = lambda series: 0
    fixed: Mapping[str, str] = field(default_factory=dict)


NOTHING = Held()
