"""The proof of pixels: each frame of the stream has the stored values of its source file, and they mean the same.

Frames that the recipe passes on as they are have to be the bytes of their source. Of transformed ones the stored
values are worked out from what either header says, pixel by pixel, by other means than the transforms use, and what
was inverted has to give the same rescaled values.
"""

from __future__ import annotations

import array
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from gateway.conversion.pixels import BY_PLANE
from gateway.errors import ConversionError
from gateway.objects.elements import DataSet, integer, items, raw, text
from gateway.objects.part10 import Header
from gateway.objects.recipe import Recipe, frame_bytes

_AS_THEY_ARE = (
    "Rows", "Columns", "SamplesPerPixel", "PixelAspectRatio", "PixelRepresentation"
)  # fmt: skip
_ENCODING = ("PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit")


def check_pixels(
    recipe: Recipe, number: int, pieces: Callable[[int], Iterator[bytes]], source: Header, top: DataSet, groups: DataSet
) -> None:
    """Compare the next frame of the stream with the pixel data of its source file, as a fresh reading finds them.

    Parameters
    ----------
    recipe : Recipe
        The object.
    number : int
        Number of the frame, from 1.
    pieces : callable
        Yields that many next bytes of the stream.
    source : Header
        Of the source file.
    top, groups : DataSet
        Top level of the object, and the functional groups of the frame, shared ones included.
    """
    where = f"{recipe.sop_instance} frame {number}"
    for keyword in _AS_THEY_ARE:
        if raw(source.dataset, keyword) != raw(top, keyword):
            raise ConversionError(where, f"{keyword} is not that of its source")
    if recipe.segments[number][0] == "f":
        _same_bytes(where, pieces, source, top)
    else:
        _same_values(where, pieces, source, top, groups)


def _same_bytes(where: str, pieces: Callable[[int], Iterator[bytes]], source: Header, top: DataSet) -> None:
    """Compare bytes where both headers say the same of them."""
    pixels = source.pixels
    assert pixels is not None
    differing = [keyword for keyword in _ENCODING if raw(source.dataset, keyword) != raw(top, keyword)]
    if differing or _words_turned(source) or source.deflated:
        raise ConversionError(where, f"{', '.join(differing) or 'its encoding'} is not that of its source")
    if pixels.fragments:
        begin, last = pixels.fragments[0][0] - 8, pixels.fragments[-1]
        length = last[0] + last[1] - begin
    else:
        begin, length = pixels.offset, _Pixels.of(top).length
    own = raw(source.dataset, "PixelPaddingValue") == raw(top, "PixelPaddingValue")
    held = bytearray()
    with open(source.path, "rb", buffering=0) as file:
        file.seek(begin)
        for piece in pieces(length):
            if file.read(len(piece)) != piece:
                raise ConversionError(where, "has other pixels than its source")
            if not own:
                held += piece
    if not own:
        expected = _expected(_Pixels.of(source.dataset), _Pixels.of(top))
        if any(expected[word] == _NEVER for word in _words(bytes(held), _Pixels.of(top))):
            raise ConversionError(where, "has pixels that became padding", found=_Pixels.of(top).padding)


def _words_turned(source: Header) -> bool:
    """Tell whether bytes stand in the order of big endian words, as those of 8 bit pixels in OW do too (PS3.5 8.2)."""
    assert source.pixels is not None
    return source.big_endian and (integer(source.dataset, "BitsAllocated") != 8 or source.pixels.vr == "OW")


class _Pixels(NamedTuple):
    """What a header says of how pixels are stored."""

    size: int
    allocated: int
    stored: int
    high: int
    signed: bool
    inverted: bool
    padding: int | None

    @classmethod
    def of(cls, ds: DataSet) -> _Pixels:
        allocated, stored, high = (integer(ds, keyword) or 0 for keyword in ("BitsAllocated", "BitsStored", "HighBit"))
        count = 1
        for keyword in ("Rows", "Columns", "SamplesPerPixel"):
            count *= integer(ds, keyword) or 0
        signed = integer(ds, "PixelRepresentation") == 1
        padding = raw(ds, "PixelPaddingValue")
        return cls(
            count,
            allocated,
            stored,
            high,
            signed,
            text(ds, "PhotometricInterpretation") == "MONOCHROME1",
            int.from_bytes(padding, "little", signed=signed) if padding else None,
        )

    @property
    def length(self) -> int:
        return self.size * self.allocated // 8

    def value(self, word: int) -> int:
        """Return the stored value in the bits of one pixel (PS3.5 8.1.1)."""
        value = word // 2 ** (self.high + 1 - self.stored) % 2**self.stored
        return value - 2**self.stored if self.signed and value >= 2 ** (self.stored - 1) else value

    def opposite(self, value: int) -> int:
        """Return the value as far from the largest as `value` is from the smallest."""
        return -1 - value if self.signed else 2**self.stored - 1 - value


# What no pixel can be.
_NEVER = 1 << 20


@lru_cache(maxsize=8)
def _values(pixels: _Pixels) -> array.array:
    """Return the stored value of every word that a pixel can be."""
    return array.array("i", map(pixels.value, range(2**pixels.allocated)))


