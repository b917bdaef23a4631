"""Every kind of project: prepared, switched, as `uv sync` has it, or refused by name."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.cli.machine import Machine, ask_python, distributions
from tests.cli.projects import TARGET, Project
from tests.cli.test_projects import BUILD_SYSTEM, write_module
from tests.simulators.wheels import make_sdist, make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.simulators.index import IndexSimulator

UV = "[tool.uv]\n"
LINES = ("cu13", "cu12")
ALL = ["cu13", "cu12", "cpu"]


def in_uv(folder: Path, line: str) -> None:
    """Add a line to the table of uv, which `Project` ends with its conflicts."""
    path = folder / "pyproject.toml"
    text = path.read_text(encoding="utf-8")
    assert UV in text
    path.write_text(text.replace(UV, f"{UV}{line}\n", 1), encoding="utf-8")


def member(
    folder: Path, *needs: str, extras: Sequence[str] = (), more: str = "", build: str = BUILD_SYSTEM
) -> Path:
    """Write a package with a module of its name; `extras` are lines that it has."""
    name = folder.name
    text = f'[project]\nname = "{name}"\nversion = "0.1.0"\nrequires-python = ">=3.11"\n'
    text += f"dependencies = {json.dumps(needs)}\n"
    if extras:
        lines = "".join(f'{line} = ["lean-{line}"]\n' for line in extras)
        text += f"[project.optional-dependencies]\n{lines}"
    sources = "".join(f"{other} = {{ workspace = true }}\n" for other in needs)
    text += f"[tool.uv.sources]\n{sources}" if needs else ""
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(text + more + build, encoding="utf-8")
    write_module(folder, name, "VALUE = 1\n")
    return folder


def goes_round(  # noqa: PLR0913 - a project, and what it is to have
    machine: Machine,
    folder: Path,
    common: set[str],
    *,
    packages: Sequence[str] = ("lean", "stub"),
    turned_on: Callable[[str], tuple[str, ...]] = lambda line: ("--extra", line),
    home: Path | None = None,
    is_of_uv: bool = True,
) -> None:
    """Prepare, switch to each line, let uv compare, prepare once more, install the local locks."""
    link = (home or folder) / ".venv"
    done = machine.gpuenv(folder, "prepare", "--target", TARGET, "--json")
    assert done.data["prepared"] == ALL
    for line in ("cu12", "cu13"):
        switched = machine.gpuenv(folder, "switch", line, network=False)
        assert switched.code == 0, switched.err
        expected = common | {f"{package}-{line} 1.0" for package in packages}
        assert distributions(link) == expected
        if is_of_uv:
            words = ("sync", "--frozen", *turned_on(line), "--check")
            checked = machine.uv(folder, *words, network=False)
            assert checked.code == 0, checked.err
    again = machine.gpuenv(folder, "prepare", "--json", network=False)
    assert again.data["nothing_to_do"] is True
    scratch = folder / "scratch"
    made = machine.uv(folder, "venv", "-q", "--no-project", scratch)
    assert made.code == 0, made.err
    lock = folder / ".gpuenv" / "pylock.cu13.toml"
    options = ("--offline", "--extra", "folders", "--python", str(scratch))
    local = machine.uv(folder, "pip", "sync", "-q", *options, lock, network=False)
    assert local.code == 0, local.err
    assert distributions(scratch) == expected


def test_default_groups_and_those_that_they_include_are_installed(
    warm: Machine, tmp_path: Path, index: IndexSimulator
) -> None:
    groups = """
