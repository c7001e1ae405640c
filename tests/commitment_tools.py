"""Destinations that are asked for storage commitment or notified, stock pynetdicom, and answer as a test says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from loopback import free_port
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, build_role, evt
from pynetdicom.transport import ThreadedAssociationServer

from gateway.network.commitment_lists import Failure, Reference, Result
from gateway.standard.commitment import INSTANCE_AVAILABILITY, STORAGE_COMMITMENT_INSTANCE, STORAGE_COMMITMENT_PUSH


def committing(request: Dataset) -> Result:
    """Commit to everything that is asked for."""
    return Result(str(request.TransactionUID), tuple(references(request)))


def failing(request: Dataset, reason: int, uids: Sequence[str] | None = None) -> Result:
    """Commit to everything but `uids`, by default to nothing."""
    asked = references(request)
    failed = [one for one in asked if uids is None or one.sop_instance in uids]
    good = tuple(one for one in asked if one not in failed)
    return Result(str(request.TransactionUID), good, tuple(Failure(*one, reason) for one in failed))


def references(request: Dataset) -> list[Reference]:
    """What a request is about."""
    return [
        Reference(str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
        for item in request.ReferencedSOPSequence
    ]


def type_of(result: Result) -> int:
    """The Event Type ID a result is reported as."""
    return 2 if result.failed else 1


def event_information(result: Result) -> Dataset:
    """The data set of a report (table J.3-2)."""
    information = Dataset()
    information.TransactionUID = result.transaction
    if result.committed:
        information.ReferencedSOPSequence = [_item(one) for one in result.committed]
    if result.failed:
        information.FailedSOPSequence = [_item(one, one.reason) for one in result.failed]
    return information


def _item(one: Reference | Failure, reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.sop_class, one.sop_instance
    if reason is not None:
        item.FailureReason = reason
    return item


def report(port: int, result: Result, *, calling: str = "PACS", event_type: int | None = None) -> int | None:
    """Report a result on an association of its own; the status answered, None without an association or a role."""
    entity = AE(calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
    entity.add_requested_context(STORAGE_COMMITMENT_PUSH)
    role = build_role(STORAGE_COMMITMENT_PUSH, scp_role=True)
    association = entity.associate("127.0.0.1", port, ae_title="GATEWAY", ext_neg=[role])
    if not association.is_established:
        return None
    try:
        status, _ = association.send_n_event_report(
            event_information(result),
            type_of(result) if event_type is None else event_type,
            UID(STORAGE_COMMITMENT_PUSH),
            UID(STORAGE_COMMITMENT_INSTANCE),
        )
        return int(status.Status) if "Status" in status else None
    finally:
        association.release()


class Committer:
    """Takes requests for storage commitment.

    Parameters
    ----------
    answer : callable, optional
        Gets the Action Information and returns the result that is reported on the same association at once; None
        reports nothing there.

    Attributes
    ----------
    requests : list of Dataset
        Action Information of every request.
    status : int
        Status of the N-ACTION response.
    breaks_off : bool
        Abort the association instead of answering, as some do whose caller is in no list of theirs.
    answers : list of int
        Statuses with which reports on the same association were answered.
    """

    def __init__(
        self, answer: Callable[[Dataset], Result | None] = committing, *, title: str = "PACS", port: int = 0
    ) -> None:
        self.answer = answer
        self.title = title
        self.port = port or free_port()
        self.requests: list[Dataset] = []
        self.status = 0x0000
        self.breaks_off = False
        self.answers: list[int] = []
        self.roles: list[Any] = []
        self._server: Any = None

    def add_to(self, entity: AE) -> list[Any]:
        """Have an application entity take the requests; returns its event handlers."""
        entity.add_supported_context(STORAGE_COMMITMENT_PUSH, scu_role=True, scp_role=True)
        return [(evt.EVT_N_ACTION, self._action), (evt.EVT_REQUESTED, self._requested)]

    def __enter__(self) -> Committer:
        self._entity = AE(self.title)
        handlers = self.add_to(self._entity)
        self._server = self._entity.make_server(
            ("127.0.0.1", self.port), evt_handlers=handlers, server_class=ThreadedAssociationServer
        )
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._entity._servers.append(self._server)
        self._server.shutdown()

    def _requested(self, event: Any) -> None:
        self.roles.append(
            {str(uid): (r.scu_role, r.scp_role) for uid, r in event.assoc.requestor.role_selection.items()}
        )

    def _action(self, event: Any) -> tuple[int, None]:
        request = event.action_information
        if self.breaks_off:
            event.assoc.abort()
            return 0x0000, None
        self.requests.append(request)
        result = self.answer(request) if self.status == 0x0000 else None
        if result is not None:
            threading.Thread(target=self._report, args=(event.assoc, result)).start()
        return self.status, None

    def _report(self, association: Any, result: Result) -> None:
        status, _ = association.send_n_event_report(
            event_information(result), type_of(result), STORAGE_COMMITMENT_PUSH, STORAGE_COMMITMENT_INSTANCE
        )
        self.answers.append(int(status.Status) if "Status" in status else -1)


class Notified:
    """A peer that takes Instance Availability Notifications, stock pynetdicom."""

    def __init__(self) -> None:
        self.port = free_port()
        self.notifications: list[Dataset] = []
        self.uids: list[str] = []
        self.calling: list[str] = []
        self.status = 0x0000

    def add_to(self, entity: AE) -> list[Any]:
        """Have an application entity take notifications; returns its event handlers."""
        entity.add_supported_context(INSTANCE_AVAILABILITY)
        return [(evt.EVT_N_CREATE, self._create)]

    def __enter__(self) -> Notified:
        self._entity = AE("PACS")
        handlers = self.add_to(self._entity)
        self._server: Any = self._entity.make_server(
            ("127.0.0.1", self.port),
            evt_handlers=handlers,
            server_class=ThreadedAssociationServer,
        )
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._entity._servers.append(self._server)
        self._server.shutdown()

    def _create(self, event: Any) -> tuple[int, Dataset]:
        self.notifications.append(event.attribute_list)
        self.uids.append(str(event.request.AffectedSOPInstanceUID))
        self.calling.append(event.assoc.requestor.ae_title)
        return self.status, event.attribute_list
