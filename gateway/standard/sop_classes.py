"""SOP classes that conversions go between (PS3.4 table C.3.5-1)."""

from __future__ import annotations

from typing import NamedTuple


class Conversion(NamedTuple):
    """A row of table C.3.5-1: the SOP Class UIDs of one modality."""

    classic: str
    enhanced: str
    legacy: str


CONVERSIONS: dict[str, Conversion] = {
    "CT": Conversion("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2"),
    "MR": Conversion("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4"),
    "PT": Conversion("1.2.840.10008.5.1.4.1.1.128", "1.2.840.10008.5.1.4.1.1.130", "1.2.840.10008.5.1.4.1.1.128.1"),
}

CLASSIC_MODALITIES: dict[str, str] = {row.classic: modality for modality, row in CONVERSIONS.items()}
LEGACY_MODALITIES: dict[str, str] = {row.legacy: modality for modality, row in CONVERSIONS.items()}
ENHANCED_CLASSES: frozenset[str] = frozenset(
    uid for row in CONVERSIONS.values() for uid in (row.enhanced, row.legacy)
) | {"1.2.840.10008.5.1.4.1.1.4.3"}  # Enhanced MR Color Image

_STORAGE = "1.2.840.10008.5.1.4.1.1."

# Images that have one sample per pixel by definition of their IODs (PS3.3 A.2 to A.89, the image modules' own tables).
ONE_SAMPLE: frozenset[str] = frozenset(
    _STORAGE + ending
    for ending in (
        *("1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1"),  # computed and digital radiography
        *("2", "2.1", "2.2", "4", "4.1", "4.4", "128", "128.1", "130", "20"),  # CT, MR, PET, nuclear medicine
        *("12.1", "12.1.1", "12.2", "12.2.1", "13.1.1", "13.1.2", "13.1.3", "13.1.4", "13.1.5"),  # X-ray
        *("481.1", "481.2"),  # radiotherapy image and dose
    )
)
