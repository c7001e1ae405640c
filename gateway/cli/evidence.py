"""What the PACS of the demonstration holds, compared with what was sent - by pydicom alone, not by the box's own code.

Every sent instance must be there exactly once: as itself, byte for byte, or as the one frame of an enhanced object that
names it as its Conversion Source (PS3.3 C.12.1.1.4), with the same pixel bytes and every element's value. Overlays and
graphic annotations are in presentation states that apply to the frame.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from blake3 import blake3
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from gateway.cli.states import States, moves
from gateway.cli.stored import same_values

# SOP Class and Instance are in the Conversion Source; a conversion has its own Query/Retrieve View, Contributing
# Equipment and Conversion Source; Referenced and Source Image may name what their targets have become. Pixel Data is
# compared as bytes, Data Set Trailing Padding means nothing.
_NOT_COMPARED = frozenset(
    (
        *(0x00080016, 0x00080018, 0x00080053, 0x0018A001, 0x00209172),
        *(0x00081140, 0x00082112, 0x7FE00010, 0xFFFCFFFC),
    )
)


@dataclass
class Received:
    """One object at the PACS, and what it carries of what was sent.

    Attributes
    ----------
    carries : list of str
        SOP Instance UIDs of the sent instances, in frame order for an enhanced object made of them.
    made : bool
        Whether it was made on the way; a received enhanced twin was not.
    """

    path: Path
    sop_class: str
    sop_instance: str
    series: str
    frames: int
    digest: str
    carries: list[str]
    made: bool


@dataclass
class Findings:
    """The result of the comparison.

    Attributes
    ----------
    received : list of Received
        Every object at the PACS.
    problems : list of str
        What is not as it should be; empty when all is well.
    frames, elements : int
        How many frames and elements of enhanced objects were compared with their sources.
    unchanged : int
        How many objects arrived with the bytes they were sent with.
    """

    received: list[Received] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    frames: int = 0
    elements: int = 0
    unchanged: int = 0


def examine(arrived: Iterable[Path], sent: Mapping[str, Path]) -> Findings:
    """Compare the files at the PACS with the files that were sent, by SOP Instance UID."""
    findings = Findings()
    arrived = list(arrived)
    states = _states(arrived, sent)
    for path in arrived:
        with path.open("rb") as file:
            header = pydicom.dcmread(file, stop_before_pixels=True)
            found = _received(path, header, sent)
            findings.received.append(found)
            if found.made:
                _compare_frames(findings, found, header, path, sent, states)
            else:
                _compare_whole(findings, found, path, sent)
    _account(findings, sent)
    return findings


def _states(arrived: Iterable[Path], sent: Mapping[str, Path]) -> States:
    """Return the presentation states that were made on the way."""
    states = States()
    for path in arrived:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        if header.get("Modality") == "PR" and _beside(header) and header.SOPInstanceUID not in sent:
            states.add(path, header)
    return states


def _beside(header: Dataset) -> bool:
    """Return whether an object was made beside images: its Conversion Sources are of other classes."""
    sources = header.get("ConversionSourceAttributesSequence") or []
    return bool(sources) and all(item.ReferencedSOPClassUID != header.SOPClassUID for item in sources)


def _received(path: Path, header: Dataset, sent: Mapping[str, Path]) -> Received:
    groups = header.get("PerFrameFunctionalGroupsSequence") or []
    sources = [
        item.ReferencedSOPInstanceUID
        for group in groups
        for item in group.get("ConversionSourceAttributesSequence") or []
    ]
    return Received(
        path=path,
        sop_class=header.SOPClassUID,
        sop_instance=header.SOPInstanceUID,
        series=header.SeriesInstanceUID,
        frames=_count(header),
        digest=data_set_digest(path),
        carries=sources or ([] if _beside(header) else [header.SOPInstanceUID]),
        made=bool(sources) and header.SOPInstanceUID not in sent,
    )


def _account(findings: Findings, sent: Mapping[str, Path]) -> None:
    held = {found.sop_instance for found in findings.received}
    # A received enhanced twin was sent as well: it is there as itself, its sources are there in it.
    counts = Counter(uid for found in findings.received for uid in {found.sop_instance, *found.carries})
    for uid in sent:
        if counts[uid] == 0:
            findings.problems.append(f"{uid}: was sent and is not at the PACS")
        elif counts[uid] > 1:
            findings.problems.append(f"{uid}: is {counts[uid]} times at the PACS")
    for found in findings.received:
        strangers = [uid for uid in found.carries if uid not in sent]
        if strangers:
            findings.problems.append(f"{found.sop_instance}: carries {strangers[0]}, which was not sent")
    if len(held) != len(findings.received):
        findings.problems.append("a SOP Instance UID came to the PACS more than once")


def _compare_whole(findings: Findings, found: Received, path: Path, sent: Mapping[str, Path]) -> None:
    source = sent.get(found.sop_instance)
    if source is None:
        return
    if data_set_digest(source) == found.digest:
        findings.unchanged += 1
    elif pydicom.dcmread(source, force=True) == pydicom.dcmread(path):
        findings.unchanged += 1  # the same elements; the PACS took another transfer syntax only
    else:
        findings.problems.append(f"{found.sop_instance}: arrived with other content than it was sent with")


def _compare_frames(
    findings: Findings, found: Received, header: Dataset, path: Path, sent: Mapping[str, Path], states: States
) -> None:
    shared = _flat(header.SharedFunctionalGroupsSequence[0])
    top = {_key(header, element): [element] for element in header}
    frames = frames_of(path)
    for number, uid in enumerate(found.carries, 1):
        pixels = next(frames, None)
        source = sent.get(uid)
        if source is None:
            continue
        original = pydicom.dcmread(source, force=True, stop_before_pixels=True)
        expected = next(frames_of(source), None)
        if pixels is None or expected is None or not _same_pixels(pixels, header, expected, original):
            findings.problems.append(f"{found.sop_instance} frame {number}: other pixels than {source.name}")
        elif not states.hold_planes(found.sop_instance, number, original, expected):
            findings.problems.append(f"{found.sop_instance} frame {number}: an overlay of {source.name} is lost")
        findings.frames += 1
        group = _flat(header.PerFrameFunctionalGroupsSequence[number - 1])
        for element in original:
            key = _key(original, element)
            if not _compared(element):
                continue
            findings.elements += 1
            held = [*group.get(key, ()), *shared.get(key, ()), *top.get(key, ())]
            kept = any(_same(element, other) for other in held)
            if not kept and not (moves(element.tag) and states.hold(found.sop_instance, number, element)):
                findings.problems.append(f"{found.sop_instance} frame {number}: {element.tag} of {source.name} is lost")
    if next(frames, None) is not None:
        findings.problems.append(f"{found.sop_instance}: has more frames than sources")


def _same_pixels(one: bytes, header: Dataset, other: bytes, original: Dataset) -> bool:
    """Return whether a frame has the bytes, or for native pixels at least the values, of its source."""
    if one == other:
        return True
    native = not any(UID(ds.file_meta.TransferSyntaxUID).is_encapsulated for ds in (header, original))
    return native and same_values(one, header, other, original)


def _compared(element: Any) -> bool:
    return not (element.tag in _NOT_COMPARED or _means_nothing(element))


def _means_nothing(element: Any) -> bool:
    """Return whether an element is empty or only about the encoding: group lengths, private creators."""
    return bool(element.tag.element == 0 or element.tag.is_private_creator or element.is_empty)


def _same(one: Any, other: Any) -> bool:
    return bool(_meaning(one.value, one.VR) == _meaning(other.value, other.VR))


def _meaning(value: Any, vr: str) -> Any:
    """Return a value in a form in which two are equal when they mean the same."""
    if vr == "SQ":
        return [
            {
                _key(item, element): _meaning(element.value, element.VR)
                for element in item
                if not _means_nothing(element)
            }
            for item in value
        ]
    return value.rstrip(b"\0 ") if isinstance(value, bytes) else value


def _key(where: Dataset, element: Any) -> tuple[Any, ...]:
    """Return what identifies an element: private ones by creator, because their block may move (PS3.5 7.8)."""
    tag = element.tag
    if tag.is_private and not tag.is_private_creator:
        creator = where.get((tag.group, tag.element >> 8))
        return tag.group, str(creator.value) if creator is not None else "", tag.element & 0xFF
    return (0x00080008,) if tag == 0x00089007 else (tag,)  # Frame Type is what Image Type becomes


def _flat(groups: Dataset) -> dict[tuple[Any, ...], list[Any]]:
    """Return the elements of functional groups by key; a group is a sequence of one item that holds them."""
    found: dict[tuple[Any, ...], list[Any]] = {}
    for group in groups:
        found.setdefault((group.tag,), []).append(group)
        for item in group.value if group.VR == "SQ" else ():
            for element in item:
                found.setdefault(_key(item, element), []).append(element)
    return found


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
        count = _count(header)
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


def _count(header: Dataset) -> int:
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
