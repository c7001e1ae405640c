"""How it stands with each study: what came in, what became of it, and what each destination has.

Reads the index, and the names in the intake folder, only, so that another process can ask while the gateway runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gateway.archive import accounts, arrears, collisions, conflicts, delivery_status
from gateway.archive.jobs import CONVERT, HELD, RUNNING, WAITING, Job
from gateway.archive.keys import ANYWHERE, filled, latest_series, latest_study
from gateway.archive.promises import ANSWERED, GIVEN_UP, OPEN, READY, Promise
from gateway.archive.promises import HELD as HELD_BACK
from gateway.archive.recovery import unregistered
from gateway.archive.senders import differing
from gateway.archive.views import View, name_of

if TYPE_CHECKING:
    from gateway.archive.index import Archive

# Not what has lost all it had, unless there is something left to do about it.
_LATEST = latest_study(View.RECEIVED, "lk.study = t.id")
_SHOWN = [filled(f"k.{name}", View.RECEIVED) for name in ("name", "accession", "date", "description")]
_STUDIES = f"""SELECT t.id, t.uid, p.patient_id, p.issuer, {", ".join(one.text for one in _SHOWN)}, t.updated_at
    FROM study t LEFT JOIN study_keys k ON k.id = {_LATEST.text} LEFT JOIN patient p ON p.id = k.patient
    WHERE (EXISTS (SELECT 1 FROM study_tally y WHERE y.study = t.id AND y.instances > 0)
        OR EXISTS (SELECT 1 FROM job j WHERE j.study = t.uid))"""

_NAMED = (
    f"""(t.uid = ? OR ? <> '' AND t.id IN (SELECT k.study FROM study_keys k WHERE k.accession = ? AND {ANYWHERE}))"""
)

_LATEST_SERIES = latest_series(View.RECEIVED)
_SERIES = f"""SELECT s.id, s.uid, g.number, g.modality, g.description, count(*), sum(i.settled = 0)
    FROM series s JOIN instance i ON i.series = s.id AND i.kind = 'received' AND i.superseded = 0
    LEFT JOIN series_keys g ON g.id = {_LATEST_SERIES.text}
    WHERE s.study = ? GROUP BY s.id ORDER BY g.number, s.uid"""

# Something that the conversion has yet to decide about; what is held waits for somebody.
_PENDING = """SELECT 1 FROM instance i JOIN series s ON s.id = i.series JOIN study t ON t.id = s.study
    WHERE i.settled = 0 AND NOT EXISTS
        (SELECT 1 FROM job j WHERE j.kind = 'convert' AND j.study = t.uid AND j.state = 'held') LIMIT 1"""


def box_status(archive: Archive, study: str | None = None, *, limit: int = 100) -> dict[str, Any]:
    """Return the state of the box.

    Parameters
    ----------
    archive : Archive
        May be open for reading only.
    study : str, optional
        Study Instance UID or Accession Number; without, the studies that changed last.
    limit : int
        The most studies to describe.

    Returns
    -------
    dict
        ``idle`` (nothing is pending: held work waits for somebody, not for the box), ``waiting``, ``running``, ``held``
        (numbers of jobs), ``other_images`` (SOP Instance UIDs under which several images came), ``intake`` (files not
        yet covered by a checkpoint), ``conflicts`` (what `gateway.archive.conflicts.found` returns),
        ``not_registered`` (acknowledged objects that the index has not taken, see `arrears.told`), ``promises``
        (requests for storage commitment), ``damaged`` (files that are not what was stored: ``file``, ``kind``,
        ``study``, ``series``, ``instance``, ``peer``, ``reason``, ``found_at``, ``had_by``, ``remedy``) and
        ``studies``.
    """
    fresh = unregistered(archive)  # before the jobs: what is registered meanwhile has made some
    counts = dict(archive.database.rows("SELECT state, count(*) FROM job GROUP BY state"))
    promises = archive.promises.counts()
    unsettled = archive.database.row(_PENDING)
    return {
        "idle": not unsettled
        and not fresh
        and not counts.get(WAITING)
        and not counts.get(RUNNING)
        and not promises.get(OPEN)
        and not promises.get(READY),
        "waiting": counts.get(WAITING, 0),
        "running": counts.get(RUNNING, 0),
        "held": counts.get(HELD, 0),
        "other_images": collisions.count(archive),
        "intake": len(archive.files.waiting()),
        "conflicts": conflicts.found(archive),
        "not_registered": arrears.told(archive),
        "promises": {
            **{state: promises.get(state, 0) for state in (OPEN, READY, HELD_BACK, ANSWERED, GIVEN_UP)},
            "requests": [_promise(one) for one in archive.promises.listing(limit)],
        },
        "damaged": archive.damage.described(),
        "studies": study_status(archive, study, limit=limit),
    }


def _promise(promise: Promise) -> dict[str, Any]:
    """Return how it stands with a request for storage commitment."""
    return {
        "requester": promise.requester,
        "called": promise.called,
        "transaction": promise.transaction,
        "state": promise.state,
        "asked_at": promise.asked_at,
        "instances": promise.references,
        "committed": promise.committed,
        "failed": promise.failed,
        "attempts": promise.attempts,
        "next_attempt": promise.due if promise.state == READY else None,
        "answered_at": promise.concluded_at if promise.state == ANSWERED else None,
        "reason": promise.reason,
    }


def study_status(archive: Archive, study: str | None = None, *, limit: int = 100) -> list[dict[str, Any]]:
    """Return the state of studies, the one that changed last first.

    ``other_images`` of a study lists the SOP Instance UIDs under which several images came: their number, how many of
    them are ``held`` back from the destinations, and what the first is ``part_of`` if it was converted before the next
    one came. ``senders_differ`` names the senders of the current versions of each series that they contradict each
    other about.

    Parameters
    ----------
    archive : Archive
        May be open for reading only.
    study : str, optional
        Study Instance UID or Accession Number.
    limit : int
        The most studies to describe.

    Returns
    -------
    list of dict
        Of each study, among others, ``account``: what became of what was received, as a sum that adds up
        (`gateway.conversion.account`); ``presentation_states``: how many were made beside that; and ``series``, each
        with what it ``became``: entries with a ``fate`` (``frames``, with the object; ``unchanged`` or ``copied``, with
        the reason).
    """
    values = [*(value for one in _SHOWN for value in one.values), *_LATEST.values]
    if study is None:
        found = archive.database.rows(f"{_STUDIES} ORDER BY t.updated_at DESC LIMIT ?", (*values, limit))
    else:
        found = archive.database.rows(f"{_STUDIES} AND {_NAMED} LIMIT ?", (*values, study, study, study, limit))
    return [_study(archive, row) for row in found]


def _study(archive: Archive, row: tuple) -> dict[str, Any]:
    key, uid, patient_id, issuer, name, accession, date, description, updated_at = row
    became = accounts.became(archive.database, key)
    series = _series(archive, key, became.series)
    became.account.received = sum(one["instances"] for one in series)
    jobs = archive.jobs.listing(uid)
    conversion = next((_job(job) for job in jobs if job.kind == CONVERT), None)
    pending = sum(one["pending"] for one in series)
    tallies = archive.database.rows("SELECT view, series, instances FROM study_tally WHERE study = ?", (key,))
    return {
        "study": uid,
        "patient": {"id": patient_id or "", "issuer": issuer or "", "name": name or ""},
        "accession": accession or "",
        "date": date or "",
        "description": description or "",
        "updated_at": updated_at,
        "received": {"series": len(series), "instances": became.account.received},
        "account": became.account.as_json(),
        "presentation_states": became.beside,
        "views": {name_of(view): {"series": count, "instances": held} for view, count, held in tallies},
        "settled": became.account.received - pending,
        "pending": pending,
        "conversion": conversion,
        "series": series,
        "other_images": collisions.status(archive, uid),
        "senders_differ": differing(archive, uid),
        "destinations": delivery_status.of_study(archive, uid, jobs),
        "idle": not pending and not any(job.state != HELD for job in jobs),
    }


def _series(archive: Archive, study: int, became: Mapping[int, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return what each received series has become, in words and as data."""
    return [
        {
            "series": uid,
            "number": number,
            "modality": modality,
            "description": description,
            "instances": instances,
            "pending": pending,
            "became": became.get(key, []),
        }
        for key, uid, number, modality, description, instances, pending in archive.database.rows(
            _SERIES, (*_LATEST_SERIES.values, study)
        )
    ]


def _job(job: Job) -> dict[str, Any]:
    return {
        "state": job.state,
        "next_attempt": job.not_before if job.state == WAITING else None,
        "attempts": job.attempts,
        "reason": job.reason,
    }
