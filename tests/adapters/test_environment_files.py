"""Environments that share files with uv's cache cannot spoil them, and damage is found."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.environment_files import look, protect
from provisioner.core.installed_files import UNPACKING_NANOSECONDS
from tests.simulators.environment import clean_environment, uv_binary
from tests.simulators.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_AS_A_USER = """
import ctypes, os, sys
if os.geteuid() == 0:
    # PR_CAPBSET_DROP: without CAP_DAC_OVERRIDE, root may do what the mode of a file says.
    assert ctypes.CDLL(None).prctl(24, 1, 0, 0, 0) == 0
os.execvp(sys.argv[1], sys.argv[1:])
"""

HOUR = 3600 * 10**9


@dataclass(frozen=True)
class Uv:
    """A uv with a cache of its own, and the wheels that it installs."""

    root: Path

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run it as a user who may not write where the mode of a file forbids it."""
        variables = clean_environment(
            self.root, UV_CACHE_DIR=str(self.root / "cache"), UV_OFFLINE="1"
        )
        return subprocess.run(
            [sys.executable, "-c", _AS_A_USER, uv_binary(), *words],
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )

    def install(self, environment: Path, *more: str | Path, mode: str = "hardlink") -> None:
        """Install everything."""
        wheels = sorted((self.root / "wheels").iterdir())
        words = ("pip", "install", "-q", "--link-mode", mode, "--python")
        done = self.run(*words, environment, *more, *wheels)
        assert done.returncode == 0, done.stderr

    def environment(self, name: str, mode: str = "hardlink") -> Path:
        """A new environment with everything."""
        made = self.run("venv", "-q", "--no-project", "--python", sys.executable, self.root / name)
        assert made.returncode == 0, made.stderr
        self.install(self.root / name, mode=mode)
        return self.root / name


@pytest.fixture
def uv(tmp_path: Path) -> Uv:
    """A uv that has unpacked nothing yet."""
    files = {
        "lean/lib.so": b"\x7fELF" + b"x" * 5000,
        "lean/deep/data.bin": b"y" * 400_000,
        "lean-1.0.dist-info/entry_points.txt": b"[console_scripts]\nlean = lean:main\n",
        "lean-1.0.data/scripts/tool": b"#!python\nprint(1)\n",
    }
    make_wheel(tmp_path / "wheels", "lean", "1.0", files=files)
    make_wheel(tmp_path / "wheels", "other", "1.0")
    return Uv(tmp_path)


def site_of(environment: Path) -> Path:
    (site,) = environment.glob("lib/python*/site-packages")
    return site


def library(environment: Path) -> Path:
    return site_of(environment) / "lean" / "lib.so"


def faults(environment: Path, *, deep: bool = False) -> list[tuple[str, str, bool]]:
    found = look([environment], deep=deep).damage[environment]
    return [(item.path, item.fault, item.shared) for item in found]


def writable(path: Path) -> bool:
    return bool(path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))


