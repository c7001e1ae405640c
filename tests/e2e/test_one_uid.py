"""Several images under one SOP Instance UID, sent to the whole box with DCMTK: nothing is lost, merged or promised."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from box import LEGACY_CT, Box, Pacs, ct_study
from loopback import eventually
from modality import Modality
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, generate_uid
from tools import need

from gateway.standard.commitment import PROCESSING_FAILURE


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    made = Pacs().start()
    yield made
    made.stop()


@pytest.fixture
def box(tmp_path: Path, pacs: Pacs) -> Iterator[Box]:
    made = Box(tmp_path, {"PACS": {"port": pacs.port, "commitment": False}})
    made.start()
    yield made
    assert made.stop() == 0, made.text()
    assert not made.logged("Traceback")


def storescu(box: Box, folder: Path, study: list[Dataset], calling: str = "CT1") -> None:
    """Send images in their order, with DCMTK's storescu, which tells by its exit status whether all were taken."""
    folder.mkdir(exist_ok=True)
    for number, ds in enumerate(study):
        ds.save_as(folder / f"{number:04d}.dcm", enforce_file_format=True)
    files = sorted(map(str, folder.glob("*.dcm")))
    command = [need("storescu"), "-v", "-aet", calling, "-aec", "GATEWAY", "127.0.0.1", str(box.port), *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    said = done.stdout + done.stderr
    assert said.count("Received Store Response (Success)") == len(study), said
    for path in files:
        Path(path).unlink()


def told(box: Box, *options: str) -> str:
    command = [sys.executable, "-m", "gateway.cli.main", "status", *options, "--config", str(box.config)]
    return subprocess.run(command, capture_output=True, check=True, timeout=60, text=True).stdout


def status(box: Box) -> dict[str, Any]:
    return dict(json.loads(told(box, "--json")))


def kept(box: Box) -> list[Path]:
    return [path for folder in ("intake", "received") for path in (box.data / folder).rglob("*.dcm")]


def one_uid(study: list[Dataset]) -> list[Dataset]:
    for ds in study:
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = study[0].SOPInstanceUID
    return study


def test_T3_six_images_under_one_uid_are_all_kept_and_the_first_alone_goes_on(
    tmp_path: Path, box: Box, pacs: Pacs
) -> None:
    study = one_uid(ct_study(6))
    uid = str(study[0].SOPInstanceUID)
    storescu(box, tmp_path / "sent", study)
    eventually(lambda: pacs.objects)
    box.wait_done()
    assert len(kept(box)) == 6
    assert list(pacs.received) == [uid]
    assert pacs.twice() == []
    assert pacs.classes_of[uid] == CTImageStorage
    assert pacs.dataset(uid) == without_meta(study[0])
    found = status(box)
    assert found["other_images"] == 1
    (one,) = found["studies"]
    assert one["received"]["instances"] == 1, "one of each UID is shown"
    assert one["other_images"] == [
        {"sop_instance": uid, "images": 6, "held": 5, "versions": 6, "peers": ["CT1"], "part_of": None}
    ]
    (destination,) = one["destinations"]
    assert (destination["state"], destination["delivered"], destination["outstanding"]) == ("done", 1, 0)
    text = told(box)
    assert f"6 different images came under 1 SOP Instance UID from CT1: {uid}" in text
    assert "5 are held" in text
    assert "a SOP Instance UID of its own" in text
    (line,) = box.logged("convert.other_images")
    assert "images=6 held=5" in line
    # The archive shows the last that was sent.
    with box.archive() as archive:
        row = archive.instance(uid)
        assert row is not None
        assert row.instance_number == 6


def without_meta(ds: Dataset) -> Dataset:
    found = Dataset()
    found.update({element.tag: element for element in ds})
    return found


def test_T3_the_box_does_not_commit_to_a_uid_with_several_images(tmp_path: Path, box: Box, pacs: Pacs) -> None:
    study = ct_study(3)
    twice = one_uid(ct_study(2, study=study[0].StudyInstanceUID))
    storescu(box, tmp_path / "sent", [*study, *twice])
    eventually(lambda: len(pacs.objects) == 2)
    box.wait_done()
    modality = Modality(box.port)
    pairs = [(str(ds.SOPClassUID), str(ds.SOPInstanceUID)) for ds in (*study, twice[0])]
    with modality.association() as association:
        modality.ask(association, pairs)
        eventually(lambda: modality.answers)
    (answer,) = modality.answers
    assert answer.kind == 2
    assert answer.failed == {pairs[-1]: PROCESSING_FAILURE}
    assert sorted(answer.committed) == sorted(pairs[:-1])


def test_T3_what_was_converted_before_another_image_came_stays_as_it_is(tmp_path: Path, box: Box, pacs: Pacs) -> None:
    study = ct_study(4)
    storescu(box, tmp_path / "sent", study)
    eventually(lambda: pacs.objects)
    box.wait_done()
    (made,) = pacs.received
    # Two more of the same series, one of them under the UID of a frame that the PACS has.
    late, other = ct_study(2, study=study[0].StudyInstanceUID, series=study[0].SeriesInstanceUID, start=4)
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = study[1].SOPInstanceUID
    storescu(box, tmp_path / "sent", [late, other])
    eventually(lambda: len(pacs.received) == 2)
    box.wait_done()
    assert set(pacs.classes_of.values()) == {LEGACY_CT}
    assert pacs.twice() == []
    pixels = dict(pacs.images())
    assert pixels == {str(ds.SOPInstanceUID): ds.PixelData for ds in (*study, late)}
    (one,) = status(box)["studies"]
    assert one["other_images"][0]["part_of"] == made
    assert not box.logged("convert.withdrawn")
    assert len(kept(box)) == 6
    # A corrected version of the frame itself: the object is obsolete, and its image goes as it is from now on.
    mended = ct_study(4)[1]
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(mended, keyword, study[1][keyword].value)
    mended.file_meta.MediaStorageSOPInstanceUID = study[1].SOPInstanceUID
    mended.PixelData = bytes(len(study[1].PixelData))
    storescu(box, tmp_path / "sent", [mended])
    eventually(lambda: study[1].SOPInstanceUID in pacs.received)
    box.wait_done()
    assert pacs.dataset(study[1].SOPInstanceUID) == without_meta(mended)
    assert box.logged("convert.withdrawn", made)
    assert len(kept(box)) == 7


def test_T3_the_last_word_of_a_sender_wins_also_when_it_is_an_old_one(tmp_path: Path, box: Box, pacs: Pacs) -> None:
    study = ct_study(1)
    study[0].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]  # stays classic
    uid = str(study[0].SOPInstanceUID)
    words = []
    for name in ("A", "B", "A"):
        study[0].PatientName = name
        storescu(box, tmp_path / "sent", study)
        words.append(name)
        eventually(lambda: len(pacs.received.get(uid, ())) == len(words))
        box.wait_done()
        assert pacs.dataset(uid).PatientName == name
    assert len(kept(box)) == 2
    storescu(box, tmp_path / "sent", study)
    box.wait_done()
    assert len(pacs.received[uid]) == 3, "a retry is no new word"
    assert box.logged("intake.duplicate")


