"""Referential integrity of a view: who must follow whom, and who cannot (PS3.4 C.3.5, Supplement 157 ZZZA.5)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from gateway.conversion.facts import Facts
from gateway.conversion.planned import Plan
from gateway.conversion.substitution import Substitution


def closed_under_references(
    groups: list[list[Facts]], facts: Sequence[Facts], plan: Plan, fixed: Mapping[str, str]
) -> tuple[list[list[Facts]], dict[str, str]]:
    """Drop groups that something refers to which cannot follow, until nothing changes any more.

    Parameters
    ----------
    groups : list of list of Facts
        What could become objects.
    facts : sequence of Facts
        Everything that may refer to it.
    plan : Plan
        Gets the reason of what stays as it is.
    fixed : mapping of str to str
        Instances that something distributed refers to, with its name.

    Returns
    -------
    list of list of Facts
        The groups that are left.
    dict of str to str
        What must keep its UIDs, by SOP Instance or Series Instance UID, with who wants it.
    """
    held = {uid: f"instance {who}" for uid, who in fixed.items()}
    converted = {fact.name for group in groups for fact in group}
    for fact in facts:
        if fact.fixed and fact.name not in converted and fact.name not in plan.twins:
            _hold_targets(fact, held)
    while True:
        before = len(held), len(groups)
        kept = [group for group in groups if any(_is_held(fact, held) for fact in group)]
        for group in kept:
            who = next(held.get(f.sop_instance) or held[f.series] for f in group if _is_held(f, held))
            plan.kept.update((f.name, f"{who} refers to it, whose references cannot be rewritten") for f in group)
            converted.difference_update(f.name for f in group)
        groups = [group for group in groups if group not in kept]
        for fact in facts:
            if fact.name not in converted and _is_held(fact, held):
                _hold_targets(fact, held)
        if (len(held), len(groups)) == before:
            return groups, held


def _is_held(fact: Facts, held: Collection[str]) -> bool:
    return fact.sop_instance in held or fact.series in held


def _hold_targets(fact: Facts, held: dict[str, str]) -> None:
    for uid in (*fact.references, *fact.other_references):
        held.setdefault(uid, f"instance {fact.sop_instance}")


def copies_needed(substitution: Substitution, candidates: Sequence[Facts], held: Collection[str]) -> list[Facts]:
    """Return what needs a rewritten copy in a view: what refers to something that is something else there, or to such.

    Parameters
    ----------
    substitution : Substitution
        Who stands for whom already.
    candidates : sequence of Facts
        The instances that would be in the view as they are.
    held : collection of str
        UIDs of what must stay as it is.
    """
    referring: dict[str, list[Facts]] = {}
    for fact in candidates:
        if not fact.fixed and not _is_held(fact, held):
            for uid in (*fact.references, *fact.other_references):
                referring.setdefault(uid, []).append(fact)
    found: set[str] = set()
    pending = [uid for uid in referring if substitution.replaces(uid)]
    while pending:
        for fact in referring.get(pending.pop(), ()):
            if fact.name not in found:
                found.add(fact.name)
                pending += [fact.sop_instance, substitution.series_of(fact.sop_instance)]
    return [fact for fact in candidates if fact.name in found]


def unresolved(
    facts: Iterable[Facts], known: Collection[str], replaced: Iterable[Mapping[str, object]]
) -> dict[str, str]:
    """Return references to instances that nobody has (E47), with the first that refers to each."""
    maps = list(replaced)
    found: dict[str, str] = {}
    for fact in facts:
        for uid in fact.references:
            if uid not in known and not any(uid in became for became in maps):
                found.setdefault(uid, fact.sop_instance)
    return found
