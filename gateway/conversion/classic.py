"""Enhanced to classic: each frame of an enhanced object as a classic image of its own (PS3.4 C.3.5, lines K).

An object that names the classic image behind every frame gives these images back, under their own UIDs. Any other one
is taken for what it is: its frames become new images in a new series, if their class's mandatory attributes are known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from gateway.conversion.classic_names import Whole, complete, fill
from gateway.conversion.classic_pixels import pixel_plan
from gateway.conversion.classic_proof import prove_image
from gateway.conversion.facts import ALREADY_ENHANCED, Facts
from gateway.conversion.held import Guise
from gateway.conversion.identity import EDITION, Identity
from gateway.conversion.multiframe import MultiFrame
from gateway.conversion.planned import Companion
from gateway.conversion.proof_references import Reading
from gateway.conversion.references import (
    REFERENCED_CLASS,
    REFERENCED_INSTANCE,
    InSeries,
    PerFrame,
    Target,
    referenced,
)
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

_MODALITIES = {sop_class: modality for modality, row in CONVERSIONS.items() for sop_class in (row.enhanced, row.legacy)}

# (SOP Instance UID of an enhanced object, frame number) -> (class, instance) of the classic image it becomes.
Origins = Mapping[tuple[str, int], tuple[str, str]]


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
        self.origins: Origins = {}
        self.became: dict[str, Target | PerFrame | InSeries] = {}
        self.digests: Mapping[str, str] = {}
        self.restored = all(_source_of(frame) is not None for frame in self.frames.frames())
        self._positions, self._times = (1, 1) if self.restored else self._extent()

    @cached_property
    def reading(self) -> Reading:
        """How its references are compared with those of its images."""
        return Reading(self.became, merged=False)

    def _extent(self) -> tuple[int, int]:
        """Return how many positions and temporal positions the frames have."""
        places: set[str] = set()
        times: set[int | None] = set()
        for frame in self.frames.frames():
            plane = (items(frame, "PlanePositionSequence") or items(self.frames.shared, "PlanePositionSequence"))[:1]
            places.update(text(item, "ImagePositionPatient") for item in plane)
            times.update(integer(item, "TemporalPositionIndex", 1) for item in items(frame, "FrameContentSequence"))
        return max(len(places), 1), max(len(times), 1)

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
            fill(ds, self.modality, Whole(number, self._positions, self._times))
            if is_empty(ds.get(FRAME_OF_REFERENCE)):
                # Type 1, and lost in de-identified objects: as in the other direction, no relation is claimed.
                ds[FRAME_OF_REFERENCE] = make("FrameOfReferenceUID", own_frame_of_reference(self.fact.series))
            if is_empty(ds.get(tag_of("SOPClassUID"))):
                ds[tag_of("SOPClassUID")] = make("SOPClassUID", CONVERSIONS[self.modality].classic)
        if not self.restored or is_empty(ds.get(tag_of("InstanceNumber"))):
            ds[tag_of("InstanceNumber")] = make("InstanceNumber", self.first + number - 1)
        self.pixels.steps(ds)  # refuses what cannot be undone
        wanting = complete(ds, self.modality)
        if wanting and not self.restored:
            raise ConversionError(self.fact.name, f"frame {number}: a classic image needs {'; '.join(wanting)}")
        return ds

    def identity_of(self, number: int, ds: DataSet) -> tuple[str, str]:
        """Return SOP Instance and Series Instance UID of the image of a frame (K7).

        Parameters
        ----------
        number : int
            Number of the frame.
        ds : DataSet
            Result of `unfolded`.
        """
        parts = ("classic", str(EDITION), *self.identity.parts)
        instance, series = text(ds, "SOPInstanceUID"), text(ds, "SeriesInstanceUID")
        if not self.restored or not valid_uid(instance):
            content = (self.fact.sop_instance, self.fact.digest, str(number), text(ds, "InstanceNumber"))
            targets = sorted(
                {f"{uid} {self.origins.get((uid, 1))} {self.digests.get(uid)}" for uid, _ in referenced(ds)}
            )
            instance = derived_uid("object", *parts, *content, *targets)
        if not self.restored or not valid_uid(series):
            series = derived_uid("series", *parts, self.fact.series)
        return instance, series

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
        # One by one, as they were rewritten when the object was made.
        return dict(sorted(Rewriter(self.became, merge=False).dataset(ds).items()))


def _source_of(frame: DataSet) -> tuple[str, str] | None:
    """Return class and instance of the classic image that a frame says it was made of."""
    found = items(frame, "ConversionSourceAttributesSequence")
    if len(found) != 1:
        return None
    sop_class, instance = text(found[0], REFERENCED_CLASS), text(found[0], REFERENCED_INSTANCE)
    return (sop_class, instance) if sop_class in CLASSIC_MODALITIES and instance else None


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
    kind: str = "classic image"
    views: tuple[str, ...] = ("classic",)

    def build(self, path: Path) -> Recipe:
        """Write the recipe, without a map yet."""
        ds = self.enhanced.header(self.number, self.sop_instance, self.series)
        writer = RecipeWriter(path)
        try:
            writer.write(encode({tag: element for tag, element in ds.items() if tag < PIXEL_DATA}))
            after = encode({tag: element for tag, element in ds.items() if tag > PIXEL_DATA})
            segments = self.enhanced.pixels.segments(self.number, ds, writer, after)
        except BaseException:
            writer.discard()
            raise
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
        return prove_image(recipe, enhanced.frames, self.number, restored=enhanced.restored, reading=enhanced.reading)


@dataclass
class ClassicPlan:
    """What becomes of the enhanced objects among a set of instances.

    Attributes
    ----------
    images : list of ClassicImage
        Images to be made, object after object and frame after frame.
    kept : dict of str to str
        Reason by name of every enhanced object that stays as it is.
    held : dict of str to str
        Reason by name of every enhanced object whose classic images are all held.
    origins : dict
        What each frame becomes; frames whose images are held included.
    became : dict
        The reference map of the classic view: of enhanced objects, and of copies once
        `gateway.conversion.classic_copies.follow_back` has planned them.
    """

    images: list[ClassicImage] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)
    origins: dict[tuple[str, int], tuple[str, str]] = field(default_factory=dict)
    became: dict[str, Target | PerFrame | InSeries] = field(default_factory=dict)


def plan_classic(
    facts: Sequence[Facts],
    identity: Identity,
    *,
    held: Callable[[str], bool] = lambda uid: False,
    last_numbers: Mapping[str, int] | None = None,
) -> ClassicPlan:
    """Decide what becomes of the enhanced objects of one study.

    Parameters
    ----------
    facts : sequence of Facts
        The instances of the study that are looked at.
    identity : Identity
        Settings for Contributing Equipment and new UIDs.
    held : callable
        Whether an instance that is not among `facts` is held.
    last_numbers : mapping of str to int, optional
        Highest Instance Number that images of earlier objects have, by the Series Instance UID of these objects.
    """
    plan = ClassicPlan()
    here = {fact.sop_instance for fact in facts}
    copies: dict[str, int] = defaultdict(int)
    for fact in facts:
        copies[fact.sop_instance] += 1
    candidates = []
    for fact in sorted(facts, key=lambda fact: (fact.series, fact.instance_number, fact.sop_instance, fact.digest)):
        if fact.sop_class not in ENHANCED_CLASSES or fact.reason != ALREADY_ENHANCED:
            continue
        if fact.conversion_sources and all(uid in here or held(uid) for uid in fact.conversion_sources):
            plan.held[fact.name] = "the classic images it was made of are at hand"
            origins = zip(fact.conversion_sources, range(1, len(fact.conversion_sources) + 1), strict=True)
            plan.origins.update(
                ((fact.sop_instance, number), (CONVERSIONS[_MODALITIES[fact.sop_class]].classic, uid))
                for uid, number in origins
                if fact.sop_class in _MODALITIES
            )
        elif copies[fact.sop_instance] > 1:
            plan.kept[fact.name] = "another file has the same SOP Instance UID"
        else:
            candidates.append(fact)
    objects = list(_usable(candidates, identity, plan))
    _number(objects, last_numbers or {})
    for enhanced in objects:
        enhanced.origins = plan.origins
        enhanced.became = plan.became
        enhanced.digests = {fact.sop_instance: fact.digest for fact in facts}
    _images(objects, plan, lambda uid: uid in here or held(uid))
    plan.became.update((guise.target.sop_instance, PerFrame(guise.sources)) for guise in turned(facts, plan))
    return plan


def _usable(candidates: Iterable[Facts], identity: Identity, plan: ClassicPlan) -> Iterator[Enhanced]:
    """Yield the objects of which every frame can become an image."""
    for fact in candidates:
        try:
            enhanced = Enhanced(fact, identity)
            for number in range(1, enhanced.frames.count + 1):
                enhanced.unfolded(number)
        except (GatewayError, OSError, ValueError) as error:
            problem = error.problem if isinstance(error, GatewayError) else str(error)
            plan.kept[fact.name] = f"it stays enhanced: {problem}"
            continue
        yield enhanced


def _number(objects: Iterable[Enhanced], last_numbers: Mapping[str, int]) -> None:
    """Number the images of one series throughout; parts of a concatenation go by what they say (C.7.6.16.1)."""
    last = dict(last_numbers)
    for enhanced in objects:
        top, series = enhanced.frames.top, enhanced.fact.series
        offset = integer(top, "ConcatenationFrameOffsetNumber")
        enhanced.first = last.get(series, 0) + 1 if offset is None else offset + 1
        last[series] = max(last.get(series, 0), enhanced.first + enhanced.frames.count - 1)


def _images(objects: Sequence[Enhanced], plan: ClassicPlan, held: Callable[[str], bool]) -> None:
    """Name every image, then list those that are not held already."""
    named: list[tuple[Enhanced, int, str, str]] = []
    taken: set[str] = set()
    for enhanced in sorted(objects, key=lambda enhanced: not enhanced.restored):
        found = []
        for number in range(1, enhanced.frames.count + 1):
            found.append((enhanced, number, *enhanced.identity_of(number, enhanced.unfolded(number))))
        uids: Collection[str] = {instance for _, _, instance, _ in found}
        if len(uids) != len(found) or not taken.isdisjoint(uids):
            plan.kept[enhanced.fact.name] = "it stays enhanced: two of its frames, or another object, have one source"
            continue
        taken.update(uids)
        named += found
        classic = CONVERSIONS[enhanced.modality].classic
        plan.origins.update(((enhanced.fact.sop_instance, number), (classic, uid)) for _, number, uid, _ in found)
    for enhanced, number, instance, series in named:
        if held(instance):
            continue
        classic = CONVERSIONS[enhanced.modality].classic
        fact = enhanced.fact
        plan.images.append(ClassicImage(enhanced, number, classic, instance, fact.study, series, [fact]))


def turned(facts: Iterable[Facts], plan: ClassicPlan) -> Iterable[Guise]:
    """Yield enhanced objects with the classic images of their frames."""
    series = {fact.sop_instance: fact.series for fact in facts}
    series.update((image.sop_instance, image.series) for image in plan.images)
    frames: dict[str, dict[int, tuple[str, str]]] = {}
    for (uid, number), image in plan.origins.items():
        frames.setdefault(uid, {})[number] = image
    for fact in facts:
        found = frames.get(fact.sop_instance)
        if found and fact.name not in plan.kept and set(found) == set(range(1, len(found) + 1)):
            sources = [
                Target(sop_class, uid, series.get(uid, ""), fact.study) for _, (sop_class, uid) in sorted(found.items())
            ]
            target = Target(fact.sop_class, fact.sop_instance, fact.series, fact.study, 0, len(sources))
            yield Guise(target, frozenset(), tuple(sources), copy=False)
