"""What goes into an environment."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from provisioner.core.interpreter import Interpreter
from provisioner.core.plan import LockedSet
from provisioner.workflow.environments import Recipe, local_folders, order_from

RECIPE = Recipe(
    folder="/app/member",
    lock="/app/uv.lock",
    lock_hash="",
    lock_stamp=(),
    by_uv=True,
    extras=(),
    groups=(),
    without=(),
    python="",
    editable=None,
)


def test_folders_of_a_lock_are_told_from_the_project_also_in_a_workspace() -> None:
    contents = LockedSet(files=(), folders=(".", "..", "../../beside"))
    found = local_folders(RECIPE, contents)
    assert found == (Path("/app/member"), Path("/app"), Path("/beside"))


@pytest.mark.parametrize("seed", [(), (("pip-1.0-py3-none-any.whl", "ab" * 32),)])
def test_a_recipe_survives_being_written(seed: tuple[tuple[str, str], ...]) -> None:
    made = replace(RECIPE, seed=seed, lock_stamp=(1, 2), extras=("cu12",))
    assert Recipe.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_a_recipe_of_before_there_were_seeds_has_none() -> None:
    written = RECIPE.to_json()
    del written["seed"]
    assert Recipe.from_json(written) == RECIPE


def test_other_seeds_are_other_inputs() -> None:
    seeds = [(), (("pip-1.0-py3-none-any.whl", "ab" * 32),), (("pip-1.0-py3-none-any.whl", "cd"),)]
    contents, python = LockedSet(files=()), Interpreter(version="3.12.1")
    orders = [
        order_from("cu12", replace(RECIPE, seed=seed), "", contents, python, variables={})
        for seed in seeds
    ]
    assert len({order.inputs for order in orders}) == len(seeds)


def test_another_build_of_the_same_python_is_another_input() -> None:
    builds = ["3.12.1 (Oct 1)", "3.12.1 (Oct 2)"]
    orders = [
        order_from(
            *("cu12", RECIPE, "", LockedSet(files=())),
            Interpreter(version="3.12.1", build=build),
            variables={},
        )
        for build in builds
    ]
    assert orders[0].inputs != orders[1].inputs


def test_what_uv_builds_a_folder_anew_for_is_another_input(tmp_path: Path) -> None:
    recipe = replace(RECIPE, folder=str(tmp_path))

    def inputs(**variables: str) -> str:
        python = Interpreter(version="3.12.1")
        contents = LockedSet(files=())
        return order_from("cu12", recipe, "", contents, python, variables=variables).inputs

    (tmp_path / "pyproject.toml").write_text('[tool.uv]\ncache-keys = [{ env = "WITH" }]\n')
    assert inputs() != inputs(WITH="cuda")
    assert inputs(WITH="cuda") == inputs(WITH="cuda", OTHER="1")
