"""Chapter 5 of a conformance statement: the services and how they behave (PS3.2 N.5)."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.archive.views import name_of
from gateway.cli.conformance_annexes import character_sets, created_objects, query_keys
from gateway.cli.conformance_commitment import commitment
from gateway.cli.conformance_statuses import empty_values
from gateway.cli.conformance_tables import GROUPS, OPTIONS, Box, Entity, Group, name_of_uid, services, table
from gateway.cli.conformance_user import asks_to_commit, fall_back, notifies, users_of
from gateway.network import negotiation
from gateway.objects.part10 import DEFLATED, EXPLICIT_LITTLE
from gateway.retrieval.rendition import ALTERNATIVES


def services_described(box: Box) -> Iterator[str]:
    """Yield chapter 5."""
    yield "## 5 Service and interoperability description\n\n### 5.1 Mapping of services to application entities"
    yield table(
        "application entity | provides | uses", ((one.title, _provided(), _uses(box, one)) for one in box.entities)
    )
    yield "### 5.2 DIMSE services"
    for number, name in enumerate(("Basic Worklist Management", "Modality Performed Procedure Step",
                                   "Unified Worklist and Procedure Step"), 1):  # fmt: skip
        yield f"#### 5.2.{number} {name}\n\nNone."
    yield "#### 5.2.4 Instance Availability Notification"
    yield from list(notifies(box)) or ["None: no destination of this configuration is notified."]
    yield from _storage(box)
    yield "#### 5.2.6 Storage Commitment\n\n##### 5.2.6.1 SCU of storage commitment"
    yield from list(asks_to_commit(box)) or ["No destination of this configuration is asked."]
    yield "##### 5.2.6.2 SCP of storage commitment"
    yield from commitment(box)
    yield from _query_retrieve(box)
    yield "#### 5.2.8 Print Management\n\nNone."
    yield "#### 5.2.9 Verification"
    yield (
        "As SCP every application entity answers C-ECHO of everybody who may call. As SCU the command `gateway doctor` "
        "sends C-ECHO to every destination, to every peer with an address and to the box itself."
    )
    for number, name in enumerate(("DICOM Web Services", "Media services", "Real-Time Video services"), 3):
        yield f"### 5.{number} {name}\n\nNone."
    yield "### 5.6 Cross-service considerations\n\n#### 5.6.1 Objects created"
    yield from created_objects(box)
    yield "### 5.7 Specific Character Sets"
    yield from character_sets(box)


def _provided() -> str:
    return ", ".join(group.name for group in GROUPS if services(group.right))


def _uses(box: Box, entity: Entity) -> str:
    """Return what an application entity uses as SCU."""
    called = users_of(box, entity)
    found = ["Verification, Storage (delivery, C-MOVE, C-GET)" if entity.main else "Storage (C-MOVE, C-GET)"]
    found += ["Storage Commitment"] * any(one.commitment for one in called)
    found += ["Instance Availability Notification"] * any(one.pull for one in called)
    return ", ".join([*found, "results of Storage Commitment"])


def _storage(box: Box) -> Iterator[str]:
    yield "#### 5.2.5 Storage\n\n##### 5.2.5.1 SCU of the Storage SOP classes"
    yield (
        f"Delivery: {fall_back()} What failed is tried again later, by the kind of its status (section 7.3.2) and "
        "with growing intervals. A study that waits for one destination delays no other. Retrieval: C-STORE "
        "sub-operations go to configured destinations and peers with host and port only (C-MOVE), or to the "
        "requestor (C-GET)."
    )
    alternatives = "; ".join(
        f"{name_of_uid(stored)} also as {', '.join(map(name_of_uid, others))}"
        for stored, others in ALTERNATIVES.items()
    )
    yield (
        f"Transcoding: each object is offered in the transfer syntax it is stored in; {alternatives}. "
        f"{_deflating(box)}Deflated and big endian objects that a peer does not take are written in the little endian "
        "ones; compressed pixel data are decoded where every decoder makes the same samples, those inside of "
        "sequences with them. Pixel data are never compressed."
    )
    yield (
        "##### 5.2.5.2 SCP of the Storage SOP classes\n\nStorage is of level 2 (full), bit preserving; digital "
        "signatures of level 3 in the view *received* (PS3.4 B.4.1). Success means that the object is on stable "
        "storage. Nothing of a data set is coerced. An object of a UID that is held already is compared with that: "
        "equal ones are kept once, others as versions, of which the last received is the current one. If pixels and "
        "position, number or acquisition differ, it is another image (against PS3.5 chapter 9): all are kept, the "
        "first is sent on as received, none is converted, the last received answers queries and retrievals."
    )


def _deflating(box: Box) -> str:
    """Say to whom objects are offered deflated."""
    found = [title for title, one in box.settings.destinations.items() if one.deflate]
    if not found:
        return ""
    return (
        f"To {', '.join(found)} what is stored in {name_of_uid(EXPLICIT_LITTLE)} is offered in "
        f"{name_of_uid(DEFLATED)} before that, and sent in it where it is accepted. "
    )


def _query_retrieve(box: Box) -> Iterator[str]:
    yield "#### 5.2.7 Query/Retrieve\n\nAs SCP only."
    yield table(
        "application entity | view that is matched, counted and sent, unless another was negotiated",
        ((entity.title, name_of(entity.view)) for entity in box.entities),
    )
    for number, group in enumerate((group for group in GROUPS if group.right in ("query", "retrieve")), 1):
        yield f"##### 5.2.7.{number} {group.name} (PS3.4 {group.section})"
        yield from _negotiated(group)
        if group.right == "query":
            yield empty_values(box)
            yield from query_keys(box)
        else:
            yield (
                "Sub-operations of a C-MOVE are sent with the AE title that was called, on associations of their own; "
                "those of a C-GET on its association, in the contexts that the requestor proposed with the SCP role."
            )


def _negotiated(group: Group) -> Iterator[str]:
    """Yield the extended negotiation of a service."""
    rows = [
        (name_of_uid(uid), uid, byte, OPTIONS.get(meaning, meaning))
        for uid in services(group.right)
        for byte, meaning in enumerate(negotiation.EXTENDED.get(uid, ()), 1)
        if meaning
    ]
    if rows:
        yield "SOP Class Extended Negotiation; each byte is answered 1 where 1 was offered:"
        yield table("SOP class | UID | byte | option", rows)
    else:
        yield "There is no extended negotiation: hierarchical requests only, of the view the called entity possesses."
