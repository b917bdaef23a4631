"""What is made beside each other is made sooner, and everything is made."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.beside import likely_bytes, startable
from provisioner.core.digest import Digest

GB = 1_000_000_000
MB = 1_000_000
A, B, C, SMALL = (Digest(f"{number:064x}") for number in range(4))
NEEDS = st.lists(st.dictionaries(st.sampled_from([A, B, C, SMALL]), st.integers(0, GB)), max_size=6)


def test_environments_of_other_wheels_are_made_at_once() -> None:
    needs = [{A: GB, SMALL: MB}, {B: GB, SMALL: MB}]
    assert startable(needs, [0, 1], [], []) == (0, 1)


def test_what_others_are_unpacking_is_waited_for() -> None:
    needs = [{A: GB, SMALL: MB}, {A: GB, B: MB}, {SMALL: MB}]
    assert startable(needs, [0, 1, 2], [], []) == (0,)
    assert startable(needs, [1, 2], [0], []) == ()


def test_what_was_unpacked_for_another_one_costs_nothing() -> None:
    needs = [{A: GB}, {A: GB, B: MB}, {A: GB, C: MB}]
    assert startable(needs, [1, 2], [], [0]) == (1, 2)


def test_what_is_all_unpacked_begins_at_once() -> None:
    needs = [{A: GB}, {B: GB}, {A: GB}]
    assert startable(needs, [2], [1], [0]) == (2,)


@given(NEEDS)
def test_all_are_made_and_none_twice(needs: list[dict[Digest, int]]) -> None:
    waiting, made = list(range(len(needs))), list[int]()
    while waiting:
        begun = startable(needs, waiting, [], made)
        assert begun[:1] == (waiting[0],)
        waiting = [number for number in waiting if number not in begun]
        made += begun
    assert sorted(made) == list(range(len(needs)))


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("nvidia_cublas-13.1-py3-none-manylinux_2_27_x86_64.whl", None, 64 * MB),
        ("nvidia_cublas-13.1-py3-none-manylinux_2_27_x86_64.whl", 7, 7),
        ("idna-3.10-py3-none-any.whl", None, MB),
        ("stub-1.0.tar.gz", None, MB),
    ],
)
def test_a_size_that_nobody_tells_is_taken_from_the_kind_of_file(
    name: str, size: int | None, expected: int
) -> None:
    assert likely_bytes(name, size) == expected
