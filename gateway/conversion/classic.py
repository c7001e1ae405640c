"""Enhanced to classic: each frame of an enhanced object as a classic image of its own (PS3.4 C.3.5, lines K).

An object that names the classic image behind every frame gives these images back, under their own UIDs. Any other one
is taken for what it is: its frames become new images in a new series, if their class's mandatory attributes are known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.conversion.classic_names import complete, fill
from gateway.conversion.classic_pixels import pixel_plan
from gateway.conversion.classic_proof import prove_image
from gateway.conversion.extent import Extent, extent_of
from gateway.conversion.facts import Facts
from gateway.conversion.held import CLASSIC
from gateway.conversion.identity import EDITION, Identity, edition_of
from gateway.conversion.kept import SHARED
from gateway.conversion.multiframe import MultiFrame
from gateway.conversion.planned import Companion
from gateway.conversion.references import (
    REFERENCED_CLASS,
    REFERENCED_INSTANCE,
    Became,
    Target,
    referenced,
)
from gateway.conversion.refusals import ALREADY_ENHANCED
from gateway.conversion.rewriting import Rewriter
from gateway.conversion.top_level import FRAME_OF_REFERENCE, own_frame_of_reference
from gateway.conversion.unfold import appended_equipment, flatten, unfold
from gateway.errors import ConversionError, GatewayError
from gateway.objects.elements import (
    DataSet,
    dataset,
    integer,
    is_empty,
    items,
    make,
    sequence,
    tag_of,
    text,
)
from gateway.objects.encode import encode
from gateway.objects.recipe import Recipe, RecipeWriter
from gateway.objects.uids import derived_uid, valid_uid
from gateway.standard.sop_classes import CLASSIC_MODALITIES, CONVERSIONS, ENHANCED_CLASSES

PIXEL_DATA = tag_of("PixelData")

# Kinds of images: under a UID of its own, and under that of the image that its frame was made of.
NEW, RESTORED = "classic image", "restored image"

# Attributes of an image that an index may want.
_DESCRIBED = tuple(
    map(
        tag_of,
        (
            "SpecificCharacterSet", "PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex",
            "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "StudyDescription", "ReferringPhysicianName",
            "SeriesNumber", "Modality", "SeriesDescription", "BodyPartExamined", "ProtocolName", "SeriesDate",
            "SeriesTime", "InstanceNumber", "Rows", "Columns", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID",
            "SeriesInstanceUID",
        ),
    )
)  # fmt: skip

_MODALITIES = {sop_class: modality for modality, row in CONVERSIONS.items() for sop_class in (row.enhanced, row.legacy)}


class Enhanced:
    """An enhanced object about to be turned back.

    Parameters
    ----------
    fact : Facts
        The object.
    identity : Identity
        Settings for Contributing Equipment and new UIDs.

    Attributes
    ----------
    restored : bool
        Whether every frame names the classic image it was made of.
    first : int
        Instance Number of the image of the first frame, where the frames have none of their own.
    became : Became
        The reference map of the classic view, known once the whole plan is.

    Raises
    ------
    ConversionError
        If it cannot be turned back.
    """

    def __init__(self, fact: Facts, identity: Identity) -> None:
        self.fact = fact
        self.identity = identity
        if fact.sop_class not in _MODALITIES:
            raise ConversionError(fact.name, "its class has no classic one (PS3.4 table C.3.5-1)")
        self.modality = _MODALITIES[fact.sop_class]
        self.frames = MultiFrame(fact.path)
        self.pixels = pixel_plan(self.frames)
        self.first = 1
        self.became: Became = {}
        self.restored = all(_source_of(frame) is not None for frame in self.frames.frames())
        made_by = items(self.frames.top, "ContributingEquipmentSequence")
        self._knows_sources = any(edition_of(item) is not None for item in made_by) and any(
            items(self.frames.shared, SHARED)
        )
        self._extent = Extent() if self.restored else extent_of(self.frames)

    def unfolded(self, number: int) -> DataSet:
        """Return what the object says about a frame, as a classic image says it.

        Raises
        ------
        ConversionError
            If a mandatory attribute of the classic class is not known, and the object is not made of such images.
        """
        frames = self.frames
        arguments = frames.top, frames.shared, frames.frame(number)
        ds = unfold(*arguments) if self.restored else flatten(*arguments)
        if not self.restored:
            fill(ds, self.modality, self._extent.whole(number))
            if is_empty(ds.get(FRAME_OF_REFERENCE)):
                # Type 1, and lost in de-identified objects: as in the other direction, no relation is claimed.
                ds[FRAME_OF_REFERENCE] = make("FrameOfReferenceUID", own_frame_of_reference(self.fact.series))
            if is_empty(ds.get(tag_of("SOPClassUID"))):
                ds[tag_of("SOPClassUID")] = make("SOPClassUID", CONVERSIONS[self.modality].classic)
        # A source without a number comes back without one, if it is known what the source said.
        if not self.restored or (is_empty(ds.get(tag_of("InstanceNumber"))) and not self._knows_sources):
            ds[tag_of("InstanceNumber")] = make("InstanceNumber", self.first + number - 1)
        self.pixels.steps(ds)  # refuses what cannot be undone
        wanting = complete(ds, self.modality)
        if wanting and not self.restored:
            raise ConversionError(self.fact.name, f"frame {number}: a classic image needs {'; '.join(wanting)}")
        return ds

    def identity_of(self, number: int, ds: DataSet, turned: Mapping[str, str]) -> tuple[str, str]:
        """Return SOP Instance and Series Instance UID of the image of a frame (K7).

        Parameters
        ----------
        number : int
            Number of the frame.
        ds : DataSet
            Result of `unfolded`.
        turned : mapping of str to str
            Digests of all objects that are turned back together, which the image may refer to.
        """
        parts = ("classic", str(EDITION), *self.identity.parts)
        instance, series = text(ds, "SOPInstanceUID"), text(ds, "SeriesInstanceUID")
        if not self.restored or not valid_uid(instance):
            content = (self.fact.sop_instance, self.fact.digest, str(number), text(ds, "InstanceNumber"))
            targets = sorted({f"{uid} {turned[uid]}" for uid, _ in referenced(ds) if uid in turned})
            instance = derived_uid("object", *parts, *content, *targets)
        if not self.restored or not valid_uid(series):
            series = classic_series(self.fact.series, self.identity)
        return instance, series

    def is_original(self, number: int, sop_instance: str) -> bool:
        """Tell whether the image of a frame has the UID of the image that the frame was made of."""
        source = _source_of(self.frames.frame(number))
        return self.restored and source is not None and source[1] == sop_instance

    def header(self, number: int, sop_instance: str, series: str) -> DataSet:
        """Return the classic image's header but for the pixel data."""
        ds = self.unfolded(number)
        source = dataset(
            make("ReferencedSOPClassUID", self.fact.sop_class),
            make("ReferencedSOPInstanceUID", self.fact.sop_instance),
            make("ReferencedFrameNumber", number),
        )
        ds |= dataset(
            make("SOPClassUID", CONVERSIONS[self.modality].classic),
            make("SOPInstanceUID", sop_instance),
            make("SeriesInstanceUID", series),
            make("QueryRetrieveView", "CLASSIC"),
            appended_equipment(self.frames.top, ds, self.identity.equipment("classic")),
            sequence("ConversionSourceAttributesSequence", source),
        )
        return dict(sorted(Rewriter(self.became, merge=False).dataset(ds).items()))


