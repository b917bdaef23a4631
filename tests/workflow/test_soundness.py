"""A wheel with a wrong `RECORD` is not damaged, and an environment of it is not either."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING

import pytest

from provisioner.core.digest import Digest
from provisioner.workflow.soundness import look_at
from tests.simulators.wheels import make_wheel
from tests.workflow.stores import FilledStore

if TYPE_CHECKING:
    from pathlib import Path

NAME = "odd-1.0-py3-none-any.whl"
WRONG = {
    "size": ("odd/__init__.py,sha256=AAAA,3\n", "wrong-size"),
    "hash": ("odd/__init__.py,sha256=AAAA,\n", "wrong-hash"),
    "name": ("odd/no-such-file.py,sha256=AAAA,3\n", "missing"),
}


@pytest.fixture
def filled(tmp_path: Path) -> FilledStore:
    """A store that is empty."""
    (tmp_path / "machine").mkdir()
    return FilledStore(tmp_path / "machine")


def environment_of(filled: FilledStore, record: str, **facts: object) -> Path:
    """An environment with a package that tells a wrong `RECORD`."""
    wheel = make_wheel(filled.root / "wheels", "odd", "1.0")
    environment = filled.environment("env", filled.root / "project")
    site = environment / "lib" / "python3.11" / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / "odd-1.0.dist-info" / "RECORD").write_text(record, encoding="utf-8")
    mark = environment.with_name("env.json")
    data = json.loads(mark.read_text(encoding="utf-8")) | facts
    mark.write_text(json.dumps(data), encoding="utf-8")
    return environment


def faults(filled: FilledStore, environment: Path) -> list[str]:
    found = look_at(filled.store, [environment], deep=True)
    return [item.fault for item in found.damage[environment]]


@pytest.mark.parametrize("kind", WRONG)
def test_without_the_wheel_the_record_is_believed(filled: FilledStore, kind: str) -> None:
    record, fault = WRONG[kind]
    assert faults(filled, environment_of(filled, record)) == [fault]


@pytest.mark.parametrize("kind", WRONG)
def test_with_the_wheel_at_hand_its_own_record_is_not_believed(
    filled: FilledStore, kind: str
) -> None:
    digest = filled.blob(NAME)
    record, fault = WRONG[kind]
    environment = environment_of(filled, record, blobs=[digest.hex])
    assert faults(filled, environment) == [fault]  # The blob is no wheel at all.
    blob = filled.store.blob(digest)
    blob.unlink()
    (filled.root / "wheels" / NAME).rename(blob)
    assert faults(filled, environment) == []
    (file,) = environment.glob("lib/*/site-packages/odd/__init__.py")
    file.write_text("# truly damaged", encoding="utf-8")
    assert faults(filled, environment) == ([] if fault == "missing" else [fault])


def test_what_was_never_as_told_stays_so(filled: FilledStore) -> None:
    record, _ = WRONG["size"]
    known = ["odd/__init__.py"]
    assert faults(filled, environment_of(filled, record, otherwise=known)) == []


def test_a_digest_that_is_not_held_tells_nothing(filled: FilledStore) -> None:
    record, fault = WRONG["size"]
    absent = Digest.parse("ab" * 32)
    assert faults(filled, environment_of(filled, record, blobs=[absent.hex])) == [fault]
