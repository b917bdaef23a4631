"""`.gpuenv/pylock.<profile>.toml`: what uv and pip install from the store, and nowhere else."""

from __future__ import annotations

import ensurepip
import os
import shutil
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.pylock import Pylock

from tests.cli.machine import Machine, distributions, line_of
from tests.cli.projects import SDISTS, TARGET, WHEELS, Project
from tests.simulators.wheels import make_wheel

if TYPE_CHECKING:
    from tests.cli.conftest import Prepared
    from tests.simulators.index import IndexSimulator

BUILT = {line: f"stub_{line}-1.0-py3-none-any.whl" for line in SDISTS}


def local_lock(folder: Path, profile: str) -> dict[str, Any]:
    """What a local lock has, after it was found to be valid."""
    path = folder / ".gpuenv" / f"pylock.{profile}.toml"
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    Pylock.from_dict(data).validate()
    return data


def files(folder: Path, profile: str) -> dict[str, Path]:
    """The files of a local lock by their names, each of which lies where it says."""
    found = {}
    for package in local_lock(folder, profile)["packages"]:
        for item in (*package.get("wheels", ()), *filter(None, [package.get("sdist")])):
            path = folder / ".gpuenv" / item["path"]
            assert path.stat().st_size == item["size"]
            assert "url" not in item
            found[path.name] = path
    return found


def prepare(machine: Machine, folder: Path, *words: str) -> dict[str, Any]:
    done = machine.gpuenv(folder, "prepare", "--json", "--target", TARGET, *words)
    assert done.code == 0, done.err
    return done.data


def test_each_profile_has_a_lock_of_files_in_the_store(first_prepare: Prepared) -> None:
    folder, store = first_prepare.folder, first_prepare.machine.store
    assert set(files(folder, "cpu")) == {WHEELS["common"]}
    for line in SDISTS:
        found = files(folder, line)
        assert set(found) == {WHEELS["common"], WHEELS[line], BUILT[line]}
        assert all(path.resolve().is_relative_to(store / "blobs") for path in found.values())


@pytest.fixture
def environment(first_prepare: Prepared, tmp_path: Path) -> Path:
    """An environment of the user's own, outside of the store."""
    path = tmp_path / "own"
    done = first_prepare.uv("venv", "--python", sys.executable, path)
    assert done.code == 0, done.err
    return path


def test_uv_toggles_from_the_locks_and_downloads_nothing(
    first_prepare: Prepared, environment: Path, index: IndexSimulator
) -> None:
    inside = ("--no-cache", "--python", environment)
    for line in ("cu12", "cu13", "cu12"):
        lock = f".gpuenv/pylock.{line}.toml"
        done = first_prepare.uv("pip", "sync", *inside, lock, network=False)
        assert done.code == 0, done.err
        assert line_of(environment) == line
        assert distributions(environment) == {
            "common 1.0",
            f"lean-{line} 1.0",
            f"stub-{line} 1.0",
        }
    assert index.requests == []


