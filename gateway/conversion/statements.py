"""What an object says of its frames though their sources say otherwise, or nothing.

The source's own words stay beside it (`gateway.conversion.amended`), so that turning the object back gives them again:
units as the enhanced classes name them (E11), a mapping to real world values (E11), the default window (E42), the
distance of slices (E53), and decimal strings that are within their length (PS3.5 6.2, E46).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation
from functools import lru_cache

from gateway.conversion.amended import amended
from gateway.conversion.identity import code
from gateway.conversion.inversion import LONGEST_DECIMAL, homogenised
from gateway.conversion.pixels import PixelDescription
from gateway.conversion.window_needs import Window, has_window
from gateway.objects.elements import (
    DataSet,
    Element,
    dataset,
    integer,
    items,
    make,
    numbers,
    padded,
    raw,
    sequence,
    tag_of,
    text,
    texts,
)
from gateway.objects.remembered import remembered
from gateway.standard.units import pet_unit

SPACING = tag_of("SpacingBetweenSlices")
WINDOW_TAGS = frozenset(map(tag_of, ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction")))

# Decimal strings that functional groups take over.
_DECIMALS = tuple(
    map(
        tag_of,
        (
            "PixelSpacing", "SliceThickness", "SpacingBetweenSlices", "ImagePositionPatient", "ImageOrientationPatient",
            "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth",
        ),
    )
)  # fmt: skip


_POSITION = tag_of("ImagePositionPatient")


@dataclass(frozen=True, slots=True)
class Statements:
    """What one object says of all its frames.

    Attributes
    ----------
    modality : {"CT", "MR", "PT"}
        Row of table C.3.5-1.
    window : Window or None
        The default window of its series.
    spacing : str
        Spacing Between Slices; empty if the frames have none in common.
    spaced : bool
        False if each frame says of the distance of slices what its source says.
    comment : str
        What tells the object apart from others of its series, empty if there are none; the source's comments follow.
    """

    modality: str
    window: Window | None = None
    spacing: str = ""
    spaced: bool = False
    comment: str = ""

    def of(self, ds: DataSet, pixels: PixelDescription) -> DataSet:
        """Return the header of a source as the object repeats it.

        Parameters
        ----------
        ds : DataSet
            The header.
        pixels : PixelDescription
            What it says of its pixels.

        Raises
        ------
        ObjectError
            If pixels have to be inverted and a value cannot be exactly.
        """
        ds = homogenised(ds, pixels)
        changed, gone = _changes(ds, self.modality, self.window)
        spacing, removed = self._spacing(ds)
        position = _fitting(ds, _POSITION)  # the one of them that differs between all frames: nothing to remember
        placed = () if position is None else (position,)
        commented = (_comment(ds, self.comment),) if self.comment else ()
        return amended(ds, (*placed, *changed, *spacing, *commented), (*gone, *removed))

    def _spacing(self, ds: DataSet) -> tuple[tuple[Element, ...], tuple[int, ...]]:
        if not self.spaced:
            return (), ()
        if not self.spacing:
            return (), (SPACING,) if text(ds, SPACING) else ()
        return ((_spacing(self.spacing),), ()) if text(ds, SPACING) != self.spacing else ((), ())


@lru_cache(maxsize=64)
def _spacing(value: str) -> Element:
    return make("SpacingBetweenSlices", value)


@remembered
def _comment(ds: DataSet, comment: str) -> Element:
    """Return Image Comments that begin with what tells the object apart (LT; ASCII is in every character set)."""
    own = raw(ds, "ImageComments").strip(b" \0")
    value = comment.encode("ascii") + (b"; " + own if own else b"")
    return Element(tag_of("ImageComments"), "LT", padded(value, "LT"))


@remembered
def _changes(ds: DataSet, modality: str, window: Window | None) -> tuple[tuple[Element, ...], tuple[int, ...]]:
    """Return what is said otherwise, and tags of what is not said."""
    shortened = (_fitting(ds, tag) for tag in _DECIMALS if tag != _POSITION)
    changed = {element.tag: element for element in shortened if element is not None}
    changed.update((element.tag, element) for element in (*_units(ds, modality), *_exact(ds)))
    gone: tuple[int, ...] = ()
    if window is not None and modality != "MR" and not has_window(ds):
        own = {element.tag: element for element in window.elements()}
        changed = {tag: element for tag, element in changed.items() if tag not in WINDOW_TAGS} | own
        gone = tuple(WINDOW_TAGS - own.keys())
    return tuple(changed.values()), gone


def _units(ds: DataSet, modality: str) -> list[Element]:
    """Return Rescale Type, which is US for MR and PET (C.7.6.16.2.9), and what PET values measure (C.7.6.16.2.11)."""
    if modality == "CT":
        return []
    found = [make("RescaleType", "US")] if text(ds, "RescaleType") not in ("", "US") else []
    if modality == "PT" and not items(ds, "RealWorldValueMappingSequence"):
        unit = pet_unit(text(ds, "Units"), text(ds, "SUVType"))
        if unit is not None:
            signed = integer(ds, "PixelRepresentation") == 1
            slope, intercept = text(ds, "RescaleSlope", "1"), text(ds, "RescaleIntercept", "0")
            found.append(_mapping(unit, text(ds, "Units"), float(slope), float(intercept), signed))
    return found


@lru_cache(maxsize=1024)
def _mapping(unit: tuple[str, str], name: str, slope: float, intercept: float, signed: bool) -> Element:
    """Return Real World Value Mapping Sequence for all values of 16 bits (E8)."""
    vr, first, last = ("SS", -32768, 32767) if signed else ("US", 0, 65535)
    item = dataset(
        make("RealWorldValueFirstValueMapped", first, vr=vr),
        make("RealWorldValueLastValueMapped", last, vr=vr),
        make("RealWorldValueIntercept", intercept),
        make("RealWorldValueSlope", slope),
        make("LUTExplanation", unit[1]),
        make("LUTLabel", name),
        sequence("MeasurementUnitsCodeSequence", code(unit[0], "UCUM", unit[1])),
    )
    return sequence("RealWorldValueMappingSequence", item)


def _exact(ds: DataSet) -> list[Element]:
    """Return the VOI LUT Function of a window under 1, for which LINEAR has no meaning (C.11.2.1.2.1)."""
    if not has_window(ds) or text(ds, "VOILUTFunction", "LINEAR") != "LINEAR":
        return []
    narrow = any(float(width) < 1 for width in texts(ds, "WindowWidth"))
    return [make("VOILUTFunction", "LINEAR_EXACT")] if narrow else []


def _fitting(ds: DataSet, tag: int) -> Element | None:
    """Return a decimal string of more than 16 characters as the nearest one within that, else None (PS3.5 6.2)."""
    element = ds.get(tag)
    if element is None or not isinstance(element.value, bytes) or len(element.value) <= LONGEST_DECIMAL:
        return None
    parts = element.value.split(b"\\")
    if all(len(part.strip(b" \0")) <= LONGEST_DECIMAL for part in parts):
        return None
    return element._replace(value=padded(b"\\".join(fitting(part.decode("latin-1")).encode() for part in parts), "DS"))


def rescale_refusal(ds: DataSet, modality: str) -> str:
    """Return why the rescaling of an image keeps it classic, empty if it does not.

    Parameters
    ----------
    ds : DataSet
        Header of the classic image.
    modality : {"CT", "MR", "PT"}
        Row of table C.3.5-1.

    Raises
    ------
    ObjectError
        If a value is not a number.
    """
    for keyword, name in (("RescaleSlope", "Rescale Slope"), ("RescaleIntercept", "Rescale Intercept")):
        if not all(map(math.isfinite, numbers(ds, keyword))):
            return f"{name} holds a value that is no number of finite size: {text(ds, keyword)}"
    kind, stated = texts(ds, "ImageType"), text(ds, "RescaleType", "HU")
    energies = text(ds, "MultienergyCTAcquisition") == "YES"
    if modality == "CT" and stated != "HU" and not energies and kind[:1] == ("ORIGINAL",):
        return f"Rescale Type is {stated}; an original image of the enhanced CT classes has HU"
    return ""


def fitting(part: str) -> str:
    """Return the decimal string of at most 16 characters that is nearest to one that is longer."""
    part = part.strip(" \0")
    if len(part) <= LONGEST_DECIMAL:
        return part
    try:
        value = Decimal(part)
    except InvalidOperation:
        return part
    if not value.is_finite():
        return part
    for digits in range(LONGEST_DECIMAL, 0, -1):
        short = Context(prec=digits).plus(value).normalize()
        for candidate in (f"{short:f}", f"{short:E}".replace("E+", "E")):
            if len(candidate) <= LONGEST_DECIMAL:
                return candidate
    return part
