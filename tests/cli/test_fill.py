"""After `prepare`, the user's own uv toggles without a network: filled, refilled, and proved."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import Locker, Prepared
from tests.cli.machine import GPUENV, Machine
from tests.cli.projects import TARGET, Project, publish_packages
from tests.cli.test_projects import BUILD_SYSTEM, write_member, write_module
from tests.simulators.environment import uv_binary
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable

PROFILES = {"cu13": ("--extra", "cu13"), "cu12": ("--extra", "cu12"), "cpu": ()}


def toggle(
    machine: Machine, folder: Path, *words: str, profiles: tuple[str, ...] = tuple(PROFILES)
) -> None:
    """Let uv go through profiles in a scratch environment, without any network."""
    for profile in profiles:
        done = machine.uv(
            folder,
            *("sync", *words, *PROFILES[profile]),
            given={"UV_PROJECT_ENVIRONMENT": str(machine.root / "scratch")},
            network=False,
        )
        assert done.code == 0, (profile, words, done.err)


def uv_script(path: Path, *lines: str) -> Path:
    """A uv of another kind: the real one, given something before."""
    path.write_text("\n".join(("#!/bin/sh", *lines, f'exec "{uv_binary()}" "$@"\n')))
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def built(
    tmp_path_factory: pytest.TempPathFactory, index_server: IndexSimulator, locker: Locker
) -> Prepared:
    """A prepared project that is itself built, as are a local path and what its extras need."""
    root = tmp_path_factory.mktemp("built")
    machine = Machine(root / "machine")
    project = Project(
        dependencies=("common", "local", "member"),
        more=f"""{BUILD_SYSTEM}
[tool.uv.workspace]
members = ["packages/*"]

