"""``gateway demo``: the main job end to end on the loopback, with a report that holds only what was measured."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.common import json_option, print_json
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.archive.index import Archive
    from gateway.archive.rows import InstanceRow
    from gateway.cli.evidence import Findings
    from gateway.cli.material import Material
    from gateway.cli.stage import Stage

PHANTOM_SLICES = 200
PHANTOM_SIZE = 512

# Longest time in which nothing changes before the demonstration gives up.
PATIENCE_SECONDS = 120
POLL_SECONDS = 0.2
EVERY_STUDY = 1_000_000


@click.command()
@click.option(
    "--from",
    "source",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Send the DICOM files in DIR and below instead of the generated and the bundled ones.",
)
@click.option(
    "--keep",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Leave what the PACS received in DIR/pacs, the report in DIR/report.json, the picture in DIR/montage.png.",
)
@json_option
def command(source: Path | None, keep: Path | None, as_json: bool) -> None:
    """Show the main job end to end, with nothing to configure.

    Starts a gateway and a PACS on the loopback, sends a generated CT of 200 slices and the series that come with
    pydicom, and prints what was received, what it became, the proof, and what reached the PACS. Exit status 0 only if
    every instance arrived exactly once with every frame and element.
    """
    from gateway.cli import report

    keep = keep and keep.absolute()  # the box's data directory is below it, and has no working directory
    if keep is not None and (keep / "pacs").exists():
        raise click.UsageError(f"{keep / 'pacs'} is there already; nothing is overwritten")
    with _workplace(keep) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's about broken objects, which are sent on purpose
        result = Demonstration(folder, quiet=as_json).run(source)
        picture = _put_away(folder, keep, result)
    result["montage"] = {**result["montage"], "path": str(picture) if picture else None}
    if keep is not None:
        report.save(keep / "report.json", result)
    if as_json:
        print_json(result)
    else:
        click.echo("\n".join(report.lines(result)))
    if result["problems"]:
        raise click.ClickException(f"{len(result['problems'])} of the promises not kept, see above")


def _ended(number: int, frame: object) -> None:
    # Not as KeyboardInterrupt: where that strikes inside an import, Python ends by SIGINT though it was handled.
    # Nor as an Exception, which whoever expects one of those could take for it.
    raise SystemExit(1)


@contextmanager
def _workplace(keep: Path | None) -> Iterator[Path]:
    """Yield a folder that is gone afterwards, on the file system where something is to be kept."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    # Whoever ends the demonstration wants box, PACS and files gone too.
    before = signal.signal(signal.SIGTERM, _ended)
    with ExitStack() as closing, tempfile.TemporaryDirectory(prefix="gateway-demo-", dir=keep) as folder:
        closing.callback(signal.signal, signal.SIGTERM, before)
        yield Path(folder)


def _put_away(folder: Path, keep: Path | None, result: dict[str, Any]) -> Path | None:
    """Move what shall stay out of the working folder; return where the picture is."""
    drawn = folder / "montage.png"
    if keep is None:
        if not drawn.exists():
            return None
        return Path(shutil.move(drawn, Path(tempfile.mkdtemp(prefix="gateway-demo-")) / drawn.name))
    (folder / "PACS").mkdir(exist_ok=True)
    (folder / "PACS").rename(keep / "pacs")
    if not drawn.exists():
        return None
    drawn.replace(keep / drawn.name)
    return keep / drawn.name


