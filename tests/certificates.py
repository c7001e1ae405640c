"""Certificates for tests, made by OpenSSL's own program, and contexts for peers that use them."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple

from tools import need

from gateway.network.identity import Identity, Security


class Pair(NamedTuple):
    """A certificate and its key."""

    certificate: Path
    key: Path


def openssl(*arguments: object) -> None:
    subprocess.run([need("openssl"), *map(str, arguments)], check=True, capture_output=True)


class Authority:
    """Signs certificates."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.certificate, self.key = folder / f"{name}.crt", folder / f"{name}.key"
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign", "-addext", "subjectKeyIdentifier=hash")
        ec = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        openssl("req", "-x509", *ec, "-keyout", self.key, "-out", self.certificate, "-subj", f"/CN={name}", *usage)

    def issue(self, name: str, names: str = "IP:127.0.0.1,DNS:localhost", days: int = 90) -> Pair:
        """A certificate for these names; it has expired if `days` is -1."""
        pair = Pair(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        extensions.write_text(
            f"subjectAltName={names}\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
            "keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n"
        )
        ec = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        openssl("req", *ec, "-keyout", pair.key, "-out", request, "-subj", f"/CN={name}")
        signed = ("-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial", "-days", days)
        openssl("x509", "-req", "-in", request, "-out", pair.certificate, *signed, "-extfile", extensions)
        pair.key.chmod(0o600)
        return pair

    def client(self, pair: Pair | None = None) -> ssl.SSLContext:
        """What a stock caller uses that trusts this authority."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        if pair is not None:
            context.load_cert_chain(*pair)
        return context

    def server(self, pair: Pair, demanding: bool = True) -> ssl.SSLContext:
        """What a stock acceptor uses that trusts this authority."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.certificate))
        context.load_cert_chain(*pair)
        context.verify_mode = ssl.CERT_REQUIRED if demanding else ssl.CERT_NONE
        return context

    def security(self, pair: Pair | None, demanding: bool = True) -> Security:
        """What the gateway uses that trusts this authority."""
        certificate, key = pair or (None, None)
        return Security(Identity(certificate, key, self.certificate, demanding))
