"""What is needed stays, and of the rest what was used last stays longest."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.digest import Digest
from provisioner.core.reach import HeldBlob, Limits, reachable, to_remove

if TYPE_CHECKING:
    from collections.abc import Mapping

DIGESTS = [Digest.parse(f"{number:064x}") for number in range(12)]
NEVER = float("inf")

some = st.sampled_from(DIGESTS)
graphs = st.dictionaries(some, st.frozensets(some, max_size=4))
stores = st.lists(
    st.builds(
        HeldBlob,
        digest=some,
        size=st.integers(0, 1000),
        used=st.integers(0, 100).map(float),
        changed=st.integers(0, 100).map(float),
    ),
    unique_by=lambda blob: blob.digest,
)
limits = st.builds(
    Limits,
    max_size=st.none() | st.integers(0, 8000),
    max_age=st.none() | st.integers(0, 120).map(float),
)


@given(starts=st.frozensets(some), needs=graphs)
def test_what_is_reachable_needs_nothing_that_is_not(
    starts: frozenset[Digest], needs: Mapping[Digest, frozenset[Digest]]
) -> None:
    found = reachable(starts, needs)

    assert starts <= found
    assert all(needs.get(digest, frozenset()) <= found for digest in found)


@given(starts=st.frozensets(some), needs=graphs)
def test_without_any_start_less_is_reachable(
    starts: frozenset[Digest], needs: Mapping[Digest, frozenset[Digest]]
) -> None:
    found = reachable(starts, needs)

    assert reachable((), needs) == frozenset()
    assert all(reachable(starts - {digest}, needs) <= found for digest in starts)
    assert reachable(found, needs) == found


@given(
    held=stores,
    needed=st.frozensets(some),
    limits=limits,
    other=st.integers(0, 500),
    before=st.integers(0, 120).map(float),
)
def test_nothing_that_is_needed_or_in_use_goes(
    held: list[HeldBlob], needed: frozenset[Digest], limits: Limits, other: int, before: float
) -> None:
    gone = to_remove(held, needed, limits, other_bytes=other, now=100.0, before=before)

    assert not {blob.digest for blob in gone} & needed
    assert all(blob.used < before and blob.changed < before for blob in gone)
    assert len({blob.digest for blob in gone}) == len(gone)


@given(held=stores, needed=st.frozensets(some))
def test_without_limits_all_that_nobody_needs_goes(
    held: list[HeldBlob], needed: frozenset[Digest]
) -> None:
    gone = to_remove(held, needed, Limits(), other_bytes=0, now=100.0, before=NEVER)

    assert {blob.digest for blob in gone} == {blob.digest for blob in held} - needed


@given(held=stores, needed=st.frozensets(some), limits=limits, other=st.integers(0, 500))
def test_what_stays_keeps_to_the_limits_as_far_as_it_is_not_needed(
    held: list[HeldBlob], needed: frozenset[Digest], limits: Limits, other: int
) -> None:
    gone = to_remove(held, needed, limits, other_bytes=other, now=100.0, before=NEVER)
    stays = [blob for blob in held if blob not in gone]
    spare = [blob for blob in stays if blob.digest not in needed]

    if limits.max_age is not None:
        assert all(100.0 - blob.used <= limits.max_age for blob in spare)
    if limits.max_size is not None and spare:
        assert other + sum(blob.size for blob in stays) <= limits.max_size


@given(held=stores, limits=limits, other=st.integers(0, 500))
def test_what_was_used_last_stays_longest(held: list[HeldBlob], limits: Limits, other: int) -> None:
    gone = to_remove(held, (), limits, other_bytes=other, now=100.0, before=NEVER)
    stays = [blob for blob in held if blob not in gone]

    assert all(one.used <= other.used for one in gone for other in stays)


@given(held=stores, max_size=st.integers(0, 8000), other=st.integers(0, 500))
def test_no_more_goes_than_the_size_asks_for(
    held: list[HeldBlob], max_size: int, other: int
) -> None:
    gone = to_remove(
        held, (), Limits(max_size=max_size), other_bytes=other, now=100.0, before=NEVER
    )
    left = other + sum(blob.size for blob in held) - sum(blob.size for blob in gone)

    if gone:
        assert left + gone[-1].size > max_size


@given(held=stores, needed=st.frozensets(some), limits=limits, other=st.integers(0, 500))
def test_a_second_time_nothing_more_goes(
    held: list[HeldBlob], needed: frozenset[Digest], limits: Limits, other: int
) -> None:
    gone = to_remove(held, needed, limits, other_bytes=other, now=100.0, before=NEVER)
    stays = [blob for blob in held if blob not in gone]

    assert to_remove(stays, needed, limits, other_bytes=other, now=100.0, before=NEVER) == ()


def test_a_blob_that_nobody_needs_goes_by_its_age() -> None:
    old = HeldBlob(digest=DIGESTS[0], size=1, used=10.0)
    young = replace(old, digest=DIGESTS[1], used=90.0)

    gone = to_remove([young, old], (), Limits(max_age=50.0), other_bytes=0, now=100.0, before=NEVER)

    assert gone == (old,)
