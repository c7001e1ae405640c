"""A gateway to ask, and who asks it: for the tests of C-FIND."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

from gateway.archive.index import Archive
from gateway.archive.views import View
from gateway.network.policy import NetworkSettings, Peer
from gateway.network.sender import Sender
from gateway.network.server import Server
from gateway.network.slots import Slots

PATIENT_ROOT = "1.2.840.10008.5.1.4.1.2.1.1"
STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"
PATIENT_STUDY_ONLY = "1.2.840.10008.5.1.4.1.2.3.1"
REPOSITORY = "1.2.840.10008.5.1.4.1.1.201.6"
MODELS = (PATIENT_ROOT, STUDY_ROOT, PATIENT_STUDY_ONLY, REPOSITORY)

# The bytes of extended negotiation for C-FIND.
RELATIONAL, DATETIME, FUZZY, TIMEZONE, VIEW, EMPTY, MULTIPLE = range(7)


@dataclass
class Box:
    """A gateway with an archive, listening."""

    port: int
    archive: Archive
    server: Server


@contextlib.contextmanager
def box(folder: Path, **settings: Any) -> Iterator[Box]:
    """Run a gateway; `settings` are those of `NetworkSettings`."""
    archive = Archive(folder / "data")
    stop = threading.Event()
    given: dict[str, Any] = {
        "peers": (Peer("WORKSTATION"), Peer("STORE_ONLY", may=frozenset(("store",)))),
        "views": {"GATEWAY_ENH": View.ENHANCED, "GATEWAY_CLS": View.CLASSIC},
        "query_wait": 0.0,
    } | settings
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(
            listener,
            NetworkSettings("GATEWAY", **given),
            archive,
            slots=Slots(1, 5),
            worker=0,
            outbound=Sender(),
        )
        thread = threading.Thread(target=server.run, args=(stop,), daemon=True)
        thread.start()
        try:
            yield Box(listener.getsockname()[1], archive, server)
        finally:
            stop.set()
            thread.join(60)
            archive.close()


@dataclass
class Answer:
    """All responses to one C-FIND request."""

    matches: list[Dataset] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)
    final: Any = None

    @property
    def status(self) -> int:
        return int(self.final.Status)

    def values(self, keyword: str) -> list[Any]:
        return [match.get(keyword) for match in self.matches]


@contextlib.contextmanager
def association(
    port: int,
    options: Sequence[int] = (),
    *,
    called: str = "GATEWAY",
    calling: str = "WORKSTATION",
    models: Sequence[str] = MODELS,
    syntax: str | None = None,
) -> Iterator[Any]:
    """Associate with extended negotiation of the bytes numbered in `options`."""
    entity = AE(calling)
    for model in models:
        entity.add_requested_context(model, syntax)
    items = []
    for model in models if options else ():
        item = SOPClassExtendedNegotiation()
        item.sop_class_uid = UID(model)
        item.service_class_application_information = bytes(int(number in options) for number in range(7))
        items.append(item)
    made = entity.associate("127.0.0.1", port, ae_title=called, ext_neg=items)
    assert made.is_established
    try:
        yield made
    finally:
        made.release()


def identifier(level: str, **keys: Any) -> Dataset:
    """Make an Identifier; a dict as value is the item of a sequence."""
    made = Dataset()
    made.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(made, keyword, [item_of(value)] if isinstance(value, dict) else value)
    return made


def item_of(keys: Mapping[str, Any]) -> Dataset:
    item = Dataset()
    for keyword, value in keys.items():
        setattr(item, keyword, [item_of(value)] if isinstance(value, dict) else value)
    return item


def ask(made: Any, asked: Dataset, model: str = STUDY_ROOT) -> Answer:
    """Send a request and gather the responses."""
    answer = Answer()
    for status, match in made.send_c_find(asked, UID(model)):
        if status.get("Status") in (0xFF00, 0xFF01):
            answer.pending.append(status.Status)
            answer.matches.append(match)
        else:
            answer.final = status
            assert match is None
        if status.get("Status") == 0xB001:
            # It is final (C.6.4.5.2); pynetdicom waits for another response and keeps its reactor stopped.
            made._reactor_checkpoint.set()
            break
    return answer


def find(port: int, asked: Dataset, options: Sequence[int] = (), model: str = STUDY_ROOT, **how: Any) -> Answer:
    """Ask once, in an association of its own."""
    with association(port, options, **how) as made:
        return ask(made, asked, model)
