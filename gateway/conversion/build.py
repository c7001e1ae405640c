"""The second phase of a conversion: headers and segments, written frame by frame (PS3.4 C.3.5, PS3.3 A.70 to A.72)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gateway.conversion.amended import originals
from gateway.conversion.evidence import Resolve, evidence
from gateway.conversion.facts import Facts
from gateway.conversion.groups import (
    DERIVATION_IMAGE,
    REFERENCED_IMAGE,
    STAND_INS,
    Groups,
    frame_groups,
)
from gateway.conversion.identity import Identity
from gateway.conversion.inversion import INVERTED
from gateway.conversion.kept import PER_FRAME, SHARED, unassigned
from gateway.conversion.keys import Key
from gateway.conversion.planned import Planned
from gateway.conversion.presentation import state_reference
from gateway.conversion.references import Became, every_target
from gateway.conversion.related import RELATED_SERIES, source_series, with_items
from gateway.conversion.rewriting import Rewriter
from gateway.conversion.segments import pixel_segments
from gateway.conversion.survey import CONTRIBUTING_EQUIPMENT, remaining
from gateway.conversion.top_level import ENHANCED_ONLY, top_level
from gateway.conversion.true_enhanced import only_time
from gateway.objects.elements import (
    DataSet,
    Element,
    dataset,
    is_empty,
    make,
    same,
    sequence,
    tag_of,
    text,
)
from gateway.objects.encode import SEQUENCE_STOP, encode, encode_item, sequence_start
from gateway.objects.part10 import Header
from gateway.objects.recipe import Recipe, RecipeWriter
from gateway.standard.compression import LOSSY_METHODS

SHARED_GROUPS = tag_of("SharedFunctionalGroupsSequence")
PER_FRAME_GROUPS = tag_of("PerFrameFunctionalGroupsSequence")

IMAGE_COMMENTS, FRAME_COMMENTS = tag_of("ImageComments"), tag_of("FrameComments")

# Groups that every frame has if one has them, without an item where there is nothing to say (C.7.6.16.2.5, -.6).
_TYPE_2_GROUPS = {REFERENCED_IMAGE, DERIVATION_IMAGE}


def build(
    planned: Planned,
    path: Path,
    *,
    identity: Identity,
    became: Became,
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
    became : Became
        What instances of the patient have become in the enhanced view.
    resolve : callable
        Study and series of other instances that are held.
    read : callable
        Reads the header of a source.

    Returns
    -------
    Recipe
        The recipe, complete in memory.
    """
    with RecipeWriter(path) as writer:
        _Builder(planned, identity, became, resolve, read).write_header(writer)
        segments = pixel_segments(planned, writer)
    return writer.finish(
        sop_class=planned.sop_class,
        sop_instance=planned.sop_instance,
        transfer_syntax=planned.pixels.transfer_syntax,
        sources=[fact.name for fact in planned.frames],
        segments=segments,
    )


