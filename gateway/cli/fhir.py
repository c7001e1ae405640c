"""``gateway fhir``: a study, or those that a search finds, as FHIR R5 ImagingStudy resources."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.common import config_option, load_config, open_archive, print_json

if TYPE_CHECKING:
    from gateway.service.config import Config


@click.command()
@click.argument("study", required=False)
@click.option(
    "--search",
    "query",
    metavar="QUERY",
    help="Instead of one study those that match parameters of FHIR, as in a URL: 'patient=P1&modality=CT'.",
)
@click.option(
    "--view",
    type=click.Choice(("received", "classic", "enhanced")),
    default="received",
    show_default=True,
    help="The view whose series and instances are listed and counted.",
)
@click.option("--base", metavar="URL", default="", help="What links of a search begin with; they are relative without.")
@config_option
def command(study: str | None, query: str | None, view: str, base: str, config_path: Path | None) -> None:
    """Print a study as a FHIR R5 ImagingStudy resource, or a Bundle of the studies that a search finds.

    STUDY is a Study Instance UID or an Accession Number. Times of objects that do not say how far their clock is from
    UTC are taken to be those of this machine's time zone.
    """
    from gateway.archive.contents import study_named
    from gateway.archive.views import view_named
    from gateway.retrieval.imaging_study import imaging_study
    from gateway.retrieval.imaging_study_search import SearchError, search

    if (study is None) == (query is None):
        raise click.UsageError("name a STUDY, or what to look for with --search")
    config = load_config(config_path)
    archive = open_archive(config)
    title = title_of(config, view)
    try:
        if study is not None:
            uid = study_named(archive, study)
            print_json(imaging_study(archive, uid, view_named(view), ae_title=title, offset=local_offset))
        else:
            found = search(archive, query or "", view_named(view), base=base, ae_title=title, offset=local_offset)
            print_json(found)
    except SearchError as error:
        raise click.UsageError(f"--search: {error}") from error
    finally:
        archive.close()


def title_of(config: Config, view: str) -> str:
    """Return the AE title of the box that possesses a view, empty if none does."""
    if view == "received":
        return config.gateway.ae_title
    return next((title for title, possessed in config.views.items() if possessed == view), "")


def local_offset(moment: datetime) -> timedelta | None:
    """Return how far the clock of this machine was from UTC at a local time."""
    try:
        return moment.astimezone().utcoffset()
    except (OverflowError, OSError, ValueError):  # years that the system's tables do not reach
        return None
