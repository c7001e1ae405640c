"""Command sets of the C-STORE service as bytes (PS3.7 sections 6.3.1 and 9.3.1).

Two of them stand around every object that comes in. What the general way through data sets takes for both is more
than what remains of the whole intake; so the usual form is read and written here. What is not of the usual form is
left to that way.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

C_STORE_RQ = 0x0001
C_STORE_RSP = 0x8001
NO_DATA_SET = 0x0101
DATA_SET = 0x0001

_HEAD = struct.Struct("<HHI")
_US = struct.Struct("<H")

# Element numbers of group 0000 (PS3.7 annex E).
_GROUP_LENGTH = 0x0000
_AFFECTED_SOP_CLASS = 0x0002
_COMMAND_FIELD = 0x0100
_MESSAGE_ID = 0x0110
_PRIORITY = 0x0700
_ANSWERED_MESSAGE_ID = 0x0120
_DATA_SET_TYPE = 0x0800
_STATUS = 0x0900
_ERROR_COMMENT = 0x0902
_AFFECTED_SOP_INSTANCE = 0x1000
_ORIGINATOR = 0x1030
_ORIGINATOR_MESSAGE_ID = 0x1031


class StoreRequest(NamedTuple):
    """What a C-STORE request says (PS3.7 table 9.3-1)."""

    message_id: int
    sop_class: str
    sop_instance: str


def store_request(command: bytes | memoryview) -> StoreRequest | None:
    """Return what a command set says if it is a C-STORE request with a data set, of the usual form; else None."""
    values = _elements(bytes(command))
    if not values:
        return None
    try:
        (field,) = _US.unpack(values[_COMMAND_FIELD])
        (data_set,) = _US.unpack(values[_DATA_SET_TYPE])
        (message_id,) = _US.unpack(values[_MESSAGE_ID])
        if field != C_STORE_RQ or data_set == NO_DATA_SET:
            return None
        return StoreRequest(message_id, _uid(values[_AFFECTED_SOP_CLASS]), _uid(values[_AFFECTED_SOP_INSTANCE]))
    except (KeyError, ValueError, struct.error):
        return None


def request_of(command: Any) -> StoreRequest:
    """Return what the command set of a C-STORE request says, whatever its values look like.

    Parameters
    ----------
    command : pydicom.Dataset
        The command set.
    """
    return StoreRequest(
        int(command.MessageID),
        str(command.get("AffectedSOPClassUID") or ""),
        str(command.get("AffectedSOPInstanceUID") or ""),
    )


def _elements(command: bytes) -> dict[int, bytes]:
    """Return the values of a command set by element number; nothing if there is anything odd about it."""
    values: dict[int, bytes] = {}
    position, last = 0, -1
    while position + _HEAD.size <= len(command):
        group, number, length = _HEAD.unpack_from(command, position)
        position += _HEAD.size
        if group or number <= last:
            return {}
        values[number] = command[position : position + length]
        position += length
        last = number
    return values if position == len(command) else {}


def _uid(value: bytes) -> str:
    text = value.rstrip(b"\0 ").decode("ascii")
    if not text or not text.isprintable() or "\\" in text or text != text.strip():
        raise ValueError(text)
    return text


def store_response(message_id: int, status: int, comment: str, sop_class: str, sop_instance: str) -> bytes:
    """Return the command set of a C-STORE response (PS3.7 table 9.3-2).

    Parameters
    ----------
    message_id : int
        Of the request.
    status : int
        The status.
    comment : str
        Error Comment in the default repertoire; may be empty.
    sop_class, sop_instance : str
        UIDs of the request; left out where they are empty.
    """
    return _command(
        {
            _AFFECTED_SOP_CLASS: _padded(sop_class, b"\0"),
            _COMMAND_FIELD: _US.pack(C_STORE_RSP),
            _ANSWERED_MESSAGE_ID: _US.pack(message_id),
            _DATA_SET_TYPE: _US.pack(NO_DATA_SET),
            _STATUS: _US.pack(status),
            _ERROR_COMMENT: _padded(comment, b" "),
            _AFFECTED_SOP_INSTANCE: _padded(sop_instance, b"\0"),
        }
    )


def store_request_command(
    message_id: int, sop_class: str, sop_instance: str, priority: int = 0, originator: tuple[str, int] | None = None
) -> bytes:
    """Return the command set of a C-STORE request (PS3.7 table 9.3-1).

    Parameters
    ----------
    message_id : int
        Of the request.
    sop_class, sop_instance : str
        What is to be stored.
    priority : int
        0 medium, 1 high, 2 low.
    originator : (str, int), optional
        AE title and message ID of the C-MOVE that this is done for.
    """
    values = {
        _AFFECTED_SOP_CLASS: _padded(sop_class, b"\0"),
        _COMMAND_FIELD: _US.pack(C_STORE_RQ),
        _MESSAGE_ID: _US.pack(message_id),
        _PRIORITY: _US.pack(priority),
        _DATA_SET_TYPE: _US.pack(DATA_SET),
        _AFFECTED_SOP_INSTANCE: _padded(sop_instance, b"\0"),
    }
    if originator is not None:
        title, number = originator
        values |= {_ORIGINATOR: _padded(title, b" "), _ORIGINATOR_MESSAGE_ID: _US.pack(number)}
    return _command(values)


def _command(values: dict[int, bytes]) -> bytes:
    """Encode a command set; empty values are left out."""
    body = b"".join(_HEAD.pack(0, number, len(value)) + value for number, value in values.items() if value)
    return _HEAD.pack(0, _GROUP_LENGTH, 4) + struct.pack("<I", len(body)) + body


def _padded(text: str, padding: bytes) -> bytes:
    value = text.encode("latin-1", "replace")
    return value + padding * (len(value) % 2)