class _Builder:
    """State of one build: what is shared, so that each frame writes only the rest."""

    def __init__(
        self,
        planned: Planned,
        identity: Identity,
        became: Became,
        resolve: Resolve,
        read: Callable[[Facts], Header],
    ) -> None:
        # Inside an image references are rewritten one by one and never merged, so that each can be turned back.
        rewriter = Rewriter(became, merge=False)
        self.read = lambda fact: _rewritten(fact, read(fact), rewriter)
        self.planned = planned
        self.resolve = resolve
        self.places = {target.sop_instance: (target.study, target.series) for target in every_target(became)}
        survey = planned.survey.rewritten(rewriter.element)
        self.shared_groups = survey.shared_groups()
        self.top = top_level(survey, identity, planned.source_series, planned.demanded)
        self.top.update(self._identity_elements())
        self.said = dict(self.top)
        named = source_series(planned.study, planned.source_series)
        self.top[RELATED_SERIES] = with_items(self.top.get(RELATED_SERIES), named)
        self.copied_equipment = not survey.equipment_differs
        # Shared attributes are written once: at the top level with the same value, else in Unassigned Shared (E49).
        self.shared: dict[Key, Element] = survey.shared()
        self.shared_originals: dict[Key, Element] = {}
        self.shared_originals.update(survey.originals.items())
        self.unassigned = {
            key: element
            for key, element in self.shared.items()
            if not self._at_top(key, element)
            and not (key == CONTRIBUTING_EQUIPMENT and self.copied_equipment)
            and self._is_needed(key, element, survey.groups)
        }
        self.unassigned.update((k, e) for k, e in self.shared_originals.items() if not self._at_top(k, e))
        self.own_at_top, self.hidden = self._own_at_top()
        # Of Contributing Equipment that differs in its times alone the first is copied, as the worked example has it.
        self.settled = self.shared.keys() | ({CONTRIBUTING_EQUIPMENT} if self.copied_equipment else set())

    def _place(self, uid: str) -> tuple[str, str] | None:
        """Return study and series of what a reference names now."""
        return self.places.get(uid) or self.resolve(uid)

    def _at_top(self, key: Key, element: Element) -> bool:
        """Tell whether an attribute can be got back from the top level."""
        return isinstance(key, int) and key in self.said and same(self.said[key], element)

    def _own_at_top(self) -> tuple[list[int], set[Key]]:
        """Return what the top level says for the object as every source says it for itself, and what is to be hidden.

        It is named, so that it comes back. Where it is written in other bytes the sources' are kept, out of sight; so
        is what the sources said of pixels that are inverted now.
        """
        named: list[int] = []
        inverted = any(fact.description.inverted for fact in self.planned.frames)
        hidden: set[Key] = set(self.shared_originals) & INVERTED if inverted else set()
        for key, element in (self.shared | self.shared_originals).items():
            if isinstance(key, int) and key in ENHANCED_ONLY and not is_empty(element) and self._at_top(key, element):
                if element.value == self.said[key].value:
                    named.append(key)
                else:
                    hidden.add(key)
                    self.unassigned[key] = element
        return named, hidden

    def _is_needed(self, key: Key, element: Element, groups: Groups) -> bool:
        """Tell whether an element says anything: an empty one only that nothing stood where now something does."""
        if not isinstance(key, int) or key not in STAND_INS or not is_empty(element):
            return True
        home = STAND_INS[key]
        return key in self.top if home is None else home in groups

    def _identity_elements(self) -> DataSet:
        planned = self.planned
        date, time = planned.series_start
        return dataset(
            make("SOPClassUID", planned.sop_class),
            make("SOPInstanceUID", planned.sop_instance),
            make("SeriesInstanceUID", planned.series),
            make("InstanceNumber", planned.instance_number),
            make("NumberOfFrames", len(planned.frames)),
            *([make("SeriesDate", date)] if date else []),
            *([make("SeriesTime", time)] if time else []),
            *planned.indices.module(planned.organization),
            *evidence(planned, self.shared_groups, self._place, self.read),
            *state_reference(planned.states),
            *self._lossy_method(),
        )

    def _lossy_method(self) -> list[Element]:
        """Return Lossy Image Compression Method by transfer syntax where lossy sources do not name it (E39)."""
        method = LOSSY_METHODS.get(self.planned.frames[0].transfer_syntax)
        unnamed = text(self.top, "LossyImageCompression") == "01" and not text(self.top, "LossyImageCompressionMethod")
        return [make("LossyImageCompressionMethod", method)] if method and unnamed else []

    def write_header(self, writer: RecipeWriter) -> None:
        """Write everything up to the pixel data."""
        writer.write(encode({tag: element for tag, element in self.top.items() if tag < SHARED_GROUPS}))
        groups = dict(self.shared_groups)
        if self.unassigned or self.own_at_top:
            rest = sequence(SHARED, unassigned(self.unassigned.items(), self.own_at_top, self.hidden))
            groups[rest.tag] = rest
        writer.write(encode(dataset(sequence("SharedFunctionalGroupsSequence", groups))))
        writer.write(sequence_start(PER_FRAME_GROUPS))
        for number, fact in enumerate(self.planned.frames):
            writer.write(encode_item(self._frame(number, fact)))
        writer.write(SEQUENCE_STOP)
        writer.write(encode({tag: element for tag, element in self.top.items() if tag > PER_FRAME_GROUPS}))

    def _frame(self, number: int, fact: Facts) -> DataSet:
        """Return the item of Per-Frame Functional Groups Sequence of one frame."""
        ds = self.planned.statements.of(self.read(fact).dataset, fact.description)
        survey = self.planned.survey
        groups, content, consumed, added = frame_groups(ds, self.planned.modality, legacy=survey.legacy)
        own = {tag: group for tag, group in groups.items() if tag not in self.shared_groups}
        for tag in _TYPE_2_GROUPS & self.planned.survey.groups.keys() - self.shared_groups.keys():
            own.setdefault(tag, Element(tag, "SQ", ()))
        if IMAGE_COMMENTS not in self.shared and text(ds, IMAGE_COMMENTS) and FRAME_COMMENTS not in ds:
            content.append(ds[IMAGE_COMMENTS]._replace(tag=FRAME_COMMENTS))
            added.add(FRAME_COMMENTS)
        if not survey.legacy:
            content.extend(only_time(survey.modality, self.planned.indices))
        frame_content = dataset(*content, *self.planned.indices.frame_content(number))
        source = dataset(
            make("ReferencedSOPClassUID", fact.sop_class), make("ReferencedSOPInstanceUID", fact.sop_instance)
        )
        # Also when it is empty: checkers want the sequence in every frame's item.
        rest = {
            key: element
            for key, element in remaining(ds, consumed, added | survey.added, self.settled)
            if self._is_needed(key, element, groups)
        }
        # What the source said of pixels that are other ones now, if not all sources said it.
        rest |= {tag: element for tag, element in originals(ds).items() if tag not in self.shared_originals}
        return dataset(
            *own.values(),
            sequence("FrameContentSequence", frame_content),
            sequence(PER_FRAME, unassigned(rest.items(), hidden=INVERTED if fact.description.inverted else ())),
            sequence("ConversionSourceAttributesSequence", source),
        )


def _rewritten(fact: Facts, header: Header, rewriter: Rewriter) -> Header:
    """Return a header whose references name what their targets have become."""
    if not fact.references and not fact.other_references:
        return header
    ds = rewriter.dataset(header.dataset)
    return header if ds is header.dataset else replace(header, dataset=ds)
