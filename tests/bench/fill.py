"""Send small instances, five of a study, for some seconds; print how many were taken: `python -m tests.bench.fill`."""

from __future__ import annotations

import socket
import sys
import time

from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode

from tests.bench.big_index import CLASSES, SERIES, modality_of, patient_of, study_of
from tests.scripted_caller import IMPLICIT, Caller


def instance(study: int, number: int) -> Dataset:
    """Return an instance without pixels."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in (patient_of(study) | study_of(study)).items():
        setattr(ds, keyword, value)
    ds.Modality = modality_of(study)
    ds.SOPClassUID = CLASSES[ds.Modality]
    ds.SeriesInstanceUID = f"{ds.StudyInstanceUID}.{number}"
    ds.SOPInstanceUID = f"{ds.SeriesInstanceUID}.1"
    ds.SeriesNumber, ds.InstanceNumber = number, 1
    return ds


class Sender(Caller):
    """Sends without waiting for anybody's delayed acknowledgement."""

    def pdu(self) -> tuple[int, bytes]:
        """Return the next PDU."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return super().pdu()


def main() -> None:
    """Send until the time is over."""
    port, called, seconds = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    contexts = [(sop_class, (IMPLICIT,)) for sop_class in CLASSES.values()]
    numbers = {sop_class: 2 * position + 1 for position, (sop_class, _) in enumerate(contexts)}
    with Sender(port, timeout=120) as caller:
        caller.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if caller.associate(contexts, calling="BENCH", called=called):
            raise SystemExit("no association")
        deadline, taken = time.monotonic() + seconds, 0
        while time.monotonic() < deadline and _store(caller, numbers, *divmod(taken, SERIES)):
            taken += 1
    print(taken)


def _store(caller: Caller, numbers: dict[str, int], study: int, number: int) -> bool:
    """Send one instance; False if the peer has had enough."""
    ds = instance(study, number)
    data = encode(ds, True, True) or b""
    caller.message_id %= 60000
    try:
        said = caller.store(data, ds.SOPClassUID, ds.SOPInstanceUID, context_id=numbers[ds.SOPClassUID])
    except (AssertionError, OSError) as error:
        print(f"ended by the peer: {error}")
        return False
    return said["status"] == 0


if __name__ == "__main__":
    main()
