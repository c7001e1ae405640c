"""One Pixel Padding Value for the frames of an object, whatever their sources used (PS3.4 C.3.5 note 2).

Pixels that are a frame's own padding become that of the object. So that padding and pixels can still be told apart,
no real pixel of the frame may have that value already, which only the pixels themselves can tell; frames where one has
go to another object.
"""

from __future__ import annotations

import array
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from gateway.conversion.facts import Facts
from gateway.conversion.pixels import steps
from gateway.conversion.planned import Unplannable
from gateway.errors import GatewayError
from gateway.objects.part10 import DEFLATED
from gateway.objects.recipe import frame_bytes
from gateway.objects.transforms import transformed


def padded_alike(frames: Sequence[Facts]) -> Iterator[tuple[list[Facts], int | None]]:
    """Yield frames that can have one padding value, with that value; frames keep their order.

    Parameters
    ----------
    frames : sequence of Facts
        Sources whose pixels are of one family.
    """
    left = list(frames)
    while left:
        counts = Counter(padding for fact in left if (padding := _own(fact)) is not None)
        if not counts:
            yield left, None
            return
        # The one that most frames have leaves most pixels as they are.
        value = min(counts, key=lambda padding: (-counts[padding], padding))
        agreed = len(counts) == 1 and counts[value] == len(left)
        fitting = left if agreed else [fact for fact in left if _own(fact) == value or not _occurs(value, fact)]
        yield fitting, value
        chosen = {fact.name for fact in fitting}
        left = [fact for fact in left if fact.name not in chosen]


def _own(fact: Facts) -> int | None:
    return fact.description.padding_after


def _occurs(value: int, fact: Facts) -> bool:
    """Tell whether a pixel of a frame has a value, as the object would hold it."""
    return value in stored_values(fact)


def stored_values(fact: Facts) -> array.array:
    """Return the stored values of a native frame as an object would hold them, 16 bits each.

    Raises
    ------
    Unplannable
        If they cannot be read.
    """
    assert fact.pixels is not None
    own = fact.description
    wide = replace(
        own, syntax="native", photometric="MONOCHROME2", allocated=16, stored=16, padding=own.padding_after,
        overlay_bits=False,
    )  # fmt: skip
    deflated = fact.transfer_syntax == DEFLATED
    try:
        data = frame_bytes(fact.path, fact.pixels.offset, own.length_read, deflated=deflated)
    except (GatewayError, OSError) as error:
        raise Unplannable(fact.name, str(error)) from error
    pixels = array.array("h" if own.signed else "H", transformed(data, steps(own, wide)))
    if sys.byteorder == "big":
        pixels.byteswap()
    return pixels
