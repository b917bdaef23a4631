"""A store that cannot be written to: what only reads works, the rest says what it would write."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.machine import GPUENV, NOTHING, Done, Given, Machine, line_of
from tests.cli.projects import LOCKED, TARGET, Project, downloads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tests.cli.conftest import Prepared
    from tests.simulators.index import IndexSimulator


def read_only(
    machine: Machine, folder: Path, *commands: tuple[str, ...], given: Given = NOTHING
) -> list[dict[str, Any]]:
    """The envelopes of commands for which the store lies on a read-only file system."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a read-only file system")
    store = shlex.quote(str(machine.store))
    steps = [f"mount --bind {store} {store} && mount -o remount,ro,bind {store} || exit 77"]
    steps += _each(commands)
    done = machine.run(folder, "unshare", "-m", "sh", "-c", "\n".join(steps), given=given)
    if done.code == 77:
        pytest.skip("this user may not mount a read-only file system")
    return _envelopes(done)


def of_another_user(
    machine: Machine, folder: Path, *commands: tuple[str, ...]
) -> list[dict[str, Any]]:
    """The envelopes of commands for which the store belongs to somebody else."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("only root can give files away, and only setpriv can take its powers")
    store = shlex.quote(str(machine.store))
    powerless = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    steps = [f"chown -R 65534 {store}", *_each(commands, *powerless), f"chown -R 0 {store}"]
    return _envelopes(machine.run(folder, "sh", "-c", "\n".join(steps)))


def _each(commands: Iterable[tuple[str, ...]], *before: str) -> list[str]:
    return [
        f"{shlex.join([*before, *GPUENV, *words, '--json'])}; printf '\\f'" for words in commands
    ]


def _envelopes(done: Done) -> list[dict[str, Any]]:
    assert "Traceback" not in done.err
    return [json.loads(text) for text in done.out.split("\f") if text.strip()]


def test_what_only_reads_works(first_prepare: Prepared) -> None:
    machine, folder = first_prepare.machine, first_prepare.folder
    reading = [
        ("switch", "cu12"),
        ("status",),
        ("prepare",),
        ("prepare", "--dry-run"),
        ("rollback",),
        ("store", "list"),
        ("store", "info"),
        ("store", "verify"),
        ("store", "verify", "--quick"),
        ("store", "gc", "--dry-run"),
        ("store", "pin"),
    ]

    done = read_only(machine, folder, *reading)

    assert [(item["command"], item["status"]) for item in done] == [
        (" ".join(word for word in words if not word.startswith("-") and word != "cu12"), "ok")
        for words in reading
    ]
    assert line_of(folder / ".venv") == "cu13"
    assert done[2]["data"]["nothing_to_do"] is True


def test_prepare_where_all_is_held_writes_nothing_to_the_store(first_prepare: Prepared) -> None:
    machine, folder = first_prepare.machine, first_prepare.folder
    # Another request than the last one: everything is looked at anew.
    (done,) = read_only(machine, folder, ("prepare", "--only"))

    assert done["status"] == "ok", done
    assert done["data"]["nothing_to_do"] is False
    assert done["data"]["fetched"] == {"files": 0, "bytes": 0}


def test_the_store_of_another_user_is_read(
    first_prepare: Prepared, new_project: Callable[[Project], Path]
) -> None:
    machine = first_prepare.machine
    # Another request than the other tests', so that everything is looked at anew.
    again = ("prepare", "--only", "--profile", "cu13")
    reading = [("switch", "cu12"), ("switch", "cu13"), again, ("store", "verify")]

    done = of_another_user(machine, first_prepare.folder, *reading)
    (refused,) = of_another_user(
        machine, new_project(Project(name="mine")), ("prepare", "--target", TARGET)
    )

    assert [item["status"] for item in done] == ["ok"] * len(reading), done
    assert done[2]["data"]["nothing_to_do"] is False
    assert refused["errors"][0]["code"] == "store-read-only"


def test_prepare_names_what_it_would_have_to_write(
    first_prepare: Prepared, new_project: Callable[[Project], Path]
) -> None:
    machine = first_prepare.machine
    other = new_project(Project(name="other"))

    done = read_only(
        machine,
        other,
        ("prepare", "--target", TARGET),
        ("store", "gc"),
        ("store", "pin", "common*"),
        ("store", "verify", "--repair"),
        ("store", "forget", "common*"),
    )

    assert [item["status"] for item in done] == ["error"] * 5
    (error,) = done[0]["errors"]
    assert error["code"] == "store-read-only"
    assert error["message"] == f"the store `{machine.store}` cannot be written to"
    assert error["causes"] == [
        f"the environment of `{name}` would have to be made in it"
        for name in ("cu13", "cu12", "cpu")
    ]
    assert f"GPUENV_STORE_LOWER={machine.store}" in error["hint"]
    for item in done[1:]:
        assert item["errors"][0]["code"] == "store-read-only"
        assert item["errors"][0]["message"] == error["message"]


def test_a_missing_file_is_named_where_it_cannot_be_fetched(
    machine: Machine, app: Path, index: IndexSimulator
) -> None:
    for name in ("blobs/sha256", "envs", "partial", "pages"):
        (machine.store / name).mkdir(parents=True)
    (machine.store / "VERSION").write_text("1\n", encoding="utf-8")

    words = ("prepare", "--target", TARGET)
    done, planned = read_only(machine, app, words, (*words, "--dry-run"))

    (error,) = done["errors"]
    assert error["code"] == planned["errors"][0]["code"] == "store-read-only"
    assert {item["name"] for item in planned["data"]["missing"]} == set(LOCKED)
    assert {cause.split("`")[1] for cause in error["causes"]} == set(LOCKED)
    assert not downloads(index)


def test_a_store_over_a_read_only_one_makes_environments_without_fetching(
    first_prepare: Prepared, new_project: Callable[[Project], Path], index: IndexSimulator
) -> None:
    machine = first_prepare.machine
    other = new_project(Project(name="over"))
    upper = machine.root / "upper"
    before = machine.snapshot(other)
    index.reset_log()

    prepared, listed = read_only(
        machine,
        other,
        ("prepare", "--target", TARGET, "--store", str(upper)),
        ("store", "list", "--store", str(upper)),
        given={"GPUENV_STORE_LOWER": str(machine.store)},
    )

    assert prepared["status"] == "ok", prepared
    assert prepared["data"]["fetched"] == {"files": 0, "bytes": 0}
    assert downloads(index) == {}
    assert {file["below"] for file in listed["data"]["files"]} == {str(machine.store)}
    assert len(list((upper / "envs").glob("*.json"))) == 3
    assert list(upper.glob("blobs/sha256/??/*")) == []
    assert line_of(other / ".venv") == "cu13"
    after = machine.snapshot(other)
    assert (after.blobs, after.environments) == (before.blobs, before.environments)


def test_a_damaged_file_is_4_though_it_cannot_be_removed(
    first_prepare: Prepared, machine: Machine, new_project: Callable[[Project], Path]
) -> None:
    other = new_project(Project(name="damaged"))
    # The copy has other inodes, so that every file is hashed.
    ignored = shutil.ignore_patterns("envs", "roots", "leases")
    shutil.copytree(first_prepare.machine.store, machine.store, ignore=ignored)
    blob = max(machine.store.glob("blobs/sha256/??/*"), key=lambda path: path.stat().st_size)
    blob.chmod(0o644)
    blob.write_bytes(b"damaged")
    (machine.store / "envs").mkdir()

    (done,) = read_only(machine, other, ("prepare", "--target", TARGET))

    (error,) = done["errors"]
    assert error["code"] == "blob-damaged"
    assert blob.name in error["causes"][0]
    assert "store verify --repair" in error["hint"]
    assert blob.read_bytes() == b"damaged"
