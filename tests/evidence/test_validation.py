"""dciodvfy and dcentvfy over everything that conversion makes of every set (G5, G9).

Counted is what an object has and its sources have not, but for the rows below.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from evidence.sets import Layer, files, names
from evidence.test_round_trip import converted
from pydicom import dcmread
from tools import need

# dciodvfy, not at fault: (part of what it says, reason). The first two are false (it misreads the class).
REMAINS = (
    ("UnassignedPerFrameConvertedAttributesSequence", "false: Type 2 of a frame that has no such attribute"),
    ("present but Instance does not reference Instances", "false: it does not look into functional groups"),
    ("ReferencedImageEvidenceSequence: Missing", "E47: nobody holds the targets; their series may not be guessed"),
    ("SourceImageEvidenceSequence: Missing", "E47: nobody holds the targets; their series may not be guessed"),
    ("SliceThickness: Missing", "Type 2 in a classic image and empty there; 1C in Pixel Measures; not to be made up"),
)  # fmt: skip
# What a value is called in a source, where conversion gives it another name.
RENAMED = {"ReferencedSOPInstanceUID": "SOPInstanceUID"}


def current() -> str:
    """Return today's dciodvfy, which the package dicom3tools brings beside Python; Debian's is of 2022."""
    return need(str(Path(sys.executable).with_name("dciodvfy")))


def told(path: Path, program: str = "") -> set[str]:
    """Return dciodvfy's errors as attribute and complaint: places differ between a source and an object."""
    done = subprocess.run([program or need("dciodvfy"), "-new", str(path)], capture_output=True)
    lines, found = done.stderr.decode("latin-1").splitlines(), set()
    assert lines, f"{path}: dciodvfy did not say what it is"
    for line in lines:
        if line.startswith("Error"):
            place, _, rest = line.removeprefix("Error - ").partition("> - ")
            name = re.sub(r"\(.*", "", re.sub(r".*/", "", place)).lstrip("<")
            complaint = re.sub(r" for Type \w+ (Required|Conditional)|- Module=.*|\[[0-9]+]", "", rest)
            found.add(f"{RENAMED.get(name, name)}: {complaint.strip()}")
    return found


def unexplained(path: Path, sources: Iterable[Path], program: str = "") -> set[str]:
    """Return errors of an object that no row explains and none of its sources has."""
    left = {error for error in told(path, program) if not any(part in error for part, _ in REMAINS)}
    for source in sources:
        if not left:
            break
        left -= told(source, program)
    return left


def sources_of(path: Path, layer: Layer) -> list[Path]:
    ds = dcmread(path, stop_before_pixels=True)
    found = []
    for item in (ds, *ds.get("PerFrameFunctionalGroupsSequence", ())):
        for source in item.get("ConversionSourceAttributesSequence", ()):
            if source.ReferencedSOPInstanceUID in layer.by_instance:
                found.append(layer.by_instance[source.ReferencedSOPInstanceUID])
    return found


@pytest.mark.parametrize("program", [lambda: need("dciodvfy"), current], ids=["Debian's", "today's"])
@pytest.mark.parametrize("name", names())
def test_G5_dciodvfy_finds_nothing_that_the_sources_do_not_have(
    name: str, program: Callable[[], str], swept: Callable[[str], list[Layer]], figures: Callable[..., None]
) -> None:
    found, objects = {}, 0
    for layer in swept(name):
        for path in layer.made:
            objects += 1
            if left := unexplained(path, sources_of(path, layer), program()):
                found[path.name] = left
    figures("dciodvfy", name, objects=objects, errors=sum(map(len, found.values())))
    assert found == {}


@pytest.mark.parametrize("name", names())
def test_K1_K2_dciodvfy_finds_nothing_in_what_is_turned_back_that_was_not_there_before(
    name: str, swept: Callable[[str], list[Layer]], figures: Callable[..., None]
) -> None:
    """One image of each object that was turned back: what this one made, and what others did."""
    found, images = {}, 0
    for layer in swept(name):
        received = {path.read_bytes() for path in layer.sources}
        origins = {again: source for source, again in converted(layer)}
        series: set[str] = set()
        for path in files(layer.classic):
            ds = dcmread(path, stop_before_pixels=True)
            if ds.get("SeriesInstanceUID") in series or path.read_bytes() in received:
                continue
            series.add(ds.SeriesInstanceUID)
            images += 1
            original = origins.get(path) or layer.by_instance.get(ds.SOPInstanceUID)
            before = [original] if original else sources_of(path, layer)
            if left := unexplained(path, before):
                found[path.name] = left
    figures("dciodvfy, classic", name, images=images, errors=sum(map(len, found.values())))
    assert found == {}


def doubtful(paths: Iterable[Path]) -> tuple[set[str], set[str]]:
    """Return the attributes about which dcentvfy has errors, and those of errors and warnings."""
    done = subprocess.run([need("dcentvfy"), *map(str, paths)], capture_output=True)
    lines = done.stderr.decode("latin-1").splitlines()
    found = [(line, name[1]) for line in lines if (name := re.search(r"Element=<(\w+)>", line))]
    return {name for line, name in found if line.startswith("Error")}, {name for _, name in found}


@pytest.mark.parametrize("name", names())
def test_G9_dcentvfy_finds_patients_and_studies_as_consistent_as_before(
    name: str, swept: Callable[[str], list[Layer]], figures: Callable[..., None]
) -> None:
    errors, warnings = set(), set()
    for layer in swept(name):
        before, after = doubtful(layer.sources), doubtful(files(layer.enhanced))
        errors |= after[0] - before[0]
        warnings |= after[1] - before[1]
    figures("dcentvfy", name, errors=len(errors), warnings=len(warnings))
    assert errors == set()
    assert warnings == set()


def test_every_remaining_row_says_why() -> None:
    assert all(reason for _, reason in REMAINS)
