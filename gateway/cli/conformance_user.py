"""What a conformance statement says of what the box asks of its destinations (PS3.4 J.3.6.1, R.3.4.1)."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.cli.common import span
from gateway.cli.conformance_tables import Box, Entity, table
from gateway.network.availability import MOST
from gateway.network.negotiation import VERIFICATION
from gateway.pipeline.commit import Patience
from gateway.pipeline.notify import REMINDERS
from gateway.pipeline.visits import Target
from gateway.service.rooms import targets
from gateway.standard import commitment as terms

# Table R.3.2-1: what is sent, and what it says.
NOTIFICATION = (
    ("ReferencedPerformedProcedureStepSequence", "empty (Type 2): the box has no part in Performed Procedure Steps"),
    ("StudyInstanceUID", "of the study"),
    ("ReferencedSeriesSequence", "each series of the view"),
    (">SeriesInstanceUID", "of the series"),
    (">ReferencedSOPSequence", "each instance of the view"),
    (">>ReferencedSOPClassUID", "of the instance"),
    (">>ReferencedSOPInstanceUID", "of the instance"),
    (">>InstanceAvailability", "ONLINE: it can be retrieved at once"),
    (">>RetrieveAETitle", "the application entity that possesses the view"),
)

# What is done about a Failure Reason.
ACTIONS = {
    terms.NO_SUCH_OBJECT: "It is delivered again, or notified again, and asked for again; at most {} times.",
}
OTHERWISE = "It is asked for again."


def users_of(box: Box, entity: Entity) -> list[Target]:
    """Return the destinations that an application entity calls."""
    return [one for one in targets(box.config) if one.destination.calling_ae == entity.title]


def used(box: Box, entity: Entity) -> set[str]:
    """Return the SOP classes that an application entity uses as SCU besides storage."""
    called = users_of(box, entity)
    looks = {VERIFICATION} if entity.main else set()
    asks = {terms.STORAGE_COMMITMENT_PUSH} if any(one.commitment for one in called) else set()
    return looks | asks | ({terms.INSTANCE_AVAILABILITY} if any(one.pull for one in called) else set())


def fall_back() -> str:
    """Return what is done where a destination does not take a class (PS3.4 B.4.2.1)."""
    return (
        "for each study and destination one association that proposes the enhanced classes of its images tells which "
        "of them the destination takes; where it does not, the classic images are sent, which are instances of their "
        "own with their own UIDs. The fall-back of PS3.4 B.4.2.1, the same SOP Instance UID under a Related General "
        "SOP Class, is not used, and Original Specialized SOP Class UID is never written. The form is decided once and "
        "kept, by the images alone, for each group of series tied by references; only overlays of the images that "
        "have become presentation states make these decide too. What else a destination does not accept, by class or "
        "transfer syntax, is held with the reason, and keeps nothing from it that it accepts."
    )


def asks_to_commit(box: Box) -> Iterator[str]:
    """Yield how destinations are asked for storage commitment, by each application entity that does."""
    for entity in box.entities:
        asked = [one.name for one in users_of(box, entity) if one.commitment]
        if asked:
            yield from _commitment(entity, asked)


def notifies(box: Box) -> Iterator[str]:
    """Yield how destinations that fetch are notified, by each application entity that does."""
    for entity in box.entities:
        told = [one.name for one in users_of(box, entity) if one.pull]
        if told:
            yield from _notification(entity, told)


def _commitment(entity: Entity, names: list[str]) -> Iterator[str]:
    patience = Patience()
    yield (
        f"{entity.title} asks {', '.join(names)} (PS3.4 J.3.6.1): once everything of a study has "
        "been taken with C-STORE, or fetched, N-ACTION names it, of whatever SOP class (section 1.1), in "
        f"lists of {patience.most} references at most, each on an association of its own. Instances whose pixel data "
        "are only referenced (JPIP) are never asked for (J.1.1). Proposed is the role of SCU, in Implicit VR Little "
        f"Endian. The association is kept for {patience.stay:g} seconds for a result; later it is accepted on an "
        f"association that the same AE title requests of {entity.title} with the SCP role. Storage Media File-Set ID "
        "and UID are not sent, and not looked at."
    )
    yield (
        f"A Transaction UID is used once and for ever valid: a result counts however late it comes. Without one for "
        f"{span(patience.answer.first)}, growing to {span(patience.answer.longest)}, the same is asked for "
        "under another. An instance that is in both lists of a result, in none, or named with another class, is not "
        "committed. A result "
        f"of an unknown transaction is answered {terms.INVALID_ARGUMENT:04X}. Commitment is recorded on stable storage "
        "before N-EVENT-REPORT is answered; no copy is deleted without it."
    )


def failure_reasons() -> Iterator[str]:
    """Yield what is done about each Failure Reason of a destination."""
    patience = Patience()
    yield table(
        "Failure Reason | meaning | what is done",
        (
            (f"{reason:04X}", meaning, ACTIONS.get(reason, OTHERWISE).format(patience.deliveries))
            for reason, meaning in terms.FAILURE_REASONS.items()
        ),
    )


def _notification(entity: Entity, names: list[str]) -> Iterator[str]:
    yield (
        f"{entity.title} notifies {', '.join(names)} (PS3.4 R.3.4.1): when a study "
        f"has been converted N-CREATE names the instances of its view, up to {MOST} in one; instances that come later "
        "are named in a further one. What C-MOVE to that AE title or C-GET by it has brought there counts as fetched. "
        f"What is not fetched is notified again after {span(REMINDERS.first)}, growing to "
        f"{span(REMINDERS.longest)}. {entity.title} sends these attributes and no other:"
    )
    yield table("attribute | value", ((keyword.replace(">", "&gt;"), words) for keyword, words in NOTIFICATION))
