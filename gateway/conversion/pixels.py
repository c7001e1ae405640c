"""Pixels of frames made alike: what they are, what one object says of all of them, and the steps between the two.

An object has its Image Pixel attributes once (PS3.4 C.3.5). Where sources differ, or have what the enhanced class does
not allow, the stored values of their pixels stay what they are in other bits (notes 1 and 2 there), or are inverted
together with everything that is said of them (`gateway.conversion.inversion`). Sources that agree and are allowed pass
byte for byte. Compressed pixels are never decoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from gateway.conversion.overlays import DATA, overlay_groups
from gateway.objects.elements import (
    DataSet,
    dataset,
    integer,
    is_empty,
    make,
    raw,
    settle_vr,
    standard_vr,
    tag_of,
    text,
)
from gateway.objects.part10 import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, Header
from gateway.objects.remembered import remembered
from gateway.objects.transforms import Step, transformed, transformed_length

# Syntaxes whose frames can be worked on.
NATIVE = (EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED)

# Bits that the IODs allow: (Bits Allocated, Bits Stored) by modality (PS3.3 C.8.15.2, C.8.13.1.1.2, C.8.22.3).
ALLOWED_BITS = {
    "CT": ((16, 12), (16, 16)),
    "MR": ((8, 8), (16, 12), (16, 16)),
    "PT": ((16, 16),),
}

GRAYSCALE = ("MONOCHROME1", "MONOCHROME2")

# Color of MR images (C.8.13.1.1.2) with Samples per Pixel and whether it may be compressed; others stay classic.
MR_COLORS = {"RGB": (3, (True, False)), "YBR_FULL_422": (3, (True,)), "YBR_RCT": (3, (True,)), "YBR_ICT": (3, (True,))}

# Planar Configuration, encoded. The classes have the first one only (C.8.13.1.1.2).
BY_PIXEL, BY_PLANE = b"\0\0", b"\1\0"

_PALETTES = tuple(f"{color}PaletteColorLookupTable{part}" for color in ("Red", "Green", "Blue") for part in
                  ("Descriptor", "Data"))  # fmt: skip


@dataclass(frozen=True, slots=True)
class PixelDescription:
    """What a header says of its pixels.

    Attributes
    ----------
    syntax : str
        ``"native"`` for every uncompressed little endian encoding, else the transfer syntax.
    vr : str
        VR of the pixel data element.
    shape : tuple of int
        Rows, Columns, Samples per Pixel.
    layout : tuple of bytes
        Planar Configuration, Pixel Aspect Ratio and palettes, encoded.
    photometric : str
        Photometric Interpretation.
    allocated, stored, high : int
        Bits Allocated, Bits Stored and High Bit.
    signed : int
        Pixel Representation.
    padding, limit : int or None
        Pixel Padding Value and Range Limit, as numbers.
    odd_padding : tuple of bytes
        The same two, encoded, where they are no value that the pixels can have; their pixels are left alone.
    overlay_bits : bool
        Whether an overlay is in the unused bits.
    """

    syntax: str = "native"
    vr: str = "OW"
    shape: tuple[int, int, int] = (0, 0, 0)
    layout: tuple[bytes, ...] = ()
    photometric: str = "MONOCHROME2"
    allocated: int = 16
    stored: int = 16
    high: int = 15
    signed: int = 0
    padding: int | None = None
    limit: int | None = None
    odd_padding: tuple[bytes, ...] = ()
    overlay_bits: bool = False

    @property
    def compressed(self) -> bool:
        """Whether the pixels are encapsulated."""
        return self.syntax not in ("native", *NATIVE)

    @property
    def grayscale(self) -> bool:
        """Whether stored values are single numbers on a scale of gray."""
        return self.photometric in GRAYSCALE

    @property
    def inverted(self) -> bool:
        """Whether the lowest value is white, so that an object's pixels are the complement."""
        return self.photometric == "MONOCHROME1"

    @property
    def complement(self) -> int:
        """What a stored value and its inverse add up to."""
        return -1 if self.signed else (1 << self.stored) - 1

    @property
    def planes(self) -> bool:
        """Whether samples of one color stand together, uncompressed (Planar Configuration 1, C.7.6.3.1.3)."""
        return not self.compressed and self.shape[2] > 1 and bool(self.layout) and self.layout[0] == BY_PLANE

    @property
    def padding_after(self) -> int | None:
        """Pixel Padding Value once the pixels are inverted, if they are."""
        return self.complement - self.padding if self.inverted and self.padding is not None else self.padding

    @property
    def limit_after(self) -> int | None:
        """Pixel Padding Range Limit once the pixels are inverted, if they are."""
        return self.complement - self.limit if self.inverted and self.limit is not None else self.limit

    @property
    def length(self) -> int:
        """Number of bytes of one native frame."""
        rows, columns, samples = self.shape
        return rows * columns * samples * self.allocated // 8

    @property
    def swapped_words(self) -> bool:
        """Whether bytes have to be turned round: words of 16 bits, also where pixels have 8 (PS3.5 A.3, annex D)."""
        return self.syntax == EXPLICIT_BIG and (self.allocated > 8 or self.vr == "OW")

    @property
    def length_read(self) -> int:
        """Number of bytes to read for one frame: of words whose bytes are turned round the last one is whole."""
        return self.length + self.length % 2 if self.swapped_words else self.length

    def family(self) -> tuple:
        """Return what descriptions must agree in for their frames to share an object."""
        if self.compressed or not self.grayscale or self.odd_padding:
            bits = (self.allocated, self.stored, self.high, self.signed)
            padding = (self.padding, self.limit, self.odd_padding)
            return (
                self.syntax if self.compressed else "native",
                self.shape,
                self.layout,
                self.photometric,
                bits,
                padding,
            )
        # Of one value other pixels can be told apart (`gateway.conversion.padding`), not of a range.
        wide = None if self.limit is None else (self.padding_after, self.limit_after)
        return "native", self.shape, self.layout, "grayscale", self.signed, wide


