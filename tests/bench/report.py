"""Tables: a row for each subject, a column for each measure, medians with the range and the ratio to the gateway."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

OURS = "gateway"


@dataclass(frozen=True)
class Measure:
    """A column.

    Attributes
    ----------
    name : str
        Its head, unit included.
    rising : bool
        Whether more is better.
    digits : int
        Digits after the point.
    aim : float
        No value of the gateway should be beyond it.
    compared : bool
        Whether there is better and worse, and so a ratio.
    """

    name: str
    rising: bool = False
    digits: int = 1
    aim: float | None = None
    compared: bool = True

    def ratio(self, ours: float, theirs: float) -> float:
        """Return how many times better the gateway is."""
        better, worse = (ours, theirs) if self.rising else (theirs, ours)
        return better / worse if worse else 0.0


@dataclass
class Table:
    """What one measurement has to say.

    Attributes
    ----------
    title : str
        What was measured.
    measures : sequence of Measure
        The columns.
    rows : dict
        Values by subject and measure, one for each run.
    baseline : str
        The subject that ratios are about; without one there are none.
    notes : list of str
        What has to be known to read it.
    """

    title: str
    measures: Sequence[Measure]
    rows: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    baseline: str = ""
    notes: list[str] = field(default_factory=list)

    def add(self, subject: str, *values: float | None) -> None:
        """Enter one run of a subject, values in the order of the measures."""
        row = self.rows.setdefault(subject, {})
        for measure, value in zip(self.measures, values, strict=True):
            if value is not None:
                row.setdefault(measure.name, []).append(value)

    def text(self) -> str:
        """Return the table as Markdown."""
        lines = [["", *(measure.name for measure in self.measures)]]
        lines += [[subject, *(self._cell(subject, measure) for measure in self.measures)] for subject in self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        lines.insert(1, ["-" * width for width in widths])
        body = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
        return "\n".join([f"## {self.title}", "", *body, "", *(f"- {note}" for note in self.notes)]) + "\n"

    def as_json(self) -> dict:
        """Return every single value."""
        return {"title": self.title, "baseline": self.baseline, "rows": self.rows, "notes": self.notes}

    def _cell(self, subject: str, measure: Measure) -> str:
        values = self.rows[subject].get(measure.name)
        if not values:
            return "-"
        median = statistics.median(values)
        cell = f"{median:.{measure.digits}f}"
        if len(values) > 1:
            cell += f" ({min(values):.{measure.digits}f}-{max(values):.{measure.digits}f})"
        ours = self.rows.get(self.baseline, {}).get(measure.name)
        if ours and measure.compared and subject != self.baseline:
            cell += f"  x{measure.ratio(statistics.median(ours), median):.2f}"
        if measure.aim is not None and subject.startswith(OURS):
            cell += "  aim met" if max(values) < measure.aim else f"  AIM {measure.aim:g} MISSED"
        return cell


RATIOS = f"x2.00 means that the {OURS} is twice as good; ranges are minimum and maximum of the runs"
