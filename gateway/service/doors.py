"""The sockets that callers come to: bound once by the parent, before anything is forked."""

from __future__ import annotations

import errno
import socket
import time
from typing import NamedTuple

from gateway.errors import NetworkError
from gateway.service.config import Config
from gateway.service.rooms import addresses

BACKLOG = 64


class Doors(NamedTuple):
    """What the box listens on; at least one of them is there.

    Attributes
    ----------
    plain, secure : socket.socket or None
        For callers without TLS and with it.
    """

    plain: socket.socket | None
    secure: socket.socket | None

    @classmethod
    def open(cls, config: Config, patience: float) -> Doors:
        """Listen where the configuration says, waiting a little for a predecessor to free the addresses."""
        plain, secure = addresses(config)
        return cls(listen(*plain, patience) if plain else None, listen(*secure, patience, "tls") if secure else None)

    def close(self) -> None:
        """Close them, in this process."""
        for door in self:
            if door is not None:
                door.close()


def listen(host: str, port: int, patience: float, table: str = "gateway") -> socket.socket:
    """Return a listening socket, waiting a little for a predecessor to free the address."""
    deadline = time.monotonic() + patience
    while True:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            family, _, _, _, address = found[0]
            # "::" is every address, those of IPv4 included.
            both = family == socket.AF_INET6 and address[0] == "::"
            return socket.create_server(address[:2], family=family, backlog=BACKLOG, dualstack_ipv6=both)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and time.monotonic() < deadline:
                time.sleep(0.1)
                continue
            raise NetworkError(
                f"{host}:{port}",
                "cannot listen there",
                found=error.strerror or str(error),
                remedy=f"check gateway.bind and {table}.port, and what else listens",
            ) from error
