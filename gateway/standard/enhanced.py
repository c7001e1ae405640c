"""What the Enhanced CT, MR and PET Image IODs demand beyond what classic images have, as rows (PS3.3 A.36, A.38, A.56).

A condition is text: terms joined by ``&``, each ``original`` (value 1 of Image Type), ``never`` (nothing in a classic
image tells), ``+Keyword`` (has a value), ``-Keyword`` (has none), ``Keyword=A|B`` or ``Keyword!=A|B``; ``ImageType3``
and ``ImageType4`` stand for those values of Frame Type. An empty condition always holds.
"""

from __future__ import annotations

from typing import NamedTuple


class Demand(NamedTuple):
    """An attribute that an IOD demands.

    Attributes
    ----------
    path : tuple of str
        Keywords down to it; more than one if it is inside a sequence.
    type : str
        ``1``, ``1C``, ``2`` or ``2C``.
    condition : str
        When it is demanded.
    """

    path: tuple[str, ...]
    type: str
    condition: str


class Rows(NamedTuple):
    """Top-level attributes of one module that an IOD demands.

    Attributes
    ----------
    module, section : str
        Name and section of PS3.3.
    condition : str
        When the module is demanded.
    demands : tuple of Demand
        Its attributes of Type 1 and 2, conditional ones too.
    """

    module: str
    section: str
    condition: str
    demands: tuple[Demand, ...]


def words(text: str) -> frozenset[str]:
    """Return the words of a list of terms."""
    return frozenset(text.split())


def demands(text: str) -> tuple[Demand, ...]:
    """Return the rows of ``Path:Type`` or ``Path:Type:Condition`` entries."""
    found = []
    for entry in text.split():
        path, kind, condition = (*entry.split(":"), "")[:3]
        found.append(Demand(tuple(path.split("/")), kind, condition))
    return tuple(found)


def rows(module: str, section: str, condition: str, text: str) -> Rows:
    """Return the row of a module."""
    return Rows(module, section, condition, demands(text))


# When the macros of usage C that several IODs have are demanded, and which of their conditional attributes.
COMMON_MACROS: dict[str, str] = {
    "CardiacSynchronizationSequence": "original&+CardiacSynchronizationTechnique&CardiacSynchronizationTechnique!=NONE",
    "RespiratorySynchronizationSequence": (
        "original&+RespiratoryMotionCompensationTechnique"
        "&RespiratoryMotionCompensationTechnique!=NONE|REALTIME|BREATH_HOLD"
    ),
    "ContrastBolusUsageSequence": "contrast",
    "ReferencedImageSequence": "+ReferencedImageSequence",
    "DerivationImageSequence": "+SourceImageSequence",
}

COMMON_ATTRIBUTES: dict[str, str] = {
    # C.7.6.16.2.2, Supplement 157
    "FrameAcquisitionDateTime": "original",
    "FrameReferenceDateTime": "original",
    "FrameAcquisitionDuration": "original",
    # C.7.6.16.2.7
    "NominalPercentageOfCardiacPhase": "never",
    "RRIntervalTimeNominal": "CardiacSynchronizationTechnique!=NONE|REALTIME",
    "ActualCardiacTriggerDelayTime": "IntervalsAcquired=1",
    # C.7.6.16.2.17
    "NominalPercentageOfRespiratoryPhase": "never",
    "RespiratoryIntervalTime": "RespiratoryTriggerType=TIME|BOTH",
    "ActualRespiratoryTriggerDelayTime": "RespiratoryTriggerType=TIME|BOTH",
    "StartingRespiratoryAmplitude": "RespiratoryTriggerType=AMPLITUDE|BOTH",
    "StartingRespiratoryPhase": "+StartingRespiratoryAmplitude",
    "EndingRespiratoryAmplitude": "RespiratoryTriggerType=AMPLITUDE|BOTH",
    "EndingRespiratoryPhase": "+EndingRespiratoryAmplitude",
    "ContrastBolusAgentPhase": "never",
    # Computed, or alternatives within items that come from the source as they are.
    **dict.fromkeys(
        (
            "SpacingBetweenSlices", "StackID", "InStackPositionNumber", "TemporalPositionIndex", "DimensionIndexValues",
            "ReferencedFrameNumber", "ReferencedSegmentNumber", "PatientOrientation", "RealWorldValueFirstValueMapped",
            "RealWorldValueLastValueMapped", "RealWorldValueLUTData", "RealWorldValueIntercept", "RealWorldValueSlope",
            "DoubleFloatRealWorldValueFirstValueMapped", "DoubleFloatRealWorldValueLastValueMapped",
        ),
        "never",
    ),
}  # fmt: skip

