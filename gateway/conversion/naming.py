"""UIDs, series and numbers of what is planned (PS3.4 C.3.5): a function of sources, settings and edition."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

from gateway.conversion.identity import EDITION, Identity
from gateway.conversion.planned import Frozen, Planned
from gateway.conversion.references import Target
from gateway.objects.uids import derived_uid


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


def assign_uids(
    objects: Sequence[Planned],
    identity: Identity,
    frozen: Mapping[str, Target],
    resolve: Callable[[str], tuple[str, str] | None],
) -> None:
    """Give every object its SOP Instance UID.

    Its bytes follow from its sources and from what those refer to, directly or through other new objects: whether a
    target is converted, and where it is. So does the UID: one UID never stands for two contents.
    """
    owners = {fact.sop_instance: planned for planned in objects for fact in planned.frames}

    contents = {
        id(planned): _uid(
            "content",
            identity,
            planned.series,
            str(planned.instance_number),
            planned.indices.organization,
            *_contents(planned),
        )
        for planned in objects
    }

    def targets(planned: Planned) -> Iterator[str]:
        for uid in sorted({uid for fact in planned.frames for uid in fact.references}):
            owner = owners.get(uid)
            if owner is not None:
                yield f"{uid} {contents[id(owner)]}"
            elif uid in frozen:
                yield f"{uid} {frozen[uid].sop_instance} {frozen[uid].frame}"
            else:
                yield f"{uid} {resolve(uid)}"

    for planned in objects:
        planned.organization = _uid("dimensions", identity, planned.indices.organization)
        reached: list[Planned] = [planned]
        for other in reached:
            found = {id(owners[uid]): owners[uid] for f in other.frames for uid in f.references if uid in owners}
            reached.extend(one for one in found.values() if one not in reached)
        closure = sorted(f"{contents[id(other)]} {part}" for other in reached for part in targets(other))
        planned.sop_instance = _uid("object", identity, contents[id(planned)], *closure)


def _contents(planned: Planned) -> list[str]:
    return [part for fact in planned.frames for part in (fact.sop_instance, fact.digest)]


def _uid(purpose: str, identity: Identity, *parts: str) -> str:
    return derived_uid(purpose, "enhanced", str(EDITION), *identity.parts, *parts)
