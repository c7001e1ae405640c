"""Storage commitment asked of a running box: by a modality and by Orthanc, through kills, with what it delivers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from box import LEGACY_CT, Box, Pacs, ct_study
from loopback import eventually
from modality import Modality, Pair
from peers import Orthanc
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from gateway.standard.commitment import NO_SUCH_OBJECT


def make_box(folder: Path, peers: dict[str, int], means: str, destinations: dict[str, Any] | None = None) -> Box:
    """A box that knows where its peers listen, and does not think for a long time that a study is complete."""
    box = Box(folder, destinations or {}, quiet=600)
    text = box.config.read_text()
    text += f'[commitment]\nmeans = "{means}"\n[views]\nGATEWAY_ENH = "enhanced"\n'
    for title, port in peers.items():
        text += f'[[peer]]\nae_title = "{title}"\nhost = "127.0.0.1"\nport = {port}\n'
    box.config.write_text(text)
    return box


@contextlib.contextmanager
def ended(box: Box) -> Iterator[Box]:
    """Kill the box at the end of the block, if it is not gone."""
    try:
        yield box
    finally:
        if box.process is not None and box.process.poll() is None:
            box.kill()


def references(study: list[Dataset]) -> list[Pair]:
    return [(str(ds.SOPClassUID), str(ds.SOPInstanceUID)) for ds in study]


# Where the box is killed: in which of its processes, and whether the answer has got to the modality by then.
POINTS = {
    "promise.after_commit": "the request is durable, its sender not told",
    "promise.before_answer": "the answer is about to be given",
    "promise.after_answer": "the answer was taken, and that is not noted",
}


@pytest.mark.parametrize("point", POINTS)
def test_J1_answer_survives_a_restart(tmp_path: Path, point: str) -> None:
    study = ct_study(3)
    with Modality(0) as modality:
        box = make_box(tmp_path, {"CT1": modality.port}, "stored")
        modality.box = box.port
        with ended(box):
            box.start(f"{point}=kill")
            box.store(study)
            with contextlib.suppress(AttributeError, RuntimeError), modality.association() as association:
                # Without a response it has no status.
                modality.ask(association, references(study))
            eventually(lambda: box.logged("process.died"))
            box.kill()
            before = len(modality.answers)
            box.start()
            eventually(lambda: len(modality.answers) > before)
            eventually(lambda: box.logged("promise.answered"))
            box.stop()
    first, *others = modality.answers
    assert sorted(first.committed) == sorted(references(study))
    assert all(one.information == first.information for one in others)
    assert not list((box.data / "records").glob("promise-*"))


def test_J1_asking_completes_a_study_and_is_answered_when_the_pacs_has_it(tmp_path: Path) -> None:
    study = ct_study(4)
    pacs = Pacs().start()
    box = make_box(tmp_path, {}, "delivered", {"PACS": {"port": pacs.port, "commitment": False}})
    modality = Modality(box.port)
    with ended(box):
        box.start()
        box.store(study)
        with modality.association() as association:
            missing = (CTImageStorage, "1.2.3.4")
            assert modality.ask(association, references(study))[0] == 0x0000
            eventually(lambda: modality.answers)
            assert set(pacs.classes_of.values()) == {LEGACY_CT}, "delivered before it was answered"
            enhanced: list[Pair] = [(LEGACY_CT, uid) for uid in pacs.classes_of]
            modality.ask(association, [*enhanced, missing])
            eventually(lambda: len(modality.answers) == 2)
        box.wait_done()
        box.stop()
    pacs.stop()
    first, second = modality.answers
    assert (first.kind, sorted(first.committed)) == (1, sorted(references(study)))
    assert (second.committed, second.failed) == (enhanced, {missing: NO_SUCH_OBJECT})
    assert not box.logged("Traceback")


def introduce(orthanc: Orthanc, box: Box) -> None:
    """Tell Orthanc where the box listens."""
    settings = json.loads(orthanc.config.read_text())
    settings["DicomModalities"] = {"box": ["GATEWAY", "127.0.0.1", box.port]}
    orthanc.config.write_text(json.dumps(settings))


def test_J1_modality_is_answered_when_orthanc_has_committed_to_what_carries_its_images(tmp_path: Path) -> None:
    study = ct_study(3)
    orthanc = Orthanc(tmp_path)
    with Modality(0) as modality:
        box = make_box(tmp_path, {"CT1": modality.port}, "delivered", {"ORTHANC": orthanc.port})
        introduce(orthanc, box)
        modality.box = box.port
        with orthanc.running(), ended(box):
            box.start()
            box.store(study)
            modality.ask_and_leave(references(study))
            eventually(lambda: modality.answers)
            (held,) = (orthanc.get(f"/instances/{one}/tags?simplify") for one in orthanc.get("/instances"))
            with box.archive() as archive:
                (standing,) = archive.custody.standing(study[0].StudyInstanceUID, "ORTHANC").items()
            box.stop()
    (answer,) = modality.answers
    assert (answer.kind, sorted(answer.committed)) == (1, sorted(references(study)))
    assert (held["SOPClassUID"], standing[0], standing[1].state) == (LEGACY_CT, held["SOPInstanceUID"], "committed")


def test_J1_orthanc_asks_and_understands_the_answer(tmp_path: Path) -> None:
    study = ct_study(3)
    orthanc = Orthanc(tmp_path)
    box = make_box(tmp_path, {"ORTHANC": orthanc.port}, "stored")
    introduce(orthanc, box)
    with orthanc.running(), ended(box):
        box.start()
        box.store(study)
        good = orthanc.post("/modalities/box/storage-commitment", {"DicomInstances": references(study)})
        mixed = [*references(study), (CTImageStorage, "1.2.3.4")]
        bad = orthanc.post("/modalities/box/storage-commitment", {"DicomInstances": mixed})
        eventually(lambda: orthanc.get(good["Path"])["Status"] != "Pending")
        eventually(lambda: orthanc.get(bad["Path"])["Status"] != "Pending")
        answers = orthanc.get(good["Path"]), orthanc.get(bad["Path"])
        box.stop()
    assert answers[0]["Status"] == "Success", answers
    assert sorted(one["SOPInstanceUID"] for one in answers[0]["Success"]) == sorted(uid for _, uid in references(study))
    assert answers[1]["Status"] == "Failure"
    assert [one["SOPInstanceUID"] for one in answers[1]["Failures"]] == ["1.2.3.4"]
    assert [one["FailureReason"] for one in answers[1]["Failures"]] == [NO_SUCH_OBJECT]
