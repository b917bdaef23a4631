"""Which links an environment gets: the user's own, or the safest that there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from provisioner.workflow.links import choose_link_mode
from provisioner.workflow.world import World
from tests.workflow.stores import Notes

if TYPE_CHECKING:
    from pathlib import Path


def choose(root: Path, **variables: str) -> tuple[str, list[str]]:
    notes = Notes()
    (root / "envs").mkdir(exist_ok=True)
    world = World(
        variables={"UV_CONFIG_FILE": str(root / "uv.toml"), **variables},
        home=root,
        folder=root,
        now=lambda: 0.0,
        root=root,
        progress=notes,
    )
    return choose_link_mode(world, root, root / "envs", lambda: root / "cache"), notes.told


def test_without_a_setting_bytes_are_shared_and_nothing_is_said(tmp_path: Path) -> None:
    mode, told = choose(tmp_path)
    assert mode in {"clone", "hardlink"}
    assert told == []


@pytest.mark.parametrize("mode", ["clone", "hardlink", "copy"])
def test_the_users_own_setting_counts_and_no_cache_is_looked_for(tmp_path: Path, mode: str) -> None:
    assert choose(tmp_path, UV_LINK_MODE=mode) == (mode, [])
    (tmp_path / "uv.toml").write_text(f'link-mode = "{mode}"\n', encoding="utf-8")
    assert choose(tmp_path) == (mode, [])


def test_symbolic_links_which_cleaning_a_cache_breaks_are_not_made(tmp_path: Path) -> None:
    mode, told = choose(tmp_path, UV_LINK_MODE="symlink")
    assert mode in {"clone", "hardlink"}
    (note,) = told
    assert note.endswith(f"environments are made by `{mode}`")
