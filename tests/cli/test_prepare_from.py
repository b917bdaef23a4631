"""`gpuenv prepare --from`: all that a machine without a network needs, in one file."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from tests.cli.machine import GPUENV, Machine, distributions, line_of
from tests.cli.projects import LOCKED, TARGET, X86, Project, profile_text, publish_libraries
from tests.simulators.images import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Prepared
    from tests.cli.machine import Done
    from tests.simulators.index import IndexSimulator


@pytest.fixture
def other(tmp_path: Path) -> Machine:
    """A machine that never had a network."""
    return Machine(tmp_path / "other")


@pytest.fixture
def bundle(first_prepare: Prepared, tmp_path: Path) -> Path:
    """What `store export` writes for a project."""
    path = tmp_path / "app.bundle"
    assert first_prepare.gpuenv("store", "export", path).code == 0
    return path


@pytest.fixture
def app_copy(first_prepare: Prepared, tmp_path: Path) -> Path:
    """The project as it is carried to another machine, without its lock."""
    folder = tmp_path / "carried" / "app"
    shutil.copytree(
        first_prepare.folder, folder, ignore=shutil.ignore_patterns(".venv", ".gpuenv", "uv.lock")
    )
    return folder


def prepare(machine: Machine, folder: Path, bundle: Path | str, *words: str) -> Done:
    """Prepare from a bundle where there is only loopback."""
    words = ("prepare", "--from", str(bundle), "--target", TARGET, *words)
    return machine.gpuenv(folder, *words, network=False)


def test_a_project_is_prepared_from_a_bundle_alone(
    first_prepare: Prepared, other: Machine, bundle: Path, app_copy: Path, index: IndexSimulator
) -> None:
    index.reset_log()
    data = prepare(other, app_copy, bundle, "--json").data
    assert index.requests == []
    assert data["prepared"] == ["cu13", "cu12", "cpu"]
    assert data["fetched"] == {"files": 0, "bytes": 0}
    assert data["imported"]["files"] >= len(LOCKED)
    assert line_of(app_copy / ".venv") == "cu13"
    assert distributions(app_copy / ".venv") == distributions(first_prepare.environment("cu13"))
    assert (app_copy / "uv.lock").read_bytes() == (first_prepare.folder / "uv.lock").read_bytes()
    assert "wrote `uv.lock` of the bundle, to be committed" in data["notes"]


def test_a_second_time_takes_and_writes_nothing(
    other: Machine, bundle: Path, app_copy: Path
) -> None:
    assert prepare(other, app_copy, bundle).code == 0
    before = other.snapshot(app_copy)
    written = (app_copy / "uv.lock").stat().st_mtime_ns
    done = prepare(other, app_copy, bundle, "--json")
    assert done.data["imported"] == {"files": 0, "bytes": 0}
    assert done.data["nothing_to_do"]
    assert other.snapshot(app_copy) == before
    assert (app_copy / "uv.lock").stat().st_mtime_ns == written


def test_two_at_once_end_whole(other: Machine, bundle: Path, app_copy: Path) -> None:
    words = ("prepare", "--from", bundle, "--target", TARGET)
    running = [other.start(app_copy, *words) for _ in range(2)]
    for process in running:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    assert line_of(app_copy / ".venv") == "cu13"


def test_a_bundle_comes_on_stdin(other: Machine, bundle: Path, app_copy: Path) -> None:
    with bundle.open("rb") as file:
        done = subprocess.run(
            [*GPUENV, "prepare", "--from", "-", "--target", TARGET],
            cwd=app_copy,
            env=other.variables(),
            stdin=file,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert line_of(app_copy / ".venv") == "cu13"


def test_other_locks_are_refused_with_both_hashes_and_nothing_is_taken(
    other: Machine, bundle: Path, app_copy: Path, first_prepare: Prepared
) -> None:
    text = (first_prepare.folder / "uv.lock").read_bytes()
    (app_copy / "uv.lock").write_bytes(text + b"# mine\n")
    done = prepare(other, app_copy, bundle)
    assert done.code == 1
    (cause,) = done.message.causes
    assert hashlib.sha256(text).hexdigest() in cause
    assert hashlib.sha256(text + b"# mine\n").hexdigest() in cause
    assert "store import" in (done.message.hint or "")
    assert other.blobs() == set()
    assert not (app_copy / ".gpuenv").exists()


def test_another_project_is_refused_with_both_names(
    other: Machine, bundle: Path, tmp_path: Path, index: IndexSimulator
) -> None:
    folder = Project(name="mine").write(tmp_path / "mine", index.index_url)
    done = prepare(other, folder, bundle)
    assert done.code == 2
    assert done.message.causes == ("it is of `app`, and this is `mine`",)
    assert other.blobs() == set()


def test_a_folder_without_the_project_is_told_what_lacks(
    other: Machine, bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    done = prepare(other, tmp_path / "empty", bundle)
    assert done.code == 2
    assert "the project `app`" in done.message.error
    assert "no `pyproject.toml`" in done.message.causes[0]


def test_a_profile_without_a_project_is_prepared_from_its_bundle(
    machine: Machine, other: Machine, tmp_path: Path, index: IndexSimulator
) -> None:
    publish_libraries(index, tmp_path / "libraries")
    for user in (machine, other):
        profiles = user.home / "config" / "gpuenv" / "profiles"
        profiles.mkdir(parents=True)
        text = profile_text("cu12", "12", index.index_url)
        (profiles / "cu12.yaml").write_text(text, encoding="utf-8")
    target = f"driver=535.104.05,cuda=12.2,gpus=9.0,{X86}"
    given = {"UV_DEFAULT_INDEX": index.index_url}
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    words = ("--profile", "cu12", "--target", target)
    done = machine.gpuenv(here, "prepare", *words, given=given)
    assert done.code == 0, done.err
    assert machine.gpuenv(here, "store", "export", tmp_path / "bundle").code == 0
    done = other.gpuenv(there, "prepare", "--from", tmp_path / "bundle", *words, network=False)
    assert done.code == 0, done.err
    name = "pylock.cu12.toml"
    assert (there / name).read_bytes() == (here / name).read_bytes()
    assert distributions(there / ".venv") == distributions(here / ".venv")


def test_what_a_bundle_lacks_for_this_target_is_told_by_name(
    machine: Machine, other: Machine, tmp_path: Path, new_project: Callable[[Project], Path]
) -> None:
    folder = new_project(Project(name="partly"))
    words = ("prepare", "--only", "--profile", "cu12", "--target", TARGET)
    assert machine.gpuenv(folder, *words).code == 0
    assert machine.gpuenv(folder, "store", "export", tmp_path / "bundle").code == 0
    carried = tmp_path / "carried-on"
    shutil.copytree(folder, carried, ignore=shutil.ignore_patterns(".venv", ".gpuenv"))
    done = prepare(other, carried, tmp_path / "bundle")
    assert done.code == 3
    assert any("lean_cu13-1.0-py3-none-any.whl" in cause for cause in done.message.causes)
    assert "the bundle" in done.message.causes[-1]
    assert "export it again" in (done.message.hint or "")


def test_pip_comes_with_the_bundle(
    machine: Machine,
    other: Machine,
    tmp_path: Path,
    index: IndexSimulator,
    new_project: Callable[[Project], Path],
) -> None:
    from tests.simulators.wheels import make_wheel

    for name in ("pip", "setuptools", "wheel"):
        index.publish(make_wheel(tmp_path / "seeds", name, "99.0"))
    folder = new_project(Project(name="seeded"))
    given = {"UV_DEFAULT_INDEX": index.index_url}
    done = machine.gpuenv(folder, "prepare", "--seed", "--target", TARGET, given=given)
    assert done.code == 0, done.err
    assert machine.gpuenv(folder, "store", "export", tmp_path / "bundle").code == 0
    carried = tmp_path / "carried-on"
    shutil.copytree(folder, carried, ignore=shutil.ignore_patterns(".venv", ".gpuenv"))
    done = prepare(other, carried, tmp_path / "bundle", "--seed")
    assert done.code == 0, done.err
    assert "pip 99.0" in distributions(carried / ".venv")


def spoiled(bundle: Path, path: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """A bundle with other members."""
    with tarfile.open(bundle) as old, tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as new:
        for member in old:
            file = old.extractfile(member)
            assert file is not None
            content = change(member.name, file.read())
            if content is not None:
                info = tarfile.TarInfo(member.name)
                info.size = len(content)
                new.addfile(info, io.BytesIO(content))
    return path


def other_format(name: str, content: bytes) -> bytes:
    if name != "manifest.json":
        return content
    return json.dumps({**json.loads(content), "gpuenv-bundle": 99}).encode()


def tampered(name: str, content: bytes) -> bytes:
    return content[:-1] + b"x" if name.startswith("blobs/") else content


def other_lock(name: str, content: bytes) -> bytes:
    return content[:-1] + b"#" if name.startswith("locks/") else content


@pytest.mark.parametrize(("change", "code"), [(other_format, 1), (tampered, 4), (other_lock, 4)])
def test_a_bundle_that_is_not_right_is_refused_and_no_lock_is_written(  # noqa: PLR0913, PLR0917 - fixtures
    other: Machine,
    bundle: Path,
    app_copy: Path,
    tmp_path: Path,
    change: Callable[[str, bytes], bytes],
    code: int,
) -> None:
    done = prepare(other, app_copy, spoiled(bundle, tmp_path / "spoiled", change))
    assert done.code == code
    assert done.message.error
    assert not (app_copy / "uv.lock").exists()
    assert not os.path.lexists(app_copy / ".venv")


def test_a_bundle_that_is_cut_off_or_none_is_refused(
    other: Machine, bundle: Path, app_copy: Path, tmp_path: Path
) -> None:
    content = bundle.read_bytes()
    (tmp_path / "cut").write_bytes(content[: len(content) // 2])
    (tmp_path / "none").write_bytes(b"\x00" * 4096)
    assert prepare(other, app_copy, tmp_path / "cut").code == 4
    assert prepare(other, app_copy, tmp_path / "none").code == 1
    assert prepare(other, app_copy, tmp_path / "nowhere").code == 2
    assert not (app_copy / "uv.lock").exists()


def test_a_full_disk_takes_nothing(
    other: Machine, bundle: Path, app_copy: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(small)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        done = prepare(other, app_copy, bundle, "--store", str(small / "store"))
        assert done.code == 5
        assert not (app_copy / "uv.lock").exists()
    finally:
        run("umount", small)


@pytest.mark.parametrize("words", [("--dry-run",), ("--target", TARGET)])
def test_what_does_not_go_with_a_bundle_is_2(
    other: Machine, bundle: Path, app_copy: Path, words: tuple[str, ...]
) -> None:
    done = prepare(other, app_copy, bundle, *words)
    assert done.code == 2
    assert "does not go with" in done.message.causes[0]
