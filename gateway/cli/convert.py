"""``gateway convert``: files on disk to the complete enhanced or classic view, without a running box."""

from __future__ import annotations

import re
import sys
import tempfile
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.common import json_option, print_json
from gateway.cli.outcome import Report, print_report
from gateway.cli.writing import Writer
from gateway.conversion.headers import Headers
from gateway.objects.checked import OTHER_BYTES, damaged
from gateway.objects.elements import text
from gateway.objects.stream import FileSource

if TYPE_CHECKING:
    from gateway.conversion.facts import Facts
    from gateway.conversion.outcome import Converted, Made, StudyConversion
    from gateway.conversion.planned import Planned
    from gateway.objects.part10 import Header

# Files whose digests may lag behind the reading of headers.
DIGESTED_AHEAD = 4

# Names that the box gives to what it receives begin with the digest of its data set.
_OF_THE_BOX = re.compile(r"([0-9a-f]{32})-[0-9a-f]{16}")

# Why an instance is left out of the classic view.
AT_HAND = "the classic images it was made of are at hand"
COPY_AT_HAND = "what it is a copy of is at hand"

# What a plan says of every object; --explain says the rest as well.
PLAN_TOPICS = ("why", "apart", "part", "order", "dimensions", "stacks")


@click.command("convert")
@click.argument("sources", metavar="SRC...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--output", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), help="Where to write.")
@click.option(
    "--to",
    "target",
    type=click.Choice(["enhanced", "classic"]),
    default="enhanced",
    help="The view to make.",
    show_default=True,
)
@click.option(
    "--four-d",
    type=click.Choice(["volumes", "one"]),
    default="volumes",
    help="An object for each volume of a series, or one object where readers can tell all volumes apart.",
    show_default=True,
)
@click.option(
    "--suitability",
    type=click.Choice(["standard", "safe"]),
    default="standard",
    help="safe: what most readers cannot show right as an enhanced object stays classic.",
    show_default=True,
)
@click.option("--plan", "plan_only", is_flag=True, help="Say what would become of the files; write nothing.")
@click.option("--explain", is_flag=True, help="Say of each group why it is one and what its frames have in common.")
@json_option
def command(
    sources: tuple[Path, ...],
    output: Path | None,
    target: str,
    four_d: str,
    suitability: str,
    plan_only: bool,
    explain: bool,
    as_json: bool,
) -> None:
    """Convert files and folders: DIR then holds the complete view, passed-through objects included.

    Nothing is overwritten. Files that are not DICOM are listed and are no error.
    """
    if output is None and not plan_only:
        raise click.UsageError("-o DIR says where to write; --plan writes nothing")
    report = Report(target=target)
    topics = None if explain else PLAN_TOPICS if plan_only else ()
    headers = Headers()
    patients = _read(sources, report, headers, quiet=as_json)
    with tempfile.TemporaryDirectory(prefix=".gateway-", dir=_workplace(output)) as folder:
        scratch = Path(folder)
        writer = None if output is None or plan_only else Writer(output, scratch, report)
        try:
            for files in patients.values():
                if target == "enhanced":
                    if suitability == "safe":
                        files = _kept_safe(files, headers, scratch, four_d)
                    _to_enhanced(files, headers, writer, scratch, report, topics, four_d)
                else:
                    _to_classic(files, writer, scratch, report)
        finally:
            if writer is not None:
                writer.close()
    print_json(report.as_json()) if as_json else print_report(report, output)
    if report.failed:
        raise click.exceptions.Exit(1)


def _workplace(output: Path | None) -> Path | None:
    """Return where recipes can be written beside the result; elsewhere when nothing is."""
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
    return output


