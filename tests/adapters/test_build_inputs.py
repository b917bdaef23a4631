"""Whatever uv builds a folder anew for is another input, and something watched has changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.build_inputs import build_inputs, named_variables, watched
from provisioner.workflow.marks import signature_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEYS = """
[tool.uv]
cache-keys = [
    "VERSION", { file = "src/**/*.{c,h}" }, { dir = "assets" }, { git = { commit = true } },
    { git = { tags = true } }, { env = "WITH_CUDA" },
]
"""


def git(folder: Path, *words: str) -> None:
    named = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *named, *words], cwd=folder, check=True, capture_output=True)


def commit(folder: Path) -> None:
    git(folder, "commit", "-q", "--allow-empty", "-m", "more")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "app"
    (found / "src" / "deep").mkdir(parents=True)
    (found / "src" / "a.c").write_text("1")
    (found / "VERSION").write_text("1")
    (found / "pyproject.toml").write_text(KEYS)
    git(found, "init", "-q")
    commit(found)
    return found


def signatures(folder: Path) -> dict[Path, list[int] | None]:
    return {path: signature_of(path) for path in watched(folder, os.environ)}


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "VERSION").write_text("10"),
        lambda folder: (folder / "VERSION").unlink(),
        lambda folder: (folder / "src" / "a.c").write_text("22"),
        lambda folder: (folder / "src" / "deep" / "b.h").write_text("new"),
        lambda folder: (folder / "src" / "c.h").write_text("new"),
        lambda folder: (folder / "assets").mkdir(),
        commit,
        lambda folder: git(folder, "tag", "v1"),
        lambda folder: git(folder, "commit", "-q", "--amend", "--allow-empty", "-m", "other"),
    ],
)
def test_a_change_that_a_key_names_is_another_input_and_is_seen_by_stats(
    folder: Path, change: Callable[[Path], object]
) -> None:
    before, seen = build_inputs(folder, {}), signatures(folder)
    assert build_inputs(folder, {}) == before
    change(folder)
    assert build_inputs(folder, {}) != before
    assert {path: signature_of(path) for path in seen} != seen


def test_a_change_that_no_key_names_is_none(folder: Path) -> None:
    before = build_inputs(folder, {})
    (folder / "src" / "a.py").write_text("new")
    (folder / "README.md").write_text("new")
    assert build_inputs(folder, {}) == before


def test_a_variable_counts_by_its_value(folder: Path) -> None:
    values: list[dict[str, str]] = [{}, {"WITH_CUDA": ""}, {"WITH_CUDA": "1"}]
    each = [build_inputs(folder, value) for value in values]
    assert len({str(one) for one in each}) == len(values)
    assert named_variables(folder) == {"WITH_CUDA"}


def test_without_the_setting_a_new_folder_of_sources_counts(tmp_path: Path) -> None:
    before, seen = build_inputs(tmp_path, {}), signatures(tmp_path)
    (tmp_path / "src").mkdir()
    assert build_inputs(tmp_path, {}) != before
    assert {path: signature_of(path) for path in seen} != seen


def test_a_pattern_that_nobody_can_walk_means_nothing(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.uv]\ncache-keys = ["/etc/*", "**x/*"]\n')
    assert build_inputs(tmp_path, {}) == [["file", "/etc/*"], ["file", "**x/*"]]
    assert tmp_path / "pyproject.toml" in set(watched(tmp_path, {}))


TELL = """
import os, sys
from pathlib import Path
from provisioner.adapters.build_inputs import build_inputs, watched
folder = Path(sys.argv[1])
print(build_inputs(folder, os.environ), *watched(folder, os.environ))
"""


def test_variables_of_git_lead_to_no_other_repository(folder: Path, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "other")
    hooked = {"GIT_DIR": str(tmp_path / "other" / ".git"), "GIT_WORK_TREE": str(tmp_path)}
    told = [
        subprocess.run(
            [sys.executable, "-c", TELL, folder],
            env={**os.environ, **given},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for given in ({}, hooked)
    ]
    assert told[0] == told[1]


def test_a_commit_is_seen_by_stats_where_git_keeps_no_log(folder: Path) -> None:
    git(folder, "config", "core.logAllRefUpdates", "false")
    git(folder, "checkout", "-q", "-b", "feature/deep")
    shutil.rmtree(folder / ".git" / "logs")
    seen = signatures(folder)
    commit(folder)
    assert {path: signature_of(path) for path in seen} != seen