[dependency-groups]
docs = [{ include-group = "inner" }]
inner = ["helper"]
dev = ["tinybuild"]
"""
    app = Project(more=groups).write(tmp_path / "app", index.index_url)
    in_uv(app, 'default-groups = ["docs"]')
    goes_round(warm, app, {"common 1.0", "helper 1.0"})


def test_a_default_group_of_another_line_is_turned_off(
    warm: Machine, tmp_path: Path, index: IndexSimulator
) -> None:
    app = Project(table="dependency-groups").write(tmp_path / "app", index.index_url)
    in_uv(app, 'default-groups = ["cu12"]')

    def turned_on(line: str) -> tuple[str, ...]:
        return ("--group", line, *(() if line == "cu12" else ("--no-group", "cu12")))

    goes_round(warm, app, {"common 1.0"}, turned_on=turned_on)


def test_an_extra_and_a_group_can_exclude_each_other(
    warm: Machine, tmp_path: Path, index: IndexSimulator
) -> None:
    more = """
[dependency-groups]
cu13 = ["lean-cu13"]

[tool.uv]
conflicts = [[{ extra = "cu12" }, { group = "cu13" }]]
"""
    project = Project(lines=("cu12",), packages=("lean",), more=more)
    app = project.write(tmp_path / "app", index.index_url)

    def turned_on(line: str) -> tuple[str, ...]:
        return ("--extra" if line == "cu12" else "--group", line)

    goes_round(warm, app, {"common 1.0"}, packages=("lean",), turned_on=turned_on)


def test_members_of_a_workspace_need_each_other(
    warm: Machine, tmp_path: Path, index: IndexSimulator
) -> None:
    more = """
[tool.uv.workspace]
members = ["packages/*"]

[tool.uv.sources]
alpha = { workspace = true }
"""
    project = Project(dependencies=("common", "alpha"), more=more)
    root = project.write(tmp_path / "root", index.index_url)
    member(root / "packages" / "alpha", "beta")
    beta = member(root / "packages" / "beta", extras=LINES)
    conflicts = ", ".join(f'{{ package = "beta", extra = "{line}" }}' for line in LINES)
    path = root / "pyproject.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("conflicts = [", f"conflicts = [[{conflicts}], "), "utf-8")
    goes_round(warm, root, {"common 1.0", "alpha 0.1.0", "beta 0.1.0"})
    goes_round(warm, beta, {"beta 0.1.0"}, packages=("lean",), home=root)


@pytest.fixture
def virtual(tmp_path: Path, index: IndexSimulator) -> Path:
    """The root of a workspace that is no project; one member has the lines."""
    root = tmp_path / "root"
    beta = member(root / "packages" / "beta", extras=LINES)
    member(beta.parent / "alpha", "beta", more='[dependency-groups]\ndev = ["helper"]\n')
    conflicts = ", ".join(f'{{ package = "beta", extra = "{line}" }}' for line in LINES)
    text = f"""\
[tool.uv]
conflicts = [[{conflicts}]]

[tool.uv.workspace]
members = ["packages/*"]

[[tool.uv.index]]
name = "simulator"
url = "{index.index_url}"
default = true
"""
    (root / "pyproject.toml").write_text(text, encoding="utf-8")
    return root


def test_a_root_that_is_no_project_has_the_extras_of_its_members(
    warm: Machine, virtual: Path
) -> None:
    common = {"alpha 0.1.0", "beta 0.1.0", "helper 1.0"}
    goes_round(warm, virtual, common, packages=("lean",))


def test_uv_keeps_the_lock_of_a_member_that_says_nothing_of_uv(
    warm: Machine, virtual: Path
) -> None:
    beta = virtual / "packages" / "beta"
    goes_round(warm, beta, {"beta 0.1.0"}, packages=("lean",), home=virtual)
    assert (virtual / "uv.lock").exists()
    assert not list(beta.glob("pylock.*"))


def test_a_new_member_of_a_workspace_is_noticed(warm: Machine, virtual: Path) -> None:
    first = warm.gpuenv(virtual, "prepare", "--only", "--target", TARGET, "--json")
    assert warm.gpuenv(virtual, "prepare", "--only", "--json").data["nothing_to_do"] is True
    member(virtual / "packages" / "gamma")
    stale = warm.gpuenv(virtual, "prepare", "--only")
    assert stale.code == 1
    assert stale.message.error == "`uv.lock` does not fit `pyproject.toml`"
    assert warm.uv(virtual, "lock").code == 0
    done = warm.gpuenv(virtual, "prepare", "--only", "--json")
    assert done.data["environment"] != first.data["environment"]
    assert "gamma 0.1.0" in distributions(virtual / ".venv")


def git(folder: Path, *words: str | Path) -> None:
    name = ("-c", "user.name=Some One", "-c", "user.email=one@example.test")
    subprocess.run(["git", *name, *words], cwd=folder, check=True, capture_output=True)


def test_sources_of_every_kind_are_installed_as_uv_does(
    warm: Machine, tmp_path: Path, index: IndexSimulator
) -> None:
    gitted = member(tmp_path / "gitted")
    git(gitted, "init", "-q", "-b", "main")
    git(gitted, "add", ".")
    git(gitted, "commit", "-q", "-m", "first")
    git(tmp_path, "clone", "-q", "--bare", gitted, tmp_path / "bare.git")
    wheel = make_wheel(tmp_path, "wheelfile", "2.0")
    sdist = make_sdist(tmp_path, "packed", "2.0")
    more = f"""
