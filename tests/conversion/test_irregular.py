"""Files that are not as the standard has them, and yet can be read: converted where nothing can be lost."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from conversion.material import convert, save, save_all, series_of
from conversion.reading import missing, unfolded
from pydicom.uid import ImplicitVRLittleEndian

from gateway.objects.part10 import read_header


def _explicit(tag: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


# What stands in a file for Manufacturer's Model Name "Scan 1": odd, of another encoding, without a VR, or twice.
MODEL = _explicit(0x00081090, b"LO", b"Scan 1")


@pytest.mark.parametrize(
    ("written", "converted"),
    [
        (_explicit(0x00081090, b"LO", b"Scan1"), True),
        (struct.pack("<HHI", 0x0008, 0x1090, 6) + b"Scan 1", True),
        (_explicit(0x00081090, b"\0\0", b"Scan 1"), True),
        (MODEL + MODEL, False),
        (MODEL + _explicit(0x00091001, b"UN", b"")[:6] + struct.pack("<HI", 0, 3) + b"abc", False),
    ],
    ids=["odd", "implicit", "no VR", "twice", "odd bytes"],
)
def test_what_is_irregular_converts_where_nothing_can_be_lost(written: bytes, converted: bool, tmp_path: Path) -> None:
    path = save(series_of()[0], tmp_path / "1.dcm")
    content = path.read_bytes()
    assert content.count(MODEL) == 1
    path.write_bytes(content.replace(MODEL, written))
    made = convert([path], tmp_path / "out")
    assert bool(made.objects) is converted, made.kept
    if converted:
        assert made.one.ManufacturerModelName.replace(" ", "") == "Scan1"
    else:
        assert "irregular encoding" in made.kept["1.dcm"]


def test_a_transfer_syntax_that_is_not_the_one_used_loses_nothing(tmp_path: Path) -> None:
    sources = series_of()
    paths = save_all(sources, tmp_path / "in", ImplicitVRLittleEndian)
    for path in paths:
        path.write_bytes(path.read_bytes().replace(b"\x12\x001.2.840.10008.1.2\0", b"\x14\x001.2.840.10008.1.2.1\0"))
        assert read_header(path).irregular
    made = convert(paths, tmp_path / "out").one
    assert made.PixelData == b"".join(ds.PixelData for ds in sources)
    assert missing(sources[0], unfolded(made, 0)) == {}
