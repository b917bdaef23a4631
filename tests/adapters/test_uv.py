"""uv as it really is, in projects whose index is a simulator."""

from __future__ import annotations

import hashlib
import platform
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.uv import (
    OTHER_HASH,
    SCRUBBED,
    Question,
    Turned,
    Uv,
    find_uv,
    lock_command,
)
from provisioner.errors import GpuenvError, IntegrityError, LockError, SpaceError, ToolError
from tests.simulators.environment import clean_environment, uv_binary
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator

PYTHON = platform.python_version()
MINOR = ".".join(PYTHON.split(".")[:2])
MANIFEST = """
[project]
name = "demo"
version = "1.0"
requires-python = ">=3.11"
dependencies = ["base"]
[project.optional-dependencies]
cu12 = ["engine-cu12"]
[dependency-groups]
tools = ["tool"]
"""


@pytest.fixture
def index(tmp_path: Path) -> Iterator[IndexSimulator]:
    """An index with the project's packages."""
    with IndexSimulator("pypi") as started:
        for name in ("base", "engine-cu12", "tool"):
            started.publish(make_wheel(tmp_path / "wheels", name, "1.0"))
        yield started


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project without a lock."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(MANIFEST, encoding="utf-8")
    return folder


def uv_in(folder: Path, **variables: str) -> Uv:
    """A uv in a folder, whose only Python is that of the tests."""
    variables = {"PATH": str(Path(sys.base_prefix) / "bin"), **variables}
    return Uv(uv_binary(), folder, clean_environment(folder.parent, **variables))


@pytest.fixture
def locked(project: Path, index: IndexSimulator) -> Uv:
    """A uv in the project, once it is locked."""
    uv = uv_in(project, UV_DEFAULT_INDEX=index.index_url)
    uv.lock()
    return uv


def names(text: str) -> set[str]:
    """The packages of a PEP 751 lock."""
    return {package["name"] for package in tomllib.loads(text)["packages"]}


def test_the_users_own_uv_comes_before_the_bundled_one(tmp_path: Path) -> None:
    own = tmp_path / "uv"
    own.write_text("#!/bin/sh\n", encoding="utf-8")
    own.chmod(0o755)

    assert find_uv({"PATH": f"{tmp_path}:/usr/bin"}) == own


def test_without_one_on_the_path_the_bundled_uv_is_taken(tmp_path: Path) -> None:
    found = find_uv({"PATH": str(tmp_path)})

    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.startswith("uv ")


def test_a_program_that_does_not_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(ToolError) as caught:
        Uv(tmp_path / "missing", tmp_path, {}).find_python(None)

    assert caught.value.code == "uv-missing"


def test_the_python_of_a_request_is_found(project: Path) -> None:
    assert uv_in(project).find_python(MINOR).is_file()


def test_the_python_that_the_project_pins_is_found(project: Path) -> None:
    (project / ".python-version").write_text(f"{MINOR}\n", encoding="utf-8")
    uv = uv_in(project)

    found = uv.describe_python(uv.find_python(None))

    assert found.minor == sys.version_info[:2]


def test_a_python_that_is_nowhere_is_told_with_the_command_that_helps(project: Path) -> None:
    with pytest.raises(ToolError) as caught:
        uv_in(project).find_python("3.99")

    assert caught.value.code == "python-missing"
    assert caught.value.hint == "`uv python install 3.99`"
    assert any("3.99" in cause for cause in caught.value.causes)


def test_a_python_tells_what_it_is(project: Path) -> None:
    found = uv_in(project).describe_python(Path(sys.executable))

    assert (found.version, found.implementation) == (PYTHON, sys.implementation.name)


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 1\n", "no program"])
def test_what_is_no_python_is_told(text: str, project: Path) -> None:
    broken = project / "python"
    broken.write_text(text, encoding="utf-8")
    broken.chmod(0o755)

    with pytest.raises(ToolError) as caught:
        uv_in(project).describe_python(broken)

    assert caught.value.code == "python-broken"


