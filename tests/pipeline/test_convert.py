"""Conversion of complete studies: what comes out, and what happens when something goes wrong at any point."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from archive_tools import HandClock, debris, python, store_file
from box import LEGACY_CT, ct_study
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from gateway import observe
from gateway.archive.index import Archive
from gateway.archive.jobs import CONVERT, DELIVER, Job
from gateway.archive.views import ALL_VIEWS, View
from gateway.errors import ResourceError
from gateway.pipeline import convert as module
from gateway.pipeline.convert import ATTEMPTS, ConversionPolicy, Converter
from gateway.pipeline.retry import Backoff

POLICY = ConversionPolicy(destinations=("PACS", "WORKSTATION"), backoff=Backoff(random=lambda: 0.5))

# A process that converts what is due and ends.
WORKER = """
import sys
from pathlib import Path
from gateway.archive.index import Archive
from gateway.pipeline.convert import ConversionPolicy, Converter
archive = Archive(Path(sys.argv[1]))
archive.jobs.retry_now()
worker = Converter(archive, ConversionPolicy(destinations=("PACS", "WORKSTATION")))
worker.resume()
archive.jobs.retry_now()
while worker.step():
    pass
"""


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


def receive(archive: Archive, files: Path, study: list[Dataset], **policy: bool) -> str:
    for ds in study:
        path = files / "one.dcm"
        ds.save_as(path, enforce_file_format=True)
        store_file(archive, path, **policy)
    return str(study[0].StudyInstanceUID)


def converter(archive: Archive, policy: ConversionPolicy = POLICY) -> Converter:
    return Converter(archive, policy)


def complete(archive: Archive, clock: HandClock) -> None:
    clock.time += archive.quiet + 0.1


def jobs(archive: Archive) -> list[tuple[str, str]]:
    return [(job.kind, job.destination) for job in archive.jobs.listing()]


def waiting(archive: Archive) -> Job:
    (found,) = [job for job in archive.jobs.listing() if job.kind == CONVERT]
    return found


def recipes(archive: Archive) -> list[str]:
    return sorted(path.stem for path in archive.files.derived.rglob("*.recipe"))


def test_study_is_converted_when_nothing_has_come_for_the_quiet_time(
    archive: Archive, files: Path, clock: HandClock
) -> None:
    study = ct_study(4)
    receive(archive, files, study[:3])
    worker = converter(archive)
    clock.time += archive.quiet - 1
    receive(archive, files, study[3:])
    clock.time += archive.quiet - 1
    assert not worker.step()
    clock.time += 1
    assert worker.step()
    (made,) = archive.select(View.ENHANCED)
    assert (made.sop_class, made.frames) == (LEGACY_CT, 4)


def test_converted_study_is_delivered_to_every_destination(archive: Archive, files: Path, clock: HandClock) -> None:
    study = receive(archive, files, ct_study(3))
    complete(archive, clock)
    converter(archive).step()
    assert jobs(archive) == [(DELIVER, "PACS"), (DELIVER, "WORKSTATION")]
    assert archive.unsettled(study) == []
    assert {row.views for row in archive.study_sources(study)} == {View.RECEIVED | View.CLASSIC}
    assert debris(archive) == []


def test_images_of_a_peer_that_is_not_to_be_converted_go_on_as_they_are(
    archive: Archive, files: Path, clock: HandClock
) -> None:
    study = receive(archive, files, ct_study(3), convert=False)
    complete(archive, clock)
    converter(archive).step()
    assert {row.views for row in archive.study_sources(study)} == {ALL_VIEWS}
    assert all(row.reason for row in archive.study_sources(study))
    assert jobs(archive) == [(DELIVER, "PACS"), (DELIVER, "WORKSTATION")]


def test_late_slices_become_a_further_object_of_the_derived_series(
    archive: Archive, files: Path, clock: HandClock
) -> None:
    study = ct_study(6)
    receive(archive, files, study[:4])
    complete(archive, clock)
    worker = converter(archive)
    worker.step()
    (first,) = archive.select(View.ENHANCED)
    receive(archive, files, study[4:])
    complete(archive, clock)
    assert worker.step()
    before, late = sorted(archive.select(View.ENHANCED), key=lambda row: row.instance_number or 0)
    assert before == first
    assert (late.series, late.frames, late.instance_number) == (first.series, 2, 2)


def test_T9_a_series_of_which_a_file_has_vanished_is_held_whole_and_the_others_are_converted(
    archive: Archive, files: Path, clock: HandClock
) -> None:
    images = ct_study(4)
    study = receive(archive, files, images)
    for ds in images:
        ds.SeriesInstanceUID, ds.SOPInstanceUID = f"{images[0].StudyInstanceUID}"[:60] + ".7", generate_uid()
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    receive(archive, files, images)
    lost = archive.unsettled(study)[1]
    archive.files.locate(lost.name).unlink()
    complete(archive, clock)
    assert converter(archive).step()
    (made,) = [row for row in archive.select(View.ENHANCED) if row.kind == "derived"]
    assert made.frames == 4
    assert {row.series for row in archive.unsettled(study)} == {lost.series}
    (job,) = [job for job in archive.jobs.listing() if job.kind == CONVERT]
    assert (job.state, job.attempts) == ("held", 0)
    assert lost.name in job.reason


def test_failing_conversion_is_tried_again_later_and_given_up_for_the_classic_images(
    archive: Archive, files: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = receive(archive, files, ct_study(3))
    other = receive(archive, files, ct_study(3))
    real = module.convert_facts

    def broken(facts, *arguments, **more):
        if facts[0].study == study:
            raise RuntimeError("unheard of")
        return real(facts, *arguments, **more)

    monkeypatch.setattr(module, "convert_facts", broken)
    worker = converter(archive)
    complete(archive, clock)
    waits = []
    while worker.step():
        pass
    assert archive.unsettled(other) == []
    for _ in range(ATTEMPTS):
        assert archive.unsettled(study)
        assert waiting(archive).reason == "RuntimeError: unheard of"
        waits.append(round(waiting(archive).not_before - clock.now()))
        clock.time = waiting(archive).not_before
        worker.step()
    assert waits == [2, 4, 8]
    assert {row.views for row in archive.study_sources(study)} == {ALL_VIEWS}
    assert all("unheard of" in row.reason for row in archive.study_sources(study))
    assert {job.study for job in archive.jobs.listing()} == {study, other}


def test_full_disk_is_no_reason_to_give_a_conversion_up(
    archive: Archive, files: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = receive(archive, files, ct_study(3))
    complete(archive, clock)
    worker = converter(archive)

    def full(*arguments, **more):
        raise ResourceError("recipe", "cannot be written", found="No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "convert_facts", full)
        for _ in range(ATTEMPTS + 3):
            assert worker.step()
            clock.time = waiting(archive).not_before
    assert "No space left" in waiting(archive).reason
    assert worker.step()
    assert [row.frames for row in archive.study_instances(study, View.ENHANCED)] == [3]


POINTS = [
    "convert.start",
    "convert.object",
    "convert.before_record",
    "record.before_rename",
    "record.after_rename",
    "settle.before_commit",
    "settle.after_commit",
    "convert.after_index",
]


@pytest.mark.parametrize("point", POINTS)
def test_process_killed_at_any_point_makes_the_same_objects_in_the_end_and_leaves_nothing(
    archive: Archive, files: Path, clock: HandClock, point: str
) -> None:
    study = receive(archive, files, ct_study(3))
    process = python(WORKER, archive.files.root, faults=f"{point}=kill")
    process.communicate()
    assert process.returncode == -9
    process = python(WORKER, archive.files.root)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    (made,) = archive.study_instances(study, View.ENHANCED)
    assert made.frames == 3
    assert len(list(archive.files.records.glob("partition-*"))) == 1
    assert recipes(archive) == [made.name]
    assert jobs(archive) == [(DELIVER, "PACS"), (DELIVER, "WORKSTATION")]
    assert debris(archive) == []


@pytest.mark.parametrize("point", ["convert.object", "convert.before_record", "settle.before_commit"])
def test_error_at_any_point_only_delays(archive: Archive, files: Path, clock: HandClock, point: str) -> None:
    study = receive(archive, files, ct_study(3))
    complete(archive, clock)
    observe.load_faults(f"{point}=EIO")
    worker = converter(archive)
    worker.step()
    clock.time += 5
    worker.step()
    (made,) = archive.study_instances(study, View.ENHANCED)
    assert made.frames == 3
    assert recipes(archive) == [made.name]
    assert len(list(archive.files.records.glob("partition-*"))) == 1


def test_study_that_kills_the_process_again_and_again_goes_on_as_it_is(archive: Archive, files: Path) -> None:
    study = receive(archive, files, ct_study(3))
    for _ in range(ATTEMPTS):
        process = python(WORKER, archive.files.root, faults="convert.before_record=kill")
        process.communicate()
        assert process.returncode == -9
    process = python(WORKER, archive.files.root)
    process.communicate()
    assert {row.views for row in archive.study_sources(study)} == {ALL_VIEWS}
    assert all("the conversion process died" in row.reason for row in archive.study_sources(study))
    assert recipes(archive) == []


def test_slices_that_come_while_a_conversion_that_died_waits_leave_no_old_recipes(
    archive: Archive, files: Path
) -> None:
    study = ct_study(5)
    uid = receive(archive, files, study[:4])
    process = python(WORKER, archive.files.root, faults="convert.before_record=kill")
    process.communicate()
    assert len(recipes(archive)) == 1
    receive(archive, files, study[4:])
    process = python(WORKER, archive.files.root)
    process.communicate()
    (made,) = archive.study_instances(uid, View.ENHANCED)
    assert made.frames == 5
    assert recipes(archive) == [made.name]


def test_stop_ends_a_conversion_between_objects_and_counts_no_attempt(
    archive: Archive, files: Path, clock: HandClock
) -> None:
    study = ct_study(3)
    receive(archive, files, study + ct_study(3, study=study[0].StudyInstanceUID, series=generate_uid()))
    complete(archive, clock)
    asked = iter([False] * 7 + [True] * 20)
    assert not Converter(archive, POLICY, lambda: next(asked)).step()
    archive.jobs.release_running(CONVERT)
    assert waiting(archive).attempts == 0
    assert archive.unsettled(study[0].StudyInstanceUID)


def test_intake_folder_is_emptied_while_nothing_else_is_to_do(archive: Archive, files: Path, clock: HandClock) -> None:
    receive(archive, files, ct_study(3))
    worker = converter(archive)
    worker.housekeeping()
    assert archive.files.waiting() == []


def test_record_says_which_sources_became_which_frames(archive: Archive, files: Path, clock: HandClock) -> None:
    study = ct_study(3)
    receive(archive, files, study)
    complete(archive, clock)
    converter(archive).step()
    (path,) = archive.files.records.glob("partition-*")
    (made,) = json.loads(path.read_bytes())["objects"]
    assert [uid for _, uid in made["frames"]] == [ds.SOPInstanceUID for ds in study]
