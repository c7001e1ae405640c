"""The proof that a conversion loses nothing, on the very bytes that will be sent.

The stream of the new object is parsed again; every frame is unfolded and compared with a fresh reading of its source
file, element by element and pixel byte by pixel byte. What was planned, built or held in memory for that is not used:
the proof has a reader of its own, which takes every byte of every source's header from its file, and leaves out a
comparison only where it has made the very same one for the frame before. What may differ is the list at the end of
REQUIREMENTS: identity, Query/Retrieve View, Contributing Equipment, Conversion Source, rewritten references, empty
attributes, encodings of lengths, character sets and private blocks, signatures, concatenations.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from gateway.conversion.facts import Facts
from gateway.conversion.layout_proof import check_frame, check_top
from gateway.conversion.overlays import presentation_tags
from gateway.conversion.proof_elements import Elements
from gateway.conversion.proof_pixels import check_pixels
from gateway.conversion.proof_references import Reading
from gateway.conversion.references import Became
from gateway.conversion.unfold import Unfolding
from gateway.errors import ConversionError, ObjectError
from gateway.objects.alike import HeaderReader
from gateway.objects.digest import Digest
from gateway.objects.elements import DataSet, integer, items, tag_of, tag_text
from gateway.objects.parse import ITEM, SEQUENCE_END, Syntax, parse_dataset
from gateway.objects.recipe import PER_FRAME_START, Recipe
from gateway.objects.stream import Sink, Taker

SHARED = tag_of("SharedFunctionalGroupsSequence")
STATES = tag_of("ReferencedPresentationStateSequence")


def prove(
    recipe: Recipe,
    frames: Sequence[Facts],
    became: Became,
    locate: Callable[[str], Path],
    sink: Sink | None = None,
) -> str:
    """Check that all of the sources can be got back from a recipe's stream.

    Parameters
    ----------
    recipe : Recipe
        The object to check.
    frames : sequence of Facts
        Its sources in frame order.
    became : Became
        The reference map the object was built with.
    locate : callable
        Where a source file is.
    sink : Sink, optional
        Takes the very bytes that are checked, before it is known whether all is well.

    Returns
    -------
    str
        BLAKE3-128 of the stream, in hexadecimal; what `sink` says if there is one.

    Raises
    ------
    ConversionError
        If anything of a source is missing or different.
    """
    try:
        with open(recipe.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as header:
            stream = _Stream(recipe, locate, Digest() if sink is None else sink)
            return _prove(recipe, header, stream, frames, became)
    except (ObjectError, struct.error, ValueError, IndexError, OSError) as error:
        raise ConversionError(recipe.sop_instance, f"cannot be read back: {error}") from error


def _prove(recipe: Recipe, header: mmap.mmap, stream: _Stream, frames: Sequence[Facts], became: Became) -> str:
    position = 0
    for piece in stream.pieces(recipe.header_length):
        # What is parsed below are the bytes of the stream, though they are not held as a whole.
        if header[position : position + len(piece)] != piece:
            raise ConversionError(recipe.sop_instance, "has another header in its stream than in its file")
        position += len(piece)
    top, groups_at = _top_level(header, recipe)
    referring = any(fact.references or fact.other_references for fact in frames)
    reading = Reading(became if referring else {}, merged=False)
    shared = items(top, SHARED)[0]
    unfolding, elements = Unfolding(top, shared), Elements(recipe, reading)
    check_top(recipe.sop_instance, top, shared, frames[0])
    read = HeaderReader()
    number = 0
    for number, (fact, item) in enumerate(zip(frames, _frame_items(header, groups_at), strict=True), 1):
        source = read(fact.path)
        check_frame(recipe.sop_instance, number, item)
        if presentation_tags(source.dataset) and not items(top, STATES):
            raise ConversionError(recipe.sop_instance, f"names no presentation state for what frame {number} shows")
        elements.check(number, source.dataset, unfolding.frame(item))
        check_pixels(recipe, number, stream.pieces, source, top, shared | item)
    if number != len(frames) or integer(top, "NumberOfFrames") != number:
        raise ConversionError(recipe.sop_instance, "has a wrong number of frames", found=number)
    stream.finish()
    return stream.sink.hexdigest()


class _Stream:
    """The bytes of a recipe in order, handed on as they pass."""

    def __init__(self, recipe: Recipe, locate: Callable[[str], Path], sink: Taker) -> None:
        source = recipe.source(locate)
        self.length = source.length
        self.sink = sink
        self._chunks = iter(source.chunks())
        self._left = b""

    def pieces(self, count: int) -> Iterator[bytes]:
        """Yield the next `count` bytes."""
        while count:
            if not self._left:
                self._left = next(self._chunks, b"")
                if not self._left:
                    raise ConversionError("stream", "ends too early", found=f"{count} bytes are missing")
                self.sink.update(self._left)
                self.length -= len(self._left)
            piece, self._left = self._left[:count], self._left[count:]
            count -= len(piece)
            yield piece

    def finish(self) -> None:
        """Read what is left behind the last frame."""
        self._left = b""
        for chunk in self._chunks:
            self.sink.update(chunk)
            self.length -= len(chunk)
        if self.length:
            raise ConversionError("stream", "has another length than announced", found=self.length)


def _top_level(header: mmap.mmap, recipe: Recipe) -> tuple[DataSet, int]:
    """Return the elements before the per-frame groups and the offset of the first frame's item."""
    position = header.find(PER_FRAME_START)
    if position < 0:
        raise ConversionError(recipe.sop_instance, "has no per-frame functional groups")
    top, _ = parse_dataset(header, 0, position, Syntax())
    return top, position + len(PER_FRAME_START)


def _frame_items(header: mmap.mmap, position: int) -> Iterator[DataSet]:
    """Yield the items of the Per-Frame Functional Groups Sequence, one at a time."""
    syntax = Syntax()
    while True:
        group, number = syntax.tag(header, position)
        length = syntax.long(header, position + 4)[0]
        position += 8
        if group << 16 | number == SEQUENCE_END:
            return
        if group << 16 | number != ITEM:
            raise ConversionError("per-frame functional groups", "are broken", found=tag_text(group << 16 | number))
        yield parse_dataset(header, position, position + length, syntax)[0]
        position += length
