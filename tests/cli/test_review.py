"""What reviews found, part one: environments that are made, kept, and made again."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.certificates import CertificateAuthority
from provisioner.adapters.gateway import Gateway
from tests.cli.machine import Machine, distributions, line_of
from tests.cli.projects import TARGET, WHEELS, Project, publish_packages
from tests.cli.test_progress import on_a_terminal
from tests.cli.test_proxies import Passing
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_sdist, make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cli.conftest import Locker

OLDER = "driver=570.124.06,cuda=12.8,gpus=9.0"
DEAD_PROXY = "http://127.0.0.1:9"
SMALL = Project(lines=("cu13",), packages=("lean",))


@contextmanager
def counting_proxy() -> Iterator[tuple[str, list[str]]]:
    """A proxy that passes everything on, and the URLs that it was asked for."""
    inside = Passing()
    try:
        with Gateway(inside, CertificateAuthority()) as proxy:
            yield proxy.variables["HTTP_PROXY"], inside.asked
    finally:
        inside.close()


def write_settings(folder: Path, text: str) -> Path:
    """Write the settings of a user's uv; `folder` is for `XDG_CONFIG_HOME`."""
    path = folder / "uv" / "uv.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def write_profile(folder: Path, name: str, more: str) -> None:
    """Write a profile of the user's own; `folder` is for `XDG_CONFIG_HOME`."""
    path = folder / "gpuenv" / "profiles" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = f'{{schema: 1, name: {name}, cuda: "13", extras: [cu13], {more}}}\n'
    path.write_text(text, encoding="utf-8")


def damage(environment: Path, how: str) -> None:
    """Take a package out of an environment, or remove all of it."""
    if how == "removed":
        shutil.rmtree(environment)
    else:
        (package,) = environment.glob("lib/python*/site-packages/lean")
        shutil.rmtree(package)


def prepare(machine: Machine, folder: Path, *words: str) -> None:
    done = machine.gpuenv(folder, "prepare", "--target", TARGET, *words)
    assert done.code == 0, done.err


def conditions(machine: Machine, folder: Path) -> dict[str, str]:
    """The condition of each prepared profile."""
    found = machine.gpuenv(folder, "status", "--json").envelope["data"]["prepared"]
    return {item["profile"]: item["condition"] for item in found}


def environments(machine: Machine, folder: Path) -> dict[str, Path]:
    """The environment of each prepared profile."""
    found = machine.gpuenv(folder, "status", "--json").envelope["data"]["prepared"]
    return {item["profile"]: Path(item["environment"]) for item in found}


@pytest.mark.parametrize("how", ["changed", "removed"])
def test_without_uvs_cache_an_environment_is_renewed_from_the_store(
    warm: Machine, app: Path, index: IndexSimulator, tmp_path: Path, how: str
) -> None:
    prepare(warm, app)
    damage((app / ".venv").readlink(), how)
    given = {"UV_CACHE_DIR": str(tmp_path / "empty-cache")}
    index.reset_log()
    done = warm.gpuenv(app, "switch", "cu13", network=False, given=given)
    assert done.code == 0, done.err
    assert distributions(app / ".venv") == {"common 1.0", "lean-cu13 1.0", "stub-cu13 1.0"}
    assert line_of(app / ".venv") == "cu13"
    assert index.requests == []


