"""Classic images that say everything the true Enhanced classes demand, as modern scanners nearly do."""

from __future__ import annotations

from typing import Any

from conversion.material import coded, item, series_of
from pydicom.dataset import Dataset

COMMON: dict[str, Any] = {
    "DeviceSerialNumber": "4711",
    "SoftwareVersions": "1.0",
    "AcquisitionDuration": 12.5,
    "ContentQualification": "PRODUCT",
    "BurnedInAnnotation": "NO",
    "LossyImageCompression": "00",
    "ImageType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
    "FrameAcquisitionDuration": 500.0,
}

CT = COMMON | {
    "IrradiationEventUID": "1.2.826.0.1.3680043.8.498.77",
    "AcquisitionType": "SPIRAL",
    "ConstantVolumeFlag": "NO",
    "FluoroscopyFlag": "NO",
    "RotationDirection": "CW",
    "RevolutionTime": 0.5,
    "SingleCollimationWidth": 0.6,
    "TotalCollimationWidth": 38.4,
    "TableHeight": "150",
    "GantryDetectorTilt": "0",
    "DataCollectionDiameter": "500",
    "TableSpeed": 40.0,
    "TableFeedPerRotation": 20.0,
    "SpiralPitchFactor": 0.8,
    "TablePosition": 100.0,
    "DataCollectionCenterPatient": [0.0, 1.0, 2.0],
    "ReconstructionTargetCenterPatient": [0.0, 1.0, 2.0],
    "DistanceSourceToDetector": "1085.6",
    "DistanceSourceToDataCollectionCenter": 595.0,
    "ReconstructionAlgorithm": "FILTER_BACK_PROJ",
    "ConvolutionKernelGroup": "SOFT_TISSUE",
    "ReconstructionDiameter": "250",
    "ReconstructionPixelSpacing": [0.5, 0.5],
    "ReconstructionAngle": 360.0,
    "ImageFilter": "F1",
    "ExposureTime": "500",
    "XRayTubeCurrent": "200",
    "Exposure": "100",
    "ExposureModulationType": "NONE",
    "FocalSpots": "1.2",
    "FilterType": "FLAT",
    "FilterMaterial": "ALUMINUM",
}

MR = COMMON | {
    "DeviceSerialNumber": "42",
    "BodyPartExamined": "HEAD",
    "ScanningSequence": "SE",
    "SequenceVariant": "NONE",
    "ScanOptions": "SP",
    "SequenceName": "se2d1",
    "ImagedNucleus": "1H",
    "ImagingFrequency": "63.87",
    "KSpaceFiltering": "NONE",
    "ApplicableSafetyStandardAgency": "IEC",
    "ComplexImageComponent": "MAGNITUDE",
    "AcquisitionContrast": "T1",
    "MultipleSpinEcho": "NO",
    "MultiPlanarExcitation": "NO",
    "PhaseContrast": "NO",
    "TimeOfFlightContrast": "NO",
    "SaturationRecovery": "NO",
    "SpectrallySelectedSuppression": "NONE",
    "OversamplingPhase": "NONE",
    "GeometryOfKSpaceTraversal": "RECTILINEAR",
    "RectilinearPhaseEncodeReordering": "LINEAR",
    "SegmentedKSpaceTraversal": "SINGLE",
    "NumberOfKSpaceTrajectories": 1,
    "FlipAngle": "90",
    "EchoTrainLength": "1",
    "RFEchoTrainLength": 1,
    "GradientEchoTrainLength": 0,
    "SpecificAbsorptionRateSequence": [
        item(SpecificAbsorptionRateDefinition="IEC_WHOLE_BODY", SpecificAbsorptionRateValue=0.5)
    ],
    "OperatingModeSequence": [item(OperatingModeType="RF", OperatingMode="IEC_NORMAL")],
    "InPlanePhaseEncodingDirection": "COL",
    "MRAcquisitionFrequencyEncodingSteps": 256,
    "MRAcquisitionPhaseEncodingStepsInPlane": 256,
    "PercentSampling": "100",
    "PercentPhaseFieldOfView": "100",
    "FlowCompensation": "NONE",
    "T2Preparation": "NO",
    "SpectrallySelectedExcitation": "NONE",
    "MRSpatialSaturationSequence": [
        item(SlabThickness=10.0, SlabOrientation=[1.0, 0.0, 0.0], MidSlabPosition=[0.0, 0.0, float(n)]) for n in (1, 2)
    ],
    "PartialFourier": "NO",
    "ParallelAcquisition": "NO",
    "BloodSignalNulling": "NO",
    "Tagging": "NONE",
    "PixelBandwidth": "150",
    "ReceiveCoilName": "HEAD",
    "ReceiveCoilManufacturerName": "Acme",
    "ReceiveCoilType": "VOLUME",
    "QuadratureReceiveCoil": "YES",
    "TransmitCoilName": "BODY",
    "TransmitCoilManufacturerName": "Acme",
    "TransmitCoilType": "BODY",
    "NumberOfAverages": "1",
    "EchoTime": "10.5",
}

