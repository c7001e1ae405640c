"""The report of the demonstration: made of what was measured, printed for people or kept as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cli.common import count
from gateway.conversion import account
from gateway.standard.dictionary import uid_name

if TYPE_CHECKING:
    from gateway.archive.rows import InstanceRow
    from gateway.cli.evidence import Findings, Received
    from gateway.cli.material import Material
    from gateway.cli.stage import Stage


def make(
    material: Material,
    taken: Sequence[InstanceRow],
    status: Mapping[str, Any],
    findings: Findings,
    proofs: Mapping[str, str],
    stage: Stage,
    intake_seconds: float,
    problems: Sequence[str],
) -> dict[str, Any]:
    """Return the report as data."""
    made = [found for found in findings.received if found.made]
    unproved = [found for found in made if proofs.get(found.sop_instance, found.digest) != found.digest]
    strays = [f"{found.sop_instance}: arrived with other bytes than were proved" for found in unproved]
    series = list(_series(material, status, findings))
    measured = sum((account.read(one["account"]) for one in series), account.Account())
    everything = [*problems, *findings.problems, *strays, *_contradictions(series, measured, status)]
    if status["held"]:
        everything.append(f"the box holds {count(status['held'], 'job')}")
    return {
        "ok": not everything,
        "problems": everything,
        "received": {
            "instances": len(taken),
            "series": len({row.series for row in taken}),
            "studies": len({row.study for row in taken}),
            "bytes": sum(row.length for row in taken),
            "seconds": round(intake_seconds, 2),
        },
        "aside": [{"file": str(path), "reason": reason} for path, reason in material.aside],
        "account": measured.as_json(),
        "series": series,
        "proof": {
            "objects": len(made),
            "proved_bytes_arrived": sum(found.sop_instance in proofs for found in made) - len(unproved),
            "frames": findings.frames,
            "elements": findings.elements,
            "unchanged": findings.unchanged,
            "recoded": findings.recoded,
            "copies": findings.copies,
        },
        "pacs": {
            "objects": len(findings.received),
            "classes": dict(Counter(uid_name(found.sop_class) for found in findings.received).most_common()),
        },
        "delivered": asdict(stage.transfer("PACS")),
        "classic": asdict(stage.transfer("CLASSIC")),
    }


def _series(material: Material, status: Mapping[str, Any], findings: Findings) -> Iterator[dict[str, Any]]:
    """Yield for each series sent what the PACS has of it, and the box's reasons for what is no frame."""
    carriers = {uid: found for found in findings.received for uid in found.carries}
    copied = {found.source for found in findings.received if found.source}
    themselves = {found.sop_instance for found in findings.received}
    told = {one["series"]: one["became"] for study in status["studies"] for one in study["series"]}
    series: dict[str, list[str]] = {}
    for row in material.rows:
        series.setdefault(row.series, []).append(row.sop_instance)
    for uid, instances in series.items():
        fates = {
            sent: account.fate_of(
                settled=sent in themselves or sent in carriers or sent in copied or sent in findings.apart,
                in_view=sent in themselves,
                as_frame=sent in carriers,
                as_copy=sent in copied,
            )
            for sent in instances
        }
        parts = Counter(fates.values())
        frames = Counter(carriers[sent].sop_instance for sent in instances if fates[sent] == account.FRAMES)
        objects = {found.sop_instance: found for found in carriers.values()}
        yield {
            "series": uid,
            "title": material.titles[uid],
            "instances": len(instances),
            "account": account.Account(len(instances), parts).as_json(),
            "became": [_became(objects[made], number) for made, number in frames.items()],
            "unchanged": parts[account.UNCHANGED],
            "reasons": _reasons(told.get(uid, []), account.UNCHANGED),
            "copied": parts[account.COPIED],
            "copied_reasons": _reasons(told.get(uid, []), account.COPIED),
        }


def _reasons(became: Sequence[Mapping[str, Any]], fate: str) -> list[str]:
    """Return the box's reasons for a fate."""
    return list(dict.fromkeys(entry["reason"] for entry in became if entry["fate"] == fate))


def _contradictions(
    series: Sequence[Mapping[str, Any]], measured: account.Account, status: Mapping[str, Any]
) -> Iterator[str]:
    """Yield where the box says something else than the PACS has."""
    told = {one["series"]: one for study in status["studies"] for one in study["series"]}
    for one in series:
        entries = told.get(one["series"], {"became": []})["became"]
        said: Counter[str] = Counter()
        for entry in entries:
            said[entry["fate"]] += entry["frames" if entry["fate"] == account.FRAMES else "instances"]
        found = account.Account(one["instances"], said)
        if found.as_json() != one["account"]:
            here = account.read(one["account"]).words()
            yield f"series {one['series']}: the box says {found.words()}; at the PACS it is {here}"
        if any(entry.get("reason") == account.NO_REASON for entry in entries):
            yield f"series {one['series']}: the box has no reason for what is no frame"
    whole = sum((account.read(study["account"]) for study in status["studies"]), account.Account())
    if whole.as_json() != measured.as_json():
        yield f"the box says {whole.words()}; at the PACS it is {measured.words()}"
    if not measured.balanced:
        yield f"{measured.words()} does not add up"


def _became(found: Received, frames: int) -> dict[str, Any]:
    """Return what part of a series is in an object; `made` is false for an enhanced twin that was sent as well."""
    name = uid_name(found.sop_class)
    return {"sop_class": name, "sop_instance": found.sop_instance, "frames": frames, "made": found.made}


