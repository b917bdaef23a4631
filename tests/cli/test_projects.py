"""Kinds of uv projects: groups, packages, workspaces, local paths, and none of uv's own lock."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.machine import Machine, ask_python, distributions, line_of
from tests.cli.projects import TARGET, Project

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Locker
    from tests.simulators.index import IndexSimulator

BUILD_SYSTEM = '\n[build-system]\nrequires = ["tinybuild"]\nbuild-backend = "tinybuild"\n'


def write_module(folder: Path, name: str, text: str) -> None:
    module = folder / "src" / name / "__init__.py"
    module.parent.mkdir(parents=True, exist_ok=True)
    module.write_text(text, encoding="utf-8")


def write_member(folder: Path, name: str) -> None:
    """Write a project that is built, and has a module of its name."""
    folder.mkdir(parents=True)
    text = f'[project]\nname = "{name}"\nversion = "0.1.0"\nrequires-python = ">=3.11"\n'
    (folder / "pyproject.toml").write_text(text + BUILD_SYSTEM, encoding="utf-8")
    write_module(folder, name, "VALUE = 1\n")


def test_dependency_groups_serve_as_extras(
    warm: Machine, new_project: Callable[[Project], Path]
) -> None:
    app = new_project(Project(table="dependency-groups"))
    done = warm.gpuenv(app, "prepare", "--target", TARGET, "--json")
    assert done.data["prepared"] == ["cu13", "cu12", "cpu"]
    assert done.data["extras"] == ["cu13"]
    assert distributions(app / ".venv") == {"common 1.0", "lean-cu13 1.0", "stub-cu13 1.0"}
    switched = warm.gpuenv(app, "switch", "cu12", network=False)
    assert switched.code == 0, switched.err
    assert line_of(app / ".venv") == "cu12"
    environment = str((app / ".venv").readlink())
    checked = warm.uv(
        app,
        *("sync", "--frozen", "--group", "cu12", "--check"),
        given={"UV_PROJECT_ENVIRONMENT": environment},
    )
    assert checked.code == 0, checked.err


def test_a_project_with_a_build_system_is_installed_editable(
    warm: Machine, tmp_path: Path, index: IndexSimulator, locker: Locker
) -> None:
    app = Project(more=BUILD_SYSTEM).write(tmp_path / "app", index.index_url)
    write_module(app, "app", "VALUE = 1\n")
    locker.lock(app)
    built = warm.built()
    words = ["prepare", "--only", "--target", TARGET, "--json"]
    done = warm.gpuenv(app, *words, network=False)
    assert "app 0.1.0" in distributions(app / ".venv")
    assert ask_python(app / ".venv", "import app; print(app.VALUE)") == "1"
    write_module(app, "app", "VALUE = 2\n")
    assert ask_python(app / ".venv", "import app; print(app.VALUE)") == "2"
    added = set(Counter(warm.built()) - Counter(built))
    assert added == {"build_editable app 0.1.0"}
    again = warm.gpuenv(app, "prepare", "--only", "--json", network=False)
    assert again.data["environment"] == done.data["environment"]
    checked = warm.uv(
        app,
        *("sync", "--frozen", "--extra", "cu13", "--check"),
        given={"UV_PROJECT_ENVIRONMENT": done.data["environment"]},
    )
    assert checked.code == 0, checked.err


def test_what_cache_keys_name_makes_a_new_environment(
    warm: Machine, tmp_path: Path, index: IndexSimulator, locker: Locker
) -> None:
    keys = '\n[tool.uv]\ncache-keys = [{ file = "src/**/*.c" }, { env = "WITH_CUDA" }]\n'
    more = BUILD_SYSTEM + keys
    app = Project(name="kernels", lines=("cu13",), more=more).write(
        tmp_path / "app", index.index_url
    )
    write_module(app, "kernels", "VALUE = 1\n")
    locker.lock(app)
    words = ["prepare", "--only", "--json"]
    first = warm.gpuenv(app, *words, "--target", TARGET, network=False)
    assert first.code == 0, first.err
    seen = [first.data["environment"]]
    (app / "src" / "kernels" / "a.c").write_text("new")
    for given in ({}, {"WITH_CUDA": "1"}, {"WITH_CUDA": "0"}):
        done = warm.gpuenv(app, *words, network=False, given=given)
        assert done.code == 0, done.err
        assert done.data["environment"] not in seen
        seen.append(done.data["environment"])
        again = warm.gpuenv(app, *words, network=False, given=given)
        assert again.data["environment"] == seen[-1]


def test_a_project_has_one_name_by_whatever_path_it_is_called(
    warm: Machine, new_project: Callable[[Project], Path], tmp_path: Path
) -> None:
    app = new_project(Project())
    other = tmp_path / "link"
    other.symlink_to(app, target_is_directory=True)
    called = ["prepare", "--only", "--json", "--project"]
    first = warm.gpuenv(tmp_path, *called, other, "--target", TARGET)
    again = warm.gpuenv(tmp_path, *called, app)
    assert again.data["environment"] == first.data["environment"]
    switched = warm.gpuenv(app, "switch", "cu13", "--json")
    assert switched.data["environment"] == first.data["environment"]


def test_a_new_entry_point_makes_a_new_environment(
    warm: Machine, tmp_path: Path, index: IndexSimulator, locker: Locker
) -> None:
    app = Project(lines=("cu13",), more=BUILD_SYSTEM).write(tmp_path / "app", index.index_url)
    write_module(app, "app", "VALUE = 1\n")
    locker.lock(app)
    first = warm.gpuenv(app, "prepare", "--only", "--target", TARGET, "--json")
    text = (app / "pyproject.toml").read_text(encoding="utf-8")
    scripts = '\n[project.scripts]\napp = "app:main"\n'
    (app / "pyproject.toml").write_text(text + scripts, encoding="utf-8")
    second = warm.gpuenv(app, "prepare", "--only", "--json")
    assert second.data["environment"] != first.data["environment"]


def test_a_local_path_is_installed_as_uv_would(
    warm: Machine, tmp_path: Path, index: IndexSimulator, locker: Locker
) -> None:
    project = Project(
        dependencies=("common", "local"),
        more='\n[tool.uv.sources]\nlocal = { path = "lib/local", editable = true }\n',
    )
    app = project.write(tmp_path / "app", index.index_url)
    write_member(app / "lib" / "local", "local")
    locker.lock(app)
    done = warm.gpuenv(app, "prepare", "--only", "--target", TARGET, "--json")
    assert "local 0.1.0" in distributions(app / ".venv")
    where = ask_python(app / ".venv", "import local; print(local.__file__)")
    assert Path(where).is_relative_to(app / "lib" / "local")
    again = warm.gpuenv(app, "prepare", "--only", "--json", network=False)
    assert again.data["environment"] == done.data["environment"]


@pytest.fixture
def workspace(tmp_path: Path, index: IndexSimulator, locker: Locker) -> Path:
    """A workspace whose root has the extras and whose member is a package."""
    project = Project(
        dependencies=("common", "member"),
        more="""
