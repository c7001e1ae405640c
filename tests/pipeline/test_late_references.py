"""References of what comes late, and to what comes late: every view stays whole, whatever the order of arrival."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest
from archive_tools import HandClock, debris, python, store_file
from conversion.material import STUDY, item, other, reference, save, series_of
from conversion.resolving import every_reference_resolves
from conversion.test_updates import KO, SR, evidence, gsps, key_object
from pydicom import dcmread
from pydicom.dataset import Dataset

from gateway.archive.index import Archive
from gateway.archive.jobs import CONVERT, DELIVER
from gateway.archive.rows import InstanceRow
from gateway.archive.succession import RESTORED
from gateway.archive.views import ALL_VIEWS, NO_VIEW, View
from gateway.objects.part10 import file_meta
from gateway.pipeline.convert import AWAITS, ConversionPolicy, Converter

POLICY = ConversionPolicy(destinations=("PACS",))
VIEWS = (View.RECEIVED, View.CLASSIC, View.ENHANCED)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    made = Archive(tmp_path / "data", HandClock(), quiet=0)
    yield made
    made.close()


def arrive(archive: Archive, objects: list[Dataset], **origin: bool) -> None:
    """Let objects arrive, without anything being done about them."""
    for ds in objects:
        path = save(ds, archive.files.root.parent / "one.dcm")
        store_file(archive, path, **origin)


def receive(archive: Archive, objects: list[Dataset], **origin: bool) -> None:
    """Let objects arrive and settle them."""
    arrive(archive, objects, **origin)
    settle(archive)


def settle(archive: Archive) -> None:
    for _ in range(20):
        archive.clock.time += 5  # type: ignore[attr-defined]
        if not Converter(archive, POLICY).step():
            return
    raise AssertionError("it never ends")


def written(archive: Archive, row: InstanceRow, folder: Path) -> Path:
    path = folder / f"{row.sop_instance}.dcm"
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = b"".join(archive.source_of(row).chunks())
    path.write_bytes(file_meta(row.sop_class, row.sop_instance, row.transfer_syntax) + stream)
    return path


def check_views(archive: Archive, *, unknown: tuple[str, ...] = ()) -> None:
    """Fail if a view refers to what is in another one only (G20)."""
    for view in VIEWS:
        folder = archive.files.root.parent / f"view-{view.name}"
        shutil.rmtree(folder, ignore_errors=True)
        for row in archive.select(view):
            written(archive, row, folder)
        every_reference_resolves(folder, unknown=unknown)


def in_view(archive: Archive, sop_class: str, view: View = View.ENHANCED) -> list[Dataset]:
    """Return the objects of a class that a view has."""
    folder = archive.files.root.parent / "looked"
    return [dcmread(written(archive, row, folder)) for row in archive.select(view) if row.sop_class == sop_class]


def views_of(archive: Archive, ds: Dataset) -> View:
    row = archive.instance(str(ds.SOPInstanceUID))
    assert row is not None
    return row.views


def in_study(ds: Dataset, study: str) -> Dataset:
    ds.StudyInstanceUID = study
    return ds


def test_G20_a_document_that_comes_after_the_conversion_gets_its_copy_then(archive: Archive) -> None:
    sources = series_of()
    receive(archive, sources)
    document = key_object(sources[:2])
    receive(archive, [document])
    (copy,) = in_view(archive, KO)
    assert copy.SOPInstanceUID != document.SOPInstanceUID
    assert views_of(archive, document) == View.RECEIVED | View.CLASSIC
    check_views(archive)


def test_G20_a_document_in_another_study_of_the_patient_follows_too(archive: Archive) -> None:
    sources = series_of()
    receive(archive, sources)
    document = in_study(key_object(sources[:2]), "1.2.3.4")
    receive(archive, [document])
    assert views_of(archive, document) == View.RECEIVED | View.CLASSIC
    check_views(archive)


@pytest.mark.parametrize("study", [STUDY, "1.2.3.4"])
def test_G20_what_was_settled_before_its_targets_came_follows_them_and_is_delivered(
    archive: Archive, study: str
) -> None:
    sources = series_of()
    document = in_study(key_object(sources[:2]), study)
    receive(archive, [document])
    assert views_of(archive, document) == ALL_VIEWS
    archive.jobs.finish(archive.jobs.take(DELIVER, "PACS"))  # type: ignore[arg-type]
    receive(archive, sources)
    assert views_of(archive, document) == View.RECEIVED | View.CLASSIC
    check_views(archive)
    assert {job.study for job in archive.jobs.listing()} == {STUDY, study}


def test_G20_chains_of_documents_follow_whatever_the_order(archive: Archive) -> None:
    sources = series_of()
    first = key_object(sources[:1])
    second = other(SR, 1, {"ContentSequence": [item(ReferencedSOPSequence=[reference(first)])]})
    third = other(SR, 2, {"ContentSequence": [item(ReferencedSOPSequence=[reference(second)])]})
    receive(archive, [second])
    receive(archive, sources)
    assert views_of(archive, second) == ALL_VIEWS
    receive(archive, [first])
    assert views_of(archive, second) == View.RECEIVED | View.CLASSIC
    receive(archive, [third])
    check_views(archive)
    assert len(in_view(archive, SR)) == 2


def test_late_slices_make_another_copy_of_what_refers_to_them_and_the_old_one_is_withdrawn(archive: Archive) -> None:
    sources = series_of(count=4)
    document = key_object(sources)
    receive(archive, [*sources[:2], document])
    (old,) = in_view(archive, KO)
    receive(archive, sources[2:])
    (new,) = in_view(archive, KO)
    assert new.SOPInstanceUID != old.SOPInstanceUID
    assert new.SeriesInstanceUID == old.SeriesInstanceUID
    row = archive.instance(str(old.SOPInstanceUID))
    assert row is not None
    assert row.views == NO_VIEW
    check_views(archive)


def test_T3_a_document_that_comes_again_as_it_was_first_has_its_first_copy_again(archive: Archive) -> None:
    sources = series_of(count=4)
    first = key_object(sources[:2])
    second = deepcopy(first)
    second.PatientComments = "another"
    receive(archive, [*sources, first])
    (old,) = in_view(archive, KO)
    receive(archive, [second])
    (other_copy,) = in_view(archive, KO)
    assert other_copy.PatientComments == "another"
    receive(archive, [first])
    (again,) = in_view(archive, KO)
    assert again == old
    assert views_of(archive, first) == View.RECEIVED | View.CLASSIC
    check_views(archive)
    # The same from the records alone.
    before = {row.name: row.views for row in archive.select(ALL_VIEWS)}
    archive.close()
    for path in archive.files.root.glob("index.sqlite3*"):
        path.unlink()
    (archive.files.root / RESTORED).touch()
    rebuilt = Archive(archive.files.root, archive.clock, quiet=0)
    rebuilt.recover()
    assert {row.name: row.views for row in rebuilt.select(ALL_VIEWS)} == before
    rebuilt.close()


def test_T3_a_slice_that_comes_again_as_it_was_first_makes_another_object(archive: Archive) -> None:
    sources = series_of(count=4)
    second = deepcopy(sources[1])
    second.PixelData = bytes(len(second.PixelData))
    seen = []
    for word in (sources, [second], [sources[1]]):
        receive(archive, word)
        (made,) = [row for row in archive.select(View.ENHANCED) if row.frames > 1]
        seen.append(made.sop_instance)
        check_views(archive)
    assert len(set(seen)) == 3, "what a destination may have been told to remove does not come back under its UID"
    assert debris(archive) == []


def test_late_slices_of_another_series_leave_a_copy_alone(archive: Archive) -> None:
    sources = series_of()
    receive(archive, [*sources, key_object(sources)])
    before = archive.select(View.ENHANCED)
    receive(archive, series_of("MR", series=STUDY + ".9"))
    assert [row for row in archive.select(View.ENHANCED) if row.modality != "MR"] == before


def test_a_corrected_image_withdraws_the_copies_that_point_at_its_object(archive: Archive) -> None:
    sources = series_of()
    document, state = key_object(sources[:1]), gsps(sources)
    far = in_study(other(SR, 7, {"ContentSequence": [item(ReferencedSOPSequence=[reference(state)])]}), "1.2.3.4")
    receive(archive, [*sources, document, state, far])
    before = {row.sop_instance for row in archive.select(View.ENHANCED)}
    assert len(before) == 4
    again = deepcopy(sources[1])
    again.PixelData = bytes(len(again.PixelData))
    receive(archive, [again])
    after = {row.sop_instance for row in archive.select(View.ENHANCED)}
    assert len(after) == 4
    assert not before & after
    check_views(archive)


def test_a_corrected_document_makes_another_copy(archive: Archive) -> None:
    sources = series_of()
    document = key_object(sources[:1])
    receive(archive, [*sources, document])
    (old,) = in_view(archive, KO)
    receive(archive, [key_object(sources[1:])])
    (new,) = in_view(archive, KO)
    assert new.SOPInstanceUID != old.SOPInstanceUID
    receive(archive, [key_object([])])
    (last,) = in_view(archive, KO)
    assert last.SOPInstanceUID == document.SOPInstanceUID, "it refers to nothing any more"
    check_views(archive)


def test_images_that_know_a_late_presentation_state_are_made_anew_with_its_copy(archive: Archive) -> None:
    sources = series_of()
    state = gsps(sources)
    for ds in sources:
        ds.ReferencedPresentationStateSequence = [reference(state)]
    receive(archive, sources)
    receive(archive, [state])
    check_views(archive)
    assert len(archive.select(View.ENHANCED)) == 2


def test_an_image_that_a_converted_image_refers_to_and_that_comes_late_stays_classic(archive: Archive) -> None:
    target = series_of("MR", series=STUDY + ".9")
    sources = series_of(change={"ReferencedImageSequence": [reference(target[0])]})
    receive(archive, sources)
    receive(archive, target)
    assert {views_of(archive, ds) for ds in target} == {ALL_VIEWS}
    row = archive.instance(target[1].SOPInstanceUID)
    assert row is not None
    assert row.reason == f"instance {sources[0].SOPInstanceUID} refers to it, whose references cannot be rewritten"
    check_views(archive)


def test_a_late_study_that_refers_to_one_still_to_be_settled_waits_for_it(archive: Archive) -> None:
    sources = series_of()
    document = in_study(key_object(sources[:2]), "1.2.3.4")
    arrive(archive, [document])
    archive.clock.time += 1  # type: ignore[attr-defined]
    arrive(archive, sources)
    archive.clock.time += 1  # type: ignore[attr-defined]
    assert Converter(archive, POLICY).step()
    (job,) = [job for job in archive.jobs.listing("1.2.3.4") if job.kind == CONVERT]
    assert (job.reason, job.attempts) == (AWAITS, 0)
    assert views_of(archive, document) == View.RECEIVED | View.CLASSIC
    settle(archive)
    assert views_of(archive, document) == View.RECEIVED | View.CLASSIC
    assert len(in_view(archive, KO)) == 1
    check_views(archive)


def test_G20_studies_that_refer_to_each_other_are_settled(archive: Archive) -> None:
    one, two = series_of(), [in_study(ds, "1.2.3.4") for ds in series_of("MR", series="1.2.3.5")]
    for ds in one:
        ds.ReferencedImageSequence = [reference(two[0])]
    document = in_study(key_object(one), "1.2.3.4")
    receive(archive, [*two, document, *one])
    assert archive.unsettled(STUDY) == archive.unsettled("1.2.3.4") == []
    check_views(archive)


def enhanced_of(archive: Archive, sources: list[Dataset]) -> Dataset:
    """Return the enhanced object that another box made of sources."""
    apart = Archive(archive.files.root.parent / "apart", HandClock(), quiet=0)
    receive(apart, sources)
    (row,) = [row for row in apart.select(View.ENHANCED) if row.kind == "derived"]
    made = dcmread(written(apart, row, archive.files.root.parent))
    apart.close()
    made.SOPInstanceUID, made.SeriesInstanceUID = "1.2.77.1", "1.2.77"
    return made


def multiframe_reference(ds: Dataset, *frames: int) -> Dataset:
    made = other(KO, 9)
    target = reference(ds, **({"ReferencedFrameNumber": [str(n) for n in frames]} if frames else {}))
    made.ContentSequence = [item(RelationshipType="CONTAINS", ValueType="IMAGE", ReferencedSOPSequence=[target])]
    made.CurrentRequestedProcedureEvidenceSequence = [evidence([ds])]
    return made


@pytest.mark.parametrize("together", [True, False])
def test_G23_references_to_either_form_of_received_twins_name_the_form_of_the_view(
    archive: Archive, together: bool
) -> None:
    sources = series_of()
    twin = enhanced_of(archive, sources)
    to_classic, to_enhanced = key_object(sources[:2]), multiframe_reference(twin, 2, 3)
    batches = [[*sources, twin, to_classic, to_enhanced]]
    if not together:
        batches = [[twin], sources, [to_classic], [to_enhanced]]
    for batch in batches:
        receive(archive, batch)
    assert views_of(archive, twin) == View.RECEIVED | View.ENHANCED
    assert views_of(archive, to_classic) == View.RECEIVED | View.CLASSIC
    assert views_of(archive, to_enhanced) == View.RECEIVED | View.ENHANCED
    for view in (View.CLASSIC, View.ENHANCED):
        assert len(in_view(archive, KO, view)) == 2
    (copy,) = [ds for ds in in_view(archive, KO, View.CLASSIC) if ds.SOPInstanceUID != to_classic.SOPInstanceUID]
    assert copy.QueryRetrieveView == "CLASSIC"
    assert [one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for one in copy.ContentSequence] == [
        ds.SOPInstanceUID for ds in sources[1:]
    ]
    check_views(archive)


def test_G23_references_to_a_spare_enhanced_object_name_the_frames_made_here(archive: Archive) -> None:
    sources = series_of()
    receive(archive, sources)
    spare = enhanced_of(archive, sources)
    document = multiframe_reference(spare, 1, 3)
    receive(archive, [spare])
    receive(archive, [document])
    assert views_of(archive, spare) == View.RECEIVED
    assert views_of(archive, document) == View.RECEIVED
    (copy,) = in_view(archive, KO)
    target = copy.ContentSequence[0].ReferencedSOPSequence[0]
    (made,) = [row for row in archive.select(View.ENHANCED) if row.sop_class != KO]
    assert (target.ReferencedSOPInstanceUID, target.ReferencedFrameNumber) == (made.sop_instance, [1, 3])
    check_views(archive)


@pytest.mark.parametrize("origin", [{}, {"prior": True}])
def test_G20_an_object_made_at_the_PACS_that_refers_to_enhanced_UIDs_gets_a_classic_copy(
    archive: Archive, origin: dict
) -> None:
    sources = series_of()
    receive(archive, sources)
    (made,) = [dcmread(written(archive, row, archive.files.root.parent)) for row in archive.select(View.ENHANCED)]
    document = multiframe_reference(made, 2)
    receive(archive, [document], **origin)
    assert views_of(archive, document) == View.RECEIVED | View.ENHANCED
    (copy,) = in_view(archive, KO, View.CLASSIC)
    assert copy.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == sources[1].SOPInstanceUID
    for view in (View.CLASSIC, View.ENHANCED):
        folder = archive.files.root.parent / f"out-{view.name}"
        for row in archive.select(view):
            written(archive, row, folder)
        every_reference_resolves(folder)
    row = archive.instance(str(copy.SOPInstanceUID))
    assert row is not None
    assert row.prior == bool(origin), "what came from a destination is not delivered, nor is its copy"


def test_G23_a_copy_that_comes_back_is_recognised(archive: Archive) -> None:
    sources = series_of()
    receive(archive, [*sources, key_object(sources)])
    (row,) = [row for row in archive.select(View.ENHANCED) if row.sop_class == KO]
    back = dcmread(written(archive, row, archive.files.root.parent))
    admission = store_file(archive, save(back, archive.files.root.parent / "back.dcm"), prior=True)
    assert admission.kind == "own"
    assert len(archive.select(View.ENHANCED)) == 2


def test_G22_a_rebuilt_index_knows_what_stands_for_what(archive: Archive) -> None:
    sources = series_of()
    twin = enhanced_of(archive, series_of("MR", series=STUDY + ".9"))
    receive(archive, [*sources, *series_of("MR", series=STUDY + ".9"), twin, key_object(sources)])
    uids = [str(ds.SOPInstanceUID) for ds in (*sources, twin)]
    before, rows = archive.guises(uids), archive.select(View.ENHANCED)
    with archive.database.transaction() as connection:
        for table in ("uid_map", "derived", "twin", "partition"):
            connection.execute(f"DELETE FROM {table}")
        connection.execute("DELETE FROM instance WHERE kind = 'derived'")
    archive.recover()
    assert archive.guises(uids) == before
    assert {row.sop_instance for row in archive.select(View.ENHANCED)} == {row.sop_instance for row in rows}


WORKER = """
import sys
from pathlib import Path
from gateway.archive.index import Archive
from gateway.pipeline.convert import ConversionPolicy, Converter
archive = Archive(Path(sys.argv[1]))
worker = Converter(archive, ConversionPolicy(destinations=("PACS",)))
worker.resume()
archive.jobs.retry_now()
while worker.step():
    pass
