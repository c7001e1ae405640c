"""Enhanced to classic: one frame's attributes as the header of a classic image (PS3.4 C.3.5).

Everything of the top level, the shared groups and the frame's groups comes together at the top level; unassigned
attributes go last, because they hold the original of what the conversion had to change.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.conversion.groups import DEFAULT_WINDOW, STAND_INS, WINDOW
from gateway.conversion.identity import Identity
from gateway.conversion.keys import Key, keyed, placed
from gateway.conversion.top_level import ENHANCED_ONLY, own_frame_of_reference
from gateway.objects.elements import DataSet, Element, dataset, is_empty, items, make, sequence, tag_of, text, texts
from gateway.standard.frame_type import FRAME_TYPE_SEQUENCES
from gateway.standard.sop_classes import CONVERSIONS, LEGACY_MODALITIES

# Groups that are no plain containers of classic attributes.
_SPECIAL = frozenset(
    tag_of(keyword)
    for keyword in (
        "FrameContentSequence", "ConversionSourceAttributesSequence", "UnassignedSharedConvertedAttributesSequence",
        "UnassignedPerFrameConvertedAttributesSequence", *FRAME_TYPE_SEQUENCES.values(),
    )
)  # fmt: skip

# Groups whose sequence is that of the classic image.
_SAME_IN_CLASSIC = frozenset((tag_of("ReferencedImageSequence"), tag_of("RealWorldValueMappingSequence")))

_UNASSIGNED = ("UnassignedSharedConvertedAttributesSequence", "UnassignedPerFrameConvertedAttributesSequence")

_SOURCE = tag_of("ConversionSourceAttributesSequence")
_FRAME_LATERALITY = tag_of("FrameLaterality")


def unfold(top: DataSet, shared: DataSet, frame: DataSet) -> DataSet:
    """Return the attributes of one frame as those of a classic image, identity included.

    Parameters
    ----------
    top : DataSet
        Top level of the enhanced object.
    shared, frame : DataSet
        Item of the Shared Functional Groups Sequence, and the frame's item of the Per-Frame one.

    Returns
    -------
    DataSet
        SOP Class and Instance are those of the Conversion Source where there is one; Series is the original one where
        Unassigned has it.
    """
    found: dict[Key, Element] = {key: element for key, element in keyed(top) if key not in ENHANCED_ONLY}
    equipment = top.get(tag_of("ContributingEquipmentSequence"))
    if equipment is not None and isinstance(equipment.value, tuple) and len(equipment.value) > 1:
        found[equipment.tag] = equipment._replace(value=equipment.value[:-1])
    for groups in (shared, frame):
        for tag, group in groups.items():
            if tag in _SAME_IN_CLASSIC:
                found[tag] = group
            elif tag not in _SPECIAL and isinstance(group.value, tuple) and group.value:
                found.update(keyed(group.value[0]))
    found.pop(_FRAME_LATERALITY, None)
    _drop_stand_ins(top, found)
    _image_type(shared, frame, found)
    for groups, keyword in zip((shared, frame), _UNASSIGNED, strict=True):
        for item in items(groups, keyword):
            found.update(keyed(item))
    for stand_in in STAND_INS:
        if is_empty(found.get(stand_in)):
            found.pop(stand_in, None)
    _original_identity(frame, found)
    return placed(found.items())


def _image_type(shared: DataSet, frame: DataSet, found: dict[Key, Element]) -> None:
    for keyword in FRAME_TYPE_SEQUENCES.values():
        for item in (*items(shared, keyword), *items(frame, keyword)):
            found[tag_of("ImageType")] = make("ImageType", *texts(item, "FrameType"))


def _drop_stand_ins(top: DataSet, found: dict[Key, Element]) -> None:
    """Leave out what only the enhanced form requires and the sources may not have had."""
    explanation = found.get(tag_of("WindowCenterWidthExplanation"))
    if explanation is not None and text({explanation.tag: explanation}, explanation.tag) == DEFAULT_WINDOW:
        for keyword in WINDOW:
            found.pop(tag_of(keyword), None)
    if not items(top, "AcquisitionContextSequence"):
        found.pop(tag_of("AcquisitionContextSequence"), None)


def _original_identity(frame: DataSet, found: dict[Key, Element]) -> None:
    for item in items(frame, _SOURCE):
        found[tag_of("SOPClassUID")] = make("SOPClassUID", text(item, "ReferencedSOPClassUID"))
        found[tag_of("SOPInstanceUID")] = make("SOPInstanceUID", text(item, "ReferencedSOPInstanceUID"))
    reference = found.get(tag_of("FrameOfReferenceUID"))
    series = found.get(tag_of("SeriesInstanceUID"))
    if reference is not None and series is not None:
        own = own_frame_of_reference(text({series.tag: series}, series.tag))
        if text({reference.tag: reference}, reference.tag) == own:
            del found[reference.tag]


def classic_instance(top: DataSet, unfolded: DataSet, frame_number: int, identity: Identity) -> DataSet:
    """Return the header of the classic instance that a frame becomes when its source is not held.

    Parameters
    ----------
    top : DataSet
        Top level of the enhanced object.
    unfolded : DataSet
        Result of `unfold` for the frame.
    frame_number : int
        Number of the frame, from 1.
    identity : Identity
        Settings for Contributing Equipment.
    """
    modality = LEGACY_MODALITIES[text(top, "SOPClassUID")]
    source = dataset(
        make("ReferencedSOPClassUID", text(top, "SOPClassUID")),
        make("ReferencedSOPInstanceUID", text(top, "SOPInstanceUID")),
        make("ReferencedFrameNumber", frame_number),
    )
    equipment: Iterable[DataSet] = items(unfolded, "ContributingEquipmentSequence")
    added = dataset(
        make("SOPClassUID", CONVERSIONS[modality].classic),
        make("QueryRetrieveView", "CLASSIC"),
        sequence("ContributingEquipmentSequence", *equipment, identity.equipment("classic")),
        sequence("ConversionSourceAttributesSequence", source),
    )
    if is_empty(unfolded.get(tag_of("InstanceNumber"))):
        added[tag_of("InstanceNumber")] = make("InstanceNumber", frame_number)
    return dict(sorted((unfolded | added).items()))
