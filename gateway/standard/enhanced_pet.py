"""What the Enhanced PET Image IOD demands (PS3.3 A.56, C.8.22)."""

from __future__ import annotations

from gateway.standard.enhanced import (
    CARDIAC,
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
    CARDIAC,
    RESPIRATORY,
    rows(
        "Enhanced PET Isotope",
        "C.8.22.4",
        "",
        """
        RadiopharmaceuticalInformationSequence:1
        RadiopharmaceuticalInformationSequence/RadiopharmaceuticalAgentNumber:1
        RadiopharmaceuticalInformationSequence/RadionuclideCodeSequence:1
        RadiopharmaceuticalInformationSequence/AdministrationRouteCodeSequence:1
        RadiopharmaceuticalInformationSequence/RadiopharmaceuticalStartDateTime:1
        RadiopharmaceuticalInformationSequence/RadionuclideHalfLife:1
        RadiopharmaceuticalInformationSequence/RadionuclidePositronFraction:1
        RadiopharmaceuticalInformationSequence/RadiopharmaceuticalCodeSequence:1
        """,
    ),
    rows(
        "Enhanced PET Acquisition",
        "C.8.22.2",
        "",
        """
        AcquisitionStartCondition:1C:original StartDensityThreshold:1C:AcquisitionStartCondition=DENS
        StartRelativeDensityDifferenceThreshold:1C:AcquisitionStartCondition=RDD
        StartCardiacTriggerCountThreshold:1C:AcquisitionStartCondition=CARD_TRIG
        StartRespiratoryTriggerCountThreshold:1C:AcquisitionStartCondition=RESP_TRIG
        AcquisitionTerminationCondition:1C:original TerminationCountsThreshold:1C:AcquisitionTerminationCondition=CNTS
        TerminationDensityThreshold:1C:AcquisitionTerminationCondition=DENS
        TerminationRelativeDensityThreshold:1C:AcquisitionTerminationCondition=RDD
        TerminationTimeThreshold:1C:AcquisitionTerminationCondition=TIME
        TerminationCardiacTriggerCountThreshold:1C:AcquisitionTerminationCondition=CARD_TRIG
        TerminationRespiratoryTriggerCountThreshold:1C:AcquisitionTerminationCondition=RESP_TRIG
        TypeOfDetectorMotion:1C:original DetectorGeometry:1C:original&TypeOfDetectorMotion=STATIONARY
        TransverseDetectorSeparation:1C:original AxialDetectorDimension:1C:original CollimatorType:1C:original
        CoincidenceWindowWidth:1C:original EnergyWindowRangeSequence:1C:original
        EnergyWindowRangeSequence/EnergyWindowLowerLimit:1 EnergyWindowRangeSequence/EnergyWindowUpperLimit:1
        TableMotion:1 TimeOfFlightInformationUsed:1 ViewCodeSequence:1
        """,
    ),
    rows(
        "Enhanced PET Image",
        "C.8.22.3",
        "",
        """
        AcquisitionDateTime:1C:original AcquisitionDuration:1C:original ContentQualification:1 BurnedInAnnotation:1
        LossyImageCompression:1 LossyImageCompressionRatio:1C:LossyImageCompression=01
        LossyImageCompressionMethod:1C:LossyImageCompression=01
        """,
    ),
    rows(
        "Enhanced PET Corrections",
        "C.8.22.x",
        "",
        """
        CountsSource:1 DecayCorrected:1 AttenuationCorrected:1 ScatterCorrected:1 DeadTimeCorrected:1
        GantryMotionCorrected:1 PatientMotionCorrected:1 CountLossNormalizationCorrected:1 RandomsCorrected:1
        NonUniformRadialSamplingCorrected:1 SensitivityCalibrated:1 DetectorNormalizationCorrection:1
        RandomsCorrectionMethod:1C:RandomsCorrected=YES AttenuationCorrectionSource:1C:AttenuationCorrected=YES
        AttenuationCorrectionTemporalRelationship:1C:AttenuationCorrected=YES
        ScatterCorrectionMethod:1C:ScatterCorrected=YES DecayCorrectionDateTime:1C:DecayCorrected=YES
        """,
    ),
)

