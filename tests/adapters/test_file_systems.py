"""What is free where, and what wheels are unpacked, by real file systems and wheels."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from provisioner.adapters.file_systems import file_system_of, is_empty
from provisioner.adapters.wheels import unpacked
from provisioner.core.room import Unpacked
from tests.simulators.wheels import make_wheel


def test_a_folder_that_is_not_there_yet_is_on_the_file_system_of_the_next_one(
    tmp_path: Path,
) -> None:
    found = file_system_of(tmp_path / "not" / "there")
    assert found.device == tmp_path.stat().st_dev
    assert found.free_bytes == pytest.approx(
        os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize, abs=1 << 30
    )
    assert str(tmp_path).startswith(found.point)


@pytest.mark.skipif(not Path("/proc/self/mountinfo").exists(), reason="as Linux tells it")
def test_a_file_system_without_a_limit_to_inodes_has_none() -> None:
    found = file_system_of(Path("/proc"))
    assert (found.kind, found.point, found.free_inodes) == ("proc", "/proc", None)


def test_a_wheel_is_what_comes_out_of_it(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "demo", "1.0", files={"demo/deep/er/x.py": b"x"}, size=100_000)
    into = tmp_path / "into"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(into)
    every = list(into.rglob("*"))
    files = [path for path in every if path.is_file()]
    assert unpacked(wheel) == Unpacked(
        bytes=sum(path.stat().st_size for path in files),
        files=len(files),
        folders=len(every) - len(files),
    )


def test_of_what_is_no_wheel_nothing_is_known(tmp_path: Path) -> None:
    (tmp_path / "odd").write_bytes(b"PK\x05\x06 nonsense")
    assert unpacked(tmp_path / "odd") is None
    assert unpacked(tmp_path / "missing") is None


def test_a_folder_is_empty_until_something_is_in_it(tmp_path: Path) -> None:
    assert is_empty(tmp_path / "missing")
    assert is_empty(tmp_path)
    (tmp_path / "file").touch()
    assert not is_empty(tmp_path)
