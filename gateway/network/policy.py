"""Who may do what: the settings of the network room and the decisions that follow from them alone.

An association is refused with result, source and reason of PS3.8 table 9-21.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gateway.archive.views import View
from gateway.retrieval.engine import Destination

if TYPE_CHECKING:
    import ssl

# Seconds between two looks at a conversion that a request waits for.
LOOK = 0.1

RIGHTS = frozenset(("store", "query", "retrieve", "commit"))


@dataclass(frozen=True)
class Peer:
    """An application entity that may call.

    Attributes
    ----------
    ae_title : str
        Its AE title.
    host : str or None
        Name or address its calls must come from.
    may : frozenset of str
        Some of `RIGHTS`.
    convert : bool
        Whether its images are converted or passed on as they are.
    """

    ae_title: str
    host: str | None = None
    may: frozenset[str] = RIGHTS
    convert: bool = True


class Refusal(NamedTuple):
    """Why an association is not accepted."""

    result: int
    source: int
    diagnostic: int
    reason: str


# PS3.8 table 9-21; the reasons are for the log, a peer gets the numbers only.
UNKNOWN_CALLING = Refusal(1, 1, 3, "calling AE title not recognised: there is no such peer")
WRONG_HOST = Refusal(1, 1, 3, "calling AE title not recognised: the call does not come from the host of that peer")
UNKNOWN_CALLED = Refusal(1, 1, 7, "called AE title not recognised: it is none of this gateway's")
LIMIT_EXCEEDED = Refusal(2, 3, 2, "local limit exceeded: too many associations")


class Serving(Protocol):
    """What callers over TLS are served with."""

    def server(self) -> ssl.SSLContext:
        """Return what is good for the next of them."""
        ...


@dataclass(frozen=True)
class NetworkSettings:
    """What the network room knows of the configuration.

    Attributes
    ----------
    ae_title : str
        AE title of the box, which possesses the view *received*.
    peers : tuple of Peer
        Who may call.
    unknown_peers : str
        ``"reject"``, or ``"accept"``: others may call too and do everything.
    views : mapping of str to View
        Further AE titles of the box and the view each possesses.
    max_associations : int
        Associations served at a time, all intake processes together.
    destinations : mapping of str to Destination
        Where C-MOVE can send to, by AE title.
    priors_from : frozenset of str
        AE titles the box delivers to: what comes from them are priors, neither converted nor delivered again.
    pulls : mapping of str to View
        AE titles of destinations that fetch, and the view each shall have.
    query_wait : float
        Seconds that a query for a patient or study, or a retrieval, waits for a conversion before it is answered.
    empty_matches : bool
        Whether a query finds what has no value for a key, whatever value is asked for (PS3.4 C.2.2.1.2).
    tls : Serving or None
        What those are served with who come to the port for TLS.
    """

    ae_title: str
    peers: tuple[Peer, ...] = ()
    unknown_peers: str = "reject"
    views: Mapping[str, View] = field(default_factory=dict)
    max_associations: int = 20
    destinations: Mapping[str, Destination] = field(default_factory=dict)
    priors_from: frozenset[str] = frozenset()
    pulls: Mapping[str, View] = field(default_factory=dict)
    query_wait: float = 2.0
    empty_matches: bool = False
    tls: Serving | None = None

    def peer(self, ae_title: str) -> Peer | None:
        """Return the caller of that AE title, None if it is unknown and unknown ones are rejected."""
        for peer in self.peers:
            if peer.ae_title == ae_title:
                return peer
        return Peer(ae_title) if self.unknown_peers == "accept" else None

    def view_of(self, called: str) -> View:
        """Return the view that an AE title of the box possesses."""
        return self.views.get(called, View.RECEIVED)

    def title_of(self, view: View, called: str) -> str:
        """Return the AE title to retrieve a view from: the called one if it possesses it, else one that does.

        If none does, the called one: it gives every view to those who negotiate it.
        """
        if self.view_of(called) == view:
            return called
        titles = [title for title in (self.ae_title, *sorted(self.views)) if self.view_of(title) == view]
        return titles[0] if titles else called

    def allows(self, ae_title: str, right: str) -> bool:
        """Tell whether a caller has one of `RIGHTS`."""
        peer = self.peer(ae_title)
        return peer is not None and right in peer.may

    def refusal(self, calling: str, called: str, address: str) -> Refusal | None:
        """Return why an association request is refused, None if it is not."""
        if called != self.ae_title and called not in self.views:
            return UNKNOWN_CALLED
        peer = self.peer(calling)
        if peer is None:
            return UNKNOWN_CALLING
        if peer.host is not None and not _is_at(peer.host, address):
            return WRONG_HOST
        return None


def _is_at(host: str, address: str) -> bool:
    """Tell whether `address` is one of the addresses of `host`."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return _plain(address) in {_plain(str(entry[4][0])) for entry in found}


def _plain(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an address; an IPv4 one that a dual-stack socket shows as IPv6 as what it is."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return getattr(parsed, "ipv4_mapped", None) or parsed