# Macros of usage C that are demanded under other conditions than that of an original image.
MACROS = {
    "CardiacSynchronizationSequence": "+CardiacSynchronizationTechnique&CardiacSynchronizationTechnique!=NONE",
    "RespiratorySynchronizationSequence": (
        "+RespiratoryMotionCompensationTechnique&RespiratoryMotionCompensationTechnique!=NONE"
    ),
    "PETDetectorMotionDetailsSequence": "original&TypeOfDetectorMotion!=STATIONARY",
    "PETTableDynamicsSequence": "original&TableMotion=DYNAMIC",
    "PatientPhysiologicalStateSequence": "ImageType3=REST|STRESS",
}

# Conditional attributes of macros that are demanded under other conditions than that of an original image.
ATTRIBUTES = {
    "DecayFactor": "original&DecayCorrected=YES",
    "NumberOfIterations": "original&IterativeReconstructionMethod=YES",
    "NumberOfSubsets": "original&IterativeReconstructionMethod=YES",
    "ReconstructionDiameter": "original&-ReconstructionFieldOfView",
    "ReconstructionFieldOfView": "original&-ReconstructionDiameter",
}

# The corrections of the Enhanced PET Corrections Module, by the defined term of the classic Corrected Image (C.8.9.1).
CORRECTIONS = {
    "DecayCorrected": "DECY",
    "AttenuationCorrected": "ATTN",
    "ScatterCorrected": "SCAT",
    "DeadTimeCorrected": "DTIM",
    "GantryMotionCorrected": "MOTN",
    "PatientMotionCorrected": "PMOT",
    "CountLossNormalizationCorrected": "CLN",
    "RandomsCorrected": "RAN",
    "NonUniformRadialSamplingCorrected": "RADL",
    "SensitivityCalibrated": "DCAL",
    "DetectorNormalizationCorrection": "NORM",
}

TERMS = {
    keyword: words(terms)
    for keyword, terms in {
        "AcquisitionStartCondition": "DENS RDD MANU AUTO CARD_TRIG RESP_TRIG",
        "AcquisitionTerminationCondition": "CNTS DENS RDD MANU OVFL TIME CARD_TRIG RESP_TRIG",
        "DetectorGeometry": "CYLINDRICAL_RING CYL_RING_PARTIAL MULTIPLE_PLANAR MUL_PLAN_PARTIAL",
        "CollimatorType": "NONE RING",
        "TableMotion": "STATIC DYNAMIC",
        "TimeOfFlightInformationUsed": "TRUE FALSE",
        "CountsSource": "EMISSION TRANSMISSION",
        "RandomsCorrectionMethod": "DLYD SING PDDL",
        "AttenuationCorrectionTemporalRelationship": "CONCURRENT SEPARATE SIMULTANEOUS",
        "ReconstructionType": "2D 3D 3D_REBINNED",
        "ReconstructionAlgorithm": "FILTER_BACK_PROJ REPROJECTION RAMLA MLEM",
        "IterativeReconstructionMethod": "YES NO",
    }.items()
}
TERMS |= dict.fromkeys(CORRECTIONS, YES_NO)
TERMS["TypeOfDetectorMotion"] = frozenset(("STATIONARY", "STEP AND SHOOT", "CONTINUOUS", "WOBBLE", "CLAMSHELL"))
TERMS["AttenuationCorrectionSource"] = frozenset(("CT", "MR", "POSITRON SOURCE", "SINGLE PHOTON", "CALCULATED"))
TERMS["ImageType3"] = FLAVORS
TERMS["ImageType4"] = CONTRASTS
