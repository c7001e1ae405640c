"""Storage SCP: what is accepted, what is answered, and what is on disk afterwards (REQUIREMENTS S1 to S7)."""

from __future__ import annotations

import contextlib
import itertools
import re
import sqlite3
import struct
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from intake import Intake, running, sample
from loopback import eventually
from pydicom import dcmread
from pydicom.uid import generate_uid
from pynetdicom import AE, AllStoragePresentationContexts
from pynetdicom.pdu_primitives import SOPClassCommonExtendedNegotiation
from real_data import DATA, need_set
from scripted_caller import CT, EXPLICIT, IMPLICIT, Caller, data_pdu, fragment
from tools import need

from gateway import observe
from gateway.archive import registrar
from gateway.network.negotiation import TRANSFER_SYNTAXES
from gateway.network.policy import Peer
from gateway.objects.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, read_header

# Files of the set ct_transfer_syntaxes: one slice in each.
SYNTAXES = sorted(path.name for path in (DATA / "ct_transfer_syntaxes").glob("*.dcm")) or ["the set"]
HEADER, BYTES = sample()
PRIVATE = "1.2.826.0.1.3680043.2.1143.999.1"


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    with running(tmp_path) as box:
        yield box


def store(intake: Intake, data: bytes = BYTES, *, instance: str = HEADER.sop_instance, **more) -> dict:
    """Store one CT image on an association of its own."""
    with Caller(intake.port) as caller:
        assert caller.associate() is None
        answer = caller.store(data, CT, instance, **more)
        caller.release()
        return answer


def with_uid(old: str, new: str, data: bytes = BYTES) -> bytes:
    """Replace the value of a short explicit UI element."""
    before, after = (
        struct.pack("<2sH", b"UI", len(value) + len(value) % 2) + value.encode() + b"\0" * (len(value) % 2)
        for value in (old, new)
    )
    assert data.count(before) == 1
    return data.replace(before, after)


# S1, S5, S7: bit preserving in every transfer syntax


@pytest.mark.parametrize("name", SYNTAXES)
def test_S1_S5_S7_the_stored_data_set_is_the_data_set_off_the_wire(intake: Intake, name: str) -> None:
    path = need_set("ct_transfer_syntaxes") / name
    header = read_header(path)
    data = path.read_bytes()[header.dataset_offset :]
    with Caller(intake.port) as caller:
        caller.associate([(header.sop_class, [header.transfer_syntax])])
        answer = caller.store(data, header.sop_class, header.sop_instance)
        caller.release()
    assert answer["status"] == 0
    assert intake.stored_bytes() == data
    (row,) = intake.rows()
    assert (row.transfer_syntax, row.sop_instance) == (header.transfer_syntax, header.sop_instance)


@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_S1_fragments_of_any_size_make_the_same_data_set(intake: Intake, piece: int) -> None:
    assert store(intake, piece=piece)["status"] == 0
    assert intake.stored_bytes() == BYTES


def test_S1_several_fragments_in_one_PDU_command_included(intake: Intake) -> None:
    with Caller(intake.port) as caller:
        caller.associate()
        command = caller.store_command(CT, HEADER.sop_instance)[6:]
        parts = [fragment(1, BYTES[:100], last=False), fragment(1, b"", last=False), fragment(1, BYTES[100:])]
        caller.send(data_pdu(command, *parts))
        assert caller.response()["status"] == 0
    assert intake.stored_bytes() == BYTES


def test_S1_an_empty_last_fragment_ends_the_data_set(intake: Intake) -> None:
    with Caller(intake.port) as caller:
        caller.associate()
        caller.send(caller.store_command(CT, HEADER.sop_instance))
        caller.send(data_pdu(fragment(1, BYTES, last=False)) + data_pdu(fragment(1, b"")))
        assert caller.response()["status"] == 0
    assert intake.stored_bytes() == BYTES


def test_the_file_says_who_wrote_it_and_whom_it_came_from(intake: Intake) -> None:
    store(intake)
    (path,) = intake.files()
    text = path.read_bytes()[:400]
    for value in (IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, "CT1", EXPLICIT):
        assert value.encode() in text


def test_the_response_is_that_of_the_request(intake: Intake) -> None:
    with Caller(intake.port) as caller:
        caller.associate()
        for _ in range(2):
            answer = caller.store(BYTES, CT, HEADER.sop_instance)
            assert answer["field"] == 0x8001
            assert answer["answered"] == caller.message_id
            assert (answer["class"], answer["instance"]) == (CT, HEADER.sop_instance)
            assert "comment" not in answer


