"""Overlay planes and softcopy presentation states (PS3.3 C.9.2, A.33.1, A.33.2, C.10.4, C.11.15) as tables."""

from __future__ import annotations

GRAYSCALE_STATE = "1.2.840.10008.5.1.4.1.1.11.1"
COLOR_STATE = "1.2.840.10008.5.1.4.1.1.11.2"

# Elements of an overlay plane that a presentation state holds: number in the group 60xx, and VR (C.9.2, C.11.7).
OVERLAY_PLANE: dict[int, str] = {
    0x0010: "US",  # Overlay Rows
    0x0011: "US",  # Overlay Columns
    0x0022: "LO",  # Overlay Description
    0x0040: "CS",  # Overlay Type
    0x0045: "LO",  # Overlay Subtype
    0x0050: "SS",  # Overlay Origin
    0x0100: "US",  # Overlay Bits Allocated
    0x0102: "US",  # Overlay Bit Position
    0x1001: "CS",  # Overlay Activation Layer
    0x1301: "IS",  # ROI Area
    0x1302: "DS",  # ROI Mean
    0x1303: "DS",  # ROI Standard Deviation
    0x1500: "LO",  # Overlay Label
    0x3000: "OW",  # Overlay Data
}

# Elements with the only value that they can have for a plane over one frame, which is what their absence means: Number
# of Frames in Overlay and Image Frame Origin of the Multi-frame Overlay module (C.9.3), Overlay Compression Code.
OVERLAY_DEFAULTS: dict[int, str] = {0x0015: "1", 0x0051: "1", 0x0060: "NONE"}

# The groups that overlay planes can have (PS3.5 7.6).
OVERLAY_GROUPS = range(0x6000, 0x6020, 2)

# Modules of a presentation state that the attributes of its images fill (A.33.1, A.33.2), with their usage.
STATE_MODULES: dict[str, str] = {
    "Patient": "M",
    "Clinical Trial Subject": "U",
    "General Study": "M",
    "Patient Study": "U",
    "Clinical Trial Study": "U",
    "General Series": "M",
    "Clinical Trial Series": "U",
    "General Equipment": "M",
}

# What these modules say of the series of images and not of that of the states.
IMAGE_SERIES_ONLY = (
    "Modality", "SeriesDescription", "SeriesDescriptionCodeSequence", "PatientPosition", "PixelPaddingValue",
    "SmallestPixelValueInSeries", "LargestPixelValueInSeries",
)  # fmt: skip

# What a state takes over from the SOP Common module: what is needed to read the rest.
STATE_COMMON = ("SpecificCharacterSet", "TimezoneOffsetFromUTC", "CodingSchemeIdentificationSequence")
