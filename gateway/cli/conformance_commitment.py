"""What a conformance statement says of storage commitment as provider (PS3.4 J.3.6.2)."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.archive.views import name_of
from gateway.cli.conformance_tables import Box, table
from gateway.network.commitment import RESPONSE, SAME_ASSOCIATION
from gateway.network.commitment_data import MOST_REFERENCES
from gateway.standard import commitment as terms
from gateway.standard.statuses import status_of

# Statuses of N-ACTION responses and Failure Reasons, and when they are used.
ACTION_STATUSES = {
    terms.SUCCESS: "The request is on stable storage.",
    terms.NO_SUCH_CLASS: "Requested SOP Class UID is another.",
    terms.NO_SUCH_INSTANCE: "Requested SOP Instance UID is not the well-known one.",
    terms.NO_SUCH_ACTION: "Action Type ID is not 1.",
    terms.INVALID_ARGUMENT: "Transaction UID is missing, no UID, or was used before by the same requester; the list of "
    "references is empty, or one has no valid UIDs or is there twice.",
    terms.NOT_AUTHORISED: "The requester has not the role of user in this context.",
    terms.RESOURCE_LIMITATION: f"More than {MOST_REFERENCES} references, or the request cannot be kept now.",
    terms.PROCESSING_FAILURE: "The data set cannot be read, or an error of the box.",
}
FAILURES = {
    terms.NO_SUCH_OBJECT: "It is not held.",
    terms.CLASS_INSTANCE_CONFLICT: "It is held as another SOP class.",
    terms.PROCESSING_FAILURE: "It was not safe in time, its pixel data are only referenced (JPIP), or different images "
    "have come under its UID.",
}


def commitment(box: Box) -> Iterator[str]:
    """Yield how requests are taken and answered, by every application entity."""
    config = box.config.commitment
    yield (
        "SCP/SCU Role Selection is answered: a requester is SCU, also without proposing a role. "
        "N-ACTION is answered Success when the request is on stable storage; it survives a restart. A study of which "
        "all named instances are held counts as complete and is converted at once."
    )
    yield from _level(box)
    yield (
        f"N-EVENT-REPORT: on the association of the request if the answer is known within {SAME_ASSOCIATION:g} "
        "seconds and that is still open, else on a new one to host and port of the peer, with the AE title that was "
        "asked as calling AE title and the SCP role proposed, in Implicit VR Little Endian. A response is waited "
        f"for {RESPONSE:g} seconds. What is not answered with success or a warning is reported again, on new "
        f"associations with growing intervals, until {config.answer_days:g} days have passed after the time for "
        "delivery. A Transaction UID is used once by a requester; the box remembers it for a year after its answer."
    )
    yield (
        "Storage Media File-Set ID and UID are neither read nor sent. Retrieve AE Title is that of the application "
        "entity of the box that holds an instance, where the commitment rests on its being stored here: outside of the "
        "list if all have the same, else in each item. Where it rests on the destinations there is none: they may have "
        "the instance under another UID."
    )


def action_statuses() -> Iterator[str]:
    """Yield the statuses of N-ACTION and the Failure Reasons of results."""
    yield table(
        "N-ACTION status | meaning | when",
        ((f"{status:04X}", status_of(status).name, when) for status, when in sorted(ACTION_STATUSES.items())),
    )
    yield table(
        "Failure Reason | meaning | when",
        (
            *((f"{reason:04X}", terms.FAILURE_REASONS[reason], when) for reason, when in sorted(FAILURES.items())),
            ("others", "", "What a destination gives as its reason is handed on."),
        ),
    )


def _level(box: Box) -> Iterator[str]:
    """Yield what the commitment means: level, duration, capacity, retrieval (J.3.6.2.1)."""
    config = box.config
    if config.commitment.means == "delivered" and config.destination:
        names = ", ".join(one.ae_title + (" (commits)" if one.commitment else "") for one in config.destination)
        yield (
            "Commitment means that every object that carries the instance is at every destination, converted or "
            f"not, and that those have committed to it that are asked to: {names}. What is not within "
            f"{config.commitment.patience_hours:g} hours is reported as failed. How long it is kept and how it is "
            "retrieved is what the destinations say. What came from a destination is committed to when it is stored."
        )
    else:
        yield (
            "Commitment means that the instance is on stable storage of the box, a derived object as its proved recipe "
            "with all its sources. It is kept as long as the configuration says, can be retrieved by C-MOVE and C-GET "
            f"at once, and takes part of the room of {config.storage.quota}."
        )
    views = ", ".join(f"{entity.title} ({name_of(entity.view)})" for entity in box.entities)
    yield (
        f"Every instance held can be asked for through every application entity: {views}; also objects that the box "
        "has made. Instances whose pixel data are only referenced are never committed to (J.1.1)."
    )
