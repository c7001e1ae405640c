"""What must stay classic because something refers to it whose references cannot be rewritten (PS3.4 C.3.5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from gateway.conversion.facts import Facts
from gateway.conversion.planned import Plan


def closed_under_references(
    groups: list[list[Facts]],
    facts: Sequence[Facts],
    plan: Plan,
    referred: Callable[[Iterable[str]], Mapping[str, str]],
) -> list[list[Facts]]:
    """Drop groups that an object refers to whose references cannot be rewritten, until nothing changes any more."""
    blocked = {uid: f"instance {who}" for uid, who in referred([f.sop_instance for g in groups for f in g]).items()}
    converted = {fact.name for group in groups for fact in group}
    for fact in facts:
        if fact.name in converted:
            blocked.update((uid, f"instance {fact.sop_instance}") for uid in fact.other_references)
        elif fact.name not in plan.twins:
            _block(fact, blocked)
    while True:
        closed = [group for group in groups if not any(fact.sop_instance in blocked for fact in group)]
        if len(closed) == len(groups):
            return groups
        for group in groups:
            if group in closed:
                continue
            who = next(blocked[fact.sop_instance] for fact in group if fact.sop_instance in blocked)
            for fact in group:
                plan.kept[fact.name] = f"{who} refers to it, whose references cannot be rewritten yet"
                _block(fact, blocked)
        groups = closed


def _block(fact: Facts, blocked: dict[str, str]) -> None:
    for uid in (*fact.references, *fact.other_references):
        blocked.setdefault(uid, f"instance {fact.sop_instance}")
