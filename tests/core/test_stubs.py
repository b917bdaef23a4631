"""Stub source distributions: which are some, and which wheel they stand for."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.pylock import Pylock

from provisioner.core.digest import Digest
from provisioner.core.host import Platform
from provisioner.core.interpreter import Interpreter
from provisioner.core.plan import LockedFile, Substitution
from provisioner.core.simple_index import ListedFile
from provisioner.core.stubs import (
    STUB_BYTES,
    Stub,
    best_wheel,
    indexes_in,
    may_be_stub,
    no_wheel,
    read_stub,
    wheels_of,
    without_stubs,
)
from provisioner.core.tags import wheel_tags

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "tensorrt_cu12_libs-10.9.0.34.tar.gz"
NONE: Mapping[str, str] = {}
# As tensorrt_cu12_libs 10.9.0.34 to 11.4.0.106 on PyPI have it.
WHEEL_STUB = b"""\
# SPDX-License-Identifier: Apache-2.0

[build-system]
requires = ["wheel-stub"]
build-backend = "wheel_stub.buildapi"

[tool.wheel_stub]
index_url = "https://pypi.nvidia.com/"
include_cuda_debuginfo = true
"""
# As tensorrt_cu12_libs 10.3.0 has it.
NVIDIA_STUB = b"""\
[build-system]
requires = ["nvidia-stub"]
build-backend = "nvidia_stub.buildapi"
"""
STUB = Stub(
    name="tensorrt-cu12-libs",
    version="10.9.0.34",
    index="https://pypi.nvidia.com/",
    requires=("wheel-stub",),
)
TAGS = wheel_tags(
    Interpreter(version="3.11.7"),
    Platform(system="linux", machine="x86_64", kind="linux", libc=("glibc", "2.35")),
)
LIBS = "tensorrt_cu12_libs-10.9.0.34"
HASH = Digest("ab" * 32)


def listed(name: str, *, yanked: str | None = None, digest: Digest | None = HASH) -> ListedFile:
    url = f"https://pypi.nvidia.com/tensorrt-cu12-libs/{name}"
    return ListedFile(name=name, url=url, digest=digest, yanked=yanked)


# Which are stubs


def test_a_stub_of_wheel_stub_is_read_as_it_is_on_pypi() -> None:
    assert read_stub(WHEEL_STUB, NAME, NONE) == STUB
    assert STUB.page == "https://pypi.nvidia.com/tensorrt-cu12-libs/"


def test_a_stub_of_nvidia_stub_stands_for_a_wheel_of_nvidias_index() -> None:
    found = read_stub(NVIDIA_STUB, "tensorrt_cu12_libs-10.3.0.tar.gz", NONE)
    assert found
    assert (found.version, found.index) == ("10.3.0", "https://pypi.nvidia.com/")
    assert found.requires == ("nvidia-stub",)


@pytest.mark.parametrize(
    ("text", "variable"),
    [(WHEEL_STUB, "WHEEL_STUB_PIP_INDEX_URL"), (NVIDIA_STUB, "NVIDIA_PIP_INDEX_URL")],
)
def test_the_users_variable_is_the_index_as_it_is_for_the_build(text: bytes, variable: str) -> None:
    names = ("WHEEL_STUB_PIP_INDEX_URL", "NVIDIA_PIP_INDEX_URL")
    variables = {name: "https://other.test" for name in names if name != variable}
    own = {variable: "https://user:secret@mirror.test/nvidia"}

    found, other = read_stub(text, NAME, own), read_stub(text, NAME, variables)

    assert found
    assert found.index == "https://mirror.test/nvidia/"
    assert other
    assert other.index == "https://pypi.nvidia.com/"


def test_the_indexes_of_the_users_variables_are_known_before_any_stub_is() -> None:
    own = {"WHEEL_STUB_PIP_INDEX_URL": "https://a.test", "NVIDIA_PIP_INDEX_URL": "file:///b"}
    assert indexes_in(own) == ("https://a.test",)
    assert indexes_in(NONE) == ()


def test_the_extra_settings_of_a_stub_are_stronger() -> None:
    extra = b'[tool.wheel_stub.extra]\nindex_url = "https://extra.test/a"\n'
    found = read_stub(WHEEL_STUB + extra, NAME, NONE)
    assert found
    assert found.index == "https://extra.test/a/"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"not = toml = at all",
        b"a = " + b"[" * 30_000,
        b'build-system = "wheel_stub.buildapi"',
        b'[build-system]\nbuild-backend = ["wheel_stub.buildapi"]',
        WHEEL_STUB.replace(b"wheel_stub.buildapi", b"setuptools.build_meta"),
        WHEEL_STUB.replace(b"[build-system]", b'[build-system]\nbackend-path = ["."]'),
        WHEEL_STUB.replace(b"https://pypi.nvidia.com/", b"file:///etc"),
        WHEEL_STUB.replace(b'"https://pypi.nvidia.com/"', b"7"),
        WHEEL_STUB.replace(b"[tool.wheel_stub]", b"[tool.other]"),
        WHEEL_STUB + b"stub_only = true\n",
    ],
    ids=lambda text: text[:40].decode("latin-1"),
)
def test_what_only_looks_like_a_stub_is_none(text: bytes) -> None:
    assert read_stub(text, NAME, NONE) is None


def test_a_file_that_is_not_named_as_a_source_distribution_is_no_stub() -> None:
    assert read_stub(WHEEL_STUB, "libs.tar.gz", NONE) is None


@given(st.binary(max_size=200))
def test_no_project_file_is_too_odd_to_be_read(text: bytes) -> None:
    assert read_stub(text, NAME, NONE) is None


@pytest.mark.parametrize(
    ("name", "size"), [(NAME, 15_508), (NAME, None), (NAME, STUB_BYTES), ("x-1.zip", 1)]
)
def test_a_small_source_distribution_may_be_a_stub(name: str, size: int | None) -> None:
    assert may_be_stub(name, size)


@pytest.mark.parametrize(
    ("name", "size"), [(NAME, STUB_BYTES + 1), ("x-1-py3-none-any.whl", 1), ("x-1.tar.bz2", 1)]
)
def test_nothing_else_may_be_a_stub(name: str, size: int) -> None:
    assert not may_be_stub(name, size)


# Which wheel


def test_the_wheel_of_the_release_that_fits_the_target_is_taken() -> None:
    page = [
        listed("tensorrt_cu12_libs-10.9.0.3-py3-none-manylinux_2_28_x86_64.whl"),
        listed(f"{LIBS}-py3-none-win_amd64.whl"),
        listed(f"{LIBS}-py2.py3-none-manylinux_2_31_aarch64.whl"),
        listed(f"{LIBS}-py2.py3-none-manylinux_2_28_x86_64.whl"),
        listed(f"{LIBS}.tar.gz"),
    ]
    wheels = wheels_of(STUB, page)
    assert len(wheels) == 3
    assert best_wheel(wheels, TAGS) == page[3]


def test_the_best_tag_counts_wherever_it_stands_on_the_page() -> None:
    names = ("py3-none-any", "cp39-abi3-manylinux_2_17_x86_64", "cp311-cp311-manylinux_2_28_x86_64")
    page = [listed(f"{LIBS}-{tag}.whl") for tag in names]
    assert best_wheel(page, TAGS) == best_wheel(page[::-1], TAGS) == page[2]


def test_of_equal_tags_the_later_build_counts() -> None:
    page = [listed(f"{LIBS}{build}-py3-none-any.whl") for build in ("-2", "-10", "")]
    assert best_wheel(page, TAGS) == page[1]


def test_a_yanked_wheel_is_taken_only_if_there_is_no_other() -> None:
    yanked = listed(f"{LIBS}-cp311-cp311-manylinux_2_28_x86_64.whl", yanked="")
    other = listed(f"{LIBS}-py3-none-any.whl")
    assert wheels_of(STUB, [yanked, other]) == (other,)
    assert wheels_of(STUB, [yanked]) == (yanked,)


def test_what_is_no_name_of_a_wheel_is_passed_over() -> None:
    page = [listed("tensorrt.whl"), listed(f"{LIBS}-py3.whl"), listed(f"{LIBS}-py3-none-any.whl")]
    assert wheels_of(STUB, page) == (page[2],)


@given(st.permutations(range(40)))
def test_which_wheel_is_taken_does_not_depend_on_the_order_of_the_page(order: list[int]) -> None:
    page = [listed(f"{LIBS}-{tag}.whl") for tag in list(dict.fromkeys(map(str, TAGS)))[:40]]
    assert best_wheel([page[number] for number in order], TAGS) == page[0]


def test_an_index_without_a_wheel_for_the_target_is_told_with_both_sides() -> None:
    page = [listed(f"{LIBS}-py3-none-win_amd64.whl")]
    error = no_wheel(STUB, page, TAGS)
    assert (error.exit_code, error.code) == (1, "lock-unsupported")
    assert error.message == (
        "`tensorrt-cu12-libs` 10.9.0.34 stands for a wheel that https://pypi.nvidia.com/ "
        "does not have for the target"
    )
    assert error.causes == (
        "the index has it for `py3-none-win_amd64`",
        "the best tag that the target takes is `cp311-cp311-manylinux_2_35_x86_64`",
    )


def test_an_index_without_the_release_is_told_with_those_that_it_has() -> None:
    page = [listed(f"tensorrt_cu12_libs-{v}-py3-none-any.whl") for v in ("9.9", "10.10", "10.2")]
    error = no_wheel(STUB, page, TAGS)
    assert error.message.endswith("https://pypi.nvidia.com/ does not have")
    assert error.causes == ("its wheels are of `10.10`, `10.2`, `9.9`",)
    assert no_wheel(STUB, [], TAGS).causes == (f"`{STUB.page}` lists no wheel",)


# Locks

SDIST_URL = f"https://files.pythonhosted.org/packages/4d/{NAME}"
OTHER = f"""\
[[packages]]
name = "other"
version = "1.0"
sdist = {{ url = "https://files.test/other-1.0.tar.gz", hashes = {{ sha256 = "{HASH}" }} }}
wheels = [{{ url = "https://files.test/other-1.0-py3-none-any.whl", hashes = {{ md5 = "0" }} }}]
"""
LOCK = f"""\
lock-version = "1.0"
created-by = "uv"
requires-python = ">=3.11"

