"""Projects that are not set up for uv, and folders without any project."""

from __future__ import annotations

import shutil
import tomllib
from typing import TYPE_CHECKING

import pytest

from tests.cli.machine import Machine, ask_python, distributions, line_of
from tests.cli.projects import TARGET, Project, downloads, publish_packages
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_wheel

if TYPE_CHECKING:
    from pathlib import Path

PROFILE = """\
schema: 1
name: {name}
cuda: "{cuda}"
extras: [{name}]
requirements: [lean-{name}, common]
indexes:
  - name: bound
    url: {url}
    packages: ["{packages}"]
    cache-control: {{api: "max-age=600", files: "max-age=365000000, immutable"}}
"""


def write_profiles(machine: Machine, url: str, *, packages: str = "lean*") -> None:
    """Give the user profiles of their own, which bind packages to an index."""
    folder = machine.home / "config" / "gpuenv" / "profiles"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cu11.yaml").write_text('{schema: 1, name: cu11, cuda: "11"}\n', encoding="utf-8")
    for cuda in ("12", "13"):
        text = PROFILE.format(name=f"cu{cuda}", cuda=cuda, url=url, packages=packages)
        (folder / f"cu{cuda}.yaml").write_text(text, encoding="utf-8")


def use_index(machine: Machine, url: str) -> None:
    """Set the default index of the user's uv."""
    path = machine.home / "config" / "uv" / "uv.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'[[index]]\nurl = "{url}"\ndefault = true\n', encoding="utf-8")


def pages(index: IndexSimulator) -> set[str]:
    """The projects whose pages an index was asked for."""
    return {request.path.strip("/") for request in index.requests if request.path.endswith("/")}


@pytest.fixture
def bare(machine: Machine, tmp_path: Path, index: IndexSimulator) -> Path:
    """A project without a word about uv, where the user's uv is set to the simulator."""
    use_index(machine, index.index_url)
    return Project(uv=False, packages=("lean",)).write(tmp_path / "bare", index.index_url)


def test_a_project_without_uv_gets_a_lock_of_each_profile_and_an_environment(
    machine: Machine, bare: Path, index: IndexSimulator
) -> None:
    done = machine.gpuenv(bare, "prepare", "--target", TARGET, "--json")
    assert done.data["prepared"] == ["cu13", "cu12", "cpu"]
    assert distributions(bare / ".venv") == {"common 1.0", "lean-cu13 1.0"}
    assert {path.name for path in bare.iterdir()} == {
        "pyproject.toml",
        "pylock.cu13.toml",
        "pylock.cu12.toml",
        "pylock.cpu.toml",
        ".venv",
        ".gpuenv",
    }
    lock = tomllib.loads((bare / "pylock.cu13.toml").read_text(encoding="utf-8"))
    assert lock["lock-version"] == "1.0"
    assert {package["name"] for package in lock["packages"]} == {"common", "lean-cu13"}
    for line in ("cu12", "cu13"):
        assert downloads(index)[f"lean_{line}-1.0-py3-none-any.whl"] == 1
    switched = machine.gpuenv(bare, "switch", "cu12", network=False)
    assert switched.code == 0, switched.err
    assert line_of(bare / ".venv") == "cu12"
    index.reset_log()
    again = machine.gpuenv(bare, "prepare", "--json", network=False)
    assert again.data["nothing_to_do"] is True
    assert index.requests == []


