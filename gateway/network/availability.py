"""Instance Availability Notification: tells a peer what it can retrieve, and from where (PS3.4 annex R)."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from itertools import groupby

from pydicom.dataset import Dataset

from gateway.archive.rows import InstanceRow
from gateway.network.normalized import Answer, NormalizedAssociation
from gateway.network.requestor import Timeouts
from gateway.observe import fault
from gateway.retrieval.engine import Destination
from gateway.standard.commitment import INSTANCE_AVAILABILITY

# Instances in one notification; a study may take several.
MOST = 5000


def notification(study: str, rows: Sequence[InstanceRow], retrieve_ae: str) -> Dataset:
    """Return the attributes of an N-CREATE request: those of table R.3.2-1 that are required, and no other.

    Parameters
    ----------
    study : str
        Study Instance UID.
    rows : sequence of InstanceRow
        Instances of the study that can be retrieved.
    retrieve_ae : str
        The application entity to retrieve them from.
    """
    attributes = Dataset()
    attributes.ReferencedPerformedProcedureStepSequence = []
    attributes.StudyInstanceUID = study
    attributes.ReferencedSeriesSequence = []
    for series, members in groupby(sorted(rows, key=lambda row: row.series), key=lambda row: row.series):
        item = Dataset()
        item.SeriesInstanceUID = series
        item.ReferencedSOPSequence = [_instance(row, retrieve_ae) for row in members]
        attributes.ReferencedSeriesSequence.append(item)
    return attributes


def _instance(row: InstanceRow, retrieve_ae: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = row.sop_class
    item.ReferencedSOPInstanceUID = row.sop_instance
    item.InstanceAvailability = "ONLINE"
    item.RetrieveAETitle = retrieve_ae
    return item


def notify(
    destination: Destination,
    study: str,
    rows: Sequence[InstanceRow],
    on_answer: Callable[[Sequence[InstanceRow]], None],
    *,
    timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
    watch: Callable[[], None] | None = None,
) -> Answer:
    """Tell a peer of instances that it can retrieve from the application entity that calls it.

    Parameters
    ----------
    destination : Destination
        The peer, and the AE title to retrieve from.
    study, rows
        What it is told of.
    on_answer : callable
        Called with the instances of each notification that the peer has taken.
    timeouts, watch
        As of `NormalizedAssociation`.

    Returns
    -------
    Answer
        The last one: a failure ends it.

    Raises
    ------
    NotTaken
        If the peer takes no notifications.
    NetworkError
        If it cannot be reached or breaks off.
    """
    association = NormalizedAssociation(destination, INSTANCE_AVAILABILITY, timeouts=timeouts, watch=watch)
    answer = Answer(0)
    for start in range(0, len(rows), MOST):
        part = rows[start : start + MOST]
        # Each notification is a SOP Instance of its own; nobody refers to it later.
        answer = association.create(f"2.25.{uuid.uuid4().int}", notification(study, part, destination.calling_ae))
        fault("notify.after_create")
        if not answer.done:
            break
        on_answer(part)
    association.release()
    return answer
