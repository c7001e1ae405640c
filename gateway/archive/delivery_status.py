"""How it stands with a study at each destination: what it has, what it said, and what is not deliverable."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.archive import collisions, commitment_status
from gateway.archive.custody import DELIVERED, FAILED, FETCHES, NOTIFIED, PENDING, REFUSED, Decision
from gateway.archive.due import both_forms, due
from gateway.archive.jobs import DELIVER, WAITING, Job
from gateway.archive.views import View, name_of
from gateway.standard.sop_classes import CLASSIC_MODALITIES
from gateway.standard.statuses import status_of

if TYPE_CHECKING:
    from gateway.archive.index import Archive

# How the record of a delivery begins that went out decoded; what it was stored in follows.
DECODED = "decoded from "


@dataclass
class _Counts:
    """The instances of a study at a destination, each in one state."""

    states: Counter[str] = field(default_factory=Counter)
    warnings: Counter[int] = field(default_factory=Counter)
    refusals: Counter[tuple[str, int | None]] = field(default_factory=Counter)
    failures: Counter[tuple[str, int | None]] = field(default_factory=Counter)
    decoded: int = 0
    obsolete: list[str] = field(default_factory=list)


def of_study(archive: Archive, study: str, jobs: list[Job]) -> list[dict[str, Any]]:
    """Return how it stands at each destination that a study goes to.

    Returns
    -------
    list of dict
        For each destination the numbers of instances: ``total`` is ``delivered`` (with Success or a warning) plus
        ``refused`` (not deliverable, for the reasons in ``refusals``: not tried again until somebody wants it) plus
        ``failed`` (tried in vain, for the reasons in ``failures``, and tried again) plus ``outstanding`` (it has not
        been their turn); ``notified`` of those shall be fetched. ``warnings``: statuses besides Success that came
        with what is delivered, each with its name and the number of instances. ``decoded``: how much was decoded
        without loss. ``obsolete``: SOP Instance UIDs of what it was sent and something else has taken the place of
        since; it may have them still. Further ``state`` of the job (``done`` or ``incomplete`` without one), ``mode``,
        ``form``, ``form_reason``, ``exceptions`` (series that go in another form, each with that and the reason),
        ``kept_classic`` (how many ``images`` go as classic ones, ``of`` those that there are enhanced objects for),
        ``attempts``, ``next_attempt``, ``reason`` and ``commitment``.
    """
    found = archive.database.rows("SELECT DISTINCT destination FROM delivery WHERE study = ?", (study,))
    commitments = commitment_status.of_study(archive.database, study, jobs)
    decisions = {one.destination: one for one in archive.custody.decisions(study)}
    waiting = {job.destination: job for job in jobs if job.kind == DELIVER}
    return [
        _destination(archive, study, name, decisions.get(name), waiting.get(name))
        | {"commitment": commitments.get(name) or commitment_status.nothing()}
        for name in sorted({one for (one,) in found} | decisions.keys() | waiting.keys())
    ]


def _destination(archive: Archive, study: str, name: str, decision: Decision | None, job: Job | None) -> dict[str, Any]:
    counts = _counted(archive, study, name, decision)
    states, total = counts.states, counts.states.total()
    reasons = [reason for (reason, _), _ in (*counts.failures.most_common(1), *counts.refusals.most_common(1))]
    return {
        "destination": name,
        "state": job.state if job else "incomplete" if states[DELIVERED] < total else "done",
        "mode": "pull" if decision is not None and decision.reason == FETCHES else "push",
        "form": name_of(decision.view) if decision is not None else None,
        "form_reason": decision.reason if decision is not None else "",
        "exceptions": _exceptions(decision) if decision is not None else [],
        "kept_classic": kept_classic(archive, study, name, decision),
        "total": total,
        "delivered": states[DELIVERED],
        "notified": states[NOTIFIED],
        "outstanding": states[PENDING] + states[NOTIFIED],
        "refused": states[REFUSED],
        "failed": states[FAILED],
        "warnings": [
            {"status": f"{code:04X}", "name": status_of(code).name, "instances": count}
            for code, count in sorted(counts.warnings.items())
        ],
        "refusals": _grouped(counts.refusals),
        "failures": _grouped(counts.failures),
        "decoded": counts.decoded,
        "obsolete": counts.obsolete,
        "attempts": job.attempts if job else 0,
        "next_attempt": job.not_before if job and job.state == WAITING else None,
        "reason": (job.reason if job else "") or (reasons[0] if reasons else ""),
    }


def kept_classic(archive: Archive, study: str, name: str, decision: Decision | None) -> dict[str, int]:
    """Return how many images that were converted go to a destination as they were, of how many.

    Parameters
    ----------
    archive : Archive
        Holds them.
    study, name : str
        Study Instance UID, and AE title of the destination.
    decision : Decision or None
        What was decided about the two.
    """
    forms = decision.series if decision is not None else {}
    if not any(form.view == View.CLASSIC for form in forms.values()):
        return {"images": 0, "of": 0}
    rows = [
        row
        for row in both_forms(archive, name, study)
        if row.views & View.CLASSIC and not row.views & View.ENHANCED and row.sop_class in CLASSIC_MODALITIES
    ]
    kept = [row for row in rows if row.series in forms and forms[row.series].view == View.CLASSIC]
    return {"images": len(kept), "of": len(rows)}


def _exceptions(decision: Decision) -> list[dict[str, Any]]:
    return [
        {"series": uid, "form": name_of(form.view), "reason": form.reason}
        for uid, form in sorted(decision.exceptions.items())
    ]


def _counted(archive: Archive, study: str, name: str, decision: Decision | None) -> _Counts:
    known = {one.sop_instance: one for one in archive.custody.deliveries(study, name)}
    if decision is not None:
        rows = due(archive, name, study, decision.view, fetches=decision.reason == FETCHES)
    elif known:  # both forms are the same so far
        several = collisions.of_study(archive, study)
        rows = [row for row in archive.instances(list(known)) if row.views]
        rows = [several[row.sop_instance].first if row.sop_instance in several else row for row in rows]
    else:  # nobody has been asked yet
        rows = due(archive, name, study, View.ENHANCED)
    counts = _Counts()
    now = {row.sop_instance for row in rows}
    counts.obsolete = sorted(uid for uid, one in known.items() if one.state == DELIVERED and uid not in now)
    for row in rows:
        one = known.get(row.sop_instance)
        if one is None or one.digest != row.digest:
            counts.states[PENDING] += 1
            continue
        counts.states[one.state] += 1
        if one.state == DELIVERED:
            counts.decoded += one.reason.startswith(DECODED)
            if one.status:
                counts.warnings[one.status] += 1
        elif one.state in (REFUSED, FAILED):
            (counts.refusals if one.state == REFUSED else counts.failures)[one.reason, one.status] += 1
    return counts


def _grouped(counts: Counter[tuple[str, int | None]]) -> list[dict[str, Any]]:
    return [
        {"reason": reason, "status": None if status is None else f"{status:04X}", "instances": count}
        for (reason, status), count in counts.most_common()
    ]
