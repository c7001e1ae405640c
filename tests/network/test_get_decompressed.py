"""Compressed instances to peers that take native ones only (PS3.4 C.4.2.3.1)."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from getting import EXPLICIT, IMPLICIT, STUDY_ROOT, decoded, getter
from loopback import alive, eventually, nothing_left_behind
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGExtended12Bit, RLELossless
from pynetdicom import AE
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FIND
from retrieving import Box, box, identifier, saved

SOURCES = ["MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm"]


def compressed(count: int, folder: Path) -> list[Path]:
    """Write a study of compressed slices."""
    ds = dcmread(str(get_testdata_file(SOURCES[0])))
    paths = []
    for number in range(1, count + 1):
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.9.{number}"
        paths.append(saved(ds, folder))
    return paths


def fetch(gateway: Box, path: Path, syntaxes: list[tuple[str, ...]]) -> tuple[int, dict[str, bytes], dict[str, str]]:
    ds = dcmread(path)
    wanted = identifier("STUDY", StudyInstanceUID=ds.StudyInstanceUID)
    with getter(gateway.port, [(str(ds.SOPClassUID), one) for one in syntaxes]) as requestor:
        answer = requestor.get(wanted)
    return answer.status, requestor.received, requestor.syntaxes


@pytest.mark.parametrize("wanted", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("name", SOURCES)
def test_M3_lossless_ones_are_decoded_pixel_for_pixel(name: str, wanted: str, tmp_path: Path) -> None:
    path = Path(str(get_testdata_file(name)))
    with box(tmp_path, {}) as gateway:
        gateway.admit_files(path)
        with nothing_left_behind():
            status, received, syntaxes = fetch(gateway, path, [(wanted,)])
        assert not list(gateway.archive.files.intake.glob(".*"))
    assert status == 0
    ((uid, data),) = received.items()
    assert syntaxes[uid] == wanted
    found, source = decoded(data, wanted), dcmread(path)
    assert np.array_equal(np.frombuffer(found.PixelData, "<i2"), source.pixel_array.ravel())
    left = [element.tag for element in source if element.tag.group not in (0x7FE0, 0xFFFC) and element.tag.element]
    for tag in left:
        assert tag.is_private or found[tag] == source[tag]


@pytest.mark.parametrize("name", SOURCES)
def test_M3_the_stored_syntax_comes_first_and_its_bytes_are_sent(name: str, tmp_path: Path) -> None:
    path = Path(str(get_testdata_file(name)))
    stored = str(dcmread(path).file_meta.TransferSyntaxUID)
    with box(tmp_path, {}) as gateway:
        gateway.admit_files(path)
        (row,) = gateway.archive.select(1)  # type: ignore[arg-type]
        kept = b"".join(gateway.archive.source_of(row).chunks())
        status, received, syntaxes = fetch(gateway, path, [(EXPLICIT,), (stored,)])
    assert (status, list(syntaxes.values()), list(received.values())) == (0, [stored], [kept])


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEG2000Lossless])
def test_M3_what_is_lossy_or_broken_is_not_decoded_and_fails(syntax: str, tmp_path: Path) -> None:
    ds = dcmread(str(get_testdata_file("MR_small_RLE.dcm")))
    ds.PixelData = encapsulate([b"no image at all"])
    ds.file_meta.TransferSyntaxUID = syntax
    with box(tmp_path, {}) as gateway:
        path = saved(ds, tmp_path)
        gateway.admit_files(path)
        with nothing_left_behind():
            status, received, _ = fetch(gateway, path, [(EXPLICIT,)])
    assert (status, received) == (0xA702, {})


def test_M3_one_process_decodes_a_whole_study_and_a_broken_slice_spoils_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = compressed(20, tmp_path)
    broken = dcmread(paths[7])
    broken.PixelData = encapsulate([b"no image at all"])
    broken.save_as(paths[7])
    starts, program = tmp_path / "starts", tmp_path / "counted"
    program.write_text(f'#!/bin/sh\necho >> {starts}\nexec {sys.executable} "$@"\n')
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    with box(tmp_path, {}) as gateway:
        gateway.admit_files(*paths)
        with nothing_left_behind(), getter(gateway.port, [(str(broken.SOPClassUID), (EXPLICIT,))]) as requestor:
            answer = requestor.get(identifier("STUDY", StudyInstanceUID=broken.StudyInstanceUID))
        assert not list(gateway.archive.files.intake.glob(".*"))
    assert (answer.status, answer.counts) == (0xB000, (19, 1, 0))
    assert answer.identifier is not None
    assert answer.identifier.FailedSOPInstanceUIDList == paths[7].stem
    assert len(starts.read_text().splitlines()) == 1


def test_M6_an_abort_ends_the_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid, program = tmp_path / "pid", tmp_path / "hanging"
    program.write_text(f"#!/bin/sh\necho $$ > {pid}\nexec sleep 600\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    (path,) = compressed(1, tmp_path)
    ds = dcmread(path)
    with box(tmp_path, {}) as gateway:
        gateway.admit_files(path)
        with nothing_left_behind(), getter(gateway.port, [(str(ds.SOPClassUID), (EXPLICIT,))]) as requestor:
            requestor.association.send_c_get(identifier("STUDY", StudyInstanceUID=ds.StudyInstanceUID), STUDY_ROOT)
            eventually(pid.exists)
            requestor.association.abort()
            eventually(lambda: not alive(int(pid.read_text())))
        assert not list(gateway.archive.files.intake.glob(".*"))


@pytest.mark.parametrize(
    ("name", "syntaxes"),
    [
        ("MR_small_RLE.dcm", [RLELossless, EXPLICIT, IMPLICIT]),
        ("SC_rgb_rle.dcm", [RLELossless]),  # colours are not decoded
        ("MR_small_implicit.dcm", [IMPLICIT, EXPLICIT]),
        ("JPEG-lossy.dcm", [JPEGExtended12Bit]),
    ],
)
def test_F14_available_syntaxes_are_those_that_a_retrieval_can_give(
    name: str, syntaxes: list[str], tmp_path: Path
) -> None:
    path = Path(str(get_testdata_file(name)))
    ds = dcmread(path)
    unique = {key: getattr(ds, key) for key in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")}
    wanted = identifier("IMAGE", AvailableTransferSyntaxUID="", **unique)
    with box(tmp_path, {}) as gateway:
        gateway.admit_files(path)
        ae = AE("WORKSTATION")
        ae.add_requested_context(FIND)
        association = ae.associate("127.0.0.1", gateway.port, ae_title="GATEWAY")
        (_, found), _ = association.send_c_find(wanted, FIND)
        association.release()
        assert found.AvailableTransferSyntaxUID == (syntaxes if len(syntaxes) > 1 else syntaxes[0])
        for syntax in syntaxes:
            status, _, sent = fetch(gateway, path, [(syntax,)])
            assert (status, sent) == (0, {str(ds.SOPInstanceUID): syntax})
