"""The proof of elements: everything of a source stands in what its frame unfolds to."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.conversion.groups import REFERENCED_IMAGE, SOURCE_IMAGE
from gateway.conversion.keys import keyed
from gateway.conversion.overlays import presentation_tags
from gateway.conversion.references import REFERENCED_CLASS, REFERENCED_FRAME, REFERENCED_INSTANCE
from gateway.conversion.survey import CONTRIBUTING_EQUIPMENT, LEFT_OUT
from gateway.errors import ConversionError
from gateway.objects.elements import DataSet, Element, integer, is_empty, same, tag_text, text
from gateway.objects.recipe import Recipe

# Identity is checked on its own; Contributing Equipment is on the list of what may change.
_NOT_COMPARED = LEFT_OUT | {CONTRIBUTING_EQUIPMENT}


def check_elements(
    recipe: Recipe, number: int, source: DataSet, unfolded: DataSet, back: Mapping[tuple[str, int], str]
) -> None:
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
        if key in (REFERENCED_IMAGE, SOURCE_IMAGE):
            equal = other is not None and _same_references(element, other, back)
        else:
            equal = other is not None and same(element, other)
        if not equal:
            raise ConversionError(where, f"{tag_text(element.tag)} cannot be got back", found=other and other.value)


def _same_references(source: Element, unfolded: Element, back: Mapping[tuple[str, int], str]) -> bool:
    """Compare references: each has its original target, or what that has become; purposes may have been added."""
    if not isinstance(source.value, tuple) or not isinstance(unfolded.value, tuple):
        return same(source, unfolded)
    if len(source.value) != len(unfolded.value):
        return False
    for one, other in zip(source.value, unfolded.value, strict=True):
        original = back.get((text(other, REFERENCED_INSTANCE), integer(other, REFERENCED_FRAME) or 0))
        rewritten = {REFERENCED_CLASS, REFERENCED_INSTANCE, REFERENCED_FRAME} if original else set()
        if original is not None and original != text(one, REFERENCED_INSTANCE):
            return False
        for tag, element in one.items():
            if tag not in rewritten and not is_empty(element) and (tag not in other or not same(element, other[tag])):
                return False
    return True
