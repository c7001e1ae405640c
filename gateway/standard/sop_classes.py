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
