"""What the Enhanced CT Image IOD demands (PS3.3 A.38, C.8.15.2, C.8.15.3)."""

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
)

MODULES = (
    FRAME_OF_REFERENCE,
    EQUIPMENT,
    CONTRAST,
    CARDIAC,
    RESPIRATORY,
    rows(
        "Enhanced CT Image",
        "C.8.15.2",
        "",
        """
        AcquisitionDateTime:1C:original AcquisitionDuration:2C:original ContentQualification:1 BurnedInAnnotation:1
        LossyImageCompression:1 LossyImageCompressionRatio:1C:LossyImageCompression=01
        LossyImageCompressionMethod:1C:LossyImageCompression=01
        """,
    ),
    # Its macros need path indices, which a classic image does not have outside of its sequences.
    rows(
        "Enhanced Multi-energy CT Acquisition",
        "C.8.15.4",
        "MultienergyCTAcquisition=YES",
        "MultienergyCTAcquisitionSequence:1",
    ),
)

# Macros of usage C that are demanded under other conditions than that of an original image.
MACROS = {
    "CTReconstructionSequence": "original&AcquisitionType!=CONSTANT_ANGLE",
    "CTAdditionalXRaySourceSequence": "+CTAdditionalXRaySourceSequence",
    "RealWorldValueMappingSequence": "MultienergyCTAcquisition=YES",
    "MultienergyCTProcessingSequence": "+MultienergyCTProcessingSequence",
}

# Conditional attributes of macros that are demanded under other conditions than that of an original image.
ATTRIBUTES = {
    "TubeAngle": "original&AcquisitionType=CONSTANT_ANGLE",
    "RotationDirection": "original&AcquisitionType!=CONSTANT_ANGLE",
    "RevolutionTime": "original&AcquisitionType!=CONSTANT_ANGLE",
    "TableSpeed": "original&AcquisitionType=SPIRAL|CONSTANT_ANGLE",
    "TableFeedPerRotation": "original&AcquisitionType=SPIRAL",
    "SpiralPitchFactor": "original&AcquisitionType=SPIRAL",
    "ConvolutionKernelGroup": "+ConvolutionKernel",
    "ReconstructionDiameter": "original&-ReconstructionFieldOfView",
    "ReconstructionFieldOfView": "original&-ReconstructionDiameter",
    "WaterEquivalentDiameterCalculationMethodCodeSequence": "+WaterEquivalentDiameter",
    "EnergyWeightingFactor": "ImageType4=ENERGY_PROP_WT",
    "ReferencedPathIndex": "MultienergyCTAcquisition=YES",
    "ReferencedXRaySourceIndex": "MultienergyCTAcquisition=YES",
}

TERMS = {
    "ImageType3": FLAVORS | {"ATTENUATION", "REFERENCE"},
    "ImageType4": CONTRASTS | {"FILTERED", "MEDIAN", "ENERGY_PROP_WT", "VIRT_MONOENERGETIC"},
    "RescaleType": frozenset(("HU",)),
    "AcquisitionType": frozenset(("SEQUENCED", "SPIRAL", "CONSTANT_ANGLE", "STATIONARY", "FREE")),
    "ConstantVolumeFlag": YES_NO,
    "FluoroscopyFlag": YES_NO,
    "ReconstructionAlgorithm": frozenset(("FILTER_BACK_PROJ", "ITERATIVE")),
    "ConvolutionKernelGroup": frozenset(("BRAIN", "SOFT_TISSUE", "LUNG", "BONE", "OTHER")),
    "FilterType": frozenset(("WEDGE", "BUTTERFLY", "MULTIPLE", "FLAT", "SHAPED", "NONE")),
    "FilterMaterial": frozenset(
        ("MOLYBDENUM", "ALUMINUM", "COPPER", "RHODIUM", "NIOBIUM", "EUROPIUM", "LEAD", "TANTALUM", "MIXED")
    ),
}
