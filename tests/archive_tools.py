"""Small objects and an archive to put them into, for tests."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gateway.archive.admission import Arrival, Origin
from gateway.archive.index import Archive
from gateway.archive.parts import PartFile
from gateway.archive.registrar import Registrar
from gateway.archive.rows import Admission, DerivedRow
from gateway.clock import Clock
from gateway.objects.elements import DataSet, dataset, make, sequence
from gateway.objects.encode import encode
from gateway.objects.part10 import EXPLICIT_LITTLE, file_meta, read_header
from gateway.objects.recipe import RecipeWriter, digest_of, seal

CT = "1.2.840.10008.5.1.4.1.1.2"
LEGACY_CT = "1.2.840.10008.5.1.4.1.1.2.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
GSPS = "1.2.840.10008.5.1.4.1.1.11.1"


class HandClock(Clock):
    """A clock that a test moves."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


def ct(
    instance: str = "1.2.3.4.1",
    *,
    study: str = "1.2.3",
    series: str = "1.2.3.4",
    number: int = 1,
    sop_class: str = CT,
    refers_to: Sequence[str] = (),
    **more: Any,
) -> DataSet:
    """Return the data set of a small object, without pixels; `more` are keywords and values."""
    values: dict[str, Any] = {
        "SOPClassUID": sop_class,
        "SOPInstanceUID": instance,
        "StudyDate": "20240131",
        "StudyTime": "101500",
        "AccessionNumber": "A1",
        "Modality": "CT",
        "StudyDescription": "Thorax",
        "SeriesDescription": "axial",
        "PatientName": "Doe^Jane",
        "PatientID": "P1",
        "StudyInstanceUID": study,
        "SeriesInstanceUID": series,
        "SeriesNumber": 2,
        "InstanceNumber": number,
        "Rows": 4,
        "Columns": 4,
    } | more
    elements = [make(keyword, value) for keyword, value in values.items() if value is not None]
    if refers_to:
        items = [dataset(make("ReferencedSOPInstanceUID", uid)) for uid in refers_to]
        elements.append(sequence("ReferencedImageSequence", *items))
    return dataset(*elements)


def commit(archive: Archive, ds: DataSet, *, peer: str = "CT1", pixels: bytes = bytes(32)) -> str:
    """Write an object into the intake folder and return its name."""
    return _written(archive, ds, peer, pixels).commit()


def _written(archive: Archive, ds: DataSet, peer: str, pixels: bytes) -> PartFile:
    sop_class, instance = (ds[tag].value.rstrip(b"\0").decode() for tag in (0x00080016, 0x00080018))  # type: ignore
    part = archive.files.begin(file_meta(sop_class, instance, EXPLICIT_LITTLE, peer))
    part.write(encode(ds))
    part.write(b"\xe0\x7f\x10\x00OW\0\0" + len(pixels).to_bytes(4, "little") + pixels)
    return part


def hand_in(
    registrar: Registrar, ds: DataSet, *, peer: str = "CT1", pixels: bytes = bytes(32), called: str = "GATEWAY"
) -> str:
    """Receive an object as the network room does, and return its name; it is registered later."""
    archive = registrar.archive
    part = _written(archive, ds, peer, pixels)
    header = read_header(part.path)
    name = part.commit(hold=True)
    header.path = part.path
    registrar.take(Arrival(name, header, Origin(peer, called), archive.clock.now()), part)
    return name


def store(archive: Archive, ds: DataSet, *, peer: str = "CT1", pixels: bytes = bytes(32), **policy: Any) -> Admission:
    """Receive an object that is registered at once."""
    name = commit(archive, ds, peer=peer, pixels=pixels)
    header = read_header(archive.files.intake_path(name))
    return archive.admit(name, header, peer=peer, called="GATEWAY", **policy)


def store_file(archive: Archive, path: Path, **policy: Any) -> Admission:
    """Receive the object in a file."""
    header = read_header(path)
    part = archive.files.begin(file_meta(header.sop_class, header.sop_instance, header.transfer_syntax, "CT1"))
    part.write(path.read_bytes()[header.dataset_offset :])
    name = part.commit()
    return archive.admit(name, read_header(part.path), peer="CT1", called="GATEWAY", **policy)


