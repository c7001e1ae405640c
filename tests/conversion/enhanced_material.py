"""Small true Enhanced CT, MR and PET objects made with pydicom, as a scanner would send them."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
from conversion.material import ENHANCED, STUDY, coded, item
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

ENHANCED_SERIES = STUDY + ".70"


def enhanced_of(
    modality: str, frames: int = 4, change: Callable[[Dataset], None] | None = None, *, number: int = 1
) -> Dataset:
    """Return an object of 8 x 8 pixels a frame; `change` edits it."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.SOPClassUID, ds.SOPInstanceUID = ENHANCED[modality], f"{ENHANCED_SERIES}.{number}"
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = "20240102"
    ds.StudyTime, ds.SeriesTime, ds.ContentTime = "101500", "101600", "101630.5"
    ds.AcquisitionDateTime = "20240102101600"
    ds.AccessionNumber, ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = "A1", modality, "Acme", "Scan 2"
    ds.ReferringPhysicianName = "Ref^Erring"
    ds.SeriesDescription, ds.ProtocolName = f"{modality} volume", "Protocol 1"
    ds.DeviceSerialNumber, ds.SoftwareVersions = "123", "1.0"
    ds.PixelPresentation, ds.VolumetricProperties, ds.VolumeBasedCalculationTechnique = "MONOCHROME", "VOLUME", "NONE"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Doe^J\xf6rg", "P1", "19700101", "M"
    ds.PatientPosition, ds.ContentQualification = "HFS", "PRODUCT"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = STUDY, ENHANCED_SERIES
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = "1", "70", str(number)
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = STUDY + ".99", ""
    organization = STUDY + ".71"
    ds.DimensionOrganizationSequence = [item(DimensionOrganizationUID=organization)]
    pointers = (("StackID", 0x00209056), ("InStackPositionNumber", 0x00209057))
    ds.DimensionIndexSequence = [
        item(
            DimensionOrganizationUID=organization,
            DimensionIndexPointer=pointer,
            FunctionalGroupPointer=0x00209111,
            DimensionDescriptionLabel=label,
        )
        for label, pointer in pointers
    ]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.NumberOfFrames, ds.Rows, ds.Columns = frames, 8, 8
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 0
    ds.BurnedInAnnotation, ds.LossyImageCompression, ds.PresentationLUTShape = "NO", "00", "IDENTITY"
    ds.AcquisitionContextSequence = []
    ds.private_block(0x0019, "ACME", create=True).add_new(0x01, "LO", "top")
    shared = item(
        PixelMeasuresSequence=[item(PixelSpacing=["0.5", "0.5"], SliceThickness="5", SpacingBetweenSlices="5")],
        PlaneOrientationSequence=[item(ImageOrientationPatient=["1", "0", "0", "0", "1", "0"])],
        FrameAnatomySequence=[
            item(FrameLaterality="U", AnatomicRegionSequence=[coded("816094009", "SCT", "Thorax")]),
        ],
        FrameVOILUTSequence=[item(WindowCenter=["40", "60"], WindowWidth=["400", "1500"])],
        PixelValueTransformationSequence=[item(RescaleIntercept="-1024", RescaleSlope="1", RescaleType="HU")],
    )
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.PerFrameFunctionalGroupsSequence = [_frame(n) for n in range(1, frames + 1)]
    _GROUPS[modality](ds, shared, list(ds.PerFrameFunctionalGroupsSequence))
    pixels = np.random.default_rng(number).integers(0, 4096, (frames, 8, 8), dtype=np.uint16)
    ds.PixelData = pixels.tobytes()
    if change is not None:
        change(ds)
    return ds


def _frame(number: int) -> Dataset:
    frame = item(
        FrameContentSequence=[
            item(
                FrameAcquisitionNumber=3,
                FrameReferenceDateTime=f"202401021017{number % 60:02d}",
                FrameAcquisitionDateTime=f"202401021016{number % 60:02d}.25",
                FrameAcquisitionDuration=2000.0,
                FrameComments=f"frame {number}",
                StackID="1",
                InStackPositionNumber=number,
                DimensionIndexValues=[1, number],
            )
        ],
        PlanePositionSequence=[item(ImagePositionPatient=["-10", "-20", str(5 * number)])],
    )
    block = frame.private_block(0x0021, "ACME FRAME", create=True)
    block.add_new(0x01, "SQ", [item(ImagePositionPatient=["1", "2", "3"], ProtocolName=f"own {number}")])
    block.add_new(0x02, "LO", f"private {number}")
    return frame


def _frame_type(**more: str) -> Dataset:
    return item(
        FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
        PixelPresentation="MONOCHROME",
        VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="NONE",
        **more,
    )


def _ct(ds: Dataset, shared: Dataset, frames: list[Dataset]) -> None:
    shared.CTImageFrameTypeSequence = [_frame_type()]
    shared.CTAcquisitionTypeSequence = [item(AcquisitionType="SPIRAL", TubeAngle=0.0, ConstantVolumeFlag="NO")]
    shared.CTAcquisitionDetailsSequence = [
        item(RotationDirection="CW", RevolutionTime=0.5, SingleCollimationWidth=0.6, TotalCollimationWidth=38.4,
             TableHeight="120", GantryDetectorTilt="0", DataCollectionDiameter="500"),
    ]  # fmt: skip
    shared.CTReconstructionSequence = [
        item(ReconstructionAlgorithm="FILTER_BACK_PROJ", ConvolutionKernel="B30", ReconstructionDiameter="250"),
    ]
    shared.CTXRayDetailsSequence = [item(KVP="120", FocalSpots="1.2", FilterType="NONE")]
    for number, frame in enumerate(frames):
        frame.CTExposureSequence = [
            item(ExposureTimeInms=500.0, XRayTubeCurrentInmA=200.5 + number, ExposureInmAs=100.0, CTDIvol=7.5),
        ]


