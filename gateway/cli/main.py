"""The command ``gateway``: a group that imports a command's module only when that command is named."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys

import click

from gateway.errors import GatewayError, remedy_of
from gateway.service.lean import without_decoders

# One module of this package for each; its `command` is the command. `gateway --help` reads this table and imports none
# of them: a test watches over it.
COMMANDS = {
    "serve": "Run the gateway.",
    "demo": "Show the main job end to end, with nothing to configure.",
    "convert": "Convert files and folders without a running box.",
    "status": "Show what the box is doing, per study and destination.",
    "doctor": "Look whether everything the gateway needs is as it should be.",
    "queue": "See and hurry the work that waits.",
    "fhir": "Print a study, or those that a search finds, as FHIR R5 ImagingStudy resources.",
    "config": "Check the configuration, show what is in effect, print an example or the conformance statement.",
}


class Commands(click.Group):
    """Finds the commands, and turns the errors raised on purpose into one line and exit status 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the manual."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        # Only the demonstration decodes pixels; what that needs takes longer to import than everything else.
        with contextlib.nullcontext() if cmd_name == "demo" else without_decoders():
            command: click.Command = importlib.import_module(f"gateway.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> object:
        """Run; an error that names its object needs no traceback."""
        try:
            return super().invoke(ctx)
        except GatewayError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            if error.filename is None:  # a broken pipe, which click knows
                raise
            raise click.ClickException(f"{_named(error)}: {error.strerror}; {remedy_of(error)}") from error


def _named(error: OSError) -> str:
    return error.filename.decode(errors="replace") if isinstance(error.filename, bytes) else str(error.filename)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="gateway", message="%(prog)s %(version)s")
def main() -> None:
    """DICOM edge gateway: classic CT, MR and PET series become enhanced multi-frame objects on their way to the PACS.

    Exit status: 0 done, 1 something failed (said on stderr), 2 wrong usage.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot write a patient's name must not keep the rest from being said.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main(prog_name="gateway")
