"""One native encoding becomes another: right down to the last nested element, or not at all."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom import dcmread, dcmwrite
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_encoder
from pydicom.uid import RLELossless

from gateway.archive.decoding import native
from gateway.errors import DamagedError, ObjectError
from gateway.objects.checked import Checked
from gateway.objects.deflate import Deflated, Inflated
from gateway.objects.digest import Digest
from gateway.objects.elements import Element
from gateway.objects.encode import encode
from gateway.objects.parse import Syntax, parse_dataset
from gateway.objects.part10 import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, file_meta, read_header
from gateway.objects.recoder import Recoder
from gateway.objects.reencode import reencode
from gateway.objects.stream import BytesSource

pytestmark = pytest.mark.filterwarnings("ignore")

ITEM, ITEM_END, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0" + bytes(4), b"\xfe\xff\xdd\xe0" + bytes(4)
ENDLESS = b"\xff\xff\xff\xff"
PHILIPS = b"Philips Imaging DD 001"


def implicit(tag: int, value: bytes) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def explicit(tag: int, vr: bytes, value: bytes, *, endless: bool = False) -> bytes:
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    if vr in (b"UN", b"SQ", b"OB", b"OW"):
        return head + b"\0\0" + (ENDLESS if endless else struct.pack("<I", len(value))) + value
    return head + struct.pack("<H", len(value)) + value


def changed(data: bytes, there: str, to: str) -> bytes:
    source = reencode(BytesSource(data), there, to)
    made = b"".join(source.chunks())
    assert len(made) == source.length
    return made


def parsed(data: bytes, syntax: Syntax) -> dict[int, Element]:
    return parse_dataset(data, 0, len(data), syntax)[0]


START_EXPLICIT = explicit(0x00080060, b"CS", b"MR")
START_IMPLICIT = implicit(0x00080060, b"MR")
CREATOR_EXPLICIT = explicit(0x20010010, b"LO", PHILIPS)
CREATOR_IMPLICIT = implicit(0x20010010, PHILIPS)
INSIDE = implicit(0x20010010, PHILIPS) + implicit(0x2001102D, b"\3\0")


@pytest.mark.parametrize(
    "value",
    [
        ITEM + struct.pack("<I", len(INSIDE)) + INSIDE,
        ITEM + struct.pack("<I", len(INSIDE)) + INSIDE + SEQUENCE_END,
        ITEM + ENDLESS + INSIDE + ITEM_END,
        SEQUENCE_END,
        b"",
    ],
    ids=["item", "item and delimiter", "endless item", "only the delimiter", "nothing"],
)
def test_T10_a_sequence_of_VR_UN_is_one_where_the_dictionary_reads_it(value: bytes) -> None:
    made = changed(
        START_EXPLICIT + CREATOR_EXPLICIT + explicit(0x2001105F, b"UN", value), EXPLICIT_LITTLE, IMPLICIT_LITTLE
    )
    found = parsed(made, Syntax(implicit=True))[0x2001105F].value
    assert isinstance(found, tuple)
    assert [item[0x2001102D].value for item in found] == ([b"\3\0"] if value.startswith(ITEM) else [])


def test_T10_explicit_items_in_a_value_of_VR_UN_are_read_as_what_they_are() -> None:
    inside = explicit(0x20010010, b"LO", PHILIPS) + explicit(0x2001102D, b"SS", b"\3\0")
    value = ITEM + struct.pack("<I", len(inside)) + inside
    made = changed(
        START_EXPLICIT + CREATOR_EXPLICIT + explicit(0x2001105F, b"UN", value), EXPLICIT_LITTLE, IMPLICIT_LITTLE
    )
    (item,) = parsed(made, Syntax(implicit=True))[0x2001105F].value
    assert item[0x2001102D].value == b"\3\0"  # type: ignore[call-overload, index]


@pytest.mark.parametrize("vr", [b"UN", b"OB"])
def test_T10_what_would_be_taken_for_a_sequence_and_is_none_is_refused(vr: bytes) -> None:
    data = START_EXPLICIT + CREATOR_EXPLICIT + explicit(0x2001105F, vr, b"no items")
    with pytest.raises(ObjectError, match=r"\(2001,105F\).*sequence in implicit VR"):
        reencode(BytesSource(data), EXPLICIT_LITTLE, IMPLICIT_LITTLE)


def test_T10_an_empty_sequence_is_one_whatever_its_VR_is() -> None:
    data = START_EXPLICIT + explicit(0x00082112, b"LO", b"")
    made = changed(data, EXPLICIT_LITTLE, IMPLICIT_LITTLE)
    assert parsed(made, Syntax(implicit=True))[0x00082112].value in ((), b"")


def test_T10_nested_UN_of_undefined_length_stays_implicit_inside() -> None:
    deep = implicit(0x00091002, b"deep")
    inner = struct.pack("<HH", 0x0009, 0x1001) + ENDLESS + ITEM + ENDLESS + deep + ITEM_END + SEQUENCE_END
    value = ITEM + ENDLESS + inner + ITEM_END + SEQUENCE_END
    made = changed(START_EXPLICIT + explicit(0x00091001, b"UN", value, endless=True), EXPLICIT_LITTLE, IMPLICIT_LITTLE)
    (item,) = parsed(made, Syntax(implicit=True))[0x00091001].value
    (innermost,) = item[0x00091001].value  # type: ignore[call-overload, index]
    assert innermost[0x00091002].value == b"deep"  # type: ignore[call-overload, index]


@pytest.mark.parametrize(
    ("tag", "value", "vr"),
    [
        (0x2001105F, b"none", "UN"),  # a sequence by the dictionary, not by its bytes
        (0x20011003, b"\0\0\0", "UN"),  # FL of three bytes
        (0x20011001, b"\0\0\x80\x3f", "FL"),
        (0x20011004, b"\1\2\3\4", "UN"),  # CS
        (0x200110FF, b"abcd", "UN"),  # unknown
    ],
)
def test_T10_a_private_value_gets_the_VR_of_the_dictionary_only_if_it_looks_so(tag: int, value: bytes, vr: str) -> None:
    made = changed(START_IMPLICIT + CREATOR_IMPLICIT + implicit(tag, value), IMPLICIT_LITTLE, EXPLICIT_LITTLE)
    found = parsed(made, Syntax())[tag]
    assert (found.vr, found.value) == (vr, value)


def test_T10_a_value_too_long_for_its_VR_goes_as_UN_and_comes_back() -> None:
    value = b"1\\" * 40000
    there = START_IMPLICIT + implicit(0x00186012, b"") + implicit(0x30060050, value)
    made = changed(there, IMPLICIT_LITTLE, EXPLICIT_LITTLE)
    assert parsed(made, Syntax())[0x30060050] == Element(0x30060050, "UN", value)
    assert changed(made, EXPLICIT_LITTLE, IMPLICIT_LITTLE) == there


def test_T10_sign_and_word_size_settle_what_implicit_VR_leaves_open() -> None:
    wave = implicit(0x54001004, b"\x08\0") + implicit(0x54001010, b"\1\2")
    data = START_IMPLICIT + implicit(0x00280071, b"\xff\xff") + implicit(0x00280103, b"\1\0")
    data += implicit(0x54000100, ITEM + struct.pack("<I", len(wave)) + wave)
    found = parsed(changed(data, IMPLICIT_LITTLE, EXPLICIT_LITTLE), Syntax())
    assert found[0x00280071].vr == "SS"
    assert found[0x54000100].value[0][0x54001010].vr == "OB"  # type: ignore[index, union-attr]


def test_T10_big_endian_values_are_turned_round_at_every_depth_but_not_in_UN() -> None:
    ds = Dataset()
    ds.Modality, ds.Rows, ds.FrameIncrementPointer = "MR", 258, 0x00181063
    item = Dataset()
    item.RealWorldValueSlope, item.RedPaletteColorLookupTableData = 1.5, b"\1\0\2\0"
    item.private_block(9, "ACME", create=True).add_new(1, "UN", b"\1\2\3\4")
    ds.IconImageSequence = [item]
    ds.add_new(0x7FE00010, "OW", b"\x01\x02\x03\x04")
    ds["IconImageSequence"].value[0]["RedPaletteColorLookupTableData"].value = b"\0\1\0\2"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = EXPLICIT_BIG
    out = io.BytesIO()
    dcmwrite(out, ds, little_endian=False, implicit_vr=False, enforce_file_format=False)
    data = out.getvalue()
    data = data[data.index(b"\0\x08\0\x60CS") :]
    for to in (EXPLICIT_LITTLE, IMPLICIT_LITTLE):
        found = dcmread(io.BytesIO(file_meta("1.2", "1.2", to) + changed(data, EXPLICIT_BIG, to)))
        assert (found.Rows, found.FrameIncrementPointer) == (258, 0x00181063)
        icon = found.IconImageSequence[0]
        assert icon.RealWorldValueSlope == 1.5
        assert icon.RedPaletteColorLookupTableData == b"\1\0\2\0"
        assert icon.private_block(9, "ACME")[1].value == b"\1\2\3\4"
        assert found.PixelData == b"\x02\x01\x04\x03"


def test_T10_compressed_pixels_inside_a_native_object_are_refused() -> None:
    fragments = ITEM + bytes(4) + ITEM + struct.pack("<I", 4) + b"abcd" + SEQUENCE_END
    inside = explicit(0x7FE00010, b"OB", fragments, endless=True)
    data = START_EXPLICIT + explicit(0x00880200, b"SQ", ITEM + struct.pack("<I", len(inside)) + inside)
    with pytest.raises(ObjectError, match=r"\(7FE0,0010\): is compressed"):
        reencode(BytesSource(data), EXPLICIT_LITTLE, IMPLICIT_LITTLE)


def test_T10_a_change_anywhere_in_what_was_written_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = explicit(0x00080100, b"SH", b"CODE")
    data = START_EXPLICIT + explicit(0x00540220, b"SQ", ITEM + struct.pack("<I", len(inside)) + inside)
    whole = changed(data, EXPLICIT_LITTLE, IMPLICIT_LITTLE)
    write = Recoder.recode
    for at in range(len(whole)):

        def spoilt(self: Any, *given: Any, at: int = at, **more: Any) -> Any:
            done = write(self, *given, **more)
            out = given[3]
            if len(out) == len(whole):
                out[at] ^= 1
            return done

        monkeypatch.setattr(Recoder, "recode", spoilt)
        with pytest.raises(ObjectError):
            reencode(BytesSource(data), EXPLICIT_LITTLE, IMPLICIT_LITTLE)


_TAGS = st.integers(0x1001, 0x10FF).map(lambda number: 0x00190000 | number)
_SIMPLE = st.builds(
    lambda tag, vr, value: Element(tag, vr, value),
    _TAGS,
    st.sampled_from(("LO", "US", "UN", "OB", "OW", "FD", "UT")),
    st.binary(max_size=10).map(lambda value: value + b" " * (len(value) % 2)),
)


def _made(children: st.SearchStrategy) -> st.SearchStrategy:
    nested = st.builds(lambda tag, items: Element(tag, "SQ", tuple(items)), _TAGS, st.lists(children, max_size=3))
    return st.lists(_SIMPLE | nested, max_size=4).map(
        lambda found: {one.tag: one for one in sorted(found, key=lambda one: one.tag)}
    )


def _values(ds: Any) -> Any:
    return {
        tag: [_values(item) for item in one.value] if isinstance(one.value, tuple) else one.value
        for tag, one in ds.items()
    }


@settings(max_examples=100, deadline=None)
@given(st.recursive(st.just({}), _made, max_leaves=12))
@example({0x00191001: Element(0x00191001, "LO", ITEM + ENDLESS)})
@example({0x00191001: Element(0x00191001, "OW", ITEM + ENDLESS)})
def test_T10_whatever_is_nested_in_whatever_has_its_value_in_the_other_encoding(ds: dict[int, Element]) -> None:
    data = START_EXPLICIT + encode(ds)
    there = changed(data, EXPLICIT_LITTLE, IMPLICIT_LITTLE)
    again = changed(there, IMPLICIT_LITTLE, EXPLICIT_LITTLE)
    assert _values(parsed(there, Syntax(implicit=True))) == _values(parsed(data, Syntax()))
    assert _values(parsed(again, Syntax())) == _values(parsed(data, Syntax()))


# Decoded


def _with_icon(folder: Path, *, unknown: bool = False, broken: bool = False) -> tuple[Path, bytes]:
    """Write an RLE image with an icon in RLE; return the file and the samples of the icon."""
    ds = dcmread(str(get_testdata_file("MR_small_RLE.dcm")))
    icon = Dataset()
    icon.SamplesPerPixel, icon.PhotometricInterpretation, icon.Rows, icon.Columns = 1, "MONOCHROME2", 3, 5
    icon.BitsAllocated = icon.BitsStored = 8
    icon.HighBit, icon.PixelRepresentation = 7, 0
    samples = bytes(range(15))
    frame = get_encoder(RLELossless).encode(
        samples, rows=3, columns=5, samples_per_pixel=1, bits_allocated=8, bits_stored=8, pixel_representation=0,
        photometric_interpretation="MONOCHROME2", number_of_frames=1, encoding_plugin="pydicom",
    )  # fmt: skip
    icon.add_new(0x7FE00010, "OB", encapsulate([frame[:66] if broken else frame]))
    icon["PixelData"].is_undefined_length = True
    ds.IconImageSequence = [icon]
    path = folder / "icon.dcm"
    ds.save_as(path)
    if unknown:  # the same sequence as somebody writes it who does not know it
        data = path.read_bytes()
        at = data.index(b"\x88\0\0\x02SQ")
        length = struct.unpack_from("<I", data, at + 8)[0]
        ds.pop("IconImageSequence")
        out = io.BytesIO()
        icon_only = Dataset()
        icon_only.update(icon)
        dcmwrite(out, icon_only, implicit_vr=True, little_endian=True, enforce_file_format=False)
        value = ITEM + struct.pack("<I", len(out.getvalue())) + out.getvalue()
        path.write_bytes(data[:at] + explicit(0x00880200, b"UN", value) + data[at + 12 + length :])
    return path, samples


@pytest.mark.parametrize("unknown", [False, True], ids=["SQ", "UN"])
def test_T10_a_compressed_icon_is_decoded_with_its_image(unknown: bool, tmp_path: Path) -> None:
    path, samples = _with_icon(tmp_path, unknown=unknown)
    native(path, tmp_path / "decoded")
    found = dcmread(io.BytesIO(file_meta("1.2", "1.2", EXPLICIT_LITTLE) + (tmp_path / "decoded").read_bytes()))
    assert found.IconImageSequence[0].PixelData[:15] == samples
    assert found.PixelData == dcmread(path).pixel_array.tobytes()


def test_T10_an_icon_that_cannot_be_decoded_is_not_sent_compressed(tmp_path: Path) -> None:
    path, _ = _with_icon(tmp_path, broken=True)
    with pytest.raises(Exception, match="decode"):
        native(path, tmp_path / "decoded")


def test_T10_T11_colours_that_nobody_converts_are_decoded(tmp_path: Path) -> None:
    path = Path(str(get_testdata_file("SC_rgb_rle.dcm")))
    native(path, tmp_path / "decoded")
    header = file_meta("1.2", "1.2", EXPLICIT_LITTLE)
    found = dcmread(io.BytesIO(header + (tmp_path / "decoded").read_bytes()))
    assert (found.PhotometricInterpretation, found.PlanarConfiguration) == ("RGB", 0)
    assert found.PixelData == dcmread(path).pixel_array.tobytes()


def test_T9_T10_a_damaged_source_is_said_to_be_damaged_however_it_is_rewritten(tmp_path: Path) -> None:
    path = Path(str(get_testdata_file("MR_small.dcm")))
    header = read_header(path)
    data = path.read_bytes()[header.dataset_offset :]
    digest = Digest()
    digest.update(data)
    flipped = bytearray(data)
    flipped[-9] ^= 1

    def explain(reason: str) -> DamagedError:
        return DamagedError("file", reason)

    checked = Checked(BytesSource(bytes(flipped)), digest.hexdigest(), len(data), explain)
    with pytest.raises(DamagedError):
        list(reencode(checked, EXPLICIT_LITTLE, IMPLICIT_LITTLE).chunks())
    deflated = b"".join(Deflated(BytesSource(data)).chunks())
    digest = Digest()
    digest.update(deflated)
    spoilt = bytearray(deflated)
    spoilt[len(spoilt) // 2] ^= 1
    with pytest.raises(DamagedError):
        Inflated(Checked(BytesSource(bytes(spoilt)), digest.hexdigest(), len(deflated), explain))
