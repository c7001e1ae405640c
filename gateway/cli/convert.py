"""``gateway convert``: files on disk to the complete enhanced or classic view, without a running box."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.common import json_option, print_json
from gateway.cli.outcome import Report, print_report
from gateway.objects.elements import text
from gateway.objects.stream import FileSource
from gateway.objects.uids import valid_uid

if TYPE_CHECKING:
    from gateway.conversion.classic import ClassicImage
    from gateway.conversion.facts import Facts
    from gateway.conversion.planned import Planned
    from gateway.conversion.study import Converted, Made, StudyConversion
    from gateway.conversion.updates import Update
    from gateway.objects.part10 import Header
    from gateway.objects.recipe import Recipe


# Why an instance is not in a view though nothing became of it but a rewritten copy.
FOLLOWED = "a copy with updated references takes its place"

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
@click.option("--plan", "plan_only", is_flag=True, help="Say what would become of the files; write nothing.")
@click.option("--explain", is_flag=True, help="Say of each group why it is one and what its frames have in common.")
@json_option
def command(
    sources: tuple[Path, ...], output: Path | None, target: str, plan_only: bool, explain: bool, as_json: bool
) -> None:
    """Convert files and folders: DIR then holds the complete view, passed-through objects included.

    Nothing is overwritten. Files that are not DICOM are listed and are no error.
    """
    if output is None and not plan_only:
        raise click.UsageError("-o DIR says where to write; --plan writes nothing")
    report = Report()
    topics = None if explain else PLAN_TOPICS if plan_only else ()
    patients = _read(sources, report, quiet=as_json)
    with tempfile.TemporaryDirectory(prefix=".gateway-", dir=_workplace(output)) as scratch:
        for files in patients.values():
            if target == "enhanced":
                _to_enhanced(files, None if plan_only else output, Path(scratch), report, topics)
            else:
                _to_classic(files, None if plan_only else output, Path(scratch), report)
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


def _read(sources: Iterable[Path], report: Report, *, quiet: bool) -> dict[tuple[str, ...], list[Facts]]:
    """Return the facts of the DICOM files by patient; identical copies count once."""
    from gateway.conversion.facts import gather
    from gateway.errors import ObjectError
    from gateway.objects.part10 import read_header
    from gateway.objects.recipe import digest_of

    patients: dict[tuple[str, ...], list[Facts]] = defaultdict(list)
    seen: set[tuple[str, str]] = set()
    with _progress(_files(sources), "reading", quiet) as files:
        for path in files:
            report.files += 1
            try:
                header = read_header(path)
                if not header.sop_class or not header.sop_instance:
                    raise ObjectError(path.name, "is no composite object")
            except (ObjectError, OSError) as error:
                (report.failed if _looks_dicom(path) else report.not_dicom).append(str(error))
                continue
            outcome = report.add(header)
            digest = digest_of(FileSource(path, header.dataset_offset))
            if (header.sop_instance, digest) in seen:
                outcome.kept["a copy of another file"] += 1
                continue
            seen.add((header.sop_instance, digest))
            patients[_scope(header)].append(gather(str(path), path, digest, header))
    return patients


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


def _to_enhanced(
    facts: list[Facts], output: Path | None, scratch: Path, report: Report, topics: tuple[str, ...] | None
) -> None:
    """Convert what there is of one patient and write the enhanced view; `topics` are those to explain, None for all."""
    from gateway.conversion.identity import Identity
    from gateway.conversion.study import convert_facts

    result = convert_facts(facts, lambda uid: scratch / f"{uid}.recipe", identity=Identity())
    for converted in result.objects:
        _take_object(converted, output, report)
        if topics != ():
            _explain(converted.planned, result, report, topics)
    for made in result.companions:
        _take_companion(made, output, report)
    for fact in facts:
        reason = result.kept.get(fact.name)
        if reason is None:
            continue
        outcome = report.series[fact.series]
        if "enhanced" not in result.views[fact.name]:
            outcome.kept[f"left out: {reason if fact.name in (*result.twins, *result.spare) else FOLLOWED}"] += 1
            continue
        outcome.kept[reason] += 1
        if output is not None:
            _copy(fact, output, report)
    report.unresolved |= result.unresolved
    report.unsigned += result.unsigned


def _take_object(converted: Converted, output: Path | None, report: Report) -> None:
    """Write one new object and enter it in the report."""
    planned, recipe = converted.planned, converted.recipe
    study, place = planned.frames[0].study, output or Path()
    target = _place(place, study, planned.series, planned.sop_instance, recipe.digest, report)
    row = {
        "sop_class": planned.sop_class,
        "sop_instance": planned.sop_instance,
        "frames": len(planned.frames),
        "proof": "every frame and element recovered",
        "file": str(target) if output else None,
    }
    report.series[planned.source_series].objects.append(row)
    if output is not None:
        _write_recipe(target, recipe, {fact.name: fact.path for fact in planned.frames}, report)


def _explain(planned: Planned, result: StudyConversion, report: Report, topics: tuple[str, ...] | None) -> None:
    """Enter why an object is one in the report."""
    from gateway.conversion.explain import explained
    from gateway.objects.part10 import read_header

    of_series = [made.planned for made in result.objects if made.planned.source_series == planned.source_series]
    row = report.series[planned.source_series].objects[-1]
    found = explained(planned, of_series, lambda fact: read_header(fact.path))
    row["explain"] = {topic: text for topic, text in found.items() if topics is None or topic in topics}


def _take_companion(made: Made, output: Path | None, report: Report) -> None:
    """Write an object that was derived beside the images and enter it in the report."""
    companion, recipe = made.companion, made.recipe
    target = _place(output or Path(), companion.study, companion.series, companion.sop_instance, recipe.digest, report)
    row = {
        "kind": companion.kind,
        "replaces": companion.replaces,
        "sop_class": companion.sop_class,
        "sop_instance": companion.sop_instance,
        "sources": len(companion.sources),
        "file": str(target) if output else None,
    }
    report.series[companion.sources[0].series].companions.append(row)
    if output is not None:
        by_name = {fact.name: fact.path for fact in companion.sources}
        _write_recipe(target, recipe, by_name, report)


def _write_recipe(target: Path, recipe: Recipe, by_name: dict[str, Path], report: Report) -> None:
    from gateway.objects.part10 import file_meta

    head = file_meta(recipe.sop_class, recipe.sop_instance, recipe.transfer_syntax)
    _write(target, itertools.chain([head], recipe.source(by_name.__getitem__).chunks()), report)


def _to_classic(facts: list[Facts], output: Path | None, scratch: Path, report: Report) -> None:
    """Turn the enhanced objects of one study back, or leave them out where their sources are at hand."""
    from gateway.conversion.classic import plan_classic
    from gateway.conversion.classic_copies import follow_back
    from gateway.conversion.identity import Identity
    from gateway.standard.sop_classes import ENHANCED_CLASSES

    plan = plan_classic(facts, Identity())
    copies = follow_back(facts, plan, Identity())
    images = itertools.groupby(plan.images, key=lambda image: image.sources[0])
    turned = {fact.name for fact, group in images if _turn_back(fact, list(group), output, scratch, report)}
    copied = {copy.source.name for copy in copies if _follow_back(copy, output, scratch, report)}
    for fact in facts:
        outcome = report.series[fact.series]
        if fact.name in plan.held:
            outcome.kept[f"left out: {plan.held[fact.name]}"] += 1
        elif fact.name in copied:
            outcome.kept[f"left out: {FOLLOWED}"] += 1
        elif fact.name not in turned:
            unchanged = "stays enhanced" if fact.sop_class in ENHANCED_CLASSES else "classic already"
            outcome.kept[plan.kept.get(fact.name, unchanged)] += 1
            if output is not None:
                _copy(fact, output, report)


def _turn_back(fact: Facts, images: list[ClassicImage], output: Path | None, scratch: Path, report: Report) -> bool:
    """Write the classic images of one enhanced object, all of them or, if one cannot be proved, none."""
    from gateway.errors import GatewayError
    from gateway.objects.part10 import file_meta
    from gateway.objects.recipe import seal

    recipes = []
    try:
        for image in images:
            recipes.append(image.build(scratch / f"{image.sop_instance}.recipe"))
            seal(recipes[-1], image.prove(recipes[-1]))
    except GatewayError as error:
        report.failed.append(str(error))
        return False
    for image, recipe in zip(images, recipes, strict=True) if output is not None else ():
        target = _place(output or Path(), fact.study, image.series, image.sop_instance, recipe.digest, report)
        head = file_meta(recipe.sop_class, recipe.sop_instance, recipe.transfer_syntax)
        _write(target, itertools.chain([head], recipe.source(lambda name: fact.path).chunks()), report)
        recipe.path.unlink()
    row = {"sop_class": images[0].sop_class, "sop_instance": fact.sop_instance, "frames": len(images)}
    row["proof"] = "every frame and element recovered"
    report.series[fact.series].objects.append(row)
    return True


def _follow_back(copy: Update, output: Path | None, scratch: Path, report: Report) -> bool:
    """Write what refers to classic images that were made now; False if it cannot be proved."""
    from gateway.conversion.study import Made
    from gateway.errors import GatewayError
    from gateway.objects.recipe import seal

    try:
        recipe = copy.build(scratch / f"{copy.sop_instance}.recipe")
        seal(recipe, copy.prove(recipe))
    except GatewayError as error:
        report.failed.append(str(error))
        return False
    _take_companion(Made(recipe, copy), output, report)
    return True


def _copy(fact: Facts, output: Path, report: Report) -> None:
    """Pass a file on as it is."""
    target = _place(output, fact.study, fact.series, fact.sop_instance, fact.digest, report)
    _write(target, FileSource(fact.path).chunks(), report)


def _place(output: Path, study: str, series: str, instance: str, digest: str, report: Report) -> Path:
    """Return the path for an instance: UIDs as folders, where they are UIDs, and a digest where one has that name."""
    names = [
        uid if valid_uid(uid) else hashlib.sha256(uid.encode()).hexdigest()[:16] for uid in (study, series, instance)
    ]
    target = output.joinpath(*names).with_name(f"{names[-1]}.dcm")
    if target in report.placed:
        target = target.with_name(f"{names[-1]}-{digest[:8]}.dcm")
    report.placed.add(target)
    return target


def _write(target: Path, chunks: Iterable[bytes], report: Report) -> None:
    """Write a file that appears complete or not at all, and never in place of another."""
    partial = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        _appear(partial, target)
    except FileExistsError:
        report.failed.append(f"{target}: exists already; nothing is overwritten")
    except OSError as error:
        report.failed.append(f"{target}: cannot be written: {error.strerror or error}")
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _appear(partial: Path, target: Path) -> None:
    """Give a complete file its name unless another has it; sticks and network shares may know no links."""
    try:
        os.link(partial, target)
    except FileExistsError:
        raise
    except OSError:
        if target.exists():
            raise FileExistsError(target) from None
        partial.rename(target)
