"""The configuration file: read, checked, and handed on as the plain dataclasses that the lower rooms want.

Only this floor and the one above know the file. The tables themselves stand in `gateway.service.tables`.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gateway.errors import ConfigError
from gateway.service.tables import (
    EXAMPLE,
    AETitle,
    Commitment,
    Config,
    Conversion,
    Destination,
    Gateway,
    Intake,
    Peer,
    Query,
    Quota,
    Storage,
    Table,
    Tls,
    ViewName,
)

__all__ = ["EXAMPLE", "Config", "ConfigErrors", "Quota", "as_toml", "find", "load", "parse", "remarks"]

DEFAULT_PATH = Path("/etc/gateway/gateway.toml")

TABLES: dict[str, type[Table]] = {
    "gateway": Gateway,
    "intake": Intake,
    "storage": Storage,
    "query": Query,
    "conversion": Conversion,
    "commitment": Commitment,
    "tls": Tls,
}
LISTS: dict[str, type[Table]] = {"peer": Peer, "destination": Destination}
SECTIONS = ("gateway", "views", "intake", "storage", "query", "conversion", "commitment", "tls", "peer", "destination")


class ConfigErrors(ConfigError):
    """Everything wrong with one file, one problem a line.

    Parameters
    ----------
    problems : sequence of ConfigError
        At least one.
    """

    def __init__(self, problems: Sequence[ConfigError]) -> None:
        self.problems = tuple(problems)
        first = problems[0]
        super().__init__(first.subject, first.problem, found=first.found, expected=first.expected, remedy=first.remedy)

    def __str__(self) -> str:
        """Return one line for each problem."""
        return "\n".join(str(problem) for problem in self.problems)


def find(path: Path | str | None) -> Path:
    """Return `path`, or the place where the appliance keeps its configuration."""
    if path is not None:
        return Path(path)
    if not DEFAULT_PATH.exists():
        raise ConfigError(
            str(DEFAULT_PATH),
            "there is no configuration",
            remedy="name a file with --config, or start from `gateway config example`",
        )
    return DEFAULT_PATH


def load(path: Path | str) -> Config:
    """Read and check a configuration file.

    Raises
    ------
    ConfigErrors
        Naming file, key, what was found and what was expected, for every problem.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except OSError as error:
        raise ConfigErrors([ConfigError(str(path), f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        problem = ConfigError(str(path), f"line {line} is not UTF-8", expected="a TOML file in UTF-8")
        raise ConfigErrors([problem]) from error
    return parse(text, str(path))


def parse(text: str, file: str = "configuration") -> Config:
    """Check the text of a configuration file; `file` is the name that errors give."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigErrors([ConfigError(file, f"not readable as TOML: {error}")]) from error
    reader = _Reader(file)
    config = reader.read(document)
    if reader.problems:
        raise ConfigErrors(reader.problems)
    return config


T = TypeVar("T", bound=Table)


class _Reader:
    """Reads a document key by key, so that one wrong value does not hide the next."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[ConfigError] = []

    def refuse(self, key: str, problem: str, **details: Any) -> None:
        self.problems.append(ConfigError(f"{self.file}: {key}", problem, **details))

    def read(self, document: dict[str, Any]) -> Config:
        self.unknown(document, SECTIONS, "")
        parts: dict[str, Any] = {"views": self.views(document.get("views", {}))}
        for name, shape in TABLES.items():
            parts[name] = self.table(shape, document.get(name, {}), name)
        for name, shape in LISTS.items():
            parts[name] = self.tables(shape, document.get(name, []), name)
        config = Config(**{name: part for name, part in parts.items() if part is not None})
        for check in CHECKS:
            for key, problem, details in check(config):
                self.refuse(key, problem, **details)
        return config

    def unknown(self, table: dict[str, Any], known: Sequence[str], prefix: str) -> None:
        for name in table:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                remedy = f"did you mean {near[0]!r}?" if near else None
                expected = "one of " + ", ".join(known)
                self.refuse(f"{prefix}{name}", "unknown key", found=name, expected=expected, remedy=remedy)

    def value(self, kind: Any, value: Any, key: str) -> Any:
        try:
            return msgspec.convert(value, kind, strict=True)
        except msgspec.ValidationError as error:
            self.refuse(key, "impossible value", found=value, expected=_wording(kind) or str(error))
            return None

    def table(self, shape: type[T], table: Any, path: str) -> T | None:
        if not isinstance(table, dict):
            self.refuse(path, "wrong type", found=table, expected=f"a table [{path}]")
            return None
        fields = msgspec.structs.fields(shape)
        self.unknown(table, [field.name for field in fields], f"{path}.")
        values = {}
        for field in fields:
            key = f"{path}.{field.name}"
            if field.name in table:
                values[field.name] = self.value(field.type, table[field.name], key)
            elif field.required:
                self.refuse(key, "missing", expected=_wording(field.type))
        # What could be read stands, so that it can still be compared with the other tables.
        good = {name: value for name, value in values.items() if value is not None}
        return shape(**good) if all(field.name in good or not field.required for field in fields) else None

    def tables(self, shape: type[T], tables: Any, name: str) -> tuple[T | None, ...]:
        if not isinstance(tables, list):
            self.refuse(name, "wrong type", found=tables, expected=f"a list of tables [[{name}]]")
            return ()
        return tuple(self.table(shape, table, f"{name}[{n}]") for n, table in enumerate(tables, 1))

    def views(self, table: Any) -> dict[str, str]:
        if not isinstance(table, dict):
            self.refuse("views", "wrong type", found=table, expected="a table [views]")
            return {}
        for title, view in table.items():
            self.value(AETitle, title, f"views.{title}")
            self.value(ViewName, view, f"views.{title}")
        return table


def _wording(kind: Any) -> str | None:
    """The words for what a type accepts."""
    return next((meta.title for meta in getattr(kind, "__metadata__", ()) if getattr(meta, "title", None)), None)


Finding = tuple[str, str, dict[str, Any]]


def _entries(config: Config, name: str) -> Iterator[tuple[str, Any]]:
    """Key and table of each ``[[name]]`` that could be read."""
    return ((f"{name}[{n}]", table) for n, table in enumerate(getattr(config, name), 1) if table is not None)


def _own_titles(config: Config) -> Iterator[Finding]:
    if config.gateway.ae_title in config.views:
        title = config.gateway.ae_title
        expected = f"an AE title other than {title!r}, which gateway.ae_title has"
        yield f"views.{title}", "a view needs an AE title of its own", {"found": title, "expected": expected}


def _repeated_titles(config: Config) -> Iterator[Finding]:
    for name in LISTS:
        seen: dict[str, str] = {}
        for key, table in _entries(config, name):
            first = seen.setdefault(table.ae_title, key)
            if first != key:
                expected = f"an AE title other than that of {first}"
                yield f"{key}.ae_title", "given twice", {"found": table.ae_title, "expected": expected}


def _ports_without_host(config: Config) -> Iterator[Finding]:
    for key, peer in _entries(config, "peer"):
        if peer.port is not None and peer.host is None:
            remedy = f"add {key}.host, or leave the port out: nothing can be sent to a port alone"
            yield f"{key}.port", "a port without a host", {"found": peer.port, "remedy": remedy}


def _deflated_for_nobody(config: Config) -> Iterator[Finding]:
    for key, peer in _entries(config, "peer"):
        if peer.deflate and peer.port is None:
            remedy = f"add {key}.port, or leave it out: what goes over an association of the peer is never deflated"
            yield f"{key}.deflate", "nothing is sent to this peer", {"found": True, "remedy": remedy}


def _address(entry: Any) -> str:
    verified = f" as {entry.verify_name}" if entry.verify_name else ""
    return f"{entry.host}:{entry.port}" + (f" over TLS{verified}" if entry.tls else "")


def _two_addresses(config: Config) -> Iterator[Finding]:
    peers = {peer.ae_title: (key, peer) for key, peer in _entries(config, "peer") if peer.port is not None}
    for key, destination in _entries(config, "destination"):
        other, peer = peers.get(destination.ae_title, ("", destination))
        if _address(peer) != _address(destination):
            expected = f"{_address(peer)}, as in {other}: a C-MOVE to {peer.ae_title} must have one address"
            found = _address(destination)
            yield key, "one AE title with two addresses", {"found": found, "expected": expected}


def _deliveries_to_self(config: Config) -> Iterator[Finding]:
    own = {config.gateway.bind, "localhost", "127.0.0.1", "::1"}
    ports = {config.gateway.port, config.tls.port if config.tls.certificate else config.gateway.port}
    for key, destination in _entries(config, "destination"):
        if destination.port in ports and destination.host in own:
            found = f"{destination.ae_title} at {destination.host}:{destination.port}"
            remedy = "the box would deliver to itself: name the address of the PACS"
            yield key, "this is the gateway's own address", {"found": found, "remedy": remedy}


def _views_to_fetch(config: Config) -> Iterator[Finding]:
    served = {"received", *config.views.values()}
    for key, destination in _entries(config, "destination"):
        if destination.mode == "pull" and destination.view not in served:
            expected = f"a view that an AE title of this box possesses: {', '.join(sorted(served))}"
            remedy = f"nobody could fetch it: add {destination.view!r} under an AE title to [views]"
            yield (
                f"{key}.view",
                "no such view to fetch",
                {
                    "found": destination.view,
                    "expected": expected,
                    "remedy": remedy,
                },
            )


def _fetching_without_right(config: Config) -> Iterator[Finding]:
    peers = {peer.ae_title: (key, peer) for key, peer in _entries(config, "peer")}
    for key, destination in _entries(config, "destination"):
        other, peer = peers.get(destination.ae_title, ("", None))
        if destination.mode == "pull" and peer is not None and "retrieve" not in peer.may:
            remedy = f'it shall fetch: add "retrieve", or leave {other} out'
            yield f"{other}.may", f"{key} has mode pull", {"found": ", ".join(peer.may), "remedy": remedy}


def _halves_of_tls(config: Config) -> Iterator[Finding]:
    tls = config.tls
    for one, other in (("certificate", "key"), ("key", "certificate")):
        if getattr(tls, one) is not None and getattr(tls, other) is None:
            yield f"tls.{other}", "missing", {"expected": f"the file that belongs to tls.{one}"}
    if tls.client_certificates and tls.authorities is None:
        remedy = "name the file of those who sign the certificates of callers: whom the system trusts would let many in"
        yield "tls.authorities", "tls.client_certificates needs it", {"remedy": remedy}
    if tls.plain != "all" and tls.certificate is None:
        remedy = "nobody could call: give tls.certificate and tls.key"
        yield "tls.plain", "without TLS", {"found": tls.plain, "expected": '"all"', "remedy": remedy}
    if tls.certificate is not None and tls.port == config.gateway.port:
        yield "tls.port", "given twice", {"found": tls.port, "expected": "a port other than gateway.port"}


def _tls_of_nobody(config: Config) -> Iterator[Finding]:
    for name in LISTS:
        for key, table in _entries(config, name):
            if table.tls and table.port is None:
                remedy = "add host and port; callers over TLS come to tls.port"
                yield f"{key}.tls", "the peer is not called", {"found": True, "remedy": remedy}
            if table.verify_name is not None and not table.tls:
                yield f"{key}.verify_name", "nothing is verified without tls", {"remedy": f"add {key}.tls = true"}


CHECKS: tuple[Callable[[Config], Iterator[Finding]], ...] = (
    _own_titles,
    _repeated_titles,
    _ports_without_host,
    _deflated_for_nobody,
    _two_addresses,
    _deliveries_to_self,
    _views_to_fetch,
    _fetching_without_right,
    _halves_of_tls,
    _tls_of_nobody,
)


def remarks(config: Config) -> Iterator[str]:
    """What is allowed, and still probably not what its author wanted."""
    if not config.peer and config.intake.unknown_peers == "reject":
        yield 'nobody may send: there is no [[peer]] and intake.unknown_peers is "reject"'
    if not config.destination:
        yield "nothing is delivered: there is no [[destination]]"


def as_toml(config: Config) -> str:
    """The configuration as TOML, defaults filled in."""
    lines: list[str] = []
    for section in SECTIONS:
        part = msgspec.to_builtins(getattr(config, section))
        repeated = isinstance(part, (list, tuple))
        for table in part if repeated else [part]:
            lines += ["", f"[[{section}]]" if repeated else f"[{section}]"]
            # JSON's strings, numbers, booleans and lists of strings are TOML too; keys of [views] may hold spaces.
            lines += [f"{_key(key)} = {_json(value)}" for key, value in table.items() if value is not None]
    return "\n".join(lines[1:]) + "\n"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _json(name)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
