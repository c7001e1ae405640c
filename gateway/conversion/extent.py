"""What the frames of an enhanced object tell together: how many places and times there are, and how they are apart.

Classic viewers sort and measure by attributes that a classic image has of its series; here is what of them can be
derived from all frames (K9). What is not clear is left open.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

from gateway.conversion.classic_values import Whole
from gateway.conversion.dimensions import one_orientation
from gateway.conversion.multiframe import MultiFrame
from gateway.conversion.spacing import regular_step
from gateway.errors import ObjectError
from gateway.objects.elements import DataSet, integer, items, numbers

# Effective echo times that are further apart (ms) are those of different echoes.
SAME_ECHO = 0.1


@dataclass(frozen=True)
class Extent:
    """What is known of an object as a whole.

    Attributes
    ----------
    positions, times : int
        How many distinct positions and temporal positions it has.
    spacing : float or None
        Distance of neighbouring slices in mm, if its frames are one regular stack.
    echoes : tuple of int
        Rank of the effective echo time by frame, empty where these do not rank clearly.
    """

    positions: int = 1
    times: int = 1
    spacing: float | None = None
    echoes: tuple[int, ...] = field(default=())

    def whole(self, number: int) -> Whole:
        """Return what the whole object tells of a frame (from 1)."""
        echo = self.echoes[number - 1] if self.echoes else 0
        return Whole(number, self.positions, self.times, self.spacing, echo)


def extent_of(frames: MultiFrame) -> Extent:
    """Return the extent of an object."""
    places: list[tuple[float, ...]] = []
    orientations: list[tuple[float, ...]] = []
    times: set[int | None] = set()
    echoes: list[float] = []
    for frame in frames.frames():
        places += _values(frames, frame, "PlanePositionSequence", "ImagePositionPatient")
        orientations += _values(frames, frame, "PlaneOrientationSequence", "ImageOrientationPatient")
        echoes += [value[0] for value in _values(frames, frame, "MREchoSequence", "EffectiveEchoTime")]
        times.update(integer(item, "TemporalPositionIndex", 1) for item in items(frame, "FrameContentSequence"))
    spacing = _spacing(places, orientations, frames.count)
    return Extent(max(len(set(places)), 1), max(len(times), 1), spacing, _ranks(echoes, frames.count))


def _values(frames: MultiFrame, frame: DataSet, group: str, keyword: str) -> list[tuple[float, ...]]:
    """Return the value of an attribute of a frame, wherever its group is; none if it is no number."""
    try:
        found = [numbers(item, keyword) for item in (items(frame, group) or items(frames.shared, group))[:1]]
    except ObjectError:
        return []
    return [value for value in found if value]


def _spacing(places: list[tuple[float, ...]], orientations: list[tuple[float, ...]], count: int) -> float | None:
    complete = len(places) == len(orientations) == count
    if not complete or any(len(value) != 3 for value in places) or any(len(value) != 6 for value in orientations):
        return None
    first = orientations[0]
    return regular_step(places, first) if all(one_orientation(first, other) for other in orientations) else None


def _ranks(echoes: list[float], count: int) -> tuple[int, ...]:
    """Return the ranks of echo times where each frame has one, they are clearly apart and equally frequent."""
    if len(echoes) != count:
        return ()
    distinct = sorted(set(echoes))
    clear = all(after - before > SAME_ECHO for before, after in pairwise(distinct))
    if not clear or len(set(Counter(echoes).values())) != 1:
        return ()
    return tuple(distinct.index(value) + 1 for value in echoes)
