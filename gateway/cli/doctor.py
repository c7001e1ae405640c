"""``gateway doctor``: every check with its result, reason and remedy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.common import config_option, json_option, load_config, print_json
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from gateway.service.checks import Finding

CONFIGURATION = "configuration"


@click.command()
@config_option
@json_option
def command(config_path: Path | None, as_json: bool) -> None:
    """Look whether everything the gateway needs is as it should be, and say what to do where it is not.

    Beside a running gateway or without one; nothing is changed. Exit status 1 if a check has failed.
    """
    findings = []
    for finding in look(config_path):
        findings.append(finding)
        if not as_json:
            click.echo(describe(finding))
    failed = sum(finding.result == "failed" for finding in findings)
    if as_json:
        print_json({"ok": not failed, "checks": [finding._asdict() for finding in findings]})
    if failed:
        raise SystemExit(1)


def look(config_path: Path | None) -> Iterator[Finding]:
    """Yield what is found about the configuration and, if that can be read, about everything else."""
    from gateway.service import config
    from gateway.service.checks import CHECKS, Finding, Result, examine

    try:
        loaded = load_config(config_path)
    except ConfigError as error:
        yield Finding(CONFIGURATION, "", Result.FAILED, str(error), "mend it, then `gateway config check FILE`")
        reason = "not looked at without a configuration"
        yield from (Finding(check.code, "", Result.SKIPPED, reason) for check in CHECKS)
        return
    remarks = list(config.remarks(loaded))
    where = str(config.find(config_path))
    if remarks:
        remedy = f"if that is not meant, mend {where}"
        yield from (Finding(CONFIGURATION, "", Result.WARNING, remark, remedy) for remark in remarks)
    else:
        yield Finding(CONFIGURATION, "", Result.OK, where)
    yield from examine(loaded)


def describe(finding: Finding) -> str:
    """Return a finding as a line, and its remedy as a second one."""
    what = " ".join(filter(None, (finding.code, finding.subject)))
    line = f"{finding.result:<8} {what}: {finding.reason}"
    return line + (f"\n{'':<8} -> {finding.remedy}" if finding.remedy else "")
