"""What the box promises: when an instance is safe, when it is not, and how its requester is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from archive_tools import CT, ENHANCED_CT, LEGACY_CT, HandClock, ct, derive, store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modality import Modality
from pydicom.uid import generate_uid

from gateway.archive.commitments import Lists
from gateway.archive.index import Archive
from gateway.archive.jobs import CONVERT
from gateway.archive.promises import ANSWERED, COMMITTED, GIVEN_UP, HELD, OPEN, READY, Promise
from gateway.archive.rows import InstanceRow, Settlement
from gateway.archive.views import ALL_VIEWS, View
from gateway.network.commitment import Reporter
from gateway.pipeline.judgement import Place, Terms
from gateway.pipeline.promises import Examiner, PromisePolicy, Teller
from gateway.pipeline.retry import Backoff
from gateway.retrieval.engine import Destination
from gateway.standard.commitment import (
    CLASS_INSTANCE_CONFLICT,
    NO_SUCH_OBJECT,
    PROCESSING_FAILURE,
    REFERENCED_PIXELS,
    RESOURCE_LIMITATION,
)

STUDY = "1.2.3"
SOURCES = View.RECEIVED | View.CLASSIC
PACS = Place("PACS", View.ENHANCED, True)
ARCHIVE = Place("ARCHIVE", View.CLASSIC, False)
DERIVED = "2.25.1"
TITLES = {"GATEWAY": View.RECEIVED, "GATEWAY_ENH": View.ENHANCED}
HOUR = 3600.0


class Promises:
    """The box's promises, worked off by hand."""

    def __init__(self, archive: Archive, *places: Place, delivered: bool = True, **policy: Any) -> None:
        self.archive = archive
        terms = Terms(delivered, places, TITLES)
        policy.setdefault("backoff", Backoff(random=lambda: 0.5))
        self.policy = PromisePolicy(terms, **policy)
        self.examiner = Examiner(archive, self.policy, Reporter())
        self.teller = Teller(archive, self.policy, Reporter())

    def ask(self, *uids: str, sop_class: str = CT, called: str = "GATEWAY") -> Promise:
        """Take a request."""
        references = [(sop_class, uid) for uid in uids]
        asked = self.archive.promises.ask("CT1", called, generate_uid(), references)
        assert asked is not None
        return asked

    def found(self, promise: Promise) -> dict[str, int | None]:
        """What is found about each reference by now: 0, a Failure Reason, or None."""
        with self.archive.database.transaction() as connection:
            connection.execute("UPDATE promise SET due = 0 WHERE state = 'open'")
        self.examiner.step()
        undecided = {one.sop_instance: None for some in self.archive.promises.undecided(promise) for one in some}
        return undecided | {one.sop_instance: one.found for one in self.archive.promises.answer(promise)}

    def reason(self, promise: Promise) -> str:
        """Why a request waits, or why its first reference failed."""
        known = self.archive.promises.get(promise)
        assert known is not None
        return known.reason or next(self.archive.promises.answer(promise)).reason


def uid(number: int) -> str:
    return f"1.2.3.4.{number}"


def fill(archive: Archive, count: int = 2, *, converted: bool = True) -> None:
    """Receive a study, and have it settled."""
    for number in range(1, count + 1):
        store(archive, ct(uid(number), number=number))
    archive.jobs.retry_now(CONVERT, STUDY)
    job = archive.jobs.take(CONVERT)
    assert job is not None
    archive.jobs.finish(job)
    fresh = archive.unsettled(STUDY)
    made = [derive(archive, STUDY)] if converted else []
    views = SOURCES if converted else ALL_VIEWS
    archive.record_conversion(STUDY, made, {row.name: Settlement(views) for row in fresh})


def deliver(archive: Archive, place: Place, *uids: str) -> list[InstanceRow]:
    """Note that objects are at a destination."""
    rows = archive.instances(uids)
    for row in rows:
        archive.custody.delivered(row.study, place.name, row)
    return rows


def answer(archive: Archive, place: Place, rows: list[InstanceRow], failed: dict[str, int] | None = None) -> None:
    """Have a destination asked for commitment, and its answer."""
    transaction = archive.commitments.ask(STUDY, place.name, rows)
    failed = failed or {}
    good = {row.sop_instance: row.sop_class for row in rows if row.sop_instance not in failed}
    archive.commitments.answered(place.name, transaction.uid, Lists(good, failed))


# Stored