def write_as_a_user(path: Path) -> bool:
    done = subprocess.run(
        [sys.executable, "-c", _AS_A_USER, "sh", "-c", ': >> "$0"', path],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def test_a_user_cannot_write_to_what_is_shared(uv: Uv) -> None:
    first, second = uv.environment("first"), uv.environment("second")
    assert write_as_a_user(library(first))

    protect(first)

    assert [write_as_a_user(library(path)) for path in (first, second)] == [False, False]
    assert write_as_a_user(library(uv.environment("third"))) is False


def test_what_an_environment_has_for_itself_stays_writable(uv: Uv) -> None:
    environment = uv.environment("env")
    protect(environment)
    own = [path for path in environment.rglob("*") if path.is_file() and path.stat().st_nlink == 1]
    names = {path.name for path in own}
    assert names >= {"RECORD", "INSTALLER", "lean", "tool", "pyvenv.cfg", "python"}
    assert all(writable(path) for path in own if not path.is_symlink())
    shared = [path for path in environment.rglob("*") if path.is_file() and path not in own]
    assert library(environment) in shared
    assert not any(writable(path) for path in shared)


def test_what_can_be_run_still_can(uv: Uv) -> None:
    environment = uv.environment("env")
    library(environment).chmod(0o755)
    protect(environment)
    assert stat.S_IMODE(library(environment).stat().st_mode) == 0o555


@pytest.mark.parametrize("mode", ["copy", "hardlink"])
def test_uv_and_pip_work_on_with_what_is_protected(uv: Uv, mode: str) -> None:
    environment = uv.environment("env")
    protect(environment)
    uv.install(environment, "--reinstall", "--compile-bytecode", mode=mode)
    assert faults(environment, deep=True) == []
    removed = uv.run("pip", "uninstall", "-q", "--python", environment, "lean")
    assert removed.returncode == 0, removed.stderr
    assert not library(environment).exists()
    assert uv.run("cache", "clean", "lean").returncode == 0
    uv.install(environment)
    assert faults(environment, deep=True) == []


def test_a_link_leads_to_nothing_that_is_protected(uv: Uv, tmp_path: Path) -> None:
    environment = uv.environment("env")
    own = tmp_path / "own"
    shutil.move(site_of(environment) / "lean", own)
    (site_of(environment) / "lean").symlink_to(own)
    (tmp_path / "other-name").hardlink_to(own / "lib.so")
    (own / "lib.so").chmod(0o644)

    protect(environment)

    assert writable(own / "lib.so")


def test_what_the_record_does_not_name_is_left_alone(uv: Uv, tmp_path: Path) -> None:
    environment = uv.environment("env")
    source = tmp_path / "source.py"
    source.touch()
    (site_of(environment) / "mine.py").hardlink_to(source)
    protect(environment)
    assert writable(source)
    assert faults(environment, deep=True) == []


@pytest.mark.parametrize("mode", ["copy", "hardlink", "symlink"])
def test_a_sound_environment_has_no_damage(uv: Uv, mode: str) -> None:
    environment = uv.environment("env", mode)
    assert faults(environment) == []
    assert faults(environment, deep=True) == []


def truncate(path: Path) -> None:
    os.truncate(path, 100)


def overwrite(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.write(b"z" * size)


def remove(path: Path) -> None:
    path.unlink()


def replace_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE: dict[str, tuple[Callable[[Path], None], str, bool]] = {
    "truncated": (truncate, "wrong-size", True),
    "overwritten": (overwrite, "wrong-hash", True),
    "removed": (remove, "missing", False),
    "a folder": (replace_by_a_folder, "replaced", False),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found_by_stats_in_every_environment_that_shares_it(uv: Uv, kind: str) -> None:
    damage, fault, shared = DAMAGE[kind]
    first, second = uv.environment("first"), uv.environment("second")
    time.sleep(0.02)  # The clock of a file system moves in steps of some milliseconds.
    damage(library(first))
    assert faults(first) == [("lean/lib.so", fault, shared)]
    assert faults(second) == ([("lean/lib.so", fault, shared)] if shared else [])
    assert faults(first, deep=True) == faults(first)


def test_damage_that_came_before_an_environment_was_made_is_found(uv: Uv) -> None:
    first = uv.environment("first")
    overwrite(library(first))
    long_ago = time.time_ns() - UNPACKING_NANOSECONDS - HOUR
    for path in site_of(first).rglob("*"):
        if path.is_file() and path.stat().st_nlink > 1 and path != library(first):
            os.utime(path, ns=(long_ago, long_ago))
    assert faults(uv.environment("second")) == [("lean/lib.so", "wrong-hash", True)]


def test_a_silent_bit_flip_is_found_by_hashing(uv: Uv) -> None:
    environment = uv.environment("env")
    for name in ("lean/lib.so", "lean/deep/data.bin"):
        path = site_of(environment) / name
        before = path.stat()
        overwrite(path)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert faults(environment) == []
    assert sorted(faults(environment, deep=True)) == [
        ("lean/deep/data.bin", "wrong-hash", True),
        ("lean/lib.so", "wrong-hash", True),
    ]


def test_what_was_touched_and_is_right_is_no_damage(uv: Uv) -> None:
    environment = uv.environment("env")
    later = time.time_ns() + HOUR
    os.utime(library(environment), ns=(later, later))
    found = look([environment])
    assert found.damage[environment] == []
    assert found.hashed == 1


@pytest.mark.parametrize("deep", [False, True])
def test_a_file_that_two_packages_have_is_right_as_either_has_it(
    uv: Uv, tmp_path: Path, *, deep: bool
) -> None:
    for name, content in (("one", b"ONE = 1\n"), ("two", b"TWO = 22\n")):
        make_wheel(tmp_path / "wheels", name, "1.0", files={"tests/__init__.py": content})
    environment = uv.environment("env")
    path = site_of(environment) / "tests" / "__init__.py"
    assert path.read_bytes() in {b"ONE = 1\n", b"TWO = 22\n"}
    assert faults(environment, deep=deep) == []
    path.unlink()
    path.write_bytes(b"NEITHER = 3\n")
    assert [name for name, _, _ in faults(environment)] == ["tests/__init__.py"] * 2


def test_what_environments_share_is_hashed_once(uv: Uv) -> None:
    both = [uv.environment("first"), uv.environment("second")]
    alone = look(both[:1], deep=True)
    together = look(both, deep=True)
    assert together.files == 2 * alone.files
    assert together.hashed < 2 * alone.hashed


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"lean/lib.so,sha256=x,many\n"])
def test_a_record_that_is_none_is_damage(uv: Uv, content: bytes) -> None:
    environment = uv.environment("env")
    (record,) = site_of(environment).glob("lean-*.dist-info/RECORD")
    record.write_bytes(content)
    assert faults(environment) == [("lean-1.0.dist-info/RECORD", "unreadable", False)]
    record.unlink()
    assert faults(environment) == [("lean-1.0.dist-info/RECORD", "missing", False)]
