"""One table of everything there is an aim for: figure, peer, ratio, aim, reached or not; and the chart of it."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench import intake, latency, link, memory, retrieval, start, written
from tests.bench.report import OURS, Table


@dataclass(frozen=True)
class Row:
    """A line of the table: what is taken from which measurement.

    Attributes
    ----------
    work : str
        What is done.
    measurement : str
        The name of the measurement.
    table : str
        Beginning of the title of its table.
    measure : str
        The column.
    aim : float, optional
        Of the ratio to the peer, or of the figure itself if there is none; without one the figure is only stated.
    peer : str
        Pattern of the peer's subject; of several that match the last counts, the largest.
    ours : str
        Pattern of our own.
    at_least : bool
        Whether the aim is the least that will do, and not the most.
    """

    work: str
    measurement: str
    table: str
    measure: str
    aim: float | None = None
    peer: str = ""
    ours: str = OURS
    at_least: bool = False


@dataclass(frozen=True)
class Line:
    """A row with its figures; None where something was not measured."""

    work: str
    measure: str
    figure: float | None
    peer: str
    theirs: float | None
    ratio: float | None
    aim: float | None
    at_least: bool

    @property
    def compared(self) -> float | None:
        """What the aim is about, as the share of it where there is no peer."""
        if self.peer or self.figure is None:
            return self.ratio
        return self.figure / self.aim if self.aim else None

    @property
    def reached(self) -> bool | None:
        """Whether the aim is reached; None without an aim or a figure."""
        value = self.ratio if self.peer else self.figure
        if value is None or self.aim is None:
            return None
        return value >= self.aim if self.at_least else value <= self.aim

    def as_json(self) -> dict:
        """Return everything there is."""
        return {**asdict(self), "reached": self.reached}


SLOW_SENDER = "Intake of .* sender: DCMTK storescu"
FAST_SENDER = "Intake of .* sender: the gateway's own"
WHOLE = "Conversion of .* a whole process"
GROWTH = "Conversion by the gateway, more and more slices"
INSIDE = "Conversion inside the box"
READ = "reading the files once"
LONGEST = r"\d+ slices"
WALL = "wall s"

ROWS = (
    Row("intake, sender with Nagle's algorithm", "intake", SLOW_SENDER, "slices/s", 8, "Orthanc", at_least=True),
    Row("intake, sender with Nagle's algorithm", "intake", SLOW_SENDER, "slices/s", 8, "DCMTK storescp", at_least=True),
    Row("intake, sender without delays", "intake", FAST_SENDER, "slices/s", 2, "Orthanc", at_least=True),
    Row("intake, sender without delays", "intake", FAST_SENDER, "slices/s", 1, "DCMTK storescp", at_least=True),
    Row("intake, 8 associations", "intake", intake.MANY_TITLE, "slices/s", 1.7, intake.ONE, intake.MANY, at_least=True),
    Row("conversion to files", "conversion", WHOLE, WALL, 0.4, "highdicom"),
    Row("conversion to files", "conversion", WHOLE, WALL, 0.4, "PixelMed"),
    Row("conversion to files, 1 GB", "growth", GROWTH, WALL, 1.5, f"{LONGEST}, cat and sync", LONGEST),
    Row("conversion to files, 1 GB", "growth", GROWTH, "peak RSS MB", 100, ours=LONGEST),
    Row("conversion inside the box, 1 GB", "inside", INSIDE, WALL, 1.5, READ),
    Row("conversion inside the box, 1 GB, cold", "inside", INSIDE, WALL, 1.5, f"{READ}, cold", f"{OURS}, cold"),
    Row("last slice received to stored at Orthanc", "latency", latency.TITLE, "s", 0.5, latency.EACH),
    Row("last slice received to stored at Orthanc", "latency", latency.TITLE, "s", 0.5, latency.STABLE),
    Row("delivery over a slow line", "link", link.TITLE, "s", 0.35, link.CLASSIC),
    Row("delivery over a slow line", "link", link.TITLE, "s", 0.35, link.STORESCU),
    Row("delivery over a slow line, deflated", "link", link.TITLE, "s", 0.35, link.CLASSIC, link.DEFLATED),
    Row("delivery over a slow line, deflated", "link", link.TITLE, "s", 0.35, link.STORESCU, link.DEFLATED),
    Row("delivery over a slow line", "link", link.TITLE, "C-STOREs", 3),
    Row("memory, idle", "at-once", memory.AT_ONCE_TITLE, "idle MB", memory.IDLE_AIM_MB),
    Row("memory, all at once", "at-once", memory.AT_ONCE_TITLE, "peak MB", memory.PEAK_AIM_MB),
    Row("start, empty", "start", start.TITLE, "s", start.AIM_SECONDS, ours=start.EMPTY),
    Row("start, large index", "start", start.TITLE, "s", start.AIM_SECONDS, ours=rf"{OURS}, \d+ instances"),
    Row("written per byte, CT", "written", f"{written.TITLE}: .* CT", "per byte", written.AIM),
    Row("written per byte, MR of 30 KB", "written", f"{written.TITLE}: .* MR", "per byte"),
    *(
        Row(f"{way}, {view} view", "retrieval", f"{retrieval.TITLE} of .*, {way}", "s", None, "Orthanc", ours)
        for way in retrieval.WAYS
        for view, ours in (("classic", retrieval.CLASSIC), ("enhanced", retrieval.ENHANCED))
    ),
)
MEASURED = frozenset(row.measurement for row in ROWS)


def summarize(tables: Sequence[Table]) -> list[Line]:
    """Fill in the rows from what was measured."""
    return [_line(row, tables) for row in ROWS]


def _line(row: Row, tables: Sequence[Table]) -> Line:
    table = next((table for table in tables if re.match(row.table, table.title)), None)
    ours = _median(table, row.ours, row.measure)
    theirs = _median(table, row.peer, row.measure) if row.peer else None
    ratio = ours / theirs if ours is not None and theirs else None
    peer = _subject(table, row.peer) or row.peer if row.peer else ""
    return Line(row.work, row.measure, ours, peer, theirs, ratio, row.aim, row.at_least)


def _subject(table: Table | None, pattern: str) -> str | None:
    found = [subject for subject in table.rows if re.fullmatch(pattern, subject)] if table else []
    return found[-1] if found else None


def _median(table: Table | None, pattern: str, measure: str) -> float | None:
    subject = _subject(table, pattern)
    values = table.rows[subject].get(measure) if table and subject else None
    return statistics.median(values) if values else None


# As text

HEADS = ("", "", "gateway", "beside", "", "ratio", "aim", "")


def text(lines: Sequence[Line], facts: Sequence[str]) -> str:
    """Return the table as Markdown."""
    cells = [HEADS, *map(_cells, lines)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, tuple("-" * width for width in widths))
    body = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in cells]
    notes = [f"- {fact}" for fact in facts]
    return "\n".join(["## Everything there is an aim for", "", *body, "", *notes]) + "\n"


def _cells(line: Line) -> tuple[str, ...]:
    return (
        line.work,
        line.measure,
        number(line.figure),
        line.peer,
        number(line.theirs) if line.theirs is not None or not line.peer else "not measured",
        f"{number(line.ratio)}x" if line.ratio is not None else "",
        aim_of(line),
        {True: "reached", False: "MISSED", None: ""}[line.reached],
    )


def number(value: float | None) -> str:
    """Return three digits that count, and no more."""
    if value is None:
        return ""
    digits = 0 if not value else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(digits, 3)}f}"


def aim_of(line: Line) -> str:
    """Return the aim of a line as it is written."""
    if line.aim is None:
        return ""
    return f"{'>=' if line.at_least else '<='} {line.aim:g}{'x' if line.peer else ''}"


# As a picture

BAR, GAP, LEFT, WIDTH, RIGHT, TOP = 18, 8, 470, 620, 210, 60
GOOD, BAD, PLAIN, MARK, INK, GRID = "#2e7d32", "#c62828", "#607d8b", "#000000", "#212121", "#e0e0e0"


def draw(lines: Sequence[Line], facts: Sequence[str], path: Path) -> None:
    """Draw a bar for each ratio, or share of an aim without a peer, on a logarithmic scale, the aim marked."""
    from PIL import Image, ImageDraw, ImageFont

    shown = [line for line in lines if line.compared]
    marks = [_mark(line) for line in shown]
    values = [value for value in (*(line.compared for line in shown), *marks, 1) if value]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) + 0.01)
    height = TOP + len(shown) * (BAR + GAP) + 20 + 18 * len(facts)
    image = Image.new("RGB", (LEFT + WIDTH + RIGHT, height), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(13)

    def x_of(value: float) -> float:
        return LEFT + WIDTH * (math.log10(value) - low) / (high - low)

    pen.text((10, 8), "gateway / peer, or figure / aim where there is no peer; the mark is the aim", INK, font)
    bottom = TOP + len(shown) * (BAR + GAP)
    for power in range(low, high + 1):
        pen.line((x_of(10**power), TOP - 8, x_of(10**power), bottom), GRID if power else INK)
        pen.text((x_of(10**power), TOP - 24), f"{10.0**power:g}", INK, font, anchor="ma")
    for place, (line, mark) in enumerate(zip(shown, marks, strict=True)):
        top = TOP + place * (BAR + GAP)
        assert line.compared
        ends = sorted((x_of(1), x_of(line.compared)))
        pen.rectangle((ends[0], top, ends[1], top + BAR), {True: GOOD, False: BAD, None: PLAIN}[line.reached])
        if mark:
            pen.line((x_of(mark), top - 3, x_of(mark), top + BAR + 3), MARK, 3)
        label = f"{line.work}: {line.measure}" + (f" / {line.peer}" if line.peer else "")
        pen.text((LEFT - 8, top + 2), label, INK, font, anchor="ra")
        said = f"{number(line.ratio)}x" if line.peer else number(line.figure)
        pen.text((LEFT + WIDTH + 8, top + 2), f"{said}   {aim_of(line)}", INK, font)
    for place, fact in enumerate(facts):
        pen.text((10, bottom + 14 + 18 * place), fact, INK, font)
    image.save(path)


def _mark(line: Line) -> float | None:
    return line.aim if line.peer else 1.0 if line.aim else None
