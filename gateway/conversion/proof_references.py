"""The proof of references: what a sequence says once its references are followed, in a form that can be compared.

Lists are taken apart into single statements "this frame of that instance in that series, with all else the item says",
whatever way items were merged or split. Nothing here is shared with the code that rewrites references.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

from gateway.conversion.references import (
    ATTRIBUTE_ITEMS,
    CONTENT_SEQUENCE,
    REFERENCED_CLASS,
    REFERENCED_FRAME,
    REFERENCED_INSTANCE,
    REFERENCED_INSTANCES,
    REFERENCED_SOP,
    SERIES_INSTANCE,
    UID_VALUE,
    VALUE_TYPE,
    Became,
    InSeries,
    PerFrame,
    Target,
    every_target,
    followed,
    instance_of,
    lists_of,
)
from gateway.objects.elements import DataSet, Element, Span, padded, tag_of, text, texts
from gateway.objects.known import opened

SIGNATURES = frozenset(map(tag_of, ("MACParametersSequence", "DigitalSignaturesSequence")))

_OLD_BYTES = frozenset(map(tag_of, ("ReferencedDigitalSignatureSequence", "ReferencedSOPInstanceMACSequence")))
_REFERENCE = frozenset((REFERENCED_CLASS, REFERENCED_INSTANCE, REFERENCED_FRAME))

# A reference to all of an object.
_WHOLE = 0

Statement = tuple[str, str, int, str]  # class, instance, frame, series


class Reading:
    """How data sets are compared with what they have become.

    Parameters
    ----------
    became : Became
        The reference map.
    merged : bool
        Whether evidence names instances once and no frames, as in rewritten copies; not so inside images.
    """

    def __init__(self, became: Became, *, merged: bool) -> None:
        self.active = bool(became)  # else nothing has become anything
        self._became = became
        self._merged = merged
        self._frames: dict[str, int] = {}
        for target in every_target(became):
            if target.frames:
                self._frames[target.sop_instance] = target.frames

    def expected(self, element: Element) -> Hashable:
        """Return what an element of a source says after the conversion."""
        return _Form(self._became, self._frames, self._merged).value(element)

    def found(self, element: Element) -> Hashable:
        """Return what an element of a new object says."""
        return _Form({}, self._frames, self._merged).value(element)

    def covers(self, source: Element, other: Element) -> bool:
        """Tell whether references say all that those of the source do; they may have been given a purpose."""
        form, plain = (_Form(became, self._frames, self._merged) for became in (self._became, {}))
        here = [one for item in opened(source) or () for one in form.reference(source.tag, item)]
        there = [one for item in opened(other) or () for one in plain.reference(other.tag, item)]
        if len(here) != len(there):
            return False
        return all(
            one[1] == found[1] and _filled(one[0]) <= _filled(found[0]) for one, found in zip(here, there, strict=True)
        )


class _Form:
    """Turns elements into something that is equal when they say the same."""

    def __init__(self, became: Became, frames: dict[str, int], merged: bool) -> None:
        self.became = became
        self.frames = frames
        self.merged = merged

    def value(self, element: Element) -> Hashable:
        items = opened(element)
        if items is None:
            if isinstance(element.value, tuple):
                return tuple(self._untouched(item) for item in element.value)
            return element.value if isinstance(element.value, Span) else padded(element.value, element.vr)
        if not followed(element):
            return tuple(self._untouched(item) for item in items)
        tag = element.tag
        if any(instance_of(item, tag) for item in items):
            return frozenset(one for item in items for one in self.reference(tag, item))
        if tag not in ATTRIBUTE_ITEMS and any(text(item, SERIES_INSTANCE) for item in items):
            return frozenset(one for item in items for one in self._hierarchical(item))
        if tag == CONTENT_SEQUENCE:
            every = [self._content(item) for item in items]
            return (*(one[0] for one in every), *(further for one in every for further in one[1:]))
        return tuple(self.dataset(item) for item in items)

    def dataset(self, ds: DataSet, without: frozenset[int] = frozenset()) -> frozenset:
        return frozenset(
            (tag, self.value(element)) for tag, element in ds.items() if tag not in without and tag not in SIGNATURES
        )

    def _untouched(self, ds: DataSet) -> frozenset:
        """Return a data set whose references count as they are."""
        return frozenset((tag, _frozen(element)) for tag, element in ds.items())

    def reference(self, tag: int, item: DataSet, *, series: str = "", whole: bool = False) -> Iterator[tuple]:
        """Yield what one item refers to, each together with all else it says."""
        uid = instance_of(item, tag)
        own = text(item, SERIES_INSTANCE)
        ignored = _REFERENCE | {SERIES_INSTANCE} if uid else frozenset()
        if uid in self.became or uid in self.frames:
            ignored |= _OLD_BYTES
        rest = self.dataset(item, ignored)
        if not uid:
            yield rest, ()
            return
        for sop_class, instance, frame, place in self._targets(uid, item, own or series):
            numbers = [frame]
            if frame == _WHOLE and self.frames.get(instance) and not whole:
                numbers = list(range(1, self.frames[instance] + 1))
            for number in numbers:
                yield rest, (sop_class, instance, _WHOLE if whole else number, place)

    def _targets(self, uid: str, item: DataSet, series: str) -> Iterator[Statement]:
        """Yield what an item refers to: class, instance, frame and series."""
        named = [int(value) for value in texts(item, REFERENCED_FRAME) if value.lstrip("+-").isdigit()]
        became = self.became.get(uid)
        if isinstance(became, PerFrame):
            for number in named or range(1, len(became.targets) + 1):
                if 1 <= number <= len(became.targets):
                    one = became.targets[number - 1]
                    yield one.sop_class, one.sop_instance, one.frame, one.series if series else ""
                else:
                    yield text(item, REFERENCED_CLASS), uid, number, series
        elif isinstance(became, Target):
            for number in [became.frame] if became.frame else named or [_WHOLE]:
                yield became.sop_class, became.sop_instance, number, became.series if series else ""
        else:
            for number in named or [_WHOLE]:
                yield text(item, REFERENCED_CLASS), uid, number, series

    def _hierarchical(self, item: DataSet) -> Iterator[tuple]:
        """Yield what a hierarchical item refers to: an instance in a series, or a series as a whole."""
        own = text(item, SERIES_INSTANCE)
        lists = lists_of(item)
        rest = self.dataset(item, frozenset((SERIES_INSTANCE, *lists)))
        if not lists:
            became = self.became.get(own)
            for series in became.series if isinstance(became, InSeries) else (own,):
                yield rest, series
        for tag, members in lists.items():
            evidence = self.merged and tag in (REFERENCED_SOP, REFERENCED_INSTANCES)
            for member in members:
                for said in self.reference(tag, member, series=own, whole=evidence):
                    yield rest, tag, said

    def _content(self, item: DataSet) -> list[Hashable]:
        """Return a content item, as several if what it refers to has become several."""
        if text(item, VALUE_TYPE) == "UIDREF":
            rest = self.dataset(item, frozenset((UID_VALUE,)))
            return [(rest, uid) for uid in self._uids(text(item, UID_VALUE))]
        members = followed(item[REFERENCED_SOP]) if REFERENCED_SOP in item else ()
        rest = self.dataset(item, frozenset((REFERENCED_SOP,)))
        groups: dict[str, set] = {}
        for member in members:
            for said in self.reference(REFERENCED_SOP, member):
                groups.setdefault(said[1][1] if said[1] else "", set()).add(said)
        if len(groups) <= max(len(members), 1):
            return [(rest, frozenset(one for group in groups.values() for one in group))]
        return [(rest, frozenset(group)) for group in groups.values()]

    def _uids(self, uid: str) -> list[str]:
        became = self.became.get(uid)
        if isinstance(became, Target):
            return [became.sop_instance]
        if isinstance(became, PerFrame):
            return list(dict.fromkeys(one.sop_instance for one in became.targets))
        return list(became.series) if isinstance(became, InSeries) else [uid]


def _frozen(element: Element) -> Hashable:
    if isinstance(element.value, tuple):
        return tuple(frozenset((tag, _frozen(one)) for tag, one in item.items()) for item in element.value)
    return element.value if isinstance(element.value, Span) else padded(element.value, element.vr)


def _filled(said: Any) -> frozenset:
    """Return what of an item has a value: absent equals empty."""
    return frozenset((tag, value) for tag, value in said if value)