def test_the_export_has_what_is_turned_on_and_nothing_else(locked: Uv, project: Path) -> None:
    lock = project / "uv.lock"

    assert names(locked.export(Turned(), lock)) == {"base"}
    extras = locked.export(Turned(extras=("cu12",)), lock)
    assert names(extras) == {"base", "engine-cu12"}
    assert names(locked.export(Turned(groups=("tools",)), lock)) == {"base", "tool"}


def test_the_export_names_files_with_their_hashes_and_asks_nobody(
    locked: Uv, project: Path, index: IndexSimulator, tmp_path: Path
) -> None:
    index.reset_log()

    text = locked.export(Turned(), project / "uv.lock")

    (package,) = tomllib.loads(text)["packages"]
    (wheel,) = package["wheels"]
    content = (tmp_path / "wheels" / "base-1.0-py3-none-any.whl").read_bytes()
    assert wheel["hashes"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert wheel["url"] == index.file_url("base-1.0-py3-none-any.whl")
    assert index.requests == []


def test_a_lock_of_nothing_is_whole_also_where_an_old_uv_exports_no_packages(
    tmp_path: Path,
) -> None:
    old = tmp_path / "uv"
    old.write_text("#!/bin/sh\necho 'lock-version = \"1.0\"'\n", encoding="utf-8")
    old.chmod(0o755)
    text = Uv(old, tmp_path, {}).export(Turned(), tmp_path / "uv.lock")
    assert tomllib.loads(text) == {"lock-version": "1.0", "packages": []}


@pytest.mark.parametrize("text", ["[[[", "version = 99\n", ""])
def test_a_malformed_lock_is_told_in_uvs_words(text: str, locked: Uv, project: Path) -> None:
    lock = project / "uv.lock"
    lock.write_text(text, encoding="utf-8")

    with pytest.raises(LockError) as caught:
        locked.export(Turned(), lock)

    assert (caught.value.code, caught.value.exit_code) == ("lock-malformed", 1)
    assert "`uv.lock`" in caught.value.message
    assert caught.value.causes
    assert not any(cause.startswith(("error:", "cause:")) for cause in caught.value.causes)
    assert lock.read_text(encoding="utf-8") == text


def test_a_lock_that_does_not_fit_the_project_is_stale_and_stays(locked: Uv, project: Path) -> None:
    lock = project / "uv.lock"
    before = lock.read_bytes()
    (project / "pyproject.toml").write_text(
        MANIFEST.replace('["base"]', '["base", "tool"]'), encoding="utf-8"
    )

    with pytest.raises(LockError) as caught:
        locked.export(Turned(), lock)

    assert (caught.value.code, caught.value.exit_code) == ("lock-stale", 1)
    command = lock_command({"PATH": str(Path(sys.base_prefix) / "bin")})
    assert f"`{command}`" in (caught.value.hint or "")
    assert lock.read_bytes() == before


def test_a_lock_is_mended_by_the_users_uv_or_else_by_the_one_beside_gpuenv(
    tmp_path: Path,
) -> None:
    variables = {"PATH": str(tmp_path)}
    own = shlex.quote(str(find_uv(variables)))
    assert lock_command(variables) == f"{own} lock"
    assert lock_command(variables, "torch") == f"{own} lock --upgrade-package torch"
    (tmp_path / "uv").write_text("#!/bin/sh\n", encoding="utf-8")
    (tmp_path / "uv").chmod(0o755)
    assert lock_command(variables) == "uv lock"
    assert lock_command(variables, "torch", "a") == (
        "uv lock --upgrade-package torch --upgrade-package a"
    )


def test_an_invalid_project_is_not_taken_for_a_malformed_lock(locked: Uv, project: Path) -> None:
    (project / "pyproject.toml").write_text(
        MANIFEST.replace('">=3.11"', '"nonsense"'), encoding="utf-8"
    )

    with pytest.raises(GpuenvError) as caught:
        locked.export(Turned(), project / "uv.lock")

    assert caught.value.code != "lock-malformed"
    assert any("pyproject.toml" in cause for cause in (caught.value.message, *caught.value.causes))


def test_an_extra_that_the_project_lacks_is_an_error_that_names_it(
    locked: Uv, project: Path
) -> None:
    with pytest.raises(ToolError) as caught:
        locked.export(Turned(extras=("nothing",)), project / "uv.lock")

    assert any("nothing" in cause for cause in caught.value.causes)


def test_nonsense_in_the_users_variables_reaches_no_child(
    project: Path, index: IndexSimulator, tmp_path: Path
) -> None:
    nonsense = dict.fromkeys(SCRUBBED, str(tmp_path / "nonsense"))
    uv = uv_in(project, UV_DEFAULT_INDEX=index.index_url, **nonsense)

    uv.lock()
    assert names(uv.export(Turned(), project / "uv.lock")) == {"base"}
    python = uv.find_python(MINOR)
    assert uv.describe_python(python).minor == sys.version_info[:2]
    uv.sync_project(Turned(extras=("cu12",)), tmp_path / "env", python)

    assert not (tmp_path / "nonsense").exists()
    assert not (project / ".venv").exists()
    assert (tmp_path / "env" / "pyvenv.cfg").is_file()
    assert next((tmp_path / "env").glob("lib/*/site-packages/engine_cu12")).is_dir()


@pytest.mark.parametrize("name", ["VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT", "UV_PYTHON"])
def test_the_variables_that_name_an_environment_are_scrubbed(name: str) -> None:
    assert name in SCRUBBED


def test_an_environment_that_uv_cannot_make_is_told_in_uvs_words(
    locked: Uv, index: IndexSimulator, tmp_path: Path
) -> None:
    index.fail("base-1.0-py3-none-any.whl", 404)

    with pytest.raises(ToolError) as caught:
        locked.sync_project(Turned(), tmp_path / "env", Path(sys.executable))

    assert caught.value.code == "uv-failed"
    assert any("404" in cause for cause in caught.value.causes)


def test_bytes_that_are_not_those_of_the_lock_are_told_as_such(
    locked: Uv, project: Path, tmp_path: Path
) -> None:
    locked.sync_project(Turned(), tmp_path / "warm", Path(sys.executable))
    lock = project / "uv.lock"
    text = lock.read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if "base-1.0-py3" in line]
    digest = line.partition("sha256:")[2].partition('"')[0]
    lock.write_text(text.replace(digest, "0" * 64), encoding="utf-8")

    with pytest.raises(IntegrityError) as caught:
        locked.sync_project(Turned(), tmp_path / "env", Path(sys.executable))

    assert (caught.value.exit_code, caught.value.code) == (4, OTHER_HASH)
    assert caught.value.message == "`base==1.0` has the wrong hash"
    assert any("0" * 64 in cause for cause in caught.value.causes)


