"""What planning needs to know of an instance, and why an instance cannot become a frame.

Headers of a long series do not fit into a small memory, so that only these facts are kept of each.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from gateway.conversion.axes import Value, values_of
from gateway.conversion.overlays import presentation_tags
from gateway.conversion.pixels import NO_PIXELS, PixelDescription, description_of
from gateway.conversion.references import referenced
from gateway.conversion.refusals import all_elements, refusal
from gateway.conversion.related import apart, copied_from, split_series
from gateway.conversion.statements import fitting
from gateway.conversion.window_needs import Need, window_need
from gateway.objects.elements import (
    DataSet,
    Span,
    integer,
    items,
    numbers,
    tag_of,
    text,
    texts,
)
from gateway.objects.encode import encode
from gateway.objects.part10 import Header, PixelData
from gateway.objects.remembered import remembered
from gateway.standard.modules import MODULES
from gateway.standard.sop_classes import CLASSIC_MODALITIES

# Attributes of the modules that must not differ within an object (G17).
COMMON = tuple(
    entry.partition(":")[0]
    for module in (
        "Patient", "Clinical Trial Subject", "General Study", "Patient Study", "Clinical Trial Study",
        "Frame of Reference",
    )
    for entry in MODULES[module].attributes
)  # fmt: skip
_COMMON_TAGS = tuple(map(tag_of, COMMON))


@dataclass(frozen=True, slots=True)
class Facts:
    """One instance as planning sees it.

    Attributes
    ----------
    name : str
        Name of the file in the archive, or its path.
    file : str
        Where it is; as text, which takes a fraction of the memory of a path.
    digest : str
        BLAKE3-128 of its data set bytes.
    reason : str
        Why it cannot become a frame; empty if it can.
    key : tuple
        What instances of one object have in common, orientation apart.
    orientation, position : tuple of float
        Image Orientation and Position (Patient).
    dimensions : tuple of float, str or None
        Values on the axes of `gateway.conversion.axes`.
    dimension_tags : tuple of int
        Where those values stand in the image.
    temporal_positions : int
        Number of Temporal Positions, 0 if unknown.
    description : PixelDescription
        What its header says of its pixels, if it can become a frame.
    references : tuple of str
        SOP Instance UIDs that it refers to.
    other_references : tuple of str
        Series that it refers to as a whole, and UIDs in content items, of which nobody knows what they are of.
    copy_of : str
        SOP Instance UID of what it is a rewritten copy of, by its Conversion Source.
    copied_series : str
        Series Instance UID of that, empty if it is not known.
    fixed : str
        Why its references cannot be rewritten, if it stays as it is; empty if they can.
    signed : bool
        Whether it has digital signatures, which hold for nothing that is made of it.
    window : Need or None
        What a default window is chosen by, if it can become a frame and has no window.
    spacing : str
        Its Spacing Between Slices, within the length of a decimal string.
    rescale : tuple of float
        Rescale Slope and Intercept, if it can become a frame.
    split_of : str
        Series of the enhanced object that a scanner says it has split the image off, empty if it does not.
    conversion_sources : tuple of str
        Source SOP Instance UIDs of an enhanced object that was made by conversion.
    """

    name: str
    file: str
    digest: str
    sop_class: str
    sop_instance: str
    study: str
    series: str
    modality: str
    instance_number: int
    reason: str
    key: tuple
    orientation: tuple[float, ...]
    position: tuple[float, ...]
    dimensions: tuple[Value | None, ...]
    dimension_tags: tuple[int, ...]
    temporal_positions: int
    transfer_syntax: str
    pixels: PixelData | None
    description: PixelDescription
    references: tuple[str, ...]
    other_references: tuple[str, ...]
    conversion_sources: tuple[str, ...]
    copy_of: str
    copied_series: str
    fixed: str
    signed: bool
    window: Need | None
    spacing: str
    rescale: tuple[float, float]
    split_of: str

    @property
    def path(self) -> Path:
        """Where the instance is."""
        return Path(self.file)

    @property
    def pixel_bytes(self) -> int:
        """Bytes that this frame takes in an object at most, should its pixels have to be widened."""
        if self.pixels is not None and self.pixels.fragments:
            return sum(length + 8 for _, length in self.pixels.fragments)
        length = self.description.length
        return 2 * length if self.description.grayscale and self.description.allocated == 8 else length


Shareable = TypeVar("Shareable", bound=Hashable)


@lru_cache(maxsize=4096)
def _shared(value: Shareable) -> Shareable:
    """Return the first of equal values: thousands of slices have the same few."""
    return value


def gather(name: str, path: Path, digest: str, header: Header, *, convert: bool = True, origin: str = "") -> Facts:
    """Return the facts of an instance.

    Parameters
    ----------
    name, path, digest
        As in `Facts`.
    header : Header
        Its header.
    convert : bool
        False if it shall be passed on as it is.
    origin : str
        Instances of different ones share no object.
    """
    ds = header.dataset
    reason = "" if convert else "its sender's images are passed on as they are"
    if not reason:
        reason = refusal(header)
    image = not reason
    # What annotations of an image refer to is the image itself, which a presentation state will do for them.
    moved = presentation_tags(ds) if image else frozenset()
    found = dict.fromkeys(
        referenced({tag: element for tag, element in ds.items() if tag not in moved} if moved else ds)
    )
    values, tags = values_of(ds) if image else ((), ())
    return Facts(
        name=name,
        file=str(path),
        digest=digest,
        sop_class=sys.intern(header.sop_class),
        sop_instance=header.sop_instance,
        study=sys.intern(header.study),
        series=sys.intern(header.series),
        modality=CLASSIC_MODALITIES.get(header.sop_class, ""),
        instance_number=integer(ds, "InstanceNumber", 0) or 0,
        reason=reason,
        key=_shared((origin, *_group_key(header))) if image else (),
        orientation=_shared(numbers(ds, "ImageOrientationPatient")) if image else (),
        position=numbers(ds, "ImagePositionPatient") if image else (),
        dimensions=values,
        dimension_tags=_shared(tags),
        temporal_positions=integer(ds, "NumberOfTemporalPositions", 0) or 0,
        transfer_syntax=header.transfer_syntax,
        pixels=header.pixels,
        description=_shared(description_of(header) if image else NO_PIXELS),
        references=_shared(tuple(uid for uid, instance in found if instance)),
        other_references=_shared(tuple(uid for uid, instance in found if not instance)),
        conversion_sources=_conversion_sources(ds),
        copy_of=copied_from(ds),
        copied_series=apart(ds).copied,
        fixed=not_rewritable(header) if found else "",
        signed=bool(items(ds, "DigitalSignaturesSequence")),
        window=window_need(ds, CLASSIC_MODALITIES[header.sop_class]) if image else None,
        spacing=sys.intern(fitting(text(ds, "SpacingBetweenSlices"))) if image else "",
        rescale=_shared(rescaling(ds)) if image else (1.0, 0.0),
        split_of=sys.intern(split_series(ds)) if "MFSPLIT" in texts(ds, "ImageType") else "",
    )


def rescaling(ds: DataSet) -> tuple[float, float]:
    """Return Rescale Slope and Intercept, 1 and 0 where there are none."""
    slope, intercept = numbers(ds, "RescaleSlope"), numbers(ds, "RescaleIntercept")
    return slope[0] if slope else 1.0, intercept[0] if intercept else 0.0


def _group_key(header: Header) -> tuple:
    ds = header.dataset
    return (
        header.series,
        header.sop_class,
        text(ds, "Modality"),
        text(ds, "SpecificCharacterSet"),
        description_of(header).family(),
        texts(ds, "ImageType")[:2],
        common_digest(ds),
    )


@remembered
def common_digest(ds: DataSet) -> str:
    """Return a digest of what must not differ within an object."""
    common = hashlib.blake2b(digest_size=8)
    for tag in _COMMON_TAGS:
        element = ds.get(tag)
        if element is not None and element.value:
            common.update(encode({element.tag: element}))
    return common.hexdigest()


def _conversion_sources(ds: DataSet) -> tuple[str, ...]:
    found = []
    for frame in items(ds, "PerFrameFunctionalGroupsSequence"):
        for item in items(frame, "ConversionSourceAttributesSequence"):
            found.append(text(item, "ReferencedSOPInstanceUID"))
    return tuple(found)


def not_rewritable(header: Header) -> str:
    """Return why no copy of an instance with other references can be written, empty if one can."""
    twice = next((problem for problem in header.irregular if problem.endswith("appears twice")), "")
    if twice:
        return f"irregular encoding: {twice}"
    if not (header.big_endian or header.deflated):
        return ""
    if header.pixels is not None or any(isinstance(element.value, Span) for element in all_elements(header.dataset)):
        return f"its pixel data in transfer syntax {header.transfer_syntax} cannot be passed on as they are"
    return ""
