"""Frame level retrieve: some frames of a multi-frame object as a new object (PS3.4 Y.3.3, PS3.3 C.12.3).

Private attributes of the top level are left out, because they may speak of frames that are not there (Y.3.3 note);
those of functional groups go with their frames.
"""

from __future__ import annotations

import hashlib
import itertools
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.conversion.classic_pet import seconds
from gateway.conversion.classic_values import decimal
from gateway.conversion.frame_lists import (
    CANNOT_CREATE,
    CANNOT_EXTRACT,
    NOT_TIME_BASED,
    ExtractionError,
    FrameRequest,
)
from gateway.conversion.frame_source import DerivedFrames, FrameSource, Locate, rearranged, total_length
from gateway.conversion.identity import EDITION, Identity, code
from gateway.conversion.multiframe import PER_FRAME, SHARED
from gateway.conversion.references import CONVERSION_SOURCE, REFERENCED_FRAME, REFERENCED_INSTANCE
from gateway.errors import ObjectError
from gateway.objects.digest import Digest
from gateway.objects.elements import (
    DataSet,
    Element,
    dataset,
    integer,
    is_private,
    items,
    make,
    numbers,
    raw,
    same,
    sequence,
    tag_of,
    text,
)
from gateway.objects.encode import SEQUENCE_STOP, element_head, encode, encode_item, item_head, sequence_start
from gateway.objects.recipe import Recipe, RecipeWriter, Segment, seal
from gateway.objects.uids import derived_uid

PIXEL_DATA = tag_of("PixelData")
_INCREMENT = tag_of("FrameIncrementPointer")
_TIME, _VECTOR = tag_of("FrameTime"), tag_of("FrameTimeVector")

# What would speak of frames that are not there, is no longer true, or may not be there (Y.3.3).
_LEFT_OUT = frozenset(
    tag_of(keyword)
    for keyword in (
        "SOPInstanceUIDOfConcatenationSource", "ConcatenationUID", "InConcatenationNumber",
        "InConcatenationTotalNumber", "ConcatenationFrameOffsetNumber", "PixelDataProviderURL", "ExtendedOffsetTable",
        "ExtendedOffsetTableLengths", "MACParametersSequence", "DigitalSignaturesSequence", "DataSetTrailingPadding",
        "RepresentativeFrameNumber", "StartTrim", "StopTrim", "EffectiveDuration", "FrameNumbersOfInterest",
        "FrameOfInterestDescription", "FrameOfInterestType", "RWavePointer", "EncapsulatedPixelDataValueTotalLength",
    )
)  # fmt: skip


def frame_times(source: FrameSource) -> list[float]:
    """Return the time of each frame in seconds after Content Time (Y.3.2.1.3).

    Raises
    ------
    ExtractionError
        If the object does not say when its frames were (AA03).
    """
    top, count = source.frames.top, source.frames.count
    start = seconds(text(top, "ContentDate") + text(top, "ContentTime"))
    if source.frames.has_groups and start is not None:
        moments = []
        for frame in source.frames.frames():
            content = (items(frame, "FrameContentSequence") or ({},))[0]
            moments.append(seconds(text(content, "FrameReferenceDateTime")))
        found = [round(moment - start, 6) for moment in moments if moment is not None]
        if len(found) == count:
            return found
    vector = numbers(top, "FrameTimeVector")
    if len(vector) == count:
        return [sum(vector[1 : number + 1]) / 1000 for number in range(count)]
    step = numbers(top, "FrameTime")
    if step:
        return [number * step[0] / 1000 for number in range(count)]
    raise ExtractionError(
        NOT_TIME_BASED,
        source.frames.header.sop_instance,
        "does not say when its frames were",
        expected="Frame Reference DateTime, Frame Time or Frame Time Vector",
    )


