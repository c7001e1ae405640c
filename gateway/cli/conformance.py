"""The DICOM conformance statement of a box, by the template of PS3.2 annex N, made from what runs and is configured.

Classes, transfer syntaxes, negotiation, keys, limits and statuses come from the tables that the services themselves
read, so that the statement says what this version does and nothing else. Application entities that differ in their view
alone are one section with a table.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator

from gateway.archive.views import View, name_of
from gateway.cli.conformance_annexes import annexes, security
from gateway.cli.conformance_network import network_details
from gateway.cli.conformance_overview import overview
from gateway.cli.conformance_services import services_described
from gateway.cli.conformance_tables import Box, table
from gateway.service.config import Config
from gateway.service.rooms import addresses, network_settings, targets

_WORDS = {
    View.RECEIVED: "as they were received",
    View.CLASSIC: "as classic images",
    View.ENHANCED: "as enhanced objects",
}

# What is used here and is not in PS3.2 to PS3.8.
TERMS = (
    ("box", "the gateway as it runs: one installation with one archive"),
    ("view", "one of the forms of an archive, received, classic or enhanced (PS3.4 C.3.5)"),
    ("peer", "an application entity that may call the box"),
    ("destination", "an application entity that studies are delivered to"),
    ("copy", "an object made of a received one, whose references name what their targets are in a view"),
)
ABBREVIATIONS = (
    "AE Application Entity, IAN Instance Availability Notification, PDU Protocol Data Unit, SCP Service Class "
    "Provider, SCU Service Class User, SOP Service-Object Pair, TLS Transport Layer Security, UID Unique Identifier"
)


def statement(config: Config) -> str:
    """Return the conformance statement of a box with this configuration, as Markdown."""
    box = Box(config, network_settings(config), importlib.metadata.version("gateway"))
    before = [*cover(box), *overview(box)]
    chapters = (
        introduction,
        implementation_model,
        services_described,
        configuration,
        network_details,
        security,
        annexes,
    )
    after = [part for chapter in chapters for part in chapter(box)]
    return "\n\n".join([*before, *contents([*before, *after]), *after]) + "\n"


def cover(box: Box) -> Iterator[str]:
    """Yield the title page."""
    yield "# DICOM Conformance Statement"
    facts = [
        ("Product", "gateway, a DICOM edge gateway"),
        ("Version", box.version),
        ("Application entities", ", ".join(entity.title for entity in box.entities)),
        ("Standard", "DICOM 2025b; template of PS3.2 annex N"),
    ]
    yield table("field | value", facts)


def contents(parts: list[str]) -> Iterator[str]:
    """Yield chapter 2: the sections of all others."""
    yield "## 2 Table of contents"
    found = [match for part in parts for match in re.findall(r"^(##+) (.+)$", part, re.MULTILINE)]
    yield "\n".join(f"{'  ' * (len(level) - 2)}- {title}" for level, title in found if len(level) < 5)


def introduction(box: Box) -> Iterator[str]:
    """Yield chapter 3: for whom it is."""
    yield "## 3 Introduction\n\n### 3.1 Revision history"
    yield (
        f"This statement is of version {box.version}. `gateway config conformance` printed it from the configuration "
        "in effect; after a change of that or of the version, print it again."
    )
    yield "### 3.2 Audience"
    yield (
        "Those who connect the gateway: administrators of PACS and modalities, integrators, service engineers. They "
        "know DICOM and the statements of what is to be connected."
    )
    yield "### 3.3 Remarks"
    yield (
        "Conformance is necessary for connecting two systems and no proof that they work together: test it. The scope "
        "is the exchange of objects, not what others make of them."
    )
    yield "### 3.4 Terms and definitions\n\nThose of PS3.2 to PS3.8, and these:"
    yield table("term | meaning", TERMS)
    yield f"### 3.5 Abbreviations\n\n{ABBREVIATIONS}."
    yield "### 3.6 References\n\nThe DICOM Standard, PS3.1 to PS3.22, 2025b: https://www.dicomstandard.org."


def implementation_model(box: Box) -> Iterator[str]:
    """Yield chapter 4: entities and what goes between them."""
    yield "## 4 Implementation model\n\n### 4.1 Application entities and data flow"
    names = ", ".join(one.name for one in targets(box.config)) or "none configured"
    yield (
        "```text\npeers --C-STORE--> box --C-STORE--> destinations (or notified: they fetch)\npeers --C-FIND, "
        "C-MOVE, C-GET--> box --C-STORE--> peers\npeers --N-ACTION--> box --N-ACTION--> destinations; "
        "N-EVENT-REPORT the other way\n```"
    )
    yield f"Destinations: {names}."
    yield "#### 4.1.1 Functional definition of the application entities"
    yield (
        "Whoever is configured as a peer calls an application entity of the box. What is stored goes into one "
        "archive, whichever entity was called. A study that has been quiet for "
        f"{box.config.intake.study_quiet_seconds:g} seconds is converted, the result is proved against its sources, "
        "and the study is delivered to each destination in the form that is configured for it. The application "
        "entities differ in the view that they possess, and in nothing else: queries and retrievals see the view of "
        "the entity that was called."
    )
    yield table(
        "application entity | view | what it answers with",
        ((entity.title, name_of(entity.view), f"studies {_WORDS[entity.view]}") for entity in box.entities),
    )
    yield (
        "In this order: objects are received, converted and delivered. They may be retrieved from the moment they are "
        "received."
    )


def configuration(box: Box) -> Iterator[str]:
    """Yield chapter 6: AE titles and addresses, and the parameters."""
    config = box.config
    yield "## 6 Configuration\n\n### 6.1 General configuration parameters"
    yield "Every parameter, its default and its limits are in the manual's page *Configuration*."
    yield "### 6.2 Configuration of DIMSE services\n\n#### 6.2.1 Local AE titles"
    ports = ", ".join(str(address[1]) for address in addresses(config) if address)
    yield table(
        "local AE title | view | port",
        ((entity.title, name_of(entity.view), ports) for entity in box.entities),
    )
    yield "#### 6.2.2 Remote AE titles and addresses"
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
        "AE title | host | port | view | when it refuses the enhanced class | suitability | how",
        (
            (
                one.name,
                one.destination.host,
                one.destination.port,
                name_of(one.view),
                "" if one.pull else one.when_refused,
                "" if one.pull else "safe" if one.safe else "standard",
                ("notified, fetches" if one.pull else "sent to")
                + (", deflated" if one.destination.deflate else "")
                + (", asked to commit" if one.commitment else ""),
            )
            for one in targets(config)
        ),
    )
    yield "#### 6.2.3 Parameters of services"
    yield table("parameter | value", _parameters(box))
    for number, name in enumerate(("DICOM Web Services", "media storage", "Real-Time Video"), 3):
        yield f"### 6.{number} Configuration of {name}\n\nNot applicable."
    yield "### 6.6 Configuration of the audit trail\n\nNot applicable: no audit messages are sent."


def _parameters(box: Box) -> Iterator[tuple[str, str]]:
    """Yield the parameters that change what others see."""
    config = box.config
    yield "intake.study_quiet_seconds", f"{config.intake.study_quiet_seconds:g}"
    yield "intake.query_wait_seconds", f"{box.settings.query_wait:g}"
    yield "intake.max_associations", str(box.settings.max_associations)
    yield "intake.unknown_peers", config.intake.unknown_peers
    yield "query.empty_matches", str(box.settings.empty_matches).lower()
    yield "conversion.four_d", config.conversion.four_d
    yield "commitment.means", config.commitment.means
    yield "commitment.patience_hours", f"{config.commitment.patience_hours:g}"
    yield "commitment.answer_days", f"{config.commitment.answer_days:g}"


def _converted(convert: bool) -> str:
    return "converted" if convert else "passed on as they are"