def test_an_old_pip_toggles_with_variables_and_downloads_nothing(
    first_prepare: Prepared, environment: Path, index: IndexSimulator
) -> None:
    printed = first_prepare.gpuenv("env", "--pip").out
    lines = [line.removeprefix("export ").partition("=") for line in printed.splitlines()]
    given = {name: value for name, _, value in lines}
    assert set(given) == {"PIP_NO_INDEX", "PIP_FIND_LINKS"}
    assert first_prepare.gpuenv("env", "--pip", "--json").data == {"variables": given}
    (pip,) = Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl")
    (site,) = environment.glob("lib/*/site-packages")
    words = (environment / "bin" / "python", pip / "pip", "install", "--force-reinstall")
    for line in ("cu12", "cu13", "cu12"):
        done = first_prepare.machine.run(
            first_prepare.folder,
            *words,
            f"lean-{line}==1.0",
            f"stub-{line}==1.0",
            given={**given, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1"},
        )
        assert done.code == 0, done.err
        # Both lines have the file, and the one that came last has it now.
        assert line_of(environment) == line
        assert (site / f"stub_{line}" / "__init__.py").is_file()
    assert index.requests == []


def test_a_lock_that_is_gone_is_written_again(warm: Machine, app: Path) -> None:
    prepare(warm, app)
    lock = app / ".gpuenv" / "pylock.cu12.toml"
    before = lock.read_text(encoding="utf-8")
    assert prepare(warm, app)["nothing_to_do"]
    lock.unlink()
    assert not prepare(warm, app)["nothing_to_do"]
    assert lock.read_text(encoding="utf-8") == before
    assert prepare(warm, app)["nothing_to_do"]


def test_what_is_only_fetched_has_its_source_distributions(warm: Machine, app: Path) -> None:
    prepare(warm, app, "--fetch-only")
    assert set(files(app, "cu12")) == {WHEELS["common"], WHEELS["cu12"], SDISTS["cu12"]}


def test_a_fetch_after_all_was_made_leaves_the_locks_as_they_are(warm: Machine, app: Path) -> None:
    prepare(warm, app)
    lock = app / ".gpuenv" / "pylock.cu12.toml"
    before = lock.read_text(encoding="utf-8")
    prepare(warm, app, "--fetch-only")
    assert lock.read_text(encoding="utf-8") == before
    done = warm.gpuenv(app, "prepare", "--json", "--target", f"{TARGET},python=3.99")
    assert done.data["environment"] is None
    assert lock.read_text(encoding="utf-8") == before


def test_a_wheel_that_was_built_and_damaged_is_made_again_without_building(
    machine: Machine, app: Path
) -> None:
    prepare(machine, app)
    builds = machine.built()
    blob = files(app, "cu12")[BUILT["cu12"]].resolve()
    blob.chmod(0o644)
    blob.write_bytes(b"damaged")

    assert machine.gpuenv(app, "store", "verify").code == 4
    repaired = machine.gpuenv(app, "store", "verify", "--repair")
    assert repaired.code == 0, repaired.err
    assert "removed, `gpuenv prepare` makes it again" in repaired.out
    assert not (machine.store / "simple" / "stub-cu12" / BUILT["cu12"]).is_symlink()
    verified = machine.gpuenv(app, "store", "verify")
    assert (verified.code, "note: " in verified.out) == (0, False)

    assert prepare(machine, app)["fetched"]["files"] == 0
    assert files(app, "cu12")[BUILT["cu12"]].resolve() == blob
    assert machine.built() == builds
    listed = {
        f["names"][0]: f for f in machine.gpuenv(app, "store", "list", "--json").data["files"]
    }
    assert listed[BUILT["cu12"]]["built_from"] == SDISTS["cu12"]
    assert f"built here from: {SDISTS['cu12']}" in machine.gpuenv(app, "store", "list").out


def test_a_store_without_an_index_gets_it_with_the_next_prepare(warm: Machine, app: Path) -> None:
    prepare(warm, app)
    simple = warm.store / "simple"
    shutil.rmtree(simple)
    assert not prepare(warm, app)["nothing_to_do"]
    assert set(files(app, "cu13")) == {WHEELS["common"], WHEELS["cu13"], BUILT["cu13"]}
    assert (simple / "links.html").is_file()
    assert prepare(warm, app)["nothing_to_do"]
    shutil.rmtree(simple)
    assert warm.gpuenv(app, "store", "verify", "--repair").code == 0
    assert set(files(app, "cu13")) == {WHEELS["common"], WHEELS["cu13"], BUILT["cu13"]}
    assert prepare(warm, app)["nothing_to_do"]


def test_the_lock_of_a_profile_that_is_prepared_no_more_is_removed(
    warm: Machine, app: Path
) -> None:
    folder = app / ".gpuenv"
    prepare(warm, app)
    old = folder / "pylock.old.toml"
    old.write_text("")
    (folder / "pylock.cu12.toml").unlink()
    prepare(warm, app, "--only")
    assert old.exists()
    prepare(warm, app)
    assert {path.name for path in folder.glob("pylock.*")} == {
        f"pylock.{line}.toml" for line in ("cpu", *SDISTS)
    }


def test_folders_of_a_workspace_and_beside_it_are_named_from_the_locks_folder(
    warm: Machine, tmp_path: Path, index: IndexSimulator
) -> None:
    backend = '\n[build-system]\nrequires = ["tinybuild"]\nbuild-backend = "tinybuild"\n'
    beside = Project(name="beside", dependencies=(), lines=(), uv=False, more=backend)
    beside.write(tmp_path / "beside", index.index_url)
    root = Project(name="root", lines=(), more='\n[tool.uv.workspace]\nmembers = ["m"]\n' + backend)
    root.write(tmp_path / "root", index.index_url)
    sources = (
        '\n[tool.uv.sources]\nbeside = { path = "../../beside" }\nroot = { workspace = true }\n'
    )
    member = Project(
        name="m", dependencies=("beside", "root"), lines=(), uv=False, more=sources + backend
    )
    folder = member.write(tmp_path / "root" / "m", index.index_url)
    for name in (tmp_path / "beside", tmp_path / "root", folder):
        (name / "src").mkdir()

    prepare(warm, folder, "--profile", "cpu")

    packages = {item["name"]: item for item in local_lock(folder, "cpu")["packages"]}
    assert {name: item.get("directory") for name, item in packages.items()} == {
        "beside": {"path": "../../../beside", "editable": False},
        "common": None,
        "m": {"path": "..", "editable": True},
        "root": {"path": "../..", "editable": True},
    }
    own = tmp_path / "own"
    assert warm.uv(folder, "venv", "--python", sys.executable, own).code == 0
    done = warm.uv(
        folder, "pip", "sync", "--python", own, "--extra", "folders", ".gpuenv/pylock.cpu.toml"
    )
    assert done.code == 0, done.err
    assert {"m 0.1.0", "root 0.1.0", "beside 0.1.0"} <= distributions(own)


def test_a_lock_of_gpuenvs_own_names_the_project_too(
    warm: Machine, tmp_path: Path, index: IndexSimulator
) -> None:
    backend = '\n[build-system]\nrequires = ["tinybuild"]\nbuild-backend = "tinybuild"\n'
    project = Project(lines=("cu13",), packages=("lean",), uv=False, more=backend)
    folder = project.write(tmp_path / "app", index.index_url)
    (folder / "src").mkdir()
    given = {"UV_DEFAULT_INDEX": index.index_url}
    done = warm.gpuenv(folder, "prepare", "--target", TARGET, given=given)
    assert done.code == 0, done.err
    packages = {item["name"]: item for item in local_lock(folder, "cu13")["packages"]}
    assert packages.keys() == {"app", "common", "lean-cu13"}
    assert packages["app"]["directory"] == {"path": "..", "editable": True}


def test_a_wheel_of_the_project_is_passed_through_and_told(
    warm: Machine, tmp_path: Path, index: IndexSimulator
) -> None:
    wheel = make_wheel(tmp_path / "files", "own-wheel", "1.0")
    source = f'\n[tool.uv.sources]\nown-wheel = {{ path = "../files/{wheel.name}" }}\n'
    project = Project(dependencies=("own-wheel",), lines=(), more=source)
    folder = project.write(tmp_path / "app", index.index_url)
    notes = prepare(warm, folder, "--profile", "cpu")["notes"]
    assert any(note.startswith("`own-wheel` comes from the file") for note in notes)
    (package,) = local_lock(folder, "cpu")["packages"]
    named = [*package.get("wheels", ()), *filter(None, [package.get("archive")])]
    assert (folder / ".gpuenv" / named[0]["path"]).resolve() == wheel