def test_J1_stored_is_enough_if_that_is_what_commitment_means(archive: Archive) -> None:
    store(archive, ct())
    promises = Promises(archive, PACS, delivered=False)
    asked = promises.ask(uid(1))
    assert promises.found(asked) == {uid(1): COMMITTED}
    (reference,) = archive.promises.answer(asked)
    assert reference.retrieve_ae == "GATEWAY", "the box holds it, under this name"


def test_J1_derived_object_counts_as_held_and_is_retrieved_from_the_entity_of_its_view(archive: Archive) -> None:
    fill(archive)
    promises = Promises(archive, delivered=False)
    asked = promises.ask(DERIVED, sop_class=LEGACY_CT, called="GATEWAY_ENH")
    assert promises.found(asked) == {DERIVED: COMMITTED}
    assert [one.retrieve_ae for one in archive.promises.answer(asked)] == ["GATEWAY_ENH"]
    # Through another entity it is the same object, at the place where it can be had.
    asked = promises.ask(DERIVED, sop_class=LEGACY_CT)
    assert promises.found(asked) == {DERIVED: COMMITTED}
    assert [one.retrieve_ae for one in archive.promises.answer(asked)] == ["GATEWAY_ENH"]


def test_J1_without_a_destination_stored_is_all_there_is(archive: Archive) -> None:
    fill(archive)
    store(archive, ct("1.2.7", series="1.2.3.7"), prior=True, peer="PACS")
    assert set(Promises(archive).found(Promises(archive).ask(uid(1), uid(2))).values()) == {COMMITTED}
    promises = Promises(archive, PACS)
    assert promises.found(promises.ask("1.2.7")) == {"1.2.7": COMMITTED}, "the PACS has sent it"


def test_J1_what_is_not_held_or_is_of_another_class_fails_with_its_reason(archive: Archive) -> None:
    fill(archive)
    for delivered in (True, False):
        promises = Promises(archive, delivered=delivered)
        assert promises.found(promises.ask("1.9.9")) == {"1.9.9": NO_SUCH_OBJECT}
        conflict = promises.ask(uid(1), sop_class=ENHANCED_CT)
        assert promises.found(conflict) == {uid(1): CLASS_INSTANCE_CONFLICT}
        assert CT in promises.reason(conflict)


def test_J1_file_that_is_gone_is_not_held(archive: Archive) -> None:
    fill(archive)
    row = archive.instance(uid(1))
    assert row is not None
    archive.files.locate(row.name).unlink()
    promises = Promises(archive, delivered=False)
    assert promises.found(promises.ask(uid(1), uid(2))) == {uid(1): NO_SUCH_OBJECT, uid(2): COMMITTED}
    derived = promises.ask(DERIVED, sop_class=LEGACY_CT)
    assert promises.found(derived) == {DERIVED: NO_SUCH_OBJECT}, "one of its frames is gone"


@pytest.mark.parametrize("syntax", sorted(REFERENCED_PIXELS))
@pytest.mark.parametrize("delivered", [True, False])
def test_J4_instances_whose_pixels_are_elsewhere_are_never_committed_to(
    archive: Archive, syntax: str, delivered: bool
) -> None:
    fill(archive, converted=False)
    with archive.database.transaction() as connection:
        connection.execute("UPDATE instance SET transfer_syntax = ? WHERE sop_instance = ?", (syntax, uid(1)))
    promises = Promises(archive, delivered=delivered)
    asked = promises.ask(uid(1), uid(2))
    assert promises.found(asked) == {uid(1): PROCESSING_FAILURE, uid(2): COMMITTED}
    assert "JPIP" in promises.reason(asked)


# Delivered


def test_J1_converted_image_is_safe_when_the_object_that_carries_it_is_committed_to(archive: Archive) -> None:
    fill(archive)
    archive.custody.decide(STUDY, "PACS", View.ENHANCED)
    promises = Promises(archive, PACS)
    asked = promises.ask(uid(1), uid(2), DERIVED)
    asked = promises.ask(uid(1), uid(2))
    enhanced = promises.ask(DERIVED, sop_class=LEGACY_CT)
    waiting = {uid(1): None, uid(2): None}
    assert promises.found(asked) == waiting
    assert "delivery to PACS" in promises.reason(asked)
    rows = deliver(archive, PACS, DERIVED)
    assert promises.found(asked) == waiting
    assert "delivered at PACS" in promises.reason(asked)
    answer(archive, PACS, rows)
    assert promises.found(asked) == {uid(1): COMMITTED, uid(2): COMMITTED}
    assert promises.found(enhanced) == {DERIVED: COMMITTED}
    # The PACS has no object of that name, and the box will not keep it for ever.
    assert {one.retrieve_ae for one in archive.promises.answer(asked)} == {""}


