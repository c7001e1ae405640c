"""What the Enhanced MR Image IOD demands (PS3.3 A.36, C.8.13.1, C.8.13.4, C.8.13.5)."""

from __future__ import annotations

from gateway.standard.enhanced import (
    CARDIAC,
    CONTRAST,
    CONTRASTS,
    EQUIPMENT,
    FLAVORS,
    FRAME_OF_REFERENCE,
    RESPIRATORY,
    YES_NO,
    rows,
    words,
)

MODULES = (
    FRAME_OF_REFERENCE,
    EQUIPMENT,
    CONTRAST,
    CARDIAC,
    RESPIRATORY,
    rows(
        "Bulk Motion Synchronization",
        "C.7.6.18.3",
        "+BulkMotionCompensationTechnique",
        """
        BulkMotionCompensationTechnique:1
        BulkMotionSignalSource:1C:BulkMotionCompensationTechnique!=NONE
        """,
    ),
    rows(
        "Enhanced MR Image",
        "C.8.13.1",
        "",
        """
        AcquisitionDateTime:1C:original AcquisitionDuration:1C:original ResonantNucleus:1C:original
        KSpaceFiltering:1C:original MagneticFieldStrength:1C:original ApplicableSafetyStandardAgency:1
        ContentQualification:1 BurnedInAnnotation:1 LossyImageCompression:1
        LossyImageCompressionRatio:1C:LossyImageCompression=01 LossyImageCompressionMethod:1C:LossyImageCompression=01
        """,
    ),
    rows(
        "MR Pulse Sequence",
        "C.8.13.4",
        "original",
        """
        PulseSequenceName:1 MRAcquisitionType:1 EchoPulseSequence:1 MultipleSpinEcho:1C:EchoPulseSequence!=GRADIENT
        MultiPlanarExcitation:1 PhaseContrast:1 VelocityEncodingAcquisitionSequence:1C:PhaseContrast=YES
        TimeOfFlightContrast:1 ArterialSpinLabelingContrast:1C:ImageType3=ASL SteadyStatePulseSequence:1
        EchoPlanarPulseSequence:1 SaturationRecovery:1 SpectrallySelectedSuppression:1 OversamplingPhase:1
        GeometryOfKSpaceTraversal:1 RectilinearPhaseEncodeReordering:1C:GeometryOfKSpaceTraversal=RECTILINEAR
        SegmentedKSpaceTraversal:1 CoverageOfKSpace:1C:MRAcquisitionType=3D NumberOfKSpaceTrajectories:1
        """,
    ),
)

# Macros of usage C that are demanded under other conditions than that of an original image.
MACROS = {
    "PixelValueTransformationSequence": "PhotometricInterpretation=MONOCHROME2",
    "MRFOVGeometrySequence": "original&GeometryOfKSpaceTraversal=RECTILINEAR",
    "MRDiffusionSequence": "original&AcquisitionContrast=DIFFUSION",
    "MRSpatialSaturationSequence": "original&SpatialPresaturation=SLAB",
    "MRMetaboliteMapSequence": "ImageType3=METABOLITE_MAP",
    "MRVelocityEncodingSequence": "original&PhaseContrast=YES",
    "MRArterialSpinLabelingSequence": "ImageType3=ASL",
}

# Conditional attributes of macros that are demanded under other conditions than that of an original image.
ATTRIBUTES = {
    "ComplexImageComponent": "",
    "AcquisitionContrast": "",
    "GradientOutputType": "+GradientOutput",
    "GradientOutput": "+GradientOutputType",
    "MRAcquisitionPhaseEncodingStepsOutOfPlane": "original&MRAcquisitionType=3D",
    "InversionTimes": "original&InversionRecovery=YES",
    "FlowCompensationDirection": "original&FlowCompensation!=NONE",
    "Spoiling": "original&EchoPulseSequence!=SPIN",
    "PartialFourierDirection": "original&PartialFourier=YES",
    "ParallelAcquisitionTechnique": "original&ParallelAcquisition=YES",
    "ParallelReductionFactorInPlane": "original&ParallelAcquisition=YES",
    "ParallelReductionFactorOutOfPlane": "original&ParallelAcquisition=YES",
    "ParallelReductionFactorSecondInPlane": "never",  # spectroscopy
    "TagSpacingFirstDimension": "original&Tagging=GRID|LINE",
    "TagAngleFirstAxis": "original&Tagging=GRID|LINE",
    "TagThickness": "original&Tagging=GRID|LINE",
    "TagSpacingSecondDimension": "original&Tagging=GRID",
    "TagAngleSecondAxis": "original&Tagging=GRID",
    "MultiCoilDefinitionSequence": "original&ReceiveCoilType=MULTICOIL",
    "DiffusionGradientDirectionSequence": "original&DiffusionDirectionality=DIRECTIONAL",
    "DiffusionBMatrixSequence": "original&DiffusionDirectionality=BMATRIX",
    "DiffusionAnisotropyType": "ImageType4=DIFFUSION_ANISO",
    "ASLCrusherFlowLimit": "ASLCrusherFlag=YES",
    "ASLCrusherDescription": "ASLCrusherFlag=YES",
    "ASLBolusCutoffTimingSequence": "ASLBolusCutoffFlag=YES",
    "ASLSlabSequence": "ASLContext=CONTROL|LABEL",
}

