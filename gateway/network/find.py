"""C-FIND SCP of the Query/Retrieve service class (PS3.4 C.4.1) and of Repository Query (C.6.4).

An answer goes out while it is being found: what a peer has not taken yet is bounded, and so is what is held of it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any

from pynetdicom.dimse_messages import C_FIND_RSP
from pynetdicom.dimse_primitives import C_FIND
from pynetdicom.pdu_primitives import P_DATA

from gateway.archive.matches import Match, index_identity, matches
from gateway.archive.matching import Asked, KeyValueError
from gateway.archive.query import Query
from gateway.archive.views import View, name_of, view_named
from gateway.errors import GatewayError, ObjectError, ResourceError
from gateway.network import identifier
from gateway.network.identifier import TIMEZONE, Request
from gateway.network.policy import LOOK
from gateway.network.storage import comment, plain
from gateway.observe import LOGGER, event, warning
from gateway.retrieval.decompress import available
from gateway.standard.query_keys import FIND_MODELS, IMAGE, PATIENT, RECORD_KEY, SERIES, STUDY

if TYPE_CHECKING:
    from pynetdicom.association import Association
    from pynetdicom.presentation import PresentationContext

    from gateway.archive.index import Archive
    from gateway.network.policy import NetworkSettings

# Tables C.4-1 and C.6.4.3-1; 0124 is PS3.7 C.5.17.
SUCCESS = 0x0000
NOT_AUTHORISED = 0x0124
OUT_OF_RESOURCES = 0xA700
INVALID_PRIOR_KEY = 0xA710
IDENTIFIER_MISMATCH = 0xA900
LIMIT_REACHED = 0xB001
UNABLE_TO_PROCESS = 0xC000
CONVERSION_PENDING = 0xC001
CANCELLED = 0xFE00
PENDING = 0xFF00
PENDING_UNSUPPORTED = 0xFF01

# Fragments that a peer has not taken yet; then matching waits for it.
MOST_QUEUED = 64
NAP = 0.001

# Keys by which a query is about certain patients or studies; only then it waits.
_NAMING = ("PatientID", "StudyInstanceUID", "AccessionNumber")


class _Refused(Exception):
    """A request that ends with a failure."""

    def __init__(self, status: int, comment: str = "", offending: int | None = None) -> None:
        super().__init__(comment)
        self.status = status
        self.comment = comment
        self.offending = offending


class _Gone(Exception):
    """The association that the request came on has ended."""


def serve_find(
    association: Association,
    request: C_FIND,
    context: PresentationContext,
    *,
    archive: Archive,
    settings: NetworkSettings,
    options: frozenset[str],
) -> None:
    """Serve one C-FIND request to its final response, in the thread of the association it came on.

    Parameters
    ----------
    association : Association
        Of the requestor, as acceptor.
    request : C_FIND
        The request primitive.
    context : PresentationContext
        The accepted context it came in.
    archive : Archive
        What can be found.
    settings : NetworkSettings
        Views of the called AE titles and rights of peers.
    options : frozenset of str
        What was negotiated for the SOP class.
    """
    find = _Find(association, request, context)
    started = time.monotonic()
    try:
        status = _answer(find, archive, settings, options)
        find.finish(status)
        event(
            "find.done",
            peer=find.calling,
            asked=find.level,
            view=find.view,
            matches=find.count,
            status=f"{status:04X}",
            seconds=round(time.monotonic() - started, 3),
        )
    except _Gone:
        warning("find.abandoned", peer=find.calling, matches=find.count, reason="the association has ended")
    except Exception as error:  # the requestor waits for an answer, whatever went wrong
        refused = _refusal(error)
        if refused.status == UNABLE_TO_PROCESS and not isinstance(error, GatewayError):
            LOGGER.exception("C-FIND of %s", find.calling)
        warning("find.refused", peer=find.calling, status=f"{refused.status:04X}", reason=refused.comment)
        find.finish(refused.status, refused.comment, refused.offending)
    # The idle timer has been running all the time; what the requestor says next must not come too late.
    association.dul._idle_timer.restart()


def _refusal(error: Exception) -> _Refused:
    """Return the status that an error is answered with (table C.4-1)."""
    if isinstance(error, _Refused):
        return error
    if isinstance(error, KeyValueError):
        return _Refused(IDENTIFIER_MISMATCH, comment(error), error.tag)
    if isinstance(error, (ResourceError, MemoryError)):
        return _Refused(OUT_OF_RESOURCES, comment(error))
    return _Refused(UNABLE_TO_PROCESS, comment(error))


def _answer(find: _Find, archive: Archive, settings: NetworkSettings, options: frozenset[str]) -> int:
    """Send what matches and return the final status."""
    if not settings.allows(find.calling, "query"):
        raise _Refused(NOT_AUTHORISED, f"{find.calling} may not query")
    asked = find.request(options, settings.empty_matches)
    view = view_named(asked.view) if asked.view else settings.view_of(find.called)
    find.level, find.view = asked.level, name_of(view)
    waiting = _wait(find, archive, asked, view, settings.query_wait)
    said = {"QueryRetrieveLevel": asked.level, "RetrieveAETitle": settings.title_of(view, find.called)}
    if asked.view:
        said["QueryRetrieveView"] = asked.view
    find.say(asked, said, index_identity(archive))
    query = _query(archive, asked, view, find.of_patient)
    found = matches(archive, query, syntaxes=available, interrupted=find.cancelled)
    with contextlib.closing(found):
        for match in found:
            if asked.most is not None and find.count >= asked.most:
                return LIMIT_REACHED
            find.send(match)
    if find.gone():
        raise _Gone
    if find.cancelled():
        return CANCELLED
    if waiting and not find.count and asked.level in (SERIES, IMAGE):
        # What it will have is not known; that it has nothing would be a lie.
        raise _Refused(CONVERSION_PENDING, "conversion pending")
    return SUCCESS


def _query(archive: Archive, asked: Request, view: View, of_patient: bool) -> Query:
    keys = asked.keys
    if asked.options.zone is not None and asked.level != PATIENT:
        keys = (*keys, Asked(TIMEZONE, "SH"))
    after = None if asked.prior is None else _id_of(archive, asked.level, asked.prior)
    return Query(asked.level, view, keys, asked.options, asked.relational, of_patient, after, asked.record_keys)


def _wait(find: _Find, archive: Archive, asked: Request, view: View, seconds: float) -> bool:
    """Wait until no conversion concerns the studies asked for, at most `seconds`; tell whether one still does."""
    keys = tuple(key for key in (asked.key(keyword) for keyword in _NAMING) if key is not None and key.values)
    if view == View.RECEIVED or not keys:
        return False
    scope = Query(STUDY, view, keys, asked.options)
    deadline = time.monotonic() + seconds
    while _pending(archive, scope, find):
        if time.monotonic() >= deadline or find.cancelled():
            return True
        time.sleep(LOOK)
    return False


def _pending(archive: Archive, scope: Query, find: _Find) -> bool:
    found = matches(archive, scope, interrupted=find.cancelled)
    with contextlib.closing(found):
        return any(match.pending for match in found)


# Record keys (C.6.4.1.1): the level, which index, and the id of the row in it. They hold until the index is rebuilt.
_LEVELS = {STUDY: b"T", SERIES: b"S", IMAGE: b"I"}
_TABLES = {STUDY: "study", SERIES: "series", IMAGE: "instance"}


def record_key(level: str, identity: bytes, number: int) -> bytes:
    """Return the record key of an entity."""
    return _LEVELS[level] + b"\1" + identity + number.to_bytes(8, "big")


def _id_of(archive: Archive, level: str, key: bytes) -> int:
    """Return the id in a record key; one that is not of this index and level is invalid (A710)."""
    number = int.from_bytes(key[6:], "big") if len(key) == 14 else 0
    if key != record_key(level, index_identity(archive), number):
        raise _Refused(INVALID_PRIOR_KEY)
    last = archive.database.row(f"SELECT max(id) FROM {_TABLES[level]}")
    if not last or last[0] is None or number > last[0]:
        raise _Refused(INVALID_PRIOR_KEY)
    return number


class _Find:
    """A C-FIND request and the responses to it."""

    def __init__(self, association: Association, request: Any, context: Any) -> None:
        self._association = association
        self._request = request
        self._context = context
        self._syntax = str(context.transfer_syntax[0])
        self._heads: dict[int, list[P_DATA]] = {}
        self._asked: Request | None = None
        self._said: Mapping[str, str] = {}
        self._identity = b""
        self.calling: str = association.requestor.ae_title.strip()
        self.called: str = association.requestor.primitive.called_ae_title.strip()  # type: ignore[union-attr]
        self.message_id: int = request.MessageID
        self.level = self.view = ""
        self.count = 0

    def request(self, options: frozenset[str], empty_matches: bool) -> Request:
        """Read the Identifier."""
        content = self._request.Identifier.getvalue() if self._request.Identifier else b""
        try:
            ds = identifier.parse(content, self._syntax)
        except ObjectError as error:
            raise _Refused(UNABLE_TO_PROCESS, f"Identifier cannot be decoded: {error.problem}") from error
        return identifier.request(ds, str(self._context.abstract_syntax), options, empty_matches=empty_matches)

    @property
    def of_patient(self) -> bool:
        """Whether the model has the patient as a level."""
        return PATIENT in FIND_MODELS[str(self._context.abstract_syntax)]

    def say(self, asked: Request, said: Mapping[str, str], identity: bytes) -> None:
        """Note what is said of every match."""
        self._asked, self._said, self._identity = asked, said, identity

    def cancelled(self) -> bool:
        """Whether the requestor wants no more of it: C-CANCEL, or the end of its association."""
        return self.message_id in self._association.dimse.cancel_req or self.gone()

    def gone(self) -> bool:
        """Whether the association of the request has been aborted, lost or released."""
        return self._association.dul.peek_next_pdu() is not None or not self._association.dul.is_alive()

    def send(self, match: Match) -> None:
        """Send a match, once the peer has taken enough of those before."""
        asked = self._asked
        assert asked is not None
        values = dict(match.values)
        if not values.get(TIMEZONE, ("",)):
            del values[TIMEZONE]  # never without a value (C.4.1.1.3.2)
        if asked.record_keys:
            key = record_key(asked.level, self._identity, match.id)
            values[identifier.tag_named(RECORD_KEY)] = (key,)
        said = {**self._said, "InstanceAvailability": "NEARLINE" if match.pending else "ONLINE"}
        data = identifier.encoded(values, said, asked.characters, self._syntax)
        self._queue(PENDING if match.complete else PENDING_UNSUPPORTED, data)
        self.count += 1

    def _queue(self, status: int, data: bytes) -> None:
        """Queue a pending response; its command set is the same every time."""
        dul = self._association.dul
        while dul.to_provider_queue.qsize() > MOST_QUEUED:
            if self.gone():
                raise _Gone
            time.sleep(NAP)
        if status not in self._heads:
            self._heads[status] = self._head(status)
        for primitive in (*self._heads[status], *self._fragments(data)):
            dul.send_pdu(primitive)

    def _head(self, status: int) -> list[P_DATA]:
        message = C_FIND_RSP()
        message.primitive_to_message(self._response(status, b"\0\0"))
        parts = message.encode_msg(self._context.context_id, self._association.dimse.maximum_pdu_size)
        return [part for part in parts if part.presentation_data_value_list[0][1][0] & 1]

    def _fragments(self, data: bytes) -> Iterator[P_DATA]:
        longest = (self._association.dimse.maximum_pdu_size or len(data) + 6) - 6
        for start in range(0, len(data), longest):
            last = 2 if start + longest >= len(data) else 0
            primitive: Any = P_DATA()
            value = bytes((last,)) + data[start : start + longest]
            primitive.presentation_data_value_list = [[self._context.context_id, value]]
            yield primitive

    def _response(self, status: int, data: bytes = b"") -> Any:
        response: Any = C_FIND()
        response.MessageIDBeingRespondedTo = self.message_id
        response.AffectedSOPClassUID = self._request.AffectedSOPClassUID
        response.Status = status
        if data:
            response.Identifier = BytesIO(data)
        return response

    def finish(self, status: int, text: str = "", offending: int | None = None) -> None:
        """Send the final response; it has no Identifier."""
        response = self._response(status)
        if text:
            response.ErrorComment = plain(text)
        if offending is not None:
            response.OffendingElement = [offending]
        self._association.dimse.send_msg(response, self._context.context_id)