[tool.uv.workspace]
members = ["packages/*"]

[tool.uv.sources]
member = { workspace = true }
""",
    )
    root = project.write(tmp_path / "root", index.index_url)
    write_member(root / "packages" / "member", "member")
    locker.lock(root)
    return root


def test_a_workspace_gets_its_members(warm: Machine, workspace: Path) -> None:
    done = warm.gpuenv(workspace, "prepare", "--only", "--target", TARGET, "--json")
    assert done.data["active"] == "cu13"
    assert "member 0.1.0" in distributions(workspace / ".venv")
    assert ask_python(workspace / ".venv", "import member; print(member.VALUE)") == "1"


def test_a_member_of_a_workspace_uses_the_lock_and_the_link_of_its_root(
    warm: Machine, workspace: Path, locker: Locker
) -> None:
    member = workspace / "packages" / "member"
    text = (member / "pyproject.toml").read_text(encoding="utf-8")
    own = '\n[project.optional-dependencies]\ncu13 = ["lean-cu13"]\n'
    (member / "pyproject.toml").write_text(text + own, encoding="utf-8")
    (workspace / "uv.lock").unlink()
    locker.lock(workspace)
    done = warm.gpuenv(member, "prepare", "--target", TARGET, "--json")
    assert done.data["prepared"] == ["cu13", "cpu"]
    assert not (member / ".venv").is_symlink()
    assert not (member / "uv.lock").exists()
    assert distributions(workspace / ".venv") == {"member 0.1.0", "lean-cu13 1.0"}
    switched = warm.gpuenv(member, "switch", "cpu", network=False)
    assert switched.code == 0, switched.err
    assert distributions(workspace / ".venv") == {"member 0.1.0"}


def test_a_uv_project_without_a_lock_is_locked_first(
    warm: Machine, tmp_path: Path, index: IndexSimulator
) -> None:
    app = Project(name="unlocked").write(tmp_path / "unlocked", index.index_url)
    done = warm.gpuenv(app, "prepare", "--only", "--target", TARGET, "--json")
    assert done.data["active"] == "cu13"
    assert 'name = "lean-cu13"' in (app / "uv.lock").read_text(encoding="utf-8")
    assert warm.uv(app, "lock", "--check").code == 0
    assert not list(app.glob("pylock.*"))


def test_lock_writes_the_lock_and_no_more(
    machine: Machine, tmp_path: Path, index: IndexSimulator
) -> None:
    app = Project(lines=("cu13",), packages=("lean",)).write(tmp_path / "app", index.index_url)
    done = machine.gpuenv(app, "lock", "--target", TARGET, "--json")
    assert {item["path"] for item in done.data["locks"]} == {str(app / "uv.lock")}
    assert {path.name for path in app.iterdir()} == {"pyproject.toml", "uv.lock"}
    assert machine.environments() == set()
    written = (app / "uv.lock").read_bytes()
    assert machine.gpuenv(app, "lock", "--target", TARGET).code == 0
    assert (app / "uv.lock").read_bytes() == written


def test_a_project_without_extras_gets_the_cpu_and_is_told_why(
    warm: Machine, new_project: Callable[[Project], Path]
) -> None:
    app = new_project(Project(name="plain", lines=()))
    done = warm.gpuenv(app, "prepare", "--target", TARGET)
    assert done.code == 0, done.err
    assert done.out.startswith("chose cpu")
    assert "`cu13` needs one of `cu13`, `cuda13`, `cuda13x`, the project defines none" in done.out
    assert distributions(app / ".venv") == {"common 1.0"}


def test_prepare_works_from_a_folder_inside_the_project(
    warm: Machine, new_project: Callable[[Project], Path]
) -> None:
    app = new_project(Project())
    inside = app / "some" / "where"
    inside.mkdir(parents=True)
    done = warm.gpuenv(inside, "prepare", "--only", "--target", TARGET)
    assert done.code == 0, done.err
    assert (app / ".venv").is_symlink()
    assert not (inside / ".venv").exists()
    assert warm.gpuenv(inside, "status", "--json").data["active"] == "cu13"


def test_the_project_and_the_store_can_be_named(
    machine: Machine, new_project: Callable[[Project], Path], tmp_path: Path
) -> None:
    app = new_project(Project())
    words = ["--project", app.name, "--store", "elsewhere"]
    done = machine.gpuenv(
        tmp_path, "prepare", "--only", "--profile", "cpu", "--target", TARGET, *words, "--json"
    )
    assert Path(done.data["environment"]).is_relative_to(tmp_path / "elsewhere" / "envs")
    assert (app / ".venv").is_symlink()
    assert not machine.store.exists()


def test_the_python_of_the_project_decides(
    warm: Machine, tmp_path: Path, index: IndexSimulator, locker: Locker
) -> None:
    app = Project(lines=("cu13",)).write(tmp_path / "app", index.index_url)
    locker.lock(app)
    (app / ".python-version").write_text("3.99\n", encoding="utf-8")
    done = warm.gpuenv(app, "prepare", "--target", TARGET)
    assert done.code == 1
    assert done.message.error == "uv finds no Python for the project"
    assert any("3.99" in cause for cause in done.message.causes)
