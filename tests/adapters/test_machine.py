"""What this machine is, told from files under a root that tests make."""

from __future__ import annotations

import os
import platform
import sys
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.machine import this_platform

if TYPE_CHECKING:
    from pathlib import Path

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="these files are Linux's")


def place(root: Path, name: str, text: str = "") -> Path:
    """Put a file under a root."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_system_and_machine_are_those_that_python_knows(tmp_path: Path) -> None:
    found = this_platform(tmp_path)

    assert found.machine == platform.machine()
    assert found.system == {"linux": "linux", "darwin": "macos"}[sys.platform]


@LINUX
def test_a_machine_without_marks_is_plain_linux(tmp_path: Path) -> None:
    assert this_platform(tmp_path).kind == "linux"


@LINUX
def test_the_paravirtual_gpu_means_wsl2(tmp_path: Path) -> None:
    place(tmp_path, "dev/dxg")

    assert this_platform(tmp_path).kind == "wsl2"


@LINUX
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("etc/nv_tegra_release", "# R36 (release), REVISION: 4.3\n"),
        ("sys/devices/soc0/family", "Tegra\n"),
        ("sys/devices/soc0/family", "tegra234\n"),
    ],
)
def test_a_tegra_means_jetson(name: str, text: str, tmp_path: Path) -> None:
    place(tmp_path, name, text)

    assert this_platform(tmp_path).kind == "jetson"


@LINUX
def test_another_system_on_a_chip_is_plain_linux(tmp_path: Path) -> None:
    place(tmp_path, "sys/devices/soc0/family", "Snapdragon\n")

    assert this_platform(tmp_path).kind == "linux"


@LINUX
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this Python is built on musl")
def test_the_version_of_glibc_is_the_one_that_python_knows(tmp_path: Path) -> None:
    assert this_platform(tmp_path).libc == ("glibc", platform.libc_ver()[1])


@LINUX
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this Python is built on musl")
def test_an_installed_musl_does_not_hide_glibc(tmp_path: Path) -> None:
    loader = place(tmp_path, "lib/ld-musl-x86_64.so.1", "#!/bin/sh\necho Version 1.2.5 >&2\n")
    loader.chmod(0o755)

    libc = this_platform(tmp_path).libc

    assert libc is not None
    assert libc[0] == "glibc"


@LINUX
@pytest.mark.skipif(
    platform.libc_ver()[0] == "glibc",
    reason="this Python is built on glibc, which answers before musl is looked for",
)
def test_musl_tells_its_version_through_its_loader(tmp_path: Path) -> None:
    loader = place(
        tmp_path,
        "lib/ld-musl-x86_64.so.1",
        "#!/bin/sh\nprintf 'musl libc (x86_64)\\nVersion 1.2.5\\nDynamic Program Loader\\n' >&2\n",
    )
    loader.chmod(0o755)

    assert this_platform(tmp_path).libc == ("musl", "1.2")


def test_this_very_machine_can_be_looked_at() -> None:
    found = this_platform()

    assert found.machine == os.uname().machine
    assert found.kind in {"linux", "wsl2", "jetson", "macos"}
