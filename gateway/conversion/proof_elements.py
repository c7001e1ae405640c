"""The proof of elements: everything of a source stands in what its frame unfolds to."""

from __future__ import annotations

from gateway.conversion.groups import REFERENCED_IMAGE, SOURCE_IMAGE
from gateway.conversion.keys import Key, keyed
from gateway.conversion.overlays import presentation_tags
from gateway.conversion.proof_references import Reading
from gateway.conversion.survey import CONTRIBUTING_EQUIPMENT, LEFT_OUT
from gateway.errors import ConversionError
from gateway.objects.elements import DataSet, Element, is_empty, same, tag_text, text
from gateway.objects.recipe import Recipe

# Identity is checked on its own; Contributing Equipment is on the list of what may change.
_NOT_COMPARED = LEFT_OUT | {CONTRIBUTING_EQUIPMENT}


def check_elements(recipe: Recipe, number: int, source: DataSet, unfolded: DataSet, reading: Reading) -> None:
    """Find every element of the source among the unfolded ones."""
    where = f"{recipe.sop_instance} frame {number}"
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        if text(source, keyword) != text(unfolded, keyword):
            raise ConversionError(where, f"{keyword} is not that of the source", found=text(unfolded, keyword))
    found = dict(keyed(unfolded))
    moved = presentation_tags(source)  # the proofs of the presentation states look for it
    for key, element in keyed(source):
        if key in _NOT_COMPARED or key in moved or is_empty(element):
            continue
        other = found.get(key)
        if other is None or not _equal(key, element, other, reading):
            raise ConversionError(where, f"{tag_text(element.tag)} cannot be got back", found=other and other.value)


def _equal(key: Key, source: Element, other: Element, reading: Reading) -> bool:
    """Compare an element with its source; references have followed their targets, purposes may have been added."""
    if (isinstance(source.value, bytes) and source.vr != "UN") or (not reading.active and same(source, other)):
        return same(source, other)
    if key in (REFERENCED_IMAGE, SOURCE_IMAGE):
        return reading.covers(source, other)
    return reading.expected(source) == reading.found(other)
