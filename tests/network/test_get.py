"""C-GET SCP: real requestors, the real archive behind the real server (PS3.4 C.4.3, C.5.3)."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from box import ct_study
from getting import CT, EXPLICIT, IMPLICIT, STUDY_ROOT, Getter, extended, getter
from loopback import nothing_left_behind
from pydicom import dcmread
from pynetdicom import AE, build_role
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelMove,
)
from retrieving import EVERY_LEVEL, LEVELS, Study, box, identifier, saved
from scripted_caller import C_CANCEL_RQ, Caller, command, data_pdu, fragment
from tools import need

from gateway.archive.views import View
from gateway.objects.part10 import read_header

PATIENT_ROOT = PatientRootQueryRetrieveInformationModelGet
C_GET_RQ, C_STORE_RSP = 0x0010, 0x8001


@pytest.fixture
def study(tmp_path: Path) -> Study:
    folder = tmp_path / "sources"
    folder.mkdir()
    return Study().write(folder)


def data_of(path: Path) -> bytes:
    return path.read_bytes()[read_header(path).dataset_offset :]


@EVERY_LEVEL
def test_M5_getscu_of_dcmtk_fetches_every_level_bit_for_bit(
    level: str, root: str, study: Study, tmp_path: Path
) -> None:
    keys, count = LEVELS[level]
    received = tmp_path / "received"
    received.mkdir()
    other = Study("PATIENT2", "1.2.826.2", 1).write(tmp_path)
    with box(tmp_path, {}) as gateway:
        gateway.admit(study)
        gateway.admit(other)
        command = [need("getscu"), root, "+B", "-od", str(received), "-aet", "WORKSTATION", "-aec", "GATEWAY"]
        for key in (f"QueryRetrieveLevel={level}", *keys):
            command += ["-k", key]
        subprocess.run([*command, "127.0.0.1", str(gateway.port)], check=True, timeout=60)
    copies = {read_header(path).sop_instance: data_of(path) for path in received.iterdir()}
    assert len(copies) == count
    for path in study.files:
        if path.stem in copies:
            assert copies.pop(path.stem) == data_of(path)
    assert not copies


@pytest.mark.parametrize("maximum", [0, 1024, 16382, 1 << 20])
def test_M5_whatever_the_length_of_a_PDU_the_bytes_are_those_received(
    maximum: int, study: Study, tmp_path: Path
) -> None:
    with box(tmp_path, {}) as gateway:
        gateway.admit(study)
        with getter(gateway.port, maximum=maximum) as requestor:
            answer = requestor.get(identifier("STUDY", StudyInstanceUID=study.uid))
    assert (answer.status, answer.counts, answer.identifier) == (0x0000, (6, 0, 0), None)
    assert requestor.received == {path.stem: data_of(path) for path in study.files}
    assert list(requestor.received) == study.instances


def test_M1_counts_add_up_in_every_response_to_C_GET(study: Study, tmp_path: Path) -> None:
    with box(tmp_path, {}) as gateway:
        gateway.admit(study)
        with getter(gateway.port, on_store=lambda number: time.sleep(0.3)) as requestor:
            answer = requestor.get(identifier("STUDY", StudyInstanceUID=study.uid))
    assert len(answer.pending) > 3
    for status in answer.pending:
        names = ("Remaining", "Completed", "Failed", "Warning")
        assert sum(status[f"NumberOf{name}Suboperations"].value for name in names) == 6
    assert "NumberOfRemainingSuboperations" not in answer.final
    assert "ErrorComment" not in answer.final


def test_M5_native_objects_go_in_the_other_little_endian_syntax_when_only_that_is_taken(
    study: Study, tmp_path: Path
) -> None:
    with box(tmp_path, {}) as gateway:
        gateway.admit(study)
        with getter(gateway.port, [(CT, (IMPLICIT,))]) as requestor:
            answer = requestor.get(identifier("STUDY", StudyInstanceUID=study.uid))
    assert answer.counts == (6, 0, 0)
    assert set(requestor.syntaxes.values()) == {IMPLICIT}


@pytest.mark.parametrize("first", [EXPLICIT, IMPLICIT])
def test_M3_contexts_of_their_own_let_the_stored_syntax_be_the_one(first: str, study: Study, tmp_path: Path) -> None:
    second = IMPLICIT if first == EXPLICIT else EXPLICIT
    with box(tmp_path, {}) as gateway:
        gateway.admit(study)
        with getter(gateway.port, [(CT, (first,)), (CT, (second,))]) as requestor:
            assert requestor.get(identifier("STUDY", StudyInstanceUID=study.uid)).counts == (6, 0, 0)
    assert set(requestor.syntaxes.values()) == {EXPLICIT}


def test_M5_the_roles_are_answered_as_far_as_the_requestor_may(study: Study, tmp_path: Path) -> None:
    with box(tmp_path, {}) as gateway:
        for calling, asked, expected in (
            ("WORKSTATION", {"scp_role": True}, (False, True)),
            ("WORKSTATION", {"scp_role": True, "scu_role": True}, (True, True)),
            ("GET_ONLY", {"scp_role": True, "scu_role": True}, (False, True)),
            ("STORE_ONLY", {"scp_role": True, "scu_role": True}, (True, False)),
        ):
            with Caller(gateway.port) as caller:
                caller.associate({CT: [EXPLICIT]}, calling=calling, items=[build_role(CT, **asked)])
                assert caller.answer is not None
                roles = [item for item in caller.answer.user_information if hasattr(item, "scp_role")]
                assert [(str(item.sop_class_uid), item.scu_role, item.scp_role) for item in roles] == [(CT, *expected)]


def test_M5_without_role_selection_nothing_is_sent_and_all_of_it_counts_as_failed(study: Study, tmp_path: Path) -> None:
    ae = AE("WORKSTATION")
    ae.add_requested_context(STUDY_ROOT)
    ae.add_requested_context(CT, EXPLICIT)
    with box(tmp_path, {}) as gateway:
        gateway.admit(study)
        association = ae.associate("127.0.0.1", gateway.port, ae_title="GATEWAY")
        requestor = Getter(association)
        answer = requestor.get(identifier("STUDY", StudyInstanceUID=study.uid))
        association.release()
    assert (answer.status, answer.counts) == (0xA702, (0, 6, 0))
    assert answer.final.ErrorComment == "peer does not accept CT Image Storage"
    assert answer.identifier is not None
    assert list(answer.identifier.FailedSOPInstanceUIDList) == study.instances


def test_M5_who_has_taken_the_SCP_role_only_cannot_store(study: Study, tmp_path: Path) -> None:
    with box(tmp_path, {}) as gateway, Caller(gateway.port) as caller:
        caller.associate({CT: [EXPLICIT]}, calling="GET_ONLY", items=[build_role(CT, scp_role=True)])
        caller.send(caller.store_command(CT, "1.2.3"))
        assert caller.pdu()[0] == 7
        assert not gateway.archive.select(View.RECEIVED)


def test_M10_what_the_requestor_answers_is_counted(study: Study, tmp_path: Path) -> None:
    for statuses, expected, failed in (
        ((0xA700, 0, 0, 0xB000, 0, 0), (0xB000, (4, 1, 1)), 1),
        ((0xB007,) * 6, (0xB000, (0, 0, 6)), 0),
        ((0xC123,) * 6, (0xA702, (0, 6, 0)), 6),
        ((0xC123, 0xB000, 0xB000, 0xB000, 0xB000, 0xB000), (0xB000, (0, 1, 5)), 1),
    ):
        folder = tmp_path / f"{statuses[0]}-{failed}"
        folder.mkdir()
        with box(folder, {}) as gateway:
            gateway.admit(study)
            with getter(gateway.port, status=lambda number, s=statuses: s[number]) as requestor:
                answer = requestor.get(identifier("STUDY", StudyInstanceUID=study.uid))
        assert (answer.status, answer.counts) == expected
        failed_list = [] if answer.identifier is None else answer.identifier["FailedSOPInstanceUIDList"]
        assert (failed_list.VM if failed_list else 0) == failed


def test_M5_a_context_of_another_operation_is_refused(study: Study, tmp_path: Path) -> None:
    model = StudyRootQueryRetrieveInformationModelMove
    request = command(field=C_GET_RQ, id=7, priority=0, data=1, **{"class": model})
    with box(tmp_path, {}) as gateway, Caller(gateway.port) as caller:
        caller.associate({model: [IMPLICIT]}, calling="WORKSTATION")
        body = encode(identifier("STUDY", StudyInstanceUID=study.uid), True, True) or b""
        caller.send(data_pdu(fragment(1, request, is_command=True), fragment(1, body)))
        assert caller.response()["status"] == 0x0122


def test_a_file_that_is_gone_costs_one_failure_and_not_the_association(study: Study, tmp_path: Path) -> None:
    with box(tmp_path, {}) as gateway:
        gateway.admit(study)
        row = gateway.archive.instance(study.instances[2])
        assert row is not None
        gateway.archive.path_of(row).unlink()
        with getter(gateway.port) as requestor:
            answer = requestor.get(identifier("STUDY", StudyInstanceUID=study.uid))
            assert requestor.association.is_established
    assert (answer.status, answer.counts) == (0xB000, (5, 1, 0))
    assert answer.identifier is not None
    assert answer.identifier.FailedSOPInstanceUIDList == study.instances[2]


def test_T9_a_file_that_ends_too_early_costs_one_failure_and_none_of_its_bytes_is_sent(
    study: Study, tmp_path: Path
) -> None:
    with box(tmp_path, {}) as gateway:
        gateway.admit(study)
        row = gateway.archive.instance(study.instances[2])
        assert row is not None
        os.truncate(gateway.archive.path_of(row), 20000)
        with nothing_left_behind(), getter(gateway.port) as requestor:
            answer = requestor.get(identifier("STUDY", StudyInstanceUID=study.uid))
            assert requestor.association.is_established
        assert (answer.status, answer.counts) == (0xB000, (5, 1, 0))
        assert answer.identifier is not None
        assert answer.identifier.FailedSOPInstanceUIDList == study.instances[2]
        assert list(requestor.received) == study.instances[:2] + study.instances[3:]


# -- views


def test_Q6_a_view_that_was_negotiated_gives_exactly_its_instances(study: Study, tmp_path: Path) -> None:
    with box(tmp_path, {}) as gateway:
        gateway.admit(study)
        made = gateway.convert(study)
        for called in ("GATEWAY", "GATEWAY_ENH", "GATEWAY_CLS"):
            own = made if called == "GATEWAY_ENH" else study.instances
            for view, expected in (("ENHANCED", made), ("CLASSIC", study.instances), (None, own)):
                wanted = identifier("STUDY", StudyInstanceUID=study.uid)
                if view:
                    wanted.QueryRetrieveView = view
                with getter(gateway.port, called=called, items=[extended(STUDY_ROOT, 0, 1)]) as requestor:
                    assert requestor.get(wanted).counts == (len(expected), 0, 0)
                assert list(requestor.received) == expected
        # At the levels below the view is needed too.
        with getter(gateway.port, items=[extended(STUDY_ROOT, 0, 1)]) as requestor:
            keys: dict[str, Any] = {"StudyInstanceUID": study.uid, "SeriesInstanceUID": "2.25.91"}
            wanted = identifier("SERIES", **keys, QueryRetrieveView="ENHANCED")
            assert requestor.get(wanted).counts == (1, 0, 0)
            wanted = identifier("IMAGE", **keys, SOPInstanceUID=made[0], QueryRetrieveView="ENHANCED")
            assert requestor.get(wanted).counts == (1, 0, 0)


@pytest.mark.parametrize(
    ("view", "keys"),
    [
        ("CLASSIC", {"SeriesInstanceUID": "2.25.91"}),
        ("ENHANCED", {"SeriesInstanceUID": "1.2.826.1.1"}),
        ("ENHANCED", {"SeriesInstanceUID": ["2.25.91", "1.2.826.1.1"]}),
        ("CLASSIC", {"SeriesInstanceUID": "2.25.91", "SOPInstanceUID": "2.25.1"}),
        ("ENHANCED", {"SeriesInstanceUID": "2.25.91", "SOPInstanceUID": ["2.25.1", "1.2.826.1.1.1"]}),
    ],
)
def test_Q7_a_view_that_contradicts_a_unique_key_is_A900(
    view: str, keys: dict[str, Any], study: Study, tmp_path: Path
) -> None:
    wanted = identifier("IMAGE" if "SOPInstanceUID" in keys else "SERIES", StudyInstanceUID=study.uid, **keys)
    wanted.QueryRetrieveView = view
    with box(tmp_path, {}) as gateway:
        gateway.admit(study)
        gateway.convert(study)
        with getter(gateway.port, items=[extended(STUDY_ROOT, 0, 1)]) as requestor:
            answer = requestor.get(wanted)
    assert (answer.status, answer.final.OffendingElement) == (0xA900, 0x00080053)
    assert not requestor.received


@pytest.mark.parametrize(
    ("negotiated", "view"),
    [((), "ENHANCED"), ((0,), "ENHANCED"), ((0, 0), "CLASSIC"), ((0, 1), "RECEIVED"), ((0, 1), "")],
)
def test_Q11_a_view_that_was_not_negotiated_or_is_none_is_A900(
    negotiated: tuple[int, ...], view: str, study: Study, tmp_path: Path
) -> None:
    wanted = identifier("STUDY", StudyInstanceUID=study.uid, QueryRetrieveView=view)
    items = [extended(STUDY_ROOT, *negotiated)] if negotiated else []
    with box(tmp_path, {}) as gateway:
        gateway.admit(study)
        gateway.convert(study)
        with getter(gateway.port, items=items) as requestor:
            answer = requestor.get(wanted)
    assert (answer.status, answer.final.OffendingElement) == (0xA900, 0x00080053)


def test_Q6_a_view_whose_conversion_is_pending_is_refused_and_never_a_mixture(study: Study, tmp_path: Path) -> None:
    with box(tmp_path, {}) as gateway:
        gateway.admit(study)
        with getter(gateway.port, items=[extended(STUDY_ROOT, 1, 1)]) as requestor:
            wanted = identifier("STUDY", StudyInstanceUID=study.uid, QueryRetrieveView="ENHANCED")
            answer = requestor.get(wanted)
            assert (answer.status, answer.final.ErrorComment) == (0xC001, "conversion pending")
            named = identifier("IMAGE", SOPInstanceUID=study.instances[0], QueryRetrieveView="ENHANCED")
            assert requestor.get(named).status == 0xC001
            wanted.QueryRetrieveView = "CLASSIC"
            assert requestor.get(wanted).counts == (6, 0, 0)


@pytest.mark.parametrize(
    ("offered", "returned"),
    [
        ((1,), (1,)),
        ((0,), (0,)),
        ((0, 1), (0, 1)),
        ((1, 1), (1, 1)),
        ((1, 2), (1, 0)),
        ((1, 1, 1, 1), (1, 1)),
        ((), None),
    ],
)
@pytest.mark.parametrize("model", [STUDY_ROOT, PatientRootQueryRetrieveInformationModelMove])
def test_Q1_byte_1_is_relational_retrieval_and_byte_2_the_view_and_one_byte_is_answered_by_one(
    model: str, offered: tuple[int, ...], returned: tuple[int, ...] | None, tmp_path: Path
) -> None:
    items = [extended(model, *offered)] if offered else []
    with box(tmp_path, {}) as gateway, Caller(gateway.port) as caller:
        caller.associate({model: [IMPLICIT]}, calling="WORKSTATION", items=items)
        assert caller.answer is not None
        found = [
            tuple(item.service_class_application_information)
            for item in caller.answer.user_information
            if hasattr(item, "service_class_application_information")
        ]
    assert found == ([] if returned is None else [returned])


def test_M4_relational_retrieval_needs_no_keys_above_the_level(study: Study, tmp_path: Path) -> None:
    wanted = identifier("IMAGE", SOPInstanceUID=[study.instances[0], study.instances[5]])
    series = identifier("SERIES", SeriesInstanceUID=f"{study.uid}.2")
    with box(tmp_path, {}) as gateway:
        gateway.admit(study)
        with getter(gateway.port, items=[extended(STUDY_ROOT, 1)]) as requestor:
            assert requestor.get(wanted).counts == (2, 0, 0)
            assert list(requestor.received) == [study.instances[0], study.instances[5]]
            assert requestor.get(series).counts == (3, 0, 0)
            # The key of the level itself is always needed.
            answer = requestor.get(identifier("SERIES", StudyInstanceUID=study.uid))
            assert (answer.status, answer.final.OffendingElement) == (0xA900, 0x0020000E)
        with getter(gateway.port, items=[extended(STUDY_ROOT, 0)]) as requestor:
            answer = requestor.get(wanted)
            assert (answer.status, answer.final.OffendingElement) == (0xA900, 0x0020000D)


# -- the end of it


def test_M6_cancel_of_C_GET_is_FE00_and_counts_what_was_not_started(tmp_path: Path) -> None:
    study = Study(count=50).write(tmp_path)
    with box(tmp_path, {}) as gateway:
        gateway.admit(study)
        with nothing_left_behind(), getter(gateway.port) as requestor:

            def cancel(number: int) -> None:
                if number == 2:
                    requestor.association.send_c_cancel(42, query_model=STUDY_ROOT)

            requestor.on_store = cancel
            answer = requestor.get(identifier("STUDY", StudyInstanceUID=study.uid))
            sent = len(requestor.received)
            # The association goes on, and what was cancelled is over.
            again = identifier("IMAGE", StudyInstanceUID=study.uid, SeriesInstanceUID=f"{study.uid}.1")
            again.SOPInstanceUID = study.instances[0]
            assert requestor.get(again).counts == (1, 0, 0)
    assert answer.status == 0xFE00
    assert 3 <= sent < 100
    assert answer.counts == (sent, 0, 0)
    assert answer.final.NumberOfRemainingSuboperations == 100 - sent


def talk(port: int, study: Study, maximum: int = 16384) -> Iterator[tuple[Caller, int]]:
    """Request everything, and yield the connection and the message ID of the first C-STORE request, fully received."""
    request = command(field=C_GET_RQ, id=7, priority=0, data=1, **{"class": STUDY_ROOT})
    body = encode(identifier("STUDY", StudyInstanceUID=study.uid), True, True) or b""
    with Caller(port) as caller:
        contexts = [(STUDY_ROOT, (IMPLICIT,)), (CT, (EXPLICIT,))]
        caller.associate(contexts, calling="WORKSTATION", items=[build_role(CT, scp_role=True)])
        caller.send(data_pdu(fragment(1, request, is_command=True), fragment(1, body)))
        number = 0
        while True:
            kind, data = caller.pdu()
            assert kind == 4
            if data[10] == 3 and data[11] == 2:
                break
            number += data[10] == 3
        yield caller, 1


@pytest.mark.parametrize(
    "how", ["abort", "reset", "close", "release", "other answer", "nonsense", "silence then close"]
)
def test_M6_whatever_a_requestor_does_instead_of_answering_nothing_is_left(how: str, tmp_path: Path) -> None:
    study = Study(count=5).write(tmp_path)
    with box(tmp_path, {}) as gateway:
        gateway.admit(study)
        with nothing_left_behind():
            for caller, number in talk(gateway.port, study):
                if how == "abort":
                    caller.send(b"\7\0\0\0\0\4\0\0\0\0")
                elif how == "reset":
                    caller.reset()
                elif how == "release":
                    caller.send(b"\5\0\0\0\0\4\0\0\0\0")
                elif how == "other answer":
                    body = command(field=C_STORE_RSP, answered=number + 5, data=0x0101, status=0, **{"class": CT})
                    caller.send(data_pdu(fragment(3, body, is_command=True)))
                    while caller.pdu()[0] == 4:
                        pass
                elif how == "nonsense":
                    caller.send(data_pdu(fragment(3, b"nonsense", is_command=True)))
                elif how == "silence then close":
                    time.sleep(1.2)


def test_M6_a_cancel_in_the_same_PDU_as_the_answer_ends_it(study: Study, tmp_path: Path) -> None:
    with box(tmp_path, {}) as gateway:
        gateway.admit(study)
        for caller, number in talk(gateway.port, study):
            answer = command(field=C_STORE_RSP, answered=number, data=0x0101, status=0, **{"class": CT})
            cancel = command(field=C_CANCEL_RQ, answered=7, data=0x0101)
            caller.send(data_pdu(fragment(1, cancel, is_command=True), fragment(3, answer, is_command=True)))
            while (response := caller.response()).get("status") == 0xFF00:
                pass
            assert response["status"] == 0xFE00
            assert response["1021"] == b"\1\0".decode("latin-1").rstrip("\0")


def test_memory_does_not_grow_with_what_a_slow_requestor_has_not_taken(tmp_path: Path) -> None:
    """A hundred megabytes on their way to somebody who does not read: a megabyte waits, the rest stays in its file."""
    study = Study(count=1).write(tmp_path)
    big = tmp_path / "big.dcm"
    ds = dcmread(study.files[0])
    ds.NumberOfFrames, ds.Rows, ds.Columns = 50, 1024, 1024
    ds.PixelData = bytes(100 << 20)
    ds.save_as(big)
    del ds
    with box(tmp_path, {}) as gateway:
        gateway.admit_files(big)
        request = command(field=C_GET_RQ, id=7, priority=0, data=1, **{"class": STUDY_ROOT})
        body = encode(identifier("STUDY", StudyInstanceUID=study.uid), True, True) or b""
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with Caller(gateway.port) as caller:
            caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            contexts = [(STUDY_ROOT, (IMPLICIT,)), (CT, (EXPLICIT,))]
            caller.associate(contexts, calling="WORKSTATION", items=[build_role(CT, scp_role=True)])
            caller.send(data_pdu(fragment(1, request, is_command=True), fragment(1, body)))
            time.sleep(1)
            length = 0
            while length < 100 << 20:
                kind, data = caller.pdu()
                assert kind == 4
                length += len(data)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 20 << 10


def test_M5_pynetdicoms_getscu_with_enhanced_conversion(tmp_path: Path) -> None:
    slices = ct_study(4)
    with box(tmp_path, {}) as gateway:
        gateway.admit_files(*[saved(ds, tmp_path) for ds in slices])
        gateway.convert_all()
        for view, expected in (("ENHANCED", 1), ("CLASSIC", 4)):
            folder = tmp_path / view
            command = [sys.executable, "-m", "pynetdicom", "getscu", "127.0.0.1", str(gateway.port), "-S", "-v"]
            command += ["-aet", "WORKSTATION", "-aec", "GATEWAY", "--enhanced-conversion", "-od", str(folder)]
            command += ["-k", "QueryRetrieveLevel=STUDY", "-k", f"QueryRetrieveView={view}"]
            command += ["-k", f"StudyInstanceUID={slices[0].StudyInstanceUID}"]
            subprocess.run(command, check=True, timeout=120, capture_output=True)
            received = [dcmread(path) for path in folder.iterdir()]
            assert [int(ds.get("NumberOfFrames", 1)) for ds in received] == [4 // expected] * expected
            assert {ds.pixel_array.tobytes() for ds in received} == (
                {ds.PixelData for ds in slices} if view == "CLASSIC" else {b"".join(ds.PixelData for ds in slices)}
            )