def _source_of(frame: DataSet) -> tuple[str, str] | None:
    """Return class and instance of the classic image that a frame says it was made of."""
    found = items(frame, "ConversionSourceAttributesSequence")
    if len(found) != 1:
        return None
    sop_class, instance = text(found[0], REFERENCED_CLASS), text(found[0], REFERENCED_INSTANCE)
    return (sop_class, instance) if sop_class in CLASSIC_MODALITIES and instance else None


def classic_series(series: str, identity: Identity) -> str:
    """Return the Series Instance UID of the new images of a series of enhanced objects."""
    return derived_uid("series", "classic", str(EDITION), *identity.parts, series)


@dataclass
class ClassicImage(Companion):
    """The classic image of one frame.

    Attributes
    ----------
    enhanced : Enhanced
        The object the frame is in, the same for all its frames.
    number : int
        Number of the frame.
    """

    enhanced: Enhanced
    number: int
    sop_class: str
    sop_instance: str
    study: str
    series: str
    sources: list[Facts]
    kind: str = NEW
    views: tuple[str, ...] = (CLASSIC,)
    described: DataSet | None = field(default=None, repr=False)
    refers: tuple[str, ...] | None = field(default=None, repr=False)

    def build(self, path: Path) -> Recipe:
        """Write the recipe, without a map yet."""
        ds = self.enhanced.header(self.number, self.sop_instance, self.series)
        self.described = {tag: ds[tag] for tag in _DESCRIBED if tag in ds}
        self.refers = tuple(sorted({uid for uid, _ in referenced(ds)}))
        with RecipeWriter(path) as writer:
            writer.write(encode({tag: element for tag, element in ds.items() if tag < PIXEL_DATA}))
            after = encode({tag: element for tag, element in ds.items() if tag > PIXEL_DATA})
            segments = self.enhanced.pixels.segments(self.number, ds, writer, after)
        return writer.finish(
            sop_class=self.sop_class,
            sop_instance=self.sop_instance,
            transfer_syntax=self.enhanced.pixels.transfer_syntax,
            sources=[self.enhanced.fact.name],
            segments=segments,
        )

    def prove(self, recipe: Recipe) -> str:
        """Check that everything the object says of the frame is in the image; return the digest of the stream."""
        enhanced = self.enhanced
        return prove_image(recipe, enhanced.frames, self.number, restored=enhanced.restored, became=enhanced.became)


