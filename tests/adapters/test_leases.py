"""Locks that can be removed, and the leases of those who use the store."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters._files import is_held, locked, remove_unheld
from provisioner.adapters.leases import GRACE_SECONDS, Leases
from provisioner.errors import LockHeldError
from tests.simulators.libflock import BrokenFlock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioner.adapters._files import Flock

ROOT = Path(__file__).parents[2]
WORKER = """
import sys, time
from pathlib import Path
from provisioner.adapters.leases import Leases

with Leases(Path(sys.argv[1])).working():
    print("working", flush=True)
    time.sleep(600)
"""


@contextmanager
def worker(root: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that works with a store until it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(root)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        try:
            yield process
        finally:
            process.kill()


FLOCKS: dict[str, Flock] = {
    "locks": fcntl.flock,
    "no locks": BrokenFlock(errno.ENOLCK),
    "locks for everybody": BrokenFlock(0),
}


@pytest.fixture(params=FLOCKS)
def flock(request: pytest.FixtureRequest) -> Flock:
    """The locks of a file system, which work or do not."""
    return FLOCKS[request.param]


def test_a_lease_lives_as_long_as_its_process_works(tmp_path: Path) -> None:
    leases = Leases(tmp_path)
    assert leases.alive(time.time()) == ()
    with worker(tmp_path) as process:
        (lease,) = leases.alive(time.time())
        assert f"process {process.pid} on " in lease.holder
        leases.clear(time.time())
        assert leases.alive(time.time()) == (lease,)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert leases.alive(time.time()) == ()
    assert len(list((tmp_path / "leases").iterdir())) == 1
    leases.clear(time.time())
    assert list((tmp_path / "leases").iterdir()) == []


def test_a_lease_that_ends_leaves_nothing(tmp_path: Path, flock: Flock) -> None:
    leases = Leases(tmp_path, flock)
    with leases.working(), leases.working():
        assert len(leases.alive(time.time())) == 2
    assert list((tmp_path / "leases").iterdir()) == []


def test_a_lease_of_another_host_counts_for_a_day_though_its_lock_is_not_seen(
    tmp_path: Path,
) -> None:
    leases = Leases(tmp_path)
    path = tmp_path / "leases" / "abc.lock"
    path.parent.mkdir()
    path.write_text("process 7 on some-other-host (`gpuenv prepare`)", encoding="utf-8")
    os.utime(path, (1000, 1000))

    assert [lease.since for lease in leases.alive(1000.0 + GRACE_SECONDS - 1)] == [1000.0]
    leases.clear(1000.0 + GRACE_SECONDS - 1)
    assert path.exists()
    assert leases.alive(1000.0 + GRACE_SECONDS + 1) == ()
    leases.clear(1000.0 + GRACE_SECONDS + 1)
    assert not path.exists()


def test_the_leases_that_live_are_told_the_oldest_first(tmp_path: Path, flock: Flock) -> None:
    leases = Leases(tmp_path, flock)
    with leases.working(), leases.working():
        for number, path in enumerate((tmp_path / "leases").glob("*.lock")):
            os.utime(path, (100 - number, 100 - number))
        assert [lease.since for lease in leases.alive(time.time())] == [99.0, 100.0]


def test_several_take_at_once_and_whoever_removes_is_alone(tmp_path: Path, flock: Flock) -> None:
    leases = Leases(tmp_path, flock)
    order: list[str] = []

    def remove() -> None:
        with leases.removing():
            order.append("removed")

    thread = threading.Thread(target=remove)
    with leases.taking(), leases.taking():
        thread.start()
        thread.join(0.3)
        order.append("taken")
    thread.join(30)

    assert order == ["taken", "removed"]


def test_of_two_collections_the_second_is_told_who_is_first(tmp_path: Path, flock: Flock) -> None:
    leases = Leases(tmp_path, flock)
    with (
        leases.collecting(0),
        pytest.raises(LockHeldError) as caught,
        leases.collecting(0),
    ):
        pass

    assert caught.value.exit_code == 6
    assert f"process {os.getpid()}" in caught.value.causes[0]


def test_a_lock_that_is_held_is_not_removed(tmp_path: Path, flock: Flock) -> None:
    path = tmp_path / "lock"
    with locked(path, wait_seconds=0, flock=flock):
        assert is_held(path, flock)
        assert not remove_unheld(path, flock)
        assert path.exists()
    assert not is_held(path, flock)
    assert remove_unheld(path, flock)
    assert not path.exists()
    assert remove_unheld(path, flock)
    assert not is_held(path, flock)


def test_removing_locks_all_the_time_never_lets_two_hold_one(tmp_path: Path, flock: Flock) -> None:
    path = tmp_path / "lock"
    # Locks that are files are slower.
    rounds = 150 if flock is fcntl.flock else 30
    inside = threading.Semaphore(1)
    clashes: list[int] = []
    done = threading.Event()

    def work() -> None:
        for number in range(rounds):
            with locked(path, wait_seconds=60, flock=flock):
                if not inside.acquire(blocking=False):
                    clashes.append(number)
                    continue
                inside.release()

    def remove() -> None:
        while not done.is_set():
            remove_unheld(path, flock)

    remover = threading.Thread(target=remove)
    workers = [threading.Thread(target=work) for _ in range(3)]
    remover.start()
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    done.set()
    remover.join()

    assert clashes == []


def test_who_shares_a_lock_is_not_taken_for_whoever_had_it_alone_before(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, wait_seconds=0):
        assert f"process {os.getpid()}" in path.read_text(encoding="utf-8")

    with (
        locked(path, wait_seconds=0, shared=True),
        pytest.raises(LockHeldError) as caught,
        locked(path, wait_seconds=0),
    ):
        pass
    assert caught.value.causes == ("held by another process",)


@pytest.mark.parametrize("flock", FLOCKS.values(), ids=FLOCKS)
def test_nobody_begins_while_a_collection_that_has_not_seen_it_looks(
    tmp_path: Path, flock: Flock
) -> None:
    leases = Leases(tmp_path, flock)
    steps: list[str] = []
    begun = threading.Event()

    def work() -> None:
        begun.set()
        with leases.working():
            steps.append("works")

    worker = threading.Thread(target=work)
    with leases.removing():
        worker.start()
        assert begun.wait(10)
        worker.join(0.3)
        steps.append("looked")
    worker.join()

    assert steps == ["looked", "works"]
