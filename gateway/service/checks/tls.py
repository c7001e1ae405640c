"""Check of what TLS needs: do certificate and key fit, for how long, who can read the key, and what is served?"""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import NetworkError
from gateway.service import rooms
from gateway.service.checks.base import Check, Finding
from gateway.service.checks.machine import LOCAL, running
from gateway.service.config import Config

if TYPE_CHECKING:
    from gateway.network.identity import Identity

# Seconds before the end of a certificate from which on somebody should look after it.
_SOON = 30 * 86400

_OTHERS = stat.S_IROTH | stat.S_IWOTH

# Seconds that a running gateway may take to show its certificate.
_PATIENCE = 5.0

_RENEW = "have it renewed, then put the files in place: see tls.md in the manual"


class Tls(Check):
    """A certificate that has expired stops everything that goes over TLS, at a moment known long before."""

    code = "tls"
    about = (
        "certificate and key fit and are valid for 30 days more, only the gateway can read the key, and they are served"
    )

    def look(self, config: Config) -> Iterator[Finding]:
        """Look at the files, then at what a running gateway serves."""
        security = rooms.security(config)
        if security is None:
            yield self.skipped("", "nothing is done over TLS")
            return
        try:
            security.renew()
        except NetworkError as error:
            yield self.failed("", f"{error.subject}: {error.problem}", error.remedy or _RENEW)
            return
        if (certificate := security.identity.certificate) is None:
            yield self.ok("", "peers are called over TLS, without a certificate of our own")
            return
        yield self._validity(security.identity, certificate)
        if (key := security.identity.key) is not None and (mode := key.stat().st_mode) & _OTHERS:
            reason = f"{key} is readable by others (mode {stat.S_IMODE(mode):04o})"
            yield self.failed("", reason, "chmod 600, then consider whether somebody may have copied it")
        if running(config):
            yield self._served(config, certificate)

    def _validity(self, identity: Identity, certificate: Path) -> Finding:
        import ssl

        from gateway.network import secure
        from gateway.network.identity import examine

        try:
            end = examine(identity)["notAfter"]
        except OSError as error:
            problem = secure.explain(error)[0].replace("the peer's", "this")
            return self.failed("", f"{certificate}: {problem}", _RENEW)
        told = f"{certificate} is valid until {end}"
        left = ssl.cert_time_to_seconds(end) - time.time()
        return self.warning("", told, _RENEW) if left < _SOON else self.ok("", told)

    def _served(self, config: Config, certificate: Path) -> Finding:
        from gateway.network.identity import first, served

        _, address = rooms.addresses(config)
        assert address is not None
        host, where = LOCAL.get(address[0], address[0]), "{}:{}".format(*address)
        try:
            shown = served((host, address[1]), _PATIENCE)
        except OSError as error:
            remedy = "look into its log (journalctl -u gateway); restart it if TLS is new"
            return self.failed("", f"the gateway runs and does not answer over TLS at {where}: {error}", remedy)
        if shown != first(certificate):
            remedy = "systemctl reload gateway, or restart it where the key is a credential"
            return self.failed("", f"another certificate than that of {certificate} is served at {where}", remedy)
        return self.ok("", f"that certificate is served at {where}")
