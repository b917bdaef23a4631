"""Environments as uv makes them: whose they are, and whether anything changed them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters._files import is_held
from provisioner.adapters.environment import (
    discard,
    file_hash,
    finish,
    is_ours,
    is_outdated,
    lock_stamp,
    note_use,
    python_fault,
    python_stamp,
    stamp,
)
from provisioner.core.history import Prepared
from provisioner.errors import GpuenvError
from tests.simulators.environment import clean_environment, uv_binary

if TYPE_CHECKING:
    from pathlib import Path

    from provisioner.adapters.state import StateFolder


def site_of(environment: Path) -> Path:
    """Where an environment has its packages."""
    (site,) = environment.glob("lib/python*/site-packages")
    return site


def real_environment(path: Path, python: str = sys.executable) -> Path:
    """An environment that uv made."""
    made = subprocess.run(
        [uv_binary(), "venv", "-q", "--no-project", "--python", python, path],
        env=clean_environment(path.parent, UV_OFFLINE="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    return path


def install(path: Path, name: str, text: str) -> None:
    """Put a module into an environment as an installer does."""
    site = site_of(path)
    assert site is not None
    (site / f"{name}.py").write_text(text, encoding="utf-8")
    (site / f"{name}-1.0.dist-info").mkdir()


def test_an_environment_is_ours_once_it_is_finished(tmp_path: Path) -> None:
    path = real_environment(tmp_path / "envs" / "demo")

    assert not is_ours(path)
    finish(path, {"profile": "cu12"})
    assert is_ours(path)


def test_a_folder_that_only_lies_in_a_store_is_not_ours(tmp_path: Path) -> None:
    inside, outside = tmp_path / "envs" / "mine", tmp_path / "mine"
    for path in (inside, outside):
        path.mkdir(parents=True)

    assert not is_ours(inside)
    assert not is_ours(outside)


def test_discarding_removes_an_environment_and_its_mark(tmp_path: Path) -> None:
    path = real_environment(tmp_path / "envs" / "demo")
    finish(path, {})

    discard(path)

    assert not list((tmp_path / "envs").glob("demo*"))


def test_discarding_touches_nothing_outside_a_store(tmp_path: Path) -> None:
    outside = tmp_path / "project" / ".venv"
    outside.mkdir(parents=True)

    discard(outside)

    assert outside.is_dir()


def test_the_stamp_tells_that_a_package_came_or_went(tmp_path: Path) -> None:
    path = real_environment(tmp_path / "env")
    made = finish(path, {})
    assert stamp(path) == made

    install(path, "demo", "")
    grown = stamp(path)
    assert grown != made

    site = site_of(path)
    (site / "demo-1.0.dist-info").rmdir()
    assert stamp(path) not in {made, grown}


def test_the_first_start_of_python_does_not_look_like_a_change(tmp_path: Path) -> None:
    path = real_environment(tmp_path / "env")
    install(path, "demo", "value = 1\n")
    made = finish(path, {})

    variables = clean_environment(tmp_path)
    subprocess.run(
        [path / "bin" / "python", "-c", "import demo"], env=variables, check=True, cwd=tmp_path
    )

    site = site_of(path)
    assert list((site / "__pycache__").glob("demo.*.pyc"))
    assert stamp(path) == made


def test_what_is_no_environment_has_no_stamp(tmp_path: Path) -> None:
    assert stamp(tmp_path) is None
    with pytest.raises(GpuenvError, match="is not an environment"):
        finish(tmp_path, {})


def test_a_process_holds_its_environment_though_a_collection_looks_as_it_starts(
    tmp_path: Path,
) -> None:
    path = real_environment(tmp_path / "envs" / "demo")
    finish(path, {})
    # It comes before ours.
    (site_of(path) / "_a.pth").write_text("import os; os.write(1, b'.')\n", encoding="utf-8")
    mark = path.with_name("demo.json")
    with mark.open(encoding="utf-8") as looking:
        fcntl.flock(looking, fcntl.LOCK_EX)
        process = subprocess.Popen(
            [path / "bin" / "python", "-c", "import os, sys; os.write(1, b'!'); sys.stdin.read()"],
            env=clean_environment(tmp_path),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert process.stdout is not None
        assert process.stdout.read(1) == b"."
        time.sleep(0.05)
    try:
        # Python reads these files twice in an environment.
        assert process.stdout.read(1) + process.stdout.read(1) == b".!"
        assert is_held(mark)
    finally:
        process.communicate()
    assert not is_held(mark)


def test_noting_a_use_changes_nothing_of_an_environment(tmp_path: Path) -> None:
    path = tmp_path / "envs" / "demo"
    mark = path.with_name("demo.json")
    path.mkdir(parents=True)
    note_use(path)
    assert not mark.exists()
    mark.write_text("{}", encoding="utf-8")
    os.utime(mark, (5, 5))
    os.utime(path, (5, 5))

    note_use(path)

    assert mark.stat().st_mtime > 5
    assert (path.stat().st_mtime, mark.read_text(encoding="utf-8")) == (5, "{}")


STARTED = """
import sys
import early
print(early.value, flush=True)
sys.stdin.readline()
import late
print(late.value, late.__file__, flush=True)
"""


def test_a_process_keeps_importing_from_the_environment_it_started_in(
    state: StateFolder, home: Path, tmp_path: Path
) -> None:
    one, two = (real_environment(tmp_path / "envs" / name) for name in ("one", "two"))
    for path in (one, two):
        install(path, "early", f"value = {path.name!r}\n")
        install(path, "late", f"value = {path.name!r}\n")
        finish(path, {})
    state.flip(one)

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [home / ".venv" / "bin" / "python", "-c", STARTED],
            env=clean_environment(tmp_path),
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    with start() as older:
        assert older.stdout is not None
        assert older.stdout.readline() == "one\n"
        state.flip(two)
        said, _ = older.communicate("go on\n")
    with start() as newer:
        fresh, _ = newer.communicate("go on\n")

    value, file = said.split()
    assert value == "one"
    assert str(one) in file
    assert fresh.splitlines()[0] == "two"
    assert fresh.splitlines()[1].startswith("two ")


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """A lock that an environment is made from."""
    path = tmp_path / "uv.lock"
    path.write_text("version = 1\n", encoding="utf-8")
    return path


def made_from(lock: Path) -> Prepared:
    """An environment that was made from a lock as it is now."""
    return Prepared(
        profile="cu12",
        environment="envs/cu12",
        stamp=(1, 1),
        inputs="i",
        recipe={"lock": str(lock), "lock_stamp": lock_stamp(lock), "lock_hash": file_hash(lock)},
    )


@pytest.mark.parametrize("name", ["plain", "it's $a `b`", "größe 日本"])
def test_the_scripts_of_every_shell_name_the_link_and_not_the_environment(
    tmp_path: Path, name: str
) -> None:
    link = tmp_path / name / ".venv"
    path = real_environment(tmp_path / "envs" / "demo")
    finish(path, {}, link)
    link.parent.mkdir()
    link.symlink_to(path)

    quoted = str(link).replace("'", "'\"'\"'")
    for script in ("activate", "activate.csh", "activate.fish", "activate.nu"):
        text = (path / "bin" / script).read_text(encoding="utf-8")
        assert f"'{quoted}'" in text, script
        assert str(path) not in text, script
    for shell, script in (
        ("bash", "activate"),
        ("fish", "activate.fish"),
        ("tcsh", "activate.csh"),
    ):
        if program := shutil.which(shell):
            words = [program, "-c", f'source bin/{script}; echo "$VIRTUAL_ENV"']
            done = subprocess.run(words, cwd=path, capture_output=True, text=True, check=True)
            assert done.stdout == f"{link}\n"


def with_program(tmp_path: Path, text: str) -> Path:
    """A finished environment whose Python is a program of the machine that has `text` now."""
    path = real_environment(tmp_path / "envs" / "demo")
    program = tmp_path / "python"
    program.symlink_to((path / "bin" / "python").resolve())
    (path / "bin" / "python").unlink()
    (path / "bin" / "python").symlink_to(program)
    finish(path, {"python": python_stamp(path)})
    assert python_fault(path) is None
    program.unlink()
    if text:
        program.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        program.chmod(0o755)
    return path


def test_a_python_that_was_removed_is_told(tmp_path: Path) -> None:
    path = with_program(tmp_path, "")
    assert python_fault(path) == f"its Python, `{tmp_path / 'python'}`, is gone"


def test_a_python_that_became_another_minor_version_is_told(tmp_path: Path) -> None:
    lib = tmp_path / "envs" / "demo" / "lib"
    path = with_program(tmp_path, f"echo 3.99.1; echo {lib}/python3.99/site-packages")
    minor = site_of(path).parent.name
    assert python_fault(path) == (
        f"`{tmp_path / 'python'}` is Python 3.99.1 now: it looks in "
        f"`lib/python3.99/site-packages`, not in `lib/{minor}/site-packages`"
    )


def test_a_python_that_got_a_new_patch_release_is_as_good(tmp_path: Path) -> None:
    path = real_environment(tmp_path / "envs" / "demo")
    finish(path, {"python": [1, 2]})  # Those of the release before.
    assert python_fault(path) is None


@pytest.mark.parametrize("text", ["exit 1", "echo nonsense", "kill -9 $$"])
def test_a_python_that_does_not_start_is_told(tmp_path: Path, text: str) -> None:
    path = with_program(tmp_path, text)
    assert python_fault(path) == f"its Python, `{tmp_path / 'python'}`, does not start"


def test_an_environment_of_before_its_python_was_noted_has_no_fault(tmp_path: Path) -> None:
    path = real_environment(tmp_path / "envs" / "demo")
    finish(path, {})
    assert python_fault(path) is None


def test_an_environment_whose_lock_is_as_it_was_is_not_outdated(lock: Path) -> None:
    assert not is_outdated(made_from(lock))


def test_a_lock_that_was_only_touched_outdates_nothing(lock: Path) -> None:
    prepared = made_from(lock)

    os.utime(lock, ns=(1, 1))

    assert lock_stamp(lock) != prepared.recipe["lock_stamp"]
    assert not is_outdated(prepared)


@pytest.mark.parametrize("text", ["version = 2\n", "version = 1\nmore = 2\n", ""])
def test_a_lock_with_another_content_outdates_what_was_made_from_it(text: str, lock: Path) -> None:
    prepared = made_from(lock)

    lock.write_text(text, encoding="utf-8")
    os.utime(lock, ns=(1, 1))

    assert is_outdated(prepared)


def test_a_lock_that_is_gone_outdates_what_was_made_from_it(lock: Path) -> None:
    prepared = made_from(lock)

    lock.unlink()

    assert is_outdated(prepared)


def test_a_lock_that_came_back_with_the_same_content_outdates_nothing(lock: Path) -> None:
    prepared = made_from(lock)
    content = lock.read_bytes()
    lock.unlink()

    lock.write_bytes(content)
    os.utime(lock, ns=(5, 5))

    assert not is_outdated(prepared)


def test_the_stamp_of_a_lock_survives_being_written_as_json(lock: Path) -> None:
    os.utime(lock, ns=(7, 1_700_000_000_123_456_789))

    assert lock_stamp(lock) == [len(lock.read_bytes()), 1_700_000_000_123_456_789]
    lock.unlink()
    assert lock_stamp(lock) == []


def test_the_hash_of_a_file_is_its_sha256_and_that_of_none_is_empty(lock: Path) -> None:
    assert file_hash(lock) == hashlib.sha256(lock.read_bytes()).hexdigest()
    assert file_hash(lock.parent) == ""
    lock.unlink()
    assert file_hash(lock) == ""
