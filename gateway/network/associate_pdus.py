"""Reads the A-ASSOCIATE PDUs of peers as PS3.8 9.3 lets a receiver read them, before pynetdicom decodes them.

What shall be ignored is left out (items of unknown types, 9.3.1), what peers are known to write wrongly without harm is
set right (titles padded with NUL, names that are too long), and what is illegal becomes a rejection with its reason.
pynetdicom would raise in each of these cases, and the peer would see an abort that says nothing.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.network.policy import Refusal

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"

# PS3.8 tables 9-11 and 9-17: type, length, protocol version, called and calling AE title, 32 reserved bytes.
_FIXED = struct.Struct(">BxLH2x16s16s32x")
_ITEM = struct.Struct(">BBH")
_LENGTH = struct.Struct(">H")
# Bit 0 is the one version there is, and the only bit that is tested (PS3.8 9.3.2).
_VERSION = 0x0001

# Types of items (PS3.8 9.3.2 and 9.3.3, annex D; PS3.7 D.3.3).
APPLICATION, PROPOSED, ANSWERED, ABSTRACT, TRANSFER, USER = 0x10, 0x20, 0x21, 0x30, 0x40, 0x50
LENGTH, CLASS_UID, ROLES, VERSION_NAME, EXTENDED, COMMON_EXTENDED = 0x51, 0x52, 0x54, 0x55, 0x56, 0x57

# What is taken for the maximum length of a peer that does not say it.
_LENGTH_UNSAID = 16384
# The head of a presentation data value item and the two bytes of the shortest fragment (PS3.8 9.3.5.1 and annex E):
# into PDUs that are shorter nothing can be written. 0 is "no limit" (annex D.1.1).
SHORTEST_LENGTH = 8
# PS3.7 D.3.3.2.3: 1 to 16 characters of ISO 646.
_LONGEST_NAME = 16

# Stand where a UID is that is none: nothing is known under them, so a context with one is answered "not supported".
_NO_ABSTRACT_SYNTAX = "2.25.0"
_NO_TRANSFER_SYNTAX = "2.25.1"

_UID = re.compile(rb"[0-9]+(\.[0-9]+)+")
# PS3.5 6.2, AE: the default repertoire without backslash and control characters.
_TITLE = re.compile(rb"[ -\[\]-~]+")


class MalformedPDU(ValueError):
    """A PDU whose parts do not fit into each other: nothing can be made of it (PS3.8 table 9-26, reason 6)."""


class Reading(NamedTuple):
    """An A-ASSOCIATE-RQ as it was understood.

    Attributes
    ----------
    pdu : bytes
        One that says the same and nothing that has to be ignored.
    refusal : Refusal or None
        Why the association has to be rejected whatever the configuration says.
    calling, called : str
        The AE titles as they are shown, whatever was sent.
    """

    pdu: bytes
    refusal: Refusal | None
    calling: str
    called: str


@dataclass
class _Request:
    """What has been read of a request so far."""

    items: list[bytes] = field(default_factory=list)
    contexts: set[int] = field(default_factory=set)
    application: str | None = None
    refusal: Refusal | None = None

    def refuse(self, source: int, diagnostic: int, reason: str) -> None:
        """Note a rejection; the first reason is the one that is said."""
        self.refusal = self.refusal or Refusal(1, source, diagnostic, reason)


def read_request(pdu: bytes) -> Reading:
    """Read an A-ASSOCIATE-RQ PDU (PS3.8 9.3.2).

    Parameters
    ----------
    pdu : bytes
        The whole PDU.

    Raises
    ------
    MalformedPDU
        If it is shorter than its fixed part or an item is longer than what it is in.
    """
    version, called, calling = _fixed_part(pdu)
    request = _Request()
    if not version & _VERSION:
        request.refuse(2, 2, f"protocol version not supported: {version:#06x}, expected bit 0 to be set")
    titles = []
    for name, raw, diagnostic in (("calling", calling, 3), ("called", called, 7)):
        title = raw.strip(b" \0")
        if not _TITLE.fullmatch(title):
            problem = "holds characters that no AE title may" if title else "is empty"
            request.refuse(1, diagnostic, f"{name} AE title not recognised: it {problem}")
            title = b"?"
        titles.append(title)
    user: list[bytes] = []
    for kind, _, body in _items(pdu[_FIXED.size :]):
        if kind == APPLICATION and request.application is None:
            request.application = _uid(body)
        elif kind == PROPOSED:
            request.items.append(_proposed(request, body))
        elif kind == USER:
            user += _user_items(body)
    if request.application != APPLICATION_CONTEXT:
        request.refuse(1, 2, f"application context name not supported: {request.application or 'there is none'}")
    if not request.contexts:
        request.refuse(2, 1, "no presentation context is proposed")
    if (length := _length_of(user)) and length < SHORTEST_LENGTH:
        request.refuse(
            2, 1, f"maximum length of {length}, expected 0 or {SHORTEST_LENGTH} or more: no data fit into it"
        )
    items = (_item(APPLICATION, APPLICATION_CONTEXT.encode()), *request.items, _user(user))
    calling, called = titles
    return Reading(_pdu(1, called, calling, items), request.refusal, calling.decode(), called.decode())


def read_answer(pdu: bytes) -> bytes:
    """Read an A-ASSOCIATE-AC PDU (PS3.8 9.3.3) and return one that says the same, without what has to be ignored.

    A context whose transfer syntax is none counts as not accepted.

    Raises
    ------
    MalformedPDU
        If it is shorter than its fixed part or an item is longer than what it is in.
    """
    _fixed_part(pdu)
    contexts, user = [], []
    for kind, _, body in _items(pdu[_FIXED.size :]):
        if kind == ANSWERED:
            contexts.append(_answered(body))
        elif kind == USER:
            user += _user_items(body)
    # Whatever stands in the fields of the AE titles, it is not tested (9.3.3).
    return _pdu(2, b"?", b"?", (_item(APPLICATION, APPLICATION_CONTEXT.encode()), *contexts, _user(user)))


def _fixed_part(pdu: bytes) -> tuple[int, bytes, bytes]:
    """Return protocol version, called and calling AE title."""
    if len(pdu) < _FIXED.size:
        raise MalformedPDU(f"A-ASSOCIATE PDU of {len(pdu)} bytes, expected {_FIXED.size} or more")
    _, _, version, called, calling = _FIXED.unpack_from(pdu)
    return version, called, calling


def _items(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield type, second byte and body of each item."""
    offset = 0
    while offset < len(data):
        if offset + _ITEM.size > len(data):
            raise MalformedPDU("A-ASSOCIATE PDU ends within the head of an item")
        kind, second, length = _ITEM.unpack_from(data, offset)
        offset += _ITEM.size
        if offset + length > len(data):
            raise MalformedPDU(f"item of type {kind:02X}H is longer than what it is in")
        yield kind, second, data[offset : offset + length]
        offset += length


