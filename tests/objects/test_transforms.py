"""Transforms of pixels against a computation pixel by pixel."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ObjectError
from gateway.objects.transforms import checked, transformed, transformed_length

_pixels = st.lists(st.integers(0, 0xFFFF) | st.sampled_from([0, 1, 0x7FFF, 0x8000, 0x0FFF, 0xF000, 0xFFFF]), max_size=9)
_bits = st.integers(1, 16)


def _bytes(pixels: list[int], width: int = 16) -> bytes:
    return struct.pack(f"<{len(pixels)}{'H' if width == 16 else 'B'}", *(pixel % (1 << width) for pixel in pixels))


def _each(pixels: list[int], width: int, what: Callable[[int], int]) -> bytes:
    return _bytes([what(pixel % (1 << width)) for pixel in pixels], width)


_widths = st.sampled_from([8, 16])


@given(_pixels)
def test_swap(pixels: list[int]) -> None:
    assert transformed(_bytes(pixels), [("swap", 2)]) == struct.pack(f">{len(pixels)}H", *pixels)
    assert transformed(_bytes(pixels * 2), [("swap", 4)]) == b"".join(
        _bytes((pixels * 2)[n : n + 2])[::-1] for n in range(0, 2 * len(pixels), 2)
    )


@given(_pixels, _widths, _bits)
def test_mask(pixels: list[int], width: int, bits: int) -> None:
    bits = min(bits, width)
    assert transformed(_bytes(pixels, width), [("mask", width, bits)]) == _each(
        pixels, width, lambda pixel: pixel % (1 << bits)
    )


@given(_pixels, _widths, _bits)
def test_sign(pixels: list[int], width: int, bits: int) -> None:
    bits = min(bits, width)

    def value(pixel: int) -> int:
        low = pixel % (1 << bits)
        return low - (1 << bits) if low >= 1 << bits - 1 else low

    assert transformed(_bytes(pixels, width), [("sign", width, bits)]) == _each(pixels, width, value)


@given(_pixels, _widths, st.integers(-7, 7))
def test_shift(pixels: list[int], width: int, by: int) -> None:
    wanted = _each(pixels, width, lambda pixel: pixel // (1 << by) if by >= 0 else pixel * (1 << -by))
    assert transformed(_bytes(pixels, width), [("shift", width, by)]) == wanted


@given(_pixels)
def test_widen_and_narrow(pixels: list[int]) -> None:
    narrow = _bytes(pixels, 8)
    wide = transformed(narrow, [("widen",)])
    assert wide == _bytes([pixel % 256 for pixel in pixels])
    assert transformed(wide, [("narrow",)]) == narrow
    assert transformed(_bytes(pixels), [("narrow",)]) == narrow


@given(_pixels, _widths, _bits)
def test_invert(pixels: list[int], width: int, bits: int) -> None:
    bits = min(bits, width)

    def other(pixel: int) -> int:
        low = pixel % (1 << bits)
        return pixel - low + (1 << bits) - 1 - low

    assert transformed(_bytes(pixels, width), [("invert", width, bits)]) == _each(pixels, width, other)


@given(st.data(), _pixels, _widths)
def test_replace(data: st.DataObject, pixels: list[int], width: int) -> None:
    old = data.draw(st.sampled_from(pixels) if pixels else st.just(7)) % (1 << width)
    new = data.draw(st.integers(0, (1 << width) - 1))
    wanted = _each(pixels, width, lambda pixel: new if pixel == old else pixel)
    assert transformed(_bytes(pixels, width), [("replace", width, old, new)]) == wanted


@given(_pixels, st.integers(0, 4))
def test_lengths_are_known_before(pixels: list[int], count: int) -> None:
    for steps in (
        [("swap", 2), ("widen",)],
        [("first", count), ("mask", 8, 4), ("widen",)],
        [("narrow",)],
        [("invert", 16, 12), ("replace", 16, 0, 1)],
    ):
        data = _bytes([*pixels, 0, 0])
        assert transformed_length(len(data), steps) == len(transformed(data, steps))


def test_unknown_steps_are_refused() -> None:
    assert checked([["mask", 16, 12], ["widen"]]) == (("mask", 16, 12), ("widen",))
    with pytest.raises(ObjectError, match="unknown"):
        checked([["blur", 3]])
    with pytest.raises(ObjectError, match="unknown"):
        checked([["mask", 16]])
