"""Encoding, re-encoding, recipes, streams and UIDs."""

from __future__ import annotations

import io
import struct
import tempfile
import zlib
from pathlib import Path

import pytest
from conversion.material import coded, item, made_of, save, series_of
from conversion.reading import plain
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from gateway.errors import DamagedError, ObjectError
from gateway.objects.checked import Checked, damaged
from gateway.objects.digest import Digest
from gateway.objects.elements import LONG_VRS, DataSet, Element, is_empty, make, same, text
from gateway.objects.encode import encode
from gateway.objects.parse import Syntax, parse_dataset
from gateway.objects.part10 import DEFLATED, file_meta, inflated, read_header
from gateway.objects.recipe import Recipe, RecipeWriter, digest_of, seal
from gateway.objects.reencode import can_reencode, reencode
from gateway.objects.stream import BytesSource, FileSource
from gateway.objects.uids import derived_uid, valid_uid

_VRS = [*sorted(LONG_VRS - {"SQ"}), "CS", "LO", "PN", "US", "DS", "AT", "FD", "UI"]
# Private elements: their VRs are whatever is written.
_tags = st.integers(0x1001, 0x10FF).map(lambda number: 0x00190000 | number)
_bytes = st.binary(max_size=12).map(lambda value: value + b" " * (len(value) % 2))


def _elements(children: st.SearchStrategy) -> st.SearchStrategy:
    simple = st.builds(lambda tag, vr, value: Element(tag, vr, value), _tags, st.sampled_from(_VRS), _bytes)
    nested = st.builds(lambda tag, items: Element(tag, "SQ", tuple(items)), _tags, st.lists(children, max_size=3))
    return st.lists(simple | nested, max_size=4).map(
        lambda found: {e.tag: e for e in sorted(found, key=lambda e: e.tag)}
    )


_datasets = st.recursive(st.just({}), _elements, max_leaves=12)


@settings(max_examples=100, deadline=None)
@given(_datasets)
def test_what_is_encoded_is_parsed_again(ds: DataSet) -> None:
    data = encode(ds)
    syntax = Syntax()
    assert parse_dataset(data, 0, len(data), syntax) == (ds, len(data))
    assert syntax.irregular == []
    assert len(data) % 2 == 0


def test_a_value_too_long_for_its_VR_goes_as_UN() -> None:
    ds = {0x00191001: Element(0x00191001, "LO", b"x" * 70000)}
    data = encode(ds)
    back = parse_dataset(data, 0, len(data), Syntax())[0]
    assert back[0x00191001] == Element(0x00191001, "UN", b"x" * 70000)


def _rich(ds: Dataset) -> None:
    block = ds.private_block(0x0019, "ACME", create=True)
    block.add_new(1, "LO", "text")
    block.add_new(2, "SQ", [item(ProtocolName="deep", ProcedureCodeSequence=[coded("1", "99A", "x"), Dataset()])])
    ds.PixelRepresentation = 1
    ds.PixelPaddingValue = -5
    ds.RealWorldValueMappingSequence = [item(RealWorldValueFirstValueMapped=-9, RealWorldValueLastValueMapped=9)]
    icon = item(Rows=2, Columns=2, BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0)
    icon.PixelData = b"\1\2\3\4"
    icon["PixelData"].VR = "OW"
    ds.IconImageSequence = [icon]
    ds.DataSetTrailingPadding = b"\0\0\0\0"


def _data_set(path: Path) -> FileSource:
    return FileSource(path, read_header(path).dataset_offset)


def _read(source: object, syntax: str) -> Dataset:
    stream = b"".join(source.chunks())
    assert len(stream) == source.length
    return dcmread(io.BytesIO(file_meta("1.2", "1.2", syntax) + stream))


