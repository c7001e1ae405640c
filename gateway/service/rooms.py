"""What each room is told of the configuration: the plain dataclasses that the lower floors want."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.archive.views import View, view_named
from gateway.network.policy import NetworkSettings, Peer
from gateway.pipeline.judgement import Place, Terms
from gateway.pipeline.promises import PromisePolicy
from gateway.pipeline.retry import Backoff
from gateway.pipeline.visits import Target
from gateway.retrieval.engine import Destination
from gateway.service import tables
from gateway.service.config import Config

if TYPE_CHECKING:
    from gateway.network.identity import Security

# Where a file that is only named is looked for, after the credentials that systemd hands the service.
TLS_FOLDER = Path("/etc/gateway/tls")


def network_settings(config: Config) -> NetworkSettings:
    """Return who may call, which AE titles the box answers to, and where C-MOVE can send."""
    return NetworkSettings(
        ae_title=config.gateway.ae_title,
        peers=(*_peers(config), *_callers(config)),
        unknown_peers=config.intake.unknown_peers,
        views={title: view_named(view) for title, view in config.views.items()},
        max_associations=config.intake.max_associations,
        destinations=destinations(config),
        priors_from=frozenset(destination.ae_title for destination in config.destination),
        pulls={to.ae_title: view_named(to.view) for to in config.destination if to.mode == "pull"},
        query_wait=config.intake.query_wait_seconds,
        empty_matches=config.query.empty_matches,
        tls=security(config) if config.tls.certificate else None,
    )


def security(config: Config) -> Security | None:
    """Return the certificate of the box and whom it trusts, None if nothing is done over TLS.

    It is the same for everybody in this process and its forks, so that what is renewed is renewed for all.
    """
    if config.tls.certificate is None and not any(entry.tls for entry in _entries(config)):
        return None
    files = (config.tls.certificate, config.tls.key, config.tls.authorities)
    return _security(*(None if name is None else pem_file(name) for name in files), config.tls.demanding)


@functools.cache
def _security(certificate: Path | None, key: Path | None, authorities: Path | None, demanding: bool) -> Security:
    from gateway.network.identity import Identity, Security  # OpenSSL, only where it is needed

    return Security(Identity(certificate, key, authorities, demanding))


def pem_file(name: str) -> Path:
    """Return where a file for TLS is: a path is itself, a name is a credential of the service or in `TLS_FOLDER`."""
    credential = Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nonexistent"), name)
    return credential if credential.exists() else TLS_FOLDER / name


def addresses(config: Config) -> tuple[tuple[str, int] | None, tuple[str, int] | None]:
    """Return where the box listens, without TLS and with it."""
    own, tls = config.gateway, config.tls
    local = "::1" if ":" in own.bind else "127.0.0.1"
    plain = {"all": (own.bind, own.port), "loopback": (local, own.port), "nobody": None}[tls.plain]
    return plain, (own.bind, tls.port) if tls.certificate else None


def _peers(config: Config) -> Iterator[Peer]:
    """Yield the callers that are configured."""
    for peer in config.peer:
        yield Peer(peer.ae_title, peer.host, frozenset(peer.may), peer.convert)


def _callers(config: Config) -> Iterator[Peer]:
    """Yield the destinations that are no peers: they report storage commitment, and fetch if that is their mode."""
    known = {peer.ae_title for peer in config.peer}
    if config.intake.unknown_peers == "reject":
        for to in config.destination:
            if to.ae_title not in known:
                yield Peer(to.ae_title, to.host, frozenset(("query", "retrieve") if to.mode == "pull" else ()))


def destinations(config: Config) -> dict[str, Destination]:
    """Return where objects can be sent, by AE title: every destination, and every peer with host and port."""
    own = config.gateway.ae_title
    # Who is destination and peer has one address, and gets what either entry says.
    deflate = {peer.ae_title for peer in config.peer if peer.deflate}
    deflate |= {to.ae_title for to in config.destination if to.deflate}
    return {
        entry.ae_title: Destination(
            entry.ae_title,
            entry.host,
            entry.port,
            own,
            tls=security(config) if entry.tls else None,
            verify_name=entry.verify_name,
            deflate=entry.ae_title in deflate,
        )
        for entry in _entries(config)
        if entry.host is not None and entry.port is not None
    }


def _entries(config: Config) -> tuple[tables.Peer | tables.Destination, ...]:
    return (*config.peer, *config.destination)


def origins(config: Config) -> Callable[[str], tuple[bool, bool]]:
    """Return the `convert` and `prior` of what came from an AE title, as a recovery wants to know them."""
    settings = network_settings(config)

    def origin(ae_title: str) -> tuple[bool, bool]:
        peer = settings.peer(ae_title)
        return peer is None or peer.convert, ae_title in settings.priors_from

    return origin


def targets(config: Config) -> tuple[Target, ...]:
    """Return what goes where."""
    address = destinations(config)
    settings = network_settings(config)
    made = []
    for to in config.destination:
        safe = to.suitability == "safe"
        where, view, pull = address[to.ae_title], view_named(to.view), to.mode == "pull"
        if pull:  # who fetches knows the box by the title it fetches from
            where = replace(where, calling_ae=settings.title_of(view, settings.ae_title))
        made.append(Target(where, view, to.when_refused, commitment=to.commitment, pull=pull, safe=safe))
    return tuple(made)


def promises(config: Config, backoff: Backoff) -> PromisePolicy:
    """Return what the box commits to, for how long it tries, and where it calls who has asked."""
    return PromisePolicy(
        Terms(
            delivered=config.commitment.means == "delivered",
            places=tuple(Place(to.ae_title, view_named(to.view), to.commitment) for to in config.destination),
            titles={config.gateway.ae_title: View.RECEIVED, **network_settings(config).views},
        ),
        addresses=destinations(config),
        patience=config.commitment.patience_hours * 3600,
        persistence=config.commitment.answer_days * 86400,
        backoff=backoff,
    )
