"""`prepare`: the right environment, everything fetched and built once, nothing asked again."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import urllib.request
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.cli.machine import Machine, distributions, line_of
from tests.cli.projects import BUILD_WHEELS, LOCKED, SDISTS, TARGET, Project, downloads
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Prepared
    from tests.simulators.index import Request

WHEELS_ONLY = Project(lines=("cu13",), packages=("lean",))
EXTRAS = {"cu13": ["--extra", "cu13"], "cu12": ["--extra", "cu12"], "cpu": []}


def is_file(name: str) -> bool:
    return name.endswith((".whl", ".tar.gz"))


def fetches(prepared: Prepared) -> list[Request]:
    """What was asked for to be had; a look at the size (HEAD) brings nothing."""
    return [r for r in prepared.requests if is_file(r.filename) and r.method != "HEAD"]


def test_prepare_chooses_the_newest_line_that_the_driver_runs(first_prepare: Prepared) -> None:
    data = first_prepare.done.data
    assert (data["profile"], data["active"], data["generation"]) == ("cu13", "cu13", 1)
    assert data["prepared"] == ["cu13", "cu12", "cpu"]


def test_prepare_fetches_each_file_once_and_no_other(first_prepare: Prepared) -> None:
    fetched = Counter(r.filename for r in fetches(first_prepare))
    assert fetched == dict.fromkeys((*LOCKED, *BUILD_WHEELS), 1)


def test_prepare_counts_what_it_fetched(first_prepare: Prepared) -> None:
    files = fetches(first_prepare)
    assert first_prepare.done.data["fetched"] == {
        "files": len(files),
        "bytes": sum(request.body_bytes for request in files),
    }
    assert first_prepare.done.data["reused"] == {"files": 0, "bytes": 0}


def test_prepare_says_each_file_on_stderr(first_prepare: Prepared) -> None:
    said = Counter(
        line.split()[1]
        for line in first_prepare.done.err.splitlines()
        if line.startswith("fetched ")
    )
    assert said == dict.fromkeys((*LOCKED, *BUILD_WHEELS), 1)


def test_prepare_builds_each_source_distribution_once(first_prepare: Prepared) -> None:
    assert first_prepare.builds == ("build_wheel stub-cu12 1.0", "build_wheel stub-cu13 1.0")


@pytest.mark.parametrize("line", ["cu12", "cu13"])
def test_an_environment_holds_its_own_line_and_no_other(first_prepare: Prepared, line: str) -> None:
    environment = first_prepare.environment(line)
    assert line_of(environment) == line
    assert distributions(environment) == {"common 1.0", f"lean-{line} 1.0", f"stub-{line} 1.0"}


def test_the_cpu_environment_holds_no_line(first_prepare: Prepared) -> None:
    assert distributions(first_prepare.environment("cpu")) == {"common 1.0"}


def test_venv_is_a_link_into_the_store(first_prepare: Prepared) -> None:
    assert first_prepare.link.is_symlink()
    environment = first_prepare.environment("cu13")
    assert first_prepare.link.resolve() == environment.resolve()
    assert environment.is_relative_to(first_prepare.machine.store / "envs")


def test_the_project_holds_only_the_link_and_the_state(first_prepare: Prepared) -> None:
    names = {path.name for path in first_prepare.folder.iterdir()}
    assert names == {"pyproject.toml", "uv.lock", ".venv", ".gpuenv"}


def test_blobs_are_named_by_their_hash_and_read_only(first_prepare: Prepared) -> None:
    blobs = list((first_prepare.machine.store / "blobs" / "sha256").glob("??/*"))
    # Also the wheels that were built from source distributions.
    assert len(blobs) == len(LOCKED) + len(BUILD_WHEELS) + len(SDISTS)
    for blob in blobs:
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
        assert blob.parent.name == blob.name[:2]
        assert stat.S_IMODE(blob.stat().st_mode) == 0o444
    assert first_prepare.machine.partial() == []


@pytest.mark.parametrize("profile", EXTRAS)
def test_uv_finds_nothing_to_do_in_an_environment(first_prepare: Prepared, profile: str) -> None:
    environment = str(first_prepare.environment(profile))
    words = ["sync", "--frozen", *EXTRAS[profile], "--check"]
    done = first_prepare.uv(*words, given={"UV_PROJECT_ENVIRONMENT": environment})
    assert done.code == 0, done.err


@pytest.mark.parametrize("network", [True, False])
def test_second_prepare_asks_nothing(
    first_prepare: Prepared, index: IndexSimulator, *, network: bool
) -> None:
    environments = first_prepare.machine.environments()
    done = first_prepare.gpuenv("prepare", "--json", "--target", TARGET, network=network)
    assert done.data["fetched"] == {"files": 0, "bytes": 0}
    assert done.data["environment"] == first_prepare.done.data["environment"]
    assert done.data["generation"] == 1
    assert index.requests == []
    assert first_prepare.machine.built() == list(first_prepare.builds)
    assert first_prepare.machine.environments() == environments


def test_rejections_are_said_only_where_there_is_something_to_do(first_prepare: Prepared) -> None:
    words = ("prepare", "--target", TARGET)
    assert "  rejected: `cu11` needs" in first_prepare.gpuenv(*words, "--dry-run").out
    again = first_prepare.gpuenv(*words).out
    assert "nothing to do" in again
    assert "rejected" not in again


def test_prepare_counts_what_it_reused(warm: Machine, app: Path) -> None:
    # The index tells no sizes, the store knows them.
    done = warm.gpuenv(app, "prepare", "--target", TARGET, "--fetch-only", "--json")
    blobs = warm.store / "blobs" / "sha256"
    sizes = {path.name: path.stat().st_size for path in blobs.glob("??/*")}
    lock = (app / "uv.lock").read_text(encoding="utf-8")
    held = [size for name, size in sizes.items() if f"sha256:{name}" in lock]
    assert done.data["fetched"] == {"files": 0, "bytes": 0}
    assert done.data["reused"] == {"files": len(LOCKED), "bytes": sum(held)}


def test_another_project_on_the_same_store_fetches_and_builds_nothing(
    warm: Machine, app: Path, index: IndexSimulator
) -> None:
    built, environments = warm.built(), warm.environments()
    done = warm.gpuenv(app, "prepare", "--target", TARGET, "--json", network=False)
    assert done.data["fetched"] == {"files": 0, "bytes": 0}
    assert line_of(app / ".venv") == "cu13"
    assert len(warm.environments() - environments) == len(EXTRAS)
    assert index.requests == []
    assert warm.built() == built


def test_environments_of_another_store_do_not_count(
    machine: Machine, app: Path, tmp_path: Path
) -> None:
    old = machine.gpuenv(app, "prepare", "--target", TARGET, "--only")
    assert old.code == 0, old.err
    new = ("prepare", "--only", "--store", tmp_path / "new")

    planned = machine.gpuenv(app, *new, "--dry-run", "--json")
    done = machine.gpuenv(app, *new)

    needs = [need for room in planned.data["room"] for need in room["needs"]]
    assert str(tmp_path / "new" / "envs") in json.dumps(needs), needs
    assert done.code == 0, done.err
    assert (app / ".venv").readlink().is_relative_to(tmp_path / "new" / "envs")
    note = f"environments in the store `{machine.store}` are not used for this one"
    assert done.err.count(note) == 1
    again = machine.gpuenv(app, *new, "--json")
    assert again.data["nothing_to_do"] is True
    back = machine.gpuenv(app, "prepare", "--only", "--json")
    assert back.code == 0, back.err
    assert (app / ".venv").readlink().is_relative_to(machine.store)


def test_a_lost_uv_cache_is_filled_again_from_the_store(
    machine: Machine, app: Path, index: IndexSimulator
) -> None:
    first = machine.gpuenv(app, "prepare", "--only", "--target", TARGET)
    assert first.code == 0, first.err
    shutil.rmtree(machine.root / "uv-cache")
    shutil.rmtree(machine.store / "envs")
    index.reset_log()
    again = machine.gpuenv(app, "prepare", "--only", "--json", network=False)
    assert again.data["fetched"] == {"files": 0, "bytes": 0}
    assert line_of(app / ".venv") == "cu13"
    assert index.requests == []


def test_only_keeps_to_the_chosen_profile(
    machine: Machine, app: Path, index: IndexSimulator
) -> None:
    done = machine.gpuenv(app, "prepare", "--only", "--target", TARGET, "--json")
    assert done.data["prepared"] == ["cu13"]
    assert len(machine.environments()) == 1
    assert index.gets("lean_cu12-1.0-py3-none-any.whl") == 0
    assert index.gets("stub_cu12-1.0.tar.gz") == 0
    refused = machine.gpuenv(app, "switch", "cu12")
    assert refused.code == 1
    assert "not prepared" in refused.message.error


def test_fetch_only_makes_no_environment(
    machine: Machine, app: Path, index: IndexSimulator
) -> None:
    done = machine.gpuenv(app, "prepare", "--fetch-only", "--target", TARGET, "--json")
    assert (done.data["environment"], done.data["active"]) == (None, None)
    assert machine.environments() == set()
    assert machine.built() == []
    assert not os.path.lexists(app / ".venv")
    assert {name: index.gets(name) for name in LOCKED} == dict.fromkeys(LOCKED, 1)
    index.reset_log()
    later = machine.gpuenv(app, "prepare", "--only", "--json")
    assert (later.data["active"], line_of(app / ".venv")) == ("cu13", "cu13")
    assert {name: index.gets(name) for name in LOCKED} == dict.fromkeys(LOCKED, 0)


def test_what_was_fetched_for_a_target_that_has_changed_is_asked_for_no_longer(
    machine: Machine, app: Path
) -> None:
    saved = app.parent / "host.json"
    for driver in ("580.65.06", "581.0.1"):
        target = TARGET.replace("580.65.06", driver)
        data = machine.gpuenv(app, "detect", "--target", target, "--json").data
        saved.write_text(json.dumps(data), encoding="utf-8")
        words = ("prepare", "--fetch-only", "--only", "--target", saved)
        assert machine.gpuenv(app, *words).code == 0

    (root,) = (machine.store / "roots").iterdir()
    assert len(json.loads(root.read_text(encoding="utf-8"))["plans"]) == 1


def test_dry_run_fetches_and_writes_nothing(
    machine: Machine, app: Path, index: IndexSimulator
) -> None:
    done = machine.gpuenv(app, "prepare", "--dry-run", "--target", TARGET, "--json")
    assert {item["name"] for item in done.data["missing"]} == set(LOCKED)
    assert done.data["fetched"] == {"files": 0, "bytes": 0}
    assert (done.data["environment"], done.data["active"]) == (None, None)
    assert done.data["free_bytes"] > 0
    (room,) = done.data["room"]
    assert [need["what"] for need in room["needs"]] == [
        "to fetch",
        "to unpack in uv's cache",
        "to link into environments",
    ]
    assert room["needed_bytes"] == sum(need["bytes"] for need in room["needs"])
    assert room["free_bytes"] > 0
    assert index.requests == []
    assert {path.name for path in app.iterdir()} == {"pyproject.toml", "uv.lock"}
    assert not machine.store.exists()


def test_dry_run_prints_each_file_and_the_room_for_it(machine: Machine, app: Path) -> None:
    done = machine.gpuenv(app, "prepare", "--dry-run", "--target", TARGET)
    assert done.code == 0, done.err
    for name in LOCKED:
        assert f"fetch {name} " in done.out
    assert f"would fetch {len(LOCKED)} files" in done.out
    assert f"would fetch {len(LOCKED)} files (an unknown number of bytes)" in done.out
    assert "are free there" in done.out
    assert re.search(r"  on /\S* \(\w+\): .* to unpack in uv's cache", done.out)


def test_a_manual_switch_is_kept_and_said(warm: Machine, app: Path) -> None:
    for words in (["prepare", "--target", TARGET], ["switch", "cu12"]):
        done = warm.gpuenv(app, *words)
        assert done.code == 0, done.err
    (app / ".python-version").write_text("3\n", encoding="utf-8")  # no short cut
    done = warm.gpuenv(app, "prepare")
    assert done.code == 0, done.err
    assert "cu12, which you switched to, stays active (generation 2)" in done.out
    assert "hint: `gpuenv switch cu13` activates the choice" in done.out
    data = warm.gpuenv(app, "prepare", "--json").data
    assert (data["profile"], data["active"], data["generation"]) == ("cu13", "cu12", 2)
    assert line_of(app / ".venv") == "cu12"


def test_naming_a_profile_activates_it(warm: Machine, app: Path) -> None:
    first = warm.gpuenv(app, "prepare", "--profile", "cu12", "--target", TARGET, "--json")
    assert (first.data["profile"], first.data["active"]) == ("cu12", "cu12")
    assert first.data["prepared"] == ["cu12", "cu13", "cpu"]
    warm.gpuenv(app, "switch", "cpu")
    done = warm.gpuenv(app, "prepare", "--profile", "cu13", "--json")
    assert (done.data["active"], done.data["generation"]) == ("cu13", 3)
    assert line_of(app / ".venv") == "cu13"


def test_a_better_choice_replaces_an_automatic_one(warm: Machine, app: Path) -> None:
    old = warm.gpuenv(app, "prepare", "--target", "driver=570.124.06,cuda=12.8,gpus=9.0", "--json")
    assert (old.data["active"], old.data["prepared"]) == ("cu12", ["cu12", "cpu"])
    new = warm.gpuenv(app, "prepare", "--target", TARGET, "--json")
    assert (new.data["active"], new.data["generation"]) == ("cu13", 2)
    assert line_of(app / ".venv") == "cu13"


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_a_foreign_venv_is_refused_before_anything_is_fetched(
    machine: Machine, app: Path, index: IndexSimulator, tmp_path: Path, kind: str
) -> None:
    theirs = tmp_path / "theirs" if kind == "link" else app / ".venv"
    theirs.mkdir()
    (theirs / "precious").touch()
    if kind == "link":
        (app / ".venv").symlink_to(theirs)
    done = machine.gpuenv(app, "prepare", "--target", TARGET)
    assert done.code == 8
    assert done.message.error == f"`{app / '.venv'}` was not made by gpuenv"
    assert done.message.hint == "`gpuenv prepare --adopt` moves it aside"
    assert index.requests == []
    assert machine.blobs() == set()
    assert (theirs / "precious").exists()


def test_adopt_moves_a_real_venv_aside(warm: Machine, app: Path) -> None:
    (app / ".venv").mkdir()
    (app / ".venv" / "precious").touch()
    done = warm.gpuenv(app, "prepare", "--adopt", "--target", TARGET)
    assert done.code == 0, done.err
    assert line_of(app / ".venv") == "cu13"
    (aside,) = (app / ".gpuenv").glob("venv-before-*")
    assert (aside / "precious").exists()
    assert str(aside) in done.out


def test_adopt_that_fails_leaves_the_real_venv(
    machine: Machine, app: Path, index: IndexSimulator
) -> None:
    (app / ".venv").mkdir()
    index.corrupt("lean_cu13-1.0-py3-none-any.whl")
    done = machine.gpuenv(app, "prepare", "--adopt", "--target", TARGET)
    assert done.code == 4
    assert (app / ".venv").is_dir()
    assert not (app / ".venv").is_symlink()


def test_git_does_not_show_the_link_or_the_state(warm: Machine, app: Path) -> None:
    assert warm.run(app, "git", "init", "-q").code == 0
    (app / ".gitignore").write_text(".venv/\n", encoding="utf-8")
    done = warm.gpuenv(app, "prepare", "--only", "--target", TARGET)
    assert done.code == 0, done.err
    shown = warm.run(app, "git", "status", "--porcelain", "--untracked-files=all").out
    assert {line.split()[1] for line in shown.splitlines()} == {
        ".gitignore",
        "pyproject.toml",
        "uv.lock",
    }


def test_an_upgrade_makes_a_new_environment_and_fetches_only_what_is_new(
    machine: Machine, tmp_path: Path
) -> None:
    with IndexSimulator() as own:
        own.publish(make_wheel(tmp_path, "common", "1.0"))
        own.publish(make_wheel(tmp_path, "lean-cu13", "1.0"))
        folder = WHEELS_ONLY.write(tmp_path / "app", own.index_url)
        assert machine.gpuenv(folder, "prepare", "--only", "--target", TARGET).code == 0
        before = machine.environments()
        own.publish(make_wheel(tmp_path, "common", "2.0"))
        same = machine.gpuenv(folder, "prepare", "--only", "--json")
        assert same.data["nothing_to_do"] is True
        own.reset_log()
        assert machine.gpuenv(folder, "lock", "--upgrade").code == 0
        done = machine.gpuenv(folder, "prepare", "--only", "--json")
        assert downloads(own) == {"common-2.0-py3-none-any.whl": 1}
    assert done.data["generation"] == 2
    assert "common 2.0" in distributions(folder / ".venv")
    assert machine.environments() > before


def test_over_tls_with_the_users_certificates(tmp_path: Path) -> None:
    with IndexSimulator("pypi", tls=True) as own:
        machine = Machine(tmp_path / "machine", SSL_CERT_FILE=str(own.ca_path))
        for name in ("common", "lean-cu13"):
            own.publish(make_wheel(tmp_path, name, "1.0"))
        folder = WHEELS_ONLY.write(tmp_path / "app", own.index_url)
        locked = machine.uv(folder, "lock")
        assert locked.code == 0, locked.err
        own.reset_log()
        done = machine.gpuenv(folder, "prepare", "--only", "--target", TARGET, "--json")
        assert done.data["active"] == "cu13"
        assert downloads(own) == {
            "common-1.0-py3-none-any.whl": 1,
            "lean_cu13-1.0-py3-none-any.whl": 1,
        }
        stranger = Machine(tmp_path / "stranger")
        refused = stranger.gpuenv(folder, "prepare", "--only", "--only", "--profile", "cpu")
        assert refused.code == 3
        assert "certificate" in " ".join(refused.message.causes).lower()
    assert distributions(folder / ".venv") == {"common 1.0", "lean-cu13 1.0"}


def test_offline_lists_every_missing_file(
    machine: Machine, app: Path, index: IndexSimulator
) -> None:
    done = machine.gpuenv(app, "prepare", "--offline", "--target", TARGET)
    assert done.code == 3
    causes = done.message.causes
    assert len(causes) == len(LOCKED)
    for name in LOCKED:
        (cause,) = [cause for cause in causes if f"`{name}`" in cause]
        digest = hashlib.sha256(_content(index, name)).hexdigest()
        assert digest in cause
        assert index.file_url(name) in cause
    assert index.requests == []


def test_offline_prepare_uses_what_is_held(warm: Machine, app: Path, index: IndexSimulator) -> None:
    done = warm.gpuenv(app, "prepare", "--offline", "--target", TARGET, "--json")
    assert done.data["active"] == "cu13"
    assert index.requests == []


def _content(index: IndexSimulator, name: str) -> bytes:
    with urllib.request.urlopen(index.file_url(name)) as answer:
        content: bytes = answer.read()
    index.reset_log()
    return content
