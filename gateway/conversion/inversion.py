"""MONOCHROME1 as MONOCHROME2: everything a header says in stored values follows the pixels (PS3.4 C.3.5 note 1).

A pixel ``v`` becomes ``top - v``. So that what the values mean stays the same - Hounsfield units, activity, and the
windows, which apply to those - the slope of a rescale changes its sign and its intercept moves, exactly or not at all.
The look, low values white, is for a presentation state to say. What the source said is kept beside it, so that turning
an object back gives it again (E30).
"""

from __future__ import annotations

from decimal import Context, Decimal, InvalidOperation
from fractions import Fraction

from gateway.conversion.amended import amended
from gateway.conversion.pixels import PixelDescription
from gateway.errors import ObjectError
from gateway.objects.elements import (
    DataSet,
    Element,
    empty,
    integer,
    is_empty,
    items,
    make,
    numbers,
    raw,
    sequence,
    tag_of,
    text,
)

# A DS has at most 16 characters (PS3.5 6.2).
LONGEST_DECIMAL = 16
_EXACT = Context(prec=64)

# Attributes that change places: the smallest value inverted is the largest (C.7.6.3, C.7.3.1).
_EXTREMES = (("SmallestImagePixelValue", "LargestImagePixelValue"),
             ("SmallestPixelValueInSeries", "LargestPixelValueInSeries"))  # fmt: skip
_MAPPED = (("RealWorldValueFirstValueMapped", "RealWorldValueLastValueMapped"),
           ("DoubleFloatRealWorldValueFirstValueMapped", "DoubleFloatRealWorldValueLastValueMapped"))  # fmt: skip

# Of which an image says nothing any more that holds, once its pixels are inverted.
INVERTED = frozenset(
    map(tag_of, ("RescaleSlope", "RescaleIntercept", *sum(_EXTREMES, ()), "RealWorldValueMappingSequence"))
)


def homogenised(ds: DataSet, pixels: PixelDescription) -> DataSet:
    """Return a header as the object's pixels need it: as it is, unless they are inverted.

    Raises
    ------
    ObjectError
        If a value cannot be inverted exactly.
    """
    if not pixels.inverted:
        return ds
    top = pixels.complement
    return amended(ds, (*_rescale(ds, top), *_extremes(ds, top), *_real_world_values(ds, top)))


def _rescale(ds: DataSet, top: int) -> list[Element]:
    slope_text, intercept_text = text(ds, "RescaleSlope"), text(ds, "RescaleIntercept")
    if bool(slope_text) != bool(intercept_text):
        raise ObjectError("Rescale Slope and Intercept", "are not both there, so that pixels cannot be inverted")
    slope, intercept = _decimal(slope_text or "1"), _decimal(intercept_text or "0")
    moved = _EXACT.add(intercept, _EXACT.multiply(slope, Decimal(top)))
    found = [
        make("RescaleSlope", _text(-slope, "Rescale Slope")),
        make("RescaleIntercept", _text(moved, "Rescale Intercept")),
    ]
    if not slope_text and not text(ds, "RescaleType"):
        found.append(make("RescaleType", "US"))  # what stored values are that nothing rescales
    return found


def _decimal(value: str) -> Decimal:
    try:
        found = Decimal(value)
    except InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite():
        raise ObjectError("Rescale Slope or Intercept", "is not a number", found=value)
    return found


def _text(value: Decimal, name: str) -> str:
    """Return a decimal string of exactly this value."""
    short = _EXACT.normalize(value)
    for candidate in (f"{short:f}", f"{short:E}"):
        if len(candidate) <= LONGEST_DECIMAL:
            return "0" if not value else candidate
    raise ObjectError(name, "of inverted pixels has no exact decimal string", found=str(value))


def _extremes(ds: DataSet, top: int) -> list[Element]:
    found = []
    for pair in _EXTREMES:
        for keyword, opposite in (pair, pair[::-1]):
            value, other = ds.get(tag_of(keyword)), integer(ds, opposite)
            if other is not None:
                # In the VR that the source has: unsigned values of pixels that are signed are what some write.
                vr = ds[tag_of(opposite)].vr
                found.append(_number(keyword, top - other, vr))
            elif value is not None:
                found.append(empty(value.tag))
    return found


def _number(keyword: str, value: int, vr: str) -> Element:
    low, high = (0, 1 << 16) if vr == "US" else (-(1 << 15), 1 << 15)
    if not low <= value < high:
        raise ObjectError(keyword, "of inverted pixels is out of range", found=value)
    return make(keyword, value, vr=vr)


def _real_world_values(ds: DataSet, top: int) -> list[Element]:
    keyword = "RealWorldValueMappingSequence"
    found = items(ds, keyword)
    return [sequence(keyword, *(_mapping(item, top) for item in found))] if found else []


def _mapping(item: DataSet, top: int) -> DataSet:
    """Invert one mapping from stored to real world values (C.7.6.16.2.11)."""
    found = dict(item)
    for pair in _MAPPED:
        for keyword, opposite in (pair, pair[::-1]):
            element = item.get(tag_of(opposite))
            if element is None or is_empty(element):
                continue
            value = top - numbers(item, opposite)[0]
            found[tag_of(keyword)] = (
                make(keyword, value) if element.vr == "FD" else _number(keyword, int(value), element.vr)
            )
    slope, intercept = numbers(item, "RealWorldValueSlope"), numbers(item, "RealWorldValueIntercept")
    if slope and intercept:
        exact = Fraction(intercept[0]) + Fraction(slope[0]) * top
        if Fraction(float(exact)) != exact:
            raise ObjectError("Real World Value Intercept", "of inverted pixels is no exact number", found=float(exact))
        for element in (make("RealWorldValueSlope", -slope[0]), make("RealWorldValueIntercept", float(exact))):
            found[element.tag] = element
    data = item.get(tag_of("RealWorldValueLUTData"))
    if data is not None:
        values = raw(item, data.tag)
        turned = b"".join(values[start : start + 8] for start in range(len(values) - 8, -1, -8))
        found[data.tag] = data._replace(value=turned)
    return dict(sorted(found.items()))
