"""Functional group macros of PET (PS3.3 C.8.22.5, C.7.6.16.2.19 and C.7.6.16.2.20)."""

from gateway.standard.macros import Macro

PET = (
    Macro(
        "PETFrameTypeSequence",
        "PET Frame Type",
        "C.8.22.5.1",
        "--M --M",
        """
        FrameType:1 PixelPresentation:1 VolumetricProperties:1 VolumeBasedCalculationTechnique:1
        """,
    ),
    Macro(
        "PETFrameAcquisitionSequence",
        "PET Frame Acquisition",
        "C.8.22.5.2",
        "--- --C",
        """
        DataCollectionDiameter:1 GantryDetectorTilt:1 GantryDetectorSlew:1 TableHeight:1
        """,
    ),
    Macro(
        "PETDetectorMotionDetailsSequence",
        "PET Detector Motion Details",
        "C.8.22.5.3",
        "--- --C",
        """
        RotationDirection:1 RevolutionTime:1
        """,
    ),
    Macro(
        "PETPositionSequence",
        "PET Position",
        "C.8.22.5.4",
        "--- --C",
        """
        DataCollectionCenterPatient:1C ReconstructionTargetCenterPatient:1C TablePosition:1C
        """,
    ),
    Macro(
        "PETFrameCorrectionFactorsSequence",
        "PET Frame Correction Factors",
        "C.8.22.5.5",
        "--- --C",
        """
        PrimaryPromptsCountsAccumulated:1C SliceSensitivityFactor:1C DecayFactor:1C ScatterFractionFactor:1C
        DeadTimeFactor:1C
        """,
    ),
    Macro(
        "PETReconstructionSequence",
        "PET Reconstruction",
        "C.8.22.5.6",
        "--- --C",
        """
        ReconstructionDiameter:1C ReconstructionAlgorithm:1C ReconstructionFieldOfView:1C NumberOfIterations:1C
        NumberOfSubsets:1C ReconstructionType:1C IterativeReconstructionMethod:1
        """,
    ),
    Macro(
        "PETTableDynamicsSequence",
        "PET Table Dynamics",
        "C.8.22.5.7",
        "--- --C",
        """
        TableSpeed:1
        """,
    ),
    Macro(
        "RadiopharmaceuticalUsageSequence",
        "Radiopharmaceutical Usage",
        "C.7.6.16.2.19",
        "--- --M",
        """
        RadiopharmaceuticalAgentNumber:1
        """,
    ),
    Macro(
        "PatientPhysiologicalStateSequence",
        "Patient Physiological State",
        "C.7.6.16.2.20",
        "--- --C",
        """
        PatientPhysiologicalStateCodeSequence:1
        """,
    ),
)
