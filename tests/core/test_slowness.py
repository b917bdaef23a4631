"""Connections are given up where others are far quicker, and not otherwise."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.slowness import SLOW_SECONDS, is_far_slower, next_patience

RATES = st.floats(10_000.0, 1e9)


@given(st.lists(RATES, min_size=1))
def test_of_connections_that_are_much_alike_none_is_given_up(rates: list[float]) -> None:
    alike = [max(rates) / 4 + rate * 3 / 4 for rate in rates]
    assert not any(is_far_slower(rate, alike) for rate in alike)


@given(RATES, st.integers(1, 16))
def test_one_that_is_ten_times_slower_than_all_others_is_given_up(rate: float, count: int) -> None:
    assert is_far_slower(rate / 10, [rate] * count)


@given(RATES)
def test_without_others_only_next_to_nothing_is_too_slow(rate: float) -> None:
    assert not is_far_slower(rate, [])
    assert is_far_slower(100.0, [])


def test_on_a_line_that_stays_slow_connections_are_given_up_ever_more_rarely() -> None:
    seconds = [SLOW_SECONDS]
    for _ in range(10):
        seconds.append(next_patience(seconds[-1]))
    assert seconds == sorted(seconds)
    assert seconds[-1] == 60.0
