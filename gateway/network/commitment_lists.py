"""What the box asks of destinations, and what they report: data sets of storage commitment (PS3.4 J.3-1, J.3-2)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.dsutils import decode

from gateway.objects.uids import valid_uid
from gateway.standard.commitment import (
    COMMITTED_ALL,
    FAILURES_EXIST,
    INVALID_ARGUMENT,
    NO_SUCH_EVENT,
    NO_SUCH_INSTANCE,
    PROCESSING_FAILURE,
    STORAGE_COMMITMENT_INSTANCE,
)


class Reference(NamedTuple):
    """An item of a Referenced SOP Sequence."""

    sop_class: str
    sop_instance: str


class Failure(NamedTuple):
    """An item of a Failed SOP Sequence."""

    sop_class: str
    sop_instance: str
    reason: int


@dataclass(frozen=True)
class Result:
    """Event Information of a storage commitment result, as the peer has said it.

    Attributes
    ----------
    transaction : str
        Transaction UID.
    committed : tuple of Reference
        Referenced SOP Sequence.
    failed : tuple of Failure
        Failed SOP Sequence.
    """

    transaction: str
    committed: tuple[Reference, ...]
    failed: tuple[Failure, ...] = ()


class Malformed(Exception):
    """A request or notification that cannot be served.

    Parameters
    ----------
    status : int
        Status of the response that says so (PS3.7 annex C).
    comment : str
        What is wrong, in plain words.
    """

    def __init__(self, status: int, comment: str) -> None:
        super().__init__(comment)
        self.status = status
        self.comment = comment


def action_information(transaction: str, references: Iterable[Reference]) -> Dataset:
    """Return the data set of an N-ACTION request (table J.3-1): its Transaction UID and what it asks for."""
    information = Dataset()
    information.TransactionUID = transaction
    information.ReferencedSOPSequence = [_item(one) for one in references]
    return information


def _item(one: Reference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = one.sop_class
    item.ReferencedSOPInstanceUID = one.sop_instance
    return item


def parse_result(sop_instance: str, event_type: int, content: BinaryIO, syntax: UID) -> Result:
    """Read an N-EVENT-REPORT request: SOP Instance, Event Type ID, Event Information and its transfer syntax.

    What the lists say is not compared with the Event Type ID: whatever is not in exactly one of them is not committed.

    Raises
    ------
    Malformed
        With the status to answer.
    """
    if event_type not in (COMMITTED_ALL, FAILURES_EXIST):
        raise Malformed(NO_SUCH_EVENT, f"Event Type ID {event_type}, expected {COMMITTED_ALL} or {FAILURES_EXIST}")
    information = _information(sop_instance, content, syntax)
    failed = _items(information, "FailedSOPSequence")
    return Result(
        _transaction(information),
        tuple(_references(information, "ReferencedSOPSequence")),
        tuple(Failure(*_reference(item, "FailedSOPSequence"), _reason(item)) for item in failed),
    )


def _information(sop_instance: str, content: BinaryIO, syntax: UID) -> Dataset:
    """Decode a data set and everything in it."""
    if sop_instance != STORAGE_COMMITMENT_INSTANCE:  # J.3.5
        raise Malformed(NO_SUCH_INSTANCE, "not the well-known instance of storage commitment")
    try:
        found = decode(content, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)  # type: ignore[arg-type]
        found.walk(lambda dataset, element: None)  # values are decoded when they are looked at
    except Exception as error:  # whatever pydicom makes of arbitrary bytes
        raise Malformed(PROCESSING_FAILURE, f"data set cannot be decoded: {error}") from error
    return found


def _transaction(information: Dataset) -> str:
    uid = str(information.get("TransactionUID", ""))
    if not valid_uid(uid):
        raise Malformed(INVALID_ARGUMENT, f"Transaction UID is missing or no UID: {uid!r}")
    return uid


def _items(information: Dataset, keyword: str) -> Collection[Dataset]:
    found: Any = information.get(keyword)
    if found is None:
        return ()
    if not all(isinstance(item, Dataset) for item in found):
        raise Malformed(INVALID_ARGUMENT, f"{keyword} is no sequence")
    return found


def _references(information: Dataset, keyword: str) -> Iterable[Reference]:
    return (_reference(item, keyword) for item in _items(information, keyword))


def _reference(item: Dataset, keyword: str) -> Reference:
    found = Reference(str(item.get("ReferencedSOPClassUID", "")), str(item.get("ReferencedSOPInstanceUID", "")))
    if not all(valid_uid(uid) for uid in found):
        raise Malformed(
            INVALID_ARGUMENT, f"{keyword} has an item without class and instance: {found[0]!r} {found[1]!r}"
        )
    return found


def _reason(item: Dataset) -> int:
    """Return the Failure Reason; an item without one still says that there is no commitment."""
    found = item.get("FailureReason")
    return found if isinstance(found, int) else PROCESSING_FAILURE
