"""Functional group macros of CT (PS3.3 C.8.15.3)."""

from gateway.standard.macros import Macro

CT = (
    Macro(
        "CTImageFrameTypeSequence",
        "CT Image Frame Type",
        "C.8.15.3.1",
        "M-- M--",
        """
        FrameType:1 PixelPresentation:1 VolumetricProperties:1 VolumeBasedCalculationTechnique:1
        """,
    ),
    Macro(
        "CTAcquisitionTypeSequence",
        "CT Acquisition Type",
        "C.8.15.3.2",
        "--- C--",
        """
        AcquisitionType:1C TubeAngle:1C ConstantVolumeFlag:1C FluoroscopyFlag:1C
        """,
    ),
    Macro(
        "CTAcquisitionDetailsSequence",
        "CT Acquisition Details",
        "C.8.15.3.3",
        "--- C--",
        """
        DataCollectionDiameter:1C GantryDetectorTilt:1C TableHeight:1C RotationDirection:1C RevolutionTime:1C
        SingleCollimationWidth:1C TotalCollimationWidth:1C ReferencedPathIndex:1C
        """,
    ),
    Macro(
        "CTTableDynamicsSequence",
        "CT Table Dynamics",
        "C.8.15.3.4",
        "--- C--",
        """
        TableSpeed:1C TableFeedPerRotation:1C SpiralPitchFactor:1C
        """,
    ),
    Macro(
        "CTPositionSequence",
        "CT Position",
        "C.8.15.3.5",
        "--- C--",
        """
        DataCollectionCenterPatient:1C ReconstructionTargetCenterPatient:1C TablePosition:1C
        """,
    ),
    Macro(
        "CTGeometrySequence",
        "CT Geometry",
        "C.8.15.3.6",
        "--- C--",
        """
        DistanceSourceToDetector:1C DistanceSourceToDataCollectionCenter:1C ReferencedPathIndex:1C
        """,
    ),
    Macro(
        "CTReconstructionSequence",
        "CT Reconstruction",
        "C.8.15.3.7",
        "--- C--",
        """
        ReconstructionDiameter:1C ConvolutionKernel:1C ReconstructionAlgorithm:1C ConvolutionKernelGroup:1C
        ReconstructionFieldOfView:1C ReconstructionAngle:1C ImageFilter:1C ReconstructionPixelSpacing:1C
        """,
    ),
    Macro(
        "CTExposureSequence",
        "CT Exposure",
        "C.8.15.3.8",
        "--- C--",
        """
        ImageAndFluoroscopyAreaDoseProduct:3 WaterEquivalentDiameter:3
        WaterEquivalentDiameterCalculationMethodCodeSequence:1C ExposureModulationType:1C ExposureTimeInms:1C
        XRayTubeCurrentInmA:1C ExposureInmAs:1C CTDIvol:2C CTDIPhantomTypeCodeSequence:3
        ReferencedXRaySourceIndex:1C
        """,
    ),
    Macro(
        "CTXRayDetailsSequence",
        "CT X-Ray Details",
        "C.8.15.3.9",
        "--- C--",
        """
        KVP:1C FilterType:1C FocalSpots:1C FilterMaterial:1C CalciumScoringMassFactorPatient:3
        CalciumScoringMassFactorDevice:3 EnergyWeightingFactor:1C ReferencedPathIndex:1C
        """,
    ),
    Macro(
        "CTAdditionalXRaySourceSequence",
        "CT Additional X-Ray Source",
        "C.8.15.3.11",
        "--- C--",
        """
        KVP:1 DataCollectionDiameter:1 FilterType:1 FocalSpots:1 FilterMaterial:1 XRayTubeCurrentInmA:1
        ExposureInmAs:1 EnergyWeightingFactor:1C
        """,
    ),
    Macro(
        "MultienergyCTCharacteristicsSequence",
        "Multi-energy CT Characteristics",
        "C.8.15.3.12",
        "--- U--",
        """
        MonoenergeticEnergyEquivalent:1C DerivationAlgorithmSequence:3 PerformedProcessingParametersSequence:3
        """,
    ),
    Macro(
        "MultienergyCTProcessingSequence",
        "Multi-energy CT Processing",
        "C.8.15.3.13",
        "--- C--",
        """
        DecompositionMethod:1 DecompositionDescription:3 DecompositionAlgorithmIdentificationSequence:3
        DecompositionMaterialSequence:3
        """,
    ),
)
