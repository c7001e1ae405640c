"""Late slices: what was distributed is fixed; new objects join the series if its attributes still hold."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from conversion.material import STUDY, Conversion, convert, reference, save_all, series_of
from pydicom.dataset import Dataset

from gateway.conversion.outcome import frozen_from
from gateway.conversion.top_level import series_elements
from gateway.objects.encode import encode


def _first(tmp_path: Path, sources: list[Dataset]) -> tuple[Conversion, list]:
    first = convert(save_all(sources, tmp_path / "in1"), tmp_path / "out1")
    # As it comes back from disk.
    return first, frozen_from([json.loads(json.dumps(first.result.record(STUDY)))])


def _late(tmp_path: Path, sources: list[Dataset], frozen: list) -> Conversion:
    return convert(save_all(sources, tmp_path / "in2"), tmp_path / "out2", frozen=frozen)


def test_late_slices_are_a_further_object_of_the_same_series(tmp_path: Path) -> None:
    sources = series_of(count=5)
    first, frozen = _first(tmp_path, sources[:3])
    late = _late(tmp_path, sources[3:], frozen)
    assert late.one.SeriesInstanceUID == first.one.SeriesInstanceUID
    assert (first.one.InstanceNumber, late.one.InstanceNumber) == (1, 2)
    assert late.one.SOPInstanceUID != first.one.SOPInstanceUID
    assert (late.one.SeriesDate, late.one.SeriesTime) == (first.one.SeriesDate, first.one.SeriesTime)


def test_later_ones_still_count_on(tmp_path: Path) -> None:
    sources = series_of(count=4)
    first, frozen = _first(tmp_path, sources[:2])
    second = _late(tmp_path / "a", sources[2:3], frozen)
    frozen += frozen_from([second.result.record(STUDY)])
    third = _late(tmp_path / "b", sources[3:], frozen)
    assert third.one.SeriesInstanceUID == first.one.SeriesInstanceUID
    assert third.one.InstanceNumber == 3


def test_late_slices_with_other_series_attributes_are_a_further_series(tmp_path: Path) -> None:
    sources = series_of(change=[None, None, {"SeriesDescription": "renamed"}])
    first, frozen = _first(tmp_path, sources[:2])
    late = _late(tmp_path, sources[2:], frozen)
    assert late.one.SeriesInstanceUID != first.one.SeriesInstanceUID
    assert late.one.InstanceNumber == 1


def test_G11_E45_late_slices_join_no_series_whose_objects_do_not_name_the_source_series(tmp_path: Path) -> None:
    """Objects of the first edition; their record has a digest of the other series attributes alone."""
    sources = series_of(count=4)
    first, frozen = _first(tmp_path, sources[:3])
    (planned,) = [made.planned for made in first.result.objects]
    attributes = planned.frames[0].key[-1].encode() + encode(series_elements(planned.survey))
    older = replace(frozen[0], series_attributes=hashlib.blake2b(attributes, digest_size=16).hexdigest())
    late = _late(tmp_path, sources[3:], [older])
    assert late.one.SeriesInstanceUID != first.one.SeriesInstanceUID
    assert late.one.InstanceNumber == 1


def test_G12_an_earlier_start_is_a_further_series(tmp_path: Path) -> None:
    sources = series_of(change=[None, None, {"SeriesTime": "0900"}])
    first, frozen = _first(tmp_path, sources[:2])
    late = _late(tmp_path, sources[2:], frozen)
    assert late.one.SeriesInstanceUID != first.one.SeriesInstanceUID
    assert late.one.SeriesTime == "0900"


def test_frozen_objects_never_change(tmp_path: Path) -> None:
    sources = series_of(count=5)
    first, frozen = _first(tmp_path, sources[:3])
    before = first.files[0].read_bytes()
    late = _late(tmp_path, sources[3:], frozen)
    assert first.files[0].read_bytes() == before
    assert first.one.SOPInstanceUID not in late.streams()
    assert [fact.sop_instance for fact in late.result.objects[0].planned.frames] == [
        ds.SOPInstanceUID for ds in sources[3:]
    ]


def test_late_references_find_what_was_converted_before(tmp_path: Path) -> None:
    sources = series_of(count=3)
    first, frozen = _first(tmp_path, sources[:2])
    sources[2].ReferencedImageSequence = [reference(sources[1])]
    late = _late(tmp_path, sources[2:], frozen)
    (found,) = late.one.SharedFunctionalGroupsSequence[0].ReferencedImageSequence
    assert found.ReferencedSOPInstanceUID == first.one.SOPInstanceUID
    assert found.ReferencedFrameNumber == 2


def test_a_corrected_slice_stays_classic_with_the_reason(tmp_path: Path) -> None:
    sources = series_of(count=3)
    _, frozen = _first(tmp_path, sources)
    sources[0].ImageComments = "corrected"
    late = _late(tmp_path, sources[:1], frozen)
    assert late.objects == []
    assert late.kept == {"000.dcm": "a corrected version of an image that was converted already"}


def test_the_record_says_what_became_of_every_source(tmp_path: Path) -> None:
    first, frozen = _first(tmp_path, series_of())
    (item,) = first.result.record(STUDY)["objects"]
    assert item["names"] == ["000.dcm", "001.dcm", "002.dcm"]
    assert item["digest"] == first.result.objects[0].recipe.digest
    assert [uid for uid, _ in frozen[0].frames] == [ds.SOPInstanceUID for ds in series_of()]
