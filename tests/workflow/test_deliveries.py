"""Deliveries: who waits for a file, who follows it, and what they get in every order of events."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.adapters.store import Store
from provisioner.core.digest import Digest
from provisioner.core.plan import LockedFile
from provisioner.errors import IntegrityError, NetworkError, PolicyError, SpaceError
from provisioner.workflow.deliveries import (
    FILES_AT_ONCE,
    HELD_BACK_BYTES,
    Deliveries,
    Delivery,
    all_in_one,
)
from provisioner.workflow.wanted import stopped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from provisioner.adapters._arrival import Arrival

CONTENT = bytes(range(256)) * 4096
SECONDS = 30.0


def file(number: int) -> LockedFile:
    """A file that nobody has."""
    digest = Digest.parse(hashlib.sha256(bytes([number])).hexdigest())
    return LockedFile(name=f"{number}.whl", url=f"http://x.test/{number}", digest=digest, size=None)


@pytest.fixture
def arrival(tmp_path: Path) -> Iterator[Arrival]:
    """A file that has begun to arrive."""
    store = Store(tmp_path / "store")
    store.open()
    with store.arriving("0" * 64) as made:
        made.begin(validator='"1"', size=len(CONTENT))
        yield made


def arrives(arrival: Arrival, stop: int) -> None:
    """Let it arrive so far, and be hashed."""
    start = sum(span.length for span in arrival.done)
    arrival.write(start, CONTENT[start:stop])
    while arrival.hash_more():
        pass


def test_a_file_is_followed_as_far_as_it_is_hashed_and_to_its_end_once_it_is_there(
    arrival: Arrival,
) -> None:
    delivery = Delivery(file(1), {}, planned=True)
    delivery.shows(arrival)
    with delivery.follow() as following:
        assert following is not None
        assert following.size == len(CONTENT)
        stops = following.stops()
        for stop in (1, 70_000, 200_000):
            arrives(arrival, stop)
            assert next(stops) == stop
        arrives(arrival, len(CONTENT))
        assert next(stops) == len(CONTENT) - HELD_BACK_BYTES
        arrival.close()
        delivery.ends()
        assert list(stops) == [len(CONTENT)]
        assert following.file.read() == CONTENT


def test_a_file_that_is_begun_anew_is_not_gone_on_with_though_it_ends_well(
    arrival: Arrival, tmp_path: Path
) -> None:
    delivery = Delivery(file(1), {}, planned=True)
    delivery.shows(arrival)
    other = Store(tmp_path / "store")
    with delivery.follow() as following, other.arriving("1" * 64) as again:
        assert following is not None
        stops = following.stops()
        arrives(arrival, 100)
        assert next(stops) == 100
        delivery.shows(None)
        again.begin(validator='"2"', size=len(CONTENT))
        delivery.shows(again)
        arrives(again, len(CONTENT))
        delivery.ends()
        with pytest.raises(NetworkError) as caught:
            next(stops)
    assert caught.value.code == "started-over"


def test_nobody_waits_long_for_a_file_of_which_nothing_comes(arrival: Arrival) -> None:
    delivery = Delivery(file(1), {}, planned=True)
    delivery.shows(arrival)
    with delivery.follow() as following:
        assert following is not None
        stops = following.stops()
        assert next(stops) == 0
        arrives(arrival, 100)
        assert [next(stops), next(stops)] == [100, 100]
        arrives(arrival, len(CONTENT))
        end = len(CONTENT) - HELD_BACK_BYTES
        assert [next(stops), next(stops)] == [end, end]
        delivery.shows(None)
        assert [next(stops), next(stops)] == [end, end]
        delivery.ends()
        with pytest.raises(NetworkError, match="had to be fetched anew"):
            next(stops)


def test_what_kept_a_file_from_coming_is_told_to_all_who_follow_or_wait(arrival: Arrival) -> None:
    delivery = Delivery(file(1), {}, planned=True)
    delivery.shows(arrival)
    with delivery.follow() as following:
        assert following is not None
        stops = following.stops()
        delivery.shows(None)
        delivery.ends(NetworkError("the line is cut"))
        delivery.ends()
        for waits in (lambda: next(stops), delivery.wait):
            with pytest.raises(NetworkError, match="the line is cut"):
                waits()
    with pytest.raises(NetworkError, match="the line is cut"), delivery.follow():
        pytest.fail("there is nothing to follow")


def test_a_file_that_was_closed_already_is_taken_from_the_store(arrival: Arrival) -> None:
    delivery = Delivery(file(1), {}, planned=True)
    delivery.shows(arrival)
    arrival.close()
    threading.Timer(0.2, delivery.ends).start()
    with delivery.follow() as following:
        assert following is None


class Slow:
    """Brings files when it is allowed to."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.allowed = threading.Event()
        self.deliveries = Deliveries(self.bring)

    def bring(self, delivery: Delivery) -> None:
        """Wait, and fail for the file `13.whl`."""
        self.begun.append(delivery.file.name)
        if delivery.file.name == "13.whl":
            message = "unlucky"
            raise NetworkError(message)
        assert self.allowed.wait(SECONDS)


