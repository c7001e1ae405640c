"""DICOM over TLS (PS3.15 annex B): connections, handshakes, and why they fail, in plain words.

Imported only where TLS is configured: OpenSSL takes a megabyte.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from gateway.errors import NetworkError

if TYPE_CHECKING:
    from gateway.network.policy import Serving
    from gateway.retrieval.engine import Destination

# OpenSSL takes what it is given as a whole or not at all: with more, a slow line would seem to stand still.
_PIECE = 1 << 16

# How often a handshake looks whether it is still wanted.
_LOOK = 0.25


class SecureSocket(ssl.SSLSocket):
    """A connection that is used like a plain one: what cannot be done without waiting is a `BlockingIOError`."""

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Receive."""
        try:
            return super().recv(buflen, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError from error

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """Receive into a buffer."""
        try:
            return super().recv_into(buffer, nbytes, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError from error

    def send(self, data: Any, flags: int = 0) -> int:
        """Send some of `data`; what was not taken has to come first the next time."""
        try:
            return super().send(memoryview(data)[:_PIECE], flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError from error

    def shutdown(self, how: int) -> None:
        """End the connection, also for another thread; the base class would go on without encryption."""
        socket.socket.shutdown(self, how)

    def farewell(self) -> None:
        """Tell the peer that nothing follows, without waiting for its answer; never raises."""
        with contextlib.suppress(OSError, ValueError):
            self.settimeout(0)
            self.unwrap()


# Handshakes


def accept(connection: socket.socket, tls: Serving, seconds: float, look: Callable[[], None]) -> SecureSocket:
    """Shake hands with a caller; like `connect`."""
    secured = None
    try:
        secured = tls.server().wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return _shake(secured, seconds, look)
    except OSError as error:
        if secured is not None:
            _let_go(secured)
        raise _failure("a caller", error) from error


def connect(
    connection: socket.socket, peer: Destination, seconds: float, look: Callable[[], None] | None
) -> SecureSocket:
    """Shake hands with a peer that was called.

    Parameters
    ----------
    connection : socket.socket
        Is taken over; what is returned does not block.
    peer : Destination
        Whom it leads to.
    seconds : float
        Longest time it may take.
    look : callable, optional
        Called meanwhile; what it raises comes through.

    Raises
    ------
    NetworkError
        With the reason in plain words as its `problem`.
    """
    assert peer.tls is not None
    name = peer.verify_name or peer.host
    secured = None
    try:
        secured = peer.tls.client().wrap_socket(connection, server_hostname=name, do_handshake_on_connect=False)
        return _shake(secured, seconds, look or (lambda: None))
    except BaseException as error:
        if secured is not None:
            secured.close()
        if isinstance(error, OSError):
            raise _failure(str(peer), error) from error
        raise


def _shake(connection: ssl.SSLSocket, seconds: float, look: Callable[[], None]) -> SecureSocket:
    connection.setblocking(False)
    deadline = time.monotonic() + seconds
    while True:
        try:
            connection.do_handshake()
            return cast(SecureSocket, connection)
        except ssl.SSLWantReadError:
            wanted = select.POLLIN
        except ssl.SSLWantWriteError:
            wanted = select.POLLOUT
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"not done within {seconds:.3g} s")
        poller = select.poll()
        poller.register(connection, wanted)
        poller.poll(min(left, _LOOK) * 1000)
        look()


def _let_go(connection: ssl.SSLSocket) -> None:
    """Close, but leave it to the peer to close first for a while: else it might never read why."""
    deadline = time.monotonic() + _LOOK
    poller = select.poll()
    poller.register(connection, select.POLLIN)
    with contextlib.suppress(OSError), connection:
        socket.socket.shutdown(connection, socket.SHUT_WR)
        while poller.poll(max(0.0, deadline - time.monotonic()) * 1000) and socket.socket.recv(connection, 1 << 16):
            pass


# What OpenSSL finds wrong with the certificate of a peer (X509_V_ERR, x509_vfy.h).
_CERTIFICATE = {
    9: ("the peer's certificate is not valid yet", "check the clocks on both sides"),
    10: ("the peer's certificate has expired", "have it renewed; check the clocks on both sides"),
    18: ("the peer's certificate is signed by itself", "put that certificate into the file of tls.authorities"),
    19: ("the peer's certificate is of an unknown authority", "put that authority into the file of tls.authorities"),
    20: ("the peer's certificate is of an unknown authority", "put that authority into the file of tls.authorities"),
    21: ("the peer's certificate is of an unknown authority", "the peer has to send those in between, too"),
    26: ("the peer's certificate is not made for this use", "it needs the extended key usage of its side"),
    62: ("the peer's certificate is for another name", "set verify_name to the name it is for, or have it made anew"),
    64: (
        "the peer's certificate is for another address",
        "set verify_name to the name it is for, or have it made anew",
    ),
}

# What the peer says is wrong, by the end of OpenSSL's name for it (RFC 8446 6.2).
_ALERTS = {
    "ALERT_CERTIFICATE_EXPIRED": ("the peer says that our certificate has expired", "renew it"),
    "ALERT_CERTIFICATE_REVOKED": ("the peer says that our certificate is revoked", "have another one made"),
    "ALERT_UNKNOWN_CA": ("the peer does not know who signed our certificate", "have it trust that authority"),
    "ALERT_BAD_CERTIFICATE": ("the peer refuses our certificate", "look into its log; check names and dates in it"),
    "ALERT_CERTIFICATE_UNKNOWN": ("the peer refuses our certificate", "look into its log; check names and dates in it"),
    "ALERT_UNSUPPORTED_CERTIFICATE": ("the peer refuses our certificate", "check its key usage"),
    "ALERT_CERTIFICATE_REQUIRED": ("the peer demands a certificate of ours", "set tls.certificate and tls.key"),
    "ALERT_HANDSHAKE_FAILURE": ("the peer refuses", "it may demand a certificate, or have no cipher of ours"),
    "ALERT_PROTOCOL_VERSION": ("no version of TLS in common", "the peer has to allow TLS 1.2 or 1.3"),
}

# What the handshake itself fails with.
_HANDSHAKE = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": (
        "the peer has no certificate",
        "install one there, or set tls.client_certificates to false",
    ),
    "NO_SHARED_CIPHER": ("no cipher in common", "the peer has to allow what BCP 195 recommends (ECDHE with AES-GCM)"),
    "UNSUPPORTED_PROTOCOL": ("the peer has only TLS older than 1.2", "it has to allow TLS 1.2 or 1.3"),
}

