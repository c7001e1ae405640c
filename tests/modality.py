"""A modality that asks for storage commitment, stock pynetdicom: on one association, or listening for the answer."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from loopback import free_port
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt
from pynetdicom.transport import ThreadedAssociationServer

from gateway.standard.commitment import STORAGE_COMMITMENT_INSTANCE, STORAGE_COMMITMENT_PUSH

Pair = tuple[str, str]


def action_information(references: Iterable[Pair], transaction: str = "") -> Dataset:
    """Return the data set of a request; class and instance of each reference."""
    information = Dataset()
    information.TransactionUID = transaction or generate_uid()
    information.ReferencedSOPSequence = []
    for sop_class, sop_instance in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
        information.ReferencedSOPSequence.append(item)
    return information


class Answer:
    """A result that was reported.

    Attributes
    ----------
    kind : int
        Event Type ID.
    committed : list of (str, str)
        Class and instance of what is committed to.
    failed : dict of (str, str) to int
        Failure Reason of what is not.
    calling : str
        Who has opened the association it came on; empty if that was the modality.
    """

    def __init__(self, event: Any, calling: str) -> None:
        self.kind = int(event.event_type)
        self.information: Dataset = event.event_information
        self.transaction = str(self.information.TransactionUID)
        self.calling = calling
        self.roles = {
            str(uid): (one.scu_role, one.scp_role) for uid, one in event.assoc.requestor.role_selection.items()
        }
        self.committed = [_pair(item) for item in self.information.get("ReferencedSOPSequence", [])]
        self.failed = {_pair(item): int(item.FailureReason) for item in self.information.get("FailedSOPSequence", [])}


def _pair(item: Dataset) -> Pair:
    return str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID)


class Modality:
    """Asks, and takes answers wherever they come.

    Attributes
    ----------
    answers : list of Answer
        All that came.
    statuses : list of int
        What it responds to answers, the first ones; then Success.
    """

    def __init__(self, port: int, title: str = "CT1", listens_on: int = 0) -> None:
        self.title = title
        self.box = port
        self.port = listens_on or free_port()
        self.answers: list[Answer] = []
        self.statuses: list[int] = []
        self._serving: list[threading.Thread] = []
        self._server: Any = None

    # Asking

    @contextlib.contextmanager
    def association(self, called: str = "GATEWAY", **more: Any) -> Iterator[Any]:
        """Hold an association on which commitment can be asked for."""
        entity = AE(self.title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
        entity.add_requested_context(STORAGE_COMMITMENT_PUSH, ImplicitVRLittleEndian)
        handlers: Any = [(evt.EVT_N_EVENT_REPORT, lambda event: self._take(event, ""))]
        association = entity.associate("127.0.0.1", self.box, ae_title=called, evt_handlers=handlers, **more)
        assert association.is_established
        try:
            yield association
        finally:
            # pynetdicom serves a report in a thread of its own, and can hang for ever in a release before its end.
            for thread in self._serving:
                thread.join(60)
            association.release() if association.is_established else association.abort()

    def ask(self, association: Any, references: Iterable[Pair], transaction: str = "") -> tuple[int, str]:
        """Ask for commitment; status of the response and Transaction UID."""
        information = action_information(references, transaction)
        status, _ = association.send_n_action(information, 1, STORAGE_COMMITMENT_PUSH, STORAGE_COMMITMENT_INSTANCE)
        return int(status.Status), str(information.TransactionUID)

    def ask_and_leave(self, references: Iterable[Pair], called: str = "GATEWAY", transaction: str = "") -> str:
        """Ask for commitment and release the association; returns the Transaction UID."""
        with self.association(called) as association:
            status, uid = self.ask(association, references, transaction)
        assert status == 0x0000, f"{status:04X}"
        return uid

    # Being told

    def __enter__(self) -> Modality:
        """Listen for answers."""
        self._entity = AE(self.title)
        self._entity.add_supported_context(STORAGE_COMMITMENT_PUSH, scu_role=True, scp_role=True)
        handlers: Any = [(evt.EVT_N_EVENT_REPORT, self._listened)]
        self._server = self._entity.make_server(
            ("127.0.0.1", self.port), evt_handlers=handlers, server_class=ThreadedAssociationServer
        )
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._entity._servers.append(self._server)
        self._server.shutdown()

    def _listened(self, event: Any) -> tuple[int, None]:
        return self._take(event, event.assoc.requestor.ae_title)

    def _take(self, event: Any, calling: str) -> tuple[int, None]:
        self._serving.append(threading.current_thread())
        self.answers.append(Answer(event, calling))
        return (self.statuses.pop(0) if self.statuses else 0x0000), None
