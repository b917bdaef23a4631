"""Ranges of a file, against sets of bytes."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.ranges import (
    LARGEST_PART,
    Span,
    Spans,
    Work,
    added,
    clipped,
    frontier,
    gaps,
    part_length,
    total,
    union,
)

if TYPE_CHECKING:
    from random import Random

SIZES = st.integers(0, 60)
SPANS = st.lists(st.tuples(SIZES, SIZES).map(lambda pair: Span(min(pair), max(pair))), max_size=12)


def members(spans: Spans | list[Span]) -> set[int]:
    """Every byte."""
    return {byte for span in spans for byte in range(span.start, span.stop)}


def is_normal(spans: Spans) -> bool:
    """In order, none empty, all apart."""
    edges = [edge for span in spans for edge in span]
    return all(one < other for one, other in pairwise(edges))


@given(SPANS)
def test_a_union_has_the_same_bytes_and_is_normal(spans: list[Span]) -> None:
    assert members(union(spans)) == members(spans)
    assert is_normal(union(spans))


@given(SPANS)
def test_adding_one_after_the_other_is_the_union_whatever_the_order(spans: list[Span]) -> None:
    found: Spans = ()
    for span in spans:
        found = added(found, span)
    assert found == union(spans)


@given(SPANS, SIZES)
def test_gaps_are_precisely_what_is_not_there(spans: list[Span], size: int) -> None:
    there = union(spans)
    assert members(gaps(there, size)) == set(range(size)) - members(there)
    assert is_normal(gaps(there, size))


@given(SPANS, SIZES)
def test_clipped_spans_end_with_the_file(spans: list[Span], size: int) -> None:
    assert members(clipped(union(spans), size)) == members(spans) & set(range(size))


@given(SPANS)
def test_the_frontier_is_the_first_byte_that_is_missing(spans: list[Span]) -> None:
    there = members(spans)
    assert frontier(union(spans)) == next(byte for byte in range(100) if byte not in there)
    assert total(union(spans)) == len(there)


@given(SPANS, SPANS, SIZES, st.integers(1, 20))
def test_the_next_part_is_the_first_that_nobody_has(
    done: list[Span], taken: list[Span], size: int, length: int
) -> None:
    work = Work(size=size, done=union(done), taken=tuple(taken))
    free = set(range(size)) - members(done) - members(taken)
    part = work.next_part(length)
    assert work.left == len(free)
    if part is None:
        assert not free
    else:
        assert part.start == min(free)
        assert 0 < part.length <= length
        assert members([part]) <= free


@given(st.integers(1, 200), st.randoms(use_true_random=True))
def test_whatever_connections_do_every_byte_is_fetched_once(size: int, chance: Random) -> None:
    """Parts are taken, break off anywhere, and are given back, in any order."""
    work = Work(size=size)
    fetched: list[int] = []
    while work.done != (Span(0, size),):
        part = work.next_part(chance.randint(1, 50))
        if part is not None and (not work.taken or chance.random() < 0.5):
            work = work.take(part)
            continue
        ends = chance.choice(work.taken)
        came = Span(ends.start, chance.randint(ends.start, ends.stop))
        fetched += range(came.start, came.stop)
        work = Work(size=size, done=added(work.done, came), taken=work.taken).give_back(ends)
    assert sorted(fetched) == list(range(size))


@given(
    st.integers(1, 10 << 30),
    st.integers(1, 16),
    st.none() | st.floats(0, 1e10, allow_nan=False),
)
def test_a_part_is_never_large_enough_to_keep_others_waiting(
    left: int, connections: int, rate: float | None
) -> None:
    length = part_length(left, connections, rate)
    assert 1 << 20 <= length <= LARGEST_PART
    assert length <= max(1 << 20, left // connections)


@pytest.mark.parametrize(
    ("rate", "length"), [(None, 4 << 20), (1e6, 2_000_000), (1e3, 1 << 20), (1e9, LARGEST_PART)]
)
def test_a_part_is_as_large_as_its_connection_is_quick(rate: float | None, length: int) -> None:
    assert part_length(10 << 30, 8, rate) == length
