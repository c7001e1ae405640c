"""``gateway convert``: the complete view of files on disk, nothing overwritten, everything accounted for."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from archive_tools import store_file
from click.testing import CliRunner
from conversion.material import GSPS, STUDY, item, other, reference, save, save_all, series_of, slice_of
from conversion.reading import missing, plain
from conversion.states import bitmap, overlay
from pydicom import dcmread

from gateway.archive.index import Archive
from gateway.cli.main import main
from gateway.standard.sop_classes import CONVERSIONS


@dataclass
class Done:
    """What a run left: exit status and what it said."""

    returncode: int
    stdout: str
    stderr: str


def gateway(*arguments: object) -> Done:
    """Run the command in this process, as its start takes longer than its work."""
    result = CliRunner().invoke(main, ["convert", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


def report(*arguments: object) -> dict:
    done = gateway(*arguments, "--json")
    return json.loads(done.stdout) | {"status": done.returncode}


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_the_complete_view_is_written(tmp_path: Path) -> None:
    localizer = slice_of("CT", 1, {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, series=STUDY + ".60")
    save_all([localizer, *series_of()], tmp_path / "in")
    done = gateway(tmp_path / "in", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "3 frames" in done.stdout
    assert "1 unchanged: a localizer" in done.stdout
    written = {str(ds.SOPClassUID): ds for ds in map(dcmread, files_in(tmp_path / "out"))}
    assert set(written) == {CONVERSIONS["CT"].legacy, CONVERSIONS["CT"].classic}
    unchanged = next(
        path for path in files_in(tmp_path / "out") if dcmread(path).SOPClassUID == CONVERSIONS["CT"].classic
    )
    assert unchanged.read_bytes() == (tmp_path / "in" / "000.dcm").read_bytes()
    assert dcmread(files_in(tmp_path / "out")[0]).file_meta.MediaStorageSOPInstanceUID


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    save_all(series_of(), tmp_path / "in")
    assert gateway(tmp_path / "in", "-o", tmp_path / "out").returncode == 0
    (written,) = files_in(tmp_path / "out")
    written.write_bytes(b"somebody's work")
    again = gateway(tmp_path / "in", "-o", tmp_path / "out")
    assert again.returncode == 1
    assert "exists already" in again.stderr
    assert files_in(tmp_path / "out") == [written]
    assert written.read_bytes() == b"somebody's work"


def test_files_that_are_not_DICOM_are_listed_and_no_error(tmp_path: Path) -> None:
    save_all(series_of(), tmp_path / "in")
    for name, content in (("notes.txt", b"hello"), ("empty", b""), ("DICOMDIR", b"x"), ("zeros", bytes(200))):
        (tmp_path / "in" / name).write_bytes(content)
    told = report(tmp_path / "in", "-o", tmp_path / "out")
    assert told["status"] == 0
    assert sorted(line.split(":")[0] for line in told["not_dicom"]) == ["DICOMDIR", "empty", "notes.txt", "zeros"]
    assert told["failed"] == []


def test_plan_writes_nothing(tmp_path: Path) -> None:
    save_all(series_of(), tmp_path / "in")
    before = files_in(tmp_path)
    done = gateway(tmp_path / "in", "--plan", "--explain")
    assert done.returncode == 0, done.stderr
    assert "3 frames" in done.stdout
    assert "In-Stack Position Number" in done.stdout
    assert files_in(tmp_path) == before
    assert gateway(tmp_path / "in", "--plan", "-o", tmp_path / "out").returncode == 0
    assert files_in(tmp_path) == before


def test_to_classic_and_back_again_is_the_same(tmp_path: Path) -> None:
    sources = {ds.SOPInstanceUID: ds for ds in map(dcmread, save_all(series_of("PT"), tmp_path / "in"))}
    assert gateway(tmp_path / "in", "-o", tmp_path / "enhanced").returncode == 0
    done = gateway(tmp_path / "enhanced", "-o", tmp_path / "classic", "--to", "classic")
    assert done.returncode == 0, done.stderr
    back = {ds.SOPInstanceUID: ds for ds in map(dcmread, files_in(tmp_path / "classic"))}
    assert back.keys() == sources.keys()
    for uid, source in sources.items():
        assert not missing(source, plain(back[uid]))
        assert back[uid].PixelData == source.PixelData


def test_E25_presentation_states_are_written_and_a_plan_names_them(tmp_path: Path) -> None:
    sources = {ds.SOPInstanceUID: ds for ds in series_of(change=[overlay(bitmap(1)), None, overlay(bitmap(2))])}
    save_all(sources.values(), tmp_path / "in")
    planned = report(tmp_path / "in", "--plan")
    told = report(tmp_path / "in", "-o", tmp_path / "out")
    assert told["status"] == 0
    (row,), (plan,) = told["series"], planned["series"]
    assert [made["sop_instance"] for made in plan["companions"]] == [made["sop_instance"] for made in row["companions"]]
    states = [dcmread(made["file"]) for made in row["companions"]]
    assert [state.SOPClassUID for state in states] == [GSPS, GSPS]
    assert len(files_in(tmp_path / "out")) == 3
    assert "Grayscale Softcopy Presentation State for 1 instance" in gateway(tmp_path / "in", "--plan").stdout


def test_E25_K4_overlays_stay_in_their_states_when_images_are_turned_back(tmp_path: Path) -> None:
    sources = {ds.SOPInstanceUID: ds for ds in series_of(change=overlay(bitmap(1)))}
    save_all(sources.values(), tmp_path / "in")
    assert gateway(tmp_path / "in", "-o", tmp_path / "enhanced").returncode == 0
    done = gateway(tmp_path / "enhanced", "-o", tmp_path / "classic", "--to", "classic")
    assert done.returncode == 0, done.stderr
    back = {ds.SOPInstanceUID: ds for ds in map(dcmread, files_in(tmp_path / "classic")) if ds.Modality == "CT"}
    assert back.keys() == sources.keys()
    for uid, source in sources.items():
        assert not missing(source, plain(back[uid]))
        assert "ReferencedPresentationStateSequence" not in back[uid]
    (state,) = (ds for ds in map(dcmread, files_in(tmp_path / "classic")) if ds.Modality == "PR")
    assert state.overlay_array(0x6000).tolist() == bitmap(1).tolist()


def test_to_classic_leaves_out_what_is_there_as_classic_images(tmp_path: Path) -> None:
    save_all(series_of(), tmp_path / "in")
    assert gateway(tmp_path / "in", "-o", tmp_path / "enhanced").returncode == 0
    told = report(tmp_path / "in", tmp_path / "enhanced", "-o", tmp_path / "classic", "--to", "classic")
    assert told["status"] == 0
    assert len(files_in(tmp_path / "classic")) == 3
    assert sum(row["kept"].get("classic already", 0) for row in told["series"]) == 3


def test_json_says_what_each_series_became(tmp_path: Path) -> None:
    save_all(series_of("MR"), tmp_path / "in")
    told = report(tmp_path / "in", "-o", tmp_path / "out")
    (row,) = told["series"]
    (made,) = row["objects"]
    assert (row["description"], row["instances"], row["kept"]) == ("MR 7 MR thin", 3, {})
    assert (made["sop_class"], made["frames"]) == (CONVERSIONS["MR"].legacy, 3)
    assert [made["file"]] == [str(path) for path in files_in(tmp_path / "out")]
    assert dcmread(made["file"]).SOPInstanceUID == made["sop_instance"]
    assert (told["not_dicom"], told["failed"]) == ([], [])


@pytest.mark.parametrize(
    "arguments", [[], ["."], ["nowhere", "-o", "out"], [".", "-o", "out", "--to", "mr"], [".", "--what"]], ids=str
)
def test_wrong_usage_is_status_2(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = gateway(*arguments)
    assert done.returncode == 2
    assert "Usage" in done.stderr
    assert files_in(tmp_path) == []


def test_the_command_as_a_process(tmp_path: Path) -> None:
    save_all(series_of(), tmp_path / "in")
    command = [sys.executable, "-m", "gateway.cli.main", "convert", "in", "-o", "out", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["failed"] == []


def test_a_truncated_file_is_reported_and_the_rest_converts(tmp_path: Path) -> None:
    paths = save_all(series_of(), tmp_path / "in")
    paths[1].write_bytes(paths[1].read_bytes()[:-20])
    done = gateway(tmp_path / "in", "-o", tmp_path / "out")
    assert done.returncode == 1
    assert "001.dcm" in done.stderr
    assert "truncated" in done.stderr
    assert "Traceback" not in done.stderr
    (written,) = files_in(tmp_path / "out")
    assert dcmread(written).NumberOfFrames == 2


def test_every_file_of_a_mixed_folder_is_accounted_for(tmp_path: Path) -> None:
    slices = series_of("CT", count=3)
    paths = save_all(slices, tmp_path / "in")
    save_all(series_of("MR", count=2, series=STUDY + ".70"), tmp_path / "in" / "deeper")
    (tmp_path / "in" / "copy.dcm").write_bytes(paths[0].read_bytes())
    referring = item(
        SeriesInstanceUID=STUDY + ".70", ReferencedImageSequence=[reference(slice_of("MR", 2, series=STUDY + ".70"))]
    )
    save(other(GSPS, 1, {"ReferencedSeriesSequence": [referring]}), tmp_path / "in" / "gsps.dcm")
    (tmp_path / "in" / "bad.dcm").write_bytes(paths[0].read_bytes()[:400])
    (tmp_path / "in" / "readme").write_text("text")
    (tmp_path / "in" / "nothing").write_bytes(b"")
    told = report(tmp_path / "in", "-o", tmp_path / "out")
    assert told["status"] == 1
    rows = sum(row["instances"] for row in told["series"])
    aside = [*told["duplicates"], *told["not_dicom"], *told["failed"]]
    assert rows + len(aside) == len(files_in(tmp_path / "in")) == 10
    for row in told["series"]:
        assert row["instances"] == sum(made["frames"] for made in row["objects"]) + sum(row["copied"].values())
    # One object of three frames, one of two, and the presentation state that refers to a frame of that.
    assert len(files_in(tmp_path / "out")) == 3


def test_two_instances_of_one_UID_are_both_in_the_view(tmp_path: Path) -> None:
    twice = [slice_of(), slice_of(change={"ProtocolName": "other"})]
    save_all(twice, tmp_path / "in")
    told = report(tmp_path / "in", "-o", tmp_path / "out")
    assert told["status"] == 0
    assert told["series"][0]["kept"] == {"another file has the same SOP Instance UID": 2}
    assert len(files_in(tmp_path / "out")) == 2


def test_UIDs_are_never_paths(tmp_path: Path) -> None:
    evil = slice_of(change={"StudyInstanceUID": "../../up", "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]})
    save(evil, tmp_path / "in" / "1.dcm")
    assert gateway(tmp_path / "in", "-o", tmp_path / "out").returncode == 0
    assert len(files_in(tmp_path / "out")) == 1
    assert len(files_in(tmp_path)) == 2


def test_T9_a_file_of_a_box_that_is_not_what_the_box_received_is_reported_and_not_converted(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "data")
    for number, ds in enumerate(series_of()):
        store_file(archive, save(ds, tmp_path / f"{number}.dcm"))
    archive.close()
    right, *_, wrong = sorted((tmp_path / "data" / "intake").glob("*.dcm"))
    wrong.write_bytes(wrong.read_bytes()[:-1] + b"\x7f")
    done = report(tmp_path / "data" / "intake", "--plan")
    assert done["status"] == 1
    assert f"{wrong.name}: is damaged: its bytes are not those that were stored" in str(done)
    assert right.name not in str(done["failed"])