def test_few_are_begun_at_once_and_what_is_asked_for_beside_them() -> None:
    slow = Slow()
    slow.deliveries.plan(file(number) for number in range(20, 40))
    assert slow.deliveries.under_way == FILES_AT_ONCE
    planned, other = slow.deliveries.begin(file(39), {}), slow.deliveries.begin(file(50), {})
    assert slow.deliveries.begin(file(39), {}) is planned
    assert slow.deliveries.under_way == FILES_AT_ONCE + 2
    slow.allowed.set()
    for delivery in (planned, other):
        delivery.wait()
    slow.deliveries.wait()
    slow.deliveries.join(SECONDS)
    assert sorted(slow.begun) == [f"{number}.whl" for number in (*range(20, 40), 50)]
    assert slow.deliveries.failure is None


def test_what_was_asked_for_before_it_was_planned_is_waited_for() -> None:
    slow = Slow()
    slow.deliveries.begin(file(20), {})
    slow.deliveries.plan([file(20)])
    assert slow.deliveries.under_way == 1
    threading.Timer(0.2, slow.allowed.set).start()
    slow.deliveries.wait()
    assert slow.allowed.is_set()
    slow.deliveries.join(SECONDS)


def test_after_a_failure_of_the_plan_nothing_more_is_begun() -> None:
    slow = Slow()
    slow.deliveries.plan(
        [*(file(number) for number in range(20, 20 + FILES_AT_ONCE - 1)), file(13)]
    )
    slow.deliveries.wait()
    assert isinstance(slow.deliveries.failure, NetworkError)
    with pytest.raises(NetworkError, match="unlucky"):
        slow.deliveries.begin(file(50), {})
    # Who joins in gets what is under way.
    joined = slow.deliveries.begin(file(20), {})
    slow.allowed.set()
    joined.wait()
    slow.deliveries.join(SECONDS)


def test_the_failure_of_what_no_plan_names_is_told_to_who_asked_alone() -> None:
    slow = Slow()
    delivery = slow.deliveries.begin(file(13), {})
    with pytest.raises(NetworkError, match="unlucky"):
        delivery.wait()
    slow.deliveries.join(SECONDS)
    assert slow.deliveries.failure is None
    assert slow.deliveries.begin(file(13), {}) is not delivery


def test_what_is_cancelled_is_told_to_who_waits_and_can_be_planned_again() -> None:
    slow = Slow()
    files = [file(number) for number in range(20, 40)]
    slow.deliveries.plan(files)
    slow.deliveries.cancel()
    slow.allowed.set()
    slow.deliveries.wait()
    slow.deliveries.join(SECONDS)
    assert len(slow.begun) == FILES_AT_ONCE
    slow.deliveries.plan(files[FILES_AT_ONCE:])
    slow.deliveries.wait()
    assert sorted(slow.begun) == [item.name for item in files]


@given(st.permutations(["404", "full", "hash", "stopped", "again"]))
def test_of_several_failures_the_gravest_is_told_with_all_others(order: list[str]) -> None:
    errors = {
        "404": NetworkError("could not fetch `a`", causes=("status 404",)),
        "full": SpaceError("no space left", hint="free some space"),
        "hash": IntegrityError("`b` has the wrong hash"),
        "stopped": stopped("c"),
        "again": SpaceError("no space left", hint="free some space"),
    }
    told = all_in_one([errors[name] for name in order])
    assert isinstance(told, SpaceError)
    assert (told.message, told.hint) == ("no space left", "free some space")
    assert set(told.causes) == {"could not fetch `a`: status 404", "`b` has the wrong hash"}


def test_one_failure_is_told_as_it_is() -> None:
    error = NetworkError("could not fetch `a`")
    assert all_in_one([stopped("b"), error]) is error
    assert all_in_one([]) is None
    assert isinstance(all_in_one([error, OSError("broken")]), OSError)


def test_several_files_that_are_forbidden_are_forbidden_and_their_words_are_not_repeated() -> None:
    message = "`x.test` may not be asked without encryption"
    errors = [
        PolicyError(
            message, causes=(f"`http://x.test/{name}` is plain http",), code="insecure-host"
        )
        for name in "ab"
    ]
    told = all_in_one([NetworkError("could not fetch `c`"), *errors])
    assert isinstance(told, PolicyError)
    assert (told.exit_code, told.code, told.message) == (8, "insecure-host", message)
    assert told.causes == (
        "`http://x.test/a` is plain http",
        "`http://x.test/b` is plain http",
        "could not fetch `c`",
    )
