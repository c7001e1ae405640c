"""UIDs, series and numbers of what is planned (PS3.4 C.3.5): a function of sources, settings and edition."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from gateway.conversion.facts import Facts
from gateway.conversion.identity import EDITION, Identity
from gateway.conversion.planned import Frozen, Planned
from gateway.conversion.substitution import Place, Substitution
from gateway.conversion.updates import Update
from gateway.objects.uids import derived_uid

Node = Planned | Update
Resolve = Callable[[str], tuple[str, str] | None]


def assign_series(objects: Sequence[Planned], identity: Identity, frozen: Sequence[Frozen]) -> None:
    """Give every object its series, number and UIDs.

    Objects of one source series whose series-level attributes agree share a derived series (G11). A late object joins
    a series that exists if its attributes hold for it, which includes that it started no earlier.
    """
    by_series: dict[tuple[str, str], list[Planned]] = defaultdict(list)
    for planned in objects:
        by_series[planned.source_series, planned.series_attributes].append(planned)
    for (source_series, attributes), members in by_series.items():
        start = min((planned.survey.series_start for planned in members), key=lambda s: (not s[0], s))
        older = [f for f in frozen if (f.source_series, f.series_attributes) == (source_series, attributes)]
        joined = [f for f in older if f.series_start <= start]
        if joined:
            uid, start = joined[0].series, joined[0].series_start
            number = max(item.instance_number for item in joined if item.series == uid)
        else:
            contents = [part for planned in members for part in _contents(planned)]
            uid, number = _uid("series", identity, source_series, attributes, *contents), 0
        for planned in members:
            number += 1
            planned.series, planned.instance_number, planned.series_start = uid, number, start


class _Names:
    """The SOP Instance UIDs of the new objects of one view.

    An object's bytes follow from its sources and from what those refer to: whether a target is another one now, and
    where it is. So does its UID: one UID never stands for two contents. Objects are named when all that they refer to
    are; those that refer to each other are named together (Tarjan's strongly connected components).
    """

    def __init__(self, nodes: Sequence[Node], identity: Identity, substitution: Substitution, resolve: Resolve) -> None:
        self.identity = identity
        self.substitution = substitution
        self.resolve = resolve
        self.contents = {id(node): _content(node, identity) for node in nodes}
        self.targets = {id(node): self._targets(node) for node in nodes}
        self._order: dict[int, int] = {}
        self._low: dict[int, int] = {}
        self._open: list[Node] = []
        self._is_open: set[int] = set()

    def _targets(self, node: Node) -> list[tuple[str, Place | None]]:
        """Return each UID that an object refers to with each place it has now, None if it stays what it is."""
        found: list[tuple[str, Place | None]] = []
        for uid in sorted({uid for fact in sources(node) for uid in (*fact.references, *fact.other_references)}):
            places: list[Place | None] = [*self.substitution.places(uid)] or list(self.substitution.series_places(uid))
            found.extend((uid, place) for place in (places or [None]))
        return found

    def name(self, root: Node) -> None:
        """Name an object and, before it, everything it refers to."""
        if id(root) in self._order:
            return
        path = [(root, self._enter(root))]
        while path:
            node, successors = path[-1]
            following = next(successors, None)
            if following is None:
                path.pop()
                self._leave(node)
                if path:
                    self._reach(path[-1][0], self._low[id(node)])
            elif id(following) not in self._order:
                path.append((following, self._enter(following)))
            elif id(following) in self._is_open:
                self._reach(node, self._order[id(following)])

    def _enter(self, node: Node) -> Iterator[Node]:
        self._order[id(node)] = self._low[id(node)] = len(self._order)
        self._open.append(node)
        self._is_open.add(id(node))
        # What exists already has its name.
        return iter([p.what for _, p in self.targets[id(node)] if p and isinstance(p.what, Planned | Update)])

    def _reach(self, node: Node, order: int) -> None:
        self._low[id(node)] = min(self._low[id(node)], order)

    def _leave(self, node: Node) -> None:
        if self._low[id(node)] != self._order[id(node)]:
            return
        at = next(n for n, one in enumerate(self._open) if one is node)
        together, self._open[at:] = self._open[at:], []
        parts = sorted({part for one in together for part in self._parts(one)})
        if len(together) > 1:
            parts = sorted([*parts, *(self.contents[id(one)] for one in together)])
        for one in together:
            self._is_open.discard(id(one))
            one.sop_instance = _uid("object", self.identity, self.contents[id(one)], *parts)

    def _parts(self, node: Node) -> Iterator[str]:
        """Yield what the targets of an object contribute to its name."""
        for uid, place in self.targets[id(node)]:
            if place is None:
                if isinstance(node, Planned):  # whose evidence says where an instance is
                    yield f"{uid} {self.resolve(uid)}"
                continue
            what = self.contents[id(place.what)] if id(place.what) in self._is_open else place.what.sop_instance
            yield f"{uid} {what} {place.what.series} {place.frame} {place.frames}"


def assign_uids(nodes: Sequence[Node], identity: Identity, substitution: Substitution, resolve: Resolve) -> None:
    """Give every new object of a view its SOP Instance UID.

    Parameters
    ----------
    nodes : sequence
        Multi-frame images and rewritten copies.
    identity : Identity
        Settings that enter UIDs.
    substitution : Substitution
        Who stands for whom in the view.
    resolve : callable
        Study and series of instances that are held, by SOP Instance UID.
    """
    for node in nodes:
        if isinstance(node, Planned):
            node.organization = _uid("dimensions", identity, node.indices.organization)
    names = _Names(nodes, identity, substitution, resolve)
    for node in nodes:
        names.name(node)


def sources(node: Node) -> Sequence[Facts]:
    """Return the instances that an object is made of."""
    return node.frames if isinstance(node, Planned) else node.sources


def _content(node: Node, identity: Identity) -> str:
    """Return a digest of everything that makes an object but for what it refers to."""
    if isinstance(node, Planned):
        number, organization = str(node.instance_number), node.indices.organization
        return _uid("content", identity, node.series, number, organization, *_contents(node))
    return node.uid("content", node.series, node.source.sop_instance, node.source.digest)


def _contents(planned: Planned) -> list[str]:
    return [*planned.window, *(part for fact in planned.frames for part in (fact.sop_instance, fact.digest))]


def _uid(purpose: str, identity: Identity, *parts: str) -> str:
    return derived_uid(purpose, "enhanced", str(EDITION), *identity.parts, *parts)
