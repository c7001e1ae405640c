"""``gateway serve``: run the box until it is told to stop."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from gateway.cli.common import config_option, load_config


@click.command()
@config_option
@click.option("--verbose", is_flag=True, help="Log what helps a developer, too.")
def command(config_path: Path | None, verbose: bool) -> None:
    """Run the gateway.

    Runs in the foreground and logs to stderr, or to the journal under systemd. SIGTERM or Ctrl-C stops it in order.
    SIGHUP has it read the configuration again, and the files for TLS; what is wrong is refused with the reason, and the
    present one stays.
    """
    config = load_config(config_path)
    from gateway.cli import logs
    from gateway.service.lean import as_served

    with as_served():
        from gateway.service import supervisor

    logs.set_up(logging.DEBUG if verbose else logging.INFO)
    supervisor.run(config, read=lambda: load_config(config_path))
