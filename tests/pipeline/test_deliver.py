"""Delivery to real peers: one decision, everything once, and a reason for what has to wait."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from archive_tools import CT, GSPS, LEGACY_CT, HandClock, ct, derive, store, store_file
from box import Pacs
from loopback import eventually, free_port, nothing_left_behind
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate

from gateway import observe
from gateway.archive.index import Archive
from gateway.archive.jobs import CONVERT, DELIVER, HELD, WAITING, Job
from gateway.archive.rows import Settlement
from gateway.archive.status import study_status
from gateway.archive.views import ALL_VIEWS, View
from gateway.errors import ResourceError
from gateway.network.sender import Sender
from gateway.pipeline import visits as module
from gateway.pipeline.deliver import Deliverer
from gateway.pipeline.retry import Backoff
from gateway.pipeline.visits import INTERRUPTED, Target
from gateway.retrieval.engine import Destination

STUDY = "1.2.3"
SOURCES = View.RECEIVED | View.CLASSIC


def uid(number: int) -> str:
    return f"1.2.3.4.{number}"


def fill(archive: Archive, count: int = 3, *, converted: bool = True, study: str = STUDY, first: int = 1) -> None:
    """Receive a study, and convert it if asked."""
    for number in range(first, first + count):
        instance = uid(number) if study == STUDY else f"{study}.{number}"
        store(archive, ct(instance, study=study, series=f"{study}.4", number=number))
    archive.jobs.retry_now(CONVERT, study)
    archive.jobs.finish(archive.jobs.take(CONVERT))
    fresh = archive.unsettled(study)
    if converted:
        archive.record_conversion(study, [derive(archive, study)], {row.name: Settlement(SOURCES) for row in fresh})
    else:
        archive.record_conversion(study, [], {row.name: Settlement(ALL_VIEWS, "test") for row in fresh})
    archive.jobs.schedule(DELIVER, study, "PACS")


def deliverer(archive: Archive, pacs: Pacs, view: View = View.ENHANCED, when_refused: str = "classic", **more: Any):
    target = Target(Destination(pacs.title, "127.0.0.1", pacs.port, "GATEWAY"), view, when_refused)
    return Deliverer(archive, target, Sender(), backoff=Backoff(random=lambda: 0.5), **more)


def job(archive: Archive, study: str = STUDY) -> Job:
    (found,) = archive.jobs.listing(study)
    return found


def test_converted_study_goes_as_its_enhanced_object_and_the_job_is_done(archive: Archive, pacs: Pacs) -> None:
    fill(archive)
    assert deliverer(archive, pacs).step()
    assert pacs.classes_of == {"2.25.1": LEGACY_CT}
    assert archive.jobs.listing() == []


@pytest.mark.parametrize(("view", "expected"), [(View.CLASSIC, CT), (View.RECEIVED, CT), (View.ENHANCED, LEGACY_CT)])
def test_destination_gets_the_view_it_is_configured_for(
    archive: Archive, pacs: Pacs, view: View, expected: str
) -> None:
    fill(archive)
    deliverer(archive, pacs, view).step()
    assert set(pacs.classes_of.values()) == {expected}


def test_decision_is_durable_before_the_first_byte_leaves(archive: Archive, pacs: Pacs) -> None:
    fill(archive)
    records: list[int] = []
    pacs.answer = lambda event: records.append(len(list(archive.files.records.glob("delivery-*")))) or 0
    deliverer(archive, pacs).step()
    assert records == [1]


def test_refused_enhanced_class_sends_the_study_as_classic_images_with_the_reason(archive: Archive) -> None:
    pacs = Pacs(classes=[CT]).start()
    fill(archive)
    deliverer(archive, pacs).step()
    assert set(pacs.classes_of) == {uid(1), uid(2), uid(3)}
    decision = archive.custody.decision(STUDY, "PACS")
    assert decision is not None
    assert decision.view == View.CLASSIC
    assert decision.reason.startswith("peer does not accept Legacy Converted Enhanced CT Image Storage")
    pacs.stop()


def test_refused_enhanced_class_holds_the_study_if_so_configured_until_somebody_retries(archive: Archive) -> None:
    pacs = Pacs(classes=[CT]).start()
    fill(archive)
    worker = deliverer(archive, pacs, when_refused="hold")
    worker.step()
    assert job(archive).state == HELD
    assert "does not accept Legacy Converted Enhanced CT" in job(archive).reason
    assert archive.custody.decision(STUDY, "PACS") is None
    assert not pacs.received
    pacs.stop()
    pacs.classes = None
    pacs.start()
    assert not worker.step()
    archive.jobs.retry_now(DELIVER, STUDY)
    worker.step()
    assert set(pacs.classes_of) == {"2.25.1"}
    pacs.stop()


def test_decision_holds_for_late_slices_even_if_the_destination_has_changed_its_mind(archive: Archive) -> None:
    pacs = Pacs(classes=[CT]).start()
    fill(archive)
    worker = deliverer(archive, pacs)
    worker.step()
    pacs.stop()
    pacs.classes = None
    pacs.start()
    fill(archive, 2, converted=False, first=4)
    worker.step()
    assert set(pacs.classes_of) == {uid(number) for number in range(1, 6)}
    assert pacs.associations == 3  # the probe and two deliveries
    pacs.stop()


def test_study_with_nothing_to_choose_is_asked_about_when_there_is_something(archive: Archive) -> None:
    pacs = Pacs(classes=[CT]).start()
    fill(archive, 1, converted=False)
    worker = deliverer(archive, pacs)
    worker.step()
    assert archive.custody.decision(STUDY, "PACS") is None
    fill(archive, 2, first=2)
    worker.step()
    assert set(pacs.classes_of) == {uid(1), uid(2), uid(3)}
    pacs.stop()


def test_absent_destination_is_tried_again_ever_later_without_any_decision(archive: Archive, clock: HandClock) -> None:
    pacs = Pacs()
    fill(archive)
    worker = deliverer(archive, pacs)
    waits = []
    for _ in range(4):
        assert worker.step()
        assert not worker.step()
        waits.append(round(job(archive).not_before - clock.now()))
        clock.time = job(archive).not_before
    assert waits == [2, 4, 8, 16]
    assert job(archive).state == WAITING
    assert job(archive).reason == "connection refused"
    assert archive.custody.decision(STUDY, "PACS") is None
    pacs.start()
    worker.step()
    assert set(pacs.classes_of) == {"2.25.1"}
    pacs.stop()


def test_absent_destination_is_asked_once_for_all_studies_and_gets_all_when_it_is_back(
    archive: Archive, clock: HandClock
) -> None:
    pacs = Pacs()
    studies = ["1.2.5", "1.2.6", "1.2.7"]
    for study in studies:
        fill(archive, 1, converted=False, study=study)
    worker = deliverer(archive, pacs)
    assert worker.step()
    assert not worker.step()
    for study in studies:
        assert job(archive, study).reason == "connection refused"
        assert job(archive, study).not_before >= clock.now() + 1.9
    pacs.start()
    clock.time += 2.1
    while worker.step():
        pass
    assert len(pacs.received) == 3
    pacs.stop()


def test_refused_instance_keeps_its_reason_and_only_it_is_sent_again(
    archive: Archive, pacs: Pacs, clock: HandClock
) -> None:
    fill(archive)
    pacs.answer = lambda event: 0xA700 if event.request.AffectedSOPInstanceUID == uid(2) else 0
    worker = deliverer(archive, pacs, View.CLASSIC)
    worker.step()
    assert set(pacs.received) == {uid(1), uid(3)}
    assert job(archive).reason == "1 of 3 instances not taken: Refused: Out of resources (A700)"
    states = {one.sop_instance: (one.state, one.status) for one in archive.custody.deliveries(STUDY, "PACS")}
    assert states == {uid(1): ("delivered", 0), uid(2): ("failed", 0xA700), uid(3): ("delivered", 0)}
    pacs.answer = lambda event: 0
    clock.time += 2.1
    worker.step()
    assert {name: len(digests) for name, digests in pacs.received.items()} == {uid(1): 1, uid(2): 1, uid(3): 1}
    assert archive.jobs.listing() == []


def test_refused_context_is_a_reason_of_the_instance_and_the_rest_goes_on(archive: Archive, clock: HandClock) -> None:
    pacs = Pacs(classes=[CT]).start()
    store(archive, ct("1.2.3.5", series="1.2.3.50", sop_class=GSPS))
    fill(archive, 2, converted=False)
    deliverer(archive, pacs).step()
    assert set(pacs.received) == {uid(1), uid(2)}
    refused = {
        one.sop_instance: one.reason for one in archive.custody.deliveries(STUDY, "PACS") if one.state == "refused"
    }
    assert refused == {"1.2.3.5": "peer does not accept Grayscale Softcopy Presentation State Storage"}
    assert job(archive).state == HELD
    assert job(archive).reason.startswith("1 of 3 instances not deliverable: peer does not accept Grayscale")
    pacs.stop()


def test_M3_what_is_compressed_without_loss_is_decoded_for_a_destination_that_takes_only_native_objects(
    archive: Archive, pacs: Pacs, caplog: pytest.LogCaptureFixture
) -> None:
    ds = dcmread(str(get_testdata_file("MR_small_RLE.dcm")))
    store_file(archive, Path(str(get_testdata_file("MR_small_RLE.dcm"))))
    study = str(ds.StudyInstanceUID)
    rows = archive.unsettled(study)
    archive.record_conversion(study, [], {row.name: Settlement(ALL_VIEWS, "test") for row in rows})
    archive.jobs.schedule(DELIVER, study, "PACS")
    with caplog.at_level("INFO", "gateway"), nothing_left_behind():
        deliverer(archive, pacs).step()
    syntax, data = pacs.objects[ds.SOPInstanceUID]
    assert syntax in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
    assert ds.pixel_array.tobytes() in data
    assert "decoded=1" in caplog.text
    (delivery,) = archive.custody.deliveries(study, "PACS")
    assert (delivery.state, delivery.reason) == ("delivered", "decoded from RLE Lossless")
    (told,) = study_status(archive, study)[0]["destinations"]
    assert (told["delivered"], told["decoded"]) == (1, 1)


def test_M3_T11_what_is_compressed_with_loss_stays_as_it_is_and_says_why(archive: Archive, pacs: Pacs) -> None:
    ds = dcmread(str(get_testdata_file("JPEG-lossy.dcm")))
    store_file(archive, Path(str(get_testdata_file("JPEG-lossy.dcm"))))
    study = str(ds.StudyInstanceUID)
    rows = archive.unsettled(study)
    archive.record_conversion(study, [], {row.name: Settlement(ALL_VIEWS, "test") for row in rows})
    archive.jobs.schedule(DELIVER, study, "PACS")
    deliverer(archive, pacs).step()
    assert not pacs.received
    (delivery,) = archive.custody.deliveries(study, "PACS")
    assert delivery.state == "refused"
    assert delivery.reason == (
        "PACS takes no JPEG Extended (Process 2 and 4) for Secondary Capture Image Storage, and it cannot be decoded: "
        "decoders differ in what they make of it"
    )


def test_T11_what_cannot_be_decoded_is_held_once_and_not_tried_again_by_itself(
    archive: Archive, pacs: Pacs, tmp_path: Path
) -> None:
    ds = dcmread(str(get_testdata_file("MR_small_jpeg_ls_lossless.dcm")))
    ds.PixelData = encapsulate([b"no image at all!"])
    ds.save_as(tmp_path / "broken.dcm")
    store_file(archive, tmp_path / "broken.dcm")
    study = str(ds.StudyInstanceUID)
    rows = archive.unsettled(study)
    archive.record_conversion(study, [], {row.name: Settlement(ALL_VIEWS, "test") for row in rows})
    archive.jobs.schedule(DELIVER, study, "PACS")
    courier = deliverer(archive, pacs)
    for _ in range(5):
        courier.step()
    assert not pacs.received
    (delivery,) = archive.custody.deliveries(study, "PACS")
    assert (delivery.state, delivery.attempts) == ("refused", 1)
    assert delivery.reason.startswith("PACS takes no JPEG-LS Lossless Image Compression for MR Image Storage, and it")
    assert "\n" not in delivery.reason, "it stands in a line of queue and status"
    assert [one.state for one in archive.jobs.listing(study) if one.kind == DELIVER] == [HELD]


def test_warning_counts_as_delivered(archive: Archive, pacs: Pacs) -> None:
    fill(archive)
    pacs.answer = lambda event: 0xB000
    deliverer(archive, pacs).step()
    assert archive.jobs.listing() == []
    assert [one.state for one in archive.custody.deliveries(STUDY, "PACS")] == ["delivered"]


def test_association_dropped_in_mid_object_leaves_only_what_had_not_arrived(
    archive: Archive, pacs: Pacs, clock: HandClock
) -> None:
    fill(archive, 4)

    def drop_second(event: Any) -> int:
        if len(pacs.received) == 1:
            event.assoc.abort()
        return 0

    pacs.answer = drop_second
    worker = deliverer(archive, pacs, View.CLASSIC)
    worker.step()
    assert job(archive).reason == "association aborted after 1 instances"
    assert job(archive).not_before == clock.now() + 2
    eventually(lambda: len(pacs.received) == 2)  # it has kept what it did not acknowledge
    pacs.answer = lambda event: 0
    clock.time += 2.1
    worker.step()
    assert set(pacs.received) == {uid(1), uid(2), uid(3), uid(4)}
    assert not pacs.twice()
    assert archive.jobs.listing() == []


def test_object_that_makes_the_peer_break_off_does_not_stand_in_the_way_of_others(
    archive: Archive, pacs: Pacs, clock: HandClock
) -> None:
    fill(archive, 4, converted=False)
    fill(archive, 1, converted=False, study="1.2.9")

    def drop_first(event: Any) -> int:
        if event.request.AffectedSOPInstanceUID == uid(1):
            event.assoc.abort()
            return 0xA700
        return 0

    pacs.answer = drop_first
    worker = deliverer(archive, pacs)
    for _ in range(3):
        while worker.step():
            pass
        clock.time += 10
    assert set(pacs.received) == {uid(2), uid(3), uid(4), "1.2.9.1"}
    assert job(archive).reason == "association aborted after 0 instances"


def test_priors_and_what_came_from_the_destination_are_not_sent(archive: Archive, pacs: Pacs) -> None:
    store(archive, ct(uid(8), number=8), peer="ARCHIVE", prior=True, convert=False)
    store(archive, ct(uid(9), number=9), peer="PACS")
    fill(archive, 1, converted=False)
    deliverer(archive, pacs).step()
    assert set(pacs.received) == {uid(1)}
    assert archive.jobs.listing() == []


def test_what_is_not_settled_waits(archive: Archive, pacs: Pacs) -> None:
    fill(archive, 1, converted=False)
    store(archive, ct(uid(2), number=2))
    deliverer(archive, pacs, View.CLASSIC).step()
    assert set(pacs.received) == {uid(1)}


def test_stop_parks_the_object_in_flight(archive: Archive, pacs: Pacs) -> None:
    fill(archive, 1)
    stopping, go = threading.Event(), threading.Event()

    def slow(event: Any) -> int:
        stopping.set()
        go.wait(60)
        return 0xA700

    pacs.answer = slow
    worker = deliverer(archive, pacs, stop=stopping.is_set, grace=0)
    ticks = iter(range(1000))
    archive.clock.monotonic = lambda: float(next(ticks))  # type: ignore[method-assign]
    worker.step()
    go.set()
    assert (job(archive).state, job(archive).reason) == (WAITING, INTERRUPTED)


def test_stop_between_objects_lets_the_one_in_flight_arrive(archive: Archive, pacs: Pacs) -> None:
    fill(archive, 3, converted=False)
    stopping = threading.Event()
    pacs.answer = lambda event: stopping.set() or 0
    deliverer(archive, pacs, stop=stopping.is_set).step()
    assert set(pacs.received) == {uid(1)}
    assert job(archive).state == WAITING
    assert [one.state for one in archive.custody.deliveries(STUDY, "PACS")].count("delivered") == 1


def test_broken_study_does_not_keep_others_from_being_delivered(archive: Archive, pacs: Pacs) -> None:
    fill(archive, 1)
    fill(archive, 1, converted=False, study="1.2.9")
    archive.files.recipe_path("2-25-1").write_bytes(b"broken")
    worker = deliverer(archive, pacs)
    while worker.step():
        pass
    assert set(pacs.received) == {"1.2.9.1"}
    assert "cannot be read" in job(archive).reason


def test_dead_destination_keeps_no_other_waiting(archive: Archive, pacs: Pacs) -> None:
    """Real threads, real time: one destination refuses, one is silent, the third is served at once."""
    import socket

    silent = socket.create_server(("127.0.0.1", 0))
    fill(archive)
    stop = threading.Event()
    ports = {"PACS": pacs.port, "DEAD": free_port(), "SILENT": silent.getsockname()[1]}
    threads = []
    for title, port in ports.items():
        archive.jobs.schedule(DELIVER, STUDY, title)
        target = Target(Destination(title, "127.0.0.1", port, "GATEWAY"), View.ENHANCED)
        worker = Deliverer(archive, target, Sender(), stop=stop.is_set, grace=0)
        threads.append(threading.Thread(target=worker.run))
        threads[-1].start()
    eventually(lambda: pacs.received)
    eventually(lambda: {one.destination for one in archive.jobs.listing()} == {"DEAD", "SILENT"})
    stop.set()
    archive.clock.time += 1  # type: ignore[attr-defined]
    eventually(lambda: not any(thread.is_alive() for thread in threads) or _tick(archive))
    silent.close()


def _tick(archive: Archive) -> bool:
    archive.clock.time += 1  # type: ignore[attr-defined]
    return False


@pytest.mark.parametrize("point", ["deliver.before_decision", "deliver.after_decision", "deliver.after_store"])
def test_error_at_any_point_only_delays(archive: Archive, pacs: Pacs, clock: HandClock, point: str) -> None:
    fill(archive)
    observe.load_faults(f"{point}=EIO")
    worker = deliverer(archive, pacs)
    worker.step()
    assert "internal error" in job(archive).reason
    clock.time += 3
    worker.step()
    assert set(pacs.received) == {"2.25.1"}
    assert not pacs.twice()
    assert archive.jobs.listing() == []


def test_end_that_could_not_be_noted_is_made_good(
    archive: Archive, pacs: Pacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(archive)
    monkeypatch.setattr(module, "TROUBLE", 0.05)
    finish, troubles = archive.jobs.finish, iter([True, True, False])

    def full(job: Job) -> None:
        if next(troubles, False):
            raise ResourceError("index", "the disk is full")
        finish(job)

    monkeypatch.setattr(archive.jobs, "finish", full)
    monkeypatch.setattr(archive.jobs, "retry", lambda *_: full(job(archive)))
    stop = threading.Event()
    thread = threading.Thread(target=deliverer(archive, pacs, stop=stop.is_set).run)
    thread.start()
    eventually(lambda: archive.jobs.listing() == [])
    stop.set()
    thread.join()
    assert pacs.received.keys() == {"2.25.1"}
    assert not pacs.twice()
