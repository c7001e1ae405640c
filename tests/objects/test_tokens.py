"""Two encodings of one header are compared without a tree of either."""

from __future__ import annotations

import pytest

from gateway.errors import ObjectError
from gateway.objects.elements import DataSet, dataset, make, sequence
from gateway.objects.encode import encode
from gateway.objects.parse import Syntax
from gateway.objects.tokens import check_same


def header(**changes: str) -> DataSet:
    item = dataset(make("ReferencedSOPInstanceUID", changes.get("target", "1.2.3")))
    return dataset(
        make("Modality", changes.get("modality", "CT")),
        sequence("ReferencedImageSequence", item, *([item] if "twice" in changes else [])),
        make("Rows", 512),
    )


def test_other_encodings_of_the_same_elements_are_the_same() -> None:
    check_same(encode(header()), Syntax(), encode(header(), implicit=True), Syntax(implicit=True))


@pytest.mark.parametrize("changes", [{"modality": "MR"}, {"target": "1.2.4"}, {"twice": "yes"}])
def test_a_changed_value_or_item_is_found_at_any_depth(changes: dict[str, str]) -> None:
    with pytest.raises(ObjectError, match="re-encoding"):
        check_same(encode(header()), Syntax(), encode(header(**changes), implicit=True), Syntax(implicit=True))


def test_a_missing_element_is_found() -> None:
    shorter = {tag: element for tag, element in header().items() if tag != 0x00280010}
    with pytest.raises(ObjectError, match="0028,0010"):
        check_same(encode(header()), Syntax(), encode(shorter, implicit=True), Syntax(implicit=True))