def _item(kind: int, body: bytes, second: int = 0) -> bytes:
    return _ITEM.pack(kind, second, len(body)) + body


def _pdu(kind: int, called: bytes, calling: bytes, items: tuple[bytes, ...]) -> bytes:
    body = b"".join(items)
    return _FIXED.pack(kind, _FIXED.size - 6 + len(body), _VERSION, called.ljust(16), calling.ljust(16)) + body


def _uid(raw: bytes) -> str | None:
    """Return a UID, None if it is none; peers pad with NUL or space although nothing is padded here."""
    value = raw.rstrip(b"\0 ").lstrip(b" ")
    return value.decode() if len(value) <= 64 and _UID.fullmatch(value) else None


def _proposed(request: _Request, body: bytes) -> bytes:
    """Read a presentation context item of a request (9.3.2.2)."""
    number, parts = _context(body)
    abstract = [_uid(value) for kind, _, value in parts if kind == ABSTRACT]
    transfer = [_uid(value) for kind, _, value in parts if kind == TRANSFER]
    if not number % 2:
        request.refuse(2, 1, f"presentation context ID {number} is not odd")
    elif number in request.contexts:
        request.refuse(2, 1, f"presentation context ID {number} is proposed twice")
    elif len(abstract) != 1 or not transfer:
        request.refuse(2, 1, f"presentation context {number} lacks its abstract syntax or any transfer syntax")
    request.contexts.add(number)
    known = [uid for uid in transfer if uid] or [_NO_TRANSFER_SYNTAX]
    uids = [_item(ABSTRACT, ((abstract and abstract[0]) or _NO_ABSTRACT_SYNTAX).encode())]
    uids += [_item(TRANSFER, uid.encode()) for uid in known]
    return _item(PROPOSED, bytes((number | 1, 0, 0, 0)) + b"".join(uids))


