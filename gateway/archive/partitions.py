"""Durable records of conversions: which sources became which objects, written before the index knows them.

A power cut may take the last commits of the index, never a record. So the tables are always filled from the record, and
after a crash from every record that they do not contain. The UID map of REQUIREMENTS G22 is rebuilt the same way.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.archive.entities import describe, insert, insert_instance, insert_references, referred
from gateway.archive.files import digest_of_name, key_of
from gateway.archive.keys import find_place, said
from gateway.archive.records import encoded, write_record
from gateway.archive.rows import DerivedRow, Settlement
from gateway.errors import DamagedError
from gateway.observe import fault

if TYPE_CHECKING:
    from gateway.archive.index import Archive

OWN_REASON = "made by this gateway and come back"


def record(
    archive: Archive,
    study: str,
    objects: Sequence[DerivedRow],
    settled: Mapping[str, Settlement],
    partition: dict | None,
    twins: Mapping[str, Sequence[str]],
) -> None:
    """Write the durable record of a conversion and put it into the index."""
    content = {
        "study": study,
        "objects": [_object(one) for one in objects],
        "settled": _grouped(settled),
        "record": partition,
        "twins": {uid: list(sources) for uid, sources in twins.items()},
    }
    path = _place(archive, study, encoded(content))
    if not path.exists():
        write_record(path, content)
    apply(archive, path.stem, json.loads(json.dumps(content)))


def recorded(archive: Archive, study: str) -> list[dict]:
    """Return what earlier conversions of a study wanted back.

    Raises
    ------
    DamagedError
        If a record is not what was written: nothing can be added to what nobody knows.
    """
    found = (_required(archive, path)["record"] for path in _paths(archive, study))
    return [one for one in found if one is not None]


def _required(archive: Archive, path: Path) -> dict[str, Any]:
    try:
        return archive.damage.record(path)
    except FileNotFoundError:
        raise archive.damage.gone(path) from None


def replay(archive: Archive) -> int:
    """Put every record that the index does not contain into it and return their number; damaged ones are noted."""
    known = {name for (name,) in archive.database.rows("SELECT name FROM partition")}
    missing = [path for path in archive.files.records.glob("partition-*-*.json") if path.stem not in known]
    applied = 0
    for path in sorted(missing, key=_number):
        with contextlib.suppress(DamagedError):  # one is no reason for the box to stand still
            apply(archive, path.stem, archive.damage.record(path))
            applied += 1
    return applied


def _number(path: Path) -> int:
    return int(path.stem.rsplit("-", 1)[1])


def note_gone(archive: Archive) -> None:
    """Note the records that the index contains and that are gone."""
    for (name,) in archive.database.rows("SELECT name FROM partition"):
        path = archive.files.record_path(name)
        if not path.exists():
            archive.damage.gone(path)


def _paths(archive: Archive, study: str) -> list[Path]:
    """Return where the records of a study are, those that are gone, too: none may be written in their place."""
    stem = f"partition-{key_of(study)}-"
    rows = archive.database.rows("SELECT name FROM partition WHERE study = ?", (study,))
    most = max((int(name.removeprefix(stem)) + 1 for (name,) in rows if name.startswith(stem)), default=0)
    found: list[Path] = []
    while (path := archive.files.record_path(f"{stem}{len(found)}")).exists() or len(found) < most:
        found.append(path)
    return found


def _place(archive: Archive, study: str, said: bytes) -> Path:
    """Return the path of the newest record if it says just this, else of the next one."""
    paths = _paths(archive, study)
    if paths and paths[-1].read_bytes() == said:
        return paths[-1]
    return archive.files.record_path(f"partition-{key_of(study)}-{len(paths)}")


def _object(row: DerivedRow) -> dict[str, Any]:
    return {
        "sop_instance": row.sop_instance,
        "sop_class": row.sop_class,
        "study": row.study,
        "series": row.series,
        "name": row.name,
        "transfer_syntax": row.transfer_syntax,
        "length": row.length,
        "digest": row.digest,
        "views": int(row.views),
        "frames": [list(frame) for frame in row.frames],
        "description": describe(row.attributes),
        "references": sorted(referred(row.attributes) if row.references is None else row.references),
        "kind": row.kind,
        "prior": row.prior,
    }


def _grouped(settled: Mapping[str, Settlement]) -> list[dict[str, Any]]:
    groups: dict[Settlement, list[str]] = {}
    for name in sorted(settled):
        groups.setdefault(Settlement(*settled[name]), []).append(name)
    return [{"views": int(one.views), "reason": one.reason, "names": names} for one, names in sorted(groups.items())]


def apply(archive: Archive, name: str, content: Mapping[str, Any]) -> None:
    """Put one record into the index; a record it contains already changes nothing."""
    now = archive.clock.now()
    with archive.database.transaction() as connection:
        sql = "INSERT OR IGNORE INTO partition (name, study, applied_at) VALUES (?, ?, ?)"
        if not connection.execute(sql, (name, content["study"], now)).rowcount:
            return
        for one in content["objects"]:
            _apply_object(connection, one, now)
        for group in content["settled"]:
            connection.executemany(
                "UPDATE instance SET views = ?, reason = ?, settled = 1 WHERE name = ? AND superseded = 0",
                [(group["views"], group["reason"], source) for source in group["names"]],
            )
        connection.executemany(
            "INSERT OR REPLACE INTO twin (sop_instance, frame, source) VALUES (?, ?, ?)",
            [
                (uid, frame, source)
                for uid, sources in content["twins"].items()
                for frame, source in enumerate(sources, 1)
            ],
        )
        fault("settle.before_commit")
    fault("settle.after_commit")


def _original(connection: sqlite3.Connection, uid: str) -> bool:
    """Tell whether the image that a restored one stands in for has come itself."""
    sql = "SELECT 1 FROM instance WHERE sop_instance = ? AND kind = 'received' AND superseded = 0"
    return connection.execute(sql, (uid,)).fetchone() is not None


def _reception(connection: sqlite3.Connection, one: Mapping[str, Any]) -> float | None:
    """Return when the last source of an object came, or the last object it refers to: the same whenever it is asked."""
    for column, names in (("name", [file for file, _ in one["frames"]]), ("sop_instance", one["references"])):
        sql = f"SELECT max(received_at) FROM instance WHERE {column} IN (SELECT value FROM json_each(?))"
        (latest,) = connection.execute(sql, (json.dumps(names),)).fetchone()
        if latest is not None:
            return latest
    return None


# A destination may have removed what was withdrawn: it gets it again, and is asked again to commit to it.
_DELIVERED_AGAIN = """UPDATE delivery SET state = 'pending', reason = '', commitment = '', commitment_reason = '',
    failure = NULL, commitment_at = NULL, lost = 0 WHERE sop_instance = ? AND state = 'delivered'"""


def _reinstate(connection: sqlite3.Connection, one: Mapping[str, Any]) -> None:
    """Bring back an object that was withdrawn: a version of its source has come again, and it is the same again."""
    sql = """UPDATE instance SET views = ?, reason = '' WHERE sop_instance = ? AND digest = ?
        AND kind = 'derived' AND superseded = 0 AND views = 0"""
    values = (one["views"], one["sop_instance"], bytes.fromhex(one["digest"]))
    if connection.execute(sql, values).rowcount:
        connection.execute(_DELIVERED_AGAIN, (one["sop_instance"],))


def _apply_object(connection: sqlite3.Connection, one: Mapping[str, Any], now: float) -> None:
    uid, digest = one["sop_instance"], bytes.fromhex(one["digest"])
    common = {"sop_instance": uid, "sop_class": one["sop_class"], "name": one["name"], "digest": digest}
    if connection.execute("SELECT 1 FROM derived WHERE sop_instance = ?", (uid,)).fetchone():
        _reinstate(connection, one)
        return
    row = {"series": one["series"], "study": one["study"], "kind": one["kind"]}
    derived = insert(connection, "derived", common | row)
    connection.executemany(
        "INSERT OR IGNORE INTO uid_map (source, digest, derived, frame) VALUES (?, ?, ?, ?)",
        [
            (source, bytes.fromhex(digest_of_name(file)), derived, frame)
            for frame, (file, source) in enumerate(one["frames"], 1)
        ],
    )
    if one["kind"] == "restored" and _original(connection, uid):
        return
    # A copy that came back from a destination before the index knew the object (after a rebuild) gives way to it.
    connection.execute(
        "UPDATE instance SET superseded = id, views = 0, settled = 1, reason = ? WHERE sop_instance = ?"
        " AND superseded = 0",
        (OWN_REASON, uid),
    )
    description = one["description"]
    place = find_place(connection, one["study"], one["series"], now, said(description))
    row = common | {
        "kind": "derived",
        "transfer_syntax": one["transfer_syntax"],
        "length": one["length"],
        "dataset_offset": 0,
        "views": one["views"],
        "settled": 1,
        "reason": "",
        "peer": "",
        "called": "",
        "convert": 0,
        "prior": int(one["prior"]),
        "received_at": _reception(connection, one) or now,
    }
    instance = insert_instance(connection, place, row, description)
    insert_references(connection, instance, one["references"])
