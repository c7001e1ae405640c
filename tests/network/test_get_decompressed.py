"""Compressed instances to peers that take native ones only (PS3.4 C.4.2.3.1)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from getting import EXPLICIT, IMPLICIT, decoded, getter
from loopback import nothing_left_behind
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit
from retrieving import Box, box, identifier, saved

SOURCES = ["MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm"]


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
