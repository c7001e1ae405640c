"""Private attributes that say what no standard attribute of a classic image says.

They are looked at to tell frames apart and to put them in order, to recognise images that hide many slices in one, and
for what an enhanced image has to say of its frames; the private attribute stays as it was. A row counts only where its
creator has reserved the block (PS3.5 7.8.1).
"""

from __future__ import annotations

from typing import NamedTuple


class Hint(NamedTuple):
    """A private attribute.

    Attributes
    ----------
    creator : str
        Private Creator that owns the block.
    group, number : int
        Group, and element number within the block.
    vr : str
        Its VR, for sources that call it UN.
    """

    creator: str
    group: int
    number: int
    vr: str


# First value: b-value in s/mm2 (GE adds a large constant that leaves the order as it is).
B_VALUES = (
    Hint("SIEMENS MR HEADER", 0x0019, 0x0C, "IS"),
    Hint("GEMS_PARM_01", 0x0043, 0x39, "IS"),
    Hint("Philips Imaging DD 001", 0x2001, 0x03, "FL"),
    Hint("Image Private Header", 0x0065, 0x09, "FD"),  # UIH
)

# All values: direction of the diffusion gradient, or its first component.
GRADIENTS = (
    Hint("SIEMENS MR HEADER", 0x0019, 0x0E, "FD"),
    Hint("Image Private Header", 0x0065, 0x37, "FD"),
    Hint("Philips MR Imaging DD 005", 0x2005, 0x13, "IS"),  # number of the gradient orientation
)

# LABEL or CONTROL of arterial spin labelling.
LABELS = (Hint("Philips MR Imaging DD 005", 0x2005, 0x29, "CS"),)

# Number of the cardiac or dynamic phase.
PHASES = (Hint("Philips Imaging DD 001", 0x2001, 0x08, "IS"),)

# Standard attributes of the enhanced image that a maker writes beside its classic one: the item of a private sequence.
ENHANCED_ITEM = Hint("Philips MR Imaging DD 005", 0x2005, 0x0F, "SQ")

# What a pixel is of the complex signal: 0 magnitude, 1 phase, 2 real, 3 imaginary (GE: Image Type (real, imaginary,
# phase, magnitude)).
COMPONENT = Hint("GEMS_PARM_01", 0x0043, 0x2F, "SS")

# Slices that one image holds side by side.
TILES = (
    Hint("SIEMENS MR HEADER", 0x0019, 0x0A, "US"),  # Number of Images in Mosaic
    Hint("Image Private Header", 0x0065, 0x50, "DS"),  # UIH: slices of a grid
)
