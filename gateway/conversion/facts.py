"""What planning needs to know of an instance, and why an instance cannot become a frame.

Headers of a long series do not fit into a small memory, so that only these facts are kept of each.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from gateway.conversion.axes import Value, tiles, values_of
from gateway.conversion.overlays import presentation_refusal, presentation_tags
from gateway.conversion.references import referenced
from gateway.errors import ObjectError
from gateway.objects.elements import DataSet, Span, integer, items, numbers, raw, tag_of, tag_text, text, texts
from gateway.objects.encode import encode
from gateway.objects.part10 import EXPLICIT_LITTLE, IMPLICIT_LITTLE, Header, PixelData
from gateway.standard.modules import MODULES
from gateway.standard.sop_classes import CLASSIC_MODALITIES, ENHANCED_CLASSES

NATIVE = (EXPLICIT_LITTLE, IMPLICIT_LITTLE)

# Image Pixel attributes that one object has once (PS3.4 C.3.5; Pixel Padding Value: note 2).
PIXEL_DESCRIPTION = (
    "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PlanarConfiguration", "PixelAspectRatio", "PixelPaddingValue", "PixelPaddingRangeLimit",
)  # fmt: skip

# Modules whose attributes must not differ within an object (G17).
_COMMON_MODULES = ("Patient", "Clinical Trial Subject", "General Study", "Patient Study", "Clinical Trial Study",
                   "Frame of Reference")  # fmt: skip

# Why an enhanced object does not become a frame; it can be turned back.
ALREADY_ENHANCED = "enhanced already"

# Bits that the IODs allow: (Bits Allocated, Bits Stored) by modality (PS3.3 C.8.15.2, C.8.13.1.1.2, C.8.22.3).
ALLOWED_BITS = {
    "CT": {(16, 12), (16, 16)},
    "MR": {(8, 8), (16, 12), (16, 16)},
    "PT": {(16, 16)},
}


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
        blake2b-128 of its data set bytes.
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
    references, other_references : tuple of str
        Targets of plain image references, and of references in any other place.
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
    frame_length: int
    references: tuple[str, ...]
    other_references: tuple[str, ...]
    conversion_sources: tuple[str, ...]

    @property
    def path(self) -> Path:
        """Where the instance is."""
        return Path(self.file)

    @property
    def pixel_bytes(self) -> int:
        """Bytes that this frame takes in an object."""
        if self.pixels is not None and self.pixels.fragments:
            return sum(length + 8 for _, length in self.pixels.fragments)
        return self.frame_length


@lru_cache(maxsize=4096)
def _shared(value: tuple) -> tuple:
    """Return the first of equal tuples: thousands of slices have the same few."""
    return value


def gather(name: str, path: Path, digest: str, header: Header, *, convert: bool = True) -> Facts:
    """Return the facts of an instance.

    Parameters
    ----------
    name, path, digest
        As in `Facts`.
    header : Header
        Its header.
    convert : bool
        False if it shall be passed on as it is.
    """
    ds = header.dataset
    reason = "" if convert else "its sender's images are passed on as they are"
    if not reason:
        reason = refusal(header)
    image = not reason
    # What annotations of an image refer to is the image itself, which a presentation state will do for them.
    moved = presentation_tags(ds) if image else frozenset()
    found = list(referenced({tag: element for tag, element in ds.items() if tag not in moved} if moved else ds))
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
        key=_shared(_group_key(header)) if image else (),
        orientation=_shared(numbers(ds, "ImageOrientationPatient")) if image else (),
        position=numbers(ds, "ImagePositionPatient") if image else (),
        dimensions=values,
        dimension_tags=_shared(tags),
        temporal_positions=integer(ds, "NumberOfTemporalPositions", 0) or 0,
        transfer_syntax=header.transfer_syntax,
        pixels=header.pixels,
        frame_length=_native_length(ds),
        references=_shared(tuple(uid for uid, plain in found if plain)),
        other_references=_shared(tuple(uid for uid, plain in found if not plain)),
        conversion_sources=_conversion_sources(ds),
    )


def _group_key(header: Header) -> tuple:
    ds = header.dataset
    syntax = "native" if header.transfer_syntax in NATIVE else header.transfer_syntax
    common = hashlib.blake2b(digest_size=8)
    for module in _COMMON_MODULES:
        for entry in MODULES[module].attributes:
            element = ds.get(tag_of(entry.partition(":")[0]))
            if element is not None and element.value:
                common.update(encode({element.tag: element}))
    return (
        header.series,
        header.sop_class,
        text(ds, "Modality"),
        syntax,
        text(ds, "SpecificCharacterSet"),
        tuple(raw(ds, keyword) for keyword in PIXEL_DESCRIPTION),
        texts(ds, "ImageType")[:2],
        common.hexdigest(),
    )


def _native_length(ds: DataSet) -> int:
    """Return the number of bytes of one native frame."""
    bits = (integer(ds, "BitsAllocated") or 0) * (integer(ds, "SamplesPerPixel") or 0)
    return (integer(ds, "Rows") or 0) * (integer(ds, "Columns") or 0) * bits // 8


def _conversion_sources(ds: DataSet) -> tuple[str, ...]:
    found = []
    for frame in items(ds, "PerFrameFunctionalGroupsSequence"):
        for item in items(frame, "ConversionSourceAttributesSequence"):
            found.append(text(item, "ReferencedSOPInstanceUID"))
    return tuple(found)


def refusal(header: Header) -> str:
    """Return why an instance cannot become a frame of an enhanced object, empty if it can."""
    if header.sop_class in ENHANCED_CLASSES:
        return ALREADY_ENHANCED
    if header.sop_class not in CLASSIC_MODALITIES:
        return "not a classic CT, MR or PET image"
    for check in _CHECKS:
        try:
            reason = check(header)
        except ObjectError as error:
            reason = str(error)
        if reason:
            return reason
    return ""


def _encoding(header: Header) -> str:
    if header.irregular:
        return f"irregular encoding: {header.irregular[0]}"
    if header.big_endian or header.deflated:
        return "its transfer syntax needs a pixel transform that is not built yet"
    left = next(_left_in_file(header.dataset), None)
    return f"{tag_text(left)} is too long or compressed inside a sequence, which is not built yet" if left else ""


def _left_in_file(ds: DataSet) -> Iterator[int]:
    for tag, element in ds.items():
        if isinstance(element.value, Span):
            yield tag
        elif isinstance(element.value, tuple):
            for item in element.value:
                yield from _left_in_file(item)


def _kind(header: Header) -> str:
    ds = header.dataset
    kind = [value.upper() for value in texts(ds, "ImageType")]
    if (integer(ds, "NumberOfFrames", 1) or 0) != 1:
        return f"it has {text(ds, 'NumberOfFrames')} frames, a classic image has one"
    if "LOCALIZER" in kind:
        return "a localizer"
    if "MOSAIC" in kind or "VFRAME" in kind or tiles(ds) > 1:
        return "a mosaic holds many slices in one image"
    if text(ds, "BurnedInAnnotation").upper() == "YES":
        return "it has burned in annotation"
    return ""


def _annotations(header: Header) -> str:
    for tag in header.dataset:
        if tag >> 24 == 0x50 and not tag >> 16 & 1:
            return "it has curves"
    for keyword, what in (
        ("EncryptedAttributesSequence", "encrypted attributes"),
        ("ModalityLUTSequence", "a modality lookup table"),
    ):
        if items(header.dataset, keyword):
            return f"it has {what}"
    if items(header.dataset, "SourceImageSequence") and not (
        items(header.dataset, "DerivationCodeSequence") or text(header.dataset, "LossyImageCompression") == "01"
    ):
        return "it names source images without saying by a code how it was derived"
    if items(header.dataset, "VOILUTSequence") and not text(header.dataset, "WindowCenter"):
        return "it has a VOI lookup table and no window"
    return presentation_refusal(header)


def _geometry(header: Header) -> str:
    ds = header.dataset
    for keyword, count in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6), ("PixelSpacing", 2)):
        values = numbers(ds, keyword)
        if len(values) != count or not all(math.isfinite(value) for value in values):
            return f"{keyword} is missing" if not values else f"{keyword} has {len(values)} values instead of {count}"
    if min(numbers(ds, "PixelSpacing")) <= 0:
        return "Pixel Spacing is not positive"
    row, column = numbers(ds, "ImageOrientationPatient")[:3], numbers(ds, "ImageOrientationPatient")[3:]
    if abs(math.hypot(*row) - 1) > 0.01 or abs(math.hypot(*column) - 1) > 0.01:
        return "Image Orientation (Patient) has no unit vectors"
    return ""


def _pixel_description(header: Header) -> str:
    ds = header.dataset
    modality = CLASSIC_MODALITIES[header.sop_class]
    interpretation = text(ds, "PhotometricInterpretation")
    allocated, stored = integer(ds, "BitsAllocated", 0) or 0, integer(ds, "BitsStored", 0) or 0
    if modality == "MR" and interpretation == "RGB" and header.transfer_syntax in NATIVE:
        return "" if (allocated, stored) == (8, 8) else f"RGB with {stored} of {allocated} bits"
    if interpretation != "MONOCHROME2" or integer(ds, "SamplesPerPixel") != 1:
        return f"{interpretation or 'unknown photometric interpretation'} needs a pixel transform that is not built yet"
    if (allocated, stored) not in ALLOWED_BITS[modality]:
        return f"{stored} bits stored in {allocated} need a pixel transform that is not built yet"
    if integer(ds, "HighBit") != stored - 1:
        return f"High Bit {integer(ds, 'HighBit')} needs a pixel transform that is not built yet"
    return ""


def _pixel_bytes(header: Header) -> str:
    pixels = header.pixels
    expected = _native_length(header.dataset)
    if pixels is None:
        return "it has no pixel data"
    if pixels.tag != 0x7FE00010 or expected == 0:
        return "it has no frame: " + ("float pixel data" if expected else "Rows or Columns are zero")
    if pixels.fragments is None:
        if header.transfer_syntax not in NATIVE:
            return "its pixel data are not encapsulated as its transfer syntax wants"
        if pixels.length not in (expected, expected + expected % 2):
            return f"its pixel data have {pixels.length} bytes instead of {expected}"
        return ""
    if header.transfer_syntax in NATIVE:
        return "its pixel data are encapsulated against its transfer syntax"
    return "" if pixels.fragments else "its pixel data have no frame"


_CHECKS: tuple[Callable[[Header], str], ...] = (
    _encoding,
    _kind,
    _annotations,
    _geometry,
    _pixel_description,
    _pixel_bytes,
)
