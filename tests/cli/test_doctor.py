"""`doctor`: every thing that `prepare` needs, looked at, with the exit code that it would have."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.projects import (
    LOCKED,
    TARGET,
    V100,
    Project,
    libraries_project,
    profile_text,
    publish_libraries,
    publish_packages,
    target_data,
)
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_sdist, make_tinybuild

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Locker, Prepared
    from tests.cli.machine import Done, Machine

CHECK = {"name", "state", "code", "message", "causes", "hint"}
STATES = {"ok", "warning", "failed"}


def checks(done: Done, name: str) -> list[dict[str, Any]]:
    """The checks of one thing."""
    return [item for item in done.envelope["data"]["checks"] if item["name"] == name]


def expect_failure(done: Done, exit_code: int, name: str) -> dict[str, Any]:
    """The one thing that failed, in an output that tells what every failure has to tell."""
    assert done.code == exit_code, done.err
    envelope = done.envelope
    assert (envelope["command"], envelope["status"]) == ("doctor", "error")
    assert all(set(item) == CHECK for item in envelope["data"]["checks"])
    failed = [item for item in envelope["data"]["checks"] if item["state"] == "failed"]
    for item in failed:
        assert item["code"], item
        assert item["hint"] or item["causes"], item
    (error,) = envelope["errors"]
    said = done.message
    assert (error["message"], tuple(error["causes"])) == (said.error, said.causes)
    assert all(any(item["message"] in cause for cause in said.causes) for item in failed)
    assert {item["name"] for item in failed} == {name}
    found: dict[str, Any] = failed[0]
    return found


def test_nothing_is_wrong_where_all_is_prepared_and_no_index_is_asked(
    first_prepare: Prepared, index: IndexSimulator
) -> None:
    done = first_prepare.gpuenv("doctor", "--json", "--target", TARGET)
    assert set(done.data) == {"checks", "host", "selection"}
    found = done.data["checks"]
    assert all(set(item) == CHECK for item in found)
    assert {item["state"] for item in found} == {"ok"}
    assert [item["name"] for item in found] == [
        "host",
        "selection",
        "uv",
        "python",
        "cache",
        "lock",
        "store",
        "links",
        "indexes",
    ]
    assert found[-1]["message"] == "nothing is to be fetched"
    assert done.data["selection"]["profile"] == "cu13"
    assert done.data["host"]["driver"]["version"] == "580.65.06"
    assert index.requests == []


def test_it_says_so_on_one_page_and_changes_nothing(first_prepare: Prepared) -> None:
    before = first_prepare.machine.snapshot(first_prepare.folder)
    done = first_prepare.gpuenv("doctor", "--target", TARGET, network=False)
    assert (done.code, done.err) == (0, "")
    assert "nothing is to be fetched" in done.out
    assert "failed" not in done.out
    for literal in ("580.65.06", "cu13  chosen", "cu12  usable", str(first_prepare.machine.store)):
        assert literal in done.out
    assert first_prepare.machine.snapshot(first_prepare.folder) == before


def test_it_looks_before_anything_is_prepared_and_makes_nothing(
    machine: Machine, app: Path, index: IndexSimulator
) -> None:
    done = machine.gpuenv(app, "doctor", "--json", "--target", TARGET)
    assert {item["state"] for item in done.data["checks"]} == {"ok"}
    assert index.file_bytes_served() == 0
    assert not machine.store.exists()
    assert {path.name for path in app.iterdir()} == {"pyproject.toml", "uv.lock"}
    (lock,) = checks(done, "lock")
    of_cu13 = len([name for name in LOCKED if "cu12" not in name])
    assert f"names {of_cu13} files for `cu13`, 0 of them in the store" in lock["message"]


@pytest.fixture
def dead(machine: Machine, tmp_path: Path) -> Path:
    """A locked project whose index has gone."""
    with IndexSimulator() as own:
        publish_packages(own, tmp_path / "packages")
        folder = Project(lines=("cu13",), packages=("lean",)).write(tmp_path / "app", own.index_url)
        assert machine.uv(folder, "lock").code == 0
    return folder


def test_an_index_that_does_not_answer_is_3_where_something_is_missing(
    machine: Machine, dead: Path
) -> None:
    done = machine.gpuenv(dead, "doctor", "--json", "--target", TARGET)
    failed = expect_failure(done, 3, "indexes")
    assert "does not answer" in failed["message"]
    assert failed["hint"]


def test_offline_is_3_where_something_is_missing(machine: Machine, dead: Path) -> None:
    done = machine.gpuenv(dead, "doctor", "--json", "--offline", "--target", TARGET, network=False)
    assert expect_failure(done, 3, "indexes")["code"] == "offline"


@pytest.mark.parametrize(("status", "code"), [(401, "unauthorised"), (503, "unreachable")])
def test_an_index_that_refuses_is_3_with_its_status(
    machine: Machine, app: Path, index: IndexSimulator, status: int, code: str
) -> None:
    for name in LOCKED:
        index.fail(name, status)
    done = machine.gpuenv(app, "doctor", "--json", "--target", TARGET)
    failed = expect_failure(done, 3, "indexes")
    assert failed["code"] == code
    assert str(status) in failed["message"]


def test_a_file_that_the_index_has_no_more_is_3(
    machine: Machine, app: Path, index: IndexSimulator
) -> None:
    for name in LOCKED:
        index.fail(name, 404)
    done = machine.gpuenv(app, "doctor", "--json", "--target", TARGET)
    assert machine.gpuenv(app, "prepare", "--target", TARGET).code == 3
    expect_failure(done, 3, "indexes")


def test_a_venv_that_is_not_ours_is_8(warm: Machine, app: Path) -> None:
    (app / ".venv").mkdir()
    (app / ".venv" / "pyvenv.cfg").write_text("home = /usr/bin\n", encoding="utf-8")
    done = warm.gpuenv(app, "doctor", "--json", "--target", TARGET)
    failed = expect_failure(done, 8, "project")
    assert "--adopt" in failed["hint"]
    assert warm.gpuenv(app, "prepare", "--target", TARGET).code == 8


def save(path: Path, data: object) -> Path:
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def test_a_broken_driver_is_7_with_a_remedy(warm: Machine, app: Path, tmp_path: Path) -> None:
    finding = {
        "code": "version-mismatch",
        "message": "the driver's library is `580.95.05`, its kernel module `570.124.06`",
        "hint": "restart the machine",
    }
    target = save(tmp_path / "broken.json", target_data("9.0", findings=[finding]))
    done = warm.gpuenv(app, "doctor", "--json", "--target", target)
    assert done.code == 7
    (host,) = checks(done, "host")
    assert (host["state"], host["code"]) == ("failed", "version-mismatch")
    assert (host["message"], host["hint"]) == (finding["message"], finding["hint"])
    (selection,) = checks(done, "selection")
    assert selection["state"] == "failed"
    assert "--profile cpu" in selection["hint"]
    assert done.envelope["data"]["selection"] is None
    (error,) = done.envelope["errors"]
    assert error["code"] == "version-mismatch"
    assert done.message.hint == "restart the machine"


def test_a_broken_driver_in_a_file_without_hints_has_the_remedy_of_its_code(
    warm: Machine, app: Path, tmp_path: Path
) -> None:
    finding = {"code": "version-mismatch", "message": "library and kernel module differ"}
    target = save(tmp_path / "broken.json", target_data("9.0", findings=[finding]))
    done = warm.gpuenv(app, "doctor", "--json", "--target", target)
    assert done.code == 7
    (host,) = checks(done, "host")
    assert host["hint"] or host["causes"]


def test_a_finding_that_breaks_nothing_is_a_warning(
    first_prepare: Prepared, tmp_path: Path
) -> None:
    finding = {"code": "driver-unreadable", "message": "a file is odd", "hint": "look at it"}
    target = save(tmp_path / "odd.json", target_data("9.0", findings=[finding]))
    done = first_prepare.gpuenv("doctor", "--json", "--target", target)
    assert done.code == 0, done.err
    (host,) = checks(done, "host")
    assert (host["state"], host["code"]) == ("warning", "driver-unreadable")


def test_where_nothing_fits_it_is_7_and_no_index_that_does_not_matter_is_asked(
    first_prepare: Prepared, index: IndexSimulator
) -> None:
    target = "driver=570.124.06,cuda=12.8,gpus=3.7"
    done = first_prepare.gpuenv("doctor", "--json", "--target", target)
    failed = expect_failure(done, 7, "selection")
    assert any("`3.7`" in cause for cause in failed["causes"])
    assert "--profile cpu" in failed["hint"]
    assert index.file_bytes_served() == 0


def test_indexes_of_profiles_that_are_out_of_question_are_not_asked(
    machine: Machine, tmp_path: Path
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    target = "driver=570.124.06,cuda=12.8,gpus=3.7"
    done = machine.gpuenv(folder, "doctor", "--json", "--target", target, network=False)
    assert done.code == 7
    assert [item for item in checks(done, "indexes") if "pytorch" in item["message"]] == []


@pytest.fixture(scope="module")
def volta_pinned_out(tmp_path_factory: pytest.TempPathFactory, locker: Locker) -> Iterator[Path]:
    """A project that locks a TensorRT without code for Volta; its index answers."""
    root = tmp_path_factory.mktemp("volta")
    with IndexSimulator() as libraries:
        publish_libraries(libraries, root / "packages")
        project = libraries_project(cu12=["tensorrt-cu12==10.13.0.35"])
        folder = project.write(root / "app", libraries.index_url)
        locker.lock(folder)
        yield folder


def test_a_lock_that_the_gpu_cannot_run_is_7_with_the_nearest_version(
    machine: Machine, volta_pinned_out: Path
) -> None:
    done = machine.gpuenv(volta_pinned_out, "doctor", "--json", "--target", V100)
    failed = expect_failure(done, 7, "selection")
    assert any("`10.13.0.35`" in cause and "`7.0`" in cause for cause in failed["causes"])
    assert "`10.4.0`" in failed["hint"]
    # It is said once, and what could be chosen is there all the same.
    assert len(checks(done, "selection")) == 1
    assert done.envelope["data"]["selection"]["profile"] == "cu12"


def test_a_lock_that_the_gpu_cannot_run_is_a_warning_with_force(
    machine: Machine, volta_pinned_out: Path
) -> None:
    words = ("--profile", "cu12", "--force", "--target", V100)
    done = machine.gpuenv(volta_pinned_out, "doctor", "--json", *words)
    assert done.code == 0, done.err
    assert [item["state"] for item in checks(done, "selection")] == ["ok", "warning"]


@pytest.fixture
def stale(first_prepare: Prepared, index: IndexSimulator, tmp_path: Path) -> Path:
    """A project that needs more than its lock has."""
    app = tmp_path / "app"
    app.mkdir()
    for name in ("pyproject.toml", "uv.lock"):
        shutil.copy(first_prepare.folder / name, app / name)
    text = (app / "pyproject.toml").read_text(encoding="utf-8")
    text = text.replace('["common"]', '["common", "helper"]')
    (app / "pyproject.toml").write_text(text, encoding="utf-8")
    index.reset_log()
    return app


def test_a_stale_lock_is_1(first_prepare: Prepared, index: IndexSimulator, stale: Path) -> None:
    done = first_prepare.machine.gpuenv(stale, "doctor", "--json", "--target", TARGET)
    failed = expect_failure(done, 1, "lock")
    assert "`uv.lock` does not fit `pyproject.toml`" in failed["message"]
    assert failed["hint"]
    assert [r.filename for r in index.requests if r.filename.endswith(".whl")] == []


def test_a_fault_of_the_lock_is_told_once(first_prepare: Prepared, stale: Path) -> None:
    done = first_prepare.machine.gpuenv(stale, "doctor", "--json", "--target", TARGET)
    told = [item["name"] for item in done.envelope["data"]["checks"] if item["state"] != "ok"]
    assert told == ["lock"]


def test_a_store_that_cannot_be_made_is_1(first_prepare: Prepared, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    store = tmp_path / "file" / "store"
    done = first_prepare.gpuenv("doctor", "--json", "--store", store, "--target", TARGET)
    failed = expect_failure(done, 1, "store")
    assert str(tmp_path / "file") in failed["message"] + " ".join(failed["causes"])
    prepared = first_prepare.gpuenv("prepare", "--store", store, "--target", TARGET)
    assert prepared.code == 1


def test_a_lower_store_that_is_not_there_is_a_warning(
    first_prepare: Prepared, tmp_path: Path
) -> None:
    missing = tmp_path / "missing"
    given = {"GPUENV_STORE_LOWER": str(missing)}
    done = first_prepare.gpuenv("doctor", "--json", given=given)
    message = f"the lower store `{missing}` is not used: there is no store"
    assert [(item["state"], item["message"]) for item in checks(done, "store")[1:]] == [
        ("warning", message)
    ]
    # Elsewhere it is said, and done without.
    prepared = first_prepare.gpuenv("prepare", given=given)
    assert (prepared.code, prepared.err) == (0, f"{message}\n")


def test_what_is_wrong_is_told_together(machine: Machine, dead: Path, tmp_path: Path) -> None:
    (dead / ".venv").mkdir()
    (dead / ".venv" / "kept").write_text("mine", encoding="utf-8")
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    store = tmp_path / "file" / "store"
    done = machine.gpuenv(dead, "doctor", "--store", store, "--target", TARGET)
    # The first thing that `prepare` would stumble over decides the exit code.
    assert done.code == 8
    failed = [line.split()[1] for line in done.out.splitlines() if line.startswith("failed ")]
    assert failed == ["project", "store", "indexes"]
    assert len(done.message.causes) >= len(failed)


def test_a_target_that_is_none_is_2_and_no_check_is_made(machine: Machine, app: Path) -> None:
    done = machine.gpuenv(app, "doctor", "--json", "--target", "gpus=x")
    assert done.code == 2
    assert (done.envelope["data"], done.envelope["command"]) == (None, "doctor")


def test_a_policy_counts_for_it_too(first_prepare: Prepared, tmp_path: Path) -> None:
    target = save(tmp_path / "mixed.json", target_data("7.0", "9.0"))
    words = ("doctor", "--json", "--target", target)
    assert first_prepare.gpuenv(*words).data["selection"]["profile"] == "cu12"
    best = first_prepare.gpuenv(*words, "--gpu-policy", "best")
    assert best.data["selection"]["profile"] == "cu13"
    assert [item["code"] for item in checks(best, "selection")] == [None, "gpu-left-out"]


def test_files_of_unknown_size_are_not_called_nothing(machine: Machine, app: Path) -> None:
    done = machine.gpuenv(app, "doctor", "--json", "--target", TARGET)
    (store,) = checks(done, "store")
    assert "0 bytes to fetch" not in store["message"]


def test_the_index_that_a_profile_binds_a_stub_to_is_asked_before_anything_is_held(
    machine: Machine, tmp_path: Path
) -> None:
    profiles = machine.home / "config" / "gpuenv" / "profiles"
    profiles.mkdir(parents=True)
    gone = "http://127.0.0.1:9/"
    (profiles / "cu13.yaml").write_text(profile_text("cu13", "13", gone), encoding="utf-8")
    with IndexSimulator("pypi") as own:
        own.publish(make_sdist(tmp_path, "tensorrt-toy-cu13", "1.0"))
        own.publish(make_tinybuild(tmp_path))
        app = Project(dependencies=(), lines=("cu13",), packages=("tensorrt-toy",)).write(
            tmp_path / "app", own.index_url
        )
        new = machine.gpuenv(app, "doctor", "--json", "--target", TARGET)
        assert expect_failure(new, 3, "indexes")["message"] == f"`{gone}` does not answer"
        assert machine.uv(app, "lock").code == 0
        done = machine.gpuenv(app, "doctor", "--json", "--target", TARGET)
        assert expect_failure(done, 3, "indexes")["message"] == f"`{gone}` does not answer"