@lru_cache(maxsize=8)
def _expected(source: _Pixels, target: _Pixels) -> array.array:
    """Return what every word of the source has to be in the object; `_NEVER` where it cannot be told from padding."""
    padding = source.padding
    inverted = source.inverted != target.inverted
    if padding is not None and inverted:
        padding = source.opposite(padding)
    found = array.array("i")
    for value in _values(source):
        wanted = source.opposite(value) if inverted else value
        if padding is not None and wanted == padding:
            found.append(_NEVER if target.padding is None else target.padding)
        else:
            found.append(_NEVER if wanted == target.padding else wanted)
    return found


def _words(data: bytes, pixels: _Pixels, *, big_endian: bool = False) -> array.array:
    words = array.array("B" if pixels.allocated == 8 else "H", data)
    if pixels.allocated > 8 and big_endian != (sys.byteorder == "big"):
        words.byteswap()
    return words


def _same_values(
    where: str, pieces: Callable[[int], Iterator[bytes]], source: Header, top: DataSet, groups: DataSet
) -> None:
    """Compare stored values, and what they mean."""
    assert source.pixels is not None
    one = _Pixels.of(source.dataset)
    length = one.length + one.length % 2 if _words_turned(source) else one.length
    data = frame_bytes(source.path, source.pixels.offset, length, deflated=source.deflated)
    if _words_turned(source):
        turned = bytearray(length)
        turned[::2], turned[1::2] = data[1::2], data[::2]
        data = bytes(turned[: one.length])
    if one.padding is not None and raw(top, "PixelPaddingValue") == b"":
        raise ConversionError(where, "Pixel Padding Value was lost")
    check_same_values(where, source.dataset, data, top, b"".join(pieces(native_length(top))))
    if one.inverted:
        _check_rescale(where, source.dataset, groups, one)


def native_length(ds: DataSet) -> int:
    """Return the number of bytes of a native frame."""
    return _Pixels.of(ds).length


def same_pixel_encoding(header: Header, image: DataSet) -> bool:
    """Tell whether the pixels of an object are encoded as those of a little endian classic image, padding included."""
    return not header.big_endian and all(
        raw(header.dataset, keyword) == raw(image, keyword) for keyword in (*_ENCODING, "PixelPaddingValue")
    )


def check_same_values(
    where: str, image: DataSet, was: bytes, top: DataSet, now: bytes, *, big_endian: bool = False
) -> None:
    """Check that a frame of an object has the stored values of a little endian classic image.

    Parameters
    ----------
    where : str
        Frame and object.
    image, top : DataSet
        What the classic image and the object say of their pixels.
    was, now : bytes
        The pixels of the one and of the other.
    big_endian : bool
        Byte order of the object.

    Raises
    ------
    ConversionError
        If a value differs that is neither inverted nor padding.
    """
    one, other = _Pixels.of(image), _Pixels.of(top)
    if one.allocated not in (8, 16) or other.allocated not in (8, 16):
        raise ConversionError(where, "has pixels that cannot be compared", found=other.allocated)
    if (planes := raw(image, "PlanarConfiguration")) != raw(top, "PlanarConfiguration"):
        _check_planes(where, image, was, now, planes == BY_PLANE)
        return
    # Pixels that only now are padding are expected to be what no value is.
    expected, values = _expected(one, other), _values(other)
    before, after = _words(was, one), _words(now, other, big_endian=big_endian)
    if len(before) != len(after) or any(
        expected[pair & 0xFFFF] != values[pair >> 16] for pair in _pairs(before, after)
    ):
        raise ConversionError(where, "has other pixels than its source")


def _check_planes(where: str, image: DataSet, was: bytes, now: bytes, by_plane: bool) -> None:
    """Compare samples of 8 bits whose order alone is another (C.7.6.3.1.3): each plane is a stride of the pixels."""
    samples = integer(image, "SamplesPerPixel") or 1
    planes, pixels = (was, now) if by_plane else (now, was)
    size = len(planes) // samples
    same = len(planes) == len(pixels) and all(
        planes[sample * size : (sample + 1) * size] == pixels[sample::samples] for sample in range(samples)
    )
    if not same or text(image, "PhotometricInterpretation") != "RGB" or integer(image, "BitsAllocated") != 8:
        raise ConversionError(where, "has other pixels than its source")


def _pairs(before: array.array, after: array.array) -> set[int]:
    """Return what becomes of what: every pair of words that stand at one place, the second in the upper 16 bits.

    A frame has few of them, so that what they mean is worked out for these alone.
    """
    both = bytearray(4 * len(before))
    for words, first in ((before, 0), (after, 2)):
        data = words.tobytes()
        for byte in range(words.itemsize):
            place = byte if sys.byteorder == "little" else words.itemsize - 1 - byte
            both[first + byte :: 4] = data[place :: words.itemsize]
    found = array.array("I", bytes(both))
    if sys.byteorder == "big":
        found.byteswap()
    return set(found)


def _check_rescale(where: str, source: DataSet, groups: DataSet, pixels: _Pixels) -> None:
    """Check that inverted values are rescaled to what the source's were (C.7.6.16.2.9): two points fix a line."""
    group = items(groups, "PixelValueTransformationSequence")
    if len(group) != 1:
        raise ConversionError(where, "has inverted pixels and no Pixel Value Transformation")
    for value in (0, 1):
        if _rescaled(source, value) != _rescaled(group[0], pixels.opposite(value)):
            raise ConversionError(where, "Rescale Slope and Intercept do not fit the inverted pixels")


def _rescaled(ds: DataSet, value: int) -> Fraction:
    return Fraction(text(ds, "RescaleSlope", "1")) * value + Fraction(text(ds, "RescaleIntercept", "0"))
