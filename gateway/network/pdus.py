"""The PDUs that the gateway makes itself when it requests an association and sends (PS3.8 section 9.3)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext

from gateway.errors import Rejected
from gateway.network.associate_pdus import APPLICATION_CONTEXT
from gateway.objects.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from gateway.retrieval.engine import Destination

# Answers are small; a peer that announces more than this in one PDU is not talking DICOM.
LARGEST_RECEIVED = 1 << 18
# PDUs larger than this gain nothing; smaller ones are written several at a time.
LARGEST_SENT = 1 << 17
WRITTEN_AT_ONCE = 1 << 18

# A P-DATA-TF PDU up to the bytes of its one fragment: type, length, length of the item, context, control header.
_HEAD = struct.Struct(">BxLLBB")


def associate_request(
    destination: Destination,
    proposals: Sequence[tuple[str, str]],
    roles: Mapping[str, tuple[bool, bool]] = MappingProxyType({}),
) -> bytes:
    """Return the A-ASSOCIATE-RQ PDU with one context for each pair of abstract and transfer syntax (PS3.8 9.3.2).

    `roles` are those proposed for a SOP class: SCU and SCP (PS3.7 D.3.3.4).
    """
    length = MaximumLengthNotification()
    length.maximum_length_received = LARGEST_RECEIVED
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    contexts = []
    for number, (abstract, transfer) in enumerate(proposals):
        context = PresentationContext()
        context.context_id = 2 * number + 1
        context.abstract_syntax = UID(abstract)
        context.transfer_syntax = [UID(transfer)]
        contexts.append(context)
    request = A_ASSOCIATE()
    request.application_context_name = UID(APPLICATION_CONTEXT)
    request.calling_ae_title = destination.calling_ae
    request.called_ae_title = destination.ae_title
    request.presentation_context_definition_list = contexts
    request.user_information = [length, implementation, version, *(_role(*item) for item in roles.items())]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(request)
    return pdu.encode()


def _role(sop_class: str, proposed: tuple[bool, bool]) -> SCP_SCU_RoleSelectionNegotiation:
    item = SCP_SCU_RoleSelectionNegotiation()
    item.sop_class_uid = UID(sop_class)
    item.scu_role, item.scp_role = proposed
    return item


def fragments(context_id: int, chunks: Iterable[bytes], maximum: int, *, command: bool = False) -> Iterator[memoryview]:
    """Cut a command or data set into P-DATA-TF PDUs of one fragment each (PS3.8 9.3.5 and annex E).

    Parameters
    ----------
    context_id : int
        The presentation context.
    chunks : iterable of bytes
        The bytes, in pieces of any size; there is at least one.
    maximum : int
        Maximum length of a PDU body by the peer's wish, 0 for none.
    command : bool
        Whether the bytes are a command set.

    Yields
    ------
    memoryview
        Whole PDUs, several at a time when they are small; valid until the next one is asked for.
    """
    room = (min(maximum or LARGEST_SENT, LARGEST_SENT) - 6) & ~1
    buffer = bytearray(max(1, WRITTEN_AT_ONCE // (room + 12)) * (room + 12))
    view = memoryview(buffer)
    position = begin = space = 0
    for chunk in chunks:
        piece = memoryview(chunk)
        while piece:
            if not space:
                if position == len(buffer):
                    yield view
                    position = 0
                begin, space = position, room
                _HEAD.pack_into(buffer, begin, 4, room + 6, room + 2, context_id, command)
                position += 12
            taken = min(space, len(piece))
            view[position : position + taken] = piece[:taken]
            piece = piece[taken:]
            position, space = position + taken, space - taken
    # Only now is it known that this fragment is the last, and how long it is.
    used = room - space
    _HEAD.pack_into(buffer, begin, 4, used + 6, used + 2, context_id, command | 2)
    yield view[:position]


# Source and diagnostic of rejections for the settings of a peer, if it calls them permanent (PS3.8 table 9-21).
_LASTING = frozenset(((1, 2), (1, 3), (1, 7), (2, 2)))


def rejected(destination: Destination, answer: A_ASSOCIATE_RJ) -> Rejected:
    """Return the error of a rejection; what a peer rejects for its load passes, whatever it calls that."""
    source, diagnostic = answer.source or 0, answer.reason_diagnostic or 0
    title = {(1, 3): destination.calling_ae, (1, 7): destination.ae_title}.get((source, diagnostic))
    reason = _why(answer) + (f" ({title})" if title else "")
    error = Rejected(str(destination), f"association rejected: {reason}", remedy="check both AE titles")
    error.lasting = answer.result == 1 and (source, diagnostic) in _LASTING
    return error


def _why(rejection: A_ASSOCIATE_RJ) -> str:
    """Return the reason of a rejection in words (PS3.8 table 9-21)."""
    numbers = f"result {rejection.result}, source {rejection.source}, reason {rejection.reason_diagnostic}"
    try:
        reason = rejection.reason_str
    except (ValueError, KeyError):
        return numbers
    return numbers if reason == "Reserved" else f"{reason[:1].lower()}{reason[1:]}"
