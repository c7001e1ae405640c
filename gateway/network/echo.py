"""Verification SCU: asks a peer whether it is there (PS3.4 annex A, PS3.7 9.1.5)."""

from __future__ import annotations

import time
from typing import Any

from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.dimse_messages import C_ECHO_RQ
from pynetdicom.dimse_primitives import C_ECHO

from gateway.errors import NetworkError
from gateway.network.negotiation import VERIFICATION
from gateway.network.requestor import Requestor, Timeouts
from gateway.retrieval.engine import Destination


def echo(destination: Destination, timeouts: Timeouts = Timeouts()) -> float:  # noqa: B008 - frozen
    """Establish an association, send C-ECHO and return the seconds until the answer.

    Raises
    ------
    NetworkError
        With the layer that fails in plain words as its `problem`: name, connection, association, service.
    """
    requestor = Requestor(destination, [(VERIFICATION, ImplicitVRLittleEndian)], timeouts)
    try:
        context = requestor.contexts.get((VERIFICATION, ImplicitVRLittleEndian))
        if context is None:
            raise NetworkError(str(destination), "takes the association and not C-ECHO")
        seconds = _ask(requestor, context)
    except BaseException:
        requestor.abort()
        raise
    requestor.release()
    return seconds


def _ask(requestor: Requestor, context: int) -> float:
    request = C_ECHO()
    request.MessageID = 1
    request.AffectedSOPClassUID = VERIFICATION
    message = C_ECHO_RQ()
    message.primitive_to_message(request)
    begun = time.monotonic()
    requestor.send(context, message)
    answer: Any = requestor.receive().message_to_primitive()
    if not isinstance(answer, C_ECHO) or answer.Status != 0x0000:
        status = getattr(answer, "Status", None)
        found = type(answer).__name__ if status is None else f"status {status:04X}"
        raise NetworkError(str(requestor.destination), "does not answer C-ECHO with success", found=found)
    return time.monotonic() - begun
