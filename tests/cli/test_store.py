"""`gpuenv store` over stores that `prepare` has filled."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.machine import Machine, distributions, line_of
from tests.cli.projects import BUILD_WHEELS, LOCKED, SDISTS, TARGET, WHEELS, Project, downloads
from tests.cli.test_processes import DEADLINE_SECONDS, kill_while_it_fetches, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.simulators.index import IndexSimulator

NOTHING = {"count": 0, "bytes": 0}


def prepared(machine: Machine, folder: Path) -> None:
    done = machine.gpuenv(folder, "prepare", "--target", TARGET)
    assert done.code == 0, done.err


def removed(machine: Machine, folder: Path, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = machine.gpuenv(folder, "store", "gc", "--json", *words).data["removed"]
    return found


def test_list_names_every_file_with_its_origin_and_users(
    machine: Machine, app: Path, index: IndexSimulator
) -> None:
    prepared(machine, app)

    files = machine.gpuenv(app, "store", "list", "--json").data["files"]
    assert {file["sha256"] for file in files} == machine.blobs()
    by_name = {file["names"][0]: file for file in files if not file["built_from"]}
    assert len(files) - len(by_name) == len(SDISTS)
    assert set(by_name) == {*LOCKED, *BUILD_WHEELS}
    for name, file in by_name.items():
        assert file["urls"] == [index.file_url(name)]
        assert file["projects"] == [str(app)]
        assert file["fetched"] > 0
    assert machine.gpuenv(app, "store", "info", "--json").data["partial"]["files"] == 0
    text = machine.gpuenv(app, "store", "list").out
    assert f"{WHEELS['cu13']}  (3" in text
    assert f"  used by: {app}\n" in text
    assert text.endswith(f"in {machine.store}\n")


def test_info_counts_bytes_that_uv_has_too_once_and_as_shared(machine: Machine, app: Path) -> None:
    prepared(machine, app)

    data = machine.gpuenv(app, "store", "info", "--json").data
    blobs = sum(path.stat().st_size for path in machine.store.glob("blobs/sha256/??/*"))
    assert data["blobs"] == {"files": len(machine.blobs()), "bytes": blobs, "shared_bytes": 0}
    assert data["environments"]["shared_bytes"] > 300_000
    # `lean` of one line is in one environment, and linked from uv's cache.
    files = [path for path in machine.store.rglob("*") if not path.is_dir() or path.is_symlink()]
    unique = {path.lstat().st_ino: path.lstat().st_size for path in files}
    assert data["total"]["files"] == len(unique)
    assert data["total"]["bytes"] == sum(unique.values())
    (project,) = data["projects"]
    assert (project["project"], project["whereabouts"]) == (str(app), "here")
    assert project["environments"]["bytes"] <= data["environments"]["bytes"]
    assert data["unneeded"]["files"] == 0


def test_gc_after_prepare_removes_nothing_that_switching_or_building_needs(
    machine: Machine, app: Path, index: IndexSimulator
) -> None:
    prepared(machine, app)
    before = machine.snapshot(app)

    done = removed(machine, app)

    assert [done[kind] for kind in ("blobs", "environments", "pages")] == [NOTHING] * 3
    assert machine.snapshot(app) == before
    index.reset_log()
    # Without uv's cache everything is built again from the store, without a network.
    shutil.rmtree(machine.root / "uv-cache")
    shutil.rmtree((app / ".venv").resolve())
    done_switch = machine.gpuenv(app, "switch", "cu13", network=False)
    assert done_switch.code == 0, done_switch.err
    assert distributions(app / ".venv") == {"common 1.0", "lean-cu13 1.0", "stub-cu13 1.0"}
    assert index.requests == []


def test_a_second_project_keeps_what_it_shares_with_one_that_is_gone(
    machine: Machine, new_project: Callable[[Project], Path], index: IndexSimulator
) -> None:
    one, two = (new_project(Project(name=name)) for name in ("one", "two"))
    prepared(machine, one)
    prepared(machine, two)
    held = machine.blobs()
    shutil.rmtree(one)

    done = removed(machine, two)

    assert (done["blobs"], done["environments"]["count"]) == (NOTHING, 3)
    assert machine.blobs() == held
    shutil.rmtree(machine.root / "uv-cache")
    shutil.rmtree((two / ".venv").resolve())
    index.reset_log()
    switched = machine.gpuenv(two, "switch", "cu13", network=False)
    assert switched.code == 0, switched.err
    shutil.rmtree(two)
    dry = removed(machine, machine.root, "--dry-run")
    assert dry["blobs"]["count"] == len(held)
    assert removed(machine, machine.root) == dry
    assert (machine.blobs(), machine.environments()) == (set(), set())


def test_an_old_environment_goes_when_a_changed_one_was_made_again(
    machine: Machine, app: Path
) -> None:
    prepared(machine, app)
    synced = machine.uv(app, "sync", "--extra", "cu12")
    assert synced.code == 0, synced.err
    assert machine.gpuenv(app, "switch", "cu13").code == 0
    assert len(machine.environments()) == 4

    assert removed(machine, app)["environments"]["count"] == 1

    assert len(machine.environments()) == 3
    assert line_of(app / ".venv") == "cu13"
    assert machine.gpuenv(app, "status").code == 0


def test_a_process_keeps_its_environment_though_its_project_is_gone(
    machine: Machine, app: Path
) -> None:
    prepared(machine, app)
    code = "import sys; print('runs', flush=True); sys.stdin.read(); import lean; print(lean.LINE)"
    with subprocess.Popen(
        [app / ".venv" / "bin" / "python", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "runs\n"
        shutil.rmtree(app)
        done = machine.gpuenv(machine.root, "store", "gc")
        assert done.code == 0, done.err
        assert "is in use by a running process and stays" in done.out
        out, _ = process.communicate()
    assert out == "cu13\n"
    assert len(machine.environments()) == 1
    removed(machine, machine.root)
    assert machine.environments() == set()


def test_after_a_kill_gc_takes_the_leftovers_and_nothing_is_fetched_twice(
    machine: Machine, app: Path, index: IndexSimulator
) -> None:
    code, _ = kill_while_it_fetches(machine, app, index, signal.SIGKILL)
    assert code == -signal.SIGKILL
    kept, parts = machine.blobs(), machine.partial()
    assert kept
    assert parts

    removed(machine, app)

    # The project is there, and goes on with what it has got.
    assert (machine.blobs(), machine.partial()) == (kept, parts)
    assert list(machine.store.glob("partial/*.lock")) == []
    assert list(machine.store.glob("leases/*")) == []
    index.reset_log()
    prepared(machine, app)
    asked = {request.filename: request.headers.get("range") for request in index.requests}
    assert asked[WHEELS["cu13"]] is not None
    assert all(count == 1 for count in downloads(index).values())
    removed(machine, app)
    assert list((machine.store / "partial").iterdir()) == []


def test_half_an_environment_of_a_killed_run_goes(machine: Machine, app: Path) -> None:
    with machine.start(app, "prepare", "--only", "--target", TARGET) as process:
        wait_for(lambda: len(machine.environments()) > 0, process)
        process.kill()
    assert machine.environments()

    # uv outlives the kill by a moment, and uses what it makes.
    deadline = time.monotonic() + DEADLINE_SECONDS
    while machine.environments():
        assert time.monotonic() < deadline
        removed(machine, app)
    prepared(machine, app)
    assert line_of(app / ".venv") == "cu13"


def test_gc_all_the_time_beside_prepare_disturbs_nothing(
    machine: Machine, app: Path, index: IndexSimulator
) -> None:
    index.throttle(600_000)
    runs = 0
    with machine.start(app, "prepare", "--target", TARGET) as process:
        while process.poll() is None:
            done = machine.gpuenv(machine.root, "store", "gc")
            assert done.code == 0, done.err
            runs += 1
        _, err = process.communicate()
    assert process.returncode == 0, err
    assert runs > 1
    assert downloads(index) == dict.fromkeys((*LOCKED, *BUILD_WHEELS), 1)
    assert machine.gpuenv(app, "status").code == 0
    assert line_of(app / ".venv") == "cu13"


def test_a_pinned_project_keeps_its_files_after_its_end(machine: Machine, app: Path) -> None:
    prepared(machine, app)
    held = machine.blobs()
    done = machine.gpuenv(app, "store", "pin", ".")
    assert done.out == f"pinned project {app} ({len(held)} files)\n"
    shutil.rmtree(app)

    removed(machine, machine.root)
    assert (machine.blobs(), machine.environments()) == (held, set())
    done = machine.gpuenv(machine.root, "store", "pin", "--remove", app)
    assert done.code == 0, done.err
    removed(machine, machine.root)
    assert machine.blobs() == set()


def test_a_pinned_file_is_found_by_name_pattern_and_hash(machine: Machine, app: Path) -> None:
    prepared(machine, app)
    files = machine.gpuenv(app, "store", "list", "--json").data["files"]
    hashes = {file["names"][0]: file["sha256"] for file in files}
    name = WHEELS["cu12"]
    for word in (name, "lean_cu12*", hashes[name][:12]):
        done = machine.gpuenv(app, "store", "pin", word)
        assert done.out == f"pinned {name} (sha256 {hashes[name]})\n"
    shutil.rmtree(app)
    removed(machine, machine.root)
    assert machine.blobs() == {hashes[name]}
    (file,) = machine.gpuenv(machine.root, "store", "list", "--json").data["files"]
    assert file["pinned"] is True


def test_verify_is_4_with_damage_and_repair_mends_it(
    machine: Machine, app: Path, index: IndexSimulator
) -> None:
    prepared(machine, app)
    (blob,) = (
        machine.store / "blobs" / "sha256" / file["sha256"][:2] / file["sha256"]
        for file in machine.gpuenv(app, "store", "list", "--json").data["files"]
        if file["names"] == [WHEELS["cu13"]]
    )
    blob.chmod(0o644)
    blob.write_bytes(b"\0" + blob.read_bytes()[1:])
    index.reset_log()

    told = machine.gpuenv(app, "store", "verify")
    assert (told.out + told.err).count(f"`{WHEELS['cu13']}` no longer has its hash") == 1
    done = machine.gpuenv(app, "store", "verify", "--json")
    assert (done.code, done.envelope["status"]) == (4, "error")
    (damaged,) = done.envelope["data"]["damaged"]
    assert (damaged["names"], damaged["fault"]) == ([WHEELS["cu13"]], "wrong-hash")
    assert done.message.hint == "`gpuenv store verify --repair` fetches again what is damaged"
    assert index.requests == []
    mended = machine.gpuenv(app, "store", "verify", "--repair")
    assert mended.code == 0, mended.err
    assert "; repaired\n" in mended.out
    assert downloads(index) == {WHEELS["cu13"]: 1}
    assert machine.gpuenv(app, "store", "verify").out.endswith("nothing is damaged\n")


def test_a_file_that_its_index_has_replaced_is_refused(
    machine: Machine, new_project: Callable[[Project], Path]
) -> None:
    one = new_project(Project(name="one", uv=True))
    prepared(machine, one)
    two = new_project(Project(name="two"))
    lock = two / "uv.lock"
    text = lock.read_text(encoding="utf-8")
    start = text.index(WHEELS["common"])
    old = text[text.index("sha256:", start) :][7:71]
    lock.write_text(text.replace(old, "ab" * 32), encoding="utf-8")

    done = machine.gpuenv(two, "prepare", "--target", TARGET)

    assert done.code == 4
    (cause,) = done.message.causes
    assert f"`{old}`" in cause
    assert f"the lock has `{'ab' * 32}`" in cause
    assert done.message.hint is not None
    assert done.message.hint.startswith("look first whether the lock is as it was committed; ")
    assert f"`gpuenv store forget {WHEELS['common']}`" in done.message.hint


@pytest.mark.parametrize("command", ["list", "info", "verify", "export"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_no_store_is_told(
    machine: Machine, tmp_path: Path, command: str, kind: str
) -> None:
    path = tmp_path / "other"
    path.write_text("x", encoding="utf-8") if kind == "file" else path.mkdir()
    words = ["bundle.tar"] if command == "export" else []

    done = machine.gpuenv(tmp_path, "store", command, *words, "--store", path)

    assert done.code == (1 if command == "export" else 0)
    assert f"there is no store `{path}`" in done.err
    assert not (tmp_path / "bundle.tar").exists()


@pytest.mark.parametrize("command", ["list", "info", "verify", "gc", "pin"])
def test_a_store_that_is_not_there_is_empty_and_is_not_made(
    machine: Machine, tmp_path: Path, command: str
) -> None:
    done = machine.gpuenv(tmp_path, "store", command, "--json")

    assert done.code == 0, done.err
    assert done.envelope["command"] == f"store {command}"
    assert not machine.store.exists()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("gc", "--max-size", "much"), "`much` is no size"),
        (("gc", "--max-age", "long"), "`long` is no length of time"),
        (("frobnicate",), "no such command `frobnicate`"),
        (("forget",), "missing argument `FILE...`"),
    ],
)
def test_wrong_words_are_2(
    machine: Machine, tmp_path: Path, words: tuple[str, ...], error: str
) -> None:
    done = machine.gpuenv(tmp_path, "store", *words)

    assert (done.code, done.out) == (2, "")
    assert done.message.error == error
