"""The proof of elements: everything of a source stands in what its frame unfolds to."""

from __future__ import annotations

from gateway.conversion.groups import REFERENCED_IMAGE, SOURCE_IMAGE
from gateway.conversion.keys import Key, keyed
from gateway.conversion.overlays import presentation_tags
from gateway.conversion.proof_references import Reading
from gateway.conversion.survey import CONTRIBUTING_EQUIPMENT, LEFT_OUT
from gateway.conversion.unfold import Found
from gateway.errors import ConversionError
from gateway.objects.elements import DataSet, Element, is_empty, same, tag_of, tag_text, text
from gateway.objects.recipe import Recipe

# Identity is checked on its own; Contributing Equipment is on the list of what may change.
_NOT_COMPARED = LEFT_OUT | {CONTRIBUTING_EQUIPMENT}


class Elements:
    """Finds every element of the sources of one object among what its frames unfold to.

    Parameters
    ----------
    recipe : Recipe
        The object.
    reading : Reading
        How references have followed their targets.
    """

    def __init__(self, recipe: Recipe, reading: Reading) -> None:
        self._recipe = recipe
        self._reading = reading
        self._source: Found = {}
        self._found: Found = {}
        self._moved: set[int] = set()

    def check(self, number: int, source: DataSet, found: Found) -> None:
        """Check one frame.

        An element of the source is held against that of the object unless both are the very ones that were for the
        frame before: the same objects in memory, which nothing changes.

        Parameters
        ----------
        number : int
            Number of the frame, from 1.
        source : DataSet
            A fresh reading of its source.
        found : dict
            What the frame unfolds to.
        """
        where = f"{self._recipe.sop_instance} frame {number}"
        for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"):
            if text(source, keyword) != text(found, keyword):  # type: ignore[arg-type]
                raise ConversionError(where, f"{keyword} is not that of the source", found=found.get(tag_of(keyword)))
        moved = presentation_tags(source)  # the proofs of the presentation states look for it
        said = dict(keyed(source))
        before, after = (self._source, self._found) if moved == self._moved else ({}, {})
        for key, element in said.items():
            other = found.get(key)
            if before.get(key) is element and after.get(key) is other:
                continue
            if key in _NOT_COMPARED or key in moved or is_empty(element):
                continue
            if other is None or not _equal(key, element, other, self._reading):
                raise ConversionError(where, f"{tag_text(element.tag)} cannot be got back", found=other and other.value)
        self._source, self._found, self._moved = said, found, moved


def _equal(key: Key, source: Element, other: Element, reading: Reading) -> bool:
    """Compare an element with its source; references have followed their targets, purposes may have been added."""
    if (isinstance(source.value, bytes) and source.vr != "UN") or (not reading.active and same(source, other)):
        return same(source, other)
    if key in (REFERENCED_IMAGE, SOURCE_IMAGE):
        return reading.covers(source, other)
    return reading.expected(source) == reading.found(other)
