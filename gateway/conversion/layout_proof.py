"""The proof of the layout: functional groups hold nothing that passes for the object itself (E45, E49, E52).

Web viewers lay the items of functional groups over the object. A UID, a size or a number of bits there would be taken
for the object's own, however right it is for the source.
"""

from __future__ import annotations

from functools import lru_cache

from gateway.conversion.facts import Facts
from gateway.errors import ConversionError
from gateway.objects.elements import (
    DataSet,
    Element,
    is_empty,
    is_private,
    items,
    same,
    standard_vr,
    tag_of,
    tag_text,
    text,
)

_SHARED, _PER_FRAME = (tag_of(f"Unassigned{what}ConvertedAttributesSequence") for what in ("Shared", "PerFrame"))
_NOWHERE = frozenset(
    tag_of(keyword)
    for keyword in (
        "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "NumberOfFrames", "SamplesPerPixel",
        "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
        "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit",
    )
)  # fmt: skip
_ALTERNATE = ("121326", "DCM")


def check_top(where: str, top: DataSet, shared: DataSet, source: Facts) -> None:
    """Check the top level and the shared functional groups of an object.

    Parameters
    ----------
    where : str
        SOP Instance UID of the object.
    top, shared : DataSet
        Top level, and item of the shared functional groups.
    source : Facts
        One of its sources.

    Raises
    ------
    ConversionError
        If something stands where it must not, or the series of the sources is not named.
    """
    _check_groups(f"{where} shared groups", shared)
    for item in items(shared, _SHARED):
        for tag, element in item.items():
            if tag in top and not is_private(tag) and same(top[tag], element):
                raise ConversionError(where, f"says {tag_text(tag)} twice: at the top level and in Unassigned Shared")
    related = items(top, "RelatedSeriesSequence")[-1:]
    named = [(text(item, "StudyInstanceUID"), text(item, "SeriesInstanceUID"), _purposes(item)) for item in related]
    if named != [(source.study, source.series, [_ALTERNATE])]:
        raise ConversionError(where, "does not name the series of its sources in Related Series Sequence", found=named)


def check_frame(where: str, number: int, groups: DataSet) -> None:
    """Check the functional groups of one frame.

    Raises
    ------
    ConversionError
        If something stands where it must not.
    """
    _check_groups(f"{where} frame {number}", groups)


def _purposes(item: DataSet) -> list[tuple[str, str]]:
    found = items(item, "PurposeOfReferenceCodeSequence")
    return [(text(one, "CodeValue"), text(one, "CodingSchemeDesignator")) for one in found]


def _check_groups(where: str, groups: DataSet) -> None:
    for group, element in groups.items():
        for item in element.value if isinstance(element.value, tuple) else ():
            unassigned = group in (_SHARED, _PER_FRAME)
            wrong = _wrong(tuple(item), unassigned) or (_unlisted(item) if unassigned else 0)
            if wrong:
                problem = f"has {tag_text(wrong)} in {tag_text(group)}, where it passes for the object's own"
                raise ConversionError(where, problem, expected="it at the top level, or in private elements")


@lru_cache(maxsize=1024)
def _wrong(tags: tuple[int, ...], unassigned: bool) -> int:
    """Return a tag that must not be among those of a group's item, 0 if there is none."""
    for tag in tags:
        if tag in _NOWHERE or (unassigned and not is_private(tag) and standard_vr(tag) == "UI"):
            return tag
    return 0


def _unlisted(item: DataSet) -> int:
    """Return the tag of a UID that the data dictionary does not know, or of an empty value; 0 if there is none."""
    found: list[Element] = [element for element in item.values() if element.vr == "UI" or is_empty(element)]
    return next((element.tag for element in found if not is_private(element.tag)), 0)
