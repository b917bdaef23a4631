"""Projects that use the store, and what the user keeps."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.roots import Pin, Pins, Root, Roots
from provisioner.core.digest import Digest
from provisioner.core.plan import LockedFile

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = Digest.parse("ab" * 32)
FILE = LockedFile(
    name="a.whl",
    url="https://me:hunter2@a.test/a.whl?sign=hunter3#x",
    digest=DIGEST,
    size=5,
    index="https://me:hunter2@a.test",
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that was prepared."""
    folder = tmp_path / "project"
    (folder / ".gpuenv").mkdir(parents=True)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The folder of a store."""
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


def only(roots: Roots) -> Root:
    ((_, root),) = roots.every()
    assert root is not None
    return root


def test_a_project_is_registered_once_with_what_it_asked_for_last(
    store: Path, project: Path
) -> None:
    roots = Roots(store)
    roots.register(project, "first", [FILE], 1.0)
    roots.register(project, "first", [], 2.0)
    roots.register(project, "second", [FILE], 3.0)

    root = only(roots)
    assert root.home == str(project)
    assert {purpose: plan.made for purpose, plan in root.plans.items()} == {
        "first": 2.0,
        "second": 3.0,
    }
    assert root.plans["first"].files == ()
    (kept,) = root.plans["second"].files
    assert (kept.digest, kept.size, kept.url) == (FILE.digest, FILE.size, "https://a.test/a.whl")
    assert kept.index == "https://a.test"


def test_no_secret_of_a_url_is_registered(store: Path, project: Path) -> None:
    Roots(store).register(project, "first", [FILE], 1.0)

    (path,) = (store / "roots").iterdir()
    assert "hunter" not in path.read_text(encoding="utf-8")


def test_a_root_tells_where_its_project_is(store: Path, project: Path) -> None:
    roots = Roots(store)
    roots.register(project, "first", [], 1.0)
    root = only(roots)

    assert root.whereabouts() == "here"
    shutil.rmtree(project)
    assert root.whereabouts() == "gone"
    assert replace(root, host="another-host").whereabouts() == "elsewhere"
    assert replace(root, mount="/no/such/mount").whereabouts() == "unmounted"
    project.write_text("a file now", encoding="utf-8")
    assert root.whereabouts() == "gone"


def test_a_project_that_may_not_be_looked_at_is_not_gone(store: Path, project: Path) -> None:
    if os.geteuid() == 0:
        # Root may look at everything; a name that is too long is another reason to fail.
        root = Root(home="/" + "x" * 300, host="", mount="", plans={})
        assert root.whereabouts() == "unreadable"
        return
    Roots(store).register(project, "first", [], 1.0)
    project.chmod(0)
    try:
        assert only(Roots(store)).whereabouts() == "unreadable"
    finally:
        project.chmod(0o755)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema": 2}', '{"schema": 1}'])
def test_a_damaged_root_is_told_and_replaced_by_its_project(
    store: Path, project: Path, text: str
) -> None:
    roots = Roots(store)
    roots.register(project, "first", [FILE], 1.0)
    (path,) = (store / "roots").iterdir()
    path.write_text(text, encoding="utf-8")

    assert list(roots.every()) == [(path, None)]
    roots.register(project, "first", [FILE], 1.0)
    assert only(roots).home == str(project)


def test_pins_of_files_are_told_apart_and_a_project_has_one(store: Path) -> None:
    pins = Pins(store)
    other = Digest.parse("cd" * 32)
    for digest in (DIGEST, other):
        pins.add(Pin(kind="file", label="a.whl", digests=frozenset({digest})))
        pins.add(Pin(kind="project", label="/some/project", digests=frozenset({digest})))

    found = [pin for _, pin in pins.every() if pin]
    assert sorted((pin.kind, len(pin.digests)) for pin in found) == [
        ("file", 1),
        ("file", 1),
        ("project", 1),
    ]
    for pin in found:
        pins.remove(pin)
    assert list(pins.every()) == []


@pytest.mark.parametrize(
    "data", [[], {}, {"kind": "other", "label": "x", "sha256": []}, {"kind": "file"}]
)
def test_a_damaged_pin_is_told(store: Path, data: object) -> None:
    pins = Pins(store)
    pins.add(Pin(kind="file", label="a.whl", digests=frozenset({DIGEST})))
    (path,) = (store / "pins").iterdir()
    path.write_text(json.dumps(data), encoding="utf-8")

    assert list(pins.every()) == [(path, None)]
