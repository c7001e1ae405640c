"""A remembered function gives what it would give if it were worked out each time, whatever it looks at."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.objects.elements import DataSet, Element
from gateway.objects.remembered import remembered


def _value(ds: DataSet, tag: int) -> object:
    return ds[tag].value if tag in ds else None


# Each looks at a data set in another way; what some look at depends on what they have seen before.
WAYS: dict[str, Callable[[DataSet], object]] = {
    "get": lambda ds: (ds.get(1), ds.get(2, "nothing")),
    "in": lambda ds: [tag in ds for tag in (1, 3)],
    "item": lambda ds: _value(ds, 1),
    "in turn": lambda ds: _value(ds, 2) if _value(ds, 1) == b"a" else _value(ds, 3),
    "tags": list,
    "keys": lambda ds: sorted(ds.keys()),
    "length": lambda ds: (len(ds), bool(ds)),
    "items": lambda ds: list(ds.items()),
    "values": lambda ds: list(ds.values()),
    "copy": lambda ds: sorted(ds.copy()),
    "dict": lambda ds: sorted(dict(ds).items()),
    "unpacked": lambda ds: sorted({**ds}.items()),
    "or": lambda ds: sorted((ds | {4: Element(4, "LO", b"d")}).items()),
    "or before": lambda ds: sorted(({4: Element(4, "LO", b"d")} | ds).items()),
    "updated": lambda ds: _updated(ds),
    "equal": lambda ds: (ds == {}, ds != {1: Element(1, "LO", b"a")}),
    "of another": lambda ds: _first(ds),
}


def _updated(ds: DataSet) -> list:
    found: DataSet = {}
    found.update(ds)
    return sorted(found.items())


@remembered
def _first(ds: DataSet) -> object:
    return _value(ds, 1)


_element = st.tuples(st.sampled_from((1, 2, 3)), st.sampled_from((b"a", b"b", b"c")))
_dataset = st.lists(_element, max_size=3).map(lambda found: {tag: Element(tag, "LO", value) for tag, value in found})


@pytest.mark.parametrize("way", WAYS)
@given(many=st.lists(_dataset, max_size=12))
def test_results_are_those_of_the_function(way: str, many: list[DataSet]) -> None:
    function = remembered(WAYS[way])
    for ds in many:
        assert function(ds) == WAYS[way](ds)


def test_equal_elements_are_looked_at_once_and_other_arguments_count() -> None:
    seen: list[tuple] = []

    @remembered
    def function(ds: DataSet, number: int) -> object:
        seen.append((_value(ds, 1), number))
        return ds.get(1)

    for other in (b"x", b"y"):
        for number in (1, 2, 1):
            function({1: Element(1, "LO", b"a"), 2: Element(2, "LO", other)}, number)
    assert seen == [(b"a", 1), (b"a", 2)]
    function({1: Element(1, "LO", b"b")}, 1)
    assert len(seen) == 3


def test_what_fails_is_not_remembered() -> None:
    @remembered
    def function(ds: DataSet) -> object:
        return ds[1]

    for _ in range(2):
        with pytest.raises(KeyError):
            function({})
    assert function({1: Element(1, "LO", b"a")}) == (1, "LO", b"a")
