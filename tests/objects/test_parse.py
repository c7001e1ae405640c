"""Files against pydicom, broken files against nothing but `ObjectError` (PS3.5 section 7, PS3.10)."""

from __future__ import annotations

import contextlib
import io
import struct
import subprocess
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from conversion.material import GSPS, coded, item, other, save, series_of
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from real_data import DATA
from tools import need

from gateway.errors import ObjectError
from gateway.objects.elements import DataSet, Element, Span, decoded, integer, numbers, text
from gateway.objects.parse import DEEPEST, Syntax, parse_dataset
from gateway.objects.part10 import IMPLEMENTATION_CLASS_UID, check_identity, file_meta, read_header

BUNDLED = Path(pydicom.__file__).parent / "data"
PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)

# Too short for what they announce.
BROKEN = {"MR_truncated.dcm", "rtplan_truncated.dcm", "DICOMDIR-nooffset", "emri_small_jpeg_2k_lossless_too_short.dcm"}


def _files() -> Iterator[Path]:
    for root in (BUNDLED / "test_files", BUNDLED / "charset_files", DATA):
        yield from sorted(path for path in root.rglob("*") if path.is_file())


def _compare(ours: DataSet, theirs: Dataset, path: str) -> int:
    """Compare tags and values at every depth, those of pydicom as they stand in the file where it keeps them."""
    tags = {tag for tag in theirs.keys() if tag.element or tag.group == 2}  # noqa: SIM118 - a Dataset yields elements
    assert set(ours) == {int(tag) for tag in tags if tag not in PIXELS or int(tag) in ours}, path
    count = 0
    for tag in tags:
        if tag not in ours:
            continue
        raw, element = theirs.get_item(tag), ours[int(tag)]
        count += 1
        if isinstance(element.value, tuple):
            inner = theirs[tag].value
            assert len(inner) == len(element.value), f"{path} {tag}"
            for number, (one, another) in enumerate(zip(element.value, inner, strict=True)):
                count += _compare(one, another, f"{path} {tag}[{number}]")
        elif isinstance(raw, RawDataElement) and theirs.is_little_endian is not False:
            assert not isinstance(element.value, Span)
            assert element.value == (raw.value or b""), f"{path} {tag}"
            assert raw.VR in (None, element.vr) or element.vr == "SQ", f"{path} {tag}"
    return count


def test_tags_and_values_are_those_of_pydicom() -> None:
    compared, refused = 0, set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in _files():
            try:
                header = read_header(path)
            except ObjectError as error:
                refused |= {path.name} if "no DICOM file" not in str(error) else set()
                continue
            try:
                theirs = dcmread(path, force=True, stop_before_pixels=header.pixels is not None)
            except (EOFError, ValueError, KeyError, AttributeError, zlib.error):
                continue
            if header.big_endian:
                continue  # pydicom's raw values are big endian: compared decoded below
            assert header.transfer_syntax == theirs.file_meta.get("TransferSyntaxUID", header.transfer_syntax), path
            trailing = {tag for tag in header.dataset if tag > PIXELS[-1]} if header.pixels else set()
            ours = {tag: element for tag, element in header.dataset.items() if tag not in trailing}
            compared += _compare(ours, theirs, str(path)) > 0
    assert compared > 100
    assert refused <= BROKEN


@pytest.mark.parametrize(
    "name", ["ExplVR_BigEnd.dcm", "MR_small_bigendian.dcm", "rtdose_expb.dcm", "liver_expb_1frame.dcm"]
)
def test_big_endian_values_are_turned_round(name: str) -> None:
    header = read_header(BUNDLED / "test_files" / name)
    theirs = dcmread(BUNDLED / "test_files" / name)
    assert header.big_endian
    assert header.transfer_syntax == ExplicitVRBigEndian
    seen = 0
    for element in theirs:
        if element.tag.element == 0:
            continue
        if element.VR in ("US", "UL", "SS", "FD", "FL") and element.VM == 1:
            assert numbers(header.dataset, int(element.tag)) == (element.value,), element
            seen += 1
        elif element.VR in ("UI", "CS", "IS") and element.VM == 1:
            assert text(header.dataset, int(element.tag)) == str(element.value), element
    assert seen >= 4
    assert integer(header.dataset, "Rows") == theirs.Rows


