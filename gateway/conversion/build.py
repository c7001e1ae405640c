"""The second phase of a conversion: headers and segments, written frame by frame (PS3.4 C.3.5, PS3.3 A.70 to A.72)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gateway.conversion.facts import NATIVE, Facts
from gateway.conversion.groups import (
    DERIVATION_IMAGE,
    REFERENCED_IMAGE,
    SOURCE_IMAGE,
    STAND_INS,
    Groups,
    frame_content,
    frame_groups,
)
from gateway.conversion.identity import EDITION, Identity
from gateway.conversion.keys import Key, placed
from gateway.conversion.plan import Planned
from gateway.conversion.references import Target, rewritten
from gateway.conversion.survey import CONTRIBUTING_EQUIPMENT, remaining
from gateway.conversion.top_level import ENHANCED_ONLY, top_level
from gateway.objects.elements import (
    DataSet,
    Element,
    dataset,
    integer,
    is_empty,
    items,
    make,
    same,
    sequence,
    tag_of,
    text,
)
from gateway.objects.encode import SEQUENCE_STOP, element_head, encode, encode_item, item_head, sequence_start
from gateway.objects.part10 import EXPLICIT_LITTLE, Header, PixelData
from gateway.objects.recipe import Recipe, RecipeWriter, Segment
from gateway.objects.uids import derived_uid
from gateway.standard.compression import LOSSY_METHODS

BITS_ALLOCATED = tag_of("BitsAllocated")
PIXEL_DATA = tag_of("PixelData")
SHARED_GROUPS = tag_of("SharedFunctionalGroupsSequence")
PER_FRAME_GROUPS = tag_of("PerFrameFunctionalGroupsSequence")

# Groups that every frame has if one has them, without an item where there is nothing to say (C.7.6.16.2.5, -.6).
_TYPE_2_GROUPS = {REFERENCED_IMAGE, DERIVATION_IMAGE}

# Where to find the study and series of an instance that is referred to: (study, series), or None if unknown.
Resolve = Callable[[str], tuple[str, str] | None]


def build(
    planned: Planned,
    path: Path,
    *,
    identity: Identity,
    targets: Mapping[str, Target],
    resolve: Resolve,
    read: Callable[[Facts], Header],
) -> Recipe:
    """Write the recipe of a planned object.

    Parameters
    ----------
    planned : Planned
        What is to be made.
    path : Path
        The recipe file to write; it has no map yet, which the proof adds.
    identity : Identity
        Settings for Contributing Equipment.
    targets : mapping of str to Target
        What converted instances of the patient have become, by SOP Instance UID.
    resolve : callable
        Study and series of other instances that are held.
    read : callable
        Reads the header of a source.

    Returns
    -------
    Recipe
        The recipe, complete in memory.
    """
    writer = RecipeWriter(path)
    try:
        _Builder(planned, identity, targets, resolve, read).write_header(writer)
        segments = _pixel_segments(planned, writer)
    except BaseException:
        writer.discard()
        raise
    syntax = planned.frames[0].transfer_syntax
    return writer.finish(
        sop_class=planned.sop_class,
        sop_instance=planned.sop_instance,
        transfer_syntax=EXPLICIT_LITTLE if syntax in NATIVE else syntax,
        sources=[fact.name for fact in planned.frames],
        segments=segments,
    )


class _Builder:
    """State of one build: what is shared, so that each frame writes only the rest."""

    def __init__(
        self,
        planned: Planned,
        identity: Identity,
        targets: Mapping[str, Target],
        resolve: Resolve,
        read: Callable[[Facts], Header],
    ) -> None:
        self.planned = planned
        self.targets = targets
        self.resolve = resolve
        self.read = read
        survey = planned.survey
        self.shared_groups = survey.shared_groups()
        self.top = top_level(survey, identity, planned.source_series)
        self.top.update(self._identity_elements())
        self.copied_equipment = not survey.equipment_differs
        # Shared attributes are written once: at the top level with the same value, else in Unassigned Shared.
        self.shared: dict[Key, Element] = survey.shared()
        self.unassigned = {
            key: element
            for key, element in self.shared.items()
            if not self._at_top(key, element)
            and not (key == CONTRIBUTING_EQUIPMENT and self.copied_equipment)
            and self._is_needed(key, element, survey.groups)
        }

    def _at_top(self, key: Key, element: Element) -> bool:
        """Tell whether an attribute can be got back from the top level."""
        return isinstance(key, int) and key not in ENHANCED_ONLY and key in self.top and same(self.top[key], element)

    def _is_needed(self, key: Key, element: Element, groups: Groups) -> bool:
        """Tell whether an element says anything: an empty one only that nothing stood where now something does."""
        if not isinstance(key, int) or key not in STAND_INS or not is_empty(element):
            return True
        home = STAND_INS[key]
        return key in self.top if home is None else home in groups

    def _identity_elements(self) -> DataSet:
        planned = self.planned
        organization = derived_uid("dimensions", planned.sop_instance, str(EDITION))
        date, time = planned.series_start
        return dataset(
            make("SOPClassUID", planned.sop_class),
            make("SOPInstanceUID", planned.sop_instance),
            make("SeriesInstanceUID", planned.series),
            make("InstanceNumber", planned.instance_number),
            make("NumberOfFrames", len(planned.frames)),
            *([make("SeriesDate", date)] if date else []),
            *([make("SeriesTime", time)] if time else []),
            *planned.indices.module(organization),
            *self._evidence(),
            *self._lossy_method(),
        )

    def _lossy_method(self) -> list[Element]:
        """Return Lossy Image Compression Method by transfer syntax where lossy sources do not name it (E39)."""
        method = LOSSY_METHODS.get(self.planned.frames[0].transfer_syntax)
        unnamed = text(self.top, "LossyImageCompression") == "01" and not text(self.top, "LossyImageCompressionMethod")
        return [make("LossyImageCompressionMethod", method)] if method and unnamed else []

    def _evidence(self) -> list[Element]:
        """Referenced and Source Image Evidence (C.8.13.2.1.2): every target whose study and series are known."""
        found = []
        for keyword, tag in (
            ("ReferencedImageEvidenceSequence", REFERENCED_IMAGE),
            ("SourceImageEvidenceSequence", DERIVATION_IMAGE),
        ):
            if tag in self.planned.survey.groups:
                frames = self.planned.frames[:1] if tag in self.shared_groups else self.planned.frames
                studies = self._evidence_items(SOURCE_IMAGE if tag == DERIVATION_IMAGE else tag, frames)
                if studies:
                    found.append(sequence(keyword, *studies))
        return found

    def _evidence_items(self, tag: int, frames: Sequence[Facts]) -> list[DataSet]:
        tree: dict[str, dict[str, dict[str, str]]] = {}
        for fact in frames:
            for item in items(self.read(fact).dataset, tag):
                uid, sop_class = text(item, "ReferencedSOPInstanceUID"), text(item, "ReferencedSOPClassUID")
                target = self.targets.get(uid)
                place = (target.study, target.series) if target else self.resolve(uid)
                if place is not None:
                    uid, sop_class = (target.sop_instance, target.sop_class) if target else (uid, sop_class)
                    tree.setdefault(place[0], {}).setdefault(place[1], {})[uid] = sop_class
        return [
            dataset(
                make("StudyInstanceUID", study),
                sequence("ReferencedSeriesSequence", *(_series_item(uid, members) for uid, members in series.items())),
            )
            for study, series in tree.items()
        ]

    def write_header(self, writer: RecipeWriter) -> None:
        """Write everything up to the pixel data."""
        writer.write(encode({tag: element for tag, element in self.top.items() if tag < SHARED_GROUPS}))
        groups = self._finished(self.shared_groups)
        if self.unassigned:
            unassigned = sequence("UnassignedSharedConvertedAttributesSequence", placed(self.unassigned.items()))
            groups[unassigned.tag] = unassigned
        writer.write(encode(dataset(sequence("SharedFunctionalGroupsSequence", groups))))
        writer.write(sequence_start(PER_FRAME_GROUPS))
        for number, fact in enumerate(self.planned.frames):
            writer.write(encode_item(self._frame(number, fact)))
        writer.write(SEQUENCE_STOP)
        writer.write(encode({tag: element for tag, element in self.top.items() if tag > PER_FRAME_GROUPS}))

    def _frame(self, number: int, fact: Facts) -> DataSet:
        """Return the item of Per-Frame Functional Groups Sequence of one frame."""
        ds = self.read(fact).dataset
        groups, consumed = frame_groups(ds, self.planned.modality)
        own = self._finished({tag: group for tag, group in groups.items() if tag not in self.shared_groups})
        for tag in _TYPE_2_GROUPS & self.planned.survey.groups.keys() - self.shared_groups.keys():
            own.setdefault(tag, Element(tag, "SQ", ()))
        content = dataset(*frame_content(ds), *self.planned.indices.frame_content(number))
        source = dataset(
            make("ReferencedSOPClassUID", fact.sop_class), make("ReferencedSOPInstanceUID", fact.sop_instance)
        )
        # Also when it is empty: checkers want the sequence in every frame's item.
        rest = (
            (key, element)
            for key, element in remaining(ds, consumed)
            if not self._is_shared(key) and self._is_needed(key, element, groups)
        )
        return dataset(
            *own.values(),
            sequence("FrameContentSequence", content),
            sequence("UnassignedPerFrameConvertedAttributesSequence", placed(rest)),
            sequence("ConversionSourceAttributesSequence", source),
        )

    def _is_shared(self, key: Key) -> bool:
        return key in self.shared or (key == CONTRIBUTING_EQUIPMENT and self.copied_equipment)

    def _finished(self, groups: Groups) -> Groups:
        """Return groups whose references name what their targets have become."""
        groups = dict(groups)
        if REFERENCED_IMAGE in groups:
            groups[REFERENCED_IMAGE] = rewritten(groups[REFERENCED_IMAGE], self.targets)
        if DERIVATION_IMAGE in groups:
            item = dict(items(groups, DERIVATION_IMAGE)[0])
            item[SOURCE_IMAGE] = rewritten(item[SOURCE_IMAGE], self.targets)
            groups[DERIVATION_IMAGE] = groups[DERIVATION_IMAGE]._replace(value=(item,))
        return groups


def _series_item(series: str, members: dict[str, str]) -> DataSet:
    return dataset(
        make("SeriesInstanceUID", series),
        sequence(
            "ReferencedSOPSequence",
            *(
                dataset(make("ReferencedSOPClassUID", sop_class), make("ReferencedSOPInstanceUID", uid))
                for uid, sop_class in members.items()
            ),
        ),
    )


def _pixel_segments(planned: Planned, writer: RecipeWriter) -> list[Segment]:
    """Write the head of the pixel data element and return where its value comes from."""
    frames = planned.frames
    if frames[0].transfer_syntax in NATIVE:
        length = sum(fact.frame_length for fact in frames)
        bits = integer({BITS_ALLOCATED: planned.survey.values[BITS_ALLOCATED]}, BITS_ALLOCATED)
        vr = "OB" if bits == 8 else "OW"
        writer.write(element_head(PIXEL_DATA, vr, length + length % 2))
        segments: list[Segment] = [("f", n, _pixels(fact).offset, fact.frame_length) for n, fact in enumerate(frames)]
        return [*segments, ("b", "00")] if length % 2 else segments
    # Encapsulated: the Basic Offset Table says where frames begin, as they may have several fragments (PS3.5 A.4).
    offsets, position, segments = [], 0, []
    for n, fact in enumerate(frames):
        first, last = _pixels(fact).fragments[0], _pixels(fact).fragments[-1]  # type: ignore[index]
        begin, end = first[0] - 8, last[0] + last[1]
        offsets.append(position)
        position += end - begin
        segments.append(("f", n, begin, end - begin))
    writer.write(element_head(PIXEL_DATA, "OB", 0xFFFFFFFF))
    writer.write(item_head(4 * len(offsets)) + struct.pack(f"<{len(offsets)}I", *offsets))
    return [*segments, ("b", SEQUENCE_STOP.hex())]


def _pixels(fact: Facts) -> PixelData:
    assert fact.pixels is not None
    return fact.pixels
