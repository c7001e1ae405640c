"""Units of PET images as codes of UCUM (PS3.3 C.8.9.1.1.3, PS3.16 CID 84 and CID 85)."""

from __future__ import annotations

# Units (0054,1001): code and meaning. NONE, and what the standard has no code for, have no row.
PET_UNITS: dict[str, tuple[str, str]] = {
    "CNTS": ("{counts}", "Counts"),
    "PROPCNTS": ("{propcounts}", "Proportional to counts"),
    "CPS": ("{counts}/s", "Counts per second"),
    "PROPCPS": ("{propcounts}/s", "Proportional to counts per second"),
    "BQML": ("Bq/ml", "Becquerels/milliliter"),
    "MGMINML": ("mg/min/ml", "Milligrams/minute/milliliter"),
    "UMOLMINML": ("umol/min/ml", "Micromole/minute/milliliter"),
    "MLMING": ("ml/min/g", "Milliliter/minute/gram"),
    "MLG": ("ml/g", "Milliliter/gram"),
    "1CM": ("/cm", "/Centimeter"),
    "UMOLML": ("umol/ml", "Micromole/milliliter"),
    "PCNT": ("%", "Percent"),
    "CM2": ("cm2", "Centimeter**2"),
}

# SUV Type (0054,1006) of Units GML and CM2ML (C.8.9.1.1.3.1): an absent one means body weight. LBM stands for the
# formula of James, as its code has it.
SUV_UNITS: dict[tuple[str, str], tuple[str, str]] = {
    ("GML", ""): ("g/ml{SUVbw}", "Standardized Uptake Value body weight"),
    ("GML", "BW"): ("g/ml{SUVbw}", "Standardized Uptake Value body weight"),
    ("GML", "LBM"): ("g/ml{SUVlbm}", "Standardized Uptake Value lean body mass (James)"),
    ("GML", "LBMJAMES128"): (
        "g/ml{SUVlbm(James128)}",
        "Standardized Uptake Value lean body mass (James 128 multiplier)",
    ),
    ("GML", "LBMJANMA"): ("g/ml{SUVlbm(Janma)}", "Standardized Uptake Value lean body mass (Janma)"),
    ("GML", "IBW"): ("g/ml{SUVibw}", "Standardized Uptake Value ideal body weight"),
    ("CM2ML", "BSA"): ("cm2/ml{SUVbsa}", "Standardized Uptake Value body surface area"),
}


def pet_unit(units: str, suv_type: str) -> tuple[str, str] | None:
    """Return code and meaning of the rescaled values of a PET image, None where the standard has no code for them.

    Parameters
    ----------
    units, suv_type : str
        Units and SUV Type of the image.
    """
    return PET_UNITS.get(units) or SUV_UNITS.get((units, suv_type))
