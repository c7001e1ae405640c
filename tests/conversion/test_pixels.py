"""Pixels of frames made alike, checked with numpy from what either side says of its pixels (PS3.4 C.3.5)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conversion.material import (
    Conversion,
    convert,
    frames_of,
    group,
    item,
    made_of,
    save,
    series_of,
    turned_back,
    unassigned,
    unassigned_shared,
)
from conversion.reading import missing, unfolded
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from gateway.conversion.pixels import PixelDescription, plan_pixels, restored
from gateway.conversion.proof import prove
from gateway.errors import ConversionError
from gateway.objects.part10 import file_meta
from gateway.objects.recipe import Recipe, seal
from gateway.objects.reencode import reencode
from gateway.objects.transforms import transformed


def bits(stored: int, allocated: int = 16, high: int | None = None, signed: int = 0) -> dict[str, Any]:
    high = stored - 1 if high is None else high
    return {"BitsAllocated": allocated, "BitsStored": stored, "HighBit": high, "PixelRepresentation": signed}


def words(values: Sequence[int], allocated: int = 16) -> bytes:
    """Encode 64 pixels, the values over and over."""
    data = np.resize(np.array(values, "int64"), 64) & (1 << allocated) - 1
    return data.astype("<u2" if allocated == 16 else "u1").tobytes()


def stored(ds: Dataset, frame: int = 0) -> list[int]:
    """Return the stored values of a frame (PS3.5 8.1.1)."""
    count = ds.Rows * ds.Columns * ds.SamplesPerPixel
    size = ds.BitsAllocated // 8
    data = ds.PixelData[frame * count * size : (frame + 1) * count * size]
    pixels = np.frombuffer(data, "<u2" if size == 2 else "u1").astype("int64")
    values = pixels >> ds.HighBit + 1 - ds.BitsStored & (1 << ds.BitsStored) - 1
    if ds.PixelRepresentation:
        values = np.where(values >= 1 << ds.BitsStored - 1, values - (1 << ds.BitsStored), values)
    return values.tolist()


def whole(ds: Dataset, frame: int = 0) -> list[int]:
    """Return what is in all the bits allocated, as a reader has it who does not look at Bits Stored."""
    code = ("i" if ds.PixelRepresentation else "u") + str(ds.BitsAllocated // 8)
    count = ds.Rows * ds.Columns
    return np.frombuffer(ds.PixelData, "<" + code)[frame * count : (frame + 1) * count].tolist()


def kinds(made: Conversion) -> list[str]:
    """Return the kinds of the pixel segments."""
    return [segment[0] for result in made.result.objects for segment in result.recipe.segments[1:]]


def back(made: Conversion, folder: Path) -> list[Dataset]:
    """Turn every object back to classic images."""
    images, plan = turned_back(made.files, folder)
    assert not plan.kept
    return sorted(map(dcmread, images), key=lambda ds: ds.InstanceNumber)


def check_recovered(sources: list[Dataset], made: Conversion, folder: Path) -> None:
    """Every element, and every stored value under the source's own description, comes back."""
    frames = {ds.SOPInstanceUID: ds for ds in back(made, folder)}
    assert len(frames) == len(sources)
    for source in sources:
        ds = frames[source.SOPInstanceUID]
        assert stored(ds) == stored(source)
        for keyword in ("BitsAllocated", "BitsStored", "HighBit", "PhotometricInterpretation", "PixelPaddingValue",
                        "RescaleSlope", "RescaleIntercept", "RescaleType", "SmallestImagePixelValue"):  # fmt: skip
            assert ds.get(keyword) == source.get(keyword), keyword
    for result, ds in zip(made.result.objects, made.objects, strict=True):
        for number, fact in enumerate(result.planned.frames):
            source = next(source for source in sources if source.SOPInstanceUID == fact.sop_instance)
            read = dcmread(fact.path)
            # Values that pydicom leaves encoded are compared as bytes, which are those of the object in little endian.
            same_order = read.file_meta.TransferSyntaxUID != ExplicitVRBigEndian
            assert missing(read if same_order else source, unfolded(ds, number)) == {}


