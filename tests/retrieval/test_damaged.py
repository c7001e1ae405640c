"""What is damaged goes out in no form, and nothing is said of it that was not stored (REQUIREMENTS T9)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from archive_tools import ct, store, store_file
from box import ct_study
from getting import STUDY_ROOT, getter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loopback import eventually
from pydicom import dcmread
from pydicom.data import get_testdata_file
from retrieving import Box, box, identifier, saved

from gateway.archive.contents import head_of
from gateway.archive.index import Archive
from gateway.archive.matches import header_of
from gateway.archive.rows import InstanceRow
from gateway.archive.views import View
from gateway.conversion.frame_lists import FrameRequest
from gateway.conversion.identity import Identity
from gateway.errors import DamagedError, ObjectError
from gateway.objects.part10 import DEFLATED, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from gateway.retrieval.decompress import Decompressing
from gateway.retrieval.frames import extracted
from gateway.retrieval.rendition import WHOLE, Deflating
from gateway.retrieval.without_bulk import WithoutBulkData

WAYS: dict[str, Callable[[Archive, InstanceRow], object]] = {
    "whole": lambda archive, row: WHOLE.source(archive, row, row.transfer_syntax),
    "implicit": lambda archive, row: WHOLE.source(archive, row, IMPLICIT_LITTLE),
    "deflated": lambda archive, row: Deflating(WHOLE).source(archive, row, DEFLATED),
    "without bulk data": lambda archive, row: WithoutBulkData().source(archive, row, EXPLICIT_LITTLE),
}


def flip(path: Path, place: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << bit
    with path.open("r+b") as file:
        file.write(data)


def sent(source) -> bytes:
    return b"".join(source.chunks(64))


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_T9_a_flipped_bit_goes_out_in_no_form(archive: Archive, way: str, place: int, bit: int) -> None:
    row = archive.instance("1.2.3.4.1")
    if row is None:
        store(archive, ct())
        row = archive.instance("1.2.3.4.1")
        assert sent(WAYS[way](archive, row))
    path = archive.path_of(row)
    place = row.dataset_offset + place % row.length
    flip(path, place, bit)
    try:
        with pytest.raises(DamagedError, match=row.name):
            sent(WAYS[way](archive, row))
    finally:
        flip(path, place, bit)


def test_T9_what_is_compressed_is_compared_before_it_is_decoded(archive: Archive, tmp_path: Path) -> None:
    path = Path(get_testdata_file("MR_small_RLE.dcm"))
    store_file(archive, path)
    row = archive.instance(str(dcmread(path).SOPInstanceUID))
    flip(archive.path_of(row), -20)
    with pytest.raises(DamagedError, match=row.name):
        Decompressing(tmp_path).source(archive, row, EXPLICIT_LITTLE)


@pytest.mark.parametrize("place", [400, -1])
def test_T9_headers_that_answers_are_made_of_are_those_that_were_stored(archive: Archive, place: int) -> None:
    store(archive, ct())
    row = archive.instance("1.2.3.4.1")
    right = head_of(archive, row).dataset
    flip(archive.path_of(row), place)
    if place < 0:  # the pixels: what the header says is still true
        assert header_of(archive, row.name, row.kind) == right
        return
    for read in (lambda: head_of(archive, row), lambda: header_of(archive, row.name, row.kind)):
        with pytest.raises(DamagedError):
            read()
    with archive.database.transaction() as connection:  # as in an index older than that
        connection.execute("UPDATE instance SET pixel_digest = NULL, head_digest = NULL")
    with pytest.raises(DamagedError):
        head_of(archive, row)


def converted(gateway: Box, folder: Path) -> tuple[InstanceRow, list[InstanceRow]]:
    slices = ct_study(4)
    gateway.admit_files(*[saved(ds, folder) for ds in slices])
    gateway.convert_all()
    study = str(slices[0].StudyInstanceUID)
    (row,) = gateway.archive.study_instances(study, View.ENHANCED)
    return row, gateway.archive.study_sources(study)


@pytest.mark.parametrize("what", ["source", "recipe"])
def test_T9_frames_of_damaged_files_are_not_given(tmp_path: Path, what: str) -> None:
    with box(tmp_path, {}) as gateway:
        row, sources = converted(gateway, tmp_path)
        archive = gateway.archive
        flip(archive.path_of(sources[1] if what == "source" else row), 60 if what == "recipe" else -3)
        request = FrameRequest("SimpleFrameList", (2, 3))
        with pytest.raises(ObjectError), extracted(archive, row, request, Identity()):
            pass
        assert len(archive.damage.listing()) == 1


def test_T9_C_GET_of_something_damaged_fails_and_gives_nothing(tmp_path: Path) -> None:
    with box(tmp_path, {}) as gateway:
        row, sources = converted(gateway, tmp_path)
        flip(gateway.archive.path_of(sources[2]), -3)
        with getter(gateway.port) as requestor:
            answer = requestor.get(identifier("STUDY", StudyInstanceUID=row.study))
        assert sources[2].sop_instance not in requestor.received
        assert answer.counts == (3, 1, 0)
        # Of what has begun to go out nobody can take back the beginning: its end never comes.
        with getter(gateway.port, called="GATEWAY_ENH") as requestor:
            list(requestor.association.send_c_get(identifier("STUDY", StudyInstanceUID=row.study), STUDY_ROOT))
            eventually(lambda: not requestor.association.is_established)
        assert requestor.received == {}
        assert [one.name for one in gateway.archive.damage.listing()] == [sources[2].name]
