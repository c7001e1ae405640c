"""Chapter 1 of a conformance statement: what is exchanged and by which services (PS3.2 N.1)."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.cli.conformance_tables import GROUPS, Box, name_of_uid, services, table
from gateway.cli.conformance_user import used
from gateway.network import negotiation
from gateway.standard.character_sets import defined_terms
from gateway.standard.commitment import STORAGE_COMMITMENT_PUSH
from gateway.standard.dictionary import is_retired
from gateway.standard.presentation import COLOR_STATE, GRAYSCALE_STATE
from gateway.standard.sop_classes import CONVERSIONS

# Objects that are made of others, besides copies of whatever refers to them.
CREATED = frozenset(
    (
        *(row.enhanced for row in CONVERSIONS.values()),
        *(row.legacy for row in CONVERSIONS.values()),
        *(row.classic for row in CONVERSIONS.values()),
        GRAYSCALE_STATE,
        COLOR_STATE,
    )
)
CONVERTED = frozenset(uid for row in CONVERSIONS.values() for uid in (row.classic, row.enhanced, row.legacy))

# Services as table N.1 groups them: section, name, rights of peers.
_SECTIONS = (
    ("1.2.1", "Verification", (None,)),
    ("1.2.2", "Storage", ("store", "commit")),
    ("1.2.3", "Workflow management", ()),
    ("1.2.4", "Query/Retrieve", ("query", "retrieve")),
)


def overview(box: Box) -> Iterator[str]:
    """Yield chapter 1."""
    yield "## 1 Overview"
    yield (
        "The gateway receives objects, keeps them bit by bit as they came, converts classic CT, MR and PET images into "
        "enhanced multi-frame objects and delivers either to its destinations. An archive has three views (PS3.4 "
        "C.3.5): *received*, *classic* and *enhanced*. Each application entity of the box possesses one of them."
    )
    yield "### 1.1 Content and transfer"
    yield (
        "Created: made by the box of others. Converted: read and made into others. Every class is received and sent; a "
        "copy with updated references can be of any class."
    )
    yield table(
        "SOP class | UID | created | converted | SCU | SCP",
        (
            (
                name_of_uid(uid) + " (Retired)" * is_retired(uid),
                uid,
                _yes(uid in CREATED),
                _yes(uid in CONVERTED),
                "yes",
                "yes",
            )
            for uid in services("store")
        ),
    )
    yield "No structured report is created, but copies of received ones. Nothing is displayed."
    yield from _services(box)
    for number, name in enumerate(("DICOM Web Services", "Media services", "Real-Time Video service"), 3):
        yield f"### 1.{number} {name}\n\nNone."
    yield "### 1.6 De-identification profiles\n\nNone: nothing is de-identified."
    yield "### 1.7 Specific Character Sets"
    known = ", ".join(f"`{term}`" for term in defined_terms())
    yield f"The default repertoire, {known}. Section 5.7 says how."


def _services(box: Box) -> Iterator[str]:
    yield "### 1.2 DIMSE services"
    uses = {uid for entity in box.entities for uid in used(box, entity)}
    for section, name, rights in _SECTIONS:
        found = [uid for right in rights for uid in services(right) if right != "store"]
        if not rights:
            found = sorted(uses - negotiation.SERVICES.keys())
        yield f"#### {section} {name}"
        if section == "1.2.2":
            yield "The storage classes of section 1.1, as SCU and SCP."
        yield (
            table(
                "SOP class | UID | SCU | SCP",
                ((name_of_uid(uid), uid, _yes(uid in uses), _yes(uid in negotiation.SERVICES)) for uid in found),
            )
            if found
            else "None."
        )
    yield "#### 1.2.5 Printing\n\nNone."
    missing = [group.name for group in GROUPS if not services(group.right)]
    if missing:
        yield f"Not provided in this version: {', '.join(missing)}."
    if STORAGE_COMMITMENT_PUSH not in uses:
        yield "In this configuration no destination is asked for storage commitment."


def _yes(true: bool) -> str:
    return "yes" if true else "no"
