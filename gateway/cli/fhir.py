"""``gateway fhir``: a study as a FHIR R5 ImagingStudy resource."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.common import config_option, load_config, open_archive, print_json

if TYPE_CHECKING:
    from gateway.service.config import Config


@click.command()
@click.argument("study")
@click.option(
    "--view",
    type=click.Choice(("received", "classic", "enhanced")),
    default="received",
    show_default=True,
    help="The view whose series and instances are listed and counted.",
)
@config_option
def command(study: str, view: str, config_path: Path | None) -> None:
    """Print a study as a FHIR R5 ImagingStudy resource.

    STUDY is a Study Instance UID or an Accession Number. Times of objects that do not say how far their clock is from
    UTC are taken to be those of this machine's time zone.
    """
    from gateway.archive.contents import study_named
    from gateway.archive.views import view_named
    from gateway.retrieval.imaging_study import imaging_study

    config = load_config(config_path)
    archive = open_archive(config)
    try:
        uid = study_named(archive, study)
        title = title_of(config, view)
        print_json(imaging_study(archive, uid, view_named(view), ae_title=title, offset=local_offset))
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
