"""``gateway queue``: the work that waits or is held, and how to have it done now."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.archive.contents import study_named
from gateway.archive.jobs import COMMIT, DELIVER
from gateway.archive.promises import HELD, OPEN, READY
from gateway.cli.common import config_option, count, json_option, load_config, open_archive, print_json, span
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.archive.commitments import Transaction
    from gateway.archive.index import Archive
    from gateway.archive.jobs import Job
    from gateway.archive.promises import Promise
    from gateway.service.config import Config

study_option = click.option("--study", metavar="UID", help="Only work on this Study Instance UID.")
destination_option = click.option(
    "--destination", metavar="AE", help="Only what is for this AE title, or awaited from it."
)


@click.group()
def command() -> None:
    """See and hurry the work that waits."""


@command.command(name="list")
@study_option
@destination_option
@config_option
@json_option
def list_(study: str | None, destination: str | None, config_path: Path | None, as_json: bool) -> None:
    """List what waits, runs or is held, and the answers about storage commitment that are owed."""
    config = load_config(config_path)
    archive = open_archive(config)
    try:
        _check(config, archive, destination)
        jobs = [job for job in archive.jobs.listing(study) if destination in (None, job.destination)]
        awaited = archive.commitments.awaited(study, destination)
        owed = archive.promises.owed(destination) if study is None else []
        if study is not None and not jobs and not awaited:
            study_named(archive, study)
    finally:
        archive.close()
    if as_json:
        print_json([*(job._asdict() for job in jobs), *map(_awaited, awaited), *map(_owed, owed)])
        return
    now = time.time()
    lines = [*(describe(job, now) for job in jobs), *(await_line(*one, now) for one in awaited)]
    lines += [owe_line(promise, now) for promise in owed]
    click.echo("\n".join(lines or ["nothing waits"]))


def _awaited(one: tuple[Transaction, int]) -> dict[str, Any]:
    """Return what `--json` says of an answer that a destination owes."""
    transaction, instances = one
    return {
        "kind": "awaited",
        "study": transaction.study,
        "destination": transaction.destination,
        "state": transaction.state,
        "transaction": transaction.uid,
        "instances": instances,
        "created_at": transaction.asked_at,
    }


def _owed(promise: Promise) -> dict[str, Any]:
    """Return what `--json` says of an answer that the box owes."""
    return {
        "kind": "answer",
        "study": "",
        "destination": promise.requester,
        "state": promise.state,
        "not_before": promise.due,
        "attempts": promise.attempts,
        "reason": promise.reason,
        "transaction": promise.transaction,
        "instances": promise.references,
        "created_at": promise.asked_at,
    }


def await_line(transaction: Transaction, instances: int, now: float) -> str:
    """Return one line about an answer that a destination owes."""
    asked = f"asked {span(now - transaction.asked_at)} ago to commit to {count(instances, 'instance')}"
    return f"{transaction.destination} owes an answer: {transaction.study}: {asked}"


def owe_line(promise: Promise, now: float) -> str:
    """Return one line about an answer that the box owes."""
    asked = f"commitment to {count(promise.references, 'instance')}, asked {span(now - promise.asked_at)} ago"
    tried = f", {count(promise.attempts, 'attempt')} so far" if promise.attempts else ""
    why = f": {promise.reason}" if promise.reason else ""
    return f"answer {promise.requester}: {asked}: {_STATES[promise.state]}{tried}{why}"


_STATES = {OPEN: "not decided", READY: "to be answered", HELD: "held"}

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
    """Do now what waits for another attempt or is held; everything, unless narrowed.

    What a destination has refused is offered to it again; commitment that it has not answered is asked for again; what
    the box owes to modalities is looked at, and answered.
    """
    config = load_config(config_path)
    archive = open_archive(config, write=True)
    try:
        _check(config, archive, destination)
        number = archive.jobs.retry_now(study=study, destination=destination)
        if study is not None and not number:
            study_named(archive, study)
        answers = archive.promises.retry_now(destination) if study is None else 0
    finally:
        archive.close()
    if as_json:
        print_json({"due": number, "answers": answers})
    else:
        also = f" and {count(answers, 'answer')}" if answers else ""
        click.echo(f"{count(number, 'job')}{also} due now")


def _check(config: Config, archive: Archive, destination: str | None) -> None:
    known = [entry.ae_title for entry in config.destination]
    if destination is None or destination in known or archive.promises.owed(destination):
        return
    expected = "one of " + ", ".join(known) if known else None
    raise GatewayError(destination, "there is no such destination in the configuration", expected=expected)
