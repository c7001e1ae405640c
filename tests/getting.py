"""A requestor of C-GET that keeps what it receives, byte for byte, and every response."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, build_role, evt
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet
from retrieving import Answer

STUDY_ROOT = StudyRootQueryRetrieveInformationModelGet
CT = "1.2.840.10008.5.1.4.1.1.2"
LEGACY_CT = "1.2.840.10008.5.1.4.1.1.2.2"
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"


def extended(sop_class: str, *values: int) -> SOPClassExtendedNegotiation:
    """Return a SOP Class Extended Negotiation item."""
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid = UID(sop_class)
    item.service_class_application_information = bytes(values)
    return item


@dataclass
class Getter:
    """An association for C-GET.

    Attributes
    ----------
    received : dict
        Bytes of the data set by SOP Instance UID.
    syntaxes : dict
        Transfer syntax by SOP Instance UID.
    status : callable
        What a C-STORE request is answered with, by its number.
    """

    association: Any = None
    received: dict[str, bytes] = field(default_factory=dict)
    syntaxes: dict[str, str] = field(default_factory=dict)
    status: Callable[[int], int] = lambda number: 0
    on_store: Callable[[int], None] = lambda number: None

    def store(self, event: Any) -> int:
        request = event.request
        number = len(self.received)
        self.received[str(request.AffectedSOPInstanceUID)] = request.DataSet.getvalue()
        self.syntaxes[str(request.AffectedSOPInstanceUID)] = str(event.context.transfer_syntax)
        self.on_store(number)
        return self.status(number)

    def get(
        self,
        wanted: Dataset,
        model: str = STUDY_ROOT,
        on_pending: Callable[[Dataset], None] = lambda status: None,
    ) -> Answer:
        pending: list[Dataset] = []
        for status, failed in self.association.send_c_get(wanted, model, msg_id=42):
            if status.get("Status") == 0xFF00:
                assert failed is None, "a pending response has no Identifier"
                pending.append(status)
                on_pending(status)
            else:
                return Answer(pending, status, failed or None)
        raise AssertionError("no final response")


@contextlib.contextmanager
def getter(
    port: int,
    classes: Iterable[str | tuple[str, Sequence[str]]] = (CT, LEGACY_CT),
    *,
    models: Sequence[str] = (STUDY_ROOT,),
    called: str = "GATEWAY",
    calling: str = "WORKSTATION",
    items: Sequence[Any] = (),
    maximum: int = 16382,
    **more: Any,
) -> Iterator[Getter]:
    """Request an association for C-GET with a context for each storage class, alone or with its transfer syntaxes."""
    made = Getter(**more)
    ae = AE(calling)
    ae.maximum_pdu_size = maximum
    for model in models:
        ae.add_requested_context(model)
    roles = {}
    for one in classes:
        sop_class, syntaxes = (one, (EXPLICIT, IMPLICIT)) if isinstance(one, str) else one
        ae.add_requested_context(sop_class, list(syntaxes))
        roles[sop_class] = build_role(sop_class, scp_role=True)
    made.association = ae.associate(
        "127.0.0.1",
        port,
        ae_title=called,
        ext_neg=[*roles.values(), *items],
        evt_handlers=[(evt.EVT_C_STORE, made.store)],
    )
    try:
        yield made
    finally:
        if made.association.is_established:
            made.association.release()


def decoded(data: bytes, transfer_syntax: str) -> Dataset:
    """Read a data set as pydicom does."""
    from pynetdicom.dsutils import decode

    syntax = UID(transfer_syntax)
    return decode(BytesIO(data), syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
