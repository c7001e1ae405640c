"""Conditions of the standard, as the tables write them down, held against a classic image."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from gateway.conversion.enhanced_values import enhanced_value, is_gated
from gateway.objects.elements import DataSet, is_empty, items, tag_of, text, texts


def _original(ds: DataSet) -> bool:
    return texts(ds, "ImageType")[:1] == ("ORIGINAL",)


def _contrast(ds: DataSet) -> bool:
    """Tell whether contrast media were applied, as far as the image says."""
    return bool(items(ds, "ContrastBolusAgentSequence")) or text(ds, "ContrastBolusAgent").upper() not in ("", "NONE")


def _respiratory(ds: DataSet) -> bool:
    technique = text(ds, "RespiratoryMotionCompensationTechnique")
    return bool(technique) or "RG" in texts(ds, "ScanOptions")


_NAMED: dict[str, Callable[[DataSet], bool]] = {
    "original": _original,
    "never": lambda ds: False,
    "gated": is_gated,
    "respiratory": _respiratory,
    "contrast": _contrast,
}


def holds(condition: str, ds: DataSet) -> bool:
    """Tell whether a condition holds for a classic image.

    Parameters
    ----------
    condition : str
        As `gateway.standard.enhanced` describes it.
    ds : DataSet
        The classic image.
    """
    return all(_term(part, ds) for part in _parts(condition))


@lru_cache(maxsize=512)
def _parts(condition: str) -> tuple[str, ...]:
    return tuple(part for part in condition.split("&") if part)


def _term(part: str, ds: DataSet) -> bool:
    if part in _NAMED:
        return _NAMED[part](ds)
    if part[0] in "+-":
        return (not is_empty(enhanced_value(ds, part[1:]))) == (part[0] == "+")
    keyword, _, values = part.partition("=")
    wanted = values.split("|")
    if keyword.endswith("!"):
        return value_of(ds, keyword[:-1]) not in wanted
    return value_of(ds, keyword) in wanted


def value_of(ds: DataSet, keyword: str) -> str:
    """Return a value as text: of an attribute, or value 3 or 4 of Image Type."""
    if keyword in ("ImageType3", "ImageType4"):
        kind = texts(ds, "ImageType")
        index = int(keyword[-1]) - 1
        return kind[index] if len(kind) > index else ""
    if keyword not in _AS_IT_IS:
        found = enhanced_value(ds, keyword)
        return "" if found is None else text({found.tag: found}, found.tag)
    return text(ds, tag_of(keyword))


# Attributes that conditions name and that both forms have alike.
_AS_IT_IS = frozenset(("PhotometricInterpretation", "LossyImageCompression", "IntervalsAcquired"))
