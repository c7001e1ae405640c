"""Chapter 7 of a conformance statement: associations, presentation contexts, waits and statuses (PS3.2 N.7)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from gateway.archive.views import name_of
from gateway.cli.conformance_commitment import action_statuses
from gateway.cli.conformance_statuses import query_statuses, retrieval_statuses
from gateway.cli.conformance_tables import GROUPS, Box, doors, name_of_uid, services, table
from gateway.cli.conformance_user import failure_reasons, users_of
from gateway.network import negotiation, policy, requestor, sender, storage
from gateway.network.associate_pdus import APPLICATION_CONTEXT
from gateway.network.intake_socket import MAXIMUM_PDU, Timeouts
from gateway.network.pdus import LARGEST_RECEIVED
from gateway.objects.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, IMPLICIT_LITTLE
from gateway.pipeline.sequels import ATTEMPTS
from gateway.standard.commitment import INSTANCE_AVAILABILITY, STORAGE_COMMITMENT_PUSH
from gateway.standard.statuses import TABLE, Kind, status_of

# C-STORE statuses (PS3.4 table B.2-1, PS3.7 annex C), what they mean here and what to do.
STORE_STATUSES = {
    storage.SUCCESS: "The object is on stable storage.",
    storage.OUT_OF_RESOURCES: "The disk or the index takes nothing now; try again later.",
    storage.DATA_SET_MISMATCH: "The data set is another than announced.",
    storage.CANNOT_UNDERSTAND: "The data set is broken or has no usable UIDs.",
    storage.SOP_CLASS_NOT_SUPPORTED: "It cannot be kept.",
    storage.PROCESSING_FAILURE: "An error of the box; its log says which.",
}

# What the box does about the answer to its own C-STORE, by the kind of status.
_CONDUCT = {
    Kind.SUCCESS: "It is delivered.",
    Kind.WARNING: "It is delivered; the warning is counted and shown.",
    Kind.THERE: "It counts as delivered, unless the box has had another version of it: then it is held.",
    Kind.BUSY: "It is tried again later, without end.",
    Kind.DENIED: f"It is tried {ATTEMPTS[Kind.DENIED]} times, then held with the reason.",
    Kind.FAULT: f"It is tried {ATTEMPTS[Kind.FAULT]} times, then held with the reason.",
    Kind.REFUSED: "It is held with the reason.",
}

REFUSALS = (
    policy.UNKNOWN_CALLING,
    policy.WRONG_HOST,
    policy.UNKNOWN_CALLED,
    policy.LIMIT_EXCEEDED,
    # Of requests against PS3.8 9.3.2 and annex D; see gateway.network.associate_pdus.
    policy.Refusal(1, 1, 3, "calling AE title not recognised: it is empty or holds characters that no AE title may"),
    policy.Refusal(1, 1, 7, "called AE title not recognised: it is empty or holds characters that no AE title may"),
    policy.Refusal(1, 1, 2, "application context name not supported"),
    policy.Refusal(1, 2, 2, "protocol version not supported"),
    policy.Refusal(
        1,
        2,
        1,
        "no presentation context; one with an even or repeated ID, without its abstract syntax or any transfer syntax; "
        "a maximum length below 8 that is not 0",
    ),
)


def network_details(box: Box) -> Iterator[str]:
    """Yield chapter 7."""
    yield "## 7 Network and media communication details\n\n### 7.1 General"
    yield from _parameters(box)
    yield "### 7.2 Specifications\n\nThese hold for every application entity."
    yield table("application entity | view", ((entity.title, name_of(entity.view)) for entity in box.entities))
    yield "#### 7.2.1 Association initiation"
    yield from _initiation(box)
    yield "#### 7.2.2 Association acceptance"
    yield from _acceptance(box)
    yield from _statuses(box)


def _parameters(box: Box) -> Iterator[str]:
    yield "#### 7.1.1 General association parameters"
    yield table(
        "parameter | value",
        (
            ("Application Context Name", APPLICATION_CONTEXT),
            ("Implementation Class UID", IMPLEMENTATION_CLASS_UID),
            ("Implementation Version Name", IMPLEMENTATION_VERSION_NAME),
            ("Maximum PDU size received, as acceptor", f"{MAXIMUM_PDU} bytes"),
            ("Maximum PDU size received, as initiator", f"{LARGEST_RECEIVED} bytes"),
            ("Associations accepted at a time", f"{box.settings.max_associations}, all entities together"),
            ("Asynchronous operations", "none: one operation is outstanding, and no window is negotiated"),
            ("User identity", "not negotiated"),
        ),
    )
    yield "Waits as acceptor, in seconds:"
    yield table(
        "wait | seconds",
        (
            ("for a TLS handshake", f"{Timeouts.handshake:g}"),
            ("for an association request", f"{Timeouts.request:g}"),
            ("within a message", f"{Timeouts.stall:g}"),
            ("between messages", f"{Timeouts.idle:g}"),
        ),
    )
    yield "Waits as initiator, in seconds:"
    yield table("wait | seconds", ((one.name, f"{one.default:g}") for one in fields(requestor.Timeouts)))
    yield (
        "For a response to C-STORE that did not come in time the next wait is twice as long, at last "
        f"{sender.MOST_PATIENCE * requestor.Timeouts.response:g} seconds. "
        "C-ECHO of `gateway doctor` is waited for some seconds."
    )
    yield "#### 7.1.2 Network interfaces"
    yield (
        "TCP/IP over any interface of the operating system, IPv4 and IPv6. The box listens on "
        f"{' and '.join(doors(box.config))}, for all its application entities. Host names are looked up with DNS."
    )


def _initiation(box: Box) -> Iterator[str]:
    """Yield for what associations are requested, and what is proposed in them."""
    main = box.entities[0].title
    titles = ", ".join(entity.title for entity in box.entities)
    asked = sorted({e.title for e in box.entities if any(one.commitment for one in users_of(box, e))})
    told = sorted({e.title for e in box.entities if any(one.pull for one in users_of(box, e))})
    pushing = any(not one.pull for one in users_of(box, box.entities[0]))
    rows = [("retrieve (C-MOVE)", titles, "those of the objects sent", _SYNTAXES, "SCU")]
    if pushing:
        rows.insert(0, ("deliver", main, "those of the objects sent (section 1.1)", _SYNTAXES, "SCU"))
    implicit = f"{name_of_uid(IMPLICIT_LITTLE)} ({IMPLICIT_LITTLE})"
    push = f"{name_of_uid(STORAGE_COMMITMENT_PUSH)} ({STORAGE_COMMITMENT_PUSH})"
    if asked:
        rows.append(("ask for storage commitment", ", ".join(asked), push, implicit, "SCU, proposed"))
    rows.append(("report storage commitment", titles, push, implicit, "SCP, proposed"))
    if told:
        notified = f"{name_of_uid(INSTANCE_AVAILABILITY)} ({INSTANCE_AVAILABILITY})"
        rows.append(("notify", ", ".join(told), notified, implicit, "SCU, proposed"))
    verification = f"{name_of_uid(negotiation.VERIFICATION)} ({negotiation.VERIFICATION})"
    rows.append(("look at peers (gateway doctor)", main, verification, implicit, "SCU"))
    yield table("activity | calling AE title | SOP classes | transfer syntaxes | role", rows)
    yield (
        "Each transfer syntax is proposed in a presentation context of its own, 128 contexts at most; more classes go "
        "over further associations. There is no SOP Class Extended Negotiation and, for storage, no role selection."
    )


_SYNTAXES = "the stored one, then those of section 5.2.5.1"


def _acceptance(box: Box) -> Iterator[str]:
    """Yield what is accepted, and when an association is not."""
    yield "Accepted presentation contexts, of those who have the right; in each context one transfer syntax is chosen:"
    yield table("service | SOP class | UID | transfer syntaxes | role | right", _accepted())
    yield (
        "For storage also any class that the requestor says is one of the Storage Service Class (SOP Class Common "
        "Extended Negotiation). Of the proposed transfer syntaxes the first is chosen in which the object can be "
        "handed on: native, compressed without loss, or known to be taken by every destination; else the first. In "
        "contexts for C-GET, in which the box sends, one of the two native little endian syntaxes before others. "
        "SCP/SCU Role Selection is answered for storage and storage commitment; without it the requestor is SCU."
    )
    yield "Transfer syntaxes of storage:"
    yield table(
        "transfer syntax | UID",
        ((name_of_uid(uid), uid) for uid in sorted(negotiation.STORAGE.transfer_syntaxes, key=name_of_uid)),
    )
    yield "An association is rejected:"
    yield table(
        "result | source | reason | when",
        ((one.result, one.source, one.diagnostic, one.reason) for one in REFUSALS),
    )
    yield (
        "AE titles count without spaces and NUL at either end. User information of unknown types is ignored. A request "
        "whose items do not fit into each other is answered with A-ABORT (source 2, reason 6), what is no request with "
        "reason 1 or 2. Each costs one line of the log."
    )


def _accepted() -> Iterator[tuple[str, ...]]:
    for group in GROUPS:
        right = group.right or "none"
        if group.right == "store":
            yield group.name, "those of section 1.1", "", "those below", "SCP; SCU where proposed (C-GET)", right
            continue
        for uid in services(group.right):
            syntaxes = ", ".join(sorted(map(name_of_uid, negotiation.SERVICES[uid].transfer_syntaxes)))
            role = "SCP; SCU where proposed, of who is asked to commit" if group.right == "commit" else "SCP"
            yield group.name, name_of_uid(uid), uid, syntaxes, role, right


def _statuses(box: Box) -> Iterator[str]:
    yield "### 7.3 Status codes\n\n#### 7.3.1 General communication failures"
    yield (
        "An association that cannot be established, is rejected, aborted or silent for too long is a fault of the "
        "way: what it was for is tried again later, with growing intervals, and the reason is shown by `gateway "
        "status`. What was received in part is not kept and not acknowledged."
    )
    yield "#### 7.3.2 DIMSE services\n\n##### Storage as SCP"
    yield table(
        "status | meaning | what it says here",
        ((f"{status:04X}", status_of(status).name, words) for status, words in sorted(STORE_STATUSES.items())),
    )
    yield "##### Storage as SCU"
    yield table("status | meaning | what is done", _conduct())
    yield "##### Verification as SCP"
    yield table("status | meaning | what it says here", [("0000", "Success", "The box is there.")])
    yield "##### Query as SCP"
    yield from query_statuses(box.settings.query_wait)
    yield "##### Retrieve as SCP"
    yield from retrieval_statuses(box.settings.query_wait)
    yield "##### Storage commitment as SCP"
    yield from action_statuses()
    yield "##### Storage commitment as SCU"
    yield from failure_reasons()


def _conduct() -> Iterator[tuple[str, str, str]]:
    for row in TABLE:
        if row.kind in _CONDUCT:
            codes = f"{row.first:04X}" if row.first == row.last else f"{row.first:04X} to {row.last:04X}"
            yield ("any other" if row.first == 0 and row.last == 0xFFFF else codes), row.name, _CONDUCT[row.kind]
