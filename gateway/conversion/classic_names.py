"""What a classic image must and can say that the enhanced one says in other words (PS3.3 C.7.6, C.8.2, C.8.3, C.8.9).

Only what is not there yet is filled, and what it is filled from stays: a later conversion finds the original.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache

from gateway.conversion.classic_pet import PET, patient_orientation
from gateway.conversion.classic_values import Filler, Whole, decimal
from gateway.conversion.keys import keyed, placed
from gateway.conversion.spacing import normal_of
from gateway.objects.elements import (
    DataSet,
    Element,
    empty,
    integer,
    is_empty,
    items,
    make,
    numbers,
    standard_vr,
    tag_of,
    text,
    texts,
)
from gateway.standard.anatomy import BODY_PARTS
from gateway.standard.classic_modules import CLASSIC_PIXELS, CLASSIC_REQUIRED, CONDITIONAL
from gateway.standard.classic_terms import CLASSIC_INSIDE, MR_IMAGE, MR_TERMS
from gateway.standard.functional_groups import CLASSIC_NAMES, CLASSIC_TERMS


def fill(ds: DataSet, modality: str, whole: Whole) -> None:
    """Add to the flattened attributes of a frame what classic images call otherwise.

    Parameters
    ----------
    ds : DataSet
        Result of `gateway.conversion.unfold.flatten`; elements are added in place.
    modality : {"CT", "MR", "PT"}
        Row of PS3.4 table C.3.5-1.
    whole : Whole
        What is known of the object besides.
    """
    for keyword, terms in CLASSIC_TERMS.items():
        back = {enhanced: classic for classic, enhanced in terms.items()}
        value = text(ds, keyword)
        if back.get(value, value) != value:
            ds[tag_of(keyword)] = make(keyword, back[value])
    if modality == "MR":
        _fill_from_inside(ds)
    for keyword, names in CLASSIC_NAMES.items():
        if is_empty(ds.get(tag_of(keyword))):
            continue
        for name in names:
            _fill_named(ds, keyword, name.keyword, name.factor)
    if modality == "PT":
        patient_orientation(ds)
    for keyword, filler in (*_FILLERS["all"].items(), *_FILLERS[modality].items()):
        if is_empty(ds.get(tag_of(keyword))):
            found = filler(ds, whole)
            if found is not None:
                ds[found.tag] = found


def _fill_from_inside(ds: DataSet) -> None:
    """Take attributes of the classic image from where a manufacturer is known to keep them.

    Those of the MR Image module, and private ones: nobody else knows what these are for. The sequence stays as well.
    """
    found = dict(keyed(ds))
    wanted = set(map(tag_of, MR_IMAGE))
    added = {}
    for key in CLASSIC_INSIDE:
        for item in items({0: found[key]}, 0) if key in found else ():
            for inner, element in keyed(item):
                usable = inner in wanted if isinstance(inner, int) else inner[3] >= 0
                if usable and is_empty(found.get(inner)) and not is_empty(element):
                    found[inner] = added[inner] = element
    if added:
        filled = placed(found.items())
        ds.clear()
        ds.update(filled)


def _fill_named(ds: DataSet, enhanced: str, classic: str, factor: float) -> None:
    tag = tag_of(classic)
    if not is_empty(ds.get(tag)):
        return
    vr, element = standard_vr(tag), ds[tag_of(enhanced)]
    if vr not in ("DS", "IS"):
        ds[tag] = element._replace(tag=tag, vr=vr)
        return
    value = numbers(ds, enhanced)[0] / factor
    ds[tag] = make(classic, decimal(value) if vr == "DS" else str(round(value)))


# All modalities


def _acquisition_date(ds: DataSet, whole: Whole) -> Element | None:
    moment = text(ds, "AcquisitionDateTime")
    return make("AcquisitionDate", moment[:8]) if re.match(r"\d{8}", moment) else None


def _acquisition_time(ds: DataSet, whole: Whole) -> Element | None:
    time = re.match(r"\d{8}((\d\d){1,3}(\.\d{1,6})?)", text(ds, "AcquisitionDateTime"))
    return make("AcquisitionTime", time[1]) if time and text(ds, "AcquisitionDate") == time[0][:8] else None


def _slice_location(ds: DataSet, whole: Whole) -> Element | None:
    """Return the distance of the plane from the origin along its normal, in mm: what viewers sort by (C.7.6.2.1.2)."""
    position, orientation = numbers(ds, "ImagePositionPatient"), numbers(ds, "ImageOrientationPatient")
    if len(position) != 3 or len(orientation) != 6 or not all(map(math.isfinite, (*position, *orientation))):
        return None
    place = sum(value * cosine for value, cosine in zip(position, normal_of(orientation), strict=True))
    return make("SliceLocation", decimal(round(place, 4) + 0.0))


def _spacing(ds: DataSet, whole: Whole) -> Element | None:
    return make("SpacingBetweenSlices", decimal(round(whole.spacing, 6))) if whole.spacing is not None else None


@lru_cache(maxsize=1)
def _parts_by_code() -> dict[str, str]:
    found: dict[str, str] = {}
    for part, (value, *_) in BODY_PARTS.items():
        found.setdefault(value, part)
    return found


def _body_part(ds: DataSet, whole: Whole) -> Element | None:
    regions = items(ds, "AnatomicRegionSequence")
    part = len(regions) == 1 and _parts_by_code().get(text(regions[0], "CodeValue"))
    return make("BodyPartExamined", part) if part else None


# MR


def _terms(keyword: str) -> Filler:
    def filler(ds: DataSet, whole: Whole) -> Element | None:
        rows = MR_TERMS[keyword]
        found = [term for term, source, values in rows if values.intersection(texts(ds, source))]
        if found:
            return make(keyword, *found)
        known = any(text(ds, source) for _, source, _ in rows)
        return make(keyword, "NONE") if known and keyword == "SequenceVariant" else None

    return filler


def _acquisition_matrix(ds: DataSet, whole: Whole) -> Element | None:
    """Return frequency rows and columns, phase rows and columns (C.8.3.1)."""
    frequency = integer(ds, "MRAcquisitionFrequencyEncodingSteps")
    phase = integer(ds, "MRAcquisitionPhaseEncodingStepsInPlane")
    direction = text(ds, "InPlanePhaseEncodingDirection")
    if frequency is None or phase is None or direction not in ("ROW", "COL"):
        return None
    return make("AcquisitionMatrix", *((frequency, 0, 0, phase) if direction == "COL" else (0, frequency, phase, 0)))


def _phase_steps(ds: DataSet, whole: Whole) -> Element | None:
    steps = integer(ds, "MRAcquisitionPhaseEncodingStepsInPlane")
    return make("NumberOfPhaseEncodingSteps", steps) if steps is not None else None


def _sar(ds: DataSet, whole: Whole) -> Element | None:
    """Return SAR, which is that of the whole body (C.8.3.1)."""
    rates = [
        item
        for item in items(ds, "SpecificAbsorptionRateSequence")
        if text(item, "SpecificAbsorptionRateDefinition") == "IEC_WHOLE_BODY"
    ]
    value = numbers(rates[0], "SpecificAbsorptionRateValue") if len(rates) == 1 else ()
    return make("SAR", decimal(value[0])) if value else None


def _echo_number(ds: DataSet, whole: Whole) -> Element | None:
    return make("EchoNumbers", whole.echo) if whole.echo else None


def _temporal_position(ds: DataSet, whole: Whole) -> Element | None:
    index = integer(ds, "TemporalPositionIndex")
    return make("TemporalPositionIdentifier", index) if index is not None and whole.times > 1 else None


def _number_of_temporal_positions(ds: DataSet, whole: Whole) -> Element | None:
    known = whole.times > 1 and integer(ds, "TemporalPositionIndex") is not None
    return make("NumberOfTemporalPositions", whole.times) if known else None


def _db_dt(ds: DataSet, whole: Whole) -> Element | None:
    value = numbers(ds, "GradientOutput")
    return make("dBdt", decimal(value[0])) if value and text(ds, "GradientOutputType") == "DB_DT" else None


def _diffusion_direction(ds: DataSet, whole: Whole) -> Element | None:
    directions = items(ds, "DiffusionGradientDirectionSequence")
    return directions[0].get(tag_of("DiffusionGradientOrientation")) if len(directions) == 1 else None


_FILLERS: dict[str, dict[str, Filler]] = {
    "all": {
        "AcquisitionDate": _acquisition_date,
        "AcquisitionTime": _acquisition_time,
        "BodyPartExamined": _body_part,
        "SliceLocation": _slice_location,
    },
    "CT": {"SpacingBetweenSlices": _spacing},
    "MR": {
        "ScanningSequence": _terms("ScanningSequence"),
        "SequenceVariant": _terms("SequenceVariant"),
        "ScanOptions": _terms("ScanOptions"),
        "AcquisitionMatrix": _acquisition_matrix,
        "NumberOfPhaseEncodingSteps": _phase_steps,
        "SAR": _sar,
        "SpacingBetweenSlices": _spacing,
        "EchoNumbers": _echo_number,
        "TemporalPositionIdentifier": _temporal_position,
        "NumberOfTemporalPositions": _number_of_temporal_positions,
        "dBdt": _db_dt,
        "DiffusionGradientOrientation": _diffusion_direction,
    },
    "PT": PET,
}


def complete(ds: DataSet, modality: str) -> list[str]:
    """Add empty Type 2 attributes that the classic IOD wants, and return what of Type 1 is missing or not allowed."""
    wanting: list[str] = []
    for row in CLASSIC_REQUIRED[modality]:
        for attribute in row.attributes:
            keyword, _, kind = attribute.partition(":")
            if not is_empty(ds.get(tag_of(keyword))):
                continue
            if kind == "1":
                wanting.append(f"{keyword} ({row.module}, {row.section})")
            elif not (row.module == "NM/PET Patient Orientation" and text(ds, "PatientPosition")):
                ds.setdefault(tag_of(keyword), empty(tag_of(keyword)))
    for where, keyword, other, values in CONDITIONAL:
        if modality == where and values.intersection(texts(ds, other)):
            ds.setdefault(tag_of(keyword), empty(tag_of(keyword)))
    for keyword, allowed in CLASSIC_PIXELS[modality].items():
        number = integer(ds, keyword)
        value = text(ds, keyword) if number is None else str(number)
        if value not in allowed:
            wanting.append(f"{keyword} {value!r} is not among {', '.join(sorted(allowed))}")
    return wanting
