"""A gateway with an archive of its own, studies for it, and the responses to a retrieval."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from gateway.archive.index import Archive
from gateway.archive.rows import DerivedRow, Settlement
from gateway.archive.views import ALL_VIEWS, View
from gateway.network.policy import NetworkSettings, Peer
from gateway.network.requestor import Timeouts
from gateway.network.sender import Sender
from gateway.network.server import Server
from gateway.network.slots import Slots
from gateway.objects.part10 import file_meta, read_header
from gateway.objects.recipe import RecipeWriter, digest_of, seal
from gateway.pipeline.convert import ConversionPolicy, Converter
from gateway.retrieval.engine import Destination

LEGACY_CT = "1.2.840.10008.5.1.4.1.1.2.2"
PATIENT = Timeouts(release=1)

# By level: the keys of a request for it, and how many instances they mean, of one `Study` of three images a series.
LEVELS = {
    "PATIENT": (("PatientID=PATIENT1",), 6),
    "STUDY": (("PatientID=PATIENT1", "StudyInstanceUID=1.2.826.1"), 6),
    "SERIES": (("PatientID=PATIENT1", "StudyInstanceUID=1.2.826.1", "SeriesInstanceUID=1.2.826.1.2"), 3),
    "IMAGE": (
        (
            *("PatientID=PATIENT1", "StudyInstanceUID=1.2.826.1", "SeriesInstanceUID=1.2.826.1.2"),
            "SOPInstanceUID=1.2.826.1.2.1\\1.2.826.1.2.3",
        ),
        2,
    ),
}

# Root of DCMTK's clients and level, wherever both go together.
EVERY_LEVEL = pytest.mark.parametrize(
    ("level", "root"),
    [(level, root) for level in LEVELS for root in ("-P", "-S") if (level, root) != ("PATIENT", "-S")],
)


@dataclass
class Study:
    """A study of two series with `count` instances each, as files."""

    patient: str = "PATIENT1"
    uid: str = "1.2.826.1"
    count: int = 3
    files: list[Path] = field(default_factory=list)

    def write(self, folder: Path) -> Study:
        template = dcmread(get_testdata_file("CT_small.dcm"))
        for series in (1, 2):
            for number in range(1, self.count + 1):
                template.PatientID = self.patient
                template.StudyInstanceUID = self.uid
                template.SeriesInstanceUID = f"{self.uid}.{series}"
                template.SeriesNumber, template.InstanceNumber = series, number
                uid = f"{self.uid}.{series}.{number}"
                template.SOPInstanceUID = template.file_meta.MediaStorageSOPInstanceUID = uid
                self.files.append(folder / f"{uid}.dcm")
                template.save_as(self.files[-1])
        return self

    @property
    def instances(self) -> list[str]:
        return [path.stem for path in self.files]


def saved(ds: Dataset, folder: Path) -> Path:
    """Write a data set into a folder."""
    path = folder / f"{ds.SOPInstanceUID}.dcm"
    ds.save_as(path, enforce_file_format=True)
    return path


@dataclass
class Box:
    """A gateway with an archive, listening."""

    port: int
    archive: Archive

    def admit(self, study: Study) -> None:
        self.admit_files(*study.files)

    def admit_files(self, *paths: Path) -> None:
        for path in paths:
            header = read_header(path)
            part = self.archive.files.begin(
                file_meta(header.sop_class, header.sop_instance, header.transfer_syntax, "CT1")
            )
            part.write(path.read_bytes()[header.dataset_offset :])
            header = read_header(part.path)
            name = part.commit()
            header.path = part.path
            self.archive.admit(name, header, peer="CT1", called="GATEWAY", convert=True, prior=False)

    def convert(self, study: Study) -> list[str]:
        """Let the conversion make one object of each series; its content does not matter here."""
        made, settled = [], {}
        for series in (1, 2):
            rows = self.archive.select(View.RECEIVED, study=[study.uid], series=[f"{study.uid}.{series}"])
            uid, name = f"2.25.{series}", f"made-{series}"
            path = self.archive.files.recipe_path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            writer = RecipeWriter(path)
            writer.write(b"header of the series")
            recipe = writer.finish(
                sop_class=LEGACY_CT,
                sop_instance=uid,
                transfer_syntax=rows[0].transfer_syntax,
                sources=[row.name for row in rows],
                segments=[("f", number, row.dataset_offset, 200) for number, row in enumerate(rows)],
            )
            seal(recipe, digest_of(recipe.source(self.archive.files.locate)))
            frames = [(row.name, row.sop_instance) for row in rows]
            attributes = read_header(study.files[0]).dataset
            made.append(
                DerivedRow(
                    *(uid, LEGACY_CT, study.uid, f"2.25.9{series}", name, recipe.transfer_syntax, recipe.length),
                    *(recipe.digest, frames, attributes),
                )
            )
            settled |= {row.name: Settlement(View.RECEIVED | View.CLASSIC) for row in rows}
        self.archive.record_conversion(study.uid, made, settled)
        return [row.sop_instance for row in made]

    def convert_all(self) -> None:
        """Do all conversions as the box does."""
        worker = Converter(self.archive, ConversionPolicy())
        self.archive.jobs.retry_now()
        while worker.step():
            pass

    def settle(self, study: Study) -> None:
        """Let the conversion decide that everything stays as it is."""
        rows = self.archive.unsettled(study.uid)
        settled = {row.name: Settlement(ALL_VIEWS, "stays as it is") for row in rows}
        self.archive.record_conversion(study.uid, [], settled)


@contextlib.contextmanager
def box(
    folder: Path,
    destinations: Mapping[str, int],
    *,
    deflate: frozenset[str] = frozenset(),
    timeouts: Timeouts = PATIENT,
    query_wait: float = 0.2,
) -> Iterator[Box]:
    settings = NetworkSettings(
        "GATEWAY",
        peers=(
            Peer("WORKSTATION"),
            Peer("STORE_ONLY", may=frozenset(("store",))),
            Peer("GET_ONLY", may=frozenset(("retrieve",))),
        ),
        views={"GATEWAY_ENH": View.ENHANCED, "GATEWAY_CLS": View.CLASSIC},
        destinations={
            ae: Destination(ae, "127.0.0.1", port, "GATEWAY", deflate=ae in deflate)
            for ae, port in destinations.items()
        },
        query_wait=query_wait,
    )
    archive = Archive(folder / "data")
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(listener, settings, archive, slots=Slots(1, 5), worker=0, outbound=Sender(timeouts))
        thread = threading.Thread(target=server.run, args=(stop,), daemon=True)
        thread.start()
        try:
            yield Box(listener.getsockname()[1], archive)
        finally:
            stop.set()
            thread.join(60)
            archive.close()


@dataclass
class Answer:
    """All responses to one C-MOVE request."""

    pending: list[Dataset]
    final: Dataset
    identifier: Dataset | None

    @property
    def status(self) -> int:
        return int(self.final.Status)

    @property
    def counts(self) -> tuple[int, ...]:
        return tuple(self.final.get(f"NumberOf{name}Suboperations") for name in ("Completed", "Failed", "Warning"))


def identifier(level: str, **keys: Any) -> Dataset:
    result = Dataset()
    result.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(result, keyword, value)
    return result
