"""`gateway demo` shows the main job end to end, and its report is true: what is not as promised makes it fail."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import tomllib
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import png
import pydicom
import pytest
from click.testing import CliRunner
from conversion.material import GSPS, STUDY, item, other, reference, save_all, series_of

from gateway.cli import evidence, material, phantom, report
from gateway.cli.main import main
from gateway.conversion.account import NO_REASON, Account

SR, KO = "1.2.840.10008.5.1.4.1.1.88.22", "1.2.840.10008.5.1.4.1.1.88.59"
SEG, RTSTRUCT = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.481.3"
LEGACY_CT = "1.2.840.10008.5.1.4.1.1.2.2"

pytestmark = pytest.mark.filterwarnings("ignore")


@dataclass
class Run:
    """One demonstration of a mixed folder: what was sent, what the PACS got, what was said."""

    source: Path
    kept: Path
    report: dict[str, Any]
    said: str

    @property
    def sent(self) -> dict[str, Path]:
        return {row.sop_instance: Path(row.name) for row in material.collect(material.files(self.source)).rows}

    @property
    def arrived(self) -> list[Path]:
        return sorted((self.kept / "pacs").iterdir())

    def enhanced(self, pacs: Path) -> Path:
        return next(path for path in sorted(pacs.iterdir()) if header(path).SOPClassUID == LEGACY_CT)


def header(path: Path) -> pydicom.Dataset:
    return pydicom.dcmread(path, stop_before_pixels=True, force=True)


def demo(*arguments: object, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway.cli.main", "demo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=folder)


def _with_companions(folder: Path) -> None:
    """A series with all that refers to it: images derived of it, a presentation state, a report, a segmentation."""
    sources = series_of("MR", count=4, series=STUDY + ".4")
    derived = {"ImageType": ["DERIVED", "SECONDARY", "MPR"], "BurnedInAnnotation": "YES"}
    change = [derived | {"SourceImageSequence": [reference(ds)]} for ds in sources]
    images = [reference(ds) for ds in sources]
    listed = [item(SeriesInstanceUID=sources[0].SeriesInstanceUID, ReferencedImageSequence=images[:3])]
    evidence_ = [item(SeriesInstanceUID=sources[0].SeriesInstanceUID, ReferencedSOPSequence=images)]
    content = [item(ValueType="IMAGE", ReferencedSOPSequence=[one]) for one in images[1:3]]
    evidence_of = [item(StudyInstanceUID=STUDY, ReferencedSeriesSequence=evidence_)]
    document = {"ContentSequence": content, "CurrentRequestedProcedureEvidenceSequence": evidence_of}
    groups = [item(DerivationImageSequence=[item(SourceImageSequence=[one])]) for one in images]
    others = [
        other(GSPS, 1, {"Modality": "PR", "ReferencedSeriesSequence": listed}),
        other(SR, 2, {"Modality": "SR", **document}),
        other(KO, 3, {"Modality": "KO", **document}),
        other(SEG, 4, {"Modality": "SEG", "PerFrameFunctionalGroupsSequence": groups}),
        other(RTSTRUCT, 5, {"Modality": "RTSTRUCT", "ROIContourSequence": [item(ContourSequence=[
            item(ContourImageSequence=[images[0]])])]}),
    ]  # fmt: skip
    save_all([*sources, *series_of(change=change, series=STUDY + ".5"), *others], folder)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("demo")
    source, kept = folder / "source", folder / "kept"
    list(phantom.write(source / "ct", slices=12, size=64))
    _with_companions(source / "more")
    for name in ("MR_small_RLE.dcm", "waveform_ecg.dcm", "reportsi.dcm"):
        shutil.copy(material.bundled() / name, source)
    shutil.copy(material.bundled() / "MR_small_RLE.dcm", source / "MR_small_again.dcm")
    shutil.copytree(material.bundled() / "dicomdirtests/98892001/CT2N", source / "scout")
    (source / "notes.txt").write_text("not a DICOM file, and not an error")
    done = demo("--from", source, "--keep", kept)
    assert done.returncode == 0, done.stdout + done.stderr
    return Run(source, kept, json.loads((kept / "report.json").read_text()), done.stdout)


def test_demo_with_nothing_to_configure_ends_with_status_0_and_a_true_report(tmp_path: Path) -> None:
    done = demo("--json", "--keep", "kept", folder=tmp_path)  # a folder named as people name one
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report == json.loads((tmp_path / "kept/report.json").read_text())
    assert report["ok"] is True
    assert report["problems"] == []
    (chest,) = [one for one in report["series"] if one["title"] == "CT Chest 1.5 mm"]
    assert [entry["frames"] for entry in chest["became"]] == [200]
    assert chest["unchanged"] == 0
    assert report["classic"]["stores"] == report["received"]["instances"] > 300
    assert report["delivered"]["stores"] == report["pacs"]["objects"] < 150
    assert len(list((tmp_path / "kept/pacs").iterdir())) == report["pacs"]["objects"]
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["montage.png", "pacs", "report.json"]


def test_a_mixed_folder_arrives_with_a_reason_for_everything_unchanged(mixed: Run) -> None:
    became = {one["title"]: one for one in mixed.report["series"]}
    assert [entry["frames"] for entry in became["CT Chest 1.5 mm"]["became"]] == [12]
    assert became["ECG ECG"]["unchanged"] == 1
    assert all(one["reasons"] for one in mixed.report["series"] if one["unchanged"])
    assert "-> 1 Legacy Converted Enhanced CT Image, 12 frames\n" in mixed.said
    assert mixed.report["account"] == {"received": 30, "frames": 17, "unchanged": 4, "copied": 9}
    assert "In all     30 received = 17 frames + 4 unchanged + 9 copied\n" in mixed.said
    assert "All of it is true" in mixed.said


def test_T16_copies_of_all_that_refers_to_images_are_counted_and_compared(mixed: Run) -> None:
    assert mixed.report["proof"]["copies"] == 9
    rows = [one for one in mixed.report["series"] if one["copied"]]
    assert sorted(one["copied"] for one in rows) == [4, 5]
    assert all(one["copied_reasons"] and not one["unchanged"] for one in rows)
    (derived,) = (one["copied_reasons"] for one in rows if one["copied"] == 4)
    assert "burned in" in " ".join(derived).lower()
    assert "9 copies with every element, every reference pointing at what its target has become" in mixed.said


def test_files_left_aside_are_listed_and_no_error(mixed: Run) -> None:
    aside = {Path(entry["file"]).name: entry["reason"] for entry in mixed.report["aside"]}
    assert set(aside) == {"notes.txt", "MR_small_again.dcm"}
    assert "equal to another file" in aside["MR_small_again.dcm"]


def test_the_picture_shows_source_and_delivered_frames_alike(mixed: Run) -> None:
    width, height, rows, _ = png.Reader(str(mixed.kept / "montage.png")).read()
    sheet = np.vstack([np.frombuffer(row, np.uint8) for row in rows])
    assert sheet.shape == (height, width)
    source, delivered = sheet[4:260, 4:260], sheet[4:260, 264:520]
    assert source.std() > 30
    assert (source == delivered).all()


def test_what_is_there_is_never_overwritten(mixed: Run) -> None:
    done = CliRunner().invoke(main, ["demo", "--keep", str(mixed.kept)])
    assert done.exit_code == 2
    assert "nothing is overwritten" in done.stderr


def test_a_folder_without_dicom_is_said_to_have_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    done = CliRunner().invoke(main, ["demo", "--from", str(tmp_path)])
    assert done.exit_code == 1
    assert "nothing to send" in done.stderr


def test_nothing_but_the_picture_stays_without_keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    list(phantom.write(tmp_path / "ct", slices=3, size=32))
    done = demo("--from", tmp_path / "ct")
    assert done.returncode == 0, done.stdout + done.stderr
    left = [path for path in (tmp_path / "tmp").rglob("*") if path.is_file()]
    assert [path.name for path in left] == ["montage.png"]
    assert f"Picture    {left[0]}" in done.stdout


def test_ended_early_it_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    list(phantom.write(tmp_path / "ct", slices=3, size=32))
    kept = tmp_path / "kept"
    command = [sys.executable, "-m", "gateway.cli.main", "demo", "--from", str(tmp_path / "ct"), "--keep", str(kept)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not any("ready" in log.read_text() for log in kept.glob("gateway-demo-*/gateway.log")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (config,) = kept.glob("gateway-demo-*/gateway.toml")
    port = tomllib.loads(config.read_text())["gateway"]["port"]
    running.terminate()
    assert running.wait(60) == 1
    assert list(kept.iterdir()) == []
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


# The comparison at the PACS has teeth: each of these would make the demonstration fail.


@pytest.fixture
def pacs(mixed: Run, tmp_path: Path) -> Path:
    return Path(shutil.copytree(mixed.kept / "pacs", tmp_path / "pacs"))


def examine(mixed: Run, pacs: Path) -> list[str]:
    return evidence.examine(sorted(pacs.iterdir()), mixed.sent).problems


def test_untouched_the_comparison_finds_nothing(mixed: Run, pacs: Path) -> None:
    assert examine(mixed, pacs) == []


def test_one_changed_pixel_is_found(mixed: Run, pacs: Path) -> None:
    path = mixed.enhanced(pacs)
    with path.open("r+b") as file:
        file.seek(-1000, 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes((byte[0] ^ 1,)))
    (problem,) = examine(mixed, pacs)
    assert "frame 12: other pixels than 0012.dcm" in problem


def test_a_lost_object_is_found(mixed: Run, pacs: Path) -> None:
    mixed.enhanced(pacs).unlink()
    problems = examine(mixed, pacs)
    assert len(problems) == 12
    assert all("was sent and is not at the PACS" in problem for problem in problems)


def test_an_object_that_came_twice_is_found(mixed: Run, pacs: Path) -> None:
    shutil.copy(mixed.enhanced(pacs), pacs / "999999.dcm")
    assert any("is 2 times at the PACS" in problem for problem in examine(mixed, pacs))


def test_a_classic_image_beside_its_enhanced_twin_is_found(mixed: Run, pacs: Path) -> None:
    shutil.copy(mixed.source / "ct/0003.dcm", pacs / "999999.dcm")
    (problem,) = examine(mixed, pacs)
    assert "is 2 times at the PACS" in problem


def copies_of(pacs: Path, modality: str) -> list[Path]:
    return [path for path in sorted(pacs.iterdir()) if header(path).Modality == modality and is_copy(path)]


def is_copy(path: Path) -> bool:
    return "ConversionSourceAttributesSequence" in header(path)


def edit(path: Path, change: Callable[[pydicom.Dataset], None]) -> None:
    data = pydicom.dcmread(path)
    change(data)
    data.save_as(path)


def _other_frame(ds: pydicom.Dataset) -> None:
    ds.ReferencedSeriesSequence[0].ReferencedImageSequence[0].ReferencedFrameNumber = [1, 2, 4]


def _no_reference(ds: pydicom.Dataset) -> None:
    del ds.ContentSequence[0].ReferencedSOPSequence


def _another_series(ds: pydicom.Dataset) -> None:
    ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.3"


def _old_target(ds: pydicom.Dataset) -> None:
    ds.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = STUDY + ".4.2"


def _another_class(ds: pydicom.Dataset) -> None:
    ds.ROIContourSequence[0].ContourSequence[0].ContourImageSequence[0].ReferencedSOPClassUID = "1.2.3"


def _name(ds: pydicom.Dataset) -> None:
    ds.PatientName = "Somebody^Else"


def _pixel(ds: pydicom.Dataset) -> None:
    ds.PixelData = bytes([ds.PixelData[0] ^ 1]) + ds.PixelData[1:]


@pytest.mark.parametrize(
    ("modality", "change", "problem"),
    [
        ("PR", _other_frame, "does not refer to what"),
        ("SR", _no_reference, "does not refer to what"),
        ("SR", _old_target, "which is at the PACS as 2.25."),
        ("KO", _another_series, "in another series"),
        ("RTSTRUCT", _another_class, "as another class"),
        ("SEG", _name, "is another than that of its source"),
        ("SEG", lambda ds: ds.pop("PatientID"), "is lost"),
        ("SEG", lambda ds: setattr(ds, "ContentLabel", "X"), "is new"),
        ("CT", _pixel, "other pixels than"),
        ("CT", lambda ds: ds.pop("ContributingEquipmentSequence"), "does not have the equipment"),
        ("SEG", lambda ds: ds.pop("RelatedSeriesSequence"), "does not name the series"),
        ("CT", lambda ds: ds.pop("SourceImageSequence"), "is lost"),
    ],
)
def test_T16_a_copy_that_says_something_else_is_found(
    mixed: Run, pacs: Path, modality: str, change: Callable[[pydicom.Dataset], Any], problem: str
) -> None:
    edit(copies_of(pacs, modality)[0], change)
    assert any(problem in told for told in examine(mixed, pacs)), examine(mixed, pacs)


def test_T16_a_series_of_which_nothing_arrived_is_told_as_that(mixed: Run) -> None:
    lost = {**mixed.report["series"][0], "became": [], "unchanged": 0, "copied": 0, "reasons": [], "copied_reasons": []}
    for several in ([lost], [lost, lost]):
        said = "\n".join(report.lines({**mixed.report, "series": several}))
        assert f" {len(several) * lost['instances']} not at the PACS" in said


def test_T16_a_lost_copy_and_one_too_many_are_found(mixed: Run, pacs: Path) -> None:
    lost, doubled = copies_of(pacs, "KO")[0], copies_of(pacs, "SR")[0]
    lost.unlink()
    shutil.copy(doubled, pacs / "999999.dcm")
    told = examine(mixed, pacs)
    assert any(problem.endswith("was sent and is not at the PACS") for problem in told)
    assert any("is 2 times at the PACS" in problem for problem in told)


def test_T16_an_original_beside_its_copy_is_found(mixed: Run, pacs: Path) -> None:
    (path,) = copies_of(pacs, "KO")
    uid = str(header(path).ConversionSourceAttributesSequence[0].ReferencedSOPInstanceUID)
    shutil.copy(mixed.sent[uid], pacs / "999999.dcm")
    assert f"{uid}: is 2 times at the PACS" in examine(mixed, pacs)


def test_T16_a_stranger_at_the_PACS_is_found(mixed: Run, pacs: Path) -> None:
    save_all([other(SR, 77)], pacs / "more")
    (pacs / "more/000.dcm").rename(pacs / "999999.dcm")
    (pacs / "more").rmdir()
    assert any("was not sent, and is made of nothing that was" in problem for problem in examine(mixed, pacs))


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ([{"fate": "frames", "frames": 3}], None),
        ([{"fate": "frames", "frames": 2}], "the box says 3 received = 2 frames + 0 unchanged + 0 copied"),
        ([{"fate": "copied", "instances": 3, "reason": "x"}], "at the PACS it is 3 received = 3 frames"),
        ([{"fate": "frames", "frames": 3}, {"fate": "unchanged", "instances": 0, "reason": NO_REASON}], "no reason"),
        ([], "the box says 3 received = 0 frames"),
    ],
)
def test_T16_a_box_that_says_something_else_than_the_PACS_has_is_found(
    entries: list[dict[str, Any]], problem: str | None
) -> None:
    here = Account(3, Counter({"frames": 3}))
    status = {"studies": [{"account": here.as_json(), "series": [{"series": "1.2", "became": entries}]}]}
    series = [{"series": "1.2", "instances": 3, "account": here.as_json()}]
    found = list(report._contradictions(series, here, status))
    assert not found if problem is None else any(problem in one for one in found), found
    status["studies"][0]["account"] = Account(3, Counter({"unchanged": 3})).as_json()
    assert any("the box says 3 received = 0 frames + 3" in one for one in report._contradictions(series, here, status))


@pytest.mark.parametrize("keyword", ["XRayTubeCurrent", "SliceLocation", "KVP", "PatientID", "WindowCenter"])
def test_a_lost_element_is_found(mixed: Run, pacs: Path, keyword: str) -> None:
    path = mixed.enhanced(pacs)
    data = pydicom.dcmread(path)
    data.walk(lambda where, element: where.pop(element.tag) if element.keyword == keyword else None)
    data.save_as(path)
    problems = examine(mixed, pacs)
    assert len(problems) == 12
    assert all("is lost" in problem for problem in problems)


def test_a_changed_object_that_was_passed_on_is_found(mixed: Run, pacs: Path) -> None:
    path = next(path for path in pacs.iterdir() if header(path).Modality == "ECG")
    data = pydicom.dcmread(path)
    data.PatientName = "Somebody^Else"
    data.save_as(path)
    (problem,) = examine(mixed, pacs)
    assert "arrived with other content" in problem


def test_the_phantom_is_the_same_every_time_and_has_something_to_see(tmp_path: Path) -> None:
    first, second = (list(phantom.write(tmp_path / name, slices=4, size=64)) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = pydicom.dcmread(first[2]).pixel_array.astype(int) - 1024
    assert values.min() < -900
    assert values.max() > 400
    assert len({pydicom.dcmread(path).SOPInstanceUID for path in first}) == 4
