"""An unfolder of legacy converted objects that knows pydicom and nothing of the gateway."""

from __future__ import annotations

import io
from copy import copy
from typing import Any

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomFileLike
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_data_element
from pydicom.tag import BaseTag, Tag

Plain = dict[Any, Any]

SHARED, PER_FRAME = Tag("SharedFunctionalGroupsSequence"), Tag("PerFrameFunctionalGroupsSequence")
UNASSIGNED = (Tag("UnassignedSharedConvertedAttributesSequence"), Tag("UnassignedPerFrameConvertedAttributesSequence"))
CONVERSION_SOURCE = Tag("ConversionSourceAttributesSequence")
FRAME_TYPES = tuple(map(Tag, ("CTImageFrameTypeSequence", "MRImageFrameTypeSequence", "PETFrameTypeSequence")))
PIXELS = Tag("PixelData")
CREATOR = "GATEWAY CONVERSION"

# Bytes of a number by VR.
NUMBERS = {"US": 2, "SS": 2, "OW": 2, "AT": 2, "UL": 4, "SL": 4, "FL": 4, "OF": 4, "OL": 4,
           "FD": 8, "OD": 8, "OV": 8, "SV": 8, "UV": 8}  # fmt: skip

# What belongs to the multi-frame form alone.
_MULTI_FRAME = frozenset(
    map(
        Tag,
        (
            "NumberOfFrames", "DimensionOrganizationSequence", "DimensionIndexSequence", "QueryRetrieveView",
            "ReferencedImageEvidenceSequence", "SourceImageEvidenceSequence", "PixelPresentation",
            "VolumetricProperties", "VolumeBasedCalculationTechnique",
        ),
    )
)  # fmt: skip

# What a round trip may change (the end of REQUIREMENTS), identity apart.
MAY_CHANGE = frozenset(
    map(
        Tag,
        (
            "QueryRetrieveView", "ContributingEquipmentSequence", "ConversionSourceAttributesSequence",
            "ConcatenationUID", "InConcatenationNumber", "InConcatenationTotalNumber", "ConcatenationFrameOffsetNumber",
            "SOPInstanceUIDOfConcatenationSource", "MACParametersSequence", "DigitalSignaturesSequence",
            "DataSetTrailingPadding", "PixelData", "NumberOfFrames",
        ),
    )
)  # fmt: skip


def plain(ds: Dataset, *, empty: bool = False) -> Plain:
    """Return value bytes by tag, items as dicts; private elements by group, creator, which of its blocks, and number.

    Elements without a value are left out unless asked for: absent equals empty.
    """
    creators: dict[tuple[int, int], tuple[bytes, int]] = {}
    count: dict[tuple[int, bytes], int] = {}
    found: Plain = {}
    for tag in sorted(ds.keys()):
        value = _value(ds, tag)
        if tag.is_private_creator:
            creator = value.strip(b" \0")
            creators[tag.group, tag.element] = (creator, count.setdefault((tag.group, creator), 0))
            count[tag.group, creator] += 1
        elif tag.element != 0 and (value or empty):
            key: Any = tag
            if tag.is_private and (tag.group, tag.element >> 8) in creators:
                key = (tag.group, *creators[tag.group, tag.element >> 8], tag.element & 0xFF)
            found[key] = value
    return found


def _value(ds: Dataset, tag: BaseTag) -> Any:
    raw = ds.get_item(tag)
    if isinstance(raw, RawDataElement) and raw.VR not in (None, "SQ"):
        value = raw.value or b""
        return value if raw.is_little_endian else _swapped(value, NUMBERS.get(raw.VR, 1))
    element = ds[tag]
    if element.VR == "SQ":
        return [plain(item) for item in element.value]
    return (raw.value if isinstance(raw, RawDataElement) else _encoded(element)) or b""


def _swapped(value: bytes, size: int) -> bytes:
    """Return numbers of big endian as they are in little endian."""
    return b"".join(value[at : at + size][::-1] for at in range(0, len(value), size)) if size > 1 else value