class Demonstration:
    """One run.

    Parameters
    ----------
    folder : Path
        Where everything of it is.
    quiet : bool
        Without progress bars.
    """

    def __init__(self, folder: Path, *, quiet: bool = False) -> None:
        self.folder = folder
        self.quiet = quiet

    def run(self, source: Path | None) -> dict[str, Any]:
        """Do it all and return the report."""
        from gateway.cli import pictures, report
        from gateway.cli.stage import CLASSIC, Stage

        began = time.monotonic()
        material = self._material(source)
        if not material.rows:
            raise click.ClickException(f"{source or 'pydicom'}: there is nothing to send, no DICOM object is there")
        with Stage(self.folder) as stage:
            taken, problems, intake_seconds = self._send(stage, material)
            status = self._wait(stage, len(taken), problems)
            problems += self._store(material, "Without the box", CLASSIC, stage.pacs_port)[1]
            proofs = _proofs(stage)
        findings = self._examine(material)
        sent = {row.sop_instance: Path(row.name) for row in material.rows}
        shown = pictures.draw(self.folder / "montage.png", findings.received, sent)
        result = report.make(material, taken, status, findings, proofs, stage, intake_seconds, problems)
        result["montage"] = {"objects": [found.sop_instance for found in shown]}
        result["seconds"] = round(time.monotonic() - began, 1)
        return result

    def _material(self, source: Path | None) -> Material:
        from gateway.cli import material, phantom

        if source is None:
            slices = phantom.write(self.folder / "phantom", PHANTOM_SLICES, PHANTOM_SIZE)
            paths = list(self._bar("Making a CT", slices, PHANTOM_SLICES))
            paths += material.files(material.bundled())
        else:
            paths = material.files(source)
        return material.collect(self._bar("Looking at files", paths, len(paths)))

    def _send(self, stage: Stage, material: Material) -> tuple[list[InstanceRow], list[str], float]:
        """Play the modality; return what the box took, what it did not take and why, and the seconds."""
        from gateway.cli.stage import BOX

        began = time.monotonic()
        taken, problems = self._store(material, "Sending to the box", BOX, stage.port)
        return taken, problems, time.monotonic() - began

    def _store(self, material: Material, label: str, called: str, port: int) -> tuple[list[InstanceRow], list[str]]:
        """Send everything, one by one, by the code that the box sends with."""
        from gateway.cli.stage import MODALITY
        from gateway.network.sender import Sender
        from gateway.retrieval.engine import Destination, run

        destination = Destination(called, "127.0.0.1", port, MODALITY)
        with self._progress(label, len(material.rows)) as step:
            done = run(material, material.rows, destination, Sender(), on_result=lambda row, outcome: step(1))
        taken, problems = [], []
        for row, outcome in zip(done.rows, done.outcomes, strict=True):
            if outcome is not None and outcome.delivered:
                taken.append(row)
            else:
                why = "not tried" if outcome is None else outcome.comment or f"status {outcome.status:04X}"
                problems.append(f"{row.name}: not taken by {called}: {why}")
        return taken, problems

    def _wait(self, stage: Stage, expected: int, problems: list[str]) -> dict[str, Any]:
        """Wait until the box is idle, and return its status."""
        from gateway.archive.index import Archive

        archive = Archive(stage.data_dir, readonly=True)
        try:
            with self._progress("Converting, delivering", expected) as step:
                status = _settle(archive, stage, step)
        finally:
            archive.close()
        problems += [
            f"study {study['study']}: {entry['destination']}: {entry['reason']}"
            for study in status["studies"]
            for entry in study["destinations"]
            if entry["state"] != "done"
        ]
        return status

    def _examine(self, material: Material) -> Findings:
        from gateway.cli.evidence import examine

        arrived = sorted((self.folder / "PACS").glob("*.dcm"))
        sent = {row.sop_instance: Path(row.name) for row in material.rows}
        return examine(self._bar("Comparing at the PACS", arrived, len(arrived)), sent)

    def _bar(self, label: str, values: Iterable[Any], length: int) -> Iterator[Any]:
        with self._progress(label, length) as step:
            for value in values:
                yield value
                step(1)

    @contextmanager
    def _progress(self, label: str, length: int) -> Iterator[Callable[[int], None]]:
        """Show a progress bar on a terminal; elsewhere nothing, so that output can be read by programs."""
        if self.quiet or not sys.stderr.isatty():
            yield lambda number: None
            return
        with click.progressbar(length=length, label=f"{label:<22}", file=sys.stderr, show_pos=True) as bar:
            yield bar.update


def _settle(archive: Archive, stage: Stage, step: Callable[[int], None]) -> dict[str, Any]:
    """Wait until nothing is pending and nothing has changed since the last look; return the status then."""
    from gateway.archive.status import box_status

    done, idle_before, changed = 0, False, time.monotonic()
    while True:
        stage.check()
        fresh = archive.jobs.changed()
        status = box_status(archive, limit=EVERY_STUDY)
        finished = sum(study["settled"] for study in status["studies"] if study["idle"])
        step(finished - done)
        done = finished
        if status["idle"] and idle_before and not fresh:
            return status
        idle_before = status["idle"]
        if fresh:
            changed = time.monotonic()
        if time.monotonic() - changed > PATIENCE_SECONDS:
            raise GatewayError("the box", f"has done nothing for {PATIENCE_SECONDS} s", found=_last(stage))
        time.sleep(POLL_SECONDS)


def _last(stage: Stage) -> str:
    return " / ".join(stage.log.read_text(encoding="utf-8").strip().splitlines()[-3:])


def _proofs(stage: Stage) -> dict[str, str]:
    """Return, by SOP Instance UID, the digest of each object the box proved before it sent it."""
    from gateway.archive.index import Archive
    from gateway.archive.rows import DERIVED
    from gateway.archive.views import View

    archive = Archive(stage.data_dir, readonly=True)
    try:
        rows = archive.select(View.ENHANCED)
    finally:
        archive.close()
    return {row.sop_instance: row.digest for row in rows if row.kind == DERIVED}
