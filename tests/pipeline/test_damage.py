"""Bytes that the disk has changed: nothing of them is converted or sent, and everybody hears of it (T9)."""

from __future__ import annotations

from pathlib import Path

import pytest
from archive_tools import HandClock, ct, derive, store, store_file
from box import Pacs, ct_study
from pydicom.dataset import Dataset

from gateway.archive import intact
from gateway.archive.index import Archive
from gateway.archive.jobs import CONVERT, DELIVER, HELD
from gateway.archive.patrol import Patrol
from gateway.archive.rows import Settlement
from gateway.archive.status import box_status
from gateway.archive.views import ALL_VIEWS, View
from gateway.cli.status import describe
from gateway.errors import DamagedError
from gateway.network.sender import Sender
from gateway.pipeline.convert import ConversionPolicy, Converter
from gateway.pipeline.deliver import Deliverer
from gateway.pipeline.retry import Backoff
from gateway.pipeline.visits import Target
from gateway.retrieval.engine import Destination

STUDY = "1.2.3"


def flip(path: Path, place: int, bit: int = 1) -> None:
    """Change one bit of a file, as a card does: nothing else about the file tells."""
    data = bytearray(path.read_bytes())
    data[place] ^= bit
    with path.open("r+b") as file:
        file.write(data)


def receive(archive: Archive, folder: Path, study: list[Dataset]) -> str:
    for ds in study:
        ds.save_as(folder / "one.dcm", enforce_file_format=True)
        store_file(archive, folder / "one.dcm")
    return str(study[0].StudyInstanceUID)


def convert(archive: Archive, clock: HandClock) -> None:
    clock.time += archive.quiet + 0.1
    worker = Converter(archive, ConversionPolicy(destinations=("PACS",)))
    while worker.step():
        pass


def deliver(archive: Archive, pacs: Pacs, view: View = View.ENHANCED) -> None:
    target = Target(Destination(pacs.title, "127.0.0.1", pacs.port, "GATEWAY"), view)
    worker = Deliverer(archive, target, Sender(), backoff=Backoff(random=lambda: 0.5))
    archive.jobs.retry_now(DELIVER)
    while worker.step():
        pass


def named(archive: Archive) -> str:
    """What `gateway status` says."""
    return "\n".join(describe(box_status(archive), archive.clock.now()))


@pytest.mark.parametrize("place", [-1, -40, 400, 700, 140, 5])
def test_T9_a_series_with_a_flipped_bit_is_not_converted_and_named_and_goes_on_once_the_file_is_right_again(
    archive: Archive, clock: HandClock, tmp_path: Path, place: int
) -> None:
    study = receive(archive, tmp_path, ct_study(4))
    wrong = archive.unsettled(study)[2]
    flip(archive.path_of(wrong), place)
    convert(archive, clock)
    assert len(archive.unsettled(study)) == 4
    assert not [row for row in archive.select(View.ENHANCED) if row.kind == "derived"]
    (job,) = [job for job in archive.jobs.listing() if job.kind == CONVERT]
    assert job.state == HELD
    (damage,) = box_status(archive)["damaged"]
    assert (damage["instance"], damage["kind"], damage["study"]) == (wrong.sop_instance, "received", study)
    assert wrong.name in named(archive)
    assert "have CT1 send it again" in named(archive)

    flip(archive.path_of(wrong), place)
    archive.jobs.retry_now()
    convert(archive, clock)
    assert not archive.unsettled(study)
    assert [row.frames for row in archive.select(View.ENHANCED) if row.kind == "derived"] == [4]
    assert box_status(archive)["damaged"] == []


def test_T9_conversion_is_never_given_up_for_damage(archive: Archive, clock: HandClock, tmp_path: Path) -> None:
    study = receive(archive, tmp_path, ct_study(3))
    flip(archive.path_of(archive.unsettled(study)[0]), -1)
    for _ in range(6):
        archive.jobs.retry_now()
        convert(archive, clock)
    assert len(archive.unsettled(study)) == 3
    assert [job.attempts for job in archive.jobs.listing() if job.kind == CONVERT] == [0]


