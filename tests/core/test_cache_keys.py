"""`cache-keys` are read as uv reads them."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from provisioner.core.cache_keys import DEFAULT, CacheKey, cache_keys, patterns


def settings(*keys: object) -> dict[str, Any]:
    return {"tool": {"uv": {"cache-keys": list(keys)}}}


@pytest.mark.parametrize(
    "pyproject", [{}, {"tool": 1}, {"tool": {"uv": {}}}, {"tool": {"uv": {"cache-keys": "x"}}}]
)
def test_without_the_setting_uvs_own_count(pyproject: dict[str, Any]) -> None:
    assert cache_keys(pyproject) == DEFAULT


@pytest.mark.parametrize(
    ("key", "kind", "name"),
    [
        ("setup.py", "file", "setup.py"),
        ({"file": "**/*.c"}, "file", "**/*.c"),
        ({"dir": "src"}, "dir", "src"),
        ({"env": "WITH_CUDA"}, "env", "WITH_CUDA"),
        ({"git": True}, "git", "commit"),
        ({"git": {"commit": True}}, "git", "commit"),
        ({"git": {"tags": True, "commit": False}}, "git", "tags"),
    ],
)
def test_each_form_of_a_key_is_known(
    key: object, kind: Literal["file", "dir", "git", "env"], name: str
) -> None:
    assert cache_keys(settings(key)) == (CacheKey(kind=kind, name=name),)


@pytest.mark.parametrize("key", [1, {}, {"file": 3}, {"git": False}, {"other": "x"}, None])
def test_what_is_no_key_is_none(key: object) -> None:
    assert cache_keys(settings(key)) == ()


@pytest.mark.parametrize(
    ("text", "each"),
    [
        ("a.c", ("a.c",)),
        ("src/*.{c,h}", ("src/*.c", "src/*.h")),
        ("{a,b}/{c,d}", ("a/c", "a/d", "b/c", "b/d")),
        ("{a", ("{a",)),
    ],
)
def test_braces_are_each_of_what_they_mean(text: str, each: tuple[str, ...]) -> None:
    assert sorted(patterns(text)) == sorted(each)
