"""Which instances need a rewritten copy in which view, and what every reference becomes (PS3.4 C.3.5; G14, G20-G23)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from gateway.conversion.closure import copies_needed, unresolved
from gateway.conversion.facts import Facts
from gateway.conversion.held import CLASSIC, ENHANCED, VIEWS, Guise, Held
from gateway.conversion.identity import Identity
from gateway.conversion.naming import assign_uids
from gateway.conversion.planned import Frozen, Plan, Planned
from gateway.conversion.references import Became, Target
from gateway.conversion.substitution import Place, Substitution, series_members
from gateway.conversion.updates import Update
from gateway.objects.uids import valid_uid
from gateway.standard.sop_classes import CONVERSIONS

_CLASSIC_OF = {
    sop_class: row.classic for row in CONVERSIONS.values() for sop_class in (row.classic, row.enhanced, row.legacy)
}


class Following:
    """Lets everything that refers to a converted instance follow it.

    Parameters
    ----------
    plan : Plan
        With its multi-frame images, their series assigned; gets the rewritten copies, and all UIDs and views.
    facts : sequence of Facts
        The instances decided on.
    held : Held
        What is known beyond them.
    identity : Identity
        Settings that enter UIDs.
    resolve : callable
        Study and series of instances that are held, by SOP Instance UID.
    turning_back : bool
        Whether an enhanced view alone is turned back: then what is a copy of something becomes that again, or is left
        out if it is at hand (Supplement 157 ZZZA.7).

    Attributes
    ----------
    classic : Became
        The reference map of the classic view, once the plan is complete.
    """

    def __init__(
        self,
        plan: Plan,
        facts: Sequence[Facts],
        held: Held,
        identity: Identity,
        resolve: Callable[[str], tuple[str, str] | None],
        *,
        turning_back: bool = False,
    ) -> None:
        self.plan = plan
        self.facts = facts
        self.held = held
        self.identity = identity
        self.resolve = resolve
        self.everyone = [*facts, *(one.facts for one in held.dependants)]
        self.classic: Became = {}
        self.turning_back = turning_back

    def follow(self, frozen: Sequence[Frozen], fixed: Collection[str]) -> None:
        """Complete the plan.

        Parameters
        ----------
        frozen : sequence of Frozen
            Derived objects that exist already.
        fixed : collection of str
            UIDs of what must stay what it is.
        """
        study = self.facts[0].study if self.facts else ""
        guises = [
            *self._turned_back(),
            *self._at_hand(),
            *map(_received, self._received()),
            *_existing(frozen, study),
            *self._guises(),
        ]
        guises += self._spare(guises)
        self.plan.views = self._views()
        members = self._members()
        maps = []
        for view in VIEWS:
            substitution = Substitution(view)
            if view == ENHANCED:
                for planned in self.plan.objects:
                    for number, fact in enumerate(planned.frames, 1):
                        substitution.instead[fact.sop_instance] = Place(planned, number, len(planned.frames))
            older = self._take(substitution, guises, fixed)
            substitution.know_series(members)
            copies = self._copies(substitution, fixed)
            nodes: Sequence[Planned | Update] = [*self.plan.objects, *copies] if view == ENHANCED else copies
            assign_uids(nodes, self.identity, substitution, self.resolve)
            if self.turning_back and view == CLASSIC:
                self._name_back(copies)
            became = substitution.became()
            maps.append(became)
            self._settle(view, copies, older)
            self._left_behind(view, became)
            for copy in copies:
                copy.became = became
        self.plan.became, self.classic = maps
        known = {fact.sop_instance for fact in self.everyone}
        missing = unresolved(self.facts, known, maps)
        self.plan.unresolved.update({uid: who for uid, who in missing.items() if self.resolve(uid) is None})

    def _turned_back(self) -> list[Guise]:
        """Return received enhanced objects as what stands for classic images that are made of their frames."""
        found = []
        for fact in self.everyone:
            targets = self.plan.turned_back.get(fact.name)
            if targets:
                target = _identity(fact)._replace(frames=len(targets))
                found.append(Guise(target, frozenset((ENHANCED,)), targets, copy=False))
        return found

    def _at_hand(self) -> list[Guise]:
        """Return rewritten copies whose sources are here, and leave them out of the view that is made."""
        here = {fact.sop_instance: fact for fact in self.everyone} if self.turning_back else {}
        found = []
        for fact in self.everyone:
            source = here.get(fact.copy_of)
            if source is not None and source.sop_class == fact.sop_class:
                self.plan.at_hand.add(fact.name)
                found.append(Guise(_identity(fact), frozenset(), (_identity(source),), copy=True))
        return found

    def _name_back(self, copies: Sequence[Update]) -> None:
        """Give copies of copies the UIDs of what these were made of, that of its series included (K8)."""
        taken = {fact.sop_instance for fact in self.everyone}
        for copy in copies:
            original = copy.source.copy_of
            if valid_uid(original) and original not in taken:
                copy.sop_instance = original
                copy.series = copy.source.copied_series or copy.series
                taken.add(original)

    def _received(self) -> list[tuple[Facts, list[Facts]]]:
        """Return received enhanced objects with the held sources of their frames."""
        by_uid = {fact.sop_instance: fact for fact in reversed(self.everyone)}
        twins = set(self.plan.twins.values())
        found = []
        for fact in self.everyone:
            if fact.sop_instance in twins and all(uid in by_uid for uid in fact.conversion_sources):
                found.append((fact, [by_uid[uid] for uid in fact.conversion_sources]))
        return found

    def _spare(self, guises: Iterable[Guise]) -> list[Guise]:
        """Return received enhanced objects whose sources were converted before they came: they are in no view."""
        sources = {source.sop_instance: source for guise in guises for source in guise.sources}
        return [
            Guise(_identity(fact), frozenset(), tuple(sources[uid] for uid in fact.conversion_sources), copy=False)
            for fact in self.everyone
            if fact.name in self.plan.spare and all(uid in sources for uid in fact.conversion_sources)
        ]

    def _guises(self) -> Sequence[Guise]:
        """Return what is known of every UID that matters."""
        uids = {fact.sop_instance for fact in self.everyone}
        for fact in self.everyone:
            uids.update(fact.references, fact.other_references)
            if fact.name in self.plan.spare:
                uids.update(fact.conversion_sources)
        return self.held.guises(sorted(uids))

    def _members(self) -> Mapping[str, Sequence[str]]:
        """Return the instances of every series that something refers to as a whole."""
        wanted = {uid for fact in self.everyone for uid in fact.other_references}
        found = series_members(self.everyone, wanted)
        for series, uids in self.held.members(sorted(wanted)).items():
            found.setdefault(series, []).extend(uids)
        return found

    def _views(self) -> dict[str, frozenset[str]]:
        """Return the views that instances are in before any of them is copied."""
        twins = set(self.plan.twins.values())
        found = {one.facts.name: one.views for one in self.held.dependants}
        for fact in self.everyone:
            if fact.name in self.plan.spare:
                found[fact.name] = frozenset()
            elif fact.name in self.plan.at_hand or fact.sop_instance in twins or fact.name in self.plan.turned_back:
                found[fact.name] = frozenset((ENHANCED,))
            elif fact.name in self.plan.twins or (fact.name not in self.plan.kept and fact.name not in found):
                found[fact.name] = frozenset((CLASSIC,))
            else:
                found.setdefault(fact.name, frozenset(VIEWS))
        return found

    def _take(self, substitution: Substitution, guises: Iterable[Guise], fixed: Collection[str]) -> dict[str, str]:
        """Take in what exists and return the copies of instances at hand, which are decided about anew."""
        here = {fact.sop_instance: fact.name for fact in self.everyone}
        older = {}
        for guise in guises:
            source = guise.sources[0].sop_instance if guise.sources else ""
            if guise.copy and source in here and source in fixed and substitution.view in guise.views:
                name = here[source]
                self.plan.views[name] = self.plan.views[name] - {substitution.view}
            elif guise.copy and source in here and substitution.view in guise.views:
                older[source] = guise.target.sop_instance
                # Who refers to the copy means what it is a copy of.
                guise = guise._replace(views=frozenset())
            substitution.take(guise)
        return older

    def _copies(self, substitution: Substitution, fixed: Collection[str]) -> list[Update]:
        """Return the rewritten copies that a view needs, and let them stand for their sources."""
        view = substitution.view
        candidates = [fact for fact in self.everyone if view in self.plan.views[fact.name]]
        found = []
        for fact in copies_needed(substitution, candidates, fixed):
            copy = Update([fact], view, self.identity)
            substitution.instead.setdefault(fact.sop_instance, Place(copy))
            found.append(copy)
        return found

    def _settle(self, view: str, copies: Sequence[Update], older: Mapping[str, str]) -> None:
        """Enter copies into the plan, leave out those that exist, and note which ones are obsolete."""
        current = set()
        for copy in copies:
            name = copy.source.name
            self.plan.views[name] = self.plan.views[name] - {view}
            current.add(copy.sop_instance)
            if older.get(copy.source.sop_instance) != copy.sop_instance:
                self.plan.companions.append(copy)
        self.plan.obsolete += sorted(uid for uid in older.values() if uid not in current)

    def _left_behind(self, view: str, became: Became) -> None:
        """Note references that cannot be rewritten though their targets are something else in a view."""
        for fact in self.facts:
            if view in self.plan.views[fact.name]:
                for uid in fact.references:
                    if uid in became:
                        self.plan.unresolved.setdefault(uid, fact.sop_instance)


def _identity(fact: Facts) -> Target:
    return Target(fact.sop_class, fact.sop_instance, fact.series, fact.study)


def _received(pair: tuple[Facts, list[Facts]]) -> Guise:
    """Return a received enhanced object as what stands for the images it was made of."""
    fact, sources = pair
    target = _identity(fact)._replace(frames=len(sources))
    return Guise(target, frozenset((ENHANCED,)), tuple(map(_identity, sources)), copy=False)


def _existing(frozen: Sequence[Frozen], study: str) -> Iterable[Guise]:
    """Yield multi-frame images that were made earlier."""
    for item in frozen:
        target = Target(item.sop_class, item.sop_instance, item.series, study, 0, len(item.frames))
        classic = _CLASSIC_OF[item.sop_class]
        sources = tuple(Target(classic, uid, item.source_series, study) for uid, _ in item.frames)
        yield Guise(target, frozenset(() if item.withdrawn else (ENHANCED,)), sources, copy=False)
