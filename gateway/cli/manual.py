"""The pages of the manual that follow from the program: commands and configuration.

``python -m gateway.cli.manual`` writes them into ``gateway/docs``; a test fails when they have drifted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from gateway.cli.main import main
from gateway.service import config

DOCS = Path(__file__).parent.parent / "docs"
BEGIN, END = "<!-- generated: {} -->", "<!-- end -->"


def commands(command: click.Command, parents: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its full name, groups before what they hold."""
    name = (*parents, command.name or "")
    yield " ".join(name), command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None, f"{child} is listed and cannot be imported"
            found.name = child
            yield from commands(found, name)


def commands_page() -> str:
    """Return the reference of the command line: what ``--help`` prints, for every command."""
    main.name = "gateway"
    parts = ["# Commands\n\nGenerated from the program by `python -m gateway.cli.manual`; do not edit.\n"]
    for name, command in commands(main):
        context = click.Context(command, info_name=name, max_content_width=100, terminal_width=100)
        context.help_option_names = ["-h", "--help"]
        parts.append(f"## {name}\n\n```text\n{command.get_help(context).rstrip()}\n```\n")
    return "\n".join(parts)


def example_block() -> str:
    """Return the example configuration for the manual."""
    return f"```toml\n{config.EXAMPLE}```"


def keys_block() -> str:
    """Return one table for each section of the configuration file."""
    parts = []
    for section in config.SECTIONS:
        if section == "views":
            parts.append(
                "### `[views]`: further application entities\n\n"
                "Each key is an AE title, its value the view it possesses: `received`, `classic` or `enhanced`."
            )
            continue
        shape = config.TABLES.get(section) or config.LISTS[section]
        rows = [
            f"| `{field.name}` | {_default(field)} | {' | '.join(_words(field.type))} |" for field in _fields(shape)
        ]
        heading = (shape.__doc__ or "").replace("``", "`").rstrip(".")
        parts.append(
            f"### {heading}\n\n| key | default | accepts | meaning |\n| --- | --- | --- | --- |\n" + "\n".join(rows)
        )
    return "\n\n".join(parts)


def _fields(shape: type[msgspec.Struct]) -> tuple[Any, ...]:
    return msgspec.structs.fields(shape)


def _words(kind: Any) -> tuple[str, str]:
    metas = kind.__metadata__
    title = next(meta.title for meta in metas if meta.title)
    return title, next(meta.description for meta in metas if meta.description)


def _default(field: Any) -> str:
    if field.required:
        return "needed"
    return "-" if field.default is None else f"`{msgspec.json.encode(field.default).decode()}`"


def filled(page: str) -> str:
    """Return a page with its generated blocks renewed."""
    for name, make in BLOCKS.items():
        before, found, rest = page.partition(BEGIN.format(name))
        if found:
            page = f"{before}{found}\n{make()}\n{END}{rest.partition(END)[2]}"
    return page


BLOCKS = {"example": example_block, "keys": keys_block}


def pages() -> dict[Path, str]:
    """Return every generated page with the text it should have."""
    wanted = {path: filled(path.read_text(encoding="utf-8")) for path in sorted(DOCS.glob("*.md"))}
    return {**wanted, DOCS / "commands.md": commands_page()}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        click.echo(path)
