"""Functional group macros of MR (PS3.3 C.8.13.5)."""

from gateway.standard.macros import Macro

MR = (
    Macro(
        "MRImageFrameTypeSequence",
        "MR Image Frame Type",
        "C.8.13.5.1",
        "-M- -M-",
        """
        FrameType:1 PixelPresentation:1 VolumetricProperties:1 VolumeBasedCalculationTechnique:1
        ComplexImageComponent:1C AcquisitionContrast:1C FunctionalSettlingPhaseFramesPresent:3
        """,
    ),
    Macro(
        "MRTimingAndRelatedParametersSequence",
        "MR Timing and Related Parameters",
        "C.8.13.5.2",
        "--- -C-",
        """
        RepetitionTime:1C EchoTrainLength:1C FlipAngle:1C OperatingModeSequence:1C
        OperatingModeSequence/OperatingModeType:1 OperatingModeSequence/OperatingMode:1 GradientOutputType:1C
        GradientOutput:1C SpecificAbsorptionRateSequence:1C
        SpecificAbsorptionRateSequence/SpecificAbsorptionRateDefinition:1
        SpecificAbsorptionRateSequence/SpecificAbsorptionRateValue:1 RFEchoTrainLength:1C
        GradientEchoTrainLength:1C
        """,
    ),
    Macro(
        "MRFOVGeometrySequence",
        "MR FOV/Geometry",
        "C.8.13.5.3",
        "--- -C-",
        """
        PercentSampling:1C PercentPhaseFieldOfView:1C InPlanePhaseEncodingDirection:1C
        MRAcquisitionFrequencyEncodingSteps:1C MRAcquisitionPhaseEncodingStepsInPlane:1C
        MRAcquisitionPhaseEncodingStepsOutOfPlane:1C
        """,
    ),
    Macro(
        "MREchoSequence",
        "MR Echo",
        "C.8.13.5.4",
        "--- -C-",
        """
        EffectiveEchoTime:1C
        """,
    ),
    Macro(
        "MRModifierSequence",
        "MR Modifier",
        "C.8.13.5.5",
        "--- -C-",
        """
        InversionRecovery:1C FlowCompensation:1C Spoiling:1C T2Preparation:1C SpectrallySelectedExcitation:1C
        SpatialPresaturation:1C PartialFourierDirection:1C ParallelReductionFactorInPlane:1C
        ParallelAcquisition:1C ParallelAcquisitionTechnique:1C InversionTimes:1C PartialFourier:1C
        ParallelReductionFactorOutOfPlane:1C ParallelReductionFactorSecondInPlane:1C
        FlowCompensationDirection:1C
        """,
    ),
    Macro(
        "MRImagingModifierSequence",
        "MR Imaging Modifier",
        "C.8.13.5.6",
        "--- -C-",
        """
        PixelBandwidth:1C TagAngleFirstAxis:1C MagnetizationTransfer:1C BloodSignalNulling:1C Tagging:1C
        TagSpacingFirstDimension:1C TagThickness:1C TransmitterFrequency:1C TaggingDelay:3
        TagSpacingSecondDimension:1C TagAngleSecondAxis:1C
        """,
    ),
    Macro(
        "MRReceiveCoilSequence",
        "MR Receive Coil",
        "C.8.13.5.7",
        "--- -C-",
        """
        ReceiveCoilName:1C ReceiveCoilManufacturerName:2C ReceiveCoilType:1C QuadratureReceiveCoil:1C
        MultiCoilDefinitionSequence:1C MultiCoilDefinitionSequence/MultiCoilElementName:1
        MultiCoilDefinitionSequence/MultiCoilElementUsed:1 MultiCoilConfiguration:3
        """,
    ),
    Macro(
        "MRTransmitCoilSequence",
        "MR Transmit Coil",
        "C.8.13.5.8",
        "--- -C-",
        """
        TransmitCoilName:1C TransmitCoilManufacturerName:2C TransmitCoilType:1C
        """,
    ),
    Macro(
        "MRDiffusionSequence",
        "MR Diffusion",
        "C.8.13.5.9",
        "--- -C-",
        """
        DiffusionDirectionality:1C DiffusionGradientDirectionSequence:1C
        DiffusionGradientDirectionSequence/DiffusionGradientOrientation:1C DiffusionBValue:1C
        DiffusionAnisotropyType:1C DiffusionBMatrixSequence:1C DiffusionBMatrixSequence/DiffusionBValueXX:1
        DiffusionBMatrixSequence/DiffusionBValueXY:1 DiffusionBMatrixSequence/DiffusionBValueXZ:1
        DiffusionBMatrixSequence/DiffusionBValueYY:1 DiffusionBMatrixSequence/DiffusionBValueYZ:1
        DiffusionBMatrixSequence/DiffusionBValueZZ:1
        """,
    ),
    Macro(
        "MRAveragesSequence",
        "MR Averages",
        "C.8.13.5.10",
        "--- -C-",
        """
        NumberOfAverages:1C
        """,
    ),
    Macro(
        "MRSpatialSaturationSequence",
        "MR Spatial Saturation",
        "C.8.13.5.11",
        "--- -C-",
        """
        SlabThickness:1 SlabOrientation:1 MidSlabPosition:1
        """,
    ),
    Macro(
        "MRMetaboliteMapSequence",
        "MR Metabolite Map",
        "C.8.13.5.12",
        "--- -C-",
        """
        MetaboliteMapDescription:1C MetaboliteMapCodeSequence:3 ChemicalShiftSequence:3
        ChemicalShiftSequence/ChemicalShiftMinimumIntegrationLimitInppm:1
        ChemicalShiftSequence/ChemicalShiftMaximumIntegrationLimitInppm:1
        """,
    ),
    Macro(
        "MRVelocityEncodingSequence",
        "MR Velocity Encoding",
        "C.8.13.5.13",
        "--- -C-",
        """
        VelocityEncodingDirection:1C VelocityEncodingMinimumValue:1C VelocityEncodingMaximumValue:1C
        """,
    ),
    Macro(
        "MRArterialSpinLabelingSequence",
        "MR Arterial Spin Labeling",
        "C.8.13.5.14",
        "--- -C-",
        """
        ASLTechniqueDescription:2 ASLContext:1C ASLCrusherFlag:1 ASLCrusherFlowLimit:1C ASLCrusherDescription:1C
        ASLBolusCutoffFlag:1 ASLBolusCutoffTimingSequence:1C
        ASLBolusCutoffTimingSequence/ASLBolusCutoffTechnique:2
        ASLBolusCutoffTimingSequence/ASLBolusCutoffDelayTime:1 ASLSlabSequence:1C
        ASLSlabSequence/AnatomicRegionSequence:3
        ASLSlabSequence/AnatomicRegionSequence/AnatomicRegionModifierSequence:3
        ASLSlabSequence/PrimaryAnatomicStructureSequence:3
        ASLSlabSequence/PrimaryAnatomicStructureSequence/PrimaryAnatomicStructureModifierSequence:3
        ASLSlabSequence/ASLSlabNumber:1 ASLSlabSequence/ASLSlabThickness:1 ASLSlabSequence/ASLSlabOrientation:1
        ASLSlabSequence/ASLMidSlabPosition:1 ASLSlabSequence/ASLPulseTrainDuration:1
        """,
    ),
    Macro(
        "FunctionalMRSequence",
        "Functional MR",
        "C.8.13.5.15",
        "--- -U-",
        """
        FunctionalSyncPulse:1 SettlingPhaseFrame:1C
        """,
    ),
)