def _mr(ds: Dataset, shared: Dataset, frames: list[Dataset]) -> None:
    ds.EchoPulseSequence, ds.MRAcquisitionType, ds.PulseSequenceName = "SPIN", "2D", "tse"
    ds.EchoPlanarPulseSequence, ds.SegmentedKSpaceTraversal, ds.OversamplingPhase = "NO", "PARTIAL", "NONE"
    ds.SteadyStatePulseSequence, ds.SpectrallySelectedSuppression = "NONE", "FAT"
    ds.ResonantNucleus, ds.MagneticFieldStrength = "1H", "3"
    ds.ComplexImageComponent, ds.AcquisitionContrast = "MIXED", "T2"
    del shared.PixelValueTransformationSequence
    shared.MRTimingAndRelatedParametersSequence = [
        item(RepetitionTime="500", FlipAngle="90", EchoTrainLength="8", GradientOutputType="DB_DT", GradientOutput=42.5,
             SpecificAbsorptionRateSequence=[
                 item(SpecificAbsorptionRateDefinition="IEC_WHOLE_BODY", SpecificAbsorptionRateValue=0.25)]),
    ]  # fmt: skip
    shared.MRFOVGeometrySequence = [
        item(InPlanePhaseEncodingDirection="COLUMN", MRAcquisitionFrequencyEncodingSteps=256,
             MRAcquisitionPhaseEncodingStepsInPlane=192, PercentSampling="75", PercentPhaseFieldOfView="100"),
    ]  # fmt: skip
    shared.MRModifierSequence = [
        item(InversionRecovery="YES", InversionTimes=[150.0], FlowCompensation="NONE", Spoiling="NONE"),
    ]
    shared.MRImagingModifierSequence = [
        item(MagnetizationTransfer="ON_RESONANCE", TransmitterFrequency=127.748512, PixelBandwidth="200"),
    ]
    for number, frame in enumerate(frames):
        frame.MRImageFrameTypeSequence = [
            _frame_type(ComplexImageComponent="REAL" if number else "MAGNITUDE", AcquisitionContrast="T2")
        ]
        frame.MREchoSequence = [item(EffectiveEchoTime=10.5 * (1 + number % 2))]
        direction = item(DiffusionGradientOrientation=[1.0, 0.0, 0.0])
        frame.MRDiffusionSequence = [
            item(DiffusionBValue=1000.0, DiffusionDirectionality="DIRECTIONAL",
                 DiffusionGradientDirectionSequence=[direction]),
        ]  # fmt: skip


def _pet(ds: Dataset, shared: Dataset, frames: list[Dataset]) -> None:
    shared.PETFrameTypeSequence = [_frame_type()]
    shared.PixelValueTransformationSequence = [item(RescaleIntercept="0", RescaleSlope="1.5", RescaleType="BQML")]
    shared.RadiopharmaceuticalUsageSequence = [item(RadiopharmaceuticalAgentNumber=1)]
    shared.PETReconstructionSequence = [item(ReconstructionDiameter="700", ReconstructionType="3D")]
    ds.CountsSource, ds.CollimatorType, ds.TableMotion = "EMISSION", "NONE", "NONE"
    ds.DecayCorrected = ds.AttenuationCorrected = ds.ScatterCorrected = "YES"
    for keyword in ("DeadTimeCorrected", "GantryMotionCorrected", "PatientMotionCorrected",
                    "CountLossNormalizationCorrected", "RandomsCorrected", "NonUniformRadialSamplingCorrected",
                    "SensitivityCalibrated", "DetectorNormalizationCorrection"):  # fmt: skip
        setattr(ds, keyword, "NO")
    ds.DecayCorrectionDateTime = "20240102091500"
    ds.RadiopharmaceuticalInformationSequence = [
        item(RadiopharmaceuticalAgentNumber=1, RadiopharmaceuticalStartDateTime="20240102091500",
             RadionuclideTotalDose="3E8", RadionuclideHalfLife="6586", RadionuclidePositronFraction="0.97",
             RadionuclideCodeSequence=[coded("C-111A1", "SRT", "^18^Fluorine")]),
    ]  # fmt: skip
    for frame in frames:
        frame.PETFrameCorrectionFactorsSequence = [item(DecayFactor=1.25, SliceSensitivityFactor=1.0)]


_GROUPS = {"CT": _ct, "MR": _mr, "PT": _pet}


def save_enhanced(ds: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write an object as a Part 10 file; sequences of undefined length, as many scanners have them."""
    ds = deepcopy(ds)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = syntax
    groups = ds["PerFrameFunctionalGroupsSequence"]
    groups.is_undefined_length = True
    for frame in groups.value:
        frame.is_undefined_length_sequence_item = True
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    return path
