"""What a run of ``gateway convert`` has to say, and how it says it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.common import count
from gateway.objects.elements import decoded, text
from gateway.standard.dictionary import uid_name

if TYPE_CHECKING:
    from gateway.objects.part10 import Header


@dataclass
class Outcome:
    """What became of one source series, or of a file that is none.

    Attributes
    ----------
    series : str
        Series Instance UID of the sources.
    description : str
        Modality, Series Number and Series Description.
    instances : int
        Number of sources.
    objects : list of dict
        New objects: class, SOP Instance UID, frames, file.
    companions : list of dict
        New objects that are no multi-frame images: kind, class, SOP Instance UID, number of sources, file.
    kept : dict of str to int
        Number of instances passed on by reason.
    """

    series: str
    description: str
    instances: int = 0
    objects: list[dict] = field(default_factory=list)
    companions: list[dict] = field(default_factory=list)
    kept: dict[str, int] = field(default_factory=lambda: defaultdict(int))


@dataclass
class Report:
    """Everything a run has to say.

    Attributes
    ----------
    files : int
        Number of files looked at: each is an instance of a series, not DICOM or failed.
    """

    files: int = 0
    series: dict[str, Outcome] = field(default_factory=dict)
    not_dicom: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    unresolved: dict[str, str] = field(default_factory=dict)
    unsigned: list[str] = field(default_factory=list)

    def add(self, header: Header) -> Outcome:
        """Count an instance in the row of its series."""
        if header.series not in self.series:
            ds = header.dataset
            words = (text(ds, "Modality"), text(ds, "SeriesNumber"), decoded(ds, "SeriesDescription"))
            self.series[header.series] = Outcome(header.series, " ".join(word for word in words if word))
        outcome = self.series[header.series]
        outcome.instances += 1
        return outcome

    def as_json(self) -> dict[str, Any]:
        """Return the report for programs."""
        rows = [vars(outcome) | {"kept": dict(outcome.kept)} for outcome in self.series.values()]
        return {
            "files": self.files,
            "series": rows,
            "not_dicom": self.not_dicom,
            "failed": self.failed,
            "unresolved": self.unresolved,
            "unsigned": self.unsigned,
        }


def print_report(report: Report, output: Path | None) -> None:
    """Print a row for every source series."""
    for outcome in report.series.values():
        click.echo(f"{outcome.description or outcome.series}: {count(outcome.instances, 'instance')}")
        for made in outcome.objects:
            name = sop_class_name(made["sop_class"])
            click.echo(f"    -> {name}, {count(made['frames'], 'frame')}, {made['sop_instance']}")
            for key, value in made.get("explain", {}).items():
                click.echo(f"       {key.replace('_', ' ')}: {', '.join(value) if isinstance(value, list) else value}")
        _print_companions(outcome)
        for reason, number in outcome.kept.items():
            click.echo(
                f"    -> {number} unchanged: {reason}" if "left out" not in reason else f"    -> {number} {reason}"
            )
    for who, number in Counter(report.unresolved.values()).items():
        click.echo(f"not found: {count(number, 'instance')} to which {who} refers")
    for who in report.unsigned:
        click.echo(f"digital signatures of {who} do not hold for what was made of it")
    for name in report.not_dicom:
        click.echo(f"not DICOM: {name}")
    for name in report.failed:
        click.echo(f"failed: {name}", err=True)
    if output is not None and not report.failed:
        click.echo(f"The complete view is in {output}.")


def _print_companions(outcome: Outcome) -> None:
    """Print what was derived beside the images; rewritten copies, which may be many, by class."""
    copies: dict[str, int] = defaultdict(int)
    for made in outcome.companions:
        name = sop_class_name(made["sop_class"])
        if made["replaces"]:
            copies[name] += 1
        else:
            click.echo(f"    -> {name} for {count(made['sources'], 'instance')}, {made['sop_instance']}")
    for name, number in copies.items():
        click.echo(f"    -> {name}, {count(number, 'copy', 'copies')} with updated references")


def sop_class_name(uid: str) -> str:
    """Return the standard's name of a SOP class without the word Storage."""
    return uid_name(uid).removesuffix(" Storage")
