"""Spacing Between Slices of an object, by the positions of its frames (PS3.3 C.7.6.16.2.1, E53).

Readers that take the distance of slices from this attribute, and not from the positions, show a stack right only if the
two agree: so a regular stack has it, whatever its sources say, and an irregular one does not.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.conversion.dimensions import SAME_ORIENTATION, SAME_POSITION, STACK
from gateway.conversion.layout import Part
from gateway.conversion.statements import Statements
from gateway.conversion.window_needs import Window

Vector = tuple[float, float, float]

# How far a slice may lie from where equal steps along the normal put it, as a part of the step: a hundredth.
REGULAR = 0.01


def normal_of(orientation: Sequence[float]) -> Vector:
    """Return the normal of an image plane by its direction cosines (C.7.6.2.1.1)."""
    (a, b, c), (d, e, f) = orientation[:3], orientation[3:]
    return b * f - c * e, c * d - a * f, a * e - b * d


def slice_spacing(part: Part) -> float | None:
    """Return the distance of neighbouring slices of one regular stack, in mm; None if the frames are no such stack.

    Slices are regular if each lies within a hundredth of the distance, and at least within `SAME_POSITION`, of where
    equal steps along the normal of the first one put it.
    """
    frames = part.frames
    column = part.indices.dimensions.index(STACK)
    if len({values[column] for values in part.indices.values}) != 1:
        return None
    first = frames[0].orientation
    if any(_differ(first, fact.orientation) for fact in frames):
        return None
    return regular_step([fact.position for fact in frames], first)


def regular_step(positions: Sequence[Sequence[float]], orientation: Sequence[float]) -> float | None:
    """Return the distance of neighbouring planes of one orientation in mm, None if they are not equally far apart.

    Parameters
    ----------
    positions : sequence of sequence of float
        Image Position (Patient) of each.
    orientation : sequence of float
        Image Orientation (Patient) of all.
    """
    normal = normal_of(orientation)
    places = _distinct(positions, normal)
    count = len(places) - 1
    if count < 1:
        return None
    step = (places[-1][0] - places[0][0]) / count
    allowed = max(step * REGULAR, SAME_POSITION)
    begin = places[0]
    for number, place in enumerate(places):
        along = begin[0] + number * step
        moved = ((place[1][axis] - begin[1][axis] - (place[0] - begin[0]) * normal[axis]) ** 2 for axis in range(3))
        if abs(place[0] - along) > allowed or sum(moved) > allowed**2:
            return None
    return step


def stated_of(part: Part, window: Window | None) -> Statements:
    """Return what the object of a part says of its frames.

    The sources' own Spacing Between Slices stays where all have the same and it fits their positions, and where there
    is one position only.

    Parameters
    ----------
    part : Part
        The frames.
    window : Window or None
        The default window of their series.
    """
    modality = part.frames[0].modality
    if len({fact.position for fact in part.frames}) == 1:
        return Statements(modality, window, comment=part.comment)
    step = slice_spacing(part)
    if step is None:
        return Statements(modality, window, spaced=True, comment=part.comment)
    stated = {fact.spacing for fact in part.frames}
    own = stated.pop() if len(stated) == 1 else ""
    try:
        fits = _agrees(float(own), step, len(part.frames))
    except ValueError:
        fits = False
    spacing = own if fits else f"{step:.6f}".rstrip("0").rstrip(".")
    return Statements(modality, window, spacing, spaced=True, comment=part.comment)


def _agrees(stated: float, step: float, count: int) -> bool:
    """Tell whether a stated distance puts each of `count` slices where the computed one does, within the tolerance."""
    return abs(stated - step) * (count - 1) <= max(step * REGULAR, SAME_POSITION)


def _differ(one: Sequence[float], other: Sequence[float]) -> bool:
    return one is not other and any(abs(a - b) > SAME_ORIENTATION for a, b in zip(one, other, strict=True))


def _distinct(positions: Sequence[Sequence[float]], normal: Vector) -> list[tuple[float, Sequence[float]]]:
    """Return the distinct positions in order along the normal: distance of the plane from the origin, and position."""
    planes = sorted(
        (sum(value * cosine for value, cosine in zip(position, normal, strict=True)), position)
        for position in positions
    )
    found: list[tuple[float, Sequence[float]]] = []
    for plane in planes:
        if not found or plane[0] - found[-1][0] > SAME_POSITION:
            found.append(plane)
    return found
