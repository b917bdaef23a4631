"""Numbers of bytes for people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.sizes import size_text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (1250, "1.2 kB"),
        (300_000, "300.0 kB"),
        (2_500_000, "2.5 MB"),
        (3_000_000_000, "3.0 GB"),
        (4_200_000_000_000, "4.2 TB"),
        (4_200_000_000_000_000, "4200.0 TB"),
    ],
)
def test_a_size_is_told_in_the_unit_that_keeps_it_short(count: int, text: str) -> None:
    assert size_text(count) == text


@given(st.integers(0, 10**15 - 10**11))
def test_no_size_below_the_last_unit_has_four_digits(count: int) -> None:
    number, _ = size_text(count).split()
    assert float(number) < 1000


@pytest.mark.parametrize("count", [999_950, 999_999, 999_999_999, 999_999_999_999])
def test_a_size_that_is_rounded_up_to_the_next_unit_is_told_in_it(count: int) -> None:
    assert size_text(count).startswith("1.0 ")
