"""Who converts, and under which rules: the identity settings and the conversion edition."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from gateway.objects.elements import DataSet, Element, dataset, make, sequence, tag_of

# Raised whenever output bytes change for unchanged input: UIDs depend on it, so that two editions never give
# different bytes under one UID.
EDITION = 2

# The strings that PS3.4 C.3.5 wants in Contribution Description, by what was done.
CONTRIBUTIONS = {
    "enhanced": "Legacy Enhanced Image created from Classic Images",
    "classic": "Classic Image created from Enhanced Image",
    "references": "Updated UID references during Legacy Enhanced Classic conversion",
}


@dataclass(frozen=True)
class Identity:
    """What converted objects say about the equipment that made them.

    Attributes
    ----------
    manufacturer, model, institution, station : str
        Go into the new item of Contributing Equipment Sequence; empty ones are left out.
    seed : str
        Enters every UID: two boxes with different seeds make different UIDs of the same images.
    """

    manufacturer: str = "Gateway"
    model: str = "DICOM edge gateway"
    institution: str = ""
    station: str = ""
    seed: str = ""

    @property
    def parts(self) -> tuple[str, ...]:
        """What enters every UID: all settings, as all of them enter the bytes that the UID stands for."""
        return astuple(self)

    def equipment(self, contribution: str) -> DataSet:
        """Return the item of Contributing Equipment Sequence for a conversion (PS3.4 C.3.5, PS3.3 C.12.1).

        Contribution DateTime is left out: a true one would make every conversion different.

        Parameters
        ----------
        contribution : str
            Key of `CONTRIBUTIONS`.
        """
        purpose = code("109106", "DCM", "Enhanced Multi-frame Conversion Equipment")
        optional = [
            make(keyword, value)
            for keyword, value in (("InstitutionName", self.institution), ("StationName", self.station))
            if value
        ]
        return dataset(
            make("Manufacturer", self.manufacturer),
            *optional,
            make("ManufacturerModelName", self.model),
            make("SoftwareVersions", f"conversion edition {EDITION}"),
            make("ContributionDescription", CONTRIBUTIONS[contribution]),
            sequence("PurposeOfReferenceCodeSequence", purpose),
        )


def code(value: str, scheme: str, meaning: str) -> DataSet:
    """Return an item of a code sequence (PS3.3 section 8.8)."""
    return dataset(make("CodeValue", value), make("CodingSchemeDesignator", scheme), make("CodeMeaning", meaning))


def without_contribution_time(element: Element | None) -> tuple[DataSet, ...]:
    """Return the items of Contributing Equipment Sequence without Contribution DateTime, as G8 compares them."""
    if element is None or not isinstance(element.value, tuple):
        return ()
    time = tag_of("ContributionDateTime")
    return tuple({tag: part for tag, part in item.items() if tag != time} for item in element.value)
