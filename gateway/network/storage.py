"""C-STORE SCP: bytes go off the wire into a file beside their final place (PS3.4 annex B, PS3.7 9.1.1).

Success is answered when the file is durable; the index gets to know it a moment later (`gateway.archive.registrar`).
What goes wrong before leaves nothing behind and is answered with a status and a comment that says why (PS3.4 B.2.3).
"""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.archive.admission import Arrival, Origin
from gateway.errors import ArchiveError, GatewayError, MismatchError, ObjectError, ResourceError
from gateway.network.negotiation import is_storage
from gateway.network.policy import Peer
from gateway.objects.part10 import check_identity, file_meta
from gateway.objects.uids import valid_uid
from gateway.observe import LOGGER, warning

if TYPE_CHECKING:
    from gateway.archive.parts import PartFile
    from gateway.archive.registrar import Registrar
    from gateway.objects.alike import HeaderReader

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
SOP_CLASS_NOT_SUPPORTED = 0x0122
OUT_OF_RESOURCES = 0xA700
DATA_SET_MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000

# The first row that fits. PS3.4 table B.2-1; 0110 and 0122 are PS3.7 C.5.14 and C.5.16.
STATUSES: tuple[tuple[type[BaseException], int], ...] = (
    (MismatchError, DATA_SET_MISMATCH),
    (ObjectError, CANNOT_UNDERSTAND),
    (ResourceError, OUT_OF_RESOURCES),
    (ArchiveError, OUT_OF_RESOURCES),
    (sqlite3.Error, OUT_OF_RESOURCES),
    (OSError, OUT_OF_RESOURCES),
    (MemoryError, OUT_OF_RESOURCES),
    (GatewayError, SOP_CLASS_NOT_SUPPORTED),
    (Exception, PROCESSING_FAILURE),
)


@dataclass(frozen=True)
class Caller:
    """Whom an object comes from: the peer, the AE title it called and whether the box delivers to it."""

    peer: Peer
    called: str
    prior: bool


@dataclass(frozen=True)
class Request:
    """What a C-STORE request says of the data set that follows it."""

    message_id: int
    sop_class: str
    sop_instance: str
    transfer_syntax: str


class Reception:
    """A C-STORE request whose data set is coming off the wire.

    Parameters
    ----------
    registrar : Registrar
        Has the archive where the object goes, and tells its index.
    caller : Caller
        Whom it comes from.
    request : Request
        The request.
    abstract_syntax : str
        That of the presentation context it came in.
    read : HeaderReader
        Reads headers; it knows those that have come in the same association.
    """

    def __init__(
        self, registrar: Registrar, caller: Caller, request: Request, abstract_syntax: str, read: HeaderReader
    ) -> None:
        self._registrar = registrar
        self._read = read
        self._caller = caller
        self.request = request
        self._part: PartFile | None = None
        self._error: Exception | None = None
        try:
            _check(request, abstract_syntax)
            meta = file_meta(request.sop_class, request.sop_instance, request.transfer_syntax, caller.peer.ae_title)
            self._part = registrar.archive.files.begin(meta)
        except Exception as error:
            self._fail(error)

    def write(self, fragment: memoryview) -> None:
        """Take the next bytes of the data set; after an error they are read and thrown away."""
        if self._part is not None:
            try:
                self._part.write(fragment)
            except Exception as error:
                self._fail(error)

    def finish(self) -> tuple[int, str]:
        """Store the complete object and return status and Error Comment of the response."""
        if self._part is not None:
            try:
                self._store(self._part)
            except Exception as error:
                self._fail(error)
        if self._error is None:
            return SUCCESS, ""
        status = next(status for kind, status in STATUSES if isinstance(self._error, kind))
        if status == PROCESSING_FAILURE:
            LOGGER.error("C-STORE of %s", self._caller.peer.ae_title, exc_info=self._error)
        warning(
            "intake.refused",
            peer=self._caller.peer.ae_title,
            instance=self.request.sop_instance,
            status=f"{status:04X}",
            reason=self._error,
        )
        return status, comment(self._error)

    def discard(self) -> None:
        """Leave nothing behind; harmless after `finish`."""
        if self._part is not None:
            self._part.discard()
            self._part = None

    def _fail(self, error: Exception) -> None:
        self._error = error
        with contextlib.suppress(OSError):
            self.discard()

    def _store(self, part: PartFile) -> None:
        # Before the rename: what cannot be understood must never look like an acknowledged object to a recovery.
        header = self._read(part.path)
        check_identity(header)
        _agree("SOP Class UID", header.sop_class, self.request.sop_class)
        _agree("SOP Instance UID", header.sop_instance, self.request.sop_instance)
        name = part.commit(hold=True)
        header.path = part.path
        peer = self._caller.peer
        origin = Origin(peer.ae_title, self._caller.called, peer.convert, self._caller.prior)
        self._registrar.take(Arrival(name, header, origin, self._registrar.archive.clock.now()), part)


def _check(request: Request, abstract_syntax: str) -> None:
    """Refuse a request before its data set has come."""
    if request.sop_class != abstract_syntax or not is_storage(abstract_syntax):
        raise GatewayError(
            "Affected SOP Class UID", "is not one to store in this context", found=request.sop_class[:64]
        )
    if not request.sop_instance:
        raise ObjectError("Affected SOP Instance UID", "is missing")
    if not valid_uid(request.sop_instance):
        raise ObjectError("Affected SOP Instance UID", "is no UID", found=request.sop_instance[:80])


def _agree(name: str, found: str, expected: str) -> None:
    if found != expected:
        raise MismatchError(name, "is not that of the request", found=found, expected=expected)


def comment(error: Exception) -> str:
    """Return an Error Comment (0000,0902) for `error`."""
    if isinstance(error, GatewayError):
        # The names of our files tell a peer nothing.
        named = isinstance(error, ResourceError) or error.subject.endswith(".part")
        text = error.problem if named else f"{error.subject} {error.problem}"
        if error.found is not None:
            text += f": {error.found}"
    else:
        text = getattr(error, "strerror", None) or "internal error, see the log of the gateway"
    return plain(text)


def plain(text: str) -> str:
    """Return `text` as an Error Comment can hold it: LO, 64 characters of the default repertoire."""
    found = text.encode("ascii", "replace").decode().replace("\\", "/")
    return "".join(letter if letter.isprintable() else "?" for letter in found)[:64].strip()
