"""The proof of a rewritten copy: everything of the source stands in the stream, every reference names the right thing.

The stream is written to a sparse file in which the pixel data and very long values are holes, read back as any file is
and compared with a fresh reading of the source; the holes are compared byte by byte as the stream passes.
"""

from __future__ import annotations

import mmap
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from gateway.conversion.proof_references import SIGNATURES, Reading
from gateway.conversion.references import CONVERSION_SOURCE, Became
from gateway.conversion.related import ALTERNATE, RELATED_SERIES, apart, related_series
from gateway.errors import ConversionError, ObjectError
from gateway.objects.digest import Digest
from gateway.objects.elements import DataSet, Element, Span, items, tag_of, tag_text, text
from gateway.objects.parse import LONGEST_HELD, UNDEFINED, Syntax, element_head_at, parse_dataset
from gateway.objects.part10 import Header, read_header
from gateway.objects.recipe import Recipe, segment_length

EQUIPMENT = tag_of("ContributingEquipmentSequence")

# What a copy says itself, and signatures, which hold for the source alone.
_OWN = SIGNATURES | {
    CONVERSION_SOURCE,
    EQUIPMENT,
    RELATED_SERIES,
    *map(tag_of, ("SOPInstanceUID", "SeriesInstanceUID", "QueryRetrieveView")),
}


def prove_update(recipe: Recipe, source: Path, became: Became, view: str, series: str) -> str:
    """Check a rewritten copy against its source.

    Parameters
    ----------
    recipe : Recipe
        The copy.
    source : Path
        File of the instance it was made of.
    became : Became
        The reference map of its view.
    view : str
        ``"enhanced"`` or ``"classic"``.
    series : str
        Its Series Instance UID.

    Returns
    -------
    str
        BLAKE3-128 of the stream, in hexadecimal.

    Raises
    ------
    ConversionError
        If anything is missing or different.
    """
    try:
        return _prove(recipe, source, became, view, series)
    except (ObjectError, struct.error, ValueError, IndexError, OSError) as error:
        raise ConversionError(recipe.sop_instance, f"cannot be read back: {error}") from error


def _prove(recipe: Recipe, source: Path, became: Became, view: str, series: str) -> str:
    header = read_header(source)
    pixels = header.pixels
    with tempfile.TemporaryFile(dir=recipe.path.parent) as file, open(source, "rb", buffering=0) as original:
        digest = _laid_out(recipe, source, original, file, pixels.offset if pixels else -1)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
            ds, position = parse_dataset(stream, 0, len(stream), Syntax(), stop_at_pixels=True)
            if position < len(stream):
                position = _check_pixel_data(recipe, header, stream, position)
                ds.update(parse_dataset(stream, position, len(stream), Syntax())[0])
            elif pixels is not None:
                raise ConversionError(recipe.sop_instance, "has lost its pixel data")
    _check_identity(recipe, header, ds, view, series)
    _check_elements(recipe, header, _relocated(ds, _origins(recipe)), Reading(became, merged=True))
    return digest


def _laid_out(recipe: Recipe, source: Path, original: BinaryIO, file: BinaryIO, pixels: int) -> str:
    """Write a recipe's stream to a file but for what is long, which is compared at once; return the digest."""
    digest = Digest()
    chunks = iter(recipe.source(lambda name: source).chunks())
    at = 0
    for segment in recipe.segments:
        length = segment_length(segment)
        long = segment[0] == "f" and (segment[2] == pixels or length > LONGEST_HELD)
        if segment[0] == "f":
            original.seek(segment[2])
        file.seek(at)
        passed = 0
        while passed < length:
            piece = next(chunks, b"")
            if not piece:
                raise ConversionError(recipe.sop_instance, "ends too early", found=f"{length - passed} bytes less")
            digest.update(piece)
            passed += len(piece)
            if segment[0] == "f" and original.read(len(piece)) != piece:
                raise ConversionError(recipe.sop_instance, "has other bytes than its source")
            if not long:
                file.write(piece)
        at += length
    if next(chunks, b"") or at != recipe.length:
        raise ConversionError(recipe.sop_instance, "has another length than announced", found=at)
    file.truncate(at)
    file.flush()
    return digest.hexdigest()


def _origins(recipe: Recipe) -> dict[int, int]:
    """Return where in the source file the parts of a stream begin that are taken from there."""
    found, at = {}, 0
    for segment in recipe.segments:
        if segment[0] == "f":
            found[at] = segment[2]
        at += segment_length(segment)
    return found


