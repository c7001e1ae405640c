"""What a classic PET image says that the enhanced one says in other words (PS3.3 C.8.9)."""

from __future__ import annotations

import re
from datetime import datetime

from gateway.conversion.classic_values import Filler, Whole, decimal
from gateway.conversion.identity import code
from gateway.conversion.unfold import keep_replaced
from gateway.objects.elements import (
    DataSet,
    Element,
    dataset,
    integer,
    items,
    make,
    numbers,
    sequence,
    tag_of,
    text,
    texts,
)
from gateway.standard.classic_terms import PET_CORRECTIONS, PET_POSITIONS, PET_UNITS
from gateway.standard.units import SUV_UNITS

# SUV Type by the code of its unit.
SUV_TYPES = {unit: kind for (_, kind), (unit, _) in SUV_UNITS.items()}


def patient_orientation(ds: DataSet) -> None:
    """Say by codes how the patient lies: PET images that have these have no Patient Position (C.7.3.1)."""
    position = PET_POSITIONS.get(text(ds, "PatientPosition"))
    if position is None or items(ds, "PatientOrientationCodeSequence"):
        return
    orientation, modifier, gantry = (code(value, "SCT", meaning) for value, meaning in position)
    orientation |= dataset(sequence("PatientOrientationModifierCodeSequence", modifier))
    added = (
        sequence("PatientOrientationCodeSequence", orientation),
        sequence("PatientGantryRelationshipCodeSequence", gantry),
    )
    ds.update((element.tag, element) for element in added)
    keep_replaced(ds, ds.pop(tag_of("PatientPosition")))


def _units(ds: DataSet, whole: Whole) -> Element | None:
    for mapping in items(ds, "RealWorldValueMappingSequence"):
        for unit in items(mapping, "MeasurementUnitsCodeSequence"):
            found = PET_UNITS.get(text(unit, "CodeValue") or text(unit, "LongCodeValue"))
            if found:
                return make("Units", found)
    rescaled = text(ds, "RescaleType")
    return make("Units", rescaled) if rescaled in PET_UNITS.values() else None


def _suv_type(ds: DataSet, whole: Whole) -> Element | None:
    """Return SUV Type by the unit of the real world values; absent for body weight, which it then means (C.8.9.1)."""
    for mapping in items(ds, "RealWorldValueMappingSequence"):
        for unit in items(mapping, "MeasurementUnitsCodeSequence"):
            found = SUV_TYPES.get(text(unit, "CodeValue") or text(unit, "LongCodeValue"), "")
            if found not in ("", "BW"):
                return make("SUVType", found)
    return None


def _series_type(ds: DataSet, whole: Whole) -> Element | None:
    gated = bool(numbers(ds, "NominalCardiacTriggerDelayTime"))
    return make("SeriesType", "GATED" if gated else "DYNAMIC" if whole.times > 1 else "STATIC", "IMAGE")


def _corrected_image(ds: DataSet, whole: Whole) -> Element | None:
    found = [term for term, keyword in PET_CORRECTIONS if text(ds, keyword) == "YES"]
    return make("CorrectedImage", *found) if found else None


def _decay_correction(ds: DataSet, whole: Whole) -> Element | None:
    """Return to what moment decay was corrected (C.8.9.1.1.7), if it is one that the classic image has a term for."""
    if text(ds, "DecayCorrected") == "NO":
        return make("DecayCorrection", "NONE")
    moment = seconds(text(ds, "DecayCorrectionDateTime"))
    if moment is None:
        return None
    for item in items(ds, "RadiopharmaceuticalInformationSequence"):
        if seconds(text(item, "RadiopharmaceuticalStartDateTime")) == moment:
            return make("DecayCorrection", "ADMIN")
    return make("DecayCorrection", "START") if moment == _series_start(ds) else None


def seconds(moment: str) -> float | None:
    """Return a DICOM date and time as seconds, for differences; None if it is no complete one."""
    found = re.match(r"(\d{8})(\d{2})(\d{2})?(\d{2})?(\.\d{1,6})?", moment)
    if not found:
        return None
    date, hour, minute, second, fraction = found.groups()
    try:
        start = datetime.strptime(date, "%Y%m%d") - datetime(1900, 1, 1)
    except ValueError:
        return None
    return start.total_seconds() + int(hour) * 3600 + int(minute or 0) * 60 + int(second or 0) + float(fraction or 0)


def _series_start(ds: DataSet) -> float | None:
    return seconds(text(ds, "SeriesDate") + text(ds, "SeriesTime"))


def _frame_reference_time(ds: DataSet, whole: Whole) -> Element | None:
    """Return milliseconds from the series' reference time to the middle of the frame (C.8.9.4.1.5)."""
    start, moment = _series_start(ds), seconds(text(ds, "FrameReferenceDateTime"))
    if start is None or moment is None:
        return None
    return make("FrameReferenceTime", decimal(round((moment - start) * 1000, 3)))


def _frame_duration(ds: DataSet, whole: Whole) -> Element | None:
    value = numbers(ds, "FrameAcquisitionDuration")
    return make("ActualFrameDuration", round(value[0])) if value else None


def _image_index(ds: DataSet, whole: Whole) -> Element | None:
    """Return ((time slice - 1) x slices) + slice (C.8.9.4.1.9)."""
    place, moment = integer(ds, "InStackPositionNumber"), integer(ds, "TemporalPositionIndex", 1) or 1
    return make("ImageIndex", whole.number if place is None else (moment - 1) * whole.positions + place)


def _from_date(target: str, source: str) -> Filler:
    def filler(ds: DataSet, whole: Whole) -> Element | None:
        value = text(ds, source)
        return make(target, value) if value else None

    return filler


def _number_of_time_slices(ds: DataSet, whole: Whole) -> Element | None:
    dynamic = texts(ds, "SeriesType")[:1] == ("DYNAMIC",)
    return make("NumberOfTimeSlices", whole.times) if dynamic else None


PET: dict[str, Filler] = {
    "SeriesDate": _from_date("SeriesDate", "ContentDate"),
    "SeriesTime": _from_date("SeriesTime", "ContentTime"),
    "Units": _units,
    "SUVType": _suv_type,
    "SeriesType": _series_type,
    "NumberOfSlices": lambda ds, whole: make("NumberOfSlices", whole.positions),
    "NumberOfTimeSlices": _number_of_time_slices,
    "CorrectedImage": _corrected_image,
    "DecayCorrection": _decay_correction,
    "FrameReferenceTime": _frame_reference_time,
    "ActualFrameDuration": _frame_duration,
    "ImageIndex": _image_index,
}
