"""In which form each series of a study goes to a destination: the images decide, for what is tied by references."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from archive_tools import CT, GSPS, LEGACY_CT, HandClock, store_file
from box import Pacs
from conversion.material import STUDY, item, other, reference, save_all, series_of
from conversion.states import bitmap, overlay
from pydicom.dataset import Dataset

from gateway.archive.index import Archive
from gateway.archive.jobs import COMMIT, CONVERT, DELIVER, HELD
from gateway.archive.status import study_status
from gateway.archive.views import View
from gateway.cli.status import describe_study
from gateway.network.sender import Sender
from gateway.pipeline.convert import ConversionPolicy, Converter
from gateway.pipeline.deliver import SELDOM, Deliverer
from gateway.pipeline.retry import Backoff
from gateway.pipeline.visits import Target
from gateway.retrieval.engine import Destination

MR = "1.2.840.10008.5.1.4.1.1.4"
LEGACY_MR = "1.2.840.10008.5.1.4.1.1.4.4"
KO = "1.2.840.10008.5.1.4.1.1.88.59"
SECOND = STUDY + ".2"


def arrive(archive: Archive, folder: Path, datasets: list[Dataset]) -> None:
    """Receive and convert; whatever study they are of is due at the PACS."""
    target = folder / str(len(list(folder.iterdir())))
    for path in save_all(datasets, target):
        store_file(archive, path)
    archive.jobs.retry_now(CONVERT)
    converter = Converter(archive, ConversionPolicy(destinations=("PACS",)))
    while converter.step():
        pass
    for uid in {str(ds.StudyInstanceUID) for ds in datasets}:
        archive.jobs.schedule(DELIVER, uid, "PACS")


def worker(archive: Archive, pacs: Pacs, **more: Any) -> Deliverer:
    target = Target(Destination("PACS", "127.0.0.1", pacs.port, "GATEWAY"), View.ENHANCED, **more)
    return Deliverer(archive, target, Sender(), backoff=Backoff(random=lambda: 0.5))


def deliver(archive: Archive, pacs: Pacs, **more: Any) -> None:
    made = worker(archive, pacs, **more)
    while made.step():
        pass


def key_object(number: int, images: list[Dataset], study: str = STUDY) -> Dataset:
    """A key object selection that names images."""
    content = [
        item(RelationshipType="CONTAINS", ValueType="IMAGE", ReferencedSOPSequence=[reference(image)])
        for image in images
    ]
    made = other(KO, number, {"Modality": "KO", "ContentSequence": content}, series=f"{STUDY}.7{number}")
    made.StudyInstanceUID = study
    return made


def told(archive: Archive, study: str = STUDY) -> dict[str, Any]:
    (found,) = study_status(archive, study)[0]["destinations"]
    sums = found["delivered"] + found["refused"] + found["failed"] + found["outstanding"]
    assert sums == found["total"]
    return found


def classes(pacs: Pacs) -> list[str]:
    return sorted(pacs.classes_of.values())


@pytest.fixture
def archive(tmp_path: Path, clock: HandClock) -> Iterator[Archive]:
    made = Archive(tmp_path / "data", clock, quiet=0)
    yield made
    made.close()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


def test_T12_a_pacs_that_takes_no_key_objects_gets_enhanced_images_and_commits_to_them(
    archive: Archive, files: Path
) -> None:
    pacs = Pacs(classes=[CT, LEGACY_CT]).start()
    images = series_of(count=3)
    arrive(archive, files, [*images, key_object(1, images)])
    deliver(archive, pacs, commitment=True)
    assert classes(pacs) == [LEGACY_CT]
    found = told(archive)
    assert (found["form"], found["total"], found["delivered"], found["refused"]) == ("enhanced", 2, 1, 1)
    assert found["state"] == HELD
    assert [(one["reason"], one["status"]) for one in found["refusals"]] == [
        ("peer does not accept Key Object Selection Document Storage", None)
    ]
    assert [job.kind for job in archive.jobs.listing() if job.state == "waiting"] == [COMMIT]
    text = "\n".join(describe_study(study_status(archive)[0], 0))
    assert "PACS: delivered 1 object as enhanced; 1 object not deliverable: peer does not accept Key Object" in text
    pacs.stop()


def test_T12_what_is_not_deliverable_is_not_tried_again_until_somebody_wants_it(
    archive: Archive, files: Path, clock: HandClock
) -> None:
    pacs = Pacs(classes=[CT, LEGACY_CT]).start()
    images = series_of(count=3)
    arrive(archive, files, [*images, key_object(1, images)])
    deliver(archive, pacs)
    calls = pacs.associations
    clock.time += SELDOM / 2
    made = worker(archive, pacs)
    made._look_again = clock.time + SELDOM
    assert not made.step()
    assert pacs.associations == calls
    pacs.stop()
    pacs.classes = None
    pacs.start()
    archive.jobs.retry_now()
    made.step()
    assert classes(pacs) == sorted([KO, LEGACY_CT])
    assert told(archive)["state"] == "done"
    pacs.stop()


def test_T12_a_destination_that_begins_to_take_a_class_gets_what_it_refused(
    archive: Archive, files: Path, clock: HandClock
) -> None:
    pacs = Pacs(classes=[CT, LEGACY_CT]).start()
    images = series_of(count=3)
    arrive(archive, files, [*images, key_object(1, images)])
    made = worker(archive, pacs)
    while made.step():
        pass
    clock.time += SELDOM + 1
    while made.step():
        pass
    assert told(archive)["refused"] == 1
    pacs.stop()
    pacs.classes = None
    pacs.start()
    clock.time += SELDOM + 1
    while made.step():
        pass
    assert classes(pacs) == sorted([KO, LEGACY_CT])
    assert archive.jobs.listing() == []
    pacs.stop()


def test_T12_E25_overlays_that_a_destination_refuses_as_states_keep_their_series_classic_and_no_other(
    archive: Archive, files: Path
) -> None:
    pacs = Pacs(classes=[CT, LEGACY_CT]).start()
    drawn = series_of(count=2, change=[overlay(bitmap(1)), None])
    plain = series_of(count=3, series=SECOND)
    arrive(archive, files, [*drawn, *plain])
    deliver(archive, pacs)
    assert classes(pacs) == sorted([CT, CT, LEGACY_CT])
    assert {ds.SOPInstanceUID for ds in drawn} < pacs.received.keys()
    assert 0x60003000 in pacs.dataset(drawn[0].SOPInstanceUID)
    found = told(archive)
    assert (found["form"], found["total"], found["delivered"], found["state"]) == ("enhanced", 3, 3, "done")
    (exception,) = found["exceptions"]
    assert (exception["series"], exception["form"]) == (drawn[0].SeriesInstanceUID, "classic")
    assert exception["reason"].startswith(
        "peer does not accept Grayscale Softcopy Presentation State Storage, and overlays of the images are in such"
    )
    text = "\n".join(describe_study(study_status(archive)[0], 0))
    assert "as enhanced; 1 series as classic: peer does not accept Grayscale Softcopy" in text
    pacs.stop()


def test_T12_states_of_others_decide_nothing(archive: Archive, files: Path) -> None:
    pacs = Pacs(classes=[CT, LEGACY_CT]).start()
    images = series_of(count=3)
    named = [item(SeriesInstanceUID=images[0].SeriesInstanceUID, ReferencedImageSequence=[reference(images[0])])]
    arrive(archive, files, [*images, other(GSPS, 1, {"Modality": "PR", "ReferencedSeriesSequence": named})])
    deliver(archive, pacs)
    assert classes(pacs) == [LEGACY_CT]
    assert told(archive)["refused"] == 1
    pacs.stop()


def test_T12_each_group_of_series_goes_in_its_own_form(archive: Archive, files: Path) -> None:
    pacs = Pacs(classes=[CT, MR, LEGACY_CT]).start()
    arrive(archive, files, [*series_of("CT"), *series_of("MR", series=SECOND)])
    deliver(archive, pacs)
    assert classes(pacs) == sorted([LEGACY_CT, MR, MR, MR])
    assert told(archive)["delivered"] == 4
    pacs.stop()


def test_T12_series_tied_by_references_go_in_one_form_and_the_references_hold(archive: Archive, files: Path) -> None:
    pacs = Pacs(classes=[CT, MR, LEGACY_CT, KO]).start()
    first, second = series_of("CT"), series_of("MR", series=SECOND)
    selection = key_object(1, [first[0], second[0]])
    arrive(archive, files, [*first, *second, selection])
    deliver(archive, pacs)
    assert classes(pacs) == sorted([CT] * 3 + [MR] * 3 + [KO])
    assert selection.SOPInstanceUID in pacs.received
    pacs.stop()


@pytest.mark.parametrize(("taken", "form"), [([CT, KO], "classic"), ([CT, LEGACY_CT, KO], "enhanced")])
def test_T12_what_refers_to_another_study_goes_in_the_form_its_targets_have_there(
    archive: Archive, files: Path, taken: list[str], form: str
) -> None:
    pacs = Pacs(classes=taken).start()
    images = series_of(count=2)
    arrive(archive, files, images)
    deliver(archive, pacs)
    selection = key_object(1, images, study=STUDY + "9")
    arrive(archive, files, [selection])
    deliver(archive, pacs)
    assert told(archive, selection.StudyInstanceUID)["form"] == form
    (came,) = (uid for uid, sop_class in pacs.classes_of.items() if sop_class == KO)
    named = pacs.dataset(came).ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert named in pacs.received
    pacs.stop()


def test_T12_later_series_are_asked_about_and_what_was_decided_stays(archive: Archive, files: Path) -> None:
    pacs = Pacs(classes=[CT, MR, LEGACY_CT]).start()
    arrive(archive, files, series_of("CT", 2))
    deliver(archive, pacs)
    arrive(archive, files, series_of("MR", 2, series=SECOND))
    deliver(archive, pacs)
    assert classes(pacs) == sorted([LEGACY_CT, MR, MR])
    pacs.stop()
    pacs.classes = [CT, MR, LEGACY_MR]
    pacs.start()
    arrive(archive, files, series_of("MR", 3, series=SECOND)[2:])
    deliver(archive, pacs)
    assert classes(pacs) == sorted([LEGACY_CT, MR, MR, MR])
    pacs.stop()


def test_T12_decisions_about_series_are_durable(archive: Archive, files: Path) -> None:
    pacs = Pacs(classes=[CT, MR, LEGACY_CT]).start()
    arrive(archive, files, [*series_of("CT"), *series_of("MR", series=SECOND)])
    deliver(archive, pacs)
    decided = archive.custody.decision(STUDY, "PACS")
    with archive.database.transaction() as connection:
        connection.execute("DELETE FROM decision")
    assert archive.custody.decision(STUDY, "PACS") == decided
    assert decided is not None
    assert decided.form_of(SECOND).view == View.CLASSIC
    pacs.stop()


def test_T12_hold_means_hold_for_overlays_too(archive: Archive, files: Path) -> None:
    pacs = Pacs(classes=[CT, LEGACY_CT]).start()
    arrive(archive, files, series_of(count=2, change=[overlay(bitmap(1)), None]))
    deliver(archive, pacs, when_refused="hold")
    assert not pacs.received
    (job,) = archive.jobs.listing()
    assert job.state == HELD
    assert "overlays of the images are in such objects; the study is held" in job.reason
    pacs.stop()


def test_T12_where_classic_images_are_not_taken_either_the_enhanced_ones_go(archive: Archive, files: Path) -> None:
    pacs = Pacs(classes=[LEGACY_CT]).start()
    arrive(archive, files, series_of(count=2, change=[overlay(bitmap(1)), None]))
    deliver(archive, pacs)
    assert classes(pacs) == [LEGACY_CT]
    assert told(archive)["refused"] == 1
    pacs.stop()
