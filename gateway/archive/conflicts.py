"""Objects that contradict each other about whose they are: noticed once when they come, and told as long as they do.

One Patient ID with two names or birth dates, one Study Instance UID under two Patient IDs, and studies whose objects
say different things of one patient. What an object leaves open contradicts nothing.
"""

from __future__ import annotations

import sqlite3
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.archive.views import View
from gateway.observe import warning

if TYPE_CHECKING:
    from gateway.archive.index import Archive

PATIENT, STUDY, INSIDE = "patient", "study", "inside"

# What each kind is, for those who read it.
MEANING = {
    PATIENT: "one Patient ID has different names or birth dates",
    STUDY: "one Study Instance UID is under different Patient IDs",
    INSIDE: "objects of one study say different things of the patient",
}

REMEDY = "have the wrong objects corrected and sent again; every version is found, the one that came last answers"


# Of those that said something else before, when something new comes.
_MOST_LOOKED_AT = 100


class Identity(NamedTuple):
    """Who the patient is, as some objects of a study say; names in the forms they are compared in."""

    keys: int
    study: int
    uid: str
    patient: int
    patient_id: str
    issuer: str
    name: str
    birth_date: str
    sex: str
    forms: tuple[str, ...]


_IDENTITIES = f"""SELECT k.id, k.study, t.uid, k.patient, p.patient_id, p.issuer, k.name, k.birth_date, k.sex,
        coalesce(k.name_a, k.name), coalesce(k.name_i, ''), coalesce(k.name_p, '')
    FROM study_keys k JOIN patient p ON p.id = k.patient JOIN study t ON t.id = k.study
    WHERE {{which}} AND (k.id = ?2 OR EXISTS (SELECT 1 FROM series_keys g JOIN keys_tally w ON w.keys = g.id
        AND w.view = {int(View.RECEIVED)} AND w.instances > 0 WHERE g.study_keys = k.id))
    ORDER BY k.id = ?2 DESC, t.uid, k.id LIMIT ?3"""


def identity(patient: int, columns: dict[str, Any]) -> bytes:
    """Return what is the same for objects that say the same of who the patient is."""
    names = (columns[one] or "" for one in ("name_a", "name_i", "name_p"))
    said = "\\".join((str(patient), *names, columns["birth_date"], columns["sex"]))
    return blake2b(said.encode("utf-8", "replace"), digest_size=8).digest()


def report(connection: sqlite3.Connection, keys: int) -> None:
    """Say what a row of study_keys, which is new, contradicts; of those that say the same only the first one does."""
    row = connection.execute("SELECT study, patient, identity FROM study_keys WHERE id = ?", (keys,)).fetchone()
    for column, entity in (("study", row[0]), ("patient", row[1])):
        # A patient may have thousands of studies: only ends of an index are looked at as long as all agree.
        ends = (f"(SELECT {end}(identity) FROM study_keys WHERE {column} = ?1)" for end in ("min", "max"))
        first, last = connection.execute(f"SELECT {', '.join(ends)}", (entity,)).fetchone()
        again = f"SELECT 1 FROM study_keys WHERE {column} = ? AND identity = ? AND id <> ? LIMIT 1"
        if first == last or connection.execute(again, (entity, row[2], keys)).fetchone():
            continue
        others = _identities(connection, f"k.{column} = ?1", entity, keys, limit=_MOST_LOOKED_AT)
        (new,) = (one for one in others if one.keys == keys)
        for one in others:
            if (kind := _conflict(new, one)) and (kind == PATIENT) == (column == "patient"):
                _warn(kind, new, one)
                break


def _warn(kind: str, new: Identity, one: Identity) -> None:
    warning(
        "intake.conflict", kind=kind, reason=MEANING[kind], study=new.uid, patient=_label(new), patient_name=new.name,
        birth_date=new.birth_date, other_study=one.uid, other_patient=_label(one), other_name=one.name,
        other_birth_date=one.birth_date, remedy=REMEDY,
    )  # fmt: skip


def found(archive: Archive) -> list[dict[str, Any]]:
    """Return the conflicts among what has been received and not been withdrawn.

    Returns
    -------
    list of dict
        Of each ``kind`` (``patient``, ``study`` or ``inside``), ``reason`` (the same in words), ``studies`` (their
        UIDs) and ``versions`` (dictionaries of ``id``, ``issuer``, ``name``, ``birth_date``, ``sex``).
    """
    made = []
    with archive.database.reading() as connection:
        for column in ("patient", "study"):
            sql = f"SELECT {column} FROM study_keys GROUP BY {column} HAVING min(identity) <> max(identity)"
            for (entity,) in connection.execute(sql).fetchall():
                known = _identities(connection, f"k.{column} = ?1", entity)
                kinds = {kind for one in known for other in known if (kind := _conflict(one, other))}
                made += [_said(kind, known) for kind in sorted(kinds) if (kind == PATIENT) == (column == "patient")]
    return made


def _identities(
    connection: sqlite3.Connection, which: str, entity: int, keys: int = 0, limit: int = -1
) -> list[Identity]:
    """Return the different identities in force of a study or patient, and that of a row of study_keys."""
    rows = connection.execute(_IDENTITIES.format(which=which), (entity, keys, limit)).fetchall()
    different = {(row[1], *row[3:6], *row[7:]): _identity(row) for row in rows if row[0] != keys}
    return [*different.values(), *(_identity(row) for row in rows if row[0] == keys)]


def _identity(row: tuple) -> Identity:
    return Identity._make((*row[:9], row[9:]))


def _conflict(one: Identity, other: Identity) -> str:
    """Return which conflict there is between two, empty if there is none."""
    if one.study == other.study:
        if _different((one.patient_id, one.issuer), (other.patient_id, other.issuer)):
            return STUDY
        return INSIDE if _different((one.sex, *_who(one)), (other.sex, *_who(other))) else ""
    return PATIENT if one.patient == other.patient and one.patient_id and _different(_who(one), _who(other)) else ""


def _who(one: Identity) -> tuple[str, ...]:
    return (*one.forms, one.birth_date)


def _different(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Tell whether two say different things of anything that both say."""
    return any(left != right for left, right in zip(one, other, strict=True) if left and right)


def _label(one: Identity) -> str:
    return "\\".join(filter(None, (one.patient_id, one.issuer)))


def _said(kind: str, known: list[Identity]) -> dict[str, Any]:
    versions = {
        (one.patient_id, one.issuer, one.name, one.birth_date, one.sex): {
            "id": one.patient_id,
            "issuer": one.issuer,
            "name": one.name,
            "birth_date": one.birth_date,
            "sex": one.sex,
        }
        for one in known
    }
    studies = sorted({one.uid for one in known})
    return {"kind": kind, "reason": MEANING[kind], "studies": studies, "versions": list(versions.values())}
