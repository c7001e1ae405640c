"""Queries in one open association, timed from the first byte out to the last byte in: ``python -m tests.bench.ask``.

Reads a JSON list of ``[name, {tag: value}]`` from its input and writes one of ``[name, milliseconds to the first match,
milliseconds to the end, matches, final status]``. It talks to the socket itself, so that what it costs does not count.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import time
from typing import Any

from tests.scripted_caller import IMPLICIT, Caller, command, data_pdu, decoded, fragment

STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"
C_FIND_RQ = 0x0020


def element(tag: str, value: str) -> bytes:
    """Encode an element, implicit VR."""
    number = int(tag, 16)
    encoded = value.encode("utf-8")
    encoded += (b"\0" if tag in ("0020000D", "0020000E", "00080018") else b" ") * (len(encoded) % 2)
    return struct.pack("<HHI", number >> 16, number & 0xFFFF, len(encoded)) + encoded


def message(caller: Caller) -> bytes:
    """Return command set or data set, whichever is next."""
    body = b""
    while True:
        caller.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        kind, data = caller.pdu()
        if kind != 4:
            raise SystemExit(f"PDU of type {kind}")
        position = 6
        while position < len(data):  # several fragments in one PDU are allowed
            length, _, control = struct.unpack_from(">LBB", data, position)
            body += data[position + 6 : position + 4 + length]
            position += 4 + length
        if control & 2:
            return body


def ask(caller: Caller, keys: dict[str, str]) -> list[Any]:
    """Send one query and time it."""
    caller.message_id = caller.message_id % 60000 + 1
    body = command(field=C_FIND_RQ, id=caller.message_id, priority=0, data=1, **{"class": STUDY_ROOT})
    data = b"".join(element(tag, keys[tag]) for tag in sorted(keys))
    request = data_pdu(fragment(1, body, is_command=True)) + data_pdu(fragment(1, data))
    started = time.perf_counter()
    caller.send(request)
    # As a peer that acknowledges at once: without it the figures of others would be those of Nagle's algorithm.
    caller.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
    first, count = 0.0, 0
    while True:
        said = decoded(message(caller))
        if said["data"] != 0x0101:
            message(caller)
        if said["status"] not in (0xFF00, 0xFF01):
            break
        count += 1
        first = first or time.perf_counter() - started
    ended = time.perf_counter() - started
    return [(first or ended) * 1000, ended * 1000, count, said["status"]]


def main() -> None:
    """Ask what the input says."""
    port, called = int(sys.argv[1]), sys.argv[2]
    queries = json.load(sys.stdin)
    with Caller(port, timeout=120) as caller:
        caller.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        rejected = caller.associate(((STUDY_ROOT, (IMPLICIT,)),), calling="BENCH", called=called)
        if rejected or caller.results[1][0]:
            raise SystemExit(f"rejected: {rejected or caller.results}")
        ask(caller, {"00080052": "STUDY", "0020000D": "1.1"})
        print(json.dumps([[name, *ask(caller, keys)] for name, keys in queries]))
        caller.release()


if __name__ == "__main__":
    main()
