"""Named transforms on the bytes of one native frame, as recipes state them (PS3.5 8.1, 8.2, 7.3; PS3.4 C.3.5).

A step is a name and whole numbers: ``("mask", 16, 12)``. Steps are data, so that a recipe says what was done and a
reader can undo it. Pixels are little endian unless the first step turns their bytes round. A frame is worked on as one
large number with a pixel in each of its lanes: no pixel is ever looked at alone.

=====================  =============================================================================================
``swap, size``          byte order of words of `size` bytes
``first, count``        only the first `count` bytes: what stands behind them is padding
``shift, width, by``    towards the low end by `by` bits, towards the high end where `by` is negative
``mask, width, bits``   bits above the lowest `bits` become zero: zero-extension
``sign, width, bits``   bits above the lowest `bits` become that of the sign: sign-extension
``widen``               8 bits to 16, the new ones zero
``narrow``              16 bits to 8, the high ones dropped
``invert, width, bits`` complement of the lowest `bits` bits: ``2**bits - 1 - value``, or ``-1 - value`` of signed ones
``replace, width, a, b`` pixels that are `a` become `b`, both as the `width` bits that are in the frame
``by_pixel, count``     planes of `count` samples of 8 bits become pixels, their samples side by side (C.7.6.3.1.3)
``by_plane, count``     the other way round
=====================  =============================================================================================

`width` is Bits Allocated, 8 or 16.
"""

from __future__ import annotations

import array
from collections.abc import Callable, Sequence
from functools import lru_cache

from gateway.errors import ObjectError

Step = tuple  # (name, *parameters)


@lru_cache(maxsize=8)
def _lanes(value: int, width: int, size: int) -> int:
    """Return the number that has `value` in each lane of `width` bits of `size` bytes."""
    lane = value.to_bytes(width // 8, "little")
    return int.from_bytes(lane * (size // len(lane)), "little")


def _swap(data: bytes, size: int) -> bytes:
    words = array.array({2: "H", 4: "I"}[size], data)
    words.byteswap()
    return words.tobytes()


def _first(data: bytes, count: int) -> bytes:
    return data[:count]


def _shift(data: bytes, width: int, by: int) -> bytes:
    full = (1 << width) - 1
    pixels = int.from_bytes(data, "little")
    if by >= 0:
        moved = pixels >> by & _lanes(full >> by, width, len(data))
    else:
        moved = (pixels & _lanes(full >> -by, width, len(data))) << -by
    return moved.to_bytes(len(data), "little")


def _mask(data: bytes, width: int, bits: int) -> bytes:
    pixels = int.from_bytes(data, "little") & _lanes((1 << bits) - 1, width, len(data))
    return pixels.to_bytes(len(data), "little")


def _sign(data: bytes, width: int, bits: int) -> bytes:
    low = (1 << bits) - 1
    pixels = int.from_bytes(data, "little")
    negative = (pixels & _lanes(1 << bits - 1, width, len(data))) >> bits - 1
    extended = pixels & _lanes(low, width, len(data)) | negative * ((1 << width) - 1 - low)
    return extended.to_bytes(len(data), "little")


def _widen(data: bytes) -> bytes:
    wide = bytearray(2 * len(data))
    wide[::2] = data
    return bytes(wide)


def _narrow(data: bytes) -> bytes:
    return data[::2]


def _invert(data: bytes, width: int, bits: int) -> bytes:
    pixels = int.from_bytes(data, "little") ^ _lanes((1 << bits) - 1, width, len(data))
    return pixels.to_bytes(len(data), "little")


def _replace(data: bytes, width: int, old: int, new: int) -> bytes:
    high = 1 << width - 1
    pixels = int.from_bytes(data, "little")
    other = pixels ^ _lanes(old, width, len(data))
    # The highest bit of a lane of `different` is set where any bit of the pixel differs; no carry leaves its lane.
    low = _lanes(high - 1, width, len(data))
    different = ((other & low) + low | other) & _lanes(high, width, len(data))
    found = (different ^ _lanes(high, width, len(data))) >> width - 1
    return (pixels ^ found * (old ^ new)).to_bytes(len(data), "little")


def _by_pixel(data: bytes, count: int) -> bytes:
    found, plane = bytearray(len(data)), len(data) // count
    for sample in range(count):
        found[sample::count] = data[sample * plane : (sample + 1) * plane]
    return bytes(found)


def _by_plane(data: bytes, count: int) -> bytes:
    return b"".join(data[sample::count] for sample in range(count))


# What each step is: the function, how many parameters it has, and how many halves of its input come out.
_STEPS: dict[str, tuple[Callable[..., bytes], int, int]] = {
    "swap": (_swap, 1, 2),
    "first": (_first, 1, 2),
    "shift": (_shift, 2, 2),
    "mask": (_mask, 2, 2),
    "sign": (_sign, 2, 2),
    "widen": (_widen, 0, 4),
    "narrow": (_narrow, 0, 1),
    "invert": (_invert, 2, 2),
    "replace": (_replace, 3, 2),
    "by_pixel": (_by_pixel, 1, 2),
    "by_plane": (_by_plane, 1, 2),
}


def checked(steps: Sequence[Sequence]) -> tuple[Step, ...]:
    """Return steps as tuples, as they are after a way through JSON.

    Raises
    ------
    ObjectError
        If a step has an unknown name or a wrong number of parameters.
    """
    for name, *parameters in steps:
        if name not in _STEPS or len(parameters) != _STEPS[name][1]:
            raise ObjectError("transform", "is unknown", found=f"{name} {parameters}", expected=", ".join(_STEPS))
    return tuple(map(tuple, steps))


def transformed_length(length: int, steps: Sequence[Step]) -> int:
    """Return how many bytes `length` bytes become."""
    for name, *parameters in steps:
        length = min(length, parameters[0]) if name == "first" else length * _STEPS[name][2] // 2
    return length


def transformed(data: bytes, steps: Sequence[Step]) -> bytes:
    """Return the bytes of a frame after `steps`, in order."""
    for name, *parameters in steps:
        data = _STEPS[name][0](data, *parameters)
    return data
