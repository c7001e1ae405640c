"""The functional group macros of Enhanced and Legacy Converted Enhanced CT, MR and PET images.

Usage by PS3.3 tables A.36-2, A.38-2, A.56-2 and A.70-2 to A.72-2 (A.N1-2 to A.N3-2 of Supplement 157). Folding and
unfolding read the same rows, so that what one puts into a group the other takes out.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.standard.functional_groups_common import COMMON
from gateway.standard.functional_groups_ct import CT
from gateway.standard.functional_groups_mr import MR
from gateway.standard.functional_groups_pet import PET
from gateway.standard.macros import Macro

# Every macro, by the keyword of its sequence.
MACROS: dict[str, Macro] = {macro.sequence: macro for macro in (*COMMON, *CT, *MR, *PET)}


def macros_of(modality: str, *, legacy: bool) -> dict[str, str]:
    """Return the usage of every macro of an IOD by the keyword of its sequence.

    Parameters
    ----------
    modality : {"CT", "MR", "PT"}
        Row of PS3.4 table C.3.5-1.
    legacy : bool
        The Legacy Converted IOD, not the Enhanced one.
    """
    usages = {keyword: macro.usage(modality, legacy=legacy) for keyword, macro in MACROS.items()}
    return {keyword: usage for keyword, usage in usages.items() if usage}


class ClassicName(NamedTuple):
    """What an attribute of an enhanced image is called in the classic one.

    Attributes
    ----------
    keyword : str
        The classic attribute.
    factor : float
        The enhanced value is the classic one times this.
    """

    keyword: str
    factor: float = 1.0


# Attributes of functional groups, and of the enhanced modules at the top level, that a classic image calls by another
# name, in another unit or with another VR, best source first. What has the same name has the same meaning, unless it
# is among `CLASSIC_TERMS`.
CLASSIC_NAMES: dict[str, tuple[ClassicName, ...]] = {
    # C.7.6.16.2.2
    "FrameAcquisitionNumber": (ClassicName("AcquisitionNumber"),),
    "FrameAcquisitionDateTime": (ClassicName("AcquisitionDateTime"),),
    "FrameComments": (ClassicName("ImageComments"),),
    "FrameAcquisitionDuration": (ClassicName("ActualFrameDuration"),),
    # C.7.6.16.2.7
    "NominalCardiacTriggerDelayTime": (ClassicName("TriggerTime"),),
    "RRIntervalTimeNominal": (ClassicName("NominalInterval"),),
    # C.8.13.4, C.8.13.5
    "PulseSequenceName": (ClassicName("SequenceName"),),
    "ResonantNucleus": (ClassicName("ImagedNucleus"),),
    "EffectiveEchoTime": (ClassicName("EchoTime"),),
    "InversionTimes": (ClassicName("InversionTime"),),
    "TransmitterFrequency": (ClassicName("ImagingFrequency"),),
    # C.8.15.3.8
    "ExposureTimeInms": (ClassicName("ExposureTimeInuS", 0.001), ClassicName("ExposureTime")),
    "XRayTubeCurrentInmA": (ClassicName("XRayTubeCurrentInuA", 0.001), ClassicName("XRayTubeCurrent")),
    "ExposureInmAs": (ClassicName("ExposureInuAs", 0.001), ClassicName("Exposure")),
}

# Attributes of one name whose terms differ: classic term -> enhanced term.
CLASSIC_TERMS: dict[str, dict[str, str]] = {
    "TypeOfDetectorMotion": {"NONE": "STATIONARY"},  # C.8.9.1, C.8.22.2
    "InPlanePhaseEncodingDirection": {"COL": "COLUMN"},  # C.8.3.1, C.8.13.5.3
}
