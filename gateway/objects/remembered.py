"""Functions of a few elements of a data set, worked out once for all data sets that have the same ones.

Thousands of slices of a series say the same of almost everything. What a remembered function looks at is found out
while it runs; where all of that is the same again, its result is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from gateway.objects.elements import DataSet, Element

# Results that are held of a function: series that alternate, such as echoes, have a few.
_HELD = 4

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class _Watched(dict[int, Element]):
    """A data set that notes what it is asked for."""

    def __init__(self, ds: DataSet) -> None:
        super().__init__(ds)
        self.asked: dict[int, None] = {}
        self.asked_for_tags = False
        self.asked_for_all = False

    def __getitem__(self, tag: int) -> Element:
        self.asked[tag] = None
        return super().__getitem__(tag)

    def get(self, tag: int, default: Any = None) -> Any:
        self.asked[tag] = None
        return super().get(tag, default)

    def __contains__(self, tag: object) -> bool:
        self.asked[tag] = None  # type: ignore[index]
        return super().__contains__(tag)

    def __iter__(self) -> Iterator[int]:
        self.asked_for_tags = True
        return super().__iter__()

    def __len__(self) -> int:
        self.asked_for_tags = True
        return super().__len__()

    def keys(self) -> Any:
        self.asked_for_tags = True
        return super().keys()

    def items(self) -> Any:
        self.asked_for_all = True
        return super().items()

    def values(self) -> Any:
        self.asked_for_all = True
        return super().values()

    def copy(self) -> Any:
        self.asked_for_all = True
        return super().copy()

    def __or__(self, other: Any) -> Any:
        self.asked_for_all = True
        return super().__or__(other)

    def __ror__(self, other: Any) -> Any:
        self.asked_for_all = True
        return super().__ror__(other)

    def __eq__(self, other: object) -> bool:
        self.asked_for_all = True
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]


# (tags that were asked for, elements found there, all tags if those were asked for, the result)
_Held = tuple[tuple[int, ...], tuple[Element | None, ...], tuple[int, ...] | None, Any]


def remembered(
    function: Callable[Concatenate[DataSet, Parameters], Result],
) -> Callable[Concatenate[DataSet, Parameters], Result]:
    """Remember the latest results of a function of a data set and of further arguments that can be hashed.

    It must depend on nothing else, and nobody may change what it returns. Of one that looks at every element nothing is
    remembered.
    """
    results: dict[tuple, list[_Held]] = {}

    @wraps(function)
    def call(ds: DataSet, *more: Any, **named: Any) -> Any:
        about = (*more, *named.items())
        held = results.get(about)
        if held is None:
            held = results.setdefault(about, [])
        for tags, elements, every, result in held:
            # Tuples are compared by identity first, which is what elements of headers that are alike have in common.
            if tuple(map(ds.get, tags)) == elements and (every is None or tuple(ds) == every):
                return result
        watched = _Watched(ds)
        result = function(watched, *more, **named)
        if not watched.asked_for_all:
            tags = tuple(watched.asked)
            every = tuple(ds) if watched.asked_for_tags else None
            # In one step: threads may be reading the list. Asked of `ds` itself, which may be watched as well.
            held[:] = [(tags, tuple(map(ds.get, tags)), every, result), *held[: _HELD - 1]]
        return result

    return call
