"""What the names of classic images are filled from beside a frame's own attributes, and how numbers are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.objects.elements import DataSet, Element


@dataclass(frozen=True)
class Whole:
    """What a frame's own attributes do not tell.

    Attributes
    ----------
    number : int
        Number of the frame.
    positions, times : int
        How many distinct positions and temporal positions the object has.
    spacing : float or None
        Distance of neighbouring slices in mm, if they are one regular stack.
    echo : int
        Rank of its effective echo time, 0 where those of the object do not rank clearly.
    """

    number: int
    positions: int = 1
    times: int = 1
    spacing: float | None = None
    echo: int = 0


Filler = Callable[[DataSet, Whole], Element | None]


def decimal(value: float) -> str:
    """Return a number as a Decimal String of at most 16 characters, as exact as these allow (PS3.5 6.2)."""
    found = f"{value:.15g}"
    digits = 14
    while len(found) > 16:
        found = f"{value:.{digits}g}"
        digits -= 1
    return found