def test_E5_differing_bits_stored_become_the_largest_and_the_unused_ones_are_masked(tmp_path: Path) -> None:
    narrow = bits(12) | {"PixelData": words([0xF123, 0x8FFF, 5])}
    wide = bits(16) | {"PixelData": words([0xF123, 0x8FFF, 5])}
    sources = series_of(change=[narrow, wide, narrow])
    made = made_of(sources, tmp_path)
    ds = made.one
    assert (ds.BitsAllocated, ds.BitsStored, ds.HighBit) == (16, 16, 15)
    assert stored(ds, 0)[:3] == stored(ds, 2)[:3] == [0x123, 0xFFF, 5]
    assert stored(ds, 1)[:3] == [0xF123, 0x8FFF, 5]
    assert [unassigned(ds, n).BitsStored for n in range(3)] == [12, 16, 12]
    assert kinds(made) == ["t", "f", "t"]
    check_recovered(sources, made, tmp_path / "back")


def test_E5_signed_pixels_are_sign_extended(tmp_path: Path) -> None:
    narrow = bits(12, signed=1) | {"PixelData": words([-2048, -1, 2047, 0x0FFF, 0x0800])}
    sources = series_of("MR", change=[narrow, bits(16, signed=1), narrow])
    made = made_of(sources, tmp_path)
    assert (made.one.BitsStored, made.one.PixelRepresentation) == (16, 1)
    assert whole(made.one, 0)[:5] == [-2048, -1, 2047, -1, -2048]
    check_recovered(sources, made, tmp_path / "back")


def test_E5_bits_stored_that_agree_leave_every_byte_as_it_is(tmp_path: Path) -> None:
    sources = series_of(change=bits(12) | {"PixelData": words([0xF123, 5])})
    made = made_of(sources, tmp_path)
    assert kinds(made) == ["f"] * 3
    assert made.one.PixelData == sources[0].PixelData * 3


def test_E4_signed_and_unsigned_pixels_are_never_mixed(tmp_path: Path) -> None:
    made = made_of(series_of(change=[None, bits(16, signed=1), None]), tmp_path)
    assert sorted((ds.PixelRepresentation, ds.NumberOfFrames) for ds in made.objects) == [(0, 2), (1, 1)]
    assert kinds(made) == ["f"] * 3


@pytest.mark.parametrize(
    ("modality", "given", "wanted"),
    [
        ("CT", (8, 8), (16, 12)),
        ("CT", (16, 10), (16, 12)),
        ("CT", (16, 13), (16, 16)),
        ("CT", (16, 14), (16, 16)),
        ("PT", (8, 8), (16, 16)),
        ("PT", (16, 12), (16, 16)),
        ("PT", (16, 15), (16, 16)),
        ("MR", (8, 7), (8, 8)),
        ("MR", (16, 8), (16, 12)),
        ("MR", (16, 14), (16, 16)),
    ],
)
@pytest.mark.parametrize("signed", [0, 1])
def test_E8_E37_bits_become_those_that_the_modality_allows(
    modality: str, given: tuple[int, int], wanted: tuple[int, int], signed: int, tmp_path: Path
) -> None:
    allocated, used = given
    change = bits(used, allocated, signed=signed) | {"PixelData": words(range(-40, 40), allocated)}
    sources = series_of(modality, change=change)
    made = made_of(sources, tmp_path)
    ds = made.one
    assert (ds.BitsAllocated, ds.BitsStored, ds.HighBit) == (*wanted, wanted[1] - 1)
    assert (ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation) == (1, "MONOCHROME2", signed)
    assert [stored(ds, n) for n in range(3)] == [stored(source) for source in sources]
    assert whole(ds) == stored(ds)  # also for who does not look at Bits Stored
    original = unassigned_shared(ds)
    assert original.BitsStored == used
    check_recovered(sources, made, tmp_path / "back")


def test_E8_MR_of_8_and_of_16_bits_share_an_object(tmp_path: Path) -> None:
    eight = bits(8, 8) | {"PixelData": words(range(64), 8)}
    sources = series_of("MR", change=[eight, bits(12), eight])
    made = made_of(sources, tmp_path)
    assert (made.one.BitsAllocated, made.one.BitsStored) == (16, 12)
    assert stored(made.one, 0) == stored(made.one, 2) == list(range(64))
    check_recovered(sources, made, tmp_path / "back")


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("high", [12, 15])
def test_E37_high_bit_becomes_that_below_bits_stored(high: int, signed: int, tmp_path: Path) -> None:
    change = bits(12, high=high, signed=signed) | {"PixelData": words([0x1235, 0xFFF0, 0x8008, 0x7FFF])}
    sources = series_of(change=change)
    made = made_of(sources, tmp_path)
    assert (made.one.BitsStored, made.one.HighBit) == (12, 11)
    assert stored(made.one) == whole(made.one) == stored(sources[0])
    check_recovered(sources, made, tmp_path / "back")


