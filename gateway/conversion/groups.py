"""Functional groups of one frame from the attributes of its classic image (PS3.3 C.7.6.16.2, C.8.13.5, C.8.15.3).

What a group takes over unchanged is *consumed*: it can be read back from the group. What it only interprets (a body
part as a code, a date and a time as a datetime) stays where it was as well.
"""

from __future__ import annotations

import re

from gateway.conversion.identity import code
from gateway.objects.elements import (
    DataSet,
    Element,
    dataset,
    integer,
    is_empty,
    items,
    make,
    numbers,
    raw,
    sequence,
    tag_of,
    text,
    texts,
)
from gateway.standard.anatomy import BODY_PARTS
from gateway.standard.frame_type import (
    DERIVED_CONTRASTS,
    FRAME_TYPE_SEQUENCES,
    VOLUMETRIC_TERMS,
)

# Attributes that move as they are: group sequence, section, attributes, modalities.
VERBATIM: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
    ("PixelMeasuresSequence", "C.7.6.16.2.1", ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"), "CT MR PT"),
    ("PlanePositionSequence", "C.7.6.16.2.3", ("ImagePositionPatient",), "CT MR PT"),
    ("PlaneOrientationSequence", "C.7.6.16.2.4", ("ImageOrientationPatient",), "CT MR PT"),
    ("IrradiationEventIdentificationSequence", "C.7.6.16.2.18", ("IrradiationEventUID",), "CT PT"),
)

WINDOW = ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction")
RESCALE = ("RescaleIntercept", "RescaleSlope", "RescaleType")

# Center and width of the window for CT without one, and how a default window is marked.
SOFT_TISSUE = (40.0, 400.0)
DEFAULT_WINDOW = "DEFAULT, SOURCE HAS NONE"

# What an object says though a source may not, by the group that says it; None is the top level. Where a source has no
# such value, Unassigned says so by an empty one, which equals an absent one (Sup 157 FG): unfolding adds nothing.
STAND_INS: dict[int, int | None] = {
    tag_of(keyword): tag_of(home) if home else None
    for keyword, home in (
        ("RescaleType", "PixelValueTransformationSequence"),
        ("AnatomicRegionSequence", "FrameAnatomySequence"),
        ("DerivationCodeSequence", "DerivationImageSequence"),
        ("ContentDate", None),
        ("ContentTime", None),
        ("SeriesDate", None),
        ("SeriesTime", None),
        ("RequestAttributesSequence", None),
    )
}

REFERENCED_IMAGE = tag_of("ReferencedImageSequence")
SOURCE_IMAGE = tag_of("SourceImageSequence")
REAL_WORLD_VALUES = tag_of("RealWorldValueMappingSequence")
DERIVATION_IMAGE = tag_of("DerivationImageSequence")

# Purposes of references that do not state one: General Image calls them "significantly related, e.g. post-localizer
# CT image" (C.7.6.1), CID 7201; and "source" (CID 7202).
LOCALIZER = code("121311", "DCM", "Localizer")
SOURCE = code("121322", "DCM", "Source image for image processing operation")
LOSSY_COMPRESSION = code("113040", "DCM", "Lossy Compression")

Groups = dict[int, Element]


def frame_groups(ds: DataSet, modality: str) -> tuple[Groups, set[int]]:
    """Return the functional groups of one frame and the tags they consume.

    Frame Content and Conversion Source, which are never shared, are not among them; references still name the classic
    targets.

    Parameters
    ----------
    ds : DataSet
        Header of the classic image.
    modality : {"CT", "MR", "PT"}
        Row of table C.3.5-1.
    """
    groups: Groups = {}
    consumed: set[int] = set()
    for name, _section, keywords, modalities in VERBATIM:
        if modality in modalities:
            _move(ds, name, keywords, groups, consumed)
    _frame_voi_lut(ds, modality, groups, consumed)
    _pixel_value_transformation(ds, modality, groups, consumed)
    _frame_anatomy(ds, groups, consumed)
    _put(groups, FRAME_TYPE_SEQUENCES[modality], frame_type(ds))
    if modality != "CT" and items(ds, REAL_WORLD_VALUES):
        groups[REAL_WORLD_VALUES] = ds[REAL_WORLD_VALUES]  # C.7.6.16.2.11
        consumed.add(REAL_WORLD_VALUES)
    _references(ds, groups, consumed)
    return groups, consumed


