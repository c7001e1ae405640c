"""Why an image cannot become a frame of an enhanced object (PS3.4 C.3.5): it stays classic, with the reason."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator

from gateway.conversion.axes import tiles
from gateway.conversion.inversion import homogenised
from gateway.conversion.overlays import presentation_refusal
from gateway.conversion.pixels import NATIVE, description_of, problem
from gateway.conversion.statements import rescale_refusal
from gateway.errors import ObjectError
from gateway.objects.elements import (
    DataSet,
    Element,
    Encapsulated,
    Span,
    integer,
    items,
    numbers,
    tag_text,
    text,
    texts,
)
from gateway.objects.part10 import Header
from gateway.objects.recipe import frame_bytes
from gateway.objects.remembered import remembered
from gateway.standard.sop_classes import CLASSIC_MODALITIES, ENHANCED_CLASSES

# Zero bytes behind the pixels of a frame that are taken for padding; with more of them Rows or Columns may be wrong.
MOST_PADDING = 16

# Why an enhanced object does not become a frame; it can be turned back.
ALREADY_ENHANCED = "enhanced already"


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


_CHARACTER_SET = 0x00080005
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


def _encoding(header: Header) -> str:
    if header.doubtful:
        return f"irregular encoding: {header.doubtful[0]}"
    for element in all_elements(header.dataset):
        if type(element.value) is bytes:
            if element.tag == _CHARACTER_SET and _CONTROL.search(element.value.rstrip(b"\0 ")):
                # Many readers give up at the element; in an object of its own it costs one image and not all.
                return "Specific Character Set holds control characters"
            continue
        if isinstance(element.value, Span):
            return f"{tag_text(element.tag)} has {element.value.length} bytes, which is too long for a header"
        if isinstance(element.value, Encapsulated) and header.transfer_syntax in NATIVE:
            return f"{tag_text(element.tag)} inside a sequence is compressed against its transfer syntax"
    return ""


def all_elements(ds: DataSet) -> Iterator[Element]:
    """Yield every element of a data set, those inside sequences included."""
    for element in ds.values():
        yield element
        if isinstance(element.value, tuple):
            for item in element.value:
                yield from all_elements(item)


def _kind(header: Header) -> str:
    return _kind_of(header.dataset)


@remembered
def _kind_of(ds: DataSet) -> str:
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
    if items(header.dataset, "VOILUTSequence") and not text(header.dataset, "WindowCenter"):
        return "it has a VOI lookup table and no window"
    return presentation_refusal(header)


def _geometry(header: Header) -> str:
    ds = header.dataset
    for keyword, count in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6), ("PixelSpacing", 2)):
        values = numbers(ds, keyword)
        if len(values) != count:
            return f"{keyword} is missing" if not values else f"{keyword} has {len(values)} values instead of {count}"
        if not all(math.isfinite(value) for value in values):
            return f"{keyword} holds a value that is no number of finite size: {text(ds, keyword)}"
    if min(numbers(ds, "PixelSpacing")) <= 0:
        return "Pixel Spacing is not positive"
    row, column = numbers(ds, "ImageOrientationPatient")[:3], numbers(ds, "ImageOrientationPatient")[3:]
    if abs(math.hypot(*row) - 1) > 0.01 or abs(math.hypot(*column) - 1) > 0.01:
        return "Image Orientation (Patient) has no unit vectors"
    return ""


def _rescaling(header: Header) -> str:
    return rescale_refusal(header.dataset, CLASSIC_MODALITIES[header.sop_class])


def _pixel_description(header: Header) -> str:
    pixels = description_of(header)
    reason = problem(CLASSIC_MODALITIES[header.sop_class], pixels)
    if not reason:
        homogenised(header.dataset, pixels)  # refuses what cannot be inverted exactly
    return reason


def _pixel_bytes(header: Header) -> str:
    pixels, description = header.pixels, description_of(header)
    if pixels is None:
        return "it has no pixel data"
    expected = description.length
    if pixels.tag != 0x7FE00010 or expected == 0:
        return "it has no frame: " + ("float pixel data" if expected else "Rows or Columns are zero")
    if pixels.fragments is None:
        if description.compressed:
            return "its pixel data are not encapsulated as its transfer syntax wants"
        if header.big_endian and (pixels.vr, description.allocated) not in (("OW", 8), ("OW", 16), ("OB", 8)):
            return f"its pixel data have {pixels.vr} as their value representation, which leaves their byte order open"
        surplus = pixels.length - description.length_read
        if not 0 <= surplus <= MOST_PADDING or not _is_padding(header, surplus):
            return f"its pixel data have {pixels.length} bytes instead of {expected}"
        return ""
    if not description.compressed:
        return "its pixel data are encapsulated against its transfer syntax"
    return "" if pixels.fragments else "its pixel data have no frame"


def _is_padding(header: Header, count: int) -> bool:
    """Tell whether the last bytes of native pixel data are zero: they are behind the frame and mean nothing."""
    pixels = header.pixels
    assert pixels is not None
    if count <= 1:
        return True  # a value has an even number of bytes (PS3.5 7.1.1)
    return not any(frame_bytes(header.path, pixels.offset + pixels.length - count, count, deflated=header.deflated))


_CHECKS: tuple[Callable[[Header], str], ...] = (
    _encoding,
    _kind,
    _annotations,
    _geometry,
    _rescaling,
    _pixel_description,
    _pixel_bytes,
)