def _encoded(element: DataElement) -> bytes:
    """Return the value bytes of an element that pydicom has decoded already."""
    target = DicomFileLike(io.BytesIO())
    target.is_little_endian, target.is_implicit_VR = True, True
    write_data_element(target, element, encodings=["latin-1"])
    return target.parent.getvalue()[8:]


def whole(item: Dataset, top: Dataset) -> Dataset:
    """Return what an item of the unassigned attributes says, what its private elements hold or name included."""
    found = copy(item)
    for creator in [tag for tag in list(item.keys()) if tag.is_private_creator and item[tag].value == CREATOR]:
        block = item.private_block(creator.group, CREATOR)
        if 0x03 in block:
            found.update(read_dataset(io.BytesIO(block[0x03].value), is_implicit_VR=False, is_little_endian=True))
            del found[block.get_tag(0x03)]
        if 0x04 in block:
            tags = block[0x04].value if block[0x04].VM > 1 else [block[0x04].value]
            found.update({tag: top[tag] for tag in map(Tag, tags)})
            del found[block.get_tag(0x04)]
        if not any(tag.group == creator.group and tag.element >> 8 == creator.element for tag in tuple(found.keys())):
            del found[creator]
    return found


def source_series(ds: Dataset) -> str:
    """Return the series that the last item of Related Series Sequence names as another form of the same images."""
    related = ds.RelatedSeriesSequence[-1]
    (purpose,) = related.PurposeOfReferenceCodeSequence
    assert (purpose.CodeValue, purpose.CodingSchemeDesignator) == ("121326", "DCM")
    assert related.StudyInstanceUID == ds.StudyInstanceUID
    return str(related.SeriesInstanceUID)


def unfolded(ds: Dataset, frame: int) -> Plain:
    """Return what the frame (from 0) says as a classic image would, Series and Instance of the source included."""
    shared = ds[SHARED].value[0]
    own = ds[PER_FRAME].value[frame]
    found = {
        key: value
        for key, value in plain(ds).items()
        if key not in (SHARED, PER_FRAME, PIXELS) and key not in _MULTI_FRAME
    }
    for groups in (shared, own):
        for tag in groups.keys():  # noqa: SIM118 - a Dataset yields elements
            if tag in UNASSIGNED or tag == CONVERSION_SOURCE:
                continue
            if tag in (Tag("ReferencedImageSequence"), Tag("RealWorldValueMappingSequence")):
                found[tag] = [plain(item) for item in groups[tag].value]
                continue
            for item in groups[tag].value:
                content = plain(item)
                if tag in FRAME_TYPES:
                    content[Tag("ImageType")] = content.pop(Tag("FrameType"))
                found.update(content)
    kept: Plain = {}
    for groups in (shared, own):
        for tag in UNASSIGNED:
            if tag in groups:
                (item,) = groups[tag].value
                kept.update(plain(whole(item, ds), empty=True))
    found.update(kept)
    (source,) = own[CONVERSION_SOURCE].value
    found[Tag("SOPClassUID")] = _value(source, Tag("ReferencedSOPClassUID"))
    found[Tag("SOPInstanceUID")] = _value(source, Tag("ReferencedSOPInstanceUID"))
    related = plain(ds)[Tag("RelatedSeriesSequence")]
    found[Tag("SeriesInstanceUID")] = related[-1][Tag("SeriesInstanceUID")]
    found[Tag("RelatedSeriesSequence")] = related[:-1]
    found.update({key: value for key, value in kept.items() if key == Tag("RelatedSeriesSequence")})
    return {key: value for key, value in found.items() if value}


def _presented(key: Any) -> bool:
    """Tell whether an element goes to a presentation state: overlays, graphic annotations and their layers."""
    return isinstance(key, BaseTag) and (
        (key.group >> 8 == 0x60 and not key.is_private) or key in (0x00700001, 0x00700060)
    )


def missing(source: Dataset, found: Plain, *, but: frozenset = frozenset()) -> dict:
    """Return what of a source is not found again."""
    return {
        key: (value, found.get(key))
        for key, value in plain(source).items()
        if key not in MAY_CHANGE and not _presented(key) and key not in but and found.get(key) != value
    }
