"""Evidence of references: the full set of instances that an object refers to (PS3.3 C.8.13.2.1.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gateway.conversion.facts import Facts
from gateway.conversion.groups import DERIVATION_IMAGE, REFERENCED_IMAGE, SOURCE_IMAGE, Groups
from gateway.conversion.planned import Planned
from gateway.objects.elements import DataSet, Element, dataset, items, make, sequence, text
from gateway.objects.part10 import Header

# Where to find the study and series of an instance that is referred to: (study, series), or None if unknown.
Resolve = Callable[[str], tuple[str, str] | None]


def evidence(planned: Planned, shared_groups: Groups, place: Resolve, read: Callable[[Facts], Header]) -> list[Element]:
    """Return Referenced and Source Image Evidence: every target whose study and series are known.

    Parameters
    ----------
    planned : Planned
        The object.
    shared_groups : Groups
        Its shared functional groups.
    place : callable
        Study and series of what a reference names now.
    read : callable
        Reads the header of a source, references rewritten.
    """
    found = []
    for keyword, tag in (
        ("ReferencedImageEvidenceSequence", REFERENCED_IMAGE),
        ("SourceImageEvidenceSequence", DERIVATION_IMAGE),
    ):
        if tag in planned.survey.groups:
            frames = planned.frames[:1] if tag in shared_groups else planned.frames
            headers = (read(fact) for fact in frames)
            studies = _items(SOURCE_IMAGE if tag == DERIVATION_IMAGE else tag, headers, place)
            if studies:
                found.append(sequence(keyword, *studies))
    return found


def _items(tag: int, headers: Iterable[Header], place: Resolve) -> list[DataSet]:
    tree: dict[str, dict[str, dict[str, str]]] = {}
    for header in headers:
        for item in items(header.dataset, tag):
            uid = text(item, "ReferencedSOPInstanceUID")
            found = place(uid)
            if found is not None:
                study, series = found
                tree.setdefault(study, {}).setdefault(series, {})[uid] = text(item, "ReferencedSOPClassUID")
    return [
        dataset(
            make("StudyInstanceUID", study),
            sequence("ReferencedSeriesSequence", *(_series_item(uid, members) for uid, members in series.items())),
        )
        for study, series in tree.items()
    ]


def _series_item(series: str, members: dict[str, str]) -> DataSet:
    return dataset(
        make("SeriesInstanceUID", series),
        sequence(
            "ReferencedSOPSequence",
            *(
                dataset(make("ReferencedSOPClassUID", sop_class), make("ReferencedSOPInstanceUID", uid))
                for uid, sop_class in members.items()
            ),
        ),
    )