NO_PIXELS = PixelDescription()


@remembered
def described(ds: DataSet, syntax: str = EXPLICIT_LITTLE, vr: str = "OW") -> PixelDescription:
    """Return what a header says of its pixels; numbers it lacks are zero, or -1 where zero means something.

    Parameters
    ----------
    ds : DataSet
        The header.
    syntax, vr : str
        Transfer syntax and VR of the pixel data.
    """
    stored = integer(ds, "BitsStored", 0) or 0
    signed = integer(ds, "PixelRepresentation", -1)
    padding, limit, odd = _padding(ds, stored, bool(signed))
    return PixelDescription(
        syntax="native" if syntax in NATIVE and syntax != EXPLICIT_BIG else syntax,
        vr=vr,
        shape=(integer(ds, "Rows", 0) or 0, integer(ds, "Columns", 0) or 0, integer(ds, "SamplesPerPixel", 0) or 0),
        layout=tuple(raw(ds, keyword) for keyword in ("PlanarConfiguration", "PixelAspectRatio", *_PALETTES)),
        photometric=text(ds, "PhotometricInterpretation"),
        allocated=integer(ds, "BitsAllocated", 0) or 0,
        stored=stored,
        high=integer(ds, "HighBit", -1) or 0,
        signed=-1 if signed is None else signed,
        padding=padding,
        limit=limit,
        odd_padding=odd,
        overlay_bits=any(is_empty(ds.get(group << 16 | DATA)) for group in overlay_groups(ds)),
    )


def description_of(header: Header) -> PixelDescription:
    """Return what the header of a file says of its pixels."""
    vr = header.pixels.vr if header.pixels is not None else "OW"
    return described(header.dataset, header.transfer_syntax, vr)


