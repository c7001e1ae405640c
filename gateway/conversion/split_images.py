"""Classic images that a scanner has split off an enhanced object of its own, which is held beside them (G23).

Siemens "syngo XA" exports both: the classic images have MFSPLIT in Image Type and name the series of the enhanced
object in Related Series Sequence (purpose 121326, DCM). They are not converted again if that object is held whole: each
of its frames has one image with its position, its orientation and its pixels. Otherwise they convert as usual.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from gateway.conversion.dimensions import SAME_POSITION, one_orientation
from gateway.conversion.facts import Facts
from gateway.conversion.multiframe import MultiFrame
from gateway.conversion.pixels import NATIVE
from gateway.errors import GatewayError
from gateway.objects.digest import Digest
from gateway.objects.elements import DataSet, items, numbers
from gateway.objects.part10 import DEFLATED, EXPLICIT_BIG
from gateway.objects.recipe import frame_bytes
from gateway.standard.sop_classes import CONVERSIONS, ENHANCED_CLASSES

# Syntaxes whose frames can be compared byte by byte.
_COMPARABLE = frozenset(NATIVE) - {DEFLATED, EXPLICIT_BIG}


def with_split_images(facts: Sequence[Facts]) -> list[Facts]:
    """Return the facts; an enhanced object that images were split off names them as what its frames were made of.

    Parameters
    ----------
    facts : sequence of Facts
        What is planned together.
    """
    split: dict[str, list[Facts]] = defaultdict(list)
    for fact in facts:
        if fact.split_of and not fact.reason and fact.transfer_syntax in _COMPARABLE:
            split[fact.split_of].append(fact)
    return [
        replace(fact, conversion_sources=_sources(fact, split[fact.series])) if _may_be_whole(fact, split) else fact
        for fact in facts
    ]


def _may_be_whole(fact: Facts, split: dict[str, list[Facts]]) -> bool:
    enhanced = fact.sop_class in ENHANCED_CLASSES and not fact.conversion_sources
    return enhanced and fact.series in split and fact.transfer_syntax in _COMPARABLE


def _sources(fact: Facts, images: Sequence[Facts]) -> tuple[str, ...]:
    """Return the image of each frame in order; nothing unless each frame has exactly one, and no two the same."""
    images = [one for one in images if one.study == fact.study and CONVERSIONS[one.modality].enhanced == fact.sop_class]
    try:
        by_pixels: dict[bytes, list[Facts]] = defaultdict(list)
        for one in images:
            by_pixels[_digest(one)].append(one)
        found = []
        for position, orientation, digest in _frames(fact):
            fitting = [
                one
                for one in by_pixels.get(digest, ())
                if one_orientation(one.orientation, orientation) and _near(one.position, position)
            ]
            if len(fitting) != 1:
                return ()
            found.append(fitting[0].sop_instance)
    except (GatewayError, OSError, ValueError):
        return ()  # what cannot be compared is no twin
    return tuple(found) if len(set(found)) == len(found) else ()


def _frames(fact: Facts) -> Iterator[tuple[tuple[float, ...], tuple[float, ...], bytes]]:
    """Yield position, orientation and digest of the pixels of each frame."""
    frames = MultiFrame(fact.path)
    with open(fact.path, "rb") as file:
        for groups, (offset, length) in zip(frames.frames(), frames.ranges, strict=True):
            file.seek(offset)
            digest = Digest()
            digest.update(file.read(length))
            position = _in_group(frames.shared, groups, "PlanePositionSequence", "ImagePositionPatient")
            orientation = _in_group(frames.shared, groups, "PlaneOrientationSequence", "ImageOrientationPatient")
            yield position, orientation, digest.digest()


def _in_group(shared: DataSet, frame: DataSet, group: str, keyword: str) -> tuple[float, ...]:
    found = items(frame, group) or items(shared, group)
    return numbers(found[0], keyword) if found else ()


def _digest(fact: Facts) -> bytes:
    assert fact.pixels is not None
    digest = Digest()
    digest.update(frame_bytes(fact.path, fact.pixels.offset, fact.description.length, deflated=False))
    return digest.digest()


def _near(one: Sequence[float], other: Sequence[float]) -> bool:
    return len(one) == len(other) and all(abs(a - b) <= SAME_POSITION for a, b in zip(one, other, strict=True))
