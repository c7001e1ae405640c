"""Composite Instance Root Retrieve, as C-MOVE and C-GET (PS3.4 Annex Y)."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from box import ct_study
from getting import CT, EXPLICIT, LEGACY_CT, Getter, decoded, extended, getter
from loopback import eventually, nothing_left_behind
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.dsutils import decode
from retrieving import Answer, Box, box, identifier, saved
from scripted_peer import ScriptedPeer, Talk

from gateway.archive.views import View

MOVE, GET = "1.2.840.10008.5.1.4.1.2.4.2", "1.2.840.10008.5.1.4.1.2.4.3"


@pytest.fixture
def slices() -> list[Dataset]:
    return ct_study(8)


def filled(gateway: Box, slices: list[Dataset], folder: Path) -> str:
    """Receive and convert slices; return the UID of the enhanced object."""
    gateway.admit_files(*[saved(ds, folder) for ds in slices])
    gateway.convert_all()
    (row,) = gateway.archive.study_instances(str(slices[0].StudyInstanceUID), View.ENHANCED)
    return row.sop_instance


def frames_of(ds: Dataset) -> list[bytes]:
    size = len(ds.PixelData) // int(ds.NumberOfFrames)
    return [ds.PixelData[start : start + size] for start in range(0, len(ds.PixelData), size)]


FRAMES = [
    ({"SimpleFrameList": [2, 3, 7]}, [2, 3, 7]),
    ({"SimpleFrameList": 4}, [4]),
    ({"CalculatedFrameList": [1, 5, 2, 7, 0xFFFFFFFF, 1]}, [1, 3, 5, 7, 8]),
]


@pytest.mark.parametrize(("key", "numbers"), FRAMES)
def test_M7_frames_by_C_GET(key: dict[str, Any], numbers: list[int], slices: list[Dataset], tmp_path: Path) -> None:
    with box(tmp_path, {}) as gateway:
        uid = filled(gateway, slices, tmp_path)
        with getter(gateway.port, models=[GET], called="GATEWAY_ENH") as requestor:
            answer = requestor.get(identifier("FRAME", SOPInstanceUID=uid, **key), GET)
            again = requestor.get(identifier("FRAME", SOPInstanceUID=uid, **key), GET)
        eventually(lambda: not list(gateway.archive.files.intake.glob(".*")))
    assert (answer.status, answer.counts, again.counts) == (0, (1, 0, 0), (1, 0, 0))
    ((made, data),) = requestor.received.items()  # the same request makes the same instance
    ds = decoded(data, EXPLICIT)
    assert made == ds.SOPInstanceUID != uid
    assert (ds.SOPClassUID, ds.SeriesInstanceUID) == (LEGACY_CT, ds.SeriesInstanceUID)
    assert frames_of(ds) == [slices[number - 1].PixelData for number in numbers]
    assert [ds.FrameExtractionSequence[0][keyword].value for keyword in key] == list(key.values())
    assert ds.ContributingEquipmentSequence[-1].PurposeOfReferenceCodeSequence[0].CodeValue == "109105"


def test_M7_frames_by_C_MOVE(slices: list[Dataset], tmp_path: Path) -> None:
    def willing(talk: Talk) -> None:
        talk.accept()
        talk.serve()

    with ScriptedPeer(willing) as peer, box(tmp_path, {"DEST": peer.port}) as gateway:
        uid = filled(gateway, slices, tmp_path)
        ae = AE("WORKSTATION")
        ae.add_requested_context(MOVE)
        association = ae.associate("127.0.0.1", gateway.port, ae_title="GATEWAY", ext_neg=[extended(MOVE, 0, 1)])
        wanted = identifier("FRAME", SOPInstanceUID=uid, SimpleFrameList=[1, 8], QueryRetrieveView="ENHANCED")
        with nothing_left_behind():
            *_, (final, _) = association.send_c_move(wanted, "DEST", MOVE)
            assert Answer([], final, None).counts == (1, 0, 0)
        # The image level is there as well, with a list of instances.
        wanted = identifier("IMAGE", SOPInstanceUID=[str(ds.SOPInstanceUID) for ds in slices[:2]])
        *_, (final, _) = association.send_c_move(wanted, "DEST", MOVE)
        assert Answer([], final, None).counts == (2, 0, 0)
        association.release()
        (_, data), *images = [one for talk in peer.talks for one in talk.stored]
    assert frames_of(decode(BytesIO(data), False, True)) == [slices[0].PixelData, slices[7].PixelData]
    assert [request.AffectedSOPInstanceUID for request, _ in images] == [ds.SOPInstanceUID for ds in slices[:2]]


def far_from_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the making of an instance go on until somebody ends it."""
    from gateway.conversion import extraction

    original = extraction._proved

    def proved(recipe: Any, extracted: Any, locate: Any, watch: Any) -> str:
        for _ in range(6000):
            time.sleep(0.01)
            watch()
        return original(recipe, extracted, locate, watch)

    monkeypatch.setattr(extraction, "_proved", proved)


