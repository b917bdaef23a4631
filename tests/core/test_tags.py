"""Wheel tags and markers of a target that need not be this machine."""

from __future__ import annotations

import platform as this
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.markers import Marker, default_environment
from packaging.tags import sys_tags

from provisioner.core.host import Libc, Platform
from provisioner.core.interpreter import Interpreter
from provisioner.core.tags import markers, platform_tags, wheel_tags
from provisioner.errors import TargetError
from tests.core.examples import LINUX

LIBC, LIBC_VERSION = this.libc_ver()
ON_GLIBC = pytest.mark.skipif(
    sys.platform != "linux" or LIBC != "glibc", reason="compares with a Linux machine with glibc"
)
HERE = Interpreter(version=this.python_version())
MAC = Platform(system="macos", machine="arm64", kind="macos", libc=None)
WINDOWS = Platform(system="windows", machine="x86_64", kind="windows", libc=None)


def here() -> Platform:
    return replace(LINUX, machine=this.machine(), libc=("glibc", LIBC_VERSION))


def platforms(machine: str, libc: Libc) -> list[str]:
    return list(platform_tags(replace(LINUX, machine=machine, libc=libc)))


def names(version: str, platform: Platform, *, free_threaded: bool = False) -> list[str]:
    interpreter = Interpreter(version=version, free_threaded=free_threaded)
    return [str(tag) for tag in wheel_tags(interpreter, platform)]


@ON_GLIBC
def test_this_machine_takes_what_packaging_says_it_takes() -> None:
    assert set(wheel_tags(HERE, here())) == set(sys_tags())


@ON_GLIBC
def test_this_machine_prefers_what_packaging_says_it_prefers() -> None:
    # Where `linux_x86_64` stands among them, packaging and uv see differently.
    plain = f"linux_{this.machine()}"
    assert [tag for tag in wheel_tags(HERE, here()) if tag.platform != plain] == [
        tag for tag in sys_tags() if tag.platform != plain
    ]


@given(st.integers(17, 60), st.sampled_from(["x86_64", "aarch64"]))
def test_every_glibc_up_to_the_target_is_taken_newest_first(minor: int, machine: str) -> None:
    taken = [
        tag for tag in platforms(machine, ("glibc", f"2.{minor}")) if tag.startswith("manylinux_")
    ]
    oldest = 5 if machine == "x86_64" else 17
    assert taken == [f"manylinux_2_{older}_{machine}" for older in range(minor, oldest - 1, -1)]


def test_an_x86_64_machine_takes_the_old_names_of_manylinux_too() -> None:
    taken = platforms("x86_64", ("glibc", "2.18"))
    assert taken[:4] == [
        "manylinux_2_18_x86_64",
        "manylinux_2_17_x86_64",
        "manylinux2014_x86_64",
        "manylinux_2_16_x86_64",
    ]
    assert taken[-2:] == ["manylinux1_x86_64", "linux_x86_64"]
    assert "manylinux2010_x86_64" in taken


def test_an_aarch64_machine_has_no_manylinux_older_than_2014() -> None:
    assert platforms("aarch64", ("glibc", "2.18")) == [
        "manylinux_2_18_aarch64",
        "manylinux_2_17_aarch64",
        "manylinux2014_aarch64",
        "linux_aarch64",
    ]


def test_an_older_glibc_does_not_take_newer_wheels() -> None:
    taken = platforms("x86_64", ("glibc", "2.26"))
    assert "manylinux_2_28_x86_64" not in taken
    assert "manylinux_2_26_x86_64" in taken


def test_a_musl_machine_takes_no_glibc_wheels() -> None:
    assert platforms("x86_64", ("musl", "1.2")) == [
        "musllinux_1_2_x86_64",
        "musllinux_1_1_x86_64",
        "musllinux_1_0_x86_64",
        "linux_x86_64",
    ]


