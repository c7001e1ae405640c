"""Retrievals of a view whose conversion is pending wait for it, not for ever; also priority, limits."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from getting import STUDY_ROOT, extended, getter
from loopback import nothing_left_behind
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove as MOVE
from retrieving import Answer, Box, Study, box, identifier
from scripted_peer import ScriptedPeer, Talk


def willing(talk: Talk) -> None:
    talk.accept()
    talk.serve()


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study().write(tmp_path)


def moved(port: int, study: Study, called: str = "GATEWAY", priority: int = 2) -> Dataset:
    """Ask for a study by C-MOVE and return the final response."""
    ae = AE("WORKSTATION")
    ae.add_requested_context(MOVE)
    association = ae.associate("127.0.0.1", port, ae_title=called)
    wanted = identifier("STUDY", StudyInstanceUID=study.uid)
    *_, (final, _) = association.send_c_move(wanted, "DEST", MOVE, priority=priority)
    association.release()
    return final


def converting(gateway: Box, study: Study) -> threading.Thread:
    """Let the conversion end in a while."""

    def convert() -> None:
        time.sleep(0.5)
        gateway.convert(study)

    thread = threading.Thread(target=convert)
    thread.start()
    return thread


def test_Q8_C_MOVE_waits_for_a_conversion_that_is_pending(study: Study, tmp_path: Path) -> None:
    with ScriptedPeer(willing) as peer, box(tmp_path, {"DEST": peer.port}, query_wait=60) as gateway:
        gateway.admit(study)
        worker = converting(gateway, study)
        final = moved(gateway.port, study, "GATEWAY_ENH")
        worker.join()
        assert (final.Status, Answer([], final, None).counts) == (0, (2, 0, 0))
        assert sorted(peer.stored) == ["2.25.1", "2.25.2"]


def test_Q8_C_GET_waits_for_a_conversion_that_is_pending(study: Study, tmp_path: Path) -> None:
    with box(tmp_path, {}, query_wait=60) as gateway:
        gateway.admit(study)
        with getter(gateway.port, items=[extended(STUDY_ROOT, 0, 1)]) as requestor:
            worker = converting(gateway, study)
            wanted = identifier("STUDY", StudyInstanceUID=study.uid, QueryRetrieveView="ENHANCED")
            answer = requestor.get(wanted)
            worker.join()
    assert (answer.status, answer.counts) == (0, (2, 0, 0))
    assert sorted(requestor.received) == ["2.25.1", "2.25.2"]


def test_Q8_the_wait_is_bounded(study: Study, tmp_path: Path) -> None:
    with box(tmp_path, {}, query_wait=0.3) as gateway:
        gateway.admit(study)
        with getter(gateway.port, called="GATEWAY_ENH") as requestor:
            started = time.monotonic()
            answer = requestor.get(identifier("STUDY", StudyInstanceUID=study.uid))
    assert 0.3 <= time.monotonic() - started < 10
    assert (answer.status, answer.final.ErrorComment) == (0xC001, "conversion pending")


def test_M6_a_cancel_ends_the_wait(study: Study, tmp_path: Path) -> None:
    with box(tmp_path, {}, query_wait=60) as gateway:
        gateway.admit(study)
        with getter(gateway.port, called="GATEWAY_ENH") as requestor:
            timer = threading.Timer(0.3, requestor.association.send_c_cancel, (42, None, STUDY_ROOT))
            timer.start()
            answer = requestor.get(identifier("STUDY", StudyInstanceUID=study.uid))
            timer.join()
    assert (answer.status, answer.counts) == (0xFE00, (0, 0, 0))


def test_M6_an_abort_ends_the_wait(study: Study, tmp_path: Path) -> None:
    with box(tmp_path, {}, query_wait=60) as gateway:
        gateway.admit(study)
        with nothing_left_behind(), getter(gateway.port, called="GATEWAY_ENH") as requestor:
            requestor.association.dimse_timeout = 1  # it would wait that long for what can no longer come
            timer = threading.Timer(0.3, requestor.association.abort)
            timer.start()
            status, _ = next(
                requestor.association.send_c_get(identifier("STUDY", StudyInstanceUID=study.uid), STUDY_ROOT)
            )
            timer.join()
            assert "Status" not in status


@pytest.mark.parametrize("priority", [0, 1, 2])
def test_M1_the_priority_of_C_MOVE_is_that_of_its_sub_operations(priority: int, study: Study, tmp_path: Path) -> None:
    with ScriptedPeer(willing) as peer, box(tmp_path, {"DEST": peer.port}) as gateway:
        gateway.admit(study)
        assert moved(gateway.port, study, priority=priority).Status == 0
        assert {request.Priority for talk in peer.talks for request, _ in talk.stored} == {priority}


@pytest.mark.parametrize(("most", "status"), [(5, 0xA701), (6, 0x0000)])
def test_M1_more_instances_than_the_counts_can_say_are_A701(
    most: int, status: int, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.network.retrieve.MOST_INSTANCES", most)
    with ScriptedPeer(willing) as peer, box(tmp_path, {"DEST": peer.port}) as gateway:
        gateway.admit(study)
        assert moved(gateway.port, study).Status == status
        assert len(peer.stored) == (0 if status else 6)