_PLAIN = ("the peer does not speak TLS", "check port and TLS setting on both sides")
_NO_TLS = frozenset(
    ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
)
_ENDED = ("the connection was closed during the TLS handshake", "look into the peer's log")


def _failure(peer: str, error: OSError) -> NetworkError:
    problem, remedy = explain(error)
    return NetworkError(peer, problem, remedy=remedy)


def explain(error: OSError) -> tuple[str, str]:
    """Return why a handshake has failed, in plain words, and what to do about it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        known = _CERTIFICATE.get(error.verify_code)
        return known or (f"the peer's certificate is refused: {error.verify_message}", "have another one made")
    if isinstance(error, TimeoutError):
        return f"TLS handshake {error}", "check that the peer speaks TLS on this port, and the line"
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    if isinstance(error, ssl.SSLEOFError) or not reason or error.errno == errno.ENOTCONN:
        return _ENDED
    if reason in _NO_TLS:
        return _PLAIN
    return alert(error) or _HANDSHAKE.get(reason) or (f"TLS handshake failed: {reason.lower()}", "look into both logs")


def alert(error: Exception | None) -> tuple[str, str] | None:
    """Return what a peer has ended the connection with; with TLS 1.3 it may come after the handshake."""
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return next((words for end, words in _ALERTS.items() if reason and reason.endswith(end)), None)
