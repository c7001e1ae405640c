"""Evidence of references: the full set of instances that an object refers to (PS3.3 C.8.13.2.1.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from gateway.conversion.facts import Facts
from gateway.conversion.groups import DERIVATION_IMAGE, REFERENCED_IMAGE, SOURCE_IMAGE, Groups
from gateway.conversion.planned import Planned
from gateway.conversion.references import Target
from gateway.objects.elements import DataSet, Element, dataset, items, make, sequence, text
from gateway.objects.part10 import Header

# Where to find the study and series of an instance that is referred to: (study, series), or None if unknown.
Resolve = Callable[[str], tuple[str, str] | None]


def evidence(
    planned: Planned,
    shared_groups: Groups,
    *,
    targets: Mapping[str, Target],
    resolve: Resolve,
    read: Callable[[Facts], Header],
) -> list[Element]:
    """Return Referenced and Source Image Evidence: every target whose study and series are known."""
    found = []
    for keyword, tag in (
        ("ReferencedImageEvidenceSequence", REFERENCED_IMAGE),
        ("SourceImageEvidenceSequence", DERIVATION_IMAGE),
    ):
        if tag in planned.survey.groups:
            frames = planned.frames[:1] if tag in shared_groups else planned.frames
            headers = (read(fact) for fact in frames)
            studies = _items(SOURCE_IMAGE if tag == DERIVATION_IMAGE else tag, headers, targets, resolve)
            if studies:
                found.append(sequence(keyword, *studies))
    return found


def _items(tag: int, headers: Iterable[Header], targets: Mapping[str, Target], resolve: Resolve) -> list[DataSet]:
    tree: dict[str, dict[str, dict[str, str]]] = {}
    for header in headers:
        for item in items(header.dataset, tag):
            uid, sop_class = text(item, "ReferencedSOPInstanceUID"), text(item, "ReferencedSOPClassUID")
            target = targets.get(uid)
            place = (target.study, target.series) if target else resolve(uid)
            if place is not None:
                uid, sop_class = (target.sop_instance, target.sop_class) if target else (uid, sop_class)
                tree.setdefault(place[0], {}).setdefault(place[1], {})[uid] = sop_class
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
