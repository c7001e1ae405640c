"""Stacks and dimensions of the frames of one object (PS3.3 C.7.6.17, C.7.6.16.2.2.4)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.conversion.facts import DIMENSIONS, Facts
from gateway.objects.elements import DataSet, Element, dataset, make, sequence, tag_of

FRAME_CONTENT = tag_of("FrameContentSequence")
UNASSIGNED = tag_of("UnassignedPerFrameConvertedAttributesSequence")

# Positions closer than this along the normal are one (mm): scanners write them with limited digits.
SAME_POSITION = 0.01


@dataclass(frozen=True)
class Dimension:
    """One index: where the indexed attribute is, and its name."""

    pointer: int
    group: int
    label: str


STACK = Dimension(tag_of("StackID"), FRAME_CONTENT, "Stack ID")
POSITION = Dimension(tag_of("InStackPositionNumber"), FRAME_CONTENT, "In-Stack Position Number")
TIME = Dimension(tag_of("TemporalPositionIndex"), FRAME_CONTENT, "Temporal Position Index")
INSTANCE = Dimension(tag_of("InstanceNumber"), UNASSIGNED, "Instance Number")


@dataclass(frozen=True)
class Indices:
    """Dimensions of an object and their index values for every frame, in frame order."""

    dimensions: tuple[Dimension, ...]
    values: tuple[tuple[int, ...], ...]

    def frame_content(self, frame: int) -> list[Element]:
        """Return the elements of Frame Content for the frame with this index (from 0)."""
        values = self.values[frame]
        by_dimension = dict(zip(self.dimensions, values, strict=True))
        found = [
            make("StackID", str(by_dimension[STACK])),
            make("InStackPositionNumber", by_dimension[POSITION]),
            make("DimensionIndexValues", *values),
        ]
        if TIME in by_dimension:
            found.append(make("TemporalPositionIndex", by_dimension[TIME]))
        return found

    def module(self, organization: str) -> list[Element]:
        """Return the Multi-frame Dimension Module (C.7.6.17)."""
        uid = make("DimensionOrganizationUID", organization)
        return [
            sequence("DimensionOrganizationSequence", dataset(uid)),
            sequence("DimensionIndexSequence", *(self._item(dimension, uid) for dimension in self.dimensions)),
        ]

    def _item(self, dimension: Dimension, uid: Element) -> DataSet:
        def pointer(keyword: str, tag: int) -> Element:
            value = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
            return Element(tag_of(keyword), "AT", value)

        return dataset(
            uid,
            pointer("DimensionIndexPointer", dimension.pointer),
            pointer("FunctionalGroupPointer", dimension.group),
            make("DimensionDescriptionLabel", dimension.label),
        )


def index(frames: Sequence[Facts]) -> Indices:
    """Number the frames of one object along stack, position and whatever else tells them apart.

    Parameters
    ----------
    frames : sequence of Facts
        In frame order, all of one orientation.
    """
    positions = _positions(frames)
    columns: list[tuple[Dimension, list[int]]] = [(STACK, [1] * len(frames)), (POSITION, positions)]
    places: list[tuple[int, ...]] = [(position,) for position in positions]
    time_like = []
    for number, (keyword, is_time) in enumerate(DIMENSIONS):
        if len(set(places)) == len(frames):
            break
        found = [frame.dimensions[number] for frame in frames]
        if None in found:
            continue
        values: list[float] = [value for value in found if value is not None]
        if is_time:
            time_like.append(values)
            continue
        ranks = _ranks(values)
        finer = [(*place, rank) for place, rank in zip(places, ranks, strict=True)]
        if len(set(finer)) > len(set(places)) and _varies_within(places, ranks):
            columns.append((Dimension(tag_of(keyword), UNASSIGNED, keyword), ranks))
            places = finer
    if len(set(places)) < len(frames):
        columns.append(_time_or_number(frames, places, time_like))
    return Indices(tuple(dimension for dimension, _ in columns), tuple(zip(*(c for _, c in columns), strict=True)))


def _positions(frames: Sequence[Facts]) -> list[int]:
    """Return In-Stack Position Numbers: ranks of the distances along the normal of the first frame."""
    a, b = frames[0].orientation[:3], frames[0].orientation[3:]
    normal = (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])
    distances = [sum(n * p for n, p in zip(normal, frame.position, strict=True)) for frame in frames]
    ranks = [0] * len(frames)
    rank, last = 0, 0.0
    for which in sorted(range(len(frames)), key=distances.__getitem__):
        if rank == 0 or distances[which] - last > SAME_POSITION:
            rank += 1
            last = distances[which]
        ranks[which] = rank
    return ranks


def _ranks(values: Sequence[float]) -> list[int]:
    order = {value: rank for rank, value in enumerate(sorted(set(values)), 1)}
    return [order[value] for value in values]


def _ranks_within(places: Sequence[tuple[int, ...]], values: Sequence[float]) -> list[int]:
    """Return the rank of every value among those of its place."""
    by_place: dict[tuple[int, ...], list[tuple[float, int]]] = defaultdict(list)
    for which, (place, value) in enumerate(zip(places, values, strict=True)):
        by_place[place].append((value, which))
    ranks = [0] * len(places)
    for found in by_place.values():
        for rank, (_, which) in enumerate(sorted(found), 1):
            ranks[which] = rank
    return ranks


def _varies_within(places: Sequence[tuple[int, ...]], ranks: Sequence[int]) -> bool:
    """Tell whether an attribute takes the same set of values at every place: then it is a dimension of its own."""
    by_place: dict[tuple[int, ...], set[int]] = defaultdict(set)
    for place, rank in zip(places, ranks, strict=True):
        by_place[place].add(rank)
    return len({frozenset(ranks) for ranks in by_place.values()}) == 1


def _time_or_number(
    frames: Sequence[Facts], places: Sequence[tuple[int, ...]], time_like: Sequence[Sequence[float]]
) -> tuple[Dimension, list[int]]:
    """Return the temporal position by the first time that orders the frames of each place, else a number."""
    for values in time_like:
        if len(set(zip(places, values, strict=True))) == len(frames):
            return TIME, _ranks_within(places, values)
    numbers = [frame.instance_number for frame in frames]
    if len(set(numbers)) == len(frames) == len(set(places)) * frames[0].temporal_positions:
        # The scanner says how many time points there are but not which is which: numbers go by time.
        return TIME, _ranks_within(places, numbers)
    # Nothing tells these frames apart but their numbers, or only their order when even those repeat.
    return INSTANCE, _ranks(numbers) if len(set(numbers)) == len(frames) else list(range(1, len(frames) + 1))
