"""What the headers of several instances say together, and what an enhanced object says of its frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.archive.attributes import items_of
from gateway.archive.contents import Head
from gateway.objects.elements import DataSet
from gateway.retrieval.plain import Item, Values, first, values

# Groups of a frame that hold what a classic image has at its top level (Supplement 157, 7.6).
_UNASSIGNED = ("UnassignedSharedConvertedAttributesSequence", "UnassignedPerFrameConvertedAttributesSequence")


@dataclass
class Known:
    """What headers say, each different set of values of an attribute once.

    Attributes
    ----------
    found : dict
        Sets of values by keyword, in the order in which they were met.
    schemes : dict
        UIDs of coding schemes by designator.
    """

    found: dict[str, list[Values]] = field(default_factory=dict)
    schemes: dict[str, str] = field(default_factory=dict)

    def add(self, said: Item) -> None:
        """Add the attributes of an instance."""
        for keyword, value in said.items():
            known = self.found.setdefault(keyword, [])
            if value not in known:
                known.append(value)

    def first(self, keyword: str) -> Values:
        """Return the values of an attribute as the first instance that has any has them."""
        return self.found.get(keyword, [[]])[0]

    def text(self, keyword: str) -> str:
        """Return the first value of an attribute of text."""
        return first({keyword: self.first(keyword)}, keyword)

    def every(self, keyword: str) -> Values:
        """Return each different value or item of an attribute once."""
        kept: Values = []
        for value in (one for several in self.found.get(keyword, ()) for one in several):
            if value not in kept:
                kept.append(value)
        return kept


def of_frames(head: Head) -> Iterator[tuple[str, Values]]:
    """Yield what an enhanced object says of its frames and a classic image at its top level."""
    anatomy, specimens = Known(), Known()
    for groups in (*items_of(head.dataset, "SharedFunctionalGroupsSequence"), *head.frames()):
        _add(anatomy, groups, "FrameAnatomySequence", head.dataset)
        for keyword in _UNASSIGNED:
            for unassigned in items_of(groups, keyword):
                _add(specimens, unassigned, "SpecimenDescriptionSequence", head.dataset)
    for known, keyword in ((anatomy, "FrameAnatomySequence"), (specimens, "SpecimenDescriptionSequence")):
        own = values(head.dataset, keyword)
        if found := own + [one for one in known.every(keyword) if one not in own]:
            yield keyword, found


def _add(known: Known, groups: DataSet, keyword: str, top: DataSet) -> None:
    known.add({keyword: values(groups, keyword, top.get(0x00080005))})


def schemes(ds: DataSet) -> Iterator[tuple[str, str]]:
    """Yield designator and UID of the coding schemes that an object identifies (PS3.3 C.12.1.1.7)."""
    for scheme in items_of(ds, "CodingSchemeIdentificationSequence"):
        designator, uid = values(scheme, "CodingSchemeDesignator"), values(scheme, "CodingSchemeUID")
        if designator and uid:
            yield designator[0], uid[0]
