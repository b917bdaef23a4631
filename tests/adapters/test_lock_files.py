"""Locks on file systems that have none, between real processes, and what is told of them."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters._arrival import this_process
from provisioner.adapters._files import is_held, lock_fault, locked
from provisioner.adapters._mounts import Mount, mount_of, read_mounts
from provisioner.errors import LockHeldError
from tests.simulators.libflock import BrokenFlock
from tests.simulators.libnvml import NoCompilerError

if TYPE_CHECKING:
    from provisioner.core.journal import Owner

ROOT = Path(__file__).parents[2]
LONG_AGO_SECONDS = 3600.0

HOLDER = """
import sys, time
from pathlib import Path
from provisioner.adapters._files import locked

with locked(Path(sys.argv[1]), wait_seconds=0):
    print("held", flush=True)
    time.sleep(600)
"""

COUNTER = """
import sys
from pathlib import Path
from provisioner.adapters._files import locked

count = Path(sys.argv[2])
for _ in range(20):
    with locked(Path(sys.argv[1]), wait_seconds=300):
        count.write_text(str(int(count.read_text()) + 1))
"""


def start(program: str, flock: BrokenFlock, folder: Path, *words: Path) -> subprocess.Popen[str]:
    """A process for which locks in a folder do not work."""
    try:
        preloaded = flock.preloaded(folder / "library", folder)
    except (NoCompilerError, NotImplementedError) as error:
        pytest.skip(str(error))
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, words)],
        cwd=ROOT,
        env={"PATH": os.defpath, **preloaded},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, 0])
def flock(request: pytest.FixtureRequest) -> BrokenFlock:
    """Locks that fail in one of the ways in which they do, or keep nobody out."""
    return BrokenFlock(request.param)


def other(path: Path, owner: Owner, *, idle_seconds: float, kind: str = "x") -> Path:
    """What another process put where the lock of a file is kept."""
    file = path.with_name(f".{path.name}.held") / f"{kind}.0000000000000000"
    file.parent.mkdir()
    path.touch()
    content = {"owner": asdict(owner), "holder": "somebody else"}
    file.write_text(json.dumps(content), encoding="utf-8")
    then = time.time() - idle_seconds
    os.utime(file, (then, then))
    return file


def test_a_lock_keeps_another_process_out_until_it_is_killed(
    tmp_path: Path, flock: BrokenFlock
) -> None:
    path = tmp_path / "lock"
    with start(HOLDER, flock, tmp_path, path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(LockHeldError) as caught, locked(path, wait_seconds=0, flock=flock):
            pass
        assert f"process {process.pid} on " in caught.value.causes[0]
        assert is_held(path, flock)
        process.kill()
        process.wait()
    assert not is_held(path, flock)
    waited: list[str] = []
    with locked(path, wait_seconds=0, waiting=waited.append, flock=flock):
        pass
    assert waited == []


def test_processes_that_want_a_lock_all_the_time_get_it_one_after_another(tmp_path: Path) -> None:
    count = tmp_path / "count"
    count.write_text("0", encoding="utf-8")
    broken = BrokenFlock()
    running = [start(COUNTER, broken, tmp_path, tmp_path / "lock", count) for _ in range(4)]
    for process in running:
        with process:
            assert process.wait(120) == 0
    assert count.read_text(encoding="utf-8") == "80"
    # Nothing is left over, apart from who had it last.
    assert {path.name for path in tmp_path.iterdir()} == {"count", "library", "lock"}


def test_a_lock_of_another_machine_counts_as_long_as_it_shows_signs_of_life(
    tmp_path: Path, flock: BrokenFlock
) -> None:
    path = tmp_path / "lock"
    away = replace(this_process(), host="elsewhere", boot="another")
    file = other(path, away, idle_seconds=10)
    with pytest.raises(LockHeldError, match="is locked"), locked(path, wait_seconds=0, flock=flock):
        pass
    assert file.exists()
    then = time.time() - LONG_AGO_SECONDS
    os.utime(file, (then, then))
    with locked(path, wait_seconds=0, flock=flock):
        assert not file.exists()


def test_a_lock_from_before_the_machine_was_started_again_counts_for_nothing(
    tmp_path: Path, flock: BrokenFlock
) -> None:
    path = tmp_path / "lock"
    file = other(path, replace(this_process(), boot="before"), idle_seconds=0)
    with locked(path, wait_seconds=0, flock=flock):
        assert not file.exists()


@pytest.mark.parametrize("content", ["", "{}", '{"owner": {"pid": 1}}', "\0"])
def test_a_lock_that_cannot_be_read_counts_for_a_while(
    tmp_path: Path, flock: BrokenFlock, content: str
) -> None:
    path = tmp_path / "lock"
    file = other(path, this_process(), idle_seconds=0)
    file.write_text(content, encoding="utf-8")
    assert is_held(path, flock)
    then = time.time() - LONG_AGO_SECONDS
    os.utime(file, (then, then))
    assert not is_held(path, flock)


def test_those_who_share_a_lock_do_not_wait_for_each_other(
    tmp_path: Path, flock: BrokenFlock
) -> None:
    path = tmp_path / "lock"
    with (
        locked(path, wait_seconds=0, shared=True, flock=flock),
        locked(path, wait_seconds=0, shared=True, flock=flock),
    ):
        with pytest.raises(LockHeldError), locked(path, wait_seconds=0, flock=flock):
            pass
        assert is_held(path, flock)
    with (
        locked(path, wait_seconds=0, flock=flock),
        pytest.raises(LockHeldError),
        locked(path, wait_seconds=0, shared=True, flock=flock),
    ):
        pass


def lose(path: Path, flock: BrokenFlock, *, failing: bool = False) -> None:
    """Hold a lock that another machine removes, since this one shows no sign of life."""
    with locked(path, wait_seconds=0, flock=flock):
        (mine,) = path.with_name(f".{path.name}.held").iterdir()
        mine.unlink()
        if failing:
            message = "says more"
            raise ValueError(message)


def test_a_lock_that_was_lost_meanwhile_is_told_on_leaving(
    tmp_path: Path, flock: BrokenFlock
) -> None:
    with pytest.raises(LockHeldError) as caught:
        lose(tmp_path / "lock", flock)
    assert caught.value.code == "lock-lost"
    with pytest.raises(ValueError, match="more"):
        lose(tmp_path / "lock", flock, failing=True)


def test_whoever_waits_and_is_taken_for_dead_begins_again(
    tmp_path: Path, flock: BrokenFlock
) -> None:
    path = tmp_path / "lock"
    away = replace(this_process(), host="elsewhere", boot="another")
    # Its name is the last one, so that whoever waits stays.
    theirs = other(path, away, idle_seconds=0)
    theirs = theirs.rename(theirs.with_name(f"x.{'f' * 16}"))
    looks: list[int] = []

    def meanwhile() -> None:
        looks.append(1)
        if len(looks) == 1:
            for file in set(theirs.parent.iterdir()) - {theirs}:
                file.unlink()
        else:
            theirs.unlink(missing_ok=True)

    with locked(path, wait_seconds=60, meanwhile=meanwhile, flock=flock):
        assert len(looks) > 1


def test_whoever_waits_is_told_once_who_holds_a_lock_and_may_look_on(
    tmp_path: Path, flock: BrokenFlock
) -> None:
    path = tmp_path / "lock"
    told: list[str] = []
    looked = threading.Event()
    got = threading.Event()

    def wait() -> None:
        with locked(path, wait_seconds=60, waiting=told.append, meanwhile=looked.set, flock=flock):
            got.set()

    thread = threading.Thread(target=wait)
    with locked(path, wait_seconds=0, flock=flock):
        thread.start()
        assert looked.wait(30)
        assert not got.is_set()
    thread.join(30)
    assert got.is_set()
    assert len(told) == 1
    assert f"process {os.getpid()} on " in told[0]


def test_what_is_wrong_with_locks_is_told_with_the_kind_of_the_file_system(
    tmp_path: Path, flock: BrokenFlock
) -> None:
    mount = mount_of(tmp_path)
    assert mount is not None
    why = "as told" if flock.fault else "two processes get the same lock"
    told = f"locks do not work on `{mount.point}` (`{mount.kind}`: {why})"
    assert lock_fault(tmp_path, flock) == told
    assert list(tmp_path.iterdir()) == []


def test_locks_that_work_have_no_fault(tmp_path: Path) -> None:
    assert lock_fault(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_an_error_that_is_not_about_locks_is_not_taken_for_one(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="as told"):
        lock_fault(tmp_path, BrokenFlock(errno.EIO))


def test_mounts_are_read_with_their_options_and_odd_names() -> None:
    text = (
        "36 35 0:42 / /mnt/a\\040b rw,relatime shared:1 master:2 - nfs4 host:/x rw,local_lock=all\n"
        "37 35 8:1 /sub / rw - ext4 /dev/sda1 rw\n"
        "nonsense\n"
    )
    assert read_mounts(text) == (
        Mount(
            device="0:42",
            point="/mnt/a b",
            kind="nfs4",
            options=frozenset({"rw", "local_lock=all"}),
        ),
        Mount(device="8:1", point="/", kind="ext4", options=frozenset({"rw"})),
    )


def test_the_mount_of_a_path_is_the_innermost_and_the_last_one(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    lines = [("/", "one"), (str(tmp_path), "two"), (str(tmp_path), "three"), ("/else", "four")]
    text = "".join(f"1 1 0:999 / {point} rw - {kind} x rw\n" for point, kind in lines)
    mounts.write_text(text, encoding="utf-8")
    found = mount_of(tmp_path, mounts)
    assert found is not None
    assert found.kind == "three"
    assert mount_of(tmp_path, tmp_path / "missing") is None
