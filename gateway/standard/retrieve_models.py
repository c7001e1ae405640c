"""SOP classes of the retrieve services: operation, levels, options (PS3.4 C.6.1.3, C.6.2.3, C.6.3, Y.6, Z.6)."""

from __future__ import annotations

from typing import NamedTuple

from gateway.standard.query_keys import IMAGE, PATIENT, SERIES, STUDY

# A level of its own in annex Y, without a unique key: it is named by one of the Frame Range Keys (table Y.6-2).
FRAME = "FRAME"

# SOP Class Extended Negotiation: what each byte means, the first byte first, "" being reserved (tables C.5-3, Y.5.1-1;
# Z.5.1 refers to Y.5.1.1).
OPTIONS = ("relational", "view")
OPTIONS_OF_INSTANCES = ("", "view")


class RetrieveModel(NamedTuple):
    """A SOP class of a retrieve service.

    Attributes
    ----------
    name : str
        Of the SOP class.
    operation : str
        ``MOVE`` or ``GET``.
    levels : tuple of str
        Query/Retrieve Levels from the top.
    options : tuple of str
        Bytes of its extended negotiation.
    bulk_data : bool
        Whether what table Z.1-1 names is sent too.
    """

    name: str
    operation: str
    levels: tuple[str, ...]
    options: tuple[str, ...] = OPTIONS
    bulk_data: bool = True


RETRIEVE_MODELS: dict[str, RetrieveModel] = {
    "1.2.840.10008.5.1.4.1.2.1.2": RetrieveModel("Patient Root - MOVE", "MOVE", (PATIENT, STUDY, SERIES, IMAGE)),
    "1.2.840.10008.5.1.4.1.2.1.3": RetrieveModel("Patient Root - GET", "GET", (PATIENT, STUDY, SERIES, IMAGE)),
    "1.2.840.10008.5.1.4.1.2.2.2": RetrieveModel("Study Root - MOVE", "MOVE", (STUDY, SERIES, IMAGE)),
    "1.2.840.10008.5.1.4.1.2.2.3": RetrieveModel("Study Root - GET", "GET", (STUDY, SERIES, IMAGE)),
    # Retired.
    "1.2.840.10008.5.1.4.1.2.3.2": RetrieveModel("Patient/Study Only - MOVE", "MOVE", (PATIENT, STUDY)),
    "1.2.840.10008.5.1.4.1.2.3.3": RetrieveModel("Patient/Study Only - GET", "GET", (PATIENT, STUDY)),
    "1.2.840.10008.5.1.4.1.2.4.2": RetrieveModel(
        "Composite Instance Root Retrieve - MOVE", "MOVE", (IMAGE, FRAME), OPTIONS_OF_INSTANCES
    ),
    "1.2.840.10008.5.1.4.1.2.4.3": RetrieveModel(
        "Composite Instance Root Retrieve - GET", "GET", (IMAGE, FRAME), OPTIONS_OF_INSTANCES
    ),
    "1.2.840.10008.5.1.4.1.2.5.3": RetrieveModel(
        "Composite Instance Retrieve Without Bulk Data - GET", "GET", (IMAGE,), OPTIONS_OF_INSTANCES, False
    ),
}
