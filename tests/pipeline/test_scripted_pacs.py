"""A PACS that does what a script says: what it holds, and what `gateway status` says it holds, compared by program."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from archive_tools import CT, GSPS, LEGACY_CT, HandClock, ct, store
from loopback import free_port
from scripted_peer import ABORT, Closed, ScriptedPeer, Talk

from gateway.archive.index import Archive
from gateway.archive.jobs import DELIVER, HELD
from gateway.archive.rows import Settlement
from gateway.archive.status import study_status
from gateway.archive.views import ALL_VIEWS, View
from gateway.cli.status import describe_study
from gateway.network.requestor import Timeouts
from gateway.network.sender import Sender
from gateway.objects.part10 import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from gateway.pipeline.deliver import Deliverer
from gateway.pipeline.retry import Backoff
from gateway.pipeline.visits import Target
from gateway.retrieval.engine import Destination
from gateway.standard.statuses import TABLE, Kind, describe, kind_of

STUDY = "1.2.3"
BAD = "1.2.3.4.2"

Answer = int | Callable[[Talk], None]


class ScriptedPacs:
    """Keeps in `holds` what it has taken, by SOP Instance UID; `answers` are for the second image, or for all."""

    def __init__(
        self,
        *,
        refuse: Callable[[str, str], bool] = lambda abstract, transfer: False,
        answer: Answer = 0,
        everything: bool = False,
        reject: tuple[int, int, int] | None = None,
    ) -> None:
        self.refuse, self.answer, self.everything, self.reject = refuse, answer, everything, reject
        self.holds: set[str] = set()
        self.sent: list[str] = []

    def script(self, talk: Talk) -> None:
        if self.reject:
            talk.reject(*self.reject)
            return
        talk.accept(self.refuse)
        while True:
            request, _ = talk.message()
            uid = request.AffectedSOPInstanceUID
            self.sent.append(uid)
            answer = self.answer if self.everything or uid == BAD else 0
            if callable(answer):
                answer(talk)
                answer = 0
            if kind_of(answer) in (Kind.SUCCESS, Kind.WARNING, Kind.THERE):
                self.holds.add(uid)
            talk.respond(request, answer)


def fill(archive: Archive, *, companion: bool = False, study: str = STUDY) -> None:
    """Three images, perhaps a presentation state beside them."""
    for number in (1, 2, 3):
        store(archive, ct(f"{study}.4.{number}", study=study, series=f"{study}.4", number=number))
    if companion:
        store(archive, ct(f"{study}.5.1", study=study, series=f"{study}.5", sop_class=GSPS))
    fresh = archive.unsettled(study)
    archive.record_conversion(study, [], {row.name: Settlement(ALL_VIEWS, "test") for row in fresh})
    archive.jobs.schedule(DELIVER, study, "PACS")


def worker(archive: Archive, port: int, response: float = 60) -> Deliverer:
    target = Target(Destination("PACS", "127.0.0.1", port, "GATEWAY"), View.CLASSIC)
    timeouts = Timeouts(connect=5, negotiate=20, progress=20, response=response, release=1)
    return Deliverer(archive, target, Sender(timeouts), backoff=Backoff(random=lambda: 0.5))


def rounds(archive: Archive, clock: HandClock, made: Deliverer, most: int) -> None:
    """Let it work, and move the clock to the next attempt, until nothing waits or it was often enough."""
    for _ in range(most):
        while made.step():
            pass
        due = archive.jobs.next_due(DELIVER, "PACS")
        if due is None:
            break
        clock.time = max(clock.time, due + 0.01)


def compared(archive: Archive, pacs: ScriptedPacs, clock: HandClock) -> tuple[dict[str, Any], str]:
    """The status, as data and in words, after a look whether both say what the PACS holds."""
    (study,) = study_status(archive, STUDY)
    (found,) = study["destinations"]
    wanted = {row.sop_instance for row in archive.study_instances(STUDY, View.CLASSIC)}
    assert found["total"] == len(wanted)
    assert found["delivered"] + found["refused"] + found["failed"] + found["outstanding"] == found["total"]
    assert found["delivered"] == len(pacs.holds & wanted)
    assert sum(one["instances"] for one in found["refusals"]) == found["refused"]
    delivered = {one.sop_instance for one in archive.custody.deliveries(STUDY, "PACS") if one.state == "delivered"}
    assert delivered == pacs.holds & wanted
    (line,) = (line.strip() for line in describe_study(study, clock.time) if line.startswith("  PACS: "))
    print(line)
    number = re.search(r"delivered (\d+) object|(\d+) of \d+ delivered", line)
    assert (int(number[1] or number[2]) if number else 0) == len(pacs.holds & wanted)
    refused = sum(int(count) for count in re.findall(r"(\d+) objects? not deliverable", line))
    assert refused == found["refused"]
    return found, line


@pytest.fixture
def archive(tmp_path: Path, clock: HandClock) -> Iterator[Archive]:
    made = Archive(tmp_path / "data", clock, quiet=0)
    yield made
    made.close()


def broken(talk: Talk) -> None:
    """Break off in mid-object: the PACS aborts instead of answering."""
    talk.socket.sendall(ABORT)
    raise Closed


class Case(NamedTuple):
    """A script, and what the status has to say after some attempts."""

    pacs: dict[str, Any]
    state: str
    delivered: int
    says: str


def status_case(code: int) -> Case:
    kind = kind_of(code)
    name = describe(code)
    if kind in (Kind.WARNING, Kind.THERE):
        return Case(
            {"answer": code}, "done", 3, f"delivered 3 objects as classic: as configured, 1 of them with {name}"
        )
    if kind == Kind.BUSY:
        return Case({"answer": code}, "waiting", 2, f"not delivered (1 of 1 instances not taken: {name}), next attempt")
    times = {Kind.DENIED: ", 3 times", Kind.FAULT: ", 10 times", Kind.OTHER: ", 10 times"}.get(kind, "")
    return Case({"answer": code}, HELD, 2, f"1 object not deliverable: {name}{times}; after mending it")


CODES = (
    *(0xA700, 0xA7FF, 0x0213, 0xA900, 0xA9AB, 0xC000, 0xC123, 0x0122, 0x0124, 0x0110, 0x0111, 0x0117, 0x0212, 0xA801),
    *(0xFE00, 0xFF00),  # of other services
    *(0xB000, 0xB006, 0xB007, 0xB123, 0x0001, 0x0107, 0x0116),
)


@pytest.mark.parametrize("code", CODES, ids=[f"{code:04X}" for code in CODES])
def test_T13_each_status_is_shown_by_name_and_decides_what_follows(
    archive: Archive, clock: HandClock, code: int
) -> None:
    case = status_case(code)
    fill(archive)
    pacs = ScriptedPacs(**case.pacs)
    with ScriptedPeer(pacs.script) as peer:
        made = worker(archive, peer.port)
        rounds(archive, clock, made, 14)
        found, line = compared(archive, pacs, clock)
        assert (found["state"], found["delivered"]) == (case.state, case.delivered)
        assert case.says in line
        tried = pacs.sent.count(BAD)
        rounds(archive, clock, made, 3)
        assert pacs.sent.count(BAD) == tried + 3 * (case.state == "waiting"), "what is held is not sent again"
        assert pacs.sent.count("1.2.3.4.1") == 1
        pacs.answer = 0
        archive.jobs.retry_now()
        rounds(archive, clock, made, 2)
        found, _ = compared(archive, pacs, clock)
        assert (found["state"], found["delivered"]) == ("done", 3)
    if kind_of(code) == Kind.WARNING:
        assert [(one["status"], one["instances"]) for one in found["warnings"]] == [(f"{code:04X}", 1)]


def test_T13_answers_of_changing_kinds_are_not_tried_for_ever(archive: Archive, clock: HandClock) -> None:
    fill(archive)
    pacs = ScriptedPacs()
    with ScriptedPeer(pacs.script) as peer:
        made = worker(archive, peer.port)
        for code in (0x0110, 0xA700, 0xC000, 0x0110, 0xA700, 0xA700, 0xC001, 0xC001):
            pacs.answer = code
            rounds(archive, clock, made, 1)
        found, line = compared(archive, pacs, clock)
    assert pacs.sent.count(BAD) == 7, "an answer that the PACS has no room is none about the object"
    assert "1 object not deliverable: Error: Cannot understand (C001), after 4 such answers; after mending it" in line
    assert (found["state"], found["delivered"]) == (HELD, 2)


REJECTIONS = {
    "calling AE": ((1, 1, 3), "association rejected: calling AE title not recognised (GATEWAY)", 600),
    "called AE": ((1, 1, 7), "association rejected: called AE title not recognised (PACS)", 600),
    "no reason": ((1, 1, 1), "association rejected: no reason given", 2),
    "busy": ((2, 3, 1), "association rejected: temporary congestion", 2),
    "limit": ((1, 3, 2), "association rejected: local limit exceeded", 2),
}


@pytest.mark.parametrize("name", REJECTIONS)
def test_T13_a_rejected_association_waits_as_long_as_its_kind_says(
    archive: Archive, clock: HandClock, name: str
) -> None:
    numbers, reason, delay = REJECTIONS[name]
    fill(archive)
    pacs = ScriptedPacs(reject=numbers)
    with ScriptedPeer(pacs.script) as peer:
        made = worker(archive, peer.port)
        assert made.step()
        found, line = compared(archive, pacs, clock)
        assert f"not delivered ({reason}), next attempt in" in line
        assert found["next_attempt"] - clock.now() == pytest.approx(delay, abs=0.1)
        pacs.reject = None
        rounds(archive, clock, made, 2)
        compared(archive, pacs, clock)
    assert len(pacs.holds) == 3


@pytest.mark.parametrize(("only", "other"), [(IMPLICIT_LITTLE, EXPLICIT_LITTLE), (EXPLICIT_LITTLE, IMPLICIT_LITTLE)])
def test_T13_a_pacs_of_one_native_syntax_gets_everything(
    archive: Archive, clock: HandClock, only: str, other: str
) -> None:
    fill(archive, companion=True)
    pacs = ScriptedPacs(refuse=lambda abstract, transfer: transfer == other)
    with ScriptedPeer(pacs.script) as peer:
        rounds(archive, clock, worker(archive, peer.port), 2)
        _, line = compared(archive, pacs, clock)
    assert line == "PACS: delivered 4 objects as classic: as configured"


def test_T12_a_pacs_without_presentation_states_holds_the_images_and_the_state_is_not_deliverable(
    archive: Archive, clock: HandClock
) -> None:
    fill(archive, companion=True)
    pacs = ScriptedPacs(refuse=lambda abstract, transfer: abstract == GSPS)
    with ScriptedPeer(pacs.script) as peer:
        rounds(archive, clock, worker(archive, peer.port), 3)
        _, line = compared(archive, pacs, clock)
    assert "delivered 3 objects as classic: as configured; 1 object not deliverable: peer does not accept" in line


def test_T12_a_pacs_that_takes_no_image_at_all_holds_nothing_and_says_so(archive: Archive, clock: HandClock) -> None:
    fill(archive)
    pacs = ScriptedPacs(refuse=lambda abstract, transfer: abstract in (CT, LEGACY_CT))
    with ScriptedPeer(pacs.script) as peer:
        rounds(archive, clock, worker(archive, peer.port), 3)
        _, line = compared(archive, pacs, clock)
    assert "delivered 0 objects; 3 objects not deliverable: peer does not accept CT Image Storage" in line


def test_T13_an_object_at_which_the_peer_breaks_off_is_held_when_others_are_taken(
    archive: Archive, clock: HandClock
) -> None:
    fill(archive)
    pacs = ScriptedPacs(answer=broken)
    with ScriptedPeer(pacs.script) as peer:
        made = worker(archive, peer.port)
        rounds(archive, clock, made, 4)
        _, line = compared(archive, pacs, clock)
        assert "not delivered (association aborted after 0 instances), next attempt" in line
        assert pacs.sent.count(BAD) == 4
        for number in range(20, 32):  # other studies arrive: the peer is there, the object is to blame
            fill(archive, study=f"1.2.{number}")
            clock.time += 700
            rounds(archive, clock, made, 2)
        _, line = compared(archive, pacs, clock)
        assert "1 object not deliverable: association aborted, 10 times" in line


def test_T13_a_peer_that_answers_late_is_waited_for_longer_and_not_sent_the_same_for_ever(
    archive: Archive, clock: HandClock
) -> None:
    fill(archive)
    pacs = ScriptedPacs(answer=lambda talk: time.sleep(0.7))
    with ScriptedPeer(pacs.script) as peer:
        made = worker(archive, peer.port, response=0.5)
        rounds(archive, clock, made, 4)
        found, _ = compared(archive, pacs, clock)
    assert found["state"] == "done"
    assert pacs.sent.count(BAD) <= 3


def test_T13_what_is_never_answered_is_held_after_some_attempts(archive: Archive, clock: HandClock) -> None:
    def silent(talk: Talk) -> None:
        talk.pdu()
        raise Closed

    fill(archive)
    pacs = ScriptedPacs(answer=silent)
    with ScriptedPeer(pacs.script) as peer:
        made = worker(archive, peer.port, response=0.2)
        rounds(archive, clock, made, 8)
        _, line = compared(archive, pacs, clock)
        assert "1 object not deliverable: no response within 1.2 s, 4 times" in line
        assert pacs.sent.count(BAD) == 4


def test_T13_backoff_counts_time_and_not_studies(archive: Archive, clock: HandClock) -> None:
    made = worker(archive, free_port())
    for number in range(30):  # one study after the other arrives while nobody is there
        fill(archive, study=f"1.2.{number + 100}")
        while made.step():
            pass
        clock.time += 0.1
    waits = [job.not_before - clock.now() for job in archive.jobs.listing() if job.destination == "PACS"]
    assert max(waits) < 9, "thirty studies in three seconds are no thirty attempts"
    assert max(job.attempts for job in archive.jobs.listing() if job.destination == "PACS") <= 2


def test_T13_one_success_resets_the_backoff(archive: Archive, clock: HandClock) -> None:
    port = free_port()
    made = worker(archive, port)
    fill(archive)
    rounds(archive, clock, made, 8)
    assert made._outage is not None
    assert made._outage.until - made._outage.since > 200
    pacs = ScriptedPacs()
    with ScriptedPeer(pacs.script) as peer:
        made.target = Target(Destination("PACS", "127.0.0.1", peer.port, "GATEWAY"), View.CLASSIC)
        rounds(archive, clock, made, 2)
    assert len(pacs.holds) == 3
    assert made._outage is None


def test_T13_a_peer_short_of_room_is_not_sent_every_study_again_and_again(archive: Archive, clock: HandClock) -> None:
    pacs = ScriptedPacs(answer=0xA700, everything=True)
    for number in range(10):
        fill(archive, study=f"1.2.{number + 100}")
    fill(archive)
    with ScriptedPeer(pacs.script) as peer:
        made = worker(archive, peer.port)
        rounds(archive, clock, made, 6)
        compared(archive, pacs, clock)
        assert len(pacs.sent) < 20
        pacs.answer = 0
        rounds(archive, clock, made, 8)
        compared(archive, pacs, clock)
    assert len(pacs.holds) == 33


def test_T13_a_peer_that_was_short_of_room_and_then_away_is_served_when_it_is_back(
    archive: Archive, clock: HandClock
) -> None:
    fill(archive)
    pacs = ScriptedPacs(answer=0xA700)
    with ScriptedPeer(pacs.script) as peer:
        made = worker(archive, peer.port)
        assert made.step()
        made.target = Target(Destination("PACS", "127.0.0.1", free_port(), "GATEWAY"), View.CLASSIC)
        rounds(archive, clock, made, 3)
        assert made._outage is not None
        made.target = Target(Destination("PACS", "127.0.0.1", peer.port, "GATEWAY"), View.CLASSIC)
        pacs.answer = 0
        rounds(archive, clock, made, 3)
        found, _ = compared(archive, pacs, clock)
    assert found["state"] == "done"


def test_T13_every_code_has_one_row_with_a_section() -> None:
    for code in range(0x10000):
        assert sum(row.first <= code <= row.last for row in TABLE) >= 1
    assert all(row.section.startswith("PS3.") for row in TABLE)
    assert (describe(0xA701), describe(0xA9FF)) == (
        "Refused: Out of resources (A701)",
        "Error: Data Set does not match SOP Class (A9FF)",
    )
    assert describe(0xB006, "no room for it") == "Elements Discarded (B006): no room for it"