TERMS = {
    keyword: words(terms)
    for keyword, terms in {
        "ResonantNucleus": "1H 3HE 7LI 13C 19F 23NA 31P 129XE",
        "ApplicableSafetyStandardAgency": "IEC FDA MHW",
        "KSpaceFiltering": (
            "COSINE COSINE_SQUARED FERMI GAUSSIAN HAMMING HANNING LORENTZIAN LRNTZ_GSS_TRNSFM RIESZ TUKEY NONE"
        ),
        "ComplexImageComponent": "MAGNITUDE PHASE REAL IMAGINARY",
        "AcquisitionContrast": (
            "DIFFUSION FLOW_ENCODED FLUID_ATTENUATED PERFUSION PROTON_DENSITY STIR TAGGING T1 T2 T2_STAR TOF UNKNOWN"
        ),
        "MRAcquisitionType": "1D 2D 3D",
        "EchoPulseSequence": "SPIN GRADIENT BOTH",
        "SteadyStatePulseSequence": "FREE_PRECESSION TRANSVERSE TIME_REVERSED LONGITUDINAL NONE",
        "SpectrallySelectedSuppression": "FAT WATER FAT_AND_WATER SILICON_GEL NONE",
        "OversamplingPhase": "2D 3D 2D_3D NONE",
        "GeometryOfKSpaceTraversal": "RECTILINEAR RADIAL SPIRAL",
        "RectilinearPhaseEncodeReordering": "LINEAR CENTRIC SEGMENTED REVERSE_LINEAR REVERSE_CENTRIC UNKNOWN",
        "SegmentedKSpaceTraversal": "SINGLE PARTIAL FULL",
        "CoverageOfKSpace": "FULL CYLINDRICAL ELLIPSOIDAL WEIGHTED",
        "SpecificAbsorptionRateDefinition": "IEC_WHOLE_BODY IEC_PARTIAL_BODY IEC_HEAD IEC_LOCAL",
        "OperatingMode": "IEC_NORMAL IEC_FIRST_LEVEL IEC_SECOND_LEVEL",
        "InPlanePhaseEncodingDirection": "COLUMN ROW OTHER",
        "FlowCompensation": "ACCELERATION VELOCITY OTHER NONE",
        "Spoiling": "RF GRADIENT RF_AND_GRADIENT NONE",
        "SpectrallySelectedExcitation": "WATER FAT NONE",
        "SpatialPresaturation": "SLAB NONE",
        "PartialFourierDirection": "PHASE FREQUENCY SLICE_SELECT COMBINATION",
        "ParallelAcquisitionTechnique": "PILS SENSE SMASH OTHER",
        "MagnetizationTransfer": "ON_RESONANCE OFF_RESONANCE NONE",
        "Tagging": "GRID LINE NONE",
        "ReceiveCoilType": "BODY VOLUME SURFACE MULTICOIL",
        "TransmitCoilType": "BODY VOLUME SURFACE",
        "DiffusionDirectionality": "DIRECTIONAL BMATRIX ISOTROPIC NONE",
    }.items()
}
TERMS |= dict.fromkeys(
    (
        "MultipleSpinEcho", "MultiPlanarExcitation", "PhaseContrast", "TimeOfFlightContrast", "EchoPlanarPulseSequence",
        "SaturationRecovery", "InversionRecovery", "T2Preparation", "PartialFourier", "ParallelAcquisition",
        "BloodSignalNulling", "QuadratureReceiveCoil",
    ),
    YES_NO,
)  # fmt: skip
TERMS["OperatingModeType"] = frozenset(("STATIC FIELD", "RF", "GRADIENT"))
TERMS["ImageType3"] = FLAVORS | words(
    """
    ANGIO_TIME ASL CINE DIFFUSION DIXON FLOW_ENCODED FLUID_ATTENUATED FMRI MAX_IP MIN_IP M_MODE METABOLITE_MAP MULTIECHO
    PROTON_DENSITY REALTIME STIR TAGGING TEMPERATURE T1 T2 T2_STAR TOF VELOCITY
    """
)
TERMS["ImageType4"] = CONTRASTS | words(
    """
    ADC PERFUSION_ASL DIFFUSION DIFFUSION_ANISO DIFFUSION_ATTNTD DIFFUSION_ISO METABOLITE_MAP NEI R_COEFFICIENT RHO SCM
    SNR_MAP T1_MAP T2_STAR_MAP T2_MAP TCS TEMPERATURE VELOCITY FAT_FRACTION WATER_FRACTION
    """
)
