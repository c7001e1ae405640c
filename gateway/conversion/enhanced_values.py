"""The value of an attribute of the enhanced image as a classic one has it: by name, by its classic name, or derived.

Derived is only what the definitions of the standard say themselves: terms of Scanning Sequence and Corrected Image,
one date and one time as a datetime, an offset from a reference time. Nothing is guessed; what is not there is missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation

from gateway.conversion.axes import private
from gateway.objects.elements import (
    DataSet,
    Element,
    dataset,
    integer,
    is_empty,
    items,
    make,
    raw,
    sequence,
    settle_vr,
    standard_vr,
    tag_of,
    text,
    texts,
)
from gateway.standard.enhanced_mr import TERMS as MR_TERMS
from gateway.standard.enhanced_pet import CORRECTIONS
from gateway.standard.frame_type import (
    ACQUISITION_CONTRASTS,
    COMPLEX_COMPONENTS,
    DERIVED_CONTRASTS,
    NUMBERED_COMPONENTS,
)
from gateway.standard.functional_groups import CLASSIC_NAMES, CLASSIC_TERMS
from gateway.standard.private_hints import COMPONENT, ENHANCED_ITEM

CONTRASTS = MR_TERMS["AcquisitionContrast"]

_TIME = re.compile(r"(\d\d){1,3}(\.\d{1,6})?")
_DATE = re.compile(r"\d{8}")
_WHOLE = {"US": (0, 0xFFFF), "UL": (0, 0xFFFFFFFF), "SS": (-0x8000, 0x7FFF), "SL": (-0x80000000, 0x7FFFFFFF)}


def enhanced_value(ds: DataSet, keyword: str) -> Element | None:
    """Return an attribute as the enhanced image has it, None if the classic image does not tell.

    Parameters
    ----------
    ds : DataSet
        The classic image.
    keyword : str
        Keyword of the enhanced attribute.
    """
    own = ds.get(tag_of(keyword))
    if own is not None and not is_empty(own):
        term = CLASSIC_TERMS.get(keyword, {}).get(text(ds, keyword))
        return make(keyword, term) if term else own
    for name in CLASSIC_NAMES.get(keyword, ()):
        found = _converted(ds, name.keyword, keyword, name.factor)
        if found is not None:
            return found
    derive = _DERIVED.get(keyword)
    return derive(ds, keyword) if derive else None


def is_verbatim(ds: DataSet, element: Element) -> bool:
    """Tell whether the classic image has an element just as it is, so that moving it loses nothing (E46)."""
    return ds.get(element.tag) == element


def _converted(ds: DataSet, source: str, keyword: str, factor: float) -> Element | None:
    """Return the value of another attribute in the VR of `keyword`, if that holds it exactly."""
    if not text(ds, source) or is_empty(ds.get(tag_of(source))):
        return None
    vr = settle_vr(standard_vr(tag_of(keyword)), signed=False)
    values = texts(ds, source)
    if vr not in ("FD", *_WHOLE):
        return make(keyword, *values)
    try:
        exact = [Decimal(value) * Decimal(str(factor)) for value in values]
    except InvalidOperation:
        return None
    if not all(value.is_finite() for value in exact):
        return None
    if vr == "FD":
        return make(keyword, *(float(value) for value in exact))
    low, high = _WHOLE[vr]
    if any(value != value.to_integral_value() or not low <= value <= high for value in exact):
        return None
    return make(keyword, *(int(value) for value in exact))


def moment(ds: DataSet, date: str, time: str) -> str:
    """Return a date and a time as a datetime, empty if they are none."""
    if not _DATE.fullmatch(text(ds, date)):
        return ""
    found = text(ds, time)
    return text(ds, date) + (found if _TIME.fullmatch(found) else "")


def _acquired(ds: DataSet, keyword: str) -> Element | None:
    found = moment(ds, "AcquisitionDate", "AcquisitionTime")
    return make(keyword, found) if found else None


def _reference(ds: DataSet, keyword: str) -> Element | None:
    """Frame Reference Time is in milliseconds from the Series Date and Time (C.8.9.4.1.6)."""
    start, offset = moment(ds, "SeriesDate", "SeriesTime"), text(ds, "FrameReferenceTime")
    if len(start) < 14 or not offset:
        return None
    try:
        microseconds = Decimal(offset) * 1000
        began = datetime.strptime(start.ljust(15, ".").ljust(21, "0"), "%Y%m%d%H%M%S.%f")
        if microseconds != microseconds.to_integral_value():
            return None
        when = began + timedelta(microseconds=int(microseconds))
    except (InvalidOperation, ValueError, OverflowError):
        return None
    return make(keyword, when.strftime("%Y%m%d%H%M%S.%f"))


def _scanning(ds: DataSet) -> frozenset[str]:
    """Return the terms of Scanning Sequence (C.8.3.1); none of a research sequence, which they do not describe."""
    terms = frozenset(texts(ds, "ScanningSequence"))
    return terms if terms <= {"SE", "IR", "GR", "EP"} else frozenset()


def _echo(ds: DataSet, keyword: str) -> Element | None:
    kinds = _scanning(ds) & {"SE", "GR"}
    term = {("SE",): "SPIN", ("GR",): "GRADIENT", ("GR", "SE"): "BOTH"}.get(tuple(sorted(kinds)))
    return make(keyword, term) if term else None


def _in_scanning(term: str) -> Callable[[DataSet, str], Element | None]:
    def derive(ds: DataSet, keyword: str) -> Element | None:
        found = _scanning(ds)
        return make(keyword, "YES" if term in found else "NO") if found else None

    return derive


def _steady_state(ds: DataSet, keyword: str) -> Element | None:
    variant = texts(ds, "SequenceVariant")
    term = "TIME_REVERSED" if "TRSS" in variant else "NONE" if variant == ("NONE",) else ""
    return make(keyword, term) if term else None


def _no_variant(ds: DataSet, keyword: str) -> Element | None:
    """NONE in Sequence Variant excludes every variant it has a term for; a list does not say that it is complete."""
    return make(keyword, "NONE") if texts(ds, "SequenceVariant") == ("NONE",) else None


def _scan_option(options: dict[str, str]) -> Callable[[DataSet, str], Element | None]:
    def derive(ds: DataSet, keyword: str) -> Element | None:
        found = {value for option, value in options.items() if option in texts(ds, "ScanOptions")}
        if not found:
            return None
        return make(keyword, found.pop() if len(found) == 1 else "COMBINATION")

    return derive


def _correction(ds: DataSet, keyword: str) -> Element | None:
    applied = texts(ds, "CorrectedImage")
    return make(keyword, "YES" if CORRECTIONS[keyword] in applied else "NO") if applied else None


def _beside(ds: DataSet, keyword: str) -> str:
    """Return what the maker's item of the enhanced image's attributes says, empty if there is none (E51)."""
    found = private(ds, ENHANCED_ITEM)
    said = items({found.tag: found}, found.tag) if found is not None else ()
    return text(said[0], keyword) if len(said) == 1 else ""


def _by_image_type(ds: DataSet, terms: Mapping[str, str]) -> str:
    """Return what the values of Image Type from the third on stand for, empty unless they stand for one thing."""
    found = {terms[value] for value in texts(ds, "ImageType")[2:] if value in terms}
    return found.pop() if len(found) == 1 else ""


def _complex_component(ds: DataSet, keyword: str) -> Element | None:
    """Return Complex Image Component wherever the source states it (E50)."""
    said = _beside(ds, keyword)
    term = said if said in NUMBERED_COMPONENTS else _by_image_type(ds, COMPLEX_COMPONENTS)
    if not term:
        number = private(ds, COMPONENT)
        which = integer({number.tag: number}, number.tag) if number is not None else None
        term = NUMBERED_COMPONENTS[which] if which is not None and 0 <= which < len(NUMBERED_COMPONENTS) else ""
    return make(keyword, term) if term else None


def _contrast(ds: DataSet, keyword: str) -> Element | None:
    """Return Acquisition Contrast wherever the source states it (E50)."""
    said = _beside(ds, keyword)
    term = said if said in CONTRASTS else _by_image_type(ds, ACQUISITION_CONTRASTS)
    return make(keyword, term) if term else None


def derived_contrast(ds: DataSet) -> str:
    """Return value 4 of the Frame Type of a derived image: a standard term, wherever the source states it (E50)."""
    own = texts(ds, "FrameType")[3:] or tuple(_beside(ds, "FrameType").split("\\")[3:])
    stated = [value.strip() for value in raw(ds, "ImageType").upper().decode("latin-1").split("\\")][2:]
    return next((value for value in (*own, *stated) if value in DERIVED_CONTRASTS and value != "NONE"), "")


def _gradient_direction(ds: DataSet, keyword: str) -> Element | None:
    direction = ds.get(tag_of("DiffusionGradientOrientation"))
    return None if direction is None or is_empty(direction) else sequence(keyword, dataset(direction))


_DERIVED: dict[str, Callable[[DataSet, str], Element | None]] = {
    "AcquisitionDateTime": _acquired,
    "FrameAcquisitionDateTime": _acquired,
    "FrameReferenceDateTime": _reference,
    "EchoPulseSequence": _echo,
    "EchoPlanarPulseSequence": _in_scanning("EP"),
    "InversionRecovery": _in_scanning("IR"),
    "SteadyStatePulseSequence": _steady_state,
    "Spoiling": _no_variant,
    "MagnetizationTransfer": _no_variant,
    "PartialFourier": _scan_option({"PFF": "YES", "PFP": "YES"}),
    "PartialFourierDirection": _scan_option({"PFF": "FREQUENCY", "PFP": "PHASE"}),
    "SpatialPresaturation": _scan_option({"SP": "SLAB"}),
    "SpectrallySelectedSuppression": _scan_option({"FS": "FAT"}),
    "ComplexImageComponent": _complex_component,
    "AcquisitionContrast": _contrast,
    "DiffusionGradientDirectionSequence": _gradient_direction,
    **dict.fromkeys(CORRECTIONS, _correction),
}


def is_gated(ds: DataSet) -> bool:
    """Tell whether a classic image says that the heart steered its acquisition (C.8.3.1, C.7.6.18.1).

    Trigger Time alone does not: dynamic series without any trigger carry it as their time.
    """
    technique = text(ds, "CardiacSynchronizationTechnique")
    if technique:
        return technique != "NONE"
    if {"CG", "PPG"} & set(texts(ds, "ScanOptions")) or "GATED" in texts(ds, "SeriesType"):
        return True
    return (integer(ds, "HeartRate", 0) or 0) > 0 or (integer(ds, "NominalInterval", 0) or 0) > 0