@pytest.mark.parametrize("there", [ImplicitVRLittleEndian, ExplicitVRLittleEndian], ids=lambda uid: uid.name)
@pytest.mark.parametrize("undefined", [False, True], ids=["defined", "undefined"])
def test_reencoding_changes_no_value_either_way(there: str, undefined: bool, tmp_path: Path) -> None:
    back = ExplicitVRLittleEndian if there == ImplicitVRLittleEndian else ImplicitVRLittleEndian
    ds = series_of("MR", count=1, change=_rich)[0]
    for element in ds.iterall():
        if element.VR == "SQ":
            element.is_undefined_length = undefined
    path = save(ds, tmp_path / "1.dcm", back)
    changed = reencode(_data_set(path), back, there)
    wanted, found = dcmread(path), _read(changed, there)
    private = (0x0019, b"ACME", 0, 2)
    one, other = plain(wanted), plain(found)
    for tree in (one, other):
        # Nobody knows in implicit VR that this is a sequence.
        tree.pop(private, None)
    assert one == other
    assert found.PixelData == wanted.PixelData
    if there == ExplicitVRLittleEndian:
        assert found.RealWorldValueMappingSequence[0].RealWorldValueFirstValueMapped == -9
    again = _read(reencode(changed, there, back), back)
    assert again == wanted or plain(again).keys() == plain(wanted).keys()


@pytest.mark.parametrize("size", [1, 1 << 18], ids=["bytewise", "chunks"])
def test_a_converted_object_can_be_reencoded_for_a_peer(size: int, tmp_path: Path) -> None:
    made = made_of(series_of(count=4, change=_rich), tmp_path)
    path = made.files[0]
    stream = reencode(_data_set(path), ExplicitVRLittleEndian, ImplicitVRLittleEndian)
    content = b"".join(stream.chunks(size))
    found = dcmread(io.BytesIO(file_meta("1.2", "1.2", ImplicitVRLittleEndian) + content))
    assert found.PixelData == made.one.PixelData
    assert plain(found).keys() == plain(made.one).keys()
    assert len(found.PerFrameFunctionalGroupsSequence) == 4


def test_only_the_native_little_endian_syntaxes_are_reencoded() -> None:
    assert can_reencode(ImplicitVRLittleEndian, ExplicitVRLittleEndian)
    assert not can_reencode(ExplicitVRLittleEndian, ExplicitVRLittleEndian)
    with pytest.raises(ObjectError):
        reencode(BytesSource(b""), ExplicitVRLittleEndian, "1.2.840.10008.1.2.5")


def test_truncated_streams_are_refused_while_reencoding(tmp_path: Path) -> None:
    path = save(series_of("MR", count=1, change=_rich)[0], tmp_path / "1.dcm")
    content = b"".join(_data_set(path).chunks())
    pixels = content.rindex(b"\xe0\x7f\x10\x00")
    for length in range(10, pixels, 7):
        try:
            source = reencode(BytesSource(content[:length]), ExplicitVRLittleEndian, ImplicitVRLittleEndian)
            assert len(b"".join(source.chunks())) == source.length
        except ObjectError:
            pass


def _recipe(folder: Path) -> tuple[Recipe, dict[str, Path]]:
    (folder / "one").write_bytes(b"0123456789")
    (folder / "two").write_bytes(b"abcdefghij")
    writer = RecipeWriter(folder / "it.recipe")
    writer.write(b"HEAD")
    writer.write(b"ER")
    recipe = writer.finish(
        sop_class="1.2",
        sop_instance="1.3",
        transfer_syntax="1.4",
        sources=["one", "two"],
        segments=[("f", 1, 2, 3), ("b", "0a0b"), ("f", 0, 0, 10)],
    )
    return recipe, {"one": folder / "one", "two": folder / "two"}


