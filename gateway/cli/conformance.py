"""The DICOM conformance statement of a box, in the structure of PS3.2, made from what runs and from its configuration.

Classes, transfer syntaxes, negotiation, keys, limits and statuses come from the tables that the services themselves
read, so that the statement says what this version does and nothing else.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from dataclasses import fields

from gateway.archive.views import View, name_of
from gateway.cli.conformance_annexes import (
    character_sets,
    created_objects,
    media,
    query_keys,
    security,
    storage_classes,
)
from gateway.cli.conformance_commitment import commitment
from gateway.cli.conformance_statuses import empty_values, query_statuses, retrieval_statuses
from gateway.cli.conformance_tables import GROUPS, OPTIONS, Box, Entity, Group, name_of_uid, services, table
from gateway.cli.conformance_user import activities, used
from gateway.network import negotiation, requestor, storage
from gateway.network.intake_socket import MAXIMUM_PDU, Timeouts
from gateway.objects.part10 import (
    DEFLATED,
    EXPLICIT_LITTLE,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
)
from gateway.retrieval.rendition import ALTERNATIVES
from gateway.service.config import Config
from gateway.service.rooms import addresses, network_settings, targets

# C-STORE statuses (PS3.4 table B.2-1, PS3.7 annex C), what they mean here and what to do.
STORE_STATUSES = {
    storage.SUCCESS: ("Success", "The object is on stable storage."),
    storage.OUT_OF_RESOURCES: (
        "Refused: Out of Resources",
        "The disk or the index takes nothing now; try again later.",
    ),
    storage.DATA_SET_MISMATCH: ("Error: Data Set does not match SOP Class", "The data set is another than announced."),
    storage.CANNOT_UNDERSTAND: ("Error: Cannot understand", "The data set is broken or has no usable UIDs."),
    storage.SOP_CLASS_NOT_SUPPORTED: ("Refused: SOP Class Not Supported", "It cannot be kept."),
    storage.PROCESSING_FAILURE: ("Failure: Processing Failure", "An error of the box; its log says which."),
}

_WORDS = {
    View.RECEIVED: "as they were received",
    View.CLASSIC: "as classic images",
    View.ENHANCED: "as enhanced objects",
}


def statement(config: Config) -> str:
    """Return the conformance statement of a box with this configuration, as Markdown."""
    box = Box(config, network_settings(config), importlib.metadata.version("gateway"))
    chapters = (
        cover,
        overview,
        introduction,
        implementation_model,
        entity_specifications,
        network_interfaces,
        configuration,
        media,
        character_sets,
        security,
        created_objects,
        storage_classes,
        query_keys,
    )
    return "\n\n".join(part for chapter in chapters for part in chapter(box)) + "\n"


def cover(box: Box) -> Iterator[str]:
    """Yield the title page."""
    yield "# DICOM Conformance Statement"
    facts = [
        ("Product", "gateway, a DICOM edge gateway"),
        ("Version", box.version),
        ("Application entities", ", ".join(entity.title for entity in box.entities)),
        ("Standard", "DICOM 2025b; structure of PS3.2"),
    ]
    yield table("field | value", facts)


def overview(box: Box) -> Iterator[str]:
    """Yield chapter 1: what the box does and which services it uses and provides."""
    yield "## 1 Conformance statement overview"
    yield (
        "The gateway receives objects, keeps them bit by bit as they came, converts classic CT, MR and PET images "
        "into enhanced multi-frame objects and delivers either to its destinations. An archive has three views "
        "(PS3.4 C.3.5): *received*, *classic* and *enhanced*. Each application entity of the box possesses one of "
        "them."
    )
    rows = []
    uses = {uid for entity in box.entities for uid in used(box, entity)}
    for group in GROUPS:
        found = services(group.right)
        if group.right == "store":
            rows.append(("Storage", f"{len(found)} SOP classes, annex B", "yes", "yes"))
        else:
            rows += [(group.name, _named(uid), "yes" if uid in uses else "no", "yes") for uid in found]
    rows += [("Notification", _named(uid), "yes", "no") for uid in sorted(uses) if uid not in negotiation.SERVICES]
    yield table("service | SOP class | user (SCU) | provider (SCP)", rows)
    missing = [group.name for group in GROUPS if not services(group.right)]
    if missing:
        yield f"Not provided in this version: {', '.join(missing)}."


def _named(uid: str) -> str:
    return f"{name_of_uid(uid)} ({uid})"


def introduction(box: Box) -> Iterator[str]:
    """Yield chapter 2: for whom it is."""
    yield "## 2 Introduction"
    yield (
        "For those who connect the gateway: administrators of PACS and modalities, integrators, service engineers. "
        "Conformance is necessary for connecting two systems and no proof that they work together: test it. Terms "
        "and abbreviations are those of PS3.2 to PS3.8. `gateway config conformance` printed this statement from "
        "the configuration in effect; after a change of that or of the version, print it again."
    )


def implementation_model(box: Box) -> Iterator[str]:
    """Yield chapter 3.1: entities and what goes between them."""
    yield "## 3 Networking\n\n### 3.1 Implementation model"
    yield (
        "Whoever is configured as a peer calls an application entity of the box. What is stored goes into one "
        "archive, whichever entity was called. A study that has been quiet for "
        f"{box.config.intake.study_quiet_seconds:g} seconds is converted, the result is proved against its sources, "
        "and the study is delivered to each destination in the form that is configured for it. Queries and "
        "retrievals see the view that the called entity possesses."
    )
    yield table(
        "application entity | view | what it answers with",
        ((entity.title, name_of(entity.view), f"studies {_WORDS[entity.view]}") for entity in box.entities),
    )
    yield (
        "In this order: objects are received, converted and delivered. They may be retrieved from the moment they "
        "are received."
    )


def entity_specifications(box: Box) -> Iterator[str]:
    """Yield chapter 3.2: one section for each application entity."""
    yield "### 3.2 Application entity specifications"
    for number, entity in enumerate(box.entities, 1):
        yield from _entity(box, entity, f"3.2.{number}")


def _entity(box: Box, entity: Entity, number: str) -> Iterator[str]:
    yield f"#### {number} {entity.title}"
    yield f"Possesses the view *{name_of(entity.view)}*: it gives studies {_WORDS[entity.view]}."
    yield f"##### {number}.1 SOP classes"
    rows = []
    uses = used(box, entity)
    for group in GROUPS:
        for uid in services(group.right) if group.right != "store" else ():
            rows.append((name_of_uid(uid), uid, "yes" if uid in uses else "no", "yes"))
    rows += [(name_of_uid(uid), uid, "yes", "no") for uid in sorted(uses) if uid not in negotiation.SERVICES]
    yield table("SOP class | UID | SCU | SCP", [*rows, ("Storage classes of annex B", "", "yes", "yes")])
    yield from _association_policies(box, number)
    yield from _initiation(box, entity, number)
    yield from _acceptance(box, entity, number)


def _association_policies(box: Box, number: str) -> Iterator[str]:
    yield f"##### {number}.2 Association policies"
    yield table(
        "policy | value",
        (
            ("Application Context Name", "1.2.840.10008.3.1.1.1"),
            ("Maximum PDU size received", f"{MAXIMUM_PDU} bytes"),
            ("Associations accepted at a time", f"{box.settings.max_associations}, all entities together"),
            ("Asynchronous operations", "none: one operation is outstanding"),
            ("Implementation Class UID", IMPLEMENTATION_CLASS_UID),
            ("Implementation Version Name", IMPLEMENTATION_VERSION_NAME),
            ("Wait for an association request", f"{Timeouts.request:g} s"),
            ("Wait within a message", f"{Timeouts.stall:g} s"),
            ("Wait between messages", f"{Timeouts.idle:g} s"),
        ),
    )


def _initiation(box: Box, entity: Entity, number: str) -> Iterator[str]:
    yield f"##### {number}.3 Association initiation"
    if entity.main:
        yield (
            "Activity *deliver*: for each study and destination one association that proposes the classes of the study "
            "tells which of them the destination takes; the form is decided once and kept. What failed is tried again "
            "later, with growing intervals. A study that waits for one destination delays no other."
        )
    yield from activities(box, entity)
    yield (
        f"Activity *retrieve*: C-STORE sub-operations of a C-MOVE that {entity.title} was asked for, to configured "
        "destinations and peers with host and port only."
    )
    alternatives = "; ".join(
        f"{name_of_uid(stored)} also as {', '.join(map(name_of_uid, others))}"
        for stored, others in ALTERNATIVES.items()
    )
    yield (
        "Proposed are the SOP classes of the objects to be sent (annex B and section 7), each in the transfer "
        f"syntax it is stored in first, in presentation contexts of their own; {alternatives}.{_deflating(box)} Pixel "
        "data are never compressed with loss. The box proposes no role selection and no extended negotiation for "
        "storage."
    )
    yield table("wait | seconds", ((one.name, f"{one.default:g}") for one in fields(requestor.Timeouts)))
    yield "A C-STORE response of status Success, or a warning, ends the sending of an object."


def _deflating(box: Box) -> str:
    """Say to whom objects are offered deflated."""
    found = [title for title, one in box.settings.destinations.items() if one.deflate]
    if not found:
        return ""
    return (
        f" To {', '.join(found)} what is stored in {name_of_uid(EXPLICIT_LITTLE)} is offered in "
        f"{name_of_uid(DEFLATED)} before that, and sent in it where it is accepted."
    )


def _acceptance(box: Box, entity: Entity, number: str) -> Iterator[str]:
    yield f"##### {number}.4 Association acceptance"
    for group in GROUPS:
        found = services(group.right)
        if found:
            yield f"###### {group.name} (PS3.4 {group.section})"
            yield from _activity(box, group, entity, found)
            if group.right == "commit":
                yield from commitment(box, entity)


def _activity(box: Box, group: Group, entity: Entity, found: list[str]) -> Iterator[str]:
    """Yield what is accepted for one service, and how it behaves."""
    if group.right == "store":
        yield (
            "Accepted are the classes and transfer syntaxes of annex B, and any class that the requestor says is "
            "one of the Storage Service Class (SOP Class Common Extended Negotiation). In each context the first "
            "proposed syntax that is known is chosen. Storage is of level 2 (full), bit preserving; digital "
            "signatures of level 3 in the view *received*. Success means that the object is on stable storage."
        )
        yield table(
            "status | meaning | what it says here",
            ((f"{status:04X}", *words) for status, words in sorted(STORE_STATUSES.items())),
        )
        return
    syntaxes = {syntax for uid in found for syntax in negotiation.SERVICES[uid].transfer_syntaxes}
    right = f'a peer needs the right "{group.right}"' if group.right else "everybody who may call"
    yield f"Transfer syntaxes: {', '.join(sorted(map(name_of_uid, syntaxes)))}. Who may: {right}."
    rows = [
        (name_of_uid(uid), byte, OPTIONS.get(meaning, meaning))
        for uid in found
        for byte, meaning in enumerate(negotiation.EXTENDED.get(uid, ()), 1)
        if meaning
    ]
    if rows:
        yield "SOP Class Extended Negotiation; each byte is answered 1 where 1 was offered:"
        yield table("SOP class | byte | option", rows)
    elif group.right in ("query", "retrieve"):
        yield "There is no extended negotiation: hierarchical requests only, of the view the called entity possesses."
    if group.right in ("query", "retrieve"):
        yield f"What is matched, counted and sent is the view *{name_of(entity.view)}*, unless another was negotiated."
        if group.right == "query":
            yield empty_values(box)
        statuses = query_statuses if group.right == "query" else retrieval_statuses
        yield from statuses(box.settings.query_wait)


def network_interfaces(box: Box) -> Iterator[str]:
    """Yield chapter 3.3."""
    yield "### 3.3 Network interfaces"
    plain, secure = addresses(box.config)
    doors = [f"{plain[0]}, port {plain[1]}"] if plain else []
    doors += [f"{secure[0]}, port {secure[1]} over TLS"] if secure else []
    yield (
        "TCP/IP over any interface of the operating system, IPv4 and IPv6. The box listens on "
        f"{' and '.join(doors)}, for all its application entities. Host names "
        "are looked up with DNS. DHCP and NTP are the operating system's."
    )


def configuration(box: Box) -> Iterator[str]:
    """Yield chapter 3.4: AE titles and addresses, and the parameters."""
    config = box.config
    yield "### 3.4 Configuration\n\n#### 3.4.1 AE titles and addresses"
    ports = ", ".join(str(address[1]) for address in addresses(config) if address)
    yield table(
        "local AE title | view | port",
        ((entity.title, name_of(entity.view), ports) for entity in box.entities),
    )
    unknown = "refused" if config.intake.unknown_peers == "reject" else "accepted with every right"
    yield f"Peers; a caller that is none is {unknown}:"
    yield table(
        "AE title | host | port | may | images",
        (
            (peer.ae_title, peer.host or "any", peer.port or "", ", ".join(peer.may), _converted(peer.convert))
            for peer in config.peer
        ),
    )
    yield "Destinations:"
    yield table(
        "AE title | host | port | view | when it refuses the enhanced class | how",
        (
            (
                one.name,
                one.destination.host,
                one.destination.port,
                name_of(one.view),
                "" if one.pull else one.when_refused,
                ("notified, fetches" if one.pull else "sent to")
                + (", deflated" if one.destination.deflate else "")
                + (", asked to commit" if one.commitment else ""),
            )
            for one in targets(config)
        ),
    )
    yield "#### 3.4.2 Parameters"
    yield "Every parameter, its default and its limits are in the manual's page *Configuration*."


def _converted(convert: bool) -> str:
    return "converted" if convert else "passed on as they are"
