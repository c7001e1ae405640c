"""Values of Image Type and Frame Type and what they say about volumes (PS3.3 C.8.16, C.8.13.3, C.8.15.3)."""

from __future__ import annotations

# The Frame Type functional group of each modality: C.8.15.3.1, C.8.13.5.1, C.8.22.5.1.
FRAME_TYPE_SEQUENCES = {
    "CT": "CTImageFrameTypeSequence",
    "MR": "MRImageFrameTypeSequence",
    "PT": "PETFrameTypeSequence",
}

# Defined terms of value 4, tables C.8-130 (common), C.8.13.1.1.1.4 (MR) and C.8.15.2.1.1 (CT).
DERIVED_CONTRASTS = frozenset(
    (
        "ADDITION", "DIVISION", "MASKED", "MAXIMUM", "MEAN", "MINIMUM", "MULTIPLICATION", "NONE", "QUANTITY",
        "RESAMPLED", "STD_DEVIATION", "SUBTRACTION",
        "ADC", "DIFFUSION", "DIFFUSION_ANISO", "DIFFUSION_ATTNTD", "DIFFUSION_ISO", "METABOLITE_MAP", "NEI",
        "PERFUSION_ASL", "R_COEFFICIENT", "RHO", "SCM", "SNR_MAP", "T1_MAP", "T2_STAR_MAP", "T2_MAP", "TCS",
        "TEMPERATURE", "VELOCITY", "RCBF", "RCBV", "MTT", "TTP", "TMAX", "PH_CT_MAP", "FAT_FRACTION", "WATER_FRACTION",
        "ENERGY_PROP_WT", "VIRT_MONOENERGETIC",
    )
)  # fmt: skip

# Values of Image Type, from the third on, by which makers say what an MR image shows of the complex signal and of which
# contrast it is (C.8.13.3.1): the standard's own terms, and those of Siemens, Philips, UIH and Canon (M, M_FFE, ...).
COMPLEX_COMPONENTS: dict[str, str] = {
    **{term: term for term in ("MAGNITUDE", "PHASE", "REAL", "IMAGINARY")},
    **{
        letter + suffix: component
        for letter, component in (("M", "MAGNITUDE"), ("P", "PHASE"), ("R", "REAL"), ("I", "IMAGINARY"))
        for suffix in ("", "_SE", "_FFE", "_IR")
    },
    "PHASE MAP": "PHASE",
}
# By the number that GE writes.
NUMBERED_COMPONENTS = ("MAGNITUDE", "PHASE", "REAL", "IMAGINARY")
ACQUISITION_CONTRASTS: dict[str, str] = {
    **{term: term for term in ("DIFFUSION", "PERFUSION", "FLOW_ENCODED", "FLUID_ATTENUATED", "PROTON_DENSITY", "STIR",
                               "TAGGING", "TOF", "T2_STAR")},
    "PERFUSION_FFE": "PERFUSION",
}  # fmt: skip

# Words in Image Type that tell how a derived image was made: Volumetric Properties and Volume Based Calculation
# Technique (tables C.8-133, C.8-134). The first that is found decides; of a derived image without any the technique is
# MIXED, which C.8.16.2.1.3 allows where a legacy converted image lacks the information.
VOLUMETRIC_TERMS: tuple[tuple[str, str, str], ...] = (
    ("CURVED_MPR", "DISTORTED", "CURVED_MPR"),
    ("CPR", "DISTORTED", "CURVED_MPR"),
    ("MPR", "VOLUME", "MPR"),
    ("REFORMATTED", "VOLUME", "MPR"),
    ("MAX_IP", "SAMPLED", "MAX_IP"),
    ("MIP", "SAMPLED", "MAX_IP"),
    ("MIN_IP", "SAMPLED", "MIN_IP"),
    ("MINIP", "SAMPLED", "MIN_IP"),
    ("MNIP", "SAMPLED", "MIN_IP"),
    ("PROJECTION", "SAMPLED", "MIXED"),
    ("VRT", "SAMPLED", "VOLUME_RENDER"),
    ("SSD", "SAMPLED", "SURFACE_RENDER"),
    ("AXIAL", "VOLUME", "NONE"),
    ("HELICAL", "VOLUME", "NONE"),
    ("VOLUME", "VOLUME", "NONE"),
)
