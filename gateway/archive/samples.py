"""Compressed samples to native ones, in the process of `gateway.archive.decoding`: those of an object, those of icons.

Only what every decoder makes the same samples of is decoded (`gateway.standard.compression`), by the decoder that is
named for the transfer syntax; what comes of it is compared with what the header says.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, BinaryIO

from gateway.archive.decoder import plugin
from gateway.errors import ObjectError
from gateway.objects.elements import DataSet, integer, raw, tag_of, text
from gateway.objects.part10 import Header
from gateway.standard.compression import EXACT, LOSSLESS

_PHOTOMETRIC_INTERPRETATION = tag_of("PhotometricInterpretation")
_PLANAR_CONFIGURATION = tag_of("PlanarConfiguration")
_LOSSY_IMAGE_COMPRESSION = tag_of("LossyImageCompression")

_COLOUR_BY_PIXEL = b"\0\0"

# Colours whose samples come out as they went in. YBR_RCT is RGB before and after (PS3.3 C.7.6.3.1.2); others are made
# smaller, or converted with rounding.
_COLOURS = {"RGB": b"RGB ", "YBR_FULL": b"YBR_FULL", "YBR_RCT": b"RGB "}

# What an attribute may become when an object is decoded, by what it was.
REPLACED: Mapping[int, Callable[[bytes], Collection[bytes]]] = {
    _PHOTOMETRIC_INTERPRETATION: lambda before: (_COLOURS.get(before.decode("latin-1").strip(" \0"), before),),
    _PLANAR_CONFIGURATION: lambda before: (_COLOUR_BY_PIXEL,),
}

# Kinds of JPEG by the marker of the frame (ITU-T T.81 table B.1, T.87), as transfer syntaxes.
_JPEG_FRAMES = {0xC0: "1.2.840.10008.1.2.4.50", 0xC3: "1.2.840.10008.1.2.4.57", 0xF7: "1.2.840.10008.1.2.4.80"}


class Image:
    """The samples of a compressed file.

    Parameters
    ----------
    header : Header
        Of the file; its pixel data are encapsulated.

    Raises
    ------
    ObjectError
        If they cannot be decoded without anything being changed.

    Attributes
    ----------
    replaced : dict of int to bytes
        Attributes that have another value when the samples are decoded.
    vr : str
        Of the decoded pixel data.
    length : int
        Of the decoded pixel data, in bytes.
    """

    def __init__(self, header: Header) -> None:
        assert header.pixels is not None
        self._header = header
        self._pixels = header.pixels
        self._check_syntax()
        ds = header.dataset
        self._options = _options(ds, header.sop_instance)
        samples = self._options["samples_per_pixel"]
        self.replaced: dict[int, bytes] = {}
        if samples != 1:
            self.replaced = _colours(ds, header.sop_instance)
        self._size = _size(self._options)
        self.count = max(integer(ds, "NumberOfFrames", 1) or 1, 1)
        self.length = self.count * self._size
        self.vr = "OB" if self._options["bits_allocated"] == 8 else "OW"

    def _check_syntax(self) -> None:
        header = self._header
        syntax, ds = header.transfer_syntax, header.dataset
        if syntax not in LOSSLESS | EXACT:
            raise ObjectError(header.sop_instance, "is compressed so that decoders differ in what they make of it")
        if self._pixels.tag != 0x7FE00010:
            raise ObjectError(header.sop_instance, "has compressed pixels of floating point")
        # Decoded, only the attribute tells that something was lost.
        if syntax in EXACT and not raw(ds, _LOSSY_IMAGE_COMPRESSION):
            raise ObjectError(header.sop_instance, "does not say whether it was compressed with loss")

    def frames(self, file: BinaryIO) -> Iterator[bytes]:
        """Yield the samples of one frame after the other.

        Raises
        ------
        ObjectError
            If there are more or fewer of them than the header says.
        """
        header, ds = self._header, self._header.dataset
        tables = raw(ds, "ExtendedOffsetTable"), raw(ds, "ExtendedOffsetTableLengths")
        more = {"extended_offsets": tables} if all(tables) else {}
        file.seek(self._pixels.offset)
        left = self.count
        options = {**self._options, "number_of_frames": self.count, **more}
        if header.transfer_syntax in EXACT:
            self._check_reversible(file)
        for array, found in _decode(header.transfer_syntax, file, options):
            if not left:
                raise ObjectError(header.sop_instance, "has more frames than its header says", found=self.count + 1)
            left -= 1
            yield _bytes(array, found, options, header.sop_instance, bool(self.replaced))
        if left:
            raise ObjectError(header.sop_instance, "has fewer frames than its header says", found=self.count - left)

    def _check_reversible(self, file: BinaryIO) -> None:
        """Refuse wavelets that every decoder rounds in its own way."""
        if self._header.transfer_syntax == "1.2.840.10008.1.2.4.81":
            return
        here = file.tell()
        for offset, length in self._pixels.fragments or ():
            file.seek(offset)
            begin = file.read(min(length, 4096))
            if begin.startswith(b"\xff\x4f") and not _is_reversible(begin):
                raise ObjectError(self._header.sop_instance, "is compressed so that decoders differ in the last bit")
        file.seek(here)


def _is_reversible(codestream: bytes) -> bool:
    """Tell whether the main header of a JPEG 2000 codestream names the reversible transform (15444-1 A.6.1)."""
    at = 2
    while at + 4 <= len(codestream) and codestream[at] == 0xFF:
        marker, length = codestream[at + 1], int.from_bytes(codestream[at + 2 : at + 4])
        if marker == 0x52:  # COD: length, style, progression, layers, component transform, five of the wavelet
            return codestream[at + 13 : at + 14] == b"\1"
        at += 2 + length
    return False


class Nested:
    """Decodes compressed pixels inside of sequences.

    Parameters
    ----------
    transfer_syntax : str
        Of the object, which holds for its icons (PS3.5 A.4), unless their first bytes say otherwise.

    Attributes
    ----------
    made : list of bytes
        What was decoded, in order.
    """

    def __init__(self, transfer_syntax: str) -> None:
        self._syntax = transfer_syntax
        self.made: list[bytes] = []

    def unpack(self, item: DataSet, encapsulated: bytes) -> bytes:
        """Decode the pixels of an item.

        Raises
        ------
        ObjectError
            If they are not what the item says.
        """
        about = "a compressed image in a sequence"
        options = _options(item, about)
        if options["samples_per_pixel"] != 1:
            raise ObjectError(about, "has colours")  # PS3.3 C.7.6.1.1.6: an icon has palette colours or none
        options["number_of_frames"] = max(integer(item, "NumberOfFrames", 1) or 1, 1)
        frames = [
            _bytes(array, found, options, about, False)
            for array, found in _decode(_codec(encapsulated, self._syntax), encapsulated, options)
        ]
        if len(frames) != options["number_of_frames"]:
            raise ObjectError(about, "has other frames than its item says", found=len(frames))
        samples = b"".join(frames)
        self.made.append(samples + bytes(len(samples) % 2))
        return self.made[-1]


def _codec(encapsulated: bytes, declared: str) -> str:
    """Return the transfer syntax of an icon: other encoders may have made it than made the image."""
    first = _first_fragment(encapsulated)
    if first.startswith(b"\xff\x4f\xff\x51"):
        return declared if declared.startswith("1.2.840.10008.1.2.4.20") else "1.2.840.10008.1.2.4.90"
    if not first.startswith(b"\xff\xd8"):
        return declared
    at = 2
    while at + 4 <= len(first) and first[at] == 0xFF:
        if first[at + 1] in _JPEG_FRAMES:
            return _JPEG_FRAMES[first[at + 1]]
        at += 2 + int.from_bytes(first[at + 2 : at + 4])
    return declared


def _first_fragment(encapsulated: bytes) -> bytes:
    """Return what stands behind the Basic Offset Table."""
    table = int.from_bytes(encapsulated[4:8], "little")
    return encapsulated[8 + table + 8 :]


def _options(ds: DataSet, about: str) -> dict[str, Any]:
    """Return what decoders have to know, as pydicom calls it.

    Raises
    ------
    ObjectError
        If the attributes describe no samples of whole bytes.
    """
    found: dict[str, Any] = {
        name: integer(ds, keyword)
        for name, keyword in (
            ("rows", "Rows"),
            ("columns", "Columns"),
            ("samples_per_pixel", "SamplesPerPixel"),
            ("bits_allocated", "BitsAllocated"),
            ("bits_stored", "BitsStored"),
            ("pixel_representation", "PixelRepresentation"),
        )
    }
    missing = [name for name, value in found.items() if value is None]
    if missing:
        raise ObjectError(about, f"has pixels without {missing[0].replace('_', ' ')}")
    if found["bits_allocated"] not in (8, 16, 32) or not found["rows"] or not found["columns"]:
        raise ObjectError(about, "has no pixels that can be decoded", found=f"{found['bits_allocated']} bits")
    if found["samples_per_pixel"] not in (1, 3) or not 0 < found["bits_stored"] <= found["bits_allocated"]:
        raise ObjectError(about, "has pixels that contradict themselves")
    found["photometric_interpretation"] = text(ds, "PhotometricInterpretation")
    found["planar_configuration"] = integer(ds, "PlanarConfiguration", 0)
    found["pixel_keyword"] = "PixelData"
    return found


def _colours(ds: DataSet, about: str) -> dict[int, bytes]:
    """Return the attributes of colours that go on as they are, colour by pixel."""
    interpretation = text(ds, "PhotometricInterpretation")
    if interpretation not in _COLOURS:
        raise ObjectError(about, "has colours that decoders convert", found=interpretation)
    if _PLANAR_CONFIGURATION not in ds:
        raise ObjectError(about, "has colours and no Planar Configuration")
    return {_PHOTOMETRIC_INTERPRETATION: _COLOURS[interpretation], _PLANAR_CONFIGURATION: _COLOUR_BY_PIXEL}


def _size(options: Mapping[str, Any]) -> int:
    pixels: int = options["rows"] * options["columns"] * options["samples_per_pixel"]
    return pixels * options["bits_allocated"] // 8


def _decode(syntax: str, source: Any, options: Mapping[str, Any]) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """Yield the samples of one frame after the other, and what the decoder says of them."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    name = plugin(syntax)
    if not name:
        raise ObjectError(UID(syntax).name, "has no decoder that is installed")
    yield from get_decoder(UID(syntax)).iter_array(source, raw=True, decoding_plugin=name, **options)


def _bytes(array: Any, found: Mapping[str, Any], options: Mapping[str, Any], about: str, colours: bool) -> bytes:
    """Return samples little endian as the header describes them.

    Raises
    ------
    ObjectError
        If they are others.
    """
    import numpy

    signed = "i" if options["pixel_representation"] else "u"
    container = numpy.dtype(f"<{signed}{options['bits_allocated'] // 8}")
    if array.dtype.kind != signed or array.dtype.itemsize > container.itemsize:
        raise ObjectError(about, "has other samples than its header says", found=str(array.dtype))
    if colours and found["photometric_interpretation"] not in ("RGB", "YBR_FULL"):
        raise ObjectError(about, "has other colours than its header says", found=found["photometric_interpretation"])
    made: bytes = array.astype(container, copy=False).tobytes()
    if len(made) != _size(options):
        raise ObjectError(about, "has other frames than its header says", found=f"{len(made)} bytes")
    return made
