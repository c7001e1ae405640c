"""Whether an image has a window of its own, and by what a default one can be chosen if it has none (E42)."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import NamedTuple

from gateway.errors import ObjectError
from gateway.objects.elements import DataSet, Element, items, make, numbers, text, texts
from gateway.objects.remembered import remembered

# How a default window is marked; the first is that of conversion edition 1.
OLD_DEFAULT_WINDOW = "DEFAULT, SOURCE HAS NONE"
DEFAULT_WINDOW = "GATEWAY DEFAULT, SOURCE HAS NONE"

# Center and width of the window for CT in Hounsfield units: soft tissue.
SOFT_TISSUE = ("40", "400")

# Upper end of the window for PET, as a Standardized Uptake Value by body weight.
SUV_SHOWN = 10

# Doses beyond these are not in becquerel, or no dose for a patient (Bq).
_PLAUSIBLE_DOSE = (1e5, 1e12)


class Window(NamedTuple):
    """A default window, as decimal strings.

    Attributes
    ----------
    center, width : str
        In rescaled values.
    function : str
        VOI LUT Function, empty for LINEAR.
    """

    center: str
    width: str
    function: str = ""

    def elements(self) -> tuple[Element, ...]:
        """Return the attributes of the window (C.11.2)."""
        found = (
            make("WindowCenter", self.center),
            make("WindowWidth", self.width),
            make("WindowCenterWidthExplanation", DEFAULT_WINDOW),
        )
        return (*found, make("VOILUTFunction", self.function)) if self.function else found

    @classmethod
    def spanning(cls, low: float, high: float) -> Window:
        """Return the window from one rescaled value to another.

        A width under 1 has no meaning with the function LINEAR (C.11.2.1.2.1), so that it is LINEAR_EXACT then.
        """
        width = high - low
        if not width > 0:
            width = 1.0
        return cls(f"{low + width / 2:.8g}", f"{width:.8g}", "LINEAR_EXACT" if width < 1 else "")


class Need(NamedTuple):
    """What the default window of an image can be chosen by.

    Attributes
    ----------
    by : {"HU", "SUV", "values"}
        Hounsfield units; Standardized Uptake Values; the values of its pixels.
    unit : float
        Rescaled value of an SUV of 1, if it is chosen by SUV.
    """

    by: str
    unit: float = 0.0


@remembered
def window_need(ds: DataSet, modality: str) -> Need | None:
    """Return what the default window of an image is chosen by; None for one with a window, and for MR.

    Parameters
    ----------
    ds : DataSet
        Header of the classic image.
    modality : {"CT", "MR", "PT"}
        Row of table C.3.5-1.
    """
    if modality == "MR" or has_window(ds):
        return None
    if modality == "CT":
        rescaled = bool(text(ds, "RescaleSlope") and text(ds, "RescaleIntercept"))
        return Need("HU") if rescaled and text(ds, "RescaleType", "HU") == "HU" else Need("values")
    try:
        unit = suv_unit(ds)
    except (ObjectError, ValueError, OverflowError):
        unit = None
    return Need("values") if unit is None else Need("SUV", unit)


def has_window(ds: DataSet) -> bool:
    """Tell whether an image has a window that can be applied: as many centers as widths, and none without a width."""
    centers, widths = texts(ds, "WindowCenter"), texts(ds, "WindowWidth")
    if not centers or len(centers) != len(widths):
        return False
    try:
        values = [*map(float, centers), *map(float, widths)]
    except ValueError:
        return False
    return all(map(math.isfinite, values)) and all(float(width) > 0 for width in widths)


def suv_unit(ds: DataSet) -> float | None:
    """Return the rescaled value that stands for an SUV by body weight of 1, None where the image does not tell.

    The uptake is the activity in a gram of the patient's share of the dose, both at the same time (C.8.9.1.1.3): the
    dose is counted down to the time for which the activity holds, which Decay Correction names.
    """
    units = text(ds, "Units")
    if units == "GML" and text(ds, "SUVType", "BW") == "BW":
        return 1.0
    if units != "BQML" or len(items(ds, "RadiopharmaceuticalInformationSequence")) != 1:
        return None
    tracer = items(ds, "RadiopharmaceuticalInformationSequence")[0]
    weight, dose = _number(ds, "PatientWeight"), _number(tracer, "RadionuclideTotalDose")
    if not 0 < weight < 1000 or not _PLAUSIBLE_DOSE[0] < dose < _PLAUSIBLE_DOSE[1]:
        return None
    correction = text(ds, "DecayCorrection")
    if correction == "ADMIN":
        return dose / (weight * 1000)
    if correction != "START":
        return None
    half_life, since = _number(tracer, "RadionuclideHalfLife"), _seconds_since_dose(ds, tracer)
    if half_life <= 0 or since is None:
        return None
    return dose * 2.0 ** (-since / half_life) / (weight * 1000)


def _number(ds: DataSet, keyword: str) -> float:
    found = numbers(ds, keyword)
    return found[0] if len(found) == 1 and math.isfinite(found[0]) else 0.0


def _seconds_since_dose(ds: DataSet, tracer: DataSet) -> float | None:
    """Return how long before the start of the scan the dose was given, None if that is not stated credibly.

    The scan starts with the earlier of Series Time and Acquisition Time: Series Time of a series that was made later is
    the time of making it, and then only an image that was taken first has the start as its own time.
    """
    series = _moment(text(ds, "SeriesDate"), text(ds, "SeriesTime"))
    acquired = _moment(text(ds, "AcquisitionDate") or text(ds, "SeriesDate"), text(ds, "AcquisitionTime"))
    given = text(tracer, "RadiopharmaceuticalStartDateTime")
    start = _moment(given[:8], given[8:].partition("+")[0].partition("-")[0])
    if start is None:
        start = _moment(text(ds, "SeriesDate"), text(tracer, "RadiopharmaceuticalStartTime"))
        if start is not None and series is not None and start > series:
            start -= timedelta(days=1)  # a scan after midnight
    if start is None or series is None or acquired is None or series > acquired:
        return None
    since = (series - start).total_seconds()
    return since if 0 <= since < 3 * 86400 else None


def _moment(date: str, time: str) -> datetime | None:
    """Return a date and a time (PS3.5 6.2) as one, without a time zone."""
    whole, _, fraction = time.replace(":", "").strip().partition(".")
    if len(whole) < 2:
        return None
    try:
        found = datetime.strptime(date.replace(".", "")[:8] + whole.ljust(6, "0"), "%Y%m%d%H%M%S")
        return found + timedelta(microseconds=int(fraction[:6].ljust(6, "0")))
    except ValueError:
        return None