def extract(
    source: FrameSource,
    request: FrameRequest,
    path: Path,
    identity: Identity,
    *,
    locate: Locate,
    watch: Callable[[], None] = lambda: None,
) -> Recipe:
    """Make a new object of some frames of another one.

    Parameters
    ----------
    source : FrameSource
        The object.
    request : FrameRequest
        Which frames.
    path : Path
        The recipe file to write.
    identity : Identity
        Settings for Contributing Equipment and the new UID.
    locate : callable
        Where the files are that the pixels are in.
    watch : callable
        Called again and again; what it raises ends the extraction, and nothing is left of it.

    Returns
    -------
    Recipe
        Sealed, after it was read back.

    Raises
    ------
    ExtractionError
        With the failure status of table Y.4-1.
    """
    numbers_ = request.frames(source.frames.count, lambda: frame_times(source))
    _check_class(source)
    extracted = _Extraction(source, request, numbers_, identity)
    with RecipeWriter(path) as writer:
        try:
            extracted.write_header(writer, watch)
            names, segments = rearranged(source, numbers_)
            tail = _pixel_head(source, segments, writer, extracted.top)
            recipe = writer.finish(
                sop_class=source.frames.header.sop_class,
                sop_instance=extracted.sop_instance,
                transfer_syntax=source.transfer_syntax,
                sources=names,
                segments=[*segments, *([("b", tail.hex())] if tail else [])],
            )
            seal(recipe, _proved(recipe, extracted, locate, watch))
        except (ObjectError, OSError, struct.error) as error:
            raise ExtractionError(CANNOT_EXTRACT, source.frames.header.sop_instance, str(error)) from error
    return recipe


