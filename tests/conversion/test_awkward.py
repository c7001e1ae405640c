"""Awkward folders: nothing is refused as a whole, nothing is dropped silently, each file is accounted for (G3, E4)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from conversion.material import SERIES, STUDY, frames_of, save, save_all, series_of, slice_of
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian, RLELossless
from real_data import names, need_set

from gateway.cli.main import main


@dataclass
class Outcome:
    """A folder that was converted: the report, and what is in the view."""

    report: dict[str, Any]
    files: list[Dataset]
    exit_code: int

    @property
    def made(self) -> list[int]:
        return sorted(row["frames"] for series in self.report["series"] for row in series["objects"])

    @property
    def kept(self) -> Counter:
        found: Counter = Counter()
        for series in self.report["series"]:
            found.update(series["kept"])
        return found


def converted(folder: Path, output: Path) -> Outcome:
    """Convert a folder as a user does, and check that every file and every source is accounted for."""
    done = CliRunner().invoke(main, ["convert", str(folder), "-o", str(output), "--json"])
    report = json.loads(done.stdout)
    files = [dcmread(path) for path in sorted(output.rglob("*.dcm"))]
    assert report["files"] == sum(path.is_file() for path in folder.rglob("*"))
    parts = ("kept", "copied", "left_out")
    for series in report["series"]:
        frames = sum(row["frames"] for row in series["objects"])
        assert series["instances"] == frames + sum(sum(series[part].values()) for part in parts)
        assert all(all(series[part]) for part in parts), "an instance has no reason"
    instances = sum(series["instances"] for series in report["series"])
    aside = [*report["duplicates"], *report["not_dicom"], *report["failed"]]
    assert report["files"] == instances + len(aside)
    account = report["account"]
    assert account["received"] == instances == account["frames"] + account["unchanged"] + account["copied"]
    # In the view is each source: as a frame that names it, as it came, or as a copy that refers to new objects.
    named = Counter(
        frame.ConversionSourceAttributesSequence[0].ReferencedSOPInstanceUID
        for ds in files
        if "QueryRetrieveView" in ds and "PerFrameFunctionalGroupsSequence" in ds
        for frame in frames_of(ds)
        if "ConversionSourceAttributesSequence" in frame  # a segmentation that was rewritten has it at the top
    )
    passed = sum("QueryRetrieveView" not in ds for ds in files)
    copies = [ds for ds in files if "QueryRetrieveView" in ds and _is_copy(ds)]
    assert len(copies) == account["copied"]
    left = sum(n for series in report["series"] for n in series["left_out"].values())
    assert sum(named.values()) == account["frames"] - left
    assert passed == account["unchanged"]
    assert max(named.values(), default=1) == 1
    return Outcome(report, files, done.exit_code)


def _is_copy(ds: Dataset) -> bool:
    """Tell a rewritten copy: what it was made of is named at the top, and is of its class."""
    sources = ds.get("ConversionSourceAttributesSequence") or []
    return len(sources) == 1 and sources[0].ReferencedSOPClassUID == ds.SOPClassUID


def of(datasets: Iterable[Dataset], tmp_path: Path) -> Outcome:
    save_all(datasets, tmp_path / "in")
    return converted(tmp_path / "in", tmp_path / "out")


def placed(*places: float, **more: Any) -> list[dict]:
    return [{"ImagePositionPatient": [0, 0, place], **more} for place in places]


def test_two_series_mixed(tmp_path: Path) -> None:
    one, two = series_of(count=4), series_of("MR", count=3, series=STUDY + ".2")
    found = of([one[0], two[0], one[1], two[2], one[3], two[1], one[2]], tmp_path)
    assert found.made == [3, 4]


def test_missing_positions(tmp_path: Path) -> None:
    found = of(series_of(change=placed(0, 5, 15, 30)), tmp_path)
    assert found.made == [4]
    (ds,) = found.files
    assert [frame.FrameContentSequence[0].InStackPositionNumber for frame in frames_of(ds)] == [1, 2, 3, 4]


def test_duplicate_positions(tmp_path: Path) -> None:
    found = of(series_of(change=placed(0, 5, 5, 10, 15)), tmp_path)
    assert found.made == [5]
    values = {tuple(frame.FrameContentSequence[0].DimensionIndexValues) for frame in frames_of(found.files[0])}
    assert len(values) == 5


def test_mixed_rows(tmp_path: Path) -> None:
    small = {"Rows": 4, "PixelData": bytes(64)}
    assert of(series_of(change=[None, small, None, small, None]), tmp_path).made == [2, 3]


def test_mixed_transfer_syntaxes(tmp_path: Path) -> None:
    for number, ds in enumerate(series_of(count=6)):
        save(ds, tmp_path / "in" / f"{number}.dcm", RLELossless if number % 2 else ImplicitVRLittleEndian)
    assert converted(tmp_path / "in", tmp_path / "out").made == [3, 3]


def test_mixed_character_sets(tmp_path: Path) -> None:
    found = of(series_of(change=[None, {"SpecificCharacterSet": "ISO_IR 192"}, None]), tmp_path)
    assert found.made == [1, 2]
    assert {str(ds.PatientName) for ds in found.files} == {"Doe^J\xf6rg"}


def test_identical_uids_with_different_content(tmp_path: Path) -> None:
    sources = series_of(count=4)
    again = slice_of(number=2, change={"ImageComments": "again"})
    found = of([*sources, again], tmp_path)
    assert found.made == [3]
    assert found.kept == {"another file has the same SOP Instance UID": 2}
    assert sum(ds.SOPInstanceUID == again.SOPInstanceUID for ds in found.files) == 2


def test_T15_copies_count_once(tmp_path: Path) -> None:
    sources = series_of(count=3)
    found = of([*sources, sources[1]], tmp_path)
    assert found.made == [3]
    assert found.kept == {}
    assert len(found.report["duplicates"]) == 1


@pytest.mark.parametrize(
    ("keyword", "made"),
    [("KVP", [4]), ("SeriesDescription", [4]), ("Manufacturer", [4]), ("WindowCenter", [4]), ("PatientSex", [1, 3])],
)
def test_one_attribute_missing_in_one_slice(keyword: str, made: list[int], tmp_path: Path) -> None:
    # Only what is of the patient or study sets a slice apart (G17): the text leaves no room there.
    assert of(series_of(change=[None, None, {keyword: None}, None]), tmp_path).made == made


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "PixelSpacing"])
def test_one_slice_without_geometry(keyword: str, tmp_path: Path) -> None:
    found = of(series_of(change=[None, {keyword: None}, None]), tmp_path)
    assert found.made == [2]
    assert found.kept == {f"{keyword} is missing": 1}


@pytest.mark.parametrize("value", [b"nan", b"inf"])
def test_T15_a_position_that_is_no_number_is_said_to_be_one(value: bytes, tmp_path: Path) -> None:
    paths = save_all(series_of(count=3), tmp_path / "in")
    data = paths[1].read_bytes()
    at = data.index(b"\x20\0\x32\0DS") + 8
    length = int.from_bytes(data[at - 2 : at], "little")
    paths[1].write_bytes(data[:at] + (b"0\\0\\" + value).ljust(length) + data[at + length :])
    found = converted(tmp_path / "in", tmp_path / "out")
    (reason,) = found.kept
    assert reason == f"ImagePositionPatient holds a value that is no number of finite size: 0\\0\\{value.decode()}"


@pytest.mark.parametrize("cut", [3, 60, 200])
def test_one_slice_truncated(cut: int, tmp_path: Path) -> None:
    paths = save_all(series_of(count=4), tmp_path / "in")
    paths[1].write_bytes(paths[1].read_bytes()[:-cut])
    found = converted(tmp_path / "in", tmp_path / "out")
    assert found.made == [3]
    assert len(found.report["failed"]) + sum(found.kept.values()) == 1
    assert found.exit_code == (1 if found.report["failed"] else 0)


def test_one_header_cut_off(tmp_path: Path) -> None:
    paths = save_all(series_of(count=4), tmp_path / "in")
    paths[1].write_bytes(paths[1].read_bytes()[:400])
    found = converted(tmp_path / "in", tmp_path / "out")
    assert found.made == [3]
    assert len(found.report["failed"]) == 1
    assert found.exit_code == 1


def test_colour(tmp_path: Path) -> None:
    def color(ds: Dataset) -> None:
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
        ds.BitsAllocated = ds.BitsStored = 8
        ds.HighBit, ds.PixelData = 7, bytes(range(192))

    assert of(series_of("MR", change=[None, color, None, color]), tmp_path).made == [2, 2]


def test_eight_bits(tmp_path: Path) -> None:
    def narrow(ds: Dataset) -> None:
        ds.BitsAllocated = ds.BitsStored = 8
        ds.HighBit, ds.PixelData = 7, bytes(range(64))

    assert of(series_of("MR", change=narrow), tmp_path).made == [3]


def test_odd_lengths(tmp_path: Path) -> None:
    def odd(ds: Dataset) -> None:
        ds.BitsAllocated = ds.BitsStored = 8
        ds.HighBit, ds.Rows, ds.Columns, ds.PixelData = 7, 5, 5, bytes(range(25)) + b"\0"

    found = of(series_of("MR", change=odd), tmp_path)
    assert found.made == [3]
    assert np.array_equal(found.files[0].pixel_array[2].ravel(), np.arange(25))


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    found = of(series_of(change={"PixelSpacing": ["0.5", "0.75"]}), tmp_path)
    assert found.made == [3]
    (measures,) = found.files[0].SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert measures.PixelSpacing == [0.5, 0.75]


def test_a_tilted_gantry(tmp_path: Path) -> None:
    tilt = {"ImageOrientationPatient": ["1", "0", "0", "0", "0.970296", "-0.241922"], "GantryDetectorTilt": "14"}
    found = of(series_of(change=placed(0, 5, 10, 15, **tilt)), tmp_path)
    assert found.made == [4]
    places = [frame.PlanePositionSequence[0].ImagePositionPatient[2] for frame in frames_of(found.files[0])]
    assert places == [0, 5, 10, 15]


def test_variable_spacing_and_thickness(tmp_path: Path) -> None:
    changes = placed(0, 5, 7, 20)
    changes[2]["SliceThickness"] = "2"
    found = of(series_of(change=changes), tmp_path)
    assert found.made == [4]
    thick = [frame.PixelMeasuresSequence[0].SliceThickness for frame in frames_of(found.files[0])]
    assert thick == [5, 5, 2, 5]


def test_mosaics_beside_slices(tmp_path: Path) -> None:
    mosaic = {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]}
    found = of(series_of("MR", change=[None, mosaic, None]), tmp_path)
    assert found.made == [2]
    assert found.kept == {"a mosaic holds many slices in one image": 1}


def test_a_single_slice(tmp_path: Path) -> None:
    assert of(series_of(count=1), tmp_path).made == [1]


def test_everything_at_once(tmp_path: Path) -> None:
    changes: list[Any] = [None] * 14
    changes[1] = {"Rows": 4, "PixelData": bytes(64)}
    changes[3] = {"PatientID": "P2"}
    changes[5] = {"ImagePositionPatient": None}
    changes[7] = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    changes[9] = {"InstanceNumber": None}
    changes[11] = {"FrameOfReferenceUID": None}
    save_all([*series_of(change=changes), slice_of("MR", 30, series=SERIES + "8")], tmp_path / "in")
    (tmp_path / "in" / "notes.txt").write_text("no image")
    found = converted(tmp_path / "in", tmp_path / "out")
    assert found.made == [1, 1, 1, 1, 9]
    assert len(found.report["not_dicom"]) == 1


def _tiny(count: int, folder: Path) -> None:
    """Write a long series of 4 x 4 images, one after the other."""
    folder.mkdir(parents=True)
    first = slice_of(change={"Rows": 4, "Columns": 4, "PixelData": bytes(range(32))})
    for n in range(count):
        first.SOPInstanceUID, first.InstanceNumber = f"{SERIES}.{n + 1}", str(n + 1)
        first.ImagePositionPatient = ["-10", "-20", str(n)]
        save(first, folder / f"{n:05d}.dcm")


def _long(count: int, tmp_path: Path) -> tuple[float, int]:
    """Convert a long series in a process of its own; return seconds and its peak memory in MB."""
    _tiny(count, tmp_path / "in")
    run = (
        "import sys; from gateway.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: code = end.code\n"
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(int(peak.split()[1]) // 1024, file=sys.stderr); sys.exit(code)"
    )
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", run, "convert", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (series,) = json.loads(done.stdout)["series"]
    assert [row["frames"] for row in series["objects"]] == [count]
    return time.monotonic() - started, int(done.stderr.split()[-1])


def test_a_long_series(tmp_path: Path) -> None:
    _, memory = _long(1000, tmp_path)
    assert memory < 120


@pytest.mark.long
def test_ten_thousand_slices(tmp_path: Path) -> None:
    seconds, memory = _long(10_000, tmp_path)
    print(f"10,000 slices: {seconds:.0f} s, {memory} MB")
    assert memory < 120


@pytest.mark.parametrize("name", names())
def test_T15_every_file_of_the_real_sets_is_accounted_for(name: str, tmp_path: Path) -> None:
    assert converted(need_set(name), tmp_path).report["series"]