def test_T9_what_refers_to_images_that_are_held_is_held_too(archive: Archive, clock: HandClock) -> None:
    store(archive, ct("1.2.3.4.1"))
    store(archive, ct("1.2.3.5.1", series="1.2.3.5", refers_to=("1.2.3.4.1",)))
    store(archive, ct("1.2.3.6.1", series="1.2.3.6"))
    flip(archive.path_of(archive.instance("1.2.3.4.1")), -1)
    convert(archive, clock)
    assert {row.series for row in archive.unsettled(STUDY)} == {"1.2.3.4", "1.2.3.5"}


def test_T9_a_series_is_delivered_whole_or_not_at_all_and_the_others_go(archive: Archive, pacs: Pacs) -> None:
    for series in ("1.2.3.4", "1.2.3.5"):
        for number in range(1, 5):
            store(archive, ct(f"{series}.{number}", series=series, number=number))
    archive.jobs.finish(_running(archive))
    rows = archive.unsettled(STUDY)
    archive.record_conversion(STUDY, [], {row.name: Settlement(ALL_VIEWS, "test") for row in rows})
    flip(archive.path_of(archive.instance("1.2.3.4.3")), -5)
    archive.jobs.schedule(DELIVER, STUDY, "PACS")
    deliver(archive, pacs)
    assert {uid.rsplit(".", 1)[0] for uid in pacs.classes_of} == {"1.2.3.5"}
    assert len(pacs.classes_of) == 4
    (job,) = archive.jobs.listing(STUDY)
    assert job.state == HELD
    assert archive.instance("1.2.3.4.3").name in job.reason
    assert box_status(archive)["idle"]


@pytest.mark.parametrize("what", ["source", "header", "map"])
def test_T9_a_derived_object_of_which_a_part_is_damaged_reaches_nobody(archive: Archive, pacs: Pacs, what: str) -> None:
    for number in range(1, 4):
        store(archive, ct(f"1.2.3.4.{number}", number=number))
    archive.jobs.finish(_running(archive))
    rows = archive.unsettled(STUDY)
    made = derive(archive, STUDY)
    archive.record_conversion(STUDY, [made], {row.name: Settlement(View.RECEIVED | View.CLASSIC) for row in rows})
    recipe = archive.files.recipe(made.name)
    flip(*{"source": (archive.path_of(rows[1]), -3), "header": (recipe, 50), "map": (recipe, -90)}[what])
    archive.jobs.schedule(DELIVER, STUDY, "PACS")
    deliver(archive, pacs)
    assert pacs.classes_of == {}
    (damage,) = box_status(archive)["damaged"]
    assert damage["file"].endswith(f"{rows[1].name}.dcm" if what == "source" else f"{made.name}.recipe")
    with pytest.raises(DamagedError):
        b"".join(archive.source_of(archive.instance(made.sop_instance)).chunks())


def _running(archive: Archive):
    archive.jobs.retry_now(CONVERT, STUDY)
    return archive.jobs.take(CONVERT)


@pytest.mark.parametrize("place", [60, 300, -20, -150])
def test_T9_a_damaged_recipe_is_made_again_with_the_very_same_bytes(
    archive: Archive, clock: HandClock, tmp_path: Path, pacs: Pacs, place: int
) -> None:
    study = receive(archive, tmp_path, ct_study(4))
    convert(archive, clock)
    (made,) = [row for row in archive.select(View.ENHANCED) if row.kind == "derived"]
    path = archive.path_of(made)
    right = path.read_bytes()
    flip(path, place)
    deliver(archive, pacs)
    assert pacs.classes_of == {}
    assert [one["file"] for one in box_status(archive)["damaged"]] == [f"derived/{path.parent.name}/{path.name}"]
    worker = Converter(archive, ConversionPolicy(destinations=("PACS",)))
    worker.housekeeping()
    convert(archive, clock)
    assert path.read_bytes() == right
    assert box_status(archive)["damaged"] == []
    deliver(archive, pacs)
    assert set(pacs.classes_of) == {made.sop_instance}
    assert not archive.jobs.listing(study)
    assert [one.stem for one in archive.files.quarantine.iterdir()] == [f"{path.stem}.damaged-0"]


