"""Storage commitment and Instance Availability Notification as data (PS3.4 annexes J and R, PS3.7 annex C)."""

from __future__ import annotations

# J.3.4 and J.3.5: N-ACTION and N-EVENT-REPORT operate on one SOP Instance that nobody has to create.
STORAGE_COMMITMENT_PUSH = "1.2.840.10008.1.20.1"
STORAGE_COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"

# R.3.3
INSTANCE_AVAILABILITY = "1.2.840.10008.5.1.4.33"

# Action Type ID of table J.3-1, Event Type IDs of table J.3-2.
REQUEST_COMMITMENT = 1
COMMITTED_ALL = 1
FAILURES_EXIST = 2

# Failure Reason (0008,1197), PS3.3 C.14.1.1.
PROCESSING_FAILURE = 0x0110
NO_SUCH_OBJECT = 0x0112
CLASS_INSTANCE_CONFLICT = 0x0119
CLASS_NOT_SUPPORTED = 0x0122
DUPLICATE_TRANSACTION = 0x0131
RESOURCE_LIMITATION = 0x0213

FAILURE_REASONS: dict[int, str] = {
    PROCESSING_FAILURE: "processing failure",
    NO_SUCH_OBJECT: "no such object instance",
    CLASS_INSTANCE_CONFLICT: "class and instance conflict",
    CLASS_NOT_SUPPORTED: "referenced SOP class not supported",
    DUPLICATE_TRANSACTION: "duplicate Transaction UID",
    RESOURCE_LIMITATION: "resource limitation",
}

# Statuses of the DIMSE-N services (PS3.7 10.1.1.1.8, 10.1.4.1.10, 10.1.5.1.6, annex C).
SUCCESS = 0x0000
NO_SUCH_INSTANCE = 0x0112
NO_SUCH_EVENT = 0x0113
NO_SUCH_ARGUMENT = 0x0114
INVALID_ARGUMENT = 0x0115
NO_SUCH_CLASS = 0x0118
NO_SUCH_ACTION = 0x0123
NOT_AUTHORISED = 0x0124

# J.1.1: a link to pixel data is no copy of them, so nobody may commit to what is stored in these (PS3.5 A.6, A.7).
REFERENCED_PIXELS: dict[str, str] = {
    "1.2.840.10008.1.2.4.94": "JPIP Referenced",
    "1.2.840.10008.1.2.4.95": "JPIP Referenced Deflate",
    "1.2.840.10008.1.2.4.204": "JPIP HTJ2K Referenced",
    "1.2.840.10008.1.2.4.205": "JPIP HTJ2K Referenced Deflate",
}


def failure_text(reason: int) -> str:
    """Say a Failure Reason in plain words, its number after them."""
    return f"{FAILURE_REASONS.get(reason, 'failure')} ({reason:04X})"