def question(given: str, old: str | None = None, *, upgrade: bool = False) -> Question:
    """A question for requirements given as a text."""
    return Question(
        source="-",
        given=given,
        turned=Turned(),
        name="pylock.demo.toml",
        old=old,
        python=MINOR,
        upgrade=upgrade,
    )


def test_requirements_are_resolved_for_every_platform(
    project: Path, index: IndexSimulator, tmp_path: Path
) -> None:
    for tag in ("py3-none-win_amd64", "py3-none-manylinux_2_17_x86_64"):
        index.publish(make_wheel(tmp_path / "wheels", "native", "1.0", tag=tag))

    text = uv_in(project, UV_DEFAULT_INDEX=index.index_url).compile(question("native\n"))

    (package,) = tomllib.loads(text)["packages"]
    assert len(package["wheels"]) == 2
    assert not (project / "pylock.demo.toml").exists()


def test_versions_of_the_old_lock_stay_until_an_upgrade(
    project: Path, index: IndexSimulator, tmp_path: Path
) -> None:
    uv = uv_in(project, UV_DEFAULT_INDEX=index.index_url, UV_NO_CACHE="1")
    old = uv.compile(question("base\n"))
    index.publish(make_wheel(tmp_path / "wheels", "base", "2.0"))

    kept = uv.compile(question("base\n", old))
    upgraded = uv.compile(question("base\n", old, upgrade=True))

    versions = [tomllib.loads(text)["packages"][0]["version"] for text in (old, kept, upgraded)]
    assert versions == ["1.0", "1.0", "2.0"]


