"""Checks of the peers: does each answer where the configuration says it is?"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from gateway.errors import NetworkError
from gateway.network.echo import echo
from gateway.network.requestor import Timeouts
from gateway.retrieval.engine import Destination
from gateway.service.checks.base import Check, Finding
from gateway.service.config import Config
from gateway.service.rooms import destinations

# A healthy peer answers each of these in far less than a second; who looks does not want to wait for a dead one.
_TIMEOUTS = Timeouts(connect=5, negotiate=10, progress=10, response=10, release=2)

_AT_ONCE = 8


class Echo(Check):
    """Deliveries need every destination; a peer with an address may be a C-MOVE destination."""

    code = "echo"
    about = "each destination, and each peer with an address, answers C-ECHO; else which layer fails"

    def look(self, config: Config) -> Iterator[Finding]:
        """Call all of them at once."""
        known = destinations(config)
        if not known:
            yield self.skipped("", "no destination and no peer with an address is configured")
            return
        delivered = {to.ae_title for to in config.destination}
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            yield from pool.map(lambda peer: self._call(peer, needed=peer.ae_title in delivered), known.values())

    def _call(self, peer: Destination, *, needed: bool) -> Finding:
        try:
            seconds = echo(peer, _TIMEOUTS)
        except NetworkError as error:
            remedy = error.remedy or "ask who looks after the peer"
            reason = f"{peer.host}:{peer.port}: {error.problem}"
            # A scanner that is switched off is no fault of the box; a PACS that is away holds up all deliveries.
            return (self.failed if needed else self.warning)(peer.ae_title, reason, remedy)
        return self.ok(peer.ae_title, f"{peer.host}:{peer.port} answers C-ECHO in {seconds * 1000:.0f} ms")