def test_a_lock_is_kept_until_something_else_is_needed(machine: Machine, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    with IndexSimulator() as own:
        for name in ("common", "lean-cu13"):
            own.publish(make_wheel(tmp_path, name, "1.0"))
        use_index(machine, own.index_url)
        write_profiles(machine, own.index_url + "nothing-is-here/", packages="unused")
        assert machine.gpuenv(folder, "prepare", "--target", TARGET).code == 0
        written = (folder / "pylock.cu13.toml").read_bytes()
        for name, version in (("common", "2.0"), ("extra", "1.0")):
            own.publish(make_wheel(tmp_path, name, version))
        own.reset_log()
        assert machine.gpuenv(folder, "lock").code == 0
        assert (folder / "pylock.cu13.toml").read_bytes() == written
        assert own.requests == []
        profile = machine.home / "config" / "gpuenv" / "profiles" / "cu13.yaml"
        text = profile.read_text(encoding="utf-8")
        profile.write_text(text.replace(", common]", ", common, extra]"), encoding="utf-8")
        assert machine.gpuenv(folder, "prepare").code == 0
        assert distributions(folder / ".venv") == {"common 1.0", "extra 1.0", "lean-cu13 1.0"}
        assert machine.gpuenv(folder, "lock", "--upgrade").code == 0
    lock = tomllib.loads((folder / "pylock.cu13.toml").read_text(encoding="utf-8"))
    assert {package["name"]: package["version"] for package in lock["packages"]} == {
        "common": "2.0",
        "extra": "1.0",
        "lean-cu13": "1.0",
    }


def test_a_lock_that_another_tool_wrote_is_obeyed(
    machine: Machine, bare: Path, index: IndexSimulator
) -> None:
    made = machine.uv(
        bare,
        *("pip", "compile", "--universal", "--extra", "cu12", "--format", "pylock.toml"),
        *("pyproject.toml", "-o", "pylock.cu13.toml"),
    )
    assert made.code == 0, made.err
    written = (bare / "pylock.cu13.toml").read_bytes()
    index.reset_log()
    done = machine.gpuenv(bare, "prepare", "--only", "--target", TARGET)
    assert done.code == 0, done.err
    assert (bare / "pylock.cu13.toml").read_bytes() == written
    assert line_of(bare / ".venv") == "cu12"


@pytest.mark.parametrize("text", ["lock-version = = 1", 'lock-version = "1.0"\n', "packages = 3\n"])
def test_a_malformed_lock_of_ours_is_1(
    machine: Machine, bare: Path, index: IndexSimulator, text: str
) -> None:
    (bare / "pylock.cu13.toml").write_text(text, encoding="utf-8")
    done = machine.gpuenv(bare, "prepare", "--only", "--target", TARGET)
    assert done.code == 1
    assert done.message.error == f"lock `{bare / 'pylock.cu13.toml'}` is malformed"
    assert done.message.causes
    assert index.requests == []
    assert not (bare / ".venv").exists()


def test_a_lock_with_weak_hashes_alone_is_1(
    machine: Machine, bare: Path, index: IndexSimulator
) -> None:
    name = "common-1.0-py3-none-any.whl"
    (bare / "pylock.cu13.toml").write_text(
        f"""\
lock-version = "1.0"
created-by = "someone"

[[packages]]
name = "common"
version = "1.0"
wheels = [{{ url = "{index.file_url(name)}", hashes = {{ md5 = "{"0" * 32}" }} }}]
""",
        encoding="utf-8",
    )
    done = machine.gpuenv(bare, "prepare", "--only", "--target", TARGET)
    assert done.code == 1
    assert "no SHA-256" in done.message.causes[0]
    assert index.gets(name) == 0


def test_a_project_with_a_build_system_is_installed_editable(
    machine: Machine, tmp_path: Path, index: IndexSimulator
) -> None:
    use_index(machine, index.index_url)
    build = '\n[build-system]\nrequires = ["tinybuild"]\nbuild-backend = "tinybuild"\n'
    project = Project(uv=False, lines=("cu13",), packages=("lean",), more=build)
    bare = project.write(tmp_path / "app", index.index_url)
    (bare / "app.py").write_text("VALUE = 1\n", encoding="utf-8")
    done = machine.gpuenv(bare, "prepare", "--only", "--target", TARGET)
    assert done.code == 0, done.err
    assert distributions(bare / ".venv") == {"app 0.1.0", "common 1.0", "lean-cu13 1.0"}
    (bare / "app.py").write_text("VALUE = 2\n", encoding="utf-8")
    assert ask_python(bare / ".venv", "import app; print(app.VALUE)") == "2"


def test_without_a_project_the_requirements_of_the_profile_are_installed(
    machine: Machine, tmp_path: Path, index: IndexSimulator
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    with IndexSimulator() as own:
        publish_packages(own, tmp_path / "packages")
        use_index(machine, own.index_url)
        write_profiles(machine, index.index_url)
        done = machine.gpuenv(folder, "prepare", "--target", TARGET, "--json")
        assert done.data["prepared"] == ["cu13"]
        assert distributions(folder / ".venv") == {"common 1.0", "lean-cu13 1.0"}
        assert {path.name for path in folder.iterdir()} == {".venv", ".gpuenv", "pylock.cu13.toml"}
        every = machine.gpuenv(folder, "prepare", "--all", "--json")
    assert every.data["prepared"] == ["cu13", "cu12"]
    switched = machine.gpuenv(folder, "switch", "cu12", network=False)
    assert switched.code == 0, switched.err
    assert line_of(folder / ".venv") == "cu12"


def test_a_bound_package_never_comes_from_another_index(machine: Machine, tmp_path: Path) -> None:
    with IndexSimulator() as bound, IndexSimulator() as other:
        bound.publish(make_wheel(tmp_path, "lean-cu13", "1.0"))
        bound.publish(make_wheel(tmp_path, "common", "99.0"))
        other.publish(make_wheel(tmp_path, "lean-cu13", "99.0"))
        other.publish(make_wheel(tmp_path, "common", "1.0"))
        use_index(machine, other.index_url)
        write_profiles(machine, bound.index_url)
        folder = tmp_path / "empty"
        folder.mkdir()
        done = machine.gpuenv(folder, "prepare", "--target", TARGET)
        assert done.code == 0, done.err
        assert (pages(bound), pages(other)) == ({"lean-cu13"}, {"common"})
    assert distributions(folder / ".venv") == {"common 1.0", "lean-cu13 1.0"}


def test_a_bound_package_that_its_index_lacks_is_an_error(machine: Machine, tmp_path: Path) -> None:
    with IndexSimulator() as bound, IndexSimulator() as other:
        other.publish(make_wheel(tmp_path, "lean-cu13", "99.0"))
        other.publish(make_wheel(tmp_path, "common", "1.0"))
        use_index(machine, other.index_url)
        write_profiles(machine, bound.index_url)
        folder = tmp_path / "empty"
        folder.mkdir()
        done = machine.gpuenv(folder, "prepare", "--target", TARGET)
        assert done.code == 1
        assert any("lean-cu13" in cause for cause in done.message.causes)
        assert pages(other) <= {"common"}
    assert not (folder / ".venv").exists()
    assert not list(folder.glob("pylock.*"))


def test_the_index_of_pip_counts_where_uv_has_none(
    machine: Machine, tmp_path: Path, index: IndexSimulator
) -> None:
    bare = Project(uv=False, lines=("cu13",), packages=("lean",)).write(
        tmp_path / "bare", index.index_url
    )
    settings = tmp_path / "pip.conf"
    settings.write_text(f"[global]\nindex-url = {index.index_url}\n", encoding="utf-8")
    given = {"PIP_CONFIG_FILE": str(settings)}
    done = machine.gpuenv(bare, "prepare", "--only", "--target", TARGET, given=given)
    assert done.code == 0, done.err
    assert distributions(bare / ".venv") == {"common 1.0", "lean-cu13 1.0"}


def test_what_pips_index_resolved_is_built_from_it_on_every_machine(
    machine: Machine, tmp_path: Path, index: IndexSimulator
) -> None:
    project = Project(uv=False, lines=("cu13",), packages=("stub",))
    bare = project.write(tmp_path / "bare", index.index_url)
    given = {"PIP_INDEX_URL": index.index_url}
    first = machine.gpuenv(bare, "prepare", "--only", "--target", TARGET, given=given)
    assert first.code == 0, first.err
    assert "not known" not in first.err
    (bare / ".venv").unlink()
    shutil.rmtree(bare / ".gpuenv")

    other = Machine(tmp_path / "other")
    second = other.gpuenv(bare, "prepare", "--only", "--target", TARGET, given=given)

    assert second.code == 0, second.err
    assert distributions(bare / ".venv") == {"common 1.0", "stub-cu13 1.0"}


def test_the_index_of_uv_comes_before_that_of_pip(
    machine: Machine, bare: Path, index: IndexSimulator
) -> None:
    with IndexSimulator() as pips:
        given = {"PIP_INDEX_URL": pips.index_url}
        done = machine.gpuenv(bare, "prepare", "--only", "--target", TARGET, given=given)
        assert done.code == 0, done.err
        assert pips.requests == []
    assert "common" in pages(index)


def test_the_index_of_pip_does_not_count_in_a_project_of_uv(warm: Machine, app: Path) -> None:
    with IndexSimulator() as pips:
        given = {"PIP_INDEX_URL": pips.index_url}
        done = warm.gpuenv(app, "prepare", "--only", "--target", TARGET, given=given)
        assert done.code == 0, done.err
        assert pips.requests == []


def test_the_cpu_needs_nothing_where_there_is_no_project(machine: Machine, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    done = machine.gpuenv(folder, "prepare", "--target", "driver=none,gpus=", "--json")
    assert done.data["active"] == "cpu"
    assert distributions(folder / ".venv") == set()