# S2, S3: what is accepted


def test_S2_S3_every_storage_class_is_accepted(intake: Intake) -> None:
    classes = [str(context.abstract_syntax) for context in AllStoragePresentationContexts]
    names = {context.abstract_syntax.name for context in AllStoragePresentationContexts}
    assert {name for name in names if "Presentation State" in name}
    for start in range(0, len(classes), 128):
        with Caller(intake.port) as caller:
            caller.associate([(uid, [IMPLICIT]) for uid in classes[start : start + 128]])
            assert {result for result, _ in caller.results.values()} == {0}
            caller.release()


@pytest.mark.parametrize("uid", ["1.2.840.10008.5.1.4.1.1.5", "1.2.840.10008.5.1.4.1.1.6", "1.2.840.10008.5.1.4.1.1.3"])
def test_S2_retired_storage_classes_are_accepted(intake: Intake, uid: str) -> None:
    with Caller(intake.port) as caller:
        caller.associate([(uid, [IMPLICIT])])
        assert caller.results == {1: (0, IMPLICIT)}


def common_extended(service: str, *related: str) -> SOPClassCommonExtendedNegotiation:
    item = SOPClassCommonExtendedNegotiation()
    item.sop_class_uid = PRIVATE
    item.service_class_uid = service
    item.related_general_sop_class_identification = list(related)
    return item


@pytest.mark.parametrize(
    "item", [common_extended("1.2.840.10008.4.2"), common_extended("1.2.840.10008.4.2", CT)], ids=["service", "related"]
)
def test_S2_a_private_class_is_stored_after_common_extended_negotiation(intake: Intake, item: object) -> None:
    data = with_uid(CT, PRIVATE)
    with Caller(intake.port) as caller:
        caller.associate([(PRIVATE, [EXPLICIT])], items=[item])
        assert caller.store(data, PRIVATE, HEADER.sop_instance)["status"] == 0
    assert intake.stored_bytes() == data


def test_S2_a_private_class_that_nothing_is_said_about_is_not_accepted(intake: Intake) -> None:
    with Caller(intake.port) as caller:
        caller.associate([(PRIVATE, [EXPLICIT]), (CT, [EXPLICIT])])
        assert (caller.results[1][0], caller.results[3][0]) == (3, 0)


def test_S2_a_private_class_of_another_service_is_not_accepted(intake: Intake) -> None:
    with Caller(intake.port) as caller:
        caller.associate([(PRIVATE, [EXPLICIT])], items=[common_extended("1.2.840.10008.4.1")])
        assert caller.results[1][0] == 3


def test_S5_every_transfer_syntax_in_use_is_accepted(intake: Intake) -> None:
    required = (
        "2 2.1 2.2 2.1.99 2.5 2.4.50 2.4.51 2.4.57 2.4.70 2.4.80 2.4.81 2.4.90 2.4.91 2.4.94 2.4.95 2.4.100 2.4.102"
        " 2.4.107 2.4.201 2.4.202 2.4.203"
    )
    assert {f"1.2.840.10008.1.{part}" for part in required.split()} <= TRANSFER_SYNTAXES
    syntaxes = sorted(TRANSFER_SYNTAXES)
    with Caller(intake.port) as caller:
        caller.associate([(CT, [syntax]) for syntax in syntaxes])
        assert [caller.results[2 * n + 1] for n in range(len(syntaxes))] == [(0, syntax) for syntax in syntaxes]


@pytest.mark.parametrize(
    "proposed",
    [
        [EXPLICIT, IMPLICIT],
        [IMPLICIT, EXPLICIT],
        ["1.2.840.10008.1.2.4.90", IMPLICIT],
        ["1.2.840.113619.5.2", "1.2.840.10008.1.2.4.70", IMPLICIT],
    ],
)
def test_S5_the_first_transfer_syntax_of_the_requestor_that_is_known_wins(intake: Intake, proposed: list[str]) -> None:
    with Caller(intake.port) as caller:
        caller.associate([(CT, proposed)])
        assert caller.results[1] == (0, proposed[1] if proposed[0].startswith("1.2.840.113619") else proposed[0])


def test_S5_an_unknown_transfer_syntax_is_refused_as_such(intake: Intake) -> None:
    with Caller(intake.port) as caller:
        caller.associate([(CT, ["1.2.840.113619.5.2"])])
        assert caller.results[1][0] == 4


