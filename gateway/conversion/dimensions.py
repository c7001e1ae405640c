"""Stacks and dimensions of the frames of one object (PS3.3 C.7.6.17, C.7.6.16.2.2.4)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from gateway.conversion.axes import AXES, CONTRAST, MOMENT, Axis, Value, ranks
from gateway.conversion.facts import Facts
from gateway.objects.elements import DataSet, Element, dataset, is_private, make, sequence, tag_of

FRAME_CONTENT = tag_of("FrameContentSequence")
UNASSIGNED = tag_of("UnassignedPerFrameConvertedAttributesSequence")

# Positions closer than this along the normal are one (mm): scanners write them with limited digits.
SAME_POSITION = 0.01

# Direction cosines closer than this are one orientation: scanners jitter in the last digits.
SAME_ORIENTATION = 1e-3


@dataclass(frozen=True)
class Dimension:
    """One index.

    Attributes
    ----------
    pointer, group : int
        The indexed attribute and where it is.
    label : str
        Its name.
    """

    pointer: int
    group: int
    label: str

    def item(self, organization: Element) -> DataSet:
        """Return the item of Dimension Index Sequence."""
        return dataset(
            organization,
            _pointer("DimensionIndexPointer", self.pointer),
            _pointer("FunctionalGroupPointer", self.group),
            make("DimensionDescriptionLabel", self.label),
        )


def _pointer(keyword: str, tag: int) -> Element:
    return Element(tag_of(keyword), "AT", (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little"))


STACK = Dimension(tag_of("StackID"), FRAME_CONTENT, "Stack ID")
POSITION = Dimension(tag_of("InStackPositionNumber"), FRAME_CONTENT, "In-Stack Position Number")
TIME = Dimension(tag_of("TemporalPositionIndex"), FRAME_CONTENT, "Temporal Position Index")
INSTANCE = Dimension(tag_of("InstanceNumber"), UNASSIGNED, "Instance Number")


@dataclass(frozen=True)
class Indices:
    """Dimensions of an object and their index values for every frame, in frame order.

    Attributes
    ----------
    dimensions : tuple of Dimension
        Stack and position come first.
    values : tuple of tuple of int
        Index values by frame.
    times : tuple of int
        Temporal Position Index by frame where time is known but no dimension, else empty.
    organization : str
        What the index values are common to: objects with the same one count along the same dimensions.
    """

    dimensions: tuple[Dimension, ...]
    values: tuple[tuple[int, ...], ...]
    times: tuple[int, ...] = ()
    organization: str = field(default="")

    def frame_content(self, frame: int) -> list[Element]:
        """Return the elements of Frame Content for the frame with this index (from 0)."""
        values = self.values[frame]
        by_dimension = dict(zip(self.dimensions, values, strict=True))
        found = [
            make("StackID", str(by_dimension[STACK])),
            make("InStackPositionNumber", by_dimension[POSITION]),
            make("DimensionIndexValues", *values),
        ]
        time = by_dimension.get(TIME, self.times[frame] if self.times else 0)
        if time:
            found.append(make("TemporalPositionIndex", time))
        return found

    def module(self, organization: str) -> list[Element]:
        """Return the Multi-frame Dimension Module (C.7.6.17)."""
        uid = make("DimensionOrganizationUID", organization)
        return [
            sequence("DimensionOrganizationSequence", dataset(uid)),
            sequence("DimensionIndexSequence", *(dimension.item(uid) for dimension in self.dimensions)),
        ]

    @property
    def with_each_frame(self) -> frozenset[int]:
        """Tags of unassigned attributes that dimensions point at: these stand with each frame (C.7.6.17)."""
        return frozenset(dimension.pointer for dimension in self.dimensions if dimension.group == UNASSIGNED)

    def part(self, frames: Sequence[int]) -> Indices:
        """Return the indices of some of the frames, in this order, along the same dimensions."""
        return replace(
            self,
            values=tuple(self.values[frame] for frame in frames),
            times=tuple(self.times[frame] for frame in frames) if self.times else (),
        )

    def numbered(self, numbers: Sequence[int]) -> Indices:
        """Return indices of which no two are equal, by Instance Number where all else is the same.

        Parameters
        ----------
        numbers : sequence of int
            Instance Number by frame.
        """
        if len(set(self.values)) == len(self.values):
            return self
        unique = len(set(numbers)) == len(numbers)
        order = list(map(float, numbers if unique else range(len(numbers))))
        values = zip(self.values, _ranks_within(self.values, order), strict=True)
        return replace(
            self,
            dimensions=(*self.dimensions, INSTANCE),
            values=tuple((*own, number) for own, number in values),
        )


@dataclass
class Columns:
    """Index values of a set of frames, dimension by dimension.

    Attributes
    ----------
    stacks, positions : list of int
        Stack ID and In-Stack Position Number by frame.
    axes : list of (Axis, Dimension or None, list of int)
        What else tells frames apart. A private attribute is no dimension: readers do not know what it is, and highdicom
        cannot open an object with such an index.
    times : list of int
        Temporal Position Index by frame; empty if time tells nothing.
    moment : str
        Keyword of what time was read from; empty if there is none.
    repeats : list of int
        By frame, its number among those that nothing but their Instance Number tells apart; empty if there are none.
    """

    frames: Sequence[Facts]
    stacks: list[int]
    positions: list[int]
    axes: list[tuple[Axis, Dimension | None, list[int]]] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    time_is_dimension: bool = False
    moment: str = ""
    repeats: list[int] = field(default_factory=list)

    @property
    def places(self) -> list[tuple[int, int]]:
        """Stack and position of every frame."""
        return list(zip(self.stacks, self.positions, strict=True))

    def indices(self, organization: str = "") -> Indices:
        """Return what goes into an object of all these frames."""
        columns = [(STACK, self.stacks), (POSITION, self.positions)]
        columns += [(dimension, values) for _, dimension, values in self.axes if dimension is not None]
        if self.time_is_dimension:
            columns.append((TIME, self.times))
        if self.repeats:
            columns.append((INSTANCE, self.repeats))
        times = () if self.time_is_dimension else tuple(self.times)
        dimensions, values = zip(*columns, strict=True)
        return Indices(dimensions, tuple(zip(*values, strict=True)), times, organization)


def columns_of(frames: Sequence[Facts]) -> Columns:
    """Number frames along stack, position and whatever else tells them apart, in frame order."""
    stacks = stacks_of(frames)
    found = Columns(frames, stacks, _positions(frames, stacks))
    places: list[tuple[int, ...]] = list(found.places)
    spots = found.places
    for number, axis in enumerate(AXES):
        if axis.role == MOMENT or len(set(places)) == len(frames):
            continue
        values = [frame.dimensions[number] for frame in frames]
        if None in values:
            continue
        column = ranks([value for value in values if value is not None])
        finer = [(*place, rank) for place, rank in zip(places, column, strict=True)]
        if len(set(finer)) > len(set(places)) and _is_grid(spots, column):
            tag = frames[0].dimension_tags[number]
            dimension = None if is_private(tag) else Dimension(tag, UNASSIGNED, axis.keyword)
            found.axes.append((axis, dimension, column))
            places = finer
    _add_times(found, places)
    return found


def stacks_of(frames: Sequence[Facts]) -> list[int]:
    """Return Stack IDs: one for each orientation, in the order in which they come up."""
    known: dict[tuple[float, ...], int] = {}
    first: list[tuple[float, ...]] = []
    found = []
    for frame in frames:
        stack = known.get(frame.orientation)
        if stack is None:
            stack = next((n for n, other in enumerate(first, 1) if one_orientation(other, frame.orientation)), 0)
            if not stack:
                first.append(frame.orientation)
                stack = len(first)
            known[frame.orientation] = stack
        found.append(stack)
    return found


def one_orientation(one: Sequence[float], other: Sequence[float]) -> bool:
    """Tell whether two orientations are one but for jitter in the last digits."""
    return all(abs(a - b) < SAME_ORIENTATION for a, b in zip(one, other, strict=True))


def _positions(frames: Sequence[Facts], stacks: Sequence[int]) -> list[int]:
    """Return In-Stack Position Numbers: ranks of the distances along the normal, in the direction of frame order."""
    found = [0] * len(frames)
    for stack in sorted(set(stacks)):
        members = [which for which, number in enumerate(stacks) if number == stack]
        distances = distances_along([frames[which] for which in members])
        places = _ranks_of_distances(distances)
        # Stacks are paged through as their numbers run; with the numbers against the frames, readers that take frames
        # as they come (dcm2niix with compressed ones) mirror the volume.
        if _falls(places):
            places = [max(places) + 1 - place for place in places]
        for which, place in zip(members, places, strict=True):
            found[which] = place
    return found


def distances_along(frames: Sequence[Facts]) -> list[float]:
    """Return the distances of frames along the normal of the first."""
    a, b = frames[0].orientation[:3], frames[0].orientation[3:]
    normal = (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])
    return [sum(n * p for n, p in zip(normal, frame.position, strict=True)) for frame in frames]


def _ranks_of_distances(distances: Sequence[float]) -> list[int]:
    found = [0] * len(distances)
    rank, last = 0, 0.0
    for which in sorted(range(len(distances)), key=distances.__getitem__):
        if rank == 0 or distances[which] - last > SAME_POSITION:
            rank += 1
            last = distances[which]
        found[which] = rank
    return found


def _falls(places: Sequence[int]) -> bool:
    """Tell whether places mostly fall along the order of frames."""
    steps = [b - a for a, b in pairwise(places)]
    return sum(step < 0 for step in steps) > sum(step > 0 for step in steps)


def _is_grid(spots: Sequence[tuple[int, int]], column: Sequence[int]) -> bool:
    """Tell whether an attribute takes the same values at most places: then it is a dimension of its own.

    Some places may lack some: a slice that did not arrive does not change what the series is.
    """
    at: dict[tuple[int, int], set[int]] = defaultdict(set)
    for spot, rank in zip(spots, column, strict=True):
        at[spot].add(rank)
    everywhere = len(set(column))
    return sum(len(values) == everywhere for values in at.values()) * 2 > len(at)


def _add_times(found: Columns, places: Sequence[tuple[int, ...]]) -> None:
    """Find what orders the frames in time, as far as anything does, and say whether they need it to be told apart."""
    frames = found.frames
    counts = Counter(found.places)
    if max(counts.values()) == 1:
        return
    told_apart = len(set(places)) == len(frames)
    if told_apart and all(axis.role == CONTRAST for axis, _, _ in found.axes):
        return  # echoes of one excitation are no positions in time
    at = found.places if told_apart else places
    for number, axis in enumerate(AXES):
        if axis.role != MOMENT:
            continue
        values = [frame.dimensions[number] for frame in frames]
        if None not in values and len(set(zip(at, values, strict=True))) == len(frames):
            found.times, found.moment = _time_ranks(at, found.places, values), axis.keyword
            found.time_is_dimension = not told_apart
            return
    if told_apart:
        return  # by contrast, and nothing says when
    numbers = [float(frame.instance_number) for frame in frames]
    unique = len(set(numbers)) == len(frames)
    within = _ranks_within(places, numbers if unique else list(map(float, range(len(frames)))))
    if unique and len(frames) == len(set(places)) * frames[0].temporal_positions:
        # The scanner says how many time points there are but not which is which: numbers go by time.
        found.times, found.time_is_dimension = within, True
    else:
        # Nothing tells these frames apart but their numbers, or only their order when even those repeat.
        found.repeats = within


def _time_ranks(
    places: Sequence[tuple[int, ...]], spots: Sequence[tuple[int, int]], values: Sequence[Value | None]
) -> list[int]:
    """Return the rank of every time: among all where slices share their times, else among those of its place."""
    times = [value for value in values if value is not None]
    column = ranks(times)
    return column if _is_grid(spots, column) else _ranks_within(places, times)


def _ranks_within(places: Sequence[tuple[int, ...]], values: Sequence[Value]) -> list[int]:
    """Return the rank of every value among those of its place."""
    by_place: dict[tuple[int, ...], list[tuple[Value, int]]] = defaultdict(list)
    for which, (place, value) in enumerate(zip(places, values, strict=True)):
        by_place[place].append((value, which))
    found = [0] * len(places)
    for pairs in by_place.values():
        for rank, (_, which) in enumerate(sorted(pairs), 1):  # type: ignore[type-var]
            found[which] = rank
    return found