def _relocated(ds: DataSet, origins: Mapping[int, int]) -> DataSet:
    """Return a data set whose long values are named by their place in the source file."""
    found = {}
    for tag, element in ds.items():
        value = element.value
        if isinstance(value, Span):
            element = Element(tag, element.vr, Span(origins.get(value.offset, -1), value.length))
        elif isinstance(value, tuple):
            element = Element(tag, element.vr, tuple(_relocated(item, origins) for item in value))
        found[tag] = element
    return found


def _check_pixel_data(recipe: Recipe, header: Header, stream: mmap.mmap, position: int) -> int:
    """Check head and place of the pixel data and return the offset behind them."""
    pixels = header.pixels
    group, number = struct.unpack_from("<HH", stream, position)
    vr, length, start = element_head_at(stream, position, len(stream), group << 16 | number, Syntax(), {})
    if pixels is None or group << 16 | number != pixels.tag or (not header.implicit and vr != pixels.vr):
        raise ConversionError(recipe.sop_instance, "has other pixel data than its source", found=vr)
    whole = pixels.length + pixels.length % 2
    if length != (whole if pixels.fragments is None else UNDEFINED) or _origins(recipe).get(start) != pixels.offset:
        raise ConversionError(recipe.sop_instance, "has its pixel data from elsewhere", found=length)
    return start + (whole if pixels.fragments is None else pixels.length)


def _check_identity(recipe: Recipe, header: Header, ds: DataSet, view: str, series: str) -> None:
    """Check what a copy says itself (C.3.5, O1 to O3)."""
    (origin,) = items(ds, CONVERSION_SOURCE) or ({},)
    for what, found, expected in (
        ("SOP Instance UID", text(ds, "SOPInstanceUID"), recipe.sop_instance),
        ("Series Instance UID", text(ds, "SeriesInstanceUID"), series),
        ("Query/Retrieve View", text(ds, "QueryRetrieveView"), view.upper()),
        ("class of the Conversion Source", text(origin, "ReferencedSOPClassUID"), header.sop_class),
        ("instance of the Conversion Source", text(origin, "ReferencedSOPInstanceUID"), header.sop_instance),
    ):
        if found != expected:
            raise ConversionError(recipe.sop_instance, f"has another {what}", found=found, expected=expected)
    if header.sop_instance == recipe.sop_instance or header.series == series:
        raise ConversionError(recipe.sop_instance, "has a UID of its source")


def _check_elements(recipe: Recipe, header: Header, ds: DataSet, reading: Reading) -> None:
    """Find every element of the source, and no other, with every reference where it now belongs."""
    source = header.dataset
    _check_related(recipe, source, ds, reading)
    for tag in sorted((source.keys() | ds.keys()) - _OWN):
        if tag not in source or tag not in ds or reading.expected(source[tag]) != reading.found(ds[tag]):
            raise ConversionError(recipe.sop_instance, f"{tag_text(tag)} is not that of its source")
    older = items(source, EQUIPMENT)
    newer = items(ds, EQUIPMENT)
    if len(newer) != len(older) + 1:
        raise ConversionError(recipe.sop_instance, "has not one item of Contributing Equipment more")
    for one, other in zip(older, newer, strict=False):
        if reading.expected(_sequence(one)) != reading.found(_sequence(other)):
            raise ConversionError(recipe.sop_instance, f"{tag_text(EQUIPMENT)} is not that of its source")


def _check_related(recipe: Recipe, source: DataSet, ds: DataSet, reading: Reading) -> None:
    """Find the related series of the source, and behind them its own series, unless the copy is back in its own."""
    before = apart(source)
    added = [*before.added, source]
    if text(ds, "SeriesInstanceUID") == before.copied:
        added = []
    found = related_series(ds)
    count = max(len(found) - len(added), 0)
    for item, expected in zip(found[count:], added, strict=True):
        same_series = _named(item) == _named(expected)
        if not same_series or items(item, "PurposeOfReferenceCodeSequence") != (ALTERNATE,):
            raise ConversionError(recipe.sop_instance, "does not name the series of its source", found=_named(item))
    older = related_series(before.rest)
    said, names = (Element(RELATED_SERIES, "SQ", one) for one in (older, found[:count]))
    if reading.expected(said) != reading.found(names):
        raise ConversionError(recipe.sop_instance, f"{tag_text(RELATED_SERIES)} is not that of its source")


def _named(item: DataSet) -> tuple[str, str]:
    return text(item, "StudyInstanceUID"), text(item, "SeriesInstanceUID")


def _sequence(item: DataSet) -> Element:
    return Element(EQUIPMENT, "SQ", (item,))