def test_J1_destination_that_does_not_commit_has_what_was_delivered(archive: Archive) -> None:
    fill(archive)
    promises = Promises(archive, ARCHIVE)
    asked = promises.ask(uid(1), uid(2))
    deliver(archive, ARCHIVE, uid(1))
    assert promises.found(asked) == {uid(1): COMMITTED, uid(2): None}
    deliver(archive, ARCHIVE, uid(2))
    assert promises.found(asked) == {uid(1): COMMITTED, uid(2): COMMITTED}


def test_J1_every_destination_has_to_have_it(archive: Archive) -> None:
    fill(archive)
    promises = Promises(archive, PACS, ARCHIVE)
    asked = promises.ask(uid(1))
    answer(archive, PACS, deliver(archive, PACS, DERIVED))
    assert promises.found(asked) == {uid(1): None}
    deliver(archive, ARCHIVE, uid(1))
    assert promises.found(asked) == {uid(1): COMMITTED}


def test_J1_derived_object_is_safe_where_its_sources_went_instead(archive: Archive) -> None:
    """The PACS refuses the enhanced class: it was decided to give it the classic images."""
    fill(archive)
    archive.custody.decide(STUDY, "PACS", View.CLASSIC)
    promises = Promises(archive, PACS)
    asked = promises.ask(DERIVED, sop_class=LEGACY_CT)
    answer(archive, PACS, deliver(archive, PACS, uid(1)))
    assert promises.found(asked) == {DERIVED: None}
    answer(archive, PACS, deliver(archive, PACS, uid(2)))
    assert promises.found(asked) == {DERIVED: COMMITTED}


def test_J1_unchanged_instance_is_its_own_carrier(archive: Archive) -> None:
    fill(archive, converted=False)
    promises = Promises(archive, PACS)
    asked = promises.ask(uid(1))
    rows = deliver(archive, PACS, uid(1))
    assert promises.found(asked) == {uid(1): None}
    answer(archive, PACS, rows)
    assert promises.found(asked) == {uid(1): COMMITTED}


def test_J1_twin_that_came_itself_carries_the_images_it_stands_for(archive: Archive) -> None:
    store(archive, ct(uid(1)))
    store(archive, ct("1.2.8", series="1.2.3.8", sop_class=LEGACY_CT))
    fresh = {row.sop_instance: row.name for row in archive.unsettled(STUDY)}
    settled = {fresh[uid(1)]: Settlement(SOURCES), fresh["1.2.8"]: Settlement(View.RECEIVED | View.ENHANCED)}
    archive.record_conversion(STUDY, [], settled, {}, {"1.2.8": [uid(1)]})
    promises = Promises(archive, PACS)
    asked = promises.ask(uid(1))
    assert promises.found(asked) == {uid(1): None}
    answer(archive, PACS, deliver(archive, PACS, "1.2.8"))
    assert promises.found(asked) == {uid(1): COMMITTED}


def test_J1_what_is_not_settled_waits(archive: Archive) -> None:
    store(archive, ct())
    promises = Promises(archive, PACS)
    asked = promises.ask(uid(1))
    assert promises.found(asked) == {uid(1): None}
    assert "conversion" in promises.reason(asked)


def test_J1_delivery_of_an_older_version_does_not_count(archive: Archive) -> None:
    fill(archive, count=1, converted=False)
    promises = Promises(archive, ARCHIVE)
    deliver(archive, ARCHIVE, uid(1))
    store(archive, ct(StudyDescription="corrected"))
    (row,) = archive.unsettled(STUDY)
    archive.record_conversion(STUDY, [], {row.name: Settlement(ALL_VIEWS)})
    asked = promises.ask(uid(1))
    assert promises.found(asked) == {uid(1): None}
    deliver(archive, ARCHIVE, uid(1))
    assert promises.found(asked) == {uid(1): COMMITTED}


def test_J1_refusal_of_a_destination_is_handed_on_with_its_reason(archive: Archive) -> None:
    fill(archive)
    promises = Promises(archive, PACS)
    asked = promises.ask(uid(1))
    answer(archive, PACS, deliver(archive, PACS, DERIVED), {DERIVED: RESOURCE_LIMITATION})
    assert promises.found(asked) == {uid(1): RESOURCE_LIMITATION}
    assert "PACS does not commit to it" in promises.reason(asked)


