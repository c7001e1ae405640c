"""The delay before the next attempt."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.pipeline.retry import Backoff


def test_delay_doubles_from_two_seconds_up_to_its_limit():
    backoff = Backoff(random=lambda: 0.5)
    assert [backoff.delay(attempt) for attempt in (1, 2, 3, 4)] == [2, 4, 8, 16]
    assert backoff.delay(50) == 600


@given(st.integers(1, 100_000), st.floats(0, 1))
def test_delay_is_within_a_fifth_of_its_nominal_length_however_often_it_failed(attempt, chance):
    nominal = Backoff(random=lambda: 0.5).delay(attempt)
    assert 0.8 * nominal - 1e-9 <= Backoff(random=lambda: chance).delay(attempt) <= 1.2 * nominal + 1e-9


def test_two_boxes_do_not_wait_equally_long():
    assert Backoff().delay(5) != Backoff().delay(5)