def _check_class(source: FrameSource) -> None:
    """Refuse objects whose frames are ordered by something that this module does not subset (AA01)."""
    top, subject = source.frames.top, source.frames.header.sop_instance
    if tag_of("NumberOfFrames") not in top:
        raise ExtractionError(CANNOT_CREATE, subject, "is no multi-frame object")
    if not source.frames.has_groups:
        pointers = raw(top, _INCREMENT)
        pairs = struct.unpack(f"<{len(pointers) // 4 * 2}H", pointers[: len(pointers) // 4 * 4])
        tags = {group << 16 | number for group, number in zip(pairs[::2], pairs[1::2], strict=True)}
        if tags - {_TIME, _VECTOR}:
            raise ExtractionError(CANNOT_CREATE, subject, "has frames that are indexed by other than time")


class _Extraction:
    """The new object's header."""

    def __init__(self, source: FrameSource, request: FrameRequest, frames: Sequence[int], identity: Identity) -> None:
        self.source = source
        self.numbers = list(frames)
        self.old = source.frames.header.sop_instance
        key = hashlib.blake2b(encode(dataset(request.element)), digest_size=16).hexdigest()
        self.sop_instance = derived_uid("object", "frames", str(EDITION), *identity.parts, self.old, source.digest, key)
        self._places = {number: place for place, number in enumerate(self.numbers, 1)}
        top = source.frames.top
        self.top = {tag: element for tag, element in self._rewritten(top).items() if not _left_out(tag, top)}
        item = dataset(make("MultiFrameSourceSOPInstanceUID", self.old), request.element)
        self.top |= dataset(
            make("SOPInstanceUID", self.sop_instance),
            make("NumberOfFrames", len(self.numbers)),
            sequence("FrameExtractionSequence", *items(top, "FrameExtractionSequence"), item),
            sequence(
                "ContributingEquipmentSequence",
                *items(top, "ContributingEquipmentSequence"),
                _equipment(identity),
            ),
        )
        if not source.frames.has_groups:
            self.top |= self._timing()

    def write_header(self, writer: RecipeWriter, watch: Callable[[], None]) -> None:
        """Write everything up to the pixel data."""
        frames, top = self.source.frames, self.top
        writer.write(encode({tag: element for tag, element in top.items() if tag < SHARED}))
        if frames.has_groups:
            writer.write(encode(dataset(sequence("SharedFunctionalGroupsSequence", self._rewritten(frames.shared)))))
            writer.write(sequence_start(PER_FRAME))
            for number in self.numbers:
                watch()
                writer.write(encode_item(self._rewritten(frames.frame(number))))
            writer.write(SEQUENCE_STOP)
        writer.write(encode({tag: element for tag, element in top.items() if SHARED < tag < PIXEL_DATA}))

    def _rewritten(self, ds: DataSet) -> DataSet:
        """Point references to the object's own frames at the new one where it has them."""
        found: DataSet = {}
        for tag, element in ds.items():
            if isinstance(element.value, tuple) and tag != CONVERSION_SOURCE and not is_private(tag):
                element = element._replace(value=tuple(self._rewritten(item) for item in element.value))
            found[tag] = element
        if text(ds, REFERENCED_INSTANCE) == self.old and REFERENCED_FRAME in ds:
            places = [self._places.get(int(number)) for number in numbers(ds, REFERENCED_FRAME)]
            if all(places):
                found[REFERENCED_INSTANCE] = make("ReferencedSOPInstanceUID", self.sop_instance)
                found[REFERENCED_FRAME] = make("ReferencedFrameNumber", *(place for place in places if place))
        return found

    def _timing(self) -> DataSet:
        """Return Frame Time or Frame Time Vector of the frames that are left, and when the first of them was."""
        top = self.source.frames.top
        if _TIME not in top and _VECTOR not in top:
            return {}
        times = frame_times(self.source)
        chosen = [times[number - 1] for number in self.numbers]
        steps = [round((later - earlier) * 1000, 6) for earlier, later in itertools.pairwise(chosen)]
        found = [_content_time(top, chosen[0])] if chosen[0] else []
        if _VECTOR in top or len(set(steps)) > 1:
            found.append(make("FrameTimeVector", "0", *map(decimal, steps)))
            found.append(make("FrameIncrementPointer")._replace(value=struct.pack("<HH", 0x0018, 0x1065)))
            self.top.pop(_TIME, None)
        elif steps:
            found.append(make("FrameTime", decimal(steps[0])))
        return dataset(*(element for element in found if element is not None))


def _left_out(tag: int, top: DataSet) -> bool:
    if tag in _LEFT_OUT or is_private(tag):
        return True
    # Overlays of several frames begin at a frame's number.
    return tag >> 24 == 0x60 and (tag & 0xFFFF0000 | 0x15) in top


def _content_time(top: DataSet, shift: float) -> Element | None:
    """Return Content Time, which frame times are relative to, moved to the first frame that is left."""
    time = text(top, "ContentTime")
    start = seconds("19000101" + time)
    if start is None:
        return None
    moment = (start + shift) % 86400
    whole = int(moment)
    fraction = f"{moment - whole:.6f}"[1:].rstrip("0").rstrip(".")
    return make("ContentTime", f"{whole // 3600:02d}{whole // 60 % 60:02d}{whole % 60:02d}{fraction}")


def _equipment(identity: Identity) -> DataSet:
    """Return the item of Contributing Equipment Sequence for the extraction (Y.3.3)."""
    item = identity.equipment("classic")
    purpose = code("109105", "DCM", "Frame Extracting Equipment")
    item[tag_of("ContributionDescription")] = make("ContributionDescription", "Frames extracted on request")
    item[tag_of("PurposeOfReferenceCodeSequence")] = sequence("PurposeOfReferenceCodeSequence", purpose)
    return item


def _pixel_head(source: FrameSource, segments: list[Segment], writer: RecipeWriter, top: DataSet) -> bytes:
    """Write the head of the pixel data element and return what follows the frames."""
    after = encode({tag: element for tag, element in top.items() if tag > PIXEL_DATA})
    if not source.encapsulated:
        length = total_length(segments)
        vr = "OB" if integer(top, "BitsAllocated") == 8 else "OW"
        writer.write(element_head(PIXEL_DATA, vr, length + length % 2))
        return b"\0" * (length % 2) + after
    offsets, position = [], 0
    for segment in segments:
        offsets.append(position)
        position += total_length([segment])
    if position > 0xFFFFFFFF:
        offsets = []
    writer.write(element_head(PIXEL_DATA, "OB", 0xFFFFFFFF))
    writer.write(item_head(4 * len(offsets)) + struct.pack(f"<{len(offsets)}I", *offsets))
    return SEQUENCE_STOP + after


def _proved(recipe: Recipe, extracted: _Extraction, locate: Locate, watch: Callable[[], None]) -> str:
    """Read the new object back: its frames' groups are the old ones, its stream is as long as it says; the digest."""
    made, source = DerivedFrames(recipe), extracted.source
    if made.frames.count != len(extracted.numbers):
        raise ExtractionError(CANNOT_EXTRACT, recipe.sop_instance, "has another number of frames than asked for")
    for place, number in enumerate(extracted.numbers, 1) if made.frames.has_groups else ():
        watch()
        found, wanted = made.frames.frame(place), source.frames.frame(number)
        if found.keys() != wanted.keys() or not all(
            same(wanted[tag], element) for tag, element in found.items() if not isinstance(element.value, tuple)
        ):
            raise ExtractionError(CANNOT_EXTRACT, recipe.sop_instance, f"has other groups than frame {number}")
    digest = Digest()
    length = 0
    for chunk in recipe.source(locate).chunks():
        watch()
        digest.update(chunk)
        length += len(chunk)
    if length != recipe.length:
        raise ExtractionError(CANNOT_EXTRACT, recipe.sop_instance, "has another length than announced", found=length)
    return digest.hexdigest()