def _sample() -> Dataset:
    def change(ds: Dataset) -> None:
        block = ds.private_block(0x0019, "ACME", create=True)
        block.add_new(1, "UN", b"\0\1\2\3")
        block.add_new(2, "SQ", [item(ProtocolName="in private")])
        ds.ProcedureCodeSequence = [coded("1", "99A", "one"), Dataset(), coded("2", "99A", "two")]
        ds.ProcedureCodeSequence[0].ContextGroupVersion = "20200101"
        ds.RequestAttributesSequence = [item(ScheduledProtocolCodeSequence=[coded("3", "99A", "three")])]
        ds.SelectorATValue = [0x00100010, 0x00200020]
        ds.add_new(0x00189087, "FD", 1000.5)
        ds.add_new(0x00081163, "FD", [1.0, 2.0])
        ds.PixelPaddingValue = 7

    return series_of(count=1, change=change)[0]


@pytest.mark.parametrize("undefined", [False, True], ids=["defined", "undefined"])
@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian],
    ids=lambda uid: uid.name,
)
def test_every_syntax_gives_the_same_elements(syntax: str, undefined: bool, tmp_path: Path) -> None:
    wanted = read_header(save(_sample(), tmp_path / "wanted.dcm")).dataset
    ds = _sample()
    for element in ds.iterall():
        if element.VR == "SQ":
            element.is_undefined_length = undefined
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    big, implicit = syntax == ExplicitVRBigEndian, syntax == ImplicitVRLittleEndian
    ds.save_as(tmp_path / "other.dcm", implicit_vr=implicit, little_endian=not big, enforce_file_format=True)
    header = read_header(tmp_path / "other.dcm")
    assert (header.transfer_syntax, header.big_endian, header.implicit) == (syntax, big, implicit)
    assert header.irregular == []
    unknown = {0x00191001, 0x00191002}
    for tag in wanted.keys() | header.dataset.keys():
        # Implicit VR does not say what private elements are.
        if not (implicit and tag in unknown):
            assert header.dataset.get(tag) == wanted.get(tag), hex(tag)
    assert header.pixels is not None
    assert header.pixels.length == 128


def test_what_implicit_VR_leaves_open_goes_by_the_sign_of_the_pixels(tmp_path: Path) -> None:
    def signed(ds: Dataset) -> None:
        ds.PixelRepresentation = 1
        ds.PixelPaddingValue = -2000
        mapping = item(RealWorldValueFirstValueMapped=-1024, RealWorldValueLastValueMapped=3071, LUTLabel="HU")
        ds.RealWorldValueMappingSequence = [mapping]

    path = save(series_of("MR", count=1, change=signed)[0], tmp_path / "1.dcm", ImplicitVRLittleEndian)
    ds = read_header(path).dataset
    (mapping,) = ds[0x00409096].value
    assert numbers(ds, "PixelPaddingValue") == (-2000,)
    assert mapping[0x00409216].vr == "SS"
    assert numbers(mapping, "RealWorldValueFirstValueMapped") == (-1024,)


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless], ids=lambda uid: uid.name
)
def test_a_file_cut_at_any_byte_is_refused_or_read(syntax: str, tmp_path: Path) -> None:
    path = save(_sample(), tmp_path / "1.dcm", syntax)
    content = path.read_bytes()
    header = read_header(path)
    target = tmp_path / "cut.dcm"
    read = []
    for length in range(len(content)):
        target.write_bytes(content[:length])
        try:
            if read_header(target).pixels is not None:
                read.append(length)
        except ObjectError:
            pass
    assert header.pixels is not None
    assert read == []


def test_a_cut_deflated_file_is_refused(tmp_path: Path) -> None:
    ds = _sample()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.save_as(tmp_path / "1.dcm", enforce_file_format=True)
    content = (tmp_path / "1.dcm").read_bytes()
    for length in range(400, len(content) - 8, 13):
        (tmp_path / "2.dcm").write_bytes(content[:length])
        with pytest.raises(ObjectError):
            read_header(tmp_path / "2.dcm")


