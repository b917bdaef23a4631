"""Who gets a connection to a host, by a clock of the test."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest

from provisioner.adapters.http import TRIES
from provisioner.core.allowance import FIRST_CONNECTIONS, MOST_CONNECTIONS
from provisioner.workflow.connections import Connections

URL = "https://example.test/a.whl"
SAME = "https://someone:secret@example.test:443/b.whl"
OTHER = "https://other.test/a.whl"


@dataclass
class Clock:
    """Seconds that pass when a test says so."""

    now: float = 100.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands."""
    return Clock()


@pytest.fixture
def connections(clock: Clock) -> Connections:
    """No connections so far."""
    return Connections(clock)


def never() -> bool:
    return False


def at_once(connections: Connections, url: str = URL) -> bool:
    """Whether a file gets its first connection without waiting."""
    return connections.first(url, lambda: True)


def fill(connections: Connections, url: str = URL) -> int:
    """Take all further connections that there are."""
    count = 0
    while connections.further(url):
        count += 1
    return count


def test_a_file_gets_further_connections_up_to_the_limit(connections: Connections) -> None:
    assert connections.first(URL, never)
    assert fill(connections) == FIRST_CONNECTIONS - 1


def test_hosts_are_counted_apart_and_credentials_make_no_other_host(
    connections: Connections,
) -> None:
    assert connections.first(URL, never)
    assert fill(connections, SAME) == FIRST_CONNECTIONS - 1
    assert fill(connections, OTHER) == FIRST_CONNECTIONS


def test_a_file_has_a_right_to_its_first_connection_up_to_the_most(
    connections: Connections,
) -> None:
    fill(connections)
    firsts = [at_once(connections) for _ in range(MOST_CONNECTIONS)]
    assert sum(firsts) == MOST_CONNECTIONS - FIRST_CONNECTIONS


def test_whoever_waits_for_a_first_connection_comes_before_further_ones(
    connections: Connections,
) -> None:
    while at_once(connections):
        pass
    got = threading.Event()

    def wait() -> None:
        assert connections.first(URL, never)
        got.set()

    thread = threading.Thread(target=wait)
    thread.start()
    while not connections.is_too_many(URL):
        pass
    assert not got.is_set()
    connections.release(URL)
    thread.join(30)
    assert got.is_set()


def test_whoever_waits_leaves_when_everything_stops(connections: Connections) -> None:
    while at_once(connections):
        pass
    assert not connections.first(URL, lambda: True)
    connections.release(URL)
    assert at_once(connections)


def test_more_are_allowed_while_they_bring_more(connections: Connections, clock: Clock) -> None:
    connections.first(URL, never)
    limits = []
    for _ in range(4):
        fill(connections)
        limits.append(connections.limit(URL))
        clock.now += 0.5
        connections.received(URL, 20_000_000 * limits[-1])
    assert limits == sorted(limits)
    assert limits[0] == FIRST_CONNECTIONS
    assert connections.limit(URL) == MOST_CONNECTIONS


def test_fewer_than_allowed_do_not_say_that_more_would_bring_more(
    connections: Connections, clock: Clock
) -> None:
    connections.first(URL, never)
    for _ in range(4):
        clock.now += 0.5
        connections.received(URL, 20_000_000)
    assert connections.limit(URL) == FIRST_CONNECTIONS


def test_a_host_that_had_enough_gets_fewer_and_a_pause(
    connections: Connections, clock: Clock
) -> None:
    connections.first(URL, never)
    fill(connections)
    connections.refused(URL, 429, 5.0)
    assert connections.limit(URL) == FIRST_CONNECTIONS // 2
    assert connections.is_too_many(URL)
    for _ in range(FIRST_CONNECTIONS):
        connections.release(URL)
    assert not at_once(connections)
    assert not connections.may_ask(SAME)
    assert connections.may_ask(OTHER)
    clock.now += 5.0
    assert connections.may_ask(SAME)
    assert at_once(connections)
    assert fill(connections) == FIRST_CONNECTIONS // 2 - 1


def test_a_host_that_refuses_again_and_again_and_sends_nothing_is_given_up_for_all_files(
    connections: Connections, clock: Clock
) -> None:
    given_up = []
    for _ in range(TRIES):
        # Others are refused in the same moment.
        given_up += [connections.refused(URL, 503, 2.0), connections.refused(SAME, 503, 2.0)]
        clock.now += 2.0
    assert given_up == [False] * 2 * (TRIES - 1) + [True] * 2
    clock.now -= 1.0
    assert connections.is_given_up(SAME)
    assert not connections.first(SAME, never)
    assert not connections.is_given_up(OTHER)


def test_a_host_that_was_given_up_is_asked_again_after_the_pause_that_it_wished_for(
    connections: Connections, clock: Clock
) -> None:
    for _ in range(TRIES):
        connections.refused(URL, 429, 2.0)
        clock.now += 2.0
    assert connections.first(URL, never)
    assert not connections.refused(URL, 429, 2.0)


def test_a_host_that_sends_something_meanwhile_is_not_given_up(
    connections: Connections, clock: Clock
) -> None:
    for _ in range(3 * TRIES):
        assert not connections.refused(URL, 429, 2.0)
        clock.now += 2.0
        connections.received(URL, 1)
    with connections.served(URL):
        for _ in range(3 * TRIES):
            assert not connections.refused(URL, 429, 2.0)
            clock.now += 2.0


def test_a_host_that_is_waited_for_is_told_once_a_pause(clock: Clock) -> None:
    notes: list[str] = []
    connections = Connections(clock, notes.append)
    for _ in range(8):
        connections.refused(URL, 429, 2.0)
    assert notes == [
        "`https://example.test:443` answered with status 429, and is asked again in 2 s"
    ]
