"""What the PACS of the demonstration holds, compared with what was sent - by pydicom alone, not by the box's own code.

Every sent instance must be there exactly once: as itself, byte for byte; as the one frame of an enhanced object that
names it as its Conversion Source (PS3.3 C.12.1.1.4), with the same pixel bytes and every element's value; or as a copy
that says the same and refers to what its targets have become. Overlays and graphic annotations are in presentation
states that apply to the frame.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID

from gateway.cli import copies
from gateway.cli.elements import data_set_digest, frame_count, frames_of, key_of, meaning, means_nothing, unpacked
from gateway.cli.states import States, moves
from gateway.cli.stored import same_values

# SOP Class and Instance are in the Conversion Source; a conversion has its own Query/Retrieve View, Contributing
# Equipment and Conversion Source; Referenced and Source Image may name what their targets have become. Pixel Data is
# compared as bytes; Data Set Trailing Padding means nothing, Number of Frames 1 no more than its absence.
_NOT_COMPARED = frozenset(
    (
        *(0x00080016, 0x00080018, 0x00080053, 0x0018A001, 0x00209172),
        *(0x00081140, 0x00082112, 0x00280008, 0x7FE00010, 0xFFFCFFFC),
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
        Whether it is an image that was made on the way of others; a received enhanced twin was not.
    source : str
        SOP Instance UID of the instance that it is a rewritten copy of, empty if it is none.
    """

    path: Path
    sop_class: str
    sop_instance: str
    series: str
    frames: int
    digest: str
    carries: list[str]
    made: bool
    source: str = ""

    @property
    def stands_for(self) -> set[str]:
        """SOP Instance UIDs of the sent instances that are at the PACS in it, itself included."""
        return {self.sop_instance, *self.carries, *filter(None, (self.source,))}


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
    unchanged, recoded : int
        How many objects arrived with the bytes they were sent with, and with the same elements in another encoding.
    copies : int
        How many rewritten copies were compared with their sources.
    apart : dict of str to str
        Instances that are not at the PACS because it has what they are, with the reason, by SOP Instance UID.
    """

    received: list[Received] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    frames: int = 0
    elements: int = 0
    unchanged: int = 0
    recoded: int = 0
    copies: int = 0
    apart: dict[str, str] = field(default_factory=dict)


def examine(arrived: Iterable[Path], sent: Mapping[str, Path]) -> Findings:
    """Compare the files at the PACS with the files that were sent, by SOP Instance UID."""
    findings = Findings()
    readable = []
    for path in arrived:
        if _readable(path):
            readable.append(path)
        else:
            _compare_unread(findings, path, sent)
    states = _states(readable, sent)
    for path in readable:
        with path.open("rb") as file:
            header = pydicom.dcmread(file, stop_before_pixels=True)
        found = _received(path, header, sent)
        findings.received.append(found)
        if found.made:
            _compare_frames(findings, found, header, path, sent, states)
        elif not found.source:
            _compare_whole(findings, found, path, sent)
    _compare_copies(findings, sent)
    _account(findings, sent)
    return findings


def _readable(path: Path) -> bool:
    try:
        pydicom.dcmread(path, stop_before_pixels=True)
    except Exception:  # whatever pydicom makes of broken objects, which are sent on purpose
        return False
    return True


def _compare_unread(findings: Findings, path: Path, sent: Mapping[str, Path]) -> None:
    """Find a file that pydicom cannot read among those that were sent, by its bytes."""
    digest = data_set_digest(path)
    uid = next((uid for uid, source in sent.items() if data_set_digest(source) == digest), "")
    if not uid:
        findings.problems.append(
            f"{path.name}: pydicom cannot read it: what it holds is not compared, and is missed below"
        )
        return
    sop_class = str(pydicom.filereader.read_file_meta_info(path).get("MediaStorageSOPClassUID", ""))
    findings.received.append(Received(path, sop_class, uid, "", 1, digest, [], False))
    findings.unchanged += 1


def _compare_copies(findings: Findings, sent: Mapping[str, Path]) -> None:
    """Compare rewritten copies with their sources, once it is known where everything is."""
    places = copies.Places(findings.received, sent)
    for found in findings.received:
        if found.source:
            findings.copies += 1
            wrong = copies.compare(found.path, sent[found.source], places)
            findings.problems += [f"{found.sop_instance}, a copy of {found.source}: {problem}" for problem in wrong]


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
    sources = frame_sources(header)
    source = _copied(header, sent)
    made = bool(sources) and header.SOPInstanceUID not in sent and not source
    if not made and not all(uid in sent for uid in sources):
        sources = []  # frames of images that nobody sent
    return Received(
        path=path,
        sop_class=header.SOPClassUID,
        sop_instance=header.SOPInstanceUID,
        series=header.SeriesInstanceUID,
        frames=frame_count(header),
        digest=data_set_digest(path),
        carries=sources,
        made=made,
        source=source,
    )


def frame_sources(header: Dataset) -> list[str]:
    """Return the SOP Instance UIDs of the images that frames say they were made of."""
    return [
        str(item.ReferencedSOPInstanceUID)
        for group in header.get("PerFrameFunctionalGroupsSequence") or []
        for item in group.get("ConversionSourceAttributesSequence") or []
    ]


def _copied(header: Dataset, sent: Mapping[str, Path]) -> str:
    """Return what an object that was not sent is a rewritten copy of: one sent object of its class."""
    items = header.get("ConversionSourceAttributesSequence") or []
    if header.SOPInstanceUID in sent or len(items) != 1 or items[0].ReferencedSOPClassUID != header.SOPClassUID:
        return ""
    source = str(items[0].ReferencedSOPInstanceUID)
    return source if source in sent else ""


def _account(findings: Findings, sent: Mapping[str, Path]) -> None:
    # A received enhanced twin was sent as well: it is there as itself, its sources are there in it.
    counts = Counter(uid for found in findings.received for uid in found.stands_for)
    for uid, path in sent.items():
        if counts[uid] == 0:
            reason = _apart(path, counts)
            if reason:
                findings.apart[uid] = reason
            else:
                findings.problems.append(f"{uid}: was sent and is not at the PACS")
        elif counts[uid] > 1:
            findings.problems.append(f"{uid}: is {counts[uid]} times at the PACS")
    for found in findings.received:
        strangers = [uid for uid in found.carries if uid not in sent]
        if strangers:
            findings.problems.append(f"{found.sop_instance}: carries {strangers[0]}, which was not sent")
        elif found.sop_instance not in sent and not found.made and not found.source and not _is_state(found):
            findings.problems.append(f"{found.sop_instance}: was not sent, and is made of nothing that was")
    if len({found.sop_instance for found in findings.received}) != len(findings.received):
        findings.problems.append("a SOP Instance UID came to the PACS more than once")


def _apart(path: Path, counts: Mapping[str, int]) -> str:
    """Return why an object need not be at the PACS: all that its frames were made of is there."""
    sources = frame_sources(pydicom.dcmread(path, force=True, stop_before_pixels=True)) if _readable(path) else []
    if sources and all(counts.get(uid) for uid in sources):
        return "received enhanced after its sources had been converted"
    return ""


def _is_state(found: Received) -> bool:
    return _beside(pydicom.dcmread(found.path, stop_before_pixels=True))


def _compare_whole(findings: Findings, found: Received, path: Path, sent: Mapping[str, Path]) -> None:
    source = sent.get(found.sop_instance)
    if source is None:
        return
    if data_set_digest(source) == found.digest:
        findings.unchanged += 1
    elif pydicom.dcmread(source, force=True) == pydicom.dcmread(path):
        findings.recoded += 1  # the PACS took another transfer syntax only
    else:
        findings.problems.append(f"{found.sop_instance}: arrived with other content than it was sent with")


def _compare_frames(
    findings: Findings, found: Received, header: Dataset, path: Path, sent: Mapping[str, Path], states: States
) -> None:
    shared = _flat(header.SharedFunctionalGroupsSequence[0])
    top = _top(header)
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
            key = key_of(original, element)
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
    return not (element.tag in _NOT_COMPARED or means_nothing(element))


def _same(one: Any, other: Any) -> bool:
    return bool(meaning(one.value, one.VR) == meaning(other.value, other.VR))


def _top(header: Dataset) -> dict[tuple[Any, ...], list[Any]]:
    """Return the elements of the top level by key; the series that the last related one names is the source's."""
    found = {key_of(header, element): [element] for element in header}
    related = header.get("RelatedSeriesSequence")
    if related:
        older = Dataset()
        older.RelatedSeriesSequence = related[:-1]
        found[(older["RelatedSeriesSequence"].tag,)] = [older["RelatedSeriesSequence"]]
        found[(related[-1]["SeriesInstanceUID"].tag,)] = [related[-1]["SeriesInstanceUID"]]
    return found


def _flat(groups: Dataset) -> dict[tuple[Any, ...], list[Any]]:
    """Return the elements of functional groups by key; a group is a sequence of one item that holds them."""
    found: dict[tuple[Any, ...], list[Any]] = {}
    for group in groups:
        found.setdefault((group.tag,), []).append(group)
        for item in group.value if group.VR == "SQ" else ():
            for key, element in (*((key_of(item, one), one) for one in item), *unpacked(item)):
                found.setdefault(key, []).append(element)
    return found
