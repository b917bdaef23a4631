"""What goes into an environment."""

from __future__ import annotations

from pathlib import Path

from provisioner.core.plan import LockedSet
from provisioner.workflow.environments import Recipe, local_folders


def test_folders_of_a_lock_are_told_from_the_project_also_in_a_workspace() -> None:
    recipe = Recipe(
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
    contents = LockedSet(files=(), folders=(".", "..", "../../beside"))
    found = local_folders(recipe, contents)
    assert found == (Path("/app/member"), Path("/app"), Path("/beside"))