EQUIPMENT = rows(
    "Enhanced General Equipment",
    "C.7.5.2",
    "",
    "Manufacturer:1 ManufacturerModelName:1 DeviceSerialNumber:1 SoftwareVersions:1",
)
FRAME_OF_REFERENCE = rows("Frame of Reference", "C.7.4.1", "", "FrameOfReferenceUID:1")

# ``gated`` and ``respiratory``: the classic image says so, see `gateway.conversion.conditions`.
CARDIAC = rows(
    "Cardiac Synchronization",
    "C.7.6.18.1",
    "gated",
    """
    CardiacSynchronizationTechnique:1 CardiacSignalSource:1C:CardiacSynchronizationTechnique!=NONE
    CardiacRRIntervalSpecified:1C:CardiacSynchronizationTechnique!=NONE
    CardiacBeatRejectionTechnique:1C:CardiacSynchronizationTechnique=PROSPECTIVE|RETROSPECTIVE
    LowRRValue:2C:CardiacSynchronizationTechnique=PROSPECTIVE|RETROSPECTIVE
    HighRRValue:2C:CardiacSynchronizationTechnique=PROSPECTIVE|RETROSPECTIVE
    IntervalsAcquired:2C:CardiacSynchronizationTechnique!=NONE
    IntervalsRejected:2C:CardiacSynchronizationTechnique!=NONE
    """,
)
RESPIRATORY = rows(
    "Respiratory Synchronization",
    "C.7.6.18.2",
    "respiratory",
    """
    RespiratoryMotionCompensationTechnique:1
    RespiratorySignalSource:1C:RespiratoryMotionCompensationTechnique!=NONE
    RespiratoryTriggerDelayThreshold:1C:RespiratoryMotionCompensationTechnique!=NONE|REALTIME|BREATH_HOLD
    """,
)
CONTRAST = rows(
    "Enhanced Contrast/Bolus",
    "C.7.6.4b",
    "contrast",
    """
    ContrastBolusAgentSequence:1 ContrastBolusAgentSequence/ContrastBolusAgentNumber:1
    ContrastBolusAgentSequence/ContrastBolusAdministrationRouteSequence:1
    """,
)

YES_NO = frozenset(("YES", "NO"))

# Enumerated Values and Defined Terms of attributes that all three have.
COMMON_TERMS: dict[str, frozenset[str]] = {
    keyword: words(terms)
    for keyword, terms in {
        "ContentQualification": "PRODUCT RESEARCH SERVICE",
        "BurnedInAnnotation": "NO",
        "LossyImageCompression": "00 01",
        "CardiacSynchronizationTechnique": "NONE REALTIME PROSPECTIVE RETROSPECTIVE PACED",
        "CardiacSignalSource": "ECG VCG PP MR",
        "CardiacBeatRejectionTechnique": "NONE RR_INTERVAL QRS_LOOP PVC",
        "RespiratoryMotionCompensationTechnique": (
            "NONE BREATH_HOLD REALTIME GATING TRACKING PHASE_ORDERING PHASE_RESCANNING RETROSPECTIVE CORRECTION"
        ),
        "RespiratorySignalSource": "NONE BELT NASAL_PROBE CO2_SENSOR NAVIGATOR MR_PHASE ECG",
        "ContrastBolusAgentAdministered": "YES NO",
        "RotationDirection": "CW CC",
        "VolumetricProperties": "VOLUME SAMPLED DISTORTED",
        "VolumeBasedCalculationTechnique": "MAX_IP MIN_IP VOLUME_RENDER SURFACE_RENDER MPR CURVED_MPR NONE",
    }.items()
}

# Value 3 of Frame Type, table C.8-129, common to all.
FLAVORS = words(
    """
    ANGIO CARDIAC CARDIAC_GATED CARDRESP_GATED DYNAMIC FLUOROSCOPY LOCALIZER MOTION PERFUSION PRE_CONTRAST
    POST_CONTRAST RESP_GATED REST STATIC STRESS VOLUME NON_PARALLEL PARALLEL WHOLE_BODY
    """
)

# Value 4 of Frame Type, table C.8-130, common to all.
CONTRASTS = words(
    """
    ADDITION DIVISION MASKED MAXIMUM MEAN MINIMUM MTT MULTIPLICATION NONE RCBF RCBV RESAMPLED STD_DEVIATION SUBTRACTION
    T_TEST TTP Z_SCORE QUANTITY
    """
)