PT = COMMON | {
    "RealWorldValueMappingSequence": [
        item(
            RealWorldValueFirstValueMapped=0,
            RealWorldValueLastValueMapped=4095,
            RealWorldValueIntercept=0.0,
            RealWorldValueSlope=1.5,
            LUTExplanation="activity",
            LUTLabel="BQML",
            MeasurementUnitsCodeSequence=[coded("Bq/ml", "UCUM", "Becquerels/milliliter")],
        )
    ],
    "RadiopharmaceuticalInformationSequence": [
        item(
            RadiopharmaceuticalAgentNumber=1,
            RadionuclideCodeSequence=[coded("77004003", "SCT", "^18^Fluorine")],
            AdministrationRouteCodeSequence=[coded("47625008", "SCT", "Intravenous route")],
            RadiopharmaceuticalStartDateTime="20240102090000",
            RadionuclideTotalDose="400000000",
            RadionuclideHalfLife="6586.2",
            RadionuclidePositronFraction="0.97",
            RadiopharmaceuticalCodeSequence=[coded("35321007", "SCT", "Fluorodeoxyglucose F^18^")],
        )
    ],
    "RadiopharmaceuticalAgentNumber": 1,
    "CorrectedImage": ["DECY", "ATTN", "SCAT", "DTIM", "RAN", "NORM"],
    "CountsSource": "EMISSION",
    "RandomsCorrectionMethod": "DLYD",
    "ScatterCorrectionMethod": "model",
    "AttenuationCorrectionSource": "CT",
    "AttenuationCorrectionTemporalRelationship": "SEPARATE",
    "DecayCorrectionDateTime": "20240102101600",
    "AcquisitionStartCondition": "MANU",
    "AcquisitionTerminationCondition": "TIME",
    "TerminationTimeThreshold": 60.0,
    "TypeOfDetectorMotion": "NONE",
    "DetectorGeometry": "CYLINDRICAL_RING",
    "TransverseDetectorSeparation": 800.0,
    "AxialDetectorDimension": 200.0,
    "CollimatorType": "NONE",
    "CoincidenceWindowWidth": 4.5,
    "EnergyWindowRangeSequence": [item(EnergyWindowLowerLimit="425", EnergyWindowUpperLimit="650")],
    "TableMotion": "STATIC",
    "TimeOfFlightInformationUsed": "TRUE",
    "ViewCodeSequence": [coded("24422004", "SCT", "Axial")],
    "TableHeight": "150",
    "GantryDetectorTilt": "0",
    "GantryDetectorSlew": "0",
    "DataCollectionDiameter": "700",
    "TablePosition": 100.0,
    "DataCollectionCenterPatient": [0.0, 1.0, 2.0],
    "ReconstructionTargetCenterPatient": [0.0, 1.0, 2.0],
    "PrimaryPromptsCountsAccumulated": "1000",
    "SliceSensitivityFactor": "1",
    "DecayFactor": "1.02",
    "ScatterFractionFactor": "0.3",
    "DeadTimeFactor": "1.01",
    "ReconstructionType": "3D",
    "ReconstructionAlgorithm": "MLEM",
    "IterativeReconstructionMethod": "YES",
    "NumberOfIterations": 3,
    "NumberOfSubsets": 21,
    "ReconstructionDiameter": "700",
    "FrameReferenceTime": "30000",
    "SeriesTime": "101600",
    "FrameAcquisitionDuration": None,
    "ActualFrameDuration": "60000",
}

FULL = {"CT": CT, "MR": MR, "PT": PT}


def full_series(modality: str, count: int = 3, **changes: Any) -> list[Dataset]:
    """Return slices that have everything; `changes` set attributes, None takes one out."""

    def change(ds: Dataset) -> None:
        number = int(ds.InstanceNumber)
        for keyword, value in (FULL[modality] | changes).items():
            if value is not None:
                setattr(ds, keyword, value)
            elif keyword in ds:
                delattr(ds, keyword)
        if modality != "PT" and "FrameReferenceDateTime" not in changes:
            ds.FrameReferenceDateTime = f"202401021017{number % 60:02d}.75"

    return series_of(modality, count, change)
