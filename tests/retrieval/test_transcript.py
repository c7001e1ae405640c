"""Counts, status and failed list of a retrieval (PS3.4 C.4.2.1.4.2, C.4.2.1.5 to 9, C.4.2.3.1)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.retrieval.transcript import Fate, Outcome, Transcript

GOOD, WARN, BAD = Outcome(0x0000), Outcome(0xB007), Outcome(0xA700)


def rows(count: int) -> list[Any]:
    return [SimpleNamespace(sop_instance=f"1.2.{number}") for number in range(count)]


def transcript(*outcomes: Outcome | None) -> Transcript:
    result = Transcript(rows(len(outcomes)))
    for index, outcome in enumerate(outcomes):
        if outcome is not None:
            result.record(index, outcome)
    return result


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ((), 0x0000),
        ((GOOD, GOOD), 0x0000),
        ((GOOD, BAD), 0xB000),
        ((GOOD, WARN), 0xB000),
        ((WARN, WARN), 0xB000),
        ((WARN, BAD), 0xB000),
        ((BAD, BAD), 0xA702),
        ((BAD,), 0xA702),
        ((Outcome(0xC123), Outcome(0x0122, "", Fate.REFUSED)), 0xA702),
    ],
)
def test_M1_M10_final_status(outcomes: tuple[Outcome, ...], status: int) -> None:
    assert transcript(*outcomes).final_status() == status


def test_M1_a_cancelled_retrieval_ends_with_FE00_and_keeps_what_remains() -> None:
    result = transcript(GOOD, BAD, None, None)
    result.cancelled = True
    assert result.final_status() == 0xFE00
    assert (result.remaining, result.completed, result.failed) == (2, 1, 1)


def test_M1_a_cancel_after_the_last_instance_changes_nothing() -> None:
    result = transcript(GOOD, GOOD)
    result.cancelled = True
    assert result.final_status() == 0x0000


def test_M2_failed_list_has_the_failed_instances_and_no_other() -> None:
    result = transcript(GOOD, BAD, WARN, Outcome(0x0122, "", Fate.REFUSED), None)
    assert result.failed_instances() == ["1.2.1", "1.2.3"]
    assert transcript(GOOD, WARN).failed_instances() == []


def test_a_broken_connection_tells_apart_acknowledged_in_flight_and_unsent() -> None:
    result = transcript(GOOD, BAD, None, None, None)
    result.broke_off("association aborted", in_flight=2)
    assert [outcome and outcome.fate for outcome in result.outcomes] == [
        Fate.DELIVERED,
        Fate.FAILED,
        Fate.INTERRUPTED,
        Fate.UNSENT,
        Fate.UNSENT,
    ]
    assert [row.sop_instance for row in result.having(Fate.UNSENT)] == ["1.2.3", "1.2.4"]
    assert (result.remaining, result.completed, result.failed) == (0, 1, 4)
    assert result.reason() == "association aborted"


def test_reason_is_what_the_peer_said_first() -> None:
    assert transcript(GOOD, Outcome(0xA700, "disk full"), BAD).reason() == "Refused: Out of resources (A700): disk full"
    assert transcript(BAD).reason() == "Refused: Out of resources (A700)"
    assert transcript(GOOD, WARN).reason() == ""


STATUSES = st.one_of(st.sampled_from([0, 1, 0x107, 0x116, 0x111, 0x122]), st.integers(0xA700, 0xCFFF))


@given(st.lists(STATUSES, max_size=30), st.booleans(), st.data())
def test_M1_counts_always_add_up(statuses: list[int], breaks: bool, data: st.DataObject) -> None:
    result = Transcript(rows(len(statuses)))

    def adds_up() -> bool:
        return result.remaining + result.completed + result.failed + result.warning == len(statuses)

    until = data.draw(st.integers(0, len(statuses)))
    for index, status in enumerate(statuses[:until]):
        assert adds_up()
        result.record(index, Outcome(status))
    if breaks:
        result.broke_off("lost", in_flight=until)
        assert result.remaining == 0
    assert adds_up()
    assert len(result.failed_instances()) == result.failed