def test_any_changed_byte_is_refused_or_read(tmp_path: Path) -> None:
    content = save(_sample(), tmp_path / "1.dcm").read_bytes()
    target = tmp_path / "changed.dcm"
    for position in range(128, len(content)):
        for value in (0x00, 0xFF, content[position] ^ 0x20):
            target.write_bytes(content[:position] + bytes([value]) + content[position + 1 :])
            try:
                header = read_header(target)
                check_identity(header)
            except ObjectError:
                pass


def _explicit(tag: int, vr: bytes, value: bytes) -> bytes:
    long = vr in (b"SQ", b"UN", b"OB", b"OW")
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    return head + (struct.pack("<HI", 0, len(value)) if long else struct.pack("<H", len(value))) + value


def _parsed(data: bytes, **syntax: bool) -> tuple[DataSet, list[str]]:
    how = Syntax(**syntax)
    return parse_dataset(data, 0, len(data), how)[0], how.irregular


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("depth", [DEEPEST // 2, DEEPEST + 5, 20000])
def test_deep_nesting_is_refused_not_crashed(depth: int, undefined: bool) -> None:
    if undefined:
        data = (_explicit(0x00081140, b"SQ", b"")[:8] + b"\xff" * 4 + b"\xfe\xff\x00\xe0" + b"\xff" * 4) * depth
        data += (b"\xfe\xff\x0d\xe0" + bytes(4) + b"\xfe\xff\xdd\xe0" + bytes(4)) * depth
    else:
        data = b""
        for _ in range(min(depth, 2000)):
            data = _explicit(0x00081140, b"SQ", b"\xfe\xff\x00\xe0" + struct.pack("<I", len(data)) + data)
    if depth < DEEPEST:
        assert 0x00081140 in _parsed(data)[0]
    else:
        with pytest.raises(ObjectError, match="nested too deeply"):
            _parsed(data)


def test_irregularities_are_named_and_read() -> None:
    odd, notes = _parsed(_explicit(0x00100010, b"PN", b"ODD"))
    assert odd[0x00100010].value == b"ODD "
    assert notes == ["(0010,0010) has odd length 3"]
    twice, notes = _parsed(_explicit(0x00100010, b"PN", b"A ") + _explicit(0x00100010, b"PN", b"B "))
    assert twice[0x00100010].value == b"B "
    assert notes == ["(0010,0010) appears twice"]
    implicit = struct.pack("<HHI", 0x0010, 0x0010, 2) + b"A "
    fallback, notes = _parsed(implicit)
    assert fallback[0x00100010] == Element(0x00100010, "PN", b"A ")
    assert notes


def test_group_lengths_are_left_out() -> None:
    data = _explicit(0x00080000, b"UL", b"\4\0\0\0") + _explicit(0x00080060, b"CS", b"CT")
    assert list(_parsed(data)[0]) == [0x00080060]


def test_UN_of_undefined_length_is_an_implicit_sequence() -> None:
    inner = struct.pack("<HHI", 0x0008, 0x0060, 2) + b"CT"
    data = struct.pack("<HH2sHI", 0x0008, 0x1140, b"UN", 0, 0xFFFFFFFF)
    data += struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    (only,) = _parsed(data)[0][0x00081140].value
    assert only == {0x00080060: Element(0x00080060, "CS", b"CT")}


@pytest.mark.parametrize("end", [b"\xfe\xff\x0d\xe0\0\0\0\0", b"\xfe\xff\xdd\xe0\0\0\0\0", b"\xfe\xff\x00\xe0\0\0\0\0"])
def test_delimiters_out_of_place_are_no_crash(end: bytes, tmp_path: Path) -> None:
    content = save(other(GSPS, 1), tmp_path / "1.dcm").read_bytes()
    (tmp_path / "2.dcm").write_bytes(content + end + _explicit(0x00081140, b"LO", b"behind"))
    with contextlib.suppress(ObjectError):
        read_header(tmp_path / "2.dcm")
    if end[2] == 0x0D:
        with pytest.raises(ObjectError, match="outside of a sequence"):
            read_header(tmp_path / "2.dcm")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "0 bytes"),
        (b"short", "5 bytes"),
        (b"plain text that is longer than sixteen bytes", "no DICOM file"),
        (bytes(500), "no DICOM"),
        (bytes(128) + b"DICM" + b"\2\0\0\0UL\4\0", "truncated"),
    ],
)
def test_what_is_no_DICOM_file_is_refused_by_name(content: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / "it.dcm").write_bytes(content)
    with pytest.raises(ObjectError, match=problem) as error:
        read_header(tmp_path / "it.dcm")
    assert "it.dcm" in str(error.value)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian], ids=lambda uid: uid.name)
