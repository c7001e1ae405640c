"""Who converts, and under which rules: the identity settings and the conversion edition."""

from __future__ import annotations

import re
from dataclasses import astuple, dataclass

from gateway.conversion.keys import keyed
from gateway.conversion.private_block import EDITION_TEXT, MODEL, element_of, key_of, reserved
from gateway.objects.elements import DataSet, Element, dataset, items, make, padded, sequence, stripped, tag_of, text

# Raised whenever output bytes change for unchanged input: UIDs depend on it, so that two editions never give
# different bytes under one UID.
EDITION = 2

# The strings that PS3.4 C.3.5 wants in Contribution Description, by what was done.
CONTRIBUTIONS = {
    "enhanced": "Legacy Enhanced Image created from Classic Images",
    "classic": "Classic Image created from Enhanced Image",
    "references": "Updated UID references during Legacy Enhanced Classic conversion",
}


def code(value: str, scheme: str, meaning: str) -> DataSet:
    """Return an item of a code sequence (PS3.3 section 8.8)."""
    keyword = "CodeValue" if len(value) <= 16 else "LongCodeValue"  # SH has 16 characters (PS3.5 6.2)
    return dataset(make(keyword, value), make("CodingSchemeDesignator", scheme), make("CodeMeaning", meaning))


CONVERSION_EQUIPMENT = code("109106", "DCM", "Enhanced Multi-frame Conversion Equipment")

_EDITION = "conversion edition "
_EDITION_NUMBER = re.compile(_EDITION + r"(\d{1,6})", re.ASCII)


# How a series of several volumes is laid out: an object for each, or one object.
VOLUMES, ONE = "volumes", "one"


@dataclass(frozen=True)
class Identity:
    """What converted objects say about the equipment that made them.

    Attributes
    ----------
    manufacturer, model, institution, station : str
        Go into the new item of Contributing Equipment Sequence; empty ones are left out. Readers that look into every
        item, as dcm2niix does, take institution and station for the scanner's, so that the box gives none.
    seed : str
        Enters every UID: two boxes with different seeds make different UIDs of the same images.
    four_d : {"volumes", "one"}
        Whether a series with several volumes becomes an object for each, or one object where standard attributes tell
        all of its volumes apart (E55).
    """

    manufacturer: str = "Gateway"
    model: str = "DICOM edge gateway"
    institution: str = ""
    station: str = ""
    seed: str = ""
    four_d: str = VOLUMES

    @property
    def parts(self) -> tuple[str, ...]:
        """What enters every UID: all settings, as all of them enter the bytes that the UID stands for."""
        return astuple(self)

    def equipment(self, contribution: str) -> DataSet:
        """Return the item of Contributing Equipment Sequence for a conversion (PS3.4 C.3.5, PS3.3 C.12.1).

        Contribution DateTime is left out: a true one would make every conversion different. So are Manufacturer's Model
        Name and Software Versions (Type 3): dcm2niix takes the last ones of an object for the scanner's. What a recall
        needs, the edition, is in a private element.

        Parameters
        ----------
        contribution : str
            Key of `CONTRIBUTIONS`.
        """
        optional = [
            make(keyword, value)
            for keyword, value in (("InstitutionName", self.institution), ("StationName", self.station))
            if value
        ]
        return dataset(
            make("Manufacturer", self.manufacturer),
            *optional,
            make("ContributionDescription", CONTRIBUTIONS[contribution]),
            *reserved(_text(EDITION_TEXT, f"{_EDITION}{EDITION}"), *([_text(MODEL, self.model)] if self.model else [])),
            sequence("PurposeOfReferenceCodeSequence", CONVERSION_EQUIPMENT),
        )


def _text(number: int, value: str) -> Element:
    return element_of(number, padded(value.encode("latin-1", "replace"), "LO"))


def is_conversion(item: DataSet) -> bool:
    """Tell whether an item of Contributing Equipment Sequence is that of a conversion, whoever has made it."""
    wanted = text(CONVERSION_EQUIPMENT, "CodeValue"), text(CONVERSION_EQUIPMENT, "CodingSchemeDesignator")
    purposes = items(item, "PurposeOfReferenceCodeSequence")
    return wanted in {(text(one, "CodeValue"), text(one, "CodingSchemeDesignator")) for one in purposes}


def edition_of(item: DataSet) -> int | None:
    """Return the conversion edition that an item of Contributing Equipment Sequence names, None if it is no box's.

    The first edition stood in Software Versions.
    """
    element = dict(keyed(item)).get(key_of(EDITION_TEXT))
    own = element.value if element is not None and isinstance(element.value, bytes) else b""
    found = _EDITION_NUMBER.fullmatch(stripped(own).decode("latin-1") or text(item, "SoftwareVersions"))
    return int(found[1]) if found else None


def without_contribution_time(element: Element | None) -> tuple[DataSet, ...]:
    """Return the items of Contributing Equipment Sequence without Contribution DateTime, as G8 compares them."""
    if element is None or not isinstance(element.value, tuple):
        return ()
    time = tag_of("ContributionDateTime")
    return tuple({tag: part for tag, part in item.items() if tag != time} for item in element.value)