def test_E26_overlay_in_high_bits_is_masked_in_the_pixels() -> None:
    for signed in (0, 1):
        source = PixelDescription(shape=(8, 8, 1), stored=12, high=11, signed=signed, overlay_bits=True)
        steps = plan_pixels("CT", [source]).steps(source)
        data = transformed(words([0x1123, 0x1FFF, 0xF800]), steps)
        assert np.frombuffer(data, "<u2")[:3].tolist() == [0x123, 0xFFF, 0x800]


@pytest.mark.parametrize("signed", [0, 1])
def test_E26_the_bits_of_an_overlay_are_zero_and_the_values_stay(signed: int, tmp_path: Path) -> None:
    def overlay(ds: Dataset) -> None:
        for keyword, value in bits(12, signed=signed).items():
            setattr(ds, keyword, value)
        ds.PixelData = words([0x1123, 0x0FFF, 0x1800, 0x2007])
        for tag, vr, value in (
            (0x60000010, "US", 8), (0x60000011, "US", 8), (0x60000040, "CS", "G"), (0x60000050, "SS", [1, 1]),
            (0x60000100, "US", 16), (0x60000102, "US", 12),
        ):  # fmt: skip
            ds.add_new(tag, vr, value)

    sources = series_of(change=overlay)
    made = made_of(sources, tmp_path)
    assert (made.one.BitsStored, made.one.HighBit) == (12, 11)
    assert stored(made.one) == stored(sources[0])
    assert not np.any(np.frombuffer(made.one.PixelData, "<u2") & 0xF000)
    (state,) = made.result.companions
    assert state.companion.sources[0].sop_instance == sources[0].SOPInstanceUID


def test_E6_differing_padding_becomes_one_value(tmp_path: Path) -> None:
    values = [(-2000, [-2000, 1, 2]), (-3000, [-3000, 1, 2]), (-2000, [-2000, 7, 8]), (None, [1, 2, 3])]
    sources = series_of(
        change=[{"PixelRepresentation": 1, "PixelPaddingValue": own, "PixelData": words(data)} for own, data in values]
    )
    made = made_of(sources, tmp_path)
    ds = made.one
    assert ds.PixelPaddingValue == -2000
    assert stored(ds, 0)[:3] == stored(ds, 1)[:3] == [-2000, 1, 2]
    assert [unassigned(ds, n).get("PixelPaddingValue") for n in range(4)] == [-2000, -3000, -2000, None]
    assert kinds(made) == ["f", "t", "f", "f"]
    check_recovered(sources, made, tmp_path / "back")


def test_E6_frames_that_have_the_padding_as_a_real_value_go_elsewhere(tmp_path: Path) -> None:
    values = [(0, [0, 1]), (0, [0, 5]), (9, [9, 0]), (None, [0, 3]), (9, [9, 1]), (None, [4, 5])]
    sources = series_of(change=[{"PixelPaddingValue": own, "PixelData": words(data)} for own, data in values])
    made = made_of(sources, tmp_path)
    found = [
        (ds.get("PixelPaddingValue"), [stored(ds, n)[:2] for n in range(ds.NumberOfFrames)]) for ds in made.objects
    ]
    assert sorted(found) == [(0, [[0, 1], [0, 5], [0, 1], [4, 5]]), (9, [[9, 0], [0, 3]])]
    check_recovered(sources, made, tmp_path / "back")


def test_E6_padding_that_agrees_is_not_looked_for(tmp_path: Path) -> None:
    made = made_of(series_of(change={"PixelPaddingValue": 0, "PixelData": words([0, 5])}), tmp_path)
    assert made.one.PixelPaddingValue == 0
    assert kinds(made) == ["f"] * 3


def test_E6_a_range_of_padding_is_never_mixed(tmp_path: Path) -> None:
    ranged = {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 3}
    made = made_of(series_of(change=[ranged, {"PixelPaddingValue": 0}, ranged]), tmp_path)
    assert sorted((ds.NumberOfFrames, ds.get("PixelPaddingRangeLimit")) for ds in made.objects) == [(1, None), (2, 3)]


