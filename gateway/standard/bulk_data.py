"""What a retrieval without bulk data leaves out (PS3.4 Z.1.3)."""

from __future__ import annotations

# Table Z.1-1, top level of the data set: tag, and which of its bits count (60xx and 50xx are repeating groups).
ATTRIBUTES_LEFT_OUT: tuple[tuple[int, int], ...] = (
    (0x7FE00010, 0xFFFFFFFF),  # Pixel Data
    (0x7FE00008, 0xFFFFFFFF),  # Float Pixel Data
    (0x7FE00009, 0xFFFFFFFF),  # Double Float Pixel Data
    (0x00287FE0, 0xFFFFFFFF),  # Pixel Data Provider URL
    (0x56000020, 0xFFFFFFFF),  # Spectroscopy Data
    (0x60003000, 0xFF01FFFF),  # Overlay Data
    (0x50003000, 0xFF01FFFF),  # Curve Data
    (0x5000200C, 0xFF01FFFF),  # Audio Sample Data
    (0x00420011, 0xFFFFFFFF),  # Encapsulated Document
)

# Waveform Data is left out inside of Waveform Sequence.
WAVEFORM_SEQUENCE = 0x54000100
WAVEFORM_DATA = 0x54001010

# Private attributes go along unless they are longer than this ("may be dependent on its size", Z.1.3 note).
LONGEST_PRIVATE = 1 << 16


def is_bulk_data(tag: int) -> bool:
    """Tell whether table Z.1-1 names an attribute."""
    return any(tag & mask == named for named, mask in ATTRIBUTES_LEFT_OUT)