def test_M7_a_cancel_ends_an_extraction(slices: list[Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    far_from_its_end(monkeypatch)
    with box(tmp_path, {}) as gateway:
        uid = filled(gateway, slices, tmp_path)
        with nothing_left_behind(), getter(gateway.port, models=[GET], called="GATEWAY_ENH") as requestor:
            wanted = identifier("FRAME", SOPInstanceUID=uid, SimpleFrameList=[1, 2])
            answer = requestor.get(wanted, GET, on_pending=cancelling(requestor))
            assert (answer.status, answer.counts) == (0xFE00, (0, 0, 0))
            assert answer.final.NumberOfRemainingSuboperations == 1
            assert len(answer.pending) >= 1
        eventually(lambda: not list(gateway.archive.files.intake.glob(".*")))


def cancelling(requestor: Getter) -> Callable[[Dataset], None]:
    return lambda status: requestor.association.send_c_cancel(42, query_model=GET)


def test_M7_an_abort_ends_an_extraction(slices: list[Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    far_from_its_end(monkeypatch)
    with box(tmp_path, {}) as gateway:
        uid = filled(gateway, slices, tmp_path)
        with nothing_left_behind(), getter(gateway.port, models=[GET], called="GATEWAY_ENH") as requestor:
            wanted = identifier("FRAME", SOPInstanceUID=uid, SimpleFrameList=[1, 2])
            responses = requestor.association.send_c_get(wanted, GET)
            next(responses)
            requestor.association.abort()
            eventually(lambda: not list(gateway.archive.files.intake.glob(".*")))


def status_of(answer: Answer) -> tuple[int, int | None]:
    return answer.status, answer.final.get("OffendingElement")


def test_M11_statuses_of_frame_retrieval(slices: list[Dataset], tmp_path: Path) -> None:
    with box(tmp_path, {}) as gateway:
        uid = filled(gateway, slices, tmp_path)
        with getter(gateway.port, models=[GET], called="GATEWAY_ENH") as requestor:

            def ask(instance: Any = uid, **keys: Any) -> tuple[int, int | None]:
                return status_of(requestor.get(identifier("FRAME", SOPInstanceUID=instance, **keys), GET))

            assert ask(SimpleFrameList=[9, 10]) == (0xAA00, None)
            assert ask("1.2.3.4", SimpleFrameList=[1]) == (0xAA00, None)
            assert ask() == (0xAA04, 0x00081161)
            assert ask(SimpleFrameList=[1], TimeRange=[0.0, 1.0]) == (0xAA04, 0x00081161)
            assert ask(SimpleFrameList=[2, 1]) == (0xAA04, 0x00081161)
            assert ask(CalculatedFrameList=[1, 2]) == (0xAA04, 0x00081162)
            assert ask([uid, "1.2.3"], SimpleFrameList=[1]) == (0xA900, 0x00080018)
            answer = requestor.get(identifier("SERIES", SeriesInstanceUID="1.2"), GET)
            assert status_of(answer) == (0xA900, 0x00080052)
        with getter(gateway.port, models=[GET]) as requestor:
            classic = str(slices[0].SOPInstanceUID)
            answer = requestor.get(identifier("FRAME", SOPInstanceUID=classic, SimpleFrameList=[1]), GET)
            assert status_of(answer) == (0xAA01, None)
            assert answer.final.ErrorComment
        assert not requestor.received
        eventually(lambda: not list(gateway.archive.files.intake.glob(".*")))


def test_M12_a_time_range_needs_times(tmp_path: Path) -> None:
    (ds,) = ct_study(1)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7.3"
    ds.PixelData *= 4
    ds.NumberOfFrames = 4
    timed = deepcopy(ds)
    timed.SOPInstanceUID = "1.2.826.77"
    timed.FrameTime = "500"
    timed.FrameIncrementPointer = 0x00181063
    with box(tmp_path, {}) as gateway:
        first = saved(ds, tmp_path)
        timed.file_meta.MediaStorageSOPInstanceUID = "1.2.826.77"
        gateway.admit_files(first, saved(timed, tmp_path))
        with getter(gateway.port, [ds.SOPClassUID], models=[GET]) as requestor:
            wanted = identifier("FRAME", SOPInstanceUID=str(ds.SOPInstanceUID), TimeRange=[0.5, 1.0])
            assert requestor.get(wanted, GET).status == 0xAA03
            wanted.SOPInstanceUID = "1.2.826.77"
            assert requestor.get(wanted, GET).counts == (1, 0, 0)
    (data,) = requestor.received.values()
    assert decoded(data, EXPLICIT).NumberOfFrames == 2


def test_M9_views_are_negotiated_and_relational_retrieval_is_not(slices: list[Dataset], tmp_path: Path) -> None:
    with box(tmp_path, {}) as gateway:
        uid = filled(gateway, slices, tmp_path)
        wanted = identifier("FRAME", SOPInstanceUID=uid, SimpleFrameList=[1], QueryRetrieveView="ENHANCED")
        with getter(gateway.port, models=[GET], items=[extended(GET, 1, 1)]) as requestor:
            answered = requestor.association.acceptor.sop_class_extended
            assert answered == {GET: b"\0\1"}
            assert requestor.get(wanted, GET).counts == (1, 0, 0)
            wanted.QueryRetrieveView = "CLASSIC"
            assert status_of(requestor.get(wanted, GET)) == (0xA900, 0x00080053)
        with getter(gateway.port, models=[GET]) as requestor:
            assert status_of(requestor.get(wanted, GET)) == (0xA900, 0x00080053)


def test_M7_a_requestor_that_takes_no_such_class(slices: list[Dataset], tmp_path: Path) -> None:
    with box(tmp_path, {}) as gateway:
        uid = filled(gateway, slices, tmp_path)
        with getter(gateway.port, [CT], models=[GET], called="GATEWAY_ENH") as requestor:
            answer = requestor.get(identifier("FRAME", SOPInstanceUID=uid, SimpleFrameList=[1]), GET)
    assert (answer.status, answer.counts) == (0xA702, (0, 1, 0))
    assert answer.identifier is not None
    assert answer.identifier.FailedSOPInstanceUIDList.startswith("2.25.")
