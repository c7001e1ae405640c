"""A legacy converted object back to classic images (PS3.4 C.3.5): headers unfolded, pixels passed on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from gateway.conversion.facts import NATIVE
from gateway.conversion.frames import frame_ranges
from gateway.conversion.identity import EDITION, Identity
from gateway.conversion.references import (
    IMAGE_REFERENCES,
    REFERENCED_CLASS,
    REFERENCED_FRAME,
    REFERENCED_INSTANCE,
)
from gateway.conversion.unfold import classic_instance, unfold
from gateway.errors import ConversionError
from gateway.objects.elements import DataSet, integer, items, make, tag_of, text
from gateway.objects.encode import SEQUENCE_STOP, element_head, encode, item_head
from gateway.objects.part10 import EXPLICIT_LITTLE, Header
from gateway.objects.stream import CHUNK, FileSource
from gateway.objects.uids import derived_uid
from gateway.standard.sop_classes import LEGACY_MODALITIES

PIXEL_DATA = tag_of("PixelData")

# (SOP Instance UID of an enhanced object, frame number) -> (class, instance) of the classic image it came from.
Origins = Mapping[tuple[str, int], tuple[str, str]]


@dataclass
class ClassicImage:
    """A classic image made from one frame, as a `ByteSource` of its data set.

    Attributes
    ----------
    dataset : DataSet
        Its header.
    transfer_syntax : str
        Its transfer syntax.
    """

    dataset: DataSet
    transfer_syntax: str
    _head: bytes
    _pixels: FileSource
    _tail: bytes

    @property
    def length(self) -> int:
        """Number of bytes."""
        return len(self._head) + self._pixels.length + len(self._tail)

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """Yield the bytes in pieces."""
        yield self._head
        yield from self._pixels.chunks(size)
        yield self._tail


def conversion_sources(header: Header) -> list[tuple[str, str]]:
    """Return class and instance of the source of every frame, empty if a frame names none."""
    found = []
    for frame in items(header.dataset, "PerFrameFunctionalGroupsSequence"):
        for item in items(frame, "ConversionSourceAttributesSequence"):
            found.append((text(item, REFERENCED_CLASS), text(item, REFERENCED_INSTANCE)))
    return found if len(found) == (integer(header.dataset, "NumberOfFrames") or 0) else []


def origins_of(headers: Iterable[Header]) -> dict[tuple[str, int], tuple[str, str]]:
    """Return where the frames of enhanced objects came from, for turning references back."""
    return {
        (header.sop_instance, number): source
        for header in headers
        for number, source in enumerate(conversion_sources(header), 1)
    }


def classic_images(header: Header, identity: Identity, origins: Origins) -> Iterator[ClassicImage]:
    """Yield the classic images of a legacy converted object.

    Parameters
    ----------
    header : Header
        Header of the object's file.
    identity : Identity
        Settings for Contributing Equipment and new UIDs.
    origins : mapping
        Result of `origins_of` for all objects that are turned back together.

    Raises
    ------
    ConversionError
        If the object is no legacy converted one or lacks groups for a frame.
    """
    top = header.dataset
    if header.sop_class not in LEGACY_MODALITIES:
        raise ConversionError(header.path.name, "is no legacy converted enhanced image", found=header.sop_class)
    ranges = frame_ranges(header)
    per_frame = items(top, "PerFrameFunctionalGroupsSequence")
    shared = (items(top, "SharedFunctionalGroupsSequence") or ({},))[0]
    if len(per_frame) != len(ranges):
        raise ConversionError(header.path.name, "has not one group item a frame", found=len(per_frame))
    for number, (frame, (offset, length)) in enumerate(zip(per_frame, ranges, strict=True), 1):
        ds = classic_instance(top, unfold(top, shared, frame), number, identity)
        _fill_identity(ds, header, number, identity)
        for tag in IMAGE_REFERENCES:
            if tag in ds:
                ds[tag] = ds[tag]._replace(value=tuple(_turned_back(item, origins) for item in items(ds, tag)))
        yield _image(ds, header, offset, length)


def _fill_identity(ds: DataSet, header: Header, number: int, identity: Identity) -> None:
    """Give new UIDs where the object does not know those of its sources."""
    if not text(ds, "SOPInstanceUID"):
        uid = derived_uid("object", "classic", str(EDITION), *identity.parts, header.sop_instance, str(number))
        ds[tag_of("SOPInstanceUID")] = make("SOPInstanceUID", uid)
    if not text(ds, "SeriesInstanceUID"):
        uid = derived_uid("series", "classic", str(EDITION), *identity.parts, header.series)
        ds[tag_of("SeriesInstanceUID")] = make("SeriesInstanceUID", uid)


def _turned_back(item: DataSet, origins: Origins) -> DataSet:
    source = origins.get((text(item, REFERENCED_INSTANCE), integer(item, REFERENCED_FRAME) or 0))
    if source is None:
        return item
    changed = {tag: element for tag, element in item.items() if tag != REFERENCED_FRAME}
    changed[REFERENCED_CLASS] = make("ReferencedSOPClassUID", source[0])
    changed[REFERENCED_INSTANCE] = make("ReferencedSOPInstanceUID", source[1])
    return changed


def _image(ds: DataSet, header: Header, offset: int, length: int) -> ClassicImage:
    before = encode({tag: element for tag, element in ds.items() if tag < PIXEL_DATA})
    after = encode({tag: element for tag, element in ds.items() if tag > PIXEL_DATA})
    pixels = FileSource(header.path, offset, length)
    if header.transfer_syntax in NATIVE:
        vr = "OB" if integer(ds, "BitsAllocated") == 8 else "OW"
        head = before + element_head(PIXEL_DATA, vr, length + length % 2)
        return ClassicImage(ds, EXPLICIT_LITTLE, head, pixels, b"\0" * (length % 2) + after)
    head = before + element_head(PIXEL_DATA, "OB", 0xFFFFFFFF) + item_head(0)
    return ClassicImage(ds, header.transfer_syntax, head, pixels, SEQUENCE_STOP + after)
