"""Statuses that a peer may answer C-STORE and other requests with: their names, and what is to be done about them.

From PS3.4 B.2.3 (table B.2-1; GG.4-1 says the same of non-patient objects), PS3.7 9.1.1.1.9 and PS3.7 annex C.
pynetdicom has a table as well, code by code; that is four megabytes in every process for what some lines say.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class Kind(enum.StrEnum):
    """What a status says about the next attempt."""

    SUCCESS = "success"
    WARNING = "warning"  # it is done, and the peer has something to say about it
    THERE = "there"  # the peer has an object of that UID already
    BUSY = "busy"  # the peer is short of something: it may take it later
    DENIED = "denied"  # by its settings, or by what may be a fault of its own: worth a few attempts
    FAULT = "fault"  # something went wrong that may pass: worth more attempts
    REFUSED = "refused"  # it will not take these bytes however often they come
    OTHER = "other"  # no end of an operation: pending, cancelled


class Status(NamedTuple):
    """One row of the table: a range of codes, the name that the standard gives it, its kind, and where it is from."""

    first: int
    last: int
    name: str
    kind: Kind
    section: str


def _one(code: int, name: str, kind: Kind, section: str) -> Status:
    return Status(code, code, name, kind, section)


_STORAGE, _GENERAL = "PS3.4 B.2.3", "PS3.7 C"

TABLE: tuple[Status, ...] = (
    _one(0x0000, "Success", Kind.SUCCESS, "PS3.7 C.1.1"),
    _one(0x0001, "Requested optional Attributes are not supported", Kind.WARNING, "PS3.7 C.4.1"),
    _one(0x0105, "No such attribute", Kind.REFUSED, _GENERAL),
    _one(0x0106, "Invalid attribute value", Kind.REFUSED, _GENERAL),
    _one(0x0107, "Attribute list error", Kind.WARNING, _GENERAL),
    _one(0x0110, "Processing failure", Kind.FAULT, _GENERAL),
    _one(0x0111, "Duplicate SOP Instance", Kind.THERE, _GENERAL),
    _one(0x0112, "No such SOP Instance", Kind.REFUSED, _GENERAL),
    _one(0x0113, "No such event type", Kind.REFUSED, _GENERAL),
    _one(0x0114, "No such argument", Kind.REFUSED, _GENERAL),
    _one(0x0115, "Invalid argument value", Kind.REFUSED, _GENERAL),
    _one(0x0116, "Attribute value out of range", Kind.WARNING, _GENERAL),
    _one(0x0117, "Invalid SOP Instance", Kind.REFUSED, "PS3.7 9.1.1.1.9"),
    _one(0x0118, "No such SOP class", Kind.REFUSED, _GENERAL),
    _one(0x0119, "Class-Instance conflict", Kind.REFUSED, _GENERAL),
    _one(0x0120, "Missing attribute", Kind.REFUSED, _GENERAL),
    _one(0x0121, "Missing attribute value", Kind.REFUSED, _GENERAL),
    _one(0x0122, "Refused: SOP class not supported", Kind.REFUSED, "PS3.7 9.1.1.1.9"),
    _one(0x0123, "No such action type", Kind.REFUSED, _GENERAL),
    _one(0x0124, "Refused: Not authorized", Kind.DENIED, "PS3.7 9.1.1.1.9"),
    _one(0x0131, "Duplicate transaction UID", Kind.REFUSED, "PS3.3 C.14.1.1"),
    _one(0x0210, "Duplicate invocation", Kind.FAULT, "PS3.7 9.1.1.1.9"),
    _one(0x0211, "Unrecognized operation", Kind.DENIED, "PS3.7 9.1.1.1.9"),
    _one(0x0212, "Mistyped argument", Kind.REFUSED, "PS3.7 9.1.1.1.9"),
    _one(0x0213, "Resource limitation", Kind.BUSY, _GENERAL),
    Status(0xA700, 0xA7FF, "Refused: Out of resources", Kind.BUSY, _STORAGE),
    Status(0xA900, 0xA9FF, "Error: Data Set does not match SOP Class", Kind.REFUSED, _STORAGE),
    _one(0xB000, "Coercion of Data Elements", Kind.WARNING, _STORAGE),
    _one(0xB006, "Elements Discarded", Kind.WARNING, _STORAGE),
    _one(0xB007, "Data Set does not match SOP Class", Kind.WARNING, _STORAGE),
    Status(0xB001, 0xBFFF, "Warning", Kind.WARNING, "PS3.7 C.4"),
    Status(0xC000, 0xCFFF, "Error: Cannot understand", Kind.DENIED, _STORAGE),
    _one(0xFE00, "Cancel", Kind.OTHER, "PS3.7 C.3"),
    Status(0xFF00, 0xFF01, "Pending", Kind.OTHER, "PS3.7 C.2"),
    # What no table has is a failure (PS3.7 C): A and 01xx, 02xx are those of the peer itself.
    Status(0x0000, 0xFFFF, "Failure", Kind.FAULT, "PS3.7 C.5"),
)


def status_of(code: int) -> Status:
    """Return the row for a status code: the first whose range it is in."""
    return next(row for row in TABLE if row.first <= code <= row.last)


def kind_of(code: int) -> Kind:
    """Return what a status code says about the next attempt."""
    return status_of(code).kind


def describe(code: int, comment: str = "") -> str:
    """Say a status in words, its code after them, and what the peer has added: ``Elements Discarded (B006): ...``."""
    return f"{status_of(code).name} ({code:04X})" + (f": {comment}" if comment else "")