[tool.uv.sources]
local = {{ path = "lib/local" }}
member = {{ workspace = true }}
""",
    )
    folder = project.write(root / "app", index_server.index_url)
    write_module(folder, "app", "VALUE = 1\n")
    write_member(folder / "lib" / "local", "local")
    write_member(folder / "packages" / "member", "member")
    locker.lock(folder)
    before = (folder / "uv.lock").read_bytes()
    index_server.reset_log()
    done = machine.gpuenv(folder, "prepare", "--json", "--target", TARGET)
    assert done.code == 0, done.err
    assert (folder / "uv.lock").read_bytes() == before
    return Prepared(machine, folder, done, tuple(index_server.requests), ())


def test_prepare_proves_that_uv_toggles_with_the_network_cut_off(built: Prepared) -> None:
    (proof,) = built.done.data["proof"]
    assert (proof["client"], proof["ok"], proof["requests"], proof["bytes"]) == ("uv", True, 0, 0)
    assert proof["toggles"] == ["cu13", "cu12", "cpu", "cu13"]
    assert proof["program"] == str(built.machine.root / "bin" / "uv")
    assert not [name for name in built.machine.environments() if name.startswith("proof")]


def test_uv_toggles_without_a_network_whatever_was_touched(
    built: Prepared, index: IndexSimulator
) -> None:
    toggle(built.machine, built.folder)
    toggle(built.machine, built.folder, "--offline", "--reinstall")
    for path in built.folder.rglob("pyproject.toml"):
        os.utime(path)
    toggle(built.machine, built.folder, "--offline")
    with (built.folder / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write("# a comment\n")
    toggle(built.machine, built.folder, "--offline", "--reinstall", profiles=("cpu", "cu12"))
    assert index.requests == []


def test_a_cleaned_cache_is_given_back_with_nothing_from_upstream(
    built: Prepared, index: IndexSimulator
) -> None:
    assert built.gpuenv("prepare").code == 0
    quick = built.gpuenv("prepare", "--json")
    assert (quick.data["nothing_to_do"], quick.data["proof"]) == (True, [])
    assert built.uv("cache", "clean").code == 0
    index.reset_log()

    again = built.gpuenv("prepare", "--json")

    assert again.data["fetched"] == {"files": 0, "bytes": 0}
    assert again.data["environment"] == quick.data["environment"]
    assert [proof["ok"] for proof in again.data["proof"]] == [True]
    assert index.requests == []
    assert built.gpuenv("prepare", "--json").data["nothing_to_do"] is True
    toggle(built.machine, built.folder, "--offline", "--reinstall")


def test_what_a_cache_has_lost_of_one_package_is_noticed(
    machine: Machine, app: Path, index: IndexSimulator
) -> None:
    assert machine.gpuenv(app, "prepare", "--no-proof", "--target", TARGET).code == 0
    assert machine.uv(app, "cache", "clean", "lean-cu12").code == 0
    index.reset_log()

    again = machine.gpuenv(app, "prepare")

    assert again.code == 0, again.err
    assert "with the network cut off: 0 bytes" in again.out
    toggle(machine, app, "--offline")
    assert index.requests == []


def test_a_further_uv_is_filled_remembered_and_named_by_doctor(
    machine: Machine, app: Path, index: IndexSimulator, tmp_path: Path
) -> None:
    own = uv_script(tmp_path / "uv-own", f'export UV_CACHE_DIR="{tmp_path / "own-cache"}"')
    assert machine.gpuenv(app, "prepare", "--target", TARGET).code == 0
    index.reset_log()

    done = machine.gpuenv(app, "prepare", "--uv", own, "--json")

    (note,) = done.data["notes"]
    assert note.startswith("filled the cache of uv ")
    tried = machine.gpuenv(app, "prepare", "--proof", "--json")
    assert not any("filled" in note for note in tried.data["notes"])
    assert [proof["program"] for proof in done.data["proof"]] == [str(own)]
    assert done.data["proof"][0]["ok"] is True
    assert done.data["fetched"] == {"files": 0, "bytes": 0}
    assert index.requests == []
    assert machine.gpuenv(app, "prepare", "--json").data["nothing_to_do"] is True
    shutil.rmtree(tmp_path / "own-cache")
    checks = machine.gpuenv(app, "doctor", "--json").data["checks"]
    main = machine.root / "bin" / "uv"
    told = {c["message"].partition(") ")[2]: c for c in checks if c["name"] == "cache"}
    lost = told["has lost some of what it was filled with"]
    assert lost["state"] == "warning"
    assert f"(`{own}`)" in lost["message"]
    assert f"(`{main}`)" in told["is filled for `cu13`, `cu12`, `cpu`"]["message"]
    again = machine.gpuenv(app, "prepare", "--json")
    assert str(own) in {proof["program"] for proof in again.data["proof"]}
    said = machine.gpuenv(app, "doctor").out
    for program in (own, main):
        assert f"(`{program}`) is filled for `cu13`, `cu12`, `cpu`" in said


@pytest.fixture(scope="module")
def small(
    tmp_path_factory: pytest.TempPathFactory, index_server: IndexSimulator, locker: Locker
) -> Prepared:
    """A prepared project with one profile for CUDA and one without."""
    root = tmp_path_factory.mktemp("small")
    machine = Machine(root / "machine")
    folder = Project(lines=("cu13",)).write(root / "app", index_server.index_url)
    locker.lock(folder)
    done = machine.gpuenv(folder, "prepare", "--no-proof", "--target", TARGET)
    assert done.code == 0, done.err
    return Prepared(machine, folder, done, (), ())


def caches(prepared: Prepared, program: Path) -> list[tuple[str, str | None]]:
    """What doctor says of the cache of a uv, and what mends it."""
    checks = prepared.gpuenv("doctor", "--json").data["checks"]
    return [(c["message"], c["hint"]) for c in checks if f"(`{program}`)" in c["message"]]


def test_a_fill_that_failed_is_tried_again_until_it_fails_twice(
    small: Prepared, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    fails = f'[ "$1" != sync ] || [ ! -e "{flag}" ] || {{ echo "error: for now" >&2; exit 2; }}'
    own = uv_script(tmp_path / "uv-own", f'export UV_CACHE_DIR="{tmp_path / "own"}"', fails)

    first = small.gpuenv("prepare", "--uv", own, "--json")
    again = small.gpuenv("prepare", "--json")
    third = small.gpuenv("prepare", "--json")

    assert "is not filled" in first.data["notes"][-1]
    assert "is not filled" in again.data["notes"][-1]
    assert third.data["nothing_to_do"] is True
    ((message, hint),) = caches(small, own)
    assert message.endswith("lacks something")
    assert hint == f"`gpuenv prepare --uv {own}` fills it from the store"
    flag.unlink()
    filled = small.gpuenv("prepare", "--uv", own, "--json")
    assert [proof["ok"] for proof in filled.data["proof"]] == [True]
    assert "is filled for" in caches(small, own)[0][0]


def test_a_remembered_uv_that_breaks_keeps_nobody_from_preparing(
    small: Prepared, tmp_path: Path
) -> None:
    own = uv_script(tmp_path / "uv-own", f'export UV_CACHE_DIR="{tmp_path / "own"}"')
    other = uv_script(tmp_path / "uv-other", f'export UV_CACHE_DIR="{tmp_path / "other"}"')
    assert small.gpuenv("prepare", "--no-proof", "--uv", own).code == 0
    assert small.gpuenv("prepare", "--no-proof", "--uv", other).code == 0
    assert caches(small, own)[0][0].endswith("is filled for `cu13`, `cpu`")
    own.write_text("#!/bin/sh\necho no such library >&2\nexit 1\n")

    done = small.gpuenv("prepare", "--no-proof", "--json")

    assert done.code == 0, done.err
    assert f"uv (`{own}`) is not looked after" in done.data["notes"][-1]
    assert caches(small, own)
    assert caches(small, other)[0][0].endswith("is filled for `cu13`, `cpu`")
    own.unlink()
    assert small.gpuenv("prepare", "--no-proof").code == 0
    assert caches(small, own) == []


def test_a_uv_that_was_the_first_on_path_is_remembered_only_if_it_was_named(
    small: Prepared, tmp_path: Path
) -> None:
    def first_on_path(name: str, *words: Path | str) -> Path:
        (tmp_path / name).mkdir(exist_ok=True)
        cache = f'export UV_CACHE_DIR="{tmp_path / name / "cache"}"'
        uv = uv_script(tmp_path / name / "uv", cache)
        path = f"{uv.parent}{os.pathsep}{small.machine.variables()['PATH']}"
        words = ("prepare", "--no-proof", *words)
        done = small.machine.gpuenv(small.folder, *words, given={"PATH": path})
        assert done.code == 0, done.err
        return uv

    one = first_on_path("one")
    assert caches(small, one) != []
    two = first_on_path("two", "--uv", tmp_path / "two" / "uv")
    assert small.gpuenv("prepare", "--no-proof").code == 0
    assert caches(small, one) == []
    assert caches(small, two)[0][0].endswith("is filled for `cu13`, `cpu`")


def test_another_version_behind_the_same_program_is_noticed(
    small: Prepared, tmp_path: Path
) -> None:
    version = tmp_path / "version"
    version.write_text("0.9.1")
    own = uv_script(
        tmp_path / "uv-shim",
        f'export UV_CACHE_DIR="{tmp_path}/cache-$(cat {version})"',
        f'[ "$1" != --version ] || {{ echo "uv $(cat {version})"; exit; }}',
    )
    assert small.gpuenv("prepare", "--no-proof", "--uv", own).code == 0
    version.write_text("0.9.2")
    ((message, hint),) = caches(small, own)
    assert message.endswith("whose cache was filled, is version `0.9.2` now")
    assert hint == f"`gpuenv prepare --uv {own}` fills it from the store"
    assert small.gpuenv("prepare", "--no-proof", "--uv", own).code == 0
    assert caches(small, own)[0][0].endswith("is filled for `cu13`, `cpu`")


def test_what_breaks_off_the_proof_leaves_the_environments_for_the_next_run(
    warm: Machine, tmp_path: Path, index: IndexSimulator, locker: Locker
) -> None:
    app = Project(lines=("cu13",)).write(tmp_path / "app", index.index_url)
    locker.lock(app)
    flag = tmp_path / "flag"
    first = f'[ "$1 $2" = "sync --locked" ] && [ ! -e "{flag}" ]'
    ends = f'if {first}; then touch "{flag}"; kill -INT $PPID; fi'
    uv_script(tmp_path / "uv", ends)
    path = os.pathsep.join([str(tmp_path), warm.variables()["PATH"]])
    words = ("prepare", "--only", "--target", TARGET)

    before = set(warm.environments())
    broken = warm.gpuenv(app, *words, given={"PATH": path})
    made = warm.environments()
    done = warm.gpuenv(app, *words, given={"PATH": path})

    assert (broken.code, done.code) == (130, 0), done.err
    assert len(set(made) - before) == 1
    assert warm.environments() == made
    assert "making the environment" not in done.err


def test_a_uv_on_path_that_is_not_filled_is_told(first_prepare: Prepared, tmp_path: Path) -> None:
    other = uv_script(tmp_path / "uv")
    path = os.pathsep.join([str(tmp_path), first_prepare.machine.variables()["PATH"]])
    found = first_prepare.gpuenv("doctor", "--json", given={"PATH": path}).data["checks"]
    message = f"the cache of `{other}`, the first on PATH, is not filled"
    (told,) = [check for check in found if check["message"] == message]
    assert (told["state"], told["code"]) == ("warning", "uv-not-filled")
    assert "gpuenv prepare" in told["hint"]


def test_doctor_takes_no_plain_sync_for_a_loss(warm: Machine, app: Path) -> None:
    assert warm.gpuenv(app, "prepare", "--target", TARGET).code == 0
    assert warm.uv(app, "sync", "--extra", "cu12").code == 0
    found = warm.gpuenv(app, "doctor", "--json").envelope["data"]["checks"]
    assert {check["state"] for check in found if check["name"] == "cache"} == {"ok"}


def old_uv(path: Path, version: str) -> Path:
    """A uv that says it is another version, and does nothing else."""
    path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "uv {version} (abc 2024-08-28)"\n')
    path.chmod(0o755)
    return path


def test_a_uv_that_would_change_the_users_own_environment_is_2(
    machine: Machine, app: Path, index: IndexSimulator, tmp_path: Path
) -> None:
    path = old_uv(tmp_path / "uv-old", "0.4.3")
    done = machine.gpuenv(app, "prepare", "--uv", path, "--target", TARGET)
    assert done.code == 2
    assert "0.4.4" in done.message.error
    assert done.message.causes == (f"`{path}` is version 0.4.3",)
    assert "`UV_PROJECT_ENVIRONMENT`" in (done.message.hint or "")
    assert index.requests == []


@pytest.mark.parametrize("command", ["prepare", "lock", "doctor"])
def test_a_uv_on_path_that_is_too_old_is_told_with_both_versions(
    command: str, looker: Machine, app: Path, tmp_path: Path
) -> None:
    old_uv(tmp_path / "uv", "0.6.14")
    path = os.pathsep.join([str(tmp_path), looker.variables()["PATH"]])
    done = looker.gpuenv(app, command, "--target", TARGET, given={"PATH": path})
    assert done.code == 1
    told = done.out if command == "doctor" else done.message.error
    assert "uv 0.6.14 is too old, gpuenv needs 0.6.15 or newer" in told
    assert not (app / ".venv").exists()


def test_what_is_no_uv_is_2_before_anything_is_fetched(
    machine: Machine, app: Path, index: IndexSimulator, tmp_path: Path
) -> None:
    frog = uv_script(tmp_path / "frog", "echo frog 1; exit")
    uvs = (frog, tmp_path / "missing", tmp_path, "./uv", "uv-0.1")
    words = [word for uv in uvs for word in ("--uv", uv)]
    done = machine.gpuenv(app, "prepare", "--target", TARGET, *words)
    assert done.code == 2
    assert done.message.error == "`--uv` names what is no uv"
    assert done.message.causes == (
        f"`{frog}`: `--version` says `frog 1`",
        f"`{tmp_path / 'missing'}`: no such file or directory",
        f"`{tmp_path}`: it is a folder",
        f"`{app / 'uv'}`: no such file or directory",
        "`uv-0.1`: not on PATH",
    )
    assert index.requests == []


def test_a_uv_that_is_named_without_a_folder_is_the_one_on_path(
    small: Prepared, tmp_path: Path
) -> None:
    own = uv_script(tmp_path / "uv-own", f'export UV_CACHE_DIR="{tmp_path / "own"}"')
    path = f"{small.machine.variables()['PATH']}{os.pathsep}{tmp_path}"
    words = ("prepare", "--no-proof", "--uv", "uv-own")
    done = small.machine.gpuenv(small.folder, *words, given={"PATH": path})
    assert done.code == 0, done.err
    assert caches(small, own)[0][0].endswith("is filled for `cu13`, `cpu`")


def test_a_uv_that_cannot_toggle_is_a_warning_and_with_proof_an_error(
    warm: Machine, app: Path, tmp_path: Path
) -> None:
    forgetful = uv_script(tmp_path / "uv-forgetful", "export UV_NO_CACHE=1")
    words = ("prepare", "--only", "--target", TARGET, "--uv", forgetful)

    warned = warm.gpuenv(app, *words)
    refused = warm.gpuenv(app, *words, "--proof", "--json")

    assert warned.code == 0, warned.err
    (line,) = [line for line in warned.out.splitlines() if line.startswith("warning: uv ")]
    assert "it asked for `http" in line
    assert refused.code == 1
    assert refused.envelope["errors"][0]["code"] == "proof-failed"
    proofs = {proof["program"]: proof for proof in refused.envelope["data"]["proof"]}
    assert proofs[str(forgetful)]["ok"] is False
    assert proofs[str(forgetful)]["wanted"]
    assert proofs[str(warm.root / "bin" / "uv")]["ok"] is True
    assert (app / ".venv").is_symlink()


def test_proof_tells_of_each_client_what_was_not_tried(warm: Machine, app: Path) -> None:
    assert warm.gpuenv(app, "prepare", "--only", "--no-proof", "--target", TARGET).code == 0
    (app / "poetry.lock").touch()
    done = warm.gpuenv(app, "prepare", "--only", "--proof", "--json", network=False)
    proofs = {proof["client"]: proof for proof in done.data["proof"]}
    assert set(proofs) == {"uv", "pip", "poetry"}
    assert proofs["uv"]["ok"] is True
    assert proofs["poetry"]["ok"] is None
    assert proofs["poetry"]["why"] == "PATH has none that runs"


def test_another_cache_and_a_replaced_uv_are_filled_too(
    warm: Machine, app: Path, index: IndexSimulator, tmp_path: Path
) -> None:
    words = ("prepare", "--only", "--json")
    assert warm.gpuenv(app, *words, "--target", TARGET).code == 0
    index.reset_log()
    other = {"UV_CACHE_DIR": str(tmp_path / "other")}
    moved = warm.gpuenv(app, *words, given=other)
    assert [proof["ok"] for proof in moved.data["proof"]] == [True]
    replaced = uv_script(tmp_path / "uv", f'export UV_CACHE_DIR="{tmp_path / "third"}"')
    path = os.pathsep.join([str(tmp_path), warm.variables()["PATH"]])
    again = warm.gpuenv(app, *words, given={**other, "PATH": path})
    assert [proof["program"] for proof in again.data["proof"]] == [str(replaced)]
    assert again.data["proof"][0]["ok"] is True
    assert index.requests == []


def test_a_cache_that_settings_name_is_filled(
    machine: Machine, tmp_path: Path, index: IndexSimulator, locker: Locker
) -> None:
    app = Project(lines=("cu13",)).write(tmp_path / "app", index.index_url)
    locker.lock(app)
    cache = tmp_path / "cache-of-settings"
    settings = Path(machine.variables()["XDG_CONFIG_HOME"]) / "uv" / "uv.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(f'cache-dir = "{cache}"\noffline = true\n', encoding="utf-8")
    unset = ("env", "-u", "UV_CACHE_DIR")
    done = machine.run(app, *unset, *GPUENV, "prepare", "--target", TARGET, "--json")
    assert [proof["ok"] for proof in done.data["proof"]] == [True]
    index.reset_log()
    uv = machine.root / "bin" / "uv"
    scratch = {"UV_PROJECT_ENVIRONMENT": str(tmp_path / "scratch")}
    synced = machine.run(app, *unset, uv, "sync", "--extra", "cu13", given=scratch)
    assert synced.code == 0, synced.err
    assert index.requests == []


def test_where_uv_is_set_to_keep_nothing_its_cache_is_filled_and_that_is_said(
    warm: Machine, tmp_path: Path, index: IndexSimulator, locker: Locker
) -> None:
    app = Project(lines=("cu13",)).write(tmp_path / "app", index.index_url)
    text = (app / "pyproject.toml").read_text(encoding="utf-8")
    (app / "pyproject.toml").write_text(
        text.replace("[[tool.uv.index]]", "[tool.uv]\nno-cache = true\n\n[[tool.uv.index]]"),
        encoding="utf-8",
    )
    locker.lock(app)
    done = warm.gpuenv(app, "prepare", "--target", TARGET)
    assert done.code == 0, done.err
    assert "uv is set to use no cache (`no-cache`)" in done.out
    assert "with the network cut off: 0 bytes" in done.out


def test_with_exclude_newer_uv_toggles_without_a_network(machine: Machine, tmp_path: Path) -> None:
    with IndexSimulator("pypi") as index:
        packages = tmp_path / "packages"
        packages.mkdir()
        publish_packages(index, packages)
        app = Project(lines=("cu13",)).write(tmp_path / "app", index.index_url)
        text = (app / "pyproject.toml").read_text(encoding="utf-8")
        newer = '[tool.uv]\nexclude-newer = "2025-01-01T00:00:00Z"\n\n[[tool.uv.index]]'
        text = text.replace("[[tool.uv.index]]", newer)
        (app / "pyproject.toml").write_text(text, encoding="utf-8")
        done = machine.gpuenv(app, "prepare", "--target", TARGET, "--json")
        assert [proof["ok"] for proof in done.data["proof"]] == [True]
        assert "exclude-newer" in (app / "uv.lock").read_text(encoding="utf-8")
        index.reset_log()
        toggle(machine, app, "--offline", "--reinstall", profiles=("cu13", "cpu"))
        assert index.requests == []


def test_requirements_without_a_project_are_proved_too(
    machine: Machine, index: IndexSimulator, new_project: Callable[[Project], Path]
) -> None:
    app = new_project(Project(name="plain", uv=False, lines=("cu13",)))
    given = {"UV_DEFAULT_INDEX": index.index_url}
    words = ("prepare", "--target", TARGET, "--json")
    done = machine.gpuenv(app, *words, given=given)
    assert [(p["ok"], p["toggles"]) for p in done.data["proof"]] == [
        (True, ["cu13", "cpu", "cu13"])
    ]
    assert machine.uv(app, "cache", "clean").code == 0
    index.reset_log()
    again = machine.gpuenv(app, "prepare", "--json", given=given)
    assert [proof["ok"] for proof in again.data["proof"]] == [True]
    assert index.requests == []


def test_a_direct_url_is_not_looked_at_again(
    warm: Machine, index: IndexSimulator, tmp_path: Path
) -> None:
    wheel = index.file_url("common-1.0-py3-none-any.whl")
    project = Project(
        name="direct", lines=(), more=f'\n[tool.uv.sources]\ncommon = {{ url = "{wheel}" }}\n'
    )
    folder = project.write(tmp_path / "direct", index.index_url)
    done = warm.gpuenv(folder, "prepare", "--json", "--target", TARGET)
    (proof,) = done.data["proof"]
    assert (proof["ok"], proof["wanted"]) == (True, [])
    index.reset_log()
    assert warm.uv(folder, "sync", network=True).code == 0
    assert index.requests == []


def test_what_only_the_metadata_of_an_unused_extra_name_is_looked_at_once(
    warm: Machine, index: IndexSimulator, tmp_path: Path
) -> None:
    with IndexSimulator() as files:
        files.publish(make_wheel(tmp_path / "w", "deep", "1.0"))
        deep = files.file_url("deep-1.0-py3-none-any.whl")
        files.publish(make_wheel(tmp_path / "w", "outer", "1.0", requires=[f"deep @ {deep}"]))
        outer = files.file_url("outer-1.0-py3-none-any.whl")
        more = f'\n[project.optional-dependencies]\nother = ["outer @ {outer}"]\n'
        project = Project(name="by-url", lines=(), table="dependency-groups", more=more)
        folder = project.write(tmp_path / "by-url", index.index_url)
        assert Machine(tmp_path / "locker").uv(folder, "lock").code == 0

        done = warm.gpuenv(folder, "prepare", "--json", "--target", TARGET)

        assert [proof["ok"] for proof in done.data["proof"]] == [True], done.err
        files.reset_log()
        assert warm.uv(folder, "sync", network=True).code == 0
        assert files.requests == []
