"""Elements, frames and bytes of DICOM files as the demonstration compares them - by pydicom alone."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from blake3 import blake3
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.filereader import read_dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

# A data set in Explicit VR Little Endian (`docs/conversion.md`).
ATTRIBUTES_OF_THE_SOURCE = (0x0021, "GATEWAY CONVERSION", 0x03)


def means_nothing(element: Any) -> bool:
    """Return whether an element is empty or only about the encoding: group lengths, private creators."""
    return bool(element.tag.element == 0 or element.tag.is_private_creator or element.is_empty)


def meaning(value: Any, vr: str) -> Any:
    """Return a value in a form in which two are equal when they mean the same."""
    if vr == "SQ":
        return [
            {
                key_of(item, element): meaning(element.value, element.VR)
                for element in item
                if not means_nothing(element)
            }
            for item in value
        ]
    return value.rstrip(b"\0 ") if isinstance(value, bytes) else value


def key_of(where: Dataset, element: Any) -> tuple[Any, ...]:
    """Return what identifies an element: private ones by creator, because their block may move (PS3.5 7.8)."""
    tag = element.tag
    if tag.is_private and not tag.is_private_creator:
        creator = where.get((tag.group, tag.element >> 8))
        return tag.group, str(creator.value) if creator is not None else "", tag.element & 0xFF
    return (0x00080008,) if tag == 0x00089007 else (tag,)  # Frame Type is what Image Type becomes


def unpacked(item: Dataset) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield key and element of what an item says of its source in the private block of conversions."""
    for element in item:
        if element.tag.is_private and key_of(item, element) == ATTRIBUTES_OF_THE_SOURCE:
            said = read_dataset(BytesIO(element.value), is_implicit_VR=False, is_little_endian=True)
            yield from ((key_of(said, one), one) for one in said)


def data_set_digest(path: Path) -> str:
    """Return BLAKE3-128 of the data set bytes of a file, the file meta information left out."""
    digest = blake3()
    with path.open("rb") as file:
        file.seek(_data_set_offset(path))
        while chunk := file.read(1 << 18):
            digest.update(chunk)
    return digest.hexdigest(length=16)


def _data_set_offset(path: Path) -> int:
    with path.open("rb") as file:
        if file.read(132)[128:] != b"DICM":
            return 0
        pydicom.filereader._read_file_meta_info(file)
        return file.tell()


def frames_of(path: Path) -> Iterator[bytes]:
    """Yield the bytes of each frame as they are encoded, one at a time; native big endian words turned round."""
    with path.open("rb") as file:
        header = pydicom.dcmread(file, stop_before_pixels=True, force=True)
        syntax = UID(getattr(header, "file_meta", Dataset()).get("TransferSyntaxUID", "1.2.840.10008.1.2"))
        count = frame_count(header)
        if syntax == DeflatedExplicitVRLittleEndian:
            yield from _native(pydicom.dcmread(path).PixelData, header, count)
            return
        start = file.read(12)
        if len(start) < 12:
            return
        if syntax.is_encapsulated:
            yield from generate_frames(file, number_of_frames=count)
            return
        if syntax.is_implicit_VR:
            file.seek(-4, 1)
        length = frame_length(header)
        for _ in range(count):
            data = file.read(length)
            yield _turned(data, header) if not syntax.is_little_endian else data


def frame_count(header: Dataset) -> int:
    """Return Number of Frames, 1 where it is none."""
    try:
        return int(header.get("NumberOfFrames") or 1)
    except ValueError:  # a broken object, passed on as it came
        return 1


def frame_length(header: Dataset) -> int:
    """Return the bytes of one native frame."""
    pixels = int(header.Rows) * int(header.Columns) * int(header.get("SamplesPerPixel") or 1)
    return (pixels * int(header.BitsAllocated) + 7) // 8


def _native(data: bytes, header: Dataset, count: int) -> Iterator[bytes]:
    length = frame_length(header)
    yield from (data[n * length : (n + 1) * length] for n in range(count))


def _turned(data: bytes, header: Dataset) -> bytes:
    import numpy as np

    width = int(header.BitsAllocated) // 8
    return data if width < 2 else np.frombuffer(data, f">u{width}").astype(f"<u{width}").tobytes()
