"""Where a project and its workspace are, compared with where uv puts the lock."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.projects import find_folder, find_home, load_manifest, read_place
from provisioner.adapters.state import StateFolder
from provisioner.errors import GpuenvError, UsageError
from tests.simulators.environment import clean_environment, uv_binary

if TYPE_CHECKING:
    from pathlib import Path


def project(folder: Path, more: str = "") -> Path:
    """A project in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    text = f'[project]\nname = "{folder.name}"\nversion = "1"\nrequires-python = ">=3.11"\n{more}'
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    return folder


def workspace(folder: Path, members: str, exclude: str = "[]") -> Path:
    """The root of a workspace."""
    return project(folder, f"[tool.uv.workspace]\nmembers = {members}\nexclude = {exclude}\n")


def where_uv_locks(top: Path, folder: Path) -> Path:
    """The folder that the real uv writes `uv.lock` into."""
    variables = clean_environment(top.parent, UV_OFFLINE="1")
    done = subprocess.run(
        [uv_binary(), "lock", "-q"],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (lock,) = top.parent.rglob("uv.lock")
    return lock.parent


def test_the_nearest_project_upwards_is_found(tmp_path: Path) -> None:
    outer = project(tmp_path / "outer")
    inner = project(outer / "inner")
    deep = inner / "src" / "deep"
    deep.mkdir(parents=True)

    assert find_folder(deep, named=False) == (inner, True)
    assert find_folder(inner, named=True) == (inner, True)
    assert find_folder(outer, named=False) == (outer, True)


def test_without_a_project_the_folder_itself_is_meant(tmp_path: Path) -> None:
    deep = tmp_path / "deep"
    (deep / "pyproject.toml").mkdir(parents=True)

    assert find_folder(deep, named=False) == (deep, False)


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_named_folder_that_is_none_is_a_usage_error(kind: str, tmp_path: Path) -> None:
    if kind == "file":
        (tmp_path / "file").write_text("", encoding="utf-8")

    with pytest.raises(UsageError, match="is not a folder"):
        find_folder(tmp_path / kind, named=True)


def test_a_place_without_a_project_is_its_own_home(tmp_path: Path) -> None:
    place = read_place(tmp_path, is_project=False)

    assert (place.folder, place.home, place.manifest) == (tmp_path, tmp_path, None)


def test_a_project_of_its_own_is_its_own_home(tmp_path: Path) -> None:
    folder = project(tmp_path / "alone", '[project.optional-dependencies]\nCu_12 = ["a"]\n')

    place = read_place(folder, is_project=True)

    assert place.home == folder
    assert place.uv_lock == folder / "uv.lock"
    assert place.manifest is not None
    assert place.manifest.extras == {"cu-12"}


CASES = {
    "a pattern": ('["packages/*"]', "[]", "packages/a"),
    "a path": ('["packages/a"]', "[]", "packages/a"),
    "two stars": ('["packages/**/a"]', "[]", "packages/deep/er/a"),
    "a member inside another member": ('["packages/**"]', "[]", "packages/deep/a"),
    "a path that begins with a dot": ('["./packages/a"]', "[]", "packages/a"),
    "a path that ends with a slash": ('["packages/a/"]', "[]", "packages/a"),
    "an excluded member": ('["packages/*"]', '["packages/a"]', "packages/a"),
    "an excluded pattern": ('["packages/*"]', '["packages/a*"]', "packages/a"),
    "no member": ('["packages/*"]', "[]", "elsewhere/a"),
    "a project below a member": ('["packages/*"]', "[]", "packages/a/examples/b"),
    "no members at all": ("[]", "[]", "packages/a"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_home_of_a_project_is_where_uv_keeps_its_lock(case: str, tmp_path: Path) -> None:
    members, exclude, name = CASES[case]
    top = workspace(tmp_path / "top", members, exclude)
    (top / "packages").mkdir()
    # uv wants a project in each folder that a pattern names.
    for above in ("packages/deep", "packages/a"):
        if name.startswith(f"{above}/") and "/er/" not in name:
            project(top / above)
    folder = project(top / name)

    home = read_place(folder, is_project=True).home

    assert home == where_uv_locks(top, folder)


def test_the_root_of_a_workspace_is_its_own_home(tmp_path: Path) -> None:
    top = workspace(tmp_path / "top", '["packages/*"]')
    project(top / "packages" / "a")

    assert read_place(top, is_project=True).home == top == where_uv_locks(top, top)


def test_a_project_inside_one_that_is_no_workspace_is_its_own_home(tmp_path: Path) -> None:
    top = workspace(tmp_path / "top", '["packages/deep/a"]')
    project(top / "packages")
    folder = project(top / "packages" / "deep" / "a")

    assert read_place(folder, is_project=True).home == where_uv_locks(top, folder) == folder


def test_the_home_is_found_without_reading_where_the_state_lies(tmp_path: Path) -> None:
    (tmp_path / ".gpuenv").mkdir()
    (tmp_path / "pyproject.toml").write_text("[[[", encoding="utf-8")

    assert find_home(tmp_path, is_project=True) == tmp_path


def test_the_home_of_a_member_is_the_root(tmp_path: Path) -> None:
    top = workspace(tmp_path / "top", '["packages/*"]')

    assert find_home(project(top / "packages" / "a"), is_project=True) == top
    assert find_home(tmp_path, is_project=False) == tmp_path


@pytest.mark.parametrize("content", [b"[[[", b"name = '\xe4'", b"project = 5\n", b"tool = []\n"])
def test_a_project_that_is_not_valid_is_told_with_its_path(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(content)

    with pytest.raises(GpuenvError) as caught:
        load_manifest(tmp_path)

    assert caught.value.code == "project-invalid"
    assert str(tmp_path / "pyproject.toml") in caught.value.message
    assert caught.value.causes


def test_the_home_of_a_prepared_member_is_found_without_reading_the_workspace(
    tmp_path: Path,
) -> None:
    top = workspace(tmp_path / "top", '["packages/*"]')
    member = project(top / "packages" / "a")
    StateFolder(top).lead_from(member)
    for folder in (top, member):
        (folder / "pyproject.toml").write_text("[[[", encoding="utf-8")

    assert find_home(member, is_project=True) == top


def test_a_pointer_says_more_than_the_state_folder_that_it_lies_in(tmp_path: Path) -> None:
    top = workspace(tmp_path / "top", '["packages/*"]')
    member = project(top / "packages" / "a")
    with StateFolder(member).hold(wait_seconds=0):
        StateFolder(top).lead_from(member)

    assert find_home(member, is_project=True) == top


def test_the_members_of_a_copied_workspace_do_not_lead_into_the_original(tmp_path: Path) -> None:
    top = workspace(tmp_path / "top", '["packages/*"]')
    member = project(top / "packages" / "a")
    StateFolder(top).lead_from(member)

    copied = tmp_path / "copied"
    shutil.copytree(top, copied)

    assert find_home(copied / "packages" / "a", is_project=True) == copied


def test_the_members_of_a_moved_workspace_find_it_again(tmp_path: Path) -> None:
    top = workspace(tmp_path / "top", '["packages/*"]')
    member = project(top / "packages" / "a")
    StateFolder(top).lead_from(member)

    moved = top.rename(tmp_path / "moved")

    assert find_home(moved / "packages" / "a", is_project=True) == moved


SETTINGS_ONLY = [
    "",
    "[tool.ruff]\nline-length = 100\n",
    "[tool.uv]\nindex-url = 'https://a.test'\n",
]


@pytest.mark.parametrize("text", SETTINGS_ONLY)
def test_a_pyproject_without_any_project_is_told_with_its_path(text: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")

    with pytest.raises(GpuenvError) as caught:
        read_place(tmp_path, is_project=True)

    assert caught.value.code == "project-invalid"
    assert str(tmp_path / "pyproject.toml") in caught.value.message
    assert caught.value.causes


@pytest.mark.parametrize("text", SETTINGS_ONLY)
def test_a_setup_script_beside_settings_makes_a_project(text: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    (tmp_path / "setup.py").write_text("", encoding="utf-8")

    place = read_place(tmp_path, is_project=True)

    assert (place.folder, place.home) == (tmp_path, tmp_path)
    assert place.manifest is not None