def test_E6_padding_outside_of_the_bits_stored_is_left_alone(tmp_path: Path) -> None:
    odd = bits(12) | {"PixelPaddingValue": 63536, "PixelData": words([63536, 5])}
    made = made_of(series_of(change=[odd, odd, bits(16)]), tmp_path / "1")
    assert sorted((ds.BitsStored, ds.NumberOfFrames) for ds in made.objects) == [(12, 2), (16, 1)]
    assert kinds(made) == ["f"] * 3
    made = made_of(series_of("PT", change=odd), tmp_path / "2")
    assert {reason.partition(" (")[0] for reason in made.kept.values()} == {"its pixel padding"}


def rescaled(values: Sequence[int], ds: Dataset) -> list[float]:
    return (np.array(values) * float(ds.get("RescaleSlope", 1)) + float(ds.get("RescaleIntercept", 0))).tolist()


@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("used", [12, 16])
def test_E7_monochrome_1_is_inverted_and_means_the_same(modality: str, signed: int, used: int, tmp_path: Path) -> None:
    values = [-40, 0, 7, 2047] if signed else [0, 7, 4095]
    change = bits(used, signed=signed) | {
        "PhotometricInterpretation": "MONOCHROME1",
        "PixelData": words(values),
        "SmallestImagePixelValue": values[0],
        "LargestImagePixelValue": values[-1],
        "PixelPaddingValue": values[1],
    }
    sources = series_of(modality, change=change)
    made = made_of(sources, tmp_path)
    ds = made.one
    top = -1 if signed else (1 << used) - 1
    assert (ds.PhotometricInterpretation, ds.PresentationLUTShape) == ("MONOCHROME2", "IDENTITY")
    assert stored(ds)[: len(values)] == [top - value for value in values]
    transformation = group(ds, 0, "PixelValueTransformationSequence")
    assert rescaled(stored(ds), transformation) == rescaled(stored(sources[0]), sources[0])
    assert (ds.SmallestImagePixelValue, ds.LargestImagePixelValue) == (top - values[-1], top - values[0])
    assert ds.PixelPaddingValue == top - values[1]
    original = unassigned_shared(ds)
    assert (original.PhotometricInterpretation, original.PixelPaddingValue) == ("MONOCHROME1", values[1])
    smallest, largest = (
        original.get(one, ds[one].value) for one in ("SmallestImagePixelValue", "LargestImagePixelValue")
    )
    assert (smallest, largest) == (values[0], values[-1])
    assert original.RescaleSlope == sources[0].get("RescaleSlope")
    assert {step[0] for segment in made.result.objects[0].recipe.segments[1:] for step in segment[4]} >= {"invert"}
    check_recovered(sources, made, tmp_path / "back")


def test_E7_monochrome_1_and_2_share_an_object(tmp_path: Path) -> None:
    inverted = {"PhotometricInterpretation": "MONOCHROME1"}
    sources = series_of(change=[inverted, None, inverted])
    made = made_of(sources, tmp_path)
    for number, source in enumerate(sources):
        transformation = group(made.one, number, "PixelValueTransformationSequence")
        assert rescaled(stored(made.one, number), transformation) == rescaled(stored(source), source)
    assert [unassigned(made.one, n).get("RescaleSlope") for n in range(3)] == [1, None, 1]
    assert [fact.description.inverted for fact in made.result.objects[0].planned.frames] == [True, False, True]
    check_recovered(sources, made, tmp_path / "back")