def save(path: Path, result: Mapping[str, Any]) -> None:
    """Write the report as JSON."""
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def size(number: int) -> str:
    """Return a number of bytes, counted as disks are."""
    return f"{number / 1e6:.1f} MB" if number >= 1e6 else f"{number / 1e3:.1f} kB"


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the report for people."""
    received = result["received"]
    yield (
        f"Received   {count(received['instances'], 'instance')} in {count(received['series'], 'series', 'series')} of"
        f" {count(received['studies'], 'study', 'studies')}, {size(received['bytes'])}, in {received['seconds']} s"
    )
    if result["aside"]:
        yield f"           {count(len(result['aside']), 'file')} left aside:"
        grouped = Counter(_kind(entry["reason"]) for entry in result["aside"])
        yield from (f"             {number:4} {reason}" for reason, number in grouped.most_common())
    yield ""
    yield "What became of each series"
    for series in _merged(result["series"]):
        yield from _series_lines(series)
    yield ""
    yield f"In all     {account.read(result['account']).words()}"
    yield ""
    yield from _proof_lines(result)
    yield ""
    yield from _pacs_lines(result)
    if result["montage"]["path"]:
        yield ""
        yield f"Picture    {result['montage']['path']}"
        yield "           a row an object, first, middle and last frame: source left, delivered right"
    yield ""
    yield from (f"NOT KEPT   {problem}" for problem in result["problems"])
    if result["ok"]:
        where = "as a frame, unchanged or as a copy"
        yield f"All of it is true: every instance is at the PACS exactly once, {where}. {result['seconds']} s in all."


def _kind(reason: str) -> str:
    """Return a reason without what is particular to one file."""
    return reason.partition("; ")[0].partition(": 1.")[0].partition(": 2.")[0]


def _merged(series: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the series, converted ones first; those that are unchanged for the same reasons as one row."""
    alike: dict[tuple[object, ...], list[Mapping[str, Any]]] = {}
    for one in sorted(series, key=lambda one: -one["instances"]):
        if one["became"]:
            yield one
        else:
            key = (*one["reasons"], one["copied"] > 0, *one["copied_reasons"])
            alike.setdefault(key, []).append(one)
    for group in alike.values():
        if len(group) == 1:
            yield group[0]
            continue
        kinds = sorted({word for one in group for word in one["title"].split()[:1] if word.isupper()})
        said = ", ".join(kinds)
        yield {
            **group[0],
            "title": f"{len(group)} series",
            "kinds": f" ({said})" if said else "",
            **{key: sum(one[key] for one in group) for key in ("instances", "unchanged", "copied")},
        }


def _series_lines(series: Mapping[str, Any]) -> Iterator[str]:
    title = f"  {series['title'][:40]:<40} {series['instances']:5} ->"
    objects = Counter(
        (entry["sop_class"].removesuffix(" Storage"), entry["made"], entry["frames"]) for entry in series["became"]
    )
    parts = [
        f"{number} {name}, {count(frames, 'frame')}{' each' if number > 1 else ''}"
        + ("" if made else ", received as such")
        for (name, made, frames), number in objects.items()
    ]
    for fate, words, why in (
        ("unchanged", "unchanged", "reasons"),
        ("copied", "copied with updated references", "copied_reasons"),
    ):
        if series[fate]:
            parts.append(f"{series[fate]} {words}: {'; '.join(series[why]) or account.NO_REASON}")
    found = sum(entry["frames"] for entry in series["became"]) + series["unchanged"] + series["copied"]
    if found < series["instances"]:
        parts.append(f"{series['instances'] - found} not at the PACS")
    parts[-1] += series.get("kinds", "")
    for n, part in enumerate(parts):
        yield f"{title if n == 0 else ' ' * len(title)} {part}"


def _proof_lines(result: Mapping[str, Any]) -> Iterator[str]:
    proof = result["proof"]
    yield f"Proof      {count(proof['objects'], 'enhanced object')} compared with the files that were sent:"
    yield f"           {count(proof['frames'], 'frame')} with the pixel bytes of their source files,"
    yield f"           {count(proof['elements'], 'element')} of the sources with their value in the objects;"
    yield f"           {count(proof['proved_bytes_arrived'], 'object')} arrived with the very bytes the box had proved,"
    yield f"           {count(proof['unchanged'], 'other instance')} byte for byte as they were sent"
    if proof["recoded"]:
        yield f"           {count(proof['recoded'], 'instance')} with the same elements in another transfer syntax"
    if proof["copies"]:
        copies = count(proof["copies"], "copy", "copies")
        yield f"           {copies} with every element, every reference pointing at what its target has become"


def _pacs_lines(result: Mapping[str, Any]) -> Iterator[str]:
    pacs, delivered, classic = result["pacs"], result["delivered"], result["classic"]
    yield f"The PACS   received {count(pacs['objects'], 'object')}:"
    yield from (f"             {number:4} {name}" for name, number in pacs["classes"].items())
    yield f"           {_transfer(delivered)}"
    yield f"           without the box it would have been {_transfer(classic)}"


def _transfer(transfer: Mapping[str, Any]) -> str:
    return f"{count(transfer['stores'], 'C-STORE operation')}, {size(transfer['bytes'])} in {transfer['seconds']:.2f} s"
