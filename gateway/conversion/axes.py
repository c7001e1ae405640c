"""What tells frames apart beside their place: contrasts, runs and times, as a table (PS3.3 C.7.6.17)."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Sequence
from datetime import date
from typing import NamedTuple

from gateway.errors import ObjectError
from gateway.objects.elements import DataSet, Element, numbers, raw, tag_of, text
from gateway.objects.remembered import remembered
from gateway.standard.private_hints import B_VALUES, GRADIENTS, LABELS, PHASES, TILES, Hint

Value = float | str

# What an axis means. A contrast is another kind of picture of the same place; a run is one of several acquisitions of
# the same kind; a moment says when.
CONTRAST, RUN, MOMENT = "contrast", "run", "moment"

SECONDS_A_DAY = 86400.0


class Axis(NamedTuple):
    """One row of the table.

    Attributes
    ----------
    keyword : str
        Attribute of the classic image.
    role : str
        `CONTRAST`, `RUN` or `MOMENT`.
    read : callable
        Its value of an image, None where it has none.
    hints : tuple of Hint
        Private attributes that say it where the standard one is missing.
    """

    keyword: str
    role: str
    read: Callable[[DataSet, int], Value | None]
    hints: tuple[Hint, ...] = ()


def _number(ds: DataSet, tag: int) -> float | None:
    """Return the first value."""
    try:
        values = numbers(ds, tag)
    except ObjectError:
        return None
    return values[0] if values and math.isfinite(values[0]) else None


def _vector(ds: DataSet, tag: int) -> str | None:
    """Return all values as text that is the same for the same numbers; a place where they are all zero has none."""
    try:
        values = numbers(ds, tag)
    except ObjectError:
        return None
    return sys.intern("\\".join(f"{value:.6g}" for value in values)) if values else None


def _text(ds: DataSet, tag: int) -> str | None:
    """Return the whole value; an absent one is a value of its own, as the frame without contrast agent shows."""
    return sys.intern(raw(ds, tag).decode("latin-1").strip())


def _kind_of_picture(ds: DataSet, tag: int) -> str | None:
    """Return Image Type from value 3 on: magnitude and phase, water and fat (values 1 and 2 separate objects)."""
    return sys.intern("\\".join(raw(ds, tag).decode("latin-1").split("\\")[2:]))


def _moment(ds: DataSet, tag: int) -> float | None:
    """Return the seconds that a date, and the time that belongs to it, stand for: midnight does not start anew."""
    found = re.match(r"(\d{4})(\d\d)(\d\d)", text(ds, tag))
    clock = re.match(r"(\d\d)(\d\d)?(\d\d)?(\.\d+)?", text(ds, tag + _TIME_OF[tag]))
    if not clock:
        return None
    hours, minutes, seconds, fraction = clock.groups()
    try:
        day = date(*map(int, found.groups())).toordinal() if found else 0
    except ValueError:
        return None
    return day * SECONDS_A_DAY + int(hours) * 3600 + int(minutes or 0) * 60 + int(seconds or 0) + float(fraction or 0)


# Distance from the tag of a date to that of its time.
_TIME_OF = {tag_of(what + "Date"): tag_of(what + "Time") - tag_of(what + "Date") for what in ("Acquisition", "Content")}

# In the order in which they are tried: the first that tell frames at one place apart become dimensions.
AXES: tuple[Axis, ...] = (
    Axis("ImageType", CONTRAST, _kind_of_picture),
    Axis("ComplexImageComponent", CONTRAST, _text),
    Axis("ConvolutionKernel", CONTRAST, _text),
    Axis("KVP", CONTRAST, _number),
    Axis("EchoTime", CONTRAST, _number),
    Axis("EchoNumbers", CONTRAST, _number),
    Axis("InversionTime", CONTRAST, _number),
    Axis("FlipAngle", CONTRAST, _number),
    Axis("ContrastBolusAgent", CONTRAST, _text),
    Axis("ASLContext", RUN, _text, LABELS),
    Axis("DiffusionBValue", RUN, _number, B_VALUES),
    Axis("DiffusionGradientOrientation", RUN, _vector, GRADIENTS),
    Axis("TemporalPositionIdentifier", MOMENT, _number),
    Axis("TemporalPositionIndex", MOMENT, _number),
    Axis("FrameReferenceTime", MOMENT, _number),
    Axis("TriggerTime", MOMENT, _number, PHASES),
    Axis("NominalCardiacTriggerDelayTime", MOMENT, _number),
    Axis("AcquisitionNumber", MOMENT, _number),
    Axis("AcquisitionDate", MOMENT, _moment),
    Axis("ContentDate", MOMENT, _moment),
)


def values_of(ds: DataSet) -> tuple[tuple[Value | None, ...], tuple[int, ...]]:
    """Return the value of an image on every axis, and the tags that they were read from.

    Returns
    -------
    tuple
        Values, None where an image has none.
    tuple of int
        Tags; those of private attributes as they stand in the image.
    """
    values: list[Value | None] = []
    tags: list[int] = []
    for number in range(len(AXES)):
        tag, value = _on_axis(ds, number)
        values.append(value)
        tags.append(tag)
    return tuple(values), tuple(tags)


@remembered
def _on_axis(ds: DataSet, number: int) -> tuple[int, Value | None]:
    axis = AXES[number]
    tag = tag_of(axis.keyword)
    value = axis.read(ds, tag)
    if axis.hints and (value is None or value == ""):
        return _by_hint(ds, axis, tag, value)
    return tag, value


def _by_hint(ds: DataSet, axis: Axis, tag: int, value: Value | None) -> tuple[int, Value | None]:
    for hint in axis.hints:
        found = private(ds, hint)
        if found is not None:
            said = axis.read({found.tag: found}, found.tag)
            if said is not None:
                return found.tag, said
    return tag, value


def private(ds: DataSet, hint: Hint) -> Element | None:
    """Return a private element by its creator, with its true VR."""
    start = hint.group << 16
    for block in range(0x10, 0x100):
        owner = ds.get(start | block)
        if owner is None:
            if block > 0x1F:  # blocks are reserved from below; far ones are not worth the search
                return None
            continue
        if isinstance(owner.value, bytes) and owner.value.strip(b" \0").decode("latin-1") == hint.creator:
            found = ds.get(start | block << 8 | hint.number)
            if found is not None and found.vr == "UN":
                found = found._replace(vr=hint.vr)
            return found
    return None


@remembered
def tiles(ds: DataSet) -> int:
    """Return how many slices one image holds by what its maker says, 1 if nothing is said."""
    for hint in TILES:
        found = private(ds, hint)
        value = None if found is None else _number({found.tag: found}, found.tag)
        if value is not None and value > 1:
            return int(value)
    return 1


def ranks(values: Sequence[Value]) -> list[int]:
    """Return the place of every value in the order of the distinct ones, from 1."""
    order = {value: rank for rank, value in enumerate(sorted(set(values), key=_sortable), 1)}
    return [order[value] for value in values]


def _sortable(value: Value) -> tuple:
    return (1, value) if isinstance(value, str) else (0, value)
