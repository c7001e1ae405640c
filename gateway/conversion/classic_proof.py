"""The proof of a classic image: the stream is read back and held against a fresh reading of the enhanced object.

It knows nothing of how images are made. Every attribute of the top level, of the shared groups and of the frame's
groups must stand at the top level of the image, under its own or its classic name, unless a more specific one took its
place: then that one stands there, and the replaced value in the private block that carries such values. An object made
of classic images is held against what it keeps of them: what the conversion added may go.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from gateway.conversion.groups import ADDED_PURPOSES, PURPOSE, STAND_INS, WINDOW, without_added_purposes
from gateway.conversion.kept import PER_FRAME, SHARED, said
from gateway.conversion.keys import Key, keyed
from gateway.conversion.multiframe import MultiFrame
from gateway.conversion.proof_pixels import check_same_values, native_length, same_pixel_encoding
from gateway.conversion.proof_references import Reading
from gateway.conversion.references import Became
from gateway.conversion.related import apart
from gateway.conversion.top_level import ENHANCED_ONLY, FRAME_OF_REFERENCE, own_frame_of_reference
from gateway.conversion.unfold import CARRIERS, MULTI_FRAME_ONLY, SUMMARIES
from gateway.errors import ConversionError
from gateway.objects.digest import Digest
from gateway.objects.elements import DataSet, Element, integer, is_empty, same, tag_of, tag_text, text, texts
from gateway.objects.encode import SEQUENCE_STOP
from gateway.objects.parse import Syntax, parse_dataset
from gateway.objects.recipe import Recipe, frame_bytes
from gateway.objects.stream import CHUNK, read_range
from gateway.standard.dictionary import keyword_of
from gateway.standard.frame_type import FRAME_TYPE_SEQUENCES
from gateway.standard.functional_groups import CLASSIC_NAMES, CLASSIC_TERMS

_SOURCE = tag_of("ConversionSourceAttributesSequence")
_DERIVATION_CODE = tag_of("DerivationCodeSequence")  # edition 1 made one up for lossy images
_WINDOW = frozenset(map(tag_of, WINDOW))
_EQUIPMENT = tag_of("ContributingEquipmentSequence")
_FRAME_TYPES = frozenset(map(tag_of, FRAME_TYPE_SEQUENCES.values()))
_UNASSIGNED = tuple(map(tag_of, (SHARED, PER_FRAME)))
_CLASSIC_TOO = frozenset(map(tag_of, ("ReferencedImageSequence", "RealWorldValueMappingSequence")))

# Enhanced names whose value stands under a classic one.
_OTHER_NAMES = {
    tag_of("FrameType"): tag_of("ImageType"),
    tag_of("FrameAcquisitionNumber"): tag_of("AcquisitionNumber"),
    tag_of("FrameAcquisitionDateTime"): tag_of("AcquisitionDateTime"),
    tag_of("FrameLaterality"): tag_of("ImageLaterality"),
}

# What a conversion of classic images adds, beside what only its top level says.
_ADDED = ENHANCED_ONLY | frozenset(
    tag_of(keyword)
    for keyword in (
        "StackID", "InStackPositionNumber", "DimensionIndexValues", "TemporalPositionIndex", "FrameAcquisitionNumber",
        "FrameAcquisitionDateTime", "FrameLaterality", "FrameType", "AcquisitionContextSequence",
    )
)  # fmt: skip


def prove_image(recipe: Recipe, frames: MultiFrame, number: int, *, restored: bool, became: Became) -> str:
    """Check that a classic image has everything of its frame.

    Parameters
    ----------
    recipe : Recipe
        The image.
    frames : MultiFrame
        The object it was made of; the frame's groups and pixels are read anew.
    number : int
        Number of the frame.
    restored : bool
        Whether the object was made of classic images.
    became : Became
        The reference map of the classic view.

    Returns
    -------
    str
        BLAKE3-128 of the stream, in hexadecimal.

    Raises
    ------
    ConversionError
        If anything of the frame is missing or different.
    """
    where = f"{recipe.sop_instance}, frame {number} of {frames.header.sop_instance}"
    stream = _Pieces(recipe.source(lambda name: frames.path).chunks())
    head = stream.take(recipe.header_length)
    image, position = parse_dataset(head, 0, len(head), Syntax(), stop_at_pixels=True)
    length = frames.ranges[number - 1][1] if _encapsulated(frames) else native_length(image)
    _check_pixel_head(where, frames, image, head[position:])
    _check_pixels(where, frames, number, stream, image, length)
    rest = stream.rest()
    stop = len(SEQUENCE_STOP) if _encapsulated(frames) else length % 2
    if rest[:stop] != (SEQUENCE_STOP if _encapsulated(frames) else bytes(stop)):
        raise ConversionError(where, "does not end its pixel data", found=rest[:stop])
    image.update(parse_dataset(rest, stop, len(rest), Syntax())[0])
    if text(image, "SOPInstanceUID") != recipe.sop_instance or text(image, "SOPClassUID") != recipe.sop_class:
        raise ConversionError(where, "has another identity than its recipe")
    named = apart(frames.top)
    levels = _levels(frames, number, named.rest if restored else frames.top)
    own = _own_frame_of_reference(levels, named.converted)
    _check_elements(where, levels, dict(keyed(image)), Reading(became, merged=False), own, restored=restored)
    return stream.digest.hexdigest()


def _check_pixels(where: str, frames: MultiFrame, number: int, stream: _Pieces, image: DataSet, length: int) -> None:
    """Compare bytes where object and image say the same of them, else stored values."""
    offset, own = frames.ranges[number - 1]
    header = frames.header
    if not same_pixel_encoding(header, image):
        data = frame_bytes(frames.path, offset, own)
        check_same_values(where, image, stream.take(length), header.dataset, data, big_endian=header.big_endian)
        return
    with open(frames.path, "rb", buffering=0) as file:
        for piece in read_range(file, offset, own, CHUNK, frames.path.name):
            if stream.take(len(piece)) != piece:
                raise ConversionError(where, "has other pixels than the frame")


class _Pieces:
    """A stream taken in pieces of the wanted length, and its digest."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.digest = Digest()
        self._chunks = chunks
        self._left = b""

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes, or what is left."""
        parts = [self._left]
        have = len(self._left)
        while have < count:
            chunk = next(self._chunks, b"")
            if not chunk:
                break
            self.digest.update(chunk)
            parts.append(chunk)
            have += len(chunk)
        data = b"".join(parts)
        self._left = data[count:]
        return data[:count]

    def rest(self) -> bytes:
        """Return everything that is left."""
        return self.take(1 << 62)


def _encapsulated(frames: MultiFrame) -> bool:
    return frames.header.pixels is not None and frames.header.pixels.fragments is not None


def _check_pixel_head(where: str, frames: MultiFrame, image: DataSet, head: bytes) -> None:
    """Check tag, VR and length of the pixel data element, for encapsulated frames with an empty offset table."""
    length = native_length(image)
    if _encapsulated(frames):
        expected = bytes.fromhex("e07f1000") + b"OB\0\0\xff\xff\xff\xff" + bytes.fromhex("feff00e000000000")
    else:
        vr = b"OB" if integer(image, "BitsAllocated") == 8 else b"OW"
        expected = bytes.fromhex("e07f1000") + vr + struct.pack("<HI", 0, length + length % 2)
    if head != expected:
        raise ConversionError(where, "has another pixel data element than its frame", found=head)


def _levels(frames: MultiFrame, number: int, top: DataSet) -> list[tuple[str, dict[Key, Element]]]:
    """Return what the object says of a frame, the most specific first: where, and the elements."""
    groups = frames.frame(number)
    found: list[tuple[str, dict[Key, Element]]] = []
    for item, keyword in ((groups, PER_FRAME), (frames.shared, SHARED)):
        found.append(("unassigned", dict(said(item, keyword, top))))
    for where, item in (("frame", groups), ("shared", frames.shared)):
        for key, element in reversed(list(keyed(item))):
            if key in _UNASSIGNED or key == _SOURCE:
                continue
            inside = _items(element)
            if len(inside) == 1 and isinstance(key, int) and key not in _CLASSIC_TOO:
                found.append((where + (" type" if key in _FRAME_TYPES else ""), dict(keyed(inside[0]))))
            else:
                found.append((where, {key: element}))
    found.append(("top", dict(keyed(top))))
    return found


def _check_elements(
    where: str,
    levels: list[tuple[str, dict[Key, Element]]],
    image: dict[Key, Element],
    reading: Reading,
    own: str,
    *,
    restored: bool,
) -> None:
    carried = [dict(keyed(item)) for key in CARRIERS if key in image for item in _items(image[key])]
    claimed: set[Key] = set()
    for level, elements in levels:
        for key, element in elements.items():
            if is_empty(element) or key in MULTI_FRAME_ONLY or key == _EQUIPMENT:
                if level == "unassigned" and restored:
                    claimed.add(key)  # an original that was empty, or identity
                continue
            if isinstance(key, tuple) and key[3] < 0 and any(isinstance(k, tuple) and k[:2] == key[:2] for k in image):
                continue  # a creator that reserves a block here and uses it elsewhere
            if restored and key in ADDED_PURPOSES:
                element = without_added_purposes(element) if _purposes_were_added(levels) else element
            stands = _OTHER_NAMES.get(key, key) if isinstance(key, int) and level != "top" else key
            if restored and (stands in claimed or _may_go(level, key, element, image, own)):
                continue
            if _is_there(element, image.get(stands), reading):
                claimed.add(stands)
            elif not (stands in claimed and stands in SUMMARIES and _is_mixed(element, image[stands])) and not any(
                _is_there(element, kept.get(stands), reading) for kept in carried
            ):
                how = "was replaced and not kept" if stands in claimed else "is not in it"
                raise ConversionError(where, f"{tag_text(element.tag)} of the {level} {how}")


def _purposes_were_added(levels: list[tuple[str, dict[Key, Element]]]) -> bool:
    """Tell whether purposes of references are not those of the image (an empty one in Unassigned says so)."""
    return any(
        is_empty(elements[PURPOSE]) for level, elements in levels if PURPOSE in elements and level == "unassigned"
    )


def _is_mixed(element: Element, found: Element) -> bool:
    """Tell whether a value that sums up all frames differs from a frame's own only where it says MIXED."""
    if not isinstance(element.value, bytes):
        return True
    values, others = (texts({part.tag: part}, part.tag) for part in (element, found))
    return len(values) == len(others) and all(
        value in (other, "MIXED") for value, other in zip(values, others, strict=True)
    )


