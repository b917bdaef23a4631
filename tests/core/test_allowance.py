"""How the number of connections follows what they bring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.allowance import FIRST_CONNECTIONS, MOST_CONNECTIONS, Allowance

if TYPE_CHECKING:
    from collections.abc import Callable


def after(
    count: int, rate: Callable[[int], float], allowance: Allowance | None = None
) -> Allowance:
    """What it is after so many measurements, with the rate that a number of connections has."""
    found = allowance or Allowance()
    for _ in range(count):
        found = found.measured(rate(found.limit))
    return found


def test_it_grows_to_the_most_where_each_connection_has_a_rate_of_its_own() -> None:
    assert after(5, lambda connections: 40e6 * connections).limit == MOST_CONNECTIONS


def test_it_goes_back_to_what_was_enough_where_the_line_is_full() -> None:
    assert after(2, lambda _: 100e6).limit == FIRST_CONNECTIONS


@pytest.mark.parametrize("enough", [3, 9, 14])
def test_it_stays_near_what_fills_the_line(enough: int) -> None:
    def rate(connections: int) -> float:
        return 10e6 * min(connections, enough)

    limits = [after(count, rate).limit for count in range(6, 19)]
    assert len(set(limits)) == 1
    assert rate(limits[0]) >= 0.8 * rate(MOST_CONNECTIONS)


def test_it_tries_again_after_a_while() -> None:
    settled = after(2, lambda _: 100e6)
    assert after(20, lambda connections: 40e6 * connections, settled).limit > settled.limit


def test_a_refusal_halves_it_and_counts_for_first_connections_too() -> None:
    refused = Allowance(limit=8).refused()
    assert (refused.limit, refused.first_limit) == (4, 4)
    assert Allowance(limit=8).first_limit == MOST_CONNECTIONS


@given(st.lists(st.none() | st.floats(0, 1e12, allow_nan=False), max_size=100))
def test_there_is_always_one_and_never_more_than_the_most(rates: list[float | None]) -> None:
    allowance = Allowance()
    for rate in rates:
        allowance = allowance.refused() if rate is None else allowance.measured(rate)
        assert 1 <= allowance.limit <= allowance.first_limit <= MOST_CONNECTIONS


@given(st.integers(1, 10))
def test_as_often_as_it_is_refused_it_comes_back(refusals: int) -> None:
    allowance = Allowance()
    for _ in range(refusals):
        allowance = allowance.refused()
    assert after(200, lambda connections: 1e6 * connections, allowance).limit == MOST_CONNECTIONS
