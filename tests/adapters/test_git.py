"""git's own settings, as the real git sees them."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.git import setting
from tests.simulators.environment import clean_environment

if TYPE_CHECKING:
    from pathlib import Path

NAME = "http.proxy"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A real repository."""
    folder = tmp_path / "repository"
    folder.mkdir()
    run(folder, variables_of(tmp_path), "init", "-q")
    return folder


def variables_of(tmp_path: Path, text: str = "", **more: str) -> dict[str, str]:
    """A user whose only settings are the given ones."""
    file = tmp_path / "gitconfig"
    file.write_text(text, encoding="utf-8")
    return clean_environment(tmp_path, GIT_CONFIG_GLOBAL=str(file), GIT_CONFIG_NOSYSTEM="1", **more)


def run(folder: Path, variables: dict[str, str], *words: str) -> None:
    """Run git in a folder."""
    subprocess.run(["git", *words], cwd=folder, env=variables, check=True, capture_output=True)


def test_a_setting_of_the_user_is_seen(repository: Path, tmp_path: Path) -> None:
    variables = variables_of(tmp_path, "[http]\n\tproxy = http://proxy.test:3128\n")

    assert setting(repository, variables, NAME) == "http://proxy.test:3128"


def test_a_setting_of_the_repository_is_stronger(repository: Path, tmp_path: Path) -> None:
    variables = variables_of(tmp_path, "[http]\n\tproxy = http://proxy.test:3128\n")
    run(repository, variables, "config", NAME, "http://own.test:1")
    below = repository / "src"
    below.mkdir()

    assert setting(below, variables, NAME) == "http://own.test:1"


def test_an_empty_setting_is_something_else_than_none(repository: Path, tmp_path: Path) -> None:
    assert setting(repository, variables_of(tmp_path), NAME) is None
    assert setting(repository, variables_of(tmp_path, "[http]\n\tproxy =\n"), NAME) == ""


def test_outside_a_repository_the_users_settings_count(tmp_path: Path) -> None:
    variables = variables_of(tmp_path, "[http]\n\tproxy = http://proxy.test:3128\n")

    assert setting(tmp_path, variables, NAME) == "http://proxy.test:3128"


def test_settings_that_git_cannot_read_are_none(repository: Path, tmp_path: Path) -> None:
    assert setting(repository, variables_of(tmp_path, "[[["), NAME) is None


def test_without_git_there_is_no_setting(tmp_path: Path) -> None:
    assert setting(tmp_path, {"PATH": str(tmp_path)}, NAME) is None
