"""``gateway status``: what the box is doing, study by study, in words for somebody who stands in front of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from gateway.archive.collisions import REMEDY
from gateway.archive.jobs import NOT_CONFIGURED
from gateway.archive.promises import ANSWERED, GIVEN_UP, HELD, OPEN
from gateway.archive.senders import DIFFER
from gateway.cli.common import config_option, count, harmless, json_option, load_config, open_archive, print_json, span
from gateway.cli.disagreements import disagreements
from gateway.conversion import account
from gateway.conversion.account import COPIED, FRAMES
from gateway.errors import ArchiveError

# Lines about damaged files; a disk that dies damages thousands.
MOST_DAMAGED = 20


@click.command()
@click.argument("study", required=False)
@config_option
@json_option
@click.option("--limit", default=20, show_default=True, help="Most studies to show, the latest first.")
def command(study: str | None, config_path: Path | None, as_json: bool, limit: int) -> None:
    """Show what the box is doing, per study and destination.

    STUDY is a Study Instance UID or an Accession Number; without it the studies that changed last are shown. In JSON,
    "idle": true means that nothing is pending.
    """
    from gateway.archive.status import box_status

    config = load_config(config_path)
    archive = open_archive(config)
    try:
        status = box_status(archive, study, limit=limit)
    finally:
        archive.close()
    if study is not None and not status["studies"]:
        raise ArchiveError(study, "no such study here", expected="a Study Instance UID or an Accession Number")
    if as_json:
        print_json(status)
        return
    click.echo("\n".join(map(harmless, describe(status, time.time()))))


def describe(status: dict[str, Any], now: float) -> Iterator[str]:
    """Yield the lines that say how the box is."""
    if status["idle"]:
        yield "idle: nothing is pending" + (f"; {count(status['held'], 'job')} held" if status["held"] else "")
    else:
        yield f"busy: {status['running']} running, {status['waiting']} waiting, {status['held']} held"
    yield from not_registered(status["not_registered"], now)
    if status["other_images"]:
        yield f"several images came under {count(status['other_images'], 'SOP Instance UID')}: see their studies"
    for promise in status["promises"]["requests"]:
        if promise["state"] != ANSWERED:
            yield asked(promise, now)
    for damage in status["damaged"][:MOST_DAMAGED]:
        yield damaged(damage)
    if len(status["damaged"]) > MOST_DAMAGED:
        yield f"damaged: {count(len(status['damaged']) - MOST_DAMAGED, 'more file')}, all of them with --json"
    yield from disagreements(status["conflicts"])
    for study in status["studies"]:
        yield ""
        yield from describe_study(study, now)


def damaged(damage: dict[str, Any]) -> str:
    """Say which file is not what was stored, of what, and what can be done."""
    holds = f" (instance {damage['instance']} of study {damage['study']})" if damage["instance"] else ""
    return f"damaged: {damage['file']}{holds}: {damage['reason']}; {damage['remedy']}"


def not_registered(known: dict[str, Any], now: float) -> Iterator[str]:
    """Say what was acknowledged and is not in the index."""
    if known["objects"]:
        held = f"{count(known['objects'], 'acknowledged object')} not registered, the oldest came"
        since = span(now - known["since"])
        yield f"{held} {since} ago: {known['files'][0]}; {known['remedy']}"


def asked(promise: dict[str, Any], now: float) -> str:
    """Say how it stands with a request for storage commitment."""
    head = f"commitment asked by {promise['requester']} {span(now - promise['asked_at'])} ago: "
    decided = f"{promise['committed']} of {count(promise['instances'], 'object')} committed"
    if promise["failed"]:
        decided += f", {promise['failed']} not"
    if promise["state"] == OPEN:
        return head + "; ".join(filter(None, (decided, promise["reason"])))
    if promise["state"] == GIVEN_UP:
        return f"{head}{decided}; given up, nobody took the answer: {promise['reason']}"
    if promise["state"] == HELD:
        return f"{head}{decided}; not answered: {promise['reason']}"
    if not promise["attempts"]:
        return f"{head}{decided}; to be answered"
    again = f"next attempt in {span((promise['next_attempt'] or now) - now)}, {_attempts(promise['attempts'])} so far"
    return f"{head}{decided}; not answered ({promise['reason']}), {again}"


def describe_study(study: dict[str, Any], now: float) -> Iterator[str]:
    """Yield the lines of one study."""
    patient = study["patient"]
    name = " ".join(filter(None, (patient["name"], f"({patient['id']})" if patient["id"] else "")))
    accession = f"accession {study['accession']}" if study["accession"] else ""
    yield ", ".join(filter(None, (name or "no patient name", study["date"], study["description"], accession)))
    yield f"  study {study['study']}"
    received = study["received"]
    yield f"  received: {count(received['instances'], 'object')} in {count(received['series'], 'series', 'series')}"
    yield from (f"  {line}" for line in conversion(study, now))
    yield from (f"  {line}" for line in doubts(study))
    for destination in study["destinations"]:
        said = filter(None, (delivery(destination, now), commitment(destination["commitment"], now)))
        yield f"  {destination['destination']}: {'; '.join(said)}"


def doubts(study: dict[str, Any]) -> Iterator[str]:
    """Yield what senders have done that the box cannot make good: one UID for several images, two contents of one."""
    found = study["other_images"]
    if found:
        names = ", ".join(one["sop_instance"] for one in found[:3]) + (", ..." if len(found) > 3 else "")
        total, held = sum(one["images"] for one in found), sum(one["held"] for one in found)
        peers = " and ".join(sorted({peer for one in found for peer in one["peers"]}))
        yield f"{total} different images came under {count(len(found), 'SOP Instance UID')} from {peers}: {names}"
        made = sum(one["part_of"] is not None for one in found)
        fate = f"; {made} had been converted before the others came and stay so" if made else ""
        yield f"  all are kept; the first of each UID goes to the destinations as received, {held} are held{fate}"
        yield f"  the box does not convert them or commit to them; {REMEDY}"
    for series, peers in study["senders_differ"].items():
        yield f"series {series}: {' and '.join(peers)} have sent different versions; no object has images of both"
        yield f"  {DIFFER}"


def conversion(study: dict[str, Any], now: float) -> Iterator[str]:
    """Yield what is happening to the images of a study and what became of them."""
    job = study["conversion"]
    if job is not None:
        yield _conversion_job(job, study["pending"], now)
    if study["settled"]:
        yield f"converted: {became(study['series'])}" if _enhanced(study["series"]) else became(study["series"])
        states = study["presentation_states"]
        beside = f"; {count(states, 'presentation state')} made beside them" if states else ""
        yield account.read(study["account"]).words() + beside


def _conversion_job(job: dict[str, Any], pending: int, now: float) -> str:
    images = count(pending, "object")
    if job["state"] == "running":
        return f"converting {images}"
    if job["state"] == "held":
        return f"conversion held: {job['reason']}"
    left = span((job["next_attempt"] or now) - now)
    if job["attempts"]:
        return f"conversion failed: {job['reason']}; next attempt in {left}, {_attempts(job['attempts'])} so far"
    return f"waiting {left} for more images, {images} not converted yet"


def _attempts(number: int) -> str:
    return count(number, "attempt")


def _enhanced(series: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [entry for one in series for entry in one["became"] if "frames" in entry]


def became(series: list[dict[str, Any]]) -> str:
    """Say what the series became: ``3 series into 3 enhanced objects (420 frames); 1 series unchanged: ...``."""
    parts = []
    made = _enhanced(series)
    if made:
        converted = sum(any("frames" in entry for entry in one["became"]) for one in series)
        objects = len({entry["sop_instance"] for entry in made})
        frames = sum(entry["frames"] for entry in made)
        into = f"{count(converted, 'series', 'series')} into {count(objects, 'enhanced object')}"
        parts.append(f"{into} ({count(frames, 'frame')})")
    whole: Counter[str] = Counter()
    some: Counter[str] = Counter()
    copied: Counter[str] = Counter()
    for one in series:
        others = [entry for entry in one["became"] if entry["fate"] != FRAMES]
        split = len(others) < len(one["became"])
        for entry in others:
            if entry["fate"] == COPIED:
                copied[entry["reason"]] += entry["instances"]
            elif split:
                some[entry["reason"]] += entry["instances"]
            else:
                whole[entry["reason"]] += 1
    parts += [f"{count(n, 'series', 'series')} unchanged: {reason}" for reason, n in whole.items()]
    parts += [f"{count(n, 'object')} of converted series unchanged: {reason}" for reason, n in some.items()]
    parts += [f"{count(n, 'object')} copied with updated references: {reason}" for reason, n in copied.items()]
    return "; ".join(parts)


def delivery(destination: dict[str, Any], now: float) -> str:
    """Say how it stands with a study at one destination."""
    progress = f"{destination['delivered']} of {destination['total']}"
    state = destination["state"]
    if state == "held" and not destination["refused"]:
        gone = destination["reason"].endswith(NOT_CONFIGURED)
        remedy = "name it there again and restart the gateway" if gone else "after mending it, `gateway queue retry`"
        return f"held: {destination['reason']}; {remedy}"
    if destination["mode"] == "pull" and destination["delivered"] < destination["total"]:
        return _fetching(destination, progress, now)
    said = (_sending(destination, progress, now), undeliverable(destination), obsolete(destination))
    return "; ".join(filter(None, said))


def _sending(destination: dict[str, Any], progress: str, now: float) -> str:
    """Say what has been delivered and what is being done about the rest."""
    state, form = destination["state"], destination["form"] or ""
    if state == "running":
        if destination["form"] is None:
            return "asking what it takes"
        return " ".join(filter(None, ("delivering", form, progress)))
    if state == "waiting" and destination["attempts"]:
        again = span((destination["next_attempt"] or now) - now)
        brought = f"; {progress} delivered{warned(destination)}" if destination["delivered"] else ""
        tried = _attempts(destination["attempts"])
        return f"not delivered ({destination['reason']}), next attempt in {again}, {tried} so far{brought}"
    if state == "waiting":
        put_off = f" ({destination['reason']})" if destination["reason"] else ""
        waits = f"delivery waits for its turn{put_off}, {progress} delivered"
        return waits if destination["delivered"] or put_off else "delivery is due"
    if state == "incomplete" and not destination["refused"]:
        return f"incomplete: {progress} delivered: {destination['reason']}"
    return _delivered(destination, form)


def _delivered(destination: dict[str, Any], form: str) -> str:
    why = f": {destination['form_reason']}" if form == "classic" and destination["form_reason"] else ""
    native = f", {destination['decoded']} of them decoded without loss" if destination["decoded"] else ""
    done = "fetched" if destination["mode"] == "pull" else "delivered"
    how = f" as {form}{why}{_otherwise(destination)}{_share(destination)}" if form and destination["delivered"] else ""
    return f"{done} {count(destination['delivered'], 'object')}{how}{native}{warned(destination)}"


def _share(destination: dict[str, Any]) -> str:
    """Say how many of the images that were converted have gone as they were."""
    kept = destination["kept_classic"]
    return f"; {kept['images']} of {count(kept['of'], 'converted image')} kept classic" if kept["images"] else ""


def _otherwise(destination: dict[str, Any]) -> str:
    """Say which series have gone in another form than the study, and why."""
    found = Counter((one["form"], one["reason"]) for one in destination["exceptions"])
    return "".join(f"; {count(n, 'series', 'series')} as {form}: {why}" for (form, why), n in found.items())


def warned(destination: dict[str, Any]) -> str:
    """Say with which warnings a destination has taken how much."""
    return "".join(
        f", {one['instances']} of them with {one['name']} ({one['status']})" for one in destination["warnings"]
    )


def undeliverable(destination: dict[str, Any]) -> str:
    """Say what a destination does not take, and why."""
    found = [f"{count(one['instances'], 'object')} not deliverable: {one['reason']}" for one in destination["refusals"]]
    shown = found[:3] + [f"{len(found) - 3} reasons more in --json"] * (len(found) > 3)
    remedy = "after mending it, `gateway queue retry`"
    return "; ".join([*shown, remedy]) if found else ""


def obsolete(destination: dict[str, Any]) -> str:
    """Say how much of what a destination was sent something else has taken the place of."""
    number = len(destination["obsolete"])
    return f"{count(number, 'object')} there obsolete, named by --json: remove them there" if number else ""


def _fetching(destination: dict[str, Any], progress: str, now: float) -> str:
    """Say what a destination that fetches has been told of and has fetched."""
    if not destination["notified"]:
        return f"to be notified: {destination['reason'] or 'it is due'}; {progress} fetched"
    again = f", told again in {span(destination['next_attempt'] - now)}" if destination["next_attempt"] else ""
    return f"notified of {count(destination['notified'], 'object')}{again}; {progress} fetched"


def commitment(known: dict[str, Any], now: float) -> str:
    """Say what a destination has committed to, and what else it was asked."""
    parts = [f"{known[name]} {words}" for name, words in _COMMITMENT if known[name]]
    if known["state"] == "held":
        parts.append(f"held: {known['reason']}; after mending it, `gateway queue retry`")
    elif known["reason"]:
        again = f", next look in {span(known['next_attempt'] - now)}" if known["next_attempt"] else ""
        parts.append(f"{known['reason']}{again}")
    return ", ".join(parts)


_COMMITMENT = (
    ("committed", "committed"),
    ("asked", "asked to commit to"),
    ("refused", "not committed"),
    ("excluded", "never asked for"),
)
