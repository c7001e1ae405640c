"""What the box may commit to: whether an instance is safe, here or at the destinations (PS3.4 annex J).

``[commitment] means`` says which. At a destination an instance is safe when every object that carries it there is: a
converted image gets there in another object only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.archive import collisions
from gateway.archive.carriers import Carriers
from gateway.archive.custody import COMMITTED as COMMITTED_THERE
from gateway.archive.custody import DELIVERED, REFUSED, Decision, Standing
from gateway.archive.due import origins
from gateway.archive.index import Archive
from gateway.archive.promises import COMMITTED, Reference, Verdict
from gateway.archive.rows import DERIVED, InstanceRow
from gateway.archive.views import View
from gateway.errors import GatewayError
from gateway.standard.commitment import (
    CLASS_INSTANCE_CONFLICT,
    NO_SUCH_OBJECT,
    PROCESSING_FAILURE,
    REFERENCED_PIXELS,
)


class Waiting(NamedTuple):
    """Nothing can be said about an instance yet, and why, in plain words."""

    reason: str


class Place(NamedTuple):
    """A destination: its AE title, the view it gets unless another is decided on, and whether it has to commit."""

    name: str
    view: View
    commits: bool


@dataclass(frozen=True)
class Terms:
    """On which the box commits.

    Attributes
    ----------
    delivered : bool
        Whether commitment means that every destination has an instance, else that it is stored here.
    places : tuple of Place
        The destinations.
    titles : mapping of str to View
        AE titles of the box, that of ``[gateway]`` first, and the view each possesses.
    """

    delivered: bool = True
    places: tuple[Place, ...] = ()
    titles: Mapping[str, View] = field(default_factory=dict)


class Judge:
    """Judges the references of one request at one time.

    Parameters
    ----------
    archive : Archive
        What is held, and where it has got.
    terms : Terms
        On which the box commits.
    called : str
        AE title of the box that was asked.
    """

    def __init__(self, archive: Archive, terms: Terms, called: str) -> None:
        self._archive = archive
        self._terms = terms
        self._called = called
        self._decisions: dict[tuple[str, str], Decision | None] = {}
        self._standings: dict[tuple[str, str], dict[str, Standing]] = {}
        self._recipes: dict[str, str] = {}
        self._several: dict[str, int] = {}

    def judge(self, references: Sequence[Reference]) -> Iterator[tuple[Reference, Verdict | Waiting]]:
        """Yield what can be said about each of some references."""
        rows = {row.sop_instance: row for row in self._archive.instances([one.sop_instance for one in references])}
        self._several = collisions.images(self._archive, rows.keys())
        carriers = Carriers(self._archive, rows.values()) if self._terms.delivered else None
        for reference in references:
            row = rows.get(reference.sop_instance)
            if row is None:
                yield reference, Verdict(NO_SUCH_OBJECT, "is not held here")
            else:
                yield reference, self._flaw(reference, row) or self._custody(row, carriers)

    def _flaw(self, reference: Reference, row: InstanceRow) -> Verdict | None:
        """Return why the box can never commit to what it holds of a reference."""
        if images := self._several.get(row.sop_instance):
            return Verdict(PROCESSING_FAILURE, f"{images} different images came under this UID; which is meant?")
        if row.sop_class != reference.sop_class:
            return Verdict(CLASS_INSTANCE_CONFLICT, f"is of class {row.sop_class}")
        if row.transfer_syntax in REFERENCED_PIXELS:  # J.1.1
            name = REFERENCED_PIXELS[row.transfer_syntax]
            return Verdict(PROCESSING_FAILURE, f"its pixel data are elsewhere ({name})")
        if row.kind == DERIVED and not row.views:
            return Verdict(NO_SUCH_OBJECT, "was replaced by an object made of corrected images")
        missing = self._missing(row)
        return Verdict(NO_SUCH_OBJECT, missing) if missing else None

    def _missing(self, row: InstanceRow) -> str:
        """Return what is not on disk of an instance, empty if all is."""
        if row.name not in self._recipes:
            self._recipes[row.name] = self._lacks(row)
        return self._recipes[row.name]

    def _lacks(self, row: InstanceRow) -> str:
        try:
            self._archive.path_of(row)
            if row.kind == DERIVED:
                for name in self._archive.recipe_of(row).sources:
                    self._archive.files.locate(name)
        except (GatewayError, OSError) as error:
            return str(error)
        return ""

    def _custody(self, row: InstanceRow, carriers: Carriers | None) -> Verdict | Waiting:
        """Say where an instance is safe."""
        places = [one for one in self._terms.places if one.name != row.peer]
        if carriers is None or row.prior or not places:
            if self._archive.damage.marked(row.name):
                return Verdict(PROCESSING_FAILURE, "its copy here is damaged; send it again")
            return Verdict(COMMITTED, retrieve_ae=self._title(row))
        if not row.settled:
            return Waiting("waits for its conversion")
        for place in places:
            found = self._at(place, row, carriers)
            if found is not None:
                return found
        return Verdict(COMMITTED)

    def _title(self, row: InstanceRow) -> str:
        """Return the AE title of the box that an instance can be retrieved from: that called, if it can."""
        titles = self._terms.titles
        return next((title for title in (self._called, *titles) if titles.get(title, View(0)) & row.views), "")

    def _at(self, place: Place, row: InstanceRow, carriers: Carriers) -> Verdict | Waiting | None:
        """Return what keeps an instance from being safe at a destination, None if nothing does."""
        found = carriers.of(row, self._view(row, place))
        if not found:
            return Waiting(f"is in no object for {place.name}")
        for carrier in found:
            if carrier.prior or carrier.peer == place.name:
                continue  # the destination had it first
            standing = self._standing(carrier.study, place.name).get(carrier.sop_instance)
            if standing is None or standing.digest != carrier.digest:
                return Waiting(f"waits for its delivery to {place.name}")
            if standing.state not in (_COMMITTED if place.commits else _THERE):
                return _short_of(place, standing)
        return None

    def _view(self, row: InstanceRow, place: Place) -> View:
        """Return the view that a series goes to a destination in."""
        key = (row.study, place.name)
        if key not in self._decisions:
            self._decisions[key] = self._archive.custody.decision(*key)
        decision = self._decisions[key]
        if decision is None:
            return place.view
        return (
            decision.form_of(origins(self._archive, (row,))[row.sop_instance]).view
            if decision.series
            else decision.view
        )

    def _standing(self, study: str, destination: str) -> dict[str, Standing]:
        key = (study, destination)
        if key not in self._standings:
            self._standings[key] = self._archive.custody.standing(*key)
        return self._standings[key]


_COMMITTED = (COMMITTED_THERE,)
_THERE = (DELIVERED, COMMITTED_THERE)


def _short_of(place: Place, standing: Standing) -> Verdict | Waiting:
    """Return what a destination says of an object that it does not have or has not committed to."""
    why = f": {standing.reason}" if standing.reason else ""
    if standing.state != REFUSED:
        return Waiting(f"{standing.state} at {place.name}{why}")
    # What it does not have (any more) is delivered again; what it will not take is not.
    if standing.commitment == REFUSED:
        if standing.failure in (None, NO_SUCH_OBJECT):
            return Waiting(f"refused by {place.name}{why}")
        return Verdict(standing.failure or PROCESSING_FAILURE, f"{place.name} does not commit to it{why}")
    return Verdict(PROCESSING_FAILURE, f"not deliverable to {place.name}{why}")
