"""Enhanced to classic: what refers to objects that are turned back follows them (PS3.4 C.3.5, G20, O1).

A copy that was made for the enhanced view is turned back as images are: if its source is at hand it is left out, else
it gets its source's UID again (Supplement 157 ZZZA.7).
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.conversion.classic import ClassicPlan, turned
from gateway.conversion.closure import copies_needed
from gateway.conversion.facts import Facts
from gateway.conversion.held import CLASSIC, Guise
from gateway.conversion.identity import Identity
from gateway.conversion.naming import assign_uids
from gateway.conversion.references import Target
from gateway.conversion.substitution import Place, Substitution, series_members
from gateway.conversion.updates import Update
from gateway.objects.uids import valid_uid

COPY_AT_HAND = "what it is a copy of is at hand"


def follow_back(facts: Sequence[Facts], plan: ClassicPlan, identity: Identity) -> list[Update]:
    """Return the rewritten copies that the classic view of some instances needs.

    Parameters
    ----------
    facts : sequence of Facts
        The instances.
    plan : ClassicPlan
        What becomes of the enhanced objects among them; gets the reference map of the view, and what is left out.
    identity : Identity
        Settings that enter UIDs.
    """
    substitution = Substitution(CLASSIC)
    for guise in turned(facts, plan):
        substitution.take(guise)
    here = {fact.sop_instance: fact for fact in facts}
    for fact in facts:
        source = here.get(fact.copy_of)
        if source is not None and source.sop_class == fact.sop_class:
            plan.held[fact.name] = COPY_AT_HAND
            substitution.take(Guise(_identity(fact), frozenset(), (_identity(source),), copy=True))
    wanted = {uid for fact in facts for uid in fact.other_references}
    substitution.know_series(series_members(facts, wanted))
    staying = [fact for fact in facts if fact.name not in plan.held and fact.sop_instance not in substitution.absent]
    copies = []
    for fact in copies_needed(substitution, staying, ()):
        copy = Update([fact], CLASSIC, identity)
        substitution.instead.setdefault(fact.sop_instance, Place(copy))
        copies.append(copy)
    assign_uids(copies, identity, substitution, lambda uid: None)
    taken: set[str] = set(here)
    for copy in copies:
        original = copy.source.copy_of
        if valid_uid(original) and original not in taken:
            copy.sop_instance = original
            taken.add(original)
    plan.became.update(substitution.became())
    for copy in copies:
        copy.became = plan.became
    return copies


def _identity(fact: Facts) -> Target:
    return Target(fact.sop_class, fact.sop_instance, fact.series, fact.study)
