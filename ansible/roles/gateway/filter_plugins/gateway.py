"""Filters that read what the gateway says of itself: ``gateway doctor --json`` and ``gateway status --json``."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

# What a support bundle may hold of a study: numbers, states and names of machines. No text that a person or another
# machine has written: descriptions, and reasons that quote values, can hold a name. The UID is how a study is found.
BOX = ("idle", "waiting", "running", "held", "intake")
PROMISE = ("requester", "called", "transaction", "state", "asked_at", "instances", "committed", "failed", "attempts")
STUDY = ("study", "updated_at", "received", "account", "views", "settled", "pending", "idle")
SERIES = ("series", "number", "modality", "instances", "pending")
BECAME = ("fate", "sop_instance", "sop_class", "frames", "instances")
JOB = ("kind", "state", "attempts", "next_attempt")
DESTINATION = (
    *("destination", "state", "form", "total", "delivered", "refused", "failed", "outstanding", "decoded"),
    *("attempts", "next_attempt"),
)


def ailments(doctor: dict[str, Any], tolerate: Collection[str] = ()) -> list[str]:
    """Return what the doctor found wrong, a line each with its remedy, but for the codes that are tolerated."""
    return [
        " ".join(filter(None, (check["code"], check["subject"]))) + f": {check['reason']} -> {check['remedy']}"
        for check in doctor["checks"]
        if check["result"] == "failed" and check["code"] not in tolerate
    ]


def undelivered(status: dict[str, Any], accept: Collection[str] = ()) -> list[str]:
    """Return what speaks against putting a box out of service, a line each.

    Parameters
    ----------
    status : dict
        Of all studies.
    accept : collection of str
        Study Instance UIDs that may stay behind.
    """
    found = []
    named = {one["study"] for one in status["studies"]}
    busy = {one["study"] for one in status["studies"] if not one["idle"]}
    # What is accepted may try for ever; everything else, and what belongs to no study, has to be done.
    if not status["idle"] and (busy - set(accept) or not busy):
        found.append(f"busy: {status['running']} running, {status['waiting']} waiting; wait until it is idle")
    held = status["held"]
    for study in status["studies"]:
        uid = study["study"]
        if uid in accept:
            held -= _held(study)
            continue
        if not study["destinations"]:
            found.append(f"study {uid}: has been delivered nowhere")
        found += [
            f"study {uid}: {to['total'] - to['delivered']} not delivered to {to['destination']} ({to['state']})"
            for to in study["destinations"]
            if to["state"] != "done" or to["delivered"] < to["total"]
        ]
    if held:
        found.append(f"{held} held; see `gateway queue list`, then `gateway queue retry` or `gateway queue discard`")
    found += [f"study {uid}: accepted as left behind, and not on this box" for uid in sorted(set(accept) - named)]
    return found


def _held(study: dict[str, Any]) -> int:
    jobs = [*study["destinations"], study["conversion"] or {}]
    return sum(job.get("state") == "held" for job in jobs)


def without_patients(status: dict[str, Any]) -> dict[str, Any]:
    """Return a status in which nobody is named."""
    return {
        **_only(BOX, status),
        "promises": [_only(PROMISE, one) for one in status["promises"]["requests"]],
        "studies": [_anonymous(study) for study in status["studies"]],
    }


def _anonymous(study: dict[str, Any]) -> dict[str, Any]:
    return {
        **_only(STUDY, study),
        "conversion": _only(JOB, study["conversion"]) if study["conversion"] else None,
        "series": [
            {**_only(SERIES, one), "became": [_only(BECAME, entry) for entry in one["became"]]}
            for one in study["series"]
        ],
        "destinations": [_only(DESTINATION, one) for one in study["destinations"]],
    }


def _only(keys: tuple[str, ...], table: dict[str, Any]) -> dict[str, Any]:
    return {key: table[key] for key in keys if key in table}


def fixed(config: dict[str, Any], keys: dict[str, list[str]]) -> list[Any]:
    """Return what of a configuration only a restart can change, by the keys of each table."""
    return [config.get(table, {}).get(key) for table, names in keys.items() for key in names]


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {
            "gateway_ailments": ailments,
            "gateway_fixed": fixed,
            "gateway_undelivered": undelivered,
            "gateway_without_patients": without_patients,
        }
