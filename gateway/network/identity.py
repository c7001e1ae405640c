"""Who the box is over TLS and whom it trusts (PS3.15 annex B, BCP 195): certificates, and what they are used with.

TLS 1.2 at least, no fallback to less, certificates verified always. Imported only where TLS is configured.
"""

from __future__ import annotations

import contextlib
import mmap
import socket
import ssl
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from gateway.errors import NetworkError
from gateway.network.secure import SecureSocket
from gateway.observe import warning


class _Contexts(NamedTuple):
    server: ssl.SSLContext | None
    client: ssl.SSLContext
    renewals: int


@dataclass(frozen=True)
class Identity:
    """Files in PEM.

    Attributes
    ----------
    certificate : Path or None
        Of the box, followed by those between it and the authority; without one nothing is served over TLS.
    key : Path or None
        The private key that belongs to it.
    authorities : Path or None
        Who may sign the certificates of others; None for those that the system trusts.
    demanding : bool
        Whether callers must have a certificate.
    """

    certificate: Path | None
    key: Path | None
    authorities: Path | None
    demanding: bool

    def server(self) -> ssl.SSLContext:
        """Return what serves callers.

        Raises
        ------
        NetworkError
            If the files cannot be used.
        """
        context = self._context(ssl.Purpose.CLIENT_AUTH)
        context.verify_mode = ssl.CERT_REQUIRED if self.demanding else ssl.CERT_NONE
        # Associations are long: to resume a session saves nothing, and it would outlive a change of what is trusted.
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
        return context

    def client(self) -> ssl.SSLContext:
        """Return what calls others; raises as `server` does."""
        return self._context(ssl.Purpose.SERVER_AUTH)

    def _context(self, purpose: Any) -> ssl.SSLContext:
        file = self.authorities
        try:
            context = ssl.create_default_context(purpose, cafile=None if file is None else str(file))
            if (file := self.certificate) is not None:
                context.load_cert_chain(file, self.key, password=self._refuse)
        except ssl.SSLError as error:
            problem, remedy = _FILES.get(error.reason or "", _NO_PEM)
            raise NetworkError(f"TLS: {file}", problem, found=error.reason, remedy=remedy) from error
        except OSError as error:
            # Which of the files it is, Python does not say.
            files = filter(None, (self.certificate, self.key, self.authorities))
            where = ", ".join(str(path) for path in files if not _readable(path)) or str(file)
            raise NetworkError(
                f"TLS: {where}",
                f"cannot be read: {error.strerror or error}",
                remedy="check name, owner and mode; the gateway runs as the user gateway",
            ) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.sslsocket_class = SecureSocket
        return context

    def _refuse(self) -> str:
        """Called for the password of a key."""
        remedy = (
            "take the password off (openssl pkey) and let root alone read it: nobody is there to type it at a start"
        )
        raise NetworkError(f"TLS: {self.key}", "the key is protected by a password", remedy=remedy)


def _readable(path: Path) -> bool:
    try:
        with path.open("rb"):
            return True
    except OSError:
        return False


_NO_PEM = ("is no certificate or key in PEM", "PEM begins with -----BEGIN; openssl x509 and openssl pkey convert")
_FILES = {
    "KEY_VALUES_MISMATCH": ("certificate and key do not belong together", "install the key it was made for"),
    "KEY_TYPE_MISMATCH": ("certificate and key do not belong together", "install the key it was made for"),
    "NO_CERTIFICATE_OR_CRL_FOUND": ("holds no certificate", "name the file with the certificates of the authorities"),
    "EE_KEY_TOO_SMALL": ("the key is too small", "have a certificate made for RSA of 2048 bits at least, or P-256"),
    "CA_MD_TOO_WEAK": ("the signature is too weak", "have a certificate made that is signed with SHA-256"),
}


class Security:
    """What an `Identity` is used with, read again when the parent of all processes says so.

    Parameters
    ----------
    identity : Identity
        The files.
    """

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        # In memory that all forks share: how often the files were to be read again.
        self._renewals = mmap.mmap(-1, 8)
        self._contexts: _Contexts | None = None

    def renew(self) -> None:
        """Read the files again, here at once, in other processes at the next connection.

        Raises
        ------
        NetworkError
            If they cannot be used; everything stays as it is then.
        """
        renewals = self._asked() + 1
        self._contexts = self._load(renewals)
        self._renewals[:] = renewals.to_bytes(8, "little")

    def server(self) -> ssl.SSLContext:
        """Return what serves callers."""
        context = self._current().server
        assert context is not None, "there is no certificate to serve with"
        return context

    def client(self) -> ssl.SSLContext:
        """Return what calls others."""
        return self._current().client

    def _asked(self) -> int:
        return int.from_bytes(self._renewals[:], "little")

    def _load(self, renewals: int) -> _Contexts:
        serves = self.identity.certificate is not None
        return _Contexts(self.identity.server() if serves else None, self.identity.client(), renewals)

    def _current(self) -> _Contexts:
        present, asked = self._contexts, self._asked()
        if present is not None and present.renewals == asked:
            return present
        try:
            fresh = self._load(asked)
        except NetworkError as error:
            if present is None:
                raise
            # The files have changed again since the parent read them.
            warning("tls.not_renewed", reason=error)
            fresh = present._replace(renewals=asked)
        self._contexts = fresh
        return fresh


# Looks at certificates, for whoever wants to know whether all is well


def examine(identity: Identity) -> dict[str, Any]:
    """Return what the certificate of an identity says, after a handshake of the box with itself.

    Raises
    ------
    OSError
        If nobody could trust it, whatever they know; see `secure.explain`.
    """
    client = ssl.create_default_context(cafile=str(identity.certificate))
    client.check_hostname = False
    # It is trusted itself, whoever has signed it; how strict others are is theirs to say.
    client.verify_flags = (client.verify_flags | ssl.VERIFY_X509_PARTIAL_CHAIN) & ~ssl.VERIFY_X509_STRICT
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = client.wrap_bio(back, there)
    called = replace(identity, demanding=False).server().wrap_bio(there, back, server_side=True)
    for end in (caller, called, caller):
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    return caller.getpeercert() or {}


def served(address: tuple[str, int], seconds: float) -> bytes:
    """Return the certificate that is shown to a caller at an address, in DER, without judging it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(address, seconds) as line, context.wrap_socket(line) as connection:
        return connection.getpeercert(binary_form=True) or b""


def first(file: Path) -> bytes:
    """Return the first certificate of a file, in DER."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    return ssl.PEM_cert_to_DER_cert(begin + file.read_text("latin-1").partition(begin)[2].partition(end)[0] + end)
