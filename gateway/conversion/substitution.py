"""Who stands for whom in a view, while a plan is made and when it is done (PS3.4 C.3.5, REQUIREMENTS G20 to G23).

In the enhanced view a frame stands for each converted image; a rewritten copy stands in its view for what it was made
of. What is not in a view at all, such as an enhanced object in the classic one, stands for its sources.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from gateway.conversion.facts import Facts
from gateway.conversion.held import Guise
from gateway.conversion.references import Became, InSeries, PerFrame, Target


class Identified(Protocol):
    """A new object, whose UIDs may not be known yet, or the identity of one that exists."""

    @property
    def sop_class(self) -> str:
        """SOP Class UID."""

    @property
    def sop_instance(self) -> str:
        """SOP Instance UID, empty as long as it has none."""

    @property
    def series(self) -> str:
        """Series Instance UID."""

    @property
    def study(self) -> str:
        """Study Instance UID."""


class Place(NamedTuple):
    """An object, or one of its frames."""

    what: Identified
    frame: int = 0
    frames: int = 0

    def target(self) -> Target:
        """Return it as what references name."""
        what = self.what
        return Target(what.sop_class, what.sop_instance, what.series, what.study, self.frame, self.frames)


class Substitution:
    """What stands for instances in one view.

    Parameters
    ----------
    view : str
        ``"enhanced"`` or ``"classic"``.
    """

    def __init__(self, view: str) -> None:
        self.view = view
        self.instead: dict[str, Place] = {}
        self.absent: dict[str, Guise] = {}
        self._series: dict[str, str] = {}
        self._members: dict[str, tuple[str, ...]] = {}

    def take(self, guise: Guise) -> None:
        """Take in an object that exists."""
        if self.view not in guise.views:
            self.absent.setdefault(guise.target.sop_instance, guise)
            return
        for number, source in enumerate(guise.sources, 1):
            place = Place(guise.target) if guise.copy else Place(guise.target, number, guise.target.frames)
            self.instead.setdefault(source.sop_instance, place)

    def know_series(self, members: Mapping[str, Sequence[str]]) -> None:
        """Take in which instances a series has that something refers to as a whole."""
        for series, uids in members.items():
            known = dict.fromkeys((*self._members.get(series, ()), *uids))
            self._members[series] = tuple(known)
            self._series.update(dict.fromkeys(uids, series))

    def replaces(self, uid: str) -> bool:
        """Tell whether an instance, or any of a series, is something else in this view."""
        if uid in self.instead or uid in self.absent:
            return True
        return any(self.replaces(member) for member in self._members.get(uid, ()) if member != uid)

    def series_of(self, uid: str) -> str:
        """Return the series of an instance if something may refer to that as a whole."""
        return self._series.get(uid, "")

    def places(self, uid: str) -> list[Place]:
        """Return what an instance is in this view: one place, or one for each of its frames; none if it is itself."""
        place = self.instead.get(uid)
        if place is not None:
            # A received enhanced object may have a rewritten copy itself.
            deeper = self.instead.get(place.what.sop_instance)
            return [place if deeper is None or deeper.frame else Place(deeper.what, place.frame, place.frames)]
        guise = self.absent.get(uid)
        if guise is None:
            return []
        return [self._of_source(source) for source in guise.sources]

    def _of_source(self, source: Target) -> Place:
        found = self.instead.get(source.sop_instance)
        return self.places(source.sop_instance)[0] if found is not None else Place(source)

    def series_places(self, series: str) -> Iterator[Place | None]:
        """Yield what the instances of a series are in this view, None for one that is itself."""
        for uid in self._members.get(series, ()):
            yield from self.places(uid) or (None,)

    def became(self) -> Became:
        """Return the reference map of this view, once every object has its UIDs."""
        found: dict[str, Target | PerFrame | InSeries] = {}
        for uid in (*self.instead, *self.absent):
            targets = tuple(place.target() for place in self.places(uid))
            whole = uid in self.instead or self.absent[uid].copy
            found[uid] = targets[0] if whole else PerFrame(targets)
        for series in self._members:
            if self.replaces(series):
                places = list(self.series_places(series))
                names = {series if place is None else place.what.series for place in places}
                found[series] = InSeries(tuple(sorted(names)))
        return found


def series_members(facts: Iterable[Facts], wanted: Collection[str]) -> dict[str, list[str]]:
    """Return the instances of those series that something refers to as a whole."""
    found: dict[str, list[str]] = {}
    for fact in facts:
        if fact.series in wanted:
            found.setdefault(fact.series, []).append(fact.sop_instance)
    return found
