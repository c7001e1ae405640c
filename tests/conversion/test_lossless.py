"""Whatever attributes slices have, everything of them can be got back by a reader that knows nothing of the gateway."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from conversion.material import frames_of, item, made_of, series_of, turned_back
from conversion.reading import missing, plain, unfolded
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

_letters = st.characters(codec="latin-1", categories=("Lu", "Ll", "Nd", "Zs"), exclude_characters="\\")
_text = st.text(_letters, max_size=9).map(str.strip)
_number = st.decimals(-99999, 99999, places=2, allow_nan=False).map(str)
_some = st.none() | _text
_code = st.builds(lambda value: item(CodeValue=value, CodingSchemeDesignator="99A"), st.sampled_from("abc"))

# Attributes of every home: top level, shared and per-frame groups, unassigned; text, numbers, bytes and sequences.
STANDARD: dict[str, st.SearchStrategy] = {
    "ProtocolName": _some,
    "SeriesDescription": _some,
    "ImageComments": _some,
    "ContrastBolusAgent": _some,
    "ScanOptions": st.none() | st.lists(st.sampled_from(["A", "BC", "DEF"]), max_size=3),
    "DeviceSerialNumber": _some,
    "BodyPartExamined": st.sampled_from([None, "", "CHEST", "knee", "CLINIC"]),
    "Laterality": st.sampled_from([None, "", "L"]),
    "ImageLaterality": st.sampled_from([None, "R"]),
    "AcquisitionNumber": st.sampled_from([None, "", "1", "02", "70000"]),
    "AcquisitionDateTime": st.sampled_from([None, "", "20240102101500.123456"]),
    "ContentDate": st.sampled_from([None, "", "20240102"]),
    "ContentTime": st.sampled_from([None, "", "101112"]),
    "SeriesDate": st.sampled_from([None, "20240102"]),
    "SeriesTime": st.sampled_from([None, "1015", "101500.0"]),
    "SliceThickness": st.none() | _number,
    "SpacingBetweenSlices": st.none() | _number,
    "EchoTime": st.none() | _number,
    "WindowCenter": st.sampled_from([None, "", "40", ["40", "50"]]),
    "WindowWidth": st.sampled_from([None, "400", ["400", "500.00"]]),
    "RescaleType": st.sampled_from([None, "", "HU", "US"]),
    "RescaleSlope": st.sampled_from([None, "1", "2.50"]),
    "RescaleIntercept": st.sampled_from([None, "-1024", "0"]),
    "SmallestImagePixelValue": st.sampled_from([None, 0, 5]),
    "LossyImageCompression": st.sampled_from([None, "00", "01"]),
    "PresentationLUTShape": st.sampled_from([None, "IDENTITY", "INVERSE"]),
    "IrradiationEventUID": st.sampled_from([None, "1.2", "1.3"]),
    "AnatomicRegionSequence": st.none() | st.lists(_code, max_size=2),
    "RequestAttributesSequence": st.none() | st.lists(_code, max_size=2),
    "ProcedureCodeSequence": st.none() | st.just([item(CodeValue="P", CodingSchemeDesignator="99A")]),
    "AcquisitionContextSequence": st.none() | st.lists(_code, max_size=1),
    "ReferencedImageSequence": st.none()
    | st.lists(
        st.builds(
            lambda uid: item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2", ReferencedSOPInstanceUID=uid),
            st.sampled_from(["1.2.3.4", "1.2.3.5"]),
        ),
        max_size=2,
    ),
    "ImageType": st.sampled_from(
        [["ORIGINAL", "PRIMARY", "AXIAL"], ["DERIVED", "PRIMARY", "MPR", "X"], ["ORIGINAL"], None]
    ),
    "PositionReferenceIndicator": st.sampled_from([None, "", "SN"]),
    "FrameOfReferenceUID": st.sampled_from([None, "1.2.9"]),
}
_private_values = st.sampled_from(
    [("LO", "x"), ("LO", "odd"), ("LO", ""), ("OB", b"\0\0"), ("OB", b"\1\0"), ("UN", b"\0\0\0\0"), ("UN", b"  "),
     ("US", 0), ("DS", "1.50"), ("SQ", "nested")]
)  # fmt: skip
_private = st.lists(
    st.tuples(
        st.sampled_from([0x0019, 0x0029]),
        st.sampled_from([0x10, 0x11, 0x20, 0xFF]),
        st.sampled_from(["ACME 1", "ACME 2", "ODD"]),
        st.sampled_from([0x00, 0x01, 0xFF]),
        _private_values,
    ),
    max_size=4,
)


@st.composite
def slices(draw: st.DrawFn) -> list[Dataset]:
    """Return slices whose attributes are partly the same for all, partly drawn for each."""
    modality = draw(st.sampled_from(["CT", "MR", "PT"]))
    keywords = draw(st.lists(st.sampled_from(sorted(STANDARD)), max_size=12, unique=True))
    same = {keyword: draw(STANDARD[keyword]) for keyword in keywords[::2]}
    common = draw(_private)
    found = []
    for ds in series_of(modality, count=3):
        own = {keyword: draw(STANDARD[keyword]) for keyword in keywords[1::2]}
        for keyword, value in (same | own).items():
            if value is None:
                if keyword in ds:
                    delattr(ds, keyword)
            else:
                setattr(ds, keyword, value)
        if ds.Modality == "CT" and ds.get("RescaleType") == "US":
            ds.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]  # original CT has HU, else it stays classic (E11)
        _add_private(ds, common + draw(_private))
        found.append(ds)
    return found


def _add_private(ds: Dataset, wanted: list[tuple[int, int, str, int, tuple[str, Any]]]) -> None:
    for group, block, creator, number, (vr, value) in wanted:
        reserved = ds.get_item((group, block))
        if reserved is not None and reserved.value != creator:
            continue
        ds.add_new((group, block), "LO", creator)
        if vr == "SQ":
            inner = item(ProtocolName="inner")
            inner.private_block(0x0021, "ACME IN", create=True).add_new(1, "LO", "deep")
            value = [inner, Dataset()]
        ds.add_new((group, block << 8 | number), vr, value)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(slices(), st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian]))
def test_every_attribute_is_recovered_and_turned_back(sources: list[Dataset], syntax: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = made_of(sources, Path(folder), syntax)
        # Three images that all disagree about what no object may mix stay as they are (G17).
        assume(not any(reason.endswith("which an enhanced image has once") for reason in made.kept.values()))
        assert not made.kept, made.kept
        by_uid = {
            str(ds.SOPInstanceUID): ds for ds in (dcmread(path) for path in sorted((Path(folder) / "in").iterdir()))
        }
        seen = 0
        for path in made.files:
            ds = dcmread(path)
            images, _ = turned_back([path], Path(folder) / "back")
            for number, frame in enumerate(frames_of(ds)):
                uid = frame.ConversionSourceAttributesSequence[0].ReferencedSOPInstanceUID
                source = by_uid[uid]
                _check_references(source, unfolded(ds, number))
                back = dcmread(images[number])
                _check_references(source, plain(back))
                assert back.PixelData == source.PixelData
                assert _added(source, back) == set()
                seen += 1
        assert seen == len(sources)


def _check_references(source: Dataset, found: dict) -> None:
    """Compare all; references get a purpose where they have none, which is the one thing that is added to an item."""
    lost = missing(source, found)
    for key, (value, other) in lost.items():
        assert key == 0x00081140, lost
        assert [{k: v for k, v in part.items() if k != 0x0040A170} for part in other] == value


def _added(source: Dataset, back: Dataset) -> set[str]:
    """Return what came with the conversion and is neither on the list of what may change nor mandatory (K2)."""
    extra = {back[key].keyword for key in plain(back).keys() - plain(source).keys()}
    expected = {"QueryRetrieveView", "ContributingEquipmentSequence", "ConversionSourceAttributesSequence"}
    return extra - expected - {"ImageType", "RescaleSlope", "RescaleIntercept"}
