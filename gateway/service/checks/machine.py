"""Checks of the machine: its clock, and whether the gateway's port answers."""

from __future__ import annotations

import ctypes
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from gateway.archive.files import try_lock
from gateway.errors import NetworkError
from gateway.network.echo import echo
from gateway.network.requestor import Timeouts
from gateway.retrieval.engine import Destination
from gateway.service.checks.base import Check, Finding
from gateway.service.config import Config
from gateway.service.rooms import addresses

# adjtimex(2): struct timex takes 208 bytes on 64-bit machines; 5 is TIME_ERROR, the clock is not synchronised.
_TIMEX = 208
_UNSYNCHRONISED = 5

# A clock behind what was received before is wrong whatever it says itself; a restart may differ by less.
_BEHIND = 60.0

LOCAL = {"0.0.0.0": "127.0.0.1", "::": "::1"}

_QUICK = Timeouts(connect=5, negotiate=10, progress=10, response=10, release=2)


class Clock(Check):
    """What is received is dated by this clock; a board without a battery starts in the past."""

    code = "clock"
    about = "the clock is set and kept by a time server, and is not behind what was received"

    def look(self, config: Config) -> Iterator[Finding]:
        """Compare with the index, and ask the kernel."""
        now = time.time()
        told = _utc(now)
        index = config.data_dir / "index.sqlite3"
        last = index.stat().st_mtime if index.exists() else 0.0
        if last - now > _BEHIND:
            reason = f"{told} is before the last change of the index, {_utc(last)}"
            yield self.failed("", reason, "set the clock, and have a time server keep it (timedatectl)")
        elif self._synchronised():
            yield self.ok("", f"{told}, synchronised")
        else:
            remedy = "name a time server the box can reach (systemd-timesyncd, chrony)"
            yield self.warning("", f"{told}, kept by no time server", remedy)

    def _synchronised(self) -> bool:
        state: int = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(_TIMEX))
        return state not in (-1, _UNSYNCHRONISED)


def _utc(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def running(config: Config) -> bool:
    """Tell whether a gateway runs on this data directory."""
    try:
        with open(config.data_dir / "lock", "rb") as file:
            return not try_lock(file.fileno())
    except FileNotFoundError:
        return False


class Port(Check):
    """Senders must reach the gateway."""

    code = "port"
    about = "a running gateway answers on its address; where none runs, the address is free"

    def look(self, config: Config) -> Iterator[Finding]:
        """Call the gateway as a sender would; knock at the door where no gateway runs."""
        own = config.gateway
        plain, _ = addresses(config)
        if plain is None:
            yield self.skipped("", "nobody calls without TLS")
            return
        bind, port = plain
        host, where = LOCAL.get(bind, bind), f"{bind}:{port}"
        if not running(config):
            yield self._free(host, port, where)
            return
        try:
            seconds = echo(Destination(own.ae_title, host, port, own.ae_title), _QUICK)
            yield self.ok("", f"{own.ae_title} answers at {where} in {seconds * 1000:.0f} ms")
        except NetworkError as error:
            # Who asks is a stranger to most configurations, and gets told so by a gateway that is well.
            if error.problem.startswith("association rejected: calling AE title"):
                yield self.ok("", f"{own.ae_title} answers at {where}, strangers are rejected as configured")
            else:
                remedy = error.remedy or "look into its log: journalctl -u gateway"
                yield self.failed("", f"the gateway runs and does not answer at {where}: {error.problem}", remedy)

    def _free(self, host: str, port: int, where: str) -> Finding:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            with socket.socket(family) as knock:
                knock.settimeout(5)
                taken = knock.connect_ex((host, port)) == 0
        except OSError as error:
            return self.failed("", f"{where} is no address of this machine: {error}", "check gateway.bind")
        if taken:
            return self.failed("", f"something else listens at {where}", "end it, or choose another gateway.port")
        return self.warning(
            "", f"no gateway runs on {where}", "start it: `gateway serve`; on the appliance systemctl start gateway"
        )