def test_a_sealed_recipe_is_loaded_as_it_was(tmp_path: Path) -> None:
    recipe, where = _recipe(tmp_path)
    wanted = b"HEADER" + b"cde" + b"\x0a\x0b" + b"0123456789"
    assert recipe.length == len(wanted)
    assert b"".join(recipe.source(where.__getitem__).chunks()) == wanted
    seal(recipe, digest_of(BytesSource(wanted)))
    loaded = Recipe.load(recipe.path)
    assert loaded == recipe
    source = loaded.source(where.__getitem__)
    for size in (1, 3, 1 << 18):
        assert b"".join(source.chunks(size)) == wanted
    assert digest_of(source) == loaded.digest
    seal(recipe, "again")
    assert Recipe.load(recipe.path).digest == "again"


def test_transformed_and_deflated_sources_are_read_as_the_recipe_says(tmp_path: Path) -> None:
    meta = file_meta("1.2", "1.3", DEFLATED)
    content = bytes(range(256)) * 20000
    engine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    (tmp_path / "deflated").write_bytes(meta + engine.compress(content) + engine.flush())
    (tmp_path / "plain").write_bytes(b"??\x12\x34\xff\xff")
    where = {name: tmp_path / name for name in ("plain", "deflated")}
    writer = RecipeWriter(tmp_path / "it.recipe")
    writer.write(b"HEAD")
    recipe = writer.finish(
        sop_class="1.2",
        sop_instance="1.3",
        transfer_syntax="1.4",
        sources=["plain", "deflated"],
        segments=[
            ("t", 0, 2, 4, (("swap", 2), ("mask", 16, 12))),
            ("z", 1, 3_000_001, 3, (("widen",),)),
            ("z", 1, len(content) - 300_000, 300_000, ()),
        ],
    )
    wanted = b"HEAD\x34\x02\xff\x0f" + bytes((0xC1, 0, 0xC2, 0, 0xC3, 0)) + content[-300_000:]
    seal(recipe, "digest")
    loaded = Recipe.load(recipe.path)
    assert loaded == recipe
    assert loaded.length == len(wanted)
    for size in (1, 1 << 18):
        assert b"".join(loaded.source(where.__getitem__).chunks(size)) == wanted
    for offset in (len(content) - 2, len(content) + 1):
        with pytest.raises(ObjectError, match="shorter data set"):
            inflated(where["deflated"], offset, 3)


def test_an_incomplete_recipe_is_refused(tmp_path: Path) -> None:
    recipe, _ = _recipe(tmp_path)
    with pytest.raises(ObjectError, match="recipe"):
        Recipe.load(recipe.path)
    seal(recipe, "digest")
    content = recipe.path.read_bytes()
    for length in range(len(content)):
        recipe.path.write_bytes(content[:length])
        with pytest.raises(ObjectError):
            Recipe.load(recipe.path)
    for broken in (b"{]", b'{"a": 1}', b"[]", b"\xff"):
        recipe.path.write_bytes(broken + struct.pack("<16sQ8s", _digest(broken), len(broken), content[-8:]))
        with pytest.raises(ObjectError, match="broken recipe"):
            Recipe.load(recipe.path)


def _digest(data: bytes) -> bytes:
    digest = Digest()
    digest.update(data)
    return digest.digest()


def test_T9_a_recipe_of_the_first_format_which_had_no_digest_is_read(tmp_path: Path) -> None:
    recipe, _ = _recipe(tmp_path)
    seal(recipe, "digest")
    content = recipe.path.read_bytes()
    recipe.path.write_bytes(content[:-32] + content[-16:-8] + b"recipe\0\1")
    assert Recipe.load(recipe.path) == recipe


def test_T9_a_recipe_with_any_bit_flipped_is_refused(tmp_path: Path) -> None:
    recipe, _ = _recipe(tmp_path)
    seal(recipe, "digest")
    content = recipe.path.read_bytes()
    for place in range(len(content)):
        for bit in (1, 2, 64):
            flipped = bytearray(content)
            flipped[place] ^= bit
            recipe.path.write_bytes(flipped)
            with pytest.raises(DamagedError, match=r"it\.recipe: is damaged"):
                Recipe.load(recipe.path)


