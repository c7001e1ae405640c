"""References pointed at what their targets have become (PS3.4 C.3.5): a function from data set to data set.

An item whose target is a frame of an object now names the frame; items that then are equal but for the frame are merged
into one; a hierarchical item is split by the series its members have gone to, and merged with what names that series
already. Evidence names each instance once and no frame (PS3.3 C.17.2.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

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
    followed,
    instance_of,
    lists_of,
)
from gateway.errors import ObjectError
from gateway.objects.elements import DataSet, Element, dataset, integer, make, numbers, tag_of, text
from gateway.objects.encode import encode

# Statements about the bytes of what was referred to before (PS3.3 table C.17-3): they do not hold for what is now.
_OF_OLD_TARGET = frozenset(map(tag_of, ("ReferencedDigitalSignatureSequence", "ReferencedSOPInstanceMACSequence")))

# Lists of a hierarchical item that name instances without frames (PS3.3 tables C.17-3 and C.12-8).
_WITHOUT_FRAMES = frozenset((REFERENCED_SOP, REFERENCED_INSTANCES))

_IDENTITY = frozenset((REFERENCED_CLASS, REFERENCED_INSTANCE, REFERENCED_FRAME)) | _OF_OLD_TARGET

# Numbers of frames that one Referenced Frame Number has at most: its length counts in 16 bits.
_MOST_FRAMES = 8000


@dataclass
class _Reference:
    """One item of a list of references, before it is written.

    Attributes
    ----------
    item : DataSet
        The item; if it has changed, without frame numbers.
    series : str
        Series of its target if that is another than before.
    frames : list of int
        Frames that it now names; empty for the object as a whole.
    total : int
        Number of frames of its target, 0 if unknown.
    changed : bool
        Whether its target is another one than before.
    """

    item: DataSet
    series: str = ""
    frames: list[int] = field(default_factory=list)
    total: int = 0
    changed: bool = False


@dataclass
class _Branch:
    """A hierarchical item before it is written: a series and its lists of references; `item` if it has not changed."""

    rest: DataSet
    series: str
    lists: dict[int, list[_Reference]] = field(default_factory=dict)
    item: DataSet | None = None


class Rewriter:
    """Points references at what their targets have become.

    Parameters
    ----------
    became : Became
        What has become of instances and series in the view that is made.
    merge : bool
        Whether items are merged and what follows from the rest left out. Not inside converted images: there each item
        stays one, so that it can be turned back.
    """

    def __init__(self, became: Became, *, merge: bool = True) -> None:
        self.became = became
        self.merge = merge

    def dataset(self, ds: DataSet) -> DataSet:
        """Return a data set with its references rewritten; `ds` itself if there is nothing to rewrite."""
        changed: DataSet = {}
        for tag, element in ds.items():
            if isinstance(element.value, bytes) and element.vr != "UN":
                continue
            new = self.element(element)
            if new is not element:
                changed[tag] = new
        return {**ds, **changed} if changed else ds

    def element(self, element: Element) -> Element:
        """Return a sequence with the references in it rewritten; the same element if there is nothing to rewrite."""
        items = followed(element)
        if not items:
            return element
        tag = element.tag
        if any(instance_of(item, tag) for item in items):
            references = [one for item in items for one in self._references(tag, item)]
            if all(not one.changed for one in references) and _same(items, [one.item for one in references]):
                return element
            return Element(tag, "SQ", tuple(self._written(references)))
        if tag not in ATTRIBUTE_ITEMS and any(text(item, SERIES_INSTANCE) for item in items):
            found = self._branches(items)
        elif tag == CONTENT_SEQUENCE:
            found = self._content(items)
        else:
            found = [self.dataset(item) for item in items]
        return element if _same(items, found) else Element(tag, "SQ", tuple(found))

    # One reference

    def _references(self, tag: int, item: DataSet) -> list[_Reference]:
        """Return what one item of a list becomes: several when its frames have gone to several objects."""
        inner = self.dataset(item)
        target = self.became.get(instance_of(item, tag))
        if target is None or isinstance(target, InSeries):
            return [_Reference(inner)]
        if isinstance(target, Target) and not target.frame:
            kept = [inner[REFERENCED_FRAME]] if REFERENCED_FRAME in inner else []
            return [_Reference(_pointed(inner, target, *kept), target.series, changed=True)]
        if isinstance(target, Target):
            return [_Reference(_pointed(inner, target), target.series, [target.frame], target.frames, changed=True)]
        return self._of_frames(inner, target)

    def _of_frames(self, item: DataSet, became: PerFrame) -> list[_Reference]:
        """Return the references that one to frames of an object becomes, all frames if it names none."""
        count = len(became.targets)
        wanted = frame_numbers(item) or list(range(1, count + 1))
        found: dict[str, _Reference] = {}
        for number in wanted:
            if not 0 < number <= count:
                continue
            target = became.targets[number - 1]
            one = found.get(target.sop_instance)
            if one is None:
                one = _Reference(_pointed(item, target), target.series, [], target.frames, changed=True)
                found[target.sop_instance] = one
            if target.frame:
                one.frames.append(target.frame)
        missing = [number for number in wanted if not 0 < number <= count]
        # Frames that never were cannot be pointed anywhere: such a reference stays as it is.
        rest = [_Reference(item | {REFERENCED_FRAME: make("ReferencedFrameNumber", *missing)})] if missing else []
        return [*found.values(), *rest]

    def _written(self, references: Iterable[_Reference], *, frames: bool = True) -> list[DataSet]:
        """Return the items of a list of references."""
        if not self.merge:
            return [_with_frames(one.item, one.frames) for one in references]
        found: list[_Reference] = []
        seen: dict[bytes, _Reference] = {}
        for one in references:
            key = _key(one)
            older = None if key is None else seen.get(key)
            if older is None or not (older.changed or one.changed):
                one = replace(one, frames=list(one.frames))
                found.append(one)
                if key is not None:
                    seen.setdefault(key, one)
            else:
                _take_in(older, one)
        return [item for one in found for item in _items_of(one, frames)]

    # Hierarchical items

    def _branches(self, items: Sequence[DataSet]) -> list[DataSet]:
        """Return hierarchical items, one for each series that their members are in now."""
        branches: list[_Branch] = []
        for item in items:
            branches.extend(self._branches_of(item))
        if self.merge:
            branches = _merged(branches)
        return [self._written_branch(branch) for branch in branches]

    def _branches_of(self, item: DataSet) -> list[_Branch]:
        own = text(item, SERIES_INSTANCE)
        lists = lists_of(item)
        rest = self.dataset({tag: element for tag, element in item.items() if tag not in lists})
        if not lists:
            became = self.became.get(own)
            if not isinstance(became, InSeries):
                same = all(rest[tag] is element for tag, element in item.items())
                return [_Branch(rest, own, item=item if same else None)]
            return [_Branch(rest, series) for series in became.series]
        found: dict[str, _Branch] = {}
        changed = False
        for tag, members in lists.items():
            for member in members:
                for one in self._references(tag, member):
                    changed = changed or one.changed or one.item is not member
                    branch = found.setdefault(one.series or own, _Branch(rest, one.series or own))
                    branch.lists.setdefault(tag, []).append(one)
        if not changed and all(rest.get(tag) is element for tag, element in item.items() if tag not in lists):
            found[own].item = item
        return list(found.values())

    def _written_branch(self, branch: _Branch) -> DataSet:
        if branch.item is not None:
            return branch.item
        lists = [
            Element(tag, "SQ", tuple(self._written(members, frames=tag not in _WITHOUT_FRAMES)))
            for tag, members in branch.lists.items()
        ]
        ds = {tag: element for tag, element in branch.rest.items() if tag != SERIES_INSTANCE}
        return dataset(*ds.values(), make("SeriesInstanceUID", branch.series), *lists)

    # Content trees

    def _content(self, items: Sequence[DataSet]) -> list[DataSet]:
        """Return content items; where one becomes several, the further ones stand behind all others.

        Items refer to each other by their positions (PS3.3 C.17.3.2.5), which therefore stay what they are.
        """
        found, further = [], []
        for item in items:
            first, *more = self._content_item(item)
            found.append(first)
            further.extend(more)
        return found + further

    def _content_item(self, item: DataSet) -> list[DataSet]:
        new = self.dataset(item)
        if text(item, VALUE_TYPE) == "UIDREF":
            uids = self._uids(text(item, UID_VALUE))
            return [new | {UID_VALUE: make("UID", uid)} for uid in uids] if uids else [new]
        before, after = item.get(REFERENCED_SOP), new.get(REFERENCED_SOP)
        if before is None or after is None or len(followed(after)) <= max(len(followed(before)), 1):
            return [new]
        # An image reference names exactly one instance (PS3.3 C.18.3).
        return [new | {REFERENCED_SOP: after._replace(value=(one,))} for one in followed(after)]

    def _uids(self, uid: str) -> Sequence[str]:
        """Return what a UID in a content item becomes, nothing if it stays."""
        became = self.became.get(uid)
        if isinstance(became, InSeries):
            return became.series
        if isinstance(became, PerFrame):
            return list(dict.fromkeys(target.sop_instance for target in became.targets))
        return [became.sop_instance] if became else []


def frame_numbers(item: DataSet) -> list[int]:
    """Return the values of Referenced Frame Number, none if it is absent or no numbers."""
    if integer(item, REFERENCED_FRAME) is None:
        return []
    return [int(value) for value in numbers(item, REFERENCED_FRAME)]


def _same(items: Sequence[DataSet], found: Sequence[DataSet]) -> bool:
    return len(items) == len(found) and all(one is other for one, other in zip(items, found, strict=True))


def _pointed(item: DataSet, target: Target, *more: Element) -> DataSet:
    """Return a reference to another instance, without frame numbers; a series that it names itself follows."""
    if text(item, SERIES_INSTANCE):
        more = (*more, make("SeriesInstanceUID", target.series))
    rest = {tag: element for tag, element in item.items() if tag not in _IDENTITY}
    return dataset(
        *(rest | {element.tag: element for element in more}).values(),
        make("ReferencedSOPClassUID", target.sop_class),
        make("ReferencedSOPInstanceUID", target.sop_instance),
    )


def _with_frames(item: DataSet, frames: Sequence[int]) -> DataSet:
    return dataset(*item.values(), make("ReferencedFrameNumber", *frames)) if frames else item


def _items_of(one: _Reference, frames: bool) -> list[DataSet]:
    """Return a merged reference as items; a list of all frames says no more than none (PS3.3 table 10-3)."""
    numbers = sorted(set(one.frames))
    if not frames or not numbers or len(numbers) == one.total:
        return [one.item]
    return [_with_frames(one.item, numbers[at : at + _MOST_FRAMES]) for at in range(0, len(numbers), _MOST_FRAMES)]


def _take_in(older: _Reference, one: _Reference) -> None:
    """Merge a reference into one that is equal but for the frames."""
    before, more = _frames(older), _frames(one)
    older.item = {tag: element for tag, element in older.item.items() if tag != REFERENCED_FRAME}
    older.frames = before + more if before and more else []
    older.total, older.changed = max(older.total, one.total), True


def _frames(one: _Reference) -> list[int]:
    return one.frames or frame_numbers(one.item)


def _key(one: _Reference) -> bytes | None:
    """Return what references have in common that differ by frame only, None if they cannot be compared."""
    try:
        return encode({tag: element for tag, element in one.item.items() if tag != REFERENCED_FRAME})
    except ObjectError:
        return None


def _merged(branches: Sequence[_Branch]) -> list[_Branch]:
    """Merge branches that name the same series and say the same about it, if one of them has changed."""
    found: list[_Branch] = []
    seen: dict[tuple[str, bytes | None], _Branch] = {}
    for branch in branches:
        rest = _key(_Reference({tag: element for tag, element in branch.rest.items() if tag != SERIES_INSTANCE}))
        older = seen.setdefault((branch.series, rest), branch)
        if older is branch or rest is None or (older.item is not None and branch.item is not None):
            found.append(branch)
            continue
        older.item = None
        for tag, members in branch.lists.items():
            older.lists.setdefault(tag, []).extend(members)
    return found
