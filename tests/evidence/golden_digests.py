"""Digests of everything that conversion makes, kept by edition: what they are of, and where they are written down.

Data set bytes only: the file meta information names the version of the package, which is no part of an object. Only
digests are kept, so that no data of a set is in the repository.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from blake3 import blake3
from conversion.enhanced_material import enhanced_of
from conversion.material import GSPS, STUDY, item, other, reference, save_all, series_of
from conversion.states import all_of, bitmap, embedded, overlay
from evidence.sets import Layer, files, gateway_convert
from pydicom import dcmread
from pydicom.dataset import Dataset

from gateway.conversion.identity import EDITION

FOLDER = Path(__file__).parent / "golden"

# Key of what a set was made of: pydicom comes with other files one day.
SOURCES = "sources"

RAISE = """\
{what} of edition {edition} has other bytes than before:
{differences}
One UID would stand for two contents, at a PACS that has the older one already. If the change is meant, raise EDITION in
gateway/conversion/identity.py and write down the digests of the new edition:
    GATEWAY_GOLDEN=write .venv/bin/pytest tests/evidence/test_golden.py
Digests that are written down are never replaced."""


def path_of(edition: int = EDITION) -> Path:
    """Return where the digests of an edition are."""
    return FOLDER / f"edition_{edition}.json"


def known(edition: int = EDITION) -> dict[str, dict[str, str]]:
    """Return the digests of an edition: by set, then by what was made."""
    path = path_of(edition)
    return json.loads(path.read_text()) if path.exists() else {}


def write_down(what: str, digests: dict[str, str]) -> None:
    """Add what is not written down yet."""
    found = known()
    found.setdefault(what, digests)
    path_of().write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


def data_set_digest(path: Path) -> str:
    """Return BLAKE3-128 of the data set of a file."""
    with path.open("rb") as file:
        start = file.read(144)
        assert start[128:132] == b"DICM"
        file.seek(144 + int.from_bytes(start[140:144], "little"))
        return blake3(file.read()).hexdigest(length=16)


def digests_of(views: dict[str, Path], received: Iterable[str]) -> dict[str, str]:
    """Return the digests of what was made for some views, by view and SOP Instance UID."""
    passed_on = set(received)
    found = {}
    for view, folder in views.items():
        for path in files(folder):
            uid = str(dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
            if uid not in passed_on:
                assert found.setdefault(f"{view} {uid}", digest := data_set_digest(path)) == digest
    return found


def of_set(layers: Iterable[Layer]) -> dict[str, str]:
    """Return the digests of what was made of a real set, there and back, and one of what it was made of."""
    found: dict[str, str] = {}
    sources = blake3()
    for layer in layers:
        made = digests_of({"enhanced": layer.enhanced, "classic": layer.classic}, layer.by_instance)
        assert all(found.get(what, digest) == digest for what, digest in made.items()), "a UID has two contents"
        found |= made
        for digest in sorted(blake3(path.read_bytes()).digest() for path in layer.sources):
            sources.update(digest)
    return found | {SOURCES: sources.hexdigest(length=16)}


def _references() -> list[Dataset]:
    """Two series, one of which refers to the other, and a presentation state of both."""
    mr = series_of("MR", count=2, series=STUDY + ".2")
    ct = series_of(count=2, change=[{"ReferencedImageSequence": [reference(ds)]} for ds in mr])
    listed = [
        item(SeriesInstanceUID=ds.SeriesInstanceUID, ReferencedImageSequence=[reference(ds)]) for ds in (mr[0], ct[1])
    ]
    return [*mr, *ct, other(GSPS, 1, {"Modality": "PR", "ReferencedSeriesSequence": listed})]


# What every kind of conversion makes, without any file: there is something to compare wherever the tests run.
KINDS: dict[str, Callable[[], list[Dataset]]] = {
    "CT": lambda: series_of("CT"),
    "MR": lambda: series_of("MR"),
    "PET": lambda: series_of("PT", change=[{"RescaleSlope": str(slope)} for slope in (1.5, 2.5, 3.5)]),
    "MONOCHROME1": lambda: series_of(change={"PhotometricInterpretation": "MONOCHROME1"}),
    "signed bits": lambda: series_of(change=all_of(embedded({}, 4, signed=1))),
    "overlays": lambda: series_of(change=[overlay(bitmap(1)), overlay(bitmap(2)), None]),
    "overlays in pixels": lambda: series_of(change=[embedded({12: 1, 15: 2}, 1), embedded({13: 3}, 2)]),
    "references": _references,
    "Enhanced CT": lambda: [enhanced_of("CT")],
    "Enhanced MR": lambda: [enhanced_of("MR")],
    "Enhanced PET": lambda: [enhanced_of("PT")],
}


def of_kind(kind: str, folder: Path) -> dict[str, str]:
    """Convert data sets that are made here, and turn the result back."""
    save_all(KINDS[kind](), folder / "in")
    gateway_convert(folder / "in", folder / "enhanced")
    gateway_convert(folder / "enhanced", folder / "classic", "--to", "classic")
    return digests_of_kind(kind, folder)


def digests_of_kind(kind: str, folder: Path) -> dict[str, str]:
    """Return the digests of what a kind has become, there and back."""
    sources = [str(ds.SOPInstanceUID) for ds in KINDS[kind]()]
    return digests_of({"enhanced": folder / "enhanced", "classic": folder / "classic"}, sources)


def differences(was: dict[str, str], now: dict[str, str]) -> list[str]:
    """Return how two sets of digests differ, for people; of other sources only what both have is compared."""
    alike = was.get(SOURCES) == now.get(SOURCES)
    words = {(True, False): "is made no more", (False, True): "is new", (True, True): "has other bytes"}
    return [
        f"  {what} {words[what in was, what in now]}"
        for what in sorted((was.keys() | now.keys() if alike else was.keys() & now.keys()) - {SOURCES})
        if was.get(what) != now.get(what)
    ]
