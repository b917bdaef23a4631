"""Several processes, processes that are killed, and variables that would bend them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest

from provisioner.core.ranges import SMALL_BYTES
from tests.cli.machine import Machine, distributions, line_of
from tests.cli.projects import BUILD_WHEELS, LOCKED, TARGET, WHEELS, Project, downloads
from tests.simulators.index import IndexSimulator
from tests.simulators.libflock import BrokenFlock
from tests.simulators.libnvml import NoCompilerError
from tests.simulators.wheels import make_sdist, make_wheel

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

DEADLINE_SECONDS = 60.0
SLOWLY = 100_000


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert process.poll() is None, "it ended too early"
        assert time.monotonic() < deadline, "it never came so far"
        time.sleep(0.01)


def test_two_prepares_at_once_fetch_each_file_once(
    machine: Machine, new_project: Callable[[Project], Path], index: IndexSimulator
) -> None:
    folders = [new_project(Project(name=name)) for name in ("one", "two")]
    index.reset_log()
    # Slow enough that both want the same files at the same time.
    index.throttle(1_000_000)
    words = ["prepare", "--target", TARGET]
    running = [machine.start(folder, *words) for folder in folders]
    ended = [(process.communicate(timeout=120)[1], process.returncode) for process in running]
    assert [code for _, code in ended] == [0, 0], ended
    assert [line_of(folder / ".venv") for folder in folders] == ["cu13", "cu13"]
    assert downloads(index) == dict.fromkeys((*LOCKED, *BUILD_WHEELS), 1)


def test_two_prepares_at_once_fetch_each_file_once_where_locks_do_not_work(
    machine: Machine,
    new_project: Callable[[Project], Path],
    index: IndexSimulator,
    tmp_path: Path,
) -> None:
    folders = [new_project(Project(name=name)) for name in ("one", "two")]
    try:
        broken = BrokenFlock().preloaded(tmp_path / "library", machine.store)
    except (NoCompilerError, NotImplementedError) as error:
        pytest.skip(str(error))
    index.reset_log()
    index.throttle(1_000_000)
    words = ["prepare", "--target", TARGET]
    running = [machine.start(folder, *words, given=broken) for folder in folders]
    ended = [(process.communicate(timeout=120)[1], process.returncode) for process in running]
    assert [code for _, code in ended] == [0, 0], ended
    assert downloads(index) == dict.fromkeys((*LOCKED, *BUILD_WHEELS), 1)
    for err, _ in ended:
        (note,) = [line for line in err.splitlines() if "locks do not work" in line]
        assert "no locks available" in note
    assert [path.name for path in machine.store.rglob("*.held")] == []


def test_two_prepares_of_one_project_at_once_make_one_environment(
    machine: Machine, app: Path
) -> None:
    words = ["prepare", "--only", "--target", TARGET]
    running = [machine.start(app, *words) for _ in range(2)]
    ended = [(process.communicate(timeout=120)[1], process.returncode) for process in running]
    assert [code for _, code in ended] == [0, 0], ended
    assert len(machine.environments()) == 1
    assert line_of(app / ".venv") == "cu13"
    assert machine.gpuenv(app, "status", "--json").data["generation"] == 1


def digest(index: IndexSimulator, name: str) -> str:
    with urllib.request.urlopen(index.file_url(name)) as answer:
        return hashlib.sha256(answer.read()).hexdigest()


def test_uv_unpacks_a_large_file_while_it_arrives(machine: Machine, tmp_path: Path) -> None:
    with IndexSimulator() as own:
        own.publish(make_wheel(tmp_path, "common", "1.0"))
        own.publish(make_wheel(tmp_path, "lean-cu13", "1.0", size=2 * SMALL_BYTES))
        folder = Project(lines=("cu13",), packages=("lean",)).write(tmp_path / "app", own.index_url)
        assert machine.uv(folder, "lock").code == 0
        own.reset_log()
        own.throttle(5 * SLOWLY)
        half = "padding.bin"

        def unpacked() -> int:
            found = (machine.root / "uv-cache").rglob(half)
            return sum(path.stat().st_size for path in found)

        with machine.start(folder, "prepare", "--only", "--target", TARGET, "--json") as process:
            wait_for(lambda: unpacked() > 0, process)
            assert len(machine.blobs()) < 2
            own.heal()
            out, err = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 0, err
        assert json.loads(out)["data"]["fetched"]["files"] == 2
        size = sum(
            (machine.store / "blobs" / "sha256" / n[:2] / n).stat().st_size for n in machine.blobs()
        )
        assert own.file_bytes_served() == size
        # What was handed on is as good as what was there before: uv asks for nothing more.
        own.reset_log()
        synced = machine.uv(folder, "sync", "--extra", "cu13", network=False)
        assert synced.code == 0, synced.err
        assert own.requests == []


def kill_while_it_fetches(
    machine: Machine, app: Path, index: IndexSimulator, number: signal.Signals
) -> tuple[int, str]:
    """Stop a `prepare` when one file is whole and another one is half there."""
    slow = WHEELS["cu13"]
    index.throttle(SLOWLY)
    with machine.start(app, "prepare", "--target", TARGET) as process:
        wait_for(lambda: machine.flushed() and len(machine.blobs()) > 0, process)
        assert index.file_bytes_served(slow) > 0
        process.send_signal(number)
        _, err = process.communicate(timeout=DEADLINE_SECONDS)
    index.heal()
    return process.returncode, err


@pytest.mark.parametrize(
    ("number", "expected"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)]
)
def test_prepare_after_its_end_while_fetching_goes_on_where_it_stopped(
    machine: Machine, app: Path, index: IndexSimulator, number: signal.Signals, expected: int
) -> None:
    code, err = kill_while_it_fetches(machine, app, index, number)
    assert code == expected
    assert "Traceback" not in err
    assert not os.path.lexists(app / ".venv")
    kept = machine.blobs()
    held = {name for name in LOCKED if digest(index, name) in kept}
    assert held
    index.reset_log()
    done = machine.gpuenv(app, "prepare", "--only", "--target", TARGET, "--json")
    assert done.data["active"] == "cu13"
    assert line_of(app / ".venv") == "cu13"
    assert machine.blobs() > kept
    asked = {r.filename: r.headers.get("range") for r in index.requests if r.filename in LOCKED}
    assert not held & asked.keys()
    goes_on = asked[WHEELS["cu13"]]
    assert goes_on is not None
    assert not goes_on.startswith("bytes=0-")


def test_prepare_that_was_started_with_nohup_survives_a_hangup(
    machine: Machine, app: Path, index: IndexSimulator
) -> None:
    index.throttle(SLOWLY)
    words = ["prepare", "--only", "--fetch-only", "--target", TARGET]
    with machine.start(app, *words, before=["nohup"]) as process:
        wait_for(machine.flushed, process)
        process.send_signal(signal.SIGHUP)
        index.heal()
        _, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0, err


@pytest.mark.parametrize("left", ["whole", "damaged", "too much"])
def test_whatever_a_kill_left_of_a_file_the_whole_file_is_right(
    machine: Machine, app: Path, index: IndexSimulator, left: str
) -> None:
    kill_while_it_fetches(machine, app, index, signal.SIGKILL)
    with urllib.request.urlopen(index.file_url(WHEELS["cu13"])) as answer:
        content: bytes = answer.read()
    digest = hashlib.sha256(content).hexdigest()
    bytes_left = {"whole": content, "damaged": b"\0" * 1000, "too much": content + b"\0"}
    # A crash between the last byte and the rename, a bad disk, another file of that name.
    (part,) = [path for path in machine.partial() if digest in path.parent.name]
    part.write_bytes(bytes_left[left])
    done = machine.gpuenv(app, "prepare", "--only", "--target", TARGET)
    assert done.code == 0, done.err
    blob = machine.store / "blobs" / "sha256" / digest[:2] / digest
    assert blob.read_bytes() == content
    assert line_of(app / ".venv") == "cu13"


def test_prepare_after_a_kill_while_an_environment_is_made_leaves_no_half_one(
    machine: Machine, app: Path
) -> None:
    with machine.start(app, "prepare", "--only", "--target", TARGET) as process:
        wait_for(lambda: len(machine.environments()) > 0, process)
        process.kill()
    half = machine.environments()
    assert half
    assert not os.path.lexists(app / ".venv")
    done = machine.gpuenv(app, "prepare", "--only", "--target", TARGET)
    assert done.code == 0, done.err
    assert line_of(app / ".venv") == "cu13"
    assert distributions(app / ".venv") == {"common 1.0", "lean-cu13 1.0", "stub-cu13 1.0"}
    assert machine.gpuenv(app, "status").code == 0


@pytest.fixture
def theirs(warm: Machine, tmp_path: Path) -> Path:
    """An environment that somebody else made and has active."""
    folder = tmp_path / "theirs"
    done = warm.uv(tmp_path, "venv", "--no-project", folder)
    assert done.code == 0, done.err
    return folder


def hostile(tmp_path: Path, theirs: Path) -> dict[str, str]:
    return {
        "CONDA_PREFIX": str(theirs),
        "NO_PROXY": "*",
        "no_proxy": "*",
        "PIP_PREFIX": str(tmp_path / "prefix"),
        "PIP_TARGET": str(tmp_path / "target"),
        "PYTHONHOME": str(tmp_path / "nowhere"),
        "PYTHONPATH": str(tmp_path / "path"),
        "UV_FROZEN": "1",
        "UV_NO_CACHE": "1",
        "UV_OFFLINE": "1",
        "UV_PROJECT_ENVIRONMENT": str(theirs),
        "UV_PYTHON": str(tmp_path / "no-python"),
        "UV_SYSTEM_PYTHON": "1",
        "VIRTUAL_ENV": str(theirs),
    }


def test_hostile_variables_change_nothing(
    machine: Machine, app: Path, theirs: Path, tmp_path: Path, index: IndexSimulator
) -> None:
    before = {path: path.lstat().st_mtime_ns for path in theirs.rglob("*")}
    variables = hostile(tmp_path, theirs)
    index.reset_log()
    done = machine.gpuenv(app, "prepare", "--target", TARGET, "--json", given=variables)
    assert done.data["active"] == "cu13"
    assert line_of(app / ".venv") == "cu13"
    assert distributions(app / ".venv") == {"common 1.0", "lean-cu13 1.0", "stub-cu13 1.0"}
    assert downloads(index) == dict.fromkeys((*LOCKED, *BUILD_WHEELS), 1)
    assert {path: path.lstat().st_mtime_ns for path in theirs.rglob("*")} == before
    assert not (tmp_path / "target").exists()
    assert not (tmp_path / "prefix").exists()
    # Also uv's cache was filled: without the variables nothing is asked again.
    index.reset_log()
    synced = machine.uv(app, "sync", "--extra", "cu12", network=False)
    assert synced.code == 0, synced.err
    switched = machine.gpuenv(app, "switch", "cu13", given=variables)
    assert switched.code == 0, switched.err
    assert line_of(app / ".venv") == "cu13"
    assert index.requests == []


def test_run_gives_the_command_a_clean_environment(
    warm: Machine, app: Path, theirs: Path, tmp_path: Path
) -> None:
    prepared = warm.gpuenv(app, "prepare", "--only", "--target", TARGET)
    assert prepared.code == 0, prepared.err
    code = "import lean, sys; print(lean.LINE, sys.prefix)"
    done = warm.gpuenv(app, "run", "--", "python", "-c", code, given=hostile(tmp_path, theirs))
    assert (done.code, done.out) == (0, f"cu13 {(app / '.venv').readlink()}\n"), done.err


def test_where_one_environment_fails_the_others_that_are_made_meanwhile_end_too(
    machine: Machine,
    new_project: Callable[[Project], Path],
    index: IndexSimulator,
    tmp_path: Path,
) -> None:
    index.publish(
        make_sdist(tmp_path, "fails-cu12", "1.0", static=True, build_requires=["no-such-package"])
    )
    wheel = make_wheel(tmp_path, "fails-cu13", "1.0", size=200_000)
    index.publish(wheel)
    # They share nothing that one of them would have to wait for.
    folder = new_project(Project(packages=("fails",), dependencies=()))
    # Whoever waits for this one is not done when the other one fails.
    index.stall_at(wheel.name, 100_000, times=None)
    with machine.start(folder, "prepare", "--target", TARGET) as process:
        _, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 1, err
    assert "no-such-package" in err
    assert "stopped" not in err
    assert machine.environments() == set()
    assert not os.path.lexists(folder / ".venv")
    index.heal()
