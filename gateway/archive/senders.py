"""Series that two senders have sent with different content under the same SOP Instance UIDs (REQUIREMENTS T3).

Of each instance the last word is the current version, whoever has said it. While one sender's version is the current
one of some instances of such a series and another's of the rest, no object has frames of both. Two senders that share
a series without naming a UID twice share its objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.archive.index import Archive

DIFFER = "have the whole series sent again by the one whose version is right; the last word about each instance counts"

# What a destination has returned has never been the current version, and is not among these.
_DIFFERING = """SELECT s.uid, c.peer, o.peer FROM study t JOIN series s ON s.study = t.id
    JOIN instance c ON c.series = s.id AND c.superseded = 0 AND c.kind = 'received' AND c.prior = 0
    JOIN instance o ON o.sop_instance = c.sop_instance AND o.superseded > 0
        AND o.kind = 'received' AND o.prior = 0 AND o.retired > 0 AND o.peer <> c.peer AND o.image = c.image
    WHERE t.uid = ? GROUP BY s.uid, c.peer, o.peer ORDER BY s.uid"""
_CURRENT = """SELECT s.uid, i.peer FROM study t JOIN series s ON s.study = t.id
    JOIN instance i ON i.series = s.id AND i.superseded = 0 AND i.kind = 'received' AND i.prior = 0
    WHERE t.uid = ? GROUP BY s.uid, i.peer"""


def differing(archive: Archive, study: str) -> dict[str, list[str]]:
    """Return the series of a study in which current versions of senders stand side by side that contradict each other.

    Returns
    -------
    dict of str to list of str
        AE titles of the senders of the current versions, by Series Instance UID.
    """
    found = {series for series, *_ in archive.database.rows(_DIFFERING, (study,))}
    if not found:
        return {}
    peers: dict[str, list[str]] = {}
    for series, peer in archive.database.rows(_CURRENT, (study,)):
        if series in found:
            peers.setdefault(series, []).append(peer)
    return {series: sorted(names) for series, names in sorted(peers.items()) if len(names) > 1}
