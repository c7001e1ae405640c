"""Native objects deflated for the peers that shall get them so, and for nobody else (PS3.5 A.5)."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from box import Box as Processes
from box import ct_study
from getting import CT, EXPLICIT, IMPLICIT, LEGACY_CT, getter
from loopback import free_port, nothing_left_behind, program
from peers import Orthanc, storescp
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pynetdicom import AE
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove as STUDY_ROOT_MOVE
from retrieving import Box, Study, box, identifier, saved
from scripted_peer import ABORT, ScriptedPeer, Talk
from tools import need

from gateway.archive.rows import InstanceRow
from gateway.archive.views import View
from gateway.network.requestor import Timeouts
from gateway.network.sender import Sender
from gateway.objects.part10 import DEFLATED, inflated, read_header
from gateway.pipeline.deliver import Deliverer
from gateway.pipeline.visits import Target
from gateway.retrieval.engine import Destination, run
from gateway.retrieval.rendition import WHOLE, Deflating
from gateway.retrieval.transcript import Fate, Transcript


def inflate(data: bytes) -> bytes:
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data)


def content(path: Path) -> tuple[str, bytes]:
    """Transfer syntax and data set of a file, inflated if it is deflated."""
    header = read_header(path)
    data = path.read_bytes()[header.dataset_offset :]
    if header.deflated:
        assert not len(data) % 2
        assert inflate(data) == inflated(path, 0, len(inflate(data)))
    return header.transfer_syntax, inflate(data) if header.deflated else data


def held(archive, uid: str) -> tuple[str, bytes]:
    """Transfer syntax and data set of an instance as the box has it."""
    row = archive.instance(uid)
    return row.transfer_syntax, b"".join(archive.source_of(row).chunks())


def deliver(gateway: Box, port: int, view: View, study: str) -> None:
    target = Target(Destination("PACS", "127.0.0.1", port, "GATEWAY", deflate=True), view)
    gateway.archive.jobs.schedule("deliver", study, "PACS")
    assert Deliverer(gateway.archive, target, Sender(Timeouts(release=1))).step()
    assert gateway.archive.jobs.listing(study) == []


def test_M3_S1_a_box_sends_deflated_to_the_destination_that_asks_for_it_and_takes_it(tmp_path: Path) -> None:
    ports = {"ALL": free_port(), "PLAIN": free_port(), "UNASKED": free_port()}
    tables = {
        title: {"port": port, "deflate": title != "UNASKED", "commitment": False} for title, port in ports.items()
    }
    tables["CLASSIC"] = {"port": free_port(), "deflate": True, "view": "classic", "commitment": False}
    plain = tmp_path / "PLAIN"
    plain.mkdir()
    slices = ct_study(6, 64)
    for ds in slices:
        ds.PixelData = b"".join(value.to_bytes(2, "little") for value in range(64 * 64))
    with contextlib.ExitStack() as stack:
        for title in ("ALL", "UNASKED", "CLASSIC"):
            stack.enter_context(storescp(tmp_path / title, tables[title]["port"]))
        command = (need("storescp"), "+B", "-od", plain, ports["PLAIN"])
        stack.enter_context(program(*command, port=ports["PLAIN"]))
        gateway = Processes(tmp_path, tables, quiet=0.3)
        gateway.start()
        gateway.store(slices)
        gateway.wait_done()
        assert gateway.stop() == 0
        with gateway.archive() as archive:
            for title in tables:
                found = list((tmp_path / title).iterdir())
                assert len(found) == (6 if title == "CLASSIC" else 1)
                for path in found:
                    syntax, data = content(path)
                    assert (EXPLICIT, data) == held(archive, read_header(path).sop_instance)
                    assert syntax == (DEFLATED if title in ("ALL", "CLASSIC") else EXPLICIT)
                    # Readers of others see the same pixels.
                    assert dcmread(path).PixelData == slices[0].PixelData * (1 if title == "CLASSIC" else 6)
    assert len(gateway.logged("deliver.done", "deflated=")) == 2
    assert gateway.logged("deliver.done", "destination=CLASSIC", "deflated=6")


def test_M3_Orthanc_takes_deflated_objects_and_has_their_pixels(tmp_path: Path) -> None:
    slices = ct_study(4, 32)
    study = str(slices[0].StudyInstanceUID)
    orthanc = Orthanc(tmp_path, "PACS")
    with orthanc.running(), box(tmp_path, {}) as gateway:
        gateway.admit_files(*[saved(ds, tmp_path) for ds in slices])
        gateway.convert_all()
        deliver(gateway, orthanc.port, View.ENHANCED, study)
        (name,) = orthanc.get("/instances")
        ds = dcmread(BytesIO(orthanc.file(f"/instances/{name}/file")))
        assert ds.file_meta.TransferSyntaxUID == DEFLATED
        assert ds.PixelData == b"".join(one.PixelData for one in slices)


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[tuple[Box, list[InstanceRow]]]:
    """A box with one image of each kind: explicit, implicit, big endian, compressed, deflated by who sent it."""
    names = ("CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm", "image_dfl.dcm")
    with box(tmp_path, {}) as gateway:
        paths = []
        for number, name in enumerate(names):
            ds = dcmread(str(get_testdata_file(name)), force=True)
            ds.StudyInstanceUID, ds.SOPInstanceUID = "1.2.826.7", f"1.2.826.7.{number}"
            ds.SeriesInstanceUID = ds.get("SeriesInstanceUID") or "1.2.826.7.9"
            ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
            ds.save_as(tmp_path / name)
            paths.append(tmp_path / name)
        gateway.admit_files(*paths)
        rows = sorted(gateway.archive.study_instances("1.2.826.7", View.RECEIVED), key=lambda row: row.sop_instance)
        yield gateway, rows


def sent(
    gateway: Box, rows: list[InstanceRow], script: Callable[[Talk], None], **more
) -> tuple[Transcript, list[Talk]]:
    timeouts = Timeouts(connect=1, negotiate=1, progress=2, response=2, release=1)
    with ScriptedPeer(script) as peer:
        target = Destination("PEER", "127.0.0.1", peer.port, "GATEWAY", deflate=True)
        return run(gateway.archive, rows, target, Sender(timeouts), rendition=Deflating(WHOLE), **more), peer.talks


def test_M3_only_what_is_stored_in_explicit_little_endian_is_deflated_and_offered_so_first(
    stored: tuple[Box, list[InstanceRow]],
) -> None:
    gateway, rows = stored

    def script(talk: Talk) -> None:
        talk.accept()
        talk.serve()

    transcript, (talk,) = sent(gateway, rows, script)
    offered: dict[str, list[str]] = {}
    for context in talk.request.presentation_context_definition_list:
        offered.setdefault(str(context.abstract_syntax), []).extend(map(str, context.transfer_syntax))
    assert offered[CT] == [DEFLATED, EXPLICIT, IMPLICIT]
    assert DEFLATED not in offered["1.2.840.10008.5.1.4.1.1.4"]
    for row, outcome, (_, data) in zip(rows, transcript.outcomes, talk.stored, strict=True):
        stored_bytes = b"".join(gateway.archive.source_of(row).chunks())
        assert outcome.fate == Fate.DELIVERED
        assert outcome.transfer_syntax == (DEFLATED if row.transfer_syntax == EXPLICIT else row.transfer_syntax)
        # What has come deflated goes out with the bytes it came with.
        assert (inflate(data) if row.transfer_syntax == EXPLICIT else data) == stored_bytes


@pytest.mark.parametrize("left", [EXPLICIT, IMPLICIT])
def test_M3_a_peer_that_refuses_deflated_objects_gets_what_it_gets_otherwise(
    left: str, stored: tuple[Box, list[InstanceRow]]
) -> None:
    gateway, rows = stored

    def script(talk: Talk) -> None:
        talk.accept(refuse=lambda abstract, transfer: transfer != left)
        talk.serve()

    (outcome,) = sent(gateway, rows[:1], script)[0].outcomes
    assert (outcome.fate, outcome.transfer_syntax) == (Fate.DELIVERED, left)


def test_M6_a_peer_that_aborts_in_the_middle_of_a_deflated_object_leaves_no_thread_behind(tmp_path: Path) -> None:
    ds = dcmread(str(get_testdata_file("CT_small.dcm")))
    ds.Rows = ds.Columns = 2048
    ds.PixelData = b"".join((number * number % 65521).to_bytes(2, "little") for number in range(2048 * 2048))

    def script(talk: Talk) -> None:
        talk.accept()
        for _ in range(20):
            talk.pdu()
        talk.socket.sendall(ABORT)

    with box(tmp_path, {}) as gateway:
        gateway.admit_files(saved(ds, tmp_path))
        rows = gateway.archive.study_instances(str(ds.StudyInstanceUID), View.RECEIVED)
        with nothing_left_behind():
            transcript, _ = sent(gateway, rows, script)
    assert transcript.outcomes[0].fate == Fate.INTERRUPTED
    assert "association aborted" in transcript.broken


def test_M6_a_file_that_is_cut_ends_the_association_before_the_last_fragment(
    stored: tuple[Box, list[InstanceRow]],
) -> None:
    gateway, rows = stored
    path = gateway.archive.files.locate(rows[0].name)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 100)

    def script(talk: Talk) -> None:
        talk.accept()
        talk.serve()

    transcript, talks = sent(gateway, rows[:1], script)
    assert transcript.outcomes[0].fate == Fate.UNREADABLE
    assert not any(talk.stored for talk in talks)


def test_M1_M5_only_a_C_MOVE_to_who_asks_for_it_is_deflated(tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    sources.mkdir()
    study = Study().write(sources)
    ports = {title: free_port() for title in ("SLOW", "NEAR")}
    with contextlib.ExitStack() as stack:
        for title, port in ports.items():
            stack.enter_context(storescp(tmp_path / title, port))
        gateway = stack.enter_context(box(tmp_path, ports, deflate=frozenset(("SLOW",))))
        gateway.admit(study)
        wanted = identifier("STUDY", StudyInstanceUID=study.uid)
        for title in ports:
            ae = AE("WORKSTATION")
            ae.add_requested_context(STUDY_ROOT_MOVE)
            association = ae.associate("127.0.0.1", gateway.port, ae_title="GATEWAY")
            *_, (status, _) = association.send_c_move(wanted, title, STUDY_ROOT_MOVE)
            association.release()
            assert status.Status == 0x0000
            found = {path: content(path) for path in (tmp_path / title).iterdir()}
            assert {syntax for syntax, _ in found.values()} == {DEFLATED if title == "SLOW" else EXPLICIT}
            for path, (_, data) in found.items():
                assert data == held(gateway.archive, read_header(path).sop_instance)[1]
        # Never on the association of the request, even where the requestor would take it.
        classes = [(CT, (DEFLATED,)), (CT, (EXPLICIT,)), LEGACY_CT]
        with getter(gateway.port, classes) as requestor:
            assert requestor.get(wanted).status == 0x0000
        assert set(requestor.syntaxes.values()) == {EXPLICIT}
