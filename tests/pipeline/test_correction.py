"""A corrected image that comes after it was converted: the newer version is what the enhanced view has."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
from archive_tools import HandClock, store_file
from box import ct_study
from conversion.states import bitmap, overlay
from pydicom.dataset import Dataset

from gateway.archive.index import Archive
from gateway.archive.views import NO_VIEW, View
from gateway.pipeline.convert import ConversionPolicy, Converter


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    made = Archive(tmp_path / "data", HandClock(), quiet=0)
    yield made
    made.close()


def receive(archive: Archive, tmp_path: Path, study: list[Dataset]) -> str:
    for ds in study:
        ds.save_as(tmp_path / "one.dcm", enforce_file_format=True)
        store_file(archive, tmp_path / "one.dcm")
    while Converter(archive, ConversionPolicy()).step():
        pass
    return str(study[0].StudyInstanceUID)


def corrected(ds: Dataset) -> Dataset:
    again = copy.deepcopy(ds)
    again.PixelData = bytes(len(ds.PixelData))
    return again


def test_a_corrected_slice_makes_a_new_object_and_withdraws_the_old_one(archive: Archive, tmp_path: Path) -> None:
    series = ct_study(4)
    study = receive(archive, tmp_path, series)
    (old,) = archive.study_instances(study, View.ENHANCED)
    receive(archive, tmp_path, [corrected(series[1])])
    (new,) = archive.study_instances(study, View.ENHANCED)
    assert new.sop_instance != old.sop_instance
    assert (new.series, new.instance_number) == (old.series, 2), "a further object of the same series"
    assert archive.sources_of(new.sop_instance) == [ds.SOPInstanceUID for ds in series]
    stream = b"".join(archive.source_of(new).chunks())
    size = len(series[0].PixelData)
    frames = [stream[-size * 4 :][size * n : size * (n + 1)] for n in range(4)]
    assert frames == [series[0].PixelData, bytes(size), series[2].PixelData, series[3].PixelData]
    row = archive.instance(old.sop_instance)
    assert row is not None
    assert row.views == NO_VIEW
    assert len(archive.study_instances(study, View.CLASSIC)) == 4


def test_E43_presentation_states_of_a_withdrawn_object_are_withdrawn_with_it(archive: Archive, tmp_path: Path) -> None:
    series = ct_study(4)
    for number, ds in enumerate(series):
        overlay(bitmap(number % 2))(ds)
    study = receive(archive, tmp_path, series)
    old = archive.study_instances(study, View.ENHANCED)
    assert [row.modality for row in old].count("PR") == 2
    receive(archive, tmp_path, [corrected(series[1])])
    new = archive.study_instances(study, View.ENHANCED)
    assert [row.modality for row in new].count("PR") == 2
    assert not {row.sop_instance for row in old} & {row.sop_instance for row in new}
    for row in new:
        assert set(archive.references_of(row)) <= {other.sop_instance for other in new}


def test_G1_the_old_version_of_the_rest_stays_what_it_was(archive: Archive, tmp_path: Path) -> None:
    one, other = ct_study(3), ct_study(3)
    for ds in other:
        ds.StudyInstanceUID = one[0].StudyInstanceUID
    study = receive(archive, tmp_path, [*one, *other])
    before = {row.series: row.sop_instance for row in archive.study_instances(study, View.ENHANCED)}
    receive(archive, tmp_path, [corrected(one[0])])
    after = {row.series: row.sop_instance for row in archive.study_instances(study, View.ENHANCED)}
    assert len(before) == len(after) == 2
    assert len(set(before.values()) & set(after.values())) == 1, "the other series is untouched"


def test_what_refers_to_a_withdrawn_object_is_made_anew_with_it(archive: Archive, tmp_path: Path) -> None:
    target, referring = ct_study(2), ct_study(2)
    for ds in referring:
        ds.StudyInstanceUID = target[0].StudyInstanceUID
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = target[0].SOPClassUID, target[0].SOPInstanceUID
        ds.ReferencedImageSequence = [item]
    study = receive(archive, tmp_path, [*target, *referring])
    before = {row.sop_instance for row in archive.study_instances(study, View.ENHANCED)}
    receive(archive, tmp_path, [corrected(target[1])])
    after = {row.sop_instance for row in archive.study_instances(study, View.ENHANCED)}
    assert len(before) == len(after) == 2
    assert not before & after


def test_records_of_corrections_are_replayed_in_order(archive: Archive, tmp_path: Path) -> None:
    series = ct_study(3)
    study = receive(archive, tmp_path, series)
    receive(archive, tmp_path, [corrected(series[0])])
    receive(archive, tmp_path, [corrected(series[2])])
    (new,) = archive.study_instances(study, View.ENHANCED)
    assert new.instance_number == 3
    assert [len(record["withdrawn"]) for record in archive.partitions(study)] == [0, 1, 1]


@pytest.mark.parametrize("moved", [1, 3])
def test_T2_what_is_moved_to_another_study_is_no_frame_of_its_old_one(
    archive: Archive, tmp_path: Path, moved: int
) -> None:
    series = ct_study(3)
    study = receive(archive, tmp_path, series)
    (old,) = archive.study_instances(study, View.ENHANCED)
    again = [copy.deepcopy(ds) for ds in series[:moved]]
    for ds in again:
        ds.StudyInstanceUID = f"{study[:58]}.77"
    other = receive(archive, tmp_path, again)
    for one, sources in ((study, series[moved:]), (other, again)):
        made = archive.study_instances(one, View.ENHANCED)
        frames = [uid for row in made for uid in archive.sources_of(row.sop_instance)]
        assert frames == [ds.SOPInstanceUID for ds in sources]
        assert len(archive.study_instances(one, View.RECEIVED)) == len(sources)
        assert not archive.unsettled(one)
    row = archive.instance(old.sop_instance)
    assert row is not None
    assert row.views == NO_VIEW