{OTHER}
[[packages]]
name = "tensorrt-cu12-libs"
version = "10.9.0.34"
index = "https://pypi.org/simple"
sdist = {{ url = "{SDIST_URL}", upload-time = 2025-03-05T16:41:53Z, size = 704, \
hashes = {{ sha256 = "{HASH}" }} }}
"""


def wheel(tag: str, size: int | None) -> LockedFile:
    name = f"{LIBS}-{tag}.whl"
    url = f"https://user:secret@pypi.nvidia.com/tensorrt-cu12-libs/{name}"
    return LockedFile(name=name, url=url, digest=HASH, size=size, index="https://pypi.nvidia.com")


def test_a_lock_names_the_wheels_in_the_place_of_the_stub() -> None:
    wheels = (wheel("py3-none-manylinux_2_28_x86_64", 7), wheel("py3-none-win_amd64", None))
    asked: list[LockedFile] = []

    def find(file: LockedFile) -> tuple[LockedFile, ...]:
        asked.append(file)
        return wheels

    text, replaced = without_stubs(LOCK, find)

    (stub,) = asked
    assert (stub.name, stub.url, stub.size) == (NAME, SDIST_URL, 704)
    assert replaced == tuple(Substitution(stub=stub, wheel=one) for one in wheels)
    assert text.startswith(LOCK.partition(OTHER)[0] + OTHER)
    other, package = Pylock.from_dict(tomllib.loads(text)).packages
    assert (package.sdist, package.index) == (None, "https://pypi.nvidia.com")
    found = package.wheels or ()
    assert [(one.url, one.size, one.hashes) for one in found] == [
        (one.key, one.size, {"sha256": HASH.hex}) for one in wheels
    ]
    assert "secret" not in text
    assert other.sdist is not None


def test_a_lock_without_stubs_stays_as_it_is() -> None:
    assert without_stubs(LOCK, lambda _: ()) == (LOCK, ())


@pytest.mark.parametrize(
    "need", ["--index-url http://x.test/", "-r /etc/passwd", "-e .", "a\n-r b"]
)
def test_an_option_is_no_requirement_of_a_stub(need: str) -> None:
    text = WHEEL_STUB.replace(b'["wheel-stub"]', json.dumps([need, "wheel-stub"]).encode())
    found = read_stub(text, NAME, NONE)
    assert found is not None
    assert found.requires == ("wheel-stub",)
