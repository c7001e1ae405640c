"""A recipe that is damaged is made again from its sources: the same input gives the same bytes, as its digest proves.

What a conversion had before it is known from the records: the instances that it decided about, and what earlier ones
had made. So it is done once more in a folder of its own, and only what comes out with the digest of the object that was
proved, and may have been sent, takes the place of the damaged recipe.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gateway.archive import intact
from gateway.archive.damage import RECEIVED, RECIPE, Damage
from gateway.archive.durable import sync_folder
from gateway.archive.index import Archive
from gateway.archive.rows import InstanceRow
from gateway.conversion.headers import Headers
from gateway.conversion.held import Held
from gateway.conversion.identity import VOLUMES, Identity
from gateway.conversion.outcome import frozen_from
from gateway.conversion.study import SourceFile, convert_facts, gather_all
from gateway.errors import DamagedError, GatewayError
from gateway.observe import event, warning
from gateway.pipeline.dependants import guises

# Folders below derived/ that an attempt leaves which the process did not survive.
LEFTOVERS = ".remake-*"


def remade(archive: Archive, study: str, identity: Identity, watch: Callable[[], None]) -> str:
    """Look at the damaged files of a study, make its recipes again, return why one cannot be, if so.

    Parameters
    ----------
    archive : Archive
        Knows what is damaged.
    study : str
        Study Instance UID.
    identity : Identity
        Settings of the conversion.
    watch : callable
        Called again and again; what it raises comes through.
    """
    for damage in archive.damage.listing(study):
        # One that has been put right meanwhile is not named any more.
        if damage.kind == RECEIVED and (row := archive.named(damage.name)) is not None:
            intact.problem_of(archive, row, watch)
    left = [one for one in archive.damage.listing(study) if one.kind == RECIPE]
    problem = ""
    for damage in left:
        row = archive.named(damage.name)
        try:
            problem = _again(archive, damage, row, identity, watch) if row is not None else "the index does not know it"
        except (GatewayError, OSError) as error:
            problem = str(error)
        if problem:
            file = archive.damage.file(damage)
            warning("convert.not_remade", study=study, file=file, reason=problem)
            return f"{file} is damaged and cannot be made again: {problem}"
    return ""


def _again(archive: Archive, damage: Damage, row: InstanceRow, identity: Identity, watch: Callable[[], None]) -> str:
    """Make one recipe again; return why not."""
    records = archive.partitions(row.study)
    number = next((n for n, record in enumerate(records) if row.sop_instance in _made_by(record)), None)
    if number is None:
        return "no record says what it was made of"
    with tempfile.TemporaryDirectory(prefix=LEFTOVERS[:-1], dir=archive.files.derived) as folder:
        found = _converted(archive, row, records, number, identity, Path(folder), watch)
        if found is None:
            return "the same object does not come out again"
        place = archive.files.recipe_path(damage.name)
        archive.files.keep_damaged(place)
        os.replace(found, place)
        sync_folder(place.parent)
    archive.damage.clear(damage.name)
    event("convert.remade", study=row.study, instance=row.sop_instance)
    return ""


def _converted(
    archive: Archive,
    row: InstanceRow,
    records: list[dict],
    number: int,
    identity: Identity,
    folder: Path,
    watch: Callable[[], None],
) -> Path | None:
    """Do a conversion once more and return the recipe of an object if it came out as it was."""
    headers = Headers()
    sources = _sources(archive, records[number], row)
    for one in sources:
        archive.require(one)
    files = [SourceFile(one.name, archive.files.locate(one.name), one.digest, one.convert and not one.prior)
             for one in sources]  # fmt: skip
    facts, _ = gather_all(files, headers, lambda count: watch())
    later = {uid for record in records[number:] for uid in _made_by(record)}
    held = Held(
        guises=lambda uids: [one for one in guises(archive, list(uids), ()) if one.target.sop_instance not in later],
        members=lambda uids: archive.members(list(uids)),
        last_number=lambda series: archive.last_number(series),
    )
    result = convert_facts(
        facts,
        lambda uid: folder / f"{uid}.recipe",
        # As it was laid out then, whatever the configuration says now.
        identity=replace(identity, four_d=records[number].get("four_d", VOLUMES)),
        frozen=frozen_from(records[:number]),
        held=held,
        headers=headers,
        progress=lambda count: watch(),
    )
    recipes = [made.recipe for made in result.objects] + [made.recipe for made in result.companions]
    right = [one for one in recipes if one.sop_instance == row.sop_instance and one.digest == row.digest]
    return right[0].path if right else None


def _made_by(record: dict) -> set[str]:
    """Return the SOP Instance UIDs of what a conversion has made."""
    return {one["sop_instance"] for one in (*record["objects"], *record["companions"])}


def _sources(archive: Archive, record: dict, row: InstanceRow) -> list[InstanceRow]:
    """Return the instances that a conversion made all its objects of."""
    names = {name for one in record["objects"] for name in one["names"]}
    uids = {(uid, digest) for one in record["companions"] for uid, digest in one["sources"]}
    found = {}
    for name in names:
        if (one := archive.named(name)) is None:
            raise DamagedError(name, "is a source that the index does not know any more")
        found[name] = one
    for uid, digest in uids:
        found |= {one.name: one for one in archive.versions(uid) if one.digest == digest and one.kind == "received"}
    return sorted(found.values(), key=lambda one: one.id)