@given(st.binary(min_size=1, max_size=300), st.integers(1, 64), st.data())
def test_T9_the_last_bytes_of_a_stream_are_given_only_if_all_are_right(
    data: bytes, size: int, draw: st.DataObject
) -> None:
    right = Checked(BytesSource(data), _digest(data).hex(), len(data), lambda why: damaged("it", why))
    assert b"".join(right.chunks(size)) == data
    wrong = bytearray(data)
    wrong[draw.draw(st.integers(0, len(data) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    shorter = data[: draw.draw(st.integers(0, len(data) - 1))]
    for stored in (bytes(wrong), shorter, data + b"more"):
        source = Checked(BytesSource(stored), _digest(data).hex(), len(data), lambda why: damaged("it", why))
        given_out = bytearray()
        with pytest.raises(DamagedError, match="it: is damaged: its bytes are not those that were stored"):
            given_out.extend(byte for piece in source.chunks(size) for byte in piece)
        assert len(given_out) < max(len(stored), 1)


def test_a_source_that_became_shorter_is_an_error(tmp_path: Path) -> None:
    recipe, where = _recipe(tmp_path)
    where["one"].write_bytes(b"0123")
    with pytest.raises(OSError, match="missing at its end"):
        b"".join(recipe.source(where.__getitem__).chunks())


def test_a_discarded_recipe_leaves_nothing(tmp_path: Path) -> None:
    writer = RecipeWriter(tmp_path / "x.recipe")
    writer.write(b"abc")
    writer.discard()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("uid", "good"),
    [
        ("1.2.3", True),
        ("1", True),
        ("1.02.3", True),
        ("1" * 64, True),
        ("1" * 65, False),
        ("", False),
        ("1.", False),
        (".1", False),
        ("1..2", False),
        ("1.2\n", False),
        ("1.2 ", False),
        ("1.\u0663", False),
        ("1.2a", False),
        ("../1", False),
    ],
)
def test_which_uids_are_usable(uid: str, good: bool) -> None:
    assert valid_uid(uid) is good


@settings(max_examples=50)
@given(st.lists(st.text(max_size=20), max_size=4), st.lists(st.text(max_size=20), max_size=4))
def test_G2_derived_uids_are_valid_and_hang_on_every_part(one: list[str], other: list[str]) -> None:
    assert derived_uid(*one) == derived_uid(*one)
    assert (derived_uid(*one) == derived_uid(*other)) is (one == other)
    assert valid_uid(derived_uid(*one))


@pytest.mark.parametrize(
    ("vr", "one", "other", "equal"),
    [
        ("LO", b"A ", b"A", True),
        ("UI", b"1.2\0", b"1.2", True),
        ("OB", b"\1\0", b"\1", False),
        ("UN", b"\0\0", b"\0\0\0\0", False),
        ("US", b"\x20\0", b"\0\0", False),
    ],
)
def test_padding_is_of_text_only(vr: str, one: bytes, other: bytes, equal: bool) -> None:
    assert same(Element(1, vr, one), Element(1, vr, other)) is equal


@pytest.mark.parametrize(
    ("vr", "value", "empty"),
    [
        ("LO", b"  ", True),
        ("OB", b"\0\0", False),
        ("UN", b"  ", False),
        ("US", b"\0\0", False),
        ("OB", b"", True),
        ("SQ", (), True),
    ],
)
def test_what_is_empty(vr: str, value: object, empty: bool) -> None:
    assert is_empty(Element(1, vr, value)) is empty


def test_values_are_made_even() -> None:
    assert make("PatientID", "ABC").value == b"ABC "
    assert make("SOPInstanceUID", "1.2").value == b"1.2\0"
    assert make("Rows", 513).value == b"\1\2"
    assert text({0x00100020: make("PatientID", "ABC")}, "PatientID") == "ABC"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "f").write_bytes(b"0123456789")
        source = FileSource(Path(folder) / "f", 2, 5)
        assert [bytes(piece) for piece in source.chunks(3)] == [b"234", b"56"]
