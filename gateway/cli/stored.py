"""Stored values of pixels, whatever bits they are in: what the demonstration compares where bytes differ."""

from __future__ import annotations

from typing import Any

from pydicom.dataset import Dataset


def same_values(one: bytes, header: Dataset, other: bytes, original: Dataset) -> bool:
    """Return whether two native frames have the same pixel values, the second being that of a source.

    Values of MONOCHROME1 count from the other end; what either says is padding is padding in both. Colors may stand by
    plane or by pixel.

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
    samples = [int(ds.get("SamplesPerPixel") or 1) for ds in (header, original)]
    if samples != [1, 1]:
        return samples[0] == samples[1] and _colors(one, header) == _colors(other, original)
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


def _colors(frame: bytes, header: Dataset) -> bytes:
    """Return colors of 8 bits pixel by pixel, in whichever order they stand (Planar Configuration)."""
    samples = int(header.SamplesPerPixel)
    if header.BitsAllocated != 8 or header.get("PlanarConfiguration") != 1:
        return frame
    size = int(header.Rows) * int(header.Columns)
    pixels = bytearray(samples * size)
    for sample in range(samples):
        pixels[sample::samples] = frame[sample * size : (sample + 1) * size]
    return bytes(pixels)


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
