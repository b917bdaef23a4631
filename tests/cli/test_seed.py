"""`prepare --seed`: pip in every environment, fetched once, and the same one for good."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from provisioner.core.ranges import SMALL_BYTES
from tests.cli.conftest import Prepared
from tests.cli.machine import Machine, distributions
from tests.cli.projects import TARGET, Project
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PIP = "pip-1.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def own_index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IndexSimulator]:
    """An index that has pip, and what belongs to it for an old Python."""
    wheels = tmp_path_factory.mktemp("wheels")
    with IndexSimulator() as server:
        for name in ("pip", "setuptools", "wheel", "common", "lean-cu12", "lean-cu13"):
            server.publish(make_wheel(wheels, name, "1.0"))
        yield server


def new(root: Path, index: IndexSimulator) -> tuple[Machine, Path]:
    machine = Machine(root / "machine")
    folder = Project(packages=("lean",)).write(root / "app", index.index_url)
    assert machine.uv(folder, "lock").code == 0
    return machine, folder


@pytest.fixture(scope="module")
def first_seeded(tmp_path_factory: pytest.TempPathFactory, own_index: IndexSimulator) -> Prepared:
    """A project that was prepared with `--seed`, on an index that has a newer pip since."""
    root = tmp_path_factory.mktemp("seeded")
    machine, folder = new(root, own_index)
    own_index.reset_log()
    done = machine.gpuenv(folder, "prepare", "--seed", "--json", "--target", TARGET)
    assert done.code == 0, done.err
    requests = tuple(own_index.requests)
    own_index.publish(make_wheel(root / "wheels", "pip", "2.0"))
    return Prepared(machine, folder, done, requests, ())


@pytest.fixture
def seeded(first_seeded: Prepared, own_index: IndexSimulator) -> Prepared:
    """The same, where nothing was asked yet."""
    own_index.reset_log()
    return first_seeded


def test_seed_puts_pip_into_every_environment_and_fetches_it_once(seeded: Prepared) -> None:
    assert PIP in seeded.done.data["seed"]
    # A resolver has looked at its end before.
    from_the_start = {None, f"bytes=0-{SMALL_BYTES - 1}"}
    whole = [
        one
        for one in seeded.requests
        if (one.filename, one.method) == (PIP, "GET") and one.headers.get("range") in from_the_start
    ]
    assert len(whole) == 1
    blob = (seeded.machine.store / "simple" / "pip" / PIP).resolve().name
    for profile in ("cu13", "cu12", "cpu"):
        environment = seeded.environment(profile)
        assert "pip 1.0" in distributions(environment)
        mark = json.loads(environment.with_name(f"{environment.name}.json").read_text())
        assert blob in mark["blobs"]  # So that a collection leaves it.


@pytest.mark.parametrize("words", [(), ("--seed",)])
def test_a_prepare_after_it_has_nothing_to_do(
    seeded: Prepared, own_index: IndexSimulator, words: tuple[str, ...]
) -> None:
    done = seeded.gpuenv("prepare", *words, "--json")
    assert done.data["nothing_to_do"] is True
    assert own_index.requests == []


def test_uv_leaves_the_pip_of_an_environment_and_finds_nothing_to_do(seeded: Prepared) -> None:
    checked = seeded.uv("sync", "--frozen", "--extra", "cu13", "--check")
    assert checked.code == 0, checked.err
    assert seeded.uv("sync", "--frozen", "--extra", "cu13").code == 0
    assert "pip 1.0" in distributions(seeded.link)
    assert seeded.gpuenv("status", "--json").data["findings"] == []


def test_an_environment_that_is_made_again_gets_the_same_pip_and_asks_nothing(
    seeded: Prepared, own_index: IndexSimulator
) -> None:
    shutil.rmtree(seeded.environment("cu12"))
    shutil.rmtree(seeded.machine.root / "uv-cache")
    done = seeded.gpuenv("switch", "cu12", network=False, given={"UV_VENV_SEED": "0"})
    assert done.code == 0, done.err
    assert "pip 1.0" in distributions(seeded.link)
    assert own_index.requests == []
    assert seeded.gpuenv("switch", "cu13").code == 0


def test_which_pip_to_take_is_never_guessed_offline(
    own_index: IndexSimulator, tmp_path: Path
) -> None:
    machine, folder = new(tmp_path, own_index)
    done = machine.gpuenv(folder, "prepare", "--seed", "--offline", "--target", TARGET)
    assert done.code == 1
    assert done.message.error.startswith("which pip `--seed` takes is not known yet")
    assert machine.environments() == set()


def test_no_seed_takes_it_out_again_and_a_rollback_gives_it_back(
    own_index: IndexSimulator, tmp_path: Path
) -> None:
    machine, folder = new(tmp_path, own_index)
    words = ("prepare", "--only", "--no-proof", "--target", TARGET)
    with_pip = {item.split()[0] for item in ("pip 1", "setuptools 1", "wheel 1")}
    assert machine.gpuenv(folder, *words, "--seed").code == 0
    before = distributions(folder / ".venv")
    assert machine.gpuenv(folder, *words, "--no-seed").code == 0
    after = distributions(folder / ".venv")
    assert {name for name in before - after if name.split()[0] in with_pip} == before - after
    assert "pip" not in {name.split()[0] for name in after}
    assert machine.gpuenv(folder, *words, "--json").data["nothing_to_do"] is True
    assert machine.gpuenv(folder, "rollback").code == 0
    assert distributions(folder / ".venv") == before


def test_a_project_that_uv_does_not_lock_gets_it_too(
    own_index: IndexSimulator, tmp_path: Path
) -> None:
    machine = Machine(tmp_path / "machine", UV_DEFAULT_INDEX=own_index.index_url)
    project = Project(uv=False, lines=("cu13",), packages=("lean",))
    folder = project.write(tmp_path / "app", own_index.index_url)
    done = machine.gpuenv(folder, "prepare", "--only", "--seed", "--target", TARGET)
    assert done.code == 0, done.err
    assert {"pip", "common", "lean-cu13"} <= {
        name.split()[0] for name in distributions(folder / ".venv")
    }


def test_what_is_only_fetched_has_it_too(own_index: IndexSimulator, tmp_path: Path) -> None:
    machine, folder = new(tmp_path, own_index)
    fetched = machine.gpuenv(folder, "prepare", "--fetch-only", "--seed", "--target", TARGET)
    assert fetched.code == 0, fetched.err
    done = machine.gpuenv(folder, "prepare", "--only", "--no-proof", network=False)
    assert done.code == 0, done.err
    assert "pip" in {name.split()[0] for name in distributions(folder / ".venv")}
