"""The whole box with a certificate."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

from box import Box
from certificates import Authority, Pair
from loopback import eventually, free_port


class TlsBox(Box):
    """A gateway with a certificate, in files that can be exchanged."""

    def __init__(self, folder: Path, destinations: dict[str, object], authority: Authority, **keys: str) -> None:
        super().__init__(folder, destinations, quiet=0.3)
        self.tls_port = free_port()
        self.pair = Pair(folder / "gateway.crt", folder / "gateway.key")
        self.install(authority.issue(f"box-{folder.name}"))
        files = {"certificate": self.pair.certificate, "key": self.pair.key, "authorities": authority.certificate}
        lines = [f'{key} = "{value}"' for key, value in {**files, **keys}.items()]
        self.config.write_text("\n".join(["[tls]", f"port = {self.tls_port}", *lines, self.config.read_text()]))

    def install(self, pair: Pair) -> None:
        for source, target in zip(pair, self.pair, strict=True):
            target.write_bytes(source.read_bytes())

    def reload(self, *words: str) -> None:
        assert self.process is not None
        before = len(self.logged(*words))
        self.process.send_signal(signal.SIGHUP)
        eventually(lambda: len(self.logged(*words)) > before)

    def served(self, authority: Authority, scanner: Pair) -> bytes:
        """The certificate that the next caller sees."""
        with (
            socket.create_connection(("127.0.0.1", self.tls_port), 30) as line,
            authority.client(scanner).wrap_socket(line, server_hostname="127.0.0.1") as secured,
        ):
            return secured.getpeercert(binary_form=True) or b""
