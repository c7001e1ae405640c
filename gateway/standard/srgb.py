"""An ICC profile of sRGB, for colour images that come without one (PS3.3 C.11.15, ISO 15076-1, IEC 61966-2-1)."""

from __future__ import annotations

import struct
from functools import lru_cache

# Colorants and white, adapted to D50, and the Bradford matrix from D65 that did it.
_WHITE = (0.9642, 1.0, 0.8249)
_COLORANTS = {
    b"rXYZ": (0.4360747, 0.2225045, 0.0139322),
    b"gXYZ": (0.3850649, 0.7168786, 0.0971045),
    b"bXYZ": (0.1430804, 0.0606169, 0.7141733),
}
_ADAPTATION = (1.0478112, 0.0228866, -0.0501270, 0.0295424, 0.9904844, -0.0170491, -0.0092345, 0.0150436, 0.7521316)

# Gamma, a, b, c, d of the parametric curve of type 3: (a x + b) ** gamma from d on, else c x.
_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def _words(words: str) -> bytes:
    encoded = words.encode("utf-16-be")
    return struct.pack(">4s4xII4sII", b"mluc", 1, 12, b"enUS", len(encoded), 28) + encoded


@lru_cache(maxsize=1)
def srgb_profile() -> bytes:
    """Return a version 4 input device profile of sRGB, the same at every call."""
    curve = struct.pack(">4s4xHxx", b"para", 3) + _fixed(*_CURVE)
    tags = {
        b"desc": _words("sRGB"),
        b"cprt": _words("No copyright, use freely"),
        b"wtpt": b"XYZ \0\0\0\0" + _fixed(*_WHITE),
        b"chad": b"sf32\0\0\0\0" + _fixed(*_ADAPTATION),
        **{name: b"XYZ \0\0\0\0" + _fixed(*value) for name, value in _COLORANTS.items()},
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    table, content = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += struct.pack(">4sII", name, start + len(content), len(value))
        content += value + bytes(-len(value) % 4)
    size = start + len(content)
    created = (2000, 1, 1, 0, 0, 0)
    head = struct.pack(">I4xI4s4s4s6H4s", size, 0x04200000, b"scnr", b"RGB ", b"XYZ ", *created, b"acsp")
    head += bytes(4 + 4 + 4 + 4 + 8 + 4) + _fixed(*_WHITE)
    return head.ljust(128, b"\0") + table + content