def test_requirements_that_cannot_be_met_are_told(project: Path, index: IndexSimulator) -> None:
    with pytest.raises(ToolError) as caught:
        uv_in(project, UV_DEFAULT_INDEX=index.index_url).compile(question("nothing\n"))

    assert any("nothing" in cause for cause in caught.value.causes)


def test_an_environment_is_filled_from_a_lock(
    project: Path, index: IndexSimulator, tmp_path: Path
) -> None:
    uv = uv_in(project, UV_DEFAULT_INDEX=index.index_url)
    lock = tmp_path / "pylock.demo.toml"
    lock.write_text(uv.compile(question("base\ntool\n")), encoding="utf-8")

    uv.sync_lock(lock, tmp_path / "env", Path(sys.executable), editable=None)

    site = next((tmp_path / "env").glob("lib/*/site-packages"))
    assert {path.name for path in site.glob("*.dist-info")} == {
        "base-1.0.dist-info",
        "tool-1.0.dist-info",
    }


def test_a_lock_without_packages_makes_an_empty_environment(project: Path, tmp_path: Path) -> None:
    lock = tmp_path / "pylock.cpu.toml"
    lock.write_text('lock-version = "1.0"\ncreated-by = "x"\npackages = []\n', encoding="utf-8")

    uv_in(project).sync_lock(lock, tmp_path / "env", Path(sys.executable), editable=None)

    assert (tmp_path / "env" / "bin" / "python").exists()


