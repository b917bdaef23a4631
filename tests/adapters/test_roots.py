"""Projects that use the store, and what the user keeps."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from provisioner.adapters._whereabouts import Site, site_from_json, site_of, whereabouts
from provisioner.adapters.roots import Pin, Pins, Root, Roots
from provisioner.core.digest import Digest
from provisioner.core.plan import LockedFile

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

    site = root.site
    assert whereabouts(project, site) == "here"
    shutil.rmtree(project)
    assert whereabouts(project, site) == "gone"
    assert whereabouts(project, replace(site, host="another-host")) == "elsewhere"
    # A container may have the name of its host.
    assert whereabouts(project, replace(site, machine="0011")) == "elsewhere"
    assert whereabouts(project, replace(site, mount="/no/such/mount")) == "unmounted"
    assert whereabouts(project, replace(site, filesystem=-1)) == "unmounted"
    project.write_text("a file now", encoding="utf-8")
    assert whereabouts(project, site) == "gone"


def test_what_was_not_noted_of_a_site_says_nothing(project: Path) -> None:
    site = site_from_json({"host": "", "mount": ""})

    shutil.rmtree(project)
    assert whereabouts(project, site) == "gone"
    assert site == Site()


def test_a_site_is_read_as_it_was_written(project: Path) -> None:
    site = site_of(project)

    assert site_from_json(json.loads(json.dumps(site.to_json()))) == site


def test_the_id_of_the_machine_is_not_written_down(project: Path) -> None:
    known = Path("/etc/machine-id")
    if not (known.is_file() and known.read_text(encoding="utf-8").strip()):
        pytest.skip("this machine has no id")

    assert known.read_text(encoding="utf-8").strip() not in str(site_of(project).to_json())


MOUNTED = """
import shutil, subprocess, sys
from pathlib import Path
from provisioner.adapters._whereabouts import site_of, whereabouts

def mount(*words):
    if subprocess.run(["mount", *words]).returncode:
        sys.exit(77)

top, case = Path(sys.argv[1]), sys.argv[2]
disk, home = top / "disk", top / "disk" / "app"
disk.mkdir()
if case != "over":
    mount("-t", "tmpfs", "one", str(disk))
if case == "linked":
    (top / "link").symlink_to(disk)
    home = top / "link" / "app"
(home / ".gpuenv").mkdir(parents=True)
site = site_of(home)
assert whereabouts(home, site) == "here"
if case == "removed":
    shutil.rmtree(home)
elif case == "over":
    mount("-t", "tmpfs", "two", str(disk))
else:
    subprocess.run(["umount", "-l", str(disk)], check=True)
if case == "another":
    mount("-t", "tmpfs", "two", str(disk))
if case == "folder":
    disk.rmdir()
print(whereabouts(home, site))
"""


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("removed", "gone"),
        ("unmounted", "unmounted"),
        ("another", "unmounted"),
        ("over", "unmounted"),
        ("linked", "unmounted"),
        ("folder", "unmounted"),
    ],
)
def test_a_project_whose_file_system_is_not_there_is_not_gone(
    tmp_path: Path, case: str, expected: str
) -> None:
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount anything")
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", MOUNTED, str(tmp_path), case],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip("this user may not mount anything")

    assert done.stdout.split() == [expected], done.stderr


def test_a_project_that_may_not_be_looked_at_is_not_gone(store: Path, project: Path) -> None:
    if os.geteuid() == 0:
        # Root may look at everything; a name that is too long is another reason to fail.
        assert whereabouts(Path("/" + "x" * 300), Site()) == "unreadable"
        return
    Roots(store).register(project, "first", [], 1.0)
    project.chmod(0)
    try:
        assert whereabouts(project, only(Roots(store)).site) == "unreadable"
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