def test_E7_real_world_values_follow_the_pixels(tmp_path: Path) -> None:
    linear = item(RealWorldValueFirstValueMapped=100, RealWorldValueLastValueMapped=200,
                  RealWorldValueSlope=0.5, RealWorldValueIntercept=-3.0)  # fmt: skip
    table = item(RealWorldValueFirstValueMapped=7, RealWorldValueLastValueMapped=9,
                 RealWorldValueLUTData=[1.5, 2.5, 4.5])  # fmt: skip
    change = {"PhotometricInterpretation": "MONOCHROME1", "RealWorldValueMappingSequence": [linear, table]}
    made = made_of(series_of("PT", change=change), tmp_path)
    one, two = next(
        groups.RealWorldValueMappingSequence
        for groups in (made.one.SharedFunctionalGroupsSequence[0], *frames_of(made.one))
        if "RealWorldValueMappingSequence" in groups
    )
    assert (one.RealWorldValueFirstValueMapped, one.RealWorldValueLastValueMapped) == (65335, 65435)
    for value in (100, 150, 200):
        assert (65535 - value) * one.RealWorldValueSlope + one.RealWorldValueIntercept == value * 0.5 - 3
    assert (two.RealWorldValueFirstValueMapped, two.RealWorldValueLastValueMapped) == (65526, 65528)
    assert two.RealWorldValueLUTData == [4.5, 2.5, 1.5]
    original = unassigned_shared(made.one).RealWorldValueMappingSequence
    assert original[0].RealWorldValueSlope == 0.5
    assert original[1].RealWorldValueLUTData == [1.5, 2.5, 4.5]
    check_recovered(series_of("PT", change=change), made, tmp_path / "back")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"RescaleSlope": "0.12345678901234"}, "no exact decimal"),
        ({"RescaleSlope": None}, "not both there"),
        ({"RescaleIntercept": "x"}, "not a number"),
        (
            {"RealWorldValueMappingSequence": [item(RealWorldValueSlope=0.1, RealWorldValueIntercept=0.3)]},
            "no exact number",
        ),
    ],
)
def test_E7_what_cannot_be_inverted_exactly_stays_classic(change: dict, reason: str, tmp_path: Path) -> None:
    change = {"PhotometricInterpretation": "MONOCHROME1"} | change

    def written(ds: Dataset) -> None:
        for keyword, value in change.items():
            if value == "x":
                ds[keyword]._value = value
            elif value is None:
                delattr(ds, keyword)
            else:
                setattr(ds, keyword, value)

    made = made_of(series_of(change=written), tmp_path)
    assert not made.objects
    assert all(reason in found for found in made.kept.values()), made.kept


@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
def test_E7_compressed_pixels_are_never_decoded(modality: str, tmp_path: Path) -> None:
    change = {"PhotometricInterpretation": "MONOCHROME1"}
    made = made_of(series_of(modality, change=change), tmp_path, RLELossless)
    assert all("would have to be decoded" in reason for reason in made.kept.values())
    assert len(made.kept) == 3


def color(photometric: str) -> dict[str, Any]:
    change = bits(8, 8) | {"SamplesPerPixel": 3, "PhotometricInterpretation": photometric, "PlanarConfiguration": 0}
    return change | {"PixelData": bytes(range(192))}


def test_E7_color_is_for_MR_only(tmp_path: Path) -> None:
    made = made_of(series_of("MR", change=color("RGB")), tmp_path / "1")
    assert made.one.PixelData == bytes(range(192)) * 3
    made = made_of(series_of("CT", change=color("RGB")), tmp_path / "2")
    assert all("RGB with 3 samples" in reason for reason in made.kept.values())
    made = made_of(series_of("MR", change=[None, color("RGB"), None]), tmp_path / "3")
    assert sorted(ds.NumberOfFrames for ds in made.objects) == [1, 2]


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian], ids=lambda uid: uid.name)
@pytest.mark.parametrize(
    ("modality", "change"),
    [
        ("CT", {}),
        ("CT", bits(12, high=15, signed=1) | {"PixelData": words([0x1235, 0xFFF0, 0x8008])}),
        ("PT", {"PhotometricInterpretation": "MONOCHROME1"}),
        ("MR", bits(8, 8) | {"PixelData": words(range(64), 8)}),
    ],
)
def test_E4_any_native_syntax_gives_the_same_object(modality: str, change: dict, syntax: str, tmp_path: Path) -> None:
    def rich(ds: Dataset) -> None:
        for keyword, value in change.items():
            setattr(ds, keyword, value)
        ds["PixelData"].VR = "OW"
        ds.SimpleFrameList = [1, 70000]
        block = ds.private_block(0x0019, "ACME", create=True)
        block.add_new(1, "US", [1, 2])
        block.add_new(2, "FD", 0.1)
        block.add_new(3, "OB", b"\1\2\3\4")
        ds.RealWorldValueMappingSequence = [item(RealWorldValueSlope=2.0, RealWorldValueIntercept=1.0)]

    sources = series_of(modality, change=rich)
    plain = made_of(sources, tmp_path / "1")
    made = made_of(sources, tmp_path / "2", syntax)
    one, other = plain.one, made.one
    for ds in (one, other):
        del ds.SOPInstanceUID, ds.SeriesInstanceUID, ds.DimensionOrganizationSequence, ds.DimensionIndexSequence
        del ds.file_meta
        ds.pop("ReferencedPresentationStateSequence", None)
    assert one == other
    assert one.PixelData == other.PixelData
    check_recovered(sources, made, tmp_path / "back")