[tool.uv.sources]
wheelfile = {{ path = "lib/{wheel.name}" }}
packed = {{ path = "lib/{sdist.name}" }}
plain = {{ path = "lib/plain" }}
editable = {{ path = "../editable", editable = true }}
gitted = {{ git = "file://{tmp_path}/bare.git", branch = "main" }}
"""
    needs = ("common", "wheelfile", "packed", "plain", "editable", "gitted")
    app = Project(dependencies=needs, more=more).write(tmp_path / "app", index.index_url)
    plain = member(app / "lib" / "plain")
    editable = member(tmp_path / "editable")
    for path in (wheel, sdist):
        shutil.copy(path, app / "lib")
    common = {"common 1.0", "wheelfile 2.0", "packed 2.0"}
    common |= {f"{name} 0.1.0" for name in ("plain", "editable", "gitted")}
    goes_round(warm, app, common)
    for folder in (plain, editable):
        write_module(folder, folder.name, "VALUE = 2\n")
    code = "import plain, editable; print(plain.VALUE, editable.VALUE)"
    assert ask_python(app / ".venv", code) == "1 2"


def test_what_uv_is_told_of_versions_platforms_and_packages_counts(
    warm: Machine, tmp_path: Path, index: IndexSimulator
) -> None:
    project = Project(dependencies=("common<1",), more=BUILD_SYSTEM)
    app = project.write(tmp_path / "app", index.index_url)
    in_uv(app, 'override-dependencies = ["common==1.0"]')
    in_uv(app, "environments = [\"sys_platform == 'linux'\"]")
    in_uv(app, "required-environments = [\"sys_platform == 'linux'\"]")
    in_uv(app, "package = false")
    path = app / "pyproject.toml"
    path.write_text(path.read_text(encoding="utf-8").replace(">=3.11", "==3.11.*"), "utf-8")
    (app / ".python-version").write_text("3.11\n", encoding="utf-8")
    goes_round(warm, app, {"common 1.0"})


def test_a_uv_toml_in_the_project_lets_uv_keep_the_lock(
    warm: Machine, tmp_path: Path, index: IndexSimulator
) -> None:
    app = Project(uv=False, lines=("cu13",)).write(tmp_path / "app", index.index_url)
    text = f'[[index]]\nurl = "{index.index_url}"\ndefault = true\n'
    (app / "uv.toml").write_text(text, encoding="utf-8")
    done = warm.gpuenv(app, "prepare", "--target", TARGET, "--json")
    assert done.data["prepared"] == ["cu13", "cpu"]
    assert not list(app.glob("pylock.*"))
    checked = warm.uv(app, "sync", "--frozen", "--extra", "cu13", "--check")
    assert checked.code == 0, checked.err


def test_a_uv_toml_that_is_not_valid_is_told_as_such(warm: Machine, tmp_path: Path) -> None:
    app = Project(uv=False).write(tmp_path / "app", "")
    (app / "uv.toml").write_text("conflicts = []\n", encoding="utf-8")
    done = warm.gpuenv(app, "prepare", "--target", TARGET)
    assert done.code == 1
    assert done.message.error == "uv cannot read its settings"
    assert "uv.toml" in done.message.causes[0]


def test_a_project_that_uv_is_not_to_manage_is_locked_by_gpuenv(
    warm: Machine, tmp_path: Path, index: IndexSimulator
) -> None:
    app = Project(more=BUILD_SYSTEM).write(tmp_path / "app", index.index_url)
    write_module(app, "app", "VALUE = 1\n")
    assert warm.uv(app, "lock").code == 0
    in_uv(app, "managed = false")
    goes_round(warm, app, {"common 1.0", "app 0.1.0"}, is_of_uv=False)
    assert (app / "pylock.cu13.toml").exists()


@pytest.mark.parametrize("is_of_uv", [True, False])
def test_a_python_that_the_project_forbids_is_refused_with_both(
    machine: Machine, tmp_path: Path, index: IndexSimulator, *, is_of_uv: bool
) -> None:
    project = Project(uv=is_of_uv, packages=("lean",))
    app = project.write(tmp_path / "app", index.index_url)
    path = app / "pyproject.toml"
    path.write_text(path.read_text(encoding="utf-8").replace(">=3.11", ">=4"), "utf-8")
    (app / ".python-version").write_text("3\n", encoding="utf-8")
    done = machine.gpuenv(app, "prepare", "--target", TARGET)
    assert done.code == 1
    assert done.message.error.startswith("the project forbids Python `3.")
    assert done.message.causes[0].startswith("`requires-python` is `>=4`, and uv finds `")
    assert index.requests == []


def test_a_script_is_refused_by_name(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "job.py"
    path.write_text("# /// script\n# dependencies = []\n# ///\n", encoding="utf-8")
    done = machine.gpuenv(tmp_path, "prepare", "--project", "job.py")
    assert done.code == 2
    assert done.message.error == f"`{path}` is a script, and gpuenv provisions projects"
    assert "PEP 723" in done.message.causes[0]


def test_a_folder_with_requirements_alone_is_refused_until_a_profile_is_named(
    warm: Machine, tmp_path: Path
) -> None:
    (tmp_path / "requirements.txt").write_text("common\n", encoding="utf-8")
    for command in ("prepare", "lock"):
        done = warm.gpuenv(tmp_path, command, "--target", TARGET)
        assert done.code == 1
        assert done.message.causes == ("`requirements.txt` is not read",)
        assert "uv add -r requirements.txt" in (done.message.hint or "")
    assert {path.name for path in tmp_path.iterdir()} <= {"requirements.txt"}
    words = ("prepare", "--target", TARGET, "--profile", "cpu")
    assert warm.gpuenv(tmp_path, *words).code == 0
    assert warm.gpuenv(tmp_path, "prepare", "--target", "driver=none,gpus=").code == 0


def test_lines_that_only_pdm_reads_are_refused_by_name(
    warm: Machine, tmp_path: Path, index: IndexSimulator
) -> None:
    more = '\n[tool.pdm.dev-dependencies]\ncu13 = ["lean-cu13"]\ntest = ["helper"]\n'
    app = Project(lines=(), more=more).write(tmp_path / "app", index.index_url)
    for command in ("prepare", "select"):
        done = warm.gpuenv(app, command, "--target", TARGET)
        assert done.code == 1
        assert done.message.error == f"the CUDA lines of `{app / 'pyproject.toml'}` cannot be read"
        assert done.message.causes == (
            "`cu13` is defined in `[tool.pdm.dev-dependencies]`, which only pdm reads",
        )
    assert not (app / ".venv").exists()
    done = warm.gpuenv(app, "prepare", "--target", TARGET, "--profile", "cpu")
    assert done.code == 0, done.err
    assert "only pdm reads that table" in done.out
