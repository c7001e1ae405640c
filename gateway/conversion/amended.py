"""A header that says something else than its source, and what the source said: nothing is lost by the change (E30)."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from gateway.objects.elements import DataSet, Element, empty


class Amended(dict[int, Element]):
    """A header some of whose elements are not those of its source.

    Attributes
    ----------
    originals : DataSet
        What the source said instead, empty where it said nothing.
    """

    originals: DataSet


def amended(ds: DataSet, changed: Iterable[Element], left_out: Collection[int] = ()) -> DataSet:
    """Return a header with other elements.

    Parameters
    ----------
    ds : DataSet
        The header, itself amended or not; it stays as it is.
    changed : iterable of Element
        What it says from now on.
    left_out : collection of int
        Tags of what it does not say any more.
    """
    said = {element.tag: element for element in changed}
    gone = [tag for tag in left_out if tag in ds]
    if not said and not gone:
        return ds
    found = Amended(ds)
    found.update(said)
    for tag in gone:
        del found[tag]
    before = originals(ds)
    found.originals = {tag: before.get(tag) or ds.get(tag) or empty(tag) for tag in (*before, *said, *gone)}
    return found


def originals(ds: DataSet) -> DataSet:
    """Return what the source said where a header says otherwise."""
    return ds.originals if isinstance(ds, Amended) else {}
