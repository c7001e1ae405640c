"""What was acknowledged is there for the next request, whatever that is and whoever serves it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from intake import Intake, running, sample
from loopback import eventually
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, build_role, evt
from scripted_caller import CT, EXPLICIT, Caller

from gateway import observe
from gateway.archive.jobs import CONVERT
from gateway.standard.commitment import (
    REQUEST_COMMITMENT,
    RESOURCE_LIMITATION,
    STORAGE_COMMITMENT_INSTANCE,
    STORAGE_COMMITMENT_PUSH,
)

HEADER, BYTES = sample()
FIND, MOVE, GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    """An intake that is slow to register what it has acknowledged, with one object of that kind."""
    with running(tmp_path) as box:
        observe.load_faults("registrar.before_commit=sleep:0.3")
        with Caller(box.port) as caller:
            caller.associate()
            assert caller.store(BYTES, CT, HEADER.sop_instance)["status"] == 0
        assert box.archive.instance(HEADER.sop_instance) is None, "or there is nothing to wait for"
        yield box


def associated(intake: Intake, *classes: str, **more):
    entity = AE("CT1")
    for sop_class in classes:
        entity.add_requested_context(sop_class, EXPLICIT)
    association = entity.associate("127.0.0.1", intake.port, ae_title="GATEWAY", **more)
    assert association.is_established
    return association


def study() -> Dataset:
    wanted = Dataset()
    wanted.QueryRetrieveLevel, wanted.StudyInstanceUID = "STUDY", HEADER.study
    return wanted


def test_C_FIND_finds_what_was_acknowledged_before(intake: Intake) -> None:
    association = associated(intake, FIND)
    answers = [status.Status for status, _ in association.send_c_find(study(), FIND)]
    association.release()
    assert answers == [0xFF00, 0x0000]


def test_C_MOVE_knows_what_was_acknowledged_before(intake: Intake) -> None:
    association = associated(intake, MOVE)
    statuses = [status.Status for status, _ in association.send_c_move(study(), "NOBODY", MOVE)]
    association.release()
    assert statuses == [0xA801]
    assert intake.archive.instance(HEADER.sop_instance) is not None


def test_C_GET_sends_what_was_acknowledged_before(intake: Intake) -> None:
    got: list[str] = []

    def store(event) -> int:
        got.append(event.request.AffectedSOPInstanceUID)
        return 0x0000

    association = associated(
        intake, GET, CT, ext_neg=[build_role(CT, scp_role=True)], evt_handlers=[(evt.EVT_C_STORE, store)]
    )
    final = [status.Status for status, _ in association.send_c_get(study(), GET)][-1]
    association.release()
    assert (final, got) == (0x0000, [HEADER.sop_instance])


def commitment(intake: Intake) -> int:
    asked = Dataset()
    asked.TransactionUID = generate_uid()
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT, HEADER.sop_instance
    asked.ReferencedSOPSequence = [item]
    association = associated(intake, STORAGE_COMMITMENT_PUSH)
    status, _ = association.send_n_action(
        asked, REQUEST_COMMITMENT, STORAGE_COMMITMENT_PUSH, STORAGE_COMMITMENT_INSTANCE
    )
    association.release()
    return status.Status


def test_J1_storage_commitment_is_asked_of_what_was_acknowledged_before(intake: Intake) -> None:
    assert commitment(intake) == 0x0000
    # Found at once, it is converted at once.
    (job,) = [job for job in intake.archive.jobs.listing() if job.kind == CONVERT]
    assert job.not_before <= intake.archive.clock.now()


def test_J1_a_request_about_what_the_index_does_not_know_yet_is_refused_for_now(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told that an object that was acknowledged does not exist."""
    monkeypatch.setattr(intake.server.registrar, "visible", lambda: False)
    assert commitment(intake) == RESOURCE_LIMITATION
    monkeypatch.undo()
    eventually(lambda: intake.archive.instance(HEADER.sop_instance))
    assert commitment(intake) == 0x0000
