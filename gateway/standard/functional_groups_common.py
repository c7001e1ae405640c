"""Functional group macros that CT, MR and PET have in common (PS3.3 C.7.6.16.2)."""

from gateway.standard.macros import Macro

COMMON = (
    Macro(
        "PixelMeasuresSequence",
        "Pixel Measures",
        "C.7.6.16.2.1",
        "MMM MMM",
        """
        SliceThickness:1C SpacingBetweenSlices:1C PixelSpacing:1C
        """,
    ),
    Macro(
        "FrameContentSequence",
        "Frame Content",
        "C.7.6.16.2.2",
        "MMM MMM",
        """
        FrameAcquisitionDateTime:1C FrameReferenceDateTime:1C RespiratoryCyclePosition:3
        FrameAcquisitionDuration:1C CardiacCyclePosition:3 StackID:1C InStackPositionNumber:1C
        TemporalPositionIndex:1C FrameAcquisitionNumber:3 DimensionIndexValues:1C FrameComments:3 FrameLabel:3
        """,
    ),
    Macro(
        "PlanePositionSequence",
        "Plane Position (Patient)",
        "C.7.6.16.2.3",
        "MMM MMM",
        """
        ImagePositionPatient:1C
        """,
    ),
    Macro(
        "PlaneOrientationSequence",
        "Plane Orientation (Patient)",
        "C.7.6.16.2.4",
        "MMM MMM",
        """
        ImageOrientationPatient:1C
        """,
    ),
    Macro(
        "ReferencedImageSequence",
        "Referenced Image",
        "C.7.6.16.2.5",
        "CCC CCC",
        """
        ReferencedSOPClassUID:1 ReferencedSOPInstanceUID:1 ReferencedFrameNumber:1C
        PurposeOfReferenceCodeSequence:1C ReferencedSegmentNumber:1C
        """,
    ),
    Macro(
        "DerivationImageSequence",
        "Derivation Image",
        "C.7.6.16.2.6",
        "CCC CCC",
        """
        DerivationDescription:3 SourceImageSequence:2 SourceImageSequence/ReferencedSOPClassUID:1
        SourceImageSequence/ReferencedSOPInstanceUID:1 SourceImageSequence/ReferencedFrameNumber:1C
        SourceImageSequence/PatientOrientation:1C SourceImageSequence/SpatialLocationsPreserved:3
        SourceImageSequence/PurposeOfReferenceCodeSequence:1C SourceImageSequence/ReferencedSegmentNumber:1C
        DerivationCodeSequence:1C
        """,
    ),
    Macro(
        "CardiacSynchronizationSequence",
        "Cardiac Synchronization",
        "C.7.6.16.2.7",
        "UUU CCC",
        """
        LowRRValue:3 HighRRValue:3 IntervalsAcquired:3 IntervalsRejected:3 HeartRate:3
        NominalCardiacTriggerDelayTime:1 NominalCardiacTriggerTimePriorToRPeak:3
        ActualCardiacTriggerTimePriorToRPeak:3 NominalPercentageOfCardiacPhase:1C RRIntervalTimeNominal:1C
        ActualCardiacTriggerDelayTime:1C
        """,
    ),
    Macro(
        "FrameAnatomySequence",
        "Frame Anatomy",
        "C.7.6.16.2.8",
        "CCC MMM",
        """
        AnatomicRegionSequence:1 AnatomicRegionSequence/AnatomicRegionModifierSequence:3
        PrimaryAnatomicStructureSequence:3
        PrimaryAnatomicStructureSequence/PrimaryAnatomicStructureModifierSequence:3 FrameLaterality:1
        """,
    ),
    Macro(
        "PixelValueTransformationSequence",
        "Pixel Value Transformation",
        "C.7.6.16.2.9, CT C.8.15.3.10",
        "MUM MCM",
        """
        RescaleIntercept:1 RescaleSlope:1 RescaleType:1
        """,
    ),
    Macro(
        "FrameVOILUTSequence",
        "Frame VOI LUT",
        "C.7.6.16.2.10",
        "MUM UUM",
        """
        WindowCenter:1 WindowWidth:1 WindowCenterWidthExplanation:3 VOILUTFunction:3
        """,
    ),
    Macro(
        "RealWorldValueMappingSequence",
        "Real World Value Mapping",
        "C.7.6.16.2.11",
        "-UU CUM",
        """
        LUTExplanation:1 MeasurementUnitsCodeSequence:1 LUTLabel:1 RealWorldValueLastValueMapped:1C
        RealWorldValueLUTData:1C DoubleFloatRealWorldValueLastValueMapped:1C
        DoubleFloatRealWorldValueFirstValueMapped:1C RealWorldValueFirstValueMapped:1C
        QuantityDefinitionSequence:3 RealWorldValueIntercept:1C RealWorldValueSlope:1C
        """,
    ),
    Macro(
        "ContrastBolusUsageSequence",
        "Contrast/Bolus Usage",
        "C.7.6.16.2.12",
        "UU- CC-",
        """
        ContrastBolusAgentNumber:1 ContrastBolusAgentAdministered:1 ContrastBolusAgentDetected:2
        ContrastBolusAgentPhase:2C
        """,
    ),
    Macro(
        "RespiratorySynchronizationSequence",
        "Respiratory Synchronization",
        "C.7.6.16.2.17",
        "UUU CCC",
        """
        NominalPercentageOfRespiratoryPhase:1C StartingRespiratoryAmplitude:1C StartingRespiratoryPhase:1C
        EndingRespiratoryAmplitude:1C EndingRespiratoryPhase:1C RespiratoryIntervalTime:1C
        NominalRespiratoryTriggerDelayTime:1 ActualRespiratoryTriggerDelayTime:1C
        """,
    ),
    Macro(
        "IrradiationEventIdentificationSequence",
        "Irradiation Event Identification",
        "C.7.6.16.2.18",
        "C-C M--",
        """
        IrradiationEventUID:1
        """,
    ),
    Macro(
        "TemporalPositionSequence",
        "Temporal Position",
        "C.7.6.16.2.23",
        "UUU UU-",
        """
        TemporalPositionTimeOffset:1
        """,
    ),
    Macro(
        "UnassignedSharedConvertedAttributesSequence",
        "Unassigned Shared Converted Attributes",
        "C.7.6.16.2.FG.1",
        "MMM ---",
        "",
    ),
    Macro(
        "UnassignedPerFrameConvertedAttributesSequence",
        "Unassigned Per-Frame Converted Attributes",
        "C.7.6.16.2.FG.2",
        "MMM ---",
        "",
    ),
    Macro(
        "ConversionSourceAttributesSequence",
        "Image Frame Conversion Source",
        "C.7.6.16.2.FG.3",
        "MMM ---",
        """
        ReferencedSOPClassUID:1 ReferencedSOPInstanceUID:1 ReferencedFrameNumber:1C ReferencedSegmentNumber:1C
        """,
    ),
)
