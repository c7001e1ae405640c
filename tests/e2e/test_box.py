"""The whole box, end to end: real processes, real sockets, real peers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from box import LEGACY_CT, Box, Pacs, ct_study
from loopback import eventually, free_port
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage
from pynetdicom import AE

FIND = "1.2.840.10008.5.1.4.1.2.2.1"


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    peer = Pacs().start()
    yield peer
    peer.stop()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Box]]:
    boxes: list[Box] = []

    def run(destinations: dict[str, Any], **options: Any) -> Box:
        boxes.append(Box(tmp_path, destinations, **options))
        boxes[-1].start()
        return boxes[-1]

    yield run
    for box in boxes:
        if box.process is not None and box.process.poll() is None:
            assert box.stop() == 0, box.text()


def test_classic_series_arrives_as_one_enhanced_object_frame_by_frame(start: Callable[..., Box], pacs: Pacs) -> None:
    box = start({"PACS": pacs.port})
    study = ct_study(8)
    assert len(box.store(study)) == 8
    box.wait_done()
    assert list(pacs.classes_of.values()) == [LEGACY_CT], box.text()
    assert pacs.images() == [(ds.SOPInstanceUID, ds.PixelData) for ds in study]
    eventually(lambda: not box.debris())


def test_the_next_query_finds_what_was_acknowledged_whichever_process_serves_it(tmp_path: Path) -> None:
    box = Box(tmp_path, {})
    # Each process takes its time to register what it has acknowledged.
    box.start("registrar.before_commit=sleep:0.5")
    served = []
    for _ in range(3):
        study = ct_study(2)
        assert len(box.store(study)) == 2
        for _ in range(4):
            started = time.monotonic()
            assert found(box, study[0].StudyInstanceUID) == 2
            served.append(time.monotonic() - started)
    assert box.stop() == 0
    assert min(served) < 0.4, "or every query waits, whatever has been registered"
    assert not box.logged("intake.not_visible")


def found(box: Box, study: str) -> int:
    """How many instances of a study a query finds."""
    entity = AE("CT1")
    entity.add_requested_context(FIND)
    association = entity.associate("127.0.0.1", box.port, ae_title="GATEWAY")
    asked = Dataset()
    asked.QueryRetrieveLevel, asked.StudyInstanceUID, asked.NumberOfStudyRelatedInstances = "STUDY", study, None
    (match, _) = association.send_c_find(asked, FIND)
    association.release()
    return int(match[1].NumberOfStudyRelatedInstances)


def test_PACS_that_is_down_for_a_while_gets_everything_and_the_intake_never_notices(start: Callable[..., Box]) -> None:
    pacs = Pacs()
    box = start({"PACS": pacs.port})
    studies = [ct_study(4), ct_study(4)]
    for study in studies:
        assert len(box.store(study)) == 4
    eventually(lambda: [job.reason for job in box.jobs()] == ["connection refused"] * 2)
    assert len(box.store(late := ct_study(4))) == 4
    pacs.start()
    box.wait_done()
    assert sorted(uid for uid, _ in pacs.images()) == sorted(
        ds.SOPInstanceUID for ds in [*studies[0], *studies[1], *late]
    )
    assert list(pacs.classes_of.values()) == [LEGACY_CT] * 3
    assert box.logged("deliver.retry", "connection refused")
    assert box.logged("deliver.back")
    pacs.stop()


def test_PACS_that_refuses_the_enhanced_class_gets_the_classic_images(start: Callable[..., Box]) -> None:
    pacs = Pacs(classes=[CTImageStorage]).start()
    box = start({"PACS": pacs.port})
    study = ct_study(4)
    box.store(study)
    box.wait_done()
    assert sorted(pacs.received) == sorted(ds.SOPInstanceUID for ds in study)
    assert box.logged("deliver.decided", "view=classic", "does not accept Legacy Converted Enhanced CT Image Storage")
    pacs.stop()


def test_PACS_that_drops_the_association_in_mid_object_gets_everything(start: Callable[..., Box], pacs: Pacs) -> None:
    box = start({"PACS": {"port": pacs.port, "view": "classic"}})
    drops = iter([False, True, False, False, True] + [False] * 20)

    def answer(event: Any) -> int:
        if next(drops):
            event.assoc.abort()
        return 0

    pacs.answer = answer
    study = ct_study(6)
    box.store(study)
    box.wait_done()
    assert sorted(pacs.received) == sorted(ds.SOPInstanceUID for ds in study)
    assert not pacs.twice()
    assert len(box.logged("deliver.retry", "association aborted")) == 2


def test_dead_destination_keeps_no_other_waiting(start: Callable[..., Box], pacs: Pacs) -> None:
    box = start({"DEAD": free_port(), "PACS": pacs.port})
    box.store(ct_study(4))
    eventually(lambda: list(pacs.classes_of.values()) == [LEGACY_CT])
    eventually(lambda: [job.destination for job in box.jobs()] == ["DEAD"])


def test_late_slices_arrive_as_a_further_object_of_the_same_series(start: Callable[..., Box], pacs: Pacs) -> None:
    box = start({"PACS": pacs.port})
    study = ct_study(6)
    box.store(study[:4])
    box.wait_done()
    box.store(study[4:])
    box.wait_done()
    objects = [pacs.dataset(uid) for uid in pacs.objects]
    assert [ds.NumberOfFrames for ds in objects] == [4, 2]
    assert objects[0].SeriesInstanceUID == objects[1].SeriesInstanceUID
    assert pacs.images() == [(ds.SOPInstanceUID, ds.PixelData) for ds in study]


def test_what_comes_back_from_the_PACS_is_not_delivered_again(start: Callable[..., Box], pacs: Pacs) -> None:
    box = start({"PACS": pacs.port})
    box.store(ct_study(4))
    box.wait_done()
    (uid,) = pacs.objects
    ours = pacs.dataset(uid)
    ours.file_meta = FileMetaDataset()
    ours.file_meta.TransferSyntaxUID = pacs.objects[uid][0]
    assert box.store([ours], calling="PACS") == [uid]
    assert box.store(prior := ct_study(2), calling="PACS") == [ds.SOPInstanceUID for ds in prior]
    assert box.jobs() == []
    assert list(pacs.received) == [uid]


def test_stop_in_the_middle_of_a_delivery_loses_nothing_and_sends_little_twice(
    start: Callable[..., Box], pacs: Pacs
) -> None:
    box = start({"PACS": {"port": pacs.port, "view": "classic"}})
    pacs.answer = lambda event: time.sleep(0.2) or 0
    study = ct_study(12)
    box.store(study)
    eventually(lambda: len(pacs.received) >= 3)
    assert box.stop() == 0
    assert 3 <= len(pacs.received) < 12
    box.start()
    box.wait_done()
    assert sorted(pacs.received) == sorted(ds.SOPInstanceUID for ds in study)
    assert all(len(digests) == 1 for digests in pacs.received.values())
