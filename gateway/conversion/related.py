"""The source series of what a conversion makes, in Related Series Sequence of General Series (PS3.3 C.7.3.1).

In a functional group web viewers, which lay the items of groups over the object, would take the series for the object's
own. So every object made names the series of its sources at the top level, behind what the sources say there,
for the purpose (121326, DCM, "Alternate SOP Class instance"). Like Conversion Source the item names what another view
has, and is never rewritten.

Sources may have items of that purpose themselves. An item is the conversion's if it is the last one and the last
conversion that the object names in Contributing Equipment is one that adds it. Where private elements have been taken
out, or another converter has written the same, only an item that is the only one counts.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.conversion.identity import CONTRIBUTIONS, code, edition_of, is_conversion
from gateway.errors import ConversionError
from gateway.objects.elements import DataSet, Element, dataset, items, make, sequence, tag_of, text
from gateway.objects.known import opened
from gateway.standard.sop_classes import CLASSIC_MODALITIES

RELATED_SERIES = tag_of("RelatedSeriesSequence")
ALTERNATE = code("121326", "DCM", "Alternate SOP Class instance")

# The first edition that names source series here.
_FIRST_EDITION = 2


class Apart(NamedTuple):
    """A data set without what conversions have added to its Related Series Sequence.

    Attributes
    ----------
    rest : DataSet
        The data set with the items that its sources had.
    added : tuple of DataSet
        The items that conversions have added, the last one last.
    copied : str
        Series of what it is a rewritten copy of, empty if that is not known.
    converted : str
        Series of the images that its frames were made of, empty if that is not known.
    """

    rest: DataSet
    added: tuple[DataSet, ...] = ()
    copied: str = ""
    converted: str = ""


def source_series(study: str, series: str) -> DataSet:
    """Return the item that names a source series."""
    return dataset(
        make("StudyInstanceUID", study),
        make("SeriesInstanceUID", series),
        sequence("PurposeOfReferenceCodeSequence", ALTERNATE),
    )


def with_items(older: Element | None, *added: DataSet) -> Element:
    """Return Related Series Sequence with further items behind those that are there.

    Raises
    ------
    ConversionError
        If what is there are no items.
    """
    found = () if older is None else opened(older)
    if found is None:
        raise ConversionError("Related Series Sequence (0008,1250)", "holds no items", expected="a sequence")
    return sequence("RelatedSeriesSequence", *found, *added)


def related_series(ds: DataSet) -> tuple[DataSet, ...]:
    """Return the items of Related Series Sequence, whatever their sequence is encoded as."""
    return opened(ds[RELATED_SERIES]) or () if RELATED_SERIES in ds else ()


def apart(ds: DataSet) -> Apart:
    """Take what conversions have added to Related Series Sequence out of an object's top level."""
    related = list(related_series(ds))
    if not any(map(_is_alternate, related)) or not text(ds, "QueryRetrieveView"):
        return Apart(ds)
    is_copy = bool(copied_from(ds))
    if text(ds, "SOPClassUID") in CLASSIC_MODALITIES and not is_copy:
        return Apart(ds)  # a classic image again: what it says is its own
    conversions = [item for item in items(ds, "ContributingEquipmentSequence") if is_conversion(item)]
    if conversions and edition_of(conversions[-1]) is not None:
        added, copied, converted = _by_edition(related, conversions)
    elif sum(map(_is_alternate, related)) == 1 and not _turned_back(conversions):
        added = (_taken(related),)
        copied, converted = (_series(added[0]), "") if is_copy else ("", _series(added[0]))
    else:
        return Apart(ds)
    rest = {tag: element for tag, element in ds.items() if tag != RELATED_SERIES or related}
    if related:
        rest[RELATED_SERIES] = sequence("RelatedSeriesSequence", *related)
    return Apart(rest, added, copied, converted)


def _by_edition(related: list[DataSet], conversions: list[DataSet]) -> tuple[tuple[DataSet, ...], str, str]:
    """Take out of `related` what conversions have added; return it, and what is copied and converted, as in `Apart`."""
    added: list[DataSet] = []
    copied = ""
    while conversions and any(map(_is_alternate, related)):
        if (edition_of(conversions[-1]) or 0) < _FIRST_EDITION or _turned_back(conversions):
            break
        added.insert(0, _taken(related))
        if text(conversions.pop(), "ContributionDescription") == CONTRIBUTIONS["enhanced"]:
            return tuple(added), copied, _series(added[0])  # what is left is of the images
        copied = copied or _series(added[0])
    return tuple(added), copied, ""


def split_series(ds: DataSet) -> str:
    """Return the series of another class that the source itself names, empty unless it names one."""
    found = {_series(item) for item in related_series(apart(ds).rest) if _is_alternate(item)}
    return found.pop() if len(found) == 1 else ""


def copied_from(ds: DataSet) -> str:
    """Return what an object is a rewritten copy of: what it was made of is one object of its own class."""
    sources = items(ds, "ConversionSourceAttributesSequence")
    if len(sources) != 1 or text(sources[0], "ReferencedSOPClassUID") != text(ds, "SOPClassUID"):
        return ""
    return text(sources[0], "ReferencedSOPInstanceUID")


def _is_alternate(item: DataSet) -> bool:
    return bool(_series(item)) and any(
        (text(purpose, "CodeValue"), text(purpose, "CodingSchemeDesignator"))
        == (text(ALTERNATE, "CodeValue"), text(ALTERNATE, "CodingSchemeDesignator"))
        for purpose in items(item, "PurposeOfReferenceCodeSequence")
    )


def _taken(related: list[DataSet]) -> DataSet:
    """Take the last item for the purpose out of a list of items."""
    return related.pop(max(number for number, item in enumerate(related) if _is_alternate(item)))


def _series(item: DataSet) -> str:
    return text(item, "SeriesInstanceUID")


def _turned_back(conversions: list[DataSet]) -> bool:
    return bool(conversions) and text(conversions[-1], "ContributionDescription") == CONTRIBUTIONS["classic"]
