"""Composite Instance Retrieve Without Bulk Data, as C-GET (PS3.4 Annex Z)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from box import ct_study
from getting import CT, EXPLICIT, IMPLICIT, LEGACY_CT, decoded, extended, getter
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from retrieving import Box, box, identifier, saved

from gateway.archive.views import View

WITHOUT_BULK = "1.2.840.10008.5.1.4.1.2.5.3"


def rich() -> Dataset:
    """An image with everything that table Z.1-1 names, and with what it does not."""
    (ds,) = ct_study(1)
    ds.add_new(0x60003000, "OW", bytes(32))
    ds.add_new(0x60100010, "US", 16)
    ds.add_new(0x60103000, "OW", bytes(32))
    ds.add_new(0x50003000, "OW", bytes(16))
    ds.add_new(0x5002200C, "OW", bytes(16))
    ds.add_new(0x00420011, "OB", b"%PDF-1.4")
    ds.add_new(0x56000020, "OF", bytes(8))
    ds.add_new(0x00287FE0, "UR", "http://192.0.2.1/frames")
    icon = Dataset()
    icon.Rows = icon.Columns = 2
    icon.PixelData = b"icon"
    icon["PixelData"].VR = "OB"
    ds.IconImageSequence = [icon]
    wave = Dataset()
    wave.NumberOfWaveformChannels = 1
    wave.add_new(0x54001010, "OW", bytes(64))
    other = Dataset()
    other.NumberOfWaveformChannels = 2
    ds.WaveformSequence = [wave, other]
    block = ds.private_block(0x0029, "ACME", create=True)
    block.add_new(1, "LO", "short")
    block.add_new(2, "OB", bytes(70000))
    block.add_new(3, "SQ", [icon])
    return ds


def expected(ds: Dataset) -> Dataset:
    """What is left of it, found out by deleting."""
    for tag in (0x7FE00010, 0x60003000, 0x60103000, 0x50003000, 0x5002200C, 0x00420011, 0x56000020, 0x00287FE0):
        del ds[tag]
    del ds.WaveformSequence[0][0x54001010]
    del ds[0x00291002]
    return ds


def fetched(gateway: Box, ds: Dataset, syntaxes: tuple[str, ...] = (EXPLICIT,), **keys: Any) -> tuple[Dataset, str]:
    uid = str(ds.SOPInstanceUID)
    with getter(gateway.port, [(str(ds.SOPClassUID), syntaxes)], models=[WITHOUT_BULK]) as requestor:
        answer = requestor.get(identifier("IMAGE", SOPInstanceUID=uid), WITHOUT_BULK)
        assert (answer.status, answer.counts) == (0, (1, 0, 0)), answer.final
    return decoded(requestor.received[uid], requestor.syntaxes[uid]), requestor.syntaxes[uid]


@pytest.mark.parametrize("wanted", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize(
    "stored",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
)
def test_M8_attributes_of_table_Z_1_1_are_left_out_and_no_other(stored: str, wanted: str, tmp_path: Path) -> None:
    ds = rich()
    ds.file_meta.TransferSyntaxUID = stored
    with box(tmp_path, {}) as gateway:
        gateway.admit_files(saved(ds, tmp_path))
        found, _ = fetched(gateway, ds, (wanted,))
    left = expected(ds)
    assert list(found.keys()) == sorted(left.keys())
    for element in left:
        # What implicit VR does to the VR of private attributes and of icons' pixels is none of this service's business.
        if not element.tag.is_private and element.keyword != "IconImageSequence":
            assert found[element.tag] == element
    assert found.IconImageSequence[0].PixelData == b"icon"
    assert found.SOPInstanceUID == ds.SOPInstanceUID


def test_M13_waveform_data_in_sequences_are_left_out_and_UIDs_stay(tmp_path: Path) -> None:
    ds = rich()
    with box(tmp_path, {}) as gateway:
        gateway.admit_files(saved(ds, tmp_path))
        found, _ = fetched(gateway, ds)
    assert [0x54001010 in one for one in found.WaveformSequence] == [False, False]
    assert [one.NumberOfWaveformChannels for one in found.WaveformSequence] == [1, 2]
    assert found.StudyInstanceUID == ds.StudyInstanceUID


def test_M13_private_attributes_go_along_unless_they_are_long(tmp_path: Path) -> None:
    ds = rich()
    with box(tmp_path, {}) as gateway:
        gateway.admit_files(saved(ds, tmp_path))
        found, _ = fetched(gateway, ds)
    assert found[0x00291001].value == "short"
    assert found[0x00291003].value[0].PixelData == b"icon"
    assert 0x00291002 not in found


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm", "ExplVR_BigEnd.dcm", "waveform_ecg.dcm"]
)
def test_M8_objects_of_others(name: str, tmp_path: Path) -> None:
    path = Path(str(get_testdata_file(name)))
    ds = dcmread(path)
    assert "StudyInstanceUID" in ds
    with box(tmp_path, {}) as gateway:
        gateway.admit_files(path)
        found, _ = fetched(gateway, ds)
    left = {0x7FE00010, 0xFFFCFFFC} if "PixelData" in ds else set()
    # Group lengths (retired) are of no use.
    kept = {element.tag for element in ds if element.tag.element and (not element.tag.is_private or element.VR != "OB")}
    assert kept - left <= {element.tag for element in found} | {0x54000100}
    assert "PixelData" not in found
    for tag in kept - left - {0x54000100}:
        assert found[tag].value == ds[tag].value, tag
    assert all("WaveformData" not in one for one in found.get("WaveformSequence", []))


def test_M8_compressed_objects_go_to_who_has_taken_only_their_transfer_syntax(tmp_path: Path) -> None:
    path = Path(str(get_testdata_file("MR_small_RLE.dcm")))
    with box(tmp_path, {}) as gateway:
        gateway.admit_files(path)
        found, syntax = fetched(gateway, dcmread(path), (RLELossless,))
    assert syntax == RLELossless
    assert "PixelData" not in found
    assert found.Rows == 64


def test_M9_the_enhanced_view_without_bulk_data(tmp_path: Path) -> None:
    slices = ct_study(5)
    with box(tmp_path, {}) as gateway:
        gateway.admit_files(*[saved(ds, tmp_path) for ds in slices])
        gateway.convert_all()
        made = gateway.archive.study_instances(str(slices[0].StudyInstanceUID), View.ENHANCED)
        wanted = identifier("IMAGE", SOPInstanceUID=made[0].sop_instance, QueryRetrieveView="ENHANCED")
        items = [extended(WITHOUT_BULK, 0, 1)]
        with getter(gateway.port, [LEGACY_CT, CT], models=[WITHOUT_BULK], items=items) as requestor:
            assert requestor.get(wanted, WITHOUT_BULK).counts == (1, 0, 0)
            wanted.QueryRetrieveView = "CLASSIC"
            assert requestor.get(wanted, WITHOUT_BULK).status == 0xA900
        with getter(gateway.port, [LEGACY_CT], models=[WITHOUT_BULK]) as other:
            wanted.QueryRetrieveView = "ENHANCED"
            assert other.get(wanted, WITHOUT_BULK).status == 0xA900
    (data,) = requestor.received.values()
    found = decoded(data, EXPLICIT)
    assert len(found.PerFrameFunctionalGroupsSequence) == 5
    assert "PixelData" not in found
    assert len(data) == made[0].length - 5 * 512 - 12


def test_M8_only_the_image_level_and_only_C_GET(tmp_path: Path) -> None:
    with box(tmp_path, {}) as gateway, getter(gateway.port, models=[WITHOUT_BULK]) as requestor:
        answer = requestor.get(identifier("STUDY", StudyInstanceUID="1.2"), WITHOUT_BULK)
        assert (answer.status, answer.final.OffendingElement) == (0xA900, 0x00080052)
