"""What has become of the received instances of a study: the sum of `gateway.conversion.account`, of the index."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.archive.views import View
from gateway.conversion.account import COPIED, FRAMES, NO_REASON, UNCHANGED, Account, fate_of

if TYPE_CHECKING:
    from gateway.archive.database import Database

_ENHANCED = int(View.ENHANCED)

# Each received instance once, with the derived object and the received twin that stand for it in the enhanced view.
_INSTANCES = f"""WITH one AS (
        SELECT i.series, i.settled, i.views & {_ENHANCED} <> 0 AS in_view, i.reason,
            (SELECT max(d.id) FROM uid_map m JOIN derived d ON d.id = m.derived AND d.kind IN ('image', 'copy')
                JOIN instance e ON e.sop_instance = d.sop_instance AND e.superseded = 0 AND e.views & {_ENHANCED}
                WHERE m.source = i.sop_instance AND m.digest = i.digest) AS made,
            (SELECT max(e.id) FROM twin t
                JOIN instance e ON e.sop_instance = t.sop_instance AND e.kind = 'received' AND e.superseded = 0
                WHERE t.source = i.sop_instance) AS twin
        FROM series s JOIN instance i ON i.series = s.id AND i.kind = 'received' AND i.superseded = 0
        WHERE s.study = ?)
    SELECT one.series, one.settled, one.in_view, d.kind,
        CASE WHEN one.in_view OR d.kind = 'copy' THEN NULL ELSE coalesce(d.sop_instance, e.sop_instance) END,
        CASE WHEN one.in_view THEN NULL ELSE coalesce(d.sop_class, e.sop_class) END,
        CASE WHEN NOT one.in_view AND (d.kind = 'image' OR d.id IS NULL AND e.id) THEN '' ELSE one.reason END, count(*)
    FROM one LEFT JOIN derived d ON d.id = one.made LEFT JOIN instance e ON e.id = one.twin
    GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, d.kind IS NULL, min(d.id), 7"""

# What was made beside what stands for instances: presentation states.
_BESIDE = f"""SELECT count(*) FROM series s JOIN instance e ON e.series = s.id AND e.kind = 'derived'
        AND e.superseded = 0 AND e.views & {_ENHANCED}
    JOIN derived d ON d.sop_instance = e.sop_instance AND d.kind = 'companion' WHERE s.study = ?"""


class _Group(NamedTuple):
    """Instances of a series with the same fate."""

    series: int
    settled: int
    in_view: int
    kind: str | None
    stands: str | None
    sop_class: str | None
    reason: str
    number: int


@dataclass
class Became:
    """What has become of the instances of a study.

    Attributes
    ----------
    series : dict of int to list of dict
        For each series of the index what it became, an entry for each object made of it, for each received object that
        stands for its images, and for each reason.
    account : Account
        The sum; `received` is for the caller to count.
    beside : int
        Presentation states that were made.
    """

    series: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    account: Account = field(default_factory=Account)
    beside: int = 0


def became(database: Database, study: int) -> Became:
    """Return what has become of the received instances of a study, by its key in the index."""
    found = Became(account=Account(0, Counter()))
    for row in database.rows(_INSTANCES, (study,)):
        group = _Group._make(row)
        fate = _fate(group)
        found.account.parts[fate] += group.number
        if group.settled:
            found.series.setdefault(group.series, []).append(_entry(group, fate))
    found.beside = (database.row(_BESIDE, (study,)) or (0,))[0]
    return found


def _fate(group: _Group) -> str:
    return fate_of(
        settled=bool(group.settled),
        in_view=bool(group.in_view),
        as_frame=group.kind == "image" or (group.kind is None and group.stands is not None),
        as_copy=group.kind == "copy",
    )


def _entry(group: _Group, fate: str) -> dict[str, Any]:
    """Return what is said of one group."""
    if fate == FRAMES:
        text = f"enhanced {group.number} frames as {group.stands}"
        if group.kind is None:
            text += ", received as such"
        return {
            "fate": fate,
            "text": text,
            "sop_instance": group.stands,
            "sop_class": group.sop_class,
            "frames": group.number,
            "made": group.kind is not None,
        }
    reason = group.reason or NO_REASON
    what = "copied with updated references" if fate == COPIED else UNCHANGED
    said = {"fate": fate, "text": f"{what}: {reason}", "reason": reason, "instances": group.number}
    return said | {"sop_class": group.sop_class} if fate == COPIED else said | {"in_view": bool(group.in_view)}
