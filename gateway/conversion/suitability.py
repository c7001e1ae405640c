"""What of an object most readers cannot show right, though it is right by the standard (E54).

ITK, and with it SimpleITK, MONAI and 3D Slicer, takes one distance of slices and one rescaling for all frames of an
enhanced object; dcm2niix and NiiVue stretch a tilted stack; viewers of the web reformat it at the mean distance, and do
not warn as they do of classic images. Such a series is safer as classic images; the manual says which reader does what.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

from gateway.conversion.dimensions import SAME_POSITION, one_orientation
from gateway.conversion.facts import Facts
from gateway.conversion.spacing import normal_of

# By how many mm distances of neighbouring slices may differ. Measured: SimpleITK 2.5 (GDCM) reads the distance of
# stacks of 1, 3 and 8 mm whose steps differ by 0.0015 mm, and 1 mm for every direction where they differ by 0.0019 mm.
STEP_TOLERANCE = 0.0015

# By how many mm a slice may lie beside the normal of the first one: a fifth of a pixel of 0.5 mm.
NORMAL_TOLERANCE = 0.1


def unsuitable(frames: Sequence[Facts]) -> str:
    """Return why most readers cannot show an object of these frames right, empty if they can.

    Parameters
    ----------
    frames : sequence of Facts
        The sources of one object.
    """
    return _geometry(frames) or _rescaling(frames)


def _geometry(frames: Sequence[Facts]) -> str:
    first = frames[0]
    if not all(one_orientation(first.orientation, fact.orientation) for fact in frames):
        return "its slices have several orientations"
    normal = normal_of(first.orientation)
    places = sorted(
        (sum(value * cosine for value, cosine in zip(fact.position, normal, strict=True)), fact.position)
        for fact in frames
    )
    start, origin = places[0]
    beside = max(_beside(place - start, at, origin, normal) for place, at in places)
    if beside > NORMAL_TOLERANCE:
        return (
            f"its slices lie up to {beside:.1f} mm beside the normal of the first one"
            f" ({NORMAL_TOLERANCE:g} mm are tolerated)"
        )
    steps = [after[0] - before[0] for before, after in pairwise(places)]
    steps = [step for step in steps if step > SAME_POSITION]  # images of one place are no step
    if steps and max(steps) - min(steps) > STEP_TOLERANCE:
        least, most = min(steps), max(steps)
        share = 100 * (most - least) / least
        by = f"{share:.{0 if share >= 10 else 2}f} % ({STEP_TOLERANCE:g} mm are tolerated)"
        return f"the distance of its slices varies from {least:.4g} to {most:.4g} mm, by {by}"
    return ""


def _beside(along: float, place: Sequence[float], origin: Sequence[float], normal: Sequence[float]) -> float:
    """Return how far a position lies beside the normal through another one, in mm."""
    return math.dist(place, [begin + along * cosine for begin, cosine in zip(origin, normal, strict=True)])


def _rescaling(frames: Sequence[Facts]) -> str:
    slopes = {fact.rescale for fact in frames}
    if len(slopes) < 2:
        return ""
    for place, name in enumerate(("Rescale Slope", "Rescale Intercept")):
        values = {pair[place] for pair in slopes}
        if len(values) > 1:
            return f"{name} differs between its slices, from {min(values):g} to {max(values):g}"
    return ""


def tied_series(facts: Sequence[Facts], both: Collection[str], unfit: Mapping[str, str]) -> dict[str, str]:
    """Return which series have to stay classic with those that readers cannot show right, and why.

    In another form than theirs a series would name, or be named by, what is not there.

    Parameters
    ----------
    facts : sequence of Facts
        What is converted together.
    both : collection of str
        Names of those that are another in the enhanced view than in the classic one.
    unfit : mapping of str to str
        Reason by Series Instance UID.

    Returns
    -------
    dict of str to str
        Reason by Series Instance UID.
    """
    different = [fact for fact in facts if fact.name in both]
    places = {fact.sop_instance: fact.series for fact in different} | {fact.series: fact.series for fact in different}
    neighbours: dict[str, set[str]] = {fact.series: set() for fact in different}
    for fact in different:
        for uid in (*fact.references, *fact.other_references):
            if uid in places:
                neighbours[fact.series].add(places[uid])
                neighbours[places[uid]].add(fact.series)
    found = dict(sorted(unfit.items()))
    waiting = [(series, series) for series in found]
    while waiting:
        series, first = waiting.pop(0)
        for other in sorted(neighbours.get(series, ())):
            if other not in found:
                found[other] = f"tied by references to series {first}, which stays classic"
                waiting.append((other, first))
    return found