def test_no_setting_leads_to_other_seeds_than_those_of_the_folder(
    project: Path, tmp_path: Path, index: IndexSimulator
) -> None:
    mine = make_wheel(tmp_path / "mine", "pip", "1.0").parent
    for name in ("setuptools", "wheel"):
        make_wheel(mine, name, "1.0")
    theirs = make_wheel(tmp_path / "theirs", "pip", "3.0").parent
    with (project / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write(f'[tool.uv]\nfind-links = ["{theirs}"]\nno-binary = true\n')
    bent = {
        "UV_CONFIG_FILE": str(tmp_path / "none.toml"),
        "UV_EXCLUDE_NEWER": "2020-01-01",
        "UV_FIND_LINKS": str(theirs),
        "UV_INDEX": index.index_url,
        "UV_NO_BINARY": "1",
        "UV_REQUIRE_HASHES": "1",
        "UV_VENV_RELOCATABLE": "1",
    }
    environment = tmp_path / "environment"
    uv_in(project, **bent).make_seeded(environment, Path(sys.executable), mine)
    found = {path.name for path in environment.rglob("*.dist-info")}
    assert "pip-1.0.dist-info" in found
    assert "pip-3.0.dist-info" not in found
    assert index.requests == []


def test_default_groups_of_others_are_turned_off_in_uvs_words() -> None:
    turned = Turned(extras=("cu12",), groups=("tools", "more"), without=("cu13", "cpu"))

    assert turned.options == [
        *("--extra", "cu12"),
        *("--group", "tools"),
        *("--group", "more"),
        *("--no-group", "cu13"),
        *("--no-group", "cpu"),
    ]
    assert Turned().options == []


def test_a_default_group_that_is_turned_off_is_neither_exported_nor_installed(
    project: Path, index: IndexSimulator, tmp_path: Path
) -> None:
    with (project / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write('[tool.uv]\ndefault-groups = ["tools"]\n')
    uv = uv_in(project, UV_DEFAULT_INDEX=index.index_url)
    uv.lock()
    lock = project / "uv.lock"

    assert names(uv.export(Turned(), lock)) == {"base", "tool"}
    assert names(uv.export(Turned(without=("tools",)), lock)) == {"base"}
    uv.sync_project(Turned(without=("tools",)), tmp_path / "env", Path(sys.executable))
    site = next((tmp_path / "env").glob("lib/*/site-packages"))
    assert {path.name for path in site.glob("*.dist-info")} == {"base-1.0.dist-info"}


def test_an_excerpt_of_a_file_stays_one_cause_with_its_lines(project: Path) -> None:
    (project / "pyproject.toml").write_text(
        '[project]\nname = "demo"\nversion = "1.0"\ndependencies = [\n', encoding="utf-8"
    )

    with pytest.raises(ToolError) as caught:
        uv_in(project).lock()

    causes = caught.value.causes
    assert not any(cause.lower().startswith(("error:", "cause:", "caused by:")) for cause in causes)
    (excerpt,) = [cause for cause in causes if "\n" in cause]
    assert excerpt.startswith("TOML parse error at line 4")
    # The mark has to stand below what it marks.
    numbered, mark = excerpt.splitlines()[2:4]
    assert numbered.strip() == "4 | dependencies = ["
    assert numbered.index("|") == mark.index("|")
    assert numbered.index("[") + 1 == mark.index("^")


@pytest.mark.usefixtures("locked")
def test_causes_without_an_excerpt_are_a_line_each_however_narrow_the_terminal(
    project: Path, index: IndexSimulator, tmp_path: Path
) -> None:
    index.fail("base-1.0-py3-none-any.whl", 404)
    narrow = uv_in(project, UV_DEFAULT_INDEX=index.index_url, COLUMNS="30")

    with pytest.raises(ToolError) as caught:
        narrow.sync_project(Turned(), tmp_path / "env", Path(sys.executable))

    assert len(caught.value.causes) > 1
    assert not any("\n" in cause for cause in caught.value.causes)


def test_the_given_python_is_that_of_the_export_and_not_the_users(
    locked: Uv, project: Path, tmp_path: Path
) -> None:
    # No Python is on this PATH, and the user's variable names none.
    empty = tmp_path / "empty"
    empty.mkdir()
    variables = clean_environment(tmp_path / "nobody", PATH=str(empty), UV_OFFLINE="1")
    variables["UV_PYTHON"] = str(tmp_path / "nothing")
    without = Uv(uv_binary(), project, variables)
    given = Uv(uv_binary(), project, variables, sys.executable)

    with pytest.raises(GpuenvError, match=r"uv\.lock"):
        without.export(Turned(), project / "uv.lock")
    assert names(given.export(Turned(), project / "uv.lock")) == {"base"}
    assert names(locked.export(Turned(), project / "uv.lock")) == {"base"}


def test_the_cache_is_where_the_settings_of_a_project_say(project: Path, tmp_path: Path) -> None:
    cache = tmp_path / "their-cache"
    variables = {"UV_NO_CONFIG": "0", "UV_NO_CACHE": "1"}
    without = {**clean_environment(tmp_path), **variables}
    del without["UV_CACHE_DIR"]
    with (project / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write(f'[tool.uv]\ncache-dir = "{cache}"\n')
    assert Uv(uv_binary(), project, without).cache_folder() == cache


@pytest.mark.parametrize(
    "said", ["No space left on device (os error 28)", "Disk quota exceeded (os error 122)"]
)
def test_a_full_disk_or_a_used_up_quota_is_no_fault_of_uv(
    project: Path, tmp_path: Path, said: str
) -> None:
    stand_in = tmp_path / "uv"
    stand_in.write_text(f"#!/bin/sh\necho 'error: {said}' >&2\nexit 2\n", encoding="utf-8")
    stand_in.chmod(0o755)
    with pytest.raises(SpaceError) as caught:
        Uv(stand_in, project, {}).sync_project(Turned(), tmp_path / "env", Path("python"))
    assert caught.value.causes == (said,)
    assert "what was fetched is kept" in (caught.value.hint or "")


def test_a_package_is_forgotten_while_a_command_of_uv_run_keeps_the_cache(
    locked: Uv, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provisioner.adapters.uv._INSTALLING_SECONDS", 1)
    locked.sync_project(Turned((), (), ()), project / ".venv", Path(sys.executable))
    (kept,) = locked.cache_folder().glob("archive-v*/*/base")
    words = ("run", "--no-sync", "--offline", "sh", "-c", "echo; read line")
    with subprocess.Popen(
        [uv_binary(), *words],
        cwd=project,
        env=clean_environment(project.parent),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None
        running.stdout.readline()
        locked.forget_packages(["base"])
        assert running.poll() is None
    assert not kept.exists()