def test_J1_what_a_destination_has_lost_is_delivered_again_and_waited_for(archive: Archive) -> None:
    fill(archive)
    promises = Promises(archive, PACS)
    asked = promises.ask(uid(1))
    answer(archive, PACS, deliver(archive, PACS, DERIVED), {DERIVED: NO_SUCH_OBJECT})
    assert promises.found(asked) == {uid(1): None}
    answer(archive, PACS, deliver(archive, PACS, DERIVED))
    assert promises.found(asked) == {uid(1): COMMITTED}


def test_J1_what_is_not_safe_in_time_is_reported_as_failed(clock: HandClock, archive: Archive) -> None:
    fill(archive)
    promises = Promises(archive, ARCHIVE, patience=24 * HOUR)
    asked = promises.ask(uid(1), uid(2))
    deliver(archive, ARCHIVE, uid(1))
    archive.custody.failed(STUDY, "ARCHIVE", archive.instances([uid(2)])[0], 0xA700, "disk full")
    clock.time += 23 * HOUR
    assert promises.found(asked) == {uid(1): COMMITTED, uid(2): None}
    clock.time += HOUR
    assert promises.found(asked) == {uid(1): COMMITTED, uid(2): PROCESSING_FAILURE}
    assert promises.reason(asked) == "not safe after 24 hours: pending at ARCHIVE: disk full"


def test_T12_what_is_not_deliverable_fails_at_once_and_keeps_the_commitment_of_nothing_else(archive: Archive) -> None:
    fill(archive)
    promises = Promises(archive, ARCHIVE)
    asked = promises.ask(uid(1), uid(2))
    deliver(archive, ARCHIVE, uid(1))
    why = "peer does not accept Grayscale Softcopy Presentation State Storage"
    archive.custody.failed(STUDY, "ARCHIVE", archive.instances([uid(2)])[0], None, why, refused=True, tries=0)
    assert promises.found(asked) == {uid(1): COMMITTED, uid(2): PROCESSING_FAILURE}
    assert promises.reason(asked) == f"not deliverable to ARCHIVE: {why}"


def test_J1_request_is_looked_at_again_at_the_latest_when_patience_ends(clock: HandClock, archive: Archive) -> None:
    fill(archive)
    promises = Promises(archive, ARCHIVE, patience=10)
    asked = promises.ask(uid(1))
    looks = 0
    while archive.promises.counts() == {OPEN: 1}:
        assert promises.examiner.step()
        assert not promises.examiner.step(), "it is not looked at all the time"
        looks += 1
        known = archive.promises.get(asked)
        assert known is not None
        assert known.due <= asked.asked_at + 10
        clock.time = max(clock.time, known.due)
    assert looks < 40
    assert clock.time == asked.asked_at + 10


