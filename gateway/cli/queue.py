"""``gateway queue``: the work that waits or is held, and how to have it done now."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.archive.jobs import COMMIT, DELIVER
from gateway.cli.common import config_option, count, json_option, load_config, open_archive, print_json, span
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.archive.jobs import Job
    from gateway.service.config import Config

study_option = click.option("--study", metavar="UID", help="Only work on this Study Instance UID.")
destination_option = click.option("--destination", metavar="AE", help="Only deliveries to this AE title.")


@click.group()
def command() -> None:
    """See and hurry the work that waits."""


@command.command(name="list")
@study_option
@destination_option
@config_option
@json_option
def list_(study: str | None, destination: str | None, config_path: Path | None, as_json: bool) -> None:
    """List what waits, runs or is held."""
    config = load_config(config_path)
    _check(config, destination)
    archive = open_archive(config)
    try:
        jobs = [job for job in archive.jobs.listing(study) if destination in (None, job.destination)]
    finally:
        archive.close()
    if as_json:
        print_json([job._asdict() for job in jobs])
        return
    now = time.time()
    for job in jobs:
        click.echo(describe(job, now))
    if not jobs:
        click.echo("nothing waits")


_WORK = {DELIVER: "deliver to {}", COMMIT: "ask {} for commitment"}


def describe(job: Job, now: float) -> str:
    """Return one line about a job."""
    what = _WORK.get(job.kind, job.kind).format(job.destination)
    when = f"due in {span(job.not_before - now)}" if job.state == "waiting" and job.not_before > now else job.state
    tried = f", {count(job.attempts, 'attempt')} so far" if job.attempts else ""
    return f"{what}: {job.study}: {when}{tried}" + (f": {job.reason}" if job.reason else "")


@command.command()
@study_option
@destination_option
@config_option
@json_option
def retry(study: str | None, destination: str | None, config_path: Path | None, as_json: bool) -> None:
    """Do now what waits for another attempt or is held; everything, unless narrowed."""
    config = load_config(config_path)
    _check(config, destination)
    archive = open_archive(config, write=True)
    try:
        number = archive.jobs.retry_now(study=study, destination=destination)
    finally:
        archive.close()
    if as_json:
        print_json({"due": number})
    else:
        click.echo(f"{count(number, 'job')} due now")


def _check(config: Config, destination: str | None) -> None:
    known = [entry.ae_title for entry in config.destination]
    if destination is not None and destination not in known:
        expected = "one of " + ", ".join(known) if known else None
        raise GatewayError(destination, "there is no such destination in the configuration", expected=expected)