def _own_frame_of_reference(levels: list[tuple[str, dict[Key, Element]]], named: str) -> str:
    """Return the Frame of Reference UID that stands in for one that the original series did not have."""
    tag = tag_of("SeriesInstanceUID")
    series = [elements[tag] for level, elements in levels if level == "unassigned" and tag in elements]
    original = text({tag: series[0]}, tag) if series else named
    return own_frame_of_reference(original) if original else ""


def _items(element: Element) -> tuple[DataSet, ...]:
    return element.value if isinstance(element.value, tuple) else ()


def _may_go(level: str, key: Key, element: Element, image: dict[Key, Element], own: str) -> bool:
    """Tell whether a value was added by the conversion of classic images, so that these never had it."""
    if level == "unassigned" or not isinstance(key, int):
        return False
    if key == FRAME_OF_REFERENCE:
        return text({key: element}, key) == own
    if key in _ADDED or level.endswith(" type") or key in STAND_INS or key == _DERIVATION_CODE:
        return True
    if key in _WINDOW:
        return is_empty(image.get(key))  # a default window; any other would have been kept as the image's own
    names = CLASSIC_NAMES.get(keyword_of(key), ())
    return any(not is_empty(image.get(tag_of(name.keyword))) for name in names)


def _is_there(element: Element, found: Element | None, reading: Reading) -> bool:
    """Tell whether a value stands in the image: as it is, as a number in text, in a classic term, or as a reference."""
    if found is None:
        return False
    value = replace_tag(element, found)
    if same(value, found) or value.value == found.value:
        return True
    if isinstance(element.value, tuple) and isinstance(found.value, tuple):
        return reading.expected(value) == reading.found(found)
    one, other = {element.tag: element}, {found.tag: found}
    if element.vr == "US" and found.vr == "IS":
        return integer(one, element.tag) == integer(other, found.tag)
    terms = CLASSIC_TERMS.get(keyword_of(element.tag), {})
    return terms.get(text(other, found.tag)) == text(one, element.tag) != ""


def replace_tag(element: Element, other: Element) -> Element:
    """Return an element under the tag of another."""
    return element if element.tag == other.tag else element._replace(tag=other.tag)
