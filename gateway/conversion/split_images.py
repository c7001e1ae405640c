"""Classic images that a scanner has split off an enhanced object of its own, which is held beside them (G23).

Siemens "syngo XA" exports both: the classic images have MFSPLIT in Image Type and name the series of the enhanced
object in Related Series Sequence (purpose 121326, DCM). They are not converted again if that object is held whole: each
of its frames has one image with its position, its orientation and its pixels. Equal bytes are equal pixels only where
they mean the same: the pixel description, the rescaling and the pixel spacing are those of the frame, and the patient,
the study and the frame of reference those of the object (G17). Otherwise the images convert as usual.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from gateway.conversion.dimensions import SAME_POSITION, one_orientation
from gateway.conversion.facts import Facts, common_digest, rescaling
from gateway.conversion.multiframe import MultiFrame
from gateway.conversion.pixels import NATIVE, PixelDescription, description_of
from gateway.errors import GatewayError
from gateway.objects.digest import Digest
from gateway.objects.elements import DataSet, items, numbers
from gateway.objects.part10 import DEFLATED, EXPLICIT_BIG, read_header
from gateway.objects.recipe import frame_bytes
from gateway.standard.sop_classes import CONVERSIONS, ENHANCED_CLASSES

# Syntaxes whose frames can be compared byte by byte.
_COMPARABLE = frozenset(NATIVE) - {DEFLATED, EXPLICIT_BIG}

# Relative difference of Pixel Spacing that rounding of decimal strings makes.
_SAME_SPACING = 1e-4


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


class _Shown(NamedTuple):
    """What a frame, or an image, shows and where; of both from their own attributes.

    Attributes
    ----------
    pixels : bytes
        Digest of its pixels.
    rescale, spacing, orientation, position : tuple of float
        Rescale Slope and Intercept, Pixel Spacing, Image Orientation and Position (Patient).
    """

    pixels: bytes
    rescale: tuple[float, ...]
    spacing: tuple[float, ...]
    orientation: tuple[float, ...]
    position: tuple[float, ...]

    def is_shown_by(self, other: _Shown) -> bool:
        """Tell whether another shows the same at the same place."""
        return (
            self.pixels == other.pixels
            and self.rescale == other.rescale
            and len(self.orientation) == len(other.orientation) == 6
            and one_orientation(self.orientation, other.orientation)
            and _near(self.position, other.position)
            and len(self.spacing) == len(other.spacing) == 2
            and all(math.isclose(a, b, rel_tol=_SAME_SPACING) for a, b in zip(self.spacing, other.spacing, strict=True))
        )


def _sources(fact: Facts, images: Sequence[Facts]) -> tuple[str, ...]:
    """Return the image of each frame in order; nothing unless each frame has exactly one, and no two the same."""
    try:
        enhanced = MultiFrame(fact.path)
        by_pixels: dict[bytes, list[tuple[_Shown, str]]] = defaultdict(list)
        for one in images:
            if _may_be_frame(one, fact, enhanced):
                shown = _image(one)
                by_pixels[shown.pixels].append((shown, one.sop_instance))
        found = []
        for frame in _frames(enhanced):
            fitting = [uid for shown, uid in by_pixels.get(frame.pixels, ()) if frame.is_shown_by(shown)]
            if len(fitting) != 1:
                return ()
            found += fitting
    except (GatewayError, OSError, ValueError):
        return ()  # what cannot be compared is no twin
    return tuple(found) if len(set(found)) == len(found) else ()


def _may_be_frame(image: Facts, fact: Facts, enhanced: MultiFrame) -> bool:
    """Tell whether an image and an object agree in all that an object has once (G17), and in what pixels mean."""
    return (
        image.study == fact.study
        and CONVERSIONS[image.modality].enhanced == fact.sop_class
        and image.key[-1] == common_digest(enhanced.top)
        and _meaning(image.description) == _meaning(description_of(enhanced.header))
    )


def _meaning(pixels: PixelDescription) -> tuple:
    return pixels.shape, pixels.photometric, pixels.allocated, pixels.stored, pixels.high, pixels.signed


def _frames(enhanced: MultiFrame) -> Iterator[_Shown]:
    """Yield what each frame shows."""
    with open(enhanced.path, "rb") as file:
        for frame, (offset, length) in zip(enhanced.frames(), enhanced.ranges, strict=True):
            file.seek(offset)
            digest = Digest()
            digest.update(file.read(length))

            def group(keyword: str, frame: DataSet = frame) -> DataSet:
                return (items(frame, keyword) or items(enhanced.shared, keyword) or ({},))[0]

            yield _Shown(
                digest.digest(),
                rescaling(group("PixelValueTransformationSequence")),
                numbers(group("PixelMeasuresSequence"), "PixelSpacing"),
                numbers(group("PlaneOrientationSequence"), "ImageOrientationPatient"),
                numbers(group("PlanePositionSequence"), "ImagePositionPatient"),
            )


def _image(fact: Facts) -> _Shown:
    """Return what an image shows."""
    assert fact.pixels is not None
    digest = Digest()
    digest.update(frame_bytes(fact.path, fact.pixels.offset, fact.description.length, deflated=False))
    spacing = numbers(read_header(fact.path).dataset, "PixelSpacing")
    return _Shown(digest.digest(), fact.rescale, spacing, fact.orientation, fact.position)


def _near(one: Sequence[float], other: Sequence[float]) -> bool:
    return len(one) == len(other) == 3 and all(abs(a - b) <= SAME_POSITION for a, b in zip(one, other, strict=True))
