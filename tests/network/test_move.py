"""C-MOVE SCP: real requestors, real receivers, the real archive behind the real server (PS3.4 C.4.2)."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from box import ct_study
from loopback import eventually, free_port, nothing_left_behind, program
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelMove,
)
from retrieving import EVERY_LEVEL, LEVELS, Answer, Study, box, identifier, saved
from scripted_caller import C_CANCEL_RQ, C_MOVE_RQ, IMPLICIT, Caller, command, data_pdu, fragment
from scripted_peer import ABORT, ScriptedPeer, Talk
from tools import need

from gateway.archive.views import View
from gateway.network.requestor import Timeouts
from gateway.objects.part10 import read_header

PATIENT_ROOT = PatientRootQueryRetrieveInformationModelMove
STUDY_ROOT = StudyRootQueryRetrieveInformationModelMove


@pytest.fixture
def study(tmp_path: Path) -> Study:
    folder = tmp_path / "sources"
    folder.mkdir()
    return Study().write(folder)


def willing(talk: Talk) -> None:
    talk.accept()
    talk.serve()


@contextlib.contextmanager
def associated(port: int, called: str = "GATEWAY", calling: str = "WORKSTATION") -> Iterator[Any]:
    ae = AE(calling)
    ae.add_requested_context(PATIENT_ROOT)
    ae.add_requested_context(STUDY_ROOT)
    association = ae.associate("127.0.0.1", port, ae_title=called)
    assert association.is_established
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def move(
    port: int,
    wanted: Dataset,
    to: str = "DEST",
    *,
    called: str = "GATEWAY",
    model: str = STUDY_ROOT,
    on_pending: Callable[[Any, Dataset], None] = lambda association, status: None,
) -> Answer:
    pending: list[Dataset] = []
    with associated(port, called) as association:
        for status, failed in association.send_c_move(wanted, to, model, msg_id=42):
            if status.get("Status") == 0xFF00:
                assert failed is None, "a pending response has no Identifier"
                pending.append(status)
                on_pending(association, status)
            else:
                return Answer(pending, status, failed or None)
    raise AssertionError("no final response")


# -- who gets what


@EVERY_LEVEL
def test_M1_movescu_of_dcmtk_fetches_every_level_to_storescp_of_dcmtk(
    level: str, root: str, study: Study, tmp_path: Path
) -> None:
    keys, count = LEVELS[level]
    received = tmp_path / "received"
    received.mkdir()
    port = free_port()
    other = Study("PATIENT2", "1.2.826.2", 1).write(tmp_path)
    with program(need("storescp"), "+B", "-od", received, port, port=port), box(tmp_path, {"DEST": port}) as gateway:
        gateway.admit(study)
        gateway.admit(other)
        command = [need("movescu"), root, "-aet", "WORKSTATION", "-aec", "GATEWAY", "-aem", "DEST"]
        for key in (f"QueryRetrieveLevel={level}", *keys):
            command += ["-k", key]
        subprocess.run([*command, "127.0.0.1", str(gateway.port)], check=True, timeout=60)
    copies = {}
    for path in received.iterdir():
        header = read_header(path)
        copies[header.sop_instance] = path.read_bytes()[header.dataset_offset :]
    assert len(copies) == count
    for path in study.files:
        if path.stem in copies:
            assert copies.pop(path.stem) == path.read_bytes()[read_header(path).dataset_offset :]
    assert not copies


def test_M1_counts_add_up_in_every_response_and_the_last_is_success(study: Study, tmp_path: Path) -> None:
    with ScriptedPeer(willing) as peer, box(tmp_path, {"DEST": peer.port}) as gateway:
        gateway.admit(study)
        answer = move(gateway.port, identifier("STUDY", StudyInstanceUID=study.uid))
        talk = peer.talks[0]
    assert peer.stored == study.instances
    for status in answer.pending:
        names = ("Remaining", "Completed", "Failed", "Warning")
        assert sum(status[f"NumberOf{name}Suboperations"].value for name in names) == 6
    assert answer.pending[0].NumberOfRemainingSuboperations == 6
    assert (answer.status, answer.counts, answer.identifier) == (0x0000, (6, 0, 0), None)
    assert "NumberOfRemainingSuboperations" not in answer.final
    assert "ErrorComment" not in answer.final
    request = talk.stored[0][0]
    assert (request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID) == ("WORKSTATION", 42)
    assert str(talk.request.calling_ae_title).strip() == "GATEWAY"


def test_M3_only_the_contexts_that_are_needed_are_proposed(study: Study, tmp_path: Path) -> None:
    with ScriptedPeer(willing) as peer, box(tmp_path, {"DEST": peer.port}) as gateway:
        gateway.admit(study)
        move(gateway.port, identifier("STUDY", StudyInstanceUID=study.uid))
        proposed = peer.talks[0].request.presentation_context_definition_list
    assert [(context.abstract_syntax.name, context.transfer_syntax[0].name) for context in proposed] == [
        ("CT Image Storage", "Explicit VR Little Endian"),
        ("CT Image Storage", "Implicit VR Little Endian"),
    ]


def test_each_called_ae_title_possesses_its_view_and_sends_under_its_name(study: Study, tmp_path: Path) -> None:
    with ScriptedPeer(willing) as peer, box(tmp_path, {"DEST": peer.port}) as gateway:
        gateway.admit(study)
        gateway.settle(study)
        for called in ("GATEWAY", "GATEWAY_ENH", "GATEWAY_CLS"):
            answer = move(gateway.port, identifier("STUDY", StudyInstanceUID=study.uid), called=called)
            assert (answer.status, answer.counts) == (0x0000, (6, 0, 0))
            assert str(peer.talks[-1].request.calling_ae_title).strip() == called


def test_no_instance_in_two_guises_whichever_ae_title_is_called(study: Study, tmp_path: Path) -> None:
    with ScriptedPeer(willing) as peer, box(tmp_path, {"DEST": peer.port}) as gateway:
        gateway.admit(study)
        made = gateway.convert(study)
        sent = {}
        for called in ("GATEWAY", "GATEWAY_CLS", "GATEWAY_ENH"):
            wanted = identifier("PATIENT", PatientID=study.patient)
            assert move(gateway.port, wanted, called=called, model=PATIENT_ROOT).status == 0x0000
            sent[called] = [request.AffectedSOPInstanceUID for request, _ in peer.talks[-1].stored]
        derived = peer.talks[-1].stored[0][1]
        # A series of one view is none of another: neither is a UID that only another view has.
        for called, series in (("GATEWAY_ENH", f"{study.uid}.1"), ("GATEWAY", "2.25.91")):
            wanted = identifier("SERIES", StudyInstanceUID=study.uid, SeriesInstanceUID=series)
            assert move(gateway.port, wanted, called=called).counts == (0, 0, 0)
    assert sent == {"GATEWAY": study.instances, "GATEWAY_CLS": study.instances, "GATEWAY_ENH": made}
    pieces = [path.read_bytes()[read_header(path).dataset_offset :][:200] for path in study.files[:3]]
    assert derived == b"header of the series" + b"".join(pieces)


def test_the_enhanced_view_of_a_study_that_is_not_converted_yet_is_refused_and_never_a_mixture(
    study: Study, tmp_path: Path
) -> None:
    with ScriptedPeer(willing) as peer, box(tmp_path, {"DEST": peer.port}) as gateway:
        gateway.admit(study)
        for level, model in (("STUDY", STUDY_ROOT), ("PATIENT", PATIENT_ROOT)):
            wanted = identifier(level, StudyInstanceUID=study.uid, PatientID=study.patient)
            answer = move(gateway.port, wanted, called="GATEWAY_ENH", model=model)
            assert (answer.status, answer.final.ErrorComment) == (0xC001, "conversion pending")
        assert move(gateway.port, identifier("STUDY", StudyInstanceUID=study.uid), called="GATEWAY_CLS").status == 0
        assert len(peer.talks) == 1


# -- what is refused


def test_M1_unknown_destination_is_A801(study: Study, tmp_path: Path) -> None:
    with box(tmp_path, {}) as gateway:
        gateway.admit(study)
        answer = move(gateway.port, identifier("STUDY", StudyInstanceUID=study.uid), to="NOWHERE")
    assert answer.status == 0xA801
    assert answer.final.ErrorComment == "NOWHERE is no destination of this gateway"
    assert answer.identifier is None


@pytest.mark.parametrize(
    ("wanted", "offending", "words"),
    [
        (identifier("SERIES", SeriesInstanceUID="1.2"), 0x0020000D, "Study Instance UID (0020,000D): is missing"),
        (identifier("STUDY"), 0x0020000D, "Study Instance UID (0020,000D): is missing"),
        (identifier("PATIENT", PatientID="X"), 0x00080052, "Query/Retrieve Level (0008,0052): is none of this model"),
        (
            identifier("STUDY", StudyInstanceUID="1.2", QueryRetrieveView="ENHANCED"),
            0x00080053,
            "Query/Retrieve View (0008,0053): was not negotiated",
        ),
    ],
)
def test_M1_an_identifier_that_does_not_fit_is_A900_and_names_the_element(
    wanted: Dataset, offending: int, words: str, tmp_path: Path
) -> None:
    with box(tmp_path, {"DEST": 1}) as gateway:
        answer = move(gateway.port, wanted)
    assert answer.status == 0xA900
    assert answer.final.OffendingElement == offending
    assert answer.final.ErrorComment.startswith(words)
    assert len(answer.final.ErrorComment) <= 64


def test_M1_nothing_matches_is_success_without_sub_operations(tmp_path: Path) -> None:
    with box(tmp_path, {"DEST": 1}) as gateway:
        answer = move(gateway.port, identifier("STUDY", StudyInstanceUID="1.2.3"))
    assert (answer.status, answer.counts, answer.pending, answer.identifier) == (0x0000, (0, 0, 0), [], None)


def test_a_peer_that_may_not_retrieve_gets_no_context_for_it(tmp_path: Path) -> None:
    ae = AE("STORE_ONLY")
    ae.add_requested_context(STUDY_ROOT)
    with box(tmp_path, {"DEST": 1}) as gateway:
        association = ae.associate("127.0.0.1", gateway.port, ae_title="GATEWAY")
        assert not association.is_established


# -- what goes wrong on the way


def test_M1_a_destination_that_is_down_is_A702_with_all_failed(study: Study, tmp_path: Path) -> None:
    with box(tmp_path, {"DEST": free_port()}) as gateway:
        gateway.admit(study)
        answer = move(gateway.port, identifier("STUDY", StudyInstanceUID=study.uid))
    assert (answer.status, answer.counts) == (0xA702, (0, 6, 0))
    assert answer.final.ErrorComment == "connection refused"
    assert answer.identifier is not None
    assert list(answer.identifier.FailedSOPInstanceUIDList) == study.instances


def test_M1_a_comment_of_the_destination_is_passed_on_as_an_Error_Comment_can_hold_it(
    study: Study, tmp_path: Path
) -> None:
    def script(talk: Talk) -> None:
        talk.accept()
        talk.serve((0xA700, "disk\afull"))

    with ScriptedPeer(script) as peer, box(tmp_path, {"DEST": peer.port}) as gateway:
        gateway.admit(study)
        answer = move(gateway.port, identifier("STUDY", StudyInstanceUID=study.uid))
    assert answer.final.ErrorComment == "Refused: Out of resources (A700): disk?full"


def test_M2_failures_and_warnings_are_B000_with_the_failed_ones_listed(study: Study, tmp_path: Path) -> None:
    def script(talk: Talk) -> None:
        talk.accept()
        talk.serve((0, ""), (0xA700, "disk full"), (0xB000, "coerced"))

    with ScriptedPeer(script) as peer, box(tmp_path, {"DEST": peer.port}) as gateway:
        gateway.admit(study)
        answer = move(gateway.port, identifier("STUDY", StudyInstanceUID=study.uid))
    assert (answer.status, answer.counts) == (0xB000, (4, 1, 1))
    assert answer.final.ErrorComment == "Refused: Out of resources (A700): disk full"
    assert answer.identifier is not None
    assert answer.identifier.FailedSOPInstanceUIDList == study.instances[1]


def test_M10_all_warnings_are_B000_without_a_failed_list(study: Study, tmp_path: Path) -> None:
    def script(talk: Talk) -> None:
        talk.accept()
        talk.serve(*[(0xB000, "")] * 6)

    with ScriptedPeer(script) as peer, box(tmp_path, {"DEST": peer.port}) as gateway:
        gateway.admit(study)
        answer = move(gateway.port, identifier("STUDY", StudyInstanceUID=study.uid))
    assert (answer.status, answer.counts, answer.identifier) == (0xB000, (0, 0, 6), None)


def test_M10_a_destination_that_takes_none_of_it_is_a_failure(study: Study, tmp_path: Path) -> None:
    def script(talk: Talk) -> None:
        talk.accept(refuse=lambda abstract, transfer: True)
        talk.serve()

    with ScriptedPeer(script) as peer, box(tmp_path, {"DEST": peer.port}) as gateway:
        gateway.admit(study)
        answer = move(gateway.port, identifier("STUDY", StudyInstanceUID=study.uid))
    assert (answer.status, answer.counts) == (0xA702, (0, 6, 0))
    assert answer.final.ErrorComment == "peer does not accept CT Image Storage"


def test_a_destination_that_aborts_in_mid_object(study: Study, tmp_path: Path) -> None:
    def script(talk: Talk) -> None:
        talk.accept()
        talk.respond(talk.message()[0])
        talk.pdu()
        talk.socket.sendall(ABORT)

    with ScriptedPeer(script) as peer, box(tmp_path, {"DEST": peer.port}) as gateway:
        gateway.admit(study)
        answer = move(gateway.port, identifier("STUDY", StudyInstanceUID=study.uid))
    assert (answer.status, answer.counts) == (0xB000, (1, 5, 0))
    assert answer.final.ErrorComment == "association aborted"


def slow(seconds: float) -> Callable[[Talk], None]:
    def script(talk: Talk) -> None:
        talk.accept()
        while True:
            request, _ = talk.message()
            time.sleep(seconds)
            talk.respond(request)

    return script


def test_M1_while_one_instance_takes_long_there_is_a_pending_response_at_least_every_second(
    study: Study, tmp_path: Path
) -> None:
    times: list[float] = []
    with ScriptedPeer(slow(3)) as peer, box(tmp_path, {"DEST": peer.port}) as gateway:
        gateway.admit(study)
        wanted = identifier(
            "IMAGE",
            StudyInstanceUID=study.uid,
            SeriesInstanceUID=f"{study.uid}.1",
            SOPInstanceUID=f"{study.uid}.1.1",
        )
        started = time.monotonic()
        move(gateway.port, wanted, on_pending=lambda *_: times.append(time.monotonic()))
        times.append(time.monotonic())
    gaps = [later - earlier for earlier, later in zip([started, *times], times, strict=False)]
    # A busy machine may add something to the second; without responses meanwhile it would be three.
    assert max(gaps) < 2.5


def test_M6_cancel_ends_with_FE00_and_counts_what_was_not_started(tmp_path: Path) -> None:
    study = Study(count=50).write(tmp_path)

    def cancel(association: Any, status: Dataset) -> None:
        if status.NumberOfCompletedSuboperations:
            association.send_c_cancel(42, query_model=STUDY_ROOT)

    with ScriptedPeer(slow(0.1)) as peer, box(tmp_path, {"DEST": peer.port}) as gateway:
        gateway.admit(study)
        with nothing_left_behind():
            answer = move(gateway.port, identifier("STUDY", StudyInstanceUID=study.uid), on_pending=cancel)
            eventually(lambda: peer.talks[0].log[-1] == "release")
        sent = len(peer.stored)
        # The next one on the same number is not cancelled by what came before.
        again = identifier("SERIES", StudyInstanceUID=study.uid, SeriesInstanceUID="1.2.3")
        assert move(gateway.port, again).status == 0x0000
    assert answer.status == 0xFE00
    assert 0 < sent < 50
    assert answer.counts == (sent, 0, 0)
    assert answer.final.NumberOfRemainingSuboperations == 100 - sent


def test_M6_a_cancel_that_comes_together_with_its_request_is_not_lost(study: Study, tmp_path: Path) -> None:
    wanted = identifier("STUDY", StudyInstanceUID=study.uid)
    request = command(field=C_MOVE_RQ, id=7, priority=0, data=1, destination="DEST", **{"class": STUDY_ROOT})
    cancel = command(field=C_CANCEL_RQ, answered=7, data=0x0101)
    with ScriptedPeer(slow(0.1)) as peer, box(tmp_path, {"DEST": peer.port}) as gateway, Caller(gateway.port) as caller:
        gateway.admit(study)
        caller.associate({STUDY_ROOT: [IMPLICIT]}, calling="WORKSTATION")
        caller.send(
            data_pdu(
                fragment(1, request, is_command=True),
                fragment(1, encode(wanted, True, True) or b""),
                fragment(1, cancel, is_command=True),
            )
        )
        while (answer := caller.response())["status"] == 0xFF00:
            pass
    assert f"{answer['status']:04X}" == "FE00"
    assert len(peer.stored) < len(study.instances)


@pytest.mark.parametrize("how", ["abort", "vanish"])
def test_M6_a_requestor_that_goes_away_ends_the_sub_operations_and_leaks_nothing(how: str, tmp_path: Path) -> None:
    study = Study(count=50).write(tmp_path)
    with ScriptedPeer(slow(0.2)) as peer, box(tmp_path, {"DEST": peer.port}) as gateway:
        gateway.admit(study)
        with nothing_left_behind(), associated(gateway.port) as association:
            responses = association.send_c_move(identifier("STUDY", StudyInstanceUID=study.uid), "DEST", STUDY_ROOT)
            next(responses)
            eventually(lambda: peer.stored)
            if how == "abort":
                association.abort()
            else:
                connection = association.dul.socket.socket
                connection.shutdown(socket.SHUT_RDWR)
                connection.close()
            eventually(lambda: peer.talks[0].log[-1] in ("release", "abort", "closed"))
            responses.close()
        assert len(peer.stored) < 20


def test_M6_a_requestor_that_goes_away_while_the_destination_is_silent(study: Study, tmp_path: Path) -> None:
    def script(talk: Talk) -> None:
        talk.accept()
        while True:
            talk.pdu()

    with ScriptedPeer(script) as peer, box(tmp_path, {"DEST": peer.port}) as gateway:
        gateway.admit(study)
        with associated(gateway.port) as association:
            responses = association.send_c_move(identifier("STUDY", StudyInstanceUID=study.uid), "DEST", STUDY_ROOT)
            next(responses)
            eventually(lambda: peer.talks and "data" in peer.talks[0].log)
            association.abort()
            eventually(lambda: "abort" in peer.talks[0].log)


def test_M1_a_destination_that_never_answers_ends_in_time(study: Study, tmp_path: Path) -> None:
    def script(talk: Talk) -> None:
        while True:
            talk.pdu()

    quick = Timeouts(negotiate=1, release=1)
    with ScriptedPeer(script) as peer, box(tmp_path, {"DEST": peer.port}, timeouts=quick) as gateway:
        gateway.admit(study)
        answer = move(gateway.port, identifier("STUDY", StudyInstanceUID=study.uid))
    assert answer.status == 0xA702
    assert answer.final.ErrorComment == "no answer to the association request within 1 s"


def test_M2_a_failed_list_longer_than_64_kB_is_still_sent(tmp_path: Path) -> None:
    study = Study(uid="1.2.826." + "9" * 45, count=1).write(tmp_path)
    with box(tmp_path, {"DEST": free_port()}) as gateway:
        gateway.admit(study)
        rows = gateway.archive.select(View.RECEIVED, study=[study.uid])
        assert len(rows) == 2
        gateway.archive.select = lambda *_, **__: rows * 1000  # type: ignore[method-assign]
        answer = move(gateway.port, identifier("STUDY", StudyInstanceUID=study.uid))
    assert (answer.status, answer.counts) == (0xA702, (0, 2000, 0))
    assert answer.identifier is not None
    assert len(answer.identifier.FailedSOPInstanceUIDList) == 2000


def test_Q6_pynetdicoms_movescu_with_enhanced_conversion(tmp_path: Path) -> None:
    slices = ct_study(4)
    with ScriptedPeer(willing) as peer, box(tmp_path, {"DEST": peer.port}) as gateway:
        gateway.admit_files(*[saved(ds, tmp_path) for ds in slices])
        gateway.convert_all()
        for view, expected in (("ENHANCED", 1), ("CLASSIC", 4)):
            command = [sys.executable, "-m", "pynetdicom", "movescu", "127.0.0.1", str(gateway.port), "-S"]
            command += ["-aet", "WORKSTATION", "-aec", "GATEWAY", "-aem", "DEST", "--enhanced-conversion"]
            command += ["-k", "QueryRetrieveLevel=STUDY", "-k", f"QueryRetrieveView={view}"]
            command += ["-k", f"StudyInstanceUID={slices[0].StudyInstanceUID}"]
            subprocess.run(command, check=True, timeout=120, capture_output=True)
            assert len(peer.talks[-1].stored) == expected