def test_T3_two_senders_of_one_series_with_different_content_are_never_in_one_object(
    tmp_path: Path, box: Box, pacs: Pacs
) -> None:
    study = ct_study(6)
    storescu(box, tmp_path / "sent", study)
    for ds in study[:3]:
        ds.PixelData = bytes(len(ds.PixelData))
    storescu(box, tmp_path / "sent", study[:3], "WS1")
    eventually(lambda: len(pacs.objects) >= 2)
    box.wait_done()
    ends = []
    for uid in pacs.objects:
        ds = pacs.dataset(uid)
        length = 2 * ds.Rows * ds.Columns
        ends.append({any(ds.PixelData[n * length : (n + 1) * length]) for n in range(int(ds.NumberOfFrames))})
    assert sorted(map(list, ends)) == [[False], [True]]
    (one,) = status(box)["studies"]
    assert one["senders_differ"] == {str(study[0].SeriesInstanceUID): ["CT1", "WS1"]}
    assert "CT1 and WS1 have sent different versions" in told(box)
    # Once one of them has sent it all, there is nothing to keep apart.
    for ds in study[3:]:
        ds.PixelData = bytes(len(ds.PixelData))
    storescu(box, tmp_path / "sent", study[3:], "WS1")
    eventually(lambda: status(box)["idle"])
    assert status(box)["studies"][0]["senders_differ"] == {}


def test_T3_halves_of_a_series_from_two_senders_are_one_series(tmp_path: Path, box: Box, pacs: Pacs) -> None:
    study = ct_study(6, study=generate_uid())
    storescu(box, tmp_path / "sent", study[:3])
    storescu(box, tmp_path / "sent", study[3:], "WS1")
    eventually(lambda: pacs.objects)
    box.wait_done()
    (uid,) = pacs.objects
    assert pacs.dataset(uid).NumberOfFrames == 6
    assert status(box)["studies"][0]["senders_differ"] == {}
