"""What gpuenv resolves itself, and how a lock tells what it was made from."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import Any

import pytest

from provisioner.core.profile import CacheControl, Index
from provisioner.core.requirements import Resolution, lock_name, made_from, signed
from provisioner.errors import LockError

INDEX = Index(name="nvidia", url="https://pypi.nvidia.com/", packages=("tensorrt*",))
RESOLUTION = Resolution(
    requirements=("tensorrt-cu12",),
    manifest=None,
    extras=("cu12",),
    groups=("dev",),
    indexes=(INDEX,),
    python="3.12",
)
LOCK = """lock-version = "1.0"
created-by = "uv"

[[packages]]
name = "x"
version = "1"
"""


@pytest.mark.parametrize(
    "change",
    [
        {"requirements": ("tensorrt-cu13",)},
        {"requirements": ()},
        {"requirements": None},
        {"manifest": ""},
        {"manifest": "[project]"},
        {"extras": ()},
        {"extras": ("dev",), "groups": ("cu12",)},
        {"groups": ()},
        {"indexes": ()},
        {"indexes": (replace(INDEX, url="https://mirror.example/"),)},
        {"indexes": (replace(INDEX, packages=("tensorrt-*",)),)},
    ],
)
def test_anything_that_decides_a_lock_changes_its_fingerprint(change: dict[str, Any]) -> None:
    assert replace(RESOLUTION, **change).fingerprint != RESOLUTION.fingerprint


def test_equal_inputs_have_one_fingerprint() -> None:
    assert replace(RESOLUTION, extras=("cu12",)).fingerprint == RESOLUTION.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"indexes": (replace(INDEX, cache_control=CacheControl(api="max-age=1")),)},
        {"indexes": (replace(INDEX, origin="another file"),)},
        {"indexes": (replace(INDEX, url="https://me:secret@pypi.nvidia.com/"),)},
        {"python": "3.13"},
    ],
)
def test_what_colleagues_may_have_differently_leaves_the_lock_alone(change: dict[str, Any]) -> None:
    assert replace(RESOLUTION, **change).fingerprint == RESOLUTION.fingerprint


def test_a_fingerprint_is_the_same_in_every_run() -> None:
    assert replace(RESOLUTION, indexes=()).fingerprint == (
        "aa38a6f610d00fb2f9d16f77c2ce6cd4b2a39d6d70346544642d72bd2a1e0942"
    )


def test_a_signed_lock_tells_what_it_was_made_from() -> None:
    assert made_from(signed(LOCK, RESOLUTION), "pylock.toml") == RESOLUTION.fingerprint


def test_signing_adds_one_table_and_changes_nothing_else() -> None:
    read = tomllib.loads(signed(LOCK, RESOLUTION))
    assert read.pop("tool") == {"gpuenv": {"made-from": RESOLUTION.fingerprint}}
    assert read == tomllib.loads(LOCK)


@pytest.mark.parametrize(
    "lock",
    [
        LOCK,
        f'{LOCK}\n[tool.uv]\nmade-from = "x"\n',
        f"{LOCK}\n[tool.gpuenv]\nmade-from = 1\n",
        f"{LOCK}\n[tool]\ngpuenv = 1\n",
        "tool = 1\n",
    ],
)
def test_a_lock_of_another_tool_tells_nothing(lock: str) -> None:
    assert made_from(lock, "pylock.toml") is None


def test_a_lock_that_is_no_toml_is_an_error_that_names_the_file() -> None:
    with pytest.raises(LockError, match=r"lock `pylock\.cu12\.toml` is malformed") as caught:
        made_from("lock-version = = 1", "pylock.cu12.toml")
    assert "line 1" in caught.value.causes[0]


def test_each_profile_has_its_own_lock_file() -> None:
    assert lock_name("cu12") == "pylock.cu12.toml"
    assert lock_name("cpu") == "pylock.cpu.toml"