def test_a_data_set_without_meta_information_is_read(syntax: str, tmp_path: Path) -> None:
    path = save(_sample(), tmp_path / "1.dcm", syntax)
    header = read_header(path)
    (tmp_path / "bare.dcm").write_bytes(path.read_bytes()[header.dataset_offset :])
    bare = read_header(tmp_path / "bare.dcm")
    assert bare.dataset == header.dataset
    assert (bare.transfer_syntax, bare.dataset_offset) == (syntax, 0)


@pytest.mark.parametrize(
    ("keyword", "value", "problem"),
    [
        ("SOPInstanceUID", None, "is missing"),
        ("SOPInstanceUID", "1.2.x", "is no UID"),
        ("SOPInstanceUID", "1." * 35 + "1", "is no UID"),
        ("StudyInstanceUID", "1.2/../..", "is no UID"),
        ("SeriesInstanceUID", "1..2", "is no UID"),
        ("SOPClassUID", "", "is missing"),
    ],
)
def test_an_object_that_cannot_be_told_from_others_is_refused(
    keyword: str, value: str | None, problem: str, tmp_path: Path
) -> None:
    header = read_header(save(_sample(), tmp_path / "1.dcm"))
    tag = int(pydicom.tag.Tag(keyword))
    if value is None:
        del header.dataset[tag]
    else:
        header.dataset[tag] = Element(tag, "UI", value.encode() + b"\0" * (len(value) % 2))
    with pytest.raises(ObjectError, match=problem):
        check_identity(header)


def test_file_meta_is_read_by_pydicom_and_dcmdump(tmp_path: Path) -> None:
    ds = _sample()
    header = read_header(save(ds, tmp_path / "1.dcm"))
    content = (tmp_path / "1.dcm").read_bytes()[header.dataset_offset :]
    head = file_meta(ds.SOPClassUID, ds.SOPInstanceUID, ExplicitVRLittleEndian, "SENDER")
    (tmp_path / "2.dcm").write_bytes(head + content)
    meta = dcmread(tmp_path / "2.dcm").file_meta
    assert meta.FileMetaInformationVersion == b"\0\1"
    assert meta.FileMetaInformationGroupLength == len(head) - 144
    assert meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert meta.SourceApplicationEntityTitle == "SENDER"
    told = subprocess.run([need("dcmdump"), str(tmp_path / "2.dcm")], capture_output=True, encoding="latin-1")
    assert told.returncode == 0
    assert "Doe" in told.stdout
    assert "W:" not in told.stderr


@pytest.mark.parametrize("name", sorted(path.name for path in (BUNDLED / "charset_files").glob("*.dcm")))
def test_names_are_decoded_as_pydicom_does(name: str) -> None:
    path = BUNDLED / "charset_files" / name
    theirs = dcmread(path)
    ours = decoded(read_header(path).dataset, "PatientName")
    assert ours.split("=")[0] == str(theirs.get("PatientName", "")).split("=")[0]


def test_a_very_long_value_stays_in_its_file(tmp_path: Path) -> None:
    data = _explicit(0x00080060, b"CS", b"CT") + _explicit(0x00420011, b"OB", bytes(17 << 20))
    buffer = io.BytesIO(data).getvalue()
    value = _parsed(buffer)[0][0x00420011].value
    assert value == Span(8 + 2 + 12, 17 << 20)
