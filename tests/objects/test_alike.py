"""A reader of headers that are alike gives what a reader gives that takes each for itself."""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from real_data import DATA, needs_data

from gateway.errors import ObjectError
from gateway.objects.alike import HeaderReader
from gateway.objects.part10 import Header, read_header

SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]


def outcome(read: object, path: Path) -> object:
    """Return what a file reads as, the order of its elements included."""
    try:
        header = read(path)  # type: ignore[operator]
    except ObjectError as error:
        return str(error)
    assert isinstance(header, Header)
    return header, list(header.dataset), list(header.meta)


def slice_of(number: int, **values: object) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    ds.SOPInstanceUID = f"1.2.3.{number}"
    ds.PatientName = "Doe^J"
    ds.Modality = "CT"
    ds.InstanceNumber = number
    ds.Rows = ds.Columns = 2
    ds.PixelRepresentation = 0
    block = ds.private_block(0x0009, "ACME", create=True)
    block.add_new(0x01, "LO", "same")
    block.add_new(0x02, "SL", number)
    item = Dataset()
    item.ReferencedSOPInstanceUID = f"1.2.4.{number}"
    ds.ReferencedImageSequence = [item]
    ds.PixelData = bytes(8)
    for keyword, value in values.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def save(ds: Dataset, path: Path, syntax: str) -> Path:
    ds.file_meta.TransferSyntaxUID = syntax
    ds["PixelData"].VR = "OW"
    dcmwrite(path, ds, enforce_file_format=True)
    return path


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_slices_of_a_series_are_read_as_they_are(tmp_path: Path, syntax: str) -> None:
    read = HeaderReader()
    for number in (1, 2, 3, 44, 5, 666):
        path = save(slice_of(number), tmp_path / f"{number}", syntax)
        assert outcome(read, path) == outcome(read_header, path)


def test_what_slices_have_in_common_is_one_object(tmp_path: Path) -> None:
    read = HeaderReader()
    paths = [save(slice_of(number), tmp_path / f"{number}", ExplicitVRLittleEndian) for number in range(5)]
    third, fourth = [read(path).dataset for path in paths][3:]
    assert third[0x00100010] is fourth[0x00100010]
    assert third[0x00091001] is fourth[0x00091001]
    assert third[0x00200013] != fourth[0x00200013]


CHANGES = {
    "Rows": [2, 3],
    "PatientName": ["Doe^J", "Doe^Jane", "", None],
    "PixelRepresentation": [0, 1],
    "SmallestImagePixelValue": [0, 5],
    "ReferencedImageSequence": [[], None, [Dataset(), Dataset()]],
    "ImageComments": ["odd", "even"],
    "PixelData": [bytes(8), bytes(12)],
}
_values = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in CHANGES.items()})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    slices=st.lists(st.tuples(_values, st.sampled_from(SYNTAXES[:2])), min_size=3, max_size=9),
    undefined=st.booleans(),
    behind=st.lists(st.booleans(), min_size=9, max_size=9),
)
def test_whatever_differs_nothing_is_read_otherwise(
    tmp_path: Path, slices: list[tuple[dict, str]], undefined: bool, behind: list[bool]
) -> None:
    read = HeaderReader()
    for number, (values, syntax) in enumerate(slices):
        values = {name: value for name, value in values.items() if value is not None or name in slice_of(1)}
        ds = slice_of(number, **values)
        if undefined and "ReferencedImageSequence" in ds:
            ds["ReferencedImageSequence"].is_undefined_length = True
        if behind[number]:
            ds.DataSetTrailingPadding = bytes(6)
        path = save(ds, tmp_path / "slice", syntax)
        assert outcome(read, path) == outcome(read_header, path)


def test_a_byte_changed_anywhere_is_read_as_it_stands(tmp_path: Path) -> None:
    read = HeaderReader()
    for number in range(4):
        read(save(slice_of(number), tmp_path / f"{number}", ExplicitVRLittleEndian))
    pristine = save(slice_of(7), tmp_path / "pristine", ExplicitVRLittleEndian).read_bytes()
    path = tmp_path / "changed"
    for position in range(len(pristine)):
        for flip in (0x01, 0x80):
            path.write_bytes(pristine[:position] + bytes((pristine[position] ^ flip,)) + pristine[position + 1 :])
            assert outcome(read, path) == outcome(read_header, path), position
    for length in range(0, len(pristine), 3):
        path.write_bytes(pristine[:length])
        assert outcome(read, path) == outcome(read_header, path), length


def test_group_lengths_and_no_meta_information_change_nothing(tmp_path: Path) -> None:
    read = HeaderReader()
    for number in range(5):
        ds = slice_of(10**number)
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        ds["PixelData"].VR = "OW"
        buffer = BytesIO()
        dcmwrite(buffer, ds, implicit_vr=True, little_endian=True)
        plain = buffer.getvalue()[buffer.getvalue().index(b"\x08\0\x16\0") :]
        path = tmp_path / "plain"
        path.write_bytes(struct.pack("<HHII", 8, 0, 4, len(plain) + number) + plain)
        assert outcome(read, path) == outcome(read_header, path)


@needs_data
def test_real_files_are_read_as_they_are() -> None:
    read = HeaderReader()
    for path in sorted(path for path in DATA.rglob("*") if path.is_file()):
        assert outcome(read, path) == outcome(read_header, path), path
