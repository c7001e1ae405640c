"""C-MOVE SCP of the Query/Retrieve service class (PS3.4 C.4.2)."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.network.fetched import Fetching
from gateway.network.retrieve import Refused, Retrieval
from gateway.retrieval.engine import Outbound
from gateway.retrieval.transcript import Transcript

if TYPE_CHECKING:
    from pynetdicom.association import Association
    from pynetdicom.dimse_primitives import C_MOVE
    from pynetdicom.presentation import PresentationContext

    from gateway.archive.index import Archive
    from gateway.network.policy import NetworkSettings

DESTINATION_UNKNOWN = 0xA801


def serve_move(
    association: Association,
    request: C_MOVE,
    context: PresentationContext,
    *,
    archive: Archive,
    settings: NetworkSettings,
    outbound: Outbound,
    options: Collection[str] = (),
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Serve one C-MOVE request to its final response, in the thread of the association it came on.

    Parameters
    ----------
    association : Association
        Of the requestor, as acceptor.
    request : C_MOVE
        The request primitive.
    context : PresentationContext
        The accepted context it came in.
    archive : Archive
        What can be retrieved.
    settings : NetworkSettings
        Views of the called AE titles, peers and destinations.
    outbound : Outbound
        Establishes the association to the destination.
    options : collection of str
        What was negotiated for the SOP class.
    monotonic : callable
        The clock for the pending responses.
    """
    move = Retrieval(association, request, context, options, monotonic)
    title = (request.MoveDestination or "").strip()

    def work() -> Transcript:
        move.authorise(settings)
        known = settings.destinations.get(title)
        if known is None:
            raise Refused(DESTINATION_UNKNOWN, f"{title} is no destination of this gateway")
        rows = move.select(archive, settings)
        # The application entity that was called is the one that sends.
        destination = replace(known, calling_ae=move.called)
        fetching = Fetching(archive, settings, title)
        return move.perform(rows, destination, archive, outbound, fetching, originator=(move.calling, move.message_id))

    move.serve(work, destination=title)
