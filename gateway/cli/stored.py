"""Stored values of pixels, whatever bits they are in: what the demonstration compares where bytes differ."""

from __future__ import annotations

from typing import Any

from pydicom.dataset import Dataset


def same_values(one: bytes, header: Dataset, other: bytes, original: Dataset) -> bool:
    """Return whether two native frames have the same pixel values, the second being that of a source.

    Values of MONOCHROME1 count from the other end; what either says is padding is padding in both.

    Parameters
    ----------
    one, other : bytes
        The frames, little endian.
    header, original : Dataset
        What is said of them.
    """
    import numpy as np

    if header.Rows != original.Rows or header.Columns != original.Columns:
        return False
    if int(header.get("SamplesPerPixel") or 1) != 1 or int(original.get("SamplesPerPixel") or 1) != 1:
        return False
    values, expected = stored_values(one, header), stored_values(other, original)
    padding, was = header.get("PixelPaddingValue"), original.get("PixelPaddingValue")
    if original.PhotometricInterpretation == "MONOCHROME1" != header.PhotometricInterpretation:
        top = -1 if original.PixelRepresentation else (1 << original.BitsStored) - 1
        expected, was = top - expected, None if was is None else top - was
    if values.shape != expected.shape:
        return False
    equal = values == expected
    if padding is not None and was is not None:
        equal = np.where(expected == was, values == padding, equal)
    return bool(equal.all())


def stored_values(frame: bytes, header: Dataset) -> Any:
    """Return the stored values of a native little endian frame as an array of numbers."""
    import numpy as np

    count = int(header.Rows) * int(header.Columns)
    words = np.frombuffer(frame, "<u2" if header.BitsAllocated == 16 else "u1")[:count].astype(np.int32)
    values = words >> header.HighBit + 1 - header.BitsStored & (1 << header.BitsStored) - 1
    if header.PixelRepresentation:
        sign = 1 << header.BitsStored - 1
        values = (values ^ sign) - sign
    return values


def plane_of(frame: bytes, header: Dataset, position: int) -> bytes:
    """Return one bit of every pixel as Overlay Data has it, the padding byte left out."""
    import numpy as np

    count = int(header.Rows) * int(header.Columns)
    words = np.frombuffer(frame, "<u2" if header.BitsAllocated == 16 else "u1")[:count]
    return bytes(np.packbits(words >> position & 1, bitorder="little"))
