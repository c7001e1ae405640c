"""Which frames a frame level retrieve asks for: Frame Range Keys and the Frame List they stand for (PS3.4 Y.3.2)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.errors import ConversionError
from gateway.objects.elements import DataSet, Element, make, numbers, tag_of

# Failure status codes of table Y.4-1.
NONE_FOUND = 0xAA00
CANNOT_CREATE = 0xAA01
CANNOT_EXTRACT = 0xAA02
NOT_TIME_BASED = 0xAA03
INVALID_REQUEST = 0xAA04

KEYS = ("SimpleFrameList", "CalculatedFrameList", "TimeRange")


class ExtractionError(ConversionError):
    """Frames cannot be extracted.

    Parameters
    ----------
    status : int
        Failure status of table Y.4-1 that says so.
    subject, problem : str
        As in `GatewayError`, as are the rest.
    """

    def __init__(self, status: int, subject: str, problem: str, **more: object) -> None:
        self.status = status
        super().__init__(subject, problem, **more)  # type: ignore[arg-type]


@dataclass(frozen=True)
class FrameRequest:
    """One Frame Range Key with its values.

    Attributes
    ----------
    key : str
        Keyword, one of `KEYS`.
    values : tuple of float
        Frame numbers, triplets of first, last and increment, or two times in seconds.
    """

    key: str
    values: tuple[float, ...]

    @classmethod
    def of(cls, identifier: DataSet) -> FrameRequest:
        """Take the key from the Identifier of a request.

        Raises
        ------
        ExtractionError
            If there is not exactly one, or what it says is not allowed (AA04).
        """
        found = [keyword for keyword in KEYS if tag_of(keyword) in identifier]
        if len(found) != 1:
            raise ExtractionError(
                INVALID_REQUEST, "Identifier", "has not exactly one Frame Range Key", found=", ".join(found) or "none"
            )
        request = cls(found[0], numbers(identifier, found[0]))
        request.check()
        return request

    def check(self) -> None:
        """Refuse what no object could answer.

        Raises
        ------
        ExtractionError
            With status AA04.
        """
        problem = _CHECKS[self.key](self.values)
        if problem:
            raise ExtractionError(INVALID_REQUEST, self.key, problem, found="\\".join(f"{v:g}" for v in self.values))

    @property
    def element(self) -> Element:
        """The key as an element, as the Frame Extraction module repeats it (PS3.3 C.12.3)."""
        if self.key == "TimeRange":
            return make(self.key, *self.values)
        return make(self.key, *map(int, self.values))

    def frames(self, count: int, times: Callable[[], Sequence[float]]) -> list[int]:
        """Return the Frame List: numbers of the frames that exist, from 1, ascending.

        Parameters
        ----------
        count : int
            Number of frames of the object.
        times : callable
            Time of each frame in seconds after Content Time; raises if there are none.

        Raises
        ------
        ExtractionError
            If the request is not allowed for this object (AA04), is by time where there is none (AA03), or asks for no
            frame that exists (AA00).
        """
        self.check()
        if self.key == "TimeRange":
            first, last = self.values
            found = [number for number, time in enumerate(times(), 1) if first <= time <= last]
        elif self.key == "SimpleFrameList":
            found = [int(number) for number in self.values if number <= count]
        else:
            found = self._calculated(count)
        if not found:
            raise ExtractionError(
                NONE_FOUND, self.key, "names no frame of the object", expected=f"1 to {count}" if count else None
            )
        return found

    def _calculated(self, count: int) -> list[int]:
        found: list[int] = []
        triplets = _triplets(self.values)
        for place, (first, last, step) in enumerate(triplets):
            if first > count:
                continue  # "that sub-range shall be ignored" (Y.3.2.1.2)
            if last > count and place < len(triplets) - 1:
                problem = "goes to the end of the object in a triplet that is not the last"
                raise ExtractionError(INVALID_REQUEST, self.key, problem, found=last)
            found += range(first, min(last, count) + 1, step)
        if any(one >= other for one, other in itertools.pairwise(found)):
            raise ExtractionError(INVALID_REQUEST, self.key, "has sub-ranges that overlap or go back")
        return found


def _triplets(values: Sequence[float]) -> list[tuple[int, int, int]]:
    whole = [int(value) for value in values]
    return list(zip(whole[::3], whole[1::3], whole[2::3], strict=True))


def _simple(values: Sequence[float]) -> str:
    if not values or values[0] < 1:
        return "is empty" if not values else "has no frame numbers from 1"
    rising = all(one < other for one, other in itertools.pairwise(values))
    return "" if rising else "does not increase from frame to frame"


def _calculated(values: Sequence[float]) -> str:
    if not values or len(values) % 3:
        return "has no triplets"
    triplets = _triplets(values)
    for first, last, step in triplets:
        if first < 1 or last < first or step < 1:
            return "has a triplet that is no range with an increment"
    if any(one[0] >= other[0] for one, other in itertools.pairwise(triplets)):
        return "has sub-ranges that overlap or go back"
    return ""


def _time_range(values: Sequence[float]) -> str:
    return "" if len(values) == 2 and values[0] <= values[1] else "is not a start and an end"


_CHECKS: dict[str, Callable[[Sequence[float]], str]] = {
    "SimpleFrameList": _simple,
    "CalculatedFrameList": _calculated,
    "TimeRange": _time_range,
}
