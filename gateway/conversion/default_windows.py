"""The window of images that have none: one for all of a source series, so that frames can be compared (E42).

PET frames are looked at by paging through them: a window for each would show every slice at its own brightness. What is
chosen is said to be a default, goes again when the object is turned back, and is fixed with the first object of its
series: images that come later get the same one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from gateway.conversion.facts import Facts
from gateway.conversion.inversion import homogenised
from gateway.conversion.padding import stored_values
from gateway.conversion.planned import Frozen, Unplannable
from gateway.conversion.window_needs import SOFT_TISSUE, SUV_SHOWN, Window
from gateway.errors import GatewayError
from gateway.objects.elements import DataSet, integer, numbers
from gateway.objects.part10 import Header

Read = Callable[[Facts], Header]

# Of a hundred voxels of a PET series without SUV as many are within the window.
SHOWN = 99.5

# SUV units of the images of one series that differ by less than this part are one.
_SAME_UNIT = 0.01

# Steps that rescaled values are counted in to find a percentile.
_STEPS = 100_000


def default_windows(groups: Iterable[Sequence[Facts]], frozen: Sequence[Frozen], read: Read) -> dict[str, Window]:
    """Return the default window of each source series that has images without one.

    Parameters
    ----------
    groups : iterable of sequence of Facts
        The images that become frames.
    frozen : sequence of Frozen
        Objects that exist already: the window of their series stays what it is.
    read : callable
        Reads the header of an image.

    Raises
    ------
    Unplannable
        If the pixels of an image cannot be read.
    """
    found: dict[str, Window] = {}
    for older in frozen:
        if older.window:
            found.setdefault(older.source_series, Window(*older.window))
    lacking: dict[str, list[Facts]] = {}
    for group in groups:
        for fact in group:
            if fact.window is not None and fact.series not in found:
                lacking.setdefault(fact.series, []).append(fact)
    found.update((series, _chosen(facts, read)) for series, facts in lacking.items())
    return found


def _chosen(facts: Sequence[Facts], read: Read) -> Window:
    needs = [fact.window for fact in facts if fact.window is not None]
    if all(need.by == "HU" for need in needs):
        return Window(*SOFT_TISSUE)
    unit = needs[0].unit
    if all(need.by == "SUV" and abs(need.unit - unit) <= _SAME_UNIT * unit for need in needs):
        return Window.spanning(0, float(f"{SUV_SHOWN * unit:.6g}"))
    values = _Values(facts, read)
    return Window.spanning(0, values.percentile()) if facts[0].modality == "PT" else Window.spanning(*values.range())


class _Values:
    """The rescaled values of some images, padding left out; they are read anew each time, one image at a time."""

    def __init__(self, facts: Sequence[Facts], read: Read) -> None:
        self._facts = facts
        self._read = read

    def range(self) -> tuple[float, float]:
        """Return the least and the greatest value."""
        extremes = [extreme for counts in self._counts() for extreme in (min(counts), max(counts))]
        return (min(extremes), max(extremes)) if extremes else (0.0, 1.0)

    def percentile(self) -> float:
        """Return the value that `SHOWN` of a hundred do not exceed, to a hundred thousandth of the greatest."""
        greatest = self.range()[1]
        if greatest <= 0:
            return 1.0
        counted = [0] * (_STEPS + 1)
        for counts in self._counts():
            for value, count in counts.items():
                counted[max(0, int(value / greatest * _STEPS))] += count
        beyond = sum(counted) * (100 - SHOWN) / 100
        step = _STEPS
        while step and counted[step] <= beyond:
            beyond -= counted[step]
            step -= 1
        shown = (step + 1) / _STEPS * greatest if step else greatest
        return float(f"{min(shown, greatest):.6g}")

    def _counts(self) -> Iterator[Counter[float]]:
        """Yield how often each value is in an image; of compressed pixels what the header says of their range."""
        for fact in self._facts:
            try:
                ds = homogenised(self._read(fact).dataset, fact.description)
                stored = Counter(_stated(ds)) if fact.description.compressed else Counter(stored_values(fact))
            except (GatewayError, OSError, ValueError) as error:
                raise Unplannable(fact.name, str(error)) from error
            padding, limit = fact.description.padding_after, fact.description.limit_after
            if padding is not None:
                low, high = sorted((padding, padding if limit is None else limit))
                stored = Counter({value: count for value, count in stored.items() if not low <= value <= high})
            slope, intercept = _first(ds, "RescaleSlope", 1.0), _first(ds, "RescaleIntercept", 0.0)
            rescaled: Counter[float] = Counter()
            for value, count in stored.items():
                rescaled[value * slope + intercept] += count
            if rescaled:
                yield rescaled


def _stated(ds: DataSet) -> tuple[int, int]:
    """Return least and greatest stored value: those the image states, else what its bits can hold."""
    low, high = integer(ds, "SmallestImagePixelValue"), integer(ds, "LargestImagePixelValue")
    if low is not None and high is not None and low < high:
        return low, high
    bits, signed = integer(ds, "BitsStored", 16) or 16, integer(ds, "PixelRepresentation")
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)


def _first(ds: DataSet, keyword: str, default: float) -> float:
    values = numbers(ds, keyword)
    return values[0] if values else default