def test_the_third_number_of_a_libc_does_not_count() -> None:
    assert platforms("aarch64", ("musl", "1.2.5")) == platforms("aarch64", ("musl", "1.2"))


def test_a_linux_target_without_a_c_library_is_refused_with_a_hint() -> None:
    with pytest.raises(TargetError, match="the C library of the target is not known") as caught:
        list(platform_tags(replace(LINUX, libc=None)))
    assert caught.value.hint is not None
    assert "glibc=2.35" in caught.value.hint


def test_a_mac_takes_wheels_for_its_own_and_older_systems() -> None:
    taken = list(platform_tags(MAC))
    assert "macosx_11_0_arm64" in taken
    assert "macosx_11_0_universal2" in taken
    assert not any("linux" in tag or "x86_64" in tag for tag in taken)


@pytest.mark.parametrize(
    ("machine", "tag"),
    [
        ("x86_64", "win_amd64"),
        ("AMD64", "win_amd64"),
        ("arm64", "win_arm64"),
        ("ARM64", "win_arm64"),
    ],
)
def test_a_windows_machine_has_one_platform(machine: str, tag: str) -> None:
    assert list(platform_tags(replace(WINDOWS, machine=machine))) == [tag]


def test_a_wheel_for_the_exact_python_comes_before_stable_abi_and_pure_ones() -> None:
    taken = names("3.12", LINUX)
    wanted = [
        "cp312-cp312-manylinux_2_35_x86_64",
        "cp312-cp312-manylinux_2_17_x86_64",
        "cp312-abi3-manylinux_2_35_x86_64",
        "cp312-none-manylinux_2_35_x86_64",
        "cp38-abi3-manylinux_2_35_x86_64",
        "py3-none-manylinux_2_35_x86_64",
        "py312-none-any",
        "py3-none-any",
    ]
    places = [taken.index(name) for name in wanted]
    assert places == sorted(places)


def test_a_python_takes_no_wheel_for_another_one() -> None:
    taken = names("3.12.4", LINUX)
    assert not any(name.startswith(("cp313-", "cp311-cp311-")) for name in taken)
    assert taken == names("3.12", LINUX)


def test_a_free_threaded_python_takes_neither_locked_nor_stable_abi_wheels() -> None:
    taken = names("3.13", LINUX, free_threaded=True)
    assert "cp313-cp313t-manylinux_2_35_x86_64" in taken
    assert "py3-none-any" in taken
    assert not any("-cp313-" in name or "-abi3-" in name for name in taken)


@ON_GLIBC
def test_the_markers_of_this_machine_are_those_of_packaging() -> None:
    known = dict(default_environment())
    # What changes with a kernel's build is no reason to choose another file.
    known |= {"platform_release": "", "platform_version": ""}
    assert markers(HERE, here()) == known


@pytest.mark.parametrize(
    ("platform", "marker"),
    [
        (LINUX, "sys_platform == 'linux' and platform_machine == 'x86_64' and os_name == 'posix'"),
        (replace(LINUX, machine="aarch64"), "platform_machine == 'aarch64'"),
        (MAC, "sys_platform == 'darwin' and platform_system == 'Darwin' and os_name == 'posix'"),
        (WINDOWS, "sys_platform == 'win32' and platform_system == 'Windows' and os_name == 'nt'"),
    ],
)
def test_markers_speak_of_the_target(platform: Platform, marker: str) -> None:
    interpreter = Interpreter(version="3.12")
    assert Marker(marker).evaluate(markers(interpreter, platform))


@pytest.mark.parametrize(
    ("version", "full"), [("3.12", "3.12.0"), ("3.12.4", "3.12.4"), ("3.14.0rc1", "3.14.0rc1")]
)
def test_markers_know_the_python(version: str, full: str) -> None:
    known = markers(Interpreter(version=version), LINUX)
    assert known["python_full_version"] == full
    assert known["python_version"] == ".".join(full.split(".")[:2])
    assert known["implementation_version"] == full
