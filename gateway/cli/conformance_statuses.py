"""Statuses of queries and retrievals in a conformance statement: what each means and when it is answered here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gateway.cli.conformance_tables import Box, table
from gateway.conversion import frame_lists
from gateway.network import find, move, retrieve
from gateway.retrieval import transcript

Statuses = Mapping[int, tuple[str, str]]

# PS3.4 tables C.4-1 and C.6.4.3-1, PS3.7 annex C.
FIND_STATUSES: Statuses = {
    find.SUCCESS: ("Success", "Every match was sent."),
    find.NOT_AUTHORISED: ("Refused: Not Authorized", "The peer may not query."),
    find.OUT_OF_RESOURCES: ("Refused: Out of Resources", "The index cannot be read now."),
    find.INVALID_PRIOR_KEY: ("Refused: Invalid Prior Record Key", "It is not of this index (Repository Query)."),
    find.IDENTIFIER_MISMATCH: (
        "Error: Identifier does not match SOP Class",
        "Level, unique keys, view or a value do not fit; Offending Element and Error Comment say why.",
    ),
    find.LIMIT_REACHED: ("Warning: Matching reached response limit", "Maximum Number of Records (Repository Query)."),
    find.UNABLE_TO_PROCESS: ("Failed: Unable to process", "The Identifier cannot be decoded, or a fault of the box."),
    find.CONVERSION_PENDING: ("Failed: Unable to process", "Conversion pending: ask again later."),
    find.CANCELLED: ("Cancel", "Matching ended at a C-CANCEL."),
    find.PENDING: ("Pending", "A match."),
    find.PENDING_UNSUPPORTED: ("Pending", "A match; one or more optional keys are not supported."),
}

# PS3.4 tables C.4-2 and C.4-3, PS3.7 annex C.
RETRIEVE_STATUSES: Statuses = {
    transcript.SUCCESS: ("Success", "Every sub-operation succeeded, or nothing matches."),
    retrieve.CLASS_NOT_SUPPORTED: ("Refused: SOP Class Not Supported", "The operation is not that of the context."),
    retrieve.NOT_AUTHORISED: ("Refused: Not Authorized", "The peer may not retrieve."),
    retrieve.TOO_MANY_MATCHES: (
        "Refused: Out of Resources, unable to calculate number of matches",
        f"More than {retrieve.MOST_INSTANCES} instances: the counts cannot say so many.",
    ),
    transcript.UNABLE_TO_PERFORM: (
        "Refused: Out of Resources, unable to perform sub-operations",
        "No sub-operation succeeded.",
    ),
    retrieve.IDENTIFIER_MISMATCH: (
        "Error: Identifier does not match SOP Class",
        "Level, unique keys or view do not fit; Offending Element and Error Comment say why.",
    ),
    transcript.ONE_OR_MORE_FAILED: ("Warning", "Some sub-operations failed or came with a warning."),
    retrieve.UNABLE_TO_PROCESS: (
        "Failed: Unable to process",
        "The Identifier cannot be decoded, or a fault of the box.",
    ),
    retrieve.CONVERSION_PENDING: ("Failed: Unable to process", "Conversion pending: ask again later."),
    transcript.CANCELLED: ("Cancel", "Sub-operations ended at a C-CANCEL."),
    transcript.PENDING: ("Pending", "Sub-operations go on."),
}

# Of C-MOVE alone.
MOVE_STATUSES: Statuses = {
    move.DESTINATION_UNKNOWN: ("Refused: Move Destination unknown", "It is neither destination nor peer with a port."),
}

# PS3.4 table Y.4-1, of retrieval of frames alone.
FRAME_STATUSES: Statuses = {
    frame_lists.NONE_FOUND: ("Failed: None of the frames requested were found", "No such frame or instance."),
    frame_lists.CANNOT_CREATE: ("Failed: Unable to create new object for this SOP Class", "Not of its frames."),
    frame_lists.CANNOT_EXTRACT: ("Failed: Unable to extract frames", "The stored object or its pixels cannot be read."),
    frame_lists.NOT_TIME_BASED: ("Failed: Time-based request for a non-time-based object", "It names no times."),
    frame_lists.INVALID_REQUEST: ("Failed: Invalid request", "Not exactly one usable Frame Range Key."),
}


def empty_values(box: Box) -> str:
    """Return what an entity without a value for a key matches."""
    if box.settings.empty_matches:
        return "An entity without a value for a key matches whatever value is asked for (PS3.4 C.2.2.1.2)."
    return (
        "Deviation from PS3.4 C.2.2.1.2: an entity without a value for a key matches only what matches everything - no "
        'value, `*` - and `""` where Empty Value Matching was negotiated. With `empty_matches = true` in `[query]` it '
        "matches whatever value is asked for."
    )


def query_statuses(seconds: float) -> Iterator[str]:
    """Yield how a query is answered; `seconds` is how long it waits for a conversion."""
    yield _waits("query for a patient, study or accession number", seconds)
    yield "Priority is not honoured: queries are answered as they come."
    yield _table(FIND_STATUSES)


def retrieval_statuses(seconds: float) -> Iterator[str]:
    """Yield how C-MOVE and C-GET are answered; `seconds` is how long they wait for a conversion."""
    yield _waits("retrieval", seconds)
    yield (
        "Priority is passed on to the C-STORE sub-operations; requests are not ordered by it. Completed, failed, "
        "warning and remaining sub-operations always add up to the number of instances."
    )
    for heading, statuses in (
        ("C-MOVE and C-GET", RETRIEVE_STATUSES),
        ("C-MOVE besides", MOVE_STATUSES),
        ("Frame level besides", FRAME_STATUSES),
    ):
        yield f"{heading}:"
        yield _table(statuses)


def _waits(what: str, seconds: float) -> str:
    return f"A {what} of a view that a conversion may still change waits for that, at most {seconds:g} seconds."


def _table(statuses: Statuses) -> str:
    rows = ((f"{status:04X}", *words) for status, words in sorted(statuses.items()))
    return table("status | meaning | what it says here", rows)
