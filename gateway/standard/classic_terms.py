"""What classic images say in their own terms of what enhanced ones say otherwise (PS3.3 C.8.3.1, C.8.9.1, C.8.13.4)."""

from __future__ import annotations

# Scanning Sequence, Sequence Variant and Scan Options (C.8.3.1.1.2 to -.3) by attributes of the MR Pulse Sequence
# module (C.8.13.4) and of the MR functional groups (C.8.13.5): classic term, attribute, its values that mean it.
Terms = tuple[tuple[str, str, frozenset[str]], ...]


def _terms(*rows: tuple[str, str, str]) -> Terms:
    return tuple((term, keyword, frozenset(values.split())) for term, keyword, values in rows)


MR_TERMS: dict[str, Terms] = {
    "ScanningSequence": _terms(
        ("SE", "EchoPulseSequence", "SPIN BOTH"),
        ("IR", "InversionRecovery", "YES"),
        ("GR", "EchoPulseSequence", "GRADIENT BOTH"),
        ("EP", "EchoPlanarPulseSequence", "YES"),
    ),
    "SequenceVariant": _terms(
        ("SK", "SegmentedKSpaceTraversal", "PARTIAL FULL"),
        ("MTC", "MagnetizationTransfer", "ON_RESONANCE OFF_RESONANCE"),
        ("SS", "SteadyStatePulseSequence", "FREE_PRECESSION TRANSVERSE LONGITUDINAL"),
        ("TRSS", "SteadyStatePulseSequence", "TIME_REVERSED"),
        ("SP", "Spoiling", "RF GRADIENT RF_AND_GRADIENT"),
        ("OSP", "OversamplingPhase", "2D 3D 2D_3D"),
    ),
    "ScanOptions": _terms(
        ("RG", "RespiratoryMotionCompensationTechnique", "GATING TRIGGER RETROSPECTIVE"),
        ("CG", "CardiacSynchronizationTechnique", "PROSPECTIVE RETROSPECTIVE PACED REALTIME"),
        ("FC", "FlowCompensation", "ACCELERATION VELOCITY OTHER"),
        ("PFF", "PartialFourierDirection", "FREQUENCY COMBINATION"),
        ("PFP", "PartialFourierDirection", "PHASE COMBINATION"),
        ("SP", "SpatialPresaturation", "SLAB"),
        ("FS", "SpectrallySelectedSuppression", "FAT FAT_AND_WATER SILICON_GEL"),
    ),
}

# Units (C.8.9.1.1.3) by UCUM code of the real world values.
PET_UNITS: dict[str, str] = {
    "{counts}": "CNTS", "{counts}/s": "CPS", "Bq/ml": "BQML", "BQ/ML": "BQML", "mg/min/ml": "MGMINML",
    "umol/min/ml": "UMOLMINML", "ml/min/g": "MLMING", "ml/g": "MLG", "1/cm": "1CM", "umol/ml": "UMOLML",
    "{propcounts}": "PROPCNTS", "{propcounts}/s": "PROPCPS", "ml/min/ml": "MLMINML", "ml/ml": "MLML",
    "g/ml": "GML", "g/ml{SUVbw}": "GML", "{SUVbw}g/ml": "GML", "cm2/ml": "CM2ML", "cm2/ml{SUVbsa}": "CM2ML",
    "{SUVbsa}cm2/ml": "CM2ML", "{stddev}": "STDDEV", "1": "NONE", "/cm": "1CM", "%": "PCNT", "cm2": "CM2",
    "g/ml{SUVlbm}": "GML", "g/ml{SUVlbm(James128)}": "GML", "g/ml{SUVlbm(Janma)}": "GML",
    "g/ml{SUVibw}": "GML",
}  # fmt: skip

# Corrected Image (C.8.9.1.1.5) by attributes of Enhanced PET Corrections (C.8.22.4) that say YES.
PET_CORRECTIONS: tuple[tuple[str, str], ...] = (
    ("DECY", "DecayCorrected"),
    ("ATTN", "AttenuationCorrected"),
    ("SCAT", "ScatterCorrected"),
    ("DTIM", "DeadTimeCorrected"),
    ("MOTN", "GantryMotionCorrected"),
    ("PMOT", "PatientMotionCorrected"),
    ("CLN", "CountLossNormalizationCorrected"),
    ("RAN", "RandomsCorrected"),
    ("RADL", "NonUniformRadialSamplingCorrected"),
    ("DCAL", "SensitivityCalibrated"),
    ("NORM", "DetectorNormalizationCorrection"),
)

# Private sequences of functional groups in which a manufacturer puts the standard attributes that its own classic image
# of the frame has: group, creator, block and element as `gateway.conversion.keys` names them.
CLASSIC_INSIDE: tuple[tuple[int, bytes, int, int], ...] = (
    (0x2005, b"Philips MR Imaging DD 005", 0, 0x0F),
    (0x2005, b"Philips MR Imaging DD 005", 0, 0x0E),
)

# What is taken from there when no standard group says it: attributes of the MR Image module (C.8.3.1), those apart that
# mean nothing unless they are wanted.
MR_IMAGE: tuple[str, ...] = (
    "ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType", "SequenceName", "AngioFlag",
    "RepetitionTime", "EchoTime", "NumberOfAverages", "ImagingFrequency", "ImagedNucleus", "EchoNumbers",
    "MagneticFieldStrength", "NumberOfPhaseEncodingSteps", "EchoTrainLength", "PercentSampling",
    "PercentPhaseFieldOfView", "PixelBandwidth", "NominalInterval", "BeatRejectionFlag", "LowRRValue",
    "HighRRValue", "IntervalsAcquired", "IntervalsRejected", "PVCRejection", "SkipBeats", "HeartRate",
    "CardiacNumberOfImages", "TriggerWindow", "ReconstructionDiameter", "ReceiveCoilName", "TransmitCoilName",
    "AcquisitionMatrix", "FlipAngle", "VariableFlipAngleFlag", "TemporalPositionIdentifier",
    "NumberOfTemporalPositions", "TemporalResolution",
)  # fmt: skip

# Patient Position as codes of NM/PET Patient Orientation (C.8.4.6, CID 19 to 21): orientation, its modifier, gantry.
_RECUMBENT = ("102538003", "recumbent")
_HEADFIRST, _FEETFIRST = ("102540008", "headfirst"), ("102541007", "feet-first")
_LYING = {
    "S": ("40199007", "supine"),
    "P": ("1240000", "prone"),
    "DR": ("102535000", "right lateral decubitus"),
    "DL": ("102536004", "left lateral decubitus"),
}
PET_POSITIONS: dict[str, tuple[tuple[str, str], ...]] = {
    f"{side}F{lying}": (_RECUMBENT, code, gantry)
    for side, gantry in (("H", _HEADFIRST), ("F", _FEETFIRST))
    for lying, code in _LYING.items()
}
