"""The whole box as processes on the loopback, a PACS for it to deliver to, and studies to send it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from archive_tools import is_blank
from loopback import eventually, free_port
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.dsutils import decode
from pynetdicom.transport import ThreadedAssociationServer

from gateway.archive.index import Archive
from gateway.archive.recovery import unregistered

LEGACY_CT = "1.2.840.10008.5.1.4.1.1.2.2"

# The box with delays that a test can wait for.
PROGRAM = """
import json, logging, sys
from gateway.cli import logs
from gateway.service.lean import as_served
with as_served():
    from gateway.pipeline.retry import Backoff
    from gateway.pipeline.commit import Patience
    from gateway.service import config, supervisor, worker
logs.set_up(logging.INFO)
quick = Backoff(first=0.2, longest=1.0)
slow = Backoff(first=1.0, longest=4.0, spread=0)
pace = worker.Pace(quick, Patience(stay=0.5, answer=slow, refused=slow), slow)
tuning = supervisor.Tuning(grace=3.0, deliveries=pace, conversions=quick, **json.loads(sys.argv[2]))
supervisor.run(config.load(sys.argv[1]), tuning, lambda: config.load(sys.argv[1]))
"""


class Box:
    """A gateway.

    Parameters
    ----------
    folder : Path
        Gets configuration, data directory and log.
    destinations : mapping
        Port of each destination by AE title, or its whole table.
    """

    def __init__(self, folder: Path, destinations: dict[str, Any], quiet: float = 1.0) -> None:
        self.port = free_port()
        self.data = folder / "data"
        self.log = folder / "log"
        self.config = folder / "gateway.toml"
        self.process: subprocess.Popen[bytes] | None = None
        lines = [
            "[gateway]",
            'bind = "127.0.0.1"',
            f"port = {self.port}",
            f'data_dir = "{self.data}"',
            "[intake]",
            'unknown_peers = "accept"',
            f"study_quiet_seconds = {quiet}",
        ]
        for title, table in destinations.items():
            lines += ["[[destination]]", f'ae_title = "{title}"', 'host = "127.0.0.1"']
            # All that is converted goes there as it was converted, but where a test says otherwise.
            table = {"suitability": "standard"} | (table if isinstance(table, dict) else {"port": table})
            lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
        self.config.write_text("\n".join(lines) + "\n")

    def start(self, faults: str = "", **tuning: float) -> None:
        """Start it and wait until it serves."""
        before = self.text().count(" ready ")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(self.config), json.dumps(tuning)],
                stderr=log,
                env=os.environ | {"GATEWAY_FAULTS": faults},
            )
        eventually(lambda: self.text().count(" ready ") > before or self.process.poll() is not None)
        assert self.process.poll() is None, self.text()

    def text(self) -> str:
        """Everything it has logged."""
        return self.log.read_text() if self.log.exists() else ""

    def logged(self, *words: str) -> list[str]:
        """The lines of the log that hold all of `words`."""
        return [line for line in self.text().splitlines() if all(word in line for word in words)]

    def stop(self) -> int:
        """Stop it in order and return its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self, role: str = "") -> int:
        """Kill the parent, or one child by what it does; return the id."""
        assert self.process is not None
        pids = self.pids(role) if role else [self.process.pid]
        for pid in pids[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not role:
            self.process.wait(60)
        return pids[0] if pids else 0

    def pids(self, role: str) -> list[int]:
        """The processes of a role: intake, convert or deliver."""
        assert self.process is not None
        try:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            return []
        return [int(pid) for pid in children if _name(pid) == f"gateway-{role}"]

    @contextlib.contextmanager
    def archive(self) -> Iterator[Archive]:
        """Its archive, to look at."""
        archive = Archive(self.data, readonly=True)
        try:
            yield archive
        finally:
            archive.close()

    def jobs(self) -> list[Any]:
        """What it has to do."""
        with self.archive() as archive:
            return archive.jobs.listing()

    def done(self) -> bool:
        """Whether nothing is left to do."""
        with self.archive() as archive:
            # In this order: what is registered in between has made a job.
            return not unregistered(archive) and not archive.jobs.listing()

    def wait_done(self) -> None:
        """Wait until nothing is left to do."""
        try:
            eventually(self.done)
        except AssertionError:
            raise AssertionError(f"{self.jobs()}\n{self.text()}") from None

    def debris(self) -> list[str]:
        """Files that should not be there once nothing is left to do."""
        with self.archive() as archive:
            known = {name for (name,) in archive.database.rows("SELECT name FROM derived")}
        return [
            str(path.relative_to(self.data))
            for path in self.data.rglob("*")
            if path.is_file()
            and (
                path.suffix == ".tmp"
                or (path.parent.name in ("intake", "quarantine") and not is_blank(path))
                or (path.suffix == ".recipe" and path.stem not in known)
            )
        ]

    def store(self, instances: Iterable[Dataset], calling: str = "CT1") -> list[str]:
        """Send instances and return the SOP Instance UIDs that were acknowledged; ends early if the box goes."""
        entity = AE(calling)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
        instances = list(instances)
        contexts = {(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID) for ds in instances}
        for sop_class, syntax in sorted(contexts):
            entity.add_requested_context(sop_class, syntax)
        association = entity.associate("127.0.0.1", self.port, ae_title="GATEWAY")
        acknowledged = []
        if not association.is_established:
            return []
        try:
            for ds in instances:
                answer = association.send_c_store(ds)
                if "Status" not in answer:
                    break
                assert answer.Status == 0x0000, answer
                acknowledged.append(ds.SOPInstanceUID)
        except RuntimeError:  # the association has gone between two instances
            pass
        finally:
            association.release() if association.is_established else association.abort()
        return acknowledged

    def store_persistently(self, instances: Iterable[Dataset], seconds: float = 60) -> None:
        """Send instances as a modality does: what was not acknowledged is sent again."""
        left = {ds.SOPInstanceUID: ds for ds in instances}
        deadline = time.monotonic() + seconds
        while left:
            for uid in self.store(left.values()):
                left.pop(uid)
            assert time.monotonic() < deadline, f"{len(left)} not acknowledged\n{self.text()}"
            time.sleep(0.05)


def _name(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


class Pacs:
    """A destination, stock pynetdicom.

    Parameters
    ----------
    title : str
        AE title.
    classes : sequence of str, optional
        The storage classes it takes; all by default.
    services : callable
        Each adds further services to its application entity and returns their event handlers.

    Attributes
    ----------
    received : dict of str to list of str
        Digest of each data set received, by SOP Instance UID.
    classes_of : dict of str to str
        SOP Class UID by SOP Instance UID.
    objects : dict of str to (str, bytes)
        Transfer syntax and data set of what came last, by SOP Instance UID.
    answer : callable
        Returns the status for an event, before anything is kept.
    tls : ssl.SSLContext or None
        Set before the start: what its callers are served with.
    """

    def __init__(
        self, title: str = "PACS", classes: list[str] | None = None, port: int = 0, *services: Callable[[AE], list[Any]]
    ) -> None:
        self.services = services
        self.title = title
        self.classes = classes
        self.port = port or free_port()
        self.received: dict[str, list[str]] = {}
        self.classes_of: dict[str, str] = {}
        self.objects: dict[str, tuple[str, bytes]] = {}
        self.associations = 0
        self.answer: Callable[[Any], int] = lambda event: 0x0000
        self.tls: Any = None
        self._lock = threading.Lock()
        self._server: Any = None

    def start(self) -> Pacs:
        """Begin to listen."""
        entity = AE(self.title)
        entity.maximum_pdu_size = 1 << 17
        contexts = self.classes or [context.abstract_syntax for context in AllStoragePresentationContexts]
        for sop_class in contexts:
            entity.add_supported_context(sop_class)
        handlers: Any = [(evt.EVT_C_STORE, self._store), (evt.EVT_ACCEPTED, self._accepted)]
        for add in self.services:
            handlers += add(entity)
        self._entity = entity
        self._server = entity.make_server(
            ("127.0.0.1", self.port),
            evt_handlers=handlers,
            server_class=ThreadedAssociationServer,
            ssl_context=self.tls,
        )
        # start_server() would do the same and make every stop() take half a second.
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._entity._servers.append(self._server)
            self._server.shutdown()
            self._server = None

    def _accepted(self, event: Any) -> None:
        self.associations += 1

    def _store(self, event: Any) -> int:
        status = self.answer(event)
        if status == 0x0000 or status >> 12 == 0xB:
            uid = str(event.request.AffectedSOPInstanceUID)
            data = event.encoded_dataset(include_meta=False)
            with self._lock:
                self.received.setdefault(uid, []).append(hashlib.blake2b(data).hexdigest())
                self.objects[uid] = (str(event.context.transfer_syntax), data)
                self.classes_of[uid] = str(event.request.AffectedSOPClassUID)
        return status

    def twice(self) -> list[str]:
        """What came more than once with different contents."""
        return [uid for uid, digests in self.received.items() if len(set(digests)) > 1]

    def dataset(self, uid: str) -> Dataset:
        """Decode what came under a UID."""
        syntax, data = self.objects[uid]
        return decode(BytesIO(data), UID(syntax).is_implicit_VR, UID(syntax).is_little_endian)

    def images(self) -> list[tuple[str, bytes]]:
        """The SOP Instance UID of the source and the pixels of every image it has, frame by frame."""
        found = []
        for uid in list(self.objects):  # more may come meanwhile
            ds = self.dataset(uid)
            frames = ds.get("PerFrameFunctionalGroupsSequence")
            names = [_source(frame) for frame in frames] if frames else [uid]
            length = 2 * ds.Rows * ds.Columns
            found += [(name, ds.PixelData[n * length : (n + 1) * length]) for n, name in enumerate(names)]
        return found


def _source(frame: Dataset) -> str:
    return str(frame.ConversionSourceAttributesSequence[0].ReferencedSOPInstanceUID)


def ct_study(count: int = 8, size: int = 16, study: str = "", series: str = "", start: int = 0) -> list[Dataset]:
    """A small CT series."""
    study, series = study or generate_uid(), series or generate_uid()
    frame_of_reference = f"{study[:56]}.9"
    return [_slice(number, size, study, series, frame_of_reference) for number in range(start, start + count)]


def _slice(number: int, size: int, study: str, series: str, frame_of_reference: str) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame_of_reference
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20260102"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = "101500"
    ds.ContentTime = f"1015{number % 60:02d}"
    ds.AccessionNumber, ds.StudyID = "A1", "1"
    ds.Modality, ds.Manufacturer = "CT", "Test"
    ds.ReferringPhysicianName, ds.PatientName, ds.PatientID = "", "Test^Patient", "P1"
    ds.PatientBirthDate, ds.PatientSex, ds.PatientPosition = "19700101", "O", "HFS"
    ds.PositionReferenceIndicator = ""
    ds.SeriesNumber, ds.AcquisitionNumber, ds.InstanceNumber = 1, 1, number + 1
    ds.SeriesDescription, ds.BodyPartExamined, ds.KVP = "test", "CHEST", "120"
    ds.SliceThickness, ds.PixelSpacing = "2", ["0.5", "0.5"]
    ds.ImagePositionPatient = ["0", "0", str(2 * number)]
    ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = size
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1024", "1", "HU"
    ds.WindowCenter, ds.WindowWidth = "40", "400"
    ds.PixelData = hashlib.shake_256(ds.SOPInstanceUID.encode()).digest(2 * size * size)
    return ds
