"""Different images that have come under one SOP Instance UID, against PS3.5 chapter 9 (REQUIREMENTS T3).

All are kept, and none is converted. The views show one instance of each UID, the last that a sender has named (PS3.4
C.2.2.1.1); the destinations get the first, as it was received, since what they have under a UID never changes to
another image. What had been converted before another image came stays as it is: it may be distributed.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.archive.custody import DELIVERED
from gateway.archive.rows import InstanceRow
from gateway.archive.views import ALL_VIEWS, View

if TYPE_CHECKING:
    from gateway.archive.index import Archive

REMEDY = "have the sender give each image a SOP Instance UID of its own and send them again"

# UIDs of which something is, or has been, in a study.
_IN_STUDY = """SELECT DISTINCT o.sop_instance FROM instance o JOIN instance i ON i.sop_instance = o.sop_instance
    JOIN series s ON s.id = i.series JOIN study t ON t.id = s.study WHERE o.image > 0 AND t.uid = ?"""

_IMAGES = """SELECT sop_instance, 1 + max(image) FROM instance
    WHERE image > 0 AND sop_instance IN (SELECT value FROM json_each(?)) GROUP BY sop_instance"""

# Frames of the multi-frame images in the enhanced view: source, and digest of its content.
_FRAMES = f"""SELECT m.source, lower(hex(m.digest)), d.sop_instance
    FROM uid_map m JOIN derived d ON d.id = m.derived AND d.kind = 'image'
    JOIN instance e ON e.sop_instance = d.sop_instance AND e.kind = 'derived' AND e.superseded = 0
    WHERE m.source IN (SELECT value FROM json_each(?)) AND e.views & {int(View.ENHANCED)}"""


@dataclass
class Collision:
    """One SOP Instance UID under which several images have come.

    Attributes
    ----------
    sop_instance : str
        The UID.
    versions : list of InstanceRow
        What senders have sent under it: the current version first, then what was it last.
    part_of : str
        SOP Instance UID of the object that the first image was made a frame of before another one came, if it was.
    """

    sop_instance: str
    versions: list[InstanceRow] = field(default_factory=list)
    part_of: str = ""

    @property
    def images(self) -> int:
        """How many there are."""
        return 1 + max(row.image for row in self.versions)

    @property
    def peers(self) -> list[str]:
        """AE titles of the senders."""
        return sorted({row.peer for row in self.versions})

    @property
    def current(self) -> InstanceRow:
        """What the views show."""
        return self.versions[0]

    @property
    def first(self) -> InstanceRow:
        """The latest version of the first image, in the views that destinations get it in."""
        row = next(row for row in self.versions if row.image == 0)
        return row._replace(settled=True, views=ALL_VIEWS & ~View.ENHANCED if self.part_of else ALL_VIEWS)

    @property
    def reason(self) -> str:
        """Why the image is not converted, for people."""
        return f"{self.images} different images came under its SOP Instance UID"


def images(archive: Archive, sop_instances: Collection[str]) -> dict[str, int]:
    """Return the number of different images of those of some UIDs that have several."""
    return dict(archive.database.rows(_IMAGES, (json.dumps(list(sop_instances)),)))


def of_study(archive: Archive, study: str) -> dict[str, Collision]:
    """Return the UIDs with several images of which something came in a study."""
    uids = [uid for (uid,) in archive.database.rows(_IN_STUDY, (study,))]
    if not uids:
        return {}
    found = {uid: Collision(uid) for uid in sorted(uids)}
    for uid in found:
        found[uid].versions = [row for row in archive.versions(uid) if row.spoken]
    frames = {(uid, digest): made for uid, digest, made in archive.database.rows(_FRAMES, (json.dumps(uids),))}
    for uid, one in found.items():
        one.part_of = next((frames[uid, row.digest] for row in one.versions if (uid, row.digest) in frames), "")
    return {uid: one for uid, one in found.items() if any(row.image == 0 for row in one.versions)}


def to_deliver(archive: Archive, study: str, view: View) -> list[InstanceRow]:
    """Return what of a study destinations get that are sent a view: the view, but of several images the first."""
    rows = archive.study_instances(study, view)
    found = of_study(archive, study)
    if not found:
        return rows
    firsts = [one.first for one in found.values() if _decided(one, study)]
    return [row for row in rows if row.sop_instance not in found] + [
        row for row in firsts if row.study == study and row.views & view
    ]


def _decided(one: Collision, study: str) -> bool:
    """Tell whether the conversion has looked at an image since another one came, if it will in this study."""
    return one.current.settled or one.current.study != study


def to_fetch(archive: Archive, destination: str, study: str, view: View) -> list[InstanceRow]:
    """Return what of a study a destination has or is to fetch from a view: of several images the one it has.

    What has not been fetched is the one that the view shows.
    """
    rows = archive.study_instances(study, view)
    found = of_study(archive, study)
    if not found:
        return rows
    has = {
        one.sop_instance: one.digest for one in archive.custody.deliveries(study, destination) if one.state == DELIVERED
    }
    return [_fetched(row, found.get(row.sop_instance), has.get(row.sop_instance)) for row in rows]


def _fetched(row: InstanceRow, several: Collision | None, digest: str | None) -> InstanceRow:
    versions = several.versions if several else ()
    has = next((one for one in versions if one.digest == digest), row)
    return has._replace(views=row.views, settled=row.settled)


def summary(found: Sequence[Collision]) -> dict[str, Any]:
    """Return what is to be said of UIDs with several images, as fields of an event."""
    total = sum(one.images for one in found)
    return {
        "instances": len(found),
        "images": total,
        "held": total - len(found),
        "first": found[0].sop_instance,
        "peers": ",".join(sorted({peer for one in found for peer in one.peers})),
        "reason": "different images came under one SOP Instance UID: none is converted, the first goes on",
        "remedy": REMEDY,
    }


def status(archive: Archive, study: str) -> list[dict[str, Any]]:
    """Return the UIDs of a study under which several images came, for its status."""
    return [
        {
            "sop_instance": one.sop_instance,
            "images": one.images,
            "held": one.images - 1,
            "versions": len(one.versions),
            "peers": one.peers,
            "part_of": one.part_of or None,
        }
        for one in of_study(archive, study).values()
    ]


def count(archive: Archive) -> int:
    """Return how many SOP Instance UIDs there are under which several images came."""
    (found,) = archive.database.row("SELECT count(DISTINCT sop_instance) FROM instance WHERE image > 0") or (0,)
    return found