@dataclass
class ClassicPlan:
    """What becomes of the enhanced objects among a set of instances.

    Attributes
    ----------
    objects : list of Enhanced
        Objects that are turned back.
    images : list of ClassicImage
        Images to be made, object after object and frame after frame.
    targets : dict of str to tuple of Target
        What each frame of an object is in the classic view, by archive name: an image to be made or one that is held.
    kept : dict of str to str
        Reason by name of enhanced objects that stay as they are in all views.
    """

    objects: list[Enhanced] = field(default_factory=list)
    images: list[ClassicImage] = field(default_factory=list)
    targets: dict[str, tuple[Target, ...]] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)


def plan_classic(
    facts: Sequence[Facts],
    identity: Identity,
    *,
    place: Callable[[str], tuple[str, str] | None] = lambda uid: None,
    last_number: Callable[[str], int] = lambda series: 0,
) -> ClassicPlan:
    """Decide what becomes of enhanced objects whose classic images are not all held.

    Parameters
    ----------
    facts : sequence of Facts
        Instances; those that are no enhanced objects, or are to be passed on as they are, are left alone.
    identity : Identity
        Settings for Contributing Equipment and new UIDs.
    place : callable
        Study and series of an instance that is held, by SOP Instance UID.
    last_number : callable
        Highest Instance Number that a series has already, by Series Instance UID.
    """
    plan = ClassicPlan()
    copies: dict[str, int] = defaultdict(int)
    for fact in facts:
        copies[fact.sop_instance] += 1
    candidates = []
    for fact in sorted(facts, key=lambda fact: (fact.series, fact.instance_number, fact.sop_instance, fact.digest)):
        if fact.sop_class not in ENHANCED_CLASSES or fact.reason != ALREADY_ENHANCED:
            continue
        if copies[fact.sop_instance] == 1:  # which of several is right cannot be known
            candidates.append(fact)
    objects = list(_opened(candidates, identity, plan))
    _number(objects, identity, last_number)
    _images(objects, plan, place)
    return plan


def _opened(candidates: Iterable[Facts], identity: Identity, plan: ClassicPlan) -> Iterator[Enhanced]:
    """Yield the objects that are what they say."""
    for fact in candidates:
        try:
            yield Enhanced(fact, identity)
        except (GatewayError, OSError, ValueError) as error:
            plan.kept[fact.name] = _staying(error)


def _staying(error: Exception) -> str:
    return f"it stays enhanced: {error.problem if isinstance(error, GatewayError) else error}"


def _number(objects: Iterable[Enhanced], identity: Identity, last_number: Callable[[str], int]) -> None:
    """Number the images of one series throughout; parts of a concatenation go by what they say (C.7.6.16.1)."""
    last: dict[str, int] = {}
    for enhanced in objects:
        series = enhanced.fact.series
        if series not in last:
            last[series] = last_number(classic_series(series, identity))
        offset = integer(enhanced.frames.top, "ConcatenationFrameOffsetNumber")
        enhanced.first = last[series] + 1 if offset is None else offset + 1
        last[series] = max(last[series], enhanced.first + enhanced.frames.count - 1)


def _images(objects: Sequence[Enhanced], plan: ClassicPlan, place: Callable[[str], tuple[str, str] | None]) -> None:
    """Name every image and list those that are not held already."""
    turned = {enhanced.fact.sop_instance: enhanced.fact.digest for enhanced in objects}
    taken: set[str] = set()
    for enhanced in sorted(objects, key=lambda enhanced: not enhanced.restored):
        fact, classic = enhanced.fact, CONVERSIONS[enhanced.modality].classic
        count = range(1, enhanced.frames.count + 1)
        try:
            found = [enhanced.identity_of(number, enhanced.unfolded(number), turned) for number in count]
        except (GatewayError, OSError, ValueError) as error:
            plan.kept[fact.name] = _staying(error)
            continue
        uids = {instance for instance, _ in found}
        if len(uids) != len(found) or not taken.isdisjoint(uids):
            plan.kept[fact.name] = "it stays enhanced: two of its frames, or another object, have one source"
            continue
        taken.update(uids)
        plan.objects.append(enhanced)
        targets = []
        for number, (instance, series) in enumerate(found, 1):
            held = place(instance)
            targets.append(Target(classic, instance, held[1] if held else series, held[0] if held else fact.study))
            if held is None:
                kind = RESTORED if enhanced.is_original(number, instance) else NEW
                plan.images.append(ClassicImage(enhanced, number, classic, instance, fact.study, series, [fact], kind))
        plan.targets[fact.name] = tuple(targets)