# S4: what cannot be stored. Status, what the comment must say, data set, SOP Instance UID of the request.

LETTERS, LONG, DOTS = "1.2.3.abc", "1.2." + "3" * 66, "1.2..3"
NO_UID = BYTES.replace(struct.pack("<HH2s", 8, 0x18, b"UI"), struct.pack("<HH2s", 8, 0x17, b"UI"))
BAD = {
    "truncated in the pixel data": (0xC000, "truncated", BYTES[:-1000], HEADER.sop_instance),
    "truncated in the header": (0xC000, "truncated", BYTES[:777], HEADER.sop_instance),
    "empty": (0xC000, "SOP Class UID is missing", b"", HEADER.sop_instance),
    "no data set at all": (0xC000, "", b"GET / HTTP/1.0\r\n\r\n" * 50, HEADER.sop_instance),
    "no SOP Instance UID": (0xC000, "SOP Instance UID is missing", NO_UID, HEADER.sop_instance),
    "letters in the request": (0xC000, "SOP Instance UID is no UID", BYTES, LETTERS),
    "letters in both": (0xC000, "SOP Instance UID is no UID", with_uid(HEADER.sop_instance, LETTERS), LETTERS),
    "letters in the study": (
        0xC000,
        "Study Instance UID is no UID",
        with_uid(HEADER.study, LETTERS),
        HEADER.sop_instance,
    ),
    "70 characters": (0xC000, "SOP Instance UID is no UID", with_uid(HEADER.sop_instance, LONG), LONG),
    "two dots": (0xC000, "SOP Instance UID is no UID: 1.2..3", with_uid(HEADER.sop_instance, DOTS), DOTS),
    "a path": (0xC000, "SOP Instance UID is no UID", BYTES, "../../../etc/passwd"),
    "no SOP Instance UID in the request": (0xC000, "SOP Instance UID is missing", BYTES, ""),
    "another class": (
        0xA900,
        "SOP Class UID is not that of the request",
        with_uid(CT, "1.2.840.10008.5.1.4.1.1.4"),
        HEADER.sop_instance,
    ),
    "another instance": (0xA900, "SOP Instance UID is not that of the request", BYTES, "1.2.3.4"),
}


@pytest.mark.parametrize("case", BAD)
def test_S4_a_bad_object_is_refused_with_a_reason_and_leaves_nothing(intake: Intake, case: str) -> None:
    status, words, data, instance = BAD[case]
    with Caller(intake.port) as caller:
        caller.associate()
        answer = caller.store(data, CT, instance)
        assert f"{answer['status']:04X}" == f"{status:04X}"
        assert words in answer["comment"]
        assert 0 < len(answer["comment"]) <= 64
        assert intake.is_empty()
        # The association lives on.
        assert caller.store(BYTES, CT, HEADER.sop_instance)["status"] == 0
    assert len(intake.rows()) == 1


def test_S4_a_request_without_data_set_is_refused(intake: Intake) -> None:
    with Caller(intake.port) as caller:
        caller.associate()
        caller.send(caller.store_command(CT, HEADER.sop_instance, data=0x0101))
        answer = caller.response()
        assert (answer["status"], answer["comment"]) == (0xC000, "the request has no data set")
        assert caller.store(BYTES, CT, HEADER.sop_instance)["status"] == 0


def test_S4_a_class_that_is_not_that_of_the_presentation_context_is_refused(intake: Intake) -> None:
    mr = "1.2.840.10008.5.1.4.1.1.4"
    with Caller(intake.port) as caller:
        caller.associate()
        assert caller.store(with_uid(CT, mr), mr, HEADER.sop_instance)["status"] == 0x0122
        assert intake.is_empty()


FULL = ("intake.write=ENOSPC@1", "intake.write=ENOSPC@2", "intake.before_sync=EIO", "intake.before_rename=ENOSPC")


@pytest.mark.parametrize("fault", [*FULL, "intake.after_rename=EIO"])
def test_S4_a_write_error_is_answered_A700_and_leaves_nothing(intake: Intake, fault: str) -> None:
    with Caller(intake.port) as caller:
        caller.associate()
        observe.load_faults(fault)
        answer = caller.store(BYTES, CT, HEADER.sop_instance)
        assert f"{answer['status']:04X}" == "A700"
        assert re.search("space|error", answer["comment"])
        assert intake.is_empty()
        # The second time there is room.
        assert caller.store(BYTES, CT, HEADER.sop_instance)["status"] == 0
    assert intake.stored_bytes() == BYTES


