"""What refers to images refers to the same ones after conversion: every reference followed, every overlay drawn."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conversion.resolving import every_reference_resolves, unresolved
from evidence.drawing import View, save
from evidence.sets import Layer, files, names

# Sets with segmentations or structure sets whose images are there: number of drawings.
DRAWN = {"dcmqi_ct_lce_seg": 18, "highdicom_refs": 18, "lce_mr_seg_ibsi": 4, "rtutils_ct_rtstruct": 10}


def never_there(layer: Layer, folder: Path) -> set[str]:
    """Return what the sources of a layer refer to without its being among them."""
    folder.mkdir()
    for number, path in enumerate(layer.sources):
        (folder / f"{number}.dcm").symlink_to(path.resolve())
    return unresolved(folder)


@pytest.mark.parametrize("name", names())
def test_G14_G20_every_reference_of_the_enhanced_view_resolves_in_it(
    name: str, swept: Callable[[str], list[Layer]], figures: Callable[..., None], tmp_path: Path
) -> None:
    followed = 0
    for number, layer in enumerate(swept(name)):
        unknown = never_there(layer, tmp_path / str(number))
        followed += every_reference_resolves(layer.enhanced, unknown=unknown)
    figures("references", name, followed=followed)


@pytest.mark.parametrize("name", names())
def test_G14_G20_every_reference_of_the_classic_view_resolves_in_it(
    name: str, swept: Callable[[str], list[Layer]], tmp_path: Path
) -> None:
    for number, layer in enumerate(swept(name)):
        unknown = never_there(layer, tmp_path / str(number))
        every_reference_resolves(layer.classic, unknown=unknown)


@pytest.mark.parametrize("name", sorted(DRAWN))
def test_G14_segmentations_and_contours_look_the_same_on_classic_and_on_enhanced(
    name: str, swept: Callable[[str], list[Layer]], figures: Callable[..., None]
) -> None:
    pictures: list[np.ndarray] = []
    for number, layer in enumerate(swept(name)):
        before, after = dict(View.of(layer.sources).pictures()), dict(View.of(files(layer.enhanced)).pictures())
        assert before.keys() == after.keys()
        for key, picture in before.items():
            assert np.array_equal(picture, after[key]), key
        keep(f"{name}-{number}", before, after)
        pictures += list(before.values())
    figures("drawings", name, equal=len(pictures))
    assert len(pictures) == DRAWN[name]
    assert any((picture[..., 0] > picture[..., 1]).any() for picture in pictures), "nothing is drawn"


def keep(name: str, before: dict, after: dict) -> None:
    """Write classic and enhanced side by side into the folder GATEWAY_PICTURES, if somebody wants to look."""
    folder = os.environ.get("GATEWAY_PICTURES")
    for number, key in enumerate(before if folder else ()):
        save(np.concatenate([before[key], after[key]], axis=1), Path(folder) / f"{name}-{number}.png")
