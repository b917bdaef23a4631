"""Several targets at once: a selection for each, and one store with the files of all."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from tests.cli.projects import (
    A100,
    H100,
    LOCKED,
    V100,
    WHEELS,
    Project,
    downloads,
    libraries_project,
    profile_text,
    publish_libraries,
    target_data,
)
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.cli.conftest import Locker
    from tests.cli.machine import Machine

NO_GPU_RUNS = "driver=570.124.06,cuda=12.8,gpus=3.7,machine=x86_64,glibc=2.35,python=3.11"
"""Its GPU has no code in any CUDA line of the project, and no driver as new as this."""


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IndexSimulator]:
    """An index with stand-ins for NVIDIA's packages."""
    with IndexSimulator() as index:
        publish_libraries(index, tmp_path_factory.mktemp("libraries"))
        yield index


def test_select_answers_for_each_target(machine: Machine, app: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved.json"
    saved.write_text(json.dumps(target_data("7.0", "9.0")), encoding="utf-8")
    words = ("--target", H100, "--target", V100, "--target", saved)
    data = machine.gpuenv(app, "select", "--json", *words).data
    promised = {"profile", "extras", "usable", "candidates", "warnings"}
    assert all(promised <= set(item) for item in data["targets"])
    assert [item["name"] for item in data["targets"]] == [H100, V100, str(saved)]
    assert [item["profile"] for item in data["targets"]] == ["cu13", "cu12", "cu12"]
    assert [item["usable"] for item in data["targets"]] == [
        ["cu13", "cu12", "cpu"],
        ["cu12", "cpu"],
        ["cu12", "cpu"],
    ]


def test_each_target_of_several_is_answered_as_it_would_be_alone(
    machine: Machine, app: Path
) -> None:
    both = machine.gpuenv(app, "select", "--json", "--target", V100, "--target", H100).data
    for target, item in zip((V100, H100), both["targets"], strict=True):
        alone = machine.gpuenv(app, "select", "--json", "--target", target).data
        assert {key: item[key] for key in alone} == alone
    text = machine.gpuenv(app, "select", "--target", V100, "--target", H100)
    assert [line for line in text.out.splitlines() if line.startswith("target ")] == [
        f"target {V100}",
        f"target {H100}",
    ]


def test_a_target_that_nothing_fits_is_7_with_what_is_known_of_all(
    machine: Machine, app: Path
) -> None:
    done = machine.gpuenv(app, "select", "--json", "--target", H100, "--target", NO_GPU_RUNS)
    assert done.code == 7
    first, second = done.envelope["data"]["targets"]
    assert (first["profile"], second["profile"]) == ("cu13", None)
    assert second["usable"] == ["cpu"]
    rejected = {item["profile"] for item in second["candidates"] if not item["accepted"]}
    assert {"cu13", "cu12"} <= rejected
    assert done.message.causes
    assert all(cause.startswith(f"`{NO_GPU_RUNS}`: ") for cause in done.message.causes)


def test_a_target_that_is_none_is_2_whatever_the_others_are(machine: Machine, app: Path) -> None:
    done = machine.gpuenv(app, "select", "--target", H100, "--target", "gpus=x")
    assert (done.code, done.out) == (2, "")


def test_prepare_of_several_targets_fetches_each_file_once_and_makes_no_environment(
    machine: Machine, app: Path, index: IndexSimulator
) -> None:
    done = machine.gpuenv(app, "prepare", "--json", "--target", V100, "--target", H100)
    assert done.data["prepared"] == ["cu12", "cpu", "cu13"]
    assert downloads(index) == dict.fromkeys(LOCKED, 1)
    assert done.data["fetched"]["files"] == len(LOCKED)
    first, second = done.data["targets"]
    of_cu13 = 2  # A wheel and a source distribution; the rest came for the first target.
    assert first["fetched"]["files"] == len(LOCKED) - of_cu13
    assert second["fetched"]["files"] == of_cu13
    assert len(machine.blobs()) == len(LOCKED)
    for item in (done.data, first, second):
        assert (item["environment"], item["active"], item["generation"]) == (None, None, None)
    assert machine.environments() == set()
    assert not os.path.lexists(app / ".venv")
    assert machine.gpuenv(app, "status", "--json").data["target"] is None
    index.reset_log()
    again = machine.gpuenv(app, "prepare", "--json", "--target", V100, "--target", H100)
    assert again.data["fetched"] == {"files": 0, "bytes": 0}
    assert index.requests == []


def test_targets_of_several_machines_get_a_file_for_each(
    machine: Machine,
    new_project: Callable[[Project], Path],
    index: IndexSimulator,
    tmp_path: Path,
) -> None:
    names = []
    for name in ("x86_64", "aarch64"):
        tag = f"cp311-abi3-manylinux_2_17_{name}"
        names.append(make_wheel(tmp_path, "for-machines", "1.0", tag=tag).name)
        index.publish(tmp_path / names[-1])
    app = new_project(Project(dependencies=("for-machines",), lines=("cu12",), packages=("lean",)))
    index.reset_log()
    arm = V100.replace("machine=x86_64", "machine=aarch64")
    done = machine.gpuenv(app, "prepare", "--json", "--target", V100, "--target", arm)
    assert downloads(index) == dict.fromkeys((*names, WHEELS["cu12"]), 1)
    assert [item["fetched"]["files"] for item in done.data["targets"]] == [2, 1]


def test_nothing_is_fetched_where_one_of_several_targets_fits_nothing(
    machine: Machine, app: Path, index: IndexSimulator
) -> None:
    done = machine.gpuenv(app, "prepare", "--target", H100, "--target", NO_GPU_RUNS)
    assert done.code == 7
    assert machine.blobs() == set()
    assert index.requests == []


def test_nothing_is_fetched_where_one_of_several_targets_cannot_run_the_lock(
    machine: Machine, libraries: IndexSimulator, locker: Locker, tmp_path: Path
) -> None:
    app = libraries_project(cu12=["tensorrt-cu12==10.13.0.35"]).write(
        tmp_path / "app", libraries.index_url
    )
    locker.lock(app)
    libraries.reset_log()
    done = machine.gpuenv(app, "prepare", "--target", A100, "--target", V100)
    assert done.code == 7
    assert any("`tensorrt-cu12` `10.13.0.35`" in cause for cause in done.message.causes)
    assert machine.blobs() == set()
    assert libraries.requests == []


@pytest.mark.parametrize("targets", [(V100, A100), (A100, V100)], ids=["old-first", "new-first"])
def test_one_lock_is_made_that_every_target_runs(
    machine: Machine,
    libraries: IndexSimulator,
    index: IndexSimulator,
    tmp_path: Path,
    targets: tuple[str, str],
) -> None:
    more = '\n[project.optional-dependencies]\ncu12 = ["tensorrt-cu12"]\n'
    plain = Project(uv=False, lines=(), table="dependency-groups", more=more)
    app = plain.write(tmp_path / "app", index.index_url)
    (app / "profiles").mkdir()
    text = profile_text("cu12", "12", libraries.index_url)
    (app / "profiles" / "cu12.yaml").write_text(text, encoding="utf-8")
    words = [word for target in targets for word in ("--target", target)]
    done = machine.gpuenv(
        app, "prepare", "--json", *words, given={"UV_DEFAULT_INDEX": index.index_url}
    )
    assert done.code == 0, done.err
    assert 'version = "10.4.0"' in (app / "pylock.cu12.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "words",
    [
        ("detect",),
        ("profiles",),
        ("lock",),
        ("switch", "cu12"),
        ("rollback",),
        ("status",),
        ("doctor",),
        ("run", "--", "true"),
    ],
    ids=lambda words: words[0],
)
def test_other_commands_take_one_target(
    machine: Machine, tmp_path: Path, words: tuple[str, ...]
) -> None:
    command, *rest = words
    done = machine.gpuenv(tmp_path, command, "--target", H100, "--target", V100, *rest)
    assert (done.code, done.out) == (2, "")
    assert done.message.error == f"`gpuenv {command}` takes one `--target`"
    assert done.message.hint is not None


def test_an_example_host_is_a_target_by_its_name(looker: Machine, tmp_path: Path) -> None:
    data = looker.gpuenv(tmp_path, "detect", "--target", "v100-h100-r580", "--json").data
    assert [gpu["compute_capability"] for gpu in data["gpus"]] == ["7.0", "9.0"]
    assert data["driver"]["version"] == "580.95.05"


def test_a_name_that_is_no_example_is_looked_for_as_a_file(looker: Machine, tmp_path: Path) -> None:
    done = looker.gpuenv(tmp_path, "detect", "--target", "no-such-host")
    assert done.code == 2
    assert str(tmp_path / "no-such-host") in done.message.error