def test_T9_a_damaged_recipe_is_not_made_of_damaged_sources(
    archive: Archive, clock: HandClock, tmp_path: Path, pacs: Pacs
) -> None:
    study = receive(archive, tmp_path, ct_study(3))
    convert(archive, clock)
    (made,) = [row for row in archive.select(View.ENHANCED) if row.kind == "derived"]
    source = archive.study_sources(study)[1]
    flip(archive.path_of(made), 60)
    flip(archive.path_of(source), -2)
    deliver(archive, pacs)
    Converter(archive, ConversionPolicy(destinations=("PACS",))).housekeeping()
    convert(archive, clock)
    deliver(archive, pacs)
    assert pacs.classes_of == {}
    assert {one["kind"] for one in box_status(archive)["damaged"]} == {"recipe", "received"}
    assert source.name in named(archive)
    assert {(job.kind, job.state) for job in archive.jobs.listing(study)} == {(CONVERT, HELD), (DELIVER, HELD)}
    # Sent again, everything goes on.
    flip(archive.path_of(source), -2)
    archive.jobs.retry_now()
    convert(archive, clock)
    deliver(archive, pacs)
    assert set(pacs.classes_of) == {made.sop_instance}
    assert box_status(archive)["damaged"] == []


def test_T9_a_record_with_a_flipped_bit_is_named_and_the_study_is_held(
    archive: Archive, clock: HandClock, tmp_path: Path
) -> None:
    images = ct_study(4)
    study = receive(archive, tmp_path, images[:3])
    convert(archive, clock)
    (path,) = archive.files.records.glob("partition-*")
    flip(path, 100)
    receive(archive, tmp_path, images[3:])
    convert(archive, clock)
    assert len(archive.unsettled(study)) == 1
    (damage,) = box_status(archive)["damaged"]
    assert (damage["kind"], damage["file"]) == ("record", f"records/{path.name}")
    assert [job.state for job in archive.jobs.listing() if job.kind == CONVERT] == [HELD]
    flip(path, 100)
    archive.jobs.retry_now()
    convert(archive, clock)
    assert not archive.unsettled(study)
    assert box_status(archive)["damaged"] == []


def test_T9_a_record_that_is_gone_is_named_and_no_other_takes_its_place(
    archive: Archive, clock: HandClock, tmp_path: Path
) -> None:
    images = ct_study(5)
    study = receive(archive, tmp_path, images[:3])
    convert(archive, clock)
    (path,) = archive.files.records.glob("partition-*")
    said = path.read_bytes()
    path.unlink()
    Patrol(archive).step()
    (damage,) = box_status(archive)["damaged"]
    assert (damage["kind"], damage["file"]) == ("record", f"records/{path.name}")
    receive(archive, tmp_path, images[3:])
    convert(archive, clock)
    assert len(archive.unsettled(study)) == 2
    assert [job.state for job in archive.jobs.listing() if job.kind == CONVERT] == [HELD]
    assert not path.exists()
    path.write_bytes(said)
    archive.jobs.retry_now()
    convert(archive, clock)
    assert not archive.unsettled(study)
    assert box_status(archive)["damaged"] == []


@pytest.mark.parametrize("view", [View.CLASSIC, View.ENHANCED])
def test_T9_a_damaged_file_is_named_with_the_destination_that_has_what_it_holds(
    archive: Archive, clock: HandClock, tmp_path: Path, pacs: Pacs, view: View
) -> None:
    study = receive(archive, tmp_path, ct_study(3))
    convert(archive, clock)
    deliver(archive, pacs, view)
    row = archive.study_sources(study)[0]
    flip(archive.path_of(row), -1)
    assert intact.problem_of(archive, row)
    (damage,) = box_status(archive)["damaged"]
    (made,) = {uid for uid, _ in archive.derived_from(row.sop_instance)}
    has = row.sop_instance if view == View.CLASSIC else made
    assert damage["had_by"] == [{"destination": "PACS", "instance": has}]
    assert "PACS" in damage["remedy"]