@pytest.mark.parametrize("vr", ["OB", "OW"])
@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
    ids=lambda uid: uid.name,
)
@pytest.mark.parametrize("modality", ["MR", "PT"])
def test_E8_frames_of_an_odd_number_of_bytes(modality: str, syntax: str, vr: str, tmp_path: Path) -> None:
    def odd(ds: Dataset) -> None:
        ds.Rows = ds.Columns = 7
        for keyword, value in bits(8, 8).items():
            setattr(ds, keyword, value)
        ds.PixelData = (np.arange(50) + ds.InstanceNumber).astype("u1").tobytes()
        ds["PixelData"].VR = vr

    sources = series_of(modality, change=odd)
    made = made_of(sources, tmp_path, syntax)
    for number, source in enumerate(sources):
        assert stored(made.one, number) == list(source.PixelData[:49])
    assert len(made.one.PixelData) == (148 if modality == "MR" else 294)
    frames = back(made, tmp_path / "back")
    assert [ds.PixelData[:49] for ds in frames] == [source.PixelData[:49] for source in sources]


def test_E4_syntaxes_of_native_pixels_share_an_object(tmp_path: Path) -> None:
    sources = series_of(count=4)
    syntaxes = [ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian]
    paths = [
        save(ds, tmp_path / "in" / f"{n}.dcm", syntax)
        for n, (ds, syntax) in enumerate(zip(sources, syntaxes, strict=True))
    ]
    made = convert(paths, tmp_path / "out")
    assert made.one.PixelData == b"".join(ds.PixelData for ds in sources)
    assert kinds(made) == ["f", "t", "z", "f"]


def test_E4_pixel_data_of_unclear_byte_order_stay_classic(tmp_path: Path) -> None:
    def unclear(ds: Dataset) -> None:
        ds["PixelData"].VR = "OB"

    made = made_of(series_of(change=unclear), tmp_path, ExplicitVRBigEndian)
    assert all("byte order open" in reason for reason in made.kept.values())
    assert len(made.kept) == 3


_description = st.builds(
    lambda allocated, stored, low, signed, padding, photometric: PixelDescription(
        shape=(2, 2, 1),
        photometric=photometric,
        allocated=allocated,
        stored=min(stored, allocated),
        high=min(min(stored, allocated) - 1 + low, allocated - 1),
        signed=signed,
        padding=None if padding is None else padding % (1 << min(stored, allocated) - 1),
    ),
    st.sampled_from([8, 16]),
    st.integers(2, 16),
    st.integers(0, 8),
    st.integers(0, 1),
    st.none() | st.integers(0, 1 << 15),
    st.sampled_from(["MONOCHROME1", "MONOCHROME2"]),
)


@given(st.sampled_from(["CT", "MR", "PT"]), _description, _description, st.binary(min_size=8, max_size=8))
def test_E5_E6_E7_E8_what_is_done_to_pixels_is_undone(
    modality: str, one: PixelDescription, other: PixelDescription, data: bytes
) -> None:
    other = PixelDescription(
        **{name: getattr(other, name) for name in PixelDescription.__slots__} | {"signed": one.signed}
    )
    data = data[: one.length]

    def value(pixels: PixelDescription, word: int) -> int:
        found = word >> pixels.high + 1 - pixels.stored & (1 << pixels.stored) - 1
        return found - (1 << pixels.stored) if pixels.signed and found >> pixels.stored - 1 else found

    def values(pixels: PixelDescription, data: bytes) -> list[int]:
        size = pixels.allocated // 8
        return [
            value(pixels, int.from_bytes(data[start : start + size], "little")) for start in range(0, len(data), size)
        ]

    was = values(one, data)
    padding = other.padding_after
    opposite = [one.complement - found if one.inverted else found for found in was]
    if padding is None:
        padding = one.padding_after
    elif padding in opposite and padding != one.padding_after:
        return  # goes to another object
    plan = plan_pixels(modality, [one, other], padding)
    made = transformed(data, plan.steps(one))
    assert len(made) == plan.length(one)
    assert values(plan.target, made) == [
        padding if found == one.padding_after and found is not None else found for found in opposite
    ]
    assert values(one, restored(plan.target, one, made)) == was


