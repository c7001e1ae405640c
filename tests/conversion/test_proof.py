"""The proof has teeth: whatever is wrong with an object, it does not leave (promise 3)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conversion.material import Conversion, convert, made_of, reference, save_all, series_of
from pydicom.dataset import Dataset

from gateway.conversion.facts import Facts
from gateway.conversion.proof import prove
from gateway.conversion.references import Target
from gateway.errors import ConversionError
from gateway.objects.recipe import Recipe


def _private(ds: Dataset) -> None:
    block = ds.private_block(0x0019, "ACME", create=True)
    block.add_new(0x01, "LO", f"value {ds.InstanceNumber}")
    ds.ReferencedImageSequence = [reference(series_of(series="1.2.3")[0])]


@pytest.fixture
def made(tmp_path: Path) -> Conversion:
    return made_of(series_of(change=_private), tmp_path)


def _prove(made: Conversion, recipe: Recipe | None = None, frames: list[Facts] | None = None, **targets: Target) -> str:
    converted = made.result.objects[0]
    paths = {fact.name: fact.path for fact in made.facts}
    return prove(recipe or converted.recipe, frames or converted.planned.frames, targets, lambda name: paths[name])


def _patched(made: Conversion, change: Callable[[bytearray], None]) -> Recipe:
    recipe = made.result.objects[0].recipe
    content = bytearray(recipe.path.read_bytes())
    change(content)
    recipe.path.write_bytes(content)
    return recipe


def test_an_untouched_object_is_proved_with_the_digest_it_was_sealed_with(made: Conversion) -> None:
    assert _prove(made) == made.result.objects[0].recipe.digest


@pytest.mark.parametrize(
    "known",
    [b"Doe^J\xf6rg", b"value 2 ", b"ACME", b"B30 ", b"1.2.826.0.1.3680043.8.498.1.1.2", b"A1", b"-1024 ", b"1.2.3.1"],
)
def test_a_changed_byte_of_a_value_is_found(made: Conversion, known: bytes) -> None:
    def change(content: bytearray) -> None:
        assert known in content
        content[content.rindex(known)] ^= 1

    with pytest.raises(ConversionError):
        _prove(made, _patched(made, change))


def test_a_changed_byte_anywhere_is_found_or_changes_the_digest(made: Conversion) -> None:
    recipe = made.result.objects[0].recipe
    pristine = recipe.path.read_bytes()
    refused = 0
    for position in range(0, recipe.header_length, 7):
        content = bytearray(pristine)
        content[position] ^= 0x10
        recipe.path.write_bytes(content)
        try:
            assert _prove(made, recipe) != recipe.digest, position
        except ConversionError:
            refused += 1
    assert refused > recipe.header_length / 7 / 4


@pytest.mark.parametrize("segment", [("f", 1, 0, 128), ("f", 0, 900, 128), ("f", 1, 10**6, 128), ("f", 1, 900, 10**6)])
def test_a_segment_elsewhere_is_found(made: Conversion, segment: tuple) -> None:
    recipe = made.result.objects[0].recipe
    segments = list(recipe.segments)
    segments[2] = segment
    with pytest.raises(ConversionError):
        _prove(made, replace(recipe, segments=tuple(segments)))


def test_a_missing_segment_is_found(made: Conversion) -> None:
    recipe = made.result.objects[0].recipe
    with pytest.raises(ConversionError):
        _prove(made, replace(recipe, segments=recipe.segments[:-1]))


def test_swapped_pixels_are_found(made: Conversion) -> None:
    recipe = made.result.objects[0].recipe
    head, one, two, three = recipe.segments
    with pytest.raises(ConversionError, match="pixels"):
        _prove(made, replace(recipe, segments=(head, two, one, three)))


def test_swapped_frames_are_found(made: Conversion) -> None:
    frames = made.result.objects[0].planned.frames
    with pytest.raises(ConversionError):
        _prove(made, frames=[frames[1], frames[0], frames[2]])


def test_a_frame_too_many_or_too_few_is_found(made: Conversion) -> None:
    frames = made.result.objects[0].planned.frames
    for wrong in (frames[:2], [*frames, frames[0]]):
        with pytest.raises(ConversionError):
            _prove(made, frames=wrong)


def test_a_source_that_changed_on_disk_is_found(made: Conversion) -> None:
    path = made.facts[1].path
    content = bytearray(path.read_bytes())
    content[content.index(b"Doe^J")] ^= 1
    path.write_bytes(content)
    with pytest.raises(ConversionError, match=r"\(0010,0010\)"):
        _prove(made)


def test_a_missing_private_element_is_found(made: Conversion) -> None:
    def change(content: bytearray) -> None:
        at = content.index(b"value 2 ") - 8
        assert struct.unpack_from("<HH", content, at) == (0x0019, 0x1001)
        struct.pack_into("<HH", content, at, 0x0019, 0x1002)

    with pytest.raises(ConversionError, match=r"\(0019,1001\) cannot be got back"):
        _prove(made, _patched(made, change))


def test_a_reference_to_something_else_is_found(tmp_path: Path) -> None:
    targets = series_of("MR", series="1.2.3")
    sources = series_of(change=[{"ReferencedImageSequence": [reference(targets[n])]} for n in range(3)])
    made = convert(save_all([*targets, *sources], tmp_path / "in"), tmp_path / "out")
    converted = next(one for one in made.result.objects if one.planned.modality == "CT")
    (mr,) = (one for one in made.result.objects if one.planned.modality == "MR")
    paths = {fact.name: fact.path for fact in made.facts}
    right = {
        fact.sop_instance: Target(mr.planned.sop_class, mr.planned.sop_instance, mr.planned.series, fact.study, number)
        for number, fact in enumerate(mr.planned.frames, 1)
    }
    assert prove(converted.recipe, converted.planned.frames, right, paths.__getitem__) == converted.recipe.digest
    first, second = targets[0].SOPInstanceUID, targets[1].SOPInstanceUID
    wrong = right | {first: right[second], second: right[first]}
    with pytest.raises(ConversionError, match=r"\(0008,1140\)"):
        prove(converted.recipe, converted.planned.frames, wrong, paths.__getitem__)