def _answered(body: bytes) -> bytes:
    """Read a presentation context item of an answer (9.3.3.2)."""
    number, parts = _context(body)
    transfer = next((_uid(value) for kind, _, value in parts if kind == TRANSFER), None)
    result = body[2]
    if result not in range(1, 5):
        # What is accepted in a transfer syntax that cannot be read cannot be used.
        result = 0 if not result and transfer else 1
    return _item(ANSWERED, bytes((number, 0, result, 0)) + _item(TRANSFER, (transfer or _NO_TRANSFER_SYNTAX).encode()))


def _context(body: bytes) -> tuple[int, list[tuple[int, int, bytes]]]:
    if len(body) < 4:
        raise MalformedPDU(f"presentation context item of {len(body)} bytes, expected 4 or more")
    return body[0], list(_items(body[4:]))


# -- user information (annex D; PS3.7 D.3.3)


def _user(items: list[bytes]) -> bytes:
    """Return the user information item; without a maximum length a careful one is taken."""
    if not any(item[0] == LENGTH for item in items):
        items = [_item(LENGTH, struct.pack(">L", _LENGTH_UNSAID)), *items]
    return _item(USER, b"".join(items))


def _user_items(body: bytes) -> list[bytes]:
    """Return the sub-items that mean something to the gateway and are whole; all others are ignored."""
    found: dict[int, list[bytes]] = {}
    for kind, second, value in _items(body):
        read = _USER_ITEMS.get(kind)
        tidied = read(value) if read else None
        if tidied is not None:
            found.setdefault(kind, []).append(_item(kind, tidied, second))
    single = (LENGTH, CLASS_UID, VERSION_NAME)
    return [item for kind, items in found.items() for item in (items[:1] if kind in single else items)]


def _maximum_length(value: bytes) -> bytes | None:
    return value if len(value) == 4 else None


def _length_of(items: list[bytes]) -> int:
    """Return the maximum length that is said, 0 if none is."""
    said = next((item for item in items if item[0] == LENGTH), None)
    return int.from_bytes(said[_ITEM.size :], "big") if said else 0


def _class_uid(value: bytes) -> bytes | None:
    uid = _uid(value)
    return uid.encode() if uid else None


def _version_name(value: bytes) -> bytes | None:
    name = bytes(byte if 0x20 <= byte < 0x7F else 0x3F for byte in value.rstrip(b"\0 "))
    return name[:_LONGEST_NAME].strip() or None


def _named(value: bytes) -> tuple[bytes, bytes] | None:
    """Return a UID that follows its length, as item part, and what comes after it."""
    if len(value) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack_from(value)
    uid = _uid(value[_LENGTH.size : _LENGTH.size + length])
    if uid is None or len(value) < _LENGTH.size + length:
        return None
    return _LENGTH.pack(len(uid)) + uid.encode(), value[_LENGTH.size + length :]


def _roles(value: bytes) -> bytes | None:
    """Role selection (PS3.7 table D.3-9): a UID and two bytes, each 0 or 1."""
    named = _named(value)
    if named is None or len(named[1]) != 2 or not set(named[1]) <= {0, 1}:
        return None
    return b"".join(named)


def _extended(value: bytes) -> bytes | None:
    """SOP Class Extended Negotiation (PS3.7 table D.3-11): a UID and application information."""
    named = _named(value)
    return b"".join(named) if named is not None and named[1] else None


def _common_extended(value: bytes) -> bytes | None:
    """SOP Class Common Extended Negotiation (PS3.7 table D.3-12): class, service class, related general classes."""
    sop_class = _named(value)
    service = _named(sop_class[1]) if sop_class else None
    if sop_class is None or service is None:
        return None
    related, rest = [], service[1]
    if len(rest) >= _LENGTH.size:
        (length,) = _LENGTH.unpack_from(rest)
        rest = rest[_LENGTH.size : _LENGTH.size + length]
        while rest:
            named = _named(rest)
            if named is None:
                return None
            related.append(named[0])
            rest = named[1]
    listed = b"".join(related)
    return sop_class[0] + service[0] + _LENGTH.pack(len(listed)) + listed


# Sub-items by type. Asynchronous operations (53H) and user identity (58H) are not supported, which an acceptor says by
# not answering them (PS3.7 D.3.3.3, D.3.3.7).
_USER_ITEMS: dict[int, Callable[[bytes], bytes | None]] = {
    LENGTH: _maximum_length,
    CLASS_UID: _class_uid,
    ROLES: _roles,
    VERSION_NAME: _version_name,
    EXTENDED: _extended,
    COMMON_EXTENDED: _common_extended,
}
