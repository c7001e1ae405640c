"""Options and output that several commands share."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.errors import ArchiveError

if TYPE_CHECKING:
    from gateway.archive.index import Archive
    from gateway.service.config import Config

config_option = click.option(
    "--config",
    "config_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Configuration file; /etc/gateway/gateway.toml unless given.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def load_config(path: Path | None) -> Config:
    """Read the configuration named on the command line, or the appliance's."""
    from gateway.service import config

    return config.load(config.find(path))


def open_archive(config: Config, *, write: bool = False) -> Archive:
    """Open the archive of a box that may be running.

    Raises
    ------
    ArchiveError
        If there is none yet: looking must not make one.
    """
    from gateway.archive.index import Archive

    if not (config.data_dir / "index.sqlite3").exists():
        remedy = "start `gateway serve`, or name another configuration with --config"
        raise ArchiveError(str(config.data_dir), "no gateway has run here yet", remedy=remedy)
    return Archive(config.data_dir, readonly=not write)


# Control characters of both sets: a terminal acts on them.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}


def harmless(line: str) -> str:
    """Return a line with what a terminal would act on written out: values in it are those of whoever sent them."""
    return line.translate(_CONTROLS)


def print_json(value: Any) -> None:
    """Print `value` as indented JSON."""
    everything = sys.stdout.encoding.lower().replace("-", "") == "utf8"
    click.echo(json.dumps(value, indent=2, ensure_ascii=not everything))


def count(number: int, noun: str, plural: str = "") -> str:
    """``1 image``, ``2 images``, ``2 series``."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def span(seconds: float) -> str:
    """A length of time as people say it: ``40 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``."""
    whole = max(0, round(seconds))
    for unit, size, lower, below in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {unit}" + (f" {rest} {lower}" if rest else "")
    return f"{whole} s"
