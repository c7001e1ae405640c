"""Results of storage commitment that a destination reports, on whichever association (PS3.4 J.3.3)."""

from __future__ import annotations

from collections.abc import Collection
from io import BytesIO
from typing import TYPE_CHECKING, Any

from gateway.archive.commitments import Lists
from gateway.archive.jobs import COMMIT
from gateway.errors import ResourceError
from gateway.network.commitment_lists import Malformed, parse_result
from gateway.network.normalized import Answer, event_response
from gateway.observe import LOGGER, event, fault, warning
from gateway.standard.commitment import (
    INVALID_ARGUMENT,
    NOT_AUTHORISED,
    PROCESSING_FAILURE,
    RESOURCE_LIMITATION,
    STORAGE_COMMITMENT_PUSH,
    SUCCESS,
)

if TYPE_CHECKING:
    from pydicom.uid import UID

    from gateway.archive.index import Archive
    from gateway.network.policy import NetworkSettings


def serve_result(
    association: Any,
    request: Any,
    context: Any,
    *,
    archive: Archive,
    settings: NetworkSettings,
    options: Collection[str] = (),
) -> None:
    """Serve an N-EVENT-REPORT request on an association that a destination has opened.

    Parameters
    ----------
    association : Acceptor
        Of the destination.
    request : N_EVENT_REPORT
        The request primitive.
    context : PresentationContext
        The accepted context it came in.
    archive : Archive
        Where the result is recorded.
    settings, options
        As for every service; nothing depends on them.
    """
    destination = association.caller.peer.ae_title
    if context.abstract_syntax != STORAGE_COMMITMENT_PUSH or not context.as_scu:
        answer = Answer(NOT_AUTHORISED, "no role for this was negotiated")
    else:
        answer = take_result(archive, destination, request, context.transfer_syntax[0])
    association.dimse.send_msg(event_response(request, answer), context.context_id)


def take_result(archive: Archive, destination: str, notification: Any, syntax: UID) -> Answer:
    """Record what a destination reports and return what is to be answered; never raises for what it says.

    Parameters
    ----------
    archive : Archive
        Where it is recorded, durably, before this returns.
    destination : str
        AE title of who reports.
    notification : N_EVENT_REPORT
        The request primitive.
    syntax : UID
        Transfer syntax of its data set.
    """
    try:
        return _take(archive, destination, notification, syntax)
    except Malformed as error:
        warning("commit.malformed", destination=destination, status=f"{error.status:04X}", reason=error.comment)
        return Answer(error.status, error.comment)
    except ResourceError as error:
        warning("commit.not_recorded", destination=destination, reason=error)
        return Answer(RESOURCE_LIMITATION, error.problem)
    except Exception as error:  # the destination waits for an answer, whatever went wrong
        LOGGER.exception("result of storage commitment from %s", destination)
        return Answer(PROCESSING_FAILURE, str(error))


def _take(archive: Archive, destination: str, notification: Any, syntax: UID) -> Answer:
    result = parse_result(
        str(notification.AffectedSOPInstanceUID),
        notification.EventTypeID,
        notification.EventInformation or BytesIO(),
        syntax,
    )
    lists = Lists(
        {one.sop_instance: one.sop_class for one in result.committed},
        {one.sop_instance: one.reason for one in result.failed},
    )
    verdict = archive.commitments.answered(destination, result.transaction, lists)
    if verdict is None:
        warning("commit.unknown", destination=destination, transaction=result.transaction)
        return Answer(INVALID_ARGUMENT, "no such transaction")
    if not verdict.repeated:
        archive.jobs.schedule(COMMIT, verdict.study, destination)
    fault("commit.answered")
    event(
        "commit.answered",
        study=verdict.study,
        destination=destination,
        transaction=result.transaction,
        committed=verdict.committed,
        refused=verdict.refused,
        unknown=verdict.unknown or None,
        repeated=verdict.repeated or None,
    )
    return Answer(SUCCESS)