def _put(groups: Groups, keyword: str, item: DataSet) -> None:
    element = sequence(keyword, item)
    groups[element.tag] = element


def _move(ds: DataSet, name: str, keywords: tuple[str, ...], groups: Groups, consumed: set[int]) -> None:
    found = [ds[tag] for tag in map(tag_of, keywords) if not is_empty(ds.get(tag))]
    if found:
        _put(groups, name, dataset(*found))
        consumed.update(element.tag for element in found)


def _frame_voi_lut(ds: DataSet, modality: str, groups: Groups, consumed: set[int]) -> None:
    """Frame VOI LUT (C.7.6.16.2.10): the image's own windows; CT and PET without any get a default one (E42).

    The default is a soft tissue window for CT in Hounsfield units, and for everything else the range of stored values,
    for PET from zero; its explanation says that the source had none.
    """
    centers, widths = texts(ds, "WindowCenter"), texts(ds, "WindowWidth")
    if centers and len(centers) == len(widths):
        _move(ds, "FrameVOILUTSequence", WINDOW, groups, consumed)
    elif modality != "MR":
        center, width = (
            SOFT_TISSUE if modality == "CT" and _rescale_type(ds, modality) == "HU" else _whole_range(ds, modality)
        )
        window = dataset(
            make("WindowCenter", f"{center:.10g}"),
            make("WindowWidth", f"{width:.10g}"),
            make("WindowCenterWidthExplanation", DEFAULT_WINDOW),
        )
        _put(groups, "FrameVOILUTSequence", window)


def _whole_range(ds: DataSet, modality: str) -> tuple[float, float]:
    """Return center and width of a window over all stored values: those the image states, else what its bits hold."""
    low, high = integer(ds, "SmallestImagePixelValue"), integer(ds, "LargestImagePixelValue")
    if low is None or high is None or low >= high:
        bits, signed = integer(ds, "BitsStored", 16) or 16, integer(ds, "PixelRepresentation")
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if modality == "PT":
        low = max(low, 0)
    slope, intercept = _first(ds, "RescaleSlope", 1.0), _first(ds, "RescaleIntercept", 0.0)
    return (low + high + 1) / 2 * slope + intercept, max((high - low + 1) * abs(slope), 1.0)


def _first(ds: DataSet, keyword: str, default: float) -> float:
    values = numbers(ds, keyword)
    return values[0] if values else default


def _pixel_value_transformation(ds: DataSet, modality: str, groups: Groups, consumed: set[int]) -> None:
    """Pixel Value Transformation (C.7.6.16.2.9, C.8.15.3.10): always for CT and PET, for MR when it rescales."""
    has_rescale = bool(text(ds, "RescaleSlope") and text(ds, "RescaleIntercept"))
    if modality == "MR" and not has_rescale:
        return
    found = {tag_of(keyword): ds[tag_of(keyword)] for keyword in RESCALE if text(ds, keyword)}
    consumed.update(found)
    for default in (
        make("RescaleIntercept", "0"),
        make("RescaleSlope", "1"),
        make("RescaleType", _rescale_type(ds, modality)),
    ):
        found.setdefault(default.tag, default)
    _put(groups, "PixelValueTransformationSequence", dataset(*found.values()))


def _rescale_type(ds: DataSet, modality: str) -> str:
    """Return Rescale Type: the image's, else what its modality's rescaled values are (E11)."""
    has_rescale = bool(text(ds, "RescaleSlope") and text(ds, "RescaleIntercept"))
    default = text(ds, "Units", "US") if modality == "PT" else "HU" if modality == "CT" and has_rescale else "US"
    return text(ds, "RescaleType", default)


def _frame_anatomy(ds: DataSet, groups: Groups, consumed: set[int]) -> None:
    """Frame Anatomy (C.7.6.16.2.8) from Anatomic Region Sequence or a standard Body Part Examined."""
    regions = items(ds, "AnatomicRegionSequence")
    part = BODY_PARTS.get(text(ds, "BodyPartExamined").upper())
    if regions:
        region = regions[0]
        if len(regions) == 1:
            consumed.add(tag_of("AnatomicRegionSequence"))
    elif part:
        region = code(part[0], "SCT", part[1])
    else:
        return
    side = text(ds, "ImageLaterality") or text(ds, "Laterality")
    laterality = make("FrameLaterality", side if side in ("R", "L", "B") else "U")
    _put(groups, "FrameAnatomySequence", dataset(laterality, sequence("AnatomicRegionSequence", region)))


