"""Whether a cache is as full as it was, told by stats alone."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from provisioner.workflow.marks import caches_are_sound, marks_of

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache in some format, with a file of a package."""
    cache = tmp_path / "cache"
    (cache / "bucket-v7" / "abc").mkdir(parents=True)
    (cache / "bucket-v7" / "abc" / "METADATA").write_text("Name: demo")
    (cache / "index-v1").mkdir()
    return cache


@pytest.fixture
def marks(tmp_path: Path, cache: Path) -> dict[str, Any]:
    """What is noted of it, and of an environment that shares the file."""
    site = tmp_path / "env" / "gpuenv-site" / "demo-1.0.dist-info"
    site.mkdir(parents=True)
    os.link(cache / "bucket-v7" / "abc" / "METADATA", site / "METADATA")
    return {"caches": marks_of([str(cache)], [str(tmp_path / "env")])}


def test_a_cache_that_has_grown_is_sound(cache: Path, marks: dict[str, Any]) -> None:
    (cache / "bucket-v8").mkdir()
    (cache / "bucket-v7" / "def").mkdir()
    (cache / ".tmpXYZ").mkdir()
    assert caches_are_sound(marks)


def test_what_uv_has_there_for_a_moment_does_not_count(cache: Path) -> None:
    (cache / ".tmpXYZ").mkdir()
    marks = {"caches": marks_of([str(cache)], [])}
    (cache / ".tmpXYZ").rmdir()
    assert caches_are_sound(marks)


def test_a_folder_that_is_gone_is_noticed(cache: Path, marks: dict[str, Any]) -> None:
    shutil.rmtree(cache / "index-v1")
    assert not caches_are_sound(marks)


def test_a_folder_in_its_place_is_noticed(cache: Path, marks: dict[str, Any]) -> None:
    (cache / "index-v1").rename(cache / "aside")
    (cache / "index-v1").mkdir()
    assert not caches_are_sound(marks)


def test_a_package_that_was_removed_alone_is_noticed(cache: Path, marks: dict[str, Any]) -> None:
    shutil.rmtree(cache / "bucket-v7" / "abc")
    assert not caches_are_sound(marks)


def test_a_further_environment_hides_no_loss(
    tmp_path: Path, cache: Path, marks: dict[str, Any]
) -> None:
    os.link(cache / "bucket-v7" / "abc" / "METADATA", tmp_path / "of-another-environment")
    assert not caches_are_sound(marks)
    renewed = {"caches": marks_of([str(cache)], [str(tmp_path / "env")])}
    assert caches_are_sound(renewed)
    shutil.rmtree(cache / "bucket-v7" / "abc")
    assert not caches_are_sound(renewed)


def test_where_nothing_was_noted_nothing_is_known_to_be_sound() -> None:
    assert not caches_are_sound(None)
    assert not caches_are_sound({"request": ""})
