"""Which presentation contexts are accepted (PS3.8 9.3.3.2, PS3.7 D.3, PS3.4 B.4.1.2).

pynetdicom's negotiation follows the acceptor's order of transfer syntaxes and keeps one context for each abstract
syntax; here the requestor's first choice that the box can take and hand on wins, in every context it proposes, and if
there is none, its first choice that the box can take.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from pydicom.uid import UID, UID_dictionary
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import AllStoragePresentationContexts, PresentationContext

from gateway.archive.decoder import decodable
from gateway.standard.commitment import STORAGE_COMMITMENT_PUSH
from gateway.standard.compression import LOSSLESS
from gateway.standard.query_keys import FIND_MODELS
from gateway.standard.retrieve_models import RETRIEVE_MODELS

STORAGE_SERVICE_CLASS = "1.2.840.10008.4.2"
VERIFICATION = "1.2.840.10008.1.1"

# Results of PS3.8 table 9-18.
ACCEPTED, USER_REJECTION, NO_ABSTRACT_SYNTAX, NO_TRANSFER_SYNTAX = 0, 1, 3, 4

# Names say "Transfer Syntax" in PS3.6 table A-1 as well, but no data set is encoded in them.
_NOT_FOR_DATA_SETS = (
    "1.2.840.10008.1.2.6.",  # MIME encapsulation and XML, retired
    "1.2.840.10008.1.2.7.",  # SMPTE ST 2110 streams, for DICOM-RTV
    "1.2.840.10008.1.20",  # Papyrus
)

TRANSFER_SYNTAXES = frozenset(
    uid
    for uid, (_, kind, *_) in UID_dictionary.items()
    if kind == "Transfer Syntax" and not uid.startswith(_NOT_FOR_DATA_SETS)
)

# Commands carry identifiers only: no pixel data, no compression but deflate.
IDENTIFIER_SYNTAXES = frozenset(
    ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
)

# Long lists of references are written item by item.
LITTLE_ENDIAN = frozenset(("1.2.840.10008.1.2", "1.2.840.10008.1.2.1"))

# pynetdicom leaves out what has been retired since; old modalities and old archives still have it.
STORAGE_CLASSES = frozenset(str(context.abstract_syntax) for context in AllStoragePresentationContexts) | frozenset(
    uid
    for uid, (name, kind, _, status, _) in UID_dictionary.items()
    if kind == "SOP Class" and "Storage" in name and status and uid.startswith("1.2.840.10008.5.1.4.1.1.")
)

# SOP Class Extended Negotiation: what each byte of the application information of a class means, the first byte first;
# "" is reserved. Byte 5 of C-FIND is Query/Retrieve View (PS3.4 table C.5-1).
FIND_OPTIONS = ("relational", "datetime", "fuzzy", "timezone", "view", "empty", "multiple")
EXTENDED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(FIND_MODELS, FIND_OPTIONS),
    **{uid: model.options for uid, model in RETRIEVE_MODELS.items()},
}

# Preferred where the box sends and the requestor leaves it the choice.
_SENDABLE = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")


# What can be handed on whatever a destination takes: native, or decoded without loss.
_NATIVE = IDENTIFIER_SYNTAXES


def deliverable(taken: Collection[str]) -> frozenset[str]:
    """Return the transfer syntaxes in which objects can be handed on to whom `taken` is known of."""
    return _NATIVE | frozenset(filter(decodable, LOSSLESS)) | frozenset(taken)


class Service(NamedTuple):
    """What a service asks of a peer and in which transfer syntaxes it runs."""

    right: str | None
    transfer_syntaxes: Collection[str]


# Not a right that the configuration gives: of the destinations, who are asked for storage commitment.
REPORT = "report"

STORAGE = Service("store", TRANSFER_SYNTAXES)
COMMITMENT = Service("commit", LITTLE_ENDIAN)
SERVICES: dict[str, Service] = {
    **dict.fromkeys(STORAGE_CLASSES, STORAGE),
    **dict.fromkeys(FIND_MODELS, Service("query", IDENTIFIER_SYNTAXES)),
    **dict.fromkeys(RETRIEVE_MODELS, Service("retrieve", IDENTIFIER_SYNTAXES)),
    STORAGE_COMMITMENT_PUSH: COMMITMENT,
    VERIFICATION: Service(None, IDENTIFIER_SYNTAXES),
}


def is_storage(abstract_syntax: str) -> bool:
    """Tell whether an accepted context is one to store in; a class not known here was accepted as such."""
    return SERVICES.get(abstract_syntax, STORAGE) is STORAGE


class Roles(NamedTuple):
    """What the box is in the contexts of a SOP class (PS3.7 D.3.3.4, PS3.4 C.5.3, J.2.1).

    Attributes
    ----------
    receives : bool
        SCP: it takes what the requestor sends or asks for.
    sends : bool
        SCU: it sends the sub-operations of C-GET to the requestor; it has asked the requestor for storage commitment
        and is told of the result.
    """

    receives: bool
    sends: bool


def negotiate(
    proposed: Iterable[Any],
    common_extended: Mapping[Any, Any],
    may: Collection[str],
    roles: Mapping[Any, Any] = MappingProxyType({}),
    deliverable: Collection[str] = TRANSFER_SYNTAXES,
) -> list[PresentationContext]:
    """Answer the presentation contexts of an association request.

    Parameters
    ----------
    proposed : iterable of PresentationContext
        The contexts proposed.
    common_extended : mapping
        SOP Class Common Extended Negotiation items by SOP Class UID (PS3.7 D.3.3.6).
    may : collection of str
        Rights of the requestor.
    roles : mapping
        SCP/SCU Role Selection items by SOP Class UID (PS3.7 D.3.3.4).
    deliverable : collection of str
        Transfer syntaxes in which what is stored can be handed on: taken first where a context leaves the choice.

    Returns
    -------
    list of PresentationContext
        One for each proposed, with its result, one transfer syntax and the roles of the box.
    """
    answers = []
    for context in proposed:
        answer = PresentationContext()
        answer.context_id = context.context_id
        answer.abstract_syntax = context.abstract_syntax
        service = SERVICES.get(context.abstract_syntax) or _extended(common_extended.get(context.abstract_syntax))
        syntaxes = context.transfer_syntax or [UID("1.2.840.10008.1.2")]
        agreed = _roles(service, roles.get(context.abstract_syntax), may)
        answer.result, syntax = _result(service, syntaxes, may, agreed, deliverable)
        # An answer has one transfer syntax even if its context is rejected; it says nothing then.
        answer.transfer_syntax = [syntax]
        answer._as_scp = answer.result == ACCEPTED and agreed.receives
        answer._as_scu = answer.result == ACCEPTED and agreed.sends
        answers.append(answer)
    return answers


# What the requestor must be allowed to, for the box to be SCP and to be SCU.
_RIGHTS = {STORAGE: ("store", "retrieve"), COMMITMENT: ("commit", REPORT)}


def _roles(service: Service | None, item: Any, may: Collection[str]) -> Roles:
    """Return what the box is; without a proposal the requestor is SCU."""
    if service not in _RIGHTS:
        return Roles(True, False)
    as_scp, as_scu = _RIGHTS[service]
    if item is None or not (item.scu_role or item.scp_role):
        return Roles(as_scp in may, False)
    return Roles(bool(item.scu_role) and as_scp in may, bool(item.scp_role) and as_scu in may)


def _result(
    service: Service | None, proposed: list[UID], may: Collection[str], agreed: Roles, deliverable: Collection[str]
) -> tuple[int, UID]:
    if service is None:
        return NO_ABSTRACT_SYNTAX, proposed[0]
    if service in _RIGHTS:
        refused = not (agreed.receives or agreed.sends)
    else:
        refused = service.right is not None and service.right not in may
    if refused:
        return USER_REJECTION, proposed[0]
    # What is stored in a native syntax can be sent in either of the little endian ones, and for a context there is only
    # one answer; only who sends knows what comes.
    first = [uid for uid in _SENDABLE if uid in proposed] if agreed.sends and service is STORAGE else []
    if service is STORAGE:
        first += [uid for uid in proposed if uid in deliverable]
    for syntax in (*first, *proposed):
        if syntax in service.transfer_syntaxes:
            return ACCEPTED, UID(syntax)
    return NO_TRANSFER_SYNTAX, proposed[0]


def role_answers(answers: Iterable[Any], roles: Mapping[Any, Any]) -> list[SCP_SCU_RoleSelectionNegotiation]:
    """Return what is said to the SCP/SCU Role Selection items of a request: nothing of classes without a context."""
    items = []
    for sop_class in roles:
        contexts = [one for one in answers if one.abstract_syntax == sop_class and one.result == ACCEPTED]
        if not any(SERVICES.get(one.abstract_syntax, STORAGE) in _RIGHTS for one in contexts):
            continue
        item = SCP_SCU_RoleSelectionNegotiation()
        item.sop_class_uid = UID(sop_class)
        item.scu_role = any(one._as_scp for one in contexts) and bool(roles[sop_class].scu_role)
        item.scp_role = any(one._as_scu for one in contexts)
        if item.scu_role or item.scp_role:
            items.append(item)
    return items


def _extended(item: Any) -> Service | None:
    """Return the service of a class that is known only by what the requestor says of it."""
    if item is None:
        return None
    related = item.related_general_sop_class_identification or ()
    if item.service_class_uid == STORAGE_SERVICE_CLASS or STORAGE_CLASSES.intersection(related):
        return STORAGE
    return None


class Agreed(NamedTuple):
    """What extended negotiation came to for one SOP class.

    Attributes
    ----------
    answer : bytes
        The application information that is returned.
    options : frozenset of str
        The options that both sides have.
    """

    answer: bytes
    options: frozenset[str]


def negotiate_extended(offered: Mapping[Any, bytes], accepted: Collection[str]) -> dict[str, Agreed]:
    """Answer the SOP Class Extended Negotiation items of an association request (PS3.7 D.3.3.5, PS3.4 C.5).

    As many bytes are returned as were offered, of those that are defined: 1 where 1 was offered, else 0.

    Parameters
    ----------
    offered : mapping
        Application information by SOP Class UID.
    accepted : collection of str
        Abstract syntaxes of the accepted contexts; nothing is said of others.

    Returns
    -------
    dict of str to Agreed
        By SOP Class UID, for the classes of `EXTENDED` that were offered.
    """
    agreed = {}
    for sop_class, information in offered.items():
        meanings = EXTENDED.get(sop_class, ())
        if sop_class not in accepted or not meanings or not information:
            continue
        answer = bytes(bool(meaning) and byte == 1 for byte, meaning in zip(information, meanings, strict=False))
        options = frozenset(meaning for byte, meaning in zip(answer, meanings, strict=False) if byte)
        agreed[str(sop_class)] = Agreed(answer, options)
    return agreed