def frame_type(ds: DataSet) -> DataSet:
    """Return the item of CT Image Frame Type, MR Image Frame Type or PET Frame Type (C.8.16.1, C.8.16.2).

    Values 1 and 3 of Frame Type are those of Image Type, value 2 can only be PRIMARY; value 4 is NONE for an original
    image, a standard term of derived contrast if the image has one, else empty, as only legacy converted objects may.
    """
    # Upper case of ASCII letters only: other letters might have one that the value's encoding lacks.
    kind = [value.strip() for value in raw(ds, "ImageType").upper().decode("latin-1").split("\\")]
    first = kind[0] if kind and kind[0] in ("ORIGINAL", "DERIVED") else "DERIVED"
    third = kind[2] if len(kind) > 2 and kind[2] else "VOLUME"
    contrast = "NONE"
    if first == "DERIVED":
        contrast = next((value for value in kind[3:] if value in DERIVED_CONTRASTS), "")
    properties, technique = _volume(first, kind)
    color = "TRUE_COLOR" if text(ds, "PhotometricInterpretation") == "RGB" else "MONOCHROME"
    return dataset(
        make("FrameType", first, "PRIMARY", third, contrast),
        make("PixelPresentation", color),
        make("VolumetricProperties", properties),
        make("VolumeBasedCalculationTechnique", technique),
    )


def _volume(first: str, kind: list[str]) -> tuple[str, str]:
    """Return Volumetric Properties and Volume Based Calculation Technique (tables C.8-133 and C.8-134)."""
    if first == "ORIGINAL":
        return "VOLUME", "NONE"
    words = {word for value in kind for word in re.split(r"[ _]", value)} | set(kind)
    for term, properties, technique in VOLUMETRIC_TERMS:
        if term in words:
            return properties, technique
    return "VOLUME", "MIXED"


def _references(ds: DataSet, groups: Groups, consumed: set[int]) -> None:
    """Referenced Image and Derivation Image (C.7.6.16.2.5, C.7.6.16.2.6), each reference with a purpose."""
    if items(ds, REFERENCED_IMAGE):
        groups[REFERENCED_IMAGE] = _with_purpose(ds[REFERENCED_IMAGE], LOCALIZER)
        consumed.add(REFERENCED_IMAGE)
    if items(ds, SOURCE_IMAGE):
        derivation = [ds[tag] for tag in map(tag_of, ("DerivationDescription",)) if not is_empty(ds.get(tag))]
        if items(ds, "DerivationCodeSequence"):
            derivation.append(ds[tag_of("DerivationCodeSequence")])
            consumed.add(tag_of("DerivationCodeSequence"))
        else:
            derivation.append(sequence("DerivationCodeSequence", LOSSY_COMPRESSION))
        derivation.append(_with_purpose(ds[SOURCE_IMAGE], SOURCE))
        _put(groups, "DerivationImageSequence", dataset(*derivation))
        consumed.update((SOURCE_IMAGE, tag_of("DerivationDescription")))


def _with_purpose(element: Element, purpose: DataSet) -> Element:
    """Return references that all say what they are for."""
    tag = tag_of("PurposeOfReferenceCodeSequence")
    assert isinstance(element.value, tuple)
    added = sequence("PurposeOfReferenceCodeSequence", purpose)
    found = tuple(item if not is_empty(item.get(tag)) else dataset(*item.values(), added) for item in element.value)
    return element._replace(value=found)


def frame_content(ds: DataSet) -> list[Element]:
    """Return what a classic image says for Frame Content (C.7.6.16.2.2): acquisition number and datetime."""
    found = []
    number = integer(ds, "AcquisitionNumber")
    if number is not None and 0 <= number <= 0xFFFF:
        found.append(make("FrameAcquisitionNumber", number))
    moment = text(ds, "AcquisitionDateTime")
    if not moment and re.fullmatch(r"\d{8}", text(ds, "AcquisitionDate")):
        time = text(ds, "AcquisitionTime")
        moment = text(ds, "AcquisitionDate") + (time if re.fullmatch(r"(\d\d){1,3}(\.\d{1,6})?", time) else "")
    if moment:
        found.append(make("FrameAcquisitionDateTime", moment))
    return found
