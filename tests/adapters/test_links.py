"""Which links two folders allow, by real file systems, and that uv does the same there."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.links import link_mode
from tests.simulators.environment import clean_environment, uv_binary
from tests.simulators.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system."""
    memory = Path("/dev/shm")  # noqa: S108 - another file system is all that it is for
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system to write to")
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)


@pytest.fixture
def reflinks(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system that has reflinks."""
    image, point = tmp_path / "image", tmp_path / "mounted"
    if os.getuid() or not (shutil.which("mkfs.xfs") and shutil.which("mount")):
        pytest.skip("making a file system takes root and `mkfs.xfs` (xfsprogs)")
    with image.open("wb") as file:
        file.truncate(320 << 20)  # The least that XFS takes; nothing is written to most of it.
    point.mkdir()
    subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", image], check=True)
    mounted = subprocess.run(
        ["mount", "-o", "loop", image, point], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted: {mounted.stderr.strip()}")
    try:
        yield point
    finally:
        subprocess.run(["umount", point], check=True)


def test_where_there_are_reflinks_nothing_that_is_written_is_shared(reflinks: Path) -> None:
    (reflinks / "envs").mkdir()
    mode = link_mode(reflinks / "cache", reflinks / "envs")
    assert mode == "clone"
    found = installed(reflinks / "cache", reflinks / "envs", mode)
    assert found.st_nlink == 1


def installed(cache: Path, environments: Path, mode: str) -> os.stat_result:
    """A file that uv brought from a cache into an environment."""
    wheel = make_wheel(environments.parent / "wheels", "demo", "1.0")
    environment = environments / "env"
    variables = clean_environment(
        environments.parent, UV_CACHE_DIR=str(cache), UV_LINK_MODE=mode, UV_OFFLINE="1"
    )
    venv = ("venv", "-q", "--no-project", "--python", sys.executable, str(environment))
    for words in (venv, ("pip", "install", "-q", "--python", str(environment), str(wheel))):
        done = subprocess.run(
            [uv_binary(), *words], env=variables, capture_output=True, text=True, check=False
        )
        # Where it cannot do what it is told, uv warns and copies.
        assert (done.returncode, done.stderr) == (0, "")
    (file,) = environment.glob("lib/*/site-packages/demo/__init__.py")
    return file.stat()


def test_on_one_file_system_bytes_are_shared(tmp_path: Path) -> None:
    (tmp_path / "envs").mkdir()
    mode = link_mode(tmp_path / "not" / "there" / "yet", tmp_path / "envs")
    assert mode in {"clone", "hardlink"}
    assert list((tmp_path / "envs").iterdir()) == []
    found = installed(tmp_path / "cache", tmp_path / "envs", mode)
    assert (found.st_nlink > 1) == (mode == "hardlink")


def test_between_two_file_systems_files_are_copied(tmp_path: Path, elsewhere: Path) -> None:
    (tmp_path / "envs").mkdir()
    assert link_mode(elsewhere, tmp_path / "envs") == "copy"
    assert link_mode(tmp_path, elsewhere) == "copy"
    assert installed(elsewhere / "cache", tmp_path / "envs", "copy").st_nlink == 1


def test_a_folder_that_is_not_there_yet_can_link_as_far_as_its_device_tells(
    tmp_path: Path,
) -> None:
    assert link_mode(tmp_path, tmp_path / "envs") == "hardlink"
    assert not (tmp_path / "envs").exists()


def test_what_cannot_be_written_to_can_link_as_far_as_its_device_tells(tmp_path: Path) -> None:
    (tmp_path / "envs").mkdir()
    root = shlex.quote(str(tmp_path))
    code = (
        "import sys; from pathlib import Path; from provisioner.adapters.links import link_mode; "
        "print(link_mode(Path(sys.argv[1]), Path(sys.argv[1], 'envs')))"
    )
    script = (
        f"mount --bind {root} {root} && mount -o remount,ro,bind {root} || exit 77\n"
        + shlex.join([sys.executable, "-c", code, str(tmp_path)])
    )
    program = shutil.which("unshare")
    if program is None or subprocess.run([program, "-m", "true"], check=False).returncode:
        pytest.skip("this user may not mount a read-only file system")
    done = subprocess.run(
        [program, "-m", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    if done.returncode == 77:
        pytest.skip("this user may not mount a read-only file system")

    assert (done.returncode, done.stdout) == (0, "hardlink\n"), done.stderr