def _proved_wrong(made: Conversion, change: Any, reason: str = r"other pixels|not that of its source") -> None:
    """The proof refuses a recipe whose pixel segments are changed."""
    result = made.result.objects[0]
    recipe = Recipe.load(result.recipe.path)
    recipe.segments = (recipe.segments[0], *(change(segment) for segment in recipe.segments[1:]))
    where = {fact.name: fact.path for fact in made.facts}
    targets: dict = {}
    with pytest.raises(ConversionError, match=reason):
        prove(recipe, result.planned.frames, targets, where.__getitem__)


@pytest.mark.parametrize(
    "change",
    [
        bits(12, high=15) | {"PixelData": words([0x1235, 0xFFF0, 0x8008])},
        bits(14, signed=1) | {"PixelData": words([-3, 5, 0x3FFF])},
        {"PhotometricInterpretation": "MONOCHROME1"},
    ],
)
def test_E4_the_proof_refuses_pixels_that_were_not_made_alike(change: dict, tmp_path: Path) -> None:
    made = made_of(series_of(change=change), tmp_path)
    _proved_wrong(made, lambda segment: ("f", *segment[1:4]))
    _proved_wrong(made, lambda segment: (*segment[:4], ()))
    _proved_wrong(made, lambda segment: (*segment[:4], (*segment[4], ("invert", 16, 1))))


def test_E5_changed_pixels_are_the_same_for_a_peer_that_takes_implicit_vr(tmp_path: Path) -> None:
    made = made_of(series_of(change=[bits(12), bits(16), bits(14)]), tmp_path)
    recipe = made.result.objects[0].recipe
    where = {fact.name: fact.path for fact in made.facts}
    stream = reencode(recipe.source(where.__getitem__), ExplicitVRLittleEndian, ImplicitVRLittleEndian)
    content = file_meta(recipe.sop_class, recipe.sop_instance, ImplicitVRLittleEndian) + b"".join(stream.chunks(1000))
    assert dcmread(io.BytesIO(content)).PixelData == made.one.PixelData


def test_E6_the_proof_refuses_real_pixels_that_became_padding(tmp_path: Path) -> None:
    values = [(5, [5, 1]), (None, [2, 1]), (5, [5, 3])]
    made = made_of(
        series_of(change=[{"PixelPaddingValue": own, "PixelData": words(data)} for own, data in values]), tmp_path
    )
    fact = made.result.objects[0].planned.frames[1]
    ds = dcmread(fact.path)
    assert made.one.PixelPaddingValue == 5
    ds.PixelData = words([2, 5])
    ds.save_as(fact.path)
    _proved_wrong(made, lambda segment: segment, r"became padding")


def test_E7_the_proof_refuses_a_rescale_that_does_not_fit(tmp_path: Path) -> None:
    made = made_of(series_of(change={"PhotometricInterpretation": "MONOCHROME1"}), tmp_path)
    recipe = made.result.objects[0].recipe
    content = recipe.path.read_bytes()
    assert content.count(b"64511 ") == 3  # Pixel Value Transformation stands with each frame
    recipe.path.write_bytes(content.replace(b"64511 ", b"64512 "))
    seal(recipe, recipe.digest)
    _proved_wrong(made, lambda segment: segment, r"do not fit the inverted pixels")


def _by_plane(ds: Dataset) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 1
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    values = np.random.default_rng(int(ds.InstanceNumber)).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    ds.PixelData = values.tobytes()


def test_E4_colors_by_plane_become_colors_by_pixel_and_come_back(tmp_path: Path) -> None:
    sources = series_of("MR", change=_by_plane)
    made = made_of(sources, tmp_path)
    assert made.one.PlanarConfiguration == 0
    for source, frame in zip(sources, made.one.pixel_array, strict=True):
        planes = np.frombuffer(source.PixelData, np.uint8).reshape(3, 8, 8)
        assert np.array_equal(frame, np.moveaxis(planes, 0, -1))
    files, _ = turned_back(made.files, tmp_path / "classic")
    back = {ds.SOPInstanceUID: ds for ds in map(dcmread, files)}
    for source in sources:
        found = back[source.SOPInstanceUID]
        assert found.PlanarConfiguration == 1
        assert found.PixelData == source.PixelData


def test_E4_the_proof_refuses_colors_in_another_order(tmp_path: Path) -> None:
    made = made_of(series_of("MR", change=_by_plane), tmp_path)
    wrong = ("by_plane", 3)
    _proved_wrong(made, lambda segment: (*segment[:-1], (wrong,)), r"other pixels than its source")
