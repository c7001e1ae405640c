"""T15: whatever comes, and however often, what was received adds up: frames, unchanged with a reason, copied."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from archive_tools import HandClock, store_file
from conversion.material import GSPS, STUDY, convert, item, other, reference, save, save_all, series_of, slice_of
from conversion.states import bitmap, overlay
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset

from gateway.archive.index import Archive
from gateway.archive.rows import RECEIVED
from gateway.archive.status import study_status
from gateway.archive.views import View
from gateway.cli.status import describe_study
from gateway.conversion.account import COPIED, FRAMES, PENDING, UNCHANGED, Account, fate_of
from gateway.conversion.identity import Identity
from gateway.pipeline.convert import ConversionPolicy, Converter

SR = "1.2.840.10008.5.1.4.1.1.88.22"


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    made = Archive(tmp_path / "data", HandClock(), quiet=0)
    yield made
    made.close()


def receive(archive: Archive, folder: Path, datasets: Iterable[Dataset], **policy: Any) -> None:
    for ds in datasets:
        store_file(archive, save(ds, folder / "one.dcm"), **policy)


def settle(archive: Archive) -> None:
    while Converter(archive, ConversionPolicy()).step():
        pass


def sums(archive: Archive) -> dict[str, int]:
    """The sum of the one study, checked against the enhanced view, instance by instance."""
    (study,) = study_status(archive)
    entries = [entry for one in study["series"] for entry in one["became"]]
    assert all(entry["reason"] for entry in entries if entry["fate"] != FRAMES)
    account = dict(study["account"])
    received = [row for row in archive.study_instances(STUDY, View.RECEIVED) if row.kind == RECEIVED]
    assert account["received"] == len(received) == study["received"]["instances"]
    assert account["received"] == sum(number for name, number in account.items() if name != "received")
    view = archive.study_instances(STUDY, View.ENHANCED)
    stands = Counter(uid for row in view for uid in archive.sources_of(row.sop_instance))
    stands.update(uid for (uid,) in archive.database.rows("SELECT source FROM twin"))
    themselves = {row.sop_instance for row in view}
    assert account["copied"] + account["frames"] == sum(
        stands[row.sop_instance] > 0 and row.sop_instance not in themselves for row in received
    )
    said = Counter({FRAMES: 0, UNCHANGED: 0, COPIED: 0})
    for entry in entries:
        said[entry["fate"]] += entry["frames" if entry["fate"] == FRAMES else "instances"]
    assert said == {name: account[name] for name in (FRAMES, UNCHANGED, COPIED)}
    lines = [line.strip() for line in describe_study(study, 0) if " received = " in line]
    words = "{received} received = {frames} frames + {unchanged} unchanged + {copied} copied".format(**account)
    assert [line.startswith(words) for line in lines] == [True] * bool(study["settled"])
    return account


def derived(number: int, source: Dataset) -> Dataset:
    """A derived image with burned in annotation: it stays classic, and refers to what is converted."""
    change = {"BurnedInAnnotation": "YES", "SourceImageSequence": [reference(source)]}
    return slice_of(number=number, change=change, series=STUDY + ".30")


def companions(sources: list[Dataset]) -> list[Dataset]:
    """A presentation state and a report of images."""
    listed = [item(SeriesInstanceUID=sources[0].SeriesInstanceUID, ReferencedImageSequence=[reference(sources[0])])]
    content = [item(RelationshipType="CONTAINS", ValueType="IMAGE", ReferencedSOPSequence=[reference(sources[1])])]
    return [
        other(GSPS, 1, {"Modality": "PR", "ReferencedSeriesSequence": listed}),
        other(SR, 2, {"Modality": "SR", "ContentSequence": content}),
    ]


def test_T15_copies_are_counted_as_copies_and_the_images_in_them_keep_their_reason(
    archive: Archive, tmp_path: Path
) -> None:
    sources = series_of(count=4)
    receive(archive, tmp_path, [*sources, derived(1, sources[0]), derived(2, sources[1]), *companions(sources)])
    assert sums(archive) == {"received": 8, "frames": 0, "unchanged": 0, "copied": 0, "pending": 8}
    settle(archive)
    assert sums(archive) == {"received": 8, "frames": 4, "unchanged": 0, "copied": 4}
    (study,) = study_status(archive)
    (images,) = (one for one in study["series"] if one["series"] == STUDY + ".30")
    ((reason, number),) = {entry["reason"]: entry["instances"] for entry in images["became"]}.items()
    assert number == 2
    assert "burned in" in reason.lower(), reason
    said = "\n".join(describe_study(study, 0))
    assert "1 series into 1 enhanced object (4 frames)" in said
    assert f"2 objects copied with updated references: {reason}" in said


def test_T15_presentation_states_made_beside_images_stand_for_none(archive: Archive, tmp_path: Path) -> None:
    receive(archive, tmp_path, series_of(change=[overlay(bitmap(1)), overlay(bitmap(2)), None]))
    settle(archive)
    assert sums(archive) == {"received": 3, "frames": 3, "unchanged": 0, "copied": 0}
    (study,) = study_status(archive)
    assert study["presentation_states"] == 2
    assert "3 received = 3 frames + 0 unchanged + 0 copied; 2 presentation states made" in "\n".join(
        describe_study(study, 0)
    )


def test_T15_a_received_twin_is_unchanged_and_its_frames_stand_for_its_sources(
    archive: Archive, tmp_path: Path
) -> None:
    sources = series_of(count=3)
    made = convert(save_all(sources, tmp_path / "in"), tmp_path / "out", identity=Identity(seed="another box"))
    receive(archive, tmp_path, [*sources, made.one])
    settle(archive)
    assert sums(archive) == {"received": 4, "frames": 3, "unchanged": 1, "copied": 0}
    (study,) = study_status(archive)
    entries = [entry for one in study["series"] for entry in one["became"] if entry["fate"] == FRAMES]
    assert [(entry["sop_instance"], entry["made"]) for entry in entries] == [(made.one.SOPInstanceUID, False)]


def test_T15_a_twin_that_comes_after_its_sources_were_converted_is_in_no_view_and_says_why(
    archive: Archive, tmp_path: Path
) -> None:
    sources = series_of(count=3)
    made = convert(save_all(sources, tmp_path / "in"), tmp_path / "out", identity=Identity(seed="another box"))
    receive(archive, tmp_path, sources)
    settle(archive)
    receive(archive, tmp_path, [made.one])
    settle(archive)
    assert sums(archive) == {"received": 4, "frames": 3, "unchanged": 1, "copied": 0}
    (study,) = study_status(archive)
    (entry,) = (entry for one in study["series"] for entry in one["became"] if entry["fate"] == UNCHANGED)
    assert (entry["in_view"], entry["reason"]) == (False, "received enhanced after its sources had been converted")


def test_T15_equal_copies_older_versions_and_own_objects_that_come_back_are_no_instances(
    archive: Archive, tmp_path: Path
) -> None:
    sources = series_of(count=3)
    receive(archive, tmp_path, [*sources, *sources])
    settle(archive)
    (own,) = archive.study_instances(STUDY, View.ENHANCED)
    again = copy.deepcopy(sources[0])
    again.PixelData = bytes(len(again.PixelData))
    receive(archive, tmp_path, [again])
    settle(archive)
    (tmp_path / "own.dcm").write_bytes(b"".join(archive.source_of(own).chunks()))
    back = dcmread(tmp_path / "own.dcm", force=True)
    receive(archive, tmp_path, [back], prior=True)
    assert sums(archive) == {"received": 3, "frames": 3, "unchanged": 0, "copied": 0}


def test_T15_what_a_destination_sent_is_unchanged_or_copied_and_says_where_it_came_from(
    archive: Archive, tmp_path: Path
) -> None:
    sources = series_of(count=3)
    receive(archive, tmp_path, [*sources, *series_of("MR", series=STUDY + ".2")])
    receive(archive, tmp_path, [slice_of("MR", 9, series=STUDY + ".40"), *companions(sources)], prior=True)
    settle(archive)
    receive(archive, tmp_path, [companions(sources)[1], other(SR, 7, series=STUDY + ".60")], prior=True)
    settle(archive)
    account = sums(archive)
    assert (account["received"], account["frames"]) == (10, 6)
    (study,) = study_status(archive)
    entries = [entry for one in study["series"] for entry in one["became"] if entry["fate"] != FRAMES]
    assert {entry["reason"] for entry in entries} == {"came from destination CT1"}


def test_T15_what_comes_later_is_pending_and_then_adds_up(archive: Archive, tmp_path: Path) -> None:
    sources = series_of(count=6)
    receive(archive, tmp_path, [*sources[:4], *companions(sources)])
    settle(archive)
    assert sums(archive) == {"received": 6, "frames": 4, "unchanged": 0, "copied": 2}
    receive(archive, tmp_path, [*sources[4:], derived(1, sources[4])])
    assert sums(archive)["pending"] == 3
    settle(archive)
    assert sums(archive) == {"received": 9, "frames": 6, "unchanged": 0, "copied": 3}


def test_T15_an_image_whose_sender_wants_no_conversion_says_so(archive: Archive, tmp_path: Path) -> None:
    receive(archive, tmp_path, series_of(), convert=False)
    settle(archive)
    assert sums(archive) == {"received": 3, "frames": 0, "unchanged": 3, "copied": 0}


@given(st.tuples(*[st.booleans()] * 4))
def test_T15_every_instance_has_exactly_one_fate(facts: tuple[bool, bool, bool, bool]) -> None:
    settled, in_view, as_frame, as_copy = facts
    fate = fate_of(settled=settled, in_view=in_view, as_frame=as_frame, as_copy=as_copy)
    assert fate in (FRAMES, UNCHANGED, COPIED, PENDING)
    assert (fate == PENDING) != settled
    assert Account(1, Counter({fate: 1})).balanced
    assert not Account(2, Counter({fate: 1})).balanced
