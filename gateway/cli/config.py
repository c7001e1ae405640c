"""``gateway config``: check, show and start a configuration, and say what a box with it conforms to."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli.common import config_option, json_option, load_config, print_json


@click.group()
def command() -> None:
    """Check the configuration, show what is in effect, print an example or the conformance statement."""


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--files", is_flag=True, help="Look also whether what is named for TLS can be used.")
def check(file: Path, files: bool) -> None:
    """Check FILE and say everything that is wrong with it.

    Every problem is one line on stderr with file, key, what was found and what was expected. Entries of [[peer]] and
    [[destination]] are counted from 1: peer[2].port is the port of the second peer.
    """
    from gateway.service import config

    checked = config.load(file)
    if files:
        from gateway.service.rooms import security

        if (tls := security(checked)) is not None:
            tls.renew()
    for remark in config.remarks(checked):
        click.echo(f"{file}: note: {remark}")
    click.echo(f"{file}: ok")


@command.command()
@config_option
@json_option
def show(config_path: Path | None, as_json: bool) -> None:
    """Show the values in effect, defaults filled in."""
    import msgspec

    from gateway.service import config

    loaded = load_config(config_path)
    if as_json:
        print_json(msgspec.to_builtins(loaded))
    else:
        click.echo(config.as_toml(loaded), nl=False)


@command.command()
def example() -> None:
    """Print a configuration with every key, to start from."""
    from gateway.service import config

    click.echo(config.EXAMPLE, nl=False)


@command.command()
@config_option
def conformance(config_path: Path | None) -> None:
    """Print the DICOM conformance statement of a box with this configuration (PS3.2), as Markdown."""
    from gateway.cli.conformance import statement

    click.echo(statement(load_config(config_path)), nl=False)
