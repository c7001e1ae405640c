"""G1: output is a function of the contents of the sources and of nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conversion.material import STUDY, Conversion, convert, reference, save, series_of
from pydicom.dataset import Dataset

from gateway.conversion.identity import Identity

SCRIPT = """
import json, sys
from pathlib import Path
from conversion.material import convert
made = convert([Path(name) for name in sys.argv[2:]], Path(sys.argv[1]))
print(json.dumps({"streams": made.streams(), "kept": sorted(made.kept.values())}))
"""


def _sources() -> list[Dataset]:
    def change(ds: Dataset) -> None:
        ds.private_block(0x0019, f"ACME {ds.InstanceNumber}", create=True).add_new(1, "LO", "x")
        ds.ImageType = ["DERIVED", "PRIMARY", "AXIAL", ["MEAN", "MAXIMUM", "X"][ds.InstanceNumber % 3]]

    mr = series_of("MR", count=4, change=change, series=STUDY + ".2")
    return [*mr, *series_of(change=[{"ReferencedImageSequence": [reference(ds)]} for ds in mr])]


def _streams(made: Conversion) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in made.files}


@pytest.fixture
def first(tmp_path: Path) -> Conversion:
    paths = [save(ds, tmp_path / "in" / f"{n}.dcm") for n, ds in enumerate(_sources())]
    return convert(paths, tmp_path / "first")


def test_G1_order_names_and_places_of_the_files_do_not_matter(first: Conversion, tmp_path: Path) -> None:
    paths = [
        save(ds, tmp_path / "else where" / f"{n * 7 % 8}" / f"z{n}") for n, ds in reversed(list(enumerate(_sources())))
    ]
    os.utime(paths[0], (1, 1))
    again = convert(paths, tmp_path / "again")
    assert _streams(again) == _streams(first)
    assert len(first.files) == 2


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONHASHSEED": "1", "TZ": "Pacific/Chatham", "LC_ALL": "C"},
        {"PYTHONHASHSEED": "4711", "TZ": "UTC", "LC_ALL": "C.UTF-8", "LANG": "de_DE.UTF-8"},
    ],
    ids=["Chatham", "German"],
)
def test_G1_time_zone_locale_and_hash_seed_do_not_matter(first: Conversion, environment: dict, tmp_path: Path) -> None:
    tests = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "sub"), *(str(fact.path) for fact in first.facts[::-1])],
        env=os.environ | environment | {"PYTHONPATH": tests},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["streams"] == first.streams()


def test_G1_other_contents_give_other_uids(first: Conversion, tmp_path: Path) -> None:
    changed = _sources()
    changed[0].ImageComments = "changed"
    paths = [save(ds, tmp_path / "changed" / f"{n}.dcm") for n, ds in enumerate(changed)]
    again = convert(paths, tmp_path / "again")
    # The CT series refers to the MR one, so that its bytes change; its UIDs hang on its own contents.
    assert len(first.streams().keys() & again.streams().keys()) <= 1
    assert not set(first.streams().values()) & set(again.streams().values())


def test_the_seed_makes_other_uids_of_the_same_images(first: Conversion, tmp_path: Path) -> None:
    again = convert([fact.path for fact in first.facts], tmp_path / "again", identity=Identity(seed="another box"))
    assert not first.streams().keys() & again.streams().keys()
    assert {ds.SeriesInstanceUID for ds in again.objects}.isdisjoint({ds.SeriesInstanceUID for ds in first.objects})


def test_every_setting_that_enters_the_bytes_enters_the_uid(first: Conversion, tmp_path: Path) -> None:
    paths = [fact.path for fact in first.facts]
    for setting in ("manufacturer", "model", "institution", "station"):
        again = convert(paths, tmp_path / setting, identity=Identity(**{setting: "elsewhere"}))
        assert not first.streams().keys() & again.streams().keys()


def test_one_UID_never_stands_for_two_contents(tmp_path: Path) -> None:
    """An object that refers to others depends on what became of them: alone it is another object than together."""
    mr = series_of("MR", count=2, series=STUDY + ".2")
    ct = series_of(count=2, change=[{"ReferencedImageSequence": [reference(ds)]} for ds in mr])
    further = series_of(
        count=2, series=STUDY + ".5", change=[{"ReferencedImageSequence": [reference(ds)]} for ds in ct]
    )
    seen: dict[str, bytes] = {}
    for number, sources in enumerate(([*mr, *ct, *further], [*ct, *further], further, [*mr, *further], [*mr, *ct])):
        folder = tmp_path / str(number)
        paths = [save(ds, folder / "in" / f"{n}.dcm") for n, ds in enumerate(sources)]
        for name, content in _streams(convert(paths, folder / "out")).items():
            assert seen.setdefault(name, content) == content, f"{name} has two contents"
    assert len(seen) > 5