@pytest.mark.parametrize("fault", FULL)
def test_S4_the_same_with_files_made_ahead(intake: Intake, fault: str) -> None:
    intake.archive.files.make_ahead()
    with Caller(intake.port) as caller:
        caller.associate()
        observe.load_faults(fault)
        assert caller.store(BYTES, CT, HEADER.sop_instance)["status"] == 0xA700
        assert [path for path in intake.files() if path.stat().st_size] == intake.rows() == []
        assert caller.store(BYTES, CT, HEADER.sop_instance)["status"] == 0
    intake.archive.files.close()
    assert intake.stored_bytes() == BYTES


def test_S4_no_room_for_files_made_ahead_is_no_harm(intake: Intake) -> None:
    observe.load_faults("blanks.before_sync=ENOSPC")
    intake.archive.files.make_ahead()
    assert intake.is_empty()
    assert store(intake)["status"] == 0
    intake.archive.files.close()
    assert intake.stored_bytes() == BYTES


@pytest.fixture
def broken(intake: Intake) -> Iterator[sqlite3.Connection]:
    """The index of the intake, taking no instance until the trigger is dropped."""
    with contextlib.closing(sqlite3.connect(intake.folder / "index.sqlite3", isolation_level=None)) as other:
        other.execute("CREATE TRIGGER broken BEFORE INSERT ON instance BEGIN SELECT RAISE(ABORT, 'broken'); END")
        yield other


def test_S4_while_the_index_takes_nothing_nothing_is_acknowledged(intake: Intake, broken, caplog) -> None:
    first, second, third = "1.2.3.1", "1.2.3.2", "1.2.3.3"
    with Caller(intake.port) as caller:
        caller.associate()

        def stored(uid: str) -> int:
            return caller.store(with_uid(HEADER.sop_instance, uid), CT, uid)["status"]

        assert stored(first) == 0, "it is safe, and nobody knows yet that the index is broken"
        eventually(lambda: "intake.index_short" in caplog.text)
        kept = list(intake.archive.files.intake.glob("*.dcm"))
        assert len(kept) == 1
        assert [stored(second), stored(second)] == [0xA700, 0xA700]
        assert list(intake.archive.files.intake.iterdir()) == kept, "nothing is left of what was refused"
        broken.execute("DROP TRIGGER broken")
        assert stored(third) == 0
    assert {row.sop_instance for row in intake.rows()} == {first, third}
    assert len(intake.files()) == 2


@pytest.mark.parametrize("point", ["registrar.before_commit", "admit.before_commit", "admit.after_commit"])
def test_S4_what_was_acknowledged_is_registered_when_the_index_fails_once(intake: Intake, point: str) -> None:
    observe.load_faults(f"{point}=EIO")
    assert store(intake)["status"] == 0
    assert len(intake.files()) == len(intake.rows()) == 1
    assert store(intake)["status"] == 0
    assert len(intake.files()) == len(intake.rows()) == 1


def test_S4_what_the_index_knows_is_not_removed_when_something_fails_after_the_commit(
    intake: Intake, broken, caplog
) -> None:
    assert store(intake)["status"] == 0
    eventually(lambda: "intake.index_short" in caplog.text)
    broken.execute("DROP TRIGGER broken")
    # The first is tried again before it, or together with it.
    observe.load_faults("registrar.after_commit=EIO@2")
    uid = "1.2.3.4"
    answer = store(intake, with_uid(HEADER.sop_instance, uid), instance=uid)
    assert answer["status"] in (0, 0xA700)
    assert len(intake.files()) == len(intake.rows()) == 2


def test_zero_frames_are_stored_conversion_will_see(intake: Intake) -> None:
    frames = struct.pack("<HH2sH", 0x28, 8, b"IS", 2) + b"0 "
    rows = BYTES.index(struct.pack("<HH2sH", 0x28, 0x10, b"US", 2))
    data = BYTES[:rows] + frames + BYTES[rows:]
    assert store(intake, data)["status"] == 0
    assert intake.stored_bytes() == data


# S6: the same SOP Instance UID again


def test_S6_the_same_object_again_is_success_and_one_copy(intake: Intake) -> None:
    assert [store(intake)["status"] for _ in range(2)] == [0, 0]
    assert len(intake.files()) == len(intake.rows()) == 1


