"""What a conformance statement is made of: the box, the services by name, and tables of them as Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from gateway.archive.views import View
from gateway.network import negotiation
from gateway.network.policy import NetworkSettings
from gateway.service.config import Config
from gateway.service.rooms import addresses
from gateway.standard.dictionary import uid_name


class Group(NamedTuple):
    """A service as the overview names it: the right that a peer needs for it, and where PS3.4 specifies it."""

    right: str | None
    name: str
    section: str


GROUPS = (
    Group(None, "Verification", "annex A"),
    Group("store", "Storage", "annex B"),
    Group("query", "Query", "annex C"),
    Group("retrieve", "Retrieve", "annexes C, Y and Z"),
    Group("commit", "Storage Commitment", "annex J"),
)

# What each byte of extended negotiation is called in PS3.4 C.5; names are those of `negotiation.EXTENDED`.
OPTIONS = {
    "relational": "Relational queries and retrievals",
    "datetime": "Date-time matching",
    "fuzzy": "Fuzzy semantic matching of person names",
    "timezone": "Timezone query adjustment",
    "view": "Enhanced Multi-Frame Image Conversion",
    "empty": "Empty Value matching",
    "multiple": "Multiple Value matching",
}


@dataclass(frozen=True)
class Entity:
    """An application entity of the box: its AE title and the view it possesses."""

    title: str
    view: View
    main: bool


@dataclass(frozen=True)
class Box:
    """What the statement is about."""

    config: Config
    settings: NetworkSettings
    version: str

    @property
    def entities(self) -> tuple[Entity, ...]:
        """The application entities, that of ``[gateway]`` first."""
        further = (Entity(title, view, False) for title, view in self.settings.views.items())
        return (Entity(self.settings.ae_title, View.RECEIVED, True), *further)


def doors(config: Config) -> list[str]:
    """Return where the box listens, for people."""
    plain, secure = addresses(config)
    found = [f"{plain[0]}, port {plain[1]}"] if plain else []
    return found + ([f"{secure[0]}, port {secure[1]} over TLS"] if secure else [])


def table(heads: str, rows: Iterable[Iterable[object]]) -> str:
    """Return a Markdown table; `heads` are separated by bars."""
    names = [name.strip() for name in heads.split("|")]
    lines = [names, ["---"] * len(names), *(list(map(_cell, row)) for row in rows)]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|") or "-"


def name_of_uid(uid: str) -> str:
    """Return the name that PS3.6 has for a UID, or the UID."""
    return uid_name(uid)


def services(right: str | None) -> list[str]:
    """Return the abstract syntaxes that are accepted for a right, by name."""
    found = [uid for uid, service in negotiation.SERVICES.items() if service.right == right]
    return sorted(found, key=lambda uid: (name_of_uid(uid), uid))
