"""The proof of pixels: each frame of the stream is that of its source file."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gateway.conversion.facts import Facts
from gateway.errors import ConversionError
from gateway.objects.part10 import PixelData
from gateway.objects.recipe import Recipe


def check_pixels(
    recipe: Recipe, number: int, pieces: Callable[[int], Iterator[bytes]], fact: Facts, pixels: PixelData
) -> None:
    """Compare the next frame of the stream with the pixel data of its source file, as a fresh reading finds them."""
    if pixels.fragments:
        begin, last = pixels.fragments[0][0] - 8, pixels.fragments[-1]
        length = last[0] + last[1] - begin
    else:
        begin, length = pixels.offset, fact.frame_length
    with open(fact.path, "rb", buffering=0) as file:
        file.seek(begin)
        for piece in pieces(length):
            if file.read(len(piece)) != piece:
                raise ConversionError(f"{recipe.sop_instance} frame {number}", "has other pixels than its source")
