"""What each room is told of the configuration: the plain dataclasses that the lower floors want."""

from __future__ import annotations

from collections.abc import Callable

from gateway.archive.views import View, view_named
from gateway.network.policy import NetworkSettings, Peer
from gateway.pipeline.deliver import Target
from gateway.pipeline.judgement import Place, Terms
from gateway.pipeline.promises import PromisePolicy
from gateway.pipeline.retry import Backoff
from gateway.retrieval.engine import Destination
from gateway.service.config import Config


def network_settings(config: Config) -> NetworkSettings:
    """Return who may call, which AE titles the box answers to, and where C-MOVE can send."""
    return NetworkSettings(
        ae_title=config.gateway.ae_title,
        peers=tuple(Peer(peer.ae_title, peer.host, frozenset(peer.may), peer.convert) for peer in config.peer),
        unknown_peers=config.intake.unknown_peers,
        views={title: view_named(view) for title, view in config.views.items()},
        max_associations=config.intake.max_associations,
        destinations=destinations(config),
        priors_from=frozenset(destination.ae_title for destination in config.destination),
        query_wait=config.intake.query_wait_seconds,
    )


def destinations(config: Config) -> dict[str, Destination]:
    """Return where objects can be sent, by AE title: every destination, and every peer with host and port."""
    own = config.gateway.ae_title
    found = {
        peer.ae_title: Destination(peer.ae_title, peer.host, peer.port, own)
        for peer in config.peer
        if peer.host is not None and peer.port is not None
    }
    found |= {to.ae_title: Destination(to.ae_title, to.host, to.port, own) for to in config.destination}
    return found


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
    return tuple(Target(address[to.ae_title], view_named(to.view), to.when_refused) for to in config.destination)


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