def _padding(ds: DataSet, stored: int, signed: bool) -> tuple[int | None, int | None, tuple[bytes, ...]]:
    encoded = tuple(raw(ds, keyword) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"))
    found: list[int | None] = []
    for value in encoded:
        number = int.from_bytes(value, "little", signed=signed)
        low, high = (-(1 << max(stored, 1) - 1), 1 << max(stored, 1) - 1) if signed else (0, 1 << stored)
        if value and (len(value) != 2 or not low <= number < high):
            return None, None, encoded
        found.append(number if value else None)
    return (None, None, encoded) if found[0] is None and found[1] is not None else (found[0], found[1], ())


def problem(modality: str, pixels: PixelDescription) -> str:
    """Return why pixels cannot become those of an enhanced object, empty if they can."""
    bits = f"{pixels.stored} of {pixels.allocated} bits, High Bit {pixels.high}"
    if modality == "MR" and pixels.photometric in MR_COLORS:
        samples, compressed = MR_COLORS[pixels.photometric]
        if (pixels.shape[2], pixels.allocated, pixels.stored, pixels.high) != (samples, 8, 8, 7):
            return f"{pixels.photometric} with {bits}"
        if pixels.compressed not in compressed:
            return f"{pixels.photometric} that is not compressed"
        return ""
    if not pixels.grayscale or pixels.shape[2] != 1:
        what = pixels.photometric or "an unknown photometric interpretation"
        return f"{what} with {pixels.shape[2]} samples a pixel is nothing an enhanced {modality} image may have"
    if pixels.allocated not in (8, 16) or not 1 <= pixels.stored <= pixels.high + 1 <= pixels.allocated:
        return f"pixels of {bits} are nothing an enhanced {modality} image can hold"
    if pixels.signed not in (0, 1):
        return "Pixel Representation is neither 0 nor 1"
    changes = (
        pixels.inverted
        or pixels.overlay_bits
        or (pixels.allocated, pixels.stored) not in ALLOWED_BITS[modality]
        or pixels.high != pixels.stored - 1
    )
    if changes and pixels.compressed:
        return f"compressed pixels of {pixels.photometric} with {bits} would have to be decoded to be changed"
    if changes and pixels.odd_padding:
        return f"its pixel padding {pixels.odd_padding} is no value that {pixels.stored} bits can have"
    return ""


@dataclass(frozen=True)
class PixelPlan:
    """What an object says of its pixels, and how those of its sources become so.

    Attributes
    ----------
    target : PixelDescription
        Of the object.
    elements : DataSet
        Image Pixel attributes that are not those of every source.
    """

    target: PixelDescription
    elements: DataSet = field(default_factory=dict)

    @property
    def transfer_syntax(self) -> str:
        """Of the object."""
        return self.target.syntax if self.target.compressed else EXPLICIT_LITTLE

    def steps(self, source: PixelDescription) -> tuple[Step, ...]:
        """Return the transforms of a frame."""
        return steps(source, self.target)

    def length(self, source: PixelDescription) -> int:
        """Return the number of bytes that a native frame takes in the object."""
        return transformed_length(source.length_read, self.steps(source))


def plan_pixels(modality: str, sources: Iterable[PixelDescription], padding: int | None = None) -> PixelPlan:
    """Return what one object says of the pixels of its sources, which are of one family (E4 to E8, E37).

    Parameters
    ----------
    modality : {"CT", "MR", "PT"}
        Row of table C.3.5-1.
    sources : iterable of PixelDescription
        Of each source, none of which has a `problem`.
    padding : int, optional
        Pixel Padding Value of the object, in its own values.
    """
    found = list(dict.fromkeys(sources))
    first = found[0]
    if first.compressed:
        return PixelPlan(first)
    target = replace(first, syntax="native", overlay_bits=False)
    if first.planes:
        target = replace(target, layout=(BY_PIXEL, *first.layout[1:]))
    if first.grayscale:
        allocated, stored = next(
            bits
            for bits in ALLOWED_BITS[modality]
            if all(source.allocated <= bits[0] and source.stored <= bits[1] for source in found)
        )
        target = replace(target, photometric="MONOCHROME2", allocated=allocated, stored=stored, high=stored - 1)
    if not first.odd_padding:
        target = replace(target, padding=padding, limit=first.limit_after)
    return PixelPlan(target, _elements(target, found))


def _elements(target: PixelDescription, sources: Sequence[PixelDescription]) -> DataSet:
    vr = settle_vr(standard_vr(tag_of("PixelPaddingValue")), signed=bool(target.signed))
    wanted = (
        ("photometric", "PhotometricInterpretation", "CS"),
        ("allocated", "BitsAllocated", "US"),
        ("stored", "BitsStored", "US"),
        ("high", "HighBit", "US"),
        ("padding", "PixelPaddingValue", vr),
        ("limit", "PixelPaddingRangeLimit", vr),
    )
    return dataset(
        *([make("PlanarConfiguration", 0)] if sources[0].planes else []),
        *(
            make(keyword, getattr(target, name), vr=vr)
            for name, keyword, vr in wanted
            if getattr(target, name) is not None
            and any(getattr(source, name) != getattr(target, name) for source in sources)
        ),
    )


def steps(source: PixelDescription, target: PixelDescription) -> tuple[Step, ...]:
    """Return the transforms that give a native frame the description of its object."""
    if source.compressed:
        return ()
    found: list[Step] = []
    if source.swapped_words:
        found.append(("swap", 2))
        if source.length_read != source.length:
            found.append(("first", source.length))
    if not source.grayscale:
        if source.planes and not target.planes:
            found.append(("by_pixel", source.shape[2]))
        return tuple(found)
    width = target.allocated
    by = source.high + 1 - source.stored
    replaced = source.padding is not None and source.padding_after != target.padding
    raised = target.stored > source.stored or width > source.allocated
    if by:
        found.append(("shift", source.allocated, by))
    if width > source.allocated:
        found.append(("widen",))
    if (by or raised or replaced or source.inverted or source.overlay_bits) and source.stored < width:
        found.append(("sign" if source.signed else "mask", width, source.stored))
    if source.inverted:
        found.append(("invert", width, width if source.signed else source.stored))
    if replaced:
        low = (1 << width) - 1
        found.append(("replace", width, source.padding_after & low, target.padding & low))  # type: ignore[operator]
    if source.overlay_bits and target.stored < width and source.signed:
        found.append(("mask", width, target.stored))  # the bits are to be zero, whatever the sign (C.3.5)
    return tuple(found)


def undoing(target: PixelDescription, source: PixelDescription) -> tuple[Step, ...]:
    """Return the transforms that give a frame of an object the description of its source, little endian."""
    if source.compressed or target.compressed:
        return ()
    first: list[Step] = [("swap", 2)] if target.swapped_words else []
    if not source.grayscale:
        if source.planes and not target.planes:
            first.append(("by_plane", source.shape[2]))
        return tuple(first)
    width = target.allocated
    low = (1 << width) - 1
    found: list[Step] = []
    if source.padding is not None and target.padding is not None and source.padding_after != target.padding:
        found.append(("replace", width, target.padding & low, source.padding_after & low))  # type: ignore[operator]
    if source.inverted and not target.inverted:
        found.append(("invert", width, width if source.signed else source.stored))
    if width > source.allocated:
        found.append(("narrow",))
    by = source.high + 1 - source.stored
    if by and target.high + 1 == target.stored:
        found += [("mask", source.allocated, source.stored), ("shift", source.allocated, -by)]
    if found and target.stored < width:
        found.insert(0, ("sign" if source.signed else "mask", width, target.stored))
    return (*first, *found)


def restored(target: PixelDescription, source: PixelDescription, data: bytes) -> bytes:
    """Return a frame of an object with the description of its source."""
    return transformed(data, undoing(target, source))