@pytest.mark.parametrize("proxy", ["counts", "is dead"])
def test_a_renewal_asks_nothing_of_a_proxy_in_uvs_settings(
    warm: Machine, app: Path, index: IndexSimulator, tmp_path: Path, proxy: str
) -> None:
    prepare(warm, app)
    damage((app / ".venv").readlink(), "changed")
    given = {
        "UV_CACHE_DIR": str(tmp_path / "empty-cache"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "NO_PROXY": "",
    }
    index.reset_log()
    with counting_proxy() as (url, asked):
        address = url if proxy == "counts" else DEAD_PROXY
        write_settings(
            tmp_path / "config", f'http-proxy = "{address}"\nhttps-proxy = "{address}"\n'
        )
        done = warm.gpuenv(app, "switch", "cu13", given=given)
    assert done.code == 0, done.err
    assert line_of(app / ".venv") == "cu13"
    assert asked == []
    assert index.requests == []


@pytest.mark.parametrize("key", ["target", "prefix"])
def test_where_uvs_pip_installs_does_not_count(
    machine: Machine, tmp_path: Path, index: IndexSimulator, key: str
) -> None:
    config, victim, folder = machine.home / "config", tmp_path / "victim", tmp_path / "empty"
    victim.mkdir()
    folder.mkdir()
    source = f'[[index]]\nurl = "{index.index_url}"\ndefault = true\n'
    write_settings(config, f'{source}[pip]\n{key} = "{victim}"\n')
    write_profile(config, "cu13", "requirements: [lean-cu13, common]")
    prepare(machine, folder)
    assert distributions(folder / ".venv") == {"common 1.0", "lean-cu13 1.0"}
    assert list(victim.iterdir()) == []
    damage((folder / ".venv").readlink(), "removed")
    done = machine.gpuenv(folder, "switch", "cu13")
    assert done.code == 0, done.err
    assert distributions(folder / ".venv") == {"common 1.0", "lean-cu13 1.0"}
    assert list(victim.iterdir()) == []


def test_relative_find_links_work_beside_a_proxy(
    machine: Machine, tmp_path: Path, index: IndexSimulator
) -> None:
    config, folder = machine.home / "config", tmp_path / "empty"
    folder.mkdir()
    write_profile(config, "cu13", "requirements: [nearby, common]")
    with counting_proxy() as (url, _):
        source = f'[[index]]\nurl = "{index.index_url}"\ndefault = true\n'
        settings = f'http-proxy = "{url}"\nfind-links = ["./wheels"]\n{source}'
        path = write_settings(config, settings)
        make_wheel(path.parent / "wheels", "nearby", "1.0")
        done = machine.gpuenv(folder, "prepare", "--target", TARGET, given={"NO_PROXY": ""})
    assert done.code == 0, done.err
    assert distributions(folder / ".venv") == {"common 1.0", "nearby 1.0"}


@pytest.mark.parametrize("where", ["project", "user"])
def test_relative_find_links_of_a_project_stay_relative_beside_a_proxy(
    warm: Machine, tmp_path: Path, index: IndexSimulator, where: str
) -> None:
    app = Project(lines=(), dependencies=("nearby",)).write(tmp_path / "app", index.index_url)
    given = {"NO_PROXY": "", "XDG_CONFIG_HOME": str(tmp_path / "config")}
    with counting_proxy() as (url, _):
        settings = f'find-links = ["wheels"]\nhttp-proxy = "{url}"\n'
        if where == "project":
            path = app / "pyproject.toml"
            text = path.read_text(encoding="utf-8")
            path.write_text(f"{text}\n[tool.uv]\n{settings}", encoding="utf-8")
        else:
            path = write_settings(tmp_path / "config", settings)
        make_wheel(path.parent / "wheels", "nearby", "1.0")
        done = warm.gpuenv(app, "prepare", "--target", TARGET, given=given)
    assert done.code == 0, done.err
    assert distributions(app / ".venv") == {"nearby 1.0"}
    # As uv itself would write it: a lock that holds on another machine too.
    assert str(tmp_path) not in (app / "uv.lock").read_text(encoding="utf-8")


def test_a_source_distribution_that_came_damaged_once_is_fetched_again(
    warm: Machine, tmp_path: Path, index: IndexSimulator, locker: Locker
) -> None:
    index.publish(make_wheel(tmp_path, "twofold", "1.0"))
    sdist = make_sdist(tmp_path, "twofold", "1.0")
    index.publish(sdist)
    project = Project(
        dependencies=("twofold",), lines=(), more='\n[tool.uv]\nno-binary-package = ["twofold"]\n'
    )
    app = project.write(tmp_path / "app", index.index_url)
    locker.lock(app)
    index.corrupt(sdist.name, times=1)
    first = warm.gpuenv(app, "prepare", "--target", TARGET)
    assert first.code == 4, first.err
    assert f"`{sdist.name}`" in first.message.error
    assert warm.partial() == []
    second = warm.gpuenv(app, "prepare", "--target", TARGET)
    assert second.code == 0, second.err
    assert distributions(app / ".venv") == {"twofold 1.0"}
    assert "build_wheel twofold 1.0" in warm.built()


def test_profiles_with_the_same_extras_stay_prepared_both(
    warm: Machine, app: Path, tmp_path: Path
) -> None:
    write_profile(tmp_path / "config", "h100", 'needs: {compute-capability: "==9.0"}')
    given = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    done = warm.gpuenv(app, "prepare", "--target", TARGET, "--json", given=given)
    assert {"h100", "cu13"} <= set(done.data["prepared"])
    (app / "pyproject.toml").touch()
    again = warm.gpuenv(app, "prepare", "--json", given=given)
    assert set(again.data["prepared"]) == set(done.data["prepared"])
    assert {"h100", "cu13"} <= environments(warm, app).keys()
    for name in ("cu13", "h100", "cu13"):
        switched = warm.gpuenv(app, "switch", name, "--json", given=given)
        assert (switched.data["to"], switched.data["renewed"]) == (name, False)
        assert line_of(app / ".venv") == "cu13"


@pytest.mark.skipif(sys.platform != "linux", reason="reads a pseudo-terminal as Linux ends it")
def test_a_failure_shows_the_cursor_again(
    machine: Machine, app: Path, index: IndexSimulator
) -> None:
    index.corrupt(WHEELS["cu13"])
    code, said = on_a_terminal(machine, app, "prepare", "--target", TARGET)
    assert code == 4, said
    assert "\x1b[?25l" in said
    assert said.rfind("\x1b[?25h") > said.rfind("\x1b[?25l")
    assert said.rfind("error: ") > said.rfind("\x1b[?25h")


def test_the_password_of_pips_index_is_written_nowhere(machine: Machine, tmp_path: Path) -> None:
    user, password = "reader", "open-sesame"
    encoded = base64.b64encode(f"{user}:{password}".encode())
    log = tmp_path / "commands.log"
    first = tmp_path / "first"
    first.mkdir()
    script = first / "uv"
    script.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" >> "{log}"\nexec "{machine.root}/bin/uv" "$@"\n',
        encoding="utf-8",
    )
    script.chmod(0o755)
    with IndexSimulator(credentials=(user, password)) as own:
        publish_packages(own, tmp_path / "packages")
        project = Project(uv=False, lines=("cu13",), packages=("lean",))
        app = project.write(tmp_path / "app", own.index_url)
        given = {
            "PATH": f"{first}:{machine.variables()['PATH']}",
            "PIP_INDEX_URL": own.authenticated_index_url,
        }
        done = machine.gpuenv(app, "prepare", "--target", TARGET, given=given)
    assert done.code == 0, done.err
    assert password not in done.out + done.err
    assert distributions(app / ".venv") == {"common 1.0", "lean-cu13 1.0"}
    assert "compile" in log.read_text(encoding="utf-8").splitlines()
    read = [log, *machine.store.rglob("*"), *app.rglob("*")]
    assert app / "pylock.cu13.toml" in read
    assert app / ".gpuenv" / "state.json" in read
    told = [path for path in read if path.is_file() and not path.is_symlink()]
    for secret in (password.encode(), encoded):
        assert [path for path in told if secret in path.read_bytes()] == []


