"""Requests for storage commitment and their results as bytes (PS3.4 tables J.3-1 and J.3-2).

A list may have fifty thousand references: it is read and written one item at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pydicom.uid import UID

from gateway.archive.promises import COMMITTED, Reference
from gateway.errors import ObjectError
from gateway.network.commitment_lists import Malformed
from gateway.objects.elements import DataSet, Span, dataset, make, tag_of, tag_text, text
from gateway.objects.encode import element_head, encode, encode_item
from gateway.objects.parse import Syntax, item_ranges, parse_dataset
from gateway.objects.uids import valid_uid
from gateway.standard.commitment import (
    COMMITTED_ALL,
    FAILURES_EXIST,
    INVALID_ARGUMENT,
    PROCESSING_FAILURE,
    RESOURCE_LIMITATION,
)

MOST_REFERENCES = 50_000

_REFERENCED = tag_of("ReferencedSOPSequence")
_FAILED = tag_of("FailedSOPSequence")


class Request(NamedTuple):
    """Action Information: Transaction UID, and class and instance of each reference, none of them twice."""

    transaction: str
    references: list[tuple[str, str]]


def parse_request(data: bytes, transfer_syntax: str) -> Request:
    """Read Action Information.

    Raises
    ------
    Malformed
        With the status to answer.
    """
    syntax = Syntax(implicit=UID(transfer_syntax).is_implicit_VR, left=frozenset((_REFERENCED,)))
    try:
        information = parse_dataset(data, 0, len(data), syntax)[0]
        transaction = text(information, "TransactionUID")
        if not valid_uid(transaction):
            found = f": {transaction}" if transaction else ""
            raise Malformed(INVALID_ARGUMENT, f"Transaction UID is missing or no UID{found}")
        references = dict(_references(data, information, syntax))
    except ObjectError as error:
        raise Malformed(PROCESSING_FAILURE, f"data set: {error.subject} {error.problem}") from error
    if not references:
        raise Malformed(INVALID_ARGUMENT, "Referenced SOP Sequence is missing or empty")
    return Request(transaction, [(sop_class, uid) for uid, sop_class in references.items()])


def _references(data: bytes, information: DataSet, syntax: Syntax) -> Iterator[tuple[str, str]]:
    """Yield instance and class of each reference."""
    element = information.get(_REFERENCED)
    if element is None:
        return
    if not isinstance(element.value, Span):
        raise Malformed(INVALID_ARGUMENT, f"{tag_text(_REFERENCED)} is no sequence")
    seen: set[str] = set()
    classes: dict[str, str] = {}
    end = element.value.offset + element.value.length
    for start, length, _ in item_ranges(data, element.value.offset, end, syntax):
        item = parse_dataset(data, start, start + length, syntax)[0]
        sop_class, uid = text(item, "ReferencedSOPClassUID"), text(item, "ReferencedSOPInstanceUID")
        for keyword, value in (("SOP Class", sop_class), ("SOP Instance", uid)):
            if not valid_uid(value):
                raise Malformed(INVALID_ARGUMENT, f"Referenced {keyword} UID of item {len(seen) + 1} is no UID")
        if uid in seen:  # J.3.2.1.1.3
            raise Malformed(INVALID_ARGUMENT, f"referenced twice: {uid}")
        if len(seen) == MOST_REFERENCES:
            raise Malformed(RESOURCE_LIMITATION, f"more than {MOST_REFERENCES} references")
        seen.add(uid)
        yield uid, classes.setdefault(sop_class, sop_class)


def event_information(
    transaction: str, references: Iterable[Reference], retrieve_ae: str = "", *, implicit: bool
) -> tuple[int, bytes]:
    """Return Event Type ID and Event Information of a result.

    Parameters
    ----------
    transaction : str
        Transaction UID.
    references : iterable of Reference
        All of the request; each goes into the list it belongs to.
    retrieve_ae : str
        The AE title that all can be retrieved from: it stands once, and in no item (J.3.3.1.1.1).
    implicit : bool
        Whether the data set is encoded in Implicit VR Little Endian, else in Explicit.
    """
    failed, committed = bytearray(), bytearray()
    for one in references:
        if one.found == COMMITTED:
            committed += encode_item(_item(one, "" if retrieve_ae else one.retrieve_ae), implicit=implicit)
        else:
            failed += encode_item(_item(one), implicit=implicit)
    head = [make("TransactionUID", transaction)]
    if retrieve_ae:
        head.append(make("RetrieveAETitle", retrieve_ae))
    parts = [encode(dataset(*head), implicit=implicit)]
    for tag, items in ((_FAILED, failed), (_REFERENCED, committed)):
        if items:
            parts += (element_head(tag, "SQ", len(items), implicit=implicit), bytes(items))
    return FAILURES_EXIST if failed else COMMITTED_ALL, b"".join(parts)


def _item(one: Reference, retrieve_ae: str = "") -> DataSet:
    elements = [
        make("ReferencedSOPClassUID", one.sop_class),
        make("ReferencedSOPInstanceUID", one.sop_instance),
    ]
    if retrieve_ae:
        elements.append(make("RetrieveAETitle", retrieve_ae))
    if one.found != COMMITTED:
        # Whatever was not decided about is not committed to.
        elements.append(make("FailureReason", PROCESSING_FAILURE if one.found is None else one.found))
    return dataset(*elements)
