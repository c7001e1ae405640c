"""What a run of ``gateway convert`` has to say, and how it says it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.common import count
from gateway.conversion.account import COPIED, FRAMES, LEFT_OUT, NO_REASON, TURNED_BACK, UNCHANGED, Account
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
    kept, copied, left_out : dict of str to int
        Number of instances that are passed on unchanged, that a copy with updated references takes the place of, and
        that are not in the view that was made, by reason.
    """

    series: str
    description: str
    instances: int = 0
    objects: list[dict] = field(default_factory=list)
    companions: list[dict] = field(default_factory=list)
    kept: Counter[str] = field(default_factory=Counter)
    copied: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)

    def account(self, target: str) -> Account:
        """Return what became of the instances, as a sum (`gateway.conversion.account`)."""
        kept, copied, left = (sum(reasons.values()) for reasons in (self.kept, self.copied, self.left_out))
        if target == "classic":
            turned = {TURNED_BACK: len(self.objects), UNCHANGED: kept, COPIED: copied, LEFT_OUT: left}
            return Account(self.instances, Counter(turned))
        # What is left out of the enhanced view is there as frames that were received.
        frames = sum(made["frames"] for made in self.objects) + left
        return Account(self.instances, Counter({FRAMES: frames, UNCHANGED: kept, COPIED: copied}))


@dataclass
class Report:
    """Everything a run has to say.

    Attributes
    ----------
    files : int
        Number of files looked at: each is an instance of a series, a copy of another file, not DICOM or failed.
    target : str
        The view that is made, enhanced or classic.
    """

    files: int = 0
    target: str = "enhanced"
    series: dict[str, Outcome] = field(default_factory=dict)
    duplicates: list[str] = field(default_factory=list)
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

    def account(self) -> Account:
        """Return what became of all instances, as a sum."""
        return sum((outcome.account(self.target) for outcome in self.series.values()), Account())

    def as_json(self) -> dict[str, Any]:
        """Return the report for programs."""
        return {
            "files": self.files,
            "account": self.account().as_json(),
            "series": [self._row(outcome) for outcome in self.series.values()],
            "duplicates": self.duplicates,
            "not_dicom": self.not_dicom,
            "failed": self.failed,
            "unresolved": self.unresolved,
            "unsigned": self.unsigned,
        }

    def _row(self, outcome: Outcome) -> dict[str, Any]:
        reasons = {name: dict(getattr(outcome, name)) for name in ("kept", "copied", "left_out")}
        return vars(outcome) | reasons | {"account": outcome.account(self.target).as_json()}


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
        for words, reasons in (("unchanged", outcome.kept), ("left out", outcome.left_out)):
            for reason, number in reasons.items():
                click.echo(f"    -> {number} {words}: {reason or NO_REASON}")
    if report.series:
        click.echo(report.account().words())
    if report.duplicates:
        click.echo(f"{count(len(report.duplicates), 'file')} left aside: equal to another file")
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
    """Print what was derived beside the images; rewritten copies, which may be many, by class and reason."""
    for made in outcome.companions:
        if not made["replaces"]:
            name = sop_class_name(made["sop_class"])
            click.echo(f"    -> {name} for {count(made['sources'], 'instance')}, {made['sop_instance']}")
    copies = ", ".join(sorted({sop_class_name(made["sop_class"]) for made in outcome.companions if made["replaces"]}))
    for reason, number in outcome.copied.items():
        of = f"{copies}, " if copies else ""
        click.echo(f"    -> {of}{count(number, 'copy', 'copies')} with updated references: {reason or NO_REASON}")


def sop_class_name(uid: str) -> str:
    """Return the standard's name of a SOP class without the word Storage."""
    return uid_name(uid).removesuffix(" Storage")