def _files(sources: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for source in sources:
        found += sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
    return list(dict.fromkeys(found))


def _read(
    sources: Iterable[Path], report: Report, headers: Headers, *, quiet: bool
) -> dict[tuple[str, ...], list[Facts]]:
    """Return the facts of the DICOM files by patient; identical copies count once."""
    from gateway.conversion.facts import gather

    patients: dict[tuple[str, ...], list[Facts]] = defaultdict(list)
    seen: set[tuple[str, str]] = set()
    with _progress(_files(sources), "reading", quiet) as files:
        for header, digest in _digested(files, headers, report):
            if (header.sop_instance, digest) in seen:
                report.duplicates.append(str(header.path))
                continue
            report.add(header)
            seen.add((header.sop_instance, digest))
            fact = gather(str(header.path), header.path, digest, header)
            headers.keep(fact, header)
            patients[_scope(header)].append(fact)
    return patients


def _digested(files: Iterable[Path], headers: Headers, report: Report) -> Iterator[tuple[Header, str]]:
    """Yield header and digest of every usable file; files are digested while the headers of the next are read."""
    from gateway.errors import ObjectError
    from gateway.objects.recipe import digest_of

    ahead: deque[tuple[Header, Future[str]]] = deque()
    with ThreadPoolExecutor(2, "digest") as worker:
        for path in files:
            report.files += 1
            try:
                header = headers.read(path)
                if not header.sop_class or not header.sop_instance:
                    raise ObjectError(path.name, "is no composite object")
            except (ObjectError, OSError) as error:
                (report.failed if _looks_dicom(path) else report.not_dicom).append(str(error))
                continue
            source = FileSource(path, header.dataset_offset, header.size - header.dataset_offset)
            ahead.append((header, worker.submit(digest_of, source)))
            if len(ahead) > DIGESTED_AHEAD:
                yield from _right(*ahead.popleft(), report)
        for header, digest in ahead:
            yield from _right(header, digest, report)


def _right(header: Header, digest: Future[str], report: Report) -> Iterator[tuple[Header, str]]:
    """Yield header and digest of a file, unless it is one of a box's data directory and not what the box received."""
    name = _OF_THE_BOX.fullmatch(header.path.stem)
    if name is None or name[1] == digest.result():
        yield header, digest.result()
    else:
        report.failed.append(str(damaged(header.path.name, OTHER_BYTES)))


def _scope(header: Header) -> tuple[str, ...]:
    """Return what tells one patient from another: Patient ID and issuer; without an ID, the study."""
    patient, issuer = (text(header.dataset, keyword) for keyword in ("PatientID", "IssuerOfPatientID"))
    return (patient, issuer) if patient else (header.study,)


def _looks_dicom(path: Path) -> bool:
    """Tell whether a file that cannot be used should have been usable: one that cannot be opened should."""
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM" and not path.name.upper().startswith("DICOMDIR")
    except OSError:
        return True


def _progress(items: list[Path], label: str, quiet: bool) -> Any:
    return click.progressbar(items, label=label, file=sys.stderr, hidden=quiet or not sys.stderr.isatty())


def _kept_safe(facts: list[Facts], headers: Headers, scratch: Path, four_d: str) -> list[Facts]:
    """Return the facts with a reason to stay classic for what most readers cannot show right and what is tied to it."""
    from gateway.conversion.identity import Identity
    from gateway.conversion.study import convert_facts
    from gateway.conversion.suitability import tied_series, unsuitable

    result = convert_facts(
        facts,
        lambda uid: scratch / f"{uid}.recipe",
        identity=Identity(four_d=four_d),
        headers=headers,
        views=("enhanced",),
    )
    unfit: dict[str, str] = {}
    both: set[str] = set()
    for converted in result.objects:
        converted.recipe.path.unlink(missing_ok=True)
        both.update(fact.name for fact in converted.planned.frames)
        reason = unsuitable(converted.planned.frames)
        if reason:
            unfit.setdefault(converted.planned.source_series, f"{reason}, which most readers show wrongly")
    for made in result.companions:
        made.recipe.path.unlink(missing_ok=True)
        if made.companion.replaces:
            both.update(fact.name for fact in made.companion.sources)
    classic = tied_series(facts, both, unfit)
    return [
        replace(fact, reason=classic[fact.series]) if fact.series in classic and not fact.reason else fact
        for fact in facts
    ]


def _to_enhanced(
    facts: list[Facts],
    headers: Headers,
    writer: Writer | None,
    scratch: Path,
    report: Report,
    topics: tuple[str, ...] | None,
    four_d: str,
) -> None:
    """Convert what there is of one patient and write the enhanced view; `topics` are those to explain, None for all."""
    from gateway.conversion.account import COPIED, UNCHANGED, fates
    from gateway.conversion.identity import Identity
    from gateway.conversion.study import convert_facts

    result = convert_facts(
        facts,
        lambda uid: scratch / f"{uid}.recipe",
        identity=Identity(four_d=four_d),
        headers=headers,
        sink=None if writer is None else writer.sink,
        views=("enhanced",),
    )
    for converted in result.objects:
        _take_object(converted, writer, report)
        if topics != ():
            _explain(converted.planned, result, report, topics)
    for made in result.companions:
        _take_companion(made, writer, report)
    for fact, fate, reason in fates(facts, result):
        outcome = report.series[fact.series]
        if fate == COPIED:
            outcome.copied[reason] += 1
        elif fate == UNCHANGED:
            outcome.kept[reason] += 1
        elif fact.name in result.twins:
            outcome.left_out[reason] += 1
        if writer is not None and "enhanced" in result.views[fact.name]:
            _copy(fact, writer)
    report.unresolved |= result.unresolved
    report.unsigned += result.unsigned


def _take_object(converted: Converted, writer: Writer | None, report: Report) -> None:
    """Write one new object and enter it in the report."""
    planned, recipe = converted.planned, converted.recipe
    target = None
    if writer is not None:
        target = writer.finish(recipe, _paths(planned.frames), planned.frames[0].study, planned.series)
    row = {
        "sop_class": planned.sop_class,
        "sop_instance": planned.sop_instance,
        "frames": len(planned.frames),
        "proof": "every frame and element recovered",
        "file": str(target) if target else None,
    }
    report.series[planned.source_series].objects.append(row)


def _paths(facts: Iterable[Facts]) -> Callable[[str], Path]:
    """Return where the named sources are."""
    return {fact.name: fact.path for fact in facts}.__getitem__


def _explain(planned: Planned, result: StudyConversion, report: Report, topics: tuple[str, ...] | None) -> None:
    """Enter why an object is one in the report."""
    from gateway.conversion.explain import explained
    from gateway.objects.part10 import read_header

    of_series = [made.planned for made in result.objects if made.planned.source_series == planned.source_series]
    row = report.series[planned.source_series].objects[-1]
    found = explained(planned, of_series, lambda fact: read_header(fact.path))
    row["explain"] = {topic: text for topic, text in found.items() if topics is None or topic in topics}


def _take_companion(made: Made, writer: Writer | None, report: Report) -> None:
    """Write an object that was derived beside the images and enter it in the report."""
    companion, recipe = made.companion, made.recipe
    target = writer and writer.finish(recipe, _paths(companion.sources), companion.study, companion.series)
    row = {
        "kind": companion.kind,
        "replaces": companion.replaces,
        "sop_class": companion.sop_class,
        "sop_instance": companion.sop_instance,
        "sources": len(companion.sources),
        "file": str(target) if target else None,
    }
    report.series[companion.sources[0].series].companions.append(row)


def _to_classic(facts: list[Facts], writer: Writer | None, scratch: Path, report: Report) -> None:
    """Turn the enhanced objects of one patient back and write the classic view."""
    from gateway.conversion.classic import ClassicImage
    from gateway.conversion.identity import Identity
    from gateway.conversion.study import convert_facts

    result = convert_facts(facts, lambda uid: scratch / f"{uid}.recipe", identity=Identity(), views=("classic",))
    images: dict[str, list[Made]] = defaultdict(list)
    for made in result.companions:
        if isinstance(made.companion, ClassicImage):
            images[made.companion.sources[0].name].append(made)
        else:
            _take_companion(made, writer, report)
    for fact in facts:
        outcome = report.series[fact.series]
        if fact.name in images:
            _take_images(fact, images[fact.name], writer, report)
        elif "classic" in result.views[fact.name]:
            alone = fact.name in result.kept and fact.name not in result.twins
            outcome.kept[result.kept[fact.name] if alone else "classic already"] += 1
            if writer is not None:
                _copy(fact, writer)
        elif fact.sop_instance in result.standing:
            outcome.left_out[AT_HAND] += 1
        elif fact.name in result.at_hand:
            outcome.left_out[COPY_AT_HAND] += 1
        else:
            outcome.copied[result.kept.get(fact.name, "")] += 1
    report.unresolved |= result.unresolved
    report.unsigned += result.unsigned


def _take_images(fact: Facts, images: list[Made], writer: Writer | None, report: Report) -> None:
    """Write the classic images of one enhanced object."""
    for made in images:
        if writer is not None:
            writer.finish(made.recipe, lambda name: fact.path, fact.study, made.companion.series)
        made.recipe.path.unlink()
    row = {"sop_class": images[0].companion.sop_class, "sop_instance": fact.sop_instance, "frames": len(images)}
    row["proof"] = "every frame and element recovered"
    report.series[fact.series].objects.append(row)


def _copy(fact: Facts, writer: Writer) -> None:
    """Pass a file on as it is."""
    writer.write(FileSource(fact.path).chunks(), fact.study, fact.series, fact.sop_instance, fact.digest)