def test_S6_two_different_objects_with_one_UID_are_both_kept(intake: Intake) -> None:
    other = BYTES.replace(HEADER.dataset[0x00100010].value, b"X" * len(HEADER.dataset[0x00100010].value))
    assert [store(intake, data)["status"] for data in (BYTES, other)] == [0, 0]
    assert sorted(path.read_bytes()[read_header(path).dataset_offset :] for path in intake.files()) == sorted(
        (BYTES, other)
    )
    assert len(intake.archive.versions(HEADER.sop_instance)) == 2


def test_S6_T3_two_objects_with_one_UID_that_share_a_transaction_are_both_kept(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registrar, "GATHER", 0.5)
    name = HEADER.dataset[0x00100010].value
    contents = [BYTES, BYTES.replace(name, b"X" * len(name)), BYTES]
    with Caller(intake.port) as one, Caller(intake.port) as other:
        one.associate()
        other.associate()
        for caller, data in zip((one, other, one), contents, strict=True):
            assert caller.store(data, CT, HEADER.sop_instance)["status"] == 0
    assert len(intake.files()) == 2
    first, second = intake.archive.versions(HEADER.sop_instance)
    assert (first.superseded, second.superseded > 0) == (0, True)
    assert first.id < second.id, "what was sent last is the current one, although it came first, too"
    assert intake.archive.files.locate(first.name).read_bytes().endswith(contents[2])


# What is passed on about the caller


def test_an_object_from_a_destination_is_a_prior_and_a_peer_decides_about_conversion(tmp_path: Path) -> None:
    peers = (Peer("CT1"), Peer("PACS"), Peer("OTHER", convert=False))
    with running(tmp_path, peers=peers, priors_from=frozenset({"PACS"})) as intake:
        for number, peer in enumerate(peers):
            uid = f"1.2.3.{number}"
            with Caller(intake.port) as caller:
                caller.associate(calling=peer.ae_title)
                assert caller.store(with_uid(HEADER.sop_instance, uid), CT, uid)["status"] == 0
        facts = {row.peer: (row.convert, row.prior) for row in intake.rows()}
    assert facts == {"CT1": (True, False), "PACS": (True, True), "OTHER": (False, False)}


# Independent senders


def test_echo(intake: Intake) -> None:
    with Caller(intake.port) as caller:
        caller.associate([("1.2.840.10008.1.1", [IMPLICIT])])
        assert caller.echo()["status"] == 0
        assert caller.echo()["answered"] == 2
        caller.release()


def test_DCMTK_echoscu_gets_its_answer(intake: Intake) -> None:
    done = subprocess.run(
        [need("echoscu"), "-aet", "CT1", "-aec", "GATEWAY", "127.0.0.1", str(intake.port)], capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_DCMTK_storescu_is_not_slowed_down_by_its_own_Nagle(intake: Intake, tmp_path_factory) -> None:
    """A receiver that delays its acknowledgements makes at least 40 ms of every object."""
    storescu = need("storescu")
    folder = tmp_path_factory.mktemp("objects")
    for _ in range(60):
        uid = generate_uid()
        data = HEADER.path.read_bytes().replace(HEADER.sop_instance.encode(), uid[: len(HEADER.sop_instance)].encode())
        (folder / f"{uid}.dcm").write_bytes(data)
    done = subprocess.run(
        [storescu, "-aet", "CT1", "-aec", "GATEWAY", "127.0.0.1", str(intake.port), "+sd", str(folder)],
        capture_output=True,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(intake.rows()) == 60
    times = [at for (at,) in intake.archive.database.rows("SELECT received_at FROM instance ORDER BY received_at")]
    # Some may be slow on a busy machine, with delayed acknowledgements none is quick.
    assert sum(later - earlier < 0.035 for earlier, later in itertools.pairwise(times)) > 10


def test_pynetdicom_sends_over_several_associations_at_once(intake: Intake) -> None:
    def send(number: int) -> list[int]:
        ae = AE("CT1")
        ae.add_requested_context(CT, EXPLICIT)
        association = ae.associate("127.0.0.1", intake.port, ae_title="GATEWAY")
        assert association.is_established
        statuses = []
        for index in range(5):
            image = dcmread(HEADER.path)
            image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}.{index}"
            statuses.append(association.send_c_store(image).Status)
        association.release()
        return statuses

    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(send, range(4))] == [[0] * 5] * 4
    assert len(intake.rows()) == 20