WORDS = st.sampled_from(["held", "missing", "conflict", "delivered", "twice"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=st.lists(WORDS, min_size=1, max_size=12), late=st.booleans())
def test_J3_every_reference_comes_into_exactly_one_list(
    clock: HandClock, archive: Archive, kinds: list[str], late: bool
) -> None:
    base = generate_uid()[:50]
    references, expected = [], {}
    for number, kind in enumerate(kinds):
        name = f"{base}.{number}"
        references.append((ENHANCED_CT if kind == "conflict" else CT, name))
        if kind != "missing":
            store(archive, ct(name, study=base, series=f"{base}.0", number=number))
        expected[name] = {"missing": NO_SUCH_OBJECT, "conflict": CLASS_INSTANCE_CONFLICT, "delivered": COMMITTED}.get(
            kind, PROCESSING_FAILURE
        )
    fresh = archive.unsettled(base)
    archive.record_conversion(base, [], {row.name: Settlement(ALL_VIEWS) for row in fresh})
    deliver(archive, ARCHIVE, *(name for name, found in expected.items() if found == COMMITTED))
    promises = Promises(archive, ARCHIVE)
    asked = archive.promises.ask("CT1", "GATEWAY", generate_uid(), references)
    assert asked is not None
    if late:
        promises.found(asked)
    clock.time += 25 * HOUR
    assert promises.found(asked) == expected
    answer = list(archive.promises.answer(asked))
    assert sorted((one.sop_class, one.sop_instance) for one in answer) == sorted(references)
    known = archive.promises.get(asked)
    assert known is not None
    assert (known.state, known.committed + known.failed) == (READY, len(references))


# Telling


@pytest.fixture
def modality() -> Iterator[Modality]:
    with Modality(0) as peer:
        yield peer


def told(archive: Archive, modality: Modality, **policy: Any) -> Promises:
    addresses = {"CT1": Destination("CT1", "127.0.0.1", modality.port, "GATEWAY")}
    return Promises(archive, delivered=False, addresses=addresses, **policy)


def test_J1_J3_answer_on_a_new_association_is_the_called_entitys_as_provider(
    archive: Archive, modality: Modality
) -> None:
    store(archive, ct())
    promises = told(archive, modality)
    asked = promises.ask(uid(1), "1.9.9", called="GATEWAY_ENH")
    assert promises.examiner.step()
    assert promises.teller.step()
    (answer,) = modality.answers
    assert (answer.kind, answer.transaction, answer.calling) == (2, asked.transaction, "GATEWAY_ENH")
    assert answer.roles == {"1.2.840.10008.1.20.1": (False, True)}
    assert answer.committed == [(CT, uid(1))]
    assert answer.failed == {(CT, "1.9.9"): NO_SUCH_OBJECT}
    assert answer.information.RetrieveAETitle == "GATEWAY", "where it can be had"
    assert archive.promises.counts() == {ANSWERED: 1}
    assert not promises.teller.step()


def test_J1_retrieve_ae_title_stands_outside_or_inside_of_the_list_never_in_both(
    archive: Archive, modality: Modality
) -> None:
    fill(archive)
    promises = told(archive, modality)
    references = [(CT, uid(1)), (LEGACY_CT, DERIVED)]
    archive.promises.ask("CT1", "GATEWAY", generate_uid(), references)
    assert promises.examiner.step()
    assert promises.teller.step()
    (answer,) = modality.answers
    assert "RetrieveAETitle" not in answer.information
    titles = [item.RetrieveAETitle for item in answer.information.ReferencedSOPSequence]
    assert titles == ["GATEWAY", "GATEWAY_ENH"]


def test_J1_answer_is_repeated_with_growing_delays_until_it_is_taken(
    clock: HandClock, archive: Archive, modality: Modality
) -> None:
    store(archive, ct())
    promises = told(archive, modality)
    modality.statuses = [0x0110, 0x0110]
    asked = promises.ask(uid(1))
    promises.examiner.step()
    delays = []
    while promises.teller.step():
        known = archive.promises.get(asked)
        assert known is not None
        if known.state == ANSWERED:
            break
        assert "not taken: processing failure (0110)" in known.reason
        delays.append(known.due - clock.time)
        clock.time = known.due
    assert delays == [2.0, 4.0]
    first, *others = modality.answers
    assert len(others) == 2
    assert all(one.information == first.information for one in others)


def test_J1_requester_that_is_away_gets_its_answers_when_it_is_back(
    clock: HandClock, archive: Archive, modality: Modality
) -> None:
    store(archive, ct())
    away = Modality(0)
    promises = told(archive, away)
    for _ in range(3):
        promises.ask(uid(1))
    promises.examiner.step()
    assert promises.teller.step()
    assert not promises.teller.step(), "one attempt for all of them"
    assert [one.attempts for one in archive.promises.listing()].count(1) == 1
    assert {one.reason for one in archive.promises.listing()} == {"connection refused"}
    clock.time += 2.1
    back = told(archive, modality)
    while back.teller.step():
        pass
    assert len(modality.answers) == 3


def test_requester_without_an_address_is_held_until_it_has_one(
    archive: Archive, modality: Modality, caplog: pytest.LogCaptureFixture
) -> None:
    store(archive, ct())
    promises = Promises(archive, delivered=False)
    promises.ask(uid(1))
    promises.examiner.step()
    assert not promises.teller.step()
    assert archive.promises.counts() == {HELD: 1}
    assert "CT1 has no host and port in its [[peer]] entry" in caplog.text
    archive.promises.release_held()
    assert told(archive, modality).teller.step()
    assert len(modality.answers) == 1


def test_answer_that_nobody_takes_is_given_up_after_days_and_visible(
    clock: HandClock, archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    store(archive, ct())
    promises = Promises(archive, delivered=False, patience=HOUR, persistence=48 * HOUR)
    promises.ask(uid(1))
    promises.examiner.step()
    promises.teller.step()
    clock.time += 48 * HOUR
    promises.teller.step()
    assert archive.promises.counts() == {HELD: 1}
    clock.time += 2 * HOUR
    promises.teller.step()
    assert archive.promises.counts() == {GIVEN_UP: 1}
    assert "promise.given_up" in caplog.text
    clock.time += 400 * 24 * HOUR
    promises.teller.step()
    assert archive.promises.counts() == {}