"""


@pytest.mark.parametrize(
    "point", ["convert.companion", "convert.before_record", "settle.before_commit", "convert.after_index"]
)
def test_a_process_killed_while_copies_are_made_makes_the_same_in_the_end(archive: Archive, point: str) -> None:
    sources = series_of()
    document = in_study(key_object(sources), "1.2.3.4")
    receive(archive, [document])
    while job := archive.jobs.take(DELIVER, "PACS"):
        archive.jobs.finish(job)
    arrive(archive, sources)
    process = python(WORKER, archive.files.root, faults=f"{point}=kill")
    process.communicate()
    assert process.returncode == -9
    process = python(WORKER, archive.files.root)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert len(in_view(archive, KO)) == 1
    check_views(archive)
    assert {(job.kind, job.study) for job in archive.jobs.listing()} == {(DELIVER, STUDY), (DELIVER, "1.2.3.4")}
    assert len(list(archive.files.derived.rglob("*.recipe"))) == 2
    assert debris(archive) == []


def test_records_say_what_a_copy_was_made_of(archive: Archive) -> None:
    sources = series_of()
    document = key_object(sources)
    receive(archive, [*sources, document])
    (path,) = archive.files.records.glob("partition-*")
    (copy,) = [one for one in json.loads(path.read_bytes())["objects"] if one["kind"] == "copy"]
    assert [uid for _, uid in copy["frames"]] == [document.SOPInstanceUID]