def test_a_rollback_is_a_choice_by_hand(warm: Machine, app: Path) -> None:
    older = warm.gpuenv(app, "prepare", "--target", OLDER, "--json")
    assert older.data["active"] == "cu12"
    newer = warm.gpuenv(app, "prepare", "--target", TARGET, "--json")
    assert newer.data["active"] == "cu13"
    back = warm.gpuenv(app, "rollback", "--json")
    assert back.data["to"] == "cu12"
    assert warm.gpuenv(app, "status", "--json").data["automatic"] is False
    for _ in range(2):
        done = warm.gpuenv(app, "prepare", "--json")
        assert (done.data["profile"], done.data["active"]) == ("cu13", "cu12")
        assert line_of(app / ".venv") == "cu12"
        (app / "pyproject.toml").touch()


def test_a_switch_and_its_rollback_stay_after_another_prepare(warm: Machine, app: Path) -> None:
    prepare(warm, app)
    for words in (["switch", "cu12"], ["switch", "cpu"], ["rollback"]):
        done = warm.gpuenv(app, *words)
        assert done.code == 0, done.err
    again = warm.gpuenv(app, "prepare", "--json")
    assert (again.data["active"], again.data["kept"]) == ("cu12", True)
    assert line_of(app / ".venv") == "cu12"


def test_a_default_group_is_in_its_own_environment_alone(
    warm: Machine, tmp_path: Path, index: IndexSimulator, locker: Locker
) -> None:
    app = Project(table="dependency-groups").write(tmp_path / "app", index.index_url)
    path = app / "pyproject.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace("conflicts =", 'default-groups = ["cu13"]\nconflicts ='), encoding="utf-8"
    )
    locker.lock(app)
    prepare(warm, app)
    made = {name: distributions(path) for name, path in environments(warm, app).items()}
    assert made == {
        "cu13": {"common 1.0", "lean-cu13 1.0", "stub-cu13 1.0"},
        "cu12": {"common 1.0", "lean-cu12 1.0", "stub-cu12 1.0"},
        "cpu": {"common 1.0"},
    }


