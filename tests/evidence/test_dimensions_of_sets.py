"""Dimensions of everything that is made of the real sets (E22; PS3.3 C.7.6.17)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import pytest
from evidence.sets import Layer, files, names
from pydicom import dcmread
from pydicom.tag import Tag

from gateway.standard.sop_classes import ENHANCED_CLASSES


@pytest.mark.parametrize("name", names())
def test_E22_no_frames_of_one_organization_share_all_index_values(
    name: str, swept: Callable[[str], list[Layer]], figures: Callable[..., None]
) -> None:
    organizations: dict[tuple[int, str], list[tuple[int, ...]]] = defaultdict(list)
    for number, layer in enumerate(swept(name)):  # each a study of its own
        received = {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in layer.sources}
        for path in files(layer.enhanced):
            ds = dcmread(path, stop_before_pixels=True)
            if ds.SOPClassUID not in ENHANCED_CLASSES or ds.SOPInstanceUID in received:
                continue
            (organization,) = ds.DimensionOrganizationSequence
            for frame in ds.PerFrameFunctionalGroupsSequence:
                index = frame.FrameContentSequence[0].DimensionIndexValues
                found = tuple(index) if len(ds.DimensionIndexSequence) > 1 else (int(index),)
                organizations[number, organization.DimensionOrganizationUID].append(found)
                for dimension in ds.DimensionIndexSequence:
                    assert not Tag(dimension.DimensionIndexPointer).is_private
                    places = [where for where in (frame, ds.SharedFunctionalGroupsSequence[0])
                              if dimension.FunctionalGroupPointer in where]  # fmt: skip
                    assert any(
                        dimension.DimensionIndexPointer in where[dimension.FunctionalGroupPointer].value[0]
                        for where in places
                    ), dimension.DimensionDescriptionLabel
    for where, values in organizations.items():
        assert len(set(values)) == len(values), where
    figures("dimensions", name, organizations=len(organizations), frames=sum(map(len, organizations.values())))