def derive(archive: Archive, study: str, uid: str = "2.25.1", sop_class: str = LEGACY_CT) -> DerivedRow:
    """Make an object out of the received instances of a study: a header and the bytes of every source."""
    sources = archive.study_sources(study)
    attributes = ct(uid, study=study, series="2.25.2", sop_class=sop_class, NumberOfFrames=len(sources))
    attributes |= dataset(sequence("ReferencedImageSequence", dataset(make("ReferencedSOPInstanceUID", "1.9.9"))))
    name = uid.replace(".", "-")
    writer = RecipeWriter(archive.files.recipe_path(name))
    writer.write(encode(dataset(*attributes.values())))
    writer.write(b"\xe0\x7f\x10\x00OW\0\0" + (32 * len(sources)).to_bytes(4, "little"))
    recipe = writer.finish(
        sop_class=sop_class,
        sop_instance=uid,
        transfer_syntax=EXPLICIT_LITTLE,
        sources=[row.name for row in sources],
        segments=[("f", n, row.dataset_offset + row.length - 32, 32) for n, row in enumerate(sources)],
    )
    seal(recipe, digest_of(recipe.source(archive.files.locate)))
    frames = [(row.name, row.sop_instance) for row in sources]
    return DerivedRow(
        uid, sop_class, study, "2.25.2", name, EXPLICIT_LITTLE, recipe.length, recipe.digest, frames, attributes
    )


@contextlib.contextmanager
def refusing(archive: Archive, condition: str = "1") -> Iterator[None]:
    """Have the index take no instance of which a condition holds."""
    with contextlib.closing(sqlite3.connect(archive.files.root / "index.sqlite3", isolation_level=None)) as other:
        other.execute(
            f"CREATE TRIGGER refusing BEFORE INSERT ON instance WHEN {condition}"
            " BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
        try:
            yield
        finally:
            other.execute("DROP TRIGGER refusing")


def tallies(archive: Archive) -> dict[tuple[str, int], tuple[int, int]]:
    """Return series and instances of each study and view as the triggers have counted them."""
    sql = "SELECT t.uid, y.view, y.series, y.instances FROM study_tally y JOIN study t ON t.id = y.study"
    return {(uid, view): (series, count) for uid, view, series, count in archive.database.rows(sql) if count or series}


def counted(archive: Archive) -> dict[tuple[str, int], tuple[int, int]]:
    """Return the same, counted afresh."""
    sql = """SELECT t.uid, bit, count(DISTINCT s.id), count(*) FROM instance i JOIN series s ON s.id = i.series
        JOIN study t ON t.id = s.study JOIN (SELECT 1 AS bit UNION SELECT 2 UNION SELECT 4) ON i.views & bit
        GROUP BY t.uid, bit"""
    return {(uid, view): (series, count) for uid, view, series, count in archive.database.rows(sql)}


def debris(archive: Archive) -> list[str]:
    """Return what is on disk without anybody knowing it, and what is known without being on disk."""
    known = {name for (name,) in archive.database.rows("SELECT name FROM instance WHERE kind = 'received'")}
    on_disk = [path.stem for folder in ("intake", "received") for path in archive.files.root.glob(f"{folder}/**/*.dcm")]
    hidden = [
        path.name for path in archive.files.root.rglob(".*") if path.name != ".migrate.lock" and not is_blank(path)
    ]
    return sorted(known ^ set(on_disk)) + hidden + [name for name in set(on_disk) if on_disk.count(name) > 1]


def is_blank(path: Path) -> bool:
    """Whether a file was made ahead for an object to come, and nothing has come yet."""
    try:
        return path.suffix == ".part" and not path.stat().st_size
    except FileNotFoundError:
        return path.suffix == ".part"


def python(code: str, *arguments: object, faults: str = "") -> subprocess.Popen[str]:
    """Run a program in a process of its own that can import this module."""
    paths = os.pathsep.join((str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")))
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "GATEWAY_FAULTS": faults, "PYTHONPATH": paths},
    )
