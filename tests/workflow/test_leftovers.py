"""What a killed run left of an environment goes, and nothing that anybody works at."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.leases import Leases
from provisioner.workflow.leftovers import remove_leftovers
from tests.workflow.stores import LONG_AGO, FilledStore

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def filled(tmp_path: Path) -> FilledStore:
    """A store with a finished environment and one that is none."""
    filled = FilledStore(tmp_path)
    filled.environment("whole", tmp_path / "app")
    filled.environment("half", None)
    return filled


def test_an_environment_that_was_never_finished_goes_at_once(filled: FilledStore) -> None:
    remove_leftovers(filled.world, filled.store)

    assert filled.environments() == {"whole"}
    assert list((filled.store.root / "trash").iterdir()) == []


def test_one_that_somebody_makes_stays_until_who_makes_it_has_ended(filled: FilledStore) -> None:
    half = filled.store.root / "envs" / "half"
    with Leases(filled.store.root).working():
        os.utime(half)
        with Leases(filled.store.root).working():
            remove_leftovers(filled.world, filled.store)
            assert half.is_dir()

    remove_leftovers(filled.world, filled.store)
    assert not half.exists()


def test_one_that_a_process_still_writes_to_stays(filled: FilledStore) -> None:
    half = filled.store.root / "envs" / "half"
    process = filled.root / "proc" / "4711"
    process.mkdir()
    (process / "environ").write_text(f"UV_PROJECT_ENVIRONMENT={half}\0", encoding="utf-8")

    remove_leftovers(filled.world, filled.store)
    assert half.is_dir()

    shutil.rmtree(process)
    remove_leftovers(filled.world, filled.store)
    assert not half.exists()


def test_one_that_a_project_uses_and_that_has_lost_its_mark_stays(filled: FilledStore) -> None:
    half = filled.store.root / "envs" / "half"
    folder = filled.project("other", [half])

    remove_leftovers(filled.world, filled.store)
    assert half.is_dir()

    shutil.rmtree(folder)
    remove_leftovers(filled.world, filled.store)
    assert not half.exists()


def test_a_mark_whose_environment_is_gone_is_left_to_a_collection(filled: FilledStore) -> None:
    mark = filled.store.root / "envs" / "gone.json"
    mark.write_text("{}", encoding="utf-8")
    os.utime(mark, (LONG_AGO, LONG_AGO))

    remove_leftovers(filled.world, filled.store)

    assert mark.exists()
