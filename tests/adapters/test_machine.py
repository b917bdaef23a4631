"""What this machine is, told from files under a root that tests make."""

from __future__ import annotations

import os
import platform
import sys
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.machine import this_platform
from tests.simulators.roots import put as place
from tests.simulators.roots import put_libc

if TYPE_CHECKING:
    from pathlib import Path

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="these files are Linux's")


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
def test_a_kernel_of_microsofts_means_wsl2_only_with_its_libraries(tmp_path: Path) -> None:
    place(tmp_path, "proc/sys/kernel/osrelease", "5.15.153.1-microsoft-standard-WSL2\n")
    assert this_platform(tmp_path).kind == "linux"

    (tmp_path / "usr/lib/wsl/lib").mkdir(parents=True)
    assert this_platform(tmp_path).kind == "wsl2"


@LINUX
@pytest.mark.parametrize(
    ("name", "text", "engine"),
    [
        (".dockerenv", "", "docker"),
        ("run/.containerenv", 'engine="podman-5.0"\n', "podman"),
        ("run/systemd/container", "lxc\n", "lxc"),
        ("run/systemd/container", "", None),
        ("etc/hostname", "box\n", None),
    ],
)
def test_a_container_is_known_by_the_mark_of_its_engine(
    name: str, text: str, engine: str | None, tmp_path: Path
) -> None:
    place(tmp_path, name, text)

    assert this_platform(tmp_path).container == engine


@LINUX
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this Python is built on musl")
def test_the_version_of_glibc_is_the_one_that_python_knows() -> None:
    assert this_platform().libc == ("glibc", platform.libc_ver()[1])


@LINUX
@pytest.mark.parametrize(
    "folder", ["lib64", "lib", f"lib/{platform.machine()}-linux-gnu", "usr/lib64"]
)
def test_the_glibc_below_another_root_is_its_own(folder: str, tmp_path: Path) -> None:
    text = "\0GNU C Library (Ubuntu GLIBC 2.11-0ubuntu3) stable release version 2.11.\n\0"
    place(tmp_path, f"{folder}/libc.so.6", text)

    assert this_platform(tmp_path).libc == ("glibc", "2.11")


@LINUX
def test_a_root_without_a_c_library_does_not_have_this_machines(tmp_path: Path) -> None:
    assert this_platform(tmp_path).libc is None


@LINUX
def test_the_musl_below_another_root_is_that_of_its_package(tmp_path: Path) -> None:
    put_libc(tmp_path, ("musl", "1.2"))

    assert this_platform(tmp_path).libc == ("musl", "1.2")


@LINUX
def test_a_musl_of_unknown_version_is_not_guessed(tmp_path: Path) -> None:
    place(tmp_path, "lib/ld-musl-x86_64.so.1", "1.2.5")

    assert this_platform(tmp_path).libc is None


@LINUX
def test_an_installed_musl_does_not_hide_glibc(tmp_path: Path) -> None:
    put_libc(tmp_path, ("musl", "1.2"))
    put_libc(tmp_path, ("glibc", "2.35"))

    assert this_platform(tmp_path).libc == ("glibc", "2.35")


@LINUX
def test_no_program_below_another_root_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "was-run"
    loader = place(tmp_path, "lib/ld-musl-x86_64.so.1", f"#!/bin/sh\ntouch {mark}\n")
    loader.chmod(0o755)

    this_platform(tmp_path)

    assert not mark.exists()


def test_this_very_machine_can_be_looked_at() -> None:
    found = this_platform()

    assert found.machine == os.uname().machine
    assert found.kind in {"linux", "wsl2", "jetson", "macos"}