def test_after_a_change_of_the_lock_a_switch_warns_and_renews_from_the_new_one(
    warm: Machine, app: Path, index: IndexSimulator, locker: Locker
) -> None:
    prepare(warm, app)
    path = app / "pyproject.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('["common"]', '["common", "helper"]'), encoding="utf-8")
    locker.lock(app)
    assert set(conditions(warm, app).values()) == {"outdated"}
    assert "  cu12: outdated, " in warm.gpuenv(app, "status").out
    switched = warm.gpuenv(app, "switch", "cu12")
    assert switched.code == 0, switched.err
    assert "was made from an older lock" in switched.out
    assert distributions(app / ".venv") == {"common 1.0", "lean-cu12 1.0", "stub-cu12 1.0"}
    damage((app / ".venv").readlink(), "changed")
    index.reset_log()
    renewed = warm.gpuenv(app, "switch", "cu12", network=False)
    assert renewed.code == 0, renewed.err
    assert "older lock" not in renewed.out
    assert "helper 1.0" in distributions(app / ".venv")
    assert index.requests == []
    assert conditions(warm, app) == {"cu13": "outdated", "cu12": "intact", "cpu": "outdated"}


def test_members_of_a_workspace_have_environments_of_their_own(
    warm: Machine, tmp_path: Path, index: IndexSimulator, locker: Locker
) -> None:
    root = Project(
        name="root", lines=(), more='\n[tool.uv.workspace]\nmembers = ["one", "two"]\n'
    ).write(tmp_path / "root", index.index_url)
    needs = {"one": "common", "two": "helper"}
    for name, need in needs.items():
        member = Project(name=name, dependencies=(need,), packages=("lean",))
        text = member.write(tmp_path / "members" / name, index.index_url) / "pyproject.toml"
        (root / name).mkdir()
        (root / name / "pyproject.toml").write_text(
            text.read_text(encoding="utf-8").split("\n[[tool.uv.index]]")[0], encoding="utf-8"
        )
    locker.lock(root)
    for name, need in needs.items():
        prepare(warm, root / name)
        assert distributions(root / ".venv") == {f"{need} 1.0", "lean-cu13 1.0"}
    own = {name: environments(warm, root / name) for name in needs}
    assert own["one"].keys() == own["two"].keys() == {"cu13", "cu12", "cpu"}
    assert not set(own["one"].values()) & set(own["two"].values())
    for name, need in needs.items():
        assert set(conditions(warm, root / name).values()) == {"intact"}
        done = warm.gpuenv(root / name, "switch", "cu12", network=False)
        assert done.code == 0, done.err
        assert (root / ".venv").readlink() == own[name]["cu12"]
        assert distributions(root / ".venv") == {f"{need} 1.0", "lean-cu12 1.0"}
    again = warm.gpuenv(root / "one", "prepare", "--json")
    assert again.code == 0, again.err
    assert "common 1.0" in distributions(root / ".venv")


@pytest.mark.parametrize(("kind", "offline"), [("appended", False), ("flipped", True)])
def test_a_damaged_file_of_the_store_is_an_error_offline_and_else_fetched_again(
    machine: Machine,
    new_project: Callable[[Project], Path],
    index: IndexSimulator,
    kind: str,
    *,
    offline: bool,
) -> None:
    app = new_project(SMALL)
    prepare(machine, app)
    name = WHEELS["cu13"]
    with urllib.request.urlopen(index.file_url(name)) as answer:
        content: bytes = answer.read()
    digest = hashlib.sha256(content).hexdigest()
    blob = machine.store / "blobs" / "sha256" / digest[:2] / digest
    half = len(content) // 2
    flipped = content[:half] + bytes([content[half] ^ 0xFF]) + content[half + 1 :]
    blob.chmod(0o644)
    blob.write_bytes(content + b"more" if kind == "appended" else flipped)
    shutil.rmtree(machine.root / "uv-cache")
    shutil.rmtree((app / ".venv").readlink())
    if offline:
        failed = machine.gpuenv(app, "prepare", "--json", "--offline")
        assert failed.code == 4, failed.err
        assert name in json.dumps(failed.envelope["errors"])
        verified = machine.gpuenv(app, "store", "verify")
        assert verified.code == 4
        assert f"`{name}` is gone, and is still needed" in verified.err
    index.reset_log()
    done = machine.gpuenv(app, "prepare")
    assert done.code == 0, done.err
    assert index.gets(name) == 1
    said = f"`{name}` was damaged in the store, and is fetched anew"
    assert (said in done.err) is not offline
    assert blob.read_bytes() == content
    assert line_of(app / ".venv") == "cu13"
