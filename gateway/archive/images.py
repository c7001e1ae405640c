"""What tells two images apart that came under one SOP Instance UID: position, number, acquisition (REQUIREMENTS T3).

A sender that gives several images one UID breaks PS3.5 chapter 9, and each is worth keeping; one that sends an image
again, mended, breaks nothing. The pixels alone do not tell which of the two it is, nor do the attributes alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from gateway.archive import forms
from gateway.errors import ObjectError
from gateway.objects.elements import DataSet, items, numbers, raw, text

# Millimetres within which two positions are one: somebody may have written them with fewer digits.
_SAME_PLACE = 1e-3

# Attributes of position, number and acquisition. Of each row the first one counts that both objects have a value of;
# what only one of them has says nothing. Study and series are acquisitions of their own: with the same pixels what
# comes in another one is a correction all the same.
_EVIDENCE: tuple[tuple[str, ...], ...] = (
    ("ImagePositionPatient", "SliceLocation"),  # PS3.3 C.7.6.2.1.1, C.7.6.2.1.2
    ("InstanceNumber",),  # C.7.6.1.1
    ("AcquisitionNumber",),  # C.7.6.1.1, and the rest of the acquisition
    ("AcquisitionDateTime",),
    ("AcquisitionDate",),
    ("AcquisitionTime",),
    ("SeriesInstanceUID",),  # C.7.3.1
    ("StudyInstanceUID",),  # C.7.2.1
)

# Where an attribute stands in a multi-frame image, frame by frame: functional group and keyword (C.7.6.16.2).
_FRAMES: dict[str, tuple[str, str]] = {
    "ImagePositionPatient": ("PlanePositionSequence", "ImagePositionPatient"),
    "AcquisitionNumber": ("FrameContentSequence", "FrameAcquisitionNumber"),
    "AcquisitionDateTime": ("FrameContentSequence", "FrameAcquisitionDateTime"),
}
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


def elsewhere(one: DataSet, other: DataSet) -> bool:
    """Tell whether two objects differ in position, number or acquisition."""
    return any(_differ(row, one, other) for row in _EVIDENCE)


def _differ(keywords: tuple[str, ...], one: DataSet, other: DataSet) -> bool:
    for keyword in keywords:
        first, second = _values(one, keyword), _values(other, keyword)
        if first and second:
            same = _COMPARED.get(keyword, _same_text)
            return len(first) != len(second) or not all(map(same, first, second))
    return False


# A value in the data set that it stands in, as its VR and the time zone are needed.
_Value = tuple[DataSet, str]


def _values(ds: DataSet, keyword: str) -> list[_Value]:
    """Return where the values of an attribute are: at the top, or in the functional groups, frame by frame."""
    if raw(ds, keyword):
        return [(ds, keyword)]
    group, inner = _FRAMES.get(keyword, ("", ""))
    if not group:
        return []
    places = [item for name in _GROUPS for frame in items(ds, name) for item in items(frame, group)]
    return [(place, inner) for place in places if raw(place, inner)]


def _same_text(one: _Value, other: _Value) -> bool:
    return text(*one) == text(*other)


def _same_number(one: _Value, other: _Value) -> bool:
    if _same_text(one, other):
        return True
    try:
        first, second = numbers(*one), numbers(*other)
    except ObjectError:  # it is no number, and not the same text
        return False
    return len(first) == len(second) and all(
        math.isclose(a, b, rel_tol=0, abs_tol=_SAME_PLACE) for a, b in zip(first, second, strict=True)
    )


def _same_span(read: Callable[[str], forms.Span | None]) -> Callable[[_Value, _Value], bool]:
    """Return what compares dates or times: one with fewer components is the same as each that it contains."""

    def same(one: _Value, other: _Value) -> bool:
        first, second = read(text(*one)), read(text(*other))
        if first is None or second is None:
            return _same_text(one, other)
        return first.first <= second.last and second.first <= first.last

    return same


def _same_moment(one: _Value, other: _Value) -> bool:
    """Compare date and time; an offset from UTC counts where both have one."""
    texts = [text(*one), text(*other)]
    offsets = [forms.zone(value[-5:]) for value in texts]
    if None in offsets:
        texts = [value[:-5] if offset is not None else value for value, offset in zip(texts, offsets, strict=True)]
    first, second = map(forms.moment, texts)
    if first is None or second is None:
        return texts[0] == texts[1]
    return first.first <= second.last and second.first <= first.last


_COMPARED: dict[str, Callable[[_Value, _Value], bool]] = {
    "ImagePositionPatient": _same_number,
    "SliceLocation": _same_number,
    "InstanceNumber": _same_number,
    "AcquisitionNumber": _same_number,
    "AcquisitionDate": _same_span(forms.day),
    "AcquisitionTime": _same_span(forms.clock),
    "AcquisitionDateTime": _same_moment,
}
